//! Who belongs here: sources that lately had a success at a victim.
//!
//! They may do more, and what is forged in their name does them no harm. A source that fails with many other accounts at once has
//! lost that: somebody may have stolen one password to try the rest.

use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;

use super::Subject;
use crate::keyed::Key;
use crate::table::{Fill, Table};

/// How long a success protects.
const LASTS: Duration = Duration::from_secs(24 * 3_600);
/// Pairs of source and victim that are held.
const CAPACITY: usize = 65_536;

/// The last success.
#[derive(Debug, Clone, Copy, Default)]
struct Success {
    at: Timestamp,
    account: u64,
}

pub(crate) struct Protected {
    table: Table<(Subject, Subject), Success>,
}

impl Protected {
    pub(crate) fn new(key: Key) -> Self {
        Self { table: Table::new(CAPACITY, key) }
    }

    /// The source had a success at the victim. Says whether that is news: the first one, or with another account than the last.
    pub(crate) fn succeeded(&mut self, source: IpAddr, victim: IpAddr, account: u64, now: Timestamp) -> bool {
        let pair = (Subject::of(source), Subject::of(victim));
        let Some(last) = self.table.entry(pair) else { return true };
        let is_news = last.account != account || LASTS <= now.since(last.at);
        *last = Success { at: now, account };
        is_news
    }

    pub(crate) fn has(&self, source: IpAddr, victim: IpAddr, now: Timestamp) -> bool {
        let pair = (Subject::of(source), Subject::of(victim));
        self.table.get(&pair).is_some_and(|last| now.since(last.at) < LASTS)
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.table.fill()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.table.evicted()
    }
}
