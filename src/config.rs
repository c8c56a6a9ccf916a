//! Start-up configuration: one small TOML file per host, read and validated once.
//!
//! Everything that the whole cluster shares (ports, thresholds, lists) is a cluster setting instead: an event of the log.

pub mod rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::{PortRange, Text};
use log_format::ids::{ClusterId, HostId};
use log_format::wal::ConfState;
use projections::decide::chapters::ChapterLimits;
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use crate::node::ChapterSettings;
use crate::{infrastructure, names};

/// Hosts of one cluster at most: Raft heartbeats and pings are all to all, and no site has more hypervisors in one cluster.
const MAX_HOSTS: usize = 31;
/// Entries of a chapter at least: its cut, its seal, a witness for each host, a roll-up and an erasure are entries too.
const MIN_CHAPTER_ENTRIES: u64 = 64;
/// Length of a host's name: what fits a console chip and a certificate.
const MAX_NAME_LENGTH: usize = 31;
/// Canary users at most: guessers try the same few hundred names.
const MAX_CANARIES: usize = 64;

/// Lengths of the key of reports: short ones are guessed, and nobody needs longer ones.
const HEP_KEY_LENGTHS: RangeInclusive<usize> = 12..=64;

/// A host's start-up configuration, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This host.
    pub host: HostId,
    /// Its name, as people see it.
    pub name: String,
    /// Where it keeps its data.
    pub data: PathBuf,
    /// The cluster.
    pub cluster: ClusterConfig,
    /// Where the console and the API listen.
    pub console: ConsoleConfig,
    /// Where packets come from.
    pub sensor: SensorConfig,
    /// Where telephone systems report their own SIP messages.
    pub hep: Option<HepConfig>,
    /// What the sensor is told of this host's network.
    pub surroundings: Surroundings,
    /// Where packets are dropped.
    pub firewall: FirewallConfig,
    /// When the log's chapters are cut, and what stays.
    pub log: ChapterSettings,
}

/// What the sensor cannot know of a host's network by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Networks of which no address is in use: who sends there is looking around.
    pub decoys: BTreeSet<IpNet>,
    /// Users that nobody is: who asks for one is guessing.
    pub canary_users: Vec<String>,
    /// Ports on which SIP is expected over TCP only; `None`: the sensor's own.
    pub tcp_ports: Option<Vec<PortRange>>,
    /// Ports on which it is expected over WebSocket, in clear.
    pub websocket_ports: Option<Vec<PortRange>>,
    /// Ports on which it is expected over TLS.
    pub tls_ports: Option<Vec<PortRange>>,
}

/// The cluster, as this host joins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster's identity.
    pub id: ClusterId,
    /// Where this host listens for its peers.
    pub listen: SocketAddr,
    /// Every host of the cluster, this one too.
    pub hosts: BTreeMap<HostId, HostConfig>,
    /// The cluster's certificate authority.
    pub ca: PathBuf,
    /// This host's certificate.
    pub certificate: PathBuf,
    /// This host's private key.
    pub key: PathBuf,
    /// The authority's private key; there on hosts that may have a vote, so that a leader can sign.
    pub ca_key: PathBuf,
    /// The members before the first entry of the log, for a host that came later; `None`: `hosts`.
    pub first_members: Option<ConfState>,
}

impl ClusterConfig {
    /// The members before the first entry of the log. The largest odd number of hosts vote, in order of their number; an
    /// even one would need a larger majority for nothing.
    pub fn first_members(&self) -> ConfState {
        if let Some(members) = &self.first_members {
            return members.clone();
        }
        let voters = self.hosts.len() - usize::from(self.hosts.len().is_multiple_of(2));
        let hosts = || self.hosts.keys().copied();
        ConfState::new(hosts().take(voters), hosts().skip(voters))
    }
}

/// One host of the cluster, as the others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Its name.
    pub name: String,
    /// Where its peers connect to.
    pub address: SocketAddr,
    /// More addresses of its own, which are never blocked.
    pub own_addresses: Vec<IpAddr>,
}

impl HostConfig {
    /// Every address of its own: where its peers reach it, and the others given.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.own_addresses.iter().copied().chain([self.address.ip()])
    }
}

/// Where the console and the API listen, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleConfig {
    /// The address.
    pub listen: SocketAddr,
    /// TLS, or plain HTTP on a loopback address.
    pub security: ConsoleSecurity,
}

/// How the console is protected on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleSecurity {
    /// TLS with the host's own cluster certificate.
    HostCertificate,
    /// TLS with this certificate and key.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Plain HTTP; only ever on a loopback address.
    PlainOnLoopback,
}

/// Where the sensor's packets come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SensorConfig {
    /// Live capture on these devices.
    Devices(Vec<String>),
    /// A capture file or a FIFO that somebody writes one to.
    Playback(PathBuf),
    /// No sensor on this host.
    Off,
}

/// Where telephone systems report, over HEP version 3, what the wire shows only encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HepConfig {
    /// Where to listen, over UDP.
    pub listen: SocketAddr,
    /// What a report must carry; only ever `None` on a loopback address.
    pub key: Option<HepKey>,
}

/// The key of reports. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HepKey(String);

impl HepKey {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for HepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HepKey(..)")
    }
}

/// Where the firewall drops packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallConfig {
    /// Ingress of these devices; none: prerouting, before connection tracking.
    pub devices: Vec<String>,
    /// Name of Palisade's own table.
    pub table: String,
    /// Whether the kernel is touched at all.
    pub enabled: bool,
    /// Networks that this host never drops, whatever the log says.
    pub never_block: BTreeSet<IpNet>,
    /// Names whose addresses it never drops.
    pub never_block_names: BTreeSet<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration {} (--config names another)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, or has keys that do not exist or lack.
    #[error("configuration {}, line {line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A value cannot be used.
    #[error("configuration {}, line {line}: {key}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    host: HostSection,
    cluster: ClusterSection,
    console: ConsoleSection,
    #[serde(default)]
    sensor: SensorSection,
    #[serde(default)]
    firewall: FirewallSection,
    #[serde(default)]
    log: LogSection,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostSection {
    id: Spanned<u64>,
    data: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterSection {
    id: Spanned<String>,
    listen: Option<SocketAddr>,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    #[serde(default = "ca_key")]
    ca_key: PathBuf,
    #[serde(default)]
    first_voters: Vec<u64>,
    #[serde(default)]
    first_learners: Vec<u64>,
    hosts: Spanned<Vec<PeerSection>>,
}

/// Beside the configuration, as `cluster init` writes it.
fn ca_key() -> PathBuf {
    PathBuf::from("ca.key")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerSection {
    id: Spanned<u64>,
    name: Spanned<String>,
    address: SocketAddr,
    #[serde(default)]
    own_addresses: Vec<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsoleSection {
    listen: Spanned<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    plain: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct SensorSection {
    #[serde(default)]
    devices: Vec<Spanned<String>>,
    playback: Option<Spanned<PathBuf>>,
    hep: Option<Spanned<SocketAddr>>,
    hep_key: Option<Spanned<String>>,
    #[serde(default)]
    decoys: Vec<Spanned<String>>,
    #[serde(default)]
    canary_users: Vec<Spanned<String>>,
    tcp_ports: Option<Vec<Spanned<PortText>>>,
    websocket_ports: Option<Vec<Spanned<PortText>>>,
    tls_ports: Option<Vec<Spanned<PortText>>>,
}

/// A port, or a range of them: `5060` or `"5060-5089"`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum PortText {
    Number(u16),
    Range(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FirewallSection {
    devices: Vec<Spanned<String>>,
    table: Spanned<String>,
    enabled: bool,
    never_block: Vec<Spanned<String>>,
}

impl Default for FirewallSection {
    fn default() -> Self {
        let table = Spanned::new(0..0, "palisade".to_owned());
        Self { devices: Vec::new(), table, enabled: true, never_block: Vec::new() }
    }
}

/// The leader's are in force: the same on every host is best.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LogSection {
    chapter_entries: Option<Spanned<u64>>,
    chapter_bytes: Option<Spanned<u64>>,
    keep_entries: Option<Spanned<u64>>,
    keep_bytes: Option<Spanned<u64>>,
    retention_seconds: Option<Spanned<u64>>,
    retention_every_seconds: Option<Spanned<u64>>,
}

/// Reads and validates a configuration file. Paths in it are relative to the file.
#[expect(clippy::disallowed_methods, reason = "start-up reads its one file here")]
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Validates the text of a configuration file; `path` gives the folder of relative paths and the errors their name.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let context = Context { path, text };
    let file: File = toml::from_str(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span().unwrap_or_default()),
        reason: error.message().to_owned(),
    })?;
    let host = HostId::new(*file.host.id.get_ref());
    let cluster = context.cluster(host, &file)?;
    let name = cluster.hosts.get(&host).map(|own| own.name.clone()).unwrap_or_default();
    Ok(Config {
        host,
        name,
        data: context.resolve(&file.host.data),
        cluster,
        console: context.console(&file.console)?,
        sensor: context.sensor(&file.sensor)?,
        hep: context.hep(&file.sensor)?,
        surroundings: context.surroundings(&file.sensor)?,
        firewall: context.firewall(&file.firewall)?,
        log: context.log(&file.log)?,
    })
}

struct Context<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Context<'_> {
    fn refuse(&self, key: &'static str, span: Range<usize>, reason: String) -> ConfigError {
        let line = line_of(self.text, span);
        ConfigError::Value { path: self.path.to_owned(), line, key, reason }
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn log(&self, section: &LogSection) -> Result<ChapterSettings, ConfigError> {
        let ChapterSettings { limits, keep_entries, keep_bytes, retention, retention_every } =
            ChapterSettings::default();
        let seconds = |key, value, default: Duration| {
            self.positive(key, value, default.as_secs()).map(Duration::from_secs)
        };
        Ok(ChapterSettings {
            limits: ChapterLimits {
                entries: self.chapter_entries(&section.chapter_entries, limits.entries)?,
                bytes: self.positive("log.chapter_bytes", &section.chapter_bytes, limits.bytes)?,
            },
            keep_entries: self.positive("log.keep_entries", &section.keep_entries, keep_entries)?,
            keep_bytes: self.positive("log.keep_bytes", &section.keep_bytes, keep_bytes)?,
            retention: seconds("log.retention_seconds", &section.retention_seconds, retention)?,
            retention_every: seconds(
                "log.retention_every_seconds",
                &section.retention_every_seconds,
                retention_every,
            )?,
        })
    }

    fn chapter_entries(&self, value: &Option<Spanned<u64>>, default: u64) -> Result<u64, ConfigError> {
        match value {
            Some(value) if *value.get_ref() < MIN_CHAPTER_ENTRIES => {
                let reason =
                    format!("is less than {MIN_CHAPTER_ENTRIES}, and each chapter takes entries itself");
                Err(self.refuse("log.chapter_entries", value.span(), reason))
            }
            value => Ok(value.as_ref().map_or(default, |value| *value.get_ref())),
        }
    }

    fn positive(
        &self,
        key: &'static str,
        value: &Option<Spanned<u64>>,
        default: u64,
    ) -> Result<u64, ConfigError> {
        match value {
            None => Ok(default),
            Some(value) if *value.get_ref() == 0 => {
                let reason = "is 0; give at least 1, or leave it out for the default".to_owned();
                Err(self.refuse(key, value.span(), reason))
            }
            Some(value) => Ok(*value.get_ref()),
        }
    }

    fn cluster(&self, host: HostId, file: &File) -> Result<ClusterConfig, ConfigError> {
        let section = &file.cluster;
        let id = ClusterId::parse(section.id.get_ref()).ok_or_else(|| {
            let reason = "is not 32 hexadecimal digits; take it from another host's configuration".to_owned();
            self.refuse("cluster.id", section.id.span(), reason)
        })?;
        let hosts = self.hosts(&section.hosts)?;
        let Some(own) = hosts.get(&host) else {
            let reason = format!("{host} is not among cluster.hosts; add it there or correct it");
            return Err(self.refuse("host.id", file.host.id.span(), reason));
        };
        Ok(ClusterConfig {
            id,
            listen: section.listen.unwrap_or(own.address),
            ca: self.resolve(&section.ca),
            certificate: self.resolve(&section.certificate),
            key: self.resolve(&section.key),
            ca_key: self.resolve(&section.ca_key),
            first_members: (!section.first_voters.is_empty()).then(|| {
                let hosts = |ids: &[u64]| ids.iter().copied().map(HostId::new).collect::<Vec<_>>();
                ConfState::new(hosts(&section.first_voters), hosts(&section.first_learners))
            }),
            hosts,
        })
    }

    fn hosts(
        &self,
        section: &Spanned<Vec<PeerSection>>,
    ) -> Result<BTreeMap<HostId, HostConfig>, ConfigError> {
        let peers = section.get_ref();
        if peers.is_empty() || MAX_HOSTS < peers.len() {
            let reason = format!("names {} hosts; a cluster has 1 to {MAX_HOSTS}", peers.len());
            return Err(self.refuse("cluster.hosts", section.span(), reason));
        }
        let mut hosts = BTreeMap::new();
        let mut names = BTreeSet::new();
        for peer in peers {
            let id = *peer.id.get_ref();
            if id == 0 {
                let reason = "is 0, which stands for no host; number hosts from 1".to_owned();
                return Err(self.refuse("cluster.hosts.id", peer.id.span(), reason));
            }
            let name = peer.name.get_ref();
            if !is_name(name) || !names.insert(name.clone()) {
                let reason = format!(
                    "{name:?} is taken or is not 1 to {MAX_NAME_LENGTH} small letters, digits and hyphens, a letter or digit first"
                );
                return Err(self.refuse("cluster.hosts.name", peer.name.span(), reason));
            }
            let own_addresses = peer.own_addresses.clone();
            let host = HostConfig { name: name.clone(), address: peer.address, own_addresses };
            if hosts.insert(HostId::new(id), host).is_some() {
                let reason = format!("{id} is given twice; every host has its own number, for ever");
                return Err(self.refuse("cluster.hosts.id", peer.id.span(), reason));
            }
        }
        Ok(hosts)
    }

    fn console(&self, section: &ConsoleSection) -> Result<ConsoleConfig, ConfigError> {
        let listen = *section.listen.get_ref();
        let refuse = |reason: &str| self.refuse("console.listen", section.listen.span(), reason.to_owned());
        let security = match (&section.certificate, &section.key, section.plain) {
            (None, None, false) => ConsoleSecurity::HostCertificate,
            (Some(certificate), Some(key), false) => {
                ConsoleSecurity::Files { certificate: self.resolve(certificate), key: self.resolve(key) }
            }
            (None, None, true) if listen.ip().is_loopback() => ConsoleSecurity::PlainOnLoopback,
            (None, None, true) => {
                return Err(refuse("only a loopback address may go without TLS; remove console.plain"));
            }
            (Some(_), Some(_), true) => {
                return Err(refuse("has both a certificate and console.plain; remove one"));
            }
            (Some(_), None, _) | (None, Some(_), _) => {
                return Err(refuse("needs console.certificate and console.key together"));
            }
        };
        Ok(ConsoleConfig { listen, security })
    }

    fn sensor(&self, section: &SensorSection) -> Result<SensorConfig, ConfigError> {
        let devices = self.devices("sensor.devices", &section.devices)?;
        match (&section.playback, devices.is_empty()) {
            (None, true) => Ok(SensorConfig::Off),
            (None, false) => Ok(SensorConfig::Devices(devices)),
            (Some(path), true) => Ok(SensorConfig::Playback(self.resolve(path.get_ref()))),
            (Some(path), false) => {
                let reason = "cannot stand beside sensor.devices; remove one".to_owned();
                Err(self.refuse("sensor.playback", path.span(), reason))
            }
        }
    }

    fn hep(&self, section: &SensorSection) -> Result<Option<HepConfig>, ConfigError> {
        let refuse = |key, span, reason: &str| Err(self.refuse(key, span, reason.to_owned()));
        let Some(listen) = &section.hep else {
            return match &section.hep_key {
                None => Ok(None),
                Some(key) => refuse(
                    "sensor.hep_key",
                    key.span(),
                    "does nothing without sensor.hep; add that or remove it",
                ),
            };
        };
        let address = *listen.get_ref();
        if address.port() == 0 {
            return refuse("sensor.hep", listen.span(), "has port 0; give the port that reports are sent to");
        }
        let Some(key) = &section.hep_key else {
            if !address.ip().is_loopback() {
                let reason = "is no loopback address, so anybody could report anything; add sensor.hep_key";
                return refuse("sensor.hep", listen.span(), reason);
            }
            return Ok(Some(HepConfig { listen: address, key: None }));
        };
        if !HEP_KEY_LENGTHS.contains(&key.get_ref().len())
            || !key.get_ref().bytes().all(|byte| byte.is_ascii_graphic())
        {
            let reason = format!(
                "is not {} to {} letters, digits and signs",
                HEP_KEY_LENGTHS.start(),
                HEP_KEY_LENGTHS.end()
            );
            return Err(self.refuse("sensor.hep_key", key.span(), reason));
        }
        Ok(Some(HepConfig { listen: address, key: Some(HepKey(key.get_ref().clone())) }))
    }

    fn surroundings(&self, section: &SensorSection) -> Result<Surroundings, ConfigError> {
        if let Some(extra) = section.canary_users.get(MAX_CANARIES) {
            let reason = format!("is one too many; {MAX_CANARIES} are enough to be found");
            return Err(self.refuse("sensor.canary_users", extra.span(), reason));
        }
        for user in &section.canary_users {
            if !(1..=Text::MAX_LENGTH).contains(&user.get_ref().len()) {
                let reason = format!("is not 1 to {} bytes long", Text::MAX_LENGTH);
                return Err(self.refuse("sensor.canary_users", user.span(), reason));
            }
        }
        Ok(Surroundings {
            decoys: self.networks("sensor.decoys", &section.decoys)?,
            canary_users: section.canary_users.iter().map(|user| user.get_ref().clone()).collect(),
            tcp_ports: self.ports("sensor.tcp_ports", section.tcp_ports.as_deref())?,
            websocket_ports: self.ports("sensor.websocket_ports", section.websocket_ports.as_deref())?,
            tls_ports: self.ports("sensor.tls_ports", section.tls_ports.as_deref())?,
        })
    }

    fn ports(
        &self,
        key: &'static str,
        ports: Option<&[Spanned<PortText>]>,
    ) -> Result<Option<Vec<PortRange>>, ConfigError> {
        let read = |port: &Spanned<PortText>| {
            port.get_ref().range().ok_or_else(|| {
                self.refuse(key, port.span(), "is no port; write 5060 or \"5060-5089\"".to_owned())
            })
        };
        ports.map(|ports| ports.iter().map(read).collect()).transpose()
    }

    fn firewall(&self, section: &FirewallSection) -> Result<FirewallConfig, ConfigError> {
        let table = section.table.get_ref();
        if !is_name(table) {
            let reason = format!("{table:?} is not 1 to {MAX_NAME_LENGTH} small letters, digits and hyphens");
            return Err(self.refuse("firewall.table", section.table.span(), reason));
        }
        let devices = self.devices("firewall.devices", &section.devices)?;
        let (never_block, never_block_names) =
            self.networks_and_names("firewall.never_block", &section.never_block)?;
        let (table, enabled) = (table.clone(), section.enabled);
        Ok(FirewallConfig { devices, table, enabled, never_block, never_block_names })
    }

    fn networks(&self, key: &'static str, texts: &[Spanned<String>]) -> Result<BTreeSet<IpNet>, ConfigError> {
        if let Some(extra) = texts.get(infrastructure::MAX_NAMED) {
            return Err(self.refuse(key, extra.span(), "is one too many; join networks".to_owned()));
        }
        let read = |text: &Spanned<String>| {
            infrastructure::network(text.get_ref()).map_err(|reason| self.refuse(key, text.span(), reason))
        };
        texts.iter().map(read).collect()
    }

    fn networks_and_names(
        &self,
        key: &'static str,
        texts: &[Spanned<String>],
    ) -> Result<(BTreeSet<IpNet>, BTreeSet<String>), ConfigError> {
        let (names, networks): (Vec<_>, Vec<_>) =
            texts.iter().cloned().partition(|text| names::is_name(text.get_ref()));
        if let Some(extra) = names.get(names::MAX_NAMES) {
            let reason = format!("is one name too many; {} are asked for", names::MAX_NAMES);
            return Err(self.refuse(key, extra.span(), reason));
        }
        let names = names.into_iter().map(|name| name.into_inner().to_ascii_lowercase()).collect();
        Ok((self.networks(key, &networks)?, names))
    }

    fn devices(&self, key: &'static str, names: &[Spanned<String>]) -> Result<Vec<String>, ConfigError> {
        for name in names {
            if !is_device(name.get_ref()) {
                let reason = format!("{:?} is no device name; `ip link` lists them", name.get_ref());
                return Err(self.refuse(key, name.span(), reason));
            }
        }
        Ok(names.iter().map(|name| name.get_ref().clone()).collect())
    }
}

impl PortText {
    /// `None`: it is neither.
    pub(crate) fn range(&self) -> Option<PortRange> {
        let number = |text: &str| text.trim().parse::<u16>().ok();
        let (first, last) = match self {
            Self::Number(port) => (*port, *port),
            Self::Range(text) => match text.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(text)?, number(text)?),
            },
        };
        (0 < first && first <= last).then_some(PortRange { first, last })
    }
}

/// Small letters, digits and hyphens, a letter or digit first (SECURITY: validated at the edge by one rule).
pub fn is_name(name: &str) -> bool {
    let usable = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_LENGTH).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(usable)
}

/// A Linux interface name: 1 to 15 bytes without slash, white space or quotes.
fn is_device(name: &str) -> bool {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    (1..=15).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(usable)
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests;
