//! TLS 1.3 from PEM, or plain HTTP where nobody but this machine can listen.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// How the server is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum Transport {
    /// HTTPS.
    Tls {
        /// The certificate and those up to its authority.
        certificates_pem: Vec<u8>,
        /// Its private key.
        key_pem: Vec<u8>,
    },
    /// Plain HTTP; refused unless the server listens on loopback.
    PlainOnLoopback,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls { .. } => "Tls",
            Self::PlainOnLoopback => "PlainOnLoopback",
        })
    }
}

/// A transport that cannot be served.
#[derive(Debug, Error)]
pub enum TransportError {
    /// Passwords would travel in clear.
    #[error("plain http is for loopback addresses only, not for {0}")]
    PlainBeyondLoopback(SocketAddr),
    /// The certificates are not PEM.
    #[error("read certificates")]
    Certificates(#[source] rustls::pki_types::pem::Error),
    /// The key is not PEM.
    #[error("read private key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// Certificate and key do not fit.
    #[error("use certificate and private key")]
    Pair(#[source] rustls::Error),
}

/// Prepares the transport; `None`: plain HTTP.
pub(crate) fn acceptor(transport: &Transport, on: SocketAddr) -> Result<Option<TlsAcceptor>, TransportError> {
    match transport {
        Transport::PlainOnLoopback if on.ip().to_canonical().is_loopback() => Ok(None),
        Transport::PlainOnLoopback => Err(TransportError::PlainBeyondLoopback(on)),
        Transport::Tls { certificates_pem, key_pem } => acceptor_of(certificates_pem, key_pem).map(Some),
    }
}

/// Prepares TLS with this certificate.
pub(crate) fn acceptor_of(certificates_pem: &[u8], key_pem: &[u8]) -> Result<TlsAcceptor, TransportError> {
    Ok(TlsAcceptor::from(Arc::new(server_config(certificates_pem, key_pem)?)))
}

fn server_config(certificates_pem: &[u8], key_pem: &[u8]) -> Result<ServerConfig, TransportError> {
    let certificates = CertificateDer::pem_slice_iter(certificates_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TransportError::Certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(TransportError::Key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TransportError::Pair)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(TransportError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
