//! Frames: `length u32 | type u8 | flags u8 | message`, little endian, the length counts the message alone.

use bytes::{BufMut, Bytes, BytesMut};
use log_format::ids::{ClusterId, HostId, Incarnation};
use log_format::time::Timestamp;
use log_format::wal::WalIdentity;
use protobuf::{Message as _, ProtobufError};
use raft::eraftpb;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::proto::peer;
use super::transport::PeerMessage;

/// The largest message. Appends are cut at 1 MiB or one entry, commands are smaller still.
pub(super) const MAX_FRAME: usize = 8 << 20;
/// The largest greeting: taken from hosts that have shown a certificate and nothing else.
pub(super) const MAX_HELLO: usize = 1 << 10;
/// The only protocol version so far.
pub(super) const PROTOCOL: u32 = 1;

const HEADER: usize = 6;

/// What a frame holds; the numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hello = 1,
    Raft = 2,
    Ping = 3,
    Pong = 4,
    Forward = 5,
    Forwarded = 6,
    Idle = 7,
    BulkRequest = 8,
    BulkResponse = 9,
    Join = 10,
    Renew = 11,
    Certified = 12,
    LetGo = 13,
    MadeAnew = 14,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        [
            Self::Hello,
            Self::Raft,
            Self::Ping,
            Self::Pong,
            Self::Forward,
            Self::Forwarded,
            Self::Idle,
            Self::BulkRequest,
            Self::BulkResponse,
            Self::Join,
            Self::Renew,
            Self::Certified,
            Self::LetGo,
            Self::MadeAnew,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == code)
    }
}

/// A decoded frame.
#[derive(Debug)]
pub(super) enum Frame {
    Hello(Hello),
    Message(PeerMessage),
    Idle,
    /// The receiver was let go from the cluster.
    LetGo,
    /// The receiver's data directory was made anew.
    MadeAnew,
    /// What travels on connections of its own.
    Extra(Extra),
}

/// Requests and answers beside the stream of messages.
#[derive(Debug)]
pub(super) enum Extra {
    BulkRequest(peer::BulkRequest),
    BulkResponse(peer::BulkResponse),
    Join(peer::Join),
    Renew(peer::Renew),
    Certified(peer::Certified),
}

/// What hosts tell each other first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) identity: WalIdentity,
    pub(super) protocol_min: u32,
    pub(super) protocol_max: u32,
    pub(super) build: String,
    pub(super) channel: Channel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Raft,
    Bulk,
}

/// Why a frame was not taken. The connection is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("read frame")]
    Read(#[source] std::io::Error),
    #[error("frame of {length} bytes is over the limit of {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("unknown frame type {code} or flags {flags:#04x}")]
    Unknown { code: u8, flags: u8 },
    #[error("decode {what}")]
    Decode {
        what: &'static str,
        #[source]
        source: ProtobufError,
    },
    #[error("hello names no cluster")]
    NoCluster,
}

/// Reads one frame; checks its length before making room for it.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Frame, FrameError> {
    let length = stream.read_u32_le().await.map_err(FrameError::Read)?;
    let code = stream.read_u8().await.map_err(FrameError::Read)?;
    let flags = stream.read_u8().await.map_err(FrameError::Read)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if limit < length {
        return Err(FrameError::TooLong { length, limit });
    }
    let kind = Kind::from_code(code).filter(|_| flags == 0);
    let kind = kind.ok_or(FrameError::Unknown { code, flags })?;
    let mut body = BytesMut::zeroed(length);
    stream.read_exact(&mut body).await.map_err(FrameError::Read)?;
    decode(kind, &body.freeze())
}

fn decode(kind: Kind, body: &Bytes) -> Result<Frame, FrameError> {
    Ok(Frame::Message(match kind {
        Kind::Hello => return hello_from_wire(parse(body, "hello")?).map(Frame::Hello),
        Kind::Idle => return Ok(Frame::Idle),
        Kind::LetGo => return Ok(Frame::LetGo),
        Kind::MadeAnew => return Ok(Frame::MadeAnew),
        Kind::BulkRequest => {
            return parse(body, "bulk request").map(Extra::BulkRequest).map(Frame::Extra);
        }
        Kind::BulkResponse => {
            return parse(body, "bulk response").map(Extra::BulkResponse).map(Frame::Extra);
        }
        Kind::Join => return parse(body, "join request").map(Extra::Join).map(Frame::Extra),
        Kind::Renew => return parse(body, "renewal").map(Extra::Renew).map(Frame::Extra),
        Kind::Certified => return parse(body, "certificate").map(Extra::Certified).map(Frame::Extra),
        Kind::Raft => {
            let outer: peer::Raft = parse(body, "raft frame")?;
            let message: eraftpb::Message = parse(&outer.message, "raft message")?;
            PeerMessage::Raft(Box::new(message))
        }
        Kind::Ping => {
            let peer::Ping { sent_at, status, .. } = parse(body, "ping")?;
            PeerMessage::Ping { sent_at: Timestamp::from_nanos(sent_at), status }
        }
        Kind::Pong => {
            let pong: peer::Pong = parse(body, "pong")?;
            PeerMessage::Pong {
                echo_sent_at: Timestamp::from_nanos(pong.echo_sent_at),
                received_at: Timestamp::from_nanos(pong.received_at),
            }
        }
        Kind::Forward => {
            let peer::Forward { ticket, payload, .. } = parse(body, "forwarded command")?;
            PeerMessage::Forward { ticket, payload }
        }
        Kind::Forwarded => {
            let peer::Forwarded { ticket, outcome, .. } = parse(body, "outcome")?;
            PeerMessage::Forwarded { ticket, outcome }
        }
    }))
}

fn parse<M: protobuf::Message>(body: &Bytes, what: &'static str) -> Result<M, FrameError> {
    M::parse_from_carllerche_bytes(body).map_err(|source| FrameError::Decode { what, source })
}

/// Encodes a message as a whole frame; `None` if it is over the limit.
pub(super) fn encode(message: &PeerMessage) -> Option<Bytes> {
    match message {
        PeerMessage::Raft(message) => {
            let mut raft = peer::Raft::new();
            raft.message = message.write_to_bytes().ok()?.into();
            frame(Kind::Raft, &raft)
        }
        PeerMessage::Ping { sent_at, status } => {
            let mut ping = peer::Ping::new();
            (ping.sent_at, ping.status) = (sent_at.nanos(), status.clone());
            frame(Kind::Ping, &ping)
        }
        PeerMessage::Pong { echo_sent_at, received_at } => {
            let mut pong = peer::Pong::new();
            (pong.echo_sent_at, pong.received_at) = (echo_sent_at.nanos(), received_at.nanos());
            frame(Kind::Pong, &pong)
        }
        PeerMessage::Forward { ticket, payload } => {
            let mut forward = peer::Forward::new();
            (forward.ticket, forward.payload) = (*ticket, payload.clone());
            frame(Kind::Forward, &forward)
        }
        PeerMessage::Forwarded { ticket, outcome } => {
            let mut forwarded = peer::Forwarded::new();
            (forwarded.ticket, forwarded.outcome) = (*ticket, outcome.clone());
            frame(Kind::Forwarded, &forwarded)
        }
    }
}

pub(super) fn encode_hello(hello: &Hello) -> Option<Bytes> {
    let Hello { identity, protocol_min, protocol_max, build, channel } = hello;
    let mut wire = peer::Hello::new();
    wire.cluster_id = Bytes::copy_from_slice(&identity.cluster.get());
    wire.host_id = identity.host.get();
    wire.incarnation = identity.incarnation.get();
    wire.protocol_min = *protocol_min;
    wire.protocol_max = *protocol_max;
    wire.build.clone_from(build);
    wire.channel = match channel {
        Channel::Raft => peer::Channel::RAFT,
        Channel::Bulk => peer::Channel::BULK,
    };
    frame(Kind::Hello, &wire)
}

pub(super) fn encode_extra(extra: &Extra) -> Option<Bytes> {
    match extra {
        Extra::BulkRequest(request) => frame(Kind::BulkRequest, request),
        Extra::BulkResponse(response) => frame(Kind::BulkResponse, response),
        Extra::Join(join) => frame(Kind::Join, join),
        Extra::Renew(renew) => frame(Kind::Renew, renew),
        Extra::Certified(certified) => frame(Kind::Certified, certified),
    }
}

pub(super) fn encode_idle() -> Option<Bytes> {
    frame(Kind::Idle, &peer::Idle::new())
}

pub(super) fn encode_let_go() -> Option<Bytes> {
    frame(Kind::LetGo, &peer::LetGo::new())
}

pub(super) fn encode_made_anew() -> Option<Bytes> {
    frame(Kind::MadeAnew, &peer::MadeAnew::new())
}

fn frame(kind: Kind, message: &impl protobuf::Message) -> Option<Bytes> {
    let length = usize::try_from(message.compute_size()).ok()?;
    if MAX_FRAME < length {
        return None;
    }
    let mut bytes = BytesMut::with_capacity(HEADER + length).writer();
    bytes.get_mut().put_u32_le(u32::try_from(length).ok()?);
    bytes.get_mut().put_u8(kind as u8);
    bytes.get_mut().put_u8(0);
    message.write_to_writer(&mut bytes).ok()?;
    Some(bytes.into_inner().freeze())
}

fn hello_from_wire(wire: peer::Hello) -> Result<Hello, FrameError> {
    let cluster = wire.cluster_id.as_ref().try_into().map_err(|_| FrameError::NoCluster)?;
    Ok(Hello {
        identity: WalIdentity {
            cluster: ClusterId::new(cluster),
            host: HostId::new(wire.host_id),
            incarnation: Incarnation::new(wire.incarnation),
        },
        protocol_min: wire.protocol_min,
        protocol_max: wire.protocol_max,
        build: wire.build,
        channel: match wire.channel {
            peer::Channel::RAFT => Channel::Raft,
            peer::Channel::BULK => Channel::Bulk,
        },
    })
}
