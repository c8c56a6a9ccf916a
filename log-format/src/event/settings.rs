//! What people changed in the cluster's settings: facts about single settings, never the whole form.

use serde::{Deserialize, Serialize};

use super::{Actor, Rule, Text};

/// The family of the settings' facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsEvent {
    /// Somebody changed settings.
    Changed(SettingsChanged),
}

/// Somebody changed settings; the settings' version grows by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChanged {
    /// Who.
    pub by: Actor,
    /// What, each setting at most once.
    pub changes: Vec<SettingChange>,
}

/// One setting's new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettingChange {
    /// Ports on which SIP is expected.
    SipPorts(Vec<PortRange>),
    /// How many bad registrations within a minute tip the rule.
    BadRegistrationsPerMinute(u32),
    /// Seconds of the first, second, third, … dynamic block; the last value goes on.
    BlockSeconds(Vec<u64>),
    /// Dynamic blocks after which the next is permanent; 0: never.
    BlockThreshold(u32),
    /// User agents that are blocked: whole words at the start of the header, case as written.
    BlockedUserAgents(Vec<Text>),
    /// Whether blocks reach the kernel.
    Mode(EnforcementMode),
    /// What becomes of a rule that is tipped.
    RuleMode {
        /// The rule.
        rule: Rule,
        /// What becomes of it.
        mode: RuleMode,
    },
}

/// What becomes of a rule that is tipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RuleMode {
    /// Nobody looks for it.
    Off,
    /// It is noted and costs nothing.
    Observe,
    /// It costs what it should.
    Enforce,
}

impl RuleMode {
    /// What becomes of a rule that nobody has set. All are enforced, save [`Rule::NotSip`]: browsers, monitors and crawlers speak HTTP to
    /// any port, and a web page that names the address makes its readers do so.
    pub const fn standard(rule: Rule) -> Self {
        if matches!(rule, Rule::NotSip) { Self::Observe } else { Self::Enforce }
    }

    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Enforce];

    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }

    /// Reads [`RuleMode::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port; not below the first.
    pub last: u16,
}

/// Whether blocks reach the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EnforcementMode {
    /// Blocked addresses are dropped.
    Block,
    /// Everything is decided and shown, nothing is dropped.
    Watch,
}
