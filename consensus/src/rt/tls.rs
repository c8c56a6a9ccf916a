//! Who a peer is: mutual TLS 1.3, both certificates from the cluster's own authority, the host named by a URI.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log_format::ids::{ClusterId, HostId};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Spoken on these connections and no other, so that a peer port and a web port cannot be taken for each other.
const ALPN: &[u8] = b"palisade-peer";
/// For whoever has no certificate yet: reaches the place where one is given, and nothing else.
pub(super) const JOIN_ALPN: &[u8] = b"palisade-join";
/// For members that want their certificate renewed, also one that has expired not long ago: reaches nothing else.
pub(super) const RENEW_ALPN: &[u8] = b"palisade-renew";
/// For how long a member with an expired certificate may still come for a new one: a host that was off for a while must be
/// able to return.
const RENEW_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a host shows and whom it trusts, in PEM.
#[derive(Clone)]
pub struct PeerTls {
    /// The cluster's authorities; two while one replaces the other.
    pub ca_pem: Vec<u8>,
    /// This host's certificate, then whatever leads from it to an authority.
    pub cert_pem: Vec<u8>,
    /// The certificate's key.
    pub key_pem: Vec<u8>,
}

/// Why the TLS material of a host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// Not PEM, or not what it should be.
    #[error("read {what} from PEM")]
    Pem {
        /// Which part.
        what: &'static str,
        /// The parser's reason.
        source: rustls_pki_types::pem::Error,
    },
    /// There is none.
    #[error("no {what} in PEM")]
    Missing {
        /// Which part.
        what: &'static str,
    },
    /// An authority's certificate is not one.
    #[error("use certificate of the authority")]
    Authority {
        /// The reason.
        source: webpki::Error,
    },
    /// This host's own certificate does not name it.
    #[error("own certificate")]
    OwnCertificate {
        /// The reason.
        source: IdentityError,
    },
    /// This host's own certificate names another one.
    #[error("own certificate names host {named}")]
    WrongHost {
        /// The host it names.
        named: HostId,
    },
    /// The certificate and the key do not fit, or the library refuses them.
    #[error("set up TLS")]
    Library {
        /// The library's reason.
        source: TlsError,
    },
}

/// Why a certificate names no host of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate.
    #[error("certificate cannot be read")]
    Unreadable,
    /// It must name exactly one.
    #[error("certificate names {count} hosts")]
    Names {
        /// How many it names.
        count: usize,
    },
    /// No authority in its chain has the key that the join token pins.
    #[error("no authority in the chain has the key that the join token names")]
    OtherAuthority,
    /// It belongs to another cluster.
    #[error("certificate is of cluster {cluster}")]
    OtherCluster {
        /// The cluster it names.
        cluster: ClusterId,
    },
}

/// The name that a host's certificate carries as a URI.
pub fn host_uri(cluster: ClusterId, host: HostId) -> String {
    format!("cluster:{cluster}/host/{host}")
}

/// The host that a certificate names, if it is one of `cluster`. Says nothing of who signed it.
pub fn host_of(certificate: &CertificateDer<'_>, cluster: ClusterId) -> Result<HostId, IdentityError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| IdentityError::Unreadable)?;
    let names: Vec<_> = parsed.valid_uri_names().filter_map(parse_uri).collect();
    match names.as_slice() {
        [(named, host)] if *named == cluster => Ok(*host),
        [(named, _)] => Err(IdentityError::OtherCluster { cluster: *named }),
        names => Err(IdentityError::Names { count: names.len() }),
    }
}

fn parse_uri(uri: &str) -> Option<(ClusterId, HostId)> {
    let (cluster, host) = uri.strip_prefix("cluster:")?.split_once("/host/")?;
    let parsed = (ClusterId::parse(cluster)?, HostId::new(host.parse().ok()?));
    // One spelling only: no leading zeros, signs or capitals.
    (host_uri(parsed.0, parsed.1) == uri && parsed.1.get() != 0).then_some(parsed)
}

/// Both sides of the handshake for one host.
#[derive(Clone)]
pub(super) struct TlsSetup {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// Asks for no certificate, and shows the authorities beside the host's own so that a pin can be checked.
    pub(super) join_server: Arc<ServerConfig>,
    /// Takes a certificate that has expired not long ago.
    pub(super) renew_server: Arc<ServerConfig>,
    pub(super) renew_client: Arc<ClientConfig>,
}

impl TlsSetup {
    pub(super) fn new(tls: &PeerTls, cluster: ClusterId, host: HostId) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&tls.cert_pem, "certificate")?;
        let named = chain.first().ok_or(IdentityError::Unreadable);
        let named = named.and_then(|certificate| host_of(certificate, cluster));
        let named = named.map_err(|source| TlsSetupError::OwnCertificate { source })?;
        if named != host {
            return Err(TlsSetupError::WrongHost { named });
        }
        let key = || {
            PrivateKeyDer::from_pem_slice(&tls.key_pem)
                .map_err(|source| TlsSetupError::Pem { what: "key", source })
        };
        let verifier = Arc::new(ClusterVerifier::new(&tls.ca_pem, cluster, &provider)?);
        let late = Arc::new(ClusterVerifier { grace: RENEW_GRACE, ..(*verifier).clone() });
        let library = |source| TlsSetupError::Library { source };
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(library)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(chain.clone(), key()?)
            .map_err(library)?;
        // Every connection shows and checks certificates anew, so what was valid once is no way in later.
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![ALPN.to_vec()];
        let mut renew_client = client.clone();
        renew_client.alpn_protocols = vec![RENEW_ALPN.to_vec()];
        let server = |clients: Arc<dyn ClientCertVerifier>, chain, alpn| {
            let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(library)?
                .with_client_cert_verifier(clients)
                .with_single_cert(chain, key()?)
                .map_err(library)?;
            Ok(Arc::new(without_memory(config, alpn)))
        };
        let mut long_chain = chain.clone();
        long_chain.extend(certificates(&tls.ca_pem, "authority")?);
        Ok(Self {
            client: Arc::new(client),
            renew_client: Arc::new(renew_client),
            server: server(verifier, chain.clone(), ALPN)?,
            renew_server: server(late, chain, RENEW_ALPN)?,
            join_server: server(WebPkiClientVerifier::no_client_auth(), long_chain, JOIN_ALPN)?,
        })
    }
}

/// What was valid once is no way in later.
fn without_memory(mut config: ServerConfig, alpn: &[u8]) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// A client for whoever knows nothing of the cluster but the hash of an authority's public key.
pub(super) fn pinned_client(pin: [u8; 32]) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsSetupError::Library { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedVerifier { pin, algorithms }))
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    Ok(client)
}

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER): what a join token pins.
pub fn key_hash(certificate: &CertificateDer<'_>) -> Result<[u8; 32], IdentityError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| IdentityError::Unreadable)?;
    let info = parsed.subject_public_key_info();
    let digest = ::ring::digest::digest(&::ring::digest::SHA256, info.as_ref());
    digest.as_ref().try_into().map_err(|_| IdentityError::Unreadable)
}

/// The hashes of all authorities in PEM, in their order; see [`key_hash`].
pub fn authority_hashes(ca_pem: &[u8]) -> Result<Vec<[u8; 32]>, TlsSetupError> {
    let authorities = certificates(ca_pem, "authority")?;
    let hashes = authorities.iter().map(key_hash).collect::<Result<_, _>>();
    hashes.map_err(|source| TlsSetupError::OwnCertificate { source })
}

/// The authority in PEM that signed the first of these certificates by itself, if one did; see [`key_hash`]. `at` is a moment at
/// which the certificate is good.
pub fn authority_of(cert_pem: &[u8], ca_pem: &[u8], at: UnixTime) -> Result<Option<[u8; 32]>, TlsSetupError> {
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let shown = certificates(cert_pem, "certificate")?;
    let shown = shown.first().ok_or(TlsSetupError::Missing { what: "certificate" })?;
    let shown = EndEntityCert::try_from(shown).map_err(|source| TlsSetupError::Authority { source })?;
    for authority in certificates(ca_pem, "authority")? {
        let anchor =
            anchor_from_trusted_cert(&authority).map_err(|source| TlsSetupError::Authority { source })?;
        let (usage, anchors) = (KeyUsage::server_auth(), [anchor]);
        if shown.verify_for_usage(algorithms.all, &anchors, &[], at, usage, None, None).is_ok() {
            let hash = key_hash(&authority).map_err(|source| TlsSetupError::OwnCertificate { source })?;
            return Ok(Some(hash));
        }
    }
    Ok(None)
}

/// A certificate in PEM.
pub fn certificate_pem(der: &[u8]) -> String {
    pem("CERTIFICATE", der)
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (place, letter) in STANDARD.encode(der).chars().enumerate() {
        if place != 0 && place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

/// The hash of the first authority in PEM; see [`key_hash`].
pub fn authority_hash(ca_pem: &[u8]) -> Result<[u8; 32], TlsSetupError> {
    let authorities = certificates(ca_pem, "authority")?;
    let first = authorities.first().ok_or(TlsSetupError::Missing { what: "authority" })?;
    key_hash(first).map_err(|source| TlsSetupError::OwnCertificate { source })
}

/// Accepts a server whose chain ends in the authority with the pinned key, if its own certificate names a host.
#[derive(Debug)]
struct PinnedVerifier {
    pin: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let is_pinned = |certificate: &&CertificateDer<'_>| key_hash(certificate) == Ok(self.pin);
        let authority = intermediates.iter().find(is_pinned);
        let authority = authority.ok_or_else(|| refused(IdentityError::OtherAuthority))?;
        let anchor = anchor_from_trusted_cert(authority).map_err(refused)?;
        let parsed = EndEntityCert::try_from(end_entity).map_err(refused)?;
        let usage = KeyUsage::server_auth();
        parsed
            .verify_for_usage(self.algorithms.all, &[anchor], intermediates, now, usage, None, None)
            .map_err(refused)?;
        match parsed.valid_uri_names().filter_map(parse_uri).count() {
            1 => Ok(ServerCertVerified::assertion()),
            count => Err(refused(IdentityError::Names { count })),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let parsed = parsed.map_err(|source| TlsSetupError::Pem { what, source })?;
    if parsed.is_empty() {
        return Err(TlsSetupError::Missing { what });
    }
    Ok(parsed)
}

/// Accepts a certificate if one of the cluster's authorities signed it and it names a host of the cluster. Which host, and
/// whether that is a member, is checked on the finished connection.
#[derive(Debug, Clone)]
struct ClusterVerifier {
    /// For how long an expired certificate of a client is good.
    grace: Duration,
    authorities: Vec<TrustAnchor<'static>>,
    cluster: ClusterId,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClusterVerifier {
    fn new(ca_pem: &[u8], cluster: ClusterId, provider: &CryptoProvider) -> Result<Self, TlsSetupError> {
        let authorities = certificates(ca_pem, "authority")?
            .iter()
            .map(|certificate| anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned()))
            .collect::<Result<_, _>>()
            .map_err(|source| TlsSetupError::Authority { source })?;
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { grace: Duration::ZERO, authorities, cluster, algorithms })
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), TlsError> {
        let parsed = EndEntityCert::try_from(certificate).map_err(refused)?;
        parsed
            .verify_for_usage(self.algorithms.all, &self.authorities, intermediates, now, usage, None, None)
            .map_err(refused)?;
        host_of(certificate, self.cluster).map(|_| ()).map_err(refused)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> TlsError {
    TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn no_tls12() -> TlsError {
    TlsError::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for ClusterVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for ClusterVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let verify = |at| self.verify(end_entity, intermediates, at, KeyUsage::client_auth());
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_sub(self.grace));
        // Good now, or good at the beginning of the grace.
        verify(now).or_else(|error| if self.grace.is_zero() { Err(error) } else { verify(then) })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
