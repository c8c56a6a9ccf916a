//! Real `palisade serve` processes on loopback: a cluster that a test may kill, stop and start host by host.
//!
//! The hosts watch only and sense nothing: what is tested is what they agree on and what they keep. The program is the
//! one that `cargo build` left beside this test (see [`binary`]).
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

mod anew;
mod authority;
mod door;
mod membership;
mod operation;

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use log_format::ids::ClusterId;
use palisade::config::{self, Config};
use palisade::provision::{self, FirewallSwitch, NewCluster, NewHost};
use serde_json::Value;

pub(crate) use self::door::{Door, Request};
use crate::support::{Scratch, wait_until};
use crate::wire_cluster::binary;

/// Lines of each host's log that are shown when a test fails.
const LAST_LINES: usize = 25;

/// Host processes, killed and forgotten when dropped.
pub(crate) struct Cluster {
    hosts: Vec<Host>,
    _folder: Scratch,
}

struct Host {
    configuration: PathBuf,
    config: Config,
    log: PathBuf,
    process: Option<Child>,
}

/// What a host has folded, and the hash of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) applied: u64,
    pub(crate) hash: String,
}

impl Cluster {
    /// Makes so many hosts and waits until they have a leader and hear each other.
    pub(crate) fn start(hosts: usize) -> Self {
        let mut cluster = Self::make(hosts);
        (0..cluster.len()).for_each(|host| cluster.restart(host));
        cluster.wait_until_whole();
        cluster
    }

    /// Makes so many hosts and starts none of them.
    pub(crate) fn make(hosts: usize) -> Self {
        let folder = Scratch::new("cluster");
        let new = NewCluster {
            id: ClusterId::new([5; 16]),
            year: 2026,
            hosts: (1..=hosts).map(new_host).collect(),
        };
        let made = provision::provision(&new, &folder.path().join("hosts")).unwrap();
        let hosts = made.into_iter().map(|made| Host {
            config: config::load(&made.configuration).unwrap(),
            log: folder.path().join(format!("host{}.log", made.host)),
            configuration: made.configuration,
            process: None,
        });
        Self { hosts: hosts.collect(), _folder: folder }
    }

    /// How many hosts there are; they are numbered from 0 here.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Waits until every host names the same leader and hears all others.
    pub(crate) fn wait_until_whole(&self) {
        wait_until("every host knows the leader and all hosts are active", || {
            let leaders: Vec<_> = (0..self.len()).map(|host| self.leader_of_whole(host)).collect();
            leaders.iter().all(|leader| leader.is_some() && *leader == leaders[0])
        });
    }

    fn leader_of_whole(&self, host: usize) -> Option<String> {
        let status = self.status(host)?;
        let hosts = status["hosts"].as_array()?;
        let active = hosts.iter().filter(|host| host["status"] == "active").count();
        (active == self.len()).then(|| status["leader"].as_str().map(str::to_owned))?
    }

    /// Whom this host believes to lead.
    pub(crate) fn leader(&self, host: usize) -> Option<usize> {
        let leader: usize = self.status(host)?["leader"].as_str()?.parse().ok()?;
        leader.checked_sub(1)
    }

    /// The host's picture of the cluster; nothing while it does not answer.
    pub(crate) fn status(&self, host: usize) -> Option<Value> {
        let answer = self.door(host).ask("GET", "/cluster?state_hash=true").ok()?;
        (answer.status == 200).then_some(answer.body)
    }

    /// What the host has folded.
    pub(crate) fn state(&self, host: usize) -> Option<State> {
        let status = self.status(host)?;
        let hash = status["state_hash"]["hash"].as_str()?.to_owned();
        Some(State { applied: status["state_hash"]["index"].as_u64()?, hash })
    }

    /// Waits until all hosts have folded the same entries, and gives the state that they all have.
    pub(crate) fn wait_for_one_state(&self) -> State {
        let mut states = Vec::new();
        wait_until("all hosts have applied the same entry", || {
            states = (0..self.len()).map(|host| self.state(host)).collect();
            states.iter().all(|state| state.is_some() && applied(state) == applied(&states[0]))
        });
        let states: Vec<State> = states.into_iter().flatten().collect();
        assert!(states.iter().all(|state| *state == states[0]), "equal entries, other states: {states:?}");
        states[0].clone()
    }

    /// The way to a host's API.
    pub(crate) fn door(&self, host: usize) -> Door {
        let Config { console, data, .. } = &self.hosts[host].config;
        Door::new(console.listen, data)
    }

    /// Where a host keeps its data.
    pub(crate) fn data(&self, host: usize) -> &Path {
        &self.hosts[host].config.data
    }

    /// What a host has logged since the cluster was made.
    pub(crate) fn log(&self, host: usize) -> String {
        fs::read_to_string(&self.hosts[host].log).unwrap_or_default()
    }

    /// Changes the start-up configuration of a host that is down.
    pub(crate) fn configure(&mut self, host: usize, change: impl FnOnce(String) -> String) {
        let Host { configuration, config, .. } = &mut self.hosts[host];
        let text = fs::read_to_string(&*configuration).unwrap();
        fs::write(&*configuration, change(text)).unwrap();
        *config = config::load(configuration).unwrap();
    }

    /// Starts a host that is down. It does not wait for it.
    pub(crate) fn restart(&mut self, host: usize) {
        let serve = self.serve(host);
        self.restart_as(host, serve);
    }

    /// Starts a host that is down by this command, whose process must be the host's in the end.
    pub(crate) fn restart_as(&mut self, host: usize, mut serve: Command) {
        let Host { log, process, .. } = &mut self.hosts[host];
        assert!(process.is_none(), "host {host} runs already");
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        *process = Some(serve.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// A command that runs a host's process.
    pub(crate) fn serve(&self, host: usize) -> Command {
        let mut serve = Command::new(binary());
        serve.args(["serve", "--config"]).arg(&self.hosts[host].configuration).stdin(Stdio::null());
        serve
    }

    /// How a host's process ended; nothing while it runs.
    pub(crate) fn ended(&mut self, host: usize) -> Option<ExitStatus> {
        let process = self.hosts[host].process.as_mut()?;
        let ended = process.try_wait().unwrap();
        if ended.is_some() {
            self.hosts[host].process = None;
        }
        ended
    }

    /// Ends a host's process as a power cut would: with SIGKILL, whatever it is doing.
    pub(crate) fn kill9(&mut self, host: usize) {
        let mut process = self.hosts[host].process.take().unwrap();
        assert_eq!(process.try_wait().unwrap(), None, "host {host} ended by itself");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks a host to end, and waits until it has.
    pub(crate) fn term(&mut self, host: usize) -> ExitStatus {
        let mut process = self.hosts[host].process.take().unwrap();
        let asked = Command::new("/usr/bin/kill").arg(process.id().to_string()).status().unwrap();
        assert!(asked.success());
        let mut ended = None;
        wait_until("a host that was asked to end has ended", || {
            ended = process.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Runs `palisade` with these words about this host's data directory.
    pub(crate) fn log_command(&self, host: usize, words: &[&str]) -> Output {
        Command::new(binary()).arg("log").args(words).arg("--data").arg(self.data(host)).output().unwrap()
    }

    /// Runs `palisade` with these words, asking this host.
    pub(crate) fn palisade(&self, host: usize, words: &[&str]) -> Output {
        let configuration = &self.hosts[host].configuration;
        Command::new(binary()).args(words).arg("--config").arg(configuration).output().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            if let Some(process) = &mut host.process {
                let _killed = process.kill();
                let _waited = process.wait();
            }
        }
        if std::thread::panicking() {
            for host in &self.hosts {
                let log = fs::read_to_string(&host.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
                println!("--- {}\n{}", host.log.display(), last.join("\n"));
            }
        }
    }
}

fn applied(state: &Option<State>) -> Option<u64> {
    state.as_ref().map(|state| state.applied)
}

/// What a host says of another, both numbered from 0.
fn row_of(cluster: &Cluster, asked: usize, host: usize) -> Value {
    let hosts = cluster.status(asked).map_or(Value::Null, |status| status["hosts"].clone());
    let id = (host + 1).to_string();
    hosts.as_array().and_then(|rows| rows.iter().find(|row| row["id"] == *id)).cloned().unwrap_or_default()
}

/// A block of an address that ends in this number.
fn block_of(number: u8) -> Value {
    serde_json::json!({ "address": Ipv4Addr::new(203, 0, 113, number), "seconds": 3_600 })
}

fn new_host(number: usize) -> NewHost {
    NewHost {
        name: format!("host{number}"),
        address: free_address(),
        console: free_address(),
        plain_console: true,
        devices: Vec::new(),
        playback: None,
        firewall: FirewallSwitch::Off,
    }
}

/// A loopback address that nobody listens on. A host must find its port free again after it was killed, so the port is
/// none of those that the kernel gives to outgoing connections (32768 and above) or to listeners on port 0.
pub(crate) fn free_address() -> SocketAddr {
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 10_000;
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Processes that test side by side begin at different ports.
    let start = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap();
    (0..PORTS)
        .map(|_| {
            let next = TRIED.fetch_add(1, Ordering::Relaxed);
            SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + start.wrapping_add(next) % PORTS))
        })
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("one of ten thousand ports is free")
}
