//! The one log, as the first host to apply an entry showed it, and its fold.

use std::collections::BTreeMap;

use consensus::core::members_after;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::{
    Actor, AttackEvent, BlockReason, ChapterEvent, Class, DenyReason, DenylistEvent, Event, HostEvent,
    MembershipEvent, ReleaseCause, SettingsEvent,
};
use log_format::ids::{ChapterNumber, CommandId, HostId, LogIndex, Term};
use log_format::time::Timestamp;
use log_format::wal::{ConfState, LogEntry, LogPosition};
use projections::decide::{HOUSEKEEPING, HostState, Model};
use projections::read::ReadModels;

use super::observations::Observations;
use super::{Checker, Violation, ensure, envelope};
use crate::workload::{ObservationNumber, WishNumber};

/// Hosts are compared when they stop at a multiple of this: hashing everything after every entry would take most of the
/// time of a run.
const COMPARED_EVERY: u64 = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    entries: Vec<LogEntry>,
    /// The state hash after some of the entries.
    hashes: BTreeMap<LogIndex, [u8; 32]>,
    model: Model,
    views: ReadModels,
    last_accepted_at: Timestamp,
    /// The entry with which attacks were last erased.
    erased_at: LogIndex,
    commands: BTreeMap<CommandId, LogIndex>,
    wishes: BTreeMap<WishNumber, LogIndex>,
    /// Who takes part in consensus.
    members: ConfState,
}

impl Ledger {
    /// An empty log, begun by these.
    pub(super) fn new(members: ConfState) -> Self {
        Self { members, ..Self::default() }
    }

    /// Who takes part in consensus behind the last entry.
    pub(super) fn members(&self) -> &ConfState {
        &self.members
    }

    /// Whether the log lets a host go.
    pub(super) fn is_let_go(&self, host: HostId) -> bool {
        self.model.host_state(host) == Some(HostState::Removed)
    }

    pub(super) fn last(&self) -> LogIndex {
        LogIndex::new(self.entries.len() as u64)
    }

    /// The position of the last entry.
    pub(super) fn last_position(&self) -> LogPosition {
        let term = self.entries.last().map_or(Term::default(), |entry| entry.term);
        LogPosition { term, index: self.last() }
    }

    /// The state hash after an entry, if it is one of those at which hosts are compared. The first host to stop there
    /// fixes it.
    pub(super) fn hash_at(&mut self, index: LogIndex) -> Option<[u8; 32]> {
        if index == self.last() && index.get().is_multiple_of(COMPARED_EVERY) {
            let (model, views) = (&self.model, &self.views);
            self.hashes.entry(index).or_insert_with(|| projections::state_hash(model, views));
        }
        self.hashes.get(&index).copied()
    }

    /// Where a command is.
    pub(super) fn command(&self, id: CommandId) -> Option<LogIndex> {
        self.commands.get(&id).copied()
    }

    /// A host has applied an entry: it is what others applied there, or the next one.
    pub(super) fn take(
        &mut self,
        host: HostId,
        entry: LogEntry,
        observations: &mut Observations,
    ) -> Result<Option<Envelope>, Violation> {
        let envelope = envelope(&entry)?;
        if let Some(held) = place(entry.index).and_then(|place| self.entries.get(place)) {
            ensure(*held == entry || self.is_erased_form(held, &entry)?, Checker::Log, || {
                format!("host {host} applied another entry {} than others", entry.index)
            })?;
            return Ok(envelope);
        }
        ensure(entry.index == self.last().next(), Checker::Log, || {
            format!("host {host} applied {} after {}", entry.index, self.last())
        })?;
        if let Some(envelope) = &envelope {
            self.fold(entry.index, envelope, observations)?;
        }
        self.members = members_after(std::mem::take(&mut self.members), &entry);
        self.entries.push(entry);
        Ok(envelope)
    }

    /// Whether this is what is left of an entry whose attacks are erased.
    fn is_erased_form(&self, held: &LogEntry, entry: &LogEntry) -> Result<bool, Violation> {
        let is_due = self.erased_upto().is_some_and(|(_, last)| held.index <= last);
        let (Some(whole), Some(left)) = (envelope(held)?, envelope(entry)?) else { return Ok(false) };
        let is_left = |(whole, left): (&Recorded, &Recorded)| {
            if let Event::Erased(kind) = left.event {
                return whole.event.kind() == kind && kind.class() == Class::Attack;
            }
            whole == left
        };
        let of = |envelope: &Envelope| (envelope.command, envelope.origin, envelope.accepted_at);
        Ok(is_due
            && (held.index, held.term) == (entry.index, entry.term)
            && of(&whole) == of(&left)
            && whole.events.len() == left.events.len()
            && whole.events.iter().zip(&left.events).all(is_left))
    }

    /// The newest chapter whose attacks are erased, and its last entry.
    pub(super) fn erased_upto(&self) -> Option<(ChapterNumber, LogIndex)> {
        self.model.chapters().erased_upto()
    }

    /// The entry with which attacks were last erased.
    pub(super) fn erased_at(&self) -> LogIndex {
        self.erased_at
    }

    /// The envelopes up to an entry, as they were before anything was erased.
    pub(super) fn envelopes_upto(&self, last: LogIndex) -> impl Iterator<Item = Envelope> {
        let entries = self.entries.iter().take_while(move |entry| entry.index <= last);
        entries.filter_map(|entry| envelope(entry).ok().flatten())
    }

    fn fold(
        &mut self,
        index: LogIndex,
        envelope: &Envelope,
        observations: &mut Observations,
    ) -> Result<(), Violation> {
        ensure(self.last_accepted_at < envelope.accepted_at, Checker::Time, || {
            format!("entry {index} at {} after {}", envelope.accepted_at, self.last_accepted_at)
        })?;
        self.last_accepted_at = envelope.accepted_at;
        if envelope.command != HOUSEKEEPING {
            once(&mut self.commands, envelope.command, index, || format!("command {}", envelope.command))?;
        }
        if let Some(wish) = envelope.events.first().and_then(|recorded| wish_of(&recorded.event)) {
            once(&mut self.wishes, wish, index, || format!("wish {}", wish.0))?;
        }
        for recorded in &envelope.events {
            if let Some(number) = observation_of(&recorded.event) {
                observations.recorded(envelope.origin.host, number, index)?;
            }
            if let Event::Host(HostEvent::SpoolDropped(dropped)) = &recorded.event {
                observations.lost(dropped);
            }
            if let Event::Chapter(ChapterEvent::Erased(_)) = &recorded.event {
                self.erased_at = index;
            }
        }
        self.model.evolve(index, envelope);
        self.views.evolve(index, envelope);
        Ok(())
    }

    /// The state hash of models folded anew from the whole log.
    pub(super) fn rebuild(&self) -> [u8; 32] {
        let (mut model, mut views) = (Model::default(), ReadModels::default());
        for entry in &self.entries {
            if let Ok(Some(envelope)) = envelope(entry) {
                model.evolve(entry.index, &envelope);
                views.evolve(entry.index, &envelope);
            }
        }
        projections::state_hash(&model, &views)
    }
}

fn once<K: Ord>(
    seen: &mut BTreeMap<K, LogIndex>,
    key: K,
    index: LogIndex,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    match seen.insert(key, index) {
        None => Ok(()),
        Some(first) => {
            Err(Violation::new(Checker::Once, format!("{} took effect at {first} and {index}", what())))
        }
    }
}

fn place(index: LogIndex) -> Option<usize> {
    index.get().checked_sub(1).and_then(|place| usize::try_from(place).ok())
}

/// The wish that an event carries in its actor's name.
fn wish_of(event: &Event) -> Option<WishNumber> {
    let by = match event {
        Event::Denylist(event) => match event {
            DenylistEvent::AddressBlocked(blocked) => match &blocked.reason {
                BlockReason::Manual { by, note: _ } => by,
                BlockReason::Attack { .. } => return None,
            },
            DenylistEvent::AddressReleased(released) => match &released.cause {
                ReleaseCause::Manual { by } => by,
                ReleaseCause::Expired => return None,
            },
            DenylistEvent::AddressDenied(denied) => match &denied.reason {
                DenyReason::Manual { by, note: _ } => by,
                DenyReason::Threshold { .. } => return None,
            },
            DenylistEvent::AddressAllowed(allowed) => &allowed.by,
        },
        Event::Settings(SettingsEvent::Changed(changed)) => &changed.by,
        Event::Host(HostEvent::Removed(removed)) => &removed.by,
        Event::Membership(MembershipEvent::TokenIssued(issued)) => &issued.by,
        Event::Attack(_) | Event::Host(_) => return None,
        Event::Membership(_) | Event::Chapter(_) | Event::Erased(_) => return None,
    };
    match by {
        Actor::System => None,
        Actor::Administrator(name) => name.visible().strip_prefix("wish-")?.parse().ok().map(WishNumber),
    }
}

/// The observation that an event carries: see [`crate::workload`].
fn observation_of(event: &Event) -> Option<ObservationNumber> {
    match event {
        Event::Attack(AttackEvent::Observed(attack)) => ObservationNumber::of_attack(attack),
        Event::Attack(AttackEvent::Noted(noted)) => ObservationNumber::of_text(&noted.user_agent.visible()),
        Event::Attack(AttackEvent::StrikesCounted(counted)) => ObservationNumber::of_strikes(counted),
        Event::Denylist(_) | Event::Settings(_) | Event::Host(_) => None,
        Event::Membership(_) | Event::Chapter(_) | Event::Erased(_) => None,
    }
}
