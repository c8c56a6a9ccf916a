//! Reads a file front to back with read-ahead, so that recovery never holds a whole file.

use std::sync::Arc;

use crate::disk::{DiskError, DiskFile};

/// Bytes read at once: large enough for few calls, small enough for a small process.
const READ_AHEAD: u64 = 256 << 10;

/// A moving view of a file.
pub(crate) struct Window<F> {
    file: Arc<F>,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<F: DiskFile> Window<F> {
    pub(crate) fn new(file: Arc<F>) -> Result<Self, DiskError> {
        let length = file.length()?;
        Ok(Self { file, length, start: 0, bytes: Vec::new() })
    }

    /// The file's length.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes at an offset, fewer at the end of the file.
    pub(crate) fn at(&mut self, offset: u64, length: usize) -> Result<&[u8], DiskError> {
        let end = offset.saturating_add(length as u64).min(self.length);
        let held = self.start.saturating_add(self.bytes.len() as u64);
        if offset < self.start || held < end {
            self.load(offset.min(end), end)?;
        }
        let from = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let to = usize::try_from(end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    fn load(&mut self, offset: u64, end: u64) -> Result<(), DiskError> {
        let ahead = end.max(offset.saturating_add(READ_AHEAD)).min(self.length);
        let read = self.read(offset, ahead);
        // A sector that cannot be read costs no more than what needs it.
        if read.is_err() && end < ahead { self.read(offset, end) } else { read }
    }

    /// After an error nothing is held.
    fn read(&mut self, offset: u64, end: u64) -> Result<(), DiskError> {
        let size = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(size, 0);
        let read = self.file.read_at(offset, &mut self.bytes);
        if read.is_err() {
            self.bytes.clear();
        }
        read
    }
}
