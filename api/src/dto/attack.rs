//! An attack, from an event or from the attack log: both hold the event itself.

use log_format::event::AttackObserved;
use log_format::ids::{HostId, Position};
use log_format::time::Timestamp;
use projections::read::AttackRow;
use serde::Serialize;

use super::shown;
use crate::ports::ClusterView;

/// An attack.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attack {
    pub(crate) id: String,
    pub(crate) at: String,
    pub(crate) accepted_at: String,
    pub(crate) source: String,
    pub(crate) source_port: u16,
    pub(crate) victim: String,
    pub(crate) victim_port: u16,
    #[serde(rename = "type")]
    pub(crate) attack: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) evidence: &'static str,
    pub(crate) sanction: &'static str,
    pub(crate) user_agent: String,
    pub(crate) known_user_agent: bool,
    pub(crate) count: u32,
    pub(crate) scope: &'static str,
    pub(crate) account: String,
    pub(crate) line: String,
    pub(crate) host: HostName,
    pub(crate) log_index: u64,
}

/// A host's id and name.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HostName {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Attack {
    /// The attack on the wire. A row of the attack log is made of one event, so an event is shown by way of its row.
    pub(crate) fn new(row: &AttackRow, view: &ClusterView) -> Self {
        let AttackRow {
            id,
            at,
            observed_at,
            host,
            source,
            source_port,
            victim,
            victim_port,
            attack,
            rule,
            evidence,
            sanction,
            user_agent,
            known_user_agent,
            count,
            scope,
            account,
            line,
        } = row;
        Self {
            id: format!("{}-{}", id.index, id.ordinal),
            at: observed_at.to_string(),
            accepted_at: at.to_string(),
            source: source.to_string(),
            source_port: *source_port,
            victim: victim.to_string(),
            victim_port: *victim_port,
            attack: attack.name(),
            rule: rule.name(),
            evidence: evidence.name(),
            sanction: sanction.name(),
            user_agent: shown(user_agent),
            known_user_agent: *known_user_agent,
            count: *count,
            scope: scope.name(),
            account: shown(account),
            line: shown(line),
            host: host_name(*host, view),
            log_index: id.index.get(),
        }
    }
}

/// The row that this event becomes.
pub(crate) fn row(event: &AttackObserved, id: Position, recorded: Recorded) -> AttackRow {
    let AttackObserved {
        source,
        source_port,
        victim,
        victim_port,
        attack,
        rule,
        evidence,
        sanction,
        user_agent,
        known_user_agent,
        count,
        scope,
        account,
        line,
    } = event;
    let Recorded { at, observed_at, host } = recorded;
    AttackRow {
        id,
        at,
        observed_at,
        host,
        source: *source,
        source_port: *source_port,
        victim: *victim,
        victim_port: *victim_port,
        attack: *attack,
        rule: *rule,
        evidence: *evidence,
        sanction: *sanction,
        user_agent: user_agent.clone(),
        known_user_agent: *known_user_agent,
        count: *count,
        scope: *scope,
        account: account.clone(),
        line: line.clone(),
    }
}

/// When and by whom an attack was written down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    pub(crate) at: Timestamp,
    pub(crate) observed_at: Timestamp,
    pub(crate) host: HostId,
}

/// A host that was removed has no name any more.
pub(crate) fn host_name(id: HostId, view: &ClusterView) -> HostName {
    let known = view.hosts.iter().find(|host| host.id == id);
    HostName { id: id.to_string(), name: known.map(|host| host.name.clone()).unwrap_or_default() }
}
