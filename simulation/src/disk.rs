//! The stand-in for the writer's thread (`consensus::rt::writer`): the same gathering of jobs into batches of the
//! production write-ahead log, on a disk in memory, one step at a time.
//!
//! ```text
//!  submit ──> queue ──take──> in flight ──finish──> durable: tell the driver, let go of what rests on it
//!                                 │
//!                                 └──crash──> written whole, in part or not at all; sectors that were not synced are lost
//! ```

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consensus::core::{PersistJob, Restored};
use consensus::rt::writer::{Gathered, WriterError, write_hard_state};
use log_format::disk::{Disk as _, DiskError, Fault, MemoryDisk};
use log_format::ids::{HostId, LogIndex};
use log_format::recover::{Ending, RecoverError};
use log_format::repair::{self, Need};
use log_format::time::Timestamp;
use log_format::verify::LogView;
use log_format::wal::{
    ConfState, FileStamp, HardState, LogEntry, LogPosition, SpareProgress, Wal, WalIdentity, WalOptions,
    WalReader, WalSetup,
};
use palisade::node::PeerMessage;

use crate::host::BootError;
use crate::prng::Prng;

/// Changes of the disk that a write makes, with those that begin a new file: a crash falls between any two of them.
pub(crate) const CHANGES_OF_A_WRITE: u64 = 8;
/// Changes that fetching a chapter makes.
pub(crate) const CHANGES_OF_A_FETCH: u64 = 32;
/// Repairs of one log, one after the other; it is damaged in one place.
const MOST_REPAIRS: usize = 8;
/// Files begin with a header of this length, and batches at multiples of it.
const BLOCK: usize = 4_096;

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

/// How a write fails; the process ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doom {
    /// So many of its changes reach the disk; of the next write, or of the next that takes several batches.
    Cut { changes: u64, end: End, is_large: bool },
    /// The disk refuses one of its calls.
    Error { fault: Fault, end: End },
}

impl Doom {
    /// How the process ends.
    pub(crate) const fn end(&self) -> End {
        match self {
            Self::Cut { end, .. } | Self::Error { end, .. } => *end,
        }
    }
}

/// What happens to bytes that were durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rot {
    kind: RotKind,
    /// Chooses the place.
    place: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RotKind {
    /// One bit of the last batch.
    FlipLast,
    /// One bit of anything that was written.
    FlipAny,
    /// A sector before the last batch reads as zeros. (One of the last batch itself is the same as a write that was cut.)
    LoseSector,
    /// The last write went elsewhere.
    Misdirect,
}

impl Rot {
    pub(crate) fn draw(prng: &mut Prng) -> Self {
        let kinds = [RotKind::FlipLast, RotKind::FlipAny, RotKind::LoseSector, RotKind::Misdirect];
        Self { kind: prng.pick(&kinds).copied().unwrap_or(RotKind::FlipAny), place: prng.next() }
    }

    /// Damages the newest log file. Says whether it found anything to damage.
    fn strike(self, disk: &MemoryDisk, directory: &Path) -> bool {
        let names = disk.list(directory).unwrap_or_default();
        let Some(newest) = names.iter().filter(|name| name.ends_with(".wal")).max() else { return false };
        let path = directory.join(newest);
        let bytes = disk.contents(&path).unwrap_or_default();
        let is_written = |(_, block): &(usize, &[u8])| block.iter().any(|byte| *byte != 0);
        let written: Vec<usize> =
            bytes.chunks(BLOCK).enumerate().skip(1).filter(is_written).map(|(at, _)| at * BLOCK).collect();
        let Some(last) = written.last() else { return false };
        // A batch may take several blocks.
        let begins = |at: &&usize| bytes.get(**at..).is_some_and(|block| block.starts_with(b"WBAT"));
        let begin = written.iter().rfind(begins).copied().unwrap_or_default();
        let before = written.get(..written.partition_point(|at| *at < begin)).unwrap_or_default();
        let mut prng = Prng::new(self.place);
        match self.kind {
            RotKind::FlipLast => flip(disk, &path, &bytes, *last, &mut prng),
            RotKind::FlipAny => {
                let block = prng.pick(&written).copied().unwrap_or(*last);
                flip(disk, &path, &bytes, block, &mut prng)
            }
            RotKind::LoseSector => prng
                .pick(before)
                .is_some_and(|block| disk.overwrite(&path, *block as u64, &[0; log_format::disk::SECTOR])),
            RotKind::Misdirect => {
                let block = bytes.get(*last..last + BLOCK).unwrap_or_default();
                let to = last + BLOCK * (1 + usize::try_from(prng.below(3)).unwrap_or(0));
                // Only a batch of one block, so that all of it went elsewhere.
                block.starts_with(b"WBAT")
                    && disk.overwrite(&path, to as u64, block)
                    && disk.overwrite(&path, *last as u64, &[0; BLOCK])
            }
        }
    }
}

/// Lets go of what the host wishes to be gone, as the writer's thread does after each write.
fn retire(
    wal: &mut Wal<MemoryDisk>,
    (below, erased): (LogIndex, LogIndex),
    retired_below: LogIndex,
) -> Result<LogIndex, WriterError> {
    wal.leave_behind(erased).map_err(|source| WriterError::Retire { below: erased, source })?;
    if retired_below < below {
        wal.retire(below).map_err(|source| WriterError::Retire { below, source })?;
    }
    Ok(below.max(retired_below))
}

/// Turns a bit of a sector that was written.
fn flip(disk: &MemoryDisk, path: &Path, bytes: &[u8], block: usize, prng: &mut Prng) -> bool {
    let sectors = bytes.get(block..).unwrap_or_default().chunks(log_format::disk::SECTOR).take(8).enumerate();
    let written: Vec<usize> = sectors
        .filter(|(_, sector)| sector.iter().any(|byte| *byte != 0))
        .map(|(at, _)| block + at * log_format::disk::SECTOR)
        .collect();
    let Some(sector) = prng.pick(&written) else { return false };
    disk.flip_bit(path, *sector as u64 * 8 + prng.below(log_format::disk::SECTOR as u64 * 8))
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
    /// Of a log file.
    file_bytes: u64,
    honesty: Honesty,
    wal: Option<Wal<MemoryDisk>>,
    queue: VecDeque<PersistJob>,
    in_flight: Option<Gathered>,
    hard_state: HardState,
    durable: u64,
    held: Held,
    /// What the host wishes of the writer: entries below may go, and entries up to there must not stay in the current
    /// file.
    retire: (LogIndex, LogIndex),
    retired_below: LogIndex,
    doom: Option<Doom>,
    /// The disk has been told to fail, and may do so at any later call.
    is_doom_under_way: bool,
}

/// Whether a write is the one that is to fail.
fn strikes(doom: Doom, gathered: &Gathered, wal: &Wal<MemoryDisk>) -> bool {
    match doom {
        Doom::Cut { is_large: true, .. } => wal.max_batch() / 2 < gathered.bytes(),
        Doom::Cut { is_large: false, .. } | Doom::Error { .. } => true,
    }
}

impl Drive {
    pub(crate) fn new(identity: WalIdentity, members: ConfState, file_bytes: u64, honesty: Honesty) -> Self {
        Self {
            disk: MemoryDisk::new(),
            data: PathBuf::from("/data"),
            identity,
            members,
            file_bytes,
            honesty,
            wal: None,
            queue: VecDeque::new(),
            in_flight: None,
            hard_state: HardState::default(),
            durable: 0,
            held: Held::default(),
            retire: (LogIndex::default(), LogIndex::default()),
            retired_below: LogIndex::default(),
            doom: None,
            is_doom_under_way: false,
        }
    }

    /// Opens the log, or begins it.
    pub(crate) fn boot(&mut self, mut prng: Prng) -> Result<(Restored, WalReader<MemoryDisk>), BootError> {
        let stamps = move || FileStamp { nonce: prng.next(), created_at: Timestamp::ZERO };
        let setup = WalSetup {
            identity: self.identity,
            options: WalOptions { file_bytes: self.file_bytes },
            stamps: Box::new(stamps),
        };
        let disk = Arc::new(self.disk.clone());
        let (wal, restored) = if self.is_new() {
            let wal = Wal::create(disk, &self.data, setup, self.members.clone())?;
            (wal, Restored::empty(self.members.clone()))
        } else {
            let (wal, recovered) = Wal::open(disk, &self.data, setup)?;
            self.look_at_end()?;
            (wal, Restored::from(recovered))
        };
        let reader = wal.reader();
        self.hard_state = wal.durable_hard_state();
        self.wal = Some(wal);
        self.durable = 0;
        (self.retire, self.retired_below) = ((LogIndex::default(), LogIndex::default()), LogIndex::default());
        let before = self.held;
        self.note_held();
        if !before.is_kept_by(&self.held) {
            return Err(BootError::Forgot { before: Box::new(before), now: Box::new(self.held) });
        }
        Ok((restored, reader))
    }

    /// The members in a log that nobody has open; nothing if it cannot be read.
    pub(crate) fn members_in_log(&self) -> Option<ConfState> {
        self.view(|view| view.conf_state().clone()).ok()
    }

    /// A log that was opened ends cleanly: what was left of a torn batch is gone before anything is written behind it.
    fn look_at_end(&self) -> Result<(), BootError> {
        match self.view(|view| view.ending().clone())? {
            Ending::Clean => Ok(()),
            Ending::Torn(_) | Ending::Corrupt(_) | Ending::Suspect(_) => Err(BootError::Unclean),
        }
    }

    /// Looks at the log from beside; what cannot be read just now is the host's to find.
    fn view<T>(&self, look: impl Fn(&LogView<MemoryDisk>) -> T) -> Result<T, RecoverError> {
        self.disk.looked_through(|| LogView::open(&self.disk, &self.data).map(|view| look(&view)))
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
            if let Some((position, _)) = job.reset {
                // What was acknowledged behind it was of a leader that is no more: the log may begin anew at any moment.
                self.held.last = self.held.last.min(position);
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
        let doom = self.doom.filter(|doom| strikes(*doom, &gathered, wal));
        match doom {
            Some(Doom::Cut { changes, .. }) => self.disk.fail_after_changes(changes),
            Some(Doom::Error { fault, .. }) if !self.is_doom_under_way => self.disk.inject(fault),
            Some(Doom::Error { .. }) | None => {}
        }
        self.is_doom_under_way |= doom.is_some();
        gathered.write(wal, self.hard_state)?;
        self.retired_below = retire(wal, self.retire, self.retired_below)?;
        let (number, then) = gathered.into_released();
        self.durable = self.durable.max(number);
        self.note_held();
        let messages = then.into_iter().map(|(to, message)| (to, PeerMessage::Raft(message)));
        Ok(Released { messages: messages.collect() })
    }

    /// The next write fails.
    pub(crate) fn doom(&mut self, doom: Doom) {
        self.doom = Some(doom);
    }

    /// Everything works from now on.
    pub(crate) fn heal(&mut self) {
        (self.doom, self.is_doom_under_way) = (None, false);
        self.disk.mend();
    }

    /// How the write under way, or the small work of an idle writer, is to fail.
    pub(crate) fn doomed(&self) -> Option<Doom> {
        let nothing = Gathered::default();
        let (wal, gathered) = (self.wal.as_ref()?, self.in_flight.as_ref().unwrap_or(&nothing));
        self.doom.filter(|doom| self.is_doom_under_way || strikes(*doom, gathered, wal))
    }

    /// The log rots while no process has it open. Says whether there was anything to rot.
    pub(crate) fn rot(&self, rot: Rot) -> bool {
        rot.strike(&self.disk, &self.data.join("wal"))
    }

    /// Repairs a damaged log from what others hold: `fetch` gives their entries of a range, host by host. Says whether the
    /// log can be opened now.
    pub(crate) fn repair(&self, fetch: impl Fn(LogIndex, LogIndex) -> Vec<Vec<LogEntry>>) -> bool {
        for _ in 0..MOST_REPAIRS {
            let order = match repair::find(&self.disk, &self.data, &self.identity) {
                Ok(Some(order)) => order,
                Ok(None) => return true,
                Err(_) => return false,
            };
            let range = match order.need {
                Need::Nothing => None,
                Need::Records(need) => need.entries,
            };
            let offers = range.map_or(vec![Vec::new()], |(first, last)| fetch(first, last));
            let apply = |entries: &Vec<LogEntry>| {
                repair::apply(&self.disk, &self.data, &self.identity, &order, (entries, &[])).is_ok()
            };
            if !offers.iter().any(apply) {
                return false;
            }
        }
        false
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

    /// Works on the spare files; an error there is none of the log. Says whether there is more to do.
    pub(crate) fn prepare_spares(&mut self) -> Result<SpareProgress, DiskError> {
        self.wal.as_mut().map_or(Ok(SpareProgress::Ready), Wal::prepare_spare)
    }

    /// Entries below the first may go with the next write; entries up to the second must leave the current file.
    pub(crate) fn retire(&mut self, below: LogIndex, erased: LogIndex) {
        let (known_below, known_erased) = self.retire;
        self.retire = (below.max(known_below), erased.max(known_erased));
    }

    /// Entries below this may go, says the host.
    pub(crate) fn may_go_below(&self) -> LogIndex {
        self.retire.0
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

    /// The disk and the data directory on it.
    pub(crate) fn place(&self) -> (&MemoryDisk, &Path) {
        (&self.disk, &self.data)
    }

    /// Whose log it is.
    pub(crate) fn identity(&self) -> WalIdentity {
        self.identity
    }

    /// The process is about to end: some changes of what is under way still reach the disk, fewer than `most`.
    pub(crate) fn begin_end(&mut self, most: u64, prng: &mut Prng) {
        let changes = prng.below(most);
        let is_cut = self.is_doom_under_way && matches!(self.doom, Some(Doom::Cut { .. }));
        if !is_cut {
            self.disk.fail_after_changes(changes);
        }
    }

    /// The write under way, as far as the disk lets it. Nobody is told whether it succeeded.
    pub(crate) fn abandon(&mut self) {
        if let (Some(mut wal), Some(gathered)) = (self.wal.take(), self.in_flight.take()) {
            let hard_state = gathered.hard_state().unwrap_or(self.hard_state);
            let _ = gathered.write(&mut wal, hard_state);
        }
        self.queue.clear();
    }

    /// The process has ended.
    pub(crate) fn end(&mut self, end: End, prng: &mut Prng) {
        self.heal();
        match end {
            End::PowerCut => self.disk.crash(prng.next()),
            End::Killed => self.disk.kill(),
        }
    }
}
