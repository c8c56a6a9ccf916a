//! The recovery rule against power cuts, rot and cuts of the file: a log is clean, torn, corrupt or suspect, and never
//! holds a wrong entry nor lacks an acknowledged one. `PROPTEST_CASES` raises the number of trials.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_format::disk::{Disk, DiskFile, MemoryDisk};
use log_format::ids::{ClusterId, HostId, Incarnation, LogIndex, Term};
use log_format::recover::RecoverError;
use log_format::time::Timestamp;
use log_format::wal::{
    Appended, Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Recovered, TailEnd,
    Wal, WalIdentity, WalOptions, WalReader, WalSetup,
};
use proptest::prelude::*;

const DATA: &str = "/data";
const BLOCK: u64 = 4_096;
/// Changes that one append makes at most, with a new file and its zeroing.
const CHANGES_OF_ONE_APPEND: u64 = 12;

/// One append.
#[derive(Debug, Clone)]
struct Step {
    /// Lengths of the entries' data.
    lengths: Vec<usize>,
    /// How many of the uncommitted entries are replaced.
    replaced: u64,
    /// Runs of zeros in the data are this long.
    zeros: usize,
    has_members: bool,
}

/// What must be found again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    entries: Vec<LogEntry>,
    hard_state: HardState,
    conf_state: ConfState,
}

proptest! {
    #[test]
    fn a_power_cut_loses_nothing_that_was_acknowledged(
        steps in steps(),
        blocks in 3_u64..12,
        changes in 0..CHANGES_OF_ONE_APPEND,
        in_flight in step(),
        seed: u64,
    ) {
        let (disk, mut wal, before) = written(&steps, blocks);
        disk.fail_after_changes(changes);
        let mut after = before.clone();
        let appended = append(&mut wal, &mut after, &in_flight);
        drop(wal);
        disk.crash(seed);

        let (mut wal, recovered) = open(&disk, blocks).expect("a power cut is not damage");
        let found = found(&wal, &recovered);
        if appended {
            prop_assert_eq!(&found, &after);
        } else if found != before {
            prop_assert_eq!(&found, &after);
        }
        // Life goes on, also through a second cut.
        let mut model = found;
        prop_assert!(append(&mut wal, &mut model, &in_flight));
        drop(wal);
        disk.crash(seed ^ 1);
        let (wal, recovered) = open(&disk, blocks).expect("a power cut is not damage");
        prop_assert_eq!(recovered.ended, TailEnd::Clean);
        prop_assert_eq!(self::found(&wal, &recovered), model);
    }

    #[test]
    fn a_power_cut_while_a_log_is_created_or_opened_does_no_harm(
        steps in steps(),
        blocks in 3_u64..12,
        created in 0_u64..12,
        opened in 0_u64..8,
        seed: u64,
    ) {
        let disk = Arc::new(MemoryDisk::new());
        disk.fail_after_changes(created);
        let made = create(&disk, blocks).is_ok();
        disk.crash(seed);
        let mut wal = match open(&disk, blocks) {
            Ok((wal, recovered)) => {
                prop_assert_eq!(recovered.last.index, LogIndex::new(0));
                wal
            }
            Err(RecoverError::Missing { .. }) if !made => create(&disk, blocks).expect("create the log"),
            Err(error) => panic!("{error}"),
        };
        let mut model = empty();
        for step in &steps {
            prop_assert!(append(&mut wal, &mut model, step));
        }
        disk.fail_after_changes(1);
        let mut torn = model.clone();
        let is_whole = append(&mut wal, &mut torn, &steps[0]);
        drop(wal);
        disk.crash(seed);
        disk.fail_after_changes(opened);
        drop(open(&disk, blocks));
        disk.crash(seed);
        let (wal, recovered) = open(&disk, blocks).expect("a power cut is not damage");
        let found = found(&wal, &recovered);
        prop_assert!(found == model || (!is_whole && found == torn));
    }

    #[test]
    fn retiring_takes_nothing_along_that_is_wanted(
        steps in prop::collection::vec(step(), 1..16),
        blocks in 3_u64..6,
        margin in 0_u64..6,
        changes in 0_u64..16,
        seed: u64,
    ) {
        let disk = Arc::new(MemoryDisk::new());
        let mut wal = create(&disk, blocks).expect("create the log");
        let mut model = empty();
        for step in &steps {
            prop_assert!(append(&mut wal, &mut model, step));
            let below = LogIndex::new(model.hard_state.commit.get().saturating_sub(margin));
            wal.retire(below).expect("retire files");
            prop_assert!(wal.reader().base().index <= below);
            check_suffix(&wal.reader(), &model)?;
        }
        disk.fail_after_changes(changes);
        let _ = wal.retire(LogIndex::new(u64::MAX)); // It may fail, or not.
        drop(wal);
        disk.crash(seed);
        let (mut wal, recovered) = open(&disk, blocks).expect("a power cut is not damage");
        prop_assert_eq!(recovered.hard_state, model.hard_state);
        prop_assert_eq!(&recovered.conf_state, &model.conf_state);
        prop_assert!(recovered.base.index <= model.hard_state.commit);
        check_suffix(&wal.reader(), &model)?;
        prop_assert!(append(&mut wal, &mut model, &steps[0]));
        check_suffix(&wal.reader(), &model)?;
    }

    #[test]
    fn one_flipped_bit_is_seen_or_harmless(
        steps in steps(),
        blocks in 3_u64..12,
        file: prop::sample::Index,
        bit: prop::sample::Index,
    ) {
        let (disk, wal, model) = written(&steps, blocks);
        drop(wal);
        let files = log_files(&disk);
        let path: &PathBuf = file.get(&files);
        let used = used_bytes(&disk, path);
        // Mostly where something is written; sometimes in the zeros behind it.
        let bits = (used + BLOCK).min(blocks * BLOCK) * 8;
        prop_assert!(disk.flip_bit(path, bit.index(usize::try_from(bits).expect("small")) as u64));
        check_damaged(&disk, blocks, &model)?;
    }

    #[test]
    fn a_lost_sector_of_an_older_batch_is_seen(
        steps in steps(),
        blocks in 3_u64..12,
        file: prop::sample::Index,
        sector: prop::sample::Index,
    ) {
        let (disk, wal, model) = written(&steps, blocks);
        drop(wal);
        let files = log_files(&disk);
        let path: &PathBuf = file.get(&files);
        let last = path == &files[files.len() - 1];
        let last_batch = last_batch_offset(&disk, path);
        let bytes = if last { last_batch } else { used_bytes(&disk, path) };
        let sectors = usize::try_from(bytes / 512).expect("small");
        prop_assume!(0 < sectors);
        prop_assert!(disk.overwrite(path, sector.index(sectors) as u64 * 512, &[0; 512]));
        check_damaged(&disk, blocks, &model)?;
    }

    #[test]
    fn a_file_that_was_cut_short_is_damage(
        steps in steps(),
        blocks in 3_u64..12,
        file: prop::sample::Index,
        length: prop::sample::Index,
    ) {
        let (disk, wal, _) = written(&steps, blocks);
        drop(wal);
        let files = log_files(&disk);
        let cut = file.get(&files);
        let copy = Arc::new(MemoryDisk::new());
        copy.create_dir(Path::new("/data/wal")).expect("make the directory");
        for path in &files {
            let mut bytes = disk.contents(path).expect("a log file");
            if path == cut {
                bytes.truncate(length.index(bytes.len()));
            }
            copy.create(path).and_then(|file| file.write_at(0, &bytes)).expect("copy a log file");
        }
        prop_assert!(matches!(open(&copy, blocks), Err(RecoverError::Corrupt(_))));
    }
}

/// What is left of a log is the end of what was written.
fn check_suffix(reader: &WalReader<MemoryDisk>, model: &Model) -> Result<(), TestCaseError> {
    let base = reader.base();
    let (gone, kept) = model.entries.split_at(usize::try_from(base.index.get()).expect("small"));
    prop_assert_eq!(base.term, gone.last().map_or(Term::new(0), |entry| entry.term));
    let entries =
        reader.entries(base.index.next(), reader.last().index.next(), u64::MAX).expect("read the entries");
    prop_assert_eq!(entries, kept);
    for entry in kept {
        prop_assert_eq!(reader.term(entry.index), Some(entry.term));
    }
    Ok(())
}

/// Whatever is opened holds exactly what was acknowledged; everything else is refused and left alone.
fn check_damaged(disk: &Arc<MemoryDisk>, blocks: u64, model: &Model) -> Result<(), TestCaseError> {
    let before: Vec<_> = log_files(disk).iter().map(|path| disk.contents(path)).collect();
    match open(disk, blocks) {
        Ok((wal, recovered)) => prop_assert_eq!(&found(&wal, &recovered), model),
        Err(RecoverError::Corrupt(_) | RecoverError::Suspect(_)) => {
            let after: Vec<_> = log_files(disk).iter().map(|path| disk.contents(path)).collect();
            prop_assert!(before == after, "a damaged log was changed");
        }
        Err(error) => prop_assert!(false, "{}", error),
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..8)
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![Just(0_usize), 1_usize..600, 600_usize..2_500];
    let lengths = prop::collection::vec(length, 0..4);
    (lengths, 0_u64..4, 0_usize..1_500, any::<bool>())
        .prop_map(|(lengths, replaced, zeros, has_members)| Step { lengths, replaced, zeros, has_members })
}

fn empty() -> Model {
    Model { entries: Vec::new(), hard_state: HardState::default(), conf_state: members(1) }
}

fn members(learner: u64) -> ConfState {
    ConfState::new([1, 2, 3].map(HostId::new), [HostId::new(10 + learner)])
}

/// A log with these batches, all acknowledged.
fn written(steps: &[Step], blocks: u64) -> (Arc<MemoryDisk>, Wal<MemoryDisk>, Model) {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk, blocks).expect("create the log");
    let mut model = empty();
    for step in steps {
        assert!(append(&mut wal, &mut model, step));
    }
    (disk, wal, model)
}

fn create(disk: &Arc<MemoryDisk>, blocks: u64) -> Result<Wal<MemoryDisk>, RecoverError> {
    Wal::create(Arc::clone(disk), Path::new(DATA), setup(blocks), members(1))
}

fn open(disk: &Arc<MemoryDisk>, blocks: u64) -> Result<(Wal<MemoryDisk>, Recovered), RecoverError> {
    Wal::open(Arc::clone(disk), Path::new(DATA), setup(blocks))
}

fn setup(blocks: u64) -> WalSetup {
    let mut nonce = 0x0bad_5eed_0bad_5eed;
    WalSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([7; 16]),
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
        },
        options: WalOptions { file_bytes: blocks * BLOCK },
        stamps: Box::new(move || {
            nonce += 1;
            FileStamp { nonce, created_at: Timestamp::ZERO }
        }),
    }
}

/// Appends to the log and to the model; false if the disk failed. The last entry but three is always committed.
fn append(wal: &mut Wal<MemoryDisk>, model: &mut Model, step: &Step) -> bool {
    let HardState { term, commit, .. } = model.hard_state;
    let term = Term::new(term.get() + 1);
    // A batch without entries replaces none.
    let replaced = if step.lengths.is_empty() { 0 } else { step.replaced };
    let keep = (model.entries.len() as u64).saturating_sub(replaced).max(commit.get());
    model.entries.truncate(usize::try_from(keep).expect("small"));
    let room = wal.max_batch() - 200;
    let lengths = step.lengths.iter().map(|length| (*length).min(room / 4));
    let entries: Vec<LogEntry> =
        (keep + 1..).zip(lengths).map(|(index, length)| entry(index, term, length, step.zeros)).collect();
    model.entries.extend(entries.iter().cloned());
    let commit = commit.max(LogIndex::new((model.entries.len() as u64).saturating_sub(3)));
    model.hard_state = HardState { term, vote: Some(HostId::new(1 + term.get() % 3)), commit };
    let conf_state = step.has_members.then(|| members(term.get()));
    model.conf_state = conf_state.clone().unwrap_or(model.conf_state.clone());
    let appended = wal.append(&Batch {
        hard_state: model.hard_state,
        entries: &entries,
        conf_state: conf_state.as_ref(),
        durability: Durability::Sync,
    });
    matches!(appended, Ok(Appended::Durable(_)))
}

/// An entry with runs of zeros in its data, neither at its start nor at its end. Every other byte has several bits: a
/// sector with a single bit in the middle of a batch is left out here, since losing it and its rotting look the same.
fn entry(index: u64, term: Term, length: usize, zeros: usize) -> LogEntry {
    let byte = |at: usize| {
        let is_zero = 200 <= at % (zeros + 200) && at + 40 < length;
        let value = (at as u64).wrapping_mul(31).wrapping_add(index * 7 + term.get()) as u8;
        if is_zero { 0 } else { value | 0x11 }
    };
    let kind = [EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2][length % 3];
    LogEntry { index: LogIndex::new(index), term, kind, data: (0..length).map(byte).collect() }
}

fn found(wal: &Wal<MemoryDisk>, recovered: &Recovered) -> Model {
    let reader = wal.reader();
    let until = reader.last().index.next();
    let entries = reader.entries(LogIndex::new(1), until, u64::MAX).expect("read the entries");
    for entry in &entries {
        assert_eq!(reader.term(entry.index), Some(entry.term));
    }
    assert_eq!(recovered.last, reader.last());
    Model { entries, hard_state: recovered.hard_state, conf_state: recovered.conf_state.clone() }
}

fn log_files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let directory = Path::new("/data/wal");
    let names = disk.list(directory).expect("list the log");
    names.iter().filter(|name| name.ends_with(".wal")).map(|name| directory.join(name)).collect()
}

/// Bytes of a file up to the last block that is not zero.
fn used_bytes(disk: &MemoryDisk, path: &Path) -> u64 {
    let bytes = disk.contents(path).expect("a log file");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("a header");
    (last as u64 + 1).next_multiple_of(BLOCK)
}

/// Where the last batch of a file begins; zero if there is none.
fn last_batch_offset(disk: &MemoryDisk, path: &Path) -> u64 {
    let bytes = disk.contents(path).expect("a log file");
    let starts = (1..bytes.len() / 4_096).filter(|block| bytes[block * 4_096..].starts_with(b"WBAT"));
    starts.max().map_or(0, |block| block as u64 * BLOCK)
}
