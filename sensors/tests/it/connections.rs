//! Attacks over TCP: the connection shows who the sender is.

use log_format::event::{Evidence, Sanction};
use log_format::time::Timestamp;
use sensors::{Engine, Finding, Frame, LinkType, Policy, Verdict};
use sip::builder::Request;

const SCANNER: ([u8; 4], u16) = ([203, 0, 113, 7], 40_000);
const PBX: ([u8; 4], u16) = ([198, 51, 100, 10], 5060);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// An IPv4 packet with a TCP segment.
fn packet(
    (from, to): (([u8; 4], u16), ([u8; 4], u16)),
    (sequence, acknowledged): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
    bytes.extend_from_slice(&[from.0, to.0].concat());
    bytes.extend_from_slice(&[from.1.to_be_bytes(), to.1.to_be_bytes()].concat());
    bytes.extend_from_slice(&[sequence.to_be_bytes(), acknowledged.to_be_bytes()].concat());
    bytes.extend_from_slice(&[0x50, flags, 1, 1, 0, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

fn verdicts(packets: &[Vec<u8>]) -> Vec<Verdict> {
    let mut engine = Engine::new(Policy::default(), [7; 16]);
    let mut findings = Vec::new();
    for (packet, number) in packets.iter().zip(1..) {
        let original_length = u32::try_from(packet.len()).unwrap();
        let at = Timestamp::from_seconds(1_000);
        engine.frame(
            &Frame { at, link: LinkType::RawIp, bytes: packet, original_length, number },
            &mut findings,
        );
    }
    findings
        .into_iter()
        .filter_map(|finding| match finding {
            Finding::Attack(verdict) => Some(verdict),
            Finding::Note(_) => None,
        })
        .collect()
}

#[test]
fn a_blocked_agent_in_a_connection_is_proven_and_in_a_forged_segment_is_not() {
    let options = Request::new("OPTIONS", "sip:100@198.51.100.10")
        .header("Via", "SIP/2.0/TCP 203.0.113.7:40000;branch=z9hG4bK-1")
        .header("From", "<sip:100@203.0.113.7>;tag=1")
        .header("To", "<sip:100@198.51.100.10>")
        .header("Call-ID", "1@203.0.113.7")
        .header("CSeq", "1 OPTIONS")
        .header("User-Agent", "friendly-scanner")
        .build();
    let (head, tail) = options.split_at(100);
    let (there, back) = ((SCANNER, PBX), (PBX, SCANNER));
    let opening = [packet(there, (100, 0), SYN, b""), packet(back, (9_000, 101), SYN | ACK, b"")];
    let data = |acknowledged| {
        [packet(there, (101, acknowledged), ACK, head), packet(there, (201, acknowledged), ACK, tail)]
    };
    let connected = verdicts(&[&opening[..], &data(9_001)].concat());
    let forged = verdicts(&[&opening[..], &data(1)].concat());
    let judged = |verdicts: &[Verdict]| {
        let [verdict] = verdicts else { panic!("{verdicts:?}") };
        (verdict.packet, verdict.observed.evidence, verdict.observed.sanction, verdict.seconds)
    };
    assert_eq!(judged(&connected), (4, Evidence::Proven, Sanction::Block, 3_600));
    assert_eq!(judged(&forged), (4, Evidence::Unproven, Sanction::SoftBlock, 300));
}
