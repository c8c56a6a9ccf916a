//! What is an attack and what is not, on built traffic.

use std::net::IpAddr;
use std::time::Duration;

use log_format::event::{AttackKind, Evidence, Rule, Sanction, Scope};
use sensors::Policy;
use sip::builder::{Request, Response};

use crate::wire::{PASSWORD, PBX, Phone, Registrar, Wire, challenged, phone};

const ATTACKER: [u8; 4] = [203, 0, 113, 66];

fn wire() -> Wire {
    Wire::new(Policy::default())
}

/// Wrong passwords from one address, one after the other.
fn guess(wire: &mut Wire, guesses: u32, registrar: Registrar) {
    for guess in 0..guesses {
        wire.try_to_register(&phone(ATTACKER, 5060, "1001"), &format!("wrong{guess}"), registrar);
    }
}

#[test]
fn an_office_behind_one_address_is_never_blocked_and_leaves_no_strikes() {
    let mut wire = wire();
    let phones: Vec<Phone> =
        (0..100).map(|number| phone([203, 0, 113, 7], 20_000 + number, &format!("{number}"))).collect();
    for _minute in 0..10 {
        for phone in &phones {
            wire.try_to_register(phone, PASSWORD, Registrar::Checks);
        }
        wire.wait(Duration::from_secs(60 - 4));
    }
    assert_eq!(wire.verdicts, []);
    assert_eq!(wire.engine.striking_sources(), 0);
    assert_eq!(wire.engine.statistics().strikes, 0);
    assert_eq!(wire.engine.statistics().sip_messages, 10 * 100 * 4);
    let now = wire.now;
    assert_eq!(wire.engine.drain_strikes(now), []);
}

#[test]
fn an_office_that_answers_with_old_nonces_first_is_not_blocked() {
    let mut wire = wire();
    for number in 0..100 {
        let phone = phone([203, 0, 113, 7], 20_000 + number, &format!("{number}"));
        let nonce = "cached";
        let old = wire.authorize(&phone, PASSWORD, nonce);
        let request = wire.register(&phone, Some(&old));
        // A registrar that does not say that only the nonce was too old.
        wire.exchange(phone.at, &request, |request| challenged(request, "fresh", ""));
        let fresh = wire.authorize(&phone, PASSWORD, "fresh");
        let request = wire.register(&phone, Some(&fresh));
        wire.exchange(phone.at, &request, |request| Response::to(request, 200, "OK").build());
    }
    assert_eq!(wire.verdicts, []);
    assert_eq!(wire.engine.striking_sources(), 0);
    wire.wait(Duration::from_secs(5));
    let now = wire.now;
    assert_eq!(wire.engine.drain_strikes(now), []);
}

#[test]
fn the_tenth_rejected_password_is_an_attack() {
    for registrar in [Registrar::Checks, Registrar::Forbids] {
        let mut wire = wire();
        guess(&mut wire, 9, registrar);
        assert_eq!(wire.verdicts, []);
        guess(&mut wire, 20, registrar);
        assert_eq!(wire.verdicts.len(), 1);
        let verdict = &wire.verdicts[0];
        assert_eq!(verdict.packet, 40, "the answer to the tenth guess");
        assert_eq!((verdict.seconds, verdict.observed.scope), (3_600, Scope::Address));
        let observed = &verdict.observed;
        assert_eq!(observed.source, IpAddr::from(ATTACKER));
        assert_eq!((observed.source_port, observed.victim_port), (5060, 5060));
        assert_eq!(observed.victim, IpAddr::V4(*PBX.ip()));
        assert_eq!((observed.rule, observed.attack), (Rule::BadRegistrations, AttackKind::Register));
        assert_eq!((observed.evidence, observed.sanction), (Evidence::Proven, Sanction::Block));
        assert_eq!(observed.user_agent.as_bytes(), b"Yealink SIP-T46S 66.86.0.15");
        assert!(!observed.known_user_agent);
        assert_eq!(observed.count, 10);
    }
}

#[test]
fn strikes_are_told_to_the_cluster_below_the_limit_too() {
    let mut wire = wire();
    guess(&mut wire, 9, Registrar::Checks);
    wire.wait(Duration::from_secs(2));
    let now = wire.now;
    let deltas = wire.engine.drain_strikes(now);
    assert_eq!(
        deltas.iter().map(|delta| (delta.source, delta.proven, delta.unproven)).collect::<Vec<_>>(),
        [(IpAddr::from(ATTACKER), 9, 0)]
    );
    assert_eq!(wire.engine.drain_strikes(now), []);
}

#[test]
fn challenges_stale_nonces_and_silence_are_no_strikes() {
    let mut wire = wire();
    guess(&mut wire, 50, Registrar::FindsNonceStale);
    wire.wait(Duration::from_secs(30));
    guess(&mut wire, 50, Registrar::IsSilent);
    wire.wait(Duration::from_secs(30));
    for _ in 0..50 {
        let plain = wire.register(&phone(ATTACKER, 5060, "1001"), None);
        wire.exchange(phone(ATTACKER, 5060, "1001").at, &plain, |request| challenged(request, "n", ""));
    }
    assert_eq!(wire.verdicts, []);
    assert_eq!(wire.engine.statistics().strikes, 0);
    wire.wait(Duration::from_secs(40));
    for _ in 0..50 {
        let plain = wire.register(&phone(ATTACKER, 5060, "1001"), None);
        wire.exchange(phone(ATTACKER, 5060, "1001").at, &plain, |request| challenged(request, "n", ""));
    }
    assert_eq!(wire.engine.statistics().unanswered, 50);
}

#[test]
fn who_asks_for_the_eighth_unknown_account_enumerates() {
    let mut wire = wire();
    for number in 0..50 {
        let phone = phone(ATTACKER, 5060, &number.to_string());
        let plain = wire.register(&phone, None);
        wire.exchange(phone.at, &plain, |request| Response::to(request, 404, "Not Found").build());
    }
    assert_eq!(wire.verdicts.len(), 1);
    let verdict = &wire.verdicts[0];
    assert_eq!((verdict.observed.rule, verdict.packet), (Rule::Enumeration, 16));
    assert_eq!(verdict.observed.sanction, Sanction::SoftBlock);
    assert_eq!(wire.engine.statistics().enumerations, 50);
    assert_eq!(wire.engine.statistics().strikes, 0);
}

#[test]
fn a_retransmission_is_the_same_attempt() {
    let mut wire = wire();
    for guess in 0..9 {
        let phone = phone(ATTACKER, 5060, "1001");
        let plain = wire.register(&phone, None);
        wire.exchange(phone.at, &plain, |request| challenged(request, "n", ""));
        let authorization = wire.authorize(&phone, &format!("wrong{guess}"), "n");
        let signed = wire.register(&phone, Some(&authorization));
        for _ in 0..4 {
            wire.exchange(phone.at, &signed, |request| challenged(request, "n", ""));
        }
    }
    assert_eq!(wire.engine.statistics().strikes, 9);
    assert_eq!(wire.verdicts, []);
}

#[test]
fn a_branch_used_for_every_guess_hides_none_of_them() {
    let mut wire = wire();
    let phone = phone(ATTACKER, 5060, "1001");
    let plain = wire.register(&phone, None);
    wire.exchange(phone.at, &plain, |request| challenged(request, "n", ""));
    let guesses: Vec<Vec<u8>> = (0..10)
        .map(|guess| {
            let authorization = wire.authorize(&phone, &format!("wrong{guess}"), "n");
            Request::new("REGISTER", "sip:pbx.example.net")
                .header("Via", "SIP/2.0/UDP 203.0.113.66:5060;branch=constant")
                .header("From", "<sip:1001@pbx.example.net>;tag=t")
                .header("To", "<sip:1001@pbx.example.net>")
                .header("Call-ID", "constant")
                .header("CSeq", "2 REGISTER")
                .header("Authorization", authorization)
                .build()
        })
        .collect();
    for guess in &guesses {
        wire.send(phone.at, PBX, guess);
    }
    for guess in &guesses {
        let answer = challenged(&sip::parse(guess).unwrap(), "n", "");
        // Without rport the answer may go to another port than the one that was asked from.
        wire.send(PBX, std::net::SocketAddrV4::new(*phone.at.ip(), 5099), &answer);
    }
    assert_eq!(wire.engine.statistics().strikes, 10);
    assert_eq!(wire.verdicts.len(), 1);
}

#[test]
fn made_up_nonces_prove_nothing_about_the_address_they_come_from() {
    let mut wire = wire();
    let forged = phone([192, 0, 2, 1], 5060, "1001");
    for guess in 0..100 {
        let authorization = wire.authorize(&forged, "x", &format!("made up {guess}"));
        let request = wire.register(&forged, Some(&authorization));
        wire.exchange(forged.at, &request, |request| challenged(request, "real", ""));
    }
    assert_eq!(wire.verdicts.len(), 1);
    assert_eq!(wire.verdicts[0].observed.evidence, Evidence::Unproven);
    assert_eq!(wire.verdicts[0].observed.sanction, Sanction::SoftBlock);
    assert_eq!(wire.verdicts[0].seconds, 300);
    assert_eq!(wire.verdicts[0].observed.count, 20);
}

#[test]
fn a_nonce_that_everybody_is_given_proves_nothing_about_the_address_that_echoes_it() {
    let mut wire = wire();
    let (forger, forged) = (phone(ATTACKER, 5060, "own"), phone([192, 0, 2, 1], 5060, "1001"));
    for guess in 0..100 {
        // As Kamailio does: one nonce within a second.
        let nonce = format!("second {}", guess / 10);
        for asks in [&forger, &forged] {
            let plain = wire.register(asks, None);
            wire.exchange(asks.at, &plain, |request| challenged(request, &nonce, ""));
        }
        let authorization = wire.authorize(&forged, &guess.to_string(), &nonce);
        let request = wire.register(&forged, Some(&authorization));
        wire.exchange(forged.at, &request, |request| challenged(request, &nonce, ""));
    }
    let verdict = wire.verdicts.first().expect("a verdict");
    assert_eq!(wire.verdicts.len(), 1);
    assert_eq!(verdict.observed.evidence, Evidence::Unproven);
    assert_eq!(verdict.observed.sanction, Sanction::SoftBlock);
    // Each is a whole strike: the nonce was a fresh one.
    assert_eq!(verdict.observed.count, 10);
}

#[test]
fn a_guessed_password_does_not_clear_the_guesses_at_other_accounts() {
    let mut wire = wire();
    for number in 0..9 {
        wire.try_to_register(&phone(ATTACKER, 5060, &format!("victim{number}")), "wrong", Registrar::Checks);
    }
    wire.try_to_register(&phone(ATTACKER, 5060, "own"), PASSWORD, Registrar::Checks);
    assert_eq!(wire.verdicts, []);
    wire.try_to_register(&phone(ATTACKER, 5060, "victim9"), "wrong", Registrar::Checks);
    assert_eq!(wire.verdicts.len(), 1);
}

#[test]
fn the_pbx_own_failing_registration_blames_nobody() {
    let policy = Policy { never: vec![IpAddr::V4(*PBX.ip())], ..Policy::default() };
    let mut wire = Wire::new(policy);
    let provider = std::net::SocketAddrV4::new([198, 51, 100, 200].into(), 5060);
    for number in 0..50 {
        let own = Phone { at: PBX, user: "trunk".to_owned(), agent: "friendly-scanner" };
        let authorization = wire.authorize(&own, "wrong", "n");
        let request = wire.register(&own, (number > 0).then_some(authorization.as_str()));
        wire.send(PBX, provider, &request);
        let answer = challenged(&sip::parse(&request).unwrap(), "n", "");
        wire.send(provider, PBX, &answer);
    }
    assert_eq!(wire.verdicts, []);
    assert_eq!(wire.engine.statistics().exempt, 50);
}

#[test]
fn local_addresses_are_never_blamed() {
    for source in [[127, 0, 0, 1], PBX.ip().octets(), [0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 5]] {
        let mut wire = wire();
        let mut scanner = phone(source, 5070, "100");
        scanner.agent = "friendly-scanner";
        let request = wire.register(&scanner, None);
        wire.send(scanner.at, PBX, &request);
        assert_eq!(wire.verdicts, [], "{source:?}");
    }
}

#[test]
fn a_blocked_agent_is_soft_blocked_at_its_first_packet_and_blocked_once_proven() {
    let mut wire = wire();
    let mut scanner = phone(ATTACKER, 5060, "100");
    scanner.agent = "friendly-scanner";
    for _ in 0..3 {
        wire.try_to_register(&scanner, "wrong", Registrar::Checks);
    }
    let found: Vec<_> = wire
        .verdicts
        .iter()
        .map(|verdict| (verdict.packet, verdict.observed.evidence, verdict.seconds, verdict.observed.rule))
        .collect();
    assert_eq!(
        found,
        [
            (1, Evidence::Unproven, 300, Rule::BlockedUserAgent),
            (3, Evidence::Proven, 3_600, Rule::BlockedUserAgent)
        ]
    );
    assert!(wire.verdicts[0].observed.known_user_agent);
}

#[test]
fn a_blocked_agent_counts_in_requests_of_any_method_and_never_in_answers() {
    for (method, kind) in [
        ("OPTIONS", AttackKind::Options),
        ("INVITE", AttackKind::Invite),
        ("REGISTER", AttackKind::Register),
        ("SUBSCRIBE", AttackKind::Other),
    ] {
        let mut wire = wire();
        let request =
            Request::new(method, "sip:100@198.51.100.10").header("User-Agent", "sipsak 0.9.6").build();
        let scanner = phone(ATTACKER, 40_000, "100");
        wire.send(scanner.at, PBX, &request);
        assert_eq!(wire.verdicts.len(), 1);
        assert_eq!(wire.verdicts[0].observed.attack, kind);
    }
    let mut wire = wire();
    let request = Request::new("OPTIONS", "sip:100@203.0.113.66").header("Call-ID", "x").build();
    let answer =
        Response::to(&sip::parse(&request).unwrap(), 200, "OK").header("User-Agent", "sipsak 0.9.6").build();
    wire.send(phone(ATTACKER, 5060, "100").at, PBX, &answer);
    wire.send(PBX, phone(ATTACKER, 5060, "100").at, &answer);
    assert_eq!(wire.verdicts, []);
}

#[test]
fn only_the_ports_of_the_policy_are_looked_at() {
    let mut wire = wire();
    let request =
        Request::new("OPTIONS", "sip:100@198.51.100.10").header("User-Agent", "sipsak 0.9.6").build();
    let other_port = std::net::SocketAddrV4::new(*PBX.ip(), 5080);
    wire.send(phone(ATTACKER, 40_000, "100").at, other_port, &request);
    // To a phone that happens to be asked from a SIP port: a request to nobody's SIP port.
    wire.send(PBX, phone(ATTACKER, 40_000, "100").at, &request);
    assert_eq!(wire.verdicts, []);
    let ports = vec![log_format::event::PortRange { first: 5080, last: 5089 }];
    wire.engine.set_policy(Policy { sip_ports: ports, ..Policy::default() });
    wire.send(phone(ATTACKER, 40_000, "100").at, other_port, &request);
    assert_eq!(wire.verdicts.len(), 1);
}

#[test]
fn a_clock_that_is_set_back_neither_hides_an_attack_nor_makes_one() {
    let mut wire = wire();
    guess(&mut wire, 5, Registrar::Checks);
    wire.now = wire.now.before(Duration::from_secs(86_400));
    guess(&mut wire, 5, Registrar::Checks);
    assert_eq!(wire.verdicts.len(), 1);
    let mut slow = super::rules::wire();
    for _ in 0..25 {
        guess(&mut slow, 1, Registrar::Checks);
        slow.wait(Duration::from_secs(20));
        slow.now = slow.now.before(Duration::from_secs(5));
    }
    assert_eq!(slow.verdicts, []);
}
