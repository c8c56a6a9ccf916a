//! Several blocks wished at once: in the log there are all of them, in one entry, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use log_format::envelope::Envelope;
use log_format::event::{DenylistEvent, Event};
use log_format::ids::{CommandId, LogIndex};
use projections::decide::CommandBody;

use super::{Checker, Violation, ensure};
use crate::workload::Wish;

/// What was wished, under every id under which it was.
#[derive(Default)]
pub(super) struct Batches {
    asked: BTreeMap<CommandId, Vec<IpAddr>>,
}

impl Batches {
    pub(super) fn note(&mut self, wish: &Wish) {
        if let CommandBody::BlockAddresses { items, .. } = &wish.body {
            self.asked.insert(wish.id, items.iter().map(|item| item.source).collect());
        }
    }

    /// A host has applied an entry.
    pub(super) fn look(&self, index: LogIndex, envelope: &Envelope) -> Result<(), Violation> {
        let Some(asked) = self.asked.get(&envelope.command) else { return Ok(()) };
        let blocks = envelope.events.iter().filter_map(|recorded| match &recorded.event {
            Event::Denylist(DenylistEvent::AddressBlocked(blocked)) => Some((blocked.source, blocked.block)),
            Event::Denylist(_) | Event::Attack(_) | Event::Settings(_) | Event::Host(_) => None,
            Event::Membership(_) | Event::Chapter(_) | Event::Erased(_) => None,
        });
        let (sources, ids): (Vec<IpAddr>, BTreeSet<_>) = blocks.unzip();
        let is_all = sources == *asked && ids.len() == asked.len() && envelope.events.len() == asked.len();
        ensure(is_all, Checker::Batches, || {
            format!("entry {index} blocks {sources:?}, of a batch that asked for {asked:?}")
        })
    }
}
