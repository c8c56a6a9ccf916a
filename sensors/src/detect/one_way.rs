//! Rejections that are inferred where a tap shows requests only, or answers only.
//!
//! Requests only: who sends credentials again for the same account, with another nonce, was challenged again. The first time in five
//! minutes is free, since the nonce may just have been too old.
//! Answers only: 401 to a later CSeq of the same call was given to credentials; 403 and 404 to REGISTER are rejections. Tools that keep
//! one CSeq show themselves by the number of 401 in one call.

use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;

use super::Subject;
use crate::keyed::Key;
use crate::table::{Fill, Table};

/// How long a challenge may be repeated: Timer F (RFC 3261, 17.1.2.2).
const REPEAT: Duration = Duration::from_secs(32);
/// One repeated challenge is free in this time.
const FREE: Duration = Duration::from_secs(300);
/// 401 answers of one call that one client needs at most.
const FINALS: u16 = 6;
/// Accounts, and calls, that are held.
const CAPACITY: usize = 16_384;

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    nonce: u64,
    at: Timestamp,
    before: Timestamp,
    free_again_at: Timestamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Call {
    challenged: u32,
    finals: u16,
    at: Timestamp,
}

/// What an answer that belongs to no known request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inferred {
    Nothing,
    Rejected,
    Accepted,
}

pub(crate) struct OneWay {
    accounts: Table<(Subject, u64), Account>,
    calls: Table<(IpAddr, u64), Call>,
}

impl OneWay {
    pub(crate) fn new(key: Key) -> Self {
        Self { accounts: Table::new(CAPACITY, key), calls: Table::new(CAPACITY, key) }
    }

    /// Credentials for an account went to a victim that is not heard. Says whether those before were rejected.
    pub(crate) fn sent(&mut self, source: IpAddr, account: u64, nonce: u64, now: Timestamp) -> bool {
        let Some(known) = self.accounts.entry((Subject::of(source), account)) else { return false };
        let is_again = known.at != Timestamp::ZERO && known.nonce != nonce && now.since(known.at) < REPEAT;
        (known.nonce, known.before, known.at) = (nonce, known.at, now);
        if is_again && known.free_again_at <= now {
            known.free_again_at = now.after(FREE);
            return false;
        }
        is_again
    }

    /// Whether credentials for this account came before, within this time; `sent` was called for these.
    pub(crate) fn is_repeated(&self, source: IpAddr, account: u64, within: Duration, now: Timestamp) -> bool {
        let known = self.accounts.get(&(Subject::of(source), account));
        known.is_some_and(|known| known.before != Timestamp::ZERO && now.since(known.before) < within)
    }

    /// A final answer to a REGISTER went to a source that is not heard.
    pub(crate) fn answered(
        &mut self,
        source: IpAddr,
        call: u64,
        (cseq, status, is_stale): (u32, u16, bool),
        now: Timestamp,
    ) -> Inferred {
        match status {
            200..=299 => {
                self.calls.remove(&(source, call));
                Inferred::Accepted
            }
            403 | 404 | 604 => Inferred::Rejected,
            401 | 407 if !is_stale => self.challenged(source, call, cseq, now),
            _ => Inferred::Nothing,
        }
    }

    fn challenged(&mut self, source: IpAddr, call: u64, cseq: u32, now: Timestamp) -> Inferred {
        let Some(known) = self.calls.entry((source, call)) else { return Inferred::Nothing };
        if REPEAT < now.since(known.at) {
            *known = Call::default();
        }
        let is_later = known.challenged != 0 && known.challenged < cseq;
        known.at = now;
        known.challenged = cseq;
        known.finals = known.finals.saturating_add(1);
        if is_later {
            // The next challenge is the plain one that begins anew.
            known.challenged = 0;
            return Inferred::Rejected;
        }
        if FINALS < known.finals { Inferred::Rejected } else { Inferred::Nothing }
    }

    /// How full they are: accounts, and calls.
    pub(crate) fn fill(&self) -> [Fill; 2] {
        [self.accounts.fill(), self.calls.fill()]
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.accounts.evicted() + self.calls.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    #[test]
    fn a_repeated_challenge_is_free_once_in_five_minutes() {
        let mut one_way = OneWay::new(Key::new([1; 16]));
        let rejected: Vec<bool> =
            (0..5).map(|number| one_way.sent(SOURCE, 7, number, at(number * 2))).collect();
        assert_eq!(rejected, [false, false, true, true, true]);
        assert!(!one_way.sent(SOURCE, 7, 4, at(11)), "the same nonce: a retransmission or a refresh");
        assert!(!one_way.sent(SOURCE, 7, 5, at(60)), "a refresh a minute later");
        assert!(!one_way.sent(SOURCE, 8, 6, at(61)), "another account");
    }

    #[test]
    fn answers_alone_tell_a_rejection_from_a_challenge() {
        let mut one_way = OneWay::new(Key::new([1; 16]));
        let mut answer =
            |call, cseq, status, stale| one_way.answered(SOURCE, call, (cseq, status, stale), at(0));
        assert_eq!(answer(1, 1, 401, false), Inferred::Nothing);
        assert_eq!(answer(1, 2, 401, false), Inferred::Rejected);
        assert_eq!(answer(1, 3, 401, false), Inferred::Nothing);
        assert_eq!(answer(1, 4, 401, true), Inferred::Nothing, "only the nonce was too old");
        assert_eq!(answer(1, 4, 200, false), Inferred::Accepted);
        assert_eq!(answer(2, 1, 403, false), Inferred::Rejected);
        let same_cseq: Vec<Inferred> = (0..8).map(|_| answer(3, 2, 401, false)).collect();
        assert_eq!(same_cseq.iter().filter(|one| **one == Inferred::Rejected).count(), 2);
    }
}
