#![expect(clippy::disallowed_methods, reason = "works on real files")]

use std::fs;
use std::sync::Arc;

use log_format::chapter;
use log_format::disk::{Disk, StdDisk};
use log_format::event::{ChapterCut, ChapterEvent, Event, HostActive, HostEvent};
use log_format::ids::{ChapterNumber, ClusterId, Incarnation, LogIndex, Term};
use log_format::render;
use log_format::verify::{self, LogView};
use log_format::wal::{ConfState, LogPosition, Wal, WalIdentity};

use super::*;
use crate::config::{self, Config};
use crate::node::SealOrder;
use crate::provision::{FirewallSwitch, NewCluster, NewHost, provision};
use crate::{chapters, witness};

const OLD: ClusterId = ClusterId::new([7; 16]);
/// Entries of each log, the last one uncommitted.
const LAST: u64 = 9;

#[test]
fn a_learner_with_chapters_goes_on_alone_with_everything_it_had() {
    let host = Stopped::new("learner", 2, 2);
    let before = host.told();
    fs::create_dir(host.folder.join("data.recovering")).unwrap(); // What an attempt left that was cut short.
    let forced = force_new_cluster(&host.configuration).unwrap();
    assert_eq!((forced.host, forced.kept.get(), forced.committed.get()), (HostId::new(2), LAST, LAST - 1));
    assert_eq!((forced.previous, forced.let_go), (OLD, vec![HostId::new(1)]));
    assert!(!host.folder.join("data.recovering").exists());

    let new = config::load(&host.configuration).unwrap();
    assert_eq!(
        (new.cluster.id, &new.data, &new.cluster.ca_key),
        (forced.cluster, &forced.data, &forced.ca_key)
    );
    for file in [&new.cluster.ca, &new.cluster.ca_key, &new.cluster.certificate, &new.cluster.key] {
        assert!(fs::read_to_string(file).unwrap().contains("-----BEGIN"), "{}", file.display());
    }
    let report = verify::verify(&StdDisk, &new.data, &witness::is_signed).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.chapters, 2, "the one that was cut is sealed too");
    assert!(chapter::seals(&StdDisk, &new.data).unwrap().iter().all(|seal| seal.cluster == OLD));
    let after = told(&new.data);
    assert_eq!(after[..before.len()], before);
    assert!(after[before.len()].contains("ClusterForced"), "{}", after[before.len()]);
    let (wal, found) = Wal::open(Arc::new(StdDisk), &new.data, past::setup(identity(&new))).unwrap();
    assert_eq!(found.conf_state, ConfState::new([HostId::new(2)], []));
    assert_eq!(found.hard_state.commit, found.last.index);
    assert!(LogIndex::default() < wal.reader().base().index, "what is only in chapters stays there");
    // The old one is as it was, and can be gone back to.
    fs::rename(&forced.old_configuration, &host.configuration).unwrap();
    assert_eq!(host.told(), before);
    assert!(force_new_cluster(&host.configuration).is_ok());
}

#[test]
fn neither_order_is_carried_out_beside_a_running_host() {
    let host = Stopped::new("running", 1, 1);
    let _held = StdDisk.lock(&host.config.data.join("LOCK")).unwrap();
    for error in [
        force_new_cluster(&host.configuration).unwrap_err(),
        accept_tail_loss(&host.config.data, Others::Count).unwrap_err(),
    ] {
        assert!(error.to_string().contains("stop the host first"), "{error}");
    }
    assert!(!must_finish(&host.config.data));
}

#[test]
fn a_damaged_end_is_cut_off_only_where_nobody_else_counts() {
    let host = Stopped::new("several", 3, 1);
    host.damage();
    let refused = accept_tail_loss(&host.config.data, Others::Count).unwrap_err();
    assert!(refused.to_string().contains("one of 3"), "{refused}");
    let damaged = force_new_cluster(&host.configuration).unwrap_err();
    assert!(damaged.to_string().contains("add --accept-tail-loss"), "{damaged}");
    let accepted = accept_tail_loss(&host.config.data, Others::GivenUp).unwrap();
    assert_eq!((accepted.kept.get(), accepted.written.get()), (LAST - 2, LAST - 1));
    assert_eq!(accepted.loss.unwrap().lost_upto, LogIndex::new(LAST));
    let forced = force_new_cluster(&host.configuration).unwrap();
    assert_eq!(forced.let_go, [2, 3].map(HostId::new));
}

#[test]
fn a_cut_that_was_not_written_down_is_written_down_by_the_next_attempt() {
    let host = Stopped::new("unfinished", 1, 1);
    let data = &host.config.data;
    let sound = accept_tail_loss(data, Others::Count).unwrap_err();
    assert!(sound.to_string().contains("not damaged"), "{sound}");
    fs::write(data.join("recovering"), b"").unwrap();
    fs::write(data.join("wal/0000000000000001.wal.1.cut"), [1; 4_096]).unwrap();
    assert!(must_finish(data));
    let accepted = accept_tail_loss(data, Others::Count).unwrap();
    assert!(accepted.loss.is_none() && !must_finish(data));
    let last = host.told().pop().unwrap();
    assert!(last.contains("TailLossAccepted") && last.contains("4096"), "{last}");
}

/// A host that is stopped, of a cluster of some. Its log holds a sealed chapter and one that was only cut, and begins
/// behind the first.
struct Stopped {
    folder: PathBuf,
    configuration: PathBuf,
    config: Config,
}

impl Stopped {
    fn new(name: &str, hosts: u16, own: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("palisade-recover-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder); // It is mostly not there.
        let cluster = NewCluster { id: OLD, year: 2026, hosts: (1..=hosts).map(new_host).collect() };
        let configuration = provision(&cluster, &folder).unwrap().swap_remove(own - 1).configuration;
        let config = config::load(&configuration).unwrap();
        fill(&config);
        Self { folder: configuration.parent().unwrap().to_owned(), configuration, config }
    }

    fn told(&self) -> Vec<String> {
        told(&self.config.data)
    }

    /// Turns a byte of the last entry but one.
    fn damage(&self) {
        let files = StdDisk.list(&self.config.data.join("wal")).unwrap();
        let newest = files.iter().rfind(|name| name.ends_with(".wal")).unwrap();
        let path = self.config.data.join("wal").join(newest);
        let mut bytes = fs::read(&path).unwrap();
        let batches: Vec<usize> =
            (0..bytes.len()).step_by(4_096).filter(|at| bytes[*at..].starts_with(b"WBAT")).collect();
        bytes[batches[batches.len() - 2] + 150] ^= 0x10;
        fs::write(&path, bytes).unwrap();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder.parent().unwrap());
    }
}

fn fill(config: &Config) {
    let (host, data) = (config.host, &config.data);
    let setup = past::setup(identity(config));
    let mut wal = Wal::create(Arc::new(StdDisk), data, setup, config.cluster.first_members()).unwrap();
    let mut after = log_format::time::Timestamp::ZERO;
    for index in 1..=LAST {
        let cut = |chapter, last| {
            let (chapter, last) = (ChapterNumber::new(chapter), LogIndex::new(last));
            Event::Chapter(ChapterEvent::Cut(ChapterCut { chapter, last }))
        };
        let event = match index {
            3 => cut(1, 2),
            6 => cut(2, 5),
            _ => Event::Host(HostEvent::Active(HostActive { host })),
        };
        let at = LogPosition { term: Term::new(1), index: LogIndex::new(index) };
        let entry = past::entry((at, host), after, vec![event]).unwrap();
        after = verify::decode(&entry).unwrap().unwrap().accepted_at;
        append(&mut wal, entry, index);
        if index == 2 {
            let history = log_format::history::History::new(Arc::new(StdDisk), data, wal.reader());
            let (chapter, first, last) = (ChapterNumber::new(1), LogIndex::new(1), LogIndex::new(2));
            let order = SealOrder { chapter, first, last, previous: None };
            chapters::seal(&StdDisk, data, (OLD, &history), &order, &mut || {}).unwrap();
            wal.leave_behind(LogIndex::new(2)).unwrap();
        }
    }
    wal.retire(LogIndex::new(3)).unwrap();
}

fn append(wal: &mut Wal<StdDisk>, entry: log_format::wal::LogEntry, index: u64) {
    use log_format::wal::{Batch, Durability, HardState};
    let commit = LogIndex::new(index.min(LAST - 1));
    let hard_state = HardState { term: Term::new(1), vote: None, commit };
    wal.append(&Batch { hard_state, entries: &[entry], conf_state: None, durability: Durability::Sync })
        .unwrap();
}

fn identity(config: &Config) -> WalIdentity {
    WalIdentity { cluster: config.cluster.id, host: config.host, incarnation: Incarnation::new(1) }
}

fn told(data: &Path) -> Vec<String> {
    let view = LogView::open(&StdDisk, data).unwrap();
    let entries = view.entries(LogIndex::new(1)).map(|entry| render::entry_lines(&entry.unwrap()).join(" "));
    entries.collect()
}

fn new_host(number: u16) -> NewHost {
    NewHost {
        name: format!("host{number}"),
        address: ([127, 0, 0, 1], 7_100 + number).into(),
        console: ([127, 0, 0, 1], 8_440 + number).into(),
        plain_console: true,
        devices: Vec::new(),
        playback: None,
        firewall: FirewallSwitch::Off,
    }
}
