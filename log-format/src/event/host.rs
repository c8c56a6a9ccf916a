//! What happened to a host of the cluster.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Actor, Text};
use crate::ids::HostId;
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
