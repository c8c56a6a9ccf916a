//! Login sessions: in memory only, bounded in number, absolute age and idle time. Time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::secret::digest;

/// A session ends this long after sign-in, whatever its owner does.
pub(crate) const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// A session ends when unused for this long.
pub(crate) const LONGEST_IDLE: Duration = Duration::from_secs(60 * 60);
/// Sessions of one host: far more than people; each had its own one-time password.
const MOST: usize = 256;

/// Where a session is kept: the hash of the id in the cookie. The id itself is with the browser only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of a cookie's id. Looking the hash up tells nothing of the id by timing.
    pub(crate) fn of(id: &str) -> Self {
        Self(digest(&[b"session", id.as_bytes()]))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// Somebody signed in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LoginSession {
    /// Who.
    pub(crate) name: String,
    /// What every write must carry in a header, so that another site cannot write.
    pub(crate) csrf_token: String,
    began: Instant,
    used: Instant,
    /// Where it was used from last.
    source: Option<IpAddr>,
}

impl LoginSession {
    /// A session that begins now.
    pub(crate) const fn new(name: String, csrf_token: String, now: Instant) -> Self {
        Self { name, csrf_token, began: now, used: now, source: None }
    }

    /// How long it lasts from `now` on if it is used.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        LONGEST.saturating_sub(now.saturating_duration_since(self.began))
    }

    fn is_live(&self, now: Instant) -> bool {
        !self.remaining(now).is_zero() && now.saturating_duration_since(self.used) < LONGEST_IDLE
    }
}

impl fmt::Debug for LoginSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginSession").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every session of this host.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_key: BTreeMap<SessionKey, LoginSession>,
}

impl Sessions {
    /// Adds a session. When there are too many, the one unused for longest goes.
    pub(crate) fn open(&mut self, key: SessionKey, session: LoginSession, now: Instant) {
        self.by_key.retain(|_, session| session.is_live(now));
        if MOST <= self.by_key.len() {
            let stalest =
                self.by_key.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| key.clone());
            stalest.map(|key| self.by_key.remove(&key));
        }
        self.by_key.insert(key, session);
    }

    /// Finds a live session and counts this as its use.
    pub(crate) fn touch(&mut self, key: &SessionKey, now: Instant) -> Option<LoginSession> {
        if !self.is_live(key, now) {
            self.by_key.remove(key);
            return None;
        }
        let session = self.by_key.get_mut(key)?;
        session.used = now;
        Some(session.clone())
    }

    /// Whether a session is live.
    pub(crate) fn is_live(&self, key: &SessionKey, now: Instant) -> bool {
        self.by_key.get(key).is_some_and(|session| session.is_live(now))
    }

    /// A session is used from there.
    pub(crate) fn used_from(&mut self, key: &SessionKey, source: IpAddr) {
        if let Some(session) = self.by_key.get_mut(key) {
            session.source = Some(source);
        }
    }

    /// Where the live sessions are used from.
    pub(crate) fn sources(&self, now: Instant) -> BTreeSet<IpAddr> {
        let live = self.by_key.values().filter(|session| session.is_live(now));
        live.filter_map(|session| session.source).collect()
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, key: &SessionKey) {
        self.by_key.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(now: Instant) -> LoginSession {
        LoginSession::new("ana".to_owned(), "token".to_owned(), now)
    }

    #[test]
    fn a_session_has_a_source_as_long_as_it_lives() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        let key = SessionKey::of("id");
        sessions.open(key.clone(), session(start), start);
        assert_eq!(sessions.sources(start), BTreeSet::new(), "it was not used yet");
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        sessions.used_from(&key, one);
        sessions.used_from(&key, two);
        assert_eq!(sessions.sources(start), BTreeSet::from([two]));
        assert_eq!(sessions.sources(start + LONGEST_IDLE), BTreeSet::new());
    }

    #[test]
    fn a_session_ends_after_an_hour_without_use() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        let key = SessionKey::of("id");
        sessions.open(key.clone(), session(start), start);
        let used = start + LONGEST_IDLE - Duration::from_secs(1);
        assert!(sessions.touch(&key, used).is_some());
        assert!(sessions.touch(&key, used + LONGEST_IDLE - Duration::from_secs(1)).is_some());
        assert!(sessions.touch(&key, used + LONGEST_IDLE * 2).is_none());
    }

    #[test]
    fn a_session_ends_after_twelve_hours_of_use() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        let key = SessionKey::of("id");
        sessions.open(key.clone(), session(start), start);
        let step = Duration::from_secs(30 * 60);
        for half_hours in 1..24 {
            assert!(sessions.touch(&key, start + step * half_hours).is_some(), "{half_hours} half hours");
        }
        assert!(sessions.touch(&key, start + step * 24).is_none());
    }

    #[test]
    fn the_session_unused_for_longest_makes_room() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        let key = |number: u32| SessionKey::of(&number.to_string());
        for number in 0..=u32::try_from(MOST).unwrap() {
            let now = start + Duration::from_secs(u64::from(number));
            sessions.open(key(number), session(now), now);
        }
        assert_eq!(sessions.by_key.len(), MOST);
        let now = start + Duration::from_secs(300);
        assert!(!sessions.is_live(&key(0), now));
        assert!(sessions.is_live(&key(1), now));
    }
}
