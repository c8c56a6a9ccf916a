//! What happened to a host of the cluster.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Actor, Text};
use crate::ids::{HostId, JoinTokenId, OriginSequence};
use crate::time::Timestamp;

/// The family of the hosts' facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEvent {
    /// A host belongs to the cluster.
    Enrolled(HostEnrolled),
    /// A host answers again.
    Active(HostActive),
    /// A host has not answered for too long.
    Inactive(HostInactive),
    /// A host no longer belongs to the cluster.
    Removed(HostRemoved),
    /// A host signs what it witnesses with this key from now on.
    KeyAnnounced(HostKeyAnnounced),
    /// A host forgot observations that nobody took.
    SpoolDropped(SpoolDropped),
}

/// A host belongs to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEnrolled {
    /// The host.
    pub host: HostId,
    /// The name that people see.
    pub name: Text,
    /// Its own addresses, which are never blocked.
    pub addresses: Vec<IpAddr>,
    /// Where its peers reach it; `None`: as each host's start-up configuration says.
    pub peer: Option<SocketAddr>,
    /// What it may become.
    pub role: HostRole,
    /// The join token that it used up; `None`: it was there from the beginning.
    pub token: Option<JoinTokenId>,
}

/// What a host may become in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostRole {
    /// A voter, if an odd number of voters has room for it.
    VoterCapable,
    /// A learner only: it senses, blocks and follows, and never votes.
    SensorOnly,
}

impl HostRole {
    /// The name that people see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VoterCapable => "voter-capable",
            Self::SensorOnly => "sensor-only",
        }
    }
}

/// A host answers again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostActive {
    /// The host.
    pub host: HostId,
}

/// A host has not answered for fifteen seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInactive {
    /// The host.
    pub host: HostId,
    /// When the leader last heard it.
    pub last_heard: Timestamp,
}

/// A host no longer belongs to the cluster; its id is never used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRemoved {
    /// The host.
    pub host: HostId,
    /// Who removed it.
    pub by: Actor,
}

/// A host signs what it witnesses with this key from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKeyAnnounced {
    /// The host.
    pub host: HostId,
    /// Its Ed25519 public key (RFC 8032).
    pub key: [u8; 32],
}

/// A host's spool was full, and it forgot observations that no leader had taken. Its own start numbers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolDropped {
    /// The host.
    pub host: HostId,
    /// The first number that is missing.
    pub from: OriginSequence,
    /// The last number that is missing.
    pub to: OriginSequence,
    /// How many observations that were; zero if nobody knows.
    pub count: u64,
}
