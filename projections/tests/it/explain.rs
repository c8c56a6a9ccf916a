//! An explanation is understood by somebody who knows nothing of the product.

use std::net::IpAddr;

use log_format::event::{AttackKind, Evidence, NoteKind, NoteObserved, Sanction, Scope, SettingChange, Text};
use log_format::ids::HostId;
use projections::decide::CommandBody;
use projections::decide::order::Step;

use crate::world::{World, administrator, attack};

const ATTACKER: &str = "203.0.113.7";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn said(world: &World, text: &str) -> String {
    world.views.explain(address(text), None, world.now).sentence()
}

fn note(kind: NoteKind, source: &str) -> CommandBody {
    CommandBody::Note(NoteObserved {
        kind,
        source: address(source),
        source_port: 5060,
        victim: address("10.1.35.18"),
        victim_port: 5060,
        attack: AttackKind::Register,
        rule: None,
        account: Text::new(b"1001@pbx"),
        user_agent: Text::new(b"x"),
        count: 4,
        line: Text::new(b"REGISTER sip:pbx SIP/2.0"),
    })
}

#[test]
fn a_blocked_address_is_told_with_the_deed_the_victim_and_the_evidence() {
    let mut world = World::new();
    world.observe(1, attack(address(ATTACKER), Evidence::Proven, Sanction::Block));
    world.observe(2, attack(address(ATTACKER), Evidence::Proven, Sanction::Block));
    let text = said(&world, ATTACKER);
    assert!(text.starts_with("203.0.113.7 is blocked until 2026-01-02 0"), "{text}");
    let why = "because it tried 10 wrong passwords within a minute on 10.1.35.18 (bad-registrations, proven, seen by 2 hosts).";
    assert!(text.ends_with(why), "{text}");
    let explanation = world.views.explain(address(ATTACKER), None, world.now);
    assert_eq!((explanation.ruling.step, explanation.attacks_total), (Step::Block, 2));
    assert_eq!(explanation.blocks.len(), 1);
}

#[test]
fn a_soft_block_says_that_anybody_could_have_forged_its_cause() {
    let mut world = World::new();
    world.observe(1, attack(address(ATTACKER), Evidence::Unproven, Sanction::SoftBlock));
    let text = said(&world, ATTACKER);
    assert!(text.starts_with("203.0.113.7 is blocked on SIP ports until "), "{text}");
    assert!(text.ends_with("; anybody could have forged that, so it is short."), "{text}");
}

#[test]
fn what_persons_did_is_told_with_their_names_and_words() {
    let mut world = World::new();
    let (by, note) = (administrator(), Text::new(b"the \"carrier\"\x1b"));
    let network = "198.51.100.0/24".parse().unwrap();
    world.submit(CommandBody::AllowAddress { network, seconds: None, note, by: by.clone() }).unwrap();
    assert_eq!(
        said(&world, "198.51.100.9"),
        "198.51.100.9 is allowed because administrator \"ada\" allowed 198.51.100.0/24 (\"the 'carrier'\\u001b\"); attacks of it are only written down."
    );
    let network = "192.0.2.0/24".parse().unwrap();
    let note = Text::default();
    world.submit(CommandBody::DenyAddress { network, note: note.clone(), by: by.clone() }).unwrap();
    assert_eq!(
        said(&world, "192.0.2.200"),
        "192.0.2.200 is blocked with its network 192.0.2.0/24 until a person says otherwise because administrator \"ada\" denied it."
    );
    let source = address(ATTACKER);
    world.submit(CommandBody::BlockAddress { source, seconds: Some(60), note, by }).unwrap();
    assert_eq!(
        said(&world, ATTACKER),
        "203.0.113.7 is blocked until 2026-01-02 00:01:00 UTC because administrator \"ada\" blocked it."
    );
}

#[test]
fn a_protected_address_says_what_protects_it() {
    let mut world = World::new();
    let (host, addresses) = (HostId::new(7), vec![address("10.0.0.7")]);
    let name = Text::new(b"alpha");
    world.submit(CommandBody::EnrolHost { host, name, addresses, peer: None }).unwrap();
    assert_eq!(
        said(&world, "10.0.0.7"),
        "10.0.0.7 is never blocked because it is an address of host 7 \"alpha\"."
    );
    assert_eq!(said(&world, "127.0.0.1"), "127.0.0.1 is never blocked because it is a loopback address.");
}

#[test]
fn a_spoofed_address_says_that_somebody_else_sends_in_its_name() {
    let mut world = World::new();
    world.observe(1, note(NoteKind::SpoofSuspected, ATTACKER));
    assert_eq!(
        said(&world, ATTACKER),
        "203.0.113.7 is not blocked: no attack of it is known, only what is noted about it. Somebody else seems to send packets in its name."
    );
}

#[test]
fn of_an_unknown_address_nothing_is_known() {
    let world = World::new();
    assert_eq!(
        said(&world, "8.8.8.8"),
        "8.8.8.8 is not blocked: nothing is known of it, no block, no list, no attack."
    );
}

#[test]
fn one_phone_is_told_apart_from_its_neighbours() {
    let mut world = World::new();
    let CommandBody::ReportAttack(mut observed) =
        attack(address(ATTACKER), Evidence::Proven, Sanction::Block)
    else {
        unreachable!("an attack is reported");
    };
    observed.scope = Scope::AddressPort(5071);
    world.observe(1, CommandBody::ReportAttack(observed));
    let because = "blocked until 2026-01-02 00:05:00 UTC because it tried 10 wrong passwords within a minute on 10.1.35.18 (bad-registrations, proven, seen by 1 host).";
    let port = |port| world.views.explain(address(ATTACKER), Some(port), world.now).sentence();
    assert_eq!(port(5071), format!("Port 5071 of 203.0.113.7 is {because}"));
    assert_eq!(said(&world, ATTACKER), format!("203.0.113.7 is not blocked, but its port 5071 is {because}"));
}

#[test]
fn a_permanent_block_says_how_often_and_a_watching_cluster_that_nothing_is_dropped() {
    let mut world = World::new();
    let changes = vec![
        SettingChange::BlockThreshold(1),
        SettingChange::Mode(log_format::event::EnforcementMode::Watch),
    ];
    world.submit(CommandBody::ChangeSettings { expected_version: 0, changes, by: administrator() }).unwrap();
    world.observe(1, attack(address(ATTACKER), Evidence::Proven, Sanction::Block));
    world.pass(5_000);
    world.observe(1, attack(address(ATTACKER), Evidence::Proven, Sanction::Block));
    let text = said(&world, ATTACKER);
    let begin = "203.0.113.7 is blocked until a person says otherwise because it was blocked once within 30 days; the last time it tried 10 wrong passwords";
    assert!(text.starts_with(begin), "{text}");
    assert!(text.ends_with(" The cluster only watches: nothing is dropped."), "{text}");
}
