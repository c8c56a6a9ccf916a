//! Messages that try to make a reader slow: for tests and benchmarks. Each repeats what might be looked at again and again.

/// A way of filling a message, by name.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// For figures.
    pub name: &'static str,
    /// What comes before the repetition.
    before: &'static str,
    /// What is repeated.
    unit: &'static str,
    /// What comes after it.
    after: &'static str,
}

/// The inputs.
pub const INPUTS: [Input; 24] = [
    input("headers", "", "X: y\r\n", ""),
    input("headers-without-colon", "", "x\r\n", ""),
    input("colons", "", ":\r\n", ""),
    input("folding", "Via: a", "\r\n b", "\r\n"),
    input("folded-blanks", "Subject:", "\r\n \t", "\r\n"),
    input("blanks", "To: ", "  \t ", "a\r\n"),
    input("semicolons", "Via: SIP/2.0/UDP a", ";", "\r\n"),
    input("parameters", "To: <sip:a@b>", ";x=y", "\r\n"),
    input("commas", "Via: SIP/2.0/UDP a", ",", "\r\n"),
    input("vias", "", "Via: SIP/2.0/UDP a;branch=b\r\n", ""),
    input("via-hops", "Via: a", ", SIP/2.0/UDP a;branch=b", "\r\n"),
    input("compact-names", "", "v:a\r\nf:b\r\nt:c\r\n", ""),
    input("digits", "Content-Length: ", "9", "\r\n"),
    input("quotes", "To: ", "\"a\"", "<sip:a@b>\r\n"),
    input("open-quotes", "To: ", "\"<", "\r\n"),
    input("backslashes", "To: \"", "\\", "\r\n"),
    input("brackets", "Contact: ", "<", ">\r\n"),
    input("closing-brackets", "To: <", ">", "\r\n"),
    input("zeros", "", "\0", "\r\n"),
    input("line-feeds-after-returns", "Via: a", "\r", "\n"),
    input("credentials", "Authorization: Digest a=b", ",nonce=\"n\"", "\r\n"),
    input("credential-words", "Authorization: Digest ", "x ", "\r\n"),
    input("authorizations", "", "Authorization: Digest nonce=\"n\"\r\n", ""),
    input("challenges", "WWW-Authenticate: Digest ", "nonce=n,stale=\"", "\r\n"),
];

const fn input(name: &'static str, before: &'static str, unit: &'static str, after: &'static str) -> Input {
    Input { name, before, unit, after }
}

impl Input {
    /// A registration of about so many bytes.
    pub fn message(&self, bytes: usize) -> Vec<u8> {
        let mut message = b"REGISTER sip:pbx.example.net SIP/2.0\r\n".to_vec();
        message.extend_from_slice(self.before.as_bytes());
        self.fill(&mut message, bytes);
        message.extend_from_slice(self.after.as_bytes());
        message.extend_from_slice(b"Call-ID: a\r\nCSeq: 1 REGISTER\r\n\r\n");
        message
    }

    fn fill(&self, message: &mut Vec<u8>, bytes: usize) {
        while message.len() + self.unit.len() <= bytes {
            message.extend_from_slice(self.unit.as_bytes());
        }
    }
}

/// A request of about so many bytes whose URI takes nearly all of them.
pub fn long_uri(bytes: usize) -> Vec<u8> {
    start_line("REGISTER sip:", "a@", " SIP/2.0\r\n\r\n", bytes)
}

/// A request of about so many bytes, nearly all of them blanks in its first line.
pub fn blank_uri(bytes: usize) -> Vec<u8> {
    start_line("REGISTER sip:a", " ", "SIP/2.0\r\n\r\n", bytes)
}

fn start_line(before: &str, unit: &str, after: &str, bytes: usize) -> Vec<u8> {
    let count = bytes.saturating_sub(before.len() + after.len()) / unit.len().max(1);
    format!("{before}{}{after}", unit.repeat(count)).into_bytes()
}
