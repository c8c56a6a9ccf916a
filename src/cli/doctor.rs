//! `palisade doctor`: checks this machine and says what to do about what it finds.

#![expect(clippy::disallowed_methods, reason = "the command line is a shell: it looks at the machine")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Failure, Format};
use crate::actuators::firewall::{self, Capability};
use crate::config;

/// The clock must not be before this program was made.
const EARLIEST_CLOCK: u64 = 1_767_225_600;
/// Less free space than this and the log may fill the disk within a day of attack.
const LOW_SPACE: u64 = 2 << 30;
/// A sync that takes longer makes every block on the other hosts late.
const SLOW_SYNC_MS: u128 = 50;
/// Syncs measured.
const SYNCS: usize = 20;

#[derive(Args)]
pub(super) struct Arguments {
    /// Check the disk of this start-up configuration's data directory, instead of the temporary folder's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Limited,
    Bad,
}

struct Finding {
    subject: &'static str,
    health: Health,
    says: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.config.as_deref().map(config::load).transpose()?;
    let data = config.as_ref().map_or_else(std::env::temp_dir, |config| config.data.clone());
    let findings = [
        firewall_finding(),
        capture_finding(),
        kernel_finding(),
        clock_finding(),
        space_finding(&data),
        sync_finding(&data),
    ];
    for finding in &findings {
        print(finding, arguments.format);
    }
    let bad = findings.iter().filter(|finding| finding.health == Health::Bad).count();
    if bad == 0 {
        Ok(())
    } else {
        Err(Failure::Failed(anyhow::anyhow!("{bad} of {} checks failed", findings.len())))
    }
}

fn print(finding: &Finding, format: Format) {
    let health = match finding.health {
        Health::Good => "good",
        Health::Limited => "limited",
        Health::Bad => "bad",
    };
    match format {
        Format::Text => println!("{health:<8} {:<10} {}", finding.subject, finding.says),
        Format::Jsonl => {
            println!("{}", json!({ "check": finding.subject, "health": health, "detail": finding.says }));
        }
    }
}

fn firewall_finding() -> Finding {
    let subject = "firewall";
    match firewall::doctor() {
        Ok(Capability::Enforces { nft }) => {
            Finding { subject, health: Health::Good, says: format!("blocks can reach the kernel ({nft})") }
        }
        Ok(Capability::Watches(reason)) => {
            let says = format!("watch-only: {reason}; run as root or grant CAP_NET_ADMIN to drop attackers");
            Finding { subject, health: Health::Limited, says }
        }
        Err(error) => Finding {
            subject,
            health: Health::Bad,
            says: format!("{:#}; install the package nftables", anyhow::Error::from(error)),
        },
    }
}

fn capture_finding() -> Finding {
    let subject = "capture";
    match sensors::LiveCapture::open("any", &sensors::Policy::default().sip_ports) {
        Ok(capture) => {
            let says = format!("packets can be watched, with a buffer of {} MiB", capture.buffer_mib());
            Finding { subject, health: Health::Good, says }
        }
        Err(error) => {
            let says = format!("{:#}; run as root or grant CAP_NET_RAW", anyhow::Error::from(error));
            Finding { subject, health: Health::Limited, says }
        }
    }
}

fn kernel_finding() -> Finding {
    let subject = "kernel";
    let release = crate::runtime::kernel_release();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 10) {
        let says =
            format!("{release} is older than 5.10, the oldest that is supported; upgrade the distribution");
        return Finding { subject, health: Health::Bad, says };
    }
    Finding { subject, health: Health::Good, says: release }
}

fn clock_finding() -> Finding {
    let subject = "clock";
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if seconds < EARLIEST_CLOCK {
        let says = "is before 2026; set it and keep it with NTP".to_owned();
        return Finding { subject, health: Health::Bad, says };
    }
    Finding {
        subject,
        health: Health::Good,
        says: log_format::time::Timestamp::from_seconds(seconds).to_string(),
    }
}

fn space_finding(data: &Path) -> Finding {
    let subject = "space";
    match crate::runtime::files::free_space(data) {
        Ok(free) if free < LOW_SPACE => Finding {
            subject,
            health: Health::Bad,
            says: format!(
                "{} MiB free at {}; the log wants {} MiB",
                free >> 20,
                data.display(),
                LOW_SPACE >> 20
            ),
        },
        Ok(free) => Finding {
            subject,
            health: Health::Good,
            says: format!("{} GiB free at {}", free >> 30, data.display()),
        },
        Err(error) => {
            Finding { subject, health: Health::Bad, says: format!("{:#}", anyhow::Error::from(error)) }
        }
    }
}

fn sync_finding(data: &Path) -> Finding {
    let subject = "disk";
    match sync_times(data) {
        Ok(times) => {
            let slowest = times.last().copied().unwrap_or_default();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let says = format!("a 4 KiB write and sync takes {median} µs, at worst {slowest} µs of {SYNCS}");
            let health = if SLOW_SYNC_MS * 1_000 < median { Health::Limited } else { Health::Good };
            Finding { subject, health, says }
        }
        Err(error) => Finding { subject, health: Health::Bad, says: format!("{error:#}") },
    }
}

/// Microseconds of single syncs, sorted.
fn sync_times(data: &Path) -> anyhow::Result<Vec<u128>> {
    use std::os::unix::fs::FileExt;
    let path = data.join(format!(".palisade-doctor-{}", std::process::id()));
    let file = fs::File::create(&path).with_context(|| format!("write into {}", data.display()))?;
    file.write_all_at(&[0; 4096], 0)?;
    file.sync_all()?;
    let measured: std::io::Result<Vec<u128>> = (0..SYNCS)
        .map(|number| {
            let started = Instant::now();
            file.write_all_at(&[u8::try_from(number).unwrap_or(0); 4096], 0)?;
            file.sync_data()?;
            Ok(started.elapsed().as_micros())
        })
        .collect();
    fs::remove_file(&path)?;
    let mut times = measured?;
    times.sort_unstable();
    Ok(times)
}
