//! The sensor on a capture: what each stage costs, beside floors that no sensor can pass.
//!
//! The whole capture lies in one buffer and every stage walks the same records of it, so the ratios compare work, not ways of
//! reading. Stages take turns in every round. What counts is the thread's own time on a processor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use log_format::time::Timestamp;
use sensors::{Engine, Finding, Frame, LinkType, Policy};
use serde_json::Value;
use sip::HeaderName;

use super::figure::{self, median, processor_time, rounded};
use super::generator::{FILE_HEADER, Generator, Settings};

/// The proof filter's secret need not be one: nobody aims at a benchmark.
pub(super) const SECRET: [u8; 16] = *b"palisade sensing";
/// Bytes before the message in a generated record: Ethernet, IPv4 and UDP without options. Of other captures the floor reads
/// a few bytes too many or too few, which changes nothing of what it costs.
const HEADERS: usize = 42;

/// A capture in memory.
pub(super) struct Capture {
    bytes: Vec<u8>,
    link: LinkType,
    /// Nanoseconds in a unit of a record's lower time.
    unit: u64,
}

impl Capture {
    /// Reads a classic pcap file with this machine's byte order.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Self::new(bytes).with_context(|| format!("read {}", path.display()))
    }

    /// Makes one.
    pub(super) fn generate(settings: Settings) -> anyhow::Result<Self> {
        let mut generator = Generator::new(settings);
        let mut bytes = FILE_HEADER.to_vec();
        while let Some(record) = generator.next_record().context("make a record")? {
            bytes.extend_from_slice(record);
        }
        Self::new(bytes)
    }

    fn new(bytes: Vec<u8>) -> anyhow::Result<Self> {
        const MICROS: u32 = 0xa1b2_c3d4;
        const NANOS: u32 = 0xa1b2_3c4d;
        let unit = match number(&bytes, 0) {
            Some(MICROS) => 1_000,
            Some(NANOS) => 1,
            Some(_) | None => {
                bail!("this is no pcap file in little-endian order; `editcap -F pcap` makes one")
            }
        };
        let link = number(&bytes, 20).and_then(|link| i32::try_from(link).ok()).unwrap_or(-1);
        Ok(Self { bytes, link: LinkType::from_number(link), unit })
    }

    /// Shows every record to `see`; gives how many there are.
    #[inline]
    fn walk<'a>(&'a self, mut see: impl FnMut(&Frame<'a>)) -> u64 {
        let mut rest = self.bytes.get(FILE_HEADER.len()..).unwrap_or_default();
        let mut count = 0;
        while let Some((header, after)) = rest.split_first_chunk::<16>() {
            let [seconds, fraction, captured, original] = words(header);
            let Some((bytes, next)) = after.split_at_checked(captured as usize) else { break };
            rest = next;
            count += 1;
            let nanos = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit;
            let at = Timestamp::from_nanos(nanos);
            see(&Frame { at, link: self.link, bytes, original_length: original, number: count });
        }
        count
    }
}

/// One thing that is measured: does its work on the whole capture and gives something that depends on all of it.
type Work = fn(&Capture) -> u64;

/// What is measured, floors first.
const STAGES: [(&str, Work); 6] = [
    ("read-bytes", read_bytes),
    ("walk-records", walk_records),
    (HDR, read_header_names),
    ("packets", decode_packets),
    ("parse", parse_messages),
    ("detection", detect),
];
/// The practical floor, to which the others are compared.
const HDR: &str = "hdr";

/// Measures all stages in turns and prints the medians.
pub(super) fn run(capture: &Capture, rounds: usize) -> anyhow::Result<()> {
    let mut seconds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for (name, work) in STAGES {
            let started = processor_time()?;
            std::hint::black_box(work(std::hint::black_box(capture)));
            let spent = processor_time()?.saturating_sub(started);
            seconds.entry(name).or_default().push(spent.as_secs_f64().max(1e-9));
        }
    }
    let messages = as_number(walk_records_count(capture));
    let floor = seconds.get(HDR).map(Vec::as_slice).unwrap_or_default().to_vec();
    for (name, _) in STAGES {
        let spent = seconds.remove(name).unwrap_or_default();
        let ratios: Vec<f64> = floor.iter().zip(&spent).map(|(floor, spent)| floor / spent).collect();
        let middle = median(&spent).max(1e-9);
        let rates: Value = spent.iter().map(|spent| rounded(messages / spent, 0)).collect();
        figure::print_of(
            "sensors",
            name,
            [
                ("messages", rounded(messages, 0)),
                ("per_cpu_second", rounded(messages / middle, 0)),
                ("mb_per_cpu_second", rounded(as_number(capture.bytes.len() as u64) / middle / 1e6, 1)),
                ("ns_per_message", rounded(middle / messages * 1e9, 1)),
                ("ratio_to_hdr", rounded(median(&ratios), 3)),
                ("rounds", rates),
            ],
        );
    }
    Ok(())
}

/// Looks at every byte once.
fn read_bytes(capture: &Capture) -> u64 {
    let (words, _) = capture.bytes.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Goes from record to record.
fn walk_records(capture: &Capture) -> u64 {
    let mut bytes = 0;
    capture.walk(|frame| bytes += frame.bytes.len() as u64);
    bytes
}

fn walk_records_count(capture: &Capture) -> u64 {
    capture.walk(|_| {})
}

/// Splits every message into lines and looks at the names of its headers. Nothing that knows what a SIP message says can do less.
fn read_header_names(capture: &Capture) -> u64 {
    let mut known = 0;
    capture.walk(|frame| {
        let mut rest = frame.bytes.get(HEADERS..).unwrap_or_default();
        while let Some((line, after)) = split(rest, b'\n') {
            if line.len() <= 1 {
                break;
            }
            if let Some((name, _)) = split(line, b':') {
                known += u64::from(HeaderName::read(name) != HeaderName::Other);
            }
            rest = after;
        }
    });
    known
}

fn split(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// The engine with no port to look at: it takes frames apart and goes no further.
fn decode_packets(capture: &Capture) -> u64 {
    play(capture, Policy { sip_ports: Vec::new(), ..Policy::default() })
}

/// Reads every message as SIP, and what of it is read only when asked for: as much as the rules ask.
fn parse_messages(capture: &Capture) -> u64 {
    let mut read = 0;
    capture.walk(|frame| {
        let Ok(message) = sip::parse(frame.bytes.get(HEADERS..).unwrap_or_default()) else { return };
        let branch = message.via().and_then(|via| via.branch).map_or(0, <[u8]>::len);
        let user = message.to().map_or(0, |to| to.parts().user.len());
        let nonce = message.credentials().and_then(|credentials| credentials.nonce).map_or(0, <[u8]>::len);
        let challenge = message.challenge().map_or(0, |challenge| challenge.nonce.len());
        read += (branch + user + nonce + challenge) as u64;
    });
    read
}

/// Everything: packets, messages, transactions, proofs, rules, verdicts.
fn detect(capture: &Capture) -> u64 {
    play(capture, Policy::default())
}

fn play(capture: &Capture, policy: Policy) -> u64 {
    let mut engine = Engine::new(policy, SECRET);
    let mut findings: Vec<Finding> = Vec::new();
    let mut count = 0;
    capture.walk(|frame| {
        engine.frame(frame, &mut findings);
        count += findings.len() as u64;
        findings.clear();
    });
    count + engine.statistics().packets
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn words(header: &[u8; 16]) -> [u32; 4] {
    let (words, _) = header.as_chunks::<4>();
    let word = |at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
    [word(0), word(1), word(2), word(3)]
}

#[expect(clippy::cast_precision_loss, reason = "no benchmark counts to 2^52")]
pub(super) const fn as_number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn settings(messages: u64, seed: u64) -> Settings {
        Settings { messages, seed, ..Settings::default() }
    }

    fn hash(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_capture_for_ever() {
        for (seed, capture, truth) in [
            (
                1,
                "dc11e408f559f1dfd80637554578bab42d3f21b7b22ebf8adf45cbb61a554607",
                "af6db3fc67fb86700f20480e8bd27c6364a2a4713be9465b16816df107463d84",
            ),
            (
                2,
                "3f155f7a409496cb3c6467b20812ace9e8a453e6d10ca8241cb42a457796deee",
                "d088bc07ddc49a2ac1df56d21a65737cba13ef0ab5ca4f5e3c8a9a12d04c1b33",
            ),
        ] {
            assert_eq!(hash(&Capture::generate(settings(60_000, seed)).unwrap().bytes), capture);
            let mut generator = Generator::new(settings(60_000, seed));
            while generator.next_record().unwrap().is_some() {}
            let mut table = Vec::new();
            generator.write_truth(&mut table).unwrap();
            assert_eq!(hash(&table), truth);
        }
    }

    #[test]
    fn every_stage_sees_every_message() {
        let capture = Capture::generate(settings(5_000, 3)).unwrap();
        assert_eq!(walk_records_count(&capture), 5_000);
        let mut engine = Engine::new(Policy::default(), SECRET);
        capture.walk(|frame| engine.frame(frame, &mut Vec::new()));
        assert_eq!(engine.statistics().sip_messages, 5_000);
        assert!(read_header_names(&capture) > 5_000 * 6);
        assert!(parse_messages(&capture) > 5_000 * 20);
    }
}
