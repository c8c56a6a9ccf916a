//! How hosts and authorities come into the cluster, and what was done to it by force.

use serde::{Deserialize, Serialize};

use super::{Actor, HostRole};
use crate::ids::{ClusterId, HostId, JoinTokenId, LogIndex};
use crate::time::Timestamp;

/// The family of the cluster's own facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipEvent {
    /// Whoever holds the token's secret may join once.
    TokenIssued(JoinTokenIssued),
    /// A token is void.
    TokenRevoked(JoinTokenRevoked),
    /// Certificates of this authority are trusted.
    AuthorityAdded(AuthorityAdded),
    /// Certificates of this authority are no longer trusted.
    AuthorityRetired(AuthorityRetired),
    /// One host went on alone with a new cluster, on an operator's order.
    ClusterForced(ClusterForced),
    /// The damaged end of a host's log was cut off, on an operator's order.
    TailLossAccepted(TailLossAccepted),
}

/// Whoever holds the token's secret may join once, until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenIssued {
    /// The token's public name.
    pub token: JoinTokenId,
    /// What proves the secret without telling it: nobody can join with this alone.
    pub verifier: [u8; 32],
    /// What the host may become.
    pub role: HostRole,
    /// When the token is void.
    pub expires: Timestamp,
    /// Who issued it.
    pub by: Actor,
}

/// A token is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenRevoked {
    /// The token.
    pub token: JoinTokenId,
    /// Who revoked it.
    pub by: Actor,
}

/// Certificates of this authority are trusted from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityAdded {
    /// The authority's certificate, DER.
    pub certificate: Vec<u8>,
    /// Who added it.
    pub by: Actor,
}

/// Certificates of this authority are no longer trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRetired {
    /// SHA-256 of the authority's public key (its SubjectPublicKeyInfo, DER).
    pub key_hash: [u8; 32],
    /// Who retired it.
    pub by: Actor,
}

/// One host went on alone with a new cluster: what only the others held is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterForced {
    /// The host that went on.
    pub host: HostId,
    /// The cluster before.
    pub previous: ClusterId,
    /// The members before, in order.
    pub members: Vec<HostId>,
    /// The last entry that was kept.
    pub last: LogIndex,
    /// Who ordered it.
    pub by: Actor,
}

/// The damaged end of a host's log was cut off: acknowledged entries may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailLossAccepted {
    /// The host.
    pub host: HostId,
    /// The last entry that was kept.
    pub last: LogIndex,
    /// Bytes that were cut off.
    pub bytes: u64,
    /// Who ordered it.
    pub by: Actor,
}
