//! What people were told.

use log_format::ids::{CommandId, LogIndex};
use palisade::node::Outcome;

use super::ledger::Ledger;
use super::{Checker, Violation, ensure};
use crate::workload::Wish;

/// Wishes that were answered as committed.
#[derive(Default)]
pub(super) struct Answers {
    committed: Vec<(CommandId, LogIndex)>,
}

impl Answers {
    pub(super) fn note(&mut self, wish: &Wish, outcome: &Outcome) {
        match outcome {
            Outcome::Committed { index } => self.committed.push((wish.id, *index)),
            // A rejection promises nothing of the log; after the others people ask again.
            Outcome::Rejected(_) | Outcome::Unknown | Outcome::Busy => {}
        }
    }

    /// Each is in the log where it was said to be; that every host has this log is the ledger's to check.
    pub(super) fn look(&self, ledger: &Ledger) -> Result<(), Violation> {
        for (id, told) in &self.committed {
            let found = ledger.command(*id);
            ensure(found == Some(*told), Checker::Answers, || {
                format!("command {id} was answered as committed at {told}; the log has it at {found:?}")
            })?;
        }
        Ok(())
    }
}
