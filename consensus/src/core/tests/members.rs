//! Changes of members, one at a time.

use super::*;

fn change(cluster: &mut Cluster, id: u64, change: Change) -> Ticket {
    let ticket = Ticket::new(2_000_000);
    cluster.input(host(id), Input::ChangeMembers { ticket, change });
    ticket
}

fn changes(cluster: &Cluster, id: u64) -> Vec<(LogIndex, ConfState)> {
    told(cluster, host(id), |effect| {
        let Effect::MembersChanged { index, conf_state } = effect else { return None };
        Some((*index, conf_state.clone()))
    })
}

#[test]
fn every_host_is_told_who_takes_part_from_which_entry_on() {
    let mut cluster = Cluster::led_by_first(3);
    let ticket = change(&mut cluster, 1, Change::Demote(host(3)));
    cluster.settle();
    cluster.ticks(3);
    let (found, at) = proposed(&cluster, host(1))[0];
    assert_eq!((found, at.index), (ticket, index(2)));
    let members = ConfState::new([1, 2].map(host), [host(3)]);
    for id in 1..=3 {
        assert_eq!(changes(&cluster, id), [(index(2), members.clone())], "host {id}");
    }
    let entries = cluster.hosts[&host(2)].core.entries(index(1), index(9), 1_000).unwrap();
    let founders = ConfState::new([1, 2, 3].map(host), []);
    let folded = entries.iter().fold(founders, members_after);
    assert_eq!(folded, members, "whoever folds the log comes to the same");
}

#[test]
fn a_second_change_is_refused_while_the_first_is_not_in_force() {
    let mut cluster = Cluster::led_by_first(3);
    change(&mut cluster, 1, Change::AddLearner(host(4)));
    let second = change(&mut cluster, 1, Change::AddLearner(host(5)));
    assert_eq!(refused(&cluster, host(1)), [(second, Refusal::ChangePending)]);
    cluster.settle();
    assert_eq!(cluster.status(host(1)).learners, [host(4)], "no empty entry in its place");
    change(&mut cluster, 1, Change::AddLearner(host(5)));
    cluster.settle();
    assert_eq!(cluster.status(host(1)).learners, [4, 5].map(host));
}

#[test]
fn changes_that_make_no_sense_are_refused_and_leave_no_entry() {
    let mut cluster = Cluster::led_by_first(3);
    let cases = [
        (2, Change::AddLearner(host(4)), Refusal::NotLeader { hint: Some(host(1)) }),
        (1, Change::AddLearner(host(2)), Refusal::ChangeInapplicable),
        (1, Change::Promote(host(2)), Refusal::ChangeInapplicable),
        (1, Change::Promote(host(9)), Refusal::ChangeInapplicable),
        (1, Change::Demote(host(9)), Refusal::ChangeInapplicable),
        (1, Change::Remove(host(9)), Refusal::ChangeInapplicable),
        (1, Change::Remove(host(1)), Refusal::ChangeInapplicable),
        (1, Change::Demote(host(1)), Refusal::ChangeInapplicable),
    ];
    let last = cluster.status(host(1)).last;
    for (id, wanted, reason) in cases {
        let ticket = change(&mut cluster, id, wanted);
        assert_eq!(refused(&cluster, host(id)).last(), Some(&(ticket, reason)), "{wanted:?}");
    }
    assert_eq!(cluster.status(host(1)).last, last);
    cluster.input(host(1), Input::Transfer { to: host(2) });
    let during = change(&mut cluster, 1, Change::AddLearner(host(4)));
    let reason = Refusal::Transferring { to: host(2) };
    assert_eq!(refused(&cluster, host(1)).last(), Some(&(during, reason)));
}

#[test]
fn an_old_leader_is_replaced_and_removed_while_the_others_go_on() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.propose(host(1), &[b"before"]);
    cluster.settle();
    cluster.add(host(4), &ConfState::new([1, 2, 3].map(host), []));
    for wanted in [Change::AddLearner(host(4)), Change::Promote(host(4))] {
        change(&mut cluster, 1, wanted);
        cluster.ticks(4);
    }
    cluster.input(host(1), Input::Transfer { to: host(4) });
    cluster.ticks(4);
    assert_eq!(cluster.leader(), Some(host(4)));
    change(&mut cluster, 4, Change::Remove(host(1)));
    cluster.ticks(4);
    cluster.propose(host(4), &[b"after"]);
    cluster.settle();
    assert_eq!(cluster.data(host(3)), [b"before".as_slice(), b"after"]);
    assert_eq!(cluster.status(host(4)).voters, [2, 3, 4].map(host));
    // Whatever the removed host tries, it unseats nobody.
    cluster.ticks(60);
    assert_eq!(cluster.status(host(4)).role, Role::Leader);
}

#[test]
fn a_leader_whose_vote_an_earlier_leaders_entry_takes_leads_no_more() {
    for change_made in [Change::Remove(host(2)), Change::Demote(host(2))] {
        let mut cluster = Cluster::led_by_first(3);
        change(&mut cluster, 1, change_made);
        // Both have the entry, and the leader never hears of it.
        let letters = std::mem::take(&mut cluster.network);
        letters.into_iter().for_each(|letter| cluster.deliver(letter));
        cluster.cut.insert(host(1));
        cluster.settle();
        // A voter that still hears of a leader gives no vote: let its patience run out first.
        cluster.ticks(11);
        cluster.input(host(2), Input::Campaign);
        cluster.settle();
        cluster.ticks(2);
        assert_ne!(cluster.status(host(2)).role, Role::Leader, "{change_made:?}");
        assert!(!cluster.status(host(2)).voters.contains(&host(2)), "{change_made:?} is in force");
        // Those that are left go on.
        cluster.cut.clear();
        cluster.ticks(60);
        let leader = cluster.leader().unwrap();
        assert_ne!(leader, host(2));
        cluster.propose(leader, &[b"on"]);
        cluster.settle();
        cluster.ticks(3);
        assert_eq!(cluster.data(host(3)), [b"on"]);
    }
}

/// A log of five entries, of which the second lets host 1 go and the fourth takes the vote of host 3.
struct TwoChanges;

impl EntryReader for TwoChanges {
    fn entries(
        &self,
        from: LogIndex,
        until: LogIndex,
        _max_bytes: usize,
    ) -> Result<Vec<LogEntry>, log_format::wal::ReadError> {
        let entry = |at: u64| {
            let position = LogPosition { term: Term::new(1), index: index(at) };
            match at {
                2 => Change::Remove(host(1)).entry(position),
                4 => Change::Demote(host(3)).entry(position),
                _ => Some(entry::from_raft(Entry { index: at, term: 1, ..Entry::default() })),
            }
        };
        Ok((from.get()..until.get()).filter_map(entry).collect())
    }

    fn term(&self, _index: LogIndex) -> Option<Term> {
        Some(Term::new(1))
    }
}

#[test]
fn a_host_with_two_changes_before_it_knows_that_the_first_is_in_force_and_stands_by_its_members() {
    let mut restored = Restored::empty(ConfState::new([1, 2, 3].map(host), []));
    restored.hard_state.term = Term::new(1);
    restored.hard_state.commit = index(1);
    restored.last = index(5);
    let mut core = Core::new(&CoreConfig::new(host(3)), restored, Box::new(TwoChanges), 7).unwrap();
    let mut effects = Vec::new();
    core.handle(Input::Tick, &mut effects);
    assert_eq!(core.status().commit, index(2), "and no further: the second may be nowhere else");
    assert_eq!(core.status().voters, [2, 3].map(host));
    let mut asked = Vec::new();
    for _ in 0..40 {
        core.handle(Input::Tick, &mut effects);
        for effect in std::mem::take(&mut effects) {
            if let Effect::Persist(job) = effect {
                core.handle(Input::Persisted { number: job.number }, &mut effects);
            } else if let Effect::Send { to, message } = effect
                && message.msg_type == MessageType::MsgRequestPreVote
            {
                asked.push(to);
            }
        }
    }
    assert!(asked.contains(&host(2)) && !asked.contains(&host(1)), "{asked:?}");
}

#[test]
fn a_leader_whose_vote_went_to_the_only_voter_answers_no_read() {
    let mut cluster = Cluster::led_by_first(2);
    change(&mut cluster, 1, Change::Demote(host(2)));
    // The entry is at host 2, and neither knows that it is committed.
    let letters = std::mem::take(&mut cluster.network);
    letters.into_iter().for_each(|letter| cluster.deliver(letter));
    cluster.network.clear();
    cluster.input(host(1), Input::Transfer { to: host(2) });
    cluster.settle();
    cluster.ticks(3);
    cluster.cut.insert(host(1));
    let ticket = Ticket::new(9);
    cluster.input(host(2), Input::Read { ticket });
    cluster.settle();
    assert!(!reads(&cluster, host(2)).contains(&(ticket, Some(cluster.status(host(2)).commit))));
}
