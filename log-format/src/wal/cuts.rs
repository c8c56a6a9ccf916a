//! When what a person had cut off a damaged log goes away: with what is erased, since it holds the same.

use std::path::Path;

use super::batch::BatchHeader;
use super::{BLOCK_BYTES, names};
use crate::disk::{Access, Disk, DiskError, DiskFile, Operation, SECTOR};
use crate::ids::LogIndex;

/// Removes the copies that name no entry above an index, and says how many.
pub(super) fn forget<D: Disk>(disk: &D, directory: &Path, upto: LogIndex) -> Result<u64, DiskError> {
    let mut forgotten = 0;
    for name in disk.list(directory)?.iter().filter(|name| names::is_cut_file(name)) {
        let path = directory.join(name);
        if last_named(&disk.open(&path, Access::Read)?)? <= upto {
            disk.remove(&path)?;
            forgotten += 1;
        }
    }
    if 0 < forgotten {
        disk.sync_dir(directory)?;
    }
    Ok(forgotten)
}

/// The last entry that a whole header names. What cannot be read names none.
fn last_named<F: DiskFile>(file: &F) -> Result<LogIndex, DiskError> {
    let (length, mut at) = (file.length()?, 0_u64);
    let (mut last, mut sector) = (LogIndex::default(), [0; SECTOR]);
    while at.saturating_add(BLOCK_BYTES) <= length {
        match file.read_at(at, &mut sector) {
            Err(error) if error.operation == Operation::Read => {}
            read => {
                read?;
                let header = BatchHeader::read(&sector).filter(|header| 0 < header.entries());
                last = last.max(header.map_or(LogIndex::default(), |header| header.last));
            }
        }
        at = at.saturating_add(BLOCK_BYTES);
    }
    Ok(last)
}
