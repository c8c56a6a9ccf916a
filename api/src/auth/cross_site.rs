//! Requests that another site makes a browser send: refused by three signs that no page can forge.

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use subtle::ConstantTimeEq;

use super::LoginSession;
use crate::error::{ApiError, Code};

/// The header in which the console repeats the session's token.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a write that a browser says comes from elsewhere. Programs send neither header.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(site) = text(headers, &SEC_FETCH_SITE)
        && !matches!(site, "same-origin" | "none")
    {
        return Err(cross_site("the browser says that another site sent it"));
    }
    if headers.contains_key(ORIGIN) && !has_own_origin(headers) {
        return Err(cross_site("its Origin is not this server"));
    }
    Ok(())
}

/// Refuses a write by cookie that does not repeat the session's token.
pub(crate) fn check_token(headers: &HeaderMap, session: &LoginSession) -> Result<(), ApiError> {
    let token = text(headers, &CSRF_HEADER).unwrap_or_default();
    if bool::from(token.as_bytes().ct_eq(session.csrf_token.as_bytes())) {
        return Ok(());
    }
    Err(cross_site("send the session's csrf_token in the header x-csrf-token"))
}

/// Refuses a request for another name: without this, a name that an attacker points at this address would be the same
/// origin as ours. An empty list allows every name.
pub(crate) fn check_host(headers: &HeaderMap, allowed: &[String]) -> Result<(), ApiError> {
    let host = text(headers, &HOST).unwrap_or_default();
    if allowed.is_empty() || allowed.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(ApiError::new(Code::UnknownHost, "use one of the names in this host's configuration"))
}

fn has_own_origin(headers: &HeaderMap) -> bool {
    let authority =
        text(headers, &ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    match (authority, text(headers, &HOST)) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        (_, None) | (None, _) => false,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    // Two values would let a proxy and this server each believe another one.
    if values.next().is_some() { Some("") } else { Some(first.to_str().unwrap_or_default()) }
}

fn cross_site(why: &str) -> ApiError {
    ApiError::new(Code::CrossSite, why)
}
