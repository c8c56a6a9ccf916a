//! Puts IP fragments together, so that a message larger than a link's frames is read like any other.
//!
//! ```text
//!  piece ──> under way, by (source, destination, protocol, identification) ──no hole──> whole packet
//!              │ overlap, contradiction: spoiled, and nothing comes of it any more (RFC 5722)
//!              └ TIMEOUT, or too much under way: let go, the oldest first
//! ```
//!
//! Honest senders do not overlap. Where two pieces say different things of the same bytes, two hosts may read two packets, and an
//! attacker would choose which one the sensor reads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;

use crate::keyed::Key;
use crate::table::{Fill, Table};
use crate::tunnel::Tunnel;

/// Linux lets an incomplete packet go after this time; who waits longer reads what the victim does not.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Packets under way at most: what a thousand hosts send in the same moment.
const MAX_UNDER_WAY: usize = 1_024;
/// Packets of one source under way at most: an office behind one address sends some at once. A forger who fills them blinds the
/// sensor to large messages of that address, and of no other.
const MAX_OF_A_SOURCE: u32 = 64;
/// Bytes under way at most.
const MAX_BYTES: usize = 4 << 20;
/// Pieces of one packet at most: 65,535 bytes over a link of 576 take 120.
const MAX_PIECES: usize = 128;
/// The longest payload of an IP packet.
const MAX_LENGTH: usize = 65_535;
/// All pieces but the last are multiples of this (RFC 791, RFC 8200 section 4.5).
const UNIT: usize = 8;

/// A piece of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// The protocol of the whole, or of its first extension header behind the fragment header.
    pub(crate) protocol: u8,
    pub(crate) identification: u32,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) is_last: bool,
    pub(crate) bytes: &'a [u8],
    /// The tunnel that brought it.
    pub(crate) tunnel: Option<Tunnel>,
}

/// A packet that was put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) bytes: Vec<u8>,
    /// The tunnel that brought all of its pieces.
    pub(crate) tunnel: Option<Tunnel>,
}

/// Source, destination, protocol, identification. Pieces of different tunnels, or of a tunnel and of none, never meet: otherwise
/// anybody could spoil what an honest source sends.
type Name = (IpAddr, IpAddr, u8, u32, Option<Tunnel>);

/// The packets under way.
pub(crate) struct Fragments {
    under_way: Table<Name, Partial>,
    of_source: HashMap<IpAddr, u32, Key>,
    bytes: usize,
    lost: u64,
}

struct Partial {
    began: Timestamp,
    bytes: Vec<u8>,
    /// Begin and end of what has come, in order, without overlap.
    pieces: Vec<(usize, usize)>,
    /// Known once the last piece has come.
    length: Option<usize>,
    is_spoiled: bool,
}

impl Fragments {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            under_way: Table::new(MAX_UNDER_WAY, key),
            of_source: HashMap::with_hasher(key),
            bytes: 0,
            lost: 0,
        }
    }

    /// How full they are: packets under way, and their bytes.
    pub(crate) fn fill(&self) -> [Fill; 2] {
        [self.under_way.fill(), Fill { held: self.bytes, capacity: MAX_BYTES }]
    }

    /// Packets that were let go before they were whole, and pieces that found no place.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a piece in; gives the packet if it was the last that was missing.
    pub(crate) fn add(&mut self, fragment: &Fragment<'_>, now: Timestamp) -> Option<Whole> {
        self.let_go(|partial, _| TIMEOUT <= now.since(partial.began));
        let Fragment { source, destination, protocol, identification, bytes, tunnel, .. } = *fragment;
        let name = (source, destination, protocol, identification, tunnel);
        if self.under_way.get(&name).is_none() && !self.begin(name, now) {
            self.lost += 1;
            return None;
        }
        let partial = self.under_way.get_mut(&name)?;
        let before = partial.bytes.len();
        partial.add(fragment);
        self.bytes = (self.bytes + partial.bytes.len()).saturating_sub(before);
        let is_whole = partial.is_whole();
        if is_whole {
            let bytes = self.remove(&name)?.bytes;
            return Some(Whole { source, destination, protocol, bytes, tunnel });
        }
        if MAX_BYTES < self.bytes + bytes.len() {
            self.let_go(|_, held| MAX_BYTES < held);
        }
        None
    }

    /// Makes room for a packet, unless its source has its share.
    fn begin(&mut self, name: Name, now: Timestamp) -> bool {
        if MAX_OF_A_SOURCE <= self.of_source.get(&name.0).copied().unwrap_or_default() {
            return false;
        }
        if MAX_UNDER_WAY <= self.under_way.len() {
            let oldest = self.under_way.oldest().map(|(name, _)| *name);
            self.lost += u64::from(oldest.and_then(|oldest| self.remove(&oldest)).is_some());
        }
        *self.of_source.entry(name.0).or_default() += 1;
        let pieces = Vec::new();
        let partial = Partial { began: now, bytes: Vec::new(), pieces, length: None, is_spoiled: false };
        self.under_way.insert(name, partial);
        true
    }

    /// Lets the oldest go while this holds of it and of the bytes held.
    fn let_go(&mut self, is_due: impl Fn(&Partial, usize) -> bool) {
        while let Some((name, partial)) = self.under_way.oldest()
            && is_due(partial, self.bytes)
        {
            let name = *name;
            self.remove(&name);
            self.lost += 1;
        }
    }

    fn remove(&mut self, name: &Name) -> Option<Partial> {
        let partial = self.under_way.remove(name)?;
        self.bytes = self.bytes.saturating_sub(partial.bytes.len());
        if let Some(count) = self.of_source.get_mut(&name.0) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_source.remove(&name.0);
            }
        }
        Some(partial)
    }
}

impl Partial {
    fn add(&mut self, fragment: &Fragment<'_>) {
        let (begin, end) = (fragment.offset, fragment.offset.saturating_add(fragment.bytes.len()));
        if self.is_spoiled || begin == end {
            return;
        }
        if self.is_repeated(fragment, (begin, end)) {
            return;
        }
        let place = self.pieces.partition_point(|(known, _)| *known < begin);
        let overlaps = self.pieces.get(place).is_some_and(|(next, _)| *next < end)
            || place
                .checked_sub(1)
                .and_then(|before| self.pieces.get(before))
                .is_some_and(|(_, known)| begin < *known);
        let contradicts = match self.length {
            Some(length) => length < end || fragment.is_last,
            None => fragment.is_last && self.pieces.last().is_some_and(|(_, known)| end < *known),
        };
        let is_cut = !fragment.is_last && !fragment.bytes.len().is_multiple_of(UNIT);
        if overlaps || contradicts || is_cut || MAX_LENGTH < end || MAX_PIECES <= self.pieces.len() {
            return self.spoil();
        }
        if fragment.is_last {
            self.length = Some(end);
        }
        self.pieces.insert(place, (begin, end));
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(begin..end) {
            place.copy_from_slice(fragment.bytes);
        }
    }

    /// The network may bring a piece twice.
    fn is_repeated(&self, fragment: &Fragment<'_>, piece: (usize, usize)) -> bool {
        self.pieces.contains(&piece)
            && self.bytes.get(piece.0..piece.1) == Some(fragment.bytes)
            && fragment.is_last == (self.length == Some(piece.1))
    }

    /// What still comes must not begin anew.
    fn spoil(&mut self) {
        self.is_spoiled = true;
        self.bytes = Vec::new();
        self.pieces = Vec::new();
    }

    fn is_whole(&self) -> bool {
        let held: usize = self.pieces.iter().map(|(begin, end)| end - begin).sum();
        !self.is_spoiled && self.length == Some(held)
    }
}

#[cfg(test)]
#[path = "fragments_tests.rs"]
mod tests;
