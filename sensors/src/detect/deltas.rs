//! Strikes on their way to the cluster, which adds up what each host sees.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use log_format::event::{Rule, StrikeDelta, StrikesCounted};
use log_format::time::Timestamp;

use super::Strength;
use crate::table::Fill;

/// How long a strike waits before it is told. What is told cannot be taken back, and an honest client whose nonce was too old follows
/// a rejection with a success within a round trip.
const GRACE: Duration = Duration::from_secs(1);
/// Strikes that wait; unproven ones take at most half of the room.
const CAPACITY: usize = 16_384;

/// A strike as the rule sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Struck {
    pub(crate) source: IpAddr,
    pub(crate) account: u64,
    pub(crate) strength: Strength,
}

/// Strikes that wait to be told.
#[derive(Default)]
pub(crate) struct Deltas {
    waiting: VecDeque<Waiting>,
    dropped: u64,
}

struct Waiting {
    at: Timestamp,
    struck: Struck,
    is_cleared: bool,
}

#[derive(Default)]
struct Sum {
    proven: u32,
    /// Unproven strikes count two, weak ones one.
    halves: u32,
}

impl Deltas {
    /// How full they are.
    pub(crate) fn fill(&self) -> Fill {
        Fill { held: self.waiting.len(), capacity: CAPACITY }
    }

    pub(crate) fn push(&mut self, struck: Struck, at: Timestamp) {
        let room = match struck.strength {
            Strength::Proven => CAPACITY,
            Strength::Unproven | Strength::Weak => CAPACITY / 2,
        };
        if self.waiting.len() < room {
            self.waiting.push_back(Waiting { at, struck, is_cleared: false });
        } else {
            self.dropped += 1;
        }
    }

    /// Takes back what is not told yet of an account that succeeded.
    pub(crate) fn clear(&mut self, source: IpAddr, account: u64, now: Timestamp) {
        let recent = self.waiting.iter_mut().rev().take_while(|waiting| now.since(waiting.at) < GRACE);
        for waiting in recent {
            waiting.is_cleared |= waiting.struck.source == source && waiting.struck.account == account;
        }
    }

    /// What waited long enough, summed by source: proven sources first if there are too many, in order of source. Weak strikes are told
    /// in pairs; an odd one stays untold.
    pub(crate) fn drain(&mut self, rule: Rule, now: Timestamp) -> Vec<StrikeDelta> {
        let ripe = self.waiting.partition_point(|waiting| now.since(waiting.at) >= GRACE);
        let mut sums: BTreeMap<IpAddr, Sum> = BTreeMap::new();
        for waiting in self.waiting.drain(..ripe).filter(|waiting| !waiting.is_cleared) {
            let sum = sums.entry(waiting.struck.source).or_default();
            match waiting.struck.strength {
                Strength::Proven => sum.proven += 1,
                Strength::Unproven => sum.halves += 2,
                Strength::Weak => sum.halves += 1,
            }
        }
        let mut deltas: Vec<StrikeDelta> = sums
            .into_iter()
            .map(|(source, sum)| StrikeDelta { source, rule, proven: sum.proven, unproven: sum.halves / 2 })
            .filter(|delta| delta.proven + delta.unproven > 0)
            .collect();
        if deltas.len() > StrikesCounted::MAX_DELTAS {
            deltas.sort_by_key(|delta| std::cmp::Reverse((delta.proven, delta.unproven)));
            let untold = deltas.split_off(StrikesCounted::MAX_DELTAS);
            self.dropped += untold.iter().map(|delta| u64::from(delta.proven + delta.unproven)).sum::<u64>();
            deltas.sort();
        }
        deltas
    }

    /// Strikes that will not be told.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn struck(source: IpAddr, account: u64, strength: Strength) -> Struck {
        Struck { source, account, strength }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn strikes_are_summed_and_told_once_after_the_grace_time() {
        let mut deltas = Deltas::default();
        for strength in
            [Strength::Proven, Strength::Proven, Strength::Unproven, Strength::Weak, Strength::Weak]
        {
            deltas.push(struck(SOURCE, 1, strength), at(10));
        }
        assert_eq!(deltas.drain(Rule::BadRegistrations, at(10)), []);
        let expected = StrikeDelta { source: SOURCE, rule: Rule::BadRegistrations, proven: 2, unproven: 2 };
        assert_eq!(deltas.drain(Rule::BadRegistrations, at(11)), [expected]);
        assert_eq!(deltas.drain(Rule::BadRegistrations, at(12)), []);
    }

    #[test]
    fn what_a_success_cleared_in_time_is_never_told() {
        let mut deltas = Deltas::default();
        deltas.push(struck(SOURCE, 1, Strength::Proven), at(10));
        deltas.push(struck(SOURCE, 2, Strength::Proven), at(10));
        deltas.clear(SOURCE, 1, at(10));
        let told = deltas.drain(Rule::BadRegistrations, at(20));
        assert_eq!(told.iter().map(|delta| delta.proven).sum::<u32>(), 1);
    }

    #[test]
    fn proven_sources_come_first_when_there_are_too_many() {
        let mut deltas = Deltas::default();
        for number in 0..2_000_u32 {
            let source = IpAddr::V4(Ipv4Addr::from_bits(number));
            let strength = if number % 5 == 4 { Strength::Proven } else { Strength::Unproven };
            deltas.push(struck(source, 1, strength), at(10));
        }
        let told = deltas.drain(Rule::BadRegistrations, at(20));
        assert_eq!(told.len(), StrikesCounted::MAX_DELTAS);
        assert_eq!(told.iter().filter(|delta| delta.proven == 1).count(), 400);
        assert!(told.is_sorted());
        assert_eq!(deltas.dropped(), 2_000 - 512);
    }

    #[test]
    fn unproven_strikes_leave_room_for_proven_ones() {
        let mut deltas = Deltas::default();
        for _ in 0..CAPACITY {
            deltas.push(struck(SOURCE, 1, Strength::Unproven), at(10));
        }
        assert_eq!(deltas.dropped(), CAPACITY as u64 / 2);
        deltas.push(struck(SOURCE, 1, Strength::Proven), at(10));
        let told = deltas.drain(Rule::BadRegistrations, at(20));
        assert_eq!((told[0].proven, told[0].unproven), (1, CAPACITY as u32 / 2));
    }
}
