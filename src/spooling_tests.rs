use std::io;
use std::path::Path;
use std::sync::Arc;

use log_format::disk::{Fault, MemoryDisk, Operation};
use log_format::ids::{ClusterId, HostId, Incarnation};
use log_format::reserve::SpaceLimits;
use log_format::spool::{Priority, SpoolItem, SpoolOptions, SpoolSetup};
use log_format::time::Timestamp;
use log_format::wal::{FileStamp, WalIdentity};

use super::*;

const DATA: &str = "/data";

#[test]
fn a_read_that_fails_is_no_end_of_the_spool() {
    let disk = Arc::new(MemoryDisk::new());
    disk.create_dir(Path::new(DATA)).unwrap();
    let mut keeper = open(&disk);
    // Two files.
    let records = [record(1), record(2)];
    let mut told = Vec::new();
    for record in records.clone() {
        keeper.carry_out([SpoolOrder::Append(record)], &mut |answer| told.push(answer)).unwrap();
    }
    for after in 0..2 {
        told.clear();
        disk.inject(Fault { operation: Operation::Length, after, kind: io::ErrorKind::Other });
        let read = SpoolOrder::Read { from: OriginSequence::new(1), most: 10 };
        let done = keeper.carry_out([read], &mut |answer| told.push(answer));
        assert!(matches!(done, Err(SpoolError::Read { .. })), "{done:?}");
        assert_eq!(told, []);
    }
    // The process has ended; the next one reads everything.
    drop(keeper);
    let read = SpoolOrder::Read { from: OriginSequence::new(1), most: 10 };
    open(&disk).carry_out([read], &mut |answer| told.push(answer)).unwrap();
    let items = records.map(SpoolItem::Record).to_vec();
    assert_eq!(told, [Spooled::Read { items, is_end: true }]);
}

fn open(disk: &Arc<MemoryDisk>) -> SpoolKeeper<MemoryDisk> {
    let setup = SpoolSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([7; 16]),
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
        },
        options: SpoolOptions { file_bytes: 8_192, bound_bytes: 1 << 20 },
        given_upto: OriginSequence::new(0),
        limits: SpaceLimits::NONE,
        stamps: Box::new(|| FileStamp { nonce: 1, created_at: Timestamp::ZERO }),
    };
    SpoolKeeper::new(Spool::open(Arc::clone(disk), Path::new(DATA), setup).unwrap().0)
}

fn record(sequence: u64) -> SpoolRecord {
    SpoolRecord {
        sequence: OriginSequence::new(sequence),
        observed_at: Timestamp::ZERO,
        priority: Priority::Action,
        bytes: vec![1; 3_000],
    }
}
