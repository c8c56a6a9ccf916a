//! The projections that this host folds.

use http::StatusCode;
use warp::reply::Response;

use super::json;
use crate::app::App;
use crate::dto::list::List;
use crate::dto::projection::{Projection, Rebuilding};
use crate::error::{ApiError, Code};
use crate::write::RETRY_AFTER;

/// `GET /projections`.
pub(super) async fn list(app: &App) -> Result<Response, ApiError> {
    let too_busy = || {
        let advice = "this host did not hash its states in time; try again";
        ApiError::new(Code::Busy, advice).retry_after(RETRY_AFTER)
    };
    let views = app.ports.reads.projections().await.ok_or_else(too_busy)?;
    let as_of = app.ports.reads.cluster().applied.get();
    let items: Vec<Projection> = views.into_iter().map(Projection::from).collect();
    json(StatusCode::OK, &List { total: items.len(), items, as_of, now: app.ports.reads.now().to_string() })
}

/// `POST /projections/rebuild`.
pub(super) fn rebuild(app: &App) -> Result<Response, ApiError> {
    let number = app.ports.submit.rebuild();
    json(StatusCode::ACCEPTED, &Rebuilding { number })
}
