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
//!
//! A refusal is a read, too: it tells what the log holds. A host that leads no more and does not know it yet may refuse the
//! repeat of a command that took effect elsewhere, so whoever refuses lets a quorum confirm that it still leads, and waits
//! until what the refusal rests on is committed. Without that nobody knows, and nobody is told more.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::core::{Input as CoreInput, Ticket};
use log_format::ids::LogIndex;

use super::submit::Requester;
use super::{Node, Now, Outcome, Output};

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

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reader {
    /// Whoever asked this host, under its own ticket.
    Caller(Ticket),
    /// This leader, before it refuses a command.
    Refusal {
        /// Who is to be told.
        requester: Requester,
        /// What.
        outcome: Outcome,
        /// The last entry that the leader decided on, which may not be committed yet.
        rests_on: LogIndex,
    },
}

#[derive(Debug)]
struct Read {
    reader: Reader,
    stage: Stage,
    deadline: Duration,
}

/// See the module. The tickets are this host's own, fresh for each read.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: BTreeMap<Ticket, Read>,
}

impl Reads {
    /// Takes a reader in, unless too many wait.
    fn ask(&mut self, ticket: Ticket, reader: Reader, now: Now) -> Result<(), Reader> {
        if MAX_READS <= self.waiting.len() {
            return Err(reader);
        }
        let deadline = now.monotonic + DEADLINE;
        self.waiting.insert(ticket, Read { reader, stage: Stage::Asked, deadline });
        Ok(())
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
    fn take_folded(&mut self, applied: LogIndex) -> Vec<Reader> {
        self.take(|read| matches!(read.stage, Stage::Folding(index) if read.reader.needs(index) <= applied))
    }

    /// The readers whose time is over.
    fn take_late(&mut self, now: Now) -> Vec<Reader> {
        self.take(|read| read.deadline <= now.monotonic)
    }

    /// The refusals, none of which may be told any more.
    fn take_refusals(&mut self) -> Vec<Reader> {
        self.take(|read| matches!(read.reader, Reader::Refusal { .. }))
    }

    fn take(&mut self, is_meant: impl Fn(&Read) -> bool) -> Vec<Reader> {
        self.waiting.extract_if(.., |_, read| is_meant(read)).map(|(_, read)| read.reader).collect()
    }
}

impl Reader {
    /// How far must be folded, once a quorum has confirmed an index.
    fn needs(&self, confirmed: LogIndex) -> LogIndex {
        match self {
            Reader::Caller(_) => confirmed,
            Reader::Refusal { rests_on, .. } => confirmed.max(*rests_on),
        }
    }
}

impl Node {
    /// A reader wants everything that was acknowledged, anywhere in the cluster, before now.
    pub(super) fn ask_to_read(&mut self, ticket: Ticket, now: Now, outputs: &mut Vec<Output>) {
        #[cfg(bug = "read_index_ignored")]
        if log_format::planted::is_on("read_index_ignored") {
            return outputs.push(Output::ReadReady { ticket, index: self.applied });
        }
        let own = self.fresh_ticket();
        if self.reads.ask(own, Reader::Caller(ticket), now).is_err() {
            outputs.push(Output::ReadRefused { ticket });
        }
    }

    /// The leader refuses a command, once a quorum has confirmed that it leads. A caller that hears nothing in time asks
    /// again.
    pub(super) fn ask_to_refuse(
        &mut self,
        (requester, outcome): (Requester, Outcome),
        rests_on: LogIndex,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let own = self.fresh_ticket();
        if self.reads.ask(own, Reader::Refusal { requester, outcome, rests_on }, now).is_err() {
            self.answer(requester, Outcome::Busy, outputs);
        }
    }

    /// What the leader decided on will not be in the log, or is another's to say.
    pub(super) fn forget_refusals(&mut self, outputs: &mut Vec<Output>) {
        let refusals = self.reads.take_refusals();
        self.give_up(refusals, outputs);
    }

    fn give_up(&mut self, readers: Vec<Reader>, outputs: &mut Vec<Output>) {
        for reader in readers {
            match reader {
                Reader::Caller(ticket) => outputs.push(Output::ReadRefused { ticket }),
                Reader::Refusal { requester, .. } => self.answer(requester, Outcome::Unknown, outputs),
            }
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
        let index = self.applied;
        for reader in self.reads.take_folded(index) {
            match reader {
                Reader::Caller(ticket) => outputs.push(Output::ReadReady { ticket, index }),
                Reader::Refusal { requester, outcome, .. } => self.answer(requester, outcome, outputs),
            }
        }
    }

    /// Tries again what was lost, and gives up on what is late.
    pub(super) fn tick_reads(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let late = self.reads.take_late(now);
        self.give_up(late, outputs);
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

    /// A reader, whose own ticket is another than the read's.
    fn reader(ticket: Ticket) -> Reader {
        Reader::Caller(Ticket::new(ticket.get() + 1_000))
    }

    #[test]
    fn a_reader_is_answered_once_its_index_is_folded() {
        let (mut reads, ticket) = (Reads::default(), Ticket::new(1));
        assert_eq!(reads.ask(ticket, reader(ticket), at(0)), Ok(()));
        assert_eq!(reads.take_asked(), [ticket]);
        assert_eq!(reads.take_asked(), [], "it is asked once");
        reads.note(ticket, Stage::Folding(LogIndex::new(5)));
        assert_eq!(reads.take_folded(LogIndex::new(4)), []);
        assert_eq!(reads.take_folded(LogIndex::new(5)), [reader(ticket)]);
        assert_eq!(reads.take_late(at(9)), [], "and answered once");
    }

    #[test]
    fn a_reader_is_refused_at_its_deadline_and_not_before() {
        let (mut reads, ticket) = (Reads::default(), Ticket::new(1));
        assert_eq!(reads.ask(ticket, reader(ticket), at(0)), Ok(()));
        assert_eq!(reads.take_late(at(1)), []);
        assert_eq!(reads.take_late(at(2)), [reader(ticket)]);
        reads.note(ticket, Stage::Folding(LogIndex::new(0)));
        assert_eq!(reads.take_folded(LogIndex::new(9)), [], "what comes too late is nobody's");
    }

    #[test]
    fn too_many_readers_are_refused_at_once() {
        let mut reads = Reads::default();
        let tickets = (0..=MAX_READS as u64).map(Ticket::new);
        let taken = tickets.filter(|ticket| reads.ask(*ticket, reader(*ticket), at(0)).is_ok()).count();
        assert_eq!(taken, MAX_READS);
    }

    #[test]
    fn a_refusal_waits_for_the_entries_that_it_rests_on() {
        let (mut reads, ticket) = (Reads::default(), Ticket::new(1));
        let (requester, outcome) = (Requester::Nobody, Outcome::Busy);
        let refusal = Reader::Refusal { requester, outcome, rests_on: LogIndex::new(7) };
        assert_eq!(reads.ask(ticket, refusal.clone(), at(0)), Ok(()));
        assert_eq!(reads.take_folded(LogIndex::new(9)), [], "nobody has confirmed it");
        reads.note(ticket, Stage::Folding(LogIndex::new(5)));
        assert_eq!(reads.take_folded(LogIndex::new(6)), []);
        assert_eq!(reads.take_folded(LogIndex::new(7)), [refusal]);
    }
}
