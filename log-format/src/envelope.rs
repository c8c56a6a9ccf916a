//! The envelope: what one command made happen, as one entry of the log.
//!
//! Hand-written little-endian bytes, never bincode, so that kind, class and length can be read without decoding a
//! payload. `FORMAT.md` has the byte table.

use thiserror::Error;

use crate::codec::{self, CodecError, MAX_PAYLOAD};
use crate::event::{Event, Kind};
use crate::ids::{CommandId, HostId, Incarnation, Origin, OriginSequence, Salt};
use crate::time::Timestamp;

/// Version of the envelope's layout.
pub const VERSION: u8 = 1;
/// Bytes before the first event.
pub const HEADER_LENGTH: usize = 48;
/// Events of one command at most; the count is one `u16` and no command needs nearly as many.
pub const MAX_EVENTS: usize = 1_024;

/// What one command made happen. All of it takes effect, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The command's identity: seen twice, it takes effect once.
    pub command: CommandId,
    /// Where the command entered the cluster.
    pub origin: Origin,
    /// The leader's time, strictly increasing in log order.
    pub accepted_at: Timestamp,
    /// The facts, in order.
    pub events: Vec<Recorded>,
}

/// An event with what is written beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When the sensing host saw it, by its own clock: for display and forensics only.
    pub observed_at: Timestamp,
    /// Written for erasable classes only; zero for the others.
    pub salt: Salt,
    /// The fact.
    pub event: Event,
}

/// Bytes that are not an envelope.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Fewer bytes than the layout says.
    #[error("envelope ends at byte {at}, inside {field}")]
    Short {
        /// Where.
        at: usize,
        /// In which field.
        field: &'static str,
    },
    /// A layout of another version.
    #[error("envelope version {version} is unknown; a newer version of palisade wrote it")]
    UnknownVersion {
        /// The byte found.
        version: u8,
    },
    /// A reserved byte is not zero.
    #[error("envelope flags {flags:#04x} are unknown; a newer version of palisade wrote it")]
    UnknownFlags {
        /// The byte found.
        flags: u8,
    },
    /// The class byte is not the kind's.
    #[error("event {ordinal} has class {class}, which is not that of its kind")]
    Class {
        /// Which event of the envelope.
        ordinal: u16,
        /// The byte found.
        class: u8,
    },
    /// More than the layout allows.
    #[error("{what} is {size}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Bytes after the last event.
    #[error("envelope has {left} bytes too many")]
    TrailingBytes {
        /// How many.
        left: usize,
    },
    /// An event's payload is wrong.
    #[error("event {ordinal}")]
    Event {
        /// Which event of the envelope.
        ordinal: u16,
        /// Why.
        #[source]
        source: CodecError,
    },
}

impl Envelope {
    /// Encodes the envelope; the same envelope gives the same bytes.
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        if MAX_EVENTS < self.events.len() {
            let (size, limit) = (self.events.len(), MAX_EVENTS);
            return Err(EnvelopeError::Limit { what: "number of events", size, limit });
        }
        let count = u16::try_from(self.events.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(HEADER_LENGTH + 64 * self.events.len());
        bytes.push(VERSION);
        bytes.push(0);
        bytes.extend(self.command.get());
        bytes.extend(self.origin.host.get().to_le_bytes());
        bytes.extend(self.origin.incarnation.get().to_le_bytes());
        bytes.extend(self.origin.sequence.get().to_le_bytes());
        bytes.extend(self.accepted_at.nanos().to_le_bytes());
        bytes.extend(count.to_le_bytes()); // Zero is valid: a command that changes nothing can still be remembered.
        for (ordinal, recorded) in (0..count).zip(&self.events) {
            recorded.append_to(&mut bytes).map_err(|source| EnvelopeError::Event { ordinal, source })?;
        }
        Ok(bytes)
    }

    /// Decodes an envelope; every byte must be accounted for.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader { bytes, at: 0 };
        let [version] = reader.take("version")?;
        if version != VERSION {
            return Err(EnvelopeError::UnknownVersion { version });
        }
        let [flags] = reader.take("flags")?;
        if flags != 0 {
            return Err(EnvelopeError::UnknownFlags { flags });
        }
        let command = CommandId::new(reader.take("command id")?);
        let origin = Origin {
            host: HostId::new(u64::from_le_bytes(reader.take("origin host")?)),
            incarnation: Incarnation::new(u32::from_le_bytes(reader.take("origin incarnation")?)),
            sequence: OriginSequence::new(u64::from_le_bytes(reader.take("origin sequence")?)),
        };
        let accepted_at = Timestamp::from_nanos(u64::from_le_bytes(reader.take("accepted-at")?));
        let count = u16::from_le_bytes(reader.take("event count")?);
        if MAX_EVENTS < usize::from(count) {
            let (size, limit) = (usize::from(count), MAX_EVENTS);
            return Err(EnvelopeError::Limit { what: "number of events", size, limit });
        }
        let events =
            (0..count).map(|ordinal| Recorded::read(&mut reader, ordinal)).collect::<Result<_, _>>()?;
        match bytes.len() - reader.at {
            0 => Ok(Self { command, origin, accepted_at, events }),
            left => Err(EnvelopeError::TrailingBytes { left }),
        }
    }
}

impl Recorded {
    fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        let kind = self.event.kind();
        let payload = codec::encode(&self.event)?;
        let schema = if matches!(self.event, Event::Erased(_)) { codec::ERASED } else { kind.schema() };
        bytes.extend(kind.code().to_le_bytes());
        bytes.extend(schema.to_le_bytes());
        bytes.push(kind.class().code());
        bytes.extend(self.observed_at.nanos().to_le_bytes());
        if kind.class().is_erasable() {
            bytes.extend(self.salt.get());
        }
        bytes.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(payload);
        Ok(())
    }

    fn read(reader: &mut Reader<'_>, ordinal: u16) -> Result<Self, EnvelopeError> {
        let code = u16::from_le_bytes(reader.take("event kind")?);
        let kind = Kind::from_code(code)
            .ok_or(EnvelopeError::Event { ordinal, source: CodecError::UnknownKind { code } })?;
        let schema = u16::from_le_bytes(reader.take("event schema")?);
        let [class] = reader.take("event class")?;
        if class != kind.class().code() {
            return Err(EnvelopeError::Class { ordinal, class });
        }
        let observed_at = Timestamp::from_nanos(u64::from_le_bytes(reader.take("observed-at")?));
        let salt = if kind.class().is_erasable() { Salt::new(reader.take("salt")?) } else { Salt::default() };
        let length = u32::from_le_bytes(reader.take("payload length")?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if MAX_PAYLOAD < length {
            return Err(EnvelopeError::Limit { what: "payload", size: length, limit: MAX_PAYLOAD });
        }
        let payload = reader.slice(length, "payload")?;
        let event = codec::decode(kind, schema, payload)
            .map_err(|source| EnvelopeError::Event { ordinal, source })?;
        Ok(Self { observed_at, salt, event })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], EnvelopeError> {
        let end = self.at.saturating_add(length);
        let slice =
            self.bytes.get(self.at..end).ok_or(EnvelopeError::Short { at: self.bytes.len(), field })?;
        self.at = end;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], EnvelopeError> {
        let slice = self.slice(N, field)?;
        slice.try_into().map_err(|_| EnvelopeError::Short { at: self.at, field })
    }
}
