//! `palisade explain`: why an address is blocked, or why not. The first line says it in a sentence, the rest is the evidence.

use std::net::IpAddr;

use anyhow::Context;
use clap::{Args, ValueEnum};
use log_format::disk::StdDisk;
use log_format::verify::LogView;
use serde_json::Value;

use super::log::{Until, until};
use super::replay::{check_reached, replay};
use super::{Failure, Host, ask};

#[derive(Args)]
pub(super) struct Arguments {
    /// The address, IPv4 or IPv6
    address: IpAddr,
    /// Also about this port of it: one phone behind a shared address
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// As it was then: an entry's number or a time (RFC 3339). Folds this host's log anew and needs no running host
    #[arg(long, value_name = "N|TIME", value_parser = until)]
    at: Option<Until>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    host: Host,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let explained = match arguments.at {
        None => now(arguments)?,
        Some(at) => then(arguments, at)?,
    };
    match arguments.format {
        Format::Json => println!("{explained}"),
        // At once, so that whoever reads the first line only breaks nothing.
        Format::Text => println!("{}", text(&explained).join("\n")),
    }
    Ok(())
}

fn now(arguments: &Arguments) -> Result<Value, Failure> {
    let port = arguments.port.map(|port| format!("?port={port}")).unwrap_or_default();
    ask(&arguments.host, "GET", &format!("/ip/{}{port}", arguments.address), None)
}

fn then(arguments: &Arguments, at: Until) -> Result<Value, Failure> {
    let data = arguments.host.load()?.data;
    let log =
        LogView::open(&StdDisk, &data).with_context(|| format!("read the log in {}", data.display()))?;
    check_reached(&log, Some(at), "--at")?;
    let replayed = replay(&log, Some(at))?;
    let asked = (arguments.address, arguments.port);
    let explained = api::offline::explain(&replayed.folded.views, asked, replayed.now);
    Ok(explained.context("write the explanation")?)
}

/// The sentence, then what it rests on. Text of strangers comes from the API with everything invisible written out.
fn text(explained: &Value) -> Vec<String> {
    let mut lines = vec![plain(&explained["sentence"])];
    lines.push(String::new());
    lines.push(format!("Decided by: {}", plain(&explained["step"])));
    lines.extend(
        each(&explained["passed"])
            .map(|passed| format!("  not {}: {}", plain(&passed["step"]), plain(&passed["reason"]))),
    );
    if let Some(allowed) = explained["allowed"].as_object() {
        let (network, by) = (plain(&allowed["network"]), plain(&allowed["by"]));
        lines.push(format!("Allowed: {network} by {by}{}", note(&allowed["note"])));
    }
    lines.extend(section("Blocks", &explained["blocks"], None, block));
    lines.extend(section("Seen attacks", &explained["attacks"], explained["attacks_total"].as_u64(), attack));
    lines.extend(section("Notes", &explained["notes"], explained["notes_total"].as_u64(), noted));
    lines
}

fn section(title: &str, items: &Value, total: Option<u64>, line: fn(&Value) -> String) -> Vec<String> {
    let count = each(items).count();
    if count == 0 {
        return Vec::new();
    }
    let total = total.unwrap_or(0);
    let title = match u64::try_from(count) {
        Ok(count) if count < total => format!("{title} (the newest {count} of {total}):"),
        Ok(_) | Err(_) => format!("{title}:"),
    };
    std::iter::once(title).chain(each(items).map(|item| format!("  {}", line(item)))).collect()
}

fn block(block: &Value) -> String {
    let port = block["port"].as_u64().map(|port| format!(" port {port}")).unwrap_or_default();
    let until = match block["until"].as_str() {
        Some(until) => format!("until {until}"),
        None => "until a person says otherwise".to_owned(),
    };
    let why = match block["rule"].as_str() {
        Some(rule) => {
            let (evidence, count) = (plain(&block["evidence"]), plain(&block["count"]));
            let victim =
                block["victim"].as_str().map(|victim| format!(", victim {victim}")).unwrap_or_default();
            let strike = match block["strikes"].as_u64() {
                Some(0) | None => String::new(),
                Some(strike) => format!(", block {strike} within 30 days"),
            };
            format!("{rule}, {evidence}, count {count}{victim}{strike}")
        }
        None => format!("by {}{}", plain(&block["by"]), note(&block["note"])),
    };
    format!(
        "{}{port}  {} since {} {until}  {why}",
        plain(&block["address"]),
        plain(&block["sanction"]),
        plain(&block["since"])
    )
}

fn attack(attack: &Value) -> String {
    let what = ["type", "rule", "evidence"].map(|key| plain(&attack[key])).join(" ");
    format!(
        "{}  {what} x{} from port {} on {}:{}, seen by {}{}",
        plain(&attack["at"]),
        plain(&attack["count"]),
        plain(&attack["source_port"]),
        plain(&attack["victim"]),
        plain(&attack["victim_port"]),
        host(&attack["host"]),
        said(attack),
    )
}

fn noted(noted: &Value) -> String {
    let rule = noted["rule"].as_str().map(|rule| format!(" {rule}")).unwrap_or_default();
    format!(
        "{}  {}{rule} x{} on {}:{}, seen by {}{}",
        plain(&noted["at"]),
        plain(&noted["kind"]),
        plain(&noted["count"]),
        plain(&noted["victim"]),
        plain(&noted["victim_port"]),
        host(&noted["host"]),
        said(noted),
    )
}

/// What the packet said of itself, on lines of their own.
fn said(item: &Value) -> String {
    let fields = [("account", "account"), ("user agent", "user_agent"), ("first line", "line")];
    let fields = fields.map(|(name, key)| match item[key].as_str() {
        None | Some("") => String::new(),
        Some(text) => format!("\n    {name}: {text}"),
    });
    fields.concat()
}

fn host(host: &Value) -> String {
    match host["name"].as_str() {
        None | Some("") => format!("host {}", plain(&host["id"])),
        Some(name) => name.to_owned(),
    }
}

fn note(note: &Value) -> String {
    match note.as_str() {
        None | Some("") => String::new(),
        Some(note) => format!(": {note}"),
    }
}

fn each(items: &Value) -> impl Iterator<Item = &Value> {
    items.as_array().into_iter().flatten()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sentence_comes_first_and_the_evidence_after_it() {
        let explained = json!({
            "sentence": "192.0.2.1 is blocked.", "step": "block",
            "passed": [{ "step": "lists", "reason": "nobody has allowed or denied it" }],
            "allowed": null,
            "blocks": [{
                "address": "192.0.2.1", "port": 5071, "sanction": "block", "since": "S", "until": "U",
                "rule": "bad-registrations", "evidence": "proven", "count": 10, "victim": "10.0.0.1", "strikes": 2,
            }, {
                "address": "192.0.2.0/24", "port": null, "sanction": "permanent", "since": "S", "until": null,
                "rule": null, "by": "ada", "note": "bad network", "strikes": 0,
            }],
            "attacks_total": 40,
            "attacks": [{
                "at": "T", "type": "REGISTER", "rule": "bad-registrations", "evidence": "proven", "count": 10,
                "source_port": 5071, "victim": "10.0.0.1", "victim_port": 5060, "host": { "id": "1", "name": "alpha" },
                "account": "1001@pbx", "user_agent": "x\\u001b[31m", "line": "REGISTER sip:pbx SIP/2.0",
            }],
            "notes_total": 1,
            "notes": [{
                "at": "T", "kind": "spoof-suspected", "rule": null, "count": 3, "victim": "10.0.0.1",
                "victim_port": 5060, "host": { "id": "2", "name": "" }, "account": "", "user_agent": "", "line": "",
            }],
        });
        assert_eq!(
            text(&explained),
            [
                "192.0.2.1 is blocked.",
                "",
                "Decided by: block",
                "  not lists: nobody has allowed or denied it",
                "Blocks:",
                "  192.0.2.1 port 5071  block since S until U  bad-registrations, proven, count 10, victim 10.0.0.1, block 2 within 30 days",
                "  192.0.2.0/24  permanent since S until a person says otherwise  by ada: bad network",
                "Seen attacks (the newest 1 of 40):",
                "  T  REGISTER bad-registrations proven x10 from port 5071 on 10.0.0.1:5060, seen by alpha\n    account: 1001@pbx\n    user agent: x\\u001b[31m\n    first line: REGISTER sip:pbx SIP/2.0",
                "Notes:",
                "  T  spoof-suspected x3 on 10.0.0.1:5060, seen by host 2",
            ]
        );
    }

    #[test]
    fn of_an_unknown_address_nothing_but_the_decision_is_printed() {
        let explained = json!({ "sentence": "Nothing.", "step": "accept", "passed": [], "blocks": [] });
        assert_eq!(text(&explained), ["Nothing.", "", "Decided by: accept"]);
    }
}
