//! What the engine reports.

use log_format::event::{AttackObserved, Scope};
use log_format::time::Timestamp;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A rule was tipped.
    Attack(Verdict),
}

/// An attack, and what the sensor holds to be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The fact.
    pub observed: AttackObserved,
    /// What of the source should be dropped.
    pub scope: Scope,
    /// For how long; 0 if nothing should be dropped.
    pub seconds: u64,
    /// The number, in its capture, of the frame that tipped the rule.
    pub packet: u64,
    /// That frame's time.
    pub at: Timestamp,
}
