//! `palisade recover`: a host goes on alone when the others are gone for good, or without the end of its log.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Request};
use crate::support::wait_until;
use crate::wire_cluster::binary;

/// Short chapters, so that the past is sealed under both clusters.
const SHORT: &str = "\n[log]\nchapter_entries = 64\n";

#[test]
fn one_host_of_three_goes_on_alone_and_the_others_never_come_back_to_it() {
    let mut cluster = Cluster::make(3);
    for host in 0..3 {
        cluster.configure(host, |text| text + SHORT);
        cluster.restart(host);
    }
    cluster.wait_until_whole();
    wait_until("two chapters are sealed", || {
        block(&cluster, 0);
        2 <= sealed(&cluster)
    });
    cluster.wait_for_one_state();
    let known = blocks(&cluster);
    let old_id = cluster.status(0).unwrap()["cluster_id"].as_str().unwrap().to_owned();
    (1..3).for_each(|host| cluster.kill9(host));

    let running = recover(&cluster, &["--force-new-cluster"]);
    assert_eq!(running.status.code(), Some(3), "{running:?}");
    assert!(text(&running.stderr).contains("stop the host first"), "{running:?}");
    cluster.kill9(0);
    let unordered = recover(&cluster, &[]);
    assert_eq!(unordered.status.code(), Some(2), "{unordered:?}");
    let unneeded = recover(&cluster, &["--accept-tail-loss"]);
    assert_eq!(unneeded.status.code(), Some(3), "{unneeded:?}");
    assert!(text(&unneeded.stderr).contains("one of 3"), "{unneeded:?}");
    let forced = recover(&cluster, &["--force-new-cluster"]);
    assert!(forced.status.success(), "{forced:?}");
    let said = text(&forced.stdout);
    assert!(said.contains(&format!("cluster {old_id} goes on as cluster")), "{said}");
    assert!(said.contains("let go: host 2;") && said.contains("let go: host 3;"), "{said}");

    // What it names now is another data directory.
    cluster.configure(0, |text| text);
    let log = cluster.log(0).len();
    cluster.restart(0);
    wait_until("the host leads its own cluster", || cluster.leader(0) == Some(0));
    assert_eq!(blocks(&cluster), known);
    let chapters = sealed(&cluster);
    wait_until("the new cluster seals a chapter", || {
        block(&cluster, 0);
        chapters < sealed(&cluster)
    });
    let status = cluster.status(0).unwrap();
    assert_ne!(status["cluster_id"].as_str().unwrap(), old_id);
    assert_eq!(status["hosts"].as_array().unwrap().len(), 1, "{status}");

    // The others are still a majority of the old cluster, and nothing to this one.
    (1..3).for_each(|host| cluster.restart(host));
    wait_until("the others agree on a leader of their own", || {
        cluster.leader(1).is_some_and(|leader| leader != 0 && cluster.leader(2) == Some(leader))
    });
    wait_until("the others take the host that went its own way for gone", || {
        let status = cluster.status(1).unwrap_or_default();
        status["hosts"].as_array().is_some_and(|hosts| hosts.iter().any(|host| host["status"] == "inactive"))
    });
    assert_eq!(cluster.status(0).unwrap()["hosts"].as_array().unwrap().len(), 1);
    assert!(!cluster.log(0)[log..].contains("peer connected"), "nobody speaks with it");
    assert_eq!(cluster.leader(0), Some(0));
    check_the_past(&mut cluster, &old_id);
}

#[test]
fn a_host_that_is_alone_goes_on_without_the_damaged_end_of_its_log() {
    let mut cluster = Cluster::start(1);
    (0..20).for_each(|_| block(&cluster, 0));
    let kept = blocks(&cluster);
    assert!(cluster.term(0).success());
    let sound = recover(&cluster, &["--accept-tail-loss"]);
    assert_eq!(sound.status.code(), Some(3), "{sound:?}");
    assert!(text(&sound.stderr).contains("not damaged"), "{sound:?}");
    flip_the_last_block(cluster.data(0));
    cluster.restart(0);
    wait_until("it refuses to start", || cluster.ended(0).is_some());
    let cut = recover(&cluster, &["--accept-tail-loss"]);
    assert!(cut.status.success(), "{cut:?}");
    assert!(text(&cut.stdout).contains("lost: entries "), "{cut:?}");
    cluster.restart(0);
    wait_until("the host leads again", || cluster.leader(0) == Some(0));
    let left = blocks(&cluster);
    assert!(left < kept && 0 < left, "{left} of {kept} blocks");
    block(&cluster, 0);
    assert!(cluster.term(0).success());
    let dumped = cluster.log_command(0, &["dump"]);
    assert!(text(&dumped.stdout).contains("TailLossAccepted"), "the loss is written down");
    let verified = cluster.log_command(0, &["verify"]);
    assert!(verified.status.success(), "{verified:?}");
}

/// The whole past verifies, and says what was done.
fn check_the_past(cluster: &mut Cluster, old_id: &str) {
    assert!(cluster.term(0).success());
    let verified = cluster.log_command(0, &["verify", "--format", "jsonl"]);
    assert!(verified.status.success(), "{verified:?}");
    let dumped = cluster.log_command(0, &["dump"]);
    let dump = text(&dumped.stdout);
    assert_eq!(dump.matches("ClusterForced").count(), 1);
    assert_eq!(dump.matches("HostRemoved").count(), 2);
    let data = cluster.data(0);
    let exported = Command::new(binary()).args(["audit", "export", "--data"]).arg(data).output().unwrap();
    assert!(exported.status.success(), "{exported:?}");
    let file = data.join("audit.jsonl");
    fs::write(&file, &exported.stdout).unwrap();
    let verified = Command::new(binary()).args(["audit", "verify"]).arg(&file).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    assert!(text(&verified.stdout).contains(&format!("cluster {old_id} was forced")), "{verified:?}");
}

fn recover(cluster: &Cluster, words: &[&str]) -> Output {
    cluster.palisade(0, &[&["recover"], words].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Blocks an address nobody has, and waits for the answer.
fn block(cluster: &Cluster, host: usize) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let address = format!("198.19.{}.{}", number / 256, number % 256);
    let body: Value = json!({ "address": address, "seconds": 86_400, "note": "before and after" });
    let request = Request { method: "POST", path: "/blocks", key: &address, body: &body };
    wait_until("a block is written", || {
        cluster.door(host).send(&request).is_ok_and(|answer| answer.status == 201)
    });
}

/// How many addresses the first host says are blocked.
fn blocks(cluster: &Cluster) -> u64 {
    let answer = cluster.door(0).ask("GET", "/blocks?page=1&per=1").unwrap();
    answer.body["total"].as_u64().unwrap()
}

/// Chapters that the first host has sealed.
fn sealed(cluster: &Cluster) -> usize {
    cluster.log(0).matches("chapter sealed").count()
}

/// Turns a byte in the last batches of the log but a few.
fn flip_the_last_block(data: &Path) {
    let file: PathBuf = data.join("wal/0000000000000001.wal");
    let mut bytes = fs::read(&file).unwrap();
    let note = b"before and after";
    let places: Vec<usize> =
        (0..bytes.len() - note.len()).filter(|at| bytes[*at..].starts_with(note)).collect();
    bytes[places[places.len() - 4]] ^= 0x10;
    fs::write(&file, bytes).unwrap();
}
