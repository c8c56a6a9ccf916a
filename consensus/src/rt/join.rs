//! How somebody without a certificate gets one, and how a member gets its next one.
//!
//! ```text
//!  joiner                                                 member
//!  knows J1.<hash of the authority's key>.<id>.<secret>
//!    ── TLS, no client certificate, ALPN palisade-join ──>
//!    <── chain with the authority: its key's hash is checked before anything is sent
//!    ── Join{token id, public key, details, signatures} ─> JoinDesk: looks the token up, checks, signs
//!    <── Certified{certificate, authorities, details}
//! ```
//!
//! Both signatures cover the TLS exporter, so they are worth nothing on another connection. One is by the key to be
//! certified: it is the joiner's own. The other is by a key that the token's secret is the seed of: the log holds its public
//! half only, with which nobody can join. The secret itself never travels.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use log_format::ids::{ClusterId, HostId};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, UnparsedPublicKey,
};
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frame::{self, Extra, Frame};
use super::proto::peer;
use super::tls::{self, PeerTls, TlsSetup, TlsSetupError};

/// The largest request: taken from strangers.
pub(super) const MAX_REQUEST: usize = 8 << 10;
/// The largest answer: a certificate, two authorities, and the members.
const MAX_ANSWER: usize = 256 << 10;
/// Making a connection must not take longer.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// The answer must not take longer: a leader has to be found and an entry committed.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Why a host that was let go gets no certificate.
const LET_GO: &str = "the host does not belong to the cluster any more";
const EXPORTER: &[u8] = b"EXPORTER-palisade-join-1";
const VERSION: &str = "J1";

/// Lets whoever holds it join once.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    authority: [u8; 32],
    id: [u8; 16],
    secret: [u8; 32],
}

/// Why a text is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not have four parts with dots between, the first of them the version.
    #[error("a join token looks like J1.<authority>.<id>.<secret>; copy it whole")]
    Shape,
    /// A part is damaged.
    #[error("the {part} of the join token is damaged; copy it whole")]
    Part {
        /// Which.
        part: &'static str,
    },
}

impl JoinToken {
    /// A token for the cluster whose authority has a key with this hash. `id` and `secret` are random.
    pub const fn new(authority: [u8; 32], id: [u8; 16], secret: [u8; 32]) -> Self {
        Self { authority, id, secret }
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [VERSION, authority, id, secret] = parts.as_slice() else {
            return Err(TokenError::Shape);
        };
        Ok(Self {
            authority: decode(authority, "authority")?,
            id: decode(id, "id")?,
            secret: decode(secret, "secret")?,
        })
    }

    /// The token's public name.
    pub const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// What the log holds: tells whether a proof is by the secret, and proves nothing itself.
    pub fn verifier(&self) -> Option<[u8; 32]> {
        self.key().and_then(|key| key.public_key().as_ref().try_into().ok())
    }

    fn key(&self) -> Option<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(&self.secret).ok()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authority, id, secret } = self;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        write!(f, "{VERSION}.{}.{}.{}", encode(authority), encode(id), encode(secret))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", URL_SAFE_NO_PAD.encode(self.id))
    }
}

fn decode<const N: usize>(text: &str, part: &'static str) -> Result<[u8; N], TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Part { part })?;
    bytes.try_into().map_err(|_| TokenError::Part { part })
}

/// A key of this host's own, made here; it never leaves the host.
pub struct HostKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

impl HostKey {
    /// Draws one.
    pub fn generate() -> Result<Self, JoinError> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| JoinError::Key)?;
        let pkcs8 = document.as_ref().to_vec();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random).map_err(|_| JoinError::Key)?;
        Ok(Self { pair, pkcs8 })
    }

    /// The key in PEM, to be kept readable by this host alone.
    pub fn pem(&self) -> String {
        tls::pem("PRIVATE KEY", &self.pkcs8)
    }

    /// Its public half: P-256, uncompressed.
    pub fn public_key(&self) -> Bytes {
        Bytes::copy_from_slice(self.pair.public_key().as_ref())
    }

    fn sign(&self, text: &[u8]) -> Result<Bytes, JoinError> {
        let signature = self.pair.sign(&SystemRandom::new(), text).map_err(|_| JoinError::Key)?;
        Ok(Bytes::copy_from_slice(signature.as_ref()))
    }
}

/// What a joiner asks for. That the public key is its own has been checked.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The token's public name.
    pub token: [u8; 16],
    /// The public key to be certified: P-256, uncompressed.
    pub public_key: Bytes,
    /// Opaque: who it wants to be.
    pub details: Bytes,
    text: Vec<u8>,
    signature: Bytes,
}

impl JoinRequest {
    /// Whether it comes from whoever holds the secret that `verifier` belongs to.
    pub fn is_proven_by(&self, verifier: &[u8; 32]) -> bool {
        UnparsedPublicKey::new(&ED25519, verifier).verify(&self.text, &self.signature).is_ok()
    }
}

/// What becomes of a request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certified {
    /// Here it is.
    Issued {
        /// The certificate.
        certificate_pem: Vec<u8>,
        /// The authorities to trust.
        ca_pem: Vec<u8>,
        /// Opaque: what a new host has to know.
        details: Bytes,
    },
    /// Another host signs; ask there.
    Elsewhere {
        /// Its address.
        address: SocketAddr,
    },
    /// No.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// The future of an answer.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Certified> + Send + 'a>>;

/// Whoever may sign certificates, or knows who may. Called for strangers: it must cost little to say no.
pub trait JoinDesk: Send + Sync + 'static {
    /// Somebody shows a token.
    fn join(&self, request: JoinRequest) -> Answer<'_>;

    /// A member wants its next certificate, for this public key, which has been checked to be its own.
    fn renew(&self, host: HostId, public_key: Bytes) -> Answer<'_>;

    /// Whether this host belonged to the cluster once and was let go. A host that is not known yet was not.
    fn was_let_go(&self, host: HostId) -> bool;

    /// Whether a host with a certificate of the cluster may have joined since this host last heard who belongs to it.
    fn may_be_new(&self, host: HostId) -> bool {
        let _ = host;
        false
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No key could be made or used.
    #[error("make a key")]
    Key,
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[from] TlsSetupError),
    /// The host cannot be reached, or is not who the token or the authority says.
    #[error("connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("no answer from {address} in time")]
    Silent {
        /// Where.
        address: SocketAddr,
    },
    /// The exchange broke off: the host does not serve it, or does not speak it.
    #[error("the exchange with {address} broke off")]
    Broken {
        /// Where.
        address: SocketAddr,
    },
}

/// Asks the host at `address` to let this one in. The host is verified by the token before anything is sent.
pub async fn join(
    token: &JoinToken,
    address: SocketAddr,
    key: &HostKey,
    details: Bytes,
) -> Result<Certified, JoinError> {
    let mut stream = connect(tls::pinned_client(token.authority)?, address).await?;
    let text = text(&exporter(stream.get_ref().1, address)?, &[&token.id, &key.public_key(), &details]);
    let mut request = peer::Join::new();
    request.token_id = Bytes::copy_from_slice(&token.id);
    request.public_key = key.public_key();
    request.details = details;
    request.key_signature = key.sign(&text)?;
    let proof = token.key().ok_or(JoinError::Key)?.sign(&text);
    request.token_signature = Bytes::copy_from_slice(proof.as_ref());
    ask(&mut stream, &Extra::Join(request), address).await
}

/// Asks the host at `address` for this member's next certificate.
pub async fn renew(
    tls: &PeerTls,
    (cluster, host): (ClusterId, HostId),
    address: SocketAddr,
    key: &HostKey,
) -> Result<Certified, JoinError> {
    let setup = TlsSetup::new(tls, cluster, host)?;
    let mut stream = connect((*setup.renew_client).clone(), address).await?;
    let text = text(&exporter(stream.get_ref().1, address)?, &[&key.public_key()]);
    let mut request = peer::Renew::new();
    request.public_key = key.public_key();
    request.key_signature = key.sign(&text)?;
    ask(&mut stream, &Extra::Renew(request), address).await
}

async fn connect(
    config: rustls::ClientConfig,
    address: SocketAddr,
) -> Result<TlsStream<TcpStream>, JoinError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let connected = timeout(CONNECT_TIME, connecting).await.map_err(|_| JoinError::Silent { address })?;
    connected.map_err(|source| JoinError::Connect { address, source })
}

async fn ask(
    stream: &mut TlsStream<TcpStream>,
    request: &Extra,
    address: SocketAddr,
) -> Result<Certified, JoinError> {
    let broken = || JoinError::Broken { address };
    let request = frame::encode_extra(request).ok_or_else(broken)?;
    let asking = async {
        stream.write_all(&request).await.map_err(|_| broken())?;
        stream.flush().await.map_err(|_| broken())?;
        frame::read(stream, MAX_ANSWER).await.map_err(|_| broken())
    };
    match timeout(ANSWER_TIME, asking).await.map_err(|_| JoinError::Silent { address })?? {
        Frame::Extra(Extra::Certified(answer)) => from_wire(answer).ok_or_else(broken),
        Frame::LetGo => Ok(Certified::Refused { reason: LET_GO.to_owned() }),
        Frame::Extra(_) | Frame::Hello(_) | Frame::Message(_) | Frame::Idle | Frame::MadeAnew => {
            Err(broken())
        }
    }
}

fn exporter<D>(connection: &rustls::ConnectionCommon<D>, address: SocketAddr) -> Result<[u8; 32], JoinError> {
    export(connection).ok_or(JoinError::Broken { address })
}

/// A secret of both ends of this connection and of nobody else.
pub(super) fn export<D>(connection: &rustls::ConnectionCommon<D>) -> Option<[u8; 32]> {
    connection.export_keying_material([0; 32], EXPORTER, None).ok()
}

/// What is signed.
fn text(exporter: &[u8; 32], parts: &[&[u8]]) -> Vec<u8> {
    let mut text = b"palisade join 1\0".to_vec();
    text.extend_from_slice(exporter);
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    text
}

/// Checks a request as far as that can be done without knowing the token.
pub(super) fn check_join(request: peer::Join, exporter: &[u8; 32]) -> Option<JoinRequest> {
    let token = request.token_id.as_ref().try_into().ok()?;
    let text = text(exporter, &[&request.token_id, &request.public_key, &request.details]);
    is_own_key(&request.public_key, &text, &request.key_signature).then(|| JoinRequest {
        token,
        public_key: request.public_key,
        details: request.details,
        text,
        signature: request.token_signature,
    })
}

/// The public key of a renewal, if it is the asker's own.
pub(super) fn check_renewal(request: peer::Renew, exporter: &[u8; 32]) -> Option<Bytes> {
    let text = text(exporter, &[&request.public_key]);
    is_own_key(&request.public_key, &text, &request.key_signature).then_some(request.public_key)
}

fn is_own_key(public_key: &[u8], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key).verify(text, signature).is_ok()
}

pub(super) fn to_wire(answer: Certified) -> Extra {
    let mut wire = peer::Certified::new();
    match answer {
        Certified::Issued { certificate_pem, ca_pem, details } => {
            wire.kind = peer::Certified_Kind::ISSUED;
            wire.certificate_pem = certificate_pem.into();
            wire.ca_pem = ca_pem.into();
            wire.details = details;
        }
        Certified::Elsewhere { address } => {
            wire.kind = peer::Certified_Kind::ELSEWHERE;
            wire.detail = address.to_string();
        }
        Certified::Refused { reason } => {
            wire.kind = peer::Certified_Kind::REFUSED;
            wire.detail = reason;
        }
    }
    Extra::Certified(wire)
}

fn from_wire(wire: peer::Certified) -> Option<Certified> {
    Some(match wire.kind {
        peer::Certified_Kind::ISSUED => Certified::Issued {
            certificate_pem: wire.certificate_pem.to_vec(),
            ca_pem: wire.ca_pem.to_vec(),
            details: wire.details,
        },
        peer::Certified_Kind::ELSEWHERE => Certified::Elsewhere { address: wire.detail.parse().ok()? },
        peer::Certified_Kind::REFUSED => Certified::Refused { reason: wire.detail },
    })
}
