//! Writes a chapter from the committed entries.

use std::error::Error;
use std::path::Path;

use super::part::{Part, class_place};
use super::sidecar::Sidecar;
use super::split::Split;
use super::stream::{FrameWriter, disk_error};
use super::{ChapterError, SEAL, make_directory, new_name, replace};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::ids::{ChapterNumber, ClusterId, LogIndex};
use crate::merkle::{self, Hash};
use crate::seal::{PartSummary, Seal};
use crate::time::Timestamp;
use crate::wal::{ConfState, LogEntry, LogPosition};

/// What a chapter is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapterPlan {
    /// The cluster.
    pub cluster: ClusterId,
    /// The chapter.
    pub chapter: ChapterNumber,
    /// Its first entry.
    pub first: LogIndex,
    /// Its last entry.
    pub last: LogIndex,
    /// The hash of the seal before; zeros before the first.
    pub previous: Hash,
    /// The members once the last entry is applied.
    pub members: ConfState,
}

/// Writes a chapter from its entries, which must be committed, and gives its seal. A chapter that is there is left as it
/// is. After an error, or a crash, the same call begins again.
pub fn build<D: Disk, E: Error + Send + Sync + 'static>(
    disk: &D,
    data: &Path,
    plan: &ChapterPlan,
    entries: impl Iterator<Item = Result<LogEntry, E>>,
) -> Result<Seal, ChapterError> {
    if let Some(seal) = super::seal(disk, data, plan.chapter)? {
        return if plan.is_of(&seal) { Ok(seal) } else { Err(ChapterError::Other { chapter: plan.chapter }) };
    }
    let directory = make_directory(disk, data, plan.chapter)?;
    let mut writer = Writer::begin(disk, &directory, plan)?;
    for entry in entries {
        let index = writer.due;
        let entry = entry.map_err(|source| ChapterError::Source { index, source: Box::new(source) })?;
        writer.push(&entry)?;
    }
    let (seal, sidecar) = writer.finish(plan)?;
    for part in Part::ALL {
        let name = part.file_name();
        disk.rename(&new_name(&directory, name), &directory.join(name))?;
    }
    disk.sync_dir(&directory)?;
    sidecar.write(disk, &directory)?;
    replace(disk, &directory, SEAL, &seal.encode())?;
    Ok(seal)
}

impl ChapterPlan {
    fn is_of(&self, seal: &Seal) -> bool {
        (self.cluster, self.first, self.last) == (seal.cluster, seal.first.index, seal.last.index)
            && (self.previous, &self.members) == (seal.previous, &seal.members)
    }
}

struct Writer<'a, F: DiskFile> {
    directory: &'a Path,
    chapter: ChapterNumber,
    due: LogIndex,
    until: LogIndex,
    entries: FrameWriter<F>,
    classes: [FrameWriter<F>; 3],
    first: LogPosition,
    last: LogPosition,
    accepted: Option<(Timestamp, Timestamp)>,
}

impl<'a, F: DiskFile> Writer<'a, F> {
    fn begin<D: Disk<File = F>>(
        disk: &D,
        directory: &'a Path,
        plan: &ChapterPlan,
    ) -> Result<Self, DiskError> {
        let [entries, audit, control, attack] =
            Part::ALL.map(|part| FrameWriter::create(disk, directory, part));
        Ok(Self {
            directory,
            chapter: plan.chapter,
            due: plan.first,
            until: plan.last.next(),
            entries: entries?,
            classes: [audit?, control?, attack?],
            first: LogPosition::default(),
            last: LogPosition::default(),
            accepted: None,
        })
    }

    fn push(&mut self, entry: &LogEntry) -> Result<(), ChapterError> {
        let index = entry.index;
        if index != self.due || self.until <= index {
            return Err(ChapterError::Entries { chapter: self.chapter, expected: self.due });
        }
        let split = Split::of(entry).map_err(|source| ChapterError::Split { index, source })?;
        self.write(&split).map_err(|error| disk_error(error, self.directory))?;
        if let Some(at) = Split::accepted_at(&split.record) {
            self.accepted = Some((self.accepted.map_or(at, |(first, _)| first), at));
        }
        self.last = LogPosition { term: entry.term, index };
        if self.first == LogPosition::default() {
            self.first = self.last;
        }
        self.due = index.next();
        Ok(())
    }

    fn write(&mut self, split: &Split) -> std::io::Result<()> {
        let Split { record, payloads } = split;
        self.entries.push(record, merkle::leaf([record.as_slice()]))?;
        let events = Split::events(record).unwrap_or_default();
        for (event, payload) in events.iter().zip(payloads) {
            let (Some(payload), Some(class)) = (payload, self.classes.get_mut(class_place(event.class)))
            else {
                continue;
            };
            class.push(payload, event.leaf(payload))?;
        }
        Ok(())
    }

    fn finish(self, plan: &ChapterPlan) -> Result<(Seal, Sidecar), ChapterError> {
        if self.due != self.until {
            return Err(ChapterError::Entries { chapter: self.chapter, expected: self.due });
        }
        let [audit, control, attack] = self.classes;
        let mut sidecar = Sidecar::default();
        let mut parts = [PartSummary::default(); 4];
        let written = [self.entries, audit, control, attack];
        for ((part, slot), writer) in Part::ALL.into_iter().zip(&mut parts).zip(written) {
            let (summary, sum) = writer.finish().map_err(|error| disk_error(error, self.directory))?;
            *slot = summary;
            sidecar.set(part, sum);
        }
        let (first_accepted, last_accepted) = self.accepted.unwrap_or_default();
        let seal = Seal {
            cluster: plan.cluster,
            chapter: plan.chapter,
            first: self.first,
            last: self.last,
            first_accepted,
            last_accepted,
            parts,
            previous: plan.previous,
            members: plan.members.clone(),
        };
        Ok((seal, sidecar))
    }
}
