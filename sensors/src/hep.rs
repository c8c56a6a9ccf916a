//! Reads what a telephone system reports of its own SIP traffic, in the clear, where the wire shows only TLS: the encapsulation
//! protocol of Homer, version 3, as Kamailio (siptrace), Asterisk (`res_hep`) and FreeSWITCH send it over UDP.
//!
//! ```text
//!  "HEP3" │ length of everything, 2 │ chunks
//!  chunk: vendor, 2 │ type, 2 │ length with these six bytes, 2 │ value          numbers in network order
//! ```
//!
//! Whoever can send to the listener can claim anything. It listens on an address of the host's own, or wants a key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use log_format::time::Timestamp;

const MAGIC: [u8; 4] = *b"HEP3";
const HEADER: usize = 6;
const CHUNK_HEADER: usize = 6;

/// What is reported: one SIP message, and how it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    /// Who sent the message; unspecified if the reporter does not know its own address, but never both.
    pub source: IpAddr,
    /// From this port.
    pub source_port: u16,
    /// Who received it.
    pub destination: IpAddr,
    /// On this port.
    pub destination_port: u16,
    /// How.
    pub transport: Transport,
    /// When, by the reporter's clock, which may be wrong.
    pub at: Option<Timestamp>,
    /// The reporter's number, which its administrator gave it.
    pub agent: u32,
    /// The key that the reporter knows; empty if it sent none.
    pub key: &'a [u8],
    /// What joins messages of one call; most send the Call-ID.
    pub correlation: &'a [u8],
    /// The message.
    pub payload: &'a [u8],
}

/// How a message came, as far as reporters tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP. Asterisk says so of TLS, and Asterisk and FreeSWITCH of WebSocket, secured or not.
    Tcp,
    /// TLS. Kamailio says so of WebSocket too. On the wire it is protocol 22, which nobody else uses.
    Tls,
    /// SCTP.
    Sctp,
    /// Another number.
    Other(u8),
}

impl Transport {
    /// The sender has been shown to be at his address: he took part in a handshake.
    pub const fn is_connection(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Sctp)
    }

    const fn from_number(number: u8) -> Self {
        match number {
            17 => Self::Udp,
            6 => Self::Tcp,
            22 => Self::Tls,
            132 => Self::Sctp,
            other => Self::Other(other),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Udp => 17,
            Self::Tcp => 6,
            Self::Tls => 22,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }
}

/// Why a datagram is no report of a SIP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not begin with "HEP3". Versions 1 and 2 are not read: they have no key.
    #[error("not HEP version 3; set hep_version 3 at the sender")]
    Version,
    /// It ends before its length says.
    #[error("hep datagram ends after {0} bytes, before its length")]
    Short(usize),
    /// A chunk's length does not fit its type, or what is left.
    #[error("hep chunk {kind:#06x} at byte {at} has a wrong length")]
    Chunk {
        /// Its type.
        kind: u16,
        /// Where it begins.
        at: usize,
    },
    /// A chunk lacks without which nothing can be said.
    #[error("hep datagram has no chunk {0:#06x}")]
    Missing(u16),
    /// It reports something else than SIP.
    #[error("hep datagram reports protocol {0}, not SIP")]
    NotSip(u8),
    /// The message is compressed; no reporter here does that unless told to.
    #[error("hep payload is compressed; turn compression off at the sender")]
    Compressed,
    /// Neither end has an address. FreeSWITCH reports so of IPv6.
    #[error("hep datagram has no address of either end")]
    Address,
}

mod kind {
    pub(super) const FAMILY: u16 = 0x01;
    pub(super) const TRANSPORT: u16 = 0x02;
    pub(super) const SOURCE_V4: u16 = 0x03;
    pub(super) const DESTINATION_V4: u16 = 0x04;
    pub(super) const SOURCE_V6: u16 = 0x05;
    pub(super) const DESTINATION_V6: u16 = 0x06;
    pub(super) const SOURCE_PORT: u16 = 0x07;
    pub(super) const DESTINATION_PORT: u16 = 0x08;
    pub(super) const SECONDS: u16 = 0x09;
    pub(super) const MICROSECONDS: u16 = 0x0a;
    pub(super) const PROTOCOL: u16 = 0x0b;
    pub(super) const AGENT: u16 = 0x0c;
    pub(super) const KEY: u16 = 0x0e;
    pub(super) const PAYLOAD: u16 = 0x0f;
    pub(super) const COMPRESSED_PAYLOAD: u16 = 0x10;
    pub(super) const CORRELATION: u16 = 0x11;
}

/// The protocol of a report that is read.
const SIP: u8 = 1;

#[derive(Default)]
struct Chunks<'a> {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    transport: Option<u8>,
    seconds: Option<u32>,
    microseconds: u32,
    protocol: Option<u8>,
    agent: u32,
    key: &'a [u8],
    correlation: &'a [u8],
    payload: Option<&'a [u8]>,
    is_compressed: bool,
}

/// Reads a datagram, each byte once. Chunks of other vendors and of types that are not known are passed over; of one that comes
/// twice the last counts.
pub fn parse(datagram: &[u8]) -> Result<Report<'_>, ParseError> {
    let short = ParseError::Short(datagram.len());
    if !MAGIC.starts_with(datagram.get(..MAGIC.len()).unwrap_or(datagram)) {
        return Err(ParseError::Version);
    }
    let length = datagram.get(4..HEADER).and_then(|bytes| bytes.try_into().ok()).ok_or(short)?;
    let length = usize::from(u16::from_be_bytes(length));
    let mut rest = datagram.get(HEADER..length).ok_or(short)?;
    let mut chunks = Chunks::default();
    while let Some(([v0, v1, k0, k1, l0, l1], after)) = rest.split_first_chunk::<CHUNK_HEADER>() {
        let kind = u16::from_be_bytes([*k0, *k1]);
        let wrong = ParseError::Chunk { kind, at: length - rest.len() };
        let value = usize::from(u16::from_be_bytes([*l0, *l1])).checked_sub(CHUNK_HEADER).ok_or(wrong)?;
        let (value, after) = after.split_at_checked(value).ok_or(wrong)?;
        if (*v0, *v1) == (0, 0) {
            chunks.read(kind, value).ok_or(wrong)?;
        }
        rest = after;
    }
    if !rest.is_empty() {
        return Err(short);
    }
    chunks.report()
}

impl<'a> Chunks<'a> {
    /// `None`: the value has another length.
    fn read(&mut self, kind: u16, value: &'a [u8]) -> Option<()> {
        match kind {
            kind::TRANSPORT => self.transport = Some(number(value)?),
            kind::SOURCE_V4 => self.source = Some(v4(value)?),
            kind::DESTINATION_V4 => self.destination = Some(v4(value)?),
            kind::SOURCE_V6 => self.source = Some(v6(value)?),
            kind::DESTINATION_V6 => self.destination = Some(v6(value)?),
            kind::SOURCE_PORT => self.source_port = Some(u16::from_be_bytes(value.try_into().ok()?)),
            kind::DESTINATION_PORT => {
                self.destination_port = Some(u16::from_be_bytes(value.try_into().ok()?));
            }
            kind::SECONDS => self.seconds = Some(u32::from_be_bytes(value.try_into().ok()?)),
            kind::MICROSECONDS => self.microseconds = u32::from_be_bytes(value.try_into().ok()?),
            kind::PROTOCOL => self.protocol = Some(number(value)?),
            kind::AGENT => self.agent = u32::from_be_bytes(value.try_into().ok()?),
            kind::KEY => self.key = value,
            kind::PAYLOAD => self.payload = Some(value),
            kind::COMPRESSED_PAYLOAD => self.is_compressed = true,
            kind::CORRELATION => self.correlation = value,
            // The family is told by the addresses, and its number differs between systems.
            _ => {}
        }
        Some(())
    }

    fn report(self) -> Result<Report<'a>, ParseError> {
        let missing = ParseError::Missing;
        match self.protocol {
            None => return Err(missing(kind::PROTOCOL)),
            Some(SIP) => {}
            Some(other) => return Err(ParseError::NotSip(other)),
        }
        if self.is_compressed {
            return Err(ParseError::Compressed);
        }
        let source = self.source.ok_or(missing(kind::SOURCE_V4))?;
        let destination = self.destination.ok_or(missing(kind::DESTINATION_V4))?;
        if source.is_unspecified() && destination.is_unspecified() {
            return Err(ParseError::Address);
        }
        let micros = u64::from(self.microseconds.min(999_999));
        let at = self
            .seconds
            .map(|seconds| Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000 + micros * 1_000));
        Ok(Report {
            source,
            source_port: self.source_port.ok_or(missing(kind::SOURCE_PORT))?,
            destination,
            destination_port: self.destination_port.ok_or(missing(kind::DESTINATION_PORT))?,
            transport: Transport::from_number(self.transport.ok_or(missing(kind::TRANSPORT))?),
            at,
            agent: self.agent,
            key: self.key,
            correlation: self.correlation,
            payload: self.payload.ok_or(missing(kind::PAYLOAD))?,
        })
    }
}

fn number(value: &[u8]) -> Option<u8> {
    match value {
        [number] => Some(*number),
        _ => None,
    }
}

fn v4(value: &[u8]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into())
}

/// An IPv4 address in an IPv6 coat is that IPv4 address.
fn v6(value: &[u8]) -> Option<IpAddr> {
    Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)).to_canonical())
}

/// Writes a report as its senders do, for tests and for traffic programs; `None` if it is longer than 65,535 bytes.
pub fn encode(report: &Report<'_>) -> Option<Vec<u8>> {
    let Report { source, source_port, destination, destination_port, .. } = *report;
    let Report { transport, at, agent, key, correlation, payload, .. } = *report;
    let mut bytes = [&MAGIC[..], &[0, 0]].concat();
    let mut chunk = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + CHUNK_HEADER).ok()?;
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value);
        Some(())
    };
    let is_v4 = source.is_ipv4() && destination.is_ipv4();
    chunk(kind::FAMILY, &[if is_v4 { 2 } else { 10 }])?;
    chunk(kind::TRANSPORT, &[transport.number()])?;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            chunk(kind::SOURCE_V4, &source.octets())?;
            chunk(kind::DESTINATION_V4, &destination.octets())?;
        }
        (source, destination) => {
            chunk(kind::SOURCE_V6, &octets(source))?;
            chunk(kind::DESTINATION_V6, &octets(destination))?;
        }
    }
    chunk(kind::SOURCE_PORT, &source_port.to_be_bytes())?;
    chunk(kind::DESTINATION_PORT, &destination_port.to_be_bytes())?;
    if let Some(at) = at {
        let (seconds, nanos) = (at.nanos() / 1_000_000_000, at.nanos() % 1_000_000_000);
        chunk(kind::SECONDS, &u32::try_from(seconds).ok()?.to_be_bytes())?;
        chunk(kind::MICROSECONDS, &u32::try_from(nanos / 1_000).ok()?.to_be_bytes())?;
    }
    chunk(kind::PROTOCOL, &[SIP])?;
    chunk(kind::AGENT, &agent.to_be_bytes())?;
    for (kind, value) in [(kind::KEY, key), (kind::CORRELATION, correlation)] {
        if !value.is_empty() {
            chunk(kind, value)?;
        }
    }
    chunk(kind::PAYLOAD, payload)?;
    let length = u16::try_from(bytes.len()).ok()?.to_be_bytes();
    bytes.get_mut(4..HEADER)?.copy_from_slice(&length);
    Some(bytes)
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
#[path = "hep_tests.rs"]
mod tests;
