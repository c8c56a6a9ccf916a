//! The truth table: which answer to which request is a strike.

use log_format::event::AttackKind;

use super::agents::AgentId;
use crate::proof::Echo;

/// What is remembered of a request until its answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) kind: AttackKind,
    pub(crate) credentials: CredentialState,
    /// Hash of the realm for which the credentials are; 0 of a registration, where it does not matter.
    pub(crate) realm: u64,
    /// Hash of the address of record and the digest user name: whose password is tried.
    pub(crate) account: u64,
    /// Hash of the first credentials' nonce; 0 where the victim is heard, which says more.
    pub(crate) nonce: u64,
    /// Hash of what differs between attempts and agrees between retransmissions.
    pub(crate) fingerprint: u64,
    pub(crate) source_port: u16,
    /// The connection shows that the source is at its address.
    pub(crate) is_proven: bool,
    pub(crate) agent: AgentId,
}

/// What is known of a request's credentials, the less telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CredentialState {
    /// Their nonce is not one that this victim lately sent to this source, or cannot be read.
    Unknown,
    /// Their nonce is such a one, but others were given it too.
    Shared,
    /// Their nonce is such a one, and this source's alone.
    Echoed,
}

impl From<Echo> for CredentialState {
    fn from(echo: Echo) -> Self {
        match echo {
            Echo::Nothing => Self::Unknown,
            Echo::Shared => Self::Shared,
            Echo::Own => Self::Echoed,
        }
    }
}

/// What is looked at in a final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// A challenge that says that only the nonce was too old.
    pub(crate) is_stale: bool,
    /// Hash of the first challenge's realm.
    pub(crate) realm: u64,
}

/// What an answer means for the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Says nothing.
    Neutral,
    /// The credentials were right.
    Success,
    /// A bad registration.
    Strike(Strength),
}

/// How much a strike weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    /// The source echoed the victim's nonce.
    Proven,
    /// Anybody could have sent it.
    Unproven,
    /// Half a strike: the nonce may be an old one of an honest client.
    Weak,
}

/// The truth table. A plain challenge is never a strike: every honest registration begins with one.
pub(crate) fn judge(attempt: &Attempt, answer: Answer) -> Judgement {
    match (judge_answer(attempt, answer), attempt.is_proven) {
        // What anybody could have sent in a datagram, only the source could in a connection.
        (Judgement::Strike(Strength::Unproven), true) => Judgement::Strike(Strength::Proven),
        (judgement, _) => judgement,
    }
}

fn judge_answer(attempt: &Attempt, answer: Answer) -> Judgement {
    match attempt.kind {
        AttackKind::Register => judge_registration(attempt.credentials, answer),
        AttackKind::Options | AttackKind::Invite | AttackKind::Tftp | AttackKind::Dns | AttackKind::Other => {
            judge_other(attempt, answer)
        }
    }
}

fn judge_registration(credentials: CredentialState, answer: Answer) -> Judgement {
    match (credentials, answer.status) {
        (_, 200..=299) => Judgement::Success,
        (_, 401 | 407) if answer.is_stale => Judgement::Neutral,
        (CredentialState::Echoed, 401 | 407 | 403 | 404 | 604) => Judgement::Strike(Strength::Proven),
        // The nonce is a fresh one, so the password was wrong.
        (CredentialState::Shared, 401 | 407) => Judgement::Strike(Strength::Unproven),
        (CredentialState::Unknown, 401 | 407) => Judgement::Strike(Strength::Weak),
        (CredentialState::Unknown | CredentialState::Shared, 403 | 404 | 604) => {
            Judgement::Strike(Strength::Unproven)
        }
        (CredentialState::Unknown | CredentialState::Shared | CredentialState::Echoed, _) => {
            Judgement::Neutral
        }
    }
}

/// Passwords are guessed with calls too, but there 403 and 404 mostly speak of the number that was called, and a second proxy on the
/// way asks for credentials of its own: only a repeated challenge for the same realm is a strike.
fn judge_other(attempt: &Attempt, answer: Answer) -> Judgement {
    match (attempt.credentials, answer.status) {
        (CredentialState::Echoed, 401 | 407) if !answer.is_stale && attempt.realm == answer.realm => {
            Judgement::Strike(Strength::Proven)
        }
        (CredentialState::Shared, 401 | 407) if !answer.is_stale && attempt.realm == answer.realm => {
            Judgement::Strike(Strength::Unproven)
        }
        (CredentialState::Echoed, 200..=299) => Judgement::Success,
        (CredentialState::Unknown | CredentialState::Shared | CredentialState::Echoed, _) => {
            Judgement::Neutral
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(kind: AttackKind, credentials: CredentialState) -> Attempt {
        Attempt {
            kind,
            credentials,
            realm: 1,
            account: 1,
            nonce: 1,
            fingerprint: 1,
            source_port: 5060,
            is_proven: false,
            agent: AgentId::default(),
        }
    }

    fn judged(kind: AttackKind, credentials: CredentialState, status: u16, is_stale: bool) -> Judgement {
        judge(&attempt(kind, credentials), Answer { status, is_stale, realm: 1 })
    }

    #[test]
    fn registrations_are_judged_as_the_truth_table_says() {
        use CredentialState::{Echoed, Shared, Unknown};
        use Judgement::{Neutral, Strike, Success};
        let neutral = [400, 416, 420, 423, 439, 480, 486, 488, 491, 500, 503, 600, 603, 606, 302];
        let table: Vec<(CredentialState, u16, bool, Judgement)> = [
            (Echoed, 401, false, Strike(Strength::Proven)),
            (Echoed, 407, false, Strike(Strength::Proven)),
            (Echoed, 401, true, Neutral),
            (Echoed, 407, true, Neutral),
            (Echoed, 403, false, Strike(Strength::Proven)),
            (Echoed, 404, false, Strike(Strength::Proven)),
            (Echoed, 604, false, Strike(Strength::Proven)),
            (Echoed, 200, false, Success),
            (Echoed, 202, false, Success),
            (Unknown, 401, false, Strike(Strength::Weak)),
            (Unknown, 407, false, Strike(Strength::Weak)),
            (Unknown, 401, true, Neutral),
            (Unknown, 403, false, Strike(Strength::Unproven)),
            (Unknown, 404, false, Strike(Strength::Unproven)),
            (Unknown, 604, false, Strike(Strength::Unproven)),
            (Unknown, 200, false, Success),
            (Shared, 401, false, Strike(Strength::Unproven)),
            (Shared, 407, false, Strike(Strength::Unproven)),
            (Shared, 401, true, Neutral),
            (Shared, 403, false, Strike(Strength::Unproven)),
            (Shared, 200, false, Success),
        ]
        .into_iter()
        .chain(neutral.iter().flat_map(|status| {
            [Unknown, Shared, Echoed].map(|credentials| (credentials, *status, false, Neutral))
        }))
        .collect();
        for (credentials, status, is_stale, expected) in table {
            let judgement = judged(AttackKind::Register, credentials, status, is_stale);
            assert_eq!(judgement, expected, "{credentials:?} {status} stale={is_stale}");
        }
    }

    #[test]
    fn calls_are_only_judged_by_a_repeated_challenge_for_the_same_realm() {
        use CredentialState::{Echoed, Shared, Unknown};
        let invite = |credentials, status, stale| judged(AttackKind::Invite, credentials, status, stale);
        assert_eq!(invite(Echoed, 407, false), Judgement::Strike(Strength::Proven));
        assert_eq!(invite(Echoed, 407, true), Judgement::Neutral);
        assert_eq!(invite(Echoed, 200, false), Judgement::Success);
        assert_eq!(invite(Shared, 407, false), Judgement::Strike(Strength::Unproven));
        for (credentials, status) in [(Echoed, 403), (Echoed, 404), (Unknown, 407), (Shared, 200)] {
            assert_eq!(invite(credentials, status, false), Judgement::Neutral, "{credentials:?} {status}");
        }
        let second_proxy = Answer { status: 407, is_stale: false, realm: 2 };
        assert_eq!(judge(&attempt(AttackKind::Invite, Echoed), second_proxy), Judgement::Neutral);
    }
}
