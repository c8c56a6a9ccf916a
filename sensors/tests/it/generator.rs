//! Captures that are made of a seed, and the truth that is made with them: every attacker is found in time, nobody else is touched.
//!
//! The truth counts more simply than the rules do, so this is what is asked of each kind of source:
//!
//! - `brute`, `enum`, `options`: found no later than at the packet that makes the tenth bad registration (of `options`, the tenth
//!   OPTIONS) within a minute. By which rule does not matter: one that gives a tool's name is found at its first packet. A source
//!   that never gets to ten may be found or not. A 403 counts as a 401 does: both answer credentials that were refused.
//! - `slow` and `nine`: at most nine bad registrations a minute. The rule of ten a minute must not see them; rules with longer
//!   windows, and the rule of names, may.
//! - `benignbad`, and every source that the truth does not name, phones and offices: no verdict at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use log_format::event::Rule;
use log_format::time::Timestamp;
use sensors::{Engine, Frame, LinkType, Policy, Verdict};

use crate::playback::verdicts_of;

#[expect(dead_code, reason = "the benchmark that it belongs to writes files too")]
#[path = "../../../src/cli/bench/generator/mod.rs"]
mod traffic;

use traffic::{Generator, Settings};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// Six seconds of 10,000 messages each: some 130 sources get to ten.
const MESSAGES: u64 = 60_000;

/// What a source did and what was said of it.
struct Judged {
    source: Ipv4Addr,
    kind: &'static str,
    /// The number of the packet at which it must be found.
    deadline: Option<u64>,
    verdicts: Vec<Verdict>,
}

#[test]
fn attackers_are_found_in_time_and_nobody_else_is_touched() {
    let (mut late, mut expected) = (BTreeMap::<&str, Vec<String>>::new(), BTreeMap::<&str, usize>::new());
    for seed in SEEDS {
        let (judged, innocent) = play(seed);
        assert_eq!(innocent, BTreeSet::new(), "seed {seed}: verdicts on honest sources");
        for Judged { source, kind, deadline, verdicts } in judged {
            let is_by = |rule| verdicts.iter().any(|verdict| verdict.observed.rule == rule);
            match kind {
                "benignbad" => assert!(verdicts.is_empty(), "seed {seed}: {source} is honest: {verdicts:?}"),
                "slow" | "nine" => {
                    assert!(
                        !is_by(Rule::BadRegistrations),
                        "seed {seed}: {source} stays below: {verdicts:?}"
                    );
                }
                _ => {
                    let Some(deadline) = deadline else { continue };
                    *expected.entry(kind).or_default() += 1;
                    let first = verdicts.first().map(|verdict| verdict.packet);
                    if first.is_none_or(|first| deadline < first) {
                        let what = format!("seed {seed}: {source} at {first:?}, not by {deadline}");
                        late.entry(kind).or_default().push(what);
                    }
                }
            }
        }
    }
    for kind in ["brute", "enum", "options"] {
        let wanted = expected.get(kind).copied().unwrap_or(0);
        assert!(
            wanted >= 20 * SEEDS.len(),
            "only {wanted} sources of kind {kind}: the truth is not what it was"
        );
        let late = late.remove(kind).unwrap_or_default();
        eprintln!("{kind}: {} of {wanted} found in time", wanted - late.len());
        assert!(late.is_empty(), "{kind}: {} of {wanted} late or never: {late:#?}", late.len());
    }
}

/// Plays a capture; gives what was said of each source that the truth names, and all others that a verdict was given on.
fn play(seed: u64) -> (Vec<Judged>, BTreeSet<IpAddr>) {
    let mut generator = Generator::new(Settings { messages: MESSAGES, seed, ..Settings::default() });
    let mut engine = Engine::new(Policy::default(), [7; 16]);
    let mut findings = Vec::new();
    let mut number = 0;
    while let Some(record) = generator.next_record().unwrap() {
        number += 1;
        engine.frame(&frame(record, number), &mut findings);
    }
    assert_eq!(engine.statistics().sip_messages, MESSAGES);
    let mut verdicts: BTreeMap<IpAddr, Vec<Verdict>> = BTreeMap::new();
    for verdict in verdicts_of(findings) {
        verdicts.entry(verdict.observed.source).or_default().push(verdict);
    }
    let judged = generator.truth().iter().map(|(address, source)| {
        let address = Ipv4Addr::from_bits(*address);
        Judged {
            source: address,
            kind: source.kind.name(),
            // The truth counts packets from 0.
            deadline: source.crossing.map(|(_, answered)| answered + 1),
            verdicts: verdicts.remove(&IpAddr::V4(address)).unwrap_or_default(),
        }
    });
    (judged.collect(), verdicts.into_keys().collect())
}

fn frame(record: &[u8], number: u64) -> Frame<'_> {
    let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
    Frame {
        at: Timestamp::from_nanos(u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * 1_000),
        link: LinkType::Ethernet,
        bytes: &record[16..],
        original_length: word(12),
        number,
    }
}
