//! The recovery rule: what a file's bytes mean after a crash. It reads and judges; it changes nothing.
//!
//! At most one batch is not durable at any time, files are zeroed before use, and no block is written twice. So the
//! first bad place of a file can be judged without guessing:
//!
//! ```text
//! first bad place, where batch n is due
//!   ├─ a good header of a batch above n lies further on ──> corrupt: n was acknowledged
//!   ├─ only zeros from here on ───────────────────────────> clean end
//!   ├─ n's good header lies further on ───────────────────> suspect: the disk wrote it to the wrong place
//!   ├─ a damaged header lies further on ──────────────────> corrupt: n was acknowledged, and a batch above it begun
//!   ├─ n's header sector is zero, but for one byte ───────> torn: n was never acknowledged
//!   ├─ more zero sectors than n's header counts ──────────> torn, unless one bit in such a sector explains it all
//!   └─ else ──────────────────────────────────────────────> suspect: n was probably acknowledged and has rotted
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::disk::{DiskError, DiskFile, SECTOR};
use crate::ids::{BatchNumber, LogIndex, WalSequence};
use crate::wal::batch::{self, BATCH_HEADER, BatchHeader};
use crate::wal::bytes::all_zero;
use crate::wal::crc;
use crate::wal::file_header::FileHeader;
use crate::wal::window::Window;
use crate::wal::{BLOCK, BLOCK_BYTES, ContentError, WalIdentity};

/// Why a log was not opened. Nothing was changed on the disk.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// There is no log.
    #[error("no log in {}: the host was never initialised here, or the files were removed", directory.display())]
    Missing {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// There is a log already.
    #[error("a log is in {} already: it is never overwritten", directory.display())]
    Exists {
        /// Where it is.
        directory: PathBuf,
    },
    /// Another process has it.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It is somebody else's.
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
    /// Acknowledged data is damaged.
    #[error("{0}; acknowledged entries are damaged and nothing was changed: {REMEDY}")]
    Corrupt(Box<Damage>),
    /// The last batch, probably acknowledged, is damaged.
    #[error("{0}; the last batch was probably acknowledged and nothing was changed: {REMEDY}")]
    Suspect(Box<Damage>),
    /// A parameter cannot work.
    #[error("log files of {file_bytes} bytes: the size must be a multiple of 4096 and at least 8192")]
    Options {
        /// The size asked for.
        file_bytes: u64,
    },
    /// The member list is not sorted, or too long.
    #[error("the initial members are not sorted, are repeated, or are too many")]
    Members,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

const REMEDY: &str =
    "keep a copy of the directory, remove this host from the cluster and let it join as a new host";

/// Where and how a log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} at byte {offset}, batch {batch}{}: {evidence}", file.display(), Range(*entries))]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The place in it.
    pub offset: u64,
    /// The batch due there.
    pub batch: BatchNumber,
    /// First and last index of the batch's entries, if its header can still be read.
    pub entries: Option<(LogIndex, LogIndex)>,
    /// What shows it.
    pub evidence: Evidence,
}

struct Range(Option<(LogIndex, LogIndex)>);

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some((first, last)) => write!(f, " (entries {first} to {last})"),
            None => Ok(()),
        }
    }
}

/// What shows that a log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Evidence {
    /// A later batch was begun, so this one had been synced.
    #[error("batch {batch} follows at byte {offset}")]
    LaterBatch {
        /// The later batch.
        batch: BatchNumber,
        /// Its place.
        offset: u64,
    },
    /// A later batch was begun, and its header has rotted.
    #[error("the damaged header of a later batch is at byte {offset}")]
    LaterHeader {
        /// The later batch's place.
        offset: u64,
    },
    /// A later file was begun, so this batch had been synced.
    #[error("file {file} goes on with batch {batch}")]
    LaterFile {
        /// The later file.
        file: WalSequence,
        /// The first batch there.
        batch: BatchNumber,
    },
    /// A file's header is damaged; it is synced before the file gets its name.
    #[error("the file's header is damaged")]
    FileHeader,
    /// A file has another number than its name.
    #[error("the file says it is number {found}")]
    FileNumber {
        /// The number in its header.
        found: WalSequence,
    },
    /// A file is missing between others.
    #[error("the file before it, number {expected}, is missing")]
    MissingFile {
        /// The missing number.
        expected: WalSequence,
    },
    /// A file does not continue the one before it.
    #[error("the file does not follow the one before it: {found} where {expected} is due")]
    Chain {
        /// The first batch, or the checksum, of the file.
        found: u64,
        /// What the file before it ends with.
        expected: u64,
    },
    /// A file has not the length it was made with.
    #[error("the file has {found} bytes and was made with {expected}")]
    Length {
        /// Its length.
        found: u64,
        /// Its length in its header.
        expected: u64,
    },
    /// The batch's header sector is damaged.
    #[error("its header is damaged")]
    BatchHeader,
    /// The batch's records are damaged.
    #[error("its records are damaged")]
    BatchBody,
    /// Another batch's header is in its place.
    #[error("the header of batch {batch} is in its place")]
    StrayHeader {
        /// The batch that the header names.
        batch: BatchNumber,
    },
    /// The checksums are right and the contents are not.
    #[error("a defect of the writer: {0}")]
    Content(#[from] ContentError),
    /// The checksums are right and the batch cannot follow the one before it.
    #[error("a defect of the writer: entries from {first} cannot follow")]
    Gap {
        /// The batch's first index.
        first: LogIndex,
    },
}

/// How a log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// After a whole batch.
    Clean,
    /// In a batch that nobody was told of.
    Torn(Box<Damage>),
    /// In an acknowledged batch that is damaged.
    Corrupt(Box<Damage>),
    /// In a damaged last batch that was probably acknowledged.
    Suspect(Box<Damage>),
}

/// What one place of a file holds.
pub(crate) enum Place {
    /// The batch that is due.
    Batch { offset: u64, header: BatchHeader },
    /// Something else; the batches before it are all there are.
    End(FileEnd),
}

/// How a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileEnd {
    Clean,
    Torn(Evidence),
    Suspect(Evidence, Option<BatchHeader>),
    Corrupt(Evidence, Option<BatchHeader>),
    /// A flag that only a newer version knows.
    Newer {
        flags: u16,
    },
}

/// Why the due batch was not read.
enum Bad {
    Nothing,
    Header,
    Stray(BatchHeader),
    Body(BatchHeader),
}

/// Reads one file's batches in order.
pub(crate) struct FileScan<F> {
    window: Window<F>,
    nonce: u64,
    /// Where the next batch is due.
    pub(crate) offset: u64,
    /// The number of the batch that is due.
    pub(crate) due: BatchNumber,
}

impl<F: DiskFile> FileScan<F> {
    /// Reads a file's header block. Fewer bytes than a block are no header.
    pub(crate) fn header_block(file: &Arc<F>) -> Result<Vec<u8>, DiskError> {
        let mut window = Window::new(Arc::clone(file))?;
        window.at(0, BLOCK).map(<[u8]>::to_vec)
    }

    /// Starts behind the header.
    pub(crate) fn new(file: Arc<F>, header: &FileHeader) -> Result<Self, DiskError> {
        Ok(Self {
            window: Window::new(file)?,
            nonce: header.nonce,
            offset: BLOCK_BYTES,
            due: header.first_batch,
        })
    }

    /// Reads the next batch, or says how the file ends.
    pub(crate) fn advance(&mut self) -> Result<Place, DiskError> {
        if self.window.length() <= self.offset {
            return Ok(Place::End(FileEnd::Clean));
        }
        let examined = self.examine();
        #[cfg(bug = "read_error_is_end")]
        if examined.is_err() && crate::planted::is_on("read_error_is_end") {
            return Ok(Place::End(FileEnd::Clean));
        }
        let bad = match examined? {
            Ok(header) if header.flags != 0 => {
                return Ok(Place::End(FileEnd::Newer { flags: header.flags }));
            }
            Ok(header) => {
                let offset = self.offset;
                self.offset = offset.saturating_add(header.padded_bytes());
                self.due = BatchNumber::new(self.due.get().saturating_add(1));
                return Ok(Place::Batch { offset, header });
            }
            Err(bad) => bad,
        };
        self.judge(bad).map(Place::End)
    }

    /// The records of a batch that was just read.
    pub(crate) fn body(&mut self, offset: u64, header: &BatchHeader) -> Result<&[u8], DiskError> {
        let start = offset.saturating_add(BATCH_HEADER as u64);
        self.window.at(start, header.body_bytes())
    }

    /// Where the padding of a batch that was just read begins and how long it is, if it is not zero.
    pub(crate) fn bad_padding(
        &mut self,
        offset: u64,
        header: &BatchHeader,
    ) -> Result<Option<(u64, u64)>, DiskError> {
        let used = BATCH_HEADER as u64 + u64::from(header.body_length);
        let (start, length) = (offset.saturating_add(used), header.padded_bytes().saturating_sub(used));
        let padding = self.window.at(start, usize::try_from(length).unwrap_or(BLOCK))?;
        Ok((!all_zero(padding)).then_some((start, length)))
    }

    fn examine(&mut self) -> Result<Result<BatchHeader, Bad>, DiskError> {
        let sector = self.window.at(self.offset, SECTOR)?;
        if all_zero(sector) {
            return Ok(Err(Bad::Nothing));
        }
        let Some(header) = BatchHeader::read(sector) else {
            return Ok(Err(Bad::Header));
        };
        if header.nonce != self.nonce || header.number != self.due {
            return Ok(Err(Bad::Stray(header)));
        }
        #[cfg(bug = "torn_taken_for_whole")]
        if crate::planted::is_on("torn_taken_for_whole") {
            return Ok(Ok(header));
        }
        let body = self.body(self.offset, &header)?;
        let whole = body.len() == header.body_bytes() && crc32c::crc32c(body) == header.body_crc;
        Ok(if whole { Ok(header) } else { Err(Bad::Body(header)) })
    }

    /// Judges the first bad place.
    fn judge(&mut self, bad: Bad) -> Result<FileEnd, DiskError> {
        let rest = self.survey_rest()?;
        let has_no_header = self.is_all_but_zero()?;
        let header = match &bad {
            Bad::Body(header) => Some(*header),
            Bad::Nothing | Bad::Header | Bad::Stray(_) => None,
        };
        if let Some(later) = rest.later {
            return Ok(FileEnd::Corrupt(later, header));
        }
        if let Some(offset) = rest.damaged_header.filter(|_| !rest.is_due_elsewhere) {
            return Ok(FileEnd::Corrupt(Evidence::LaterHeader { offset }, header));
        }
        Ok(match bad {
            Bad::Nothing if rest.is_zero => FileEnd::Clean,
            Bad::Nothing | Bad::Header | Bad::Body(_) if rest.is_due_elsewhere => {
                FileEnd::Suspect(Evidence::StrayHeader { batch: self.due }, None)
            }
            Bad::Nothing => FileEnd::Torn(Evidence::BatchHeader),
            Bad::Header if has_no_header => FileEnd::Torn(Evidence::BatchHeader),
            Bad::Header => FileEnd::Suspect(Evidence::BatchHeader, None),
            Bad::Stray(stray) => FileEnd::Suspect(Evidence::StrayHeader { batch: stray.number }, None),
            Bad::Body(header) if self.lacks_sectors(&header)? => FileEnd::Torn(Evidence::BatchBody),
            Bad::Body(header) => FileEnd::Suspect(Evidence::BatchBody, Some(header)),
        })
    }

    /// Whether the header's sector holds one byte at most that is not zero. No header looks so, nor the remains of one that
    /// rotted a little: its magic alone has four. So a place that was never written has rotted.
    fn is_all_but_zero(&mut self) -> Result<bool, DiskError> {
        let sector = self.window.at(self.offset, SECTOR)?;
        Ok(sector.iter().filter(|byte| **byte != 0).count() <= 1)
    }

    /// Whether more of the batch is zero than its writer left zero: sectors that never reached the disk.
    ///
    /// A sector whose only bit has rotted is zero too. Where one bit explains the damage, the batch may have been
    /// acknowledged.
    fn lacks_sectors(&mut self, header: &BatchHeader) -> Result<bool, DiskError> {
        let size = usize::try_from(header.padded_bytes()).unwrap_or(usize::MAX);
        let bytes = self.window.at(self.offset, size)?;
        if batch::zero_sectors(bytes) <= u64::from(header.zero_sectors) {
            return Ok(false);
        }
        let body = bytes.get(BATCH_HEADER..).and_then(|rest| rest.get(..header.body_bytes()));
        let rotted = body.and_then(|body| crc::flipped_bit(body, header.body_crc));
        let sector = rotted.map(|bit| (BATCH_HEADER + bit / 8) / SECTOR * SECTOR);
        let sector = sector.and_then(|start| bytes.get(start..start + SECTOR));
        Ok(!sector.is_some_and(all_zero))
    }

    /// Looks at everything from the bad place on.
    fn survey_rest(&mut self) -> Result<Rest, DiskError> {
        let mut rest = Rest { is_zero: true, later: None, damaged_header: None, is_due_elsewhere: false };
        let mut offset = self.offset;
        while offset < self.window.length() {
            let block = self.window.at(offset, BLOCK)?;
            if !all_zero(block) {
                rest.is_zero = false;
                let found = BatchHeader::read(block).filter(|header| header.nonce == self.nonce);
                if let Some(header) = found.filter(|header| self.due < header.number) {
                    let batch = header.number;
                    rest.later = Some(Evidence::LaterBatch { batch, offset });
                    break;
                }
                let is_behind = self.offset < offset;
                rest.is_due_elsewhere |= is_behind && found.is_some_and(|header| header.number == self.due);
                if is_behind && found.is_none() && BatchHeader::is_begun(block, self.nonce) {
                    rest.damaged_header.get_or_insert(offset);
                }
            }
            offset = offset.saturating_add(BLOCK_BYTES);
        }
        Ok(rest)
    }
}

/// What follows the first bad place.
struct Rest {
    is_zero: bool,
    later: Option<Evidence>,
    /// Where something lies that was a header of this file.
    damaged_header: Option<u64>,
    /// The batch that is due lies somewhere else: the disk wrote it to the wrong place, and it may have been acknowledged.
    is_due_elsewhere: bool,
}
