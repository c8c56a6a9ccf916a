//! From a frame to a UDP datagram, a TCP segment, or a piece of one. Reads slices, copies nothing, never panics.
//!
//! Lengths of the headers are believed only within what was captured: Ethernet's padding is cut off, a packet cut by the
//! snap length keeps what is there. Checksums are not checked: with offloading the host's own packets have none yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::fragments::{Fragment, Whole};
use crate::frame::{Frame, LinkType};
use crate::streams::Segment;
use crate::transaction::Path;
use crate::tunnel::{self, Tunnel};

/// VLAN tags and MPLS labels in front of IP that are skipped; three of each have been seen.
const MAX_TAGS: usize = 8;
/// IPv6 extension headers that are skipped (RFC 8200 orders at most seven).
const MAX_EXTENSION_HEADERS: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Udp(Datagram<'a>),
    Tcp(Segment<'a>),
    Fragment(Fragment<'a>),
    /// IP with another protocol. ICMP errors quote somebody's packet: they belong here, so the quote is charged to nobody.
    OtherIp,
    /// Not IP: ARP and the like, or a link type that is not decoded.
    NotIp,
    /// The headers contradict themselves or end too soon.
    Unreadable,
}

impl Packet<'_> {
    /// Who sent it, if that is worth a look.
    #[inline]
    pub(crate) const fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Udp(datagram) => Some(datagram.source),
            Self::Tcp(segment) => Some(segment.source),
            Self::Fragment(fragment) => Some(fragment.source),
            Self::OtherIp | Self::NotIp | Self::Unreadable => None,
        }
    }
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination: IpAddr,
    pub(crate) destination_port: u16,
    pub(crate) payload: &'a [u8],
}

impl Datagram<'_> {
    /// Who asks whom, if this is a request.
    pub(crate) const fn path(&self) -> Path {
        Path { source: self.source, victim: self.destination, victim_port: self.destination_port }
    }

    /// Who asked whom, if this is an answer.
    pub(crate) const fn path_back(&self) -> Path {
        Path { source: self.destination, victim: self.source, victim_port: self.source_port }
    }
}

/// What a packet carries, and the way on if that is another packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried<'a> {
    /// The end of the way.
    Packet(Packet<'a>),
    /// A tunnel's packet.
    Tunnelled { protocol: u8, addresses: (IpAddr, IpAddr), bytes: &'a [u8] },
}

/// Takes a frame apart, and what tunnels in it carry.
///
/// Anybody can send a tunnel's packet with any packet in it, also both sides of a conversation that never was: **nothing that comes
/// with a [`Tunnel`] proves anything**, neither an echoed nonce nor an acknowledged segment.
#[inline]
pub(crate) fn decode<'a>(frame: &Frame<'a>) -> (Packet<'a>, Option<Tunnel>) {
    open(read_link(frame.link, frame.bytes), None)
}

/// The same of a packet that was put together of fragments, within a tunnel or of a tunnel's own packet. That it is a fragment of its own
/// kind again is a contradiction.
pub(crate) fn decode_whole(whole: &Whole) -> (Packet<'_>, Option<Tunnel>) {
    open(read_whole(whole), whole.tunnel)
}

fn shut(carried: Option<Carried<'_>>) -> Packet<'_> {
    match carried {
        Some(Carried::Packet(packet)) => packet,
        Some(Carried::Tunnelled { .. }) => Packet::OtherIp,
        None => Packet::Unreadable,
    }
}

/// Goes on until no tunnel is left, or too many were passed: then what is left stays shut.
fn open<'a>(mut carried: Option<Carried<'a>>, mut tunnel: Option<Tunnel>) -> (Packet<'a>, Option<Tunnel>) {
    while let Some(Carried::Tunnelled { protocol, addresses, bytes }) = carried
        && let Some(within) = Tunnel::within(tunnel, addresses)
    {
        tunnel = Some(within);
        carried = tunnel::read(protocol, bytes);
    }
    let packet = match shut(carried) {
        Packet::Fragment(fragment) => Packet::Fragment(Fragment { tunnel, ..fragment }),
        Packet::Tcp(segment) => Packet::Tcp(Segment { is_tunnelled: tunnel.is_some(), ..segment }),
        other @ (Packet::Udp(_) | Packet::OtherIp | Packet::NotIp | Packet::Unreadable) => other,
    };
    (packet, tunnel)
}

fn read_whole(whole: &Whole) -> Option<Carried<'_>> {
    let Whole { source, destination, protocol, bytes, tunnel: _ } = whole;
    let addresses = (*source, *destination);
    let carried = match source {
        IpAddr::V4(_) => read_transport(*protocol, addresses, bytes),
        IpAddr::V6(_) => read_ipv6_payload(*protocol, addresses, bytes),
    };
    carried.filter(|carried| !matches!(carried, Carried::Packet(Packet::Fragment(_))))
}

/// `None`: the bytes end too soon.
fn read_link(link: LinkType, bytes: &[u8]) -> Option<Carried<'_>> {
    match link {
        LinkType::Ethernet => after_ether_type(bytes.get(12..)?),
        LinkType::LinuxCooked => after_ether_type(bytes.get(14..)?),
        LinkType::LinuxCooked2 => {
            let (protocol, rest) = take_u16(bytes)?;
            read_ether_type(protocol, rest.get(18..)?)
        }
        LinkType::RawIp => read_ip(bytes),
        // The family's number differs between systems and byte orders; the version in the IP header does not.
        LinkType::Loopback => read_ip(bytes.get(4..)?),
        LinkType::Other(_) => Some(Carried::Packet(Packet::NotIp)),
    }
}

/// From the end of an Ethernet frame's addresses on.
pub(crate) fn after_ether_type(bytes: &[u8]) -> Option<Carried<'_>> {
    let (ether_type, rest) = take_u16(bytes)?;
    read_ether_type(ether_type, rest)
}

pub(crate) fn read_ether_type(mut ether_type: u16, mut bytes: &[u8]) -> Option<Carried<'_>> {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    for _ in 0..MAX_TAGS {
        match ether_type {
            IPV4 | IPV6 => return read_ip(bytes),
            // 802.1Q, 802.1ad and the tag that came before it.
            0x8100 | 0x88a8 | 0x9100 => (ether_type, bytes) = take_u16(bytes.get(2..)?)?,
            0x8847 | 0x8848 => return read_mpls(bytes),
            0x8864 => return read_pppoe(bytes),
            _ => return Some(Carried::Packet(Packet::NotIp)),
        }
    }
    Some(Carried::Packet(Packet::Unreadable))
}

/// A PPPoE session (RFC 2516, 4). A link, not a tunnel: whoever sends on it is on the wire.
fn read_pppoe(bytes: &[u8]) -> Option<Carried<'_>> {
    let ([version, code, _, _, high, low], rest) = bytes.split_first_chunk()?;
    let rest = rest.get(..usize::from(u16::from_be_bytes([*high, *low]))).unwrap_or(rest);
    let (protocol, rest) = take_u16(rest)?;
    match (*version, *code, protocol) {
        (0x11, 0, 0x0021 | 0x0057) => read_ip(rest),
        _ => Some(Carried::Packet(Packet::NotIp)),
    }
}

fn read_mpls(mut bytes: &[u8]) -> Option<Carried<'_>> {
    for _ in 0..MAX_TAGS {
        let ([_, _, bottom, _], rest) = bytes.split_first_chunk()?;
        if bottom & 1 == 1 {
            // A label does not say what follows: only IP's version can tell it from a pseudowire.
            return match rest.first()? >> 4 {
                4 | 6 => read_ip(rest),
                _ => Some(Carried::Packet(Packet::NotIp)),
            };
        }
        bytes = rest;
    }
    Some(Carried::Packet(Packet::Unreadable))
}

fn read_ip(bytes: &[u8]) -> Option<Carried<'_>> {
    match bytes.first()? >> 4 {
        4 => read_ipv4(bytes),
        6 => read_ipv6(bytes),
        _ => Some(Carried::Packet(Packet::Unreadable)),
    }
}

pub(crate) fn read_ipv4(bytes: &[u8]) -> Option<Carried<'_>> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let [first, _, length_high, length_low, id_high, id_low, flags, offset, _, protocol, ..] = *header;
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let header_length = usize::from(first & 0x0f) * 4;
    // Zero: segmentation offload leaves the length to the network card.
    let length = match usize::from(u16::from_be_bytes([length_high, length_low])) {
        0 => bytes.len(),
        length => length.min(bytes.len()),
    };
    if header_length < 20 || header_length > length {
        return None;
    }
    let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3).into(), Ipv4Addr::new(d0, d1, d2, d3).into());
    let bytes = bytes.get(header_length..length)?;
    let (offset, is_last) = (u16::from_be_bytes([flags & 0x1f, offset]), flags & 0x20 == 0);
    if is_last && offset == 0 {
        return read_transport(protocol, (source, destination), bytes);
    }
    let identification = u32::from(u16::from_be_bytes([id_high, id_low]));
    let offset = usize::from(offset) * 8;
    let fragment =
        Fragment { source, destination, protocol, identification, offset, is_last, bytes, tunnel: None };
    Some(Carried::Packet(Packet::Fragment(fragment)))
}

pub(crate) fn read_ipv6(bytes: &[u8]) -> Option<Carried<'_>> {
    let (header, rest) = bytes.split_first_chunk::<40>()?;
    let [_, _, _, _, length_high, length_low, next, _, addresses @ ..] = header;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let addresses = (ipv6(source), ipv6(destination.first_chunk()?));
    let payload = match usize::from(u16::from_be_bytes([*length_high, *length_low])) {
        0 => rest,
        length => rest.get(..length).unwrap_or(rest),
    };
    read_ipv6_payload(*next, addresses, payload)
}

/// An IPv4 address in an IPv6 coat is that IPv4 address: otherwise one source would have two names.
fn ipv6(octets: &[u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical()
}

fn read_ipv6_payload(mut next: u8, addresses: (IpAddr, IpAddr), mut bytes: &[u8]) -> Option<Carried<'_>> {
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let length = match next {
            // Hop-by-hop, routing, destination options, mobility: all tell their length in units of eight bytes.
            0 | 43 | 60 | 135 => (usize::from(*bytes.get(1)?) + 1) * 8,
            AUTHENTICATION => (usize::from(*bytes.get(1)?) + 2) * 4,
            FRAGMENT => {
                let ([protocol, _, high, low, id @ ..], bytes) = bytes.split_first_chunk::<8>()?;
                let offset = usize::from(u16::from_be_bytes([*high, low & 0xf8]));
                let is_last = low & 1 == 0;
                // An atomic fragment is whole (RFC 6946).
                if offset != 0 || !is_last {
                    let ((source, destination), protocol) = (addresses, *protocol);
                    let identification = u32::from_be_bytes(*id.first_chunk()?);
                    let tunnel = None;
                    return Some(Carried::Packet(Packet::Fragment(Fragment {
                        source,
                        destination,
                        protocol,
                        identification,
                        offset,
                        is_last,
                        bytes,
                        tunnel,
                    })));
                }
                8
            }
            transport => return read_transport(transport, addresses, bytes),
        };
        next = *bytes.first()?;
        bytes = bytes.get(length..)?;
    }
    Some(Carried::Packet(Packet::Unreadable))
}

fn read_transport(protocol: u8, addresses: (IpAddr, IpAddr), bytes: &[u8]) -> Option<Carried<'_>> {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    match protocol {
        UDP => read_udp(addresses, bytes),
        TCP => read_tcp(addresses, bytes),
        tunnel::IPV4 | tunnel::IPV6 | tunnel::GRE => Some(Carried::Tunnelled { protocol, addresses, bytes }),
        _ => Some(Carried::Packet(Packet::OtherIp)),
    }
}

fn read_udp((source, destination): (IpAddr, IpAddr), bytes: &[u8]) -> Option<Carried<'_>> {
    let (source_port, rest) = take_u16(bytes)?;
    let (destination_port, rest) = take_u16(rest)?;
    let (length, rest) = take_u16(rest)?;
    let payload = rest.get(2..)?;
    let payload = match usize::from(length) {
        0 => payload,
        length => payload.get(..length.checked_sub(8)?).unwrap_or(payload),
    };
    let datagram = Datagram { source, source_port, destination, destination_port, payload };
    Some(Carried::Packet(Packet::Udp(datagram)))
}

fn read_tcp((source, destination): (IpAddr, IpAddr), bytes: &[u8]) -> Option<Carried<'_>> {
    let (source_port, rest) = take_u16(bytes)?;
    let (destination_port, rest) = take_u16(rest)?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (acknowledged, rest) = rest.split_first_chunk()?;
    let [offset, flags, ..] = *rest.first_chunk::<8>()?;
    let header = usize::from(offset >> 4) * 4;
    if header < 20 {
        return None;
    }
    Some(Carried::Packet(Packet::Tcp(Segment {
        source,
        source_port,
        destination,
        destination_port,
        sequence: u32::from_be_bytes(*sequence),
        acknowledged: u32::from_be_bytes(*acknowledged),
        flags,
        payload: bytes.get(header..)?,
        is_tunnelled: false,
    })))
}

pub(crate) fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
