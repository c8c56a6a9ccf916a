//! The one place that walks raft's `Ready`, in the documented order.
//!
//! A `Ready` says what must be sent, persisted and applied. The order is the whole safety of Raft:
//! - a leader's messages may leave at once (thesis 10.2.1): it counts itself only after its own write is durable;
//! - everybody else's messages leave after the write they rest on, *and all writes before it*, are durable;
//! - new entries are readable through the log before raft is told to go on;
//! - nothing is stepped between `ready()` and `advance_append_async()`.

use log_format::ids::{LogIndex, Term};
use log_format::wal::{ConfState, Durability, HardState, LogPosition};
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeV2, Entry, EntryType, Message};
use raft::{Ready, StateRole};

use super::io::{Effect, PersistJob};
use super::proven::Changes;
use super::snapshot::SnapshotPoint;
use super::{Core, entry, split};

/// How far writing and committing have come. Jobs are numbered as raft numbers the `Ready`s they come from.
pub(super) struct Progress {
    /// The last `Ready`.
    last: u64,
    /// The last job whose report something waits for.
    submitted: u64,
    /// The last job with entries, or with a reset.
    entries: u64,
    /// The last job with a reset.
    reset: u64,
    /// The last job known to be durable.
    persisted: u64,
    /// The newest hard state given to the writer.
    hard_state: HardState,
    /// The last committed index handed out.
    committed: LogIndex,
}

impl Progress {
    pub(super) fn new(hard_state: HardState) -> Self {
        let committed = hard_state.commit;
        Self { last: 0, submitted: 0, entries: 0, reset: 0, persisted: 0, hard_state, committed }
    }

    pub(super) fn committed(&self) -> LogIndex {
        self.committed
    }

    /// Whether every entry of this host's log is on its disk.
    pub(super) fn entries_durable(&self) -> bool {
        self.entries <= self.persisted
    }

    /// The last job known to be durable.
    pub(super) fn durable(&self) -> u64 {
        self.persisted
    }

    /// Notes the writer's report; returns what raft may be told. `Ready`s with nothing to write count as durable once all
    /// before them are.
    pub(super) fn persisted(&mut self, number: u64) -> u64 {
        self.persisted = self.persisted.max(number);
        if self.idle() { self.last } else { self.persisted }
    }

    fn idle(&self) -> bool {
        self.submitted <= self.persisted
    }
}

/// Empties raft.
pub(super) fn walk(core: &mut Core, effects: &mut Vec<Effect>) {
    while core.node.has_ready() {
        step(core, effects);
    }
}

fn step(core: &mut Core, effects: &mut Vec<Effect>) {
    let mut ready = core.node.ready();
    let number = ready.number();
    // 1. What a leader says leaves at once, in parallel with its own write.
    let messages = ready.take_messages();
    core.outstanding.note(&messages);
    effects.extend(send_all(messages));
    // 2. A snapshot: what it names was fetched before raft heard of it, so the log alone begins anew.
    let reset = reset(core, &ready, effects);
    // 3. New entries become readable before raft goes on.
    let entries = ready.take_entries();
    core.node.mut_store().append(&entries, number);
    core.changes.appended(&entries);
    // 4. Committed entries: membership is raft's own and is applied here; the rest is the reader's, who is told how far.
    let conf_state = commit(core, &ready.take_committed_entries(), effects);
    step_down_without_vote(core);
    // 5. Reads that a quorum has confirmed.
    for state in ready.take_read_states() {
        let index = LogIndex::new(state.index);
        let tickets = core.reads.answered(&state.request_ctx);
        effects.extend(tickets.into_iter().map(|ticket| Effect::ReadReady { ticket, index }));
    }
    // 6. What must be durable, and what may leave once it is.
    let job = PersistJob { reset, ..job(core, &mut ready, entries, conf_state) };
    submit(core, job, effects);
    // 7. Raft goes on; the write is under way.
    core.node.advance_append_async(ready);
    // 8. With no write under way, a Ready without one is durable at once.
    if core.progress.idle() {
        core.node.on_persist_ready(number);
    }
    // 9. For raft, applied means committed: whoever folds the log keeps an own cursor.
    advance_applied(core);
    core.note_proven();
}

/// Raft asserts that what is applied is durable: a snapshot is, once its reset was reported.
pub(super) fn advance_applied(core: &mut Core) {
    if core.progress.reset <= core.progress.persisted {
        core.node.advance_apply_to(core.progress.committed.get());
    }
}

fn reset(core: &mut Core, ready: &Ready, effects: &mut Vec<Effect>) -> Option<(LogPosition, ConfState)> {
    if ready.snapshot().is_empty() {
        return None;
    }
    let point = SnapshotPoint::from_raft(ready.snapshot());
    let (at, conf_state) = (point.at, point.conf_state.clone());
    core.node.mut_store().reset(at, point);
    core.progress.committed = at.index;
    core.changes = Changes::default();
    effects.push(Effect::SnapshotInstalled { at, conf_state: conf_state.clone() });
    Some((at, conf_state))
}

/// Moves the watermark, and applies changes of membership in log order.
fn commit(core: &mut Core, committed: &[Entry], effects: &mut Vec<Effect>) -> Option<ConfState> {
    let upto = LogIndex::new(committed.last()?.index);
    #[cfg(bug = "skip_commit_check")]
    let upto = match log_format::planted::is_on("skip_commit_check") && core.leads() {
        true => LogIndex::new(core.node.raft.raft_log.last_index()),
        false => upto,
    };
    core.progress.committed = upto;
    core.changes.committed(upto.get());
    effects.push(Effect::Committed { upto });
    let mut newest = None;
    for entry in committed {
        if let Some(conf_state) = apply(core, entry) {
            let index = LogIndex::new(entry.index);
            effects.push(Effect::MembersChanged { index, conf_state: conf_state.clone() });
            newest = Some(conf_state);
        }
    }
    newest
}

/// An entry of the leader before may let this leader go, or take its vote. Raft 0.7 goes on leading then: gone, it looks for its own progress
/// with the next write; without a vote, it takes another host's majority of one for its own, and answers reads that nobody confirmed.
fn step_down_without_vote(core: &mut Core) {
    let raft = &mut core.node.raft;
    if raft.state == StateRole::Leader && !raft.prs().conf().voters().contains(raft.id) {
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
    }
}

fn apply(core: &mut Core, entry: &Entry) -> Option<ConfState> {
    let applied = match entry.entry_type {
        EntryType::EntryNormal => return None,
        EntryType::EntryConfChange => ConfChange::parse_from_carllerche_bytes(&entry.data)
            .map_err(raft::Error::from)
            .and_then(|change| core.node.apply_conf_change(&change)),
        EntryType::EntryConfChangeV2 => ConfChangeV2::parse_from_carllerche_bytes(&entry.data)
            .map_err(raft::Error::from)
            .and_then(|change| core.node.apply_conf_change(&change)),
    };
    match applied {
        Ok(state) => Some(entry::conf_state_from_raft(&state)),
        Err(error) => {
            // Every host refuses the same change, so refusing it keeps them equal.
            tracing::error!(index = entry.index, %error, "committed membership change refused");
            None
        }
    }
}

fn job(core: &mut Core, ready: &mut Ready, entries: Vec<Entry>, conf_state: Option<ConfState>) -> PersistJob {
    let raft = &core.node.raft;
    // The commit index that is written never runs ahead of the membership that is written: after a crash raft starts from
    // both, and applies again only what lies past this index.
    let hard_state = HardState {
        term: Term::new(raft.term),
        vote: entry::host(raft.vote),
        commit: core.progress.committed,
    };
    #[cfg(bug = "forget_vote")]
    let hard_state = match log_format::planted::is_on("forget_vote") {
        true => HardState { vote: None, ..hard_state },
        false => hard_state,
    };
    let changed = std::mem::replace(&mut core.progress.hard_state, hard_state) != hard_state;
    let durability =
        if ready.must_sync() || conf_state.is_some() { Durability::Sync } else { Durability::Later };
    PersistJob {
        number: ready.number(),
        reset: None,
        entries: entries.into_iter().map(entry::from_raft).collect(),
        hard_state: changed.then_some(hard_state),
        conf_state,
        durability,
        then: split::split_all(ready.take_persisted_messages()),
    }
}

fn submit(core: &mut Core, mut job: PersistJob, effects: &mut Vec<Effect>) {
    #[cfg(bug = "send_before_persist")]
    if log_format::planted::is_on("send_before_persist") {
        effects.extend(job.then.drain(..).map(|(to, message)| Effect::Send { to, message }));
    }
    let progress = &mut core.progress;
    progress.last = job.number;
    if job.durability == Durability::Later && progress.idle() {
        // Nothing that these messages rest on is still on its way to the disk.
        effects.extend(job.then.drain(..).map(|(to, message)| Effect::Send { to, message }));
        if job.hard_state.is_some() {
            effects.push(Effect::Persist(job));
        }
        return;
    }
    let empty = job.durability == Durability::Later && job.hard_state.is_none() && job.then.is_empty();
    if empty {
        return;
    }
    progress.submitted = job.number;
    if !job.entries.is_empty() || job.reset.is_some() {
        progress.entries = job.number;
    }
    if job.reset.is_some() {
        progress.reset = job.number;
    }
    effects.push(Effect::Persist(job));
}

fn send_all(messages: Vec<Message>) -> impl Iterator<Item = Effect> {
    split::split_all(messages).into_iter().map(|(to, message)| Effect::Send { to, message })
}
