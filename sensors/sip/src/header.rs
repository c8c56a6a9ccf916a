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
    feeds: scan::Feeds<'a>,
    offset: usize,
    is_finished: bool,
}

impl<'a> Headers<'a> {
    /// Over what follows the start line.
    #[inline]
    pub(crate) fn new(block: &'a [u8]) -> Self {
        Self { block, feeds: scan::Feeds::new(block), offset: 0, is_finished: false }
    }

    /// Whether the blank line was seen.
    pub(crate) const fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Bytes taken so far.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    /// The lines of the next header, with where they begin: a folded header has several (RFC 3261, 7.3.1). Each has its line end.
    #[inline(always)]
    pub(crate) fn next_lines(&mut self) -> Option<(&'a [u8], usize)> {
        if self.is_finished {
            return None;
        }
        let offset = self.offset;
        let mut end = self.feeds.next().map_or(self.block.len(), |feed| feed + 1);
        if let b"\n" | b"\r\n" = self.block.get(offset..end)? {
            self.is_finished = true;
            self.offset = end;
            return None;
        }
        while let Some(b' ' | b'\t') = self.block.get(end) {
            end = self.feeds.next().map_or(self.block.len(), |feed| feed + 1);
        }
        self.offset = end;
        let lines = self.block.get(offset..end)?;
        (!lines.is_empty()).then_some((lines, offset))
    }
}

/// Name and value of a header, as they stand; `None` if it has no colon.
#[inline]
fn split(lines: &[u8]) -> Option<(&[u8], &[u8])> {
    Some(scan::split_around(lines, scan::find_near(lines, b':')?))
}

/// What a header is and its value as it stands; `None` if it has no colon or nothing before it.
#[inline]
pub(crate) fn read(lines: &[u8]) -> Option<(HeaderName, &[u8])> {
    if let Some((name, length)) = usual(lines) {
        return Some((name, scan::split(lines, length).1));
    }
    let (name, value) = split(lines)?;
    let name = scan::trim(name);
    (!name.is_empty()).then(|| (HeaderName::read(name), value))
}

/// The name with which the lines begin, and its length with the colon, if it is written as the RFC writes it: as nearly all are.
#[inline]
fn usual(lines: &[u8]) -> Option<(HeaderName, usize)> {
    let is = |name: &[u8]| lines.starts_with(name);
    let found = match lines.first()? {
        b'V' if is(b"Via:") => (HeaderName::Via, 4),
        b'F' if is(b"From:") => (HeaderName::From, 5),
        b'T' if is(b"To:") => (HeaderName::To, 3),
        b'C' if is(b"CSeq:") => (HeaderName::CSeq, 5),
        b'C' if is(b"Call-ID:") => (HeaderName::CallId, 8),
        b'C' if is(b"Contact:") => (HeaderName::Contact, 8),
        b'C' if is(b"Content-Length:") => (HeaderName::ContentLength, 15),
        b'C' if is(b"Content-Type:") => (HeaderName::Other, 13),
        b'M' if is(b"Max-Forwards:") => (HeaderName::Other, 13),
        b'U' if is(b"User-Agent:") => (HeaderName::UserAgent, 11),
        b'E' if is(b"Expires:") => (HeaderName::Expires, 8),
        b'A' if is(b"Authorization:") => (HeaderName::Authorization, 14),
        b'A' if is(b"Allow:") => (HeaderName::Other, 6),
        b'W' if is(b"WWW-Authenticate:") => (HeaderName::WwwAuthenticate, 17),
        b'P' if is(b"Proxy-Authenticate:") => (HeaderName::ProxyAuthenticate, 19),
        b'P' if is(b"Proxy-Authorization:") => (HeaderName::ProxyAuthorization, 20),
        b'S' if is(b"Server:") => (HeaderName::Server, 7),
        b'S' if is(b"Supported:") => (HeaderName::Other, 10),
        _ => return None,
    };
    Some(found)
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let (lines, offset) = self.next_lines()?;
        let (name, value) = split(lines).unwrap_or((&[], lines));
        let name = scan::trim(name);
        Some(Header { name, value: scan::trim(value), offset, is_whole: !name.is_empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_read_like_all_others() {
        for name in [
            "Via",
            "From",
            "To",
            "CSeq",
            "Call-ID",
            "Contact",
            "Content-Length",
            "Content-Type",
            "Max-Forwards",
            "User-Agent",
            "Expires",
            "Authorization",
            "Allow",
            "WWW-Authenticate",
            "Proxy-Authenticate",
            "Proxy-Authorization",
            "Server",
            "Supported",
        ] {
            let line = format!("{name}: v:w");
            let (read, value) = read(line.as_bytes()).unwrap();
            assert_eq!((read, value), (HeaderName::read(name.as_bytes()), &b" v:w"[..]), "{name}");
            assert_eq!(usual(line.as_bytes()), Some((read, name.len() + 1)), "{name}");
            assert_eq!(usual(line.to_ascii_lowercase().as_bytes()), None);
            assert_eq!(
                super::read(line.to_ascii_lowercase().as_bytes()),
                Some((read, &b" v:w"[..])),
                "{name}"
            );
            assert_eq!(
                super::read(line.replace(':', " :").as_bytes()).map(|(name, _)| name),
                Some(read),
                "{name}"
            );
        }
        assert_eq!(read(b"no colon"), None);
        assert_eq!(read(b" : v"), None);
    }

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
