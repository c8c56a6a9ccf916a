//! The wires between hosts: each direction of each pair may lose, repeat, delay and so reorder, or be cut.
//!
//! The transport over TLS neither repeats nor reorders within a connection. Some runs are as good as that; others are
//! worse: consensus and forwarding must not rely on more than they need.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use log_format::ids::HostId;

use crate::prng::Prng;

/// How bad the wires are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Messages lost, of a thousand.
    pub(crate) drop: u64,
    /// Messages repeated, of a thousand.
    pub(crate) duplicate: u64,
    /// Messages that take up to [`Weather::longest`], of a thousand.
    pub(crate) slow: u64,
    /// The longest delay.
    pub(crate) longest: Duration,
    /// Whether messages overtake each other.
    pub(crate) order: Order,
}

/// In which order messages of one direction arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// In that in which they were sent: a slow one holds up what follows.
    Kept,
    /// In any.
    Free,
}

impl Weather {
    /// A quiet network in one room.
    pub(crate) const FAIR: Self =
        Self { drop: 0, duplicate: 0, slow: 0, longest: LATENCY, order: Order::Kept };
}

/// The usual delay at most.
const LATENCY: Duration = Duration::from_millis(2);
/// The delay at least: no message arrives in the moment in which it is sent.
const SHORTEST: Duration = Duration::from_micros(50);

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The sender's transport knows that it is lost.
    Refused,
    /// It arrives after each of these times; never, if there is none.
    Arrives(Vec<Duration>),
}

pub(crate) struct Network {
    prng: Prng,
    weather: Weather,
    cut: BTreeSet<(HostId, HostId)>,
    /// Until when what goes in a direction piles up.
    clogged: BTreeMap<(HostId, HostId), Duration>,
    /// Until when nobody hears a host.
    silent: BTreeMap<HostId, Duration>,
    /// When the last message of each direction arrives.
    last: BTreeMap<(HostId, HostId), Duration>,
}

impl Network {
    pub(crate) fn new(prng: Prng, weather: Weather) -> Self {
        Self {
            prng,
            weather,
            cut: BTreeSet::new(),
            clogged: BTreeMap::new(),
            silent: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Nothing passes in this direction any more.
    pub(crate) fn cut(&mut self, from: HostId, to: HostId) {
        self.cut.insert((from, to));
    }

    /// What goes in this direction piles up until then.
    pub(crate) fn clog(&mut self, from: HostId, to: HostId, until: Duration) {
        self.clogged.insert((from, to), until);
    }

    /// Nobody hears this host until then.
    pub(crate) fn silence(&mut self, from: HostId, until: Duration) {
        self.silent.insert(from, until);
    }

    /// Nothing piles up any more, nothing waits behind what did, and everybody is heard.
    pub(crate) fn unclog(&mut self) {
        self.clogged.clear();
        self.silent.clear();
        self.last.clear();
    }

    /// Every direction is open.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether a connection between two hosts holds: both directions are open and do not pile up.
    pub(crate) fn connects(&mut self, now: Duration, one: HostId, other: HostId) -> bool {
        let is_open = |direction| {
            !self.cut.contains(&direction) && self.clogged.get(&direction).is_none_or(|until| *until <= now)
        };
        is_open((one, other)) && is_open((other, one)) && !self.prng.chance(self.weather.drop)
    }

    pub(crate) fn send(&mut self, now: Duration, from: HostId, to: HostId) -> Fate {
        let is_silent = self.silent.get(&from).is_some_and(|until| now < *until);
        if is_silent || self.cut.contains(&(from, to)) {
            // A connection that died is noticed sooner or later; until then messages vanish.
            return if self.prng.chance(500) { Fate::Refused } else { Fate::Arrives(Vec::new()) };
        }
        if self.prng.chance(self.weather.drop) {
            return Fate::Arrives(Vec::new());
        }
        let copies = if self.prng.chance(self.weather.duplicate) { 2 } else { 1 };
        Fate::Arrives((0..copies).map(|_| self.delay(now, (from, to))).collect())
    }

    fn delay(&mut self, now: Duration, direction: (HostId, HostId)) -> Duration {
        let most = if self.prng.chance(self.weather.slow) { self.weather.longest } else { LATENCY };
        let clogged = self.clogged.get(&direction).map_or(Duration::ZERO, |until| until.saturating_sub(now));
        let delay = clogged + SHORTEST + self.prng.up_to(most);
        match self.weather.order {
            Order::Free => delay,
            Order::Kept => {
                let last = self.last.entry(direction).or_default();
                *last = (now + delay).max(*last + Duration::from_nanos(1));
                last.saturating_sub(now)
            }
        }
    }
}
