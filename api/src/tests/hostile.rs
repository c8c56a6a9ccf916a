//! What strangers send: slow, large, malformed, in another protocol.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::Host;
use crate::{Limits, Transport};

/// Sends bytes and reads until the server closes.
async fn exchange(host: &Host, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(host.server.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await
}

/// Below hyper's own time limit for headers, which must not be the one that closes.
const DEADLINE: Duration = Duration::from_secs(20);

/// What came until the connection ended; a reset is an end too.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut read)).await;
    drop(ended.expect("the server closes the connection"));
    String::from_utf8_lossy(&read).into_owned()
}

fn impatient() -> Host {
    let limits = Limits {
        header_time: Duration::from_millis(100),
        body_time: Duration::from_millis(100),
        ..Limits::default()
    };
    Host::start_with(Transport::PlainOnLoopback, limits, vec![])
}

#[tokio::test]
async fn silent_and_dribbling_connections_are_closed() {
    let host = impatient();
    assert_eq!(exchange(&host, b"").await, "", "silent");
    assert_eq!(exchange(&host, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ").await, "", "inside a header");
    let mut stream = TcpStream::connect(host.server.address()).await.unwrap();
    stream.write_all(b"GET /theme.txt HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "answered once, then closed for idling: {answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let host = impatient();
    let head = "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let answer = exchange(&host, format!("{head}Content-Length: 20\r\n\r\n{{").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("incomplete_body"), "{answer}");
}

#[tokio::test]
async fn too_many_and_too_large_headers_are_refused() {
    let host = Host::start();
    let many = "X-A: b\r\n".repeat(65);
    let large = format!("X-A: {}\r\n", "b".repeat(20_000));
    for headers in [many, large] {
        let answer = exchange(&host, format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn large_bodies_are_refused_by_their_length_and_by_their_bytes() {
    let host = Host::start();
    let large = json!({ "password": "x".repeat(70_000) });
    let answer = host.client().post("/api/v1/session", &large).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
    let head = "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3));
    let answer = exchange(&host, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_of_a_stranger_is_not_even_read() {
    let host = Host::start();
    let head =
        "POST /api/v1/blocks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let answer = exchange(&host, format!("{head}Content-Length: 1000000\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn compressed_and_other_bodies_are_refused() {
    let host = Host::start();
    let path = "/api/v1/session";
    let plain = host.client().send(Method::POST, path, "{}").await;
    assert_eq!(plain.code(), "unsupported_media_type");
    let form = host.client().with("content-type", "text/plain; x=application/json");
    assert_eq!(form.send(Method::POST, path, "{}").await.code(), "unsupported_media_type");
    let packed = host.client().with("content-encoding", "gzip").post(path, &json!({ "password": "x" })).await;
    assert_eq!(packed.code(), "unsupported_media_type");
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let host = Host::start();
    let answer = exchange(&host, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(!answer.contains("HTTP/2"), "{answer}");
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
    let answer = exchange(&host, upgrade.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn unknown_paths_and_methods_get_their_own_answers() {
    let host = Host::start();
    let client = host.local();
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v2/summary",
        "/api/v1/blocks/",
        "/api/v1/blocks/a/b",
    ] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        (Method::PUT, "/api/v1/session", "POST, GET, DELETE"),
        (Method::OPTIONS, "/api/v1/blocks", "GET, POST"),
        (Method::HEAD, "/api/v1/events", "GET"),
        (Method::POST, "/ip/192.0.2.1", "GET, HEAD"),
    ] {
        let is_head = method == Method::HEAD;
        let answer = client.send(method, path, "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.header("allow"), allow);
        assert!(is_head || answer.code() == "method_not_allowed");
    }
}

#[tokio::test]
async fn unreadable_queries_and_bodies_are_explained() {
    let host = Host::start();
    let client = host.local();
    for query in
        ["page=0", "per=0", "per=201", "page=x", "at=7", "page=1&page=2", "type=SUBSCRIBE", "sort=age"]
    {
        let answer = client.get(&format!("/api/v1/blocks?{query}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_parameter"),
            "{query}"
        );
    }
    assert_eq!(client.get("/api/v1/events?topics=attack,weather").await.code(), "invalid_parameter");
    for body in
        [json!([]), json!({}), json!({ "address": 7 }), json!({ "address": "192.0.2.1", "force": true })]
    {
        assert_eq!(client.post("/api/v1/blocks", &body).await.code(), "invalid_json", "{body}");
    }
    let answer = client.post("/api/v1/blocks", &json!({ "address": "192.0.2.0/24" })).await;
    assert_eq!(
        (answer.status, answer.json()["field"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("address"))
    );
    let keyed = client.with("idempotency-key", "two words");
    assert_eq!(
        keyed.post("/api/v1/blocks", &json!({ "address": "192.0.2.1" })).await.code(),
        "invalid_parameter"
    );
}

#[tokio::test]
async fn one_address_cannot_take_every_connection() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let host = Host::start_with(Transport::PlainOnLoopback, limits, vec![]);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(host.server.address()).await.unwrap();
        stream.write_all(b"GET /theme.txt HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_ne!(stream.read_u8().await.unwrap(), 0, "served");
        held.push(stream);
    }
    assert_eq!(exchange(&host, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "", "closed at once");
}

#[tokio::test]
async fn the_server_stops_when_told_also_with_streams_open() {
    let host = Host::start();
    let stream = host.local().open(Method::GET, "/api/v1/events", "").await;
    host.stop.send(true).unwrap();
    let (ended, ()) =
        tokio::join!(http_body_util::BodyExt::collect(stream.into_body()), host.server.finished());
    assert!(ended.is_ok(), "the stream was ended, not cut");
}

#[tokio::test]
async fn passwords_in_clear_are_for_loopback_only() {
    let on = "192.0.2.1:8443".parse().unwrap();
    let refused = crate::tls::acceptor(&Transport::PlainOnLoopback, on).err().unwrap();
    assert_eq!(refused.to_string(), "plain http is for loopback addresses only, not for 192.0.2.1:8443");
    assert!(
        crate::tls::acceptor(&Transport::PlainOnLoopback, "[::1]:8443".parse().unwrap()).unwrap().is_none()
    );
}

mod tls {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::*;

    fn secure(limits: Limits) -> (Host, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(vec!["pbx.example".to_owned()]).unwrap();
        let transport = Transport::Tls {
            certificates_pem: made.cert.pem().into_bytes(),
            key_pem: made.signing_key.serialize_pem().into_bytes(),
        };
        let host = Host::start_with(transport, limits, vec![]);
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        (host, TlsConnector::from(Arc::new(config)))
    }

    #[tokio::test]
    async fn a_session_over_tls_has_the_guarded_cookie() {
        let (host, connector) = secure(Limits::default());
        let password = json!({ "password": host.server.issue_one_time_password().unwrap() }).to_string();
        let stream = TcpStream::connect(host.server.address()).await.unwrap();
        let name = ServerName::try_from("pbx.example").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let request = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: pbx.example\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{password}",
            password.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer).await);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.starts_with("__Host-session="), "{cookie}");
        assert!(cookie.contains("; Path=/; HttpOnly; Secure; SameSite=Strict;"), "{cookie}");
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_closed() {
        let (host, _) = secure(Limits { handshake_time: Duration::from_millis(100), ..Limits::default() });
        let answer = exchange(&host, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(!answer.contains("HTTP"), "{answer}");
        assert_eq!(exchange(&host, b"").await, "", "a silent one too");
    }

    #[test]
    fn broken_pem_is_named() {
        let broken = Transport::Tls { certificates_pem: b"x".to_vec(), key_pem: b"y".to_vec() };
        let error = crate::tls::acceptor(&broken, "127.0.0.1:0".parse().unwrap()).err().unwrap();
        assert_eq!(error.to_string(), "read private key");
    }
}
