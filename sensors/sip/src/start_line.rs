//! The first line: a request's or a response's.

use crate::defect::ErrorKind;
use crate::scan;

/// The first line of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// Somebody asks.
    Request {
        /// As it stands; methods are case-sensitive (RFC 3261, 7.1).
        method: &'a [u8],
        /// As it stands, not checked.
        uri: &'a [u8],
        /// Usually `SIP/2.0`.
        version: &'a [u8],
    },
    /// Somebody answers.
    Response {
        /// Usually `SIP/2.0`.
        version: &'a [u8],
        /// 100 to 699.
        status: u16,
        /// As it stands; may be empty.
        reason: &'a [u8],
    },
}

impl<'a> StartLine<'a> {
    /// The version as it stands.
    pub const fn version(&self) -> &'a [u8] {
        match self {
            Self::Request { version, .. } | Self::Response { version, .. } => version,
        }
    }
}

const VERSION: &[u8] = b"SIP/2.0";
const VERSION_PREFIX: &[u8] = b"SIP/";

/// Reads a line without its line end.
pub(crate) fn parse(line: &[u8]) -> Result<StartLine<'_>, ErrorKind> {
    let line = scan::trim(line);
    if let Some(usual) = usual_response(line).or_else(|| usual_request(line)) {
        return Ok(usual);
    }
    if is_version(line) {
        return response(line);
    }
    request(line)
}

/// A response as nearly all are written. What is not is left to [`response`].
fn usual_response(line: &[u8]) -> Option<StartLine<'_>> {
    let (version, rest) = line.split_at_checked(VERSION.len()).filter(|(version, _)| *version == VERSION)?;
    let [b' ', code @ b'1'..=b'6', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' ', reason @ ..] = rest else {
        return None;
    };
    let digit = |digit: &u8| u16::from(digit - b'0');
    let status = digit(code) * 100 + digit(tens) * 10 + digit(ones);
    Some(StartLine::Response { version, status, reason: scan::trim(reason) })
}

/// A request as nearly all are written. What is not is left to [`request`].
fn usual_request(line: &[u8]) -> Option<StartLine<'_>> {
    let (method, _) = scan::split(line, scan::find_near(line, b' ')?);
    if !is_usual(method) {
        return None;
    }
    let (before, version) = line.split_at_checked(line.len().checked_sub(VERSION.len())?)?;
    let [uri @ .., b' '] = before.get(method.len()..)? else { return None };
    let uri = scan::trim(uri);
    (version == VERSION && !uri.is_empty()).then_some(StartLine::Request { method, uri, version })
}

fn is_version(word: &[u8]) -> bool {
    word.starts_with(VERSION_PREFIX)
        || word.get(..VERSION_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(VERSION_PREFIX))
}

fn response(line: &[u8]) -> Result<StartLine<'_>, ErrorKind> {
    let (version, rest) = word(line);
    let (code, reason) = word(rest);
    let status = match (code.len(), scan::number(code)) {
        (3, Some(status @ 100..=699)) => u16::try_from(status).map_err(|_| ErrorKind::StatusCode)?,
        _ => return Err(ErrorKind::StatusCode),
    };
    Ok(StartLine::Response { version, status, reason: scan::trim(reason) })
}

/// The version is the last word and the method the first, so blanks within the URI do no harm.
fn request(line: &[u8]) -> Result<StartLine<'_>, ErrorKind> {
    let (method, rest) = word(line);
    // No line feed is left within the line.
    let last = scan::find_last_of_three(rest, [b' ', b'\t', b'\r']).map_or(0, |blank| blank + 1);
    let (uri, version) = scan::split(rest, last);
    let uri = scan::trim(uri);
    if !is_version(version) || uri.is_empty() {
        return Err(ErrorKind::NotSip);
    }
    if !is_usual(method) && scan::find_where(method, |byte| !is_token(byte)).is_some() {
        return Err(ErrorKind::Method);
    }
    Ok(StartLine::Request { method, uri, version })
}

/// The methods of nearly all requests.
fn is_usual(method: &[u8]) -> bool {
    matches!(method, b"REGISTER" | b"OPTIONS" | b"INVITE" | b"ACK" | b"BYE")
}

/// The first word and what follows the blanks after it.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = scan::find_where(line, scan::is_blank).unwrap_or(line.len());
    let (word, rest) = scan::split(line, end);
    (word, scan::trim_start(rest))
}

/// A character of a token (RFC 3261, 25.1).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_responses_are_told_apart() {
        assert_eq!(
            parse(b"INVITE sip:a@b  SIP/2.0 "),
            Ok(StartLine::Request { method: b"INVITE", uri: b"sip:a@b", version: b"SIP/2.0" })
        );
        assert_eq!(
            parse(b"SIP/2.0 401 Not here"),
            Ok(StartLine::Response { version: b"SIP/2.0", status: 401, reason: b"Not here" })
        );
        assert_eq!(
            parse(b"SIP/2.0 100"),
            Ok(StartLine::Response { version: b"SIP/2.0", status: 100, reason: b"" })
        );
    }

    #[test]
    fn other_protocols_and_wild_codes_are_refused() {
        for (line, kind) in [
            (&b"GET /phpinfo.php HTTP/1.1"[..], ErrorKind::NotSip),
            (b"M-SEARCH * HTTP/1.1", ErrorKind::NotSip),
            (b"SSH-2.0-x", ErrorKind::NotSip),
            (b"REGISTER SIP/2.0", ErrorKind::NotSip),
            (b"SIP/2.0 4294967301 better not", ErrorKind::StatusCode),
            (b"SIP/2.0 099 x", ErrorKind::StatusCode),
            (b"<DB>REGISTER sip:a SIP/2.0", ErrorKind::Method),
        ] {
            assert_eq!(parse(line), Err(kind));
        }
    }

    proptest::proptest! {
        #[test]
        fn usual_lines_are_read_like_all_others(
            line in "(REGISTER|ACK|BYE|SIP/2.0|sip/2.0)?[ \\t]{0,2}(sip:a@b|401|699|700|09|x| )?[ \\t]{0,2}(SIP/2.0|SIP/3|Ok)?[ \\t]{0,2}",
        ) {
            let line = scan::trim(line.as_bytes());
            let slow = if is_version(line) { response(line) } else { request(line) };
            if let Some(usual) = usual_response(line).or_else(|| usual_request(line)) {
                proptest::prop_assert_eq!(Ok(usual), slow);
            }
            proptest::prop_assert_eq!(parse(line), slow);
        }
    }
}
