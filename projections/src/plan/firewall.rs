//! What the kernel of every host should hold, and how that changes from entry to entry.
//!
//! The plan is plain data; the firewall actuator converges the kernel with it. It holds what lives at a given
//! time: the kernel ends blocks by itself, so a plan that is a little old drops no address for longer than it
//! should.
//!
//! The actuator's order of decision is that of [`crate::decide::Verdict`]: never-block first; of allowed and
//! denied networks the longest prefix, of equals the allowed; then blocks, then soft blocks. Denials by the
//! threshold yield to every allowance, so the plan leaves those out that an allowance holds; so it does with networks that are
//! blocked for a time, which stand among the denied ones because only those sets hold networks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::{
    AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, DenylistEvent, EnforcementMode, Event,
    HostEvent, PortRange, Sanction, Scope, SettingChange, SettingsChanged, SettingsEvent,
};
use log_format::time::Timestamp;

use crate::book::networks_from;
use crate::decide::{DeniedBy, Model, Verdict, lasts};

/// What the kernel should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallPlan {
    /// Dropped until then.
    pub blocked: BTreeMap<IpAddr, Timestamp>,
    /// Dropped on SIP ports until then.
    pub soft_blocked: BTreeMap<IpAddr, Timestamp>,
    /// Single ports of an address, dropped on SIP ports until then.
    pub narrow: BTreeMap<IpAddr, BTreeMap<u16, Timestamp>>,
    /// Dropped until a person says otherwise; and networks of IPv6 that are blocked for a time, as long as that lasts.
    pub denied: BTreeSet<IpNet>,
    /// Never dropped, unless a longer prefix is denied.
    pub allowed: BTreeSet<IpNet>,
    /// Never dropped: the cluster's own hosts.
    pub never_block: BTreeSet<IpNet>,
    /// Where soft blocks apply.
    pub sip_ports: Vec<PortRange>,
    /// Whether anything is dropped at all.
    pub mode: EnforcementMode,
}

/// What the kernel should hold about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPlan {
    /// Nothing.
    Free,
    /// Drop on SIP ports.
    SoftBlocked {
        /// Until then.
        until: Timestamp,
    },
    /// Drop.
    Blocked {
        /// Until then.
        until: Timestamp,
    },
}

/// Whether a network belongs into a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It does.
    Listed,
    /// It does not.
    Absent,
}

/// What is to be different. Everything is a target, so applying a change twice, or to a plan that already has part of
/// it, is harmless.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirewallChange {
    /// Addresses and what to hold about each.
    pub addresses: BTreeMap<IpAddr, AddressPlan>,
    /// Addresses and which of their ports to drop; all that are not named are not dropped.
    pub narrow: BTreeMap<IpAddr, BTreeMap<u16, Timestamp>>,
    /// Networks to deny or no longer to deny.
    pub denied: BTreeMap<IpNet, Membership>,
    /// Networks to allow or no longer to allow.
    pub allowed: BTreeMap<IpNet, Membership>,
    /// All of the never-block list, if it is different.
    pub never_block: Option<BTreeSet<IpNet>>,
    /// The SIP ports, if they are different.
    pub sip_ports: Option<Vec<PortRange>>,
    /// The mode, if it is different.
    pub mode: Option<EnforcementMode>,
}

impl FirewallChange {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what changes after this: of two targets for the same thing the later one holds.
    pub fn merge(&mut self, later: Self) {
        let Self { addresses, narrow, denied, allowed, never_block, sip_ports, mode } = later;
        self.addresses.extend(addresses);
        self.narrow.extend(narrow);
        self.denied.extend(denied);
        self.allowed.extend(allowed);
        self.never_block = never_block.or_else(|| self.never_block.take());
        self.sip_ports = sip_ports.or_else(|| self.sip_ports.take());
        self.mode = mode.or(self.mode);
    }
}

impl FirewallPlan {
    /// Carries out a change.
    pub fn apply(&mut self, change: &FirewallChange) {
        let FirewallChange { addresses, narrow, denied, allowed, never_block, sip_ports, mode } = change;
        for (address, plan) in addresses {
            self.blocked.remove(address);
            self.soft_blocked.remove(address);
            match plan {
                AddressPlan::Free => {}
                AddressPlan::SoftBlocked { until } => drop(self.soft_blocked.insert(*address, *until)),
                AddressPlan::Blocked { until } => drop(self.blocked.insert(*address, *until)),
            }
        }
        for (address, ports) in narrow {
            self.narrow.remove(address);
            if !ports.is_empty() {
                self.narrow.insert(*address, ports.clone());
            }
        }
        apply_list(&mut self.denied, denied);
        apply_list(&mut self.allowed, allowed);
        if let Some(never_block) = never_block {
            self.never_block.clone_from(never_block);
        }
        if let Some(sip_ports) = sip_ports {
            self.sip_ports.clone_from(sip_ports);
        }
        self.mode = mode.unwrap_or(self.mode);
    }

    fn of_address(&self, address: IpAddr) -> AddressPlan {
        match (self.blocked.get(&address), self.soft_blocked.get(&address)) {
            (Some(until), _) => AddressPlan::Blocked { until: *until },
            (None, Some(until)) => AddressPlan::SoftBlocked { until: *until },
            (None, None) => AddressPlan::Free,
        }
    }
}

/// What the kernel should hold now, whole. Costs a walk over every list: for the start and for convergence.
pub fn desired(model: &Model, now: Timestamp) -> FirewallPlan {
    let mut plan = FirewallPlan {
        blocked: BTreeMap::new(),
        soft_blocked: BTreeMap::new(),
        narrow: BTreeMap::new(),
        denied: model
            .addresses
            .denied
            .iter()
            .filter(|(network, by)| is_in_force(model, *network, **by, now))
            .map(|(network, _)| network)
            .chain(model.addresses.blocks.networks().filter(|network| is_blocked(model, network, now)))
            .collect(),
        allowed: model
            .addresses
            .allowed
            .iter()
            .filter(|(_, until)| lasts(**until, now))
            .map(|(network, _)| network)
            .collect(),
        never_block: never_block(model),
        sip_ports: model.settings.sip_ports.clone(),
        mode: model.settings.mode,
    };
    for address in model.addresses.blocks.addresses() {
        match address_plan(model, address, now) {
            AddressPlan::Free => {}
            AddressPlan::SoftBlocked { until } => drop(plan.soft_blocked.insert(address, until)),
            AddressPlan::Blocked { until } => drop(plan.blocked.insert(address, until)),
        }
        let ports = narrow_plan(model, address, now);
        if !ports.is_empty() {
            plan.narrow.insert(address, ports);
        }
    }
    plan
}

/// What leads from one plan to the other.
pub fn difference(from: &FirewallPlan, to: &FirewallPlan) -> FirewallChange {
    let keys = |plan: &FirewallPlan| -> Vec<IpAddr> {
        plan.blocked.keys().chain(plan.soft_blocked.keys()).copied().collect()
    };
    let addresses = keys(from)
        .into_iter()
        .chain(keys(to))
        .filter(|address| from.of_address(*address) != to.of_address(*address));
    let narrow = from.narrow.keys().chain(to.narrow.keys());
    let narrow = narrow.filter(|address| from.narrow.get(*address) != to.narrow.get(*address));
    FirewallChange {
        narrow: narrow
            .map(|address| (*address, to.narrow.get(address).cloned().unwrap_or_default()))
            .collect(),
        addresses: addresses.map(|address| (address, to.of_address(address))).collect(),
        denied: list_difference(&from.denied, &to.denied),
        allowed: list_difference(&from.allowed, &to.allowed),
        never_block: (from.never_block != to.never_block).then(|| to.never_block.clone()),
        sip_ports: (from.sip_ports != to.sip_ports).then(|| to.sip_ports.clone()),
        mode: (from.mode != to.mode).then_some(to.mode),
    }
}

/// What one entry changes, once the model has folded it: cost grows with the entry, not with the lists.
///
/// Blocks that a wider network's denial or allowance ends may stay in the kernel until their own end: the network
/// decides before them. [`desired`] does not have them, so the next convergence takes them out.
pub fn changes_of(envelope: &Envelope, model: &Model) -> FirewallChange {
    let now = envelope.accepted_at;
    let mut change = FirewallChange::default();
    for recorded in &envelope.events {
        match &recorded.event {
            Event::Attack(_) => {}
            Event::Denylist(event) => change.note_denylist(event, model, now),
            Event::Settings(SettingsEvent::Changed(changed)) => change.note_settings(changed),
            Event::Host(HostEvent::Enrolled(_) | HostEvent::Removed(_)) => {
                change.never_block = Some(never_block(model));
            }
            Event::Host(
                HostEvent::Active(_)
                | HostEvent::Inactive(_)
                | HostEvent::KeyAnnounced(_)
                | HostEvent::SpoolDropped(_),
            ) => {}
            Event::Membership(_) | Event::Chapter(_) | Event::Erased(_) => {}
        }
    }
    change
}

impl FirewallChange {
    fn note_denylist(&mut self, event: &DenylistEvent, model: &Model, now: Timestamp) {
        match event {
            DenylistEvent::AddressBlocked(AddressBlocked { source, scope, .. }) => match scope {
                Scope::Address => self.note_address(*source, model, now),
                Scope::AddressPort(_) => self.note_ports(*source, model, now),
                Scope::Prefix(length) => {
                    let network = IpNet::new(*source, *length).map(|network| network.trunc());
                    network.iter().for_each(|network| self.note_denied(*network, model, now));
                }
            },
            #[cfg(bug = "release_not_enforced")]
            DenylistEvent::AddressReleased(_) if log_format::planted::is_on("release_not_enforced") => {}
            DenylistEvent::AddressReleased(AddressReleased { source, cause: _ }) => {
                self.note_address(*source, model, now);
                self.note_ports(*source, model, now);
                self.note_denied(IpNet::from(*source), model, now);
                for network in networks_from(*source) {
                    self.note_denied(network, model, now);
                }
            }
            DenylistEvent::AddressDenied(AddressDenied { network, reason: _ }) => {
                self.note_single(*network, model, now);
                self.note_denied(*network, model, now);
            }
            DenylistEvent::AddressAllowed(AddressAllowed { network, .. }) => {
                self.note_single(*network, model, now);
                self.allowed.insert(*network, Membership::Listed);
                let denied: Vec<IpNet> =
                    model.addresses.denied.within(network).map(|(denied, _)| denied).collect();
                let blocked: Vec<IpNet> = model.addresses.blocks.networks_within(network).collect();
                denied.into_iter().chain(blocked).for_each(|denied| self.note_denied(denied, model, now));
            }
        }
    }

    fn note_settings(&mut self, changed: &SettingsChanged) {
        for change in &changed.changes {
            match change {
                SettingChange::SipPorts(ports) => self.sip_ports = Some(ports.clone()),
                SettingChange::Mode(mode) => self.mode = Some(*mode),
                SettingChange::BadRegistrationsPerMinute(_)
                | SettingChange::BlockSeconds(_)
                | SettingChange::BlockThreshold(_)
                | SettingChange::BlockedUserAgents(_)
                | SettingChange::RuleMode { .. } => {}
            }
        }
    }

    fn note_address(&mut self, address: IpAddr, model: &Model, now: Timestamp) {
        self.addresses.insert(address, address_plan(model, address, now));
    }

    fn note_ports(&mut self, address: IpAddr, model: &Model, now: Timestamp) {
        self.narrow.insert(address, narrow_plan(model, address, now));
    }

    /// A network of one address may have had blocks.
    fn note_single(&mut self, network: IpNet, model: &Model, now: Timestamp) {
        if network.prefix_len() == network.max_prefix_len() {
            self.note_address(network.addr(), model, now);
            self.note_ports(network.addr(), model, now);
        }
    }

    fn note_denied(&mut self, network: IpNet, model: &Model, now: Timestamp) {
        let by = model.addresses.denied.get(&network);
        let is_listed =
            by.is_some_and(|by| is_in_force(model, network, *by, now)) || is_blocked(model, &network, now);
        self.denied.insert(network, if is_listed { Membership::Listed } else { Membership::Absent });
    }
}

/// What the kernel should hold about an address on its own, besides the networks that hold it.
fn address_plan(model: &Model, address: IpAddr, now: Timestamp) -> AddressPlan {
    let own = model.addresses.blocks.strongest(address, now);
    match (model.verdict(address, now), own) {
        (Verdict::Untouchable(_) | Verdict::Allowed { .. } | Verdict::Denied { .. } | Verdict::Free, _)
        | (_, None) => AddressPlan::Free,
        (Verdict::SoftBlocked { .. } | Verdict::Blocked { .. }, Some(block)) => {
            let until = block.until;
            if block.sanction <= Sanction::SoftBlock {
                AddressPlan::SoftBlocked { until }
            } else {
                AddressPlan::Blocked { until }
            }
        }
    }
}

/// Which ports of an address the kernel should drop.
fn narrow_plan(model: &Model, address: IpAddr, now: Timestamp) -> BTreeMap<u16, Timestamp> {
    let mut ports = BTreeMap::new();
    for (port, block) in model.addresses.blocks.narrow(address, now) {
        let until: &mut Timestamp = ports.entry(port).or_default();
        *until = block.until.max(*until);
    }
    if ports.is_empty() {
        return ports;
    }
    match model.verdict(address, now) {
        Verdict::Untouchable(_) | Verdict::Allowed { .. } | Verdict::Denied { .. } => BTreeMap::new(),
        Verdict::Blocked { .. } | Verdict::SoftBlocked { .. } | Verdict::Free => ports,
    }
}

/// Whether a network is blocked for a time, and no allowance holds all of it.
fn is_blocked(model: &Model, network: &IpNet, now: Timestamp) -> bool {
    let mut allowances = model.addresses.allowed.covering(network.addr());
    let is_allowed = allowances.any(|(allowed, until)| allowed.contains(network) && lasts(*until, now));
    let mut blocks = model.addresses.blocks.blocks(network.addr()).iter();
    !is_allowed
        && blocks.any(|block| block.scope == Scope::Prefix(network.prefix_len()) && block.is_live(now))
}

/// Whether a denial is not overruled by an allowance regardless of prefix lengths. The threshold denies
/// single addresses.
fn is_in_force(model: &Model, network: IpNet, by: DeniedBy, now: Timestamp) -> bool {
    match by {
        DeniedBy::Person => true,
        DeniedBy::Threshold => model.addresses.allowance(network.addr(), now).is_none(),
    }
}

fn never_block(model: &Model) -> BTreeSet<IpNet> {
    model.hosts.addresses().map(IpNet::from).collect()
}

fn apply_list(list: &mut BTreeSet<IpNet>, changes: &BTreeMap<IpNet, Membership>) {
    for (network, membership) in changes {
        match membership {
            Membership::Listed => list.insert(*network),
            Membership::Absent => list.remove(network),
        };
    }
}

fn list_difference(from: &BTreeSet<IpNet>, to: &BTreeSet<IpNet>) -> BTreeMap<IpNet, Membership> {
    let listed = to.difference(from).map(|network| (*network, Membership::Listed));
    let absent = from.difference(to).map(|network| (*network, Membership::Absent));
    listed.chain(absent).collect()
}
