//! The desk on the peers' port: lets hosts in that show a join token, and gives members their next certificate. Only the leader
//! signs; any other host names the leader.

#![expect(clippy::disallowed_methods, reason = "this shell reads the authority's key and certificate")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use consensus::rt::join::{Answer, Certified, JoinDesk, JoinRequest};
use log_format::event::{Actor, Text};
use log_format::ids::{ClusterId, CommandId, HostId, JoinTokenId};
use log_format::wal::ConfState;
use projections::decide::{CommandBody, HostState};
use projections::read::{HostRow, ReadModels};
use sha2::{Digest, Sha256};

use super::authority::{self, KeyFile};
use super::clocks::Clocks;
use super::driver::{Addresses, Shared};
use super::inbox::Inbox;
use crate::config::{Config, is_name};
use crate::node::wire::{JoinAnswer, JoinDetails};
use crate::node::{Input, Outcome, Trust};
use crate::provision::{self, Authority, Subject};

/// See the module.
pub(super) struct Desk {
    pub(super) cluster: ClusterId,
    pub(super) host: HostId,
    pub(super) ca: PathBuf,
    pub(super) ca_key: KeyFile,
    pub(super) first_members: ConfState,
    /// Names of the hosts that the log does not know yet.
    pub(super) names: BTreeMap<HostId, String>,
    pub(super) addresses: Addresses,
    pub(super) inbox: Inbox,
    pub(super) shared: Arc<Shared>,
    pub(super) views: Arc<RwLock<ReadModels>>,
    pub(super) clocks: Clocks,
    /// Held by whoever makes an authority.
    rotating: tokio::sync::Mutex<()>,
}

/// No, and why; or: ask somebody else.
type Declined = Certified;

impl JoinDesk for Desk {
    fn join(&self, request: JoinRequest) -> Answer<'_> {
        Box::pin(async move { self.admit(request).await.unwrap_or_else(|declined| declined) })
    }

    fn renew(&self, host: HostId, public_key: Bytes) -> Answer<'_> {
        Box::pin(async move { self.certify_again(host, &public_key).unwrap_or_else(|declined| declined) })
    }

    fn was_let_go(&self, host: HostId) -> bool {
        self.row(|row| row.host == host && row.state == HostState::Removed).is_some()
    }

    /// Ids rise and are never used again, and only the leader signs certificates, of hosts that the log has: an id above all
    /// that this host has heard of is one of a later entry.
    fn may_be_new(&self, host: HostId) -> bool {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        self.host < host
            && self.names.keys().all(|known| *known < host)
            && views.hosts.rows().all(|row| row.host < host)
    }
}

impl Desk {
    pub(super) fn new(
        config: &Config,
        (inbox, shared): (Inbox, Arc<Shared>),
        views: Arc<RwLock<ReadModels>>,
        (addresses, clocks): (Addresses, Clocks),
    ) -> Self {
        let hosts = &config.cluster.hosts;
        Self {
            cluster: config.cluster.id,
            host: config.host,
            ca: config.cluster.ca.clone(),
            ca_key: KeyFile(config.cluster.ca_key.clone()),
            first_members: config.cluster.first_members(),
            names: hosts.iter().map(|(id, host)| (*id, host.name.clone())).collect(),
            addresses,
            inbox,
            shared,
            views,
            clocks,
            rotating: tokio::sync::Mutex::default(),
        }
    }

    /// What the driver shares with other threads.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    async fn admit(&self, request: JoinRequest) -> Result<Certified, Declined> {
        self.lead()?;
        let details = JoinDetails::decode(&request.details);
        let details = details.filter(|details| is_name(&details.name)).ok_or_else(|| {
            refused("name: use 1 to 31 small letters, digits and hyphens, a letter or digit first")
        })?;
        let verifier = self.verifier(JoinTokenId::new(request.token));
        verifier
            .filter(|verifier| request.is_proven_by(verifier))
            .ok_or_else(|| refused("token: it is unknown, or its secret is another; issue a new one"))?;
        // Before anything is written down: an admitted host without a certificate would be of no use.
        let authority = self.authority()?;
        let token = JoinTokenId::new(request.token);
        let mut addresses = details.own_addresses.clone();
        addresses.push(details.address.ip());
        let (name, peer) = (Text::new(details.name.as_bytes()), details.address);
        let join = CommandBody::JoinHost { token, name, addresses, peer };
        self.submit(command_id(&request), join).await?;
        let row = self.row(|row| row.token == Some(token));
        let row = row.ok_or_else(|| refused("the host was taken in and let go again"))?;
        tracing::info!(host = %row.host, name = details.name, "a host joins");
        self.issue(&authority, &row, &request.public_key)
    }

    fn certify_again(&self, host: HostId, public_key: &[u8]) -> Result<Certified, Declined> {
        self.lead()?;
        let authority = self.authority()?;
        let row = self.row(|row| row.host == host && row.state != HostState::Removed);
        let row = row.ok_or_else(|| refused("the host does not belong to the cluster any more"))?;
        self.issue(&authority, &row, public_key)
    }

    /// Makes the authority that follows the one there is. Only the leader does; gives the new key's hash.
    pub(super) async fn rotate(&self, by: Actor) -> Result<[u8; 32], String> {
        // What one of two looks at is changed by the other.
        let Ok(_alone) = self.rotating.try_lock() else {
            return Err(
                "an authority is being made just now; look at `palisade cluster authority list`".to_owned()
            );
        };
        self.succeed(by).await.map_err(|declined| match declined {
            Certified::Refused { reason } => reason,
            Certified::Elsewhere { .. } | Certified::Issued { .. } => {
                "another host leads by now; try again".to_owned()
            }
        })
    }

    async fn succeed(&self, by: Actor) -> Result<[u8; 32], Declined> {
        self.lead()?;
        let trust = self.shared.trust.borrow().clone();
        let trusted = self.trusted(&trust)?;
        let trusted = authority::hashes(&trusted).map_err(|error| failed("read its authorities", &*error))?;
        if 1 < trusted.len() {
            let advice = "the last rotation is not finished: retire the old authority first (`palisade cluster authority retire`)";
            return Err(refused(advice));
        }
        let next = self.authority()?.succeed(self.cluster, self.clocks.now().wall);
        let next = next.map_err(|error| failed("make an authority", &error))?;
        let key_hash =
            provision::key_hash(&next.key_pem).map_err(|error| failed("make an authority", &error))?;
        self.ca_key.prepare(&next.key_pem).map_err(|error| failed("keep the new key", &*error))?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| refused("the leader has no random numbers now; try again"))?;
        let add = CommandBody::AddAuthority { certificate: next.certificate, by };
        self.submit(CommandId::new(id), add).await?;
        let trust = self.shared.trust.borrow().clone();
        self.ca_key.adopt(&trust).map_err(|error| failed("use the new key", &*error))?;
        tracing::info!("a new authority signs certificates");
        Ok(key_hash)
    }

    /// The authorities that this host trusts, in PEM.
    fn trusted(&self, trust: &Trust) -> Result<Vec<u8>, Declined> {
        let merged = authority::merged(read(&self.ca)?.as_bytes(), trust);
        merged.map_err(|error| failed("read its authorities", &*error))
    }

    fn issue(&self, authority: &Authority, row: &HostRow, public_key: &[u8]) -> Result<Certified, Declined> {
        let address = self.addresses.of(row.host, row.peer).map(|address| address.ip());
        let addresses: Vec<IpAddr> = row.addresses.iter().copied().chain(address).collect();
        let (cluster, host, name) = (self.cluster, row.host, row.name.visible());
        let subject = Subject { cluster, host, name, addresses };
        let certificate = authority.sign(&subject, public_key, self.clocks.now().wall);
        let mut certificate = certificate.map_err(|error| failed("sign the certificate", &error))?;
        let trust = self.shared.trust.borrow().clone();
        if let Some(link) = self.ca_key.hash().and_then(|signer| authority::link(&trust, signer)) {
            certificate.push_str(&link);
        }
        let answer =
            JoinAnswer { cluster, host, members: self.members(), first_members: self.first_members.clone() };
        Ok(Certified::Issued {
            certificate_pem: certificate.into_bytes(),
            ca_pem: self.trusted(&trust)?,
            details: answer.encode().into(),
        })
    }

    /// Whether this host leads; if not, who does.
    fn lead(&self) -> Result<(), Declined> {
        let picture = self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner);
        let leader = picture.as_ref().and_then(|picture| picture.leader);
        let leader = leader.ok_or_else(|| refused("the cluster has no leader just now; try again"))?;
        if leader == self.host {
            return Ok(());
        }
        let said = self.row(|row| row.host == leader).and_then(|row| row.peer);
        Err(self.addresses.of(leader, said).map_or_else(
            || refused("this host does not lead, and does not know where the leader is"),
            |address| Certified::Elsewhere { address },
        ))
    }

    async fn submit(&self, id: CommandId, body: CommandBody) -> Result<(), Declined> {
        let (ticket, outcome) = self.shared.expect_reply();
        if self.inbox.offer(Input::Submit { ticket, id, body }).is_err() {
            self.shared.forget(ticket);
            return Err(refused("this host is busy; try again"));
        }
        match outcome.await {
            Ok(Outcome::Committed { .. }) => Ok(()),
            Ok(Outcome::Rejected(refusal)) => Err(refused(&refusal.detail)),
            Ok(Outcome::Busy) => Err(refused("this host is busy; try again")),
            Ok(Outcome::Unknown) | Err(_) => {
                Err(refused("nobody decided in time; issue a new token and try again"))
            }
        }
    }

    fn authority(&self) -> Result<Authority, Declined> {
        let load = Authority::load(self.cluster, read(&self.ca)?, read(&self.ca_key.0)?);
        load.map_err(|error| failed("use the authority's key", &error))
    }

    fn verifier(&self, token: JoinTokenId) -> Option<[u8; 32]> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.tokens.get(token).map(|known| known.verifier)
    }

    fn row(&self, wanted: impl Fn(&HostRow) -> bool) -> Option<HostRow> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.hosts.rows().find(|row| wanted(row)).cloned()
    }

    /// Every host of the cluster that can be reached: as the log says, or as it is configured where the log says nothing yet.
    fn members(&self) -> Vec<(HostId, String, SocketAddr)> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let known = views.hosts.rows().filter(|row| row.state != HostState::Removed);
        let known = known.map(|row| (row.host, row.name.visible(), row.peer));
        let unknown = self.names.iter().filter(|(host, _)| views.hosts.get(**host).is_none());
        let all = known.chain(unknown.map(|(host, name)| (*host, name.clone(), None)));
        all.filter_map(|(host, name, said)| Some((host, name, self.addresses.of(host, said)?))).collect()
    }
}

/// The same request by the same key is the same command.
fn command_id(request: &JoinRequest) -> CommandId {
    let digest = Sha256::new()
        .chain_update(b"join")
        .chain_update(request.token)
        .chain_update(&request.public_key)
        .finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    CommandId::new(id)
}

fn read(path: &Path) -> Result<String, Declined> {
    std::fs::read_to_string(path).map_err(|error| {
        tracing::error!(path = %path.display(), %error, "read what certificates are made with");
        refused(&format!("the leader cannot read its {}", path.display()))
    })
}

fn refused(reason: &str) -> Certified {
    Certified::Refused { reason: reason.to_owned() }
}

fn failed(doing: &str, error: &(dyn std::error::Error + 'static)) -> Certified {
    tracing::error!(error, doing, "a certificate was asked for");
    refused(&format!("the leader could not {doing}"))
}
