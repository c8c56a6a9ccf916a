//! What real hosts have folded: folded anew while they serve, folded offline, and told loudly when it is not what the log
//! says.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use log_format::envelope::{Envelope, Recorded};
use log_format::event::{AddressReleased, DenylistEvent, Event, ReleaseCause};
use log_format::ids::{CommandId, HostId, Incarnation, Origin, OriginSequence, Salt};
use palisade::checkpoints::Checkpoints;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Request};
use crate::support::wait_until;
use crate::wire_cluster::binary;

/// Short chapters, and a log that keeps little, so that a fold from the first entry needs the chapters.
const SHORT: &str = "\n[log]\nchapter_entries = 64\nkeep_entries = 1\n";
/// Enough for several chapters.
const BLOCKS: u8 = 199;

#[test]
fn a_host_folds_its_projections_anew_while_it_serves_and_offline_they_are_the_same() {
    let mut cluster = Cluster::make(1);
    cluster.configure(0, |text| text + SHORT);
    cluster.restart(0);
    cluster.wait_until_whole();
    // A chapter is cut at a tick: of all blocks at once a fast host makes one long chapter.
    for (number, blocks) in [(1, 0..BLOCKS / 2), (2, BLOCKS / 2..BLOCKS)] {
        blocks.for_each(|number| block(&cluster, number));
        wait_until("a chapter is sealed", || number <= cluster.log(0).matches("chapter sealed").count());
    }

    let before = items(&cluster);
    assert_eq!(before[0]["rebuild"], Value::Null);
    let rebuilt = cluster.palisade(0, &["projections", "rebuild", "--format", "jsonl"]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    let rebuilt: Vec<Value> = lines(&rebuilt);
    for item in &rebuilt {
        assert_eq!(
            (&item["last_rebuild"]["outcome"], &item["diverged_at"]),
            (&json!("equal"), &Value::Null),
            "{item}"
        );
    }
    let listed = cluster.palisade(0, &["projections", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("equal at"), "{listed:?}");

    let shown = cluster.door(0).ask("GET", "/blocks?per=200").unwrap().body;
    let state = cluster.wait_for_one_state();
    assert!(cluster.term(0).success());
    // An entry after it, so that the log itself knows that it is committed.
    cluster.restart(0);
    cluster.wait_until_whole();
    block(&cluster, BLOCKS);
    assert!(cluster.term(0).success());
    let until = state.applied.to_string();
    let folded = replay(cluster.data(0), &["--until", &until, "--format", "json"]);
    assert_eq!(json_of(&folded)["state_hash"], state.hash.as_str(), "{folded:?}");
    let blocks =
        json_of(&replay(cluster.data(0), &["--until", &until, "--view", "blocks", "--format", "json"]));
    assert_eq!(blocks["total"], shown["total"]);
    assert_eq!(blocks["total"], BLOCKS);
    let text = replay(cluster.data(0), &["--view", "blocks"]);
    assert_eq!(String::from_utf8_lossy(&text.stdout).lines().count(), usize::from(BLOCKS) + 1);

    // What is wrong with a question is said before anything is folded.
    let ahead = replay(cluster.data(0), &["--until", "999999"]);
    assert_eq!(ahead.status.code(), Some(2), "{ahead:?}");
    assert!(String::from_utf8_lossy(&ahead.stderr).contains("committed up to entry"), "{ahead:?}");
    assert_eq!(replay(cluster.data(0), &["--view", "weather"]).status.code(), Some(2));
}

#[test]
fn checkpoints_can_be_deleted_and_a_state_that_is_not_the_fold_of_the_log_is_told_loudly() {
    let mut cluster = Cluster::start(1);
    (0..9).for_each(|number| block(&cluster, number));
    assert!(cluster.term(0).success());
    let data = cluster.data(0).to_owned();

    // Deleted: the log is folded instead, and the answer is the same.
    cluster.restart(0);
    cluster.wait_until_whole();
    let state = cluster.wait_for_one_state();
    assert!(cluster.term(0).success());
    let _ = fs::remove_dir_all(data.join("projections.sled"));
    let until = state.applied.to_string();
    assert_eq!(
        json_of(&replay(&data, &["--until", &until, "--format", "json"]))["state_hash"],
        state.hash.as_str()
    );

    // Forged: it serves what is not in the log, until it folds anew.
    forge(&data, "203.0.113.4".parse().unwrap());
    cluster.restart(0);
    cluster.wait_until_whole();
    assert_eq!(total(&cluster), 8, "the checkpoint is taken up");
    assert!(cluster.palisade(0, &["cluster", "status"]).status.success());
    let rebuilt = cluster.palisade(0, &["projections", "rebuild"]);
    let said = String::from_utf8_lossy(&rebuilt.stderr).into_owned();
    assert_eq!(rebuilt.status.code(), Some(1), "{rebuilt:?}");
    let named: Vec<String> = items(&cluster)
        .iter()
        .map(|item| format!("{}@{}", item["name"].as_str().unwrap(), item["version"]))
        .collect();
    let diverged = format!("DIVERGED: {} did not say what the log says", named.join(", "));
    assert!(said.contains(&diverged), "{said}");
    assert!(cluster.log(0).contains("DIVERGED"), "the host's own log has it");
    let status = cluster.palisade(0, &["cluster", "status"]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    assert_eq!(total(&cluster), 9, "what the log says is served");
    let before = items(&cluster);
    assert_eq!(before[1]["last_rebuild"]["outcome"], "differed");
    assert_eq!(before[1]["checkpoint"], Value::Null, "where it came from is gone");

    // Healed: another fold is equal, and so is the next start.
    assert!(cluster.palisade(0, &["projections", "rebuild"]).status.success());
    assert!(cluster.term(0).success());
    cluster.restart(0);
    cluster.wait_until_whole();
    assert_eq!(total(&cluster), 9);
    assert!(cluster.palisade(0, &["cluster", "status"]).status.success());
}

/// Puts a state aside in which this address was released, which the log does not say.
fn forge(data: &Path, source: IpAddr) {
    let (_, at) = Checkpoints::open(data);
    assert_eq!(at.applied().get(), 0, "nothing is put aside");
    let log = log_format::verify::LogView::open(&log_format::disk::StdDisk, data).unwrap();
    let commit = log.hard_state().commit;
    let mut folded = at;
    for entry in log.entries(log_format::ids::LogIndex::new(1)).map(Result::unwrap) {
        if entry.index <= commit
            && let Some(envelope) = log_format::verify::decode(&entry).unwrap()
        {
            folded.fold(entry.index, &envelope);
        }
    }
    let right = folded.standings();
    let event = Event::Denylist(DenylistEvent::AddressReleased(AddressReleased {
        source,
        cause: ReleaseCause::Expired,
    }));
    let sequence = OriginSequence::default();
    let envelope = Envelope {
        command: CommandId::new([0xee; 16]),
        origin: Origin { host: HostId::new(1), incarnation: Incarnation::new(1), sequence },
        accepted_at: folded.model.last_accepted_at(),
        events: vec![Recorded { observed_at: folded.model.last_accepted_at(), salt: Salt::default(), event }],
    };
    let index = folded.applied();
    folded.model.evolve(index, &envelope);
    folded.views.evolve(index, &envelope);
    assert_ne!(folded.standings(), right);
    let (checkpoints, _) = Checkpoints::open(data);
    checkpoints.save(&folded).unwrap();
}

fn replay(data: &Path, words: &[&str]) -> Output {
    Command::new(binary()).arg("replay").arg("--data").arg(data).args(words).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn items(cluster: &Cluster) -> Vec<Value> {
    let listed = cluster.palisade(0, &["projections", "list", "--format", "jsonl"]);
    assert!(listed.status.success(), "{listed:?}");
    let items = lines(&listed);
    assert_eq!(
        items.iter().map(|item| item["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["decisions", "views"]
    );
    items
}

fn total(cluster: &Cluster) -> u64 {
    cluster.door(0).ask("GET", "/blocks").unwrap().body["total"].as_u64().unwrap()
}

fn block(cluster: &Cluster, number: u8) {
    let body = json!({ "address": IpAddr::from([203, 0, 113, number]), "seconds": 3_600 });
    let request = Request { method: "POST", path: "/blocks", key: "", body: &body };
    assert_eq!(cluster.door(0).send(&request).unwrap().status, 201);
}
