//! A host whose data directory was lost does not come back under its old id: it would vote for what it does not have.

use std::fs;

use super::Cluster;
use super::membership::{issue, remove, row, write};
use crate::support::wait_until;

#[test]
fn a_voter_that_lost_its_data_never_votes_again_and_is_replaced() {
    let mut cluster = Cluster::start(3);
    assert_eq!(write(&cluster, 0, 1), 201);
    wait_until("every host has said which incarnation it is", || {
        (0..3).all(|host| announced(&cluster, host) == 3)
    });
    let leader = cluster.leader(0).unwrap();
    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill9(lost);
    fs::remove_dir_all(cluster.data(lost)).unwrap();

    // Without the leader the other one needs a vote, and the host that lost its own would be the majority.
    cluster.kill9(leader);
    cluster.restart(lost);
    wait_until("it is told, and ends", || cluster.ended(lost).is_some_and(|ended| !ended.success()));
    assert!(cluster.log(lost).contains("was made anew under its old id"), "{}", cluster.log(lost));
    assert!(cluster.log(other).contains("was made anew under its old id"), "{}", cluster.log(other));
    assert!(!cluster.log(lost).contains("leadership") && cluster.leader(other) != Some(other));

    // The leader comes back, and with another one it is told again.
    cluster.restart(leader);
    wait_until("two hosts have a leader", || cluster.leader(other).is_some());
    let heard = cluster.log(lost).len();
    cluster.restart(lost);
    wait_until("it is told again", || cluster.ended(lost).is_some());
    assert!(cluster.log(lost)[heard..].contains("was made anew"), "{}", cluster.log(lost));
    assert_eq!(write(&cluster, other, 2), 201);

    // As the message says.
    let removed = remove(&cluster, other, lost);
    assert!(removed.status.success(), "{removed:?}");
    let token = issue(&cluster, other);
    // Of two hosts one has a vote, and leadership may be on its way there.
    wait_until("a new host joins", || cluster.join(&token, other, "host4").status.success());
    cluster.restart(3);
    wait_until("the new host has its vote", || row(&cluster, other, "4")["role"] == "follower");
    let list = cluster.door(other).ask("GET", "/blocks").unwrap().body;
    assert_eq!(list["total"], 2, "{list}");
}

/// How many hosts have announced a key, as this host's log says.
fn announced(cluster: &Cluster, host: usize) -> usize {
    let dump = cluster.log_command(host, &["dump"]);
    String::from_utf8_lossy(&dump.stdout).matches("HostKeyAnnounced").count()
}
