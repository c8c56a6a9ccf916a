//! Signing in and out, and the one-time password that lets the administrator in.

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderValue, SET_COOKIE};
use warp::reply::Response;

use super::json;
use crate::app::App;
use crate::auth::{self, LoginSession, Principal};
use crate::dto::session::{OneTimePassword, PostSession, Session};
use crate::error::{ApiError, Code};
use crate::request::Request;

/// `POST /session`.
pub(super) async fn sign_in(app: &App, request: Request) -> Result<Response, ApiError> {
    let from = request.address();
    let (_, PostSession { password }) = Request::json(&request.headers, request.body).await?;
    let opened = app.auth.sign_in(password, from).await?;
    let response = json(StatusCode::OK, &describe(app, &opened.session))?;
    with_cookie(response, &opened.cookie)
}

/// `GET /session`.
pub(super) fn show(app: &App, caller: &Principal) -> Result<Response, ApiError> {
    match caller {
        Principal::Session { session, .. } => json(StatusCode::OK, &describe(app, session)),
        Principal::LocalToken => json(
            StatusCode::OK,
            &Session {
                name: auth::LOCAL.to_owned(),
                csrf_token: None,
                expires_at: None,
                host: app.host_name.clone(),
                version: app.version.clone(),
            },
        ),
    }
}

/// `DELETE /session`.
pub(super) fn sign_out(app: &App, caller: &Principal) -> Result<Response, ApiError> {
    let mut response = Response::new(Vec::new().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    match caller {
        Principal::Session { key, .. } => with_cookie(response, &app.auth.sign_out(key)),
        Principal::LocalToken => Ok(response),
    }
}

/// `POST /one-time-passwords`.
pub(super) async fn issue_password(app: Arc<App>) -> Result<Response, ApiError> {
    let issued = tokio::task::spawn_blocking(move || app.auth.issue_password()).await;
    let password = issued
        .map_err(|_| ApiError::new(Code::Internal, "the password could not be made"))?
        .map_err(auth::no_randomness)?;
    json(StatusCode::CREATED, &OneTimePassword { password })
}

fn describe(app: &App, session: &LoginSession) -> Session {
    let remaining = session.remaining(app.clock());
    Session {
        name: session.name.clone(),
        csrf_token: Some(session.csrf_token.clone()),
        expires_at: Some(app.ports.reads.now().after(remaining).to_string()),
        host: app.host_name.clone(),
        version: app.version.clone(),
    }
}

fn with_cookie(mut response: Response, cookie: &str) -> Result<Response, ApiError> {
    let value = HeaderValue::from_str(cookie)
        .map_err(|_| ApiError::new(Code::Internal, "the cookie is not valid"))?;
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(response)
}
