//! Entries and states as the write-ahead log knows them, and their raft counterparts.

use bytes::Bytes;
use log_format::ids::{HostId, LogIndex, Term};
use raft::eraftpb;

/// What raft must remember besides the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Who got this host's vote in that term.
    pub vote: Option<HostId>,
    /// Every entry up to here is committed.
    pub commit: LogIndex,
}

/// Who belongs to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfState {
    /// Hosts with a vote.
    pub voters: Vec<HostId>,
    /// Hosts without.
    pub learners: Vec<HostId>,
}

/// What an entry is to raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The host's bytes; or none, when a leader opened its term.
    Normal,
    /// A membership change of one host.
    ConfChange,
    /// A membership change of several.
    ConfChangeV2,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where.
    pub index: LogIndex,
    /// The term of the leader that put it there.
    pub term: Term,
    /// What it is to raft.
    pub kind: EntryKind,
    /// The bytes.
    pub data: Bytes,
}

pub(super) fn to_raft(entry: LogEntry) -> eraftpb::Entry {
    let mut raft = eraftpb::Entry::default();
    raft.index = entry.index.get();
    raft.term = entry.term.get();
    raft.entry_type = match entry.kind {
        EntryKind::Normal => eraftpb::EntryType::EntryNormal,
        EntryKind::ConfChange => eraftpb::EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
    };
    raft.data = entry.data;
    raft
}

pub(super) fn from_raft(entry: eraftpb::Entry) -> LogEntry {
    LogEntry {
        index: LogIndex::new(entry.index),
        term: Term::new(entry.term),
        kind: match entry.entry_type {
            eraftpb::EntryType::EntryNormal => EntryKind::Normal,
            eraftpb::EntryType::EntryConfChange => EntryKind::ConfChange,
            eraftpb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
        },
        data: entry.data,
    }
}

pub(super) fn hard_state_to_raft(state: &HardState) -> eraftpb::HardState {
    let mut raft = eraftpb::HardState::default();
    raft.term = state.term.get();
    raft.vote = state.vote.map_or(raft::INVALID_ID, HostId::get);
    raft.commit = state.commit.get();
    raft
}

pub(super) fn conf_state_to_raft(state: &ConfState) -> eraftpb::ConfState {
    let mut raft = eraftpb::ConfState::default();
    raft.voters = state.voters.iter().map(|host| host.get()).collect();
    raft.learners = state.learners.iter().map(|host| host.get()).collect();
    raft
}

pub(super) fn conf_state_from_raft(state: &eraftpb::ConfState) -> ConfState {
    ConfState {
        voters: hosts(&state.voters),
        learners: hosts(&state.learners),
    }
}

/// A host id, unless it is raft's "nobody".
pub(super) fn host(id: u64) -> Option<HostId> {
    (id != raft::INVALID_ID).then(|| HostId::new(id))
}

fn hosts(ids: &[u64]) -> Vec<HostId> {
    let mut hosts: Vec<HostId> = ids.iter().copied().map(HostId::new).collect();
    hosts.sort_unstable();
    hosts
}
