//! Signing in.

use serde::{Deserialize, Serialize};

/// `POST /session`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostSession {
    /// The one-time password as the host printed it.
    pub(crate) password: String,
}

/// Who is signed in, and where.
#[derive(Serialize)]
pub(crate) struct Session {
    /// The name in the log.
    pub(crate) name: String,
    /// What writes repeat in `x-csrf-token`; none for a program with a token.
    pub(crate) csrf_token: Option<String>,
    /// When the session ends at the latest; never for a program with a token.
    pub(crate) expires_at: Option<String>,
    /// The host that answers.
    pub(crate) host: String,
    /// Its version.
    pub(crate) version: String,
}

/// `POST /one-time-passwords`.
#[derive(Serialize)]
pub(crate) struct OneTimePassword {
    /// Good for one sign-in on this host.
    pub(crate) password: String,
}
