//! A running cluster under load: so many connections, each of which writes again as soon as it has its answer. Every write
//! is a block of an address with a note that makes its event as long as the benchmark says; an address that is blocked
//! already is blocked anew, for longer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use log_format::codec;
use log_format::event::{Actor, AddressBlocked, BlockReason, DenylistEvent, Event, Sanction, Scope, Text};
use log_format::ids::BlockId;
use log_format::time::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::figure::{self, Times, micros, rounded};
use crate::cli::client::Stream;
use crate::cli::{Client, Failure};
use crate::config::Config;

/// Bytes of an event's payload, as its codec writes it.
const EVENT: usize = 256;
/// Connections of one loopback address: the host takes 64 from each, so the next ones come from the next address.
const CLIENTS_OF_ADDRESS: u16 = 60;
/// Addresses that each connection blocks in turn.
const ADDRESSES: u16 = 256;
/// For how long an address is blocked: longer than any measurement.
const BLOCK_SECONDS: u64 = 86_400;
/// What goes before the measurement: connections, caches and a leader's first entries.
const WARM_UP: Duration = Duration::from_secs(1);
/// Bytes of an answer's head at most.
const MAX_HEAD: usize = 8_192;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Connections.
    pub(super) clients: u16,
    /// Blocks of each request.
    pub(super) events: u16,
    /// For how long, without the warm-up.
    pub(super) span: Duration,
}

/// What one connection saw.
#[derive(Debug, Default)]
struct Seen {
    times: Times,
    refused: u64,
}

/// Measures and prints.
pub(super) fn run(config: &Config, load: Load) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(anyhow::Error::from)?;
    runtime.block_on(measure(Client::new(config)?, load))
}

async fn measure(client: Client, load: Load) -> Result<(), Failure> {
    let role = role(&client).await?;
    let client = Arc::new(client);
    let started = Instant::now() + WARM_UP;
    let mut connections = Vec::new();
    for number in 0..load.clients {
        let client = Arc::clone(&client);
        connections.push(tokio::spawn(async move { write_on(&client, number, started, load).await }));
    }
    let mut seen = Seen::default();
    for connection in connections {
        let Seen { times, refused } = connection.await.context("a connection's task ended")??;
        seen.times.extend(times);
        seen.refused += refused;
    }
    print(&role, load, seen);
    Ok(())
}

async fn role(client: &Client) -> Result<String, Failure> {
    let cluster = client.ask("GET", "/cluster", None).await?.body;
    let text = |object: &Value, name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    if text(&cluster, "leader").is_none() {
        return Err(Failure::NoLeader);
    }
    let hosts = cluster.get("hosts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let this = hosts.iter().find(|host| host.get("this") == Some(&Value::Bool(true)));
    Ok(this.and_then(|host| text(host, "role")).unwrap_or_default())
}

fn print(role: &str, load: Load, seen: Seen) {
    let Seen { mut times, refused } = seen;
    let requests = times.count();
    let per_second = u32::try_from(requests).map_or(0.0, f64::from) / load.span.as_secs_f64();
    figure::print(
        "cluster-writes",
        [
            ("to", role.into()),
            ("clients", load.clients.into()),
            ("events_per_request", load.events.into()),
            ("event_bytes", EVENT.into()),
            ("requests", requests.into()),
            ("refused", refused.into()),
            ("per_second", rounded(per_second, 0)),
            ("events_per_second", rounded(per_second * f64::from(load.events), 0)),
            ("p50_us", micros(times.permille(500))),
            ("p99_us", micros(times.permille(990))),
            ("max_us", micros(times.permille(1_000))),
        ],
    );
}

async fn write_on(client: &Client, number: u16, started: Instant, load: Load) -> anyhow::Result<Seen> {
    let ended = started + load.span;
    let note = note();
    let mut connection = Connection { stream: client.open(source(client, number)).await?, read: Vec::new() };
    let text = |turn| {
        let (path, body) = request(number, turn, load.events, &note);
        client.text("POST", path, &body)
    };
    let requests: Vec<String> = (0..ADDRESSES / load.events).map(text).collect();
    let mut seen = Seen::default();
    for request in requests.iter().cycle() {
        let before = Instant::now();
        let status = connection.ask(request).await?;
        let after = Instant::now();
        if ended <= after {
            break;
        }
        match status {
            201 if started <= after => seen.times.push(after - before),
            201 => {}
            503 => seen.refused += 1,
            status => bail!("the host answers {status} to {}", request.lines().next().unwrap_or_default()),
        }
    }
    Ok(seen)
}

/// What a connection wishes in one turn: the path and the body. Made before the measurement, whose processors it shares.
fn request(number: u16, turn: u16, events: u16, note: &str) -> (&'static str, String) {
    let block = |place: u16| {
        let [high, low] = number.to_be_bytes();
        let [_, last] = (turn * events + place).to_be_bytes();
        json!({ "address": Ipv4Addr::new(20, high, low, last), "seconds": BLOCK_SECONDS, "note": note })
    };
    match events {
        1 => ("/blocks", block(0).to_string()),
        events => {
            ("/blocks/batch", json!({ "items": (0..events).map(block).collect::<Vec<_>>() }).to_string())
        }
    }
}

/// Where a connection comes from: loopback has more than one address.
fn source(client: &Client, number: u16) -> Option<IpAddr> {
    let last = u8::try_from(number / CLIENTS_OF_ADDRESS).unwrap_or(u8::MAX).saturating_add(1);
    let from = IpAddr::V4(Ipv4Addr::new(127, 1, 0, last));
    client.address().ip().is_loopback().then_some(from).filter(|_| client.address().is_ipv4())
}

/// A note that makes the event as long as it should be.
fn note() -> String {
    let event = |note: &str| {
        Event::Denylist(DenylistEvent::AddressBlocked(AddressBlocked {
            block: BlockId::new([0x5a; 16]),
            source: IpAddr::V4(Ipv4Addr::new(20, 0, 0, 1)),
            scope: Scope::Address,
            sanction: Sanction::Block,
            reason: BlockReason::Manual {
                by: Actor::Administrator(Text::new(b"local")),
                note: Text::new(note.as_bytes()),
            },
            until: Timestamp::from_seconds(1_800_000_000),
            strikes: 0,
        }))
    };
    let without = codec::encode(&event("")).map_or(0, |payload| payload.len());
    "n".repeat(EVENT.saturating_sub(without))
}

/// A connection that is kept alive.
struct Connection {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Connection {
    /// Asks once and gives the answer's status.
    async fn ask(&mut self, request: &str) -> anyhow::Result<u16> {
        self.stream.write_all(request.as_bytes()).await.context("send a request")?;
        self.read.clear();
        loop {
            let read = self.stream.read_buf(&mut self.read).await.context("read an answer")?;
            if read == 0 {
                bail!("the host closed a connection");
            }
            if let Some((status, length)) = head(&self.read) {
                if length <= self.read.len() {
                    return Ok(status);
                }
            } else if MAX_HEAD < self.read.len() {
                bail!("the answer's head is too long");
            }
        }
    }
}

/// The status of an answer, and how long head and body are together; nothing while the head is not whole.
fn head(read: &[u8]) -> Option<(u16, usize)> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(read.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = lengths.next()?.1.trim().parse().ok()?;
    Some((status, end.saturating_add(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 201 Created\r\nx: y\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(head(answer), Some((201, answer.len())));
        assert_eq!(head(&answer[..20]), None);
    }

    #[test]
    fn the_note_makes_the_event_as_long_as_it_should_be() {
        assert!((150..=256).contains(&note().len()), "{}", note().len());
    }
}
