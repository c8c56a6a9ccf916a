//! The inputs that change what the log is made of: members, and snapshots at its beginning.

use log_format::ids::{HostId, LogIndex, Term};
use log_format::wal::LogPosition;
use protobuf::Message as _;
use raft::Storage as _;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::io::{Effect, Refusal, Ticket};
use super::membership::Change;
use super::snapshot::{MAX_MANIFEST_BYTES, Parking, SnapshotPoint};
use super::{Core, entry};

impl Core {
    pub(super) fn change_members(&mut self, ticket: Ticket, change: Change, effects: &mut Vec<Effect>) {
        let outcome = match self.change_refusal(change) {
            Some(reason) => Err(reason),
            None => self.propose_change(change),
        };
        effects.push(match outcome {
            Ok(at) => Effect::Proposed { ticket, at },
            Err(reason) => Effect::Refused { ticket, reason },
        });
        self.settle(effects);
    }

    fn change_refusal(&self, change: Change) -> Option<Refusal> {
        if let Some(reason) = self.refusal() {
            return Some(reason);
        }
        if self.node.raft.has_pending_conf() {
            return Some(Refusal::ChangePending);
        }
        let members = entry::conf_state_from_raft(&self.node.raft.prs().conf().to_conf_state());
        let takes_own_vote =
            change.host() == self.host && matches!(change, Change::Demote(_) | Change::Remove(_));
        (takes_own_vote || !change.applies_to(&members)).then_some(Refusal::ChangeInapplicable)
    }

    fn propose_change(&mut self, change: Change) -> Result<LogPosition, Refusal> {
        let data = change.to_raft().write_to_bytes().map_err(|_| Refusal::ChangeInapplicable)?;
        let entry = Entry { entry_type: EntryType::EntryConfChange, data: data.into(), ..Entry::default() };
        let message = Message {
            msg_type: MessageType::MsgPropose,
            from: self.host.get(),
            entries: vec![entry].into(),
            ..Message::default()
        };
        if let Err(error) = self.node.raft.step(message) {
            tracing::debug!(%error, "raft refused a change of members");
            return Err(Refusal::Busy);
        }
        let raft = &self.node.raft;
        // Raft answers "yes" and appends an empty entry in place of a change that it does not want.
        let appended = raft.raft_log.unstable_entries().last();
        match appended.map(|entry| entry.entry_type) {
            Some(EntryType::EntryConfChange) => Ok(LogPosition {
                term: Term::new(raft.term),
                index: LogIndex::new(raft.raft_log.last_index()),
            }),
            Some(EntryType::EntryNormal | EntryType::EntryConfChangeV2) | None => Err(Refusal::ChangePending),
        }
    }

    /// Takes what stands in for the beginning of the log, if it fits the log.
    pub(super) fn retire(&mut self, base: LogPosition, snapshot: SnapshotPoint) {
        let log = self.node.store();
        let is_here = |at: LogPosition| log.term(at.index.get()) == Ok(at.term.get());
        let fits = is_here(base)
            && is_here(snapshot.at)
            && base.index <= snapshot.at.index
            && snapshot.at.index <= self.progress.committed()
            && !snapshot.conf_state.voters.is_empty()
            && snapshot.manifest.len() <= MAX_MANIFEST_BYTES;
        if !fits {
            tracing::error!(%base, at = %snapshot.at, manifest_bytes = snapshot.manifest.len(),
                "what should stand in for the log's beginning does not fit the log");
            return;
        }
        self.node.mut_store().retire(base, snapshot);
    }

    /// Whether the log would begin anew with this snapshot: then all that it names must be here first.
    pub(super) fn must_fetch(&self, message: &Message) -> bool {
        #[cfg(bug = "snapshot_unfetched")]
        if log_format::planted::is_on("snapshot_unfetched") {
            return false;
        }
        let metadata = message.get_snapshot().get_metadata();
        let log = &self.node.raft.raft_log;
        self.node.raft.term <= message.term
            && log.committed < metadata.index
            && !log.match_term(metadata.index, metadata.term)
    }

    pub(super) fn park(&mut self, from: HostId, mut message: Message, effects: &mut Vec<Effect>) {
        self.take_part_in(&mut message);
        match self.parked.park(message) {
            Parking::New(SnapshotPoint { at, conf_state: _, manifest }) => {
                tracing::info!(%from, %at, "the log begins too late for this host; fetching what is before");
                effects.push(Effect::Fetch { from, at, manifest });
            }
            Parking::Known => {}
        }
    }

    /// A chapter that was sealed before this host joined does not name it, and raft takes no snapshot that does not name its
    /// receiver. As a learner it changes nobody's majority, and the entry that adds it comes behind the snapshot.
    fn take_part_in(&self, message: &mut Message) {
        let own = self.host.get();
        let members = message.mut_snapshot().mut_metadata().mut_conf_state();
        if !members.voters.contains(&own) && !members.learners.contains(&own) {
            members.learners.push(own);
            members.learners.sort_unstable();
        }
    }

    pub(super) fn fetched(&mut self, index: LogIndex, effects: &mut Vec<Effect>) {
        let Some(message) = self.parked.take(index) else { return };
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%index, %error, "raft ignored a snapshot");
        }
        self.settle_role(effects);
    }
}
