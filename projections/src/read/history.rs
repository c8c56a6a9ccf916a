//! What stays of attacks whose data is erased: counts by day, host and kind, without addresses.

use std::collections::BTreeMap;

use log_format::event::{
    AttackCount, AttackKind, AttackRolledUp, ChapterCut, ChapterEvent, ChapterSealed, RetentionCut,
    SealWitnessed,
};
use log_format::ids::{ChapterNumber, HostId, LogIndex};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::MAX_CHAPTERS;
use crate::digest::{Canonical, CanonicalHasher};

/// Counts at most: a hundred hosts and six kinds for a year. The oldest days make room.
pub const MAX_ATTACK_COUNTS: usize = 262_144;

/// Folds the counts of chapters that were rolled up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AttackHistory {
    counts: BTreeMap<(Timestamp, HostId, AttackKind), u64>,
    /// When each chapter was cut whose attack data is not erased.
    cuts: BTreeMap<ChapterNumber, Timestamp>,
}

/// Attack data up to a place in the log is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Erasure {
    /// The last entry.
    pub(super) last: LogIndex,
    /// No entry up to there is younger.
    pub(super) until: Timestamp,
}

impl AttackHistory {
    /// The counts, in order of day, host and kind.
    pub fn counts(&self) -> impl DoubleEndedIterator<Item = AttackCount> {
        let counts = self.counts.iter();
        counts.map(|((day, host, attack), count)| AttackCount {
            day: *day,
            host: *host,
            attack: *attack,
            count: *count,
        })
    }

    /// Folds a fact; says what is gone if it erases attack data.
    pub(super) fn evolve(&mut self, event: &ChapterEvent, at: Timestamp) -> Option<Erasure> {
        match event {
            ChapterEvent::Cut(ChapterCut { chapter, last: _ }) => {
                self.cuts.insert(*chapter, at);
                while MAX_CHAPTERS < self.cuts.len() {
                    self.cuts.pop_first();
                }
                None
            }
            ChapterEvent::RolledUp(AttackRolledUp { chapter: _, counts }) => {
                counts.iter().for_each(|count| self.add(count));
                None
            }
            ChapterEvent::Erased(RetentionCut { chapter, last, by: _ }) => {
                let until = self.cuts.get(chapter).copied().unwrap_or_default();
                self.cuts.retain(|number, _| chapter < number);
                Some(Erasure { last: *last, until })
            }
            ChapterEvent::Sealed(ChapterSealed { .. }) | ChapterEvent::Witnessed(SealWitnessed { .. }) => {
                None
            }
        }
    }

    fn add(&mut self, AttackCount { day, host, attack, count }: &AttackCount) {
        let held = self.counts.entry((*day, *host, *attack)).or_default();
        *held = held.saturating_add(*count);
        while MAX_ATTACK_COUNTS < self.counts.len() {
            self.counts.pop_first();
        }
    }
}

impl Canonical for AttackHistory {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { counts, cuts } = self;
        counts.len().put(out);
        for ((day, host, attack), count) in counts {
            (*day, *host).put(out);
            (*attack, *count).put(out);
        }
        cuts.put(out);
    }
}
