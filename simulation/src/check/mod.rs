//! What must hold, looked at after every turn and at the end of a run.
//!
//! | checker | holds |
//! |---|---|
//! | [`Checker::Log`] | committed entries never change; each was on the disk of whoever applied it |
//! | [`Checker::Once`] | a command id, a wish and an observation are in the log once at most |
//! | [`Checker::Time`] | `accepted_at` rises from entry to entry |
//! | [`Checker::Leadership`] | one leader a term, whose log holds all that was committed; no host's commit or applied index goes back while it lives |
//! | [`Checker::Durability`] | what a host promised is on its disk before it says so, and still there after any crash |
//! | [`Checker::State`] | at equal applied index equal state hash, also of models folded anew |
//! | [`Checker::Protection`] | the plan is what a naive reading of the log says: every block, denial and allowance |
//! | [`Checker::Kernel`] | brought up to date change by change, a kernel holds what the whole plan says; nothing stays provisional |
//! | [`Checker::Linear`] | changes and reads of the settings happen one after the other, in an order that their callers could have seen |
//! | [`Checker::Answers`] | what was answered as committed is in the log, there |
//! | [`Checker::Batches`] | several blocks wished at once are all in one entry, or none is in the log |
//! | [`Checker::Observations`] | what a host saw is in the log, in order, unless the host went down before it was spooled; the spool drops strikes at most, and says so |
//! | [`Checker::Chapters`] | every disk verifies; all hosts sealed the same chapters |
//! | [`Checker::Erasure`] | what the log says is erased is on no disk |
//! | [`Checker::Members`] | no host id is used twice; whoever gets a vote has something of the log; a leader has the votes of a majority; at rest the largest odd number have a vote |
//! | [`Checker::Running`] | no host halts or fails to start |
//! | [`Checker::Liveness`] | once everything works, everything comes to an end |

mod answers;
mod batches;
mod disks;
mod leadership;
mod ledger;
mod linear;
mod members;
mod observations;
mod protection;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use consensus::core::{Promise, Status};
use log_format::envelope::{Envelope, Recorded};
use log_format::event::Event;
use log_format::ids::{HostId, LogIndex};
use log_format::spool::SpoolRecord;
use log_format::wal::{ConfState, EntryKind, LogEntry};
use palisade::node::{Node, Outcome};
use thiserror::Error;

use self::answers::Answers;
use self::batches::Batches;
use self::leadership::Leadership;
use self::ledger::Ledger;
use self::linear::Changes;
pub(crate) use self::members::Quorum;
use self::observations::Observations;
pub(crate) use self::observations::Room;
use self::protection::Protection;
use crate::disk::Held;
use crate::host::{Host, Life};
use crate::workload::{ObservationNumber, Wish};

/// Who found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the module's table says what each checks")]
pub enum Checker {
    Log,
    Once,
    Time,
    Leadership,
    Durability,
    State,
    Protection,
    Kernel,
    Linear,
    Answers,
    Batches,
    Observations,
    Chapters,
    Erasure,
    Members,
    Running,
    Liveness,
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{checker:?}: {detail}")]
pub struct Violation {
    /// Who found it.
    pub checker: Checker,
    /// What.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(checker: Checker, detail: impl fmt::Display) -> Self {
        Self { checker, detail: detail.to_string() }
    }
}

/// Looks, and refuses what must not be.
pub(crate) fn ensure(
    holds: bool,
    checker: Checker,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { checker, detail: detail() }) }
}

/// Everything that is known of a run.
#[derive(Default)]
pub(crate) struct Checks {
    ledger: Ledger,
    leadership: Leadership,
    answers: Answers,
    batches: Batches,
    observations: Observations,
    changes: Changes,
    /// What each living process has applied.
    watched: BTreeMap<HostId, Watched>,
}

struct Watched {
    life: Life,
    applied: LogIndex,
    protection: Protection,
    /// It has read entries whose attacks were erased already.
    lacks_erased: bool,
}

impl Checks {
    /// Nothing is known but who begins the cluster.
    pub(crate) fn new(founders: &[HostId]) -> Self {
        let members = ConfState::new(founders.iter().copied(), []);
        Self { ledger: Ledger::new(members), ..Self::default() }
    }

    /// Who takes part in consensus, as far as any host has applied the log.
    pub(crate) fn consensus_members(&self) -> &ConfState {
        self.ledger.members()
    }

    /// Whether a host was let go, as far as any host has applied the log.
    pub(crate) fn is_let_go(&self, host: HostId) -> bool {
        self.ledger.is_let_go(host)
    }

    /// Somebody asks for something.
    pub(crate) fn asked(&mut self, wish: &Wish) {
        self.batches.note(wish);
    }

    /// A person was told what became of a wish.
    pub(crate) fn answered(&mut self, wish: &Wish, outcome: &Outcome, at: Duration) {
        self.answers.note(wish, outcome);
        self.changes.note(wish, outcome, at);
    }

    /// Somebody has read the version of the settings.
    pub(crate) fn read(&mut self, called: Duration, answered: Duration, version: u64) {
        self.changes.note_read(called, answered, version);
    }

    /// A host was given an observation.
    pub(crate) fn observed(&mut self, host: HostId, life: Life, number: ObservationNumber) {
        self.observations.made(host, life, number);
    }

    /// A host's spool has a record on the disk, or has no room for it.
    pub(crate) fn spooled(
        &mut self,
        host: HostId,
        record: &SpoolRecord,
        room: Room,
    ) -> Result<(), Violation> {
        self.observations.spooled(host, record, room)
    }

    /// Sectors of a host's spool have gone bad.
    pub(crate) fn spool_spoiled(&mut self, host: HostId) {
        self.observations.spool_spoiled(host);
    }

    /// A host says something to another.
    pub(crate) fn said(
        &mut self,
        from: HostId,
        promise: Option<Promise>,
        held: Held,
    ) -> Result<(), Violation> {
        match promise {
            Some(promise) => self.leadership.promised(from, promise, held),
            None => Ok(()),
        }
    }

    /// Looks at a host after a turn.
    pub(crate) fn after_turn(&mut self, id: HostId, host: &Host) -> Result<(), Violation> {
        let Some(node) = host.node() else { return Ok(()) };
        let status = node.consensus();
        self.leadership.look(id, host.life(), &status)?;
        self.leadership.look_at_log(id, host, &status, self.ledger.last_position())?;
        let applied = node.applied();
        let watched = self.watch(id, host.life());
        ensure(watched.applied <= applied && applied <= status.commit, Checker::Leadership, || {
            format!("host {id} applied {applied} of {}, after {}", status.commit, watched.applied)
        })?;
        if watched.applied == applied {
            return Ok(());
        }
        self.read_applied(id, host, applied)?;
        self.compare_state(id, node)?;
        let watched = self.watch(id, host.life());
        watched.protection.look(id, node.model())
    }

    fn watch(&mut self, id: HostId, life: Life) -> &mut Watched {
        let fresh = || Watched {
            life,
            applied: LogIndex::new(0),
            protection: Protection::default(),
            lacks_erased: false,
        };
        let watched = self.watched.entry(id).or_insert_with(fresh);
        if watched.life != life {
            *watched = fresh();
        }
        watched
    }

    /// Reads from the host's own disk what it has applied since the last look.
    fn read_applied(&mut self, id: HostId, host: &Host, applied: LogIndex) -> Result<(), Violation> {
        let from = self.watch(id, host.life()).applied.next();
        for entry in durable(id, host, from, applied)? {
            let index = entry.index;
            let envelope = self.ledger.take(id, entry, &mut self.observations)?;
            if let Some(envelope) = envelope {
                self.batches.look(index, &envelope)?;
                let watched = self.watch(id, host.life());
                watched.protection.fold(&envelope);
                let is_erased = |recorded: &Recorded| matches!(recorded.event, Event::Erased(_));
                watched.lacks_erased |= envelope.events.iter().any(is_erased);
            }
        }
        self.watch(id, host.life()).applied = applied;
        Ok(())
    }

    fn compare_state(&mut self, id: HostId, node: &Node) -> Result<(), Violation> {
        let applied = node.applied();
        // Until it folds the erasure itself it knows less than those that saw what was erased.
        let lacks = self.watched.get(&id).is_some_and(|watched| watched.lacks_erased);
        if lacks && applied < self.ledger.erased_at() {
            return Ok(());
        }
        let Some(expected) = self.ledger.hash_at(applied) else { return Ok(()) };
        ensure(expected == state_hash(node), Checker::State, || {
            format!("host {id} at {applied} differs from the fold of the log")
        })
    }

    /// Whether everything that living hosts were told to report is in the log.
    pub(crate) fn all_observed(&self, hosts: &BTreeMap<HostId, Host>) -> bool {
        self.missing_of(hosts).is_empty()
    }

    /// What a host saw that was let go is its own.
    fn missing_of(&self, hosts: &BTreeMap<HostId, Host>) -> Vec<ObservationNumber> {
        let is_owed = |id: HostId| !self.is_let_go(id);
        self.observations.missing(hosts, &is_owed)
    }

    /// What is missing of that, the first of it in words.
    pub(crate) fn missing(&self, hosts: &BTreeMap<HostId, Host>) -> String {
        self.observations.describe(&self.missing_of(hosts))
    }

    /// The entry with which attacks were last erased.
    pub(crate) fn erased_at(&self) -> LogIndex {
        self.ledger.erased_at()
    }

    /// Entries of the log.
    pub(crate) fn entries(&self) -> u64 {
        self.ledger.last().get()
    }

    /// Looks at everything once more, when all hosts have come to rest.
    /// Gives how many attacks were erased.
    pub(crate) fn at_end(&mut self, hosts: &BTreeMap<HostId, Host>) -> Result<u64, Violation> {
        self.answers.look(&self.ledger)?;
        self.changes.look()?;
        let missing = self.missing_of(hosts);
        ensure(missing.is_empty(), Checker::Observations, || format!("lost: {missing:?}"))?;
        let rebuilt = self.ledger.rebuild();
        let is_let_go: BTreeSet<HostId> = hosts.keys().copied().filter(|id| self.is_let_go(*id)).collect();
        for (id, host) in hosts.iter().filter(|(id, _)| !is_let_go.contains(id)) {
            let Some(node) = host.node() else { continue };
            ensure(node.applied() == self.ledger.last(), Checker::Liveness, || {
                format!("host {id} applied {} of {}", node.applied(), self.ledger.last())
            })?;
            ensure(state_hash(node) == rebuilt, Checker::State, || {
                format!("host {id} differs from models folded anew")
            })?;
            Protection::look_at_kernel(*id, host)?;
            for entry in durable(*id, host, LogIndex::new(1), node.applied())? {
                self.ledger.take(*id, entry, &mut self.observations)?;
            }
        }
        let up: Vec<(HostId, &Host)> = hosts
            .iter()
            .filter(|(id, host)| host.is_up() && !is_let_go.contains(id))
            .map(|(id, host)| (*id, host))
            .collect();
        disks::look(&up)?;
        disks::look_for_erased(&self.ledger, &up)
    }
}

/// A host's entries up to one, from its disk.
fn durable(id: HostId, host: &Host, from: LogIndex, upto: LogIndex) -> Result<Vec<LogEntry>, Violation> {
    let Some(history) = host.workshop.history() else { return Ok(Vec::new()) };
    // What rots or cannot be read is the host's to find.
    let (disk, _) = host.drive.place();
    let read = || history.iter(from, upto.next()).collect();
    let entries: Result<Vec<LogEntry>, _> = disk.looked_through(read);
    entries.map_err(|error| {
        Violation::new(Checker::Log, format!("host {id} applied {upto}, but its disk says: {error}"))
    })
}

fn state_hash(node: &Node) -> [u8; 32] {
    let views = node.views();
    let views = views.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    projections::state_hash(node.model(), &views)
}

/// The envelope of an entry; consensus's own entries have none.
fn envelope(entry: &LogEntry) -> Result<Option<Envelope>, Violation> {
    if entry.kind != EntryKind::Normal || entry.data.is_empty() {
        return Ok(None);
    }
    let decoded = Envelope::decode(&entry.data).map(Some);
    decoded.map_err(|error| Violation::new(Checker::Log, format!("entry {}: {error}", entry.index)))
}

/// The last committed and applied indexes of a host, for a line of the trace.
pub(crate) fn picture(status: &Status, applied: LogIndex) -> String {
    format!("{:?} term {} commit {} applied {applied}", status.role, status.term, status.commit)
}
