//! Read models: folds of the log that people query. They answer for any `now`, so a row whose time is over is
//! gone before the log says so.

mod attacks;
mod denylist;
mod explain;
mod filter;
mod history;
mod hosts;
mod notes;
mod sentence;
mod settings;
mod summary;
mod tokens;

use std::net::IpAddr;

use log_format::envelope::{Envelope, Recorded};
use log_format::event::{AttackEvent, DenylistEvent, Event, HostEnrolled, HostEvent, Text};
use log_format::ids::{BlockId, LogIndex, Position};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use attacks::{ATTACKS_KEPT_FOR, AttackLog, AttackQuery, AttackRow, MAX_ATTACKS};
pub use denylist::{
    AllowedRow, AttackReason, DenylistCounts, DenylistQuery, DenylistRow, DenylistSort, DenylistView, Reason,
    SortOrder,
};
pub use explain::{Explanation, MAX_SHOWN};
pub use filter::{Found, Page, TextFilter};
pub use history::{AttackHistory, MAX_ATTACK_COUNTS};
pub use hosts::{HostRow, HostsView};
pub use notes::{MAX_NOTES, NoteLog, NoteRow};
pub use settings::{LastChange, SettingsView};
pub use summary::{KindCount, MAX_LATEST_BLOCKS, PULSE_MINUTES, Summary, SummaryView};
pub use tokens::JoinTokensView;

use self::history::Erasure;
use crate::address::{Untouchable, canonical, special};
use crate::decide::Model;
use crate::decide::order::Held;
use crate::digest::{Canonical, CanonicalHasher};

/// Everything that people see of the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReadModels {
    /// Who is dropped, and who never is.
    pub denylist: DenylistView,
    /// What was seen.
    pub attacks: AttackLog,
    /// What was worth telling besides.
    pub notes: NoteLog,
    /// The hosts.
    pub hosts: HostsView,
    /// The settings.
    pub settings: SettingsView,
    /// What stays of attacks whose data is erased.
    pub history: AttackHistory,
    /// The join tokens that are open.
    pub tokens: JoinTokensView,
    summary: SummaryView,
    applied: LogIndex,
    last_accepted_at: Timestamp,
}

impl ReadModels {
    /// Folds one committed entry. Entries come in log order, each once.
    pub fn evolve(&mut self, index: LogIndex, envelope: &Envelope) {
        let at = envelope.accepted_at;
        #[cfg(bug = "hash_order")]
        if log_format::planted::is_on("hash_order") {
            let unordered: std::collections::HashMap<u16, &Recorded> =
                (0..=u16::MAX).zip(&envelope.events).collect();
            for (ordinal, recorded) in unordered {
                self.evolve_event(Position { index, ordinal }, envelope, recorded);
            }
            self.applied = index;
            self.last_accepted_at = self.last_accepted_at.max(at);
            return;
        }
        for (ordinal, recorded) in (0..=u16::MAX).zip(&envelope.events) {
            self.evolve_event(Position { index, ordinal }, envelope, recorded);
        }
        self.attacks.forget_before(at);
        self.notes.forget_before(at);
        self.applied = index;
        self.last_accepted_at = self.last_accepted_at.max(at);
    }

    fn evolve_event(&mut self, position: Position, envelope: &Envelope, recorded: &Recorded) {
        let (index, at) = (position.index, envelope.accepted_at);
        let Recorded { observed_at, salt: _, event } = recorded;
        match event {
            Event::Attack(AttackEvent::Observed(observed)) => {
                let times = (at, *observed_at);
                self.attacks.add(AttackRow::new(position, times, envelope.origin.host, observed));
                self.summary.count_attack(observed.attack, at);
            }
            Event::Attack(AttackEvent::Noted(noted)) => {
                let (host, observed_at) = (envelope.origin.host, *observed_at);
                self.notes.add(NoteRow { id: position, at, observed_at, host, noted: noted.clone() });
            }
            Event::Attack(AttackEvent::StrikesCounted(_)) => {} // Not yet an attack.
            Event::Denylist(event) => {
                let command = BlockId::new(envelope.command.get());
                self.note_latest(command, event);
                self.denylist.evolve(denylist::Entry { index, command, at, envelope }, event);
            }
            Event::Settings(event) => self.settings.evolve(index, at, event),
            Event::Host(event) => {
                self.hosts.evolve(index, at, event);
                if let HostEvent::Enrolled(HostEnrolled { host, token: Some(token), .. }) = event {
                    self.tokens.used(*token, *host);
                }
            }
            Event::Chapter(event) => {
                if let Some(Erasure { last, until }) = self.history.evolve(event, at) {
                    self.attacks.erase_upto(last);
                    self.notes.erase_upto(last);
                    self.denylist.erase_upto(last);
                    self.summary.erase_upto(until);
                }
            }
            Event::Membership(event) => self.tokens.evolve(event, at),
            Event::Erased(_) => {}
        }
    }

    fn note_latest(&mut self, command: BlockId, event: &DenylistEvent) {
        match event {
            DenylistEvent::AddressBlocked(event) => self.summary.note_block(event.source, event.block),
            DenylistEvent::AddressDenied(event) => self.summary.note_block(event.network.addr(), command),
            DenylistEvent::AddressReleased(_) | DenylistEvent::AddressAllowed(_) => {}
        }
    }

    /// What is held about an address, and about one of its ports if one is named: the same as
    /// [`Model::held`](crate::decide::Model::held) of the same log.
    pub fn held(&self, address: IpAddr, port: Option<u16>, now: Timestamp) -> Held {
        let address = canonical(address);
        let never = special(address).or_else(|| self.hosts.owner(address).map(Untouchable::Host));
        match never {
            Some(_) => Held { never, ..Held::default() },
            None => self.denylist.held(address, port, now),
        }
    }

    /// The figures at `now`, with at most `latest` of the newest blocks.
    pub fn summary(&self, now: Timestamp, latest: usize) -> Summary<'_> {
        self.summary.figures(&self.denylist, &self.attacks, now, latest)
    }

    /// The last entry folded.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The time of the last entry folded.
    pub fn last_accepted_at(&self) -> Timestamp {
        self.last_accepted_at
    }

    /// Adds the state's canonical bytes.
    pub(crate) fn digest_into(&self, out: &mut CanonicalHasher) {
        let Self {
            denylist,
            attacks,
            notes,
            hosts,
            settings,
            history,
            tokens,
            summary,
            applied,
            last_accepted_at,
        } = self;
        denylist.put(out);
        attacks.put(out);
        notes.put(out);
        hosts.put(out);
        settings.put(out);
        history.put(out);
        tokens.put(out);
        summary.put(out);
        applied.put(out);
        last_accepted_at.put(out);
    }
}

/// What the attacker's user agent said of itself, told by the attack that stands beside a block in its entry. A block
/// does not repeat it, so that it goes when the attack's data is erased.
pub fn attacker_said(envelope: &Envelope, source: IpAddr) -> Option<&Text> {
    let mut attacks = envelope.events.iter().filter_map(|recorded| match &recorded.event {
        Event::Attack(AttackEvent::Observed(observed)) if observed.source == source => Some(observed),
        Event::Attack(_) | Event::Denylist(_) | Event::Settings(_) | Event::Host(_) => None,
        Event::Membership(_) | Event::Chapter(_) | Event::Erased(_) => None,
    });
    attacks.next().map(|observed| &observed.user_agent)
}

/// The fingerprint of everything folded: equal on all hosts at equal index.
pub fn state_hash(model: &Model, views: &ReadModels) -> [u8; 32] {
    CanonicalHasher::of(|out| {
        model.digest_into(out);
        views.digest_into(out);
    })
}
