//! Both clocks of the process.
//!
//! The wall clock that the log knows is the system's as it was at the start, carried on by the monotonic clock: a step of
//! the system's clock, by a person or by a time server, must not end blocks early or hold them for longer. It follows the
//! system's clock slowly, so that an ordinary correction is taken over within minutes and a wrong one does little harm
//! before somebody sees the skew that the hosts measure of each other.

#![expect(clippy::disallowed_methods, reason = "this shell reads the clocks")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log_format::time::Timestamp;

use crate::node::Now;

/// Of the time that goes by, the share by which the wall clock may run faster or slower to come closer to the system's: one
/// hundredth, so that a block of an hour is wrong by 36 seconds at most.
const FOLLOW: i128 = 100;

/// The clocks; every clone reads the same.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    started: Instant,
    wall: Arc<Mutex<Wall>>,
}

impl Clocks {
    /// Starts the monotonic one, and trusts the system's for once.
    pub(super) fn start() -> Self {
        let wall = Arc::new(Mutex::new(Wall { read_at: Duration::ZERO, nanos: system_nanos() }));
        Self { started: Instant::now(), wall }
    }

    /// Reads both.
    pub(super) fn now(&self) -> Now {
        // One whole number after the other: a panic elsewhere does not spoil it.
        let mut wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        let monotonic = self.started.elapsed();
        let nanos = wall.read(monotonic, system_nanos());
        Now { wall: Timestamp::from_nanos(u64::try_from(nanos).unwrap_or_default()), monotonic }
    }
}

fn system_nanos() -> i128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or_default()
}

/// The wall clock as it was read last.
#[derive(Debug)]
struct Wall {
    read_at: Duration,
    nanos: i128,
}

impl Wall {
    fn read(&mut self, monotonic: Duration, system: i128) -> i128 {
        let passed = i128::try_from(monotonic.saturating_sub(self.read_at).as_nanos()).unwrap_or_default();
        let carried_on = self.nanos + passed;
        let most = passed / FOLLOW;
        self.read_at = self.read_at.max(monotonic);
        self.nanos = carried_on + (system - carried_on).clamp(-most, most);
        self.nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    /// Reads every tenth of a second for so long; the system's clock stands so far from the true time.
    fn run(wall: &mut Wall, from: u64, seconds: u64, off: i128) -> i128 {
        let mut read = wall.nanos;
        for tenth in 1..=seconds * 10 {
            let monotonic = Duration::from_secs(from) + Duration::from_millis(100 * tenth);
            let truth = i128::try_from(monotonic.as_nanos()).unwrap();
            read = wall.read(monotonic, truth + off);
        }
        read
    }

    #[test]
    fn a_step_of_the_systems_clock_is_followed_slowly() {
        for step in [86_400, -3_600] {
            let mut wall = Wall { read_at: Duration::ZERO, nanos: 0 };
            assert_eq!(run(&mut wall, 0, 60, 0), 60 * SECOND);
            let after = run(&mut wall, 60, 100, step * SECOND);
            assert_eq!(after, (160 + step.signum()) * SECOND, "one second in a hundred");
        }
    }

    #[test]
    fn a_small_correction_is_taken_over_and_the_clock_never_goes_back() {
        let mut wall = Wall { read_at: Duration::ZERO, nanos: 0 };
        let corrected = run(&mut wall, 0, 20, -SECOND / 10);
        assert_eq!(corrected, 20 * SECOND - SECOND / 10);
        // A thread that read the monotonic clock before another came first.
        assert_eq!(wall.read(Duration::from_secs(19), 0), corrected);
    }
}
