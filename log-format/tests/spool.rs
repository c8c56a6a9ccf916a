//! The spool on a disk in memory: power cuts between any two changes, a bound, and damage at every byte.
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_format::disk::{Defect, Disk, DiskFile, Fault, MemoryDisk, Operation};
use log_format::ids::{ClusterId, HostId, Incarnation, OriginSequence};
use log_format::reserve::SpaceLimits;
use log_format::spool::{
    Priority, Spool, SpoolDropped, SpoolError, SpoolFound, SpoolItem, SpoolOptions, SpoolRecord, SpoolSetup,
};
use log_format::time::Timestamp;
use log_format::wal::{FileStamp, WalIdentity};
use proptest::prelude::*;

const DATA: &str = "/data";
const BLOCK: u64 = 4_096;
const OPTIONS: SpoolOptions = SpoolOptions { file_bytes: 4 * BLOCK, bound_bytes: 400 * BLOCK };
/// A spool that is soon full.
const SMALL: SpoolOptions = SpoolOptions { bound_bytes: 24 * BLOCK, ..OPTIONS };

#[test]
fn what_was_spooled_comes_back_in_order_after_a_power_cut() {
    let (disk, mut spool) = fresh();
    let records: Vec<_> = (1..=9).map(|sequence| record(sequence, 900, sequence % 3 == 0)).collect();
    assert_eq!(spool.append(&records[..4]).unwrap(), []);
    assert_eq!(spool.append(&records[4..]).unwrap(), []);
    assert_eq!(spool.last(), OriginSequence::new(9));
    drop(spool);
    disk.crash(1);
    let (spool, found) = open(&disk);
    let last = Some(OriginSequence::new(9));
    assert_eq!(found, SpoolFound { last, records: 9, damage: Vec::new() });
    assert_eq!(items(&spool, 1), records.iter().cloned().map(SpoolItem::Record).collect::<Vec<_>>());
    assert_eq!(kept(&items(&spool, 6)), [6, 7, 8, 9]);
    assert_eq!(items(&spool, 10), []);
}

#[test]
fn a_group_costs_one_sync() {
    let (disk, mut spool) = fresh();
    spool.append(&[record(1, 10, true)]).unwrap();
    let (syncs, writes) = (disk.syncs(), disk.writes());
    let records: Vec<_> = (2..=50).map(|sequence| record(sequence, 10, false)).collect();
    spool.append(&records).unwrap();
    assert_eq!((disk.syncs() - syncs, disk.writes() - writes), (1, 1));
}

#[test]
fn what_is_acknowledged_goes_away_by_whole_files_and_may_still_be_read_meanwhile() {
    let (disk, mut spool) = fresh();
    (1..=6).for_each(|sequence| drop(spool.append(&[record(sequence, 5_000, false)]).unwrap()));
    assert_eq!(files(&disk).len(), 6);
    let pending = spool.pending(OriginSequence::new(1));
    assert_eq!(spool.acknowledge(OriginSequence::new(4)).unwrap(), 4);
    while spool.prepare_spare().unwrap() == log_format::wal::SpareProgress::Working {}
    assert_eq!(files(&disk).len(), 2);
    assert_eq!(pending.count(), 6);
    assert_eq!(kept(&items(&spool, 5)), [5, 6]);
    // The file that is being written goes only once it is closed.
    assert_eq!(spool.acknowledge(OriginSequence::new(6)).unwrap(), 1);
    spool.close_file();
    assert_eq!(spool.acknowledge(OriginSequence::new(6)).unwrap(), 1);
    assert_eq!(files(&disk).len(), 0);
    spool.append(&[record(7, 10, false)]).unwrap();
    assert_eq!(items(&spool, 7), [SpoolItem::Record(record(7, 10, false))]);
    drop(spool);
    assert_eq!(kept(&items(&open(&disk).0, 7)), [7]);
}

#[test]
fn a_full_spool_drops_the_oldest_observations_and_never_an_action() {
    let (disk, mut spool) = fresh_with(SMALL);
    let mut dropped = Vec::new();
    for sequence in 1..=30 {
        dropped.extend(spool.append(&[record(sequence, 3_000, sequence % 4 == 1)]).unwrap());
        assert!(spool.bytes() <= SMALL.bound_bytes);
    }
    let gone: u64 = dropped.iter().map(|dropped| dropped.count.unwrap()).sum();
    let found = items(&spool, 1);
    let actions: Vec<u64> = (1..=30).filter(|sequence| sequence % 4 == 1).collect();
    let kept = kept(&found);
    assert!(actions.iter().all(|action| kept.contains(action)), "{kept:?}");
    assert_eq!(kept.len() as u64 + gone, 30);
    assert!(kept.ends_with(&[28, 29, 30]), "{kept:?}");
    check_gaps(&found, 1, 30);
    drop(spool);
    disk.crash(3);
    assert_eq!(items(&open_with(&disk, SMALL).0, 1), found);
}

#[test]
fn the_newest_observations_that_a_full_spool_drops_are_said_whenever_the_power_goes() {
    let bound_bytes = 12 * BLOCK;
    let options = SpoolOptions { bound_bytes, ..OPTIONS };
    let mut is_over = false;
    for changes in 0_u64.. {
        let (disk, mut spool) = fresh_with(options);
        // Two files of actions, and one whose last records are observations.
        spool.append(&[record(1, 9_000, true)]).unwrap();
        spool.append(&[record(2, 9_000, true)]).unwrap();
        spool.append(&[record(3, 3_000, changes % 2 == 0)]).unwrap();
        (4..=5).for_each(|sequence| drop(spool.append(&[record(sequence, 3_000, false)]).unwrap()));
        disk.fail_after_changes(changes / 2);
        is_over |= matches!(spool.append(&[record(6, 9_000, true)]), Ok(_) | Err(SpoolError::Full { .. }));
        drop(spool);
        disk.crash(changes);
        let items = items(&open_with(&disk, options).0, 1);
        let dropped: u64 = gaps(&items).iter().filter_map(|gap| gap.count).sum();
        assert!(5 <= kept(&items).len() as u64 + dropped, "after {changes} changes: {items:?}");
        if is_over {
            assert_ne!(dropped, 0, "{items:?}");
            return;
        }
    }
}

#[test]
fn actions_alone_may_fill_a_spool_and_then_nothing_is_written() {
    let (disk, mut spool) = fresh_with(SMALL);
    let mut sequence = 0;
    let error = loop {
        sequence += 1;
        if let Err(error) = spool.append(&[record(sequence, 5_000, true)]) {
            break error;
        }
    };
    let expected = "the spool holds 98304 bytes of actions, which are never dropped; the limit is 98304";
    assert_eq!(error.to_string(), expected);
    assert_eq!(spool.last().get(), sequence - 1);
    assert_eq!(kept(&items(&spool, 1)), (1..sequence).collect::<Vec<_>>());
    spool.acknowledge(OriginSequence::new(1)).unwrap();
    spool.append(&[record(sequence, 5_000, true)]).unwrap();
    drop(spool);
    assert_eq!(kept(&items(&open_with(&disk, SMALL).0, 2)), (2..=sequence).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_spooled_is_refused_before_anything_is_written() {
    let (disk, mut spool) = fresh();
    spool.append(&[record(5, 10, false)]).unwrap();
    let writes = disk.writes();
    let order = spool.append(&[record(5, 10, false)]).unwrap_err();
    assert_eq!(order.to_string(), "record 5 after record 5: numbers must rise");
    assert!(matches!(spool.append(&[record(6, 20_000, false)]), Err(SpoolError::TooLarge { .. })));
    assert_eq!(disk.writes(), writes);
    let options = SpoolOptions { file_bytes: 5_000, ..OPTIONS };
    let opened = Spool::open(Arc::clone(&disk), Path::new(DATA), SpoolSetup { options, ..setup() });
    assert!(matches!(opened, Err(SpoolError::Options(_))));
    let mut other = setup();
    other.identity.host = HostId::new(9);
    assert!(matches!(Spool::open(disk, Path::new(DATA), other), Err(SpoolError::WrongIdentity { .. })));
}

#[test]
fn a_failed_write_poisons_and_a_full_disk_does_not() {
    let (disk, mut spool) = fresh();
    spool.append(&[record(1, 10_000, false)]).unwrap();
    disk.inject(Fault { operation: Operation::Create, after: 0, kind: io::ErrorKind::StorageFull });
    assert!(matches!(spool.append(&[record(2, 10_000, false)]), Err(SpoolError::NoFile { .. })));
    spool.append(&[record(2, 1_000, false)]).unwrap();
    disk.inject(Fault { operation: Operation::SyncData, after: 0, kind: io::ErrorKind::Other });
    assert!(matches!(spool.append(&[record(3, 10, false)]), Err(SpoolError::Disk { .. })));
    assert!(matches!(spool.append(&[record(3, 10, false)]), Err(SpoolError::Poisoned)));
    assert!(matches!(spool.acknowledge(OriginSequence::new(2)), Err(SpoolError::Poisoned)));
}

#[test]
fn a_full_disk_costs_neither_the_log_its_reserve_nor_the_spool_a_record() {
    let (disk, mut spool) = fresh_with(SMALL);
    let reserve = disk.create(Path::new("/data/reserve")).expect("make the reserve");
    reserve.write_at(0, &[1; 4_096]).expect("write the reserve");
    disk.sync_dir(Path::new(DATA)).expect("sync the directory");
    // At its bound, with actions that must be written anew, and no byte left on the disk.
    let mut next = 1;
    while spool.bytes() < SMALL.bound_bytes {
        spool.append(&[record(next, 3_000, next % 3 == 0)]).unwrap();
        next += 1;
    }
    let mut fill = |spool: &mut Spool<MemoryDisk>| {
        while spool.append(&[record(next, 3_000, next % 3 == 0)]).is_ok() {
            next += 1;
        }
    };
    disk.set_capacity(0);
    fill(&mut spool);
    let before = kept(&items(&spool, 1));
    let refused = spool.append(&[record(1_000, 3_000, true)]);
    assert!(matches!(refused, Err(SpoolError::NoFile { .. })), "{refused:?}");
    assert!(spool.prepare_spare().is_err());
    assert_eq!(kept(&items(&spool, 1)), before);
    assert!(disk.contents(Path::new("/data/reserve")).is_some());
    drop(spool);
    let (mut spool, found) = open_with(&disk, SMALL);
    assert_eq!(found.damage, []);
    assert!(matches!(spool.append(&[record(1_000, 3_000, true)]), Err(SpoolError::NoFile { .. })));
    disk.set_capacity(1 << 30);
    spool.append(&[record(1_000, 3_000, true)]).unwrap();
}

#[test]
fn on_a_disk_that_is_low_no_file_is_begun_and_none_is_kept_for_later() {
    let limits = SpaceLimits { reserve_bytes: 0, low_bytes: 100 * BLOCK, low_percent: 0 };
    let disk = Arc::new(MemoryDisk::with_capacity(1 << 30));
    disk.create_dir(Path::new(DATA)).unwrap();
    let (mut spool, _) =
        Spool::open(Arc::clone(&disk), Path::new(DATA), SpoolSetup { limits, ..setup() }).unwrap();
    (1..=4).for_each(|sequence| drop(spool.append(&[record(sequence, 5_000, false)]).unwrap()));
    spool.acknowledge(OriginSequence::new(2)).unwrap();
    disk.set_capacity(108 * BLOCK - 1);
    let used = || disk.space(Path::new(DATA)).map(|space| space.total - space.free).unwrap();
    let before = used();
    assert!(matches!(spool.append(&[record(5, 5_000, true)]), Err(SpoolError::Low { .. })));
    // What was given up goes away, and what was begun has room for what fits into it.
    assert_eq!(spool.prepare_spare().unwrap(), log_format::wal::SpareProgress::Ready);
    assert_eq!(used(), before - 2 * OPTIONS.file_bytes);
    spool.append(&[record(5, 10, true)]).unwrap();
    assert_eq!(kept(&items(&spool, 3)), [3, 4, 5]);
    disk.set_capacity(1 << 30);
    spool.append(&[record(6, 5_000, true)]).unwrap();
}

#[test]
fn a_batch_whose_sync_failed_is_durable_once_the_spool_was_opened() {
    let (disk, mut spool) = fresh();
    spool.append(&[record(1, 1_000, true)]).unwrap();
    disk.inject(Fault { operation: Operation::SyncData, after: 0, kind: io::ErrorKind::Other });
    spool.append(&[record(2, 5_000, true)]).unwrap_err();
    drop(spool);
    disk.kill();
    // The batch is visible, and the kernel takes it for written.
    let (mut spool, found) = open(&disk);
    assert_eq!(found.last, Some(OriginSequence::new(2)));
    spool.append(&[record(3, 10, true)]).unwrap();
    drop(spool);
    disk.crash(11);
    assert_eq!(kept(&items(&open(&disk).0, 1)), [1, 2, 3]);
}

#[test]
fn a_header_that_cannot_be_read_is_read_by_a_later_start_until_its_loss_is_known() {
    let (disk, mut spool) = fresh();
    (1..=3).for_each(|sequence| drop(spool.append(&[record(sequence, 5_000, true)]).unwrap()));
    drop(spool);
    // Read ahead with what is behind it, and then alone.
    let unreadable = |disk: &Arc<MemoryDisk>, times| {
        let file = &files(disk)[1];
        assert!(disk.spoil(file, 0, Defect::Unreadable { times }));
    };
    unreadable(&disk, 2);
    let (spool, found) = open(&disk);
    assert_eq!(found.damage.len(), 1);
    assert_eq!(kept(&items(&spool, 1)), [1, 3]);
    check_gaps(&items(&spool, 1), 1, 4);
    drop(spool);
    let (spool, found) = open(&disk);
    assert_eq!((found.damage, kept(&items(&spool, 1))), (Vec::new(), vec![1, 2, 3]));
    drop(spool);
    unreadable(&disk, 2);
    let (mut spool, _) = open(&disk);
    spool.acknowledge(OriginSequence::new(2)).unwrap();
    assert_eq!(files(&disk).len(), 2);
    spool.acknowledge(OriginSequence::new(3)).unwrap();
    assert_eq!(files(&disk).len(), 1);
    drop(spool);
    assert_eq!(kept(&items(&open(&disk).0, 1)), [3]);
}

#[test]
fn a_loss_is_said_though_an_earlier_one_has_skipped_as_many_ordinals() {
    const SECTORS_OF_A_BLOCK: usize = 8;
    let number = |start: u64, record: u64| (start << 40) + record;
    let start = |disk: &Arc<MemoryDisk>, start: u64| {
        let setup = SpoolSetup { given_upto: OriginSequence::new(number(start, 0)), ..setup() };
        Spool::open(Arc::clone(disk), Path::new(DATA), setup).unwrap().0
    };
    let spoil = |disk: &Arc<MemoryDisk>, file: usize, sector: usize, defect: Defect| {
        assert!(disk.spoil(&files(disk)[file], sector, defect));
    };
    let disk = Arc::new(MemoryDisk::new());
    disk.create_dir(Path::new(DATA)).unwrap();
    start(&disk, 1).append(&[record(number(1, 1), 10, true)]).unwrap();
    spoil(&disk, 0, 0, Defect::Lost);
    let mut second = start(&disk, 2);
    (1..=2).for_each(|next| drop(second.append(&[record(number(2, next), 10, true)]).unwrap()));
    drop(second);
    // Neither the file that says the first loss nor the one behind it can be read: nothing is known of where the ordinals were.
    spoil(&disk, 0, 0, Defect::Lost);
    spoil(&disk, 1, 0, Defect::Unreadable { times: 2 });
    start(&disk, 3).append(&[record(number(3, 1), 10, true)]).unwrap();
    // The second file is there again, but for its second record.
    spoil(&disk, 0, 2 * SECTORS_OF_A_BLOCK, Defect::Unreadable { times: 100 });
    let items = items(&start(&disk, 4), 1);
    assert_eq!(kept(&items), [number(2, 1), number(3, 1)]);
    let is_said = |gap: &SpoolDropped| (gap.from.get()..=gap.to.get()).contains(&number(2, 2));
    assert!(gaps(&items).iter().any(is_said), "{items:?}");
}

#[test]
fn a_batch_that_is_gone_is_said_though_the_header_behind_it_has_rotted_too() {
    // A bit of its magic, nonce, number, checksum.
    for byte in [1, 10, 17, 77] {
        let (disk, mut spool) = fresh();
        (1..=3).for_each(|sequence| drop(spool.append(&[record(sequence, 10, true)]).unwrap()));
        drop(spool);
        let file = &files(&disk)[0];
        disk.overwrite(file, 2 * BLOCK, &[0; 512]);
        assert!(disk.flip_bit(file, (3 * BLOCK + byte) * 8));
        let (mut spool, found) = open(&disk);
        assert_eq!(found.damage.len(), 1, "byte {byte}");
        spool.append(&[record(4, 10, true)]).unwrap();
        let items = items(&spool, 1);
        assert_eq!(kept(&items), [1, 4], "byte {byte}");
        check_gaps(&items, 1, 4);
    }
}

#[test]
fn what_a_newer_version_spooled_is_refused_and_stays() {
    let (disk, mut spool) = fresh();
    spool.append(&[record(1, 10, true)]).unwrap();
    drop(spool);
    let file = &files(&disk)[0];
    let mut newer = disk.contents(file).unwrap();
    newer[8] += 1;
    let end = usize::from(newer[10]) + 256 * usize::from(newer[11]) - 4;
    let crc = crc32c::crc32c(&newer[..end]);
    newer[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    disk.overwrite(file, 0, &newer);
    let opened = Spool::open(Arc::clone(&disk), Path::new(DATA), setup());
    assert!(matches!(opened, Err(SpoolError::Version { .. })), "{:?}", opened.err());
    assert_eq!(disk.contents(file), Some(newer));
}

#[test]
fn every_damaged_byte_costs_only_the_records_it_touches_and_says_so() {
    let (disk, mut spool) = fresh();
    for group in 0..6 {
        let records: Vec<_> = (1..=4).map(|n| record(group * 4 + n, 700, n == 2)).collect();
        spool.append(&records).unwrap();
    }
    drop(spool);
    let files = files(&disk);
    assert!(2 <= files.len());
    let mut lost = 0;
    for file in &files {
        for byte in 0..OPTIONS.file_bytes {
            // Every byte of headers, every seventh of the rest.
            if 128 < byte % BLOCK && byte % 7 != 0 {
                continue;
            }
            let disk = Arc::new(disk.fork());
            (0..8).for_each(|bit| assert!(disk.flip_bit(file, byte * 8 + bit)));
            let (mut spool, found) = open(&disk);
            let items = items(&spool, 1);
            check_records(&items);
            let missing = 24 - kept(&items).len();
            lost += missing;
            assert!(missing <= 12, "{} byte {byte}: {missing} missing", file.display());
            assert!(missing == 0 || !found.damage.is_empty(), "{} byte {byte}", file.display());
            // The next record shows a gap at the end too.
            spool.append(&[record(25, 10, true)]).unwrap();
            let items = self::items(&spool, 1);
            check_gaps(&items, 1, 26);
            let gaps = gaps(&items);
            assert_eq!(gaps.is_empty(), missing == 0, "{} byte {byte}", file.display());
            let counted: Option<u64> = gaps.iter().map(|gap| gap.count).sum();
            assert!(
                counted.is_none_or(|counted| counted == missing as u64),
                "{} byte {byte}",
                file.display()
            );
        }
    }
    assert!(0 < lost);
}

proptest! {
    #[test]
    fn a_power_cut_loses_nothing_that_was_spooled(
        groups in prop::collection::vec(group(), 1..10),
        in_flight in group(),
        changes in 0_u64..40,
        seed: u64,
    ) {
        let (disk, mut spool) = fresh_with(SMALL);
        let mut next = 1;
        for group in &groups {
            append(&mut spool, group, &mut next)?;
        }
        let acknowledged = spool.last().get();
        let before = items(&spool, 1);
        disk.fail_after_changes(changes);
        let last = numbered(&in_flight, &mut next);
        let is_done = spool.append(&last).is_ok();
        drop(spool);
        disk.crash(seed);

        let (mut spool, found) = open_with(&disk, SMALL);
        prop_assert_eq!(found.damage, []);
        let reached = spool.last().get();
        prop_assert!(acknowledged <= reached && reached < next);
        prop_assert!(!is_done || reached == next - 1);
        let after = items(&spool, 1);
        check_records(&after);
        check_gaps(&after, 1, reached + 1);
        prop_assert!(actions(&after).starts_with(&actions(&before)));
        // What is missing besides was dropped from the oldest end on, and its number is known unless it is the very oldest.
        let gaps = gaps(&after);
        prop_assert!(gaps.iter().skip(1).all(|gap| gap.count.is_some()));
        if gaps.iter().all(|gap| gap.count.is_some()) {
            let dropped: u64 = gaps.iter().filter_map(|gap| gap.count).sum();
            prop_assert_eq!(kept(&after).len() as u64 + dropped, reached);
        }

        // Life goes on.
        spool.acknowledge(OriginSequence::new(reached)).expect("acknowledge");
        let more = record(next + 5, 100, false);
        spool.append(std::slice::from_ref(&more)).expect("append");
        drop(spool);
        disk.crash(seed ^ 1);
        let (spool, _) = open_with(&disk, SMALL);
        prop_assert_eq!(items(&spool, reached + 1), [SpoolItem::Record(more)]);
    }

    #[test]
    fn a_power_cut_while_files_are_forgotten_brings_back_acknowledged_records_at_most(
        groups in prop::collection::vec(group(), 4..10),
        share in 0_u64..100,
        changes in 0_u64..12,
        seed: u64,
    ) {
        let (disk, mut spool) = fresh();
        let mut next = 1;
        for group in &groups {
            spool.append(&numbered(group, &mut next)).expect("append");
        }
        let upto = (next - 1) * share / 100;
        let expected = items(&spool, upto + 1);
        disk.fail_after_changes(changes);
        let _ = spool.acknowledge(OriginSequence::new(upto)); // It may fail, or not.
        drop(spool);
        disk.crash(seed);
        let (spool, found) = open(&disk);
        prop_assert_eq!(found.damage, []);
        let after = items(&spool, upto + 1);
        prop_assert_eq!(records(&after), records(&expected));
    }
}

/// Appends a group; a spool full of actions ends it, and the numbers go on where it ended.
fn append(
    spool: &mut Spool<MemoryDisk>,
    group: &[(usize, bool)],
    next: &mut u64,
) -> Result<(), TestCaseError> {
    match spool.append(&numbered(group, next)) {
        Ok(_) => {}
        Err(SpoolError::Full { .. }) => *next = spool.last().get() + 1,
        Err(error) => prop_assert!(false, "{}", error),
    }
    Ok(())
}

fn actions(items: &[SpoolItem]) -> Vec<u64> {
    let is_action = |record: &&SpoolRecord| record.priority == Priority::Action;
    records(items).into_iter().filter(is_action).map(|record| record.sequence.get()).collect()
}

/// Lengths of records, and whether each is an action.
fn group() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let length = prop_oneof![0_usize..600, 600_usize..4_000];
    prop::collection::vec((length, prop::bool::weighted(0.2)), 1..6)
}

fn numbered(group: &[(usize, bool)], next: &mut u64) -> Vec<SpoolRecord> {
    group
        .iter()
        .map(|(length, is_action)| {
            *next += 1;
            record(*next - 1, *length, *is_action)
        })
        .collect()
}

/// A record whose bytes depend on its number only.
fn record(sequence: u64, length: usize, is_action: bool) -> SpoolRecord {
    let byte = |at: usize| u8::try_from((at as u64 * 7 + sequence * 13) % 251).expect("small") | 0x11;
    SpoolRecord {
        sequence: OriginSequence::new(sequence),
        observed_at: Timestamp::from_seconds(sequence),
        priority: if is_action { Priority::Action } else { Priority::Observation },
        bytes: (0..length).map(byte).collect(),
    }
}

fn items(spool: &Spool<MemoryDisk>, from: u64) -> Vec<SpoolItem> {
    let pending = spool.pending(OriginSequence::new(from));
    pending.collect::<Result<_, _>>().expect("read the spool")
}

fn records(items: &[SpoolItem]) -> Vec<&SpoolRecord> {
    let record = |item: &'_ SpoolItem| matches!(item, SpoolItem::Record(_));
    items
        .iter()
        .filter(|item| record(item))
        .map(|item| match item {
            SpoolItem::Record(record) => record,
            SpoolItem::Dropped(_) => panic!("filtered out"),
        })
        .collect()
}

fn gaps(items: &[SpoolItem]) -> Vec<SpoolDropped> {
    let gap = |item: &SpoolItem| match item {
        SpoolItem::Record(_) => None,
        SpoolItem::Dropped(dropped) => Some(*dropped),
    };
    items.iter().filter_map(gap).collect()
}

fn kept(items: &[SpoolItem]) -> Vec<u64> {
    records(items).iter().map(|record| record.sequence.get()).collect()
}

/// No record is another than was written.
fn check_records(items: &[SpoolItem]) {
    for found in records(items) {
        let is_action = found.priority == Priority::Action;
        assert_eq!(*found, record(found.sequence.get(), found.bytes.len(), is_action));
    }
}

/// Items are in order, and whatever is missing lies in a gap.
fn check_gaps(items: &[SpoolItem], from: u64, until: u64) {
    let mut next = from;
    for item in items {
        match item {
            SpoolItem::Record(record) => {
                assert_eq!(record.sequence.get(), next, "{items:?}");
                next += 1;
            }
            SpoolItem::Dropped(SpoolDropped { from, to, count }) => {
                assert_eq!(from.get(), next, "{items:?}");
                assert!(from <= to, "{items:?}");
                assert!(
                    count.is_none_or(|count| 0 < count && count <= to.get() - from.get() + 1),
                    "{items:?}"
                );
                next = to.get() + 1;
            }
        }
    }
    assert!(until <= next, "{until} is not reached: {items:?}");
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let directory = Path::new("/data/spool");
    let names = disk.list(directory).expect("list the spool");
    names.iter().filter(|name| name.ends_with(".wal")).map(|name| directory.join(name)).collect()
}

fn fresh() -> (Arc<MemoryDisk>, Spool<MemoryDisk>) {
    fresh_with(OPTIONS)
}

fn fresh_with(options: SpoolOptions) -> (Arc<MemoryDisk>, Spool<MemoryDisk>) {
    let disk = Arc::new(MemoryDisk::new());
    disk.create_dir(Path::new(DATA)).expect("make the directory");
    let (spool, found) = open_with(&disk, options);
    assert_eq!(found, SpoolFound::default());
    (disk, spool)
}

fn open(disk: &Arc<MemoryDisk>) -> (Spool<MemoryDisk>, SpoolFound) {
    open_with(disk, OPTIONS)
}

fn open_with(disk: &Arc<MemoryDisk>, options: SpoolOptions) -> (Spool<MemoryDisk>, SpoolFound) {
    let setup = SpoolSetup { options, ..setup() };
    Spool::open(Arc::clone(disk), Path::new(DATA), setup).expect("open the spool")
}

fn setup() -> SpoolSetup {
    let mut nonce = 0x0bad_5eed_0bad_5eed_u64;
    SpoolSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([7; 16]),
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
        },
        options: OPTIONS,
        given_upto: OriginSequence::new(0),
        limits: SpaceLimits::NONE,
        stamps: Box::new(move || {
            nonce = nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            FileStamp { nonce, created_at: Timestamp::ZERO }
        }),
    }
}
