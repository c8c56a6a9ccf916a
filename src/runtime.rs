//! The shell around the node: owns sockets, timers, threads and the disk, and drives `node.rs`.
//!
//! ```text
//!  sensor threads ──provisional──────────────────────────────> firewall thread ──> kernel
//!        └──observation──> ┌────────┐ ──changes, plans───────────────^
//!  API (tokio) ──command──>│ driver │ ──jobs──> WAL writer ──> disk
//!  peers (tokio) ─────────>│ thread │ ──messages──> peers (tokio)
//!                          └────────┘ ──views, picture, applied──> API (tokio)
//! ```
//!
//! Start: log, node, blocks into the kernel, then peers, API and last the sensors, so that nothing is sensed that could
//! not be stopped. Any thread that must not die takes the process with it: a supervisor starts it again, and the log has
//! everything that was acknowledged.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the shell: it reads files, draws randomness and starts threads"
)]

mod actuator;
mod authority;
mod bulk;
pub mod chapters;
mod checkpoints;
mod clocks;
mod desk;
mod doors;
mod driver;
pub mod files;
mod fold;
mod hep;
mod inbox;
mod log;
mod ports;
mod renewal;
mod sensor;
mod space;
mod sparing;
mod spool;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use api::ports::{NoRandomness, Ports, Random};
use api::{Limits, LocalToken, Server, SessionSources, Transport as ConsoleTransport};
use consensus::core::{Core, CoreConfig, Restored, Role};
use consensus::rt::transport::{PeerMessage, PeerSender, Services, Transport, TransportConfig};
use consensus::rt::writer::{DurableCommit, Writer};
use log_format::disk::{Disk, StdDisk};
use log_format::history::History;
use log_format::ids::{HostId, LogIndex, OriginSequence};
use log_format::reserve::SpaceLimits;
use log_format::spool::{Spool, SpoolOptions, SpoolSetup};
use log_format::wal::{FileStamp, Stamps, Wal, WalIdentity, WalOptions, WalReader, WalSetup};
use projections::frame::Folded;
use projections::read::ReadModels;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use self::clocks::Clocks;
use self::desk::Desk;
use self::driver::{Addresses, Outlets, Shared};
use self::files::DataDirectory;
use self::inbox::Inbox;
use self::renewal::{Files, Renewal};
use self::sparing::Sparing;
use crate::checkpoints::Checkpoints;
use crate::config::{Config, ConsoleSecurity, HostConfig, Surroundings};
use crate::infrastructure::{Spared, networks};
use crate::node::chapters::snapshot_of;
use crate::node::{HostPicture, Identity, Input, KnownHost, LocalState, Node, Output, given_before};
use crate::policy::policy_of;
use crate::witness::WitnessKey;

/// The witness key's file below the directory of keys.
const WITNESS_KEY: &str = "witness.key";
/// How often the host's own state (sensor, firewall) is told to the node.
const LOCAL_STATE_EVERY: Duration = Duration::from_millis(200);
/// How often a host that stops looks whether another leads.
const HAND_OVER_LOOK: Duration = Duration::from_millis(50);
/// How many times at most: one second, less than an election.
const HAND_OVER_LOOKS: u32 = 20;
/// How long the API may take to end its answers when the process stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Addresses that may be bound at start-up by a predecessor that is just ending; tried again for this long.
const BIND_PATIENCE: Duration = Duration::from_secs(10);
/// See [`BIND_PATIENCE`].
const BIND_PAUSE: Duration = Duration::from_millis(100);
/// By how much threads give way that nobody waits for: beside one that does not they get a third of its time, alone all of it.
const NICE: i32 = 5;

/// Runs this host until a signal ends it. `announce` is told the one-time password and the console's address.
pub fn run(config: Config, announce: impl FnOnce(&str, &str)) -> anyhow::Result<()> {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut host = Host::start(&config, &tokio)?;
    announce(&host.one_time_password, &host.console_address(&config));
    tracing::info!(host = %config.host, name = config.name, "serves");
    let ended = tokio.block_on(host.wait_for_end());
    host.stop(tokio)?;
    ended
}

struct Host {
    driver: std::thread::JoinHandle<Result<(), crate::node::HaltReason>>,
    firewall: std::thread::JoinHandle<()>,
    inbox: Inbox,
    shared: Arc<Shared>,
    orders: actuator::Orders,
    sensors: Arc<sensor::Shared>,
    transport: Transport,
    server: Server,
    stop: watch::Sender<bool>,
    signals: Signals,
    data: DataDirectory,
    one_time_password: String,
}

/// What asks the process to stop. It is listened to before anybody can see that the host is there.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen(tokio: &Runtime) -> std::io::Result<Self> {
        let _inside = tokio.enter();
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
}

impl Host {
    fn start(config: &Config, tokio: &Runtime) -> anyhow::Result<Self> {
        let clocks = Clocks::start();
        let layout = actuator::layout(&config.firewall).context("firewall configuration")?;
        let (wal, recovered) = open_log(config, &clocks, tokio).context("open the log")?;
        let (data, log) = (DataDirectory::open(&config.data), wal.reader());
        let (spool, numbers) = open_spool(config, &data, &clocks).context("open the spool")?;
        let mut node = compose(config, numbers, recovered, (&wal, &clocks))?;
        let put_aside = take_up(config, &mut node, &log)?;
        let (checkpoint_desk, checkpoint_orders) = checkpoints::desk();

        let (inbox, messages) = Inbox::new();
        let shared = Arc::new(Shared::of(&node));
        let views = node.views();
        let (kernel, firewall) = start_firewall(config, layout, &inbox, &clocks, tokio)?;
        let addresses = Addresses::new(config);
        let tellers = (inbox.clone(), Arc::clone(&shared));
        let desk =
            Arc::new(Desk::new(config, tellers, Arc::clone(&views), (addresses.clone(), clocks.clone())));
        let served = (Arc::clone(&desk), log.clone());
        let transport = start_transport(config, tokio, &inbox, (&addresses, served))?;
        let writer = start_writer(wal, &transport, &inbox)?;
        let durable = writer.durable_commit();
        let outlets = Outlets {
            spool: spool::start(spool, inbox.clone()).context("start the spool's thread")?,
            writer,
            peers: transport.sender(),
            actuator: kernel.orders.clone(),
            chapters: start_chapters(config, tokio, (&inbox, &shared, &addresses), log.clone())?,
            checkpoints: checkpoint_orders.clone(),
            shared: Arc::clone(&shared),
            addresses,
        };
        start_checkpoints(config, (checkpoint_desk, put_aside), (&inbox, &shared), (log.clone(), durable))?;
        let driver = driver::start(node, messages, outlets, clocks.clone())?;

        let doors = Arc::new(ports::Doors {
            identity: identity(config)?,
            inbox: inbox.clone(),
            shared: Arc::clone(&shared),
            checkpoints: checkpoint_orders,
            views: Arc::clone(&views),
            log,
            clocks: clocks.clone(),
            hosts: configured_hosts(config),
            desk: Arc::clone(&desk),
            files: Files::new(&config.cluster),
        });
        let (stop, stopped) = watch::channel(false);
        let signals = Signals::listen(tokio).context("listen for signals")?;
        let server = start_server(config, tokio, (doors, &data), stopped)?;
        start_renewal(config, tokio, (desk, transport.sender()), (&server, clocks.clone()))?;

        let orders = kernel.orders.clone();
        let told = ((&inbox, clocks), &shared);
        let sensors = start_sensors(config, tokio, told, (kernel, views, server.session_sources()))?;
        Ok(Self {
            one_time_password: server.issue_one_time_password()?,
            driver,
            firewall,
            inbox,
            shared,
            orders,
            sensors,
            transport,
            server,
            stop,
            signals,
            data,
        })
    }

    fn console_address(&self, config: &Config) -> String {
        let scheme = match config.console.security {
            ConsoleSecurity::PlainOnLoopback => "http",
            ConsoleSecurity::HostCertificate | ConsoleSecurity::Files { .. } => "https",
        };
        format!("{scheme}://{}", self.server.address())
    }

    /// Waits for a signal, or for a thread that must not end.
    async fn wait_for_end(&mut self) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(LOCAL_STATE_EVERY);
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
                _ = look.tick() => {
                    if self.driver.is_finished() || self.firewall.is_finished() {
                        bail!("a thread that must not end has ended");
                    }
                }
            }
        }
    }

    /// Hands leadership to a host that answers, so that a planned stop costs the others no election.
    async fn hand_over(&self) {
        let heir = || {
            let picture = self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner).clone()?;
            let is_heir =
                |host: &&HostPicture| host.host != picture.host && host.role == Some(Role::Follower);
            (picture.leader == Some(picture.host))
                .then(|| picture.hosts.iter().find(is_heir).map(|host| host.host))?
        };
        let Some(to) = heir() else { return };
        let _ = self.inbox.offer(Input::Transfer { to }); // Without it the others elect: slower, not wrong.
        let mut look = tokio::time::interval(HAND_OVER_LOOK);
        for _ in 0..HAND_OVER_LOOKS {
            look.tick().await;
            if heir().is_none() {
                return;
            }
        }
    }

    fn stop(self, tokio: Runtime) -> anyhow::Result<()> {
        tracing::info!("stops");
        tokio.block_on(self.hand_over());
        self.sensors.stop();
        self.stop.send_replace(true);
        self.data.remove(files::LOCAL_TOKEN);
        let ended = tokio.block_on(async {
            let _ = tokio::time::timeout(DRAIN, self.server.finished()).await; // What is still open is cut off.
            self.inbox.stop();
            self.transport.shutdown().await;
            tokio::task::spawn_blocking(|| self.driver.join()).await
        });
        self.orders.stop();
        tokio.shutdown_timeout(DRAIN);
        match ended {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) | Err(_) => bail!("the driver's thread panicked"),
        }
    }
}

/// Name and address of each configured host.
fn configured_hosts(config: &Config) -> BTreeMap<HostId, (String, SocketAddr)> {
    let hosts = config.cluster.hosts.iter();
    hosts.map(|(id, host)| (*id, (host.name.clone(), host.address))).collect()
}

/// Opens the log and looks at the chapters; what is damaged is repaired, if the other hosts have it.
fn open_log(config: &Config, clocks: &Clocks, tokio: &Runtime) -> anyhow::Result<(Wal<StdDisk>, Restored)> {
    if crate::recover::must_finish(&config.data) {
        bail!(
            "`palisade recover --accept-tail-loss` did not finish in {}: run it again",
            config.data.display()
        );
    }
    let setup = |incarnation| WalSetup {
        identity: WalIdentity { cluster: config.cluster.id, host: config.host, incarnation },
        options: WalOptions::default(),
        stamps: stamps(clocks),
    };
    let mut donors = bulk::PeerDonors::new(config, identity(config)?, tokio);
    let opened = log::open(&config.data, setup, config.cluster.first_members(), &mut donors)?;
    chapters::repair::repair((&StdDisk, &config.data), &opened.0.reader(), &mut donors)?;
    Ok(opened)
}

/// This thread's work can wait for what peers, clients and attackers wait for.
fn give_way() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "this thread does not give way to others");
    }
}

/// The whole log, for one reader.
fn history(config: &Config, log: &WalReader<StdDisk>) -> History<StdDisk> {
    History::new(Arc::new(StdDisk), &config.data, log.clone())
}

/// What stamps new files of log and spool.
fn stamps(clocks: &Clocks) -> Stamps {
    let clocks = clocks.clone();
    Box::new(move || FileStamp {
        nonce: random().map(u64::from_le_bytes).unwrap_or_default(),
        created_at: clocks.now().wall,
    })
}

/// Which start of the process this is, and the last number that the spool holds from earlier ones.
type Numbers = (u32, Option<OriginSequence>);

/// The spool below the data directory, which the log has made and locked.
fn open_spool(
    config: &Config,
    data: &DataDirectory,
    clocks: &Clocks,
) -> anyhow::Result<(Spool<StdDisk>, Numbers)> {
    let start = data.count_start().context("count this start")?;
    let setup = SpoolSetup {
        identity: identity(config)?,
        options: SpoolOptions::default(),
        given_upto: given_before(start),
        limits: SpaceLimits::default(),
        stamps: stamps(clocks),
    };
    let (spool, found) = Spool::open(Arc::new(StdDisk), &config.data, setup)?;
    for damage in &found.damage {
        tracing::error!(%damage, "the spool is damaged; what was there is left out");
    }
    Ok((spool, (start, found.last)))
}

/// Who this host is: the configuration says its id, the data directory which incarnation.
fn identity(config: &Config) -> anyhow::Result<WalIdentity> {
    let incarnation = DataDirectory::open(&config.data).incarnation().context("read the incarnation")?;
    Ok(WalIdentity { cluster: config.cluster.id, host: config.host, incarnation })
}

fn compose(
    config: &Config,
    (start, spooled): Numbers,
    mut restored: Restored,
    (wal, clocks): (&Wal<StdDisk>, &Clocks),
) -> anyhow::Result<Node> {
    let known = config.cluster.hosts.iter().map(|(id, host)| KnownHost {
        host: *id,
        name: host.name.clone(),
        addresses: host.addresses().collect(),
    });
    let WalIdentity { cluster, host, incarnation } = identity(config)?;
    let identity = Identity { cluster, host, incarnation, spooled, start, hosts: known.collect() };
    let history = history(config, &wal.reader());
    let seals = history.seals().context("read the seals of the chapters")?;
    let committed = seals.partition_point(|seal| seal.last.index <= restored.hard_state.commit);
    restored.snapshot = snapshot_of(seals.get(..committed).unwrap_or_default());
    let base = restored.base;
    let seed = u64::from_le_bytes(random()?);
    let core = Core::new(&CoreConfig::new(config.host), restored, Box::new(history), seed)
        .context("restore consensus from the log")?;
    let node = Node::new(identity, core, random()?, clocks.now());
    Ok(node.with_chapters(config.log, seals, base, witness_key(config)?))
}

/// The key with which this host vouches for seals, made at the first start.
fn witness_key(config: &Config) -> anyhow::Result<WitnessKey> {
    let directory = config.data.join("tls");
    StdDisk.create_dir(&directory)?;
    let path = directory.join(WITNESS_KEY);
    let seed = match std::fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let seed: [u8; 32] = random()?;
            DataDirectory::open(&directory)
                .replace_bytes(WITNESS_KEY, &seed)
                .context("keep the witness key")?;
            Some(seed)
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let wrong = || {
        format!("{} is not a key of 32 bytes; remove it, and the next start makes another", path.display())
    };
    seed.as_ref().and_then(WitnessKey::from_seed).with_context(wrong)
}

/// Takes up what was folded before the last stop, if the log has it, and folds what was committed since. Gives the entries up
/// to which each projection is put aside.
fn take_up(
    config: &Config,
    node: &mut Node,
    log: &WalReader<StdDisk>,
) -> anyhow::Result<(Checkpoints, [LogIndex; 2])> {
    let (mut checkpoints, mut folded) = Checkpoints::open(&config.data);
    let (ahead, commit) = (folded.farthest(), node.consensus().commit);
    refuse_lost_end(&config.data, ahead, log.last().index)?;
    if commit < ahead {
        tracing::warn!(%ahead, %commit, "checkpoints are ahead of the log and not taken up; the log is folded instead");
        (checkpoints, folded) = (checkpoints.begin_anew(), Folded::default());
    }
    let saved = [folded.model.applied(), folded.views.applied()];
    tracing::info!(saved = %folded.applied(), %commit, "folds the log from its checkpoint");
    let seen = fold::at_start(&history(config, log), &mut folded, commit).context("fold the log")?;
    node.take_up(folded, seen.open_bytes);
    begin(node)?;
    tracing::info!(%commit, "folded the log");
    Ok((checkpoints, saved))
}

/// A checkpoint covers only what was durable: a log that ends before it has lost its end, and whoever goes on with it
/// forgets what he has acknowledged.
fn refuse_lost_end(data: &Path, ahead: LogIndex, last: LogIndex) -> anyhow::Result<()> {
    if ahead <= last {
        return Ok(());
    }
    let data = data.display();
    bail!(
        "the log in {data}/wal ends with entry {last}, but this host had applied entry {ahead}, says its checkpoint: the newest \
         files of the log are missing. Put them back. If they are gone for good, keep a copy of the directory; if there are \
         other hosts, remove this one from the cluster and let it join as a new host, into an empty folder; if there are none, \
         delete {data}/projections.sled, and the host goes on with what is left"
    )
}

/// Has the node look at what it took up.
fn begin(node: &mut Node) -> anyhow::Result<()> {
    let mut outputs = Vec::new();
    node.start(&mut outputs);
    for output in outputs {
        if let Output::Halt(reason) = output {
            return Err(reason.into());
        }
    }
    Ok(())
}

fn start_transport(
    config: &Config,
    tokio: &Runtime,
    inbox: &Inbox,
    (addresses, (desk, log)): (&Addresses, (Arc<Desk>, WalReader<StdDisk>)),
) -> anyhow::Result<Transport> {
    let (shared, ca_key) = (desk.shared(), config.cluster.ca_key.clone());
    let peers = addresses.peers(&shared.members.borrow());
    let data = config.data.clone();
    let source = bulk::Source {
        history: history(config, &log),
        data,
        ca_key: ca_key.clone(),
        shared: Arc::clone(&shared),
        desk: Arc::clone(&desk),
        tokio: tokio.handle().clone(),
    };
    let services = Services { bulk: Some(Arc::new(source)), desk: Some(desk) };
    let files = Files::new(&config.cluster);
    files.finish_replacement().context("finish a renewal of the certificate")?;
    let (identity, tls, addresses) = (identity(config)?, files.tls()?, addresses.clone());
    let ca_key = authority::KeyFile(ca_key);
    let data = DataDirectory::open(&config.data);
    tokio.spawn(bulk::remember_members(data, addresses.clone(), Arc::clone(&shared)));
    tokio.spawn(bulk::KeyKeeper { identity, files, ca_key, addresses, shared }.run());
    let transport =
        TransportConfig { identity, peers, tls, build: env!("CARGO_PKG_VERSION").to_owned(), services };
    let listener = bind(config.cluster.listen).context("listen for peers (cluster.listen)")?;
    Ok(Transport::start(tokio.handle(), transport, listener, inbox.clone())?)
}

fn start_renewal(
    config: &Config,
    tokio: &Runtime,
    (desk, peers): (Arc<Desk>, PeerSender),
    (server, clocks): (&Server, Clocks),
) -> anyhow::Result<()> {
    let renewal = Renewal {
        identity: identity(config)?,
        files: Files::new(&config.cluster),
        addresses: Addresses::new(config),
        shared: desk.shared(),
        desk,
        peers,
        console: Renewal::console(&config.console.security, server.certificate_setter()),
        clocks,
        ca_key: authority::KeyFile(config.cluster.ca_key.clone()),
    };
    // Before anything is shown or asked: the log may name others than the files do.
    renewal.follow_the_log().context("trust the authorities that the log names")?;
    tokio.spawn(renewal.run());
    Ok(())
}

fn start_chapters(
    config: &Config,
    tokio: &Runtime,
    (inbox, shared, addresses): (&Inbox, &Arc<Shared>, &Addresses),
    log: WalReader<StdDisk>,
) -> anyhow::Result<chapters::Orders> {
    let history = Arc::new(history(config, &log));
    let peers = chapters::Peers {
        tokio: tokio.handle().clone(),
        files: Files::new(&config.cluster),
        identity: identity(config)?,
        addresses: addresses.clone(),
        shared: Arc::clone(shared),
    };
    let (cluster, data, inbox) = (config.cluster.id, config.data.clone(), inbox.clone());
    Ok(chapters::start(chapters::Workshop { cluster, data, history, inbox, peers })?)
}

fn start_checkpoints(
    config: &Config,
    (desk, (checkpoints, saved)): (checkpoints::Desk, (Checkpoints, [LogIndex; 2])),
    (inbox, shared): (&Inbox, &Arc<Shared>),
    (log, durable): (WalReader<StdDisk>, DurableCommit),
) -> std::io::Result<()> {
    let history = history(config, &log);
    let (inbox, shared) = (inbox.clone(), Arc::clone(shared));
    checkpoints::start(desk, checkpoints::Workshop { checkpoints, saved, history, inbox, shared, durable })
}

fn start_writer(wal: Wal<StdDisk>, transport: &Transport, inbox: &Inbox) -> anyhow::Result<Writer> {
    let (peers, waker) = (transport.sender(), inbox.clone());
    let output = move |to, message| {
        let _ = peers.send(to, PeerMessage::Raft(message)); // A lost message is asked for again.
    };
    Ok(Writer::start(wal, output, move || waker.wake())?)
}

fn start_server(
    config: &Config,
    tokio: &Runtime,
    (doors, data): (Arc<ports::Doors>, &DataDirectory),
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Server> {
    let tls = |certificate: &Path, key: &Path| -> anyhow::Result<ConsoleTransport> {
        Ok(ConsoleTransport::Tls { certificates_pem: read(certificate)?, key_pem: read(key)? })
    };
    let transport = match &config.console.security {
        ConsoleSecurity::PlainOnLoopback => ConsoleTransport::PlainOnLoopback,
        ConsoleSecurity::Files { certificate, key } => tls(certificate, key)?,
        ConsoleSecurity::HostCertificate => tls(&config.cluster.certificate, &config.cluster.key)?,
    };
    let draw: Random = Arc::new(|bytes| getrandom::fill(bytes).map_err(|_| NoRandomness));
    let (local_token, text) = LocalToken::draw(&draw)?;
    data.replace(files::LOCAL_TOKEN, &text).context("leave the local token for the command line")?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let server = api::Config {
        transport,
        host_name: config.name.clone(),
        build: version.clone(),
        version,
        local_token,
        allowed_hosts: Vec::new(),
        limits: Limits::default(),
    };
    let listener = bind(config.console.listen).context("listen for the console (console.listen)")?;
    let _inside = tokio.enter();
    let ports = Ports { submit: doors.clone(), reads: doors, random: draw };
    Ok(Server::start(listener, server, ports, stop)?)
}

/// What others need of the firewall's thread.
struct Kernel {
    orders: actuator::Orders,
    shared: Arc<actuator::Shared>,
    /// Whom it drops, for the sensors.
    dropped: doors::Doors,
    spared: Sparing,
}

fn start_firewall(
    config: &Config,
    layout: crate::actuators::firewall::Layout,
    inbox: &Inbox,
    clocks: &Clocks,
    tokio: &Runtime,
) -> anyhow::Result<(Kernel, std::thread::JoinHandle<()>)> {
    let spared = Sparing::start(config, tokio, clocks.clone());
    let dropped = doors::Doors::default();
    let (orders, shared, thread) = actuator::start(
        (config.firewall.enabled, networks(&spared.now([]))),
        layout,
        (inbox.clone(), dropped.clone()),
        clocks.clone(),
    )?;
    Ok((Kernel { orders, shared, dropped, spared }, thread))
}

/// Starts the sensors, and what keeps them and the node told of each other.
fn start_sensors(
    config: &Config,
    tokio: &Runtime,
    ((inbox, clocks), shown): ((&Inbox, Clocks), &Arc<Shared>),
    (kernel, views, signed_in): (Kernel, Arc<RwLock<ReadModels>>, SessionSources),
) -> anyhow::Result<Arc<sensor::Shared>> {
    let Kernel { orders, shared: firewall, dropped: doors, spared } = kernel;
    let own: Vec<_> = config.cluster.hosts.values().flat_map(HostConfig::addresses).collect();
    let settings = views.read().unwrap_or_else(PoisonError::into_inner).settings.current().clone();
    let policy = policy_of(&settings, &own, &networks(&spared.now([])), &config.surroundings);
    let sensors = Arc::new(sensor::Shared::new(policy));
    let tools = sensor::Tools {
        shared: Arc::clone(&sensors),
        inbox: inbox.clone(),
        actuator: orders.clone(),
        doors,
        clocks,
        secret: random()?,
    };
    sensor::start(config, &tools).context("start the sensors")?;
    tokio.spawn(keep_told(Telling {
        inbox: inbox.clone(),
        sensors: Arc::clone(&sensors),
        firewall,
        source: sensor::source(config),
        kernel: kernel_release(),
        shown: Arc::clone(shown),
        space: space::watch(&config.data).context("start the thread that watches the disk")?,
        views,
        own,
        orders,
        spared,
        signed_in,
        surroundings: config.surroundings.clone(),
    }));
    Ok(sensors)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Binds a socket; a predecessor may need a moment to let go of it.
fn bind(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let started = std::time::Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && started.elapsed() < BIND_PATIENCE =>
            {
                std::thread::park_timeout(BIND_PAUSE);
            }
            result => return result,
        }
    }
}

struct Telling {
    inbox: Inbox,
    sensors: Arc<sensor::Shared>,
    firewall: Arc<actuator::Shared>,
    source: String,
    kernel: String,
    shown: Arc<Shared>,
    space: space::Space,
    views: Arc<RwLock<ReadModels>>,
    own: Vec<std::net::IpAddr>,
    surroundings: Surroundings,
    orders: actuator::Orders,
    spared: Sparing,
    signed_in: SessionSources,
}

/// Tells the node what the host's own shells say, and the sensors what the cluster's settings say.
async fn keep_told(telling: Telling) {
    let mut every = tokio::time::interval(LOCAL_STATE_EVERY);
    let mut spared_before = Spared::new();
    loop {
        every.tick().await;
        let [packets, sip_messages, malformed, dropped] = telling.sensors.counts();
        let report = telling.firewall.report();
        let state = LocalState {
            enforced: telling.firewall.enforced(),
            firewall: report.state,
            firewall_detail: report.detail,
            provisional: report.provisional,
            sensor_source: telling.source.clone(),
            packets,
            sip_messages,
            malformed,
            dropped,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: telling.kernel.clone(),
            disk: telling.space.state(),
            authority: telling.shown.certificates.borrow().own,
        };
        let _ = telling.inbox.offer(Input::Local(state)); // The next one says the same and more.
        let spared = telling.spared.now(telling.signed_in.now());
        if spared != spared_before {
            telling.orders.spare(networks(&spared));
            spared_before.clone_from(&spared);
            *telling.shown.spared.write().unwrap_or_else(PoisonError::into_inner) = spared.clone();
        }
        let settings =
            telling.views.read().unwrap_or_else(PoisonError::into_inner).settings.current().clone();
        telling.sensors.set_policy(policy_of(
            &settings,
            &telling.own,
            &networks(&spared),
            &telling.surroundings,
        ));
    }
}

/// The kernel's release, as it says itself.
pub(crate) fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("draw random bytes: {error}"))?;
    Ok(bytes)
}
