//! Gives back what was spooled, in order, with a word for each gap.

use std::collections::VecDeque;
use std::sync::Arc;

use super::record::Numbered;
use super::segment::{Mark, SegmentScan, Step, before};
use super::{SpoolDropped, SpoolItem, UNKNOWN_LOSS};
use crate::disk::{DiskError, DiskFile};
use crate::ids::OriginSequence;
use crate::wal::file_header::FileHeader;

/// Records and gaps from a sequence on; see [`Spool::pending`](super::Spool::pending). After an error there are no more.
pub struct Pending<F> {
    from: OriginSequence,
    /// The last record when this began.
    until: Mark,
    /// The last record that was given, or that the files say came before.
    seen: Option<Mark>,
    files: VecDeque<(Arc<F>, FileHeader)>,
    scan: Option<SegmentScan<F>>,
    items: VecDeque<SpoolItem>,
    is_over: bool,
}

impl<F: DiskFile> Pending<F> {
    pub(super) fn new(from: OriginSequence, until: Mark, files: VecDeque<(Arc<F>, FileHeader)>) -> Self {
        Self { from, until, seen: None, files, scan: None, items: VecDeque::new(), is_over: false }
    }

    /// Reads on until there is something to give, or nothing is left.
    fn read(&mut self) -> Result<(), DiskError> {
        while self.items.is_empty() && !self.is_over {
            let Some(scan) = &mut self.scan else {
                self.next_file()?;
                continue;
            };
            match scan.step()? {
                Step::Records(records) => records.into_iter().for_each(|numbered| self.take(numbered)),
                Step::Damage { .. } => {}
                Step::End(_) => self.scan = None,
            }
        }
        Ok(())
    }

    fn next_file(&mut self) -> Result<(), DiskError> {
        let Some((file, header)) = self.files.pop_front() else {
            self.is_over = true;
            self.miss(Mark {
                sequence: self.until.sequence.next(),
                ordinal: self.until.ordinal.saturating_add(1),
            });
            return Ok(());
        };
        if self.seen.is_none() {
            // Whatever came before the oldest file is either done with, or gone and counted by nobody.
            let before = before(&header);
            if self.from <= before.sequence {
                let dropped = SpoolDropped { from: self.from, to: before.sequence, count: None };
                self.items.push_back(SpoolItem::Dropped(dropped));
            }
            self.seen = Some(before);
        }
        self.scan = Some(SegmentScan::new(file, &header)?);
        Ok(())
    }

    fn take(&mut self, numbered: Numbered) {
        let Numbered { record, ordinal } = numbered;
        let mark = Mark { sequence: record.sequence, ordinal };
        if self.until.ordinal < ordinal {
            return; // Spooled since this began.
        }
        self.miss(mark);
        self.seen = Some(mark);
        if self.from <= record.sequence {
            self.items.push_back(SpoolItem::Record(record));
        }
    }

    /// Notes what is missing between the last record and this one.
    fn miss(&mut self, next: Mark) {
        let Some(seen) = self.seen else {
            return;
        };
        let count = next.ordinal.saturating_sub(seen.ordinal).saturating_sub(1);
        let from = self.from.max(seen.sequence.next());
        if count == 0 || next.sequence <= from {
            return;
        }
        let to = OriginSequence::new(next.sequence.get().saturating_sub(1));
        // Some of them may be done with, and nobody knows which. Some that could not be read may be there again.
        let is_known = self.from <= seen.sequence.next() && count < UNKNOWN_LOSS / 2;
        let dropped = SpoolDropped { from, to, count: is_known.then_some(count) };
        self.items.push_back(SpoolItem::Dropped(dropped));
    }
}

impl<F: DiskFile> Iterator for Pending<F> {
    type Item = Result<SpoolItem, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.read() {
            self.is_over = true;
            return Some(Err(error));
        }
        self.items.pop_front().map(Ok)
    }
}
