//! One host as a pure object: consensus, decision model, read models and outbox, composed without any IO.
//!
//! The runtime (or the simulator) hands in what happened, with the time, and carries out what comes back:
//!
//! ```text
//! Input ──> handle ──> Output        submit.rs   a command finds the leader, is decided, becomes an entry
//!                                    apply.rs    a committed entry is folded, on every host
//!                                    peers.rs    who answers, and what each host says of itself
//!                                    membership.rs  who takes part
//!                                    transfer.rs who leads next
//!                                    frame.rs    projections that were folded anew take their place
//!                                    chapters.rs what is sealed, witnessed, erased and given up of the log
//!                                    wire.rs     how that travels between hosts
//! ```
//!
//! Only the leader proposes; only [`apply`] evolves the committed models. The leader decides against `speculation`: the
//! committed model with everything folded in that it has proposed but that is not committed yet. It exists exactly while
//! this host leads and an entry of its own term is committed; losing leadership drops it.

mod apply;
pub mod chapters;
mod frame;
mod membership;
mod observations;
mod outbox;
mod peers;
mod reads;
mod submit;
#[cfg(test)]
mod tests;
mod transfer;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use consensus::core::{Core, CoreError, Effect, Halt, Input as CoreInput, PersistJob, Proposal, Ticket};
pub use consensus::rt::transport::PeerMessage;
use log_format::envelope::{Envelope, EnvelopeError};
use log_format::event::AttackCount;
use log_format::ids::{
    ChapterNumber, ClusterId, CommandId, HostId, Incarnation, LogIndex, OriginSequence, Salt, Term,
};
use log_format::merkle::Hash;
use log_format::seal::{Seal, hex};
use log_format::spool::SpoolRecord;
use log_format::time::Timestamp;
use log_format::wal::LogPosition;
use projections::decide::{CommandBody, Model, Refusal};
use projections::frame::{Folded, Standing};
use projections::plan::firewall::FirewallPlan;
use projections::read::ReadModels;
use sha2::{Digest, Sha256};
use thiserror::Error;

use chapters::Keeper;
pub use chapters::{ChapterSettings, CountOrder, SealOrder};
pub use frame::Handover;
use membership::Membership;
pub use membership::{Contact, LET_GO, Members, Trust};
pub use observations::{Spooled, given_before};
use outbox::Outbox;
pub use outbox::{Fact, Observation};
use peers::Peers;
pub use peers::{ClusterPicture, DiskState, FirewallState, HostPicture, LocalState, Presence};
use reads::Reads;
use submit::{Decided, Requester, Speculation};
use transfer::Transfer;

/// What a host is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The host.
    pub host: HostId,
    /// Drawn when its data directory was made: another one under the same id is another incarnation.
    pub incarnation: Incarnation,
    /// The last number in the spool that earlier starts left, if it holds any.
    pub spooled: Option<OriginSequence>,
    /// How often the process was started on this data directory, from 1: keeps observation numbers rising.
    pub start: u32,
    /// The hosts of the cluster, to be enrolled once.
    pub hosts: Vec<KnownHost>,
}

/// A host of the start-up configuration.
#[derive(Debug, Clone)]
pub struct KnownHost {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<std::net::IpAddr>,
}

/// The two clocks, read by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, for what is written down.
    pub wall: Timestamp,
    /// Time since the process started, for everything that waits.
    pub monotonic: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// One tick went by.
    Tick,
    /// A peer said something.
    Peer {
        /// The host that the peer's certificate names.
        from: HostId,
        /// What.
        message: PeerMessage,
    },
    /// Messages to a peer were lost.
    Unreachable {
        /// The peer.
        host: HostId,
    },
    /// A peer says that this host was let go from the cluster.
    LetGo {
        /// The peer.
        by: HostId,
    },
    /// A peer says that the cluster knows this host with another incarnation.
    MadeAnew {
        /// The peer.
        by: HostId,
    },
    /// A person wants something. Answered by [`Output::Reply`] with the same ticket.
    Submit {
        /// The caller's name for it.
        ticket: Ticket,
        /// The command's identity; the same one never takes effect twice.
        id: CommandId,
        /// What.
        body: CommandBody,
    },
    /// A sensor of this host saw something.
    Observe(Observation),
    /// The spool has something to tell.
    Spooled(Spooled),
    /// The writer made this job durable.
    Persisted {
        /// The job's number.
        number: u64,
    },
    /// What the host's own shells report: sensor, firewall.
    Local(LocalState),
    /// Somebody wants the whole plan; answered by [`Output::Plan`].
    Plan,
    /// Somebody wants the state hash; answered by [`Output::StateHash`].
    StateHash {
        /// The caller's name for it.
        ticket: Ticket,
    },
    /// Somebody wants to know where each projection stands; answered by [`Output::Standings`].
    Standings {
        /// The caller's name for it.
        ticket: Ticket,
    },
    /// Projections that were folded anew beside the served ones; answered by [`Output::Handover`].
    Folded(Box<Folded>),
    /// Somebody wants to read everything that was acknowledged before now; answered by [`Output::ReadReady`] or
    /// [`Output::ReadRefused`].
    Read {
        /// The caller's name for it.
        ticket: Ticket,
    },
    /// A chapter is sealed here: what [`Output::Seal`] asked for is done.
    Sealed {
        /// Its seal, as it is on the disk.
        seal: Box<Seal>,
    },
    /// A chapter's attacks are counted: what [`Output::Count`] asked for is done.
    Counted {
        /// The chapter.
        chapter: ChapterNumber,
        /// How many attacks each host saw on each day; `None` if the chapter cannot be read now.
        counts: Option<Vec<AttackCount>>,
    },
    /// All chapters that [`Output::Fetch`] named are here, compared with their seals and durable.
    Fetched {
        /// The snapshot's index.
        index: LogIndex,
        /// The seals of all chapters that are here now, from the first on.
        seals: Vec<Seal>,
    },
    /// They could not be fetched now; the leader offers them again.
    FetchFailed {
        /// The snapshot's index.
        index: LogIndex,
    },
    /// Hand leadership to another host, before a planned stop; nobody waits for it.
    Transfer {
        /// The next leader.
        to: HostId,
    },
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send; losing it is allowed.
    Send {
        /// The receiver.
        to: HostId,
        /// What.
        message: PeerMessage,
    },
    /// Give to the writer.
    Persist(PersistJob),
    /// Give to the spool; answered by [`Spooled::Durable`].
    Spool(SpoolRecord),
    /// The log has this host's observations up to there: the spool may forget them.
    SpoolTaken {
        /// The last number.
        upto: OriginSequence,
    },
    /// Read the spool; answered by [`Spooled::Read`].
    ReadSpool {
        /// From this number on.
        from: OriginSequence,
        /// So many records at most.
        most: usize,
    },
    /// Tell the caller what became of its command.
    Reply {
        /// The caller's name for it.
        ticket: Ticket,
        /// What became of it.
        outcome: Outcome,
    },
    /// Every host has the same log up to here, and it is folded into this host's views.
    Applied {
        /// The last entry folded.
        index: LogIndex,
    },
    /// The desired kernel contents changed by this.
    Firewall {
        /// The changes, in log order.
        changes: projections::plan::firewall::FirewallChange,
        /// The entry that they come from.
        upto: LogIndex,
    },
    /// The log did not ratify this host's provisional block.
    LiftProvisional {
        /// The address.
        source: std::net::IpAddr,
    },
    /// The whole desired kernel contents.
    Plan {
        /// What the kernel should hold.
        plan: FirewallPlan,
        /// The entry up to which that is so.
        upto: LogIndex,
    },
    /// A picture of the cluster for whoever shows it.
    Cluster(ClusterPicture),
    /// The hash of everything that is a fold of the log.
    StateHash {
        /// The caller's name for it.
        ticket: Ticket,
        /// The entry up to which everything is folded.
        index: LogIndex,
        /// The hash.
        hash: [u8; 32],
    },
    /// Where each projection stands.
    Standings {
        /// The caller's name for it.
        ticket: Ticket,
        /// One for each.
        standings: [Standing; 2],
    },
    /// What became of projections that were folded anew.
    Handover(Handover),
    /// This host's views show everything that was acknowledged when the reader asked.
    ReadReady {
        /// The caller's name for it.
        ticket: Ticket,
        /// The entry up to which everything is folded.
        index: LogIndex,
    },
    /// No quorum confirmed the read in time.
    ReadRefused {
        /// The caller's name for it.
        ticket: Ticket,
    },
    /// The hosts that belong to the cluster changed: speak with these, and with nobody else any more.
    Members(Members),
    /// The authorities that the log names changed: trust these.
    Trust(Trust),
    /// Seal this chapter in the background ([`crate::chapters::seal`]), then say [`Input::Sealed`]. Asked for one at a time,
    /// and again after a start.
    Seal(SealOrder),
    /// Count this chapter's attacks in the background ([`crate::chapters::count`]), then say [`Input::Counted`].
    Count(CountOrder),
    /// Erase the attack data of all chapters up to this one (`log_format::chapter::erase`). Nothing is said afterwards; after
    /// a start it is asked for again.
    Erase {
        /// The last chapter.
        upto: ChapterNumber,
    },
    /// The log may begin later: its writer gives up whole files whose entries all lie below, and goes on in a new file if
    /// the current one was begun before what is erased (`Wal::leave_behind`, then `Wal::retire`).
    Retire {
        /// Entries below this are in chapters, durably.
        below: LogIndex,
        /// The last entry whose attack data is erased.
        erased: LogIndex,
    },
    /// Fetch these chapters from another host (`log_format::chapter::install`), then say [`Input::Fetched`] or
    /// [`Input::FetchFailed`].
    Fetch {
        /// A host that has them.
        from: HostId,
        /// What they stand for.
        at: LogPosition,
        /// The hashes of all seals, from the first chapter on.
        seals: Vec<Hash>,
    },
    /// Going on would break a promise: log it and end the process.
    Halt(HaltReason),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed, and folded into this host's views if it was submitted here.
    Committed {
        /// Where.
        index: LogIndex,
    },
    /// The domain says no.
    Rejected(Refusal),
    /// No leader took it in time. It may or may not take effect; asking again with the same id is harmless.
    Unknown,
    /// Too much is under way; ask again.
    Busy,
}

/// Why a host may not go on.
#[derive(Debug, Error)]
pub enum HaltReason {
    /// A committed record is unreadable: skipping it would fork the state.
    #[error(
        "decode committed entry {index}: this palisade is older than what wrote it, or the log is damaged"
    )]
    Undecodable {
        /// Where.
        index: LogIndex,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// The log cannot be read.
    #[error("read committed entries from {from}")]
    Unreadable {
        /// From where.
        from: LogIndex,
        /// Why.
        #[source]
        source: CoreError,
    },
    /// This host's log is not the others': it says something else about the past.
    #[error(
        "chapter {chapter} is sealed here as {} and in the log as {}: this host's past differs from the cluster's. Keep its data directory for whoever finds out why, and let the host join anew",
        hex(here),
        hex(log)
    )]
    Diverged {
        /// The chapter.
        chapter: ChapterNumber,
        /// The hash of this host's own seal.
        here: Hash,
        /// The hash that the log names.
        log: Hash,
    },
    /// What this host once promised and acknowledged is gone: its vote would count for what it does not have.
    #[error(
        "host {by} says that the cluster knows this host with another data directory: this one was made anew under its old id, and acknowledged entries were lost. Remove the id from the cluster and let the machine join anew, into an empty folder"
    )]
    MadeAnew {
        /// Who says so.
        by: HostId,
    },
    /// Consensus says so.
    #[error("consensus")]
    Consensus(#[source] Halt),
}

/// Random bytes for ids and salts, from one secret that the shell drew.
pub(crate) struct Randomness {
    secret: [u8; 32],
    drawn: u64,
}

impl Randomness {
    fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let digest =
            Sha256::new().chain_update(self.secret).chain_update(self.drawn.to_le_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        bytes
    }

    fn salt(&mut self) -> Salt {
        Salt::new(self.draw())
    }

    fn command_id(&mut self) -> CommandId {
        CommandId::new(self.draw())
    }
}

/// One host.
pub struct Node {
    identity: Identity,
    core: Core,
    model: Model,
    views: Arc<RwLock<ReadModels>>,
    applied: LogIndex,
    /// What a snapshot brought is folded up to there, a piece a turn; what is committed meanwhile waits behind it.
    behind: Option<LogIndex>,
    /// Up to where `model` and `views` were folded when they were taken up; the two may differ.
    taken_up: (LogIndex, LogIndex),
    speculation: Option<Speculation>,
    /// Commands in this leader's log that are not committed yet, with whoever waits for them.
    waiting: BTreeMap<LogIndex, Vec<(Term, Requester)>>,
    /// Decided, handed to consensus at the end of this turn or once the log is written.
    decided: Vec<(Proposal, Decided)>,
    /// Handed to consensus, which has not said where it put them.
    proposed: BTreeMap<Ticket, Decided>,
    /// Wait for the effect of something decided in this turn, which may not enter the log.
    following: Vec<(LogIndex, Requester)>,
    /// In this leader's log and not folded yet: what `speculation` holds beyond the committed model.
    in_flight: BTreeMap<LogIndex, Envelope>,
    /// Something that was decided did not enter the log, or not where it was expected: `speculation` is to be built anew.
    is_speculation_stale: bool,
    outbox: Outbox,
    /// An outcome came of something that is folded here already.
    is_settling_due: bool,
    /// When the leader last spoke, by the monotonic clock.
    leader_heard: Duration,
    reads: Reads,
    /// Reads that consensus lost since the last tick.
    dropped_reads: Vec<Ticket>,
    peers: Peers,
    membership: Membership,
    /// Leadership that is being handed over because somebody asked for it.
    transfer: Option<Transfer>,
    keeper: Keeper,
    randomness: Randomness,
    next_ticket: u64,
    is_halted: bool,
}

impl Node {
    /// Composes a host and folds everything that is already committed. `secret` is random and this host's own.
    pub fn new(identity: Identity, core: Core, secret: [u8; 32], now: Now) -> Self {
        let peers = Peers::new(&identity, now);
        let outbox = Outbox::new(&identity);
        Self {
            identity,
            core,
            model: Model::default(),
            views: Arc::default(),
            applied: LogIndex::new(0),
            behind: None,
            taken_up: (LogIndex::new(0), LogIndex::new(0)),
            speculation: None,
            waiting: BTreeMap::new(),
            decided: Vec::new(),
            proposed: BTreeMap::new(),
            following: Vec::new(),
            in_flight: BTreeMap::new(),
            is_speculation_stale: false,
            outbox,
            is_settling_due: false,
            leader_heard: now.monotonic,
            reads: Reads::default(),
            dropped_reads: Vec::new(),
            peers,
            membership: Membership::default(),
            transfer: None,
            keeper: Keeper::default(),
            randomness: Randomness { secret, drawn: 0 },
            next_ticket: 0,
            is_halted: false,
        }
    }

    /// The read models; whoever answers queries holds the lock for one query.
    pub fn views(&self) -> Arc<RwLock<ReadModels>> {
        Arc::clone(&self.views)
    }

    /// The committed decision model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The last entry folded.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Consensus's own picture.
    pub fn consensus(&self) -> consensus::core::Status {
        self.core.status()
    }

    /// Takes up states that were folded up to a committed entry, and how many bytes of entries lie behind the last cut of a
    /// chapter, as far as that is known; to be called once, before [`Node::start`].
    pub fn take_up(&mut self, folded: Folded, open_bytes: u64) {
        let Folded { model, views } = folded;
        self.taken_up = (model.applied(), views.applied());
        self.applied = model.applied().min(views.applied());
        self.model = model;
        *self.views.write().unwrap_or_else(std::sync::PoisonError::into_inner) = views;
        self.keeper.begin_with(open_bytes);
    }

    /// Folds what was committed before the last stop; to be called once, before the first input.
    pub fn start(&mut self, outputs: &mut Vec<Output>) {
        let commit = self.core.status().commit;
        self.apply_upto(commit, outputs);
        self.tell_members(outputs); // States that were taken up may leave nothing to fold.
        let Identity { host, incarnation, .. } = self.identity;
        self.outbox.resume(self.model.acknowledged(host, incarnation));
        #[cfg(bug = "apply_twice_after_restart")]
        if log_format::planted::is_on("apply_twice_after_restart") {
            self.applied = LogIndex::new(self.applied.get().saturating_sub(1));
        }
    }

    /// Takes in everything that happened in one turn. Commands decided in one turn are proposed together.
    pub fn handle_all(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        // What a leader did not take is sent again when there is something new to send, or at a tick, not at once: a busy
        // leader would be asked without end.
        let mut is_due = false;
        for input in inputs {
            if self.is_halted {
                return;
            }
            is_due |=
                matches!(input, Input::Submit { .. } | Input::Observe(_) | Input::Spooled(_) | Input::Tick);
            self.handle(input, now, outputs);
        }
        if is_due {
            self.dispatch(now, outputs);
        }
        self.fold_piece(outputs);
        self.keep_chapters(now, outputs);
        self.propose_decided(now, outputs);
        self.confirm_reads(now, outputs);
        if self.is_settling_due {
            self.settle(outputs);
        }
    }

    fn handle(&mut self, input: Input, now: Now, outputs: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(now, outputs),
            Input::Peer { from, message } => self.hear(from, message, now, outputs),
            Input::Unreachable { host } => self.drive(CoreInput::Unreachable { host }, now, outputs),
            Input::LetGo { by } => self.membership.let_go_by(by),
            Input::MadeAnew { by } => self.halt(HaltReason::MadeAnew { by }, outputs),
            Input::Submit { ticket, id, body } => self.outbox.submit(ticket, id, body, now),
            Input::Observe(observation) => {
                self.outbox.observe(observation, &mut self.randomness, outputs);
            }
            Input::Spooled(told) => self.outbox.spooled(told, now, &mut self.randomness),
            Input::Persisted { number } => self.drive(CoreInput::Persisted { number }, now, outputs),
            Input::Local(state) => self.peers.set_local(state),
            Input::Plan => {
                let plan = projections::plan::firewall::desired(&self.model, now.wall);
                outputs.push(Output::Plan { plan, upto: self.applied });
            }
            Input::StateHash { ticket } => self.state_hash(ticket, outputs),
            Input::Standings { ticket } => self.standings(ticket, outputs),
            Input::Folded(green) => self.take_over(green, outputs),
            Input::Read { ticket } => self.ask_to_read(ticket, now, outputs),
            Input::Sealed { seal } => self.sealed(*seal),
            Input::Counted { chapter, counts } => self.counted(chapter, counts, now),
            Input::Fetched { index, seals } => self.fetched(index, seals, now, outputs),
            Input::FetchFailed { index } => self.drive(CoreInput::FetchFailed { index }, now, outputs),
            Input::Transfer { to } => self.drive(CoreInput::Transfer { to }, now, outputs),
        }
    }

    fn tick(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.drive(CoreInput::Tick, now, outputs);
        self.ping(now, outputs);
        self.issue_own_commands(now, outputs);
        self.reconcile_members(now, outputs);
        self.say_if_let_go();
        self.say_own(now);
        self.outbox.expire(now, outputs);
        self.tick_reads(now, outputs);
        self.tick_transfer(outputs);
        self.dispatch(now, outputs);
        outputs.push(Output::Cluster(self.picture(now)));
    }

    fn hear(&mut self, from: HostId, message: PeerMessage, now: Now, outputs: &mut Vec<Output>) {
        match message {
            PeerMessage::Raft(message) => {
                self.drive(CoreInput::Peer { from, message }, now, outputs);
                if self.core.leader() == Some(from) {
                    self.leader_heard = now.monotonic;
                    self.membership.belongs();
                }
            }
            PeerMessage::Ping { sent_at, status } => {
                self.peers.heard(from, &status, now);
                let message = PeerMessage::Pong { echo_sent_at: sent_at, received_at: now.wall };
                outputs.push(Output::Send { to: from, message });
            }
            PeerMessage::Pong { echo_sent_at, received_at } => {
                self.peers.answered(from, echo_sent_at, received_at, now);
            }
            PeerMessage::Forward { ticket, payload } => {
                self.take_forwarded((from, Ticket::new(ticket)), &payload, now, outputs);
            }
            PeerMessage::Forwarded { ticket, outcome } => {
                self.take_outcome(Ticket::new(ticket), wire::decode_outcome(&outcome), outputs);
            }
        }
    }

    /// Gives consensus one input and carries out what it says.
    fn drive(&mut self, input: CoreInput, now: Now, outputs: &mut Vec<Output>) {
        let mut effects = Vec::new();
        self.core.handle(input, &mut effects);
        self.carry_out(effects, now, outputs);
    }

    fn carry_out(&mut self, effects: Vec<Effect>, now: Now, outputs: &mut Vec<Output>) {
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    outputs.push(Output::Send { to, message: PeerMessage::Raft(message) });
                }
                Effect::Persist(job) => outputs.push(Output::Persist(job)),
                Effect::Committed { upto } => self.committed(upto, outputs),
                Effect::Proposed { ticket, at } => self.note_proposed(ticket, at),
                Effect::Refused { ticket, reason } => self.note_refused(ticket, reason, outputs),
                Effect::LeaderReady { term } => {
                    self.fold_all(outputs);
                    self.begin_leading(term, now, outputs);
                }
                Effect::LeaderLost { term } => self.stop_leading(term, outputs),
                Effect::ReadReady { ticket, index } => self.read_confirmed(ticket, index, outputs),
                Effect::ReadDropped { ticket } => self.read_dropped(ticket),
                Effect::MembersChanged { .. } => self.tell_members(outputs),
                Effect::Fetch { from, at, manifest } => self.fetch((from, at), &manifest, now, outputs),
                Effect::SnapshotInstalled { at, .. } => self.begin_after(at),
                Effect::Halt(halt) => self.halt(HaltReason::Consensus(halt), outputs),
            }
        }
    }

    fn state_hash(&self, ticket: Ticket, outputs: &mut Vec<Output>) {
        let views = self.views.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let hash = projections::state_hash(&self.model, &views);
        outputs.push(Output::StateHash { ticket, index: self.applied, hash });
    }

    fn halt(&mut self, reason: HaltReason, outputs: &mut Vec<Output>) {
        self.is_halted = true;
        outputs.push(Output::Halt(reason));
    }

    fn fresh_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket::new(self.next_ticket)
    }
}

/// Why a host could not be composed.
#[derive(Debug, Error)]
#[error("restore consensus from the log")]
pub struct NodeError(#[from] CoreError);
