//! Turns payloads of old schemas into today's events. Old structs live here for ever.
//!
//! Only schema 1 of each kind exists so far.

use crate::codec::{CodecError, unpack};
use crate::event::{AttackEvent, DenylistEvent, Event, HostEvent, Kind, SettingsEvent};

/// Decodes a payload of any known schema into the newest event.
pub(crate) fn decode(kind: Kind, schema: u16, payload: &[u8]) -> Result<Event, CodecError> {
    if schema != 1 {
        return Err(CodecError::UnknownSchema { kind, schema });
    }
    Ok(match kind {
        Kind::AttackObserved => Event::Attack(AttackEvent::Observed(unpack(kind, payload)?)),
        Kind::StrikesCounted => Event::Attack(AttackEvent::StrikesCounted(unpack(kind, payload)?)),
        Kind::AddressBlocked => Event::Denylist(DenylistEvent::AddressBlocked(unpack(kind, payload)?)),
        Kind::AddressReleased => Event::Denylist(DenylistEvent::AddressReleased(unpack(kind, payload)?)),
        Kind::AddressDenied => Event::Denylist(DenylistEvent::AddressDenied(unpack(kind, payload)?)),
        Kind::AddressAllowed => Event::Denylist(DenylistEvent::AddressAllowed(unpack(kind, payload)?)),
        Kind::SettingsChanged => Event::Settings(SettingsEvent::Changed(unpack(kind, payload)?)),
        Kind::HostEnrolled => Event::Host(HostEvent::Enrolled(unpack(kind, payload)?)),
        Kind::HostActive => Event::Host(HostEvent::Active(unpack(kind, payload)?)),
        Kind::HostInactive => Event::Host(HostEvent::Inactive(unpack(kind, payload)?)),
        Kind::HostRemoved => Event::Host(HostEvent::Removed(unpack(kind, payload)?)),
    })
}
