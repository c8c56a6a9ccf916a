//! The accept loop. warp's own server has no time limit for headers, takes 500 KB of them and speaks HTTP/2 in clear; this
//! one bounds everything that a stranger can hold open ([`Limits`]) and speaks HTTP/1.1 only.

#![expect(clippy::disallowed_methods, reason = "this is the shell that starts a task for each connection")]

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use warp::reply::Response;

use crate::app::{App, Config};
use crate::auth::Cookie;
use crate::connections::{Neighbourhood, Place, Places};
use crate::limits::Limits;
use crate::ports::{NoRandomness, Ports};
use crate::request::Connection;
use crate::routes;
use crate::stall::StallGuard;
use crate::tls::{self, Transport, TransportError};

/// After a failed `accept` (the process is out of file descriptors, say) the loop rests this long instead of spinning.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The listening socket is not usable.
    #[error("take over listening socket")]
    Listener(#[source] io::Error),
    /// Neither TLS nor plain HTTP is possible as configured.
    #[error("prepare transport")]
    Transport(#[source] TransportError),
    /// No random bytes.
    #[error("start without randomness")]
    Random(#[source] NoRandomness),
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    acceptor: Arc<watch::Sender<Option<TlsAcceptor>>>,
    task: JoinHandle<()>,
}

/// Changes what the server shows, from the next connection on.
#[derive(Clone)]
pub struct CertificateSetter {
    acceptor: Arc<watch::Sender<Option<TlsAcceptor>>>,
}

impl CertificateSetter {
    /// Shows this certificate from now on. A server of plain HTTP stays one.
    pub fn set(&self, certificates_pem: &[u8], key_pem: &[u8]) -> Result<(), TransportError> {
        let next = tls::acceptor_of(certificates_pem, key_pem)?;
        self.acceptor.send_if_modified(|acceptor| acceptor.as_mut().map(|old| *old = next).is_some());
        Ok(())
    }
}

/// Says where people are who are signed in at this host.
#[derive(Clone)]
pub struct SessionSources {
    app: Arc<App>,
}

impl SessionSources {
    /// The addresses from which live sessions were used last.
    pub fn now(&self) -> BTreeSet<IpAddr> {
        self.app.auth.sources(self.app.clock())
    }
}

impl Server {
    /// Starts serving on a socket that is bound already. Must be called within a Tokio runtime. When `stop` turns true,
    /// no more connections are taken and open requests get [`Limits::drain_time`] to end.
    pub fn start(
        listener: TcpListener,
        config: Config,
        ports: Ports,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, StartError> {
        listener.set_nonblocking(true).map_err(StartError::Listener)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Listener)?;
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let acceptor = tls::acceptor(&config.transport, address).map_err(StartError::Transport)?;
        let cookie = match config.transport {
            Transport::Tls { .. } => Cookie::Secure,
            Transport::PlainOnLoopback => Cookie::Loopback,
        };
        let app = Arc::new(App::new(config, cookie, ports, stop.clone()).map_err(StartError::Random)?);
        let acceptor = Arc::new(watch::Sender::new(acceptor));
        let door = Door { acceptor: acceptor.subscribe(), limits: app.limits, stop };
        let service = TowerToHyperService::new(warp::service(routes::filter(Arc::clone(&app))));
        let task = tokio::spawn(door.serve(listener, service));
        Ok(Self { address, app, acceptor, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// For whoever renews the server's certificate.
    pub fn certificate_setter(&self) -> CertificateSetter {
        CertificateSetter { acceptor: Arc::clone(&self.acceptor) }
    }

    /// For whoever must not cut people off who are signed in.
    pub fn session_sources(&self) -> SessionSources {
        SessionSources { app: Arc::clone(&self.app) }
    }

    /// Makes a one-time password for the administrator; the one before is no longer good. The caller shows it to whoever
    /// sits at this host, and to nobody else. It hashes, which takes some 30 ms.
    pub fn issue_one_time_password(&self) -> Result<String, NoRandomness> {
        self.app.auth.issue_password()
    }

    /// Waits until the server has ended.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the accept loop broke");
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What every connection passes through.
#[derive(Clone)]
struct Door {
    acceptor: watch::Receiver<Option<TlsAcceptor>>,
    limits: Limits,
    stop: watch::Receiver<bool>,
}

impl Door {
    async fn serve<S>(mut self, listener: tokio::net::TcpListener, service: S)
    where
        S: Service<Request<Incoming>, Response = Response> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: std::error::Error + Send + Sync,
    {
        let (total, places) = (Arc::new(Semaphore::new(self.limits.connections)), Places::default());
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &total) => accepted,
                () = stopped(&mut self.stop) => break,
            };
            let Some((socket, remote, permit)) = accepted else { continue };
            let Some(place) =
                places.take(Neighbourhood::of(remote.ip()), self.limits.connections_per_address)
            else {
                tracing::debug!(%remote, "connection refused: too many from this address");
                continue;
            };
            let (door, service) = (self.clone(), service.clone());
            tokio::spawn(async move {
                let _permit = permit;
                door.welcome(socket, remote, place, service).await;
            });
        }
        drop(listener);
        let everybody = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(self.limits.drain_time, total.acquire_many(everybody)).await.is_err() {
            tracing::info!("some connections did not end in time");
        }
    }

    async fn welcome<S>(self, socket: TcpStream, remote: SocketAddr, _place: Place<Neighbourhood>, service: S)
    where
        S: Service<Request<Incoming>, Response = Response> + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: std::error::Error + Send + Sync,
    {
        // Answers are small and event streams must not wait for a full segment.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%remote, error = &error as &dyn std::error::Error, "set nodelay");
        }
        let guarded = StallGuard::new(socket, self.limits.stalled_write_time);
        let acceptor = self.acceptor.borrow().clone();
        match acceptor {
            None => self.speak(guarded, remote, service).await,
            Some(acceptor) => {
                let handshake =
                    tokio::time::timeout(self.limits.handshake_time, acceptor.accept(guarded)).await;
                match handshake {
                    Ok(Ok(stream)) => self.speak(stream, remote, service).await,
                    Ok(Err(_)) | Err(_) => tracing::debug!(%remote, "no tls handshake"),
                }
            }
        }
    }

    async fn speak<I, S>(mut self, stream: I, remote: SocketAddr, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response> + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: std::error::Error + Send + Sync,
    {
        let cut = Arc::new(Notify::new());
        let known = Connection { remote, cut: Arc::clone(&cut) };
        let introduced = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(known.clone());
            service.call(request)
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time)
            .max_buf_size(self.limits.header_bytes)
            .max_headers(self.limits.headers);
        let connection = builder.serve_connection(TokioIo::new(stream), introduced);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = cut.notified() => return tracing::debug!(%remote, "connection cut: its reader is too slow"),
            () = stopped(&mut self.stop) => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(self.limits.drain_time, connection.as_mut()).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%remote, error = &error as &dyn std::error::Error, "connection ended");
        }
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// Waits for a place first, so that a crowd waits in the kernel and not here.
async fn accept(listener: &tokio::net::TcpListener, total: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(total).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, remote)) => Some((socket, remote, permit)),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "accept a connection");
            tokio::time::sleep(REST_AFTER_FAILURE).await;
            None
        }
    }
}

/// Waits until the host stops; a dropped sender counts as that.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
