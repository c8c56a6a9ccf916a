//! Chapters: a stretch of the committed log, the same on every host, in one compressed file for each retention class.
//!
//! ```text
//! chapters/<number, 8 hex digits>/entries.zst   every entry without payloads, kept for ever
//!                                 audit.zst     payloads of class Audit
//!                                 control.zst   payloads of class Control
//!                                 attack.zst    payloads of class Attack, with their salts; erased by removing it
//!                                 files         lengths and checksums of these, and which are erased; this host's own
//!                                 seal          hashes and counts, chained to the seal before; the same on every host
//! ```
//!
//! A chapter is there once its seal is. Everything is written under another name, synced, renamed, and the directory
//! synced, the seal last: a crash leaves a chapter or leaves what the next attempt removes.

mod build;
mod damage;
mod erase;
mod error;
mod install;
mod part;
mod reader;
mod sidecar;
mod split;
mod stream;
mod verify;

use std::path::{Path, PathBuf};

pub use build::{ChapterPlan, build};
pub use damage::{ChapterDamage, damage, is_noted_erased, note_again, says_erased, unseal};
pub use erase::erase;
pub use error::ChapterError;
pub use install::{begin_staging, install, unstage};
pub use part::Part;
pub use reader::ChapterReader;
pub use split::{EventPart, Split, SplitError};
pub use stream::MAX_FRAME;
pub use verify::{Checked, verify};

use crate::disk::{Access, Disk, DiskError, DiskFile};
use crate::ids::ChapterNumber;
use crate::seal::{MAX_SEAL, Seal, SealError};

const CHAPTERS: &str = "chapters";
/// The name of the file that holds the seal.
pub const SEAL: &str = "seal";
/// The name of the file that notes what the others are, and which of them the host has erased.
pub const FILES: &str = "files";
/// Behind the name of what is being written.
const NEW: &str = "new";

/// Where a host's chapters lie.
pub fn directory(data: &Path) -> PathBuf {
    data.join(CHAPTERS)
}

/// Where one chapter lies.
pub fn directory_of(data: &Path, chapter: ChapterNumber) -> PathBuf {
    directory(data).join(format!("{:08x}", chapter.get()))
}

/// The names that a chapter's files have: what a peer may ask for.
pub fn file_names() -> impl Iterator<Item = &'static str> {
    Part::ALL.into_iter().map(Part::file_name).chain([SEAL, FILES])
}

/// The seal of a chapter; `None` if it is not here.
pub fn seal<D: Disk>(disk: &D, data: &Path, chapter: ChapterNumber) -> Result<Option<Seal>, ChapterError> {
    let path = directory_of(data, chapter).join(SEAL);
    let bytes = match small_file(disk, &path, MAX_SEAL) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            return Err(ChapterError::Damaged { chapter, file: SEAL, what: "it is too long".to_owned() });
        }
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Seal::decode(&bytes) {
        Ok(seal) if seal.chapter == chapter => Ok(Some(seal)),
        Ok(seal) => {
            let what = format!("it is that of chapter {}", seal.chapter);
            Err(ChapterError::Damaged { chapter, file: SEAL, what })
        }
        Err(SealError::Damaged(what)) => {
            Err(ChapterError::Damaged { chapter, file: SEAL, what: what.to_owned() })
        }
        Err(SealError::Format(format)) => Err(ChapterError::Newer { chapter, file: SEAL, format }),
    }
}

/// The seals of all chapters, from the first on, each checked to follow the one before.
pub fn seals<D: Disk>(disk: &D, data: &Path) -> Result<Vec<Seal>, ChapterError> {
    let mut seals: Vec<Seal> = Vec::new();
    while let Some(seal) = next_seal(disk, data, seals.last())? {
        seals.push(seal);
    }
    Ok(seals)
}

/// The seal behind another one, if it is here; it must follow.
pub fn next_seal<D: Disk>(
    disk: &D,
    data: &Path,
    before: Option<&Seal>,
) -> Result<Option<Seal>, ChapterError> {
    let chapter = ChapterNumber::new(before.map_or(0, |seal| seal.chapter.get()).saturating_add(1));
    match seal(disk, data, chapter)? {
        Some(seal) if seal.follows(before) => Ok(Some(seal)),
        Some(_) => Err(ChapterError::Chain { chapter }),
        None => Ok(None),
    }
}

/// A whole file that has at most `limit` bytes; `None` if it has more.
fn small_file<D: Disk>(disk: &D, path: &Path, limit: usize) -> Result<Option<Vec<u8>>, DiskError> {
    let file = disk.open(path, Access::Read)?;
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    if limit < length {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

/// Writes a small file: whole or not at all.
fn replace<D: Disk>(disk: &D, directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let new = new_name(directory, name);
    remove_if_there(disk, &new)?;
    let file = disk.create(&new)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&new, &directory.join(name))?;
    disk.sync_dir(directory)
}

fn new_name(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.{NEW}"))
}

fn remove_if_there<D: Disk>(disk: &D, path: &Path) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if !error.is_missing() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn is_there<D: Disk>(disk: &D, path: &Path) -> Result<bool, DiskError> {
    match disk.open(path, Access::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a chapter's directory, durably.
fn make_directory<D: Disk>(disk: &D, data: &Path, chapter: ChapterNumber) -> Result<PathBuf, DiskError> {
    let directory = directory_of(data, chapter);
    disk.create_dir(&directory)?;
    disk.sync_dir(&self::directory(data))?;
    disk.sync_dir(data)?;
    Ok(directory)
}
