//! The one error of the HTTP API: a stable code for programs, a sentence for people, as `application/problem+json`.
//!
//! | status | means here |
//! |---|---|
//! | 400 | the request cannot be read: query, path or JSON |
//! | 401 | no credentials, or none that are still good |
//! | 403 | the credentials are good, the request is not allowed with them (cross-site, local only) |
//! | 404, 405 | no such route or thing; the route has other methods |
//! | 409 | the cluster's state refuses it: a rule says no, or the caller would lock himself out |
//! | 412, 428 | `If-Match` does not hold, or is missing |
//! | 422 | the request was read, a field's value is not allowed |
//! | 429 | too many attempts; `Retry-After` says when to come back |
//! | 507 | the leader's disk is nearly full: only what is necessary is written |
//! | 503 | no leader, overload, or the outcome is unknown: repeat with the same `Idempotency-Key` |

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use projections::decide::Refusal;
use serde_json::{Map, Value, json};
use warp::reply::Response;

use crate::request::RequestId;

/// The media type of every error (RFC 9457).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// What went wrong, for programs. A code once published keeps its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The text in the problem's `code`.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The problem's `title`.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// A query parameter, path segment or header cannot be read.
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "A parameter cannot be read";
    /// The body is not the JSON that the route takes.
    InvalidJson = "invalid_json", BAD_REQUEST, "The body cannot be read";
    /// The body did not come in time, or broke off.
    IncompleteBody = "incomplete_body", REQUEST_TIMEOUT, "The body did not arrive";
    /// No credentials, or none that are still good.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Sign in first";
    /// The password is wrong, spent or was never given out.
    WrongPassword = "wrong_password", UNAUTHORIZED, "That password does not open this host";
    /// A write by cookie without the session's token, or from another site.
    CrossSite = "cross_site", FORBIDDEN, "This request did not come from the console";
    /// Only the host's own command line may do it.
    LocalOnly = "local_only", FORBIDDEN, "Only this host's command line may do that";
    /// There is no such route or thing.
    NotFound = "not_found", NOT_FOUND, "There is nothing here";
    /// The route exists, with other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This address takes other methods";
    /// The body is over the limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is not JSON by its content type, or is encoded.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body must be plain JSON";
    /// The `Host` header names somebody else.
    UnknownHost = "unknown_host", MISDIRECTED_REQUEST, "This server has another name";
    /// It would cut the caller off; `confirm=true` does it all the same.
    WouldLockOut = "would_lock_out", CONFLICT, "That would lock you out";
    /// A rule of the cluster says no; the problem carries the rule's own code.
    Refused = "refused", CONFLICT, "The cluster refuses that";
    /// `If-Match` names an older version.
    ChangedMeanwhile = "changed_meanwhile", PRECONDITION_FAILED, "Somebody changed it meanwhile";
    /// `If-Match` is missing.
    VersionRequired = "version_required", PRECONDITION_REQUIRED, "Say which version you saw";
    /// A field's value is not allowed.
    InvalidField = "invalid_field", UNPROCESSABLE_ENTITY, "A value is not allowed";
    /// Too many attempts to sign in.
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "Too many attempts";
    /// Too many event streams.
    TooManyStreams = "too_many_streams", TOO_MANY_REQUESTS, "Too many event streams";
    /// There is no leader to decide.
    NoLeader = "no_leader", SERVICE_UNAVAILABLE, "The cluster has no leader";
    /// It may or may not have taken effect.
    OutcomeUnknown = "outcome_unknown", SERVICE_UNAVAILABLE, "It is not known whether that took effect";
    /// The leader's disk is nearly full, and this can wait.
    DiskLow = "disk_low", INSUFFICIENT_STORAGE, "The leader's disk is nearly full";
    /// Overload.
    Busy = "busy", SERVICE_UNAVAILABLE, "This host is busy";
    /// This host has not applied the index that was asked for.
    NotCaughtUp = "not_caught_up", SERVICE_UNAVAILABLE, "This host is behind";
    /// No quorum confirmed a linearizable read.
    NotConfirmed = "not_confirmed", SERVICE_UNAVAILABLE, "No majority confirmed this read";
    /// Our own fault; the request id leads to the log.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong here";
}

/// A request that was not carried out, and what the caller is told about it.
/// Boxed, since every handler's result carries it and almost none is one.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Problem>);

#[derive(Debug)]
struct Problem {
    code: Cow<'static, str>,
    status: StatusCode,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    must_close: bool,
}

impl ApiError {
    /// An error with a sentence for people: what is wrong, why, and what to do.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            code: Cow::Borrowed(code.text()),
            status: code.status(),
            title: code.title(),
            detail: detail.into(),
            members: Map::new(),
            retry_after: None,
            allow: None,
            must_close: false,
        }))
    }

    /// A rule of the cluster says no: the text is the rejection's own, and so is the code unless a value is to blame.
    pub(crate) fn rejected(refusal: &Refusal) -> Self {
        let Refusal { code, field, detail } = refusal;
        let error = match (code.as_str(), field) {
            ("version_conflict", _) => Self::new(Code::ChangedMeanwhile, detail),
            ("disk_low", _) => Self::new(Code::DiskLow, detail),
            (_, Some(field)) => Self::new(Code::InvalidField, detail).with("field", field.as_str()),
            (_, None) => {
                let mut refused = Self::new(Code::Refused, detail);
                refused.0.code = Cow::Owned(code.clone());
                refused
            }
        };
        error.with("rejection", code.as_str())
    }

    /// A value that is not allowed: the field, the reason, and what to do.
    pub(crate) fn invalid_field(field: &str, reason: impl Into<String>) -> Self {
        Self::new(Code::InvalidField, format!("{field}: {}", reason.into())).with("field", field)
    }

    /// A parameter that cannot be read.
    pub(crate) fn invalid_parameter(name: &str, reason: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, format!("{name}: {}", reason.into())).with("parameter", name)
    }

    /// Adds a member to the problem object.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Names the methods that the route has.
    #[must_use]
    pub(crate) fn allowing(mut self, methods: String) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// Ends the connection after the answer: its next bytes may be the rest of a refused body.
    #[must_use]
    pub(crate) fn closing(mut self) -> Self {
        self.0.must_close = true;
        self
    }

    /// What went wrong, for programs: a [`Code`]'s text, or a rejection's code.
    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    /// What went wrong, for people.
    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The answer on the wire.
    pub(crate) fn into_response(self, id: &RequestId) -> Response {
        let Problem { code, status, title, detail, members, retry_after, allow, must_close } = *self.0;
        let mut problem = json!({
            "type": format!("urn:palisade:problem:{}", code),
            "title": title,
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
            "request_id": id.as_str(),
        });
        if let Some(object) = problem.as_object_mut() {
            object.extend(members);
        }
        let mut response = Response::new(problem.to_string().into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(methods) = allow.and_then(|methods| HeaderValue::from_str(&methods).ok()) {
            headers.insert(ALLOW, methods);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"palisade\""));
        }
        if must_close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Rounded up, so that whoever waits that long is not early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() != 0)
}
