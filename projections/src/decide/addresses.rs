//! What the log says of addresses: live blocks, denied and allowed networks, and how often an address was blocked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::{
    AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, DenyReason, ReleaseCause, Sanction,
};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

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
    blocks: BTreeMap<IpAddr, VecDeque<Timestamp>>,
    /// Derived from `blocks`: by the last block.
    ages: BTreeSet<(Timestamp, IpAddr)>,
}

impl Histories {
    fn within(&self, source: IpAddr, now: Timestamp) -> u32 {
        let counted = |at: &&Timestamp| now < at.after(HISTORY);
        let count = self.blocks.get(&source).map_or(0, |blocks| blocks.iter().filter(counted).count());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn push(&mut self, source: IpAddr, at: Timestamp) {
        let blocks = self.blocks.entry(source).or_default();
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

    fn take(&mut self, source: IpAddr) -> VecDeque<Timestamp> {
        let blocks = self.blocks.remove(&source).unwrap_or_default();
        if let Some(last) = blocks.back() {
            self.ages.remove(&(*last, source));
        }
        blocks
    }
}

/// The lists that decide about an address. [`super::Model::verdict`] asks them in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) blocks: BlockBook<()>,
    pub(crate) denied: NetworkList<DeniedBy>,
    /// Until when; `None`: for good.
    pub(crate) allowed: NetworkList<Option<Timestamp>>,
    histories: Histories,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            blocks: BlockBook::default(),
            denied: NetworkList::new(),
            allowed: NetworkList::new(),
            histories: Histories::default(),
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

    pub(crate) fn block(&mut self, event: &AddressBlocked, at: Timestamp) {
        let AddressBlocked { block, source, scope, sanction, reason: _, until, strikes } = event;
        let block = Block { id: *block, scope: *scope, sanction: *sanction, until: *until, detail: () };
        self.blocks.insert(*source, block, at);
        if 0 < *strikes && Sanction::SoftBlock < *sanction {
            self.histories.push(*source, at);
        }
    }

    pub(crate) fn release(&mut self, event: &AddressReleased) {
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
            ReleaseCause::Manual { by: _ } => drop(self.histories.take(*source)),
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

impl Canonical for Histories {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { blocks, ages: _ } = self;
        blocks.put(out);
    }
}

impl Canonical for Addresses {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { blocks, denied, allowed, histories } = self;
        blocks.put(out);
        denied.put(out);
        allowed.put(out);
        histories.put(out);
    }
}
