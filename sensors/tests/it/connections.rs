//! Attacks over TCP: the connection shows who the sender is.

use log_format::event::{Evidence, NoteKind, Rule, Sanction};
use log_format::time::Timestamp;
use sensors::{Engine, Finding, Frame, LinkType, Mode, Policy, Verdict};
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

/// Connections of a client, each opened, used for one text, and closed.
fn connections(count: u32, port: u16, text: &[u8]) -> Vec<Vec<u8>> {
    const FIN: u8 = 0x01;
    let mut packets = Vec::new();
    for number in 0..count {
        let client = (SCANNER.0, 30_000 + u16::try_from(number).unwrap());
        let server = (PBX.0, port);
        let (there, back) = ((client, server), (server, client));
        let end = 101 + u32::try_from(text.len()).unwrap();
        packets.push(packet(there, (100, 0), SYN, &[]));
        packets.push(packet(back, (900, 101), SYN | ACK, &[]));
        packets.push(packet(there, (101, 901), ACK, text));
        packets.push(packet(back, (901, end), ACK | FIN, &[]));
        packets.push(packet(there, (end, 902), ACK | FIN, &[]));
        packets.push(packet(back, (902, end + 1), ACK, &[]));
    }
    packets
}

fn findings(policy: Policy, packets: &[Vec<u8>]) -> Vec<Finding> {
    let mut engine = Engine::new(policy, [7; 16]);
    let mut findings = Vec::new();
    for (packet, number) in packets.iter().zip(1..) {
        let original_length = u32::try_from(packet.len()).unwrap();
        let at = Timestamp::from_seconds(1_000);
        let frame = Frame { at, link: LinkType::RawIp, bytes: packet, original_length, number };
        engine.frame(&frame, &mut findings);
    }
    findings
}

#[test]
fn other_protocols_on_a_sip_port_are_noted_and_can_be_enforced() {
    let packets = connections(5, 5060, b"GET /phpinfo.php HTTP/1.1\r\nHost: x\r\n\r\n");
    let noted = findings(Policy::default(), &packets);
    let [Finding::Note(note)] = &noted[..] else { panic!("{noted:?}") };
    assert_eq!(
        (note.observed.kind, note.observed.rule, note.observed.count),
        (NoteKind::RuleObserved, Some(Rule::NotSip), 3)
    );
    assert_eq!(note.observed.line.as_bytes(), b"GET /phpinfo.php HTTP/1.1");
    let mut strict = Policy::default();
    strict.modes.set(Rule::NotSip, Mode::Enforce);
    let told = findings(strict, &packets);
    assert!(
        matches!(&told[..], [Finding::Attack(verdict)] if verdict.observed.sanction == Sanction::Block),
        "{told:?}"
    );
}

#[test]
fn tls_sessions_in_which_nothing_is_said_are_probes() {
    // A ClientHello, and nothing after it.
    let hello = [&[0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    let told = findings(Policy::default(), &connections(12, 5061, &hello));
    let rules: Vec<_> = told
        .iter()
        .map(|finding| match finding {
            Finding::Attack(verdict) => (verdict.observed.rule, verdict.observed.count),
            Finding::Note(note) => panic!("{note:?}"),
        })
        .collect();
    assert_eq!(rules, [(Rule::TlsSessions, 10)]);

    // Who has used one may see the next ones fail: a certificate ends for a whole office at once.
    let data = [&hello[..], &[0x17, 3, 3, 0, 100], &[7; 100]].concat();
    let packets = [connections(1, 5061, &data), connections(12, 5061, &hello)].concat();
    assert_eq!(findings(Policy::default(), &packets), []);
}

#[test]
fn a_guess_over_websocket_is_a_guess() {
    let client = (SCANNER.0, 41_000);
    let server = (PBX.0, 8088);
    let (there, back) = ((client, server), (server, client));
    let upgrade: &[u8] = b"GET /ws HTTP/1.1\r\nHost: pbx\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let accepted: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
    let options = Request::new("OPTIONS", "sip:100@198.51.100.10")
        .header("Via", "SIP/2.0/WS x.invalid;branch=z9hG4bK-1")
        .header("From", "<sip:100@203.0.113.7>;tag=1")
        .header("To", "<sip:100@198.51.100.10>")
        .header("Call-ID", "1")
        .header("CSeq", "1 OPTIONS")
        .header("User-Agent", "friendly-scanner")
        .build();
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&[1, 2, 3, 4]);
    frame.extend(options.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    let asked = 101 + u32::try_from(upgrade.len()).unwrap();
    let packets = [
        packet(there, (100, 0), SYN, &[]),
        packet(back, (900, 101), SYN | ACK, &[]),
        packet(there, (101, 901), ACK, upgrade),
        packet(back, (901, asked), ACK, accepted),
        packet(there, (asked, 901 + u32::try_from(accepted.len()).unwrap()), ACK, &frame),
    ];
    let told = findings(Policy::default(), &packets);
    let [Finding::Attack(verdict)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (verdict.observed.rule, verdict.observed.evidence),
        (Rule::BlockedUserAgent, Evidence::Proven)
    );
    assert_eq!(verdict.observed.victim_port, 8088);
}
