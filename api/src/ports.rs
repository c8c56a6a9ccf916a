//! The only doors between the API and the rest of the host: [`Submit`] for wishes, [`Reads`] for everything shown.
//!
//! The API writes nothing and keeps nothing but login sessions (ARCHITECTURE.md, invariant 8). The host process
//! implements both traits; the tests implement them over the real `decide` and the real read models.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::Actor;
use log_format::ids::{ClusterId, CommandId, HostId, LogIndex, Term};
use log_format::time::Timestamp;
use projections::decide::{CommandBody, Refusal};
use projections::frame::Standing;
use projections::read::ReadModels;
use thiserror::Error;
use tokio::sync::watch;

/// Takes a person's wish to the leader.
pub trait Submit: Send + Sync + 'static {
    /// Lets the leader make a new authority, signed by the one there is; gives the hash of its key. The key never leaves the hosts
    /// that sign.
    fn rotate_authority(&self, by: Actor) -> BoxFuture<'_, Result<[u8; 32], SubmitError>>;

    /// Submits one command and waits until this host has applied what came of it. The same id never takes effect twice:
    /// a repetition answers with the index of the first. Bounded in time by the implementation.
    fn submit(&self, command: CommandId, body: CommandBody) -> BoxFuture<'_, Result<Accepted, SubmitError>>;

    /// Folds this host's projections anew beside the served ones, unless that is under way; gives the rebuild's number
    /// since the host's start. Soft state: it is no event, and changes nothing if the projections are what the log says.
    fn rebuild(&self) -> u64;
}

/// A command that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The entry that carries its events; applied on this host.
    pub index: LogIndex,
}

/// A command that did not, or perhaps did not, take effect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// A rule says no. It did not take effect.
    #[error("refused by a rule")]
    Rejected(Refusal),
    /// Nobody can decide now. It did not take effect.
    #[error("no leader")]
    NoLeader {
        /// The host that may be leader, if one is known.
        hint: Option<HostId>,
    },
    /// It may or may not have taken effect; the same id may be submitted again.
    #[error("outcome unknown")]
    Unknown,
    /// Overload. It did not take effect.
    #[error("busy")]
    Busy,
}

/// What the host shows: its read models, the cluster's soft state, and the log's tail for event streams.
pub trait Reads: Send + Sync + 'static {
    /// Runs `read` on the read models as they are at one index. It holds a lock: `read` copies what it needs and returns.
    fn with_views(&self, read: &mut dyn FnMut(&ReadModels));

    /// The hosts as this one sees them.
    fn cluster(&self) -> ClusterView;

    /// The applied index, and every change of it.
    fn subscribe(&self) -> watch::Receiver<LogIndex>;

    /// Applied entries after an index, at most `max`, in order.
    fn events_after(&self, after: LogIndex, max: usize) -> Tail;

    /// The hash over everything folded, with the index at which it was taken; `None` if the host is too busy to say.
    fn state_hash(&self) -> BoxFuture<'_, Option<StateHash>>;

    /// Where each projection stands; `None` if the host is too busy to say.
    fn projections(&self) -> BoxFuture<'_, Option<Vec<ProjectionView>>>;

    /// The projections that were found, since the host's start, not to be the fold of the log.
    fn diverged(&self) -> Vec<String>;

    /// Waits until the views show everything that was acknowledged, anywhere in the cluster, before the call; `None` if no
    /// quorum confirmed that in time. Bounded in time by the implementation.
    fn confirm(&self) -> BoxFuture<'_, Option<LogIndex>>;

    /// The smallest network with this address that the host that answers never drops, whatever the log says; `None` if there is none.
    fn spared(&self, address: IpAddr) -> Option<Spared>;

    /// The wall clock: for display and for counting down, never for a rule.
    fn now(&self) -> Timestamp;
}

/// A network that one host never drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spared {
    /// The network.
    pub network: IpNet,
    /// Why.
    pub by: SparedBy,
}

/// Why a host never drops a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SparedBy {
    /// Its configuration names it.
    Configuration,
    /// It is an address of a name that its configuration has.
    Name(String),
    /// It is a gateway or a resolver of the host's.
    System,
    /// Somebody is signed in from there.
    SignIn,
}

impl fmt::Display for SparedBy {
    /// What follows "because".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => f.write_str("its configuration says so (firewall.never_block)"),
            Self::Name(name) => write!(f, "it is an address of {name} (firewall.never_block)"),
            Self::System => f.write_str("it is one of its gateways or resolvers"),
            Self::SignIn => f.write_str("somebody is signed in from there"),
        }
    }
}

/// A piece of the applied log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Entries after the index asked for.
    Entries {
        /// In order of their index. Entries without an envelope (a leader's no-op) are left out.
        entries: Vec<(LogIndex, Arc<Envelope>)>,
        /// Everything up to this index, and nothing after it, was looked at: the next `after`.
        upto: LogIndex,
    },
    /// The index is older than what this host still holds in memory: the reader must load its lists anew.
    TooOld,
}

/// Fingerprint of everything folded. At equal index all hosts have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateHash {
    /// The index at which it was taken.
    pub index: LogIndex,
    /// The hash.
    pub hash: [u8; 32],
}

/// One projection of the host that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionView {
    /// Name, version, applied index and state hash.
    pub standing: Standing,
    /// Entries that the cluster has committed and this host has not applied.
    pub lag: u64,
    /// The last entry of its last checkpoint.
    pub checkpoint: Option<LogIndex>,
    /// The rebuild that is under way.
    pub rebuild: Option<RebuildView>,
    /// Number and end of the last rebuild since the host's start.
    pub last_rebuild: Option<(u64, RebuildEnd)>,
    /// The entry at which it was last found not to be the fold of the log, since the host's start.
    pub diverged_at: Option<LogIndex>,
}

/// A rebuild that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildView {
    /// Which one since the host's start.
    pub number: u64,
    /// How far it has folded.
    pub folded: LogIndex,
}

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildEnd {
    /// It took over, equal to what was served.
    Equal {
        /// The entry at which it took over.
        index: LogIndex,
    },
    /// It took over, and what was served was not the fold of the log.
    Differed {
        /// The entry at which it took over.
        index: LogIndex,
    },
    /// It did not take over.
    Failed {
        /// Why.
        detail: String,
    },
}

/// The cluster as one host sees it. Soft state: none of it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The host that answers.
    pub this: HostId,
    /// The leader, if one is known.
    pub leader: Option<HostId>,
    /// The current term.
    pub term: Term,
    /// What the cluster has committed, as far as this host knows.
    pub commit: LogIndex,
    /// What this host has applied.
    pub applied: LogIndex,
    /// How old what this host shows may be: the time since a leader last spoke to it; zero for the leader itself.
    pub staleness: Duration,
    /// Whether the host that answers was removed from the cluster: then it knows no leader, and never will.
    pub is_removed: bool,
    /// Hashes of the keys of the authorities that this host trusts, the oldest first; empty before it has looked.
    pub authorities: Vec<[u8; 32]>,
    /// Provisional blocks in force on this host alone: its sensor acted, the cluster has not decided yet.
    pub provisional_blocks: u32,
    /// Every enrolled host, in order of its id.
    pub hosts: Vec<HostView>,
}

/// One host's soft state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// The host.
    pub id: HostId,
    /// The name that people see.
    pub name: String,
    /// Where its peers reach it.
    pub address: Option<SocketAddr>,
    /// Its part in consensus.
    pub role: Role,
    /// Whether it answers.
    pub status: HostStatus,
    /// How long ago it was last heard, by this host's monotonic clock; `None`: never since this host's start.
    pub last_heard: Option<Duration>,
    /// What it has applied.
    pub applied: Option<LogIndex>,
    /// What it knows to be committed.
    pub commit: Option<LogIndex>,
    /// Up to which index its kernel does what the log says.
    pub enforced: Option<LogIndex>,
    /// Its firewall.
    pub firewall: FirewallView,
    /// Its sensor, once it has reported.
    pub sensor: Option<SensorView>,
    /// Its version of Palisade; empty if it has not reported.
    pub version: String,
    /// Its kernel's release; empty if it has not reported.
    pub kernel: String,
    /// Hash of the key of the authority that signed its certificate.
    pub authority: Option<[u8; 32]>,
    /// Its wall clock minus this host's, in milliseconds.
    pub clock_offset_ms: Option<i64>,
}

/// A host's part in consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the terms are Raft's own")]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    PreCandidate,
    Learner,
    /// It has not told.
    Unknown,
}

impl Role {
    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::PreCandidate => "pre-candidate",
            Self::Learner => "learner",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostStatus {
    /// Heard within fifteen seconds.
    Active,
    /// Not heard for longer.
    Inactive,
    /// Not heard since this host's start, which is not long ago.
    Unknown,
}

impl HostStatus {
    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Unknown => "unknown",
        }
    }
}

/// What a host's firewall does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallView {
    /// Whether blocks reach the kernel.
    pub mode: FirewallMode,
    /// Why it is so, in a sentence for people; empty while it enforces.
    pub reason: String,
}

/// Whether a host's blocks reach its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallMode {
    /// Blocked addresses are dropped.
    Enforcing,
    /// Nothing is dropped, on purpose or for want of a privilege.
    WatchOnly,
    /// The kernel refused; the reason says what.
    Failing,
    /// The host has not told.
    Unknown,
}

impl FirewallMode {
    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::WatchOnly => "watch-only",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        }
    }
}

/// What a host's sensor has counted since its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorView {
    /// Where packets come from: an interface or a file.
    pub source: String,
    /// Packets seen.
    pub packets: u64,
    /// SIP messages among them.
    pub sip_messages: u64,
    /// Packets that looked like SIP and could not be read.
    pub malformed: u64,
    /// Packets and observations dropped for overload.
    pub dropped: u64,
}

/// Draws random bytes. Injected, so that the crate itself draws none.
pub type Random = Arc<dyn Fn(&mut [u8]) -> Result<(), NoRandomness> + Send + Sync>;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("draw random bytes")]
pub struct NoRandomness;

/// The doors as the server takes them.
#[derive(Clone)]
pub struct Ports {
    /// Wishes.
    pub submit: Arc<dyn Submit>,
    /// Everything shown.
    pub reads: Arc<dyn Reads>,
    /// Random bytes for session ids, passwords and command ids.
    pub random: Random,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}
