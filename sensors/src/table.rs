//! A table that never grows past its cap: a new key pushes the oldest one out, in constant time.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use crate::keyed::Key;

/// No slot.
const NONE: u32 = u32::MAX;

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// What it holds.
    pub held: usize,
    /// What it can hold.
    pub capacity: usize,
}

/// Keys in order of their last insertion or refreshment. Memory is taken as the table fills and kept.
pub(crate) struct Table<K, V, S = Key> {
    /// Where each key's slot is. The keys are in the slots alone: what is probed stays small.
    places: HashTable<u32>,
    hasher: S,
    slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    /// The slot that was asked for last: one message asks for the same key several times.
    last: u32,
    capacity: usize,
    evicted: u64,
}

struct Slot<K, V> {
    key: K,
    /// `None` only while the slot is free.
    value: Option<V>,
    older: u32,
    newer: u32,
    /// It was used since it came to its place in the order: it may stay once more.
    is_used: bool,
}

impl<K: Copy + Eq + Hash, V, S: BuildHasher> Table<K, V, S> {
    /// An empty table for up to `capacity` keys.
    pub(crate) fn new(capacity: usize, hasher: S) -> Self {
        Self {
            places: HashTable::new(),
            hasher,
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            last: NONE,
            capacity: capacity.clamp(1, NONE as usize - 1),
            evicted: 0,
        }
    }

    /// Keys held.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        Fill { held: self.len(), capacity: self.capacity }
    }

    /// The keys, oldest first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = K> + '_ {
        let first = self.slot(self.oldest);
        std::iter::successors(first, |slot| self.slot(slot.newer)).map(|slot| slot.key)
    }

    /// Keys pushed out because the table was full.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.slot(self.place(key)?)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key)?;
        self.last = place;
        self.slot_mut(place)?.value.as_mut()
    }

    #[inline]
    fn place(&self, key: &K) -> Option<u32> {
        if self.holds(self.last, key) {
            return Some(self.last);
        }
        self.places.find(self.hasher.hash_one(key), |place| self.holds(*place, key)).copied()
    }

    #[inline]
    fn holds(&self, place: u32, key: &K) -> bool {
        self.slot(place).is_some_and(|slot| slot.key == *key && slot.value.is_some())
    }

    /// Puts a key in as the newest, in place of its old value; may push the oldest out.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        self.insert_new(key, value);
    }

    /// Puts a key in that is not there.
    fn insert_new(&mut self, key: K, value: V) {
        if self.slots.capacity() == 0 {
            // Address space, not memory: pages are taken as they are written to, and nothing is ever moved. The places grow as they are
            // needed: a sparse map would cost a miss for each look-up.
            self.slots.reserve_exact(self.capacity);
        }
        if self.places.len() >= self.capacity && self.pop_unused().is_some() {
            self.evicted += 1;
        }
        let slot = Slot { key, value: Some(value), older: NONE, newer: NONE, is_used: false };
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.slot_mut(place) {
                    *free = slot;
                }
                place
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        self.link_newest(place);
        let (hasher, slots) = (&self.hasher, &self.slots);
        self.places.insert_unique(hasher.hash_one(key), place, |place| {
            slots.get(*place as usize).map_or(0, |slot| hasher.hash_one(slot.key))
        });
    }

    /// Makes a key the newest.
    pub(crate) fn refresh(&mut self, key: &K) {
        if let Some(place) = self.place(key)
            && place != self.newest
        {
            self.unlink(place);
            self.link_newest(place);
        }
    }

    /// The value of a key, made if need be. When the table is full, those that were not used for longest make room; a use costs a mark, not
    /// a new place in the order.
    pub(crate) fn entry(&mut self, key: K) -> Option<&mut V>
    where
        V: Default,
    {
        let place = self.place(&key).unwrap_or_else(|| {
            self.insert_new(key, V::default());
            self.newest
        });
        self.last = place;
        let slot = self.slot_mut(place)?;
        slot.is_used = true;
        slot.value.as_mut()
    }

    /// Takes the oldest key out that was not used since it came to its place; those before it become the newest. Each has a mark that is
    /// taken away once, so a round costs no more than the uses that it follows.
    fn pop_unused(&mut self) -> Option<(K, V)> {
        while self.slot(self.oldest).is_some_and(|slot| slot.is_used) {
            let place = self.oldest;
            self.unlink(place);
            self.link_newest(place);
            if let Some(slot) = self.slot_mut(place) {
                slot.is_used = false;
            }
        }
        self.pop_oldest()
    }

    /// The key that has been there longest.
    pub(crate) fn oldest(&self) -> Option<(&K, &V)> {
        let slot = self.slot(self.oldest)?;
        Some((&slot.key, slot.value.as_ref()?))
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let slots = &self.slots;
        let is_held = |place: &u32| slots.get(*place as usize).is_some_and(|slot| slot.key == *key);
        let held = self.places.find_entry(self.hasher.hash_one(key), is_held).ok()?;
        let (place, _) = held.remove();
        self.unlink(place);
        self.free.push(place);
        self.slot_mut(place)?.value.take()
    }

    /// Takes the oldest key out.
    pub(crate) fn pop_oldest(&mut self) -> Option<(K, V)> {
        let key = *self.oldest()?.0;
        self.remove(&key).map(|value| (key, value))
    }

    fn slot(&self, place: u32) -> Option<&Slot<K, V>> {
        self.slots.get(place as usize)
    }

    fn slot_mut(&mut self, place: u32) -> Option<&mut Slot<K, V>> {
        self.slots.get_mut(place as usize)
    }

    fn link_newest(&mut self, place: u32) {
        let second = self.newest;
        if let Some(slot) = self.slot_mut(place) {
            (slot.older, slot.newer) = (second, NONE);
        }
        match self.slot_mut(second) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }

    fn unlink(&mut self, place: u32) {
        let Some((older, newer)) = self.slot(place).map(|slot| (slot.older, slot.newer)) else { return };
        match self.slot_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slot_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8),
        Refresh(u8),
        Remove(u8),
        Pop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..20).prop_map(Step::Insert),
            (0_u8..20).prop_map(Step::Refresh),
            (0_u8..20).prop_map(Step::Remove),
            Just(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_list_in_order(steps in proptest::collection::vec(step(), 0..200)) {
            let mut table = Table::new(8, Key::new([7; 16]));
            let mut list: Vec<(u8, usize)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key) => {
                        table.insert(key, number);
                        list.retain(|(known, _)| *known != key);
                        if list.len() == 8 {
                            list.remove(0);
                        }
                        list.push((key, number));
                    }
                    Step::Refresh(key) => {
                        table.refresh(&key);
                        if let Some(at) = list.iter().position(|(known, _)| *known == key) {
                            let entry = list.remove(at);
                            list.push(entry);
                        }
                    }
                    Step::Remove(key) => {
                        table.remove(&key);
                        list.retain(|(known, _)| *known != key);
                    }
                    Step::Pop => {
                        let expected = (!list.is_empty()).then(|| list.remove(0));
                        prop_assert_eq!(table.pop_oldest(), expected);
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert_eq!(table.oldest().map(|(key, value)| (*key, *value)), list.first().copied());
                for (key, value) in &list {
                    prop_assert_eq!(table.get(key), Some(value));
                }
            }
        }
    }

    #[test]
    fn slots_are_used_again() {
        let mut table = Table::new(4, Key::new([7; 16]));
        for key in 0..1_000_u32 {
            table.insert(key, key);
        }
        assert_eq!((table.len(), table.slots.len(), table.evicted()), (4, 4, 996));
    }
}
