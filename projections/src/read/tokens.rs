//! Join tokens, for whoever lists them or lets a host in with one.

use log_format::event::MembershipEvent;
use log_format::ids::{HostId, JoinTokenId};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::{JoinToken, TokenState, Tokens};
use crate::digest::{Canonical, CanonicalHasher};

/// Folds what happens to join tokens; bounded by [`crate::decide::MAX_TOKENS`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JoinTokensView {
    tokens: Tokens,
}

impl JoinTokensView {
    /// A token that is remembered, also one that is used or void.
    pub fn get(&self, token: JoinTokenId) -> Option<JoinToken> {
        self.tokens.get(token)
    }

    /// The tokens with which a host may still join at `now`, in order of their names.
    pub fn open(&self, now: Timestamp) -> impl Iterator<Item = (JoinTokenId, JoinToken)> {
        self.tokens.iter().filter(move |(_, token)| token.state == TokenState::Open && now < token.expires)
    }

    pub(super) fn evolve(&mut self, event: &MembershipEvent, at: Timestamp) {
        match event {
            MembershipEvent::TokenIssued(event) => self.tokens.issue(event, at),
            MembershipEvent::TokenRevoked(event) => self.tokens.revoke(event),
            MembershipEvent::AuthorityAdded(_)
            | MembershipEvent::AuthorityRetired(_)
            | MembershipEvent::ClusterForced(_)
            | MembershipEvent::TailLossAccepted(_) => {}
        }
    }

    /// A host came in with a token.
    pub(super) fn used(&mut self, token: JoinTokenId, host: HostId) {
        self.tokens.consume(token, host);
    }
}

impl Canonical for JoinTokensView {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { tokens } = self;
        tokens.put(out);
    }
}
