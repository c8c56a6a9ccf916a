//! Who gets in, and who does not.

use http::{Method, StatusCode};
use serde_json::json;

use super::world::{Answer, Client, Host};
use crate::routes::{Access, PREFIX, ROUTES, Route, Verb};

fn path_of(route: &Route) -> String {
    [PREFIX, &route.path.replace("{address}", "192.0.2.1")].concat()
}

async fn call(client: &Client, route: &Route) -> Answer {
    let method = Method::from_bytes(route.verb.name().as_bytes()).unwrap();
    client.clone().with("content-type", "application/json").send(method, &path_of(route), "{}").await
}

#[tokio::test]
async fn no_route_answers_without_good_credentials() {
    let host = Host::start();
    let before = host.world.applied();
    let nobody = host.client();
    let strangers = [
        nobody.clone(),
        nobody.clone().with("authorization", "Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        nobody.clone().with("authorization", &format!("Basic {}", host.local_token)),
        nobody.clone().with("cookie", "palisade-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        nobody.clone().with("cookie", &format!("__Host-session={}", host.local_token)),
    ];
    for route in ROUTES.iter().filter(|route| route.access != Access::Anybody) {
        for stranger in &strangers {
            let answer = call(stranger, route).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{route:?}");
            assert_eq!(answer.code(), "unauthenticated");
        }
    }
    assert_eq!(host.world.applied(), before, "nothing was written");
}

#[tokio::test]
async fn signing_in_is_the_only_thing_that_anybody_may_do() {
    let open: Vec<_> =
        ROUTES.iter().filter(|route| route.access == Access::Anybody).map(|route| route.path).collect();
    assert_eq!(open, ["/session"]);
}

#[tokio::test]
async fn a_wrong_bearer_token_is_not_made_good_by_a_cookie() {
    let host = Host::start();
    let client = host.signed_in().await.with("authorization", "Bearer wrong");
    assert_eq!(client.get("/api/v1/summary").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_write_by_cookie_passes_without_the_sessions_token() {
    let host = Host::start();
    let signed_in = host.signed_in().await;
    let before = host.world.applied();
    let without = signed_in.clone().without("x-csrf-token");
    let wrong = without.clone().with("x-csrf-token", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let writes = ROUTES.iter().filter(|route| route.verb != Verb::Get && route.access != Access::Anybody);
    for route in writes {
        for client in [&without, &wrong] {
            let answer = call(client, route).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::FORBIDDEN, "cross_site"),
                "{route:?}"
            );
        }
    }
    assert_eq!(host.world.applied(), before, "nothing was written");
    assert_eq!(without.get("/api/v1/summary").await.status, StatusCode::OK, "reading needs no token");
}

#[tokio::test]
async fn no_write_from_another_site_passes() {
    let host = Host::start();
    let signed_in = host.signed_in().await;
    let own = format!("http://{}", signed_in.address);
    let body = json!({ "address": "192.0.2.77" });
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = signed_in.clone().with(name, value).post("/api/v1/blocks", &body).await;
        assert_eq!(answer.code(), "cross_site", "{name}: {value}");
        let answer =
            host.client().with(name, value).post("/api/v1/session", &json!({ "password": "x" })).await;
        assert_eq!(answer.code(), "cross_site", "signing in, {name}: {value}");
    }
    let twice = signed_in.clone().with("origin", &own).with("origin", "https://evil.example");
    assert_eq!(twice.post("/api/v1/blocks", &body).await.code(), "cross_site");
    let console = signed_in.with("origin", &own).with("sec-fetch-site", "same-origin");
    assert_eq!(console.post("/api/v1/blocks", &body).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn only_this_hosts_command_line_makes_one_time_passwords() {
    let host = Host::start();
    let path = "/api/v1/one-time-passwords";
    let answer = host.signed_in().await.send(Method::POST, path, "").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "local_only"));
    let older = host.server.issue_one_time_password().unwrap();
    let answer = host.local().send(Method::POST, path, "").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let newer = answer.json()["password"].as_str().unwrap().to_owned();
    let sign_in = |password: String| {
        let client = host.client();
        async move { client.post("/api/v1/session", &json!({ "password": password })).await.status }
    };
    assert_eq!(sign_in(older).await, StatusCode::UNAUTHORIZED, "the newer one replaces it");
    assert_eq!(sign_in(newer.clone()).await, StatusCode::OK);
    assert_eq!(sign_in(newer).await, StatusCode::UNAUTHORIZED, "it is spent");
}

#[tokio::test]
async fn one_password_opens_one_session_however_many_try_at_once() {
    let host = Host::start();
    let password = json!({ "password": host.server.issue_one_time_password().unwrap() });
    let client = host.client();
    let attempt = || client.post("/api/v1/session", &password);
    let (one, two, three) = tokio::join!(attempt(), attempt(), attempt());
    let opened = [one, two, three].iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(opened, 1);
}

#[tokio::test]
async fn a_wrong_password_and_no_password_at_all_get_the_same_answer() {
    let host = Host::start();
    let attempt = json!({ "password": "00000-00000-00000-00000-00000" });
    let without = host.client().post("/api/v1/session", &attempt).await;
    host.server.issue_one_time_password().unwrap();
    let with = host.client().post("/api/v1/session", &attempt).await;
    assert_eq!(with.code(), "wrong_password");
    let shown =
        |answer: &Answer| (answer.status, answer.json()["detail"].clone(), answer.json()["title"].clone());
    assert_eq!(shown(&with), shown(&without));
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let host = Host::start();
    let password = host.server.issue_one_time_password().unwrap();
    let mut wrong = 0;
    // Each guess makes the next wait longer; a slow machine may hash through the first waits.
    while host.client().post("/api/v1/session", &json!({ "password": "guess" })).await.code()
        == "wrong_password"
    {
        wrong += 1;
        assert!(wrong < 10, "{wrong} guesses in a row");
    }
    assert!(3 <= wrong, "a person's slips cost nothing");
    let answer = host.client().post("/api/v1/session", &json!({ "password": password })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"));
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| 0 < seconds));
}

#[tokio::test]
async fn a_password_is_taken_as_people_type_it() {
    let host = Host::start();
    let password = host.server.issue_one_time_password().unwrap();
    let typed = format!("  {} ", password.replace('-', " ").to_uppercase());
    let answer = host.client().post("/api/v1/session", &json!({ "password": typed })).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_shows_itself_and_ends() {
    let host = Host::start();
    let client = host.signed_in().await;
    let session = client.get("/api/v1/session").await.json();
    assert_eq!(session["name"], "administrator");
    assert_eq!(session["host"], "pbx-a");
    assert_eq!(session["version"], "0.1.0");
    assert_eq!(session["expires_at"].as_str().map(|at| &at[..13]), Some("2026-01-01T11"));
    let ended = client.delete("/api/v1/session").await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert!(ended.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(client.get("/api/v1/session").await.code(), "unauthenticated");
    let local = host.local().get("/api/v1/session").await.json();
    assert_eq!((&local["name"], &local["csrf_token"]), (&json!("local"), &json!(null)));
}

#[tokio::test]
async fn the_cookie_is_guarded_as_far_as_the_transport_allows() {
    let host = Host::start();
    let password = host.server.issue_one_time_password().unwrap();
    let answer = host.client().post("/api/v1/session", &json!({ "password": password })).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("palisade-session="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "{cookie}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn another_host_name_is_not_answered_when_names_are_configured() {
    let names = vec!["pbx.example:8443".to_owned()];
    let host = Host::start_with(crate::Transport::PlainOnLoopback, crate::Limits::default(), names);
    let answer = host.local().get("/api/v1/summary").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::MISDIRECTED_REQUEST, "unknown_host"));
    assert_eq!(host.client().get("/").await.code(), "unknown_host");
    let named = host.local().with("host", "PBX.example:8443");
    assert_eq!(named.get("/api/v1/summary").await.status, StatusCode::OK);
}

#[tokio::test]
async fn where_people_are_signed_in_from_is_known_until_they_sign_out() {
    let host = Host::start();
    let sources = host.server.session_sources();
    assert!(host.local().get("/api/v1/summary").await.status.is_success());
    assert!(sources.now().is_empty(), "the command line is no session");
    let client = host.signed_in().await;
    client.get("/api/v1/summary").await;
    assert!(sources.now().contains(&std::net::IpAddr::from([127, 0, 0, 1])));
    client.delete("/api/v1/session").await;
    assert!(sources.now().is_empty());
}
