//! What was already told: nobody wants the same news for every packet of an attack.
//!
//! The first offence is told at once. After that the same rule about the same source is told again when better evidence comes, when half
//! of the block's time is over and the source still goes on, and when it is over. What nothing proves is told so many times a second at
//! most, over all sources: a flood from forged addresses would otherwise fill the log with its inventions.

use std::time::Duration;

use log_format::event::{Evidence, Rule};
use log_format::time::Timestamp;

use super::Subject;
use super::meter::{Meter, Rate};
use crate::keyed::Key;
use crate::table::{Fill, Table};

/// Pairs of source and rule whose report is remembered. Forged sources push each other out, and cost a repeated report.
const CAPACITY: usize = 65_536;
/// What nothing proves, over all sources: enough for every scanner of a bad day.
const UNPROVEN: Rate = Rate { every: Duration::from_millis(20), burst: 300 };
/// All verdicts over all sources: what a cluster's log takes besides everything else (SECURITY, T5).
const ALL: Rate = Rate { every: Duration::from_millis(2), burst: 2_000 };
/// Notes over all sources.
const NOTES: Rate = Rate { every: Duration::from_millis(100), burst: 100 };
/// The same note about the same source is told again after this.
const NOTE_AGAIN: Duration = Duration::from_secs(3_600);
/// A source that nothing proves pays more when it is seen in this many windows.
const WINDOWS: u32 = 3;
const WINDOW: Duration = Duration::from_secs(600);
/// A soft block is never longer.
const LONGEST_SOFT_BLOCK: u64 = 3_600;

/// The last report of one rule about one source.
#[derive(Debug, Clone, Copy)]
struct Reported {
    evidence: Evidence,
    at: Timestamp,
    until: Timestamp,
    /// Windows in which the source was seen, and the last of them.
    windows: u32,
    window: u64,
}

/// What a note is about; notes of different kinds do not hide each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Topic {
    Verdict(Rule),
    Note(u8),
}

pub(crate) struct Reports {
    table: Table<(Subject, u64, Topic), Reported>,
    unproven: Meter,
    all: Meter,
    notes: Meter,
    suppressed: u64,
}

impl Reports {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            table: Table::new(CAPACITY, key),
            unproven: Meter::default(),
            all: Meter::default(),
            notes: Meter::default(),
            suppressed: 0,
        }
    }

    /// Whether a verdict on a whole source would be news.
    pub(crate) fn is_news(&self, subject: Subject, rule: Rule, evidence: Evidence, now: Timestamp) -> bool {
        let known = self.table.get(&(subject, 0, Topic::Verdict(rule)));
        known.is_none_or(|known| known.is_news(evidence, now))
    }

    /// Whether a verdict is news; gives the seconds for which it holds. `place` tells apart the ports of one source.
    pub(crate) fn verdict(
        &mut self,
        (subject, place): (Subject, u16),
        rule: Rule,
        (evidence, seconds): (Evidence, u64),
        now: Timestamp,
    ) -> Option<u64> {
        let topic = (subject, u64::from(place), Topic::Verdict(rule));
        let known = self.table.get(&topic).copied();
        if known.is_some_and(|known| !known.is_news(evidence, now)) {
            return None;
        }
        let is_unproven = evidence == Evidence::Unproven;
        if (is_unproven && !self.unproven.take(UNPROVEN, now)) || !self.all.take(ALL, now) {
            self.suppressed += 1;
            return None;
        }
        let window = now.nanos() / u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX);
        let windows = known.map_or(1, |known| known.windows + u32::from(known.window != window));
        let seconds = if is_unproven { grown(seconds, windows) } else { seconds };
        let until = now.after(Duration::from_secs(seconds));
        self.table.insert(topic, Reported { evidence, at: now, until, windows, window });
        Some(seconds)
    }

    /// Whether a note is news.
    pub(crate) fn note(&mut self, subject: Subject, about: u64, kind: u8, now: Timestamp) -> bool {
        let topic = (subject, about, Topic::Note(kind));
        if self.table.get(&topic).is_some_and(|known| now < known.until) {
            return false;
        }
        if !self.notes.take(NOTES, now) {
            self.suppressed += 1;
            return false;
        }
        let until = now.after(NOTE_AGAIN);
        self.table
            .insert(topic, Reported { evidence: Evidence::Unproven, at: now, until, windows: 0, window: 0 });
        true
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.table.fill()
    }

    /// What was not told because there was too much of it.
    pub(crate) const fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

impl Reported {
    fn is_news(&self, evidence: Evidence, now: Timestamp) -> bool {
        let lasts = self.until.since(self.at);
        self.evidence < evidence || self.until <= now || lasts / 2 <= now.since(self.at)
    }
}

/// A soft block doubles for a source that comes back again and again.
fn grown(seconds: u64, windows: u32) -> u64 {
    let doublings = (windows + 1).saturating_sub(WINDOWS).min(8);
    let grown = seconds << doublings;
    if windows < WINDOWS { seconds } else { grown.min(LONGEST_SOFT_BLOCK.max(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(number: u32) -> Subject {
        Subject::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(600_000 + seconds)
    }

    #[test]
    fn a_verdict_is_told_at_once_and_again_when_half_its_time_is_over_or_it_is_better_founded() {
        let mut reports = Reports::new(Key::new([1; 16]));
        let mut tell = |evidence, second| {
            reports.verdict((subject(1), 0), Rule::Sweep, (evidence, 300), at(second)).is_some()
        };
        let told: Vec<bool> = [0, 1, 149, 150, 151].map(|second| tell(Evidence::Unproven, second)).to_vec();
        assert_eq!(told, [true, false, false, true, false]);
        assert!(tell(Evidence::Proven, 152));
        assert!(!tell(Evidence::Unproven, 153));
    }

    #[test]
    fn who_comes_back_in_many_windows_is_softly_blocked_for_longer() {
        let mut reports = Reports::new(Key::new([1; 16]));
        let seconds: Vec<Option<u64>> = (0..7)
            .map(|round| {
                let verdict = (Evidence::Unproven, 300);
                reports.verdict((subject(1), 0), Rule::Sweep, verdict, at(round * 4_000))
            })
            .collect();
        assert_eq!(seconds, [300, 300, 600, 1_200, 2_400, 3_600, 3_600].map(Some));
    }

    #[test]
    fn a_flood_of_forged_sources_is_told_of_in_part_and_leaves_room_for_what_is_proven() {
        let mut reports = Reports::new(Key::new([1; 16]));
        let mut told = (0, 0);
        for number in 0..10_000 {
            let unproven = (Evidence::Unproven, 300);
            told.0 +=
                u32::from(reports.verdict((subject(number), 0), Rule::Sweep, unproven, at(0)).is_some());
        }
        for number in 0..300 {
            let proven = (Evidence::Proven, 3_600);
            let subject = subject(100_000 + number);
            told.1 += u32::from(reports.verdict((subject, 0), Rule::Sweep, proven, at(0)).is_some());
        }
        assert_eq!(told, (300, 300));
        assert_eq!(reports.suppressed(), 9_700);
    }

    #[test]
    fn a_note_is_told_once_an_hour_and_notes_do_not_hide_each_other() {
        let mut reports = Reports::new(Key::new([1; 16]));
        assert!(reports.note(subject(1), 7, 1, at(0)));
        assert!(!reports.note(subject(1), 7, 1, at(3_599)));
        assert!(reports.note(subject(1), 8, 1, at(1)));
        assert!(reports.note(subject(1), 7, 2, at(1)));
        assert!(reports.note(subject(1), 7, 1, at(3_600)));
    }
}
