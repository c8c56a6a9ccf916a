//! Addresses of From, To and Contact: `"name" <uri>;parameters`, and the parts of a URI.

use crate::scan;

/// The address of a From, To or Contact header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as it stands, with its quotes.
    pub display_name: &'a [u8],
    /// As it stands, without the angle brackets.
    pub uri: &'a [u8],
    /// What follows the URI, from before the first semicolon on.
    rest: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads any value: what is not understood becomes the URI.
    pub(crate) fn read(value: &'a [u8]) -> Self {
        let mark = usual_bracket(value).or_else(|| scan::find_unquoted_either(value, b'<', b';'));
        let semicolon = mark.filter(|mark| value.get(*mark) == Some(&b';'));
        let open = match semicolon {
            Some(semicolon) => {
                let (_, rest) = scan::split(value, semicolon);
                scan::find_unquoted(rest, b'<').map(|open| semicolon + open)
            }
            None => mark,
        };
        // An unbalanced quotation mark must not hide the URI.
        let Some(open) = open.or_else(|| scan::find(value, b'<')) else {
            // Without brackets parameters belong to the header, not to the URI (RFC 3261, 20.10).
            let (uri, rest) = scan::split(value, semicolon.unwrap_or(value.len()));
            return Self { display_name: &[], uri: scan::trim(uri), rest };
        };
        let (display_name, rest) = scan::split_around(value, open);
        let close = scan::find(rest, b'>').unwrap_or(rest.len());
        let (uri, rest) = scan::split_around(rest, close);
        Self { display_name: scan::trim(display_name), uri: scan::trim(uri), rest }
    }

    /// The tag that identifies this side of the dialog.
    pub fn tag(&self) -> Option<&'a [u8]> {
        // Nearly always it is the only parameter.
        if let [b';', b't', b'a', b'g', b'=', tag @ ..] = self.rest
            && scan::find_either(tag, b';', b'"').is_none()
        {
            return Some(scan::trim(tag));
        }
        Parameters::new(scan::split_unquoted(self.rest, b';').1).get(b"tag")
    }

    /// The user part of the URI, as [`Uri::read`] reads it.
    pub fn user(&self) -> &'a [u8] {
        Uri::user_of(self.uri)
    }

    /// The parts of the URI.
    pub fn parts(&self) -> Uri<'a> {
        Uri::read(self.uri)
    }
}

/// Where the URI's bracket opens if nothing or one quoted name stands before it: as in nearly all addresses.
#[inline]
fn usual_bracket(value: &[u8]) -> Option<usize> {
    match value {
        [b'<', ..] => Some(0),
        [b'"', quoted @ ..] => {
            let end = scan::find_end_quote(quoted)?;
            match quoted.get(end + 1..)? {
                [b'<', ..] => Some(end + 2),
                [b' ', b'<', ..] => Some(end + 3),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The parts of a URI; any may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// `sip`, `sips`, `tel` or another.
    pub scheme: &'a [u8],
    /// Before the `@`, as it stands, without a password.
    pub user: &'a [u8],
    /// Name or address; an IPv6 address keeps its brackets.
    pub host: &'a [u8],
    /// As it stands.
    pub port: &'a [u8],
}

impl<'a> Uri<'a> {
    /// The user part alone, which most callers want.
    pub fn user_of(uri: &'a [u8]) -> &'a [u8] {
        let rest = match uri {
            [b's', b'i', b'p', b':', rest @ ..] => rest,
            _ => match scan::find(uri, b':').unwrap_or(0) {
                0 => uri,
                colon => scan::split_around(uri, colon).1,
            },
        };
        let Some(at) = scan::find(rest, b'@') else { return &[] };
        let (user_info, _) = scan::split(rest, at);
        let user_end = scan::find_near(user_info, b':').unwrap_or(user_info.len());
        scan::trim(scan::split(user_info, user_end).0)
    }

    /// Reads any text: what is not there is empty.
    pub fn read(uri: &'a [u8]) -> Self {
        let colon = scan::find(uri, b':').unwrap_or(0);
        let (scheme, rest) = if colon == 0 { (&[][..], uri) } else { scan::split_around(uri, colon) };
        let at = scan::find(rest, b'@');
        let (user_info, place) = at.map_or((&[][..], rest), |at| scan::split_around(rest, at));
        let user_end = scan::find(user_info, b':').unwrap_or(user_info.len());
        let place_end = scan::find_of_three(place, [b';', b'?', b'>']).unwrap_or(place.len());
        let (host, port) = host_and_port(scan::trim(scan::split(place, place_end).0));
        Self { scheme: scan::trim(scheme), user: scan::trim(scan::split(user_info, user_end).0), host, port }
    }
}

fn host_and_port(place: &[u8]) -> (&[u8], &[u8]) {
    let bracket = match place.first() {
        Some(b'[') => scan::find(place, b']').unwrap_or(0),
        Some(_) | None => 0,
    };
    let (_, rest) = scan::split(place, bracket);
    match scan::find(rest, b':') {
        Some(colon) => scan::split_around(place, bracket + colon),
        None => (place, &[]),
    }
}

/// Parameters: `name=value` separated by semicolons.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Parameters<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// The value of the first parameter of this name, in any case; blanks around it are no part of it.
    pub(crate) fn get(mut self, wanted: &[u8]) -> Option<&'a [u8]> {
        while let Some(first) = self.rest.first() {
            if *first == b';' {
                self.rest = scan::split(self.rest, 1).1;
                continue;
            }
            let (parameter, rest) = scan::split_unquoted(self.rest, b';');
            self.rest = rest;
            let Some(equals) = scan::find_near(parameter, b'=') else {
                continue;
            };
            let (name, value) = scan::split_around(parameter, equals);
            if scan::trim(name).eq_ignore_ascii_case(wanted) {
                return Some(scan::trim(value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_is_found_behind_any_display_name() {
        for (value, uri, tag) in [
            (&b"sip:a@b;tag=1"[..], &b"sip:a@b"[..], Some(&b"1"[..])),
            (b"\"<sip:x@y> \\\" ;tag=0\" <sip:a@b;lr> ; x ; TAG = 1", b"sip:a@b;lr", Some(b"1")),
            (b"\"unbalanced <sip:a@b>;tag=1", b"sip:a@b", Some(b"1")),
            (b"<sip:a@b>", b"sip:a@b", None),
            (b"<sip:a@b", b"sip:a@b", None),
            (b"", b"", None),
        ] {
            let address = NameAddr::read(value);
            assert_eq!((address.uri, address.tag()), (uri, tag));
        }
    }

    #[test]
    fn a_uri_falls_into_parts() {
        for (uri, user, host, port) in [
            (&b"sip:a@b:5060;lr?x=y"[..], &b"a"[..], &b"b"[..], &b"5060"[..]),
            (b"sip:user;par=u%40example.net@example.com", b"user;par=u%40example.net", b"example.com", b""),
            (b"sip:a:secret@[2001:db8::1]:5061", b"a", b"[2001:db8::1]", b"5061"),
            (b"sip:[2001:db8::10:5070]", b"", b"[2001:db8::10:5070]", b""),
            (b"tel:+1-201", b"", b"+1-201", b""),
            (b"nonsense", b"", b"nonsense", b""),
            (b"", b"", b"", b""),
        ] {
            let parts = Uri::read(uri);
            assert_eq!((parts.user, parts.host, parts.port), (user, host, port));
        }
    }

    proptest::proptest! {
        #[test]
        fn a_tag_is_found_however_it_is_written(rest in "(;tag=)?([;= \\t\"x]|tag|TAG){0,7}") {
            let value = format!("<sip:a@b>{rest}");
            let slow = Parameters::new(scan::split_unquoted(rest.as_bytes(), b';').1).get(b"tag");
            proptest::prop_assert_eq!(NameAddr::read(value.as_bytes()).tag(), slow);
        }

        #[test]
        fn a_bracket_is_found_however_it_is_written(value in "[<\"; \\\\a]{0,9}") {
            if let Some(open) = usual_bracket(value.as_bytes()) {
                proptest::prop_assert_eq!(scan::find_unquoted_either(value.as_bytes(), b'<', b';'), Some(open));
            }
        }

        #[test]
        fn the_user_alone_is_the_user_among_the_parts(uri in "(sip:)?[a-z:@;?>\\[\\] %]{0,24}") {
            proptest::prop_assert_eq!(Uri::user_of(uri.as_bytes()), Uri::read(uri.as_bytes()).user);
        }
    }
}
