//! Who is calling: a cookie session of the console, or the local token of this host's command line.
//!
//! There is one administrator, let in by a one-time password that the host prints; nothing is ever open. The checks are
//! the server's alone: a client never names the step of a sign-in.

mod back_off;
mod cross_site;
mod one_time;
mod secret;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use tokio::time::Instant;

use self::back_off::BackOff;
pub(crate) use self::cross_site::{check_host, check_origin, check_token};
use self::one_time::OneTimePasswords;
pub use self::secret::{LocalToken, NotALocalToken};
pub(crate) use self::secret::{digest, random_text};
pub(crate) use self::sessions::{LoginSession, SessionKey, Sessions};
use crate::error::{ApiError, Code};
use crate::ports::{NoRandomness, Random};

/// The name under which somebody who signed in with a one-time password appears in the log.
pub(crate) const ADMINISTRATOR: &str = "administrator";
/// The name under which this host's command line appears in the log.
pub(crate) const LOCAL: &str = "local";

/// A caller whose credentials were found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Somebody signed in to the console.
    Session {
        /// Where the session is kept.
        key: SessionKey,
        /// The session as it was when the request came.
        session: LoginSession,
    },
    /// The command line on this host.
    LocalToken,
}

impl Principal {
    /// The name in the log.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Session { session, .. } => &session.name,
            Self::LocalToken => LOCAL,
        }
    }
}

/// Sessions, pending password and local token of one host.
pub(crate) struct Auth {
    sessions: Mutex<Sessions>,
    back_off: Mutex<BackOff>,
    passwords: OneTimePasswords,
    token: LocalToken,
    cookie: Cookie,
    random: Random,
}

impl Auth {
    /// Nobody is signed in and no password is pending.
    pub(crate) fn new(token: LocalToken, cookie: Cookie, random: Random) -> Result<Self, NoRandomness> {
        Ok(Self {
            sessions: Mutex::new(Sessions::default()),
            back_off: Mutex::new(BackOff::default()),
            passwords: OneTimePasswords::new(&random)?,
            token,
            cookie,
            random,
        })
    }

    /// Finds the caller. A bearer token that is wrong is not made good by a cookie beside it.
    pub(crate) fn identify(&self, headers: &HeaderMap, now: Instant) -> Option<Principal> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            let token = value.to_str().ok()?.strip_prefix("Bearer ")?;
            return self.token.is(token).then_some(Principal::LocalToken);
        }
        let key = SessionKey::of(self.cookie.find(headers)?);
        let session = lock(&self.sessions).touch(&key, now)?;
        Some(Principal::Session { key, session })
    }

    /// A session's cookie came from there.
    pub(crate) fn used_from(&self, key: &SessionKey, source: IpAddr) {
        lock(&self.sessions).used_from(key, source);
    }

    /// Where people are who are signed in.
    pub(crate) fn sources(&self, now: Instant) -> BTreeSet<IpAddr> {
        lock(&self.sessions).sources(now)
    }

    /// Whether a session is still good; does not count as using it.
    pub(crate) fn is_live(&self, key: &SessionKey, now: Instant) -> bool {
        lock(&self.sessions).is_live(key, now)
    }

    /// Opens a session for whoever has the pending password. Each attempt costs the same, right or wrong.
    pub(crate) async fn sign_in(&self, password: String, from: IpAddr) -> Result<SignedIn, ApiError> {
        let now = Instant::now();
        lock(&self.back_off).admit(from, now).map_err(too_many)?;
        if !self.passwords.spend(password).await? {
            return Err(ApiError::new(
                Code::WrongPassword,
                "ask this host for a new one-time password: palisade user one-time-password",
            ));
        }
        lock(&self.back_off).forgive(from);
        let id = secret::random_text(&self.random).map_err(no_randomness)?;
        let csrf_token = secret::random_text(&self.random).map_err(no_randomness)?;
        let session = LoginSession::new(ADMINISTRATOR.to_owned(), csrf_token, now);
        let key = SessionKey::of(&id);
        let mut sessions = lock(&self.sessions);
        sessions.open(key.clone(), session.clone(), now);
        sessions.used_from(&key, from);
        drop(sessions);
        Ok(SignedIn { cookie: self.cookie.set(&id), session })
    }

    /// Ends a session; the returned header makes the browser forget the cookie.
    pub(crate) fn sign_out(&self, key: &SessionKey) -> String {
        lock(&self.sessions).close(key);
        self.cookie.clear()
    }

    /// Makes a new pending password; the one before is no longer good.
    pub(crate) fn issue_password(&self) -> Result<String, NoRandomness> {
        self.passwords.issue(&self.random)
    }
}

/// A session just opened.
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// The `Set-Cookie` header.
    pub(crate) cookie: String,
    /// The session.
    pub(crate) session: LoginSession,
}

/// How the session cookie is called and guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Over TLS: `__Host-` makes the browser insist on Secure, on this host alone and on the whole path.
    Secure,
    /// Over plain HTTP on loopback, where browsers refuse Secure cookies.
    Loopback,
}

impl Cookie {
    const fn name(self) -> &'static str {
        match self {
            Self::Secure => "__Host-session",
            Self::Loopback => "palisade-session",
        }
    }

    const fn attributes(self) -> &'static str {
        match self {
            Self::Secure => "Path=/; HttpOnly; Secure; SameSite=Strict",
            Self::Loopback => "Path=/; HttpOnly; SameSite=Strict",
        }
    }

    fn find(self, headers: &HeaderMap) -> Option<&str> {
        let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name()).map(|(_, value)| value)
    }

    fn set(self, id: &str) -> String {
        let seconds = sessions::LONGEST.as_secs();
        format!("{}={id}; {}; Max-Age={seconds}", self.name(), self.attributes())
    }

    fn clear(self) -> String {
        format!("{}=; {}; Max-Age=0", self.name(), self.attributes())
    }
}

fn too_many(wait: Duration) -> ApiError {
    let seconds = wait.as_secs().max(1);
    ApiError::new(Code::TooManyAttempts, format!("wait {seconds} s and try again")).retry_after(wait)
}

pub(crate) fn no_randomness(error: NoRandomness) -> ApiError {
    tracing::error!(error = &error as &dyn std::error::Error, "the operating system gives no random bytes");
    ApiError::new(Code::Internal, "this host has no randomness; its log says more")
}

/// A poisoned lock is taken all the same: no critical section here leaves its state half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
