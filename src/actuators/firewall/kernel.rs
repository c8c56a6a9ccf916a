//! The firewall of a process that may change the kernel: plans against what stands there, and acts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use log_format::time::Timestamp;

use super::contents::{Change, Desired, Lists};
use super::inspect::{self, Owner, Standing};
use super::layout::{DeviceName, Layout};
use super::mirror::Mirror;
use super::netlink::Netlink;
use super::ranges::{Range, Ranges, address, canonical, family, single};
use super::script::{Element, Script};
use super::sets::{Family, Holds, List, PROVISIONAL_SIZE, SetId};
use super::transaction::{self, Outcome, TransactionError, Want, Wish};
use super::wire::{Place, Verb};
use super::{
    Applied, Drift, DropCount, FirewallError, PROVISIONAL_LONGEST, Refusal, Refused, TableState, nft, parse,
    privilege, script,
};

/// A block ends at the latest after a year; it is renewed long before.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The kernel counts milliseconds, and zero means for ever: what ends sooner has ended.
const SHORTEST: Duration = Duration::from_millis(1);
/// By how much the end of a block may differ from what is wanted: listing a full set takes a second, and clocks are
/// corrected in small steps.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The firewall with its socket.
#[derive(Debug)]
pub(super) struct Kernel {
    netlink: Netlink,
    layout: Layout,
    present: Vec<DeviceName>,
    lists: Lists,
    passing: Passing,
    mirror: Mirror,
    provisional: BTreeMap<IpAddr, Timestamp>,
}

/// What passes before any drop, by family.
#[derive(Debug, Default)]
struct Passing {
    v4: Ranges,
    v6: Ranges,
}

impl Passing {
    fn of(lists: &Lists) -> Self {
        Self { v4: lists.passing(Family::V4), v6: lists.passing(Family::V6) }
    }

    const fn family(&self, family: Family) -> &Ranges {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn hold(&self, address: IpAddr) -> bool {
        self.family(Family::of(address)).hold(address)
    }
}

/// What a batch of changes asks of the kernel.
#[derive(Debug, Default)]
struct Batch {
    /// The last intention about each address.
    addresses: BTreeMap<(SetId, Range), Intent>,
    /// What was not granted.
    refused: Vec<Refused>,
}

/// What an address shall be in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    /// In it, with this time from now on.
    Held { timeout: Option<Duration> },
    /// Not in it.
    Absent,
}

/// What became of wishes.
#[derive(Debug, Default)]
struct Tally {
    added: usize,
    renewed: usize,
    removed: usize,
    full: Vec<Refused>,
}

impl Kernel {
    /// Takes over a table of ours that stands there, or builds one.
    pub(super) fn open(layout: Layout) -> Result<Self, FirewallError> {
        let lists = Lists::default();
        let mut kernel = Self {
            netlink: Netlink::open().map_err(FirewallError::netlink("open the firewall"))?,
            layout,
            present: Vec::new(),
            passing: Passing::of(&lists),
            lists,
            mirror: Mirror::default(),
            provisional: BTreeMap::new(),
        };
        kernel.ensure()?;
        Ok(kernel)
    }

    /// The devices of the layout that are there.
    pub(super) fn present(&self) -> &[DeviceName] {
        &self.present
    }

    /// The layout in force.
    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Puts another layout of the same table in force; the sets keep their elements.
    pub(super) fn relayout(&mut self, layout: Layout) -> Result<TableState, FirewallError> {
        self.layout = layout;
        self.ensure()
    }

    /// Makes the table what the layout asks for. What is there already stays, elements and counts included.
    pub(super) fn ensure(&mut self) -> Result<TableState, FirewallError> {
        let there = privilege::devices().map_err(FirewallError::Devices)?;
        let devices = self.layout.devices().iter();
        self.present = devices.filter(|name| there.contains(name.get())).cloned().collect();
        let place = inspect::place(&self.layout);
        let other = Place { family: place.family.other(), table: place.table };
        let reading = FirewallError::netlink("read the firewall's table");
        let owner = inspect::owner(&mut self.netlink, place).map_err(reading)?;
        let former = inspect::owner(&mut self.netlink, other).map_err(reading)?;
        let standing = match owner {
            Owner::Foreign => return Err(FirewallError::not_ours(place)),
            Owner::Nobody => None,
            Owner::Ours => {
                Some(inspect::standing(&mut self.netlink, &self.layout, &self.present).map_err(reading)?)
            }
        };
        if standing == Some(Standing::Intact) && former != Owner::Ours {
            return Ok(TableState::Intact);
        }
        let script = self.rebuilding(standing, former).map_err(reading)?;
        self.mirror.doubt();
        nft::run(script.text())?;
        Ok(TableState::Rebuilt)
    }

    /// One transaction that makes the table right, and carries elements over where sets have to be made anew.
    fn rebuilding(
        &mut self,
        standing: Option<Standing>,
        former: Owner,
    ) -> Result<Script, super::NetlinkError> {
        let Self { netlink, layout, .. } = self;
        let place = inspect::place(layout);
        let other = Place { family: place.family.other(), table: place.table };
        let mut script = Script::new();
        let mut source = None;
        if former == Owner::Ours {
            script.delete_table(other);
            source = Some(other);
        }
        match standing {
            None => {}
            Some(Standing::Intact | Standing::RulesDiffer) => source = None,
            Some(Standing::TableDiffers) => {
                script.delete_table(place);
                source = Some(place);
            }
        }
        script.build(layout, &self.present);
        if let Some(source) = source {
            for set in SetId::ALL {
                script.elements(layout, set, &carried(netlink, source, set)?);
            }
        }
        Ok(script)
    }

    /// Brings changes to the kernel.
    pub(super) fn apply(&mut self, changes: &[Change], now: Timestamp) -> Result<Applied, FirewallError> {
        let networks = self.note(changes);
        let mut batch = Batch::default();
        for change in changes {
            self.plan(*change, now, &mut batch);
        }
        let mut wishes = Vec::new();
        for family in networks {
            self.plan_networks(family, &mut wishes)?;
        }
        let mut refused = batch.refused;
        self.plan_steps(batch.addresses, now, &mut wishes, &mut refused);
        let mut table = TableState::Intact;
        let settled = match self.settle(&wishes, now) {
            Err(TransactionError::NoSet(_)) => {
                table = self.ensure()?;
                self.settle(&wishes, now)
            }
            settled => settled,
        };
        let tally = settled.map_err(FirewallError::Transaction)?;
        refused.extend(tally.full);
        Ok(Applied { added: tally.added, renewed: tally.renewed, removed: tally.removed, refused, table })
    }

    /// Compares the kernel with everything that is wanted, and repairs what differs.
    pub(super) fn converge(&mut self, desired: &Desired, now: Timestamp) -> Result<Drift, FirewallError> {
        let table = self.ensure()?;
        let place = inspect::place(&self.layout);
        self.mirror
            .refresh(&mut self.netlink, place, now)
            .map_err(FirewallError::netlink("read the firewall's addresses"))?;
        self.lists = Lists::of(desired);
        self.passing = Passing::of(&self.lists);
        self.provisional.retain(|_, until| now < *until);
        let mut wishes = Vec::new();
        for family in Family::ALL {
            self.plan_networks(family, &mut wishes)?;
        }
        let mut refused = Vec::new();
        for set in SetId::ALL.into_iter().filter(|set| set.holds() != Holds::Ranges) {
            let wanted = self.wanted(set, desired, now);
            refused.extend(self.plan_addresses(set, &wanted, now, &mut wishes));
        }
        let tally = self.settle(&wishes, now).map_err(FirewallError::Transaction)?;
        refused.extend(tally.full);
        Ok(Drift { refused, added: tally.added, renewed: tally.renewed, removed: tally.removed, table })
    }

    /// The counters of the drop rules.
    pub(super) fn drops(&mut self) -> Result<Vec<DropCount>, FirewallError> {
        let place = inspect::place(&self.layout);
        let counted = self
            .netlink
            .list(Verb::GetObject, place, |object| {
                let (name, packets, bytes) = parse::counter(object)?;
                let set = SetId::ALL.into_iter().find(|set| script::counts(*set) && set.name() == name)?;
                Some((set, packets, bytes))
            })
            .map_err(FirewallError::netlink("read the firewall's counters"))?;
        let mut drops: Vec<_> = counted;
        drops.sort();
        Ok(drops
            .into_iter()
            .map(|(set, packets, bytes)| DropCount { set: set.name(), packets, bytes })
            .collect())
    }

    /// Deletes the table, if it is ours.
    pub(super) fn remove(mut self) -> Result<(), FirewallError> {
        let place = inspect::place(&self.layout);
        let removing = FirewallError::netlink("remove the firewall's table");
        match inspect::owner(&mut self.netlink, place).map_err(removing)? {
            Owner::Nobody => Ok(()),
            Owner::Foreign => Err(FirewallError::not_ours(place)),
            Owner::Ours => self.netlink.delete_table(place).map_err(removing),
        }
    }

    /// Brings wishes to the kernel and takes down what became of them.
    fn settle(&mut self, wishes: &[Wish], now: Timestamp) -> Result<Tally, TransactionError> {
        let place = inspect::place(&self.layout);
        let outcomes = match transaction::settle(&mut self.netlink, place, wishes) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                self.mirror.doubt();
                return Err(error);
            }
        };
        let mut tally = Tally::default();
        for (wish, outcome) in wishes.iter().zip(outcomes) {
            self.mirror.note(wish, outcome, now);
            tally.count(wish, outcome);
        }
        Ok(tally)
    }

    /// The wishes that intentions come to, with what is known of the kernel. What finds no room is not tried: a refusal of
    /// the kernel costs as much as thousands of blocks, and a set is full when there is no time for that.
    fn plan_steps(
        &mut self,
        intents: BTreeMap<(SetId, Range), Intent>,
        now: Timestamp,
        wishes: &mut Vec<Wish>,
        refused: &mut Vec<Refused>,
    ) {
        if intents.keys().any(|(set, _)| self.mirror.room(*set) == 0) {
            self.mirror.forget_ended(now);
        }
        for ((set, range), intent) in intents {
            let want = match (intent, self.mirror.may_hold(set, range.first)) {
                (Intent::Held { timeout }, true) => Want::Put { timeout },
                (Intent::Held { .. }, false) if self.mirror.room(set) == 0 => {
                    refused.push(no_room(set, range));
                    continue;
                }
                (Intent::Held { timeout }, false) => Want::Added { timeout },
                (Intent::Absent, true) => Want::Gone,
                (Intent::Absent, false) => continue,
            };
            wishes.push(Wish { set, range, want });
        }
    }

    /// Takes down what changes say about the lists; returns the families whose networks have to be compared.
    fn note(&mut self, changes: &[Change]) -> BTreeSet<Family> {
        let mut families = BTreeSet::new();
        for change in changes {
            let denial = match *change {
                Change::Block { .. } | Change::SoftBlock { .. } | Change::Provisional { .. } => continue,
                Change::Unblock { address } => self.lists.undeny(IpNet::from(address)),
                Change::Deny(net) => self.lists.deny(net),
                Change::Undeny(net) => self.lists.undeny(net),
                Change::Allow(net) => {
                    families.insert(family(&self.lists.allow(net)));
                    continue;
                }
                Change::Disallow(net) => {
                    families.insert(family(&self.lists.disallow(net)));
                    continue;
                }
            };
            if self.lists.denial_concerns_networks(&denial) {
                families.insert(family(&denial));
            }
        }
        if !families.is_empty() {
            self.passing = Passing::of(&self.lists);
        }
        families
    }

    /// What one change asks of the sets of single addresses.
    fn plan(&mut self, change: Change, now: Timestamp, batch: &mut Batch) {
        match change {
            Change::Block { address, lasts } => self.plan_block(List::Blocked, address, lasts, batch),
            Change::SoftBlock { address, lasts } => self.plan_block(List::Soft, address, lasts, batch),
            Change::Provisional { address, lasts } => self.plan_provisional(address, lasts, now, batch),
            Change::Unblock { address } => {
                let address = address.to_canonical();
                self.provisional.remove(&address);
                for list in [List::Denied, List::Blocked, List::Provisional, List::Soft] {
                    batch.wish(list, address, Intent::Absent);
                }
            }
            Change::Deny(net) => batch.wish_single(net, Intent::Held { timeout: None }),
            Change::Undeny(net) => batch.wish_single(net, Intent::Absent),
            Change::Allow(_) | Change::Disallow(_) => {}
        }
    }

    /// A block replaces a provisional one.
    fn plan_block(&mut self, list: List, address: IpAddr, lasts: Duration, batch: &mut Batch) {
        let address = address.to_canonical();
        if self.provisional.remove(&address).is_some() {
            batch.wish(List::Provisional, address, Intent::Absent);
        }
        self.plan_timed(list, address, lasts, batch);
    }

    fn plan_provisional(&mut self, address: IpAddr, lasts: Duration, now: Timestamp, batch: &mut Batch) {
        let address = address.to_canonical();
        let lasts = lasts.min(PROVISIONAL_LONGEST);
        if self.plan_timed(List::Provisional, address, lasts, batch) == Granted::Yes
            && self.provisional.len() < PROVISIONAL_SIZE as usize
        {
            self.provisional.insert(address, now.after(lasts));
        }
    }

    fn plan_timed(&self, list: List, address: IpAddr, lasts: Duration, batch: &mut Batch) -> Granted {
        if self.passing.hold(address) {
            batch.refused.push(Refused { address, cause: Refusal::Allowed });
            return Granted::No;
        }
        let Some(timeout) = timeout(lasts) else {
            return Granted::No;
        };
        let timeout = Some(timeout);
        batch.wish(list, address, Intent::Held { timeout });
        Granted::Yes
    }

    /// Compares the interval sets of a family with the lists. What goes precedes what comes, for they may overlap.
    fn plan_networks(&mut self, family: Family, wishes: &mut Vec<Wish>) -> Result<(), FirewallError> {
        let denied = self.lists.denied_nets(family);
        let wanted = [(List::AllowedNets, self.passing.family(family)), (List::DeniedNets, &denied)];
        for (list, wanted) in wanted {
            let set = SetId::new(list, family);
            let place = inspect::place(&self.layout);
            let held = inspect::ranges(&mut self.netlink, place, set)
                .map_err(FirewallError::netlink("read the firewall's networks"))?;
            let wanted: BTreeSet<Range> = wanted.iter().collect();
            let wish = |range: &Range, want| Wish { set, range: *range, want };
            wishes.extend(held.difference(&wanted).map(|range| wish(range, Want::Gone)));
            let fresh = Want::Added { timeout: None };
            wishes.extend(wanted.difference(&held).map(|range| wish(range, fresh)));
        }
        Ok(())
    }

    /// Compares a set of single addresses with what is wanted of it. What goes makes room for what comes.
    fn plan_addresses(
        &self,
        set: SetId,
        wanted: &BTreeMap<u128, Option<Duration>>,
        now: Timestamp,
        wishes: &mut Vec<Wish>,
    ) -> Vec<Refused> {
        let wish = |at: u128, want| Wish { set, range: Range { first: at, last: at }, want };
        let before = wishes.len();
        let surplus = self
            .mirror
            .addresses(set)
            .filter(|(at, until)| !wanted.contains_key(at) && !ends_by_itself(set, until.since(now)));
        wishes.extend(surplus.map(|(at, _)| wish(at, Want::Gone)));
        let freed = wishes.len().saturating_sub(before);
        let mut room = self.mirror.room(set).saturating_add(freed);
        let mut refused = Vec::new();
        for (&at, &timeout) in wanted {
            match self.mirror.end(set, at) {
                Some(until) if close(until, timeout, now) => {}
                Some(_) => wishes.push(wish(at, Want::Put { timeout })),
                None if room == 0 => refused.push(no_room(set, Range { first: at, last: at })),
                None => {
                    room = room.saturating_sub(1);
                    wishes.push(wish(at, Want::Added { timeout }));
                }
            }
        }
        refused
    }

    /// The addresses that a set shall hold, and for how long.
    fn wanted(&self, set: SetId, desired: &Desired, now: Timestamp) -> BTreeMap<u128, Option<Duration>> {
        let mut wanted: BTreeMap<u128, Option<Duration>> = BTreeMap::new();
        let timed: &[&BTreeMap<IpAddr, Timestamp>] = match set.list {
            List::AllowedNets | List::DeniedNets => &[],
            List::Denied => {
                let denied = self.lists.denied_addresses(set.family);
                return denied.map(|address| (Range::single(address).first, None)).collect();
            }
            List::Blocked => &[&desired.blocked],
            List::Soft => &[&desired.soft_blocked],
            List::Provisional => &[&desired.provisional, &self.provisional],
        };
        for (address, until) in timed.iter().copied().flatten() {
            let address = address.to_canonical();
            let left = until.since(now).min(longest(set.list));
            if Family::of(address) != set.family || self.passing.hold(address) {
                continue;
            }
            if let Some(timeout) = timeout(left) {
                let before = wanted.entry(Range::single(address).first).or_default();
                *before = (*before).max(Some(timeout));
            }
        }
        wanted
    }
}

impl Batch {
    fn wish(&mut self, list: List, address: IpAddr, intent: Intent) {
        let set = SetId::new(list, Family::of(address));
        self.addresses.insert((set, Range::single(address)), intent);
    }

    /// A wish about the denylist; networks are compared as a whole.
    fn wish_single(&mut self, net: IpNet, intent: Intent) {
        if let Some(address) = single(&canonical(net)) {
            self.wish(List::Denied, address, intent);
        }
    }
}

impl Tally {
    fn count(&mut self, wish: &Wish, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Added => &mut self.added,
            Outcome::Renewed => &mut self.renewed,
            Outcome::Removed => &mut self.removed,
            Outcome::Nothing => return,
            Outcome::Full => {
                return self.full.push(no_room(wish.set, wish.range));
            }
        };
        *counter = counter.saturating_add(1);
    }
}

/// Whether a wish was taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Granted {
    Yes,
    No,
}

/// The elements of a set, to be carried to its successor.
fn carried(netlink: &mut Netlink, from: Place<'_>, set: SetId) -> Result<Vec<Element>, super::NetlinkError> {
    if set.holds() == Holds::Ranges {
        let ranges = inspect::ranges(netlink, from, set)?;
        return Ok(ranges
            .into_iter()
            .map(|Range { first, last }| Element { first, last, timeout: None })
            .collect());
    }
    let held = inspect::addresses(netlink, from, set)?;
    Ok(held
        .into_iter()
        .filter(|(_, left)| left.is_none_or(|left| SHORTEST <= left))
        .map(|(at, timeout)| Element { first: at, last: at, timeout })
        .collect())
}

fn no_room(set: SetId, range: Range) -> Refused {
    Refused { address: address(set.family, range.first), cause: Refusal::Full(set.name()) }
}

/// A time that the kernel can keep; `None`: it is over.
fn timeout(lasts: Duration) -> Option<Duration> {
    (SHORTEST <= lasts).then(|| lasts.min(LONGEST))
}

/// The longest time in a list.
const fn longest(list: List) -> Duration {
    match list {
        List::Provisional => PROVISIONAL_LONGEST,
        List::AllowedNets | List::Denied | List::DeniedNets | List::Blocked | List::Soft => LONGEST,
    }
}

/// Whether the kernel's end of an element is what is wanted.
fn close(until: Timestamp, wanted: Option<Duration>, now: Timestamp) -> bool {
    match wanted {
        None => until == Timestamp::MAX,
        Some(left) => until.since(now).abs_diff(left) <= TOLERANCE,
    }
}

/// Whether a surplus element may stay. A provisional block that nobody else knows of ends soon; a former run of this
/// host may have made it. What is over is gone, or goes with the kernel's next sweep.
fn ends_by_itself(set: SetId, left: Duration) -> bool {
    left.is_zero() || (set.list == List::Provisional && left <= PROVISIONAL_LONGEST)
}
