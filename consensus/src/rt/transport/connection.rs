//! One connection: who is there, then messages both ways until something ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use log_format::ids::{ClusterId, HostId, Incarnation};
use rustls::server::{Acceptor, ClientHello};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::link::Link;
use super::places::Place;
use super::{PeerInput, PeerMessage, Peers, Shared, is_another, serve};
use crate::rt::frame::{self, Channel, Frame, FrameError, Hello, MAX_FRAME, MAX_HELLO, PROTOCOL};
use crate::rt::tls::IdentityError;
use crate::rt::{self, tls};

/// From the connection to the accepted greeting. A slow stranger costs one place for so long.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// With nothing else to say, a host says that it is there.
const IDLE_TIME: Duration = Duration::from_secs(1);
/// A peer that said nothing for so long is gone, whatever TCP believes.
const SILENCE_TIME: Duration = Duration::from_secs(5);
/// Writing this much must not take longer, or the peer is as good as gone.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// What is gathered for one write.
const WRITE_BYTES: usize = 256 << 10;
/// What is taken, and forgotten, of a host that is turned away.
const MAX_UNHEARD: u64 = 1 << 20;
/// Saying goodbye is a courtesy.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("no greeting in time")]
    Mute,
    #[error("TLS handshake")]
    Handshake(#[source] std::io::Error),
    #[error("peer certificate")]
    Identity(#[source] IdentityError),
    #[error("host {host} is not a member")]
    NotMember { host: HostId },
    #[error("this host was let go from the cluster")]
    LetGo,
    #[error(
        "the data directory of host {host} was made anew under its old id, so what it acknowledged is lost; remove the id from \
         the cluster and let the host join anew, into an empty folder"
    )]
    MadeAnew { host: HostId },
    #[error("peer says that this host's data directory was made anew")]
    SaidMadeAnew,
    #[error("host {found} answered in place of host {wanted}")]
    OtherHost { wanted: HostId, found: HostId },
    #[error("host {host} dialled, but has the lower id")]
    WrongDirection { host: HostId },
    #[error("greeting is of cluster {cluster}")]
    OtherCluster { cluster: ClusterId },
    #[error("greeting is of host {claimed}, certificate of host {host}")]
    ForgedGreeting { host: HostId, claimed: HostId },
    #[error("peer speaks protocols {min} to {max}")]
    Protocol { min: u32, max: u32 },
    #[error("peer wants a channel that is not served")]
    Channel,
    #[error("too many are served already")]
    Busy,
    #[error("what was asked for is answered")]
    Served,
    #[error("request is not signed by the key that it is about")]
    NotOwnKey,
    #[error("peer did not greet first")]
    NoGreeting,
    #[error("peer greeted twice")]
    SecondGreeting,
    #[error("message claims to be from host {claimed}, certificate is of host {host}")]
    ForgedSender { host: HostId, claimed: u64 },
    #[error("peer was silent")]
    Silent,
    #[error("peer reads too slowly")]
    Stuck,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("write frames")]
    Write(#[source] std::io::Error),
    #[error("a newer connection took over")]
    Replaced,
    #[error("transport stops")]
    Stopped,
}

impl Ended {
    /// Whether somebody claims to be who they are not, or are no more: worth a look, however it came about.
    fn is_suspicious(&self) -> bool {
        matches!(
            self,
            Self::ForgedGreeting { .. }
                | Self::ForgedSender { .. }
                | Self::OtherHost { .. }
                | Self::MadeAnew { .. }
        )
    }
}

/// Serves a connection that somebody opened.
pub(super) async fn accept(shared: Arc<Shared>, stream: TcpStream, place: Place) {
    let greeting = async {
        stream.set_nodelay(true).map_err(Ended::Handshake)?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(Ended::Handshake)?;
        let tls = shared.tls();
        let purpose = Purpose::of(&start.client_hello());
        let config = match purpose {
            Purpose::Peer => tls.server,
            Purpose::Join => tls.join_server,
            Purpose::Renew => tls.renew_server,
        };
        let mut stream = start.into_stream(config).await.map_err(Ended::Handshake)?;
        if purpose == Purpose::Join {
            return Ok((stream, Guest::Stranger));
        }
        let host = match named(&shared, stream.get_ref().1.peer_certificates()) {
            Err(Ended::NotMember { host }) if shared.was_let_go(host) => {
                serve::farewell(&mut stream).await?;
                return Err(Ended::NotMember { host });
            }
            named => named?,
        };
        if purpose == Purpose::Renew {
            return Ok((stream, Guest::Late(host)));
        }
        let hello = greet(&shared, &mut stream, host).await?;
        if hello.channel == Channel::Raft && host < shared.identity.host {
            return Err(Ended::WrongDirection { host });
        }
        Ok((stream, Guest::Peer(host, hello)))
    };
    let greeted = before_stop(&shared, greeting).await;
    // A stranger stays one.
    let _place = matches!(greeted, Ok((_, Guest::Stranger))).then_some(place);
    match greeted {
        Ok((stream, Guest::Peer(host, hello))) => match hello.channel {
            Channel::Raft => run(&shared, stream, host, hello).await,
            Channel::Bulk => {
                let ended = tokio::select! {
                    ended = serve::fetches(&shared, stream, host) => ended,
                    ended = until_unwanted(&shared, host, Some(hello.identity.incarnation)) => ended,
                };
                log(&ended, Some(host));
            }
        },
        Ok((stream, Guest::Stranger)) => {
            let ended = tokio::select! {
                ended = serve::joiner(&shared, stream) => ended,
                () = shared.stopped() => Ended::Stopped,
            };
            log(&ended, None);
        }
        Ok((stream, Guest::Late(host))) => {
            let ended = tokio::select! {
                ended = serve::renewal(&shared, stream, host) => ended,
                ended = until_unwanted(&shared, host, None) => ended,
            };
            log(&ended, Some(host));
        }
        Err(ended) => log(&ended, None),
    }
}

/// What a client came for, as it says before anything of it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Peer,
    Join,
    Renew,
}

impl Purpose {
    fn of(hello: &ClientHello<'_>) -> Self {
        let offers = |wanted: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|one| one == wanted));
        match (offers(tls::JOIN_ALPN), offers(tls::RENEW_ALPN)) {
            (true, _) => Self::Join,
            (false, true) => Self::Renew,
            (false, false) => Self::Peer,
        }
    }
}

/// Who came, once the handshake is done.
enum Guest {
    Peer(HostId, Hello),
    Stranger,
    Late(HostId),
}

/// Opens a connection to `host` and serves it; returns whether it came to be.
pub(super) async fn dial(shared: &Arc<Shared>, host: HostId, address: SocketAddr) -> bool {
    match open(shared, host, address).await {
        Ok((stream, hello)) => {
            run(shared, stream, host, hello).await;
            true
        }
        Err(ended) => {
            log(&ended, Some(host));
            false
        }
    }
}

/// Opens a connection to a host that should have opened one, to hear whether this host still belongs to the cluster.
pub(super) async fn ask(shared: &Arc<Shared>, host: HostId, address: SocketAddr) {
    match open(shared, host, address).await {
        // Whatever happens to the goodbye, the connection is over.
        Ok((mut stream, _)) => drop(timeout(CLOSE_TIME, stream.shutdown()).await),
        Err(ended) => log(&ended, Some(host)),
    }
}

/// Opens a connection to `host`, until both have greeted.
async fn open(
    shared: &Arc<Shared>,
    host: HostId,
    address: SocketAddr,
) -> Result<(TlsStream<TcpStream>, Hello), Ended> {
    let connector = TlsConnector::from(shared.tls().client);
    let greeting = async {
        let stream = TcpStream::connect(address).await.map_err(Ended::Handshake)?;
        stream.set_nodelay(true).map_err(Ended::Handshake)?;
        // The name is not sent and not checked: the certificate names the host by its id.
        let name = ServerName::IpAddress(address.ip().into());
        let mut stream = connector.connect(name, stream).await.map_err(Ended::Handshake)?;
        let found = named(shared, stream.get_ref().1.peer_certificates())?;
        if found != host {
            return Err(Ended::OtherHost { wanted: host, found });
        }
        let hello = greet(shared, &mut stream, host).await?;
        if hello.channel != Channel::Raft {
            return Err(Ended::Channel);
        }
        Ok((stream, hello))
    };
    let opened = before_stop(shared, greeting).await;
    match opened {
        Err(Ended::LetGo) => shared.deliver(host, PeerInput::LetGo).await,
        Err(Ended::SaidMadeAnew) => shared.deliver(host, PeerInput::MadeAnew).await,
        Ok(_) | Err(_) => {}
    }
    opened
}

async fn before_stop<T>(
    shared: &Shared,
    greeting: impl Future<Output = Result<T, Ended>>,
) -> Result<T, Ended> {
    tokio::select! {
        () = shared.stopped() => Err(Ended::Stopped),
        greeted = timeout(GREETING_TIME, greeting) => greeted.unwrap_or(Err(Ended::Mute)),
    }
}

/// The member that the certificate names. The handshake has checked who signed it.
fn named(shared: &Shared, chain: Option<&[CertificateDer<'_>]>) -> Result<HostId, Ended> {
    let certificate = chain.and_then(<[_]>::first);
    let certificate = certificate.ok_or(Ended::Identity(IdentityError::Unreadable))?;
    let host = tls::host_of(certificate, shared.identity.cluster).map_err(Ended::Identity)?;
    if host == shared.identity.host || !shared.is_member(host) {
        return Err(Ended::NotMember { host });
    }
    Ok(host)
}

async fn greet(
    shared: &Shared,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: HostId,
) -> Result<Hello, Ended> {
    let ours = Hello {
        identity: shared.identity,
        protocol_min: PROTOCOL,
        protocol_max: PROTOCOL,
        build: shared.build.clone(),
        channel: Channel::Raft,
    };
    let ours = frame::encode_hello(&ours).unwrap_or_default();
    stream.write_all(&ours).await.map_err(Ended::Write)?;
    stream.flush().await.map_err(Ended::Write)?;
    let theirs = match frame::read(stream, MAX_HELLO).await? {
        Frame::Hello(theirs) => theirs,
        Frame::LetGo => return Err(Ended::LetGo),
        Frame::MadeAnew => return Err(Ended::SaidMadeAnew),
        Frame::Message(_) | Frame::Idle | Frame::Extra(_) => return Err(Ended::NoGreeting),
    };
    check(shared, &theirs, host)?;
    if shared.was_made_anew(host, theirs.identity.incarnation) {
        return Err(turn_away(stream, host).await);
    }
    Ok(theirs)
}

/// Tells a host that the cluster knows it with another incarnation.
async fn turn_away(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), host: HostId) -> Ended {
    let bytes = frame::encode_made_anew().unwrap_or_default();
    let say = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        // Heard out, so that closing does not throw away what is on its way to it.
        tokio::io::copy(&mut stream.take(MAX_UNHEARD), &mut tokio::io::sink()).await
    };
    // Whether it heard or not, the connection is over.
    let _ = timeout(CLOSE_TIME, say).await;
    Ended::MadeAnew { host }
}

fn check(shared: &Shared, theirs: &Hello, host: HostId) -> Result<(), Ended> {
    let Hello { identity, protocol_min: min, protocol_max: max, build: _, channel } = theirs;
    if identity.cluster != shared.identity.cluster {
        let cluster = identity.cluster;
        return Err(Ended::OtherCluster { cluster });
    }
    if identity.host != host {
        let claimed = identity.host;
        return Err(Ended::ForgedGreeting { host, claimed });
    }
    if !(*min..=*max).contains(&PROTOCOL) {
        return Err(Ended::Protocol { min: *min, max: *max });
    }
    match channel {
        Channel::Raft => Ok(()),
        // One that may have joined since is heard, so that this host comes to know of it, and is given nothing.
        Channel::Bulk if shared.services.bulk.is_some() && shared.knows(host) => Ok(()),
        Channel::Bulk => Err(Ended::Channel),
    }
}

async fn run(shared: &Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Unpin, host: HostId, hello: Hello) {
    let link = shared.register(host);
    tracing::info!(peer = %host, build = ?hello.build, "peer connected");
    let incarnation = hello.identity.incarnation;
    let connected = PeerInput::Connected { incarnation, build: hello.build };
    shared.deliver(host, connected).await;
    let (reader, mut writer) = tokio::io::split(stream);
    let ended = tokio::select! {
        ended = receive(shared, reader, host) => ended,
        ended = transmit(&link, &mut writer) => ended,
        ended = until_unwanted(shared, host, Some(incarnation)) => ended,
    };
    let current = shared.unregister(host, &link);
    link.close();
    // Whatever happens to the goodbye, the connection is over.
    let _ = timeout(CLOSE_TIME, writer.shutdown()).await;
    log(&ended, Some(host));
    if matches!(ended, Ended::SaidMadeAnew) {
        shared.deliver(host, PeerInput::MadeAnew).await;
    }
    if current {
        shared.deliver(host, PeerInput::Disconnected).await;
    }
}

async fn receive(shared: &Shared, reader: impl AsyncRead + Unpin, host: HostId) -> Ended {
    let mut reader = BufReader::with_capacity(WRITE_BYTES, reader);
    loop {
        let message = match timeout(SILENCE_TIME, frame::read(&mut reader, MAX_FRAME)).await {
            Err(_) => return Ended::Silent,
            Ok(Err(error)) => return Ended::Frame(error),
            Ok(Ok(Frame::Idle)) => continue,
            Ok(Ok(Frame::Hello(_))) => return Ended::SecondGreeting,
            Ok(Ok(Frame::MadeAnew)) => return Ended::SaidMadeAnew,
            Ok(Ok(Frame::Extra(_) | Frame::LetGo)) => return Ended::Channel,
            Ok(Ok(Frame::Message(message))) => message,
        };
        if let PeerMessage::Raft(message) = &message
            && message.from != host.get()
        {
            let claimed = message.from;
            return Ended::ForgedSender { host, claimed };
        }
        // Of one that joined meanwhile nobody says that it was let go as well.
        if !shared.is_member(host) {
            return Ended::NotMember { host };
        }
        shared.deliver(host, PeerInput::Message(message)).await;
    }
}

async fn transmit(link: &Link, writer: &mut (impl AsyncWrite + Unpin)) -> Ended {
    let mut buffer = BytesMut::new();
    loop {
        buffer.clear();
        match timeout(IDLE_TIME, link.take(WRITE_BYTES)).await {
            Err(_) => buffer.extend(frame::encode_idle()),
            Ok(None) => return Ended::Replaced,
            Ok(Some(messages)) => {
                for message in messages {
                    match frame::encode(&message) {
                        Some(frame) => buffer.extend_from_slice(&frame),
                        None => tracing::warn!("a message over the limit of a frame was dropped"),
                    }
                }
            }
        }
        // All that waited leaves in one write and one flush.
        let write = async {
            writer.write_all(&buffer).await?;
            writer.flush().await
        };
        match timeout(WRITE_TIME, write).await {
            Err(_) => return Ended::Stuck,
            Ok(Err(error)) => return Ended::Write(error),
            Ok(Ok(())) => {}
        }
    }
}

/// Ends when the transport stops, the peer is no longer a member, or it turns out that the log knows another incarnation of it
/// than it showed.
async fn until_unwanted(shared: &Shared, host: HostId, shown: Option<Incarnation>) -> Ended {
    let mut peers = shared.peers.clone();
    let is_another = |peers: &Peers| shown.is_some_and(|shown| is_another(peers, host, shown));
    tokio::select! {
        () = shared.stopped() => return Ended::Stopped,
        // An error means that the transport is gone, and the connection with it.
        _ = peers.wait_for(|peers| !shared.is_among(peers, host) || is_another(peers)) => {}
    }
    if is_another(&peers.borrow()) { Ended::MadeAnew { host } } else { Ended::NotMember { host } }
}

fn log(ended: &Ended, peer: Option<HostId>) {
    let peer = peer.map(tracing::field::display);
    let reason = rt::chain(ended);
    if ended.is_suspicious() {
        tracing::warn!(peer, %reason, "peer connection refused");
    } else {
        tracing::debug!(peer, %reason, "peer connection ended");
    }
}
