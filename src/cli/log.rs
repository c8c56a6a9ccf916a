//! `palisade log`: reads a host's log without a lock and without writing, on a live directory or on a copy.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is, and never panics"
)]

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use log_format::disk::StdDisk;
use log_format::envelope::Envelope;
use log_format::ids::LogIndex;
use log_format::render;
use log_format::time::Timestamp;
use log_format::verify::{self, LogView, Report};
use log_format::wal::LogEntry;
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
    /// Last entry, or the time up to which entries were accepted (RFC 3339)
    #[arg(long, value_name = "N|TIME", value_parser = until)]
    until: Option<Until>,
}

/// Where a dump ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Index(LogIndex),
    Time(Timestamp),
}

fn until(text: &str) -> Result<Until, String> {
    if let Ok(index) = text.parse() {
        return Ok(Until::Index(LogIndex::new(index)));
    }
    let wrong = || format!("{text:?} is neither an entry's number nor a time such as 2026-01-02T03:04:05Z");
    Timestamp::parse(text).map(Until::Time).ok_or_else(wrong)
}

impl Until {
    fn is_before(self, entry: &LogEntry, envelope: Option<&Envelope>) -> bool {
        match self {
            Self::Index(index) => index < entry.index,
            Self::Time(time) => envelope.is_some_and(|envelope| time < envelope.accepted_at),
        }
    }
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
    for entry in view.entries(LogIndex::new(arguments.from.max(1))) {
        let entry = entry.context("read an entry")?;
        let envelope = verify::decode(&entry).with_context(|| format!("decode entry {}", entry.index))?;
        if arguments.until.is_some_and(|until| until.is_before(&entry, envelope.as_ref())) {
            break;
        }
        match arguments.which.format {
            Format::Text => render::entry_lines(&entry).iter().for_each(|line| println!("{line}")),
            Format::Jsonl => println!("{}", entry_json(&entry, envelope.as_ref())),
        }
    }
    Ok(())
}

fn entry_json(entry: &LogEntry, envelope: Option<&Envelope>) -> serde_json::Value {
    let mut object = json!({ "index": entry.index.get(), "term": entry.term.get() });
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
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_ends_at_an_entry_or_at_a_time() {
        assert_eq!(until("17"), Ok(Until::Index(LogIndex::new(17))));
        let time = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(until("2026-01-02T03:04:05Z"), Ok(Until::Time(time)));
        assert!(until("yesterday").unwrap_err().contains("neither an entry's number nor a time"));
    }
}
