//! What the rules go by.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::{PortRange, Rule, Text};

pub use crate::detect::meter::Rate;

/// Where TFTP requests go (RFC 1350, 4).
pub(crate) const TFTP: u16 = 69;
/// Where DNS queries go (RFC 1035, 4.2.1).
pub(crate) const DNS: u16 = 53;

/// What becomes of a rule's verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The rule says nothing.
    Off,
    /// It is noted what the rule would have done.
    Observe,
    /// The rule's verdicts have consequences.
    Enforce,
}

/// A mode for every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes([Mode; Rule::ALL.len()]);

impl Modes {
    /// The mode of a rule.
    pub fn of(&self, rule: Rule) -> Mode {
        self.0.get(rule as usize).copied().unwrap_or(Mode::Off)
    }

    /// Sets the mode of a rule.
    pub fn set(&mut self, rule: Rule, mode: Mode) {
        if let Some(held) = self.0.get_mut(rule as usize) {
            *held = mode;
        }
    }
}

impl Default for Modes {
    /// Every rule is enforced, save [`Rule::NotSip`]: browsers, monitors and crawlers speak HTTP to any port, and a web page that names
    /// the address makes its readers do so.
    fn default() -> Self {
        let mut modes = Self([Mode::Enforce; Rule::ALL.len()]);
        modes.set(Rule::NotSip, Mode::Observe);
        modes
    }
}

/// So many within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The count that tips the rule; 0 is taken as 1.
    pub count: u32,
    /// The time.
    pub within: Duration,
}

const fn limit(count: u32, seconds: u64) -> Limit {
    Limit { count, within: Duration::from_secs(seconds) }
}

/// The settings of the sensor; `default()` is the product's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Ports on which SIP is expected, over UDP and TCP.
    pub sip_ports: Vec<PortRange>,
    /// Ports on which it is expected over TCP only.
    pub sip_tcp_ports: Vec<PortRange>,
    /// Ports on which SIP over WebSocket is expected in clear: what is no WebSocket there is passed over.
    pub websocket_ports: Vec<PortRange>,
    /// Ports on which SIP over TLS is expected; what is said there is not seen.
    pub tls_ports: Vec<PortRange>,
    /// What becomes of each rule's verdicts.
    pub modes: Modes,
    /// How many bad registrations within a minute tip the rule; 0 is taken as 1.
    pub bad_registrations_per_minute: u32,
    /// The limits of the other rules.
    pub limits: Limits,
    /// Whole words at the start of the User-Agent header, case as written.
    pub blocked_user_agents: Vec<Text>,
    /// How long a proven attacker is blocked.
    pub block_seconds: u64,
    /// How long an unproven one is.
    pub soft_block_seconds: u64,
    /// How long one is whose agent is blocked, while nothing is proven.
    pub agent_soft_block_seconds: u64,
    /// Addresses that are never blamed: those of the cluster and of what it protects. A protected PBX whose own registration at
    /// a provider fails again and again must not be taken for an attacker.
    pub never: Vec<IpAddr>,
    /// Networks that are seen and told of, and never sanctioned.
    pub allowed: Vec<IpNet>,
    /// Networks of which no address is in use: who sends there is looking around.
    pub decoys: Vec<IpNet>,
    /// Users that nobody is: who asks for one is guessing.
    pub canary_users: Vec<Text>,
}

/// The limits of the rules (DETECTION, "Counters and default numbers").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bad registrations of a source in the long run.
    pub slow: Limit,
    /// The same over a day.
    pub very_slow: Limit,
    /// Users that one source asks for.
    pub users: Limit,
    /// Protected addresses that one source asks.
    pub victims: Limit,
    /// The same over an hour.
    pub victims_slow: Limit,
    /// Prefixes before one number.
    pub prefixes: Limit,
    /// Messages over UDP that cannot be read.
    pub malformed: Limit,
    /// The same over TCP.
    pub malformed_tcp: Limit,
    /// Other protocols over TCP.
    pub not_sip: Limit,
    /// Points of single offences: an injection is 3, a call to a far number 2.
    pub points: Limit,
    /// Requests without credentials.
    pub requests: Rate,
    /// The same of a source that has registered here.
    pub protected_requests: Rate,
    /// Files asked for over TFTP that are no single phone's.
    pub tftp: Rate,
    /// All files asked for over TFTP.
    pub tftp_all: Rate,
    /// Phones whose files a source asks for in vain.
    pub tftp_phones: Limit,
    /// Files asked for by a source that received some, until it is blocked.
    pub tftp_proven: Limit,
    /// DNS queries and answers of a network.
    pub dns: Rate,
    /// The same of the kind ANY.
    pub dns_any: Rate,
    /// Sources that try one account.
    pub account_sources: Limit,
    /// Bad registrations of an unknown source at such an account.
    pub account_tries: u32,
    /// Registrations with credentials that are not answered.
    pub volume: Limit,
    /// TLS sessions in which nothing is said.
    pub tls_sessions: Limit,
    /// What a source that has registered here may do more of.
    pub protected_factor: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            slow: limit(30, 3_600),
            very_slow: limit(60, 86_400),
            users: limit(8, 60),
            victims: limit(3, 60),
            victims_slow: limit(5, 3_600),
            prefixes: limit(3, 3_600),
            malformed: limit(25, 30),
            malformed_tcp: limit(5, 30),
            not_sip: limit(3, 60),
            points: limit(10, 60),
            requests: Rate { every: Duration::from_millis(200), burst: 100 },
            protected_requests: Rate { every: Duration::from_millis(20), burst: 1_000 },
            tftp: Rate { every: Duration::from_secs(6), burst: 10 },
            tftp_all: Rate { every: Duration::from_secs(6), burst: 60 },
            tftp_phones: limit(5, 600),
            tftp_proven: limit(20, 60),
            dns: Rate { every: Duration::from_millis(50), burst: 100 },
            dns_any: Rate { every: Duration::from_secs(1), burst: 10 },
            account_sources: limit(5, 86_400),
            account_tries: 2,
            volume: limit(20, 60),
            tls_sessions: limit(10, 60),
            protected_factor: 5,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            sip_ports: vec![PortRange { first: 5060, last: 5060 }],
            sip_tcp_ports: Vec::new(),
            websocket_ports: [80, 5066, 8080, 8088]
                .map(|port| PortRange { first: port, last: port })
                .to_vec(),
            tls_ports: vec![PortRange { first: 5061, last: 5061 }],
            modes: Modes::default(),
            bad_registrations_per_minute: 10,
            limits: Limits::default(),
            blocked_user_agents: [&b"friendly-scanner"[..], b"sipsak", b"Elite"].map(Text::new).to_vec(),
            block_seconds: 3_600,
            soft_block_seconds: 300,
            agent_soft_block_seconds: 300,
            never: Vec::new(),
            allowed: Vec::new(),
            decoys: Vec::new(),
            canary_users: Vec::new(),
        }
    }
}

impl Policy {
    /// What users of sipPROT know: its classic rules alone (the others only tell), and an hour for a blocked agent at once. That one forged packet is enough
    /// for the latter is the price, and is told in the notes.
    pub fn sipprot_compat() -> Self {
        let mut policy = Self { agent_soft_block_seconds: 3_600, ..Self::default() };
        for rule in Rule::ALL {
            let is_classic =
                matches!(rule, Rule::BadRegistrations | Rule::BlockedUserAgent | Rule::Tftp | Rule::Dns);
            policy.modes.set(rule, if is_classic { Mode::Enforce } else { Mode::Observe });
        }
        policy.limits.protected_factor = 1;
        policy
    }

    /// All ports whose packets the rules want to see.
    pub fn watched_ports(&self) -> Vec<PortRange> {
        let mut ports =
            [&self.sip_ports[..], &self.sip_tcp_ports, &self.websocket_ports, &self.tls_ports].concat();
        for (rule, port) in [(Rule::Tftp, TFTP), (Rule::Dns, DNS)] {
            if self.is_on(rule) {
                ports.push(PortRange { first: port, last: port });
            }
        }
        ports
    }

    /// Whether a rule says anything at all.
    pub fn is_on(&self, rule: Rule) -> bool {
        self.modes.of(rule) != Mode::Off
    }
}

/// The ports of a policy as a bit for each port: one load for each packet.
#[derive(Debug, Clone)]
pub(crate) struct Ports(Box<[u64]>);

impl Ports {
    pub(crate) fn new(ranges: &[PortRange]) -> Self {
        let mut words = vec![0_u64; 1024];
        for port in ranges.iter().flat_map(|range| range.first..=range.last) {
            if let Some(word) = words.get_mut(usize::from(port / 64)) {
                *word |= 1 << (port % 64);
            }
        }
        Self(words.into_boxed_slice())
    }

    #[inline]
    pub(crate) fn has(&self, port: u16) -> bool {
        self.0.get(usize::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_ranges() {
        let ports = Ports::new(&[
            PortRange { first: 5060, last: 5062 },
            PortRange { first: 65_535, last: 65_535 },
            PortRange { first: 9, last: 3 },
        ]);
        let has: Vec<u16> = (0..=u16::MAX).filter(|port| ports.has(*port)).collect();
        assert_eq!(has, [5060, 5061, 5062, 65_535]);
    }

    #[test]
    fn every_rule_has_a_mode_of_its_own() {
        for rule in Rule::ALL {
            let mut modes = Modes::default();
            modes.set(rule, Mode::Off);
            let off: Vec<Rule> =
                Rule::ALL.into_iter().filter(|other| modes.of(*other) == Mode::Off).collect();
            assert_eq!(off, [rule]);
        }
    }
}
