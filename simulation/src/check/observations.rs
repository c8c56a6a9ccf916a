//! What hosts saw, and what of it the log has.

use std::collections::BTreeMap;

use log_format::ids::{HostId, LogIndex};

use super::{Checker, Violation, ensure};
use crate::host::{Host, Life};
use crate::workload::ObservationNumber;

#[derive(Default)]
pub(super) struct Observations {
    made: BTreeMap<ObservationNumber, (HostId, Life)>,
    recorded: BTreeMap<ObservationNumber, LogIndex>,
    /// The last one recorded of each host.
    last: BTreeMap<HostId, ObservationNumber>,
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

    /// What processes saw that still live, and what the log does not have.
    pub(super) fn missing(&self, hosts: &BTreeMap<HostId, Host>) -> Vec<ObservationNumber> {
        let owed = self.made.iter().filter(|(number, (host, life))| {
            !self.recorded.contains_key(number) && hosts.get(host).is_some_and(|host| host.is_life(*life))
        });
        owed.map(|(number, _)| *number).collect()
    }
}
