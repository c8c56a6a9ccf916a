//! Who takes part: the administrator, who lets machines join, lets hosts go and replaces those that are lost; and who speaks
//! with whom, as the transport has it.
//!
//! ```text
//!  Join ──IssueJoinToken──> token ──JoinHost, at the leader's desk──> admitted: a new id, an empty disk ──> starts
//!  LetGo, or lost ──RemoveHost──> let go: cut off, and told so; its machine may join as another host
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;

use consensus::core::Role;
use log_format::event::{HostRole, Text};
use log_format::ids::{HostId, JoinTokenId, LogIndex};
use log_format::wal::ConfState;
use palisade::node::{Input, Members, Node, Outcome, PeerMessage};
use projections::decide::{CommandBody, HostState};
use projections::read::HostRow;

use super::{Event, World};
use crate::check::{Checker, Violation, ensure};
use crate::disk::End;
use crate::host::{Health, Host};
use crate::network::Fate;
use crate::workload::Wish;

/// Machines that join in a run at most.
const MOST_MACHINES: u8 = 8;
/// Hosts that stay at least, whoever is let go.
const LEAST_HOSTS: usize = 2;
/// The administrator looks around so often, at most.
const LOOK_AROUND: Duration = Duration::from_secs(3);
/// A machine starts within this time after it was admitted.
const STARTS_WITHIN: Duration = Duration::from_secs(8);
/// The wishes to join that a run begins with come within this time.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// Where hosts that join are reached; nobody dials in this world.
const PORT: u16 = 7_400;

/// What is done for the sake of the members.
#[derive(Debug)]
pub(super) enum Errand {
    /// Another machine is to join.
    Join,
    /// The administrator looks who is lost.
    LookAround,
    /// A host hears from another that it was let go.
    Farewell { by: HostId, to: HostId },
}

/// What the administrator remembers.
#[derive(Default)]
pub(super) struct Administrator {
    /// Machines so far: each has a name and an address of its own.
    machines: u8,
    /// Hosts that are to be let go.
    leaving: BTreeSet<HostId>,
    /// Tokens of machines that were refused and have given up. An earlier copy of the same request may be on its way still: it makes a host
    /// that no machine runs.
    given_up: BTreeSet<JoinTokenId>,
    /// Hosts with a vote, as far as was looked.
    voters: Vec<HostId>,
}

impl World {
    /// The administrator begins, if the run has one.
    pub(super) fn begin_to_administer(&mut self) {
        for _ in 0..self.faults.joiners() {
            let after = self.prng.between(Duration::ZERO, JOIN_WITHIN);
            self.schedule(after, Event::Errand(Errand::Join));
        }
        if self.faults.has_administrator() {
            self.schedule(LOOK_AROUND, Event::Errand(Errand::LookAround));
        }
    }

    pub(super) fn run(&mut self, errand: Errand) {
        match errand {
            Errand::Join => self.let_join(),
            Errand::LookAround => self.look_around(),
            Errand::Farewell { by, to } => self.offer(to, Input::LetGo { by }),
        }
    }

    /// A machine is to join: it needs a token first.
    pub(super) fn let_join(&mut self) {
        if self.administrator.machines == MOST_MACHINES {
            return;
        }
        self.administrator.machines += 1;
        let (token, verifier) = (JoinTokenId::new(self.prng.bytes()), self.prng.bytes());
        let role = if self.prng.chance(150) { HostRole::SensorOnly } else { HostRole::VoterCapable };
        let issue = |by| CommandBody::IssueJoinToken { token, verifier, role, seconds: None, by };
        let wish = self.workload.administer(self.now, issue);
        self.ask(wish);
    }

    /// A host is to go, if the others can do without it and are enough.
    pub(super) fn let_go(&mut self, id: HostId) {
        let leaving = &self.administrator.leaving;
        let staying = self.members.iter().filter(|host| **host != id && !leaving.contains(host)).count();
        let is_new = !leaving.contains(&id) && self.members.contains(&id);
        if is_new && LEAST_HOSTS <= staying && self.can_lose(id) {
            self.dismiss(id);
        }
    }

    fn dismiss(&mut self, host: HostId) {
        self.administrator.leaving.insert(host);
        let wish = self.workload.administer(self.now, |by| CommandBody::RemoveHost { host, by });
        self.ask(wish);
    }

    /// Replaces hosts that do not come back.
    fn look_around(&mut self) {
        let after = self.prng.between(Duration::from_millis(200), LOOK_AROUND);
        self.schedule(after, Event::Errand(Errand::LookAround));
        let is_lost = |id: &HostId| self.hosts.get(id).is_some_and(|host| host.health == Health::Lost);
        let is_new = |id: &HostId| !self.administrator.leaving.contains(id);
        let lost: Vec<HostId> =
            self.members.iter().copied().filter(is_lost).filter(is_new).take(self.spare()).collect();
        for host in lost {
            self.dismiss(host);
            self.let_join();
        }
        for host in self.ghosts() {
            self.dismiss(host);
        }
    }

    /// Hosts that no machine runs, nor will.
    fn ghosts(&self) -> Vec<HostId> {
        if self.administrator.given_up.is_empty() {
            return Vec::new();
        }
        let is_ghost = |row: &&HostRow| {
            let was_refused = row.token.is_some_and(|token| self.administrator.given_up.contains(&token));
            was_refused && row.state != HostState::Removed && !self.hosts.contains_key(&row.host)
        };
        let ghosts_of = |node: &Node| -> Vec<HostId> {
            let views = node.views();
            let views = views.read().unwrap_or_else(PoisonError::into_inner);
            views.hosts.rows().filter(is_ghost).map(|row| row.host).collect()
        };
        let leads = |node: &&Node| node.consensus().role == Role::Leader;
        let mut ghosts =
            self.hosts.values().filter_map(Host::node).find(leads).map(ghosts_of).unwrap_or_default();
        ghosts.retain(|host| !self.administrator.leaving.contains(host));
        ghosts
    }

    /// So many hosts can go at once.
    fn spare(&self) -> usize {
        let leaving = self.members.iter().filter(|host| self.administrator.leaving.contains(host)).count();
        self.members.len().saturating_sub(leaving + 1)
    }

    /// A host's data directory is gone, if the others can do without.
    pub(super) fn wipe(&mut self, id: HostId) {
        let is_sound = self.hosts.get(&id).is_some_and(|host| host.health == Health::Sound);
        if !is_sound || !self.members.contains(&id) || !self.can_lose(id) {
            return;
        }
        self.crash(id, End::PowerCut, Duration::ZERO);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.wipe();
            self.figures.wiped += 1;
        }
    }

    /// Whether the others are a majority without this host, whatever change of members is under way: those that are lost or
    /// rotten, those that are to go, and this one are fewer than half of all that might be asked, by what any host has applied
    /// and by what each one knows. A change that only the lost have applied is not known to those that are left.
    pub(super) fn can_lose(&self, id: HostId) -> bool {
        let sound = self.hosts.values().filter(|host| host.health == Health::Sound);
        let known = sound.filter_map(Host::consensus_members);
        known
            .chain([self.checks.consensus_members().clone()])
            .all(|members| self.can_do_without(id, &members))
    }

    fn can_do_without(&self, id: HostId, members: &ConfState) -> bool {
        let is_bad = |host: &HostId| {
            let is_unsound = self.hosts.get(host).is_some_and(|host| host.health != Health::Sound);
            *host == id || is_unsound || self.administrator.leaving.contains(host)
        };
        let all = members.voters.iter().chain(&members.learners).chain(std::iter::once(&id));
        let bad: BTreeSet<HostId> = all.copied().filter(is_bad).collect();
        let asked: BTreeSet<HostId> = members.voters.iter().copied().chain(bad.iter().copied()).collect();
        2 * bad.len() < asked.len()
    }

    /// The host that somebody turns to. Who wants to join is sent on to the leader.
    pub(super) fn whom_to_ask(&mut self, wish: &Wish) -> Option<HostId> {
        if let CommandBody::JoinHost { token, .. } = wish.body {
            return self.desk(token);
        }
        self.workload.choose_host()
    }

    /// The leader's desk, if it knows the token.
    fn desk(&self, token: JoinTokenId) -> Option<HostId> {
        let is_desk =
            |node: &Node| node.consensus().role == Role::Leader && node.model().join_token(token).is_some();
        let desk = self.hosts.iter().find(|(_, host)| host.node().is_some_and(is_desk));
        desk.map(|(id, _)| *id)
    }

    /// What the administrator, or a machine, does next once it has its answer from a host.
    pub(super) fn go_on_administering(
        &mut self,
        at: HostId,
        wish: &Wish,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        if let (CommandBody::JoinHost { token, .. }, Outcome::Rejected(_)) = (&wish.body, outcome) {
            self.administrator.given_up.insert(*token);
        }
        if !matches!(outcome, Outcome::Committed { .. }) {
            return Ok(());
        }
        if let CommandBody::IssueJoinToken { token, .. } = wish.body {
            let number = self.administrator.machines;
            let (token, address) = (token, IpAddr::from([10, 0, 1, number]));
            let name = Text::new(format!("machine-{token}").as_bytes());
            let peer = SocketAddr::new(address, PORT);
            let join = |_| CommandBody::JoinHost { token, name, addresses: vec![address], peer };
            let wish = self.workload.administer(self.now, join);
            self.ask(wish);
        }
        if let CommandBody::JoinHost { token, .. } = wish.body {
            self.admit(at, token)?;
        }
        Ok(())
    }

    /// A machine hears from the desk which host it is, and whom there is to speak with. Some never start.
    fn admit(&mut self, at: HostId, token: JoinTokenId) -> Result<(), Violation> {
        let Some(node) = self.hosts.get(&at).and_then(Host::node) else { return Ok(()) };
        let views = node.views();
        let views = views.read().unwrap_or_else(PoisonError::into_inner);
        let row = views.hosts.rows().find(|row| row.token == Some(token));
        let Some(id) = row.filter(|row| row.state != HostState::Removed).map(|row| row.host) else {
            return Ok(()); // Let go again before it heard.
        };
        let known = node.model().members().map(|member| member.host).collect();
        ensure(!self.hosts.contains_key(&id), Checker::Members, || {
            format!("host {at} lets a machine join as host {id}, which there is or was")
        })?;
        let mut host = Host::new(id, self.setup, self.faults.later_skew(), known);
        if self.prng.chance(100) {
            host.wipe();
        }
        self.trace.line(self.now, format_args!("host {id}: joins, {:?}", host.health));
        self.hosts.insert(id, host);
        self.figures.joined += 1;
        let after = self.prng.up_to(STARTS_WITHIN);
        self.schedule(after, Event::Restart(id));
        self.schedule(after, Event::Sense(id));
        self.note_members();
        Ok(())
    }

    /// Looks who belongs to the cluster by now.
    pub(super) fn note_members(&mut self) {
        let belong: Vec<HostId> =
            self.hosts.keys().copied().filter(|host| !self.checks.is_let_go(*host)).collect();
        if belong != self.members {
            self.figures.let_go += self.members.iter().filter(|host| !belong.contains(host)).count() as u64;
            self.workload.turn_to(&belong);
            self.members = belong;
        }
    }

    /// Whoever gets a vote has something of the log.
    pub(super) fn look_at_votes(&mut self) -> Result<(), Violation> {
        let voters = &self.checks.consensus_members().voters;
        if *voters == self.administrator.voters {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.administrator.voters, voters.clone());
        let new = self.administrator.voters.iter().filter(|voter| !before.contains(voter));
        for (id, host) in new.filter(|_| !before.is_empty()).filter_map(|id| Some((id, self.hosts.get(id)?)))
        {
            let has_some = host.health == Health::Lost || LogIndex::new(0) < host.drive.held().last.index;
            ensure(has_some, Checker::Members, || format!("host {id} has a vote and nothing of the log"))?;
        }
        Ok(())
    }

    /// A host's transport speaks with these from now on.
    pub(super) fn follow(&mut self, id: HostId, members: &Members) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.follow(members);
        }
    }

    /// A message arrives at a host's transport.
    pub(super) fn arrives(&mut self, (from, to): (HostId, HostId), message: PeerMessage) {
        if self.takes(to, (from, &message)) {
            self.offer(to, Input::Peer { from, message });
        }
    }

    /// Whether a host's transport takes what another says. One that was let go is told so.
    fn takes(&mut self, to: HostId, (from, message): (HostId, &PeerMessage)) -> bool {
        let Some(host) = self.hosts.get(&to) else { return false };
        if host.speaks_with(from) {
            return true;
        }
        let was_let_go =
            host.node().is_some_and(|node| node.model().host_state(from) == Some(HostState::Removed));
        match message {
            PeerMessage::Ping { .. } if was_let_go => self.say_farewell(to, from),
            PeerMessage::Raft(_) => {
                if let Some(sender) = self.hosts.get_mut(&from) {
                    sender.note_unreachable(to);
                }
            }
            PeerMessage::Ping { .. }
            | PeerMessage::Pong { .. }
            | PeerMessage::Forward { .. }
            | PeerMessage::Forwarded { .. } => {}
        }
        false
    }

    fn say_farewell(&mut self, by: HostId, to: HostId) {
        if let Fate::Arrives(after) = self.network.send(self.now, by, to) {
            for after in after {
                self.schedule(after, Event::Errand(Errand::Farewell { by, to }));
            }
        }
    }

    /// Whether nobody is lost whom somebody would replace.
    pub(super) fn is_replaced(&self) -> bool {
        let is_lost = |id: &HostId| self.hosts.get(id).is_some_and(|host| host.health == Health::Lost);
        !self.faults.has_administrator() || !self.members.iter().any(is_lost)
    }

    /// Whether every host that was let go, and could hear it, knows.
    pub(super) fn is_farewell_heard(&self) -> bool {
        self.hosts.iter().filter(|(id, _)| !self.members.contains(id)).all(|(_, host)| {
            let Some(node) = host.node() else { return true };
            let hears = host.peers().any(|peer| self.members.contains(&peer));
            !hears || node.picture(host.now(self.now)).is_let_go
        })
    }
}
