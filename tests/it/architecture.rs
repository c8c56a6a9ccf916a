//! The crate graph is the one of ARCHITECTURE.md: who may depend on whom, and who alone may use a dependency.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: this one runs cargo and reads the project")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Our crates and what each may depend on, of ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("log-format", &[]),
    ("sip", &[]),
    ("consensus", &["log-format"]),
    ("sensors", &["sip", "log-format"]),
    ("projections", &["log-format"]),
    ("api", &["projections", "log-format"]),
    ("palisade", &["log-format", "sip", "consensus", "sensors", "projections", "api"]),
    ("simulation", &["palisade", "log-format", "consensus", "projections"]),
    ("cluster-tests", &["palisade", "api", "sip", "log-format", "sensors", "projections"]),
];

/// Dependencies that exactly one crate may use (deny.toml, `wrappers`).
const WRAPPED: &[(&str, &str)] = &[
    ("warp", "api"),
    ("pcap", "sensors"),
    ("raft", "consensus"),
    ("bincode", "log-format"),
    ("sled", "palisade"),
];

type Graph = BTreeMap<String, BTreeSet<String>>;

fn workspace_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Direct dependencies of each workspace crate, of every kind.
fn graph() -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"])
        .current_dir(workspace_root())
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("name").to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            (name(package), dependencies.iter().map(name).collect())
        })
        .collect()
}

fn violations(graph: &Graph) -> Vec<String> {
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let mut found = Vec::new();
    for (from, dependencies) in graph {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == from) else {
            found.push(format!("{from} is a crate that ARCHITECTURE.md does not know"));
            continue;
        };
        for to in dependencies {
            if ours.contains(to.as_str()) && !allowed.contains(&to.as_str()) {
                found.push(format!("{from} may not depend on {to}"));
            }
            if WRAPPED.iter().any(|(wrapped, only)| wrapped == to && only != from) {
                found.push(format!("{from} may not use {to}"));
            }
        }
    }
    found
}

#[test]
fn crates_depend_only_on_what_architecture_md_allows() {
    assert_eq!(violations(&graph()), Vec::<String>::new());
}

#[test]
fn a_forbidden_edge_is_found() {
    let mut broken = graph();
    broken.get_mut("projections").expect("projections").insert("consensus".to_owned());
    broken.get_mut("sensors").expect("sensors").insert("warp".to_owned());
    broken.insert("shortcuts".to_owned(), BTreeSet::new());
    assert_eq!(
        violations(&broken),
        [
            "projections may not depend on consensus",
            "sensors may not use warp",
            "shortcuts is a crate that ARCHITECTURE.md does not know",
        ]
    );
}

#[test]
fn deny_toml_names_the_same_single_users() {
    let text = std::fs::read_to_string(workspace_root().join("deny.toml")).expect("read deny.toml");
    for (wrapped, only) in
        WRAPPED.iter().filter(|(wrapped, _)| graph().values().any(|uses| uses.contains(*wrapped)))
    {
        let line = format!("{{ crate = \"{wrapped}\", wrappers = [\"{only}\"] }}");
        assert!(text.contains(&line), "deny.toml lacks {line}");
    }
}
