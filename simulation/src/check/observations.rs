//! What hosts saw, and what of it the log has.

use std::collections::{BTreeMap, BTreeSet};

use log_format::event::SpoolDropped;
use log_format::ids::{HostId, LogIndex, OriginSequence};
use log_format::spool::{Priority, SpoolRecord};
use palisade::node::wire;
use projections::decide::CommandBody;

use super::{Checker, Violation, ensure};
use crate::host::{Health, Host, Life};
use crate::workload::ObservationNumber;

/// Missing observations that are told in words.
const TOLD: usize = 4;

#[derive(Default)]
pub(super) struct Observations {
    made: BTreeMap<ObservationNumber, (HostId, Life)>,
    recorded: BTreeMap<ObservationNumber, LogIndex>,
    /// The last one recorded of each host.
    last: BTreeMap<HostId, ObservationNumber>,
    /// What was said to be on a host's disk: it is owed whatever becomes of the process.
    spooled: BTreeMap<ObservationNumber, Spooled>,
    /// What a full spool did not take: the process has it in memory, if there is room.
    refused: BTreeMap<ObservationNumber, Spooled>,
    /// What hosts said that they lost.
    lost: Vec<(HostId, OriginSequence, OriginSequence)>,
    /// Hosts of whose spools sectors have gone bad.
    spoiled: BTreeSet<HostId>,
}

#[derive(Debug)]
struct Spooled {
    host: HostId,
    sequence: OriginSequence,
    priority: Priority,
}

/// Whether the spool took a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is on the disk.
    There,
    /// The spool was full.
    None,
}

/// The number that a record of the spool carries.
fn number_of(record: &SpoolRecord) -> Option<ObservationNumber> {
    let body = wire::decode_command(&record.bytes).ok()?.body;
    if let CommandBody::ReportAttack(attack) = &body {
        return ObservationNumber::of_attack(attack);
    }
    if let CommandBody::Note(noted) = &body {
        return ObservationNumber::of_text(&noted.user_agent.visible());
    }
    if let CommandBody::CountStrikes(strikes) = &body {
        return ObservationNumber::of_strikes(strikes);
    }
    None
}

impl Observations {
    pub(super) fn made(&mut self, host: HostId, life: Life, number: ObservationNumber) {
        self.made.insert(number, (host, life));
    }

    pub(super) fn recorded(
        &mut self,
        host: HostId,
        number: ObservationNumber,
        index: LogIndex,
    ) -> Result<(), Violation> {
        let by = self.made.get(&number).map(|(host, _)| *host);
        ensure(by == Some(host), Checker::Observations, || {
            format!("entry {index} has observation {} of host {by:?} as host {host}'s", number.0)
        })?;
        if let Some(first) = self.recorded.insert(number, index) {
            let detail = format!("observation {} took effect at {first} and {index}", number.0);
            return Err(Violation::new(Checker::Once, detail));
        }
        let last = self.last.insert(host, number);
        ensure(last.is_none_or(|last| last < number), Checker::Observations, || {
            format!("host {host}'s observation {} comes after {last:?}", number.0)
        })
    }

    /// A record is on a host's disk, says its spool; or there was no room for it.
    pub(super) fn spooled(
        &mut self,
        host: HostId,
        record: &SpoolRecord,
        room: Room,
    ) -> Result<(), Violation> {
        let SpoolRecord { sequence, priority, .. } = *record;
        let Some(number) = number_of(record) else {
            let detail = format!("host {host} spools as {sequence} what nobody saw");
            return Err(Violation::new(Checker::Observations, detail));
        };
        let of = match room {
            Room::There => &mut self.spooled,
            Room::None => &mut self.refused,
        };
        of.insert(number, Spooled { host, sequence, priority });
        Ok(())
    }

    /// The log says that a host lost these.
    pub(super) fn lost(&mut self, dropped: &SpoolDropped) {
        self.lost.push((dropped.host, dropped.from, dropped.to));
    }

    /// What processes saw that still live, or what is on a disk that can be read, and the log does not have. A full spool
    /// may have dropped strikes, or have taken nothing, if the host says so.
    pub(super) fn missing(
        &self,
        hosts: &BTreeMap<HostId, Host>,
        is_owed: &dyn Fn(HostId) -> bool,
    ) -> Vec<ObservationNumber> {
        let is_missing = |number: &ObservationNumber| !self.recorded.contains_key(number);
        let is_said = |number: &ObservationNumber| {
            self.refused.get(number).is_some_and(|refused| self.is_lost(refused))
        };
        let seen = self.made.iter().filter(|(number, (host, life))| {
            is_missing(number)
                && is_owed(*host)
                && !is_said(number)
                && !self.spooled.contains_key(number)
                && hosts.get(host).is_some_and(|host| host.is_life(*life))
        });
        let is_readable = |host: &Host| host.health != Health::Lost;
        let spooled = self.spooled.iter().filter(|(number, spooled)| {
            is_missing(number)
                && is_owed(spooled.host)
                && hosts.get(&spooled.host).is_some_and(is_readable)
                && !(self.may_lose(spooled) && self.is_lost(spooled))
        });
        let seen = seen.map(|(number, _)| *number);
        seen.chain(spooled.map(|(number, _)| *number)).collect()
    }

    /// A full spool drops strikes, and a damaged one whatever stood there.
    fn may_lose(&self, spooled: &Spooled) -> bool {
        spooled.priority == Priority::Observation || self.spoiled.contains(&spooled.host)
    }

    /// Sectors of a host's spool have gone bad.
    pub(super) fn spool_spoiled(&mut self, host: HostId) {
        self.spoiled.insert(host);
    }

    pub(super) fn describe(&self, missing: &[ObservationNumber]) -> String {
        let told = missing.iter().take(TOLD);
        let told: Vec<_> =
            told.map(|number| (number.0, self.made.get(number), self.spooled.get(number))).collect();
        format!("{} missing: {told:?}", missing.len())
    }

    fn is_lost(&self, spooled: &Spooled) -> bool {
        let Spooled { host, sequence, .. } = spooled;
        self.lost.iter().any(|(of, from, to)| of == host && (from..=to).contains(&sequence))
    }
}
