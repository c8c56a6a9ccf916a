use std::path::Path;
use std::sync::Arc;

use log_format::chapter::{self, ChapterPlan};
use log_format::disk::MemoryDisk;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::{
    Actor, AttackEvent, ChapterSealed, ClusterForced, EnforcementMode, HostKeyAnnounced, SealWitnessed,
    SettingChange, SettingsChanged, SettingsEvent, StrikesCounted, Text,
};
use log_format::ids::{ClusterId, CommandId, Incarnation, Origin, OriginSequence, Salt, Term};
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Wal, WalIdentity, WalOptions,
    WalSetup,
};

use super::*;
use crate::witness::{self, WitnessKey};

const DATA: &str = "/data";
const HOST: HostId = HostId::new(1);
const OURS: ClusterId = ClusterId::new([7; 16]);

#[test]
fn an_export_proves_itself_and_each_changed_byte_is_seen() {
    let disk = disk();
    let file = exported(&disk, Class::Audit, 1);
    let verified = verify(file.as_slice(), &witness::is_signed).unwrap();
    assert_eq!((verified.chapters, verified.events, verified.witnessed), (2, 6, 1));
    assert_eq!((verified.seals.len(), verified.sealed), (2, 12));
    // What was asked for is proven by nothing, nor is which host a key belongs to; all else is.
    let proven = file.iter().position(|byte| *byte == b'\n').unwrap();
    let host = b"\"host\":";
    let host = file.windows(host.len()).position(|bytes| bytes == host).unwrap() + host.len();
    for at in (proven..file.len() - 1).filter(|at| *at != host) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(verify(changed.as_slice(), &witness::is_signed).is_err(), "byte {at}");
    }
}

#[test]
fn no_line_can_be_left_out_or_told_twice() {
    let file = String::from_utf8(exported(&disk(), Class::Audit, 1)).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    for at in 0..lines.len() {
        let is_witness = lines[at].contains("\"witness\"");
        let without: Vec<&str> =
            (0..lines.len()).filter(|line| *line != at).map(|line| lines[line]).collect();
        let without = verify(without.join("\n").as_bytes(), &witness::is_signed);
        assert_eq!(without.is_err(), !is_witness, "without line {at}");
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        let twice = verify(twice.join("\n").as_bytes(), &witness::is_signed);
        assert_eq!(twice.is_err(), !is_witness, "line {at} twice");
    }
}

#[test]
fn a_range_holds_whole_chapters_and_the_chain_to_them() {
    let verified = verify(exported(&disk(), Class::Audit, 7).as_slice(), &witness::is_signed).unwrap();
    assert_eq!((verified.chapters, verified.events), (2, 3));
}

#[test]
fn erased_attack_data_is_told_as_erased_and_audit_still_verifies() {
    let disk = disk();
    chapter::erase(&disk, Path::new(DATA), ChapterNumber::new(1)).unwrap();
    let attack = verify(exported(&disk, Class::Attack, 1).as_slice(), &witness::is_signed).unwrap();
    assert_eq!((attack.events, attack.erased), (3, 1));
    let audit = verify(exported(&disk, Class::Audit, 1).as_slice(), &witness::is_signed).unwrap();
    assert_eq!((audit.events, audit.erased), (6, 0));
}

#[test]
fn another_cluster_goes_on_only_where_that_was_ordered() {
    let other = ClusterId::new([8; 16]);
    let ordered = |previous| {
        let (members, last, by) = (vec![HOST], LogIndex::new(6), Actor::System);
        Event::Membership(MembershipEvent::ClusterForced(ClusterForced {
            host: HOST,
            previous,
            members,
            last,
            by,
        }))
    };
    let sound = disk_of([OURS, other], ordered(OURS));
    let verified = verify(exported(&sound, Class::Audit, 1).as_slice(), &witness::is_signed).unwrap();
    assert_eq!((verified.cluster, verified.earlier), (other.to_string(), vec![OURS.to_string()]));
    assert!(log::verify(&sound, Path::new(DATA), &witness::is_signed).unwrap().is_sound());
    for event in [changed(), ordered(other)] {
        let disk = disk_of([OURS, other], event);
        let wrong = verify(exported(&disk, Class::Audit, 1).as_slice(), &witness::is_signed).unwrap_err();
        assert!(wrong.to_string().contains("nobody ordered that"), "{wrong}");
        let report = log::verify(&disk, Path::new(DATA), &witness::is_signed).unwrap();
        assert!(
            matches!(report.problems.as_slice(), [log::Problem::Foreign { .. }]),
            "{:?}",
            report.problems
        );
    }
}

fn exported(disk: &MemoryDisk, class: Class, from: u64) -> Vec<u8> {
    let mut file = Vec::new();
    let wanted = Wanted { class, from: LogIndex::new(from), until: LogIndex::new(u64::MAX) };
    export(disk, Path::new(DATA), wanted, &mut file).unwrap();
    file
}

/// Two chapters of six entries, and what a host says of the first.
fn disk() -> MemoryDisk {
    disk_of([OURS, OURS], changed())
}

/// The same; each chapter is sealed for its cluster, and the second begins with this event.
fn disk_of(clusters: [ClusterId; 2], second: Event) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let identity = WalIdentity { cluster: clusters[1], host: HOST, incarnation: Incarnation::new(1) };
    let setup = WalSetup {
        identity,
        options: WalOptions { file_bytes: 1 << 20 },
        stamps: Box::new(|| FileStamp { nonce: 9, created_at: Timestamp::ZERO }),
    };
    let members = ConfState::new([HOST], []);
    let mut wal = Wal::create(Arc::new(disk.clone()), Path::new(DATA), setup, members.clone()).unwrap();
    // In turn what a person did and what sensors saw.
    let event = |index| match index {
        7 => second.clone(),
        _ if index % 2 == 0 => strikes(),
        _ => changed(),
    };
    let entries: Vec<LogEntry> = (1..=12).map(|index| entry(index, event(index))).collect();
    let mut seals: Vec<Seal> = Vec::new();
    for ((number, cluster), part) in (1..).zip(clusters).zip(entries.chunks(6)) {
        append(&mut wal, part);
        let plan = ChapterPlan {
            cluster,
            chapter: ChapterNumber::new(number),
            first: part[0].index,
            last: part[5].index,
            previous: seals.last().map_or([0; 32], Seal::hash),
            members: members.clone(),
        };
        let part = part.iter().cloned().map(Ok::<_, std::convert::Infallible>);
        seals.push(chapter::build(&disk, Path::new(DATA), &plan, part).unwrap());
    }
    let key = WitnessKey::from_seed(&[3; 32]).unwrap();
    let (chapter, seal) = (ChapterNumber::new(1), seals[0].hash());
    let said = [
        Event::Host(HostEvent::KeyAnnounced(HostKeyAnnounced { host: HOST, key: key.public() })),
        Event::Chapter(ChapterEvent::Sealed(ChapterSealed { chapter, seal })),
        Event::Chapter(ChapterEvent::Witnessed(SealWitnessed {
            chapter,
            host: HOST,
            signature: key.sign(&seal),
        })),
    ];
    let said: Vec<LogEntry> = (13..).zip(said).map(|(index, event)| entry(index, event)).collect();
    append(&mut wal, &said);
    disk
}

fn append(wal: &mut Wal<MemoryDisk>, entries: &[LogEntry]) {
    let commit = entries.last().unwrap().index;
    let hard_state = HardState { term: Term::new(1), vote: None, commit };
    wal.append(&Batch { hard_state, entries, conf_state: None, durability: Durability::Sync }).unwrap();
}

fn entry(index: u64, event: Event) -> LogEntry {
    let salt = if event.kind().class().is_erasable() { Salt::new([5; 16]) } else { Salt::default() };
    let envelope = Envelope {
        command: CommandId::new([1; 16]),
        origin: Origin { host: HOST, incarnation: Incarnation::new(1), sequence: OriginSequence::new(0) },
        accepted_at: Timestamp::from_nanos(1_767_323_045_000_000_000 + index),
        events: vec![Recorded { observed_at: Timestamp::from_seconds(1), salt, event }],
    };
    let data = envelope.encode().unwrap();
    LogEntry { index: LogIndex::new(index), term: Term::new(1), kind: EntryKind::Normal, data }
}

fn changed() -> Event {
    let by = Actor::Administrator(Text::new(b"admin"));
    let changes = vec![SettingChange::Mode(EnforcementMode::Watch)];
    Event::Settings(SettingsEvent::Changed(SettingsChanged { by, changes }))
}

fn strikes() -> Event {
    Event::Attack(AttackEvent::StrikesCounted(StrikesCounted { deltas: Vec::new() }))
}
