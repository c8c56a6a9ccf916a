//! What is wrong with a message: so wrong that it cannot be read, or merely wrong.

use std::fmt;

/// Why a datagram cannot be read as SIP, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The byte of the datagram at which it shows.
    pub offset: usize,
}

/// Why a datagram cannot be read as SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing, or only line ends.
    Empty,
    /// The first line is not a start line of SIP: another protocol, or noise.
    NotSip,
    /// The method has a character that no token has.
    Method,
    /// The status code is not three digits from 100 to 699.
    StatusCode,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::Empty => "read an empty datagram",
            ErrorKind::NotSip => "read something that is not sip",
            ErrorKind::Method => "read a method that is no token",
            ErrorKind::StatusCode => "read a status code outside 100 to 699",
        };
        write!(f, "{what} at byte {}", self.offset)
    }
}

impl std::error::Error for ParseError {}

/// What is wrong with a message that can be read all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Defect {
    /// The version is not `SIP/2.0`.
    Version = 1,
    /// A header line has no colon, or nothing before it.
    HeaderLine = 1 << 1,
    /// The datagram ends before the blank line: cut off in capture, or a lazy sender.
    Unfinished = 1 << 2,
    /// There are more header lines than are read.
    TooManyHeaders = 1 << 3,
    /// The headers are longer than what is scanned.
    TooLong = 1 << 4,
    /// A header that may appear once appears again; the first counts.
    Repeated = 1 << 5,
    /// There are more user agents, credentials or challenges than are kept.
    TooManyValues = 1 << 6,
    /// Via, From, To, Call-ID or CSeq is missing.
    MissingHeader = 1 << 7,
    /// The body is shorter than the Content-Length, or that is no number.
    ContentLength = 1 << 8,
}

/// Every defect of a message, and the place of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defects {
    seen: u16,
    first: Option<(Defect, usize)>,
}

impl Defects {
    pub(crate) const fn new() -> Self {
        Self { seen: 0, first: None }
    }

    /// Notes a defect at a byte of the datagram.
    pub(crate) fn note(&mut self, defect: Defect, offset: usize) {
        self.seen |= defect as u16;
        self.first = self.first.or(Some((defect, offset)));
    }

    /// Whether this defect was seen.
    pub const fn has(self, defect: Defect) -> bool {
        self.seen & defect as u16 != 0
    }

    /// Whether nothing is wrong.
    pub const fn is_empty(self) -> bool {
        self.seen == 0
    }

    /// The first defect and its byte of the datagram.
    pub const fn first(self) -> Option<(Defect, usize)> {
        self.first
    }
}
