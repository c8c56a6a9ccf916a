//! Erasure: a class goes away as a whole, the seal stays.

use std::path::Path;

use super::part::Part;
use super::sidecar::Sidecar;
use super::{ChapterError, directory_of, is_there};
use crate::disk::Disk;
use crate::event::Class;
use crate::ids::ChapterNumber;
use crate::reserve;

/// Erases the attack data of all chapters up to and with one, and says of how many it had to. Doing it again is harmless.
///
/// It is noted first: from then on the chapter tells its events as erased, whether or not a crash lets the file stay until
/// the next attempt, which a start must make.
///
/// A chapter whose note is damaged is left out and is the error at the end: those behind it are erased all the same.
pub fn erase<D: Disk>(disk: &D, data: &Path, upto: ChapterNumber) -> Result<u64, ChapterError> {
    let (mut erased, mut damage) = (0, None);
    for number in 1..=upto.get() {
        match erase_one(disk, data, ChapterNumber::new(number)) {
            Ok(Erasure::NotSealed) => break,
            Ok(Erasure::Before) => {}
            Ok(Erasure::Now) => erased += 1,
            Err(error) if error.is_damage() => drop(damage.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    damage.map_or(Ok(erased), Err)
}

/// What became of one chapter.
enum Erasure {
    /// It is not sealed here yet: whoever seals or fetches it erases it again.
    NotSealed,
    /// It was erased before.
    Before,
    /// It is erased now.
    Now,
}

fn erase_one<D: Disk>(disk: &D, data: &Path, chapter: ChapterNumber) -> Result<Erasure, ChapterError> {
    let part = Part::Class(Class::Attack);
    let directory = directory_of(data, chapter);
    let path = directory.join(part.file_name());
    let mut sidecar = match Sidecar::read(disk, &directory, chapter) {
        Err(ChapterError::Missing { .. }) if super::seal(disk, data, chapter)?.is_none() => {
            return Ok(Erasure::NotSealed);
        }
        read => read?,
    };
    let is_here = is_there(disk, &path)?;
    if sidecar.is_erased(part) && !is_here {
        return Ok(Erasure::Before);
    }
    sidecar.erase(part);
    match sidecar.write(disk, &directory) {
        // The note is small, and what it makes room for is not.
        Err(error) if error.is_full() && reserve::spend(disk, data)? => sidecar.write(disk, &directory)?,
        written => written?,
    }
    #[cfg(bug = "erased_file_kept")]
    let is_here = is_here && !crate::planted::is_on("erased_file_kept");
    if is_here {
        disk.remove(&path)?;
        disk.sync_dir(&directory)?;
    }
    Ok(Erasure::Now)
}
