//! What sensors held worth telling of the last three months, newest first.

use std::collections::VecDeque;
use std::net::IpAddr;

use log_format::event::NoteObserved;
use log_format::ids::{HostId, LogIndex, Position};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::ATTACKS_KEPT_FOR;
use crate::digest::{Canonical, CanonicalHasher};

/// Notes at most: sensors aggregate them, so that this is months of a large cluster's, at some ten megabytes. The oldest make
/// room, and are counted.
pub const MAX_NOTES: usize = 32_768;

/// One note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteRow {
    /// Its place in the log, and its identity.
    pub id: Position,
    /// When it was accepted.
    pub at: Timestamp,
    /// When the host saw it, by that host's clock.
    pub observed_at: Timestamp,
    /// The host that saw it.
    pub host: HostId,
    /// The fact.
    pub noted: NoteObserved,
}

/// Folds notes; at most [`MAX_NOTES`], none older than an attack may be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NoteLog {
    /// Oldest first.
    rows: VecDeque<NoteRow>,
    /// Notes that made room for others before their time was over, since attack data was erased last.
    dropped: u64,
}

impl NoteLog {
    pub(super) fn add(&mut self, row: NoteRow) {
        self.forget_before(row.at);
        while MAX_NOTES <= self.rows.len() {
            self.rows.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.rows.push_back(row);
    }

    /// Forgets everything of the entries up to there, also how many made room.
    pub(super) fn erase_upto(&mut self, last: LogIndex) {
        while self.rows.front().is_some_and(|row| row.id.index <= last) {
            self.rows.pop_front();
        }
        self.dropped = 0;
    }

    /// Forgets what is too old at log time `at`.
    pub(super) fn forget_before(&mut self, at: Timestamp) {
        while self.rows.front().is_some_and(|row| !is_kept(row, at)) {
            self.rows.pop_front();
        }
    }

    /// The notes kept at `now`, newest first.
    pub fn newest_first(&self, now: Timestamp) -> impl Iterator<Item = &NoteRow> {
        self.rows.iter().rev().take_while(move |row| is_kept(row, now))
    }

    /// The notes about an address kept at `now`, newest first. Walks all notes: for a person's question.
    pub fn about(&self, source: IpAddr, now: Timestamp) -> impl Iterator<Item = &NoteRow> {
        self.newest_first(now).filter(move |row| row.noted.source == source)
    }

    /// Notes that made room for others before their time was over, since attack data was erased last.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn is_kept(row: &NoteRow, now: Timestamp) -> bool {
    now < row.at.after(ATTACKS_KEPT_FOR)
}

impl Canonical for NoteRow {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { id, at, observed_at, host, noted } = self;
        let NoteObserved {
            kind,
            source,
            source_port,
            victim,
            victim_port,
            attack,
            rule,
            account,
            user_agent,
            count,
            line,
        } = noted;
        id.put(out);
        at.put(out);
        observed_at.put(out);
        host.put(out);
        kind.name().put(out);
        source.put(out);
        source_port.put(out);
        victim.put(out);
        victim_port.put(out);
        attack.put(out);
        rule.put(out);
        account.put(out);
        user_agent.put(out);
        count.put(out);
        line.put(out);
    }
}

impl Canonical for NoteLog {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { rows, dropped } = self;
        rows.put(out);
        dropped.put(out);
    }
}

#[cfg(test)]
mod tests {
    use log_format::event::{AttackKind, NoteKind, Text};

    use super::*;

    fn note(index: u64, last: u8) -> NoteRow {
        let source = IpAddr::from([192, 0, 2, last]);
        NoteRow {
            id: Position { index: LogIndex::new(index), ordinal: 0 },
            at: Timestamp::from_seconds(index),
            observed_at: Timestamp::from_seconds(index),
            host: HostId::new(1),
            noted: NoteObserved {
                kind: NoteKind::StaleCredential,
                source,
                source_port: 5060,
                victim: source,
                victim_port: 5060,
                attack: AttackKind::Register,
                rule: None,
                account: Text::default(),
                user_agent: Text::default(),
                count: 1,
                line: Text::default(),
            },
        }
    }

    #[test]
    fn notes_are_bounded_and_the_oldest_make_room() {
        let mut log = NoteLog::default();
        let most = u64::try_from(MAX_NOTES).unwrap();
        (1..=most + 2).for_each(|index| log.add(note(index, 1)));
        let now = Timestamp::from_seconds(most + 3);
        assert_eq!((log.newest_first(now).count(), log.dropped()), (MAX_NOTES, 2));
    }

    #[test]
    fn erasure_takes_the_notes_of_its_entries_and_no_others() {
        let mut log = NoteLog::default();
        (1..=4).for_each(|index| log.add(note(index, u8::try_from(index % 2).unwrap())));
        log.erase_upto(LogIndex::new(2));
        let now = Timestamp::from_seconds(10);
        let left: Vec<u64> = log.newest_first(now).map(|row| row.id.index.get()).collect();
        assert_eq!(left, [4, 3]);
        assert_eq!(log.about(IpAddr::from([192, 0, 2, 1]), now).count(), 1);
    }
}
