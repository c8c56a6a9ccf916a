//! Room for the last necessary things on a full disk: a file that is given up first, and a low-water mark before that.
//!
//! ```text
//!           free space falls below the mark          the log needs room and there is none
//!  Ample ──────────────────────────────────> Low ───────────────────────────────────────> ReserveSpent
//!    ^ <──────────────────────────────────────┘                                                │
//!    └──────────────────── keep: the file could be made anew above the mark <──────────────────┘
//! ```
//!
//! Whoever takes commands in looks at [`Reserve::state`] now and then. In [`SpaceState::Low`] and
//! [`SpaceState::ReserveSpent`] ordinary writes are to be refused; what frees space or lifts a block is still taken in, and the
//! reserve pays for it. The log itself gives the reserve up when it needs a file and the disk is full.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Access, Disk, DiskError, DiskFile, Space};

/// The file's name in the data directory.
const NAME: &str = "reserve";
/// Its name while it is being made; removed at the next start.
const NAME_IN_MAKING: &str = "reserve.new";
/// Bytes written at once while the file is made.
const PIECE: u64 = 1 << 20;

/// When a disk is low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Bytes of the reserve.
    pub reserve_bytes: u64,
    /// A disk with less than this is low, however small it is.
    pub low_bytes: u64,
    /// A disk with less than this share free is low.
    pub low_percent: u64,
}

impl SpaceLimits {
    /// 64 MiB: one log file, or all that a night of necessary commands needs.
    pub const RESERVE_BYTES: u64 = 64 << 20;
    /// 192 MiB: the spare log files and the one after them.
    pub const LOW_BYTES: u64 = 192 << 20;
    /// File systems grow slow beyond this, and an administrator needs some hours to react.
    pub const LOW_PERCENT: u64 = 5;

    /// No disk is ever low, and there is no reserve.
    pub const NONE: Self = Self { reserve_bytes: 0, low_bytes: 0, low_percent: 0 };

    /// Whether so much space is low.
    pub fn are_crossed(&self, space: Space) -> bool {
        let share = space.total / 100 * self.low_percent;
        space.free < self.low_bytes.max(share)
    }
}

impl Default for SpaceLimits {
    fn default() -> Self {
        Self {
            reserve_bytes: Self::RESERVE_BYTES,
            low_bytes: Self::LOW_BYTES,
            low_percent: Self::LOW_PERCENT,
        }
    }
}

/// How much room a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpaceState {
    /// Enough.
    Ample,
    /// Below the mark: only what is necessary may be written.
    Low,
    /// The reserve was given up, or could never be made: a few necessary things at most can still be written.
    ReserveSpent,
}

/// The reserve of one data directory.
#[derive(Debug)]
pub struct Reserve<D: Disk> {
    disk: Arc<D>,
    data: PathBuf,
    limits: SpaceLimits,
}

impl<D: Disk> Reserve<D> {
    /// The reserve below a data directory, which must exist. Makes nothing.
    pub fn new(disk: Arc<D>, data: &Path, limits: SpaceLimits) -> Self {
        let data = data.to_owned();
        Self { disk, data, limits }
    }

    /// How much room there is. Asks the disk, and changes nothing.
    pub fn state(&self) -> Result<SpaceState, DiskError> {
        if !self.is_whole()? {
            return Ok(SpaceState::ReserveSpent);
        }
        let space = self.disk.space(&self.data)?;
        Ok(if self.limits.are_crossed(space) { SpaceState::Low } else { SpaceState::Ample })
    }

    /// Makes the file if it is missing and the disk stays above the mark with it. For the start and, since it takes a
    /// moment, seldom afterwards. A disk that is full meanwhile is no error.
    pub fn keep(&self) -> Result<SpaceState, DiskError> {
        let making = self.data.join(NAME_IN_MAKING);
        remove_if_there(&*self.disk, &making)?;
        if self.is_whole()? {
            return self.state();
        }
        let Space { free, total } = self.disk.space(&self.data)?;
        let left = Space { free: free.saturating_sub(self.limits.reserve_bytes), total };
        if self.limits.are_crossed(left) {
            return Ok(SpaceState::ReserveSpent);
        }
        match self.make(&making) {
            Ok(()) => self.state(),
            Err(error) => {
                remove_if_there(&*self.disk, &making)?;
                if error.is_full() { Ok(SpaceState::ReserveSpent) } else { Err(error) }
            }
        }
    }

    /// Gives the file up; whether there was one.
    pub fn spend(&self) -> Result<bool, DiskError> {
        spend(&*self.disk, &self.data)
    }

    fn is_whole(&self) -> Result<bool, DiskError> {
        match self.disk.open(&self.data.join(NAME), Access::Read) {
            Ok(file) => Ok(self.limits.reserve_bytes <= file.length()?),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The bytes are not zeros and do not repeat: a file system that compresses must allocate them all.
    fn make(&self, path: &Path) -> Result<(), DiskError> {
        let file = self.disk.create(path)?;
        let (mut at, mut state) = (0, 0x9e37_79b9_7f4a_7c15);
        while at < self.limits.reserve_bytes {
            let length = self.limits.reserve_bytes.saturating_sub(at).min(PIECE);
            let mut piece = Vec::new();
            while (piece.len() as u64) < length {
                piece.extend(next(&mut state).to_le_bytes());
            }
            file.write_at(at, piece.get(..usize::try_from(length).unwrap_or(0)).unwrap_or(&piece))?;
            at = at.saturating_add(length);
        }
        file.sync_data()?;
        self.disk.rename(path, &self.data.join(NAME))?;
        self.disk.sync_dir(&self.data)
    }
}

/// Marsaglia's xorshift: its bytes have no pattern that a compressor finds.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Gives up the reserve of a data directory; whether there was one.
pub(crate) fn spend<D: Disk>(disk: &D, data: &Path) -> Result<bool, DiskError> {
    let was_there = remove_if_there(disk, &data.join(NAME))?;
    if was_there {
        disk.sync_dir(data)?;
    }
    Ok(was_there)
}

fn remove_if_there<D: Disk>(disk: &D, path: &Path) -> Result<bool, DiskError> {
    match disk.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::disk::{Fault, MemoryDisk, Operation};

    const DATA: &str = "/data";
    const LIMITS: SpaceLimits = SpaceLimits { reserve_bytes: 10_000, low_bytes: 30_000, low_percent: 5 };

    #[test]
    fn a_disk_is_low_by_bytes_or_by_its_share() {
        let low = |free, total| LIMITS.are_crossed(Space { free, total });
        assert!(low(29_999, 100_000) && !low(30_000, 100_000));
        assert!(low(49_999, 1_000_000) && !low(50_000, 1_000_000));
        let limits = SpaceLimits::default();
        assert!(!limits.are_crossed(Space { free: 1 << 30, total: 10 << 30 }));
        assert!(limits.are_crossed(Space { free: 1 << 30, total: 100 << 30 }));
    }

    #[test]
    fn the_reserve_is_made_once_given_up_once_and_made_anew_when_there_is_room() {
        let (disk, reserve) = reserve(100_000);
        assert_eq!(reserve.state().unwrap(), SpaceState::ReserveSpent);
        assert_eq!(reserve.keep().unwrap(), SpaceState::Ample);
        let writes = disk.writes();
        assert_eq!(reserve.keep().unwrap(), SpaceState::Ample);
        assert_eq!(disk.writes(), writes);
        disk.crash(1);
        assert_eq!(disk.contents(Path::new("/data/reserve")).unwrap().len(), 10_000);
        disk.set_capacity(39_999);
        assert_eq!(reserve.state().unwrap(), SpaceState::Low);
        assert!(reserve.spend().unwrap());
        assert!(!reserve.spend().unwrap());
        assert_eq!(reserve.state().unwrap(), SpaceState::ReserveSpent);
        // Made anew it would leave the disk low at once.
        assert_eq!(reserve.keep().unwrap(), SpaceState::ReserveSpent);
        disk.set_capacity(40_000);
        assert_eq!(reserve.keep().unwrap(), SpaceState::Ample);
    }

    #[test]
    fn a_reserve_that_does_not_fit_or_was_begun_leaves_nothing_behind() {
        let (disk, reserve) = reserve(100_000);
        disk.inject(Fault { operation: Operation::Write, after: 0, kind: io::ErrorKind::StorageFull });
        assert_eq!(reserve.keep().unwrap(), SpaceState::ReserveSpent);
        assert_eq!(disk.list(Path::new(DATA)).unwrap(), Vec::<String>::new());
        for changes in 0..8 {
            for seed in 0..4 {
                let disk = Arc::new(disk.fork());
                let reserve = Reserve::new(Arc::clone(&disk), Path::new(DATA), LIMITS);
                disk.fail_after_changes(changes);
                let is_kept = reserve.keep().is_ok();
                disk.crash(seed);
                assert!(!is_kept || reserve.state().unwrap() == SpaceState::Ample);
                assert_eq!(reserve.keep().unwrap(), SpaceState::Ample);
                assert_eq!(disk.list(Path::new(DATA)).unwrap(), ["reserve"]);
            }
        }
    }

    #[test]
    fn a_disk_that_fails_is_an_error() {
        for operation in [Operation::Open, Operation::FreeSpace, Operation::SyncData, Operation::SyncDir] {
            let (disk, reserve) = reserve(100_000);
            disk.inject(Fault { operation, after: 0, kind: io::ErrorKind::Other });
            assert!(reserve.keep().is_err(), "{operation}");
        }
    }

    fn reserve(capacity: u64) -> (Arc<MemoryDisk>, Reserve<MemoryDisk>) {
        let disk = Arc::new(MemoryDisk::with_capacity(capacity));
        disk.create_dir(Path::new(DATA)).unwrap();
        (Arc::clone(&disk), Reserve::new(disk, Path::new(DATA), LIMITS))
    }
}
