//! Looks at a log without a lock and without writing: for `palisade log verify`, `stats` and `dump`, on a live
//! directory or on a copy.

use std::path::Path;
use std::sync::{Arc, RwLock};

use thiserror::Error;

use crate::disk::{Access, Disk};
use crate::envelope::{Envelope, EnvelopeError};
use crate::ids::LogIndex;
use crate::recover::{Damage, Ending, RecoverError};
use crate::wal::{
    self, ConfState, EntryKind, HardState, LogEntry, LogPosition, ReadError, Stray, WalIdentity, WalReader,
};

/// How often a log is read again that does not end cleanly: on a live directory a batch may be seen half written, a later
/// one beside it, or a file be retired. Damage is still there the next time.
const ATTEMPTS: u32 = 3;
/// Problems that a report holds; the rest is only counted.
const MAX_PROBLEMS: usize = 100;

/// A log as it was found.
pub struct LogView<D: Disk> {
    identity: WalIdentity,
    hard_state: HardState,
    conf_state: ConfState,
    ending: Ending,
    files: u64,
    batches: u64,
    bytes: u64,
    strays: Vec<Stray>,
    reader: WalReader<D>,
}

/// What a log holds and what is wrong with it.
#[derive(Debug)]
pub struct Report {
    /// Whose log it is.
    pub identity: WalIdentity,
    /// Files that belong together.
    pub files: u64,
    /// Whole batches.
    pub batches: u64,
    /// Bytes of whole batches and file headers.
    pub bytes: u64,
    /// Entries that still count.
    pub entries: u64,
    /// Events in them.
    pub events: u64,
    /// The index of the first entry, or of the one to come.
    pub first: LogIndex,
    /// The last entry.
    pub last: LogPosition,
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The members.
    pub conf_state: ConfState,
    /// How it ends.
    pub ended: Ending,
    /// What is wrong, at most a hundred findings.
    pub problems: Vec<Problem>,
    /// Findings beyond those.
    pub more_problems: u64,
}

/// Something wrong with a log. A torn tail is none: nobody was told of it.
#[derive(Debug, Error)]
pub enum Problem {
    /// Acknowledged data is damaged.
    #[error("corrupt: {0}")]
    Corrupt(Box<Damage>),
    /// The last batch is damaged and was probably acknowledged.
    #[error("suspect: {0}")]
    Suspect(Box<Damage>),
    /// Bytes that must be zero are not; nothing is lost, and a start makes them zero again.
    #[error("stray bytes: {0}")]
    Stray(Stray),
    /// An entry's data does not decode: a host stops there.
    #[error("entry {index} does not decode: {}", chain(source))]
    Undecodable {
        /// The entry.
        index: LogIndex,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// Entries could not be read, from this one on.
    #[error("entry {index} cannot be read: {}", chain(source))]
    Unreadable {
        /// The first of them.
        index: LogIndex,
        /// Why.
        #[source]
        source: ReadError,
    },
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn note(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn count(&mut self, entry: &LogEntry) {
        self.entries += 1;
        match decode(entry) {
            Ok(Some(envelope)) => self.events += envelope.events.len() as u64,
            Ok(None) => {}
            Err(source) => self.note(Problem::Undecodable { index: entry.index, source }),
        }
    }
}

/// Reads everything and reports.
pub fn verify<D: Disk>(disk: &D, data: &Path) -> Result<Report, RecoverError> {
    Ok(LogView::open(disk, data)?.report())
}

/// The envelope in an entry; `None` if the entry is Raft's own.
pub fn decode(entry: &LogEntry) -> Result<Option<Envelope>, EnvelopeError> {
    match entry.kind {
        EntryKind::Normal if !entry.data.is_empty() => Envelope::decode(&entry.data).map(Some),
        EntryKind::Normal | EntryKind::ConfChange | EntryKind::ConfChangeV2 => Ok(None),
    }
}

impl<D: Disk> LogView<D> {
    /// Finds the batches of the log below a data directory.
    pub fn open(disk: &D, data: &Path) -> Result<Self, RecoverError> {
        let directory = wal::wal_directory(data);
        let walk = Self::walk(disk, &directory)?;
        Ok(Self {
            identity: walk.identity,
            hard_state: walk.hard_state,
            conf_state: walk.conf_state,
            ending: walk.ending,
            files: walk.files,
            batches: walk.batches,
            bytes: walk.bytes,
            strays: walk.strays.into_iter().map(|(_, stray)| stray).collect(),
            reader: WalReader::new(Arc::new(RwLock::new(walk.index))),
        })
    }

    fn walk(disk: &D, directory: &Path) -> Result<wal::Walk<D::File>, RecoverError> {
        for _ in 1..ATTEMPTS {
            match wal::walk(disk, directory, Access::Read) {
                Ok(walk) if walk.ending == Ending::Clean => return Ok(walk),
                Ok(_) => {}
                Err(RecoverError::Disk(error)) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        wal::walk(disk, directory, Access::Read)
    }

    /// Whose log it is.
    pub fn identity(&self) -> WalIdentity {
        self.identity
    }

    /// Term, vote and commit index; entries above the commit index may still be replaced.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// How the log ends; entries before that place are good.
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// Reads the entries.
    pub fn reader(&self) -> &WalReader<D> {
        &self.reader
    }

    /// The entries from an index on, without those that were replaced.
    pub fn entries(&self, from: LogIndex) -> wal::Entries<D> {
        let from = from.max(self.reader.first_index());
        self.reader.iter(from, self.reader.last().index.next())
    }

    /// Reads and decodes all entries.
    pub fn report(&self) -> Report {
        let mut report = Report {
            identity: self.identity,
            files: self.files,
            batches: self.batches,
            bytes: self.bytes,
            entries: 0,
            events: 0,
            first: self.reader.first_index(),
            last: self.reader.last(),
            hard_state: self.hard_state,
            conf_state: self.conf_state.clone(),
            ended: self.ending.clone(),
            problems: Vec::new(),
            more_problems: 0,
        };
        match &self.ending {
            Ending::Clean | Ending::Torn(_) => {}
            Ending::Corrupt(damage) => report.note(Problem::Corrupt(damage.clone())),
            Ending::Suspect(damage) => report.note(Problem::Suspect(damage.clone())),
        }
        self.strays.iter().for_each(|stray| report.note(Problem::Stray(stray.clone())));
        let mut next = report.first;
        for entry in self.entries(report.first) {
            match entry {
                Ok(entry) => {
                    report.count(&entry);
                    next = entry.index.next();
                }
                Err(source) => report.note(Problem::Unreadable { index: next, source }),
            }
        }
        report
    }
}

/// An error with everything behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
