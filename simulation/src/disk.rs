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
use consensus::rt::writer::{Gathered, WriterError, write_hard_state};
use log_format::disk::{DiskError, MemoryDisk};
use log_format::ids::HostId;
use log_format::time::Timestamp;
use log_format::wal::{
    ConfState, FileStamp, HardState, LogPosition, Wal, WalIdentity, WalOptions, WalReader, WalSetup,
};
use palisade::node::PeerMessage;

use crate::host::BootError;
use crate::prng::Prng;

/// Small files, so that a run passes from one to the next.
const FILE_BYTES: u64 = 128 << 10;
/// Changes of the disk that a write makes, with those that begin a new file: a crash falls between any two of them.
const CHANGES_OF_A_WRITE: u64 = 8;

/// What leaves the writer once a job is durable.
#[derive(Default)]
pub(crate) struct Released {
    /// Messages, in order.
    pub(crate) messages: Vec<(HostId, PeerMessage)>,
}

/// What a disk was last said to hold: whoever was told relies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    pub(crate) hard_state: HardState,
    pub(crate) last: LogPosition,
}

impl Held {
    /// Whether a log that was opened again keeps it: nothing older, no other vote in the same term, no entry gone.
    pub(crate) fn is_kept_by(&self, now: &Self) -> bool {
        let (then, since) = (self.hard_state, now.hard_state);
        let is_later = since.term > then.term;
        let same_vote = since.term == then.term && (then.vote.is_none() || then.vote == since.vote);
        (is_later || same_vote) && then.commit <= since.commit && (self.last <= now.last)
    }
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
    held: Held,
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
            held: Held::default(),
        }
    }

    /// Opens the log, or begins it.
    pub(crate) fn boot(&mut self, mut prng: Prng) -> Result<(Restored, WalReader<MemoryDisk>), BootError> {
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
        let before = self.held;
        self.note_held();
        if !before.is_kept_by(&self.held) {
            return Err(BootError::Forgot { before: Box::new(before), now: Box::new(self.held) });
        }
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
        let (mut gathered, mut early) = (Gathered::default(), Vec::new());
        while !gathered.is_full()
            && let Some(mut job) = self.queue.pop_front_if(|job| gathered.takes(job))
        {
            if self.honesty == Honesty::AcksBeforeSync {
                early.extend(
                    std::mem::take(&mut job.then)
                        .into_iter()
                        .map(|(to, message)| (to, PeerMessage::Raft(message))),
                );
                self.durable = self.durable.max(job.number);
            }
            gathered.add(job);
        }
        self.in_flight = Some(gathered);
        Released { messages: early }
    }

    /// The write under way is done.
    pub(crate) fn finish(&mut self) -> Result<Released, WriterError> {
        let (Some(wal), Some(gathered)) = (&mut self.wal, self.in_flight.take()) else {
            return Ok(Released::default());
        };
        self.hard_state = gathered.hard_state().unwrap_or(self.hard_state);
        gathered.write(wal, self.hard_state)?;
        let (number, then) = gathered.into_released();
        self.durable = self.durable.max(number);
        self.note_held();
        let messages = then.into_iter().map(|(to, message)| (to, PeerMessage::Raft(message)));
        Ok(Released { messages: messages.collect() })
    }

    /// The small work of a writer that has had nothing to do for a while.
    pub(crate) fn idle(&mut self) -> Result<(), WriterError> {
        let Some(wal) = &mut self.wal else { return Ok(()) };
        if wal.durable_hard_state() != self.hard_state {
            write_hard_state(wal, self.hard_state)?;
            self.note_held();
        }
        Ok(())
    }

    /// Works on the spare files; an error there is none of the log.
    pub(crate) fn prepare_spares(&mut self) -> Result<(), DiskError> {
        self.wal.as_mut().map_or(Ok(()), |wal| wal.prepare_spare().map(drop))
    }

    fn note_held(&mut self) {
        if let Some(wal) = &self.wal {
            self.held = Held { hard_state: wal.durable_hard_state(), last: wal.reader().last() };
        }
    }

    /// What this disk was last said to hold.
    pub(crate) fn held(&self) -> Held {
        self.held
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
            let hard_state = gathered.hard_state().unwrap_or(self.hard_state);
            // Nobody is told whether it succeeded.
            let _ = gathered.write(&mut wal, hard_state);
        }
        self.queue.clear();
        match end {
            End::PowerCut => self.disk.crash(prng.next()),
            End::Killed => self.disk.kill(),
        }
    }
}
