//! Where entries lie: what a reader needs to find an entry by its index. Shared between the writer and the readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::BatchHeader;
use super::file_header::FileHeader;
use super::record::{Contents, EntryView};
use super::types::{Batch, LogPosition};
use crate::ids::{BatchNumber, LogIndex, Term, WalSequence};

/// The entries of one batch that still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: LogIndex,
    /// Less than the batch's own last entry if a later batch replaced its end.
    pub(crate) last: LogIndex,
    pub(crate) file: WalSequence,
    pub(crate) offset: u64,
    pub(crate) header: BatchHeader,
}

/// What must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetireLimits {
    /// Entries from here on.
    pub(crate) below: LogIndex,
    /// What is not committed may be replaced, and nothing may be replaced that the log begins after.
    pub(crate) commit: LogIndex,
    /// The batch that is written next.
    pub(crate) next: BatchNumber,
}

/// Finds entries and terms.
#[derive(Debug)]
pub(crate) struct Index<F> {
    base: LogPosition,
    last: LogIndex,
    /// In order of index, without gaps.
    spans: Vec<Span>,
    /// The first index of each run of entries of one term.
    terms: BTreeMap<LogIndex, Term>,
    files: BTreeMap<WalSequence, Held<F>>,
    /// The file that the log begins in: those before it are left from before a snapshot.
    start: WalSequence,
}

/// A file and what its header says of the log when it was begun.
#[derive(Debug)]
struct Held<F> {
    file: Arc<F>,
    base: LogPosition,
    first_batch: BatchNumber,
}

impl<F> Index<F> {
    pub(crate) fn new(base: LogPosition) -> Self {
        Self {
            base,
            last: base.index,
            spans: Vec::new(),
            terms: BTreeMap::new(),
            files: BTreeMap::new(),
            start: WalSequence::default(),
        }
    }

    pub(crate) fn add_file(&mut self, header: &FileHeader, file: Arc<F>) {
        let held = Held { file, base: header.base, first_batch: header.first_batch };
        self.files.insert(header.sequence, held);
    }

    /// Forgets all entries; the log goes on after this position, in this file.
    pub(crate) fn restart(&mut self, base: LogPosition, start: WalSequence) {
        self.base = base;
        self.last = base.index;
        self.start = start;
        self.spans.clear();
        self.terms.clear();
    }

    /// The oldest file, if the log can do without it: its entries are below an index or replaced by a snapshot, it is not
    /// the last one, and some file behind it has a batch, so that the hard state is not lost. It need not be the next one: that may have
    /// been begun before a crash and never been written to.
    pub(crate) fn retirable(&self, limits: &RetireLimits) -> Option<WalSequence> {
        let mut files = self.files.iter();
        let (oldest, _) = files.next()?;
        let (second, held) = files.next()?;
        let is_below = held.base.index < limits.below && held.base.index <= limits.commit;
        let is_replaced = *second <= self.start;
        ((is_below || is_replaced) && held.first_batch < limits.next).then_some(*oldest)
    }

    /// The oldest file's handle.
    pub(crate) fn oldest(&self) -> Option<Arc<F>> {
        self.files.values().next().map(|held| Arc::clone(&held.file))
    }

    /// Forgets the oldest file; the log then begins after the base of the next one.
    pub(crate) fn retire(&mut self) {
        let Some((oldest, _)) = self.files.pop_first() else {
            return;
        };
        let Some((next, base)) = self.files.iter().next().map(|(next, held)| (*next, held.base)) else {
            return;
        };
        let kept = self.spans.partition_point(|span| span.file <= oldest);
        self.spans.drain(..kept);
        // What files of a replaced log say is no position of this one.
        if next <= self.start || base.index <= self.base.index {
            return;
        }
        // A later batch may have replaced the entry that was last when the file was begun.
        let base = LogPosition { term: self.term(base.index).unwrap_or(base.term), index: base.index };
        let first = base.index.next();
        let term = self.term(first);
        self.terms = self.terms.split_off(&first);
        self.terms.extend(term.map(|term| (first, term)));
        self.base = base;
    }

    /// Whether entries from this index on could follow when they were written: what they replace may be retired since.
    pub(crate) fn took(&self, first: LogIndex) -> bool {
        first <= self.last.next()
    }

    /// Whether entries from this index on can follow.
    pub(crate) fn takes(&self, first: LogIndex) -> bool {
        self.base.index < first && first <= self.last.next()
    }

    /// Adds a batch's entries, which may replace others from their first index on.
    pub(crate) fn add(&mut self, mut span: Span, terms: &[(LogIndex, Term)]) {
        self.cut(span.first);
        self.last = span.last;
        if span.first <= self.base.index {
            self.rebase(span.last, terms);
            span.first = self.base.index.next();
        }
        if span.last < span.first {
            return;
        }
        self.spans.push(span);
        for (first, term) in from(span.first, terms) {
            if self.terms.values().next_back() != Some(&term) {
                self.terms.insert(first, term);
            }
        }
    }

    /// A batch replaces entries that the log no longer has, up to its base and perhaps beyond. The log then begins after the
    /// last replaced entry that the batch has.
    fn rebase(&mut self, last: LogIndex, terms: &[(LogIndex, Term)]) {
        let index = self.base.index.min(last);
        let term = from(index, terms).next().map_or(self.base.term, |(_, term)| term);
        self.base = LogPosition { term, index };
    }

    fn cut(&mut self, from: LogIndex) {
        while self.spans.last().is_some_and(|span| from <= span.first) {
            self.spans.pop();
        }
        if let Some(span) = self.spans.last_mut().filter(|span| from <= span.last) {
            span.last = LogIndex::new(from.get().saturating_sub(1));
        }
        self.terms.split_off(&from);
    }

    pub(crate) fn base(&self) -> LogPosition {
        self.base
    }

    pub(crate) fn last(&self) -> LogPosition {
        let term = self.terms.values().next_back().copied();
        LogPosition { term: term.unwrap_or(self.base.term), index: self.last }
    }

    /// The term of an entry, or of the base.
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || self.last < index {
            return None;
        }
        self.terms.range(..=index).next_back().map(|(_, term)| *term)
    }

    /// Where an entry lies.
    pub(crate) fn locate(&self, index: LogIndex) -> Option<(Span, Arc<F>)> {
        let after = self.spans.partition_point(|span| span.first <= index);
        let span = self.spans.get(after.checked_sub(1)?)?;
        let held = self.files.get(&span.file)?;
        (index <= span.last).then(|| (*span, Arc::clone(&held.file)))
    }
}

/// The runs of terms from an index on, which lies in the first of them or later.
fn from(index: LogIndex, terms: &[(LogIndex, Term)]) -> impl Iterator<Item = (LogIndex, Term)> + '_ {
    let before = terms.partition_point(|(first, _)| *first <= index).saturating_sub(1);
    terms.iter().skip(before).map(move |(first, term)| ((*first).max(index), *term))
}

/// The first index of each run of one term in a batch about to be written.
pub(crate) fn runs_of_batch(batch: &Batch<'_>) -> Vec<(LogIndex, Term)> {
    runs(batch.entries.iter().map(|entry| (entry.index, entry.term)))
}

/// The first index of each run of one term in a batch that was read.
pub(crate) fn runs_of_contents(contents: &Contents<'_>) -> Vec<(LogIndex, Term)> {
    let position = |entry: &EntryView<'_>| (entry.index, entry.term);
    runs(contents.entries.iter().map(position))
}

fn runs(positions: impl Iterator<Item = (LogIndex, Term)>) -> Vec<(LogIndex, Term)> {
    let mut runs: Vec<(LogIndex, Term)> = positions.collect();
    runs.dedup_by_key(|(_, term)| *term);
    runs
}
