//! Why an address is dropped, or why not.

use http::StatusCode;
use serde::Deserialize;
use warp::reply::Response;

use super::blocks::parse_address;
use super::{json, view};
use crate::app::App;
use crate::dto::block::Surroundings;
use crate::dto::explanation::Explained;
use crate::error::ApiError;
use crate::request::Request;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    /// Also about this port of it.
    port: Option<u16>,
}

/// `GET /ip/{address}`.
pub(super) fn show(app: &App, address: &str, request: &Request) -> Result<Response, ApiError> {
    let Query { port } = request.query()?;
    let address = parse_address("address", address)?;
    let (cluster, now) = (app.ports.reads.cluster(), app.ports.reads.now());
    let explained = view(app, |views| {
        let around = Surroundings { threshold: views.settings.current().block_threshold, view: &cluster };
        let explained = (&views.explain(address, port, now), app.ports.reads.spared(address));
        Explained::new(explained, views.applied().get(), around)
    })?;
    json(StatusCode::OK, &explained)
}
