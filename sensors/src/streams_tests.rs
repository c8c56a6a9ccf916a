use proptest::prelude::*;

use super::*;

const PHONE: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 40_000);
const PBX: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 10)), 5060);

fn streams() -> Streams {
    Streams::new(Key::new([7; 16]))
}

fn segment(sequence: u32, flags: u8, payload: &[u8]) -> Segment<'_> {
    Segment {
        source: PHONE.0,
        source_port: PHONE.1,
        destination: PBX.0,
        destination_port: PBX.1,
        sequence,
        acknowledged: 0,
        flags,
        payload,
        is_tunnelled: false,
    }
}

/// From the other end.
fn answer(sequence: u32, acknowledged: u32, flags: u8) -> Segment<'static> {
    Segment {
        source: PBX.0,
        source_port: PBX.1,
        destination: PHONE.0,
        destination_port: PHONE.1,
        acknowledged,
        ..segment(sequence, flags, b"")
    }
}

/// A connection that was opened, from the phone's SYN to its first acknowledgement; its data begins at 101, the other end's at 5,001.
fn opening() -> [Segment<'static>; 3] {
    let last = Segment { acknowledged: 5_001, ..segment(101, ACK, b"") };
    [segment(100, SYN, b""), answer(5_000, 101, SYN | ACK), last]
}

fn held(streams: &Streams) -> usize {
    streams.settled_bytes + streams.unsettled_bytes
}

fn connections(streams: &Streams) -> usize {
    streams.settled.len() + streams.unsettled.len()
}

/// The books, counted anew.
fn counted(streams: &mut Streams) -> (usize, usize) {
    let mut count = |is_settled: bool| {
        let table = if is_settled { &mut streams.settled } else { &mut streams.unsettled };
        let mut held = 0;
        for _ in 0..table.len() {
            let (ends, connection) = table.pop_oldest().unwrap();
            assert_eq!(connection.is_settled, is_settled);
            held += connection.held();
            table.insert(ends, connection);
        }
        held
    };
    (count(true), count(false))
}

fn message(number: usize, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("REGISTER sip:pbx SIP/2.0\r\nCSeq: {number} REGISTER\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// What comes out after these segments, in this order.
fn read(streams: &mut Streams, segments: &[Segment<'_>]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for segment in segments {
        streams.add(segment);
        while let Some(message) = streams.next_message(&segment.direction()) {
            messages.push(message.bytes);
        }
    }
    messages
}

fn count(sequence: u32, bytes: &[u8]) -> u32 {
    sequence.wrapping_add(u32::try_from(bytes.len()).unwrap())
}

/// A stream cut at these places.
fn cut<'a>(first: u32, bytes: &'a [u8], places: &[usize]) -> Vec<Segment<'a>> {
    let mut ends: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
    ends.extend([0, bytes.len()]);
    ends.sort_unstable();
    let pieces = ends.windows(2).filter(|pair| pair[0] < pair[1]);
    pieces.map(|pair| segment(count(first, &bytes[..pair[0]]), ACK, &bytes[pair[0]..pair[1]])).collect()
}

#[test]
fn several_messages_share_a_segment_and_one_takes_many() {
    let (one, two, three) = (message(1, ""), message(2, "v=0\r\n"), message(3, ""));
    let all = [&one[..], b"\r\n\r\n", &two, b"\r\n", &three].concat();
    let expected = vec![one, two, three];
    assert_eq!(read(&mut streams(), &cut(1, &all, &[])), expected);
    let every_byte: Vec<usize> = (0..all.len()).collect();
    // The numbers pass zero on the way.
    assert_eq!(read(&mut streams(), &cut(u32::MAX - 20, &all, &every_byte)), expected);
}

#[test]
fn segments_in_any_order_and_twice_give_the_same() {
    let all = [message(1, "one"), message(2, ""), message(3, "three")].concat();
    let opening = segment(99, SYN, b"");
    let mut segments = cut(100, &all, &[30, 70, 90, 140]);
    segments.swap(1, 3);
    segments.push(segments[2]);
    segments.insert(1, segments[4]);
    let mut streams = streams();
    streams.add(&opening);
    assert_eq!(read(&mut streams, &segments).concat(), all);
    assert_eq!(streams.lost(), 0);
}

#[test]
fn what_was_seen_first_holds() {
    let (honest, other) = (message(1, ""), message(9, ""));
    let mut streams = streams();
    let half = honest.len() / 2;
    let segments = [
        segment(100, ACK, &honest[..half]),
        segment(100, ACK, &other[..half]),
        segment(count(100, &honest[..10]), ACK, &honest[10..]),
    ];
    assert_eq!(read(&mut streams, &segments), [honest]);
}

#[test]
fn a_stream_is_picked_up_where_a_message_begins() {
    let rest = b"half a header\r\nContent-Length: 7\r\n\r\nSIP/2.0";
    let (request, response) = (message(1, ""), b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
    for whole in [request, response] {
        let bytes = [&rest[..], b"\r\n", &whole].concat();
        for place in 0..bytes.len() {
            assert_eq!(read(&mut streams(), &cut(5, &bytes, &[place])), [&whole[..]], "{place}");
        }
    }
}

#[test]
fn after_a_gap_the_next_message_is_read() {
    let (lost, next) = (message(1, "never seen whole\r\n"), message(2, ""));
    let bytes = [&lost[..], &next].concat();
    let mut streams = streams();
    let begins = segment(100, ACK, &bytes[..20]);
    // From the middle of the first one on, byte by byte: more pieces than wait for one that is missing.
    let places: Vec<usize> = (0..bytes.len()).collect();
    let behind: Vec<Segment<'_>> = cut(100, &bytes, &places).split_off(30);
    assert_eq!(read(&mut streams, &[begins]), Vec::<Vec<u8>>::new());
    assert_eq!(read(&mut streams, &behind), [next]);
    assert_eq!(streams.lost(), 1);
}

#[test]
fn the_header_of_a_message_that_is_too_long_is_read_and_what_follows_it() {
    let body = "x".repeat(100_000);
    let (long, next) = (message(1, &body), message(2, ""));
    let bytes = [&long[..], &next].concat();
    let places: Vec<usize> = (0..bytes.len()).step_by(1_400).collect();
    let mut streams = streams();
    let messages = read(&mut streams, &cut(1, &bytes, &places));
    assert_eq!(messages, [long[..long.len() - body.len()].to_vec(), next]);
    let endless = vec![b'a'; 200_000];
    let places: Vec<usize> = (0..endless.len()).step_by(1_400).collect();
    let begin = count(1, &bytes);
    assert_eq!(read(&mut streams, &cut(begin, &endless, &places)), Vec::<Vec<u8>>::new());
    assert!(held(&streams) <= 70_000, "{}", held(&streams));
}

#[test]
fn a_sender_is_proven_who_acknowledges_the_victims_syn_or_is_acknowledged() {
    let register = message(1, "");
    let is_proven = |segments: &[Segment<'_>]| {
        let mut streams = streams();
        let mut found = None;
        for segment in segments {
            streams.add(segment);
            found = streams.next_message(&segment.direction()).map(|message| message.is_proven).or(found);
        }
        found.expect("a message")
    };
    let data = Segment { acknowledged: 5_001, ..segment(101, ACK, &register) };
    let opening = [segment(100, SYN, b""), answer(5_000, 101, SYN | ACK)];
    assert!(is_proven(&[opening[0], opening[1], data]));
    // Both sides of it may be forged by one who sends them in a tunnel.
    assert!(!is_proven(
        &[opening[0], opening[1], data].map(|segment| Segment { is_tunnelled: true, ..segment })
    ));
    // Whoever did not hear the victim's SYN cannot know its number.
    assert!(!is_proven(&[opening[0], opening[1], Segment { acknowledged: 77, ..data }]));
    assert!(!is_proven(&[data]));
    // In the middle of a connection: the first message is not proven yet, the second one is.
    let second = segment(count(101, &register), ACK, &register);
    assert!(is_proven(&[data, answer(9, count(101, &register), ACK), second]));
    // A reset acknowledges what anybody sent.
    assert!(!is_proven(&[data, answer(0, count(101, &register), RST | ACK), second]));
}

#[test]
fn a_connection_ends_and_another_begins_on_its_ports() {
    let register = message(1, "");
    let mut streams = streams();
    let first = [segment(1, SYN, b""), segment(2, ACK | FIN, &register)];
    assert_eq!(read(&mut streams, &first), [&register[..]]);
    assert_eq!((connections(&streams), held(&streams)), (0, 0));
    let second = [segment(70_000, SYN, b""), segment(70_001, ACK, &register[..10])];
    assert_eq!(read(&mut streams, &second), Vec::<Vec<u8>>::new());
    streams.add(&segment(70_000, RST, b""));
    assert_eq!(connections(&streams), 1, "not its number");
    streams.add(&segment(70_011, RST, b""));
    assert_eq!((connections(&streams), held(&streams)), (0, 0));
}

#[test]
fn memory_is_bounded() {
    let mut streams = streams();
    let half = &message(1, &"y".repeat(2_000))[..1_400];
    for number in 0..40_000_u32 {
        let source = IpAddr::from(number.to_be_bytes());
        streams.add(&Segment { source, ..segment(1, ACK, half) });
    }
    assert!(streams.unsettled_bytes <= MAX_UNSETTLED_BYTES && streams.unsettled.len() <= MAX_UNSETTLED);
    assert!(0 < streams.lost());
    for number in 0..100_000_u32 {
        streams.add(&Segment { source: IpAddr::from(number.to_be_bytes()), ..segment(1, SYN, b"") });
    }
    assert_eq!(streams.half_open.len(), MAX_HALF_OPEN);
}

#[test]
fn a_flood_from_false_addresses_pushes_no_honest_connection_out() {
    let (first, second) = (message(1, "one"), message(2, "two"));
    let mut streams = streams();
    for segment in opening() {
        streams.add(&segment);
    }
    let data = |sequence, payload| Segment { acknowledged: 5_001, ..segment(sequence, ACK, payload) };
    assert_eq!(read(&mut streams, &[data(101, &first[..20])]), Vec::<Vec<u8>>::new());
    for number in 0..100_000_u32 {
        let source = IpAddr::from(number.to_be_bytes());
        streams.add(&Segment { source, ..segment(number, SYN, b"") });
        streams.add(&Segment { source, ..segment(number, ACK, &second[..30]) });
    }
    let rest = [data(count(101, &first[..20]), &first[20..]), data(count(101, &first), &second)];
    assert_eq!(read(&mut streams, &rest), [first, second]);
    // A new one gets through while the flood lasts: an answer takes no longer than some thousand SYNs.
    let other = |segment| Segment { source_port: 1, ..segment };
    let [syn, answered, last] = opening();
    streams.add(&other(syn));
    for number in 0..20_000_u32 {
        streams.add(&Segment { source: IpAddr::from(number.to_be_bytes()), ..segment(number, SYN, b"") });
    }
    streams.add(&Segment { destination_port: 1, ..answered });
    streams.add(&other(last));
    assert_eq!(streams.settled.len(), 2);
}

/// Opens a connection of this source and port.
fn open(streams: &mut Streams, source: IpAddr, port: u16) {
    let [syn, answered, last] = opening();
    streams.add(&Segment { source, source_port: port, ..syn });
    streams.add(&Segment { destination: source, destination_port: port, ..answered });
    streams.add(&Segment { source, source_port: port, ..last });
}

#[test]
fn a_source_has_its_share_and_no_more() {
    let mut streams = streams();
    for port in 0..2_000 {
        open(&mut streams, PHONE.0, port);
    }
    assert_eq!((streams.settled.len(), streams.unsettled.len()), (1_024, 976));
    open(&mut streams, IpAddr::from([203, 0, 113, 1]), 5);
    assert_eq!(streams.settled.len(), 1_025);
    // What is unsettled is read and proven all the same.
    let register = message(1, "");
    let last = Segment { source_port: 1_999, acknowledged: 5_001, ..segment(101, ACK, &register) };
    streams.add(&last);
    assert!(streams.next_message(&last.direction()).unwrap().is_proven);
    let v6 = |host: u16| "2001:db8::".parse::<Ipv6Addr>().unwrap() | Ipv6Addr::from(u128::from(host));
    for host in 0..2_000 {
        open(&mut streams, v6(host).into(), 9);
    }
    assert_eq!(streams.settled.len(), 1_025 + 1_024, "a /64 is one source");
}

#[test]
fn the_bytes_of_a_source_are_bounded() {
    let mut streams = streams();
    let half = &message(1, &"y".repeat(60_000))[..50_000];
    for port in 0..100 {
        open(&mut streams, PHONE.0, port);
        let data = Segment { source_port: port, acknowledged: 5_001, ..segment(101, ACK, half) };
        assert_eq!(read(&mut streams, &[data]), Vec::<Vec<u8>>::new());
        assert!(streams.settled_bytes <= MAX_BYTES_OF_A_SOURCE);
    }
    assert_eq!(streams.lost(), 90);
    assert_eq!(streams.shares[&PHONE.0].bytes, streams.settled_bytes);
    // Segments that wait for one that never comes are bounded for each stream.
    let mut early = super::tests::streams();
    open(&mut early, PHONE.0, 1);
    for number in 0..40 {
        let data = segment(102 + number * 50_010, ACK, half);
        read(&mut early, &[Segment { source_port: 1, acknowledged: 5_001, ..data }]);
        assert!(held(&early) <= 3 * 65_535, "{}", held(&early));
    }
}

#[test]
fn who_does_not_know_the_numbers_has_no_part_in_a_proven_connection() {
    let (honest, forged) = (message(1, "honest"), message(2, "forged"));
    let mut streams = streams();
    for segment in opening() {
        streams.add(&segment);
    }
    let data = |sequence, payload| Segment { acknowledged: 5_001, ..segment(sequence, ACK, payload) };
    let cut = honest.len() / 2;
    let segments = [
        data(101, &honest[..cut]),
        data(0x8000_0000, &forged),
        Segment { flags: SYN, ..data(0x9000_0000, b"") },
        Segment { flags: SYN, ..data(0x9000_0000, &forged) },
        Segment { flags: FIN | ACK, ..data(0x9000_0000, b"") },
        data(count(101, &honest[..cut]), &honest[cut..]),
    ];
    assert_eq!(read(&mut streams, &segments), [&honest[..]]);
    // The other end has received far more than was seen here: the capture has lost it, and goes on.
    let far = 101 + (1 << 21);
    let next = message(3, "");
    let late = [answer(5_001, 150, ACK), answer(5_001, far, ACK), data(far, &next)];
    assert_eq!(read(&mut streams, &late), [next]);
}

#[test]
fn a_new_connection_on_the_same_ports_takes_the_old_ones_place_once_it_is_answered() {
    let register = message(1, "");
    let mut streams = streams();
    for segment in opening() {
        streams.add(&segment);
    }
    let syn = segment(0x9000_0000, SYN, b"");
    let answered = answer(77, 0x9000_0001, SYN | ACK);
    let data = Segment { acknowledged: 78, ..segment(0x9000_0001, ACK, &register) };
    assert_eq!(read(&mut streams, &[syn, answered, data]), [register]);
    assert_eq!(connections(&streams), 1);
    assert_eq!(streams.shares[&PHONE.0].connections, 1);
}

#[test]
fn an_end_that_comes_early_waits_for_what_is_before_it() {
    let register = message(1, "");
    let (one, two) = register.split_at(20);
    let mut streams = streams();
    for segment in opening() {
        streams.add(&segment);
    }
    let data =
        |sequence, flags, payload| Segment { acknowledged: 5_001, ..segment(sequence, flags, payload) };
    let segments = [data(count(101, one), ACK | FIN, two), data(101, ACK, one)];
    assert_eq!(read(&mut streams, &segments), [&register[..]]);
    assert_eq!(connections(&streams), 1, "the other end may still speak");
    assert_eq!(read(&mut streams, &[answer(5_001, 200, FIN | ACK)]), Vec::<Vec<u8>>::new());
    assert_eq!((connections(&streams), streams.shares.len()), (0, 0));
}

proptest! {
    /// Cuts, repeats and small swaps change nothing, and the bytes are counted right.
    #[test]
    fn random_splits_give_the_same_messages(
        bodies in proptest::collection::vec("[a-z]{0,40}", 1..6),
        places in proptest::collection::vec(0_usize..2_000, 0..20),
        swaps in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        first in any::<u32>(),
    ) {
        let messages: Vec<Vec<u8>> = bodies.iter().enumerate().map(|(number, body)| message(number, body)).collect();
        let all = messages.concat();
        let mut segments = cut(first, &all, &places);
        for swap in swaps {
            let place = swap.index(segments.len());
            segments.push(segments[place]);
            if place + 1 < segments.len() {
                segments.swap(place, place + 1);
            }
        }
        let mut streams = streams();
        streams.add(&segment(first.wrapping_sub(1), SYN, b""));
        prop_assert_eq!(read(&mut streams, &segments), messages);
        let counted = counted(&mut streams);
        prop_assert_eq!((streams.settled_bytes, streams.unsettled_bytes), counted);
    }

    /// Whatever comes, nothing panics and the books are right.
    #[test]
    fn no_segments_confuse_the_books(
        segments in proptest::collection::vec(
            (any::<bool>(), 0_u32..3_000, any::<u8>(), proptest::sample::select(vec![0_usize, 1, 7, 60, 400])),
            0..120,
        ),
    ) {
        let text = [message(1, "abc"), b"\x16\x03\x01junk\r\n\r\n".to_vec(), message(2, "")].concat().repeat(40);
        let mut streams = streams();
        for (is_back, sequence, flags, length) in segments {
            let at = sequence as usize;
            let payload = text.get(at..at + length).unwrap_or_default();
            let forth = segment(sequence, flags, payload);
            let segment = if is_back { Segment { payload, ..answer(sequence, sequence, flags) } } else { forth };
            streams.add(&segment);
            while streams.next_message(&segment.direction()).is_some() {}
            let counted = counted(&mut streams);
            prop_assert_eq!((streams.settled_bytes, streams.unsettled_bytes), counted);
            let shares = streams.shares.values().map(|share| share.bytes).sum::<usize>();
            prop_assert_eq!(shares, streams.settled_bytes);
        }
    }
}
