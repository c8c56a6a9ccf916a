//! Raft's view of the log: the newest entries from memory, older ones from the write-ahead log.
//!
//! ```text
//!   first                     start                              last
//!     |  EntryReader (disk)     |  tail: durable  |  tail: not yet |
//!                                  may be evicted    always kept
//! ```
//!
//! An index at or after `start` is always answered from the tail, so what the disk still holds of an overridden suffix is
//! never seen.

use std::collections::VecDeque;

use log_format::disk::Disk;
use log_format::history::History;
use log_format::ids::{LogIndex, Term};
use log_format::wal::{self, LogEntry, LogPosition, WalReader};
use raft::eraftpb::{Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::config::Restored;
use super::entry;
use super::snapshot::SnapshotPoint;

/// What an entry costs in memory besides its data.
const ENTRY_OVERHEAD: usize = 128;

/// The durable part of the log. Reads may block on the disk; they never see a half-written batch.
pub trait EntryReader: Send {
    /// The entries in `from..until`, in order: as many as fit in `max_bytes`, but at least one. Both ends were durable
    /// once.
    fn entries(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, wal::ReadError>;

    /// The term of the entry at `index`; `None` if it is not held.
    fn term(&self, index: LogIndex) -> Option<Term>;
}

impl<D: Disk> EntryReader for History<D> {
    fn entries(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, wal::ReadError> {
        self.entries(from, until, max_bytes as u64)
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        self.term(index)
    }
}

impl<D: Disk> EntryReader for WalReader<D> {
    fn entries(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, wal::ReadError> {
        self.entries(from, until, max_bytes as u64)
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        self.term(index)
    }
}

pub(super) struct Log {
    reader: Box<dyn EntryReader>,
    initial: RaftState,
    /// The position before the first entry.
    base: LogPosition,
    /// What a follower gets that needs an entry at or before the base.
    snapshot: Option<SnapshotPoint>,
    /// Index of the first entry of the tail; one past the end of the log while the tail is empty.
    start: u64,
    tail: VecDeque<Cached>,
    tail_bytes: usize,
    max_tail_bytes: usize,
}

struct Cached {
    entry: Entry,
    /// The persist job that makes it durable.
    job: u64,
}

impl Log {
    /// A log that is all on disk.
    pub(super) fn new(reader: Box<dyn EntryReader>, restored: Restored, max_tail_bytes: usize) -> Self {
        let Restored { hard_state, conf_state, base, last, snapshot } = restored;
        Self {
            reader,
            initial: RaftState {
                hard_state: entry::hard_state_to_raft(&hard_state),
                conf_state: entry::conf_state_to_raft(&conf_state),
            },
            base,
            snapshot,
            start: last.next().get(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            max_tail_bytes,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.end() - 1
    }

    /// Forgets what is at or before `base`, for which `snapshot` stands in. The caller has checked both against the log.
    pub(super) fn retire(&mut self, base: LogPosition, snapshot: SnapshotPoint) {
        self.snapshot = Some(snapshot);
        if base.index <= self.base.index {
            return;
        }
        self.base = base;
        while self.tail.front().is_some_and(|cached| cached.entry.index <= base.index.get()) {
            if let Some(cached) = self.tail.pop_front() {
                self.tail_bytes -= cost(&cached.entry);
                self.start += 1;
            }
        }
    }

    /// Begins anew after a position, empty.
    pub(super) fn reset(&mut self, base: LogPosition, snapshot: SnapshotPoint) {
        self.base = base;
        self.snapshot = Some(snapshot);
        self.start = base.index.next().get();
        self.tail.clear();
        self.tail_bytes = 0;
    }

    /// Makes entries readable that job `job` is going to write; overrides from the first one's index on.
    pub(super) fn append(&mut self, entries: &[Entry], job: u64) {
        let Some(first) = entries.first() else { return };
        while self.end() > first.index {
            let Some(cached) = self.tail.pop_back() else {
                self.start = first.index;
                break;
            };
            self.tail_bytes -= cost(&cached.entry);
        }
        for entry in entries {
            self.tail_bytes += cost(entry);
            self.tail.push_back(Cached { entry: entry.clone(), job });
        }
    }

    /// Forgets the oldest entries that job `persisted` and those before it have made durable, down to the memory bound.
    pub(super) fn evict(&mut self, persisted: u64) {
        while self.max_tail_bytes < self.tail_bytes {
            #[cfg(bug = "evict_before_durable")]
            let persisted = match log_format::planted::is_on("evict_before_durable") {
                true => u64::MAX,
                false => persisted,
            };
            let Some(cached) = self.tail.pop_front_if(|cached| cached.job <= persisted) else {
                return;
            };
            self.tail_bytes -= cost(&cached.entry);
            self.start += 1;
        }
    }

    /// The entries in `from..until` that exist, as many as fit in `max_bytes`, but at least one. Those before the base come
    /// from a reader that still has them elsewhere.
    pub(super) fn read(&self, from: u64, until: u64, max_bytes: usize) -> Result<Vec<Entry>, wal::ReadError> {
        let until = until.min(self.end());
        let mut room = Room::new(max_bytes);
        if from < self.start && from < until {
            let disk_until = until.min(self.start);
            let (low, high) = (LogIndex::new(from), LogIndex::new(disk_until));
            let mut found = self.reader.entries(low, high, max_bytes)?;
            let complete = found.len() as u64 == disk_until - from;
            let mut entries: Vec<Entry> = found.drain(..).map(entry::to_raft).collect();
            if complete && entries.iter().all(|entry| room.admit(entry)) {
                entries.extend(self.cached(disk_until, until, &mut room));
            }
            return Ok(entries);
        }
        Ok(self.cached(from, until, &mut room).collect())
    }

    fn cached<'a>(&'a self, from: u64, until: u64, room: &'a mut Room) -> impl Iterator<Item = Entry> + 'a {
        let skip = from.saturating_sub(self.start);
        self.tail
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .map(|cached| &cached.entry)
            .take_while(move |entry| entry.index < until && room.admit(entry))
            .cloned()
    }

    fn end(&self) -> u64 {
        self.start + self.tail.len() as u64
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.index.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if self.end() < high {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let max_size = max_size.into().map_or(usize::MAX, clamp);
        self.read(low, high, max_size)
            .map_err(|source| raft::Error::Store(StorageError::Other(Box::new(source))))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.index.get() {
            return Ok(self.base.term.get());
        }
        if index < self.base.index.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let term = match index.checked_sub(self.start) {
            Some(offset) => usize::try_from(offset)
                .ok()
                .and_then(|offset| self.tail.get(offset))
                .map(|cached| cached.entry.term),
            None => self.reader.term(LogIndex::new(index)).map(Term::get),
        };
        term.ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index.next().get())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// A manifest, so it is there at once. Without one the log is held from its first entry on, and no follower needs any.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        self.snapshot
            .as_ref()
            .filter(|point| request_index <= point.at.index.get())
            .map(SnapshotPoint::to_raft)
            .ok_or(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// Counts entries against a limit; the first is always admitted.
struct Room {
    left: usize,
    fresh: bool,
}

impl Room {
    fn new(max_bytes: usize) -> Self {
        Self { left: max_bytes, fresh: true }
    }

    fn admit(&mut self, entry: &Entry) -> bool {
        let first = std::mem::replace(&mut self.fresh, false);
        let left = self.left.checked_sub(entry.data.len());
        self.left = left.unwrap_or(0);
        first || left.is_some()
    }
}

fn cost(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_OVERHEAD
}

fn clamp(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use log_format::wal::{ConfState, EntryKind};

    use super::*;

    #[test]
    fn what_is_not_durable_is_never_evicted() {
        let mut log = log(0, 0);
        log.append(&entries(1..=3, 1), 1);
        log.append(&entries(4..=5, 1), 2);
        log.evict(1);
        assert_eq!(log.start, 4);
        assert_eq!(indexes(&log, 4, 6, usize::MAX), [4, 5]);
        log.evict(2);
        assert_eq!((log.start, log.tail.len(), log.tail_bytes), (6, 0, 0));
        assert_eq!(log.last(), 5);
    }

    #[test]
    fn memory_is_kept_up_to_its_bound() {
        let mut log = log(0, 10 * (ENTRY_OVERHEAD + 8));
        log.append(&entries(1..=100, 1), 1);
        log.evict(1);
        assert_eq!((log.start, log.last()), (91, 100));
    }

    #[test]
    fn an_overridden_suffix_is_gone_from_memory_and_hidden_on_disk() {
        let mut log = log(5, 0);
        log.append(&entries(6..=9, 1), 1);
        log.append(&entries(8..=8, 2), 2);
        assert_eq!(log.last(), 8);
        assert_eq!(Storage::term(&log, 8).unwrap(), 2);
        // Back before what is in memory: the disk still holds 4 and 5 of term 1.
        log.append(&entries(4..=4, 3), 3);
        assert_eq!((log.start, log.last()), (4, 4));
        assert_eq!(Storage::term(&log, 4).unwrap(), 3);
        assert!(Storage::term(&log, 5).is_err());
        assert_eq!(log.read(3, 9, usize::MAX).unwrap().last().unwrap().term, 3);
    }

    #[test]
    fn a_read_crosses_from_disk_to_memory_within_its_limit() {
        let mut log = log(5, usize::MAX);
        log.append(&entries(6..=9, 1), 1);
        assert_eq!(indexes(&log, 2, 8, usize::MAX), [2, 3, 4, 5, 6, 7]);
        // Each entry has eight bytes.
        assert_eq!(indexes(&log, 4, 10, 8 * 3), [4, 5, 6]);
        assert_eq!(indexes(&log, 7, 10, 8), [7]);
        assert_eq!(indexes(&log, 3, 10, 0), [3]);
        assert_eq!(indexes(&log, 12, 15, 100), []);
    }

    #[test]
    fn the_ends_of_the_log_are_what_raft_expects() {
        let log = log(3, 0);
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (1, 3));
        assert_eq!(Storage::term(&log, 0).unwrap(), 0);
        let read = |low, high| Storage::entries(&log, low, high, None, GetEntriesContext::empty(false));
        assert!(matches!(read(0, 2), Err(raft::Error::Store(StorageError::Compacted))));
        assert!(matches!(read(1, 9), Err(raft::Error::Store(StorageError::Unavailable))));
        let snapshot = log.snapshot(0, 2);
        let unavailable = raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable);
        assert_eq!(snapshot.unwrap_err(), unavailable);
    }

    /// Entries of term 1, however far one reads.
    struct Endless;

    impl EntryReader for Endless {
        fn entries(
            &self,
            from: LogIndex,
            until: LogIndex,
            max_bytes: usize,
        ) -> Result<Vec<LogEntry>, wal::ReadError> {
            let most = (max_bytes / 8).max(1);
            let indexes = (from.get()..until.get()).take(most);
            Ok(indexes.map(|index| entry(index, 1)).collect())
        }

        fn term(&self, _index: LogIndex) -> Option<Term> {
            Some(Term::new(1))
        }
    }

    fn log(last: u64, max_tail_bytes: usize) -> Log {
        let mut restored = Restored::empty(ConfState::default());
        restored.last = LogIndex::new(last);
        Log::new(Box::new(Endless), restored, max_tail_bytes)
    }

    fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
        indexes.map(|index| entry::to_raft(entry(index, term))).collect()
    }

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry {
            index: LogIndex::new(index),
            term: Term::new(term),
            kind: EntryKind::Normal,
            data: vec![0; 8],
        }
    }

    fn indexes(log: &Log, from: u64, until: u64, max_bytes: usize) -> Vec<u64> {
        let read = log.read(from, until, max_bytes).unwrap();
        read.iter().map(|entry| entry.index).collect()
    }
}
