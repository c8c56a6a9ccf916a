//! Every table of the sensor filled at once, with the largest entries that each can have: what memory that takes.
//!
//! All frames are made in memory, a microsecond of their own time apart, so that nothing becomes too old meanwhile; who is to be told of comes
//! at the pace at which the engine tells.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use log_format::time::Timestamp;
use sensors::{Engine, Fill, Finding, Frame, LinkType, Policy};
use serde_json::{Map, Value};

use super::figure::{self, rounded};
use super::flood::{PBX, memory, udp};
use super::sensors::{SECRET, as_number};

const SIP: u16 = 5060;
/// A victim whose requests do not come by here.
const UNSEEN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
/// A victim whose answers do not come by here.
const UNHEARD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 12);
/// How many more are sent than a table holds: some push each other out early.
const SURPLUS: u32 = 1_024;
/// Between two frames, mostly.
const PACE: Duration = Duration::from_micros(1);
/// Between two sources that the engine is to tell of: a little more than it takes between two reports.
const TELLING: Duration = Duration::from_micros(2_200);
/// Guesses of a source that are kept: twice as many as it is blocked for.
const GUESSES: u32 = 20;
/// Challenges that fill both generations of the proof filter.
const CHALLENGES: u32 = 1_900_000;
/// Files that a source asks for: as many as are told apart.
const FILES: u32 = 16;
/// Bytes of a part of a message over TCP: its share of the bytes that connections may hold together, acknowledged or not.
const PART: usize = 512;
/// Bytes of a fragment: the bound on all of them, shared among as many as may be under way.
const FRAGMENT: usize = 4_096;

/// Fills the tables, and prints.
pub(super) fn run() -> anyhow::Result<()> {
    let before = memory("VmRSS:")?;
    let mut crowd = Crowd::new();
    crowd.come(1);
    let memory = memory("VmHWM:")?.saturating_sub(before);
    let tables: Map<String, Value> = crowd
        .engine
        .tables()
        .into_iter()
        .map(|(name, Fill { held, capacity })| (name.to_owned(), vec![held, capacity].into()))
        .collect();
    figure::print_of(
        "sensors",
        "full-tables",
        [
            ("frames", crowd.frames.into()),
            ("peak_memory_mib", rounded(as_number(memory) / 1_024.0, 1)),
            ("held_and_capacity", tables.into()),
        ],
    );
    Ok(())
}

struct Crowd {
    engine: Engine,
    frames: u64,
    now: Timestamp,
    /// Between two frames.
    pace: Duration,
    frame: Vec<u8>,
    findings: Vec<Finding>,
}

/// What a message is, besides its first line.
struct Dialog<'a> {
    source: Ipv4Addr,
    method: &'a str,
    user: &'a str,
    /// Branch and Call-ID.
    number: u64,
    more: &'a str,
}

impl Crowd {
    fn new() -> Self {
        let engine = Engine::new(Policy::default(), SECRET);
        let now = Timestamp::from_seconds(1_700_000_000);
        Self { engine, frames: 0, now, pace: PACE, frame: Vec::new(), findings: Vec::new() }
    }

    /// A share of the whole crowd comes, and does everything that is remembered. What is remembered for seconds only is done last.
    fn come(&mut self, share: u32) {
        let many = |held: u32| (held + SURPLUS) / share;
        (0..many(8_192)).for_each(|number| self.guess_blindly(number));
        self.pace = TELLING / (2 * GUESSES + 2);
        (0..many(65_536)).for_each(|number| self.guess_and_be_blocked(number));
        self.pace = PACE;
        (0..many(65_536)).for_each(|number| self.succeed(number));
        (0..many(32_768)).for_each(|number| self.walk_prefixes(number));
        (0..many(16_384)).for_each(|number| self.harvest(number));
        (0..many(16_384)).for_each(|number| self.resolve(number));
        (0..CHALLENGES / share).for_each(|number| self.be_challenged(number));
        (0..many(32_768)).for_each(|number| self.be_rejected_unseen(number));
        (0..many(32_768)).for_each(|number| self.sign_unheard(number));
        (0..many(16_384)).for_each(|number| self.hang_up(number));
        (0..many(32_768)).for_each(|number| self.connect(number));
        (0..many(16_384)).for_each(|number| self.begin_over_tcp(number, true));
        (0..many(4_096)).for_each(|number| self.begin_over_tcp(number, false));
        (0..many(1_024)).for_each(|number| self.send_a_fragment(number));
        (0..many(131_072)).for_each(|number| self.sign_and_wait(number));
        (0..many(4_096)).for_each(|number| self.ask_for_many(number));
    }

    /// A guess with a nonce that nobody gave.
    fn guess_blindly(&mut self, number: u32) {
        let source = address(16, number);
        for guess in 0..GUESSES {
            let user = format!("blind{number}x{}", guess % 5);
            let dialog = self.dialog(source, "REGISTER", &user);
            self.ask(&dialog, &credentials(&user, u64::from(guess)));
            self.answer(&dialog, "401 Unauthorized", "");
        }
    }

    /// Proven guesses at five accounts, under a name of its own, until it is blocked.
    fn guess_and_be_blocked(&mut self, number: u32) {
        let source = address(17, number);
        let agent = format!("User-Agent: {} {}\r\n", "Agent".repeat(40), number % 5_000);
        for guess in 0..=GUESSES {
            let user = format!("user{number}x{}", guess % 5);
            let nonce = |guess: u32| u64::from(number) << 8 | u64::from(guess);
            let dialog = Dialog { more: &agent, ..self.dialog(source, "REGISTER", &user) };
            let signed = guess.checked_sub(1).map(|before| credentials(&user, nonce(before)));
            self.ask(&dialog, &signed.unwrap_or_default());
            self.answer(&dialog, "401 Unauthorized", &challenge(nonce(guess)));
        }
    }

    fn succeed(&mut self, number: u32) {
        let user = format!("phone{number}");
        let dialog = self.dialog(address(18, number), "REGISTER", &user);
        self.ask(&dialog, &credentials(&user, 1));
        self.answer(&dialog, "200 OK", "");
    }

    fn walk_prefixes(&mut self, number: u32) {
        for prefix in ["0", "00", "000", "9", "90", "900", "800", "8000"] {
            let user = format!("{prefix}4420{:07}", number % 10_000_000);
            let dialog = self.dialog(address(19, number), "INVITE", &user);
            self.ask(&dialog, "");
            self.answer(&dialog, "404 Not Found", "");
        }
    }

    /// Asks for a phone's files over TFTP (RFC 1350, 5).
    fn harvest(&mut self, number: u32) {
        for file in 0..FILES {
            let name = format!("{:012x}", u64::from(number) * 64 + u64::from(file));
            let request = [b"\0\x01".as_slice(), name.as_bytes(), b".cfg\0octet\0"].concat();
            self.datagram((address(20, number), 3_000), (PBX, 69), &request);
        }
    }

    /// Asks for `a.example`'s address (RFC 1035, 4); each /28 is counted.
    fn resolve(&mut self, number: u32) {
        const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
        self.datagram((address(21, number * 16), 3_000), (PBX, 53), QUERY);
    }

    fn be_challenged(&mut self, number: u32) {
        let dialog = self.dialog(address(22, number), "REGISTER", "nobody");
        self.answer(&dialog, "401 Unauthorized", &challenge(1 << 48 | u64::from(number)));
    }

    /// Is rejected by a victim whose requests do not come by here.
    fn be_rejected_unseen(&mut self, number: u32) {
        let user = format!("unseen{number}");
        let dialog = self.dialog(address(32, number), "REGISTER", &user);
        let text = message("SIP/2.0 401 Unauthorized", &dialog, "");
        self.datagram((UNSEEN, SIP), (dialog.source, SIP), text.as_bytes());
    }

    /// Sends credentials to a victim whose answers do not come by here.
    fn sign_unheard(&mut self, number: u32) {
        let user = format!("unheard{number}");
        let dialog = self.dialog(address(39, number), "REGISTER", &user);
        let text = message("REGISTER sip:pbx.example.net SIP/2.0", &dialog, &credentials(&user, 1));
        self.datagram((dialog.source, SIP), (UNHEARD, SIP), text.as_bytes());
    }

    /// The victim ends a call.
    fn hang_up(&mut self, number: u32) {
        let dialog = self.dialog(address(33, number), "BYE", "caller");
        let text = message("BYE sip:caller@pbx.example.net SIP/2.0", &dialog, "");
        self.datagram((PBX, SIP), (dialog.source, SIP), text.as_bytes());
    }

    /// Begins a connection, and no more.
    fn connect(&mut self, number: u32) {
        self.segment((address(34, number), PBX), (1, 0, SYN), b"");
    }

    /// Begins a message over TCP: in a connection whose victim acknowledges it, or in one of which nothing else is seen.
    fn begin_over_tcp(&mut self, number: u32, is_acknowledged: bool) {
        let source = address(if is_acknowledged { 35 } else { 36 }, number);
        let mut text =
            message("OPTIONS sip:pbx.example.net SIP/2.0", &self.dialog(source, "OPTIONS", "x"), "");
        text.truncate(text.len() - 2);
        let padding = PART.saturating_sub(text.len() + 3);
        let _ = write!(text, "X: {}", "x".repeat(padding)); // A String takes everything.
        let sent = u32::try_from(text.len()).unwrap_or(u32::MAX);
        if is_acknowledged {
            self.segment((source, PBX), (1, 0, SYN), b"");
            self.segment((PBX, source), (1, 2, SYN | ACK), b"");
        }
        self.segment((source, PBX), (2, 2, ACK), text.as_bytes());
        if is_acknowledged {
            self.segment((PBX, source), (2, 2 + sent, ACK), b"");
        }
    }

    /// The first fragment of a packet.
    fn send_a_fragment(&mut self, number: u32) {
        self.frame.clear();
        udp((address(37, number), SIP), (PBX, SIP), &[b'x'; FRAGMENT - 8], &mut self.frame);
        // "More fragments", at offset 0 (RFC 791, 3.1).
        if let Some(flags) = self.frame.get_mut(ETHERNET + 6) {
            *flags = 0x20;
        }
        self.show();
    }

    /// Credentials that nobody answers.
    fn sign_and_wait(&mut self, number: u32) {
        let dialog = self.dialog(address(38, number), "REGISTER", "waiting");
        self.ask(&dialog, &credentials("waiting", 1));
    }

    /// A source asks for several users, and is challenged.
    fn ask_for_many(&mut self, number: u32) {
        for user in 0..12 {
            let user = format!("many{user}");
            let dialog = self.dialog(address(40, number), "REGISTER", &user);
            self.ask(&dialog, "");
            self.answer(&dialog, "401 Unauthorized", "");
        }
    }

    fn dialog<'a>(&self, source: Ipv4Addr, method: &'a str, user: &'a str) -> Dialog<'a> {
        Dialog { source, method, user, number: self.frames, more: "" }
    }

    fn ask(&mut self, dialog: &Dialog<'_>, more: &str) {
        let Dialog { source, method, user, .. } = dialog;
        let text = message(&format!("{method} sip:{user}@pbx.example.net SIP/2.0"), dialog, more);
        self.datagram((*source, SIP), (PBX, SIP), text.as_bytes());
    }

    fn answer(&mut self, dialog: &Dialog<'_>, status: &str, more: &str) {
        let text = message(&format!("SIP/2.0 {status}"), dialog, more);
        self.datagram((PBX, SIP), (dialog.source, SIP), text.as_bytes());
    }

    fn datagram(&mut self, source: (Ipv4Addr, u16), target: (Ipv4Addr, u16), payload: &[u8]) {
        self.frame.clear();
        udp(source, target, payload, &mut self.frame);
        self.show();
    }

    /// A segment between a client's port 40000 and the victim's SIP port: sequence, acknowledgement, flags (RFC 9293, 3.1).
    fn segment(
        &mut self,
        (source, target): (Ipv4Addr, Ipv4Addr),
        (sequence, ack, flags): (u32, u32, u8),
        data: &[u8],
    ) {
        let ports = if target == PBX { (40_000, SIP) } else { (SIP, 40_000) };
        let mut header = Vec::with_capacity(12 + data.len());
        header.extend(sequence.to_be_bytes());
        header.extend(ack.to_be_bytes());
        header.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        header.extend(data);
        self.frame.clear();
        udp((source, ports.0), (target, ports.1), &header, &mut self.frame);
        // The ports are where a datagram has them, too; its length and checksum are not there.
        self.frame.drain(ETHERNET + IPV4 + 4..ETHERNET + IPV4 + 8);
        let length = u16::try_from(self.frame.len() - ETHERNET).unwrap_or(u16::MAX).to_be_bytes();
        for (place, byte) in [(2, length[0]), (3, length[1]), (9, TCP)] {
            if let Some(place) = self.frame.get_mut(ETHERNET + place) {
                *place = byte;
            }
        }
        self.show();
    }

    fn show(&mut self) {
        self.frames += 1;
        self.now = self.now.after(self.pace);
        let frame = Frame {
            at: self.now,
            link: LinkType::Ethernet,
            bytes: &self.frame,
            original_length: u32::try_from(self.frame.len()).unwrap_or(u32::MAX),
            number: self.frames,
        };
        self.engine.frame(&frame, &mut self.findings);
        self.findings.clear();
    }
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: u8 = 6;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// An address of a crowd of its own.
fn address(crowd: u8, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((u32::from(crowd) << 24).wrapping_add(number))
}

fn message(first_line: &str, dialog: &Dialog<'_>, more: &str) -> String {
    let Dialog { source, method, user, number, more: always } = dialog;
    format!(
        "{first_line}\r\nVia: SIP/2.0/UDP {source}:5060;branch=z9hG4bK{number:x}\r\n\
         From: <sip:{user}@pbx.example.net>;tag={number:x}\r\nTo: <sip:{user}@pbx.example.net>\r\n\
         Call-ID: {number:x}@{source}\r\nCSeq: 1 {method}\r\n{always}{more}Content-Length: 0\r\n\r\n"
    )
}

fn credentials(user: &str, nonce: u64) -> String {
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"pbx.example.net\", nonce=\"{nonce:016x}\", \
         uri=\"sip:pbx.example.net\", response=\"{nonce:032x}\"\r\n"
    )
}

fn challenge(nonce: u64) -> String {
    format!("WWW-Authenticate: Digest realm=\"pbx.example.net\", nonce=\"{nonce:016x}\"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundredth_of_the_crowd_is_remembered_in_every_table() {
        let mut crowd = Crowd::new();
        crowd.come(100);
        let empty: Vec<_> = crowd.engine.tables().into_iter().filter(|(_, fill)| fill.held == 0).collect();
        assert_eq!(empty, []);
        assert_eq!(crowd.engine.statistics().malformed, 0);
    }
}
