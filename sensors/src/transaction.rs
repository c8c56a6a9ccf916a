//! Requests that await an answer: which answer belongs to which request.
//!
//! The key is victim, its port, the source's address and the branch of the first Via, as an opaque string. Call-ID and CSeq will not
//! do: tools keep both for a whole run. The source's port is no part of it: without `rport` the answer goes to the port that
//! the Via names (RFC 3261, 18.2.2), which is the sender's choice. Requests without a branch fall back to Call-ID and CSeq.

use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;
use sip::Message;

use crate::detect::Attempt;
use crate::keyed::{Hashed, Key, Purpose};
use crate::table::{Fill, Table};

/// How long an answer is waited for: Timer F, 64 x T1 (RFC 3261, 17.1.2.2).
const TIME_TO_LIVE: Duration = Duration::from_secs(32);
/// Requests that are waited for: 4,000 a second for the whole time.
const CAPACITY: usize = 131_072;

/// Who asks whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) source: IpAddr,
    pub(crate) victim: IpAddr,
    pub(crate) victim_port: u16,
}

/// The requests that await an answer.
pub(crate) struct Transactions {
    key: Key,
    table: Table<u64, Option<Transaction>, Hashed>,
    expired: u64,
}

struct Transaction {
    started: Timestamp,
    /// Distinct attempts that are not yet answered.
    pending: u16,
    attempt: Attempt,
}

impl Transactions {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, table: Table::new(CAPACITY, Hashed), expired: 0 }
    }

    /// Takes a request in; a retransmission changes nothing, which is said.
    pub(crate) fn asked(
        &mut self,
        path: Path,
        message: &Message<'_>,
        attempt: Attempt,
        now: Timestamp,
    ) -> bool {
        self.expire(now);
        let key = self.transaction(path, message);
        let Some(known) = self.table.entry(key) else { return false };
        let pending = match known {
            Some(same) if same.attempt.fingerprint == attempt.fingerprint => return false,
            Some(other) => other.pending.saturating_add(1),
            None => 1,
        };
        *known = Some(Transaction { started: now, pending, attempt });
        true
    }

    /// The request that this final answer belongs to; `None` if it was answered before or never seen. What succeeded is forgotten: should
    /// it come again, it succeeds again.
    pub(crate) fn answered(
        &mut self,
        path: Path,
        message: &Message<'_>,
        status: u16,
        now: Timestamp,
    ) -> Option<Attempt> {
        self.expire(now);
        let key = self.transaction(path, message);
        let transaction = self.table.get_mut(&key)?.as_mut()?;
        transaction.pending = transaction.pending.checked_sub(1)?;
        let attempt = transaction.attempt;
        if matches!(status, 200..=299) && transaction.pending == 0 {
            self.table.remove(&key);
        }
        Some(attempt)
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.table.fill()
    }

    /// Requests pushed out by newer ones before their time.
    pub(crate) const fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Requests that were never answered.
    pub(crate) const fn unanswered(&self) -> u64 {
        self.expired
    }

    /// Takes out at most two old requests: as one comes in at a time, that keeps up.
    fn expire(&mut self, now: Timestamp) {
        for _ in 0..2 {
            let Some((_, Some(oldest))) = self.table.oldest() else { return };
            if now.since(oldest.started) < TIME_TO_LIVE {
                return;
            }
            self.expired += u64::from(oldest.pending);
            self.table.pop_oldest();
        }
    }

    fn transaction(&self, path: Path, message: &Message<'_>) -> u64 {
        let hash = self
            .key
            .hash(Purpose::Transaction)
            .address(path.source)
            .address(path.victim)
            .number(u32::from(path.victim_port));
        match message.branch() {
            Some(branch) => hash.bytes(branch).finish(),
            None => {
                let cseq = message.cseq();
                hash.bytes(message.call_id().unwrap_or_default())
                    .number(cseq.map_or(0, |cseq| cseq.number))
                    .bytes(cseq.map_or(&[], |cseq| cseq.method))
                    .finish()
            }
        }
    }
}
