//! The sensors read what the demo's tap records: they see the attackers, and leave the office alone.
#![cfg(test)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use log_format::event::{AttackObserved, Evidence, Rule, Sanction};
use palisade::demo::attackers::guess::{self, GuessOptions, Manner};
use palisade::demo::attackers::scan::{self, ScanOptions};
use palisade::demo::attackers::{AttackFigures, AttackOptions};
use palisade::demo::phones::office::OfficeOptions;
use palisade::demo::registrar::password_of;
use palisade::demo::stop::Stop;
use palisade::demo::tap::{AddressMap, Tap};
use sensors::{Engine, Finding, PcapFile, Policy};

use crate::support::{Scratch, wait_until};
use crate::traffic::{Office, Registrar, attack, free_address, guessing, office_at, with_accounts};

/// Loopback addresses and what stands for them in the record.
const RECORDED: [(&str, &str); 4] = [
    ("127.0.0.50", "192.0.2.50"),
    ("127.0.0.66", "203.0.113.66"),
    ("127.0.0.67", "203.0.113.67"),
    ("127.0.0.68", "203.0.113.68"),
];

#[test]
fn the_sensors_blame_the_attackers_in_the_tap_and_nobody_in_the_office() {
    let scratch = Scratch::new("sensed");
    let file = scratch.path().join("tap.pcap");
    record_a_day(&file);

    let mut attacks = sense(&file);
    attacks.sort_by_key(|attack| (attack.source, attack.rule));
    attacks.dedup_by_key(|attack| (attack.source, attack.rule));
    let told: Vec<_> = attacks
        .iter()
        .map(|attack| (attack.source.to_string(), attack.rule, attack.evidence, attack.sanction))
        .collect();
    let bad = (Rule::BadRegistrations, Evidence::Proven, Sanction::Block);
    let agent = (Rule::BlockedUserAgent, Evidence::Unproven, Sanction::SoftBlock);
    let verdict = |source: &str, (rule, evidence, sanction)| (source.to_owned(), rule, evidence, sanction);
    let expected = [
        verdict("203.0.113.66", bad),
        verdict("203.0.113.67", bad),
        verdict("203.0.113.67", agent),
        verdict("203.0.113.68", agent),
    ];
    assert_eq!(told, expected);
    assert!(attacks.iter().all(|attack| attack.victim.to_string() == "198.51.100.10"));
    assert_eq!(attacks[0].count, 10);
}

/// An office at work, two guessers and a scanner, all at one registrar.
fn record_a_day(file: &Path) {
    let (address, mut map) = (free_address(), AddressMap::default());
    for (real, recorded) in RECORDED {
        map = map.address(real.parse().unwrap(), recorded.parse().unwrap());
    }
    let tap =
        Tap::open(map.endpoint(address, "198.51.100.10:5060".parse().unwrap()), &[file.to_owned()]).unwrap();
    let registrar = Registrar::start_at(address, with_accounts(100), Some(tap.clone()));

    let office = Office::open(OfficeOptions {
        address: "127.0.0.50".parse().unwrap(),
        interval: Duration::from_millis(300),
        ..office_at(address, 100)
    });
    wait_until("every phone has renewed", || 200 <= office.figures().sum.successes);
    let mut words: Vec<String> = (0..12).map(|number| format!("secret{number}")).collect();
    words.push(password_of("1001"));
    let guessed =
        [("127.0.0.66:0", Manner::Fpbx), ("127.0.0.67:0", Manner::Svcrack)].map(|(source, manner)| {
            let options = guessing(address, manner, words.clone());
            guess::run(&GuessOptions { attack: from(source), ..options }, &Stop::new()).unwrap()
        });
    let scanned = ScanOptions { attack: from("127.0.0.68:0"), targets: vec![address], rounds: 2 };
    let scanned = scan::run(&scanned, &Stop::new()).unwrap();
    let unanswered = |figures: &AttackFigures| figures.unanswered;
    assert_eq!((unanswered(&guessed[0]), unanswered(&guessed[1]), unanswered(&scanned)), (0, 0, 0));
    assert_eq!(office.close().sum.refusals, 0);
    registrar.end();
    assert_eq!(tap.dropped(), 0);
}

fn from(source: &str) -> AttackOptions {
    AttackOptions { source: source.parse::<SocketAddr>().unwrap(), ..attack() }
}

/// What the engine finds in a capture.
fn sense(file: &Path) -> Vec<AttackObserved> {
    let (mut engine, mut findings) = (Engine::new(Policy::default(), [7; 16]), Vec::new());
    let mut capture = PcapFile::open(file).unwrap();
    while let Some(frame) = capture.next() {
        engine.frame(&frame.unwrap(), &mut findings);
    }
    let statistics = engine.statistics();
    assert_eq!((statistics.malformed, statistics.unreadable, statistics.not_sip), (0, 0, 0));
    findings
        .into_iter()
        .filter_map(|finding| match finding {
            Finding::Attack(verdict) => Some(verdict.observed),
            Finding::Note(_) => None,
        })
        .collect()
}
