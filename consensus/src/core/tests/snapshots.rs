//! Logs that do not begin at their first entry any more, and hosts that need what came before.

use super::*;

/// Hosts 1 and 2 have ten entries, and a log that begins after them; host 3 has missed it all.
fn with_one_left_behind() -> Cluster {
    let mut cluster = Cluster::led_by_first(3);
    cluster.cut.insert(host(3));
    fill(&mut cluster, 10);
    let commit = cluster.status(host(1)).commit;
    cluster.retire(host(1), commit);
    cluster.cut.clear();
    cluster
}

fn fill(cluster: &mut Cluster, count: u8) {
    for data in 0..count {
        cluster.propose(host(1), &[&[data]]);
        cluster.settle();
    }
}

fn fetches(cluster: &Cluster, id: u64) -> Vec<(HostId, LogIndex)> {
    told(cluster, host(id), |effect| {
        let Effect::Fetch { from, at, .. } = effect else { return None };
        Some((*from, at.index))
    })
}

fn installed(cluster: &Cluster, id: u64) -> Vec<LogIndex> {
    told(cluster, host(id), |effect| {
        let Effect::SnapshotInstalled { at, .. } = effect else { return None };
        Some(at.index)
    })
}

#[test]
fn what_is_retired_is_gone_for_raft_and_read_where_it_is_kept() {
    let mut cluster = Cluster::led_by_first(3);
    fill(&mut cluster, 10);
    cluster.retire(host(1), index(6));
    let core = &cluster.hosts[&host(1)].core;
    let low = |low| {
        raft::Storage::entries(core.node.store(), low, 9, None, raft::GetEntriesContext::empty(false))
            .map(|found| found.len())
    };
    assert!(low(6).is_err());
    assert_eq!(low(7).unwrap(), 2);
    assert_eq!(core.entries(index(6), index(9), 1_000).unwrap().len(), 3, "this reader still has them");
    fill(&mut cluster, 2);
    assert_eq!(cluster.data(host(3)).len(), 12);
}

#[test]
fn raft_hears_of_a_snapshot_only_once_all_that_it_names_is_here() {
    let mut cluster = with_one_left_behind();
    cluster.ticks(6);
    assert_eq!(fetches(&cluster, 3), [(host(1), index(11))], "it is asked for once");
    assert_eq!(installed(&cluster, 3), []);
    assert_eq!(cluster.status(host(3)).commit, index(1));
    cluster.fetched(host(3));
    assert_eq!(installed(&cluster, 3), [index(11)]);
    cluster.ticks(4);
    fill(&mut cluster, 1);
    assert_eq!(cluster.data(host(3)), cluster.data(host(1)));
    assert_eq!(cluster.data(host(3)).len(), 11);
}

#[test]
fn a_snapshot_is_acknowledged_only_once_the_log_began_anew_with_it() {
    let mut cluster = with_one_left_behind();
    cluster.ticks(6);
    cluster.hosts.get_mut(&host(3)).unwrap().writes = false;
    cluster.fetched(host(3));
    cluster.ticks(3);
    let job = cluster.hosts[&host(3)].jobs.iter().find(|job| job.reset.is_some()).unwrap();
    let (at, members) = job.reset.clone().unwrap();
    assert_eq!((at.index, members), (index(11), ConfState::new([1, 2, 3].map(host), [])));
    assert_eq!(job.hard_state.unwrap().commit, index(11));
    assert_eq!(job.durability, Durability::Sync);
    assert_eq!(job.then[0].1.msg_type, MessageType::MsgAppendResponse);
    assert_eq!(cluster.status(host(1)).progress[1], (host(3), index(1)));
    cluster.hosts.get_mut(&host(3)).unwrap().writes = true;
    cluster.ticks(3);
    assert_eq!(cluster.status(host(1)).progress[1], (host(3), index(11)));
}

#[test]
fn a_snapshot_that_got_lost_is_sent_again() {
    let mut cluster = with_one_left_behind();
    let mut lost = 0;
    for _ in 0..SNAPSHOT_TICKS + 20 {
        [1, 2, 3].map(host).into_iter().for_each(|id| cluster.input(id, Input::Tick));
        while let Some(letter) = cluster.network.pop_front() {
            let is_snapshot = letter.message.msg_type == MessageType::MsgSnapshot;
            if is_snapshot && lost == 0 {
                lost += 1;
                continue;
            }
            cluster.deliver(letter);
            [1, 2, 3].map(host).into_iter().for_each(|id| cluster.write(id));
        }
    }
    assert_eq!((lost, fetches(&cluster, 3)), (1, vec![(host(1), index(11))]));
}

#[test]
fn a_fetch_that_failed_is_asked_for_again() {
    let mut cluster = with_one_left_behind();
    cluster.ticks(6);
    cluster.input(host(3), Input::FetchFailed { index: index(11) });
    cluster.input(host(3), Input::Fetched { index: index(11) });
    assert_eq!(installed(&cluster, 3), [], "what failed is not stepped");
    cluster.ticks(10);
    assert_eq!(fetches(&cluster, 3).len(), 1);
    cluster.ticks(SNAPSHOT_TICKS);
    assert_eq!(fetches(&cluster, 3).len(), 2, "of what nobody acknowledges the leader sends the next one");
}

#[test]
fn a_newer_snapshot_takes_the_place_of_the_one_that_is_being_fetched() {
    let mut cluster = with_one_left_behind();
    cluster.ticks(6);
    fill(&mut cluster, 5);
    cluster.retire(host(1), index(16));
    cluster.ticks(SNAPSHOT_TICKS + 10);
    assert_eq!(fetches(&cluster, 3), [(host(1), index(11)), (host(1), index(16))]);
    cluster.input(host(3), Input::Fetched { index: index(11) });
    assert_eq!(installed(&cluster, 3), []);
    cluster.fetched(host(3));
    cluster.ticks(4);
    assert_eq!(installed(&cluster, 3), [index(16)]);
    assert_eq!(cluster.data(host(3)).len(), 15);
}

#[test]
fn an_installed_snapshot_outlives_a_power_cut_and_one_that_was_not_written_is_sent_again() {
    for written in [true, false] {
        let mut cluster = with_one_left_behind();
        cluster.ticks(6);
        cluster.hosts.get_mut(&host(3)).unwrap().writes = written;
        cluster.fetched(host(3));
        cluster.settle();
        cluster.crash(host(3), 5);
        assert_eq!(cluster.status(host(3)).commit == index(11), written);
        for _ in 0..2 {
            cluster.ticks(SNAPSHOT_TICKS + 10);
            cluster.fetched(host(3));
        }
        fill(&mut cluster, 1);
        cluster.ticks(6);
        assert_eq!(cluster.data(host(3)).len(), 11, "written: {written}");
    }
}

#[test]
fn a_host_that_joins_a_shortened_log_is_named_by_no_chapter_and_gets_them_all_the_same() {
    let mut cluster = Cluster::led_by_first(3);
    fill(&mut cluster, 10);
    cluster.retire(host(1), index(11));
    cluster.add(host(4), &ConfState::new([1, 2, 3].map(host), []));
    change_membership(&mut cluster, Change::AddLearner(host(4)));
    cluster.ticks(6);
    cluster.fetched(host(4));
    cluster.ticks(6);
    assert_eq!(installed(&cluster, 4), [index(11)]);
    assert_eq!(cluster.data(host(4)).len(), 10);
    change_membership(&mut cluster, Change::Promote(host(4)));
    cluster.ticks(6);
    cluster.crash(host(4), 1);
    assert_eq!(cluster.status(host(4)).voters, [1, 2, 3, 4].map(host));
}

#[test]
fn what_does_not_fit_the_log_is_not_taken_for_its_beginning() {
    let mut cluster = Cluster::led_by_first(3);
    fill(&mut cluster, 3);
    let position = |term, index| LogPosition { term: Term::new(term), index: LogIndex::new(index) };
    let members = ConfState::new([1, 2, 3].map(host), []);
    let point = |at, conf_state: &ConfState, bytes| {
        let manifest = vec![0; bytes].into();
        SnapshotPoint { at, conf_state: conf_state.clone(), manifest }
    };
    let cases = [
        (position(1, 2), point(position(1, 9), &members, 1), "past the commit index"),
        (position(1, 3), point(position(1, 2), &members, 1), "before the base"),
        (position(2, 2), point(position(1, 3), &members, 1), "of another term"),
        (position(1, 2), point(position(1, 3), &ConfState::default(), 1), "without voters"),
        (position(1, 2), point(position(1, 3), &members, MAX_MANIFEST_BYTES + 1), "too large"),
    ];
    for (base, snapshot, name) in cases {
        cluster.input(host(1), Input::Retired { base, snapshot });
        assert_eq!(cluster.held(host(1)).0, 0, "{name}");
    }
}
