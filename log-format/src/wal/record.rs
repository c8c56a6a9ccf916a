//! Records, the contents of a batch: entries, and the members when they changed.

use thiserror::Error;

use super::batch::BatchHeader;
use super::bytes::Fields;
use super::classify::{self, Label};
use super::types::{ConfState, EntryKind, LogEntry};
use crate::ids::{HostId, LogIndex, Term};

/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER: usize = 24;
/// Bytes of a member list without members.
const CONF_STATE_HEADER: usize = 4;
/// Bytes of one member.
const MEMBER: usize = 8;

const KIND_ENTRY: u8 = 1;
const KIND_CONF_CHANGE: u8 = 2;
const KIND_CONF_CHANGE_V2: u8 = 3;
const KIND_CONF_STATE: u8 = 4;
const KIND_FILLER: u8 = 5;

/// What a filler record holds: enough bits that none of them matters alone.
const FILLER: [u8; 8] = [0xff; 8];
/// Bytes of a filler record.
pub(crate) const FILLER_BYTES: usize = RECORD_HEADER + FILLER.len();

/// What a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Entry(EntryView<'a>),
    ConfState(ConfState),
    Filler,
}

/// An entry whose data is still in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryView<'a> {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) kind: EntryKind,
    pub(crate) data: &'a [u8],
}

impl EntryView<'_> {
    pub(crate) fn to_entry(self) -> LogEntry {
        let Self { index, term, kind, data } = self;
        let data = data.to_vec();
        LogEntry { index, term, kind, data }
    }
}

/// A batch whose checksum is right and whose contents are not: a defect of the writer, not of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ContentError {
    /// Bytes are missing.
    #[error("record {ordinal} is cut short")]
    Short {
        /// Which record of the batch.
        ordinal: u32,
    },
    /// A record kind of a newer version.
    #[error("record {ordinal} has unknown kind {kind}; a newer version of palisade wrote it")]
    Kind {
        /// Which record of the batch.
        ordinal: u32,
        /// The byte found.
        kind: u8,
    },
    /// A member list that cannot be read.
    #[error("record {ordinal} is not a sorted list of members")]
    Members {
        /// Which record of the batch.
        ordinal: u32,
    },
    /// The indexes are not those of the header.
    #[error("record {ordinal} has index {found}, expected {expected}")]
    Index {
        /// Which record of the batch.
        ordinal: u32,
        /// The index found.
        found: LogIndex,
        /// The index due.
        expected: LogIndex,
    },
    /// The records do not fill the batch as its header says.
    #[error("the records are not as many, or not as long, as the batch header says")]
    Count,
}

impl EntryKind {
    const fn code(self) -> u8 {
        match self {
            Self::Normal => KIND_ENTRY,
            Self::ConfChange => KIND_CONF_CHANGE,
            Self::ConfChangeV2 => KIND_CONF_CHANGE_V2,
        }
    }
}

/// Bytes of an entry's record.
pub(crate) fn entry_bytes(entry: &LogEntry) -> usize {
    RECORD_HEADER.saturating_add(entry.data.len())
}

/// Bytes of a member list's record.
pub(crate) fn conf_state_record_bytes(conf_state: &ConfState) -> usize {
    RECORD_HEADER + conf_state_bytes(conf_state)
}

/// Bytes of a member list.
pub(crate) fn conf_state_bytes(conf_state: &ConfState) -> usize {
    CONF_STATE_HEADER + MEMBER * (conf_state.voters.len() + conf_state.learners.len())
}

pub(crate) fn push_entry(bytes: &mut Vec<u8>, entry: &LogEntry) {
    let label = match entry.kind {
        EntryKind::Normal => classify::label(&entry.data),
        EntryKind::ConfChange | EntryKind::ConfChangeV2 => Label::NONE,
    };
    push_header(bytes, entry.data.len(), entry.kind.code(), label);
    bytes.extend(entry.index.get().to_le_bytes());
    bytes.extend(entry.term.get().to_le_bytes());
    bytes.extend_from_slice(&entry.data);
}

pub(crate) fn push_conf_state_record(bytes: &mut Vec<u8>, conf_state: &ConfState) {
    push_header(bytes, conf_state_bytes(conf_state), KIND_CONF_STATE, Label::NONE);
    bytes.extend([0; 16]); // Index and term: the batch header's commit index says when it holds.
    push_conf_state(bytes, conf_state);
}

/// Adds bytes that mean nothing, so that the last sector is not all but empty.
pub(crate) fn push_filler(bytes: &mut Vec<u8>) {
    push_header(bytes, FILLER.len(), KIND_FILLER, Label::NONE);
    bytes.extend([0; 16]);
    bytes.extend(FILLER);
}

fn push_header(bytes: &mut Vec<u8>, length: usize, kind: u8, label: Label) {
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.push(kind);
    bytes.push(label.classes);
    bytes.extend(label.schema.to_le_bytes());
}

pub(crate) fn push_conf_state(bytes: &mut Vec<u8>, conf_state: &ConfState) {
    let ConfState { voters, learners } = conf_state;
    for list in [voters, learners] {
        bytes.extend(u16::try_from(list.len()).unwrap_or(u16::MAX).to_le_bytes());
    }
    for host in voters.iter().chain(learners) {
        bytes.extend(host.get().to_le_bytes());
    }
}

/// Reads a member list that fills the slice.
pub(crate) fn read_conf_state(bytes: &[u8]) -> Option<ConfState> {
    let mut fields = Fields::new(bytes);
    let (voters, learners) = (fields.u16()?, fields.u16()?);
    let mut hosts = |count: u16| (0..count).map(|_| fields.u64().map(HostId::new)).collect();
    let voters: Option<Vec<HostId>> = hosts(voters);
    let learners: Option<Vec<HostId>> = hosts(learners);
    let conf_state = ConfState { voters: voters?, learners: learners? };
    (fields.left() == 0 && conf_state.is_canonical()).then_some(conf_state)
}

/// The records of a batch: its entries, and the members if they changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents<'a> {
    pub(crate) entries: Vec<EntryView<'a>>,
    pub(crate) conf_state: Option<ConfState>,
}

/// Reads a body, which must be exactly what its header announces.
pub(crate) fn read_body<'a>(header: &BatchHeader, body: &'a [u8]) -> Result<Contents<'a>, ContentError> {
    let possible = u32::try_from(body.len() / RECORD_HEADER).unwrap_or(u32::MAX);
    if possible < header.count || u64::from(header.count) < header.entries() {
        return Err(ContentError::Count);
    }
    let mut fields = Fields::new(body);
    let mut due = header.first;
    let mut entries = Vec::new();
    let mut conf_state = None;
    for ordinal in 0..header.count {
        match read_record(&mut fields, ordinal)? {
            Record::Entry(entry) if entry.index == due && conf_state.is_none() => {
                entries.push(entry);
                due = due.next();
            }
            Record::Entry(entry) => {
                let (found, expected) = (entry.index, due);
                return Err(ContentError::Index { ordinal, found, expected });
            }
            Record::ConfState(members) => conf_state = Some(members),
            Record::Filler => {}
        }
    }
    let read = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    if read != header.entries() || fields.left() != 0 {
        return Err(ContentError::Count);
    }
    Ok(Contents { entries, conf_state })
}

fn read_record<'a>(fields: &mut Fields<'a>, ordinal: u32) -> Result<Record<'a>, ContentError> {
    let short = ContentError::Short { ordinal };
    let length = fields.u32().ok_or(short)?;
    let kind = fields.u8().ok_or(short)?;
    // Class and schema repeat what the payload says; whoever cuts chapters reads them, a reader of entries does not.
    let (_class, _schema) = (fields.u8().ok_or(short)?, fields.u16().ok_or(short)?);
    let index = LogIndex::new(fields.u64().ok_or(short)?);
    let term = Term::new(fields.u64().ok_or(short)?);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let data = fields.slice(length).ok_or(short)?;
    let kind = match kind {
        KIND_FILLER => return Ok(Record::Filler),
        KIND_ENTRY => EntryKind::Normal,
        KIND_CONF_CHANGE => EntryKind::ConfChange,
        KIND_CONF_CHANGE_V2 => EntryKind::ConfChangeV2,
        KIND_CONF_STATE => {
            let members = read_conf_state(data).ok_or(ContentError::Members { ordinal })?;
            return Ok(Record::ConfState(members));
        }
        kind => return Err(ContentError::Kind { ordinal, kind }),
    };
    Ok(Record::Entry(EntryView { index, term, kind, data }))
}
