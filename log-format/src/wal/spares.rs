//! Zeroed files kept ready, so that a new log file costs no more than a header, a sync and a rename.
//!
//! A file is zeroed a piece at a time: whoever has nothing better to do calls [`Spares::step`] until it says that
//! enough are ready. That may be another thread than the writer's: a writer that needs a file waits for one piece at most.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bytes::all_zero;
use super::names::{self, Spare};
use super::types::WalOptions;
use super::{BLOCK, BLOCK_BYTES};
use crate::disk::{Access, Disk, DiskError, DiskFile};
use crate::reserve;

/// Spare files kept ready: one is taken while the next is being made.
const POOL: usize = 2;
/// Bytes zeroed and synced in one step: a few milliseconds, so that a batch that arrives meanwhile waits no longer.
const STEP: u64 = 1 << 20;

/// What is done when a file is needed and the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// The data directory's reserve is given up.
    SpendReserve,
    /// The caller goes without: the reserve is another's.
    Refuse,
}

/// How far the spare files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpareProgress {
    /// There are enough.
    Ready,
    /// There is more to do: call again.
    Working,
}

/// Makes and hands out zeroed files.
pub(crate) struct Spares<D: Disk> {
    disk: Arc<D>,
    directory: PathBuf,
    file_bytes: u64,
    when_full: WhenFull,
    ready: VecDeque<PathBuf>,
    making: Option<Making<D::File>>,
    /// Log files that were given up and are to be zeroed, with the numbers that they have as spares.
    retired: VecDeque<(u64, Arc<D::File>)>,
    next: u64,
}

/// Works on the spare files of a log that somebody else writes.
pub struct SpareMaker<D: Disk> {
    spares: Arc<Mutex<Spares<D>>>,
}

impl<D: Disk> SpareMaker<D> {
    pub(crate) fn new(spares: Arc<Mutex<Spares<D>>>) -> Self {
        Self { spares }
    }

    /// Does a few milliseconds of work. An error is none of the log: it shows when a file is needed and there is none.
    pub fn step(&self) -> Result<SpareProgress, DiskError> {
        lock(&self.spares).step()
    }

    /// Whether the next file is ready. If not, a writer that needs one waits for it.
    pub fn has_ready(&self) -> bool {
        !lock(&self.spares).ready.is_empty()
    }
}

/// A panic elsewhere leaves the files as a crash would: what is half made is not among the ready ones.
pub(super) fn lock<D: Disk>(spares: &Mutex<Spares<D>>) -> MutexGuard<'_, Spares<D>> {
    spares.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Making<F> {
    file: F,
    path: PathBuf,
    number: u64,
    zeroed: u64,
}

/// A zeroed file that is about to get a header and a name.
pub(crate) struct Blank<F> {
    pub(crate) file: F,
    pub(crate) path: PathBuf,
}

impl<D: Disk> Spares<D> {
    /// Finds what an earlier run left: keeps whole zeroed files, removes everything else.
    pub(crate) fn open(
        disk: Arc<D>,
        directory: &Path,
        options: WalOptions,
        when_full: WhenFull,
    ) -> Result<Self, DiskError> {
        let mut spares = Self {
            disk,
            directory: directory.to_owned(),
            file_bytes: options.file_bytes,
            when_full,
            ready: VecDeque::new(),
            making: None,
            retired: VecDeque::new(),
            next: 1,
        };
        for found in names::spares(&*spares.disk, directory)? {
            spares.adopt(found)?;
        }
        Ok(spares)
    }

    fn adopt(&mut self, found: Spare) -> Result<(), DiskError> {
        let (number, path) = match found {
            Spare::Ready(number) => (number, names::ready_spare(&self.directory, number)),
            Spare::Making(number) => (number, names::spare_in_making(&self.directory, number)),
        };
        self.next = self.next.max(number.saturating_add(1));
        let is_ready = matches!(found, Spare::Ready(_)) && self.ready.len() < POOL;
        if is_ready && self.is_blank(&path)? {
            self.ready.push_back(path);
            return Ok(());
        }
        self.disk.remove(&path)
    }

    /// Whether a spare file is as it was made. Only its first block may have been written since: a header, by a
    /// process that ended before it gave the file its name.
    fn is_blank(&self, path: &Path) -> Result<bool, DiskError> {
        let file = self.disk.open(path, Access::Read)?;
        if file.length()? != self.file_bytes {
            return Ok(false);
        }
        let mut block = vec![0; BLOCK];
        file.read_at(0, &mut block)?;
        Ok(all_zero(&block))
    }

    /// Does a piece of the work. A full disk is an error: the reserve is not for files that nobody needs yet.
    pub(crate) fn step(&mut self) -> Result<SpareProgress, DiskError> {
        if POOL <= self.ready.len() {
            return self.drop_retired();
        }
        let making = match self.making.take() {
            Some(making) => making,
            None => self.begin()?,
        };
        let path = making.path.clone();
        match self.advance(making) {
            Ok(()) => Ok(SpareProgress::Working),
            Err(error) => {
                // Leaves room on a full disk; a name that stays is removed at the next start.
                let _ = self.disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Takes over a log file that was given up, or removes it if there will be spares enough. The caller makes that
    /// durable. The file is zeroed once nobody reads it any more.
    pub(crate) fn recycle(&mut self, path: &Path, file: Arc<D::File>) -> Result<(), DiskError> {
        let coming = self.ready.len() + usize::from(self.making.is_some()) + self.retired.len();
        if POOL <= coming || file.length()? != self.file_bytes {
            return self.disk.remove(path);
        }
        let number = self.take_number();
        self.disk.rename(path, &names::spare_in_making(&self.directory, number))?;
        self.retired.push_back((number, file));
        Ok(())
    }

    /// Gives room back to a disk that is nearly full, and keeps what is ready: what would be zeroed goes away instead.
    pub(crate) fn shrink(&mut self) -> Result<SpareProgress, DiskError> {
        if self.making.is_none() && self.retired.is_empty() {
            return Ok(SpareProgress::Ready);
        }
        if let Some(making) = self.making.take() {
            self.disk.remove(&making.path)?;
        }
        self.drop_retired()?;
        self.disk.sync_dir(&self.directory)?;
        Ok(SpareProgress::Ready)
    }

    /// Removes given-up files that are not needed. Who still reads one keeps it until it is done.
    fn drop_retired(&mut self) -> Result<SpareProgress, DiskError> {
        while let Some((number, _)) = self.retired.pop_front() {
            self.disk.remove(&names::spare_in_making(&self.directory, number))?;
        }
        Ok(SpareProgress::Ready)
    }

    /// A given-up file that nobody reads.
    fn unread(&mut self) -> Option<Making<D::File>> {
        let (number, file) = self.retired.pop_front()?;
        match Arc::try_unwrap(file) {
            Ok(file) => {
                let path = names::spare_in_making(&self.directory, number);
                Some(Making { file, path, number, zeroed: 0 })
            }
            Err(file) => {
                self.retired.push_back((number, file));
                None
            }
        }
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    fn begin(&mut self) -> Result<Making<D::File>, DiskError> {
        if let Some(making) = self.unread() {
            return Ok(making);
        }
        let number = self.take_number();
        let path = names::spare_in_making(&self.directory, number);
        let file = self.disk.create(&path)?;
        Ok(Making { file, path, number, zeroed: 0 })
    }

    fn advance(&mut self, mut making: Making<D::File>) -> Result<(), DiskError> {
        let piece = self.file_bytes.saturating_sub(making.zeroed).min(STEP);
        making.file.write_zeros_at(making.zeroed, usize::try_from(piece).unwrap_or(BLOCK))?;
        making.file.sync_data()?;
        making.zeroed = making.zeroed.saturating_add(piece);
        if making.zeroed < self.file_bytes {
            self.making = Some(making);
            return Ok(());
        }
        let ready = names::ready_spare(&self.directory, making.number);
        self.disk.rename(&making.path, &ready)?;
        self.disk.sync_dir(&self.directory)?;
        self.ready.push_back(ready);
        Ok(())
    }

    /// Hands out a zeroed file; makes one now if none is ready, also from the reserve if that is the caller's.
    pub(crate) fn take(&mut self) -> Result<Blank<D::File>, DiskError> {
        while self.ready.is_empty() {
            match self.step() {
                Err(error) if error.is_full() && self.spend_reserve()? => {}
                step => drop(step?),
            }
        }
        let path = self.ready.pop_front().unwrap_or_default();
        let file = self.disk.open(&path, Access::ReadWrite)?;
        Ok(Blank { file, path })
    }

    fn spend_reserve(&self) -> Result<bool, DiskError> {
        match (self.when_full, self.directory.parent()) {
            (WhenFull::SpendReserve, Some(data)) => reserve::spend(&*self.disk, data),
            (WhenFull::SpendReserve, None) | (WhenFull::Refuse, _) => Ok(false),
        }
    }
}

const _: () = assert!(STEP.is_multiple_of(BLOCK_BYTES));
