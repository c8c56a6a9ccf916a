//! Reads of a DNS datagram what its shape needs (RFC 1035, RFC 6891): who asks for what, and how the answer is.
//!
//! Only the header, the first question and, of a query, the size that its sender takes are read. The name of a first question
//! has nothing before it to point to, so a pointer there is an error and no loop can arise.

/// Labels and their lengths take at most this (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;
/// Additional records in which a query's OPT is looked for. Honest queries have it alone; a signature may follow it.
const MAX_ADDITIONAL: u16 = 4;
const HEADER: usize = 12;
const OPT: u16 = 41;

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The number that joins query and response.
    pub id: u16,
    /// Query or response.
    pub direction: Direction,
    /// 0 is an ordinary query.
    pub operation: u8,
    /// The first question; a refusal may leave it out.
    pub question: Option<Question<'a>>,
}

/// Query or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Somebody asks.
    Query {
        /// The server is to ask others.
        is_recursive: bool,
        /// The longest response over UDP that is taken; `None` stands for 512 bytes.
        udp_size: Option<u16>,
    },
    /// A server answers.
    Response {
        /// 0: no error; 3: no such name; 5: refused. The four bits of the header.
        code: u8,
        /// The rest did not fit: the sender is to ask over TCP.
        is_truncated: bool,
        /// Records in the answer section, as the header says.
        answers: u16,
    },
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name.
    pub name: Name<'a>,
    /// QTYPE: 1 A, 16 TXT, 28 AAAA, 255 ANY.
    pub kind: u16,
    /// QCLASS: 1 is the Internet.
    pub class: u16,
}

impl Question<'_> {
    /// Asks for everything there is, which amplifies most.
    pub const fn is_any(&self) -> bool {
        self.kind == 255
    }
}

/// A name as it stands on the wire, at most 255 bytes, without pointers; the root is one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// The bytes on the wire, the last one zero. Letters have the case in which they came.
    pub const fn wire(&self) -> &'a [u8] {
        self.0
    }

    /// The labels, the leftmost first; the root has none.
    pub fn labels(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first().filter(|(length, _)| 0 < **length)?;
            let (label, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            Some(label)
        })
    }

    /// The end of the name that holds its last `count` labels: what random subdomains have in common.
    pub fn suffix(&self, count: usize) -> Self {
        let mut skip = self.labels().count().saturating_sub(count);
        let mut rest = self.0;
        while 0 < skip
            && let Some((length, after)) = rest.split_first()
            && let Some(after) = after.get(usize::from(*length)..)
        {
            (rest, skip) = (after, skip - 1);
        }
        Self(rest)
    }
}

/// Why a datagram is not DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It ends before its header or its question does.
    #[error("dns message ends after {0} bytes")]
    Short(usize),
    /// A label of the first question is longer than 63 bytes, is a pointer, or the name is too long.
    #[error("dns name at byte {0} is no name")]
    Name(usize),
}

/// Reads a UDP payload. Looks at most at the header, one question of 259 bytes and four short records.
pub fn parse(payload: &[u8]) -> Result<Packet<'_>, ParseError> {
    let short = ParseError::Short(payload.len());
    let (header, rest) = payload.split_first_chunk::<HEADER>().ok_or(short)?;
    let [i0, i1, flags, more, q0, q1, a0, a1, n0, n1, d0, d1] = *header;
    let count = |high, low| u16::from_be_bytes([high, low]);
    let (question, rest) = if count(q0, q1) == 0 {
        (None, rest)
    } else {
        let (question, rest) = read_question(rest, payload.len())?;
        (Some(question), rest)
    };
    let answers = count(a0, a1);
    let direction = if flags & 0x80 == 0 {
        // Records before the additional ones have no place in a query: who sends them does not get them read.
        let is_plain = count(q0, q1) == 1 && answers == 0 && count(n0, n1) == 0;
        let udp_size = is_plain.then(|| find_udp_size(rest, count(d0, d1))).flatten();
        Direction::Query { is_recursive: flags & 1 != 0, udp_size }
    } else {
        Direction::Response { code: more & 0x0f, is_truncated: flags & 2 != 0, answers }
    };
    Ok(Packet { id: count(i0, i1), direction, operation: flags >> 3 & 0x0f, question })
}

fn read_question(bytes: &[u8], total: usize) -> Result<(Question<'_>, &[u8]), ParseError> {
    let short = ParseError::Short(total);
    let mut length = 0;
    loop {
        let label = usize::from(*bytes.get(length).ok_or(short)?);
        // Two high bits make a pointer or a label of a kind that nobody sends (RFC 6891, 5).
        if 63 < label || MAX_NAME < length + 1 + label {
            return Err(ParseError::Name(HEADER + length));
        }
        length += 1 + label;
        if label == 0 {
            break;
        }
    }
    let (name, rest) = bytes.split_at_checked(length).ok_or(short)?;
    let (kind, rest) = take_u16(rest).ok_or(short)?;
    let (class, rest) = take_u16(rest).ok_or(short)?;
    Ok((Question { name: Name(name), kind, class }, rest))
}

/// The class of the OPT record (RFC 6891, 6.1.2).
fn find_udp_size(mut bytes: &[u8], records: u16) -> Option<u16> {
    for _ in 0..records.min(MAX_ADDITIONAL) {
        let (is_root, rest) = skip_name(bytes)?;
        let (kind, rest) = take_u16(rest)?;
        let (class, rest) = take_u16(rest)?;
        if kind == OPT && is_root {
            return Some(class);
        }
        let (length, rest) = take_u16(rest.get(4..)?)?;
        bytes = rest.get(usize::from(length)..)?;
    }
    None
}

/// Steps over a name; a pointer ends it.
fn skip_name(mut bytes: &[u8]) -> Option<(bool, &[u8])> {
    let is_root = bytes.first() == Some(&0);
    let mut left = MAX_NAME;
    loop {
        let (length, rest) = bytes.split_first()?;
        match *length {
            0 => return Some((is_root, rest)),
            192.. => return Some((is_root, rest.get(1..)?)),
            length => {
                left = left.checked_sub(1 + usize::from(length))?;
                bytes = rest.get(usize::from(length)..)?;
            }
        }
    }
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
