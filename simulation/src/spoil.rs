//! What happens to bytes that a disk had kept, in any of a host's folders, while its process runs or while it is down.

use std::path::{Path, PathBuf};

use log_format::chapter;
use log_format::disk::{Defect, MemoryDisk, SECTOR};

use crate::prng::Prng;

/// Log and spool write at multiples of this.
const BLOCK: usize = 4_096;
/// A sector that cannot be read stays so for this many attempts at most.
const MOST_ATTEMPTS: u64 = 3;

/// Sectors that were written last.
const RECENT: usize = 24;

/// Which files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folder {
    Log,
    Chapters,
    Spool,
}

/// How a sector goes bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Flip,
    Lose,
    Unreadable,
}

/// One sector that goes bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spoil {
    pub(crate) folder: Folder,
    pub(crate) kind: Kind,
    /// Chooses the place.
    place: u64,
}

/// A file and its bytes.
type Found = (PathBuf, Vec<u8>);

impl Spoil {
    /// Bytes change.
    pub(crate) fn rot(prng: &mut Prng) -> Self {
        let kind = if prng.chance(600) { Kind::Flip } else { Kind::Lose };
        Self::of(kind, prng)
    }

    /// Bytes cannot be read for a while.
    pub(crate) fn unreadable(prng: &mut Prng) -> Self {
        Self::of(Kind::Unreadable, prng)
    }

    fn of(kind: Kind, prng: &mut Prng) -> Self {
        let folders = [Folder::Log, Folder::Chapters, Folder::Spool];
        let folder = prng.pick(&folders).copied().unwrap_or(Folder::Log);
        Self { folder, kind, place: prng.next() }
    }

    /// Whether what is lost must be had from other hosts.
    pub(crate) fn needs_others(self) -> bool {
        match (self.folder, self.kind) {
            (Folder::Log | Folder::Chapters, Kind::Flip | Kind::Lose) => true,
            (Folder::Log | Folder::Chapters, Kind::Unreadable) | (Folder::Spool, _) => false,
        }
    }

    /// Spoils a sector below a data directory. Says whether there was one.
    pub(crate) fn strike(self, disk: &MemoryDisk, data: &Path) -> bool {
        let mut prng = Prng::new(self.place);
        let files = files(disk, &self.directory(data));
        // What was written last is most likely to be read again.
        let recent = prng.chance(500).then(|| files.last()).flatten();
        let Some((path, bytes)) = recent.or_else(|| prng.pick(&files)) else { return false };
        let is_newest = files.last().is_some_and(|(newest, _)| newest == path);
        let end = match (self.kind, self.folder) {
            // The last batch without one of its sectors is the same as a write that was cut short.
            (Kind::Lose, Folder::Log | Folder::Spool) if is_newest => last_batch(bytes),
            (Kind::Flip | Kind::Lose | Kind::Unreadable, _) => bytes.len(),
        };
        // What a log file's first block says can be found again if a bit of it has turned, not if a sector is gone.
        let begin = if (self.kind, self.folder) == (Kind::Lose, Folder::Log) { BLOCK } else { 0 };
        let sectors = bytes.chunks(SECTOR).enumerate();
        let written = sectors.filter(|(sector, bytes)| {
            (begin..end).contains(&(sector * SECTOR)) && bytes.iter().any(|byte| *byte != 0)
        });
        let written: Vec<usize> = written.map(|(sector, _)| sector).collect();
        let tail = written.len().saturating_sub(RECENT);
        let recent = recent.and_then(|_| written.get(tail..)).unwrap_or(&written);
        let Some(sector) = prng.pick(recent) else { return false };
        let length = bytes.len().saturating_sub(sector * SECTOR).min(SECTOR) as u64;
        disk.spoil(path, *sector, self.defect(length, &mut prng))
    }

    fn defect(self, length: u64, prng: &mut Prng) -> Defect {
        match self.kind {
            Kind::Flip => Defect::Flipped { bit: u16::try_from(prng.below(length * 8)).unwrap_or(0) },
            Kind::Lose => Defect::Lost,
            Kind::Unreadable => {
                let times = 1 + u32::try_from(prng.below(MOST_ATTEMPTS)).unwrap_or(0);
                Defect::Unreadable { times }
            }
        }
    }

    fn directory(self, data: &Path) -> PathBuf {
        match self.folder {
            Folder::Log => data.join("wal"),
            Folder::Chapters => chapter::directory(data),
            Folder::Spool => data.join("spool"),
        }
    }
}

/// Everything that was finished below a directory, without spare files and what is being written.
fn files(disk: &MemoryDisk, directory: &Path) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    disk.look_at_images(|path, bytes| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_known = path.starts_with(directory) && ["wal", "zst", ""].contains(&extension);
        if is_known && found.last().is_none_or(|(last, _)| last != path) {
            found.push((path.to_owned(), bytes.to_vec()));
        }
    });
    found
}

/// Where the last batch of a file begins.
fn last_batch(bytes: &[u8]) -> usize {
    let mut blocks = bytes.chunks(BLOCK).enumerate();
    blocks.rfind(|(_, block)| block.starts_with(b"WBAT")).map_or(0, |(at, _)| at * BLOCK)
}
