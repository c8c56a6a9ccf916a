//! Three whole hosts: drivers, writers and TLS on the loopback, the way the host process joins them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log_format::disk::MemoryDisk;
use log_format::ids::{HostId, Incarnation, LogIndex};
use log_format::time::Timestamp;
use log_format::wal::{ConfState, FileStamp, Wal, WalIdentity, WalOptions, WalSetup};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::testing::{Authority, CLUSTER};
use super::transport::{
    Delivery, Peer, PeerEvent, PeerInput, PeerMessage, PeerSender, Services, Transport, TransportConfig,
};
use super::writer::Writer;
use crate::core::{Core, CoreConfig, Effect, Input, Proposal, Restored, Ticket};

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);
/// After so long without all of them, the rest is proposed again.
const RETRY: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn three_hosts_agree_and_one_that_was_away_catches_up() {
    let mut cluster = Cluster::start().await;
    cluster.write(0..300).await;
    let away = cluster.follower().await;
    cluster.stop(away).await;
    cluster.write(300..500).await;
    cluster.start_host(away);
    cluster.write(0..500).await;
    for host in [1, 2, 3].map(HostId::new) {
        cluster.stop(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_goes_another_takes_over() {
    let mut cluster = Cluster::start().await;
    cluster.write(0..50).await;
    let leader = cluster.leader().await;
    cluster.stop(leader).await;
    cluster.write(50..60).await;
    assert_ne!(cluster.leader().await, leader);
}

/// What a driver waits for.
enum Turn {
    Input(Input),
    Peer(PeerEvent),
    Wake,
    Stop,
}

impl From<PeerEvent> for Turn {
    fn from(event: PeerEvent) -> Self {
        Self::Peer(event)
    }
}

struct Cluster {
    authority: Authority,
    addresses: BTreeMap<HostId, SocketAddr>,
    disks: BTreeMap<HostId, Arc<MemoryDisk>>,
    running: BTreeMap<HostId, Running>,
    leader: watch::Sender<Option<HostId>>,
}

struct Running {
    inbox: mpsc::Sender<Turn>,
    transport: Transport,
    driver: JoinHandle<()>,
    ticks: tokio::task::JoinHandle<()>,
    read: watch::Receiver<Vec<Vec<u8>>>,
}

struct Driver {
    core: Core,
    writer: Writer,
    peers: PeerSender,
    next: LogIndex,
    read: watch::Sender<Vec<Vec<u8>>>,
    leader: watch::Sender<Option<HostId>>,
    host: HostId,
    persisted: u64,
}

impl Cluster {
    async fn start() -> Self {
        let hosts = [1, 2, 3].map(HostId::new);
        let listeners = hosts.map(|host| (host, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()));
        let addresses = listeners.iter().map(|(host, bound)| (*host, bound.local_addr().unwrap())).collect();
        let mut cluster = Self {
            authority: Authority::new(),
            addresses,
            disks: hosts.map(|host| (host, Arc::new(MemoryDisk::new()))).into(),
            running: BTreeMap::new(),
            leader: watch::channel(None).0,
        };
        for (host, listener) in listeners {
            let members = ConfState::new(hosts, []);
            let disk = Arc::clone(&cluster.disks[&host]);
            let wal = Wal::create(disk, Path::new("/data"), setup(host), members.clone()).unwrap();
            cluster.run(host, listener, wal, Restored::empty(members));
        }
        cluster
    }

    fn start_host(&mut self, host: HostId) {
        let disk = Arc::clone(&self.disks[&host]);
        let (wal, recovered) = Wal::open(disk, Path::new("/data"), setup(host)).unwrap();
        let listener = TcpListener::bind(self.addresses[&host]).unwrap();
        self.run(host, listener, wal, Restored::from(recovered));
    }

    fn run(&mut self, host: HostId, listener: TcpListener, wal: Wal<MemoryDisk>, restored: Restored) {
        let (inbox, turns) = mpsc::channel(1_024);
        let mut peers = self.addresses.clone();
        peers.remove(&host);
        let config = TransportConfig {
            identity: identity(host),
            peers: peers
                .into_iter()
                .map(|(host, address)| (host, Peer { address, incarnation: None }))
                .collect(),
            tls: self.authority.tls(host.get()),
            build: "test".to_owned(),
            services: Services::default(),
        };
        let transport = Transport::start(&Handle::current(), config, listener, inbox.clone()).unwrap();
        let (read, seen) = watch::channel(Vec::new());
        // Mixed with the host's number: the number itself would give all hosts the same timeouts, and split votes.
        let seed = host.get() << 32;
        let core = Core::new(&CoreConfig::new(host), restored, Box::new(wal.reader()), seed).unwrap();
        let (output, wake) = (transport.sender(), inbox.clone());
        // A lost vote or acknowledgement is asked for again.
        let output = move |to, message| {
            let _ = output.send(to, PeerMessage::Raft(message));
        };
        // A full inbox means that the driver is awake anyway.
        let writer = Writer::start(wal, output, move || drop(wake.try_send(Turn::Wake))).unwrap();
        let driver = Driver {
            core,
            writer,
            peers: transport.sender(),
            next: LogIndex::new(1),
            read,
            leader: self.leader.clone(),
            host,
            persisted: 0,
        };
        let ticking = inbox.clone();
        let ticks = tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            while ticking.send(Turn::Input(Input::Tick)).await.is_ok() {
                interval.tick().await;
            }
        });
        let running = Running {
            inbox,
            transport,
            driver: std::thread::spawn(move || driver.drive(turns)),
            ticks,
            read: seen,
        };
        self.running.insert(host, running);
    }

    async fn stop(&mut self, host: HostId) {
        let Running { inbox, transport, driver, ticks, read: _ } = self.running.remove(&host).unwrap();
        ticks.abort();
        assert!(inbox.send(Turn::Stop).await.is_ok());
        transport.shutdown().await;
        tokio::task::spawn_blocking(|| driver.join().unwrap()).await.unwrap();
        self.leader.send_if_modified(|leader| leader.take_if(|leader| *leader == host).is_some());
    }

    async fn leader(&self) -> HostId {
        let mut leader = self.leader.subscribe();
        let found = tokio::time::timeout(DEADLINE, leader.wait_for(Option::is_some)).await;
        found.unwrap().unwrap().unwrap()
    }

    async fn follower(&self) -> HostId {
        let leader = self.leader().await;
        self.running.keys().copied().find(|host| *host != leader).unwrap()
    }

    /// Proposes the numbers until every running host has read them all, and has read the same as the others.
    async fn write(&mut self, numbers: Range<u32>) {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < DEADLINE);
            let leader = self.leader().await;
            let Some(running) = self.running.get_mut(&leader) else { continue };
            let missing = missing(&running.read.borrow(), &numbers);
            if missing.is_empty() {
                break;
            }
            for number in missing {
                running.propose(number).await;
            }
            // Leadership may be lost on the way, and the proposals with it: then once more.
            let _ = tokio::time::timeout(RETRY, running.read(&numbers)).await;
        }
        for running in self.running.values_mut() {
            tokio::time::timeout(DEADLINE, running.read(&numbers)).await.unwrap();
        }
        let read: Vec<_> = self.running.values().map(|running| running.read.borrow().clone()).collect();
        for pair in read.windows(2) {
            let common = pair[0].len().min(pair[1].len());
            assert_eq!(pair[0][..common], pair[1][..common]);
        }
    }
}

impl Running {
    async fn propose(&self, number: u32) {
        let data = Bytes::copy_from_slice(&number.to_be_bytes());
        let ticket = Ticket::new(number.into());
        let proposal = Turn::Input(Input::Propose(Proposal { ticket, data }));
        assert!(self.inbox.send(proposal).await.is_ok());
    }

    /// Returns once the numbers have been read.
    async fn read(&mut self, numbers: &Range<u32>) {
        let complete = self.read.wait_for(|read| missing(read, numbers).is_empty());
        complete.await.unwrap();
    }
}

impl Driver {
    fn drive(mut self, mut turns: mpsc::Receiver<Turn>) {
        let mut effects = Vec::new();
        while let Some(first) = turns.blocking_recv() {
            let mut inputs = Vec::new();
            for turn in std::iter::once(first).chain(std::iter::from_fn(|| turns.try_recv().ok())) {
                match turn {
                    Turn::Stop => return self.writer.shutdown(),
                    Turn::Wake => {}
                    Turn::Input(input) => inputs.push(input),
                    Turn::Peer(PeerEvent { from, input }) => inputs.extend(peer_input(from, input)),
                }
            }
            // After the inbox, before what it held.
            let persisted = self.writer.persisted();
            if self.persisted < persisted {
                self.persisted = persisted;
                inputs.insert(0, Input::Persisted { number: persisted });
            }
            self.core.handle_all(inputs.into_iter(), &mut effects);
            let lost: Vec<_> = effects.drain(..).filter_map(|effect| self.perform(effect)).collect();
            self.core.handle_all(lost.into_iter(), &mut effects);
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Send { to, message } => {
                let delivery = self.peers.send(to, PeerMessage::Raft(message));
                return (delivery != Delivery::Queued).then_some(Input::Unreachable { host: to });
            }
            Effect::Persist(job) => self.writer.submit(job),
            Effect::Committed { upto } => self.read_up_to(upto),
            Effect::LeaderReady { .. } => drop(self.leader.send_replace(Some(self.host))),
            Effect::LeaderLost { .. } => {
                let own = self.host;
                self.leader.send_if_modified(|leader| leader.take_if(|leader| *leader == own).is_some());
            }
            Effect::Proposed { .. }
            | Effect::Refused { .. }
            | Effect::MembersChanged { .. }
            | Effect::ReadReady { .. }
            | Effect::ReadDropped { .. } => {}
            Effect::Fetch { .. } | Effect::SnapshotInstalled { .. } => {
                panic!("no log is shortened here: {effect:?}")
            }
            Effect::Halt(halt) => panic!("{halt}"),
        }
        None
    }

    fn read_up_to(&mut self, upto: LogIndex) {
        while self.next <= upto {
            let entries = self.core.entries(self.next, upto.next(), 1 << 20).unwrap();
            self.next = entries.last().unwrap().index.next();
            let data = entries.into_iter().map(|entry| entry.data).filter(|data| !data.is_empty());
            self.read.send_modify(|read| read.extend(data));
        }
    }
}

fn missing(read: &[Vec<u8>], numbers: &Range<u32>) -> Vec<u32> {
    let read: BTreeSet<_> = read.iter().map(Vec::as_slice).collect();
    let is_missing = |number: &u32| !read.contains(number.to_be_bytes().as_slice());
    numbers.clone().filter(is_missing).collect()
}

fn peer_input(from: HostId, input: PeerInput) -> Option<Input> {
    match input {
        PeerInput::Message(PeerMessage::Raft(message)) => Some(Input::Peer { from, message }),
        PeerInput::Disconnected => Some(Input::Unreachable { host: from }),
        PeerInput::Connected { .. }
        | PeerInput::LetGo
        | PeerInput::MadeAnew
        | PeerInput::Message(
            PeerMessage::Ping { .. }
            | PeerMessage::Pong { .. }
            | PeerMessage::Forward { .. }
            | PeerMessage::Forwarded { .. },
        ) => None,
    }
}

fn identity(host: HostId) -> WalIdentity {
    WalIdentity { cluster: CLUSTER, host, incarnation: Incarnation::new(1) }
}

fn setup(host: HostId) -> WalSetup {
    let mut nonce = host.get() << 32;
    WalSetup {
        identity: identity(host),
        options: WalOptions { file_bytes: 1 << 20 },
        stamps: Box::new(move || {
            nonce += 1;
            FileStamp { nonce, created_at: Timestamp::from_seconds(1) }
        }),
    }
}
