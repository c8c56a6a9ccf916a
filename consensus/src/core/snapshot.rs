//! Snapshots. What travels is a manifest: it names sealed chapters, and whoever needs them fetches them over another
//! connection before raft hears of the snapshot. So sending one is instant, and raft never waits for data.
//!
//! ```text
//!  leader                                   follower
//!  needs an entry before its log's base
//!    ── MsgSnapshot{at, members, manifest} ──> parked ── Effect::Fetch ──> owner fetches, verifies, syncs
//!                                                └───── Input::Fetched ──> stepped ── Ready ── job.reset, SnapshotInstalled
//!    <────────────── MsgAppendResponse ── once the reset is durable
//!  nothing heard for SNAPSHOT_TICKS: taken for failed, sent again
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use log_format::ids::{HostId, LogIndex, Term};
use log_format::wal::{ConfState, LogPosition};
use raft::eraftpb::{Message, MessageType, Snapshot};

use super::entry;

/// After so many ticks without an acknowledgement a snapshot is sent again: 10 s. It is small, and a follower that is still
/// fetching the same one takes no notice.
pub const SNAPSHOT_TICKS: usize = 100;
/// The largest manifest: one seal for every 16,384 entries leaves room for thousands of millions of them in one frame.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// What stands in for the log up to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// The last entry that it stands for.
    pub at: LogPosition,
    /// The members there.
    pub conf_state: ConfState,
    /// Opaque: what a follower needs to fetch the same.
    pub manifest: Bytes,
}

impl SnapshotPoint {
    pub(super) fn to_raft(&self) -> Snapshot {
        let Self { at, conf_state, manifest } = self;
        let mut snapshot = Snapshot { data: manifest.clone(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (at.index.get(), at.term.get());
        metadata.set_conf_state(entry::conf_state_to_raft(conf_state));
        snapshot
    }

    pub(super) fn from_raft(snapshot: &Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        Self {
            at: LogPosition { term: Term::new(metadata.term), index: LogIndex::new(metadata.index) },
            conf_state: entry::conf_state_from_raft(metadata.get_conf_state()),
            manifest: snapshot.data.clone(),
        }
    }
}

/// Whether the snapshot of a message is one that an honest leader sends. Members in transition are never sent: they change
/// one at a time.
pub(super) fn is_sound(message: &Message) -> bool {
    let snapshot = message.get_snapshot();
    let (metadata, members) = (snapshot.get_metadata(), snapshot.get_metadata().get_conf_state());
    metadata.index != 0
        && metadata.term != 0
        && metadata.term <= message.term
        && !members.voters.is_empty()
        && members.voters_outgoing.is_empty()
        && members.learners_next.is_empty()
        && snapshot.data.len() <= MAX_MANIFEST_BYTES
}

/// The snapshot that waits for what it names. One at a time; a newer one takes its place.
#[derive(Default)]
pub(super) struct Parked(Option<(SnapshotPoint, Message)>);

/// What became of a message that was to be parked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parking {
    /// It waits, and what it names is to be fetched.
    New(SnapshotPoint),
    /// The same one waits already, or a newer one.
    Known,
}

impl Parked {
    pub(super) fn park(&mut self, message: Message) -> Parking {
        let point = SnapshotPoint::from_raft(message.get_snapshot());
        let parking = match &self.0 {
            Some((waiting, held)) if message.term < held.term || point.at.index < waiting.at.index => {
                return Parking::Known;
            }
            Some((waiting, _)) if waiting.at == point.at => Parking::Known,
            Some(_) | None => Parking::New(point.clone()),
        };
        self.0 = Some((point, message));
        parking
    }

    /// Takes the message out, if it is the one for `index`.
    pub(super) fn take(&mut self, index: LogIndex) -> Option<Message> {
        self.0.take_if(|(point, _)| point.at.index == index).map(|(_, message)| message)
    }
}

/// Snapshots that this leader has sent and that nobody has acknowledged, with the ticks left. At most one a member.
#[derive(Default)]
pub(super) struct Outstanding(BTreeMap<HostId, usize>);

impl Outstanding {
    /// Notes the snapshots among messages that leave.
    pub(super) fn note(&mut self, messages: &[Message]) {
        let snapshots = messages.iter().filter(|message| message.msg_type == MessageType::MsgSnapshot);
        self.0.extend(snapshots.map(|message| (HostId::new(message.to), SNAPSHOT_TICKS)));
    }

    /// One tick went by; returns whose time is over.
    pub(super) fn tick(&mut self) -> Vec<HostId> {
        self.0.values_mut().for_each(|left| *left = left.saturating_sub(1));
        self.0.extract_if(.., |_, left| *left == 0).map(|(host, _)| host).collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
