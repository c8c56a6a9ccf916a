//! `palisade capture`: plays captures through the detection engine that also runs live, and prints its verdicts.

#![expect(
    clippy::disallowed_methods,
    reason = "the command line is a shell: it reads the clock to say how long it took"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use log_format::event::{Scope, Text};
use log_format::time::Timestamp;
use sensors::{Engine, Finding, Note, PcapFile, Policy, Statistics, Verdict};
use serde::Deserialize;
use serde_json::json;

use super::{Failure, Format};

#[derive(Args)]
pub(super) struct Arguments {
    /// Capture files: pcap or pcapng
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Other thresholds, ports and agents than the product's defaults (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A policy file. Every key may be left out.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    sip_ports: Option<Vec<u16>>,
    bad_registrations_per_minute: Option<u32>,
    blocked_user_agents: Option<Vec<String>>,
    block_seconds: Option<u64>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let policy = arguments.policy.as_deref().map_or_else(|| Ok(Policy::default()), read_policy)?;
    for path in &arguments.files {
        play(path, policy.clone(), arguments.format)?;
    }
    Ok(())
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let refuse = |reason: String| Failure::Usage(format!("policy {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let file: PolicyFile = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    let mut policy = Policy::default();
    if let Some(ports) = file.sip_ports {
        policy.sip_ports =
            ports.into_iter().map(|port| log_format::event::PortRange { first: port, last: port }).collect();
    }
    if let Some(limit) = file.bad_registrations_per_minute {
        if limit == 0 {
            return Err(refuse(
                "bad_registrations_per_minute: 0 would block everybody; use 1 or more".to_owned(),
            ));
        }
        policy.bad_registrations_per_minute = limit;
    }
    if let Some(agents) = file.blocked_user_agents {
        policy.blocked_user_agents = agents.iter().map(|agent| Text::new(agent.as_bytes())).collect();
    }
    if let Some(seconds) = file.block_seconds {
        policy.block_seconds = seconds;
    }
    Ok(policy)
}

/// Longer than any answer to what a capture's last packets asked.
const AFTERMATH: Duration = Duration::from_secs(10);

/// The proof filter's secret need not be one here: nobody can aim at a file that is already written.
const SECRET: [u8; 16] = *b"palisade capture";

fn play(path: &Path, policy: Policy, format: Format) -> Result<(), Failure> {
    let started = Instant::now();
    let unreadable =
        |error| Failure::Usage(format!("{:#}; give a pcap or pcapng file", anyhow::Error::from(error)));
    let mut file = PcapFile::open(path).map_err(unreadable)?;
    let mut engine = Engine::new(policy, SECRET);
    let mut findings = Vec::new();
    let mut attacks: u64 = 0;
    let mut last = Timestamp::ZERO;
    while let Some(frame) = file.next() {
        let frame = frame.map_err(anyhow::Error::from)?;
        last = last.max(frame.at);
        engine.frame(&frame, &mut findings);
        attacks += print(&mut findings, format);
    }
    // What the last packets left open is judged when their time is over.
    engine.idle(last.after(AFTERMATH), &mut findings);
    attacks += print(&mut findings, format);
    let elapsed = started.elapsed().as_secs_f64();
    summarize(path, format, attacks, &engine.statistics(), elapsed);
    Ok(())
}

/// Prints what was found; gives the number of attacks.
fn print(findings: &mut Vec<Finding>, format: Format) -> u64 {
    let mut attacks = 0;
    for finding in findings.drain(..) {
        attacks += u64::from(matches!(finding, Finding::Attack(_)));
        match (finding, format) {
            (Finding::Attack(verdict), Format::Jsonl) => println!("{}", verdict_json(&verdict)),
            (Finding::Attack(verdict), Format::Text) => println!("{}", verdict_text(&verdict)),
            (Finding::Note(note), Format::Jsonl) => println!("{}", note_json(&note)),
            (Finding::Note(note), Format::Text) => println!("{}", note_text(&note)),
        }
    }
    attacks
}

fn note_json(note: &Note) -> serde_json::Value {
    json!({
        "type": "note",
        "kind": note.kind.name(),
        "source": note.source,
        "source_port": note.source_port,
        "victim": note.victim,
        "attack": note.attack.name(),
        "rule": note.rule.map(log_format::event::Rule::name),
        "account": note.account.visible(),
        "user_agent": note.user_agent.visible(),
        "count": note.count,
        "line": note.line.visible(),
        "packet": note.packet,
        "at": note.at.to_string(),
    })
}

fn note_text(note: &Note) -> String {
    format!(
        "{}  {:<39} {:<8} note: {}  packet {}  {} {}",
        note.at,
        note.source.to_string(),
        note.attack.name(),
        note.kind.name(),
        note.packet,
        note.account.visible(),
        note.user_agent.visible(),
    )
}

fn verdict_json(verdict: &Verdict) -> serde_json::Value {
    let observed = &verdict.observed;
    let mut object = json!({
        "type": "attack",
        "source": observed.source,
        "source_port": observed.source_port,
        "victim": observed.victim,
        "attack": observed.attack.name(),
        "rule": observed.rule.name(),
        "evidence": observed.evidence.name(),
        "sanction": observed.sanction.name(),
        "scope": verdict.scope.name(),
        "seconds": verdict.seconds,
        "user_agent": observed.user_agent.visible(),
        "known_user_agent": observed.known_user_agent,
        "packet": verdict.packet,
        "at": verdict.at.to_string(),
        "count": observed.count,
        "account": verdict.account.visible(),
        "line": verdict.line.visible(),
    });
    if let (Scope::AddressPort(port), Some(fields)) = (verdict.scope, object.as_object_mut()) {
        fields.insert("port".to_owned(), port.into());
    }
    if let (Scope::Prefix(length), Some(fields)) = (verdict.scope, object.as_object_mut()) {
        fields.insert("prefix_length".to_owned(), length.into());
    }
    object
}

fn verdict_text(verdict: &Verdict) -> String {
    let observed = &verdict.observed;
    let agent = observed.user_agent.visible();
    let mark = if observed.known_user_agent { " (known)" } else { "" };
    format!(
        "{}  {:<39} {:<8} {:<18} {:<10} {:<10} {:>6} s  packet {}  {agent}{mark}",
        verdict.at,
        observed.source.to_string(),
        observed.attack.name(),
        observed.rule.name(),
        observed.evidence.name(),
        observed.sanction.name(),
        verdict.seconds,
        verdict.packet,
    )
}

fn summarize(path: &Path, format: Format, attacks: u64, statistics: &Statistics, elapsed: f64) {
    let Statistics { packets, sip_messages, malformed, fragments, reassembled, sources, notes, .. } =
        statistics;
    match format {
        Format::Jsonl => println!(
            "{}",
            json!({
                "type": "summary", "file": path, "packets": packets, "sip_messages": sip_messages,
                "malformed": malformed, "fragments": fragments, "reassembled": reassembled, "sources": sources,
                "attacks": attacks, "notes": notes, "elapsed_seconds": elapsed,
            })
        ),
        Format::Text => println!(
            "{}: {packets} packets, {sip_messages} SIP messages ({malformed} malformed), {fragments} fragments ({reassembled} packets put together), {sources} sources, {attacks} attacks, {notes} notes, {elapsed:.3} s",
            path.display()
        ),
    }
}
