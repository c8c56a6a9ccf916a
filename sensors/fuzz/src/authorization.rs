//! The value of an Authorization or WWW-Authenticate header, within a message that is otherwise right.

use sip::{Message, parse};

/// Puts the bytes in a request and in an answer, and reads what they say.
pub(crate) fn run(bytes: &[u8]) {
    let request = message("REGISTER sip:pbx.example.net SIP/2.0", "Authorization", bytes);
    if let Ok(message) = parse(&request) {
        assert!(
            message.has_credentials() && message.defects.first().is_none_or(|(_, at)| at <= request.len())
        );
        for credentials in message.all_credentials() {
            for value in [credentials.username, credentials.realm, credentials.nonce, credentials.uri] {
                check(&request, value);
            }
            for value in [credentials.response, credentials.cnonce, credentials.qop, credentials.algorithm] {
                check(&request, value);
            }
        }
        read_all(&message);
    }
    let answer = message("SIP/2.0 401 Unauthorized", "WWW-Authenticate", bytes);
    if let Ok(message) = parse(&answer) {
        for challenge in message.all_challenges() {
            check(&answer, Some(challenge.realm));
            check(&answer, Some(challenge.nonce));
            check(&answer, challenge.qop);
            check(&answer, challenge.opaque);
        }
        read_all(&message);
    }
}

fn message(start: &str, name: &str, value: &[u8]) -> Vec<u8> {
    let mut message = format!("{start}\r\n{name}: ").into_bytes();
    message.extend_from_slice(value);
    message.extend_from_slice(b"\r\nVia: SIP/2.0/UDP a;branch=b\r\nTo: <sip:a@b>\r\n\r\n");
    message
}

/// A value is lent from the message, and without its escapes it is no longer.
fn check(message: &[u8], value: Option<&[u8]>) {
    let Some(value) = value else { return };
    assert!(value.is_empty() || message.as_ptr_range().contains(&value.as_ptr()), "a value from elsewhere");
    assert!(sip::unescaped(value).count() <= value.len());
}

fn read_all(message: &Message<'_>) {
    std::hint::black_box((message.via(), message.to().map(|to| (to.tag(), to.parts())), message.from()));
    std::hint::black_box((message.cseq(), message.contact(), message.expires(), message.content_length()));
}
