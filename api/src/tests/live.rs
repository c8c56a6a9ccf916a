//! The live stream.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use log_format::event::Evidence;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::world::{Client, Host};
use crate::{Limits, Transport};

/// Reads a stream message by message, as a browser does.
struct Reader {
    body: Incoming,
    text: String,
}

/// One message; a comment has no name.
#[derive(Debug, Default, PartialEq)]
struct Message {
    name: String,
    id: Option<u64>,
    data: Value,
}

impl Reader {
    async fn open(client: &Client, query: &str) -> Self {
        let response = client.open(Method::GET, &format!("/api/v1/events{query}"), "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next message, or nothing when the stream has ended.
    async fn next(&mut self) -> Option<Message> {
        while !self.text.contains("\n\n") {
            let frame = self.body.frame().await?.ok()?;
            self.text.push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
        }
        let (message, rest) = self.text.split_once("\n\n").unwrap();
        let mut parsed = Message::default();
        for line in message.lines() {
            match line.split_once(':').unwrap() {
                ("event", name) => parsed.name = name.to_owned(),
                ("id", id) => parsed.id = Some(id.parse().unwrap()),
                ("data", data) => parsed.data = serde_json::from_str(data).unwrap(),
                ("", "") => {}
                (field, _) => panic!("unknown field {field}"),
            }
        }
        self.text = rest.to_owned();
        Some(parsed)
    }

    async fn expect(&mut self, name: &str) -> Message {
        let message = self.next().await.unwrap();
        assert_eq!(message.name, name, "{message:?}");
        message
    }
}

const FACTS: &str = "?topics=attack,block,release,denied,allowed,settings";

#[tokio::test]
async fn facts_arrive_as_they_are_applied() {
    let host = Host::start();
    let client = host.signed_in().await;
    let before = host.world.applied();
    let mut reader = Reader::open(&client, FACTS).await;
    let hello = reader.expect("hello").await;
    assert_eq!(hello.id, None);
    assert_eq!(
        hello.data,
        json!({ "build": "b1", "as_of": before.get(), "now": "2026-01-01T00:00:00.000000Z" })
    );

    let index = host.world.attack("45.143.9.131", b"friendly-scanner", Evidence::Proven);
    let attack = reader.expect("attack").await;
    assert_eq!(attack.id, None, "the entry has another message");
    let block = reader.expect("block").await;
    assert_eq!(block.id, Some(index.get()));
    assert_eq!(attack.data, client.get("/api/v1/attacks").await.json()["items"][0]);
    assert_eq!(block.data, client.get("/api/v1/blocks").await.json()["items"][0]);

    client.delete("/api/v1/blocks/45.143.9.131?allow_seconds=600").await;
    let release = reader.expect("release").await;
    let index = host.world.applied().get();
    let expected =
        json!({ "address": "45.143.9.131", "cause": "manual", "by": "administrator", "log_index": index });
    assert_eq!(release.data, expected);
    let allowed = reader.expect("allowed").await;
    assert_eq!((&allowed.data["network"], allowed.id), (&json!("45.143.9.131"), Some(index)));

    let settings = client.clone().with("if-match", "\"0\"");
    let mut wanted = client.get("/api/v1/settings/firewall").await.json();
    wanted["mode"] = json!("watch");
    settings.put("/api/v1/settings/firewall", &wanted).await;
    let changed = reader.expect("settings").await;
    assert_eq!(changed.data, json!({ "by": "administrator", "log_index": host.world.applied().get() }));
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_id() {
    let host = Host::start();
    let first = host.world.attack("192.0.2.1", b"sipsak", Evidence::Proven);
    let second = host.world.attack("192.0.2.2", b"sipsak", Evidence::Proven);
    let client = host.local().with("last-event-id", &first.to_string());
    let mut reader = Reader::open(&client, "?topics=block").await;
    reader.expect("hello").await;
    let block = reader.expect("block").await;
    assert_eq!((block.id, &block.data["address"]), (Some(second.get()), &json!("192.0.2.2")));
    let third = host.world.attack("192.0.2.3", b"sipsak", Evidence::Proven);
    assert_eq!(reader.expect("block").await.id, Some(third.get()), "nothing comes twice");
}

#[tokio::test]
async fn a_long_gap_is_made_up_for_in_order() {
    let host = Host::start();
    let start = host.world.applied();
    for number in 0..200 {
        host.world.attack(&format!("198.51.100.{number}"), b"sipsak", Evidence::Proven);
    }
    let client = host.local().with("last-event-id", &start.to_string());
    let mut reader = Reader::open(&client, "?topics=attack").await;
    reader.expect("hello").await;
    for number in 0..200 {
        assert_eq!(reader.expect("attack").await.data["source"], format!("198.51.100.{number}"));
    }
}

#[tokio::test]
async fn an_id_that_is_gone_or_was_never_there_asks_for_a_fresh_start() {
    let host = Host::start();
    let seen = host.world.applied();
    host.world.attack("192.0.2.1", b"sipsak", Evidence::Proven);
    host.world.forget_log();
    for id in [seen.to_string(), "999999".to_owned(), "abc".to_owned()] {
        let mut reader = Reader::open(&host.local().with("last-event-id", &id), FACTS).await;
        reader.expect("hello").await;
        let resync = reader.expect("resync").await;
        let applied = host.world.applied().get();
        assert_eq!((resync.id, resync.data), (Some(applied), json!({ "as_of": applied })), "{id}");
    }
}

#[tokio::test]
async fn silence_is_filled_with_comments_that_move_the_id() {
    let limits = Limits { heartbeat: Duration::from_millis(10), ..Limits::default() };
    let host = Host::start_with(Transport::PlainOnLoopback, limits, vec![]);
    let mut reader = Reader::open(&host.local(), "?topics=settings").await;
    reader.expect("hello").await;
    let applied = host.world.applied().get();
    assert_eq!(reader.next().await.unwrap(), Message { id: Some(applied), ..Message::default() });
    let index = host.world.attack("192.0.2.1", b"sipsak", Evidence::Proven).get();
    while reader.next().await.unwrap().id != Some(index) {}
}

#[tokio::test]
async fn the_hosts_soft_state_comes_at_once_and_when_it_changes() {
    let limits = Limits { hosts_interval: Duration::from_millis(10), ..Limits::default() };
    let host = Host::start_with(Transport::PlainOnLoopback, limits, vec![]);
    let mut reader = Reader::open(&host.local(), "?topics=hosts").await;
    reader.expect("hello").await;
    let hosts = reader.expect("hosts").await;
    assert_eq!(hosts.id, None);
    assert_eq!(hosts.data, host.local().get("/api/v1/hosts").await.json());
    host.world.enforce(1, host.world.applied());
    assert_eq!(reader.expect("hosts").await.data["items"][0]["enforced"], host.world.applied().get());
}

#[tokio::test]
async fn signing_out_ends_the_sessions_streams() {
    let limits = Limits { heartbeat: Duration::from_millis(10), ..Limits::default() };
    let host = Host::start_with(Transport::PlainOnLoopback, limits, vec![]);
    let client = host.signed_in().await;
    let mut reader = Reader::open(&client, FACTS).await;
    client.delete("/api/v1/session").await;
    while reader.next().await.is_some() {}
}

#[tokio::test]
async fn streams_are_bounded_by_session_and_by_host() {
    let limits = Limits { streams: 3, streams_per_session: 2, ..Limits::default() };
    let host = Host::start_with(Transport::PlainOnLoopback, limits, vec![]);
    let (one, other) = (host.signed_in().await, host.signed_in().await);
    let (_first, second) = (Reader::open(&one, FACTS).await, Reader::open(&one, FACTS).await);
    let answer = one.get("/api/v1/events").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too_many_streams"));
    let _third = Reader::open(&other, FACTS).await;
    assert_eq!(host.local().get("/api/v1/events").await.code(), "too_many_streams", "the host has three");
    drop(second);
    // A place is free as soon as the server has noticed that its reader is gone.
    while one.open(Method::GET, "/api/v1/events", "").await.status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let limits = Limits {
        stalled_write_time: Duration::from_millis(50),
        stream_messages: 1,
        heartbeat: Duration::from_secs(3_600),
        ..Limits::default()
    };
    let host = Host::start_with(Transport::PlainOnLoopback, limits, vec![]);
    let seen = host.world.applied();
    // Far more than the sockets' buffers hold: the kernel gives a sender 4 MiB at most.
    for number in 0..12_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        host.world.attack(&format!("10.{a}.{b}.{c}"), &[b'A'; 200], Evidence::Unproven);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(host.server.address()).await.unwrap();
    let request = format!(
        "GET /api/v1/events?topics=attack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nLast-Event-ID: {seen}\r\n\r\n",
        host.local_token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H', "the stream has begun");
    host.world.until_no_reader().await;
    let mut taken = Vec::new();
    drop(stream.read_to_end(&mut taken).await);
    assert!(!taken.ends_with(b"0\r\n\r\n"), "the connection was cut, the stream did not end");
}
