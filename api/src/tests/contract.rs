//! `golden/openapi.json` says what the code does.

use std::collections::BTreeSet;

use http::StatusCode;
use log_format::event::Evidence;
use serde_json::{Value, json};

use super::world::Host;
use crate::error::Code;
use crate::routes::{Access, ROUTES, Verb};

fn document() -> Value {
    serde_json::from_str(include_str!("../../golden/openapi.json")).unwrap()
}

/// Every operation of the document: method, path, its object.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    });
    all.collect()
}

#[test]
fn document_and_route_table_name_the_same_routes() {
    let document = document();
    let documented: BTreeSet<_> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let routed: BTreeSet<_> =
        ROUTES.iter().map(|row| (row.verb.name().to_owned(), row.path.to_owned())).collect();
    assert_eq!(documented, routed);
    assert_eq!(routed.len(), ROUTES.len(), "no route stands in the table twice");
    assert_eq!(document["servers"][0]["url"], crate::routes::PREFIX);
}

#[test]
fn the_document_says_who_may_call_what() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        let row = ROUTES.iter().find(|row| row.verb.name() == method && row.path == path).unwrap();
        let expected = match row.access {
            Access::Anybody => json!([]),
            Access::Administrator => json!([{ "session": [] }, { "local_token": [] }]),
            Access::LocalToken => json!([{ "local_token": [] }]),
        };
        assert_eq!(operation["security"], expected, "{method} {path}");
        let refuses = |status: &str| operation["responses"].get(status).is_some();
        assert!(refuses("401"), "{method} {path}");
        assert_eq!(refuses("403"), row.verb != Verb::Get, "{method} {path}");
    }
}

#[test]
fn every_code_is_documented_and_every_reference_leads_somewhere() {
    let document = document();
    let codes =
        document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    for code in Code::ALL {
        assert!(codes.contains(&json!(code.text())), "{}", code.text());
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn the_document_is_served_as_it_stands_in_the_repository() {
    let host = Host::start();
    let answer = host.local().get("/api/v1/openapi.json").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, document()));
}

#[tokio::test]
async fn answers_have_exactly_the_documented_members() {
    let host = Host::start();
    host.world.attack("192.0.2.1", b"sipsak", Evidence::Proven);
    let client = host.signed_in().await;
    let document = document();
    for (path, schema) in [
        ("/session", "Session"),
        ("/summary", "Summary"),
        ("/blocks", "BlockList"),
        ("/attacks", "AttackList"),
        ("/ip/192.0.2.1", "Explanation"),
        ("/ip/192.0.2.200?port=5060", "Explanation"),
        ("/hosts", "HostList"),
        ("/cluster", "Cluster"),
        ("/projections", "ProjectionList"),
        ("/settings/firewall", "FirewallSettings"),
    ] {
        let answer = client.get(&format!("/api/v1{path}")).await.json();
        check(&document, &document["components"]["schemas"][schema], &answer, path);
    }
    let problem = client.get("/api/v1/nothing").await.json();
    check(&document, &document["components"]["schemas"]["Problem"], &problem, "a problem");
    let written = client.post("/api/v1/blocks", &json!({ "address": "192.0.2.9" })).await.json();
    check(&document, &document["components"]["schemas"]["Blocked"], &written, "POST /blocks");
    let batch = json!({ "items": [{ "address": "192.0.2.10" }, { "address": "192.0.2.11" }] });
    let written = client.post("/api/v1/blocks/batch", &batch).await.json();
    check(&document, &document["components"]["schemas"]["BatchBlocked"], &written, "POST /blocks/batch");
    let most = &document["components"]["schemas"]["PostBatch"]["properties"]["items"]["maxItems"];
    assert_eq!(*most, json!(projections::decide::MAX_BATCH));
}

/// Holds a value against the parts of JSON Schema that the document uses.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, document.pointer(&reference[1..]).unwrap(), value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let chosen = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return check(document, chosen.unwrap(), value, at);
    }
    assert!(types(schema).any(|name| is_a(value, name)), "{at}: {value} is not {}", schema["type"]);
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value} is none of {allowed:?}");
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().for_each(|value| check(document, items, value, &format!("{at}[]")));
    }
    let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for (name, value) in members {
        let known = properties.get(name).unwrap_or_else(|| panic!("{at}: {name} is not documented"));
        check(document, known, value, &format!("{at}.{name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(members.contains_key(name), "{at}: {name} is missing");
    }
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let one = schema["type"].as_str().into_iter();
    one.chain(schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the document uses type {other}"),
    }
}
