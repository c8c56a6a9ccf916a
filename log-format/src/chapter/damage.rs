//! What a chapter lacks, and what can be done about it without another host.

use std::path::Path;

use super::part::Part;
use super::reader::open_part;
use super::sidecar::Sidecar;
use super::{ChapterError, SEAL, directory_of, install, is_there, remove_if_there};
use crate::disk::Disk;
use crate::event::Class;
use crate::ids::ChapterNumber;
use crate::seal::Seal;

/// A chapter that cannot be read as it was written.
#[derive(Debug)]
pub struct ChapterDamage {
    /// The first thing that is wrong.
    pub why: ChapterError,
    /// The files that must be had from elsewhere; all, if nobody knows what they were.
    pub parts: Vec<Part>,
}

/// Compares the files of a sealed chapter with the checksums that were noted when they were written: as fast as they can be
/// read. `None` if nothing is wrong.
pub fn damage<D: Disk>(disk: &D, data: &Path, seal: &Seal) -> Result<Option<ChapterDamage>, ChapterError> {
    let directory = directory_of(data, seal.chapter);
    let sidecar = match Sidecar::read(disk, &directory, seal.chapter) {
        Err(why) if why.is_damage() => return Ok(Some(ChapterDamage { why, parts: Part::ALL.to_vec() })),
        read => read?,
    };
    let mut found: Option<ChapterDamage> = None;
    for part in Part::ALL {
        match open_part(disk, &directory, seal, (part, &sidecar)) {
            Ok(_) => {}
            Err(why) if why.is_damage() => {
                found.get_or_insert_with(|| ChapterDamage { why, parts: Vec::new() }).parts.push(part);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Notes the checksums of a chapter's files anew, if the note was all that was lost: every file is here and holds what was
/// sealed. Says whether that was so.
pub fn note_again<D: Disk>(
    disk: &D,
    data: &Path,
    seal: &Seal,
    before: Option<&Seal>,
) -> Result<bool, ChapterError> {
    let directory = directory_of(data, seal.chapter);
    for part in Part::ALL {
        // A file that is missing would be noted as erased.
        if !is_there(disk, &directory.join(part.file_name()))? {
            return Ok(false);
        }
    }
    match install(disk, data, seal, before) {
        Ok(()) => Ok(true),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a chapter's seal away: it is to be sealed again from the log, which must still hold all of it.
pub fn unseal<D: Disk>(disk: &D, data: &Path, chapter: ChapterNumber) -> Result<(), ChapterError> {
    let directory = directory_of(data, chapter);
    remove_if_there(disk, &directory.join(SEAL))?;
    match disk.sync_dir(&directory) {
        Err(error) if !error.is_missing() => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether this host has noted that a chapter's attack data is erased; `false` if there is no note that can be read.
pub fn is_noted_erased<D: Disk>(disk: &D, data: &Path, chapter: ChapterNumber) -> bool {
    let note = Sidecar::read(disk, &directory_of(data, chapter), chapter);
    note.is_ok_and(|sidecar| sidecar.is_erased(Part::Class(Class::Attack)))
}

/// Whether a host that noted this (its file [`FILES`](super::FILES)) has erased a part of its chapter.
pub fn says_erased(note: &[u8], part: Part) -> bool {
    Sidecar::of(note).is_some_and(|sidecar| part.is_erasable() && sidecar.is_erased(part))
}
