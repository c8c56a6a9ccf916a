//! What is shown.

use std::time::Duration;

use http::StatusCode;
use log_format::event::Evidence;
use serde_json::json;

use super::world::Host;

#[tokio::test]
async fn a_blocked_address_says_who_why_until_when_and_where() {
    let host = Host::start();
    let index = host.world.attack("45.143.9.131", b"friendly-scanner", Evidence::Proven);
    host.world.enforce(1, index);
    host.world.enforce(2, index);
    let list = host.local().get("/api/v1/blocks").await.json();
    assert_eq!((&list["total"], &list["as_of"]), (&json!(1), &json!(index.get())));
    assert_eq!(list["now"], "2026-01-01T00:00:00.000000Z");
    let mut block = list["items"][0].clone();
    let (id, until) = (block["block_id"].take(), block["until"].take());
    let since = block["since"].take();
    assert_eq!(id.as_str().map(str::len), Some(32));
    assert!(since.as_str() < until.as_str(), "{since} {until}");
    assert_eq!(
        block,
        json!({
            "address": "45.143.9.131", "block_id": null, "since": null, "until": null, "sanction": "block",
            "scope": "address", "port": null, "type": "REGISTER", "rule": "bad-registrations", "evidence": "proven",
            "user_agent": "friendly-scanner", "known_user_agent": true, "count": 10, "victim": "10.1.35.18",
            "strikes": 1, "threshold": 3, "by": null, "note": null, "log_index": index.get(),
            "enforced_on": ["1"],
        }),
        "host 2 only watches, so it does not drop it"
    );
}

#[tokio::test]
async fn blocks_are_found_sorted_and_paged() {
    let host = Host::start();
    for number in 1..=5 {
        host.world.attack(&format!("192.0.2.{number}"), b"sipsak", Evidence::Proven);
        host.world.advance(Duration::from_secs(1));
    }
    host.world.attack("203.0.113.9", b"Friendly-Scanner 1.0", Evidence::Proven);
    let client = host.local();
    for (query, total, first) in [
        ("", 6, "203.0.113.9"),
        ("?sort=since", 6, "192.0.2.1"),
        ("?sort=-address", 6, "203.0.113.9"),
        ("?sort=address&page=2&per=2", 6, "192.0.2.3"),
        ("?q=192.0.2.0/24&sort=address", 5, "192.0.2.1"),
        ("?q=friendly", 1, "203.0.113.9"),
        ("?type=REGISTER&sort=address", 6, "192.0.2.1"),
    ] {
        let list = client.get(&format!("/api/v1/blocks{query}")).await.json();
        assert_eq!((&list["total"], &list["items"][0]["address"]), (&json!(total), &json!(first)), "{query}");
    }
    assert_eq!(client.get("/api/v1/blocks?type=OPTIONS").await.json()["total"], 0);
}

#[tokio::test]
async fn a_block_whose_time_is_over_is_gone_before_the_log_says_so() {
    let host = Host::start();
    host.world.attack("45.143.9.131", b"sipsak", Evidence::Proven);
    host.world.advance(Duration::from_secs(7_200));
    assert_eq!(host.local().get("/api/v1/blocks").await.json()["total"], 0);
}

#[tokio::test]
async fn pages_keep_still_while_more_comes_in() {
    let host = Host::start();
    let mut seen = host.world.applied();
    for number in 1..=4 {
        seen = host.world.attack(&format!("192.0.2.{number}"), b"sipsak", Evidence::Proven);
    }
    for number in 5..=9 {
        host.world.attack(&format!("192.0.2.{number}"), b"sipsak", Evidence::Proven);
    }
    let client = host.local();
    for (list, field) in [("attacks", "source"), ("blocks", "address")] {
        let page = |query: &str| {
            let path = format!("/api/v1/{list}?as_of={seen}&per=3&{query}");
            let client = client.clone();
            async move { client.get(&path).await.json() }
        };
        let (first, second) = (page("page=1").await, page("page=2").await);
        assert_eq!((&first["total"], &first["as_of"]), (&json!(4), &json!(seen.get())), "{list}");
        let shown = |list: &serde_json::Value| -> Vec<String> {
            let items = list["items"].as_array().unwrap().iter();
            items.map(|item| item[field].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(shown(&first), ["192.0.2.4", "192.0.2.3", "192.0.2.2"], "{list}");
        assert_eq!(shown(&second), ["192.0.2.1"], "{list}");
        assert_eq!(page("q=sipsak").await["total"], 4, "{list}");
    }
}

#[tokio::test]
async fn an_attack_says_what_was_seen_and_by_whom() {
    let host = Host::start();
    let index = host.world.attack("45.143.9.131", b"friendly-scanner", Evidence::Unproven);
    let list = host.local().get("/api/v1/attacks").await.json();
    let mut attack = list["items"][0].clone();
    attack["accepted_at"].take();
    assert_eq!(
        attack,
        json!({
            "id": format!("{index}-0"), "at": "2026-01-01T00:00:00.000000Z", "accepted_at": null,
            "source": "45.143.9.131", "source_port": 5071, "victim": "10.1.35.18", "victim_port": 5060,
            "type": "REGISTER", "rule": "bad-registrations", "evidence": "unproven", "sanction": "block",
            "user_agent": "friendly-scanner", "known_user_agent": true, "count": 10, "scope": "address", "account": "", "line": "",
            "host": { "id": "1", "name": "pbx-a" }, "log_index": index.get(),
        })
    );
}

#[tokio::test]
async fn hostile_text_is_shown_visibly_and_never_long() {
    let host = Host::start();
    let hostile = b"<script>alert(1)</script>\"\r\nX: y\0\x1b[2J\xe2\x80\xae\xff";
    host.world.attack("192.0.2.1", &[hostile.as_slice(), &[b'A'; 250]].concat(), Evidence::Proven);
    for (path, field) in [("attacks", "user_agent"), ("blocks", "user_agent")] {
        let answer = host.local().get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let shown = answer.json()["items"][0][field].as_str().unwrap().to_owned();
        let visible = "<script>alert(1)</script>\"\\u000d\\u000aX: y\\u0000\\u001b[2J\\u202e\u{fffd}AAA";
        assert!(shown.starts_with(visible), "{shown}");
        assert_eq!(shown.chars().count(), 201);
        assert!(shown.ends_with('…'));
        assert!(answer.body.bytes().all(|byte| byte >= b' '), "no control character travels");
    }
}

#[tokio::test]
async fn the_summary_counts() {
    let host = Host::start();
    host.world.attack("192.0.2.1", b"sipsak", Evidence::Proven);
    host.world.attack("192.0.2.2", b"sipsak", Evidence::Unproven);
    let summary = host.local().get("/api/v1/summary").await.json();
    assert_eq!(summary["mode"], "block");
    assert_eq!(summary["attacks"], json!({ "last_hour": 2, "last_24_hours": 2, "total": 2 }));
    assert_eq!(summary["blocked_now"], json!({ "dynamic": 1, "soft": 1, "denied": 0, "provisional": 4 }));
    let pulse = summary["attacks_per_minute"].as_array().unwrap();
    assert_eq!((pulse.len(), &pulse[59], &pulse[0]), (60, &json!(2), &json!(0)));
    assert_eq!(summary["by_type"]["REGISTER"], 2);
    assert_eq!(summary["by_type"].as_object().unwrap().len(), 6);
    assert_eq!(summary["latest_blocks"][0]["address"], "192.0.2.2");
    assert_eq!(summary["latest_attacks"][1]["source"], "192.0.2.1");
    assert_eq!(summary["as_of"], host.world.applied().get());
}

#[tokio::test]
async fn hosts_and_cluster_show_the_soft_state() {
    let host = Host::start();
    let client = host.local();
    let hosts = client.get("/api/v1/hosts").await.json();
    assert_eq!(hosts["total"], 2);
    assert_eq!(
        hosts["items"][0],
        json!({
            "id": "1", "name": "pbx-a", "address": "198.51.100.7:7400", "role": "leader", "status": "active",
            "last_heard_ms": 120, "applied": 2, "commit": 2, "lag": 0, "enforced": 0,
            "firewall": { "mode": "enforcing", "reason": "" },
            "sensor": { "source": "eth0", "packets": 12, "sip_messages": 11, "malformed": 1, "dropped": 0 },
            "version": "0.1.0", "kernel": "6.1.0", "clock_offset_ms": -2, "authority": "01".repeat(32), "this": true,
        })
    );
    // Hashing takes the host's time: whoever looks every few seconds gets none.
    for path in ["/api/v1/cluster", "/api/v1/cluster?state_hash=false"] {
        assert_eq!(client.get(path).await.json()["state_hash"], json!(null));
    }
    let cluster = client.get("/api/v1/cluster?state_hash=true").await.json();
    assert_eq!(cluster["cluster_id"], "ab".repeat(16));
    assert_eq!((&cluster["leader"], &cluster["term"]), (&json!("1"), &json!(3)));
    assert_eq!(cluster["state_hash"]["index"], 2);
    assert_eq!(cluster["state_hash"]["hash"].as_str().map(str::len), Some(64));
    assert_eq!(cluster["hosts"], hosts["items"]);
}

#[tokio::test]
async fn a_read_waits_for_the_index_that_the_caller_saw_elsewhere() {
    let host = Host::start();
    let next = host.world.applied().next();
    let client = host.local();
    let path = format!("/api/v1/blocks?min_index={next}");
    let (answer, _) = tokio::join!(client.get(&path), async {
        tokio::task::yield_now().await;
        host.world.attack("192.0.2.1", b"sipsak", Evidence::Proven)
    });
    assert_eq!((answer.status, &answer.json()["total"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test]
async fn a_read_does_not_wait_for_ever() {
    let limits = crate::Limits { catch_up_time: Duration::from_millis(20), ..crate::Limits::default() };
    let host = Host::start_with(crate::Transport::PlainOnLoopback, limits, vec![]);
    let answer = host.local().get("/api/v1/attacks?min_index=99").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not_caught_up"));
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn every_view_says_how_fresh_it_is() {
    let host = Host::start();
    host.world.attack("192.0.2.1", b"sipsak", Evidence::Proven);
    let applied = host.world.applied().get().to_string();
    for path in ["summary", "blocks", "attacks", "hosts", "cluster", "settings/firewall"] {
        let answer = host.local().get(&format!("/api/v1/{path}?consistency=linearizable")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let stamps = ["x-log-index", "x-staleness-ms", "x-leader"].map(|name| answer.header(name));
        assert_eq!(stamps, [applied.as_str(), "40", "1"], "{path}");
    }
}

#[tokio::test]
async fn a_linearizable_read_is_refused_without_a_quorum() {
    let host = Host::start();
    host.world.fail(crate::ports::SubmitError::NoLeader { hint: None });
    let answer = host.local().get("/api/v1/blocks?consistency=linearizable").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not_confirmed"));
    assert_eq!(host.local().get("/api/v1/blocks?consistency=local").await.status, StatusCode::OK);
    let answer = host.local().get("/api/v1/blocks?consistency=eventual").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_parameter"));
}
