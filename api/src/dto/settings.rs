//! The firewall's settings. Text and shape are checked here, once; what values make sense is the leader's to say.

use std::collections::BTreeMap;

use log_format::event::{EnforcementMode, PortRange, Rule, RuleMode, SettingChange, Text};
use projections::decide::{Preset, Settings};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// `GET /settings/firewall`.
#[derive(Debug, Serialize)]
pub(crate) struct FirewallSettings {
    pub(crate) sip_ports: Vec<Ports>,
    pub(crate) bad_registrations_per_minute: u32,
    pub(crate) block_seconds: Vec<u64>,
    pub(crate) block_threshold: u32,
    pub(crate) blocked_user_agents: Vec<String>,
    pub(crate) mode: &'static str,
    /// Every rule's mode, by the rule's name.
    pub(crate) rules: BTreeMap<&'static str, &'static str>,
    /// The preset that these settings are.
    pub(crate) preset: Option<&'static str>,
    pub(crate) version: u64,
}

/// `PUT /settings/firewall`: numbers as wide as JSON has them, so that one too large is an answer and not a parse error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutFirewallSettings {
    sip_ports: Vec<PutPorts>,
    bad_registrations_per_minute: u64,
    block_seconds: Vec<u64>,
    block_threshold: u64,
    blocked_user_agents: Vec<String>,
    mode: String,
    /// Rules that are not named keep their mode.
    #[serde(default)]
    rules: BTreeMap<String, String>,
    /// May be given back as it was read; it says what the settings are, and changes nothing.
    #[serde(default, rename = "preset")]
    _preset: Option<String>,
    /// May be given back as it was read; `If-Match` is what counts.
    version: Option<u64>,
}

/// `PUT /settings/firewall/preset`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutPreset {
    preset: String,
}

impl PutPreset {
    /// The preset that is meant.
    pub(crate) fn preset(&self) -> Result<Preset, ApiError> {
        Preset::from_name(&self.preset).ok_or_else(|| {
            let names = Preset::ALL.map(Preset::name).join(" or ");
            ApiError::invalid_field("preset", format!("there is none of this name; choose {names}"))
        })
    }
}

/// An inclusive range.
#[derive(Debug, Serialize)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutPorts {
    first: u64,
    last: u64,
}

/// The answer to a change.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    /// The settings' version from now on.
    pub(crate) version: u64,
    /// The entry with the change; if nothing was different, what this host had applied.
    pub(crate) log_index: u64,
}

/// All settings as somebody wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    sip_ports: Vec<PortRange>,
    bad_registrations_per_minute: u32,
    block_seconds: Vec<u64>,
    block_threshold: u32,
    blocked_user_agents: Vec<Text>,
    mode: EnforcementMode,
    rules: BTreeMap<Rule, RuleMode>,
}

impl From<&Settings> for FirewallSettings {
    fn from(settings: &Settings) -> Self {
        let Settings {
            version,
            sip_ports,
            bad_registrations_per_minute,
            block_seconds,
            block_threshold,
            blocked_user_agents,
            mode,
            rule_modes: _,
        } = settings;
        Self {
            sip_ports: sip_ports
                .iter()
                .map(|PortRange { first, last }| Ports { first: *first, last: *last })
                .collect(),
            bad_registrations_per_minute: *bad_registrations_per_minute,
            block_seconds: block_seconds.clone(),
            block_threshold: *block_threshold,
            blocked_user_agents: blocked_user_agents.iter().map(Text::visible).collect(),
            mode: mode_name(*mode),
            rules: Rule::ALL.into_iter().map(|rule| (rule.name(), settings.mode_of(rule).name())).collect(),
            preset: Preset::of(settings).map(Preset::name),
            version: *version,
        }
    }
}

impl TryFrom<PutFirewallSettings> for Wanted {
    type Error = ApiError;

    fn try_from(put: PutFirewallSettings) -> Result<Self, ApiError> {
        let PutFirewallSettings {
            sip_ports,
            bad_registrations_per_minute,
            block_seconds,
            block_threshold,
            blocked_user_agents,
            mode,
            rules,
            _preset: _,
            version: _,
        } = put;
        Ok(Self {
            sip_ports: sip_ports.into_iter().map(port_range).collect::<Result<_, _>>()?,
            bad_registrations_per_minute: narrow(
                "bad_registrations_per_minute",
                bad_registrations_per_minute,
            )?,
            block_seconds,
            block_threshold: narrow("block_threshold", block_threshold)?,
            blocked_user_agents: blocked_user_agents
                .iter()
                .map(|agent| user_agent(agent))
                .collect::<Result<_, _>>()?,
            mode: parse_mode(&mode)?,
            rules: rules.iter().map(|(rule, mode)| rule_mode(rule, mode)).collect::<Result<_, _>>()?,
        })
    }
}

impl PutFirewallSettings {
    /// The version in the body must not contradict the one in `If-Match`.
    pub(crate) fn check_version(&self, expected: u64) -> Result<(), ApiError> {
        match self.version {
            Some(version) if version != expected => Err(ApiError::invalid_field(
                "version",
                format!(
                    "{version} is not the {expected} of If-Match; send the version that you read in both, or leave it out"
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl Wanted {
    /// What is different from the settings in force, and nothing else.
    pub(crate) fn changes(self, settings: &Settings) -> Vec<SettingChange> {
        let Self {
            sip_ports,
            bad_registrations_per_minute: registrations,
            block_seconds,
            block_threshold: threshold,
            blocked_user_agents: agents,
            mode,
            rules,
        } = self;
        let differing = [
            (sip_ports != settings.sip_ports).then_some(SettingChange::SipPorts(sip_ports)),
            (registrations != settings.bad_registrations_per_minute)
                .then_some(SettingChange::BadRegistrationsPerMinute(registrations)),
            (block_seconds != settings.block_seconds).then_some(SettingChange::BlockSeconds(block_seconds)),
            (threshold != settings.block_threshold).then_some(SettingChange::BlockThreshold(threshold)),
            (agents != settings.blocked_user_agents).then_some(SettingChange::BlockedUserAgents(agents)),
            (mode != settings.mode).then_some(SettingChange::Mode(mode)),
        ];
        let rules = rules.into_iter().filter(|(rule, mode)| settings.mode_of(*rule) != *mode);
        let rules = rules.map(|(rule, mode)| SettingChange::RuleMode { rule, mode });
        differing.into_iter().flatten().chain(rules).collect()
    }
}

/// The mode's name on the wire.
pub(crate) const fn mode_name(mode: EnforcementMode) -> &'static str {
    match mode {
        EnforcementMode::Block => "block",
        EnforcementMode::Watch => "watch",
    }
}

fn parse_mode(text: &str) -> Result<EnforcementMode, ApiError> {
    match text {
        "block" => Ok(EnforcementMode::Block),
        "watch" => Ok(EnforcementMode::Watch),
        _ => Err(ApiError::invalid_field("mode", "it is neither block nor watch; choose one of them")),
    }
}

fn rule_mode(rule: &str, mode: &str) -> Result<(Rule, RuleMode), ApiError> {
    let refuse = |reason: &str| ApiError::invalid_field("rules", reason);
    let rule = Rule::from_name(rule)
        .ok_or_else(|| refuse("there is no rule of this name; use the names that were read"))?;
    let mode = RuleMode::from_name(mode)
        .ok_or_else(|| refuse("a rule is neither off, observe nor enforce; choose one of them"))?;
    Ok((rule, mode))
}

fn port_range(PutPorts { first, last }: PutPorts) -> Result<PortRange, ApiError> {
    let port = |number| {
        u16::try_from(number).map_err(|_| {
            ApiError::invalid_field("sip_ports", format!("{number} is no port; choose one up to 65535"))
        })
    };
    Ok(PortRange { first: port(first)?, last: port(last)? })
}

fn narrow(field: &str, value: u64) -> Result<u32, ApiError> {
    u32::try_from(value).map_err(|_| {
        ApiError::invalid_field(field, format!("{value} is far too large; choose a smaller number"))
    })
}

/// A user agent that comes back as it was sent: nothing invisible, nothing cut off.
fn user_agent(agent: &str) -> Result<Text, ApiError> {
    text("blocked_user_agents", agent)
}

/// A person's text: nothing invisible, nothing cut off.
pub(crate) fn text(field: &str, given: &str) -> Result<Text, ApiError> {
    if Text::MAX_LENGTH < given.len() {
        let reason = format!("{} bytes are more than {}; shorten it", given.len(), Text::MAX_LENGTH);
        return Err(ApiError::invalid_field(field, reason));
    }
    let text = Text::new(given.as_bytes());
    if text.visible() != given {
        let reason = "it holds characters that cannot be seen; type it again without them";
        return Err(ApiError::invalid_field(field, reason));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put() -> PutFirewallSettings {
        let shown = serde_json::to_value(FirewallSettings::from(&Settings::default())).unwrap();
        serde_json::from_value(shown).unwrap()
    }

    fn refused(change: impl FnOnce(&mut PutFirewallSettings)) -> String {
        let mut put = put();
        change(&mut put);
        let error = Wanted::try_from(put).unwrap_err();
        assert_eq!(error.code(), "invalid_field");
        error.detail().to_owned()
    }

    #[test]
    fn settings_given_back_as_they_were_read_change_nothing() {
        let settings = Settings::default();
        assert_eq!(Wanted::try_from(put()).unwrap().changes(&settings), vec![]);
    }

    #[test]
    fn only_what_is_different_becomes_a_change() {
        let mut put = put();
        put.bad_registrations_per_minute = 5;
        put.mode = "watch".to_owned();
        let changes = Wanted::try_from(put).unwrap().changes(&Settings::default());
        let expected =
            vec![SettingChange::BadRegistrationsPerMinute(5), SettingChange::Mode(EnforcementMode::Watch)];
        assert_eq!(changes, expected);
    }

    #[test]
    fn only_the_modes_of_rules_that_are_named_and_different_change() {
        let mut put = put();
        put.rules = BTreeMap::from([
            ("sweep".to_owned(), "observe".to_owned()),
            ("decoy".to_owned(), "enforce".to_owned()),
        ]);
        let changes = Wanted::try_from(put).unwrap().changes(&Settings::default());
        assert_eq!(changes, [SettingChange::RuleMode { rule: Rule::Sweep, mode: RuleMode::Observe }]);
    }

    #[test]
    fn each_refusal_names_the_field_the_reason_and_what_to_do() {
        let details = [
            refused(|put| put.sip_ports = vec![PutPorts { first: 70_000, last: 70_000 }]),
            refused(|put| put.bad_registrations_per_minute = u64::MAX),
            refused(|put| put.block_threshold = u64::MAX),
            refused(|put| put.blocked_user_agents = vec!["a\u{202e}b".to_owned()]),
            refused(|put| put.blocked_user_agents = vec!["x".repeat(257)]),
            refused(|put| put.mode = "off".to_owned()),
            refused(|put| drop(put.rules.insert("r1".to_owned(), "off".to_owned()))),
            refused(|put| drop(put.rules.insert("sweep".to_owned(), "on".to_owned()))),
        ];
        assert_eq!(
            details,
            [
                "sip_ports: 70000 is no port; choose one up to 65535",
                "bad_registrations_per_minute: 18446744073709551615 is far too large; choose a smaller number",
                "block_threshold: 18446744073709551615 is far too large; choose a smaller number",
                "blocked_user_agents: it holds characters that cannot be seen; type it again without them",
                "blocked_user_agents: 257 bytes are more than 256; shorten it",
                "mode: it is neither block nor watch; choose one of them",
                "rules: there is no rule of this name; use the names that were read",
                "rules: a rule is neither off, observe nor enforce; choose one of them",
            ]
        );
    }
}
