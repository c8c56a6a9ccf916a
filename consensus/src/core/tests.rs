//! Whole clusters in memory: no clocks, no threads, real logs on disks that lose what was not synced.

mod chaos;
mod cluster;
mod members;
mod snapshots;
mod stalls;

use log_format::ids::Term;
use log_format::wal::{ConfState, Durability, LogPosition};
use raft::eraftpb::{Entry, Message, MessageType};

use self::cluster::{Cluster, host, index};
use super::membership::Change;
use super::*;

#[test]
fn three_hosts_elect_one_leader_by_themselves() {
    let mut cluster = Cluster::new(3, 42);
    cluster.ticks(40);
    let leader = cluster.leader().unwrap();
    for id in [1, 2, 3].map(host) {
        let status = cluster.status(id);
        assert_eq!(status.leader, Some(leader));
        assert_eq!(status.role == Role::Leader, id == leader);
    }
}

#[test]
fn every_host_reads_every_committed_entry_in_order() {
    let mut cluster = Cluster::led_by_first(3);
    for data in [b"one", b"two", b"six"] {
        cluster.propose(host(1), &[data]);
        cluster.settle();
    }
    for id in [1, 2, 3].map(host) {
        assert_eq!(cluster.data(id), [b"one", b"two", b"six"]);
    }
}

#[test]
fn a_single_host_agrees_with_itself() {
    let mut cluster = Cluster::new(1, 3);
    cluster.ticks(25);
    cluster.propose(host(1), &[b"alone"]);
    cluster.settle();
    assert_eq!(cluster.data(host(1)), [b"alone"]);
}

#[test]
fn the_only_voter_waits_for_no_election_timeout() {
    let mut cluster = Cluster::new(1, 3);
    cluster.ticks(1);
    cluster.propose(host(1), &[b"at once"]);
    cluster.settle();
    assert_eq!(cluster.data(host(1)), [b"at once"]);
    let mut three = Cluster::new(3, 3);
    three.ticks(1);
    assert!([1, 2, 3].map(host).into_iter().all(|id| three.status(id).role == Role::Follower));
}

#[test]
fn proposals_of_one_turn_go_out_in_one_message_for_each_follower() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.delivered.clear();
    let tickets = cluster.propose(host(1), &[b"x".as_slice(); 500]);
    let appends = cluster.network.iter().filter(|letter| !letter.message.entries.is_empty());
    assert_eq!(appends.count(), 2);
    assert_eq!(cluster.hosts[&host(1)].jobs.len(), 1);
    cluster.settle();
    assert_eq!(cluster.data(host(3)).len(), 500);
    // The entries to each follower, then the commit index to each.
    assert_eq!(cluster.count(MessageType::MsgAppend), 4);
    let positions = proposed(&cluster, host(1));
    assert_eq!(positions.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), tickets);
    assert!(positions.windows(2).all(|pair| pair[0].1.index.next() == pair[1].1.index));
}

#[test]
fn a_follower_that_was_away_catches_up_in_few_messages() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(3));
    for _ in 0..488 {
        cluster.propose(host(1), &[&[7; 256]]);
        cluster.settle();
    }
    cluster.cut.clear();
    cluster.delivered.clear();
    cluster.ticks(4);
    assert_eq!(cluster.data(host(3)).len(), 488);
    assert!(cluster.count(MessageType::MsgAppend) <= 8, "{:?}", cluster.delivered);
}

#[test]
fn a_follower_catches_up_from_disk_when_memory_is_short() {
    let mut cluster = Cluster::configured(3, 1, |config| config.max_tail_bytes = 1_000);
    cluster.elect(host(1));
    cluster.cut.insert(host(3));
    for count in 0..300_u16 {
        cluster.propose(host(1), &[&count.to_be_bytes()]);
        cluster.settle();
    }
    cluster.cut.clear();
    cluster.ticks(4);
    assert_eq!(cluster.data(host(3)), cluster.data(host(1)));
    assert_eq!(cluster.data(host(3)).len(), 300);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_power_fails() {
    let mut cluster = Cluster::led_by_first(3);
    for count in 0..50_u8 {
        cluster.propose(host(1), &[&[count]]);
        cluster.settle();
    }
    let before = cluster.data(host(1));
    assert_eq!(before.len(), 50);
    for id in 1..=3 {
        cluster.crash(host(id), id);
    }
    cluster.ticks(40);
    let leader = cluster.leader().unwrap();
    cluster.propose(leader, &[b"after"]);
    cluster.settle();
    for id in [1, 2, 3].map(host) {
        assert_eq!(cluster.data(id)[..50], before);
        assert_eq!(cluster.data(id)[50..], [b"after"]);
    }
}

#[test]
fn a_follower_answers_only_once_its_entries_are_durable() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.hosts.get_mut(&host(2)).unwrap().writes = false;
    cluster.propose(host(1), &[b"x"]);
    cluster.settle();
    let follower = &cluster.hosts[&host(2)];
    let job = follower.jobs.front().unwrap();
    assert_eq!(job.durability, Durability::Sync);
    assert_eq!(job.then.len(), 1);
    assert_eq!(job.then[0].1.msg_type, MessageType::MsgAppendResponse);
    assert_eq!(job.entries.last().unwrap().data, b"x");
    let matched = cluster.status(host(1)).progress;
    assert_eq!(matched, [(host(2), index(1)), (host(3), index(2))]);
}

#[test]
fn a_leader_counts_itself_only_once_its_entries_are_durable() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.hosts.get_mut(&host(1)).unwrap().writes = false;
    cluster.cut.insert(host(3));
    cluster.propose(host(1), &[b"x"]);
    cluster.settle();
    assert_eq!(cluster.status(host(1)).progress[0], (host(2), index(2)));
    assert_eq!(cluster.status(host(1)).commit, index(1));
    cluster.write(host(1));
    assert_eq!(cluster.status(host(1)).commit, index(2));
}

#[test]
fn a_vote_leaves_only_once_it_is_durable() {
    let mut cluster = Cluster::new(3, 1);
    cluster.hosts.get_mut(&host(2)).unwrap().writes = false;
    cluster.hosts.get_mut(&host(3)).unwrap().writes = false;
    cluster.input(host(1), Input::Campaign);
    cluster.settle();
    // The pre-vote is answered at once: it binds nobody. The vote waits.
    assert_eq!(cluster.status(host(1)).role, Role::Candidate);
    let job = cluster.hosts[&host(2)].jobs.back().unwrap();
    assert_eq!(job.hard_state.unwrap().vote, Some(host(1)));
    assert_eq!(job.then[0].1.msg_type, MessageType::MsgRequestVoteResponse);
    cluster.write(host(2));
    cluster.settle();
    assert_eq!(cluster.status(host(1)).role, Role::Leader);
}

#[test]
fn time_stands_still_while_the_own_log_is_not_durable() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.hosts.get_mut(&host(2)).unwrap().writes = false;
    cluster.propose(host(1), &[b"x"]);
    cluster.settle();
    cluster.cut = [1, 2].map(host).into();
    cluster.ticks(100);
    assert_eq!(cluster.status(host(2)).role, Role::Follower);
    cluster.hosts.get_mut(&host(2)).unwrap().writes = true;
    cluster.ticks(40);
    assert_eq!(cluster.status(host(2)).role, Role::PreCandidate);
}

#[test]
fn a_leader_is_ready_after_the_entry_of_its_own_term() {
    let cluster = Cluster::led_by_first(3);
    let told: Vec<_> = cluster.told(host(1)).iter().map(|effect| format!("{effect:?}")).collect();
    assert_eq!(told, ["Committed { upto: LogIndex(1) }", "LeaderReady { term: Term(1) }"]);
}

#[test]
fn what_a_lost_leader_had_not_committed_is_told_by_its_term() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(1));
    cluster.propose(host(1), &[b"lost"]);
    cluster.settle();
    let (_, position) = proposed(&cluster, host(1))[0];
    assert_eq!(position, LogPosition { term: Term::new(1), index: index(2) });
    cluster.elect_other(host(2));
    cluster.propose(host(2), &[b"kept"]);
    cluster.settle();
    cluster.cut.clear();
    cluster.ticks(6);
    let told = cluster.told(host(1));
    let lost =
        told.iter().position(|effect| matches!(effect, Effect::LeaderLost { term } if *term == Term::new(1)));
    let passed = told
        .iter()
        .position(|effect| matches!(effect, Effect::Committed { upto } if position.index <= *upto));
    assert!(lost.unwrap() < passed.unwrap(), "the loss is told before the watermark passes");
    let found = cluster.hosts[&host(1)].core.entries(position.index, position.index.next(), 1).unwrap();
    assert_ne!(found[0].term, position.term);
    assert_eq!(cluster.data(host(1)), [b"kept"]);
}

#[test]
fn a_loss_of_leadership_is_told_before_what_the_next_leader_commits() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut = [2, 3].map(host).into();
    cluster.propose(host(1), &[b"in doubt"]);
    cluster.settle();
    let before = cluster.told(host(1)).len();
    // One message both ends the leadership and moves the commit index.
    let message = Box::new(Message {
        msg_type: MessageType::MsgHeartbeat,
        from: 2,
        to: 1,
        term: 2,
        commit: 2,
        ..Message::default()
    });
    cluster.input(host(1), Input::Peer { from: host(2), message });
    let told = &cluster.told(host(1))[before..];
    assert!(matches!(told, [Effect::LeaderLost { .. }, Effect::Committed { .. }]), "{told:?}");
}

#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(1));
    cluster.ticks(25);
    let lost = |effect: &&Effect| matches!(effect, Effect::LeaderLost { .. });
    assert_eq!(cluster.told(host(1)).iter().filter(lost).count(), 1);
    assert_ne!(cluster.status(host(1)).role, Role::Leader);
}

#[test]
fn a_host_that_was_away_does_not_unseat_the_leader_when_it_comes_back() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(3));
    cluster.ticks(100);
    // It asked in vain whether it would win, and never raised the term.
    assert_eq!(cluster.status(host(3)).role, Role::PreCandidate);
    assert_eq!(cluster.status(host(3)).term, Term::new(1));
    cluster.cut.clear();
    cluster.ticks(10);
    assert_eq!((cluster.leader(), cluster.status(host(1)).term), (Some(host(1)), Term::new(1)));
    let lost = |effect: &&Effect| matches!(effect, Effect::LeaderLost { .. });
    assert_eq!(cluster.told(host(1)).iter().find(lost).map(drop), None);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut cluster = Cluster::new(3, seed);
        cluster.trace = Some(String::new());
        cluster.ticks(30);
        if let Some(leader) = cluster.leader() {
            cluster.propose(leader, &[b"a", b"b"]);
            cluster.settle();
            cluster.cut.insert(leader);
        }
        cluster.ticks(60);
        cluster.trace.unwrap()
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}

#[test]
fn a_follower_refuses_proposals_and_names_the_leader() {
    let mut cluster = Cluster::led_by_first(3);
    let tickets = cluster.propose(host(2), &[b"x"]);
    let hint = Some(host(1));
    assert_eq!(refused(&cluster, host(2)), [(tickets[0], Refusal::NotLeader { hint })]);
    assert!(cluster.network.is_empty(), "nothing is forwarded");
}

#[test]
fn proposals_without_a_leader_are_refused() {
    let mut cluster = Cluster::new(3, 1);
    let tickets = cluster.propose(host(2), &[b"x"]);
    assert_eq!(refused(&cluster, host(2)), [(tickets[0], Refusal::NotLeader { hint: None })]);
}

#[test]
fn what_exceeds_the_uncommitted_bound_is_refused_as_busy() {
    let mut cluster = Cluster::configured(3, 1, |config| config.max_uncommitted_bytes = 300_000);
    cluster.elect(host(1));
    cluster.cut = [2, 3].map(host).into();
    let tickets = cluster.propose(host(1), &[&[1; 120_000], &[2; 120_000], &[3; 120_000], &[4; 1]]);
    let in_order = [(tickets[2], Refusal::Busy), (tickets[3], Refusal::Busy)];
    assert_eq!(refused(&cluster, host(1)), in_order, "what would fit overtakes nothing");
    assert_eq!(proposed(&cluster, host(1)).len(), 2);
    cluster.cut.clear();
    cluster.ticks(4);
    cluster.propose(host(1), &[&[5; 290_000]]);
    cluster.settle();
    assert_eq!(cluster.data(host(2)).len(), 3, "room comes back with the commit");
}

#[test]
fn empty_and_oversized_proposals_are_refused() {
    let mut cluster = Cluster::led_by_first(1);
    let large = vec![0; MAX_PROPOSAL_BYTES + 1];
    let tickets = cluster.propose(host(1), &[b"", &large]);
    let expected =
        [(tickets[0], Refusal::Size { bytes: 0 }), (tickets[1], Refusal::Size { bytes: large.len() })];
    assert_eq!(refused(&cluster, host(1)), expected);
}

#[test]
fn proposals_during_a_transfer_are_refused() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.input(host(1), Input::Transfer { to: host(2) });
    let tickets = cluster.propose(host(1), &[b"x"]);
    assert_eq!(refused(&cluster, host(1)), [(tickets[0], Refusal::Transferring { to: host(2) })]);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(host(2)));
}

#[test]
fn a_read_names_an_index_that_covers_what_was_acknowledged() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.propose(host(1), &[b"x"]);
    cluster.settle();
    for id in [1, 2].map(host) {
        let tickets = [Ticket::new(70), Ticket::new(71)];
        cluster.delivered.clear();
        cluster.inputs(id, tickets.map(|ticket| Input::Read { ticket }).into());
        cluster.settle();
        assert_eq!(reads(&cluster, id), tickets.map(|ticket| (ticket, Some(index(2)))));
        let asked = usize::from(id != host(1));
        assert_eq!(cluster.count(MessageType::MsgReadIndex), asked, "one question for both");
    }
}

#[test]
fn reads_that_raft_drops_without_a_word_are_answered() {
    // No leader is known.
    let mut cluster = Cluster::new(3, 1);
    cluster.input(host(1), Input::Read { ticket: Ticket::new(1) });
    assert_eq!(reads(&cluster, host(1)), [(Ticket::new(1), None)]);
    // It leads, but nothing of its term is committed.
    let mut cluster = Cluster::new(3, 1);
    cluster.hosts.get_mut(&host(1)).unwrap().writes = true;
    cluster.input(host(1), Input::Campaign);
    while cluster.status(host(1)).role != Role::Leader {
        [1, 2, 3].map(host).into_iter().for_each(|id| cluster.write(id));
        let letter = cluster.network.pop_front().unwrap();
        cluster.deliver(letter);
    }
    cluster.input(host(1), Input::Read { ticket: Ticket::new(2) });
    assert_eq!(reads(&cluster, host(1)), [(Ticket::new(2), None)]);
}

#[test]
fn a_read_that_nobody_answers_is_given_up() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(2));
    cluster.input(host(2), Input::Read { ticket: Ticket::new(9) });
    cluster.ticks(9);
    assert_eq!(reads(&cluster, host(2)), []);
    cluster.tick();
    assert_eq!(reads(&cluster, host(2)), [(Ticket::new(9), None)]);
}

#[test]
fn an_answer_to_a_read_of_an_earlier_life_is_not_taken() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.input(host(2), Input::Read { ticket: Ticket::new(1) });
    let question = cluster.network.pop_back().unwrap();
    cluster.crash(host(2), 1);
    cluster.ticks(3);
    cluster.input(host(2), Input::Read { ticket: Ticket::new(2) });
    let second = cluster.network.pop_back().unwrap();
    assert_ne!(question.message.entries[0].data, second.message.entries[0].data);
    cluster.deliver(question);
    cluster.settle();
    assert_eq!(reads(&cluster, host(2)), []);
}

#[test]
fn a_host_that_does_not_lead_speaks_in_nobody_elses_name() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.input(host(2), Input::Read { ticket: Ticket::new(1) });
    let question = cluster.network.pop_back().unwrap().message;
    assert_eq!(question.msg_type, MessageType::MsgReadIndex);
    // Host 3 led when the question left.
    let message = Box::new(Message { to: 3, ..*question });
    cluster.input(host(3), Input::Peer { from: host(2), message });
    cluster.input(host(3), Input::Transfer { to: host(2) });
    assert!(cluster.network.is_empty(), "{:?}", cluster.network);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(host(1)));
}

#[test]
fn a_voter_with_a_wiped_disk_halts_instead_of_going_on() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.propose(host(1), &[b"acknowledged by host 2"]);
    cluster.settle();
    cluster.wipe(host(2));
    cluster.ticks(3);
    let halt = Halt::ForgotEntries { leader: host(1), acknowledged: index(2), last: index(0) };
    assert!(matches!(cluster.told(host(2)), [Effect::Halt(found)] if *found == halt));
    cluster.ticks(50);
    assert_eq!(cluster.told(host(2)).len(), 1, "it says and does nothing more");
    cluster.propose(host(1), &[b"the others go on"]);
    cluster.settle();
    assert_eq!(cluster.data(host(3)).len(), 2);
}

#[test]
fn messages_that_no_honest_host_sends_change_nothing() {
    let base = Message { msg_type: MessageType::MsgAppend, from: 2, to: 3, term: 9, ..Message::default() };
    let gap = vec![Entry { index: 5, term: 1, ..Entry::default() }].into();
    let future = vec![Entry { index: 1, term: 10, ..Entry::default() }].into();
    let kind = |msg_type| Message { msg_type, ..base.clone() };
    let cases = [
        ("forged sender", Message { from: 1, ..base.clone() }),
        ("other receiver", Message { to: 1, ..base.clone() }),
        ("no term", Message { term: 0, ..base.clone() }),
        ("gap in entries", Message { entries: gap, ..base.clone() }),
        ("entry from the future", Message { entries: future, ..base.clone() }),
        ("vote without a term", Message { term: 0, ..kind(MessageType::MsgRequestVote) }),
        ("read without a question", kind(MessageType::MsgReadIndex)),
        ("proposal", kind(MessageType::MsgPropose)),
        ("empty snapshot", kind(MessageType::MsgSnapshot)),
        ("local message", kind(MessageType::MsgHup)),
        ("transfer by a follower", kind(MessageType::MsgTransferLeader)),
    ];
    for (name, message) in cases {
        let mut cluster = Cluster::led_by_first(3);
        let before = cluster.status(host(3));
        let message = Box::new(message);
        cluster.input(host(3), Input::Peer { from: host(2), message });
        assert_eq!(cluster.status(host(3)), before, "{name}");
        assert!(cluster.network.is_empty(), "{name}");
    }
}

#[test]
fn large_appends_travel_in_parts() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(3));
    for _ in 0..40 {
        cluster.propose(host(1), &[&[7; 100_000]]);
        cluster.settle();
    }
    cluster.cut.clear();
    let mut largest = 0;
    for _ in 0..6 {
        [1, 2, 3].map(host).into_iter().for_each(|id| cluster.input(id, Input::Tick));
        while !cluster.network.is_empty() || cluster.hosts.values().any(|host| !host.jobs.is_empty()) {
            [1, 2, 3].map(host).into_iter().for_each(|id| cluster.write(id));
            if let Some(letter) = cluster.network.pop_front() {
                largest = largest.max(letter.message.entries.iter().map(|entry| entry.data.len()).sum());
                cluster.deliver(letter);
            }
        }
    }
    assert_eq!(cluster.data(host(3)).len(), 40);
    assert!(500_000 < largest && largest <= split::MAX_APPEND_BYTES, "{largest}");
}

#[test]
fn a_lost_append_is_sent_again() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(3));
    cluster.propose(host(1), &[b"x"]);
    cluster.settle();
    assert!(cluster.data(host(3)).is_empty());
    cluster.cut.clear();
    cluster.input(host(1), Input::Unreachable { host: host(3) });
    cluster.ticks(4);
    assert_eq!(cluster.data(host(3)), [b"x"]);
}

#[test]
fn a_new_member_learns_everything_and_membership_outlives_a_crash() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.propose(host(1), &[b"early"]);
    cluster.settle();
    cluster.add(host(4), &ConfState::new([1, 2, 3].map(host), []));
    change_membership(&mut cluster, Change::AddLearner(host(4)));
    cluster.ticks(6);
    assert_eq!(cluster.data(host(4)), [b"early"]);
    assert_eq!(cluster.status(host(4)).role, Role::Learner);
    change_membership(&mut cluster, Change::Promote(host(4)));
    cluster.ticks(6);
    for id in 1..=4 {
        cluster.crash(host(id), id);
        let status = cluster.status(host(id));
        assert_eq!(status.voters, [1, 2, 3, 4].map(host), "host {id}");
        assert_eq!(status.learners, []);
    }
    cluster.ticks(40);
    let leader = cluster.leader().unwrap();
    cluster.propose(leader, &[b"late"]);
    cluster.settle();
    assert_eq!(cluster.data(host(4)), [b"early".as_slice(), b"late"]);
}

#[test]
fn membership_is_right_wherever_between_two_writes_the_power_fails() {
    for writes in 0..6 {
        let mut cluster = Cluster::led_by_first(3);
        cluster.cut.insert(host(3));
        change_membership(&mut cluster, Change::AddLearner(host(9)));
        cluster.cut.clear();
        cluster.hosts.get_mut(&host(3)).unwrap().writes = false;
        cluster.ticks(3);
        for _ in 0..writes {
            cluster.write_one(host(3));
            cluster.settle();
        }
        cluster.crash(host(3), writes);
        cluster.ticks(10);
        assert_eq!(cluster.status(host(3)).learners, [host(9)], "after {writes} writes");
    }
}

#[test]
fn a_core_does_not_start_on_a_log_that_lost_committed_entries() {
    let config = CoreConfig::new(host(1));
    let members = ConfState::new([host(1)], []);
    let start = |restored| Core::new(&config, restored, Box::new(NoLog), 1).map(drop);
    let mut restored = Restored::empty(members);
    restored.hard_state.commit = index(5);
    assert!(matches!(start(restored), Err(CoreError::CommitOutsideLog { .. })));
    let nobody = Restored::empty(ConfState::default());
    assert!(matches!(start(nobody), Err(CoreError::NoVoters)));
}

struct NoLog;

impl EntryReader for NoLog {
    fn entries(
        &self,
        from: LogIndex,
        _until: LogIndex,
        _max_bytes: usize,
    ) -> Result<Vec<LogEntry>, log_format::wal::ReadError> {
        let (index, last) = (from, LogIndex::default());
        Err(log_format::wal::ReadError::Unavailable { index, last })
    }

    fn term(&self, _index: LogIndex) -> Option<Term> {
        None
    }
}

impl Cluster {
    /// Elects `id` while the old leader is cut off.
    fn elect_other(&mut self, id: HostId) {
        // A voter that still hears of a leader gives no vote: let its patience run out first.
        self.ticks(11);
        if self.status(id).role != Role::Leader {
            self.elect(id);
        }
    }
}

fn change_membership(cluster: &mut Cluster, change: Change) -> Ticket {
    let ticket = Ticket::new(1_000_000);
    cluster.input(host(1), Input::ChangeMembers { ticket, change });
    cluster.settle();
    ticket
}

fn proposed(cluster: &Cluster, id: HostId) -> Vec<(Ticket, LogPosition)> {
    told(cluster, id, |effect| {
        let Effect::Proposed { ticket, at } = effect else { return None };
        Some((*ticket, *at))
    })
}

fn refused(cluster: &Cluster, id: HostId) -> Vec<(Ticket, Refusal)> {
    told(cluster, id, |effect| {
        let Effect::Refused { ticket, reason } = effect else { return None };
        Some((*ticket, *reason))
    })
}

/// The answered reads, and the index of each that was not dropped.
fn reads(cluster: &Cluster, id: HostId) -> Vec<(Ticket, Option<LogIndex>)> {
    told(cluster, id, |effect| {
        if let Effect::ReadDropped { ticket } = effect {
            return Some((*ticket, None));
        }
        let Effect::ReadReady { ticket, index } = effect else { return None };
        Some((*ticket, Some(*index)))
    })
}

fn told<T>(cluster: &Cluster, id: HostId, wanted: impl Fn(&Effect) -> Option<T>) -> Vec<T> {
    cluster.told(id).iter().filter_map(wanted).collect()
}
