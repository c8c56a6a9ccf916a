//! Places of connections that have not yet shown who they are. Nobody without a name may take the members' places, and no
//! source more than its share of the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections from addresses of members: far more than a cluster makes at once.
const MAX_MEMBERS: usize = 64;
/// Connections from anywhere else.
const MAX_STRANGERS: usize = 64;
/// Those of one source: enough for hosts that join from behind one address, an eighth of all.
const MAX_OF_SOURCE: usize = 8;
/// Whoever has an IPv6 address has the network around it, so that counts as one source.
const SOURCE_BITS: u32 = 64;

/// Whether a connection comes from where a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Member,
    Elsewhere,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Places {
    members: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// How many each source has; none of them is zero.
    sources: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Option<Counted>,
}

struct Counted {
    source: IpAddr,
    sources: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            members: Arc::new(Semaphore::new(MAX_MEMBERS)),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
            sources: Arc::default(),
        }
    }

    /// A place for a connection from this address, if there is one.
    pub(super) fn take(&self, address: IpAddr, origin: Origin) -> Option<Place> {
        match origin {
            Origin::Member => {
                let permit = Arc::clone(&self.members).try_acquire_owned().ok()?;
                Some(Place { _permit: permit, _counted: None })
            }
            Origin::Elsewhere => {
                let counted = self.count(source_of(address))?;
                let permit = Arc::clone(&self.strangers).try_acquire_owned().ok()?;
                Some(Place { _permit: permit, _counted: Some(counted) })
            }
        }
    }

    fn count(&self, source: IpAddr) -> Option<Counted> {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let held = sources.get(&source).copied().unwrap_or_default();
        if MAX_OF_SOURCE <= held {
            return None;
        }
        sources.insert(source, held + 1);
        Some(Counted { source, sources: Arc::clone(&self.sources) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let held = sources.get(&self.source).copied().unwrap_or_default();
        match held.saturating_sub(1) {
            0 => drop(sources.remove(&self.source)),
            left => drop(sources.insert(self.source, left)),
        }
    }
}

fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (Ipv6Addr::BITS - SOURCE_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_its_share_and_gets_back_what_it_leaves() {
        let places = Places::new();
        let take = |text| places.take(address(text), Origin::Elsewhere);
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ] {
            let mut held: Vec<_> = (0..MAX_OF_SOURCE).map(|_| take(one).unwrap()).collect();
            assert!(take(same).is_none());
            assert!(take(other).is_some());
            held.pop();
            assert!(take(same).is_some());
        }
        assert!(places.sources.lock().unwrap().is_empty());
    }

    #[test]
    fn strangers_leave_the_members_places() {
        let places = Places::new();
        let all = (0..u8::MAX).map(|last| IpAddr::from([198, 51, 100, last]));
        let held: Vec<_> = all.filter_map(|source| places.take(source, Origin::Elsewhere)).collect();
        assert_eq!(held.len(), MAX_STRANGERS);
        let member = address("192.0.2.1");
        assert!(places.take(member, Origin::Elsewhere).is_none());
        let members: Vec<_> = (0..=MAX_MEMBERS).filter_map(|_| places.take(member, Origin::Member)).collect();
        assert_eq!(members.len(), MAX_MEMBERS);
    }
}
