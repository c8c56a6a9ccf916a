//! The log on a disk in memory.

mod damage;
mod retire;

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{Fault, MemoryDisk, Operation};
use crate::ids::{ClusterId, HostId, Incarnation, LogIndex, Term};
use crate::time::Timestamp;

const DATA: &str = "/data";
/// Room for a header and seven blocks.
const SMALL: u64 = 8 * BLOCK_BYTES;

#[test]
fn what_was_appended_is_there_after_a_power_cut() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 10), entry(2, 1, 5_000)]).unwrap();
    append(&mut wal, 2, &[entry(3, 2, 0)]).unwrap();
    drop(wal);
    disk.crash(7);

    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.ended, TailEnd::Clean);
    assert_eq!(recovered.last, position(3, 2));
    assert_eq!(recovered.base, LogPosition::default());
    assert_eq!(recovered.hard_state, hard_state(2, 0));
    assert_eq!(recovered.conf_state, members());
    let entries = read(&wal, 1, 4);
    assert_eq!(entries, [entry(1, 1, 10), entry(2, 1, 5_000), entry(3, 2, 0)]);
}

#[test]
fn a_log_goes_on_in_the_next_file() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    for index in 1..=20 {
        append(&mut wal, 1, &[entry(index, 1, 5_000)]).unwrap();
    }
    drop(wal);
    let (mut wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.last, position(20, 1));
    assert_eq!(
        log_files(&disk),
        [
            "0000000000000001.wal",
            "0000000000000002.wal",
            "0000000000000003.wal",
            "0000000000000004.wal",
            "0000000000000005.wal",
            "0000000000000006.wal",
            "0000000000000007.wal"
        ]
    );
    append(&mut wal, 1, &[entry(21, 1, 1)]).unwrap();
    assert_eq!(read(&wal, 1, 22).len(), 21);
}

#[test]
fn a_replaced_suffix_is_gone_for_readers_and_after_a_restart() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 10), entry(2, 1, 11), entry(3, 1, 12)]).unwrap();
    append(&mut wal, 1, &[entry(4, 1, 13)]).unwrap();
    append(&mut wal, 2, &[entry(2, 2, 20)]).unwrap();
    let expected = [entry(1, 1, 10), entry(2, 2, 20)];
    assert_eq!(read(&wal, 1, 3), expected);
    assert!(matches!(
        wal.reader().entries(LogIndex::new(3), LogIndex::new(4), 1),
        Err(ReadError::Unavailable { .. })
    ));
    drop(wal);
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.last, position(2, 2));
    assert_eq!(read(&wal, 1, 3), expected);
    assert_eq!(wal.reader().term(LogIndex::new(1)), Some(Term::new(1)));
    assert_eq!(wal.reader().term(LogIndex::new(2)), Some(Term::new(2)));
    assert_eq!(wal.reader().term(LogIndex::new(3)), None);
}

#[test]
fn a_reader_keeps_to_its_byte_limit_but_gives_one_entry() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 100), entry(2, 1, 100), entry(3, 1, 100)]).unwrap();
    let count = |max| {
        let (from, until) = (LogIndex::new(1), LogIndex::new(4));
        wal.reader().entries(from, until, max).unwrap().len()
    };
    assert_eq!((count(0), count(100), count(199), count(200), count(u64::MAX)), (1, 1, 1, 2, 3));
}

#[test]
fn only_a_commit_index_may_wait_for_the_next_batch() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 1)]).unwrap();
    let syncs = disk.syncs();
    let later =
        |hard_state, entries| Batch { hard_state, entries, conf_state: None, durability: Durability::Later };
    assert_eq!(wal.append(&later(hard_state(1, 1), &[])).unwrap(), Appended::Waiting);
    assert_eq!(disk.syncs(), syncs);
    assert_eq!(wal.durable_hard_state(), hard_state(1, 0));
    let second = [entry(2, 1, 1)];
    let appended = wal.append(&later(hard_state(1, 1), &second)).unwrap();
    assert_eq!(appended, Appended::Durable(BatchNumber::new(2)));
    assert_eq!(disk.syncs(), syncs + 1);
    assert_eq!(wal.durable_hard_state(), hard_state(1, 1));
    let appended = wal.append(&later(hard_state(2, 1), &[])).unwrap();
    assert_eq!(appended, Appended::Durable(BatchNumber::new(3)));
}

#[test]
fn one_failed_sync_poisons_the_log_for_ever() {
    for operation in [Operation::Write, Operation::SyncData] {
        let disk = Arc::new(MemoryDisk::new());
        let mut wal = create(&disk);
        append(&mut wal, 1, &[entry(1, 1, 1)]).unwrap();
        disk.inject(Fault { operation, after: 0, kind: io::ErrorKind::Other });
        let error = append(&mut wal, 1, &[entry(2, 1, 1)]).unwrap_err();
        assert!(matches!(error, AppendError::Disk { .. }), "{error:?}");
        let error = append(&mut wal, 1, &[entry(2, 1, 1)]).unwrap_err();
        assert!(matches!(error, AppendError::Poisoned), "{error:?}");
        assert_eq!(wal.reader().last(), position(1, 1));
        drop(wal);
        disk.crash(1);
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.last, position(1, 1));
    }
}

#[test]
fn two_processes_never_share_a_log() {
    let disk = Arc::new(MemoryDisk::new());
    let wal = create(&disk);
    assert!(matches!(open(&disk), Err(RecoverError::InUse { .. })));
    drop(wal);
    assert!(open(&disk).is_ok());
    assert!(matches!(
        Wal::create(Arc::clone(&disk), Path::new(DATA), setup(1), members()),
        Err(RecoverError::Exists { .. })
    ));
}

pub(super) fn create(disk: &Arc<MemoryDisk>) -> Wal<MemoryDisk> {
    Wal::create(Arc::clone(disk), Path::new(DATA), setup(1), members()).unwrap()
}

pub(super) fn open(disk: &Arc<MemoryDisk>) -> Result<(Wal<MemoryDisk>, Recovered), RecoverError> {
    Wal::open(Arc::clone(disk), Path::new(DATA), setup(100))
}

/// A setup whose nonces count from this number.
pub(super) fn setup(first_nonce: u64) -> WalSetup {
    let mut nonce = first_nonce;
    WalSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([7; 16]),
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
        },
        options: WalOptions { file_bytes: SMALL },
        stamps: Box::new(move || {
            nonce += 1;
            FileStamp { nonce, created_at: Timestamp::from_seconds(1_000) }
        }),
    }
}

pub(super) fn members() -> ConfState {
    ConfState::new([1, 2, 3].map(HostId::new), [])
}

pub(super) fn append(
    wal: &mut Wal<MemoryDisk>,
    term: u64,
    entries: &[LogEntry],
) -> Result<Appended, AppendError> {
    wal.append(&Batch {
        hard_state: hard_state(term, 0),
        entries,
        conf_state: None,
        durability: Durability::Sync,
    })
}

pub(super) fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term: Term::new(term), vote: Some(HostId::new(2)), commit: LogIndex::new(commit) }
}

/// An entry whose data depends on its place and length only, with runs of zeros.
pub(super) fn entry(index: u64, term: u64, length: usize) -> LogEntry {
    let byte = |at: usize| if at / 700 % 2 == 1 { 0 } else { (at as u64 * 7 + index * 13 + term) as u8 };
    LogEntry {
        index: LogIndex::new(index),
        term: Term::new(term),
        kind: EntryKind::Normal,
        data: (0..length).map(byte).collect(),
    }
}

pub(super) fn read(wal: &Wal<MemoryDisk>, from: u64, until: u64) -> Vec<LogEntry> {
    wal.reader().entries(LogIndex::new(from), LogIndex::new(until), u64::MAX).unwrap()
}

fn position(index: u64, term: u64) -> LogPosition {
    LogPosition { term: Term::new(term), index: LogIndex::new(index) }
}

fn log_files(disk: &MemoryDisk) -> Vec<String> {
    let mut names = disk.list(Path::new("/data/wal")).unwrap();
    names.retain(|name| name.ends_with(".wal"));
    names
}

#[test]
fn a_batch_never_ends_in_a_sector_with_a_single_bit() {
    // The entry's only byte lies alone in the second sector.
    let lone = |byte: u8| {
        let mut data = vec![0x55; 512 - 80 - 24 + 1];
        *data.last_mut().unwrap() = byte;
        LogEntry { index: LogIndex::new(1), term: Term::new(1), kind: EntryKind::Normal, data }
    };
    for (byte, count) in [(0x03, 1), (0x40, 2)] {
        let entries = [lone(byte)];
        let mut bytes = Vec::new();
        let hard_state = hard_state(1, 0);
        let batch = Batch { hard_state, entries: &entries, conf_state: None, durability: Durability::Sync };
        let mut header = batch::encode(&mut bytes, &batch);
        batch::seal(&mut bytes, &mut header, 1, BatchNumber::new(1));
        assert_eq!(header.count, count);
        let body = &bytes[80..80 + header.body_bytes()];
        let contents = record::read_body(&header, body).unwrap();
        assert_eq!(contents.entries[0].to_entry(), entries[0]);
    }
}
