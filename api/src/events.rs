//! The live stream: what the log says from now on, as server-sent events.
//!
//! Nothing is pushed into a queue per client when the log grows; each stream pulls entries after its own index when the
//! applied index changes. So a resumed stream misses nothing, and a slow one costs no memory beyond its channel.
//!
//! `id:` stands at the last message of an entry only: a connection that breaks inside an entry gets the whole entry again,
//! and every message can be taken twice without harm.

#![expect(clippy::disallowed_methods, reason = "this shell starts one task for each stream")]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream;
use log_format::envelope::Envelope;
use log_format::ids::LogIndex;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use warp::reply::{Reply, Response};
use warp::sse;

use crate::app::App;
use crate::auth::{Principal, SessionKey};
use crate::connections::{Place, Places};
use crate::dto::block::Surroundings;
use crate::dto::host;
use crate::dto::list::List;
use crate::dto::live::{self, Message};
use crate::error::{ApiError, Code};
use crate::limits::Limits;
use crate::ports::{ClusterView, Tail};
use crate::request::Request;
use crate::routes;
use crate::server::stopped;

/// Entries taken from the log at once: small, so that one stream does not hold the host's locks for long.
const ENTRIES_AT_ONCE: usize = 64;
const LAST_EVENT_ID: &str = "last-event-id";

/// What a stream can carry, by the message's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Attack,
    Block,
    Release,
    Denied,
    Allowed,
    Settings,
    Hosts,
}

impl Topic {
    const ALL: [Self; 7] =
        [Self::Attack, Self::Block, Self::Release, Self::Denied, Self::Allowed, Self::Settings, Self::Hosts];

    const fn of(message: &Message) -> Self {
        match message {
            Message::Attack(_) => Self::Attack,
            Message::Block(_) => Self::Block,
            Message::Release(_) => Self::Release,
            Message::Denied(_) => Self::Denied,
            Message::Allowed(_) => Self::Allowed,
            Message::Settings(_) => Self::Settings,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Attack => "attack",
            Self::Block => "block",
            Self::Release => "release",
            Self::Denied => "denied",
            Self::Allowed => "allowed",
            Self::Settings => "settings",
            Self::Hosts => "hosts",
        }
    }
}

/// Who holds a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Session(SessionKey),
    LocalToken,
}

/// The streams of this host.
#[derive(Debug)]
pub(crate) struct Streams {
    free: Arc<Semaphore>,
    by_owner: Places<Owner>,
}

impl Streams {
    /// None is open.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { free: Arc::new(Semaphore::new(limits.streams)), by_owner: Places::default() }
    }

    fn open(&self, owner: Owner, most: usize) -> Option<(OwnedSemaphorePermit, Place<Owner>)> {
        Some((Arc::clone(&self.free).try_acquire_owned().ok()?, self.by_owner.take(owner, most)?))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    topics: Option<String>,
}

/// `GET /events`.
pub(crate) fn stream(app: &Arc<App>, caller: &Principal, request: &Request) -> Result<Response, ApiError> {
    let topics = parse_topics(request.query::<Query>()?.topics.as_deref())?;
    let (owner, most) = match caller {
        Principal::Session { key, .. } => (Owner::Session(key.clone()), app.limits.streams_per_session),
        Principal::LocalToken => (Owner::LocalToken, app.limits.streams),
    };
    let Some(places) = app.streams.open(owner.clone(), most) else {
        let advice = "close another tab or wait for one to close";
        return Err(ApiError::new(Code::TooManyStreams, advice).retry_after(app.limits.heartbeat));
    };
    let (sender, mut messages) = mpsc::channel(app.limits.stream_messages);
    let feed = Feed {
        app: Arc::clone(app),
        owner,
        topics,
        messages: sender,
        applied: app.ports.reads.subscribe(),
        cut: Arc::clone(&request.connection.cut),
    };
    let resume = request.header(LAST_EVENT_ID).map(str::to_owned);
    tokio::spawn(async move {
        let _places = places;
        // The reader is gone, too slow or signed out, or the host stops: each is a stream's ordinary end.
        let Err(Ended) = feed.run(resume).await;
    });
    let messages =
        stream::poll_fn(move |context| messages.poll_recv(context).map(|next| next.map(Ok::<_, Infallible>)));
    Ok(sse::reply(messages).into_response())
}

fn parse_topics(text: Option<&str>) -> Result<BTreeSet<Topic>, ApiError> {
    let Some(text) = text else { return Ok(Topic::ALL.into()) };
    let known = |name: &str| Topic::ALL.into_iter().find(|topic| topic.name() == name);
    let unknown = || {
        let names: Vec<&str> = Topic::ALL.into_iter().map(Topic::name).collect();
        ApiError::invalid_parameter(
            "topics",
            format!("name some of {}, separated by commas", names.join(", ")),
        )
    };
    text.split(',').map(|name| known(name).ok_or_else(unknown)).collect()
}

/// The stream has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended;

/// One client's stream, from the log to the channel that its connection reads.
struct Feed {
    app: Arc<App>,
    owner: Owner,
    topics: BTreeSet<Topic>,
    messages: mpsc::Sender<sse::Event>,
    applied: watch::Receiver<LogIndex>,
    cut: Arc<tokio::sync::Notify>,
}

impl Feed {
    async fn run(mut self, resume: Option<String>) -> Result<Infallible, Ended> {
        let mut after = self.begin(resume).await?;
        let mut heartbeat = interval(self.app.limits.heartbeat);
        let mut hosts = interval(self.app.limits.hosts_interval);
        for timer in [&mut heartbeat, &mut hosts] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        heartbeat.tick().await; // The first tick is due at once.
        let mut stop = self.app.stop.clone();
        let mut seen = None;
        loop {
            self.check_owner()?;
            after = self.catch_up(after).await?;
            tokio::select! {
                changed = self.applied.changed() => changed.map_err(|_| Ended)?,
                _ = hosts.tick(), if self.topics.contains(&Topic::Hosts) => self.send_hosts(&mut seen).await?,
                _ = heartbeat.tick() => self.send(sse::Event::default().comment("").id(after.to_string())).await?,
                () = self.messages.closed() => return Err(Ended),
                () = stopped(&mut stop) => return Err(Ended),
            }
        }
    }

    /// Greets, and finds where to begin: after what the client saw last, or now.
    async fn begin(&mut self, resume: Option<String>) -> Result<LogIndex, Ended> {
        let applied = *self.applied.borrow_and_update();
        let hello = json!({
            "build": self.app.build,
            "as_of": applied.get(),
            "now": self.app.ports.reads.now().to_string(),
        });
        self.send(message("hello", &hello)).await?;
        let Some(text) = resume else { return Ok(applied) };
        let seen = text.parse().ok().map(LogIndex::new);
        // An index that the cluster has not reached was another cluster's.
        match seen.filter(|seen| *seen <= self.app.ports.reads.cluster().commit.max(applied)) {
            Some(seen) => Ok(seen),
            None => self.resync().await,
        }
    }

    /// Sends everything after an index; returns where the log ended.
    async fn catch_up(&self, mut after: LogIndex) -> Result<LogIndex, Ended> {
        loop {
            match self.app.ports.reads.events_after(after, ENTRIES_AT_ONCE) {
                Tail::TooOld => after = self.resync().await?,
                Tail::Entries { entries, upto } => {
                    let view = self.app.ports.reads.cluster();
                    let threshold = routes::view(&self.app, |views| views.settings.current().block_threshold);
                    let around = Surroundings { threshold: threshold.map_err(|_| Ended)?, view: &view };
                    for (index, envelope) in entries {
                        self.send_entry(index, &envelope, around).await?;
                    }
                    if upto <= after {
                        return Ok(after);
                    }
                    after = upto;
                }
            }
        }
    }

    /// Tells the client to load its lists anew.
    async fn resync(&self) -> Result<LogIndex, Ended> {
        let applied = *self.applied.borrow();
        let message = message("resync", &json!({ "as_of": applied.get() }));
        self.send(message.id(applied.to_string())).await?;
        Ok(applied)
    }

    async fn send_entry(
        &self,
        index: LogIndex,
        envelope: &Envelope,
        around: Surroundings<'_>,
    ) -> Result<(), Ended> {
        let wanted = live::messages(index, envelope, around).filter_map(|data| {
            let topic = Topic::of(&data);
            self.topics.contains(&topic).then(|| message(topic.name(), &data))
        });
        let mut messages: Vec<sse::Event> = wanted.collect();
        if let Some(last) = messages.pop() {
            messages.push(last.id(index.to_string()));
        }
        for message in messages {
            self.send(message).await?;
        }
        Ok(())
    }

    async fn send_hosts(&self, seen: &mut Option<ClusterView>) -> Result<(), Ended> {
        let view = self.app.ports.reads.cluster();
        if seen.as_ref() == Some(&view) {
            return Ok(());
        }
        *seen = Some(view.clone());
        let as_of = view.applied.get();
        let items = host::hosts(view);
        let list = List { total: items.len(), items, as_of, now: self.app.ports.reads.now().to_string() };
        self.send(message(Topic::Hosts.name(), &list)).await
    }

    /// A session that ended takes its streams with it.
    fn check_owner(&self) -> Result<(), Ended> {
        match &self.owner {
            Owner::Session(key) if !self.app.auth.is_live(key, self.app.clock()) => Err(Ended),
            Owner::Session(_) | Owner::LocalToken => Ok(()),
        }
    }

    /// Waits for room; a reader that makes none for long is cut off, and resumes by id when it likes.
    async fn send(&self, message: sse::Event) -> Result<(), Ended> {
        match timeout(self.app.limits.stalled_write_time, self.messages.send(message)).await {
            Ok(sent) => sent.map_err(|_| Ended),
            Err(_) => {
                self.cut.notify_one();
                Err(Ended)
            }
        }
    }
}

fn message<T: Serialize>(name: &str, data: &T) -> sse::Event {
    let data = serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, name, "write a message as json");
        "null".to_owned()
    });
    sse::Event::default().event(name).data(data)
}
