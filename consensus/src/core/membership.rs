//! Who takes part: the one-step changes that raft makes, and the plan that leads by such steps from the members there are
//! to those that are wanted.
//!
//! ```text
//!            AddLearner            Promote (has caught up)
//!  wanted ───────────────> learner ───────────────────────> voter
//!                             │  ^──────── Demote ────────────┘
//!                             └──────────> Remove <───────────┘
//! ```
//!
//! Voters are the largest odd number of the hosts that may vote: a fourth vote makes a majority larger and tolerates no
//! more failures than three. One step at a time, and a leader hands over before its own vote is taken away, or once it was
//! taken by a step of the leader before.

use std::collections::{BTreeMap, BTreeSet};

use log_format::ids::{HostId, LogIndex};
use log_format::wal::{ConfState, EntryKind, LogEntry, LogPosition};
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType};

/// A learner that lacks no more entries than this holds the log for all practical purposes.
pub const CATCH_UP_ENTRIES: u64 = 1_000;
/// For so many ticks without a break it must have lacked no more before it gets a vote: 5 s.
pub const CATCH_UP_TICKS: u32 = 50;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Let this host receive entries.
    AddLearner(HostId),
    /// Give this learner a vote.
    Promote(HostId),
    /// Take this voter's vote away; it goes on receiving entries.
    Demote(HostId),
    /// Let this host go.
    Remove(HostId),
}

impl Change {
    /// The host that it is about.
    pub const fn host(self) -> HostId {
        match self {
            Self::AddLearner(host) | Self::Promote(host) | Self::Demote(host) | Self::Remove(host) => host,
        }
    }

    /// Whether it changes these members, in the way its name says.
    pub fn applies_to(self, members: &ConfState) -> bool {
        let (voters, learners) = (&members.voters, &members.learners);
        match self {
            Self::AddLearner(host) => {
                !voters.contains(&host)
                    && !learners.contains(&host)
                    && voters.len() + learners.len() < ConfState::MAX_MEMBERS
            }
            Self::Promote(host) => learners.contains(&host),
            Self::Demote(host) => 1 < voters.len() && voters.contains(&host),
            Self::Remove(host) => learners.contains(&host) || (1 < voters.len() && voters.contains(&host)),
        }
    }

    /// The entry that makes this change, for whoever writes a log that no consensus runs on. `None` if it cannot be encoded.
    pub fn entry(self, at: LogPosition) -> Option<LogEntry> {
        let data = self.to_raft().write_to_bytes().ok()?;
        Some(LogEntry { index: at.index, term: at.term, kind: EntryKind::ConfChange, data })
    }

    pub(super) fn to_raft(self) -> ConfChange {
        let change_type = match self {
            Self::AddLearner(_) | Self::Demote(_) => ConfChangeType::AddLearnerNode,
            Self::Promote(_) => ConfChangeType::AddNode,
            Self::Remove(_) => ConfChangeType::RemoveNode,
        };
        ConfChange { change_type, node_id: self.host().get(), ..ConfChange::default() }
    }
}

/// Whether a host may have a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Eligibility {
    /// It may; whether it has one depends on the others.
    VoterCapable,
    /// Never: it senses and protects, and has the log.
    SensorOnly,
}

/// The hosts that should take part.
pub type Desired = BTreeMap<HostId, Eligibility>;

/// What a leader knows that plans.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The leader itself.
    pub leader: HostId,
    /// Who takes part.
    pub members: &'a ConfState,
    /// Learners that have caught up; see [`CatchUp`].
    pub caught_up: &'a BTreeSet<HostId>,
    /// Hosts that answer just now, in any case the leader.
    pub active: &'a BTreeSet<HostId>,
    /// Voters other than the leader that answer at this moment and could lead within the next, the first choice first. A host
    /// that fell silent is active still for a while, and not among them.
    pub heirs: &'a [HostId],
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Change the members.
    Change(Change),
    /// Hand leadership over first: the leader's own vote has to go.
    Transfer {
        /// The next leader.
        to: HostId,
    },
    /// Do nothing yet: a vote has to go, and those that stay do not all answer just now.
    Wait,
}

/// The next step towards `desired`; none if nothing can be done now, or all is as desired.
pub fn next_step(desired: &Desired, picture: &Picture<'_>) -> Option<Step> {
    let planner = Planner { desired, picture };
    planner
        .leave_without_vote()
        .or_else(|| planner.remove_learner())
        .or_else(|| planner.add())
        .or_else(|| planner.retire_unwanted_voter())
        .or_else(|| planner.demote_surplus())
        .or_else(|| planner.promote())
}

/// How many hosts should have a vote, of so many that may.
pub const fn voters_of(capable: usize) -> usize {
    match capable {
        0 => 0,
        capable => capable - (capable + 1) % 2,
    }
}

struct Planner<'a> {
    desired: &'a Desired,
    picture: &'a Picture<'a>,
}

impl Planner<'_> {
    fn may_vote(&self, host: HostId) -> bool {
        self.desired.get(&host) == Some(&Eligibility::VoterCapable)
    }

    fn wanted_voters(&self) -> usize {
        let capable = self.desired.values().filter(|role| **role == Eligibility::VoterCapable);
        #[cfg(bug = "even_votes")]
        if log_format::planted::is_on("even_votes") {
            return capable.count();
        }
        voters_of(capable.count())
    }

    /// A leader whose vote was taken by an entry of the leader before it, which it has committed since.
    fn leave_without_vote(&self) -> Option<Step> {
        if self.picture.members.voters.contains(&self.picture.leader) {
            return None;
        }
        self.hand_over()
    }

    fn remove_learner(&self) -> Option<Step> {
        let mut learners = self.picture.members.learners.iter();
        let gone = learners.find(|host| !self.desired.contains_key(host))?;
        Some(Step::Change(Change::Remove(*gone)))
    }

    fn add(&self) -> Option<Step> {
        let ConfState { voters, learners } = self.picture.members;
        let is_new = |host: &&HostId| !voters.contains(host) && !learners.contains(host);
        let new = self.desired.keys().find(is_new)?;
        Some(Step::Change(Change::AddLearner(*new)))
    }

    /// A voter that is wanted no more, or not as a voter. Those that do not answer go first: they only stand in the way.
    fn retire_unwanted_voter(&self) -> Option<Step> {
        #[cfg(bug = "removed_host_counted")]
        if log_format::planted::is_on("removed_host_counted") {
            return None;
        }
        let voters = &self.picture.members.voters;
        let mut unwanted: Vec<_> = voters.iter().copied().filter(|host| !self.may_vote(*host)).collect();
        unwanted.sort_by_key(|host| (*host == self.picture.leader, self.picture.heirs.contains(host), *host));
        let first = *unwanted.first()?;
        if first == self.picture.leader {
            return self.hand_over();
        }
        if !self.can_do_without(first) {
            return Some(self.make_room_without(first));
        }
        Some(Step::Change(match self.desired.contains_key(&first) {
            true => Change::Demote(first),
            false => Change::Remove(first),
        }))
    }

    /// Whether most of these answer just now. If not, nothing could be decided any more once they are the voters.
    fn can_decide(&self, voters: &[HostId]) -> bool {
        let Picture { leader, heirs, .. } = self.picture;
        let candidates = self.candidates();
        let is_well = |host: &&HostId| *host == leader || heirs.contains(host) || candidates.contains(host);
        voters.len() < 2 * voters.iter().filter(is_well).count()
    }

    fn can_do_without(&self, host: HostId) -> bool {
        let voters = self.picture.members.voters.iter().copied();
        self.can_decide(&voters.filter(|voter| *voter != host).collect::<Vec<_>>())
    }

    /// A vote must go, and is needed: another one is given first, or one that says nothing is taken away.
    fn make_room_without(&self, host: HostId) -> Step {
        let Picture { members, active, .. } = self.picture;
        let silent = members.voters.iter().find(|voter| **voter != host && !active.contains(voter));
        let Some(silent) = silent else { return Step::Wait };
        let with = |candidate: HostId| members.voters.iter().copied().chain([candidate]).collect::<Vec<_>>();
        match self.candidates().first() {
            Some(candidate) if self.can_decide(&with(*candidate)) => {
                Step::Change(Change::Promote(*candidate))
            }
            Some(_) | None if self.can_do_without(*silent) => Step::Change(Change::Demote(*silent)),
            Some(_) | None => Step::Wait,
        }
    }

    /// The leader must go: to a voter that stays and can lead; if none stays, somebody has to become one.
    fn hand_over(&self) -> Option<Step> {
        let Picture { members, active, heirs, .. } = self.picture;
        let stays = |host: &&HostId| self.may_vote(**host) && members.voters.contains(host);
        if let Some(to) = heirs.iter().find(stays) {
            return Some(Step::Transfer { to: *to });
        }
        if members.voters.iter().filter(stays).any(|host| active.contains(host)) {
            // It will answer again, or be called inactive.
            return Some(Step::Wait);
        }
        self.candidates().first().map(|host| Step::Change(Change::Promote(*host)))
    }

    fn demote_surplus(&self) -> Option<Step> {
        let voters = &self.picture.members.voters;
        if voters.len() <= self.wanted_voters().max(1) {
            return None;
        }
        let others = voters.iter().copied().filter(|host| *host != self.picture.leader);
        let least_use = others.max_by_key(|host| (!self.picture.active.contains(host), *host))?;
        Some(Step::Change(Change::Demote(least_use)))
    }

    /// From an odd number of votes it takes two more at once to be better off: a first one is given only if a second one
    /// can follow.
    fn promote(&self) -> Option<Step> {
        let voters = self.picture.members.voters.len();
        let candidates = self.candidates();
        let needed = if voters.is_multiple_of(2) { 1 } else { 2 };
        let host = candidates.first().filter(|_| needed <= candidates.len())?;
        (voters < self.wanted_voters()).then_some(Step::Change(Change::Promote(*host)))
    }

    /// Learners that may get a vote now.
    fn candidates(&self) -> Vec<HostId> {
        let Picture { members, caught_up, active, .. } = self.picture;
        let ready = |host: &HostId| self.may_vote(*host) && caught_up.contains(host) && active.contains(host);
        members.learners.iter().copied().filter(ready).collect()
    }
}

/// Counts for how long each learner has been close behind the commit index. Reset it with each leadership.
#[derive(Debug, Default)]
pub struct CatchUp {
    ticks: BTreeMap<HostId, u32>,
}

impl CatchUp {
    /// One tick went by; `progress` says what each follower is known to hold.
    pub fn tick(&mut self, learners: &[HostId], progress: &[(HostId, LogIndex)], commit: LogIndex) {
        let enough = commit.get().saturating_sub(CATCH_UP_ENTRIES);
        let is_close = |host: &HostId| {
            #[cfg(bug = "empty_learner_promoted")]
            if log_format::planted::is_on("empty_learner_promoted") {
                return true;
            }
            progress
                .iter()
                .any(|(known, matched)| known == host && matched.get() != 0 && enough <= matched.get())
        };
        self.ticks.retain(|host, _| learners.contains(host) && is_close(host));
        for host in learners.iter().filter(|host| is_close(host)) {
            let ticks = self.ticks.entry(*host).or_default();
            *ticks = ticks.saturating_add(1);
        }
    }

    /// The learners that have been close for long enough.
    pub fn caught_up(&self) -> BTreeSet<HostId> {
        let enough = |(host, ticks): (&HostId, &u32)| (CATCH_UP_TICKS <= *ticks).then_some(*host);
        self.ticks.iter().filter_map(enough).collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ticks.clear();
    }
}

#[cfg(test)]
mod tests;
