//! The nonces a registrar has given out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use log_format::time::Timestamp;

use super::super::dice::Dice;

/// Nonces remembered: half a minute of the fastest guesser known (2,249 a second). The oldest is forgotten first,
/// and then counts as stale, as after a restart.
const NONCES: usize = 65_536;

/// How a nonce in credentials stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Given out and young enough.
    Fresh,
    /// Too old, forgotten, or never given out.
    Stale,
}

/// Fresh nonces with their expiry.
#[derive(Debug)]
pub(super) struct Nonces {
    lifetime: Duration,
    expiry: BTreeMap<String, Timestamp>,
    order: VecDeque<String>,
}

impl Nonces {
    pub(super) const fn new(lifetime: Duration) -> Self {
        Self { lifetime, expiry: BTreeMap::new(), order: VecDeque::new() }
    }

    /// A nonce that nobody had before.
    pub(super) fn give(&mut self, dice: &mut Dice, now: Timestamp) -> String {
        let nonce = dice.hex_32();
        self.expiry.insert(nonce.clone(), now.after(self.lifetime));
        self.order.push_back(nonce.clone());
        if NONCES < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.expiry.remove(&oldest);
        }
        nonce
    }

    pub(super) fn standing(&self, nonce: &str, now: Timestamp) -> Standing {
        match self.expiry.get(nonce) {
            Some(expiry) if now < *expiry => Standing::Fresh,
            Some(_) | None => Standing::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_ages_and_a_stranger_is_stale() {
        let (mut nonces, mut dice) = (Nonces::new(Duration::from_secs(5)), Dice::new(1));
        let start = Timestamp::from_seconds(100);
        let nonce = nonces.give(&mut dice, start);
        assert_ne!(nonce, nonces.give(&mut dice, start));
        assert_eq!(nonces.standing(&nonce, start.after(Duration::from_secs(4))), Standing::Fresh);
        assert_eq!(nonces.standing(&nonce, start.after(Duration::from_secs(5))), Standing::Stale);
        assert_eq!(nonces.standing("stranger", start), Standing::Stale);
    }

    #[test]
    fn the_oldest_is_forgotten_when_the_table_is_full() {
        let (mut nonces, mut dice) = (Nonces::new(Duration::from_secs(5)), Dice::new(1));
        let first = nonces.give(&mut dice, Timestamp::ZERO);
        let second = nonces.give(&mut dice, Timestamp::ZERO);
        for _ in 1..NONCES {
            nonces.give(&mut dice, Timestamp::ZERO);
        }
        assert_eq!(nonces.standing(&first, Timestamp::ZERO), Standing::Stale);
        assert_eq!(nonces.standing(&second, Timestamp::ZERO), Standing::Fresh);
        assert_eq!((nonces.order.len(), nonces.expiry.len()), (NONCES, NONCES));
    }
}
