//! The live blocks, by address. Decision model and denylist view fold the same events into the same book, so that what a
//! person sees is what the rules know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::{Sanction, Scope};
use log_format::ids::BlockId;
use log_format::time::Timestamp;
use sha2::Sha256;

use crate::digest::Canonical;

/// Blocks of the whole cluster at most: what a kernel set of this kind was measured to hold without slowing down. A
/// million distinct sources at once is a spoofed flood, which soft blocks would follow for ever.
pub(crate) const MAX_BLOCKS: usize = 1_048_576;
/// Blocks of one address at most: one of each sanction for the address, and some ports behind it.
pub(crate) const MAX_BLOCKS_OF_ADDRESS: usize = 8;

/// One block of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block<T> {
    pub(crate) id: BlockId,
    pub(crate) scope: Scope,
    pub(crate) sanction: Sanction,
    pub(crate) until: Timestamp,
    pub(crate) detail: T,
}

impl<T> Block<T> {
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether the other block adds nothing to this one.
    fn covers<U>(&self, other: &Block<U>) -> bool {
        self.scope == other.scope && other.sanction <= self.sanction && other.until <= self.until
    }

    fn end(&self, address: IpAddr) -> End {
        End { until: self.until, address, scope: self.scope, id: self.id }
    }
}

/// When a block ends; ordered by that time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    until: Timestamp,
    address: IpAddr,
    scope: Scope,
    id: BlockId,
}

/// All blocks whose end has not been written down yet. At most [`MAX_BLOCKS`].
#[derive(Debug, Clone)]
pub(crate) struct BlockBook<T> {
    by_address: BTreeMap<IpAddr, Vec<Block<T>>>,
    /// Both derived from `by_address`: who ends next, and who makes room first.
    soft_ends: BTreeSet<End>,
    firm_ends: BTreeSet<End>,
    /// Blocks that made room for others.
    evicted: u64,
    limit: usize,
}

impl<T> Default for BlockBook<T> {
    fn default() -> Self {
        Self::with_limit(MAX_BLOCKS)
    }
}

impl<T> BlockBook<T> {
    pub(crate) fn with_limit(limit: usize) -> Self {
        Self {
            by_address: BTreeMap::new(),
            soft_ends: BTreeSet::new(),
            firm_ends: BTreeSet::new(),
            evicted: 0,
            limit,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.soft_ends.len() + self.firm_ends.len()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether a block of this sanction finds room: a firm block may take a soft block's.
    pub(crate) fn has_room_for(&self, sanction: Sanction) -> bool {
        self.len() < self.limit || (Sanction::SoftBlock < sanction && !self.soft_ends.is_empty())
    }

    pub(crate) fn blocks(&self, address: IpAddr) -> &[Block<T>] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, &Block<T>)> {
        self.by_address.iter().flat_map(|(address, blocks)| blocks.iter().map(move |block| (*address, block)))
    }

    /// Addresses that have blocks.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().copied()
    }

    /// Addresses within a network that have blocks.
    pub(crate) fn addresses_within(&self, network: &IpNet) -> impl Iterator<Item = IpAddr> {
        self.by_address.range(network.network()..=network.broadcast()).map(|(address, _)| *address)
    }

    /// The strongest live block of the whole address, and of those the one that ends last.
    pub(crate) fn strongest(&self, address: IpAddr, now: Timestamp) -> Option<&Block<T>> {
        self.blocks(address)
            .iter()
            .filter(|block| block.scope == Scope::Address && block.is_live(now))
            .max_by_key(|block| (block.sanction, block.until))
    }

    /// Addresses of blocks that have ended, soonest end first; an address may come twice.
    pub(crate) fn ended(&self, now: Timestamp) -> impl Iterator<Item = IpAddr> {
        let ended = |ends: &'_ BTreeSet<End>| -> Vec<End> {
            ends.iter().take_while(|end| end.until <= now).copied().collect()
        };
        let mut all = ended(&self.soft_ends);
        all.extend(ended(&self.firm_ends));
        all.sort_unstable();
        all.into_iter().map(|end| end.address)
    }

    /// When the next block ends.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        let first = |ends: &BTreeSet<End>| ends.first().map(|end| end.until);
        match (first(&self.soft_ends), first(&self.firm_ends)) {
            (Some(soft), Some(firm)) => Some(soft.min(firm)),
            (soft, firm) => soft.or(firm),
        }
    }

    /// Soft and firm blocks that live now.
    pub(crate) fn live_counts(&self, now: Timestamp) -> (usize, usize) {
        let live = |ends: &BTreeSet<End>| ends.len() - ends.iter().take_while(|end| end.until <= now).count();
        (live(&self.soft_ends), live(&self.firm_ends))
    }

    /// Adds a block at log time `at`. It replaces the blocks that it covers and those that ended; nothing changes if one
    /// that lives covers it.
    pub(crate) fn insert(&mut self, address: IpAddr, block: Block<T>, at: Timestamp) {
        let held = self.blocks(address);
        if held.iter().any(|other| other.is_live(at) && other.covers(&block)) {
            return;
        }
        let gone: Vec<End> = held
            .iter()
            .filter(|other| !other.is_live(at) || block.covers(other))
            .map(|other| other.end(address))
            .collect();
        for end in gone {
            self.remove(end);
        }
        if MAX_BLOCKS_OF_ADDRESS <= self.blocks(address).len() {
            let first = self.blocks(address).iter().map(|other| other.end(address)).min();
            first.into_iter().for_each(|end| self.evict(end));
        }
        while self.limit <= self.len() {
            let Some(end) = self.soft_ends.first().or(self.firm_ends.first()).copied() else {
                break;
            };
            self.evict(end);
        }
        self.ends_mut(block.sanction).insert(block.end(address));
        self.by_address.entry(address).or_default().push(block);
    }

    /// Ends all blocks of an address.
    pub(crate) fn release(&mut self, address: IpAddr) {
        for block in self.by_address.remove(&address).unwrap_or_default() {
            let end = block.end(address);
            self.ends_mut(block.sanction).remove(&end);
        }
    }

    /// Ends all blocks of a network's addresses.
    pub(crate) fn release_within(&mut self, network: &IpNet) {
        let addresses: Vec<IpAddr> = self.addresses_within(network).collect();
        for address in addresses {
            self.release(address);
        }
    }

    fn evict(&mut self, end: End) {
        self.evicted = self.evicted.saturating_add(1);
        self.remove(end);
    }

    fn remove(&mut self, end: End) {
        self.soft_ends.remove(&end);
        self.firm_ends.remove(&end);
        if let Some(blocks) = self.by_address.get_mut(&end.address) {
            blocks.retain(|block| block.end(end.address) != end);
            if blocks.is_empty() {
                self.by_address.remove(&end.address);
            }
        }
    }

    fn ends_mut(&mut self, sanction: Sanction) -> &mut BTreeSet<End> {
        if sanction <= Sanction::SoftBlock { &mut self.soft_ends } else { &mut self.firm_ends }
    }
}

impl<T: Canonical> Canonical for Block<T> {
    fn put(&self, out: &mut Sha256) {
        let Self { id, scope, sanction, until, detail } = self;
        id.put(out);
        scope.put(out);
        sanction.put(out);
        until.put(out);
        detail.put(out);
    }
}

impl<T: Canonical> Canonical for BlockBook<T> {
    fn put(&self, out: &mut Sha256) {
        let Self { by_address, soft_ends: _, firm_ends: _, evicted, limit: _ } = self;
        by_address.put(out);
        evicted.put(out);
    }
}
