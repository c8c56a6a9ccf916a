//! Puts the segments of one direction in order.
//!
//! What was seen first holds: a second version of the same bytes is not read. What comes too early waits, within bounds; if what is
//! missing does not come, it is given up.

use super::cutter::Cutter;

/// Segments that came before one that is missing.
const MAX_EARLY: usize = 32;
/// Their bytes: one window without scaling.
const MAX_EARLY_BYTES: usize = 65_535;
/// Sequence numbers farther away than this belong to another connection: no window is larger here.
pub(super) const MAX_DISTANCE: u32 = 1 << 20;

/// One direction's numbers, and what came too early.
#[derive(Default)]
pub(super) struct Order {
    /// The number of the next byte; unknown before anything was seen.
    next: Option<u32>,
    /// The number of the first byte that was seen.
    first: Option<u32>,
    early: Vec<(u32, Vec<u8>)>,
    early_bytes: usize,
    /// The number behind the last byte there is.
    end: Option<u32>,
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    InOrder,
    /// Something before it will not come any more.
    AfterGap,
}

impl Order {
    /// A direction that opens with this number.
    pub(super) fn opened(sequence: u32) -> Self {
        Self { next: Some(sequence.wrapping_add(1)), ..Self::default() }
    }

    /// Bytes held.
    pub(super) const fn held(&self) -> usize {
        self.early_bytes
    }

    /// Nothing was seen of this direction.
    pub(super) const fn is_unseen(&self) -> bool {
        self.next.is_none()
    }

    /// Everything that the sender had to say is there.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some() && self.end == self.next
    }

    pub(super) fn is_next(&self, sequence: u32) -> bool {
        self.next == Some(sequence)
    }

    /// The number may belong to this connection.
    pub(super) fn is_near(&self, sequence: u32) -> bool {
        self.next.is_none_or(|next| {
            sequence.wrapping_sub(next) <= MAX_DISTANCE || next.wrapping_sub(sequence) <= MAX_DISTANCE
        })
    }

    /// Whoever acknowledges this number has received something that was seen here.
    pub(super) fn has_sent_before(&self, acknowledged: u32) -> bool {
        self.first.is_some_and(|first| (1..MAX_DISTANCE).contains(&acknowledged.wrapping_sub(first)))
    }

    /// Whoever acknowledges this number has received the SYN with that one, or something behind it. Nothing beyond what was seen is
    /// believed: right after a SYN there is one number to guess among four thousand million, as for the other end itself.
    pub(super) fn has_sent_since(&self, opened: u32, acknowledged: u32) -> bool {
        let sent = self.next.map_or(0, |next| next.wrapping_sub(opened));
        sent <= MAX_DISTANCE && (1..=sent).contains(&acknowledged.wrapping_sub(opened))
    }

    /// The other end has received what never was seen here: the numbers are lost, and the next segment gives new ones.
    pub(super) fn is_behind(&self, acknowledged: u32) -> bool {
        self.next.is_some_and(|next| {
            let ahead = acknowledged.wrapping_sub(next);
            MAX_DISTANCE < ahead && ahead < 1 << 31
        })
    }

    /// Forgets the numbers, and what waits.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Lets go of what waits.
    pub(super) fn drop_early(&mut self) {
        (self.early, self.early_bytes) = (Vec::new(), 0);
    }

    /// Nothing comes behind this number; the first to say so holds.
    pub(super) fn ends(&mut self, sequence: u32) {
        self.end.get_or_insert(sequence);
        self.next.get_or_insert(sequence);
    }

    /// Puts bytes where they belong.
    pub(super) fn place(&mut self, sequence: u32, payload: &[u8], cutter: &mut Cutter) -> Placed {
        if payload.is_empty() {
            return Placed::InOrder;
        }
        self.first.get_or_insert(sequence);
        let next = *self.next.get_or_insert(sequence);
        let (ahead, behind) = (sequence.wrapping_sub(next), next.wrapping_sub(sequence));
        if ahead == 0 || behind <= MAX_DISTANCE {
            // What is behind was seen already.
            let seen = usize::try_from(behind).unwrap_or(usize::MAX).min(payload.len());
            cutter.append(payload.get(seen..).unwrap_or_default());
            self.join_early(next_of(sequence, payload.len(), next), cutter);
            return Placed::InOrder;
        }
        let has_room = self.early.len() < MAX_EARLY && self.early_bytes + payload.len() <= MAX_EARLY_BYTES;
        if ahead <= MAX_DISTANCE && has_room {
            let place = self.early.partition_point(|(known, _)| known.wrapping_sub(next) <= ahead);
            self.early.insert(place, (sequence, payload.to_vec()));
            self.early_bytes += payload.len();
            return Placed::InOrder;
        }
        self.go_on_at(sequence, payload, cutter);
        Placed::AfterGap
    }

    /// What is missing will not come, or the numbers are another connection's.
    fn go_on_at(&mut self, sequence: u32, payload: &[u8], cutter: &mut Cutter) {
        cutter.give_up();
        let is_near = self.is_near(sequence);
        if !is_near || self.early.is_empty() {
            self.drop_early();
            self.first = self.first.filter(|_| is_near).or(Some(sequence));
            cutter.append(payload);
            self.next = Some(sequence.wrapping_add(length_of(payload)));
            return;
        }
        let mut early = std::mem::take(&mut self.early);
        let (first, bytes) = early.remove(0);
        cutter.append(&bytes);
        early.push((sequence, payload.to_vec()));
        early.sort_by_key(|(sequence, _)| sequence.wrapping_sub(first));
        self.early_bytes = self.early_bytes + payload.len() - bytes.len();
        self.early = early;
        self.join_early(first.wrapping_add(length_of(&bytes)), cutter);
    }

    /// Everything up to `next` is there; so may be what came too early.
    fn join_early(&mut self, mut next: u32, cutter: &mut Cutter) {
        while let Some((sequence, _)) = self.early.first() {
            let behind = next.wrapping_sub(*sequence);
            if MAX_DISTANCE < behind {
                break;
            }
            let (sequence, bytes) = self.early.remove(0);
            self.early_bytes -= bytes.len();
            let seen = usize::try_from(behind).unwrap_or(usize::MAX).min(bytes.len());
            cutter.append(bytes.get(seen..).unwrap_or_default());
            next = next_of(sequence, bytes.len(), next);
        }
        self.next = Some(next);
    }
}

/// The number after a segment, which may lie behind what was seen.
fn next_of(sequence: u32, length: usize, next: u32) -> u32 {
    let end = sequence.wrapping_add(u32::try_from(length).unwrap_or_default());
    if end.wrapping_sub(next) <= MAX_DISTANCE { end } else { next }
}

pub(super) fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or_default()
}
