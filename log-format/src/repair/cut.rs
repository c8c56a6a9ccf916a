//! Cuts a damaged log short, on a person's order.

use std::path::{Path, PathBuf};

use super::RepairError;
use crate::disk::{Access, Disk, DiskError, DiskFile, SECTOR};
use crate::ids::{LogIndex, WalSequence};
use crate::recover::{Damage, Ending, RecoverError};
use crate::wal::batch::BatchHeader;
use crate::wal::{self, LogPosition, WalIdentity, Walk, names};

/// Copies of one file's cuts that are kept beside it; a person is to move them away.
const MAX_COPIES: u32 = 100;
/// Bytes copied at once.
const PIECE: u64 = 1 << 20;

/// What a cut has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailLoss {
    /// The damage that was cut away, with all behind it.
    pub damage: Damage,
    /// The last entry that is left.
    pub last: LogPosition,
    /// The commit index that is left.
    pub commit: LogIndex,
    /// The last entry that a header names in what was cut away; what is not left up to there is lost. The same as `last`
    /// if none is named.
    pub lost_upto: LogIndex,
    /// Bytes that were cut away, without the zeros behind them.
    pub bytes: u64,
    /// Where the bytes are that were cut away.
    pub copies: Vec<PathBuf>,
}

/// Cuts off what is damaged and everything behind it, and keeps the cut bytes in files beside the log. Acknowledged entries
/// are lost: only for a host that is alone in its cluster, on a person's explicit order, which the caller records.
///
/// A crash meanwhile leaves a log that is still damaged, or one that opens with what this would have left.
pub fn accept_tail_loss<D: Disk>(
    disk: &D,
    data: &Path,
    identity: &WalIdentity,
) -> Result<TailLoss, RepairError> {
    let _lock = wal::lock(disk, data)?;
    let directory = wal::wal_directory(data);
    let walk = match wal::walk(disk, &directory, Access::ReadWrite) {
        Ok(walk) => walk,
        Err(RecoverError::Corrupt(damage)) => return Err(RepairError::NothingLeft(damage)),
        Err(error) => return Err(error.into()),
    };
    if walk.identity != *identity {
        return Err(RepairError::Recover(RecoverError::WrongIdentity {
            file: walk.tail.path,
            expected: Box::new(*identity),
            found: Box::new(walk.identity),
        }));
    }
    let damage = match &walk.ending {
        Ending::Clean | Ending::Torn(_) => return Err(RepairError::Sound),
        Ending::Corrupt(damage) | Ending::Suspect(damage) => damage.as_ref().clone(),
    };
    let lost = Lost::behind(disk, &directory, &walk)?;
    let mut copies = move_later_files(disk, &directory, walk.tail.header.sequence)?;
    copies.extend(cut_tail(disk, &directory, &walk)?);
    let (last, commit) = (walk.index.last(), walk.hard_state.commit);
    Ok(TailLoss { damage, last, commit, lost_upto: lost.upto.max(last.index), bytes: lost.bytes, copies })
}

/// What is about to be cut away.
#[derive(Default)]
struct Lost {
    upto: LogIndex,
    bytes: u64,
}

impl Lost {
    fn behind<D: Disk>(disk: &D, directory: &Path, walk: &Walk<D::File>) -> Result<Self, DiskError> {
        let mut lost = Self::default();
        let tail = &walk.tail;
        lost.count(&*tail.file, tail.offset)?;
        let files = names::log_files(disk, directory)?;
        for sequence in files.into_iter().filter(|sequence| tail.header.sequence < *sequence) {
            let file = disk.open(&names::log_file(directory, sequence), Access::Read)?;
            lost.count(&file, wal::BLOCK_BYTES)?;
        }
        Ok(lost)
    }

    /// Counts a file's bytes from a block on, and reads what headers are whole there.
    fn count<F: DiskFile>(&mut self, file: &F, from: u64) -> Result<(), DiskError> {
        let end = used_until(file, from)?;
        self.bytes = self.bytes.saturating_add(end.saturating_sub(from));
        let mut sector = vec![0; SECTOR];
        let mut at = from;
        while at < end {
            file.read_at(at, &mut sector)?;
            if let Some(header) = BatchHeader::read(&sector).filter(|header| 0 < header.entries()) {
                self.upto = self.upto.max(header.last);
            }
            at = at.saturating_add(wal::BLOCK_BYTES);
        }
        Ok(())
    }
}

/// Gives the files behind the last good one other names, the newest first.
fn move_later_files<D: Disk>(
    disk: &D,
    directory: &Path,
    last: WalSequence,
) -> Result<Vec<PathBuf>, RepairError> {
    let mut copies = Vec::new();
    let files = names::log_files(disk, directory)?;
    for sequence in files.into_iter().rev().take_while(|sequence| last < *sequence) {
        let copy = free_name(disk, directory, sequence)?;
        disk.rename(&names::log_file(directory, sequence), &copy)?;
        disk.sync_dir(directory)?;
        copies.push(copy);
    }
    Ok(copies)
}

/// Copies what lies behind the last good batch, then zeroes it.
fn cut_tail<D: Disk>(
    disk: &D,
    directory: &Path,
    walk: &Walk<D::File>,
) -> Result<Option<PathBuf>, RepairError> {
    let tail = &walk.tail;
    let end = used_until(&*tail.file, tail.offset)?;
    if end <= tail.offset {
        return Ok(None);
    }
    let copy = free_name(disk, directory, tail.header.sequence)?;
    let file = disk.create(&copy)?;
    let mut at = tail.offset;
    while at < end {
        let mut piece = vec![0; usize::try_from(end.saturating_sub(at).min(PIECE)).unwrap_or(wal::BLOCK)];
        tail.file.read_at(at, &mut piece)?;
        file.write_at(at.saturating_sub(tail.offset), &piece)?;
        at = at.saturating_add(piece.len() as u64);
    }
    file.sync_data()?;
    disk.sync_dir(directory)?;
    wal::zero_from(&*tail.file, tail.offset)?;
    tail.file.sync_data()?;
    Ok(Some(copy))
}

/// The end of the last block that is not zero.
fn used_until<F: DiskFile>(file: &F, from: u64) -> Result<u64, DiskError> {
    let length = file.length()?;
    let (mut at, mut end) = (from, from);
    let mut block = vec![0; wal::BLOCK];
    while at < length {
        file.read_at(at, &mut block)?;
        at = at.saturating_add(wal::BLOCK_BYTES);
        if !wal::bytes::all_zero(&block) {
            end = at;
        }
    }
    Ok(end)
}

/// A name for what is cut from a file, that no earlier cut has.
fn free_name<D: Disk>(disk: &D, directory: &Path, sequence: WalSequence) -> Result<PathBuf, RepairError> {
    let taken = disk.list(directory)?;
    let names = (1..=MAX_COPIES).map(|copy| names::cut_file(sequence, copy));
    let mut last = String::new();
    for name in names {
        if !taken.contains(&name) {
            return Ok(directory.join(name));
        }
        last = name;
    }
    Err(RepairError::TooManyCopies { path: directory.join(last) })
}
