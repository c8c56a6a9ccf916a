//! One file of a spool.

use std::path::Path;
use std::sync::Arc;

use super::open::disk_error;
use super::record::{self, Numbered};
use super::{Priority, SPOOL_MAGIC, SpoolDamage, SpoolDropped, SpoolError};
use crate::disk::{Access, Disk, DiskError, DiskFile, Operation};
use crate::ids::{OriginSequence, WalSequence};
use crate::recover::{Evidence, FileEnd, FileScan, Place};
use crate::wal::batch::BatchHeader;
use crate::wal::file_header::{FileHeader, HeaderError};
use crate::wal::names;

/// A place among all records that were ever spooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) sequence: OriginSequence,
    pub(super) ordinal: u64,
}

/// A file and what is in it.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) file: Arc<F>,
    pub(super) header: FileHeader,
    /// The last record of the file, or the one before the file.
    pub(super) last: Mark,
    pub(super) actions: u64,
    pub(super) observations: u64,
}

impl<F> Segment<F> {
    pub(super) fn new(file: Arc<F>, header: FileHeader) -> Self {
        Self { last: before(&header), file, header, actions: 0, observations: 0 }
    }

    pub(super) fn count(&mut self, numbered: &Numbered) {
        match numbered.record.priority {
            Priority::Action => self.actions += 1,
            Priority::Observation => self.observations += 1,
        }
        self.last = Mark { sequence: numbered.record.sequence, ordinal: numbered.ordinal };
    }
}

/// The last record before a file.
pub(super) fn before(header: &FileHeader) -> Mark {
    Mark { sequence: OriginSequence::new(header.base.index.get()), ordinal: header.base.term.get() }
}

/// A file with its header, or why it has none.
pub(super) enum Opened<F> {
    Sound(Arc<F>, FileHeader),
    /// It cannot be read. Perhaps the next start can.
    Unread(SpoolDamage),
    /// It is no file of a spool, and never will be.
    Damaged(SpoolDamage),
}

/// Opens a file. What a newer version wrote is refused.
pub(super) fn open<D: Disk>(
    disk: &D,
    directory: &Path,
    number: WalSequence,
) -> Result<Opened<D::File>, SpoolError> {
    let path = names::log_file(directory, number);
    let damage = |detail: String| SpoolDamage { file: path.clone(), offset: 0, detail };
    let file = Arc::new(disk.open(&path, Access::ReadWrite).map_err(disk_error)?);
    let block = match FileScan::header_block(&file) {
        Ok(block) => block,
        Err(error) if error.operation == Operation::Read => {
            return Ok(Opened::Unread(damage(error.source.to_string())));
        }
        Err(error) => return Err(disk_error(error)),
    };
    let length = file.length().map_err(disk_error)?;
    Ok(match FileHeader::read_as(&block, SPOOL_MAGIC) {
        Ok(header) if header.sequence == number && header.file_bytes == length => Opened::Sound(file, header),
        Ok(_) => Opened::Damaged(damage("it has another number or length than it says".to_owned())),
        Err(HeaderError::Damaged) => Opened::Damaged(damage(Evidence::FileHeader.to_string())),
        Err(HeaderError::Version(format)) => {
            let what = format!("spool format {format}");
            return Err(SpoolError::Version { file: path, what });
        }
    })
}

/// Reads a file's batches in order, and over damaged ones.
pub(super) struct SegmentScan<F> {
    scan: FileScan<F>,
}

/// What came next.
pub(super) enum Step {
    Records(Vec<Numbered>),
    /// A damaged place that is left out.
    Damage {
        offset: u64,
        detail: String,
    },
    End(SegmentEnd),
}

/// How a file ends.
pub(super) enum SegmentEnd {
    Clean,
    Torn,
    /// A newer version wrote what comes next.
    Newer {
        what: String,
    },
    /// The last batch is damaged; its header, if that is good.
    Lost {
        detail: String,
        header: Option<BatchHeader>,
    },
}

impl<F: DiskFile> SegmentScan<F> {
    pub(super) fn new(file: Arc<F>, header: &FileHeader) -> Result<Self, DiskError> {
        FileScan::new(file, header).map(|scan| Self { scan })
    }

    /// Where the next batch is due.
    pub(super) fn offset(&self) -> u64 {
        self.scan.offset
    }

    /// The number of the next batch.
    pub(super) fn due(&self) -> crate::ids::BatchNumber {
        self.scan.due
    }

    pub(super) fn step(&mut self) -> Result<Step, DiskError> {
        match self.try_step() {
            Err(error) if error.operation == Operation::Read => {
                let detail = error.source.to_string();
                Ok(Step::End(SegmentEnd::Lost { detail, header: None }))
            }
            step => step,
        }
    }

    fn try_step(&mut self) -> Result<Step, DiskError> {
        let lost = |detail: String, header| Step::End(SegmentEnd::Lost { detail, header });
        Ok(match self.scan.advance()? {
            Place::Batch { offset, header } => {
                match record::decode(&header, self.scan.body(offset, &header)?) {
                    Some(records) => Step::Records(records),
                    None => Step::Damage { offset, detail: "its records make no sense".to_owned() },
                }
            }
            Place::End(FileEnd::Corrupt(Evidence::LaterBatch { batch, offset }, _)) => {
                let damaged = self.scan.offset;
                (self.scan.offset, self.scan.due) = (offset, batch);
                let detail = Evidence::LaterBatch { batch, offset }.to_string();
                Step::Damage { offset: damaged, detail }
            }
            // The good header of the place that is due does not tell how many records lie behind it.
            Place::End(FileEnd::Corrupt(evidence @ Evidence::LaterHeader { .. }, _)) => {
                lost(evidence.to_string(), None)
            }
            Place::End(FileEnd::Clean) => Step::End(SegmentEnd::Clean),
            Place::End(FileEnd::Torn(_)) => Step::End(SegmentEnd::Torn),
            Place::End(FileEnd::Suspect(evidence, header) | FileEnd::Corrupt(evidence, header)) => {
                lost(evidence.to_string(), header)
            }
            Place::End(FileEnd::Newer { flags }) => {
                Step::End(SegmentEnd::Newer { what: format!("batch flags {flags:#06x}") })
            }
        })
    }
}

/// Runs of records that are given up together.
pub(super) fn runs(records: &[Numbered]) -> Vec<SpoolDropped> {
    let mut runs: Vec<SpoolDropped> = Vec::new();
    let mut next = None;
    for Numbered { record, ordinal } in records {
        let dropped = SpoolDropped { from: record.sequence, to: record.sequence, count: Some(1) };
        match runs.last_mut().filter(|_| next == Some(*ordinal)) {
            Some(run) => {
                run.to = record.sequence;
                run.count = run.count.map(|count| count + 1);
            }
            None => runs.push(dropped),
        }
        next = Some(ordinal + 1);
    }
    runs
}
