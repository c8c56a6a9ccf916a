//! Disks that hang.

use super::*;

#[test]
fn a_leader_whose_disk_hangs_lets_a_host_lead_that_writes() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.hosts.get_mut(&host(1)).unwrap().writes = false;
    cluster.propose(host(1), &[b"x"]);
    cluster.settle();
    assert_eq!(cluster.status(host(1)).commit, index(1), "its own disk has nothing of it");
    cluster.ticks(15);
    assert_eq!(cluster.leader(), Some(host(1)), "a slow disk is no reason");
    cluster.ticks(15);
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, host(1));
    cluster.propose(leader, &[b"y"]);
    cluster.settle();
    assert_eq!(cluster.data(leader), [b"x", b"y"]);
    cluster.hosts.get_mut(&host(1)).unwrap().writes = true;
    cluster.ticks(5);
    assert_eq!(cluster.data(host(1)), [b"x", b"y"]);
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn a_leader_goes_to_nobody_while_no_majority_writes() {
    let mut cluster = Cluster::led_by_first(3);
    for id in [1, 2] {
        cluster.hosts.get_mut(&host(id)).unwrap().writes = false;
    }
    cluster.propose(host(1), &[b"x"]);
    cluster.settle();
    cluster.ticks(100);
    assert_eq!(cluster.leader(), Some(host(1)));
}

#[test]
fn a_leader_whose_disk_is_slow_goes_on() {
    let mut cluster = Cluster::led_by_first(3);
    cluster.hosts.get_mut(&host(1)).unwrap().writes = false;
    for _ in 0..10 {
        cluster.propose(host(1), &[b"x"]);
        cluster.settle();
        cluster.ticks(15);
        assert!(cluster.write_one(host(1)));
    }
    assert_eq!(cluster.leader(), Some(host(1)));
}
