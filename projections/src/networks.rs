//! A list of networks that finds the longest prefix of an address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::digest::{Canonical, CanonicalHasher};

/// Networks in canonical form, each with something to say. A lookup asks once per prefix length in use, so
/// its cost does not grow with the number of networks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct NetworkList<T> {
    entries: BTreeMap<IpNet, T>,
    /// Networks by prefix length; derived from `entries`.
    v4_lengths: BTreeMap<u8, usize>,
    v6_lengths: BTreeMap<u8, usize>,
}

impl<T> NetworkList<T> {
    pub(crate) fn new() -> Self {
        Self { entries: BTreeMap::new(), v4_lengths: BTreeMap::new(), v6_lengths: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, network: &IpNet) -> Option<&T> {
        self.entries.get(network)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> {
        self.entries.iter().map(|(network, value)| (*network, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut()
    }

    /// Adds a network, or replaces what it says.
    pub(crate) fn insert(&mut self, network: IpNet, value: T) {
        if self.entries.insert(network, value).is_none() {
            *self.lengths_mut(&network).entry(network.prefix_len()).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, network: &IpNet) -> Option<T> {
        let value = self.entries.remove(network)?;
        let length = network.prefix_len();
        let lengths = self.lengths_mut(network);
        match lengths.get_mut(&length) {
            Some(count) if 1 < *count => *count -= 1,
            Some(_) | None => drop(lengths.remove(&length)),
        }
        Some(value)
    }

    /// Removes every network for which `keep` is false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&IpNet, &T) -> bool) {
        let gone: Vec<IpNet> = self
            .entries
            .iter()
            .filter(|(network, value)| !keep(network, value))
            .map(|(network, _)| *network)
            .collect();
        for network in gone {
            self.remove(&network);
        }
    }

    /// The networks that hold `address`, longest prefix first.
    pub(crate) fn covering(&self, address: IpAddr) -> impl Iterator<Item = (IpNet, &T)> {
        let lengths = match address {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        lengths.keys().rev().filter_map(move |length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.entries.get(&network).map(|value| (network, value))
        })
    }

    /// The networks that lie within `network`, itself included.
    pub(crate) fn within(&self, network: &IpNet) -> impl Iterator<Item = (IpNet, &T)> {
        let outer = *network;
        self.entries
            .range(outer..)
            .take_while(move |(inner, _)| inner.network() <= outer.broadcast())
            .filter(move |(inner, _)| outer.contains(*inner))
            .map(|(inner, value)| (*inner, value))
    }

    fn lengths_mut(&mut self, network: &IpNet) -> &mut BTreeMap<u8, usize> {
        match network {
            IpNet::V4(_) => &mut self.v4_lengths,
            IpNet::V6(_) => &mut self.v6_lengths,
        }
    }
}

impl<T: Canonical> Canonical for NetworkList<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { entries, v4_lengths: _, v6_lengths: _ } = self;
        entries.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_comes_first() {
        let mut list = NetworkList::new();
        for text in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32"] {
            list.insert(text.parse().unwrap(), ());
        }
        let found = |list: &NetworkList<()>, text: &str| -> Vec<String> {
            list.covering(text.parse().unwrap()).map(|(network, ())| network.to_string()).collect()
        };
        assert_eq!(found(&list, "10.1.2.3"), ["10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8"]);
        assert_eq!(found(&list, "2001:db8::5"), ["2001:db8::/32"]);
        assert!(found(&list, "192.0.2.1").is_empty());
        list.remove(&"10.1.0.0/16".parse().unwrap());
        assert_eq!(found(&list, "10.1.2.3"), ["10.1.2.3/32", "10.0.0.0/8"]);
    }
}
