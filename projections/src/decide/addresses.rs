//! What the log says of addresses: live blocks, denied and allowed networks, and how often an address was blocked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::{
    AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, BlockReason, DenyReason, ReleaseCause,
    Sanction, Scope,
};
use log_format::ids::HostId;
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::aged::{Aged, Bound};
use super::seen::Seen;
use super::settings::MAX_BLOCK_THRESHOLD;
use crate::book::{Block, BlockBook};
use crate::digest::{Canonical, CanonicalHasher};
use crate::networks::NetworkList;

/// Denied networks at most. Most are single addresses that attacked again and again with proof; the kernel
/// holds them all.
pub const MAX_DENIED: usize = 262_144;
/// Allowed networks at most. People enter them; each is asked before every other list.
pub const MAX_ALLOWED: usize = 65_536;
/// How long a dynamic block counts towards the permanent one.
pub const HISTORY: Duration = Duration::from_secs(30 * 86_400);
/// Addresses whose dynamic blocks are remembered, at most; as many as can be blocked. The one blocked longest
/// ago makes room.
pub const MAX_HISTORIES: usize = crate::book::MAX_BLOCKED_ADDRESSES;

/// Dynamic blocks remembered of one address: enough for the highest threshold.
const MAX_BLOCKS_REMEMBERED: usize = MAX_BLOCK_THRESHOLD as usize;

/// Releases by persons that are remembered: for a day, a person's word is newer than what was seen before it. The count is more
/// than people release in that time.
const RELEASES: Bound = Bound { kept_for: Duration::from_secs(86_400), most: 65_536 };
/// Blocks of single ports that are remembered for their next one to be longer. As many as there are striking sources.
const NARROW: Bound = Bound { kept_for: Duration::from_secs(86_400), most: 65_536 };

/// What a block was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// How long it was to last.
    pub(crate) length: Duration,
    pub(crate) strikes: u32,
    /// Whether an attack was its reason, and not a person.
    pub(crate) is_dynamic: bool,
}

/// What is known of an address from the dynamic blocks that it had.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct History {
    blocks: VecDeque<Timestamp>,
    /// Whom it attacked with proof, and which hosts saw that.
    victims: Seen<IpAddr>,
    hosts: Seen<HostId>,
}

/// Who put a network on the denylist. A person's word is compared with allowances by prefix length; the
/// threshold's yields to every allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum DeniedBy {
    Threshold,
    Person,
}

impl DeniedBy {
    pub(crate) const fn of(reason: &DenyReason) -> Self {
        match reason {
            DenyReason::Threshold { .. } => Self::Threshold,
            DenyReason::Manual { .. } => Self::Person,
        }
    }
}

/// When each address was blocked dynamically, within [`HISTORY`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Histories {
    blocks: BTreeMap<IpAddr, History>,
    /// Derived from `blocks`: by the last block.
    ages: BTreeSet<(Timestamp, IpAddr)>,
}

impl Histories {
    fn within(&self, source: IpAddr, now: Timestamp) -> u32 {
        let counted = |at: &&Timestamp| now < at.after(HISTORY);
        let count =
            self.blocks.get(&source).map_or(0, |history| history.blocks.iter().filter(counted).count());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn push(&mut self, source: IpAddr, (victims, hosts): (Seen<IpAddr>, Seen<HostId>), at: Timestamp) {
        let history = self.blocks.entry(source).or_default();
        history.victims = history.victims.and(victims);
        history.hosts = history.hosts.and(hosts);
        let blocks = &mut history.blocks;
        if let Some(last) = blocks.back() {
            self.ages.remove(&(*last, source));
        }
        blocks.push_back(at);
        while MAX_BLOCKS_REMEMBERED < blocks.len() {
            blocks.pop_front();
        }
        self.ages.insert((at, source));
        while let Some((last, oldest)) = self.ages.first().copied() {
            if at < last.after(HISTORY) && self.blocks.len() <= MAX_HISTORIES {
                break;
            }
            self.take(oldest);
        }
    }

    fn take(&mut self, source: IpAddr) {
        let history = self.blocks.remove(&source).unwrap_or_default();
        if let Some(last) = history.blocks.back() {
            self.ages.remove(&(*last, source));
        }
    }
}

/// The lists that decide about an address. [`super::Model::verdict`] asks them in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) blocks: BlockBook<Terms>,
    pub(crate) denied: NetworkList<DeniedBy>,
    /// Until when; `None`: for good.
    pub(crate) allowed: NetworkList<Option<Timestamp>>,
    histories: Histories,
    /// When a person let an address go.
    released: Aged<IpAddr, ()>,
    /// How often in a row a port was blocked.
    narrow: Aged<(IpAddr, u16), u32>,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            blocks: BlockBook::default(),
            denied: NetworkList::new(),
            allowed: NetworkList::new(),
            histories: Histories::default(),
            released: Aged::default(),
            narrow: Aged::default(),
        }
    }
}

impl Addresses {
    /// The live allowance with the longest prefix that holds the address.
    pub(crate) fn allowance(&self, address: IpAddr, now: Timestamp) -> Option<(IpNet, Option<Timestamp>)> {
        self.allowed
            .covering(address)
            .map(|(network, until)| (network, *until))
            .find(|(_, until)| lasts(*until, now))
    }

    /// The denied network with the longest prefix that holds the address, of those that `by` put there.
    pub(crate) fn denial(&self, address: IpAddr, by: DeniedBy) -> Option<IpNet> {
        self.denied.covering(address).find(|(_, who)| **who == by).map(|(network, _)| network)
    }

    /// Whether a release of exactly this address would end something.
    pub(crate) fn lists(&self, address: IpAddr, now: Timestamp) -> bool {
        self.denied.get(&IpNet::from(address)).is_some()
            || self.blocks.blocks(address).iter().any(|block| block.is_live(now))
    }

    /// Dynamic blocks of an address that still count.
    pub(crate) fn blocks_counted(&self, source: IpAddr, now: Timestamp) -> u32 {
        self.histories.within(source, now)
    }

    /// Whether what a source did at `observed_at` is older than a person's word that lets it go.
    pub(crate) fn is_forgiven(&self, source: IpAddr, observed_at: Timestamp, now: Timestamp) -> bool {
        self.released.get(&source, RELEASES, now).is_some_and(|(released_at, ())| observed_at <= released_at)
    }

    /// How often in a row a port was blocked within the last day.
    pub(crate) fn narrow_blocks_counted(&self, source: IpAddr, port: u16, now: Timestamp) -> u32 {
        self.narrow.get(&(source, port), NARROW, now).map_or(0, |(_, count)| *count)
    }

    /// Whether an attack on this victim, seen by this host, together with the blocks that still count is one on several
    /// victims or one that several hosts saw.
    pub(crate) fn is_corroborated(
        &self,
        source: IpAddr,
        (victims, hosts): (Seen<IpAddr>, Seen<HostId>),
        now: Timestamp,
    ) -> bool {
        let history = self.histories.blocks.get(&source).filter(|_| 0 < self.blocks_counted(source, now));
        history.is_some_and(|history| {
            history.victims.and(victims) == Seen::Several || history.hosts.and(hosts) == Seen::Several
        })
    }

    pub(crate) fn block(&mut self, event: &AddressBlocked, host: HostId, at: Timestamp) {
        let AddressBlocked { block, source, scope, sanction, reason, until, strikes } = event;
        let is_longer = self.blocks.blocks(*source).iter().any(|held| held.id == *block && held.is_live(at));
        let is_dynamic = matches!(reason, BlockReason::Attack { .. });
        let detail = Terms { length: until.since(at), strikes: *strikes, is_dynamic };
        let held = Block { id: *block, scope: *scope, sanction: *sanction, until: *until, detail };
        self.blocks.insert(*source, held, at);
        if is_longer || *sanction <= Sanction::SoftBlock {
            return;
        }
        if let Scope::AddressPort(port) = *scope {
            let count = self.narrow_blocks_counted(*source, port, at).saturating_add(1);
            self.narrow.insert((*source, port), count, NARROW, at);
        }
        if 0 < *strikes {
            self.histories.push(*source, (victim_of(reason), Seen::One(host)), at);
        }
    }

    pub(crate) fn release(&mut self, event: &AddressReleased, at: Timestamp) {
        let AddressReleased { source, cause } = event;
        self.blocks.release(*source);
        #[cfg(bug = "release_keeps_denial")]
        if log_format::planted::is_on("release_keeps_denial") {
            return;
        }
        self.denied.remove(&IpNet::from(*source));
        match cause {
            ReleaseCause::Expired => {}
            // A person who lets an address go starts anew with it.
            ReleaseCause::Manual { by: _ } => {
                self.histories.take(*source);
                self.narrow.forget((*source, 0)..=(*source, u16::MAX));
                self.released.insert(*source, (), RELEASES, at);
            }
        }
    }

    pub(crate) fn deny(&mut self, event: &AddressDenied) {
        let AddressDenied { network, reason } = event;
        self.denied.insert(*network, DeniedBy::of(reason));
        self.blocks.release_within(network);
    }

    pub(crate) fn allow(&mut self, event: &AddressAllowed, at: Timestamp) {
        let AddressAllowed { network, until, by: _, note: _ } = event;
        self.allowed.retain(|_, until| lasts(*until, at));
        self.allowed.insert(*network, *until);
        self.blocks.release_within(network);
    }
}

/// The victim that a reason names. The sum over hosts names none.
pub(crate) fn victim_of(reason: &BlockReason) -> Seen<IpAddr> {
    match reason {
        BlockReason::Attack { victim, .. } if !victim.is_unspecified() => Seen::One(*victim),
        BlockReason::Attack { .. } | BlockReason::Manual { .. } => Seen::Nobody,
    }
}

/// Whether something with this end still holds.
pub(crate) fn lasts(until: Option<Timestamp>, now: Timestamp) -> bool {
    until.is_none_or(|until| now < until)
}

impl Canonical for DeniedBy {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            Self::Threshold => 0_u8.put(out),
            Self::Person => 1_u8.put(out),
        }
    }
}

impl Canonical for Terms {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { length, strikes, is_dynamic } = self;
        u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).put(out);
        strikes.put(out);
        u8::from(*is_dynamic).put(out);
    }
}

impl Canonical for History {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { blocks, victims, hosts } = self;
        blocks.put(out);
        victims.put(out);
        hosts.put(out);
    }
}

impl Canonical for Histories {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { blocks, ages: _ } = self;
        blocks.put(out);
    }
}

impl Canonical for Addresses {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { blocks, denied, allowed, histories, released, narrow } = self;
        blocks.put(out);
        denied.put(out);
        allowed.put(out);
        histories.put(out);
        released.put(out);
        narrow.put(out);
    }
}
