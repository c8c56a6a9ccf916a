//! The console's files, embedded in the binary. It knows nothing of the API beside it.
//!
//! Every path that is neither under `/api` nor under `/assets` is the console's own affair and gets its page, also
//! `/ip/45.143.9.131`, which only looks like a file.

use std::borrow::Cow;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, StatusCode};
use rust_embed::{Embed, EmbeddedFile};
use warp::reply::Response;

use crate::error::{ApiError, Code};

/// What the page may do: load from here, talk to here, be framed by nobody.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types svelte-trusted-html";
/// Beside the policy, on every file.
const HEADERS: [(HeaderName, &str); 5] = [
    (http::header::CONTENT_SECURITY_POLICY, POLICY),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (http::header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];
/// Names under `/assets/` carry a hash of their content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Everything else is asked for again, and mostly answered with 304.
const ASK_AGAIN: &str = "no-cache";
/// Shown when the binary was built without the console.
const PLACEHOLDER: &str = include_str!("console/placeholder.html");

#[derive(Embed)]
#[folder = "console/dist"]
struct Dist;

/// How a file was compressed before it was embedded, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

impl Encoding {
    const ALL: [Self; 3] = [Self::Brotli, Self::Gzip, Self::Identity];

    const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
            Self::Identity => "",
        }
    }
}

/// Answers a GET or HEAD of anything outside `/api`.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    serve(&Dist::get, path, headers)
}

/// Finds a file by its path below `dist`.
type Files = dyn Fn(&str) -> Option<EmbeddedFile>;

fn serve(files: &Files, path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let name = path.trim_start_matches('/');
    let is_asset = path.starts_with("/assets/");
    if let Some(found) = find(files, name, headers) {
        return Ok(respond(found, name, if is_asset { FOR_EVER } else { ASK_AGAIN }, headers));
    }
    if is_asset {
        return Err(ApiError::new(
            Code::NotFound,
            "no such file; perhaps a newer version is installed: reload the page",
        ));
    }
    match find(files, "index.html", headers) {
        Some(page) => Ok(respond(page, "index.html", ASK_AGAIN, headers)),
        None => Ok(placeholder()),
    }
}

fn find(files: &Files, name: &str, headers: &HeaderMap) -> Option<(EmbeddedFile, Encoding)> {
    // A compressed twin is a form of its file, not a file to ask for.
    let is_twin = [Encoding::Brotli, Encoding::Gzip].iter().any(|encoding| name.ends_with(encoding.suffix()));
    if name.is_empty() || is_twin {
        return None;
    }
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let acceptable = Encoding::ALL.into_iter().filter(|encoding| accepts(accepted, *encoding));
    let mut forms =
        acceptable.filter_map(|encoding| Some((files(&[name, encoding.suffix()].concat())?, encoding)));
    forms.next()
}

/// Whether `Accept-Encoding` takes this coding; `q=0` means no. Identity is always good: we have no 406 to give.
fn accepts(header: &str, encoding: Encoding) -> bool {
    let is_named = header.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding.name()));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        is_it && weight.is_ok_and(|weight| 0.0 < weight)
    });
    is_named || encoding == Encoding::Identity
}

fn respond(
    (file, encoding): (EmbeddedFile, Encoding),
    name: &str,
    cache: &'static str,
    asked: &HeaderMap,
) -> Response {
    let tag = entity_tag(&file);
    let mut response = Response::new(match file.data {
        Cow::Borrowed(bytes) => bytes.into(),
        Cow::Owned(bytes) => bytes.into(),
    });
    if is_known(asked, &tag) {
        response = Response::new(Vec::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if encoding != Encoding::Identity {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    guard(headers);
    response
}

/// Every form of a file has its own bytes, hence its own tag.
fn entity_tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let known = asked.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
}

fn placeholder() -> Response {
    let mut response = Response::new(PLACEHOLDER.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type("index.html")));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(ASK_AGAIN));
    guard(headers);
    response
}

fn guard(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// By the name's ending; the browser is told not to guess.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Embed)]
    #[folder = "src/tests/dist"]
    struct Fixture;

    fn get(path: &str, headers: &[(HeaderName, &'static str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        serve(&Fixture::get, path, &headers.collect()).unwrap()
    }

    #[test]
    fn the_best_accepted_coding_is_sent() {
        let path = "/assets/app-1a2b3c.js";
        let mut tags = std::collections::BTreeSet::new();
        for (accepted, coding) in [
            ("gzip, deflate, br", Some("br")),
            ("gzip;q=1.0, br;q=0", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("br;q=0.000, zstd", None),
            ("", None),
        ] {
            let response = get(path, &[(ACCEPT_ENCODING, accepted)]);
            assert_eq!(
                response.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()),
                coding,
                "{accepted}"
            );
            assert_eq!(response.headers()[CACHE_CONTROL], FOR_EVER);
            assert_eq!(response.headers()[VARY], "accept-encoding");
            assert_eq!(response.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
            tags.insert(response.headers()[ETAG].clone().to_str().unwrap().to_owned());
        }
        assert_eq!(tags.len(), 3, "each coding has its own tag");
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let first = get("/theme.js", &[]);
        assert_eq!(
            (first.status(), &first.headers()[CACHE_CONTROL]),
            (StatusCode::OK, &HeaderValue::from_static(ASK_AGAIN))
        );
        let tag: &'static str = first.headers()[ETAG].to_str().unwrap().to_owned().leak();
        let weak: &'static str = format!("\"x\", W/{tag}").leak();
        for known in [tag, weak] {
            let again = get("/theme.js", &[(IF_NONE_MATCH, known)]);
            assert_eq!(
                (again.status(), &again.headers()[ETAG]),
                (StatusCode::NOT_MODIFIED, &first.headers()[ETAG])
            );
        }
        assert_eq!(get("/theme.js", &[(IF_NONE_MATCH, "\"other\"")]).status(), StatusCode::OK);
    }

    #[test]
    fn only_assets_can_be_missing() {
        for path in ["/", "/ip/45.143.9.131", "/no/such.js", "/assets", "/theme.js.br"] {
            assert_eq!(get(path, &[]).headers()[CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
        }
        for path in ["/assets/", "/assets/gone.js", "/assets/app-1a2b3c.js.br"] {
            let error = serve(&Fixture::get, path, &HeaderMap::new()).unwrap_err();
            assert_eq!(error.code(), "not_found", "{path}");
        }
    }

    #[test]
    fn a_binary_without_console_says_how_to_build_it() {
        let response = serve(&|_| None, "/blocks", &HeaderMap::new()).unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(PLACEHOLDER.contains("npm ci"));
    }
}
