use std::path::{Path, PathBuf};

use log_format::disk::StdDisk;
use log_format::event::{Actor, ChapterCut, Text};
use log_format::ids::{
    ChapterNumber, ClusterId, CommandId, HostId, Incarnation, Origin, OriginSequence, Salt, Term,
};
use log_format::time::Timestamp;
use log_format::wal::{
    Batch, ConfState, Durability, FileStamp, HardState, LogEntry, Wal, WalIdentity, WalOptions, WalSetup,
};
use projections::decide::{Command, CommandBody, Decision, decide};

use super::*;

const ENTRIES: u64 = 3_000;

#[test]
fn both_ways_of_folding_reach_the_state_of_one_entry_after_the_other() {
    let (data, expected) = log("same", |_| None);
    let history = data.history();
    let (mut fast, mut slow) = (Folded::default(), Folded::default());
    let seen = at_start(&history, &mut fast, LogIndex::new(ENTRIES)).expect("it is folded");
    assert_eq!(beside(&history, &mut slow, LogIndex::new(ENTRIES), |_| {}).expect("it is folded"), seen);
    assert!(same(&fast, &expected) && same(&slow, &expected));
    assert!(!seen.erases);
}

#[test]
fn projections_that_stand_at_different_entries_fold_what_each_lacks() {
    let (data, expected) = log("different", |_| None);
    let history = data.history();
    let upto = |upto| {
        let mut folded = Folded::default();
        beside(&history, &mut folded, LogIndex::new(upto), |_| {}).expect("it is folded");
        folded
    };
    for (model, views) in [(2_999, 7), (7, 2_999), (0, 1_000), (ENTRIES, 0), (ENTRIES, ENTRIES)] {
        let mut folded = Folded { model: upto(model).model, views: upto(views).views };
        at_start(&history, &mut folded, LogIndex::new(ENTRIES)).expect("it is folded");
        assert!(same(&folded, &expected), "from {model} and {views}");
    }
}

#[test]
fn an_entry_that_does_not_decode_is_named() {
    let (data, _) = log("undecodable", |index| (index == 2_000).then(|| b"no envelope".to_vec()));
    let error = at_start(&data.history(), &mut Folded::default(), LogIndex::new(ENTRIES)).unwrap_err();
    assert!(format!("{error:#}").starts_with("decode committed entry 2000: "), "{error:#}");
}

#[test]
fn bytes_are_counted_from_the_last_cut_on() {
    let cut = |index| {
        let event = ChapterCut { chapter: ChapterNumber::new(index / 1_000), last: LogIndex::new(index - 1) };
        let event = Event::Chapter(ChapterEvent::Cut(event));
        let recorded =
            log_format::envelope::Recorded { observed_at: Timestamp::ZERO, salt: Salt::default(), event };
        let envelope = Envelope {
            command: CommandId::new([9; 16]),
            origin: origin(),
            accepted_at: Timestamp::from_seconds(1_000),
            events: vec![recorded],
        };
        envelope.encode().expect("an envelope")
    };
    let (data, _) = log("cut", |index| (index == 1_000 || index == 2_990).then(|| cut(index)));
    let bytes = |from: u64| -> u64 {
        let history = data.history();
        let entries = history.iter(LogIndex::new(from), LogIndex::new(ENTRIES + 1));
        entries.map(|entry| entry.expect("an entry").data.len() as u64).sum()
    };
    let seen = at_start(&data.history(), &mut Folded::default(), LogIndex::new(ENTRIES)).expect("folded");
    assert_eq!(seen.open_bytes, bytes(2_990));
    let mut folded = Folded::default();
    beside(&data.history(), &mut folded, LogIndex::new(2_995), |_| {}).expect("it is folded");
    let seen = at_start(&data.history(), &mut folded, LogIndex::new(ENTRIES)).expect("it is folded");
    assert_eq!(seen.open_bytes, bytes(2_996));
}

fn same(one: &Folded, other: &Folded) -> bool {
    projections::state_hash(&one.model, &one.views) == projections::state_hash(&other.model, &other.views)
}

struct Scratch(PathBuf, Option<Wal<StdDisk>>);

impl Scratch {
    fn history(&self) -> History<StdDisk> {
        History::new(Arc::new(StdDisk), &self.0, self.1.as_ref().expect("a log").reader())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.1 = None;
        let _ = std::fs::remove_dir_all(&self.0); // What is left behind is in a folder for that.
    }
}

/// A log of blocked addresses, some entries of it replaced, and what folding it without threads gives if none is.
fn log(name: &str, other: impl Fn(u64) -> Option<Vec<u8>>) -> (Scratch, Folded) {
    let data = std::env::temp_dir().join(format!("palisade-fold-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&data); // It is mostly not there.
    let mut wal = begin(&data);
    let (mut folded, mut entries) = (Folded::default(), Vec::new());
    for index in 1..=ENTRIES {
        let envelope = block(index, &folded);
        folded.fold(LogIndex::new(index), &envelope);
        let bytes = other(index).unwrap_or_else(|| envelope.encode().expect("an envelope"));
        let (index, term) = (LogIndex::new(index), Term::new(1));
        entries.push(LogEntry { index, term, kind: EntryKind::Normal, data: bytes });
    }
    for entries in entries.chunks(100) {
        let hard_state = HardState { term: Term::new(1), vote: None, commit: LogIndex::default() };
        let batch = Batch { hard_state, entries, conf_state: None, durability: Durability::Sync };
        wal.append(&batch).expect("it is written");
    }
    (Scratch(data, Some(wal)), folded)
}

fn begin(data: &Path) -> Wal<StdDisk> {
    let identity = WalIdentity {
        cluster: ClusterId::new([7; 16]),
        host: HostId::new(1),
        incarnation: Incarnation::new(1),
    };
    let setup = WalSetup {
        identity,
        options: WalOptions { file_bytes: 1 << 20 },
        stamps: Box::new(|| FileStamp { nonce: 7, created_at: Timestamp::ZERO }),
    };
    Wal::create(Arc::new(StdDisk), data, setup, ConfState::new([HostId::new(1)], [])).expect("a log")
}

fn block(index: u64, folded: &Folded) -> Envelope {
    let number = u32::try_from(index).expect("a small index");
    let (by, source) = (Actor::System, std::net::IpAddr::from((0x5000_0000 + number).to_be_bytes()));
    let body = CommandBody::BlockAddress { source, seconds: Some(3_600), note: Text::default(), by };
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let at = Timestamp::from_seconds(1_000);
    let command = Command { id: CommandId::new(id), origin: origin(), observed_at: at, body };
    let Ok(Decision::Events(events)) = decide(&folded.model, &command, at) else { panic!("refused") };
    command.envelope(events, folded.model.next_accepted_at(at), &mut Salt::default)
}

fn origin() -> Origin {
    Origin { host: HostId::new(1), incarnation: Incarnation::new(1), sequence: OriginSequence::new(0) }
}
