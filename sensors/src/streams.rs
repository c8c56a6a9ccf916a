//! From TCP segments to SIP messages, and to what else says who connects: something that is not SIP, a WebSocket that was
//! refused, a TLS session that nobody used.
//!
//! ```text
//!  SYN ──> half open ──the client acknowledges the server's SYN──> settled (proven; a share for each source)
//!                                                                   ^
//!  data without that ──> unsettled ──the other end acknowledges it──┘
//! ```
//!
//! Anybody can send a SYN, or data from the middle of a connection, from any address. What was not answered stays in tables of its
//! own, so a flood of it pushes no honest connection out. What exceeds its source's share stays there too.
//!
//! Whoever sent a segment that acknowledges the other end's SYN, or data that the other end acknowledged, is where he says he is.
//! Once that is known, numbers that do not belong to the connection are no part of it.

mod connection;
mod cutter;
mod order;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use log_format::event::PortRange;

use crate::keyed::Key;
use crate::table::{Fill, Table};
use crate::transaction::Path;
use connection::{Connection, Ends, Half, HalfOpen, Side, end, ends_of};
use cutter::{Cutter, Service};
use order::{MAX_DISTANCE, Order, Placed, length_of};

/// Connections that were opened and not answered yet: at 250,000 SYNs a second each stays for an eighth of a second, and an
/// honest one needs one round trip. About 4 MiB.
const MAX_HALF_OPEN: usize = 32_768;
/// Connections that carry data and are not proven, or exceed their source's share.
const MAX_UNSETTLED: usize = 4_096;
/// Connections that are proven: twice what a large registrar with phones over TCP has.
const MAX_SETTLED: usize = 16_384;
/// Connections of one source that settle: a large office behind one address.
const MAX_SETTLED_OF_A_SOURCE: u32 = 1_024;
/// Bytes that wait in all settled connections at most; the connections that were silent for longest make room.
const MAX_SETTLED_BYTES: usize = 8 << 20;
/// The same of all unsettled ones.
const MAX_UNSETTLED_BYTES: usize = 2 << 20;
/// Bytes that wait in the settled connections of one source: sixteen messages of the longest kind, half come.
const MAX_BYTES_OF_A_SOURCE: usize = 512 << 10;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination: IpAddr,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
    /// Anybody can send any segment in a tunnel, so it proves nothing.
    pub(crate) is_tunnelled: bool,
}

/// One direction of a connection: source and its port, destination and its port.
pub(crate) type Direction = (IpAddr, u16, IpAddr, u16);

impl Segment<'_> {
    /// Who asks whom, if the sender is the client.
    pub(crate) const fn path(&self) -> Path {
        Path { source: self.source, victim: self.destination, victim_port: self.destination_port }
    }

    /// Who asked whom, if the sender is the server.
    pub(crate) const fn path_back(&self) -> Path {
        Path { source: self.destination, victim: self.source, victim_port: self.source_port }
    }

    pub(crate) const fn direction(&self) -> Direction {
        (self.source, self.source_port, self.destination, self.destination_port)
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The number of the first byte of the payload.
    const fn begin(&self) -> u32 {
        if self.has(SYN) { self.sequence.wrapping_add(1) } else { self.sequence }
    }
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// RFC 3261, 18.
    Tcp,
    /// RFC 7118.
    WebSocket,
}

/// Something that a stream carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamItem {
    /// A message, whole.
    Message {
        bytes: Vec<u8>,
        /// The sender has been shown to be at his address.
        is_proven: bool,
        transport: Transport,
    },
    /// The client's first line on a SIP port is not SIP. At most 128 bytes of it, as far as it has come. Once for each connection.
    NotSip { line: Vec<u8>, is_proven: bool },
    /// The client begins a TLS session. Once for each connection.
    TlsClientHello { is_proven: bool },
    /// The server refuses SIP over WebSocket with this status. It comes in the server's direction: the client is the destination.
    UpgradeRefused { status: u16, is_proven: bool },
    /// A TLS session is over. It comes in whichever direction ended it.
    TlsEnded(TlsEnded),
}

/// A TLS session that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TlsEnded {
    pub(crate) client: (IpAddr, u16),
    pub(crate) server: (IpAddr, u16),
    /// The client has been shown to be at its address.
    pub(crate) is_proven: bool,
    /// The client used it.
    pub(crate) has_data: bool,
    /// One side gave the handshake up.
    pub(crate) has_failed: bool,
}

/// A message of a stream.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamMessage {
    pub(crate) bytes: Vec<u8>,
    /// The sender has been shown to be at his address.
    pub(crate) is_proven: bool,
}

/// What a source holds in settled connections.
#[derive(Default)]
struct Share {
    connections: u32,
    bytes: usize,
}

/// The streams under way.
pub(crate) struct Streams {
    half_open: Table<Ends, HalfOpen>,
    unsettled: Table<Ends, Connection>,
    settled: Table<Ends, Connection>,
    shares: HashMap<IpAddr, Share, Key>,
    unsettled_bytes: usize,
    settled_bytes: usize,
    websocket_ports: Vec<PortRange>,
    /// A session that the last segment ended.
    ended: Option<TlsEnded>,
    lost: u64,
}

impl Streams {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            half_open: Table::new(MAX_HALF_OPEN, key),
            unsettled: Table::new(MAX_UNSETTLED, key),
            settled: Table::new(MAX_SETTLED, key),
            shares: HashMap::with_hasher(key),
            unsettled_bytes: 0,
            settled_bytes: 0,
            websocket_ports: Vec::new(),
            ended: None,
            lost: 0,
        }
    }

    /// Ports on which HTTP is at home: what is not SIP over WebSocket there is not told. Holds for connections that begin from now on.
    pub(crate) fn set_websocket_ports(&mut self, ports: Vec<PortRange>) {
        self.websocket_ports = ports;
    }

    /// How full they are: connections half open, with data that nobody has acknowledged, and with such; and the bytes of the last two.
    pub(crate) fn fill(&self) -> [Fill; 5] {
        let bytes = |held, capacity| Fill { held, capacity };
        [
            self.half_open.fill(),
            self.unsettled.fill(),
            self.settled.fill(),
            bytes(self.unsettled_bytes, MAX_UNSETTLED_BYTES),
            bytes(self.settled_bytes, MAX_SETTLED_BYTES),
        ]
    }

    /// Connections with data that made room for others, and gaps that were given up.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a segment in; [`Streams::next_item`] then gives what has become whole.
    pub(crate) fn add(&mut self, segment: &Segment<'_>) {
        let (ends, side) = ends_of(&segment.direction());
        if segment.has(RST) {
            return self.reset(&ends, side, segment.sequence);
        }
        if segment.has(SYN) {
            self.open(&ends, side, segment);
        } else if segment.has(ACK) && !segment.is_tunnelled {
            self.note_acknowledged(&ends, side, segment);
        }
        if !segment.payload.is_empty() || segment.has(FIN) {
            self.place(&ends, side, segment);
        }
    }

    /// The next thing that a stream carried. To be asked after each segment, until it gives nothing.
    pub(crate) fn next_item(&mut self, direction: &Direction) -> Option<StreamItem> {
        if let Some(ended) = self.ended.take() {
            return Some(StreamItem::TlsEnded(ended));
        }
        let (ends, side) = ends_of(direction);
        let connection = self.connection_mut(&ends)?;
        let before = connection.held();
        let item = connection.take(side);
        self.count_bytes(&ends, before);
        if item.is_none() {
            return self.conclude(&ends, side).map(StreamItem::TlsEnded);
        }
        item
    }

    /// The next message of a stream, or the line it has instead; leaves out everything else.
    #[cfg(test)]
    pub(crate) fn next_message(&mut self, direction: &Direction) -> Option<StreamMessage> {
        loop {
            match self.next_item(direction)? {
                StreamItem::Message { bytes, is_proven, transport: _ }
                | StreamItem::NotSip { line: bytes, is_proven } => {
                    return Some(StreamMessage { bytes, is_proven });
                }
                StreamItem::TlsClientHello { .. }
                | StreamItem::UpgradeRefused { .. }
                | StreamItem::TlsEnded(_) => {}
            }
        }
    }

    /// A SYN says nothing of a connection that is under way on the same ports: only the answer to it does.
    fn open(&mut self, ends: &Ends, side: Side, segment: &Segment<'_>) {
        let Segment { sequence, acknowledged, .. } = *segment;
        if segment.has(ACK) {
            let opened = acknowledged.wrapping_sub(1);
            match self.half_open.get_mut(ends) {
                Some(known) if known.client != side && known.opened == opened => {
                    known.answered = Some(sequence);
                }
                // Somebody else's guess, as long as the client's own SYN stands there.
                Some(_) => {}
                None => {
                    let client = side.other();
                    self.half_open.insert(*ends, HalfOpen { client, opened, answered: Some(sequence) });
                }
            }
            return;
        }
        let is_repeated =
            self.half_open.get(ends).is_some_and(|known| known.client == side && known.opened == sequence);
        if !is_repeated {
            self.half_open.insert(*ends, HalfOpen { client: side, opened: sequence, answered: None });
        }
    }

    /// Who acknowledges what only the other end could tell him has received it.
    fn note_acknowledged(&mut self, ends: &Ends, side: Side, segment: &Segment<'_>) {
        let Segment { sequence, acknowledged, .. } = *segment;
        if let Some(half_open) = self.half_open.get(ends).copied()
            && half_open.client == side
            && half_open.answered.is_some_and(|answered| answered.wrapping_add(1) == acknowledged)
            && sequence.wrapping_sub(half_open.opened) <= MAX_DISTANCE
        {
            self.half_open.remove(ends);
            self.remove(ends);
            let mut connection = self.opened(ends, half_open);
            connection.half_mut(side).is_proven = true;
            self.unsettled_insert(ends, connection);
            self.settle(ends);
            return;
        }
        let Some(connection) = self.connection_mut(ends) else { return };
        let (own, other) = connection.halves_mut(side);
        let has_sent = other.order.has_sent_before(acknowledged);
        let has_heard = other.opened.is_some_and(|opened| other.order.has_sent_since(opened, acknowledged));
        let is_news = has_sent && !other.is_proven || has_heard && !own.is_proven;
        other.is_proven |= has_sent;
        own.is_proven |= has_heard;
        // He has received more than was seen here: the numbers were lost.
        let is_behind = own.is_proven
            && other.is_proven
            && own.order.is_near(sequence)
            && other.order.is_behind(acknowledged);
        if is_behind {
            let before = connection.held();
            let (_, other) = connection.halves_mut(side);
            other.order.forget();
            other.cutter.give_up();
            self.count_bytes(ends, before);
            self.lost += 1;
        }
        if is_news {
            self.settle(ends);
        }
    }

    /// Puts the payload of a segment into its stream.
    fn place(&mut self, ends: &Ends, side: Side, segment: &Segment<'_>) {
        let begin = segment.begin();
        self.begin(ends, side, segment);
        let Some(connection) = self.connection_mut(ends) else { return };
        let before = connection.held();
        let half = connection.half_mut(side);
        if half.is_proven && !half.order.is_near(begin) {
            // Anybody may have sent it.
            return;
        }
        let placed = half.order.place(begin, segment.payload, &mut half.cutter);
        if segment.has(FIN) {
            half.order.ends(begin.wrapping_add(length_of(segment.payload)));
        }
        self.lost += u64::from(placed == Placed::AfterGap);
        self.count_bytes(ends, before);
        self.refresh(ends);
        self.make_room(ends);
    }

    /// Makes sure that there is a connection for data.
    fn begin(&mut self, ends: &Ends, side: Side, segment: &Segment<'_>) {
        let half_open = self.half_open.get(ends).copied();
        let fits = half_open.filter(|half_open| {
            let number = if half_open.client == side { Some(half_open.opened) } else { half_open.answered };
            number.is_some_and(|number| segment.begin().wrapping_sub(number).wrapping_sub(1) <= MAX_DISTANCE)
        });
        match (self.connection_mut(ends), fits) {
            (Some(connection), Some(half_open)) if !connection.is_proven() => {
                // Only one direction is seen, or the answer was lost: another connection on the same ports.
                if !connection.half_mut(half_open.client).order.is_near(segment.begin()) {
                    self.remove(ends);
                    self.unsettled_insert(ends, self.opened(ends, half_open));
                }
            }
            (Some(_), _) => {}
            (None, Some(half_open)) => self.unsettled_insert(ends, self.opened(ends, half_open)),
            (None, None) if segment.payload.is_empty() => {}
            (None, None) => {
                // Nobody saw who opened it: servers have the lower port.
                let client = if segment.source_port < segment.destination_port { side.other() } else { side };
                self.unsettled_insert(ends, self.picked_up(ends, client));
            }
        }
    }

    fn opened(&self, ends: &Ends, half_open: HalfOpen) -> Connection {
        let mut connection = self.picked_up(ends, half_open.client);
        let service = self.service(ends);
        let numbers =
            [(half_open.client, Some(half_open.opened)), (half_open.client.other(), half_open.answered)];
        for (side, number) in numbers {
            let Some(number) = number else { continue };
            let (order, cutter) = (Order::opened(number), Cutter::new(service, true));
            *connection.half_mut(side) = Half { order, cutter, opened: Some(number), is_proven: false };
        }
        connection
    }

    fn picked_up(&self, ends: &Ends, client: Side) -> Connection {
        let half = || Half { cutter: Cutter::new(self.service(ends), false), ..Half::default() };
        Connection { client, low: half(), high: half(), is_settled: false, is_tls_told: false }
    }

    fn service(&self, ends: &Ends) -> Service {
        let is_web =
            |port: u16| self.websocket_ports.iter().any(|range| (range.first..=range.last).contains(&port));
        if is_web(ends.0.1) || is_web(ends.1.1) { Service::Web } else { Service::Sip }
    }

    /// Only the exact number ends a connection (RFC 5961): anybody could send another.
    fn reset(&mut self, ends: &Ends, side: Side, sequence: u32) {
        let Some(connection) = self.connection_mut(ends) else { return };
        if connection.half_mut(side).order.is_next(sequence) {
            self.ended = connection.tls_ended(ends);
            self.remove(ends);
        }
    }

    /// Everything of this direction was read: is it over, or the whole connection?
    fn conclude(&mut self, ends: &Ends, side: Side) -> Option<TlsEnded> {
        let connection = self.connection_mut(ends)?;
        let (own, other) = connection.halves_mut(side);
        if !own.order.is_over() {
            return None;
        }
        let is_over = other.order.is_over() || other.order.is_unseen();
        let ended = connection.tls_ended(ends);
        if is_over {
            self.remove(ends);
        }
        ended
    }

    fn connection_mut(&mut self, ends: &Ends) -> Option<&mut Connection> {
        // Most segments belong to settled connections.
        if self.settled.get(ends).is_some() {
            return self.settled.get_mut(ends);
        }
        self.unsettled.get_mut(ends)
    }

    fn refresh(&mut self, ends: &Ends) {
        self.settled.refresh(ends);
        self.unsettled.refresh(ends);
    }

    fn unsettled_insert(&mut self, ends: &Ends, connection: Connection) {
        self.half_open.remove(ends);
        if MAX_UNSETTLED <= self.unsettled.len() {
            self.lost += u64::from(self.remove_oldest_unsettled());
        }
        self.unsettled_bytes += connection.held();
        self.unsettled.insert(*ends, connection);
    }

    /// A proven connection moves to where no flood reaches it, unless its source has its share.
    fn settle(&mut self, ends: &Ends) {
        let Some(connection) = self.unsettled.get(ends) else { return };
        let source = source_of(end(ends, connection.client).0);
        let share = self.shares.get(&source).map_or(0, |share| share.connections);
        if MAX_SETTLED_OF_A_SOURCE <= share {
            return;
        }
        let Some(mut connection) = self.unsettled.remove(ends) else { return };
        if MAX_SETTLED <= self.settled.len() {
            let oldest = self.settled.oldest().map(|(oldest, _)| *oldest);
            self.lost += u64::from(oldest.is_some_and(|oldest| self.remove(&oldest)));
        }
        let held = connection.held();
        self.unsettled_bytes = self.unsettled_bytes.saturating_sub(held);
        self.settled_bytes += held;
        let share = self.shares.entry(source).or_default();
        (share.connections, share.bytes) = (share.connections + 1, share.bytes + held);
        connection.is_settled = true;
        self.settled.insert(*ends, connection);
    }

    /// Says whether there was one.
    fn remove(&mut self, ends: &Ends) -> bool {
        if let Some(connection) = self.unsettled.remove(ends) {
            self.unsettled_bytes = self.unsettled_bytes.saturating_sub(connection.held());
            return true;
        }
        let Some(connection) = self.settled.remove(ends) else { return false };
        let held = connection.held();
        self.settled_bytes = self.settled_bytes.saturating_sub(held);
        let source = source_of(end(ends, connection.client).0);
        if let Some(share) = self.shares.get_mut(&source) {
            share.connections = share.connections.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(held);
            if share.connections == 0 {
                self.shares.remove(&source);
            }
        }
        true
    }

    fn remove_oldest_unsettled(&mut self) -> bool {
        let oldest = self.unsettled.oldest().map(|(oldest, _)| *oldest);
        oldest.is_some_and(|oldest| self.remove(&oldest))
    }

    /// Books what a connection holds now, which held `before`.
    fn count_bytes(&mut self, ends: &Ends, before: usize) {
        let Some(connection) = self.connection_mut(ends) else { return };
        let (held, is_settled) = (connection.held(), connection.is_settled);
        let source = source_of(end(ends, connection.client).0);
        if !is_settled {
            self.unsettled_bytes = (self.unsettled_bytes + held).saturating_sub(before);
        } else if held != before {
            self.settled_bytes = (self.settled_bytes + held).saturating_sub(before);
            if let Some(share) = self.shares.get_mut(&source) {
                share.bytes = (share.bytes + held).saturating_sub(before);
            }
        }
    }

    /// A connection that brings its source above its share loses what waits in it; of all, the oldest go.
    fn make_room(&mut self, ends: &Ends) {
        let Some(connection) = self.connection_mut(ends) else { return };
        let before = connection.held();
        let source = source_of(end(ends, connection.client).0);
        let is_settled = connection.is_settled;
        let share = self.shares.get(&source).map_or(0, |share| share.bytes);
        if is_settled && MAX_BYTES_OF_A_SOURCE < share {
            if let Some(connection) = self.settled.get_mut(ends) {
                connection.let_go();
            }
            self.count_bytes(ends, before);
            self.lost += 1;
        }
        while MAX_SETTLED_BYTES < self.settled_bytes
            && let Some(oldest) = self.settled.oldest().map(|(oldest, _)| *oldest)
            && oldest != *ends
        {
            self.lost += u64::from(self.remove(&oldest));
        }
        while MAX_UNSETTLED_BYTES < self.unsettled_bytes
            && self.unsettled.oldest().is_some_and(|(oldest, _)| oldest != ends)
        {
            self.lost += u64::from(self.remove_oldest_unsettled());
        }
    }
}

/// Who has the share: a customer has a whole /64.
fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "streams_items_tests.rs"]
mod items_tests;
