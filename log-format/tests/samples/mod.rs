//! What the golden files hold: the events, an envelope, a log and a chapter's seal.

pub(crate) mod chapter;
mod events;

use std::path::Path;
use std::sync::Arc;

use log_format::chapter::Part;
use log_format::disk::MemoryDisk;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::Event;
use log_format::ids::{
    ClusterId, CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence, Salt, Term,
};
use log_format::render;
use log_format::verify::LogView;
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Wal, WalIdentity, WalOptions,
    WalSetup,
};

use events::{at, events};

/// The bytes and the text of one golden file.
pub(crate) struct Sample {
    /// File name without extension.
    pub(crate) name: String,
    /// What is in `.bin`.
    pub(crate) bytes: Vec<u8>,
    /// What is in `.txt`.
    pub(crate) text: String,
}

/// Where the sample log lies on its disk.
pub(crate) const DATA: &str = "/data";
/// The sample log's only file.
pub(crate) const LOG_FILE: &str = "/data/wal/0000000000000001.wal";

/// Everything that has a golden file.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples: Vec<Sample> = events().iter().map(|(case, event)| of_event(case, event)).collect();
    let envelope = envelope();
    samples.push(Sample {
        name: "envelope-1-third".to_owned(),
        bytes: envelope.encode().expect("the sample envelope is within the limits"),
        text: lines(&render::event_lines(LogIndex::new(12), &envelope)),
    });
    let erased = erased();
    samples.push(Sample {
        name: "envelope-1-erased-second".to_owned(),
        bytes: erased.encode().expect("the sample envelope is within the limits"),
        text: lines(&render::event_lines(LogIndex::new(12), &erased)),
    });
    let disk = log();
    samples.push(Sample {
        name: "wal-1-third".to_owned(),
        bytes: disk.contents(Path::new(LOG_FILE)).expect("the sample log has one file"),
        text: describe(&disk),
    });
    let (_, seal) = chapter::disk();
    samples.push(Sample {
        name: "chapter-1-second-seal".to_owned(),
        bytes: seal.encode(),
        text: lines(&[seal.to_string()]),
    });
    samples
}

/// The sample chapter's compressed files by name. They are kept to be read for ever; another version of the compressor may
/// write other bytes.
pub(crate) fn compressed() -> Vec<(String, Vec<u8>)> {
    let (disk, seal) = chapter::disk();
    let directory = log_format::chapter::directory_of(Path::new(DATA), seal.chapter);
    let part = |part: Part| {
        let bytes = disk.contents(&directory.join(part.file_name())).expect("the chapter has all files");
        (format!("chapter-1-second-{}", part.file_name()), bytes)
    };
    Part::ALL.into_iter().map(part).collect()
}

fn of_event(case: &str, event: &Event) -> Sample {
    let kind = event.kind();
    Sample {
        name: format!("{}-{}{case}", kind.name(), kind.schema()),
        bytes: log_format::codec::encode(event).expect("the samples are within the limit"),
        text: lines(&[render::event_text(event)]),
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What the sample log holds, as text.
pub(crate) fn describe(disk: &MemoryDisk) -> String {
    let view = LogView::open(disk, Path::new(DATA)).expect("the sample log can be read");
    let mut text = vec![view.identity().to_string(), format!("{:?}", view.hard_state())];
    for entry in view.entries(LogIndex::new(1)) {
        text.extend(render::entry_lines(&entry.expect("the sample log is sound")));
    }
    lines(&text)
}

/// One event of each retention class.
pub(crate) fn envelope() -> Envelope {
    let of_class = |wanted: &str| {
        let found = events().into_iter().find(|(_, event)| event.kind().name() == wanted);
        let (_, event) = found.expect("every kind has a sample");
        let salt = if event.kind().class().is_erasable() { Salt::new([0x5a; 16]) } else { Salt::default() };
        Recorded { observed_at: at(1), salt, event }
    };
    Envelope {
        command: CommandId::new([0xc0; 16]),
        origin: Origin {
            host: HostId::new(2),
            incarnation: Incarnation::new(1),
            sequence: OriginSequence::new(41),
        },
        accepted_at: at(2),
        events: ["AttackObserved", "AddressBlocked", "SettingsChanged"].map(of_class).to_vec(),
    }
}

/// The same once its erasable payloads are gone, as an old chapter tells it.
pub(crate) fn erased() -> Envelope {
    let mut envelope = envelope();
    for recorded in envelope.events.iter_mut().filter(|recorded| recorded.event.kind().class().is_erasable())
    {
        *recorded = Recorded {
            event: Event::Erased(recorded.event.kind()),
            salt: Salt::default(),
            ..recorded.clone()
        };
    }
    envelope
}

/// A log of three batches in one file of four blocks: an envelope, a change of members, a replaced entry.
pub(crate) fn log() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let setup = WalSetup {
        identity: identity(),
        options: WalOptions { file_bytes: 16_384 },
        stamps: Box::new(|| FileStamp { nonce: 0x1122_3344_5566_7788, created_at: at(0) }),
    };
    let voters = [1, 2, 3].map(HostId::new);
    let mut wal = Wal::create(Arc::new(disk.clone()), Path::new(DATA), setup, ConfState::new(voters, []))
        .expect("create the sample log");
    let changed = ConfState::new(voters, [HostId::new(4)]);
    let data = envelope().encode().expect("the sample envelope is within the limits");
    let batches: [(u64, u64, &[LogEntry], Option<&ConfState>); 3] = [
        (1, 0, &[entry(1, 1, EntryKind::Normal, &[]), entry(2, 1, EntryKind::Normal, &data)], None),
        (1, 2, &[entry(3, 1, EntryKind::ConfChange, &[8, 1]), entry(4, 1, EntryKind::Normal, &[])], None),
        (2, 3, &[entry(4, 2, EntryKind::ConfChangeV2, &[])], Some(&changed)),
    ];
    for (term, commit, entries, conf_state) in batches {
        let (term, commit) = (Term::new(term), LogIndex::new(commit));
        let hard_state = HardState { term, vote: Some(HostId::new(2)), commit };
        wal.append(&Batch { hard_state, entries, conf_state, durability: Durability::Sync })
            .expect("append to the sample log");
    }
    disk
}

/// Whose log the sample log is.
pub(crate) fn identity() -> WalIdentity {
    WalIdentity {
        cluster: ClusterId::new([0x77; 16]),
        host: HostId::new(1),
        incarnation: Incarnation::new(1),
    }
}

fn entry(index: u64, term: u64, kind: EntryKind, data: &[u8]) -> LogEntry {
    LogEntry { index: LogIndex::new(index), term: Term::new(term), kind, data: data.to_vec() }
}
