//! Takes chapters in from another host: the work behind [`Output::Fetch`](crate::node::Output::Fetch), for whatever thread or
//! simulator does it. Nothing that comes is believed before it was compared with a seal whose hash this host knows.

use std::path::Path;

use bytes::Bytes;
use consensus::rt::bulk::{BulkError, FilePart};
use log_format::chapter::{self, ChapterError, Part};
use log_format::disk::{Access, Disk, DiskError, DiskFile};
use log_format::ids::ChapterNumber;
use log_format::merkle::Hash;
use log_format::seal::{Seal, SealError};
use thiserror::Error;

/// Bytes by which a compressed file may be larger than what it holds, beyond a sixty-fourth.
const MORE_THAN_RAW: u64 = 1 << 16;

/// A host that has chapters.
pub trait Donor {
    /// A part of a chapter's file, from a byte on.
    fn file(&mut self, chapter: ChapterNumber, name: &str, offset: u64) -> Result<FilePart, BulkError>;
}

/// A chapter, or a file of it, is not here.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The other host did not give it.
    #[error("ask for chapter {chapter}")]
    Ask {
        /// The chapter.
        chapter: ChapterNumber,
        /// Why.
        #[source]
        source: BulkError,
    },
    /// What it gave is no seal.
    #[error("read the seal of chapter {chapter}")]
    Seal {
        /// The chapter.
        chapter: ChapterNumber,
        /// Why.
        #[source]
        source: SealError,
    },
    /// It has sealed something else.
    #[error("the other host has another seal of chapter {chapter}")]
    OtherSeal {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// The file holds more than its seal says.
    #[error("{file} of chapter {chapter} is too large")]
    TooLarge {
        /// The chapter.
        chapter: ChapterNumber,
        /// The file.
        file: &'static str,
    },
    /// This host's disk refused.
    #[error("write what was fetched")]
    Disk(#[from] DiskError),
    /// What came is not what the seal says, or cannot be kept.
    #[error("take in what was fetched")]
    Chapter(#[from] ChapterError),
}

/// Makes sure that the chapter of a seal is here, behind the one before it: fetches it if it is not.
pub fn chapter<D: Disk>(
    (disk, data): (&D, &Path),
    donor: &mut dyn Donor,
    hash: Hash,
    before: Option<&Seal>,
) -> Result<Seal, FetchError> {
    let here = chapter::next_seal(disk, data, before)?;
    if let Some(seal) = here.filter(|seal| seal.hash() == hash) {
        return Ok(seal);
    }
    let number = ChapterNumber::new(before.map_or(0, |before| before.chapter.get()) + 1);
    let seal = seal(donor, number, hash)?;
    for each in Part::ALL {
        part((disk, data), donor, (&seal, each))?;
    }
    chapter::install(disk, data, &seal, before)?;
    Ok(seal)
}

/// The seal of a chapter, which must have this hash.
pub fn seal(donor: &mut dyn Donor, chapter: ChapterNumber, hash: Hash) -> Result<Seal, FetchError> {
    let asked = donor.file(chapter, chapter::SEAL, 0);
    let bytes = asked.map_err(|source| FetchError::Ask { chapter, source })?.data;
    let seal = Seal::decode(&bytes).map_err(|source| FetchError::Seal { chapter, source })?;
    if seal.hash() != hash || seal.chapter != chapter {
        return Err(FetchError::OtherSeal { chapter });
    }
    Ok(seal)
}

/// Fetches one file of a chapter to the place where it waits to be compared, unless the other host has erased it.
pub fn part<D: Disk>(
    (disk, data): (&D, &Path),
    donor: &mut dyn Donor,
    (seal, part): (&Seal, Part),
) -> Result<(), FetchError> {
    let raw = seal.parts.get(part.place()).map_or(0, |summary| summary.raw);
    let (chapter, file) = (seal.chapter, part.file_name());
    let mut staged = None;
    let mut offset = 0;
    loop {
        let FilePart { data: bytes, length } = match donor.file(chapter, file, offset) {
            Err(BulkError::Refused { .. }) if staged.is_none() && is_erased(donor, chapter, part) => {
                return Ok(chapter::unstage(disk, data, chapter, part)?);
            }
            asked => asked.map_err(|source| FetchError::Ask { chapter, source })?,
        };
        if raw + raw / 64 + MORE_THAN_RAW < length {
            return Err(FetchError::TooLarge { chapter, file });
        }
        let staged = match &mut staged {
            Some(staged) => staged,
            None => staged.insert(chapter::begin_staging(disk, data, chapter, part)?),
        };
        staged.write_at(offset, &bytes)?;
        offset += bytes.len() as u64;
        if length <= offset || bytes.is_empty() {
            return Ok(());
        }
    }
}

/// Whether the other host lacks the file because it was erased: then the chapter is whole without it. A file that was lost
/// there must not be taken for one.
fn is_erased(donor: &mut dyn Donor, chapter: ChapterNumber, part: Part) -> bool {
    part.is_erasable()
        && donor.file(chapter, chapter::FILES, 0).is_ok_and(|note| chapter::says_erased(&note.data, part))
}

/// A part of a chapter's file for another host. The name comes from there: only names that a chapter has are files.
pub fn file_part<D: Disk>(
    (disk, data): (&D, &Path),
    (chapter, name): (ChapterNumber, &str),
    offset: u64,
    max_bytes: usize,
) -> Result<FilePart, String> {
    let name = chapter::file_names().find(|known| *known == name).ok_or("a chapter has no such file")?;
    let path = chapter::directory_of(data, chapter).join(name);
    let read = || {
        let file = disk.open(&path, Access::Read)?;
        let length = file.length()?;
        let count = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(max_bytes);
        let mut bytes = vec![0; count];
        file.read_at(offset, &mut bytes)?;
        Ok(FilePart { data: Bytes::from(bytes), length })
    };
    read().map_err(|error: DiskError| match error.is_missing() {
        true => format!("{name} of chapter {chapter} is not here"),
        false => error.to_string(),
    })
}
