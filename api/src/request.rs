//! A request as handlers see it: parts, remote address, a body that is read only when asked for, with a limit in size
//! and time.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::error::{ApiError, Code};
use crate::limits::Limits;

/// What the accept loop knows of a connection; travels as a request extension.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The other end.
    pub(crate) remote: SocketAddr,
    /// Notified to cut the connection at once: a reader too slow for its event stream.
    pub(crate) cut: Arc<Notify>,
}

/// A request's name in the log and in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Numbers requests; the prefix tells one run of the process from another.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// A sequence under a random prefix.
    pub(crate) const fn new(prefix: u32) -> Self {
        Self { prefix, next: AtomicU64::new(1) }
    }

    /// The next name.
    pub(crate) fn next(&self) -> RequestId {
        RequestId(format!("{:08x}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A body not yet read. A handler that does not ask for it never holds it in memory.
pub(crate) struct Body {
    stream: BoxStream<'static, Result<Bytes, warp::Error>>,
    largest: usize,
    within: Duration,
}

impl Body {
    /// Wraps the connection's stream.
    pub(crate) fn new<S, B>(stream: S, limits: &Limits) -> Self
    where
        S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
        B: Buf,
    {
        let stream = stream.map(|part| part.map(|mut bytes| bytes.copy_to_bytes(bytes.remaining()))).boxed();
        Self { stream, largest: limits.body_bytes, within: limits.body_time }
    }

    async fn read(self) -> Result<Bytes, ApiError> {
        let (largest, within) = (self.largest, self.within);
        match tokio::time::timeout(within, self.collect()).await {
            Ok(read) => read,
            Err(_) => Err(ApiError::new(
                Code::IncompleteBody,
                format!("the body must arrive within {} seconds", within.as_secs()),
            )
            .closing()),
        }
        .inspect_err(|_| tracing::debug!(largest, "request body refused"))
    }

    async fn collect(mut self) -> Result<Bytes, ApiError> {
        let mut read = BytesMut::new();
        while let Some(part) = self.stream.next().await {
            let part = part.map_err(|_| {
                ApiError::new(Code::IncompleteBody, "the body broke off; send the request again").closing()
            })?;
            if self.largest < read.len().saturating_add(part.len()) {
                return Err(too_large(self.largest));
            }
            read.extend_from_slice(&part);
        }
        Ok(read.freeze())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("largest", &self.largest).finish_non_exhaustive()
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) connection: Connection,
    pub(crate) body: Body,
}

impl Request {
    /// The other end's address, canonical (no IPv4-mapped IPv6).
    pub(crate) fn address(&self) -> IpAddr {
        self.connection.remote.ip().to_canonical()
    }

    /// A header as text; `None` if it is absent or not visible ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the query string; unknown and repeated parameters are errors.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_urlencoded::from_str(&self.query).map_err(|error| {
            ApiError::new(Code::InvalidParameter, format!("the query cannot be read: {error}"))
        })
    }

    /// Reads the body: bytes for the idempotency hash, and the JSON in them.
    pub(crate) async fn json<T: DeserializeOwned>(
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, T), ApiError> {
        check_declared_body(headers, body.largest)?;
        let bytes = body.read().await?;
        let parsed = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::new(Code::InvalidJson, format!("the body cannot be read: {error}")))?;
        Ok((bytes, parsed))
    }
}

/// Refuses a body by what its headers say, before a byte of it is read. Nothing is ever decompressed.
fn check_declared_body(headers: &HeaderMap, largest: usize) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| largest < length) {
        return Err(too_large(largest));
    }
    let kind = text(CONTENT_TYPE).and_then(|kind| kind.split(';').next()).map(str::trim);
    let is_json = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    if !is_json || headers.contains_key(CONTENT_ENCODING) {
        let advice = "send the body as content-type application/json, without content-encoding";
        return Err(ApiError::new(Code::UnsupportedMediaType, advice).closing());
    }
    Ok(())
}

fn too_large(largest: usize) -> ApiError {
    ApiError::new(Code::BodyTooLarge, format!("a body may have {largest} bytes")).closing()
}
