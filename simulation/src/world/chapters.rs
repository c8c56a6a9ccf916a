//! What a host's chapters thread does.

use std::time::Duration;

use log_format::ids::{ChapterNumber, HostId, LogIndex};
use palisade::node::Input;
use palisade::spooling::SpoolOrder;

use super::{Event, World};
use crate::host::Host;
use crate::workshop::{ChapterOrder, Other, Progress};

/// A chapter is sealed or erased within this time.
const WORK_WITHIN: Duration = Duration::from_millis(400);
/// A part of a chapter is fetched within this time: far sooner than the others write one, or a host would never catch up.
const FETCH_WITHIN: Duration = Duration::from_millis(40);
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
            self.work_on(id);
        }
    }

    /// The next step of the work under way begins.
    fn work_on(&mut self, id: HostId) {
        self.meet(id);
        let Some(host) = self.hosts.get(&id) else { return };
        let (life, fetches) = (host.life(), host.workshop.fetches_from().is_some());
        let after = self.prng.up_to(if fetches { FETCH_WITHIN } else { WORK_WITHIN });
        self.schedule(after, Event::WorkshopFinishes(id, life));
    }

    /// Looks whether the host that gives chapters can be reached, if there is one.
    fn meet(&mut self, id: HostId) {
        let from = self.hosts.get(&id).and_then(|host| host.workshop.fetches_from());
        let other = from.and_then(|from| self.donor(id, from)).and_then(|from| {
            let (disk, data) = self.hosts.get(&from)?.drive.place();
            Some(Other { host: from, disk: disk.clone(), data: data.to_owned() })
        });
        if let Some(host) = self.hosts.get_mut(&id) {
            host.workshop.meet(other);
        }
    }

    /// The first host that can be reached and was not asked in vain, of the one that sent the snapshot and all that are known.
    fn donor(&mut self, id: HostId, from: HostId) -> Option<HostId> {
        let host = self.hosts.get(&id)?;
        let known: Vec<HostId> =
            host.peers().filter(|peer| *peer != id && !host.workshop.was_refused_by(*peer)).collect();
        let first = known.iter().copied().filter(|peer| *peer == from);
        let others = known.iter().copied().filter(|peer| *peer != from);
        first.chain(others).find(|peer| self.is_connected(id, *peer))
    }

    /// Whether a connection between two hosts holds just now.
    fn is_connected(&mut self, one: HostId, other: HostId) -> bool {
        let speaks =
            |from: HostId, to: HostId| self.hosts.get(&from).is_some_and(|host| host.speaks_with(to));
        let now = self.now;
        speaks(one, other) && speaks(other, one) && self.network.connects(now, one, other)
    }

    pub(super) fn workshop_finishes(&mut self, id: HostId) {
        self.meet(id);
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let (life, fetches) = (host.life(), host.workshop.fetches_from());
        let finished = host.workshop.finish();
        if let Ok(Progress::Working | Progress::Done(Some(Input::Fetched { .. }))) = finished {
            self.figures.fetched += u64::from(fetches.is_some());
        }
        match finished {
            Ok(Progress::Working) => self.work_on(id),
            Ok(Progress::Done(input)) => {
                self.trace.line(self.now, format_args!("host {id}: work on chapters done: {input:?}"));
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
        self.members
            .iter()
            .filter_map(|id| self.hosts.get(id))
            .all(|host: &Host| !host.is_up() || host.workshop.is_idle())
    }
}
