//! The real disk.
#![expect(clippy::disallowed_methods, reason = "this module is the shell that touches files")]

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Access, Disk, DiskError, DiskFile, Operation, Space};

/// Files are for the owner only: the log holds addresses and names of customers.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdDisk;

/// An open file of [`StdDisk`].
#[derive(Debug)]
pub struct StdFile {
    file: File,
    path: PathBuf,
}

/// A held lock of [`StdDisk`]; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct StdLock {
    _file: File,
}

/// Names the operation and the path when the system refuses.
fn named<T>(operation: Operation, path: &Path, result: io::Result<T>) -> Result<T, DiskError> {
    result.map_err(|source| DiskError::new(operation, path, source))
}

impl Disk for StdDisk {
    type File = StdFile;
    type Lock = StdLock;

    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
        named(Operation::CreateDir, path, made)
    }

    fn create(&self, path: &Path) -> Result<StdFile, DiskError> {
        let made = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path);
        let file = named(Operation::Create, path, made)?;
        let path = path.to_owned();
        Ok(StdFile { file, path })
    }

    fn open(&self, path: &Path, access: Access) -> Result<StdFile, DiskError> {
        let write = access == Access::ReadWrite;
        let opened = OpenOptions::new().read(true).write(write).open(path);
        let file = named(Operation::Open, path, opened)?;
        let path = path.to_owned();
        Ok(StdFile { file, path })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        named(Operation::Rename, from, fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        named(Operation::Remove, path, fs::remove_file(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let synced = File::open(path).and_then(|directory| directory.sync_all());
        named(Operation::SyncDir, path, synced)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for entry in named(Operation::List, path, fs::read_dir(path))? {
            let entry = named(Operation::List, path, entry)?;
            names.extend(entry.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn space(&self, path: &Path) -> Result<Space, DiskError> {
        let asked = rustix::fs::statvfs(path).map_err(io::Error::from);
        let answer = named(Operation::FreeSpace, path, asked)?;
        let bytes = |blocks: u64| blocks.saturating_mul(answer.f_frsize);
        Ok(Space { free: bytes(answer.f_bavail), total: bytes(answer.f_blocks) })
    }

    fn lock(&self, path: &Path) -> Result<StdLock, DiskError> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path);
        let file = named(Operation::Lock, path, opened)?;
        let locked = file.try_lock().map_err(|refused| match refused {
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
            TryLockError::Error(error) => error,
        });
        named(Operation::Lock, path, locked)?;
        Ok(StdLock { _file: file })
    }
}

impl DiskFile for StdFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let read = self.file.read_exact_at(buffer, offset);
        named(Operation::Read, &self.path, read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.file.write_all_at(bytes, offset);
        named(Operation::Write, &self.path, written)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        named(Operation::SyncData, &self.path, self.file.sync_data())
    }

    fn length(&self) -> Result<u64, DiskError> {
        let length = self.file.metadata().map(|metadata| metadata.len());
        named(Operation::Length, &self.path, length)
    }
}
