//! The second connection between two hosts: old entries and chapters, so that catching up never delays a heartbeat.
//!
//! One request, one bounded response, in turn: whoever asks sets the pace, and what broke off goes on from the last byte.
//! Any member may ask any other, also before its own log is open: a damaged log is repaired from what its peers hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log_format::ids::{HostId, LogIndex};
use log_format::wal::{LogEntry, WalIdentity};
use protobuf::Message as _;
use raft::eraftpb;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frame::{self, Channel, Extra, Frame, Hello, MAX_FRAME, MAX_HELLO, PROTOCOL};
use super::proto::peer;
use super::tls::{self, PeerTls, TlsSetup, TlsSetupError};
use crate::core::entry;

/// What one response holds at most, but for a single larger entry.
pub const MAX_PART: usize = 1 << 20;
/// From the connection to the accepted greeting.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// One response must not take longer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePart {
    /// The bytes from the offset on; empty at the end.
    pub data: Bytes,
    /// Length of the whole file.
    pub length: u64,
}

/// What a host gives to others. Called on threads that may block. An error's text goes to the asker.
pub trait BulkSource: Send + Sync + 'static {
    /// Entries in `from..until`, durable ones, in order: as many as fit in `max_bytes`, but at least one.
    fn entries(&self, from: LogIndex, until: LogIndex, max_bytes: usize) -> Result<Vec<LogEntry>, String>;

    /// At most `max_bytes` of a sealed chapter's file. The name comes from a peer: only names that the chapter has are files.
    fn chapter_file(
        &self,
        chapter: u64,
        name: &str,
        offset: u64,
        max_bytes: usize,
    ) -> Result<FilePart, String>;

    /// What the host process of `from` asks.
    fn owner(&self, from: HostId, request: Bytes) -> Result<Bytes, String>;
}

/// Why a peer gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[from] TlsSetupError),
    /// It cannot be reached, or is not who it should be.
    #[error("connect to host {host} at {address}")]
    Connect {
        /// The host.
        host: HostId,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The exchange broke off. What came before is good; another connection goes on from there.
    #[error("the exchange with host {host} broke off")]
    Broken {
        /// The host.
        host: HostId,
    },
    /// It says no.
    #[error("host {host} refuses: {reason}")]
    Refused {
        /// The host.
        host: HostId,
        /// Its reason. Outside text.
        reason: String,
    },
}

/// A connection to one peer, for one request at a time.
pub struct BulkClient {
    stream: TlsStream<TcpStream>,
    host: HostId,
}

impl BulkClient {
    /// Connects to `host` as the host that `identity` and the certificates name. Needs nothing else to run.
    pub async fn connect(
        tls: &PeerTls,
        identity: WalIdentity,
        host: HostId,
        address: SocketAddr,
    ) -> Result<Self, BulkError> {
        let setup = TlsSetup::new(tls, identity.cluster, identity.host)?;
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            TlsConnector::from(Arc::clone(&setup.client)).connect(name, stream).await
        };
        let connected = timeout(CONNECT_TIME, connecting).await.map_err(|_| BulkError::Broken { host })?;
        let stream = connected.map_err(|source| BulkError::Connect { host, address, source })?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let named = certificate.and_then(|certificate| tls::host_of(certificate, identity.cluster).ok());
        if named != Some(host) {
            return Err(BulkError::Broken { host });
        }
        let mut client = Self { stream, host };
        timeout(CONNECT_TIME, client.greet(identity)).await.map_err(|_| BulkError::Broken { host })??;
        Ok(client)
    }

    /// Entries in `from..until`: some from the beginning on; ask again from behind the last one.
    pub async fn entries(&mut self, from: LogIndex, until: LogIndex) -> Result<Vec<LogEntry>, BulkError> {
        let mut request = peer::FetchEntries::new();
        (request.from, request.until) = (from.get(), until.get());
        let mut wire = peer::BulkRequest::new();
        wire.set_entries(request);
        let Some(peer::BulkResponse_oneof_body::entries(found)) = self.ask(wire).await? else {
            return Err(self.broken());
        };
        let mut expected = from;
        let mut entries = Vec::with_capacity(found.entry.len());
        for bytes in &found.entry {
            let entry = eraftpb::Entry::parse_from_carllerche_bytes(bytes).map_err(|_| self.broken())?;
            if entry.index != expected.get() || until <= expected {
                return Err(self.broken());
            }
            expected = expected.next();
            entries.push(entry::from_raft(entry));
        }
        Ok(entries)
    }

    /// A part of a chapter's file, from a byte on.
    pub async fn chapter_file(
        &mut self,
        chapter: u64,
        name: &str,
        offset: u64,
    ) -> Result<FilePart, BulkError> {
        let mut request = peer::FetchChapterFile::new();
        (request.chapter, request.offset) = (chapter, offset);
        request.name = name.to_owned();
        let mut wire = peer::BulkRequest::new();
        wire.set_file(request);
        match self.ask(wire).await? {
            Some(peer::BulkResponse_oneof_body::part(peer::FilePart { data, length, .. })) => {
                Ok(FilePart { data, length })
            }
            Some(_) | None => Err(self.broken()),
        }
    }

    /// What only the host process understands.
    pub async fn owner(&mut self, request: Bytes) -> Result<Bytes, BulkError> {
        let mut wire = peer::BulkRequest::new();
        wire.set_owner(request);
        match self.ask(wire).await? {
            Some(peer::BulkResponse_oneof_body::owner(answer)) => Ok(answer),
            Some(_) | None => Err(self.broken()),
        }
    }

    async fn greet(&mut self, identity: WalIdentity) -> Result<(), BulkError> {
        let hello = Hello {
            identity,
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            build: String::new(),
            channel: Channel::Bulk,
        };
        let hello = frame::encode_hello(&hello).ok_or_else(|| self.broken())?;
        self.write(&hello).await?;
        match frame::read(&mut self.stream, MAX_HELLO).await {
            Ok(Frame::Hello(_)) => Ok(()),
            Ok(Frame::Message(_) | Frame::Idle | Frame::Extra(_) | Frame::LetGo | Frame::MadeAnew)
            | Err(_) => Err(self.broken()),
        }
    }

    async fn ask(
        &mut self,
        request: peer::BulkRequest,
    ) -> Result<Option<peer::BulkResponse_oneof_body>, BulkError> {
        let request = frame::encode_extra(&Extra::BulkRequest(request)).ok_or_else(|| self.broken())?;
        self.write(&request).await?;
        let answer = timeout(ANSWER_TIME, frame::read(&mut self.stream, MAX_FRAME)).await;
        let Ok(Ok(Frame::Extra(Extra::BulkResponse(response)))) = answer else {
            return Err(self.broken());
        };
        match response.body {
            Some(peer::BulkResponse_oneof_body::refusal(reason)) => {
                Err(BulkError::Refused { host: self.host, reason })
            }
            body => Ok(body),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), BulkError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|_| BulkError::Broken { host: self.host })
    }

    fn broken(&self) -> BulkError {
        BulkError::Broken { host: self.host }
    }
}

/// Answers one request; may block.
pub(super) fn answer(source: &dyn BulkSource, from: HostId, request: peer::BulkRequest) -> Extra {
    let mut response = peer::BulkResponse::new();
    match respond(source, from, request) {
        Ok(body) => response.body = Some(body),
        Err(reason) => response.set_refusal(reason),
    }
    Extra::BulkResponse(response)
}

fn respond(
    source: &dyn BulkSource,
    from: HostId,
    request: peer::BulkRequest,
) -> Result<peer::BulkResponse_oneof_body, String> {
    use peer::{BulkRequest_oneof_body as Request, BulkResponse_oneof_body as Response};
    match request.body {
        Some(Request::entries(peer::FetchEntries { from, until, .. })) => {
            let found = source.entries(LogIndex::new(from), LogIndex::new(until), MAX_PART)?;
            let mut entries = peer::Entries::new();
            for entry in found {
                let bytes = entry::to_raft(entry).write_to_bytes().map_err(|error| error.to_string())?;
                entries.entry.push(bytes.into());
            }
            Ok(Response::entries(entries))
        }
        Some(Request::file(peer::FetchChapterFile { chapter, name, offset, .. })) => {
            let found = source.chapter_file(chapter, &name, offset, MAX_PART)?;
            let mut part = peer::FilePart::new();
            (part.data, part.length) = (found.data, found.length);
            Ok(Response::part(part))
        }
        Some(Request::owner(request)) => source.owner(from, request).map(Response::owner),
        None => Err("an empty request".to_owned()),
    }
}
