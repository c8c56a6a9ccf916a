//! Frames in a compressed file: a length and that many bytes, one after another.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use zstd::stream::{read, write};

use super::part::Part;
use super::{ChapterError, new_name, remove_if_there};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::ids::ChapterNumber;
use crate::merkle::{Hash, Tree};
use crate::seal::PartSummary;

/// Bytes of one frame at most: a payload with its salt, or the record of an entry with as many events as there can be.
pub const MAX_FRAME: usize = 1 << 17;
/// Level 1: five hundred megabytes a second, and attack events shrink to a third; higher levels gain little.
const LEVEL: i32 = 1;
/// Bytes read or written at once.
const BUFFER: usize = 1 << 16;
/// The largest window of a file that a host unpacks, as a power of two: level 1 writes smaller ones.
const WINDOW: u32 = 23;

/// A compressed file as a checksum knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FileSum {
    pub(super) length: u64,
    pub(super) sha256: Hash,
}

/// Writes bytes one after another, and counts and hashes them.
struct Sink<F> {
    file: F,
    offset: u64,
    hash: Sha256,
}

impl<F: DiskFile> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.offset, bytes).map_err(io::Error::other)?;
        self.offset += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A chapter's file that is being written, under another name.
pub(super) struct FrameWriter<F: DiskFile> {
    encoder: write::Encoder<'static, BufWriter<Sink<F>>>,
    raw: u64,
    tree: Tree,
}

impl<F: DiskFile> FrameWriter<F> {
    pub(super) fn create<D: Disk<File = F>>(
        disk: &D,
        directory: &Path,
        part: Part,
    ) -> Result<Self, DiskError> {
        let path = new_name(directory, part.file_name());
        remove_if_there(disk, &path)?;
        let sink = Sink { file: disk.create(&path)?, offset: 0, hash: Sha256::new() };
        let started = write::Encoder::new(BufWriter::with_capacity(BUFFER, sink), LEVEL);
        let mut encoder = started.map_err(|error| disk_error(error, &path))?;
        encoder.include_checksum(true).map_err(|error| disk_error(error, &path))?;
        Ok(Self { encoder, raw: 0, tree: Tree::default() })
    }

    pub(super) fn push(&mut self, frame: &[u8], leaf: Hash) -> io::Result<()> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.encoder.write_all(&length)?;
        self.encoder.write_all(frame)?;
        self.raw += (length.len() + frame.len()) as u64;
        self.tree.push(leaf);
        Ok(())
    }

    /// Makes it durable, still under its other name.
    pub(super) fn finish(self) -> io::Result<(PartSummary, FileSum)> {
        let sink = self.encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        sync(&sink.file)?;
        let part = PartSummary { raw: self.raw, leaves: self.tree.leaves(), root: self.tree.root() };
        Ok((part, FileSum { length: sink.offset, sha256: sink.hash.finalize().into() }))
    }
}

fn sync<F: DiskFile>(file: &F) -> io::Result<()> {
    #[cfg(bug = "chapter_not_synced")]
    if crate::planted::is_on("chapter_not_synced") {
        return Ok(());
    }
    file.sync_data().map_err(io::Error::other)
}

/// The disk's own error inside one of the standard library's.
pub(super) fn disk_error(error: io::Error, path: &Path) -> DiskError {
    match error.downcast::<DiskError>() {
        Ok(error) => error,
        Err(error) => DiskError::new(crate::disk::Operation::Write, path, error),
    }
}

/// Reads bytes one after another.
struct Source<F> {
    file: F,
    offset: u64,
    length: u64,
}

impl<F: DiskFile> Read for Source<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let Some(wanted) = buffer.get_mut(..count) else { return Ok(0) };
        self.file.read_at(self.offset, wanted).map_err(io::Error::other)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Length and hash of a file as it is.
pub(super) fn sum<F: DiskFile>(file: &F) -> Result<FileSum, DiskError> {
    let length = file.length()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut offset = 0;
    while offset < length {
        let count = usize::try_from(length - offset).unwrap_or(usize::MAX).min(BUFFER);
        let Some(piece) = buffer.get_mut(..count) else { break };
        file.read_at(offset, piece)?;
        hash.update(piece);
        offset += count as u64;
    }
    Ok(FileSum { length, sha256: hash.finalize().into() })
}

/// Reads the frames of a chapter's file.
pub(super) struct FrameReader<F: DiskFile> {
    decoder: read::Decoder<'static, BufReader<Source<F>>>,
    chapter: ChapterNumber,
    part: Part,
    raw: u64,
    /// What the seal says.
    expected: PartSummary,
    frames: u64,
}

impl<F: DiskFile> FrameReader<F> {
    pub(super) fn new(
        file: F,
        chapter: ChapterNumber,
        (part, expected): (Part, PartSummary),
    ) -> Result<Self, ChapterError> {
        let length = file.length()?;
        let source = Source { file, offset: 0, length };
        let started = read::Decoder::with_buffer(BufReader::with_capacity(BUFFER, source));
        let mut decoder = started.map_err(|error| damage(error, chapter, part))?;
        decoder.window_log_max(WINDOW).map_err(|error| damage(error, chapter, part))?;
        Ok(Self { decoder, chapter, part, raw: 0, expected, frames: 0 })
    }

    /// The next frame; `None` behind the last one, where the file must end too.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, ChapterError> {
        if self.frames == self.expected.leaves {
            return self.check_end().map(|()| None);
        }
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        self.raw = self.raw.saturating_add(4).saturating_add(length as u64);
        if MAX_FRAME < length || self.expected.raw < self.raw {
            return Err(self.damaged("a frame is longer than the seal says"));
        }
        let mut frame = vec![0; length];
        self.fill(&mut frame)?;
        self.frames += 1;
        Ok(Some(frame))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ChapterError> {
        self.decoder.read_exact(bytes).map_err(|error| damage(error, self.chapter, self.part))
    }

    fn check_end(&mut self) -> Result<(), ChapterError> {
        let more = self.decoder.read(&mut [0]).map_err(|error| damage(error, self.chapter, self.part))?;
        if more == 0 && self.raw == self.expected.raw {
            return Ok(());
        }
        Err(self.damaged("it is longer or shorter than the seal says"))
    }

    pub(super) fn damaged(&self, what: &str) -> ChapterError {
        ChapterError::Damaged { chapter: self.chapter, file: self.part.file_name(), what: what.to_owned() }
    }
}

fn damage(error: io::Error, chapter: ChapterNumber, part: Part) -> ChapterError {
    match error.downcast::<DiskError>() {
        Ok(error) => error.into(),
        Err(error) => {
            let what = format!("it does not unpack: {error}");
            ChapterError::Damaged { chapter, file: part.file_name(), what }
        }
    }
}
