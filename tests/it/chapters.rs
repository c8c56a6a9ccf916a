//! Chapters of real hosts: cut, sealed, witnessed; and an attack's data that is gone from every file once it is erased.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Request};
use crate::support::{Scratch, wait_until};
use crate::wire_cluster::binary;

/// A capture whose attacker says [`SAID`].
const CAPTURE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../sensors/corpus/brute-403-just-above/capture.pcap");
const SAID: &[u8] = b"Cisco UCM 12.0.1";
/// As long, and nowhere else.
const CANARY: &[u8] = b"Canary-7f3a91c2!";
/// Attack data is kept for three minutes at least (`KEPT_AT_LEAST`). What comes then takes seconds on a quiet machine.
const ERASED_WITHIN: Duration = Duration::from_secs(900);
/// Short chapters, a log that keeps little, and attack data that is kept no longer than it must be.
const SHORT: &str =
    "\n[log]\nchapter_entries = 64\nkeep_entries = 1\nretention_seconds = 1\nretention_every_seconds = 1\n";

/// Stands in every entry that fills chapters.
const NOTE: &str = "to fill chapters";

/// Short chapters, and a log that keeps little; nothing is erased.
const LONG: &str = "\n[log]\nchapter_entries = 64\nkeep_entries = 1\n";

#[test]
#[ignore = "waits five minutes until attack data may be erased: make erasure"]
fn an_erased_attack_is_in_no_file_of_any_host_and_everything_verifies() {
    let folder = Scratch::new("canary");
    let mut cluster = start(&folder);
    fill_until_erased(&cluster, &[0, 1, 2]);
    wait_until("every host has witnessed a chapter", || {
        let verified = cluster.log_command(0, &["verify", "--format", "jsonl"]);
        3 <= json_of(&verified)["witnessed"].as_u64().unwrap_or_default()
    });
    // Folded anew from chapters without the attacks, and folded with them once: the same state.
    assert!(cluster.term(2).success());
    cluster.restart(2);
    cluster.wait_until_whole();
    cluster.wait_for_one_state();
    for host in 0..3 {
        assert!(cluster.term(host).success());
        let report = check_the_log(&cluster, host);
        assert!(0 < report["erased"].as_u64().unwrap(), "{report}");
        check_the_audit(&folder, cluster.data(host));
    }
}

#[test]
fn a_host_that_was_off_fetches_the_chapters_that_it_lacks() {
    let mut cluster = with_a_host_that_was_off();
    // It goes on from there, with chapters of its own, also after another start.
    let before = sealed(&cluster);
    wait_until("one more chapter is sealed", || {
        block(&cluster);
        before < sealed(&cluster)
    });
    assert!(cluster.term(2).success());
    cluster.restart(2);
    cluster.wait_until_whole();
    cluster.wait_for_one_state();
    check_all(&mut cluster);
}

#[test]
fn a_host_gets_damaged_chapters_and_entries_back_from_the_others() {
    let mut cluster = with_a_host_that_was_off();
    (0..8).for_each(|_| block(&cluster));
    cluster.wait_for_one_state();
    assert!(cluster.term(2).success());
    let (control, gone) = (chapter(&cluster, 2, 1).join("control.zst"), chapter(&cluster, 2, 2));
    flip_byte(&control, fs::read(&control).unwrap().len() / 2);
    fs::remove_dir_all(&gone).unwrap();
    flip_an_entry(cluster.data(2));
    cluster.restart(2);
    cluster.wait_until_whole();
    cluster.wait_for_one_state();
    let log = cluster.log(2);
    assert_eq!(log.matches("the chapter was damaged and is whole again").count(), 2);
    assert!(log.contains("the log was damaged and has its bytes back"));
    // Without the others it says what is wrong, and changes nothing.
    check_all(&mut cluster);
    flip_byte(&control, 20);
    let damaged = fs::read(&control).unwrap();
    cluster.restart(2);
    let mut ended = None;
    wait_until("a host that nobody helps gives up", || {
        ended = cluster.ended(2);
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(1));
    assert!(cluster.log(2).contains("control.zst of chapter 1 is damaged: its checksum"));
    assert!(cluster.log(2).contains("start again when the others can be reached"));
    assert_eq!(fs::read(&control).unwrap(), damaged);
    (0..2).for_each(|host| cluster.restart(host));
    wait_until("the others can be asked", || cluster.leader(0).is_some());
    cluster.restart(2);
    cluster.wait_until_whole();
    cluster.wait_for_one_state();
    check_all(&mut cluster);
}

#[test]
fn a_host_without_usable_checkpoints_folds_chapters_and_log_to_the_same_state() {
    let mut cluster = with_a_host_that_was_off();
    let checkpoints = cluster.data(2).join("projections.sled");
    for damage in [Damage::Gone, Damage::Rotten] {
        assert!(cluster.term(2).success());
        match damage {
            Damage::Gone => fs::remove_dir_all(&checkpoints).unwrap(),
            Damage::Rotten => fs::write(checkpoints.join("db"), [0x5a; 4_096]).unwrap(),
        }
        cluster.restart(2);
        cluster.wait_until_whole();
        block(&cluster);
        cluster.wait_for_one_state();
        assert!(!cluster.log(2).contains("the log's tail cannot be folded"));
    }
    check_all(&mut cluster);
}

/// What becomes of a host's checkpoints.
#[derive(Clone, Copy)]
enum Damage {
    Gone,
    Rotten,
}

/// Three hosts, the last of which was off while the others sealed chapters: its own log begins behind those that it fetched.
fn with_a_host_that_was_off() -> Cluster {
    let mut cluster = Cluster::make(3);
    for host in 0..3 {
        cluster.configure(host, |text| text + LONG);
        cluster.restart(host);
    }
    cluster.wait_until_whole();
    assert!(cluster.term(2).success());
    wait_until("the others have sealed several chapters", || {
        block(&cluster);
        5 <= sealed(&cluster)
    });
    cluster.restart(2);
    cluster.wait_until_whole();
    wait_until("the host has fetched what it lacks", || cluster.log(2).contains("chapters fetched"));
    cluster.wait_for_one_state();
    cluster
}

/// Chapters that the first host has sealed.
fn sealed(cluster: &Cluster) -> usize {
    cluster.log(0).matches("chapter sealed").count()
}

/// Ends all hosts: each one's log is sound, and they have the same chapters.
fn check_all(cluster: &mut Cluster) {
    for host in 0..3 {
        assert!(cluster.term(host).success());
        let verified = cluster.log_command(host, &["verify", "--format", "jsonl"]);
        assert!(verified.status.success(), "host {host}: {verified:?}");
        for number in 1..=5 {
            let seal = |host| fs::read(chapter(cluster, host, number).join("seal")).unwrap();
            assert_eq!(seal(host), seal(0), "chapter {number} of host {host}");
        }
    }
}

/// Where a host keeps a chapter.
fn chapter(cluster: &Cluster, host: usize, number: u64) -> PathBuf {
    cluster.data(host).join(format!("chapters/{number:08x}"))
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Turns a byte of an entry in the middle of a host's log.
fn flip_an_entry(data: &Path) {
    let files = fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).collect();
    files.sort();
    let file = files.last().unwrap();
    let bytes = fs::read(file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let note = NOTE.as_bytes();
    let places: Vec<usize> = (0..end).filter(|at| bytes[*at..].starts_with(note)).collect();
    flip_byte(file, places[places.len() / 2]);
}

/// Three hosts; an attacker that says the canary attacks the first.
fn start(folder: &Scratch) -> Cluster {
    let capture = folder.path().join("canary.pcap");
    fs::write(&capture, replaced(&fs::read(CAPTURE).unwrap(), SAID, CANARY)).unwrap();
    let mut cluster = Cluster::make(3);
    for host in 0..3 {
        cluster.configure(host, |text| text + SHORT);
        if host == 0 {
            let sensor = format!("[sensor]\nplayback = {capture:?}\n");
            cluster.configure(host, |text| text.replacen("[sensor]\ndevices = []\n", &sensor, 1));
        }
        cluster.restart(host);
    }
    cluster.wait_until_whole();
    wait_until("the canary is in a host's log", || !holding(cluster.data(1), CANARY).is_empty());
    cluster
}

/// Writes until chapters enough are cut that the canary is in no file of these hosts, and says when it went from where.
fn fill_until_erased(cluster: &Cluster, hosts: &[usize]) {
    let (started, mut cut) = (Instant::now(), None);
    let mut before = Vec::new();
    loop {
        if cut.is_none() && cluster.log(0).contains("attack data erased") {
            cut = Some(Instant::now());
        }
        let left: Vec<PathBuf> = hosts.iter().flat_map(|host| holding(cluster.data(*host), CANARY)).collect();
        if left != before {
            let since = cut.map(|cut| cut.elapsed().as_secs());
            println!(
                "after {} s, {since:?} s after the cut: {} files",
                started.elapsed().as_secs(),
                left.len()
            );
            left.iter().for_each(|path| println!("  {}", path.display()));
        }
        if left.is_empty() {
            return;
        }
        before = left;
        assert!(started.elapsed() < ERASED_WITHIN, "the canary is still in a file");
        (0..4).for_each(|_| block(cluster));
        thread::park_timeout(Duration::from_millis(100));
    }
}

fn check_the_log(cluster: &Cluster, host: usize) -> Value {
    let verified = cluster.log_command(host, &["verify", "--format", "jsonl"]);
    assert!(verified.status.success(), "host {host}: {verified:?}");
    let report = json_of(&verified);
    assert!(1 < report["first_index"].as_u64().unwrap(), "the log itself begins later: {report}");
    assert_eq!(holding(cluster.data(host), CANARY), Vec::<PathBuf>::new());
    report
}

fn check_the_audit(folder: &Scratch, data: &Path) {
    let exported = palisade(&["audit", "export", "--data"], data);
    assert!(exported.status.success(), "{exported:?}");
    let file = folder.path().join("audit.jsonl");
    fs::write(&file, &exported.stdout).unwrap();
    let verified = palisade(&["audit", "verify"], &file);
    assert!(verified.status.success(), "{verified:?}");
    let text = String::from_utf8(exported.stdout).unwrap();
    assert!(text.contains("\"RetentionCut\""), "the erasure itself is audited");
    fs::write(&file, text.replacen("\"RetentionCut\"", "\"HostRemoved\"", 1)).unwrap();
    assert!(!palisade(&["audit", "verify"], &file).status.success());
}

fn palisade(words: &[&str], path: &Path) -> Output {
    Command::new(binary()).args(words).arg(path).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Blocks an address nobody has: something that is written down.
fn block(cluster: &Cluster) {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let address = format!("198.18.{}.{}", number / 256, number % 256);
    let body = json!({ "address": address, "seconds": 3_600, "note": NOTE });
    let request = Request { method: "POST", path: "/blocks", key: &address, body: &body };
    // While no host leads there is nothing to fill; the next round tries the next address.
    let _ = cluster.door(1).send(&request);
}

/// The files below a directory that hold these bytes. `grep` reads gigabytes in the time in which this program, unoptimised,
/// would read one file.
fn holding(directory: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    let wanted = std::str::from_utf8(wanted).unwrap();
    let found = Command::new("/usr/bin/grep").args(["-rlaF", wanted]).arg(directory).output().unwrap();
    // 2: a file went away meanwhile.
    assert!(matches!(found.status.code(), Some(0..=2)), "{found:?}");
    let mut files: Vec<PathBuf> =
        String::from_utf8(found.stdout).unwrap().lines().map(PathBuf::from).collect();
    files.sort();
    files
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "the capture says what is to be replaced");
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    bytes
}
