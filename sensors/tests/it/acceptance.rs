//! The cases that must come out right before anything else (DETECTION, "Acceptance cases").

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use log_format::event::{Evidence, NoteKind, Rule, Sanction, Scope};
use sensors::Policy;
use sip::builder::{Request, Response};

use crate::wire::{PASSWORD, PBX, Phone, Registrar, Wire, challenged, phone};

const OFFICE: [u8; 4] = [203, 0, 113, 7];
const ATTACKER: [u8; 4] = [203, 0, 113, 66];

fn office(phones: u16) -> Vec<Phone> {
    (0..phones).map(|number| phone(OFFICE, 20_000 + number, &format!("1{number:03}"))).collect()
}

#[test]
fn case_1_of_a_hundred_phones_behind_one_address_only_the_stale_one_is_cut_off() {
    let mut wire = Wire::new(Policy::default());
    let phones = office(100);
    for phone in phones.iter().skip(1) {
        wire.try_to_register(phone, PASSWORD, Registrar::Checks);
    }
    let stale = &phones[0];
    for _ in 0..40 {
        wire.try_to_register(stale, "the old one", Registrar::Checks);
        wire.wait(Duration::from_secs(30));
    }
    assert!(!wire.verdicts.is_empty(), "the stale phone goes on for twenty minutes");
    for verdict in &wire.verdicts {
        assert_eq!(verdict.observed.scope, Scope::AddressPort(stale.at.port()), "{verdict:?}");
        assert_eq!(verdict.observed.sanction, Sanction::Block);
        assert_eq!(verdict.seconds, 300);
    }
    let noted: Vec<&[u8]> = wire
        .notes
        .iter()
        .filter(|note| note.observed.kind == NoteKind::StaleCredential)
        .map(|note| note.observed.account.as_bytes())
        .collect();
    assert_eq!(noted, [b"1000@pbx.example.net"], "told once, with the phone's number");
    wire.wait(Duration::from_secs(5));
    let now = wire.now;
    let told: u32 = wire.engine.drain_strikes(now).iter().map(|delta| delta.proven + delta.unproven).sum();
    assert_eq!(told, 0, "the cluster must not add up what this host excuses");
}

#[test]
fn case_1b_a_hasty_stale_phone_is_cut_off_alone_too() {
    let mut wire = Wire::new(Policy::default());
    let phones = office(100);
    for phone in phones.iter().skip(1) {
        wire.try_to_register(phone, PASSWORD, Registrar::Checks);
    }
    for _ in 0..60 {
        wire.try_to_register(&phones[0], "the old one", Registrar::Checks);
        wire.wait(Duration::from_secs(3));
    }
    assert!(!wire.verdicts.is_empty());
    assert!(
        wire.verdicts.iter().all(|verdict| verdict.observed.scope == Scope::AddressPort(phones[0].at.port()))
    );
}

#[test]
fn case_2_a_hundred_phones_that_come_back_at_once_are_welcome() {
    for was_known in [true, false] {
        let mut wire = Wire::new(Policy::default());
        let phones = office(100);
        if was_known {
            phones.iter().for_each(|phone| wire.try_to_register(phone, PASSWORD, Registrar::Checks));
            wire.wait(Duration::from_secs(600));
        }
        // 800 messages in five seconds: each phone asks twice in vain, then is challenged, then comes in.
        for phone in &phones {
            let plain = wire.register(phone, None);
            wire.send(phone.at, PBX, &plain);
            wire.send(phone.at, PBX, &plain);
            wire.wait(Duration::from_millis(10));
        }
        for phone in &phones {
            wire.try_to_register(phone, PASSWORD, Registrar::Checks);
            let options = Request::new("OPTIONS", "sip:pbx.example.net")
                .header("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK-{}", phone.at, phone.user))
                .header("From", format!("<sip:{}@pbx.example.net>;tag=t", phone.user))
                .header("To", "<sip:pbx.example.net>")
                .header("Call-ID", format!("o{}", phone.user))
                .header("CSeq", "1 OPTIONS")
                .build();
            wire.exchange(phone.at, &options, |request| Response::to(request, 200, "OK").build());
        }
        wire.idle(Duration::from_secs(10));
        let sanctioned: Vec<_> =
            wire.verdicts.iter().filter(|verdict| Sanction::Shape < verdict.observed.sanction).collect();
        assert!(sanctioned.is_empty(), "{sanctioned:?}");
        if was_known {
            assert_eq!(wire.verdicts, []);
        }
    }
}

/// A scanner's packet.
fn scan(from: SocketAddrV4) -> Vec<u8> {
    Request::new("OPTIONS", "sip:100@198.51.100.10")
        .header("Via", format!("SIP/2.0/UDP {from};branch=z9hG4bK-1"))
        .header("From", "<sip:100@1.1.1.1>;tag=t")
        .header("To", "<sip:100@1.1.1.1>")
        .header("Call-ID", "1")
        .header("CSeq", "1 OPTIONS")
        .header("User-Agent", "friendly-scanner")
        .build()
}

#[test]
fn case_3_one_forged_packet_from_the_trunk_blocks_nobody_and_is_told() {
    let trunk = phone([198, 51, 100, 84], 5060, "trunk");
    let never = Policy { never: vec![IpAddr::V4(*trunk.at.ip())], ..Policy::default() };
    let registered = Policy::default();
    for (policy, registers) in [(never, false), (registered, true)] {
        let mut wire = Wire::new(policy);
        if registers {
            wire.try_to_register(&trunk, PASSWORD, Registrar::Checks);
        }
        for _ in 0..3 {
            wire.send(trunk.at, PBX, &scan(trunk.at));
        }
        assert_eq!(wire.verdicts, []);
        let kinds: Vec<NoteKind> = wire.notes.iter().map(|note| note.observed.kind).collect();
        assert_eq!(kinds, [NoteKind::SpoofSuspected]);
        assert_eq!(wire.notes[0].observed.rule, Some(Rule::BlockedUserAgent));
    }
    let allowed = Policy { allowed: vec!["198.51.100.84/32".parse().unwrap()], ..Policy::default() };
    let mut wire = Wire::new(allowed);
    wire.send(trunk.at, PBX, &scan(trunk.at));
    let seen = wire.verdicts.iter().map(|verdict| (verdict.observed.sanction, verdict.seconds));
    assert_eq!(seen.collect::<Vec<_>>(), [(Sanction::Observe, 0)], "seen and told, never sanctioned");
}

#[test]
fn case_4_the_tenth_guess_tips_and_with_a_tools_mark_the_first() {
    let mut wire = Wire::new(Policy::default());
    for guess in 0..20 {
        wire.try_to_register(&phone(ATTACKER, 5060, "1001"), &guess.to_string(), Registrar::Checks);
    }
    assert_eq!(wire.verdicts.iter().map(|verdict| verdict.packet).collect::<Vec<_>>(), [40]);
}

#[test]
fn case_5_a_flood_from_forged_addresses_hides_no_attacker_and_blames_nobody() {
    let mut wire = Wire::new(Policy::default());
    let attackers: Vec<Phone> = (0..30_u8).map(|number| phone([203, 0, 113, number], 5060, "1001")).collect();
    for second in 0..12_u32 {
        for number in 0..8_000_u32 {
            let forged = SocketAddrV4::new(Ipv4Addr::from_bits(0x0b00_0000 + second * 8_000 + number), 5060);
            let plain = wire.register(&Phone { at: forged, user: "1001".to_owned(), agent: "phone" }, None);
            wire.send(forged, PBX, &plain);
        }
        for attacker in &attackers {
            wire.try_to_register(attacker, &second.to_string(), Registrar::Checks);
        }
        wire.now = wire.now.after(Duration::from_millis(400));
    }
    let mut found: Vec<IpAddr> = wire.verdicts.iter().map(|verdict| verdict.observed.source).collect();
    found.sort();
    found.dedup();
    assert_eq!(found, attackers.iter().map(|attacker| IpAddr::V4(*attacker.at.ip())).collect::<Vec<_>>());
    assert!(wire.engine.statistics().evicted > 30_000, "the tables were crowded");
}

#[test]
fn case_8_one_nonce_one_cseq_and_no_cookie_hide_no_guess() {
    let mut wire = Wire::new(Policy::default());
    let attacker = phone(ATTACKER, 5060, "1001");
    let plain = wire.register(&attacker, None);
    wire.exchange(attacker.at, &plain, |request| challenged(request, "only", ""));
    for guess in 0..12 {
        let authorization = wire.authorize(&attacker, &guess.to_string(), "only");
        let signed = Request::new("REGISTER", "sip:pbx.example.net")
            .header("Via", format!("SIP/2.0/UDP {};branch=branch{guess}", attacker.at))
            .header("From", "<sip:1001@pbx.example.net>;tag=t")
            .header("To", "<sip:1001@pbx.example.net>")
            .header("Call-ID", "one")
            .header("CSeq", "2 REGISTER")
            .header("Authorization", &authorization)
            .build();
        wire.exchange(attacker.at, &signed, |request| challenged(request, "only", ""));
    }
    assert_eq!(wire.engine.statistics().strikes, 12);
    let tipped: Vec<_> =
        wire.verdicts.iter().map(|verdict| (verdict.observed.evidence, verdict.packet)).collect();
    assert_eq!(tipped, [(Evidence::Proven, 22)]);
}

#[test]
fn case_9_a_nonce_that_was_too_old_is_never_counted() {
    let mut wire = Wire::new(Policy::default());
    for _ in 0..40 {
        wire.try_to_register(&phone(ATTACKER, 5060, "1001"), PASSWORD, Registrar::FindsNonceStale);
        wire.wait(Duration::from_secs(1));
    }
    assert_eq!(wire.verdicts, []);
    assert_eq!(wire.engine.statistics().strikes, 0);
}

#[test]
fn case_10_a_name_in_another_script_is_not_malformed() {
    let mut wire = Wire::new(Policy::default());
    for number in 0..60 {
        let from = phone(OFFICE, 30_000 + number, "1001");
        let message = Request::new("MESSAGE", "sip:1001@198.51.100.10")
            .header("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK-{number}", from.at))
            .header(
                "From",
                "\"Zo\u{eb} \u{738b}\u{5c0f}\u{660e} \u{1f4de}\" <sip:1001@pbx.example.net>;tag=t",
            )
            .header("To", "<sip:1001@pbx.example.net>")
            .header("Call-ID", format!("{number}"))
            .header("CSeq", "1 MESSAGE")
            .build();
        wire.exchange(from.at, &message, |request| Response::to(request, 200, "OK").build());
    }
    assert_eq!((wire.verdicts.len(), wire.engine.statistics().malformed), (0, 0));
}

#[test]
fn case_11_a_large_call_in_fragments_is_read_and_harms_nobody() {
    let mut wire = Wire::new(Policy::default());
    let caller = phone(OFFICE, 20_001, "1001");
    let invite = |number: u32, authorization: Option<&str>| {
        let mut request = Request::new("INVITE", "sip:1002@198.51.100.10")
            .header("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK-{number}", caller.at))
            .header("From", "<sip:1001@pbx.example.net>;tag=t")
            .header("To", "<sip:1002@pbx.example.net>;tag=within-the-call")
            .header("Call-ID", "call")
            .header("CSeq", format!("{number} INVITE"))
            .header("X-Filler", "f".repeat(2_500));
        if let Some(authorization) = authorization {
            request = request.header("Proxy-Authorization", authorization);
        }
        request.build()
    };
    let nonce = "for-the-call";
    let challenge = |request: &sip::Message<'_>| {
        let value = format!("Digest realm=\"pbx.example.net\", nonce=\"{nonce}\"");
        Response::to(request, 407, "Proxy Authentication Required")
            .header("Proxy-Authenticate", value)
            .build()
    };
    wire.send_in_fragments(caller.at, PBX, &invite(1, None));
    wire.send(PBX, caller.at, &challenge(&sip::parse(&invite(1, None)).unwrap()));
    let signed = invite(2, Some(&wire.authorize(&caller, PASSWORD, nonce)));
    wire.send_in_fragments(caller.at, PBX, &signed);
    let answer = Response::to(&sip::parse(&signed).unwrap(), 200, "OK").build();
    wire.send(PBX, caller.at, &answer);
    assert_eq!(wire.verdicts, []);
    let statistics = wire.engine.statistics();
    assert_eq!((statistics.reassembled, statistics.sip_messages), (2, 4));
    // The call was authenticated: what somebody forges in the caller's name is only told.
    wire.send(caller.at, PBX, &scan(caller.at));
    assert_eq!((wire.verdicts.len(), wire.notes.len()), (0, 1));
}
