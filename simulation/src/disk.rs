//! The stand-in for the writer's thread (`consensus::rt::writer`): the same gathering of jobs into batches of the
//! production write-ahead log, on a disk in memory, one step at a time.
//!
//! ```text
//!  submit ──> queue ──take──> in flight ──finish──> durable: tell the driver, let go of what rests on it
//!                                 │
//!                                 └──crash──> written whole, in part or not at all; sectors that were not synced are lost
//! ```

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use consensus::core::{PersistJob, Restored};
use log_format::disk::MemoryDisk;
use log_format::ids::HostId;
use log_format::recover::RecoverError;
use log_format::time::Timestamp;
use log_format::wal::{
    AppendError, Batch, ConfState, Durability, FileStamp, HardState, LogEntry, LogPosition, Wal, WalIdentity,
    WalOptions, WalReader, WalSetup,
};
use palisade::node::PeerMessage;

use crate::prng::Prng;

/// Small files, so that a run passes from one to the next.
const FILE_BYTES: u64 = 128 << 10;
/// What an entry costs in a batch besides its data, rounded up.
const ENTRY_OVERHEAD: usize = 64;
/// Changes of the disk that a write makes, with those that begin a new file: a crash falls between any two of them.
const CHANGES_OF_A_WRITE: u64 = 8;

/// What leaves the writer once a job is durable.
#[derive(Default)]
pub(crate) struct Released {
    /// Messages, in order.
    pub(crate) messages: Vec<(HostId, PeerMessage)>,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The machine lost power: what was not synced may be lost.
    PowerCut,
    /// The process was killed: what it wrote stays.
    Killed,
}

/// When the writer reports a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honesty {
    /// Once it is durable.
    Honest,
    /// As soon as it takes it up.
    AcksBeforeSync,
}

/// One host's disk and the writer of its log.
pub(crate) struct Drive {
    disk: MemoryDisk,
    data: PathBuf,
    identity: WalIdentity,
    members: ConfState,
    honesty: Honesty,
    wal: Option<Wal<MemoryDisk>>,
    queue: VecDeque<PersistJob>,
    in_flight: Option<Gathered>,
    hard_state: HardState,
    durable: u64,
}

/// Several jobs as one.
#[derive(Default)]
struct Gathered {
    number: u64,
    /// Comes before the rest.
    reset: Option<(LogPosition, ConfState)>,
    entries: Vec<LogEntry>,
    hard_state: Option<HardState>,
    conf_state: Option<ConfState>,
    must_sync: bool,
    then: Vec<(HostId, PeerMessage)>,
}

impl Drive {
    pub(crate) fn new(identity: WalIdentity, members: ConfState, honesty: Honesty) -> Self {
        Self {
            disk: MemoryDisk::new(),
            data: PathBuf::from("/data"),
            identity,
            members,
            honesty,
            wal: None,
            queue: VecDeque::new(),
            in_flight: None,
            hard_state: HardState::default(),
            durable: 0,
        }
    }

    /// Opens the log, or begins it.
    pub(crate) fn boot(&mut self, mut prng: Prng) -> Result<(Restored, WalReader<MemoryDisk>), RecoverError> {
        let stamps = move || FileStamp { nonce: prng.next(), created_at: Timestamp::ZERO };
        let setup = WalSetup {
            identity: self.identity,
            options: WalOptions { file_bytes: FILE_BYTES },
            stamps: Box::new(stamps),
        };
        let disk = Arc::new(self.disk.clone());
        let (wal, restored) = if self.is_new() {
            let wal = Wal::create(disk, &self.data, setup, self.members.clone())?;
            (wal, Restored::empty(self.members.clone()))
        } else {
            let (wal, recovered) = Wal::open(disk, &self.data, setup)?;
            (wal, Restored::from(recovered))
        };
        let reader = wal.reader();
        self.hard_state = wal.durable_hard_state();
        self.wal = Some(wal);
        self.durable = 0;
        Ok((restored, reader))
    }

    fn is_new(&self) -> bool {
        self.disk.syncs() == 0
    }

    /// Gives the writer a job.
    pub(crate) fn submit(&mut self, job: PersistJob) {
        self.queue.push_back(job);
    }

    /// Whether a job waits and the writer could take it.
    pub(crate) fn wants_to_write(&self) -> bool {
        self.in_flight.is_none() && !self.queue.is_empty()
    }

    /// Whether the writer has nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }

    /// The writer takes what waits; the write is under way from now on.
    pub(crate) fn take(&mut self) -> Released {
        let mut gathered = Gathered::default();
        // A reset begins a batch of its own: what was acknowledged before it is written before it.
        while let Some(job) = self.queue.pop_front_if(|job| gathered.is_empty() || job.reset.is_none()) {
            gathered.add(job);
        }
        let early = match self.honesty {
            Honesty::Honest => Released::default(),
            Honesty::AcksBeforeSync => {
                self.durable = self.durable.max(gathered.number);
                Released { messages: std::mem::take(&mut gathered.then) }
            }
        };
        self.in_flight = Some(gathered);
        early
    }

    /// The write under way is done.
    pub(crate) fn finish(&mut self) -> Result<Released, AppendError> {
        let (Some(wal), Some(mut gathered)) = (&mut self.wal, self.in_flight.take()) else {
            return Ok(Released::default());
        };
        let messages = std::mem::take(&mut gathered.then);
        self.hard_state = gathered.hard_state.unwrap_or(self.hard_state);
        write(wal, &gathered, self.hard_state)?;
        self.durable = self.durable.max(gathered.number);
        Ok(Released { messages })
    }

    /// The small work of a writer that has had nothing to do for a while.
    pub(crate) fn idle(&mut self) -> Result<(), AppendError> {
        let Some(wal) = &mut self.wal else { return Ok(()) };
        if wal.durable_hard_state() != self.hard_state {
            append(wal, &[], (self.hard_state, None), Durability::Sync)?;
        }
        wal.prepare_spare().map_err(|source| AppendError::Disk { source })?;
        Ok(())
    }

    /// The last job that is durable, as far as the driver is told.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Reads what the log holds.
    pub(crate) fn reader(&self) -> Option<WalReader<MemoryDisk>> {
        self.wal.as_ref().map(Wal::reader)
    }

    /// The process ends, perhaps in the middle of a write.
    pub(crate) fn end(&mut self, end: End, prng: &mut Prng) {
        if let (Some(mut wal), Some(gathered)) = (self.wal.take(), self.in_flight.take()) {
            self.disk.fail_after_changes(prng.below(CHANGES_OF_A_WRITE));
            let hard_state = gathered.hard_state.unwrap_or(self.hard_state);
            // Nobody is told whether it succeeded.
            let _ = write(&mut wal, &gathered, hard_state);
        }
        self.queue.clear();
        match end {
            End::PowerCut => self.disk.crash(prng.next()),
            End::Killed => self.disk.kill(),
        }
    }
}

fn write(wal: &mut Wal<MemoryDisk>, gathered: &Gathered, hard_state: HardState) -> Result<(), AppendError> {
    let Gathered { number: _, reset, entries, hard_state: changed, conf_state, must_sync, then: _ } =
        gathered;
    if let Some((position, members)) = reset {
        wal.reset(*position, members, HardState { commit: position.index, ..hard_state })?;
    }
    if changed.is_none() && conf_state.is_none() && entries.is_empty() {
        return Ok(());
    }
    let most = wal.max_batch() / 2;
    let mut runs: VecDeque<&[LogEntry]> = runs(entries, most).collect();
    let last = runs.pop_back().unwrap_or_default();
    for entries in runs {
        // The commit index may cover what a later batch holds, so only the last one carries it.
        let hard_state = HardState { commit: wal.durable_hard_state().commit, ..hard_state };
        append(wal, entries, (hard_state, None), Durability::Sync)?;
    }
    let durability = if *must_sync { Durability::Sync } else { Durability::Later };
    append(wal, last, (hard_state, conf_state.as_ref()), durability)
}

fn append(
    wal: &mut Wal<MemoryDisk>,
    entries: &[LogEntry],
    (hard_state, conf_state): (HardState, Option<&ConfState>),
    durability: Durability,
) -> Result<(), AppendError> {
    wal.append(&Batch { hard_state, entries, conf_state, durability }).map(drop)
}

/// The entries in runs of about `most` bytes, of at least one entry each.
fn runs(entries: &[LogEntry], most: usize) -> impl Iterator<Item = &[LogEntry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let over = rest.iter().position(|entry| {
            bytes = bytes.saturating_add(entry.data.len() + ENTRY_OVERHEAD);
            most < bytes
        });
        let (run, left) = rest.split_at_checked(over.unwrap_or(rest.len()).max(1))?;
        rest = left;
        Some(run)
    })
}

impl Gathered {
    /// Jobs are numbered from 1.
    fn is_empty(&self) -> bool {
        self.number == 0
    }

    fn add(&mut self, job: PersistJob) {
        let PersistJob { number, reset, entries, hard_state, conf_state, durability, then } = job;
        self.reset = reset.or_else(|| self.reset.take());
        self.number = self.number.max(number);
        if let Some(first) = entries.first() {
            // A newer leader's entries take the place of those that were never written.
            let kept = self.entries.partition_point(|entry| entry.index < first.index);
            self.entries.truncate(kept);
            self.entries.extend(entries);
        }
        self.hard_state = hard_state.or(self.hard_state);
        self.conf_state = conf_state.or_else(|| self.conf_state.take());
        self.must_sync |= durability == Durability::Sync;
        self.then.extend(then.into_iter().map(|(to, message)| (to, PeerMessage::Raft(message))));
    }
}
