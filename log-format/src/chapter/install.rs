//! Takes in a chapter, or a damaged file of one, from another host. Nothing counts before it was compared with the seal.
//!
//! ```text
//!  begin_staging ──> write … write ──> install: compare ──> sync, rename, note, seal
//! ```

use std::path::Path;

use super::part::Part;
use super::reader::ChapterReader;
use super::sidecar::Sidecar;
use super::stream::{FrameReader, sum};
use super::{
    ChapterError, SEAL, directory_of, is_there, make_directory, new_name, remove_if_there, replace, verify,
};
use crate::disk::{Access, Disk, DiskFile};
use crate::ids::ChapterNumber;
use crate::seal::Seal;

/// Begins a file that is fetched: what was fetched of it before is gone. The caller writes into it what a peer gave.
pub fn begin_staging<D: Disk>(
    disk: &D,
    data: &Path,
    chapter: ChapterNumber,
    part: Part,
) -> Result<D::File, ChapterError> {
    let directory = make_directory(disk, data, chapter)?;
    let path = new_name(&directory, part.file_name());
    remove_if_there(disk, &path)?;
    Ok(disk.create(&path)?)
}

/// Forgets what was staged of a file.
pub fn unstage<D: Disk>(
    disk: &D,
    data: &Path,
    chapter: ChapterNumber,
    part: Part,
) -> Result<(), ChapterError> {
    Ok(remove_if_there(disk, &new_name(&directory_of(data, chapter), part.file_name()))?)
}

/// Makes the chapter of a seal from what was staged, and from what is here where nothing was. Erasable files may be
/// missing: the chapter then tells their events as erased. `before` is the seal that it must follow.
///
/// The caller knows the seal from the log or from the chain; nothing of the files is believed. If something is wrong, what
/// was staged is left for another attempt to replace, and the chapter is as it was.
pub fn install<D: Disk>(
    disk: &D,
    data: &Path,
    seal: &Seal,
    before: Option<&Seal>,
) -> Result<(), ChapterError> {
    if !seal.follows(before) {
        return Err(ChapterError::Chain { chapter: seal.chapter });
    }
    let directory = make_directory(disk, data, seal.chapter)?;
    let known = Sidecar::read(disk, &directory, seal.chapter).unwrap_or_default();
    let mut sidecar = Sidecar::default();
    let mut staged = Vec::new();
    let mut files: [Option<FrameReader<D::File>>; 4] = [const { None }; 4];
    for ((part, summary), slot) in Part::ALL.into_iter().zip(seal.parts).zip(&mut files) {
        let is_erased = part.is_erasable() && known.is_erased(part);
        if is_erased {
            // What another host still had of it.
            remove_if_there(disk, &new_name(&directory, part.file_name()))?;
        }
        match find(disk, &directory, part)?.filter(|_| !is_erased) {
            Some((file, place)) => {
                sidecar.set(part, sum(&file)?);
                staged.extend((place == Place::Staged).then_some(part));
                *slot = Some(FrameReader::new(file, seal.chapter, (part, summary))?);
            }
            None if part.is_erasable() => sidecar.erase(part),
            None => return Err(ChapterError::Missing { chapter: seal.chapter, file: part.file_name() }),
        }
    }
    verify::compare(&mut ChapterReader::<D>::over(seal, files)?)?;
    for part in staged {
        let name = part.file_name();
        let new = new_name(&directory, name);
        #[cfg(bug = "fetched_not_synced")]
        if crate::planted::is_on("fetched_not_synced") {
            disk.rename(&new, &directory.join(name))?;
            continue;
        }
        disk.open(&new, Access::ReadWrite)?.sync_data()?;
        disk.rename(&new, &directory.join(name))?;
    }
    disk.sync_dir(&directory)?;
    sidecar.write(disk, &directory)?;
    Ok(replace(disk, &directory, SEAL, &seal.encode())?)
}

/// Where a file comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Staged,
    Here,
}

/// The staged file, or else the one that is here.
fn find<D: Disk>(disk: &D, directory: &Path, part: Part) -> Result<Option<(D::File, Place)>, ChapterError> {
    let name = part.file_name();
    for (path, place) in [(new_name(directory, name), Place::Staged), (directory.join(name), Place::Here)] {
        if is_there(disk, &path)? {
            return Ok(Some((disk.open(&path, Access::Read)?, place)));
        }
    }
    Ok(None)
}
