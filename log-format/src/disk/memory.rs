//! A disk in memory that behaves as badly as a real one may.
//!
//! What is written is visible at once and durable after a sync. [`MemoryDisk::crash`] keeps or loses each unsynced
//! sector by itself, loses unsynced names (a directory itself is durable at once), and makes every open file and lock of before useless. Errors are injected
//! one at a time. The same calls and the same seeds give the same bytes.

mod defects;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::defects::Defect;
use self::defects::Defects;
use super::{Access, Disk, DiskError, DiskFile, Operation, SECTOR, Space};

/// Free space of a new disk: more than a test writes.
const DEFAULT_CAPACITY: u64 = 1 << 40;

/// A disk in memory. Clones are the same disk; [`MemoryDisk::fork`] is another one.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// One error, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The operation that fails.
    pub operation: Operation,
    /// How many of that operation succeed first.
    pub after: u32,
    /// What the caller is told, such as [`io::ErrorKind::Other`] for a failed device or [`io::ErrorKind::StorageFull`].
    pub kind: io::ErrorKind,
}

/// An open file of [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    inode: u64,
    access: Access,
    life: u64,
}

/// A held lock of [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    life: u64,
}

#[derive(Debug, Clone)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: VecDeque<NameChange>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    defects: Defects,
    /// Changes that still succeed before the power is gone.
    power: Option<u64>,
    next_inode: u64,
    /// Grows with each crash: open files and locks of an earlier life are dead.
    life: u64,
    capacity: u64,
    syncs: u64,
    writes: u64,
    sync_hook: Option<SyncHook>,
}

#[derive(Clone)]
struct SyncHook(Arc<dyn Fn(&Path) + Send + Sync>);

impl fmt::Debug for SyncHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncHook")
    }
}

/// A file's bytes as they are seen, and as they are after a power cut.
#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: BTreeSet<usize>,
    /// A file without a name lives as long as somebody has it open.
    opens: usize,
}

#[derive(Debug, Clone)]
struct NameChange {
    directory: PathBuf,
    removed: Option<PathBuf>,
    added: Option<(PathBuf, u64)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: VecDeque::new(),
            directories: BTreeSet::new(),
            locks: BTreeSet::new(),
            faults: Vec::new(),
            defects: Defects::default(),
            power: None,
            next_inode: 1,
            life: 0,
            capacity: DEFAULT_CAPACITY,
            syncs: 0,
            writes: 0,
            sync_hook: None,
        }
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk of this many bytes; writing more fails with [`io::ErrorKind::StorageFull`].
    pub fn with_capacity(bytes: u64) -> Self {
        let disk = Self::new();
        disk.state().capacity = bytes;
        disk
    }

    /// Makes the disk larger or smaller: what other programs leave of it changes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Calls this before each data sync, with the file's path, while no operation of the disk is under way: a slow disk, or
    /// a chance to look at what is not durable yet. [`MemoryDisk::fork`] does not take it along.
    pub fn before_each_sync(&self, hook: impl Fn(&Path) + Send + Sync + 'static) {
        self.state().sync_hook = Some(SyncHook(Arc::new(hook)));
    }

    /// Another disk with the same contents, also of what is not durable. Nothing is open or locked there.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.end_life();
        state.forget_unnamed();
        state.sync_hook = None;
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power. Every unsynced sector is kept or lost by itself; of the unsynced names none, or the first few in
    /// the order they were made, are kept. Open files and locks are dead afterwards.
    pub fn crash(&self, seed: u64) {
        let mut random = SplitMix64(seed);
        let mut state = self.state();
        state.end_life();
        state.inodes.values_mut().for_each(|inode| inode.crash(&mut random));
        state.crash_names(&mut random);
    }

    /// Kills the process: what it wrote stays, synced or not; its open files and locks are dead.
    pub fn kill(&self) {
        let mut state = self.state();
        state.end_life();
        state.forget_unnamed();
    }

    /// Fails one later operation.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Forgets the errors that were injected and have not come yet.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// Lets this many changes (creations, writes, syncs, renames, removals) succeed and fails everything after them,
    /// until [`MemoryDisk::crash`] or [`MemoryDisk::kill`]: a power cut between any two steps of the caller.
    pub fn fail_after_changes(&self, changes: u64) {
        self.state().power = Some(changes);
    }

    /// Turns one bit of a file, also on the durable copy: what rot does. `bit` counts from the file's first byte.
    /// Returns whether there is such a bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let mask = 1_u8 << (bit % 8);
        self.state().damage(path, |bytes| match bytes.get_mut(byte) {
            Some(found) => {
                *found ^= mask;
                true
            }
            None => false,
        })
    }

    /// Writes over a file's bytes, also on the durable copy, without any operation being seen.
    /// Returns whether the file has those bytes.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> bool {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        self.state().damage(path, |all| match all.get_mut(start..end) {
            Some(found) => {
                found.copy_from_slice(bytes);
                true
            }
            None => false,
        })
    }

    /// A file's bytes as a reader sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.names.get(path)?;
        state.inodes.get(inode).map(|inode| inode.seen.clone())
    }

    /// Shows every byte that lies on the disk: each file's under each name that it has, as a reader sees it, and as a power
    /// cut would leave it where that differs. A name that is only seen, or only durable, counts too.
    pub fn look_at_images(&self, mut look: impl FnMut(&Path, &[u8])) {
        let state = self.state();
        let names: BTreeSet<(&PathBuf, &u64)> = state.names.iter().chain(&state.durable_names).collect();
        for (path, inode) in names {
            let Some(inode) = state.inodes.get(inode) else { continue };
            look(path, &inode.seen);
            if inode.seen != inode.durable {
                look(path, &inode.durable);
            }
        }
    }

    /// How many data syncs succeeded so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How many writes succeeded so far.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the door for one operation: the state, unless a fault is due.
    fn begin(&self, operation: Operation, path: &Path) -> Result<MutexGuard<'_, State>, DiskError> {
        let mut state = self.state();
        match state.due(operation) {
            Some(kind) => Err(DiskError::new(operation, path, kind.into())),
            None => Ok(state),
        }
    }
}

impl State {
    /// Counts down the faults of this operation and takes one that is due.
    fn due(&mut self, operation: Operation) -> Option<io::ErrorKind> {
        match self.power {
            Some(0) => return Some(io::ErrorKind::BrokenPipe),
            Some(left) if operation.is_change() => self.power = Some(left - 1),
            Some(_) | None => {}
        }
        let mut due = None;
        for (at, fault) in self.faults.iter_mut().enumerate() {
            if fault.operation != operation {
                continue;
            }
            match fault.after.checked_sub(1) {
                Some(left) => fault.after = left,
                None => due = Some(at),
            }
        }
        due.map(|at| self.faults.remove(at).kind)
    }

    fn end_life(&mut self) {
        self.life += 1;
        self.power = None;
        self.locks.clear();
        self.inodes.values_mut().for_each(|inode| inode.opens = 0);
    }

    fn used(&self) -> u64 {
        let bytes: usize = self.inodes.values().map(|inode| inode.seen.len()).sum();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn damage(&mut self, path: &Path, change: impl Fn(&mut Vec<u8>) -> bool) -> bool {
        let Some(inode) = self.names.get(path) else {
            return false;
        };
        let Some(inode) = self.inodes.get_mut(inode) else {
            return false;
        };
        let seen = change(&mut inode.seen);
        change(&mut inode.durable) || seen
    }

    fn change_name(&mut self, change: NameChange) {
        let lost = change.inodes(&self.names);
        apply(&mut self.names, &change);
        self.unsynced_names.push_back(change);
        lost.into_iter().for_each(|inode| self.forget_if_unnamed(inode));
    }

    fn crash_names(&mut self, random: &mut SplitMix64) {
        let waiting = u64::try_from(self.unsynced_names.len()).unwrap_or(u64::MAX);
        let kept = if random.coin() { 0 } else { random.below(waiting + 1) };
        for _ in 0..kept {
            if let Some(change) = self.unsynced_names.pop_front() {
                apply(&mut self.durable_names, &change);
            }
        }
        self.unsynced_names.clear();
        self.names = self.durable_names.clone();
        self.forget_unnamed();
    }

    /// Frees the files that no name, seen or durable or waiting to be, leads to.
    fn forget_unnamed(&mut self) {
        let waiting = self.unsynced_names.iter().filter_map(|change| change.added.as_ref());
        let live: BTreeSet<u64> = waiting
            .map(|(_, inode)| *inode)
            .chain(self.names.values().copied())
            .chain(self.durable_names.values().copied())
            .collect();
        self.inodes.retain(|number, inode| 0 < inode.opens || live.contains(number));
    }

    /// The same for one file, of which a name or the last reader has gone.
    fn forget_if_unnamed(&mut self, inode: u64) {
        let is_open = self.inodes.get(&inode).is_some_and(|found| 0 < found.opens);
        let mut named = self.names.values().chain(self.durable_names.values());
        let mut waiting = self.unsynced_names.iter().filter_map(|change| change.added.as_ref());
        if !is_open && !named.any(|named| *named == inode) && !waiting.any(|(_, named)| *named == inode) {
            self.inodes.remove(&inode);
        }
    }
}

impl NameChange {
    /// The files that the change takes a name from, in these names, and the one that it names.
    fn inodes(&self, names: &BTreeMap<PathBuf, u64>) -> Vec<u64> {
        let paths = self.removed.iter().chain(self.added.as_ref().map(|(path, _)| path));
        let named = self.added.as_ref().map(|(_, inode)| *inode);
        paths.filter_map(|path| names.get(path).copied()).chain(named).collect()
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    if let Some(path) = &change.removed {
        names.remove(path);
    }
    if let Some((path, inode)) = &change.added {
        names.insert(path.clone(), *inode);
    }
}

impl Operation {
    const fn is_change(self) -> bool {
        match self {
            Self::CreateDir
            | Self::Create
            | Self::Rename
            | Self::Remove
            | Self::SyncDir
            | Self::Write
            | Self::SyncData => true,
            Self::Open | Self::List | Self::FreeSpace | Self::Lock | Self::Read | Self::Length => false,
        }
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len());
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        if let Some(place) = self.seen.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        self.pending.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if self.durable.len() < self.seen.len() {
            self.durable.resize(self.seen.len(), 0);
        }
        pending.into_iter().for_each(|sector| self.keep(sector));
    }

    /// Makes one sector durable, and the file as long as that needs.
    fn keep(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = self.seen.len().min(start + SECTOR);
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        if let (Some(to), Some(from)) = (self.durable.get_mut(start..end), self.seen.get(start..end)) {
            to.copy_from_slice(from);
        }
    }

    fn crash(&mut self, random: &mut SplitMix64) {
        for sector in std::mem::take(&mut self.pending) {
            if random.coin() {
                self.keep(sector);
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;
    type Lock = MemoryLock;

    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin(Operation::CreateDir, path)?;
        state.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<MemoryFile, DiskError> {
        let mut state = self.begin(Operation::Create, path)?;
        let refused = |kind: io::ErrorKind| Err(DiskError::new(Operation::Create, path, kind.into()));
        if state.names.contains_key(path) {
            return refused(io::ErrorKind::AlreadyExists);
        }
        let Some(directory) = path.parent().filter(|parent| state.directories.contains(*parent)) else {
            return refused(io::ErrorKind::NotFound);
        };
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.change_name(NameChange {
            directory: directory.to_owned(),
            removed: None,
            added: Some((path.to_owned(), inode)),
        });
        Ok(self.file(&mut state, path, inode, Access::ReadWrite))
    }

    fn open(&self, path: &Path, access: Access) -> Result<MemoryFile, DiskError> {
        let mut state = self.begin(Operation::Open, path)?;
        match state.names.get(path).copied() {
            Some(inode) => Ok(self.file(&mut state, path, inode, access)),
            None => Err(missing(Operation::Open, path)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut state = self.begin(Operation::Rename, from)?;
        let (Some(inode), Some(directory)) = (state.names.get(from).copied(), to.parent()) else {
            return Err(missing(Operation::Rename, from));
        };
        state.change_name(NameChange {
            directory: directory.to_owned(),
            removed: Some(from.to_owned()),
            added: Some((to.to_owned(), inode)),
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin(Operation::Remove, path)?;
        let Some(directory) = path.parent().filter(|_| state.names.contains_key(path)) else {
            return Err(missing(Operation::Remove, path));
        };
        state.change_name(NameChange {
            directory: directory.to_owned(),
            removed: Some(path.to_owned()),
            added: None,
        });
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin(Operation::SyncDir, path)?;
        let waiting = std::mem::take(&mut state.unsynced_names);
        let mut lost = Vec::new();
        for change in waiting {
            if change.directory == path {
                lost.extend(change.inodes(&state.durable_names));
                apply(&mut state.durable_names, &change);
            } else {
                state.unsynced_names.push_back(change);
            }
        }
        lost.into_iter().for_each(|inode| state.forget_if_unnamed(inode));
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, DiskError> {
        let state = self.begin(Operation::List, path)?;
        if !state.directories.contains(path) {
            return Err(missing(Operation::List, path));
        }
        let inside = state.names.keys().filter(|name| name.parent() == Some(path));
        Ok(inside.filter_map(|name| name.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn space(&self, path: &Path) -> Result<Space, DiskError> {
        let state = self.begin(Operation::FreeSpace, path)?;
        Ok(Space { free: state.capacity.saturating_sub(state.used()), total: state.capacity })
    }

    fn lock(&self, path: &Path) -> Result<MemoryLock, DiskError> {
        let mut state = self.begin(Operation::Lock, path)?;
        if !state.locks.insert(path.to_owned()) {
            let refused = io::ErrorKind::WouldBlock.into();
            return Err(DiskError::new(Operation::Lock, path, refused));
        }
        let (disk, path, life) = (self.clone(), path.to_owned(), state.life);
        Ok(MemoryLock { disk, path, life })
    }
}

impl MemoryDisk {
    fn file(&self, state: &mut State, path: &Path, inode: u64, access: Access) -> MemoryFile {
        if let Some(inode) = state.inodes.get_mut(&inode) {
            inode.opens += 1;
        }
        let (disk, path, life) = (self.clone(), path.to_owned(), state.life);
        MemoryFile { disk, path, inode, access, life }
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life != self.life {
            return;
        }
        if let Some(inode) = state.inodes.get_mut(&self.inode) {
            inode.opens = inode.opens.saturating_sub(1);
        }
        state.forget_if_unnamed(self.inode);
    }
}

impl MemoryFile {
    /// Runs one operation on the file's bytes, unless a fault is due or the file was opened before a crash.
    fn run<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut State) -> Result<T, io::ErrorKind>,
    ) -> Result<T, DiskError> {
        let refused = |kind: io::ErrorKind| DiskError::new(operation, &self.path, kind.into());
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(refused(io::ErrorKind::BrokenPipe));
        }
        if let Some(kind) = state.due(operation) {
            // The kernel marks the pages of a failed sync clean: they stay visible and are never written again.
            let is_failed_sync = operation == Operation::SyncData && state.power != Some(0);
            if let Some(inode) = state.inodes.get_mut(&self.inode).filter(|_| is_failed_sync) {
                inode.pending.clear();
            }
            return Err(refused(kind));
        }
        work(&mut state).map_err(refused)
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        self.run(Operation::Read, |state| {
            let inode = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
            let bytes = inode.seen.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            state.defects.read(self.inode, start, buffer)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        self.run(Operation::Write, |state| {
            if self.access == Access::Read {
                return Err(io::ErrorKind::PermissionDenied);
            }
            let free = state.capacity.saturating_sub(state.used());
            let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
            let grows = start.saturating_add(bytes.len()).saturating_sub(inode.seen.len());
            if free < u64::try_from(grows).unwrap_or(u64::MAX) {
                return Err(io::ErrorKind::StorageFull);
            }
            inode.write(start, bytes);
            state.defects.written(self.inode, start, bytes.len());
            state.writes += 1;
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let hook = self.disk.state().sync_hook.clone();
        if let Some(SyncHook(hook)) = hook {
            hook(&self.path);
        }
        self.run(Operation::SyncData, |state| {
            let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
            inode.sync();
            state.syncs += 1;
            Ok(())
        })
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.run(Operation::Length, |state| {
            let inode = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
            Ok(u64::try_from(inode.seen.len()).unwrap_or(u64::MAX))
        })
    }
}

fn missing(operation: Operation, path: &Path) -> DiskError {
    DiskError::new(operation, path, io::ErrorKind::NotFound.into())
}

/// Sebastiano Vigna's SplitMix64: small, seedable, good enough to choose sectors.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
