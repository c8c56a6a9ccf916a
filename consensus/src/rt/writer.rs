//! The thread that owns the write-ahead log. It blocks for one job, takes all that wait behind it, and makes them durable with
//! one write and one sync: while that runs the next batch gathers, so group commit needs no timer.
//!
//! Any error ends the process: after a failed sync nobody knows what the disk holds, and trying again proves nothing.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use log_format::disk::Disk;
use log_format::ids::{HostId, LogIndex};
use log_format::wal::{
    AppendError, Batch, ConfState, Durability, HardState, LogEntry, LogPosition, SpareProgress, Wal,
};
use raft::eraftpb::Message;

use crate::core::PersistJob;

/// Jobs that wait. A turn of the driver makes a few at most; when the disk is this far behind, the driver waits too.
const MAX_JOBS: usize = 1_024;
/// What is gathered into one batch: a good share of a second's worth of any disk, half of the largest batch there may be.
const GATHER_BYTES: usize = 8 << 20;
/// What an entry costs in a batch besides its data, rounded up.
const ENTRY_OVERHEAD: usize = 64;
/// One step of idleness. Work on spare files begins after one, so it does not stand in the way of a busy log.
const IDLE_STEP: Duration = Duration::from_millis(10);
/// Steps after which a commit index that rides with no batch gets one of its own. It shortens what recovery cannot tell from
/// rot: the last batch.
const IDLE_STEPS_TO_COMMIT: u32 = 5;

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

/// The driver's side of the writer.
pub struct Writer {
    jobs: Option<SyncSender<PersistJob>>,
    durable: Arc<Durable>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Durable {
    number: AtomicU64,
    commit: AtomicU64,
    /// Not the writer's report but the driver's wish: entries below this index may go.
    retire_below: AtomicU64,
}

impl Writer {
    /// Starts the thread. `output` sends one message and never waits; `wake` makes the driver look at [`Self::persisted`] and
    /// never waits either: it may do nothing while the driver has other input.
    pub fn start<D: Disk>(
        wal: Wal<D>,
        output: impl FnMut(HostId, Box<Message>) + Send + 'static,
        wake: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(MAX_JOBS);
        let durable = Arc::new(Durable::default());
        let writing = Writing::new(wal, waiting, Arc::clone(&durable), output, wake);
        let thread = std::thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || writing.run_or_abort())?;
        Ok(Self { jobs: Some(jobs), durable, thread: Some(thread) })
    }

    /// Gives a job to the thread. Waits while very many wait already.
    pub fn submit(&self, job: PersistJob) {
        if let Some(jobs) = &self.jobs {
            // The thread ends only after this side has let go, or with the process.
            let _ = jobs.send(job);
        }
    }

    /// The highest job that is durable, with all before it. To be read after the inbox and handed to the core before what the
    /// inbox held.
    pub fn persisted(&self) -> u64 {
        self.durable.number.load(Ordering::Acquire)
    }

    /// The commit index that is durable: whatever a checkpoint covers must not lie past it.
    pub fn durable_commit(&self) -> LogIndex {
        LogIndex::new(self.durable.commit.load(Ordering::Acquire))
    }

    /// Lets whole files go whose entries all lie below `index`, with the next write or idle moment. The core must have been
    /// told before ([`Input::Retired`](crate::core::Input::Retired)), and what goes must be durable elsewhere.
    pub fn retire_below(&self, index: LogIndex) {
        self.durable.retire_below.fetch_max(index.get(), Ordering::AcqRel);
    }

    /// Writes what waits, then ends the thread.
    pub fn shutdown(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Writing<D: Disk, O, W> {
    wal: Wal<D>,
    jobs: Receiver<PersistJob>,
    durable: Arc<Durable>,
    output: O,
    wake: W,
    /// The newest hard state, durable or not.
    hard_state: HardState,
    spares: Spares,
    /// Taken from the queue, but to be written on its own.
    held: Option<PersistJob>,
    /// Entries below this were given up.
    retired_below: u64,
}

/// Whether spare files want work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spares {
    Wanted,
    Ready,
}

/// Several jobs as one.
#[derive(Default)]
struct Gathered {
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

impl<D, O, W> Writing<D, O, W>
where
    D: Disk,
    O: FnMut(HostId, Box<Message>),
    W: FnMut(),
{
    fn new(wal: Wal<D>, jobs: Receiver<PersistJob>, durable: Arc<Durable>, output: O, wake: W) -> Self {
        let hard_state = wal.durable_hard_state();
        durable.commit.store(hard_state.commit.get(), Ordering::Release);
        Self {
            wal,
            jobs,
            durable,
            output,
            wake,
            hard_state,
            spares: Spares::Wanted,
            held: None,
            retired_below: 0,
        }
    }

    fn run_or_abort(self) {
        if let Err(error) = self.run() {
            let reason = crate::rt::chain(&error);
            tracing::error!(%reason, "the log cannot be written; ending the process");
            std::process::abort();
        }
    }

    /// Writes until the driver lets go.
    fn run(mut self) -> Result<(), WriterError> {
        while let Some(first) = self.wait()? {
            let gathered = self.gather(first);
            self.write(gathered)?;
        }
        self.write_commit()
    }

    /// Waits for a job, with small work meanwhile; `None` once there will be none.
    fn wait(&mut self) -> Result<Option<PersistJob>, WriterError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let mut idle_steps = 0_u32;
        loop {
            if self.spares == Spares::Ready && !self.commit_waits() {
                return Ok(self.jobs.recv().ok());
            }
            match self.jobs.recv_timeout(IDLE_STEP) {
                Ok(job) => return Ok(Some(job)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => idle_steps = idle_steps.saturating_add(1),
            }
            if IDLE_STEPS_TO_COMMIT <= idle_steps && self.commit_waits() {
                self.write_commit()?;
            }
            self.prepare_spares();
        }
    }

    /// What waits, as one. A reset begins a batch of its own: what was acknowledged before it is written before it.
    fn gather(&mut self, first: PersistJob) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.add(first);
        while gathered.bytes < GATHER_BYTES
            && let Ok(job) = self.jobs.try_recv()
        {
            if job.reset.is_some() {
                self.held = Some(job);
                break;
            }
            gathered.add(job);
        }
        gathered
    }

    fn write(&mut self, gathered: Gathered) -> Result<(), WriterError> {
        let Gathered { number, reset, entries, bytes: _, hard_state, conf_state, must_sync, then } = gathered;
        let changed = hard_state.is_some() || conf_state.is_some() || !entries.is_empty();
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some((position, members)) = reset {
            self.reset(position, &members)?;
        }
        let durability = if must_sync { Durability::Sync } else { Durability::Later };
        let most = (self.wal.max_batch() / 2).min(GATHER_BYTES);
        let (head, last) = last_batch(&entries, most);
        for entries in batches(head, most) {
            // The commit index may cover what a later batch of these holds, so only the last one carries it.
            let hard_state = HardState { commit: self.wal.durable_hard_state().commit, ..self.hard_state };
            self.append(&Batch { hard_state, entries, conf_state: None, durability: Durability::Sync })?;
        }
        if changed {
            self.append(&Batch {
                hard_state: self.hard_state,
                entries: last,
                conf_state: conf_state.as_ref(),
                durability,
            })?;
        }
        // The number first: whoever answers one of the messages must find it risen.
        self.durable.number.fetch_max(number, Ordering::Release);
        for (to, message) in then {
            (self.output)(to, message);
        }
        (self.wake)();
        self.retire()
    }

    /// The log begins anew; what was gathered behind the snapshot is appended to it.
    fn reset(&mut self, position: LogPosition, members: &ConfState) -> Result<(), WriterError> {
        let hard_state = HardState { commit: position.index, ..self.hard_state };
        self.wal
            .reset(position, members, hard_state)
            .map_err(|source| WriterError::Reset { position, source })?;
        self.durable.commit.store(position.index.get(), Ordering::Release);
        self.spares = Spares::Wanted;
        Ok(())
    }

    fn retire(&mut self) -> Result<(), WriterError> {
        let below = self.durable.retire_below.load(Ordering::Acquire);
        if below <= self.retired_below {
            return Ok(());
        }
        self.retired_below = below;
        let below = LogIndex::new(below);
        let files = self.wal.retire(below).map_err(|source| WriterError::Retire { below, source })?;
        if files != 0 {
            tracing::info!(%below, files, "log files retired");
            self.spares = Spares::Wanted;
        }
        Ok(())
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), WriterError> {
        self.wal.append(batch).map_err(|source| WriterError::Append {
            upto: batch.entries.last().map_or(batch.hard_state.commit, |entry| entry.index),
            source,
        })?;
        let commit = self.wal.durable_hard_state().commit;
        self.durable.commit.store(commit.get(), Ordering::Release);
        if !batch.entries.is_empty() {
            self.spares = Spares::Wanted;
        }
        Ok(())
    }

    fn commit_waits(&self) -> bool {
        self.wal.durable_hard_state() != self.hard_state
    }

    fn write_commit(&mut self) -> Result<(), WriterError> {
        if !self.commit_waits() {
            return Ok(());
        }
        self.append(&Batch {
            hard_state: self.hard_state,
            entries: &[],
            conf_state: None,
            durability: Durability::Sync,
        })
    }

    fn prepare_spares(&mut self) {
        if self.spares == Spares::Ready {
            return;
        }
        match self.wal.prepare_spare() {
            Ok(SpareProgress::Ready) => self.spares = Spares::Ready,
            Ok(SpareProgress::Working) => {}
            Err(error) => {
                // Not fatal: a batch that finds no room will be. Tried again once something was written.
                tracing::warn!(%error, "no spare log file could be prepared");
                self.spares = Spares::Ready;
            }
        }
    }
}

impl Gathered {
    fn add(&mut self, job: PersistJob) {
        let PersistJob { number, reset, entries, hard_state, conf_state, durability, then } = job;
        self.reset = reset.or_else(|| self.reset.take());
        self.number = self.number.max(number);
        if let Some(first) = entries.first() {
            // A newer leader's entries take the place of those that were never written.
            let kept = self.entries.partition_point(|entry| entry.index < first.index);
            self.entries.truncate(kept);
            self.bytes = self.bytes.saturating_add(entries.iter().map(cost).sum());
            self.entries.extend(entries);
        }
        self.hard_state = hard_state.or(self.hard_state);
        self.conf_state = conf_state.or_else(|| self.conf_state.take());
        self.must_sync |= durability == Durability::Sync;
        self.then.extend(then);
    }
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
