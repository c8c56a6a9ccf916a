//! The names of files below a data directory.
//!
//! ```text
//! <data>/LOCK                            held by the process that writes
//! <data>/wal/0000000000000001.wal        log files, numbered in hexadecimal
//! <data>/wal/0000000000000001.wal.1.cut  what a person had cut off a damaged file
//! <data>/wal/spare-0000000000000001.zero zeroed, ready to become a log file
//! <data>/wal/spare-0000000000000002.new  being zeroed; removed at the next start
//! ```

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskError};
use crate::ids::WalSequence;

const LOCK: &str = "LOCK";
const WAL: &str = "wal";
const LOG_SUFFIX: &str = ".wal";
const CUT_SUFFIX: &str = ".cut";
const SPARE_PREFIX: &str = "spare-";
const READY_SUFFIX: &str = ".zero";
const MAKING_SUFFIX: &str = ".new";

pub(crate) fn lock_file(data: &Path) -> PathBuf {
    data.join(LOCK)
}

pub(crate) fn wal_directory(data: &Path) -> PathBuf {
    data.join(WAL)
}

pub(crate) fn log_file(directory: &Path, sequence: WalSequence) -> PathBuf {
    directory.join(format!("{:016x}{LOG_SUFFIX}", sequence.get()))
}

/// The name of a copy of what was cut off a file.
pub(crate) fn cut_file(sequence: WalSequence, copy: u32) -> String {
    format!("{:016x}{LOG_SUFFIX}.{copy}{CUT_SUFFIX}", sequence.get())
}

/// Whether a name is one that [`cut_file`] gives.
pub(crate) fn is_cut_file(name: &str) -> bool {
    let copy = name.strip_suffix(CUT_SUFFIX).and_then(|name| name.rsplit_once('.'));
    copy.is_some_and(|(file, copy)| {
        copy.parse::<u32>().is_ok() && file.strip_suffix(LOG_SUFFIX).and_then(number).is_some()
    })
}

pub(crate) fn ready_spare(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{SPARE_PREFIX}{number:016x}{READY_SUFFIX}"))
}

pub(crate) fn spare_in_making(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{SPARE_PREFIX}{number:016x}{MAKING_SUFFIX}"))
}

/// The log files of a directory, oldest first. A directory that is missing has none.
pub(crate) fn log_files<D: Disk>(disk: &D, directory: &Path) -> Result<Vec<WalSequence>, DiskError> {
    let names = match disk.list(directory) {
        Ok(names) => names,
        Err(error) if error.is_missing() => Vec::new(),
        Err(error) => return Err(error),
    };
    let numbers = names.iter().filter_map(|name| number(name.strip_suffix(LOG_SUFFIX)?));
    let mut files: Vec<WalSequence> = numbers.map(WalSequence::new).collect();
    files.sort_unstable();
    Ok(files)
}

/// What a name in the log's directory is, if it is a spare file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spare {
    Ready(u64),
    Making(u64),
}

/// The spare files of a directory.
pub(crate) fn spares<D: Disk>(disk: &D, directory: &Path) -> Result<Vec<Spare>, DiskError> {
    let names = disk.list(directory)?;
    Ok(names.iter().filter_map(|name| spare(name)).collect())
}

fn spare(name: &str) -> Option<Spare> {
    let name = name.strip_prefix(SPARE_PREFIX)?;
    let ready = name.strip_suffix(READY_SUFFIX).and_then(number);
    let making = name.strip_suffix(MAKING_SUFFIX).and_then(number);
    ready.map(Spare::Ready).or(making.map(Spare::Making))
}

/// Reads sixteen hexadecimal digits in lower case, as they are written.
fn number(digits: &str) -> Option<u64> {
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}
