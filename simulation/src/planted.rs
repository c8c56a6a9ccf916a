//! Defects that the simulator's own stand-ins can be given, to prove that the checks see them.

/// A defect, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Planted {
    /// Everything works.
    #[default]
    Nothing,
    /// The writer reports a job, and lets go of what rests on it, before the job is on the disk.
    AckBeforeSync,
    /// A person who asks again does so under a new command id.
    NewIdOnRetry,
    /// A host that starts again numbers its observations from the same number as before.
    ReuseObservationNumbers,
}

impl Planted {
    /// Every defect.
    pub const ALL: [Self; 3] = [Self::AckBeforeSync, Self::NewIdOnRetry, Self::ReuseObservationNumbers];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::AckBeforeSync => "ack-before-sync",
            Self::NewIdOnRetry => "new-id-on-retry",
            Self::ReuseObservationNumbers => "reuse-observation-numbers",
        }
    }
}
