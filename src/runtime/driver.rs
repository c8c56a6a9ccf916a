//! The driver: one thread that owns the node, feeds it what happened, and hands out what is to be done. It does no IO of its
//! own; it waits only for its inbox and for the next tick.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use consensus::core::Ticket;
use consensus::rt::transport::{Delivery, Peer, PeerEvent, PeerInput, PeerSender, Peers};
use consensus::rt::writer::Writer;
use log_format::ids::{HostId, LogIndex};
use projections::frame::Standing;
use tokio::sync::{oneshot, watch};

use super::actuator;
use super::chapters::{self, Order};
use super::checkpoints::{self, FrameStatus};
use super::clocks::Clocks;
use super::inbox::{Message, Receiver};
use super::spool::SpoolOrders;
use crate::config::Config;
use crate::infrastructure::Spared;
use crate::node::{
    ClusterPicture, HaltReason, Input, Members, Node, Now, Outcome, Output, PeerMessage, Trust,
};

/// Inputs taken in one turn: bounds how long a turn holds the log.
const TURN: usize = 4_096;
/// Raft's tick: elections after 1 s to 2 s of silence, heartbeats every 200 ms (`consensus::core::CoreConfig`).
const TICK: Duration = Duration::from_millis(100);
/// Ticks made up for after a pause; the rest of a long pause did not happen.
const CATCH_UP_TICKS: u32 = 2;

/// Where the node's outputs go.
pub(super) struct Outlets {
    pub(super) writer: Writer,
    pub(super) spool: SpoolOrders,
    pub(super) peers: PeerSender,
    pub(super) actuator: actuator::Orders,
    pub(super) chapters: chapters::Orders,
    pub(super) checkpoints: checkpoints::Orders,
    pub(super) shared: Arc<Shared>,
    pub(super) addresses: Addresses,
}

/// Where hosts are reached, as the start-up configuration says.
#[derive(Clone)]
pub(super) struct Addresses {
    pub(super) own: HostId,
    pub(super) configured: BTreeMap<HostId, SocketAddr>,
}

impl Addresses {
    pub(super) fn new(config: &Config) -> Self {
        let hosts = &config.cluster.hosts;
        Self { own: config.host, configured: hosts.iter().map(|(id, host)| (*id, host.address)).collect() }
    }

    /// Where a member is reached: the log knows better than the start-up configuration.
    pub(super) fn of(&self, host: HostId, said: Option<SocketAddr>) -> Option<SocketAddr> {
        said.or_else(|| self.configured.get(&host).copied())
    }

    /// The other members and where they are reached.
    pub(super) fn resolve(&self, members: &Members) -> BTreeMap<HostId, SocketAddr> {
        let others = members.iter().filter(|(host, _)| **host != self.own);
        others.filter_map(|(host, known)| Some((*host, self.of(*host, known.peer)?))).collect()
    }

    /// The same for the transport, with what the log knows of each.
    pub(super) fn peers(&self, members: &Members) -> Peers {
        let incarnation = |host| members.get(&host).and_then(|known| known.incarnation);
        let reached = self.resolve(members).into_iter();
        reached.map(|(host, address)| (host, Peer { address, incarnation: incarnation(host) })).collect()
    }

    /// Those that were members last and those of the configuration, for when the log cannot be read: the members first.
    pub(super) fn with(&self, remembered: &BTreeMap<HostId, SocketAddr>) -> Vec<(HostId, SocketAddr)> {
        let configured = self.configured.iter().filter(|(host, _)| !remembered.contains_key(host));
        let all = remembered.iter().chain(configured).filter(|(host, _)| **host != self.own);
        all.map(|(host, address)| (*host, *address)).collect()
    }
}

/// Who waits for what.
type Expected<T> = Mutex<BTreeMap<Ticket, oneshot::Sender<T>>>;

/// What this host shows and trusts: hashes of authorities' keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Certificates {
    /// Who signed this host's certificate.
    pub(super) own: Option<[u8; 32]>,
    /// Whom this host trusts, the oldest first.
    pub(super) trusted: Vec<[u8; 32]>,
}

/// What other threads read of the driver's.
pub(super) struct Shared {
    /// The last entry folded into the views.
    pub(super) applied: watch::Sender<LogIndex>,
    /// An entry at or behind the newest retention cut: nothing folded before it may stay on the disk.
    pub(super) erased: watch::Sender<LogIndex>,
    /// Who belongs to the cluster.
    pub(super) members: watch::Sender<Members>,
    /// The authorities that the log names.
    pub(super) trust: watch::Sender<Trust>,
    /// What this host shows and trusts.
    pub(super) certificates: watch::Sender<Certificates>,
    /// The cluster as last seen; `None` before the first tick.
    pub(super) cluster: RwLock<Option<ClusterPicture>>,
    /// What this host never drops, whatever the log says.
    pub(super) spared: RwLock<Spared>,
    /// What the checkpoints' thread says of itself.
    pub(super) frame: Mutex<FrameStatus>,
    replies: Expected<Outcome>,
    hashes: Expected<(LogIndex, [u8; 32])>,
    standings: Expected<[Standing; 2]>,
    reads: Expected<LogIndex>,
    next_ticket: Mutex<u64>,
}

impl Shared {
    /// What the node knows before its thread runs.
    pub(super) fn of(node: &Node) -> Self {
        Self {
            applied: watch::Sender::new(node.applied()),
            erased: watch::Sender::new(LogIndex::new(0)),
            members: watch::Sender::new(node.members()),
            trust: watch::Sender::new(node.trust()),
            certificates: watch::Sender::default(),
            cluster: RwLock::new(None),
            spared: RwLock::default(),
            frame: Mutex::default(),
            replies: Mutex::default(),
            hashes: Mutex::default(),
            standings: Mutex::default(),
            reads: Mutex::default(),
            next_ticket: Mutex::default(),
        }
    }

    /// A ticket whose outcome arrives at the receiver.
    pub(super) fn expect_reply(&self) -> (Ticket, oneshot::Receiver<Outcome>) {
        self.expect(&self.replies)
    }

    /// A ticket whose state hash arrives at the receiver.
    pub(super) fn expect_hash(&self) -> (Ticket, oneshot::Receiver<(LogIndex, [u8; 32])>) {
        self.expect(&self.hashes)
    }

    /// A ticket whose answer says where each projection stands.
    pub(super) fn expect_standings(&self) -> (Ticket, oneshot::Receiver<[Standing; 2]>) {
        self.expect(&self.standings)
    }

    /// A ticket whose read may go on when the receiver says so; a refused read drops the sender.
    pub(super) fn expect_read(&self) -> (Ticket, oneshot::Receiver<LogIndex>) {
        self.expect(&self.reads)
    }

    /// Nothing will come for this ticket.
    pub(super) fn forget(&self, ticket: Ticket) {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
    }

    fn expect<T>(&self, table: &Expected<T>) -> (Ticket, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let mut next = self.next_ticket.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let ticket = Ticket::new(*next);
        table.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, sender);
        (ticket, receiver)
    }

    fn deliver<T>(table: &Expected<T>, ticket: Ticket, value: T) {
        let waiting = table.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        if let Some(waiting) = waiting {
            let _ = waiting.send(value); // Whoever asked may have left.
        }
    }
}

struct Driver {
    node: Node,
    inbox: Receiver,
    outlets: Outlets,
    clocks: Clocks,
    tick: Duration,
    next_tick: Duration,
    persisted: u64,
    /// Peers that Raft messages were lost to in the last turn.
    unreachable: BTreeSet<HostId>,
}

/// Starts the driver's thread. It ends with the reason why the host may not go on, if there is one.
pub(super) fn start(
    node: Node,
    inbox: Receiver,
    outlets: Outlets,
    clocks: Clocks,
) -> std::io::Result<JoinHandle<Result<(), HaltReason>>> {
    let tick = TICK;
    let next_tick = clocks.now().monotonic + tick;
    let driver =
        Driver { node, inbox, outlets, clocks, tick, next_tick, persisted: 0, unreachable: BTreeSet::new() };
    std::thread::Builder::new().name("driver".to_owned()).spawn(move || driver.run())
}

impl Driver {
    fn run(mut self) -> Result<(), HaltReason> {
        loop {
            let (mut inputs, stop) = self.wait();
            // The writer's progress comes before whatever peers answered to it (consensus::rt).
            let persisted = self.outlets.writer.persisted();
            if self.persisted < persisted {
                self.persisted = persisted;
                inputs.insert(0, Input::Persisted { number: persisted });
            }
            let now = self.clocks.now();
            let mut outputs = Vec::new();
            inputs.extend(
                std::mem::take(&mut self.unreachable).into_iter().map(|host| Input::Unreachable { host }),
            );
            self.add_ticks(now, &mut inputs);
            self.node.handle_all(inputs, now, &mut outputs);
            for output in outputs {
                self.carry_out(output)?;
            }
            if stop {
                return Ok(());
            }
        }
    }

    /// Waits for one message or the next tick, then takes what else is there. A node that has a snapshot to fold waits for nothing.
    fn wait(&mut self) -> (Vec<Input>, bool) {
        let until_tick = match self.node.is_folding() {
            true => Duration::ZERO,
            false => self.next_tick.saturating_sub(self.clocks.now().monotonic),
        };
        let mut inputs = Vec::new();
        for message in self.inbox.take(until_tick, TURN) {
            match message {
                Message::Input(input) => inputs.push(input),
                Message::Peer(event) => inputs.extend(from_peer(event)),
                Message::Stop => return (inputs, true),
            }
        }
        (inputs, false)
    }

    fn add_ticks(&mut self, now: Now, inputs: &mut Vec<Input>) {
        for _ in 0..CATCH_UP_TICKS {
            if now.monotonic < self.next_tick {
                return;
            }
            self.next_tick += self.tick;
            inputs.push(Input::Tick);
        }
        if self.next_tick <= now.monotonic {
            self.next_tick = now.monotonic + self.tick;
        }
    }

    fn carry_out(&mut self, output: Output) -> Result<(), HaltReason> {
        let shared = &self.outlets.shared;
        match output {
            Output::Send { to, message } => self.send(to, message),
            Output::Spool(record) => self.outlets.spool.append(record),
            Output::SpoolTaken { upto } => self.outlets.spool.taken(upto),
            Output::ReadSpool { from, most } => self.outlets.spool.read(from, most),
            Output::Persist(job) => self.outlets.writer.submit(job),
            Output::Reply { ticket, outcome } => Shared::deliver(&shared.replies, ticket, outcome),
            Output::Applied { index } => drop(shared.applied.send_replace(index)),
            Output::Firewall { changes, upto } => self.outlets.actuator.change(changes, upto),
            Output::LiftProvisional { source } => self.outlets.actuator.lift(source),
            Output::Plan { plan, upto } => self.outlets.actuator.plan(plan, upto),
            Output::Cluster(picture) => {
                *shared.cluster.write().unwrap_or_else(PoisonError::into_inner) = Some(picture);
            }
            Output::StateHash { ticket, index, hash } => {
                Shared::deliver(&shared.hashes, ticket, (index, hash))
            }
            Output::Standings { ticket, standings } => Shared::deliver(&shared.standings, ticket, standings),
            Output::Handover(handover) => self.outlets.checkpoints.hand_back(handover),
            Output::ReadReady { ticket, index } => Shared::deliver(&shared.reads, ticket, index),
            Output::ReadRefused { ticket } => shared.forget(ticket),
            Output::Members(members) => {
                self.outlets.peers.set_peers(self.outlets.addresses.peers(&members));
                shared.members.send_replace(members);
            }
            Output::Trust(trust) => drop(shared.trust.send_replace(trust)),
            Output::Seal(order) => self.outlets.chapters.give(Order::Seal(Box::new(order))),
            Output::Count(order) => self.outlets.chapters.give(Order::Count(order)),
            Output::Erase { upto } => {
                shared.erased.send_replace(*shared.applied.borrow());
                self.outlets.spool.leave_behind();
                self.outlets.chapters.give(Order::Erase(upto));
            }
            Output::Fetch { from, at, seals } => self.outlets.chapters.give(Order::Fetch { from, at, seals }),
            Output::Retire { below, erased } => {
                self.outlets.writer.leave_behind(erased);
                self.outlets.writer.retire_below(below);
            }
            Output::Halt(reason) => return Err(reason),
        }
        Ok(())
    }

    fn send(&mut self, to: HostId, message: PeerMessage) {
        let is_raft = matches!(message, PeerMessage::Raft(_));
        let delivery = self.outlets.peers.send(to, message);
        if is_raft && delivery != Delivery::Queued {
            self.unreachable.insert(to);
        }
    }
}

fn from_peer(event: PeerEvent) -> Option<Input> {
    let from = event.from;
    match event.input {
        PeerInput::Message(message) => Some(Input::Peer { from, message }),
        PeerInput::Connected { incarnation, build } => {
            tracing::info!(%from, %incarnation, build = build.escape_debug().to_string(), "peer connected");
            None
        }
        PeerInput::LetGo => Some(Input::LetGo { by: from }),
        PeerInput::MadeAnew => Some(Input::MadeAnew { by: from }),
        PeerInput::Disconnected => {
            tracing::info!(%from, "peer disconnected");
            Some(Input::Unreachable { host: from })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_damaged_log_the_last_members_are_asked_before_the_configured_hosts() {
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let hosts = |hosts: [(u64, u16); 3]| hosts.map(|(host, port)| (HostId::new(host), at(port)));
        let configured = hosts([(1, 1), (2, 2), (3, 3)]).into();
        let addresses = Addresses { own: HostId::new(1), configured };
        // Host 2 moved, 3 was replaced by 4 and 5.
        let remembered = hosts([(2, 22), (4, 4), (5, 5)]).into();
        let asked: Vec<_> =
            addresses.with(&remembered).into_iter().map(|(host, at)| (host.get(), at.port())).collect();
        assert_eq!(asked, [(2, 22), (4, 4), (5, 5), (3, 3)]);
    }
}
