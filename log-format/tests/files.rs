//! The log on real files.
#![expect(clippy::disallowed_methods, reason = "looks at the files behind the log's back")]
#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_format::disk::{Access, Disk, DiskFile, StdDisk};
use log_format::ids::{ClusterId, HostId, Incarnation, LogIndex, Term};
use log_format::recover::RecoverError;
use log_format::time::Timestamp;
use log_format::verify;
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, SpareProgress, TailEnd, Wal,
    WalIdentity, WalOptions, WalSetup,
};

#[test]
fn a_log_on_real_files_survives_its_process() {
    let data = fresh("survives");
    let disk = Arc::new(StdDisk);
    let members = ConfState::new([HostId::new(1)], []);
    let mut wal = Wal::create(Arc::clone(&disk), &data, setup(), members.clone()).unwrap();
    for index in 1..=40 {
        append(&mut wal, index);
    }
    while wal.prepare_spare().unwrap() == SpareProgress::Working {}
    // Another process, or a person, may look at the live log.
    assert_eq!(verify::verify(&*disk, &data, &|_, _, _| false).unwrap().entries, 40);
    assert!(matches!(Wal::open(Arc::clone(&disk), &data, setup()), Err(RecoverError::InUse { .. })));
    drop(wal);

    let (mut wal, recovered) = Wal::open(Arc::clone(&disk), &data, setup()).unwrap();
    assert_eq!((recovered.ended, recovered.last.index), (TailEnd::Clean, LogIndex::new(40)));
    assert_eq!(recovered.conf_state, members);
    append(&mut wal, 41);
    let entries = wal.reader().entries(LogIndex::new(1), LogIndex::new(42), u64::MAX).unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.index.get()).collect::<Vec<_>>(),
        (1..=41).collect::<Vec<_>>()
    );
    assert!(0 < disk.free_space(&data).unwrap());
}

#[test]
fn a_readers_thread_sees_what_was_appended() {
    let data = fresh("reader");
    let mut wal =
        Wal::create(Arc::new(StdDisk), &data, setup(), ConfState::new([HostId::new(1)], [])).unwrap();
    let reader = wal.reader();
    std::thread::scope(|scope| {
        let read = scope.spawn(move || {
            while reader.last().index < LogIndex::new(30) {
                let last = reader.last().index;
                let entries = reader.entries(LogIndex::new(1), last.next(), u64::MAX).unwrap();
                assert_eq!(entries.len() as u64, last.get());
            }
        });
        (1..=30).for_each(|index| append(&mut wal, index));
        read.join().unwrap();
    });
}

#[test]
fn files_are_for_their_owner_only() {
    let data = fresh("modes");
    let wal = Wal::create(Arc::new(StdDisk), &data, setup(), ConfState::new([HostId::new(1)], [])).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("wal")), 0o700);
    assert_eq!(mode(&data.join("LOCK")), 0o600);
    assert_eq!(mode(&data.join("wal/0000000000000001.wal")), 0o600);
    drop(wal);
}

#[test]
fn errors_name_the_file_and_what_was_done() {
    let missing = fresh("errors").join("nothing");
    let error = StdDisk.open(&missing, Access::Read).unwrap_err();
    assert!(error.is_missing());
    assert_eq!(error.to_string(), format!("open {}", missing.display()));
    let error = StdDisk.list(&missing).unwrap_err();
    assert_eq!(error.to_string(), format!("list {}", missing.display()));
    fs::write(&missing, b"12345678").unwrap();
    let file = StdDisk.open(&missing, Access::Read).unwrap();
    assert!(file.read_at(4, &mut [0; 5]).is_err());
    assert!(file.write_at(0, &[0]).is_err());
    assert!(StdDisk.create(&missing).is_err());
    let opened = Wal::open(Arc::new(StdDisk), &missing.join("data"), setup());
    assert!(matches!(opened, Err(RecoverError::Disk(_))));
}

fn append(wal: &mut Wal<StdDisk>, index: u64) {
    let (index, term) = (LogIndex::new(index), Term::new(1));
    let entries = [LogEntry { index, term, kind: EntryKind::Normal, data: Vec::new() }];
    let hard_state = HardState { term, vote: None, commit: index };
    wal.append(&Batch { hard_state, entries: &entries, conf_state: None, durability: Durability::Sync })
        .expect("append");
}

fn setup() -> WalSetup {
    let mut nonce = 0;
    WalSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([1; 16]),
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
        },
        options: WalOptions { file_bytes: 65_536 },
        stamps: Box::new(move || {
            nonce += 1;
            FileStamp { nonce, created_at: Timestamp::ZERO }
        }),
    }
}

/// A directory of this test's own, made anew.
fn fresh(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("log-format").join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("remove what an earlier run left");
    }
    StdDisk.create_dir(&directory).expect("make the directory");
    directory
}
