//! Who takes part: the leader leads consensus, step by step, to the hosts that the log says belong to the cluster; every host
//! speaks with those, and with nobody else.
//!
//! A host of the start-up configuration that the log does not know yet counts as wanted: the first leader is about to enrol
//! it. Once the log knows a host, the log alone says what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::PoisonError;

use consensus::core::Input as CoreInput;
use consensus::core::membership::{CatchUp, Desired, Eligibility, Picture, Step, next_step};
use log_format::event::HostRole;
use log_format::ids::{HostId, Incarnation};
use projections::decide::{CommandBody, HostState, Member};

use super::submit::refuse;
use super::{DiskState, Node, Now, Outcome, Output};

/// What whoever runs a host that was let go has to know.
pub const LET_GO: &str = "this host was removed from the cluster: no host speaks with it any more, and it protects itself alone, with what it \
                          knew. Stop it; to use the machine again, let it join anew into an empty folder (`palisade cluster join`)";

/// The hosts to speak with.
pub type Members = BTreeMap<HostId, Contact>;

/// How a host is known to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contact {
    /// Where it is reached; `None`: as the start-up configuration says.
    pub peer: Option<SocketAddr>,
    /// Its incarnation; `None`: the log does not have it yet.
    pub incarnation: Option<Incarnation>,
}

/// The authorities that the log names, beside the one that the cluster was made with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Certificates of those that are trusted, DER, in the order in which they were added: the last one signs.
    pub added: Vec<Vec<u8>>,
    /// Hashes of the keys of those that are no longer trusted.
    pub retired: BTreeSet<[u8; 32]>,
}

/// What a host remembers about members beside the log.
#[derive(Default)]
pub(super) struct Membership {
    catch_up: CatchUp,
    /// Whom this leader, which has to go, tried to hand over to last.
    last_heir: Option<HostId>,
    told: Members,
    /// [`projections::decide::Model::authority_changes`] when the authorities were told last.
    told_authorities: usize,
    /// A peer that says that this host was let go, while no leader speaks to it.
    let_go_by: Option<HostId>,
    /// Whether this host's log has said so.
    is_farewell_said: bool,
}

impl Membership {
    /// A peer says that this host was let go.
    pub(super) fn let_go_by(&mut self, peer: HostId) {
        self.let_go_by = Some(peer);
    }

    /// A leader speaks to this host: it belongs to the cluster, whatever a peer said.
    pub(super) fn belongs(&mut self) {
        self.let_go_by = None;
    }
}

impl Node {
    /// The hosts to speak with, this one among them, as far as this host has folded the log: those that belong to the cluster,
    /// and those that were let go for as long as consensus still counts on them. That is a moment, in which a leader that was
    /// let go hands over.
    pub fn members(&self) -> Members {
        let status = self.core.status();
        let taking_part = status.voters.into_iter().chain(status.learners);
        let leaving = taking_part.filter(|host| self.model.host_state(*host) == Some(HostState::Removed));
        let told = |host: &HostId| self.membership.told.get(host).copied().unwrap_or_default();
        let configured = self.identity.hosts.iter().map(|known| known.host);
        let unknown = configured.filter(|host| self.model.host_state(*host).is_none());
        unknown
            .map(|host| (host, Contact::default()))
            .chain(leaving.map(|host| (host, told(&host))))
            .chain(
                self.model
                    .members()
                    .map(|Member { host, peer, incarnation, .. }| (host, Contact { peer, incarnation })),
            )
            .collect()
    }

    /// Whether this host was let go from the cluster, as its own log or a peer says.
    pub(super) fn is_let_go(&self) -> bool {
        self.membership.let_go_by.is_some()
            || self.model.host_state(self.identity.host) == Some(HostState::Removed)
    }

    /// Says once in this host's own log that it was let go: nobody else could tell whoever runs it.
    pub(super) fn say_if_let_go(&mut self) {
        let is_let_go = self.is_let_go();
        if is_let_go && !self.membership.is_farewell_said {
            let by = self.membership.let_go_by.map(tracing::field::display);
            tracing::error!(host = %self.identity.host, said_by = by, "{LET_GO}");
        }
        self.membership.is_farewell_said = is_let_go;
    }

    /// Tells who the members are, if that changed. While this host folds what a snapshot brought, it knows only who they
    /// once were.
    pub(super) fn tell_members(&mut self, outputs: &mut Vec<Output>) {
        if self.behind.is_some() {
            return;
        }
        let members = self.members();
        if members != self.membership.told {
            self.peers.follow(&members);
            self.membership.told.clone_from(&members);
            outputs.push(Output::Members(members));
        }
        let changes = self.model.authority_changes();
        if changes != self.membership.told_authorities {
            self.membership.told_authorities = changes;
            outputs.push(Output::Trust(self.trust()));
        }
    }

    /// The authorities that the log names, as far as this host has folded it.
    pub fn trust(&self) -> Trust {
        Trust {
            added: self.model.authorities().map(|authority| authority.certificate.to_vec()).collect(),
            retired: self.model.retired_authorities().collect(),
        }
    }

    /// Why an authority cannot be retired yet: hosts that show a certificate of it, or have not said which they show. Soft
    /// state, so it is the leader's to look at.
    pub(super) fn authority_in_use(&self, body: &CommandBody) -> Option<Outcome> {
        let CommandBody::RetireAuthority { key_hash, by: _ } = body else { return None };
        let shown = self.picture_of_authorities();
        let is_free =
            |host: &HostId| shown.get(host).copied().flatten().is_some_and(|shown| shown != *key_hash);
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let named = |host: HostId| match views.hosts.get(host) {
            Some(row) => format!("{host} ({})", row.name.visible()),
            None => host.to_string(),
        };
        let users: Vec<String> = self
            .model
            .members()
            .filter(|member| !is_free(&member.host))
            .map(|member| named(member.host))
            .collect();
        let detail = format!(
            "these hosts still have a certificate of it, or have not said which one they have: {}; wait until they have renewed it, \
             or remove them",
            users.join(", ")
        );
        (!users.is_empty()).then(|| refuse("authority_in_use", detail))
    }

    /// One tick went by: a leader takes the next step towards the members that the log names.
    pub(super) fn reconcile_members(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.speculation.is_none() {
            return self.membership.catch_up.clear();
        }
        let status = self.core.status();
        self.membership.catch_up.tick(&status.learners, &status.progress, status.commit);
        let members = log_format::wal::ConfState::new(status.voters, status.learners);
        let heirs = self.heirs(&status.answering, now);
        if let Some(to) = self.heir_with_room(&heirs) {
            return self.leave_to(to, now, outputs);
        }
        let picture = Picture {
            leader: self.identity.host,
            members: &members,
            caught_up: &self.membership.catch_up.caught_up(),
            active: &self.active_hosts(),
            heirs: &heirs,
        };
        match next_step(&self.desired(&members), &picture) {
            None | Some(Step::Wait) => {}
            Some(Step::Transfer { to }) => self.leave_to(to, now, outputs),
            Some(Step::Change(change)) => {
                // Whatever was decided has its place in the log before the change.
                self.propose_all(now, outputs);
                let ticket = self.fresh_ticket();
                tracing::debug!(?change, "next step towards the members that the log names");
                // A refusal (an earlier change is not in force yet) is no news: the next tick plans again.
                self.drive(CoreInput::ChangeMembers { ticket, change }, now, outputs);
                self.skip_foreign();
            }
        }
    }

    fn leave_to(&mut self, to: HostId, now: Now, outputs: &mut Vec<Output>) {
        if self.go_to(to, now, outputs) {
            self.membership.last_heir = Some(to);
        }
    }

    /// A leader whose disk is nearly full refuses what people and sensors of all hosts ask for: another one is to lead, if it
    /// has room.
    fn heir_with_room(&self, heirs: &[HostId]) -> Option<HostId> {
        let is_low = self.peers.disk() == DiskState::Low;
        heirs.iter().copied().find(|host| is_low && self.peers.disk_of(*host) == Some(DiskState::Ample))
    }

    /// Voters that could lead within moments. Whoever was tried last comes last.
    fn heirs(&self, answering: &[HostId], now: Now) -> Vec<HostId> {
        let can_lead = |host: &HostId| self.can_take_over(*host, now).is_ok();
        let mut heirs: Vec<_> = answering.iter().copied().filter(can_lead).collect();
        heirs.sort_by_key(|host| (Some(*host) <= self.membership.last_heir, *host));
        heirs
    }

    fn desired(&self, members: &log_format::wal::ConfState) -> Desired {
        let taking_part = members.voters.iter().chain(&members.learners).copied();
        let unknown = taking_part.filter(|host| self.model.host_state(*host).is_none());
        let eligibility = |role| match role {
            HostRole::VoterCapable => Eligibility::VoterCapable,
            HostRole::SensorOnly => Eligibility::SensorOnly,
        };
        unknown
            .map(|host| (host, Eligibility::VoterCapable))
            .chain(self.model.members().map(|member| (member.host, eligibility(member.role))))
            .collect()
    }

    fn active_hosts(&self) -> BTreeSet<HostId> {
        let active = self.model.members().filter(|member| member.is_active).map(|member| member.host);
        active.chain([self.identity.host]).collect()
    }
}
