//! The write-ahead log of one host: Raft's entries, hard state and members, in batches that one write and one sync make
//! durable. `FORMAT.md` has every byte; [`crate::recover`] has the rule by which a crash is told from damage.
//!
//! ```text
//!  append ──> encode ──> room in this file? ──no──> roll: spare file, header, sync, rename, sync directory
//!                                │ yes                                        │
//!                                v                                            v
//!                          one write, one sync <─────────────────────────────┘
//!                                │ ok                     │ error
//!                                v                        v
//!                      readers see the entries        poisoned: every later append fails, the process must end
//! ```
//!
//! One batch is in flight: `append` returns when its batch is durable. Nothing else ever writes to a log file.

pub(crate) mod batch;
pub(crate) mod bytes;
mod classify;
pub(crate) mod crc;
mod cuts;
mod entries;
mod error;
pub(crate) mod file_header;
mod index;
pub(crate) mod names;
mod reader;
pub(crate) mod record;
mod retire;
pub(crate) mod spares;
#[cfg(test)]
mod tests;
mod types;
pub(crate) mod walk;
pub(crate) mod window;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

pub use batch::MAX_BATCH;
pub use entries::{Entries, EntrySource};
pub use error::{AppendError, ReadError};
pub use reader::WalReader;
pub use record::ContentError;
pub use spares::{SpareMaker, SpareProgress};
pub use types::{
    Appended, Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, LogPosition,
    Recovered, Stamps, Stray, TailEnd, WalIdentity, WalOptions, WalSetup,
};

use crate::disk::{Access, Disk, DiskError, DiskFile};
use crate::ids::{BatchNumber, LogIndex, WalSequence};
use crate::recover::{Ending, RecoverError};
use file_header::FileHeader;
use index::{Index, Span};
pub(crate) use names::wal_directory;
use spares::{Blank, Spares, WhenFull};
pub(crate) use walk::{Walk, walk};

/// Batches and file headers start at multiples of this: a disk's block.
pub(crate) const BLOCK: usize = 4_096;
/// The same, for offsets.
pub(crate) const BLOCK_BYTES: u64 = BLOCK as u64;
/// Version of the layout of files and batches.
pub(crate) const FORMAT: u16 = 1;
/// Bytes zeroed at once when a log is opened.
const ZEROED_AT_ONCE: u64 = 1 << 20;
/// The log's first batch.
const FIRST_BATCH: BatchNumber = BatchNumber::new(1);
/// The log's first file.
const FIRST_FILE: WalSequence = WalSequence::new(1);

type SharedIndex<D> = Arc<RwLock<Index<<D as Disk>::File>>>;

/// The writer. There is one for each data directory at a time; it holds the directory's lock.
pub struct Wal<D: Disk> {
    disk: Arc<D>,
    directory: PathBuf,
    setup: WalSetup,
    current: Current<D::File>,
    hard_state: HardState,
    conf_state: ConfState,
    index: SharedIndex<D>,
    spares: Arc<Mutex<Spares<D>>>,
    buffer: Vec<u8>,
    health: Health,
    scrubbed: Vec<Stray>,
    /// The last entry that was left behind since this was opened.
    left_behind: LogIndex,
    _lock: D::Lock,
}

/// The file that is being written, and what the next batch continues.
struct Current<F> {
    file: Arc<F>,
    sequence: WalSequence,
    nonce: u64,
    file_bytes: u64,
    /// The log's last entry when the file was begun.
    base: LogIndex,
    offset: u64,
    next: BatchNumber,
    last_crc: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Sound,
    /// A write or a sync failed: what the disk holds is no longer known.
    Poisoned,
}

impl<D: Disk> Wal<D> {
    /// Begins the log of a new host, with its first members. Fails if there is a log.
    pub fn create(
        disk: Arc<D>,
        data: &Path,
        mut setup: WalSetup,
        conf_state: ConfState,
    ) -> Result<Self, RecoverError> {
        check_options(&setup.options)?;
        if !conf_state.is_canonical() {
            return Err(RecoverError::Members);
        }
        let directory = wal_directory(data);
        make_directories(&*disk, data, &directory)?;
        let lock = lock(&*disk, data)?;
        if !names::log_files(&*disk, &directory)?.is_empty() {
            return Err(RecoverError::Exists { directory });
        }
        let mut spares = Spares::open(Arc::clone(&disk), &directory, setup.options, WhenFull::SpendReserve)?;
        let stamp = (setup.stamps)();
        let header = FileHeader {
            identity: setup.identity,
            sequence: FIRST_FILE,
            nonce: stamp.nonce,
            first_batch: FIRST_BATCH,
            base: LogPosition::default(),
            conf_state: conf_state.clone(),
            previous_crc: 0,
            created_at: stamp.created_at,
            file_bytes: setup.options.file_bytes,
        };
        let file = begin_file(&*disk, &directory, &mut spares, &header)?;
        disk.sync_dir(data)?;
        let mut index = Index::new(header.base);
        index.add_file(&header, Arc::clone(&file));
        Ok(Self {
            disk,
            directory,
            setup,
            current: Current::at_start(file, &header),
            hard_state: HardState::default(),
            conf_state,
            index: Arc::new(RwLock::new(index)),
            spares: Arc::new(Mutex::new(spares)),
            buffer: Vec::new(),
            health: Health::Sound,
            scrubbed: Vec::new(),
            left_behind: LogIndex::default(),
            _lock: lock,
        })
    }

    /// Opens a host's log. A torn tail is zeroed; damage is reported and left as it is.
    pub fn open(disk: Arc<D>, data: &Path, setup: WalSetup) -> Result<(Self, Recovered), RecoverError> {
        check_options(&setup.options)?;
        let directory = wal_directory(data);
        if names::log_files(&*disk, &directory)?.is_empty() {
            return Err(RecoverError::Missing { directory });
        }
        let lock = lock(&*disk, data)?;
        let walk = walk(&*disk, &directory, Access::ReadWrite)?;
        if walk.identity != setup.identity {
            return Err(RecoverError::WrongIdentity {
                file: walk.tail.path,
                expected: Box::new(setup.identity),
                found: Box::new(walk.identity),
            });
        }
        let ended = settle(&walk)?;
        let scrubbed = scrub(&walk.strays)?;
        // What was read may be in memory only, written by a process that was killed before its sync, or whose sync failed.
        write_again(&*walk.tail.file, walk.tail.last, walk.tail.offset)?;
        zero_again(&walk.tail)?;
        walk.tail.file.sync_data()?;
        disk.sync_dir(&directory)?;
        let spares = Spares::open(Arc::clone(&disk), &directory, setup.options, WhenFull::SpendReserve)?;
        let recovered = Recovered {
            hard_state: walk.hard_state,
            conf_state: walk.conf_state.clone(),
            base: walk.index.base(),
            last: walk.index.last(),
            ended,
        };
        let mut wal = Self {
            disk,
            directory,
            setup,
            current: Current {
                file: walk.tail.file,
                sequence: walk.tail.header.sequence,
                nonce: walk.tail.header.nonce,
                file_bytes: walk.tail.header.file_bytes,
                base: walk.tail.header.base.index,
                offset: walk.tail.offset,
                next: walk.tail.next,
                last_crc: walk.tail.last_crc,
            },
            hard_state: walk.hard_state,
            conf_state: walk.conf_state,
            index: Arc::new(RwLock::new(walk.index)),
            spares: Arc::new(Mutex::new(spares)),
            buffer: Vec::new(),
            health: Health::Sound,
            scrubbed,
            left_behind: LogIndex::default(),
            _lock: lock,
        };
        wal.drop_replaced()?;
        Ok((wal, recovered))
    }

    /// Makes a batch durable with one write and one sync, then shows its entries to the readers.
    ///
    /// After an error from the disk the log is poisoned: the caller must end the process and never try again, since a
    /// failed sync may have dropped what it was asked to keep.
    pub fn append(&mut self, batch: &Batch<'_>) -> Result<Appended, AppendError> {
        self.refuse_poisoned()?;
        self.check(batch)?;
        if self.may_wait(batch) {
            return Ok(Appended::Waiting);
        }
        match self.write(batch) {
            Ok(number) => Ok(Appended::Durable(number)),
            Err(source) => {
                self.health = Health::Poisoned;
                Err(AppendError::Disk { source })
            }
        }
    }

    /// Does a few milliseconds of work on the spare files. A full disk shows here first. An error does not poison the log.
    pub fn prepare_spare(&mut self) -> Result<SpareProgress, DiskError> {
        spares::lock(&self.spares).step()
    }

    /// Makes the spare files on another thread, beside the writer: without one that is ready a new file is zeroed while
    /// everybody waits. Must have ended when another process opens the log.
    pub fn spare_maker(&self) -> SpareMaker<D> {
        SpareMaker::new(Arc::clone(&self.spares))
    }

    /// The number of the file that is being written: when it rises, a spare file was used.
    pub fn current_file(&self) -> WalSequence {
        self.current.sequence
    }

    /// Places that held stray bytes when the log was opened and are zero again: nothing was lost, but the disk rots.
    pub fn scrubbed(&self) -> &[Stray] {
        &self.scrubbed
    }

    /// A reader of the entries, for any thread.
    pub fn reader(&self) -> WalReader<D> {
        WalReader::new(Arc::clone(&self.index))
    }

    /// The hard state that is durable: its commit index may be behind what was appended with [`Durability::Later`].
    pub fn durable_hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The newest members that are durable.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// Bytes of the largest batch that can be appended.
    pub fn max_batch(&self) -> usize {
        self.setup.options.max_batch()
    }

    /// Refuses what would not be a log. Only a defect of the caller leads here; nothing was written.
    fn check(&self, batch: &Batch<'_>) -> Result<(), AppendError> {
        let (size, limit) = (batch::batch_bytes(batch), self.max_batch());
        if limit < size {
            return Err(AppendError::TooLarge { size, limit });
        }
        if batch.conf_state.is_some_and(|members| !members.is_canonical()) {
            return Err(AppendError::Members);
        }
        let HardState { term, commit, .. } = batch.hard_state;
        if term < self.hard_state.term || commit < self.hard_state.commit {
            return Err(AppendError::Backwards);
        }
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let last = batch.entries.last().map_or(index.last().index, |entry| entry.index);
        if last < commit {
            return Err(AppendError::CommitBeyond { commit, last });
        }
        let Some(first) = batch.entries.first().map(|entry| entry.index) else {
            return Ok(());
        };
        let follows = |pair: &[LogEntry]| matches!(pair, [one, next] if one.index.next() == next.index);
        if !index.takes(first) || !batch.entries.windows(2).all(follows) {
            return Err(AppendError::Gap { first, last: index.last().index });
        }
        if first <= self.hard_state.commit {
            return Err(AppendError::Committed { first, commit: self.hard_state.commit });
        }
        Ok(())
    }

    /// Whether the batch asks to wait and may: nothing but the commit index moved.
    fn may_wait(&self, batch: &Batch<'_>) -> bool {
        batch.durability == Durability::Later
            && batch.entries.is_empty()
            && batch.conf_state.is_none()
            && batch.hard_state.term == self.hard_state.term
            && batch.hard_state.vote == self.hard_state.vote
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<BatchNumber, DiskError> {
        let mut header = batch::encode(&mut self.buffer, batch);
        let size = header.padded_bytes();
        if self.current.file_bytes < self.current.offset.saturating_add(size) {
            self.roll()?;
        }
        let (offset, number) = (self.current.offset, self.current.next);
        batch::seal(&mut self.buffer, &mut header, self.current.nonce, number);
        self.current.file.write_at(offset, &self.buffer)?;
        self.sync()?;
        self.current.offset = offset.saturating_add(size);
        self.current.next = BatchNumber::new(number.get().saturating_add(1));
        self.current.last_crc = header.header_crc;
        self.hard_state = batch.hard_state;
        if let Some(conf_state) = batch.conf_state {
            self.conf_state.clone_from(conf_state);
        }
        if !batch.entries.is_empty() {
            let span =
                Span { first: header.first, last: header.last, file: self.current.sequence, offset, header };
            self.index_mut().add(span, &index::runs_of_batch(batch));
        }
        Ok(number)
    }

    fn sync(&self) -> Result<(), DiskError> {
        #[cfg(bug = "ack_before_sync")]
        if crate::planted::is_on("ack_before_sync") {
            return Ok(());
        }
        self.current.file.sync_data()
    }

    /// Goes on in a new file.
    fn roll(&mut self) -> Result<(), DiskError> {
        let base = self.index_mut().last();
        let header = self.next_header(base, self.conf_state.clone());
        let file = begin_file(&*self.disk, &self.directory, &mut spares::lock(&self.spares), &header)?;
        self.index_mut().add_file(&header, Arc::clone(&file));
        self.current = Current::at_start(file, &header);
        Ok(())
    }

    /// The header of the file behind the current one.
    fn next_header(&mut self, base: LogPosition, conf_state: ConfState) -> FileHeader {
        let stamp = (self.setup.stamps)();
        FileHeader {
            identity: self.setup.identity,
            sequence: WalSequence::new(self.current.sequence.get().saturating_add(1)),
            nonce: stamp.nonce,
            first_batch: self.current.next,
            base,
            conf_state,
            previous_crc: self.current.last_crc,
            created_at: stamp.created_at,
            file_bytes: self.setup.options.file_bytes,
        }
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index<D::File>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Current<F> {
    fn at_start(file: Arc<F>, header: &FileHeader) -> Self {
        Self {
            file,
            sequence: header.sequence,
            nonce: header.nonce,
            file_bytes: header.file_bytes,
            base: header.base.index,
            offset: BLOCK_BYTES,
            next: header.first_batch,
            last_crc: header.previous_crc,
        }
    }
}

/// Makes the log's directory and those above it that are missing, durably: a power cut must not take away the whole data
/// directory from below a log that was acknowledged.
fn make_directories<D: Disk>(disk: &D, data: &Path, directory: &Path) -> Result<(), DiskError> {
    let is_missing = |path: &Path| disk.list(path).is_err_and(|error| error.is_missing());
    let missing = data.ancestors().skip(1).take_while(|above| is_missing(above)).count();
    disk.create_dir(directory)?;
    disk.sync_dir(data)?;
    for made in data.ancestors().take(missing + 1) {
        let Some(above) = made.parent() else { break };
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match disk.sync_dir(above) {
            // What may not be opened was not made here.
            Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

pub(crate) fn check_options(options: &WalOptions) -> Result<(), RecoverError> {
    let file_bytes = options.file_bytes;
    if file_bytes.is_multiple_of(BLOCK_BYTES) && 2 * BLOCK_BYTES <= file_bytes {
        return Ok(());
    }
    Err(RecoverError::Options { file_bytes })
}

/// The members with which the oldest log file was begun, and the position after which it goes on; `None` if there is none
/// with a good header.
pub fn beginning<D: Disk>(disk: &D, data: &Path) -> Result<Option<(LogPosition, ConfState)>, DiskError> {
    let directory = wal_directory(data);
    let Some(oldest) = names::log_files(disk, &directory)?.first().copied() else { return Ok(None) };
    let mut block = vec![0; BLOCK];
    disk.open(&names::log_file(&directory, oldest), Access::Read)?.read_at(0, &mut block)?;
    Ok(FileHeader::read_front(&block).ok().map(|header| (header.base, header.conf_state)))
}

pub(crate) fn lock<D: Disk>(disk: &D, data: &Path) -> Result<D::Lock, RecoverError> {
    let path = names::lock_file(data);
    disk.lock(&path).map_err(|error| match error.is_locked() {
        true => RecoverError::InUse { path },
        false => error.into(),
    })
}

/// Turns a zeroed file into a log file. The header is durable before the file has its name, so a log file without a
/// good header is always damage.
fn begin_file<D: Disk>(
    disk: &D,
    directory: &Path,
    spares: &mut Spares<D>,
    header: &FileHeader,
) -> Result<Arc<D::File>, DiskError> {
    let blank = spares.take()?;
    blank.file.write_at(0, &header.encode())?;
    blank.file.sync_data()?;
    name_file(disk, directory, blank, header.sequence)
}

/// Gives a file that has its header its name, durably.
pub(crate) fn name_file<D: Disk>(
    disk: &D,
    directory: &Path,
    blank: Blank<D::File>,
    sequence: WalSequence,
) -> Result<Arc<D::File>, DiskError> {
    disk.rename(&blank.path, &names::log_file(directory, sequence))?;
    #[cfg(bug = "skip_dir_sync")]
    if crate::planted::is_on("skip_dir_sync") {
        return Ok(Arc::new(blank.file));
    }
    disk.sync_dir(directory)?;
    Ok(Arc::new(blank.file))
}

/// Writes the last batch of a file once more, the same bytes to the same place. After a failed sync the kernel shows what
/// was written and takes it for clean: a sync alone would make nothing durable. The batches before it were synced.
pub(crate) fn write_again<F: DiskFile>(file: &F, from: u64, until: u64) -> Result<(), DiskError> {
    #[cfg(bug = "tail_not_written_again")]
    if crate::planted::is_on("tail_not_written_again") {
        return Ok(());
    }
    let mut bytes = vec![0; usize::try_from(until.saturating_sub(from)).unwrap_or_default()];
    if bytes.is_empty() {
        return Ok(());
    }
    file.read_at(from, &mut bytes)?;
    file.write_at(from, &bytes)
}

/// Zeroes once more where a torn batch may have been. An earlier start may have zeroed it and its sync have failed: the kernel
/// shows zeros, the disk has the batch, and a shorter one in its place would have the remains behind it.
fn zero_again<F: DiskFile>(tail: &walk::Tail<F>) -> Result<(), DiskError> {
    #[cfg(bug)]
    if ["tail_not_written_again", "tail_not_zeroed"].into_iter().any(crate::planted::is_on) {
        return Ok(());
    }
    let end = tail.header.file_bytes.min(tail.offset.saturating_add(MAX_BATCH as u64));
    let mut at = tail.offset;
    while at < end {
        let piece = end.saturating_sub(at).min(ZEROED_AT_ONCE);
        tail.file.write_zeros_at(at, usize::try_from(piece).unwrap_or(BLOCK))?;
        at = at.saturating_add(piece);
    }
    Ok(())
}

/// Zeroes a torn tail; refuses a damaged log.
fn settle<F: DiskFile>(walk: &Walk<F>) -> Result<TailEnd, RecoverError> {
    match &walk.ending {
        Ending::Clean => Ok(TailEnd::Clean),
        #[cfg(bug = "tail_not_zeroed")]
        Ending::Torn(_) if crate::planted::is_on("tail_not_zeroed") => Ok(TailEnd::Clean),
        #[cfg(bug = "suspect_truncated")]
        Ending::Suspect(damage) if crate::planted::is_on("suspect_truncated") => Ok(TailEnd::Torn {
            file: walk.tail.header.sequence,
            offset: damage.offset,
            batch: damage.batch,
            zeroed_bytes: zero_from(&*walk.tail.file, damage.offset)?,
        }),
        Ending::Torn(damage) => Ok(TailEnd::Torn {
            file: walk.tail.header.sequence,
            offset: damage.offset,
            batch: damage.batch,
            zeroed_bytes: zero_from(&*walk.tail.file, damage.offset)?,
        }),
        Ending::Corrupt(damage) => Err(RecoverError::Corrupt(damage.clone())),
        Ending::Suspect(damage) => Err(RecoverError::Suspect(damage.clone())),
    }
}

/// Zeroes the places that must be zero. Each sector is as it was or zero where it must be, whatever happens meanwhile.
fn scrub<F: DiskFile>(strays: &[(Arc<F>, Stray)]) -> Result<Vec<Stray>, DiskError> {
    for (file, Stray { offset, length, .. }) in strays {
        let end = offset.saturating_add(*length);
        let mut at = *offset;
        while at < end {
            let piece = end.saturating_sub(at).min(BLOCK_BYTES);
            file.write_at(at, &vec![0; usize::try_from(piece).unwrap_or(BLOCK)])?;
            at = at.saturating_add(piece);
        }
        file.sync_data()?;
    }
    Ok(strays.iter().map(|(_, stray)| stray.clone()).collect())
}

/// Zeroes the blocks from an offset on that are not zero yet. A crash in between leaves a tail that is still torn.
pub(crate) fn zero_from<F: DiskFile>(file: &F, from: u64) -> Result<u64, DiskError> {
    let length = file.length()?;
    let mut block = vec![0; BLOCK];
    let mut zeroed = 0;
    let mut offset = from;
    while offset < length {
        file.read_at(offset, &mut block)?;
        if !bytes::all_zero(&block) {
            file.write_at(offset, &[0; BLOCK])?;
            zeroed += BLOCK_BYTES;
        }
        offset = offset.saturating_add(BLOCK_BYTES);
    }
    Ok(zeroed)
}
