//! The demo's three host processes.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is, and never panics"
)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::stage::Stage;
use crate::demo::stop::Stop;

/// How long the hosts may take to agree on a leader: several elections.
const LEADER_WITHIN: Duration = Duration::from_secs(30);
/// How often a host is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long a host may take to end.
const END_WITHIN: Duration = Duration::from_secs(15);
/// Lines of a host's log shown when it fails.
const LAST_LINES: usize = 20;

struct Host {
    configuration: PathBuf,
    log: PathBuf,
    process: Child,
}

/// The three processes; killed when dropped, if they have not ended.
pub(super) struct Hosts<'a> {
    stage: &'a Stage,
    program: PathBuf,
    hosts: Vec<Host>,
}

impl<'a> Hosts<'a> {
    /// Starts them.
    pub(super) fn start(stage: &'a Stage, folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut hosts = Self { stage, program, hosts: Vec::new() };
        for (number, provisioned) in stage.hosts().iter().enumerate() {
            let log = folder.join(format!("host{}.log", number + 1));
            let output = std::fs::File::create(&log).with_context(|| format!("write {}", log.display()))?;
            let process = stage
                .command(number, &hosts.program)
                .args(["serve", "--config"])
                .arg(&provisioned.configuration)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(output)
                .spawn()
                .context("start a host")?;
            let configuration = provisioned.configuration.clone();
            hosts.hosts.push(Host { configuration, log, process });
        }
        Ok(hosts)
    }

    /// Waits until the hosts have a leader and all of them answer; says whether they are, or somebody ended the demo first.
    pub(super) fn wait_for_leader(&mut self, stop: &Stop) -> anyhow::Result<bool> {
        let started = Instant::now();
        while !self.is_whole() {
            self.check_alive()?;
            if stop.wait(ASK_EVERY) {
                return Ok(false);
            }
            if LEADER_WITHIN < started.elapsed() {
                bail!("the hosts found no leader in {} s\n{}", LEADER_WITHIN.as_secs(), self.last_words());
            }
        }
        Ok(true)
    }

    fn is_whole(&self) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let hosts = cluster["hosts"].as_array().cloned().unwrap_or_default();
        !cluster["leader"].is_null()
            && hosts.iter().filter(|host| host["status"] == "active").count() == self.hosts.len()
    }

    /// A new password for the first host's console.
    pub(super) fn one_time_password(&self) -> anyhow::Result<String> {
        let output =
            self.palisade(0, &["user", "one-time-password"]).output().context("ask for a password")?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What a person types for another password.
    pub(super) fn password_command(&self) -> String {
        let command = self.palisade(0, &["user", "one-time-password"]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// One line of what is going on.
    pub(super) fn says(&self) -> String {
        let Some(cluster) = self.cluster() else { return "the first host does not answer".to_owned() };
        let hosts = cluster["hosts"].as_array().cloned().unwrap_or_default();
        let messages: u64 = hosts.iter().filter_map(|host| host["sensor"]["sip_messages"].as_u64()).sum();
        let Some(blocks) = self.blocked() else { return format!("{messages} SIP messages sensed") };
        let list: Vec<String> = blocks
            .iter()
            .map(|block| {
                let enforced = block["enforced_on"].as_array().map_or(0, Vec::len);
                format!(
                    "{} ({}, {}, dropped on {enforced} of {})",
                    text(&block["address"]),
                    text(&block["type"]),
                    text(&block["sanction"]),
                    hosts.len(),
                )
            })
            .collect();
        if list.is_empty() { "nobody is blocked".to_owned() } else { format!("blocked: {}", list.join(", ")) }
    }

    fn cluster(&self) -> Option<Value> {
        let output = self.palisade(0, &["cluster", "status", "--format", "jsonl"]).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    fn blocked(&self) -> Option<Vec<Value>> {
        let output = self.palisade(0, &["blocks", "--format", "jsonl"]).output().ok()?;
        let lines = String::from_utf8(output.stdout).ok()?;
        Some(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn palisade(&self, host: usize, words: &[&str]) -> Command {
        let mut command = self.stage.command(host, &self.program);
        command.args(words);
        if let Some(host) = self.hosts.get(host) {
            command.arg("--config").arg(&host.configuration);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Fails if a host has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        for number in 0..self.hosts.len() {
            let ended = self.hosts.get_mut(number).and_then(|host| host.process.try_wait().ok().flatten());
            if let Some(status) = ended {
                bail!("host{} ended: {status}\n{}", number + 1, self.last_words());
            }
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let mut words = String::new();
        for host in &self.hosts {
            let log = std::fs::read_to_string(&host.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
            words.push_str(&format!("--- {}\n{}\n", host.log.display(), last.join("\n")));
        }
        words
    }

    /// Shows what the kernel of each host holds.
    pub(super) fn show_kernel(&self, stage: &Stage) {
        let Stage::Wire { .. } = stage else { return };
        for number in 0..self.hosts.len() {
            println!("\nhost{}: nft list ruleset", number + 1);
            let output = stage.command(number, Path::new("/usr/sbin/nft")).args(["list", "ruleset"]).output();
            match output {
                Ok(output) => {
                    let rules = String::from_utf8_lossy(&output.stdout);
                    kernel_lines(&rules).iter().for_each(|line| println!("  {line}"));
                }
                Err(error) => println!("  {error}"),
            }
        }
    }

    /// Ends the hosts as an operator would.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        for host in &mut self.hosts {
            let pid = i32::try_from(host.process.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM); // It may be gone.
            }
        }
        let started = Instant::now();
        let mut failed = Vec::new();
        for (number, host) in self.hosts.iter_mut().enumerate() {
            loop {
                match host.process.try_wait().context("wait for a host")? {
                    Some(status) if status.success() || was_ended(status) => break,
                    Some(status) => {
                        failed.push(format!("host{}: {status}", number + 1));
                        break;
                    }
                    None if END_WITHIN < started.elapsed() => bail!("host{} does not end", number + 1),
                    None => std::thread::park_timeout(Duration::from_millis(20)),
                }
            }
        }
        anyhow::ensure!(
            failed.is_empty(),
            "hosts did not end well: {}\n{}",
            failed.join(", "),
            self.last_words()
        );
        Ok(())
    }
}

impl Drop for Hosts<'_> {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            let _ = host.process.kill(); // It may have ended.
            let _ = host.process.wait();
        }
    }
}

/// A host that was told to end before it could listen for that is ended by the signal itself.
fn was_ended(status: ExitStatus) -> bool {
    status.signal() == Some(rustix::process::Signal::TERM.as_raw())
}

/// Of a rule set: the addresses in each set, and the counters that have dropped something.
fn kernel_lines(rules: &str) -> Vec<String> {
    let mut name = "";
    let mut lines = Vec::new();
    for line in rules.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("set" | "counter"), Some(named)) => name = named,
            (Some("packets"), Some("0")) => {}
            (Some("packets"), Some(_)) => lines.push(format!("{name}: dropped {line}")),
            (Some(_), _) if line.contains("expires") => {
                lines.push(format!("{name}: {}", line.trim_start_matches("elements = ")));
            }
            (Some(_), _) | (None, _) => {}
        }
    }
    lines
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
