//! SIP over WebSocket in clear (RFC 6455, RFC 7118): the HTTP exchange that opens it, and the frames after that.
//!
//! ```text
//!  GET … Upgrade: websocket, Sec-WebSocket-Protocol: sip ──101──> frames ──> each message is one SIP message
//! ```
//!
//! A message may be cut into frames with control frames between them. Whether frames are masked is not held against anybody: a
//! careless server reads what it should refuse, and so must the sensor.

/// Of a longer message the beginning is kept, where the header of the SIP message is.
const MAX_MESSAGE: usize = 65_535;
/// Control frames carry at most this (RFC 6455, 5.5).
const MAX_CONTROL: u64 = 125;
/// Header fields of an HTTP message that are read; browsers send about fifteen.
const MAX_FIELDS: usize = 64;
/// Two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// What an HTTP request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// WebSocket that carries SIP.
    Sip,
    /// Anything else, WebSocket for other ends included.
    Other,
}

/// How an HTTP server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The protocol that was chosen is SIP; `None` if none was named.
    pub(crate) is_sip: Option<bool>,
}

impl Response {
    /// The connection carries SIP from here on. A server that names no protocol has taken the one that was asked for.
    pub(crate) fn opens(self, was_asked: bool) -> bool {
        self.status == 101 && self.is_sip.unwrap_or(was_asked)
    }
}

/// Reads the head of a request, to its empty line.
pub(crate) fn request(head: &[u8]) -> Request {
    let is_upgrade = has_token(head, b"upgrade", b"websocket");
    let is_sip = has_token(head, b"sec-websocket-protocol", b"sip");
    if is_upgrade && is_sip { Request::Sip } else { Request::Other }
}

/// Reads the head of a response, to its empty line; `None`: it is none.
pub(crate) fn response(head: &[u8]) -> Option<Response> {
    let (version, rest) = head.split_at_checked(b"HTTP/1.1 ".len())?;
    let (digits, _) = rest.split_first_chunk::<3>()?;
    if !version.starts_with(b"HTTP/1.") || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let is_named = fields(head).any(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-protocol"));
    let is_sip = is_named.then(|| has_token(head, b"sec-websocket-protocol", b"sip"));
    Some(Response { status, is_sip })
}

fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).take(MAX_FIELDS).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
    })
}

/// One of the words of a field, which may be a list.
fn has_token(head: &[u8], name: &[u8], token: &[u8]) -> bool {
    fields(head)
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(token))
}

/// What comes out of the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole message; of one longer than 65,535 bytes the beginning.
    Message(Vec<u8>),
    /// The sender closes: nothing follows.
    Closed,
    /// This is not WebSocket, or not any more: nothing that follows can be read.
    Malformed,
}

/// Takes the frames of one direction apart. Holds a header and one message.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    header: [u8; MAX_HEADER],
    /// Bytes of the header that have come.
    held: usize,
    frame: Option<Frame>,
    message: Vec<u8>,
    /// A message has begun and is not whole.
    is_under_way: bool,
    /// The message is compressed, which no SIP server asks for: it is left out.
    is_compressed: bool,
    is_over: bool,
}

/// The frame whose payload comes.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: u8,
    is_final: bool,
    mask: Option<[u8; 4]>,
    /// Bytes of the payload that have come.
    done: u64,
    length: u64,
}

impl Frame {
    const fn is_control(self) -> bool {
        self.opcode & 8 != 0
    }
}

impl Deframer {
    /// Bytes of the message under way.
    pub(crate) fn held(&self) -> usize {
        self.message.len()
    }

    /// Reads on until something is whole. `None`: all bytes are read.
    pub(crate) fn feed(&mut self, bytes: &mut &[u8]) -> Option<Step> {
        while !self.is_over {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.read_header(bytes)? {
                    Some(frame) => frame,
                    None => {
                        self.is_over = true;
                        return Some(Step::Malformed);
                    }
                },
            };
            let frame = self.read_payload(frame, bytes);
            if frame.done < frame.length {
                self.frame = Some(frame);
                return None;
            }
            self.frame = None;
            if let Some(step) = self.finish(frame) {
                return Some(step);
            }
        }
        *bytes = &[];
        None
    }

    /// The next frame's header: `None` until it is there, `Some(None)` if it is none.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Option<Option<Frame>> {
        loop {
            let wanted = match self.header.get(..self.held) {
                Some([_, second, ..]) => {
                    let length = match second & 0x7f {
                        126 => 2,
                        127 => 8,
                        _ => 0,
                    };
                    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
                }
                _ => 2,
            };
            if 2 <= self.held && wanted <= self.held {
                self.held = 0;
                return Some(self.check(wanted));
            }
            let (byte, rest) = bytes.split_first()?;
            *self.header.get_mut(self.held)? = *byte;
            self.held += 1;
            *bytes = rest;
        }
    }

    /// What RFC 6455, 5.2 and 5.5 forbid is no frame.
    fn check(&mut self, length_of_header: usize) -> Option<Frame> {
        let [first, second, rest @ ..] = &self.header;
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(*rest.first_chunk()?)),
            127 => u64::from_be_bytes(*rest.first_chunk()?),
            short => u64::from(short),
        };
        let mask = if second & 0x80 == 0 {
            None
        } else {
            let mask = self.header.get(length_of_header.checked_sub(4)?..length_of_header)?;
            Some(*mask.first_chunk()?)
        };
        let frame = Frame { opcode: first & 0x0f, is_final: first & 0x80 != 0, mask, done: 0, length };
        let is_compressed = first & 0x40 != 0;
        let is_allowed = match frame.opcode {
            0 => self.is_under_way && !is_compressed,
            1 | 2 => !self.is_under_way,
            8..=10 => frame.is_final && length <= MAX_CONTROL && !is_compressed,
            _ => false,
        };
        if first & 0x30 != 0 || length >> 63 != 0 || !is_allowed {
            return None;
        }
        if matches!(frame.opcode, 1 | 2) {
            (self.is_under_way, self.is_compressed) = (true, is_compressed);
        }
        Some(frame)
    }

    fn read_payload(&mut self, frame: Frame, bytes: &mut &[u8]) -> Frame {
        let left = usize::try_from(frame.length - frame.done).unwrap_or(usize::MAX);
        let (here, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
        *bytes = rest;
        if !frame.is_control() && !self.is_compressed {
            let kept = here.len().min(MAX_MESSAGE.saturating_sub(self.message.len()));
            let kept = here.get(..kept).unwrap_or_default();
            match frame.mask {
                None => self.message.extend_from_slice(kept),
                Some(mask) => {
                    // The mask goes on where the last piece of this frame ended.
                    let phase = usize::try_from(frame.done % 4).unwrap_or_default();
                    let mask = mask.iter().cycle().skip(phase);
                    self.message.extend(kept.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
                }
            }
        }
        Frame { done: frame.done + here.len() as u64, ..frame }
    }

    fn finish(&mut self, frame: Frame) -> Option<Step> {
        if frame.opcode == 8 {
            self.is_over = true;
            self.message = Vec::new();
            return Some(Step::Closed);
        }
        if frame.is_control() || !frame.is_final {
            return None;
        }
        self.is_under_way = false;
        let message = std::mem::take(&mut self.message);
        (!self.is_compressed && !message.is_empty()).then_some(Step::Message(message))
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
