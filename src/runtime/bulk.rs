//! What this host gives to others over the second connection: entries of its log, files of its chapters, and, to
//! hosts with a vote, the authority's key.

#![expect(clippy::disallowed_methods, reason = "this shell reads and writes the authority's key")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use consensus::core::Role;
use consensus::rt::bulk::{BulkClient, BulkSource, FilePart};
use log_format::disk::StdDisk;
use log_format::event::Actor;
use log_format::history::History;
use log_format::ids::{ChapterNumber, HostId, LogIndex};
use log_format::repair::RecordsNeed;
use log_format::wal::{ConfState, LogEntry, WalIdentity};
use tokio::runtime::{Handle, Runtime};

use super::authority::{KeyFile, newest};
use super::chapters;
use super::chapters::fetch::{Connected, Donor};
use super::desk::Desk;
use super::driver::{Addresses, Shared};
use super::files::DataDirectory;
use super::log::{Donors, Fetched};
use super::renewal::Files;
use crate::chapters::fetch;
use crate::config::Config;
use crate::node::{ClusterPicture, Trust, wire};

/// What a host with a vote asks the leader for, if it has no key to sign with.
const WANTS_CA_KEY: &[u8] = b"ca-key";
/// What a host asks the leader for when a person there wants a new authority; the person's name follows. Answered by the
/// hash of its key.
const WANTS_AUTHORITY: &[u8] = b"new-authority:";
/// How often a host looks whether it should have the authority's key. It is in no hurry: the leader has one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Source {
    pub(super) history: History<StdDisk>,
    pub(super) data: PathBuf,
    pub(super) ca_key: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) desk: Arc<Desk>,
    pub(super) tokio: Handle,
}

impl BulkSource for Source {
    fn entries(&self, from: LogIndex, until: LogIndex, max_bytes: usize) -> Result<Vec<LogEntry>, String> {
        let until = until.min(self.history.wal().last().index.next());
        self.history.entries(from, until, max_bytes as u64).map_err(|error| error.to_string())
    }

    fn chapter_file(
        &self,
        chapter: u64,
        name: &str,
        offset: u64,
        max_bytes: usize,
    ) -> Result<FilePart, String> {
        let file = (ChapterNumber::new(chapter), name);
        fetch::file_part((&StdDisk, &self.data), file, offset, max_bytes)
    }

    fn owner(&self, from: HostId, request: Bytes) -> Result<Bytes, String> {
        if let Some(by) = request.strip_prefix(WANTS_AUTHORITY) {
            let made = self.tokio.block_on(self.desk.rotate(wire::actor(by)));
            return made.map(|key_hash| Bytes::copy_from_slice(&key_hash));
        }
        if request != WANTS_CA_KEY {
            return Err("this version does not know the request".to_owned());
        }
        let picture = self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner).clone();
        let picture = picture.ok_or("this host has just started")?;
        let leads = picture.leader == Some(picture.host);
        if !leads || !picture.voters.contains(&from) {
            return Err("only the leader gives the key, and only to hosts with a vote".to_owned());
        }
        tracing::info!(to = %from, "the authority's key is handed over to a host with a vote");
        std::fs::read(&self.ca_key).map(Bytes::from).map_err(|_| "the leader has no key".to_owned())
    }
}

/// The other hosts, asked for what is damaged in the log and in chapters before anything else runs here.
pub(super) struct PeerDonors<'a> {
    identity: WalIdentity,
    files: Files,
    peers: Vec<(HostId, SocketAddr)>,
    first_members: ConfState,
    tokio: &'a Runtime,
}

impl<'a> PeerDonors<'a> {
    pub(super) fn new(config: &Config, identity: WalIdentity, tokio: &'a Runtime) -> Self {
        let remembered = DataDirectory::open(&config.data).members();
        Self {
            identity,
            files: Files::new(&config.cluster),
            peers: Addresses::new(config).with(&remembered),
            first_members: config.cluster.first_members(),
            tokio,
        }
    }

    async fn connect(&self, (host, address): (HostId, SocketAddr)) -> anyhow::Result<BulkClient> {
        Ok(BulkClient::connect(&self.files.tls()?, self.identity, host, address).await?)
    }

    async fn fetch(
        &self,
        (host, address): (HostId, SocketAddr),
        (first, last): (LogIndex, LogIndex),
    ) -> anyhow::Result<Vec<LogEntry>> {
        let mut client = self.connect((host, address)).await?;
        let (mut entries, mut next) = (Vec::new(), first);
        while next <= last {
            let part = client.entries(next, last.next()).await?;
            next = part.last().context("the peer has not got so far")?.index.next();
            entries.extend(part);
        }
        Ok(entries)
    }
}

impl Donors for PeerDonors<'_> {
    fn ask(&mut self, need: RecordsNeed) -> Box<dyn Iterator<Item = Fetched> + '_> {
        let members = vec![self.first_members.clone()];
        let Some(range) = need.entries else { return Box::new(std::iter::empty()) };
        let this = &*self;
        let answers = this.peers.iter().filter_map(move |peer| {
            tracing::info!(peer = %peer.0, from = %range.0, upto = %range.1, "asks for the records of a damaged batch");
            let fetched = this.tokio.block_on(this.fetch(*peer, range));
            let entries = fetched.map_err(|error| tracing::warn!(peer = %peer.0, %error, "gave nothing")).ok()?;
            Some(Fetched { entries, members: members.clone() })
        });
        Box::new(answers)
    }
}

impl chapters::repair::Donors for PeerDonors<'_> {
    fn each(&mut self) -> Box<dyn Iterator<Item = Box<dyn Donor>> + '_> {
        let this = &*self;
        let reached = this.peers.iter().filter_map(move |peer| {
            tracing::info!(peer = %peer.0, "asks for what is damaged in a chapter");
            let connected = this.tokio.block_on(this.connect(*peer));
            let client =
                connected.map_err(|error| tracing::warn!(peer = %peer.0, %error, "gave nothing")).ok()?;
            let donor: Box<dyn Donor> = Box::new(Connected { client, tokio: this.tokio.handle().clone() });
            Some(donor)
        });
        Box::new(reached)
    }
}

/// Keeps who the other members are beside the log, whenever that changes: the log itself cannot be asked once it is damaged.
pub(super) async fn remember_members(data: DataDirectory, addresses: Addresses, shared: Arc<Shared>) {
    let mut members = shared.members.subscribe();
    members.mark_changed();
    while members.changed().await.is_ok() {
        let others = addresses.resolve(&members.borrow_and_update());
        if let Err(error) = data.remember_members(&others) {
            tracing::warn!(%error, "a start with a damaged log will ask only the configured hosts");
        }
    }
}

/// Asks the leader, another host, for a new authority.
pub(super) async fn ask_for_authority(
    (files, identity): (&Files, WalIdentity),
    (leader, address): (HostId, SocketAddr),
    by: &Actor,
) -> anyhow::Result<[u8; 32]> {
    let mut client = BulkClient::connect(&files.tls()?, identity, leader, address).await?;
    let request = [WANTS_AUTHORITY, wire::actor_bytes(by).as_slice()].concat();
    let answer = client.owner(request.into()).await?;
    answer.as_ref().try_into().context("the leader's answer does not make sense")
}

/// Gets the authority's key once this host has a vote, so that it can sign when it leads; also the next authority's.
pub(super) struct KeyKeeper {
    pub(super) identity: WalIdentity,
    pub(super) files: Files,
    pub(super) ca_key: KeyFile,
    pub(super) addresses: Addresses,
    pub(super) shared: Arc<Shared>,
}

impl KeyKeeper {
    pub(super) async fn run(self) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            let trust = self.shared.trust.borrow().clone();
            if self.ca_key.is_current(&trust) {
                continue;
            }
            let picture = self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(leader) = picture.and_then(|picture| leader_to_ask(&picture))
                && let Err(error) = self.fetch(leader, &trust).await
            {
                tracing::debug!(%leader, %error, "the authority's key is not here yet");
            }
        }
    }

    async fn fetch(&self, leader: HostId, trust: &Trust) -> anyhow::Result<()> {
        let said = self.shared.members.borrow().get(&leader).and_then(|known| known.peer);
        let address = self.addresses.of(leader, said);
        let address = address.ok_or_else(|| anyhow::anyhow!("the leader's address is not known"))?;
        let mut client = BulkClient::connect(&self.files.tls()?, self.identity, leader, address).await?;
        let key = client.owner(Bytes::from_static(WANTS_CA_KEY)).await?;
        let key = std::str::from_utf8(&key)?;
        if newest(trust).is_none() {
            crate::provision::write_new(&self.ca_key.0, key)?;
        } else {
            self.ca_key.prepare(key)?;
            self.ca_key.adopt(trust)?;
            anyhow::ensure!(self.ca_key.is_current(trust), "the leader has the key of another authority");
        }
        tracing::info!(path = %self.ca_key.0.display(), "the authority's key is here");
        Ok(())
    }
}

/// The leader, if this host has a vote and does not lead.
fn leader_to_ask(picture: &ClusterPicture) -> Option<HostId> {
    let own = picture.hosts.iter().find(|host| host.host == picture.host)?;
    (own.role == Some(Role::Follower)).then_some(picture.leader?)
}
