use proptest::prelude::*;

use super::*;

const REGISTER: &[u8] = b"REGISTER sip:pbx SIP/2.0\r\nContent-Length: 0\r\n\r\n";

fn report() -> Report<'static> {
    Report {
        source: [192, 0, 2, 1].into(),
        source_port: 40_000,
        destination: [198, 51, 100, 10].into(),
        destination_port: 5_061,
        transport: Transport::Tls,
        at: Some(Timestamp::from_nanos(1_700_000_000_123_456_000)),
        agent: 2_001,
        key: b"secret",
        correlation: b"a@b",
        payload: REGISTER,
    }
}

fn chunk(vendor: u16, kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 6).unwrap();
    [&vendor.to_be_bytes()[..], &kind.to_be_bytes(), &length.to_be_bytes(), value].concat()
}

fn datagram(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    let length = u16::try_from(chunks.len() + 6).unwrap();
    [b"HEP3", &length.to_be_bytes()[..], &chunks].concat()
}

/// What `res_hep` of Asterisk sends: addresses behind the numbers, then key, identity and message.
fn like_asterisk() -> Vec<Vec<u8>> {
    vec![
        chunk(0, 1, &[2]),
        chunk(0, 2, &[6]),
        chunk(0, 7, &40_000_u16.to_be_bytes()),
        chunk(0, 8, &5_061_u16.to_be_bytes()),
        chunk(0, 9, &1_700_000_000_u32.to_be_bytes()),
        chunk(0, 10, &7_u32.to_be_bytes()),
        chunk(0, 11, &[1]),
        chunk(0, 12, &9_u32.to_be_bytes()),
        chunk(0, 3, &[192, 0, 2, 1]),
        chunk(0, 4, &[198, 51, 100, 10]),
        chunk(0, 14, b"secret"),
        chunk(0, 17, b"id"),
        chunk(0, 15, REGISTER),
    ]
}

#[test]
fn a_report_of_each_sender_is_read() {
    let bytes = datagram(&like_asterisk());
    let asterisk = parse(&bytes).unwrap();
    assert_eq!((asterisk.transport, asterisk.agent, asterisk.key), (Transport::Tcp, 9, &b"secret"[..]));
    assert_eq!((asterisk.source_port, asterisk.destination_port), (40_000, 5_061));
    assert_eq!(asterisk.at, Some(Timestamp::from_nanos(1_700_000_000_000_007_000)));
    assert_eq!((asterisk.correlation, asterisk.payload), (&b"id"[..], REGISTER));
    // Kamailio says 22 of everything that is encrypted; FreeSWITCH sends no key and no correlation.
    let kamailio = encode(&report()).unwrap();
    assert_eq!(parse(&kamailio).unwrap(), report());
    let freeswitch = Report { key: b"", correlation: b"", transport: Transport::Udp, ..report() };
    assert_eq!(parse(&encode(&freeswitch).unwrap()).unwrap(), freeswitch);
    let v6 = Report {
        source: "2001:db8::1".parse().unwrap(),
        destination: "2001:db8::2".parse().unwrap(),
        ..report()
    };
    assert_eq!(parse(&encode(&v6).unwrap()).unwrap(), v6);
    let mixed = Report { destination: "2001:db8::2".parse().unwrap(), ..report() };
    assert_eq!(parse(&encode(&mixed).unwrap()).unwrap().source, report().source);
    // Other vendors' chunks, unknown ones, and bytes behind the length.
    let mut chunks = like_asterisk();
    chunks.extend([chunk(7, 3, b"any"), chunk(0, 0x99, b"any")]);
    let bytes = [datagram(&chunks), b"behind".to_vec()].concat();
    assert_eq!(parse(&bytes).unwrap().payload, REGISTER);
}

#[test]
fn what_is_wrong_is_said() {
    let without = |kind: u8| {
        let chunks: Vec<_> = like_asterisk().into_iter().filter(|chunk| chunk[3] != kind).collect();
        datagram(&chunks)
    };
    let with = |place: usize, other: Vec<u8>| {
        let mut chunks = like_asterisk();
        chunks[place] = other;
        datagram(&chunks)
    };
    let good = datagram(&like_asterisk());
    let nowhere = [chunk(0, 5, &[0; 16]), chunk(0, 6, &[0; 16])].concat();
    for (bytes, error) in [
        (b"HEP2 and more".to_vec(), ParseError::Version),
        (b"\x02\x10\x02\x06".to_vec(), ParseError::Version),
        (b"HE".to_vec(), ParseError::Short(2)),
        (Vec::new(), ParseError::Short(0)),
        (b"HEP3\0".to_vec(), ParseError::Short(5)),
        (b"HEP3\0\x05".to_vec(), ParseError::Short(6)),
        (good[..good.len() - 1].to_vec(), ParseError::Short(good.len() - 1)),
        (with(0, vec![0; 5]), ParseError::Chunk { kind: 0, at: 6 }),
        (with(1, vec![0, 0, 0, 2, 0, 5, 6]), ParseError::Chunk { kind: 2, at: 13 }),
        (with(12, vec![0, 0, 0, 15, 0xff, 0xff]), ParseError::Chunk { kind: 15, at: 113 }),
        (with(12, vec![0, 0, 0, 15]), ParseError::Short(117)),
        (with(1, chunk(0, 2, &[6, 6])), ParseError::Chunk { kind: 2, at: 13 }),
        (with(8, chunk(0, 3, &[1, 2, 3])), ParseError::Chunk { kind: 3, at: 73 }),
        (without(2), ParseError::Missing(2)),
        (without(3), ParseError::Missing(3)),
        (without(4), ParseError::Missing(4)),
        (without(7), ParseError::Missing(7)),
        (without(8), ParseError::Missing(8)),
        (without(11), ParseError::Missing(11)),
        (without(15), ParseError::Missing(15)),
        (with(6, chunk(0, 11, &[5])), ParseError::NotSip(5)),
        (with(12, chunk(0, 16, b"zip")), ParseError::Compressed),
        (with(9, nowhere), ParseError::Address),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{}", bytes.escape_ascii());
    }
    let long = vec![b'x'; 65_500];
    assert_eq!(encode(&Report { payload: &long, ..report() }), None);
}

#[test]
fn a_connection_proves_its_sender() {
    for (number, is_connection) in [(17, false), (6, true), (22, true), (132, true), (0, false)] {
        let transport = Transport::from_number(number);
        assert_eq!((transport.is_connection(), transport.number()), (is_connection, number));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        source in any::<IpAddr>(),
        destination in any::<IpAddr>(),
        ports in any::<(u16, u16)>(),
        number in any::<u8>(),
        at in proptest::option::of((any::<u32>(), 0_u32..1_000_000)),
        agent in any::<u32>(),
        texts in any::<[Vec<u8>; 3]>(),
    ) {
        let [key, correlation, payload] = &texts;
        let (source, destination) = (source.to_canonical(), destination.to_canonical());
        prop_assume!(!source.is_unspecified() || !destination.is_unspecified());
        let at = at.map(|(seconds, micros)| {
            Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000 + u64::from(micros) * 1_000)
        });
        let (source_port, destination_port) = ports;
        let transport = Transport::from_number(number);
        let report = Report {
            source, source_port, destination, destination_port, transport, at, agent, key, correlation, payload,
        };
        let bytes = encode(&report).unwrap();
        prop_assert_eq!(parse(&bytes), Ok(report));
    }

    #[test]
    fn no_datagram_stops_the_reader(
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
        junk in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = datagram(&like_asterisk());
        let length = bytes.len();
        bytes[place.index(length)] = byte;
        let _ = parse(&bytes);
        let _ = parse(&bytes[..cut.index(length)]);
        let _ = parse(&[b"HEP3\0\xff", &junk[..]].concat());
    }
}
