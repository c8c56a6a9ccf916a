//! `palisade log`: reads a host's log and chapters without a lock and without writing, on a live directory or on a copy.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is, and never panics"
)]

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use log_format::disk::StdDisk;
use log_format::envelope::Envelope;
use log_format::event::Class;
use log_format::ids::LogIndex;
use log_format::render;
use log_format::seal::hex;
use log_format::time::Timestamp;
use log_format::verify::{self, LogView, Report};
use log_format::wal::LogEntry;
use serde_json::json;

use super::{Failure, Format};
use crate::audit::{self, Wanted};
use crate::witness;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the entries of the log with their events
    Dump(Dump),
    /// Read every byte and say whether the log is sound
    Verify(Which),
    /// Print what the log holds, in numbers
    Stats(Which),
    /// Print the sealed events of one class as a file that proves itself (`palisade audit verify`)
    Export(Export),
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

#[derive(Args)]
pub(super) struct Export {
    /// The host's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Events of this class
    #[arg(long, value_enum)]
    class: ClassName,
    #[command(flatten)]
    range: Range,
}

/// Which chapters an export holds: whole ones, since each is proven as a whole.
#[derive(Args)]
pub(super) struct Range {
    /// Chapters that hold this entry or later ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Chapters that hold this entry or earlier ones, or that were begun at this time (RFC 3339)
    #[arg(long, value_name = "N|TIME", value_parser = until)]
    until: Option<Until>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClassName {
    /// Who did what
    Audit,
    /// Blocks, hosts, the log's own bookkeeping
    Control,
    /// What sensors saw, as long as it is kept
    Attack,
}

/// Where a dump ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Index(LogIndex),
    Time(Timestamp),
}

pub(super) fn until(text: &str) -> Result<Until, String> {
    if let Ok(index) = text.parse() {
        return Ok(Until::Index(LogIndex::new(index)));
    }
    let wrong = || format!("{text:?} is neither an entry's number nor a time such as 2026-01-02T03:04:05Z");
    Timestamp::parse(text).map(Until::Time).ok_or_else(wrong)
}

impl Until {
    pub(super) fn is_before(self, entry: &LogEntry, envelope: Option<&Envelope>) -> bool {
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
        Command::Export(arguments) => export(&arguments.data, arguments.class.class(), &arguments.range),
    }
}

fn report(arguments: &Which) -> Result<Report, Failure> {
    Ok(verify::verify(&StdDisk, &arguments.data, &witness::is_signed)
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
            if let Some(seal) = report.seal {
                let Report { chapters, sealed, witnessed, erased, .. } = &report;
                println!(
                    "{chapters} chapters up to entry {sealed}, {witnessed} signatures, {erased} events erased; newest seal {}",
                    hex(&seal)
                );
            }
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
            println!(
                "entries   {} (up to {}; the log begins with {})",
                report.entries, report.last.index, report.first
            );
            println!("events    {}", report.events);
            println!("erased    {}", report.erased);
            println!("chapters  {} (up to entry {})", report.chapters, report.sealed);
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
        "chapters": report.chapters,
        "sealed_index": report.sealed.get(),
        "seal": report.seal.map(|seal| hex(&seal)),
        "witnessed": report.witnessed,
        "erased": report.erased,
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

/// Prints an export; also `palisade audit export`.
pub(super) fn export(data: &Path, class: Class, range: &Range) -> Result<(), Failure> {
    let view =
        LogView::open(&StdDisk, data).with_context(|| format!("read the log in {}", data.display()))?;
    let seals = view.history().seals().map_err(anyhow::Error::from)?;
    let until = match range.until {
        None => seals.last().map_or(LogIndex::default(), |seal| seal.last.index),
        Some(Until::Index(index)) => index,
        Some(Until::Time(time)) => {
            let begun = seals.iter().rfind(|seal| seal.first_accepted <= time);
            begun.map_or(LogIndex::default(), |seal| seal.last.index)
        }
    };
    let wanted = Wanted { class, from: LogIndex::new(range.from.max(1)), until };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let exported = audit::export(&StdDisk, data, wanted, &mut out)?;
    if exported.sealed < view.history().wal().last().index {
        eprintln!("entries after {} are not sealed yet and not in the export", exported.sealed);
    }
    Ok(())
}

impl ClassName {
    fn class(self) -> Class {
        match self {
            Self::Audit => Class::Audit,
            Self::Control => Class::Control,
            Self::Attack => Class::Attack,
        }
    }
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
