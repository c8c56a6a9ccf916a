//! The whole log: what the write-ahead log no longer holds comes from the chapters.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chapter::{self, ChapterError, ChapterReader};
use crate::disk::Disk;
use crate::ids::{LogIndex, Term};
use crate::seal::Seal;
use crate::wal::{Entries, EntrySource, LogEntry, ReadError, WalReader};

/// Reads entries on any thread, while the writer writes and chapters come and go.
pub struct History<D: Disk> {
    disk: Arc<D>,
    data: PathBuf,
    wal: WalReader<D>,
    chapters: Mutex<Chapters<D>>,
}

struct Chapters<D: Disk> {
    /// The seals known so far, without gaps.
    seals: Vec<Seal>,
    /// The chapter that is being read, and the entry that comes next: whoever reads on does not unpack from the front.
    open: Option<(LogIndex, ChapterReader<D>)>,
}

impl<D: Disk> History<D> {
    /// The history of a host whose write-ahead log is read by `wal`.
    pub fn new(disk: Arc<D>, data: &Path, wal: WalReader<D>) -> Self {
        let chapters = Mutex::new(Chapters { seals: Vec::new(), open: None });
        Self { disk, data: data.to_owned(), wal, chapters }
    }

    /// The reader of what is not only in chapters.
    pub fn wal(&self) -> &WalReader<D> {
        &self.wal
    }

    /// The term of an entry; `None` if it is not held.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        self.wal.term(index)
    }

    /// The seals of the chapters that are here.
    pub fn seals(&self) -> Result<Vec<Seal>, ChapterError> {
        let mut chapters = self.lock();
        chapters.look_for_more(&*self.disk, &self.data)?;
        Ok(chapters.seals.clone())
    }

    /// The entries from an index on, before another one: as many as have `max_bytes` of data together, but at least one
    /// if the range is not empty. Erased events are told as such.
    pub fn entries(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>, ReadError> {
        let mut chapters = self.lock();
        let chapter = |source| ReadError::Chapter { source: Box::new(source) };
        chapters.look_for_more(&*self.disk, &self.data).map_err(chapter)?;
        // What is sealed is what the cluster agreed on. The log says the same only if it still has the chapter's end: while
        // it is about to begin anew after a snapshot, what it holds may have been replaced.
        let Some(seal) = chapters.holding(from).cloned() else {
            drop(chapters);
            return self.wal.entries(from, until, max_bytes);
        };
        if self.is_in_log(from, &seal) {
            drop(chapters);
            #[cfg(bug = "log_believed_too_far")]
            if crate::planted::is_on("log_believed_too_far") {
                return self.wal.entries(from, until, max_bytes);
            }
            // Behind the chapter's end the log may have ended, or say something else than the next chapter.
            return self.wal.entries(from, until.min(seal.last.index.next()), max_bytes);
        }
        let read = chapters.read(&*self.disk, &self.data, &seal, (from, until, max_bytes));
        if read.is_err() {
            chapters.open = None;
        }
        read.map_err(chapter)
    }

    fn is_in_log(&self, from: LogIndex, seal: &Seal) -> bool {
        self.wal.base().index < from && self.wal.term(seal.last.index) == Some(seal.last.term)
    }

    /// The entries from an index on, before another one, a few at a time. After an error there are no more.
    pub fn iter(&self, from: LogIndex, until: LogIndex) -> Entries<&Self> {
        Entries::new(self, from, until)
    }

    fn lock(&self) -> MutexGuard<'_, Chapters<D>> {
        self.chapters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> Chapters<D> {
    fn look_for_more(&mut self, disk: &D, data: &Path) -> Result<(), ChapterError> {
        while let Some(seal) = chapter::next_seal(disk, data, self.seals.last())? {
            self.seals.push(seal);
        }
        Ok(())
    }

    fn holding(&self, index: LogIndex) -> Option<&Seal> {
        let place = self.seals.partition_point(|seal| seal.last.index < index);
        self.seals.get(place).filter(|seal| seal.first.index <= index)
    }

    /// The chapter's entries from `from` on.
    fn read(
        &mut self,
        disk: &D,
        data: &Path,
        seal: &Seal,
        (from, until, max_bytes): (LogIndex, LogIndex, u64),
    ) -> Result<Vec<LogEntry>, ChapterError> {
        let is_before = |(next, reader): &(LogIndex, ChapterReader<D>)| {
            *next <= from && reader.seal().chapter == seal.chapter
        };
        let (mut next, mut reader) = match self.open.take().filter(is_before) {
            Some((next, reader)) if reader.is_current(disk, data)? => (next, reader),
            Some(_) | None => (seal.first.index, ChapterReader::open(disk, data, seal)?),
        };
        let mut entries = Vec::new();
        let mut bytes = 0_u64;
        while next < until && (entries.is_empty() || bytes < max_bytes) {
            let Some(entry) = reader.next().transpose()? else { break };
            next = entry.index.next();
            if from <= entry.index {
                bytes = bytes.saturating_add(entry.data.len() as u64);
                entries.push(entry);
            }
        }
        // One that stands at the end would only keep an erased file from going away.
        self.open = (next <= seal.last.index).then_some((next, reader));
        if entries.is_empty() && from < until {
            return Err(ChapterError::Entries { chapter: seal.chapter, expected: from });
        }
        Ok(entries)
    }
}

impl<D: Disk> EntrySource for History<D> {
    fn read(&self, from: LogIndex, until: LogIndex, max_bytes: u64) -> Result<Vec<LogEntry>, ReadError> {
        self.entries(from, until, max_bytes)
    }
}
