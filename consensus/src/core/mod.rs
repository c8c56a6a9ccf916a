//! The pure core: owns raft, does no I/O. One input in, effects out; the same inputs from the same seed give the same effects.
//!
//! ```text
//!            Input                       Effect
//!  ticks ──┐                        ┌──> Send ────────────────────> transport
//!  peers ──┤   ┌──────┐             ├──> Persist ─> writer ─ then ─> transport
//!  writer ─┼──>│ Core │─────────────┤                  └─ Input::Persisted
//!  propose ┤   └──────┘             ├──> Committed ─> entries() ─> projections
//!  read ───┘                        └──> Proposed / Refused / ReadReady / Leader… ─> whoever asked
//! ```

mod admit;
mod change;
mod config;
mod drain;
mod election;
pub(crate) mod entry;
mod io;
mod log;
pub mod membership;
mod promise;
mod proven;
mod reads;
mod ready;
mod snapshot;
mod split;
mod stall;
#[cfg(test)]
mod tests;

use log_format::ids::{HostId, LogIndex, Term};
use log_format::wal::{ConfState, LogEntry, LogPosition};
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};

use self::election::ElectionClock;
pub(crate) use self::election::SplitMix64;
use self::log::Log;
use self::proven::Changes;
use self::reads::Reads;
use self::ready::Progress;
use self::snapshot::{Outstanding, Parked};
use self::stall::Stall;

pub use self::config::{CoreConfig, CoreError, MAX_PROPOSAL_BYTES, Restored};
pub use self::entry::members_after;
pub use self::io::{Effect, Halt, Input, PersistJob, Proposal, Refusal, Role, Status, Ticket};
pub use self::log::EntryReader;
pub use self::promise::Promise;
pub use self::snapshot::{MAX_MANIFEST_BYTES, SNAPSHOT_TICKS, SnapshotPoint};

/// One host's part in the agreement on one log.
pub struct Core {
    node: RawNode<Log>,
    host: HostId,
    election: ElectionClock,
    progress: Progress,
    /// Changes of members that are not known to be committed.
    changes: Changes,
    reads: Reads,
    parked: Parked,
    outstanding: Outstanding,
    /// Ticks after which a read is given up.
    read_ticks: usize,
    stall: Stall,
    /// Ticks after which a leader whose disk hangs lets another host lead.
    stall_ticks: usize,
    max_uncommitted: usize,
    leadership: Leadership,
    halted: bool,
}

/// ```text
///   None ──elected──> Elected ──own entry committed──> Ready
///    ^                   │                               │
///    └───────────────────┴────────────── lost ───────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leadership {
    None,
    Elected { term: Term },
    Ready { term: Term },
}

impl Core {
    /// A core that goes on where `restored` left off. `log` reads what is on disk. `election_seed` differs between hosts and
    /// between any two lives of one host.
    ///
    /// Entries up to [`Status::commit`] are committed already; the caller replays them with [`Self::entries`].
    pub fn new(
        config: &CoreConfig,
        restored: Restored,
        log: Box<dyn EntryReader>,
        election_seed: u64,
    ) -> Result<Self, CoreError> {
        let restored = restored.checked()?;
        let raft = config.to_raft(restored.hard_state.commit);
        let (min, max) = (raft.min_election_tick(), raft.max_election_tick());
        let progress = Progress::new(restored.hard_state);
        let log = Log::new(log, restored, config.max_tail_bytes);
        let changes = changes_past(&log, progress.committed())?;
        let mut node =
            RawNode::new(&raft, log, &drain::logger()).map_err(|source| CoreError::Start { source })?;
        let mut seeds = SplitMix64::of(election_seed, config.host.get());
        let mut election = ElectionClock::new(seeds.next(), min, max);
        election.pin(&mut node.raft);
        Ok(Self {
            node,
            host: config.host,
            election,
            progress,
            changes,
            reads: Reads::new(config.host, seeds.next()),
            parked: Parked::default(),
            outstanding: Outstanding::default(),
            read_ticks: config.election_ticks,
            stall: Stall::default(),
            // As long as others would wait for a leader that says nothing.
            stall_ticks: config.election_ticks.saturating_mul(2),
            max_uncommitted: config.max_uncommitted_bytes,
            leadership: Leadership::None,
            halted: false,
        })
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, effects: &mut Vec<Effect>) {
        self.handle_all(std::iter::once(input), effects);
    }

    /// Takes all inputs of one turn. Its proposals go out as one message, its reads as one question; they come after the
    /// turn's other inputs. The caller bounds the turn.
    pub fn handle_all(&mut self, inputs: impl Iterator<Item = Input>, effects: &mut Vec<Effect>) {
        let (mut proposals, mut reads) = (Vec::new(), Vec::new());
        for input in inputs {
            if self.halted {
                return;
            }
            match input {
                Input::Tick => self.tick(effects),
                Input::Peer { from, message } => self.step(from, *message, effects),
                Input::Propose(proposal) => proposals.push(proposal),
                Input::Read { ticket } => reads.push(ticket),
                Input::Persisted { number } => self.persisted(number),
                Input::Unreachable { host } => self.node.report_unreachable(host.get()),
                Input::Transfer { to } => self.transfer(to),
                Input::Campaign => self.campaign(),
                Input::ChangeMembers { ticket, change } => self.change_members(ticket, change, effects),
                Input::Retired { base, snapshot } => self.retire(base, snapshot),
                Input::Fetched { index } => self.fetched(index, effects),
                Input::FetchFailed { index } => drop(self.parked.take(index)),
            }
        }
        if self.halted {
            return;
        }
        self.settle_role(effects);
        self.propose(proposals, effects);
        self.read(reads, effects);
        self.settle(effects);
    }

    /// Committed entries in `from..until`, in order: as many as fit in `max_bytes`, but at least one. What lies past the
    /// commit watermark is not returned. May block on the disk when `from` is long past.
    pub fn entries(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, CoreError> {
        let until = until.min(self.progress.committed().next());
        let entries = self.node.store().read(from.get(), until.get(), max_bytes);
        let entries = entries.map_err(|source| CoreError::Read { from, until, source })?;
        Ok(entries.into_iter().map(entry::from_raft).collect())
    }

    /// Whom this host takes for the leader.
    pub fn leader(&self) -> Option<HostId> {
        entry::host(self.node.raft.leader_id)
    }

    /// Whether entries of this host's log are still on their way to its disk: what is proposed now waits for them.
    pub fn is_writing(&self) -> bool {
        !self.progress.entries_durable()
    }

    /// A picture of this host's part in the cluster.
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let conf = entry::conf_state_from_raft(&raft.prs().conf().to_conf_state());
        Status {
            role: self.role(&conf),
            term: Term::new(raft.term),
            leader: entry::host(raft.leader_id),
            commit: self.progress.committed(),
            last: LogIndex::new(raft.raft_log.last_index()),
            voters: conf.voters,
            learners: conf.learners,
            progress: self.followers(),
            answering: self.answering(),
        }
    }

    fn role(&self, conf: &ConfState) -> Role {
        match self.node.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate => Role::Candidate,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Follower if conf.voters.contains(&self.host) => Role::Follower,
            StateRole::Follower => Role::Learner,
        }
    }

    fn followers(&self) -> Vec<(HostId, LogIndex)> {
        if !self.leads() {
            return Vec::new();
        }
        let progress = self.node.raft.prs().iter();
        let mut followers: Vec<_> = progress
            .map(|(&id, progress)| (HostId::new(id), LogIndex::new(progress.matched)))
            .filter(|(host, _)| *host != self.host)
            .collect();
        followers.sort_unstable();
        followers
    }

    /// Raft forgets who answered each time it has counted them, and they answer again within a heartbeat.
    fn answering(&self) -> Vec<HostId> {
        let progress =
            self.node.raft.prs().iter().filter(|(_, progress)| self.leads() && progress.recent_active);
        progress.map(|(&id, _)| HostId::new(id)).filter(|host| *host != self.host).collect()
    }

    fn tick(&mut self, effects: &mut Vec<Effect>) {
        let expired = self.reads.tick();
        effects.extend(expired.into_iter().map(|ticket| Effect::ReadDropped { ticket }));
        for host in self.outstanding.tick() {
            self.node.report_snapshot(host.get(), SnapshotStatus::Failure);
        }
        if self.votes_alone() && self.node.raft.state == StateRole::Follower {
            // Nobody else could lead, and nobody is to be waited for.
            self.campaign();
        }
        self.note_stall();
        // A host whose own log is not yet durable could not answer for its candidacy: while its disk is behind, time stands
        // still for its election timeout.
        if self.leads() || self.progress.entries_durable() {
            self.node.tick();
            self.election.pin_after_tick(&mut self.node.raft);
        }
        self.settle_role(effects);
    }

    /// Whether this host is the only one with a vote.
    fn votes_alone(&self) -> bool {
        let members = self.node.raft.prs().conf().to_conf_state();
        members.voters == [self.host.get()] && members.voters_outgoing.is_empty()
    }

    fn step(&mut self, from: HostId, message: Message, effects: &mut Vec<Effect>) {
        if let Err(reason) = admit::check(self, from, &message) {
            tracing::debug!(%from, kind = ?message.msg_type, %reason, "peer message ignored");
            return;
        }
        let (kind, commit) = (message.msg_type, message.commit);
        let last = self.node.raft.raft_log.last_index();
        if kind == MessageType::MsgHeartbeat && self.node.raft.term <= message.term && last < commit {
            self.halt(
                Halt::ForgotEntries {
                    leader: from,
                    acknowledged: LogIndex::new(commit),
                    last: LogIndex::new(last),
                },
                effects,
            );
            return;
        }
        if kind == MessageType::MsgSnapshot && self.must_fetch(&message) {
            self.park(from, message, effects);
            return;
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%from, ?kind, %error, "raft ignored a peer message");
        }
        self.settle_role(effects);
    }

    /// Only a leader can hand over; another host's raft would ask the leader to, in the heir's name.
    fn transfer(&mut self, to: HostId) {
        if self.leads() {
            self.node.transfer_leader(to.get());
        }
    }

    fn campaign(&mut self) {
        // A candidate answers for its log, so that must be durable.
        if self.progress.entries_durable() {
            // A host that has no vote, or leads already, stays as it is; raft logs why.
            drop(self.node.campaign());
        }
    }

    fn persisted(&mut self, number: u64) {
        let number = self.progress.persisted(number);
        self.node.on_persist_ready(number);
        self.node.mut_store().evict(number);
        ready::advance_applied(self);
    }

    fn propose(&mut self, proposals: Vec<Proposal>, effects: &mut Vec<Effect>) {
        if proposals.is_empty() {
            return;
        }
        // Once one found no room, those after it are refused too: the proposer's order is kept.
        let mut blanket = self.refusal();
        let mut room = self.uncommitted_room();
        let (mut tickets, mut entries) = (Vec::new(), Vec::new());
        for Proposal { ticket, data } in proposals {
            let bytes = data.len();
            let reason = if bytes == 0 || MAX_PROPOSAL_BYTES < bytes {
                Some(Refusal::Size { bytes })
            } else {
                blanket = blanket.or((room < bytes).then_some(Refusal::Busy));
                blanket
            };
            if let Some(reason) = reason {
                effects.push(Effect::Refused { ticket, reason });
                continue;
            }
            room -= bytes;
            entries.push(Entry { data, ..Entry::default() });
            tickets.push(ticket);
        }
        self.append(tickets, entries, effects);
    }

    /// One message with all proposals: raft makes one append per follower of it.
    fn append(&mut self, tickets: Vec<Ticket>, entries: Vec<Entry>, effects: &mut Vec<Effect>) {
        if entries.is_empty() {
            return;
        }
        let (term, last) = (self.node.raft.term, self.node.raft.raft_log.last_index());
        let message = Message {
            msg_type: MessageType::MsgPropose,
            from: self.host.get(),
            entries: entries.into(),
            ..Message::default()
        };
        match self.node.raft.step(message) {
            Ok(()) => effects.extend((last + 1..).zip(tickets).map(|(index, ticket)| {
                let (term, index) = (Term::new(term), LogIndex::new(index));
                Effect::Proposed { ticket, at: LogPosition { term, index } }
            })),
            Err(error) => {
                tracing::debug!(%error, "raft refused proposals");
                let refused = |ticket| Effect::Refused { ticket, reason: Refusal::Busy };
                effects.extend(tickets.into_iter().map(refused));
            }
        }
    }

    /// Why nothing at all can be proposed here. Raft would forward a follower's proposal, and the proposer would lose track
    /// of it.
    fn refusal(&self) -> Option<Refusal> {
        let raft = &self.node.raft;
        if !self.leads() || raft.prs().get(self.host.get()).is_none() {
            let hint = entry::host(raft.leader_id).filter(|leader| *leader != self.host);
            return Some(Refusal::NotLeader { hint });
        }
        let to = HostId::new(raft.lead_transferee?);
        Some(Refusal::Transferring { to })
    }

    fn uncommitted_room(&self) -> usize {
        self.max_uncommitted.saturating_sub(self.node.raft.uncommitted_size())
    }

    /// One question for all readers.
    fn read(&mut self, tickets: Vec<Ticket>, effects: &mut Vec<Effect>) {
        if tickets.is_empty() {
            return;
        }
        let before = self.read_traces();
        if !self.reads.is_full() {
            self.node.read_index(self.reads.next_context());
        }
        if before == self.read_traces() {
            // Raft drops a read without an error while it knows no leader, or leads without a committed entry of its term.
            effects.extend(tickets.into_iter().map(|ticket| Effect::ReadDropped { ticket }));
            return;
        }
        self.reads.sent(tickets, self.read_ticks);
    }

    /// Where a read that raft took leaves a trace: waiting, answered, or on its way to the leader.
    fn read_traces(&self) -> usize {
        let raft = &self.node.raft;
        raft.pending_read_count() + raft.ready_read_count() + raft.msgs.len()
    }

    /// Empties raft as soon as its role changed, so that what it said in one role never leaves under the rules of another.
    fn settle_role(&mut self, effects: &mut Vec<Effect>) {
        if self.election.role_changed(&self.node.raft) {
            self.settle(effects);
        }
    }

    fn settle(&mut self, effects: &mut Vec<Effect>) {
        self.note_proven();
        if self.election.role_changed(&self.node.raft) {
            let dropped = self.reads.drop_all();
            effects.extend(dropped.into_iter().map(|ticket| Effect::ReadDropped { ticket }));
        }
        self.election.pin(&mut self.node.raft);
        self.note_lost(effects);
        ready::walk(self, effects);
        self.note_lost(effects);
        self.note_ready(effects);
    }

    /// Tells raft what the log proves to be committed.
    fn note_proven(&mut self) {
        let log = &mut self.node.raft.raft_log;
        if let Some(index) = self.changes.proven().filter(|index| *index <= log.last_index()) {
            log.commit_to(index);
        }
    }

    fn note_lost(&mut self, effects: &mut Vec<Effect>) {
        let now = self.leads().then(|| Term::new(self.node.raft.term));
        let held = match self.leadership {
            Leadership::None => None,
            Leadership::Elected { term } | Leadership::Ready { term } => Some(term),
        };
        if held == now {
            return;
        }
        self.outstanding.clear();
        if let Some(term) = held {
            tracing::info!(host = %self.host, %term, "leadership lost");
            effects.push(Effect::LeaderLost { term });
        }
        self.leadership = now.map_or(Leadership::None, |term| Leadership::Elected { term });
    }

    fn note_ready(&mut self, effects: &mut Vec<Effect>) {
        let Leadership::Elected { term } = self.leadership else {
            return;
        };
        #[cfg(bug = "decide_before_own_entry")]
        if log_format::planted::is_on("decide_before_own_entry") {
            effects.push(Effect::LeaderReady { term });
            self.leadership = Leadership::Ready { term };
            return;
        }
        if self.node.raft.apply_to_current_term() {
            tracing::info!(host = %self.host, %term, "leader");
            effects.push(Effect::LeaderReady { term });
            self.leadership = Leadership::Ready { term };
        }
    }

    fn halt(&mut self, halt: Halt, effects: &mut Vec<Effect>) {
        self.halted = true;
        effects.push(Effect::Halt(halt));
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }
}

/// The changes of members that a log holds past an index.
fn changes_past(log: &Log, committed: LogIndex) -> Result<Changes, CoreError> {
    /// Bytes that are read at once.
    const AT_ONCE: usize = 1 << 20;
    let mut changes = Changes::default();
    let (mut from, until) = (committed.next(), LogIndex::new(log.last()).next());
    while from < until {
        let entries = log.read(from.get(), until.get(), AT_ONCE).map_err(|source| CoreError::Read {
            from,
            until,
            source,
        })?;
        let Some(last) = entries.last() else { break };
        from = LogIndex::new(last.index).next();
        changes.appended(&entries);
    }
    Ok(changes)
}
