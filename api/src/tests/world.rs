//! One host without consensus: commands are decided and folded at once, by the real rules into the real read models.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::{Actor, AttackKind, AttackObserved, Evidence, Rule, Sanction, Scope, Text};
use log_format::ids::{
    ClusterId, CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence, Salt, Term,
};
use log_format::time::Timestamp;
use projections::decide::{Command, CommandBody, Decision, Model, decide};
use projections::frame::Standing;
use projections::read::{ReadModels, state_hash};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::ports::{
    Accepted, ClusterView, FirewallMode, FirewallView, HostStatus, HostView, Ports, ProjectionView, Random,
    Reads, RebuildEnd, RebuildView, Role, SensorView, Spared, SparedBy, StateHash, Submit, SubmitError, Tail,
};
use crate::{Config, Limits, LocalToken, Server, Transport};

/// Who wishes.
pub(super) fn administrator() -> Actor {
    Actor::Administrator(Text::new(b"admin"))
}

/// The test's midnight.
pub(super) const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// Everything that one host holds.
struct State {
    model: Model,
    views: ReadModels,
    log: Vec<(LogIndex, Arc<Envelope>)>,
    /// Entries up to here are no longer held.
    forgotten: LogIndex,
    sequence: u64,
    now: Timestamp,
    enforced: [LogIndex; 2],
    outage: Option<SubmitError>,
    is_removed: bool,
    rebuilds: u64,
}

/// One host of two; the other one only exists in its soft state.
pub(super) struct World {
    state: Mutex<State>,
    applied: watch::Sender<LogIndex>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            model: Model::default(),
            views: ReadModels::default(),
            log: Vec::new(),
            forgotten: LogIndex::default(),
            sequence: 0,
            now: START,
            enforced: [LogIndex::default(); 2],
            outage: None,
            is_removed: false,
            rebuilds: 0,
        };
        let world = Self { state: Mutex::new(state), applied: watch::Sender::new(LogIndex::default()) };
        for (id, name) in [(1, "pbx-a"), (2, "pbx-b")] {
            let (host, name) = (HostId::new(id), Text::new(name.as_bytes()));
            world
                .decide(
                    CommandId::new([id as u8; 16]),
                    CommandBody::EnrolHost { host, name, addresses: vec![], peer: None },
                    0,
                )
                .unwrap();
        }
        Arc::new(world)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn decide(&self, id: CommandId, body: CommandBody, sequence: u64) -> Result<LogIndex, SubmitError> {
        let mut state = self.state();
        let origin = Origin {
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
            sequence: OriginSequence::new(sequence),
        };
        let command = Command { id, origin, observed_at: state.now, body };
        let events = match decide(&state.model, &command, state.now)
            .map_err(|no| SubmitError::Rejected((&no).into()))?
        {
            Decision::AlreadyApplied { index } => return Ok(index),
            Decision::Events(events) => events,
        };
        let at = state.model.next_accepted_at(state.now);
        let envelope = command.envelope(events, at, &mut || Salt::new([7; 16]));
        let index = self.applied.borrow().next();
        state.model.evolve(index, &envelope);
        state.views.evolve(index, &envelope);
        state.log.push((index, Arc::new(envelope)));
        self.applied.send_replace(index);
        Ok(index)
    }

    /// A sensor reports an attack.
    pub(super) fn attack(&self, source: &str, user_agent: &[u8], evidence: Evidence) -> LogIndex {
        let observed = AttackObserved {
            source: source.parse().unwrap(),
            source_port: 5_071,
            victim: IpAddr::from([10, 1, 35, 18]),
            victim_port: 5_060,
            attack: AttackKind::Register,
            rule: Rule::BadRegistrations,
            evidence,
            sanction: Sanction::Block,
            user_agent: Text::new(user_agent),
            known_user_agent: user_agent == b"friendly-scanner",
            count: 10,
            scope: Scope::Address,
            account: Text::default(),
            line: Text::default(),
        };
        self.observe(CommandBody::ReportAttack(observed))
    }

    /// A sensor reports something.
    pub(super) fn observe(&self, body: CommandBody) -> LogIndex {
        let sequence = {
            let mut state = self.state();
            state.sequence += 1;
            state.sequence
        };
        let mut id = [9; 16];
        id[..8].copy_from_slice(&sequence.to_be_bytes());
        self.decide(CommandId::new(id), body, sequence).unwrap()
    }

    /// A person wishes something, by another way than this API.
    pub(super) fn wish(&self, body: CommandBody) -> LogIndex {
        self.decide(CommandId::new([8; 16]), body, 0).unwrap()
    }

    /// The kernel of host 1 or 2 does what the log says up to `index`.
    pub(super) fn enforce(&self, host: usize, index: LogIndex) {
        self.state().enforced[host - 1] = index;
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now = state.now.after(by);
    }

    /// Forgets the log up to now, as a host that has compacted it.
    pub(super) fn forget_log(&self) {
        let applied = self.applied();
        let mut state = self.state();
        state.forgotten = applied;
        state.log.clear();
    }

    pub(super) fn fail(&self, error: SubmitError) {
        self.state().outage = Some(error);
    }

    /// Waits until nobody follows the applied index any more: no event stream is open.
    pub(super) async fn until_no_reader(&self) {
        self.applied.closed().await;
    }

    pub(super) fn applied(&self) -> LogIndex {
        *self.applied.borrow()
    }
}

impl Submit for World {
    fn rotate_authority(&self, _: Actor) -> BoxFuture<'_, Result<[u8; 32], SubmitError>> {
        std::future::ready(Ok([2; 32])).boxed()
    }

    fn submit(&self, command: CommandId, body: CommandBody) -> BoxFuture<'_, Result<Accepted, SubmitError>> {
        let outage = self.state().outage.clone();
        let decided = match outage {
            Some(error) => Err(error),
            None => self.decide(command, body, 0).map(|index| Accepted { index }),
        };
        std::future::ready(decided).boxed()
    }

    fn rebuild(&self) -> u64 {
        self.state().rebuilds += 1;
        self.state().rebuilds
    }
}

impl Reads for World {
    fn with_views(&self, read: &mut dyn FnMut(&ReadModels)) {
        read(&self.state().views);
    }

    fn cluster(&self) -> ClusterView {
        let applied = self.applied();
        let enforced = self.state().enforced;
        ClusterView {
            cluster: ClusterId::new([0xab; 16]),
            this: HostId::new(1),
            leader: Some(HostId::new(1)),
            term: Term::new(3),
            commit: applied,
            applied,
            staleness: Duration::from_millis(40),
            is_removed: self.state().is_removed,
            authorities: vec![[1; 32], [2; 32]],
            provisional_blocks: 4,
            hosts: vec![
                host((1, "pbx-a"), Role::Leader, FirewallMode::Enforcing, (applied, enforced[0])),
                host((2, "pbx-b"), Role::Follower, FirewallMode::WatchOnly, (applied, enforced[1])),
            ],
        }
    }

    fn spared(&self, address: IpAddr) -> Option<Spared> {
        let network: IpNet = "192.0.2.88/32".parse().unwrap();
        let by = SparedBy::Name("trunk.example.net".to_owned());
        network.contains(&address).then_some(Spared { network, by })
    }

    fn subscribe(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    fn events_after(&self, after: LogIndex, max: usize) -> Tail {
        let state = self.state();
        if after < state.forgotten {
            return Tail::TooOld;
        }
        let later = state.log.iter().filter(|(index, _)| after < *index).take(max);
        let entries: Vec<(LogIndex, Arc<Envelope>)> = later.cloned().collect();
        let upto = entries.last().map_or(after, |(index, _)| *index);
        Tail::Entries { entries, upto }
    }

    fn state_hash(&self) -> BoxFuture<'_, Option<StateHash>> {
        let state = self.state();
        let hash = StateHash { index: state.views.applied(), hash: state_hash(&state.model, &state.views) };
        std::future::ready(Some(hash)).boxed()
    }

    fn projections(&self) -> BoxFuture<'_, Option<Vec<ProjectionView>>> {
        let state = self.state();
        let view = |standing: Standing| ProjectionView {
            standing,
            lag: 0,
            checkpoint: (standing.name == "views").then_some(LogIndex::new(1)),
            rebuild: (state.rebuilds == 1).then_some(RebuildView { number: 1, folded: LogIndex::new(1) }),
            last_rebuild: (state.rebuilds == 2)
                .then_some((2, RebuildEnd::Differed { index: standing.applied })),
            diverged_at: (state.rebuilds == 2).then_some(standing.applied),
        };
        let standings = [Standing::of(&state.model), Standing::of(&state.views)];
        std::future::ready(Some(standings.map(view).into())).boxed()
    }

    fn diverged(&self) -> Vec<String> {
        if self.state().rebuilds == 2 { vec!["views@1".to_owned()] } else { Vec::new() }
    }

    fn confirm(&self) -> BoxFuture<'_, Option<LogIndex>> {
        let is_out = self.state().outage.is_some();
        std::future::ready((!is_out).then(|| self.applied())).boxed()
    }

    fn now(&self) -> Timestamp {
        self.state().now
    }
}

fn host(
    (id, name): (u64, &str),
    role: Role,
    mode: FirewallMode,
    (applied, enforced): (LogIndex, LogIndex),
) -> HostView {
    HostView {
        id: HostId::new(id),
        name: name.to_owned(),
        address: Some(SocketAddr::from(([198, 51, 100, 7], 7_400))),
        role,
        status: HostStatus::Active,
        last_heard: Some(Duration::from_millis(120)),
        applied: Some(applied),
        commit: Some(applied),
        enforced: Some(enforced),
        firewall: FirewallView { mode, reason: String::new() },
        sensor: Some(SensorView {
            source: "eth0".to_owned(),
            packets: 12,
            sip_messages: 11,
            malformed: 1,
            dropped: 0,
        }),
        version: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
        authority: Some([1; 32]),
        clock_offset_ms: Some(-2),
    }
}

/// Bytes that differ at every call and are the same in every run.
pub(crate) fn random() -> Random {
    let calls = AtomicU64::new(0);
    Arc::new(move |bytes: &mut [u8]| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        for (block, chunk) in bytes.chunks_mut(32).enumerate() {
            let hash = Sha256::digest([call.to_be_bytes(), (block as u64).to_be_bytes()].concat());
            chunk.copy_from_slice(&hash[..chunk.len()]);
        }
        Ok(())
    })
}

/// A running server over a world.
pub(super) struct Host {
    pub(super) world: Arc<World>,
    pub(super) server: Server,
    pub(super) local_token: String,
    pub(super) stop: watch::Sender<bool>,
}

impl Host {
    pub(super) fn start() -> Self {
        Self::start_with(Transport::PlainOnLoopback, Limits::default(), vec![])
    }

    pub(super) fn start_with(transport: Transport, limits: Limits, allowed_hosts: Vec<String>) -> Self {
        let (world, random) = (World::new(), random());
        let (token, local_token) = LocalToken::draw(&random).unwrap();
        let config = Config {
            transport,
            host_name: "pbx-a".to_owned(),
            version: "0.1.0".to_owned(),
            build: "b1".to_owned(),
            local_token: token,
            allowed_hosts,
            limits,
        };
        let ports = Ports {
            submit: Arc::clone(&world) as Arc<dyn Submit>,
            reads: Arc::clone(&world) as Arc<dyn Reads>,
            random,
        };
        let (stop, stopped) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::start(listener, config, ports, stopped).unwrap();
        Self { world, server, local_token, stop }
    }

    pub(super) fn client(&self) -> Client {
        Client { address: self.server.address(), headers: vec![] }
    }

    /// A client with this host's local token.
    pub(super) fn local(&self) -> Client {
        self.client().with("authorization", &format!("Bearer {}", self.local_token))
    }

    /// A client that has signed in, with cookie and token.
    pub(super) async fn signed_in(&self) -> Client {
        let password = self.server.issue_one_time_password().unwrap();
        let answer =
            self.client().post("/api/v1/session", &serde_json::json!({ "password": password })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let token = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        self.client().with("cookie", &cookie).with("x-csrf-token", &token)
    }
}

/// Sends requests, each over a connection of its own.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    headers: Vec<(String, String)>,
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A header's text; empty if it is absent.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's code; checks the shape that every problem has.
    pub(super) fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("urn:palisade:problem:{code}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        code
    }
}

impl Client {
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(held, _)| held != name);
        self
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "").await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.clone()
            .with("content-type", "application/json")
            .send(Method::POST, path, &body.to_string())
            .await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.clone().with("content-type", "application/json").send(Method::PUT, path, &body.to_string()).await
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: &str) -> Answer {
        let response = self.open(method, path, body).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// Sends a request and leaves the answer's body to the caller.
    #[expect(clippy::disallowed_methods, reason = "a connection needs a task that drives it")]
    pub(super) async fn open(&self, method: Method, path: &str, body: &str) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        sender.send_request(request.body(body).unwrap()).await.unwrap()
    }
}
