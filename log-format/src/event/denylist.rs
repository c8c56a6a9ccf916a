//! What happened to an address: blocked, released, denied, allowed.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AttackKind, Evidence, Rule, Sanction, Scope, Text};
use crate::ids::BlockId;
use crate::time::Timestamp;

/// The family of the address lists' facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenylistEvent {
    /// A dynamic block began.
    AddressBlocked(AddressBlocked),
    /// An address is free again.
    AddressReleased(AddressReleased),
    /// An address or network is dropped until a person says otherwise.
    AddressDenied(AddressDenied),
    /// An address or network is never dropped.
    AddressAllowed(AddressAllowed),
}

/// A dynamic block began. It ends by itself at `until`, also on hosts that are cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressBlocked {
    /// The block's identity: the id of the command that made it.
    pub block: BlockId,
    /// The blocked address, canonical (no IPv4-mapped IPv6).
    pub source: IpAddr,
    /// What of the source is dropped.
    pub scope: Scope,
    /// [`Sanction::SoftBlock`] (SIP ports only) or [`Sanction::Block`].
    pub sanction: Sanction,
    /// Why.
    pub reason: BlockReason,
    /// When it ends.
    pub until: Timestamp,
    /// Which dynamic block of this address it is within the threshold's window, from 1; 0 if it does not count.
    pub strikes: u32,
}

/// Why an address was blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockReason {
    /// A rule was tipped.
    Attack {
        /// The rule.
        rule: Rule,
        /// SIP method or protocol.
        attack: AttackKind,
        /// How sure it is.
        evidence: Evidence,
        /// How often within the rule's window, over all hosts.
        count: u32,
        /// The victim of the packet that tipped it.
        victim: IpAddr,
        /// Whether that agent is a known attack tool.
        known_user_agent: bool,
    },
    /// A person said so.
    Manual {
        /// Who.
        by: Actor,
        /// Their words; may be empty.
        note: Text,
    },
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// The cluster itself.
    System,
    /// The administrator with this name.
    Administrator(Text),
}

/// An address is free again: all its blocks, and its place in the denylist, end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressReleased {
    /// The address.
    pub source: IpAddr,
    /// Why.
    pub cause: ReleaseCause,
}

/// Why an address is free again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseCause {
    /// Its time was over.
    Expired,
    /// A person said so.
    Manual {
        /// Who.
        by: Actor,
    },
}

/// An address or network is dropped until a person says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressDenied {
    /// The network; a single address is a full-length prefix.
    pub network: IpNet,
    /// Why.
    pub reason: DenyReason,
}

/// Why an address is denied for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DenyReason {
    /// It was blocked more often than the threshold allows.
    Threshold {
        /// How many dynamic blocks it had.
        blocks: u32,
        /// The attack that was one too many.
        last: BlockReason,
    },
    /// A person said so.
    Manual {
        /// Who.
        by: Actor,
        /// Their words; may be empty.
        note: Text,
    },
}

/// An address or network is never dropped, until then or for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAllowed {
    /// The network; a single address is a full-length prefix.
    pub network: IpNet,
    /// When that ends; `None`: when a person says so.
    pub until: Option<Timestamp>,
    /// Who allowed it.
    pub by: Actor,
    /// Their words; may be empty.
    pub note: Text,
}
