//! A durable queue of what a host has sensed and done and the cluster has not yet taken in. It survives the process, has a
//! bound, and loses no more than the records that a disk has damaged.
//!
//! ```text
//!  append ──> batch in spool/<number>.wal, synced ──> pending ──> sent to the leader ──> acknowledge ──> files go away
//!                 │ over the bound
//!                 └──> the oldest observations are dropped, and named; actions never are
//! ```
//!
//! Files and batches are those of the write-ahead log (`FORMAT.md`): the same checksums, and the same rule tells a torn
//! tail, that nobody was told of, from damage. Unlike the log, a damaged spool never refuses to open: each record carries
//! its ordinal, so what is missing shows as a gap.

mod open;
mod pending;
pub(crate) mod record;
mod room;
mod segment;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

pub use pending::Pending;

use crate::disk::{Disk, DiskError, DiskFile};
use crate::ids::{BatchNumber, LogIndex, OriginSequence, Term, WalSequence};
use crate::reserve::SpaceLimits;
use crate::time::Timestamp;
use crate::wal::batch::{self, BatchHeader, MAX_BATCH};
use crate::wal::file_header::FileHeader;
use crate::wal::spares::{SpareProgress, Spares};
use crate::wal::{self, BLOCK_BYTES, ConfState, LogPosition, Stamps, WalIdentity, names};
use record::Numbered;
use segment::{Mark, Segment};

/// First bytes of a spool's file.
pub(crate) const SPOOL_MAGIC: [u8; 8] = *b"ELOGSPL\0";
/// The folder in the data directory.
const DIRECTORY: &str = "spool";
/// Ends the name of a file that takes another's place; removed at the next start.
const REWRITTEN_SUFFIX: &str = ".wal.new";

/// What the ordinals skip where nobody knows how many records are gone: more than fit into any spool.
const UNKNOWN_LOSS: u64 = 1 << 40;

/// One thing that a host has sensed or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolRecord {
    /// Its number, larger than that of every record before it.
    pub sequence: OriginSequence,
    /// When, by the host's own clock.
    pub observed_at: Timestamp,
    /// Whether it may be dropped.
    pub priority: Priority,
    /// What; the spool does not look into it.
    pub bytes: Vec<u8>,
}

/// Whether a record may be dropped when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The host has done something: never dropped.
    Action,
    /// The host has seen something: the oldest are dropped first.
    Observation,
}

/// Records that are gone: dropped for room, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolDropped {
    /// The first number that may be missing.
    pub from: OriginSequence,
    /// The last. Not every number between the two was ever given.
    pub to: OriginSequence,
    /// How many records are missing, if that is known.
    pub count: Option<u64>,
}

/// What [`Spool::pending`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolItem {
    /// A record.
    Record(SpoolRecord),
    /// A gap in the records.
    Dropped(SpoolDropped),
}

/// A damaged place that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} at byte {offset}: {detail}", file.display())]
pub struct SpoolDamage {
    /// The file.
    pub file: PathBuf,
    /// The place.
    pub offset: u64,
    /// What shows it.
    pub detail: String,
}

/// Sizes of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Bytes of each file; a multiple of 4,096.
    pub file_bytes: u64,
    /// Bytes of all files together at most; two files at least.
    pub bound_bytes: u64,
}

impl SpoolOptions {
    /// 4 MiB: small steps when records are dropped or done with, and large enough that a new file is rare.
    pub const FILE_BYTES: u64 = 4 << 20;
    /// 1 GiB: hours of a heavy attack without a cluster.
    pub const BOUND_BYTES: u64 = 1 << 30;
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self { file_bytes: Self::FILE_BYTES, bound_bytes: Self::BOUND_BYTES }
    }
}

/// What a spool needs to know from outside.
pub struct SpoolSetup {
    /// Whose spool it is.
    pub identity: WalIdentity,
    /// Its sizes.
    pub options: SpoolOptions,
    /// Numbers up to this one are given no more: what a damaged end hid is not above it.
    pub given_upto: OriginSequence,
    /// On a disk that is low by these no file is begun: what is left is the log's.
    pub limits: SpaceLimits,
    /// Stamps for its files.
    pub stamps: Stamps,
}

/// What was found when a spool was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpoolFound {
    /// The last record's number, also if the record is damaged but its number is known.
    pub last: Option<OriginSequence>,
    /// Records that can be read.
    pub records: u64,
    /// Damaged places that were left out.
    pub damage: Vec<SpoolDamage>,
}

/// Something could not be spooled.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The disk failed while a record was written: the process must end, nobody knows what the disk holds.
    #[error("append to the spool")]
    Disk {
        /// What failed.
        #[source]
        source: DiskError,
    },
    /// There is no room for another file. What [`Spool::last`] names is spooled; the rest may be tried again.
    #[error("make a file for the spool")]
    NoFile {
        /// What failed.
        #[source]
        source: DiskError,
    },
    /// The disk is nearly full, and what is left is the log's. As for [`SpoolError::NoFile`].
    #[error("the disk has {free} bytes left, which are kept for the log")]
    Low {
        /// Bytes that are free.
        free: u64,
    },
    /// The disk failed while records were read back, beyond a place that cannot be read.
    #[error("read the spool")]
    Read {
        /// What failed.
        #[source]
        source: DiskError,
    },
    /// An earlier append failed; nothing is written any more.
    #[error("append to the spool after an earlier failure")]
    Poisoned,
    /// Nothing but actions is left, and they fill the bound. What [`Spool::last`] names is spooled, the rest is not.
    #[error("the spool holds {bytes} bytes of actions, which are never dropped; the limit is {limit}")]
    Full {
        /// Bytes of its files.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A record is too large. Nothing was written.
    #[error("a record of {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Numbers do not rise. Nothing was written.
    #[error("record {found} after record {last}: numbers must rise")]
    Order {
        /// The record's number.
        found: OriginSequence,
        /// The number before it.
        last: OriginSequence,
    },
    /// It belongs to another host.
    #[error("{} belongs to {found}, not to {expected}: give this host its own data directory", file.display())]
    WrongIdentity {
        /// The file.
        file: PathBuf,
        /// Who was expected.
        expected: Box<WalIdentity>,
        /// Who wrote it.
        found: Box<WalIdentity>,
    },
    /// A newer version wrote it.
    #[error("{} was written by a newer version of palisade ({what}): upgrade this host", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// What is unknown.
        what: String,
    },
    /// The sizes cannot work.
    #[error("spool files of {} bytes, {} in all: a file must be a multiple of 4096 and at least 8192, and two must fit", .0.file_bytes, .0.bound_bytes)]
    Options(SpoolOptions),
}

/// The spool. One for each data directory, under the lock that the log holds.
pub struct Spool<D: Disk> {
    disk: Arc<D>,
    directory: PathBuf,
    setup: SpoolSetup,
    /// Oldest first.
    segments: VecDeque<Segment<D::File>>,
    /// Where the next batch goes; `None` if that is a new file.
    place: Option<Place>,
    /// The next file's number.
    next_file: WalSequence,
    next_batch: BatchNumber,
    last: Mark,
    tail: TailKnowledge,
    spares: Spares<D>,
    /// Files that could not be read when this was opened: a later start may read them, until their loss is in the log.
    unread: Vec<PathBuf>,
    /// The last number when this was opened.
    given_before: OriginSequence,
    is_poisoned: bool,
}

/// Whether it is known how many records were there behind the last good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TailKnowledge {
    Known,
    /// A damaged end hides how many.
    Unknown,
}

/// A place behind the last batch of the last file.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
}

impl<D: Disk> Spool<D> {
    /// Makes records durable, with one write and one sync if they fit into one batch. Says what had to be dropped for them.
    pub fn append(&mut self, records: &[SpoolRecord]) -> Result<Vec<SpoolDropped>, SpoolError> {
        if self.is_poisoned {
            return Err(SpoolError::Poisoned);
        }
        let limit = self.batch_limit();
        self.check(records, limit)?;
        let mut dropped = Vec::new();
        let mut rest = records;
        while !rest.is_empty() {
            let (batch, left) = split(rest, limit, record::record_bytes);
            self.append_batch(batch, &mut dropped)?;
            rest = left;
        }
        Ok(dropped)
    }

    /// Writes no more into the current file, so that [`Spool::acknowledge`] can forget it: for whoever must be sure that
    /// nothing old is left.
    pub fn close_file(&mut self) {
        self.place = None;
    }

    /// Forgets whole files whose records all have numbers up to this one, and says how many files. The file that is being
    /// written stays.
    pub fn acknowledge(&mut self, upto: OriginSequence) -> Result<u64, SpoolError> {
        if self.is_poisoned {
            return Err(SpoolError::Poisoned);
        }
        let mut files = 0;
        while usize::from(self.place.is_some()) < self.segments.len()
            && let Some(oldest) = self.segments.pop_front_if(|oldest| is_done_with(oldest, upto))
        {
            self.give_up(oldest).map_err(|source| self.poison(source))?;
            files += 1;
        }
        if self.given_before <= upto {
            files += self.forget_unread().map_err(|source| self.poison(source))?;
        }
        if 0 < files {
            self.disk.sync_dir(&self.directory).map_err(|source| self.poison(source))?;
        }
        Ok(files)
    }

    /// The records from a number on, in order, with the gaps between them. Records that are appended later are not among
    /// them; files that go away meanwhile are still read.
    pub fn pending(&self, from: OriginSequence) -> Pending<D::File> {
        let files = self.segments.iter().map(|segment| (Arc::clone(&segment.file), segment.header.clone()));
        Pending::new(from, self.last, files.collect())
    }

    /// The last number that was appended; zero if there is none.
    pub fn last(&self) -> OriginSequence {
        self.last.sequence
    }

    /// Bytes of all files, without the spare ones.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.header.file_bytes).sum()
    }

    /// Does a few milliseconds of work on the spare files, for whoever has nothing better to do; makes none on a disk that is
    /// low. An error is not fatal.
    pub fn prepare_spare(&mut self) -> Result<SpareProgress, DiskError> {
        if self.setup.limits.are_crossed(self.disk.space(&self.directory)?) {
            return self.spares.shrink();
        }
        self.spares.step()
    }

    /// Bytes of a batch at most, header and padding included.
    fn batch_limit(&self) -> usize {
        let room = self.setup.options.file_bytes.saturating_sub(BLOCK_BYTES);
        usize::try_from(room).unwrap_or(usize::MAX).min(MAX_BATCH)
    }

    fn check(&self, records: &[SpoolRecord], limit: usize) -> Result<(), SpoolError> {
        let limit = limit.saturating_sub(record::BATCH_OVERHEAD);
        let mut last = self.last.sequence;
        for record in records {
            let size = record::record_bytes(record);
            if limit < size {
                return Err(SpoolError::TooLarge { size, limit });
            }
            if record.sequence <= last {
                return Err(SpoolError::Order { found: record.sequence, last });
            }
            last = record.sequence;
        }
        Ok(())
    }

    fn append_batch(
        &mut self,
        records: &[SpoolRecord],
        dropped: &mut Vec<SpoolDropped>,
    ) -> Result<(), SpoolError> {
        let ordinals = self.last.ordinal.saturating_add(1)..;
        let numbered: Vec<Numbered> = records
            .iter()
            .zip(ordinals)
            .map(|(record, ordinal)| Numbered { record: record.clone(), ordinal })
            .collect();
        let mut bytes = Vec::new();
        let header = record::encode(&mut bytes, &numbered);
        let size = header.padded_bytes();
        let offset = match (self.place, self.segments.back()) {
            (Some(place), Some(segment))
                if place.offset.saturating_add(size) <= segment.header.file_bytes =>
            {
                place.offset
            }
            _ => {
                self.refuse_when_low()?;
                self.close_file();
                dropped.extend(self.make_room()?);
                self.begin_file()?;
                BLOCK_BYTES
            }
        };
        let written = self.write(offset, (&mut bytes, header), &numbered);
        written.map_err(|source| self.poison(source))
    }

    fn write(
        &mut self,
        offset: u64,
        (bytes, mut header): (&mut [u8], BatchHeader),
        records: &[Numbered],
    ) -> Result<(), DiskError> {
        let Some(segment) = self.segments.back_mut() else {
            return Ok(());
        };
        batch::seal(bytes, &mut header, segment.header.nonce, self.next_batch);
        segment.file.write_at(offset, bytes)?;
        sync(&*segment.file)?;
        records.iter().for_each(|numbered| segment.count(numbered));
        self.last = segment.last;
        self.next_batch = BatchNumber::new(self.next_batch.get().saturating_add(1));
        self.place = Some(Place { offset: offset.saturating_add(header.padded_bytes()) });
        Ok(())
    }

    fn refuse_when_low(&self) -> Result<(), SpoolError> {
        let space = self.disk.space(&self.directory).map_err(|source| SpoolError::NoFile { source })?;
        if self.setup.limits.are_crossed(space) {
            return Err(SpoolError::Low { free: space.free });
        }
        Ok(())
    }

    fn begin_file(&mut self) -> Result<(), SpoolError> {
        let blank = self.spares.take().map_err(|source| SpoolError::NoFile { source })?;
        let header = self.next_header(self.setup.options.file_bytes);
        let named = blank
            .file
            .write_at(0, &header.encode_as(SPOOL_MAGIC))
            .and_then(|()| blank.file.sync_data())
            .and_then(|()| wal::name_file(&*self.disk, &self.directory, blank, header.sequence));
        let file = named.map_err(|source| self.poison(source))?;
        self.push_file(file, header);
        Ok(())
    }

    /// The header of the next file, which says how far the spool has come.
    fn next_header(&mut self, file_bytes: u64) -> FileHeader {
        let stamp = (self.setup.stamps)();
        FileHeader {
            identity: self.setup.identity,
            sequence: self.next_file,
            nonce: stamp.nonce,
            first_batch: self.next_batch,
            base: LogPosition {
                index: LogIndex::new(self.last.sequence.get()),
                term: Term::new(self.last.ordinal),
            },
            conf_state: ConfState::default(),
            previous_crc: 0,
            created_at: stamp.created_at,
            file_bytes,
        }
    }

    fn push_file(&mut self, file: Arc<D::File>, header: FileHeader) {
        self.next_file = WalSequence::new(self.next_file.get().saturating_add(1));
        self.segments.push_back(Segment::new(file, header));
        self.place = None;
    }

    fn give_up(&mut self, segment: Segment<D::File>) -> Result<(), DiskError> {
        let path = names::log_file(&self.directory, segment.header.sequence);
        self.spares.recycle(&path, segment.file)
    }

    /// Removes what could not be read: the log says that it is lost.
    fn forget_unread(&mut self) -> Result<u64, DiskError> {
        let mut files = 0;
        while let Some(path) = self.unread.pop() {
            self.disk.remove(&path)?;
            files += 1;
        }
        Ok(files)
    }

    fn poison(&mut self, source: DiskError) -> SpoolError {
        self.is_poisoned = true;
        SpoolError::Disk { source }
    }
}

fn sync<F: DiskFile>(file: &F) -> Result<(), DiskError> {
    #[cfg(bug = "spool_ack_before_sync")]
    if crate::planted::is_on("spool_ack_before_sync") {
        return Ok(());
    }
    file.sync_data()
}

/// Whether every record of a file has a number up to this one.
fn is_done_with<F>(segment: &Segment<F>, upto: OriginSequence) -> bool {
    #[cfg(bug = "spool_forgets_unsent")]
    if crate::planted::is_on("spool_forgets_unsent") {
        return segment::before(&segment.header).sequence < upto;
    }
    segment.last.sequence <= upto
}

/// As many of the first records as fit into a batch of so many bytes; one at least.
fn split<T>(records: &[T], limit: usize, size: impl Fn(&T) -> usize) -> (&[T], &[T]) {
    let mut bytes = record::BATCH_OVERHEAD;
    let over = records.iter().position(|record| {
        bytes = bytes.saturating_add(size(record));
        limit < bytes
    });
    records.split_at_checked(over.unwrap_or(records.len()).max(1)).unwrap_or((records, &[]))
}

const _: () = assert!(batch::BATCH_HEADER < record::BATCH_OVERHEAD);
