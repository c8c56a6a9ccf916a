//! Commands that entered the cluster at this host and wait for an outcome.
//!
//! A person's command waits until its deadline; an observation waits for ever, in order, within a bound. Both are sent
//! again with the same identity until an outcome comes, so they take effect once.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use consensus::core::Ticket;
use log_format::event::{AttackObserved, StrikesCounted};
use log_format::ids::{CommandId, HostId, LogIndex, Origin, OriginSequence};
use log_format::time::Timestamp;
use projections::decide::{Command, CommandBody};

use super::{Identity, Now, Outcome, Output, Randomness};

/// How long a person waits: longer than two elections, shorter than a browser's patience.
const DEADLINE: Duration = Duration::from_secs(5);
/// After this time without an outcome a command is sent again: many round trips, half an election.
const RESEND_AFTER: Duration = Duration::from_millis(500);
/// Observations kept while no leader takes them; more are counted and dropped. A minute of a heavy, aggregated attack.
const MAX_OBSERVATIONS: usize = 16_384;
/// Observations on their way at once; what is behind them waits, so that one lost message is cheap to repeat.
const WINDOW: usize = 256;
/// Commands of people that wait at once; more are answered busy.
const MAX_PEOPLE: usize = 1_024;
/// Bits of an observation's number, and of a ticket, that count within one start of the process; the start's number is
/// above them.
const SEQUENCE_BITS: u32 = 40;

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
    /// Strikes of one interval.
    Strikes(StrikesCounted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// To nobody yet.
    No,
    /// To a leader, then.
    To { host: HostId, at: Duration },
}

#[derive(Debug)]
struct Waiting {
    command: Command,
    sent: Sent,
    /// Where it was committed, while that is not folded into this host's views yet.
    committed: Option<LogIndex>,
}

#[derive(Debug)]
struct Person {
    caller: Ticket,
    deadline: Duration,
    waiting: Waiting,
}

/// See the module.
pub(super) struct Outbox {
    origin: Origin,
    people: BTreeMap<Ticket, Person>,
    observations: VecDeque<(Ticket, Waiting)>,
    next_ticket: u64,
    refused: Vec<Ticket>,
    dropped: u64,
}

impl Outbox {
    pub(super) fn new(identity: &Identity) -> Self {
        let first = u64::from(identity.start) << SEQUENCE_BITS;
        #[cfg(bug = "reuse_sequence")]
        let first = if log_format::planted::is_on("reuse_sequence") { 1 << SEQUENCE_BITS } else { first };
        let origin = Origin {
            host: identity.host,
            incarnation: identity.incarnation,
            sequence: OriginSequence::new(first),
        };
        #[cfg(bug = "tickets_begin_anew")]
        let first = if log_format::planted::is_on("tickets_begin_anew") { 0 } else { first };
        Self {
            origin,
            people: BTreeMap::new(),
            observations: VecDeque::new(),
            // An answer to an earlier start's command must not be taken for one to this start's.
            next_ticket: first,
            refused: Vec::new(),
            dropped: 0,
        }
    }

    /// Whether this is the first observation of a start of its host's process: nothing is owed before it.
    pub(super) fn is_first_of_a_start(sequence: OriginSequence) -> bool {
        sequence.get() & ((1 << SEQUENCE_BITS) - 1) == 1
    }

    /// Observations dropped because too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn submit(&mut self, caller: Ticket, id: CommandId, body: CommandBody, now: Now) {
        if MAX_PEOPLE <= self.people.len() {
            self.refused.push(caller);
            return;
        }
        let origin = Origin { sequence: OriginSequence::new(0), ..self.origin };
        let command = Command { id, origin, observed_at: now.wall, body };
        let waiting = Waiting { command, sent: Sent::No, committed: None };
        let ticket = self.fresh_ticket();
        self.people.insert(ticket, Person { caller, deadline: now.monotonic + DEADLINE, waiting });
    }

    pub(super) fn observe(&mut self, observation: Observation, randomness: &mut Randomness) {
        if MAX_OBSERVATIONS <= self.observations.len() {
            self.dropped += 1;
            return;
        }
        self.origin.sequence = OriginSequence::new(self.origin.sequence.get() + 1);
        let body = match observation.fact {
            Fact::Attack(attack) => CommandBody::ReportAttack(attack),
            Fact::Strikes(strikes) => CommandBody::CountStrikes(strikes),
        };
        let (id, observed_at) = (randomness.command_id(), observation.observed_at);
        let command = Command { id, origin: self.origin, observed_at, body };
        let ticket = self.fresh_ticket();
        self.observations.push_back((ticket, Waiting { command, sent: Sent::No, committed: None }));
    }

    /// What can be sent to this leader now, people first; it counts as sent.
    pub(super) fn take_unsent(&mut self, leader: HostId, now: Now) -> Vec<(Ticket, Command)> {
        let sent = Sent::To { host: leader, at: now.monotonic };
        let people = self.people.iter_mut().map(|(ticket, person)| (*ticket, &mut person.waiting));
        let observations =
            self.observations.iter_mut().take(WINDOW).map(|(ticket, waiting)| (*ticket, waiting));
        let mut unsent = Vec::new();
        for (ticket, waiting) in people.chain(observations) {
            if waiting.sent == Sent::No && waiting.committed.is_none() {
                waiting.sent = sent;
                unsent.push((ticket, waiting.command.clone()));
            }
        }
        unsent
    }

    /// What was sent to another leader, or too long ago, is to be sent again; also what follows it, to keep the order.
    pub(super) fn recall(&mut self, leader: Option<HostId>, now: Now) {
        let is_stale = |waiting: &Waiting| match waiting.sent {
            Sent::No => false,
            Sent::To { host, at } => {
                waiting.committed.is_none() && (Some(host) != leader || at + RESEND_AFTER <= now.monotonic)
            }
        };
        for person in self.people.values_mut().filter(|person| is_stale(&person.waiting)) {
            person.waiting.sent = Sent::No;
            #[cfg(bug = "dup_on_retry")]
            if log_format::planted::is_on("dup_on_retry") {
                let id = person.waiting.command.id.get().map(|byte| byte.wrapping_add(1));
                person.waiting.command.id = CommandId::new(id);
            }
        }
        if let Some(first) = self.observations.iter().position(|(_, waiting)| is_stale(waiting)) {
            self.recall_observations_from(first);
        }
    }

    /// The leader did not take it: it is to be sent again at the next opportunity.
    pub(super) fn not_taken(&mut self, ticket: Ticket) {
        if let Some(person) = self.people.get_mut(&ticket) {
            person.waiting.sent = Sent::No;
        } else if let Some(first) = self.observations.iter().position(|(own, _)| *own == ticket) {
            self.recall_observations_from(first);
        }
    }

    fn recall_observations_from(&mut self, first: usize) {
        for (_, waiting) in self.observations.iter_mut().skip(first) {
            if waiting.committed.is_none() {
                waiting.sent = Sent::No;
            }
        }
    }

    /// The log has it there.
    pub(super) fn committed(&mut self, ticket: Ticket, index: LogIndex) {
        if let Some(person) = self.people.get_mut(&ticket) {
            person.waiting.committed = Some(index);
        } else if let Some((_, waiting)) = self.observations.iter_mut().find(|(own, _)| *own == ticket) {
            waiting.committed = Some(index);
        }
    }

    /// The leader said no. An observation is refused only if it cannot be written (too large, say): its number must not
    /// be missing, or those behind it would wait for ever, so it goes on as one that says nothing.
    pub(super) fn rejected(&mut self, ticket: Ticket, outcome: Outcome, outputs: &mut Vec<Output>) {
        if let Some(person) = self.people.remove(&ticket) {
            outputs.push(Output::Reply { ticket: person.caller, outcome });
        } else if let Some((_, waiting)) = self.observations.iter_mut().find(|(own, _)| *own == ticket) {
            self.dropped += 1;
            waiting.command.body = CommandBody::CountStrikes(StrikesCounted { deltas: Vec::new() });
            waiting.sent = Sent::No;
        }
    }

    /// Answers everybody whose command is folded into this host's views. Gives the sources of observed attacks, whose
    /// provisional blocks the log has now judged.
    pub(super) fn settle(&mut self, applied: LogIndex, outputs: &mut Vec<Output>) -> Vec<IpAddr> {
        let is_settled = |waiting: &Waiting| waiting.committed.is_some_and(|index| index <= applied);
        self.people.retain(|_, person| {
            let settled = is_settled(&person.waiting);
            if let (true, Some(index)) = (settled, person.waiting.committed) {
                outputs.push(Output::Reply { ticket: person.caller, outcome: Outcome::Committed { index } });
            }
            !settled
        });
        let mut judged = Vec::new();
        self.observations.retain(|(_, waiting)| {
            let settled = is_settled(waiting);
            if let (true, CommandBody::ReportAttack(attack)) = (settled, &waiting.command.body) {
                judged.push(attack.source);
            }
            !settled
        });
        judged
    }

    /// Answers people who waited too long, and those who came when too many waited.
    pub(super) fn expire(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.people.retain(|_, person| {
            let is_late = person.deadline <= now.monotonic;
            if is_late {
                outputs.push(Output::Reply { ticket: person.caller, outcome: Outcome::Unknown });
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

#[cfg(test)]
mod tests {
    use log_format::ids::{ClusterId, Incarnation};

    use super::*;

    #[test]
    fn a_refused_observation_leaves_no_gap_before_the_next() {
        let host = HostId::new(1);
        let incarnation = Incarnation::new(1);
        let identity =
            Identity { cluster: ClusterId::default(), host, incarnation, start: 1, hosts: Vec::new() };
        let mut outbox = Outbox::new(&identity);
        let mut randomness = Randomness { secret: [0; 32], drawn: 0 };
        let now = Now { wall: Timestamp::ZERO, monotonic: Duration::ZERO };
        for _ in 0..2 {
            let fact = Fact::Strikes(StrikesCounted { deltas: vec![delta()] });
            outbox.observe(Observation { observed_at: now.wall, fact }, &mut randomness);
        }
        let sent = outbox.take_unsent(host, now);
        outbox.rejected(sent[0].0, Outcome::Unknown, &mut Vec::new());
        let again = outbox.take_unsent(host, now);
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].1.origin.sequence, sent[0].1.origin.sequence);
        assert_eq!(again[0].1.body, CommandBody::CountStrikes(StrikesCounted { deltas: Vec::new() }));
        assert_eq!(outbox.dropped(), 1, "and it is counted");
    }

    fn delta() -> log_format::event::StrikeDelta {
        let rule = log_format::event::Rule::BadRegistrations;
        log_format::event::StrikeDelta { source: IpAddr::from([192, 0, 2, 1]), rule, proven: 1, unproven: 0 }
    }
}
