//! What a person orders when the cluster itself cannot go on: offline, on one host's data, with the loss named and written
//! down in the log.
//!
//! ```text
//!  accept tail loss     a cluster of one host whose log is damaged at its end: the end is cut off
//!  force new cluster    the majority is gone for good: this host goes on alone, as another cluster
//! ```
//!
//! Neither is ever done by a running host, and neither guesses: what can still be had from other hosts is not lost, and a start
//! fetches it.

mod alone;
mod past;
mod tail;

use std::path::{Path, PathBuf};

use log_format::disk::DiskError;
use log_format::ids::HostId;
use log_format::recover::RecoverError as LogError;
use log_format::repair::RepairError;
use thiserror::Error;

pub use alone::{Forced, force_new_cluster};
pub use tail::{Accepted, Others, accept_tail_loss, must_finish};

/// What was not done, and why. Nothing of the log was changed, unless a disk failed.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// Why a recovery is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// A host runs there.
    #[error("{} is in use: stop the host first", .0.display())]
    Running(PathBuf),
    /// Others may have what would be cut off.
    #[error(
        "this host is one of {members}: others may hold what is damaged here. Start it while they can be reached, and it \
         fetches that; or remove it from the cluster and let it join as a new host; or, if they are gone for good, add \
         --force-new-cluster"
    )]
    NotAlone {
        /// How many hosts the log names.
        members: usize,
    },
    /// Nothing is damaged.
    #[error("the log is not damaged: there is nothing to accept")]
    Sound,
    /// The log is damaged.
    #[error(
        "the log is damaged ({0}). Start the host while another can be reached, and it fetches what it lacks; if all others \
         are gone, add --accept-tail-loss, which cuts off everything from there on"
    )]
    Damaged(String),
    /// It does not belong to the cluster any more.
    #[error("host {0} does not belong to the cluster any more: it may not go on in its name")]
    LetGo(HostId),
}

impl From<LogError> for RecoverError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::InUse { path } => Self::Refused(Refusal::Running(path)),
            LogError::Corrupt(damage) | LogError::Suspect(damage) => {
                Self::Refused(Refusal::Damaged(damage.to_string()))
            }
            other @ (LogError::Missing { .. }
            | LogError::Exists { .. }
            | LogError::WrongIdentity { .. }
            | LogError::Version { .. }
            | LogError::Options { .. }
            | LogError::Members
            | LogError::Disk(_)) => Self::Failed(other.into()),
        }
    }
}

impl From<RepairError> for RecoverError {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Sound => Self::Refused(Refusal::Sound),
            RepairError::Recover(error) => error.into(),
            other @ (RepairError::Stale { .. }
            | RepairError::Entries { .. }
            | RepairError::NotReproduced { .. }
            | RepairError::NothingLeft(_)
            | RepairError::TooManyCopies { .. }
            | RepairError::Disk(_)) => Self::Failed(other.into()),
        }
    }
}

impl From<DiskError> for RecoverError {
    fn from(error: DiskError) -> Self {
        Self::Failed(error.into())
    }
}

/// A path beside another one, with something behind its name.
fn beside(path: &Path, behind: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(behind);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
