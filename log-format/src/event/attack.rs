//! What sensors saw: attacks and strikes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Text;

/// The family of sensors' facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttackEvent {
    /// A rule was tipped.
    Observed(AttackObserved),
    /// Something worth telling that is no attack.
    Noted(NoteObserved),
    /// Strikes below or above the threshold, batched.
    StrikesCounted(StrikesCounted),
}

/// A rule was tipped by a source at a victim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackObserved {
    /// From the packet's IP header, never from its text.
    pub source: IpAddr,
    /// Source port of the packet that tipped the rule.
    pub source_port: u16,
    /// The protected address.
    pub victim: IpAddr,
    /// The protected port.
    pub victim_port: u16,
    /// SIP method or protocol.
    pub attack: AttackKind,
    /// The rule that was tipped.
    pub rule: Rule,
    /// How sure it is that the source is who it says.
    pub evidence: Evidence,
    /// What the sensor holds to be due.
    pub sanction: Sanction,
    /// What the user agent said of itself; empty if it said nothing.
    pub user_agent: Text,
    /// Whether that agent is a known attack tool.
    pub known_user_agent: bool,
    /// How often the rule's condition was met within its window.
    pub count: u32,
    /// What of the source the sensor holds to be worth dropping.
    pub scope: Scope,
    /// Whose password or number is tried, as `user@host`; empty if that is not known.
    pub account: Text,
    /// First line of the packet that tipped the rule, without secrets; empty if it has none.
    pub line: Text,
}

/// Something worth telling that is no attack, or is not to be punished as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteObserved {
    /// What it is.
    pub kind: NoteKind,
    /// From the packet's IP header, never from its text. Of [`NoteKind::SpoofSuspected`], the address that is abused.
    pub source: IpAddr,
    /// Source port of the packet.
    pub source_port: u16,
    /// The protected address.
    pub victim: IpAddr,
    /// The protected port.
    pub victim_port: u16,
    /// SIP method or protocol.
    pub attack: AttackKind,
    /// The rule that it is about, if it is about one.
    pub rule: Option<Rule>,
    /// Whose password or number it is about, as `user@host`; may be empty.
    pub account: Text,
    /// What the user agent said of itself; empty if it said nothing.
    pub user_agent: Text,
    /// How often it was seen.
    pub count: u32,
    /// First line of the packet, without secrets; may be empty.
    pub line: Text,
}

/// What a note tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoteKind {
    /// A phone goes on trying an old password.
    StaleCredential,
    /// Somebody seems to send packets in the name of this source.
    SpoofSuspected,
    /// A rule that is only observed was tipped.
    RuleObserved,
    /// The victim does not answer what the source sends.
    VictimSilent,
    /// Many sources try the password of one account.
    AccountUnderAttack,
    /// Somebody who is not known here has a call answered.
    CallFromUnknown,
}

impl NoteKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::StaleCredential,
        Self::SpoofSuspected,
        Self::RuleObserved,
        Self::VictimSilent,
        Self::AccountUnderAttack,
        Self::CallFromUnknown,
    ];

    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleCredential => "stale-credential",
            Self::SpoofSuspected => "spoof-suspected",
            Self::RuleObserved => "rule-observed",
            Self::VictimSilent => "victim-silent",
            Self::AccountUnderAttack => "account-under-attack",
            Self::CallFromUnknown => "call-from-unknown",
        }
    }

    /// Reads [`NoteKind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// SIP method or protocol of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the method or protocol of the same name")]
pub enum AttackKind {
    Register,
    Options,
    Invite,
    Tftp,
    Dns,
    Other,
}

impl AttackKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Register, Self::Options, Self::Invite, Self::Tftp, Self::Dns, Self::Other];

    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Invite => "INVITE",
            Self::Tftp => "TFTP",
            Self::Dns => "DNS",
            Self::Other => "OTHER",
        }
    }

    /// Reads [`AttackKind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A detection rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// Too many rejected registrations within a minute.
    BadRegistrations,
    /// A user agent of the blocked list.
    BlockedUserAgent,
    /// Too many rejected registrations within an hour, and no success.
    SlowGuessing,
    /// Too many rejected registrations within a day.
    VerySlowGuessing,
    /// Too many different users asked for within a minute.
    Enumeration,
    /// The same questions to several protected addresses.
    Sweep,
    /// A packet to an address, or for a user, that nobody has.
    Decoy,
    /// A form of message that only an attack tool writes, whatever it calls itself.
    ToolFingerprint,
    /// The same number called behind several dialling prefixes.
    PrefixWalk,
    /// Too many messages that cannot be read.
    Malformed,
    /// Too many requests without credentials.
    RequestRate,
    /// Something else than SIP said over connections to a SIP port.
    NotSip,
    /// Too many files asked for over TFTP.
    Tftp,
    /// Too many answers asked for over DNS.
    Dns,
    /// One of the sources that try one account's password.
    AccountUnderAttack,
    /// Many registrations with credentials that the victim does not answer.
    Volume,
    /// Many short TLS sessions.
    TlsSessions,
    /// A caller who challenges the victim to have it show its password's hash.
    DigestLeak,
    /// Database or shell language in the user part of an address.
    UriInjection,
    /// A call to a far number from somebody who is not known here.
    TollFraud,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 20] = [
        Self::BadRegistrations,
        Self::BlockedUserAgent,
        Self::SlowGuessing,
        Self::VerySlowGuessing,
        Self::Enumeration,
        Self::Sweep,
        Self::Decoy,
        Self::ToolFingerprint,
        Self::PrefixWalk,
        Self::Malformed,
        Self::RequestRate,
        Self::NotSip,
        Self::Tftp,
        Self::Dns,
        Self::AccountUnderAttack,
        Self::Volume,
        Self::TlsSessions,
        Self::DigestLeak,
        Self::UriInjection,
        Self::TollFraud,
    ];

    /// The name in API, console and command line: its stable reason id.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRegistrations => "bad-registrations",
            Self::BlockedUserAgent => "blocked-user-agent",
            Self::SlowGuessing => "slow-guessing",
            Self::VerySlowGuessing => "very-slow-guessing",
            Self::Enumeration => "enumeration",
            Self::Sweep => "sweep",
            Self::Decoy => "decoy",
            Self::ToolFingerprint => "tool-fingerprint",
            Self::PrefixWalk => "prefix-walk",
            Self::Malformed => "malformed",
            Self::RequestRate => "request-rate",
            Self::NotSip => "not-sip",
            Self::Tftp => "tftp",
            Self::Dns => "dns",
            Self::AccountUnderAttack => "account-under-attack",
            Self::Volume => "volume",
            Self::TlsSessions => "tls-sessions",
            Self::DigestLeak => "digest-leak",
            Self::UriInjection => "uri-injection",
            Self::TollFraud => "toll-fraud",
        }
    }

    /// Reads [`Rule::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

/// How sure it is that a source is who its packets say. Caps the sanction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Evidence {
    /// A datagram that anybody could have forged.
    Unproven,
    /// The source echoed something that only its address was sent.
    Proven,
    /// Proven, and confirmed by a second victim, host or block.
    Corroborated,
}

impl Evidence {
    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Proven => "proven",
            Self::Corroborated => "corroborated",
        }
    }
}

/// What is done about an attack, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sanction {
    /// Only written down.
    Observe,
    /// Rate limited.
    Shape,
    /// Dropped on SIP ports, for minutes: all that unproven evidence may cause.
    SoftBlock,
    /// Dropped for a time.
    Block,
    /// Dropped until a person says otherwise.
    Permanent,
}

impl Sanction {
    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Shape => "shape",
            Self::SoftBlock => "soft-block",
            Self::Block => "block",
            Self::Permanent => "permanent",
        }
    }
}

/// What of the source is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// The whole address.
    Address,
    /// One port of the address: one phone behind a NAT.
    AddressPort(u16),
    /// The network of this prefix length that holds the address.
    Prefix(u8),
}

impl Scope {
    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::AddressPort(_) => "address-port",
            Self::Prefix(_) => "prefix",
        }
    }
}

/// Strikes of one interval, by source and rule; at most [`StrikesCounted::MAX_DELTAS`] of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrikesCounted {
    /// In order of source and rule.
    pub deltas: Vec<StrikeDelta>,
}

impl StrikesCounted {
    /// Deltas of one event: keeps the payload far under the codec's limit; proven sources come first, the rest is counted.
    pub const MAX_DELTAS: usize = 512;
}

/// What one source added to one rule's count since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StrikeDelta {
    /// The source.
    pub source: IpAddr,
    /// The rule.
    pub rule: Rule,
    /// Strikes with a proven return path.
    pub proven: u32,
    /// Strikes without.
    pub unproven: u32,
}
