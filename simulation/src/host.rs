//! One host: its process, if it lives, its disk and its clocks. The stand-in for the driver's thread
//! (`palisade::runtime`): an inbox, turns, and ticks.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use consensus::core::{Core, CoreConfig, CoreError};
use log_format::chapter::ChapterError;
use log_format::history::History;
use log_format::ids::{ClusterId, HostId, Incarnation, LogIndex, OriginSequence};
use log_format::recover::RecoverError;
use log_format::spool::SpoolError;
use log_format::wal::{ConfState, WalIdentity};
use palisade::node::chapters::snapshot_of;
use palisade::node::{ChapterSettings, Identity, Input, KnownHost, Members, Node, Now, Output};
use palisade::runtime::chapters::repair::repair;
use palisade::witness::WitnessKey;
use projections::plan::firewall::{self, FirewallChange, FirewallPlan};
use thiserror::Error;

use crate::clock::{HostClock, Skew};
use crate::disk::{CHANGES_OF_A_FETCH, CHANGES_OF_A_WRITE, Drive, End, Held, Honesty};
use crate::donors::Others;
use crate::planted::Planted;
use crate::prng::Prng;
use crate::spool::SpoolThread;
use crate::workshop::Workshop;

/// The cluster.
const CLUSTER: ClusterId = ClusterId::new(*b"simulated hosts!");
/// No data directory is ever made anew.
const INCARNATION: Incarnation = Incarnation::new(1);
/// Raft's tick, as the driver has it.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Ticks made up for after a pause.
const CATCH_UP_TICKS: u32 = 2;
/// The hosts, of which a run has the first three or all.
pub(crate) const HOSTS: [HostId; 5] =
    [HostId::new(1), HostId::new(2), HostId::new(3), HostId::new(4), HostId::new(5)];

/// The first so many of the hosts.
pub(crate) fn first_hosts(count: usize) -> &'static [HostId] {
    HOSTS.get(..count).unwrap_or(&HOSTS)
}

/// Which of a host's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life(u32);

/// A host did not start.
#[derive(Debug, Error)]
pub(crate) enum BootError {
    /// Its log did not open.
    #[error("open the log")]
    Log(#[from] RecoverError),
    /// Its chapters cannot be read.
    #[error("read the chapters")]
    Chapters(#[from] ChapterError),
    /// Its chapters are damaged, and nobody gave them back.
    #[error("repair the chapters: {0}")]
    Repair(String),
    /// It has no key to vouch for seals with.
    #[error("make a key")]
    Key,
    /// Its spool did not open.
    #[error("open the spool")]
    Spool(#[from] SpoolError),
    /// Consensus did not start.
    #[error("start consensus")]
    Core(#[from] CoreError),
    /// Its log opened and does not end cleanly.
    #[error("the log was opened and ends with the remains of a torn batch")]
    Unclean,
    /// Its log opened without something that it had been said to hold.
    #[error("the log held {before:?} and holds {now:?}")]
    Forgot {
        /// What it was said to hold.
        before: Box<Held>,
        /// What it holds.
        now: Box<Held>,
    },
}

/// What is the same for every host of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) planted: Planted,
    /// Those that begin the cluster.
    pub(crate) founders: &'static [HostId],
    /// Memory for durable entries, in bytes.
    pub(crate) max_tail: usize,
    /// Proposals that may wait to be committed, in bytes.
    pub(crate) max_uncommitted: usize,
    /// Bytes of a log file.
    pub(crate) log_file_bytes: u64,
    /// What a spool holds, in bytes.
    pub(crate) spool_bytes: u64,
    pub(crate) chapters: ChapterSettings,
}

pub(crate) struct Host {
    pub(crate) id: HostId,
    setup: Setup,
    /// The hosts of its start-up configuration.
    known: Vec<HostId>,
    pub(crate) clock: HostClock,
    pub(crate) drive: Drive,
    life: Life,
    process: Option<Process>,
    /// The process stands still until then.
    pub(crate) resumes_at: Duration,
    /// What the log's writer takes up is not durable before then.
    pub(crate) stalls_until: Duration,
    pub(crate) spool: SpoolThread,
    pub(crate) workshop: Workshop,
    /// How long it is down once its next write has failed.
    pub(crate) down_after_write: Duration,
    pub(crate) health: Health,
    /// Sectors have gone bad since the last start that found nothing of the kind: its process may end for them.
    pub(crate) is_spoiled: bool,
    /// Sectors of its spool have gone bad: it may lose what was there, and says so.
    pub(crate) is_spool_spoiled: bool,
    /// How far this process had applied the log when it was first told to erase.
    pub(crate) erases_since: Option<LogIndex>,
}

/// Whether a host's disk can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Sound,
    /// Durable bytes have changed: the host may refuse to start, and must not start without what it promised.
    Rotten,
    /// It refused to start, or lost everything.
    Lost,
}

struct Process {
    node: Node,
    inbox: Vec<Input>,
    ticks: u32,
    unreachable: BTreeSet<HostId>,
    told: u64,
    turn: Turn,
    ending: Option<Ending>,
    /// What the kernel holds because the log says so, brought up to date change by change.
    kernel: FirewallPlan,
    /// What it drops because this host's sensor said so, until the log has judged.
    provisional: BTreeSet<IpAddr>,
    /// Those of which the log may never be told.
    unheard: BTreeSet<IpAddr>,
    /// Those with whom its transport speaks.
    peers: BTreeSet<HostId>,
}

/// The process ends after so many outputs of its next turn, and is down for a time.
pub(crate) type Ending = (usize, Duration);
/// What a turn gave, and after how many of its outputs the process ends.
pub(crate) type Turned = (Vec<Output>, Option<Ending>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Idle,
    Due,
}

impl Host {
    /// A host whose start-up configuration names `known`, with an empty disk.
    pub(crate) fn new(id: HostId, setup: Setup, skew: Skew, known: Vec<HostId>) -> Self {
        Self {
            id,
            setup,
            known,
            clock: HostClock::new(skew),
            drive: drive(id, setup),
            life: Life(0),
            process: None,
            resumes_at: Duration::ZERO,
            stalls_until: Duration::ZERO,
            spool: SpoolThread::default(),
            workshop: Workshop::default(),
            down_after_write: Duration::ZERO,
            health: Health::Sound,
            is_spoiled: false,
            is_spool_spoiled: false,
            erases_since: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The process that runs now, or ran last.
    pub(crate) fn life(&self) -> Life {
        self.life
    }

    pub(crate) fn is_life(&self, life: Life) -> bool {
        self.is_up() && self.life == life
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        self.process.as_ref().map(|process| &process.node)
    }

    /// Who takes part in consensus, as far as this host knows: what it has applied, or what its log says while it is off.
    pub(crate) fn consensus_members(&self) -> Option<ConfState> {
        if let Some(node) = self.node() {
            let status = node.consensus();
            return Some(ConfState::new(status.voters, status.learners));
        }
        self.drive.members_in_log()
    }

    /// Starts the process, which folds what was committed before. After an error nothing is left of it.
    pub(crate) fn boot(
        &mut self,
        at: Duration,
        others: &mut Others,
        prng: &mut Prng,
    ) -> Result<Vec<Output>, BootError> {
        let booted = self.try_boot(at, others, prng);
        if booted.is_err() {
            self.spool.end();
            self.workshop.end();
            self.drive.abandon();
        }
        booted
    }

    fn try_boot(
        &mut self,
        at: Duration,
        others: &mut Others,
        prng: &mut Prng,
    ) -> Result<Vec<Output>, BootError> {
        let (mut restored, reader) = self.drive.boot(prng.fork())?;
        let repaired = repair(self.drive.place(), &reader, others);
        repaired.map_err(|error| BootError::Repair(format!("{error:#}")))?;
        let sizes = (self.drive.identity(), self.setup.spool_bytes, self.life.0 + 1);
        let spooled = self.spool.open(self.drive.place(), sizes, prng.fork())?;
        self.life = Life(self.life.0 + 1);
        self.erases_since = None;
        self.clock.restart(at);
        let config = CoreConfig {
            max_uncommitted_bytes: self.setup.max_uncommitted,
            max_tail_bytes: self.setup.max_tail,
            ..CoreConfig::new(self.id)
        };
        let (disk, data) = self.drive.place();
        let history = || History::new(Arc::new(disk.clone()), data, reader.clone());
        self.workshop.open((disk.clone(), data.to_owned()), CLUSTER, history());
        let history = history();
        let seals = history.seals()?;
        let committed = seals.partition_point(|seal| seal.last.index <= restored.hard_state.commit);
        restored.snapshot = snapshot_of(seals.get(..committed).unwrap_or_default());
        let base = restored.base;
        let core = Core::new(&config, restored, Box::new(history), prng.next())?;
        let key = witness_key(self.id).ok_or(BootError::Key)?;
        let mut node = Node::new(self.identity(spooled), core, prng.bytes(), self.now(at)).with_chapters(
            self.setup.chapters,
            seals,
            base,
            key,
        );
        let mut outputs = Vec::new();
        node.start(&mut outputs);
        // The first convergence is with the whole plan; what the fold of the past says of changes is contained in it.
        outputs.retain(|output| !matches!(output, Output::Firewall { .. }));
        let kernel = firewall::desired(node.model(), node.model().last_accepted_at());
        let peers = node.members().into_keys().collect();
        self.process = Some(Process {
            node,
            inbox: Vec::new(),
            ticks: 0,
            unreachable: BTreeSet::new(),
            told: 0,
            turn: Turn::Idle,
            ending: None,
            kernel,
            provisional: BTreeSet::new(),
            unheard: BTreeSet::new(),
            peers,
        });
        Ok(outputs)
    }

    fn identity(&self, spooled: Option<OriginSequence>) -> Identity {
        let start = match self.setup.planted {
            Planted::ReuseObservationNumbers => 1,
            Planted::Nothing | Planted::AckBeforeSync | Planted::NewIdOnRetry => self.life.0,
        };
        let hosts = self.known.iter().map(|host| KnownHost {
            host: *host,
            name: format!("host-{host}"),
            addresses: vec![address_of(*host)],
        });
        Identity {
            cluster: CLUSTER,
            host: self.id,
            incarnation: INCARNATION,
            spooled,
            start,
            hosts: hosts.collect(),
        }
    }

    /// The process ends.
    pub(crate) fn end(&mut self, end: End, prng: &mut Prng) {
        self.process = None;
        (self.resumes_at, self.stalls_until) = (Duration::ZERO, Duration::ZERO);
        let is_fetching = self.workshop.fetches_from().is_some();
        self.drive.begin_end(if is_fetching { CHANGES_OF_A_FETCH } else { CHANGES_OF_A_WRITE }, prng);
        // Any of the three may have got further than the others.
        let first = prng.below(3);
        for turn in 0..3 {
            match (first + turn) % 3 {
                0 => self.spool.end(),
                1 => self.drive.abandon(),
                _ => self.workshop.end(),
            }
        }
        self.drive.end(end, prng);
    }

    /// The process ends at the next turn, after so many of its outputs.
    pub(crate) fn end_after(&mut self, outputs: usize, down: Duration) {
        if let Some(process) = &mut self.process {
            process.ending = Some((outputs, down));
        }
    }

    /// The faults are over: a process that was to end lives on, one that was paused goes on, the disk works.
    pub(crate) fn heal(&mut self) {
        (self.resumes_at, self.stalls_until) = (Duration::ZERO, Duration::ZERO);
        self.drive.heal();
        if let Some(process) = &mut self.process {
            process.ending = None;
        }
    }

    pub(crate) fn now(&self, at: Duration) -> Now {
        self.clock.read(at)
    }

    /// Puts something into the inbox.
    pub(crate) fn push(&mut self, input: Input) {
        if let Some(process) = &mut self.process {
            process.inbox.push(input);
        }
    }

    /// A tick went by; after a pause only some are made up for.
    pub(crate) fn tick(&mut self) {
        if let Some(process) = &mut self.process {
            process.ticks = CATCH_UP_TICKS.min(process.ticks + 1);
        }
    }

    /// The transport could not deliver.
    pub(crate) fn note_unreachable(&mut self, peer: HostId) {
        if let Some(process) = &mut self.process {
            process.unreachable.insert(peer);
        }
    }

    /// Whether a turn must be planned now: something waits, and no turn is planned yet.
    pub(crate) fn plan_turn(&mut self) -> bool {
        let Some(process) = &mut self.process else { return false };
        std::mem::replace(&mut process.turn, Turn::Due) == Turn::Idle
    }

    /// Takes everything that waits in one turn. Gives the outputs, and after how many of them the process ends.
    pub(crate) fn turn(&mut self, at: Duration) -> Turned {
        let (now, durable) = (self.clock.read(at), self.drive.durable());
        let mut outputs = Vec::new();
        let Some(process) = &mut self.process else { return (outputs, None) };
        process.turn = Turn::Idle;
        let mut inputs = Vec::new();
        // The writer's progress comes before whatever peers answered to it.
        if process.told < durable {
            process.told = durable;
            inputs.push(Input::Persisted { number: durable });
        }
        inputs.append(&mut process.inbox);
        let unreachable = std::mem::take(&mut process.unreachable);
        inputs.extend(unreachable.into_iter().map(|host| Input::Unreachable { host }));
        inputs.extend((0..std::mem::take(&mut process.ticks)).map(|_| Input::Tick));
        process.node.handle_all(inputs, now, &mut outputs);
        (outputs, process.ending.take())
    }

    /// The sensor has an address dropped at once, whatever the cluster does.
    pub(crate) fn block_provisionally(&mut self, source: IpAddr) {
        if let Some(process) = &mut self.process {
            process.provisional.insert(source);
        }
    }

    /// The log has judged otherwise.
    pub(crate) fn lift(&mut self, source: IpAddr) {
        if let Some(process) = &mut self.process {
            process.provisional.remove(&source);
        }
    }

    /// The log has judged: what was provisional is decided, or over.
    pub(crate) fn enforce(&mut self, change: &FirewallChange) {
        if let Some(process) = &mut self.process {
            process.kernel.apply(change);
            process.provisional.retain(|source| !change.addresses.contains_key(source));
        }
    }

    /// The transport speaks with these from now on.
    pub(crate) fn follow(&mut self, members: &Members) {
        if let Some(process) = &mut self.process {
            process.peers = members.keys().copied().collect();
        }
    }

    /// Whether its transport speaks with a host: one that it knows, or one that may have joined since.
    pub(crate) fn speaks_with(&self, peer: HostId) -> bool {
        let heard = |process: &Process| {
            let views = process.node.views();
            let views = views.read().unwrap_or_else(PoisonError::into_inner);
            self.known.iter().copied().chain(views.hosts.rows().map(|row| row.host)).max()
        };
        let may_be_new = |process: &Process| heard(process).max(Some(self.id)) < Some(peer);
        self.process.as_ref().is_some_and(|process| process.peers.contains(&peer) || may_be_new(process))
    }

    /// Those that its transport knows.
    pub(crate) fn peers(&self) -> impl Iterator<Item = HostId> {
        self.process.iter().flat_map(|process| process.peers.iter().copied())
    }

    /// Everything on its disk is gone, and it does not come back under its old name.
    pub(crate) fn wipe(&mut self) {
        self.drive = drive(self.id, self.setup);
        self.health = Health::Lost;
    }

    /// What the kernel holds.
    pub(crate) fn kernel(&self) -> Option<&FirewallPlan> {
        self.process.as_ref().map(|process| &process.kernel)
    }

    /// An address that is still dropped provisionally though the log has let it go.
    pub(crate) fn stray(&self) -> Option<IpAddr> {
        let Process { provisional, unheard, node, .. } = self.process.as_ref()?;
        provisional.difference(unheard).copied().find(|source| !node.model().drops(*source))
    }

    /// The spool has lost records: of what is dropped provisionally nobody may ever hear. The kernel forgets it in a minute.
    pub(crate) fn note_loss(&mut self) {
        if let Some(process) = &mut self.process {
            process.unheard.clone_from(&process.provisional);
        }
    }

    pub(crate) fn applied(&self) -> LogIndex {
        self.node().map_or(LogIndex::new(0), Node::applied)
    }
}

/// An empty disk.
fn drive(id: HostId, setup: Setup) -> Drive {
    let identity = WalIdentity { cluster: CLUSTER, host: id, incarnation: INCARNATION };
    let honesty = match setup.planted {
        Planted::AckBeforeSync => Honesty::AcksBeforeSync,
        Planted::Nothing | Planted::NewIdOnRetry | Planted::ReuseObservationNumbers => Honesty::Honest,
    };
    let founders = ConfState::new(setup.founders.iter().copied(), []);
    Drive::new(identity, founders, setup.log_file_bytes, honesty)
}

/// The key with which a host vouches for seals.
fn witness_key(host: HostId) -> Option<WitnessKey> {
    WitnessKey::from_seed(&[u8::try_from(host.get()).unwrap_or(u8::MAX); 32])
}

/// A host's own address, which is never blocked.
pub(crate) fn address_of(host: HostId) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(host.get()).unwrap_or(u8::MAX)])
}
