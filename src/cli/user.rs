//! `palisade user`: lets people in.

use clap::Subcommand;
use serde_json::Value;

use super::{Failure, Host, ask};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print a new password for the console, good for one sign-in at this host
    OneTimePassword(Host),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::OneTimePassword(host) = command;
    let answer = ask(host, "POST", "/one-time-passwords", None)?;
    println!("{}", answer.get("password").and_then(Value::as_str).unwrap_or_default());
    Ok(())
}
