//! What must be dropped and what may not be, by a naive reading of the log that shares nothing with the product's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::{DenyReason, DenylistEvent, Event, HostEvent, Sanction};
use log_format::ids::HostId;
use log_format::time::Timestamp;
use projections::decide::Model;
use projections::plan::firewall::{self, FirewallPlan};

use super::{Checker, Violation, ensure};
use crate::host::Host;

/// The workload lists single addresses only.
#[derive(Default)]
pub(super) struct Protection {
    /// Until when each address is allowed; `None`: for good.
    allowed: BTreeMap<IpAddr, Option<Timestamp>>,
    /// Denied for good, and whether a person said so.
    denied: BTreeMap<IpAddr, bool>,
    blocks: BTreeMap<IpAddr, Vec<(Sanction, Timestamp)>>,
    /// The hosts' own.
    own: BTreeMap<HostId, BTreeSet<IpAddr>>,
}

impl Protection {
    pub(super) fn fold(&mut self, envelope: &Envelope) {
        for recorded in &envelope.events {
            match &recorded.event {
                Event::Denylist(event) => self.fold_denylist(event),
                Event::Host(HostEvent::Enrolled(host)) => {
                    self.own.insert(host.host, host.addresses.iter().copied().collect());
                }
                Event::Host(HostEvent::Removed(removed)) => drop(self.own.remove(&removed.host)),
                Event::Host(_) | Event::Attack(_) | Event::Settings(_) => {}
                Event::Membership(_) | Event::Chapter(_) | Event::Erased(_) => {}
            }
        }
    }

    fn fold_denylist(&mut self, event: &DenylistEvent) {
        match event {
            DenylistEvent::AddressBlocked(blocked) => {
                self.blocks.entry(blocked.source).or_default().push((blocked.sanction, blocked.until));
            }
            DenylistEvent::AddressReleased(released) => {
                self.blocks.remove(&released.source);
                self.denied.remove(&released.source);
            }
            DenylistEvent::AddressDenied(denied) => {
                let is_manual = matches!(denied.reason, DenyReason::Manual { .. });
                self.blocks.remove(&denied.network.addr());
                self.denied.insert(denied.network.addr(), is_manual);
            }
            DenylistEvent::AddressAllowed(allowed) => {
                self.blocks.remove(&allowed.network.addr());
                self.allowed.insert(allowed.network.addr(), allowed.until);
            }
        }
    }

    fn is_allowed(&self, address: &IpAddr, now: Timestamp) -> bool {
        self.allowed.get(address).is_some_and(|until| until.is_none_or(|until| now < until))
    }

    fn is_untouchable(&self, address: &IpAddr) -> bool {
        address.is_loopback() || self.own.values().any(|own| own.contains(address))
    }

    /// The strongest block, and of those the one that ends last; softly or not.
    fn blocked(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, Sanction, Timestamp)> {
        let is_open = move |address: &IpAddr| {
            !self.is_untouchable(address)
                && !self.is_allowed(address, now)
                && !self.denied.contains_key(address)
        };
        let open = self.blocks.iter().filter(move |(address, _)| is_open(address));
        open.filter_map(move |(address, blocks)| {
            let live = blocks.iter().filter(|(_, until)| now < *until);
            live.max().map(|(sanction, until)| (*address, *sanction, *until))
        })
    }

    /// Compares the product's plan at the time of the log's last entry: by that time the log forgets what has ended,
    /// which a host with a slow clock may still take for live.
    pub(super) fn look(&self, host: HostId, model: &Model) -> Result<(), Violation> {
        let now = model.last_accepted_at();
        let plan = firewall::desired(model, now);
        let of = |soft: bool| -> BTreeMap<IpAddr, Timestamp> {
            let some =
                self.blocked(now).filter(|(_, sanction, _)| (*sanction <= Sanction::SoftBlock) == soft);
            some.map(|(address, _, until)| (address, until)).collect()
        };
        same(host, "blocks", &plan.blocked, &of(false))?;
        same(host, "softly blocks", &plan.soft_blocked, &of(true))?;
        let in_force =
            |(address, is_manual): &(&IpAddr, &bool)| **is_manual || !self.is_allowed(address, now);
        let denied = self.denied.iter().filter(in_force).map(|(address, _)| IpNet::from(*address));
        same(host, "denies", &plan.denied, &denied.collect())?;
        let allowed = self.allowed.keys().filter(|address| self.is_allowed(address, now));
        same(host, "allows", &plan.allowed, &allowed.map(|address| IpNet::from(*address)).collect())?;
        let never = self.own.values().flatten().map(|address| IpNet::from(*address)).collect();
        same(host, "never blocks", &plan.never_block, &never)
    }

    /// Once everything is at rest: the kernel, brought there change by change, holds what the whole plan says.
    pub(super) fn look_at_kernel(id: HostId, host: &Host) -> Result<(), Violation> {
        let (Some(node), Some(kernel)) = (host.node(), host.kernel()) else { return Ok(()) };
        let model = node.model();
        let now = model.last_accepted_at();
        let (desired, kernel) = (live(firewall::desired(model, now), now), live(kernel.clone(), now));
        // What begins to hold because something stronger ended by itself comes with the next convergence.
        let softly =
            |(address, until): (&IpAddr, &Timestamp)| desired.soft_blocked.get(address) == Some(until);
        let is_right = desired.blocked == kernel.blocked
            && kernel.soft_blocked.iter().all(softly)
            && kernel.denied.is_subset(&desired.denied);
        ensure(is_right, Checker::Kernel, || {
            format!("host {id}'s kernel drops {kernel:?}, the plan says {desired:?}")
        })
    }
}

/// The kernel ends blocks by itself.
fn live(mut plan: FirewallPlan, now: Timestamp) -> FirewallPlan {
    plan.blocked.retain(|_, until| now < *until);
    plan.soft_blocked.retain(|_, until| now < *until);
    plan
}

fn same<T: PartialEq + std::fmt::Debug>(
    host: HostId,
    what: &str,
    product: &T,
    naive: &T,
) -> Result<(), Violation> {
    ensure(product == naive, Checker::Protection, || {
        format!("host {host} {what} {product:?}; the log says {naive:?}")
    })
}
