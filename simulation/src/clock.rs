//! A host's two clocks, as functions of the world's time.

use std::time::Duration;

use log_format::time::Timestamp;
use palisade::node::Now;

/// What true wall clocks show when the world begins: 2026-01-01T00:00:00Z.
const EPOCH: Timestamp = Timestamp::from_seconds(1_767_225_600);
const MILLION: u64 = 1_000_000;

/// How wrong a clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skew {
    /// Parts per million that it is fast, above 500; slow, below.
    pub(crate) drift: u64,
    /// How far it is ahead of an hour before the true time.
    pub(crate) offset: Duration,
}

impl Skew {
    /// The drift of a true clock.
    pub(crate) const NO_DRIFT: u64 = 500;
    /// The offset of a true clock.
    pub(crate) const NO_OFFSET: Duration = Duration::from_secs(3_600);
    /// A true clock.
    pub(crate) const NONE: Self = Self { drift: Self::NO_DRIFT, offset: Self::NO_OFFSET };
}

/// One host's clocks.
#[derive(Debug, Clone)]
pub(crate) struct HostClock {
    skew: Skew,
    /// When the process started.
    started: Duration,
}

impl HostClock {
    pub(crate) fn new(skew: Skew) -> Self {
        Self { skew, started: Duration::ZERO }
    }

    /// The process started: its monotonic clock is at zero.
    pub(crate) fn restart(&mut self, at: Duration) {
        self.started = at;
    }

    /// Somebody set the wall clock.
    pub(crate) fn set_offset(&mut self, offset: Duration) {
        self.skew.offset = offset;
    }

    pub(crate) fn read(&self, at: Duration) -> Now {
        let wall = EPOCH.before(Skew::NO_OFFSET).after(self.skew.offset).after(self.drifted(at));
        Now { wall, monotonic: self.drifted(at.saturating_sub(self.started)) }
    }

    /// The world's time that passes while this clock counts so much.
    pub(crate) fn true_time(&self, counted: Duration) -> Duration {
        scale(counted, MILLION, MILLION + self.skew.drift - Skew::NO_DRIFT)
    }

    fn drifted(&self, passed: Duration) -> Duration {
        scale(passed, MILLION + self.skew.drift - Skew::NO_DRIFT, MILLION)
    }
}

fn scale(time: Duration, by: u64, of: u64) -> Duration {
    let nanos = time.as_nanos() * u128::from(by) / u128::from(of.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
