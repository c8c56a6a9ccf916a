//! Writes: one wish, submitted once however often the request is repeated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method};
use log_format::event::{Actor, Text};
use log_format::ids::CommandId;
use projections::decide::CommandBody;

use crate::app::App;
use crate::auth::{self, Principal, digest};
use crate::error::{ApiError, Code};
use crate::ports::{Accepted, NoRandomness, Random, SubmitError};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Characters of a key: room for a UUID and a prefix.
const LONGEST_KEY: usize = 128;
/// An election takes about a second; so does a burst.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Keys for wishes that come without one. They need not be secret, only new: one random text for each run of the process, and a
/// number behind it, so that no write asks the system for randomness.
#[derive(Debug)]
pub(crate) struct Keys {
    run: String,
    next: AtomicU64,
}

impl Keys {
    /// Draws this run's text.
    pub(crate) fn new(random: &Random) -> Result<Self, NoRandomness> {
        Ok(Self { run: auth::random_text(random)?, next: AtomicU64::new(1) })
    }

    fn next(&self) -> String {
        format!("{}-{}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// A wish's identity: the same request with the same `Idempotency-Key` by the same caller is the same wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) id: CommandId,
    /// What to send as `Idempotency-Key` to repeat it.
    key: String,
}

/// What a request is, for telling repetitions from new wishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
}

impl Wish {
    /// Takes the caller's key, or draws one.
    pub(crate) fn new(
        app: &App,
        caller: &Principal,
        headers: &HeaderMap,
        asked: Asked<'_>,
    ) -> Result<Self, ApiError> {
        let key = match headers.get(IDEMPOTENCY_KEY) {
            Some(value) => {
                value.to_str().ok().filter(|key| is_key(key)).map(str::to_owned).ok_or_else(|| {
                    let reason = format!("send 1 to {LONGEST_KEY} visible characters");
                    ApiError::invalid_parameter(IDEMPOTENCY_KEY, reason)
                })?
            }
            None => app.keys.next(),
        };
        let Asked { method, path, query, body } = asked;
        let parts =
            [caller.name().as_bytes(), method.as_str().as_bytes(), path.as_bytes(), query.as_bytes(), body];
        let mut id = [0; 16];
        let hash = digest(&[digest(&parts).as_slice(), key.as_bytes()]);
        id.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        Ok(Self { id: CommandId::new(id), key })
    }

    /// Submits it, and waits until this host has applied what came of it.
    pub(crate) async fn submit(&self, app: &App, body: CommandBody) -> Result<Accepted, ApiError> {
        let submitted = app.ports.submit.submit(self.id, body).await;
        submitted.map_err(|error| match error {
            SubmitError::NoLeader { .. } if app.ports.reads.cluster().is_removed => {
                let advice = "this host was removed from the cluster; ask another, and stop this one";
                ApiError::new(Code::NoLeader, advice).with("removed", true)
            }
            error @ (SubmitError::Rejected(_)
            | SubmitError::NoLeader { .. }
            | SubmitError::Unknown
            | SubmitError::Busy) => self.explain(&error),
        })
    }

    fn explain(&self, error: &SubmitError) -> ApiError {
        match error {
            SubmitError::Rejected(refusal) => ApiError::rejected(refusal),
            SubmitError::NoLeader { hint } => ApiError::new(
                Code::NoLeader,
                "nobody can decide now; try again when a majority of hosts is up",
            )
            .with("leader", hint.map(|host| host.to_string()))
            .retry_after(RETRY_AFTER),
            SubmitError::Unknown => {
                ApiError::new(Code::OutcomeUnknown, "send the same request again with this idempotency_key")
                    .with("idempotency_key", self.key.as_str())
                    .retry_after(RETRY_AFTER)
            }
            SubmitError::Busy => {
                ApiError::new(Code::Busy, "it did not take effect; try again").retry_after(RETRY_AFTER)
            }
        }
    }
}

/// The caller as the log names him.
pub(crate) fn actor(caller: &Principal) -> Actor {
    Actor::Administrator(Text::new(caller.name().as_bytes()))
}

fn is_key(key: &str) -> bool {
    (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn keys_are_new_and_may_be_sent_back() {
        let random = |seed: u8| -> Random {
            Arc::new(move |bytes: &mut [u8]| {
                bytes.fill(seed);
                Ok(())
            })
        };
        let (one, other) = (Keys::new(&random(1)).unwrap(), Keys::new(&random(2)).unwrap());
        let keys = [one.next(), one.next(), other.next()];
        assert!(keys.iter().all(|key| is_key(key)));
        assert!(keys[0] != keys[1] && keys[0] != keys[2]);
    }
}
