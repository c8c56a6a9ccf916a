//! `palisade demo`: three real hosts on this machine, real attack traffic, the console.
//!
//! As root the hosts live in network namespaces of their own, the attack crosses a wire, and the blocks are real.
//! Without root everything is on loopback: the same traffic is recorded by the registrars and played back to the hosts,
//! which watch only, and say so. Nothing is touched that the demo did not make, and nothing is left behind.

#![expect(clippy::disallowed_methods, reason = "the command line is a shell: it makes folders and waits")]

mod hosts;
mod stage;
mod traffic;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use self::hosts::Hosts;
use self::stage::Stage;
use self::traffic::Traffic;
use super::Failure;
use crate::demo::stop::Stop;

/// How often the demo says what is going on.
const SAY_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct Arguments {
    /// End by itself after so many seconds [default: at Ctrl-C]
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Where the console listens, on a loopback address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    console: SocketAddr,
    /// Work without root's powers even as root: on loopback, watch-only
    #[arg(long)]
    unprivileged: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.console.ip().is_loopback() {
        let reason =
            format!("--console {}: the demo shows itself on a loopback address only", arguments.console);
        return Err(Failure::Usage(reason));
    }
    let stop = Stop::new();
    stop.follow_signals().context("watch for signals")?;
    let folder = Folder::make()?;
    let ended = play(arguments, &folder.0, &stop);
    stop.end();
    ended.map_err(Failure::Failed)
}

fn play(arguments: &Arguments, folder: &Path, stop: &Stop) -> anyhow::Result<()> {
    let stage = Stage::set(folder, arguments.console, arguments.unprivileged)?;
    println!("{}", stage.says());
    let mut hosts = Hosts::start(&stage, folder)?;
    if !hosts.wait_for_leader(stop)? {
        return hosts.stop();
    }
    let password = hosts.one_time_password()?;
    let relay = stage.open_console(arguments.console, folder, stop)?;
    println!("console            {}", stage.console_address());
    println!("one-time password  {password}");
    println!("                   (good for one sign-in; `{}` prints another)", hosts.password_command());
    let traffic = Traffic::start(&stage, stop)?;
    watch(arguments, &mut hosts, stop)?;
    stop.end();
    traffic.end();
    hosts.show_kernel(&stage);
    let left = hosts.stop();
    drop(relay);
    left
}

/// Says what is going on until somebody or the time ends it.
fn watch(arguments: &Arguments, hosts: &mut Hosts, stop: &Stop) -> anyhow::Result<()> {
    let started = Instant::now();
    let limit = arguments.seconds.map(Duration::from_secs);
    if limit.is_none() {
        println!("Ctrl-C ends the demo.");
    }
    let mut said = String::new();
    while !stop.wait(SAY_EVERY) && limit.is_none_or(|limit| started.elapsed() < limit) {
        hosts.check_alive()?;
        let says = hosts.says();
        if says != said {
            println!("{:>4} s  {says}", started.elapsed().as_secs());
            said = says;
        }
    }
    Ok(())
}

/// A folder of the demo's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("palisade-demo-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make the demo's folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("palisade: remove {}: {error}", self.0.display());
        }
    }
}
