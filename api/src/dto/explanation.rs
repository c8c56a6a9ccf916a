//! Why an address is dropped, or why not.

use log_format::event::NoteObserved;
use log_format::ids::HostId;
use projections::decide::Verdict;
use projections::decide::order::{Passed, Step};
use projections::read::{AllowedRow, Explanation, NoteRow};
use serde::Serialize;

use super::attack::{Attack, HostName, host_name};
use super::block::{Block, Facts, Surroundings, actor_name, address_text};
use super::settings::mode_name;
use super::shown;
use crate::ports::{ClusterView, Spared};

/// The answer to `GET /ip/{address}`.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    address: String,
    port: Option<u16>,
    now: String,
    as_of: u64,
    /// One or two plain sentences.
    sentence: String,
    decision: &'static str,
    step: &'static str,
    passed: Vec<PassedStep>,
    until: Option<String>,
    mode: &'static str,
    blocks: Vec<Block>,
    allowed: Option<Allowance>,
    never_dropped_here: Option<SparedHere>,
    attacks: Vec<Attack>,
    attacks_total: usize,
    hosts: Vec<HostName>,
    victims: Vec<String>,
    notes: Vec<Note>,
    notes_total: usize,
}

/// A step of the order of decision that did not decide.
#[derive(Debug, Serialize)]
struct PassedStep {
    step: &'static str,
    reason: String,
}

/// A person's word that an address is never blocked.
#[derive(Debug, Serialize)]
struct Allowance {
    network: String,
    since: String,
    until: Option<String>,
    by: String,
    note: String,
    log_index: u64,
}

/// What the host that answers never drops, whatever the log says.
#[derive(Debug, Serialize)]
struct SparedHere {
    network: String,
    reason: String,
}

/// Something worth telling that is no attack.
#[derive(Debug, Serialize)]
pub(crate) struct Note {
    id: String,
    at: String,
    accepted_at: String,
    kind: &'static str,
    source: String,
    source_port: u16,
    victim: String,
    victim_port: u16,
    #[serde(rename = "type")]
    attack: &'static str,
    rule: Option<&'static str>,
    account: String,
    user_agent: String,
    count: u32,
    line: String,
    host: HostName,
    log_index: u64,
}

impl Explained {
    /// The explanation on the wire, of views that have applied `as_of`, by a host that spares the address or does not.
    pub(crate) fn new(
        (explanation, spared): (&Explanation<'_>, Option<Spared>),
        as_of: u64,
        around: Surroundings<'_>,
    ) -> Self {
        let name = |host: &HostId| host_name(*host, around.view);
        let passed = |(step, why): &(Step, Passed)| PassedStep { step: step.name(), reason: why.to_string() };
        let (decision, until) = decision(explanation.ruling.verdict);
        Self {
            address: explanation.address.to_string(),
            port: explanation.port,
            now: explanation.now.to_string(),
            as_of,
            sentence: sentence(explanation, spared.as_ref()),
            decision,
            step: explanation.ruling.step.name(),
            passed: explanation.ruling.passed.iter().map(passed).collect(),
            until,
            mode: mode_name(explanation.mode),
            blocks: explanation.blocks.iter().map(|row| Block::new(Facts::of_row(row), around)).collect(),
            allowed: explanation.allowed.map(|(network, row)| allowance(network, row)),
            never_dropped_here: spared.map(|Spared { network, by }| SparedHere {
                network: address_text(network),
                reason: by.to_string(),
            }),
            attacks: explanation.attacks.iter().map(|row| Attack::new(row, around.view)).collect(),
            attacks_total: explanation.attacks_total,
            hosts: explanation.hosts.iter().map(name).collect(),
            victims: explanation.victims.iter().map(ToString::to_string).collect(),
            notes: explanation.notes.iter().map(|row| Note::new(row, around.view)).collect(),
            notes_total: explanation.notes_total,
        }
    }
}

impl Note {
    /// The note on the wire.
    pub(crate) fn new(row: &NoteRow, view: &ClusterView) -> Self {
        let NoteRow { id, at, observed_at, host, noted } = row;
        let NoteObserved {
            kind,
            source,
            source_port,
            victim,
            victim_port,
            attack,
            rule,
            account,
            user_agent,
            count,
            line,
        } = noted;
        Self {
            id: format!("{}-{}", id.index, id.ordinal),
            at: observed_at.to_string(),
            accepted_at: at.to_string(),
            kind: kind.name(),
            source: source.to_string(),
            source_port: *source_port,
            victim: victim.to_string(),
            victim_port: *victim_port,
            attack: attack.name(),
            rule: rule.map(|rule| rule.name()),
            account: shown(account),
            user_agent: shown(user_agent),
            count: *count,
            line: shown(line),
            host: host_name(*host, view),
            log_index: id.index.get(),
        }
    }
}

/// What holds everywhere, and what this host does about it.
fn sentence(explanation: &Explanation<'_>, spared: Option<&Spared>) -> String {
    let holds = explanation.sentence();
    match spared {
        Some(Spared { by, .. }) => format!("{holds} This host never drops it because {by}."),
        None => holds,
    }
}

/// What holds, in a word, and until when.
fn decision(verdict: Verdict) -> (&'static str, Option<String>) {
    match verdict {
        Verdict::Untouchable(_) => ("never-block", None),
        Verdict::Allowed { network: _, until } => ("allowed", until.map(|until| until.to_string())),
        Verdict::Denied { network: _ } => ("denied", None),
        Verdict::Blocked { until } => ("blocked", Some(until.to_string())),
        Verdict::SoftBlocked { until } => ("soft-blocked", Some(until.to_string())),
        Verdict::Free => ("free", None),
    }
}

fn allowance(network: ipnet::IpNet, row: &AllowedRow) -> Allowance {
    let AllowedRow { since, until, by, note, log_index } = row;
    Allowance {
        network: address_text(network),
        since: since.to_string(),
        until: until.map(|until| until.to_string()),
        by: actor_name(by),
        note: shown(note),
        log_index: log_index.get(),
    }
}
