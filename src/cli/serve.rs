//! `palisade serve`: runs this host until it is told to stop.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::{Failure, Format};
use crate::{config, runtime};

#[derive(Args)]
pub(super) struct Arguments {
    /// Start-up configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/palisade/palisade.toml")]
    config: PathBuf,
    /// What to log, from `error` to `trace`, also by part: `info,consensus=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// How to log
    #[arg(long, value_enum, default_value = "text")]
    log_format: Format,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config)?;
    start_log(arguments)?;
    let announce = |password: &str, address: &str| {
        println!("console: {address}");
        println!("one-time password: {password}");
    };
    runtime::run(config, announce).context("run the host")?;
    Ok(())
}

fn start_log(arguments: &Arguments) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)
        .map_err(|error| Failure::Usage(format!("--log: {error}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match arguments.log_format {
        Format::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        Format::Jsonl => log.json().init(),
    }
    Ok(())
}
