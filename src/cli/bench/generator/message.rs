//! The bytes of a message, and of the frame and the record around it.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use super::{Due, Random, Step, Variant};

/// 198.51.100.10.
const PBX: u32 = 0xC633_640A;
const SIP: u16 = 5060;

const PHONES: [&str; 6] = [
    "Yealink SIP-T46S 66.86.0.15",
    "PolycomVVX-VVX_411-UA/5.9.5.0614",
    "Grandstream GXP2170 1.0.11.64",
    "snom D735/10.1.101.11",
    "Zoiper rv2.10.19.5",
    "Cisco/SPA504G-7.6.2f",
];
const TOOLS: [&str; 8] = [
    "friendly-scanner",
    "sipvicious",
    "pplsip",
    "VaxSIPUserAgent/3.5",
    "FPBX",
    "Cisco UCM 12.0.1",
    "sipsak",
    "Elite",
];

/// The user agent of whoever sends, or is answered by, this message.
pub(super) fn agent(due: &Due) -> &'static str {
    let of = |names: &'static [&'static str], number: u64| {
        let place = usize::try_from(number).unwrap_or(0) % names.len();
        names.get(place).copied().unwrap_or_default()
    };
    if due.step.is_attack() { of(&TOOLS, due.id) } else { of(&PHONES, due.id & 0xff_ffff) }
}

/// Writes messages; its buffers serve all of them.
pub(super) struct Writer {
    phones: u64,
    text: Vec<u8>,
    record: Vec<u8>,
}

impl Writer {
    pub(super) fn new(phones: u64) -> Self {
        Self { phones, text: Vec::with_capacity(2_048), record: Vec::with_capacity(2_048) }
    }

    /// A record of the capture: its header, the frame, the message.
    pub(super) fn record(&mut self, due: &Due, place: u64, at: u64) -> io::Result<&[u8]> {
        let words = Words::new(due, place, self.phones);
        self.text.clear();
        words.write(&mut self.text)?;
        self.record.clear();
        self.record.extend_from_slice(&low_half(at / 1_000_000).to_le_bytes());
        self.record.extend_from_slice(&low_half(at % 1_000_000).to_le_bytes());
        let length = low_half(42 + self.text.len() as u64).to_le_bytes();
        self.record.extend_from_slice(&length);
        self.record.extend_from_slice(&length);
        frame(&words, place, &self.text, &mut self.record);
        Ok(&self.record)
    }
}

/// What a message says.
struct Words<'a> {
    due: &'a Due,
    client: Ipv4Addr,
    port: u16,
    method: &'static str,
    agent: &'static str,
    user: u64,
    callee: u64,
    branch: u64,
    call: u64,
    tag: u32,
    nonce: u64,
    cnonce: u64,
    response: u64,
}

impl<'a> Words<'a> {
    fn new(due: &'a Due, place: u64, phones: u64) -> Self {
        let is_attack = due.step.is_attack();
        let phone = due.id & 0xff_ffff;
        // The same for request and answer of one transaction.
        let token =
            |cseq: u32| Random(due.id ^ (u64::from(cseq) << 40) ^ if is_attack { 0x77 } else { 0 }).next();
        let attempt = match (is_attack, due.step) {
            (false, _) => 0,
            (true, Step::Guess | Step::Enumerate | Step::Scan) => place,
            (true, _) => due.after,
        };
        let user = if is_attack { (attempt.wrapping_mul(2_654_435_761) >> 7) % 9_000 } else { phone };
        let branch = token(due.cseq) ^ attempt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let call = Random(due.id.wrapping_mul(31) ^ (attempt << 20) ^ 5).next();
        // A client echoes the nonce of the challenge before it, so a request with credentials proves its return path.
        let echoes =
            matches!(due.step, Step::RegisterAgain | Step::RegisterThird | Step::InviteAgain | Step::Guess);
        let challenged = if echoes && due.cseq > 1 { due.cseq - 1 } else { due.cseq };
        let port = match (is_attack, due.client >> 16) {
            (true, _) => SIP + low_quarter(due.id % 20),
            (false, 0x0A02) => 20_000 + low_quarter(phone % 50),
            (false, _) => SIP,
        };
        Self {
            due,
            client: Ipv4Addr::from_bits(due.client),
            port,
            method: method(due.step),
            agent: agent(due),
            user: 1_000 + user,
            callee: 1_000 + phone.wrapping_mul(7_919) % phones,
            branch,
            call,
            tag: low_half(call),
            nonce: token(challenged).rotate_left(17),
            cnonce: branch.rotate_left(29),
            response: token(due.cseq) ^ branch,
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut body = Vec::new();
        if matches!(self.due.step, Step::Invite | Step::InviteAgain | Step::InviteOk) {
            self.write_body(&mut body)?;
        }
        self.write_start(out)?;
        self.write_dialog(out)?;
        if self.due.step.is_request() { self.write_request(out) } else { self.write_answer(out) }?;
        if !body.is_empty() {
            write!(out, "Content-Type: application/sdp\r\n")?;
        }
        write!(out, "Content-Length: {}\r\n\r\n", body.len())?;
        out.extend_from_slice(&body);
        Ok(())
    }

    fn write_body(&self, out: &mut Vec<u8>) -> io::Result<()> {
        write!(
            out,
            "v=0\r\no=- {0} {0} IN IP4 {1}\r\ns=-\r\nc=IN IP4 {1}\r\nt=0 0\r\nm=audio {2} RTP/AVP 9 0 8 101\r\n\
             a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n",
            self.call >> 32,
            self.client,
            10_000 + (self.call & 0x3ffe)
        )
    }

    fn write_start(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let (is_attack, method) = (self.due.step.is_attack(), self.method);
        if !self.due.step.is_request() {
            let (status, reason) = self.status();
            write!(out, "SIP/2.0 {status} {reason}\r\n")
        } else if self.is_of_call() || method == "OPTIONS" && is_attack {
            let user = if is_attack { 100 } else { self.callee };
            write!(out, "{method} sip:{user}@198.51.100.10 SIP/2.0\r\n")
        } else {
            write!(out, "{method} sip:pbx.example.net SIP/2.0\r\n")
        }
    }

    fn status(&self) -> (u16, &'static str) {
        const UNAUTHORIZED: (u16, &str) = (401, "Unauthorized");
        match (self.due.step, self.due.variant) {
            (Step::RegisterChallenge | Step::RegisterStale | Step::RegisterRefused, _) => UNAUTHORIZED,
            (Step::GuessRefused, _) if self.branch & 7 == 0 => (403, "Forbidden"),
            (Step::GuessRefused, _) | (Step::EnumerateAnswer, Variant::Exists) => UNAUTHORIZED,
            (Step::EnumerateAnswer, _) => (404, "Not Found"),
            (Step::InviteChallenge, _) => (407, "Proxy Authentication Required"),
            (Step::Trying, _) => (100, "Trying"),
            (Step::Ringing, _) => (180, "Ringing"),
            (_, _) => (200, "OK"),
        }
    }

    fn is_of_call(&self) -> bool {
        matches!(self.method, "INVITE" | "ACK" | "BYE")
    }

    fn write_dialog(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let Self { due, client, port, method, user, callee, branch, call, tag, .. } = self;
        let is_request = due.step.is_request();
        write!(out, "Via: SIP/2.0/UDP {client}:{port};branch=z9hG4bK{branch:016x};rport")?;
        if is_request {
            write!(out, "\r\nMax-Forwards: 70\r\n")?;
        } else {
            write!(out, "={port};received={client}\r\n")?;
        }
        write!(out, "From: \"{user}\" <sip:{user}@pbx.example.net>;tag={tag:08x}\r\n")?;
        let to = if self.is_of_call() { callee } else { user };
        write!(out, "To: <sip:{to}@pbx.example.net>")?;
        if !is_request || matches!(due.step, Step::AckChallenge | Step::AckOk | Step::Bye) {
            write!(out, ";tag=as{:08x}", tag ^ 0x5aa5)?;
        }
        write!(out, "\r\nCall-ID: {call:016x}@{client}\r\nCSeq: {} {method}\r\n", due.cseq)
    }

    fn write_request(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let Self { due, client, port, method, user, nonce, cnonce, response, .. } = self;
        let begins = !matches!(*method, "ACK" | "BYE");
        if begins {
            let expires = if *method == "REGISTER" { ";expires=3600" } else { "" };
            write!(out, "Contact: <sip:{user}@{client}:{port};transport=udp>{expires}\r\n")?;
        }
        if matches!(due.step, Step::RegisterAgain | Step::RegisterThird | Step::InviteAgain | Step::Guess) {
            let name = if *method == "INVITE" { "Proxy-Authorization" } else { "Authorization" };
            write!(
                out,
                "{name}: Digest username=\"{user}\", realm=\"pbx.example.net\", nonce=\"{nonce:016x}{:016x}\", \
                 uri=\"sip:pbx.example.net\", response=\"{cnonce:016x}{response:016x}\", algorithm=MD5, \
                 cnonce=\"{:08x}\", qop=auth, nc=00000001\r\n",
                nonce ^ 0xff,
                low_half(*cnonce)
            )?;
        }
        write!(out, "User-Agent: {}\r\n", self.agent)?;
        if begins {
            let allowed = "INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, SUBSCRIBE, INFO, MESSAGE";
            write!(out, "Allow: {allowed}\r\n")?;
            if !due.step.is_attack() {
                write!(out, "Supported: replaces, outbound, path, timer\r\n")?;
            }
        }
        if *method == "OPTIONS" { write!(out, "Accept: application/sdp\r\n") } else { Ok(()) }
    }

    fn write_answer(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let Self { due, client, port, method, user, callee, nonce, .. } = self;
        if matches!(self.status().0, 401 | 407) {
            let name = if *method == "INVITE" { "Proxy-Authenticate" } else { "WWW-Authenticate" };
            let stale = if due.step == Step::RegisterStale { ", stale=true" } else { "" };
            write!(
                out,
                "{name}: Digest algorithm=MD5, realm=\"pbx.example.net\", nonce=\"{nonce:016x}{:016x}\", \
                 qop=\"auth\"{stale}\r\n",
                nonce ^ 0xff
            )?;
        }
        if due.step == Step::RegisterOk {
            write!(
                out,
                "Contact: <sip:{user}@{client}:{port};transport=udp>;expires=3600\r\n\
                 Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
            )?;
        }
        if matches!(due.step, Step::Ringing | Step::InviteOk) {
            write!(out, "Contact: <sip:{callee}@198.51.100.10:5060>\r\n")?;
        }
        write!(
            out,
            "Server: PBXware 7.0\r\n\
             Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE\r\n\
             Supported: replaces, timer\r\n"
        )
    }
}

fn method(step: Step) -> &'static str {
    match step {
        Step::Register | Step::RegisterChallenge | Step::RegisterAgain | Step::RegisterStale => "REGISTER",
        Step::RegisterThird | Step::RegisterOk | Step::RegisterRefused => "REGISTER",
        Step::Guess | Step::GuessRefused | Step::Enumerate | Step::EnumerateAnswer => "REGISTER",
        Step::Options | Step::OptionsOk | Step::Scan | Step::ScanOk => "OPTIONS",
        Step::AckChallenge | Step::AckOk => "ACK",
        Step::Bye | Step::ByeOk => "BYE",
        Step::Invite | Step::InviteChallenge | Step::InviteAgain => "INVITE",
        Step::Trying | Step::Ringing | Step::InviteOk => "INVITE",
    }
}

/// Ethernet, IPv4 and UDP around a message, with right checksums.
fn frame(words: &Words<'_>, place: u64, text: &[u8], out: &mut Vec<u8>) {
    const ETHERNET_IPV4: [u8; 2] = [8, 0];
    let [_, second, third, fourth] = words.due.client.to_be_bytes();
    let client_mac = [2, 0, second, third, fourth, 1];
    let server_mac = [2, 0, 0, 0, 0, 2];
    let is_request = words.due.step.is_request();
    let (source, target, ports) = if is_request {
        out.extend_from_slice(&server_mac);
        out.extend_from_slice(&client_mac);
        (words.due.client, PBX, (words.port, SIP))
    } else {
        out.extend_from_slice(&client_mac);
        out.extend_from_slice(&server_mac);
        (PBX, words.due.client, (SIP, words.port))
    };
    out.extend_from_slice(&ETHERNET_IPV4);
    let length = text.len() as u64;
    let identification = low_quarter(place).to_be_bytes();
    let mut ip = Vec::with_capacity(20);
    ip.extend_from_slice(&[0x45, 0]);
    ip.extend_from_slice(&low_quarter(28 + length).to_be_bytes());
    ip.extend_from_slice(&identification);
    ip.extend_from_slice(&[0x40, 0, 64, 17]);
    let addresses = [source.to_be_bytes(), target.to_be_bytes()].concat();
    let checksum = folded(sum(&ip) + sum(&addresses)).to_be_bytes();
    ip.extend_from_slice(&checksum);
    ip.extend_from_slice(&addresses);
    out.extend_from_slice(&ip);
    let udp_length = 8 + length;
    let pseudo_header = sum(&addresses) + 17 + udp_length;
    let udp = u64::from(ports.0) + u64::from(ports.1) + udp_length;
    let checksum = match folded(pseudo_header + udp + sum(text)) {
        0 => u16::MAX,
        checksum => checksum,
    };
    for number in [ports.0, ports.1, low_quarter(udp_length), checksum] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(text);
}

/// The lower 32 bits.
fn low_half(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or(0)
}

/// The lower 16 bits.
fn low_quarter(number: u64) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(0)
}

fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>() + odd
}

fn folded(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !low_quarter(sum)
}
