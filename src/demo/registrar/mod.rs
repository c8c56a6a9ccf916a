//! A small registrar with real digest authentication (RFC 3261, 10 and 22; RFC 2617 with MD5 and `qop=auth`).
//!
//! ```text
//! socket ─┐                       ┌─> answers
//! socket ─┼─> core::Registrar ────┼─> bindings, nonces      (one core behind a lock, one thread per socket)
//! socket ─┘    decides            └─> Incident: who was rejected, when, for the how manieth time
//! ```
//! It answers REGISTER, OPTIONS and INVITE, ignores ACK, and can ask its phones whether they are alive. It places no
//! calls. [`core`] decides and knows no clock and no socket; [`server`] is the loop around it.

pub mod core;
mod nonces;
pub mod server;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Accounts a registrar takes; a demo has a few hundred.
pub const ACCOUNTS: usize = 10_000;

/// What a wrong password gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongPassword {
    /// 401 and a fresh challenge, as Kamailio and Asterisk do.
    Challenge,
    /// 403, as FreeSWITCH does.
    Forbid,
}

/// What an account that does not exist gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownUser {
    /// The same as a wrong password, so that nobody learns which accounts exist.
    AsWrongPassword,
    /// 404 before any challenge: enumeration pays.
    NotFound,
}

/// How a registrar behaves.
#[derive(Debug, Clone)]
pub struct RegistrarOptions {
    /// The realm of its challenges.
    pub realm: String,
    /// User names and passwords; those beyond [`ACCOUNTS`] do not exist.
    pub accounts: BTreeMap<String, String>,
    /// What a wrong password gets.
    pub wrong_password: WrongPassword,
    /// What an unknown user gets.
    pub unknown_user: UnknownUser,
    /// How long a challenge can be answered. Kamailio's default is 300 s.
    pub nonce_lifetime: Duration,
    /// How often each bound contact is sent an OPTIONS request, if at all.
    pub qualify: Option<Duration>,
}

impl Default for RegistrarOptions {
    fn default() -> Self {
        Self {
            realm: "pbx.example.net".to_owned(),
            accounts: BTreeMap::new(),
            wrong_password: WrongPassword::Challenge,
            unknown_user: UnknownUser::AsWrongPassword,
            nonce_lifetime: Duration::from_secs(300),
            qualify: None,
        }
    }
}

/// The accounts `first`, `first + 1`, … with the passwords of [`password_of`].
pub fn numbered_accounts(first: u32, count: u32) -> BTreeMap<String, String> {
    (first..first.saturating_add(count))
        .map(|number| (number.to_string(), password_of(&number.to_string())))
        .collect()
}

/// The password of a numbered account: no word list has it.
pub fn password_of(account: &str) -> String {
    format!("Kx7-{account}-vQ")
}

/// A thing worth telling while the registrar runs. Printed as one JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Incident {
    /// A request with credentials was answered negatively, and not because its nonce was old.
    Rejected {
        /// Who sent it.
        source: IpAddr,
        /// The account it named.
        account: String,
        /// The answer.
        status: u16,
        /// Which rejection of this source it is, from 1: the tenth is the one that tips a rule of ten.
        count: u64,
        /// When the answer was handed to the kernel.
        at: Timestamp,
    },
    /// A phone registered, or renewed.
    Registered {
        /// Who sent it.
        source: IpAddr,
        /// The account.
        account: String,
        /// When.
        at: Timestamp,
    },
}

impl Incident {
    /// The same, at the time at which its answer was sent.
    fn told_at(mut self, sent: Timestamp) -> Self {
        match &mut self {
            Self::Rejected { at, .. } | Self::Registered { at, .. } => *at = sent,
        }
        self
    }
}

/// Figures since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RegistrarFigures {
    /// Datagrams received, probes excepted.
    pub received: u64,
    /// REGISTER requests answered with 200.
    pub registered: u64,
    /// Challenges to requests without credentials.
    pub challenged: u64,
    /// Credentials that were wrong.
    pub rejected: u64,
    /// Right credentials over an old nonce.
    pub stale: u64,
    /// Answers 404.
    pub not_found: u64,
    /// OPTIONS answered.
    pub options: u64,
    /// Keep-alives of blanks.
    pub keep_alives: u64,
    /// Own OPTIONS requests that were answered.
    pub alive: u64,
    /// Datagrams that are no SIP message, or are too broken to answer.
    pub unreadable: u64,
}
