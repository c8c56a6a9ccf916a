//! Cuts the bytes of one direction, in order, into what they carry.
//!
//! ```text
//!            ┌─ SIP/2.0 in the first line ──> Sip: a message ends where its Content-Length says (RFC 3261, 18.3)
//!            ├─ GET, HTTP/1.1 101 ──────────> Frames: WebSocket (RFC 7118)
//!  Start ────┼─ a TLS record ───────────────> Tls: only its shape is followed
//!            ├─ anything else on a SIP port ─> Sip, where a message begins: it may have been picked up in the middle
//!            └─ anything else on a web port ─> Deaf
//! ```

use crate::tls::{self, Beginning, Records};
use crate::websocket::{self, Deframer, Step};

/// The longest message that is read whole; of a longer one the header is.
pub(super) const MAX_MESSAGE: usize = 65_535;
/// A start line may be cut anywhere: this much of the end is kept where no message has begun, and waited for at the start.
const MAX_LINE: usize = 2_048;
/// What is told of a first line that is not SIP.
const MAX_TOLD: usize = 128;
/// The head of an HTTP message; servers take about as much.
const MAX_HEAD: usize = 8_192;

/// What the port of a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Service {
    #[default]
    Sip,
    /// HTTP, and WebSocket after it: what is no SIP there accuses nobody.
    Web,
}

/// What was cut off a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    Message(Vec<u8>),
    WebSocketMessage(Vec<u8>),
    NotSip(Vec<u8>),
    ClientHello,
    /// The sender asks for SIP over WebSocket.
    UpgradeAsked,
    /// The sender does not grant it.
    UpgradeRefused(u16),
}

/// One direction's bytes.
#[derive(Default)]
pub(super) struct Cutter {
    service: Service,
    /// The stream was seen from its first byte on.
    is_from_start: bool,
    reading: Reading,
    /// The other end asked for SIP over WebSocket.
    is_asked: bool,
    buffer: Vec<u8>,
    /// Bytes in front of the buffer that were read.
    read: usize,
    /// Bytes of the buffer in which no header ends.
    scanned: usize,
    /// The length of the message in front, once its header is there.
    length: Option<usize>,
    /// Bytes of a long body that are still to come.
    skipped: usize,
    /// The buffer begins where a message begins.
    is_aligned: bool,
    /// The buffer begins within a line that is too long for a start line.
    is_in_long_line: bool,
}

/// What the bytes are read as.
#[derive(Default)]
enum Reading {
    #[default]
    Start,
    Sip,
    Frames(Box<Deframer>),
    Tls(Records),
    Deaf,
}

/// More bytes are needed, or something came out and there may be more.
enum Looked {
    Wait,
    Again,
    Cut(Cut),
}

impl Cutter {
    pub(super) fn new(service: Service, is_from_start: bool) -> Self {
        Self { service, is_from_start, ..Self::default() }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let message = match &self.reading {
            Reading::Frames(deframer) => deframer.held(),
            Reading::Start | Reading::Sip | Reading::Tls(_) | Reading::Deaf => 0,
        };
        self.buffer.len() + message
    }

    /// The session that runs in the stream, if it is TLS.
    pub(super) fn tls(&self) -> Option<&Records> {
        match &self.reading {
            Reading::Tls(records) => Some(records),
            Reading::Start | Reading::Sip | Reading::Frames(_) | Reading::Deaf => None,
        }
    }

    /// The other end asked for SIP over WebSocket: what comes next answers that.
    pub(super) fn expect_answer(&mut self) {
        if !matches!(self.reading, Reading::Frames(_)) {
            (self.reading, self.is_asked, self.is_aligned) = (Reading::Start, true, true);
        }
    }

    /// The other end refused: this one may ask again.
    pub(super) fn start_over(&mut self) {
        if matches!(self.reading, Reading::Frames(_)) {
            (self.reading, self.is_from_start) = (Reading::Start, false);
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let skipped = self.skipped.min(bytes.len());
        self.skipped -= skipped;
        self.trim();
        self.buffer.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// Bytes before what comes next are missing.
    pub(super) fn give_up(&mut self) {
        self.buffer = Vec::new();
        (self.read, self.scanned, self.length, self.skipped) = (0, 0, None, 0);
        (self.is_aligned, self.is_in_long_line, self.is_from_start) = (false, false, false);
        self.reading = match self.reading {
            Reading::Start | Reading::Sip => Reading::Start,
            // Where the next frame or record begins cannot be told.
            Reading::Frames(_) | Reading::Tls(_) | Reading::Deaf => Reading::Deaf,
        };
    }

    /// The next thing in the stream; `is_over`: nothing more comes.
    pub(super) fn take(&mut self, is_over: bool) -> Option<Cut> {
        loop {
            let looked = match &self.reading {
                Reading::Start => self.look_at_start(is_over),
                Reading::Sip => return self.take_message(),
                Reading::Frames(_) | Reading::Tls(_) | Reading::Deaf => return self.follow(),
            };
            match looked {
                Looked::Wait => return None,
                Looked::Again => {}
                Looked::Cut(cut) => return Some(cut),
            }
        }
    }

    /// What was not read yet.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.read..).unwrap_or_default()
    }

    /// Once for all messages that were read since the last segment. A stream that waits for nothing holds nothing.
    fn trim(&mut self) {
        if self.read == self.buffer.len() {
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..self.read);
        }
        self.read = 0;
    }

    /// Frames, records, and what nobody reads.
    fn follow(&mut self) -> Option<Cut> {
        let mut rest = self.buffer.get(self.read..).unwrap_or_default();
        let mut step = None;
        match &mut self.reading {
            Reading::Frames(deframer) => step = deframer.feed(&mut rest),
            Reading::Tls(records) => {
                records.feed(rest);
                rest = &[];
            }
            Reading::Start | Reading::Sip | Reading::Deaf => rest = &[],
        }
        self.read = self.buffer.len() - rest.len();
        if rest.is_empty() {
            self.trim();
        }
        match step? {
            Step::Message(message) => Some(Cut::WebSocketMessage(message)),
            Step::Closed | Step::Malformed => {
                self.reading = Reading::Deaf;
                None
            }
        }
    }

    fn look_at_start(&mut self, is_over: bool) -> Looked {
        // Line ends before the first message keep a connection alive (RFC 5626, 3.5.1).
        self.read += self.rest().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let rest = self.rest();
        if rest.is_empty() {
            return Looked::Wait;
        }
        if rest.starts_with(b"GET ") || rest.starts_with(b"HTTP/") {
            return self.look_at_head(is_over);
        }
        let may_grow = |start: &[u8]| !is_over && rest.len() < start.len() && start.starts_with(rest);
        if may_grow(b"GET ") || may_grow(b"HTTP/") {
            return Looked::Wait;
        }
        match tls::beginning(rest) {
            Beginning::Unknown if !is_over => Looked::Wait,
            Beginning::ClientHello => {
                self.reading = Reading::Tls(Records::default());
                Looked::Cut(Cut::ClientHello)
            }
            Beginning::Server => {
                self.reading = Reading::Tls(Records::default());
                Looked::Again
            }
            Beginning::Other | Beginning::Unknown => self.look_at_line(is_over),
        }
    }

    /// What is neither HTTP nor TLS.
    fn look_at_line(&mut self, is_over: bool) -> Looked {
        let is_web = self.service == Service::Web;
        if !self.is_from_start && !is_web {
            self.reading = Reading::Sip;
            return Looked::Again;
        }
        // Picked up in the middle: a frame that carries data begins the segment.
        if is_web && !self.is_from_start && matches!(self.rest(), [0x81 | 0x82 | 0x01 | 0x02, ..]) {
            self.reading = Reading::Frames(Box::default());
            return Looked::Again;
        }
        let rest = self.rest().get(..MAX_LINE).unwrap_or(self.rest());
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if end.is_none() && rest.len() < MAX_LINE && could_be_sip(line) && !is_over {
            return Looked::Wait;
        }
        if end.is_some() && could_be_sip(line) && names_sip(line) {
            (self.reading, self.is_aligned) = (Reading::Sip, true);
            return Looked::Again;
        }
        self.turn_down(line.trim_ascii_end().to_vec())
    }

    /// What the stream begins with is not SIP, which is worth telling once.
    fn turn_down(&mut self, mut line: Vec<u8>) -> Looked {
        if self.service == Service::Web {
            self.reading = Reading::Deaf;
            return Looked::Again;
        }
        (self.reading, self.is_aligned) = (Reading::Sip, false);
        line.truncate(MAX_TOLD);
        if self.is_from_start { Looked::Cut(Cut::NotSip(line)) } else { Looked::Again }
    }

    fn look_at_head(&mut self, is_over: bool) -> Looked {
        let Some(end) = self.find_empty_line(MAX_HEAD) else {
            return if MAX_HEAD <= self.rest().len() || is_over {
                self.turn_down_head()
            } else {
                Looked::Wait
            };
        };
        let head = self.rest().get(..end).unwrap_or_default();
        let Some(response) = websocket::response(head) else {
            return match websocket::request(head) {
                websocket::Request::Sip => {
                    self.read_frames_behind(end);
                    Looked::Cut(Cut::UpgradeAsked)
                }
                websocket::Request::Other => self.turn_down_head(),
            };
        };
        if response.opens(self.is_asked) {
            self.read_frames_behind(end);
            return Looked::Again;
        }
        if !self.is_asked {
            return self.turn_down_head();
        }
        self.read += end;
        self.scanned = 0;
        if response.status < 200 && response.status != 101 {
            return Looked::Again;
        }
        (self.reading, self.is_asked) = (Reading::Deaf, false);
        Looked::Cut(Cut::UpgradeRefused(response.status))
    }

    fn read_frames_behind(&mut self, end: usize) {
        self.read += end;
        self.scanned = 0;
        self.reading = Reading::Frames(Box::default());
    }

    fn turn_down_head(&mut self) -> Looked {
        let line = self.rest().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.get(..MAX_TOLD).unwrap_or(line).trim_ascii_end().to_vec();
        self.scanned = 0;
        self.turn_down(line)
    }

    /// The message in front, if it is whole.
    fn take_message(&mut self) -> Option<Cut> {
        let length = loop {
            if !self.is_aligned && !self.align() {
                return None;
            }
            match self.length.or_else(|| self.find_length()) {
                Some(length) => break length,
                None if self.is_aligned => return None,
                None => {}
            }
        };
        self.length = Some(length);
        let message = self.rest().get(..length)?.to_vec();
        self.read += length;
        (self.length, self.scanned) = (None, 0);
        Some(Cut::Message(message))
    }

    /// Finds where a message begins, and forgets what is before.
    fn align(&mut self) -> bool {
        while let Some(end) = self.rest().iter().position(|byte| *byte == b'\n') {
            let line = self.rest().get(..=end).unwrap_or_default();
            let text = line.trim_ascii_end();
            let is_start = text.ends_with(b" SIP/2.0") || text.starts_with(b"SIP/2.0 ");
            if is_start && line.len() <= MAX_LINE && !self.is_in_long_line {
                self.is_aligned = true;
                return true;
            }
            self.read += end + 1;
            self.is_in_long_line = false;
        }
        self.is_in_long_line |= MAX_LINE < self.rest().len();
        if self.is_in_long_line {
            self.read = self.buffer.len();
        }
        false
    }

    /// The length of the message in front, once its header is there. Leaves out line ends before it.
    fn find_length(&mut self) -> Option<usize> {
        if self.scanned == 0 {
            self.read += self.rest().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if !self.has_start_line()? {
                self.is_aligned = false;
                return None;
            }
        }
        let Some(header) = self.find_empty_line(MAX_MESSAGE) else {
            if MAX_MESSAGE <= self.rest().len() {
                (self.is_aligned, self.scanned) = (false, 0);
                self.read += MAX_MESSAGE;
            }
            return None;
        };
        let message = sip::parse(self.rest().get(..header)?).ok();
        let body = message.and_then(|message| message.content_length()).unwrap_or_default();
        let body = usize::try_from(body).unwrap_or(usize::MAX);
        if header.saturating_add(body) <= MAX_MESSAGE {
            return Some(header + body);
        }
        // The header alone is read, and the body left out, as far as it is here already and as it comes.
        let here = self.rest().len().saturating_sub(header).min(body);
        self.buffer.drain(self.read + header..self.read + header + here);
        self.skipped = body - here;
        Some(header)
    }

    /// What stands where a message should begin may be one, even a wrong one; `None`: its first line is not whole.
    fn has_start_line(&self) -> Option<bool> {
        let rest = self.rest().get(..MAX_LINE).unwrap_or(self.rest());
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => Some(names_sip(rest.get(..end)?)),
            None => (rest.len() == MAX_LINE).then_some(false),
        }
    }

    /// The end of the header in front, if it is within the limit. What was looked at is not looked at again.
    fn find_empty_line(&mut self, limit: usize) -> Option<usize> {
        let rest = self.rest();
        let rest = rest.get(..limit).unwrap_or(rest);
        let from = self.scanned.saturating_sub(3);
        let end = rest.get(from..)?.windows(4).position(|window| window == b"\r\n\r\n");
        if end.is_none() {
            self.scanned = rest.len();
        }
        Some(from + end? + 4)
    }
}

/// The protocol in a start line, of whatever version.
fn names_sip(line: &[u8]) -> bool {
    line.windows(4).any(|word| word.eq_ignore_ascii_case(b"SIP/"))
}

/// Text so far: what is not need not be kept until a line ends.
fn could_be_sip(line: &[u8]) -> bool {
    line.iter().take(16).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}
