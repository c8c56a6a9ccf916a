//! The two phases of a run: safety, then liveness.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use consensus::core::Role;
use palisade::node::Node;

use super::{Event, Failure, Report, World};
use crate::check::{Checker, Violation, ensure};
use crate::host::HOSTS;
use crate::planted::Planted;
use crate::trace::Echo;

/// The phase with faults, at least and at most.
const SAFETY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));
/// Once everything works, a host leads within this time: some elections.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// And everything has come to rest within this time: hosts that were marked inactive are active again, commands whose
/// messages were lost have been sent again.
const REST_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs one seed. The trace goes to `echo` line by line, if there is one.
pub fn run(seed: u64, planted: Planted, echo: Option<Echo>) -> Result<Report, Box<Failure>> {
    let mut world = World::new(seed, planted, echo);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let result = lived.unwrap_or_else(|panic| Err(Violation::new(Checker::Running, said(&*panic))));
    let trace_hash = world.trace.hash();
    match result {
        Ok(()) => {
            let mut figures = world.figures;
            (figures.time, figures.entries) = (world.now, world.checks.entries());
            Ok(Report { seed, trace_hash, figures })
        }
        Err(violation) => {
            let tail = world.trace.into_tail();
            Err(Box::new(Failure { seed, trace_hash, violation, tail }))
        }
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_default())
}

impl World {
    fn live(&mut self) -> Result<(), Violation> {
        self.begin();
        let (least, most) = SAFETY;
        let safety = self.prng.between(least, most);
        self.run_until(safety)?;
        self.heal();
        self.await_level(LEADER_WITHIN, "no host leads", Self::is_led)?;
        self.await_level(REST_WITHIN, "no rest", Self::is_at_rest)?;
        self.checks.at_end(&self.hosts)
    }

    fn begin(&mut self) {
        for id in HOSTS {
            let after = self.prng.up_to(Duration::from_secs(1));
            self.schedule(after, Event::Restart(id));
            self.schedule(after, Event::Sense(id));
        }
        self.schedule(Duration::ZERO, Event::Wish);
        self.schedule(Duration::from_secs(1), Event::Fault);
    }

    fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at < end) {
            self.step()?;
        }
        self.now = end;
        Ok(())
    }

    fn await_level(
        &mut self,
        within: Duration,
        otherwise: &str,
        level: fn(&Self) -> bool,
    ) -> Result<(), Violation> {
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

    /// Every wish is answered, every observation recorded, every host active and as far as every other.
    fn is_at_rest(&self) -> bool {
        let is_level = |node: &Node| node.applied().get() == self.checks.entries();
        let is_active = |node: &Node| HOSTS.iter().all(|id| node.model().host_is_active(*id) == Some(true));
        self.workload.open_wishes() == 0
            && self.checks.all_observed(&self.hosts)
            && self.nodes().count() == HOSTS.len()
            && self.nodes().all(|node| is_level(node) && is_active(node))
    }

    fn describe(&self) -> String {
        let hosts = self.nodes().map(|node| {
            let status = node.consensus();
            let active = HOSTS.map(|id| node.model().host_is_active(id));
            format!("{} active {active:?}", crate::check::picture(&status, node.applied()))
        });
        let hosts: Vec<String> = hosts.collect();
        let (open, observed) = (self.workload.open_wishes(), self.checks.all_observed(&self.hosts));
        format!("{open} open wishes, all observed: {observed}, hosts: {}", hosts.join("; "))
    }
}
