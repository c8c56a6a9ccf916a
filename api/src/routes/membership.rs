//! Who belongs to the cluster: join tokens, hosts that are let go, and who leads.

use http::StatusCode;
use log_format::event::HostRole;
use log_format::ids::{HostId, JoinTokenId};
use projections::decide::CommandBody;
use warp::reply::Response;

use super::{json, view};
use crate::app::App;
use crate::auth::Principal;
use crate::dto::Written;
use crate::dto::host::hex;
use crate::dto::list::List;
use crate::dto::membership::{JoinToken, PostJoinToken, PostTransfer, Rotated, Transferred};
use crate::error::{ApiError, Code};
use crate::ports::SubmitError;
use crate::request::Request;
use crate::write::{Asked, RETRY_AFTER, Wish, actor};

/// `GET /join-tokens`.
pub(super) fn list(app: &App) -> Result<Response, ApiError> {
    let now = app.ports.reads.now();
    let found = view(app, |views| {
        let items: Vec<_> = views.tokens.open(now).map(|(token, open)| JoinToken::new(token, open)).collect();
        List { total: items.len(), items, as_of: views.applied().get(), now: now.to_string() }
    })?;
    json(StatusCode::OK, &found)
}

/// `POST /join-tokens`.
pub(super) async fn issue(app: &App, caller: &Principal, request: Request) -> Result<Response, ApiError> {
    let Request { method, path, query, headers, body, .. } = request;
    let (bytes, wanted): (_, PostJoinToken) = Request::json(&headers, body).await?;
    let token = parse_token("id", &wanted.id)?;
    let verifier = parse_verifier(&wanted.verifier)?;
    let role = match wanted.role.as_str() {
        "voter-capable" => HostRole::VoterCapable,
        "sensor-only" => HostRole::SensorOnly,
        _ => return Err(ApiError::invalid_field("role", "choose voter-capable or sensor-only")),
    };
    let asked = Asked { method: &method, path: &path, query: &query, body: &bytes };
    let wish = Wish::new(app, caller, &headers, asked)?;
    let (seconds, by) = (Some(wanted.seconds), actor(caller));
    let issue = CommandBody::IssueJoinToken { token, verifier, role, seconds, by };
    let accepted = wish.submit(app, issue).await?;
    json(StatusCode::CREATED, &Written { log_index: accepted.index.get() })
}

/// `DELETE /join-tokens/{token}`.
pub(super) async fn revoke(
    app: &App,
    caller: &Principal,
    token: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let token = parse_token("token", token)?;
    let by = actor(caller);
    let wanted = CommandBody::RevokeJoinToken { token, by };
    submit(app, caller, request, wanted).await
}

/// `DELETE /hosts/{host}`.
pub(super) async fn remove(
    app: &App,
    caller: &Principal,
    host: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let host = parse_host("host", host)?;
    let wanted = CommandBody::RemoveHost { host, by: actor(caller) };
    submit(app, caller, request, wanted).await
}

/// `POST /authorities`: the leader makes the next one.
pub(super) async fn rotate(app: &App, caller: &Principal) -> Result<Response, ApiError> {
    let made = app.ports.submit.rotate_authority(actor(caller)).await;
    let made = made.map_err(|error| match error {
        SubmitError::Rejected(refusal) => ApiError::rejected(&refusal),
        SubmitError::NoLeader { .. } => {
            ApiError::new(Code::NoLeader, "nobody can make one now").retry_after(RETRY_AFTER)
        }
        SubmitError::Unknown | SubmitError::Busy => {
            let advice = "look at GET /api/v1/cluster whether there is a new authority; if not, try again";
            ApiError::new(Code::Busy, advice).retry_after(RETRY_AFTER)
        }
    })?;
    json(StatusCode::CREATED, &Rotated { authority: hex(&made) })
}

/// `DELETE /authorities/{authority}`.
pub(super) async fn retire(
    app: &App,
    caller: &Principal,
    authority: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let trusted = app.ports.reads.cluster().authorities;
    let advice = "no authority with that key is trusted; GET /api/v1/cluster lists them";
    let key_hash = trusted.into_iter().find(|trusted| hex(trusted) == authority);
    let key_hash = key_hash.ok_or_else(|| ApiError::invalid_field("authority", advice))?;
    submit(app, caller, request, CommandBody::RetireAuthority { key_hash, by: actor(caller) }).await
}

/// `POST /cluster/transfer`. Answers once the other host leads, or nobody can make it.
pub(super) async fn transfer(app: &App, caller: &Principal, request: Request) -> Result<Response, ApiError> {
    let Request { method, path, query, headers, body, .. } = request;
    let (bytes, PostTransfer { to }) = Request::json(&headers, body).await?;
    let to = parse_host("to", &to)?;
    let asked = Asked { method: &method, path: &path, query: &query, body: &bytes };
    Wish::new(app, caller, &headers, asked)?.submit(app, CommandBody::TransferLeadership { to }).await?;
    json(StatusCode::OK, &Transferred { leader: to.to_string() })
}

async fn submit(
    app: &App,
    caller: &Principal,
    request: Request,
    wanted: CommandBody,
) -> Result<Response, ApiError> {
    let Request { method, path, query, headers, .. } = request;
    let asked = Asked { method: &method, path: &path, query: &query, body: &[] };
    let accepted = Wish::new(app, caller, &headers, asked)?.submit(app, wanted).await?;
    json(StatusCode::OK, &Written { log_index: accepted.index.get() })
}

fn parse_token(field: &str, text: &str) -> Result<JoinTokenId, ApiError> {
    let advice = "it is no token's id; write its 32 hexadecimal digits";
    JoinTokenId::parse(text).ok_or_else(|| ApiError::invalid_field(field, advice))
}

fn parse_verifier(text: &str) -> Result<[u8; 32], ApiError> {
    let halves =
        text.split_at_checked(32).map(|(one, two)| (JoinTokenId::parse(one), JoinTokenId::parse(two)));
    let Some((Some(one), Some(two))) = halves else {
        return Err(ApiError::invalid_field("verifier", "it is not 64 hexadecimal digits"));
    };
    let mut verifier = [0; 32];
    verifier.iter_mut().zip(one.get().into_iter().chain(two.get())).for_each(|(to, from)| *to = from);
    Ok(verifier)
}

fn parse_host(field: &str, text: &str) -> Result<HostId, ApiError> {
    let advice = "it is no host's id; GET /api/v1/hosts lists them";
    let parsed = text.parse().ok().filter(|id| *id != 0);
    parsed.map(HostId::new).ok_or_else(|| ApiError::invalid_field(field, advice))
}
