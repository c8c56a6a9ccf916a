//! `palisade capture` over every recording that is at hand: the program and its output, beside the engine's own tests.
//!
//! The recordings are in the folder that `PALISADE_CAPTURES` names, by default `../shared/captures` beside the workspace.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::not_run;
use crate::wire_cluster::binary;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What the last line must tell.
const SUMMARY: [&str; 9] = [
    "type",
    "file",
    "packets",
    "sip_messages",
    "malformed",
    "fragments",
    "sources",
    "attacks",
    "elapsed_seconds",
];
/// What each attack's line must tell.
const ATTACK: [&str; 15] = [
    "type",
    "source",
    "source_port",
    "victim",
    "attack",
    "rule",
    "evidence",
    "sanction",
    "scope",
    "seconds",
    "user_agent",
    "known_user_agent",
    "packet",
    "at",
    "count",
];

#[test]
fn every_recording_is_played_to_its_end_and_the_verdicts_agree_with_the_truth() {
    const TEST: &str = "every_recording_is_played_to_its_end_and_the_verdicts_agree_with_the_truth";
    let root = std::env::var_os("PALISADE_CAPTURES").unwrap_or_else(|| "../shared/captures".into());
    let root = Path::new(WORKSPACE).join(root);
    if !root.is_dir() {
        return not_run(TEST, format!("no recordings at {}", root.display()));
    }
    let mut recordings = Vec::new();
    find_recordings(&root, &mut recordings);
    let attacks: BTreeMap<PathBuf, Vec<Value>> =
        recordings.into_iter().map(|path| (path.clone(), play(&path))).collect();
    assert!(!attacks.is_empty(), "{} holds no recordings", root.display());
    let truth = fs::read_to_string(root.join("live/TRUTH.tsv")).unwrap();
    let wrong: Vec<String> =
        truth.lines().skip(1).filter_map(|row| disagreement(row, &root.join("live"), &attacks)).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_is_no_recording_is_refused_by_name() {
    for (path, reason) in [("Cargo.toml", "unknown file format"), ("no-such.pcap", "No such file")] {
        let path = Path::new(WORKSPACE).join(path);
        let output = capture(&path);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&path.display().to_string()) && said.contains(reason), "{said}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

fn capture(path: &Path) -> Output {
    Command::new(binary()).args(["capture", "--format", "jsonl"]).arg(path).output().unwrap()
}

fn find_recordings(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_recordings(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "pcap" || ending == "pcapng") {
            found.push(path);
        }
    }
}

/// Plays a recording, checks the form of what is printed, and gives the attacks.
fn play(path: &Path) -> Vec<Value> {
    let output = capture(path);
    assert!(output.status.success(), "{}: {output:?}", path.display());
    let lines = String::from_utf8(output.stdout).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut told: Vec<Value> = lines.lines().map(parse).collect();
    let summary = told.pop().unwrap();
    let (notes, attacks): (Vec<Value>, Vec<Value>) =
        told.into_iter().partition(|finding| finding["type"] == "note");
    assert_eq!(
        (&summary["type"], &summary["attacks"], &summary["notes"]),
        (&"summary".into(), &attacks.len().into(), &notes.len().into()),
        "{summary}"
    );
    assert!(SUMMARY.iter().all(|field| summary.get(field).is_some()), "{summary}");
    for attack in &attacks {
        assert!(
            attack["type"] == "attack" && ATTACK.iter().all(|field| attack.get(field).is_some()),
            "{attack}"
        );
    }
    attacks
}

/// What is wrong with the verdicts on the source of one row: an honest one is blocked, or an attack by REGISTER, by
/// OPTIONS or with a known tool's name goes unseen.
fn disagreement(row: &str, folder: &Path, attacks: &BTreeMap<PathBuf, Vec<Value>>) -> Option<String> {
    let columns: Vec<&str> = row.split('\t').collect();
    let [file, source, _victim, verdict, kind, agent, _first, notes] = columns.as_slice() else {
        panic!("a row has {} columns: {row}", columns.len());
    };
    let attacks = attacks.get(&folder.join(file)).unwrap_or_else(|| panic!("{file} was not played"));
    let mut of_source = attacks.iter().filter(|attack| attack["source"] == *source);
    if *verdict == "benign" {
        let blocked = of_source.find(|attack| attack["sanction"] != "observe");
        return blocked.map(|attack| format!("{file} {source} is honest: {attack}"));
    }
    let is_known = ["friendly-scanner", "sipsak", "Elite"].iter().any(|name| agent.starts_with(name));
    let is_due = notes.starts_with("must_detect=yes") && (["REGISTER", "OPTIONS"].contains(kind) || is_known);
    let is_seen = of_source.any(|attack| attack["attack"] == *kind && attack["sanction"] != "observe");
    (is_due && !is_seen).then(|| format!("{file} {source}: {kind} is not seen"))
}
