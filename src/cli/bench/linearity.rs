//! Whether a hostile message of twice the length costs twice the time and not more, from 1 KiB to the longest datagram.
//!
//! A ratio of two times of the same work needs no quiet machine, only medians: each length is measured in each round.

use std::net::Ipv4Addr;

use anyhow::bail;
use log_format::time::Timestamp;
use sensors::{Engine, Frame, LinkType, Policy};
use serde_json::Value;
use sip::hostile::{self, INPUTS};

use super::figure::{self, median, processor_time, rounded};
use super::flood::{PBX, udp};
use super::sensors::SECRET;

/// Lengths that are compared, each with the next. The last is as long as a datagram can be.
const LENGTHS: [usize; 7] = [1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_400];
/// What twice the length may cost. Two would be exact; the rest is for caches and clocks.
const MOST: f64 = 2.3;
/// Rounds of which the median counts.
const ROUNDS: usize = 9;
/// Bytes that are read in one measurement: some milliseconds.
const BYTES: usize = 2_000_000;

/// Measures and prints; an error if some input costs more than it may.
pub(super) fn run() -> anyhow::Result<()> {
    let mut exceeded = Vec::new();
    for input in INPUTS {
        measure(input.name, |length| input.message(length), &mut exceeded)?;
    }
    measure("long-uri", hostile::long_uri, &mut exceeded)?;
    measure("blank-uri", hostile::blank_uri, &mut exceeded)?;
    if !exceeded.is_empty() {
        bail!("twice the length costs more than {MOST} times as much: {}", exceeded.join(", "));
    }
    Ok(())
}

fn measure(
    name: &'static str,
    message: impl Fn(usize) -> Vec<u8>,
    exceeded: &mut Vec<&'static str>,
) -> anyhow::Result<()> {
    let frames = LENGTHS.map(|length| {
        let mut frame = Vec::new();
        udp((Ipv4Addr::new(192, 0, 2, 1), 5060), (PBX, 5060), &message(length), &mut frame);
        frame
    });
    let mut nanos: [Vec<f64>; LENGTHS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (frame, nanos) in frames.iter().zip(&mut nanos) {
            nanos.push(time(frame)?);
        }
    }
    let middles = nanos.map(|nanos| median(&nanos));
    let pairs = middles.iter().zip(middles.iter().skip(1));
    let worst = pairs.map(|(once, twice)| twice / once.max(1.0)).fold(0.0, f64::max);
    if MOST < worst {
        exceeded.push(name);
    }
    figure::print_of(
        "sensors",
        "linearity",
        [
            ("input", name.into()),
            ("bytes", LENGTHS.iter().copied().collect::<Value>()),
            ("ns", middles.iter().map(|nanos| rounded(*nanos, 0)).collect()),
            ("worst_ratio", rounded(worst, 2)),
        ],
    );
    Ok(())
}

/// Nanoseconds that the engine takes for a frame.
fn time(bytes: &[u8]) -> anyhow::Result<f64> {
    let mut engine = Engine::new(Policy::default(), SECRET);
    let mut findings = Vec::new();
    let turns = u32::try_from(BYTES / bytes.len().max(1))?.max(1);
    let started = processor_time()?;
    for number in 0..u64::from(turns) {
        let frame = Frame {
            at: Timestamp::from_nanos(number),
            link: LinkType::Ethernet,
            bytes,
            original_length: u32::try_from(bytes.len())?,
            number: number + 1,
        };
        engine.frame(std::hint::black_box(&frame), &mut findings);
        findings.clear();
    }
    let spent = processor_time()?.saturating_sub(started);
    Ok(spent.as_secs_f64() * 1e9 / f64::from(turns))
}
