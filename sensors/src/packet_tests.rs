use log_format::time::Timestamp;

use super::*;

const MACS: [u8; 12] = [2; 12];

fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let mut bytes = vec![0x30, 0x39, 0x13, 0xc4];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

fn ipv4(protocol: u8, flags: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 20).unwrap().to_be_bytes();
    let mut bytes = vec![0x45, 0, length[0], length[1], 0, 1, flags[0], flags[1], 64, protocol, 0, 0];
    bytes.extend_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend_from_slice(payload);
    bytes
}

fn ipv6_packet(next: u8, source: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    bytes.extend_from_slice(&source.octets());
    bytes.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
    bytes.extend_from_slice(payload);
    bytes
}

fn tagged(tags: &[u8], ip: &[u8]) -> Vec<u8> {
    [&MACS[..], tags, ip].concat()
}

fn decode_bytes(link: LinkType, bytes: &[u8]) -> Packet<'_> {
    let original_length = u32::try_from(bytes.len()).unwrap();
    decode(&Frame { at: Timestamp::ZERO, link, bytes, original_length, number: 1 })
}

fn expected(source: &str, payload: &'static [u8]) -> Packet<'static> {
    let source: IpAddr = source.parse().unwrap();
    let destination = if source.is_ipv4() { "192.0.2.2" } else { "::1" };
    Packet::Udp(Datagram {
        source,
        source_port: 12345,
        destination: destination.parse().unwrap(),
        destination_port: 5060,
        payload,
    })
}

#[test]
fn every_link_type_leads_to_the_datagram() {
    let ip = ipv4(17, [0x40, 0], &udp(b"hello"));
    let cooked = [&[0_u8; 14][..], &[8, 0]].concat();
    let cooked_2 = [&[8_u8, 0][..], &[0; 18]].concat();
    for (link, header) in [
        (LinkType::Ethernet, [&MACS[..], &[8, 0]].concat()),
        (LinkType::Ethernet, [&MACS[..], &[0x81, 0, 0xa0, 100, 8, 0]].concat()),
        (LinkType::Ethernet, [&MACS[..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x91, 0, 0, 3, 8, 0]].concat()),
        (LinkType::Ethernet, [&MACS[..], &[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64]].concat()),
        (LinkType::LinuxCooked, cooked),
        (LinkType::LinuxCooked2, cooked_2),
        (LinkType::RawIp, Vec::new()),
        (LinkType::Loopback, vec![2, 0, 0, 0]),
    ] {
        let bytes = [&header[..], &ip].concat();
        assert_eq!(decode_bytes(link, &bytes), expected("192.0.2.1", b"hello"), "{link:?} {header:?}");
    }
    for (number, link) in [
        (1, LinkType::Ethernet),
        (12, LinkType::RawIp),
        (14, LinkType::RawIp),
        (101, LinkType::RawIp),
        (228, LinkType::RawIp),
        (229, LinkType::RawIp),
        (113, LinkType::LinuxCooked),
        (276, LinkType::LinuxCooked2),
        (0, LinkType::Loopback),
        (108, LinkType::Loopback),
        (105, LinkType::Other(105)),
    ] {
        assert_eq!(LinkType::from_number(number), link);
    }
}

#[test]
fn padding_is_cut_and_truncation_tolerated() {
    let ip = ipv4(17, [0, 0], &udp(b"hello"));
    let padded = tagged(&[8, 0], &[&ip[..], &[0; 20]].concat());
    assert_eq!(decode_bytes(LinkType::Ethernet, &padded), expected("192.0.2.1", b"hello"));
    let snapped = tagged(&[8, 0], &ip[..ip.len() - 3]);
    assert_eq!(decode_bytes(LinkType::Ethernet, &snapped), expected("192.0.2.1", b"he"));
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let udp = udp(b"hi");
    let options = [&[17_u8, 0, 0, 0, 0, 0, 0, 0][..], &udp].concat();
    let routed = [&[60_u8, 1][..], &[0; 14], &options].concat();
    let atomic = [&[17_u8, 0, 0, 0, 0, 0, 0, 7][..], &udp].concat();
    let signed = [&[17_u8, 4][..], &[0; 22], &udp].concat();
    for (next, payload) in [(17, &udp), (60, &options), (43, &routed), (44, &atomic), (51, &signed)] {
        let bytes = ipv6_packet(next, source, payload);
        assert_eq!(decode_bytes(LinkType::RawIp, &bytes), expected("2001:db8::1", b"hi"), "{next}");
    }
}

#[test]
fn a_mapped_address_is_the_ipv4_address() {
    let bytes = ipv6_packet(17, "::ffff:192.0.2.9".parse().unwrap(), &udp(b"hi"));
    let Packet::Udp(datagram) = decode_bytes(LinkType::RawIp, &bytes) else { panic!("no datagram") };
    assert_eq!(datagram.source, IpAddr::from([192, 0, 2, 9]));
}

#[test]
fn other_traffic_is_told_apart() {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let udp = udp(b"hello");
    let quoting = [&[3_u8, 3, 0, 0, 0, 0, 0, 0][..], &ipv4(17, [0, 0], &udp)].concat();
    for (bytes, packet) in [
        (ipv4(6, [0, 0], &[0; 20]), Packet::Unreadable),
        (ipv4(1, [0, 0], &quoting), Packet::OtherIp),
        (ipv6_packet(58, source, &quoting), Packet::OtherIp),
        (vec![0x45, 0, 0], Packet::Unreadable),
        (vec![0x95; 40], Packet::Unreadable),
        (vec![], Packet::Unreadable),
    ] {
        assert_eq!(decode_bytes(LinkType::RawIp, &bytes), packet, "{bytes:?}");
    }
    assert_eq!(decode_bytes(LinkType::Ethernet, &tagged(&[8, 6], &[0; 28])), Packet::NotIp);
    assert_eq!(decode_bytes(LinkType::Other(105), &[1; 60]), Packet::NotIp);
    let endless = tagged(&[0x81, 0, 0, 1].repeat(20), &[]);
    assert_eq!(decode_bytes(LinkType::Ethernet, &endless), Packet::Unreadable);
}

#[test]
fn fragments_say_whose_they_are_and_where_they_belong() {
    let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let four = |offset, is_last, bytes| Fragment {
        source: IpAddr::from([192, 0, 2, 1]),
        destination: IpAddr::from([192, 0, 2, 2]),
        protocol: 17,
        identification: 1,
        offset,
        is_last,
        bytes,
        tunnel: None,
    };
    let six = |offset, is_last| Fragment {
        source: v6.into(),
        destination: Ipv6Addr::LOCALHOST.into(),
        identification: 0x0102_0307,
        ..four(offset, is_last, &[8, 9])
    };
    for (bytes, fragment) in [
        (ipv4(17, [0x20, 0], b"start"), four(0, false, b"start")),
        (ipv4(17, [0x3f, 0xff], b"more"), four(65_528, false, b"more")),
        (ipv4(17, [0, 0x10], b"rest"), four(128, true, b"rest")),
        (ipv6_packet(44, v6, &[17, 0, 0, 1, 1, 2, 3, 7, 8, 9]), six(0, false)),
        (ipv6_packet(44, v6, &[17, 0, 1, 1, 1, 2, 3, 7, 8, 9]), six(256, false)),
        (ipv6_packet(44, v6, &[17, 0, 1, 8, 1, 2, 3, 7, 8, 9]), six(264, true)),
    ] {
        assert_eq!(decode_bytes(LinkType::RawIp, &bytes), Packet::Fragment(fragment), "{bytes:?}");
    }
}

#[test]
fn a_tcp_segment_is_read_behind_its_options() {
    let header = [0x9c, 0x40, 0x13, 0xc4, 0, 0, 1, 2, 0, 0, 3, 4, 0x60, 0x18, 1, 1, 0, 0, 0, 0];
    let options = [1_u8, 1, 1, 0];
    let bytes = ipv4(6, [0, 0], &[&header[..], &options, b"data"].concat());
    let Packet::Tcp(segment) = decode_bytes(LinkType::RawIp, &bytes) else { panic!("no segment") };
    let Segment { source_port, destination_port, sequence, acknowledged, flags, payload, .. } = segment;
    assert_eq!(
        (source_port, destination_port, sequence, acknowledged, flags),
        (40_000, 5060, 0x102, 0x304, 0x18)
    );
    assert_eq!(payload, b"data");
    let short = ipv4(6, [0, 0], &[&header[..], &options[..2]].concat());
    assert_eq!(decode_bytes(LinkType::RawIp, &short), Packet::Unreadable);
}

#[test]
fn what_was_put_together_is_read_like_any_other() {
    let (source, destination) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let whole = Whole { source, destination, protocol: 17, bytes: udp(b"hello"), tunnel: None };
    assert_eq!(decode_whole(&whole), expected("192.0.2.1", b"hello"));
    let options = [&[17_u8, 0, 0, 0, 0, 0, 0, 0][..], &udp(b"hello")].concat();
    let (source, destination) = ("2001:db8::1".parse().unwrap(), "::1".parse().unwrap());
    let whole = Whole { source, destination, protocol: 60, bytes: options, tunnel: None };
    assert_eq!(decode_whole(&whole), expected("2001:db8::1", b"hello"));
    let nested = Whole { protocol: 44, bytes: vec![17, 0, 0, 1, 0, 0, 0, 7, 1, 2], ..whole };
    assert_eq!(decode_whole(&nested), Packet::Unreadable);
}

fn through(bytes: &[u8]) -> (Packet<'_>, Option<Tunnel>) {
    let original_length = u32::try_from(bytes.len()).unwrap();
    decode_through(&Frame { at: Timestamp::ZERO, link: LinkType::RawIp, bytes, original_length, number: 1 })
}

#[test]
fn what_a_tunnel_carries_is_read() {
    let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let (four, six) = (ipv4(17, [0, 0], &udp(b"hello")), ipv6_packet(17, v6, &udp(b"hello")));
    let ethernet = tagged(&[0x81, 0, 0, 7, 8, 0], &four);
    let gre = |flags: u8, kind: [u8; 2], options: &[u8], inner: &[u8]| {
        ipv4(47, [0, 0], &[&[flags, 0][..], &kind, options, inner].concat())
    };
    for (bytes, is_v6) in [
        (ipv4(4, [0, 0], &four), false),
        (ipv4(41, [0, 0], &six), true),
        (ipv6_packet(4, v6, &four), false),
        (ipv6_packet(41, v6, &six), true),
        (gre(0, [8, 0], &[], &four), false),
        (gre(0xb0, [0x86, 0xdd], &[0; 12], &six), true),
        (gre(0x20, [0x65, 0x58], &[0; 4], &ethernet), false),
        (ipv4(4, [0, 0], &ipv4(4, [0, 0], &ipv4(4, [0, 0], &four))), false),
    ] {
        let inner = expected(if is_v6 { "2001:db8::1" } else { "192.0.2.1" }, b"hello");
        let (packet, tunnel) = through(&bytes);
        assert_eq!(packet, inner, "{bytes:?}");
        let outer = if bytes[0] >> 4 == 4 { IpAddr::from([192, 0, 2, 1]) } else { v6.into() };
        assert_eq!(tunnel.unwrap().source, outer);
        assert_eq!(decode_bytes(LinkType::RawIp, &bytes), Packet::OtherIp, "it stays shut unless asked");
    }
    assert_eq!(through(&four), (expected("192.0.2.1", b"hello"), None));
}

#[test]
fn a_tunnel_that_is_too_deep_or_broken_is_not_read() {
    let four = ipv4(17, [0, 0], &udp(b"hello"));
    let deep = (0..4).fold(four.clone(), |inner, _| ipv4(4, [0, 0], &inner));
    assert_eq!(through(&deep).0, Packet::OtherIp);
    let gre = |head: &[u8]| ipv4(47, [0, 0], &[head, &four].concat());
    for (bytes, packet) in [
        (gre(&[0, 1, 8, 0]), Packet::OtherIp),
        (gre(&[0x40, 0, 8, 0]), Packet::OtherIp),
        (gre(&[0, 0, 8, 6]), Packet::NotIp),
        (ipv4(47, [0, 0], &[0xb0, 0, 8, 0, 1, 2]), Packet::Unreadable),
        (ipv4(4, [0, 0], &[]), Packet::Unreadable),
        (ipv4(41, [0, 0], &four), Packet::Unreadable),
        (ipv4(4, [0, 0], &ipv4(1, [0, 0], &four)), Packet::OtherIp),
    ] {
        assert_eq!(through(&bytes).0, packet, "{bytes:?}");
    }
}

#[test]
fn a_segment_of_a_tunnel_says_so_and_fragments_keep_theirs() {
    let tcp =
        ipv4(6, [0, 0], &[&[0x9c, 0x40, 0x13, 0xc4][..], &[0; 8], &[0x50, 0x18, 0, 0, 0, 0, 0, 0]].concat());
    let Packet::Tcp(plain) = through(&tcp).0 else { panic!("no segment") };
    let tunnelled_bytes = ipv4(4, [0, 0], &tcp);
    let Packet::Tcp(tunnelled) = through(&tunnelled_bytes).0 else { panic!("no segment") };
    assert!(!plain.is_tunnelled && tunnelled.is_tunnelled);
    // A piece in a tunnel; then a tunnel's packet in pieces, with a piece in it.
    let piece = ipv4(17, [0x20, 0], b"in pieces");
    let bytes = ipv4(4, [0, 0], &piece);
    let (Packet::Fragment(fragment), tunnel) = through(&bytes) else { panic!("no fragment") };
    assert!(tunnel.is_some() && fragment.tunnel == tunnel);
    let (source, destination) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let whole = Whole { source, destination, protocol: 4, bytes: piece, tunnel: None };
    let (Packet::Fragment(fragment), _) = decode_whole_through(&whole) else { panic!("no fragment") };
    assert_eq!(fragment.tunnel, tunnel);
    assert_eq!(decode_whole(&whole), Packet::OtherIp);
    // What came out of a tunnel counts as passed, however often it is put together.
    let mut tunnel = None;
    for is_open in [true, true, true, false] {
        let bytes = ipv4(17, [0x20, 0], b"again");
        let whole = Whole { source, destination, protocol: 4, bytes, tunnel };
        let (packet, within) = decode_whole_through(&whole);
        assert_eq!(matches!(packet, Packet::Fragment(_)), is_open);
        tunnel = within;
    }
}

#[test]
fn a_pppoe_session_is_a_link_like_another() {
    let ip = ipv4(17, [0, 0], &udp(b"hello"));
    let session = |code: u8, protocol: [u8; 2]| {
        let length = u16::try_from(ip.len() + 2).unwrap().to_be_bytes();
        tagged(&[0x88, 0x64, 0x11, code, 0, 9, length[0], length[1], protocol[0], protocol[1]], &ip)
    };
    let padded = [session(0, [0, 0x21]), vec![0; 9]].concat();
    assert_eq!(decode_bytes(LinkType::Ethernet, &padded), expected("192.0.2.1", b"hello"));
    assert_eq!(decode_bytes(LinkType::Ethernet, &session(0, [0xc0, 0x21])), Packet::NotIp);
    assert_eq!(decode_bytes(LinkType::Ethernet, &session(9, [0, 0x21])), Packet::NotIp);
    assert_eq!(decode_bytes(LinkType::Ethernet, &padded[..16]), Packet::Unreadable);
}

proptest::proptest! {
    #[test]
    fn no_frame_stops_the_decoder(
        number in 0_usize..8,
        start in proptest::sample::select(vec![vec![], vec![0x45], vec![0x60], vec![2; 12], vec![8, 0]]),
        rest in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let link = LinkType::from_number([0, 1, 12, 101, 113, 276, 229, 105][number]);
        let bytes = [start, rest].concat();
        std::hint::black_box(decode_bytes(link, &bytes));
        std::hint::black_box(through(&ipv4([4, 41, 47][number % 3], [0, 0], &bytes)));
    }
}
