//! What several traffic programs need of a SIP message beside what the `sip` crate reads and builds.

use std::net::SocketAddr;
use std::time::Duration;

use sip::Message;

/// Validity of a registration that asks for none (RFC 3261, 10.3 leaves it to the registrar).
const VALIDITY: Duration = Duration::from_secs(3_600);

/// The value as text; what is no UTF-8 is replaced, what is missing is empty.
pub(super) fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

/// How long the sender of a REGISTER wants to be bound: the contact's parameter, else the header.
pub(super) fn validity(message: &Message<'_>) -> Duration {
    let parameter = message
        .headers()
        .filter(|header| [&b"contact"[..], b"m"].contains(&&*header.name.to_ascii_lowercase()))
        .find_map(|header| expires_parameter(&text(Some(header.value))));
    parameter.or(message.expires()).map_or(VALIDITY, |seconds| Duration::from_secs(seconds.into()))
}

fn expires_parameter(contact: &str) -> Option<u32> {
    let after_uri = contact.rsplit('>').next()?;
    after_uri
        .split(';')
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("expires"))
        .and_then(|(_, value)| value.parse().ok())
}

/// Fills in where the request came from, if the sender asked for that (RFC 3581, 4).
pub(super) fn with_return_path(mut answer: Vec<u8>, source: SocketAddr) -> Vec<u8> {
    if let Some(at) = end_of_open_rport(&answer) {
        let filled = format!("={};received={}", source.port(), source.ip());
        answer.splice(at..at, filled.into_bytes());
    }
    answer
}

/// Where the value of an empty `rport` in the first hop belongs.
fn end_of_open_rport(answer: &[u8]) -> Option<usize> {
    const ASKED: &[u8] = b";rport";
    let mut line_start = 0;
    for line in answer.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"v") {
            let hop = line.split(|byte| *byte == b',').next().unwrap_or_default();
            let end = hop.windows(ASKED.len()).position(|window| window == ASKED)? + ASKED.len();
            let is_open = hop.get(end).is_none_or(|byte| *byte != b'=');
            return is_open.then_some(line_start + end);
        }
        line_start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_return_path_is_filled_in_where_it_was_asked_for() {
        let source = "192.0.2.66:40001".parse().unwrap();
        let fill = |via: &str| {
            let answer = format!(
                "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 127.0.0.1:5060{via}\r\nTo: <sip:a;rport@b>\r\n\r\n"
            );
            let filled = String::from_utf8(with_return_path(answer.into_bytes(), source)).unwrap();
            filled.lines().nth(1).unwrap().split_once(":5060").unwrap().1.to_owned()
        };
        assert_eq!(fill(";branch=z9hG4bK1;rport"), ";branch=z9hG4bK1;rport=40001;received=192.0.2.66");
        assert_eq!(fill(";rport;branch=z9hG4bK1"), ";rport=40001;received=192.0.2.66;branch=z9hG4bK1");
        assert_eq!(fill(";branch=z9hG4bK1"), ";branch=z9hG4bK1");
        assert_eq!(fill(";rport=5"), ";rport=5");
        assert_eq!(with_return_path(b"SIP".to_vec(), source), b"SIP");
    }

    #[test]
    fn the_contacts_own_validity_is_stronger_than_the_header() {
        let validity_of = |headers: &str| {
            let text = format!("REGISTER sip:a SIP/2.0\r\n{headers}\r\n");
            validity(&sip::parse(text.as_bytes()).unwrap()).as_secs()
        };
        assert_eq!(validity_of("Contact: <sip:a@b;expires=9>;q=1;expires=60\r\nExpires: 30\r\n"), 60);
        assert_eq!(validity_of("Contact: <sip:a@b>\r\nExpires: 30\r\n"), 30);
        assert_eq!(validity_of("m: <sip:a@b>\r\n"), 3_600);
    }
}
