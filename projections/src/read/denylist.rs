//! Who is dropped, why, since when and until when; and who never is.

use std::net::IpAddr;

use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::{
    Actor, AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, AttackKind, BlockReason,
    DenyReason, DenylistEvent, Evidence, Rule, Sanction, Scope, Text,
};
use log_format::ids::{BlockId, LogIndex};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Found, Page, TextFilter};
use crate::book::{Block, BlockBook};
use crate::decide::order::Held;
use crate::decide::{DeniedBy, lasts};
use crate::digest::{Canonical, CanonicalHasher};
use crate::networks::NetworkList;

/// One block or denial that is in force. Borrowed from the view, so a query copies nothing large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenylistRow<'a> {
    /// The block's identity: that of the command that made it.
    pub block: BlockId,
    /// The address; of a network its first.
    pub address: IpAddr,
    /// What of it is dropped.
    pub scope: Scope,
    /// [`Sanction::SoftBlock`], [`Sanction::Block`] or [`Sanction::Permanent`].
    pub sanction: Sanction,
    /// When it was accepted.
    pub since: Timestamp,
    /// When it ends; `None`: when a person says so.
    pub until: Option<Timestamp>,
    /// Which dynamic block of the address it is within the threshold's time, from 1; 0 if it does not count.
    /// Of a denial by the threshold: how many blocks there were.
    pub strikes: u32,
    /// Why.
    pub reason: &'a Reason,
    /// Who did it.
    pub by: &'a Actor,
    /// The entry that made it.
    pub log_index: LogIndex,
}

/// Why an address is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// A rule was tipped.
    Attack(AttackReason),
    /// A person said so.
    Manual {
        /// Their words; may be empty.
        note: Text,
    },
}

/// The attack that was paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackReason {
    /// The rule.
    pub rule: Rule,
    /// SIP method or protocol.
    pub attack: AttackKind,
    /// How sure it is.
    pub evidence: Evidence,
    /// How often within the rule's window, over all hosts.
    pub count: u32,
    /// The victim of the packet that tipped it; `None` if the sum over hosts did, so that no single packet
    /// was the one.
    pub victim: Option<IpAddr>,
    /// What the user agent said of itself; empty once the attack is erased.
    pub user_agent: Text,
    /// Whether that agent is a known attack tool.
    pub known_user_agent: bool,
}

/// An address or network that is never dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedRow {
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until a person says otherwise.
    pub until: Option<Timestamp>,
    /// Who allowed it.
    pub by: Actor,
    /// Their words; may be empty.
    pub note: Text,
    /// The entry that made it.
    pub log_index: LogIndex,
}

/// Which rows of the denylist, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenylistQuery<'a> {
    /// Part of the address or of the user agent.
    pub text: Option<&'a TextFilter>,
    /// Only blocks for this kind of attack.
    pub attack: Option<AttackKind>,
    /// By what to sort.
    pub sort: DenylistSort,
    /// In which direction.
    pub order: SortOrder,
    /// Which part.
    pub page: Page,
}

/// By what the denylist is sorted. Equal rows stand in order of their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenylistSort {
    /// When the row was made.
    Since,
    /// When it ends; denials last.
    Until,
    /// The address.
    Address,
    /// How often the address was blocked.
    Strikes,
}

/// The direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// Smallest, oldest first.
    Ascending,
    /// Largest, newest first.
    Descending,
}

/// How many addresses are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DenylistCounts {
    /// On SIP ports, for minutes.
    pub soft_blocked: usize,
    /// For a time.
    pub blocked: usize,
    /// For good; a network counts once.
    pub denied: usize,
}

impl DenylistCounts {
    /// All of them.
    pub const fn total(self) -> usize {
        self.soft_blocked + self.blocked + self.denied
    }
}

/// What a row holds besides what the rules need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Detail {
    since: Timestamp,
    strikes: u32,
    reason: Reason,
    by: Actor,
    log_index: LogIndex,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Denied {
    block: BlockId,
    by: DeniedBy,
    detail: Detail,
}

/// Folds what happened to addresses. Bounded as the decision model is: it holds the same blocks and networks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DenylistView {
    blocks: BlockBook<Detail>,
    denied: NetworkList<Denied>,
    allowed: NetworkList<AllowedRow>,
}

impl Default for DenylistView {
    fn default() -> Self {
        Self { blocks: BlockBook::default(), denied: NetworkList::new(), allowed: NetworkList::new() }
    }
}

/// Where an event stands in the log: what a row remembers of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) index: LogIndex,
    pub(super) command: BlockId,
    pub(super) at: Timestamp,
    pub(super) envelope: &'a Envelope,
}

impl DenylistView {
    pub(super) fn evolve(&mut self, entry: Entry<'_>, event: &DenylistEvent) {
        match event {
            DenylistEvent::AddressBlocked(event) => self.block(entry, event),
            DenylistEvent::AddressReleased(AddressReleased { source, cause: _ }) => {
                self.blocks.release(*source);
                self.denied.remove(&IpNet::from(*source));
            }
            DenylistEvent::AddressDenied(event) => self.deny(entry, event),
            DenylistEvent::AddressAllowed(AddressAllowed { network, until, by, note }) => {
                self.allowed.retain(|_, row| lasts(row.until, entry.at));
                self.blocks.release_within(network);
                let (by, note) = (by.clone(), note.clone());
                let row = AllowedRow { since: entry.at, until: *until, by, note, log_index: entry.index };
                self.allowed.insert(*network, row);
            }
        }
    }

    /// Forgets what attackers said in the entries up to there.
    pub(super) fn erase_upto(&mut self, last: LogIndex) {
        self.blocks.details_mut().for_each(|detail| detail.erase_upto(last));
        self.denied.values_mut().for_each(|denied| denied.detail.erase_upto(last));
    }

    fn block(&mut self, entry: Entry<'_>, event: &AddressBlocked) {
        let AddressBlocked { block, source, scope, sanction, reason, until, strikes } = event;
        // A block that goes on is the same block: it began when it began, for the same reason.
        let held = self.blocks.blocks(*source).iter();
        let mut held =
            held.filter(|held| held.id == *block && held.scope == *scope && held.is_live(entry.at));
        let detail = match held.next() {
            Some(held) => held.detail.clone(),
            None => Detail::new((entry, *source), *strikes, reason),
        };
        let block = Block { id: *block, scope: *scope, sanction: *sanction, until: *until, detail };
        self.blocks.insert(*source, block, entry.at);
    }

    fn deny(&mut self, entry: Entry<'_>, event: &AddressDenied) {
        let AddressDenied { network, reason } = event;
        let detail = match reason {
            DenyReason::Threshold { blocks, last } => Detail::new((entry, network.addr()), *blocks, last),
            DenyReason::Manual { by, note } => Detail::new(
                (entry, network.addr()),
                0,
                &BlockReason::Manual { by: by.clone(), note: note.clone() },
            ),
        };
        self.blocks.release_within(network);
        self.denied.insert(*network, Denied { block: entry.command, by: DeniedBy::of(reason), detail });
    }

    /// Everything that is dropped at `now`, in order of address: blocks first, then denied networks.
    pub fn rows(&self, now: Timestamp) -> impl Iterator<Item = DenylistRow<'_>> {
        let blocked = self.blocks.iter().filter(move |(_, block)| block.is_live(now));
        let denied =
            self.denied.iter().filter(move |(network, denied)| self.is_in_force(*network, denied.by, now));
        let blocked = blocked.map(|(address, block)| block_row(address, block));
        blocked.chain(denied.map(|(network, denied)| denied_row(network, denied)))
    }

    /// A page of the rows that fit.
    pub fn find(&self, query: &DenylistQuery<'_>, now: Timestamp) -> Found<DenylistRow<'_>> {
        let mut rows: Vec<DenylistRow<'_>> = self.rows(now).filter(|row| row.fits(query)).collect();
        rows.sort_by(|one, two| {
            let ordering = match query.sort {
                DenylistSort::Since => one.since.cmp(&two.since),
                DenylistSort::Until => one.end().cmp(&two.end()),
                DenylistSort::Address => one.address.cmp(&two.address),
                DenylistSort::Strikes => one.strikes.cmp(&two.strikes),
            };
            let ordering = match query.order {
                SortOrder::Ascending => ordering,
                SortOrder::Descending => ordering.reverse(),
            };
            ordering
                .then_with(|| (one.address, one.scope, one.block).cmp(&(two.address, two.scope, two.block)))
        });
        let total = rows.len();
        Found { items: rows.into_iter().skip(query.page.skip).take(query.page.take).collect(), total }
    }

    /// The rows that drop an address at `now`: its own blocks, and every blocked or denied network that holds it.
    pub fn rows_of(&self, address: IpAddr, now: Timestamp) -> impl Iterator<Item = DenylistRow<'_>> {
        let own = self.blocks.blocks(address).iter().filter(|block| !matches!(block.scope, Scope::Prefix(_)));
        let around = self.blocks.around(address);
        let blocked = own.map(move |block| (address, block)).chain(around);
        let blocked = blocked.filter(move |(_, block)| block.is_live(now));
        let denied = self.denied.covering(address);
        let denied = denied.filter(move |(network, denied)| self.is_in_force(*network, denied.by, now));
        let blocked = blocked.map(|(address, block)| block_row(address, block));
        blocked.chain(denied.map(|(network, denied)| denied_row(network, denied)))
    }

    /// The allowance of exactly this network.
    pub(super) fn allowance_of(&self, network: IpNet) -> Option<(IpNet, &AllowedRow)> {
        self.allowed.get(&network).map(|row| (network, row))
    }

    /// What is held about an address and one of its ports at `now`, but for who is never blocked.
    pub(super) fn held(&self, address: IpAddr, port: Option<u16>, now: Timestamp) -> Held {
        let denied = |by: DeniedBy| {
            let mut covering = self.denied.covering(address);
            covering.find(|(_, denied)| denied.by == by).map(|(network, _)| network)
        };
        let mut allowed = self.allowed.covering(address).filter(|(_, row)| lasts(row.until, now));
        Held {
            never: None,
            allowed: allowed.next().map(|(network, row)| (network, row.until)),
            denied: denied(DeniedBy::Person),
            ports: self.blocks.held_ports(address, port, now),
            block: self.blocks.held(address, now),
            permanent: denied(DeniedBy::Threshold),
        }
    }

    /// How much is dropped at `now`.
    pub fn counts(&self, now: Timestamp) -> DenylistCounts {
        let (soft_blocked, blocked) = self.blocks.live_counts(now);
        let in_force =
            self.denied.iter().filter(|(network, denied)| self.is_in_force(*network, denied.by, now));
        DenylistCounts { soft_blocked, blocked, denied: in_force.count() }
    }

    /// What is never dropped at `now`, in order of network.
    pub fn allowed(&self, now: Timestamp) -> impl Iterator<Item = (IpNet, &AllowedRow)> {
        self.allowed.iter().filter(move |(_, row)| lasts(row.until, now))
    }

    /// Whether no allowance overrules a denial: a person's yields to one of the same network, the threshold's to any.
    fn is_in_force(&self, network: IpNet, by: DeniedBy, now: Timestamp) -> bool {
        let mut allowances = self.allowed.covering(network.addr()).filter(|(_, row)| lasts(row.until, now));
        match by {
            DeniedBy::Person => allowances.all(|(allowed, _)| allowed != network),
            DeniedBy::Threshold => allowances.next().is_none(),
        }
    }
}

impl DenylistRow<'_> {
    fn end(&self) -> Timestamp {
        self.until.unwrap_or(Timestamp::MAX)
    }

    /// The address or network as a network.
    pub fn network(&self) -> IpNet {
        let length = match self.scope {
            Scope::Address | Scope::AddressPort(_) => IpNet::from(self.address).max_prefix_len(),
            Scope::Prefix(length) => length,
        };
        IpNet::new(self.address, length).unwrap_or_else(|_| IpNet::from(self.address))
    }

    fn fits(&self, query: &DenylistQuery<'_>) -> bool {
        let (attack, user_agent) = match self.reason {
            Reason::Attack(reason) => (Some(reason.attack), Some(&reason.user_agent)),
            Reason::Manual { note } => (None, Some(note)),
        };
        query.attack.is_none_or(|wanted| attack == Some(wanted))
            && query.text.is_none_or(|text| {
                text.matches_network(&self.network())
                    || user_agent.is_some_and(|agent| text.matches_text(agent))
            })
    }
}

impl Detail {
    fn erase_upto(&mut self, last: LogIndex) {
        if let Reason::Attack(reason) = &mut self.reason
            && self.log_index <= last
        {
            reason.user_agent = Text::default();
        }
    }

    fn new((entry, source): (Entry<'_>, IpAddr), strikes: u32, reason: &BlockReason) -> Self {
        let (reason, by) = match reason {
            BlockReason::Manual { by, note } => (Reason::Manual { note: note.clone() }, by.clone()),
            BlockReason::Attack { rule, attack, evidence, count, victim, known_user_agent } => {
                let reason = AttackReason {
                    rule: *rule,
                    attack: *attack,
                    evidence: *evidence,
                    count: *count,
                    victim: Some(*victim).filter(|victim| !victim.is_unspecified()),
                    user_agent: super::attacker_said(entry.envelope, source).cloned().unwrap_or_default(),
                    known_user_agent: *known_user_agent,
                };
                (Reason::Attack(reason), Actor::System)
            }
        };
        Self { since: entry.at, strikes, reason, by, log_index: entry.index }
    }
}

fn block_row(address: IpAddr, block: &Block<Detail>) -> DenylistRow<'_> {
    let Block { id, scope, sanction, until, detail } = block;
    detail.row((*id, address), (*scope, *sanction), Some(*until))
}

fn denied_row(network: IpNet, denied: &Denied) -> DenylistRow<'_> {
    let Denied { block, by: _, detail } = denied;
    let scope = match network.prefix_len() {
        length if length == network.max_prefix_len() => Scope::Address,
        length => Scope::Prefix(length),
    };
    detail.row((*block, network.addr()), (scope, Sanction::Permanent), None)
}

impl Detail {
    fn row(
        &self,
        (block, address): (BlockId, IpAddr),
        (scope, sanction): (Scope, Sanction),
        until: Option<Timestamp>,
    ) -> DenylistRow<'_> {
        let Self { since, strikes, reason, by, log_index } = self;
        DenylistRow {
            block,
            address,
            scope,
            sanction,
            since: *since,
            until,
            strikes: *strikes,
            reason,
            by,
            log_index: *log_index,
        }
    }
}

impl Canonical for Reason {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            Self::Attack(reason) => {
                let AttackReason { rule, attack, evidence, count, victim, user_agent, known_user_agent } =
                    reason;
                0_u8.put(out);
                rule.put(out);
                attack.put(out);
                evidence.put(out);
                count.put(out);
                victim.put(out);
                user_agent.put(out);
                known_user_agent.put(out);
            }
            Self::Manual { note } => {
                1_u8.put(out);
                note.put(out);
            }
        }
    }
}

impl Canonical for Detail {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { since, strikes, reason, by, log_index } = self;
        since.put(out);
        strikes.put(out);
        reason.put(out);
        by.put(out);
        log_index.put(out);
    }
}

impl Canonical for Denied {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { block, by, detail } = self;
        block.put(out);
        by.put(out);
        detail.put(out);
    }
}

impl Canonical for AllowedRow {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { since, until, by, note, log_index } = self;
        since.put(out);
        until.put(out);
        by.put(out);
        note.put(out);
        log_index.put(out);
    }
}

impl Canonical for DenylistView {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { blocks, denied, allowed } = self;
        blocks.put(out);
        denied.put(out);
        allowed.put(out);
    }
}
