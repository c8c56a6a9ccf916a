//! The log's own bookkeeping: chapters, their seals, and what was erased.

use serde::{Deserialize, Serialize};

use super::{Actor, AttackKind};
use crate::ids::{ChapterNumber, HostId, LogIndex};
use crate::time::Timestamp;

/// The family of the chapters' facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChapterEvent {
    /// Every host now seals this part of the log.
    Cut(ChapterCut),
    /// What the leader's seal of a chapter is; a host with another one stops.
    Sealed(ChapterSealed),
    /// A host vouches for a seal.
    Witnessed(SealWitnessed),
    /// The attack data of old chapters is erased.
    Erased(RetentionCut),
    /// What is kept of attack data that is about to be erased.
    RolledUp(AttackRolledUp),
}

/// Every host now seals the entries after the chapter before, up to and with `last`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChapterCut {
    /// The chapter, one more than the one before.
    pub chapter: ChapterNumber,
    /// Its last entry.
    pub last: LogIndex,
}

/// What the leader's seal of a chapter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChapterSealed {
    /// The chapter.
    pub chapter: ChapterNumber,
    /// The seal's hash.
    pub seal: [u8; 32],
}

/// A host vouches for a seal with the key that it announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealWitnessed {
    /// The chapter.
    pub chapter: ChapterNumber,
    /// The host.
    pub host: HostId,
    /// Its Ed25519 signature of the seal's hash (RFC 8032), 64 bytes.
    pub signature: Vec<u8>,
}

/// The attack data of all chapters up to this one is erased on every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionCut {
    /// The last chapter whose attack data goes.
    pub chapter: ChapterNumber,
    /// The last entry of that chapter.
    pub last: LogIndex,
    /// Who ordered it.
    pub by: Actor,
}

/// What is kept of a chapter's attack data: counts, no addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackRolledUp {
    /// The chapter.
    pub chapter: ChapterNumber,
    /// The counts, in order of day, host and attack.
    pub counts: Vec<AttackCount>,
}

/// How many attacks of one kind a host saw on one day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttackCount {
    /// The first moment of the day, UTC.
    pub day: Timestamp,
    /// The host.
    pub host: HostId,
    /// SIP method or protocol.
    pub attack: AttackKind,
    /// How many.
    pub count: u64,
}
