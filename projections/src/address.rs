//! Addresses in their one canonical form, and those that are never blocked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use log_format::ids::HostId;

/// Prefix length from which an IPv6 network can lie inside `::ffff:0:0/96`, the IPv4-mapped addresses.
const MAPPED_PREFIX: u8 = 96;

/// Addresses that have a meaning of their own on every network. A forged packet can carry any of them;
/// dropping them would cut the host off from itself (loopback), from its neighbours and its gateway
/// (link-local, multicast, broadcast: ARP and neighbour discovery answer there) or would be meaningless
/// (unspecified).
const SPECIAL: [(IpNet, Untouchable); 9] = [
    (v4([0, 0, 0, 0], 8), Untouchable::Unspecified),
    (v4([127, 0, 0, 0], 8), Untouchable::Loopback),
    (v4([169, 254, 0, 0], 16), Untouchable::LinkLocal),
    (v4([224, 0, 0, 0], 4), Untouchable::Multicast),
    (v4([255, 255, 255, 255], 32), Untouchable::Broadcast),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Untouchable::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Untouchable::Loopback),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Untouchable::LinkLocal),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Untouchable::Multicast),
];

/// Why an address is never blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Untouchable {
    /// The host itself.
    Loopback,
    /// No address at all.
    Unspecified,
    /// Many hosts at once.
    Multicast,
    /// Every host of the network.
    Broadcast,
    /// A neighbour on the same wire, often the gateway.
    LinkLocal,
    /// A host of this cluster.
    Host(HostId),
}

impl fmt::Display for Untouchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("a loopback address"),
            Self::Unspecified => f.write_str("an unspecified address"),
            Self::Multicast => f.write_str("a multicast address"),
            Self::Broadcast => f.write_str("a broadcast address"),
            Self::LinkLocal => f.write_str("a link-local address"),
            Self::Host(host) => write!(f, "an address of host {host}"),
        }
    }
}

/// The one form of an address that the log, the models and the kernel know: IPv4-mapped IPv6 becomes IPv4.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The one form of a network: host bits zero, IPv4-mapped IPv6 as IPv4.
pub fn canonical_network(network: IpNet) -> IpNet {
    let network = network.trunc();
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (IpAddr::V4(address), Some(length)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

/// The special meaning of an address, if it has one.
pub(crate) fn special(address: IpAddr) -> Option<Untouchable> {
    SPECIAL.iter().find(|(network, _)| network.contains(&address)).map(|(_, why)| *why)
}

/// The special meaning of some address of a network, if there is one.
pub(crate) fn special_within(network: &IpNet) -> Option<Untouchable> {
    SPECIAL
        .iter()
        .find(|(special, _)| special.contains(network) || network.contains(special))
        .map(|(_, why)| *why)
}

const fn v4(octets: [u8; 4], length: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(segments: [u16; 8], length: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        assert_eq!(canonical(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_eq!(canonical(address("2001:db8::1")), address("2001:db8::1"));
    }

    #[test]
    fn mapped_networks_become_ipv4_and_lose_their_host_bits() {
        for (given, expected) in [
            ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            let network: IpNet = given.parse().unwrap();
            assert_eq!(canonical_network(network).to_string(), expected, "{given}");
        }
    }

    #[test]
    fn special_addresses_are_known() {
        for (given, expected) in [
            ("127.8.8.8", Some(Untouchable::Loopback)),
            ("0.0.0.0", Some(Untouchable::Unspecified)),
            ("169.254.169.254", Some(Untouchable::LinkLocal)),
            ("239.1.1.1", Some(Untouchable::Multicast)),
            ("255.255.255.255", Some(Untouchable::Broadcast)),
            ("::", Some(Untouchable::Unspecified)),
            ("::1", Some(Untouchable::Loopback)),
            ("fe80::1", Some(Untouchable::LinkLocal)),
            ("ff02::1", Some(Untouchable::Multicast)),
            ("10.0.0.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(special(address(given)), expected, "{given}");
        }
    }

    #[test]
    fn a_network_that_holds_a_special_address_is_found() {
        let within = |text: &str| special_within(&text.parse().unwrap());
        assert_eq!(within("127.0.0.1/32"), Some(Untouchable::Loopback));
        assert_eq!(within("168.0.0.0/7"), Some(Untouchable::LinkLocal));
        assert_eq!(within("192.0.2.0/24"), None);
    }
}
