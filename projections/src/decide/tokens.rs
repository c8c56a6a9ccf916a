//! Join tokens: how a host that nobody configured comes into the cluster, once for each token.
//!
//! ```text
//!           issued            a host joins with it
//!  (none) ─────────> Open ────────────────────────> Used
//!                     │ \
//!             revoked │  \ its time is over
//!                     v   v
//!                Revoked (expired)          each is forgotten an hour after its time
//! ```
//!
//! The log holds what proves a token's secret, never the secret; whoever takes the joining host in checks the proof.

use std::collections::BTreeMap;
use std::time::Duration;

use log_format::event::{Actor, Event, HostRole, JoinTokenIssued, JoinTokenRevoked, MembershipEvent};
use log_format::ids::{HostId, JoinTokenId};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Model, Rejection};
use crate::digest::{Canonical, CanonicalHasher};

/// A token's life at most, and if nobody says otherwise: long enough to type it into another machine.
pub const MAX_TOKEN_SECONDS: u64 = 900;
/// Tokens at most, those included that are used or void and not forgotten: more hosts than join within an hour.
pub const MAX_TOKENS: usize = 256;
/// How long a token is remembered after its time: whoever comes late hears why, and a host whose answer was lost
/// can still be told which host it became.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);

/// A join token as the rules know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// What proves the secret without telling it.
    pub verifier: [u8; 32],
    /// What the host may become.
    pub role: HostRole,
    /// When it is void.
    pub expires: Timestamp,
    /// What has become of it.
    pub state: TokenState,
}

/// What has become of a token. Time alone changes no state: an open token may have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenState {
    /// Nobody has used it.
    Open,
    /// A host came in with it.
    Used {
        /// The host.
        host: HostId,
    },
    /// A person declared it void.
    Revoked,
}

/// All tokens that are remembered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tokens {
    by_id: BTreeMap<JoinTokenId, JoinToken>,
}

impl Tokens {
    pub(crate) fn get(&self, token: JoinTokenId) -> Option<JoinToken> {
        self.by_id.get(&token).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (JoinTokenId, JoinToken)> {
        self.by_id.iter().map(|(id, token)| (*id, *token))
    }

    pub(crate) fn issue(&mut self, issued: &JoinTokenIssued, at: Timestamp) {
        self.by_id.retain(|_, token| is_remembered(token, at));
        let JoinTokenIssued { token, verifier, role, expires, by: _ } = issued;
        let (verifier, role, expires, state) = (*verifier, *role, *expires, TokenState::Open);
        self.by_id.insert(*token, JoinToken { verifier, role, expires, state });
    }

    pub(crate) fn revoke(&mut self, JoinTokenRevoked { token, by: _ }: &JoinTokenRevoked) {
        self.set(*token, TokenState::Revoked);
    }

    pub(crate) fn consume(&mut self, token: JoinTokenId, host: HostId) {
        self.set(token, TokenState::Used { host });
    }

    fn set(&mut self, token: JoinTokenId, state: TokenState) {
        if let Some(token) = self.by_id.get_mut(&token) {
            token.state = state;
        }
    }

    /// The token, if a host may join with it at that time.
    pub(super) fn usable(&self, token: JoinTokenId, at: Timestamp) -> Result<JoinToken, Rejection> {
        let held = self.get(token).ok_or(Rejection::UnknownToken { token })?;
        match held.state {
            TokenState::Used { host } => Err(Rejection::TokenUsed { token, host }),
            TokenState::Revoked => Err(Rejection::TokenRevoked { token }),
            TokenState::Open if held.expires <= at => {
                Err(Rejection::TokenExpired { token, expires: held.expires })
            }
            TokenState::Open => Ok(held),
        }
    }
}

fn is_remembered(token: &JoinToken, at: Timestamp) -> bool {
    at < token.expires.after(REMEMBERED_FOR)
}

/// Judges a new token; `seconds` is its life.
pub(super) fn issue(
    model: &Model,
    (token, verifier, role): (JoinTokenId, [u8; 32], HostRole),
    seconds: Option<u64>,
    by: Actor,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let seconds = seconds.unwrap_or(MAX_TOKEN_SECONDS);
    if !(1..=MAX_TOKEN_SECONDS).contains(&seconds) {
        return Err(Rejection::OutOfRange {
            field: "seconds",
            value: seconds,
            least: 1,
            most: MAX_TOKEN_SECONDS,
        });
    }
    if model.tokens.get(token).is_some() {
        return Err(Rejection::TokenExists { token });
    }
    if MAX_TOKENS <= model.tokens.by_id.values().filter(|token| is_remembered(token, at)).count() {
        return Err(Rejection::ListFull { list: "join tokens", limit: MAX_TOKENS });
    }
    let expires = at.after(Duration::from_secs(seconds));
    let issued = JoinTokenIssued { token, verifier, role, expires, by };
    Ok(vec![Event::Membership(MembershipEvent::TokenIssued(issued))])
}

/// Judges a revocation. A used token has done its work: who came in with it is removed as a host.
pub(super) fn revoke(model: &Model, revoked: JoinTokenRevoked) -> Result<Vec<Event>, Rejection> {
    let token = revoked.token;
    match model.tokens.get(token).map(|held| held.state) {
        None => Err(Rejection::UnknownToken { token }),
        Some(TokenState::Used { host }) => Err(Rejection::TokenUsed { token, host }),
        Some(TokenState::Revoked) => Ok(Vec::new()),
        Some(TokenState::Open) => Ok(vec![Event::Membership(MembershipEvent::TokenRevoked(revoked))]),
    }
}

impl Canonical for TokenState {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            Self::Open => 0_u8.put(out),
            Self::Used { host } => {
                1_u8.put(out);
                host.put(out);
            }
            Self::Revoked => 2_u8.put(out),
        }
    }
}

impl Canonical for JoinToken {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { verifier, role, expires, state } = self;
        verifier.put(out);
        role.put(out);
        expires.put(out);
        state.put(out);
    }
}

impl Canonical for Tokens {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { by_id } = self;
        by_id.put(out);
    }
}
