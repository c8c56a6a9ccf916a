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
///
/// A chapter that is here already is taken as it is, if it has the order's bounds and comes after the order's seal. It may have come with a
/// snapshot that was fetched between the order and its turn; then the log begins behind it, and who its members were can be told no more.
pub fn seal<D: Disk>(
    disk: &D,
    data: &Path,
    (cluster, history): (ClusterId, &History<D>),
    order: &SealOrder,
    pause: &mut dyn FnMut(),
) -> Result<Seal, ChapterError> {
    let previous = order.previous.as_ref().map_or(Hash::default(), Seal::hash);
    let is_ordered = |seal: &Seal| {
        (seal.cluster, seal.previous) == (cluster, previous)
            && (seal.first.index, seal.last.index) == (order.first, order.last)
    };
    if let Some(seal) = chapter::seal(disk, data, order.chapter)?.filter(is_ordered) {
        return Ok(seal);
    }
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
        previous,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use log_format::disk::MemoryDisk;
    use log_format::ids::{ChapterNumber, Incarnation, LogIndex, Term};
    use log_format::wal::{
        Batch, Durability, EntryKind, FileStamp, HardState, LogEntry, Wal, WalIdentity, WalOptions, WalSetup,
    };

    use super::*;

    const CLUSTER: ClusterId = ClusterId::new([7; 16]);
    const HOST: HostId = HostId::new(1);

    #[test]
    fn a_chapter_that_came_with_a_snapshot_meanwhile_is_taken_as_it_is() {
        let (disk, data) = (Arc::new(MemoryDisk::new()), Path::new("/data"));
        disk.create_dir(data).unwrap();
        let setup = WalSetup {
            identity: WalIdentity { cluster: CLUSTER, host: HOST, incarnation: Incarnation::new(1) },
            options: WalOptions { file_bytes: 1 << 16 },
            stamps: Box::new(|| FileStamp { nonce: 5, created_at: Timestamp::ZERO }),
        };
        let members = |hosts: &[u64]| ConfState::new(hosts.iter().copied().map(HostId::new), []);
        // Since the snapshot, the log begins with more members than the chapter had.
        let mut wal = Wal::create(Arc::clone(&disk), data, setup, members(&[1, 2, 3])).unwrap();
        let term = Term::new(1);
        let entries = [1, 2].map(|index| LogEntry {
            index: LogIndex::new(index),
            term,
            kind: EntryKind::Normal,
            data: Vec::new(),
        });
        let hard_state = HardState { term, vote: None, commit: LogIndex::new(2) };
        let batch = Batch { hard_state, entries: &entries, conf_state: None, durability: Durability::Sync };
        wal.append(&batch).unwrap();
        let history = History::new(Arc::clone(&disk), data, wal.reader());
        let (chapter, first, last) = (ChapterNumber::new(1), LogIndex::new(1), LogIndex::new(2));
        let previous = Hash::default();
        let plan = ChapterPlan { cluster: CLUSTER, chapter, first, last, previous, members: members(&[1]) };
        let fetched = chapter::build(&*disk, data, &plan, history.iter(first, last.next())).unwrap();

        let order = SealOrder { chapter, first, last, previous: None };
        let sealed = |order: &SealOrder| seal(&*disk, data, (CLUSTER, &history), order, &mut || {});
        assert_eq!(sealed(&order).unwrap(), fetched);
        let other = SealOrder { last: first, ..order };
        assert!(matches!(sealed(&other), Err(ChapterError::Other { .. })));
    }
}
