//! Linearizable reads on their way to a leader and back. Raft 0.7 drops some of them without a word, so every batch of them
//! has a deadline in ticks.

use std::collections::BTreeMap;

use log_format::ids::HostId;

use super::io::Ticket;

/// Batches on their way. A turn of the driver starts at most one, and a batch lives at most one election timeout.
const MAX_BATCHES: usize = 1_024;

pub(super) struct Reads {
    /// Tells batches of different hosts, and of different lives of one host, apart: an answer to another life's batch would
    /// carry an index from before this one asked.
    prefix: [u8; 16],
    next: u64,
    waiting: BTreeMap<u64, Batch>,
}

struct Batch {
    tickets: Vec<Ticket>,
    ticks_left: usize,
}

impl Reads {
    /// `session` differs between any two lives of `host`.
    pub(super) fn new(host: HostId, session: u64) -> Self {
        let mut prefix = [0; 16];
        let (low, high) = prefix.split_at_mut(8);
        low.copy_from_slice(&host.get().to_be_bytes());
        high.copy_from_slice(&session.to_be_bytes());
        Self { prefix, next: 0, waiting: BTreeMap::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        MAX_BATCHES <= self.waiting.len()
    }

    /// The context that the next batch must travel under.
    pub(super) fn next_context(&self) -> Vec<u8> {
        [self.prefix.as_slice(), &self.next.to_be_bytes()].concat()
    }

    /// Remembers the batch that went out under [`Self::next_context`].
    pub(super) fn sent(&mut self, tickets: Vec<Ticket>, ticks_left: usize) {
        self.waiting.insert(self.next, Batch { tickets, ticks_left });
        self.next += 1;
    }

    /// The tickets that travelled under `context`; none if it is not ours or came too late.
    pub(super) fn answered(&mut self, context: &[u8]) -> Vec<Ticket> {
        context
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.try_into().ok())
            .and_then(|number| self.waiting.remove(&u64::from_be_bytes(number)))
            .map(|batch| batch.tickets)
            .unwrap_or_default()
    }

    /// One tick went by; returns the tickets whose time is over.
    pub(super) fn tick(&mut self) -> Vec<Ticket> {
        for batch in self.waiting.values_mut() {
            batch.ticks_left = batch.ticks_left.saturating_sub(1);
        }
        self.waiting
            .extract_if(.., |_, batch| batch.ticks_left == 0)
            .flat_map(|(_, batch)| batch.tickets)
            .collect()
    }

    /// Gives up on everything.
    pub(super) fn drop_all(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.waiting).into_values().flat_map(|batch| batch.tickets).collect()
    }
}
