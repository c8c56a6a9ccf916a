//! Names that a host never drops: asked for at a real name server, and remembered when it is gone.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::{Dnsmasq, Scratch, may_make_namespaces, not_run, wait_until};

/// Where the name server listens: a loopback address of its own.
const SERVER: &str = "127.0.0.77";
const NAME: &str = "trunk.example.net";
/// What it says of the name.
const ADDRESSES: [&str; 2] = ["198.51.100.77", "2001:db8::77"];

#[test]
fn a_name_that_is_never_dropped_keeps_its_addresses_when_nobody_answers() {
    const TEST: &str = "names::a_name_that_is_never_dropped_keeps_its_addresses_when_nobody_answers";
    if !may_make_namespaces(TEST) {
        return;
    }
    if !["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"].iter().any(|path| Path::new(path).exists()) {
        return not_run(TEST, "it needs dnsmasq: apt-get install dnsmasq-base");
    }
    let scratch = Scratch::new("names");
    fs::write(scratch.path().join("resolv.conf"), format!("nameserver {SERVER}\n")).unwrap();
    let arguments = [
        "--port=53".to_owned(),
        format!("--listen-address={SERVER}"),
        format!("--host-record={NAME},{}", ADDRESSES.join(",")),
    ];
    let server = Dnsmasq::start(Command::new("dnsmasq"), scratch.path(), &arguments, "started");
    let mut cluster = Cluster::make(1);
    cluster.configure(0, |text| text.replace("[firewall]", &format!("[firewall]\nnever_block = [{NAME:?}]")));
    let serve = asking(scratch.path(), &cluster.serve(0));
    cluster.restart_as(0, serve);
    wait_until("the host leads", || cluster.leader(0) == Some(0));
    for address in ADDRESSES {
        wait_until("the name is resolved", || spared_by(&cluster, address).contains(NAME));
    }
    let blocked = cluster.palisade(0, &["block", ADDRESSES[0], "--for", "1h"]);
    assert!(blocked.status.success(), "{blocked:?}");
    let said = explained(&cluster, ADDRESSES[0]);
    let sentence = said["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("198.51.100.77 is blocked until"), "{sentence}");
    assert!(
        sentence.ends_with(&format!("because it is an address of {NAME} (firewall.never_block).")),
        "{sentence}"
    );
    assert_eq!(spared_by(&cluster, "198.51.100.78"), "");

    // The name server goes, and the host starts anew.
    drop(server);
    cluster.kill9(0);
    let serve = asking(scratch.path(), &cluster.serve(0));
    cluster.restart_as(0, serve);
    wait_until("the host leads again", || cluster.leader(0) == Some(0));
    wait_until("nobody answers", || cluster.log(0).contains("no answer for a name in firewall.never_block"));
    for address in ADDRESSES {
        assert!(spared_by(&cluster, address).contains(NAME), "{address}");
    }
}

/// The command, in a mount namespace of its own in which the machine's resolver asks this test's name server alone.
fn asking(folder: &Path, serve: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
    command
        .arg(folder.join("resolv.conf"))
        .arg(serve.get_program())
        .args(serve.get_args())
        .stdin(Stdio::null());
    command
}

fn explained(cluster: &Cluster, address: &str) -> Value {
    let output = cluster.palisade(0, &["explain", address, "--format", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Why the host never drops an address; empty if it does.
fn spared_by(cluster: &Cluster, address: &str) -> String {
    explained(cluster, address)["never_dropped_here"]["reason"].as_str().unwrap_or_default().to_owned()
}
