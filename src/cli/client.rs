//! The command line as a client of the host's own API: the same doors as the console, opened with the token that the
//! running host left in its data directory for whoever may read it.

#![expect(
    clippy::disallowed_methods,
    reason = "the command line is a shell: it reads files and opens connections"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::{Config, ConsoleSecurity};
use crate::runtime::files::LOCAL_TOKEN;

/// Bytes of an answer that are read at most: a full page of the longest list.
const MAX_ANSWER: usize = 8 << 20;

/// Where the host's API is, and how to come in.
pub struct Client {
    address: SocketAddr,
    token: String,
    pinned: Option<CertificateDer<'static>>,
}

/// A connection, in clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; null if there is none.
    pub body: Value,
}

/// Why the API could not be asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The token is not there or may not be read.
    #[error("read {} (is the host running, and may you read its data?)", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The console's certificate cannot be read.
    #[error("read certificate {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Nobody listens.
    #[error("connect to {address} (is `palisade serve` running?)")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// The conversation failed.
    #[error("talk HTTP")]
    Http(#[from] hyper::Error),
    /// The request could not be built.
    #[error("build the request")]
    Request(#[from] hyper::http::Error),
    /// The answer is too long or broken off.
    #[error("read the answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Client {
    /// A client for the host of this configuration.
    pub fn new(config: &Config) -> Result<Self, ClientError> {
        let path = config.data.join(LOCAL_TOKEN);
        let token = std::fs::read_to_string(&path).map_err(|source| ClientError::Token { path, source })?;
        let certificate = match &config.console.security {
            ConsoleSecurity::HostCertificate => Some(&config.cluster.certificate),
            ConsoleSecurity::Files { certificate, .. } => Some(certificate),
            ConsoleSecurity::PlainOnLoopback => None,
        };
        let read = |path: &PathBuf| {
            CertificateDer::from_pem_file(path)
                .map_err(|source| ClientError::Certificate { path: path.clone(), source })
        };
        let pinned = certificate.map(read).transpose()?;
        Ok(Self { address: reachable(config.console.listen), token: token.trim().to_owned(), pinned })
    }

    /// Where the API is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection for whoever speaks HTTP over it by themselves; from this address of this machine if one is given.
    pub(super) async fn open(&self, from: Option<IpAddr>) -> Result<Box<dyn Stream>, ClientError> {
        let failed = |source| ClientError::Connect { address: self.address, source };
        let tcp = match from {
            None => TcpStream::connect(self.address).await.map_err(failed)?,
            Some(from) => {
                let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
                let socket = socket.map_err(failed)?;
                socket.bind(SocketAddr::new(from, 0)).map_err(failed)?;
                socket.connect(self.address).await.map_err(failed)?
            }
        };
        tcp.set_nodelay(true).map_err(failed)?;
        match &self.pinned {
            None => Ok(Box::new(tcp)),
            Some(certificate) => {
                let connector = tokio_rustls::TlsConnector::from(Arc::new(pinning(certificate)?));
                let name = ServerName::from(self.address.ip());
                Ok(Box::new(connector.connect(name, tcp).await.map_err(failed)?))
            }
        }
    }

    /// A request as it goes over such a connection.
    pub(super) fn text(&self, method: &str, path: &str, body: &str) -> String {
        let (address, token, length) = (self.address, &self.token, body.len());
        format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    /// Asks once. `body` is sent as JSON.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, ClientError> {
        let request = self.request(method, path, body)?;
        converse(self.open(None).await?, request).await
    }

    /// The same for a change of what has this version, and only if nobody else has changed it meanwhile.
    pub async fn ask_if_unchanged(
        &self,
        (method, path): (&str, &str),
        body: &Value,
        version: u64,
    ) -> Result<Answer, ClientError> {
        let mut request = self.request(method, path, Some(body))?;
        let tag = hyper::http::HeaderValue::from_str(&format!("\"{version}\""))
            .map_err(hyper::http::Error::from)?;
        request.headers_mut().insert(hyper::header::IF_MATCH, tag);
        converse(self.open(None).await?, request).await
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        Ok(Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(bytes)))?)
    }
}

async fn converse(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(ClientError::Body)?;
    driver.abort();
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    Ok(Answer { status: StatusCode::as_u16(&status), body })
}

/// An address on which a listener on `listen` can be reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(address) if address.is_unspecified() => (Ipv6Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => listen,
    }
}

fn pinning(certificate: &CertificateDer<'static>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned { certificate: certificate.clone(), provider: Arc::clone(&provider) };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Accepts exactly the certificate that the host's configuration names; names and dates do not matter then.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(
                "the console's certificate is not that of the configuration".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
