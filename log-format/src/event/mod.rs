//! The closed set of facts. A fact is in the past tense, is never refused and never edited.
//!
//! Every variant has a [`Kind`] (its number on disk, for ever), a schema number and a retention [`Class`].
//! A changed struct is a new schema number: the old one stays in `upcast.rs`.

mod attack;
mod chapter;
mod denylist;
mod host;
mod membership;
mod settings;
mod text;

pub use attack::{
    AttackEvent, AttackKind, AttackObserved, Evidence, NoteKind, NoteObserved, Rule, Sanction, Scope,
    StrikeDelta, StrikesCounted,
};
pub use chapter::{
    AttackCount, AttackRolledUp, ChapterCut, ChapterEvent, ChapterSealed, RetentionCut, SealWitnessed,
};
pub use denylist::{
    Actor, AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, BlockReason, DenyReason,
    DenylistEvent, ReleaseCause,
};
pub use host::{
    HostActive, HostEnrolled, HostEvent, HostInactive, HostKeyAnnounced, HostRemoved, HostRole, SpoolDropped,
};
pub use membership::{
    AuthorityAdded, AuthorityRetired, ClusterForced, JoinTokenIssued, JoinTokenRevoked, MembershipEvent,
    TailLossAccepted,
};
pub use settings::{EnforcementMode, PortRange, RuleMode, SettingChange, SettingsChanged, SettingsEvent};
pub use text::Text;

/// A fact of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What sensors saw.
    Attack(AttackEvent),
    /// What happened to an address.
    Denylist(DenylistEvent),
    /// What people changed in the cluster's settings.
    Settings(SettingsEvent),
    /// What happened to a host.
    Host(HostEvent),
    /// How hosts and authorities come into the cluster.
    Membership(MembershipEvent),
    /// The log's own bookkeeping.
    Chapter(ChapterEvent),
    /// A fact whose payload was erased; only its kind is left. Read from old chapters, never written by a host.
    Erased(Kind),
}

/// How long a fact is kept, and whether it can be erased on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Who did what; kept for ever.
    Audit,
    /// Blocks, hosts, runs; kept while they matter.
    Control,
    /// Attack data; erased after three months, so salted.
    Attack,
}

impl Class {
    /// The class's byte on disk.
    pub const fn code(self) -> u8 {
        match self {
            Self::Audit => 1,
            Self::Control => 2,
            Self::Attack => 3,
        }
    }

    /// Reads the byte on disk.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Audit),
            2 => Some(Self::Control),
            3 => Some(Self::Attack),
            _ => None,
        }
    }

    /// Whether an event of this class carries a salt beside its payload.
    pub const fn is_erasable(self) -> bool {
        matches!(self, Self::Attack)
    }
}

/// The number of an event's variant on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the event of the same name")]
pub enum Kind {
    AttackObserved,
    StrikesCounted,
    NoteObserved,
    AddressBlocked,
    AddressReleased,
    AddressDenied,
    AddressAllowed,
    SettingsChanged,
    HostEnrolled,
    HostActive,
    HostInactive,
    HostRemoved,
    HostKeyAnnounced,
    SpoolDropped,
    JoinTokenIssued,
    JoinTokenRevoked,
    AuthorityAdded,
    AuthorityRetired,
    ClusterForced,
    TailLossAccepted,
    ChapterCut,
    ChapterSealed,
    SealWitnessed,
    RetentionCut,
    AttackRolledUp,
}

impl Kind {
    /// Every kind, in order of its code.
    pub const ALL: [Self; 25] = [
        Self::AttackObserved,
        Self::StrikesCounted,
        Self::NoteObserved,
        Self::AddressBlocked,
        Self::AddressReleased,
        Self::AddressDenied,
        Self::AddressAllowed,
        Self::SettingsChanged,
        Self::HostEnrolled,
        Self::HostActive,
        Self::HostInactive,
        Self::HostRemoved,
        Self::HostKeyAnnounced,
        Self::SpoolDropped,
        Self::JoinTokenIssued,
        Self::JoinTokenRevoked,
        Self::AuthorityAdded,
        Self::AuthorityRetired,
        Self::ClusterForced,
        Self::TailLossAccepted,
        Self::ChapterCut,
        Self::ChapterSealed,
        Self::SealWitnessed,
        Self::RetentionCut,
        Self::AttackRolledUp,
    ];

    /// The number on disk; the high byte is the family.
    pub const fn code(self) -> u16 {
        match self {
            Self::AttackObserved => 0x0101,
            Self::StrikesCounted => 0x0102,
            Self::NoteObserved => 0x0103,
            Self::AddressBlocked => 0x0201,
            Self::AddressReleased => 0x0202,
            Self::AddressDenied => 0x0203,
            Self::AddressAllowed => 0x0204,
            Self::SettingsChanged => 0x0301,
            Self::HostEnrolled => 0x0401,
            Self::HostActive => 0x0402,
            Self::HostInactive => 0x0403,
            Self::HostRemoved => 0x0404,
            Self::HostKeyAnnounced => 0x0405,
            Self::SpoolDropped => 0x0406,
            Self::JoinTokenIssued => 0x0501,
            Self::JoinTokenRevoked => 0x0502,
            Self::AuthorityAdded => 0x0503,
            Self::AuthorityRetired => 0x0504,
            Self::ClusterForced => 0x0505,
            Self::TailLossAccepted => 0x0506,
            Self::ChapterCut => 0x0601,
            Self::ChapterSealed => 0x0602,
            Self::SealWitnessed => 0x0603,
            Self::RetentionCut => 0x0604,
            Self::AttackRolledUp => 0x0605,
        }
    }

    /// Reads the number on disk.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The name that people see, the same as the event's type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AttackObserved => "AttackObserved",
            Self::StrikesCounted => "StrikesCounted",
            Self::NoteObserved => "NoteObserved",
            Self::AddressBlocked => "AddressBlocked",
            Self::AddressReleased => "AddressReleased",
            Self::AddressDenied => "AddressDenied",
            Self::AddressAllowed => "AddressAllowed",
            Self::SettingsChanged => "SettingsChanged",
            Self::HostEnrolled => "HostEnrolled",
            Self::HostActive => "HostActive",
            Self::HostInactive => "HostInactive",
            Self::HostRemoved => "HostRemoved",
            Self::HostKeyAnnounced => "HostKeyAnnounced",
            Self::SpoolDropped => "SpoolDropped",
            Self::JoinTokenIssued => "JoinTokenIssued",
            Self::JoinTokenRevoked => "JoinTokenRevoked",
            Self::AuthorityAdded => "AuthorityAdded",
            Self::AuthorityRetired => "AuthorityRetired",
            Self::ClusterForced => "ClusterForced",
            Self::TailLossAccepted => "TailLossAccepted",
            Self::ChapterCut => "ChapterCut",
            Self::ChapterSealed => "ChapterSealed",
            Self::SealWitnessed => "SealWitnessed",
            Self::RetentionCut => "RetentionCut",
            Self::AttackRolledUp => "AttackRolledUp",
        }
    }

    /// The newest schema of this kind: the one that is written.
    pub const fn schema(self) -> u16 {
        match self {
            Self::AddressBlocked | Self::AddressDenied => 3,
            Self::AttackObserved | Self::StrikesCounted | Self::SettingsChanged | Self::HostEnrolled => 2,
            Self::NoteObserved
            | Self::AddressReleased
            | Self::AddressAllowed
            | Self::HostActive
            | Self::HostInactive
            | Self::HostRemoved
            | Self::HostKeyAnnounced
            | Self::SpoolDropped
            | Self::JoinTokenIssued
            | Self::JoinTokenRevoked
            | Self::AuthorityAdded
            | Self::AuthorityRetired
            | Self::ClusterForced
            | Self::TailLossAccepted
            | Self::ChapterCut
            | Self::ChapterSealed
            | Self::SealWitnessed
            | Self::RetentionCut
            | Self::AttackRolledUp => 1,
        }
    }

    /// How long events of this kind are kept.
    pub const fn class(self) -> Class {
        match self {
            Self::AttackObserved | Self::StrikesCounted | Self::NoteObserved => Class::Attack,
            Self::AddressBlocked | Self::AddressReleased | Self::AddressDenied | Self::AddressAllowed => {
                Class::Control
            }
            Self::HostEnrolled | Self::HostActive | Self::HostInactive | Self::HostRemoved => Class::Control,
            Self::HostKeyAnnounced | Self::SpoolDropped => Class::Control,
            Self::ChapterCut | Self::ChapterSealed | Self::SealWitnessed | Self::AttackRolledUp => {
                Class::Control
            }
            Self::SettingsChanged | Self::RetentionCut => Class::Audit,
            Self::JoinTokenIssued | Self::JoinTokenRevoked => Class::Audit,
            Self::AuthorityAdded | Self::AuthorityRetired => Class::Audit,
            Self::ClusterForced | Self::TailLossAccepted => Class::Audit,
        }
    }
}

impl Event {
    /// The event's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Attack(AttackEvent::Observed(_)) => Kind::AttackObserved,
            Self::Attack(AttackEvent::StrikesCounted(_)) => Kind::StrikesCounted,
            Self::Attack(AttackEvent::Noted(_)) => Kind::NoteObserved,
            Self::Denylist(DenylistEvent::AddressBlocked(_)) => Kind::AddressBlocked,
            Self::Denylist(DenylistEvent::AddressReleased(_)) => Kind::AddressReleased,
            Self::Denylist(DenylistEvent::AddressDenied(_)) => Kind::AddressDenied,
            Self::Denylist(DenylistEvent::AddressAllowed(_)) => Kind::AddressAllowed,
            Self::Settings(SettingsEvent::Changed(_)) => Kind::SettingsChanged,
            Self::Host(HostEvent::Enrolled(_)) => Kind::HostEnrolled,
            Self::Host(HostEvent::Active(_)) => Kind::HostActive,
            Self::Host(HostEvent::Inactive(_)) => Kind::HostInactive,
            Self::Host(HostEvent::Removed(_)) => Kind::HostRemoved,
            Self::Host(HostEvent::KeyAnnounced(_)) => Kind::HostKeyAnnounced,
            Self::Host(HostEvent::SpoolDropped(_)) => Kind::SpoolDropped,
            Self::Membership(MembershipEvent::TokenIssued(_)) => Kind::JoinTokenIssued,
            Self::Membership(MembershipEvent::TokenRevoked(_)) => Kind::JoinTokenRevoked,
            Self::Membership(MembershipEvent::AuthorityAdded(_)) => Kind::AuthorityAdded,
            Self::Membership(MembershipEvent::AuthorityRetired(_)) => Kind::AuthorityRetired,
            Self::Membership(MembershipEvent::ClusterForced(_)) => Kind::ClusterForced,
            Self::Membership(MembershipEvent::TailLossAccepted(_)) => Kind::TailLossAccepted,
            Self::Chapter(ChapterEvent::Cut(_)) => Kind::ChapterCut,
            Self::Chapter(ChapterEvent::Sealed(_)) => Kind::ChapterSealed,
            Self::Chapter(ChapterEvent::Witnessed(_)) => Kind::SealWitnessed,
            Self::Chapter(ChapterEvent::Erased(_)) => Kind::RetentionCut,
            Self::Chapter(ChapterEvent::RolledUp(_)) => Kind::AttackRolledUp,
            Self::Erased(kind) => *kind,
        }
    }
}
