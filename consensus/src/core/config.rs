//! How a core is set up.

use log_format::ids::{HostId, LogIndex};
use raft::{Config, RaftState, ReadOnlyOption};

use super::entry::{self, ConfState, HardState};
use super::log::ReadError;

/// The largest entry. Four of them, with what surrounds them, fit in one batch of the write-ahead log's writer and one in a
/// peer frame.
pub const MAX_PROPOSAL_BYTES: usize = 2 << 20;

/// What makes one core differ from another.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// This host.
    pub host: HostId,
    /// A follower that hears nothing for this many ticks, up to twice as many, stands for election.
    pub election_ticks: usize,
    /// A leader is heard at least every so many ticks.
    pub heartbeat_ticks: usize,
    /// Proposals are refused as busy while more than this waits to be committed.
    pub max_uncommitted_bytes: usize,
    /// Memory for entries that are durable already, so that followers and projections close behind read no disk.
    pub max_tail_bytes: usize,
}

impl CoreConfig {
    /// The usual settings, for a tick of 100 ms: heartbeats every 200 ms, elections after 1 s to 2 s of silence.
    pub fn new(host: HostId) -> Self {
        Self {
            host,
            election_ticks: 10,
            heartbeat_ticks: 2,
            max_uncommitted_bytes: 64 << 20,
            max_tail_bytes: 16 << 20,
        }
    }

    pub(super) fn to_raft(&self, applied: LogIndex) -> Config {
        Config {
            id: self.host.get(),
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            // Raft applies nothing but membership, which the write-ahead log holds up to the commit index it holds.
            applied: applied.get(),
            // The default of 0 means one entry a message.
            max_size_per_msg: 256 << 10,
            max_inflight_msgs: 256,
            pre_vote: true,
            check_quorum: true,
            // The other choice trusts clocks.
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            batch_append: true,
            // A voter of high priority that cannot lead would delay elections; leadership is moved by transfer instead.
            priority: 0,
            max_uncommitted_size: self.max_uncommitted_bytes as u64,
            max_committed_size_per_ready: 4 << 20,
            min_election_tick: self.election_ticks,
            max_election_tick: self.election_ticks.saturating_mul(2),
        }
    }
}

/// What the write-ahead log held when it was opened. A new cluster starts with an empty log and its first voters in
/// `conf_state`, the same on every one of them.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// Membership at that commit index.
    pub conf_state: ConfState,
    /// The first entry's index; 1 for an empty log.
    pub first: LogIndex,
    /// The last entry's index; one before `first` for an empty log.
    pub last: LogIndex,
}

impl Restored {
    pub(super) fn check(&self) -> Result<(), CoreError> {
        let (commit, last) = (self.hard_state.commit, self.last);
        if self.conf_state.voters.is_empty() {
            return Err(CoreError::NoVoters);
        }
        if self.first != LogIndex::new(1) {
            return Err(CoreError::Beheaded { first: self.first });
        }
        if last < commit {
            return Err(CoreError::CommitBeyondLog { commit, last });
        }
        Ok(())
    }

    pub(super) fn into_raft(self) -> RaftState {
        RaftState {
            hard_state: entry::hard_state_to_raft(&self.hard_state),
            conf_state: entry::conf_state_to_raft(&self.conf_state),
        }
    }
}

/// Why a core could not start or read.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Nobody could ever lead.
    #[error("the membership names no voter")]
    NoVoters,
    /// The log must be whole: the core has no other source for what came before.
    #[error("the log begins at entry {first}, not at 1")]
    Beheaded {
        /// Where it begins.
        first: LogIndex,
    },
    /// The log ends before entries it knew to be committed.
    #[error("the log ends at entry {last}, but entries up to {commit} were committed")]
    CommitBeyondLog {
        /// The commit index it holds.
        commit: LogIndex,
        /// Its last entry.
        last: LogIndex,
    },
    /// Raft refused the settings or the state.
    #[error("start raft")]
    Start {
        /// Raft's reason.
        source: raft::Error,
    },
    /// Committed entries could not be read back.
    #[error("read entries {from} to {until}")]
    Read {
        /// The first entry wanted.
        from: LogIndex,
        /// One past the last.
        until: LogIndex,
        /// The log's reason.
        source: ReadError,
    },
}
