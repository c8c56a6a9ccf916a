//! Three real hosts in the demo's namespaces: real devices, real kernel, a wire between them.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use log_format::ids::ClusterId;
use palisade::demo::namespaces::{Namespaces, Place};
use palisade::provision::{self, FirewallSwitch, NewCluster, NewHost, Provisioned};
use serde_json::Value;

use crate::cluster::Door;
use crate::support::{Scratch, output_of, wait_until};

/// The binary under test: beside this test's own folder, or where `PALISADE_BINARY` says.
pub(crate) fn binary() -> PathBuf {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("palisade"));
    let path = std::env::var_os("PALISADE_BINARY").map(PathBuf::from).or_else(beside).unwrap();
    let path = fs::canonicalize(&path).unwrap_or(path);
    assert!(path.exists(), "{} is missing: run `cargo build` first", path.display());
    path
}

/// Three hosts, running until dropped.
pub(crate) struct WireCluster {
    pub(crate) network: Namespaces,
    hosts: Vec<Host>,
    folder: Scratch,
}

struct Host {
    place: Place,
    provisioned: Provisioned,
    process: Child,
}

impl WireCluster {
    /// Makes the namespaces, starts the hosts and waits until they have a leader and all of them enforce.
    pub(crate) fn start() -> Self {
        let network = Namespaces::create().unwrap();
        let folder = Scratch::new("wire-cluster");
        let hosts = Place::HOSTS.map(new_host).to_vec();
        let cluster = NewCluster { id: ClusterId::new([9; 16]), year: 2026, hosts };
        let made = provision::provision(&cluster, &folder.path().join("cluster")).unwrap();
        let hosts = Place::HOSTS.into_iter().zip(made).map(|(place, provisioned)| {
            let log = File::create(folder.path().join(format!("{place}.log"))).unwrap();
            let mut serve = network.run_in(place, binary());
            serve.args(["serve", "--config"]).arg(&provisioned.configuration);
            let process = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
            Host { place, provisioned, process }
        });
        let cluster = Self { hosts: hosts.collect(), network, folder };
        wait_until("the hosts have a leader and enforce", || cluster.is_whole());
        cluster
    }

    pub(crate) fn is_whole(&self) -> bool {
        let output =
            self.palisade(Place::Host1, &["cluster", "status", "--format", "jsonl"]).output().unwrap();
        let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else { return false };
        let enforces = |host: &Value| host["status"] == "active" && host["firewall"]["mode"] == "enforcing";
        let hosts = status["hosts"].as_array().cloned().unwrap_or_default();
        !status["leader"].is_null() && hosts.len() == 3 && hosts.iter().all(enforces)
    }

    /// A `palisade` command at a host, asking that host.
    pub(crate) fn palisade(&self, place: Place, words: &[&str]) -> Command {
        let host = self.host(place);
        let mut command = self.network.run_in(place, binary());
        command.args(words).arg("--config").arg(&host.provisioned.configuration).stdin(Stdio::null());
        command
    }

    /// The way to a host's API, for threads inside its namespace.
    pub(crate) fn door(&self, place: Place) -> Door {
        Door::new(SocketAddr::from(([127, 0, 0, 1], 8443)), &self.data(place))
    }

    /// Where a host keeps its data.
    pub(crate) fn data(&self, place: Place) -> PathBuf {
        self.host(place).provisioned.configuration.with_file_name("data")
    }

    /// Sends a signal to a host's process.
    pub(crate) fn signal(&self, place: Place, name: &str) {
        let process = self.host(place).process.id().to_string();
        output_of(Command::new("/usr/bin/kill").args(["-s", name, &process]));
    }

    /// Whether a host's process has ended.
    pub(crate) fn has_ended(&mut self, place: Place) -> bool {
        let host = self.hosts.iter_mut().find(|host| host.place == place).unwrap();
        host.process.try_wait().unwrap().is_some()
    }

    fn host(&self, place: Place) -> &Host {
        self.hosts.iter().find(|host| host.place == place).unwrap()
    }

    /// What a host says is blocked.
    pub(crate) fn blocks(&self, place: Place) -> Vec<Value> {
        let lines = output_of(&mut self.palisade(place, &["blocks", "--format", "jsonl"]));
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Whether this host's kernel holds the address in a set that drops.
    pub(crate) fn kernel_holds(&self, place: Place, address: IpAddr) -> bool {
        let rules = self.rules(place);
        let wanted = address.to_string();
        rules.split(|c: char| !c.is_ascii_hexdigit() && c != '.' && c != ':').any(|word| word == wanted)
    }

    /// Packets that this host's drop rules have dropped.
    pub(crate) fn dropped(&self, place: Place) -> u64 {
        let rules = self.rules(place);
        let counters = rules.lines().map(str::trim).filter_map(|line| line.strip_prefix("packets "));
        counters.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn rules(&self, place: Place) -> String {
        output_of(self.network.run_in(place, "/usr/sbin/nft").args(["list", "ruleset"]))
    }
}

impl Drop for WireCluster {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            let _ended = host.process.kill();
            let _waited = host.process.wait();
            if std::thread::panicking() {
                print_end(&self.folder.path().join(format!("{}.log", host.place)));
            }
        }
    }
}

fn print_end(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    println!("--- {}\n{}", log.display(), lines[lines.len().saturating_sub(20)..].join("\n"));
}

fn new_host(place: Place) -> NewHost {
    NewHost {
        name: place.to_string(),
        address: SocketAddr::new(place.ipv4().unwrap().into(), 7100),
        console: SocketAddr::from(([127, 0, 0, 1], 8443)),
        plain_console: true,
        devices: vec!["eth0".to_owned()],
        playback: None,
        firewall: FirewallSwitch::On,
    }
}
