//! From a wish to an entry: a command finds the leader; the leader decides; what was decided is proposed.

use std::mem;

use bytes::Bytes;
use consensus::core::{Input as CoreInput, Proposal, Refusal, Ticket};
use log_format::envelope::Envelope;
use log_format::event::Event;
use log_format::ids::{HostId, LogIndex, Origin, OriginSequence, Term};
use log_format::wal::LogPosition;
use projections::decide::{self, Command, CommandBody, Decision, HOUSEKEEPING, Model, Necessity};

use super::observations::Observations;
use super::{DiskState, Node, Now, Outcome, Output, PeerMessage, wire};

/// Commands in the leader's log that are not committed; more are answered busy. A second's worth at full speed.
const MAX_IN_FLIGHT: usize = 65_536;
/// Of these, observations never take the last: however heavy an attack, people come through.
const KEPT_FOR_PEOPLE: usize = 4_096;

/// Commands decided and kept back while the log writes; more go out at once.
const MAX_GATHERED: usize = 4_096;

/// Who waits for a command's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requester {
    /// This host's outbox, under this ticket.
    Own(Ticket),
    /// A peer's outbox, under its ticket.
    Peer { host: HostId, ticket: Ticket },
    /// Nobody: the leader's own housekeeping, issued again while it is due.
    Nobody,
}

/// The model that the leader decides against: everything it has proposed is folded in.
pub(super) struct Speculation {
    term: Term,
    model: Model,
    next: LogIndex,
}

/// A decided command on its way into the log.
#[derive(Debug)]
pub(super) struct Decided {
    envelope: Envelope,
    expected: LogIndex,
    requester: Requester,
}

impl Node {
    /// Sends what waits in the outbox to the leader, which may be this host.
    pub(super) fn dispatch(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.outbox.refill(outputs);
        if self.outbox.is_empty() {
            return;
        }
        let leader = self.core.leader();
        self.outbox.recall(leader, now);
        let Some(leader) = leader else { return };
        let is_here = leader == self.identity.host;
        if is_here && self.speculation.is_none() {
            return;
        }
        for (ticket, command) in self.outbox.take_unsent(leader, now) {
            if is_here {
                self.decide(&command, Requester::Own(ticket), now, outputs);
            } else {
                let payload = Bytes::from(wire::encode_command(&command));
                let message = PeerMessage::Forward { ticket: ticket.get(), payload };
                outputs.push(Output::Send { to: leader, message });
            }
        }
    }

    /// A peer's command arrives at this host, which it takes for the leader.
    pub(super) fn take_forwarded(
        &mut self,
        (host, ticket): (HostId, Ticket),
        command: &[u8],
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let requester = Requester::Peer { host, ticket };
        match wire::decode_command(command) {
            Ok(command) if command.origin.host == host => self.decide(&command, requester, now, outputs),
            Ok(command) => {
                let detail = format!("host {host} forwards a command of host {}", command.origin.host);
                self.answer(requester, refuse("forged_origin", detail), outputs);
            }
            Err(error) => {
                self.answer(requester, refuse("malformed", error.to_string()), outputs);
            }
        }
    }

    /// Decides one command against everything that is in the log or on its way there.
    pub(super) fn decide(
        &mut self,
        command: &Command,
        requester: Requester,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let span = tracing::debug_span!("decide", host = %self.identity.host, command_id = %command.id);
        let _entered = span.enter();
        let Some(speculation) = &mut self.speculation else {
            return self.answer(requester, Outcome::Unknown, outputs);
        };
        let necessity = command.body.necessity();
        let room = match necessity {
            Necessity::Observation => MAX_IN_FLIGHT - KEPT_FOR_PEOPLE,
            Necessity::Ordinary | Necessity::Necessary => MAX_IN_FLIGHT,
        };
        if room <= self.waiting.len() || speculation.has_gap_before(command) {
            return self.answer(requester, Outcome::Busy, outputs);
        }
        // The last entry that the decision rests on.
        let rests_on = speculation.model.applied();
        let decision = match decide::decide(&speculation.model, command, now.wall) {
            // What is in the log already needs no room.
            Ok(Decision::Events(events)) if !events.is_empty() => self.gate(command, events),
            decided => decided.map_err(|rejection| Outcome::Rejected((&rejection).into())),
        };
        match decision {
            Ok(Decision::Events(events)) if events.is_empty() => {
                if let CommandBody::TransferLeadership { to } = command.body {
                    return self.hand_over(to, requester, now, outputs);
                }
                self.answer_once_committed(rests_on, requester, outputs);
            }
            Ok(Decision::Events(events)) => self.append(command, events, (requester, now), outputs),
            Ok(Decision::AlreadyApplied { index }) => self.answer_once_committed(index, requester, outputs),
            Err(Outcome::Busy) => self.answer(requester, Outcome::Busy, outputs),
            Err(refused) => self.ask_to_refuse((requester, refused), rests_on, now, outputs),
        }
    }

    /// What the leader itself has against writing it.
    fn gate(&self, command: &Command, events: Vec<Event>) -> Result<Decision, Outcome> {
        match (self.peers.disk(), command.body.necessity()) {
            (DiskState::Ample, _) | (DiskState::Low, Necessity::Necessary) => {}
            // It waits in the spool of the host that saw it, which has a bound.
            (DiskState::Low, Necessity::Observation) => return Err(Outcome::Busy),
            (DiskState::Low, Necessity::Ordinary) => {
                let detail = "the leader's disk is nearly full: make room there; until then only unblocking, retention \
                              and membership are written"
                    .to_owned();
                return Err(refuse("disk_low", detail));
            }
        }
        if let Some(refused) = self.authority_in_use(&command.body) {
            return Err(refused);
        }
        let model = self.speculation.as_ref().map(|speculation| &speculation.model);
        if model.is_some_and(|model| Self::is_false_witness(model, &command.body)) {
            let detail = "the signature is not by the key that the host announced".to_owned();
            return Err(refuse("bad_signature", detail));
        }
        Ok(Decision::Events(events))
    }

    /// The command's effect is in the log up to there, which may not be committed yet.
    fn answer_once_committed(&mut self, index: LogIndex, requester: Requester, outputs: &mut Vec<Output>) {
        if self.decided.first().is_some_and(|(_, decided)| decided.expected <= index) {
            return self.following.push((index, requester));
        }
        match &self.speculation {
            Some(speculation) if self.applied < index => {
                let term = speculation.term;
                self.waiting.entry(index).or_default().push((term, requester));
            }
            Some(_) | None => self.answer(requester, Outcome::Committed { index }, outputs),
        }
    }

    fn append(
        &mut self,
        command: &Command,
        events: Vec<Event>,
        (requester, now): (Requester, Now),
        outputs: &mut Vec<Output>,
    ) {
        let ticket = self.fresh_ticket();
        #[cfg(bug = "ack_before_commit")]
        let requester = match self.speculation.as_ref().map(|speculation| speculation.next) {
            Some(index) if log_format::planted::is_on("ack_before_commit") => {
                self.answer(requester, Outcome::Committed { index }, outputs);
                Requester::Nobody
            }
            Some(_) | None => requester,
        };
        let Some(speculation) = &mut self.speculation else { return };
        let accepted_at = speculation.model.next_accepted_at(now.wall);
        let randomness = &mut self.randomness;
        let envelope = command.envelope(events, accepted_at, &mut || randomness.salt());
        match envelope.encode() {
            Ok(bytes) => {
                let expected = speculation.next;
                speculation.fold(&envelope);
                let proposal = Proposal { ticket, data: Bytes::from(bytes) };
                self.decided.push((proposal, Decided { envelope, expected, requester }));
            }
            Err(error) => {
                self.answer(requester, refuse("too_large", error.to_string()), outputs);
            }
        }
    }

    /// Hands what was decided to consensus, all of it at once. While the log still writes what went before, it waits: the
    /// writer would not take it earlier, and what gathers meanwhile costs one message and one sync on every host.
    pub(super) fn propose_decided(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let must_wait = self.core.is_writing() && self.decided.len() < MAX_GATHERED;
        if !must_wait {
            self.propose_all(now, outputs);
        }
    }

    /// Hands what was decided to consensus, whatever the log does.
    pub(super) fn propose_all(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.decided.is_empty() {
            return;
        }
        let mut inputs = Vec::with_capacity(self.decided.len());
        for (proposal, decided) in mem::take(&mut self.decided) {
            self.proposed.insert(proposal.ticket, decided);
            inputs.push(CoreInput::Propose(proposal));
        }
        let mut effects = Vec::new();
        self.core.handle_all(inputs.into_iter(), &mut effects);
        self.carry_out(effects, now, outputs);
        let is_stale = mem::take(&mut self.is_speculation_stale);
        #[cfg(bug = "stale_speculation")]
        let is_stale = is_stale && !log_format::planted::is_on("stale_speculation");
        if is_stale {
            self.respeculate();
            self.forget_refusals(outputs);
        }
        for (index, requester) in mem::take(&mut self.following) {
            if is_stale {
                // What it follows may not be in the log; something else may come to stand there.
                self.answer(requester, Outcome::Unknown, outputs);
            } else {
                self.answer_once_committed(index, requester, outputs);
            }
        }
    }

    /// Consensus put a proposal into this leader's log.
    pub(super) fn note_proposed(&mut self, ticket: Ticket, at: LogPosition) {
        let Some(Decided { envelope, expected, requester }) = self.proposed.remove(&ticket) else { return };
        self.waiting.entry(at.index).or_default().push((at.term, requester));
        self.in_flight.insert(at.index, envelope);
        self.is_speculation_stale |= at.index != expected;
    }

    /// Consensus may have put an entry of its own at the log's end: what is decided next comes behind it. To be called while
    /// nothing decided is on its way there.
    pub(super) fn skip_foreign(&mut self) {
        debug_assert!(self.decided.is_empty());
        if let Some(speculation) = &mut self.speculation {
            speculation.next = self.core.status().last.next();
        }
    }

    /// Consensus refused a proposal.
    pub(super) fn note_refused(&mut self, ticket: Ticket, reason: Refusal, outputs: &mut Vec<Output>) {
        let Some(Decided { requester, .. }) = self.proposed.remove(&ticket) else { return };
        self.is_speculation_stale = true;
        let outcome = match reason {
            Refusal::NotLeader { .. } | Refusal::Transferring { .. } => Outcome::Unknown,
            // The last two are said of changes of members only.
            Refusal::Busy | Refusal::ChangePending | Refusal::ChangeInapplicable => Outcome::Busy,
            Refusal::Size { bytes } => {
                let detail = format!("the command needs {bytes} bytes in the log; make it smaller");
                refuse("too_large", detail)
            }
        };
        self.answer(requester, outcome, outputs);
    }

    /// This host leads, and its log holds everything ever acknowledged.
    pub(super) fn begin_leading(&mut self, term: Term, now: Now, outputs: &mut Vec<Output>) {
        tracing::info!(%term, "leads the cluster");
        self.speculation =
            Some(Speculation { term, model: self.model.clone(), next: self.core.status().last.next() });
        self.issue_own_commands(now, outputs);
        self.dispatch(now, outputs);
    }

    /// This host no longer leads: whether what waits will be committed is another leader's to say.
    pub(super) fn stop_leading(&mut self, term: Term, outputs: &mut Vec<Output>) {
        tracing::info!(%term, "no longer leads the cluster");
        #[cfg(bug = "keep_speculation_after_loss")]
        let kept =
            self.speculation.take().filter(|_| log_format::planted::is_on("keep_speculation_after_loss"));
        self.speculation = None;
        #[cfg(bug = "keep_speculation_after_loss")]
        {
            self.speculation = kept;
        }
        self.in_flight.clear();
        let undecided = mem::take(&mut self.decided).into_iter().map(|(_, decided)| decided.requester);
        let proposed = mem::take(&mut self.proposed).into_values().map(|decided| decided.requester);
        let waiting = mem::take(&mut self.waiting).into_values().flatten().map(|(_, requester)| requester);
        let following = mem::take(&mut self.following).into_iter().map(|(_, requester)| requester);
        self.end_transfer(&Outcome::Unknown, outputs);
        for requester in undecided.chain(proposed).chain(waiting).chain(following).collect::<Vec<_>>() {
            self.answer(requester, Outcome::Unknown, outputs);
        }
        self.forget_refusals(outputs);
    }

    /// Builds the speculative model anew from the committed one and what the log holds beyond it.
    fn respeculate(&mut self) {
        let Some(term) = self.speculation.as_ref().map(|speculation| speculation.term) else { return };
        let mut rebuilt =
            Speculation { term, model: self.model.clone(), next: self.core.status().last.next() };
        for (&index, envelope) in &self.in_flight {
            rebuilt.model.evolve(index, envelope);
        }
        self.speculation = Some(rebuilt);
    }

    /// Tells whoever waits what became of a command.
    pub(super) fn answer(&mut self, requester: Requester, outcome: Outcome, outputs: &mut Vec<Output>) {
        match requester {
            Requester::Own(ticket) => self.take_outcome(ticket, outcome, outputs),
            Requester::Peer { host, ticket } => {
                let outcome = Bytes::from(wire::encode_outcome(&outcome));
                let message = PeerMessage::Forwarded { ticket: ticket.get(), outcome };
                outputs.push(Output::Send { to: host, message });
            }
            Requester::Nobody => {}
        }
    }

    /// An outcome reaches this host's outbox.
    pub(super) fn take_outcome(&mut self, ticket: Ticket, outcome: Outcome, outputs: &mut Vec<Output>) {
        match outcome {
            Outcome::Committed { index } => {
                self.outbox.committed(ticket, index);
                self.is_settling_due |= index <= self.applied;
            }
            Outcome::Rejected(_) => self.outbox.rejected(ticket, outcome, outputs),
            Outcome::Unknown | Outcome::Busy => self.outbox.not_taken(ticket),
        }
    }

    /// What the leader does by itself: enrols configured hosts, notes who answers, ends blocks whose time is over.
    pub(super) fn issue_own_commands(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let Some(speculation) = &self.speculation else { return };
        let mut bodies = self.identity.unenrolled(&speculation.model);
        bodies.extend(self.peers.transitions(&speculation.model, now));
        // By the log's time: a leader whose clock went back must not let blocks stay listed that have ended.
        let at = speculation.model.next_accepted_at(now.wall);
        if speculation.model.next_expiry().is_some_and(|expiry| expiry <= at) {
            bodies.push(CommandBody::ExpireBlocks);
        }
        bodies.extend(self.chapter_commands(&speculation.model, now));
        let due_count = self.due_count(&speculation.model, now);
        #[cfg(bug = "expired_block_kept")]
        if log_format::planted::is_on("expired_block_kept") {
            bodies.retain(|body| *body != CommandBody::ExpireBlocks);
        }
        let sequence = OriginSequence::new(0);
        let origin = Origin { host: self.identity.host, incarnation: self.identity.incarnation, sequence };
        for body in bodies {
            let command = Command { id: HOUSEKEEPING, origin, observed_at: now.wall, body };
            self.decide(&command, Requester::Nobody, now, outputs);
        }
        if let Some(order) = due_count {
            self.count(order, outputs);
        }
    }
}

/// A refusal that is not the domain's.
pub(super) fn refuse(code: &str, detail: String) -> Outcome {
    Outcome::Rejected(decide::Refusal { code: code.to_owned(), field: None, detail })
}

impl Speculation {
    /// The term in which this host leads.
    pub(super) fn term(&self) -> Term {
        self.term
    }

    fn fold(&mut self, envelope: &Envelope) {
        self.model.evolve(self.next, envelope);
        self.next = self.next.next();
    }

    /// Whether an earlier observation of the same start has not arrived: taking this one would lose that one.
    fn has_gap_before(&self, command: &Command) -> bool {
        #[cfg(bug = "observation_gap_accepted")]
        if log_format::planted::is_on("observation_gap_accepted") {
            return false;
        }
        let Command { origin, body, .. } = command;
        let mut first = origin.sequence;
        if let CommandBody::DropSpool(dropped) = body {
            first = first.min(dropped.from); // It stands for all the numbers that it names.
        }
        let known = self.model.acknowledged(origin.host, origin.incarnation).get();
        known + 1 < first.get() && !Observations::is_first_of_a_start(first)
    }
}
