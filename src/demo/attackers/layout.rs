//! How the tools lay out their requests: header order, blanks, tags and counters as they appear on the wire.

use std::net::{IpAddr, SocketAddr};

use sip::builder::Request;
use sip::{Challenge, digest};

use super::super::dice::Dice;
use super::exchange::Attempt;

/// The agent that SIPVicious names itself unless told otherwise.
const FRIENDLY_SCANNER: &str = "friendly-scanner";
/// The tag of svcrack's requests without credentials.
const FIRST_TAG: &str = "3206210844";

/// A challenge kept to be answered with a guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    qop: Option<Vec<u8>>,
}

impl Kept {
    pub(super) fn of(challenge: &Challenge<'_>) -> Self {
        Self {
            realm: challenge.realm.to_vec(),
            nonce: challenge.nonce.to_vec(),
            qop: challenge.qop.map(<[u8]>::to_vec),
        }
    }

    fn challenge(&self) -> Challenge<'_> {
        Challenge { realm: &self.realm, nonce: &self.nonce, qop: self.qop.as_deref(), ..Challenge::default() }
    }
}

/// One guess.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guess<'a> {
    pub(super) kept: &'a Kept,
    pub(super) password: &'a str,
    /// Which guess of the run it is, from 1.
    pub(super) count: u32,
}

/// Who asks whom, for all requests of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: SocketAddr,
    pub(super) target: SocketAddr,
}

/// SIPVicious' REGISTER without credentials, of svcrack (one Call-ID for a run) or svwar (a new one each time).
pub(super) fn svcrack_first(ends: Ends, account: &str, call_id: &str, dice: &mut Dice) -> Attempt {
    let named = named_with_blank(account, ends);
    sipvicious(
        ends,
        "REGISTER",
        dice,
        &[
            ("To", named.clone()),
            ("From", format!("{named};tag={FIRST_TAG}")),
            ("User-Agent", FRIENDLY_SCANNER.to_owned()),
            ("Call-ID", call_id.to_owned()),
            ("Contact", address(account, ends)),
            ("CSeq", "1 REGISTER".to_owned()),
            ("Accept", "application/sdp".to_owned()),
        ],
    )
}

/// svcrack's guess: CSeq 2 for ever, the guess itself in the From tag, and a decimal count that climbs across nonces.
pub(super) fn svcrack_guess(
    ends: Ends,
    account: &str,
    call_id: &str,
    guess: Guess<'_>,
    dice: &mut Dice,
) -> Attempt {
    let named = named_with_blank(account, ends);
    let tag = hex_tag(&format!("{account}:{}", guess.password), dice);
    let credentials = svcrack_credentials(ends, account, guess, dice);
    sipvicious(
        ends,
        "REGISTER",
        dice,
        &[
            ("To", named.clone()),
            ("From", format!("{named};tag={tag}")),
            ("User-Agent", FRIENDLY_SCANNER.to_owned()),
            ("Call-ID", call_id.to_owned()),
            ("Contact", address(account, ends)),
            ("CSeq", "2 REGISTER".to_owned()),
            ("Accept", "application/sdp".to_owned()),
            ("Authorization", credentials),
        ],
    )
}

/// svwar's REGISTER: one per extension, no blank between name and address.
pub(super) fn svwar(ends: Ends, extension: &str, dice: &mut Dice) -> Attempt {
    let named = format!("\"{extension}\"<{}>", address(extension, ends));
    let tag = hex_tag(extension, dice);
    let call_id = dice.roll_32().to_string();
    sipvicious(
        ends,
        "REGISTER",
        dice,
        &[
            ("To", named.clone()),
            ("From", format!("{named};tag={tag}")),
            ("User-Agent", FRIENDLY_SCANNER.to_owned()),
            ("Call-ID", call_id),
            ("Contact", address(extension, ends)),
            ("CSeq", "1 REGISTER".to_owned()),
            ("Accept", "application/sdp".to_owned()),
        ],
    )
}

/// svmap's OPTIONS: the From tag is the target's own address in hexadecimal.
pub(super) fn svmap(ends: Ends, dice: &mut Dice) -> Attempt {
    let victim = match ends.target.ip() {
        IpAddr::V4(address) => address.octets().map(|octet| format!("{octet:02x}")).concat(),
        IpAddr::V6(address) => address.to_string().replace(':', ""),
    };
    let tag = hex_tag(&format!("{victim}{:04x}", ends.target.port()), dice);
    let call_id = ((u128::from(dice.roll()) << 16) | u128::from(dice.roll_32() >> 16)).to_string();
    sipvicious(
        ends,
        "OPTIONS",
        dice,
        &[
            ("To", "\"sipvicious\"<sip:100@1.1.1.1>".to_owned()),
            ("From", format!("\"sipvicious\"<sip:100@1.1.1.1>;tag={tag}")),
            ("User-Agent", FRIENDLY_SCANNER.to_owned()),
            ("Call-ID", call_id),
            ("Contact", format!("sip:100@127.0.0.1:{}", ends.source.port())),
            ("CSeq", "1 OPTIONS".to_owned()),
            ("Accept", "application/sdp".to_owned()),
        ],
    )
}

/// A transaction of the demo's own agent, which calls itself FPBX: a new Call-ID per guess, true counters.
pub(super) fn fpbx(
    ends: Ends,
    account: &str,
    serial: u32,
    guess: Option<Guess<'_>>,
    dice: &mut Dice,
) -> Attempt {
    let (Ends { source, target }, cseq) = (ends, if guess.is_some() { 2 } else { 1 });
    let (uri, address) = (format!("sip:{}", host(target.ip())), address(account, ends));
    let branch = format!("z9hG4bK-{:08x}-{serial}-{cseq}", dice.roll_32());
    let mut request = Request::new("REGISTER", &uri)
        .header("Via", format!("SIP/2.0/UDP {source};branch={branch};rport"))
        .header("From", format!("<{address}>;tag={serial}x{}", source.port()))
        .header("To", format!("<{address}>"))
        .header("Call-ID", format!("{serial}-{}@{}", source.port(), source.ip()))
        .header("CSeq", format!("{cseq} REGISTER"))
        .header("Contact", format!("<sip:{account}@{source};transport=UDP>"))
        .header("Max-Forwards", "70")
        .header("User-Agent", "FPBX")
        .header("Expires", "60");
    if let Some(Guess { kept, password, count: _ }) = guess {
        let cnonce = format!("{:08x}", dice.roll_32());
        let answer = digest::Answer {
            username: account,
            password,
            method: "REGISTER",
            uri: &uri,
            nc: 1,
            cnonce: &cnonce,
        };
        request = request.header("Authorization", digest::authorization(&kept.challenge(), &answer));
    }
    Attempt { datagram: request.build(), branch }
}

/// What all requests of SIPVicious share: a Via that names loopback, a decimal branch, Content-Length before the
/// credentials.
fn sipvicious(ends: Ends, method: &str, dice: &mut Dice, headers: &[(&str, String)]) -> Attempt {
    let host = host(ends.target.ip());
    let uri = if method == "REGISTER" { format!("sip:{host}") } else { format!("sip:100@{host}") };
    let branch = format!("z9hG4bK-{}", dice.roll_32());
    let port = ends.source.port();
    let mut text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch={branch};rport\r\nMax-Forwards: 70\r\n"
    );
    let (credentials, plain): (Vec<_>, Vec<_>) =
        headers.iter().partition(|(name, _)| *name == "Authorization");
    for (name, value) in plain.into_iter().chain([&("Content-Length", "0".to_owned())]).chain(credentials) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Attempt { datagram: text.into_bytes(), branch }
}

fn svcrack_credentials(ends: Ends, account: &str, guess: Guess<'_>, dice: &mut Dice) -> String {
    let (uri, cnonce) = (format!("sip:{}", host(ends.target.ip())), dice.hex_32());
    let challenge = guess.kept.challenge();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (realm, nonce) = (text(challenge.realm), text(challenge.nonce));
    // The tool writes its count in decimal digits, where hexadecimal ones are read.
    let nc = u32::from_str_radix(&guess.count.to_string(), 16).unwrap_or(u32::MAX);
    let answer = digest::Answer {
        username: account,
        password: guess.password,
        method: "REGISTER",
        uri: &uri,
        nc,
        cnonce: &cnonce,
    };
    let response = digest::response(&challenge, &answer);
    let counted = challenge.qop.map_or(String::new(), |_| format!(",cnonce=\"{cnonce}\",nc={nc:08x}"));
    format!(
        "Digest username=\"{account}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"{uri}\"{counted},\
         algorithm=MD5,qop=auth,response=\"{response}\""
    )
}

/// SIPVicious writes what it needs to remember, and a random number, into its tags.
fn hex_tag(remembered: &str, dice: &mut Dice) -> String {
    let data = format!("{remembered}\u{1}{}", dice.roll_32());
    data.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn named_with_blank(account: &str, ends: Ends) -> String {
    format!("\"{account}\" <{}>", address(account, ends))
}

fn address(account: &str, ends: Ends) -> String {
    format!("sip:{account}@{}", host(ends.target.ip()))
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
