//! The world: a queue of events in virtual time, and what each of them does.

mod chapters;
mod damage;
mod members;
mod phases;
mod spools;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use consensus::core::Ticket;
use log_format::event::Sanction;
use log_format::ids::HostId;
use palisade::node::ChapterSettings;
use palisade::node::{Fact, Input, Node, Observation, PeerMessage};

use projections::decide::chapters::ChapterLimits;

use crate::check::{Checks, Violation};
use crate::disk::End;
use crate::faults::{Class, Fault, Faults};
use crate::host::{Health, Host, Life, Setup, TICK};
use crate::network::{Network, Weather};
use crate::planted::Planted;
use crate::prng::Prng;
use crate::trace::{Echo, Trace};
use crate::workload::{Wish, Workload};

pub use self::damage::is_panic_caught;
use self::members::{Administrator, Errand};
pub use self::phases::{run, run_with, shrink};

/// The driver takes up what waits within this time.
const TURN_WITHIN: Duration = Duration::from_micros(500);
/// The writer takes up what waits within this time.
const WRITER_WITHIN: Duration = Duration::from_micros(200);
/// A writer without work does its small work after this time.
const WRITER_IDLE: Duration = Duration::from_millis(50);

/// It makes a spare file in steps, with so much time between them.
const IDLE_STEP: Duration = Duration::from_millis(10);

/// How long attacks are kept: longer than any clock jumps, so that nothing is erased before the end of a run.
const RETENTION: Duration = Duration::from_secs(1_300);

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// A defect of the stand-ins.
    pub planted: Planted,
    /// Classes of faults that are not to happen, whatever the seed draws.
    pub without: BTreeSet<Class>,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// What happened in it.
    pub figures: Figures,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Events of the world.
    pub events: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Processes that ended in the middle of something.
    pub crashes: u64,
    /// Starts refused because of a damaged log.
    pub refused_starts: u64,
    /// Damaged logs that other hosts' entries gave back.
    pub repairs: u64,
    /// Linearizable reads answered.
    pub reads: u64,
    /// Wishes answered as committed.
    pub committed: u64,
    /// Wishes that the domain refused.
    pub rejected: u64,
    /// Answers after which people asked again.
    pub asked_again: u64,
    /// Attacks that were erased.
    pub erased: u64,
    /// Machines that joined.
    pub joined: u64,
    /// Hosts that were let go.
    pub let_go: u64,
    /// Data directories that were lost.
    pub wiped: u64,
    /// Chapters that were fetched.
    pub fetched: u64,
    /// Sectors that went bad.
    pub spoiled: u64,
    /// Processes that ended because they could not read what was there.
    pub halts: u64,
    /// Virtual time.
    pub time: Duration,
}

impl Figures {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        let Self {
            events,
            entries,
            crashes,
            refused_starts,
            repairs,
            reads,
            committed,
            rejected,
            asked_again,
            erased,
            joined,
            let_go,
            wiped,
            fetched,
            spoiled,
            halts,
            time,
        } = other;
        self.events += events;
        self.entries += entries;
        self.crashes += crashes;
        self.refused_starts += refused_starts;
        self.repairs += repairs;
        self.reads += reads;
        self.committed += committed;
        self.rejected += rejected;
        self.asked_again += asked_again;
        self.erased += erased;
        self.joined += joined;
        self.let_go += let_go;
        self.wiped += wiped;
        self.fetched += fetched;
        self.spoiled += spoiled;
        self.halts += halts;
        self.time += *time;
    }
}

/// A run that found what must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// What must not be.
    pub violation: Violation,
    /// The classes of faults that were on.
    pub faults: Vec<Class>,
    /// The last lines of the trace.
    pub tail: Vec<String>,
}

/// What happens, to whom.
#[derive(Debug)]
enum Event {
    /// A host takes up what waits.
    Turn(HostId, Life),
    /// A host's clock ticks.
    Tick(HostId, Life),
    /// A message arrives.
    Arrives { from: HostId, to: HostId, message: PeerMessage },
    /// A writer takes up what waits.
    WriterTakes(HostId, Life),
    /// A write is done.
    WriterFinishes(HostId, Life),
    /// A writer has had nothing to do for a while.
    WriterIdles(HostId, Life),
    /// A spool's thread takes up what waits.
    SpoolTakes(HostId, Life),
    /// Its work is done.
    SpoolFinishes(HostId, Life),
    /// Work on a host's chapters is done.
    WorkshopFinishes(HostId, Life),
    /// Something goes wrong.
    Fault,
    /// A host starts again.
    Restart(HostId),
    /// A process that stood still goes on.
    GoesOn(HostId),
    /// Somebody wants something.
    Wish,
    /// Somebody asks again.
    AskAgain(Wish),
    /// Somebody wants to read what is true now.
    Read,
    /// A sensor sees something.
    Sense(HostId),
    /// Somebody looks after the members.
    Errand(Errand),
}

pub(crate) struct World {
    now: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    /// What waits for a process that stands still.
    held: BTreeMap<HostId, Vec<Event>>,
    prng: Prng,
    hosts: BTreeMap<HostId, Host>,
    network: Network,
    faults: Faults,
    setup: Setup,
    /// Every host that belongs to the cluster, as far as any host knows.
    members: Vec<HostId>,
    administrator: Administrator,
    /// A host that is off while others erase.
    sleeper: Option<HostId>,
    /// Sensors see nothing, those of hosts that join just now neither.
    is_calm: bool,
    /// Who waits to read, at which host, since when.
    reads: BTreeMap<Ticket, (HostId, Duration)>,
    workload: Workload,
    checks: Checks,
    trace: Trace,
    figures: Figures,
}

impl World {
    fn new(options: &Options, echo: Option<Echo>) -> Self {
        let Options { seed, planted, ref without } = *options;
        let mut prng = Prng::new(seed);
        let faults = Faults::draw(prng.fork(), without.clone());
        let network = Network::new(prng.fork(), faults.weather);
        let founders = faults.founders();
        let workload = Workload::new(prng.fork(), planted, (founders, faults.deltas));
        let (max_uncommitted, max_tail) = (faults.max_uncommitted, faults.max_tail);
        let spool_bytes = faults.spool_bytes;
        let chapters = chapter_settings(&faults);
        let log_file_bytes = faults.log_file_bytes();
        let setup =
            Setup { planted, founders, max_uncommitted, max_tail, log_file_bytes, spool_bytes, chapters };
        let hosts = founders.iter().zip(faults.skews);
        let hosts = hosts.map(|(id, skew)| (*id, Host::new(*id, setup, skew, founders.to_vec())));
        Self {
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            scheduled: 0,
            held: BTreeMap::new(),
            prng,
            hosts: hosts.collect(),
            network,
            faults,
            setup,
            members: founders.to_vec(),
            administrator: Administrator::default(),
            sleeper: None,
            is_calm: false,
            reads: BTreeMap::new(),
            workload,
            checks: Checks::new(founders),
            trace: Trace::new(echo),
            figures: Figures::default(),
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + after, self.scheduled), event);
    }

    /// Lets the next event happen.
    fn step(&mut self) -> Result<(), Violation> {
        let Some(((at, _), event)) = self.queue.pop_first() else { return Ok(()) };
        self.now = self.now.max(at);
        self.figures.events += 1;
        match event {
            Event::Turn(host, life) if self.runs(host, life, Event::Turn) => return self.turn(host),
            Event::Tick(host, life) if self.runs(host, life, Event::Tick) => self.tick(host),
            Event::WriterTakes(host, life) if self.runs(host, life, Event::WriterTakes) => {
                return self.writer_takes(host);
            }
            Event::WriterFinishes(host, life) if self.runs(host, life, Event::WriterFinishes) => {
                return self.writer_finishes(host);
            }
            Event::WriterIdles(host, life) if self.runs(host, life, Event::WriterIdles) => {
                return self.writer_idles(host);
            }
            Event::SpoolTakes(host, life) if self.runs(host, life, Event::SpoolTakes) => {
                self.spool_takes(host)
            }
            Event::SpoolFinishes(host, life) if self.runs(host, life, Event::SpoolFinishes) => {
                return self.spool_finishes(host);
            }
            Event::WorkshopFinishes(host, life) if self.runs(host, life, Event::WorkshopFinishes) => {
                self.workshop_finishes(host)
            }
            Event::Turn(..)
            | Event::Tick(..)
            | Event::WorkshopFinishes(..)
            | Event::SpoolTakes(..)
            | Event::SpoolFinishes(..)
            | Event::WriterTakes(..)
            | Event::WriterFinishes(..)
            | Event::WriterIdles(..) => {}
            Event::Arrives { from, to, message } => self.arrives((from, to), message),
            Event::Fault => return self.fault(),
            Event::Restart(host) => return self.restart(host),
            Event::GoesOn(host) => self.go_on(host),
            Event::Wish => self.somebody_wishes(),
            Event::Read => self.somebody_reads(),
            Event::AskAgain(wish) => {
                self.workload.taken_up();
                self.ask(wish);
            }
            Event::Sense(host) => self.sense(host),
            Event::Errand(errand) => self.run(errand),
        }
        Ok(())
    }

    /// Whether the process still lives and runs; what comes to one that stands still is held until it goes on.
    fn runs(&mut self, id: HostId, life: Life, again: fn(HostId, Life) -> Event) -> bool {
        let Some(host) = self.hosts.get(&id).filter(|host| host.is_life(life)) else { return false };
        let stands = self.now < host.resumes_at;
        if stands {
            self.held.entry(id).or_default().push(again(id, life));
        }
        !stands
    }

    fn go_on(&mut self, id: HostId) {
        let stands = self.hosts.get(&id).is_some_and(|host| self.now < host.resumes_at);
        if !stands {
            for event in self.held.remove(&id).unwrap_or_default() {
                self.schedule(Duration::ZERO, event);
            }
        }
    }

    fn tick(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.tick();
        let (next, life) = (host.clock.true_time(TICK), host.life());
        self.schedule(next, Event::Tick(id, life));
        self.plan_turn(id);
    }

    /// Puts something into a host's inbox.
    fn offer(&mut self, id: HostId, input: Input) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_up()) else { return };
        host.push(input);
        self.plan_turn(id);
    }

    fn plan_turn(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        if host.plan_turn() {
            let life = host.life();
            let after = self.prng.up_to(TURN_WITHIN);
            self.schedule(after, Event::Turn(id, life));
        }
    }

    fn somebody_wishes(&mut self) {
        let seen = self.prng.pick(&self.members).and_then(|id| self.hosts.get(id)).and_then(Host::node);
        let version = seen.map_or(0, |node| node.model().settings().version);
        let wish = self.workload.wish(self.now, version);
        self.ask(wish);
        let gap = self.workload.wish_gap();
        self.schedule(gap, Event::Wish);
    }

    fn somebody_reads(&mut self) {
        let gap = self.workload.wish_gap();
        self.schedule(gap, Event::Read);
        let Some(id) = self.workload.choose_host() else { return };
        if self.hosts.get(&id).is_some_and(Host::is_up) {
            let ticket = self.workload.fresh_ticket();
            self.reads.insert(ticket, (id, self.now));
            self.offer(id, Input::Read { ticket });
        }
    }

    fn ask(&mut self, wish: Wish) {
        let asked = self.whom_to_ask(&wish);
        let up = asked.and_then(|id| Some((id, self.hosts.get(&id).filter(|host| host.is_up())?.life())));
        let Some((id, life)) = up else { return self.ask_again(wish) };
        self.checks.asked(&wish);
        let (number, command, body) = (wish.number, wish.id, wish.body.clone());
        self.trace.line(self.now, format_args!("host {id}: asked {number:?} {command}"));
        let ticket = self.workload.ask(id, life, wish);
        self.offer(id, Input::Submit { ticket, id: command, body });
    }

    fn ask_again(&mut self, wish: Wish) {
        self.figures.asked_again += 1;
        let wish = self.workload.put_off(wish);
        let gap = self.workload.ask_again_gap();
        self.schedule(gap, Event::AskAgain(wish));
    }

    fn sense(&mut self, id: HostId) {
        if self.is_calm {
            return;
        }
        let gap = self.workload.sense_gap();
        self.schedule(gap, Event::Sense(id));
        let belongs = self.members.contains(&id);
        let Some(host) = self.hosts.get(&id).filter(|host| belongs && host.is_up()) else { return };
        let (life, wall) = (host.life(), host.now(self.now).wall);
        let (number, observation) = self.workload.observe(id, wall);
        self.trace.line(self.now, format_args!("host {id}: saw {number:?}"));
        self.checks.observed(id, life, number);
        if let (Some(source), Some(host)) = (provisional(&observation), self.hosts.get_mut(&id)) {
            host.block_provisionally(source);
            self.trace.line(self.now, format_args!("host {id}: drops {source} for now"));
        }
        self.offer(id, Input::Observe(observation));
    }

    fn fault(&mut self) -> Result<(), Violation> {
        let gap = self.faults.gap();
        self.schedule(gap, Event::Fault);
        let Some(fault) = self.faults.next(&self.members) else { return Ok(()) };
        self.trace.line(self.now, format_args!("{fault:?}"));
        match fault {
            Fault::Crash { host, end, down } => self.crash(host, end, down),
            Fault::CrashInTurn { host, after, down } => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.end_after(after, down);
                }
            }
            Fault::Doom { host, doom, down } => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.down_after_write = down;
                    host.drive.doom(doom);
                }
            }
            Fault::Rot { host, rot, down } => self.rot(host, rot, down),
            Fault::Clog { from, to, time } => self.network.clog(from, to, self.now + time),
            Fault::Reset { one, other } => self.reset(one, other),
            Fault::Split { cut } => {
                self.network.heal();
                cut.into_iter().for_each(|(from, to)| self.network.cut(from, to));
            }
            Fault::Heal => self.network.heal(),
            Fault::Pause { host, time } => {
                if let Some(host) = self.hosts.get_mut(&host).filter(|host| host.is_up()) {
                    host.resumes_at = host.resumes_at.max(self.now + time);
                }
                self.schedule(time, Event::GoesOn(host));
            }
            Fault::SetClock { host, offset } => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.clock.set_offset(offset);
                }
            }
            Fault::Transfer { at, to } => self.offer(at, Input::Transfer { to }),
            Fault::Join => self.let_join(),
            Fault::LetGo { host } => self.let_go(host),
            Fault::Wipe { host } => self.wipe(host),
            Fault::SilentLeader { time } => self.silence_leader(time),
            Fault::Spoil { host, spoil, down } => self.spoil(host, spoil, down),
        }
        Ok(())
    }

    /// A process ends; whoever waited for it sees that.
    fn crash(&mut self, id: HostId, end: End, down: Duration) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_up()) else { return };
        let life = host.life();
        host.end(end, &mut self.prng);
        self.held.remove(&id);
        self.reads.retain(|_, (host, _)| *host != id);
        self.figures.crashes += 1;
        self.trace.line(self.now, format_args!("host {id}: ends, {end:?}"));
        for wish in self.workload.hung_up(id, life) {
            self.ask_again(wish);
        }
        self.schedule(down, Event::Restart(id));
    }

    /// Everything under way between two hosts is lost.
    fn reset(&mut self, one: HostId, other: HostId) {
        let is_between = |event: &Event| matches!(event, Event::Arrives { from, to, .. } if [(one, other), (other, one)].contains(&(*from, *to)));
        self.queue.retain(|_, event| !is_between(event));
    }

    fn restart(&mut self, id: HostId) -> Result<(), Violation> {
        let is_down = |host: &&mut Host| !host.is_up() && host.health != Health::Lost;
        let mut others = self.others(id);
        let Some(host) = self.hosts.get_mut(&id).filter(is_down) else { return Ok(()) };
        let outputs = match host.boot(self.now, &mut others, &mut self.prng) {
            Ok(outputs) => outputs,
            Err(error) => return self.refuse(id, &error),
        };
        host.note_booted()?;
        let (life, applied) = (host.life(), host.applied());
        self.trace.line(self.now, format_args!("host {id}: starts, applied {applied}"));
        self.schedule(TICK, Event::Tick(id, life));
        self.carry_out_all(id, outputs)
    }

    /// Everything works from now on.
    fn heal(&mut self) {
        self.trace.line(self.now, format_args!("everything works from now on"));
        self.faults.end();
        self.is_calm = true;
        self.network.heal();
        self.network.unclog();
        self.network.set_weather(Weather::FAIR);
        self.hosts.values_mut().for_each(Host::heal);
        self.replace_disks();
        let is_over = |event: &Event| {
            matches!(
                event,
                Event::Fault | Event::Wish | Event::Read | Event::Sense(_) | Event::Errand(Errand::Join)
            )
        };
        self.queue.retain(|_, event| !is_over(event));
        for id in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.schedule(Duration::ZERO, Event::Restart(id));
            self.schedule(Duration::ZERO, Event::GoesOn(id));
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.hosts.values().filter_map(Host::node)
    }
}

/// When this run's chapters are cut, and what stays.
fn chapter_settings(faults: &Faults) -> ChapterSettings {
    let usual = ChapterSettings::default();
    ChapterSettings {
        limits: ChapterLimits { entries: faults.chapter_entries, ..usual.limits },
        keep_entries: faults.keep_entries,
        retention: RETENTION,
        retention_every: Duration::from_secs(1),
        ..usual
    }
}

/// What a sensor has dropped at once (`palisade::runtime::sensor`).
fn provisional(observation: &Observation) -> Option<IpAddr> {
    match &observation.fact {
        Fact::Attack(attack) if Sanction::Observe < attack.sanction => Some(attack.source),
        Fact::Attack(_) | Fact::Note(_) | Fact::Strikes(_) => None,
    }
}
