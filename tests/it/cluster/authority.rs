//! The cluster's authority is replaced while it runs, by the command line alone, and certificates renew themselves.

use std::fs;
use std::process::Command;

use super::membership::issue;
use super::{Cluster, row_of};
use crate::support::wait_until;

#[test]
fn of_two_rotations_at_once_one_is_made_and_has_its_key() {
    let cluster = Cluster::start(3);
    let rotate = |host| cluster.palisade(host, &["cluster", "authority", "rotate"]);
    let done = std::thread::scope(|scope| {
        let asked = [0, 1, 2, 0].map(|host| scope.spawn(move || rotate(host)));
        asked.map(|asked| asked.join().unwrap())
    });
    let made = done.iter().filter(|rotated| rotated.status.success()).count();
    assert_eq!(made, 1, "{done:?}");
    let second = second_authority(&cluster, 0);
    wait_until("every host has a certificate of the one that was made", || {
        (0..3).all(|host| shown(&cluster, 0, host) == second)
    });
}

#[test]
fn the_authority_is_replaced_and_certificates_of_the_old_one_are_refused() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader(0).unwrap();
    let [one, off] = [1, 2].map(|step| (leader + step) % 3);
    let early = cluster.palisade(one, &["cluster", "authority", "retire"]);
    assert!(String::from_utf8_lossy(&early.stdout).contains("one authority"), "{early:?}");

    // A host is off while the others go over to the new authority.
    cluster.kill9(off);
    let old = fs::read(cluster.folder(off).join("host.pem")).unwrap();
    let rotated = cluster.palisade(one, &["cluster", "authority", "rotate"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let again = cluster.palisade(one, &["cluster", "authority", "rotate"]);
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    let second = second_authority(&cluster, one);
    wait_until("two hosts have certificates of the new authority", || {
        // The leader decides; each host knows of itself a moment before it does.
        [leader, one].iter().all(|host| shown(&cluster, leader, *host) == second)
    });
    let early = cluster.palisade(one, &["cluster", "authority", "retire"]);
    assert_eq!(early.status.code(), Some(3), "{early:?}");
    let said = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(said.contains(&format!("host{}", off + 1)), "it is named: {said}");
    assert!(!said.contains(&format!("host{}", one + 1)), "nobody else is: {said}");

    // It comes back, trusts the others through the old authority, and follows.
    let before = cluster.folder(off).with_file_name("before");
    let copied =
        Command::new("/usr/bin/cp").arg("-r").arg(cluster.folder(off)).arg(&before).status().unwrap();
    assert!(copied.success());
    cluster.restart(off);
    wait_until("the third host has one, too", || shown(&cluster, leader, off) == second);
    assert_ne!(fs::read(cluster.folder(off).join("host.pem")).unwrap(), old);
    wait_until("hosts with a vote can sign with the new key", || {
        let keys: Vec<_> =
            (0..3).map(|host| fs::read(cluster.folder(host).join("ca.key")).unwrap()).collect();
        keys.iter().all(|key| *key == keys[leader])
    });
    let retired = cluster.palisade(one, &["cluster", "authority", "retire"]);
    assert!(retired.status.success(), "{retired:?}");
    wait_until("everybody trusts the new one alone", || {
        (0..3).all(|host| {
            cluster.status(host).is_some_and(|status| status["authorities"] == serde_json::json!([second]))
        })
    });
    cluster.wait_until_whole();

    // Whoever still has a certificate of the old authority finds every door shut.
    cluster.kill9(off);
    for file in ["host.pem", "host.key", "ca.pem"] {
        fs::copy(before.join(file), cluster.folder(off).join(file)).unwrap();
    }
    cluster.restart(off);
    let arrival = format!("peer connected from={} ", off + 1);
    let count = |host: usize| cluster.log(host).matches(&arrival).count();
    let connected = [count(leader), count(one)];
    wait_until("it knows no leader", || {
        cluster.palisade(off, &["cluster", "status"]).status.code() == Some(4)
    });
    wait_until("the others see that it is gone", || row_of(&cluster, one, off)["status"] == "inactive");
    assert_eq!([count(leader), count(one)], connected, "nobody let it in");

    // A new host comes in under the new authority.
    let token = issue(&cluster, one);
    let joined = cluster.join(&token, leader, "host4");
    assert!(joined.status.success(), "{joined:?}");
    cluster.restart(3);
    wait_until("it belongs to the cluster", || shown(&cluster, one, 3) == second);
}

#[test]
fn an_old_certificate_is_renewed_and_peers_see_the_new_one() {
    let cluster = Cluster::start(3);
    // Those that a cluster is made with are as old as its year: more than thirty days.
    let before: Vec<_> = (0..3).map(|host| certificate(&cluster, host)).collect();
    wait_until("every host has renewed its certificate", || {
        (0..3).all(|host| cluster.log(host).contains("the certificate is renewed"))
    });
    for (host, before) in before.into_iter().enumerate() {
        let now = certificate(&cluster, host);
        assert_ne!(now, before);
        assert_eq!(seen_by_peers(&cluster, host), now, "host {host} shows it without a restart");
        assert!(cluster.log(host).matches("serves").count() == 1, "{}", cluster.log(host));
    }
    cluster.wait_until_whole();
}

/// The authority that a host trusts beside the first.
fn second_authority(cluster: &Cluster, host: usize) -> String {
    let mut second = String::new();
    wait_until("two authorities are trusted", || {
        let status = cluster.status(host).unwrap_or_default();
        second = status["authorities"][1].as_str().unwrap_or_default().to_owned();
        !second.is_empty()
    });
    second
}

/// The authority of a host's certificate, as another host knows it.
fn shown(cluster: &Cluster, asked: usize, host: usize) -> String {
    row_of(cluster, asked, host)["authority"].as_str().unwrap_or_default().to_owned()
}

/// The first certificate of a host's file.
fn certificate(cluster: &Cluster, host: usize) -> String {
    first_certificate(&fs::read_to_string(cluster.folder(host).join("host.pem")).unwrap())
}

/// The certificate with which a host answers on its peers' port.
fn seen_by_peers(cluster: &Cluster, host: usize) -> String {
    let address = cluster.hosts[host].config.cluster.listen.to_string();
    let mut ask = Command::new("/usr/bin/openssl");
    ask.args(["s_client", "-connect", &address, "-alpn", "palisade-join", "-showcerts"]);
    let answer = ask.stdin(std::process::Stdio::null()).output().unwrap();
    first_certificate(&String::from_utf8_lossy(&answer.stdout))
}

fn first_certificate(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let begin = pem.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("no certificate: {pem}"));
    let length = pem[begin..].find(END).unwrap() + END.len();
    pem[begin..begin + length].replace('\r', "")
}
