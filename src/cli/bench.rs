//! `palisade bench`: how fast the parts are on this machine, one JSON object a line for each figure.
//!
//! A figure alone says little: machines differ, and the same one differs from minute to minute. What is compared runs in
//! turns with what it is compared with, and the medians of the rounds are divided.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is a shell: clocks, files, threads and sockets are its work"
)]

mod figure;
mod load;
mod replay;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use projections::decide::MAX_BATCH;

use super::{Failure, Host};

/// Rounds of an alternating run: the median of three forgives one disturbed round.
const ROUNDS: usize = 3;

#[derive(Subcommand)]
pub(super) enum Command {
    /// The log's writer alone against the disk's own rate of syncs; or, with --config, a running cluster under load
    Log(Log),
    /// Decoding and folding a log, on one core: what a start and a rebuild cost
    Replay(Replay),
}

#[derive(Args)]
pub(super) struct Replay {
    /// Events to fold; they are made in memory
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    events: u32,
}

#[derive(Args)]
pub(super) struct Log {
    /// Folder on the disk to measure; a folder is made in it and removed again
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "config")]
    dir: PathBuf,
    /// Seconds that each measurement takes
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Write to the running host of this start-up configuration instead. It fills the cluster's log with blocks of
    /// addresses in 20.0.0.0/8, so use a cluster that is there for nothing else
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Connections that write, each as soon as it has its answer
    #[arg(long, value_name = "N", default_value_t = 64, requires = "config", value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Blocks of each request; more than one go as one batch
    #[arg(long, value_name = "N", default_value_t = 1, requires = "config", value_parser = events)]
    events: u16,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Log(arguments) => log(arguments),
        Command::Replay(arguments) => {
            let events = usize::try_from(arguments.events).unwrap_or(usize::MAX);
            Ok(replay::run(events, ROUNDS)?)
        }
    }
}

fn log(arguments: &Log) -> Result<(), Failure> {
    let span = Duration::from_secs_f64(arguments.seconds);
    match &arguments.config {
        None => Ok(writer::run(&arguments.dir, span, ROUNDS)?),
        Some(config) => {
            let host = Host { config: config.clone() };
            load::run(
                &host.load()?,
                load::Load { clients: arguments.clients, events: arguments.events, span },
            )
        }
    }
}

fn events(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is not a number of blocks from 1 to {MAX_BATCH}");
    text.parse().ok().filter(|events| (1..=MAX_BATCH).contains(&usize::from(*events))).ok_or_else(wrong)
}

fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a number of seconds from 0.1 to 3600");
    text.parse().ok().filter(|seconds| (0.1..=3_600.0).contains(seconds)).ok_or_else(wrong)
}
