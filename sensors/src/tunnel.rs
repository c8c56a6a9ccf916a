//! What packets in packets carry: IP in IP (RFC 2003, RFC 2473, RFC 4213) and GRE (RFC 2784, RFC 2890).
//!
//! A site reaches its hosts over such tunnels, and so does whoever wants to pass by a sensor that reads the outermost header only.

use std::net::IpAddr;

use crate::packet::{Carried, Packet, after_ether_type, read_ether_type, read_ipv4, read_ipv6, take_u16};

/// IPv4 in IP.
pub(crate) const IPV4: u8 = 4;
/// IPv6 in IP.
pub(crate) const IPV6: u8 = 41;
/// Generic routing encapsulation.
pub(crate) const GRE: u8 = 47;
/// Tunnels in tunnels that are opened. One in another happens where two sites each have theirs.
const MAX_DEPTH: u8 = 3;

/// The outermost tunnel that a packet came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tunnel {
    /// Where it begins, by the outermost header; anybody can write that.
    pub(crate) source: IpAddr,
    /// Where it ends.
    pub(crate) destination: IpAddr,
    /// Tunnels passed.
    depth: u8,
}

impl Tunnel {
    /// One more tunnel, in `outer` if that is one; `None` if they are too many.
    pub(crate) fn within(outer: Option<Self>, (source, destination): (IpAddr, IpAddr)) -> Option<Self> {
        match outer {
            None => Some(Self { source, destination, depth: 1 }),
            Some(outer) => (outer.depth < MAX_DEPTH).then(|| Self { depth: outer.depth + 1, ..outer }),
        }
    }
}

/// Reads what a tunnel's packet carries. `None`: the bytes end too soon or contradict the protocol.
pub(crate) fn read(protocol: u8, bytes: &[u8]) -> Option<Carried<'_>> {
    let version = bytes.first()? >> 4;
    match protocol {
        IPV4 => read_ipv4(bytes).filter(|_| version == 4),
        IPV6 => read_ipv6(bytes).filter(|_| version == 6),
        GRE => read_gre(bytes),
        _ => Some(Carried::Packet(Packet::OtherIp)),
    }
}

/// ```text
///  0                   1                   2                   3
///  C R K S ......... version │ EtherType of what is carried
///  checksum, reserved (if C) │ key (if K) │ sequence number (if S)
/// ```
fn read_gre(bytes: &[u8]) -> Option<Carried<'_>> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    const TRANSPARENT_ETHERNET: u16 = 0x6558;
    let (flags, rest) = take_u16(bytes)?;
    let (ether_type, rest) = take_u16(rest)?;
    if flags & (VERSION | ROUTING) != 0 {
        // Version 1 carries PPP, and nobody has routed by GRE since RFC 2784.
        return Some(Carried::Packet(Packet::OtherIp));
    }
    let options = [CHECKSUM, KEY, SEQUENCE].iter().filter(|flag| flags & **flag != 0).count() * 4;
    let rest = rest.get(options..)?;
    match ether_type {
        TRANSPARENT_ETHERNET => after_ether_type(rest.get(12..)?),
        _ => read_ether_type(ether_type, rest),
    }
}
