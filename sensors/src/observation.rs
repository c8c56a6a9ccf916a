//! What the engine reports.

use log_format::event::{AttackObserved, NoteObserved};
use log_format::time::Timestamp;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A rule was tipped.
    Attack(Verdict),
    /// Something to know, for which nobody is blocked.
    Note(Note),
}

/// An attack, and what the sensor holds to be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The fact.
    pub observed: AttackObserved,
    /// For how long; 0 if nothing should be dropped.
    pub seconds: u64,
    /// The number, in its capture, of the frame that tipped the rule.
    pub packet: u64,
    /// That frame's time.
    pub at: Timestamp,
}

/// Something to know, for which nobody is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The fact.
    pub observed: NoteObserved,
    /// The number, in its capture, of the frame that shows it.
    pub packet: u64,
    /// That frame's time.
    pub at: Timestamp,
}
