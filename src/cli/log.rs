//! `palisade log`: reads a host's log without a lock and without writing, on a live directory or on a copy.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is, and never panics"
)]

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use log_format::disk::StdDisk;
use log_format::ids::LogIndex;
use log_format::render;
use log_format::verify::{self, LogView, Report};
use serde_json::json;

use super::{Failure, Format};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the entries of the log with their events
    Dump(Dump),
    /// Read every byte and say whether the log is sound
    Verify(Which),
    /// Print what the log holds, in numbers
    Stats(Which),
}

#[derive(Args)]
pub(super) struct Which {
    /// The host's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Args)]
pub(super) struct Dump {
    #[command(flatten)]
    which: Which,
    /// First entry
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Last entry
    #[arg(long, value_name = "N")]
    until: Option<u64>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Dump(arguments) => dump(arguments),
        Command::Verify(arguments) => verify(arguments),
        Command::Stats(arguments) => stats(arguments),
    }
}

fn report(arguments: &Which) -> Result<Report, Failure> {
    Ok(verify::verify(&StdDisk, &arguments.data)
        .with_context(|| format!("read the log in {}", arguments.data.display()))?)
}

fn verify(arguments: &Which) -> Result<(), Failure> {
    let report = report(arguments)?;
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    match arguments.format {
        Format::Jsonl => {
            let mut object = numbers(&report);
            object["sound"] = report.is_sound().into();
            object["problems"] = problems.into();
            println!("{object}");
        }
        Format::Text => {
            for problem in &problems {
                println!("{problem}");
            }
            let verdict = if report.is_sound() { "sound" } else { "NOT sound" };
            println!("{verdict}: {} entries, {} events, {}", report.entries, report.events, report.identity);
        }
    }
    if report.is_sound() { Ok(()) } else { Err(Failure::Failed(anyhow::anyhow!("the log is not sound"))) }
}

fn stats(arguments: &Which) -> Result<(), Failure> {
    let report = report(arguments)?;
    match arguments.format {
        Format::Jsonl => println!("{}", numbers(&report)),
        Format::Text => {
            println!("{}", report.identity);
            println!("entries   {} ({} to {})", report.entries, report.first, report.last.index);
            println!("events    {}", report.events);
            println!("commit    {}", report.hard_state.commit);
            println!("term      {}", report.hard_state.term);
            println!("files     {}, batches {}, {} bytes", report.files, report.batches, report.bytes);
            println!(
                "voters    {:?}",
                report.conf_state.voters.iter().map(|host| host.get()).collect::<Vec<_>>()
            );
            println!(
                "learners  {:?}",
                report.conf_state.learners.iter().map(|host| host.get()).collect::<Vec<_>>()
            );
        }
    }
    Ok(())
}

fn numbers(report: &Report) -> serde_json::Value {
    json!({
        "cluster": report.identity.cluster.to_string(),
        "host": report.identity.host.get(),
        "incarnation": report.identity.incarnation.get(),
        "files": report.files,
        "batches": report.batches,
        "bytes": report.bytes,
        "entries": report.entries,
        "events": report.events,
        "first_index": report.first.get(),
        "last_index": report.last.index.get(),
        "last_term": report.last.term.get(),
        "term": report.hard_state.term.get(),
        "commit": report.hard_state.commit.get(),
    })
}

fn dump(arguments: &Dump) -> Result<(), Failure> {
    let data = &arguments.which.data;
    let view =
        LogView::open(&StdDisk, data).with_context(|| format!("read the log in {}", data.display()))?;
    let until = LogIndex::new(arguments.until.unwrap_or(u64::MAX));
    for entry in view.entries(LogIndex::new(arguments.from.max(1))) {
        let entry = entry.context("read an entry")?;
        if until < entry.index {
            break;
        }
        match arguments.which.format {
            Format::Text => render::entry_lines(&entry).iter().for_each(|line| println!("{line}")),
            Format::Jsonl => println!("{}", entry_json(&entry)?),
        }
    }
    Ok(())
}

fn entry_json(entry: &log_format::wal::LogEntry) -> Result<serde_json::Value, Failure> {
    let mut object = json!({ "index": entry.index.get(), "term": entry.term.get() });
    let envelope = verify::decode(entry).with_context(|| format!("decode entry {}", entry.index))?;
    if let Some(envelope) = envelope {
        object["command_id"] = envelope.command.to_string().into();
        object["origin_host"] = envelope.origin.host.get().into();
        object["origin_sequence"] = envelope.origin.sequence.get().into();
        object["accepted_at"] = envelope.accepted_at.to_string().into();
        let events = envelope.events.iter().map(|recorded| {
            json!({
                "kind": recorded.event.kind().name(),
                "observed_at": recorded.observed_at.to_string(),
                "text": render::event_text(&recorded.event),
            })
        });
        object["events"] = events.collect();
    }
    Ok(object)
}
