//! Entries one by one, from whatever holds them.

use std::collections::VecDeque;

use super::error::ReadError;
use super::types::LogEntry;
use crate::ids::LogIndex;

/// Data bytes read ahead by [`Entries`].
const READ_AHEAD: u64 = 1 << 20;

/// Holds entries.
pub trait EntrySource {
    /// The entries from an index on, before another one: as many as have `max_bytes` of data together, but at least one
    /// if the range is not empty.
    fn read(&self, from: LogIndex, until: LogIndex, max_bytes: u64) -> Result<Vec<LogEntry>, ReadError>;
}

impl<S: EntrySource> EntrySource for &S {
    fn read(&self, from: LogIndex, until: LogIndex, max_bytes: u64) -> Result<Vec<LogEntry>, ReadError> {
        (**self).read(from, until, max_bytes)
    }
}

/// Entries one by one, a few read at a time. After an error there are no more.
pub struct Entries<S> {
    source: S,
    next: LogIndex,
    until: LogIndex,
    held: VecDeque<LogEntry>,
}

impl<S: EntrySource> Entries<S> {
    /// The entries from an index on, before another one.
    pub(crate) fn new(source: S, from: LogIndex, until: LogIndex) -> Self {
        Self { source, next: from, until, held: VecDeque::new() }
    }
}

impl<S: EntrySource> Iterator for Entries<S> {
    type Item = Result<LogEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.held.is_empty() && self.next < self.until {
            match self.source.read(self.next, self.until, READ_AHEAD) {
                Ok(entries) => self.held.extend(entries),
                Err(error) => {
                    self.next = self.until;
                    return Some(Err(error));
                }
            }
        }
        let entry = self.held.pop_front()?;
        self.next = entry.index.next();
        Some(Ok(entry))
    }
}
