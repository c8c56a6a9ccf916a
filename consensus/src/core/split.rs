//! Cuts appends to a size that a frame can carry and that does not hold up heartbeats behind it. Raft bounds the appends it
//! makes, but joins those of one turn into one message without a bound.

use log_format::ids::HostId;
use raft::eraftpb::{Message, MessageType};

/// About 8 ms of a 1 Gbit/s link.
pub(super) const MAX_APPEND_BYTES: usize = 1 << 20;

/// The messages with their receivers, in order, no append larger than one entry or [`MAX_APPEND_BYTES`].
pub(super) fn split_all(messages: Vec<Message>) -> Vec<(HostId, Box<Message>)> {
    let mut parts = Vec::with_capacity(messages.len());
    for message in messages {
        split(message, &mut parts);
    }
    parts
}

fn split(mut message: Message, parts: &mut Vec<(HostId, Box<Message>)>) {
    let to = HostId::new(message.to);
    if message.msg_type == MessageType::MsgAppend {
        while let Some(at) = cut(&message) {
            let mut head = message.take_entries().into_vec();
            let rest = head.split_off(at);
            let mut part = message.clone();
            if let Some(last) = head.last() {
                (message.index, message.log_term) = (last.index, last.term);
            }
            part.entries = head.into();
            message.entries = rest.into();
            parts.push((to, Box::new(part)));
        }
    }
    parts.push((to, Box::new(message)));
}

/// How many entries the first part takes; `None` if all fit.
fn cut(message: &Message) -> Option<usize> {
    let mut bytes = 0_usize;
    message
        .entries
        .iter()
        .position(|entry| {
            bytes = bytes.saturating_add(entry.data.len());
            MAX_APPEND_BYTES < bytes
        })
        .map(|at| at.max(1))
        .filter(|at| *at < message.entries.len())
}
