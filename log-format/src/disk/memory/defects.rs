//! Sectors that have gone bad, while a process runs or while none does.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{MemoryDisk, State};
use crate::disk::SECTOR;

/// What is wrong with a sector, until it is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// One of its bits has turned.
    Flipped {
        /// Which, from its first.
        bit: u16,
    },
    /// It reads as zeros.
    Lost,
    /// Reading it fails so many times; then it can be read again.
    Unreadable {
        /// How many times.
        times: u32,
    },
}

/// The bad sectors of each file.
#[derive(Debug, Clone, Default)]
pub(super) struct Defects {
    of: BTreeMap<u64, BTreeMap<usize, Defect>>,
    /// Whether they are hidden from the reads of the moment.
    are_hidden: bool,
}

impl Defects {
    /// What a read of this place comes to: the bytes are those that were written.
    pub(super) fn read(&mut self, inode: u64, start: usize, bytes: &mut [u8]) -> Result<(), io::ErrorKind> {
        if self.are_hidden || self.of.is_empty() {
            return Ok(());
        }
        let Some(sectors) = self.of.get_mut(&inode) else { return Ok(()) };
        let end = start.saturating_add(bytes.len());
        let mut result = Ok(());
        for (sector, defect) in sectors.range_mut(start / SECTOR..end.div_ceil(SECTOR)) {
            let first = sector * SECTOR;
            match defect {
                Defect::Flipped { bit } => {
                    let byte = (first + usize::from(*bit / 8)).checked_sub(start);
                    if let Some(byte) = byte.and_then(|at| bytes.get_mut(at)) {
                        *byte ^= 1 << (*bit % 8);
                    }
                }
                Defect::Lost => {
                    let from = first.max(start) - start;
                    let to = (first + SECTOR).min(end) - start;
                    if let Some(lost) = bytes.get_mut(from..to) {
                        lost.fill(0);
                    }
                }
                Defect::Unreadable { times: 0 } => {}
                Defect::Unreadable { times } => {
                    *times -= 1;
                    result = Err(io::ErrorKind::Other);
                }
            }
        }
        result
    }

    /// These bytes are written anew.
    pub(super) fn written(&mut self, inode: u64, start: usize, length: usize) {
        if let Some(sectors) = self.of.get_mut(&inode) {
            let end = start.saturating_add(length);
            sectors.retain(|sector, _| end <= sector * SECTOR || (sector + 1) * SECTOR <= start);
        }
    }
}

impl MemoryDisk {
    /// Spoils a sector of a file until it is written again, without any operation being seen. Returns whether the file has
    /// such a sector.
    pub fn spoil(&self, path: &Path, sector: usize, defect: Defect) -> bool {
        let mut state = self.state();
        let Some(inode) = state.names.get(path).copied() else { return false };
        let is_there = state.inodes.get(&inode).is_some_and(|inode| sector * SECTOR < inode.seen.len());
        if is_there {
            state.defects.of.entry(inode).or_default().insert(sector, defect);
        }
        is_there
    }

    /// The bad sectors of files that have a name.
    pub fn spoiled(&self) -> Vec<(PathBuf, Defect)> {
        let state = self.state();
        let is_bad = |defect: &&Defect| **defect != Defect::Unreadable { times: 0 };
        let names = state.names.iter();
        let of = names.filter_map(|(path, inode)| Some((path, state.defects.of.get(inode)?)));
        let all =
            of.flat_map(|(path, sectors)| sectors.values().filter(is_bad).map(|bad| (path.clone(), *bad)));
        all.collect()
    }

    /// Makes every sector readable that was not; what has rotted stays so.
    pub fn read_again(&self) {
        let mut state = self.state();
        for sectors in state.defects.of.values_mut() {
            sectors.retain(|_, defect| !matches!(defect, Defect::Unreadable { .. }));
        }
    }

    /// Does something to which no sector is bad and no injected error comes: for whoever looks at the disk from outside.
    pub fn looked_through<T>(&self, look: impl FnOnce() -> T) -> T {
        let hide = |state: &mut State, faults| {
            state.defects.are_hidden = !state.defects.are_hidden;
            std::mem::replace(&mut state.faults, faults)
        };
        let faults = hide(&mut self.state(), Vec::new());
        let seen = look();
        hide(&mut self.state(), faults);
        seen
    }
}
