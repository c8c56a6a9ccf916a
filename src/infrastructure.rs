//! What a host must never cut itself off from: what its configuration names, its gateways and its resolvers.
//!
//! It is this host's own: the cluster's lists know nothing of it. The host's sensors hold nothing against such an address, and its
//! kernel never drops it, whatever the log says.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell: reads what the kernel and the resolver's file say, once"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::ports::SparedBy;
use ipnet::IpNet;
use projections::decide::{SHORTEST_V4_PREFIX, SHORTEST_V6_PREFIX};

/// Networks that a configuration may name: each is a range in a kernel set that is asked first.
pub(crate) const MAX_NAMED: usize = 256;
/// Gateways and resolvers that are taken at most; a host has a few.
const MAX_FOUND: usize = 32;

/// Networks that this host never drops, each with the reason.
pub(crate) type Spared = BTreeMap<IpNet, SparedBy>;

/// The networks of a configuration, and what this machine says of its gateways and resolvers now.
pub(crate) fn spared(named: &BTreeSet<IpNet>) -> Spared {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let files = ["/proc/net/route", "/proc/net/ipv6_route", "/etc/resolv.conf"].map(read);
    let [routes4, routes6, resolver] = &files;
    let found = gateways4(routes4)
        .chain(gateways6(routes6))
        .chain(resolvers(resolver))
        .take(MAX_FOUND)
        .map(|address| (IpNet::from(projections::canonical(address)), SparedBy::System));
    let named = named.iter().map(|network| (*network, SparedBy::Configuration));
    found.chain(named).collect()
}

/// Without the reasons.
pub(crate) fn networks(spared: &Spared) -> BTreeSet<IpNet> {
    spared.keys().copied().collect()
}

/// The smallest of these networks that holds an address.
pub(crate) fn sparing(spared: &Spared, address: IpAddr) -> Option<(IpNet, &SparedBy)> {
    let holding = spared.iter().filter(|(network, _)| network.contains(&address));
    holding.max_by_key(|(network, _)| network.prefix_len()).map(|(network, by)| (*network, by))
}

/// A network, or an address on its own, as a configuration names it; else what is wrong with it.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse().or_else(|_| address());
    let network = network.map_err(|_| {
        format!("{text:?} is no network; write it like 192.0.2.0/24, or a name like trunk.example.net")
    })?;
    let network = projections::canonical_network(network);
    let shortest = match network {
        IpNet::V4(_) => SHORTEST_V4_PREFIX,
        IpNet::V6(_) => SHORTEST_V6_PREFIX,
    };
    if network.prefix_len() < shortest {
        return Err(format!("{network} is wider than a /{shortest}; name what must be reached"));
    }
    Ok(network)
}

/// Default gateways of `/proc/net/route`: numbers in hexadecimal, in the order of the machine's bytes.
fn gateways4(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        (destination == "00000000").then(|| IpAddr::V4(Ipv4Addr::from(gateway.to_ne_bytes())))
    })
}

/// Default gateways of `/proc/net/ipv6_route`: 32 hexadecimal digits each.
fn gateways6(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().take(5).collect();
        let [destination, length, _, _, gateway] = fields.as_slice() else { return None };
        let is_default = *length == "00" && destination.bytes().all(|digit| digit == b'0');
        let gateway = u128::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        is_default.then(|| IpAddr::V6(Ipv6Addr::from_bits(gateway)))
    })
}

/// Name servers of `/etc/resolv.conf` (resolv.conf(5)); a zone behind `%` is of no matter here.
fn resolvers(file: &str) -> impl Iterator<Item = IpAddr> {
    file.lines().filter_map(|line| {
        let address = line.trim().strip_prefix("nameserver")?.split_whitespace().next()?;
        address.split('%').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
        addresses.map(|address| address.to_string()).collect()
    }

    #[test]
    fn default_gateways_are_read_from_the_kernels_tables() {
        let gateway = format!("{:08X}", u32::from_ne_bytes([192, 0, 2, 1]));
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\nwan0\t00000000\t{gateway}\t0003\nlan0\t0002000A\t{gateway}\t0001\nwan1\t00000000\t00000000\t0001\nbroken\n"
        );
        assert_eq!(texts(gateways4(&table)), ["192.0.2.1"]);
        let zero = "0".repeat(32);
        let gateway = format!("20010db8{}1", "0".repeat(23));
        let table = format!(
            "{zero} 00 {zero} 00 {gateway} 00000400 1 0 3 wan0\n{zero} 00 {zero} 00 {zero} ffffffff 1 0 0 lo\n{gateway} 40 {zero} 00 {gateway} 0 1 0 3 wan0\nx\n"
        );
        assert_eq!(texts(gateways6(&table)), ["2001:db8::1"]);
    }

    #[test]
    fn resolvers_are_read_and_what_is_none_is_passed_over() {
        let file = "# nameserver 10.0.0.9\nnameserver 127.0.0.53\n nameserver fe80::1%eth0\nnameserver nobody\nsearch a\n";
        assert_eq!(texts(resolvers(file)), ["127.0.0.53", "fe80::1"]);
    }

    #[test]
    fn networks_and_addresses_are_understood_and_slips_are_not() {
        let text = |given: &str| network(given).map(|network| network.to_string());
        assert_eq!(text("10.1.2.3/8").as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(text("192.0.2.1").as_deref(), Ok("192.0.2.1/32"));
        assert_eq!(text("::ffff:192.0.2.0/120").as_deref(), Ok("192.0.2.0/24"));
        assert!(text("0.0.0.0/0").unwrap_err().contains("wider than a /8"));
        assert!(text("2000::/3").unwrap_err().contains("wider than a /16"));
        assert!(text("pbx").unwrap_err().contains("is no network"));
    }

    #[test]
    fn what_is_named_is_always_there_and_the_smallest_network_says_why() {
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let mut spared = spared(&BTreeSet::from([network("10.0.0.0/8")]));
        spared.insert(network("10.9.8.7/32"), SparedBy::Name("trunk.example.net".to_owned()));
        let why = |address: [u8; 4]| sparing(&spared, address.into()).map(|(_, by)| by.clone());
        assert_eq!(why([10, 9, 8, 7]), Some(SparedBy::Name("trunk.example.net".to_owned())));
        assert_eq!(why([10, 9, 8, 8]), Some(SparedBy::Configuration));
        assert_eq!(why([203, 0, 113, 1]), None);
        assert!(networks(&spared).contains(&network("10.0.0.0/8")));
    }
}
