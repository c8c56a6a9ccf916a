//! An entry taken apart: what is kept for ever, and the payloads that go into the files of their classes. Bytes only; put
//! together again they are the same bytes.

use thiserror::Error;

use super::stream::MAX_FRAME;
use crate::codec::{self, MAX_PAYLOAD};
use crate::envelope::{HEADER_LENGTH, MAX_EVENTS, VERSION};
use crate::event::Class;
use crate::ids::{LogIndex, Term};
use crate::merkle::{self, Hash};
use crate::time::Timestamp;
use crate::wal::bytes::Fields;
use crate::wal::{EntryKind, LogEntry};

/// Bytes of a record before an envelope's or a change's: kind, index and term.
const RECORD_HEADER: usize = 17;
/// Bytes of an event before its salt: kind, schema, class and time.
const EVENT_HEADER: usize = 13;
/// Bytes of a salt.
const SALT: usize = 16;
/// Where an envelope has the time at which it was accepted.
const ACCEPTED_AT: usize = 38;
/// Where an envelope has the number of its events.
const COUNT_AT: usize = 46;

const ENTRY: u8 = 1;
const CONF_CHANGE: u8 = 2;
const CONF_CHANGE_V2: u8 = 3;

/// Bytes that no chapter can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SplitError {
    /// Not an envelope of this version.
    #[error("its data is not an envelope: {0}")]
    Envelope(&'static str),
    /// More than a chapter takes.
    #[error("it is too large: {0} bytes")]
    Size(usize),
}

/// An entry taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What is kept for ever: the entry without salts and payloads.
    pub record: Vec<u8>,
    /// For each event, in order: its salt, if its class has one, and its payload; `None` if they are erased.
    pub payloads: Vec<Option<Vec<u8>>>,
}

/// What the record says of one event, and its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPart<'a> {
    /// The entry.
    pub index: LogIndex,
    /// The event's number within it.
    pub ordinal: u16,
    /// Kind, schema, class and time, as the envelope has them.
    pub header: &'a [u8],
    /// The retention class.
    pub class: Class,
    /// When the entry was accepted.
    pub accepted_at: Timestamp,
}

impl EventPart<'_> {
    /// The event's leaf in its class's tree; `payload` is its salt, if it has one, and its payload.
    pub fn leaf(&self, payload: &[u8]) -> Hash {
        let (before, observed_at) = self.header.split_at_checked(5).unwrap_or_default();
        merkle::leaf([
            self.index.get().to_le_bytes().as_slice(),
            &self.ordinal.to_le_bytes(),
            before,
            &self.accepted_at.nanos().to_le_bytes(),
            observed_at,
            payload,
        ])
    }
}

impl Split {
    /// Takes an entry apart.
    pub fn of(entry: &LogEntry) -> Result<Self, SplitError> {
        let LogEntry { index, term, kind, data } = entry;
        let code = match kind {
            EntryKind::Normal => ENTRY,
            EntryKind::ConfChange => CONF_CHANGE,
            EntryKind::ConfChangeV2 => CONF_CHANGE_V2,
        };
        let mut record = Vec::with_capacity(RECORD_HEADER + HEADER_LENGTH + EVENT_HEADER);
        record.push(code);
        record.extend(index.get().to_le_bytes());
        record.extend(term.get().to_le_bytes());
        let mut payloads = Vec::new();
        match kind {
            EntryKind::Normal if data.is_empty() => {}
            EntryKind::Normal => split_envelope(data, &mut record, &mut payloads)?,
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => record.extend(data),
        }
        if MAX_FRAME < record.len() {
            return Err(SplitError::Size(record.len()));
        }
        Ok(Self { record, payloads })
    }

    /// Puts the entry together again, with erased events in the place of payloads that are gone.
    pub fn entry(&self) -> Option<LogEntry> {
        let mut fields = Fields::new(&self.record);
        let kind = match fields.u8()? {
            ENTRY => EntryKind::Normal,
            CONF_CHANGE => EntryKind::ConfChange,
            CONF_CHANGE_V2 => EntryKind::ConfChangeV2,
            _ => return None,
        };
        let (index, term) = (LogIndex::new(fields.u64()?), Term::new(fields.u64()?));
        let rest = fields.slice(fields.left())?;
        let data = match kind {
            EntryKind::Normal if !rest.is_empty() => self.envelope(rest)?,
            EntryKind::Normal | EntryKind::ConfChange | EntryKind::ConfChangeV2 => rest.to_vec(),
        };
        Some(LogEntry { index, term, kind, data })
    }

    fn envelope(&self, rest: &[u8]) -> Option<Vec<u8>> {
        let (header, events) = rest.split_at_checked(HEADER_LENGTH)?;
        let mut data = header.to_vec();
        for (event, payload) in events.chunks(EVENT_HEADER).zip(&self.payloads) {
            let class = Class::from_code(*event.get(4)?)?;
            let salt = if class.is_erasable() { SALT } else { 0 };
            match payload {
                Some(payload) => {
                    let (salt, payload) = payload.split_at_checked(salt)?;
                    data.extend(event);
                    data.extend(salt);
                    data.extend(u32::try_from(payload.len()).ok()?.to_le_bytes());
                    data.extend(payload);
                }
                None => {
                    data.extend(event.get(..2)?);
                    data.extend(codec::ERASED.to_le_bytes());
                    data.extend(event.get(4..)?);
                    data.resize(data.len() + salt + 4, 0);
                }
            }
        }
        Some(data)
    }

    /// The entry's index, as a record has it.
    pub(super) fn index(record: &[u8]) -> Option<LogIndex> {
        record.get(1..9)?.try_into().ok().map(u64::from_le_bytes).map(LogIndex::new)
    }

    /// The entry's term, as a record has it.
    pub(super) fn term(record: &[u8]) -> Option<Term> {
        record.get(9..RECORD_HEADER)?.try_into().ok().map(u64::from_le_bytes).map(Term::new)
    }

    /// When a record's entry was accepted; `None` if it is none of a command's.
    pub(super) fn accepted_at(record: &[u8]) -> Option<Timestamp> {
        let envelope = envelope_of(record)?;
        let bytes = envelope.get(ACCEPTED_AT..COUNT_AT)?.try_into().ok()?;
        Some(Timestamp::from_nanos(u64::from_le_bytes(bytes)))
    }

    /// The events of a record; `None` if it is not well formed.
    pub fn events(record: &[u8]) -> Option<Vec<EventPart<'_>>> {
        let index = Self::index(record)?;
        Self::term(record)?;
        let Some(envelope) = envelope_of(record) else {
            return Some(Vec::new());
        };
        let accepted_at = Self::accepted_at(record)?;
        let (header, events) = envelope.split_at_checked(HEADER_LENGTH)?;
        let count = u16::from_le_bytes(header.get(COUNT_AT..)?.try_into().ok()?);
        if events.len() != usize::from(count) * EVENT_HEADER {
            return None;
        }
        let part = |(ordinal, header)| event_part(header, (index, ordinal, accepted_at));
        (0..count).zip(events.chunks(EVENT_HEADER)).map(part).collect()
    }
}

fn event_part(
    header: &[u8],
    (index, ordinal, accepted_at): (LogIndex, u16, Timestamp),
) -> Option<EventPart<'_>> {
    let class = Class::from_code(*header.get(4)?)?;
    Some(EventPart { index, ordinal, header, class, accepted_at })
}

/// The envelope's part of a record, if it has one.
fn envelope_of(record: &[u8]) -> Option<&[u8]> {
    let (head, envelope) = record.split_at_checked(RECORD_HEADER)?;
    (head.first() == Some(&ENTRY) && !envelope.is_empty()).then_some(envelope)
}

fn split_envelope(
    data: &[u8],
    record: &mut Vec<u8>,
    payloads: &mut Vec<Option<Vec<u8>>>,
) -> Result<(), SplitError> {
    let short = SplitError::Envelope("it is cut short");
    let mut fields = Fields::new(data);
    let header = fields.array::<HEADER_LENGTH>().ok_or(short)?;
    let [version, flags, .., low, high] = header;
    let count = u16::from_le_bytes([low, high]);
    if (version, flags) != (VERSION, 0) || MAX_EVENTS < usize::from(count) {
        return Err(SplitError::Envelope("its version, flags or count are unknown"));
    }
    record.extend(header);
    for _ in 0..count {
        let event = fields.array::<EVENT_HEADER>().ok_or(short)?;
        let [_, _, _, _, class, ..] = event;
        let class = Class::from_code(class).ok_or(SplitError::Envelope("it has an unknown class"))?;
        let salt = if class.is_erasable() { fields.slice(SALT).ok_or(short)? } else { &[] };
        let length = usize::try_from(fields.u32().ok_or(short)?).unwrap_or(usize::MAX);
        if MAX_PAYLOAD < length {
            return Err(SplitError::Size(length));
        }
        record.extend(event);
        payloads.push(Some([salt, fields.slice(length).ok_or(short)?].concat()));
    }
    if fields.left() == 0 { Ok(()) } else { Err(SplitError::Envelope("bytes are left over")) }
}
