//! Ways for the fuzzer into what the crate keeps to itself. Each function takes any bytes, must return, and panics if what it
//! asserts does not hold.

#![expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]

use std::net::IpAddr;

use log_format::time::Timestamp;

use crate::fragments::{Fragment, Fragments};
use crate::frame::{Frame, LinkType};
use crate::keyed::Key;
use crate::packet::{self, Packet};

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

    proptest! {
        #[test]
        fn every_way_in_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for enter in [tftp, dns, packet, reassembly] {
                enter(&bytes);
            }
        }
    }
}
