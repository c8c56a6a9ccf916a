//! What is remembered of things for a time, and of a bounded number of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::{Canonical, CanonicalHasher};

/// For how long, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) kept_for: Duration,
    pub(crate) most: usize,
}

/// A value for each key, with the time at which it was given. The oldest makes room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Aged<K: Ord, V> {
    entries: BTreeMap<K, (Timestamp, V)>,
    /// Derived from `entries`.
    ages: BTreeSet<(Timestamp, K)>,
}

impl<K: Ord, V> Default for Aged<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), ages: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, V> Aged<K, V> {
    /// What was given last, and when, if that is still remembered at `now`.
    pub(crate) fn get(&self, key: &K, bound: Bound, now: Timestamp) -> Option<(Timestamp, &V)> {
        let (at, value) = self.entries.get(key)?;
        (now < at.after(bound.kept_for)).then_some((*at, value))
    }

    /// Remembers a value, and forgets what is too old or too much.
    pub(crate) fn insert(&mut self, key: K, value: V, bound: Bound, at: Timestamp) {
        if let Some((before, _)) = self.entries.insert(key, (at, value)) {
            self.ages.remove(&(before, key));
        }
        self.ages.insert((at, key));
        while let Some((oldest, key)) = self.ages.first().copied() {
            if at < oldest.after(bound.kept_for) && self.entries.len() <= bound.most {
                break;
            }
            self.ages.remove(&(oldest, key));
            self.entries.remove(&key);
        }
    }

    /// Forgets the values of these keys.
    pub(crate) fn forget(&mut self, keys: RangeInclusive<K>) {
        let gone: Vec<(Timestamp, K)> = self.entries.range(keys).map(|(key, (at, _))| (*at, *key)).collect();
        for (at, key) in gone {
            self.ages.remove(&(at, key));
            self.entries.remove(&key);
        }
    }
}

impl<K: Ord + Canonical, V: Canonical> Canonical for Aged<K, V> {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { entries, ages: _ } = self;
        entries.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { kept_for: Duration::from_secs(10), most: 2 };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn values_are_forgotten_when_they_are_old_or_too_many() {
        let mut aged = Aged::default();
        aged.insert(1, 'a', BOUND, at(100));
        aged.insert(2, 'b', BOUND, at(101));
        aged.insert(1, 'c', BOUND, at(102));
        assert_eq!(aged.get(&1, BOUND, at(111)), Some((at(102), &'c')));
        assert_eq!(aged.get(&2, BOUND, at(111)), None, "it is over");
        aged.insert(3, 'd', BOUND, at(103));
        assert_eq!(aged.get(&2, BOUND, at(103)), None, "the oldest makes room");
        aged.forget(1..=2);
        assert_eq!((aged.entries.len(), aged.ages.len()), (1, 1));
        aged.insert(4, 'e', BOUND, at(200));
        assert_eq!((aged.entries.len(), aged.ages.len()), (1, 1));
    }
}
