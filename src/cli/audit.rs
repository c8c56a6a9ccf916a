//! `palisade audit`: who did what, in a file that proves itself.

#![expect(clippy::disallowed_methods, reason = "this shell reads the export")]

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use log_format::event::Class;

use super::Failure;
use super::log::{self, Range};
use crate::{audit, witness};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print what people and the cluster did, with the seals that prove it
    Export(Export),
    /// Check an export, without the cluster
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct Export {
    /// The host's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    range: Range,
    /// How to print
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Layout,
}

/// Layouts of an export.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// One JSON object a line; can be verified
    Jsonl,
}

#[derive(Args)]
pub(super) struct Verify {
    /// The export
    file: PathBuf,
    /// A seal's hash from elsewhere that the export must hold
    #[arg(long, value_name = "HASH")]
    seal: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Export(Export { data, range, format: Layout::Jsonl }) => {
            log::export(data, Class::Audit, range)
        }
        Command::Verify(arguments) => verify(arguments),
    }
}

fn verify(arguments: &Verify) -> Result<(), Failure> {
    let Verify { file, seal } = arguments;
    let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let verified = audit::verify(BufReader::new(opened), &witness::is_signed)
        .with_context(|| format!("{} proves nothing", file.display()))?;
    if let Some(seal) = seal.as_ref().filter(|seal| !verified.seals.contains(seal)) {
        return Err(Failure::Failed(anyhow::anyhow!(
            "{} does not hold the seal {seal}: it is of another history",
            file.display()
        )));
    }
    let audit::Verified { cluster, class, chapters, events, erased, witnessed, sealed, sealed_at, .. } =
        &verified;
    println!("sound: {events} {class} events of cluster {cluster}");
    for earlier in &verified.earlier {
        println!("cluster {earlier} was forced to go on as another");
    }
    println!("{chapters} chapters up to entry {sealed}, accepted at {sealed_at}; {erased} of them erased");
    println!("{witnessed} signatures");
    for (host, keys) in &verified.keys {
        println!("host {host} signed with {}", keys.join(" and "));
    }
    println!("newest seal {}", verified.seals.last().map_or("none", String::as_str));
    Ok(())
}
