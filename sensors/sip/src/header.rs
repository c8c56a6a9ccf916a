//! Header lines: names in any case or compact form, values folded or not.

use crate::scan;

/// The headers that are known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the header of the same name")]
pub enum HeaderName {
    Via,
    From,
    To,
    CallId,
    CSeq,
    UserAgent,
    Server,
    Contact,
    Authorization,
    ProxyAuthorization,
    WwwAuthenticate,
    ProxyAuthenticate,
    Expires,
    ContentLength,
    /// Any other.
    Other,
}

impl HeaderName {
    /// Reads a name in any case, or its compact form (RFC 3261, 7.3.3).
    #[inline]
    pub fn read(name: &[u8]) -> Self {
        let (full, header): (&[u8], Self) = match name.len() {
            1 => return Self::compact(name),
            2 => (b"to", Self::To),
            3 => (b"via", Self::Via),
            4 => return Self::of_four(name),
            6 => (b"server", Self::Server),
            7 => return Self::of_seven(name),
            10 => (b"user-agent", Self::UserAgent),
            13 => (b"authorization", Self::Authorization),
            14 => (b"content-length", Self::ContentLength),
            16 => (b"www-authenticate", Self::WwwAuthenticate),
            18 => (b"proxy-authenticate", Self::ProxyAuthenticate),
            19 => (b"proxy-authorization", Self::ProxyAuthorization),
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(full) { header } else { Self::Other }
    }

    fn compact(name: &[u8]) -> Self {
        match name {
            b"v" | b"V" => Self::Via,
            b"f" | b"F" => Self::From,
            b"t" | b"T" => Self::To,
            b"i" | b"I" => Self::CallId,
            b"m" | b"M" => Self::Contact,
            b"l" | b"L" => Self::ContentLength,
            _ => Self::Other,
        }
    }

    fn of_four(name: &[u8]) -> Self {
        if name.eq_ignore_ascii_case(b"from") {
            Self::From
        } else if name.eq_ignore_ascii_case(b"cseq") {
            Self::CSeq
        } else {
            Self::Other
        }
    }

    fn of_seven(name: &[u8]) -> Self {
        if name.eq_ignore_ascii_case(b"call-id") {
            Self::CallId
        } else if name.eq_ignore_ascii_case(b"contact") {
            Self::Contact
        } else if name.eq_ignore_ascii_case(b"expires") {
            Self::Expires
        } else {
            Self::Other
        }
    }
}

/// One header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// As it stands, without blanks.
    pub name: &'a [u8],
    /// Without the blanks around it; a folded value still holds its line ends, which count as blanks.
    pub value: &'a [u8],
    /// Where the line begins, in bytes from the start of the headers.
    pub offset: usize,
    /// Whether the line has a name and a colon.
    pub is_whole: bool,
}

/// The headers in order, up to the blank line or the end.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
    offset: usize,
    is_finished: bool,
}

impl<'a> Headers<'a> {
    /// Over what follows the start line.
    pub(crate) const fn new(block: &'a [u8]) -> Self {
        Self { rest: block, offset: 0, is_finished: false }
    }

    /// Whether the blank line was seen.
    pub(crate) const fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Bytes taken so far.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    /// Takes one header with its folded lines (RFC 3261, 7.3.1), without the last line end.
    #[inline]
    fn take_lines(&mut self) -> &'a [u8] {
        let mut end = 0;
        loop {
            let (_, unseen) = scan::split(self.rest, end);
            let Some(feed) = scan::find(unseen, b'\n') else {
                end = self.rest.len();
                break;
            };
            end += feed + 1;
            if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (lines, rest) = scan::split(self.rest, end);
        self.rest = rest;
        self.offset += lines.len();
        lines
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        if self.is_finished || self.rest.is_empty() {
            return None;
        }
        if let Some(blank) = blank_line(self.rest) {
            self.is_finished = true;
            self.offset += blank;
            return None;
        }
        let offset = self.offset;
        let lines = self.take_lines();
        let Some(colon) = scan::find_where(lines, |byte| byte == b':') else {
            return Some(Header { name: &[], value: scan::trim(lines), offset, is_whole: false });
        };
        let (name, value) = scan::split_around(lines, colon);
        let name = scan::trim(name);
        Some(Header { name, value: scan::trim(value), offset, is_whole: !name.is_empty() })
    }
}

/// The length of the blank line that ends the headers, if it is next.
#[inline]
fn blank_line(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_form() {
        for (name, header) in [
            (&b"v"[..], HeaderName::Via),
            (b"VIA", HeaderName::Via),
            (b"f", HeaderName::From),
            (b"frOM", HeaderName::From),
            (b"t", HeaderName::To),
            (b"I", HeaderName::CallId),
            (b"m", HeaderName::Contact),
            (b"l", HeaderName::ContentLength),
            (b"uSeR-aGeNt", HeaderName::UserAgent),
            (b"cseq", HeaderName::CSeq),
            (b"proxy-authorization", HeaderName::ProxyAuthorization),
            (b"WWW-Authenticate", HeaderName::WwwAuthenticate),
            (b"X-User-Agent", HeaderName::Other),
            (b"", HeaderName::Other),
        ] {
            assert_eq!(HeaderName::read(name), header);
        }
    }

    #[test]
    fn values_may_be_folded_and_names_followed_by_blanks() {
        let block = b"To :\r\n sip:a@b\r\n\t;tag=1\r\nno colon here\r\nl: 0\n\r\nbody: x";
        let headers: Vec<_> = Headers::new(block).collect();
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[0].name, b"To");
        assert_eq!(headers[0].value, b"sip:a@b\r\n\t;tag=1");
        assert!(!headers[1].is_whole);
        assert_eq!((headers[2].name, headers[2].value), (&b"l"[..], &b"0"[..]));
    }
}
