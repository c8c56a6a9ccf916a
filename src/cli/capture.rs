//! `palisade capture`: plays captures through the detection engine that also runs live, and prints its verdicts.

#![expect(
    clippy::disallowed_methods,
    reason = "the command line is a shell: it reads the clock to say how long it took"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use log_format::event::{Rule, Sanction, Scope};
use sensors::{Engine, Finding, Note, PcapFile, Policy, Statistics, Verdict};
use serde_json::json;

use super::{Failure, Format, policy};

#[derive(Args)]
pub(super) struct Arguments {
    /// Capture files: pcap or pcapng
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Rules' modes, limits, ports and agents other than the product's defaults (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print only whom this other policy would treat differently from --policy or the defaults (TOML)
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let read = |path: &Option<PathBuf>| path.as_deref().map_or_else(|| Ok(Policy::default()), policy::read);
    let first = read(&arguments.policy)?;
    if arguments.against.is_none() {
        for path in &arguments.files {
            let format = arguments.format;
            let told = play(path, first.clone(), |finding| print(finding, format))?;
            summarize(path, format, &told);
        }
        return Ok(());
    }
    let second = read(&arguments.against)?;
    for path in &arguments.files {
        compare(path, &first, &second, arguments.format)?;
    }
    Ok(())
}

/// The proof filter's secret need not be one here: nobody can aim at a file that is already written.
const SECRET: [u8; 16] = *b"palisade capture";

/// What was seen of a capture.
struct Told {
    attacks: u64,
    statistics: Statistics,
    elapsed: f64,
}

fn play(path: &Path, policy: Policy, mut tell: impl FnMut(&Finding)) -> Result<Told, Failure> {
    let started = Instant::now();
    let unreadable =
        |error| Failure::Usage(format!("{:#}; give a pcap or pcapng file", anyhow::Error::from(error)));
    let mut file = PcapFile::open(path).map_err(unreadable)?;
    let mut engine = Engine::new(policy, SECRET);
    let mut findings = Vec::new();
    let mut attacks: u64 = 0;
    let mut tell_all = |findings: &mut Vec<Finding>| {
        for finding in findings.drain(..) {
            attacks += u64::from(matches!(finding, Finding::Attack(_)));
            tell(&finding);
        }
    };
    while let Some(frame) = file.next() {
        let frame = frame.map_err(anyhow::Error::from)?;
        engine.frame(&frame, &mut findings);
        tell_all(&mut findings);
    }
    engine.end(&mut findings);
    tell_all(&mut findings);
    Ok(Told { attacks, statistics: engine.statistics(), elapsed: started.elapsed().as_secs_f64() })
}

fn print(finding: &Finding, format: Format) {
    match (finding, format) {
        (Finding::Attack(verdict), Format::Jsonl) => println!("{}", verdict_json(verdict)),
        (Finding::Attack(verdict), Format::Text) => println!("{}", verdict_text(verdict)),
        (Finding::Note(note), Format::Jsonl) => println!("{}", note_json(note)),
        (Finding::Note(note), Format::Text) => println!("{}", note_text(note)),
    }
}

/// The strongest sanction of each source, and by which rule.
type Sanctioned = BTreeMap<IpAddr, (Sanction, Rule)>;

/// Prints whom two policies treat differently.
fn compare(path: &Path, first: &Policy, second: &Policy, format: Format) -> Result<(), Failure> {
    let of = |policy: &Policy| -> Result<Sanctioned, Failure> {
        let mut sanctioned = Sanctioned::new();
        play(path, policy.clone(), |finding| {
            if let Finding::Attack(Verdict { observed, .. }) = finding {
                let new = (observed.sanction, observed.rule);
                let known = sanctioned.entry(observed.source).or_insert(new);
                if known.0 < new.0 {
                    *known = new;
                }
            }
        })?;
        Ok(sanctioned)
    };
    let (before, after) = (of(first)?, of(second)?);
    let sources: BTreeSet<&IpAddr> = before.keys().chain(after.keys()).collect();
    let mut differences = 0;
    for source in sources {
        let (old, new) = (before.get(source), after.get(source));
        if old.map(|(sanction, _)| sanction) != new.map(|(sanction, _)| sanction) {
            differences += 1;
            print_difference(*source, old, new, format);
        }
    }
    match format {
        Format::Jsonl => {
            println!("{}", json!({ "type": "summary", "file": path, "differences": differences }))
        }
        Format::Text => println!("{}: {differences} sources are treated differently", path.display()),
    }
    Ok(())
}

fn print_difference(
    source: IpAddr,
    before: Option<&(Sanction, Rule)>,
    after: Option<&(Sanction, Rule)>,
    format: Format,
) {
    let sanction = |held: Option<&(Sanction, Rule)>| held.map(|(sanction, _)| sanction.name());
    let rule = |held: Option<&(Sanction, Rule)>| held.map(|(_, rule)| rule.name());
    match format {
        Format::Jsonl => println!(
            "{}",
            json!({
                "type": "difference", "source": source,
                "before": sanction(before), "before_rule": rule(before),
                "after": sanction(after), "after_rule": rule(after),
            })
        ),
        Format::Text => {
            let say = |held| match (sanction(held), rule(held)) {
                (Some(sanction), Some(rule)) => format!("{sanction} ({rule})"),
                _ => "nothing".to_owned(),
            };
            println!("{source:<39} {} -> {}", say(before), say(after));
        }
    }
}

fn note_json(note: &Note) -> serde_json::Value {
    let observed = &note.observed;
    json!({
        "type": "note",
        "kind": observed.kind.name(),
        "source": observed.source,
        "source_port": observed.source_port,
        "victim": observed.victim,
        "attack": observed.attack.name(),
        "rule": observed.rule.map(log_format::event::Rule::name),
        "account": observed.account.visible(),
        "user_agent": observed.user_agent.visible(),
        "count": observed.count,
        "line": observed.line.visible(),
        "packet": note.packet,
        "at": note.at.to_string(),
    })
}

fn note_text(note: &Note) -> String {
    let observed = &note.observed;
    format!(
        "{}  {:<39} {:<8} note: {}  packet {}  {} {}",
        note.at,
        observed.source.to_string(),
        observed.attack.name(),
        observed.kind.name(),
        note.packet,
        observed.account.visible(),
        observed.user_agent.visible(),
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
        "scope": observed.scope.name(),
        "seconds": verdict.seconds,
        "user_agent": observed.user_agent.visible(),
        "known_user_agent": observed.known_user_agent,
        "packet": verdict.packet,
        "at": verdict.at.to_string(),
        "count": observed.count,
        "account": observed.account.visible(),
        "line": observed.line.visible(),
    });
    if let (Scope::AddressPort(port), Some(fields)) = (observed.scope, object.as_object_mut()) {
        fields.insert("port".to_owned(), port.into());
    }
    if let (Scope::Prefix(length), Some(fields)) = (observed.scope, object.as_object_mut()) {
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

fn summarize(path: &Path, format: Format, told: &Told) {
    let Told { attacks, statistics, elapsed } = told;
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
