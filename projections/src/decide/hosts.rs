//! The cluster's hosts: their fold, and the rules for taking them in and letting them go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use log_format::event::{
    Actor, AddressReleased, DenylistEvent, Event, HostActive, HostEnrolled, HostEvent, HostInactive,
    HostKeyAnnounced, HostRemoved, HostRole, ReleaseCause, SpoolDropped, Text,
};
use log_format::ids::{HostId, Incarnation, JoinTokenId, Origin};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Model, Rejection};
use crate::address::{canonical, special};
use crate::digest::{Canonical, CanonicalHasher};

/// Hosts at most, removed ones included; a hosting cluster has tens, and ids are never used again.
pub const MAX_HOSTS: usize = 4_096;
/// Addresses of one host at most.
pub const MAX_ADDRESSES_OF_HOST: usize = 64;

/// ```text
///              enrolled                inactive
///  (unknown) ───────────> Active ─────────────────> Inactive
///                           ^ │ ^                     │   │
///                  enrolled └─┘ └─────────────────────┘   │ removed, from either state
///                                        active           v
///                                                      Removed (for ever)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    name: Text,
    addresses: BTreeSet<IpAddr>,
    peer: Option<SocketAddr>,
    role: HostRole,
    state: HostState,
    /// With which it signs what it witnesses; `None`: it has not said.
    key: Option<[u8; 32]>,
    /// Its incarnation when it first said a key: the only one that it ever has.
    incarnation: Option<Incarnation>,
}

/// A host that belongs to the cluster, as consensus and transport need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The host.
    pub host: HostId,
    /// Where its peers reach it; `None`: as the start-up configuration says.
    pub peer: Option<SocketAddr>,
    /// Its incarnation; `None`: it has not spoken for itself yet.
    pub incarnation: Option<Incarnation>,
    /// What it may become.
    pub role: HostRole,
    /// Whether it answers.
    pub is_active: bool,
}

/// All hosts that the cluster ever had.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
            incarnation: host.incarnation,
            role: host.role,
            is_active: host.state == HostState::Active,
        })
    }

    pub(crate) fn state(&self, host: HostId) -> Option<HostState> {
        self.by_id.get(&host).map(|host| host.state)
    }

    /// The key of a host that belongs to the cluster.
    pub(crate) fn key(&self, host: HostId) -> Option<[u8; 32]> {
        self.member(host).and_then(|host| host.key)
    }

    fn member(&self, host: HostId) -> Option<&Host> {
        self.by_id.get(&host).filter(|host| host.state != HostState::Removed)
    }

    fn others(&self, than: HostId) -> impl Iterator<Item = (HostId, &Host)> {
        let members = self.by_id.iter().filter(|(_, host)| host.state != HostState::Removed);
        members.map(|(id, host)| (*id, host)).filter(move |(id, _)| *id != than)
    }

    /// `speaker` is the incarnation of whoever the event's command is from.
    pub(crate) fn evolve(&mut self, event: &HostEvent, speaker: Incarnation) {
        match event {
            HostEvent::Enrolled(HostEnrolled { host, name, addresses, peer, role, token: _ }) => {
                let (name, addresses) = (name.clone(), addresses.iter().copied().collect());
                let (peer, role, state) = (*peer, *role, HostState::Active);
                let before = self.by_id.get(host);
                let key = before.and_then(|before| before.key);
                let incarnation = before.and_then(|before| before.incarnation);
                self.by_id.insert(*host, Host { name, addresses, peer, role, state, key, incarnation });
            }
            HostEvent::Active(HostActive { host }) => self.set(*host, HostState::Active),
            HostEvent::Inactive(HostInactive { host, last_heard }) => {
                self.set(*host, HostState::Inactive { last_heard: *last_heard });
            }
            HostEvent::Removed(HostRemoved { host, by: _ }) => self.set(*host, HostState::Removed),
            HostEvent::KeyAnnounced(HostKeyAnnounced { host, key }) => {
                if let Some(host) = self.by_id.get_mut(host) {
                    host.key = Some(*key);
                    host.incarnation.get_or_insert(speaker);
                }
            }
            HostEvent::SpoolDropped(_) => return, // What is missing is remembered with what came.
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

/// Judges the enrolment of a configured host, or the correction of one that is in the cluster.
pub(super) fn enrol(
    model: &Model,
    (host, name): (HostId, Text),
    addresses: Vec<IpAddr>,
    peer: Option<SocketAddr>,
    now: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let addresses: BTreeSet<IpAddr> = addresses.into_iter().map(canonical).collect();
    check(model, host, addresses.len())?;
    let before = model.hosts.member(host);
    let peer = peer.or(before.and_then(|before| before.peer));
    let role = before.map_or(HostRole::VoterCapable, |before| before.role);
    let same = |before: &Host| {
        let Host { name: known, addresses: held, peer: reached, role: _, state, key: _, incarnation: _ } =
            before;
        (known, held, reached, state) == (&name, &addresses, &peer, &HostState::Active)
    };
    if before.is_some_and(same) {
        return Ok(Vec::new());
    }
    let addresses = addresses.into_iter().collect();
    Ok(take_in(model, HostEnrolled { host, name, addresses, peer, role, token: None }, now))
}

/// A host that wishes to join.
pub(super) struct Joining {
    pub(super) token: JoinTokenId,
    pub(super) name: Text,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) peer: SocketAddr,
}

/// Judges that a host joins with a token. Whoever takes the command has checked the proof of the token's secret.
pub(super) fn join(model: &Model, joining: Joining, now: Timestamp) -> Result<Vec<Event>, Rejection> {
    let Joining { token, name, addresses, peer } = joining;
    let role = model.tokens.usable(token, now)?.role;
    let host = free_id(model)?;
    let addresses: BTreeSet<IpAddr> = addresses.into_iter().map(canonical).collect();
    check(model, host, addresses.len())?;
    if name.as_bytes().trim_ascii().is_empty() {
        return Err(Rejection::BlankEntry { field: "name" });
    }
    for (host, other) in model.hosts.others(host) {
        if other.name == name {
            return Err(Rejection::NameTaken { name: name.visible(), host });
        }
        if other.peer == Some(peer) {
            return Err(Rejection::PeerTaken { peer, host });
        }
    }
    // Hosts on one machine may share its loopback, which is nobody's own.
    for address in addresses.iter().copied().filter(|address| special(*address).is_none()) {
        if let Some(host) = model.hosts.owner(address) {
            return Err(Rejection::AddressTaken { address, host });
        }
    }
    let (addresses, peer, token) = (addresses.into_iter().collect(), Some(peer), Some(token));
    Ok(take_in(model, HostEnrolled { host, name, addresses, peer, role, token }, now))
}

/// The id after the highest that ever was: ids of removed hosts are never used again.
fn free_id(model: &Model) -> Result<HostId, Rejection> {
    let highest = model.hosts.by_id.last_key_value().map_or(0, |(host, _)| host.get());
    #[cfg(bug = "host_id_reused")]
    let highest = match log_format::planted::is_on("host_id_reused") {
        true => model.hosts.members().last().map_or(0, |member| member.host.get()),
        false => highest,
    };
    let full = Rejection::ListFull { list: "hosts", limit: MAX_HOSTS };
    highest.checked_add(1).map(HostId::new).ok_or(full)
}

/// Addresses that were blocked before anybody knew whose they are become free.
fn take_in(model: &Model, enrolled: HostEnrolled, now: Timestamp) -> Vec<Event> {
    let addresses = enrolled.addresses.clone().into_iter();
    let blocked = addresses.filter(|address| model.addresses.lists(*address, now));
    let released = blocked.map(|source| {
        let cause = ReleaseCause::Manual { by: Actor::System };
        Event::Denylist(DenylistEvent::AddressReleased(AddressReleased { source, cause }))
    });
    std::iter::once(Event::Host(HostEvent::Enrolled(enrolled))).chain(released).collect()
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
    #[cfg(bug = "host_id_reused")]
    if log_format::planted::is_on("host_id_reused") {
        return Ok(());
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

/// Judges a key. A host says it of itself, and its first key says which incarnation it is, for ever.
pub(super) fn announce_key(
    model: &Model,
    origin: &Origin,
    announced: HostKeyAnnounced,
) -> Result<Vec<Event>, Rejection> {
    let HostKeyAnnounced { host, key } = announced;
    is_member_itself(model, origin, host)?;
    let known = model.hosts.member(host).and_then(|host| host.incarnation);
    if known.is_some_and(|known| known != origin.incarnation) {
        return Err(Rejection::HostMadeAnew { host });
    }
    if model.hosts.key(host) == Some(key) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Host(HostEvent::KeyAnnounced(announced))])
}

/// Judges what a host's spool forgot. A host says it of itself.
pub(super) fn drop_spool(
    model: &Model,
    origin: &Origin,
    dropped: SpoolDropped,
) -> Result<Vec<Event>, Rejection> {
    let SpoolDropped { host, from, to, count } = dropped;
    is_member_itself(model, origin, host)?;
    // None of them: nobody knows how many. A range that ends before it begins allows no count.
    let (field, least) = ("count", u64::from(to < from));
    let most = to.get().saturating_sub(from.get()).saturating_add(u64::from(from <= to));
    if !(least..=most).contains(&count) {
        return Err(Rejection::OutOfRange { field, value: count, least, most });
    }
    if to <= model.acknowledged(host, origin.incarnation) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Host(HostEvent::SpoolDropped(dropped))])
}

/// Refuses what a host says of another, and what a host says that does not belong to the cluster.
pub(super) fn is_member_itself(model: &Model, origin: &Origin, host: HostId) -> Result<(), Rejection> {
    if origin.host != host {
        return Err(Rejection::SpeaksForAnother { host, speaker: origin.host });
    }
    match model.hosts.state(host) {
        None => Err(Rejection::UnknownHost { host }),
        Some(HostState::Removed) => Err(Rejection::HostRemoved { host }),
        Some(HostState::Active | HostState::Inactive { .. }) => Ok(()),
    }
}

/// Judges a removal. One that leaves no host would leave nobody to say so.
pub(super) fn remove(model: &Model, removed: HostRemoved) -> Result<Vec<Event>, Rejection> {
    let host = removed.host;
    match model.hosts.state(host) {
        None => Err(Rejection::UnknownHost { host }),
        Some(HostState::Removed) => Err(Rejection::HostRemoved { host }),
        Some(HostState::Active | HostState::Inactive { .. }) if model.hosts.others(host).next().is_none() => {
            Err(Rejection::LastHost { host })
        }
        Some(HostState::Active | HostState::Inactive { .. }) => {
            Ok(vec![Event::Host(HostEvent::Removed(removed))])
        }
    }
}

/// Judges who is to lead as far as the log knows: somebody who belongs to the cluster.
pub(super) fn transfer(model: &Model, to: HostId) -> Result<Vec<Event>, Rejection> {
    match model.hosts.state(to) {
        None => Err(Rejection::UnknownHost { host: to }),
        Some(HostState::Removed) => Err(Rejection::HostRemoved { host: to }),
        Some(HostState::Active | HostState::Inactive { .. }) => Ok(Vec::new()),
    }
}

impl Canonical for HostState {
    fn put(&self, out: &mut CanonicalHasher) {
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
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { name, addresses, peer, role, state, key, incarnation } = self;
        name.put(out);
        addresses.put(out);
        peer.put(out);
        role.put(out);
        state.put(out);
        key.put(out);
        incarnation.put(out);
    }
}

impl Canonical for Hosts {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { by_id, owners: _ } = self;
        by_id.put(out);
    }
}
