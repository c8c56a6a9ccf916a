//! Attackers that behave on the wire like the tools: guessing, enumerating, scanning.
//!
//! Each sends at a chosen pace, listens meanwhile, and tells how much was answered: an attacker that is blocked sees
//! its answers stop. Message layouts, with the marks that survive a change of the agent's name, are in [`layout`];
//! [`guess`], [`enumerate`] and [`scan`] decide what comes next; `exchange` is the socket and the count.
//!
//! They exist to be caught: they send to the targets in their options and nowhere else, and find nothing that the
//! registrar beside them does not hand out.

pub mod enumerate;
mod exchange;
pub mod guess;
pub mod layout;
pub mod scan;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an attacker sends.
#[derive(Debug, Clone)]
pub struct AttackOptions {
    /// Where it sends from; port 0 takes a free one. The tools use 5060.
    pub source: SocketAddr,
    /// Shortest time from one request to the next; without a challenge at hand a guesser waits for one. svcrack manages
    /// 171 requests a second, svwar 134.
    pub pace: Duration,
    /// Requests to send at most.
    pub requests: u64,
    /// Silence after which the attacker gives up; svcrack waits for 10 s.
    pub give_up: Duration,
}

/// Why an attack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All that was to be sent was sent.
    Done,
    /// The password was found.
    Found,
    /// Nobody answered any more.
    Silence,
    /// The server gives nothing away.
    Hopeless,
    /// It was told to stop.
    Stopped,
}

/// What an attack achieved. One JSON line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackFigures {
    /// Requests sent.
    pub sent: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not.
    pub unanswered: u64,
    /// Credentials that were refused.
    pub rejected: u64,
    /// What was found: passwords, accounts or servers. At most [`FOUND`].
    pub found: Vec<String>,
    /// Why it ended.
    pub ended: Ended,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// Findings kept: more than a demo has accounts.
pub const FOUND: usize = 1_000;

/// What an attacker could not do.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// The source cannot be used.
    #[error("attack from {0}")]
    Bind(SocketAddr, #[source] io::Error),
    /// No randomness.
    #[error("draw the attacker's seed")]
    Seed(#[source] io::Error),
    /// The socket broke.
    #[error("listen for answers")]
    Receive(#[source] io::Error),
}
