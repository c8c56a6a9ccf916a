//! Every byte of a log is turned in turn: each is noticed, and repaired to the same bytes from another host's entries.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_format::disk::{Disk, MemoryDisk};
use log_format::ids::{ClusterId, HostId, Incarnation, LogIndex, Term};
use log_format::recover::RecoverError;
use log_format::repair::{self, Members, Need, RepairError, RepairOrder};
use log_format::time::Timestamp;
use log_format::verify;
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Recovered, TailEnd, Wal,
    WalIdentity, WalOptions, WalReader, WalSetup,
};

const DATA: &str = "/data";
const BLOCK: u64 = 4_096;
const FILE_BYTES: u64 = 3 * BLOCK;
/// Entries of the log.
const LAST: u64 = 12;

#[test]
fn every_byte_of_a_log_is_noticed_and_repaired_from_a_peer() {
    let log = Log::new();
    let (mut repaired, mut scrubbed, mut torn) = (0, 0, 0);
    for file in &log.files {
        for byte in 0..FILE_BYTES {
            // All bits of it, or two.
            let mask = if byte % 2 == 0 { 0xff } else { 0x24 };
            match log.survives(file, byte, mask) {
                Outcome::Repaired => repaired += 1,
                Outcome::Scrubbed => scrubbed += 1,
                Outcome::Torn => torn += 1,
            }
        }
    }
    assert_eq!(repaired + scrubbed + torn, FILE_BYTES * log.files.len() as u64);
    println!("{repaired} repaired, {scrubbed} made zero again, {torn} taken for a torn tail");
    assert!([repaired, scrubbed, torn].iter().all(|count| 1_000 < *count));
}

#[test]
fn every_bit_of_one_batch_is_noticed_and_repaired_from_a_peer() {
    let log = Log::new();
    for byte in BLOCK..2 * BLOCK {
        for bit in 0..8 {
            log.survives(&log.files[1], byte, 1 << bit);
        }
    }
}

#[test]
fn several_damaged_batches_and_headers_are_repaired_one_after_another() {
    let log = Log::new();
    for file in &log.files {
        for place in [70, BLOCK + 10, BLOCK + 90] {
            assert!(log.disk.flip_bit(file, place * 8 + 3));
        }
    }
    let mut repairs = 0;
    while let Some(order) = log.find() {
        log.apply(&order).expect("repair the log");
        repairs += 1;
    }
    assert!(log.files.len() * 2 <= repairs, "{repairs} repairs");
    log.check_whole();
}

#[test]
fn members_are_repaired_from_a_list_that_is_handed_in() {
    let log = Log::new();
    // The batch that holds nothing but members lies in the second file; no other place has this list.
    let (file, at) = log.place_of(|bytes| bytes[64..68] == 1_u32.to_le_bytes() && bytes[48..56] == [0; 8]);
    log.disk.flip_bit(&file, (at + 110) * 8);
    let order = log.find().expect("an order");
    let Need::Records(need) = order.need else { panic!("{order:?}") };
    assert_eq!((need.entries, need.members, need.count), (None, Members::Possible, 1));
    let apply =
        |members: &[ConfState]| repair::apply(&*log.disk, data(), &identity(), &order, (&[], members));
    assert!(matches!(apply(&[]), Err(RepairError::NotReproduced { .. })));
    assert!(matches!(apply(&[members(8)]), Err(RepairError::NotReproduced { .. })));
    apply(&[members(8), members(9)]).expect("repair the log");
    log.check_whole();
}

#[test]
fn other_entries_are_refused_and_nothing_is_written() {
    let log = Log::new();
    let (file, at) = log.place_of(|bytes| bytes[48..56] == 3_u64.to_le_bytes());
    log.disk.flip_bit(&file, (at + 300) * 8);
    let order = log.find().expect("an order");
    let writes = log.disk.writes();
    let good = log.peer.entries(LogIndex::new(3), LogIndex::new(4), u64::MAX).expect("the peer's entries");
    let apply = |order: &RepairOrder, entries: &[LogEntry]| {
        repair::apply(&*log.disk, data(), &identity(), order, (entries, &[]))
    };
    let mut other = good.clone();
    other[0].data[5] ^= 1;
    assert!(matches!(apply(&order, &other), Err(RepairError::NotReproduced { .. })));
    other[0] = LogEntry { term: Term::new(9), ..good[0].clone() };
    let refused = apply(&order, &other).expect_err("another term").to_string();
    assert_eq!(refused, "the entries and members do not give batch 4 back: ask another host");
    assert!(matches!(apply(&order, &[]), Err(RepairError::Entries { .. })));
    assert_eq!(log.disk.writes(), writes);
    apply(&order, &good).expect("repair the log");
    assert!(matches!(apply(&order, &good), Err(RepairError::Stale { .. })));
    log.check_whole();
}

#[test]
fn what_nothing_proves_is_refused_in_words() {
    let log = Log::new();
    // Of a header sector nothing is left, and later batches show that it was there.
    let (file, at) = log.place_of(|bytes| bytes[48..56] == 3_u64.to_le_bytes());
    log.disk.overwrite(&file, at, &[0; 512]);
    let refused = repair::find(&*log.disk, data(), &identity()).expect_err("no order").to_string();
    assert!(refused.contains("acknowledged entries are damaged and nothing was changed"), "{refused}");
    assert!(refused.contains("let it join as a new host"), "{refused}");

    // Two bytes of the oldest file's header: it begins with members that stand nowhere else.
    let log = Log::new();
    log.disk.overwrite(&log.files[0], 90, &[0xaa, 0xbb]);
    assert!(matches!(repair::find(&*log.disk, data(), &identity()), Err(RecoverError::Corrupt(_))));
    // A later file's header is known from the files before it, except when it was made.
    let log = Log::new();
    log.disk.overwrite(&log.files[1], 0, &[0xaa; 96]);
    let order = log.find().expect("an order");
    assert_eq!(order.need, Need::Nothing);
    log.apply(&order).expect("repair the log");
    log.check_whole();
}

#[test]
fn a_log_of_another_host_is_not_repaired() {
    let log = Log::new();
    let other = WalIdentity { host: HostId::new(9), ..identity() };
    let found = repair::find(&*log.disk, data(), &other);
    assert!(matches!(found, Err(RecoverError::WrongIdentity { .. })));
    log.disk.flip_bit(&log.files[0], 8 * 60);
    assert!(matches!(repair::find(&*log.disk, data(), &other), Err(RecoverError::Corrupt(_))));
}

#[test]
fn a_damaged_tail_is_cut_off_on_order_and_kept_beside() {
    let log = Log::new();
    let (file, at) = log.place_of(|bytes| bytes[48..56] == 3_u64.to_le_bytes());
    log.disk.flip_bit(&file, (at + 300) * 8);
    let before = log.disk.contents(&file).expect("a log file");
    let loss = repair::accept_tail_loss(&*log.disk, data(), &identity()).expect("cut the log");
    assert_eq!((loss.last.index, loss.commit), (LogIndex::new(2), LogIndex::new(2)));
    assert_eq!(loss.damage.entries, Some((LogIndex::new(3), LogIndex::new(3))));
    assert!(LogIndex::new(3) < loss.lost_upto && 4_096 < loss.bytes, "{loss:?}");
    assert_eq!(loss.copies.len(), log.files.len() - 1);
    let cut = loss.copies.last().expect("a copy");
    assert!(cut.ends_with("0000000000000002.wal.1.cut"), "{}", cut.display());
    let at = usize::try_from(at).expect("small");
    let kept = log.disk.contents(cut).expect("a copy");
    assert!(before[at..].starts_with(&kept) && !kept.is_empty());
    let (mut wal, recovered) = log.open().expect("open the log");
    assert_eq!((recovered.last.index, recovered.hard_state.commit), (LogIndex::new(2), LogIndex::new(2)));
    // It stays until all that it names is erased.
    let is_there = |copy: &PathBuf| log.disk.contents(copy).is_some();
    wal.leave_behind(LogIndex::new(2)).expect("leave behind");
    assert!(is_there(cut));
    wal.leave_behind(loss.lost_upto).expect("leave behind");
    assert!(!loss.copies.iter().any(is_there));
    drop(wal);
    let again = repair::accept_tail_loss(&*log.disk, data(), &identity());
    assert!(matches!(again, Err(RepairError::Sound)));
}

#[test]
fn a_power_cut_while_a_tail_is_cut_off_leaves_the_damage_or_what_was_to_be_left() {
    let log = Log::new();
    let (file, at) = log.place_of(|bytes| bytes[48..56] == 3_u64.to_le_bytes());
    log.disk.flip_bit(&file, (at + 300) * 8);
    for changes in 0..60 {
        for seed in 0..6 {
            let disk = Arc::new(log.disk.fork());
            disk.fail_after_changes(changes);
            let is_done = repair::accept_tail_loss(&*disk, data(), &identity()).is_ok();
            disk.crash(seed);
            if !is_done {
                match repair::accept_tail_loss(&*disk, data(), &identity()) {
                    Ok(_) | Err(RepairError::Sound) => {}
                    Err(error) => panic!("{changes} changes, seed {seed}: {error}"),
                }
            }
            let (_, recovered) = Wal::open(disk, data(), setup()).expect("open the log");
            assert_eq!(recovered.last.index, LogIndex::new(2), "{changes} changes, seed {seed}");
            assert_eq!(recovered.hard_state.commit, LogIndex::new(2));
        }
    }
}

#[test]
fn a_power_cut_during_a_repair_leaves_a_log_that_can_be_repaired() {
    let log = Log::new();
    let (file, at) = log.place_of(|bytes| bytes[48..56] == 3_u64.to_le_bytes());
    log.disk.flip_bit(&file, (at + 300) * 8);
    log.disk.flip_bit(&file, (at + 1_500) * 8);
    for seed in 0..50 {
        let mut log = Log { disk: Arc::new(log.disk.fork()), ..log.clone() };
        let order = log.find().expect("an order");
        log.disk.fail_after_changes(1);
        log.apply(&order).expect_err("no power");
        log.disk.crash(seed);
        log.disk = Arc::new(log.disk.fork());
        while let Some(order) = log.find() {
            log.apply(&order).expect("repair the log");
        }
        log.check_whole();
    }
}

/// A log in several files, with batches of every shape, and what another host has.
#[derive(Clone)]
struct Log {
    disk: Arc<MemoryDisk>,
    files: Vec<PathBuf>,
    contents: Vec<Vec<u8>>,
    peer: WalReader<MemoryDisk>,
}

enum Outcome {
    Repaired,
    Scrubbed,
    Torn,
}

impl Log {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        let mut wal = Wal::create(Arc::clone(&disk), data(), setup(), members(7)).expect("create the log");
        write(&mut wal, 1, &[1, 2], Some(&members(7)), 0);
        write(&mut wal, 1, &[], None, 2); // Nothing but a commit index.
        write(&mut wal, 2, &[], Some(&members(9)), 2); // Nothing but members, which no file begins with.
        write(&mut wal, 2, &[3], Some(&members(7)), 2);
        write(&mut wal, 2, &[4, 5], None, 3);
        write(&mut wal, 3, &[6, 7, 8, 9], None, 5);
        write(&mut wal, 3, &[10], None, 9);
        write(&mut wal, 3, &[11, 12], None, 10);
        write(&mut wal, 3, &[], None, 12);
        drop(wal);
        let (wal, _) = Wal::open(Arc::clone(&disk), data(), setup()).expect("open the log");
        drop(wal);
        let names = disk.list(Path::new("/data/wal")).expect("list the log");
        let files: Vec<PathBuf> = names
            .iter()
            .filter(|name| name.ends_with(".wal"))
            .map(|name| Path::new("/data/wal").join(name))
            .collect();
        assert!(4 <= files.len());
        let contents = files.iter().map(|file| disk.contents(file).expect("a log file")).collect();
        Self { disk, files, contents, peer: peer() }
    }

    /// Turns bits of one byte, and demands that this is noticed and that the same bytes are there in the end.
    fn survives(&self, file: &Path, byte: u64, mask: u8) -> Outcome {
        let place = format!("{} byte {byte} mask {mask:#04x}", file.display());
        for bit in (0..8).filter(|bit| mask >> bit & 1 == 1) {
            assert!(self.disk.flip_bit(file, byte * 8 + bit));
        }
        let mut repairs = 0;
        while let Some(order) =
            repair::find(&*self.disk, data(), &identity()).unwrap_or_else(|error| panic!("{place}: {error}"))
        {
            assert!(self.open().is_err(), "{place}: opened unrepaired");
            self.apply(&order).unwrap_or_else(|error| panic!("{place}: {error}"));
            repairs += 1;
            assert!(repairs < 3, "{place}: no end of repairs");
        }
        let report = verify::verify(&*self.disk, data(), &|_, _, _| false).expect("look at the log");
        let (wal, recovered) = self.open().unwrap_or_else(|error| panic!("{place}: {error}"));
        let outcome = match (repairs, recovered.ended, wal.scrubbed()) {
            (1, TailEnd::Clean, []) => Outcome::Repaired,
            (0, TailEnd::Clean, [stray]) => {
                assert!((stray.offset..stray.offset + stray.length).contains(&byte), "{place}: {stray}");
                assert!(!report.is_sound(), "{place}");
                Outcome::Scrubbed
            }
            (0, TailEnd::Torn { zeroed_bytes, .. }, []) if 0 < zeroed_bytes => Outcome::Torn,
            other => panic!("{place}: {other:?}"),
        };
        drop(wal);
        self.check_bytes(&place);
        outcome
    }

    fn find(&self) -> Option<RepairOrder> {
        repair::find(&*self.disk, data(), &identity()).expect("an order or none")
    }

    /// Repairs with what the peer has.
    fn apply(&self, order: &RepairOrder) -> Result<(), RepairError> {
        let entries = match order.need {
            Need::Records(need) => need.entries.map_or(Vec::new(), |(first, last)| {
                self.peer.entries(first, last.next(), u64::MAX).expect("the peer's entries")
            }),
            Need::Nothing => Vec::new(),
        };
        repair::apply(&*self.disk, data(), &identity(), order, (&entries, &[members(9)]))
    }

    fn open(&self) -> Result<(Wal<MemoryDisk>, Recovered), RecoverError> {
        Wal::open(Arc::clone(&self.disk), data(), setup())
    }

    fn check_bytes(&self, place: &str) {
        for (file, expected) in self.files.iter().zip(&self.contents) {
            assert!(self.disk.contents(file).as_ref() == Some(expected), "{place}: {}", file.display());
        }
    }

    fn check_whole(&self) {
        let (wal, recovered) = self.open().expect("open the log");
        self.check_bytes("after repair");
        assert_eq!((recovered.ended, recovered.last.index), (TailEnd::Clean, LogIndex::new(LAST)));
        let all = |reader: &WalReader<MemoryDisk>| {
            reader.entries(LogIndex::new(1), LogIndex::new(LAST + 1), u64::MAX).expect("read the entries")
        };
        assert_eq!(all(&wal.reader()), all(&self.peer));
    }

    /// The file and offset of the batch whose bytes are so.
    fn place_of(&self, is: impl Fn(&[u8]) -> bool) -> (PathBuf, u64) {
        for (file, contents) in self.files.iter().zip(&self.contents) {
            for (block, bytes) in contents.chunks(4_096).enumerate() {
                if bytes.starts_with(b"WBAT") && is(bytes) {
                    return (file.clone(), block as u64 * BLOCK);
                }
            }
        }
        panic!("no such batch");
    }
}

/// The same entries in other batches, as another host has them.
fn peer() -> WalReader<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = Wal::create(disk, data(), setup(), members(7)).expect("create the log");
    for index in 1..=LAST {
        write(&mut wal, entry(index).term.get(), &[index], None, index - 1);
    }
    wal.reader()
}

fn write(wal: &mut Wal<MemoryDisk>, term: u64, indexes: &[u64], conf_state: Option<&ConfState>, commit: u64) {
    let entries: Vec<LogEntry> = indexes.iter().map(|index| entry(*index)).collect();
    let hard_state =
        HardState { term: Term::new(term), vote: Some(HostId::new(2)), commit: LogIndex::new(commit) };
    wal.append(&Batch { hard_state, entries: &entries, conf_state, durability: Durability::Sync })
        .expect("append a batch");
}

/// Entries of all kinds, with runs of zeros; the tenth needs a filler behind it.
fn entry(index: u64) -> LogEntry {
    let term = Term::new(match index {
        1..=2 => 1,
        3..=5 => 2,
        _ => 3,
    });
    let kind = [EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2]
        [usize::try_from(index % 3).expect("small")];
    let length = match index {
        3 => 2_600,
        10 => 512 - 80 - 24 + 1,
        index => usize::try_from(index * 41 % 500).expect("small"),
    };
    let byte = |at: usize| match at {
        at if index == 10 => {
            if at + 1 == length {
                0x40
            } else {
                0x55
            }
        }
        at if at / 300 % 2 == 1 => 0,
        at => u8::try_from((at as u64 * 7 + index * 13) % 251).expect("small") | 0x11,
    };
    LogEntry { index: LogIndex::new(index), term, kind, data: (0..length).map(byte).collect() }
}

fn members(learner: u64) -> ConfState {
    ConfState::new([1, 2, 3].map(HostId::new), [HostId::new(learner)])
}

fn data() -> &'static Path {
    Path::new(DATA)
}

fn identity() -> WalIdentity {
    WalIdentity { cluster: ClusterId::new([7; 16]), host: HostId::new(1), incarnation: Incarnation::new(1) }
}

fn setup() -> WalSetup {
    let mut nonce = 0x0bad_5eed_0bad_5eed_u64;
    WalSetup {
        identity: identity(),
        options: WalOptions { file_bytes: FILE_BYTES },
        stamps: Box::new(move || {
            nonce = nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            FileStamp { nonce, created_at: Timestamp::from_seconds(1_767_323_045) }
        }),
    }
}
