//! Where the demo happens: namespaces with a wire between them, or loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use anyhow::Context;
use log_format::ids::ClusterId;

use crate::cli::cluster::current_year;
use crate::demo::namespaces::{Leftovers, Namespaces, Place};
use crate::demo::relay;
use crate::demo::stop::Stop;
use crate::demo::tap::{AddressMap, Tap};
use crate::provision::{self, FirewallSwitch, NewCluster, NewHost, Provisioned};

/// Hosts of the demo.
const HOSTS: u8 = 3;
/// Port of peers in namespaces.
const PEER_PORT: u16 = 7100;
/// Port of the console inside a namespace.
const INNER_CONSOLE_PORT: u16 = 8443;

/// Where the demo happens.
pub(super) enum Stage {
    /// In namespaces, as root.
    Wire {
        /// The namespaces; gone when dropped.
        namespaces: Namespaces,
        /// Where the console is shown.
        console: SocketAddr,
        /// The hosts' folders.
        hosts: Vec<Provisioned>,
    },
    /// On loopback, without privileges.
    Loopback {
        /// Where the console is shown.
        console: SocketAddr,
        /// The hosts' folders.
        hosts: Vec<Provisioned>,
        /// What each host's sensor plays back.
        recordings: Vec<PathBuf>,
    },
}

impl Stage {
    /// Makes the network and the hosts' folders.
    pub(super) fn set(folder: &Path, console: SocketAddr, unprivileged: bool) -> anyhow::Result<Self> {
        if unprivileged || !rustix::process::geteuid().is_root() {
            return Self::set_loopback(folder, console);
        }
        let leftovers = Leftovers::find()?;
        if !leftovers.names.is_empty() {
            eprint!("{leftovers}");
        }
        let namespaces = Namespaces::create().context("make the demo's network namespaces")?;
        let hosts: Vec<NewHost> =
            (1..).zip(Place::HOSTS).map(|(number, place)| wire_host(number, place)).collect();
        let hosts = provision::provision(&new_cluster(hosts)?, &folder.join("cluster"))?;
        Ok(Self::Wire { namespaces, console, hosts })
    }

    fn set_loopback(folder: &Path, console: SocketAddr) -> anyhow::Result<Self> {
        let recordings: Vec<PathBuf> =
            (1..=HOSTS).map(|number| folder.join(format!("wire{number}.pcap"))).collect();
        recordings.iter().try_for_each(|path| make_fifo(path))?;
        let hosts = (1..=HOSTS)
            .zip(&recordings)
            .map(|(number, recording)| loopback_host(number, console, recording))
            .collect::<anyhow::Result<_>>()?;
        let hosts = provision::provision(&new_cluster(hosts)?, &folder.join("cluster"))?;
        Ok(Self::Loopback { console, hosts, recordings })
    }

    /// What kind of demo it is, for people.
    pub(super) fn says(&self) -> &'static str {
        match self {
            Self::Wire { .. } => {
                "three hosts in network namespaces of their own; the attack crosses a wire and the kernel drops it"
            }
            Self::Loopback { .. } => {
                "three hosts on loopback, watch-only: without root no packet can be captured or dropped, so the hosts\n\
                 play back what the registrars record; run as root to see the kernel drop the attackers"
            }
        }
    }

    /// The hosts' folders.
    pub(super) fn hosts(&self) -> &[Provisioned] {
        match self {
            Self::Wire { hosts, .. } | Self::Loopback { hosts, .. } => hosts,
        }
    }

    /// Where the console is, for a browser.
    pub(super) fn console_address(&self) -> String {
        match self {
            Self::Wire { console, .. } | Self::Loopback { console, .. } => format!("http://{console}/"),
        }
    }

    /// A command that runs where this host is.
    pub(super) fn command(&self, host: usize, program: &Path) -> Command {
        match (self, Place::HOSTS.get(host)) {
            (Self::Wire { namespaces, .. }, Some(place)) => namespaces.run_in(*place, program),
            (Self::Wire { .. } | Self::Loopback { .. }, _) => Command::new(program),
        }
    }

    /// Starts a thread where this place is.
    pub(super) fn spawn(
        &self,
        place: Place,
        run: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let door = match self {
            Self::Wire { namespaces, .. } => Some(namespaces.door(place)?),
            Self::Loopback { .. } => None,
        };
        let thread = move || match door.map_or(Ok(()), |door| door.enter()) {
            Ok(()) => run(),
            Err(error) => eprintln!("palisade: {:#}", anyhow::Error::from(error)),
        };
        Ok(std::thread::Builder::new().name(place.to_string()).spawn(thread)?)
    }

    /// The addresses of the hosts' registrars.
    pub(super) fn registrar(&self, host: u8) -> SocketAddr {
        match self {
            Self::Wire { .. } => SocketAddr::from(([10, 77, 0, 10 + host], 5060)),
            Self::Loopback { .. } => SocketAddr::from(([127, 77, 0, 10 + host], 15_060)),
        }
    }

    /// The address of a place where traffic comes from.
    pub(super) fn source(&self, number: u8) -> IpAddr {
        match self {
            Self::Wire { .. } => IpAddr::from([10, 77, 0, number]),
            Self::Loopback { .. } => IpAddr::from([127, 77, 0, number]),
        }
    }

    /// Gives the attackers' namespace the addresses that they come from.
    pub(super) fn add_attackers(&self, numbers: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Wire { namespaces, .. } => {
                let addresses = numbers.iter().map(|number| self.source(*number));
                Ok(namespaces.add_addresses(Place::Attacker, addresses)?)
            }
            Self::Loopback { .. } => Ok(()),
        }
    }

    /// What a host's registrar records for the host's sensor; nothing where the sensor sees the wire.
    pub(super) fn tap(&self, host: u8) -> anyhow::Result<Option<Tap>> {
        let Self::Loopback { recordings, .. } = self else { return Ok(None) };
        let recorded = |number: u8| IpAddr::V4(Ipv4Addr::new(198, 51, 100, number));
        let mut map = AddressMap::default()
            .endpoint(self.registrar(host), SocketAddr::new(IpAddr::from([192, 0, 2, 10 + host]), 5060));
        for number in 20..=u8::MAX {
            map = map.address(self.source(number), recorded(number));
        }
        let path = recordings.get(usize::from(host - 1)).context("a recording for each host")?;
        Ok(Some(Tap::open(map, std::slice::from_ref(path))?))
    }

    /// Makes the first host's console reachable from outside its namespace.
    pub(super) fn open_console(
        &self,
        console: SocketAddr,
        folder: &Path,
        stop: &Stop,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let Self::Wire { .. } = self else { return Ok(Vec::new()) };
        let listener = TcpListener::bind(console)
            .with_context(|| format!("show the console on {console} (choose another with --console)"))?;
        let path = folder.join("console.sock");
        let target = SocketAddr::from(([127, 0, 0, 1], INNER_CONSOLE_PORT));
        let (inner_path, inner_stop, outer_stop) = (path.clone(), stop.clone(), stop.clone());
        let inner = self.spawn(Place::Host1, move || tell(relay::inner(&inner_path, target, &inner_stop)))?;
        let outer = std::thread::Builder::new()
            .name("console relay".to_owned())
            .spawn(move || tell(relay::outer(&listener, &path, &outer_stop)))?;
        Ok(vec![inner, outer])
    }
}

/// Reports a traffic program's failure; the demo goes on without it.
pub(super) fn tell<T, E: std::error::Error + Send + Sync + 'static>(result: Result<T, E>) {
    if let Err(error) = result {
        eprintln!("palisade: demo: {:#}", anyhow::Error::from(error));
    }
}

fn new_cluster(hosts: Vec<NewHost>) -> anyhow::Result<NewCluster> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("draw the cluster's identity: {error}"))?;
    Ok(NewCluster { id: ClusterId::new(id), year: current_year(), hosts })
}

fn wire_host(number: u8, place: Place) -> NewHost {
    let address = place.ipv4().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4);
    NewHost {
        name: format!("host{number}"),
        address: SocketAddr::new(address, PEER_PORT),
        console: SocketAddr::from(([127, 0, 0, 1], INNER_CONSOLE_PORT)),
        plain_console: true,
        devices: vec!["eth0".to_owned()],
        playback: None,
        firewall: FirewallSwitch::On,
    }
}

fn loopback_host(number: u8, console: SocketAddr, recording: &Path) -> anyhow::Result<NewHost> {
    // Free ports are asked for and given back; the host binds them a moment later.
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(NewHost {
        name: format!("host{number}"),
        address: free()?,
        console: if number == 1 { console } else { free()? },
        plain_console: true,
        devices: Vec::new(),
        playback: Some(recording.to_owned()),
        // Also as root: the network of this machine is not the demo's.
        firewall: FirewallSwitch::Off,
    })
}

fn make_fifo(path: &Path) -> anyhow::Result<()> {
    let status = Command::new("/usr/bin/mkfifo").arg("-m600").arg(path).stdin(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "make the FIFO {}", path.display());
    Ok(())
}
