//! Projections that were folded anew beside the served ones take their place (blue/green). Whoever folded them hands them
//! over when they are nearly there; the node folds the last few entries and gives the old ones back, so that what takes
//! long, folding and hashing, is done elsewhere.

use std::sync::PoisonError;

use log_format::envelope::Envelope;
use log_format::ids::LogIndex;
use log_format::wal::EntryKind;
use projections::frame::{Folded, Standing};

use super::apply::READ_BYTES;
use super::{HaltReason, Node, Output, Ticket};

/// Entries that the node folds at most before it takes projections over: a millisecond of ordinary ones, half a second
/// of the largest. Whoever is further behind folds on.
const WITHIN: u64 = 512;

/// What became of projections that were handed over.
#[derive(Debug)]
pub enum Handover {
    /// They are served from this entry on; here are those that were served before, at the same entry.
    Taken {
        /// The entry.
        index: LogIndex,
        /// What was served before.
        old: Box<Folded>,
    },
    /// They are too far behind: fold them up to this entry at least.
    TooFarBehind {
        /// The entry.
        applied: LogIndex,
        /// What was handed over.
        green: Box<Folded>,
    },
}

impl Node {
    /// Where each projection stands. It takes as long as hashing the states.
    pub(super) fn standings(&self, ticket: Ticket, outputs: &mut Vec<Output>) {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let standings = [Standing::of(&self.model), Standing::of(&*views)];
        outputs.push(Output::Standings { ticket, standings });
    }

    /// Serves these projections from now on, if they are nearly there.
    pub(super) fn take_over(&mut self, mut green: Box<Folded>, outputs: &mut Vec<Output>) {
        let applied = self.applied;
        let behind = applied.get().checked_sub(green.applied().get());
        if behind.is_none_or(|entries| WITHIN < entries) {
            return outputs.push(Output::Handover(Handover::TooFarBehind { applied, green }));
        }
        if let Err(reason) = self.fold_rest(&mut green) {
            return self.halt(reason, outputs);
        }
        std::mem::swap(&mut self.model, &mut green.model);
        std::mem::swap(&mut *self.views.write().unwrap_or_else(PoisonError::into_inner), &mut green.views);
        self.taken_up = (applied, applied);
        // A leader decides against what it serves from now on.
        self.is_speculation_stale |= self.speculation.is_some();
        outputs.push(Output::Handover(Handover::Taken { index: applied, old: green }));
    }

    fn fold_rest(&mut self, green: &mut Folded) -> Result<(), HaltReason> {
        let mut from = green.applied().next();
        while from <= self.applied {
            let entries = self
                .core
                .entries(from, self.applied.next(), READ_BYTES)
                .map_err(|source| HaltReason::Unreadable { from, source })?;
            for entry in entries {
                let index = entry.index;
                if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
                    let envelope = Envelope::decode(&entry.data)
                        .map_err(|source| HaltReason::Undecodable { index, source })?;
                    green.fold(index, &envelope);
                }
                from = index.next();
            }
        }
        Ok(())
    }
}
