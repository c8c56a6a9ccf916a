//! A cluster in memory: cores, write-ahead logs on disks that lose what was not synced, and a network of queues.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use log_format::disk::MemoryDisk;
use log_format::ids::{ClusterId, HostId, Incarnation, LogIndex, Term};
use log_format::time::Timestamp;
use log_format::wal::{
    Batch, ConfState, EntryKind, FileStamp, HardState, LogEntry, LogPosition, Wal, WalIdentity, WalOptions,
    WalSetup,
};
use raft::eraftpb::{Message, MessageType};

use crate::core::{
    Core, CoreConfig, Effect, Input, PersistJob, Proposal, Restored, Role, SnapshotPoint, Status, Ticket,
};

const DATA: &str = "/data";

pub(super) fn host(id: u64) -> HostId {
    HostId::new(id)
}

pub(super) fn index(index: u64) -> LogIndex {
    LogIndex::new(index)
}

pub(super) struct Host {
    pub(super) core: Core,
    pub(super) disk: Arc<MemoryDisk>,
    wal: Wal<MemoryDisk>,
    hard_state: HardState,
    /// Given to the writer and not written yet.
    pub(super) jobs: VecDeque<PersistJob>,
    /// Whether the writer works.
    pub(super) writes: bool,
    /// Everything but messages and jobs.
    pub(super) told: Vec<Effect>,
    /// Committed entries with data, as a projection would have read them.
    pub(super) read: Vec<LogEntry>,
    /// The last entry read.
    cursor: LogIndex,
    /// What is being fetched.
    pub(super) fetching: Option<SnapshotPoint>,
    /// What the newest sealed chapter stands for; as durable as the log.
    snapshot: Option<SnapshotPoint>,
    /// Entries before this may go.
    retire_below: LogIndex,
    lives: u64,
}

/// A message under way.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) from: HostId,
    pub(super) to: HostId,
    pub(super) message: Box<Message>,
}

pub(super) struct Cluster {
    pub(super) hosts: BTreeMap<HostId, Host>,
    pub(super) network: VecDeque<Letter>,
    /// Nobody hears these hosts, and they hear nobody.
    pub(super) cut: BTreeSet<HostId>,
    /// How many messages of each kind were delivered.
    pub(super) delivered: BTreeMap<i32, usize>,
    /// What every host did, once somebody wants to know.
    pub(super) trace: Option<String>,
    pub(super) configure: fn(&mut CoreConfig),
    /// Every committed entry with data: what chapters hold.
    archive: BTreeMap<LogIndex, LogEntry>,
    /// The members from each index on.
    pub(super) members: BTreeMap<LogIndex, ConfState>,
    seed: u64,
    next_ticket: u64,
}

impl Cluster {
    pub(super) fn new(hosts: u64, seed: u64) -> Self {
        Self::configured(hosts, seed, |_| {})
    }

    pub(super) fn configured(hosts: u64, seed: u64, configure: fn(&mut CoreConfig)) -> Self {
        let voters = ConfState::new((1..=hosts).map(host), []);
        let mut cluster = Self {
            hosts: BTreeMap::new(),
            network: VecDeque::new(),
            cut: BTreeSet::new(),
            delivered: BTreeMap::new(),
            trace: None,
            configure,
            archive: BTreeMap::new(),
            members: BTreeMap::from([(LogIndex::default(), voters.clone())]),
            seed,
            next_ticket: 0,
        };
        for id in (1..=hosts).map(host) {
            cluster.add(id, &voters);
        }
        cluster
    }

    /// A cluster that has elected host 1 and settled.
    pub(super) fn led_by_first(hosts: u64) -> Self {
        let mut cluster = Self::new(hosts, 1);
        cluster.elect(host(1));
        cluster
    }

    /// Adds a host with an empty log.
    pub(super) fn add(&mut self, id: HostId, first_members: &ConfState) {
        let disk = Arc::new(MemoryDisk::new());
        let wal = Wal::create(Arc::clone(&disk), Path::new(DATA), setup(id), first_members.clone()).unwrap();
        let started = self.start(disk, wal, Restored::empty(first_members.clone()), (id, 0));
        self.hosts.insert(id, started);
    }

    fn read_chapters(&self, upto: LogIndex) -> Vec<LogEntry> {
        self.archive.range(..=upto).map(|(_, entry)| entry.clone()).collect()
    }

    pub(super) fn members_at(&self, index: LogIndex) -> ConfState {
        self.members.range(..=index).next_back().unwrap().1.clone()
    }

    fn start(
        &self,
        disk: Arc<MemoryDisk>,
        wal: Wal<MemoryDisk>,
        restored: Restored,
        life: (HostId, u64),
    ) -> Host {
        let (id, lives) = life;
        let (base, snapshot) = (restored.base.index, restored.snapshot.clone());
        let mut config = CoreConfig::new(id);
        (self.configure)(&mut config);
        let hard_state = restored.hard_state;
        let seed = self.seed ^ (lives << 32);
        let core = Core::new(&config, restored, Box::new(wal.reader()), seed).unwrap();
        let mut host = Host {
            core,
            disk,
            wal,
            hard_state,
            jobs: VecDeque::new(),
            writes: true,
            told: Vec::new(),
            read: self.read_chapters(base),
            cursor: base,
            fetching: None,
            snapshot,
            retire_below: LogIndex::default(),
            lives,
        };
        host.catch_up();
        host
    }

    /// Cuts the host's power and starts it again.
    pub(super) fn crash(&mut self, id: HostId, seed: u64) {
        let Host { disk, wal, lives, snapshot, .. } = self.hosts.remove(&id).unwrap();
        disk.crash(seed);
        drop(wal);
        let (wal, recovered) = Wal::open(Arc::clone(&disk), Path::new(DATA), setup(id)).unwrap();
        let restored = Restored { snapshot, ..Restored::from(recovered) };
        let started = self.start(disk, wal, restored, (id, lives + 1));
        self.hosts.insert(id, started);
    }

    /// Empties the host's disk and starts it again under its old id, which nobody may do.
    pub(super) fn wipe(&mut self, id: HostId) {
        let voters = ConfState::new(self.hosts.keys().copied(), []);
        self.hosts.remove(&id);
        self.add(id, &voters);
    }

    pub(super) fn input(&mut self, id: HostId, input: Input) {
        self.inputs(id, vec![input]);
    }

    pub(super) fn inputs(&mut self, id: HostId, inputs: Vec<Input>) {
        let mut effects = Vec::new();
        let host = self.hosts.get_mut(&id).unwrap();
        host.core.handle_all(inputs.into_iter(), &mut effects);
        for effect in effects {
            if let Some(trace) = &mut self.trace {
                writeln!(trace, "{id} {effect:?}").unwrap();
            }
            match effect {
                Effect::Send { to, message } => self.network.push_back(Letter { from: id, to, message }),
                Effect::Persist(job) => host.jobs.push_back(job),
                Effect::Committed { .. } => {
                    host.told.push(effect);
                    self.archive.extend(host.catch_up());
                }
                Effect::Fetch { at, ref manifest, .. } => {
                    let (manifest, conf_state) = (manifest.clone(), ConfState::default());
                    host.fetching = Some(SnapshotPoint { at, conf_state, manifest });
                    host.told.push(effect);
                }
                Effect::SnapshotInstalled { at, .. } => {
                    host.told.push(effect);
                    assert!(host.cursor < at.index);
                    host.cursor = at.index;
                    host.read = self.archive.range(..=at.index).map(|(_, entry)| entry.clone()).collect();
                }
                Effect::MembersChanged { index, ref conf_state } => {
                    // The same on every host, but for a learner that was not named in its snapshot.
                    let known = self.members.entry(index).or_insert_with(|| conf_state.clone());
                    assert_eq!(known.voters, conf_state.voters);
                    host.told.push(effect);
                }
                Effect::Proposed { .. }
                | Effect::Refused { .. }
                | Effect::LeaderReady { .. }
                | Effect::LeaderLost { .. }
                | Effect::ReadReady { .. }
                | Effect::ReadDropped { .. }
                | Effect::Halt(_) => host.told.push(effect),
            }
        }
    }

    /// Seals a chapter at the host's commit index and lets the log begin after `base`.
    pub(super) fn retire(&mut self, id: HostId, base: LogIndex) {
        let index = self.status(id).commit;
        let conf_state = self.members_at(index);
        let host = self.hosts.get_mut(&id).unwrap();
        let position = |index| LogPosition {
            term: Term::new(host.core.node.raft.raft_log.term(index).unwrap()),
            index: LogIndex::new(index),
        };
        let (at, base) = (position(index.get()), position(base.get()));
        let manifest = Bytes::from(format!("chapters up to {index}"));
        let snapshot = SnapshotPoint { at, conf_state, manifest };
        host.snapshot = Some(snapshot.clone());
        self.input(id, Input::Retired { base, snapshot });
        self.hosts.get_mut(&id).unwrap().retire_below = base.index.next();
    }

    /// The base of a host's log and its commit index.
    pub(super) fn held(&self, id: HostId) -> (u64, u64) {
        let host = &self.hosts[&id];
        let first = raft::Storage::first_index(host.core.node.store()).unwrap();
        (first - 1, host.core.status().commit.get())
    }

    /// What was asked for is here.
    pub(super) fn fetched(&mut self, id: HostId) {
        let host = self.hosts.get_mut(&id).unwrap();
        let Some(SnapshotPoint { at, manifest, .. }) = host.fetching.take() else { return };
        assert_eq!(manifest, format!("chapters up to {}", at.index));
        let conf_state = self.members_at(at.index);
        self.hosts.get_mut(&id).unwrap().snapshot = Some(SnapshotPoint { at, conf_state, manifest });
        self.input(id, Input::Fetched { index: at.index });
    }

    /// Lets the host's writer finish what it has.
    pub(super) fn write(&mut self, id: HostId) {
        while self.write_one(id) {}
    }

    /// Lets the host's writer finish one job; returns whether there was one.
    pub(super) fn write_one(&mut self, id: HostId) -> bool {
        let host = self.hosts.get_mut(&id).unwrap();
        let Some(job) = host.jobs.pop_front() else { return false };
        let number = job.number;
        let then = host.write(job);
        self.input(id, Input::Persisted { number });
        let letter = |(to, message)| Letter { from: id, to, message };
        self.network.extend(then.into_iter().map(letter));
        true
    }

    pub(super) fn deliver(&mut self, letter: Letter) {
        let Letter { from, to, message } = letter;
        if self.cut.contains(&from) || self.cut.contains(&to) || !self.hosts.contains_key(&to) {
            return;
        }
        *self.delivered.entry(message.msg_type as i32).or_default() += 1;
        self.input(to, Input::Peer { from, message });
    }

    /// Writes and delivers until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let writing = self.hosts.iter().find(|(_, host)| host.writes && !host.jobs.is_empty());
            if let Some(id) = writing.map(|(id, _)| *id) {
                self.write(id);
            } else if let Some(letter) = self.network.pop_front() {
                self.deliver(letter);
            } else {
                return;
            }
        }
        panic!("the cluster does not settle");
    }

    /// One tick everywhere, and what follows from it.
    pub(super) fn tick(&mut self) {
        for id in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.input(id, Input::Tick);
        }
        self.settle();
    }

    pub(super) fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    pub(super) fn elect(&mut self, id: HostId) {
        self.input(id, Input::Campaign);
        self.settle();
        assert_eq!(self.status(id).role, Role::Leader);
    }

    /// Proposes in one turn; returns the tickets.
    pub(super) fn propose(&mut self, id: HostId, data: &[&[u8]]) -> Vec<Ticket> {
        let first = self.next_ticket;
        self.next_ticket += data.len() as u64;
        let tickets: Vec<_> = (first..self.next_ticket).map(Ticket::new).collect();
        let proposal = |(ticket, data): (&Ticket, &&[u8])| {
            let data = Bytes::copy_from_slice(data);
            Input::Propose(Proposal { ticket: *ticket, data })
        };
        let inputs = tickets.iter().zip(data).map(proposal).collect();
        self.inputs(id, inputs);
        tickets
    }

    pub(super) fn status(&self, id: HostId) -> Status {
        self.hosts[&id].core.status()
    }

    pub(super) fn leader(&self) -> Option<HostId> {
        let leads = |id: &&HostId| self.status(**id).role == Role::Leader;
        self.hosts.keys().filter(|id| !self.cut.contains(id)).find(leads).copied()
    }

    pub(super) fn count(&self, kind: MessageType) -> usize {
        self.delivered.get(&(kind as i32)).copied().unwrap_or_default()
    }

    /// The data that the host has read as committed.
    pub(super) fn data(&self, id: HostId) -> Vec<Vec<u8>> {
        self.hosts[&id].read.iter().map(|entry| entry.data.clone()).collect()
    }

    pub(super) fn told(&self, id: HostId) -> &[Effect] {
        &self.hosts[&id].told
    }
}

impl Host {
    /// Does what the writer does, for one job.
    fn write(&mut self, job: PersistJob) -> Vec<(HostId, Box<Message>)> {
        let changed = job.hard_state.is_some() || job.conf_state.is_some() || !job.entries.is_empty();
        self.hard_state = job.hard_state.unwrap_or(self.hard_state);
        if let Some((position, members)) = &job.reset {
            self.wal.reset(*position, members, self.hard_state).unwrap();
        }
        if changed {
            let batch = Batch {
                hard_state: self.hard_state,
                entries: &job.entries,
                conf_state: job.conf_state.as_ref(),
                durability: job.durability,
            };
            self.wal.append(&batch).unwrap();
        }
        self.wal.retire(self.retire_below).unwrap();
        job.then
    }

    /// Reads what is committed and new, a little at a time; returns it.
    fn catch_up(&mut self) -> BTreeMap<LogIndex, LogEntry> {
        let commit = self.core.status().commit;
        let before = self.read.len();
        while self.cursor < commit {
            let entries = self.core.entries(self.cursor.next(), commit.next(), 1_000).unwrap();
            assert!(!entries.is_empty());
            for entry in entries {
                assert_eq!(entry.index, self.cursor.next());
                self.cursor = entry.index;
                if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
                    self.read.push(entry);
                }
            }
        }
        self.read[before..].iter().map(|entry| (entry.index, entry.clone())).collect()
    }
}

fn setup(id: HostId) -> WalSetup {
    let mut nonce = id.get() << 32;
    WalSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([7; 16]),
            host: id,
            incarnation: Incarnation::new(1),
        },
        options: WalOptions { file_bytes: 1 << 20 },
        stamps: Box::new(move || {
            nonce += 1;
            FileStamp { nonce, created_at: Timestamp::from_seconds(1) }
        }),
    }
}
