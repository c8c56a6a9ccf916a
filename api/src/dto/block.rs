//! A blocked address, from an event or from the denylist view: both give the same [`Facts`].

use std::net::IpAddr;

use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::{
    Actor, AddressBlocked, AddressDenied, AttackKind, BlockReason, DenyReason, Evidence, Rule, Sanction,
    Scope, Text,
};
use log_format::ids::{BlockId, LogIndex};
use log_format::time::Timestamp;
use projections::read::{AttackReason, DenylistRow, Reason, attacker_said};
use serde::{Deserialize, Serialize};

use super::shown;
use crate::ports::{ClusterView, FirewallMode};

/// A blocked address.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Block {
    pub(crate) address: String,
    pub(crate) block_id: String,
    pub(crate) since: String,
    pub(crate) until: Option<String>,
    pub(crate) sanction: &'static str,
    pub(crate) scope: &'static str,
    /// Of the scope address-port: which.
    pub(crate) port: Option<u16>,
    #[serde(rename = "type")]
    pub(crate) attack: Option<&'static str>,
    pub(crate) rule: Option<&'static str>,
    pub(crate) evidence: Option<&'static str>,
    pub(crate) user_agent: Option<String>,
    pub(crate) known_user_agent: bool,
    pub(crate) count: u32,
    pub(crate) victim: Option<String>,
    pub(crate) strikes: u32,
    pub(crate) threshold: u32,
    pub(crate) by: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) log_index: u64,
    pub(crate) enforced_on: Vec<String>,
}

/// `POST /blocks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostBlock {
    pub(crate) address: String,
    pub(crate) seconds: Option<u64>,
    #[serde(default)]
    pub(crate) note: String,
    /// Block even the address from which the request comes.
    #[serde(default)]
    pub(crate) confirm: bool,
}

/// `POST /blocks/batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostBatch {
    pub(crate) items: Vec<PostBlock>,
}

/// The answer to `POST /blocks/batch`.
#[derive(Debug, Serialize)]
pub(crate) struct BatchBlocked {
    /// In the order of the items.
    pub(crate) block_ids: Vec<String>,
    pub(crate) log_index: u64,
}

/// The answer to `POST /blocks`.
#[derive(Debug, Serialize)]
pub(crate) struct Blocked {
    pub(crate) block_id: String,
    pub(crate) log_index: u64,
}

/// What a block on the wire is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    network: IpNet,
    block: BlockId,
    since: Timestamp,
    until: Option<Timestamp>,
    sanction: Sanction,
    scope: Scope,
    why: Why<'a>,
    strikes: u32,
    index: LogIndex,
}

/// Why an address is dropped.
#[derive(Debug, Clone, Copy)]
enum Why<'a> {
    Attack {
        rule: Rule,
        attack: AttackKind,
        evidence: Evidence,
        count: u32,
        victim: Option<IpAddr>,
        user_agent: Option<&'a Text>,
        known_user_agent: bool,
    },
    Manual {
        by: &'a Actor,
        note: &'a Text,
    },
}

/// What surrounds a block on the wire: the threshold in force, and which hosts drop what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) threshold: u32,
    pub(crate) view: &'a ClusterView,
}

/// Where an event stands in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) index: LogIndex,
    pub(crate) envelope: &'a Envelope,
}

impl<'a> Facts<'a> {
    /// Facts of a row of the denylist.
    pub(crate) fn of_row(row: &DenylistRow<'a>) -> Self {
        let DenylistRow { block, address: _, scope, sanction, since, until, strikes, reason, by, log_index } =
            *row;
        let why = match reason {
            Reason::Attack(AttackReason {
                rule,
                attack,
                evidence,
                count,
                victim,
                user_agent,
                known_user_agent,
            }) => Why::Attack {
                rule: *rule,
                attack: *attack,
                evidence: *evidence,
                count: *count,
                victim: *victim,
                user_agent: Some(user_agent),
                known_user_agent: *known_user_agent,
            },
            Reason::Manual { note } => Why::Manual { by, note },
        };
        Self { network: row.network(), block, since, until, sanction, scope, why, strikes, index: log_index }
    }

    /// Facts of a block that begins with this event.
    pub(crate) fn of_blocked(event: &'a AddressBlocked, entry: Entry<'a>) -> Self {
        let AddressBlocked { block, source, scope, sanction, reason, until, strikes } = event;
        Self {
            network: match scope {
                Scope::Address | Scope::AddressPort(_) => IpNet::from(*source),
                Scope::Prefix(length) => {
                    IpNet::new(*source, *length).unwrap_or_else(|_| IpNet::from(*source))
                }
            },
            block: *block,
            since: entry.envelope.accepted_at,
            until: Some(*until),
            sanction: *sanction,
            scope: *scope,
            why: Why::of(reason, attacker_said(entry.envelope, *source)),
            strikes: *strikes,
            index: entry.index,
        }
    }

    /// Facts of a denylist entry that begins with this event.
    pub(crate) fn of_denied(event: &'a AddressDenied, entry: Entry<'a>) -> Self {
        let AddressDenied { network, reason } = event;
        let (why, strikes) = match reason {
            DenyReason::Threshold { blocks, last } => {
                (Why::of(last, attacker_said(entry.envelope, network.addr())), *blocks)
            }
            DenyReason::Manual { by, note } => (Why::Manual { by, note }, 0),
        };
        let is_address = network.prefix_len() == network.max_prefix_len();
        Self {
            network: *network,
            block: BlockId::new(entry.envelope.command.get()),
            since: entry.envelope.accepted_at,
            until: None,
            sanction: Sanction::Permanent,
            scope: if is_address { Scope::Address } else { Scope::Prefix(network.prefix_len()) },
            why,
            strikes,
            index: entry.index,
        }
    }
}

impl<'a> Why<'a> {
    fn of(reason: &'a BlockReason, user_agent: Option<&'a Text>) -> Self {
        match reason {
            BlockReason::Attack { rule, attack, evidence, count, victim, known_user_agent } => {
                Self::Attack {
                    rule: *rule,
                    attack: *attack,
                    evidence: *evidence,
                    count: *count,
                    // Unspecified: the sum over hosts tipped the rule, not one packet.
                    victim: Some(*victim).filter(|victim| !victim.is_unspecified()),
                    user_agent,
                    known_user_agent: *known_user_agent,
                }
            }
            BlockReason::Manual { by, note } => Self::Manual { by, note },
        }
    }
}

impl Block {
    /// The block on the wire.
    pub(crate) fn new(facts: Facts<'_>, around: Surroundings<'_>) -> Self {
        let Facts { network, block, since, until, sanction, scope, why, strikes, index } = facts;
        let mut shown = Self {
            address: address_text(network),
            block_id: block.to_string(),
            since: since.to_string(),
            until: until.map(|until| until.to_string()),
            sanction: sanction.name(),
            scope: scope.name(),
            port: match scope {
                Scope::AddressPort(port) => Some(port),
                Scope::Address | Scope::Prefix(_) => None,
            },
            strikes,
            threshold: around.threshold,
            log_index: index.get(),
            enforced_on: enforced_on(around.view, index),
            ..Self::default()
        };
        shown.explain(why);
        shown
    }

    fn explain(&mut self, why: Why<'_>) {
        match why {
            Why::Attack { rule, attack, evidence, count, victim, user_agent, known_user_agent } => {
                self.attack = Some(attack.name());
                self.rule = Some(rule.name());
                self.evidence = Some(evidence.name());
                self.count = count;
                self.victim = victim.map(|victim| victim.to_string());
                self.user_agent = Some(user_agent.map(shown).unwrap_or_default());
                self.known_user_agent = known_user_agent;
            }
            Why::Manual { by, note } => {
                self.by = Some(actor_name(by));
                self.note = Some(shown(note));
            }
        }
    }
}

/// An actor's name on the wire.
pub(crate) fn actor_name(actor: &Actor) -> String {
    match actor {
        Actor::System => "system".to_owned(),
        Actor::Administrator(name) => shown(name),
    }
}

/// A network of one address is written as that address.
pub(crate) fn address_text(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// Hosts whose kernel does what the log says up to `index`.
fn enforced_on(view: &ClusterView, index: LogIndex) -> Vec<String> {
    let enforcing = view.hosts.iter().filter(|host| host.firewall.mode == FirewallMode::Enforcing);
    enforcing
        .filter(|host| host.enforced.is_some_and(|upto| index <= upto))
        .map(|host| host.id.to_string())
        .collect()
}
