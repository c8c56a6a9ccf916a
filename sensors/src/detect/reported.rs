//! What was already reported of a source: nobody wants the same news for every packet of an attack.

use std::time::Duration;

use log_format::event::Evidence;
use log_format::time::Timestamp;

/// The last report of one rule about one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reported {
    evidence: Evidence,
    until: Timestamp,
}

impl Reported {
    /// A report that holds for as long as the block that is due.
    pub(crate) fn new(evidence: Evidence, now: Timestamp, seconds: u64) -> Self {
        Self { evidence, until: now.after(Duration::from_secs(seconds)) }
    }

    /// Whether a verdict on this evidence says nothing new: its block would still be in force, and rests on no less.
    pub(crate) fn covers(self, evidence: Evidence, now: Timestamp) -> bool {
        now < self.until && evidence <= self.evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_covers_its_block_time_but_no_better_evidence() {
        let at = Timestamp::from_seconds;
        let reported = Reported::new(Evidence::Unproven, at(100), 300);
        assert!(reported.covers(Evidence::Unproven, at(399)));
        assert!(!reported.covers(Evidence::Unproven, at(400)));
        assert!(!reported.covers(Evidence::Proven, at(101)));
        assert!(Reported::new(Evidence::Proven, at(0), 10).covers(Evidence::Unproven, at(1)));
    }
}
