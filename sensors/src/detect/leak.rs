//! The digest-leak rule: a caller who, when the victim hangs up, challenges that BYE to be shown the hash of the victim's password
//! (GHSA-3v3f-99mv-qvj4).
//!
//! Honest peers challenge too, but those are gateways at which the victim itself has succeeded ([`super::protected`]). The victim's BYE
//! went to the peer's address and the challenge echoes its branch, so the peer is where it says.

use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;

use crate::keyed::{Hashed, Key, Purpose};
use crate::table::{Fill, Table};

/// Requests that await an answer.
const CAPACITY: usize = 16_384;
/// How long an answer may take: Timer F (RFC 3261, 17.1.2.2).
const ANSWER: Duration = Duration::from_secs(32);

pub(crate) struct Leaks {
    key: Key,
    sent: Table<u64, Timestamp, Hashed>,
}

impl Leaks {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, sent: Table::new(CAPACITY, Hashed) }
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.sent.fill()
    }

    /// A victim ended a call.
    pub(crate) fn sent(&mut self, victim: IpAddr, peer: IpAddr, branch: &[u8], now: Timestamp) {
        let hash = self.hash(victim, peer, branch);
        if let Some(last) = self.sent.entry(hash) {
            *last = now;
        }
    }

    /// Whether a peer's challenge of such a request is an attempt to have the victim show its hash.
    pub(crate) fn is_leak(&self, victim: IpAddr, peer: IpAddr, branch: &[u8], now: Timestamp) -> bool {
        let sent = self.sent.get(&self.hash(victim, peer, branch));
        sent.is_some_and(|sent| now.since(*sent) < ANSWER)
    }

    fn hash(&self, victim: IpAddr, peer: IpAddr, branch: &[u8]) -> u64 {
        self.key.hash(Purpose::Branch).address(victim).address(peer).bytes(branch).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_the_victims_own_request_is_a_leak() {
        let mut leaks = Leaks::new(Key::new([1; 16]));
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let at = |seconds: u64| Timestamp::from_seconds(1_000_000 + seconds);
        let (victim, peer) = (address(1), address(2));
        leaks.sent(victim, peer, b"z9hG4bK-1", at(10));
        assert!(leaks.is_leak(victim, peer, b"z9hG4bK-1", at(11)));
        assert!(!leaks.is_leak(victim, address(3), b"z9hG4bK-1", at(11)), "was not sent that");
        assert!(!leaks.is_leak(victim, peer, b"z9hG4bK-2", at(11)), "answers nothing that was sent");
        assert!(!leaks.is_leak(victim, peer, b"z9hG4bK-1", at(50)), "too late");
    }
}
