//! Database and shell language where a name belongs. Only the user part of an address is looked at: `;tag=` and `;transport=` are SIP.

/// Whether a user part is written to be executed by somebody.
pub(crate) fn is_injection(user: &[u8]) -> bool {
    // Nearly all names are done here.
    if !user.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'`' | b'$' | b'|' | b'%' | b' ')) {
        return false;
    }
    let mut quotes = 0_u32;
    let mut window = [0_u8; WINDOW];
    for byte in (Text { bytes: user }) {
        window.rotate_left(1);
        if let Some(last) = window.last_mut() {
            *last = byte.to_ascii_lowercase();
        }
        quotes += u32::from(matches!(byte, b'\'' | b'"' | b'`'));
        if MARKS.iter().any(|mark| window.ends_with(mark)) {
            return true;
        }
    }
    // One quotation mark may be part of a name: O'Brien.
    1 < quotes
}

/// Room for the longest mark.
const WINDOW: usize = 16;
/// What ends a text and begins a command; in small letters, blanks as written.
const MARKS: [&[u8]; 12] = [
    b"' or ",
    b"'or ",
    b"'or'",
    b"' and ",
    b"'--",
    b"';",
    b"union select",
    b"union all",
    b" select ",
    b"drop table",
    b"$(",
    b"|sh",
];

/// The bytes of a user part with its percent escapes undone (RFC 3261, 19.1.2).
struct Text<'a> {
    bytes: &'a [u8],
}

impl Iterator for Text<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, rest @ ..] = self.bytes
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            self.bytes = rest;
            return Some(high << 4 | low);
        }
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        // A plus sign is a blank in what web forms send.
        Some(if *first == b'+' { b' ' } else { *first })
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_a_name_are_told_from_odd_names() {
        for user in [
            "1000' OR '1'='1",
            "100'--",
            "1'%20or%20'1'='1",
            "a%27;drop",
            "x'union+select+1",
            "100%27%20AND%201",
            "$(reboot)",
            "a\"b\"c",
        ] {
            assert!(is_injection(user.as_bytes()), "{user}");
        }
        for user in [
            "1000",
            "o'brien",
            "alice;par=u%40example.net",
            "%61lice",
            "sip+44",
            "union",
            "select",
            "-",
            "a--b",
            "",
        ] {
            assert!(!is_injection(user.as_bytes()), "{user}");
        }
    }
}
