//! Retiring files and beginning anew, with a power cut after every single change of the disk.

use super::*;
use crate::ids::HostId;

/// Power cuts tried at each place.
const CUTS: u64 = 6;
/// More changes than anything here makes.
const MOST_CHANGES: u64 = 400;

#[test]
fn whole_files_below_an_index_go_away_and_the_rest_stays() {
    let (disk, mut wal) = long_log();
    assert_eq!(log_files(&disk).len(), 4);
    // Files end with entries 3, 6 and 9.
    assert_eq!(wal.retire(LogIndex::new(6)).unwrap(), 1);
    assert_eq!(wal.reader().base(), position(3, 1));
    assert_eq!(wal.retire(LogIndex::new(7)).unwrap(), 1);
    assert_eq!(wal.reader().base(), position(6, 2));
    assert_eq!(wal.reader().term(LogIndex::new(6)), Some(Term::new(2)));
    assert_eq!(wal.reader().term(LogIndex::new(7)), Some(Term::new(2)));
    assert_eq!(wal.reader().term(LogIndex::new(5)), None);
    assert_eq!(read(&wal, 7, 11), [7, 8, 9, 10].map(long_entry));
    let error = wal.reader().entries(LogIndex::new(6), LogIndex::new(8), 1).unwrap_err();
    assert!(matches!(error, ReadError::Compacted { .. }));
    assert_eq!(error.to_string(), "entry 6 was retired from the log, which begins with 7 or later");
    drop(wal);
    let (mut wal, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.base, recovered.last), (position(6, 2), position(10, 2)));
    assert_eq!((recovered.hard_state, recovered.conf_state), (hard_state(2, 9), members()));
    assert_eq!(read(&wal, 7, 11), [7, 8, 9, 10].map(long_entry));
    append_committed(&mut wal, 11, 10);
    assert_eq!(verify_entries(&disk), 5);
}

#[test]
fn what_is_not_committed_or_would_lose_the_hard_state_stays() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    for index in 1..=7 {
        append(&mut wal, 1, &[entry(index, 1, 5_000)]).unwrap();
    }
    assert_eq!(log_files(&disk).len(), 3);
    // Nothing is committed: a later batch may replace entry 3, which the second file begins after.
    assert_eq!(wal.retire(LogIndex::new(100)).unwrap(), 0);
    let commit = Batch { hard_state: hard_state(1, 5), ..batch(&[]) };
    wal.append(&commit).unwrap();
    assert_eq!(wal.retire(LogIndex::new(100)).unwrap(), 1);
    drop(wal);

    // A file that was begun and never got a batch.
    let (mut wal, _) = open(&disk).unwrap();
    wal.roll().unwrap();
    let commit = Batch { hard_state: hard_state(1, 7), ..batch(&[]) };
    drop(wal);
    let (mut wal, _) = open(&disk).unwrap();
    wal.hard_state.commit = LogIndex::new(7);
    assert_eq!(wal.retire(LogIndex::new(100)).unwrap(), 1);
    assert_eq!(log_files(&disk).len(), 2);
    wal.append(&commit).unwrap();
    assert_eq!(wal.retire(LogIndex::new(100)).unwrap(), 1);
    assert_eq!(log_files(&disk).len(), 1);
    drop(wal);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.base, recovered.last), (position(7, 1), position(7, 1)));
    assert_eq!(recovered.hard_state, hard_state(1, 7));
}

#[test]
fn a_retired_file_is_zeroed_once_nobody_reads_it_and_holds_nothing_of_before() {
    let (disk, mut wal) = long_log();
    let held = wal.index_mut().oldest().unwrap();
    wal.retire(LogIndex::new(7)).unwrap();
    while wal.prepare_spare().unwrap() == SpareProgress::Working {}
    // The one that is held could not be zeroed, and there are spares enough without it.
    let mut block = [0; 80];
    held.read_at(BLOCK_BYTES, &mut block).unwrap();
    assert!(block.starts_with(b"WBAT"));
    drop(held);
    let names = disk.list(Path::new("/data/wal")).unwrap();
    let spares: Vec<_> = names.iter().filter(|name| name.starts_with("spare")).collect();
    assert_eq!(spares.len(), 2);
    for spare in spares {
        assert!(spare.ends_with(".zero"), "{spare}");
        let bytes = disk.contents(&Path::new("/data/wal").join(spare)).unwrap();
        assert_eq!(bytes.len() as u64, SMALL);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
    append_committed(&mut wal, 11, 10);
    append_committed(&mut wal, 12, 11);
    append_committed(&mut wal, 13, 12);
    assert_eq!(read(&wal, 7, 14).len(), 7);
}

#[test]
fn a_viewer_of_a_file_that_was_zeroed_meanwhile_is_told_that_it_was_retired() {
    let (disk, mut wal) = long_log();
    let view = crate::verify::LogView::open(&*disk, Path::new(DATA)).unwrap();
    wal.retire(LogIndex::new(7)).unwrap();
    while wal.prepare_spare().unwrap() == SpareProgress::Working {}
    let read = view.history().wal().entries(LogIndex::new(1), LogIndex::new(2), 1);
    assert!(matches!(read, Err(ReadError::Compacted { .. })), "{read:?}");
}

#[test]
fn entries_that_were_replaced_across_files_do_not_come_back_when_files_are_retired() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    (1..=4).for_each(|index| append_committed(&mut wal, index, 0));
    // The second file begins after entry 3 of term 1, and a newer leader replaces entries 2 to 4.
    let replaced = |index| entry(index, 3, 2_000);
    wal.append(&Batch { hard_state: hard_state(3, 0), ..batch(&[replaced(2)]) }).unwrap();
    let more: Vec<_> = (3..=7).map(replaced).collect();
    for entry in more.chunks(1) {
        wal.append(&Batch { hard_state: hard_state(3, entry[0].index.get()), ..batch(entry) }).unwrap();
    }
    drop(wal);
    at_every_change(
        &disk,
        |wal| wal.retire(LogIndex::new(100)).is_ok(),
        |disk, is_done, place| {
            let (wal, recovered) = open(disk).unwrap_or_else(|error| panic!("{place}: {error}"));
            let base = recovered.base;
            assert!(base.index.get() < 8 && (!is_done || 1 < base.index.get()), "{place}: {base}");
            assert_eq!(wal.reader().term(base.index), Some(base.term), "{place}");
            if 1 < base.index.get() {
                assert_eq!(base.term, Term::new(3), "{place}");
            }
            let first = base.index.get() + 1;
            let expected: Vec<_> =
                (first..=7).map(|index| if index == 1 { long_entry(1) } else { replaced(index) }).collect();
            assert_eq!(read(&wal, first, 8), expected, "{place}");
            assert_eq!(recovered.last, position(7, 3), "{place}");
        },
    );
}

#[test]
fn a_power_cut_anywhere_while_files_are_retired_leaves_a_whole_log() {
    let (disk, wal) = long_log();
    drop(wal);
    at_every_change(
        &disk,
        |wal| wal.retire(LogIndex::new(10)).is_ok() && spares(wal),
        |disk, is_done, place| {
            let (wal, recovered) = open(disk).unwrap_or_else(|error| panic!("{place}: {error}"));
            let base = recovered.base.index.get();
            assert!([0, 3, 6, 9].contains(&base), "{place}: base {base}");
            assert!(!is_done || base == 9, "{place}");
            assert_eq!(
                (recovered.last, recovered.hard_state),
                (position(10, 2), hard_state(2, 9)),
                "{place}"
            );
            let expected: Vec<_> = (base + 1..=10).map(long_entry).collect();
            assert_eq!(read(&wal, base + 1, 11), expected, "{place}");
        },
    );
}

#[test]
fn after_a_snapshot_the_log_begins_anew() {
    let (disk, mut wal) = long_log();
    let number = wal.current.next;
    let reader = wal.reader();
    wal.reset(position(50, 3), &others(), hard_state(4, 50)).unwrap();
    assert_eq!((reader.base(), reader.last()), (position(50, 3), position(50, 3)));
    assert_eq!(reader.first_index(), LogIndex::new(51));
    assert!(matches!(
        reader.entries(LogIndex::new(10), LogIndex::new(11), 1),
        Err(ReadError::Compacted { .. })
    ));
    assert_eq!(log_files(&disk), ["0000000000000005.wal"]);
    assert_eq!((wal.durable_hard_state(), wal.conf_state()), (hard_state(4, 50), &others()));
    drop(wal);
    disk.crash(3);
    let (mut wal, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.base, recovered.last), (position(50, 3), position(50, 3)));
    assert_eq!((recovered.hard_state, recovered.conf_state), (hard_state(4, 50), others()));
    assert_eq!(wal.current.next.get(), number.get() + 1);
    let next = Batch { hard_state: hard_state(4, 50), ..batch(&[]) };
    let entries = [entry(51, 4, 100)];
    wal.append(&Batch { entries: &entries, ..next }).unwrap();
    assert_eq!(read(&wal, 51, 52), entries);
}

#[test]
fn a_file_that_was_begun_and_never_written_to_keeps_nothing_before_it() {
    let (disk, mut wal) = long_log();
    wal.roll().unwrap();
    drop(wal);
    disk.crash(3);
    let (mut wal, _) = open(&disk).unwrap();
    wal.reset(position(50, 3), &others(), hard_state(4, 50)).unwrap();
    assert_eq!(log_files(&disk), ["0000000000000006.wal"]);
    drop(wal);
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.base, recovered.hard_state), (position(50, 3), hard_state(4, 50)));
    assert_eq!(wal.reader().last(), position(50, 3));
}

#[test]
fn files_of_a_log_that_was_longer_than_the_snapshot_leave_its_position_alone() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    for index in 1..=10 {
        append(&mut wal, 1, &[entry(index, 1, 5_000)]).unwrap();
    }
    assert_eq!(log_files(&disk).len(), 4);
    // Files end with entries 3, 6 and 9, none of which is committed.
    wal.reset(position(4, 3), &others(), hard_state(4, 4)).unwrap();
    assert_eq!(log_files(&disk).len(), 1);
    assert_eq!((wal.reader().base(), wal.reader().last()), (position(4, 3), position(4, 3)));
    wal.append(&Batch { hard_state: hard_state(4, 4), ..batch(&[entry(5, 4, 0)]) }).unwrap();
    drop(wal);
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.base, recovered.last), (position(4, 3), position(5, 4)));
    assert_eq!(read(&wal, 5, 6), [entry(5, 4, 0)]);
}

#[test]
fn a_snapshot_that_does_not_fit_the_hard_state_is_refused_before_anything_is_written() {
    let (disk, mut wal) = long_log();
    let writes = disk.writes();
    let mut refused =
        |position, hard_state| wal.reset(position, &others(), hard_state).unwrap_err().to_string();
    assert_eq!(refused(position(8, 2), hard_state(2, 8)), "a hard state that goes backwards");
    assert_eq!(refused(position(50, 1), hard_state(1, 50)), "a hard state that goes backwards");
    assert_eq!(refused(position(50, 5), hard_state(4, 50)), "a hard state that goes backwards");
    let text = refused(position(50, 3), hard_state(4, 49));
    assert_eq!(text, "a snapshot at 50 (term 3) with commit index 49");
    let unsorted = ConfState { voters: vec![HostId::new(2), HostId::new(1)], learners: Vec::new() };
    let reset = wal.reset(position(50, 3), &unsorted, hard_state(4, 50));
    assert!(matches!(reset, Err(AppendError::Members)));
    assert_eq!(disk.writes(), writes);
}

#[test]
fn a_power_cut_anywhere_while_the_log_begins_anew_leaves_the_old_or_the_new_one() {
    let (disk, wal) = long_log();
    drop(wal);
    let reset = |wal: &mut Wal<MemoryDisk>| wal.reset(position(50, 3), &others(), hard_state(4, 50)).is_ok();
    let mut found = [0, 0];
    at_every_change(&disk, reset, |disk, is_done, place| {
        let (mut wal, recovered) = open(disk).unwrap_or_else(|error| panic!("{place}: {error}"));
        let is_new = recovered.last == position(50, 3);
        found[usize::from(is_new)] += 1;
        assert!(is_new || !is_done, "{place}");
        if is_new {
            assert_eq!(
                (recovered.base, recovered.hard_state),
                (position(50, 3), hard_state(4, 50)),
                "{place}"
            );
            assert_eq!(recovered.conf_state, others(), "{place}");
            assert_eq!(log_files(disk), ["0000000000000005.wal"], "{place}");
            let entries = [entry(51, 4, 100)];
            wal.append(&Batch { entries: &entries, hard_state: hard_state(4, 50), ..batch(&[]) }).unwrap();
        } else {
            assert_eq!((recovered.base, recovered.last), (position(0, 0), position(10, 2)), "{place}");
            assert_eq!(
                (recovered.hard_state, recovered.conf_state),
                (hard_state(2, 9), members()),
                "{place}"
            );
            assert_eq!(read(&wal, 1, 11), (1..=10).map(long_entry).collect::<Vec<_>>(), "{place}");
            append_committed(&mut wal, 11, 10);
        }
        drop(wal);
        open(disk).unwrap_or_else(|error| panic!("{place}, once more: {error}"));
    });
    assert!(found.iter().all(|count| 0 < *count), "{found:?}");
}

#[test]
fn a_disk_that_fails_while_files_are_retired_poisons_the_log() {
    let (disk, mut wal) = long_log();
    disk.inject(Fault { operation: Operation::SyncDir, after: 0, kind: io::ErrorKind::Other });
    assert!(matches!(wal.retire(LogIndex::new(7)), Err(AppendError::Disk { .. })));
    assert!(matches!(append(&mut wal, 2, &[entry(11, 2, 1)]), Err(AppendError::Poisoned)));
    assert!(matches!(wal.retire(LogIndex::new(7)), Err(AppendError::Poisoned)));
}

/// Ten entries in four files, in two terms, committed up to the ninth.
fn long_log() -> (Arc<MemoryDisk>, Wal<MemoryDisk>) {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    (1..=10).for_each(|index| append_committed(&mut wal, index, index - 1));
    (disk, wal)
}

fn append_committed(wal: &mut Wal<MemoryDisk>, index: u64, commit: u64) {
    let entries = [long_entry(index)];
    let hard_state = hard_state(entries[0].term.get(), commit);
    wal.append(&Batch { hard_state, entries: &entries, ..batch(&[]) }).unwrap();
}

/// Three of these fill a file.
fn long_entry(index: u64) -> LogEntry {
    entry(index, if index <= 5 { 1 } else { 2 }, 5_000)
}

fn others() -> ConfState {
    ConfState::new([1, 5].map(HostId::new), [HostId::new(6)])
}

fn batch(entries: &[LogEntry]) -> Batch<'_> {
    Batch { hard_state: hard_state(2, 0), entries, conf_state: None, durability: Durability::Sync }
}

fn verify_entries(disk: &MemoryDisk) -> u64 {
    crate::verify::verify(disk, Path::new(DATA), &|_, _, _| false).unwrap().entries
}

fn spares(wal: &mut Wal<MemoryDisk>) -> bool {
    loop {
        match wal.prepare_spare() {
            Ok(SpareProgress::Ready) => return true,
            Ok(SpareProgress::Working) => {}
            Err(_) => return false,
        }
    }
}

/// Does something to copies of a log, with the power cut after every number of changes, several ways each.
fn at_every_change(
    disk: &MemoryDisk,
    mut work: impl FnMut(&mut Wal<MemoryDisk>) -> bool,
    mut check: impl FnMut(&Arc<MemoryDisk>, bool, &str),
) {
    for changes in 0..MOST_CHANGES {
        let mut is_done = false;
        for seed in 0..CUTS {
            let disk = Arc::new(disk.fork());
            let (mut wal, _) = open(&disk).unwrap();
            disk.fail_after_changes(changes);
            is_done = work(&mut wal);
            drop(wal);
            disk.crash(seed);
            check(&disk, is_done, &format!("{changes} changes, seed {seed}"));
        }
        if is_done {
            return;
        }
    }
    panic!("{MOST_CHANGES} changes were not enough");
}

#[test]
fn a_file_that_holds_what_is_erased_is_left_behind_and_can_go_as_a_whole() {
    let (disk, mut wal) = long_log();
    let (files, last) = (log_files(&disk).len(), wal.reader().last());
    wal.leave_behind(wal.reader().base().index).unwrap();
    assert_eq!(log_files(&disk).len(), files, "the current file was begun later");
    wal.leave_behind(last.index).unwrap();
    wal.leave_behind(last.index).unwrap();
    assert_eq!(log_files(&disk).len(), files + 1);
    let commit = Batch { hard_state: hard_state(2, last.index.get()), ..batch(&[]) };
    wal.append(&commit).unwrap();
    assert_eq!(wal.retire(last.index.next()).unwrap(), files as u64);
    assert_eq!(wal.reader().base(), last);
    drop(wal);
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.base, wal.reader().last()), (last, last));
    assert_eq!(super::super::beginning(&*disk, Path::new(DATA)).unwrap(), Some((last, members())));
}
