//! A host that lost its data, or the end of its log, does not come back as if nothing were missing: it would vote for what it
//! does not have.

use std::fs;

use log_format::disk::StdDisk;
use log_format::ids::LogIndex;
use log_format::verify::{LogView, decode};
use palisade::checkpoints::Checkpoints;
use projections::frame::Folded;

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

#[test]
fn a_host_whose_log_lost_its_end_says_so_and_does_not_start() {
    let mut cluster = Cluster::start(1);
    assert_eq!(write(&cluster, 0, 1), 201);
    assert!(cluster.term(0).success());
    let data = cluster.data(0).to_owned();
    let last = put_aside_more_than_the_log(&data);

    for _ in 0..2 {
        cluster.restart(0);
        wait_until("it ends", || cluster.ended(0).is_some_and(|ended| !ended.success()));
    }
    let said = cluster.log(0);
    for words in [
        format!("ends with entry {last}, but this host had applied entry {}", last.next()),
        "the newest files of the log are missing".to_owned(),
        format!("delete {}/projections.sled", data.display()),
    ] {
        assert_eq!(said.matches(&words).count(), 2, "{words}: {said}");
    }

    // Whoever decides to go on with what is left does what the text says.
    fs::remove_dir_all(data.join("projections.sled")).unwrap();
    cluster.restart(0);
    cluster.wait_until_whole();
    assert_eq!(write(&cluster, 0, 2), 201);
}

/// Makes the checkpoint that a host has whose log held an entry more. Gives the last one that is there.
fn put_aside_more_than_the_log(data: &std::path::Path) -> LogIndex {
    let log = LogView::open(&StdDisk, data).unwrap();
    let last = log.history().wal().last().index;
    let (mut folded, mut lost) = (Folded::default(), None);
    for entry in log.entries(LogIndex::new(1)) {
        let entry = entry.unwrap();
        if let Some(envelope) = decode(&entry).unwrap() {
            folded.fold(entry.index, &envelope);
            lost = Some(envelope);
        }
    }
    folded.fold(last.next(), &lost.unwrap());
    let (checkpoints, _) = Checkpoints::open(data);
    checkpoints.save(&folded).unwrap();
    last
}
