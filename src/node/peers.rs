//! Who answers, and what each host says of itself. Soft state: sent with pings, never written down; only the change from
//! active to inactive and back is an event, proposed by the leader.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use consensus::core::Role;
use log_format::event::Text;
use log_format::ids::{ClusterId, HostId, LogIndex, Term};
use log_format::time::Timestamp;
use projections::decide::{CommandBody, HostState, Model};

use super::{Identity, Members, Node, Now, Output, PeerMessage, wire};

/// How often every host speaks to every other.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A host that was not heard for this long is inactive (FEATURES P19).
const INACTIVE_AFTER: Duration = Duration::from_secs(15);
/// A host is active again after this many pings within [`BACK_WITHIN`]: one lucky packet is no recovery.
const BACK_PINGS: u32 = 3;
/// See [`BACK_PINGS`].
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// A host that was not heard for this long is shown as unknown, well before it is called inactive.
const QUIET_AFTER: Duration = Duration::from_secs(4);

/// What this host's own shells report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalState {
    /// The entry up to which this host's kernel agrees with the log.
    pub enforced: LogIndex,
    /// What its firewall does.
    pub firewall: FirewallState,
    /// Why, for people.
    pub firewall_detail: String,
    /// Provisional blocks in force here.
    pub provisional: u64,
    /// Where its packets come from, for people.
    pub sensor_source: String,
    /// Packets seen.
    pub packets: u64,
    /// SIP messages among them.
    pub sip_messages: u64,
    /// Malformed ones among those.
    pub malformed: u64,
    /// Packets that the kernel could not hand over.
    pub dropped: u64,
    /// Palisade's version.
    pub version: String,
    /// The kernel's version.
    pub kernel: String,
    /// Whether its disk has room.
    pub disk: DiskState,
    /// SHA-256 of the key of the authority that signed the certificate which it shows.
    pub authority: Option<[u8; 32]>,
}

/// Whether a host's disk has room for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskState {
    /// It has.
    #[default]
    Ample,
    /// It is nearly full: a leader takes only what is necessary.
    Low,
}

/// What a host's firewall does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirewallState {
    /// Switched off in the start-up configuration.
    #[default]
    Off,
    /// The kernel drops what the log says.
    Enforcing,
    /// Nothing is dropped, for want of privileges.
    WatchOnly,
    /// The kernel refused the last change.
    Failing,
}

/// Whether a host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    Active,
    /// It has not for [`INACTIVE_AFTER`].
    Inactive,
    /// It is quiet, or this host sees no leader and so cannot tell.
    Unknown,
}

/// The cluster as this host sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPicture {
    /// The cluster.
    pub cluster: ClusterId,
    /// This host.
    pub host: HostId,
    /// The leader, if known.
    pub leader: Option<HostId>,
    /// This host's term.
    pub term: Term,
    /// The end of what is committed.
    pub commit: LogIndex,
    /// The end of what is folded here.
    pub applied: LogIndex,
    /// How old what this host shows may be: the time since a leader last spoke; zero for the leader itself.
    pub staleness: Duration,
    /// Whether this host was let go from the cluster.
    pub is_let_go: bool,
    /// Hosts with a vote.
    pub voters: Vec<HostId>,
    /// Every host.
    pub hosts: Vec<HostPicture>,
    /// Observations that this host could not hand to a leader and dropped.
    pub observations_dropped: u64,
}

/// One host as another sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPicture {
    /// The host.
    pub host: HostId,
    /// What it is in the cluster.
    pub role: Option<Role>,
    /// Whether it answers.
    pub presence: Presence,
    /// How long ago it was heard; zero for this host.
    pub last_heard: Option<Duration>,
    /// What it folded.
    pub applied: LogIndex,
    /// What it knows to be committed.
    pub commit: LogIndex,
    /// Its clock minus this host's, in milliseconds.
    pub clock_offset_ms: i64,
    /// What it says of itself.
    pub state: LocalState,
}

#[derive(Debug, Clone, Default)]
struct Peer {
    last_heard: Option<Duration>,
    pings: u32,
    counted_from: Duration,
    status: wire::HostStatus,
    clock_offset_ms: i64,
}

/// See the module.
pub(super) struct Peers {
    own: HostId,
    started: Duration,
    next_ping: Duration,
    local: LocalState,
    peers: BTreeMap<HostId, Peer>,
}

impl Peers {
    pub(super) fn new(identity: &Identity, now: Now) -> Self {
        let others = identity.hosts.iter().filter(|known| known.host != identity.host);
        let peers = others.map(|known| (known.host, Peer::default())).collect();
        Self {
            own: identity.host,
            started: now.monotonic,
            next_ping: now.monotonic,
            local: LocalState::default(),
            peers,
        }
    }

    /// Speaks with these hosts from now on, and with no others.
    pub(super) fn follow(&mut self, members: &Members) {
        self.peers.retain(|host, _| members.contains_key(host));
        for host in members.keys().filter(|host| **host != self.own) {
            self.peers.entry(*host).or_default();
        }
    }

    /// For how long a host has been quiet, if that is longer than a pause.
    pub(super) fn silence_of(&self, host: HostId, now: Now) -> Option<Duration> {
        let heard = self.peers.get(&host).and_then(|peer| peer.last_heard);
        let quiet = now.monotonic.saturating_sub(heard.unwrap_or(self.started));
        (heard.is_none() || QUIET_AFTER <= quiet).then_some(quiet)
    }

    /// Whether this host's disk has room.
    pub(super) fn disk(&self) -> DiskState {
        self.local.disk
    }

    /// Whether another host's disk has room, as it said last.
    pub(super) fn disk_of(&self, host: HostId) -> Option<DiskState> {
        Some(self.peers.get(&host)?.status.state.disk)
    }

    pub(super) fn set_local(&mut self, state: LocalState) {
        self.local = state;
    }

    /// A ping came. A status that does not decode is a newer host's: the sign of life counts all the same.
    pub(super) fn heard(&mut self, from: HostId, status: &[u8], now: Now) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.last_heard = Some(now.monotonic);
        if BACK_WITHIN < now.monotonic.saturating_sub(peer.counted_from) {
            peer.counted_from = now.monotonic;
            peer.pings = 0;
        }
        peer.pings = peer.pings.saturating_add(1);
        if let Some(status) = wire::decode_status(status) {
            peer.status = status;
        }
    }

    /// A pong came: half the round trip tells how far the peer's clock is from this one.
    pub(super) fn answered(&mut self, from: HostId, sent_at: Timestamp, received_at: Timestamp, now: Now) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let middle = i128::from(sent_at.nanos()).midpoint(i128::from(now.wall.nanos()));
        let offset = (i128::from(received_at.nanos()) - middle) / 1_000_000;
        peer.clock_offset_ms = i64::try_from(offset).unwrap_or(i64::MAX);
    }

    /// Hosts whose presence differs from what the log says.
    pub(super) fn transitions(&self, model: &Model, now: Now) -> Vec<CommandBody> {
        let mut due = Vec::new();
        #[cfg(bug = "host_stays_inactive")]
        let now = match log_format::planted::is_on("host_stays_inactive") {
            true => Now { monotonic: now.monotonic + BACK_WITHIN, ..now },
            false => now,
        };
        if matches!(model.host_state(self.own), Some(HostState::Inactive { .. })) {
            due.push(CommandBody::MarkHostActive { host: self.own });
        }
        for (&host, peer) in &self.peers {
            let is_active = match model.host_state(host) {
                Some(HostState::Active) => true,
                Some(HostState::Inactive { .. }) => false,
                Some(HostState::Removed) | None => continue,
            };
            let quiet = now.monotonic.saturating_sub(peer.last_heard.unwrap_or(self.started));
            if is_active && INACTIVE_AFTER <= quiet {
                due.push(CommandBody::MarkHostInactive { host, last_heard: now.wall.before(quiet) });
            }
            if !is_active && quiet < BACK_WITHIN && BACK_PINGS <= peer.pings {
                due.push(CommandBody::MarkHostActive { host });
            }
        }
        due
    }
}

impl Identity {
    /// Commands that enrol the configured hosts which the log does not know.
    pub(super) fn unenrolled(&self, model: &Model) -> Vec<CommandBody> {
        let unknown = self.hosts.iter().filter(|known| model.host_state(known.host).is_none());
        unknown
            .map(|known| CommandBody::EnrolHost {
                host: known.host,
                name: Text::new(known.name.as_bytes()),
                addresses: known.addresses.clone(),
                peer: None,
            })
            .collect()
    }
}

impl Node {
    /// Speaks to every peer, once a second.
    pub(super) fn ping(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if now.monotonic < self.peers.next_ping {
            return;
        }
        self.peers.next_ping = now.monotonic + PING_EVERY;
        let status = Bytes::from(wire::encode_status(&self.peers.local, &self.core.status(), self.applied));
        for &to in self.peers.peers.keys() {
            let message = PeerMessage::Ping { sent_at: now.wall, status: status.clone() };
            outputs.push(Output::Send { to, message });
        }
    }

    /// The authority of the certificate that each host shows, as it said last.
    pub(super) fn picture_of_authorities(&self) -> BTreeMap<HostId, Option<[u8; 32]>> {
        let own = (self.identity.host, self.peers.local.authority);
        let others = self.peers.peers.iter().map(|(host, peer)| (*host, peer.status.state.authority));
        others.chain([own]).collect()
    }

    /// The cluster as this host sees it now.
    pub fn picture(&self, now: Now) -> ClusterPicture {
        let status = self.core.status();
        let own = HostPicture {
            host: self.identity.host,
            role: Some(status.role),
            presence: Presence::Active,
            last_heard: Some(Duration::ZERO),
            applied: self.applied,
            commit: status.commit,
            clock_offset_ms: 0,
            state: self.peers.local.clone(),
        };
        let others = self.peers.peers.iter().map(|(&host, peer)| self.picture_of(host, peer, now));
        let mut hosts: Vec<HostPicture> = others.chain([own]).collect();
        hosts.sort_by_key(|picture| picture.host);
        ClusterPicture {
            cluster: self.identity.cluster,
            host: self.identity.host,
            leader: status.leader,
            term: status.term,
            commit: status.commit,
            applied: self.applied,
            staleness: match status.role {
                Role::Leader => Duration::ZERO,
                Role::Follower | Role::Candidate | Role::PreCandidate | Role::Learner => {
                    now.monotonic.saturating_sub(self.leader_heard)
                }
            },
            is_let_go: self.is_let_go(),
            voters: status.voters,
            hosts,
            observations_dropped: self.outbox.dropped(),
        }
    }

    fn picture_of(&self, host: HostId, peer: &Peer, now: Now) -> HostPicture {
        let status = self.core.status();
        let last_heard = peer.last_heard.map(|heard| now.monotonic.saturating_sub(heard));
        let quiet = last_heard.unwrap_or_else(|| now.monotonic.saturating_sub(self.peers.started));
        let is_marked = matches!(self.model.host_state(host), Some(HostState::Inactive { .. }));
        let presence = if quiet < QUIET_AFTER && last_heard.is_some() {
            Presence::Active
        } else if status.leader.is_some() && (is_marked || INACTIVE_AFTER <= quiet) {
            Presence::Inactive
        } else {
            Presence::Unknown
        };
        let role = match presence {
            Presence::Active if status.leader == Some(host) => Some(Role::Leader),
            Presence::Active if status.learners.contains(&host) => Some(Role::Learner),
            Presence::Active => Some(Role::Follower),
            Presence::Inactive | Presence::Unknown => None,
        };
        HostPicture {
            host,
            role,
            presence,
            last_heard,
            applied: peer.status.applied,
            commit: peer.status.commit,
            clock_offset_ms: peer.clock_offset_ms,
            state: peer.status.state.clone(),
        }
    }
}
