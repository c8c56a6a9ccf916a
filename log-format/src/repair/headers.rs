//! The right bytes of a damaged header: from one byte that, changed, makes its checksum right, or from everything that it
//! must say. Nothing is taken for right that contradicts the files around it.

use crate::disk::{Access, Disk, DiskError, DiskFile};
use crate::recover::Damage;
use crate::wal::batch::{BATCH_HEADER, BatchHeader};
use crate::wal::file_header::FileHeader;
use crate::wal::walk::Tail;
use crate::wal::{BLOCK, BLOCK_BYTES, ConfState, WalIdentity, Walk, names};

/// A batch header's 80 bytes, from the sector it was read from.
pub(super) fn batch_header<F: DiskFile>(tail: &Tail<F>, sector: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
    let Some(bytes) = sector.get(..BATCH_HEADER) else {
        return Ok(None);
    };
    let room = tail.header.file_bytes.saturating_sub(tail.offset);
    let fits = |header: &BatchHeader| {
        header.nonce == tail.header.nonce
            && header.number == tail.next
            && header.padded_bytes() <= room
            && header.flags == 0
    };
    let changed = one_byte_changed(bytes, bytes.len());
    let candidates: Vec<(Vec<u8>, BatchHeader)> = changed
        .filter_map(|bytes| Some((BatchHeader::read(&bytes).filter(fits)?, bytes)))
        .map(|(header, bytes)| (bytes, header))
        .collect();
    for (bytes, header) in &candidates {
        let mut body = vec![0; header.body_bytes()];
        tail.file.read_at(tail.offset.saturating_add(BATCH_HEADER as u64), &mut body)?;
        if crc32c::crc32c(&body) == header.body_crc {
            return Ok(Some(bytes.clone()));
        }
    }
    // The records may be damaged too; then the header is the only one that its checksum allows.
    match candidates.as_slice() {
        [(bytes, _)] => Ok(Some(bytes.clone())),
        _ => Ok(None),
    }
}

/// A file's first block; `walk` is what lies before the file, if it is not the first.
pub(super) fn file_header<D: Disk>(
    disk: &D,
    damage: &Damage,
    identity: &WalIdentity,
    walk: Option<&Walk<D::File>>,
) -> Result<Option<Vec<u8>>, DiskError> {
    let file = disk.open(&damage.file, Access::Read)?;
    let file_bytes = file.length()?;
    if file_bytes < 2 * BLOCK_BYTES {
        return Ok(None);
    }
    let mut blocks = vec![0; 2 * BLOCK];
    file.read_at(0, &mut blocks)?;
    let (block, next) = blocks.split_at(BLOCK);
    let first = BatchHeader::read(next);
    let is_right = |header: &FileHeader| {
        let is_own = header.identity == *identity
            && header.file_bytes == file_bytes
            && names::log_file(damage.file.parent().unwrap_or(&damage.file), header.sequence) == damage.file;
        // What lies at the place of the first batch may be stray, but not of the right number.
        let has_nonce = first
            .as_ref()
            .is_none_or(|first| first.number != header.first_batch || first.nonce == header.nonce);
        is_own && has_nonce && walk.is_none_or(|walk| follows(walk, header))
    };
    let front = block.get(..longest()).unwrap_or(block);
    let claimed = FileHeader::claimed_length(front);
    let known = walk.and_then(|walk| derived(walk, block, (first, file_bytes)));
    let unchanged = FileHeader::read_front(front).ok();
    let changed =
        one_byte_changed(front, claimed.max(12)).filter_map(|bytes| FileHeader::read_front(&bytes).ok());
    let mut candidates = unchanged.into_iter().chain(known).chain(changed);
    Ok(candidates.find(is_right).map(|header| header.encode()))
}

/// Whether a file with this header can follow what was read, or what would be there but for damage.
fn follows<F>(walk: &Walk<F>, header: &FileHeader) -> bool {
    match header.first_batch.cmp(&walk.tail.next) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => header.previous_crc == walk.tail.last_crc,
        std::cmp::Ordering::Greater => true,
    }
}

/// The header that the file must have, if its own checksum says so too: time, and nonce if there is no batch, are only in
/// the damaged block.
fn derived<F>(
    walk: &Walk<F>,
    block: &[u8],
    (first, file_bytes): (Option<BatchHeader>, u64),
) -> Option<FileHeader> {
    let (nonce, created_at) = FileHeader::unproven(block, &walk.conf_state)?;
    let first = first.filter(|first| first.number == walk.tail.next);
    let header = FileHeader {
        identity: walk.identity,
        sequence: crate::ids::WalSequence::new(walk.tail.header.sequence.get().saturating_add(1)),
        nonce: first.map_or(nonce, |first| first.nonce),
        first_batch: walk.tail.next,
        base: walk.index.last(),
        conf_state: walk.conf_state.clone(),
        previous_crc: walk.tail.last_crc,
        created_at,
        file_bytes,
    };
    let end = FileHeader::length(&header.conf_state);
    let checksum = end.checked_sub(4)?..end;
    (header.encode().get(checksum.clone()) == block.get(checksum)).then_some(header)
}

/// Bytes of the longest header.
fn longest() -> usize {
    let hosts = (0..ConfState::MAX_MEMBERS as u64).map(crate::ids::HostId::new);
    FileHeader::length(&ConfState::new(hosts, []))
}

/// All ways to change one of the first bytes.
fn one_byte_changed(bytes: &[u8], first: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    let places = 0..first.min(bytes.len());
    places.flat_map(move |place| {
        (1..=u8::MAX).filter_map(move |change| {
            let mut changed = bytes.to_vec();
            *changed.get_mut(place)? ^= change;
            Some(changed)
        })
    })
}
