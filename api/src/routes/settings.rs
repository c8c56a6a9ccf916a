//! The firewall's settings, changed with optimistic concurrency: whoever changes them says which version he saw.

use http::header::{ETAG, HeaderValue, IF_MATCH};
use http::{HeaderMap, StatusCode};
use log_format::event::SettingChange;
use projections::decide::{CommandBody, Settings};
use warp::reply::Response;

use super::{json, view};
use crate::app::App;
use crate::auth::Principal;
use crate::dto::settings::{Changed, FirewallSettings, PutFirewallSettings, PutPreset, Wanted};
use crate::error::{ApiError, Code};
use crate::request::Request;
use crate::write::{Asked, Wish, actor};

/// `GET /settings/firewall`.
pub(super) fn show(app: &App) -> Result<Response, ApiError> {
    let settings = view(app, |views| FirewallSettings::from(views.settings.current()))?;
    tagged(json(StatusCode::OK, &settings)?, settings.version)
}

/// `PUT /settings/firewall`.
pub(super) async fn change(app: &App, caller: &Principal, request: Request) -> Result<Response, ApiError> {
    let Request { method, path, query, headers, body, .. } = request;
    let expected = expected_version(&headers)?;
    let (bytes, put) = Request::json::<PutFirewallSettings>(&headers, body).await?;
    put.check_version(expected)?;
    let wanted = Wanted::try_from(put)?;
    let asked = Asked { method: &method, path: &path, query: &query, body: &bytes };
    let wish = Wish::new(app, caller, &headers, asked)?;
    submit(app, caller, (wish, expected), |current| wanted.changes(current)).await
}

/// `PUT /settings/firewall/preset`.
pub(super) async fn change_to_preset(
    app: &App,
    caller: &Principal,
    request: Request,
) -> Result<Response, ApiError> {
    let Request { method, path, query, headers, body, .. } = request;
    let expected = expected_version(&headers)?;
    let (bytes, put) = Request::json::<PutPreset>(&headers, body).await?;
    let preset = put.preset()?;
    let asked = Asked { method: &method, path: &path, query: &query, body: &bytes };
    let wish = Wish::new(app, caller, &headers, asked)?;
    submit(app, caller, (wish, expected), |current| preset.changes(current)).await
}

async fn submit(
    app: &App,
    caller: &Principal,
    (wish, expected): (Wish, u64),
    changes: impl FnOnce(&Settings) -> Vec<SettingChange>,
) -> Result<Response, ApiError> {
    let (current, applied) = view(app, |views| (views.settings.current().clone(), views.applied()))?;
    check_current(&current, expected)?;
    let changes = changes(&current);
    if changes.is_empty() {
        let unchanged = Changed { version: expected, log_index: applied.get() };
        return tagged(json(StatusCode::OK, &unchanged)?, expected);
    }
    let wanted = CommandBody::ChangeSettings { expected_version: expected, changes, by: actor(caller) };
    let accepted = wish.submit(app, wanted).await?;
    let version = expected.saturating_add(1);
    tagged(json(StatusCode::OK, &Changed { version, log_index: accepted.index.get() })?, version)
}

/// What is different can only be told from the version that the caller saw.
fn check_current(current: &Settings, expected: u64) -> Result<(), ApiError> {
    if current.version < expected {
        let advice = "this host has not applied the version that you saw yet; try again";
        return Err(ApiError::new(Code::NotCaughtUp, advice).retry_after(crate::write::RETRY_AFTER));
    }
    if expected < current.version {
        let detail =
            format!("the settings are at version {}, not {expected}; read them again", current.version);
        return Err(ApiError::new(Code::ChangedMeanwhile, detail));
    }
    Ok(())
}

fn expected_version(headers: &HeaderMap) -> Result<u64, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Err(ApiError::new(
            Code::VersionRequired,
            "send the ETag that you read in the header If-Match",
        ));
    };
    let tag = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    tag.and_then(|version| version.parse().ok())
        .ok_or_else(|| ApiError::invalid_parameter("if-match", "send one ETag as it was read, in quotes"))
}

fn tagged(mut response: Response, version: u64) -> Result<Response, ApiError> {
    let tag = HeaderValue::from_str(&format!("\"{version}\""));
    let tag = tag.map_err(|_| ApiError::new(Code::Internal, "the version is no header"))?;
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}
