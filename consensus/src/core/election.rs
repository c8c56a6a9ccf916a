//! Election timeouts that come from a seed.
//!
//! Raft 0.7 draws them from the thread's own randomness, so two runs with the same inputs would differ. After every step and
//! tick its choice is replaced by ours, which changes only at moments that the inputs determine: when the term, the role or the
//! known leader changed, and when a timeout ran out.

use raft::{Raft, SoftState, StateRole};

use super::log::Log;

pub(super) struct ElectionClock {
    random: SplitMix64,
    seen: (u64, SoftState),
    timeout: usize,
    min: usize,
    max: usize,
}

impl ElectionClock {
    /// Timeouts of `min..max` ticks.
    pub(super) fn new(seed: u64, min: usize, max: usize) -> Self {
        let mut clock =
            Self { random: SplitMix64::new(seed), seen: (0, SoftState::default()), timeout: min, min, max };
        clock.draw();
        clock
    }

    /// To be called after whatever may have changed raft's state.
    pub(super) fn pin(&mut self, raft: &mut Raft<Log>) {
        let now = (raft.term, raft.soft_state());
        if self.seen != now {
            self.seen = now;
            self.draw();
        }
        if raft.randomized_election_timeout() != self.timeout {
            raft.set_randomized_election_timeout(self.timeout);
        }
    }

    /// To be called after a tick, in place of [`Self::pin`].
    pub(super) fn pin_after_tick(&mut self, raft: &mut Raft<Log>) {
        // A lost election leaves term and role as they were: without a new draw two hosts could collide for ever.
        if raft.state != StateRole::Leader && raft.election_elapsed == 0 {
            self.draw();
        }
        self.pin(raft);
    }

    /// Whether term, role or leader changed since [`Self::pin`].
    pub(super) fn role_changed(&self, raft: &Raft<Log>) -> bool {
        self.seen != (raft.term, raft.soft_state())
    }

    fn draw(&mut self) {
        let span = (self.max - self.min).max(1) as u64;
        let drawn = self.random.next() % span;
        self.timeout = self.min + usize::try_from(drawn).unwrap_or(0);
    }
}

/// Sebastiano Vigna's SplitMix64: small, and good enough to spread timeouts.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator of one of several that are numbered. Also where the seeds are the numbers, or one seed is everybody's,
    /// no two are alike: the seed is mixed before the number comes to it.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let mixed = Self::new(seed).next();
        Self::new(Self::new(mixed ^ number).next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hosts_whose_seeds_are_their_numbers_and_hosts_with_one_seed_draw_differently() {
        let draws = |seed: &dyn Fn(u64) -> u64| -> BTreeSet<Vec<usize>> {
            let first_ones = (1..=31).map(|host| {
                let mut clock = ElectionClock::new(SplitMix64::of(seed(host), host).next(), 10, 20);
                let mut draw = || {
                    clock.draw();
                    clock.timeout
                };
                (0..8).map(|_| draw()).collect()
            });
            first_ones.collect()
        };
        assert_eq!(draws(&|host| host).len(), 31);
        assert_eq!(draws(&|host| host ^ 7).len(), 31);
        assert_eq!(draws(&|_| 7).len(), 31);
    }
}
