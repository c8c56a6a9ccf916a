//! Reads what phones and harvesters say over TFTP (RFC 1350, options of RFC 2347), and whose configuration a name asks for.
//!
//! Phones fetch their configuration by names that hold their MAC address. One phone asks for many names of one MAC; who asks for
//! many MACs guesses (DETECTION.md, A25).

/// A request is at most this long with all its options (RFC 2347), so no name is longer.
const MAX_REQUEST: usize = 512;
/// Hexadecimal digits of a MAC address.
const MAC_DIGITS: usize = 12;
/// What stands directly before the MAC in names that phones of one kind ask for; the longest first.
const PREFIXES: [&[u8]; 8] = [b"CTLSEP", b"ITLSEP", b"SEP", b"SIP", b"cfg", b"ATA", b"spa", b"gxp"];

/// A datagram of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Asks to read or to write a file.
    Request(Request<'a>),
    /// A block of a file.
    Data {
        /// Its number; the first is 1.
        block: u16,
        /// Bytes of the file in it.
        length: usize,
    },
    /// A block has come. Sent to a server's transfer port it proves the sender's address: the port was told to nobody else.
    Acknowledgement {
        /// Which; 0 accepts a write request or options.
        block: u16,
    },
    /// A transfer ends in failure.
    Error {
        /// 1: no such file; 2: access violation.
        code: u16,
    },
    /// A server accepts options (RFC 2347).
    OptionsAccepted,
}

/// A request for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file is to be written, not read.
    pub is_write: bool,
    /// Its name as it was sent: not empty, any bytes but zero.
    pub name: &'a [u8],
    /// How it is to be sent.
    pub mode: Mode,
}

/// How a file is to be sent (RFC 1350, 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Text.
    NetAscii,
    /// Bytes.
    Octet,
    /// To a person; obsolete.
    Mail,
    /// Another word, or cut off.
    Other,
}

/// Why a datagram is not TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It ends before its header does.
    #[error("tftp packet ends after {0} bytes")]
    Short(usize),
    /// No such operation.
    #[error("tftp operation {0}")]
    Operation(u16),
    /// The name is empty, or does not end within a request's length.
    #[error("tftp name at byte 2 has no end or no bytes")]
    Name,
}

/// Reads a datagram that went to or from a TFTP server. Looks at no more than the 512 bytes that a request may have.
pub fn parse(payload: &[u8]) -> Result<Packet<'_>, ParseError> {
    let short = ParseError::Short(payload.len());
    let (operation, rest) = take_u16(payload).ok_or(short)?;
    match operation {
        1 => read_request(rest, false),
        2 => read_request(rest, true),
        3 => {
            let (block, data) = take_u16(rest).ok_or(short)?;
            Ok(Packet::Data { block, length: data.len() })
        }
        4 => Ok(Packet::Acknowledgement { block: take_u16(rest).ok_or(short)?.0 }),
        5 => Ok(Packet::Error { code: take_u16(rest).ok_or(short)?.0 }),
        6 => Ok(Packet::OptionsAccepted),
        other => Err(ParseError::Operation(other)),
    }
}

fn read_request(bytes: &[u8], is_write: bool) -> Result<Packet<'_>, ParseError> {
    let bytes = bytes.get(..MAX_REQUEST - 2).unwrap_or(bytes);
    let end = bytes.iter().position(|byte| *byte == 0).filter(|end| 0 < *end).ok_or(ParseError::Name)?;
    let name = bytes.get(..end).ok_or(ParseError::Name)?;
    // A request without a mode is refused by servers, and asks for its name all the same.
    let mode = bytes.get(end + 1..).and_then(|rest| rest.split(|byte| *byte == 0).next());
    Ok(Packet::Request(Request { is_write, name, mode: mode_of(mode.unwrap_or_default()) }))
}

/// The case does not matter (RFC 1350, 5).
fn mode_of(word: &[u8]) -> Mode {
    let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    match () {
        () if is("octet") => Mode::Octet,
        () if is("netascii") => Mode::NetAscii,
        () if is("mail") => Mode::Mail,
        () => Mode::Other,
    }
}

/// The MAC address in the name of a phone's file: the first of
///
/// - twelve hexadecimal digits that stand alone (`0004f2aabbcc.cfg`, `phones/0004f2aabbcc-directory.xml`),
/// - the same behind a maker's prefix (`SEP0004F2AABBCC.cnf.xml`, `CTLSEP…`, `ITLSEP…`, `cfg000b82aabbcc`),
/// - six pairs with one kind of separator (`00:04:f2:aa:bb:cc`, `01-00-04-f2-aa-bb-cc` of a network boot).
///
/// `None` for a default file (`000000000000.cfg`) and for the last part of a UUID. Looks at the first 512 bytes of the name.
pub fn mac_of(name: &[u8]) -> Option<[u8; 6]> {
    let name = name.get(..MAX_REQUEST).unwrap_or(name);
    let mut begin = 0;
    while let Some(rest) = name.get(begin..)
        && !rest.is_empty()
    {
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let token = rest.get(..length)?;
        let found = digits_of(token)
            .filter(|_| !is_end_of_uuid(name, begin))
            .and_then(mac_from)
            .or_else(|| mac_in_pairs(name, begin));
        if found.is_some_and(|mac| mac != [0; 6]) {
            return found;
        }
        begin += length + 1;
    }
    None
}

/// The digits of a token that is a MAC, with or without a maker's prefix.
fn digits_of(token: &[u8]) -> Option<&[u8]> {
    let before = token.get(..token.len().checked_sub(MAC_DIGITS)?)?;
    let is_whole = before.is_empty() || PREFIXES.iter().any(|prefix| prefix.eq_ignore_ascii_case(before));
    token.get(before.len()..).filter(|digits| is_whole && is_hexadecimal(digits))
}

fn is_hexadecimal(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

/// Four digits between hyphens stand before it.
fn is_end_of_uuid(name: &[u8], begin: usize) -> bool {
    let before = begin.checked_sub(6).and_then(|from| name.get(from..begin));
    before.is_some_and(|before| match before {
        [b'-', group @ .., b'-'] => is_hexadecimal(group),
        _ => false,
    })
}

fn mac_from(digits: &[u8]) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    for (octet, pair) in mac.iter_mut().zip(digits.chunks(2)) {
        *octet = octet_from(pair)?;
    }
    Some(mac)
}

fn octet_from(pair: &[u8]) -> Option<u8> {
    let [high, low] = *pair.first_chunk()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Pairs that begin here and stand alone. A network boot puts the hardware's type, 01, in front.
fn mac_in_pairs(name: &[u8], begin: usize) -> Option<[u8; 6]> {
    const PAIRS: usize = 17;
    let pairs = |begin: usize| {
        let bytes = name.get(begin..begin + PAIRS)?;
        let separator = *bytes.get(2).filter(|byte| matches!(byte, b':' | b'-'))?;
        let is_after_pair = begin.checked_sub(1).and_then(|at| name.get(at)) == Some(&separator)
            && begin.checked_sub(3).and_then(|at| name.get(at..)).and_then(octet_from).is_some();
        let after = name.get(begin + PAIRS);
        if after.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == separator) {
            return None;
        }
        let mut mac = [0; 6];
        for (octet, part) in mac.iter_mut().zip(bytes.chunks(3)) {
            let is_parted = part.get(2).is_none_or(|byte| *byte == separator);
            *octet = octet_from(part).filter(|_| is_parted)?;
        }
        Some((mac, is_after_pair))
    };
    if name.get(begin..begin + 3).is_some_and(|first| matches!(first, b"01-" | b"01:"))
        && let Some((mac, _)) = pairs(begin + 3)
    {
        return Some(mac);
    }
    pairs(begin).and_then(|(mac, is_after_pair)| (!is_after_pair).then_some(mac))
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
#[path = "tftp_tests.rs"]
mod tests;
