//! How fresh a read is: what the caller asks for, and what the answer says of itself.
//!
//! | asked | the answer shows |
//! |---|---|
//! | nothing, `consistency=local` | what this host has applied |
//! | `min_index=N` | at least entry N: a write's `log_index`, read back on any host |
//! | `consistency=linearizable` | everything that was acknowledged, anywhere in the cluster, before the question |
//!
//! Every answer says how far this host is (`X-Log-Index`), how long ago the leader last spoke to it (`X-Staleness-Ms`),
//! and who leads (`X-Leader`).

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use log_format::ids::LogIndex;

use crate::app::App;
use crate::error::{ApiError, Code};
use crate::request::Request;
use crate::write;

const LOG_INDEX: HeaderName = HeaderName::from_static("x-log-index");
const STALENESS: HeaderName = HeaderName::from_static("x-staleness-ms");
const LEADER: HeaderName = HeaderName::from_static("x-leader");

/// What a read must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Freshness {
    min_index: Option<LogIndex>,
    is_linearizable: bool,
}

/// Takes the two parameters out of the query, which every read has in common, and waits for what they ask.
pub(super) async fn wait(app: &App, request: &mut Request) -> Result<(), ApiError> {
    let (asked, rest) = take(&request.query)?;
    request.query = rest;
    if asked.is_linearizable && app.ports.reads.confirm().await.is_none() {
        let advice =
            "no majority of hosts confirmed this read in time; try again, or read without consistency";
        return Err(ApiError::new(Code::NotConfirmed, advice).retry_after(write::RETRY_AFTER));
    }
    match asked.min_index {
        Some(index) => catch_up(app, index).await,
        None => Ok(()),
    }
}

/// Splits the parameters of this module from the others.
fn take(query: &str) -> Result<(Freshness, String), ApiError> {
    let (mut asked, mut rest) = (Freshness::default(), Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("min_index", value)) => {
                let index = value.parse().map_err(|_| {
                    ApiError::invalid_parameter("min_index", "send the log_index that a write answered")
                })?;
                asked.min_index = asked.min_index.max(Some(LogIndex::new(index)));
            }
            Some(("consistency", "linearizable")) => asked.is_linearizable = true,
            Some(("consistency", "local")) => {}
            Some(("consistency", _)) => {
                return Err(ApiError::invalid_parameter("consistency", "send local or linearizable"));
            }
            Some(_) | None => rest.push(pair),
        }
    }
    Ok((asked, rest.join("&")))
}

/// Waits until this host has applied an index that the caller saw elsewhere.
pub(super) async fn catch_up(app: &App, index: LogIndex) -> Result<(), ApiError> {
    let mut applied = app.ports.reads.subscribe();
    let reached = applied.wait_for(|applied| index <= *applied);
    match tokio::time::timeout(app.limits.catch_up_time, reached).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            let detail =
                format!("this host has not applied index {index} yet; try again, or ask another host");
            Err(ApiError::new(Code::NotCaughtUp, detail).retry_after(write::RETRY_AFTER))
        }
    }
}

/// What an answer says of its freshness. Read before the answer is made, so that it never claims too much.
pub(super) fn stamps(app: &App) -> HeaderMap {
    let view = app.ports.reads.cluster();
    let applied = *app.ports.reads.subscribe().borrow();
    let mut stamps = HeaderMap::new();
    stamps.insert(LOG_INDEX, HeaderValue::from(applied.get()));
    let staleness = u64::try_from(view.staleness.as_millis()).unwrap_or(u64::MAX);
    stamps.insert(STALENESS, HeaderValue::from(staleness));
    if let Some(leader) = view.leader {
        stamps.insert(LEADER, HeaderValue::from(leader.get()));
    }
    stamps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_split_from_a_routes_own_parameters() {
        let (asked, rest) = take("q=a%26b&min_index=7&consistency=linearizable&page=2").unwrap();
        assert_eq!(asked, Freshness { min_index: Some(LogIndex::new(7)), is_linearizable: true });
        assert_eq!(rest, "q=a%26b&page=2");
        assert_eq!(take("").unwrap(), (Freshness::default(), String::new()));
        assert!(take("min_index=x").is_err());
        assert!(take("consistency=strong").is_err());
    }
}
