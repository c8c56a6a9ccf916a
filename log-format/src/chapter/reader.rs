//! Reads a chapter's entries, with erased events where the payloads are gone.

use std::path::Path;

use super::part::{Part, class_place};
use super::sidecar::Sidecar;
use super::split::Split;
use super::stream::{FrameReader, sum};
use super::{ChapterError, directory_of};
use crate::disk::{Access, Disk, DiskFile};
use crate::event::Class;
use crate::ids::LogIndex;
use crate::seal::Seal;
use crate::wal::LogEntry;

/// A chapter's entries, from the first on, one by one, in memory that does not grow with the chapter. Each file's checksum
/// is compared when the chapter is opened, so that damage is an error and never a wrong entry. After an error there are
/// no more entries.
pub struct ChapterReader<D: Disk> {
    seal: Seal,
    entries: FrameReader<D::File>,
    classes: [Option<FrameReader<D::File>>; 3],
    due: Option<LogIndex>,
}

impl<D: Disk> ChapterReader<D> {
    /// Opens the chapter of a seal that was read from its place.
    pub fn open(disk: &D, data: &Path, seal: &Seal) -> Result<Self, ChapterError> {
        let directory = directory_of(data, seal.chapter);
        let sidecar = Sidecar::read(disk, &directory, seal.chapter)?;
        let [entries, audit, control, attack] =
            Part::ALL.map(|part| open_part::<D>(disk, &directory, seal, (part, &sidecar)));
        Self::over(seal, [entries?, audit?, control?, attack?])
    }

    /// Reads these files, in the order of [`Part::ALL`], as the chapter of this seal.
    pub(super) fn over(
        seal: &Seal,
        [entries, classes @ ..]: [Option<FrameReader<D::File>>; 4],
    ) -> Result<Self, ChapterError> {
        let file = Part::Entries.file_name();
        let entries = entries.ok_or(ChapterError::Missing { chapter: seal.chapter, file })?;
        Ok(Self { seal: seal.clone(), entries, classes, due: Some(seal.first.index) })
    }

    /// The seal of the chapter that is read.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Whether the chapter still is as it was opened: what was erased since must not be told.
    pub(crate) fn is_current(&self, disk: &D, data: &Path) -> Result<bool, ChapterError> {
        let sidecar = Sidecar::read(disk, &directory_of(data, self.seal.chapter), self.seal.chapter)?;
        Ok(sidecar.is_erased(Part::Class(Class::Attack)) == self.is_erased(Class::Attack))
    }

    /// Whether the payloads of a class are gone.
    pub(super) fn is_erased(&self, class: Class) -> bool {
        self.classes.get(class_place(class)).is_some_and(Option::is_none)
    }

    /// The next entry, taken apart; `None` behind the last one, where every file must end.
    pub fn next_split(&mut self) -> Result<Option<Split>, ChapterError> {
        let Some(due) = self.due.take() else { return Ok(None) };
        let Some(record) = self.entries.next()? else {
            for class in self.classes.iter_mut().flatten() {
                if class.next()?.is_some() {
                    return Err(class.damaged("it holds more events than the entries have"));
                }
            }
            return Ok(None);
        };
        let events = match Split::events(&record) {
            Some(events) if Split::index(&record) == Some(due) => events,
            Some(_) | None => return Err(self.entries.damaged("a record makes no sense")),
        };
        let mut payloads = Vec::with_capacity(events.len());
        for event in &events {
            let class = self.classes.get_mut(class_place(event.class)).and_then(Option::as_mut);
            payloads.push(match class {
                Some(class) => match class.next()? {
                    Some(payload) => Some(payload),
                    None => return Err(class.damaged("it holds fewer events than the entries have")),
                },
                None => None,
            });
        }
        self.due = Some(due.next());
        Ok(Some(Split { record, payloads }))
    }

    fn next_entry(&mut self) -> Result<Option<LogEntry>, ChapterError> {
        let Some(split) = self.next_split()? else { return Ok(None) };
        match split.entry() {
            Some(entry) => Ok(Some(entry)),
            None => Err(self.entries.damaged("a record and its payloads do not fit")),
        }
    }
}

impl<D: Disk> Iterator for ChapterReader<D> {
    type Item = Result<LogEntry, ChapterError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_entry();
        if next.is_err() {
            self.due = None;
        }
        next.transpose()
    }
}

/// Opens a file whose checksum is right; `None` if it is erased.
pub(super) fn open_part<D: Disk>(
    disk: &D,
    directory: &Path,
    seal: &Seal,
    (part, sidecar): (Part, &Sidecar),
) -> Result<Option<FrameReader<D::File>>, ChapterError> {
    let (chapter, name) = (seal.chapter, part.file_name());
    if part.is_erasable() && sidecar.is_erased(part) {
        return Ok(None);
    }
    let file = match disk.open(&directory.join(name), Access::Read) {
        Err(error) if error.is_missing() => return Err(ChapterError::Missing { chapter, file: name }),
        opened => opened?,
    };
    let expected = sidecar.sum(part);
    let is_damaged = file.length()? != expected.length || sum(&file)? != expected;
    #[cfg(bug = "damaged_chapter_passes")]
    let is_damaged = is_damaged && !crate::planted::is_on("damaged_chapter_passes");
    if is_damaged {
        let what = "its checksum is not the one noted when it was written".to_owned();
        return Err(ChapterError::Damaged { chapter, file: name, what });
    }
    let summary = seal.parts.get(part.place()).copied().unwrap_or_default();
    FrameReader::new(file, chapter, (part, summary)).map(Some)
}
