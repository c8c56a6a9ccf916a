//! The cluster's hosts: their fold, and the rules for taking them in and letting them go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use log_format::event::{
    Actor, AddressReleased, DenylistEvent, Event, HostActive, HostEnrolled, HostEvent, HostInactive,
    HostRemoved, HostRole, ReleaseCause, Text,
};
use log_format::ids::HostId;
use log_format::time::Timestamp;
use sha2::Sha256;

use super::{Model, Rejection};
use crate::address::canonical;
use crate::digest::Canonical;

/// Hosts at most, removed ones included; a hosting cluster has tens, and ids are never used again.
pub const MAX_HOSTS: usize = 4_096;
/// Addresses of one host at most.
pub const MAX_ADDRESSES_OF_HOST: usize = 64;

/// ```text
///              enrolled                inactive
///  (unknown) ───────────> Active ─────────────────> Inactive
///                           ^ │ ^                     │   │
///                  enrolled └─┘ └─────────────────────┘   │ removed
///                                        active           v
///                                                      Removed (for ever)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// It answers.
    Active,
    /// It has not answered for too long.
    Inactive {
        /// When the leader last heard it.
        last_heard: Timestamp,
    },
    /// It no longer belongs to the cluster.
    Removed,
}

/// A host as the rules know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    name: Text,
    addresses: BTreeSet<IpAddr>,
    peer: Option<SocketAddr>,
    role: HostRole,
    state: HostState,
}

/// A host that belongs to the cluster, as consensus and transport need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The host.
    pub host: HostId,
    /// Where its peers reach it; `None`: as the start-up configuration says.
    pub peer: Option<SocketAddr>,
    /// What it may become.
    pub role: HostRole,
    /// Whether it answers.
    pub is_active: bool,
}

/// All hosts that the cluster ever had.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    by_id: BTreeMap<HostId, Host>,
    /// Derived: the addresses of hosts that belong to the cluster.
    owners: BTreeMap<IpAddr, HostId>,
}

impl Hosts {
    /// The host that has this address.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<HostId> {
        self.owners.get(&address).copied()
    }

    /// A host with an address within the network.
    pub(crate) fn owner_within(&self, network: &IpNet) -> Option<HostId> {
        self.owners.range(network.network()..=network.broadcast()).map(|(_, host)| *host).next()
    }

    /// The addresses of all hosts that belong to the cluster.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.owners.keys().copied()
    }

    /// Every host that belongs to the cluster, in order of id.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        let members = self.by_id.iter().filter(|(_, host)| host.state != HostState::Removed);
        members.map(|(id, host)| Member {
            host: *id,
            peer: host.peer,
            role: host.role,
            is_active: host.state == HostState::Active,
        })
    }

    pub(crate) fn state(&self, host: HostId) -> Option<HostState> {
        self.by_id.get(&host).map(|host| host.state)
    }

    pub(crate) fn evolve(&mut self, event: &HostEvent) {
        match event {
            HostEvent::Enrolled(HostEnrolled { host, name, addresses, peer, role, token: _ }) => {
                let (name, addresses) = (name.clone(), addresses.iter().copied().collect());
                let (peer, role, state) = (*peer, *role, HostState::Active);
                self.by_id.insert(*host, Host { name, addresses, peer, role, state });
            }
            HostEvent::Active(HostActive { host }) => self.set(*host, HostState::Active),
            HostEvent::Inactive(HostInactive { host, last_heard }) => {
                self.set(*host, HostState::Inactive { last_heard: *last_heard });
            }
            HostEvent::Removed(HostRemoved { host, by: _ }) => self.set(*host, HostState::Removed),
            HostEvent::KeyAnnounced(_) | HostEvent::SpoolDropped(_) => {}
        }
        self.owners = self.owners_now();
    }

    fn set(&mut self, host: HostId, state: HostState) {
        if let Some(host) = self.by_id.get_mut(&host) {
            host.state = state;
        }
    }

    fn owners_now(&self) -> BTreeMap<IpAddr, HostId> {
        let members = self.by_id.iter().filter(|(_, host)| host.state != HostState::Removed);
        members.flat_map(|(id, host)| host.addresses.iter().map(|address| (*address, *id))).collect()
    }
}

/// Judges an enrolment. Addresses that were blocked before anybody knew whose they are become free.
pub(super) fn enrol(model: &Model, enrolled: HostEnrolled, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    let HostEnrolled { host, name, addresses, peer, role, token } = enrolled;
    let addresses: BTreeSet<IpAddr> = addresses.into_iter().map(canonical).collect();
    check(model, host, addresses.len())?;
    let same =
        Host { name: name.clone(), addresses: addresses.clone(), peer, role, state: HostState::Active };
    if model.hosts.by_id.get(&host) == Some(&same) {
        return Ok(Vec::new());
    }
    let blocked = addresses.iter().copied().filter(|address| model.addresses.lists(*address, now));
    let released = blocked.map(|source| {
        let cause = ReleaseCause::Manual { by: Actor::System };
        Event::Denylist(DenylistEvent::AddressReleased(AddressReleased { source, cause }))
    });
    let addresses = addresses.iter().copied().collect();
    let enrolled = HostEnrolled { host, name, addresses, peer, role, token };
    Ok(std::iter::once(Event::Host(HostEvent::Enrolled(enrolled))).chain(released).collect())
}

fn check(model: &Model, host: HostId, addresses: usize) -> Result<(), Rejection> {
    if host == HostId::default() {
        return Err(Rejection::UnknownHost { host });
    }
    if MAX_ADDRESSES_OF_HOST < addresses {
        return Err(Rejection::TooMany {
            field: "addresses",
            count: addresses,
            limit: MAX_ADDRESSES_OF_HOST,
        });
    }
    match model.hosts.state(host) {
        Some(HostState::Removed) => Err(Rejection::HostRemoved { host }),
        None if MAX_HOSTS <= model.hosts.by_id.len() => {
            Err(Rejection::ListFull { list: "hosts", limit: MAX_HOSTS })
        }
        Some(HostState::Active | HostState::Inactive { .. }) | None => Ok(()),
    }
}

/// Judges that a host answers again.
pub(super) fn mark_active(model: &Model, host: HostId) -> Result<Vec<Event>, Rejection> {
    match model.hosts.state(host) {
        None => Err(Rejection::UnknownHost { host }),
        Some(HostState::Removed) => Err(Rejection::HostRemoved { host }),
        Some(HostState::Active) => Ok(Vec::new()),
        Some(HostState::Inactive { .. }) => Ok(vec![Event::Host(HostEvent::Active(HostActive { host }))]),
    }
}

/// Judges that a host does not answer.
pub(super) fn mark_inactive(model: &Model, inactive: HostInactive) -> Result<Vec<Event>, Rejection> {
    let host = inactive.host;
    match model.hosts.state(host) {
        None => Err(Rejection::UnknownHost { host }),
        Some(HostState::Removed) => Err(Rejection::HostRemoved { host }),
        Some(HostState::Inactive { .. }) => Ok(Vec::new()),
        Some(HostState::Active) => Ok(vec![Event::Host(HostEvent::Inactive(inactive))]),
    }
}

/// Judges a removal: a host that answers would go on protecting and reporting.
pub(super) fn remove(model: &Model, removed: HostRemoved) -> Result<Vec<Event>, Rejection> {
    let host = removed.host;
    match model.hosts.state(host) {
        None => Err(Rejection::UnknownHost { host }),
        Some(HostState::Removed) => Err(Rejection::HostRemoved { host }),
        Some(HostState::Active) => Err(Rejection::HostStillActive { host }),
        Some(HostState::Inactive { .. }) => Ok(vec![Event::Host(HostEvent::Removed(removed))]),
    }
}

impl Canonical for HostState {
    fn put(&self, out: &mut Sha256) {
        match self {
            Self::Active => 0_u8.put(out),
            Self::Inactive { last_heard } => {
                1_u8.put(out);
                last_heard.put(out);
            }
            Self::Removed => 2_u8.put(out),
        }
    }
}

impl Canonical for Host {
    fn put(&self, out: &mut Sha256) {
        let Self { name, addresses, peer, role, state } = self;
        name.put(out);
        addresses.put(out);
        peer.put(out);
        role.put(out);
        state.put(out);
    }
}

impl Canonical for Hosts {
    fn put(&self, out: &mut Sha256) {
        let Self { by_id, owners: _ } = self;
        by_id.put(out);
    }
}
