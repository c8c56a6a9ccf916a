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

use crate::decide::order::{HeldBlock, HeldPorts};
use crate::digest::{Canonical, CanonicalHasher};

/// Blocked addresses of the whole cluster at most: what a kernel set of this kind was measured to hold
/// without slowing down. A million distinct sources at once is a spoofed flood, which soft blocks would
/// follow for ever.
pub(crate) const MAX_BLOCKED_ADDRESSES: usize = 1_048_576;
/// Blocks of one address at most: one of each sanction for the address, and some ports behind it.
pub(crate) const MAX_BLOCKS_OF_ADDRESS: usize = 8;

/// The networks that can be blocked for a time, longest first: a site's /64 and a customer's /56 of IPv6. One block may not
/// take in more: it would be somebody else's.
const PREFIXES: [u8; 2] = [64, 56];

/// The widest network that may be blocked for what one sensor saw, not wider than it asks for.
pub(crate) fn blockable(address: IpAddr, length: u8) -> Option<(IpAddr, u8)> {
    let length = PREFIXES.into_iter().rfind(|prefix| length <= *prefix)?;
    Some((base_of(address, length)?, length))
}

/// The first address of the network that holds an IPv6 address; none for IPv4, whose networks are shared by strangers.
fn base_of(address: IpAddr, length: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(_) => IpNet::new(address, length).ok().map(|network| network.network()),
    }
}

/// The networks that can be blocked and begin with this address.
pub(crate) fn networks_from(base: IpAddr) -> impl Iterator<Item = IpNet> {
    let of_length = move |length| (base_of(base, length)? == base).then(|| IpNet::new(base, length).ok())?;
    PREFIXES.into_iter().filter_map(of_length)
}

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

    fn held(&self, address: IpAddr) -> HeldBlock {
        let whole = IpNet::from(address);
        let network = match self.scope {
            Scope::Address | Scope::AddressPort(_) => whole,
            Scope::Prefix(length) => IpNet::new(address, length).map_or(whole, |network| network.trunc()),
        };
        HeldBlock { network, sanction: self.sanction, until: self.until }
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

    /// The strongest live block of the whole address alone, and of those the one that ends last.
    pub(crate) fn strongest(&self, address: IpAddr, now: Timestamp) -> Option<&Block<T>> {
        self.blocks(address)
            .iter()
            .filter(|block| block.scope == Scope::Address && block.is_live(now))
            .max_by_key(|block| (block.sanction, block.until))
    }

    /// What is held about the whole address at `now`, by blocks of its own or of a network that holds it.
    pub(crate) fn held(&self, address: IpAddr, now: Timestamp) -> Option<HeldBlock> {
        let own = self.strongest(address, now).map(|block| block.held(address));
        let around = self.around(address).filter(|(_, block)| block.is_live(now));
        let around = around.map(|(base, block)| block.held(base));
        own.into_iter().chain(around).max_by_key(|held| (held.sanction, held.until))
    }

    /// What is held about its ports at `now`.
    pub(crate) fn held_ports(&self, address: IpAddr, asked: Option<u16>, now: Timestamp) -> HeldPorts {
        let narrow = || self.narrow(address, now);
        let of_asked =
            narrow().filter(|(port, _)| Some(*port) == asked).map(|(_, block)| block.held(address));
        HeldPorts {
            asked: of_asked.max_by_key(|held| (held.sanction, held.until)),
            others: narrow()
                .map(|(port, _)| port)
                .filter(|port| Some(*port) != asked)
                .collect::<BTreeSet<_>>()
                .len(),
        }
    }

    /// Live blocks of single ports.
    pub(crate) fn narrow(&self, address: IpAddr, now: Timestamp) -> impl Iterator<Item = (u16, &Block<T>)> {
        let live = self.blocks(address).iter().filter(move |block| block.is_live(now));
        live.filter_map(|block| match block.scope {
            Scope::AddressPort(port) => Some((port, block)),
            Scope::Address | Scope::Prefix(_) => None,
        })
    }

    /// Blocks of networks that hold the address, by their first address; also those that have ended.
    pub(crate) fn around(&self, address: IpAddr) -> impl Iterator<Item = (IpAddr, &Block<T>)> {
        let bases = PREFIXES.into_iter().filter_map(move |length| Some((length, base_of(address, length)?)));
        bases.flat_map(|(length, base)| {
            let blocks = self.blocks(base).iter().filter(move |block| block.scope == Scope::Prefix(length));
            blocks.map(move |block| (base, block))
        })
    }

    /// Blocked networks; also those whose block has ended.
    pub(crate) fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.iter().filter_map(|(base, block)| match block.scope {
            Scope::Prefix(length) => IpNet::new(base, length).ok(),
            Scope::Address | Scope::AddressPort(_) => None,
        })
    }

    /// Blocked networks within a network; also those whose block has ended.
    pub(crate) fn networks_within(&self, network: &IpNet) -> impl Iterator<Item = IpNet> {
        let (first, last, shortest) = (network.network(), network.broadcast(), network.prefix_len());
        self.by_address.range(first..=last).flat_map(move |(base, blocks)| {
            blocks.iter().filter_map(move |block| match block.scope {
                Scope::Prefix(length) if shortest <= length => IpNet::new(*base, length).ok(),
                Scope::Prefix(_) | Scope::Address | Scope::AddressPort(_) => None,
            })
        })
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

    /// Ends all blocks of a network's addresses and their ports. Blocks of whole networks stay: the lists that call this
    /// decide before them.
    pub(crate) fn release_within(&mut self, network: &IpNet) {
        let within = self.by_address.range(network.network()..=network.broadcast());
        let addresses: Vec<IpAddr> = within.map(|(address, _)| *address).collect();
        for address in addresses {
            let Some(mut blocks) = self.by_address.remove(&address) else { continue };
            let before = End::of(&blocks);
            self.ends_mut(before).remove(&(before.until, address));
            blocks.retain(|block| matches!(block.scope, Scope::Prefix(_)));
            if !blocks.is_empty() {
                let after = End::of(&blocks);
                self.ends_mut(after).insert((after.until, address));
                self.by_address.insert(address, blocks);
            }
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
