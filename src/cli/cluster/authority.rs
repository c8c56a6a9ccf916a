//! `palisade cluster authority`: who signs the hosts' certificates, and how that changes without a pause.

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{Failure, Host, ask};

#[derive(Subcommand)]
pub(in crate::cli) enum Authority {
    /// List the trusted authorities, and which hosts have a certificate of each
    List(Asked),
    /// Let the leader make a new one, signed by the one there is; the hosts then renew their certificates by themselves
    Rotate(Asked),
    /// Trust the older ones no longer; refused while a host has a certificate of one
    Retire(Asked),
}

#[derive(Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    host: Host,
}

pub(super) fn run(command: &Authority) -> Result<(), Failure> {
    match command {
        Authority::List(Asked { host }) => list(host),
        Authority::Rotate(Asked { host }) => rotate(host),
        Authority::Retire(Asked { host }) => retire(host),
    }
}

fn list(host: &Host) -> Result<(), Failure> {
    let cluster = ask(host, "GET", "/cluster", None)?;
    let authorities = authorities(&cluster);
    for (place, authority) in authorities.iter().enumerate() {
        let part = if place + 1 == authorities.len() { "signs" } else { "to be retired" };
        println!("{authority}  {part:<13}  certificates: {}", names(&cluster, Some(authority)));
    }
    let silent = names(&cluster, None);
    if silent != "none" {
        println!("not said yet: {silent}");
    }
    Ok(())
}

fn rotate(host: &Host) -> Result<(), Failure> {
    let made = ask(host, "POST", "/authorities", Some(&json!({})))?;
    println!("authority {} signs from now on.", made.get("authority").and_then(Value::as_str).unwrap_or("-"));
    println!(
        "The hosts renew their certificates within moments; `palisade cluster authority list` shows it."
    );
    println!("Then run `palisade cluster authority retire`.");
    Ok(())
}

fn retire(host: &Host) -> Result<(), Failure> {
    let cluster = ask(host, "GET", "/cluster", None)?;
    let authorities = authorities(&cluster);
    let (_, older) =
        authorities.split_last().ok_or_else(|| anyhow!("the host has just started; try again"))?;
    if older.is_empty() {
        println!("there is one authority; nothing is to be retired");
    }
    for authority in older {
        ask(host, "DELETE", &format!("/authorities/{authority}"), None)?;
        println!("authority {authority} is retired: nobody trusts it any more");
    }
    Ok(())
}

fn authorities(cluster: &Value) -> Vec<String> {
    let listed = cluster.get("authorities").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The hosts with a certificate of that authority, or those that have not said.
fn names(cluster: &Value, authority: Option<&str>) -> String {
    let hosts = cluster.get("hosts").and_then(Value::as_array).into_iter().flatten();
    let shown = hosts.filter(|host| host.get("authority").and_then(Value::as_str) == authority);
    let names: Vec<&str> = shown.filter_map(|host| host.get("name").and_then(Value::as_str)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_under_the_authority_of_their_certificates() {
        let host = |name: &str, authority: Value| json!({ "name": name, "authority": authority });
        let hosts = [
            host("one", json!("aa")),
            host("two", json!("bb")),
            host("six", json!("aa")),
            host("off", Value::Null),
        ];
        let cluster = json!({ "authorities": ["aa", "bb", "cc"], "hosts": hosts });
        assert_eq!(authorities(&cluster), ["aa", "bb", "cc"]);
        let of = |authority| names(&cluster, authority);
        assert_eq!(
            [of(Some("aa")), of(Some("bb")), of(Some("cc")), of(None)],
            ["one, six", "two", "none", "off"]
        );
    }
}
