//! The only place that knows how a payload is encoded: bincode 2.0.1, standard configuration, with a limit,
//! from slices only. `FORMAT.md` documents the bytes, so that another implementation can take over in this file.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::event::{
    AttackEvent, ChapterEvent, DenylistEvent, Event, HostEvent, Kind, MembershipEvent, SettingsEvent,
};
use crate::upcast;

/// Bytes of one payload at most: a bound on what a decoder may allocate.
pub const MAX_PAYLOAD: usize = 65_536;

/// Bytes of one projection's state at most: some times what the largest comes to at its own bounds.
pub const MAX_STATE: usize = 1 << 30;

/// A projection's state that cannot be written or read. It can always be folded anew.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// The state is too large to be written.
    #[error("state does not fit into {MAX_STATE} bytes: {detail}")]
    TooLarge {
        /// What the encoder said.
        detail: String,
    },
    /// The bytes do not decode.
    #[error("state does not decode: {detail}")]
    Damaged {
        /// What the decoder said.
        detail: String,
    },
    /// Bytes are left over.
    #[error("state has {left} bytes too many")]
    TrailingBytes {
        /// How many.
        left: usize,
    },
}

/// Encodes a projection's state. Unlike a payload, it is no format for ever: whoever changes a state raises its
/// projection's version, and the state is folded anew.
pub fn encode_state<T: Serialize>(state: &T) -> Result<Vec<u8>, StateError> {
    bincode::serde::encode_to_vec(state, state_configuration())
        .map_err(|error| StateError::TooLarge { detail: error.to_string() })
}

/// Decodes a projection's state; the whole slice must be used.
pub fn decode_state<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    let (state, used) = bincode::serde::decode_from_slice(bytes, state_configuration())
        .map_err(|error| StateError::Damaged { detail: error.to_string() })?;
    match bytes.len().checked_sub(used) {
        Some(0) => Ok(state),
        left => Err(StateError::TrailingBytes { left: left.unwrap_or(0) }),
    }
}

const fn state_configuration() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_STATE>,
> {
    bincode::config::standard().with_limit::<MAX_STATE>()
}

/// A payload that does not follow `FORMAT.md`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CodecError {
    /// Written by a newer version, or damaged.
    #[error("event kind {code:#06x} is unknown; a newer version of palisade wrote it")]
    UnknownKind {
        /// The number on disk.
        code: u16,
    },
    /// Written by a newer version.
    #[error("schema {schema} of {} is unknown; a newer version of palisade wrote it", kind.name())]
    UnknownSchema {
        /// The kind.
        kind: Kind,
        /// The number on disk.
        schema: u16,
    },
    /// The bytes do not decode.
    #[error("payload of {} does not decode: {detail}", kind.name())]
    Payload {
        /// The kind.
        kind: Kind,
        /// What the decoder said.
        detail: String,
    },
    /// Bytes are left over.
    #[error("payload of {} has {left} bytes too many", kind.name())]
    TrailingBytes {
        /// The kind.
        kind: Kind,
        /// How many.
        left: usize,
    },
    /// The event is too large to be written.
    #[error("payload of {} does not fit into {MAX_PAYLOAD} bytes: {detail}", kind.name())]
    TooLarge {
        /// The kind.
        kind: Kind,
        /// What the encoder said.
        detail: String,
    },
}

const fn configuration() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_PAYLOAD>,
> {
    bincode::config::standard().with_limit::<MAX_PAYLOAD>()
}

/// The schema number that stands beside an erased payload: nothing is left to decode.
pub(crate) const ERASED: u16 = 0;

/// Encodes an event's payload in its newest schema; an erased one has no payload.
pub fn encode(event: &Event) -> Result<Vec<u8>, CodecError> {
    let kind = event.kind();
    match event {
        Event::Attack(AttackEvent::Observed(inner)) => pack(kind, inner),
        Event::Attack(AttackEvent::StrikesCounted(inner)) => pack(kind, inner),
        Event::Attack(AttackEvent::Noted(inner)) => pack(kind, inner),
        Event::Denylist(DenylistEvent::AddressBlocked(inner)) => pack(kind, inner),
        Event::Denylist(DenylistEvent::AddressReleased(inner)) => pack(kind, inner),
        Event::Denylist(DenylistEvent::AddressDenied(inner)) => pack(kind, inner),
        Event::Denylist(DenylistEvent::AddressAllowed(inner)) => pack(kind, inner),
        Event::Settings(SettingsEvent::Changed(inner)) => pack(kind, inner),
        Event::Host(HostEvent::Enrolled(inner)) => pack(kind, inner),
        Event::Host(HostEvent::Active(inner)) => pack(kind, inner),
        Event::Host(HostEvent::Inactive(inner)) => pack(kind, inner),
        Event::Host(HostEvent::Removed(inner)) => pack(kind, inner),
        Event::Host(HostEvent::KeyAnnounced(inner)) => pack(kind, inner),
        Event::Host(HostEvent::SpoolDropped(inner)) => pack(kind, inner),
        Event::Membership(MembershipEvent::TokenIssued(inner)) => pack(kind, inner),
        Event::Membership(MembershipEvent::TokenRevoked(inner)) => pack(kind, inner),
        Event::Membership(MembershipEvent::AuthorityAdded(inner)) => pack(kind, inner),
        Event::Membership(MembershipEvent::AuthorityRetired(inner)) => pack(kind, inner),
        Event::Membership(MembershipEvent::ClusterForced(inner)) => pack(kind, inner),
        Event::Membership(MembershipEvent::TailLossAccepted(inner)) => pack(kind, inner),
        Event::Chapter(ChapterEvent::Cut(inner)) => pack(kind, inner),
        Event::Chapter(ChapterEvent::Sealed(inner)) => pack(kind, inner),
        Event::Chapter(ChapterEvent::Witnessed(inner)) => pack(kind, inner),
        Event::Chapter(ChapterEvent::Erased(inner)) => pack(kind, inner),
        Event::Chapter(ChapterEvent::RolledUp(inner)) => pack(kind, inner),
        Event::Erased(_) => Ok(Vec::new()),
    }
}

/// Decodes a payload of any schema into the newest event.
pub fn decode(kind: Kind, schema: u16, payload: &[u8]) -> Result<Event, CodecError> {
    upcast::decode(kind, schema, payload)
}

fn pack<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(value, configuration())
        .map_err(|error| CodecError::TooLarge { kind, detail: error.to_string() })?;
    if MAX_PAYLOAD < bytes.len() {
        return Err(CodecError::TooLarge { kind, detail: format!("it has {}", bytes.len()) });
    }
    Ok(bytes)
}

/// Decodes one struct of one schema; the whole slice must be used.
pub(crate) fn unpack<T: DeserializeOwned>(kind: Kind, payload: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::serde::decode_from_slice(payload, configuration())
        .map_err(|error| CodecError::Payload { kind, detail: error.to_string() })?;
    match payload.len().checked_sub(used) {
        Some(0) => Ok(value),
        left => Err(CodecError::TrailingBytes { kind, left: left.unwrap_or(0) }),
    }
}
