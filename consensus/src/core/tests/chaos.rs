//! Short random lives: messages are lost, doubled and reordered, writers stall, power fails. What was acknowledged stays, in one
//! order, on every host; and after everything is healed the cluster works again.

use std::collections::BTreeMap;

use log_format::ids::{HostId, LogIndex};
use log_format::wal::LogEntry;

use super::cluster::{Cluster, host};
use crate::core::{Effect, Input, Role, SNAPSHOT_TICKS, SplitMix64};

const SEEDS: u64 = 60;
const STEPS: usize = 1_500;

#[test]
fn acknowledged_entries_survive_whatever_happens() {
    let mut installed = 0;
    for seed in 0..SEEDS {
        let mut chaos = Chaos::new(seed);
        for _ in 0..STEPS {
            chaos.step();
        }
        chaos.heal();
        let told = chaos.cluster.hosts.values().flat_map(|host| &host.told);
        installed += told.filter(|effect| matches!(effect, Effect::SnapshotInstalled { .. })).count();
    }
    assert!(0 < installed, "no host ever needed a snapshot");
}

struct Chaos {
    random: SplitMix64,
    cluster: Cluster,
    hosts: Vec<HostId>,
    /// The longest committed prefix that anybody read.
    agreed: Vec<LogEntry>,
    /// How far each host's reading was compared with it.
    compared: BTreeMap<HostId, usize>,
    seed: u64,
    written: u32,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let hosts = if random.next().is_multiple_of(4) { 5 } else { 3 };
        Self {
            cluster: Cluster::configured(hosts, seed, |config| config.max_tail_bytes = 2_000),
            random,
            hosts: (1..=hosts).map(host).collect(),
            agreed: Vec::new(),
            compared: BTreeMap::new(),
            seed,
            written: 0,
        }
    }

    fn step(&mut self) {
        let id = self.any_host();
        match self.random.next() % 100 {
            0..30 => self.cluster.input(id, Input::Tick),
            30..60 => self.deliver(),
            60..80 => self.cluster.write(id),
            80..94 => self.propose(id),
            94..95 => self.crash(id),
            95..96 => self.cut_or_join(id),
            96..97 => self.cluster.input(id, Input::Campaign),
            97..99 => self.odd_jobs(id),
            _ => self.lose(),
        }
        self.check(id);
    }

    /// Transfers, shorter logs, and fetches that end one way or the other.
    fn odd_jobs(&mut self, id: HostId) {
        match self.random.next() % 5 {
            4 => self.cluster.input(id, Input::Unreachable { host: self.hosts[0] }),
            0 => self.cluster.input(id, Input::Transfer { to: self.hosts[1] }),
            1 => self.retire(id),
            2 => self.finish_fetches(),
            _ => {
                let fetching = self.cluster.hosts.get_mut(&id).unwrap().fetching.take();
                if let Some(point) = fetching {
                    self.cluster.input(id, Input::FetchFailed { index: point.at.index });
                }
            }
        }
    }

    /// Lets the log of a host begin where it likes.
    fn retire(&mut self, id: HostId) {
        let (first, commit) = self.cluster.held(id);
        let base = first + self.random.next() % (commit - first + 1);
        if 0 < commit {
            self.cluster.retire(id, LogIndex::new(base));
        }
    }

    fn finish_fetches(&mut self) {
        for id in self.hosts.clone() {
            self.cluster.fetched(id);
        }
    }

    fn any_host(&mut self) -> HostId {
        let count = self.hosts.len() as u64;
        self.hosts[usize::try_from(self.random.next() % count).unwrap()]
    }

    fn propose(&mut self, id: HostId) {
        self.written += 1;
        self.cluster.propose(id, &[&self.written.to_be_bytes()]);
    }

    /// Delivers any of the messages under way, sometimes twice.
    fn deliver(&mut self) {
        for _ in 0..3 {
            let waiting = self.cluster.network.len() as u64;
            if waiting == 0 {
                return;
            }
            let near = self.random.next() % waiting.min(8);
            let letter = self.cluster.network.remove(usize::try_from(near).unwrap()).unwrap();
            if self.random.next().is_multiple_of(16) {
                self.cluster.network.push_back(letter.clone());
            }
            self.cluster.deliver(letter);
        }
    }

    fn crash(&mut self, id: HostId) {
        self.cluster.crash(id, self.seed);
        // It reads its log anew, which is compared anew.
        self.compared.remove(&id);
    }

    fn lose(&mut self) {
        let id = self.any_host();
        self.cluster.network.retain(|letter| letter.to != id);
    }

    fn cut_or_join(&mut self, id: HostId) {
        if !self.cluster.cut.remove(&id) && self.cluster.cut.len() < self.hosts.len() / 2 {
            self.cluster.cut.insert(id);
        }
    }

    /// What one host reads and what was agreed are prefixes of each other.
    fn check(&mut self, id: HostId) {
        let host = &self.cluster.hosts[&id];
        let common = host.read.len().min(self.agreed.len());
        let from = self.compared.insert(id, common).unwrap_or(0);
        assert_eq!(host.read[from..common], self.agreed[from..common], "seed {}, host {id}", self.seed);
        self.agreed.extend_from_slice(&host.read[common..]);
        let halted = host.told.iter().any(|effect| matches!(effect, Effect::Halt(_)));
        assert!(!halted, "seed {}, host {id} halted", self.seed);
    }

    fn heal(&mut self) {
        self.cluster.cut.clear();
        self.cluster.settle();
        self.cluster.ticks(80);
        // Whoever waits for a chapter is told of one again within so many ticks.
        for _ in 0..2 {
            self.finish_fetches();
            self.cluster.settle();
            self.cluster.ticks(SNAPSHOT_TICKS + 10);
        }
        let leader = self.cluster.leader();
        let leader = leader.unwrap_or_else(|| panic!("seed {}: no leader", self.seed));
        self.cluster.propose(leader, &[b"healed"]);
        self.cluster.ticks(4);
        for id in self.hosts.clone() {
            self.check(id);
            let last = self.cluster.hosts[&id].read.last().unwrap();
            assert_eq!(last.data, b"healed", "seed {}, host {id}", self.seed);
            assert_eq!(self.cluster.status(id).role == Role::Leader, id == leader);
        }
        assert!(!self.agreed.is_empty());
    }
}
