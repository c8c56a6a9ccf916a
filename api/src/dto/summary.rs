//! What a dashboard shows.

use std::collections::BTreeMap;

use log_format::ids::LogIndex;
use log_format::time::Timestamp;
use projections::read::{self, DenylistCounts, KindCount, ReadModels};
use serde::Serialize;

use super::attack::Attack;
use super::block::{Block, Facts, Surroundings};
use super::settings::mode_name;
use crate::ports::ClusterView;

/// Rows of each short list.
const LATEST: usize = 8;

/// The figures at one time.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    as_of: u64,
    now: String,
    mode: &'static str,
    attacks: Attacks,
    blocked_now: BlockedNow,
    attacks_per_minute: Vec<u64>,
    by_type: BTreeMap<&'static str, u64>,
    latest_blocks: Vec<Block>,
    latest_attacks: Vec<Attack>,
}

#[derive(Debug, Serialize)]
struct Attacks {
    last_hour: u64,
    last_24_hours: u64,
    total: u64,
}

#[derive(Debug, Serialize)]
struct BlockedNow {
    dynamic: usize,
    soft: usize,
    denied: usize,
    provisional: u32,
}

impl Summary {
    /// The figures of these read models at `now`.
    pub(crate) fn new(views: &ReadModels, cluster: &ClusterView, now: Timestamp) -> Self {
        let settings = views.settings.current();
        let around = Surroundings { threshold: settings.block_threshold, view: cluster };
        let read::Summary { last_hour, last_day, kept, dropped: _, blocked, per_minute, kinds, latest } =
            views.summary(now, LATEST);
        let DenylistCounts { soft_blocked, blocked, denied } = blocked;
        let by_type = kinds.iter().map(|KindCount { attack, last_day, .. }| (attack.name(), *last_day));
        Self {
            as_of: LogIndex::get(views.applied()),
            now: now.to_string(),
            mode: mode_name(settings.mode),
            attacks: Attacks { last_hour, last_24_hours: last_day, total: kept },
            blocked_now: BlockedNow {
                dynamic: blocked,
                soft: soft_blocked,
                denied,
                provisional: cluster.provisional_blocks,
            },
            attacks_per_minute: per_minute.into(),
            by_type: by_type.collect(),
            latest_blocks: latest.iter().map(|row| Block::new(Facts::of_row(row), around)).collect(),
            latest_attacks: views
                .attacks
                .newest_first(now)
                .take(LATEST)
                .map(|row| Attack::new(row, cluster))
                .collect(),
        }
    }
}
