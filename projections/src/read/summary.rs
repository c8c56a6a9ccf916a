//! How much happened lately: the figures at a glance.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use log_format::event::AttackKind;
use log_format::ids::BlockId;
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::attacks::AttackLog;
use super::denylist::{DenylistCounts, DenylistRow, DenylistView};
use crate::digest::{Canonical, CanonicalHasher};

/// Minutes of the pulse.
pub const PULSE_MINUTES: usize = 60;
/// Blocks remembered as the latest; more than a page shows, since some of them may have ended.
pub const MAX_LATEST_BLOCKS: usize = 64;

const MINUTES_PER_HOUR: u64 = 60;
const MINUTES_PER_DAY: u64 = 1_440;
const NANOS_PER_MINUTE: u64 = 60_000_000_000;

/// Folds attacks into minutes, and remembers the latest blocks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SummaryView {
    /// Attacks by minute of log time; a day's worth.
    minutes: BTreeMap<u64, BTreeMap<AttackKind, u32>>,
    /// Newest last.
    latest: VecDeque<(IpAddr, BlockId)>,
}

/// The figures at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary<'a> {
    /// Attacks within the last 60 minutes, the current one included.
    pub last_hour: u64,
    /// Attacks within the last 1,440 minutes, the current one included.
    pub last_day: u64,
    /// Attacks in the log.
    pub kept: u64,
    /// Attacks that the log had no room for.
    pub dropped: u64,
    /// What is dropped now.
    pub blocked: DenylistCounts,
    /// Attacks of each of the last 60 minutes, oldest first; the last is the current minute.
    pub per_minute: [u64; PULSE_MINUTES],
    /// The same by kind of attack, each kind once.
    pub kinds: Vec<KindCount>,
    /// Blocks and denials that are in force, newest first.
    pub latest: Vec<DenylistRow<'a>>,
}

/// Attacks of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindCount {
    /// The kind.
    pub attack: AttackKind,
    /// Within the last 60 minutes.
    pub last_hour: u64,
    /// Within the last 1,440 minutes.
    pub last_day: u64,
    /// In the log.
    pub kept: u64,
}

impl SummaryView {
    pub(super) fn count_attack(&mut self, kind: AttackKind, at: Timestamp) {
        let minute = minute_of(at);
        *self.minutes.entry(minute).or_default().entry(kind).or_default() += 1;
        let first = minute.saturating_sub(MINUTES_PER_DAY);
        while self.minutes.first_key_value().is_some_and(|(oldest, _)| *oldest < first) {
            self.minutes.pop_first();
        }
    }

    /// Forgets the minutes up to there.
    pub(super) fn erase_upto(&mut self, at: Timestamp) {
        self.minutes = self.minutes.split_off(&minute_of(at).saturating_add(1));
    }

    /// A block that goes on is noted once, where it began.
    pub(super) fn note_block(&mut self, address: IpAddr, block: BlockId) {
        if self.latest.contains(&(address, block)) {
            return;
        }
        self.latest.push_back((address, block));
        while MAX_LATEST_BLOCKS < self.latest.len() {
            self.latest.pop_front();
        }
    }

    /// The figures at `now`, with at most `latest` of the newest blocks.
    pub(super) fn figures<'a>(
        &self,
        denylist: &'a DenylistView,
        attacks: &AttackLog,
        now: Timestamp,
        latest: usize,
    ) -> Summary<'a> {
        let kinds: Vec<KindCount> = AttackKind::ALL.map(|kind| self.kind(kind, attacks, now)).into();
        Summary {
            last_hour: kinds.iter().map(|kind| kind.last_hour).sum(),
            last_day: kinds.iter().map(|kind| kind.last_day).sum(),
            kept: kinds.iter().map(|kind| kind.kept).sum(),
            dropped: attacks.dropped(),
            blocked: denylist.counts(now),
            per_minute: self.pulse(now),
            kinds,
            latest: self.latest_rows(denylist, now).take(latest).collect(),
        }
    }

    fn kind(&self, attack: AttackKind, attacks: &AttackLog, now: Timestamp) -> KindCount {
        let last = |minutes: u64| {
            let last = minute_of(now);
            let first = last.saturating_sub(minutes.saturating_sub(1));
            let counts = self.minutes.range(first..=last).filter_map(|(_, kinds)| kinds.get(&attack));
            counts.map(|count| u64::from(*count)).sum()
        };
        KindCount {
            attack,
            last_hour: last(MINUTES_PER_HOUR),
            last_day: last(MINUTES_PER_DAY),
            kept: u64::try_from(attacks.count(attack, now)).unwrap_or(u64::MAX),
        }
    }

    fn pulse(&self, now: Timestamp) -> [u64; PULSE_MINUTES] {
        let mut pulse = [0; PULSE_MINUTES];
        for (minute, slot) in (0..=minute_of(now)).rev().zip(pulse.iter_mut().rev()) {
            let kinds = self.minutes.get(&minute).into_iter().flat_map(BTreeMap::values);
            *slot = kinds.map(|count| u64::from(*count)).sum();
        }
        pulse
    }

    fn latest_rows<'a>(
        &self,
        denylist: &'a DenylistView,
        now: Timestamp,
    ) -> impl Iterator<Item = DenylistRow<'a>> {
        let newest = self.latest.iter().rev().copied();
        newest.filter_map(move |(address, block)| {
            denylist.rows_of(address, now).find(|row| row.block == block && row.address == address)
        })
    }
}

const fn minute_of(at: Timestamp) -> u64 {
    at.nanos() / NANOS_PER_MINUTE
}

impl Canonical for SummaryView {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { minutes, latest } = self;
        minutes.put(out);
        latest.put(out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn minutes_and_latest_blocks_are_bounded() {
        let mut view = SummaryView::default();
        let start = Timestamp::from_seconds(1_000_000);
        for minute in 0..3_000 {
            view.count_attack(AttackKind::Register, start.after(Duration::from_secs(60 * minute)));
            let address = IpAddr::from(u32::try_from(minute).unwrap().to_be_bytes());
            view.note_block(address, BlockId::default());
            view.note_block(address, BlockId::default());
        }
        assert!(view.latest.iter().zip(view.latest.iter().skip(1)).all(|(one, next)| one != next));
        assert_eq!(view.minutes.len(), 1_441, "a day and the minute that has begun");
        assert_eq!(view.latest.len(), MAX_LATEST_BLOCKS);
    }
}
