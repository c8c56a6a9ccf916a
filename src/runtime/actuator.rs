//! The firewall's thread: takes orders from the sensors (at once, provisional) and from the log (for good), brings them to
//! the kernel in batches, and converges the kernel with the whole plan on start, every 30 s, and after anything unusual.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::{EnforcementMode, Sanction};
use log_format::ids::LogIndex;
use log_format::time::Timestamp;
use projections::plan::firewall::{AddressPlan, FirewallChange, FirewallPlan, Membership};

use super::clocks::Clocks;
use super::doors::{Door, Doors, News};
use super::inbox::Inbox;
use crate::actuators::firewall::{
    Change, Desired, Firewall, FirewallMode, Layout, LayoutError, PROVISIONAL_SIZE, SetPortsError, TableName,
    TableState,
};
use crate::config::FirewallConfig;
use crate::node::{FirewallState, Input};

/// How often the kernel is compared with the plan.
const CONVERGE_EVERY: Duration = Duration::from_secs(30);
/// After a failure it is tried again sooner.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// A provisional block ends in the kernel by itself after this time. The log has long judged by then; while there is no
/// quorum it is renewed at every convergence, for as long as the sensor's verdict asks.
const PROVISIONAL: Duration = Duration::from_secs(60);
/// No verdict asks for longer: an hour is the first block of the product's own policy.
const LONGEST_VERDICT: Duration = Duration::from_secs(3_600);
/// Provisional blocks at once, as many as the kernel's set takes; a flood of spoofed sources must not fill the kernel before the log could judge.
const MAX_PROVISIONAL: usize = PROVISIONAL_SIZE as usize;
/// Orders that wait. When it is full, single orders are dropped and the whole plan is asked for instead.
const MAX_ORDERS: usize = 16_384;
/// Orders brought to the kernel in one transaction.
const BATCH: usize = 4_096;

enum Order {
    Change { change: FirewallChange, upto: LogIndex },
    Provisional { source: IpAddr, sanction: Sanction, lasts: Duration },
    Lift { source: IpAddr },
    Spare { networks: BTreeSet<IpNet> },
    Plan { plan: Box<FirewallPlan>, upto: LogIndex },
    Stop,
}

/// The way to the firewall's thread.
#[derive(Clone)]
pub(super) struct Orders {
    sender: SyncSender<Order>,
    lost: Arc<AtomicBool>,
}

impl Orders {
    /// The log changed what the kernel should hold.
    pub(super) fn change(&self, change: FirewallChange, upto: LogIndex) {
        self.offer(Order::Change { change, upto });
    }

    /// A sensor of this host found something: drop it until the log has judged.
    pub(super) fn provisional(&self, source: IpAddr, sanction: Sanction, lasts: Duration) {
        self.offer(Order::Provisional { source, sanction, lasts });
    }

    /// The log judged, and did not block.
    pub(super) fn lift(&self, source: IpAddr) {
        self.offer(Order::Lift { source });
    }

    /// What this host never drops, whatever the log says, is now this.
    pub(super) fn spare(&self, networks: BTreeSet<IpNet>) {
        self.offer(Order::Spare { networks });
    }

    /// The whole of what the kernel should hold.
    pub(super) fn plan(&self, plan: FirewallPlan, upto: LogIndex) {
        self.offer(Order::Plan { plan: Box::new(plan), upto });
    }

    /// Ends the thread once it has done what was ordered before.
    pub(super) fn stop(&self) {
        let _ = self.sender.send(Order::Stop); // A thread that is gone has stopped.
    }

    fn offer(&self, order: Order) {
        if self.sender.try_send(order).is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// What the firewall says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Report {
    pub(super) state: FirewallState,
    pub(super) detail: String,
    pub(super) provisional: u64,
}

/// What other threads read of the firewall's.
#[derive(Default)]
pub(super) struct Shared {
    report: Mutex<Report>,
    enforced: AtomicU64,
}

impl Shared {
    pub(super) fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn enforced(&self) -> LogIndex {
        LogIndex::new(self.enforced.load(Ordering::Acquire))
    }
}

struct Provisional {
    /// The end of what the sensor's verdict asks for.
    until: Timestamp,
    sanction: Sanction,
}

struct Actuator {
    orders: Receiver<Order>,
    lost: Arc<AtomicBool>,
    inbox: Inbox,
    shared: Arc<Shared>,
    clocks: Clocks,
    layout: Layout,
    /// `None`: switched off, or it could not be opened yet.
    firewall: Option<Firewall>,
    is_enabled: bool,
    /// What this host never drops, besides what the plan says.
    never_block: BTreeSet<IpNet>,
    failure: Option<String>,
    mode: EnforcementMode,
    provisional: BTreeMap<IpAddr, Provisional>,
    /// What the log has decided about single addresses: a provisional block must never shorten it.
    decided: BTreeMap<IpAddr, AddressPlan>,
    /// The entry that the orders taken so far come from.
    upto: LogIndex,
    next_converge: Duration,
    is_plan_asked: bool,
    doors: Doors,
}

/// Checks a firewall configuration and makes the layout from it; SIP ports come with the first plan.
pub(super) fn layout(config: &FirewallConfig) -> Result<Layout, LayoutError> {
    let devices: Vec<&str> = config.devices.iter().map(String::as_str).collect();
    let ports = projections::decide::Settings::default().sip_ports;
    Layout::try_new(&devices, TableName::try_new(&config.table)?, &ports)
}

/// Starts the thread.
pub(super) fn start(
    (is_enabled, never_block): (bool, BTreeSet<IpNet>),
    layout: Layout,
    (inbox, doors): (Inbox, Doors),
    clocks: Clocks,
) -> std::io::Result<(Orders, Arc<Shared>, JoinHandle<()>)> {
    let (sender, orders) = sync_channel(MAX_ORDERS);
    let (lost, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(Shared::default()));
    let actuator = Actuator {
        orders,
        lost: Arc::clone(&lost),
        inbox,
        shared: Arc::clone(&shared),
        clocks,
        layout,
        firewall: None,
        is_enabled,
        never_block,
        failure: None,
        mode: EnforcementMode::Block,
        provisional: BTreeMap::new(),
        decided: BTreeMap::new(),
        upto: LogIndex::new(0),
        next_converge: Duration::ZERO,
        is_plan_asked: false,
        doors,
    };
    let thread = std::thread::Builder::new().name("firewall".to_owned()).spawn(move || actuator.run())?;
    Ok((Orders { sender, lost }, shared, thread))
}

impl Actuator {
    fn run(mut self) {
        self.open();
        loop {
            self.publish();
            let wait = self.next_converge.saturating_sub(self.clocks.now().monotonic);
            let first = match self.orders.recv_timeout(wait) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let batch: Vec<Order> = first.into_iter().chain(self.orders.try_iter().take(BATCH)).collect();
            if self.carry_out(batch) {
                return self.publish();
            }
            self.ask_for_plan_if_due();
        }
    }

    fn open(&mut self) {
        if !self.is_enabled {
            return;
        }
        match Firewall::open(self.layout.clone()) {
            Ok(firewall) => {
                match firewall.mode() {
                    mode @ FirewallMode::Enforcing { .. } => tracing::info!(%mode, "firewall"),
                    mode @ (FirewallMode::Partial { .. } | FirewallMode::WatchOnly { .. }) => {
                        tracing::warn!(%mode, "firewall");
                    }
                }
                self.firewall = Some(firewall);
            }
            Err(error) => self.fail(&error.into()),
        }
    }

    /// Brings a batch of orders to the kernel, in order. Says whether the thread shall end.
    fn carry_out(&mut self, batch: Vec<Order>) -> bool {
        let now = self.clocks.now().wall;
        let mut changes = Vec::new();
        let mut is_over = false;
        for order in batch {
            match order {
                Order::Change { change, upto } => {
                    self.note_change(&change, now, &mut changes);
                    self.upto = upto;
                }
                Order::Provisional { source, sanction, lasts } => {
                    changes.extend(self.note_provisional(source, sanction, lasts, now));
                }
                Order::Lift { source } => {
                    if self.provisional.remove(&source).is_some() {
                        changes.push(Change::Unblock { address: source });
                    }
                }
                Order::Spare { networks } => {
                    self.never_block = networks;
                    self.ask_for_plan();
                }
                Order::Plan { plan, upto } => {
                    changes.clear(); // The plan holds what they ask for.
                    self.converge(&plan, upto, now);
                }
                Order::Stop => is_over = true,
            }
        }
        self.apply(&changes, now);
        is_over
    }

    fn note_change(&mut self, change: &FirewallChange, now: Timestamp, changes: &mut Vec<Change>) {
        for (&address, plan) in &change.addresses {
            // The log has judged: what was provisional is now decided, or over.
            self.provisional.remove(&address);
            if !self.is_enabled {
                continue; // There is no kernel to change.
            }
            changes.push(Change::Unblock { address });
            self.decided.insert(address, *plan);
            match plan {
                AddressPlan::Free => drop(self.decided.remove(&address)),
                AddressPlan::SoftBlocked { until } => {
                    changes.push(Change::SoftBlock { address, lasts: until.since(now) });
                }
                AddressPlan::Blocked { until } => {
                    changes.push(Change::Block { address, lasts: until.since(now) })
                }
            }
        }
        changes.extend(change.denied.iter().map(|(&network, membership)| match membership {
            Membership::Listed => Change::Deny(network),
            Membership::Absent => Change::Undeny(network),
        }));
        changes.extend(change.allowed.iter().map(|(&network, membership)| match membership {
            Membership::Listed => Change::Allow(network),
            Membership::Absent => Change::Disallow(network),
        }));
        // Rare, and about everything at once: the whole plan says it better.
        if change.never_block.is_some() || change.sip_ports.is_some() || change.mode.is_some() {
            self.ask_for_plan();
        }
    }

    fn note_provisional(
        &mut self,
        source: IpAddr,
        sanction: Sanction,
        lasts: Duration,
        now: Timestamp,
    ) -> Option<Change> {
        self.provisional.retain(|_, held| now < held.until);
        let is_known = self.provisional.get(&source).is_some_and(|held| sanction <= held.sanction)
            || self.decided.get(&source).is_some_and(|plan| covers(*plan, sanction, now));
        let is_off = !self.is_enabled || self.mode == EnforcementMode::Watch;
        if is_off || is_known || MAX_PROVISIONAL <= self.provisional.len() {
            return None;
        }
        let until = now.after(lasts.min(LONGEST_VERDICT));
        let lasts = lasts.min(PROVISIONAL);
        self.provisional.insert(source, Provisional { until, sanction });
        // What anybody could have forged closes the SIP ports only (DETECTION: evidence caps the sanction).
        Some(match sanction {
            Sanction::Observe | Sanction::Shape | Sanction::SoftBlock => {
                Change::SoftBlock { address: source, lasts }
            }
            Sanction::Block | Sanction::Permanent => Change::Provisional { address: source, lasts },
        })
    }

    fn apply(&mut self, changes: &[Change], now: Timestamp) {
        let is_watching = self.mode == EnforcementMode::Watch;
        if let (Some(firewall), false, false) = (&mut self.firewall, changes.is_empty(), is_watching) {
            match firewall.apply(changes, now) {
                Ok(applied) if applied.table == TableState::Rebuilt => self.ask_for_plan(),
                Ok(_) => self.tell_doors(changes, now),
                Err(error) => return self.fail(&error.into()),
            }
        }
        self.note_enforced();
    }

    fn converge(&mut self, plan: &FirewallPlan, upto: LogIndex, now: Timestamp) {
        self.is_plan_asked = false;
        self.next_converge = self.clocks.now().monotonic + CONVERGE_EVERY;
        self.mode = plan.mode;
        self.upto = upto;
        let soft =
            plan.soft_blocked.iter().map(|(&address, &until)| (address, AddressPlan::SoftBlocked { until }));
        let hard = plan.blocked.iter().map(|(&address, &until)| (address, AddressPlan::Blocked { until }));
        self.decided = soft.chain(hard).collect();
        if self.firewall.is_none() {
            self.open();
        }
        if let Err(error) = self.try_converge(plan, now) {
            return self.fail(&error);
        }
        self.failure = None;
        self.note_enforced();
    }

    fn try_converge(&mut self, plan: &FirewallPlan, now: Timestamp) -> anyhow::Result<()> {
        let desired = self.desired(plan, now);
        let Some(firewall) = &mut self.firewall else {
            self.doors.tell(&News::Nothing);
            return Ok(());
        };
        if self.layout.sip_ports() != plan.sip_ports {
            self.layout = self.layout.with_sip_ports(&plan.sip_ports).map_err(SetPortsError::from)?;
            firewall.set_sip_ports(&plan.sip_ports)?;
        }
        let drift = firewall.converge(&desired, now)?;
        if !drift.is_none() {
            tracing::info!(?drift, "firewall converged");
        }
        let is_dropped = matches!(firewall.mode(), FirewallMode::Enforcing { .. });
        if !is_dropped || plan.mode == EnforcementMode::Watch {
            self.doors.tell(&News::Nothing);
            return Ok(());
        }
        let dropped = desired.provisional.into_iter().chain(desired.blocked);
        self.doors.tell(&News::All(Arc::new(dropped.collect())));
        Ok(())
    }

    /// Tells the sensors whom the kernel drops from now on, and whom no more.
    fn tell_doors(&self, changes: &[Change], now: Timestamp) {
        let door = |change: &Change| -> Option<Door> {
            match change {
                Change::Block { address, lasts } | Change::Provisional { address, lasts } => {
                    Some((*address, Some(now.after(*lasts))))
                }
                Change::Unblock { address } | Change::SoftBlock { address, .. } => Some((*address, None)),
                Change::Deny(_) | Change::Undeny(_) | Change::Allow(_) | Change::Disallow(_) => None,
            }
        };
        let doors: Arc<[Door]> = changes.iter().filter_map(door).collect();
        if !doors.is_empty() {
            self.doors.tell(&News::Changed(doors));
        }
    }

    fn desired(&mut self, plan: &FirewallPlan, now: Timestamp) -> Desired {
        if plan.mode == EnforcementMode::Watch {
            self.provisional.clear();
            return Desired::default();
        }
        self.provisional.retain(|_, held| now < held.until);
        let mut desired = Desired {
            blocked: plan.blocked.clone(),
            soft_blocked: plan.soft_blocked.clone(),
            provisional: BTreeMap::new(),
            denied: plan.denied.clone(),
            allowed: plan.allowed.clone(),
            never_block: plan.never_block.union(&self.never_block).copied().collect(),
        };
        let renewed = now.after(PROVISIONAL);
        for (&source, held) in &self.provisional {
            let set = if Sanction::Block <= held.sanction {
                &mut desired.provisional
            } else {
                &mut desired.soft_blocked
            };
            set.entry(source).or_insert(held.until.min(renewed));
        }
        desired
    }

    fn note_enforced(&self) {
        if self.failure.is_none() {
            self.shared.enforced.fetch_max(self.upto.get(), Ordering::Release);
        }
    }

    fn fail(&mut self, error: &anyhow::Error) {
        tracing::error!(error = format!("{error:#}"), "firewall");
        self.failure = Some(format!("{error:#}"));
        self.doors.tell(&News::Nothing);
        self.firewall = None; // A new socket and a new look at the table.
        self.next_converge = self.clocks.now().monotonic + RETRY_EVERY;
        self.is_plan_asked = false;
    }

    fn ask_for_plan_if_due(&mut self) {
        let is_due = self.next_converge <= self.clocks.now().monotonic;
        if self.lost.swap(false, Ordering::Relaxed) || is_due {
            self.ask_for_plan();
        }
    }

    fn ask_for_plan(&mut self) {
        if !self.is_plan_asked && self.inbox.offer(Input::Plan).is_ok() {
            self.is_plan_asked = true;
        }
        self.next_converge = self.clocks.now().monotonic + RETRY_EVERY;
    }

    fn publish(&self) {
        let (state, detail) = match (&self.failure, &self.firewall) {
            (Some(failure), _) => (FirewallState::Failing, failure.clone()),
            (None, None) if !self.is_enabled => (
                FirewallState::Off,
                "switched off in this host's configuration (firewall.enabled)".to_owned(),
            ),
            (None, None) => (FirewallState::Failing, "not opened yet".to_owned()),
            (None, Some(firewall)) => state_of(&firewall.mode(), self.mode),
        };
        let provisional = u64::try_from(self.provisional.len()).unwrap_or(u64::MAX);
        *self.shared.report.lock().unwrap_or_else(PoisonError::into_inner) =
            Report { state, detail, provisional };
    }
}

/// Whether what the log has decided about an address is at least what a sensor asks for now.
fn covers(plan: AddressPlan, sanction: Sanction, now: Timestamp) -> bool {
    match plan {
        AddressPlan::Free => false,
        AddressPlan::SoftBlocked { until } => sanction <= Sanction::SoftBlock && now < until,
        AddressPlan::Blocked { until } => now < until,
    }
}

fn state_of(mode: &FirewallMode, setting: EnforcementMode) -> (FirewallState, String) {
    match (mode, setting) {
        (FirewallMode::WatchOnly { reason }, _) => (FirewallState::WatchOnly, reason.to_string()),
        (_, EnforcementMode::Watch) => {
            (FirewallState::WatchOnly, "the cluster's setting is to watch and not to block".to_owned())
        }
        (FirewallMode::Enforcing { .. }, EnforcementMode::Block) => (FirewallState::Enforcing, String::new()),
        (FirewallMode::Partial { .. }, EnforcementMode::Block) => (FirewallState::Failing, mode.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_covers_what_is_not_stronger_until_it_ends() {
        let (now, until) = (Timestamp::from_seconds(10), Timestamp::from_seconds(20));
        let soft = AddressPlan::SoftBlocked { until };
        assert!(covers(soft, Sanction::SoftBlock, now));
        assert!(!covers(soft, Sanction::Block, now), "proof closes more than the SIP ports");
        assert!(covers(AddressPlan::Blocked { until }, Sanction::SoftBlock, now));
        assert!(!covers(AddressPlan::Blocked { until }, Sanction::Block, until), "it is over");
        assert!(!covers(AddressPlan::Free, Sanction::SoftBlock, now));
    }
}
