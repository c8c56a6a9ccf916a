//! What streams carry beside SIP over TCP.

use proptest::prelude::*;

use super::*;

const PHONE: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 40_000);
const ASKS: &[u8] = b"GET /ws HTTP/1.1\r\nHost: pbx\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
const GRANTS: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

/// A proven connection to this port, and what it has said.
struct Talk {
    streams: Streams,
    port: u16,
    numbers: [u32; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client = 0,
    Server = 1,
}
use Speaker::{Client, Server};

impl Talk {
    fn new(port: u16) -> Self {
        let mut streams = Streams::new(Key::new([7; 16]));
        streams.set_websocket_ports(vec![PortRange { first: 8_080, last: 8_089 }]);
        let mut talk = Self { streams, port, numbers: [101, 5_001] };
        for (from, back, flags) in [(Client, 0, SYN), (Server, 0, SYN | ACK), (Client, 1, ACK)] {
            talk.numbers[from as usize] -= 1 - back;
            let segment = talk.segment(from, flags, b"");
            talk.numbers[from as usize] += 1 - back;
            talk.streams.add(&segment);
        }
        assert_eq!(talk.streams.settled.len(), 1);
        talk
    }

    fn segment<'a>(&self, from: Speaker, flags: u8, payload: &'a [u8]) -> Segment<'a> {
        let server = (IpAddr::from([198, 51, 100, 10]), self.port);
        let (one, other) = if from == Client { (PHONE, server) } else { (server, PHONE) };
        Segment {
            source: one.0,
            source_port: one.1,
            destination: other.0,
            destination_port: other.1,
            sequence: self.numbers[from as usize],
            acknowledged: self.numbers[1 - from as usize],
            flags,
            payload,
            is_tunnelled: false,
        }
    }

    fn flagged(&mut self, from: Speaker, flags: u8, payload: &[u8]) -> Vec<StreamItem> {
        let segment = self.segment(from, flags, payload);
        self.numbers[from as usize] += length_of(payload) + u32::from(flags & FIN);
        self.streams.add(&segment);
        std::iter::from_fn(|| self.streams.next_item(&segment.direction())).collect()
    }

    fn say(&mut self, from: Speaker, payload: &[u8]) -> Vec<StreamItem> {
        self.flagged(from, ACK, payload)
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0xfe].into_iter().chain(length).chain(mask).chain(masked).collect()
}

fn over(transport: Transport, bytes: &[u8]) -> StreamItem {
    StreamItem::Message { bytes: bytes.to_vec(), is_proven: true, transport }
}

fn not_sip(line: &[u8]) -> StreamItem {
    StreamItem::NotSip { line: line.to_vec(), is_proven: true }
}

const REGISTER: &[u8] = b"REGISTER sip:pbx SIP/2.0\r\nContent-Length: 0\r\n\r\n";
const CHALLENGE: &[u8] = b"SIP/2.0 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

#[test]
fn sip_over_websocket_is_read_in_both_directions_on_any_port() {
    for port in [5_060, 8_088] {
        let mut talk = Talk::new(port);
        assert_eq!(talk.say(Client, ASKS), []);
        assert_eq!(talk.say(Server, &[GRANTS, &[0x89, 0]].concat()), []);
        let twice = [frame(REGISTER), vec![0x8a, 0x80, 1, 2, 3, 4], frame(REGISTER)].concat();
        let (one, two) = twice.split_at(30);
        assert_eq!(talk.say(Client, one), []);
        let register = over(Transport::WebSocket, REGISTER);
        assert_eq!(talk.say(Client, two), [register.clone(), register]);
        let length = u8::try_from(CHALLENGE.len()).unwrap();
        let answer = [&[0x82, length][..], CHALLENGE].concat();
        assert_eq!(talk.say(Server, &answer), [over(Transport::WebSocket, CHALLENGE)]);
        assert_eq!(talk.streams.settled_bytes, 0);
        // What is no frame ends the reading, and is no accusation.
        assert_eq!(talk.say(Client, REGISTER), []);
        assert_eq!(talk.say(Client, &frame(REGISTER)), []);
    }
}

#[test]
fn a_refused_upgrade_is_told_and_may_be_asked_for_again() {
    for refusal in ["HTTP/1.1 403 Forbidden\r\n", "HTTP/1.1 101 Other\r\nSec-WebSocket-Protocol: chat\r\n"] {
        let status = refusal[9..12].parse().unwrap();
        let refusal = format!("{refusal}Content-Length: 4\r\n\r\nnope");
        let mut talk = Talk::new(5_060);
        assert_eq!(talk.say(Client, ASKS), []);
        let refused = StreamItem::UpgradeRefused { status, is_proven: true };
        assert_eq!(talk.say(Server, refusal.as_bytes()), [refused]);
        assert_eq!(talk.say(Client, ASKS), []);
        assert_eq!(talk.say(Server, &[b"HTTP/1.1 100 Continue\r\n\r\n", GRANTS].concat()), []);
        assert_eq!(talk.say(Client, &frame(REGISTER)), [over(Transport::WebSocket, REGISTER)]);
    }
}

#[test]
fn what_is_not_sip_is_told_once_and_only_of_the_client_on_a_sip_port() {
    let long = [b"x".repeat(5_000), b"\r\n".to_vec()].concat();
    let other = String::from_utf8(ASKS.to_vec()).unwrap().replace("Protocol: sip", "Protocol: chat");
    for (bytes, line) in [
        (&b"GET /phpinfo.php HTTP/1.1\r\nHost: a\r\n\r\n"[..], &b"GET /phpinfo.php HTTP/1.1"[..]),
        (other.as_bytes(), b"GET /ws HTTP/1.1"),
        (b"SSH-2.0-Go\r\n", b"SSH-2.0-Go"),
        (b"\r\n\r\nEHLO a\r\n", b"EHLO a"),
        (b"\x03\0\0\x13\x0e\xe0\0\0", b"\x03\0\0\x13\x0e\xe0\0\0"),
        (&long, &long[..128]),
    ] {
        let mut talk = Talk::new(5_060);
        assert_eq!(talk.say(Client, bytes), [not_sip(line)], "{}", bytes.escape_ascii());
        assert_eq!(talk.say(Client, bytes), []);
        assert_eq!(talk.say(Server, b"HTTP/1.1 400 Bad Request\r\n\r\n"), []);
        let next = [b"\r\n", REGISTER].concat();
        assert_eq!(talk.say(Client, &next), [over(Transport::Tcp, REGISTER)], "and goes on");
        assert_eq!(Talk::new(8_080).say(Client, bytes), []);
        assert_eq!(Talk::new(5_060).say(Server, bytes), []);
    }
    // An end, where a line would go on.
    let mut talk = Talk::new(5_060);
    assert_eq!(talk.say(Client, b"HELP"), []);
    assert_eq!(talk.flagged(Client, FIN | ACK, b""), [not_sip(b"HELP")]);
    // Keepalives, and a message that is merely wrong, are not.
    for bytes in
        [&b"\r\n\r\n"[..], b"INVITE sip:a SIP/7.0\r\n", b"invite sip:a sip/2.0\r\n", b"REGISTER sip:a"]
    {
        assert_eq!(Talk::new(5_060).say(Client, bytes), []);
    }
    assert_eq!(Talk::new(5_060).flagged(Client, FIN | ACK, b"\r\n"), []);
}

#[test]
fn a_stream_that_is_picked_up_in_the_middle_accuses_nobody() {
    let mut talk = Talk::new(5_060);
    talk.port = 5_062;
    for bytes in [&b"n the middle\r\nVia: a\r\n\r\n"[..], b"\x17\x03\x03", b"PUT / HTTP/1.1\r\n\r\n"] {
        assert_eq!(talk.say(Client, bytes), []);
    }
    let items = talk.say(Client, REGISTER);
    assert!(matches!(&items[..], [StreamItem::Message { bytes, is_proven: false, .. }] if bytes == REGISTER));
    // Frames begin segments.
    talk.port = 8_081;
    let items = talk.say(Client, &frame(REGISTER));
    let is_frame =
        |item: &StreamItem| matches!(item, StreamItem::Message { transport: Transport::WebSocket, .. });
    assert!(items.len() == 1 && is_frame(&items[0]), "{items:?}");
}

fn record(kind: u8, first: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [&[kind, 3, 3, high, low, first][..], &vec![0; usize::from(length) - 1]].concat()
}

#[test]
fn a_tls_session_is_told_when_it_begins_and_when_it_ends() {
    let hello = record(22, 1, 300);
    let begins = StreamItem::TlsClientHello { is_proven: true };
    let ended = |has_data, has_failed| {
        let server = (IpAddr::from([198, 51, 100, 10]), 5_061);
        StreamItem::TlsEnded(TlsEnded { client: PHONE, server, is_proven: true, has_data, has_failed })
    };
    let opened = || {
        let mut talk = Talk::new(5_061);
        let (one, two) = hello.split_at(4);
        assert_eq!(talk.say(Client, one), []);
        assert_eq!(talk.say(Client, two), std::slice::from_ref(&begins));
        talk
    };
    // Used, and closed by both ends.
    let mut talk = opened();
    assert_eq!(talk.say(Server, &[record(22, 2, 90), record(23, 7, 2_000)].concat()), []);
    assert_eq!(talk.say(Client, &[record(20, 1, 1), record(23, 9, 53), record(23, 8, 600)].concat()), []);
    assert_eq!(talk.streams.settled_bytes, 0);
    assert_eq!(talk.flagged(Client, FIN | ACK, b""), [ended(true, false)]);
    assert_eq!(talk.flagged(Server, FIN | ACK, b""), []);
    assert_eq!(talk.streams.settled.len(), 0);
    // Only opened, and reset by the client.
    assert_eq!(opened().flagged(Client, RST, b""), [ended(false, false)]);
    // Given up by the server.
    let mut talk = opened();
    assert_eq!(talk.flagged(Server, FIN | ACK, &record(21, 2, 2)), [ended(false, true)]);
    assert_eq!(talk.flagged(Client, RST, b""), []);
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(REGISTER.to_vec()),
        Just(CHALLENGE.to_vec()),
        Just(ASKS.to_vec()),
        Just(GRANTS.to_vec()),
        Just(frame(REGISTER)),
        Just(record(22, 1, 100)),
        Just(b"\r\n".to_vec()),
        Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        "[A-Z ]{0,9}SIP/2.0\r\n(Content-Length: [0-9]{1,3}\r\n)?\r\n?".prop_map(String::into_bytes),
    ]
}

proptest! {
    /// However a stream is cut, what comes out of it is the same; only how much of a line that is no text had come may differ.
    #[test]
    fn random_splits_give_the_same_items(
        pieces in proptest::collection::vec(piece(), 0..8),
        places in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        is_server in any::<bool>(),
        is_web in any::<bool>(),
    ) {
        let bytes = pieces.concat();
        let mut ends: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let from = if is_server { Server } else { Client };
        let talk = || Talk::new(if is_web { 8_080 } else { 5_060 });
        let (mut whole, mut split) = (talk(), talk());
        let expected = [whole.say(from, &bytes), whole.flagged(from, FIN | ACK, b"")].concat();
        let mut items = Vec::new();
        for pair in ends.windows(2) {
            items.extend(split.say(from, &bytes[pair[0]..pair[1]]));
        }
        items.extend(split.flagged(from, FIN | ACK, b""));
        let told = |mut items: Vec<StreamItem>| {
            for item in &mut items {
                if let StreamItem::NotSip { line, .. } = item {
                    line.clear();
                }
            }
            items
        };
        prop_assert_eq!(told(items), told(expected));
    }
}
