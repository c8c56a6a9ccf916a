//! Datagrams through the whole engine, by a fixed policy.
//!
//! The bytes are cut into datagrams: of each, a byte says who sends it to whom, two bytes how long it is. So requests, answers to
//! them, retransmissions and proofs all come about. No input may stop the engine, and what it counts stays below what it was shown.

use std::net::Ipv4Addr;

use sensors::{Engine, FilterSize, Finding, Frame, LinkType, Policy, Statistics};

const PBX: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const SIP: u16 = 5060;
/// A filter as small as it gets: it fills, and is made anew for each input.
const NONCES: usize = 64;

/// Shows the datagrams to a fresh engine.
pub(crate) fn run(bytes: &[u8]) {
    let mut engine = Engine::with_filter(Policy::default(), [7; 16], FilterSize::for_nonces(NONCES));
    let mut findings = Vec::new();
    let mut shown = Shown::default();
    let mut rest = bytes;
    while let Some(([who, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (payload, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        rest = after;
        shown.send(&mut engine, *who, payload, &mut findings);
    }
    shown.check(&engine.statistics(), &findings);
}

#[derive(Default)]
struct Shown {
    datagrams: u64,
    nanos: u64,
}

impl Shown {
    /// The lowest bit says in which direction, the next five which client, the highest two how much later than the one before.
    fn send(&mut self, engine: &mut Engine, who: u8, payload: &[u8], findings: &mut Vec<Finding>) {
        let client = Ipv4Addr::new(192, 0, 2, 1 + (who >> 1 & 0x1f));
        let (source, target) = if who & 1 == 0 { (client, PBX) } else { (PBX, client) };
        self.datagrams += 1;
        self.nanos += [1_000_000, 1_000_000_000, 40_000_000_000, 400_000_000_000][usize::from(who >> 6)];
        let bytes = udp(source, target, payload);
        engine.frame(
            &Frame {
                at: log_format::time::Timestamp::from_nanos(self.nanos),
                link: LinkType::RawIp,
                bytes: &bytes,
                original_length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                number: self.datagrams,
            },
            findings,
        );
    }

    /// What the engine says of itself agrees with what it was shown.
    fn check(&self, statistics: &Statistics, findings: &[Finding]) {
        assert_eq!(statistics.packets, self.datagrams);
        assert_eq!(statistics.datagrams, self.datagrams, "every datagram is on a SIP port");
        let Statistics { sip_messages, malformed, not_sip, keepalives, .. } = *statistics;
        assert_eq!(sip_messages + malformed + not_sip + keepalives, self.datagrams, "each is one of four");
        assert!(statistics.sources <= 32, "there are 32 clients");
        assert!(statistics.strikes <= sip_messages && statistics.enumerations <= sip_messages);
        assert!(findings.len() as u64 <= self.datagrams * MOST_FINDINGS, "{} findings", findings.len());
    }
}

/// Findings of one datagram: one for each rule would be many.
const MOST_FINDINGS: u64 = 16;

fn udp(source: Ipv4Addr, target: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = |headers: usize| u16::try_from(payload.len() + headers).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&length(28));
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&target.octets());
    packet.extend_from_slice(&[SIP.to_be_bytes(), SIP.to_be_bytes(), length(8), [0, 0]].concat());
    packet.extend_from_slice(payload);
    packet
}
