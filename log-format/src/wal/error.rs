//! What can go wrong with an open log.

use thiserror::Error;

use super::record::ContentError;
use super::types::LogPosition;
use crate::chapter::ChapterError;
use crate::disk::DiskError;
use crate::ids::{BatchNumber, LogIndex};

/// A batch was not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The disk failed. It is not known what it holds: the process must end, and recovery finds out.
    #[error("append to the log")]
    Disk {
        /// What failed.
        #[source]
        source: DiskError,
    },
    /// An earlier append failed; nothing is written any more.
    #[error("append to the log after an earlier failure")]
    Poisoned,
    /// The caller collected too much. Nothing was written.
    #[error("a batch of {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The entries do not follow those of the log, or each other. Nothing was written.
    #[error("entries from {first} cannot follow entry {last}, or have gaps")]
    Gap {
        /// The first entry's index.
        first: LogIndex,
        /// The log's last index.
        last: LogIndex,
    },
    /// The entries would replace committed ones. Nothing was written.
    #[error("entries from {first} would replace entries up to {commit}, which are committed")]
    Committed {
        /// The first entry's index.
        first: LogIndex,
        /// The commit index.
        commit: LogIndex,
    },
    /// Term or commit index is less than before. Nothing was written.
    #[error("a hard state that goes backwards")]
    Backwards,
    /// The commit index is beyond the last entry. Nothing was written.
    #[error("commit index {commit} is beyond the last entry {last}")]
    CommitBeyond {
        /// The commit index.
        commit: LogIndex,
        /// The last entry's index.
        last: LogIndex,
    },
    /// A snapshot's position and the commit index that comes with it differ. Nothing was written.
    #[error("a snapshot at {position} with commit index {commit}")]
    Snapshot {
        /// The position.
        position: LogPosition,
        /// The commit index.
        commit: LogIndex,
    },
    /// The member list is not sorted, or too long. Nothing was written.
    #[error("members that are not sorted, are repeated, or are too many")]
    Members,
}

/// Entries were not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// They were retired: they are older than the log.
    #[error("entry {index} was retired from the log, which begins with {first} or later")]
    Compacted {
        /// The entry asked for.
        index: LogIndex,
        /// The first that is held.
        first: LogIndex,
    },
    /// They are not written yet.
    #[error("entry {index} is not in the log, which ends with {last}")]
    Unavailable {
        /// The entry asked for.
        index: LogIndex,
        /// The last that is held.
        last: LogIndex,
    },
    /// The disk gave back other bytes than were written.
    #[error("batch {batch} at byte {offset} is damaged since the log was opened")]
    Damaged {
        /// The batch.
        batch: BatchNumber,
        /// Its place in its file.
        offset: u64,
    },
    /// The checksum is right and the contents are not.
    #[error("batch {batch} makes no sense")]
    Content {
        /// The batch.
        batch: BatchNumber,
        /// Why.
        #[source]
        source: ContentError,
    },
    /// The chapter that holds them cannot be read.
    #[error("read entries of a chapter")]
    Chapter {
        /// Why.
        #[source]
        source: Box<ChapterError>,
    },
    /// The disk failed.
    #[error("read entries of the log")]
    Disk {
        /// What failed.
        #[source]
        source: DiskError,
    },
}
