//! Fetches chapters from another host, over the bulk connection. Nothing that comes is believed before it was compared with
//! a seal whose hash this host knows.

use std::path::Path;

use anyhow::{Context, ensure};
use consensus::rt::bulk::{BulkClient, BulkError, FilePart};
use log_format::chapter::{self, Part};
use log_format::disk::{Disk, DiskFile};
use log_format::ids::ChapterNumber;
use log_format::merkle::Hash;
use log_format::seal::Seal;
use tokio::runtime::Handle;

/// Bytes by which a compressed file may be larger than what it holds, beyond a sixty-fourth.
const MORE_THAN_RAW: u64 = 1 << 16;

/// A host that has chapters.
pub trait Donor {
    /// A part of a chapter's file, from a byte on.
    fn file(&mut self, chapter: ChapterNumber, name: &str, offset: u64) -> Result<FilePart, BulkError>;
}

/// A connection to another host.
pub(in crate::runtime) struct Connected {
    pub(in crate::runtime) client: BulkClient,
    pub(in crate::runtime) tokio: Handle,
}

impl Donor for Connected {
    fn file(&mut self, chapter: ChapterNumber, name: &str, offset: u64) -> Result<FilePart, BulkError> {
        self.tokio.block_on(self.client.chapter_file(chapter.get(), name, offset))
    }
}

/// The seal of a chapter, which must have this hash.
pub(super) fn seal(donor: &mut dyn Donor, chapter: ChapterNumber, hash: Hash) -> anyhow::Result<Seal> {
    let bytes = donor.file(chapter, chapter::SEAL, 0)?.data;
    let seal = Seal::decode(&bytes).with_context(|| format!("the seal of chapter {chapter}"))?;
    ensure!(
        seal.hash() == hash && seal.chapter == chapter,
        "the other host has another seal of chapter {chapter}"
    );
    Ok(seal)
}

/// Fetches one file of a chapter to the place where it waits to be compared, unless the other host has erased it.
pub(super) fn part<D: Disk>(
    donor: &mut dyn Donor,
    (disk, data): (&D, &Path),
    (seal, part): (&Seal, Part),
) -> anyhow::Result<()> {
    let raw = seal.parts.get(part.place()).map_or(0, |summary| summary.raw);
    let (chapter, name) = (seal.chapter, part.file_name());
    let mut file = None;
    let mut offset = 0;
    loop {
        let FilePart { data: bytes, length } = match donor.file(chapter, name, offset) {
            Err(BulkError::Refused { .. }) if file.is_none() && is_erased(donor, chapter, part) => {
                return Ok(chapter::unstage(disk, data, chapter, part)?);
            }
            asked => asked?,
        };
        ensure!(length <= raw + raw / 64 + MORE_THAN_RAW, "{name} of chapter {chapter} is too large");
        let staged = match &mut file {
            Some(file) => file,
            None => file.insert(chapter::begin_staging(disk, data, chapter, part)?),
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
