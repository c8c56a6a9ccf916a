//! Digest credentials and challenges (RFC 3261, 22; RFC 8760).

use crate::scan;

/// What a client answers to a challenge. A value that is missing is `None`; quoted values come without their quotes,
/// escapes as they stand (see [`unescaped`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the digest parameter of the same name")]
pub struct Credentials<'a> {
    pub username: Option<&'a [u8]>,
    pub realm: Option<&'a [u8]>,
    pub nonce: Option<&'a [u8]>,
    pub uri: Option<&'a [u8]>,
    pub response: Option<&'a [u8]>,
    pub cnonce: Option<&'a [u8]>,
    pub qop: Option<&'a [u8]>,
    pub algorithm: Option<&'a [u8]>,
    /// Hexadecimal; restarts at 1 with each nonce.
    pub nc: Option<u32>,
}

impl<'a> Credentials<'a> {
    /// Reads the value of an Authorization header; `None` if it is of another scheme than Digest.
    pub(crate) fn read(value: &'a [u8]) -> Option<Self> {
        let mut credentials = Self::default();
        for (name, value) in (Parameters { rest: digest_parameters(value)? }) {
            match name {
                Name::Username => credentials.username = Some(value),
                Name::Realm => credentials.realm = Some(value),
                Name::Nonce => credentials.nonce = Some(value),
                Name::Uri => credentials.uri = Some(value),
                Name::Response => credentials.response = Some(value),
                Name::Cnonce => credentials.cnonce = Some(value),
                Name::Qop => credentials.qop = Some(value),
                Name::Algorithm => credentials.algorithm = Some(value),
                Name::Nc => credentials.nc = hexadecimal(value),
                Name::Opaque | Name::Stale | Name::Other => {}
            }
        }
        Some(credentials)
    }
}

/// What a server asks. Values as in [`Credentials`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the digest parameter of the same name")]
pub struct Challenge<'a> {
    pub realm: &'a [u8],
    pub nonce: &'a [u8],
    /// A list such as `auth,auth-int`.
    pub qop: Option<&'a [u8]>,
    /// MD5 if it is missing.
    pub algorithm: Option<&'a [u8]>,
    pub opaque: Option<&'a [u8]>,
    /// The password was right, the nonce too old.
    pub stale: bool,
}

impl<'a> Challenge<'a> {
    /// Reads the value of a WWW-Authenticate header; `None` if it is of another scheme than Digest.
    pub(crate) fn read(value: &'a [u8]) -> Option<Self> {
        let mut challenge = Self::default();
        for (name, value) in (Parameters { rest: digest_parameters(value)? }) {
            match name {
                Name::Realm => challenge.realm = value,
                Name::Nonce => challenge.nonce = value,
                Name::Qop => challenge.qop = Some(value),
                Name::Algorithm => challenge.algorithm = Some(value),
                Name::Opaque => challenge.opaque = Some(value),
                Name::Stale => challenge.stale = value.eq_ignore_ascii_case(b"true"),
                Name::Username | Name::Uri | Name::Response | Name::Cnonce | Name::Nc | Name::Other => {}
            }
        }
        Some(challenge)
    }
}

/// The bytes of a quoted value with its escapes undone.
pub fn unescaped(value: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut bytes = value.iter();
    std::iter::from_fn(move || match bytes.next() {
        Some(b'\\') => Some(*bytes.next().unwrap_or(&b'\\')),
        other => other.copied(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Username,
    Realm,
    Nonce,
    Uri,
    Response,
    Cnonce,
    Qop,
    Algorithm,
    Nc,
    Opaque,
    Stale,
    Other,
}

impl Name {
    /// The name with which this begins, and its length with the equals sign, if it is written as the RFC writes it: as nearly all are.
    #[inline]
    fn usual(parameter: &[u8]) -> Option<(Self, usize)> {
        let is = |name: &[u8]| parameter.starts_with(name);
        let found = match parameter.first()? {
            b'a' if is(b"algorithm=") => (Self::Algorithm, 10),
            b'c' if is(b"cnonce=") => (Self::Cnonce, 7),
            b'n' if is(b"nonce=") => (Self::Nonce, 6),
            b'n' if is(b"nc=") => (Self::Nc, 3),
            b'o' if is(b"opaque=") => (Self::Opaque, 7),
            b'q' if is(b"qop=") => (Self::Qop, 4),
            b'r' if is(b"realm=") => (Self::Realm, 6),
            b'r' if is(b"response=") => (Self::Response, 9),
            b's' if is(b"stale=") => (Self::Stale, 6),
            b'u' if is(b"username=") => (Self::Username, 9),
            b'u' if is(b"uri=") => (Self::Uri, 4),
            _ => return None,
        };
        Some(found)
    }

    fn read(name: &[u8]) -> Self {
        let is = |usual: &[u8]| name == usual || name.eq_ignore_ascii_case(usual);
        match name.len() {
            2 if is(b"nc") => Self::Nc,
            3 if is(b"uri") => Self::Uri,
            3 if is(b"qop") => Self::Qop,
            5 if is(b"nonce") => Self::Nonce,
            5 if is(b"realm") => Self::Realm,
            5 if is(b"stale") => Self::Stale,
            6 if is(b"cnonce") => Self::Cnonce,
            6 if is(b"opaque") => Self::Opaque,
            8 if is(b"username") => Self::Username,
            8 if is(b"response") => Self::Response,
            9 if is(b"algorithm") => Self::Algorithm,
            _ => Self::Other,
        }
    }
}

fn digest_parameters(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = scan::split(value, b"Digest".len());
    let is_digest = (scheme == b"Digest" || scheme.eq_ignore_ascii_case(b"Digest"))
        && rest.first().is_none_or(|byte| scan::is_blank(*byte));
    is_digest.then_some(rest)
}

/// `name=value` or `name="value"`, separated by commas.
struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// Takes the value at the start of the rest, with the comma after it. A missing end quote is forgiven.
    fn take_value(&mut self) -> &'a [u8] {
        let rest = scan::trim_start(self.rest);
        let [b'"', quoted @ ..] = rest else {
            let (value, rest) = scan::split_around(rest, scan::find(rest, b',').unwrap_or(rest.len()));
            self.rest = rest;
            return scan::trim_end(value);
        };
        let (value, rest) = scan::split_around(quoted, scan::find_end_quote(quoted).unwrap_or(quoted.len()));
        self.rest = match rest {
            [b',', rest @ ..] => rest,
            _ => scan::split_around(rest, scan::find(rest, b',').unwrap_or(rest.len())).1,
        };
        value
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (Name, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = scan::trim_start(self.rest);
        if let Some((name, length)) = Name::usual(rest) {
            self.rest = scan::split(rest, length).1;
            return Some((name, self.take_value()));
        }
        let (mut name, rest) = scan::split_around(rest, scan::find_near(rest, b'=')?);
        // Words without a value.
        while let Some(comma) = scan::find_near(name, b',') {
            name = scan::split_around(name, comma).1;
        }
        self.rest = rest;
        Some((Name::read(scan::trim(name)), self.take_value()))
    }
}

fn hexadecimal(value: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_with_quotes_escapes_and_blanks() {
        let credentials = Credentials::read(
            b"dIgEsT username=\"a\\\"b,c\",\r\n realm = \"x=y\", nonce=\"n1\",uri=\"sip:h\", nc=0000001a, \
              qop=auth, cnonce=\"\", response=\"00\", algorithm=MD5",
        )
        .unwrap();
        assert_eq!(credentials.username, Some(&b"a\\\"b,c"[..]));
        assert_eq!(unescaped(credentials.username.unwrap()).collect::<Vec<_>>(), b"a\"b,c");
        assert_eq!(credentials.realm, Some(&b"x=y"[..]));
        assert_eq!(credentials.nonce, Some(&b"n1"[..]));
        assert_eq!(credentials.nc, Some(26));
        assert_eq!(credentials.cnonce, Some(&b""[..]));
    }

    #[test]
    fn challenges_tell_whether_the_nonce_was_stale() {
        let challenge =
            Challenge::read(b"Digest realm=\"r\", nonce=\"n\", stale=TRUE, qop=\"auth,auth-int\"").unwrap();
        assert!(challenge.stale);
        assert_eq!(challenge.qop, Some(&b"auth,auth-int"[..]));
        assert!(!Challenge::read(b"Digest realm=\"stale=true\", nonce=\"n\"").unwrap().stale);
    }

    #[test]
    fn usual_names_are_read_like_all_others() {
        for name in [
            "algorithm",
            "cnonce",
            "nonce",
            "nc",
            "opaque",
            "qop",
            "realm",
            "response",
            "stale",
            "username",
            "uri",
        ] {
            let parameter = format!("{name}=1");
            let read = Name::read(name.as_bytes());
            assert_ne!(read, Name::Other, "{name}");
            assert_eq!(Name::usual(parameter.as_bytes()), Some((read, name.len() + 1)));
            assert_eq!(Name::usual(name.to_ascii_uppercase().as_bytes()), None);
        }
    }

    #[test]
    fn other_schemes_are_none() {
        assert_eq!(Credentials::read(b"Basic QWxhZGRpbg=="), None);
        assert_eq!(Credentials::read(b"NoOneKnowsThisScheme opaque-data=here"), None);
        assert_eq!(Credentials::read(b"DigestX nonce=1"), None);
        assert!(Credentials::read(b"Digest").is_some());
    }
}
