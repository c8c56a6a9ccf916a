use proptest::prelude::*;

use super::*;

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(masked | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let Some(mask) = mask else { return [bytes, payload.to_vec()].concat() };
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().enumerate().map(|(place, byte)| byte ^ mask[place % 4]));
    bytes
}

/// Everything that comes out of these pieces.
fn steps<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Step> {
    let mut deframer = Deframer::default();
    let mut steps = Vec::new();
    for mut piece in pieces {
        while let Some(step) = deframer.feed(&mut piece) {
            steps.push(step);
        }
        assert!(piece.is_empty());
        assert!(deframer.held() <= MAX_MESSAGE);
    }
    steps
}

fn message(bytes: &[u8]) -> Step {
    Step::Message(bytes.to_vec())
}

#[test]
fn the_opening_is_read_on_both_sides() {
    let asks = |fields: &str| format!("GET /ws HTTP/1.1\r\nHost: pbx\r\n{fields}\r\n");
    for (fields, expected) in [
        ("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: sip\r\n", Request::Sip),
        ("upgrade:WebSocket\r\nSEC-WEBSOCKET-PROTOCOL: chat, SIP\r\n", Request::Sip),
        ("Upgrade: websocket\r\nSec-WebSocket-Protocol: sipx\r\n", Request::Other),
        ("Upgrade: websocket\r\n", Request::Other),
        ("Sec-WebSocket-Protocol: sip\r\n", Request::Other),
        ("", Request::Other),
    ] {
        assert_eq!(request(asks(fields).as_bytes()), expected, "{fields}");
    }
    for (head, expected) in [
        ("HTTP/1.1 101 Switching\r\nSec-WebSocket-Protocol: sip\r\n\r\n", Some((101, Some(true)))),
        ("HTTP/1.1 101 Switching\r\nSec-WebSocket-Protocol: chat\r\n\r\n", Some((101, Some(false)))),
        ("HTTP/1.0 403 Forbidden\r\n\r\n", Some((403, None))),
        ("HTTP/1.1 4", None),
        ("HTTP/1.1 abc\r\n\r\n", None),
        ("SIP/2.0  200 OK\r\n\r\n", None),
    ] {
        let read = response(head.as_bytes()).map(|Response { status, is_sip }| (status, is_sip));
        assert_eq!(read, expected, "{head}");
    }
    let opens = |status, is_sip, was_asked| Response { status, is_sip }.opens(was_asked);
    assert!(opens(101, Some(true), false) && opens(101, None, true));
    assert!(!opens(101, None, false) && !opens(101, Some(false), true) && !opens(200, Some(true), true));
}

#[test]
fn messages_come_out_masked_or_not_and_of_any_length() {
    let long = [b'x'; 70_000];
    for length in [1, 125, 126, 5_000, 65_535] {
        for mask in [None, Some([1, 2, 3, 4])] {
            let bytes = frame(TEXT, mask, &long[..length]);
            assert_eq!(steps([&bytes[..]]), [message(&long[..length])], "{length} {mask:?}");
        }
    }
    let bytes = [frame(0x82, Some([9; 4]), &long), frame(TEXT, None, b"next")].concat();
    assert_eq!(steps([&bytes[..]]), [message(&long[..MAX_MESSAGE]), message(b"next")]);
}

#[test]
fn a_message_in_pieces_is_one_and_control_frames_come_between() {
    let mask = Some([7, 1, 8, 2]);
    let bytes = [
        frame(0x01, mask, b"REGISTER "),
        frame(PING, mask, b"there?"),
        frame(0x00, mask, b"sip:pbx "),
        frame(0x8a, mask, b""),
        frame(0x80, mask, b"SIP/2.0"),
        frame(TEXT, mask, b""),
        frame(TEXT, mask, b"second"),
        frame(0x88, mask, &[3, 0xe8]),
        b"ignored".to_vec(),
    ]
    .concat();
    let expected = [message(b"REGISTER sip:pbx SIP/2.0"), message(b"second"), Step::Closed];
    assert_eq!(steps([&bytes[..]]), expected);
}

#[test]
fn what_is_no_frame_ends_the_reading() {
    for (why, bytes) in [
        ("http", b"GET / HTTP/1.1\r\n".to_vec()),
        ("reserved bits", frame(0xa1, None, b"a")),
        ("reserved opcode", frame(0x83, None, b"a")),
        ("reserved control opcode", frame(0x8b, None, b"a")),
        ("long control frame", frame(PING, None, &[0; 126])),
        ("control frame in pieces", frame(0x09, None, b"a")),
        ("nothing to continue", frame(0x80, None, b"a")),
        ("two begun", [frame(0x01, None, b"a"), frame(TEXT, None, b"b")].concat()),
        ("a length of 64 bits", [&[TEXT, 127][..], &[0xff; 8]].concat()),
    ] {
        assert_eq!(steps([&bytes[..], &frame(TEXT, None, b"after")]), [Step::Malformed], "{why}");
    }
}

#[test]
fn what_is_compressed_is_left_out() {
    let bytes = [frame(0x41, None, b"zip"), frame(0x80, None, b"ped"), frame(TEXT, None, b"plain")].concat();
    assert_eq!(steps([&bytes[..]]), [message(b"plain")]);
}

proptest! {
    #[test]
    fn random_splits_give_the_same_messages(
        messages in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..300), any::<Option<[u8; 4]>>()), 1..6),
        places in proptest::collection::vec(0_usize..2_000, 0..20),
        middle in 0_usize..300,
    ) {
        let mut bytes = Vec::new();
        for (payload, mask) in &messages {
            let (one, two) = payload.split_at(middle % payload.len());
            bytes.extend(frame(0x01, *mask, one));
            bytes.extend(frame(PING, *mask, b"ping"));
            bytes.extend(frame(0x80, *mask, two));
        }
        let mut ends: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let expected: Vec<Step> = messages.iter().map(|(payload, _)| message(payload)).collect();
        prop_assert_eq!(steps(ends.windows(2).map(|pair| &bytes[pair[0]..pair[1]])), expected);
    }

    #[test]
    fn no_bytes_stop_the_reader(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        place in 0_usize..600,
    ) {
        let whole = steps([&bytes[..]]);
        let (one, two) = bytes.split_at(place.min(bytes.len()));
        prop_assert_eq!(steps([one, two]), whole);
        request(&bytes);
        response(&bytes);
    }
}
