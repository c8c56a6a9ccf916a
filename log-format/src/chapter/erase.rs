//! Erasure: a class goes away as a whole, the seal stays.

use std::path::Path;

use super::part::Part;
use super::sidecar::Sidecar;
use super::{ChapterError, directory_of, is_there};
use crate::disk::Disk;
use crate::event::Class;
use crate::ids::ChapterNumber;

/// Erases the attack data of all chapters up to and with one, and says of how many it had to. Doing it again is harmless.
///
/// It is noted first: from then on the chapter tells its events as erased, whether or not a crash lets the file stay until
/// the next attempt, which a start must make.
pub fn erase<D: Disk>(disk: &D, data: &Path, upto: ChapterNumber) -> Result<u64, ChapterError> {
    let mut erased = 0;
    let part = Part::Class(Class::Attack);
    for number in 1..=upto.get() {
        let chapter = ChapterNumber::new(number);
        let directory = directory_of(data, chapter);
        let path = directory.join(part.file_name());
        let mut sidecar = match Sidecar::read(disk, &directory, chapter) {
            // It is not sealed here yet: whoever seals or fetches it erases it again.
            Err(ChapterError::Missing { .. }) if super::seal(disk, data, chapter)?.is_none() => {
                return Ok(erased);
            }
            read => read?,
        };
        let is_here = is_there(disk, &path)?;
        if sidecar.is_erased(part) && !is_here {
            continue;
        }
        sidecar.erase(part);
        sidecar.write(disk, &directory)?;
        #[cfg(bug = "erased_file_kept")]
        let is_here = is_here && !crate::planted::is_on("erased_file_kept");
        if is_here {
            disk.remove(&path)?;
            disk.sync_dir(&directory)?;
        }
        erased += 1;
    }
    Ok(erased)
}
