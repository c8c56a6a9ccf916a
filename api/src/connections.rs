//! Counts places by owner, so that one source cannot take every connection, nor one session every event stream.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Bits of an IPv6 address that one subscriber controls.
const IPV6_SUBSCRIBER_BITS: u32 = 64;

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbourhood(IpAddr);

impl Neighbourhood {
    /// The source to which an address belongs.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - IPV6_SUBSCRIBER_BITS);
                Self(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask)))
            }
        }
    }
}

/// Places taken by each owner. Never holds more owners than there are places taken.
#[derive(Debug)]
pub(crate) struct Places<K: Ord> {
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Ord> {
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
    owner: K,
}

impl<K: Ord> Default for Places<K> {
    fn default() -> Self {
        Self { taken: Arc::default() }
    }
}

impl<K: Ord + Clone> Places<K> {
    /// Takes a place, or none if the owner has `most` already.
    pub(crate) fn take(&self, owner: K, most: usize) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&owner).copied().unwrap_or_default();
        if most <= count {
            return None;
        }
        taken.insert(owner.clone(), count + 1);
        Some(Place { taken: Arc::clone(&self.taken), owner })
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_its_places_back() {
        let places = Places::default();
        let address = Neighbourhood::of(IpAddr::from([198, 51, 100, 1]));
        let first = places.take(address, 2);
        let second = places.take(address, 2);
        assert!(first.is_some() && second.is_some());
        assert!(places.take(address, 2).is_none());
        assert!(places.take(Neighbourhood::of(IpAddr::from([198, 51, 100, 2])), 2).is_some());
        drop(first);
        assert!(places.take(address, 2).is_some());
        drop(second);
        assert!(places.taken.lock().unwrap().is_empty(), "nothing is kept of sources that left");
    }

    #[test]
    fn an_ipv4_address_written_as_ipv6_is_the_same_source() {
        let v4 = IpAddr::from([198, 51, 100, 1]);
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc633, 0x6401]);
        assert_eq!(Neighbourhood::of(v4), Neighbourhood::of(mapped));
    }
}
