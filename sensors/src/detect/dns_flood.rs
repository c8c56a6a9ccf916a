//! The DNS rule: networks that are sent more answers than people and machines want.
//!
//! Over UDP the source of a query is often the victim: a VPS with a resolver answers a forged question with a longer text. So networks are
//! metered, queries and answers each for itself (a tap may show one direction only), and all that follows is fewer answers.

use std::net::IpAddr;

use log_format::time::Timestamp;

use crate::dns::{self, Direction};
use crate::keyed::Key;
use crate::policy::Limits;
use crate::table::{Fill, Table};

use super::meter::Meter;

/// Networks that are held.
const CAPACITY: usize = 16_384;

#[derive(Debug, Clone, Copy, Default)]
struct Network {
    queries: Meter,
    answers: Meter,
    any: Meter,
}

pub(crate) struct DnsFlood {
    networks: Table<u64, Network>,
}

impl DnsFlood {
    pub(crate) fn new(key: Key) -> Self {
        Self { networks: Table::new(CAPACITY, key) }
    }

    /// A datagram to port 53, or from it; `client` is the other side. Says whether it is one too many.
    pub(crate) fn seen(
        &mut self,
        (client, is_answer): (IpAddr, bool),
        payload: &[u8],
        limits: &Limits,
        now: Timestamp,
    ) -> bool {
        let Ok(packet) = dns::parse(payload) else { return false };
        if is_answer != matches!(packet.direction, Direction::Response { .. }) {
            return false;
        }
        let is_any = packet.question.is_some_and(|question| question.is_any());
        let Some(network) = self.networks.entry(network_of(client)) else { return false };
        let meter = if is_answer { &mut network.answers } else { &mut network.queries };
        let is_within = meter.take(limits.dns, now);
        // Of a question and its answer one is metered.
        let is_any_within = is_answer || !is_any || network.any.take(limits.dns_any, now);
        !(is_within && is_any_within)
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.networks.fill()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.networks.evicted()
    }
}

/// The /28 of an IPv4 address, the /56 of an IPv6 address: what one customer has.
fn network_of(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(v4) => u64::from(v4.to_bits() & 0xffff_fff0),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 & !0xff,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A question for a name of `a.example`; kind 1 is A, 255 ANY.
    fn message(kind: u8, is_answer: bool) -> Vec<u8> {
        let flags = if is_answer { 0x80 } else { 0x01 };
        let mut bytes = vec![0, 1, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(b"\x01a\x07example\x00\x00");
        bytes.extend_from_slice(&[kind, 0, 1]);
        bytes
    }

    /// The first of 2,000 datagrams at this many a second that is one too many.
    fn first(kind: u8, is_answer: bool, per_second: u64) -> Option<u64> {
        let mut rule = DnsFlood::new(Key::new([1; 16]));
        let client = "192.0.2.17".parse().unwrap();
        let begin = Timestamp::from_seconds(1_000_000);
        (0..2_000).find(|number| {
            let at = begin.after(Duration::from_nanos(number * 1_000_000_000 / per_second));
            rule.seen((client, is_answer), &message(kind, is_answer), &Limits::default(), at)
        })
    }

    #[test]
    fn floods_are_seen_and_people_are_not() {
        assert_eq!(first(1, false, 19), None);
        assert_eq!(first(1, true, 19), None);
        assert_eq!(first(1, false, 200), Some(111));
        assert_eq!(first(1, true, 200), Some(111));
        assert_eq!(first(255, false, 1), None);
        assert_eq!(first(255, false, 100), Some(10));
    }

    #[test]
    fn a_network_is_metered_as_one() {
        let mut rule = DnsFlood::new(Key::new([1; 16]));
        let at = Timestamp::from_seconds(1_000_000);
        let mut seen = |last: u8| {
            rule.seen((IpAddr::from([192, 0, 2, last]), false), &message(1, false), &Limits::default(), at)
        };
        assert_eq!((0..150_u8).map(|number| number % 16).filter(|last| seen(*last)).count(), 50);
        assert!(!seen(16));
    }
}
