//! What the engine reports.

use std::net::IpAddr;

use log_format::event::{AttackKind, AttackObserved, Rule, Scope, Text};
use log_format::time::Timestamp;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A rule was tipped.
    Attack(Verdict),
    /// Something to know, for which nobody is blocked.
    Note(Note),
}

/// An attack, and what the sensor holds to be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The fact.
    pub observed: AttackObserved,
    /// What of the source should be dropped.
    pub scope: Scope,
    /// For how long; 0 if nothing should be dropped.
    pub seconds: u64,
    /// The number, in its capture, of the frame that tipped the rule.
    pub packet: u64,
    /// That frame's time.
    pub at: Timestamp,
    /// Whose password, or which number, was tried: `user@host`; may be empty.
    pub account: Text,
    /// The first line of the packet that tipped the rule, without what is nobody's business; may be empty.
    pub line: Text,
}

/// Something to know, for which nobody is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is.
    pub kind: NoteKind,
    /// Whose packets show it, by the IP header.
    pub source: IpAddr,
    /// Their source port.
    pub source_port: u16,
    /// The protected address.
    pub victim: IpAddr,
    /// Its port.
    pub victim_port: u16,
    /// SIP method or protocol.
    pub attack: AttackKind,
    /// The rule that was tipped, if one was.
    pub rule: Option<Rule>,
    /// `user@host`; may be empty.
    pub account: Text,
    /// What the user agent said of itself.
    pub user_agent: Text,
    /// How often it was seen.
    pub count: u32,
    /// The first line of the packet, as in [`Verdict`].
    pub line: Text,
    /// The number of the frame.
    pub packet: u64,
    /// Its time.
    pub at: Timestamp,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// One phone tries an old password, again and again.
    StaleCredential,
    /// Somebody sends packets in the name of a source that belongs here.
    SpoofSuspected,
    /// A rule that only observes was tipped.
    RuleObserved,
    /// A victim has stopped to answer.
    VictimSilent,
    /// Many sources try one account's password.
    AccountUnderAttack,
    /// A call to a far number, from a source that is not known here, was answered.
    CallFromUnknown,
}

impl NoteKind {
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
}
