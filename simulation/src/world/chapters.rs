//! What a host's chapters thread does.

use std::time::Duration;

use log_format::ids::{ChapterNumber, HostId, LogIndex};
use palisade::spooling::SpoolOrder;

use super::{Event, World};
use crate::host::Host;
use crate::workshop::ChapterOrder;

/// A chapter is sealed or erased within this time.
const WORK_WITHIN: Duration = Duration::from_millis(400);
/// After a failed attempt the next comes so much later, as the thread has it.
const TRY_AGAIN: Duration = Duration::from_secs(5);

impl World {
    /// Gives a host's chapters thread an order.
    pub(super) fn order_chapters(&mut self, id: HostId, order: ChapterOrder) {
        self.trace.line(self.now, format_args!("host {id}: {order:?}"));
        if let Some(host) = self.hosts.get_mut(&id) {
            host.workshop.order(order);
        }
        self.wake_workshop(id);
    }

    /// Old attacks go, also those that wait for nothing in the spool any more.
    pub(super) fn order_erasure(&mut self, id: HostId, upto: ChapterNumber) {
        if let Some(host) = self.hosts.get_mut(&id) {
            let applied = host.applied();
            host.erases_since.get_or_insert(applied);
        }
        self.order_spool(id, SpoolOrder::LeaveBehind);
        self.order_chapters(id, ChapterOrder::Erase(upto));
    }

    /// A host's log may begin later.
    pub(super) fn order_retirement(&mut self, id: HostId, below: LogIndex, erased: LogIndex) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.drive.retire(below, erased);
        }
    }

    fn wake_workshop(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_up()) else { return };
        if host.workshop.take() {
            let life = host.life();
            let after = self.prng.up_to(WORK_WITHIN);
            self.schedule(after, Event::WorkshopFinishes(id, life));
        }
    }

    pub(super) fn workshop_finishes(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let life = host.life();
        match host.workshop.finish() {
            Ok(input) => {
                self.trace.line(self.now, format_args!("host {id}: work on chapters done"));
                input.into_iter().for_each(|input| self.offer(id, input));
                self.wake_workshop(id);
            }
            Err(error) => {
                self.trace.line(self.now, format_args!("host {id}: work on chapters failed: {error}"));
                self.schedule(TRY_AGAIN, Event::WorkshopFinishes(id, life));
            }
        }
    }

    /// Whether no living host has work on chapters left.
    pub(super) fn is_workless(&self) -> bool {
        self.hosts.values().filter(|host| host.is_up()).all(|host: &Host| host.workshop.is_idle())
    }
}
