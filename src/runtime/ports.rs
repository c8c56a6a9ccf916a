//! The API's doors, implemented: wishes go to the driver, everything shown comes from the views, the picture of the cluster
//! and the log's tail.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use api::ports::{
    Accepted, ClusterView, FirewallMode, FirewallView, HostStatus, HostView, ProjectionView, Reads,
    RebuildEnd, RebuildView, Role, SensorView, Spared, StateHash, Submit, SubmitError, Tail,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use log_format::disk::StdDisk;
use log_format::envelope::Envelope;
use log_format::event::Actor;
use log_format::ids::{CommandId, HostId, LogIndex, Term};
use log_format::time::Timestamp;
use log_format::wal::{EntryKind, WalIdentity, WalReader};
use projections::decide::{CommandBody, Refusal};
use projections::frame::Standing;
use projections::read::ReadModels;
use tokio::sync::watch;

use super::bulk;
use super::checkpoints::{self, Ended, FrameStatus};
use super::clocks::Clocks;
use super::desk::Desk;
use super::driver::Shared;
use super::inbox::Inbox;
use super::renewal::Files;
use crate::infrastructure::sparing;
use crate::node::{ClusterPicture, FirewallState, HostPicture, Input, LocalState, Outcome, Presence};

/// A stream that is further behind than this loads its lists anew.
const TAIL: u64 = 10_000;
/// Bytes of log read for one piece of a stream.
const TAIL_BYTES: u64 = 1 << 20;
/// How long the driver may take to hash the state.
const HASH_WITHIN: Duration = Duration::from_secs(5);

/// Both doors.
pub(super) struct Doors {
    pub(super) identity: WalIdentity,
    pub(super) inbox: Inbox,
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoints: checkpoints::Orders,
    pub(super) views: Arc<RwLock<ReadModels>>,
    pub(super) log: WalReader<StdDisk>,
    pub(super) clocks: Clocks,
    /// Name and address of each configured host.
    pub(super) hosts: BTreeMap<HostId, (String, SocketAddr)>,
    pub(super) desk: Arc<Desk>,
    pub(super) files: Files,
}

impl Submit for Doors {
    fn submit(&self, id: CommandId, body: CommandBody) -> BoxFuture<'_, Result<Accepted, SubmitError>> {
        async move {
            let (ticket, outcome) = self.shared.expect_reply();
            if self.inbox.offer(Input::Submit { ticket, id, body }).is_err() {
                self.shared.forget(ticket);
                return Err(SubmitError::Busy);
            }
            match outcome.await {
                Ok(Outcome::Committed { index }) => Ok(Accepted { index }),
                Ok(Outcome::Rejected(refusal)) => Err(SubmitError::Rejected(refusal)),
                Ok(Outcome::Busy) => Err(SubmitError::Busy),
                Ok(Outcome::Unknown) if self.leader().is_none() => Err(SubmitError::NoLeader { hint: None }),
                Ok(Outcome::Unknown) | Err(_) => Err(SubmitError::Unknown),
            }
        }
        .boxed()
    }

    fn rebuild(&self) -> u64 {
        self.checkpoints.rebuild(&self.shared)
    }

    fn rotate_authority(&self, by: Actor) -> BoxFuture<'_, Result<[u8; 32], SubmitError>> {
        async move {
            let leader = self.leader().ok_or(SubmitError::NoLeader { hint: None })?;
            let refused = |detail| {
                let code = "authority_not_rotated".to_owned();
                SubmitError::Rejected(Refusal { code, field: None, detail })
            };
            if leader == self.identity.host {
                return self.desk.rotate(by).await.map_err(refused);
            }
            let (_, address) = self.name_and_address(leader);
            let address = address.ok_or(SubmitError::Busy)?;
            let asked = bulk::ask_for_authority((&self.files, self.identity), (leader, address), &by).await;
            asked.map_err(|error| refused(format!("{error:#}")))
        }
        .boxed()
    }
}

impl Reads for Doors {
    fn with_views(&self, read: &mut dyn FnMut(&ReadModels)) {
        read(&self.views.read().unwrap_or_else(PoisonError::into_inner));
    }

    fn cluster(&self) -> ClusterView {
        let picture = self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner).clone();
        match picture {
            Some(picture) => self.cluster_view(&picture),
            None => ClusterView {
                cluster: self.identity.cluster,
                this: self.identity.host,
                leader: None,
                term: Term::new(0),
                commit: LogIndex::new(0),
                applied: LogIndex::new(0),
                staleness: Duration::ZERO,
                is_removed: false,
                authorities: Vec::new(),
                provisional_blocks: 0,
                hosts: Vec::new(),
            },
        }
    }

    fn spared(&self, address: IpAddr) -> Option<Spared> {
        let spared = self.shared.spared.read().unwrap_or_else(PoisonError::into_inner);
        let (network, by) = sparing(&spared, projections::canonical(address))?;
        Some(Spared { network, by: by.clone() })
    }

    fn subscribe(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied.subscribe()
    }

    fn events_after(&self, after: LogIndex, max: usize) -> Tail {
        let applied = *self.shared.applied.borrow();
        if after.get() + TAIL < applied.get() {
            return Tail::TooOld;
        }
        let Ok(read) = self.log.entries(after.next(), applied.next(), TAIL_BYTES) else {
            return Tail::TooOld;
        };
        let mut upto = after;
        let mut entries = Vec::new();
        for entry in read.into_iter().take(max) {
            upto = entry.index;
            if entry.kind == EntryKind::Normal
                && let Ok(envelope) = Envelope::decode(&entry.data)
            {
                entries.push((entry.index, Arc::new(envelope)));
            }
        }
        Tail::Entries { entries, upto }
    }

    fn state_hash(&self) -> BoxFuture<'_, Option<StateHash>> {
        async move {
            let (ticket, hash) = self.shared.expect_hash();
            if self.inbox.offer(Input::StateHash { ticket }).is_err() {
                self.shared.forget(ticket);
                return None;
            }
            let (index, hash) = tokio::time::timeout(HASH_WITHIN, hash).await.ok()?.ok()?;
            Some(StateHash { index, hash })
        }
        .boxed()
    }

    fn projections(&self) -> BoxFuture<'_, Option<Vec<ProjectionView>>> {
        async move {
            let (ticket, standings) = self.shared.expect_standings();
            if self.inbox.offer(Input::Standings { ticket }).is_err() {
                self.shared.forget(ticket);
                return None;
            }
            let standings = tokio::time::timeout(HASH_WITHIN, standings).await.ok()?.ok()?;
            let cluster = self.cluster();
            let lag = cluster.commit.get().saturating_sub(cluster.applied.get());
            let frame = self.shared.frame.lock().unwrap_or_else(PoisonError::into_inner);
            let places = standings.into_iter().zip(frame.saved);
            Some(places.map(|(standing, saved)| projection_view(standing, saved, lag, &frame)).collect())
        }
        .boxed()
    }

    fn diverged(&self) -> Vec<String> {
        let frame = self.shared.frame.lock().unwrap_or_else(PoisonError::into_inner);
        frame.diverged.keys().cloned().collect()
    }

    fn confirm(&self) -> BoxFuture<'_, Option<LogIndex>> {
        async move {
            let (ticket, confirmed) = self.shared.expect_read();
            if self.inbox.offer(Input::Read { ticket }).is_err() {
                self.shared.forget(ticket);
                return None;
            }
            confirmed.await.ok()
        }
        .boxed()
    }

    fn now(&self) -> Timestamp {
        self.clocks.now().wall
    }
}

impl Doors {
    fn leader(&self) -> Option<HostId> {
        self.shared
            .cluster
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .and_then(|picture| picture.leader)
    }

    fn cluster_view(&self, picture: &ClusterPicture) -> ClusterView {
        let own = picture.hosts.iter().find(|host| host.host == picture.host);
        let provisional = own.map_or(0, |own| own.state.provisional);
        ClusterView {
            cluster: picture.cluster,
            this: picture.host,
            leader: picture.leader,
            term: picture.term,
            commit: picture.commit,
            applied: picture.applied,
            staleness: picture.staleness,
            is_removed: picture.is_let_go,
            authorities: self.shared.certificates.borrow().trusted.clone(),
            provisional_blocks: u32::try_from(provisional).unwrap_or(u32::MAX),
            hosts: picture.hosts.iter().map(|host| self.host_view(host)).collect(),
        }
    }

    /// The log knows better than the start-up configuration.
    fn name_and_address(&self, host: HostId) -> (String, Option<SocketAddr>) {
        let configured = self.hosts.get(&host).cloned();
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let row = views.hosts.get(host);
        let said = row.and_then(|row| row.peer).or(configured.as_ref().map(|(_, address)| *address));
        let name = row.map(|row| row.name.visible()).or(configured.map(|(name, _)| name));
        (name.unwrap_or_else(|| host.to_string()), said)
    }

    fn host_view(&self, picture: &HostPicture) -> HostView {
        let (name, address) = self.name_and_address(picture.host);
        let has_reported = !picture.state.version.is_empty();
        let reported = |index: LogIndex| has_reported.then_some(index);
        HostView {
            id: picture.host,
            name,
            address,
            role: picture.role.map_or(Role::Unknown, role),
            status: match picture.presence {
                Presence::Active => HostStatus::Active,
                Presence::Inactive => HostStatus::Inactive,
                Presence::Unknown => HostStatus::Unknown,
            },
            last_heard: picture.last_heard,
            applied: reported(picture.applied),
            commit: reported(picture.commit),
            enforced: reported(picture.state.enforced),
            firewall: firewall(&picture.state, has_reported),
            sensor: has_reported.then(|| SensorView {
                source: picture.state.sensor_source.clone(),
                packets: picture.state.packets,
                sip_messages: picture.state.sip_messages,
                malformed: picture.state.malformed,
                dropped: picture.state.dropped,
            }),
            version: picture.state.version.clone(),
            kernel: picture.state.kernel.clone(),
            authority: picture.state.authority,
            clock_offset_ms: has_reported.then_some(picture.clock_offset_ms),
        }
    }
}

fn projection_view(standing: Standing, saved: LogIndex, lag: u64, frame: &FrameStatus) -> ProjectionView {
    let name = standing.to_string();
    ProjectionView {
        standing,
        lag,
        checkpoint: (saved != LogIndex::default()).then_some(saved),
        rebuild: frame.rebuild.map(|folded| RebuildView { number: frame.rebuilds, folded }),
        last_rebuild: frame.last.as_ref().map(|ended| (ended.number, rebuild_end(ended, &name))),
        diverged_at: frame.diverged.get(&name).copied(),
    }
}

fn rebuild_end(Ended { number: _, index, differed, failure }: &Ended, name: &str) -> RebuildEnd {
    match (failure.is_empty(), differed.iter().any(|other| other == name)) {
        (false, _) => RebuildEnd::Failed { detail: failure.clone() },
        (true, true) => RebuildEnd::Differed { index: *index },
        (true, false) => RebuildEnd::Equal { index: *index },
    }
}

fn role(role: consensus::core::Role) -> Role {
    match role {
        consensus::core::Role::Leader => Role::Leader,
        consensus::core::Role::Follower => Role::Follower,
        consensus::core::Role::Candidate => Role::Candidate,
        consensus::core::Role::PreCandidate => Role::PreCandidate,
        consensus::core::Role::Learner => Role::Learner,
    }
}

fn firewall(state: &LocalState, has_reported: bool) -> FirewallView {
    let mode = match state.firewall {
        FirewallState::Off | FirewallState::Enforcing | FirewallState::WatchOnly | FirewallState::Failing
            if !has_reported =>
        {
            FirewallMode::Unknown
        }
        FirewallState::Enforcing => FirewallMode::Enforcing,
        FirewallState::Off | FirewallState::WatchOnly => FirewallMode::WatchOnly,
        FirewallState::Failing => FirewallMode::Failing,
    };
    FirewallView { mode, reason: state.firewall_detail.clone() }
}
