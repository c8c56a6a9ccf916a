//! What a host's spool does, and what is known of it afterwards.

use log_format::ids::HostId;
use log_format::spool::SpoolItem;
use palisade::node::{Input, Spooled};
use palisade::spooling::SpoolOrder;

use super::{Event, WRITER_IDLE, WRITER_WITHIN, World};
use crate::check::{Checker, Room, Violation};
use crate::host::Host;

impl World {
    /// Gives a host's spool an order.
    pub(super) fn order_spool(&mut self, id: HostId, order: SpoolOrder) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.spool.order(order);
        }
        self.wake_spool(id);
    }

    fn wake_spool(&mut self, id: HostId) {
        let Some(host) = self.hosts.get(&id).filter(|host| host.spool.wants_to_work()) else { return };
        let life = host.life();
        let after = self.prng.up_to(WRITER_WITHIN);
        self.schedule(after, Event::SpoolTakes(id, life));
    }

    pub(super) fn spool_takes(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.spool.wants_to_work()) else { return };
        host.spool.take();
        let life = host.life();
        let after = self.faults.sync_time();
        self.schedule(after, Event::SpoolFinishes(id, life));
    }

    pub(super) fn spool_finishes(&mut self, id: HostId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        let (down, doomed) = (host.down_after_write, host.drive.doomed());
        let finished = host.spool.finish();
        for record in &finished.durable {
            self.checks.spooled(id, record, Room::There)?;
        }
        for record in &finished.refused {
            self.checks.spooled(id, record, Room::None)?;
        }
        match (finished.result, doomed) {
            (Ok(()), _) => {}
            // The product ends the process after any error of the disk.
            (Err(_), Some(doom)) => {
                self.crash(id, doom.end(), down);
                return Ok(());
            }
            (Err(error), None) => {
                let detail = format!("host {id} cannot spool: {error:?}");
                return Err(Violation::new(Checker::Running, detail));
            }
        }
        let mut loses = !finished.refused.is_empty();
        for told in finished.told {
            if let Spooled::Read { items, .. } = &told {
                for gap in items.iter().filter(|item| matches!(item, SpoolItem::Dropped(_))) {
                    self.trace.line(self.now, format_args!("host {id}: its spool lost {gap:?}"));
                    loses = true;
                }
            }
            self.offer(id, Input::Spooled(told));
        }
        if let Some(host) = self.hosts.get_mut(&id).filter(|_| loses) {
            host.note_loss();
        }
        self.wake_spool(id);
        if let Some(life) = self.hosts.get(&id).map(Host::life) {
            self.schedule(WRITER_IDLE, Event::WriterIdles(id, life));
        }
        Ok(())
    }
}
