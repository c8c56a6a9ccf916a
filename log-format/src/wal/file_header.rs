//! The first block of a file.

use super::bytes::{Fields, all_zero};
use super::record;
use super::types::{ConfState, LogPosition, WalIdentity};
use super::{BLOCK, FORMAT};
use crate::ids::{BatchNumber, ClusterId, HostId, Incarnation, LogIndex, Term, WalSequence};
use crate::time::Timestamp;

/// First bytes of a file.
pub(crate) const FILE_MAGIC: [u8; 8] = *b"ELOGWAL\0";
/// Bytes of a header without the member list.
const FIXED: usize = 110;
/// Where the header's length is.
const LENGTH_AT: usize = 10;
/// Where the nonce is.
const NONCE_AT: usize = 52;
/// Where the time is, counted from the end of the header: time, file bytes and checksum.
const CREATED_AT_BEFORE_END: usize = 20;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) identity: WalIdentity,
    pub(crate) sequence: WalSequence,
    pub(crate) nonce: u64,
    /// The number that the first batch of the file has, or will have.
    pub(crate) first_batch: BatchNumber,
    /// The log's last entry when the file was begun. Another position means: forget the log, it goes on after this one.
    pub(crate) base: LogPosition,
    /// The members when the file was begun.
    pub(crate) conf_state: ConfState,
    /// Header checksum of the last batch before the file; zero if there is none.
    pub(crate) previous_crc: u32,
    pub(crate) created_at: Timestamp,
    /// The file's length for ever: a shorter one was cut.
    pub(crate) file_bytes: u64,
}

/// Why a first block is no header of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Damaged, or not a log at all.
    Damaged,
    /// Of a newer version.
    Version(u16),
}

impl FileHeader {
    /// The header of a log file as one block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.encode_as(FILE_MAGIC)
    }

    /// The header of a family of files as one block.
    pub(crate) fn encode_as(&self, magic: [u8; 8]) -> Vec<u8> {
        let Self {
            identity,
            sequence,
            nonce,
            first_batch,
            base,
            conf_state,
            previous_crc,
            created_at,
            file_bytes,
        } = self;
        let members = record::conf_state_bytes(conf_state);
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend(magic);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(short(FIXED + members));
        bytes.extend(identity.cluster.get());
        bytes.extend(identity.host.get().to_le_bytes());
        bytes.extend(u64::from(identity.incarnation.get()).to_le_bytes());
        bytes.extend(sequence.get().to_le_bytes());
        bytes.extend(nonce.to_le_bytes());
        bytes.extend(first_batch.get().to_le_bytes());
        bytes.extend(base.index.get().to_le_bytes());
        bytes.extend(base.term.get().to_le_bytes());
        bytes.extend(short(members));
        record::push_conf_state(&mut bytes, conf_state);
        bytes.extend(previous_crc.to_le_bytes());
        bytes.extend(created_at.nanos().to_le_bytes());
        bytes.extend(file_bytes.to_le_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.resize(BLOCK, 0);
        bytes
    }

    /// Reads a log file's first block.
    pub(crate) fn read(block: &[u8]) -> Result<Self, HeaderError> {
        Self::read_as(block, FILE_MAGIC)
    }

    /// Reads the first block of a family's file.
    pub(crate) fn read_as(block: &[u8], magic: [u8; 8]) -> Result<Self, HeaderError> {
        let header = Self::read_front_as(block, magic)?;
        let used = FIXED + record::conf_state_bytes(&header.conf_state);
        let rest = block.get(used..).unwrap_or_default();
        if all_zero(rest) { Ok(header) } else { Err(HeaderError::Damaged) }
    }

    /// Reads a header, whatever lies behind its checksum.
    pub(crate) fn read_front(block: &[u8]) -> Result<Self, HeaderError> {
        Self::read_front_as(block, FILE_MAGIC)
    }

    fn read_front_as(block: &[u8], magic: [u8; 8]) -> Result<Self, HeaderError> {
        let mut fields = Fields::new(block);
        if fields.array() != Some(magic) {
            return Err(HeaderError::Damaged);
        }
        let format = fields.u16().ok_or(HeaderError::Damaged)?;
        let length = usize::from(fields.u16().ok_or(HeaderError::Damaged)?);
        let (checked, crc) = checked(block, length).ok_or(HeaderError::Damaged)?;
        if crc32c::crc32c(checked) != crc {
            return Err(HeaderError::Damaged);
        }
        if format != FORMAT {
            return Err(HeaderError::Version(format));
        }
        Self::read_fields(&mut fields, length).ok_or(HeaderError::Damaged)
    }

    fn read_fields(fields: &mut Fields<'_>, length: usize) -> Option<Self> {
        let identity = WalIdentity {
            cluster: ClusterId::new(fields.array()?),
            host: HostId::new(fields.u64()?),
            incarnation: Incarnation::new(u32::try_from(fields.u64()?).ok()?),
        };
        let sequence = WalSequence::new(fields.u64()?);
        let nonce = fields.u64()?;
        let first_batch = BatchNumber::new(fields.u64()?);
        let index = LogIndex::new(fields.u64()?);
        let term = Term::new(fields.u64()?);
        let members = usize::from(fields.u16()?);
        if length != FIXED + members {
            return None;
        }
        let conf_state = record::read_conf_state(fields.slice(members)?)?;
        Some(Self {
            identity,
            sequence,
            nonce,
            first_batch,
            base: LogPosition { term, index },
            conf_state,
            previous_crc: fields.u32()?,
            created_at: Timestamp::from_nanos(fields.u64()?),
            file_bytes: fields.u64()?,
        })
    }
}

impl FileHeader {
    /// Bytes of a header with these members, its checksum being the last four.
    pub(crate) fn length(conf_state: &ConfState) -> usize {
        FIXED + record::conf_state_bytes(conf_state)
    }

    /// The length that a header says it has, damaged or not.
    pub(crate) fn claimed_length(block: &[u8]) -> usize {
        let field = block.get(LENGTH_AT..).and_then(|rest| Fields::new(rest).u16());
        field.map_or(0, usize::from)
    }

    /// The nonce, and the time, that a block holds whose checksum may be wrong, if it has as many members.
    pub(crate) fn unproven(block: &[u8], conf_state: &ConfState) -> Option<(u64, Timestamp)> {
        let mut fields = Fields::new(block.get(NONCE_AT..)?);
        let nonce = fields.u64()?;
        let created_at = Self::length(conf_state).checked_sub(CREATED_AT_BEFORE_END)?;
        let mut fields = Fields::new(block.get(created_at..)?);
        Some((nonce, Timestamp::from_nanos(fields.u64()?)))
    }
}

/// Splits a block into what the checksum covers, and the checksum behind it.
fn checked(block: &[u8], header_length: usize) -> Option<(&[u8], u32)> {
    let (checked, behind) = block.split_at_checked(header_length.checked_sub(4)?)?;
    Some((checked, Fields::new(behind).u32()?))
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes()
}
