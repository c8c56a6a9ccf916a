//! Linearizable reads: the leader confirms with a quorum how far the log was committed when the reader asked, and the
//! reader waits until this host has folded that far.
//!
//! ```text
//!            next turn's end            quorum            folded
//!  asked ───────────────────> confirming ──────> folding ───────> ReadReady
//!    ^                            │ dropped         │
//!    └──────── next tick ─────────┘                 │
//!    └─────────────────────────────┴── deadline ────┴───────────> ReadRefused
//! ```
//!
//! Raft drops reads without a word while it knows no leader, or leads without an entry of its own term; so a dropped
//! read is asked again, until its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::core::{Input as CoreInput, Ticket};
use log_format::ids::LogIndex;

use super::{Node, Now, Output};

/// How long a reader waits: longer than an election, shorter than patience.
const DEADLINE: Duration = Duration::from_secs(2);
/// Readers at once; more are refused. Far more than connections that a host takes.
const MAX_READS: usize = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To be asked.
    Asked,
    /// Consensus was asked.
    Confirming,
    /// Consensus has answered: everything up to there must be folded.
    Folding(LogIndex),
}

#[derive(Debug, Clone, Copy)]
struct Read {
    stage: Stage,
    deadline: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: BTreeMap<Ticket, Read>,
}

impl Reads {
    /// Takes a reader in, unless too many wait.
    fn ask(&mut self, ticket: Ticket, now: Now) -> bool {
        let has_room = self.waiting.len() < MAX_READS;
        if has_room {
            self.waiting.insert(ticket, Read { stage: Stage::Asked, deadline: now.monotonic + DEADLINE });
        }
        has_room
    }

    /// The readers that consensus is to be asked for, now.
    fn take_asked(&mut self) -> Vec<Ticket> {
        let asked = self.waiting.iter_mut().filter(|(_, read)| read.stage == Stage::Asked);
        asked
            .map(|(ticket, read)| {
                read.stage = Stage::Confirming;
                *ticket
            })
            .collect()
    }

    fn note(&mut self, ticket: Ticket, stage: Stage) {
        if let Some(read) = self.waiting.get_mut(&ticket) {
            read.stage = stage;
        }
    }

    /// The readers whose index is folded.
    fn take_folded(&mut self, applied: LogIndex) -> Vec<Ticket> {
        let is_folded = |read: &Read| matches!(read.stage, Stage::Folding(index) if index <= applied);
        self.waiting.extract_if(.., |_, read| is_folded(read)).map(|(ticket, _)| ticket).collect()
    }

    /// The readers whose time is over.
    fn take_late(&mut self, now: Now) -> Vec<Ticket> {
        let is_late = |read: &Read| read.deadline <= now.monotonic;
        self.waiting.extract_if(.., |_, read| is_late(read)).map(|(ticket, _)| ticket).collect()
    }
}

impl Node {
    /// A reader wants everything that was acknowledged, anywhere in the cluster, before now.
    pub(super) fn ask_to_read(&mut self, ticket: Ticket, now: Now, outputs: &mut Vec<Output>) {
        #[cfg(bug = "read_index_ignored")]
        if log_format::planted::is_on("read_index_ignored") {
            return outputs.push(Output::ReadReady { ticket, index: self.applied });
        }
        if !self.reads.ask(ticket, now) {
            outputs.push(Output::ReadRefused { ticket });
        }
    }

    /// Asks consensus once for all readers of this turn.
    pub(super) fn confirm_reads(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let asked = self.reads.take_asked();
        if asked.is_empty() {
            return;
        }
        let mut effects = Vec::new();
        self.core.handle_all(asked.into_iter().map(|ticket| CoreInput::Read { ticket }), &mut effects);
        self.carry_out(effects, now, outputs);
    }

    /// Consensus says how far a reader must have folded.
    pub(super) fn read_confirmed(&mut self, ticket: Ticket, index: LogIndex, outputs: &mut Vec<Output>) {
        self.reads.note(ticket, Stage::Folding(index));
        self.finish_reads(outputs);
    }

    /// Consensus lost a read: it is asked again at the next tick, so that a host without a leader does not spin.
    pub(super) fn read_dropped(&mut self, ticket: Ticket) {
        self.dropped_reads.push(ticket);
    }

    /// Answers the readers whose index is folded.
    pub(super) fn finish_reads(&mut self, outputs: &mut Vec<Output>) {
        let (folded, index) = (self.reads.take_folded(self.applied), self.applied);
        outputs.extend(folded.into_iter().map(|ticket| Output::ReadReady { ticket, index }));
    }

    /// Tries again what was lost, and gives up on what is late.
    pub(super) fn tick_reads(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let late = self.reads.take_late(now);
        outputs.extend(late.into_iter().map(|ticket| Output::ReadRefused { ticket }));
        for ticket in std::mem::take(&mut self.dropped_reads) {
            self.reads.note(ticket, Stage::Asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use log_format::time::Timestamp;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall: Timestamp::ZERO, monotonic: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_reader_is_answered_once_its_index_is_folded() {
        let (mut reads, ticket) = (Reads::default(), Ticket::new(1));
        assert!(reads.ask(ticket, at(0)));
        assert_eq!(reads.take_asked(), [ticket]);
        assert_eq!(reads.take_asked(), [], "it is asked once");
        reads.note(ticket, Stage::Folding(LogIndex::new(5)));
        assert_eq!(reads.take_folded(LogIndex::new(4)), []);
        assert_eq!(reads.take_folded(LogIndex::new(5)), [ticket]);
        assert_eq!(reads.take_late(at(9)), [], "and answered once");
    }

    #[test]
    fn a_reader_is_refused_at_its_deadline_and_not_before() {
        let (mut reads, ticket) = (Reads::default(), Ticket::new(1));
        assert!(reads.ask(ticket, at(0)));
        assert_eq!(reads.take_late(at(1)), []);
        assert_eq!(reads.take_late(at(2)), [ticket]);
        reads.note(ticket, Stage::Folding(LogIndex::new(0)));
        assert_eq!(reads.take_folded(LogIndex::new(9)), [], "what comes too late is nobody's");
    }

    #[test]
    fn too_many_readers_are_refused_at_once() {
        let mut reads = Reads::default();
        let taken = (0..=MAX_READS as u64).filter(|number| reads.ask(Ticket::new(*number), at(0))).count();
        assert_eq!(taken, MAX_READS);
    }
}
