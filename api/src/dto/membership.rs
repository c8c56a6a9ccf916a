//! Join tokens, and handing leadership over.

use log_format::ids::JoinTokenId;
use projections::decide;
use serde::{Deserialize, Serialize};

/// A token that is open. Its secret was never here.
#[derive(Debug, Serialize)]
pub(crate) struct JoinToken {
    pub(crate) id: String,
    pub(crate) role: &'static str,
    pub(crate) expires: String,
}

/// `POST /join-tokens`. Whoever issues a token draws its secret, and sends what the secret can be checked with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostJoinToken {
    /// 32 hexadecimal digits, drawn at random.
    pub(crate) id: String,
    /// 64 hexadecimal digits: the public key that belongs to the secret.
    pub(crate) verifier: String,
    /// `voter-capable` or `sensor-only`.
    pub(crate) role: String,
    /// For how long it is good.
    pub(crate) seconds: u64,
}

/// `POST /cluster/transfer`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostTransfer {
    /// The next leader.
    pub(crate) to: String,
}

/// A new authority.
#[derive(Debug, Serialize)]
pub(crate) struct Rotated {
    /// Hash of its key.
    pub(crate) authority: String,
}

/// Leadership is handed over.
#[derive(Debug, Serialize)]
pub(crate) struct Transferred {
    pub(crate) leader: String,
}

impl JoinToken {
    pub(crate) fn new(token: JoinTokenId, open: decide::JoinToken) -> Self {
        let decide::JoinToken { verifier: _, role, expires, state: _ } = open;
        Self { id: token.to_string(), role: role.name(), expires: expires.to_string() }
    }
}
