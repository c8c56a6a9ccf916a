//! The live blocks, by address. Decision model and denylist view fold the same events into the same book, so
//! that what a person sees is what the rules know.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::{Sanction, Scope};
use log_format::ids::BlockId;
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::{Canonical, CanonicalHasher};

/// Blocked addresses of the whole cluster at most: what a kernel set of this kind was measured to hold
/// without slowing down. A million distinct sources at once is a spoofed flood, which soft blocks would
/// follow for ever.
pub(crate) const MAX_BLOCKED_ADDRESSES: usize = 1_048_576;
/// Blocks of one address at most: one of each sanction for the address, and some ports behind it.
pub(crate) const MAX_BLOCKS_OF_ADDRESS: usize = 8;

/// One block of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block<T> {
    pub(crate) id: BlockId,
    pub(crate) scope: Scope,
    pub(crate) sanction: Sanction,
    pub(crate) until: Timestamp,
    pub(crate) detail: T,
}

impl<T> Block<T> {
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        #[cfg(bug = "block_outlives_its_end")]
        if log_format::planted::is_on("block_outlives_its_end") {
            return true;
        }
        now < self.until
    }

    fn is_firm(&self) -> bool {
        Sanction::SoftBlock < self.sanction
    }

    /// Whether the other block adds nothing to this one.
    fn covers(&self, other: &Self) -> bool {
        self.scope == other.scope && other.sanction <= self.sanction && other.until <= self.until
    }
}

/// All blocks whose end has not been written down yet, of at most [`MAX_BLOCKED_ADDRESSES`] addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BlockBook<T> {
    by_address: BTreeMap<IpAddr, Vec<Block<T>>>,
    /// Both derived from `by_address`: when the last block of each address ends, of those with nothing but
    /// soft blocks and of the others.
    soft_ends: BTreeSet<(Timestamp, IpAddr)>,
    firm_ends: BTreeSet<(Timestamp, IpAddr)>,
    /// Addresses, or single blocks of one, that made room for others.
    evicted: u64,
    #[serde(skip, default = "most_addresses")]
    limit: usize,
}

fn most_addresses() -> usize {
    MAX_BLOCKED_ADDRESSES
}

impl<T> Default for BlockBook<T> {
    fn default() -> Self {
        Self::with_limit(MAX_BLOCKED_ADDRESSES)
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

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether a block of this sanction finds room: a firm block may take the place of soft ones, and an
    /// address that is blocked already has its place.
    pub(crate) fn has_room_for(&self, address: IpAddr, sanction: Sanction) -> bool {
        self.by_address.len() < self.limit
            || self.by_address.contains_key(&address)
            || (Sanction::SoftBlock < sanction && !self.soft_ends.is_empty())
    }

    /// Whether a firm block finds room after so many others of one entry, each of which takes a place or a soft block's.
    pub(crate) fn has_room_after(&self, earlier: usize, address: IpAddr) -> bool {
        let places = self.limit.saturating_add(self.soft_ends.len());
        self.by_address.len().saturating_add(earlier) < places || self.by_address.contains_key(&address)
    }

    pub(crate) fn blocks(&self, address: IpAddr) -> &[Block<T>] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, &Block<T>)> {
        self.by_address.iter().flat_map(|(address, blocks)| blocks.iter().map(move |block| (*address, block)))
    }

    /// What stands beside each block.
    pub(crate) fn details_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_address.values_mut().flatten().map(|block| &mut block.detail)
    }

    /// Addresses that have blocks.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().copied()
    }

    /// The strongest live block of the whole address, and of those the one that ends last.
    pub(crate) fn strongest(&self, address: IpAddr, now: Timestamp) -> Option<&Block<T>> {
        self.blocks(address)
            .iter()
            .filter(|block| block.scope == Scope::Address && block.is_live(now))
            .max_by_key(|block| (block.sanction, block.until))
    }

    /// Addresses all of whose blocks have ended, those with soft blocks only first, soonest end first.
    pub(crate) fn ended(&self, now: Timestamp) -> impl Iterator<Item = IpAddr> {
        let ended =
            move |ends: &BTreeSet<(Timestamp, IpAddr)>| ends.first().is_some_and(|(until, _)| *until <= now);
        let sets = [&self.soft_ends, &self.firm_ends].into_iter().filter(move |ends| ended(ends));
        sets.flat_map(move |ends| ends.iter().take_while(move |(until, _)| *until <= now))
            .map(|(_, address)| *address)
    }

    /// When the next address has no live block any more.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        let first = |ends: &BTreeSet<(Timestamp, IpAddr)>| ends.first().map(|(until, _)| *until);
        match (first(&self.soft_ends), first(&self.firm_ends)) {
            (Some(soft), Some(firm)) => Some(soft.min(firm)),
            (soft, firm) => soft.or(firm),
        }
    }

    /// Addresses with live blocks: those with nothing but soft blocks, and the others.
    pub(crate) fn live_counts(&self, now: Timestamp) -> (usize, usize) {
        let ended =
            |ends: &BTreeSet<(Timestamp, IpAddr)>| ends.iter().take_while(|(until, _)| *until <= now).count();
        let live = |ends: &BTreeSet<(Timestamp, IpAddr)>| ends.len().saturating_sub(ended(ends));
        (live(&self.soft_ends), live(&self.firm_ends))
    }

    /// Adds a block at log time `at`. It replaces the blocks that it covers and those that ended; nothing
    /// changes if one that lives covers it.
    pub(crate) fn insert(&mut self, address: IpAddr, block: Block<T>, at: Timestamp) {
        self.make_room_for(address);
        let (before, after) = match self.by_address.entry(address) {
            Entry::Vacant(place) => {
                let after = End::of(std::slice::from_ref(&block));
                place.insert(vec![block]);
                (None, after)
            }
            Entry::Occupied(mut place) => {
                let blocks = place.get_mut();
                if blocks.iter().any(|other| other.is_live(at) && other.covers(&block)) {
                    return;
                }
                let before = End::of(blocks);
                blocks.retain(|other| other.is_live(at) && !block.covers(other));
                if MAX_BLOCKS_OF_ADDRESS <= blocks.len() {
                    blocks.sort_by_key(|other| (other.until, other.scope, other.id));
                    blocks.remove(0);
                    self.evicted = self.evicted.saturating_add(1);
                }
                blocks.push(block);
                (Some(before), End::of(blocks))
            }
        };
        if before == Some(after) {
            return;
        }
        if let Some(before) = before {
            self.ends_mut(before).remove(&(before.until, address));
        }
        self.ends_mut(after).insert((after.until, address));
    }

    /// An address that has no place yet takes that of a soft block, or of the firm one that ends first.
    fn make_room_for(&mut self, address: IpAddr) {
        while self.limit <= self.by_address.len() && !self.by_address.contains_key(&address) {
            let Some((_, first)) = self.soft_ends.first().or(self.firm_ends.first()).copied() else {
                break;
            };
            self.release(first);
            self.evicted = self.evicted.saturating_add(1);
        }
    }

    /// Ends all blocks of an address.
    pub(crate) fn release(&mut self, address: IpAddr) {
        let Some(blocks) = self.by_address.remove(&address) else { return };
        let end = End::of(&blocks);
        self.ends_mut(end).remove(&(end.until, address));
    }

    /// Ends all blocks of a network's addresses.
    pub(crate) fn release_within(&mut self, network: &IpNet) {
        let within = self.by_address.range(network.network()..=network.broadcast());
        let addresses: Vec<IpAddr> = within.map(|(address, _)| *address).collect();
        for address in addresses {
            self.release(address);
        }
    }

    /// Where the end of an address with these blocks is written down.
    fn ends_mut(&mut self, end: End) -> &mut BTreeSet<(Timestamp, IpAddr)> {
        if end.is_firm { &mut self.firm_ends } else { &mut self.soft_ends }
    }
}

/// When the last block of an address ends, and whether it has others than soft ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    until: Timestamp,
    is_firm: bool,
}

impl End {
    fn of<T>(blocks: &[Block<T>]) -> Self {
        let until = blocks.iter().map(|block| block.until).max().unwrap_or_default();
        Self { until, is_firm: blocks.iter().any(Block::is_firm) }
    }
}

impl<T: Canonical> Canonical for Block<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { id, scope, sanction, until, detail } = self;
        id.put(out);
        scope.put(out);
        sanction.put(out);
        until.put(out);
        detail.put(out);
    }
}

impl<T: Canonical> Canonical for BlockBook<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { by_address, soft_ends: _, firm_ends: _, evicted, limit: _ } = self;
        by_address.put(out);
        evicted.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn block(id: u8, sanction: Sanction, until: u64) -> Block<()> {
        Block { id: BlockId::new([id; 16]), scope: Scope::Address, sanction, until: at(until), detail: () }
    }

    #[test]
    fn a_block_that_adds_nothing_changes_nothing() {
        let mut book = BlockBook::default();
        book.insert(address(1), block(1, Sanction::Block, 100), at(1));
        book.insert(address(1), block(2, Sanction::SoftBlock, 100), at(2));
        book.insert(address(1), block(3, Sanction::Block, 99), at(2));
        assert_eq!(book.blocks(address(1)).len(), 1);
        assert_eq!(book.strongest(address(1), at(3)).map(|block| block.id), Some(BlockId::new([1; 16])));
    }

    #[test]
    fn a_stronger_block_ends_the_weaker_unless_that_lasts_longer() {
        let mut book = BlockBook::default();
        book.insert(address(1), block(1, Sanction::SoftBlock, 100), at(1));
        book.insert(address(1), block(2, Sanction::Block, 50), at(2));
        assert_eq!(book.blocks(address(1)).len(), 2);
        assert_eq!(book.strongest(address(1), at(10)).map(|block| block.sanction), Some(Sanction::Block));
        assert_eq!(book.strongest(address(1), at(60)).map(|block| block.sanction), Some(Sanction::SoftBlock));
        assert_eq!(book.ended(at(60)).count(), 0, "the soft block still lives");
        assert_eq!(book.next_end(), Some(at(100)));
        book.insert(address(1), block(3, Sanction::Block, 200), at(3));
        assert_eq!(book.blocks(address(1)).len(), 1);
        assert_eq!(book.ended(at(200)).collect::<Vec<_>>(), [address(1)]);
    }

    #[test]
    fn firm_blocks_take_the_place_of_soft_ones_and_never_the_other_way_round() {
        let mut book = BlockBook::with_limit(2);
        book.insert(address(1), block(1, Sanction::SoftBlock, 300), at(1));
        book.insert(address(2), block(2, Sanction::Block, 100), at(1));
        assert!(!book.has_room_for(address(3), Sanction::SoftBlock));
        assert!(book.has_room_for(address(1), Sanction::SoftBlock));
        assert!(book.has_room_for(address(3), Sanction::Block));
        book.insert(address(3), block(3, Sanction::Block, 200), at(2));
        assert_eq!(book.addresses().collect::<Vec<_>>(), [address(2), address(3)]);
        assert_eq!(book.evicted(), 1);
        assert!(!book.has_room_for(address(4), Sanction::Block));
    }

    #[test]
    fn blocks_of_one_address_are_bounded() {
        let mut book = BlockBook::default();
        for port in 0..20_u16 {
            let scope = Scope::AddressPort(port);
            let until = 100 + u64::from(port);
            book.insert(address(1), Block { scope, ..block(1, Sanction::Block, until) }, at(1));
        }
        assert_eq!(book.blocks(address(1)).len(), MAX_BLOCKS_OF_ADDRESS);
        assert_eq!(book.live_counts(at(2)), (0, 1));
    }

    #[test]
    fn a_network_ends_the_blocks_of_its_addresses_only() {
        let mut book = BlockBook::default();
        for last in [1, 2, 130] {
            book.insert(address(last), block(last, Sanction::Block, 100), at(1));
        }
        book.release_within(&"192.0.2.0/25".parse().unwrap());
        assert_eq!(book.addresses().collect::<Vec<_>>(), [address(130)]);
        assert_eq!(book.live_counts(at(2)), (0, 1));
        assert_eq!(book.live_counts(at(100)), (0, 0));
    }
}
