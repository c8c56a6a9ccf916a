//! Messages of the live stream, from events of the log.

use std::net::IpAddr;

use log_format::envelope::Envelope;
use log_format::event::{
    AddressAllowed, AddressReleased, AttackEvent, DenylistEvent, Event, ReleaseCause, SettingsChanged,
    SettingsEvent,
};
use log_format::ids::{LogIndex, Position};
use serde::Serialize;

use super::attack::{self, Attack};
use super::block::{Block, Entry, Facts, Surroundings, actor_name, address_text};

/// One message.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Message {
    Attack(Attack),
    Block(Block),
    Release(Release),
    Denied(Block),
    Allowed(Allowed),
    Settings(Settings),
}

/// An address is free again.
#[derive(Debug, Serialize)]
pub(crate) struct Release {
    address: IpAddr,
    cause: &'static str,
    by: Option<String>,
    log_index: u64,
}

/// An address or network is never dropped.
#[derive(Debug, Serialize)]
pub(crate) struct Allowed {
    network: String,
    until: Option<String>,
    by: String,
    note: String,
    log_index: u64,
}

/// Somebody changed the settings.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    by: String,
    log_index: u64,
}

/// The messages of one entry, in its order.
pub(crate) fn messages<'a>(
    index: LogIndex,
    envelope: &'a Envelope,
    around: Surroundings<'a>,
) -> impl Iterator<Item = Message> + 'a {
    (0..).zip(&envelope.events).filter_map(move |(ordinal, recorded)| {
        let entry = Entry { index, envelope };
        let (position, host) = (Position { index, ordinal }, envelope.origin.host);
        let recorded_as =
            attack::Recorded { at: envelope.accepted_at, observed_at: recorded.observed_at, host };
        match &recorded.event {
            Event::Attack(AttackEvent::Observed(event)) => {
                let row = attack::row(event, position, recorded_as);
                Some(Message::Attack(Attack::new(&row, around.view)))
            }
            // Strikes are too many to show, and hosts are shown by their soft state.
            Event::Attack(AttackEvent::StrikesCounted(_) | AttackEvent::Noted(_)) | Event::Host(_) => None,
            Event::Membership(_) | Event::Chapter(_) | Event::Erased(_) => None,
            Event::Denylist(event) => Some(listed(event, entry, around)),
            Event::Settings(SettingsEvent::Changed(SettingsChanged { by, changes: _ })) => {
                Some(Message::Settings(Settings { by: actor_name(by), log_index: index.get() }))
            }
        }
    })
}

fn listed(event: &DenylistEvent, entry: Entry<'_>, around: Surroundings<'_>) -> Message {
    match event {
        DenylistEvent::AddressBlocked(event) => {
            Message::Block(Block::new(Facts::of_blocked(event, entry), around))
        }
        DenylistEvent::AddressReleased(event) => Message::Release(release(event, entry.index)),
        DenylistEvent::AddressDenied(event) => {
            Message::Denied(Block::new(Facts::of_denied(event, entry), around))
        }
        DenylistEvent::AddressAllowed(event) => Message::Allowed(allow(event, entry.index)),
    }
}

fn release(AddressReleased { source, cause }: &AddressReleased, index: LogIndex) -> Release {
    let (cause, by) = match cause {
        ReleaseCause::Expired => ("expired", None),
        ReleaseCause::Manual { by } => ("manual", Some(actor_name(by))),
    };
    Release { address: *source, cause, by, log_index: index.get() }
}

fn allow(AddressAllowed { network, until, by, note }: &AddressAllowed, index: LogIndex) -> Allowed {
    Allowed {
        network: address_text(*network),
        until: until.map(|until| until.to_string()),
        by: actor_name(by),
        note: super::shown(note),
        log_index: index.get(),
    }
}
