//! Where entries lie: what a reader needs to find an entry by its index. Shared between the writer and the readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::BatchHeader;
use super::record::{Contents, EntryView};
use super::types::{Batch, LogPosition};
use crate::ids::{LogIndex, Term, WalSequence};

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

/// Finds entries and terms.
#[derive(Debug)]
pub(crate) struct Index<F> {
    base: LogPosition,
    last: LogIndex,
    /// In order of index, without gaps.
    spans: Vec<Span>,
    /// The first index of each run of entries of one term.
    terms: BTreeMap<LogIndex, Term>,
    files: BTreeMap<WalSequence, Arc<F>>,
}

impl<F> Index<F> {
    pub(crate) fn new(base: LogPosition) -> Self {
        Self { base, last: base.index, spans: Vec::new(), terms: BTreeMap::new(), files: BTreeMap::new() }
    }

    pub(crate) fn add_file(&mut self, sequence: WalSequence, file: Arc<F>) {
        self.files.insert(sequence, file);
    }

    /// Forgets all entries; the log goes on after this position.
    pub(crate) fn restart(&mut self, base: LogPosition) {
        self.base = base;
        self.last = base.index;
        self.spans.clear();
        self.terms.clear();
    }

    /// Whether entries from this index on can follow.
    pub(crate) fn takes(&self, first: LogIndex) -> bool {
        self.base.index < first && first <= self.last.next()
    }

    /// Adds a batch's entries, which may replace others from their first index on.
    pub(crate) fn add(&mut self, span: Span, terms: &[(LogIndex, Term)]) {
        self.cut(span.first);
        self.last = span.last;
        self.spans.push(span);
        for (first, term) in terms {
            if self.terms.values().next_back() != Some(term) {
                self.terms.insert(*first, *term);
            }
        }
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
        let file = self.files.get(&span.file)?;
        (index <= span.last).then(|| (*span, Arc::clone(file)))
    }
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
