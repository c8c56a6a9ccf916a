//! The records of a spool's batches.

use super::{Priority, SpoolRecord};
use crate::ids::{BatchNumber, LogIndex, OriginSequence, Term};
use crate::time::Timestamp;
use crate::wal::HardState;
use crate::wal::batch::{self, BATCH_HEADER, BatchHeader};
use crate::wal::bytes::Fields;

/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER: usize = 32;

const ACTION: u8 = 1;
const OBSERVATION: u8 = 2;
const FILLER: u8 = 3;
/// What a filler holds: enough bits that none of them matters alone.
const FILLER_BYTES: [u8; 8] = [0xff; 8];

/// A record and its place among all that were ever spooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) record: SpoolRecord,
    /// From 1, without gaps: a gap shows how many records are gone.
    pub(super) ordinal: u64,
}

/// Bytes of a record in a batch.
pub(super) fn record_bytes(record: &SpoolRecord) -> usize {
    RECORD_HEADER.saturating_add(record.bytes.len())
}

/// Bytes of a batch besides its records, padding not included, at most.
pub(super) const BATCH_OVERHEAD: usize = BATCH_HEADER + RECORD_HEADER + FILLER_BYTES.len();

/// Encodes a batch, which is not empty, into the emptied buffer; it still needs its seal.
pub(super) fn encode(bytes: &mut Vec<u8>, records: &[Numbered]) -> BatchHeader {
    let sequence = |numbered: Option<&Numbered>| {
        LogIndex::new(numbered.map_or(0, |numbered| numbered.record.sequence.get()))
    };
    let mut header = BatchHeader {
        body_length: 0,
        nonce: 0,
        number: BatchNumber::default(),
        hard_state: HardState {
            term: Term::new(records.first().map_or(0, |numbered| numbered.ordinal)),
            vote: None,
            commit: LogIndex::new(records.last().map_or(0, |numbered| numbered.ordinal)),
        },
        first: sequence(records.first()),
        last: sequence(records.last()),
        count: u32::try_from(records.len()).unwrap_or(u32::MAX),
        flags: 0,
        zero_sectors: 0,
        body_crc: 0,
        header_crc: 0,
    };
    bytes.clear();
    bytes.resize(BATCH_HEADER, 0);
    for Numbered { record, ordinal } in records {
        let SpoolRecord { sequence, observed_at, priority, bytes: payload } = record;
        let numbers = [sequence.get(), *ordinal, observed_at.nanos()];
        push(bytes, priority.code(), numbers, payload);
    }
    if batch::needs_filler(bytes) {
        push(bytes, FILLER, [0; 3], &FILLER_BYTES);
        header.count = header.count.saturating_add(1);
    }
    batch::finish(bytes, &mut header);
    header
}

fn push(bytes: &mut Vec<u8>, kind: u8, numbers: [u64; 3], payload: &[u8]) {
    bytes.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend([kind, 0, 0, 0]);
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend_from_slice(payload);
}

/// Reads a body whose checksum is right; `None` if it makes no sense.
pub(super) fn decode(header: &BatchHeader, body: &[u8]) -> Option<Vec<Numbered>> {
    let mut fields = Fields::new(body);
    let mut records = Vec::new();
    for _ in 0..header.count {
        let length = usize::try_from(fields.u32()?).ok()?;
        let kind = fields.u8()?;
        fields.slice(3)?;
        let sequence = OriginSequence::new(fields.u64()?);
        let ordinal = fields.u64()?;
        let observed_at = Timestamp::from_nanos(fields.u64()?);
        let bytes = fields.slice(length)?.to_vec();
        let priority = match kind {
            ACTION => Priority::Action,
            OBSERVATION => Priority::Observation,
            FILLER => continue,
            _ => return None,
        };
        records.push(Numbered { record: SpoolRecord { sequence, observed_at, priority, bytes }, ordinal });
    }
    (fields.left() == 0).then_some(records)
}

impl Priority {
    const fn code(self) -> u8 {
        match self {
            Self::Action => ACTION,
            Self::Observation => OBSERVATION,
        }
    }
}
