//! A whole message: what detection needs of it, lent from the datagram.

use crate::address::NameAddr;
use crate::auth::{Challenge, Credentials};
use crate::defect::{Defect, Defects, ErrorKind, ParseError};
use crate::few::Few;
use crate::header::{self, HeaderName, Headers};
use crate::scan;
use crate::start_line::{self, StartLine};
use crate::via::Via;

/// Bytes of a datagram that are looked at: more than any honest header block, and a bound on the work.
pub const MAX_SCANNED: usize = 8 * 1024;
/// Header lines that are read: RFC 4475's torture messages have under forty.
pub const MAX_HEADERS: usize = 64;
/// User agents, credentials or challenges that are kept of one message.
const MAX_VALUES: usize = 4;

/// A request or a response. Headers are read when asked for; each call looks at one header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The first line.
    pub start: StartLine<'a>,
    /// What is wrong with it.
    pub defects: Defects,
    /// Every User-Agent header.
    pub user_agents: Few<'a, MAX_VALUES>,
    block: &'a [u8],
    body: &'a [u8],
    via: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    contact: Option<&'a [u8]>,
    expires: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    credentials: Few<'a, MAX_VALUES>,
    challenges: Few<'a, MAX_VALUES>,
}

/// The value of a CSeq header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Counts the requests of a dialog.
    pub number: u32,
    /// The request's method; in a response, that of the request it answers.
    pub method: &'a [u8],
}

/// Reads one datagram.
pub fn parse(datagram: &[u8]) -> Result<Message<'_>, ParseError> {
    let (scanned, beyond) = scan::split(datagram, MAX_SCANNED);
    // Line ends before the start line are ignored (RFC 3261, 7.5).
    let blank = scan::find_where(scanned, |byte| !matches!(byte, b'\r' | b'\n'))
        .ok_or(ParseError { kind: ErrorKind::Empty, offset: 0 })?;
    let (_, text) = scan::split(scanned, blank);
    let line_end = scan::find(text, b'\n').map_or(text.len(), |feed| feed + 1);
    let (line, block) = scan::split(text, line_end);
    let start = start_line::parse(line).map_err(|kind| ParseError { kind, offset: blank })?;

    let mut message = Message::new(start, block);
    let version = start.version();
    if version != b"SIP/2.0" && !version.eq_ignore_ascii_case(b"SIP/2.0") {
        message.defects.note(Defect::Version, blank);
    }
    message.read_headers(blank + line.len());
    if !beyond.is_empty() && message.defects.has(Defect::Unfinished) {
        message.defects.note(Defect::TooLong, MAX_SCANNED);
    }
    message.check(blank + line.len(), datagram);
    Ok(message)
}

impl<'a> Message<'a> {
    const fn new(start: StartLine<'a>, block: &'a [u8]) -> Self {
        Self {
            start,
            defects: Defects::new(),
            user_agents: Few::new(),
            block,
            body: &[],
            via: None,
            from: None,
            to: None,
            call_id: None,
            cseq: None,
            contact: None,
            expires: None,
            content_length: None,
            server: None,
            credentials: Few::new(),
            challenges: Few::new(),
        }
    }

    fn read_headers(&mut self, block_offset: usize) {
        let mut headers = Headers::new(self.block);
        for _ in 0..MAX_HEADERS {
            let Some((lines, offset)) = headers.next_lines() else { break };
            match header::read(lines) {
                Some((name, value)) => self.take(name, value, block_offset + offset),
                None => self.defects.note(Defect::HeaderLine, block_offset + offset),
            }
        }
        if !headers.is_finished() {
            let is_more = headers.next().is_some();
            let defect = if is_more { Defect::TooManyHeaders } else { Defect::Unfinished };
            if is_more || !headers.is_finished() {
                self.defects.note(defect, block_offset + headers.offset());
            }
        }
        self.block = scan::split(self.block, headers.offset()).0;
    }

    /// Notes a header's value as it stands: most values are never looked at, the others are trimmed when they are.
    #[inline]
    fn take(&mut self, name: HeaderName, value: &'a [u8], offset: usize) {
        let single = match name {
            // A second Via is the next hop, a second Contact another binding: the first is wanted.
            HeaderName::Via => return self.via = self.via.or(Some(value)),
            HeaderName::Contact => return self.contact = self.contact.or(Some(value)),
            HeaderName::UserAgent => return self.user_agents.push(scan::trim(value)),
            HeaderName::Authorization | HeaderName::ProxyAuthorization => {
                return self.credentials.push(value);
            }
            HeaderName::WwwAuthenticate | HeaderName::ProxyAuthenticate => {
                return self.challenges.push(value);
            }
            HeaderName::Other => return,
            HeaderName::From => &mut self.from,
            HeaderName::To => &mut self.to,
            HeaderName::CallId => &mut self.call_id,
            HeaderName::CSeq => &mut self.cseq,
            HeaderName::Server => &mut self.server,
            HeaderName::Expires => &mut self.expires,
            HeaderName::ContentLength => &mut self.content_length,
        };
        if single.is_some() {
            self.defects.note(Defect::Repeated, offset);
        } else {
            *single = Some(value);
        }
    }

    /// Looks at the message as a whole.
    fn check(&mut self, block_offset: usize, datagram: &'a [u8]) {
        let end = block_offset + self.block.len();
        self.body = scan::split(datagram, end).1;
        let dropped = self.user_agents.dropped() + self.credentials.dropped() + self.challenges.dropped();
        if dropped > 0 {
            self.defects.note(Defect::TooManyValues, end);
        }
        let mandatory = [self.via, self.from, self.to, self.call_id, self.cseq];
        if mandatory.iter().any(Option::is_none) {
            self.defects.note(Defect::MissingHeader, end);
        }
        let is_short = |length: Option<u32>| length.is_none_or(|length| self.body.len() < length as usize);
        // Most messages have no body, and say so.
        let is_zero = |value: &[u8]| value == b" 0\r\n";
        if self.content_length.is_some_and(|value| !is_zero(value)) && is_short(self.content_length()) {
            self.defects.note(Defect::ContentLength, end);
        }
    }

    /// The method of a request.
    pub const fn method(&self) -> Option<&'a [u8]> {
        match self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The status code of a response.
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The first hop.
    pub fn via(&self) -> Option<Via<'a>> {
        self.via.map(scan::trim).map(Via::read)
    }

    /// The branch of the first hop.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.via.map(scan::trim).and_then(Via::branch_of)
    }

    /// Who asks.
    pub fn from(&self) -> Option<NameAddr<'a>> {
        self.from.map(scan::trim).map(NameAddr::read)
    }

    /// Who is asked; of a REGISTER, the address of record.
    pub fn to(&self) -> Option<NameAddr<'a>> {
        self.to.map(scan::trim).map(NameAddr::read)
    }

    /// Identifies the call, or a client's registrations.
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.call_id.map(scan::trim)
    }

    /// Number and method of the request.
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        let value = scan::trim(self.cseq?);
        let end = scan::find_where(value, scan::is_blank).unwrap_or(value.len());
        let (number, method) = scan::split(value, end);
        Some(CSeq { number: scan::number(number)?, method: scan::trim(method) })
    }

    /// The first address at which a client can be reached.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        self.contact.map(|value| NameAddr::read(scan::trim(scan::split_unquoted(value, b',').0)))
    }

    /// Seconds, if they are a number.
    pub fn expires(&self) -> Option<u32> {
        self.expires.map(scan::trim).and_then(scan::number)
    }

    /// What the sender says of the body's length, if it is a number.
    pub fn content_length(&self) -> Option<u32> {
        self.content_length.map(scan::trim).and_then(scan::number)
    }

    /// The first Server header.
    pub fn server(&self) -> Option<&'a [u8]> {
        self.server.map(scan::trim)
    }

    /// Whether there is an Authorization or Proxy-Authorization header of any scheme.
    pub const fn has_credentials(&self) -> bool {
        !self.credentials.is_empty()
    }

    /// The first digest credentials.
    pub fn credentials(&self) -> Option<Credentials<'a>> {
        self.all_credentials().next()
    }

    /// All digest credentials: one for each realm on the way.
    pub fn all_credentials(&self) -> impl Iterator<Item = Credentials<'a>> + '_ {
        self.credentials.iter().map(scan::trim).filter_map(Credentials::read)
    }

    /// The first digest challenge.
    pub fn challenge(&self) -> Option<Challenge<'a>> {
        self.all_challenges().next()
    }

    /// All digest challenges: one for each algorithm.
    pub fn all_challenges(&self) -> impl Iterator<Item = Challenge<'a>> + '_ {
        self.challenges.iter().map(scan::trim).filter_map(Challenge::read)
    }

    /// Every header in order, known or not.
    pub fn headers(&self) -> Headers<'a> {
        Headers::new(self.block)
    }

    /// What follows the blank line.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
