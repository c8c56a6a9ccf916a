//! Tokens, removal and transfer.

use http::StatusCode;
use serde_json::json;

use super::world::Host;

fn token(id: char, seconds: u64) -> serde_json::Value {
    let (id, verifier) = (id.to_string().repeat(32), "0f".repeat(32));
    json!({ "id": id, "verifier": verifier, "role": "sensor-only", "seconds": seconds })
}

#[tokio::test]
async fn a_token_is_issued_listed_and_revoked_and_its_secret_is_never_there() {
    let host = Host::start();
    let client = host.signed_in().await;
    let issued = client.post("/api/v1/join-tokens", &token('a', 900)).await;
    assert_eq!(issued.status, StatusCode::CREATED);
    let listed = client.get("/api/v1/join-tokens").await.json();
    assert_eq!(listed["items"][0]["id"], "a".repeat(32));
    assert_eq!(listed["items"][0]["role"], "sensor-only");
    let path = format!("/api/v1/join-tokens/{}", "a".repeat(32));
    assert_eq!(client.delete(&path).await.status, StatusCode::OK);
    assert_eq!(client.get("/api/v1/join-tokens").await.json()["total"], 0);
    assert_eq!(client.delete(&path).await.status, StatusCode::OK, "it is void already");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_its_field() {
    let host = Host::start();
    let client = host.signed_in().await;
    let mut wrong = token('a', 900);
    wrong["verifier"] = json!("0f");
    for (body, field) in [(token('x', 900), "id"), (token('a', 901), "seconds"), (wrong, "verifier")] {
        let refused = client.post("/api/v1/join-tokens", &body).await;
        assert_eq!(
            (refused.status, &refused.json()["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field))
        );
    }
    assert_eq!(client.delete("/api/v1/hosts/x").await.json()["field"], "host");
    assert_eq!(client.delete("/api/v1/hosts/9").await.json()["code"], "unknown_host");
}

#[tokio::test]
async fn authorities_are_made_listed_and_retired() {
    let host = Host::start();
    let client = host.signed_in().await;
    let made = client.post("/api/v1/authorities", &json!({})).await;
    assert_eq!((made.status, &made.json()["authority"]), (StatusCode::CREATED, &json!("02".repeat(32))));
    let shown = client.get("/api/v1/cluster").await.json();
    assert_eq!(shown["authorities"], json!(["01".repeat(32), "02".repeat(32)]));
    assert_eq!(shown["hosts"][0]["authority"], "01".repeat(32));
    let unknown = client.delete(&format!("/api/v1/authorities/{}", "03".repeat(32))).await;
    assert_eq!(unknown.json()["field"], "authority");
    let last = client.delete(&format!("/api/v1/authorities/{}", "01".repeat(32))).await;
    assert_eq!((last.status, &last.json()["code"]), (StatusCode::CONFLICT, &json!("last_authority")));
}

#[tokio::test]
async fn leadership_is_handed_over_to_a_host_of_the_cluster() {
    let host = Host::start();
    let client = host.signed_in().await;
    let transfer = |to: &str| json!({ "to": to });
    let path = "/api/v1/cluster/transfer";
    let done = client.post(path, &transfer("2")).await;
    assert_eq!((done.status, &done.json()["leader"]), (StatusCode::OK, &json!("2")));
    let unknown = client.post(path, &transfer("4")).await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (StatusCode::CONFLICT, &json!("unknown_host")));
    assert_eq!(client.post(path, &transfer("x")).await.json()["field"], "to");
}
