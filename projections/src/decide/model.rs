//! The decision model: all that [`super::decide`] may know, as a fold of the log.

use std::net::IpAddr;

use ipnet::IpNet;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::{
    AttackEvent, ChapterEvent, DenylistEvent, Event, HostEnrolled, HostEvent, MembershipEvent, StrikesCounted,
};
use log_format::ids::{HostId, Incarnation, JoinTokenId, LogIndex, OriginSequence};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::addresses::{Addresses, DeniedBy};
use super::authorities::{Authorities, Authority};
use super::chapters::Chapters;
use super::dedupe::Dedupe;
use super::hosts::{HostState, Hosts, Member};
use super::order::{self, Held};
use super::strikes::Strikes;
use super::tokens::{JoinToken, Tokens};
use super::{Settings, denylist};
use crate::address::{Untouchable, canonical, special};
use crate::digest::{Canonical, CanonicalHasher};

/// The fold of the log that rules are judged against. Every host keeps one of what is committed; the leader
/// keeps another with everything that it has proposed folded in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Model {
    pub(crate) addresses: Addresses,
    pub(crate) strikes: Strikes,
    pub(crate) settings: Settings,
    pub(crate) hosts: Hosts,
    pub(crate) tokens: Tokens,
    pub(crate) authorities: Authorities,
    pub(crate) chapters: Chapters,
    pub(crate) dedupe: Dedupe,
    applied: LogIndex,
    last_accepted_at: Timestamp,
}

/// What holds for an address: what the first step of [`super::order`] says that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is never blocked, whatever any list says.
    Untouchable(Untouchable),
    /// A person allowed it. Of a person's allowances and denials the longest prefix holds; of equals the allowance.
    Allowed {
        /// The allowance.
        network: IpNet,
        /// Its end; `None`: for good.
        until: Option<Timestamp>,
    },
    /// It is dropped for good.
    Denied {
        /// The denylist's network.
        network: IpNet,
    },
    /// It is dropped for a time.
    Blocked {
        /// The end.
        until: Timestamp,
    },
    /// It is dropped on SIP ports, for minutes.
    SoftBlocked {
        /// The end.
        until: Timestamp,
    },
    /// Nothing is held against it.
    Free,
}

/// What grew too large and what was done about it, for a person to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overflows {
    /// Blocks that made room for others.
    pub blocks_evicted: u64,
    /// Striking sources that found no room or lost theirs, since attack data was erased last.
    pub sources_evicted: u64,
}

impl Model {
    /// Folds one committed entry. Entries come in log order, each once.
    pub fn evolve(&mut self, index: LogIndex, envelope: &Envelope) {
        let at = envelope.accepted_at;
        self.chapters.note_entry(at);
        for Recorded { observed_at, salt: _, event } in &envelope.events {
            match event {
                Event::Attack(AttackEvent::Noted(_)) => {} // It costs nobody anything.
                Event::Attack(AttackEvent::Observed(_)) => {} // Its block, if one is due, is a fact of its own.
                Event::Attack(AttackEvent::StrikesCounted(StrikesCounted { deltas })) => {
                    let times = (*observed_at, at);
                    let sums = denylist::countable(&self.addresses, deltas, envelope.origin.host, times);
                    self.strikes.add(sums, at);
                }
                Event::Denylist(event) => self.evolve_denylist(event, envelope.origin.host, at),
                Event::Settings(event) => self.settings.evolve(event),
                Event::Host(event) => self.evolve_host(event, envelope.origin.incarnation),
                Event::Membership(event) => self.evolve_membership(event, at),
                Event::Chapter(event) => self.evolve_chapter(event, at),
                Event::Erased(_) => {}
            }
        }
        self.dedupe.evolve(index, envelope);
        self.applied = index;
        self.last_accepted_at = self.last_accepted_at.max(at);
    }

    fn evolve_denylist(&mut self, event: &DenylistEvent, host: HostId, at: Timestamp) {
        match event {
            DenylistEvent::AddressBlocked(event) => self.addresses.block(event, host, at),
            DenylistEvent::AddressReleased(event) => {
                self.addresses.release(event, at);
                self.strikes.forget(event.source); // Else the next strike would block it again.
            }
            DenylistEvent::AddressDenied(event) => self.addresses.deny(event),
            DenylistEvent::AddressAllowed(event) => self.addresses.allow(event, at),
        }
    }

    fn evolve_host(&mut self, event: &HostEvent, speaker: Incarnation) {
        self.hosts.evolve(event, speaker);
        if let HostEvent::Enrolled(HostEnrolled { host, token: Some(token), .. }) = event {
            self.tokens.consume(*token, *host);
        }
    }

    fn evolve_chapter(&mut self, event: &ChapterEvent, at: Timestamp) {
        self.chapters.evolve(event, at);
        if let ChapterEvent::Erased(_) = event {
            // Whoever folds the log without the erased strikes must come to the same state.
            self.strikes.forget_old(at);
        }
    }

    pub(crate) fn evolve_membership(&mut self, event: &MembershipEvent, at: Timestamp) {
        match event {
            MembershipEvent::TokenIssued(event) => self.tokens.issue(event, at),
            MembershipEvent::TokenRevoked(event) => self.tokens.revoke(event),
            MembershipEvent::AuthorityAdded(event) => self.authorities.add(event),
            MembershipEvent::AuthorityRetired(event) => self.authorities.retire(event),
            // Another cluster begins, with an authority of its own that no event names.
            MembershipEvent::ClusterForced(_) => self.authorities = Authorities::default(),
            // What was lost is told by the log; no rule rests on it.
            MembershipEvent::TailLossAccepted(_) => {}
        }
    }

    /// What holds for an address now. A block of one of its ports alone does not count.
    pub fn verdict(&self, address: IpAddr, now: Timestamp) -> Verdict {
        order::verdict(&self.held(address, None, now))
    }

    /// What is held about an address, and about one of its ports if one is named.
    pub fn held(&self, address: IpAddr, port: Option<u16>, now: Timestamp) -> Held {
        let address = canonical(address);
        let owner = self.hosts.owner(address).map(Untouchable::Host);
        #[cfg(bug = "untouchable_blocked")]
        let owner = owner.filter(|_| !log_format::planted::is_on("untouchable_blocked"));
        let never = special(address).or(owner);
        if never.is_some() {
            return Held { never, ..Held::default() };
        }
        let allowed = self.addresses.allowance(address, now);
        #[cfg(bug = "allowance_ignored")]
        let allowed = allowed.filter(|_| !log_format::planted::is_on("allowance_ignored"));
        Held {
            never,
            allowed,
            denied: self.addresses.denial(address, DeniedBy::Person),
            ports: self.addresses.blocks.held_ports(address, port, now),
            block: self.addresses.blocks.held(address, now),
            permanent: self.addresses.denial(address, DeniedBy::Threshold),
        }
    }

    /// The time of the next entry: later than that of every entry so far, also if the clock went back.
    pub fn next_accepted_at(&self, now: Timestamp) -> Timestamp {
        #[cfg(bug = "time_not_monotonic")]
        if log_format::planted::is_on("time_not_monotonic") {
            return now;
        }
        now.max(Timestamp::from_nanos(self.last_accepted_at.nanos().saturating_add(1)))
    }

    /// When the next block ends: the leader submits [`super::CommandBody::ExpireBlocks`] then.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.addresses.blocks.next_end()
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the log, at the time of its last entry, has the address dropped, if only on SIP ports.
    pub fn drops(&self, address: IpAddr) -> bool {
        match self.verdict(address, self.last_accepted_at) {
            Verdict::Denied { .. } | Verdict::Blocked { .. } | Verdict::SoftBlocked { .. } => true,
            Verdict::Untouchable(_) | Verdict::Allowed { .. } | Verdict::Free => false,
        }
    }

    /// Whether the host is in the cluster or ever was.
    pub fn knows_host(&self, host: HostId) -> bool {
        self.hosts.state(host).is_some()
    }

    /// Whether the log holds the host to be active; `None` if it is not in the cluster.
    pub fn host_is_active(&self, host: HostId) -> Option<bool> {
        match self.hosts.state(host)? {
            HostState::Active => Some(true),
            HostState::Inactive { .. } => Some(false),
            HostState::Removed => None,
        }
    }

    /// Every host that belongs to the cluster, in order of id.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.hosts.members()
    }

    /// The key with which a host of the cluster signs; `None`: it has announced none.
    pub fn host_key(&self, host: HostId) -> Option<[u8; 32]> {
        self.hosts.key(host)
    }

    /// A join token that is remembered, used and void ones included.
    pub fn join_token(&self, token: JoinTokenId) -> Option<JoinToken> {
        self.tokens.get(token)
    }

    /// Every join token that is remembered, in order of its name.
    pub fn join_tokens(&self) -> impl Iterator<Item = (JoinTokenId, JoinToken)> {
        self.tokens.iter()
    }

    /// The authorities that the log names and that are trusted, in the order in which they came. The one that the cluster was
    /// made with is not among them.
    pub fn authorities(&self) -> impl Iterator<Item = Authority<'_>> {
        self.authorities.trusted()
    }

    /// The keys' hashes of all authorities that are no longer trusted.
    pub fn retired_authorities(&self) -> impl Iterator<Item = [u8; 32]> {
        self.authorities.retired()
    }

    /// Rises with every change of the authorities; begins anew with another cluster.
    pub fn authority_changes(&self) -> usize {
        self.authorities.changes()
    }

    /// Whether an authority is no longer trusted; also the one that the cluster was made with can be retired.
    pub fn is_authority_retired(&self, key_hash: &[u8; 32]) -> bool {
        self.authorities.is_retired(key_hash)
    }

    /// The log's chapters.
    pub fn chapters(&self) -> &Chapters {
        &self.chapters
    }

    /// What a host is to the cluster; `None` if it never was in it.
    pub fn host_state(&self, host: HostId) -> Option<HostState> {
        self.hosts.state(host)
    }

    /// The last observation of a host incarnation that took effect; its spool may forget what is not later.
    pub fn acknowledged(&self, host: HostId, incarnation: Incarnation) -> OriginSequence {
        self.dedupe.acknowledged(host, incarnation)
    }

    /// How often the numbers of a host incarnation's observations jumped. A host that starts again may begin
    /// at a higher number; any other jump means that observations were lost on their way.
    pub fn gaps(&self, host: HostId, incarnation: Incarnation) -> u64 {
        self.dedupe.gaps(host, incarnation)
    }

    /// The last entry folded.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The time of the last entry folded.
    pub fn last_accepted_at(&self) -> Timestamp {
        self.last_accepted_at
    }

    /// What grew too large.
    pub fn overflows(&self) -> Overflows {
        Overflows { blocks_evicted: self.addresses.blocks.evicted(), sources_evicted: self.strikes.evicted() }
    }

    /// Adds the state's canonical bytes.
    pub(crate) fn digest_into(&self, out: &mut CanonicalHasher) {
        let Self {
            addresses,
            strikes,
            settings,
            hosts,
            tokens,
            authorities,
            chapters,
            dedupe,
            applied,
            last_accepted_at,
        } = self;
        addresses.put(out);
        strikes.put(out);
        settings.put(out);
        hosts.put(out);
        tokens.put(out);
        authorities.put(out);
        chapters.put(out);
        dedupe.put(out);
        applied.put(out);
        last_accepted_at.put(out);
    }
}
