//! Where projections stand, and folding them anew.

use http::StatusCode;
use serde_json::{Value, json};

use super::world::Host;

#[tokio::test]
async fn projections_say_where_they_stand_and_how_a_rebuild_goes() {
    let host = Host::start();
    let client = host.signed_in().await;
    let list = client.get("/api/v1/projections").await.json();
    let [decisions, views] = [&list["items"][0], &list["items"][1]];
    assert_eq!((&decisions["name"], &views["name"]), (&json!("decisions"), &json!("views")));
    assert_eq!((&decisions["checkpoint"], &views["checkpoint"]), (&Value::Null, &json!(1)));
    assert_eq!((&views["applied"], &views["lag"]), (&list["as_of"], &json!(0)));
    assert_eq!((&views["rebuild"], &views["last_rebuild"]), (&Value::Null, &Value::Null));

    let path = "/api/v1/projections/rebuild";
    let asked = client.post(path, &Value::Null).await;
    assert_eq!((asked.status, asked.json()), (StatusCode::ACCEPTED, json!({ "number": 1 })));
    let under_way = client.get("/api/v1/projections").await.json();
    assert_eq!(under_way["items"][0]["rebuild"], json!({ "number": 1, "folded": 1 }));
    assert_eq!(client.get("/api/v1/cluster").await.json()["diverged"], json!([]));

    client.post(path, &Value::Null).await;
    let ended = client.get("/api/v1/projections").await.json();
    let expected = json!({ "number": 2, "outcome": "differed", "index": list["as_of"], "detail": "" });
    assert_eq!(ended["items"][1]["last_rebuild"], expected);
    assert_eq!(ended["items"][1]["diverged_at"], list["as_of"]);
    assert_eq!(client.get("/api/v1/cluster").await.json()["diverged"], json!(["views@1"]));
}
