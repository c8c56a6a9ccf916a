//! Puts TCP segments in order, and cuts streams into SIP messages: over TCP a message ends where its Content-Length says
//! (RFC 3261, 18.3), several may share a segment, and one may take many.
//!
//! ```text
//!  segment ──in order──> buffer ──header and body are there──> message
//!     │ too early                │ not SIP, or too long
//!     v                          v
//!   early (bounded) ──gap──> given up: goes on where the next message begins
//! ```
//!
//! A stream that was under way before the capture is picked up where a message begins. What was seen first holds: a second
//! version of the same bytes is not read.
//!
//! Whoever sent a segment that acknowledges the victim's SYN, or data that the victim acknowledged, is where he says he is.

use std::net::IpAddr;

use crate::keyed::Key;
use crate::table::Table;

/// Directions of connections at most: twice what a large registrar with phones over TCP has.
const MAX_STREAMS: usize = 16_384;
/// Bytes of all streams at most; the streams that were silent for longest make room.
const MAX_BYTES: usize = 16 << 20;
/// The longest message that is read whole; of a longer one the header is.
const MAX_MESSAGE: usize = 65_535;
/// Segments that came before one that is missing, for each stream.
const MAX_EARLY: usize = 32;
/// Sequence numbers farther away than this belong to another connection: no window is larger here.
const MAX_DISTANCE: u32 = 1 << 20;
/// Where no message has begun, this much of the end is kept: a start line may be cut anywhere.
const MAX_LINE: usize = 1_024;

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

/// One direction of a connection.
pub(crate) type Direction = (IpAddr, u16, IpAddr, u16);

impl Segment<'_> {
    pub(crate) const fn direction(&self) -> Direction {
        (self.source, self.source_port, self.destination, self.destination_port)
    }

    const fn back(&self) -> Direction {
        (self.destination, self.destination_port, self.source, self.source_port)
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamMessage {
    pub(crate) bytes: Vec<u8>,
    /// The sender has been shown to be at his address.
    pub(crate) is_proven: bool,
}

/// The streams under way.
pub(crate) struct Streams {
    streams: Table<Direction, Stream>,
    bytes: usize,
    lost: u64,
}

#[derive(Default)]
struct Stream {
    /// The number of the next byte; unknown before anything was seen.
    next: Option<u32>,
    /// The number of the SYN.
    opened: Option<u32>,
    /// The number of the first byte that was seen.
    first: Option<u32>,
    buffer: Vec<u8>,
    /// Bytes in front of the buffer that were read.
    read: usize,
    early: Vec<(u32, Vec<u8>)>,
    /// Bytes of the buffer in which no header ends.
    scanned: usize,
    /// The length of the message in front, once its header is there.
    length: Option<usize>,
    /// Bytes of a long body that are still to come.
    skipped: usize,
    /// The buffer begins where a message begins.
    is_aligned: bool,
    is_proven: bool,
    is_ending: bool,
}

impl Streams {
    pub(crate) fn new(key: Key) -> Self {
        Self { streams: Table::new(MAX_STREAMS, key), bytes: 0, lost: 0 }
    }

    /// Streams that made room for others, and gaps that were given up.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a segment in; [`Streams::next_message`] then gives what has become whole.
    pub(crate) fn add(&mut self, segment: &Segment<'_>) {
        let (direction, back) = (segment.direction(), segment.back());
        if segment.has(RST) {
            // Only the exact number ends a connection (RFC 5961): anybody could send another.
            if self.streams.get(&direction).is_some_and(|stream| stream.next == Some(segment.sequence)) {
                self.remove(&direction);
                self.remove(&back);
            }
            return;
        }
        if segment.has(SYN) {
            self.remove(&direction);
            self.insert(direction, Stream::opened(segment.sequence));
        }
        if segment.has(ACK) && !segment.is_tunnelled {
            self.note_acknowledged(segment);
        }
        if segment.payload.is_empty() && !segment.has(FIN) {
            return;
        }
        if self.streams.get(&direction).is_none() {
            self.insert(direction, Stream::default());
        }
        self.streams.refresh(&direction);
        if let Some(stream) = self.streams.get_mut(&direction) {
            let before = stream.held();
            self.lost += u64::from(stream.place(segment));
            stream.is_ending |= segment.has(FIN);
            self.bytes = (self.bytes + stream.held()).saturating_sub(before);
        }
        self.make_room(&direction);
    }

    /// The next message of a stream.
    pub(crate) fn next_message(&mut self, direction: &Direction) -> Option<StreamMessage> {
        let stream = self.streams.get_mut(direction)?;
        let before = stream.held();
        let bytes = stream.take();
        let (is_proven, is_over) = (stream.is_proven, bytes.is_none() && stream.is_ending);
        self.bytes = (self.bytes + stream.held()).saturating_sub(before);
        if is_over {
            self.remove(direction);
        }
        Some(StreamMessage { bytes: bytes?, is_proven })
    }

    /// Who acknowledges what only the other end could tell him has received it.
    fn note_acknowledged(&mut self, segment: &Segment<'_>) {
        let after = |number: Option<u32>| {
            number
                .is_some_and(|number| (1..MAX_DISTANCE).contains(&segment.acknowledged.wrapping_sub(number)))
        };
        let Some(other) = self.streams.get_mut(&segment.back()) else { return };
        other.is_proven |= after(other.first);
        let has_heard = after(other.opened);
        if has_heard && self.streams.get(&segment.direction()).is_none() {
            self.insert(segment.direction(), Stream::default());
        }
        if let Some(own) = self.streams.get_mut(&segment.direction()) {
            own.is_proven |= has_heard;
        }
    }

    fn insert(&mut self, direction: Direction, stream: Stream) {
        if MAX_STREAMS <= self.streams.len() {
            self.lost += u64::from(self.remove_oldest());
        }
        self.streams.insert(direction, stream);
    }

    fn make_room(&mut self, kept: &Direction) {
        while MAX_BYTES < self.bytes && self.streams.oldest().is_some_and(|(oldest, _)| oldest != kept) {
            self.lost += u64::from(self.remove_oldest());
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let oldest = self.streams.oldest().map(|(oldest, _)| *oldest);
        oldest.is_some_and(|oldest| {
            self.remove(&oldest);
            true
        })
    }

    fn remove(&mut self, direction: &Direction) {
        if let Some(stream) = self.streams.remove(direction) {
            self.bytes = self.bytes.saturating_sub(stream.held());
        }
    }
}

impl Stream {
    fn opened(sequence: u32) -> Self {
        let next = Some(sequence.wrapping_add(1));
        Self { next, opened: Some(sequence), is_aligned: true, ..Self::default() }
    }

    fn held(&self) -> usize {
        let early: usize = self.early.iter().map(|(_, bytes)| bytes.len()).sum();
        self.buffer.len() + early
    }

    /// What was not read yet.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.read..).unwrap_or_default()
    }

    /// Puts a segment's bytes where they belong. Says whether something before them was given up.
    fn place(&mut self, segment: &Segment<'_>) -> bool {
        let Segment { sequence, payload, .. } = *segment;
        let sequence = if segment.has(SYN) { sequence.wrapping_add(1) } else { sequence };
        if payload.is_empty() {
            return false;
        }
        self.first.get_or_insert(sequence);
        let next = *self.next.get_or_insert(sequence);
        let (ahead, behind) = (sequence.wrapping_sub(next), next.wrapping_sub(sequence));
        if ahead == 0 || behind <= MAX_DISTANCE {
            // What is behind was seen already.
            let seen = usize::try_from(behind).unwrap_or(usize::MAX).min(payload.len());
            self.append(payload.get(seen..).unwrap_or_default());
            return self.join_early(next_of(sequence, payload.len(), next));
        }
        if ahead <= MAX_DISTANCE && self.early.len() < MAX_EARLY {
            let place = self.early.partition_point(|(known, _)| known.wrapping_sub(next) <= ahead);
            self.early.insert(place, (sequence, payload.to_vec()));
            return false;
        }
        self.go_on_at(segment.sequence, payload, ahead <= MAX_DISTANCE)
    }

    /// What is missing will not come, or the numbers are another connection's.
    fn go_on_at(&mut self, sequence: u32, payload: &[u8], is_near: bool) -> bool {
        let mut early = std::mem::take(&mut self.early);
        self.give_up();
        if !is_near || early.is_empty() {
            self.append(payload);
            self.next = Some(sequence.wrapping_add(length_of(payload)));
            return true;
        }
        let (first, bytes) = early.remove(0);
        self.append(&bytes);
        early.push((sequence, payload.to_vec()));
        early.sort_by_key(|(sequence, _)| sequence.wrapping_sub(first));
        self.early = early;
        self.join_early(first.wrapping_add(length_of(&bytes)));
        true
    }

    /// Everything up to `next` is there; so may be what came too early.
    fn join_early(&mut self, next: u32) -> bool {
        let mut next = next;
        while let Some((sequence, _)) = self.early.first() {
            let behind = next.wrapping_sub(*sequence);
            if MAX_DISTANCE < behind {
                break;
            }
            let (sequence, bytes) = self.early.remove(0);
            let seen = usize::try_from(behind).unwrap_or(usize::MAX).min(bytes.len());
            self.append(bytes.get(seen..).unwrap_or_default());
            next = next_of(sequence, bytes.len(), next);
        }
        self.next = Some(next);
        false
    }

    fn append(&mut self, bytes: &[u8]) {
        let skipped = self.skipped.min(bytes.len());
        self.skipped -= skipped;
        // Once for all messages that were read since the last segment.
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// The buffer is no use any more.
    fn give_up(&mut self) {
        self.buffer = Vec::new();
        (self.read, self.scanned, self.length, self.skipped) = (0, 0, None, 0);
        self.is_aligned = false;
    }

    /// The message in front, if it is whole.
    fn take(&mut self) -> Option<Vec<u8>> {
        if !self.is_aligned && !self.align() {
            return None;
        }
        let length = match self.length {
            Some(length) => length,
            None => self.find_length()?,
        };
        self.length = Some(length);
        let message = self.rest().get(..length)?.to_vec();
        self.read += length;
        (self.length, self.scanned) = (None, 0);
        Some(message)
    }

    /// Finds where a message begins, and forgets what is before.
    fn align(&mut self) -> bool {
        let mut begin = 0;
        for line in self.rest().split_inclusive(|byte| *byte == b'\n') {
            let text = line.trim_ascii_end();
            if line.ends_with(b"\n") && (text.ends_with(b" SIP/2.0") || text.starts_with(b"SIP/2.0 ")) {
                self.read += begin;
                self.is_aligned = true;
                return true;
            }
            begin += line.len();
        }
        self.read += self.rest().len().saturating_sub(MAX_LINE);
        false
    }

    /// The length of the message in front, once its header is there. Leaves out line ends before it, which keep a connection
    /// alive (RFC 5626, 3.5.1).
    fn find_length(&mut self) -> Option<usize> {
        if self.scanned == 0 {
            self.read += self.rest().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        }
        let from = self.scanned.saturating_sub(3);
        let end = self.rest().get(from..)?.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            self.scanned = self.rest().len();
            if MAX_MESSAGE < self.scanned || !could_be_sip(self.rest()) {
                self.give_up();
            }
            return None;
        };
        let header = from + end + 4;
        let message = sip::parse(self.rest().get(..header)?).ok();
        let body = message.and_then(|message| message.content_length()).unwrap_or_default();
        let body = usize::try_from(body).unwrap_or(usize::MAX);
        if header.saturating_add(body) <= MAX_MESSAGE {
            return Some(header + body);
        }
        // The header alone is read, and the body left out, as far as it is here already and as it comes.
        let here = self.rest().len().saturating_sub(header).min(body);
        self.buffer.drain(self.read + header..self.read + header + here);
        self.skipped = body - here;
        Some(header)
    }
}

/// Text so far: a TLS handshake is not, and need not be kept until it is too long.
fn could_be_sip(buffer: &[u8]) -> bool {
    buffer.iter().take(16).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

/// The number after a segment, which may lie behind what was seen.
fn next_of(sequence: u32, length: usize, next: u32) -> u32 {
    let end = sequence.wrapping_add(u32::try_from(length).unwrap_or_default());
    if end.wrapping_sub(next) <= MAX_DISTANCE { end } else { next }
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or_default()
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
