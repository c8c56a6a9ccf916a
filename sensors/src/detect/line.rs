//! What is quoted of a message: enough to see what happened, nothing that is somebody's secret.

use log_format::event::Text;
use sip::{Message, StartLine, Uri};

/// Characters of a user that are shown; the rest is hidden.
const USER_SHOWN: usize = 6;
/// Bytes of a quoted line at most.
const LONGEST: usize = 160;

/// The first line. Of an answer also what it answers.
pub(crate) fn first_line(message: &Message<'_>) -> Text {
    let mut line = Vec::new();
    match message.start {
        StartLine::Request { method, uri, .. } => {
            line.extend_from_slice(method);
            line.push(b' ');
            push_uri(&mut line, uri);
        }
        StartLine::Response { status, reason, .. } => {
            line.extend_from_slice(status.to_string().as_bytes());
            line.push(b' ');
            line.extend_from_slice(reason);
            if let (Some(cseq), Some(to)) = (message.cseq(), message.to()) {
                line.extend_from_slice(b" to ");
                line.extend_from_slice(cseq.method);
                line.push(b' ');
                push_uri(&mut line, to.uri);
            }
        }
    }
    line.truncate(LONGEST);
    Text::new(&line)
}

/// The user and host of an address.
pub(crate) fn account(uri: Uri<'_>) -> Text {
    let mut account = uri.user.to_vec();
    if !uri.user.is_empty() {
        account.push(b'@');
    }
    account.extend_from_slice(uri.host);
    account.truncate(LONGEST);
    Text::new(&account)
}

/// Scheme, shortened user and host; passwords, parameters and headers of a URI are left out.
fn push_uri(line: &mut Vec<u8>, uri: &[u8]) {
    let Uri { scheme, user, host, .. } = Uri::read(uri);
    line.extend_from_slice(scheme);
    line.push(b':');
    if !user.is_empty() {
        let shown = user.get(..USER_SHOWN).unwrap_or(user);
        line.extend_from_slice(shown);
        line.extend(std::iter::repeat_n(b'*', user.len() - shown.len()));
        line.push(b'@');
    }
    line.extend_from_slice(host);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(text: &str) -> String {
        String::from_utf8(first_line(&sip::parse(text.as_bytes()).unwrap()).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_shortened_and_passwords_left_out() {
        let text = "INVITE sip:00442039967796:secret@10.0.0.1;transport=udp?X=y SIP/2.0\r\n\r\n";
        assert_eq!(line_of(text), "INVITE sip:004420********@10.0.0.1");
        assert_eq!(line_of("REGISTER sip:pbx.example SIP/2.0\r\n\r\n"), "REGISTER sip:pbx.example");
    }

    #[test]
    fn an_answer_says_what_it_answers() {
        let text = "SIP/2.0 401 Unauthorized\r\nTo: <sip:1001@pbx>\r\nCSeq: 2 REGISTER\r\n\r\n";
        assert_eq!(line_of(text), "401 Unauthorized to REGISTER sip:1001@pbx");
    }
}
