//! A client of a host's API that sends what a test wants sent: one connection a request, no retries of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade::cli::Answer;
use palisade::runtime::files::LOCAL_TOKEN;
use serde_json::Value;

/// Longer than a host lets a command wait for a leader.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way to one host's API.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    token: PathBuf,
}

/// A write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The `Idempotency-Key`; none if empty.
    pub(crate) key: &'a str,
    pub(crate) body: &'a Value,
}

impl Door {
    /// To the host that listens there and keeps its data there.
    pub(crate) fn new(address: SocketAddr, data: &Path) -> Self {
        Self { address, token: data.join(LOCAL_TOKEN) }
    }

    /// Asks without a body.
    pub(crate) fn ask(&self, method: &str, path: &str) -> io::Result<Answer> {
        self.send(&Request { method, path, key: "", body: &Value::Null })
    }

    /// Sends a request once. The token is read each time: a host draws a new one at every start.
    pub(crate) fn send(&self, request: &Request<'_>) -> io::Result<Answer> {
        let token = std::fs::read_to_string(&self.token)?;
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(self.text(request, token.trim()).as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "the answer breaks off"))
    }

    fn text(&self, request: &Request<'_>, token: &str) -> String {
        let Request { method, path, key, body } = request;
        let address = self.address;
        let key = if key.is_empty() { String::new() } else { format!("idempotency-key: {key}\r\n") };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n{key}\
             connection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }
}

/// Reads a whole answer; nothing if its body is shorter than announced, as when the host was killed while it answered.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let fields = lines.filter_map(|line| line.split_once(": "));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = lengths.next()?.1.parse().ok()?;
    let body = bytes.get(end + 4..).filter(|body| body.len() == length)?;
    Some(Answer { status, body: serde_json::from_slice(body).unwrap_or(Value::Null) })
}
