//! Policy files: what the sensor goes by, for `palisade capture` and for trying another policy. Every key may be left out.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::{PortRange, Rule, Text};
use sensors::{Limit, Mode, Policy, Rate};
use serde::Deserialize;

use super::Failure;
use crate::config::PortText;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    preset: Option<Preset>,
    sip_ports: Option<Vec<PortText>>,
    sip_tcp_ports: Option<Vec<PortText>>,
    websocket_ports: Option<Vec<PortText>>,
    tls_ports: Option<Vec<PortText>>,
    bad_registrations_per_minute: Option<u32>,
    blocked_user_agents: Option<Vec<String>>,
    block_seconds: Option<u64>,
    soft_block_seconds: Option<u64>,
    never: Vec<IpAddr>,
    allowed: Vec<IpNet>,
    decoys: Vec<IpNet>,
    canary_users: Vec<String>,
    rules: toml::Table,
    limits: LimitsFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Preset {
    #[serde(alias = "default")]
    Standard,
    SipprotCompat,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct LimitFile {
    count: u32,
    seconds: u64,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct RateFile {
    per_minute: u32,
    burst: u32,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    slow: Option<LimitFile>,
    very_slow: Option<LimitFile>,
    users: Option<LimitFile>,
    victims: Option<LimitFile>,
    victims_slow: Option<LimitFile>,
    prefixes: Option<LimitFile>,
    malformed: Option<LimitFile>,
    malformed_tcp: Option<LimitFile>,
    not_sip: Option<LimitFile>,
    points: Option<LimitFile>,
    tftp_phones: Option<LimitFile>,
    tftp_proven: Option<LimitFile>,
    account_sources: Option<LimitFile>,
    volume: Option<LimitFile>,
    tls_sessions: Option<LimitFile>,
    requests: Option<RateFile>,
    protected_requests: Option<RateFile>,
    tftp: Option<RateFile>,
    tftp_all: Option<RateFile>,
    dns: Option<RateFile>,
    dns_any: Option<RateFile>,
    account_tries: Option<u32>,
    protected_factor: Option<u32>,
}

/// Reads a policy file.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is a shell: it reads the file that it is given"
)]
pub(super) fn read(path: &Path) -> Result<Policy, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| refuse(path, error))?;
    parse(&text).map_err(|reason| refuse(path, reason))
}

fn refuse(path: &Path, reason: impl Display) -> Failure {
    Failure::Usage(format!("policy {}: {reason}", path.display()))
}

/// Reads the text of a policy file; an error names the key, the reason and what to write instead.
fn parse(text: &str) -> Result<Policy, String> {
    let file: PolicyFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut policy = match file.preset {
        Some(Preset::SipprotCompat) => Policy::sipprot_compat(),
        Some(Preset::Standard) | None => Policy::default(),
    };
    set_ports("sip_ports", file.sip_ports, &mut policy.sip_ports)?;
    set_ports("sip_tcp_ports", file.sip_tcp_ports, &mut policy.sip_tcp_ports)?;
    set_ports("websocket_ports", file.websocket_ports, &mut policy.websocket_ports)?;
    set_ports("tls_ports", file.tls_ports, &mut policy.tls_ports)?;
    if let Some(limit) = file.bad_registrations_per_minute {
        positive("bad_registrations_per_minute", limit)?;
        policy.bad_registrations_per_minute = limit;
    }
    if let Some(agents) = file.blocked_user_agents {
        policy.blocked_user_agents = texts(&agents);
    }
    policy.block_seconds = file.block_seconds.unwrap_or(policy.block_seconds);
    policy.soft_block_seconds = file.soft_block_seconds.unwrap_or(policy.soft_block_seconds);
    policy.never = file.never;
    policy.allowed = file.allowed;
    policy.decoys = file.decoys;
    policy.canary_users = texts(&file.canary_users);
    set_modes(&file.rules, &mut policy)?;
    set_limits(&file.limits, &mut policy)?;
    Ok(policy)
}

fn texts(words: &[String]) -> Vec<Text> {
    words.iter().map(|word| Text::new(word.as_bytes())).collect()
}

fn positive(key: &str, number: u32) -> Result<(), String> {
    if number == 0 { Err(format!("{key}: 0 would blame everybody; use 1 or more")) } else { Ok(()) }
}

fn set_ports(key: &str, ports: Option<Vec<PortText>>, place: &mut Vec<PortRange>) -> Result<(), String> {
    let Some(ports) = ports else { return Ok(()) };
    let read = |port: &PortText| {
        port.range().ok_or_else(|| format!("{key}: one is no port; write 5060 or \"5060-5089\""))
    };
    *place = ports.iter().map(read).collect::<Result<_, _>>()?;
    Ok(())
}

fn set_modes(rules: &toml::Table, policy: &mut Policy) -> Result<(), String> {
    for (name, mode) in rules {
        let rule = Rule::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
            format!("rules.{name}: no such rule; there are {}", known.join(", "))
        })?;
        let mode = match mode.as_str() {
            Some("off") => Mode::Off,
            Some("observe") => Mode::Observe,
            Some("enforce") => Mode::Enforce,
            _ => {
                return Err(format!(
                    "rules.{name}: {mode} is no mode; write \"off\", \"observe\" or \"enforce\""
                ));
            }
        };
        policy.modes.set(rule, mode);
    }
    Ok(())
}

fn set_limits(file: &LimitsFile, policy: &mut Policy) -> Result<(), String> {
    let limits = &mut policy.limits;
    for (key, wanted, place) in [
        ("slow", file.slow, &mut limits.slow),
        ("very_slow", file.very_slow, &mut limits.very_slow),
        ("users", file.users, &mut limits.users),
        ("victims", file.victims, &mut limits.victims),
        ("victims_slow", file.victims_slow, &mut limits.victims_slow),
        ("prefixes", file.prefixes, &mut limits.prefixes),
        ("malformed", file.malformed, &mut limits.malformed),
        ("malformed_tcp", file.malformed_tcp, &mut limits.malformed_tcp),
        ("not_sip", file.not_sip, &mut limits.not_sip),
        ("points", file.points, &mut limits.points),
        ("tftp_phones", file.tftp_phones, &mut limits.tftp_phones),
        ("tftp_proven", file.tftp_proven, &mut limits.tftp_proven),
        ("account_sources", file.account_sources, &mut limits.account_sources),
        ("volume", file.volume, &mut limits.volume),
        ("tls_sessions", file.tls_sessions, &mut limits.tls_sessions),
    ] {
        let Some(LimitFile { count, seconds }) = wanted else { continue };
        positive(&format!("limits.{key}.count"), count)?;
        if seconds == 0 {
            return Err(format!("limits.{key}.seconds: 0 is no time; use 1 or more"));
        }
        *place = Limit { count, within: Duration::from_secs(seconds) };
    }
    for (key, wanted, place) in [
        ("requests", file.requests, &mut limits.requests),
        ("protected_requests", file.protected_requests, &mut limits.protected_requests),
        ("tftp", file.tftp, &mut limits.tftp),
        ("tftp_all", file.tftp_all, &mut limits.tftp_all),
        ("dns", file.dns, &mut limits.dns),
        ("dns_any", file.dns_any, &mut limits.dns_any),
    ] {
        let Some(RateFile { per_minute, burst }) = wanted else { continue };
        positive(&format!("limits.{key}.per_minute"), per_minute)?;
        positive(&format!("limits.{key}.burst"), burst)?;
        *place = Rate { every: Duration::from_secs(60) / per_minute, burst };
    }
    limits.account_tries = file.account_tries.unwrap_or(limits.account_tries);
    limits.protected_factor = file.protected_factor.unwrap_or(limits.protected_factor);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default_and_the_preset_is_the_classic_one() {
        assert_eq!(parse("").ok(), Some(Policy::default()));
        assert_eq!(parse("preset = \"standard\"").ok(), Some(Policy::default()));
        assert_eq!(parse("preset = \"sipprot-compat\"").ok(), Some(Policy::sipprot_compat()));
    }

    #[test]
    fn every_key_is_taken_over() {
        let text = r#"
            sip_ports = [5060, "5080-5089"]
            blocked_user_agents = ["scanner"]
            allowed = ["192.0.2.0/24"]
            [rules]
            enumeration = "observe"
            dns = "off"
            [limits]
            users = { count = 5, seconds = 10 }
            tftp = { per_minute = 20, burst = 5 }
        "#;
        let policy = parse(text).unwrap();
        assert_eq!(policy.sip_ports[1], PortRange { first: 5080, last: 5089 });
        assert_eq!(policy.modes.of(Rule::Enumeration), Mode::Observe);
        assert_eq!(policy.modes.of(Rule::Dns), Mode::Off);
        assert_eq!(policy.limits.users, Limit { count: 5, within: Duration::from_secs(10) });
        assert_eq!(policy.limits.tftp, Rate { every: Duration::from_secs(3), burst: 5 });
        assert_eq!(policy.allowed.len(), 1);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_key_and_a_remedy() {
        for (text, said) in [
            ("bad_registrations_per_minute = 0", "bad_registrations_per_minute: 0 would blame everybody"),
            ("sip_ports = [\"5089-5080\"]", "write 5060 or \"5060-5089\""),
            ("[rules]\nnonsense = \"off\"", "rules.nonsense: no such rule; there are bad-registrations"),
            ("[rules]\ndns = \"maybe\"", "write \"off\", \"observe\" or \"enforce\""),
            ("[limits]\nusers = { count = 0, seconds = 1 }", "limits.users.count: 0"),
            ("[limits]\nusers = { count = 1, seconds = 0 }", "limits.users.seconds: 0"),
            ("sip_port = [5060]", "unknown field `sip_port`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
