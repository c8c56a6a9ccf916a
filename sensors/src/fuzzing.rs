//! Ways for the fuzzer into what the crate keeps to itself. Each function takes any bytes, must return, and panics if what it
//! asserts does not hold.

#![expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]

use std::net::IpAddr;

use log_format::event::PortRange;
use log_format::time::Timestamp;

use crate::fragments::{Fragment, Fragments};
use crate::frame::{Frame, LinkType};
use crate::keyed::Key;
use crate::packet::{self, Packet};
use crate::streams::{Segment, StreamItem, Streams};
use crate::websocket::{self, Deframer};

const KEY: Key = Key::new([7; 16]);
const NOW: Timestamp = Timestamp::from_seconds(1_000);

/// A TFTP datagram, and the MAC in the name it may ask for.
pub fn tftp(bytes: &[u8]) {
    if let Ok(crate::tftp::Packet::Request(request)) = crate::tftp::parse(bytes) {
        std::hint::black_box(crate::tftp::mac_of(request.name));
    }
    std::hint::black_box(crate::tftp::mac_of(bytes));
}

/// A DNS datagram.
pub fn dns(bytes: &[u8]) {
    if let Ok(crate::dns::Packet { question: Some(question), .. }) = crate::dns::parse(bytes) {
        let length = question.name.labels().map(|label| label.len() + 1).sum::<usize>() + 1;
        check(length == question.name.wire().len(), "labels make the name");
        std::hint::black_box(question.name.suffix(2));
    }
}

/// A report of a telephone system.
pub fn hep(bytes: &[u8]) {
    let Ok(report) = crate::hep::parse(bytes) else { return };
    let again = crate::hep::encode(&report);
    if let Some(again) = again {
        check(crate::hep::parse(&again) == Ok(report), "a report is read as it was written");
    }
}

/// A frame; its first byte says of which link.
pub fn packet(bytes: &[u8]) {
    let Some((link, bytes)) = bytes.split_first() else { return };
    let link = LinkType::from_number([0, 1, 12, 113, 276].get(usize::from(*link % 5)).copied().unwrap_or(1));
    let original_length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let frame = Frame { at: NOW, link, bytes, original_length, number: 1 };
    let shut = packet::decode(&frame);
    let (open, tunnel) = packet::decode_through(&frame);
    check(tunnel.is_some() || shut == open, "without a tunnel both ways read the same");
    check(tunnel.is_none() || shut == Packet::OtherIp, "a tunnel stays shut unless asked");
    let mut fragments = Fragments::new(KEY);
    put_together(&mut fragments, open);
}

/// Pieces of packets: of each, four bytes say which packet, where, and how long; the piece follows.
pub fn reassembly(bytes: &[u8]) {
    let mut fragments = Fragments::new(KEY);
    let mut rest = bytes;
    while let Some(([name, place, flags, length], after)) = rest.split_first_chunk() {
        let (piece, after) = after.split_at_checked(usize::from(*length)).unwrap_or((after, &[]));
        rest = after;
        let (source, destination) = (IpAddr::from([192, 0, 2, *name]), IpAddr::from([192, 0, 2, 2]));
        let fragment = Fragment {
            source,
            destination,
            protocol: [4, 17, 41, 47].get(usize::from(*flags >> 1 & 3)).copied().unwrap_or(17),
            identification: u32::from(*flags >> 3 & 1),
            offset: usize::from(*place) * 8,
            is_last: flags & 1 != 0,
            bytes: piece,
            tunnel: None,
        };
        put_together(&mut fragments, Packet::Fragment(fragment));
    }
}

/// A WebSocket's frames, as they are and cut in two; the opening, too.
pub fn websocket(bytes: &[u8]) {
    let read = |pieces: [&[u8]; 2]| {
        let mut deframer = Deframer::default();
        let mut steps = Vec::new();
        for mut piece in pieces {
            while let Some(step) = deframer.feed(&mut piece) {
                steps.push(step);
            }
        }
        steps
    };
    let place = usize::from(bytes.first().copied().unwrap_or_default()).min(bytes.len());
    let (one, two) = bytes.split_at_checked(place).unwrap_or((bytes, &[]));
    check(read([bytes, &[]]) == read([one, two]), "a cut changes nothing");
    std::hint::black_box((websocket::request(bytes), websocket::response(bytes)));
}

/// What a client sends on a connection. The first two bytes say how it is cut and which segments change places; that must change
/// nothing of what comes out. On a SIP port and on a web port.
pub fn stream(bytes: &[u8]) {
    let Some(([size, swaps], bytes)) = bytes.split_first_chunk() else { return };
    for port in [5_060, 8_088] {
        let whole = items(port, [(0, bytes)]);
        let mut begin = 0;
        let mut pieces: Vec<(usize, &[u8])> = Vec::new();
        for piece in bytes.chunks(usize::from(*size) + 1) {
            pieces.push((begin, piece));
            begin += piece.len();
        }
        for pair in
            pieces.chunks_exact_mut(2).skip(usize::from(swaps & 7)).step_by(1 + usize::from(swaps >> 3))
        {
            pair.reverse();
        }
        check(whole == items(port, pieces), "a stream's cuts change nothing");
    }
}

/// What comes out of a connection whose client sends these pieces, each with its place. Of a line that is not SIP only that it is.
fn items<'a>(port: u16, pieces: impl IntoIterator<Item = (usize, &'a [u8])>) -> Vec<StreamItem> {
    let mut streams = Streams::new(KEY);
    streams.set_websocket_ports(vec![PortRange { first: 8_088, last: 8_088 }]);
    let (client, server) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 10]));
    let forth = Segment {
        source: client,
        source_port: 40_000,
        destination: server,
        destination_port: port,
        sequence: 100,
        acknowledged: 0,
        flags: 0x02,
        payload: &[],
        is_tunnelled: false,
    };
    let (source_port, destination_port) = (forth.destination_port, forth.source_port);
    let back = Segment { source: server, source_port, destination: client, destination_port, ..forth };
    streams.add(&forth);
    streams.add(&Segment { sequence: 5_000, acknowledged: 101, flags: 0x12, ..back });
    streams.add(&Segment { sequence: 101, acknowledged: 5_001, flags: 0x10, ..forth });
    let mut items = Vec::new();
    let mut end = 101_u32;
    let mut feed = |segment: Segment<'_>| {
        streams.add(&segment);
        while let Some(mut item) = streams.next_item(&segment.direction()) {
            if let StreamItem::NotSip { line, .. } = &mut item {
                line.clear();
            }
            items.push(item);
        }
    };
    for (place, payload) in pieces {
        let sequence = 101_u32.wrapping_add(u32::try_from(place).unwrap_or_default());
        end = end.wrapping_add(u32::try_from(payload.len()).unwrap_or_default());
        feed(Segment { sequence, acknowledged: 5_001, flags: 0x10, payload, ..forth });
    }
    feed(Segment { sequence: end, acknowledged: 5_001, flags: 0x11, ..forth });
    items
}

/// A whole packet may be a piece of another, in a tunnel.
fn put_together(fragments: &mut Fragments, packet: Packet<'_>) {
    let mut whole = match packet {
        Packet::Fragment(fragment) => fragments.add(&fragment, NOW),
        Packet::Udp(_) | Packet::Tcp(_) | Packet::OtherIp | Packet::NotIp | Packet::Unreadable => None,
    };
    let mut passed = 0;
    while let Some(held) = whole {
        passed += 1;
        check(passed < 10, "tunnels in tunnels end");
        std::hint::black_box(packet::decode_whole(&held));
        whole = match packet::decode_whole_through(&held).0 {
            Packet::Fragment(fragment) => fragments.add(&fragment, NOW),
            Packet::Udp(_) | Packet::Tcp(_) | Packet::OtherIp | Packet::NotIp | Packet::Unreadable => None,
        };
    }
}

fn check(holds: bool, what: &str) {
    if !holds {
        panic!("{what}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let texts = [
            "REGISTER sip:pbx SIP/2.0\r\nContent-Length: 4\r\n\r\nbody",
            "OPTIONS sip:pbx SIP/2.0\r\nContent-Length: 70000\r\n\r\n",
            "SIP/2.0 200 OK\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
            "HTTP/1.1 101 Yes\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
            "\u{1}\u{4}a sip",
            "\r\n",
        ];
        let text = proptest::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec());
        let long = (0_usize..9_000).prop_map(|length| vec![b'x'; length]);
        prop_oneof![4 => text, 2 => proptest::collection::vec(any::<u8>(), 0..60), 1 => long]
    }

    proptest! {
        #[test]
        fn a_stream_is_the_same_however_it_is_cut(
            how in any::<[u8; 2]>(),
            pieces in proptest::collection::vec(piece(), 0..8),
        ) {
            stream(&[&how[..], &pieces.concat()].concat());
        }

        #[test]
        fn every_way_in_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for enter in [tftp, dns, packet, reassembly, websocket, stream, hep] {
                enter(&bytes);
            }
        }
    }
}
