//! The console's files.

use http::{Method, StatusCode};

use super::world::Host;

#[tokio::test]
async fn every_path_of_the_console_gets_its_page() {
    let host = Host::start();
    for path in [
        "/",
        "/blocks",
        "/ip/45.143.9.131",
        "/ip/2001:db8::1",
        "/hosts/1",
        "/index.html",
        "/../etc/passwd",
        "/apish",
    ] {
        let answer = host.client().get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
        assert!(answer.body.starts_with("<!doctype html>"), "{path}");
    }
}

#[tokio::test]
async fn the_page_carries_the_strict_headers() {
    let host = Host::start();
    let answer = host.client().get("/").await;
    let expected = [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
             connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types svelte-trusted-html",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ];
    for (name, value) in expected {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn a_missing_asset_is_missing() {
    let host = Host::start();
    let answer = host.client().get("/assets/gone-1a2b3c.js").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn the_head_of_a_page_is_its_page_without_the_page() {
    let host = Host::start();
    let (page, head) = (host.client().get("/").await, host.client().send(Method::HEAD, "/", "").await);
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.header("content-length"), page.header("content-length"));
}
