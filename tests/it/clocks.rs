//! The system's clock steps an hour back or a day ahead while hosts run: no block ends early, none is held for longer, and
//! the log's times go on rising. libfaketime makes the steps, for one host at a time.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and write files")]

use std::fs;
use std::path::{Path, PathBuf};

use log_format::disk::StdDisk;
use log_format::ids::LogIndex;
use log_format::time::Timestamp;
use log_format::verify::{self, LogView};
use serde_json::json;

use crate::cluster::{Cluster, Request};
use crate::support::{Scratch, not_run, wait_until};

/// Debian's, for programs with threads.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Steps of the leader's and of a follower's clock, in this order.
const STEPS: [&str; 4] = ["-1h", "+1d", "-25h", "+0"];

#[test]
fn a_step_of_the_clock_ends_no_block_early_and_holds_none_for_longer() {
    if !Path::new(FAKETIME).exists() {
        return not_run("clocks", "libfaketime is not installed");
    }
    let folder = Scratch::new("clocks");
    let clock = |host: usize| folder.path().join(format!("clock{host}"));
    let mut cluster = Cluster::make(3);
    for host in 0..cluster.len() {
        set(&clock(host), "+0");
        let mut serve = cluster.serve(host);
        serve.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", clock(host));
        serve
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        cluster.restart_as(host, serve);
    }
    cluster.wait_until_whole();
    block(&cluster, "20.1.0.1", 3_600);
    let mut number = 0;
    for of_leader in [true, false] {
        for step in STEPS {
            let leader = cluster.leader(0).unwrap();
            let host = if of_leader { leader } else { (leader + 1) % 3 };
            number += 1;
            let before = format!("20.1.1.{number}");
            block(&cluster, &before, 2);
            set(&clock(host), step);
            let after = format!("20.1.2.{number}");
            block(&cluster, &after, 2);
            wait_until(&format!("short blocks end after {step}"), || {
                let blocked = blocked(&cluster, host);
                !blocked.contains(&before) && !blocked.contains(&after)
            });
            (0..cluster.len()).for_each(|host| {
                assert_eq!(blocked(&cluster, host), ["20.1.0.1"], "after {step} at host {host}");
            });
        }
    }
    cluster.wait_until_whole();
    check_times_rise(&mut cluster);
    println!("clocks: {number} steps, {} blocks, none ended early, none stuck", 2 * number + 1);
}

fn set(clock: &PathBuf, offset: &str) {
    // Replaced as a whole: the host reads it at every look at its clock.
    let new = clock.with_extension("new");
    fs::write(&new, format!("{offset}\n")).unwrap();
    fs::rename(&new, clock).unwrap();
}

fn block(cluster: &Cluster, address: &str, seconds: u64) {
    let body = json!({ "address": address, "seconds": seconds });
    let request = Request { method: "POST", path: "/blocks", key: address, body: &body };
    wait_until("a block is acknowledged", || {
        let answer = cluster.door(0).send(&request).unwrap();
        assert!(matches!(answer.status, 201 | 503), "{}", answer.body);
        answer.status == 201
    });
}

fn blocked(cluster: &Cluster, host: usize) -> Vec<String> {
    let list = cluster.door(host).ask("GET", "/blocks").unwrap().body;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|block| block["address"].as_str().unwrap().to_owned()).collect()
}

/// Every entry's time is later than that of the one before it.
fn check_times_rise(cluster: &mut Cluster) {
    cluster.kill9(0);
    let log = LogView::open(&StdDisk, cluster.data(0)).unwrap();
    let envelopes =
        log.entries(LogIndex::new(1)).filter_map(|entry| verify::decode(&entry.unwrap()).unwrap());
    let times: Vec<Timestamp> = envelopes.map(|envelope| envelope.accepted_at).collect();
    assert!(2 * STEPS.len() < times.len(), "{times:?}");
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
}
