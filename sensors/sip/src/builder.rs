//! Writes messages: for traffic programs and tests, not for the sensor, which never speaks.

use crate::header::HeaderName;
use crate::message::Message;
use crate::scan;

/// A request under construction. Headers appear in the order in which they were added; Content-Length is added last.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    /// Starts a request.
    pub fn new(method: &str, uri: &str) -> Self {
        Self { bytes: format!("{method} {uri} SIP/2.0\r\n").into_bytes(), body: Vec::new() }
    }

    /// Adds a header; the value is written as it is.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        write_header(&mut self.bytes, name.as_bytes(), value.as_ref());
        self
    }

    /// Sets the body; its Content-Type is a header like any other.
    #[must_use]
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body = bytes.as_ref().to_vec();
        self
    }

    /// The message.
    pub fn build(self) -> Vec<u8> {
        finish(self.bytes, &self.body)
    }
}

/// A response under construction.
#[derive(Debug, Clone)]
pub struct Response {
    bytes: Vec<u8>,
    body: Vec<u8>,
}

impl Response {
    /// Starts the answer to a request: takes over its Via headers, From, To, Call-ID and CSeq. To gets a tag if it has
    /// none, save in a 100 (RFC 3261, 8.2.6): the same for the same Call-ID, so that retransmissions agree.
    pub fn to(request: &Message<'_>, status: u16, reason: &str) -> Self {
        let mut bytes = format!("SIP/2.0 {status} {reason}\r\n").into_bytes();
        for header in request.headers().filter(|header| header.is_whole) {
            match HeaderName::read(header.name) {
                HeaderName::Via | HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                    write_header(&mut bytes, header.name, header.value);
                }
                HeaderName::To => {
                    let mut value = header.value.to_vec();
                    if status > 100 && request.to().is_some_and(|to| to.tag().is_none()) {
                        value.extend_from_slice(format!(";tag={:08x}", tag(request)).as_bytes());
                    }
                    write_header(&mut bytes, header.name, &value);
                }
                HeaderName::UserAgent
                | HeaderName::Server
                | HeaderName::Contact
                | HeaderName::Authorization
                | HeaderName::ProxyAuthorization
                | HeaderName::WwwAuthenticate
                | HeaderName::ProxyAuthenticate
                | HeaderName::Expires
                | HeaderName::ContentLength
                | HeaderName::Other => {}
            }
        }
        Self { bytes, body: Vec::new() }
    }

    /// Adds a header; the value is written as it is.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        write_header(&mut self.bytes, name.as_bytes(), value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body = bytes.as_ref().to_vec();
        self
    }

    /// The message.
    pub fn build(self) -> Vec<u8> {
        finish(self.bytes, &self.body)
    }
}

fn write_header(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    bytes.extend_from_slice(scan::trim(name));
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

fn finish(mut bytes: Vec<u8>, body: &[u8]) -> Vec<u8> {
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// FNV-1a of the Call-ID: a tag needs no secrecy, only to be stable.
fn tag(request: &Message<'_>) -> u32 {
    request
        .call_id()
        .unwrap_or_default()
        .iter()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn register() -> Request {
        Request::new("REGISTER", "sip:pbx.example.net")
            .header("Via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-1")
            .header("v", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK-0")
            .header("From", "<sip:1001@pbx.example.net>;tag=a")
            .header("To", "<sip:1001@pbx.example.net>")
            .header("Call-ID", "x")
            .header("CSeq", "1 REGISTER")
    }

    #[test]
    fn what_is_built_can_be_read() {
        let bytes = register().header("User-Agent", "phone").body("hello").build();
        let message = parse(&bytes).unwrap();
        assert!(message.defects.is_empty());
        assert_eq!(message.method(), Some(&b"REGISTER"[..]));
        assert_eq!(message.body(), b"hello");
        assert_eq!(message.content_length(), Some(5));
        assert_eq!(message.to().unwrap().parts().user, b"1001");
    }

    #[test]
    fn an_answer_takes_over_what_identifies_the_request() {
        let bytes = register().build();
        let request = parse(&bytes).unwrap();
        let answer = Response::to(&request, 401, "Unauthorized")
            .header("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\"")
            .build();
        let again = Response::to(&request, 200, "OK").build();
        let answer = parse(&answer).unwrap();
        assert!(answer.defects.is_empty());
        assert_eq!(answer.status(), Some(401));
        assert_eq!(answer.via(), request.via());
        assert_eq!(
            answer.headers().filter(|header| HeaderName::read(header.name) == HeaderName::Via).count(),
            2
        );
        assert_eq!(answer.cseq(), request.cseq());
        assert_eq!(answer.call_id(), request.call_id());
        assert_eq!(answer.challenge().unwrap().nonce, b"n");
        assert!(answer.to().unwrap().tag().is_some());
        assert_eq!(answer.to().unwrap().tag(), parse(&again).unwrap().to().unwrap().tag());
    }

    #[test]
    fn trying_has_no_tag() {
        let bytes = register().build();
        let answer = Response::to(&parse(&bytes).unwrap(), 100, "Trying").build();
        assert_eq!(parse(&answer).unwrap().to().unwrap().tag(), None);
    }
}
