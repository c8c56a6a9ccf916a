//! Folds entries of the log into the projections, outside of the driver.
//!
//! ```text
//!  at a start:         log, chapters ──thread: read, decode──> blocks ─┬─> thread: read models
//!                                                                      └─> decision model
//!  beside a busy host: the same, one after the other, on one thread
//! ```

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, anyhow};
use log_format::disk::Disk;
use log_format::envelope::Envelope;
use log_format::event::{ChapterEvent, Event};
use log_format::history::History;
use log_format::ids::LogIndex;
use log_format::wal::EntryKind;
use projections::frame::{Folded, Projection, erases};

use crate::node::HaltReason;

/// Bytes of entries that are handed on together: some hundred events, so that handing them on costs nothing beside them.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that wait for each projection: enough that neither waits for the other, and a few megabytes.
const BLOCKS: usize = 16;

/// Entries in log order, decoded, those without events left out.
type Block = Vec<(LogIndex, Envelope)>;

/// What was seen on the way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether attack data was erased.
    pub(super) erases: bool,
    /// Bytes of the entries behind the last cut of a chapter, or of all.
    pub(super) open_bytes: u64,
}

/// Folds everything up to this entry, on as many cores as that keeps busy: while a host starts, nobody else needs them.
pub(super) fn at_start<D: Disk>(
    history: &History<D>,
    folded: &mut Folded,
    upto: LogIndex,
) -> anyhow::Result<Seen> {
    let from = folded.applied();
    if upto <= from {
        return Ok(Seen::default());
    }
    let Folded { model, views } = folded;
    let (to_model, for_model) = sync_channel::<Arc<Block>>(BLOCKS);
    let (to_views, for_views) = sync_channel::<Arc<Block>>(BLOCKS);
    thread::scope(|scope| {
        let reading = move || read(history, (from, upto), |block| hand_on(block, [&to_model, &to_views]));
        let reading = thread::Builder::new().name("fold-read".to_owned()).spawn_scoped(scope, reading)?;
        let viewing = move || for_views.iter().for_each(|block| fold_block(views, &block));
        let viewing = thread::Builder::new().name("fold-views".to_owned()).spawn_scoped(scope, viewing)?;
        for_model.iter().for_each(|block| fold_block(model, &block));
        viewing.join().map_err(|_| anyhow!("the thread that folds the read models panicked"))?;
        reading.join().map_err(|_| anyhow!("the thread that reads the log panicked"))?
    })
}

/// Folds everything up to this entry on the caller's thread, and tells how far it is.
pub(super) fn beside<D: Disk>(
    history: &History<D>,
    folded: &mut Folded,
    upto: LogIndex,
    tell: impl Fn(LogIndex),
) -> anyhow::Result<Seen> {
    read(history, (folded.applied(), upto), |block| {
        fold_block(&mut folded.model, &block);
        fold_block(&mut folded.views, &block);
        tell(folded.applied());
    })
}

fn hand_on(block: Block, projections: [&SyncSender<Arc<Block>>; 2]) {
    let block = Arc::new(block);
    for projection in projections {
        let _ = projection.send(Arc::clone(&block)); // Whoever does not take it has panicked, which is told at its end.
    }
}

/// States that were put aside may stand at different entries: each folds what it has not.
fn fold_block<P: Projection>(projection: &mut P, block: &Block) {
    for (index, envelope) in block {
        if projection.applied() < *index {
            projection.apply(*index, envelope);
        }
    }
}

/// Reads and decodes the entries behind `from`, up to `upto`.
fn read<D: Disk>(
    history: &History<D>,
    (from, upto): (LogIndex, LogIndex),
    mut give: impl FnMut(Block),
) -> anyhow::Result<Seen> {
    let (mut seen, mut block, mut bytes) = (Seen::default(), Block::new(), 0);
    for entry in history.iter(from.next(), upto.next()) {
        let entry = entry.context("read committed entries")?;
        let index = entry.index;
        if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
            let decoded = Envelope::decode(&entry.data);
            let envelope = decoded.map_err(|source| HaltReason::Undecodable { index, source })?;
            seen.note(&envelope);
            block.push((index, envelope));
        }
        seen.open_bytes = seen.open_bytes.saturating_add(entry.data.len() as u64);
        bytes += entry.data.len();
        if BLOCK_BYTES <= bytes {
            give(std::mem::take(&mut block));
            bytes = 0;
        }
    }
    give(block);
    Ok(seen)
}

impl Seen {
    fn note(&mut self, envelope: &Envelope) {
        self.erases |= erases(envelope);
        let is_cut = |event: &Event| matches!(event, Event::Chapter(ChapterEvent::Cut(_)));
        if envelope.events.iter().any(|recorded| is_cut(&recorded.event)) {
            self.open_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests;
