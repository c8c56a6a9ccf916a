//! The whole log over both: what was retired from the write-ahead log is told by chapters, and both are verified together.
#![expect(dead_code, reason = "the samples are shared with the golden files")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "samples/mod.rs"]
mod samples;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use log_format::chapter::{self, ChapterPlan};
use log_format::disk::{Disk, Fault, MemoryDisk, Operation};
use log_format::event::{
    Actor, ChapterEvent, ChapterSealed, Event, HostEvent, HostKeyAnnounced, RetentionCut, SealWitnessed,
};
use log_format::history::History;
use log_format::ids::{HostId, LogIndex, Salt, Term};
use log_format::seal::Seal;
use log_format::time::Timestamp;
use log_format::verify::{self, Problem};
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Wal, WalOptions, WalSetup,
};

/// A host's log, one entry a batch, in files of a few batches.
struct Host {
    disk: Arc<MemoryDisk>,
    wal: Wal<MemoryDisk>,
    written: Vec<LogEntry>,
}

#[test]
fn retired_entries_are_told_by_chapters_and_the_rest_by_the_log() {
    let mut host = Host::with_entries();
    let seal = host.seal(None, 12);
    assert!(0 < host.wal.retire(seal.last.index.next()).unwrap());
    let history = host.history();
    assert!(LogIndex::new(1) < history.wal().first_index());
    let all: Vec<LogEntry> =
        history.iter(LogIndex::new(1), history.wal().last().index.next()).map(Result::unwrap).collect();
    assert_eq!(all, host.written);
    // In pieces, and in any order.
    for from in (1..=all.len() as u64).rev() {
        let until = LogIndex::new((from + 3).min(all.len() as u64 + 1));
        let piece = history.entries(LogIndex::new(from), until, 1).unwrap();
        assert_eq!(piece.first().map(|entry| entry.index), Some(LogIndex::new(from)));
    }
    let report = host.verify();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.chapters, report.sealed, report.entries), (1, seal.last.index, all.len() as u64));
    assert_eq!(report.seal, Some(seal.hash()));
}

#[test]
fn behind_a_chapter_that_the_log_has_the_next_chapter_is_believed_and_not_the_log() {
    let ahead = Host::with_entries();
    let mut behind = Host::new();
    ahead.written.iter().take(8).cloned().for_each(|entry| behind.append(entry));
    // Of a leader that was deposed before anybody else had it.
    for entry in ahead.written.iter().skip(8).take(4) {
        let data = Vec::new();
        behind.append(LogEntry { data, term: entry.term, ..*entry });
    }
    let first = behind.seal(None, 8);
    let plan = ChapterPlan { last: LogIndex::new(20), ..samples::chapter::plan(Some(&first)) };
    let entries = ahead.history();
    chapter::build(&*behind.disk, data(), &plan, entries.iter(plan.first, plan.last.next())).unwrap();
    let history = behind.history();
    let read: Vec<LogEntry> = history.iter(LogIndex::new(3), LogIndex::new(21)).map(Result::unwrap).collect();
    assert_eq!(read, ahead.written[2..20]);
}

#[test]
fn entries_that_nobody_holds_are_a_problem() {
    let mut host = Host::with_entries();
    let seal = host.seal(None, 12);
    host.wal.retire(seal.last.index.next()).unwrap();
    let file = chapter::directory_of(data(), seal.chapter).join("seal");
    host.disk.remove(&file).unwrap();
    let report = host.verify();
    assert!(matches!(report.problems.as_slice(), [Problem::Gap { .. }, ..]), "{:?}", report.problems);
}

#[test]
fn a_seal_that_the_log_does_not_say_and_a_false_witness_are_problems() {
    let mut host = Host::with_entries();
    let seal = host.seal(None, 12);
    let (chapter, hash, one) = (seal.chapter, seal.hash(), HostId::new(1));
    host.record(Event::Host(HostEvent::KeyAnnounced(HostKeyAnnounced { host: one, key: [7; 32] })));
    host.record(Event::Chapter(ChapterEvent::Sealed(ChapterSealed { chapter, seal: hash })));
    let witnessed = |signature| SealWitnessed { chapter, host: one, signature };
    host.record(Event::Chapter(ChapterEvent::Witnessed(witnessed(signature(&[7; 32], &hash)))));
    let report = host.verify();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.witnessed, 1);

    host.record(Event::Chapter(ChapterEvent::Witnessed(witnessed(vec![0; 64]))));
    host.record(Event::Chapter(ChapterEvent::Sealed(ChapterSealed { chapter, seal: [0; 32] })));
    let problems = host.verify().problems;
    assert!(
        matches!(problems.as_slice(), [Problem::Witness { .. }, Problem::Differs { .. }]),
        "{problems:?}"
    );
}

#[test]
fn what_is_erased_is_erased_for_a_reader_in_the_middle_and_held_open_by_none_at_the_end() {
    let mut host = Host::with_entries();
    let seal = host.seal(None, 12);
    host.wal.retire(seal.last.index.next()).unwrap();
    let told = |history: &History<MemoryDisk>, from: u64, until: u64| {
        history.entries(LogIndex::new(from), LogIndex::new(until), u64::MAX).unwrap()
    };
    let attack = chapter::directory_of(data(), seal.chapter).join("attack.zst");
    let length = host.disk.contents(&attack).unwrap().len() as u64;
    let free = || host.disk.space(data()).unwrap().free;
    // One stands in the middle of the chapter, one at its end.
    let (middle, end) = (host.history(), host.history());
    assert_eq!(told(&middle, 1, 2), host.written[..1]);
    assert_eq!(told(&end, 1, 13), host.written[..12]);
    let before = free();
    chapter::erase(&*host.disk, data(), seal.chapter).unwrap();
    let erased = told(&host.history(), 2, 13);
    assert_ne!(erased, host.written[1..12]);
    assert_eq!(told(&middle, 2, 13), erased);
    assert_eq!(free(), before + length);
}

#[test]
fn one_damaged_chapter_keeps_no_other_from_being_erased() {
    let host = Host::with_entries();
    let one = host.seal(None, 6);
    let two = host.seal(Some(&one), 12);
    let [files, attack] = [(&one, "files"), (&two, "attack.zst")]
        .map(|(seal, name)| chapter::directory_of(data(), seal.chapter).join(name));
    assert!(host.disk.flip_bit(&files, 100));
    let error = chapter::erase(&*host.disk, data(), two.chapter).unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert!(host.disk.contents(&attack).is_none());
}

#[test]
fn chapters_are_erased_as_the_log_says() {
    let mut host = Host::with_entries();
    let one = host.seal(None, 6);
    let two = host.seal(Some(&one), 12);
    let problems = host.verify().problems;
    assert!(problems.is_empty(), "{problems:?}");
    // Nobody ordered it.
    chapter::erase(&*host.disk, data(), one.chapter).unwrap();
    let problems = host.verify().problems;
    assert!(
        matches!(problems[..], [Problem::ErasedUnordered { chapter }] if chapter == one.chapter),
        "{problems:?}"
    );
    // It was ordered, and that of the next was not carried out.
    let cut = RetentionCut { chapter: two.chapter, last: two.last.index, by: Actor::System };
    host.record(Event::Chapter(ChapterEvent::Erased(cut)));
    let problems = host.verify().problems;
    assert!(
        matches!(problems[..], [Problem::NotErased { chapter }] if chapter == two.chapter),
        "{problems:?}"
    );
    chapter::erase(&*host.disk, data(), two.chapter).unwrap();
    let problems = host.verify().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn what_is_gone_when_it_is_looked_at_again_is_no_damage() {
    let host = Host::with_entries();
    host.seal(None, 4);
    // Stands for whatever a running host does beside the look: something is amiss once.
    for operation in [Operation::Open, Operation::Read] {
        for after in 0..30 {
            host.disk.inject(Fault { operation, after, kind: ErrorKind::Other });
            let report = host.verify();
            assert!(report.is_sound(), "{operation:?} {after}: {:?}", report.problems);
            host.disk.mend();
        }
    }
}

impl Host {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        let setup = WalSetup {
            identity: samples::identity(),
            options: WalOptions { file_bytes: 16_384 },
            stamps: Box::new(|| FileStamp { nonce: 9, created_at: Timestamp::ZERO }),
        };
        let wal = Wal::create(Arc::clone(&disk), data(), setup, members()).unwrap();
        Self { disk, wal, written: Vec::new() }
    }

    /// Two rounds of the sample entries.
    fn with_entries() -> Self {
        let mut host = Self::new();
        for _ in 0..2 {
            let first = host.written.len() as u64 + 1;
            samples::chapter::entries(first)
                .into_iter()
                .map(without_chapters)
                .for_each(|entry| host.append(entry));
        }
        host
    }

    fn append(&mut self, entry: LogEntry) {
        let commit = entry.index;
        let hard_state = HardState { term: entry.term, vote: None, commit };
        let entries = std::slice::from_ref(&entry);
        self.wal
            .append(&Batch { hard_state, entries, conf_state: None, durability: Durability::Sync })
            .unwrap();
        self.written.push(entry);
    }

    fn record(&mut self, event: Event) {
        let mut envelope = samples::envelope();
        let salt = Salt::default();
        envelope.events = vec![log_format::envelope::Recorded { observed_at: Timestamp::ZERO, salt, event }];
        let index = LogIndex::new(self.written.len() as u64 + 1);
        let data = envelope.encode().unwrap();
        self.append(LogEntry { index, term: Term::new(3), kind: EntryKind::Normal, data });
    }

    fn history(&self) -> History<MemoryDisk> {
        History::new(Arc::clone(&self.disk), data(), self.wal.reader())
    }

    fn seal(&self, before: Option<&Seal>, last: u64) -> Seal {
        let plan = ChapterPlan { last: LogIndex::new(last), ..samples::chapter::plan(before) };
        let entries = self.history();
        chapter::build(&*self.disk, data(), &plan, entries.iter(plan.first, plan.last.next())).unwrap()
    }

    fn verify(&self) -> verify::Report {
        let check = |key: &[u8; 32], seal: &[u8; 32], signed: &[u8]| signature(key, seal) == signed;
        verify::verify(&*self.disk, data(), &check).unwrap()
    }
}

/// Stands for a signature: whoever signs is not what is tested here.
fn signature(key: &[u8; 32], seal: &[u8; 32]) -> Vec<u8> {
    [*key, *seal].concat()
}

/// The entry, or an empty one if it says something of chapters: those of the tests are others.
fn without_chapters(entry: LogEntry) -> LogEntry {
    let envelope = verify::decode(&entry).unwrap();
    let is_of_chapters = |event: &Event| matches!(event, Event::Chapter(_));
    let says = envelope
        .is_some_and(|envelope| envelope.events.iter().any(|recorded| is_of_chapters(&recorded.event)));
    if says { LogEntry { data: Vec::new(), ..entry } } else { entry }
}

fn members() -> ConfState {
    ConfState::new([1, 2, 3].map(HostId::new), [])
}

fn data() -> &'static Path {
    Path::new(samples::DATA)
}
