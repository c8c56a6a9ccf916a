//! The rules about rejected passwords: too many from one source within a minute, an hour or a day.
//!
//! ```text
//!              strike                       strikes reach a limit
//! (unknown) ──────────> striking ─────────────────────────────────────> tipped
//!                          │                          │
//!         all cleared by   │                          │ the source belongs here, or is one stale phone
//!         success, or old  v                          v
//!                      (unknown)                 tipped, for one port only
//! ```
//!
//! A success clears the strikes of its own account only: an attacker who owns one account could otherwise start afresh at will. Of the
//! other strikes it takes half, once in ten minutes, unless many accounts fail: an office has more than one phone.
//!
//! The commonest innocent is the stale phone: one device that knows an old password. It tries one account, from one port, slowly and
//! evenly, and must not cost its whole office the telephone.
//!
//! Sources that proved their return path have a table of their own, which forged addresses cannot fill.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use log_format::event::{Evidence, Rule, Scope, StrikeDelta};
use log_format::time::Timestamp;

use super::deltas::{Deltas, Struck};
use super::meter::Sliding;
use super::{Strength, Subject};
use crate::keyed::Key;
use crate::policy::{Limit, Policy};
use crate::table::{Fill, Table};

/// The first rule's window.
const WINDOW: Duration = Duration::from_secs(60);
/// Sources with proven strikes that are held: nobody can invent one.
const PROVEN_CAPACITY: usize = 16_384;
/// Sources with unproven strikes only; whoever forges addresses fills this table and no other.
const UNPROVEN_CAPACITY: usize = 8_192;
/// The highest limit that is counted: a source keeps twice as many strikes, since weak ones count half.
const MAX_LIMIT: u32 = 1_000;
/// Strikes for which there is room at first: a person who mistypes has no more.
const FEW_STRIKES: usize = 4;
/// Accounts of one source that are told apart; the others are counted together.
const ACCOUNTS: usize = 5;
/// So many accounts that fail at once are no office's: its protection is suspended.
const PIVOT: usize = 5;
/// Addresses of an IPv6 /64 whose strikes make it the /64's affair.
const HOSTS: usize = 4;
/// A success takes half of the other accounts' strikes once in this time.
const HALVED_EVERY: Duration = Duration::from_secs(600);
/// A stale phone tries no more often within a minute.
const STALE_PER_MINUTE: usize = 6;
/// What six a minute are apart, less a little for the network's unevenness.
const STALE_GAP_MILLIS: u64 = 9_500;
/// Gaps between tries that show how even they are.
const STALE_GAPS: u32 = 4;
/// Gaps that are added up at most, and the longest of them: together they fit into 32 bits.
const MOST_GAPS: u32 = 1_000;
const LONGEST_GAP_MILLIS: u32 = 3_600_000;
const _: () = assert!(MOST_GAPS as u64 * LONGEST_GAP_MILLIS as u64 <= u32::MAX as u64);

/// The rules and their counts.
pub(crate) struct BadRegistrations {
    limit: u32,
    slow: Limit,
    very_slow: Limit,
    account_tries: u32,
    protected_factor: u32,
    proven: Table<Subject, Striker>,
    unproven: Table<Subject, Striker>,
    deltas: Deltas,
}

/// What is known of the source and the account besides the strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// The source lately had a success at this victim.
    pub(crate) is_protected: bool,
    /// Many sources are rejected with this account.
    pub(crate) is_account_attacked: bool,
    /// Somebody has lately succeeded with it.
    pub(crate) is_account_in_use: bool,
}

/// What is known of a striking source.
#[derive(Default)]
struct Striker {
    /// Those of the window, oldest first.
    strikes: VecDeque<Strike>,
    /// At most [`ACCOUNTS`]; the last takes in what finds no place.
    accounts: Vec<Account>,
    hosts: Vec<u64>,
    halved_at: Timestamp,
}

#[derive(Clone, Copy)]
struct Strike {
    at: Timestamp,
    account: u32,
    port: u16,
    strength: Strength,
}

/// Strikes with one account in the long run. Weak ones count half, so all are counted in halves.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    name: u32,
    port: u16,
    has_one_port: bool,
    hour: Sliding,
    hour_proven: Sliding,
    day: Sliding,
    day_proven: Sliding,
    last: Timestamp,
    gaps: Gaps,
}

/// How even the times between tries are, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Gaps {
    count: u32,
    sum: u32,
    squares: u64,
}

/// A limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tipped {
    pub(crate) rule: Rule,
    pub(crate) evidence: Evidence,
    /// Strikes within the rule's window.
    pub(crate) count: u32,
    pub(crate) scope: Scope,
}

/// What a strike amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) tipped: Option<Tipped>,
    /// The source looks like one phone with an old password.
    pub(crate) is_stale: bool,
}

impl BadRegistrations {
    pub(crate) fn new(policy: &Policy, key: Key) -> Self {
        let mut rule = Self {
            limit: 1,
            slow: policy.limits.slow,
            very_slow: policy.limits.very_slow,
            account_tries: 1,
            protected_factor: 1,
            proven: Table::new(PROVEN_CAPACITY, key),
            unproven: Table::new(UNPROVEN_CAPACITY, key),
            deltas: Deltas::default(),
        };
        rule.set_policy(policy);
        rule
    }

    pub(crate) fn set_policy(&mut self, policy: &Policy) {
        self.limit = policy.bad_registrations_per_minute.clamp(1, MAX_LIMIT);
        self.slow = policy.limits.slow;
        self.very_slow = policy.limits.very_slow;
        self.account_tries = policy.limits.account_tries.clamp(1, MAX_LIMIT);
        self.protected_factor = policy.limits.protected_factor.max(1);
    }

    /// Counts a strike.
    pub(crate) fn strike(
        &mut self,
        struck: Struck,
        (port, standing): (u16, Standing),
        is_on: impl Fn(Rule) -> bool,
        now: Timestamp,
    ) -> Outcome {
        let limits = Limits {
            minute: self.limit,
            slow: self.slow,
            very_slow: self.very_slow,
            account_tries: self.account_tries.min(self.limit),
            factor: self.protected_factor,
        };
        let Some(striker) = self.striker(struck) else { return Outcome::default() };
        let strike = Strike { at: now, account: struck.account as u32, port, strength: struck.strength };
        striker.add(strike, limits.minute.saturating_mul(limits.factor));
        striker.note_host(struck.source);
        let is_stale = striker.is_stale(strike, standing);
        let is_here = striker.is_here(standing);
        let tipped = striker.weigh(strike, &limits, standing, is_on);
        // What the other hosts add up must not undo what this one excuses.
        if !is_stale && !is_here {
            self.deltas.push(struck, now);
        }
        Outcome { tipped, is_stale }
    }

    /// Forgets the strikes of an account at a source that knows its password; says whether there were any.
    pub(crate) fn success(&mut self, address: IpAddr, account: u64, now: Timestamp) -> bool {
        let mut is_cleared = false;
        let subject = Subject::of(address);
        for table in [&mut self.proven, &mut self.unproven] {
            let Some(striker) = table.get_mut(&subject) else { continue };
            is_cleared |= striker.succeed(account as u32, now);
            if striker.strikes.is_empty() && striker.accounts.is_empty() {
                table.remove(&subject);
            }
        }
        if is_cleared {
            self.deltas.clear(address, account, now);
        }
        is_cleared
    }

    /// What was added to each source's count since the last call.
    pub(crate) fn drain(&mut self, now: Timestamp) -> Vec<StrikeDelta> {
        self.deltas.drain(Rule::BadRegistrations, now)
    }

    /// Sources that are held.
    pub(crate) fn sources(&self) -> usize {
        self.proven.len() + self.unproven.len()
    }

    /// How full they are: sources with proven strikes, those without, and strikes that wait to be told.
    pub(crate) fn fill(&self) -> [Fill; 3] {
        [self.proven.fill(), self.unproven.fill(), self.deltas.fill()]
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
    fn striker(&mut self, struck: Struck) -> Option<&mut Striker> {
        let subject = Subject::of(struck.source);
        if self.proven.get(&subject).is_some() {
            return self.proven.entry(subject);
        }
        if struck.strength != Strength::Proven {
            return self.unproven.entry(subject);
        }
        let striker = self.unproven.remove(&subject).unwrap_or_default();
        self.proven.insert(subject, striker);
        self.proven.get_mut(&subject)
    }
}

struct Limits {
    minute: u32,
    slow: Limit,
    very_slow: Limit,
    account_tries: u32,
    factor: u32,
}

impl Striker {
    fn add(&mut self, strike: Strike, limit: u32) {
        while self.strikes.front().is_some_and(|oldest| WINDOW <= strike.at.since(oldest.at)) {
            self.strikes.pop_front();
        }
        while limit as usize * 2 <= self.strikes.len() {
            self.strikes.pop_front();
        }
        if self.strikes.len() == self.strikes.capacity() {
            // Twice as many as before, and never more than are kept.
            let room = (limit as usize * 2).saturating_sub(self.strikes.len());
            self.strikes.reserve_exact(self.strikes.len().max(FEW_STRIKES).min(room));
        }
        self.strikes.push_back(strike);
        let place = self.accounts.iter().position(|known| known.name == strike.account);
        let place = place.unwrap_or_else(|| {
            if self.accounts.len() < ACCOUNTS {
                self.accounts.reserve_exact(1);
                self.accounts.push(Account::new(strike));
            }
            self.accounts.len() - 1
        });
        if let Some(account) = self.accounts.get_mut(place) {
            account.add(strike);
        }
    }

    fn note_host(&mut self, source: IpAddr) {
        if let Some(host) = Subject::host(source)
            && self.hosts.len() < HOSTS
            && !self.hosts.contains(&host)
        {
            self.hosts.push(host);
        }
    }

    /// Takes away what a success excuses; says whether that is anything.
    fn succeed(&mut self, account: u32, now: Timestamp) -> bool {
        let before = self.strikes.len();
        self.strikes.retain(|strike| strike.account != account);
        self.accounts.retain(|known| known.name != account);
        let is_cleared = self.strikes.len() < before;
        if self.accounts.len() < PIVOT && HALVED_EVERY <= now.since(self.halved_at) {
            self.halved_at = now;
            let half = self.strikes.len() / 2;
            self.strikes.drain(..half);
        }
        is_cleared
    }

    /// The first limit that the strikes reach.
    fn weigh(
        &self,
        strike: Strike,
        limits: &Limits,
        standing: Standing,
        is_on: impl Fn(Rule) -> bool,
    ) -> Option<Tipped> {
        let factor = if self.is_here(standing) { limits.factor } else { 1 };
        let whole = self.whole();
        let port = Scope::AddressPort(strike.port);
        let minute = |limit: u32, scope, rule, is_wanted: &dyn Fn(&Strike) -> bool| {
            let weighed = weigh_minute(self.strikes.iter().filter(|strike| is_wanted(strike)), limit);
            weighed.filter(|_| is_on(rule)).map(|(evidence, count)| Tipped { rule, evidence, count, scope })
        };
        let of_account = |other: &Strike| other.account == strike.account;
        let of_port = |other: &Strike| other.port == strike.port;
        let attacked = || {
            (standing.is_account_attacked && !standing.is_protected)
                .then(|| minute(limits.account_tries, whole, Rule::AccountUnderAttack, &of_account))
                .flatten()
        };
        let narrow =
            || (1 < factor).then(|| minute(limits.minute, port, Rule::BadRegistrations, &of_port)).flatten();
        minute(limits.minute.saturating_mul(factor), whole, Rule::BadRegistrations, &|_| true)
            .or_else(narrow)
            .or_else(attacked)
            .or_else(|| {
                self.weigh_slow(strike, limits, (factor, standing)).filter(|tipped| is_on(tipped.rule))
            })
    }

    /// The rules of the hour and of the day.
    fn weigh_slow(
        &self,
        strike: Strike,
        limits: &Limits,
        (factor, standing): (u32, Standing),
    ) -> Option<Tipped> {
        let now = strike.at;
        let own = self.accounts.iter().find(|account| account.name == strike.account)?;
        let is_narrow = own.has_one_port && (1 < factor || self.is_stale(strike, standing));
        let whole = self.whole();
        let over = |limit: Limit, rule, hour: bool| {
            let sums = |account: &Account| account.sums(hour, limit.within, now);
            let all = self.accounts.iter().map(sums).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let tipped = |(halves, proven): (u32, u32), limit: u32, scope| {
                let evidence = if limit <= proven / 2 && halves <= proven.saturating_mul(2) {
                    Evidence::Proven
                } else {
                    Evidence::Unproven
                };
                (limit.max(1) <= halves / 2).then_some(Tipped { rule, evidence, count: halves / 2, scope })
            };
            if is_narrow {
                let one_port = || tipped(sums(own), limit.count, Scope::AddressPort(own.port));
                let is_alone = self.accounts.len() == 1;
                let many =
                    if is_alone { None } else { tipped(all, limit.count.saturating_mul(factor), whole) };
                return many.or_else(one_port);
            }
            tipped(all, limit.count.saturating_mul(factor), whole)
        };
        let is_guessing = 1 < self.accounts.len() || !standing.is_account_in_use;
        over(limits.slow, Rule::SlowGuessing, true)
            .or_else(|| is_guessing.then(|| over(limits.very_slow, Rule::VerySlowGuessing, false)).flatten())
    }

    /// Whether the source belongs here, and behaves like it.
    fn is_here(&self, standing: Standing) -> bool {
        standing.is_protected && self.accounts.len() < PIVOT
    }

    /// One account, one port, slow, and either even or with an account that somebody uses.
    fn is_stale(&self, strike: Strike, standing: Standing) -> bool {
        let [account] = self.accounts.as_slice() else { return false };
        account.name == strike.account
            && account.has_one_port
            && self.strikes.len() <= STALE_PER_MINUTE
            && STALE_GAPS <= account.gaps.count
            && account.gaps.are_long()
            && (account.gaps.are_even() || standing.is_account_in_use)
    }

    /// The whole source: its address, or its /64 where it uses many addresses of it.
    fn whole(&self) -> Scope {
        if HOSTS <= self.hosts.len() { Scope::Prefix(64) } else { Scope::Address }
    }
}

impl Account {
    fn new(strike: Strike) -> Self {
        Self { name: strike.account, port: strike.port, has_one_port: true, ..Self::default() }
    }

    fn add(&mut self, strike: Strike) {
        const HOUR: Duration = Duration::from_secs(3_600);
        const DAY: Duration = Duration::from_secs(86_400);
        let (halves, proven) = match strike.strength {
            Strength::Proven => (2, 2),
            Strength::Unproven => (2, 0),
            Strength::Weak => (1, 0),
        };
        self.hour.add(halves, HOUR, strike.at);
        self.hour_proven.add(proven, HOUR, strike.at);
        self.day.add(halves, DAY, strike.at);
        self.day_proven.add(proven, DAY, strike.at);
        self.has_one_port &= self.port == strike.port && self.name == strike.account;
        if self.last != Timestamp::ZERO {
            self.gaps.add(strike.at.since(self.last));
        }
        self.last = strike.at;
    }

    /// Halves and proven halves of the hour or the day.
    fn sums(&self, hour: bool, within: Duration, now: Timestamp) -> (u32, u32) {
        let (all, proven) = if hour { (self.hour, self.hour_proven) } else { (self.day, self.day_proven) };
        (all.sum(within, now), proven.sum(within, now))
    }
}

impl Gaps {
    fn add(&mut self, gap: Duration) {
        // An hour's silence is no rhythm.
        let millis = u32::try_from(gap.as_millis()).unwrap_or(u32::MAX).min(LONGEST_GAP_MILLIS);
        if MOST_GAPS <= self.count {
            return;
        }
        self.count += 1;
        self.sum += millis;
        self.squares += u64::from(millis) * u64::from(millis);
    }

    /// Whether they are a phone's on average, and not a tool's.
    const fn are_long(&self) -> bool {
        STALE_GAP_MILLIS * self.count as u64 <= self.sum as u64
    }

    /// Whether the coefficient of variation is below 0.35.
    fn are_even(&self) -> bool {
        let (count, sum, squares) = (u128::from(self.count), u128::from(self.sum), u128::from(self.squares));
        let square = sum * sum;
        0 < sum && (count * squares).saturating_sub(square) * 10_000 < square * 1_225
    }
}

/// What strikes amount to. Proof needs nearly as many proven strikes as the limit, and at least half of all to be proven: a forger may add
/// unproven strikes to an address, or a few replayed ones.
fn weigh_minute<'a>(strikes: impl Iterator<Item = &'a Strike>, limit: u32) -> Option<(Evidence, u32)> {
    let (mut proven, mut whole, mut all) = (0_u32, 0_u32, 0_u32);
    for strike in strikes {
        all += 1;
        match strike.strength {
            Strength::Proven => (proven, whole) = (proven + 1, whole + 1),
            Strength::Unproven => whole += 1,
            Strength::Weak => {}
        }
    }
    // The first guesses of a tool often answer a nonce that it made up: three strikes of ten may be so.
    let are_enough = |strikes: u32| {
        limit <= all && limit.saturating_mul(7) <= strikes.saturating_mul(10) && all <= strikes * 2
    };
    if are_enough(proven) {
        Some((Evidence::Proven, all))
    } else if are_enough(whole) || limit.saturating_mul(2) <= all + whole {
        // Weak strikes count half.
        Some((Evidence::Unproven, all))
    } else {
        None
    }
}

#[cfg(test)]
#[path = "bad_registrations_tests.rs"]
mod tests;
