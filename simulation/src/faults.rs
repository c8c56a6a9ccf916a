//! What goes wrong: each seed switches each class of faults on or off and draws its strength.

use std::time::Duration;

use log_format::event::StrikesCounted;
use log_format::ids::HostId;

use crate::clock::Skew;
use crate::disk::End;
use crate::host::HOSTS;
use crate::network::{Order, Weather};
use crate::prng::Prng;

/// Bytes that may wait to be committed, as the product has it.
const USUAL_UNCOMMITTED: usize = 64 << 20;
/// Raft wants a little more than one message holds. Large reports that nobody commits pass it within seconds.
const TIGHT_UNCOMMITTED: usize = 260 << 10;
/// How far wall clocks may be off.
const MOST_SKEW: Duration = Duration::from_secs(600);
/// A disk without faults syncs within this time.
const QUICK_SYNC: Duration = Duration::from_millis(3);

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Crash,
    CrashInTurn,
    Split,
    Pause,
    SetClock,
    Transfer,
}

impl Class {
    const ALL: [Self; 6] =
        [Self::Crash, Self::CrashInTurn, Self::Split, Self::Pause, Self::SetClock, Self::Transfer];
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A process ends, and starts again after a time.
    Crash { host: HostId, end: End, down: Duration },
    /// A process ends between two outputs of its next turn, and starts again after a time.
    CrashInTurn { host: HostId, after: usize, down: Duration },
    /// Some directions are cut, all others open.
    Split { cut: Vec<(HostId, HostId)> },
    /// Every direction is open.
    Heal,
    /// A process stands still.
    Pause { host: HostId, time: Duration },
    /// Somebody sets a wall clock.
    SetClock { host: HostId, offset: Duration },
    /// Somebody moves leadership.
    Transfer { at: HostId, to: HostId },
}

/// What may go wrong in one run, and how badly.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    prng: Prng,
    on: Vec<Class>,
    /// Between two faults, at most.
    gap: Duration,
    pub(crate) weather: Weather,
    /// The longest sync.
    pub(crate) sync: Duration,
    pub(crate) skews: [Skew; HOSTS.len()],
    pub(crate) max_uncommitted: usize,
    /// Deltas of a report of strikes, at most.
    pub(crate) deltas: u64,
}

impl Faults {
    pub(crate) fn draw(mut prng: Prng) -> Self {
        let mut swarm = |yes: u64, no: u64| if prng.chance(500) { yes } else { no };
        let weather = Weather {
            drop: swarm(80, 0),
            duplicate: swarm(80, 0),
            slow: swarm(100, 0),
            longest: Duration::from_millis(swarm(3_000, 300)),
            order: if swarm(1, 0) == 1 { Order::Free } else { Order::Kept },
        };
        let sync = Duration::from_millis(swarm(800, 20));
        let is_skewed = swarm(1, 0) == 1;
        let max_uncommitted = if swarm(1, 0) == 1 { TIGHT_UNCOMMITTED } else { USUAL_UNCOMMITTED };
        let deltas = swarm(StrikesCounted::MAX_DELTAS as u64, 4);
        let on = Class::ALL.into_iter().filter(|_| prng.chance(500)).collect();
        let skews = std::array::from_fn(|_| if is_skewed { skew(&mut prng) } else { Skew::NONE });
        let gap = prng.between(Duration::from_millis(500), Duration::from_secs(8));
        Self { prng, on, gap, weather, sync, skews, max_uncommitted, deltas }
    }

    /// The time until the next fault.
    pub(crate) fn gap(&mut self) -> Duration {
        self.prng.between(Duration::from_millis(50), self.gap)
    }

    /// The time that the next sync takes.
    pub(crate) fn sync_time(&mut self) -> Duration {
        let most = if self.prng.chance(100) { self.sync.max(QUICK_SYNC) } else { QUICK_SYNC };
        Duration::from_micros(100) + self.prng.up_to(most)
    }

    /// Everything works from now on.
    pub(crate) fn end(&mut self) {
        self.on.clear();
        self.sync = QUICK_SYNC;
    }

    /// What goes wrong next; nothing, if no class is on.
    pub(crate) fn next(&mut self) -> Option<Fault> {
        let class = *self.prng.pick(&self.on)?;
        let host = *self.prng.pick(&HOSTS)?;
        let prng = &mut self.prng;
        let down = Duration::from_millis(20) + prng.up_to(Duration::from_secs(20));
        Some(match class {
            Class::Crash => {
                let end = if prng.chance(500) { End::PowerCut } else { End::Killed };
                Fault::Crash { host, end, down }
            }
            Class::CrashInTurn => {
                let after = usize::try_from(prng.below(8)).unwrap_or(0);
                Fault::CrashInTurn { host, after, down }
            }
            Class::Split if prng.chance(400) => Fault::Heal,
            Class::Split => Fault::Split { cut: split(prng, host) },
            Class::Pause => Fault::Pause { host, time: prng.up_to(Duration::from_secs(20)) },
            Class::SetClock => Fault::SetClock { host, offset: skew(prng).offset },
            Class::Transfer => Fault::Transfer { at: *prng.pick(&HOSTS)?, to: host },
        })
    }
}

fn skew(prng: &mut Prng) -> Skew {
    let (least, most) = (Skew::NO_OFFSET - MOST_SKEW, Skew::NO_OFFSET + MOST_SKEW);
    Skew { drift: prng.below(2 * Skew::NO_DRIFT), offset: prng.between(least, most) }
}

/// One host alone, one direction, what one host hears, or any directions at all.
fn split(prng: &mut Prng, host: HostId) -> Vec<(HostId, HostId)> {
    let kind = prng.below(4);
    let other = prng.pick(&HOSTS).copied().unwrap_or(host);
    let directions = HOSTS.into_iter().flat_map(|from| HOSTS.map(|to| (from, to)));
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
