//! What goes wrong: each seed switches each class of faults on or off and draws its strength.

use std::collections::BTreeSet;
use std::time::Duration;

use log_format::disk::{Fault as DiskFault, Operation};
use log_format::event::StrikesCounted;
use log_format::ids::HostId;

use crate::clock::Skew;
use crate::disk::{Doom, End, Rot};
use crate::host::{HOSTS, first_hosts};
use crate::network::{Order, Weather};
use crate::prng::Prng;
use crate::spoil::Spoil;

/// Bytes that may wait to be committed, as the product has it.
const USUAL_UNCOMMITTED: usize = 64 << 20;
/// Raft wants a little more than one message holds. Large reports that nobody commits pass it within seconds.
const TIGHT_UNCOMMITTED: usize = 260 << 10;
/// Memory for entries that are durable, as the product has it.
const USUAL_TAIL: usize = 16 << 20;
/// A few entries: the others are read from the disk.
const SHORT_TAIL: usize = 2 << 10;
/// Small log files, so that a run passes from one to the next.
const SMALL_LOG_FILE: u64 = 128 << 10;
/// A log file that holds several small chapters: what is to be erased stands in the file that is being written.
const LARGE_LOG_FILE: u64 = 1 << 20;
/// Where no entry is large: what a follower catches up with, or what piled up while a sync took long, takes several batches.
const TINY_LOG_FILE: u64 = 16 << 10;
/// What a spool holds: more than a run fills.
const USUAL_SPOOL: u64 = 16 << 20;
/// Two files of some records each: without a leader it is full within seconds.
const SMALL_SPOOL: u64 = 128 << 10;
/// Entries of a chapter, as the product has it: no run has so many.
const USUAL_CHAPTER: u64 = 16_384;
/// Entries that the log keeps beside its chapters, as the product has it: no run has so many.
const USUAL_KEPT: u64 = 100_000;
/// A log that keeps so little has hosts that lag fetch chapters.
const MOST_KEPT: u64 = 48;
/// How far wall clocks may be off.
const MOST_SKEW: Duration = Duration::from_secs(600);
/// The longest time that a process stands still.
const MOST_PAUSE: Duration = Duration::from_secs(30);
/// The longest time that a process is down, or a wire is clogged.
const MOST_DOWN: Duration = Duration::from_secs(20);
/// A disk without faults syncs within this time.
const QUICK_SYNC: Duration = Duration::from_millis(3);
/// A disk that stalls does so for this long: elections pass meanwhile.
const MOST_STALL: Duration = Duration::from_secs(6);
/// Changes of the disk that a write makes, with those that begin a new file.
const CHANGES_OF_A_WRITE: u64 = 8;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`Fault`, `Weather` and `Faults` say what each is")]
pub enum Class {
    FiveHosts,
    Drop,
    Duplicate,
    Slow,
    LongDelays,
    Reorder,
    SlowSync,
    Stall,
    Skew,
    TightUncommitted,
    LargeReports,
    ShortTail,
    SmallSpool,
    SmallChapters,
    Erasure,
    ShortLog,
    Crash,
    CrashInTurn,
    CrashInWrite,
    DiskError,
    Rot,
    Split,
    Clog,
    Reset,
    Pause,
    SetClock,
    Transfer,
    Members,
    Wipe,
    SilentLeader,
    LiveRot,
    RotWhileDown,
    Unreadable,
}

impl Class {
    /// Those that hold for a whole run.
    const STANDING: [Self; 16] = [
        Self::FiveHosts,
        Self::Drop,
        Self::Duplicate,
        Self::Slow,
        Self::LongDelays,
        Self::Reorder,
        Self::SlowSync,
        Self::Stall,
        Self::Skew,
        Self::TightUncommitted,
        Self::LargeReports,
        Self::ShortTail,
        Self::SmallSpool,
        Self::SmallChapters,
        Self::Erasure,
        Self::ShortLog,
    ];
    /// Those that happen at some moments.
    const SUDDEN: [Self; 17] = [
        Self::Crash,
        Self::CrashInTurn,
        Self::CrashInWrite,
        Self::DiskError,
        Self::Rot,
        Self::Split,
        Self::Clog,
        Self::Reset,
        Self::Pause,
        Self::SetClock,
        Self::Transfer,
        Self::Members,
        Self::Wipe,
        Self::SilentLeader,
        Self::LiveRot,
        Self::RotWhileDown,
        Self::Unreadable,
    ];
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A process ends, and starts again after a time.
    Crash { host: HostId, end: End, down: Duration },
    /// A process ends between two outputs of its next turn, and starts again after a time.
    CrashInTurn { host: HostId, after: usize, down: Duration },
    /// A process ends in the middle of its next write.
    Doom { host: HostId, doom: Doom, down: Duration },
    /// A process ends, and its log rots while it is down.
    Rot { host: HostId, rot: Rot, down: Duration },
    /// Some directions are cut, all others open.
    Split { cut: Vec<(HostId, HostId)> },
    /// Every direction is open.
    Heal,
    /// What one host sends another piles up for a time.
    Clog { from: HostId, to: HostId, time: Duration },
    /// Everything under way between two hosts is lost.
    Reset { one: HostId, other: HostId },
    /// A process stands still.
    Pause { host: HostId, time: Duration },
    /// Somebody sets a wall clock.
    SetClock { host: HostId, offset: Duration },
    /// Somebody moves leadership.
    Transfer { at: HostId, to: HostId },
    /// Another machine is to join.
    Join,
    /// A host is to be let go.
    LetGo { host: HostId },
    /// A host loses its data directory, and with it everything that it promised.
    Wipe { host: HostId },
    /// Whoever leads is heard by nobody for a time, and its disk stands still: others elect a leader, whose entries take the
    /// place of those that wait to be written.
    SilentLeader { time: Duration },
    /// A sector goes bad, while the process runs, or while it is down for a time.
    Spoil { host: HostId, spoil: Spoil, down: Option<Duration> },
}

/// What may go wrong in one run, and how badly.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    prng: Prng,
    /// The classes that this seed draws.
    drawn: Vec<Class>,
    /// Those that are not to happen all the same, to see which of them a failure needs.
    without: BTreeSet<Class>,
    has_ended: bool,
    /// Between two faults, at most.
    gap: Duration,
    pub(crate) weather: Weather,
    /// The longest sync.
    sync: Duration,
    pub(crate) skews: [Skew; HOSTS.len()],
    pub(crate) max_uncommitted: usize,
    pub(crate) max_tail: usize,
    /// What a spool holds, in bytes.
    pub(crate) spool_bytes: u64,
    /// Entries of a chapter.
    pub(crate) chapter_entries: u64,
    /// Entries that the log keeps beside the chapters.
    pub(crate) keep_entries: u64,
    /// Deltas of a report of strikes, at most.
    pub(crate) deltas: u64,
}

impl Faults {
    pub(crate) fn draw(mut prng: Prng, without: BTreeSet<Class>) -> Self {
        let classes = Class::STANDING.into_iter().chain(Class::SUDDEN);
        let drawn: Vec<Class> = classes.filter(|_| prng.chance(500)).collect();
        let is_on = |class| drawn.contains(&class) && !without.contains(&class);
        let swarm = |class, yes: u64, no: u64| if is_on(class) { yes } else { no };
        let strength = 1 + prng.below(4);
        let weather = Weather {
            drop: swarm(Class::Drop, 40 * strength, 0),
            duplicate: swarm(Class::Duplicate, 40 * strength, 0),
            slow: swarm(Class::Slow, 50 * strength, 0),
            longest: Duration::from_millis(swarm(Class::LongDelays, 3_000, 300)),
            order: if is_on(Class::Reorder) { Order::Free } else { Order::Kept },
        };
        let skews = std::array::from_fn(|_| {
            let drawn = skew(&mut prng);
            if is_on(Class::Skew) { drawn } else { Skew::NONE }
        });
        Self {
            gap: prng.between(Duration::from_millis(500), Duration::from_secs(8)),
            weather,
            sync: Duration::from_millis(swarm(Class::SlowSync, 800, 20)),
            skews,
            max_uncommitted: if is_on(Class::TightUncommitted) {
                TIGHT_UNCOMMITTED
            } else {
                USUAL_UNCOMMITTED
            },
            max_tail: if is_on(Class::ShortTail) { SHORT_TAIL } else { USUAL_TAIL },
            spool_bytes: swarm(Class::SmallSpool, SMALL_SPOOL, USUAL_SPOOL),
            chapter_entries: swarm(Class::SmallChapters, 24 + prng.below(104), USUAL_CHAPTER),
            deltas: swarm(Class::LargeReports, StrikesCounted::MAX_DELTAS as u64, 4),
            keep_entries: swarm(Class::ShortLog, prng.below(MOST_KEPT), USUAL_KEPT),
            has_ended: false,
            prng,
            drawn,
            without,
        }
    }

    /// The classes that this run has.
    pub(crate) fn on(&self) -> Vec<Class> {
        self.drawn.iter().copied().filter(|class| self.is_on(*class)).collect()
    }

    fn is_on(&self, class: Class) -> bool {
        self.drawn.contains(&class) && !self.without.contains(&class)
    }

    /// Whether somebody looks after the members: lets hosts in and out, and replaces those that are lost.
    pub(crate) fn has_administrator(&self) -> bool {
        self.is_on(Class::Members) || self.is_on(Class::Wipe)
    }

    /// How many machines are to join, whatever else happens.
    pub(crate) fn joiners(&mut self) -> u64 {
        let drawn = self.prng.below(4);
        if self.is_on(Class::Members) { drawn } else { 0 }
    }

    /// The clocks of a machine that comes later.
    pub(crate) fn later_skew(&mut self) -> Skew {
        let drawn = skew(&mut self.prng);
        if self.is_on(Class::Skew) && !self.has_ended { drawn } else { Skew::NONE }
    }

    /// Whether old attacks are erased at the end.
    pub(crate) fn erases(&self) -> bool {
        self.is_on(Class::Erasure) && self.is_on(Class::SmallChapters)
    }

    /// Whether a host is off while the others erase, and has to fetch what is left.
    pub(crate) fn has_sleeper(&self) -> bool {
        self.erases() && self.is_on(Class::ShortLog)
    }

    /// Bytes of a log file.
    pub(crate) fn log_file_bytes(&self) -> u64 {
        match (self.erases(), self.is_on(Class::LargeReports)) {
            (true, _) => LARGE_LOG_FILE,
            (false, true) => SMALL_LOG_FILE,
            (false, false) => TINY_LOG_FILE,
        }
    }

    /// Those that begin the cluster.
    pub(crate) fn founders(&self) -> &'static [HostId] {
        first_hosts(if self.is_on(Class::FiveHosts) { 5 } else { 3 })
    }

    /// The time until the next fault.
    pub(crate) fn gap(&mut self) -> Duration {
        self.prng.between(Duration::from_millis(50), self.gap)
    }

    /// The time that the next sync takes.
    pub(crate) fn sync_time(&mut self) -> Duration {
        let (slow, stalls) = (self.prng.chance(100), self.prng.chance(10));
        let most = match (slow, stalls && self.is_on(Class::Stall)) {
            _ if self.has_ended => QUICK_SYNC,
            (_, true) => MOST_STALL,
            (true, false) => self.sync,
            (false, false) => QUICK_SYNC,
        };
        Duration::from_micros(100) + self.prng.up_to(most)
    }

    /// Whether everything works.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Everything works from now on.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    /// What goes wrong next; nothing, if no class is on. What is drawn does not depend on the classes left out.
    pub(crate) fn next(&mut self, hosts: &[HostId]) -> Option<Fault> {
        let sudden: Vec<Class> =
            self.drawn.iter().copied().filter(|class| Class::SUDDEN.contains(class)).collect();
        let class = *self.prng.pick(&sudden)?;
        let (host, other) = (*self.prng.pick(hosts)?, *self.prng.pick(hosts)?);
        let mut prng = self.prng.fork();
        let fault = fault(class, (host, other), hosts, &mut prng);
        (!self.has_ended && self.is_on(class)).then_some(fault)
    }
}

fn fault(class: Class, (host, other): (HostId, HostId), hosts: &[HostId], prng: &mut Prng) -> Fault {
    let down = Duration::from_millis(20) + prng.up_to(MOST_DOWN);
    let end = if prng.chance(500) { End::PowerCut } else { End::Killed };
    match class {
        Class::CrashInTurn => {
            let after = usize::try_from(prng.below(8)).unwrap_or(0);
            Fault::CrashInTurn { host, after, down }
        }
        Class::CrashInWrite => {
            let (changes, is_large) = (prng.below(CHANGES_OF_A_WRITE), prng.chance(500));
            Fault::Doom { host, doom: Doom::Cut { changes, end, is_large }, down }
        }
        Class::DiskError => Fault::Doom { host, doom: Doom::Error { fault: disk_fault(prng), end }, down },
        Class::Rot => Fault::Rot { host, rot: Rot::draw(prng), down },
        Class::Split if prng.chance(400) => Fault::Heal,
        Class::Split => Fault::Split { cut: split(prng, (host, other), hosts) },
        Class::Clog => Fault::Clog { from: host, to: other, time: prng.up_to(MOST_DOWN) },
        Class::Reset => Fault::Reset { one: host, other },
        Class::Pause => Fault::Pause { host, time: prng.up_to(MOST_PAUSE) },
        Class::SetClock => Fault::SetClock { host, offset: skew(prng).offset },
        Class::Transfer => Fault::Transfer { at: other, to: host },
        Class::Members if prng.chance(500) => Fault::Join,
        Class::Members => Fault::LetGo { host },
        Class::Wipe => Fault::Wipe { host },
        Class::LiveRot => Fault::Spoil { host, spoil: Spoil::rot(prng), down: None },
        Class::RotWhileDown => Fault::Spoil { host, spoil: Spoil::rot(prng), down: Some(down) },
        Class::Unreadable => {
            let down = prng.chance(500).then_some(down);
            Fault::Spoil { host, spoil: Spoil::unreadable(prng), down }
        }
        Class::SilentLeader => Fault::SilentLeader { time: prng.between(MOST_STALL / 3, MOST_STALL) },
        Class::Crash
        | Class::FiveHosts
        | Class::Drop
        | Class::Duplicate
        | Class::Slow
        | Class::LongDelays
        | Class::Reorder
        | Class::SlowSync
        | Class::Stall
        | Class::Skew
        | Class::TightUncommitted
        | Class::LargeReports
        | Class::ShortTail
        | Class::SmallSpool
        | Class::SmallChapters
        | Class::Erasure
        | Class::ShortLog => Fault::Crash { host, end, down },
    }
}

/// A device that fails, or a disk that is full, at any of the calls that a write makes.
fn disk_fault(prng: &mut Prng) -> DiskFault {
    use std::io::ErrorKind;
    let failing = [
        (Operation::SyncData, ErrorKind::Other),
        (Operation::SyncData, ErrorKind::Other),
        (Operation::Write, ErrorKind::Other),
        (Operation::Write, ErrorKind::StorageFull),
        (Operation::Create, ErrorKind::StorageFull),
        (Operation::Rename, ErrorKind::Other),
        (Operation::SyncDir, ErrorKind::Other),
    ];
    let (operation, kind) = prng.pick(&failing).copied().unwrap_or((Operation::SyncData, ErrorKind::Other));
    let after = u32::from(prng.chance(300));
    DiskFault { operation, after, kind }
}

fn skew(prng: &mut Prng) -> Skew {
    let (least, most) = (Skew::NO_OFFSET - MOST_SKEW, Skew::NO_OFFSET + MOST_SKEW);
    Skew { drift: prng.below(2 * Skew::NO_DRIFT), offset: prng.between(least, most) }
}

/// One host alone, one direction, what one host hears, or any directions at all.
fn split(prng: &mut Prng, (host, other): (HostId, HostId), hosts: &[HostId]) -> Vec<(HostId, HostId)> {
    let kind = prng.below(4);
    let directions = hosts.iter().flat_map(|from| hosts.iter().map(|to| (*from, *to)));
    directions
        .filter(|(from, to)| {
            from != to
                && match kind {
                    0 => *from == host || *to == host,
                    1 => *from == host && *to == other,
                    2 => *to == host,
                    _ => prng.chance(400),
                }
        })
        .collect()
}
