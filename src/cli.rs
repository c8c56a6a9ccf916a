//! The command line: one file per subcommand, one exit code per kind of end.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage or input; 3 refused by a rule; 4 no leader.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line is for")]

mod address;
mod audit;
mod bench;
mod capture;
mod client;
mod cluster;
mod demo;
mod doctor;
mod explain;
mod log;
mod policy;
mod projections;
mod recover;
mod replay;
mod serve;
mod settings;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use thiserror::Error;

pub use client::{Answer, Client, ClientError};

use crate::config::{self, Config, ConfigError};

/// Keeps VoIP hosting clusters safe: senses SIP attacks, blocks them in the kernel of every host, and keeps one
/// replicated log of it all.
#[derive(Parser)]
#[command(name = "palisade", version, disable_help_subcommand = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run three hosts on this machine, with real attack traffic and the console
    Demo(demo::Arguments),
    /// Run this host
    Serve(serve::Arguments),
    /// Play captures through the detection engine, offline
    Capture(capture::Arguments),
    /// Read a host's log
    #[command(subcommand)]
    Log(log::Command),
    /// Fold a host's log anew and print what comes of it
    Replay(replay::Arguments),
    /// Export who did what, or check an export
    #[command(subcommand)]
    Audit(audit::Command),
    /// Make a cluster, look at one, or change who belongs to it
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Look at what a running host has folded, or fold it anew
    #[command(subcommand)]
    Projections(projections::Command),
    /// Block an address on every host
    Block(address::Block),
    /// List what is blocked now
    Blocks(address::List),
    /// Unblock an address on every host
    Unblock(address::Unblock),
    /// Say why an address is blocked, or why not
    Explain(explain::Arguments),
    /// Look at the cluster's settings, or change them
    #[command(subcommand)]
    Settings(settings::Command),
    /// Go on with what a stopped host has, when its log or its cluster cannot
    Recover(recover::Arguments),
    /// Let people in
    #[command(subcommand)]
    User(user::Command),
    /// Measure how fast the parts are on this machine
    #[command(subcommand)]
    Bench(bench::Command),
    /// Check this machine: privileges, kernel features, capture, clock, disk
    Doctor(doctor::Arguments),
}

/// Which host's API to ask.
#[derive(Args)]
struct Host {
    /// Start-up configuration of a host that runs on this machine
    #[arg(long, value_name = "FILE", default_value = "/etc/palisade/palisade.toml")]
    config: PathBuf,
}

impl Host {
    fn load(&self) -> Result<Config, Failure> {
        Ok(config::load(&self.config)?)
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.load()?)?)
    }
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Jsonl,
}

/// Why a subcommand ended badly; decides the exit code.
#[derive(Debug, Error)]
enum Failure {
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A rule says no.
    #[error("refused: {0}")]
    Refused(String),
    /// The cluster has no leader.
    #[error("the cluster has no leader; try again in a moment (`palisade cluster status` shows the hosts)")]
    NoLeader,
    /// The host was removed from the cluster.
    #[error("{}", crate::node::LET_GO)]
    Removed,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            // It knows no leader, and never will.
            Self::NoLeader | Self::Removed => 4,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(format!("{:#}", anyhow::Error::from(error)))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match &failure {
                Failure::Failed(error) => eprintln!("palisade: {error:#}"),
                other @ (Failure::Usage(_) | Failure::Refused(_) | Failure::NoLeader | Failure::Removed) => {
                    eprintln!("palisade: {other}");
                }
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Capture(arguments) => capture::run(&arguments),
        Command::Log(command) => log::run(&command),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Projections(command) => projections::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Cluster(command) => cluster::run(command),
        Command::Block(arguments) => address::block(&arguments),
        Command::Blocks(arguments) => address::list(&arguments),
        Command::Unblock(arguments) => address::unblock(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Settings(command) => settings::run(&command),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::User(command) => user::run(&command),
        Command::Bench(command) => bench::run(&command),
        Command::Doctor(arguments) => doctor::run(&arguments),
    }
}

/// Asks the host's API once and turns a refusal into the right failure.
fn ask(
    host: &Host,
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<serde_json::Value, Failure> {
    let client = host.client()?;
    understood(wait_for(client.ask(method, path, body))?)
}

/// The same for a change of what has this version, and only if nobody else has changed it meanwhile.
fn ask_if_unchanged(
    host: &Host,
    (method, path): (&str, &str),
    body: &serde_json::Value,
    version: u64,
) -> Result<serde_json::Value, Failure> {
    let client = host.client()?;
    understood(wait_for(client.ask_if_unchanged((method, path), body, version))?)
}

fn wait_for(answer: impl Future<Output = Result<Answer, ClientError>>) -> Result<Answer, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    Ok(runtime.block_on(answer)?)
}

fn understood(answer: Answer) -> Result<serde_json::Value, Failure> {
    let text =
        |key: &str| answer.body.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    match (answer.status, text("code").as_str()) {
        (200..=299, _) => Ok(answer.body),
        (_, "no_leader") if answer.body.get("removed") == Some(&true.into()) => Err(Failure::Removed),
        (_, "no_leader") => Err(Failure::NoLeader),
        (400 | 422, _) => Err(Failure::Usage(text("detail"))),
        (403 | 404 | 409 | 412, _) => Err(Failure::Refused(text("detail"))),
        (status, code) => {
            Err(Failure::Failed(anyhow::anyhow!("the host answers {status} {code}: {}", text("detail"))))
        }
    }
}
