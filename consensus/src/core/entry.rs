//! Entries and states as the write-ahead log knows them, and their raft counterparts.

use log_format::ids::{HostId, LogIndex, Term};
use log_format::wal::{ConfState, EntryKind, HardState, LogEntry};
use protobuf::Message as _;
use raft::eraftpb::{self, ConfChangeType};

pub(crate) fn to_raft(entry: LogEntry) -> eraftpb::Entry {
    let LogEntry { index, term, kind, data } = entry;
    eraftpb::Entry {
        index: index.get(),
        term: term.get(),
        entry_type: match kind {
            EntryKind::Normal => eraftpb::EntryType::EntryNormal,
            EntryKind::ConfChange => eraftpb::EntryType::EntryConfChange,
            EntryKind::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
        },
        data: data.into(),
        ..eraftpb::Entry::default()
    }
}

pub(crate) fn from_raft(entry: eraftpb::Entry) -> LogEntry {
    LogEntry {
        index: LogIndex::new(entry.index),
        term: Term::new(entry.term),
        kind: match entry.entry_type {
            eraftpb::EntryType::EntryNormal => EntryKind::Normal,
            eraftpb::EntryType::EntryConfChange => EntryKind::ConfChange,
            eraftpb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
        },
        data: entry.data.into(),
    }
}

pub(super) fn hard_state_to_raft(state: &HardState) -> eraftpb::HardState {
    let HardState { term, vote, commit } = state;
    eraftpb::HardState {
        term: term.get(),
        vote: vote.map_or(raft::INVALID_ID, HostId::get),
        commit: commit.get(),
        ..eraftpb::HardState::default()
    }
}

pub(super) fn conf_state_to_raft(state: &ConfState) -> eraftpb::ConfState {
    let ConfState { voters, learners } = state;
    eraftpb::ConfState {
        voters: voters.iter().map(|host| host.get()).collect(),
        learners: learners.iter().map(|host| host.get()).collect(),
        ..eraftpb::ConfState::default()
    }
}

pub(super) fn conf_state_from_raft(state: &eraftpb::ConfState) -> ConfState {
    let hosts = |ids: &[u64]| ids.iter().copied().map(HostId::new).collect::<Vec<_>>();
    ConfState::new(hosts(&state.voters), hosts(&state.learners))
}

/// A host id, unless it is raft's "nobody".
pub(super) fn host(id: u64) -> Option<HostId> {
    (id != raft::INVALID_ID).then(|| HostId::new(id))
}

/// The members once an entry is applied, as every host computes them; for whoever reads a log without running it. A change
/// that raft refuses changes nothing.
pub fn members_after(before: ConfState, entry: &LogEntry) -> ConfState {
    let parsed = match entry.kind {
        EntryKind::Normal => return before,
        EntryKind::ConfChange => eraftpb::ConfChange::parse_from_bytes(&entry.data)
            .map(|change| vec![(change.get_change_type(), change.node_id)]),
        EntryKind::ConfChangeV2 => eraftpb::ConfChangeV2::parse_from_bytes(&entry.data)
            .map(|change| change.changes.iter().map(|one| (one.get_change_type(), one.node_id)).collect()),
    };
    let ConfState { mut voters, mut learners } = before.clone();
    for (change, id) in parsed.unwrap_or_default() {
        let Some(host) = host(id) else { continue };
        voters.retain(|known| *known != host);
        learners.retain(|known| *known != host);
        match change {
            ConfChangeType::AddNode => voters.push(host),
            ConfChangeType::AddLearnerNode => learners.push(host),
            ConfChangeType::RemoveNode => {}
        }
    }
    if voters.is_empty() { before } else { ConfState::new(voters, learners) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_followed_entry_by_entry() {
        let change = |kind, id| {
            let change = eraftpb::ConfChange { change_type: kind, node_id: id, ..Default::default() };
            let data = change.write_to_bytes().unwrap();
            LogEntry { index: LogIndex::new(1), term: Term::new(1), kind: EntryKind::ConfChange, data }
        };
        let hosts = |ids: &[u64]| ids.iter().copied().map(HostId::new).collect::<Vec<_>>();
        let start = ConfState::new(hosts(&[1]), []);
        let joined = members_after(start.clone(), &change(ConfChangeType::AddLearnerNode, 2));
        assert_eq!(joined, ConfState::new(hosts(&[1]), hosts(&[2])));
        let promoted = members_after(joined, &change(ConfChangeType::AddNode, 2));
        assert_eq!(promoted, ConfState::new(hosts(&[1, 2]), []));
        let removed = members_after(promoted, &change(ConfChangeType::RemoveNode, 1));
        assert_eq!(removed, ConfState::new(hosts(&[2]), []));
        assert_eq!(members_after(removed.clone(), &change(ConfChangeType::RemoveNode, 2)), removed);
    }
}
