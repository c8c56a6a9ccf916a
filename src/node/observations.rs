//! What this host's sensors saw, on its way into the log: each observation exactly once, in order, however long there is no
//! leader and however often the process ends.
//!
//! ```text
//!  observe ──> number ──> spool (Output::Spool) ──durable──> window ──> leader ──> committed, folded ──> spool may forget
//!                            │ more than the window holds       ^                          (Output::SpoolTaken)
//!                            └──────── read back ───────────────┘
//!                              (Output::ReadSpool, Input::Spooled)
//! ```
//!
//! An observation is sent once it is durable here, so that its number is never given twice. Numbers rise by one within a
//! start of the process; the leader takes none before the one before it. What a full or damaged spool lost is said in its
//! place, under the last missing number, and the numbers go on.

use std::collections::VecDeque;
use std::net::IpAddr;

use consensus::core::Ticket;
use log_format::event::{SpoolDropped, StrikesCounted};
use log_format::ids::{CommandId, HostId, LogIndex, Origin, OriginSequence};
use log_format::spool::{Priority, SpoolItem, SpoolRecord};
use log_format::time::Timestamp;
use projections::decide::{Command, CommandBody};

use super::outbox::{Fact, Observation, Sent, Waiting};
use super::{Identity, Now, Output, Randomness, wire};

/// Observations held in memory; those behind them are read back from the spool. A minute of a heavy, aggregated attack.
const MAX_IN_MEMORY: usize = 16_384;
/// Observations that the disk has not confirmed; more are counted and dropped before they get a number.
const MAX_NOT_DURABLE: u64 = 16_384;
/// Observations read back at once: some milliseconds of the spool's thread.
const READ_AT_ONCE: usize = 4_096;
/// Observations on their way at once; what is behind them waits, so that one lost message is cheap to repeat.
const WINDOW: usize = 256;
/// Bits of an observation's number that count within one start of the process; the start's number is above them.
pub(super) const SEQUENCE_BITS: u32 = 40;

/// Whether the spool holds observations behind those in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Unread,
    Reading,
}

/// See the module.
pub(super) struct Observations {
    /// Of the newest observation.
    origin: Origin,
    window: VecDeque<(Ticket, Waiting)>,
    behind: Behind,
    /// The last number that is in the window, or was.
    last: OriginSequence,
    /// Everything up to there is on the disk.
    durable: OriginSequence,
    /// Everything up to there is folded here; the spool knows.
    taken: OriginSequence,
    /// Not durable yet.
    unconfirmed: u64,
    dropped: u64,
}

/// What the spool tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spooled {
    /// Everything up to this number is durable; so many records more than before.
    Durable {
        /// The number.
        upto: OriginSequence,
        /// Records of this group.
        count: u64,
    },
    /// What was asked for with [`Output::ReadSpool`], and whether the spool ended with it.
    Read {
        /// In order.
        items: Vec<SpoolItem>,
        /// Whether nothing was behind them.
        is_end: bool,
    },
}

impl Observations {
    /// `spooled` is the last number that the spool holds from earlier starts, if any.
    pub(super) fn new(identity: &Identity, spooled: Option<OriginSequence>) -> Self {
        let start = identity.start;
        #[cfg(bug = "reuse_sequence")]
        let start = if log_format::planted::is_on("reuse_sequence") { 1 } else { start };
        let sequence = given_before(start);
        let none = OriginSequence::new(0);
        Self {
            origin: Origin { host: identity.host, incarnation: identity.incarnation, sequence },
            window: VecDeque::new(),
            behind: if spooled.is_some() { Behind::Unread } else { Behind::Nothing },
            last: none,
            durable: spooled.unwrap_or(none),
            taken: none,
            unconfirmed: 0,
            dropped: 0,
        }
    }

    /// Whether this is the first observation of a start of its host's process: nothing is owed before it.
    pub(super) fn is_first_of_a_start(sequence: OriginSequence) -> bool {
        sequence.get() & ((1 << SEQUENCE_BITS) - 1) == 1
    }

    /// The host, its incarnation and the newest number.
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// Observations that were never written down.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// The log has everything up to there, says the fold of an earlier run: the spool is read from behind it.
    pub(super) fn resume(&mut self, acknowledged: OriginSequence) {
        self.last = acknowledged;
    }

    /// Numbers an observation and has it written down.
    pub(super) fn observe(
        &mut self,
        observation: Observation,
        (ticket, randomness): (Ticket, &mut Randomness),
        outputs: &mut Vec<Output>,
    ) {
        if MAX_NOT_DURABLE <= self.unconfirmed {
            self.dropped += 1;
            return;
        }
        self.origin.sequence = OriginSequence::new(self.origin.sequence.get() + 1);
        let (body, priority) = match observation.fact {
            // The host acts on an attack it reports: without the report nobody would know why.
            Fact::Attack(attack) => (CommandBody::ReportAttack(attack), Priority::Action),
            // Nothing was done about it, so a full spool may forget it.
            Fact::Note(note) => (CommandBody::Note(note), Priority::Observation),
            Fact::Strikes(strikes) => (CommandBody::CountStrikes(strikes), Priority::Observation),
        };
        let (id, observed_at) = (randomness.command_id(), observation.observed_at);
        let command = Command { id, origin: self.origin, observed_at, body };
        let bytes = wire::encode_command(&command);
        let sequence = self.origin.sequence;
        self.unconfirmed += 1;
        outputs.push(Output::Spool(SpoolRecord { sequence, observed_at, priority, bytes }));
        if self.behind == Behind::Nothing && self.window.len() < MAX_IN_MEMORY {
            self.last = sequence;
            self.window.push_back((ticket, Waiting::new(command)));
        } else if self.behind == Behind::Nothing {
            self.behind = Behind::Unread;
        }
    }

    /// The spool has something to tell.
    pub(super) fn spooled(
        &mut self,
        told: Spooled,
        (now, randomness): (Now, &mut Randomness),
        fresh_ticket: &mut dyn FnMut() -> Ticket,
    ) {
        match told {
            Spooled::Durable { upto, count } => {
                self.durable = self.durable.max(upto);
                self.unconfirmed = self.unconfirmed.saturating_sub(count);
            }
            Spooled::Read { items, is_end } => {
                for item in items {
                    self.take_back(item, (now.wall, randomness.command_id()), fresh_ticket);
                }
                if is_end {
                    // The spool was read after everything up to `durable` had been given to it.
                    let next = after(self.durable);
                    self.fill_gap_before(next, (now.wall, randomness.command_id()), fresh_ticket);
                }
                // What was numbered since is behind what was read.
                let is_all = is_end && self.unconfirmed == 0;
                self.behind = if is_all { Behind::Nothing } else { Behind::Unread };
            }
        }
    }

    fn take_back(
        &mut self,
        item: SpoolItem,
        (at, id): (Timestamp, CommandId),
        fresh_ticket: &mut dyn FnMut() -> Ticket,
    ) {
        match item {
            SpoolItem::Record(record) if record.sequence <= self.last => {}
            SpoolItem::Record(record) => match wire::decode_command(&record.bytes) {
                Ok(command) => {
                    self.fill_gap_before(record.sequence, (at, id), fresh_ticket);
                    self.push(command, fresh_ticket());
                }
                Err(error) => {
                    tracing::error!(%error, sequence = %record.sequence, "an observation in the spool is not one");
                    self.push_loss((record.sequence, record.sequence, 1), (at, id), fresh_ticket);
                }
            },
            SpoolItem::Dropped(gap) if gap.to <= self.last => {}
            SpoolItem::Dropped(gap) => {
                let from = gap.from.max(after(self.last));
                let count = gap.count.unwrap_or(0);
                self.push_loss((from, gap.to, count), (at, id), fresh_ticket);
            }
        }
    }

    /// Numbers that the spool never got (its disk was full) are said to be missing, or the leader would wait for them.
    fn fill_gap_before(
        &mut self,
        next: OriginSequence,
        (at, id): (Timestamp, CommandId),
        fresh_ticket: &mut dyn FnMut() -> Ticket,
    ) {
        if after(self.last) < next && !Self::is_first_of_a_start(next) {
            let to = OriginSequence::new(next.get() - 1);
            // Numbers of a start begin anew: what is missing is of the same start as the next.
            let start = OriginSequence::new((next.get() >> SEQUENCE_BITS << SEQUENCE_BITS) + 1);
            let from = after(self.last).max(start);
            let count = to.get().saturating_add(1).saturating_sub(from.get());
            self.push_loss((from, to, count), (at, id), fresh_ticket);
        }
    }

    fn push_loss(
        &mut self,
        (from, to, count): (OriginSequence, OriginSequence, u64),
        (observed_at, id): (Timestamp, CommandId),
        fresh_ticket: &mut dyn FnMut() -> Ticket,
    ) {
        // No start gives the number zero. Said under it, the loss would be one of the start behind it, whose first
        // observation the leader takes whatever came before it, and then not the loss.
        let zero = given_before(u32::try_from(start_of(to)).unwrap_or(u32::MAX));
        #[cfg(bug = "loss_in_later_start")]
        let zero =
            if log_format::planted::is_on("loss_in_later_start") { OriginSequence::new(0) } else { zero };
        let to = if to == zero { OriginSequence::new(to.get().saturating_sub(1)) } else { to };
        if to < from {
            return;
        }
        // The leader refuses more than there are numbers, and would then wait for them for ever.
        let numbers = to.get().saturating_sub(from.get()).saturating_add(1);
        let count = if numbers < count { 0 } else { count };
        let origin = Origin { sequence: to, ..self.origin };
        let dropped = SpoolDropped { host: origin.host, from, to, count };
        self.push(Command { id, origin, observed_at, body: CommandBody::DropSpool(dropped) }, fresh_ticket());
    }

    fn push(&mut self, command: Command, ticket: Ticket) {
        self.last = command.origin.sequence;
        self.window.push_back((ticket, Waiting::new(command)));
    }

    /// Asks for more from the spool, if there is room for it. After a start the spool does not know what the log has: it
    /// is told, or a quiet host would keep it for as long as it sees nothing.
    pub(super) fn refill(&mut self, outputs: &mut Vec<Output>) {
        if self.window.is_empty() {
            self.say_taken(self.last, outputs);
        }
        if self.behind == Behind::Unread && self.window.len() + READ_AT_ONCE <= MAX_IN_MEMORY {
            self.behind = Behind::Reading;
            outputs.push(Output::ReadSpool { from: after(self.last), most: READ_AT_ONCE });
        }
    }

    /// What can be sent now; it counts as sent. The leader takes the first of a start whatever came before it, so a start
    /// waits until the log has everything of the starts before.
    pub(super) fn take_unsent(&mut self, sent: Sent, unsent: &mut Vec<(Ticket, Command)>) {
        let durable = self.durable;
        let start = self.window.front().map(|(_, waiting)| start_of(waiting.command.origin.sequence));
        #[cfg(bug = "later_start_overtakes")]
        let start = match log_format::planted::is_on("later_start_overtakes") {
            true => None,
            false => start,
        };
        for (ticket, waiting) in self.window.iter_mut().take(WINDOW) {
            let sequence = waiting.command.origin.sequence;
            if durable < sequence || start.is_some_and(|start| start != start_of(sequence)) {
                return;
            }
            if waiting.sent == Sent::No && waiting.committed.is_none() {
                waiting.sent = sent;
                unsent.push((*ticket, waiting.command.clone()));
            }
        }
    }

    /// What was sent to another leader, or too long ago, is to be sent again; also what follows it, to keep the order.
    pub(super) fn recall(&mut self, leader: Option<HostId>, now: Now) {
        if let Some(first) = self.window.iter().position(|(_, waiting)| waiting.is_stale(leader, now)) {
            self.recall_from(first);
        }
    }

    /// The leader did not take it: it is to be sent again. What follows it has an answer of its own, so one that came out
    /// of order does not send the whole window twice.
    pub(super) fn not_taken(&mut self, ticket: Ticket) {
        if let Some((_, waiting)) = self.window.iter_mut().find(|(own, _)| *own == ticket)
            && waiting.committed.is_none()
        {
            waiting.sent = Sent::No;
        }
    }

    fn recall_from(&mut self, first: usize) {
        for (_, waiting) in self.window.iter_mut().skip(first) {
            if waiting.committed.is_none() {
                waiting.sent = Sent::No;
            }
        }
    }

    /// The log has it there.
    pub(super) fn committed(&mut self, ticket: Ticket, index: LogIndex) {
        if let Some((_, waiting)) = self.window.iter_mut().find(|(own, _)| *own == ticket) {
            waiting.committed = Some(index);
        }
    }

    /// The leader said no. An observation is refused only if it cannot be written (too large, say): its number must not
    /// be missing, or those behind it would wait for ever, so it goes on as one that says nothing.
    pub(super) fn rejected(&mut self, ticket: Ticket) {
        if let Some((_, waiting)) = self.window.iter_mut().find(|(own, _)| *own == ticket) {
            self.dropped += 1;
            waiting.command.body = CommandBody::CountStrikes(StrikesCounted { deltas: Vec::new() });
            waiting.sent = Sent::No;
        }
    }

    /// Lets go of what is folded here. Gives the sources of observed attacks, whose provisional blocks the log has judged.
    pub(super) fn settle(&mut self, applied: LogIndex, outputs: &mut Vec<Output>) -> Vec<IpAddr> {
        let (mut judged, waited) = (Vec::new(), self.window.len());
        self.window.retain(|(_, waiting)| {
            let is_settled = waiting.is_settled(applied);
            if let (true, CommandBody::ReportAttack(attack)) = (is_settled, &waiting.command.body) {
                judged.push(attack.source);
            }
            !is_settled
        });
        let upto = match self.window.front() {
            Some((_, waiting)) => OriginSequence::new(waiting.command.origin.sequence.get() - 1),
            None => self.last,
        };
        if self.window.len() < waited {
            self.say_taken(upto, outputs);
        }
        judged
    }

    fn say_taken(&mut self, upto: OriginSequence, outputs: &mut Vec<Output>) {
        if self.taken < upto {
            self.taken = upto;
            outputs.push(Output::SpoolTaken { upto });
        }
    }
}

/// A number above all that were given before this start of the process, counted from 1, and below all that it gives.
pub fn given_before(start: u32) -> OriginSequence {
    OriginSequence::new(u64::from(start) << SEQUENCE_BITS)
}

/// The start of the process in which a number was given.
fn start_of(sequence: OriginSequence) -> u64 {
    sequence.get() >> SEQUENCE_BITS
}

fn after(sequence: OriginSequence) -> OriginSequence {
    OriginSequence::new(sequence.get().saturating_add(1))
}

#[cfg(test)]
#[path = "observations_tests.rs"]
mod tests;
