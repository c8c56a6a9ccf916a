//! Meters of a few bytes each: a rate limit, and a count over a sliding window.

use std::time::Duration;

use log_format::time::Timestamp;

/// A rate as the generic cell rate algorithm meters it: so many at once, then one each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Each event takes this long to be forgotten.
    pub every: Duration,
    /// Events that may come at once.
    pub burst: u32,
}

/// What a source used of its rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    /// When everything used is forgotten.
    empty_at: Timestamp,
}

impl Meter {
    /// Counts an event; false, and nothing is counted, if it is one too many.
    #[inline]
    pub(crate) fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        let from = self.empty_at.max(now);
        if from.since(now) > rate.every.saturating_mul(rate.burst.saturating_sub(1)) {
            return false;
        }
        self.empty_at = from.after(rate.every);
        true
    }
}

/// A count over a sliding window, from two buckets: exact at the buckets' edges, in between the older one counts in part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sliding {
    /// The number of the newer bucket.
    bucket: u32,
    newer: u16,
    older: u16,
}

impl Sliding {
    pub(crate) fn add(&mut self, amount: u16, window: Duration, now: Timestamp) {
        self.turn(window, now);
        self.newer = self.newer.saturating_add(amount);
    }

    /// How much was added within the window that ends now.
    pub(crate) fn sum(&self, window: Duration, now: Timestamp) -> u32 {
        let mut turned = *self;
        turned.turn(window, now);
        let length = window.as_nanos().max(1);
        let into = u128::from(now.nanos()) % length;
        let older = u128::from(turned.older) * (length - into) / length;
        u32::from(turned.newer) + u32::try_from(older).unwrap_or(u32::MAX)
    }

    fn turn(&mut self, window: Duration, now: Timestamp) {
        let length = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
        // Four thousand million buckets of a second are more than a hundred years.
        let bucket = u32::try_from(now.nanos() / length).unwrap_or(u32::MAX);
        match bucket.wrapping_sub(self.bucket) {
            0 => {}
            1 => (self.older, self.newer) = (self.newer, 0),
            _ => (self.older, self.newer) = (0, 0),
        }
        self.bucket = bucket;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000_800 + seconds)
    }

    #[test]
    fn a_meter_lets_a_burst_through_and_then_the_rate() {
        let rate = Rate { every: Duration::from_secs(6), burst: 10 };
        let mut meter = Meter::default();
        let passed = (0..20).filter(|_| meter.take(rate, at(0))).count();
        assert_eq!(passed, 10);
        assert!(!meter.take(rate, at(5)));
        assert!(meter.take(rate, at(6)));
        assert!(!meter.take(rate, at(6)));
        let passed = (0..600).filter(|second| meter.take(rate, at(1_000 + second))).count();
        assert_eq!(passed, 109);
    }

    #[test]
    fn a_sliding_count_forgets_within_two_windows() {
        let window = Duration::from_secs(3_600);
        let mut count = Sliding::default();
        for minute in 0..60 {
            count.add(1, window, at(minute * 60));
        }
        assert_eq!(count.sum(window, at(3_599)), 60);
        let sums: Vec<u32> =
            [3_600, 5_400, 7_199, 7_200].map(|second| count.sum(window, at(second))).to_vec();
        assert_eq!(sums, [60, 30, 0, 0]);
    }
}
