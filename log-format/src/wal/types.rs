//! The plain values that go into the log and come out of it.

use std::fmt;
use std::path::PathBuf;

use super::batch::MAX_BATCH;
use crate::ids::{BatchNumber, ClusterId, HostId, Incarnation, LogIndex, Term, WalSequence};
use crate::time::Timestamp;

/// Whose log it is. Written into every file; a log of another identity is never opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The host.
    pub host: HostId,
    /// The host's incarnation.
    pub incarnation: Incarnation,
}

impl fmt::Display for WalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, host, incarnation } = self;
        write!(f, "cluster {cluster}, host {host}, incarnation {incarnation}")
    }
}

/// What a Raft member must not forget beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<HostId>,
    /// The highest index known to be committed.
    pub commit: LogIndex,
}

/// Who takes part. Both lists are sorted and without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfState {
    /// Hosts with a vote.
    pub voters: Vec<HostId>,
    /// Hosts that receive entries and have no vote.
    pub learners: Vec<HostId>,
}

impl ConfState {
    /// Members at most, voters and learners together: the list must fit into a file's header block.
    pub const MAX_MEMBERS: usize = 256;

    /// Sorts the members and drops repetitions.
    pub fn new(voters: impl IntoIterator<Item = HostId>, learners: impl IntoIterator<Item = HostId>) -> Self {
        let sorted = |mut hosts: Vec<HostId>| {
            hosts.sort_unstable();
            hosts.dedup();
            hosts
        };
        Self {
            voters: sorted(voters.into_iter().collect()),
            learners: sorted(learners.into_iter().collect()),
        }
    }

    /// Whether the lists are as every writer must give them: sorted, without repetition, not too long.
    pub fn is_canonical(&self) -> bool {
        let ascending = |hosts: &[HostId]| hosts.is_sorted_by(|one, next| one < next);
        ascending(&self.voters)
            && ascending(&self.learners)
            && self.voters.len() + self.learners.len() <= Self::MAX_MEMBERS
    }
}

/// A place in the Raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition {
    /// The entry's term.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (term {})", self.index, self.term)
    }
}

/// What an entry's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// An envelope; empty when a leader only marks the start of its term.
    Normal,
    /// A single change of members.
    ConfChange,
    /// A change of members in Raft's second layout.
    ConfChangeV2,
}

/// An entry of the Raft log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// What its data is.
    pub kind: EntryKind,
    /// Its data.
    pub data: Vec<u8>,
}

/// What one write and one sync make durable together.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The newest hard state.
    pub hard_state: HardState,
    /// Entries in order without gaps. The first may replace uncommitted ones from its index on.
    pub entries: &'a [LogEntry],
    /// The members, if they changed since the batch before.
    pub conf_state: Option<&'a ConfState>,
    /// Whether it may wait.
    pub durability: Durability,
}

/// When a batch must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When [`Wal::append`](super::Wal::append) returns.
    Sync,
    /// With the next batch, if nothing but the commit index moved: that index is learned again after a crash, and a
    /// batch of its own without a sync would break the rule that one batch at most is not durable. A batch with
    /// anything else is written and synced whatever it asks for.
    Later,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is durable under this number.
    Durable(BatchNumber),
    /// Only the commit index moved: the next batch carries it.
    Waiting,
}

/// Sizes of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// Bytes of each new file; a multiple of 4,096. A batch must fit into one file, so this bounds a batch too.
    pub file_bytes: u64,
}

impl WalOptions {
    /// 64 MiB: some minutes of heavy traffic, zeroed in well under a second.
    pub const FILE_BYTES: u64 = 64 << 20;

    /// Bytes of the largest batch that such files take.
    pub fn max_batch(&self) -> usize {
        let room = self.file_bytes.saturating_sub(super::BLOCK_BYTES);
        usize::try_from(room).unwrap_or(usize::MAX).min(MAX_BATCH)
    }
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { file_bytes: Self::FILE_BYTES }
    }
}

/// What a new file is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// A random number that every batch of the file repeats, so that stray bytes of another file are recognised.
    pub nonce: u64,
    /// The time, for people only.
    pub created_at: Timestamp,
}

/// Gives each new file its stamp. Randomness and time come from outside.
pub type Stamps = Box<dyn FnMut() -> FileStamp + Send>;

/// What the log needs to know from outside.
pub struct WalSetup {
    /// Whose log it is.
    pub identity: WalIdentity,
    /// Its sizes.
    pub options: WalOptions,
    /// Stamps for its files.
    pub stamps: Stamps,
}

/// What was found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The hard state of the last good batch.
    pub hard_state: HardState,
    /// The newest members.
    pub conf_state: ConfState,
    /// The position before the first entry that is held.
    pub base: LogPosition,
    /// The position of the last entry; the base if there is none.
    pub last: LogPosition,
    /// How the log ended.
    pub ended: TailEnd,
}

/// A place between or behind batches that must be zero and was not: rot that touched no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The file.
    pub file: PathBuf,
    /// Where the place begins.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, length } = self;
        write!(f, "{} has rotted in the {length} zeros at byte {offset}", file.display())
    }
}

/// How a log ended that could be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailEnd {
    /// After a whole batch.
    Clean,
    /// In a batch that was being written and that nobody was told of. Its remains were zeroed.
    Torn {
        /// The file.
        file: WalSequence,
        /// Where the batch began.
        offset: u64,
        /// Its number, which the next batch gets.
        batch: BatchNumber,
        /// Bytes of blocks that were not zero and were zeroed.
        zeroed_bytes: u64,
    },
}
