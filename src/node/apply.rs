//! From an entry to what every host knows: committed entries are decoded, folded, and turned into changes of the plan.
//!
//! The only place that evolves the committed models. The match on events is in the projections; here they only pass.

use std::sync::PoisonError;

use log_format::envelope::Envelope;
use log_format::event::{AttackEvent, Event};
use log_format::ids::{LogIndex, Term};
use log_format::wal::{EntryKind, LogEntry};
use projections::plan::firewall::{self, FirewallChange};

use super::submit::Speculation;
use super::{HaltReason, Node, Outcome, Output};

/// Bytes of entries read and folded at once: bounds memory while a long log is folded at start, and a turn while a host folds
/// what a snapshot brought.
pub(super) const READ_BYTES: usize = 4 << 20;

impl Node {
    /// Folds everything committed up to there.
    pub(super) fn apply_upto(&mut self, upto: LogIndex, outputs: &mut Vec<Output>) {
        self.apply(upto, usize::MAX, outputs);
    }

    /// Consensus committed up to there: it is folded at once, or after what a snapshot brought.
    pub(super) fn committed(&mut self, upto: LogIndex, outputs: &mut Vec<Output>) {
        match self.behind {
            Some(behind) => self.behind = Some(behind.max(upto)),
            None => self.apply_upto(upto, outputs),
        }
    }

    /// A turn is over: folds one piece of what a snapshot brought, so that other turns come between.
    pub(super) fn fold_piece(&mut self, outputs: &mut Vec<Output>) {
        if let Some(upto) = self.behind {
            self.apply(upto, 1, outputs);
        }
    }

    /// Whether more of what a snapshot brought is to be folded: the next turn need not wait for anything to happen.
    pub fn is_folding(&self) -> bool {
        self.behind.is_some() && !self.is_halted
    }

    /// Folds all of what a snapshot brought, for whoever must know it now.
    pub(super) fn fold_all(&mut self, outputs: &mut Vec<Output>) {
        if let Some(upto) = self.behind {
            self.apply_upto(upto, outputs);
        }
    }

    fn apply(&mut self, upto: LogIndex, pieces: usize, outputs: &mut Vec<Output>) {
        let from = self.applied;
        let mut changes = FirewallChange::default();
        for _ in 0..pieces {
            if upto <= self.applied || self.is_halted {
                break;
            }
            if let Err(reason) = self.apply_some(upto, &mut changes, outputs) {
                return self.halt(reason, outputs);
            }
        }
        self.behind.take_if(|behind| *behind <= self.applied);
        if !changes.is_empty() {
            // One order for all: the firewall's thread is woken once, whatever the number of entries.
            outputs.push(Output::Firewall { changes, upto: self.applied });
        }
        if from < self.applied {
            outputs.push(Output::Applied { index: self.applied });
            self.tell_members(outputs);
            self.settle(outputs);
            self.finish_reads(outputs);
        }
    }

    fn apply_some(
        &mut self,
        upto: LogIndex,
        changes: &mut FirewallChange,
        outputs: &mut Vec<Output>,
    ) -> Result<(), HaltReason> {
        let from = self.applied.next();
        let entries = self
            .core
            .entries(from, upto.next(), READ_BYTES)
            .map_err(|source| HaltReason::Unreadable { from, source })?;
        for entry in entries {
            // Consensus's own entries (a new leader's first, membership) carry no events.
            if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
                let envelope = self.envelope_of(&entry)?;
                changes.merge(self.apply_envelope(entry.index, &envelope));
            }
            self.keeper.note_entry(entry.data.len());
            self.applied = entry.index;
            self.answer_waiting(entry.index, entry.term, outputs);
        }
        Ok(())
    }

    /// What an entry says. A leader still has what it wrote itself.
    fn envelope_of(&mut self, entry: &LogEntry) -> Result<Envelope, HaltReason> {
        let index = entry.index;
        let decode =
            || Envelope::decode(&entry.data).map_err(|source| HaltReason::Undecodable { index, source });
        let leads_since = self.speculation.as_ref().map(Speculation::term);
        match self.in_flight.remove(&index) {
            Some(written) if leads_since == Some(entry.term) => {
                debug_assert_eq!(Ok(&written), decode().as_ref().map_err(ToString::to_string));
                Ok(written)
            }
            Some(_) | None => decode(),
        }
    }

    fn apply_envelope(&mut self, index: LogIndex, envelope: &Envelope) -> FirewallChange {
        let span =
            tracing::debug_span!("apply", host = %self.identity.host, %index, command_id = %envelope.command);
        let _entered = span.enter();
        // States that were put aside may stand at different entries: each folds what it has not.
        let (model_from, views_from) = self.taken_up;
        if model_from < index {
            self.model.evolve(index, envelope);
        }
        if views_from < index {
            self.views.write().unwrap_or_else(PoisonError::into_inner).evolve(index, envelope);
        }
        for recorded in &envelope.events {
            self.keeper.note_event(&recorded.event, (index, self.identity.host));
            log_fact(&recorded.event);
        }
        firewall::changes_of(envelope, &self.model)
    }

    /// The entry at this position is committed. Whoever waits for it under another term waits for something else.
    fn answer_waiting(&mut self, index: LogIndex, term: Term, outputs: &mut Vec<Output>) {
        for (expected, requester) in self.waiting.remove(&index).unwrap_or_default() {
            let outcome = if expected == term { Outcome::Committed { index } } else { Outcome::Unknown };
            self.answer(requester, outcome, outputs);
        }
    }

    /// Answers whose command is now folded here, once for all that a turn brought; lifts provisional blocks that the log did not ratify.
    pub(super) fn settle(&mut self, outputs: &mut Vec<Output>) {
        self.is_settling_due = false;
        for source in self.outbox.settle(self.applied, outputs) {
            #[cfg(bug = "provisional_not_lifted")]
            if log_format::planted::is_on("provisional_not_lifted") {
                continue;
            }
            if !self.model.drops(source) {
                outputs.push(Output::LiftProvisional { source });
            }
        }
    }
}

/// One line for the host's own log; the addresses of attackers are the attack record itself.
fn log_fact(event: &Event) {
    if let Event::Attack(AttackEvent::Observed(attack)) = event {
        tracing::info!(
            source = %attack.source,
            victim = %attack.victim,
            attack = attack.attack.name(),
            rule = attack.rule.name(),
            evidence = attack.evidence.name(),
            user_agent = attack.user_agent.visible(),
            count = attack.count,
            "attack observed"
        );
    }
    if let Event::Denylist(change) = event {
        // Addresses may be customers', and the log has them; the host's own log is not kept as carefully.
        tracing::debug!(change = ?change, "address list changed");
    }
}
