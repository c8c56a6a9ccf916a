//! What disks do besides losing what was not synced: sectors that rot or cannot be read, and how hosts get over it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use consensus::core::Role;
use log_format::chapter;
use log_format::disk::Defect;
use log_format::ids::{HostId, LogIndex};
use log_format::recover::RecoverError;
use palisade::node::{HaltReason, Node};

use super::phases::said;
use super::{Event, World};
use crate::check::{Checker, Violation, ensure};
use crate::disk::{End, Rot};
use crate::donors::{Others, Running};
use crate::host::{BootError, Health, Host, Turned};
use crate::spoil::{Folder, Spoil};

/// A process that ended for a damaged disk is started again after this time, as `systemd` does.
pub(super) const STARTED_AGAIN: Duration = Duration::from_secs(1);

/// How a start begins to say that nobody gives back a chapter's seal.
const LOST_SEAL: &str = "seal of chapter";

/// What raft says before it aborts the process, when it is given an error for entries.
const UNREADABLE: &str = "unexpected error";

thread_local! {
    static PANIC_IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be one of the ways in which a process on a spoiled disk may end.
pub fn is_panic_caught() -> bool {
    PANIC_IS_CAUGHT.get()
}

/// A turn of a process whose disk is spoiled; what it said, if it aborted.
pub(super) fn turn_on_spoiled(host: &mut Host, at: Duration) -> Result<Turned, String> {
    PANIC_IS_CAUGHT.set(true);
    let turned = catch_unwind(AssertUnwindSafe(|| host.turn(at)));
    PANIC_IS_CAUGHT.set(false);
    turned.map_err(|panic| said(&*panic))
}

impl World {
    /// Nobody hears whoever leads, and its disk stands still.
    pub(super) fn silence_leader(&mut self, time: Duration) {
        let until = self.now + time;
        let leads = |node: &Node| node.consensus().role == Role::Leader;
        let Some((id, host)) = self.hosts.iter_mut().find(|(_, host)| host.node().is_some_and(leads)) else {
            return;
        };
        host.stalls_until = until;
        self.network.silence(*id, until);
    }

    /// Whether what a host loses could be given back: never may so many have lost something that nobody has it, and never
    /// does one lose something in two places.
    fn may_rot(&self, id: HostId) -> bool {
        let is_sound = |host: &Host| host.is_up() && host.health == Health::Sound;
        self.can_lose(id) && self.hosts.get(&id).is_some_and(is_sound)
    }

    /// A sector of a host goes bad, while its process runs or while it is down for a time.
    pub(super) fn spoil(&mut self, id: HostId, spoil: Spoil, down: Option<Duration>) {
        if spoil.needs_others() && !self.may_rot(id) {
            return;
        }
        if let Some(down) = down {
            self.crash(id, End::PowerCut, down);
        }
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let (disk, data) = host.drive.place();
        if !spoil.strike(disk, data) {
            return;
        }
        self.figures.spoiled += 1;
        host.is_spoiled = true;
        host.is_spool_spoiled |= spoil.folder == Folder::Spool;
        if spoil.needs_others() {
            host.health = Health::Rotten;
        }
        if host.is_spool_spoiled {
            self.checks.spool_spoiled(id);
        }
    }

    /// The hosts that run and can be asked for what this one has lost.
    pub(super) fn others(&self, id: HostId) -> Others {
        let running = self.hosts.iter().filter(|(other, host)| **other != id && host.is_up());
        let of = |(host, of): (&HostId, &Host)| {
            let (disk, data) = of.drive.place();
            Running { host: *host, disk: disk.clone(), data: data.to_owned() }
        };
        Others(running.map(of).collect())
    }

    /// A host did not start. A damaged log is repaired, and a disk that cannot be read is tried again; nothing else may be.
    pub(super) fn refuse(&mut self, id: HostId, error: &BootError) -> Result<(), Violation> {
        let has_ended = self.faults.has_ended();
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        match error {
            // Every host can be asked, and none can prove what the seal was: where the log begins behind a chapter, nothing but
            // the seal says what it was. A person is told to let the host join anew.
            BootError::Repair(why) if host.is_spoiled && has_ended && why.starts_with(LOST_SEAL) => {
                host.health = Health::Lost;
                self.figures.refused_starts += 1;
                return Ok(());
            }
            BootError::Log(RecoverError::Corrupt(_) | RecoverError::Suspect(_))
                if host.health == Health::Rotten =>
            {
                return self.repair(id);
            }
            BootError::Log(RecoverError::Disk(_)) | BootError::Repair(_) | BootError::Chapters(_)
                if host.is_spoiled => {}
            BootError::Log(_)
            | BootError::Spool(_)
            | BootError::Repair(_)
            | BootError::Chapters(_)
            | BootError::Key
            | BootError::Core(_)
            | BootError::Unclean
            | BootError::Forgot { .. } => {
                return Err(Violation::new(checker_of(error), format!("host {id}: {error:?}")));
            }
        }
        self.figures.refused_starts += 1;
        self.trace.line(self.now, format_args!("host {id}: does not start: {error}"));
        self.schedule(STARTED_AGAIN, Event::Restart(id));
        Ok(())
    }

    /// A process aborts, because consensus could not read its log, and is started again.
    pub(super) fn abort(&mut self, id: HostId, what: &str) -> Result<(), Violation> {
        if !what.contains(UNREADABLE) {
            return Err(Violation::new(Checker::Running, format!("panic: {what}")));
        }
        self.figures.halts += 1;
        self.trace.line(self.now, format_args!("host {id}: aborts: {what}"));
        self.crash(id, End::Killed, STARTED_AGAIN);
        Ok(())
    }

    /// Every disk can be read again, and a person starts the processes again whose disks are known to be bad.
    pub(super) fn replace_disks(&mut self) {
        let mut bad = Vec::new();
        for (id, host) in &self.hosts {
            host.drive.place().0.read_again();
            bad.extend(host.is_spoiled.then_some(*id));
        }
        bad.into_iter().for_each(|id| self.crash(id, End::Killed, STARTED_AGAIN));
    }

    /// A process halts: a spoiled disk is a reason, and it is started again.
    pub(super) fn halt(&mut self, id: HostId, reason: &HaltReason) -> Result<(), Violation> {
        let is_spoiled = self.hosts.get(&id).is_some_and(|host| host.is_spoiled);
        if !is_spoiled || !matches!(reason, HaltReason::Unreadable { .. }) {
            return Err(Violation::new(Checker::Running, format!("host {id} halts: {reason:?}")));
        }
        self.figures.halts += 1;
        self.trace.line(self.now, format_args!("host {id}: halts: {reason:?}"));
        self.crash(id, End::Killed, STARTED_AGAIN);
        Ok(())
    }

    /// A running host ends, and its log rots before it starts again; never the logs of so many that nobody could give them
    /// back, and never the same log in two places.
    pub(super) fn rot(&mut self, id: HostId, rot: Rot, down: Duration) {
        if !self.may_rot(id) {
            return;
        }
        self.crash(id, End::PowerCut, down);
        if let Some(host) = self.hosts.get_mut(&id)
            && host.drive.rot(rot)
        {
            host.health = Health::Rotten;
        }
    }

    /// A host has refused to start, as it must. What others hold may give its log back; else it stays down.
    fn repair(&mut self, id: HostId) -> Result<(), Violation> {
        self.figures.refused_starts += 1;
        let others: Vec<&Host> =
            self.hosts.iter().filter(|(other, _)| **other != id).map(|(_, host)| host).collect();
        let fetch = |first: LogIndex, last: LogIndex| {
            let readers = others.iter().filter_map(|host| host.drive.reader());
            readers.filter_map(|reader| reader.entries(first, last.next(), u64::MAX).ok()).collect()
        };
        let is_repaired = self.hosts.get(&id).is_some_and(|host| host.drive.repair(fetch));
        self.trace.line(self.now, format_args!("host {id}: refuses to start; repaired: {is_repaired}"));
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        if is_repaired {
            host.health = Health::Sound;
            self.figures.repairs += 1;
            return self.restart(id);
        }
        host.health = Health::Lost;
        Ok(())
    }
}

impl Host {
    /// It has looked at everything that it keeps, and runs: nothing of that may have gone bad, but in the spool.
    pub(crate) fn note_booted(&mut self) -> Result<(), Violation> {
        let (disk, data) = self.drive.place();
        let is_looked_at = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let directory = path.parent().unwrap_or(path);
            // Without a seal it is written anew, and what is about to be erased is looked at no more.
            let is_sealed = || disk.contents(&directory.join(chapter::SEAL)).is_some();
            let is_kept = !name.starts_with("attack") && is_sealed();
            (path.starts_with(chapter::directory(data)) && is_kept)
                || (path.starts_with(data.join("wal")) && name.ends_with(".wal"))
        };
        let mut left = disk.spoiled();
        left.retain(|(path, _)| is_looked_at(path));
        let has_rotted = |(_, defect): &&(PathBuf, Defect)| !matches!(defect, Defect::Unreadable { .. });
        let passed_over = left.iter().find(has_rotted);
        ensure(passed_over.is_none(), Checker::Chapters, || format!("a start passes over {passed_over:?}"))?;
        if self.is_spoiled && self.health == Health::Rotten {
            self.health = Health::Sound;
        }
        self.is_spoiled &= !left.is_empty();
        Ok(())
    }
}

fn checker_of(error: &BootError) -> Checker {
    match error {
        BootError::Log(_)
        | BootError::Spool(_)
        | BootError::Chapters(_)
        | BootError::Repair(_)
        | BootError::Key
        | BootError::Core(_) => Checker::Running,
        BootError::Forgot { .. } | BootError::Unclean => Checker::Durability,
    }
}
