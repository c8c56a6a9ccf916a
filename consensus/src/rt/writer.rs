//! The thread that owns the write-ahead log. It blocks for one job, takes all that wait behind it, and makes them durable with
//! one write and one sync: while that runs the next batch gathers, so group commit needs no timer.
//!
//! Any error ends the process: after a failed sync nobody knows what the disk holds, and trying again proves nothing.

mod gather;
mod spares;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use log_format::disk::Disk;
use log_format::ids::{HostId, LogIndex, WalSequence};
use log_format::wal::{HardState, Wal};
use raft::eraftpb::Message;

pub use self::gather::{Gathered, WriterError, write_hard_state};
use self::spares::Spares;
use crate::core::PersistJob;

/// Jobs that wait. A turn of the driver makes a few at most; when the disk is this far behind, the driver waits too.
const MAX_JOBS: usize = 1_024;
/// One step of idleness.
const IDLE_STEP: Duration = Duration::from_millis(10);
/// Steps after which a commit index that rides with no batch gets one of its own. It shortens what recovery cannot tell from
/// rot: the last batch.
const IDLE_STEPS_TO_COMMIT: u32 = 5;

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
    /// The same: entries up to this index must not stay in the file that is being written.
    leave_behind: AtomicU64,
}

/// The commit index that is durable: whatever a checkpoint covers must not lie past it.
pub struct DurableCommit(Arc<Durable>);

impl DurableCommit {
    /// As of now.
    pub fn get(&self) -> LogIndex {
        LogIndex::new(self.0.commit.load(Ordering::Acquire))
    }
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
        let spares = Spares::start(wal.spare_maker())?;
        let writing = Writing::new(wal, (waiting, spares), Arc::clone(&durable), output, wake);
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

    /// The commit index that is durable, for whoever asks on another thread.
    pub fn durable_commit(&self) -> DurableCommit {
        DurableCommit(Arc::clone(&self.durable))
    }

    /// Lets whole files go whose entries all lie below `index`, with the next write or idle moment. The core must have been
    /// told before ([`Input::Retired`](crate::core::Input::Retired)), and what goes must be durable elsewhere.
    pub fn retire_below(&self, index: LogIndex) {
        self.durable.retire_below.fetch_max(index.get(), Ordering::AcqRel);
    }

    /// Goes on in a new file, with the next write or idle moment, if the current one was begun before `index`: what is
    /// erased elsewhere must be able to go from the log too, however slowly it grows.
    pub fn leave_behind(&self, index: LogIndex) {
        self.durable.leave_behind.fetch_max(index.get(), Ordering::AcqRel);
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
    // Before the log, whose lock must outlive it.
    spares: Spares,
    wal: Wal<D>,
    jobs: Receiver<PersistJob>,
    durable: Arc<Durable>,
    output: O,
    wake: W,
    /// The newest hard state, durable or not.
    hard_state: HardState,
    /// Taken from the queue, but to be written on its own.
    held: Option<PersistJob>,
    /// Entries below this were given up.
    retired_below: u64,
    /// The file that was written last.
    file: WalSequence,
}

impl<D, O, W> Writing<D, O, W>
where
    D: Disk,
    O: FnMut(HostId, Box<Message>),
    W: FnMut(),
{
    fn new(
        wal: Wal<D>,
        (jobs, spares): (Receiver<PersistJob>, Spares),
        durable: Arc<Durable>,
        output: O,
        wake: W,
    ) -> Self {
        let hard_state = wal.durable_hard_state();
        durable.commit.store(hard_state.commit.get(), Ordering::Release);
        let file = wal.current_file();
        Self { spares, wal, jobs, durable, output, wake, hard_state, held: None, retired_below: 0, file }
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
            if !self.commit_waits() {
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
        }
    }

    /// What waits, as one. A reset begins a batch of its own: what was acknowledged before it is written before it.
    fn gather(&mut self, first: PersistJob) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.add(first);
        while !gathered.is_full()
            && let Ok(job) = self.jobs.try_recv()
        {
            if !gathered.takes(&job) {
                self.held = Some(job);
                break;
            }
            gathered.add(job);
        }
        gathered
    }

    fn write(&mut self, gathered: Gathered) -> Result<(), WriterError> {
        self.hard_state = gathered.hard_state().unwrap_or(self.hard_state);
        gathered.write(&mut self.wal, self.hard_state)?;
        let (number, then) = gathered.into_released();
        // The number first: whoever answers one of the messages must find it risen.
        self.durable.number.fetch_max(number, Ordering::Release);
        self.note_written();
        for (to, message) in then {
            (self.output)(to, message);
        }
        (self.wake)();
        self.retire()
    }

    fn retire(&mut self) -> Result<(), WriterError> {
        let erased = LogIndex::new(self.durable.leave_behind.load(Ordering::Acquire));
        self.wal.leave_behind(erased).map_err(|source| WriterError::Retire { below: erased, source })?;
        let below = self.durable.retire_below.load(Ordering::Acquire);
        if below <= self.retired_below {
            return Ok(());
        }
        self.retired_below = below;
        let below = LogIndex::new(below);
        let files = self.wal.retire(below).map_err(|source| WriterError::Retire { below, source })?;
        if files != 0 {
            tracing::info!(%below, files, "log files retired");
            self.spares.want();
        }
        Ok(())
    }

    fn note_written(&mut self) {
        let commit = self.wal.durable_hard_state().commit;
        self.durable.commit.store(commit.get(), Ordering::Release);
        let file = self.wal.current_file();
        if std::mem::replace(&mut self.file, file) != file {
            self.spares.want();
        }
    }

    fn commit_waits(&self) -> bool {
        self.wal.durable_hard_state() != self.hard_state
    }

    fn write_commit(&mut self) -> Result<(), WriterError> {
        if !self.commit_waits() {
            return Ok(());
        }
        write_hard_state(&mut self.wal, self.hard_state)?;
        self.note_written();
        Ok(())
    }
}
