//! Leadership is handed over: asked of any host, judged by the leader, done once another host leads.
//!
//! It travels like a command and makes no event. When the leader lost its leadership it answers that it does not know, so
//! the host that was asked asks again: the next leader, which says yes if it is the one that was meant.

use consensus::core::Input as CoreInput;
use consensus::core::membership::CATCH_UP_ENTRIES;
use log_format::ids::HostId;

use super::submit::{Requester, refuse};
use super::{Node, Now, Outcome, Output};

/// Raft gives the other an election's time, 1 s to 2 s; whoever has not taken over after so many ticks will not. What is
/// left of them is for commands: raft takes none while leadership is on its way.
const TICKS: u32 = 25;
/// Hosts that wait for one transfer at most: each asks again for itself, and there are no more hosts than this.
const MAX_WAITING: usize = 64;

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    to: HostId,
    ticks: u32,
    waiting: Vec<Requester>,
}

impl Node {
    /// This host leads and is asked to let another one lead, which belongs to the cluster.
    pub(super) fn hand_over(
        &mut self,
        to: HostId,
        requester: Requester,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        if to == self.identity.host {
            let index = self.applied;
            return self.answer(requester, Outcome::Committed { index }, outputs);
        }
        if let Some(under_way) = &mut self.transfer {
            if under_way.to != to {
                let detail = format!("leadership goes to host {} just now; try again", under_way.to);
                return self.answer(requester, refuse("transfer_under_way", detail), outputs);
            }
            if !under_way.waiting.contains(&requester) && under_way.waiting.len() < MAX_WAITING {
                under_way.waiting.push(requester);
            }
            return;
        }
        if let Err(refused) = self.can_take_over(to, now) {
            return self.answer(requester, refused, outputs);
        }
        self.transfer = Some(Transfer { to, ticks: 0, waiting: vec![requester] });
        self.drive(CoreInput::Transfer { to }, now, outputs);
    }

    /// This leader has to go, and nobody waits for it. Says whether the attempt began: while another one is under way, none
    /// does.
    pub(super) fn go_to(&mut self, to: HostId, now: Now, outputs: &mut Vec<Output>) -> bool {
        if self.transfer.is_some() {
            return false;
        }
        self.transfer = Some(Transfer { to, ticks: 0, waiting: Vec::new() });
        self.drive(CoreInput::Transfer { to }, now, outputs);
        true
    }

    /// Whether a host could lead within moments; if not, why not.
    pub(super) fn can_take_over(&self, to: HostId, now: Now) -> Result<(), Outcome> {
        let status = self.core.status();
        if !status.voters.contains(&to) {
            let detail = format!(
                "host {to} has no vote; choose a follower, as `palisade cluster status` shows them, or wait until the \
                 host has its vote"
            );
            return Err(refuse("not_a_voter", detail));
        }
        if let Some(silence) = self.peers.silence_of(to, now) {
            let seconds = silence.as_secs();
            let detail = format!("host {to} has not answered for {seconds} s; choose a follower that does");
            return Err(refuse("host_silent", detail));
        }
        let progress = status.progress.iter().find(|(host, _)| *host == to);
        let matched = progress.map_or(0, |(_, matched)| matched.get());
        let lacks = status.last.get().saturating_sub(matched);
        if CATCH_UP_ENTRIES < lacks {
            let detail = format!("host {to} lacks {lacks} entries; try again when it has caught up");
            return Err(refuse("host_lags", detail));
        }
        Ok(())
    }

    /// One tick went by.
    pub(super) fn tick_transfer(&mut self, outputs: &mut Vec<Output>) {
        let Some(under_way) = &mut self.transfer else { return };
        under_way.ticks += 1;
        if TICKS <= under_way.ticks {
            let to = under_way.to;
            let detail = format!(
                "host {to} did not take over in time and this host goes on leading; look at that host's network and \
                 disk, or choose another"
            );
            self.end_transfer(&refuse("not_taken_over", detail), outputs);
        }
    }

    /// Tells everybody who waits for the transfer.
    pub(super) fn end_transfer(&mut self, outcome: &Outcome, outputs: &mut Vec<Output>) {
        for requester in self.transfer.take().into_iter().flat_map(|transfer| transfer.waiting) {
            self.answer(requester, outcome.clone(), outputs);
        }
    }
}
