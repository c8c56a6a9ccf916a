//! What waits for the disk, as one: the pure part of the writer, without its thread. The simulator runs the same.

use log_format::disk::Disk;
use log_format::ids::{HostId, LogIndex};
use log_format::wal::{AppendError, Batch, ConfState, Durability, HardState, LogEntry, LogPosition, Wal};
use raft::eraftpb::Message;

use crate::core::PersistJob;

/// What is gathered into one batch: a good share of a second's worth of any disk, half of the largest batch there may be.
const GATHER_BYTES: usize = 8 << 20;
/// What an entry costs in a batch besides its data, rounded up.
const ENTRY_OVERHEAD: usize = 64;

/// Why the log could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The batch is not durable, or nobody knows.
    #[error("persist entries up to {upto}")]
    Append {
        /// The last entry of the batch, or the last before it.
        upto: LogIndex,
        /// The log's reason.
        source: AppendError,
    },
    /// The log does not begin anew, or nobody knows.
    #[error("begin the log anew after {position}")]
    Reset {
        /// The snapshot's last entry.
        position: LogPosition,
        /// The log's reason.
        source: AppendError,
    },
    /// Entries that are kept elsewhere could not be given up.
    #[error("retire entries before {below}")]
    Retire {
        /// The first entry to stay.
        below: LogIndex,
        /// The log's reason.
        source: AppendError,
    },
}

/// Several jobs as one.
#[derive(Debug, Default)]
pub struct Gathered {
    number: u64,
    /// Comes before the rest.
    reset: Option<(LogPosition, ConfState)>,
    entries: Vec<LogEntry>,
    bytes: usize,
    hard_state: Option<HardState>,
    conf_state: Option<ConfState>,
    must_sync: bool,
    then: Vec<(HostId, Box<Message>)>,
}

impl Gathered {
    /// Whether this job may join those that wait. A reset begins a batch of its own: what was acknowledged before it is
    /// written before it.
    pub fn takes(&self, job: &PersistJob) -> bool {
        self.number == 0 || job.reset.is_none()
    }

    /// Adds the next job.
    pub fn add(&mut self, job: PersistJob) {
        let PersistJob { number, reset, entries, hard_state, conf_state, durability, then } = job;
        self.reset = reset.or_else(|| self.reset.take());
        self.number = self.number.max(number);
        if let Some(first) = entries.first() {
            self.cut(first.index);
            self.bytes = self.bytes.saturating_add(entries.iter().map(cost).sum());
            self.entries.extend(entries);
        }
        self.hard_state = hard_state.or(self.hard_state);
        self.conf_state = conf_state.or_else(|| self.conf_state.take());
        self.must_sync |= durability == Durability::Sync;
        self.then.extend(then);
    }

    /// A newer leader's entries take the place of those that were never written.
    fn cut(&mut self, from: LogIndex) {
        #[cfg(bug = "overridden_entries_kept")]
        if log_format::planted::is_on("overridden_entries_kept") {
            return;
        }
        let kept = self.entries.partition_point(|entry| entry.index < from);
        self.entries.truncate(kept);
    }

    /// Bytes of the entries, about as the log has them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no more jobs should be added.
    pub fn is_full(&self) -> bool {
        GATHER_BYTES <= self.bytes
    }

    /// The newest hard state among the jobs.
    pub fn hard_state(&self) -> Option<HardState> {
        self.hard_state
    }

    /// Makes everything durable, under the newest hard state, which may be an earlier job's.
    pub fn write<D: Disk>(&self, wal: &mut Wal<D>, hard_state: HardState) -> Result<(), WriterError> {
        if let Some((position, members)) = &self.reset {
            let hard_state = HardState { commit: position.index, ..hard_state };
            let position = *position;
            wal.reset(position, members, hard_state)
                .map_err(|source| WriterError::Reset { position, source })?;
        }
        let changed = self.hard_state.is_some() || self.conf_state.is_some() || !self.entries.is_empty();
        let durability = if self.must_sync { Durability::Sync } else { Durability::Later };
        let most = (wal.max_batch() / 2).min(GATHER_BYTES);
        let (head, last) = last_batch(&self.entries, most);
        for entries in batches(head, most) {
            // Only the last one carries the commit index. The core names none that covers what is not durable yet; whoever
            // comes to do so finds no log here that says more than it holds.
            let commit = wal.durable_hard_state().commit;
            let hard_state = HardState { commit, ..hard_state };
            append(wal, &Batch { hard_state, entries, conf_state: None, durability: Durability::Sync })?;
        }
        if changed {
            let conf_state = self.conf_state.as_ref();
            append(wal, &Batch { hard_state, entries: last, conf_state, durability })?;
        }
        Ok(())
    }

    /// Once all of it is durable: the last job's number, and the messages that may leave now.
    pub fn into_released(self) -> (u64, Vec<(HostId, Box<Message>)>) {
        (self.number, self.then)
    }
}

/// Makes a hard state durable that rides with no batch.
pub fn write_hard_state<D: Disk>(wal: &mut Wal<D>, hard_state: HardState) -> Result<(), WriterError> {
    let durability = Durability::Sync;
    append(wal, &Batch { hard_state, entries: &[], conf_state: None, durability })
}

fn append<D: Disk>(wal: &mut Wal<D>, batch: &Batch<'_>) -> Result<(), WriterError> {
    let appended = wal.append(batch).map(drop);
    appended.map_err(|source| WriterError::Append {
        upto: batch.entries.last().map_or(batch.hard_state.commit, |entry| entry.index),
        source,
    })
}

/// Cuts off the entries of the last batch.
fn last_batch(entries: &[LogEntry], most: usize) -> (&[LogEntry], &[LogEntry]) {
    let last = batches(entries, most).last().map_or(0, <[_]>::len);
    entries.split_at_checked(entries.len().saturating_sub(last)).unwrap_or((&[], entries))
}

/// The entries in runs of about `most` bytes, of at least one entry each.
fn batches(entries: &[LogEntry], most: usize) -> impl Iterator<Item = &[LogEntry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let over = rest.iter().position(|entry| {
            bytes = bytes.saturating_add(cost(entry));
            most < bytes
        });
        let (run, left) = rest.split_at_checked(over.unwrap_or(rest.len()).max(1))?;
        rest = left;
        Some(run)
    })
}

fn cost(entry: &LogEntry) -> usize {
    entry.data.len().saturating_add(ENTRY_OVERHEAD)
}
