//! The recovery rule, case by case, on one file: header, batch 1 in block 1, batch 2 in blocks 2 and 3.

use super::*;
use crate::ids::HostId;
use crate::recover::Evidence;
use crate::reserve::{Reserve, SpaceLimits, SpaceState};
use crate::verify;

const FILE: &str = "/data/wal/0000000000000001.wal";
const BATCH_1: u64 = BLOCK_BYTES;
const BATCH_2: u64 = 2 * BLOCK_BYTES;

#[test]
fn damage_before_a_later_batch_is_corrupt() {
    for place in [BATCH_1 + 20, BATCH_1 + 100] {
        let disk = two_batches();
        disk.flip_bit(Path::new(FILE), place * 8);
        let damage = corrupt(&disk);
        let batch = BatchNumber::new(2);
        assert_eq!(damage.evidence, Evidence::LaterBatch { batch, offset: BATCH_2 });
        assert_eq!((damage.offset, damage.batch), (BATCH_1, BatchNumber::new(1)));
    }
}

#[test]
fn a_batch_that_is_gone_before_a_damaged_header_is_corrupt() {
    // A bit of the magic, the nonce, the number, the checksum.
    for byte in [1, 10, 17, 77] {
        let disk = two_batches();
        disk.overwrite(Path::new(FILE), BATCH_1, &[0; BLOCK]);
        disk.flip_bit(Path::new(FILE), (BATCH_2 + byte) * 8);
        let damage = corrupt(&disk);
        assert_eq!(damage.evidence, Evidence::LaterHeader { offset: BATCH_2 });
        assert_eq!((damage.offset, damage.batch), (BATCH_1, BatchNumber::new(1)));
    }
}

#[test]
fn a_rotted_last_batch_is_suspect_and_names_its_entries() {
    let disk = two_batches();
    disk.flip_bit(Path::new(FILE), (BATCH_2 + 3_000) * 8);
    let Err(RecoverError::Suspect(damage)) = open(&disk) else { panic!("not suspect") };
    assert_eq!(damage.evidence, Evidence::BatchBody);
    assert_eq!(damage.entries, Some((LogIndex::new(2), LogIndex::new(2))));
    let text = RecoverError::Suspect(damage).to_string();
    assert!(text.contains("/data/wal/0000000000000001.wal at byte 8192, batch 2 (entries 2 to 2)"), "{text}");
    assert!(text.contains("let it join as a new host"), "{text}");
}

#[test]
fn a_rotted_last_header_is_suspect() {
    let disk = two_batches();
    disk.flip_bit(Path::new(FILE), (BATCH_2 + 30) * 8);
    let Err(RecoverError::Suspect(damage)) = open(&disk) else { panic!("not suspect") };
    assert_eq!((damage.evidence.clone(), damage.entries), (Evidence::BatchHeader, None));
}

#[test]
fn a_last_batch_that_the_disk_wrote_to_the_wrong_place_is_suspect() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 10)]).unwrap();
    drop(wal);
    let bytes = disk.contents(Path::new(FILE)).unwrap();
    disk.overwrite(Path::new(FILE), 3 * BLOCK_BYTES, &bytes[BLOCK..2 * BLOCK]);
    disk.overwrite(Path::new(FILE), BATCH_1, &[0; BLOCK]);
    let Err(RecoverError::Suspect(damage)) = open(&disk) else { panic!("not suspect") };
    assert_eq!(damage.evidence, Evidence::StrayHeader { batch: BatchNumber::new(1) });
}

#[test]
fn a_batch_whose_sync_failed_is_durable_once_the_log_was_opened() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 10)]).unwrap();
    disk.inject(Fault { operation: Operation::SyncData, after: 0, kind: io::ErrorKind::Other });
    append(&mut wal, 1, &[entry(2, 1, 5_000)]).unwrap_err();
    drop(wal);
    disk.kill();
    // The batch is visible, and the kernel takes it for written.
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.last, position(2, 1));
    drop(wal);
    disk.crash(11);
    assert_eq!(open(&disk).unwrap().1.last, position(2, 1), "whoever opened the log has relied on it");
}

#[test]
fn a_torn_tail_whose_zeroing_was_not_synced_is_zeroed_again() {
    let disk = two_batches();
    disk.overwrite(Path::new(FILE), BATCH_2, &[0; 512]);
    disk.inject(Fault { operation: Operation::SyncData, after: 0, kind: io::ErrorKind::Other });
    assert!(open(&disk).is_err());
    disk.kill();
    // The kernel shows zeros; the disk has the rest of the torn batch, and a shorter one is written over its front.
    let (mut wal, _) = open(&disk).unwrap();
    append(&mut wal, 1, &[entry(2, 1, 10)]).unwrap();
    drop(wal);
    disk.crash(5);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.last, recovered.ended), (position(2, 1), TailEnd::Clean));
}

#[test]
fn a_missing_sector_of_the_last_batch_is_torn_and_zeroed() {
    for sector in [0, 3, 8] {
        let disk = two_batches();
        disk.overwrite(Path::new(FILE), BATCH_2 + sector * 512, &[0; 512]);
        let (wal, recovered) = open(&disk).unwrap();
        let TailEnd::Torn { offset, batch, zeroed_bytes, .. } = recovered.ended else { panic!("not torn") };
        assert_eq!((offset, batch), (BATCH_2, BatchNumber::new(2)));
        assert!(0 < zeroed_bytes);
        assert_eq!(recovered.last, position(1, 1));
        let bytes = disk.contents(Path::new(FILE)).unwrap();
        assert!(bytes[2 * BLOCK..].iter().all(|byte| *byte == 0));
        drop(wal);
        assert_eq!(open(&disk).unwrap().1.ended, TailEnd::Clean);
    }
}

#[test]
fn a_sector_that_lost_its_only_bit_is_suspect_and_not_torn() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    let mut data = vec![0; 3_000];
    data[1_500] = 0x10;
    let lone = LogEntry { index: LogIndex::new(1), term: Term::new(1), kind: EntryKind::Normal, data };
    append(&mut wal, 1, &[lone]).unwrap();
    drop(wal);
    disk.flip_bit(Path::new(FILE), (BATCH_1 + 80 + 24 + 1_500) * 8 + 4);
    assert!(matches!(open(&disk), Err(RecoverError::Suspect(_))));
}

#[test]
fn a_later_file_proves_that_a_batch_was_acknowledged() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    for index in 1..=4 {
        append(&mut wal, 1, &[entry(index, 1, 5_000)]).unwrap();
    }
    drop(wal);
    // The last batch of the first file.
    disk.overwrite(Path::new(FILE), 5 * BLOCK_BYTES, &[0; 512]);
    let damage = corrupt(&disk);
    let evidence = Evidence::LaterFile { file: WalSequence::new(2), batch: BatchNumber::new(4) };
    assert_eq!((damage.evidence.clone(), damage.batch), (evidence, BatchNumber::new(3)));
}

#[test]
fn a_missing_file_between_others_is_corrupt() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    for index in 1..=8 {
        append(&mut wal, 1, &[entry(index, 1, 5_000)]).unwrap();
    }
    drop(wal);
    disk.remove(Path::new("/data/wal/0000000000000002.wal")).unwrap();
    let expected = WalSequence::new(2);
    assert_eq!(corrupt(&disk).evidence, Evidence::MissingFile { expected });
}

#[test]
fn a_damaged_file_header_is_corrupt() {
    for byte in [0, 9, 60, 3_000] {
        let disk = two_batches();
        disk.flip_bit(Path::new(FILE), byte * 8);
        assert_eq!(corrupt(&disk).evidence, Evidence::FileHeader, "byte {byte}");
    }
}

#[test]
fn a_log_of_another_host_is_never_opened() {
    let disk = two_batches();
    let mut setup = setup(1);
    setup.identity.host = HostId::new(9);
    let opened = Wal::open(Arc::clone(&disk), Path::new(DATA), setup);
    assert!(matches!(opened, Err(RecoverError::WrongIdentity { .. })));
}

#[test]
fn a_newer_version_is_named_and_not_damage() {
    let disk = two_batches();
    let mut bytes = disk.contents(Path::new(FILE)).unwrap();
    bytes[8] = 2;
    let length = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    let crc = crc32c::crc32c(&bytes[..length - 4]);
    bytes[length - 4..length].copy_from_slice(&crc.to_le_bytes());
    disk.overwrite(Path::new(FILE), 0, &bytes);
    let Err(RecoverError::Version { what, .. }) = open(&disk) else { panic!("not a version") };
    assert_eq!(what, "log format 2");

    let disk = two_batches();
    let mut header = disk.contents(Path::new(FILE)).unwrap()[2 * BLOCK..2 * BLOCK + 80].to_vec();
    header[68] = 1;
    let crc = crc32c::crc32c(&header[..76]);
    header[76..].copy_from_slice(&crc.to_le_bytes());
    disk.overwrite(Path::new(FILE), BATCH_2, &header);
    assert!(matches!(open(&disk), Err(RecoverError::Version { .. })));
}

#[test]
fn stray_bytes_behind_the_last_batch_of_an_older_file_lose_nothing() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    for index in 1..=4 {
        append(&mut wal, 1, &[entry(index, 1, 5_000)]).unwrap();
    }
    drop(wal);
    disk.flip_bit(Path::new(FILE), (7 * BLOCK_BYTES + 7) * 8);
    assert_eq!(open(&disk).unwrap().1.last, position(4, 1));
}

#[test]
fn what_a_killed_process_wrote_is_durable_once_it_was_recovered() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 10)]).unwrap();
    disk.fail_after_changes(1);
    append(&mut wal, 1, &[entry(2, 1, 5_000)]).unwrap_err();
    disk.kill();
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.last, position(2, 1));
    drop(wal);
    for seed in 0..20 {
        let after = Arc::new(disk.fork());
        after.crash(seed);
        assert_eq!(open(&after).unwrap().1.last, position(2, 1), "seed {seed}");
    }
}

#[test]
fn rot_after_the_start_is_an_error_and_never_a_wrong_entry() {
    let disk = two_batches();
    let (wal, _) = open(&disk).unwrap();
    disk.flip_bit(Path::new(FILE), (BATCH_1 + 110) * 8);
    let entries = wal.reader().entries(LogIndex::new(1), LogIndex::new(2), 1);
    assert!(matches!(entries, Err(ReadError::Damaged { .. })), "{entries:?}");
}

#[test]
fn a_full_disk_poisons_when_a_file_is_needed_and_not_before() {
    let disk = Arc::new(MemoryDisk::with_capacity(SMALL + BLOCK_BYTES));
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 10)]).unwrap();
    let error = wal.prepare_spare().unwrap_err();
    assert!(error.is_full(), "{error}");
    append(&mut wal, 1, &[entry(2, 1, 10)]).unwrap();
    for index in 3..=7 {
        append(&mut wal, 1, &[entry(index, 1, 10)]).unwrap();
    }
    let error = append(&mut wal, 1, &[entry(8, 1, 10)]).unwrap_err();
    assert!(matches!(&error, AppendError::Disk { source } if source.is_full()), "{error:?}");
    assert!(matches!(append(&mut wal, 1, &[entry(8, 1, 10)]), Err(AppendError::Poisoned)));
}

#[test]
fn a_full_disk_costs_the_reserve_before_it_costs_a_batch() {
    let limits = SpaceLimits { reserve_bytes: SMALL, low_bytes: 0, low_percent: 0 };
    for is_idle in [false, true] {
        let disk = Arc::new(MemoryDisk::with_capacity(2 * SMALL + BLOCK_BYTES));
        let mut wal = create(&disk);
        let reserve = Reserve::new(Arc::clone(&disk), Path::new(DATA), limits);
        assert_eq!(reserve.keep().unwrap(), SpaceState::Ample);
        if is_idle {
            while matches!(wal.prepare_spare(), Ok(SpareProgress::Working)) {}
        }
        // It is not given up before a file is needed.
        assert_eq!(reserve.state().unwrap(), SpaceState::Ample);
        for index in 1..=10 {
            append(&mut wal, 1, &[entry(index, 1, 10)]).unwrap();
        }
        assert_eq!(reserve.state().unwrap(), SpaceState::ReserveSpent);
        assert_eq!(read(&wal, 1, 11).len(), 10);
    }
}

#[test]
fn spare_files_are_made_ahead_and_used() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    while wal.prepare_spare().unwrap() == SpareProgress::Working {}
    let writes = disk.writes();
    for index in 1..=8 {
        append(&mut wal, 1, &[entry(index, 1, 10)]).unwrap();
    }
    // Eight batches and one header: nothing had to be zeroed.
    assert_eq!(disk.writes(), writes + 9);
    drop(wal);
    let (mut wal, _) = open(&disk).unwrap();
    assert_eq!(wal.prepare_spare().unwrap(), SpareProgress::Working);
}

#[test]
fn what_is_no_log_is_refused_before_it_is_written() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 2, &[entry(1, 2, 10), entry(2, 2, 10)]).unwrap();
    let committed = Batch { hard_state: hard_state(2, 2), ..batch(&[]) };
    wal.append(&committed).unwrap();
    let writes = disk.writes();
    let mut refused = |batch: Batch<'_>| wal.append(&batch).unwrap_err();
    let large = [entry(3, 2, 40_000)];
    assert!(matches!(refused(batch(&large)), AppendError::TooLarge { .. }));
    assert!(matches!(refused(batch(&[entry(4, 2, 1)])), AppendError::Gap { .. }));
    assert!(matches!(refused(batch(&[entry(3, 2, 1), entry(5, 2, 1)])), AppendError::Gap { .. }));
    assert!(matches!(refused(batch(&[entry(2, 2, 1)])), AppendError::Committed { .. }));
    let backwards = Batch { hard_state: hard_state(1, 2), ..batch(&[]) };
    assert!(matches!(refused(backwards), AppendError::Backwards));
    let beyond = Batch { hard_state: hard_state(2, 3), ..batch(&[]) };
    assert!(matches!(refused(beyond), AppendError::CommitBeyond { .. }));
    let unsorted = ConfState { voters: vec![HostId::new(2), HostId::new(1)], learners: Vec::new() };
    let members = Batch { conf_state: Some(&unsorted), ..batch(&[]) };
    assert!(matches!(refused(members), AppendError::Members));
    assert_eq!(disk.writes(), writes);
    wal.append(&batch(&[entry(3, 2, 1)])).unwrap();
}

#[test]
fn a_report_tells_what_a_log_holds_and_needs_no_lock() {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 0)]).unwrap();
    append(&mut wal, 1, &[entry(2, 1, 100)]).unwrap();
    let writes = disk.writes();
    let report = verify::verify(&*disk, Path::new(DATA), &|_, _, _| false).unwrap();
    assert_eq!((report.files, report.batches, report.entries, report.events), (1, 2, 2, 0));
    assert_eq!((report.first, report.last), (LogIndex::new(1), position(2, 1)));
    assert_eq!(report.bytes, 3 * BLOCK_BYTES);
    // The second entry is no envelope.
    assert!(matches!(report.problems[..], [verify::Problem::Undecodable { .. }]), "{:?}", report.problems);
    disk.flip_bit(Path::new(FILE), (BATCH_1 + 85) * 8);
    let report = verify::verify(&*disk, Path::new(DATA), &|_, _, _| false).unwrap();
    assert!(matches!(report.problems[..], [verify::Problem::Corrupt(_)]), "{:?}", report.problems);
    assert_eq!(disk.writes(), writes);
}

#[test]
fn the_entries_of_one_batch_encode_to_the_same_bytes_again() {
    let disk = two_batches();
    let bytes = disk.contents(Path::new(FILE)).unwrap();
    let (wal, _) = open(&disk).unwrap();
    let entries = read(&wal, 2, 3);
    let mut again = Vec::new();
    let mut header = batch::encode(&mut again, &batch_in_term(1, &entries));
    batch::seal(&mut again, &mut header, 2, BatchNumber::new(2));
    assert!(bytes[2 * BLOCK..2 * BLOCK + again.len()] == again);
}

#[test]
fn a_record_is_labelled_with_the_classes_of_its_events() {
    let golden = include_bytes!("../../../golden/envelope-1.bin");
    let label = classify::label(golden);
    assert_eq!((label.classes, label.schema), (0b111, 1));
    for length in 0..golden.len() {
        assert_eq!(classify::label(&golden[..length]), classify::Label::NONE);
    }
    assert_eq!(classify::label(&[1; 300]), classify::Label::NONE);
}

fn two_batches() -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    let mut wal = create(&disk);
    append(&mut wal, 1, &[entry(1, 1, 600)]).unwrap();
    append(&mut wal, 1, &[entry(2, 1, 5_000)]).unwrap();
    disk
}

fn corrupt(disk: &Arc<MemoryDisk>) -> crate::recover::Damage {
    match open(disk) {
        Err(RecoverError::Corrupt(damage)) => *damage,
        Err(error) => panic!("{error}"),
        Ok((_, recovered)) => panic!("opened: {recovered:?}"),
    }
}

fn batch(entries: &[LogEntry]) -> Batch<'_> {
    Batch { hard_state: hard_state(2, 2), ..batch_in_term(2, entries) }
}

fn batch_in_term(term: u64, entries: &[LogEntry]) -> Batch<'_> {
    Batch { hard_state: hard_state(term, 0), entries, conf_state: None, durability: Durability::Sync }
}
