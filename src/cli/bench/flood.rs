//! A flood from ever new forged addresses, with real attackers in it: what memory the sensor takes, and whom it finds.
//!
//! All frames are made in memory, 100,000 a second of their own time. A forged source sends one request and never answers
//! anything; the PBX challenges as many of them as a busy one can. An attacker guesses a password every four seconds, each time
//! with the nonce of the rejection before: 15 proven bad registrations a minute.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use log_format::event::Sanction;
use log_format::time::Timestamp;
use sensors::{Engine, Finding, Frame, LinkType, Policy};

use super::figure::{self, processor_time, rounded};
use super::sensors::{SECRET, as_number};

/// Where all of it goes.
pub(super) const PBX: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const SIP: u16 = 5060;
/// Forged requests a second.
const RATE: u64 = 100_000;
/// Real attackers.
const ATTACKERS: u32 = 300;
/// Forged requests between an attacker's guesses: four seconds.
const PAUSE: u64 = RATE * 4;
/// One in so many forged registrations is challenged: 5,000 a second.
const CHALLENGED: u64 = 40;
/// The first forged address, 11.0.0.0: twelve million more end below 12.0.0.0.
const FORGED: u32 = 0x0b00_0000;
/// The first attacker, 203.0.113.0's neighbour with room for three hundred.
const REAL: u32 = 0xcb00_7200;

/// What came of it.
#[derive(Default)]
struct Outcome {
    messages: u64,
    found: BTreeSet<IpAddr>,
    forged_blocked: BTreeSet<IpAddr>,
    forged_soft: BTreeSet<IpAddr>,
    findings: Vec<Finding>,
}

/// Sends so many forged requests, and prints.
pub(super) fn run(sources: u32) -> anyhow::Result<()> {
    let before = memory("VmRSS:")?;
    let mut flood =
        Flood { engine: Engine::new(Policy::default(), SECRET), frame: Vec::new(), text: Vec::new() };
    let mut outcome = Outcome::default();
    let started = processor_time()?;
    for number in 0..sources {
        let at = u64::from(number);
        flood.forged(number, &mut outcome)?;
        // Attackers take turns evenly over the four seconds.
        let turn = at % PAUSE * u64::from(ATTACKERS);
        if turn % PAUSE < u64::from(ATTACKERS) {
            let attacker = u32::try_from(turn / PAUSE)?;
            flood.guess(attacker, at / PAUSE, at, &mut outcome)?;
        }
    }
    let spent = processor_time()?.saturating_sub(started).as_secs_f64().max(1e-9);
    let peak = memory("VmHWM:")?;
    figure::print_of(
        "sensors",
        "flood",
        [
            ("forged_sources", sources.into()),
            ("messages", outcome.messages.into()),
            ("peak_memory_mib", rounded(as_number(peak.saturating_sub(before)) / 1_024.0, 1)),
            ("attackers", ATTACKERS.into()),
            ("attackers_found", outcome.found.len().into()),
            ("forged_blocked", outcome.forged_blocked.len().into()),
            ("forged_soft_blocked", outcome.forged_soft.len().into()),
            ("per_cpu_second_with_making", rounded(as_number(outcome.messages) / spent, 0)),
        ],
    );
    Ok(())
}

struct Flood {
    engine: Engine,
    frame: Vec<u8>,
    text: Vec<u8>,
}

impl Flood {
    /// One request of a source that will never be seen again.
    fn forged(&mut self, number: u32, outcome: &mut Outcome) -> anyhow::Result<()> {
        let source = Ipv4Addr::from_bits(FORGED.wrapping_add(number));
        let at = u64::from(number);
        let method = match number % 4 {
            0 | 1 => "REGISTER",
            2 => "OPTIONS",
            _ => "INVITE",
        };
        let nonce = if number % 4 == 1 { Some(0x5a5a_0000_0000 + at) } else { None };
        self.request(source, (method, 1, at), nonce)?;
        self.send((source, SIP), (PBX, SIP), at, outcome);
        if method == "REGISTER" && at % CHALLENGED < 2 {
            self.rejection(source, (method, 1, at), at)?;
            self.send((PBX, SIP), (source, SIP), at, outcome);
        }
        Ok(())
    }

    /// One guess of an attacker, and its rejection with the nonce for the next.
    fn guess(&mut self, attacker: u32, round: u64, at: u64, outcome: &mut Outcome) -> anyhow::Result<()> {
        let source = Ipv4Addr::from_bits(REAL + attacker);
        let nonce = |round: u64| (u64::from(attacker) << 32) + round;
        let transaction = ("REGISTER", round + 1, nonce(round));
        self.request(source, transaction, (0 < round).then(|| nonce(round - 1)))?;
        self.send((source, SIP), (PBX, SIP), at, outcome);
        self.rejection(source, transaction, nonce(round))?;
        self.send((PBX, SIP), (source, SIP), at, outcome);
        Ok(())
    }

    fn request(
        &mut self,
        source: Ipv4Addr,
        transaction: (&str, u64, u64),
        nonce: Option<u64>,
    ) -> io::Result<()> {
        let (method, cseq, branch) = transaction;
        self.text.clear();
        write!(self.text, "{method} sip:pbx.example.net SIP/2.0\r\n")?;
        self.dialog(source, transaction)?;
        if let Some(nonce) = nonce {
            write!(
                self.text,
                "Authorization: Digest username=\"1001\", realm=\"pbx.example.net\", nonce=\"{nonce:016x}\", \
                 uri=\"sip:pbx.example.net\", response=\"{branch:032x}\", nc={cseq:08x}\r\n"
            )?;
        }
        write!(self.text, "User-Agent: Phone 1.0\r\nContent-Length: 0\r\n\r\n")
    }

    fn rejection(&mut self, source: Ipv4Addr, transaction: (&str, u64, u64), nonce: u64) -> io::Result<()> {
        self.text.clear();
        write!(self.text, "SIP/2.0 401 Unauthorized\r\n")?;
        self.dialog(source, transaction)?;
        write!(
            self.text,
            "WWW-Authenticate: Digest realm=\"pbx.example.net\", nonce=\"{nonce:016x}\"\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn dialog(&mut self, source: Ipv4Addr, (method, cseq, branch): (&str, u64, u64)) -> io::Result<()> {
        write!(
            self.text,
            "Via: SIP/2.0/UDP {source}:5060;branch=z9hG4bK{branch:016x}\r\n\
             From: <sip:1001@pbx.example.net>;tag={branch:08x}\r\nTo: <sip:1001@pbx.example.net>\r\n\
             Call-ID: {branch:016x}@{source}\r\nCSeq: {cseq} {method}\r\n"
        )
    }

    /// Shows the text to the engine as a datagram.
    fn send(&mut self, source: (Ipv4Addr, u16), target: (Ipv4Addr, u16), at: u64, outcome: &mut Outcome) {
        self.frame.clear();
        udp(source, target, &self.text, &mut self.frame);
        outcome.messages += 1;
        let frame = Frame {
            at: Timestamp::from_nanos(1_700_000_000_000_000_000 + at * (1_000_000_000 / RATE)),
            link: LinkType::Ethernet,
            bytes: &self.frame,
            original_length: u32::try_from(self.frame.len()).unwrap_or(u32::MAX),
            number: outcome.messages,
        };
        self.engine.frame(&frame, &mut outcome.findings);
        outcome.sort();
    }
}

impl Outcome {
    fn sort(&mut self) {
        for finding in self.findings.drain(..) {
            let Finding::Attack(verdict) = finding else { continue };
            let source = verdict.observed.source;
            let is_real =
                matches!(source, IpAddr::V4(source) if (REAL..REAL + ATTACKERS).contains(&source.to_bits()));
            match (is_real, verdict.observed.sanction) {
                (true, Sanction::Block) => self.found.insert(source),
                (false, Sanction::Block) => self.forged_blocked.insert(source),
                (false, _) => self.forged_soft.insert(source),
                (true, _) => false,
            };
        }
    }
}

/// A datagram in an IPv4 packet in an Ethernet frame. Checksums are left out: no sensor may count on them.
pub(super) fn udp(source: (Ipv4Addr, u16), target: (Ipv4Addr, u16), payload: &[u8], frame: &mut Vec<u8>) {
    let length = |headers: usize| u16::try_from(payload.len() + headers).unwrap_or(u16::MAX).to_be_bytes();
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&length(28));
    frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend_from_slice(&source.0.octets());
    frame.extend_from_slice(&target.0.octets());
    frame.extend_from_slice(&source.1.to_be_bytes());
    frame.extend_from_slice(&target.1.to_be_bytes());
    frame.extend_from_slice(&length(8));
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
}

/// A line of this process's own account, in KiB.
pub(super) fn memory(name: &str) -> anyhow::Result<u64> {
    let path = "/proc/self/status";
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} holds no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_reads_what_is_sent_and_finds_the_attackers() {
        let mut flood =
            Flood { engine: Engine::new(Policy::default(), SECRET), frame: Vec::new(), text: Vec::new() };
        let mut outcome = Outcome::default();
        for round in 0..15 {
            for number in 0..8 {
                let at = round * PAUSE + number;
                flood.forged(u32::try_from(at).unwrap(), &mut outcome).unwrap();
            }
            flood.guess(7, round, round * PAUSE + 8, &mut outcome).unwrap();
        }
        assert_eq!(flood.engine.statistics().sip_messages, outcome.messages);
        assert_eq!(outcome.found, BTreeSet::from([IpAddr::V4(Ipv4Addr::from_bits(REAL + 7))]));
        assert!(outcome.forged_blocked.is_empty());
    }
}
