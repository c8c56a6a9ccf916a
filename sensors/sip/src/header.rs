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
        // Nearly all names are written as the RFC writes them: those are compared as a word or two.
        let is = |usual: &[u8]| name == usual || name.eq_ignore_ascii_case(usual);
        match name.len() {
            1 => Self::compact(name),
            2 if is(b"To") => Self::To,
            3 if is(b"Via") => Self::Via,
            4 if is(b"From") => Self::From,
            4 if is(b"CSeq") => Self::CSeq,
            6 if is(b"Server") => Self::Server,
            7 if is(b"Call-ID") => Self::CallId,
            7 if is(b"Contact") => Self::Contact,
            7 if is(b"Expires") => Self::Expires,
            10 if is(b"User-Agent") => Self::UserAgent,
            13 if is(b"Authorization") => Self::Authorization,
            14 if is(b"Content-Length") => Self::ContentLength,
            16 if is(b"WWW-Authenticate") => Self::WwwAuthenticate,
            18 if is(b"Proxy-Authenticate") => Self::ProxyAuthenticate,
            19 if is(b"Proxy-Authorization") => Self::ProxyAuthorization,
            _ => Self::Other,
        }
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
    block: &'a [u8],
    offset: usize,
    is_finished: bool,
}

impl<'a> Headers<'a> {
    /// Over what follows the start line.
    pub(crate) const fn new(block: &'a [u8]) -> Self {
        Self { block, offset: 0, is_finished: false }
    }

    /// Whether the blank line was seen.
    pub(crate) const fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Bytes taken so far.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    /// The length of the header at the start of `rest`, with its folded lines (RFC 3261, 7.3.1) and the last line end.
    #[inline]
    fn length(rest: &[u8]) -> usize {
        let mut end = 0;
        loop {
            let (_, unseen) = scan::split(rest, end);
            let Some(feed) = scan::find(unseen, b'\n') else { return rest.len() };
            end += feed + 1;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                return end;
            }
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        let offset = self.offset;
        let (_, rest) = scan::split(self.block, offset);
        if self.is_finished || rest.is_empty() {
            return None;
        }
        if let Some(blank) = blank_line(rest) {
            self.is_finished = true;
            self.offset += blank;
            return None;
        }
        let (lines, _) = scan::split(rest, Self::length(rest));
        self.offset += lines.len();
        let colon = scan::find_near(lines, b':');
        let Some(colon) = colon else {
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
