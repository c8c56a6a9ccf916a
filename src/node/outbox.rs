//! Commands that entered the cluster at this host and wait for an outcome.
//!
//! A person's command waits until its deadline; an observation waits for ever, in order ([`super::observations`]). Both are
//! sent again with the same identity until an outcome comes, so they take effect once. People go first.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use consensus::core::Ticket;
use log_format::event::{AttackObserved, NoteObserved, StrikesCounted};
use log_format::ids::{CommandId, HostId, LogIndex, Origin, OriginSequence};
use log_format::time::Timestamp;
use projections::decide::{Command, CommandBody};

use super::observations::{Observations, SEQUENCE_BITS, Spooled};
use super::{Identity, Now, Outcome, Output, Randomness};

/// How long a person waits: longer than two elections, shorter than a browser's patience.
const DEADLINE: Duration = Duration::from_secs(5);
/// After this time without an outcome a command is sent again: many round trips, half an election.
const RESEND_AFTER: Duration = Duration::from_millis(500);
/// Commands of people that wait at once; more are answered busy.
const MAX_PEOPLE: usize = 1_024;

/// What a sensor of this host saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// When, by this host's clock.
    pub observed_at: Timestamp,
    /// What.
    pub fact: Fact,
}

/// An observed fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A rule was tipped.
    Attack(AttackObserved),
    /// Something worth telling.
    Note(NoteObserved),
    /// Strikes of one interval.
    Strikes(StrikesCounted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// To nobody yet.
    No,
    /// To a leader, then.
    To { host: HostId, at: Duration },
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) command: Command,
    pub(super) sent: Sent,
    /// Where it was committed, while that is not folded into this host's views yet.
    pub(super) committed: Option<LogIndex>,
}

impl Waiting {
    pub(super) fn new(command: Command) -> Self {
        Self { command, sent: Sent::No, committed: None }
    }

    /// Whether it was sent to another leader, or too long ago.
    pub(super) fn is_stale(&self, leader: Option<HostId>, now: Now) -> bool {
        match self.sent {
            Sent::No => false,
            Sent::To { host, at } => {
                self.committed.is_none() && (Some(host) != leader || at + RESEND_AFTER <= now.monotonic)
            }
        }
    }

    /// Whether its effect is folded into this host's views.
    pub(super) fn is_settled(&self, applied: LogIndex) -> bool {
        self.committed.is_some_and(|index| index <= applied)
    }
}

#[derive(Debug)]
struct Person {
    /// Who is told the outcome; nobody waits for what the host says itself.
    caller: Option<Ticket>,
    deadline: Duration,
    waiting: Waiting,
}

/// See the module.
pub(super) struct Outbox {
    people: BTreeMap<Ticket, Person>,
    observations: Observations,
    next_ticket: u64,
    refused: Vec<Ticket>,
}

impl Outbox {
    pub(super) fn new(identity: &Identity) -> Self {
        let first = u64::from(identity.start) << SEQUENCE_BITS;
        #[cfg(bug = "tickets_begin_anew")]
        let first = if log_format::planted::is_on("tickets_begin_anew") { 0 } else { first };
        Self {
            people: BTreeMap::new(),
            observations: Observations::new(identity, identity.spooled),
            // An answer to an earlier start's command must not be taken for one to this start's.
            next_ticket: first,
            refused: Vec::new(),
        }
    }

    /// Observations dropped because too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.observations.dropped()
    }

    /// What the log already has of this host's observations.
    pub(super) fn resume(&mut self, acknowledged: OriginSequence) {
        self.observations.resume(acknowledged);
    }

    pub(super) fn submit(&mut self, caller: Ticket, id: CommandId, body: CommandBody, now: Now) {
        if MAX_PEOPLE <= self.people.len() {
            self.refused.push(caller);
            return;
        }
        let origin = Origin { sequence: OriginSequence::new(0), ..self.observations.origin() };
        let command = Command { id, origin, observed_at: now.wall, body };
        let waiting = Waiting::new(command);
        let ticket = self.fresh_ticket();
        let caller = Some(caller);
        self.people.insert(ticket, Person { caller, deadline: now.monotonic + DEADLINE, waiting });
    }

    /// Something that the host says itself, and says again later if it does not enter the log.
    pub(super) fn say(&mut self, id: CommandId, body: CommandBody, now: Now) {
        let origin = Origin { sequence: OriginSequence::new(0), ..self.observations.origin() };
        let waiting = Waiting::new(Command { id, origin, observed_at: now.wall, body });
        let ticket = self.fresh_ticket();
        self.people.insert(ticket, Person { caller: None, deadline: now.monotonic + DEADLINE, waiting });
    }

    pub(super) fn observe(
        &mut self,
        observation: Observation,
        randomness: &mut Randomness,
        outputs: &mut Vec<Output>,
    ) {
        let ticket = self.fresh_ticket();
        self.observations.observe(observation, (ticket, randomness), outputs);
    }

    /// The spool has something to tell.
    pub(super) fn spooled(&mut self, told: Spooled, now: Now, randomness: &mut Randomness) {
        let next = &mut self.next_ticket;
        self.observations.spooled(told, (now, randomness), &mut || {
            *next += 1;
            Ticket::new(*next)
        });
    }

    /// Asks for more from the spool, if there is room for it.
    pub(super) fn refill(&mut self, outputs: &mut Vec<Output>) {
        self.observations.refill(outputs);
    }

    /// What can be sent to this leader now, people first; it counts as sent.
    pub(super) fn take_unsent(&mut self, leader: HostId, now: Now) -> Vec<(Ticket, Command)> {
        let sent = Sent::To { host: leader, at: now.monotonic };
        let mut unsent = Vec::new();
        for (ticket, person) in &mut self.people {
            let waiting = &mut person.waiting;
            if waiting.sent == Sent::No && waiting.committed.is_none() {
                waiting.sent = sent;
                unsent.push((*ticket, waiting.command.clone()));
            }
        }
        self.observations.take_unsent(sent, &mut unsent);
        unsent
    }

    /// What was sent to another leader, or too long ago, is to be sent again; also what follows it, to keep the order.
    pub(super) fn recall(&mut self, leader: Option<HostId>, now: Now) {
        for person in self.people.values_mut().filter(|person| person.waiting.is_stale(leader, now)) {
            person.waiting.sent = Sent::No;
            #[cfg(bug = "dup_on_retry")]
            if log_format::planted::is_on("dup_on_retry") {
                let id = person.waiting.command.id.get().map(|byte| byte.wrapping_add(1));
                person.waiting.command.id = CommandId::new(id);
            }
        }
        self.observations.recall(leader, now);
    }

    /// The leader did not take it: it is to be sent again at the next opportunity.
    pub(super) fn not_taken(&mut self, ticket: Ticket) {
        if let Some(person) = self.people.get_mut(&ticket) {
            person.waiting.sent = Sent::No;
        } else {
            self.observations.not_taken(ticket);
        }
    }

    /// The log has it there.
    pub(super) fn committed(&mut self, ticket: Ticket, index: LogIndex) {
        if let Some(person) = self.people.get_mut(&ticket) {
            person.waiting.committed = Some(index);
        } else {
            self.observations.committed(ticket, index);
        }
    }

    /// The leader said no.
    pub(super) fn rejected(&mut self, ticket: Ticket, outcome: Outcome, outputs: &mut Vec<Output>) {
        if let Some(person) = self.people.remove(&ticket) {
            outputs.extend(person.caller.map(|ticket| Output::Reply { ticket, outcome }));
        } else {
            self.observations.rejected(ticket);
        }
    }

    /// Answers everybody whose command is folded into this host's views. Gives the sources of observed attacks, whose
    /// provisional blocks the log has now judged.
    pub(super) fn settle(&mut self, applied: LogIndex, outputs: &mut Vec<Output>) -> Vec<IpAddr> {
        self.people.retain(|_, person| {
            let settled = person.waiting.is_settled(applied);
            if let (true, Some(index)) = (settled, person.waiting.committed) {
                let outcome = Outcome::Committed { index };
                outputs.extend(person.caller.map(|ticket| Output::Reply { ticket, outcome }));
            }
            !settled
        });
        self.observations.settle(applied, outputs)
    }

    /// Answers people who waited too long, and those who came when too many waited.
    pub(super) fn expire(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.people.retain(|_, person| {
            let is_late = person.deadline <= now.monotonic;
            if is_late {
                let outcome = Outcome::Unknown;
                outputs.extend(person.caller.map(|ticket| Output::Reply { ticket, outcome }));
            }
            !is_late
        });
        outputs.extend(self.refused.drain(..).map(|ticket| Output::Reply { ticket, outcome: Outcome::Busy }));
    }

    /// Whether anything waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.people.is_empty() && self.observations.is_empty()
    }

    fn fresh_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket::new(self.next_ticket)
    }
}
