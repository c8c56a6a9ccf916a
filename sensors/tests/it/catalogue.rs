//! The attacks of the catalogue, one after the other, and what is like them and honest.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use log_format::event::{AttackKind, Evidence, NoteKind, Rule, Sanction};
use sensors::hep::{self, Report, Transport};
use sensors::{Mode, Policy};
use sip::builder::{Request, Response};

use crate::wire::{PASSWORD, PBX, Registrar, Wire, challenged, phone};

const ATTACKER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 66), 5060);

fn wire() -> Wire {
    Wire::new(Policy::default())
}

fn request(method: &str, from: SocketAddrV4, to: (SocketAddrV4, &str), number: u64) -> Request {
    let (to, user) = to;
    Request::new(method, &format!("sip:{user}@{}", to.ip()))
        .header("Via", format!("SIP/2.0/UDP {from};branch=z9hG4bK-{number};rport"))
        .header("From", format!("<sip:caller@{}>;tag=t{number}", from.ip()))
        .header("Call-ID", format!("call-{number}"))
        .header("CSeq", format!("1 {method}"))
}

/// A request outside of any call.
fn first(method: &str, from: SocketAddrV4, to: (SocketAddrV4, &str), number: u64) -> Vec<u8> {
    request(method, from, to, number).header("To", format!("<sip:{}@{}>", to.1, to.0.ip())).build()
}

/// A call that is refused, with the ACK that shows that the caller knows.
fn refused_call(wire: &mut Wire, from: SocketAddrV4, user: &str, status: u16) {
    let number = wire.fresh();
    let invite = first("INVITE", from, (PBX, user), number);
    wire.send(from, PBX, &invite);
    let answer = Response::to(&sip::parse(&invite).unwrap(), status, "No").build();
    wire.send(PBX, from, &answer);
    let to = sip::parse(&answer).unwrap().to().and_then(|to| to.tag()).map(<[u8]>::to_vec);
    let tag = String::from_utf8(to.expect("an answer has a tag")).unwrap();
    let ack = request("ACK", from, (PBX, user), number)
        .header("To", format!("<sip:{user}@{}>;tag={tag}", PBX.ip()))
        .build();
    wire.send(from, PBX, &ack);
    wire.wait(Duration::from_millis(100));
}

/// Rule, evidence and sanction of each verdict.
fn told(wire: &Wire) -> Vec<(Rule, Evidence, Sanction)> {
    wire.verdicts
        .iter()
        .map(|verdict| (verdict.observed.rule, verdict.observed.evidence, verdict.observed.sanction))
        .collect()
}

#[test]
fn a4_calls_to_many_users_are_proven_by_the_acks() {
    let mut wire = wire();
    for user in 100..120 {
        refused_call(&mut wire, ATTACKER, &user.to_string(), 404);
    }
    assert_eq!(
        told(&wire)[..2],
        [
            (Rule::Enumeration, Evidence::Unproven, Sanction::SoftBlock),
            (Rule::Enumeration, Evidence::Proven, Sanction::Block),
        ]
    );
    assert_eq!(wire.verdicts[0].observed.attack, AttackKind::Invite);
}

#[test]
fn a3_registrations_without_credentials_that_lead_to_nothing_are_enumeration() {
    let mut wire = wire();
    for user in 100..110 {
        let phone = phone(ATTACKER.ip().octets(), 5060, &user.to_string());
        let plain = wire.register(&phone, None);
        wire.exchange(phone.at, &plain, |request| challenged(request, "n", ""));
    }
    assert_eq!(wire.verdicts, [], "credentials may still come");
    wire.idle(Duration::from_secs(5));
    assert_eq!(told(&wire), [(Rule::Enumeration, Evidence::Unproven, Sanction::SoftBlock)]);
    assert_eq!(wire.verdicts[0].observed.user_agent.as_bytes(), b"Yealink SIP-T46S 66.86.0.15");
}

#[test]
fn a1_a_sweep_over_protected_addresses_is_seen_even_if_nothing_follows() {
    let mut wire = wire();
    for host in 10..14 {
        let victim = SocketAddrV4::new([198, 51, 100, host].into(), 5060);
        let options = first("OPTIONS", ATTACKER, (victim, "100"), u64::from(host));
        wire.send(ATTACKER, victim, &options);
    }
    assert_eq!(wire.verdicts, []);
    wire.idle(Duration::from_secs(5));
    assert_eq!(told(&wire), [(Rule::Sweep, Evidence::Unproven, Sanction::SoftBlock)]);
}

#[test]
fn phones_with_accounts_at_several_systems_are_no_sweep() {
    let mut wire = wire();
    for host in 10..16 {
        let victim = SocketAddrV4::new([198, 51, 100, host].into(), 5060);
        let phone = phone([203, 0, 113, 7], 5060, "1001");
        let plain = wire.register(&phone, None);
        wire.send(phone.at, victim, &plain);
        let challenge = challenged(&sip::parse(&plain).unwrap(), "n", "");
        wire.send(victim, phone.at, &challenge);
        let authorization = wire.authorize(&phone, PASSWORD, "n");
        let signed = wire.register(&phone, Some(&authorization));
        wire.send(phone.at, victim, &signed);
    }
    wire.idle(Duration::from_secs(5));
    assert_eq!(wire.verdicts, []);
}

#[test]
fn phones_that_call_on_systems_that_are_down_are_no_sweep() {
    let mut wire = wire();
    let systems = (10..14).map(|host| SocketAddrV4::new([198, 51, 100, host].into(), 5060));
    let office = phone([203, 0, 113, 7], 5060, "1001");
    let stranger = phone([203, 0, 113, 8], 5060, "2001");
    for system in systems.clone() {
        let plain = wire.register(&stranger, None);
        wire.send(stranger.at, system, &plain);
        wire.send(system, stranger.at, &challenged(&sip::parse(&plain).unwrap(), "n", ""));
    }
    wire.wait(Duration::from_secs(120));
    // Many ask in vain, and then the office does, too.
    for number in 0..10 {
        for system in systems.clone() {
            let other = phone([203, 0, 113, 100 + number], 5060, "3001");
            let plain = wire.register(&other, None);
            wire.send(other.at, system, &plain);
        }
        wire.wait(Duration::from_secs(1));
    }
    for _ in 0..5 {
        for system in systems.clone() {
            let plain = wire.register(&office, None);
            wire.send(office.at, system, &plain);
        }
        wire.wait(Duration::from_secs(4));
    }
    let blamed = |address: [u8; 4]| {
        wire.verdicts.iter().any(|verdict| verdict.observed.source == std::net::IpAddr::from(address))
    };
    assert!(!blamed([203, 0, 113, 7]), "{:?}", wire.verdicts);
}

#[test]
fn a_monitor_that_asks_many_systems_for_nobody_is_no_sweep() {
    let mut wire = wire();
    for host in 10..30 {
        let victim = SocketAddrV4::new([198, 51, 100, host].into(), 5060);
        let options = Request::new("OPTIONS", &format!("sip:{}", victim.ip()))
            .header("Via", format!("SIP/2.0/UDP {ATTACKER};branch=z9hG4bK-{host}"))
            .header("From", "<sip:monitor@203.0.113.66>;tag=t")
            .header("To", format!("<sip:{}>", victim.ip()))
            .header("Call-ID", format!("{host}"))
            .header("CSeq", "1 OPTIONS")
            .build();
        wire.send(ATTACKER, victim, &options);
    }
    wire.idle(Duration::from_secs(5));
    assert_eq!(wire.verdicts, []);
}

#[test]
fn a10_a_prefix_walk_is_seen_at_a_slow_pace() {
    let mut wire = wire();
    for (number, prefix) in ["8248", "8258", "8268"].iter().enumerate() {
        refused_call(&mut wire, ATTACKER, &format!("{prefix}10441519471629"), 404);
        let _ = number;
        wire.wait(Duration::from_secs(600));
    }
    assert_eq!(
        told(&wire),
        [
            (Rule::PrefixWalk, Evidence::Unproven, Sanction::SoftBlock),
            (Rule::PrefixWalk, Evidence::Proven, Sanction::Block),
        ]
    );
}

#[test]
fn a9_calls_to_far_numbers_that_are_refused_add_up() {
    let mut wire = wire();
    for number in 0..6 {
        refused_call(&mut wire, ATTACKER, &format!("0044203996779{number}"), 403);
    }
    assert!(
        told(&wire).contains(&(Rule::TollFraud, Evidence::Unproven, Sanction::SoftBlock)),
        "{:?}",
        told(&wire)
    );
}

#[test]
fn a11_a_far_call_by_a_stranger_that_is_answered_is_told() {
    let mut wire = wire();
    let invite = first("INVITE", ATTACKER, (PBX, "00442039967796"), 1);
    wire.exchange(ATTACKER, &invite, |request| Response::to(request, 200, "OK").build());
    assert_eq!(
        wire.notes.iter().map(|note| note.observed.kind).collect::<Vec<_>>(),
        [NoteKind::CallFromUnknown]
    );
    assert_eq!(wire.notes[0].observed.line.as_bytes(), b"200 OK to INVITE sip:004420********@198.51.100.10");
}

#[test]
fn a13_a_caller_who_challenges_the_bye_wants_a_hash() {
    for is_gateway in [false, true] {
        let mut wire = wire();
        if is_gateway {
            // The PBX has an account at the peer.
            let own = phone(PBX.ip().octets(), 5060, "trunk");
            let plain = wire.register(&own, None);
            wire.send(own.at, ATTACKER, &plain);
            wire.send(ATTACKER, own.at, &challenged(&sip::parse(&plain).unwrap(), "n", ""));
            let authorization = wire.authorize(&own, PASSWORD, "n");
            let signed = wire.register(&own, Some(&authorization));
            wire.send(own.at, ATTACKER, &signed);
            wire.send(ATTACKER, own.at, &Response::to(&sip::parse(&signed).unwrap(), 200, "OK").build());
        }
        let bye = request("BYE", PBX, (ATTACKER, "caller"), 7).header("To", "<sip:caller@x>;tag=c").build();
        wire.send(PBX, ATTACKER, &bye);
        let challenge = Response::to(&sip::parse(&bye).unwrap(), 407, "Proxy Authentication Required")
            .header("Proxy-Authenticate", "Digest realm=\"pbx\", nonce=\"chosen\"")
            .build();
        wire.send(ATTACKER, PBX, &challenge);
        let expected: &[_] =
            if is_gateway { &[] } else { &[(Rule::DigestLeak, Evidence::Proven, Sanction::Block)] };
        assert_eq!(told(&wire), expected);
    }
}

#[test]
fn a14_a_password_tried_from_everywhere_makes_strangers_suspect_after_two_tries() {
    let mut wire = wire();
    for host in 1..=5 {
        wire.try_to_register(&phone([192, 0, 2, host], 5060, "1001"), "wrong", Registrar::Checks);
    }
    assert_eq!(wire.verdicts, []);
    assert_eq!(
        wire.notes.iter().map(|note| note.observed.kind).collect::<Vec<_>>(),
        [NoteKind::AccountUnderAttack]
    );
    for _ in 0..2 {
        wire.try_to_register(&phone([192, 0, 2, 6], 5060, "1001"), "wrong", Registrar::Checks);
    }
    assert_eq!(told(&wire), [(Rule::AccountUnderAttack, Evidence::Proven, Sanction::Block)]);
}

#[test]
fn a15_a_flood_of_requests_without_credentials_is_shaped_and_with_a_proof_softly_blocked() {
    let mut wire = wire();
    for _ in 0..150 {
        let plain = wire.register(&phone(ATTACKER.ip().octets(), 5060, "1001"), None);
        wire.send(ATTACKER, PBX, &plain);
        wire.wait(Duration::from_millis(10));
    }
    assert_eq!(told(&wire), [(Rule::RequestRate, Evidence::Unproven, Sanction::Shape)]);
}

#[test]
fn a18_what_cannot_be_read_is_counted_and_what_rfc_4475_calls_valid_is_not() {
    let mut wire = wire();
    for number in 0..30_u64 {
        let broken = format!("INVITE sip:{number}@pbx SIP/2.0\r\nUser-Agent: x\r\n\r\n");
        wire.send(ATTACKER, PBX, broken.as_bytes());
    }
    assert_eq!(told(&wire), [(Rule::Malformed, Evidence::Unproven, Sanction::SoftBlock)]);
    assert_eq!(wire.verdicts[0].packet, 25);
    // A request of RFC 2543, whose Via has no branch (RFC 4475, 3.4).
    let mut wire = self::wire();
    for number in 0..100_u64 {
        let old = Request::new("MESSAGE", "sip:100@198.51.100.10")
            .header("Via", "SIP/2.0/UDP iftgw.example.com")
            .header("From", "<sip:+19725552222@gw1.example.net>;user=phone")
            .header("To", "<sip:100@198.51.100.10>")
            .header("Call-ID", format!("{number}"))
            .header("CSeq", format!("{number} MESSAGE"))
            .build();
        wire.send(ATTACKER, PBX, &old);
    }
    assert_eq!(wire.verdicts.iter().filter(|verdict| verdict.observed.rule == Rule::Malformed).count(), 0);
}

#[test]
fn a19_commands_in_the_user_part_add_up_and_parameters_are_none() {
    let mut wire = wire();
    for number in 0..4 {
        wire.send(ATTACKER, PBX, &first("OPTIONS", ATTACKER, (PBX, "100'%20or%20'1'='1"), number));
    }
    assert_eq!(told(&wire), [(Rule::UriInjection, Evidence::Unproven, Sanction::SoftBlock)]);
    assert_eq!(wire.verdicts[0].observed.count, 12);
}

#[test]
fn decoys_and_canaries_are_enough_at_the_first_packet_and_corroborate_what_is_proven() {
    let policy = Policy {
        decoys: vec!["198.51.100.128/25".parse().unwrap()],
        canary_users: vec![log_format::event::Text::new(b"9999")],
        ..Policy::default()
    };
    let decoy = SocketAddrV4::new([198, 51, 100, 200].into(), 5060);
    let mut wire = Wire::new(policy.clone());
    wire.send(ATTACKER, decoy, &first("OPTIONS", ATTACKER, (decoy, "100"), 1));
    assert_eq!(told(&wire), [(Rule::Decoy, Evidence::Unproven, Sanction::SoftBlock)]);
    for guess in 0..10 {
        wire.try_to_register(
            &phone(ATTACKER.ip().octets(), 5060, "1001"),
            &guess.to_string(),
            Registrar::Checks,
        );
    }
    assert_eq!(told(&wire)[1], (Rule::BadRegistrations, Evidence::Corroborated, Sanction::Block));
    let mut wire = Wire::new(policy);
    wire.send(ATTACKER, PBX, &first("INVITE", ATTACKER, (PBX, "9999"), 1));
    assert_eq!(told(&wire), [(Rule::Decoy, Evidence::Unproven, Sanction::SoftBlock)]);
}

#[test]
fn where_only_requests_are_seen_repeated_challenges_are_inferred() {
    let mut wire = wire();
    for guess in 0..40 {
        let attacker = phone(ATTACKER.ip().octets(), 5060, "1001");
        let authorization = wire.authorize(&attacker, &guess.to_string(), &format!("nonce{guess}"));
        let signed = wire.register(&attacker, Some(&authorization));
        wire.send(attacker.at, PBX, &signed);
        wire.wait(Duration::from_millis(500));
    }
    let rules: Vec<Rule> = told(&wire).iter().map(|(rule, ..)| *rule).collect();
    assert!(rules.contains(&Rule::BadRegistrations), "{rules:?}");
    assert!(told(&wire).iter().all(|(_, evidence, sanction)| {
        (*evidence, *sanction) == (Evidence::Unproven, Sanction::SoftBlock)
    }));
}

#[test]
fn where_only_requests_are_seen_an_office_that_renews_each_minute_is_no_flood() {
    let mut wire = wire();
    for minute in 0..10 {
        for number in 0..40_u16 {
            let phone = phone([203, 0, 113, 7], 20_000 + number, &number.to_string());
            let plain = wire.register(&phone, None);
            wire.send(phone.at, PBX, &plain);
            let authorization = wire.authorize(&phone, PASSWORD, &format!("{minute}-{number}"));
            let signed = wire.register(&phone, Some(&authorization));
            wire.send(phone.at, PBX, &signed);
        }
        wire.wait(Duration::from_secs(60));
    }
    assert_eq!(wire.verdicts, []);
}

#[test]
fn where_only_answers_are_seen_rejections_are_charged_to_whom_they_go() {
    let mut wire = wire();
    for guess in 0..12 {
        let attacker = phone(ATTACKER.ip().octets(), 5060, "1001");
        let request = wire.register(&attacker, None);
        let forbidden = Response::to(&sip::parse(&request).unwrap(), 403, "Forbidden").build();
        wire.send(PBX, attacker.at, &forbidden);
        wire.wait(Duration::from_millis(100 + guess));
    }
    assert_eq!(told(&wire), [(Rule::BadRegistrations, Evidence::Unproven, Sanction::SoftBlock)]);
}

#[test]
fn guesses_over_tls_are_seen_where_the_telephone_system_reports_them() {
    let mut wire = wire();
    for guess in 0..10 {
        let attacker = phone(ATTACKER.ip().octets(), 40_000, "1001");
        let nonce = format!("n{guess}");
        let authorization = wire.authorize(&attacker, &guess.to_string(), &nonce);
        let plain = wire.register(&attacker, None);
        let signed = wire.register(&attacker, Some(&authorization));
        for request in [plain, signed] {
            let answer = challenged(&sip::parse(&request).unwrap(), &nonce, "");
            report(&mut wire, attacker.at, true, &request);
            report(&mut wire, attacker.at, false, &answer);
        }
    }
    assert_eq!(told(&wire), [(Rule::BadRegistrations, Evidence::Proven, Sanction::Block)]);
}

/// What a telephone system reports of a message over TLS.
fn report(wire: &mut Wire, client: SocketAddrV4, is_request: bool, payload: &[u8]) {
    let server = SocketAddrV4::new(*PBX.ip(), 5061);
    let (from, to) = if is_request { (client, server) } else { (server, client) };
    let report = Report {
        source: (*from.ip()).into(),
        source_port: from.port(),
        destination: (*to.ip()).into(),
        destination_port: to.port(),
        transport: Transport::Tls,
        at: None,
        agent: 1,
        key: b"",
        correlation: b"",
        payload,
    };
    // As it comes in: written and read again.
    let datagram = hep::encode(&report).unwrap();
    wire.report(&hep::parse(&datagram).unwrap());
}

#[test]
fn a_rule_that_is_off_is_silent_and_one_that_observes_tells() {
    let scan = |policy: Policy| {
        let mut wire = Wire::new(policy);
        let options = request("OPTIONS", ATTACKER, (PBX, "100"), 1)
            .header("To", "<sip:100@198.51.100.10>")
            .header("User-Agent", "friendly-scanner")
            .build();
        wire.send(ATTACKER, PBX, &options);
        (
            wire.verdicts.len(),
            wire.notes.iter().map(|note| (note.observed.kind, note.observed.rule)).collect::<Vec<_>>(),
        )
    };
    let mut policy = Policy::default();
    policy.modes.set(Rule::BlockedUserAgent, Mode::Observe);
    assert_eq!(scan(policy.clone()), (0, vec![(NoteKind::RuleObserved, Some(Rule::BlockedUserAgent))]));
    policy.modes.set(Rule::BlockedUserAgent, Mode::Off);
    assert_eq!(scan(policy), (0, Vec::new()));
    assert_eq!(scan(Policy::default()).0, 1);
}

#[test]
fn the_classic_preset_blocks_an_agent_for_an_hour_and_knows_no_other_rule() {
    let mut wire = Wire::new(Policy::sipprot_compat());
    let options = request("OPTIONS", ATTACKER, (PBX, "100"), 1)
        .header("To", "<sip:100@198.51.100.10>")
        .header("User-Agent", "sipsak 0.9.8")
        .build();
    wire.send(ATTACKER, PBX, &options);
    assert_eq!(wire.verdicts.iter().map(|verdict| verdict.seconds).collect::<Vec<_>>(), [3_600]);
    for user in 100..120 {
        refused_call(&mut wire, SocketAddrV4::new([203, 0, 113, 67].into(), 5060), &user.to_string(), 404);
    }
    assert_eq!(wire.verdicts.len(), 1);
}

#[test]
fn a_victim_that_stops_to_answer_is_told_of() {
    let mut wire = wire();
    let caller = phone([203, 0, 113, 7], 20_001, "1001");
    wire.try_to_register(&caller, PASSWORD, Registrar::Checks);
    for _ in 0..40 {
        let plain = wire.register(&caller, None);
        wire.send(caller.at, PBX, &plain);
        wire.wait(Duration::from_secs(1));
    }
    assert_eq!(
        wire.notes.iter().map(|note| note.observed.kind).collect::<Vec<_>>(),
        [NoteKind::VictimSilent]
    );
    assert_eq!(wire.verdicts, []);
}

#[test]
fn packets_of_blocked_sources_are_passed_over_and_told_of_while_they_go_on() {
    let mut wire = wire();
    wire.engine.enforce(true);
    let attacker = phone(ATTACKER.ip().octets(), 5060, "1001");
    for guess in 0..20 {
        wire.try_to_register(&attacker, &guess.to_string(), Registrar::Checks);
    }
    assert_eq!(wire.verdicts.len(), 1);
    let statistics = wire.engine.statistics();
    assert_eq!(
        (statistics.passed_over, statistics.strikes),
        (20, 10),
        "half of what came after the verdict is the registrar's"
    );
    for _ in 0..4_000 {
        wire.wait(Duration::from_secs(1));
        let plain = wire.register(&attacker, None);
        wire.send(attacker.at, PBX, &plain);
    }
    let counts: Vec<u32> = wire.verdicts.iter().skip(1).map(|verdict| verdict.observed.count).collect();
    assert_eq!(counts, [1_820, 1_800], "the block slides twice in 4,000 seconds");
    wire.engine.open(std::net::IpAddr::V4(*ATTACKER.ip()));
    let before = wire.engine.statistics().passed_over;
    wire.try_to_register(&attacker, PASSWORD, Registrar::Checks);
    assert_eq!(wire.engine.statistics().passed_over, before, "a person let it go");
}

#[test]
fn what_other_hosts_found_is_passed_over_until_its_end() {
    let mut wire = wire();
    wire.engine.enforce(true);
    let attacker = phone(ATTACKER.ip().octets(), 5060, "1001");
    let (now, until) = (wire.now, wire.now.after(Duration::from_secs(60)));
    wire.engine.shut(std::net::IpAddr::V4(*ATTACKER.ip()), now, until);
    for _ in 0..90 {
        let plain = wire.register(&attacker, None);
        wire.send(attacker.at, PBX, &plain);
        wire.wait(Duration::from_secs(1));
    }
    assert_eq!(wire.engine.statistics().passed_over, 60);
    assert_eq!(wire.verdicts, []);
}

#[test]
fn made_up_credentials_hide_no_question() {
    for method in ["INVITE", "OPTIONS"] {
        let mut wire = wire();
        wire.try_to_register(&phone([192, 0, 2, 9], 5060, "1001"), PASSWORD, Registrar::Checks);
        for user in 100..112 {
            let number = wire.fresh();
            let made_up = wire.authorize(&phone(ATTACKER.ip().octets(), 5060, "x"), "x", "made up");
            let ask = request(method, ATTACKER, (PBX, &user.to_string()), number)
                .header("To", format!("<sip:{user}@{}>", PBX.ip()))
                .header("Authorization", made_up)
                .build();
            wire.exchange(ATTACKER, &ask, |request| Response::to(request, 404, "Not Found").build());
        }
        assert_eq!(told(&wire), [(Rule::Enumeration, Evidence::Unproven, Sanction::SoftBlock)], "{method}");
    }
}

#[test]
fn made_up_credentials_at_one_system_excuse_no_sweep_over_others() {
    let mut wire = wire();
    for (turn, host) in [10, 10, 11, 12, 13, 14].into_iter().enumerate() {
        let victim = SocketAddrV4::new([198, 51, 100, host].into(), 5060);
        let number = wire.fresh();
        let mut options = request("OPTIONS", ATTACKER, (victim, "100"), number)
            .header("To", format!("<sip:100@{}>", victim.ip()));
        if turn == 1 {
            let made_up = wire.authorize(&phone(ATTACKER.ip().octets(), 5060, "x"), "x", "made up");
            options = options.header("Authorization", made_up);
        }
        let options = options.build();
        wire.send(ATTACKER, victim, &options);
        let answer = Response::to(&sip::parse(&options).unwrap(), 200, "OK").build();
        wire.send(victim, ATTACKER, &answer);
    }
    wire.idle(Duration::from_secs(5));
    assert_eq!(told(&wire), [(Rule::Sweep, Evidence::Unproven, Sanction::SoftBlock)]);
}

#[test]
fn the_method_in_cseq_must_be_the_requests() {
    let mut wire = wire();
    for number in 0..30 {
        let options = first("OPTIONS", ATTACKER, (PBX, "100"), number);
        let text = String::from_utf8(options).unwrap().replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE");
        wire.send(ATTACKER, PBX, text.as_bytes());
    }
    assert!(told(&wire).contains(&(Rule::Malformed, Evidence::Unproven, Sanction::SoftBlock)));
}

#[test]
fn an_enumeration_of_which_no_answer_is_seen_is_seen_while_it_goes_on() {
    let mut wire = wire();
    for number in 0..200 {
        let ask = first("REGISTER", ATTACKER, (PBX, &format!("{}", 100 + number)), number);
        wire.send(ATTACKER, PBX, &ask);
        wire.wait(Duration::from_millis(100));
    }
    assert_eq!(wire.verdicts[0].observed.rule, Rule::Enumeration);
    assert!(wire.verdicts[0].packet < 100, "{}", wire.verdicts[0].packet);
}

#[test]
fn an_office_at_a_system_that_hangs_is_not_to_blame() {
    let mut wire = wire();
    wire.try_to_register(&phone([192, 0, 2, 9], 5060, "9999"), PASSWORD, Registrar::Checks);
    wire.wait(Duration::from_secs(90));
    for round in 0..4 {
        for user in 100..120_u16 {
            let plain = wire.register(&phone([203, 0, 113, 9], 20_000 + user, &user.to_string()), None);
            wire.send(SocketAddrV4::new([203, 0, 113, 9].into(), 20_000 + user), PBX, &plain);
        }
        wire.wait(Duration::from_secs(5 + round));
    }
    wire.idle(Duration::from_secs(5));
    assert_eq!(wire.verdicts, []);
}

#[test]
fn a_registrar_that_fails_to_register_elsewhere_is_only_told_of() {
    let mut wire = wire();
    wire.try_to_register(&phone([192, 0, 2, 9], 5060, "1001"), PASSWORD, Registrar::Checks);
    let provider = SocketAddrV4::new([198, 51, 100, 200].into(), 5060);
    for guess in 0..15 {
        let nonce = format!("n{guess}");
        let own = crate::wire::Phone { at: PBX, user: "trunk".to_owned(), agent: "Asterisk PBX 18.9.0" };
        let plain = wire.register(&own, None);
        wire.send(PBX, provider, &plain);
        wire.send(provider, PBX, &challenged(&sip::parse(&plain).unwrap(), &nonce, ""));
        let authorization = wire.authorize(&own, "expired", &nonce);
        let signed = wire.register(&own, Some(&authorization));
        wire.send(PBX, provider, &signed);
        let answer = Response::to(&sip::parse(&signed).unwrap(), 403, "Forbidden").build();
        wire.send(provider, PBX, &answer);
        wire.wait(Duration::from_secs(3));
    }
    assert_eq!(told(&wire), [(Rule::BadRegistrations, Evidence::Proven, Sanction::Observe)]);
    assert!(wire.engine.drain_strikes(wire.now).is_empty(), "nor is the cluster");
}

#[test]
fn calls_abroad_by_phones_that_say_who_they_are_are_no_fraud() {
    let mut wire = wire();
    for call in 0..20_u64 {
        let caller = phone([203, 0, 113, 9], 20_000 + call as u16, &format!("{}", 200 + call));
        let user = format!("00442079460{call:03}");
        let nonce = format!("call-{call}");
        let plain = first("INVITE", caller.at, (PBX, &user), call);
        wire.exchange(caller.at, &plain, |request| {
            let value = format!("Digest realm=\"pbx\", nonce=\"{nonce}\"");
            Response::to(request, 407, "Proxy Authentication Required")
                .header("Proxy-Authenticate", value)
                .build()
        });
        let signed = request("INVITE", caller.at, (PBX, &user), 1_000 + call)
            .header("To", format!("<sip:{user}@{}>", PBX.ip()))
            .header("Proxy-Authorization", wire.authorize(&caller, PASSWORD, &nonce))
            .build();
        wire.send(caller.at, PBX, &signed);
        wire.wait(Duration::from_secs(1));
    }
    assert_eq!(wire.verdicts, []);
}

#[test]
fn a_trunk_whose_calls_are_mostly_answered_may_have_wrong_numbers_among_them() {
    let mut wire = wire();
    let trunk = SocketAddrV4::new([192, 0, 2, 60].into(), 5060);
    for call in 0..40_u64 {
        let user = format!("+493012345{call:03}");
        let invite = first("INVITE", trunk, (PBX, &user), call);
        let status = if call % 4 == 3 { 404 } else { 200 };
        wire.exchange(trunk, &invite, |request| Response::to(request, status, "x").build());
        wire.wait(Duration::from_secs(1));
    }
    assert_eq!(wire.verdicts, []);
}

#[test]
fn phones_that_ask_for_themselves_are_told_no_and_enumerate_nothing() {
    let mut wire = wire();
    for user in 100..120_u16 {
        let at = SocketAddrV4::new([203, 0, 113, 9].into(), 20_000 + user);
        let options = Request::new("OPTIONS", "sip:pbx.example.net")
            .header("Via", format!("SIP/2.0/UDP {at};branch=z9hG4bK-{user}"))
            .header("From", format!("<sip:{user}@pbx.example.net>;tag=t"))
            .header("To", format!("<sip:{user}@pbx.example.net>"))
            .header("Call-ID", format!("{user}"))
            .header("CSeq", "1 OPTIONS")
            .build();
        wire.exchange(at, &options, |request| Response::to(request, 404, "Not Found").build());
    }
    wire.idle(Duration::from_secs(5));
    assert_eq!(wire.verdicts, []);
}

#[test]
fn a32_requests_within_calls_that_are_none_are_a_flood() {
    for method in ["BYE", "INFO", "INVITE"] {
        let mut wire = wire();
        for number in 0..400 {
            let stray = request(method, ATTACKER, (PBX, "100"), number)
                .header("To", format!("<sip:100@{}>;tag=made-up", PBX.ip()))
                .build();
            wire.send(ATTACKER, PBX, &stray);
            let answer = Response::to(&sip::parse(&stray).unwrap(), 481, "Call Does Not Exist").build();
            wire.send(PBX, ATTACKER, &answer);
            wire.wait(Duration::from_millis(5));
        }
        assert_eq!(told(&wire), [(Rule::RequestRate, Evidence::Unproven, Sanction::Shape)], "{method}");
    }
}

#[test]
fn registrations_with_made_up_credentials_at_many_systems_are_a_sweep() {
    let mut wire = wire();
    for host in 10..16 {
        let victim = SocketAddrV4::new([198, 51, 100, host].into(), 5060);
        let register = |wire: &mut Wire, from: [u8; 4]| {
            let phone = phone(from, 5060, "100");
            let made_up = wire.authorize(&phone, "x", "made up");
            let signed = wire.register(&phone, Some(&made_up));
            wire.send(phone.at, victim, &signed);
            let answer = challenged(&sip::parse(&signed).unwrap(), "n", "");
            wire.send(victim, phone.at, &answer);
        };
        // The victim is heard.
        register(&mut wire, [192, 0, 2, host]);
        register(&mut wire, ATTACKER.ip().octets());
    }
    wire.idle(Duration::from_secs(5));
    assert_eq!(told(&wire), [(Rule::Sweep, Evidence::Unproven, Sanction::SoftBlock)]);
}
