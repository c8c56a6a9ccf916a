//! The file `files` of a chapter: what this host's compressed files are, and which of them it has erased. It is no part of
//! the seal, since hosts may compress differently.

use std::path::Path;

use super::part::Part;
use super::stream::FileSum;
use super::{ChapterError, FILES, replace, small_file};
use crate::disk::{Disk, DiskError};
use crate::ids::ChapterNumber;
use crate::seal::FORMAT;
use crate::wal::bytes::Fields;

const MAGIC: [u8; 8] = *b"ELOGFILE";
/// Bytes of the file.
const LENGTH: usize = 176;

/// What the files of a chapter are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sidecar {
    sums: [FileSum; 4],
    erased: u16,
}

impl Sidecar {
    pub(super) fn set(&mut self, part: Part, sum: FileSum) {
        if let Some(slot) = self.sums.get_mut(part.place()) {
            *slot = sum;
        }
    }

    pub(super) fn sum(&self, part: Part) -> FileSum {
        self.sums.get(part.place()).copied().unwrap_or_default()
    }

    pub(super) fn is_erased(&self, part: Part) -> bool {
        self.erased & bit(part) != 0
    }

    pub(super) fn erase(&mut self, part: Part) {
        self.erased |= bit(part);
        self.set(part, FileSum::default());
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.erased.to_le_bytes());
        for sum in self.sums {
            bytes.extend(sum.length.to_le_bytes());
            bytes.extend(sum.sha256);
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<(u16, Self)> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*checksum) != crc32c::crc32c(body) {
            return None;
        }
        let mut fields = Fields::new(body);
        if fields.array() != Some(MAGIC) {
            return None;
        }
        let (format, erased) = (fields.u16()?, fields.u16()?);
        let mut sums = [FileSum::default(); 4];
        for sum in &mut sums {
            *sum = FileSum { length: fields.u64()?, sha256: fields.array()? };
        }
        (fields.left() == 0).then_some((format, Self { sums, erased }))
    }

    /// That of another host; `None` if it is damaged or a newer version wrote it.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).and_then(|(format, sidecar)| (format == FORMAT).then_some(sidecar))
    }

    pub(super) fn write<D: Disk>(&self, disk: &D, directory: &Path) -> Result<(), DiskError> {
        replace(disk, directory, FILES, &self.encode())
    }

    /// Reads that of a chapter, which must have one.
    pub(super) fn read<D: Disk>(
        disk: &D,
        directory: &Path,
        chapter: ChapterNumber,
    ) -> Result<Self, ChapterError> {
        let bytes = match small_file(disk, &directory.join(FILES), LENGTH) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) if error.is_missing() => return Err(ChapterError::Missing { chapter, file: FILES }),
            Err(error) => return Err(error.into()),
        };
        match Self::decode(&bytes) {
            Some((FORMAT, sidecar)) => Ok(sidecar),
            Some((format, _)) => Err(ChapterError::Newer { chapter, file: FILES, format }),
            None => {
                let what = "its checksum or its length is wrong".to_owned();
                Err(ChapterError::Damaged { chapter, file: FILES, what })
            }
        }
    }
}

fn bit(part: Part) -> u16 {
    1 << part.place()
}
