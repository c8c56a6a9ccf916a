//! What can go wrong with a chapter.

use thiserror::Error;

use super::split::SplitError;
use crate::disk::DiskError;
use crate::ids::{ChapterNumber, LogIndex};

/// A chapter was not written, or not read.
#[derive(Debug, Error)]
pub enum ChapterError {
    /// The disk failed.
    #[error("a chapter's files")]
    Disk(#[from] DiskError),
    /// A file is damaged: it is to be fetched from another host.
    #[error("{file} of chapter {chapter} is damaged: {what}")]
    Damaged {
        /// The chapter.
        chapter: ChapterNumber,
        /// Its file.
        file: &'static str,
        /// How that was seen.
        what: String,
    },
    /// A file is not there and was not erased.
    #[error("{file} of chapter {chapter} is missing")]
    Missing {
        /// The chapter.
        chapter: ChapterNumber,
        /// Its file.
        file: &'static str,
    },
    /// A newer version wrote it.
    #[error("{file} of chapter {chapter} has format {format}; a newer version of palisade wrote it")]
    Newer {
        /// The chapter.
        chapter: ChapterNumber,
        /// Its file.
        file: &'static str,
        /// The format.
        format: u16,
    },
    /// A seal does not follow the one before it.
    #[error("the seal of chapter {chapter} does not follow the one before it: one of them was exchanged")]
    Chain {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// The chapter is there and is another one than the log asks for.
    #[error(
        "chapter {chapter} is sealed here with other bounds, or after another chapter, than the log says"
    )]
    Other {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// The entries handed in are not those of the plan.
    #[error("chapter {chapter} needs entry {expected} next")]
    Entries {
        /// The chapter.
        chapter: ChapterNumber,
        /// The entry that was due.
        expected: LogIndex,
    },
    /// Nothing says who the first members were.
    #[error("the log's first file, which names the founders, is damaged: start again")]
    Founders,
    /// An entry was not read.
    #[error("read entry {index} for a chapter")]
    Source {
        /// The entry.
        index: LogIndex,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An entry cannot be taken apart.
    #[error("entry {index} cannot be kept in a chapter")]
    Split {
        /// The entry.
        index: LogIndex,
        /// Why.
        #[source]
        source: SplitError,
    },
}

impl ChapterError {
    /// Whether a file must be fetched from another host.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Missing { .. } | Self::Chain { .. } => true,
            Self::Disk(_)
            | Self::Newer { .. }
            | Self::Other { .. }
            | Self::Entries { .. }
            | Self::Founders
            | Self::Source { .. }
            | Self::Split { .. } => false,
        }
    }
}
