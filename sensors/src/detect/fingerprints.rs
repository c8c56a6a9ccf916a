//! Marks that a tool leaves in its messages whatever it calls itself.
//!
//! A mark must be something that no honest stack writes: decimal Call-IDs and a branch without the magic cookie are none, since old
//! equipment has both.

use sip::Message;

/// The constant with which svcrack's first From tag begins its life.
const SVCRACK_TAG: &[u8] = b"3206210844";
/// Digits behind the mark: a random number of 32 bits has fewer in one case of ten thousand, and a random tag has so many in none of a
/// thousand million.
const SIPVICIOUS_DIGITS: usize = 6;
/// Length of the branches of sippts.
const SIPPTS_BRANCH: usize = 71;

/// Whether a request with this From tag has the marks of an attack tool.
pub(crate) fn is_tool(tag: &[u8], message: &Message<'_>) -> bool {
    is_sipvicious(tag) || is_sippts(tag, message)
}

/// SIPVicious hides its state in the From tag: hexadecimal digits of a text, a byte 1, and decimal digits.
fn is_sipvicious(tag: &[u8]) -> bool {
    if tag == SVCRACK_TAG {
        return true;
    }
    // It ends with a digit of the random number, which settles nearly every other tag.
    let ends_with_digit = matches!(tag, [.., b'3', b'0'..=b'9']);
    if !ends_with_digit || !tag.len().is_multiple_of(2) || tag.len() < 8 {
        return false;
    }
    let mut parts = (0_usize, 0_usize);
    let mut is_behind = false;
    for pair in tag.chunks_exact(2) {
        let [high, low] = pair else { return false };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return false };
        match (high << 4 | low, is_behind) {
            (1, false) => is_behind = true,
            (b' '..=b'~', false) => parts.0 += 1,
            (b'0'..=b'9', true) => parts.1 += 1,
            _ => return false,
        }
    }
    0 < parts.0 && SIPVICIOUS_DIGITS <= parts.1
}

/// sippts: a branch of 71 small letters and digits, a tag of eight hexadecimal digits and a Call-ID of 32.
fn is_sippts(tag: &[u8], message: &Message<'_>) -> bool {
    let is_hex =
        |bytes: &[u8], length| bytes.len() == length && bytes.iter().all(|byte| hex(*byte).is_some());
    // Call-IDs of just this length are rare, branches are longer to find.
    if !is_hex(tag, 8) || !message.call_id().is_some_and(|call| is_hex(call, 32)) {
        return false;
    }
    let branch = message.branch().unwrap_or_default();
    branch.len() == SIPPTS_BRANCH
        && branch.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag_of(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn tags_with_a_hidden_state_are_those_of_sipvicious() {
        for text in ["c6336440013c4\u{1}1234567890", "100\u{1}421799", "1000:secret\u{1}33551234"] {
            assert!(is_sipvicious(tag_of(text).as_bytes()), "{text}");
        }
        assert!(is_sipvicious(SVCRACK_TAG));
        for tag in [
            "",
            "as5d6f",
            "313030",
            "1c6336440013c4",
            "a1b2c3d4",
            "0131",
            "31303001",
            "3130300161",
            "3206210845",
        ] {
            assert!(!is_sipvicious(tag.as_bytes()), "{tag}");
        }
    }

    fn marked(branch: &str, tag: &str, call: &str) -> bool {
        let text = format!(
            "OPTIONS sip:100@a SIP/2.0\r\nVia: SIP/2.0/UDP b;branch={branch}\r\nFrom: <sip:100@b>;tag={tag}\r\n\
             To: <sip:100@a>\r\nCall-ID: {call}\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        is_tool(tag.as_bytes(), &sip::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn sippts_has_three_marks_and_needs_all_of_them() {
        let branch = "q0a1".repeat(17) + "xyz";
        let call = "0123456789abcdef0123456789abcdef";
        assert!(marked(&branch, "8badf00d", call));
        assert!(!marked("z9hG4bK-1", "8badf00d", call));
        assert!(!marked(&branch, "tag-of-phone", call));
        assert!(!marked(&branch, "8badf00d", "1@phone"));
    }
}
