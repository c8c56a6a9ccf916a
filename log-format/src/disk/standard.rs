//! The real disk.
#![expect(clippy::disallowed_methods, reason = "this module is the shell that touches files")]

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Access, Disk, DiskError, DiskFile, Operation, Space};

/// Files are for the owner only: the log holds addresses and names of customers.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Zeros where direct writes want them: at the start of a page.
#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);

/// Bytes written at once.
const ZEROS_BYTES: usize = 1 << 20;
static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);

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

    /// Past the page cache, where the file system can: a log file is zeroed once and written once, and copies of zeros in
    /// memory are of use to nobody.
    fn write_zeros_at(&self, offset: u64, length: usize) -> Result<(), DiskError> {
        let write = || {
            let mut written = 0;
            while let Some(left) = length.checked_sub(written).filter(|left| 0 < *left) {
                let piece = ZEROS.0.get(..left).unwrap_or(&ZEROS.0);
                self.file.write_all_at(piece, offset + written as u64)?;
                written += piece.len();
            }
            Ok(())
        };
        let usual = fcntl_getfl(&self.file).map_err(io::Error::from);
        let usual = named(Operation::Write, &self.path, usual)?;
        let is_direct = fcntl_setfl(&self.file, usual | OFlags::DIRECT).is_ok();
        let direct: io::Result<()> = write();
        if is_direct {
            let back = fcntl_setfl(&self.file, usual).map_err(io::Error::from);
            named(Operation::Write, &self.path, back)?;
        }
        let done = match direct {
            // A file system that takes the flag may still want other sizes.
            Err(error) if is_direct && error.kind() == io::ErrorKind::InvalidInput => write(),
            done => done,
        };
        named(Operation::Write, &self.path, done)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        named(Operation::SyncData, &self.path, self.file.sync_data())
    }

    fn length(&self) -> Result<u64, DiskError> {
        let length = self.file.metadata().map(|metadata| metadata.len());
        named(Operation::Length, &self.path, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Direct or not, in pages or not, over what was there or behind it: what is asked for is zero, and nothing else.
    #[test]
    fn zeros_are_written_where_they_are_asked_for() {
        const PAGE: usize = 4_096;
        for folder in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
            let path = folder.join(format!("palisade-zeros-{}", std::process::id()));
            let file = StdDisk.create(&path).unwrap();
            file.write_at(0, &vec![7; 4 * PAGE]).unwrap();
            file.write_zeros_at(PAGE as u64, 2 * PAGE).unwrap();
            file.write_zeros_at(3 * PAGE as u64 + 10, 20).unwrap();
            file.write_zeros_at(4 * PAGE as u64, ZEROS_BYTES + PAGE).unwrap();
            file.write_at(5 * PAGE as u64, b"seven").unwrap();
            fs::remove_file(&path).unwrap();
            let mut read = vec![1; 5 * PAGE];
            file.read_at(0, &mut read).unwrap();
            let is_zero =
                |at: &usize| (PAGE..3 * PAGE).contains(at) || (3 * PAGE + 10..3 * PAGE + 30).contains(at);
            let expected: Vec<u8> =
                (0..5 * PAGE).map(|at| if is_zero(&at) || 4 * PAGE <= at { 0 } else { 7 }).collect();
            assert_eq!(read, expected);
            assert_eq!(file.length().unwrap(), (5 * PAGE + ZEROS_BYTES) as u64);
        }
    }
}
