//! A sample chapter of ten entries.

use std::convert::Infallible;
use std::path::Path;

use log_format::chapter::{self, ChapterPlan};
use log_format::disk::MemoryDisk;
use log_format::envelope::{Envelope, Recorded};
use log_format::ids::{ChapterNumber, ClusterId, CommandId, HostId, LogIndex, Salt, Term};
use log_format::seal::Seal;
use log_format::time::Timestamp;
use log_format::wal::{ConfState, EntryKind, LogEntry};

use super::events::{at, events};
use super::{DATA, envelope};

/// Entries from an index on: an empty one, changes of members, and envelopes with all events, three at a time.
pub(crate) fn entries(first: u64) -> Vec<LogEntry> {
    let entry =
        |(index, (kind, data))| LogEntry { index: LogIndex::new(index), term: Term::new(3), kind, data };
    let mut contents = vec![(EntryKind::Normal, Vec::new()), (EntryKind::ConfChange, vec![8, 1])];
    let mut none = envelope();
    none.events.clear();
    contents.push((EntryKind::Normal, none.encode().expect("an envelope")));
    contents.push((EntryKind::ConfChangeV2, Vec::new()));
    let all: Vec<Recorded> = events().into_iter().map(|(_, event)| recorded(event)).collect();
    for (number, events) in (0_u8..).zip(all.chunks(3)) {
        let accepted_at = Timestamp::from_nanos(at(3).nanos() + u64::from(number));
        let command = CommandId::new([number; 16]);
        let envelope = Envelope { command, accepted_at, events: events.to_vec(), ..envelope() };
        contents.push((EntryKind::Normal, envelope.encode().expect("an envelope")));
    }
    (first..).zip(contents).map(entry).collect()
}

fn recorded(event: log_format::event::Event) -> Recorded {
    let salt = if event.kind().class().is_erasable() { Salt::new([0x5a; 16]) } else { Salt::default() };
    Recorded { observed_at: at(1), salt, event }
}

/// The plan of the chapter behind another one, with the sample entries.
pub(crate) fn plan(before: Option<&Seal>) -> ChapterPlan {
    let first = before.map_or(1, |seal| seal.last.index.get() + 1);
    ChapterPlan {
        cluster: ClusterId::new([0x77; 16]),
        chapter: ChapterNumber::new(before.map_or(1, |seal| seal.chapter.get() + 1)),
        first: LogIndex::new(first),
        last: LogIndex::new(first - 1 + entries(first).len() as u64),
        previous: before.map_or([0; 32], Seal::hash),
        members: ConfState::new([1, 2, 3].map(HostId::new), [HostId::new(4)]),
    }
}

/// Builds the plan's chapter of the sample entries.
pub(crate) fn build(disk: &MemoryDisk, plan: &ChapterPlan) -> Result<Seal, chapter::ChapterError> {
    let entries = entries(plan.first.get()).into_iter().map(Ok::<_, Infallible>);
    chapter::build(disk, Path::new(DATA), plan, entries)
}

/// A disk with one chapter.
pub(crate) fn disk() -> (MemoryDisk, Seal) {
    let disk = MemoryDisk::new();
    let seal = build(&disk, &plan(None)).expect("build the sample chapter");
    (disk, seal)
}
