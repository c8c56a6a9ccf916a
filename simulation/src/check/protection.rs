//! What may not be blocked, by a naive reading of the log that shares nothing with the product's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::{DenylistEvent, Event};
use log_format::ids::HostId;
use log_format::time::Timestamp;
use projections::decide::Model;
use projections::plan::firewall;

use super::{Checker, Violation, ensure};
use crate::host::{HOSTS, address_of};

/// Until when each address is allowed; `None`: for good.
#[derive(Default)]
pub(super) struct Protection {
    allowed: BTreeMap<IpAddr, Option<Timestamp>>,
}

impl Protection {
    pub(super) fn fold(&mut self, envelope: &Envelope) {
        for recorded in &envelope.events {
            if let Event::Denylist(DenylistEvent::AddressAllowed(allowed)) = &recorded.event {
                // The workload allows single addresses only; a later allowance takes the place of an earlier one.
                self.allowed.insert(allowed.network.addr(), allowed.until);
            }
        }
    }

    /// Looks at the plan at the time of the log's last entry: by that time the log forgets allowances that have ended,
    /// which a host with a slow clock may still take for live.
    pub(super) fn look(&self, host: HostId, model: &Model) -> Result<(), Violation> {
        let now = model.last_accepted_at();
        let plan = firewall::desired(model, now);
        let drops =
            |address: &IpAddr| plan.blocked.contains_key(address) || plan.soft_blocked.contains_key(address);
        let is_denied = |address: &IpAddr| plan.denied.iter().any(|network| network.contains(address));
        let never = HOSTS.map(address_of).into_iter().chain([IpAddr::from([127, 0, 0, 1])]);
        for address in never {
            ensure(!drops(&address) && !is_denied(&address), Checker::Protection, || {
                format!("host {host} plans to drop {address}, which is never blocked")
            })?;
        }
        for (address, until) in &self.allowed {
            let is_allowed = until.is_none_or(|until| now < until);
            // A denial of the same length yields to the allowance in the kernel too, where both are listed.
            let yields = plan.allowed.contains(&IpNet::from(*address));
            ensure(!is_allowed || (!drops(address) && yields), Checker::Protection, || {
                format!("host {host} plans to drop {address}, which is allowed until {until:?}")
            })?;
        }
        Ok(())
    }
}
