//! `palisade block`, `palisade blocks` and `palisade unblock`.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is, and never panics"
)]

use std::net::IpAddr;

use clap::Args;
use projections::decide::{MAX_BATCH, MAX_BLOCK_SECONDS};
use serde_json::{Value, json};

use super::{Failure, Format, Host, ask};

#[derive(Args)]
pub(super) struct Block {
    /// Up to 64 addresses, IPv4 or IPv6: all of them are blocked, or none
    #[arg(required = true, num_args = 1..=MAX_BATCH, value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// How long, up to a year: 90s, 15m, 1h, 7d [default: the cluster's first block time]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    duration: Option<u64>,
    /// Why, for whoever looks later
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    host: Host,
}

#[derive(Args)]
pub(super) struct Unblock {
    /// The address, IPv4 or IPv6
    address: IpAddr,
    /// Also never block it for this long, up to a year: 90s, 15m, 1h, 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    allow_for: Option<u64>,
    #[command(flatten)]
    host: Host,
}

#[derive(Args)]
pub(super) struct List {
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    host: Host,
}

/// Rows asked for: the longest page that the API gives.
const PAGE: u32 = 200;

pub(super) fn list(arguments: &List) -> Result<(), Failure> {
    let mut page = 1;
    let mut shown = 0;
    loop {
        let path = format!("/blocks?page={page}&per={PAGE}");
        let answer = ask(&arguments.host, "GET", &path, None)?;
        let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        for block in &items {
            match arguments.format {
                Format::Jsonl => println!("{block}"),
                Format::Text => print_block(block),
            }
        }
        shown += items.len();
        let total = answer.get("total").and_then(Value::as_u64).unwrap_or_default();
        if items.is_empty() || total <= u64::try_from(shown).unwrap_or(u64::MAX) {
            return Ok(());
        }
        page += 1;
    }
}

fn print_block(block: &Value) {
    let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    println!(
        "{:<39} {:<10} {:<8} until {:<27} {}",
        text("address"),
        text("sanction"),
        text("type"),
        text("until"),
        text("user_agent"),
    );
}

pub(super) fn block(arguments: &Block) -> Result<(), Failure> {
    let items: Vec<Value> = arguments.addresses.iter().map(|address| item(*address, arguments)).collect();
    let (path, body) = match items.as_slice() {
        [item] => ("/blocks", item.clone()),
        _ => ("/blocks/batch", json!({ "items": items })),
    };
    let answer = ask(&arguments.host, "POST", path, Some(&body))?;
    for address in &arguments.addresses {
        println!("{address} is blocked on every host (log index {})", answer["log_index"]);
    }
    Ok(())
}

fn item(address: IpAddr, arguments: &Block) -> Value {
    let mut item = json!({ "address": address, "note": arguments.note });
    if let (Some(seconds), Some(fields)) = (arguments.duration, item.as_object_mut()) {
        fields.insert("seconds".to_owned(), seconds.into());
    }
    item
}

pub(super) fn unblock(arguments: &Unblock) -> Result<(), Failure> {
    let allow = arguments.allow_for.map(|seconds| format!("?allow_seconds={seconds}")).unwrap_or_default();
    let path = format!("/blocks/{}{allow}", arguments.address);
    let answer = ask(&arguments.host, "DELETE", &path, None)?;
    println!("{} is free on every host (log index {})", arguments.address, answer["log_index"]);
    Ok(())
}

/// Reads `90s`, `15m`, `1h`, `7d` or bare seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => return Err(format!("{other:?} is no unit; use s, m, h or d")),
    };
    let number: u64 = digits.parse().map_err(|_| "give a number and a unit, such as 15m".to_owned())?;
    match number.checked_mul(unit) {
        Some(seconds) if (1..=MAX_BLOCK_SECONDS).contains(&seconds) => Ok(seconds),
        Some(_) | None => Err("must be between one second and a year".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in ["", "m", "0s", "5w", "-1h", "99999999999999999999d", "366d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
