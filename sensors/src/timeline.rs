//! The engine's own time: it follows the frames' clock and never goes back.

use std::time::Duration;

use log_format::time::Timestamp;

/// Frames of several queues or devices arrive this much out of order; more is a clock that was set back.
const REORDERED: Duration = Duration::from_secs(1);

/// Turns the frames' times into times that only grow. When the clock is set back, time stands still for one frame and then goes on
/// from there, so that windows neither freeze for an hour nor forget what they hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timeline {
    now: Timestamp,
    /// The latest time that the frames' clock showed since it was last set back.
    shown: Option<Timestamp>,
}

impl Timeline {
    /// The engine's time at a frame that says `at`.
    #[inline]
    pub(crate) fn advance(&mut self, at: Timestamp) -> Timestamp {
        match self.shown {
            None => {
                self.now = at;
                self.shown = Some(at);
            }
            Some(shown) if at >= shown => {
                self.now = self.now.after(at.since(shown));
                self.shown = Some(at);
            }
            Some(shown) if shown.since(at) > REORDERED => self.shown = Some(at),
            Some(_) => {}
        }
        self.now
    }

    /// The engine's time at the last frame.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// The engine's time when the clock says `at`, between frames.
    pub(crate) fn at(&self, at: Timestamp) -> Timestamp {
        self.shown.map_or(at, |shown| self.now.after(at.since(shown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_only_grows_and_goes_on_after_the_clock_is_set_back() {
        let mut timeline = Timeline::default();
        let seconds = |timeline: &mut Timeline, at: u64| {
            timeline.advance(Timestamp::from_seconds(at)).nanos() / 1_000_000_000
        };
        for (shown, expected) in
            [(1000, 1000), (1010, 1010), (1009, 1010), (1011, 1011), (500, 1011), (505, 1016)]
        {
            assert_eq!(seconds(&mut timeline, shown), expected, "at {shown}");
        }
    }

    #[test]
    fn reordered_frames_do_not_stretch_time() {
        let mut timeline = Timeline::default();
        for nanos in [10, 9, 11, 10, 12, 11] {
            timeline.advance(Timestamp::from_nanos(nanos));
        }
        assert_eq!(timeline.now, Timestamp::from_nanos(12));
    }
}
