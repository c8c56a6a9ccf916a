//! What a datagram on a SIP port looks like before it is read.

/// What a datagram on a SIP port looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing, or a few line ends, blanks or zero bytes: it keeps a NAT's binding alive.
    Keepalive,
    /// A STUN message (RFC 5389, 6): its cookie, and two zero bits in front.
    Stun,
    /// Printable enough to be worth reading as SIP.
    Text,
    /// The first byte cannot start a SIP message.
    Other,
}

/// Bytes within which a datagram of blanks is a keepalive; phones send 1 to 4.
const KEEPALIVE_MAX: usize = 8;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_HEADER: usize = 20;

/// Tells the shape from a handful of bytes.
pub fn shape(datagram: &[u8]) -> Shape {
    if datagram.len() <= KEEPALIVE_MAX && datagram.iter().all(|byte| matches!(byte, 0 | b'\r' | b'\n' | b' '))
    {
        return Shape::Keepalive;
    }
    if is_stun(datagram) {
        return Shape::Stun;
    }
    match datagram.first() {
        Some(first) if first.is_ascii_graphic() || matches!(first, b'\r' | b'\n') => Shape::Text,
        Some(_) | None => Shape::Other,
    }
}

fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= STUN_HEADER
        && datagram.first().is_some_and(|first| first & 0xc0 == 0)
        && datagram.get(4..8) == Some(STUN_COOKIE.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalives_are_few_blanks() {
        for bytes in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"\0"] {
            assert_eq!(shape(bytes), Shape::Keepalive);
        }
        assert_eq!(shape(b"\r\nOPTIONS sip:a SIP/2.0\r\n\r\n"), Shape::Text);
        assert_eq!(shape(&[b'\n'; 100]), Shape::Text);
    }

    #[test]
    fn stun_is_told_by_its_cookie() {
        let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        stun.resize(20, 7);
        assert_eq!(shape(&stun), Shape::Stun);
        assert_eq!(shape(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03"), Shape::Other);
    }
}
