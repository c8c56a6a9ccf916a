//! Opens a spool: reads what an earlier run left, and leaves out what is damaged.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{self, Mark, Opened, Segment, SegmentEnd, SegmentScan, Step};
use super::{
    DIRECTORY, Place, REWRITTEN_SUFFIX, Spool, SpoolDamage, SpoolError, SpoolFound, SpoolOptions, SpoolSetup,
    TailKnowledge, UNKNOWN_LOSS,
};
use crate::disk::{Disk, DiskError, DiskFile, Operation};
use crate::ids::{BatchNumber, OriginSequence, WalSequence};
use crate::wal::batch::BatchHeader;
use crate::wal::spares::{Spares, WhenFull};
use crate::wal::{self, WalOptions, names};

impl<D: Disk> Spool<D> {
    /// Opens the spool below a data directory, which must be there; makes it if it is not. Damage loses only the damaged
    /// records. What a newer version wrote is refused: it is not damage, and must not go away.
    pub fn open(disk: Arc<D>, data: &Path, setup: SpoolSetup) -> Result<(Self, SpoolFound), SpoolError> {
        let SpoolOptions { file_bytes, bound_bytes } = setup.options;
        let wal_options = WalOptions { file_bytes };
        if wal::check_options(&wal_options).is_err() || bound_bytes / 2 < file_bytes {
            return Err(SpoolError::Options(setup.options));
        }
        let directory = data.join(DIRECTORY);
        let spares = prepare(&disk, data, &directory, wal_options).map_err(disk_error)?;
        let mut spool = Self {
            disk,
            directory,
            setup,
            segments: VecDeque::new(),
            place: None,
            next_file: WalSequence::new(1),
            next_batch: BatchNumber::new(1),
            last: Mark::default(),
            tail: TailKnowledge::Known,
            spares,
            unread: Vec::new(),
            given_before: OriginSequence::default(),
            is_poisoned: false,
        };
        let mut found = SpoolFound::default();
        let numbers = names::log_files(&*spool.disk, &spool.directory).map_err(disk_error)?;
        let mut unusable = Vec::new();
        for number in numbers {
            spool.adopt(number, (&mut found, &mut unusable))?;
        }
        if spool.is_end_said().map_err(disk_error)? {
            unusable.iter().try_for_each(|path| spool.disk.remove(path)).map_err(disk_error)?;
        }
        spool.disk.sync_dir(&spool.directory).map_err(disk_error)?;
        spool.given_before = spool.last.sequence;
        found.last = (spool.last.sequence.get() != 0).then_some(spool.last.sequence);
        Ok((spool, found))
    }

    /// Reads a file that an earlier run left.
    fn adopt(
        &mut self,
        number: WalSequence,
        (found, unusable): (&mut SpoolFound, &mut Vec<PathBuf>),
    ) -> Result<(), SpoolError> {
        self.next_file = WalSequence::new(number.get().saturating_add(1));
        self.place = None;
        let path = names::log_file(&self.directory, number);
        let opened = segment::open(&*self.disk, &self.directory, number)?;
        let (file, header) = match opened {
            Opened::Sound(file, header) => (file, header),
            Opened::Unread(damage) => {
                found.damage.push(damage);
                self.tail = TailKnowledge::Unknown;
                self.unread.push(path);
                return Ok(());
            }
            Opened::Damaged(damage) => {
                found.damage.push(damage);
                self.tail = TailKnowledge::Unknown;
                unusable.push(path);
                return Ok(());
            }
        };
        if header.identity != self.setup.identity {
            return Err(SpoolError::WrongIdentity {
                file: path,
                expected: Box::new(self.setup.identity),
                found: Box::new(header.identity),
            });
        }
        self.read(Segment::new(file, header), (&path, found))
    }

    fn read(
        &mut self,
        mut segment: Segment<D::File>,
        (path, found): (&Path, &mut SpoolFound),
    ) -> Result<(), SpoolError> {
        let mut scan = SegmentScan::new(Arc::clone(&segment.file), &segment.header).map_err(disk_error)?;
        self.tail = TailKnowledge::Known;
        let mut last = scan.offset();
        let end = loop {
            let due = scan.offset();
            match scan.step().map_err(disk_error)? {
                Step::Records(records) => {
                    last = due;
                    found.records += records.len() as u64;
                    records.iter().for_each(|numbered| segment.count(numbered));
                }
                Step::Damage { offset, detail } => {
                    found.damage.push(SpoolDamage { file: path.to_owned(), offset, detail });
                }
                Step::End(end) => break end,
            }
        };
        self.next_batch = scan.due();
        let offset = scan.offset();
        match end {
            SegmentEnd::Clean => self.place = Some(Place { offset }),
            SegmentEnd::Torn => {
                wal::zero_from(&*segment.file, offset).map_err(disk_error)?;
                self.place = Some(Place { offset });
            }
            SegmentEnd::Newer { what } => return Err(SpoolError::Version { file: path.to_owned(), what }),
            SegmentEnd::Lost { detail, header } => {
                found.damage.push(SpoolDamage { file: path.to_owned(), offset, detail });
                match header {
                    Some(header) => segment.last = last_of(&header),
                    None => self.tail = TailKnowledge::Unknown,
                }
            }
        }
        // What was read may be in memory only, written by a process that was killed before its sync, or whose sync failed.
        match wal::write_again(&*segment.file, last, offset) {
            Err(error) if error.operation == Operation::Read => {} // The damage shows at the next start.
            written => written.map_err(disk_error)?,
        }
        segment.file.sync_data().map_err(disk_error)?;
        self.last = segment.last;
        self.segments.push_back(segment);
        Ok(())
    }

    /// Notes durably that what a damaged end held is lost, if it is not known how much that is. Says whether every loss is
    /// noted: on a full disk it is not, and the next start finds it again.
    fn is_end_said(&mut self) -> Result<bool, DiskError> {
        #[cfg(bug = "spool_loss_unsaid")]
        if crate::planted::is_on("spool_loss_unsaid") {
            return Ok(true);
        }
        if self.tail == TailKnowledge::Known {
            return Ok(true);
        }
        // What cannot be read now may be readable at the next start, with ordinals above all that was read: those of an earlier unknown
        // loss. Numbers rise by more than ordinals do, so the last number that may have been given is above them.
        let skipped = self.last.ordinal.saturating_add(UNKNOWN_LOSS);
        self.last.ordinal = skipped.max(self.setup.given_upto.get());
        self.last.sequence = self.last.sequence.max(self.setup.given_upto);
        match self.mark_end() {
            Err(error) if error.is_full() => Ok(false),
            marked => marked.map(|()| true),
        }
    }
}

/// Makes the folder and removes what a crash left half done.
fn prepare<D: Disk>(
    disk: &Arc<D>,
    data: &Path,
    directory: &Path,
    options: WalOptions,
) -> Result<Spares<D>, DiskError> {
    disk.create_dir(directory)?;
    disk.sync_dir(data)?;
    for name in disk.list(directory)?.iter().filter(|name| name.ends_with(REWRITTEN_SUFFIX)) {
        disk.remove(&directory.join(name))?;
    }
    Spares::open(Arc::clone(disk), directory, options, WhenFull::Refuse)
}

/// The last record of a damaged batch, by its header.
fn last_of(header: &BatchHeader) -> Mark {
    Mark { sequence: OriginSequence::new(header.last.get()), ordinal: header.hard_state.commit.get() }
}

pub(super) fn disk_error(source: DiskError) -> SpoolError {
    SpoolError::Disk { source }
}
