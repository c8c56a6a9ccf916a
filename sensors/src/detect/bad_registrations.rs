//! The bad-registrations rule: too many rejected passwords from one source within a minute.
//!
//! ```text
//!              strike                    strikes reach the limit
//! (unknown) ──────────> striking ──────────────────────────────────> reported
//!                          │  ^                                          │
//!         all cleared by   │  └── block time over, or better evidence ───┘
//!         success, or old  v
//!                      (unknown)
//! ```
//!
//! A success clears the strikes of its own account only: an attacker who owns one account could otherwise start afresh at will.
//! Sources that proved their return path have a table of their own, which forged addresses cannot fill.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use log_format::event::{Evidence, Rule, StrikeDelta};
use log_format::time::Timestamp;

use super::deltas::{Deltas, Struck};
use super::{Reported, Strength};
use crate::keyed::Key;
use crate::policy::Policy;
use crate::table::Table;

/// The rule's window.
const WINDOW: Duration = Duration::from_secs(60);
/// Sources with proven strikes that are held; together with the unproven ones 262,144.
const PROVEN_CAPACITY: usize = 196_608;
/// Sources with unproven strikes only; whoever forges addresses fills this table and no other.
const UNPROVEN_CAPACITY: usize = 65_536;
/// The highest limit that is counted: a source keeps twice as many strikes, since weak ones count half.
const MAX_LIMIT: u32 = 1_000;

/// The rule and its counts.
pub(crate) struct BadRegistrations {
    limit: u32,
    block_seconds: u64,
    soft_block_seconds: u64,
    proven: Table<IpAddr, Source>,
    unproven: Table<IpAddr, Source>,
    deltas: Deltas,
}

/// What is known of a striking source.
#[derive(Default)]
struct Source {
    /// Those of the window, oldest first.
    strikes: VecDeque<Strike>,
    reported: Option<Reported>,
}

#[derive(Clone, Copy)]
struct Strike {
    at: Timestamp,
    account: u64,
    strength: Strength,
}

/// The limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tipped {
    pub(crate) evidence: Evidence,
    /// Strikes within the window.
    pub(crate) count: u32,
    /// How long the block is due.
    pub(crate) seconds: u64,
}

impl BadRegistrations {
    pub(crate) fn new(policy: &Policy, key: Key) -> Self {
        let mut rule = Self {
            limit: 1,
            block_seconds: 0,
            soft_block_seconds: 0,
            proven: Table::new(PROVEN_CAPACITY, key),
            unproven: Table::new(UNPROVEN_CAPACITY, key),
            deltas: Deltas::default(),
        };
        rule.set_policy(policy);
        rule
    }

    pub(crate) fn set_policy(&mut self, policy: &Policy) {
        self.limit = policy.bad_registrations_per_minute.clamp(1, MAX_LIMIT);
        self.block_seconds = policy.block_seconds;
        self.soft_block_seconds = policy.soft_block_seconds;
    }

    /// Counts a strike; tells if it makes the source an attacker in a way that was not reported yet.
    pub(crate) fn strike(&mut self, struck: Struck, now: Timestamp) -> Option<Tipped> {
        self.deltas.push(struck, now);
        let (limit, block, soft_block) = (self.limit, self.block_seconds, self.soft_block_seconds);
        let source = self.source(struck)?;
        source.add(Strike { at: now, account: struck.account, strength: struck.strength }, limit);
        let (evidence, count) = source.weigh(limit)?;
        let seconds = match evidence {
            Evidence::Unproven => soft_block,
            Evidence::Proven | Evidence::Corroborated => block,
        };
        if source.reported.is_some_and(|reported| reported.covers(evidence, now)) {
            return None;
        }
        source.reported = Some(Reported::new(evidence, now, seconds));
        Some(Tipped { evidence, count, seconds })
    }

    /// Forgets the strikes of an account at a source that knows its password.
    pub(crate) fn success(&mut self, address: IpAddr, account: u64, now: Timestamp) {
        let mut is_cleared = false;
        for table in [&mut self.proven, &mut self.unproven] {
            let Some(source) = table.get_mut(&address) else { continue };
            let before = source.strikes.len();
            source.strikes.retain(|strike| strike.account != account);
            is_cleared |= source.strikes.len() < before;
            if source.strikes.is_empty() && source.reported.is_none() {
                table.remove(&address);
            }
        }
        if is_cleared {
            self.deltas.clear(address, account, now);
        }
    }

    /// What was added to each source's count since the last call.
    pub(crate) fn drain(&mut self, now: Timestamp) -> Vec<StrikeDelta> {
        self.deltas.drain(Rule::BadRegistrations, now)
    }

    /// Sources that are held.
    pub(crate) fn sources(&self) -> usize {
        self.proven.len() + self.unproven.len()
    }

    /// Sources pushed out by newer ones.
    pub(crate) const fn evicted(&self) -> u64 {
        self.proven.evicted() + self.unproven.evicted()
    }

    /// Strikes that found no place in a report.
    pub(crate) const fn unreported(&self) -> u64 {
        self.deltas.dropped()
    }

    /// The source's entry, made if need be; a first proof moves it among the proven.
    fn source(&mut self, struck: Struck) -> Option<&mut Source> {
        let address = struck.source;
        let is_known_proven = self.proven.get(&address).is_some();
        let is_proven = is_known_proven || struck.strength == Strength::Proven;
        if is_proven && !is_known_proven {
            let source = self.unproven.remove(&address).unwrap_or_default();
            self.proven.insert(address, source);
        }
        let table = if is_proven { &mut self.proven } else { &mut self.unproven };
        if table.get(&address).is_none() {
            table.insert(address, Source::default());
        }
        table.refresh(&address);
        table.get_mut(&address)
    }
}

impl Source {
    fn add(&mut self, strike: Strike, limit: u32) {
        while self.strikes.front().is_some_and(|oldest| strike.at.since(oldest.at) >= WINDOW) {
            self.strikes.pop_front();
        }
        while self.strikes.len() >= limit as usize * 2 {
            self.strikes.pop_front();
        }
        self.strikes.push_back(strike);
    }

    /// What the strikes amount to. Proof needs as many proven strikes as the limit, and at least half of all to be proven: a forger
    /// may add unproven strikes to an address, or a few replayed ones.
    fn weigh(&self, limit: u32) -> Option<(Evidence, u32)> {
        let (mut proven, mut halves, mut all) = (0_u32, 0_u32, 0_u32);
        for strike in &self.strikes {
            all += 1;
            match strike.strength {
                Strength::Proven => (proven, halves) = (proven + 1, halves + 2),
                Strength::Unproven => halves += 2,
                Strength::Weak => halves += 1,
            }
        }
        if proven >= limit && proven * 2 >= all {
            Some((Evidence::Proven, all))
        } else if halves >= limit * 2 {
            Some((Evidence::Unproven, all))
        } else {
            None
        }
    }
}

#[cfg(test)]
#[path = "bad_registrations_tests.rs"]
mod tests;
