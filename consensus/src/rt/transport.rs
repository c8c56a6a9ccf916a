//! Messages between hosts: one mutual TLS connection per pair of hosts, dialled by the one with the higher id (a newer host
//! knows the older ones), used in both directions. The same port serves what has connections of its own ([`Services`]).
//!
//! Losing a message is allowed, waiting for a peer is not: queues are bounded, raft's oldest messages give way.

mod connection;
mod dial;
mod link;
mod places;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use log_format::ids::{HostId, Incarnation};
use log_format::time::Timestamp;
use log_format::wal::WalIdentity;
use raft::eraftpb::Message;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::link::Link;
use self::places::{Origin, Places};
use super::bulk::BulkSource;
use super::join::JoinDesk;
use super::tls::{PeerTls, TlsSetup, TlsSetupError};

/// Connections that fetch, strangers at the desk, and members at the desk, each: they cost disk and signatures.
const MAX_SERVED: usize = 16;
/// A pause after the system refused to accept, so that running out of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long closing may take before connections are cut.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// How a transport is set up.
#[derive(Clone)]
pub struct TransportConfig {
    /// This host.
    pub identity: WalIdentity,
    /// The other members. Whoever is not named is not spoken to.
    pub peers: Peers,
    /// What this host shows and whom it trusts.
    pub tls: PeerTls,
    /// This program's version, for people.
    pub build: String,
    /// What else this host does for others.
    pub services: Services,
}

/// The other members, as this host knows them.
pub type Peers = BTreeMap<HostId, Peer>;

/// A member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its incarnation, if the log has it. A host that shows another one has lost what it acknowledged and may have voted:
    /// nobody speaks with it.
    pub incarnation: Option<Incarnation>,
}

/// What a host does for others beside raft; what is not there is not served.
#[derive(Clone, Default)]
pub struct Services {
    /// Gives old entries and chapters.
    pub bulk: Option<Arc<dyn BulkSource>>,
    /// Gives certificates.
    pub desk: Option<Arc<dyn JoinDesk>>,
}

/// What hosts say to each other. `status`, `payload` and `outcome` are opaque here.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerMessage {
    /// Raft's. Its `from` is checked against the certificate.
    Raft(Box<Message>),
    /// Asks whether the peer is there.
    Ping {
        /// The sender's clock.
        sent_at: Timestamp,
        /// What the sender tells of itself.
        status: Bytes,
    },
    /// Answers a ping.
    Pong {
        /// The ping's time.
        echo_sent_at: Timestamp,
        /// The answering host's clock.
        received_at: Timestamp,
    },
    /// A command for the leader.
    Forward {
        /// The sender's name for it.
        ticket: u64,
        /// The command.
        payload: Bytes,
    },
    /// What became of a forwarded command.
    Forwarded {
        /// The name it was forwarded under.
        ticket: u64,
        /// The outcome.
        outcome: Bytes,
    },
}

/// What comes from a peer.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerInput {
    /// It is connected; comes again without [`PeerInput::Disconnected`] when a new connection replaced the old one.
    Connected {
        /// Its incarnation.
        incarnation: Incarnation,
        /// Its program's version. Outside text.
        build: String,
    },
    /// It says something.
    Message(PeerMessage),
    /// It is not connected any more.
    Disconnected,
    /// It says that this host was let go from the cluster, and speaks with it no more.
    LetGo,
    /// It says that the cluster knows this host with another incarnation, and does not speak with it.
    MadeAnew,
}

/// Something from a peer whose certificate names `from`.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerEvent {
    /// The peer.
    pub from: HostId,
    /// What came.
    pub input: PeerInput,
}

/// What became of a message that was to be sent.
#[must_use = "a lost raft message is worth an Input::Unreachable"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It waits to be written. It may still be lost with the connection.
    Queued,
    /// It waits, and the oldest raft message to the same host was dropped for it.
    DroppedOldest,
    /// It is lost: the host is not connected, or too much waits already.
    Lost,
}

/// Why a transport could not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The certificates cannot be used.
    #[error("set up peer TLS")]
    Tls {
        /// The reason.
        #[from]
        source: TlsSetupError,
    },
    /// The listener cannot be used.
    #[error("use peer listener")]
    Listen {
        /// The system's reason.
        source: std::io::Error,
    },
}

/// The host's side of all its connections. Dropping it cuts them; [`Transport::shutdown`] closes them.
pub struct Transport {
    shared: Arc<Shared>,
    peers: Arc<watch::Sender<Peers>>,
    stop: watch::Sender<bool>,
    address: SocketAddr,
    supervisor: JoinHandle<()>,
}

/// The sending half, for any thread.
#[derive(Clone)]
pub struct PeerSender {
    shared: Arc<Shared>,
    peers: Arc<watch::Sender<Peers>>,
}

struct Shared {
    identity: WalIdentity,
    build: String,
    tls: RwLock<TlsSetup>,
    services: Services,
    links: Mutex<BTreeMap<HostId, Arc<Link>>>,
    inbox: Arc<dyn Inbox>,
    fetching: Arc<Semaphore>,
    joining: Arc<Semaphore>,
    renewing: Arc<Semaphore>,
    peers: watch::Receiver<Peers>,
    stop: watch::Receiver<bool>,
}

impl Transport {
    /// Starts listening and dialling on `runtime`. Everything that comes goes into `inbox`; while that is full nothing more
    /// is read. `listener` is bound already.
    pub fn start(
        runtime: &Handle,
        config: TransportConfig,
        listener: TcpListener,
        inbox: impl Inbox,
    ) -> Result<Self, TransportError> {
        let TransportConfig { identity, peers, tls, build, services } = config;
        let tls = TlsSetup::new(&tls, identity.cluster, identity.host)?;
        let listen = |source| TransportError::Listen { source };
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let _inside = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
        let (peers, peers_seen) = watch::channel(peers);
        let (stop, stop_seen) = watch::channel(false);
        let shared = Arc::new(Shared {
            identity,
            build,
            tls: RwLock::new(tls),
            services,
            links: Mutex::new(BTreeMap::new()),
            inbox: Arc::new(inbox),
            fetching: Arc::new(Semaphore::new(MAX_SERVED)),
            joining: Arc::new(Semaphore::new(MAX_SERVED)),
            renewing: Arc::new(Semaphore::new(MAX_SERVED)),
            peers: peers_seen,
            stop: stop_seen,
        });
        let supervisor = runtime.spawn(supervise(Arc::clone(&shared), listener));
        let peers = Arc::new(peers);
        Ok(Self { shared, peers, stop, address, supervisor })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sending half.
    pub fn sender(&self) -> PeerSender {
        PeerSender { shared: Arc::clone(&self.shared), peers: Arc::clone(&self.peers) }
    }

    /// Closes all connections and the listener; returns once they are closed.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(SHUTDOWN_TIME, &mut self.supervisor).await.is_err() {
            tracing::warn!("peer connections did not close in time; cutting them");
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl PeerSender {
    /// Puts a message into the host's queue; never waits.
    pub fn send(&self, to: HostId, message: PeerMessage) -> Delivery {
        let link = self.shared.lock_links().get(&to).cloned();
        link.map_or(Delivery::Lost, |link| link.push(message))
    }

    /// Shows and trusts other certificates from the next connection on. The connections there are stay.
    pub fn set_tls(&self, tls: &PeerTls) -> Result<(), TlsSetupError> {
        let identity = self.shared.identity;
        let setup = TlsSetup::new(tls, identity.cluster, identity.host)?;
        *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = setup;
        Ok(())
    }

    /// Ends all connections; they are made anew at once, with the certificates of today. For when somebody is no longer trusted:
    /// whoever is connected was checked when it was.
    pub fn reconnect(&self) {
        let links: Vec<_> = self.shared.lock_links().values().cloned().collect();
        links.iter().for_each(|link| link.close());
    }

    /// Sets who the other members are and where they listen. Whoever is not named any more is cut off at once.
    pub fn set_peers(&self, peers: Peers) {
        self.peers.send_replace(peers);
    }

    /// The hosts that are connected just now.
    #[cfg(test)]
    fn connected(&self) -> BTreeSet<HostId> {
        self.shared.lock_links().keys().copied().collect()
    }
}

impl Shared {
    fn lock_links(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostId, Arc<Link>>> {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tls(&self) -> TlsSetup {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns once the transport stops, or was dropped.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        drop(stop.wait_for(|stop| *stop).await);
    }

    /// The members that this host dials.
    fn older_peers(&self) -> Vec<HostId> {
        let peers = self.peers.borrow();
        let older = peers.keys().filter(|peer| **peer < self.identity.host);
        older.copied().collect()
    }

    /// The members that dial this host, and are not connected.
    fn missed_peers(&self) -> Vec<(HostId, SocketAddr)> {
        let links = self.lock_links();
        let peers = self.peers.borrow();
        let younger = peers.iter().filter(|(peer, _)| self.identity.host < **peer);
        younger
            .filter(|(peer, _)| !links.contains_key(peer))
            .map(|(peer, known)| (*peer, known.address))
            .collect()
    }

    /// Whether a member listens at this address; most dial from there, too.
    fn origin(&self, address: IpAddr) -> Origin {
        let address = address.to_canonical();
        let is_one = self.peers.borrow().values().any(|peer| peer.address.ip().to_canonical() == address);
        if is_one { Origin::Member } else { Origin::Elsewhere }
    }

    /// Whether this host knows that the other one was let go.
    fn was_let_go(&self, host: HostId) -> bool {
        self.services.desk.as_ref().is_some_and(|desk| desk.was_let_go(host))
    }

    /// Whether the other one is a member as far as this host has heard.
    fn knows(&self, host: HostId) -> bool {
        self.peers.borrow().contains_key(&host)
    }

    /// Whether this host speaks with the other one: a member, or one that joined while this host heard nothing. Without the
    /// latter a host that was away could not hear of it from a leader that joined meanwhile.
    fn is_member(&self, host: HostId) -> bool {
        self.is_among(&self.peers.borrow(), host)
    }

    /// Whether the log knows the host with another incarnation than this one.
    fn was_made_anew(&self, host: HostId, shown: Incarnation) -> bool {
        is_another(&self.peers.borrow(), host, shown)
    }

    fn is_among(&self, peers: &Peers, host: HostId) -> bool {
        let may_be_new = || self.services.desk.as_ref().is_some_and(|desk| desk.may_be_new(host));
        peers.contains_key(&host) || may_be_new()
    }

    /// Makes this the host's connection; an older one ends.
    fn register(&self, host: HostId) -> Arc<Link> {
        let link = Arc::new(Link::new());
        let old = self.lock_links().insert(host, Arc::clone(&link));
        if let Some(old) = old {
            old.close();
        }
        link
    }

    /// Forgets the connection; tells whether it was still the host's.
    fn unregister(&self, host: HostId, link: &Arc<Link>) -> bool {
        let mut links = self.lock_links();
        let current = links.get(&host).is_some_and(|current| Arc::ptr_eq(current, link));
        if current {
            links.remove(&host);
        }
        current
    }

    async fn deliver(&self, from: HostId, input: PeerInput) {
        self.inbox.deliver(PeerEvent { from, input }).await;
    }
}

fn is_another(peers: &Peers, host: HostId, shown: Incarnation) -> bool {
    let known = peers.get(&host).and_then(|peer| peer.incarnation);
    known.is_some_and(|known| known != shown)
}

/// Where everything that comes from peers goes, whatever else its owner puts in.
pub trait Inbox: Send + Sync + 'static {
    /// Hands something over; while there is no room it waits, and nothing more of that peer is read. An inbox that nobody
    /// empties any more takes everything and forgets it.
    fn deliver(&self, event: PeerEvent) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl<T: From<PeerEvent> + Send + 'static> Inbox for mpsc::Sender<T> {
    fn deliver(&self, event: PeerEvent) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // A closed inbox means that the driver is gone; the transport is about to be stopped.
        Box::pin(async move { self.send(event.into()).await.unwrap_or(()) })
    }
}

async fn supervise(shared: Arc<Shared>, listener: tokio::net::TcpListener) {
    let places = Places::new();
    let mut peers = shared.peers.clone();
    let (mut tasks, mut dialled) = (JoinSet::new(), BTreeSet::new());
    tasks.spawn(dial::keep_asking(Arc::clone(&shared)));
    loop {
        for peer in shared.older_peers() {
            if dialled.insert(peer) {
                tasks.spawn(dial::keep_connected(Arc::clone(&shared), peer));
            }
        }
        tokio::select! {
            () = shared.stopped() => break,
            changed = peers.changed() => if changed.is_err() { break },
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => match places.take(address.ip(), shared.origin(address.ip())) {
                    Some(place) => drop(tasks.spawn(connection::accept(Arc::clone(&shared), stream, place))),
                    None => tracing::debug!(%address, "too many connections without a name; closing one"),
                },
                Err(error) => {
                    tracing::warn!(%error, "accept peer connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}
