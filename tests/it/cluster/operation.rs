//! What an operator meets: starting, stopping, a host that is down, a process too many.

use std::net::{IpAddr, Ipv4Addr};

use palisade::runtime::files::LOCAL_TOKEN;
use serde_json::{Value, json};

use super::{Cluster, Request};
use crate::support::wait_until;

#[test]
fn sigterm_ends_a_host_well_and_a_restart_keeps_its_state() {
    let mut cluster = Cluster::start(3);
    for number in 0..9 {
        assert_eq!(block(&cluster, usize::from(number) % 3, number), 201);
    }
    let before = cluster.wait_for_one_state();
    let leader = cluster.leader(0).unwrap();
    for host in (0..3).map(|step| (leader + step) % 3) {
        let ended = cluster.term(host);
        assert!(ended.success(), "host {host}: {ended}\n{}", cluster.log(host));
        assert!(!cluster.data(host).join(LOCAL_TOKEN).exists(), "a host that is down lets nobody in");
        let verified = cluster.log_command(host, &["verify"]);
        assert!(verified.status.success(), "{verified:?}");
        // While there is somebody to lead, a leader hands over before it goes.
        assert!(host != leader || cluster.log(host).contains("no longer leads"), "{}", cluster.log(host));
    }
    (0..3).for_each(|host| cluster.restart(host));
    cluster.wait_until_whole();
    // The new leader begins its term with an entry that says nothing: the same blocks, a later index.
    assert!(before.applied < cluster.wait_for_one_state().applied);
    for host in 0..3 {
        let list = cluster.door(host).ask("GET", "/blocks").unwrap().body;
        assert_eq!(list["total"], 9, "{list}");
    }
}

#[test]
fn a_second_process_on_a_data_directory_is_refused_and_disturbs_nothing() {
    let cluster = Cluster::start(1);
    let second = cluster.serve(0).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    let data = cluster.data(0).display().to_string();
    assert!(said.contains(&data) && said.contains("another process"), "{said}");
    assert_eq!(block(&cluster, 0, 1), 201);
}

#[test]
fn a_refusal_reaches_the_caller_through_a_follower_and_through_the_leader() {
    let cluster = Cluster::start(3);
    for host in 0..3 {
        let door = cluster.door(host);
        let refused = door.ask("DELETE", "/blocks/203.0.113.7").unwrap();
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (409, &json!("not_listed")),
            "{:?}",
            refused.body
        );
        let said = refused.body["detail"].as_str().unwrap();
        assert!(said.contains("203.0.113.7"), "{said}");
        let unblocked = cluster.palisade(host, &["unblock", "203.0.113.7"]);
        assert_eq!(unblocked.status.code(), Some(3), "{unblocked:?}");
    }
}

#[test]
fn without_a_majority_nothing_is_decided_and_everybody_says_so() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader(0).unwrap();
    let left = (leader + 1) % 3;
    cluster.kill9(leader);
    cluster.kill9((leader + 2) % 3);
    wait_until("the host that is left knows of no leader", || {
        cluster.palisade(left, &["cluster", "status"]).status.code() == Some(4)
    });
    let body = block_body(1);
    let request = Request { method: "POST", path: "/blocks", key: "alone", body: &body };
    let answer = cluster.door(left).send(&request).unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("no_leader")), "{:?}", answer.body);
    assert_eq!(cluster.palisade(left, &["block", "203.0.113.8"]).status.code(), Some(4));
    assert_eq!(cluster.door(left).ask("GET", "/blocks").unwrap().status, 200, "what is known can be read");

    // The wish that nobody could grant is granted once when it is repeated.
    cluster.restart(leader);
    let mut indices = Vec::new();
    wait_until("two of three decide again", || {
        let answer = cluster.door(left).send(&request).unwrap();
        indices.extend(answer.body["log_index"].as_u64());
        2 <= indices.len()
    });
    assert_eq!(indices[0], indices[1]);
    cluster.restart((leader + 2) % 3);
    cluster.wait_until_whole();
    cluster.wait_for_one_state();
}

fn block_body(number: u8) -> Value {
    json!({ "address": IpAddr::from(Ipv4Addr::new(203, 0, 113, number)), "seconds": 3_600 })
}

fn block(cluster: &Cluster, host: usize, number: u8) -> u16 {
    let body = block_body(number);
    let request = Request { method: "POST", path: "/blocks", key: "", body: &body };
    cluster.door(host).send(&request).unwrap().status
}
