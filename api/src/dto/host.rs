//! Hosts and the cluster.

use log_format::ids::{HostId, LogIndex};
use serde::Serialize;

use crate::ports::{ClusterView, FirewallView, HostView, SensorView};

/// A host.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    /// Text, like every host id on the wire: JavaScript's numbers would round large ones.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) role: &'static str,
    pub(crate) status: &'static str,
    /// Milliseconds since it was last heard.
    pub(crate) last_heard_ms: Option<u64>,
    pub(crate) applied: Option<u64>,
    pub(crate) commit: Option<u64>,
    /// Entries that the cluster has committed and this host has not applied.
    pub(crate) lag: Option<u64>,
    pub(crate) enforced: Option<u64>,
    pub(crate) firewall: Firewall,
    pub(crate) sensor: Option<Sensor>,
    pub(crate) version: String,
    pub(crate) kernel: String,
    pub(crate) clock_offset_ms: Option<i64>,
    /// Hash of the key of its certificate's authority.
    pub(crate) authority: Option<String>,
    /// Whether it is the host that answers.
    pub(crate) this: bool,
}

/// What a firewall does.
#[derive(Debug, Serialize)]
pub(crate) struct Firewall {
    pub(crate) mode: &'static str,
    pub(crate) reason: String,
}

/// What a sensor counted.
#[derive(Debug, Serialize)]
pub(crate) struct Sensor {
    pub(crate) source: String,
    pub(crate) packets: u64,
    pub(crate) sip_messages: u64,
    pub(crate) malformed: u64,
    pub(crate) dropped: u64,
}

/// `GET /cluster`.
#[derive(Debug, Serialize)]
pub(crate) struct Cluster {
    pub(crate) cluster_id: String,
    pub(crate) leader: Option<String>,
    /// Whether the host that answers was removed from the cluster.
    pub(crate) removed: bool,
    /// Hashes of the keys of the trusted authorities, the oldest first.
    pub(crate) authorities: Vec<String>,
    pub(crate) term: u64,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    /// Only for whoever asks for it.
    pub(crate) state_hash: Option<StateHash>,
    /// Projections of the host that answers which were found not to be the fold of the log, since its start.
    pub(crate) diverged: Vec<String>,
    pub(crate) as_of: u64,
    pub(crate) now: String,
    pub(crate) hosts: Vec<Host>,
}

/// Fingerprint of everything folded, for comparing hosts.
#[derive(Debug, Serialize)]
pub(crate) struct StateHash {
    pub(crate) index: u64,
    pub(crate) hash: String,
}

impl From<crate::ports::StateHash> for StateHash {
    fn from(crate::ports::StateHash { index, hash }: crate::ports::StateHash) -> Self {
        Self { index: index.get(), hash: hex(&hash) }
    }
}

/// A hash as people write it.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<FirewallView> for Firewall {
    fn from(FirewallView { mode, reason }: FirewallView) -> Self {
        Self { mode: mode.name(), reason }
    }
}

impl From<SensorView> for Sensor {
    fn from(SensorView { source, packets, sip_messages, malformed, dropped }: SensorView) -> Self {
        Self { source, packets, sip_messages, malformed, dropped }
    }
}

/// Every host of the view, in its order.
pub(crate) fn hosts(view: ClusterView) -> Vec<Host> {
    let ClusterView {
        cluster: _,
        this,
        leader: _,
        term: _,
        commit,
        applied: _,
        staleness: _,
        is_removed: _,
        authorities: _,
        provisional_blocks: _,
        hosts,
    } = view;
    hosts.into_iter().map(|host| convert(host, this, commit)).collect()
}

fn convert(host: HostView, this: HostId, committed: LogIndex) -> Host {
    let HostView {
        id,
        name,
        address,
        role,
        status,
        last_heard,
        applied,
        commit,
        enforced,
        firewall,
        sensor,
        version,
        kernel,
        authority,
        clock_offset_ms,
    } = host;
    Host {
        id: id.to_string(),
        name,
        address: address.map(|address| address.to_string()),
        role: role.name(),
        status: status.name(),
        last_heard_ms: last_heard.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        applied: applied.map(LogIndex::get),
        commit: commit.map(LogIndex::get),
        lag: applied.map(|applied| committed.get().saturating_sub(applied.get())),
        enforced: enforced.map(LogIndex::get),
        firewall: firewall.into(),
        sensor: sensor.map(Sensor::from),
        version,
        kernel,
        clock_offset_ms,
        authority: authority.as_ref().map(hex),
        this: id == this,
    }
}
