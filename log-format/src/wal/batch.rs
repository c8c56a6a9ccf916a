//! A batch: a header in one sector, records, zeros up to the next block.

use super::BLOCK;
use super::bytes::{Fields, all_zero};
use super::record;
use super::types::{Batch, HardState};
use crate::disk::SECTOR;
use crate::ids::{BatchNumber, HostId, LogIndex, Term};

/// First bytes of a batch.
pub(crate) const BATCH_MAGIC: [u8; 4] = *b"WBAT";
/// Bytes of a batch before its records. Far below a sector, so a header is there whole or not at all.
pub(crate) const BATCH_HEADER: usize = 80;
/// Bytes of a batch at most: bounds what recovery holds in memory, and keeps the count of zero sectors within its field.
pub const MAX_BATCH: usize = 16 << 20;

/// Where a header has its file's nonce.
const NONCE_AT: usize = 8;
/// Where the header's own checksum is; it covers everything before it.
const HEADER_CRC_AT: usize = 76;

/// A batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) body_length: u32,
    pub(crate) nonce: u64,
    pub(crate) number: BatchNumber,
    pub(crate) hard_state: HardState,
    /// First and last index; both zero if the batch has no entries.
    pub(crate) first: LogIndex,
    pub(crate) last: LogIndex,
    /// Records: the entries, then the members if they changed, then a filler if one was needed.
    pub(crate) count: u32,
    /// None is known yet; a bit that is set was set by a newer version.
    pub(crate) flags: u16,
    /// Sectors of the whole batch, padding included, that are zero on purpose.
    pub(crate) zero_sectors: u16,
    pub(crate) body_crc: u32,
    pub(crate) header_crc: u32,
}

impl BatchHeader {
    /// Reads a header; `None` if the bytes are none, or are damaged.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let checked = bytes.get(..HEADER_CRC_AT)?;
        let mut fields = Fields::new(bytes);
        if fields.array()? != BATCH_MAGIC {
            return None;
        }
        let header = Self {
            body_length: fields.u32()?,
            nonce: fields.u64()?,
            number: BatchNumber::new(fields.u64()?),
            hard_state: HardState {
                term: Term::new(fields.u64()?),
                vote: Some(fields.u64()?).filter(|vote| *vote != 0).map(HostId::new),
                commit: LogIndex::new(fields.u64()?),
            },
            first: LogIndex::new(fields.u64()?),
            last: LogIndex::new(fields.u64()?),
            count: fields.u32()?,
            flags: fields.u16()?,
            zero_sectors: fields.u16()?,
            body_crc: fields.u32()?,
            header_crc: fields.u32()?,
        };
        (header.header_crc == crc32c::crc32c(checked)).then_some(header)
    }

    /// Whether these bytes begin as a header of a file with this nonce does, but for one byte at most: what is left of a header that
    /// rotted. No record looks so, since nobody who can have one written knows the nonce.
    pub(crate) fn is_begun(bytes: &[u8], nonce: u64) -> bool {
        let Some((magic, found)) = bytes.get(..BATCH_MAGIC.len()).zip(bytes.get(NONCE_AT..NONCE_AT + 8))
        else {
            return false;
        };
        let due = BATCH_MAGIC.into_iter().chain(nonce.to_le_bytes());
        magic.iter().chain(found).zip(due).filter(|(found, due)| *found != due).count() <= 1
    }

    fn push(&self, bytes: &mut Vec<u8>) {
        let Self {
            body_length,
            nonce,
            number,
            hard_state: HardState { term, vote, commit },
            first,
            last,
            count,
            flags,
            zero_sectors,
            body_crc,
            header_crc,
        } = self;
        bytes.extend(BATCH_MAGIC);
        bytes.extend(body_length.to_le_bytes());
        bytes.extend(nonce.to_le_bytes());
        bytes.extend(number.get().to_le_bytes());
        bytes.extend(term.get().to_le_bytes());
        bytes.extend(vote.map_or(0, HostId::get).to_le_bytes());
        bytes.extend(commit.get().to_le_bytes());
        bytes.extend(first.get().to_le_bytes());
        bytes.extend(last.get().to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(zero_sectors.to_le_bytes());
        bytes.extend(body_crc.to_le_bytes());
        bytes.extend(header_crc.to_le_bytes());
    }

    /// Bytes of the batch on disk, padding included.
    pub(crate) fn padded_bytes(&self) -> u64 {
        padded(BATCH_HEADER as u64 + u64::from(self.body_length))
    }

    /// Bytes of the records.
    pub(crate) fn body_bytes(&self) -> usize {
        usize::try_from(self.body_length).unwrap_or(usize::MAX)
    }

    /// How many of the records are entries.
    pub(crate) fn entries(&self) -> u64 {
        match self.first.get() {
            0 => 0,
            first => self.last.get().saturating_sub(first).saturating_add(1),
        }
    }
}

/// Rounds up to whole blocks.
pub(crate) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(super::BLOCK_BYTES)
}

/// Bytes of a batch on disk, padding included, at most.
pub(crate) fn batch_bytes(batch: &Batch<'_>) -> usize {
    let entries = batch.entries.iter().map(record::entry_bytes);
    let conf_state = batch.conf_state.map(record::conf_state_record_bytes);
    let body = entries.chain(conf_state).fold(record::FILLER_BYTES, usize::saturating_add);
    body.saturating_add(BATCH_HEADER).div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// How many sectors are zero.
pub(crate) fn zero_sectors(bytes: &[u8]) -> u64 {
    let zero = bytes.chunks(SECTOR).filter(|sector| all_zero(sector)).count();
    u64::try_from(zero).unwrap_or(u64::MAX)
}

/// Encodes a batch, padding included, into the emptied buffer; it still needs its [`seal`]. The same batch gives the
/// same bytes. The batch is not larger than [`MAX_BATCH`].
pub(crate) fn encode(bytes: &mut Vec<u8>, batch: &Batch<'_>) -> BatchHeader {
    let mut header = header_of(batch);
    bytes.clear();
    bytes.reserve(batch_bytes(batch));
    bytes.resize(BATCH_HEADER, 0);
    for entry in batch.entries {
        record::push_entry(bytes, entry);
    }
    if let Some(conf_state) = batch.conf_state {
        record::push_conf_state_record(bytes, conf_state);
    }
    if needs_filler(bytes) {
        record::push_filler(bytes);
        header.count = header.count.saturating_add(1);
    }
    finish(bytes, &mut header);
    header
}

/// Pads a batch whose records are all there, and notes in its header what its bytes tell.
pub(crate) fn finish(bytes: &mut Vec<u8>, header: &mut BatchHeader) {
    let body = bytes.get(BATCH_HEADER..).unwrap_or_default();
    header.body_length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    header.body_crc = crc32c::crc32c(body);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    // The header's own sector is never zero.
    let zero = zero_sectors(bytes.get(SECTOR..).unwrap_or_default());
    header.zero_sectors = u16::try_from(zero).unwrap_or(u16::MAX);
}

/// Whether the last sector holds one bit only. If that bit rotted, the sector would look as if it had never been
/// written, and an acknowledged batch would look torn.
pub(crate) fn needs_filler(bytes: &[u8]) -> bool {
    let start = bytes.len().saturating_sub(1) / SECTOR * SECTOR;
    let last = bytes.get(start..).unwrap_or_default();
    0 < start && last.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1
}

/// Writes the header of an encoded batch that now has its place.
pub(crate) fn seal(bytes: &mut [u8], header: &mut BatchHeader, nonce: u64, number: BatchNumber) {
    (header.nonce, header.number) = (nonce, number);
    let mut sealed = Vec::with_capacity(BATCH_HEADER);
    header.push(&mut sealed);
    header.header_crc = crc32c::crc32c(sealed.get(..HEADER_CRC_AT).unwrap_or_default());
    sealed.clear();
    header.push(&mut sealed);
    if let Some(place) = bytes.get_mut(..BATCH_HEADER) {
        place.copy_from_slice(&sealed);
    }
}

/// A batch's header, without what its bytes and its place tell.
fn header_of(batch: &Batch<'_>) -> BatchHeader {
    let (first, last) = match batch.entries {
        [] => (LogIndex::default(), LogIndex::default()),
        [first, ..] => (first.index, batch.entries.last().unwrap_or(first).index),
    };
    let count = batch.entries.len() + usize::from(batch.conf_state.is_some());
    BatchHeader {
        body_length: 0,
        nonce: 0,
        number: BatchNumber::default(),
        hard_state: batch.hard_state,
        first,
        last,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        flags: 0,
        zero_sectors: 0,
        body_crc: 0,
        header_crc: 0,
    }
}
