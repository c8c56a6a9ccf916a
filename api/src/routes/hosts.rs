//! The cluster's hosts, as this one sees them.

use http::StatusCode;
use serde::Deserialize;
use warp::reply::Response;

use super::json;
use crate::app::App;
use crate::dto::host::{self, Cluster};
use crate::dto::list::List;
use crate::error::{ApiError, Code};
use crate::request::Request;
use crate::write::RETRY_AFTER;

/// `GET /hosts`.
pub(super) fn list(app: &App) -> Result<Response, ApiError> {
    let view = app.ports.reads.cluster();
    let as_of = view.applied.get();
    let items = host::hosts(view);
    json(StatusCode::OK, &List { total: items.len(), items, as_of, now: app.ports.reads.now().to_string() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterQuery {
    state_hash: Option<bool>,
}

/// `GET /cluster`. Hashing holds the whole host up, so it is for whoever compares hosts, and not for whoever looks every few
/// seconds.
pub(super) async fn cluster(app: &App, request: Request) -> Result<Response, ApiError> {
    let ClusterQuery { state_hash } = request.query()?;
    let too_busy = || {
        let advice = "this host did not hash its state in time; try again";
        ApiError::new(Code::Busy, advice).retry_after(RETRY_AFTER)
    };
    let state_hash = match state_hash {
        Some(true) => Some(app.ports.reads.state_hash().await.ok_or_else(too_busy)?),
        Some(false) | None => None,
    };
    let view = app.ports.reads.cluster();
    let cluster = Cluster {
        cluster_id: view.cluster.to_string(),
        leader: view.leader.map(|leader| leader.to_string()),
        removed: view.is_removed,
        authorities: view.authorities.iter().map(host::hex).collect(),
        term: view.term.get(),
        commit: view.commit.get(),
        applied: view.applied.get(),
        state_hash: state_hash.map(Into::into),
        diverged: app.ports.reads.diverged(),
        as_of: view.applied.get(),
        now: app.ports.reads.now().to_string(),
        hosts: host::hosts(view),
    };
    json(StatusCode::OK, &cluster)
}
