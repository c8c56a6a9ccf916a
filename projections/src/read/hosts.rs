//! The hosts as the log knows them. Whether one answers this very second is not in the log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use log_format::event::{HostActive, HostEnrolled, HostEvent, HostInactive, HostRemoved, HostRole, Text};
use log_format::ids::{HostId, JoinTokenId, LogIndex};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::HostState;
use crate::digest::{Canonical, CanonicalHasher};

/// One host. A removed one stays, so that old attacks keep the name of the host that saw them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// The host.
    pub host: HostId,
    /// The name that people see.
    pub name: Text,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Where its peers reach it; `None`: as the start-up configuration says.
    pub peer: Option<SocketAddr>,
    /// What it may become.
    pub role: HostRole,
    /// The join token that it came in with.
    pub token: Option<JoinTokenId>,
    /// What it is to the cluster.
    pub state: HostState,
    /// Since when it is that.
    pub since: Timestamp,
    /// The entry that said so.
    pub log_index: LogIndex,
}

/// Folds what happened to hosts; bounded by [`crate::decide::MAX_HOSTS`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostsView {
    rows: BTreeMap<HostId, HostRow>,
}

impl HostsView {
    /// Every host that the cluster ever had, in order of id.
    pub fn rows(&self) -> impl Iterator<Item = &HostRow> {
        self.rows.values()
    }

    /// The host of the cluster that has this address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<HostId> {
        let mut members = self.rows.values().filter(|row| row.state != HostState::Removed);
        members.find(|row| row.addresses.contains(&address)).map(|row| row.host)
    }

    /// One host.
    pub fn get(&self, host: HostId) -> Option<&HostRow> {
        self.rows.get(&host)
    }

    pub(super) fn evolve(&mut self, log_index: LogIndex, since: Timestamp, event: &HostEvent) {
        match event {
            HostEvent::Enrolled(HostEnrolled { host, name, addresses, peer, role, token }) => {
                let row = HostRow {
                    host: *host,
                    name: name.clone(),
                    addresses: addresses.clone(),
                    peer: *peer,
                    role: *role,
                    token: *token,
                    state: HostState::Active,
                    since,
                    log_index,
                };
                self.rows.insert(*host, row);
            }
            HostEvent::Active(HostActive { host }) => self.set(*host, HostState::Active, (log_index, since)),
            HostEvent::Inactive(HostInactive { host, last_heard }) => {
                self.set(*host, HostState::Inactive { last_heard: *last_heard }, (log_index, since));
            }
            HostEvent::Removed(HostRemoved { host, by: _ }) => {
                self.set(*host, HostState::Removed, (log_index, since));
            }
            HostEvent::KeyAnnounced(_) | HostEvent::SpoolDropped(_) => {}
        }
    }

    fn set(&mut self, host: HostId, state: HostState, (log_index, since): (LogIndex, Timestamp)) {
        if let Some(row) = self.rows.get_mut(&host) {
            row.state = state;
            row.since = since;
            row.log_index = log_index;
        }
    }
}

impl Canonical for HostRow {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { host, name, addresses, peer, role, token, state, since, log_index } = self;
        host.put(out);
        name.put(out);
        addresses.put(out);
        peer.put(out);
        role.put(out);
        token.put(out);
        state.put(out);
        since.put(out);
        log_index.put(out);
    }
}

impl Canonical for HostsView {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { rows } = self;
        rows.put(out);
    }
}
