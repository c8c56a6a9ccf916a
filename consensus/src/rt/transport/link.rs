//! What waits to be written to one peer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft::eraftpb::Message;
use tokio::sync::Notify;

use super::{Delivery, PeerMessage};

/// Raft's messages to one peer: the whole window that raft allows it, 256 appends of 256 KiB.
const MAX_RAFT_BYTES: usize = 64 << 20;
/// Small messages are not covered by the bytes.
const MAX_RAFT_MESSAGES: usize = 4_096;
/// Pings, commands and their outcomes to one peer. A sender that is told "lost" tries again.
const MAX_OTHER_BYTES: usize = 8 << 20;
/// As above.
const MAX_OTHER_MESSAGES: usize = 1_024;
/// What a message costs besides its bytes.
const OVERHEAD: usize = 96;

pub(super) struct Link {
    queues: Mutex<Queues>,
    changed: Notify,
}

struct Queues {
    raft: Queue,
    other: Queue,
    closed: bool,
}

struct Queue {
    messages: VecDeque<PeerMessage>,
    bytes: usize,
    max_bytes: usize,
    max_messages: usize,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            queues: Mutex::new(Queues {
                raft: Queue::new(MAX_RAFT_BYTES, MAX_RAFT_MESSAGES),
                other: Queue::new(MAX_OTHER_BYTES, MAX_OTHER_MESSAGES),
                closed: false,
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn push(&self, message: PeerMessage) -> Delivery {
        let mut queues = self.lock();
        if queues.closed {
            return Delivery::Lost;
        }
        let delivery = match &message {
            PeerMessage::Raft(_) => queues.raft.push_over_oldest(message),
            PeerMessage::Ping { .. }
            | PeerMessage::Pong { .. }
            | PeerMessage::Forward { .. }
            | PeerMessage::Forwarded { .. } => queues.other.push_or_refuse(message),
        };
        drop(queues);
        self.changed.notify_one();
        delivery
    }

    /// Waits for messages and takes about `max_bytes` of them; none once the link is closed.
    pub(super) async fn take(&self, max_bytes: usize) -> Option<Vec<PeerMessage>> {
        loop {
            {
                let mut queues = self.lock();
                if queues.closed {
                    return None;
                }
                let mut taken = Vec::new();
                // Commands and pings are few; they do not wait behind a catch-up.
                let left = queues.other.take_into(&mut taken, max_bytes);
                queues.raft.take_into(&mut taken, left);
                if !taken.is_empty() {
                    return Some(taken);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Ends the connection that this link belongs to.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // The queues are whole between any two statements, so a panic elsewhere does not spoil them.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn new(max_bytes: usize, max_messages: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, max_bytes, max_messages }
    }

    fn push_over_oldest(&mut self, message: PeerMessage) -> Delivery {
        let size = size(&message);
        let mut delivery = Delivery::Queued;
        while !self.has_room(size) && self.pop().is_some() {
            delivery = Delivery::DroppedOldest;
        }
        self.push(message, size);
        delivery
    }

    fn push_or_refuse(&mut self, message: PeerMessage) -> Delivery {
        let size = size(&message);
        if !self.has_room(size) {
            return Delivery::Lost;
        }
        self.push(message, size);
        Delivery::Queued
    }

    /// Takes messages until `max_bytes` are used up, but at least one if there is room for any; returns what is left.
    fn take_into(&mut self, taken: &mut Vec<PeerMessage>, max_bytes: usize) -> usize {
        let mut left = max_bytes;
        while 0 < left
            && let Some(message) = self.pop()
        {
            left = left.saturating_sub(size(&message));
            taken.push(message);
        }
        left
    }

    fn has_room(&self, size: usize) -> bool {
        self.messages.len() < self.max_messages && self.bytes.saturating_add(size) <= self.max_bytes
    }

    fn push(&mut self, message: PeerMessage, size: usize) {
        self.bytes += size;
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<PeerMessage> {
        let message = self.messages.pop_front()?;
        self.bytes -= size(&message);
        Some(message)
    }
}

fn size(message: &PeerMessage) -> usize {
    OVERHEAD
        + match message {
            PeerMessage::Raft(message) => raft_size(message),
            PeerMessage::Ping { status, .. } => status.len(),
            PeerMessage::Pong { .. } => 0,
            PeerMessage::Forward { payload, .. } => payload.len(),
            PeerMessage::Forwarded { outcome, .. } => outcome.len(),
        }
}

fn raft_size(message: &Message) -> usize {
    let entries = message.entries.iter().map(|entry| entry.data.len() + OVERHEAD);
    entries.sum::<usize>() + message.context.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_full_raft_queue_drops_its_oldest_message() {
        let link = Link::new();
        for index in 0..MAX_RAFT_MESSAGES as u64 {
            assert_eq!(link.push(append(index, 1)), Delivery::Queued);
        }
        assert_eq!(link.push(append(MAX_RAFT_MESSAGES as u64, 1)), Delivery::DroppedOldest);
        assert_eq!(indexes(&link.lock().raft)[0], 1);
    }

    #[test]
    fn the_bound_of_bytes_holds_as_well() {
        let link = Link::new();
        let half = MAX_RAFT_BYTES / 2 - 1_000;
        assert_eq!(link.push(append(1, half)), Delivery::Queued);
        assert_eq!(link.push(append(2, half)), Delivery::Queued);
        assert_eq!(link.push(append(3, half)), Delivery::DroppedOldest);
        assert_eq!(indexes(&link.lock().raft), [2, 3]);
    }

    #[test]
    fn a_full_command_queue_refuses_and_leaves_raft_alone() {
        let link = Link::new();
        let forward = |ticket| PeerMessage::Forward { ticket, payload: Bytes::from(vec![0; 1 << 20]) };
        let queued = (0..100).take_while(|ticket| link.push(forward(*ticket)) == Delivery::Queued);
        assert_eq!(queued.count(), 7);
        assert_eq!(link.push(append(1, 10)), Delivery::Queued);
    }

    #[test]
    fn a_closed_link_takes_nothing() {
        let link = Link::new();
        link.close();
        assert_eq!(link.push(append(1, 1)), Delivery::Lost);
    }

    fn append(index: u64, bytes: usize) -> PeerMessage {
        let entry =
            raft::eraftpb::Entry { data: Bytes::from(vec![0; bytes]), ..raft::eraftpb::Entry::default() };
        PeerMessage::Raft(Box::new(Message { index, entries: vec![entry].into(), ..Message::default() }))
    }

    fn indexes(queue: &Queue) -> Vec<u64> {
        let index = |message: &PeerMessage| {
            let PeerMessage::Raft(message) = message else { panic!("not raft's: {message:?}") };
            message.index
        };
        queue.messages.iter().map(index).collect()
    }
}
