//! What goes into the core and what comes out of it.

use bytes::Bytes;
use log_format::ids::{HostId, LogIndex, Term};
use log_format::wal::{ConfState, Durability, HardState, LogEntry, LogPosition};
use raft::eraftpb::Message;

use super::membership::Change;
use super::snapshot::SnapshotPoint;

/// The caller's name for something it asked for; every ticket gets exactly one first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Wraps a bare number; the caller keeps them distinct.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Bytes somebody wants in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The proposer's name for it.
    pub ticket: Ticket,
    /// The entry; opaque, not empty, at most [`MAX_PROPOSAL_BYTES`](super::MAX_PROPOSAL_BYTES).
    pub data: Bytes,
}

/// One thing that happened to this host.
#[derive(Debug, Clone)]
pub enum Input {
    /// One tick of the configured length went by.
    Tick,
    /// A message from a peer whose identity the transport has verified.
    Peer {
        /// The host that the peer's certificate names.
        from: HostId,
        /// What it says.
        message: Box<Message>,
    },
    /// Append this, if this host leads. Answered by [`Effect::Proposed`] or [`Effect::Refused`].
    Propose(Proposal),
    /// Tell an index that covers everything acknowledged anywhere before now. Answered by [`Effect::ReadReady`] or
    /// [`Effect::ReadDropped`], after at most one election timeout.
    Read {
        /// The reader's name for it.
        ticket: Ticket,
    },
    /// The writer has made this job, and all before it, durable.
    Persisted {
        /// The job's number.
        number: u64,
    },
    /// Messages to this host were lost.
    Unreachable {
        /// The host.
        host: HostId,
    },
    /// Hand leadership to this voter, if this host leads.
    Transfer {
        /// The next leader.
        to: HostId,
    },
    /// Stand for election now, without waiting for the timeout.
    Campaign,
    /// Change the members by one step, if this host leads. Answered by [`Effect::Proposed`], then by
    /// [`Effect::MembersChanged`] at that position once it is committed; or by [`Effect::Refused`].
    ChangeMembers {
        /// The proposer's name for it.
        ticket: Ticket,
        /// The step.
        change: Change,
    },
    /// A newer chapter is sealed here, and the log will soon begin after `base`: to be told *before* anything is removed.
    /// Followers that need what is gone are sent the chapter's manifest.
    Retired {
        /// The position before the first entry that stays; the one before if nothing goes.
        base: LogPosition,
        /// What stands in for the log up to a position at or after `base`.
        snapshot: SnapshotPoint,
    },
    /// Everything that the manifest of [`Effect::Fetch`] names is here, verified and durable.
    Fetched {
        /// The index of the snapshot.
        index: LogIndex,
    },
    /// It could not be fetched now. The leader sends the newest manifest again after a while.
    FetchFailed {
        /// The index of the snapshot.
        index: LogIndex,
    },
}

/// One thing the driver must do, in the order of the effects.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send now; losing it is allowed.
    Send {
        /// The receiver.
        to: HostId,
        /// The message; `from` is this host.
        message: Box<Message>,
    },
    /// Give to the writer, in order; it answers with [`Input::Persisted`].
    Persist(PersistJob),
    /// Every entry up to here is committed for ever and can be read with [`Core::entries`](super::Core::entries).
    Committed {
        /// The last of them.
        upto: LogIndex,
    },
    /// The proposal is in this leader's log. It is committed once the watermark passes the position *and* the entry there
    /// still has this term; after [`Effect::LeaderLost`] the outcome of a position not yet passed is unknown.
    Proposed {
        /// The proposer's name for it.
        ticket: Ticket,
        /// Where it is.
        at: LogPosition,
    },
    /// The proposal is not in any log, and will not be.
    Refused {
        /// The proposer's name for it.
        ticket: Ticket,
        /// Why.
        reason: Refusal,
    },
    /// This host leads, and an entry of its own term is committed: its log now holds everything ever acknowledged. Comes
    /// after the [`Effect::Committed`] that covers that entry.
    LeaderReady {
        /// The term it leads.
        term: Term,
    },
    /// This host no longer leads. Comes once for every leadership, also for one that never became ready.
    LeaderLost {
        /// The term it led.
        term: Term,
    },
    /// A reader whose projection has applied `index` sees everything acknowledged before it asked.
    ReadReady {
        /// The reader's name for it.
        ticket: Ticket,
        /// The index to wait for.
        index: LogIndex,
    },
    /// No leader confirmed the read in time; asking again is harmless.
    ReadDropped {
        /// The reader's name for it.
        ticket: Ticket,
    },
    /// The log begins too late for this host: fetch what the manifest names from any peer, verify it, make it durable, then
    /// answer with [`Input::Fetched`] or [`Input::FetchFailed`]. A later one takes the place of this one.
    Fetch {
        /// The leader that sent the manifest, and is known to have what it names.
        from: HostId,
        /// The last entry that it stands for.
        at: LogPosition,
        /// Opaque, from the leader's owner.
        manifest: Bytes,
    },
    /// Raft took the snapshot that was fetched: the log goes on after `at`, and what is before it is read from what was
    /// fetched. The job that resets the log comes next; the watermark is at `at`.
    SnapshotInstalled {
        /// The last entry that the snapshot stands for.
        at: LogPosition,
        /// The members there.
        conf_state: ConfState,
    },
    /// A change of members is committed and in force. Comes after the [`Effect::Committed`] that covers it.
    MembersChanged {
        /// The entry that changed them.
        index: LogIndex,
        /// The members from here on.
        conf_state: ConfState,
    },
    /// This host may not go on: going on would break the log's promise. The driver logs it and ends the process. The core
    /// ignores everything from here on.
    Halt(Halt),
}

/// Why a proposal did not enter the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another host leads, or none.
    NotLeader {
        /// The leader, if known.
        hint: Option<HostId>,
    },
    /// Too much is on its way to being committed; try again later.
    Busy,
    /// Leadership is being handed over; try again at the next leader.
    Transferring {
        /// The next leader.
        to: HostId,
    },
    /// Empty, or larger than an entry may be.
    Size {
        /// Its length in bytes.
        bytes: usize,
    },
    /// An earlier change of members is not in force yet; one at a time.
    ChangePending,
    /// The members are not such that this change makes sense; a leader, for one, does not take its own vote away.
    ChangeInapplicable,
}

/// Why a host may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The leader holds an acknowledgement of this host for an entry that is not here: the data directory was wiped or put
    /// back to an older state. The host must be removed and join under a new id.
    #[error(
        "leader {leader} knows this host to hold entry {acknowledged}, but its log ends at {last}: acknowledged entries were lost"
    )]
    ForgotEntries {
        /// The leader.
        leader: HostId,
        /// What this host once acknowledged.
        acknowledged: LogIndex,
        /// What it holds.
        last: LogIndex,
    },
}

/// What the writer must make durable before anything that rests on it leaves this host.
#[derive(Debug, Clone)]
pub struct PersistJob {
    /// Strictly rising; not gapless.
    pub number: u64,
    /// First make the log begin anew, empty, after this position and with these members: a snapshot took its place. The
    /// `hard_state` beside it is durable with it.
    pub reset: Option<(LogPosition, ConfState)>,
    /// To append; an index already there is overridden, with everything after it.
    pub entries: Vec<LogEntry>,
    /// The newest hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// The newest membership, if it changed.
    pub conf_state: Option<ConfState>,
    /// [`Durability::Later`] if there is nothing to write but a commit index, which is learned again after a crash.
    pub durability: Durability,
    /// To be sent once this job, and all before it, are durable.
    pub then: Vec<(HostId, Box<Message>)>,
}

/// What this host is in the cluster just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Proposes.
    Leader,
    /// Has a vote and follows, or waits for an election.
    Follower,
    /// Stands for election.
    Candidate,
    /// Asks whether it would win an election.
    PreCandidate,
    /// Receives entries and has no vote.
    Learner,
}

/// A picture of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What this host is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows of.
    pub leader: Option<HostId>,
    /// The last index handed out as committed.
    pub commit: LogIndex,
    /// The end of its log.
    pub last: LogIndex,
    /// Hosts with a vote.
    pub voters: Vec<HostId>,
    /// Hosts without.
    pub learners: Vec<HostId>,
    /// What each follower is known to hold; empty unless this host leads.
    pub progress: Vec<(HostId, LogIndex)>,
    /// On a leader: who answered it within the last election timeout. Now and then one is missing for a heartbeat.
    pub answering: Vec<HostId>,
}
