//! The dashboard's figures.

use http::StatusCode;
use warp::reply::Response;

use super::{json, view};
use crate::app::App;
use crate::dto::summary::Summary;
use crate::error::ApiError;

/// `GET /summary`.
pub(super) fn show(app: &App) -> Result<Response, ApiError> {
    let (cluster, now) = (app.ports.reads.cluster(), app.ports.reads.now());
    let summary = view(app, |views| Summary::new(views, &cluster, now))?;
    json(StatusCode::OK, &summary)
}
