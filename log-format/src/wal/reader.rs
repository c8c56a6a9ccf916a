//! Reads entries, on any thread, while the writer writes.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use super::SharedIndex;
use super::batch::BATCH_HEADER;
use super::bytes::all_zero;
use super::entries::{Entries, EntrySource};
use super::error::ReadError;
use super::index::{Index, Span};
use super::record::{self, EntryView};
use super::types::{LogEntry, LogPosition};
use crate::disk::{Disk, DiskFile, SECTOR};
use crate::ids::{LogIndex, Term};

/// A reader of the log's entries, committed or not. Every batch is checked each time it is read, so that rot since the
/// start is an error and never a wrong entry.
pub struct WalReader<D: Disk> {
    index: SharedIndex<D>,
}

impl<D: Disk> Clone for WalReader<D> {
    fn clone(&self) -> Self {
        let index = Arc::clone(&self.index);
        Self { index }
    }
}

impl<D: Disk> WalReader<D> {
    pub(crate) fn new(index: SharedIndex<D>) -> Self {
        Self { index }
    }

    /// The position before the first entry.
    pub fn base(&self) -> LogPosition {
        self.index().base()
    }

    /// The first index that is held, or will be.
    pub fn first_index(&self) -> LogIndex {
        self.index().base().index.next()
    }

    /// The position of the last entry; the base if there is none.
    pub fn last(&self) -> LogPosition {
        self.index().last()
    }

    /// The term of an entry or of the base; `None` if it is not held.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        self.index().term(index)
    }

    /// The entries from an index on, before another one: as many as have `max_bytes` of data together, but at least one
    /// if the range is not empty.
    pub fn entries(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>, ReadError> {
        let mut entries = Vec::new();
        let mut bytes = 0_u64;
        let mut next = from;
        while next < until {
            let (span, body) = self.batch_with(next)?;
            let batch = span.header.number;
            let contents = record::read_body(&span.header, &body)
                .map_err(|source| ReadError::Content { batch, source })?;
            let counts = |entry: &&EntryView<'_>| next <= entry.index && entry.index <= span.last;
            for entry in contents.entries.iter().filter(counts) {
                bytes = bytes.saturating_add(entry.data.len() as u64);
                let is_full = max_bytes < bytes && !entries.is_empty();
                if is_full || until <= entry.index {
                    return Ok(entries);
                }
                entries.push(entry.to_entry());
            }
            next = span.last.next();
        }
        Ok(entries)
    }

    /// The entries from an index on, before another one, a few at a time. After an error there are no more.
    pub fn iter(&self, from: LogIndex, until: LogIndex) -> Entries<Self> {
        Entries::new(self.clone(), from, until)
    }

    /// Reads the records of the batch that holds this entry.
    fn batch_with(&self, index: LogIndex) -> Result<(Span, Vec<u8>), ReadError> {
        let (span, file) = self.locate(index)?;
        let Span { header, offset, .. } = span;
        let mut body = vec![0; header.body_bytes()];
        file.read_at(offset.saturating_add(BATCH_HEADER as u64), &mut body)
            .map_err(|source| ReadError::Disk { source })?;
        let is_whole = crc32c::crc32c(&body) == header.body_crc;
        #[cfg(bug = "rot_read_unchecked")]
        let is_whole = is_whole || crate::planted::is_on("rot_read_unchecked");
        if is_whole {
            return Ok((span, body));
        }
        // Another process may have retired the file; it zeroes it from the front.
        let mut first = [0; SECTOR];
        file.read_at(0, &mut first).map_err(|source| ReadError::Disk { source })?;
        Err(if all_zero(&first) {
            ReadError::Compacted { index, first: span.last.next() }
        } else {
            ReadError::Damaged { batch: header.number, offset }
        })
    }

    fn locate(&self, index: LogIndex) -> Result<(Span, Arc<D::File>), ReadError> {
        let held = self.index();
        held.locate(index).ok_or_else(|| {
            let (first, last) = (held.base().index.next(), held.last().index);
            if index < first {
                ReadError::Compacted { index, first }
            } else {
                ReadError::Unavailable { index, last }
            }
        })
    }

    fn index(&self) -> RwLockReadGuard<'_, Index<D::File>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> EntrySource for WalReader<D> {
    fn read(&self, from: LogIndex, until: LogIndex, max_bytes: u64) -> Result<Vec<LogEntry>, ReadError> {
        self.entries(from, until, max_bytes)
    }
}
