//! A leader whose disk hangs lets another host lead.
//!
//! Its heartbeats go on, so nobody would stand for election; and it hands out nothing as committed that it has not written
//! itself. A disk that is slow everywhere is no reason to go: the others must have written, meanwhile, what this host has not.

use log_format::ids::HostId;

use super::Core;

/// How long this leader has waited for its disk.
#[derive(Default)]
pub(super) struct Stall {
    /// The last job known to be durable.
    written: u64,
    ticks: usize,
    /// Who was asked to lead last.
    heir: Option<u64>,
}

impl Core {
    /// One tick went by.
    pub(super) fn note_stall(&mut self) {
        let written = self.progress.durable();
        if !self.leads() || self.progress.entries_durable() || self.stall.written != written {
            self.stall = Stall { written, ..Stall::default() };
            return;
        }
        self.stall.ticks += 1;
        if self.stall.ticks < self.stall_ticks || self.node.raft.lead_transferee.is_some() {
            return;
        }
        let Some(heir) = self.heir() else { return };
        tracing::warn!(host = %self.host, heir = %HostId::new(heir), ticks = self.stall.ticks,
            "this leader's disk hangs, and others write: another host is to lead");
        (self.stall.ticks, self.stall.heir) = (0, Some(heir));
        self.node.transfer_leader(heir);
    }

    /// A voter that answers and has written most of what is not durable here, if a majority has. Whoever was asked last and
    /// does not lead comes last.
    fn heir(&self) -> Option<u64> {
        let log = &self.node.raft.raft_log;
        let (written, is_stuck) = (log.persisted, log.persisted < log.committed);
        let voters = self.node.raft.prs().conf().to_conf_state().voters;
        let progress = self.node.raft.prs().iter().filter(|(id, progress)| {
            is_stuck
                && **id != self.host.get()
                && voters.contains(id)
                && progress.recent_active
                && written < progress.matched
        });
        let best = progress.max_by_key(|(id, progress)| {
            (Some(**id) != self.stall.heir, progress.matched, std::cmp::Reverse(**id))
        });
        best.map(|(id, _)| *id)
    }
}
