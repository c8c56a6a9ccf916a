//! Turns payloads of old schemas into today's events. Old structs live here for ever.
//!
//! Old structs are never edited: golden files of every schema are decoded by a test.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::codec::{CodecError, ERASED, unpack};
use crate::event::{
    Actor, AddressBlocked, AddressDenied, AttackEvent, AttackKind, AttackObserved, BlockReason, ChapterEvent,
    DenyReason, DenylistEvent, Event, Evidence, HostEnrolled, HostEvent, HostRole, Kind, MembershipEvent,
    Rule, Sanction, Scope, SettingsEvent, Text,
};
use crate::ids::{BlockId, HostId};
use crate::time::Timestamp;

/// Decodes a payload of any known schema into the newest event.
pub(crate) fn decode(kind: Kind, schema: u16, payload: &[u8]) -> Result<Event, CodecError> {
    if schema == ERASED {
        return match payload.len() {
            0 => Ok(Event::Erased(kind)),
            left => Err(CodecError::TrailingBytes { kind, left }),
        };
    }
    if kind.schema() < schema {
        return Err(CodecError::UnknownSchema { kind, schema });
    }
    if schema < kind.schema() {
        return old(kind, schema, payload);
    }
    newest(kind, payload)
}

/// Decodes what an older version wrote.
fn old(kind: Kind, schema: u16, payload: &[u8]) -> Result<Event, CodecError> {
    match (kind, schema) {
        (Kind::AttackObserved, 1) => {
            let old: AttackObserved1 = unpack(kind, payload)?;
            Ok(Event::Attack(AttackEvent::Observed(old.into())))
        }
        // The same structure: its choices had fewer variants.
        (Kind::StrikesCounted | Kind::SettingsChanged, 1)
        | (Kind::AddressBlocked | Kind::AddressDenied, 2) => newest(kind, payload),
        (Kind::AddressBlocked, 1) => {
            let old: AddressBlocked1 = unpack(kind, payload)?;
            Ok(Event::Denylist(DenylistEvent::AddressBlocked(old.into())))
        }
        (Kind::AddressDenied, 1) => {
            let old: AddressDenied1 = unpack(kind, payload)?;
            Ok(Event::Denylist(DenylistEvent::AddressDenied(old.into())))
        }
        (Kind::HostEnrolled, 1) => {
            let old: HostEnrolled1 = unpack(kind, payload)?;
            Ok(Event::Host(HostEvent::Enrolled(old.into())))
        }
        (kind, schema) => Err(CodecError::UnknownSchema { kind, schema }),
    }
}

fn newest(kind: Kind, payload: &[u8]) -> Result<Event, CodecError> {
    Ok(match kind {
        Kind::AttackObserved => Event::Attack(AttackEvent::Observed(unpack(kind, payload)?)),
        Kind::StrikesCounted => Event::Attack(AttackEvent::StrikesCounted(unpack(kind, payload)?)),
        Kind::NoteObserved => Event::Attack(AttackEvent::Noted(unpack(kind, payload)?)),
        Kind::AddressBlocked => Event::Denylist(DenylistEvent::AddressBlocked(unpack(kind, payload)?)),
        Kind::AddressReleased => Event::Denylist(DenylistEvent::AddressReleased(unpack(kind, payload)?)),
        Kind::AddressDenied => Event::Denylist(DenylistEvent::AddressDenied(unpack(kind, payload)?)),
        Kind::AddressAllowed => Event::Denylist(DenylistEvent::AddressAllowed(unpack(kind, payload)?)),
        Kind::SettingsChanged => Event::Settings(SettingsEvent::Changed(unpack(kind, payload)?)),
        Kind::HostEnrolled => Event::Host(HostEvent::Enrolled(unpack(kind, payload)?)),
        Kind::HostActive => Event::Host(HostEvent::Active(unpack(kind, payload)?)),
        Kind::HostInactive => Event::Host(HostEvent::Inactive(unpack(kind, payload)?)),
        Kind::HostRemoved => Event::Host(HostEvent::Removed(unpack(kind, payload)?)),
        Kind::HostKeyAnnounced => Event::Host(HostEvent::KeyAnnounced(unpack(kind, payload)?)),
        Kind::SpoolDropped => Event::Host(HostEvent::SpoolDropped(unpack(kind, payload)?)),
        Kind::JoinTokenIssued => Event::Membership(MembershipEvent::TokenIssued(unpack(kind, payload)?)),
        Kind::JoinTokenRevoked => Event::Membership(MembershipEvent::TokenRevoked(unpack(kind, payload)?)),
        Kind::AuthorityAdded => Event::Membership(MembershipEvent::AuthorityAdded(unpack(kind, payload)?)),
        Kind::AuthorityRetired => {
            Event::Membership(MembershipEvent::AuthorityRetired(unpack(kind, payload)?))
        }
        Kind::ClusterForced => Event::Membership(MembershipEvent::ClusterForced(unpack(kind, payload)?)),
        Kind::TailLossAccepted => {
            Event::Membership(MembershipEvent::TailLossAccepted(unpack(kind, payload)?))
        }
        Kind::ChapterCut => Event::Chapter(ChapterEvent::Cut(unpack(kind, payload)?)),
        Kind::ChapterSealed => Event::Chapter(ChapterEvent::Sealed(unpack(kind, payload)?)),
        Kind::SealWitnessed => Event::Chapter(ChapterEvent::Witnessed(unpack(kind, payload)?)),
        Kind::RetentionCut => Event::Chapter(ChapterEvent::Erased(unpack(kind, payload)?)),
        Kind::AttackRolledUp => Event::Chapter(ChapterEvent::RolledUp(unpack(kind, payload)?)),
    })
}

/// Schema 1 of [`AttackObserved`]: always about the whole address.
#[derive(Deserialize)]
struct AttackObserved1 {
    source: IpAddr,
    source_port: u16,
    victim: IpAddr,
    victim_port: u16,
    attack: AttackKind,
    rule: Rule,
    evidence: Evidence,
    sanction: Sanction,
    user_agent: Text,
    known_user_agent: bool,
    count: u32,
}

/// Schema 1 of [`AddressBlocked`]: its reason held the attacker's user agent.
#[derive(Deserialize)]
struct AddressBlocked1 {
    block: BlockId,
    source: IpAddr,
    scope: Scope,
    sanction: Sanction,
    reason: BlockReason1,
    until: Timestamp,
    strikes: u32,
}

#[derive(Deserialize)]
enum BlockReason1 {
    Attack {
        rule: Rule,
        attack: AttackKind,
        evidence: Evidence,
        count: u32,
        victim: IpAddr,
        _user_agent: Text,
        known_user_agent: bool,
    },
    Manual {
        by: Actor,
        note: Text,
    },
}

/// Schema 1 of [`AddressDenied`].
#[derive(Deserialize)]
struct AddressDenied1 {
    network: IpNet,
    reason: DenyReason1,
}

#[derive(Deserialize)]
enum DenyReason1 {
    Threshold { blocks: u32, last: BlockReason1 },
    Manual { by: Actor, note: Text },
}

/// Schema 1 of [`HostEnrolled`]: every host was there from the beginning.
#[derive(Deserialize)]
struct HostEnrolled1 {
    host: HostId,
    name: Text,
    addresses: Vec<IpAddr>,
}

impl From<AttackObserved1> for AttackObserved {
    fn from(old: AttackObserved1) -> Self {
        let AttackObserved1 {
            source,
            source_port,
            victim,
            victim_port,
            attack,
            rule,
            evidence,
            sanction,
            user_agent,
            known_user_agent,
            count,
        } = old;
        Self {
            source,
            source_port,
            victim,
            victim_port,
            attack,
            rule,
            evidence,
            sanction,
            user_agent,
            known_user_agent,
            count,
            scope: Scope::Address,
            account: Text::default(),
            line: Text::default(),
        }
    }
}

impl From<BlockReason1> for BlockReason {
    fn from(old: BlockReason1) -> Self {
        match old {
            BlockReason1::Attack {
                rule,
                attack,
                evidence,
                count,
                victim,
                _user_agent: _,
                known_user_agent,
            } => Self::Attack { rule, attack, evidence, count, victim, known_user_agent },
            BlockReason1::Manual { by, note } => Self::Manual { by, note },
        }
    }
}

impl From<AddressBlocked1> for AddressBlocked {
    fn from(old: AddressBlocked1) -> Self {
        let AddressBlocked1 { block, source, scope, sanction, reason, until, strikes } = old;
        Self { block, source, scope, sanction, reason: reason.into(), until, strikes }
    }
}

impl From<AddressDenied1> for AddressDenied {
    fn from(old: AddressDenied1) -> Self {
        let reason = match old.reason {
            DenyReason1::Threshold { blocks, last } => DenyReason::Threshold { blocks, last: last.into() },
            DenyReason1::Manual { by, note } => DenyReason::Manual { by, note },
        };
        Self { network: old.network, reason }
    }
}

impl From<HostEnrolled1> for HostEnrolled {
    fn from(old: HostEnrolled1) -> Self {
        let HostEnrolled1 { host, name, addresses } = old;
        Self { host, name, addresses, peer: None, role: HostRole::VoterCapable, token: None }
    }
}
