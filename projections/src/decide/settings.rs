//! The cluster's settings: their fold, and the rules for changing them.

use std::collections::{BTreeMap, BTreeSet};

use log_format::event::{
    EnforcementMode, Event, PortRange, Rule, RuleMode, SettingChange, SettingsChanged, SettingsEvent, Text,
};
use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::digest::{Canonical, CanonicalHasher};

/// Ranges of SIP ports at most: a firewall rule names each of them.
pub const MAX_PORT_RANGES: usize = 64;
/// Bad registrations a minute at most; beyond it the rule would never be tipped by a network login.
pub const MAX_BAD_REGISTRATIONS: u32 = 1_000;
/// Steps of block times at most; more than anybody tells apart.
pub const MAX_BLOCK_STEPS: usize = 16;
/// Seconds of a dynamic block at least; a shorter one would be over before anybody saw why.
pub const MIN_BLOCK_SECONDS: u64 = 60;
/// Seconds of any block or limited allowance at most: a year. What should last longer belongs on a list for good.
pub const MAX_BLOCK_SECONDS: u64 = 31_536_000;
/// Dynamic blocks before the permanent one at most; the history of an address keeps that many.
pub const MAX_BLOCK_THRESHOLD: u32 = 32;
/// Blocked user agents at most; with the longest texts they still fit into one event.
pub const MAX_USER_AGENTS: usize = 128;

/// What people set for the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How often they were changed; what a change must expect.
    pub version: u64,
    /// Ports on which SIP is expected.
    pub sip_ports: Vec<PortRange>,
    /// How many bad registrations within a minute tip the rule.
    pub bad_registrations_per_minute: u32,
    /// Seconds of the first, second, third, … dynamic block; the last value goes on.
    pub block_seconds: Vec<u64>,
    /// Dynamic blocks after which the next is permanent; 0: never.
    pub block_threshold: u32,
    /// User agents that are blocked: whole words at the start of the header, case as written.
    pub blocked_user_agents: Vec<Text>,
    /// Whether blocks reach the kernel.
    pub mode: EnforcementMode,
    /// Rules that are not enforced; every other one is.
    pub rule_modes: BTreeMap<Rule, RuleMode>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: 0,
            sip_ports: vec![PortRange { first: 5060, last: 5060 }],
            bad_registrations_per_minute: 10,
            block_seconds: vec![3_600, 14_400, 86_400],
            block_threshold: 3,
            blocked_user_agents: ["friendly-scanner", "sipsak", "Elite"]
                .map(|name| Text::new(name.as_bytes()))
                .into(),
            mode: EnforcementMode::Block,
            rule_modes: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Folds one change.
    pub fn evolve(&mut self, event: &SettingsEvent) {
        let SettingsEvent::Changed(SettingsChanged { by: _, changes }) = event;
        self.version = self.version.saturating_add(1);
        for change in changes {
            match change {
                SettingChange::SipPorts(ports) => self.sip_ports.clone_from(ports),
                SettingChange::BadRegistrationsPerMinute(limit) => self.bad_registrations_per_minute = *limit,
                SettingChange::BlockSeconds(steps) => self.block_seconds.clone_from(steps),
                SettingChange::BlockThreshold(threshold) => self.block_threshold = *threshold,
                SettingChange::BlockedUserAgents(agents) => self.blocked_user_agents.clone_from(agents),
                SettingChange::Mode(mode) => self.mode = *mode,
                SettingChange::RuleMode { rule, mode } if *mode == RuleMode::standard(*rule) => {
                    self.rule_modes.remove(rule);
                }
                SettingChange::RuleMode { rule, mode } => {
                    self.rule_modes.insert(*rule, *mode);
                }
            }
        }
    }

    /// What becomes of a rule that is tipped.
    pub fn mode_of(&self, rule: Rule) -> RuleMode {
        self.rule_modes.get(&rule).copied().unwrap_or(RuleMode::standard(rule))
    }

    /// Whether every block lasts as long as the first: then ends are neither moved nor slid, because whoever sets a single
    /// time wants just that.
    pub fn is_flat(&self) -> bool {
        self.block_seconds.len() <= 1
    }

    /// Seconds of the `strike`th dynamic block, from 1.
    pub fn seconds_of_block(&self, strike: u32) -> u64 {
        let step = usize::try_from(strike.saturating_sub(1)).unwrap_or(usize::MAX);
        let seconds = self.block_seconds.get(step).or(self.block_seconds.last());
        seconds.copied().unwrap_or(MIN_BLOCK_SECONDS)
    }
}

/// Judges a change of settings.
pub(super) fn change(
    settings: &Settings,
    expected: u64,
    changed: SettingsChanged,
) -> Result<Vec<Event>, Rejection> {
    let actual = settings.version;
    if expected != actual {
        return Err(Rejection::VersionConflict { expected, actual });
    }
    if changed.changes.is_empty() {
        return Err(Rejection::NothingToChange);
    }
    let mut fields = BTreeSet::new();
    for change in &changed.changes {
        let field = field_of(change);
        if !fields.insert((field, rule_of(change))) {
            return Err(Rejection::Repeated { field });
        }
        check(change, field)?;
    }
    Ok(vec![Event::Settings(SettingsEvent::Changed(changed))])
}

const fn field_of(change: &SettingChange) -> &'static str {
    match change {
        SettingChange::SipPorts(_) => "sip_ports",
        SettingChange::BadRegistrationsPerMinute(_) => "bad_registrations_per_minute",
        SettingChange::BlockSeconds(_) => "block_seconds",
        SettingChange::BlockThreshold(_) => "block_threshold",
        SettingChange::BlockedUserAgents(_) => "blocked_user_agents",
        SettingChange::Mode(_) => "mode",
        SettingChange::RuleMode { .. } => "rules",
    }
}

/// Each rule's mode is a setting of its own.
const fn rule_of(change: &SettingChange) -> Option<Rule> {
    match change {
        SettingChange::RuleMode { rule, mode: _ } => Some(*rule),
        SettingChange::SipPorts(_)
        | SettingChange::BadRegistrationsPerMinute(_)
        | SettingChange::BlockSeconds(_)
        | SettingChange::BlockThreshold(_)
        | SettingChange::BlockedUserAgents(_)
        | SettingChange::Mode(_) => None,
    }
}

fn check(change: &SettingChange, field: &'static str) -> Result<(), Rejection> {
    match change {
        SettingChange::SipPorts(ranges) => {
            check_length(field, ranges.len(), MAX_PORT_RANGES)?;
            ranges.iter().try_for_each(check_ports)
        }
        SettingChange::BadRegistrationsPerMinute(limit) => {
            check_range(field, u64::from(*limit), 1, u64::from(MAX_BAD_REGISTRATIONS))
        }
        SettingChange::BlockSeconds(steps) => {
            check_length(field, steps.len(), MAX_BLOCK_STEPS)?;
            steps
                .iter()
                .try_for_each(|seconds| check_range(field, *seconds, MIN_BLOCK_SECONDS, MAX_BLOCK_SECONDS))
        }
        SettingChange::BlockThreshold(threshold) => {
            check_range(field, u64::from(*threshold), 0, u64::from(MAX_BLOCK_THRESHOLD))
        }
        SettingChange::BlockedUserAgents(agents) if MAX_USER_AGENTS < agents.len() => {
            Err(Rejection::TooMany { field, count: agents.len(), limit: MAX_USER_AGENTS })
        }
        SettingChange::BlockedUserAgents(agents) => match agents.iter().find(|agent| is_blank(agent)) {
            Some(_) => Err(Rejection::BlankEntry { field }),
            None => Ok(()),
        },
        SettingChange::Mode(EnforcementMode::Block | EnforcementMode::Watch)
        | SettingChange::RuleMode { .. } => Ok(()),
    }
}

fn check_ports(range: &PortRange) -> Result<(), Rejection> {
    let PortRange { first, last } = *range;
    if first == 0 || last < first {
        return Err(Rejection::PortRange { first, last });
    }
    Ok(())
}

fn check_length(field: &'static str, count: usize, limit: usize) -> Result<(), Rejection> {
    if count == 0 {
        return Err(Rejection::EmptyList { field });
    }
    if limit < count {
        return Err(Rejection::TooMany { field, count, limit });
    }
    Ok(())
}

pub(super) fn check_range(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), Rejection> {
    if value < least || most < value {
        return Err(Rejection::OutOfRange { field, value, least, most });
    }
    Ok(())
}

fn is_blank(text: &Text) -> bool {
    text.as_bytes().iter().all(u8::is_ascii_whitespace)
}

impl Canonical for Settings {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self {
            version,
            sip_ports,
            bad_registrations_per_minute,
            block_seconds,
            block_threshold,
            blocked_user_agents,
            mode,
            rule_modes,
        } = self;
        version.put(out);
        sip_ports.put(out);
        bad_registrations_per_minute.put(out);
        block_seconds.put(out);
        block_threshold.put(out);
        blocked_user_agents.put(out);
        mode.put(out);
        rule_modes.put(out);
    }
}
