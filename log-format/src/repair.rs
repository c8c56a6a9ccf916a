//! Repairs a damaged log before anything runs on it, to the very bytes that were written, or not at all.
//!
//! ```text
//!  find ──> None: the log opens
//!    │ order
//!    ├─ a header is damaged ─────> its right bytes follow from what it must say and from its checksum
//!    └─ a batch's records are ───> fetch the entries that the order names from any host
//!                                          │
//!                    apply ──> encode them again ──> same checksum? ──no──> refused, nothing changed
//!                                                          │ yes
//!                                                          v
//!                                          same bytes written back, synced; find again
//! ```
//!
//! An entry encodes to the same bytes on every host, so another host's entries give the damaged records back, and their
//! checksum proves it. What cannot be proven is never written. [`accept_tail_loss`] is the other way out: it cuts off what is
//! damaged and all behind it, and is for the one host of a cluster of one, on a person's order.

mod cut;
mod headers;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use cut::{TailLoss, accept_tail_loss};

use crate::disk::{Access, Disk, DiskError, DiskFile, SECTOR};
use crate::ids::{BatchNumber, LogIndex};
use crate::recover::{Damage, Ending, Evidence, RecoverError};
use crate::wal::batch::{self, BATCH_HEADER, BatchHeader};
use crate::wal::file_header::FileHeader;
use crate::wal::names;
use crate::wal::{self, Batch, ConfState, Durability, LogEntry, WalIdentity, Walk};

/// What a repair needs, and where the damage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairOrder {
    /// The damage, in words.
    pub damage: Damage,
    /// What must be handed to [`apply`].
    pub need: Need,
}

/// What a repair needs from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: a header is damaged, and its right bytes are known.
    Nothing,
    /// The records of a batch.
    Records(RecordsNeed),
}

/// The records of a batch whose header is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordsNeed {
    /// First and last index of the entries; `None` if the batch has none.
    pub entries: Option<(LogIndex, LogIndex)>,
    /// Whether the members as of this batch are needed, besides those that are in the log.
    pub members: Members,
    /// How many records there are.
    pub count: u32,
    /// Bytes of the records.
    pub body_bytes: u32,
    /// CRC32C of the records: what proves them.
    pub body_crc: u32,
}

/// Whether a list of members is among the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// No.
    Absent,
    /// Perhaps; [`apply`] finds out.
    Possible,
    /// Yes.
    Present,
}

/// A log was not repaired. Nothing was changed, unless the disk failed.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The log cannot be repaired, or is in use.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// Something else is damaged than the order says.
    #[error("the repair order for batch {batch} is out of date: look at the log again")]
    Stale {
        /// The batch of the order.
        batch: BatchNumber,
    },
    /// The entries are not those of the order.
    #[error("a repair of batch {batch} with other entries than it needs")]
    Entries {
        /// The batch.
        batch: BatchNumber,
    },
    /// What was handed in is not what had been written.
    #[error("the entries and members do not give batch {batch} back: ask another host")]
    NotReproduced {
        /// The batch.
        batch: BatchNumber,
    },
    /// There is nothing to cut.
    #[error("the log is not damaged: nothing was cut")]
    Sound,
    /// The log's beginning is damaged.
    #[error("{0}; nothing would be left: begin anew with an empty data directory")]
    NothingLeft(Box<Damage>),
    /// There are too many copies of earlier cuts.
    #[error("{} and its like exist already: move the copies of earlier cuts away", path.display())]
    TooManyCopies {
        /// The last name that was tried.
        path: PathBuf,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An order and what is known besides it.
struct Plan {
    order: RepairOrder,
    fix: Fix,
    /// Member lists in the log itself.
    members: Vec<ConfState>,
}

enum Fix {
    /// Write these bytes.
    Bytes(Vec<u8>),
    /// Find the records of this batch.
    Records(Box<BatchHeader>),
}

/// Looks at a log: `None` if it opens, the next repair if it is damaged, an error if it can be neither opened nor
/// repaired. Changes nothing and takes no lock.
pub fn find<D: Disk>(
    disk: &D,
    data: &Path,
    identity: &WalIdentity,
) -> Result<Option<RepairOrder>, RecoverError> {
    plan(disk, data, identity).map(|plan| plan.map(|plan| plan.order))
}

/// Makes one repair, durably. `entries` are those that the order needs, of any host; `members` are lists of members that may
/// be among the records, those in the log itself need not be named. Then [`find`] tells whether more is damaged.
pub fn apply<D: Disk>(
    disk: &D,
    data: &Path,
    identity: &WalIdentity,
    order: &RepairOrder,
    (entries, members): (&[LogEntry], &[ConfState]),
) -> Result<(), RepairError> {
    let _lock = wal::lock(disk, data)?;
    let batch = order.damage.batch;
    let plan = plan(disk, data, identity)?.filter(|plan| plan.order == *order);
    let plan = plan.ok_or(RepairError::Stale { batch })?;
    let bytes = match plan.fix {
        Fix::Bytes(bytes) => bytes,
        Fix::Records(header) => {
            check_entries(order, entries)?;
            let own = plan.members.iter().chain(members);
            reproduce(&header, entries, own).ok_or(RepairError::NotReproduced { batch })?
        }
    };
    let file = disk.open(&order.damage.file, Access::ReadWrite)?;
    file.write_at(order.damage.offset, &bytes)?;
    file.sync_data()?;
    Ok(())
}

fn check_entries(order: &RepairOrder, entries: &[LogEntry]) -> Result<(), RepairError> {
    let batch = order.damage.batch;
    let is = entries.first().zip(entries.last()).map(|(first, last)| (first.index, last.index));
    let follows = |pair: &[LogEntry]| matches!(pair, [one, next] if one.index.next() == next.index);
    match order.need {
        Need::Records(need) if need.entries == is && entries.windows(2).all(follows) => Ok(()),
        Need::Records(_) | Need::Nothing => Err(RepairError::Entries { batch }),
    }
}

/// Encodes a batch again, without members or with one of these lists; `None` if no way gives the checksums of its header.
fn reproduce<'a>(
    header: &BatchHeader,
    entries: &[LogEntry],
    members: impl Iterator<Item = &'a ConfState>,
) -> Option<Vec<u8>> {
    let (mut bytes, hard_state) = (Vec::new(), header.hard_state);
    for conf_state in std::iter::once(None).chain(members.map(Some)) {
        let batch = Batch { hard_state, entries, conf_state, durability: Durability::Sync };
        let mut again = batch::encode(&mut bytes, &batch);
        batch::seal(&mut bytes, &mut again, header.nonce, header.number);
        if again == *header {
            return Some(bytes);
        }
    }
    None
}

fn plan<D: Disk>(disk: &D, data: &Path, identity: &WalIdentity) -> Result<Option<Plan>, RecoverError> {
    let directory = wal::wal_directory(data);
    let walk = match wal::walk(disk, &directory, Access::Read) {
        Ok(walk) => walk,
        Err(RecoverError::Corrupt(damage)) => {
            let fix = headers::file_header(disk, &damage, identity, None)?;
            let fix = fix.ok_or_else(|| RecoverError::Corrupt(damage.clone()))?;
            let order = RepairOrder { damage: *damage, need: Need::Nothing };
            return Ok(Some(Plan { order, fix: Fix::Bytes(fix), members: Vec::new() }));
        }
        Err(error) => return Err(error),
    };
    if walk.identity != *identity {
        return Err(RecoverError::WrongIdentity {
            file: walk.tail.path,
            expected: Box::new(*identity),
            found: Box::new(walk.identity),
        });
    }
    let (damage, error) = match &walk.ending {
        Ending::Clean | Ending::Torn(_) => return Ok(None),
        Ending::Corrupt(damage) => (damage.clone(), RecoverError::Corrupt(damage.clone())),
        Ending::Suspect(damage) => (damage.clone(), RecoverError::Suspect(damage.clone())),
    };
    let Some(fix) = fix(disk, &walk, &damage, identity)? else {
        return Err(error);
    };
    let need = match &fix {
        Fix::Bytes(_) => Need::Nothing,
        Fix::Records(header) => Need::Records(need(header)),
    };
    let members = members(disk, &directory, walk.conf_state)?;
    Ok(Some(Plan { order: RepairOrder { damage: *damage, need }, fix, members }))
}

/// What can be done, if anything.
fn fix<D: Disk>(
    disk: &D,
    walk: &Walk<D::File>,
    damage: &Damage,
    identity: &WalIdentity,
) -> Result<Option<Fix>, DiskError> {
    match &damage.evidence {
        Evidence::FileHeader => {
            let bytes = headers::file_header(disk, damage, identity, Some(walk))?;
            Ok(bytes.map(Fix::Bytes))
        }
        Evidence::BatchHeader
        | Evidence::BatchBody
        | Evidence::LaterBatch { .. }
        | Evidence::LaterHeader { .. }
        | Evidence::LaterFile { .. } => fix_batch(walk),
        Evidence::FileNumber { .. }
        | Evidence::MissingFile { .. }
        | Evidence::Chain { .. }
        | Evidence::Length { .. }
        | Evidence::StrayHeader { .. }
        | Evidence::Content(_)
        | Evidence::Gap { .. } => Ok(None),
    }
}

/// The damaged batch is the one that is due where the walk ended.
fn fix_batch<F: DiskFile>(walk: &Walk<F>) -> Result<Option<Fix>, DiskError> {
    let (nonce, due) = (walk.tail.header.nonce, walk.tail.next);
    let mut sector = vec![0; SECTOR];
    walk.tail.file.read_at(walk.tail.offset, &mut sector)?;
    match BatchHeader::read(&sector) {
        Some(header) if header.nonce == nonce && header.number == due => {
            let is_inside = walk.tail.offset.saturating_add(header.padded_bytes());
            let is_inside = is_inside <= walk.tail.header.file_bytes;
            Ok((is_inside && header.flags == 0).then(|| Fix::Records(Box::new(header))))
        }
        Some(_) => Ok(None),
        None => Ok(headers::batch_header(&walk.tail, &sector)?.map(Fix::Bytes)),
    }
}

fn need(header: &BatchHeader) -> RecordsNeed {
    let entries = header.entries();
    let members = match u64::from(header.count).saturating_sub(entries) {
        0 => Members::Absent,
        1 => Members::Possible, // Or a filler.
        _ => Members::Present,
    };
    RecordsNeed {
        entries: (0 < entries).then_some((header.first, header.last)),
        members,
        count: header.count,
        body_bytes: header.body_length,
        body_crc: header.body_crc,
    }
}

/// The member lists that files begin with, and the newest before the damage.
fn members<D: Disk>(disk: &D, directory: &Path, newest: ConfState) -> Result<Vec<ConfState>, DiskError> {
    let mut members = vec![newest];
    for sequence in names::log_files(disk, directory)? {
        let file = disk.open(&names::log_file(directory, sequence), Access::Read)?;
        let mut block = vec![0; wal::BLOCK];
        if file.length()? < wal::BLOCK_BYTES {
            continue;
        }
        file.read_at(0, &mut block)?;
        if let Ok(header) = FileHeader::read(&block)
            && !members.contains(&header.conf_state)
        {
            members.push(header.conf_state);
        }
    }
    Ok(members)
}

const _: () = assert!(BATCH_HEADER < SECTOR);
