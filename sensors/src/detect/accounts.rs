//! Accounts that are attacked by many: each source tries little, together they try much.
//!
//! Nothing happens to the account: whoever could have accounts locked would have a weapon. Instead, a source that has never succeeded
//! here is given fewer tries. Only proven strikes count, so that nobody's neighbours can be made suspects by forged packets.

use std::time::Duration;

use log_format::time::Timestamp;

use super::Subject;
use crate::keyed::Hashed;
use crate::policy::Limit;
use crate::table::{Fill, Table};

/// Accounts that are held.
const CAPACITY: usize = 49_152;
/// Sources of one account that are told apart.
const SOURCES: usize = 8;
/// How long a success shows that an account is in use.
const IN_USE: Duration = Duration::from_secs(30 * 86_400);

/// What is known of an account at a victim; its key is their hash.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    sources: [u64; SOURCES],
    count: u8,
    began: Timestamp,
    succeeded: Timestamp,
}

pub(crate) struct Accounts {
    table: Table<u64, Account, Hashed>,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(CAPACITY, Hashed) }
    }

    /// A source was rejected with this account. Says when the account has just come under attack.
    pub(crate) fn rejected(&mut self, account: u64, source: Subject, limit: Limit, now: Timestamp) -> bool {
        let Some(known) = self.table.entry(account) else { return false };
        if limit.within <= now.since(known.began) {
            *known = Account { began: now, succeeded: known.succeeded, ..Account::default() };
        }
        let count = usize::from(known.count);
        let is_listed = known.sources.iter().take(count).any(|other| *other == source.number());
        let Some(place) = known.sources.get_mut(count) else { return false };
        if is_listed {
            return false;
        }
        *place = source.number();
        known.count += 1;
        u32::from(known.count) == limit.count.clamp(1, SOURCES as u32)
    }

    /// A source succeeded with this account: it is no attacker of it.
    pub(crate) fn succeeded(&mut self, account: u64, source: Subject, now: Timestamp) {
        let Some(known) = self.table.entry(account) else { return };
        known.succeeded = now;
        let mut kept = Account { sources: [0; SOURCES], count: 0, ..*known };
        let others = known.sources.iter().take(usize::from(known.count));
        for (place, other) in kept.sources.iter_mut().zip(others.filter(|other| **other != source.number())) {
            *place = *other;
            kept.count += 1;
        }
        *known = kept;
    }

    /// Whether many sources are rejected with this account.
    pub(crate) fn is_under_attack(&self, account: u64, limit: Limit, now: Timestamp) -> bool {
        let known = self.table.get(&account);
        known.is_some_and(|known| {
            now.since(known.began) < limit.within
                && limit.count.clamp(1, SOURCES as u32) <= u32::from(known.count)
        })
    }

    /// Whether somebody has lately succeeded with it.
    pub(crate) fn is_in_use(&self, account: u64, now: Timestamp) -> bool {
        let known = self.table.get(&account);
        known.is_some_and(|known| known.succeeded != Timestamp::ZERO && now.since(known.succeeded) < IN_USE)
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.table.fill()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.table.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { count: 5, within: Duration::from_secs(86_400) };

    fn source(number: u32) -> Subject {
        Subject::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn an_account_is_under_attack_when_many_sources_fail_with_it() {
        let mut accounts = Accounts::new();
        let at = |hours: u64| Timestamp::from_seconds(1_000_000 + hours * 3_600);
        for number in 1..=4 {
            assert!(!accounts.rejected(7, source(number), LIMIT, at(0)));
            assert!(!accounts.rejected(7, source(number), LIMIT, at(0)), "the same source again");
        }
        assert!(!accounts.is_under_attack(7, LIMIT, at(1)));
        assert!(accounts.rejected(7, source(5), LIMIT, at(1)));
        assert!(accounts.is_under_attack(7, LIMIT, at(1)));
        assert!(!accounts.is_under_attack(8, LIMIT, at(1)));
        assert!(!accounts.is_under_attack(7, LIMIT, at(25)), "a day later it is over");
    }

    #[test]
    fn who_succeeds_is_no_attacker_and_shows_that_the_account_is_in_use() {
        let mut accounts = Accounts::new();
        let at = Timestamp::from_seconds(1_000_000);
        for number in 1..=5 {
            accounts.rejected(7, source(number), LIMIT, at);
        }
        assert!(!accounts.is_in_use(7, at));
        accounts.succeeded(7, source(3), at);
        assert!(!accounts.is_under_attack(7, LIMIT, at));
        assert!(accounts.is_in_use(7, at));
    }
}
