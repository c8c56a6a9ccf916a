//! `palisade replay`: folds a log anew and prints what comes of it, without a host, a lock or a write.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use log_format::disk::StdDisk;
use log_format::ids::LogIndex;
use log_format::seal::hex;
use log_format::time::Timestamp;
use log_format::verify::{self, LogView};
use projections::frame::Folded;
use serde_json::{Value, json};

use super::Failure;
use super::log::{Until, until};

#[derive(Args)]
pub(super) struct Arguments {
    /// The host's data directory, or a copy
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Last entry, or the time up to which entries were accepted (RFC 3339)
    #[arg(long, value_name = "N|TIME", value_parser = until)]
    until: Option<Until>,
    /// Print this read model; without it, where the projections stand, with their state hashes
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(api::offline::VIEWS))]
    view: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

/// A log that was folded.
pub(super) struct Replayed {
    pub(super) folded: Folded,
    /// The last entry that was looked at.
    index: LogIndex,
    /// The time at which views are shown: that of the last entry, or the one asked for.
    pub(super) now: Timestamp,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let data = &arguments.data;
    let log = LogView::open(&StdDisk, data).with_context(|| format!("read the log in {}", data.display()))?;
    check_reached(&log, arguments.until, "--until")?;
    let replayed = replay(&log, arguments.until)?;
    let printed = match &arguments.view {
        None => Value::Null,
        Some(name) => {
            let shown = api::offline::view(name, &replayed.folded.views, replayed.now);
            shown.ok_or_else(|| anyhow!("no read model is called {name}"))?.context("write the read model")?
        }
    };
    match (arguments.view.is_some(), arguments.format) {
        (true, Format::Json) => println!("{printed}"),
        (true, Format::Text) => lines(&printed).iter().for_each(|line| println!("{line}")),
        (false, Format::Json) => println!("{}", projections(&replayed)),
        (false, Format::Text) => print_standings(&replayed),
    }
    Ok(())
}

/// Nobody gets the present for a future that was asked for.
pub(super) fn check_reached(
    log: &LogView<StdDisk>,
    asked: Option<Until>,
    option: &str,
) -> Result<(), Failure> {
    let commit = log.hard_state().commit;
    match asked {
        Some(Until::Index(wanted)) if commit < wanted => Err(Failure::Usage(format!(
            "{option} {wanted}: this log is committed up to entry {commit}; give that or an earlier one"
        ))),
        Some(Until::Index(_) | Until::Time(_)) | None => Ok(()),
    }
}

/// Folds every committed entry up to there.
pub(super) fn replay(log: &LogView<StdDisk>, until: Option<Until>) -> anyhow::Result<Replayed> {
    let mut folded = Folded::default();
    let mut index = LogIndex::default();
    let commit = log.hard_state().commit;
    for entry in log.entries(LogIndex::new(1)) {
        let entry = entry.context("read an entry")?;
        if commit < entry.index {
            break; // It may still be replaced.
        }
        let envelope = verify::decode(&entry).with_context(|| format!("decode entry {}", entry.index))?;
        if until.is_some_and(|until| until.is_before(&entry, envelope.as_ref())) {
            break;
        }
        if let Some(envelope) = envelope {
            folded.fold(entry.index, &envelope);
        }
        index = entry.index;
    }
    let now = match until {
        Some(Until::Time(time)) => time,
        Some(Until::Index(_)) | None => folded.views.last_accepted_at(),
    };
    Ok(Replayed { folded, index, now })
}

fn projections(replayed: &Replayed) -> Value {
    let items = replayed.folded.standings().map(|standing| {
        json!({
            "name": standing.name,
            "version": standing.version,
            "applied": standing.applied.get(),
            "state_hash": hex(&standing.state_hash),
        })
    });
    json!({ "index": replayed.index.get(), "now": replayed.now.to_string(), "state_hash": state(replayed), "projections": items })
}

fn print_standings(replayed: &Replayed) {
    println!("folded up to entry {}, {}", replayed.index, replayed.now);
    for standing in replayed.folded.standings() {
        println!(
            "{:<14} applied {:>10}  state {}",
            standing.to_string(),
            standing.applied.get(),
            hex(&standing.state_hash)
        );
    }
    println!("all together: state {} (as `palisade cluster status` shows it)", state(replayed));
}

fn state(replayed: &Replayed) -> String {
    hex(&::projections::state_hash(&replayed.folded.model, &replayed.folded.views))
}

/// One line for each item of a list, or for each member of an object.
fn lines(printed: &Value) -> Vec<String> {
    if let Some(items) = printed.get("items").and_then(Value::as_array) {
        return items.iter().map(|item| members(item).join("  ")).collect();
    }
    members(printed)
}

fn members(item: &Value) -> Vec<String> {
    let members = item.as_object().into_iter().flatten();
    let shown = members.filter(|(_, value)| !value.is_null() && !value.as_str().is_some_and(str::is_empty));
    shown.map(|(name, value)| format!("{name} {}", plain(value))).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_printed_one_item_a_line_and_an_object_one_member_a_line() {
        let list = json!({ "total": 1, "items": [{ "address": "192.0.2.1", "note": "", "until": null, "strikes": 2 }] });
        assert_eq!(lines(&list), ["address 192.0.2.1  strikes 2"]);
        assert_eq!(lines(&json!({ "version": 3, "mode": "block" })), ["version 3", "mode block"]);
    }
}
