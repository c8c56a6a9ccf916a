//! What people wish.

use http::StatusCode;
use log_format::event::Evidence;
use log_format::ids::HostId;
use serde_json::{Value, json};

use super::world::{Answer, Client, Host};
use crate::ports::SubmitError;

const SETTINGS: &str = "/api/v1/settings/firewall";

async fn block(client: &Client, body: Value) -> Answer {
    client.post("/api/v1/blocks", &body).await
}

#[tokio::test]
async fn an_address_blocked_by_hand_carries_name_and_note() {
    let host = Host::start();
    let client = host.signed_in().await;
    let answer =
        block(&client, json!({ "address": "::ffff:203.0.113.9", "seconds": 600, "note": "called twice" }))
            .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let listed = client.get(&format!("/api/v1/blocks?min_index={}", answer.json()["log_index"])).await.json();
    let listed = &listed["items"][0];
    assert_eq!(listed["address"], "203.0.113.9");
    assert_eq!(listed["block_id"], answer.json()["block_id"]);
    assert_eq!((&listed["by"], &listed["note"]), (&json!("administrator"), &json!("called twice")));
    assert_eq!(
        (&listed["type"], &listed["count"], &listed["victim"]),
        (&json!(null), &json!(0), &json!(null))
    );
    assert_eq!(host.local().delete("/api/v1/blocks/203.0.113.9").await.status, StatusCode::OK);
    assert_eq!(client.get("/api/v1/blocks").await.json()["total"], 0);
}

#[tokio::test]
async fn the_same_key_takes_effect_once() {
    let host = Host::start();
    let client = host.local().with("idempotency-key", "key-1");
    let first = block(&client, json!({ "address": "192.0.2.1" })).await;
    let applied = host.world.applied();
    let again = block(&client, json!({ "address": "192.0.2.1" })).await;
    assert_eq!((again.status, again.json()), (StatusCode::CREATED, first.json()));
    assert_eq!(host.world.applied(), applied, "nothing new was written");
    let other = block(&client, json!({ "address": "192.0.2.2" })).await;
    assert_ne!(other.json()["block_id"], first.json()["block_id"], "another body is another wish");
    let unkeyed = block(&host.local(), json!({ "address": "192.0.2.1", "seconds": 60 })).await;
    assert_eq!((unkeyed.status, unkeyed.code().as_str()), (StatusCode::CONFLICT, "already_blocked"));
}

#[tokio::test]
async fn a_batch_is_blocked_at_once_and_names_the_item_that_is_refused() {
    let host = Host::start();
    let client = host.local().with("idempotency-key", "key-1");
    let batch = |items: Value| json!({ "items": items });
    let wish =
        batch(json!([{ "address": "192.0.2.1", "note": "one" }, { "address": "192.0.2.2", "seconds": 60 }]));
    let first = client.post("/api/v1/blocks/batch", &wish).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
    let applied = host.world.applied();
    assert_eq!(first.json()["log_index"], applied.get());
    let again = client.post("/api/v1/blocks/batch", &wish).await;
    assert_eq!((again.json(), host.world.applied()), (first.json(), applied), "nothing new was written");
    let listed = client.get("/api/v1/blocks?sort=address").await.json();
    for (place, address) in ["192.0.2.1", "192.0.2.2"].into_iter().enumerate() {
        let row = &listed["items"][place];
        assert_eq!((&row["address"], &row["block_id"]), (&json!(address), &first.json()["block_ids"][place]));
    }
    for (items, status, code, field) in [
        (
            json!([{ "address": "192.0.2.3" }, { "address": "192.0.2" }]),
            422,
            "invalid_field",
            "items[1].address",
        ),
        (json!([{ "address": "192.0.2.3", "seconds": 0 }]), 422, "invalid_field", "items[0].seconds"),
        (
            json!([{ "address": "192.0.2.3" }, { "address": "192.0.2.3" }]),
            422,
            "invalid_field",
            "items[1].source",
        ),
        (json!([]), 422, "invalid_field", "items"),
    ] {
        let answer = client.post("/api/v1/blocks/batch", &batch(items)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{}", answer.body);
        assert_eq!(answer.json()["field"], field);
    }
    let itself = batch(json!([{ "address": "192.0.2.3" }, { "address": "127.0.0.1" }]));
    assert_eq!(client.post("/api/v1/blocks/batch", &itself).await.code(), "would_lock_out");
    let held = batch(json!([{ "address": "192.0.2.3" }, { "address": "192.0.2.2", "seconds": 1 }]));
    let answer = client.post("/api/v1/blocks/batch", &held).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "already_blocked"));
    assert_eq!(host.world.applied(), applied, "all or none");
}

#[tokio::test]
async fn refusals_carry_the_rules_own_code_and_text() {
    let host = Host::start();
    let client = host.local();
    for (answer, status, code) in [
        (client.delete("/api/v1/blocks/192.0.2.1").await, StatusCode::CONFLICT, "not_listed"),
        (block(&client, json!({ "address": "224.0.0.1" })).await, StatusCode::CONFLICT, "never_blocked"),
        (client.delete("/api/v1/blocks/nonsense").await, StatusCode::UNPROCESSABLE_ENTITY, "invalid_field"),
        (
            block(&client, json!({ "address": "192.0.2.1", "note": "\u{202e}" })).await,
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_field",
        ),
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.body);
    }
    let answer = block(&client, json!({ "address": "192.0.2.1", "seconds": 0 })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid_field"));
    assert_eq!(
        (&answer.json()["field"], &answer.json()["rejection"]),
        (&json!("seconds"), &json!("out_of_range"))
    );
}

#[tokio::test]
async fn nobody_locks_himself_out_unasked() {
    let host = Host::start();
    let client = host.local();
    let answer = block(&client, json!({ "address": "127.0.0.1" })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "would_lock_out"));
    assert_eq!(answer.json()["address"], "127.0.0.1");
    let confirmed = block(&client, json!({ "address": "::ffff:127.0.0.1", "confirm": true })).await;
    assert_eq!(confirmed.code(), "never_blocked", "the guard steps aside, the rule stays");
}

#[tokio::test]
async fn an_unblocked_address_can_be_allowed_for_a_while() {
    let host = Host::start();
    host.world.attack("2001:db8::5", b"sipsak", Evidence::Proven);
    let client = host.local();
    let answer = client.delete("/api/v1/blocks/2001%3Adb8%3A%3A5?allow_seconds=600").await;
    assert_eq!(
        (answer.status, &answer.json()["log_index"]),
        (StatusCode::OK, &json!(host.world.applied().get()))
    );
    assert_eq!(block(&client, json!({ "address": "2001:db8::5" })).await.code(), "allowlisted");
}

#[tokio::test]
async fn outages_say_what_to_do() {
    let host = Host::start();
    let client = host.local();
    for (error, code) in [
        (SubmitError::NoLeader { hint: Some(HostId::new(2)) }, "no_leader"),
        (SubmitError::Busy, "busy"),
        (SubmitError::Unknown, "outcome_unknown"),
    ] {
        host.world.fail(error);
        let answer = block(&client, json!({ "address": "192.0.2.1" })).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, code));
        assert_eq!(answer.header("retry-after"), "1");
        let problem = answer.json();
        assert_eq!(problem["leader"].as_str(), (code == "no_leader").then_some("2"));
        assert_eq!(problem["idempotency_key"].is_string(), code == "outcome_unknown");
    }
}

#[tokio::test]
async fn settings_change_only_for_who_saw_the_current_version() {
    let host = Host::start();
    let client = host.signed_in().await;
    let shown = client.get(SETTINGS).await;
    assert_eq!(shown.header("etag"), "\"0\"");
    let mut wanted = shown.json();
    wanted["bad_registrations_per_minute"] = json!(5);
    wanted["sip_ports"] = json!([{ "first": 5060, "last": 5062 }]);
    assert_eq!(client.put(SETTINGS, &wanted).await.status, StatusCode::PRECONDITION_REQUIRED);
    for tag in ["0", "*", "W/\"0\"", "\"x\""] {
        assert_eq!(
            client.clone().with("if-match", tag).put(SETTINGS, &wanted).await.code(),
            "invalid_parameter",
            "{tag}"
        );
    }
    let first = client.clone().with("if-match", "\"0\"").put(SETTINGS, &wanted).await;
    assert_eq!((first.status, first.header("etag")), (StatusCode::OK, "\"1\""));
    assert_eq!(first.json(), json!({ "version": 1, "log_index": host.world.applied().get() }));
    let late = client.clone().with("if-match", "\"0\"").put(SETTINGS, &wanted).await;
    assert_eq!((late.status, late.code().as_str()), (StatusCode::PRECONDITION_FAILED, "changed_meanwhile"));
    let early = client.clone().with("if-match", "\"9\"");
    wanted["version"] = json!(9);
    assert_eq!(early.put(SETTINGS, &wanted).await.code(), "not_caught_up");
    let now = client.get(SETTINGS).await.json();
    assert_eq!((&now["bad_registrations_per_minute"], &now["version"]), (&json!(5), &json!(1)));
    let same = client.clone().with("if-match", "\"1\"").put(SETTINGS, &now).await;
    assert_eq!(
        same.json(),
        json!({ "version": 1, "log_index": host.world.applied().get() }),
        "nothing was different"
    );
}

#[tokio::test]
async fn a_preset_is_chosen_by_its_name_and_rules_change_one_by_one() {
    let host = Host::start();
    let client = host.signed_in().await;
    let preset = format!("{SETTINGS}/preset");
    assert_eq!(client.get(SETTINGS).await.json()["preset"], "standard");
    let unknown = client.clone().with("if-match", "\"0\"").put(&preset, &json!({ "preset": "strict" })).await;
    assert_eq!(unknown.code(), "invalid_field");
    let body = json!({ "preset": "sipprot-compat" });
    let chosen = client.clone().with("if-match", "\"0\"").put(&preset, &body).await;
    assert_eq!((chosen.status, chosen.header("etag")), (StatusCode::OK, "\"1\""));
    let mut now = client.get(SETTINGS).await.json();
    assert_eq!((&now["preset"], &now["block_seconds"]), (&json!("sipprot-compat"), &json!([3600])));
    assert_eq!((&now["rules"]["tftp"], &now["rules"]["sweep"]), (&json!("enforce"), &json!("observe")));
    now["rules"] = json!({ "sweep": "off" });
    let changed = client.clone().with("if-match", "\"1\"").put(SETTINGS, &now).await;
    assert_eq!(changed.status, StatusCode::OK);
    let now = client.get(SETTINGS).await.json();
    assert_eq!((&now["preset"], &now["rules"]["sweep"]), (&json!(null), &json!("off")));
    assert_eq!(now["rules"]["decoy"], "observe", "a rule that is not named keeps its mode");
}

#[tokio::test]
async fn settings_that_make_no_sense_name_their_field() {
    let host = Host::start();
    let client = host.local().with("if-match", "\"0\"");
    let shown = client.get(SETTINGS).await.json();
    for (field, value, rejection) in [
        ("sip_ports", json!([]), "empty_list"),
        ("sip_ports", json!([{ "first": 5062, "last": 5060 }]), "port_range"),
        ("bad_registrations_per_minute", json!(0), "out_of_range"),
        ("block_seconds", json!([1]), "out_of_range"),
        ("block_threshold", json!(33), "out_of_range"),
        ("blocked_user_agents", json!([" "]), "blank_entry"),
    ] {
        let mut wanted = shown.clone();
        wanted[field] = value;
        let answer = client.put(SETTINGS, &wanted).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_field"),
            "{field}"
        );
        assert_eq!(
            (&answer.json()["field"], &answer.json()["rejection"]),
            (&json!(field), &json!(rejection))
        );
    }
    let mut wanted = shown;
    wanted["version"] = json!(3);
    assert_eq!(client.put(SETTINGS, &wanted).await.json()["field"], "version");
    assert_eq!(client.get(SETTINGS).await.json()["version"], 0);
}
