//! Projections: where each stands, and how a rebuild goes.

use serde::Serialize;

use crate::ports::{ProjectionView, RebuildEnd, RebuildView};

/// A projection.
#[derive(Debug, Serialize)]
pub(crate) struct Projection {
    pub(crate) name: String,
    pub(crate) version: u32,
    /// The last entry folded.
    pub(crate) applied: u64,
    /// Entries that the cluster has committed and this host has not applied.
    pub(crate) lag: u64,
    pub(crate) state_hash: String,
    /// The last entry of its last checkpoint; null if there is none.
    pub(crate) checkpoint: Option<u64>,
    /// The rebuild that is under way.
    pub(crate) rebuild: Option<Rebuild>,
    /// How the last rebuild since the start ended.
    pub(crate) last_rebuild: Option<RebuildEnded>,
    /// The entry at which it was last found not to be the fold of the log, since the start.
    pub(crate) diverged_at: Option<u64>,
}

/// A rebuild that is under way.
#[derive(Debug, Serialize)]
pub(crate) struct Rebuild {
    pub(crate) number: u64,
    /// How far it has folded.
    pub(crate) folded: u64,
}

/// A rebuild that has ended.
#[derive(Debug, Serialize)]
pub(crate) struct RebuildEnded {
    pub(crate) number: u64,
    pub(crate) outcome: &'static str,
    /// The entry at which it took over; null if it did not.
    pub(crate) index: Option<u64>,
    /// Why it failed; empty otherwise.
    pub(crate) detail: String,
}

/// `POST /projections/rebuild`.
#[derive(Debug, Serialize)]
pub(crate) struct Rebuilding {
    /// The rebuild that is under way now.
    pub(crate) number: u64,
}

impl From<ProjectionView> for Projection {
    fn from(view: ProjectionView) -> Self {
        let ProjectionView { standing, lag, checkpoint, rebuild, last_rebuild, diverged_at } = view;
        Self {
            name: standing.name.to_owned(),
            version: standing.version,
            applied: standing.applied.get(),
            lag,
            state_hash: standing.state_hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            checkpoint: checkpoint.map(|index| index.get()),
            rebuild: rebuild.map(|RebuildView { number, folded }| Rebuild { number, folded: folded.get() }),
            last_rebuild: last_rebuild.map(|(number, end)| ended(number, end)),
            diverged_at: diverged_at.map(|index| index.get()),
        }
    }
}

fn ended(number: u64, end: RebuildEnd) -> RebuildEnded {
    let (outcome, index, detail) = match end {
        RebuildEnd::Equal { index } => ("equal", Some(index.get()), String::new()),
        RebuildEnd::Differed { index } => ("differed", Some(index.get()), String::new()),
        RebuildEnd::Failed { detail } => ("failed", None, detail),
    };
    RebuildEnded { number, outcome, index, detail }
}
