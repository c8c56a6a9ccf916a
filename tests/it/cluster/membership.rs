//! Hosts come and go, by the command line alone, as docs/operating.md says.

use std::process::{Command, Output};

use palisade::config;
use serde_json::Value;

use super::{Cluster, Host, Request, block_of, free_address};
use crate::support::wait_until;
use crate::wire_cluster::binary;

#[test]
fn a_host_joins_a_dead_one_is_replaced_and_the_old_leader_goes() {
    let mut cluster = Cluster::start(3);
    assert_eq!(write(&cluster, 0, 1), 201);
    let leader = cluster.leader(0).unwrap();
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);

    // It asks a host that does not lead, and is sent on to the one that does.
    let token = issue(&cluster, other);
    let joined = cluster.join(&token, other, "host4");
    assert!(joined.status.success(), "{joined:?}");
    let again = cluster.join(&token, leader, "host5");
    assert_eq!(again.status.code(), Some(3), "a token is good once: {again:?}");
    let new = 3;
    cluster.restart(new);
    wait_until("the new host is a learner and has everything", || {
        let row = row(&cluster, leader, "4");
        row["role"] == "learner"
            && row["status"] == "active"
            && cluster.status(leader).is_some_and(|status| status["applied"] == row["applied"])
    });

    // A dead host is let go, and the learner gets its vote.
    cluster.kill9(dead);
    let removed = remove(&cluster, other, dead);
    assert!(removed.status.success(), "{removed:?}");
    wait_until("the new host has its vote", || row(&cluster, leader, "4")["role"] == "follower");
    let key = cluster.folder(new).join("ca.key");
    wait_until("the new host can sign", || key.exists());
    assert_eq!(write(&cluster, other, 2), 201);

    // The old leader hands over to the new host, and goes.
    let transfer = transfer(&cluster, other, "4");
    assert!(transfer.status.success(), "{transfer:?}");
    wait_until("the new host leads", || cluster.leader(other) == Some(new));
    let removed = remove(&cluster, other, leader);
    assert!(removed.status.success(), "{removed:?}");
    assert!(cluster.term(leader).success());
    assert_eq!(write(&cluster, other, 3), 201);
    wait_until("two hosts are left", || {
        cluster.status(other).is_some_and(|status| status["hosts"].as_array().map(Vec::len) == Some(2))
    });

    // What was let go stays out and says so, and the new leader lets others in.
    for gone in [leader, dead] {
        cluster.restart(gone);
        wait_until("a host that was let go says so", || says_that_it_was_removed(&cluster, gone));
        assert!(cluster.log(gone).contains("was removed from the cluster"), "{}", cluster.log(gone));
        let refused = cluster.palisade(gone, &["unblock", "203.0.113.1"]);
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("join anew"), "{refused:?}");
    }
    let token = issue(&cluster, other);
    let joined = cluster.join(&token, other, "host5");
    assert!(joined.status.success(), "{joined:?}");
    cluster.restart(4);
    wait_until("ids are not used again", || row(&cluster, other, "5")["status"] == "active");
    let list = cluster.door(other).ask("GET", "/blocks").unwrap().body;
    assert_eq!(list["total"], 3, "{list}");
    wait_until("a start with a damaged log would know whom to ask", || {
        let kept = std::fs::read_to_string(cluster.data(other).join("members")).unwrap_or_default();
        let ids: Vec<&str> = kept.lines().filter_map(|line| line.split(' ').next()).collect();
        ids == ["4", "5"]
    });
}

#[test]
fn leadership_is_handed_over_on_any_host_or_it_is_said_why_not() {
    let mut cluster = Cluster::start(4);
    let leader = cluster.leader(0).unwrap();
    let [one, other] = [1, 2].map(|step| (leader + step) % 3);
    for (asked, to) in [(one, other), (leader, one), (one, one)] {
        let done = transfer(&cluster, asked, &(to + 1).to_string());
        assert!(done.status.success(), "{done:?}");
        wait_until("it leads", || (0..4).all(|host| cluster.leader(host) == Some(to)));
    }
    cluster.kill9(leader);
    wait_until("the others hear that it is quiet", || {
        row(&cluster, one, &(leader + 1).to_string())["status"] != "active"
    });
    let silent = (leader + 1).to_string();
    for (to, said) in
        [("4", "no vote"), ("9", "does not belong"), ("x", "no host's id"), (&silent, "has not answered")]
    {
        let refused = transfer(&cluster, other, to);
        assert_ne!(refused.status.code(), Some(0), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(said), "{refused:?}");
    }
    assert_eq!(cluster.leader(other), Some(one), "nothing changed");
}

#[test]
fn tokens_are_listed_and_revoked_and_a_folder_in_use_is_refused() {
    let mut cluster = Cluster::start(1);
    let token = issue(&cluster, 0);
    let listed = cluster.palisade(0, &["cluster", "token", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let id = listed.split_whitespace().next().unwrap();
    assert!(!listed.contains(token.rsplit('.').next().unwrap()), "the secret is nowhere: {listed}");
    assert!(cluster.palisade(0, &["cluster", "token", "revoke", id]).status.success());
    let refused = cluster.join(&token, 0, "host2");
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let damaged = cluster.join(&token[..token.len() - 1], 0, "host2");
    assert_eq!(damaged.status.code(), Some(2), "{damaged:?}");
    let used = cluster.join_in(&issue(&cluster, 0), 0, ("host2", cluster.folder(0)));
    assert_eq!(used.status.code(), Some(3), "{used:?}");
    assert!(String::from_utf8_lossy(&used.stderr).contains("empty folder"), "{used:?}");
}

impl Cluster {
    /// Brings a new host in through another; the next restart starts it.
    pub(super) fn join(&mut self, token: &str, via: usize, name: &str) -> Output {
        let folder = self._folder.path().join(name);
        let output = self.join_in(token, via, (name, folder.clone()));
        if output.status.success() {
            let configuration = folder.join("palisade.toml");
            let config = config::load(&configuration).unwrap();
            let log = self._folder.path().join(format!("{name}.log"));
            self.hosts.push(Host { configuration, config, log, process: None });
        }
        output
    }

    fn join_in(&self, token: &str, via: usize, (name, folder): (&str, std::path::PathBuf)) -> Output {
        let via = self.hosts[via].config.cluster.listen.to_string();
        let (address, console) = (free_address().to_string(), free_address().port().to_string());
        let mut join = Command::new(binary());
        join.args(["cluster", "join", "--watch-only", "--token", token, "--via", &via]);
        join.args(["--name", name, "--address", &address, "--console-port", &console, "--data"]);
        join.arg(folder).output().unwrap()
    }

    pub(super) fn folder(&self, host: usize) -> std::path::PathBuf {
        self.hosts[host].configuration.parent().unwrap().to_owned()
    }
}

pub(super) fn issue(cluster: &Cluster, host: usize) -> String {
    let issued = cluster.palisade(host, &["cluster", "token", "issue"]);
    assert!(issued.status.success(), "{issued:?}");
    String::from_utf8(issued.stdout).unwrap().trim().to_owned()
}

pub(super) fn remove(cluster: &Cluster, host: usize, gone: usize) -> Output {
    cluster.palisade(host, &["cluster", "remove", &(gone + 1).to_string()])
}

fn says_that_it_was_removed(cluster: &Cluster, host: usize) -> bool {
    let status = cluster.palisade(host, &["cluster", "status"]);
    status.status.code() == Some(4) && String::from_utf8_lossy(&status.stderr).contains("was removed")
}

fn transfer(cluster: &Cluster, host: usize, to: &str) -> Output {
    cluster.palisade(host, &["cluster", "transfer", "--to", to])
}

/// What a host says of the one with this id.
pub(super) fn row(cluster: &Cluster, host: usize, id: &str) -> Value {
    let hosts = cluster.status(host).map_or(Value::Null, |status| status["hosts"].clone());
    let rows = hosts.as_array().cloned().unwrap_or_default();
    rows.into_iter().find(|row| row["id"] == id).unwrap_or(Value::Null)
}

pub(super) fn write(cluster: &Cluster, host: usize, number: u8) -> u16 {
    let body = block_of(number);
    let request = Request { method: "POST", path: "/blocks", key: "", body: &body };
    cluster.door(host).send(&request).unwrap().status
}
