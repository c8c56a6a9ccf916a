//! An address is explained, whatever it is to the cluster.

use http::StatusCode;
use log_format::event::{AttackKind, Evidence, NoteKind, NoteObserved, Text};
use projections::decide::CommandBody;
use serde_json::{Value, json};

use super::world::{Host, administrator};

async fn explained(host: &Host, address: &str) -> Value {
    let answer = host.local().get(&format!("/api/v1/ip/{address}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.json()
}

fn sentence(answer: &Value) -> &str {
    answer["sentence"].as_str().unwrap()
}

#[tokio::test]
async fn a_blocked_address_shows_its_block_the_attack_and_the_steps_before() {
    let host = Host::start();
    host.world.attack("203.0.113.7", b"x\x1b[31m\" y", Evidence::Proven);
    let answer = explained(&host, "203.0.113.7").await;
    assert!(sentence(&answer).starts_with("203.0.113.7 is blocked until 2026-01-01 0"), "{answer}");
    assert!(sentence(&answer).contains("(bad-registrations, proven, seen by 1 host)"), "{answer}");
    assert_eq!((&answer["decision"], &answer["step"]), (&json!("blocked"), &json!("block")));
    assert_eq!(answer["passed"][0]["step"], "never-block");
    assert_eq!(
        (&answer["blocks"][0]["rule"], &answer["until"]),
        (&json!("bad-registrations"), &answer["blocks"][0]["until"])
    );
    assert_eq!(
        answer["attacks"][0]["user_agent"], "x\\u001b[31m\" y",
        "nothing invisible reaches a terminal"
    );
    assert_eq!((&answer["attacks_total"], &answer["hosts"][0]["name"]), (&json!(1), &json!("pbx-a")));
    let mapped = explained(&host, "::ffff:203.0.113.7").await;
    assert_eq!(mapped["address"], "203.0.113.7");
}

#[tokio::test]
async fn an_allowed_a_protected_and_an_unknown_address_say_why_they_pass() {
    let host = Host::start();
    let network = "198.51.100.0/24".parse().unwrap();
    let (note, by) = (Text::new(b"carrier"), administrator());
    host.world.wish(CommandBody::AllowAddress { network, seconds: Some(60), note, by });
    let allowed = explained(&host, "198.51.100.9").await;
    assert_eq!((&allowed["decision"], &allowed["allowed"]["note"]), (&json!("allowed"), &json!("carrier")));
    assert!(sentence(&allowed).contains("administrator \"admin\" allowed 198.51.100.0/24"), "{allowed}");
    let protected = explained(&host, "127.0.0.1").await;
    assert_eq!((&protected["decision"], &protected["passed"]), (&json!("never-block"), &json!([])));
    let unknown = explained(&host, "2001:db8::9").await;
    assert_eq!((&unknown["decision"], &unknown["step"]), (&json!("free"), &json!("accept")));
    assert!(sentence(&unknown).contains("nothing is known of it"), "{unknown}");
}

#[tokio::test]
async fn what_this_host_never_drops_is_said_whatever_the_log_says() {
    let host = Host::start();
    host.world.attack("192.0.2.88", b"x", Evidence::Proven);
    let spared = explained(&host, "192.0.2.88").await;
    assert_eq!(spared["decision"], "blocked");
    let reason = "it is an address of trunk.example.net (firewall.never_block)";
    assert_eq!(spared["never_dropped_here"], json!({ "network": "192.0.2.88", "reason": reason }));
    assert!(sentence(&spared).ends_with(&format!(" This host never drops it because {reason}.")), "{spared}");
    let other = explained(&host, "192.0.2.89").await;
    assert_eq!(other["never_dropped_here"], Value::Null);
}

#[tokio::test]
async fn a_note_of_spoofing_is_shown_and_said() {
    let host = Host::start();
    let source = "203.0.113.7".parse().unwrap();
    host.world.observe(CommandBody::Note(NoteObserved {
        kind: NoteKind::SpoofSuspected,
        source,
        source_port: 5060,
        victim: source,
        victim_port: 5060,
        attack: AttackKind::Register,
        rule: None,
        account: Text::default(),
        user_agent: Text::new(b"a\r\nb"),
        count: 3,
        line: Text::new(b"REGISTER sip:pbx SIP/2.0"),
    }));
    let answer = explained(&host, "203.0.113.7").await;
    assert!(sentence(&answer).contains("Somebody else seems to send packets in its name"), "{answer}");
    let note = &answer["notes"][0];
    assert_eq!((&note["kind"], &note["user_agent"]), (&json!("spoof-suspected"), &json!("a\\u000d\\u000ab")));
    assert_eq!(note["line"], "REGISTER sip:pbx SIP/2.0");
}

#[tokio::test]
async fn what_is_no_address_or_no_port_is_refused() {
    let host = Host::start();
    assert_eq!(host.local().get("/api/v1/ip/nobody").await.code(), "invalid_field");
    assert_eq!(host.local().get("/api/v1/ip/192.0.2.1?port=70000").await.code(), "invalid_parameter");
    assert_eq!(host.local().get("/api/v1/ip/192.0.2.1?at=1").await.code(), "invalid_parameter");
}
