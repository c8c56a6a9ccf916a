//! The attack log of the last three months, newest first.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use log_format::event::{AttackKind, AttackObserved, Evidence, Rule, Sanction, Scope, Text};
use log_format::ids::{HostId, LogIndex, Position};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Found, Page, TextFilter};
use crate::digest::{Canonical, CanonicalHasher};

/// How long an attack is kept, by log time.
pub const ATTACKS_KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);
/// Attacks at most: some sixty megabytes, twice that if all have long first lines. The oldest make room, and are counted.
pub const MAX_ATTACKS: usize = 262_144;

/// One attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackRow {
    /// Its place in the log, and its identity.
    pub id: Position,
    /// When it was accepted.
    pub at: Timestamp,
    /// When the host saw it, by that host's clock.
    pub observed_at: Timestamp,
    /// The host that saw it.
    pub host: HostId,
    /// The attacker's address.
    pub source: IpAddr,
    /// The attacker's port.
    pub source_port: u16,
    /// The protected address.
    pub victim: IpAddr,
    /// The protected port.
    pub victim_port: u16,
    /// SIP method or protocol.
    pub attack: AttackKind,
    /// The rule that was tipped.
    pub rule: Rule,
    /// How sure it is.
    pub evidence: Evidence,
    /// What the sensor held to be due; what came of it stands in the denylist.
    pub sanction: Sanction,
    /// What the user agent said of itself.
    pub user_agent: Text,
    /// Whether that agent is a known attack tool.
    pub known_user_agent: bool,
    /// How often the rule's condition was met.
    pub count: u32,
    /// What of the source the sensor held to be worth dropping.
    pub scope: Scope,
    /// Whose password or number was tried; may be empty.
    pub account: Text,
    /// First line of the packet that tipped the rule, without secrets; may be empty.
    pub line: Text,
}

/// Which attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttackQuery<'a> {
    /// Part of an address or of the user agent.
    pub text: Option<&'a TextFilter>,
    /// Only this kind.
    pub attack: Option<AttackKind>,
}

/// Folds attacks; at most [`MAX_ATTACKS`], none older than [`ATTACKS_KEPT_FOR`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttackLog {
    /// Oldest first.
    rows: VecDeque<AttackRow>,
    /// Derived from `rows`.
    kinds: BTreeMap<AttackKind, usize>,
    /// Attacks that made room for others before their time was over, since attack data was erased last.
    dropped: u64,
    #[serde(skip, default = "most_attacks")]
    limit: usize,
}

fn most_attacks() -> usize {
    MAX_ATTACKS
}

impl Default for AttackLog {
    fn default() -> Self {
        Self::with_limit(MAX_ATTACKS)
    }
}

impl AttackLog {
    fn with_limit(limit: usize) -> Self {
        Self { rows: VecDeque::new(), kinds: BTreeMap::new(), dropped: 0, limit }
    }

    pub(super) fn add(&mut self, row: AttackRow) {
        self.forget_before(row.at);
        while self.limit <= self.rows.len() {
            self.pop_oldest();
            self.dropped = self.dropped.saturating_add(1);
        }
        *self.kinds.entry(row.attack).or_default() += 1;
        self.rows.push_back(row);
    }

    /// Forgets everything of the entries up to there, also how many made room.
    pub(super) fn erase_upto(&mut self, last: LogIndex) {
        while self.rows.front().is_some_and(|row| row.id.index <= last) {
            self.pop_oldest();
        }
        self.kinds.retain(|_, count| 0 < *count);
        self.dropped = 0;
    }

    /// Forgets what is too old at log time `at`.
    pub(super) fn forget_before(&mut self, at: Timestamp) {
        while self.rows.front().is_some_and(|row| !is_kept(row, at)) {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(row) = self.rows.pop_front() {
            let count = self.kinds.entry(row.attack).or_default();
            *count = count.saturating_sub(1);
        }
    }

    /// The attacks kept at `now`, newest first.
    pub fn newest_first(&self, now: Timestamp) -> impl Iterator<Item = &AttackRow> {
        self.rows.iter().rev().take_while(move |row| is_kept(row, now))
    }

    /// A page of the attacks that fit, newest first.
    pub fn find(&self, query: &AttackQuery<'_>, page: Page, now: Timestamp) -> Found<&AttackRow> {
        let fitting = self.newest_first(now).filter(|row| row.fits(query));
        if query.text.is_some() {
            return Found::page(fitting, page);
        }
        let total = match query.attack {
            None => AttackKind::ALL.into_iter().map(|kind| self.count(kind, now)).sum(),
            Some(kind) => self.count(kind, now),
        };
        Found { items: fitting.skip(page.skip).take(page.take).collect(), total }
    }

    /// One attack, if it is kept at `now`.
    pub fn get(&self, id: Position, now: Timestamp) -> Option<&AttackRow> {
        let found = self.rows.binary_search_by_key(&id, |row| row.id).ok()?;
        self.rows.get(found).filter(|row| is_kept(row, now))
    }

    /// How many attacks of a kind are kept at `now`.
    pub fn count(&self, kind: AttackKind, now: Timestamp) -> usize {
        let too_old = self.rows.iter().take_while(|row| !is_kept(row, now));
        let held = self.kinds.get(&kind).copied().unwrap_or_default();
        held.saturating_sub(too_old.filter(|row| row.attack == kind).count())
    }

    /// Attacks that made room for others before their time was over, since attack data was erased last.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl AttackRow {
    pub(super) fn new(
        id: Position,
        (at, observed_at): (Timestamp, Timestamp),
        host: HostId,
        observed: &AttackObserved,
    ) -> Self {
        let AttackObserved {
            source,
            source_port,
            victim,
            victim_port,
            attack,
            rule,
            evidence,
            sanction,
            user_agent,
            known_user_agent,
            count,
            scope,
            account,
            line,
        } = observed;
        Self {
            id,
            at,
            observed_at,
            host,
            source: *source,
            source_port: *source_port,
            victim: *victim,
            victim_port: *victim_port,
            attack: *attack,
            rule: *rule,
            evidence: *evidence,
            sanction: *sanction,
            user_agent: user_agent.clone(),
            known_user_agent: *known_user_agent,
            count: *count,
            scope: *scope,
            account: account.clone(),
            line: line.clone(),
        }
    }

    fn fits(&self, query: &AttackQuery<'_>) -> bool {
        query.attack.is_none_or(|kind| kind == self.attack)
            && query.text.is_none_or(|text| {
                text.matches_address(self.source)
                    || text.matches_address(self.victim)
                    || text.matches_text(&self.user_agent)
            })
    }
}

fn is_kept(row: &AttackRow, now: Timestamp) -> bool {
    now < row.at.after(ATTACKS_KEPT_FOR)
}

impl Canonical for AttackRow {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self {
            id,
            at,
            observed_at,
            host,
            source,
            source_port,
            victim,
            victim_port,
            attack,
            rule,
            evidence,
            sanction,
            user_agent,
            known_user_agent,
            count,
            scope,
            account,
            line,
        } = self;
        id.put(out);
        at.put(out);
        observed_at.put(out);
        host.put(out);
        source.put(out);
        source_port.put(out);
        victim.put(out);
        victim_port.put(out);
        attack.put(out);
        rule.put(out);
        evidence.put(out);
        sanction.put(out);
        user_agent.put(out);
        known_user_agent.put(out);
        count.put(out);
        scope.put(out);
        account.put(out);
        line.put(out);
    }
}

impl Canonical for AttackLog {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { rows, kinds: _, dropped, limit: _ } = self;
        rows.put(out);
        dropped.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_attacks_make_room_and_are_counted() {
        let mut log = AttackLog::with_limit(3);
        let now = Timestamp::from_seconds(100);
        for index in 1..=5 {
            let address = IpAddr::from([192, 0, 2, 1]);
            let observed = AttackObserved {
                source: address,
                source_port: 1,
                victim: address,
                victim_port: 2,
                attack: if index == 1 { AttackKind::Options } else { AttackKind::Register },
                rule: Rule::BlockedUserAgent,
                evidence: Evidence::Unproven,
                sanction: Sanction::Observe,
                user_agent: Text::default(),
                known_user_agent: false,
                count: 1,
                scope: Scope::Address,
                account: Text::default(),
                line: Text::default(),
            };
            let id = Position { index: log_format::ids::LogIndex::new(index), ordinal: 0 };
            log.add(AttackRow::new(id, (now, now), HostId::new(1), &observed));
        }
        let kept: Vec<u64> = log.newest_first(now).map(|row| row.id.index.get()).collect();
        assert_eq!((kept, log.dropped()), (vec![5, 4, 3], 2));
        assert_eq!((log.count(AttackKind::Options, now), log.count(AttackKind::Register, now)), (0, 3));
    }
}
