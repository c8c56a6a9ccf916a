//! `palisade cluster`: makes a cluster, or looks at one.

#![expect(
    clippy::disallowed_methods,
    reason = "the command line is a shell: it draws an identity and reads the clock"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is, and never panics"
)]

mod authority;
mod membership;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context;
use clap::{Args, Subcommand};
use log_format::ids::ClusterId;
use log_format::time::Timestamp;
use serde_json::Value;

use super::{Failure, Format, Host, ask};
use crate::provision::{self, FirewallSwitch, NewCluster, NewHost};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Write a new cluster's certificates and one folder per host, to be carried to the hosts
    Init(Init),
    /// Show the hosts of the cluster: role, progress, clock, firewall, sensor
    Status(Status),
    /// Let a new host join: issue, list or revoke join tokens
    #[command(subcommand)]
    Token(membership::Token),
    /// Bring this machine into a running cluster, with a token
    Join(membership::Join),
    /// Hand leadership to another host
    Transfer(membership::Transfer),
    /// Replace the authority that signs the hosts' certificates: list, rotate, retire
    #[command(subcommand)]
    Authority(authority::Authority),
    /// Let a host go, whether it answers or not; its id is never used again
    Remove(membership::Remove),
}

#[derive(Args)]
pub(super) struct Init {
    /// A host as NAME=ADDRESS:PORT, where its peers reach it; once for each host
    #[arg(long = "host", value_name = "NAME=ADDRESS:PORT", required = true, value_parser = named_address)]
    hosts: Vec<(String, SocketAddr)>,
    /// Folder to be made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Port of each host's console, on the same address
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    console_port: u16,
    /// Network device that each host watches and drops on; once for each
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
}

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    host: Host,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(arguments) => init(arguments),
        Command::Status(arguments) => status(&arguments),
        Command::Token(command) => membership::token(&command),
        Command::Join(arguments) => membership::join(&arguments),
        Command::Transfer(arguments) => membership::transfer(&arguments),
        Command::Authority(command) => authority::run(&command),
        Command::Remove(arguments) => membership::remove(&arguments),
    }
}

fn init(arguments: Init) -> Result<(), Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("draw the cluster's identity: {error}"))?;
    let host = |(name, address): (String, SocketAddr)| NewHost {
        name,
        address,
        console: SocketAddr::new(address.ip(), arguments.console_port),
        plain_console: false,
        devices: arguments.devices.clone(),
        playback: None,
        firewall: FirewallSwitch::On,
    };
    let hosts = arguments.hosts.into_iter().map(host).collect();
    let cluster = NewCluster { id: ClusterId::new(id), year: current_year(), hosts };
    let made = provision::provision(&cluster, &arguments.out).context("make the cluster")?;
    for host in &made {
        println!("host {}: {}", host.host, host.configuration.display());
    }
    println!("Carry each folder to its host and run `palisade serve --config palisade.toml` there.");
    println!(
        "ca.key signs hosts into the cluster: each host holds a copy; keep {} off-line.",
        arguments.out.join("ca.key").display()
    );
    Ok(())
}

/// The year now.
pub(super) fn current_year() -> i32 {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    provision::year_of(Timestamp::from_seconds(seconds))
}

fn named_address(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("give NAME=ADDRESS:PORT")?;
    let address =
        address.parse().map_err(|_| format!("{address:?} is not ADDRESS:PORT, such as 10.0.0.1:7100"))?;
    Ok((name.to_owned(), address))
}

fn status(arguments: &Status) -> Result<(), Failure> {
    let cluster = ask(&arguments.host, "GET", "/cluster?state_hash=true", None)?;
    let hosts = cluster.get("hosts").and_then(Value::as_array).cloned().unwrap_or_default();
    if arguments.format == Format::Jsonl {
        println!("{cluster}");
    } else {
        print_cluster(&cluster, &hosts);
    }
    if cluster.get("removed") == Some(&Value::Bool(true)) {
        return Err(Failure::Removed);
    }
    if cluster.get("leader").is_none_or(Value::is_null) { Err(Failure::NoLeader) } else { diverged(&cluster) }
}

/// A host that served what the log does not say is not well, whatever it serves now.
fn diverged(cluster: &Value) -> Result<(), Failure> {
    let names = cluster["diverged"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(anyhow::anyhow!(
        "DIVERGED: {} of this host did not say what the log says (`palisade projections list`); keep its data directory \
         and its log for whoever finds out why",
        names.join(", ")
    )))
}

fn print_cluster(cluster: &Value, hosts: &[Value]) {
    println!("{}", cluster_line(cluster));
    println!(
        "{:>4} {:<16} {:<10} {:<9} {:>9} {:>9} {:>9}  {:<12} sensor",
        "id", "host", "role", "status", "applied", "enforced", "clock", "firewall"
    );
    hosts.iter().for_each(|host| println!("{}", host_line(host)));
    for host in hosts {
        let reason = text(&host["firewall"]["reason"]);
        if !reason.is_empty() {
            println!("{}: firewall {}: {reason}", text(&host["name"]), text(&host["firewall"]["mode"]));
        }
    }
}

fn cluster_line(cluster: &Value) -> String {
    let hash = &cluster["state_hash"];
    format!(
        "cluster {}   term {}   commit {}   state {} at {}",
        text(&cluster["cluster_id"]),
        number(&cluster["term"]),
        number(&cluster["commit"]),
        text(&hash["hash"]).get(..16).unwrap_or("-"),
        number(&hash["index"]),
    )
}

fn host_line(host: &Value) -> String {
    format!(
        "{:>4} {:<16} {:<10} {:<9} {:>9} {:>9} {:>9}  {:<12} {}",
        text(&host["id"]),
        text(&host["name"]),
        text(&host["role"]),
        text(&host["status"]),
        number(&host["applied"]),
        number(&host["enforced"]),
        host["clock_offset_ms"].as_i64().map_or_else(|| "-".to_owned(), |skew| format!("{skew:+} ms")),
        text(&host["firewall"]["mode"]),
        text(&host["sensor"]["source"]),
    )
}

/// As text, because a JSON value does not follow a column's width.
fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_clusters_line_has_the_state_and_its_index() {
        let hash = json!({ "index": 7, "hash": "00112233445566778899aabbccddeeff" });
        let cluster = json!({ "cluster_id": "09", "term": 2, "commit": 8, "state_hash": hash });
        assert_eq!(cluster_line(&cluster), "cluster 09   term 2   commit 8   state 0011223344556677 at 7");
    }

    #[test]
    fn a_host_that_diverged_is_not_well() {
        assert!(diverged(&json!({ "diverged": [] })).is_ok());
        let failure = diverged(&json!({ "diverged": ["views@1"] })).unwrap_err();
        assert!(failure.to_string().starts_with("DIVERGED: views@1 of this host"), "{failure}");
    }

    #[test]
    fn a_hosts_line_keeps_its_columns_also_for_a_host_that_has_not_reported() {
        let host = json!({ "id": "1", "name": "host1", "role": "leader", "status": "active", "applied": 12, "enforced": null, "clock_offset_ms": -3 });
        let line = host_line(&host);
        let expected =
            "   1 host1            leader     active           12         -     -3 ms  -            -";
        assert_eq!(line, expected);
    }
}
