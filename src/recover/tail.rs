//! Cuts the damaged end off the log of a host that is alone, and writes that down.
//!
//! ```text
//!  mark ──> checkpoints removed ──> cut ──> TailLossAccepted appended ──> mark removed
//! ```
//!
//! A host does not start while the mark stands; the same order again finishes what was begun.

#![expect(clippy::disallowed_methods, reason = "offline work on a host's own files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use log_format::disk::{Disk, StdDisk};
use log_format::event::{Event, MembershipEvent, TailLossAccepted};
use log_format::ids::{HostId, LogIndex, Term};
use log_format::repair::{self, RepairError, TailLoss};
use log_format::verify::LogView;
use log_format::wal::{ConfState, LogPosition, Wal, WalIdentity};

use super::{RecoverError, Refusal, past};
use crate::checkpoints;

/// Stands in the data directory from before the cut until it is written down.
const MARK: &str = "recovering";
/// What ends the names of the log's cut parts.
const CUT: &str = ".cut";

/// What was cut off.
#[derive(Debug)]
pub struct Accepted {
    /// Whose log it is.
    pub identity: WalIdentity,
    /// What was lost; `None` if an earlier attempt had cut it off.
    pub loss: Option<TailLoss>,
    /// The last entry that was kept.
    pub kept: LogIndex,
    /// The entry that says so.
    pub written: LogIndex,
}

/// Whether others may hold what is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They may: then nothing is cut.
    Count,
    /// They are given up, by an order of its own.
    GivenUp,
}

/// Whether a recovery of this data directory was begun and must be ended before a host may run there.
pub fn must_finish(data: &Path) -> bool {
    data.join(MARK).exists()
}

/// Cuts off what is damaged in a stopped host's log and everything behind it. Refuses if the log is sound, or if other
/// hosts may have what is damaged.
pub fn accept_tail_loss(data: &Path, others: Others) -> Result<Accepted, RecoverError> {
    let view = LogView::open(&StdDisk, data)?;
    let (identity, members) = (view.identity(), view.conf_state().clone());
    drop(view);
    if others == Others::Count && members != ConfState::new([identity.host], []) {
        let members = members.voters.len() + members.learners.len();
        return Err(Refusal::NotAlone { members }.into());
    }
    refuse_running(data)?;
    if !must_finish(data) && repair::find(&StdDisk, data, &identity).is_ok_and(|order| order.is_none()) {
        return Err(Refusal::Sound.into());
    }
    set_mark(data)?;
    checkpoints::remove(data).context("remove the checkpoints, which may hold what is cut off")?;
    let loss = match repair::accept_tail_loss(&StdDisk, data, &identity) {
        Ok(loss) => Some(loss),
        Err(RepairError::Sound) => None,
        Err(error) => return Err(error.into()),
    };
    let bytes = match &loss {
        Some(loss) => loss.bytes,
        None => cut_before(data)?,
    };
    let (mut wal, found) = Wal::open(Arc::new(StdDisk), data, past::setup(identity))?;
    let (kept, host) = (found.last.index, identity.host);
    let event = TailLossAccepted { host, last: kept, bytes, by: past::operator() };
    let written = write_down(&mut wal, data, (host, found.hard_state.term.max(found.last.term)), event)?;
    drop(wal);
    fs::remove_file(data.join(MARK)).context("remove the mark of the recovery")?;
    StdDisk.sync_dir(data)?;
    Ok(Accepted { identity, loss, kept, written })
}

fn write_down(
    wal: &mut Wal<StdDisk>,
    data: &Path,
    (host, term): (HostId, Term),
    event: TailLossAccepted,
) -> anyhow::Result<LogIndex> {
    let after = past::last_accepted(data, &wal.reader())?;
    // A log of which nothing was ever committed has no term yet.
    let term = term.max(Term::new(1));
    let at = LogPosition { term, index: event.last.next() };
    let events = vec![Event::Membership(MembershipEvent::TailLossAccepted(event))];
    let entry = past::entry((at, host), after, events)?;
    past::commit(wal, (host, term), &[entry], None)
}

/// The log's own lock is taken for each step; this asks for it before anything is changed.
fn refuse_running(data: &Path) -> Result<(), RecoverError> {
    let path = data.join("LOCK");
    match StdDisk.lock(&path) {
        Ok(_held) => Ok(()),
        Err(error) if error.is_locked() => Err(Refusal::Running(path).into()),
        Err(error) => Err(error.into()),
    }
}

fn set_mark(data: &Path) -> anyhow::Result<()> {
    let path = data.join(MARK);
    fs::write(&path, b"").with_context(|| format!("write {}", path.display()))?;
    Ok(StdDisk.sync_dir(data)?)
}

/// Bytes of the parts that an earlier attempt has cut off.
fn cut_before(data: &Path) -> anyhow::Result<u64> {
    let directory: PathBuf = data.join("wal");
    let mut bytes = 0;
    for name in StdDisk.list(&directory)?.iter().filter(|name| name.ends_with(CUT)) {
        bytes += fs::metadata(directory.join(name))?.len();
    }
    Ok(bytes)
}
