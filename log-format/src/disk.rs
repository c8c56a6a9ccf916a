//! The door to files: everything below it is pure. [`StdDisk`] is the real one, [`MemoryDisk`] forgets on a power cut
//! what was not synced.
//!
//! The door is synchronous and has no buffers of its own: what [`DiskFile::sync_data`] and [`Disk::sync_dir`] have not
//! confirmed may be lost, in any order, in sectors of 512 bytes.

mod memory;
mod standard;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use memory::{Defect, Fault, MemoryDisk, MemoryFile, MemoryLock};
pub use standard::{StdDisk, StdFile, StdLock};

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// A place with directories and files.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Holds [`Disk::lock`] until it is dropped.
    type Lock: Send + Sync + 'static;

    /// Makes a directory and its parents, for the owner only; succeeds if it is there.
    fn create_dir(&self, path: &Path) -> Result<(), DiskError>;

    /// Makes an empty file for the owner only, open for reading and writing; fails if the name is taken.
    fn create(&self, path: &Path) -> Result<Self::File, DiskError>;

    /// Opens a file that is there.
    fn open(&self, path: &Path, access: Access) -> Result<Self::File, DiskError>;

    /// Gives a file another name, replacing what had it. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<(), DiskError>;

    /// The names of a directory's files, sorted. Names that are not UTF-8 are none of ours and are left out.
    fn list(&self, path: &Path) -> Result<Vec<String>, DiskError>;

    /// How large the file system below this directory is, and what is left of it.
    fn space(&self, path: &Path) -> Result<Space, DiskError>;

    /// Bytes that can still be written below this directory.
    fn free_space(&self, path: &Path) -> Result<u64, DiskError> {
        self.space(path).map(|space| space.free)
    }

    /// Takes the exclusive lock of a file, which is made if it is missing. Fails at once if another process has it, with
    /// an error for which [`DiskError::is_locked`] holds.
    fn lock(&self, path: &Path) -> Result<Self::Lock, DiskError>;
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills the buffer from this offset; fails at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// Writes all bytes at this offset. Durable after [`DiskFile::sync_data`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Writes so many zeros at this offset, as [`DiskFile::write_at`] would. Nobody else has the file open.
    fn write_zeros_at(&self, offset: u64, length: usize) -> Result<(), DiskError> {
        self.write_at(offset, &vec![0; length])
    }

    /// Makes everything written durable. After an error nothing is known of what was written since the last success,
    /// and trying again proves nothing.
    fn sync_data(&self) -> Result<(), DiskError>;

    /// The file's length in bytes.
    fn length(&self) -> Result<u64, DiskError>;
}

/// The size of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written by this process.
    pub free: u64,
    /// Bytes of the whole file system.
    pub total: u64,
}

/// What an opened file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// What was asked of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the operation of the same name")]
pub enum Operation {
    CreateDir,
    Create,
    Open,
    Rename,
    Remove,
    SyncDir,
    List,
    FreeSpace,
    Lock,
    Read,
    Write,
    SyncData,
    Length,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateDir => "create directory",
            Self::Create => "create",
            Self::Open => "open",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDir => "sync directory",
            Self::List => "list",
            Self::FreeSpace => "ask for free space of",
            Self::Lock => "lock",
            Self::Read => "read",
            Self::Write => "write",
            Self::SyncData => "sync",
            Self::Length => "ask for length of",
        })
    }
}

/// A disk did not do what was asked.
#[derive(Debug, Error)]
#[error("{operation} {}", path.display())]
pub struct DiskError {
    /// What was asked.
    pub operation: Operation,
    /// Of which file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Names what was being done when the system refused.
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        Self { operation, path: path.to_owned(), source }
    }

    /// Whether the file or directory is missing.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether another process holds the lock.
    pub fn is_locked(&self) -> bool {
        self.operation == Operation::Lock && self.source.kind() == io::ErrorKind::WouldBlock
    }
}
