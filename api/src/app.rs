//! What all requests share: the doors, who is signed in, and what this host is called.

use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::{Auth, Cookie, LocalToken};
use crate::events::Streams;
use crate::limits::Limits;
use crate::ports::{NoRandomness, Ports};
use crate::request::RequestIds;
use crate::tls::Transport;
use crate::write::Keys;

/// What the host process tells the server at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// TLS, or plain HTTP on loopback.
    pub transport: Transport,
    /// This host's name, for people.
    pub host_name: String,
    /// The version of Palisade.
    pub version: String,
    /// Identity of this very build: an open console that sees another one offers to reload.
    pub build: String,
    /// How this host's command line is known.
    pub local_token: LocalToken,
    /// `Host` headers (name, with the port if it is not the usual one) that are answered; empty: all.
    pub allowed_hosts: Vec<String>,
    /// Every bound.
    pub limits: Limits,
}

/// Everything that handlers share.
pub(crate) struct App {
    pub(crate) ports: Ports,
    pub(crate) auth: Auth,
    pub(crate) streams: Streams,
    pub(crate) ids: RequestIds,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) host_name: String,
    pub(crate) version: String,
    pub(crate) build: String,
    pub(crate) allowed_hosts: Vec<String>,
    /// Turns true when the host stops.
    pub(crate) stop: watch::Receiver<bool>,
}

impl App {
    /// Puts together what requests share.
    pub(crate) fn new(
        config: Config,
        cookie: Cookie,
        ports: Ports,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, NoRandomness> {
        let Config { transport: _, host_name, version, build, local_token, allowed_hosts, limits } = config;
        let mut prefix = [0; 4];
        (ports.random)(&mut prefix)?;
        Ok(Self {
            auth: Auth::new(local_token, cookie, ports.random.clone())?,
            streams: Streams::new(&limits),
            keys: Keys::new(&ports.random)?,
            ids: RequestIds::new(u32::from_be_bytes(prefix)),
            ports,
            limits,
            host_name,
            version,
            build,
            allowed_hosts,
            stop,
        })
    }

    /// The monotonic clock of sessions and back-off.
    pub(crate) fn clock(&self) -> Instant {
        Instant::now()
    }
}
