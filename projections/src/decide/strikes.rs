//! Strikes of the last minute by source, summed over all hosts: nine a minute at each of four hosts are thirty-six.
//!
//! Only [`StrikesCounted`](log_format::event::StrikesCounted) adds strikes. A sensor that tips the rule by
//! itself reports the same strikes here too, so its [`AttackObserved`](log_format::event::AttackObserved)
//! must not add them again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use log_format::event::Evidence;
use log_format::ids::HostId;
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::seen::Seen;
use crate::digest::{Canonical, CanonicalHasher};

/// How long a strike counts.
pub const STRIKE_WINDOW: Duration = Duration::from_secs(60);
/// Sources at most. Proven sources alone cannot be forged, so this many are real machines; of the others
/// those that were quiet longest make room.
pub const MAX_STRIKING_SOURCES: usize = 65_536;

const WINDOW_SECONDS: u64 = STRIKE_WINDOW.as_secs();
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What a source did within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) proven: u32,
    pub(crate) unproven: u32,
    /// Which hosts saw proven strikes.
    witness: Seen<HostId>,
}

impl Tally {
    pub(crate) const NOTHING: Self = Self { proven: 0, unproven: 0, witness: Seen::Nobody };

    /// Strikes that `host` reports.
    pub(crate) fn reported(proven: u32, unproven: u32, host: HostId) -> Self {
        let witness = if proven == 0 { Seen::Nobody } else { Seen::One(host) };
        Self { proven, unproven, witness }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            proven: self.proven.saturating_add(other.proven),
            unproven: self.unproven.saturating_add(other.unproven),
            witness: self.witness.and(other.witness),
        }
    }

    /// The evidence with which these strikes tip a rule of `limit`, if they do. At least half of them must be
    /// proven for proven evidence, so that a forger cannot have an address blocked on a lucky echo; a strike
    /// without proof weighs half.
    pub(crate) fn tips(self, limit: u32) -> Option<Evidence> {
        let weight = u64::from(self.proven) * 2 + u64::from(self.unproven);
        if limit <= self.proven && self.unproven <= self.proven {
            return Some(match self.witness {
                Seen::Nobody | Seen::One(_) => Evidence::Proven,
                Seen::Several => Evidence::Corroborated,
            });
        }
        (u64::from(limit) * 2 <= weight).then_some(Evidence::Unproven)
    }

    pub(crate) fn total(self) -> u32 {
        self.proven.saturating_add(self.unproven)
    }
}

/// Strikes of one second of log time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Bucket {
    second: u64,
    tally: Tally,
}

/// A source's strikes; at most one bucket for each second of the window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Window {
    buckets: VecDeque<Bucket>,
}

impl Window {
    fn tally(&self, second: u64) -> Tally {
        let live = self.buckets.iter().filter(|bucket| counts(bucket.second, second));
        live.fold(Tally::NOTHING, |sum, bucket| sum.and(bucket.tally))
    }

    fn add(&mut self, second: u64, tally: Tally) {
        self.buckets.retain(|bucket| counts(bucket.second, second));
        match self.buckets.back_mut() {
            Some(bucket) if bucket.second == second => bucket.tally = bucket.tally.and(tally),
            Some(_) | None => self.buckets.push_back(Bucket { second, tally }),
        }
    }

    fn last(&self) -> u64 {
        self.buckets.back().map_or(0, |bucket| bucket.second)
    }

    fn is_proven(&self) -> bool {
        self.buckets.iter().any(|bucket| 0 < bucket.tally.proven)
    }
}

/// All sources with strikes that still count.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Strikes {
    sources: BTreeMap<IpAddr, Window>,
    /// Both derived from `sources`: by the second of the last strike.
    weak_ages: BTreeSet<(u64, IpAddr)>,
    proven_ages: BTreeSet<(u64, IpAddr)>,
    /// Sources that found no room or lost theirs while their strikes still counted.
    evicted: u64,
}

impl Strikes {
    /// What a source did within the window that ends at `now`.
    pub(crate) fn tally(&self, source: IpAddr, now: Timestamp) -> Tally {
        self.sources.get(&source).map_or(Tally::NOTHING, |window| window.tally(second_of(now)))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Adds what one report says of each source.
    pub(crate) fn add(&mut self, sums: Vec<(IpAddr, Tally)>, at: Timestamp) {
        let second = second_of(at);
        if !sums.is_empty() {
            self.forget_before(second);
        }
        sums.into_iter().for_each(|(source, tally)| self.add_one(source, tally, second));
    }

    fn add_one(&mut self, source: IpAddr, tally: Tally, second: u64) {
        let Some(window) = self.sources.get_mut(&source) else {
            let mut window = Window::default();
            window.add(second, tally);
            return self.insert(source, window);
        };
        let before = (window.is_proven(), window.last());
        window.add(second, tally);
        let after = (window.is_proven(), window.last());
        // Within a busy second neither changes for most sources.
        if before != after {
            self.ages_of(before.0).remove(&(before.1, source));
            self.ages_of(after.0).insert((after.1, source));
        }
    }

    /// Takes in a source that is new, if it finds room.
    fn insert(&mut self, source: IpAddr, window: Window) {
        if MAX_STRIKING_SOURCES <= self.sources.len() {
            self.evicted = self.evicted.saturating_add(1);
            if self.weak_ages.is_empty() && !window.is_proven() {
                return;
            }
            self.evict();
        }
        self.ages_mut(&window).insert((window.last(), source));
        self.sources.insert(source, window);
    }

    /// Forgets every strike that no longer counts and how many sources were evicted, so that nothing is left of what
    /// happened more than two windows ago.
    pub(crate) fn forget_old(&mut self, now: Timestamp) {
        let second = second_of(now);
        let mut kept = Self::default();
        for (source, mut window) in std::mem::take(&mut self.sources) {
            window.buckets.retain(|bucket| counts(bucket.second, second));
            if !window.buckets.is_empty() {
                kept.ages_mut(&window).insert((window.last(), source));
                kept.sources.insert(source, window);
            }
        }
        *self = kept;
    }

    /// A source's strikes no longer count.
    pub(crate) fn forget(&mut self, source: IpAddr) {
        self.take(source);
    }

    fn take(&mut self, source: IpAddr) -> Option<Window> {
        let window = self.sources.remove(&source)?;
        self.ages_mut(&window).remove(&(window.last(), source));
        Some(window)
    }

    fn forget_before(&mut self, second: u64) {
        let is_past = |ages: &BTreeSet<(u64, IpAddr)>| {
            ages.first().filter(|(last, _)| !counts(*last, second)).map(|(_, source)| *source)
        };
        while let Some(source) = is_past(&self.weak_ages).or_else(|| is_past(&self.proven_ages)) {
            self.take(source);
        }
    }

    fn evict(&mut self) {
        let quietest = self.weak_ages.first().or(self.proven_ages.first()).map(|(_, source)| *source);
        quietest.into_iter().for_each(|source| self.forget(source));
    }

    fn ages_mut(&mut self, window: &Window) -> &mut BTreeSet<(u64, IpAddr)> {
        self.ages_of(window.is_proven())
    }

    fn ages_of(&mut self, is_proven: bool) -> &mut BTreeSet<(u64, IpAddr)> {
        if is_proven { &mut self.proven_ages } else { &mut self.weak_ages }
    }
}

const fn second_of(at: Timestamp) -> u64 {
    at.nanos() / NANOS_PER_SECOND
}

/// Whether a strike of `second` counts at `now`: the window is never longer than a minute, and up to a second
/// shorter.
const fn counts(second: u64, now: u64) -> bool {
    now < second.saturating_add(WINDOW_SECONDS)
}

impl Canonical for Tally {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { proven, unproven, witness } = self;
        proven.put(out);
        unproven.put(out);
        witness.put(out);
    }
}

impl Canonical for Bucket {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { second, tally } = self;
        second.put(out);
        tally.put(out);
    }
}

impl Canonical for Window {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { buckets } = self;
        buckets.put(out);
    }
}

impl Canonical for Strikes {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { sources, weak_ages: _, proven_ages: _, evicted } = self;
        sources.put(out);
        evicted.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn proven(count: u32) -> Tally {
        Tally::reported(count, 0, HostId::new(1))
    }

    fn unproven(count: u32) -> Tally {
        Tally::reported(0, count, HostId::new(1))
    }

    #[test]
    fn a_strike_counts_for_no_longer_than_a_minute() {
        let mut strikes = Strikes::default();
        for second in 0..120_u64 {
            strikes.add(vec![(source(1), proven(1))], Timestamp::from_seconds(1_000 + second));
        }
        let at = |second: u64| strikes.tally(source(1), Timestamp::from_seconds(second)).proven;
        assert_eq!((at(1_119), at(1_149), at(1_178), at(1_179)), (60, 30, 1, 0));
    }

    #[test]
    fn sources_are_bounded_and_proven_ones_stay() {
        let mut strikes = Strikes::default();
        let now = Timestamp::from_seconds(1_000);
        let limit = u32::try_from(MAX_STRIKING_SOURCES).unwrap();
        strikes.add(vec![(source(0), proven(5))], now);
        (1..limit).for_each(|number| strikes.add(vec![(source(number), unproven(5))], now));
        strikes.add(vec![(source(limit), unproven(5))], now);
        strikes.add(vec![(source(limit + 1), proven(5))], now);
        assert_eq!(strikes.sources.len(), MAX_STRIKING_SOURCES);
        assert_eq!(strikes.evicted(), 2);
        assert_eq!(strikes.tally(source(0), now).proven, 5);
        assert_eq!(strikes.tally(source(limit + 1), now).proven, 5);
        let later = Timestamp::from_seconds(1_060);
        strikes.add(vec![(source(7), proven(1))], later);
        assert_eq!(strikes.sources.len(), 1, "what no longer counts is forgotten");
    }

    #[test]
    fn a_weak_source_never_takes_a_proven_ones_place() {
        let mut strikes = Strikes::default();
        let now = Timestamp::from_seconds(1_000);
        let limit = u32::try_from(MAX_STRIKING_SOURCES).unwrap();
        (0..limit).for_each(|number| strikes.add(vec![(source(number), proven(1))], now));
        strikes.add(vec![(source(limit), unproven(1))], now);
        assert_eq!(strikes.tally(source(limit), now), Tally::NOTHING);
        assert_eq!(strikes.evicted(), 1);
    }
}
