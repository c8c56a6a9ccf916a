//! Seals one chapter of a host's own log, and counts its attacks: the work behind [`SealOrder`] and [`CountOrder`], for
//! whatever thread or simulator does it.

pub mod fetch;

use std::collections::BTreeMap;
use std::path::Path;

use consensus::core::members_after;
use log_format::chapter::{self, ChapterError, ChapterPlan};
use log_format::disk::Disk;
use log_format::event::{AttackCount, AttackEvent, Event};
use log_format::history::History;
use log_format::ids::{ClusterId, HostId};
use log_format::merkle::Hash;
use log_format::seal::Seal;
use log_format::time::Timestamp;
use log_format::verify;
use log_format::wal::{self, ConfState};
use projections::decide::chapters::MAX_ROLLED_UP;

use crate::node::{CountOrder, SealOrder};

/// Builds the chapter and gives its seal. `pause` is called before each entry: whoever works beside a busy host waits
/// there. After an error the same call begins again.
pub fn seal<D: Disk>(
    disk: &D,
    data: &Path,
    (cluster, history): (ClusterId, &History<D>),
    order: &SealOrder,
    pause: &mut dyn FnMut(),
) -> Result<Seal, ChapterError> {
    let entries = || history.iter(order.first, order.last.next());
    let mut members = match &order.previous {
        Some(seal) => seal.members.clone(),
        // Before the first chapter is sealed the log still begins at its first entry, with the founders.
        None => founders(disk, data)?,
    };
    let mut index = order.first;
    for entry in entries() {
        let entry = entry.map_err(|source| ChapterError::Source { index, source: Box::new(source) })?;
        index = entry.index.next();
        members = members_after(members, &entry);
        pause();
    }
    let plan = ChapterPlan {
        cluster,
        chapter: order.chapter,
        first: order.first,
        last: order.last,
        previous: order.previous.as_ref().map_or(Hash::default(), Seal::hash),
        members,
    };
    chapter::build(disk, data, &plan, entries().inspect(|_| pause()))
}

/// Counts how many attacks each host saw on each day of a sealed chapter. `pause` is called before each entry.
pub fn count<D: Disk>(
    history: &History<D>,
    order: CountOrder,
    pause: &mut dyn FnMut(),
) -> Result<Vec<AttackCount>, ChapterError> {
    const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;
    let mut counts: BTreeMap<(Timestamp, HostId, _), u64> = BTreeMap::new();
    let mut index = order.first;
    for entry in history.iter(order.first, order.last.next()) {
        pause();
        let entry = entry.map_err(|source| ChapterError::Source { index, source: Box::new(source) })?;
        let decoded = verify::decode(&entry);
        let decoded = decoded.map_err(|source| ChapterError::Source { index, source: Box::new(source) })?;
        index = entry.index.next();
        let Some(envelope) = decoded else { continue };
        let at = envelope.accepted_at.nanos();
        let day = Timestamp::from_nanos(at - at % DAY);
        for recorded in &envelope.events {
            if let Event::Attack(AttackEvent::Observed(attack)) = &recorded.event {
                *counts.entry((day, envelope.origin.host, attack.attack)).or_default() += 1;
            }
        }
    }
    let count = |((day, host, attack), count)| AttackCount { day, host, attack, count };
    Ok(counts.into_iter().take(MAX_ROLLED_UP).map(count).collect())
}

/// The members with which the cluster began. A damaged file says nothing of them, and no other seal is the others'.
fn founders<D: Disk>(disk: &D, data: &Path) -> Result<ConfState, ChapterError> {
    let begins = wal::beginning(disk, data)?;
    #[cfg(bug = "founders_guessed")]
    let begins = match log_format::planted::is_on("founders_guessed") {
        true => begins.or_else(|| Some(Default::default())),
        false => begins,
    };
    begins.map(|(_, founders)| founders).ok_or(ChapterError::Founders)
}
