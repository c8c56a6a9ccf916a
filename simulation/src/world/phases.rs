//! The two phases of a run: safety, then liveness.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use consensus::core::Role;
use log_format::ids::HostId;
use palisade::node::Node;

use super::{Event, Failure, Options, RETENTION, Report, World};
use crate::check::{Checker, Quorum, Violation, ensure};
use crate::clock::Skew;
use crate::disk::End;
use crate::faults::Class;
use crate::host::{Health, Host};
use crate::planted::Planted;
use crate::trace::Echo;

/// The phase with faults, at least and at most.
const SAFETY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));
/// Once everything works, a host leads within this time: some elections.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// And everything has come to rest within this time: hosts that were marked inactive are active again, commands whose
/// messages were lost have been sent again.
const REST_WITHIN: Duration = Duration::from_secs(60);
/// The leader writes down that a block has ended within this time.
const EXPIRED_WITHIN: Duration = Duration::from_secs(1);
/// So much time passes before old attacks are to be erased: more than any clock was ahead, and as long as attacks are kept.
const LATER: Duration = Duration::from_secs(3_000);
/// What was cut before then is old.
const OLD: Duration = RETENTION.saturating_add(Duration::from_secs(60));
/// Old attacks are erased, and the log begins behind them, within this time: two more chapters are cut meanwhile.
const ERASED_WITHIN: Duration = Duration::from_secs(240);
/// Files that were given up are zeroed within this time.
const CLEANED_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs one seed. The trace goes to `echo` line by line, if there is one.
pub fn run(seed: u64, planted: Planted, echo: Option<Echo>) -> Result<Report, Box<Failure>> {
    run_with(&Options { seed, planted, without: BTreeSet::new() }, echo)
}

/// Leaves out one class of faults after the other while the run still fails. Gives those that the failure needs.
pub fn shrink(failure: &Failure, planted: Planted) -> Vec<Class> {
    let mut without = BTreeSet::new();
    for class in &failure.faults {
        without.insert(*class);
        let options = Options { seed: failure.seed, planted, without: without.clone() };
        let same = |found: &Failure| found.violation.checker == failure.violation.checker;
        if !run_with(&options, None).err().is_some_and(|found| same(&found)) {
            without.remove(class);
        }
    }
    failure.faults.iter().copied().filter(|class| !without.contains(class)).collect()
}

/// Runs one seed as wished. The trace goes to `echo` line by line, if there is one.
pub fn run_with(options: &Options, echo: Option<Echo>) -> Result<Report, Box<Failure>> {
    let seed = options.seed;
    let mut world = World::new(options, echo);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let panicked =
        |panic: Box<dyn Any + Send>| Violation::new(Checker::Running, format!("panic: {}", said(&*panic)));
    let result = lived.unwrap_or_else(|panic| Err(panicked(panic)));
    let trace_hash = world.trace.hash();
    match result {
        Ok(()) => {
            let mut figures = world.figures;
            (figures.time, figures.entries) = (world.now, world.checks.entries());
            Ok(Report { seed, trace_hash, figures })
        }
        Err(violation) => {
            let (faults, tail) = (world.faults.on(), world.trace.into_tail());
            Err(Box::new(Failure { seed, trace_hash, violation, faults, tail }))
        }
    }
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_default()
}

/// Something that is to hold.
type Level = fn(&World) -> bool;

impl World {
    fn live(&mut self) -> Result<(), Violation> {
        self.begin();
        let (least, most) = SAFETY;
        let safety = self.prng.between(least, most);
        self.run_until(safety)?;
        self.heal();
        self.await_level(LEADER_WITHIN, "no host leads", Self::is_led)?;
        self.await_level(REST_WITHIN, "no rest", Self::is_at_rest)?;
        if self.faults.erases() {
            self.grow_old()?;
        }
        self.figures.erased = self.checks.at_end(&self.hosts)?;
        Ok(())
    }

    /// Time passes, so that what was seen is to be erased; life goes on meanwhile, and then comes to rest again.
    fn grow_old(&mut self) -> Result<(), Violation> {
        self.trace.line(self.now, format_args!("time passes"));
        for host in self.hosts.values_mut() {
            host.clock.set_offset(Skew::NO_OFFSET + LATER);
        }
        self.schedule(Duration::ZERO, Event::Wish);
        self.is_calm = false;
        for id in self.members.clone() {
            self.schedule(Duration::ZERO, Event::Sense(id));
        }
        self.await_erasure()?;
        self.is_calm = true;
        self.queue.retain(|_, event| !matches!(event, Event::Wish | Event::Sense(_)));
        self.run_until(self.now + CLEANED_WITHIN)?;
        self.await_level(REST_WITHIN, "no rest", Self::is_at_rest)
    }

    /// Whoever is off meanwhile, or joins, erases afterwards, or never has what the others erased.
    fn await_erasure(&mut self) -> Result<(), Violation> {
        if self.faults.has_administrator() {
            self.let_join();
        }
        let sleeper = self.prng.pick(&self.members).copied();
        if let Some(id) = sleeper.filter(|id| self.faults.has_sleeper() && self.can_lose(*id)) {
            self.sleeper = Some(id);
            self.crash(id, End::PowerCut, ERASED_WITHIN);
            self.await_level(ERASED_WITHIN, "nothing is erased", Self::is_erased)?;
            self.sleeper = None;
            self.schedule(Duration::ZERO, Event::Restart(id));
        }
        self.await_level(ERASED_WITHIN, "nothing is erased", Self::is_erased)
    }

    /// Every host that lives has erased what is old, and has told its log to begin behind it: behind the second chapter
    /// after the erasure. It is not asked where the log begins: the bytes of the disk are looked at instead.
    fn is_erased(&self) -> bool {
        self.living().all(|host| {
            let Some(node) = host.node() else { return false };
            let (chapters, old) = (node.model().chapters(), host.now(self.now).wall.before(OLD));
            let erased = chapters.erased_upto();
            let is_due = chapters
                .iter()
                .any(|(chapter, held)| held.cut_at < old && erased.is_none_or(|(upto, _)| upto < chapter));
            let since = self.checks.erased_at().max(host.erases_since.unwrap_or_default());
            let may_go = since..host.drive.may_go_below();
            let behind = chapters.iter().filter(|(_, held)| may_go.contains(&held.last)).count();
            !is_due && (erased.is_none() || 2 <= behind)
        })
    }

    fn begin(&mut self) {
        for id in self.members.clone() {
            let after = self.prng.up_to(Duration::from_secs(1));
            self.schedule(after, Event::Restart(id));
            self.schedule(after, Event::Sense(id));
        }
        self.schedule(Duration::ZERO, Event::Wish);
        self.schedule(Duration::ZERO, Event::Read);
        self.schedule(Duration::from_secs(1), Event::Fault);
        self.begin_to_administer();
    }

    fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at < end) {
            self.step()?;
        }
        self.now = end;
        Ok(())
    }

    fn await_level(&mut self, within: Duration, otherwise: &str, level: Level) -> Result<(), Violation> {
        let end = self.now + within;
        while !level(self) {
            ensure(self.now < end, Checker::Liveness, || {
                format!("{otherwise} after {} s; {}", within.as_secs(), self.describe())
            })?;
            self.run_until(self.now + LOOK_EVERY)?;
        }
        Ok(())
    }

    fn is_led(&self) -> bool {
        self.nodes().any(|node| node.consensus().role == Role::Leader)
    }

    fn is_at_rest(&self) -> bool {
        self.unrest().next().is_none()
    }

    /// What is not as it is when a run has come to rest: every wish is answered, every observation recorded, every provisional
    /// block judged, every end of a block written down, every host active and as far as every other; but for those that are
    /// lost.
    fn unrest(&self) -> impl Iterator<Item = &'static str> {
        let all: [(&str, Level); 6] = [
            ("wishes are open", |world| world.workload.open_wishes() == 0),
            ("observations are missing", |world| world.checks.all_observed(&world.hosts)),
            ("chapters are worked on", Self::is_workless),
            ("a lost host is not replaced", Self::is_replaced),
            ("a host does not know that it was let go", Self::is_farewell_heard),
            ("a host is not settled", |world| {
                let is_settled = |host: &Host| host.node().is_some_and(|node| world.is_settled(host, node));
                world.living().all(is_settled)
            }),
        ];
        all.into_iter().filter(|(_, holds)| !holds(self)).map(|(what, _)| what)
    }

    /// Every host that belongs to the cluster, is not lost and is not to be off.
    fn living(&self) -> impl Iterator<Item = &Host> {
        let members = self.members.iter().filter(|id| Some(**id) != self.sleeper);
        members.filter_map(|id| self.hosts.get(id)).filter(|host| host.health != Health::Lost)
    }

    fn is_settled(&self, host: &Host, node: &Node) -> bool {
        self.unsettled(host, node).next().is_none()
    }

    /// What of a host has not come to rest.
    fn unsettled(&self, host: &Host, node: &Node) -> impl Iterator<Item = &'static str> {
        let is_right = |id: &HostId| {
            let is_lost = self.hosts.get(id).is_some_and(|other| other.health == Health::Lost);
            node.model().host_is_active(*id) == Some(!is_lost)
        };
        // A clock that went back does not make the log's time go back.
        let wall = host.now(self.now).wall.max(node.model().last_accepted_at());
        let is_late = node.model().next_expiry().is_some_and(|expiry| expiry.after(EXPIRED_WITHIN) <= wall);
        let leads = node.consensus().role == Role::Leader;
        let all = [
            ("lags", node.applied().get() == self.checks.entries()),
            ("takes a host for inactive", self.members.iter().all(is_right)),
            ("has other voters", Quorum::of(node).is_right()),
            ("has not written that a block ended", !(leads && is_late)),
            ("drops an address that nobody judged", host.stray().is_none()),
        ];
        all.into_iter().filter(|(_, holds)| !holds).map(|(what, _)| what)
    }

    fn describe(&self) -> String {
        let hosts = self.nodes().map(|node| {
            let status = node.consensus();
            let active: Vec<_> = self.members.iter().map(|id| node.model().host_is_active(*id)).collect();
            let votes = Quorum::of(node);
            format!("{} active {active:?}, {votes:?}", crate::check::picture(&status, node.applied()))
        });
        let unsettled = self.living().filter_map(|host| Some((host, host.node()?)));
        let unsettled = unsettled.flat_map(|(host, node)| {
            let (id, stray) = (host.id, host.stray());
            self.unsettled(host, node).map(move |what| format!("host {id} {what} {stray:?}"))
        });
        let hosts: Vec<String> = unsettled.chain(hosts).collect();
        let (open, missing) = (self.workload.open_wishes(), self.checks.missing(&self.hosts));
        let unrest: Vec<&str> = self.unrest().collect();
        format!("{unrest:?}; {open} open wishes, observations {missing}, hosts: {}", hosts.join("; "))
    }
}
