//! Who was here before: lets a crowded table take in only sources that come a second time.
//!
//! A flood from forged addresses brings each address once. A Bloom filter remembers them at a few bits each, in two generations; an
//! answer that is wrong in one case of a hundred costs a place in a table, and blames nobody.

use std::time::Duration;

use log_format::time::Timestamp;

use super::Subject;
use crate::keyed::{Key, Purpose};

/// How long a generation takes sources in.
const GENERATION: Duration = Duration::from_secs(60);
/// Bits of a generation: 4 MiB; when it is full, one answer in two hundred is wrong.
const BITS: usize = 1 << 25;
/// Bits set for each source.
const HASHES: u32 = 3;
/// Sources after which a generation ends early.
const FULL: usize = 2_000_000;

pub(crate) struct Doorkeeper {
    key: Key,
    /// Empty until the first source comes: an idle host pays nothing.
    current: Vec<u64>,
    previous: Vec<u64>,
    started: Timestamp,
    taken: usize,
}

impl Doorkeeper {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key, current: Vec::new(), previous: Vec::new(), started: Timestamp::ZERO, taken: 0 }
    }

    /// Whether the source was here within the last minutes; it is remembered.
    pub(crate) fn knows(&mut self, subject: Subject, now: Timestamp) -> bool {
        if self.current.is_empty() || GENERATION <= now.since(self.started) || FULL <= self.taken {
            self.turn(now);
        }
        let hash = self.key.hash(Purpose::Source).long(subject.number()).finish();
        let (step, mut place) = ((hash >> 32) | 1, hash);
        let (mut is_new, mut was_known) = (false, true);
        for _ in 0..HASHES {
            let bit = place as usize % BITS;
            let mask = 1_u64 << (bit % 64);
            if let Some(word) = self.current.get_mut(bit / 64) {
                is_new |= *word & mask == 0;
                *word |= mask;
            }
            was_known &= self.previous.get(bit / 64).is_some_and(|word| word & mask != 0);
            place = place.wrapping_add(step);
        }
        self.taken += usize::from(is_new);
        !is_new || was_known
    }

    fn turn(&mut self, now: Timestamp) {
        let is_recent = now.since(self.started) < GENERATION * 2;
        let mut ended = std::mem::take(&mut self.current);
        self.current = std::mem::take(&mut self.previous);
        if self.current.is_empty() {
            self.current = vec![0; BITS / 64];
        } else {
            self.current.fill(0);
        }
        if !is_recent {
            ended.clear();
        }
        self.previous = ended;
        (self.started, self.taken) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(number: u32) -> Subject {
        Subject::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_source_is_known_when_it_comes_again_and_forgotten_after_minutes() {
        let mut doorkeeper = Doorkeeper::new(Key::new([1; 16]));
        let at = Timestamp::from_seconds;
        assert!(!doorkeeper.knows(subject(1), at(1_000)));
        assert!(doorkeeper.knows(subject(1), at(1_000)));
        assert!(doorkeeper.knows(subject(1), at(1_065)), "the generation before is asked too");
        assert!(!doorkeeper.knows(subject(1), at(2_000)));
    }

    #[test]
    fn few_strangers_are_taken_for_known() {
        let mut doorkeeper = Doorkeeper::new(Key::new([1; 16]));
        let at = Timestamp::from_seconds(1_000);
        let wrong = (0..1_000_000).filter(|number| doorkeeper.knows(subject(*number), at)).count();
        assert!(wrong < 1_000_000 / 200, "{wrong}: not even a full generation may err so often");
    }
}
