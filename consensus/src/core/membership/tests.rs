use super::*;
use crate::core::members_after;

fn host(id: u64) -> HostId {
    HostId::new(id)
}

fn hosts<T: FromIterator<HostId>>(ids: &[u64]) -> T {
    ids.iter().copied().map(host).collect()
}

fn desired(capable: &[u64], sensors: &[u64]) -> Desired {
    let capable = capable.iter().map(|id| (host(*id), Eligibility::VoterCapable));
    capable.chain(sensors.iter().map(|id| (host(*id), Eligibility::SensorOnly))).collect()
}

fn members(voters: &[u64], learners: &[u64]) -> ConfState {
    ConfState::new(hosts::<Vec<_>>(voters), hosts::<Vec<_>>(learners))
}

/// Takes steps until there is none, with everybody awake and caught up but `asleep`.
fn run(desired: &Desired, start: ConfState, leader: u64, asleep: &[u64]) -> (ConfState, HostId, Vec<Step>) {
    let (mut members, mut leader, mut steps) = (start, host(leader), Vec::new());
    loop {
        let awake = |host: &HostId| !asleep.contains(&host.get());
        let active: BTreeSet<_> =
            members.voters.iter().chain(&members.learners).copied().filter(awake).collect();
        // Nobody counts how far the leader is.
        let others = members.learners.iter().copied().filter(|host| *host != leader);
        let caught_up: BTreeSet<_> = others.filter(awake).collect();
        let heirs: Vec<_> = members.voters.iter().copied().filter(awake).collect();
        let picture =
            Picture { leader, members: &members, caught_up: &caught_up, active: &active, heirs: &heirs };
        let Some(step) = next_step(desired, &picture) else { return (members, leader, steps) };
        assert!(steps.len() < 50, "no end: {steps:?}");
        match step {
            Step::Transfer { to } => leader = to,
            Step::Wait => panic!("whoever is active could lead: {steps:?}"),
            Step::Change(change) => {
                assert!(change.applies_to(&members), "{change:?} to {members:?}");
                let takes_vote = matches!(change, Change::Demote(_) | Change::Remove(_));
                assert!(!(takes_vote && change.host() == leader), "the leader loses its own vote");
                members = members_after(members, &entry(change));
                let awake = members.voters.iter().filter(|host| awake(host)).count();
                assert!(members.voters.len() < 2 * awake, "{change:?} leaves {members:?} without a majority");
            }
        }
        steps.push(step);
    }
}

fn entry(change: Change) -> LogEntry {
    LogEntry {
        index: LogIndex::new(1),
        term: log_format::ids::Term::new(1),
        kind: EntryKind::ConfChange,
        data: change.to_raft().write_to_bytes().unwrap(),
    }
}

#[test]
fn voters_are_the_largest_odd_number_of_one_to_seven_hosts() {
    let expected = [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (7, 7)];
    for (count, voters) in expected {
        let all: Vec<u64> = (1..=count).collect();
        let (end, leader, _) = run(&desired(&all, &[]), members(&[1], &[]), 1, &[]);
        assert_eq!(end.voters.len(), voters, "{count} hosts");
        assert_eq!(end.voters.len() + end.learners.len(), all.len());
        assert_eq!(leader, host(1));
    }
}

#[test]
fn from_any_number_of_hosts_to_any_other_the_plan_ends_where_it_should() {
    for from in 1..=7_u64 {
        for to in 1..=7_u64 {
            let (old, new): (Vec<u64>, Vec<u64>) = ((1..=from).collect(), (8 - to..=7).collect());
            let (start, _, _) = run(&desired(&old, &[]), members(&[1], &[]), 1, &[]);
            let (end, leader, steps) = run(&desired(&new, &[]), start, 1, &[]);
            assert_eq!(end.voters.len(), voters_of(new.len()), "{from} to {to}: {steps:?}");
            let all: BTreeSet<_> = end.voters.iter().chain(&end.learners).copied().collect();
            assert_eq!(all, hosts(&new), "{from} to {to}");
            assert!(end.voters.contains(&leader), "{from} to {to}");
        }
    }
}

#[test]
fn a_fourth_host_becomes_a_learner_and_stays_one() {
    let (end, _, steps) = run(&desired(&[1, 2, 3, 4], &[]), members(&[1, 2, 3], &[]), 1, &[]);
    assert_eq!(steps, [Step::Change(Change::AddLearner(host(4)))]);
    assert_eq!(end, members(&[1, 2, 3], &[4]));
}

#[test]
fn a_host_that_only_senses_never_gets_a_vote() {
    let (end, _, _) = run(&desired(&[1, 2], &[3, 4, 5]), members(&[1], &[]), 1, &[]);
    assert_eq!(end, members(&[1], &[2, 3, 4, 5]));
    let (end, _, steps) = run(&desired(&[1, 2, 4], &[3]), members(&[1, 2, 3], &[4]), 3, &[]);
    assert_eq!(end, members(&[1, 2, 4], &[3]));
    assert_eq!(steps[0], Step::Transfer { to: host(1) });
}

#[test]
fn a_dead_voter_that_is_removed_is_replaced_by_the_learner() {
    let start = members(&[1, 2, 3], &[4]);
    let (end, _, steps) = run(&desired(&[1, 2, 4], &[]), start, 1, &[3]);
    let expected = [Change::Remove(host(3)), Change::Promote(host(4))].map(Step::Change);
    assert_eq!(steps, expected);
    assert_eq!(end, members(&[1, 2, 4], &[]));
}

#[test]
fn a_leader_that_is_removed_hands_over_to_one_that_answers_first() {
    let start = members(&[1, 2, 3], &[]);
    let (end, leader, steps) = run(&desired(&[2, 3], &[]), start, 1, &[2]);
    assert_eq!(leader, host(3));
    assert_eq!(steps[0], Step::Transfer { to: host(3) });
    // Of two hosts that are left, the one that does not answer gives its vote away: while the other two can say so.
    assert_eq!(steps[1..], [Change::Demote(host(2)), Change::Remove(host(1))].map(Step::Change));
    assert_eq!(end, members(&[3], &[2]));
}

#[test]
fn a_leader_that_is_removed_hands_over_only_to_a_voter_that_can_lead() {
    let (members, caught_up) = (members(&[1, 2, 3], &[4]), hosts(&[4]));
    // Host 2 fell silent a moment ago: the log calls it active still.
    let active = hosts(&[1, 2, 3, 4]);
    let step = |heirs: &[u64]| {
        let heirs: Vec<_> = hosts(heirs);
        let picture = Picture {
            leader: host(1),
            members: &members,
            caught_up: &caught_up,
            active: &active,
            heirs: &heirs,
        };
        next_step(&desired(&[2, 3, 4], &[]), &picture)
    };
    assert_eq!(step(&[3]), Some(Step::Transfer { to: host(3) }));
    assert_eq!(step(&[3, 2]), Some(Step::Transfer { to: host(3) }));
    // Nobody's vote is taken or given meanwhile.
    assert_eq!(step(&[]), Some(Step::Wait));
}

#[test]
fn a_leader_whose_vote_an_earlier_leader_took_lets_a_voter_lead() {
    let wanted = desired(&[1, 3, 5], &[7]);
    let (end, leader, steps) = run(&wanted, members(&[1, 3], &[5, 7]), 5, &[]);
    assert_eq!(steps, [Step::Transfer { to: host(1) }, Step::Change(Change::Promote(host(5)))]);
    assert_eq!((end, leader), (members(&[1, 3, 5], &[7]), host(1)));
    // Also if it is to go: it does not take itself out of the members while it leads.
    let (end, _, steps) = run(&desired(&[1, 3, 4], &[]), members(&[1, 3, 4], &[5]), 5, &[1]);
    assert_eq!(steps, [Step::Transfer { to: host(3) }, Step::Change(Change::Remove(host(5)))]);
    assert_eq!(end, members(&[1, 3, 4], &[]));
}

#[test]
fn no_vote_is_taken_that_the_others_need() {
    let (members, active) = (members(&[1, 2, 3], &[4]), hosts(&[1, 2, 3, 4]));
    let step = |active: &BTreeSet<HostId>, heirs: &[u64], caught_up: &[u64]| {
        let (heirs, caught_up) = (hosts::<Vec<_>>(heirs), hosts(caught_up));
        let picture =
            Picture { leader: host(3), members: &members, caught_up: &caught_up, active, heirs: &heirs };
        next_step(&desired(&[2, 3, 4], &[]), &picture)
    };
    assert_eq!(step(&active, &[1, 2], &[]), Some(Step::Change(Change::Remove(host(1)))));
    // Host 2 fell silent: it may come back within moments.
    assert_eq!(step(&active, &[1], &[4]), Some(Step::Wait));
    let active = hosts(&[1, 3, 4]);
    assert_eq!(step(&active, &[1], &[4]), Some(Step::Change(Change::Promote(host(4)))));
    assert_eq!(step(&active, &[1], &[]), Some(Step::Change(Change::Demote(host(2)))));
    // The one to go is silent, too: whatever took its place, the votes of two silent hosts would be needed.
    let active = hosts(&[3, 4]);
    assert_eq!(step(&active, &[], &[4]), Some(Step::Wait));
    assert_eq!(step(&active, &[], &[]), Some(Step::Wait));
}

#[test]
fn the_only_voter_hands_over_to_a_learner_that_became_one() {
    let (end, leader, steps) = run(&desired(&[2], &[]), members(&[1], &[2]), 1, &[]);
    let expected = [
        Step::Change(Change::Promote(host(2))),
        Step::Transfer { to: host(2) },
        Step::Change(Change::Remove(host(1))),
    ];
    assert_eq!(steps, expected);
    assert_eq!((end, leader), (members(&[2], &[]), host(2)));
}

#[test]
fn a_lone_candidate_does_not_make_an_even_number_of_votes() {
    let desired = desired(&[1, 2, 3], &[]);
    let (end, _, steps) = run(&desired, members(&[1], &[2, 3]), 1, &[3]);
    assert_eq!((end, steps.len()), (members(&[1], &[2, 3]), 0));
    // With an even number already, one is enough.
    let (end, _, _) = run(&desired, members(&[1, 2], &[3]), 1, &[]);
    assert_eq!(end, members(&[1, 2, 3], &[]));
}

#[test]
fn nobody_who_is_not_caught_up_gets_a_vote() {
    let (members, nobody) = (members(&[1, 2], &[3]), BTreeSet::new());
    let active = hosts(&[1, 2, 3]);
    let picture =
        Picture { leader: host(1), members: &members, caught_up: &nobody, active: &active, heirs: &[] };
    assert_eq!(next_step(&desired(&[1, 2, 3], &[]), &picture), None);
}

#[test]
fn a_learner_has_caught_up_after_five_seconds_close_behind() {
    let mut catch_up = CatchUp::default();
    let learners = [host(4), host(5)];
    let mut ticks = |count, matched| {
        for _ in 0..count {
            let progress = [(host(4), LogIndex::new(matched)), (host(5), LogIndex::new(0))];
            catch_up.tick(&learners, &progress, LogIndex::new(5_000));
        }
        catch_up.caught_up()
    };
    assert_eq!(ticks(CATCH_UP_TICKS - 1, 4_000), BTreeSet::new());
    assert_eq!(ticks(1, 4_000), hosts(&[4]));
    assert_eq!(ticks(1, 3_999), BTreeSet::new(), "one lapse and it counts anew");
    assert_eq!(ticks(CATCH_UP_TICKS - 1, 4_999), BTreeSet::new());
    assert_eq!(ticks(1, 4_999), hosts(&[4]));
}

#[test]
fn folding_entries_gives_the_members_that_raft_has() {
    let mut found = members(&[1, 2, 3], &[]);
    for (change, expected) in [
        (Change::AddLearner(host(4)), members(&[1, 2, 3], &[4])),
        (Change::Promote(host(4)), members(&[1, 2, 3, 4], &[])),
        (Change::Demote(host(2)), members(&[1, 3, 4], &[2])),
        (Change::Remove(host(2)), members(&[1, 3, 4], &[])),
        (Change::Remove(host(3)), members(&[1, 4], &[])),
        (Change::Remove(host(4)), members(&[1], &[])),
        (Change::Remove(host(1)), members(&[1], &[])),
    ] {
        found = members_after(found, &entry(change));
        assert_eq!(found, expected, "{change:?}");
    }
}
