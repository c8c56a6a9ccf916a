//! Entries and states as the write-ahead log knows them, and their raft counterparts.

use log_format::ids::{HostId, LogIndex, Term};
use log_format::wal::{ConfState, EntryKind, HardState, LogEntry};
use raft::eraftpb;

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
