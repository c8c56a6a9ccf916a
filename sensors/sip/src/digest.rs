//! Computes digest responses (RFC 2617, as RFC 3261, 22.4 uses it): MD5, with `qop=auth` or without. For traffic
//! programs and tests; the sensor only compares what it sees.

use md5::{Digest as _, Md5};

use crate::auth::{Challenge, Credentials, unescaped};

/// What a client puts into its answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The account.
    pub username: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The digest URI, usually the Request-URI.
    pub uri: &'a str,
    /// How often this nonce was used, from 1.
    pub nc: u32,
    /// The client's own nonce.
    pub cnonce: &'a str,
}

/// The `response` value that answers the challenge.
pub fn response(challenge: &Challenge<'_>, answer: &Answer<'_>) -> String {
    let nc = format!("{:08x}", answer.nc);
    let secret = hash(&[
        answer.username.as_bytes(),
        &unescaped(challenge.realm).collect::<Vec<_>>(),
        answer.password.as_bytes(),
    ]);
    let request = hash(&[answer.method.as_bytes(), answer.uri.as_bytes()]);
    if is_auth_offered(challenge) {
        hash(&[
            secret.as_bytes(),
            challenge.nonce,
            nc.as_bytes(),
            answer.cnonce.as_bytes(),
            b"auth",
            request.as_bytes(),
        ])
    } else {
        hash(&[secret.as_bytes(), challenge.nonce, request.as_bytes()])
    }
}

/// The value of the Authorization header that answers the challenge.
pub fn authorization(challenge: &Challenge<'_>, answer: &Answer<'_>) -> String {
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{}\", algorithm=MD5",
        answer.username,
        String::from_utf8_lossy(challenge.realm),
        String::from_utf8_lossy(challenge.nonce),
        answer.uri,
        response(challenge, answer)
    );
    if is_auth_offered(challenge) {
        value.push_str(&format!(", qop=auth, nc={:08x}, cnonce=\"{}\"", answer.nc, answer.cnonce));
    }
    if let Some(opaque) = challenge.opaque {
        value.push_str(&format!(", opaque=\"{}\"", String::from_utf8_lossy(opaque)));
    }
    value
}

/// Whether the credentials prove knowledge of the password for a request of this method.
pub fn is_right(credentials: &Credentials<'_>, password: &str, method: &str) -> bool {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let challenge = Challenge {
        realm: credentials.realm.unwrap_or_default(),
        nonce: credentials.nonce.unwrap_or_default(),
        qop: credentials.qop,
        ..Challenge::default()
    };
    let (username, uri, cnonce) =
        (text(credentials.username), text(credentials.uri), text(credentials.cnonce));
    let nc = credentials.nc.unwrap_or_default();
    let answer = Answer { username: &username, password, method, uri: &uri, nc, cnonce: &cnonce };
    credentials
        .response
        .is_some_and(|given| given.eq_ignore_ascii_case(response(&challenge, &answer).as_bytes()))
}

fn is_auth_offered(challenge: &Challenge<'_>) -> bool {
    let offers = challenge.qop.unwrap_or_default();
    offers.split(|byte| *byte == b',').any(|offer| offer.trim_ascii().eq_ignore_ascii_case(b"auth"))
}

/// The hexadecimal MD5 of the parts joined by colons.
fn hash(parts: &[&[u8]]) -> String {
    Md5::digest(parts.join(&b':')).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_2617: Answer<'_> = Answer {
        username: "Mufasa",
        password: "Circle Of Life",
        method: "GET",
        uri: "/dir/index.html",
        nc: 1,
        cnonce: "0a4f113b",
    };

    fn challenge(qop: Option<&[u8]>) -> Challenge<'_> {
        Challenge {
            realm: b"testrealm@host.com",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            qop,
            ..Challenge::default()
        }
    }

    #[test]
    fn the_example_of_rfc_2617_comes_out() {
        let with_auth = response(&challenge(Some(b"auth,auth-int")), &RFC_2617);
        assert_eq!(with_auth, "6629fae49393a05397450978507c4ef1");
        assert_eq!(response(&challenge(None), &RFC_2617), "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn only_the_right_password_is_right() {
        for qop in [None, Some(&b"auth"[..])] {
            let header = authorization(&challenge(qop), &RFC_2617);
            let credentials = Credentials::read(header.as_bytes()).unwrap();
            assert!(is_right(&credentials, "Circle Of Life", "GET"));
            assert!(!is_right(&credentials, "Circle of Life", "GET"));
            assert!(!is_right(&credentials, "Circle Of Life", "REGISTER"));
        }
    }
}
