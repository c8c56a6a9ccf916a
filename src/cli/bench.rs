//! `palisade bench`: how fast the parts are on this machine, one JSON object a line for each figure.
//!
//! A figure alone says little: machines differ, and the same one differs from minute to minute. What is compared runs in
//! turns with what it is compared with, and the medians of the rounds are divided.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is a shell: clocks, files, threads and sockets are its work"
)]

mod figure;
mod flood;
mod generator;
mod linearity;
mod load;
mod replay;
mod sensors;
mod tables;
mod writer;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use projections::decide::MAX_BATCH;

use self::generator::{FILE_HEADER, Generator, Settings};
use super::{Failure, Host};

/// Rounds of an alternating run: the median of three forgives one disturbed round.
const ROUNDS: usize = 3;

#[derive(Subcommand)]
pub(super) enum Command {
    /// The log's writer alone against the disk's own rate of syncs; or, with --config, a running cluster under load
    Log(Log),
    /// Decoding and folding a log, on one core: what a start and a rebuild cost
    Replay(Replay),
    /// The sensor on a capture, stage by stage, in messages per second of one core, beside what no sensor can pass
    Sensors(Sensors),
    /// Write a capture made of a seed, and the truth about it: the same seed, the same bytes
    Traffic(Traffic),
}

#[derive(Args)]
pub(super) struct Sensors {
    /// A pcap file; without one, a capture is made in memory
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Rounds in which the stages take turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// Instead: whether hostile messages of twice the length cost no more than about twice the time; exit code 1 if not
    #[arg(long, conflicts_with_all = ["capture", "flood"])]
    linearity: bool,
    /// Instead: what memory a flood from forged addresses takes, and whether attackers are found in it
    #[arg(long, conflicts_with = "capture")]
    flood: bool,
    /// With --flood: forged addresses
    #[arg(long, value_name = "N", default_value_t = 12_000_000, requires = "flood", value_parser = clap::value_parser!(u32).range(1..=200_000_000))]
    sources: u32,
    /// Instead: what memory the sensor takes with every table full
    #[arg(long, conflicts_with_all = ["capture", "flood", "linearity"])]
    tables: bool,
    #[command(flatten)]
    settings: TrafficSettings,
}

#[derive(Args)]
pub(super) struct Traffic {
    /// Where the capture goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the truth about its sources goes
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    #[command(flatten)]
    settings: TrafficSettings,
}

/// What a generated capture holds.
#[derive(Args)]
struct TrafficSettings {
    /// Messages of a capture that is made
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: u64,
    /// Messages a second of the capture's own time
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    per_second: u64,
    /// Phones
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(2..=60_000))]
    phones: u64,
    /// Addresses with 50 phones each
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    offices: u64,
    /// Attackers
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    attackers: u64,
    /// What the capture is made of
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl TrafficSettings {
    fn settings(&self) -> Settings {
        let Self { messages, per_second, phones, offices, attackers, seed } = *self;
        Settings { messages, per_second, phones, offices, attackers, seed, ..Settings::default() }
    }
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
    /// With --config: connections that write, each as soon as it has its answer
    #[arg(long, value_name = "N", default_value_t = 64, requires = "config", value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// With --config: blocks of each request; more than one go as one batch
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
        Command::Sensors(arguments) => Ok(sensors(arguments)?),
        Command::Traffic(arguments) => Ok(traffic(arguments)?),
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

fn sensors(arguments: &Sensors) -> anyhow::Result<()> {
    if arguments.linearity {
        return linearity::run();
    }
    if arguments.flood {
        return flood::run(arguments.sources);
    }
    if arguments.tables {
        return tables::run();
    }
    let capture = match &arguments.capture {
        Some(path) => sensors::Capture::read(path)?,
        None => sensors::Capture::generate(arguments.settings.settings())?,
    };
    sensors::run(&capture, usize::from(arguments.rounds))
}

fn traffic(arguments: &Traffic) -> anyhow::Result<()> {
    let create = |path: &Path| File::create(path).with_context(|| format!("make {}", path.display()));
    let mut out = BufWriter::with_capacity(1 << 20, create(&arguments.out)?);
    let mut truth = BufWriter::new(create(&arguments.truth)?);
    let mut generator = Generator::new(arguments.settings.settings());
    out.write_all(&FILE_HEADER)?;
    while let Some(record) = generator.next_record()? {
        out.write_all(record)?;
    }
    out.flush().context("write the capture")?;
    generator.write_truth(&mut truth)?;
    truth.flush().context("write the truth")
}

fn events(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is not a number of blocks from 1 to {MAX_BATCH}");
    text.parse().ok().filter(|events| (1..=MAX_BATCH).contains(&usize::from(*events))).ok_or_else(wrong)
}

fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a number of seconds from 0.1 to 3600");
    text.parse().ok().filter(|seconds| (0.1..=3_600.0).contains(seconds)).ok_or_else(wrong)
}
