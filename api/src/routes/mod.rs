//! The route table: the one place that says which methods and paths exist, who may call them and what is recorded.
//!
//! warp takes a request apart; this table finds its handler. warp's own way, rejections that compete for the answer,
//! gives wrong status codes as routes grow. A route that is not in the table does not exist, and one that is in it is
//! guarded before its handler runs.

mod attacks;
mod blocks;
mod consistency;
mod explain;
mod hosts;
mod membership;
mod projections;
mod session;
mod settings;
mod summary;

use std::sync::Arc;

use ::projections::read::ReadModels;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use warp::Filter;
use warp::reply::Response;

use crate::app::App;
use crate::auth::{self, Principal};
use crate::error::{ApiError, Code};
use crate::request::{Body, Connection, Request, RequestId};
use crate::{console, events, write};

/// Before every path of the table.
pub(crate) const PREFIX: &str = "/api/v1";
/// The description of this API: kept by hand, held against the table by a test.
const OPENAPI: &str = include_str!("../../golden/openapi.json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A method of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    /// The method's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Whether a route with this method may change anything.
    const fn is_safe(self) -> bool {
        match self {
            Self::Get => true,
            Self::Post | Self::Put | Self::Delete => false,
        }
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody: the way in.
    Anybody,
    /// The administrator: by session, or as this host's command line.
    Administrator,
    /// This host's command line alone.
    LocalToken,
}

/// What is recorded of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audit {
    /// Nothing: it only reads.
    Nothing,
    /// A line in this host's log: it changes who is let in, on this host only.
    HostLog,
    /// An event in the cluster's log, which names the caller.
    Event,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    SignIn,
    ShowSession,
    SignOut,
    IssuePassword,
    Summary,
    ListBlocks,
    BlockAddress,
    BlockAddresses,
    Unblock,
    ListAttacks,
    Explain,
    ListHosts,
    ShowCluster,
    ListJoinTokens,
    IssueJoinToken,
    RevokeJoinToken,
    RemoveHost,
    Transfer,
    ListProjections,
    RebuildProjections,
    RotateAuthority,
    RetireAuthority,
    ShowSettings,
    ChangeSettings,
    ChangePreset,
    Events,
    OpenApi,
}

impl Endpoint {
    /// Whether the answer is a fold of the log: then the caller may say how fresh it must be, and is told how fresh it is.
    pub(crate) const fn shows_the_log(self) -> bool {
        match self {
            Self::Summary
            | Self::ListBlocks
            | Self::ListAttacks
            | Self::Explain
            | Self::ListHosts
            | Self::ShowCluster
            | Self::ListJoinTokens
            | Self::ListProjections
            | Self::ShowSettings => true,
            Self::SignIn
            | Self::ShowSession
            | Self::SignOut
            | Self::IssuePassword
            | Self::BlockAddress
            | Self::BlockAddresses
            | Self::Unblock
            | Self::IssueJoinToken
            | Self::RevokeJoinToken
            | Self::RemoveHost
            | Self::Transfer
            | Self::RebuildProjections
            | Self::RotateAuthority
            | Self::RetireAuthority
            | Self::ChangeSettings
            | Self::ChangePreset
            | Self::Events
            | Self::OpenApi => false,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// Below [`PREFIX`]; a segment in braces takes any value.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) audit: Audit,
    pub(crate) endpoint: Endpoint,
}

const fn route(verb: Verb, path: &'static str, access: Access, audit: Audit, endpoint: Endpoint) -> Route {
    Route { verb, path, access, audit, endpoint }
}

/// Every route of the API.
pub(crate) const ROUTES: [Route; 27] = [
    route(Verb::Post, "/session", Access::Anybody, Audit::HostLog, Endpoint::SignIn),
    route(Verb::Get, "/session", Access::Administrator, Audit::Nothing, Endpoint::ShowSession),
    route(Verb::Delete, "/session", Access::Administrator, Audit::HostLog, Endpoint::SignOut),
    route(Verb::Post, "/one-time-passwords", Access::LocalToken, Audit::HostLog, Endpoint::IssuePassword),
    route(Verb::Get, "/summary", Access::Administrator, Audit::Nothing, Endpoint::Summary),
    route(Verb::Get, "/blocks", Access::Administrator, Audit::Nothing, Endpoint::ListBlocks),
    route(Verb::Post, "/blocks", Access::Administrator, Audit::Event, Endpoint::BlockAddress),
    route(Verb::Post, "/blocks/batch", Access::Administrator, Audit::Event, Endpoint::BlockAddresses),
    route(Verb::Delete, "/blocks/{address}", Access::Administrator, Audit::Event, Endpoint::Unblock),
    route(Verb::Get, "/attacks", Access::Administrator, Audit::Nothing, Endpoint::ListAttacks),
    route(Verb::Get, "/ip/{address}", Access::Administrator, Audit::Nothing, Endpoint::Explain),
    route(Verb::Get, "/hosts", Access::Administrator, Audit::Nothing, Endpoint::ListHosts),
    route(Verb::Get, "/cluster", Access::Administrator, Audit::Nothing, Endpoint::ShowCluster),
    route(Verb::Post, "/cluster/transfer", Access::Administrator, Audit::HostLog, Endpoint::Transfer),
    route(Verb::Post, "/authorities", Access::Administrator, Audit::Event, Endpoint::RotateAuthority),
    route(
        Verb::Delete,
        "/authorities/{authority}",
        Access::Administrator,
        Audit::Event,
        Endpoint::RetireAuthority,
    ),
    route(Verb::Delete, "/hosts/{host}", Access::Administrator, Audit::Event, Endpoint::RemoveHost),
    route(Verb::Get, "/join-tokens", Access::Administrator, Audit::Nothing, Endpoint::ListJoinTokens),
    route(Verb::Post, "/join-tokens", Access::Administrator, Audit::Event, Endpoint::IssueJoinToken),
    route(
        Verb::Delete,
        "/join-tokens/{token}",
        Access::Administrator,
        Audit::Event,
        Endpoint::RevokeJoinToken,
    ),
    route(Verb::Get, "/projections", Access::Administrator, Audit::Nothing, Endpoint::ListProjections),
    route(
        Verb::Post,
        "/projections/rebuild",
        Access::Administrator,
        Audit::HostLog,
        Endpoint::RebuildProjections,
    ),
    route(Verb::Get, "/settings/firewall", Access::Administrator, Audit::Nothing, Endpoint::ShowSettings),
    route(Verb::Put, "/settings/firewall", Access::Administrator, Audit::Event, Endpoint::ChangeSettings),
    route(
        Verb::Put,
        "/settings/firewall/preset",
        Access::Administrator,
        Audit::Event,
        Endpoint::ChangePreset,
    ),
    route(Verb::Get, "/events", Access::Administrator, Audit::Nothing, Endpoint::Events),
    route(Verb::Get, "/openapi.json", Access::Administrator, Audit::Nothing, Endpoint::OpenApi),
];

/// Everything the server answers, as one warp filter.
pub(crate) fn filter(app: Arc<App>) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone {
    let limits = app.limits;
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::any()
        .map(move || Arc::clone(&app))
        .and(warp::ext::get::<Connection>())
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream().map(move |stream| Body::new(stream, &limits)))
        .then(|app: Arc<App>, connection, method, path: warp::path::FullPath, query, headers, body| {
            let id = app.ids.next();
            let path = path.as_str().to_owned();
            answer(app, Request { id, method, path, query, headers, connection, body })
        })
        .boxed()
}

async fn answer(app: Arc<App>, request: Request) -> Response {
    let id = request.id.clone();
    let is_api = request.path == "/api" || request.path.starts_with("/api/");
    let result =
        match auth::check_host(&request.headers, &app.allowed_hosts) {
            Err(error) => Err(error),
            Ok(()) if is_api => dispatch(app, request).await,
            Ok(()) if matches!(request.method, Method::GET | Method::HEAD) => {
                console::answer(&request.path, &request.headers)
            }
            Ok(()) => Err(ApiError::new(Code::MethodNotAllowed, "files can only be read")
                .allowing("GET, HEAD".to_owned())),
        };
    let is_problem = result.is_err();
    let mut response = result.unwrap_or_else(|error| problem(error, &id));
    if is_api || is_problem {
        seal(response.headers_mut());
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn problem(error: ApiError, id: &RequestId) -> Response {
    tracing::debug!(request_id = %id, code = error.code(), "request refused");
    error.into_response(id)
}

/// Answers of the API are for the one who asked, now, and are no pages.
fn seal(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
}

async fn dispatch(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    let (route, parameter) = find(&request)?;
    let caller = admit(&app, route, &request)?;
    record(route, &request, caller.as_ref());
    let Some(caller) = caller else { return session::sign_in(&app, request).await };
    if !route.endpoint.shows_the_log() {
        return handle(app, (route, caller, parameter), request).await;
    }
    let mut request = request;
    consistency::wait(&app, &mut request).await?;
    let stamps = consistency::stamps(&app);
    let mut response = handle(app, (route, caller, parameter), request).await?;
    response.headers_mut().extend(stamps);
    Ok(response)
}

async fn handle(
    app: Arc<App>,
    (route, caller, parameter): (&Route, Principal, String),
    request: Request,
) -> Result<Response, ApiError> {
    match route.endpoint {
        Endpoint::SignIn => session::sign_in(&app, request).await,
        Endpoint::ShowSession => session::show(&app, &caller),
        Endpoint::SignOut => session::sign_out(&app, &caller),
        Endpoint::IssuePassword => session::issue_password(app).await,
        Endpoint::Summary => summary::show(&app),
        Endpoint::ListBlocks => blocks::list(&app, request).await,
        Endpoint::BlockAddress => blocks::block(&app, &caller, request).await,
        Endpoint::BlockAddresses => blocks::block_all(&app, &caller, request).await,
        Endpoint::Unblock => blocks::unblock(&app, &caller, &parameter, request).await,
        Endpoint::ListAttacks => attacks::list(&app, request).await,
        Endpoint::Explain => explain::show(&app, &parameter, &request),
        Endpoint::ListHosts => hosts::list(&app),
        Endpoint::ShowCluster => hosts::cluster(&app, request).await,
        Endpoint::ListJoinTokens => membership::list(&app),
        Endpoint::IssueJoinToken => membership::issue(&app, &caller, request).await,
        Endpoint::RevokeJoinToken => membership::revoke(&app, &caller, &parameter, request).await,
        Endpoint::RemoveHost => membership::remove(&app, &caller, &parameter, request).await,
        Endpoint::RotateAuthority => membership::rotate(&app, &caller).await,
        Endpoint::RetireAuthority => membership::retire(&app, &caller, &parameter, request).await,
        Endpoint::Transfer => membership::transfer(&app, &caller, request).await,
        Endpoint::ListProjections => projections::list(&app).await,
        Endpoint::RebuildProjections => projections::rebuild(&app),
        Endpoint::ShowSettings => settings::show(&app),
        Endpoint::ChangeSettings => settings::change(&app, &caller, request).await,
        Endpoint::ChangePreset => settings::change_to_preset(&app, &caller, request).await,
        Endpoint::Events => events::stream(&app, &caller, &request),
        Endpoint::OpenApi => Ok(openapi()),
    }
}

/// The row for a request, and the value of its braces.
fn find(request: &Request) -> Result<(&'static Route, String), ApiError> {
    let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let matching: Vec<(&Route, String)> =
        ROUTES.iter().filter_map(|route| Some((route, matches(route.path, path)?))).collect();
    if matching.is_empty() {
        return Err(ApiError::new(Code::NotFound, "no route has this path; /api/v1/openapi.json lists them"));
    }
    let allowed: Vec<&str> = matching.iter().map(|(route, _)| route.verb.name()).collect();
    let allowed = allowed.join(", ");
    let mut fitting = matching.into_iter().filter(|(route, _)| route.verb.name() == request.method.as_str());
    fitting.next().ok_or_else(|| {
        ApiError::new(Code::MethodNotAllowed, format!("this path takes {allowed}")).allowing(allowed)
    })
}

/// The value of the pattern's braces (empty if it has none), or `None` if the path is another one.
fn matches(pattern: &str, path: &str) -> Option<String> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut value = String::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(value),
            (Some(segment), Some(text)) if segment.starts_with('{') && !text.is_empty() => {
                value = percent_decode_str(text).decode_utf8().ok()?.into_owned();
            }
            (Some(segment), Some(text)) if segment == text => {}
            (Some(_) | None, Some(_) | None) => return None,
        }
    }
}

/// Lets the caller through to a route, or says why not.
fn admit(app: &App, route: &Route, request: &Request) -> Result<Option<Principal>, ApiError> {
    if !route.verb.is_safe() {
        auth::check_origin(&request.headers)?;
    }
    if route.access == Access::Anybody {
        return Ok(None);
    }
    let caller = app.auth.identify(&request.headers, app.clock()).ok_or_else(unauthenticated)?;
    match &caller {
        Principal::Session { session, .. } if !route.verb.is_safe() => {
            auth::check_token(&request.headers, session)?
        }
        Principal::Session { .. } | Principal::LocalToken => {}
    }
    if let Principal::Session { key, session: _ } = &caller {
        app.auth.used_from(key, request.address());
    }
    match (route.access, &caller) {
        (Access::LocalToken, Principal::Session { .. }) => {
            Err(ApiError::new(Code::LocalOnly, "run the palisade command on the host itself"))
        }
        (Access::Anybody | Access::Administrator, _) | (Access::LocalToken, Principal::LocalToken) => {
            Ok(Some(caller))
        }
    }
}

fn unauthenticated() -> ApiError {
    ApiError::new(
        Code::Unauthenticated,
        "sign in at /api/v1/session, or send this host's local token as a bearer token",
    )
}

fn record(route: &Route, request: &Request, caller: Option<&Principal>) {
    let (request_id, method, caller) =
        (&request.id, route.verb.name(), caller.map_or("nobody", Principal::name));
    match route.audit {
        Audit::Nothing => tracing::trace!(%request_id, method, route = route.path, caller, "read"),
        Audit::HostLog => {
            let from = request.address();
            tracing::info!(%request_id, method, route = route.path, caller, %from, "access to this host");
        }
        Audit::Event => tracing::debug!(%request_id, method, route = route.path, caller, "write"),
    }
}

fn openapi() -> Response {
    let mut response = Response::new(OPENAPI.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer in JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, ApiError> {
    let text = serde_json::to_string(value).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "write an answer as json");
        ApiError::new(Code::Internal, "the answer could not be written")
    })?;
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// What `read` makes of the read models as they are now.
pub(crate) fn view<T>(app: &App, read: impl FnOnce(&ReadModels) -> T) -> Result<T, ApiError> {
    let (mut read, mut made) = (Some(read), None);
    app.ports.reads.with_views(&mut |views| made = read.take().map(|read| read(views)));
    made.ok_or_else(|| {
        ApiError::new(Code::Busy, "nothing can be read now; try again").retry_after(write::RETRY_AFTER)
    })
}
