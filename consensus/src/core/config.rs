//! How a core is set up.

use log_format::ids::{HostId, LogIndex};
use log_format::wal::{ConfState, HardState, LogPosition, ReadError, Recovered};
use raft::{Config, ReadOnlyOption};

use super::snapshot::SnapshotPoint;

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

/// What the write-ahead log held when it was opened.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// Membership at that commit index.
    pub conf_state: ConfState,
    /// The position before the first entry.
    pub base: LogPosition,
    /// The last entry's index; the base's for an empty log.
    pub last: LogIndex,
    /// What stands in for the log up to a position at or after `base`; needed once the log does not begin at its first
    /// entry any more. The write-ahead log does not know it: it comes from the newest sealed chapter.
    pub snapshot: Option<SnapshotPoint>,
}

impl Restored {
    /// An empty log: a new cluster's, with the same first voters on every one of them.
    pub fn empty(conf_state: ConfState) -> Self {
        Self {
            hard_state: HardState::default(),
            conf_state,
            base: LogPosition::default(),
            last: LogIndex::default(),
            snapshot: None,
        }
    }

    /// Refuses a log that lost what was acknowledged. A snapshot that does not fit it is left out: it was fetched before a
    /// crash that came before the log began anew with it.
    pub(super) fn checked(mut self) -> Result<Self, CoreError> {
        let (commit, base, last) = (self.hard_state.commit, self.base.index, self.last);
        if self.conf_state.voters.is_empty() {
            return Err(CoreError::NoVoters);
        }
        if !(base..=last).contains(&commit) {
            return Err(CoreError::CommitOutsideLog { commit, base, last });
        }
        self.snapshot.take_if(|point| !(base..=commit).contains(&point.at.index));
        Ok(self)
    }
}

impl From<Recovered> for Restored {
    fn from(recovered: Recovered) -> Self {
        let Recovered { hard_state, conf_state, base, last, ended: _ } = recovered;
        Self { hard_state, conf_state, base, last: last.index, snapshot: None }
    }
}

/// Why a core could not start or read.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Nobody could ever lead.
    #[error("the membership names no voter")]
    NoVoters,
    /// Acknowledged entries are missing.
    #[error("entries up to {commit} were committed, but the log holds those after {base} up to {last}")]
    CommitOutsideLog {
        /// The commit index it holds.
        commit: LogIndex,
        /// The position before its first entry.
        base: LogIndex,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_is_set_up_as_its_pitfalls_ask_for() {
        let config = CoreConfig::new(HostId::new(1)).to_raft(LogIndex::new(7));
        // Defaults: one entry a message; no bound on what is uncommitted, nor on what one turn hands out as committed.
        assert_eq!((config.max_size_per_msg, config.max_inflight_msgs), (256 << 10, 256));
        assert_eq!((config.max_uncommitted_size, config.max_committed_size_per_ready), (64 << 20, 4 << 20));
        // Defaults: off.
        assert!(config.pre_vote && config.check_quorum && config.batch_append);
        // Leases trust clocks; priorities let a host that cannot lead delay elections.
        assert_eq!((config.read_only_option, config.priority), (ReadOnlyOption::Safe, 0));
        assert!(!config.skip_bcast_commit);
        assert_eq!((config.election_tick, config.heartbeat_tick, config.applied), (10, 2, 7));
        config.validate().unwrap();
    }
}
