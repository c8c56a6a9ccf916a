//! What happens at the bounds, which the public doors reach only with a million addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::{
    Actor, AttackEvent, AttackKind, AttackObserved, DenylistEvent, Event, Evidence, HostRole, Rule, Sanction,
    Scope, SpoolDropped, StrikeDelta, StrikesCounted, Text,
};
use log_format::ids::{CommandId, HostId, Incarnation, JoinTokenId, Origin, OriginSequence, Salt};
use log_format::time::Timestamp;

use super::*;
use crate::book::BlockBook;

fn source(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn command(number: u8, body: CommandBody) -> Command {
    let (host, incarnation) = (HostId::new(1), Incarnation::new(1));
    let origin = Origin { host, incarnation, sequence: OriginSequence::new(0) };
    Command { id: CommandId::new([number; 16]), origin, observed_at: Timestamp::from_seconds(1_000), body }
}

fn attack(last: u8, evidence: Evidence) -> CommandBody {
    CommandBody::ReportAttack(AttackObserved {
        source: source(last),
        source_port: 5060,
        victim: source(250),
        victim_port: 5060,
        attack: AttackKind::Register,
        rule: Rule::BadRegistrations,
        evidence,
        sanction: Sanction::Block,
        user_agent: Text::default(),
        known_user_agent: false,
        count: 10,
        scope: Scope::Address,
        account: Text::default(),
        line: Text::default(),
    })
}

fn take(model: &mut Model, number: u8, body: CommandBody) -> Result<Vec<Event>, Rejection> {
    let command = command(number, body);
    let now = command.observed_at.after(std::time::Duration::from_millis(u64::from(number)));
    let Decision::Events(events) = decide(model, &command, now)? else {
        panic!("{command:?} took effect before");
    };
    let envelope = command.envelope(events.clone(), model.next_accepted_at(now), &mut Salt::default);
    model.evolve(model.applied().next(), &envelope);
    Ok(events)
}

#[test]
fn a_full_book_takes_proven_attackers_only_and_refuses_people() {
    let mut model = Model::default();
    model.addresses.blocks = BlockBook::with_limit(2);
    take(&mut model, 1, attack(1, Evidence::Unproven)).unwrap();
    take(&mut model, 2, attack(2, Evidence::Proven)).unwrap();
    let flood = take(&mut model, 3, attack(3, Evidence::Unproven)).unwrap();
    assert_eq!(flood.len(), 1, "only written down: {flood:?}");
    take(&mut model, 4, attack(4, Evidence::Proven)).unwrap();
    assert!(!model.drops(source(1)) && model.drops(source(2)) && model.drops(source(4)));
    assert_eq!(model.overflows().blocks_evicted, 1);
    let proven = take(&mut model, 5, attack(5, Evidence::Proven)).unwrap();
    assert_eq!(proven.len(), 1, "no soft block is left to make room: {proven:?}");
    let by_hand = CommandBody::BlockAddress {
        source: source(6),
        seconds: None,
        note: Text::default(),
        by: Actor::System,
    };
    assert_eq!(take(&mut model, 6, by_hand), Err(Rejection::ListFull { list: "blocks", limit: 2 }));
}

#[test]
fn a_batch_takes_no_place_that_another_of_it_took() {
    let mut model = Model::default();
    model.addresses.blocks = BlockBook::with_limit(3);
    take(&mut model, 1, attack(1, Evidence::Proven)).unwrap();
    take(&mut model, 2, attack(2, Evidence::Unproven)).unwrap();
    let item = |last| BlockItem { source: source(last), seconds: Some(60), note: Text::default() };
    let batch = |items: Vec<BlockItem>| CommandBody::BlockAddresses { items, by: Actor::System };
    let full = Box::new(Rejection::ListFull { list: "blocks", limit: 3 });
    let refused = take(&mut model, 3, batch([3, 4, 5].map(item).to_vec()));
    assert_eq!(refused, Err(Rejection::InBatch { place: 2, why: full }));
    take(&mut model, 4, batch([3, 4].map(item).to_vec())).unwrap();
    assert!(
        [1, 3, 4].into_iter().all(|last| model.drops(source(last))),
        "of them only the soft block made room"
    );
    assert_eq!(model.overflows().blocks_evicted, 1);
}

#[test]
fn a_full_denylist_turns_the_permanent_block_into_another_long_one() {
    let mut model = Model::default();
    model.settings.block_threshold = 1;
    model.settings.block_seconds = vec![60];
    take(&mut model, 1, attack(1, Evidence::Proven)).unwrap();
    model.addresses.blocks.release(source(1));
    for number in 0..u32::try_from(MAX_DENIED).unwrap() {
        let network = IpNet::from(IpAddr::from((0x0b00_0000 + number).to_be_bytes()));
        model.addresses.denied.insert(network, addresses::DeniedBy::Threshold);
    }
    let events = take(&mut model, 2, attack(1, Evidence::Proven)).unwrap();
    assert!(matches!(events.last(), Some(Event::Denylist(DenylistEvent::AddressBlocked(_)))), "{events:?}");
    let (network, by) = (IpNet::from(source(9)), Actor::System);
    let deny = CommandBody::DenyAddress { network, note: Text::default(), by };
    assert_eq!(take(&mut model, 3, deny), Err(Rejection::ListFull { list: "denylist", limit: MAX_DENIED }));
}

#[test]
fn a_report_of_too_many_strikes_is_cut_and_expiry_goes_in_steps() {
    let mut model = Model::default();
    let delta = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let source = IpAddr::from([10, 9, high, low]);
        StrikeDelta { source, rule: Rule::BadRegistrations, proven: 10, unproven: 0 }
    };
    let report = |range: std::ops::Range<u16>| {
        CommandBody::CountStrikes(StrikesCounted { deltas: range.map(delta).collect() })
    };
    let events = take(&mut model, 1, report(0..600)).unwrap();
    let Some(Event::Attack(AttackEvent::StrikesCounted(counted))) = events.first() else {
        panic!("the fact comes first");
    };
    assert_eq!(counted.deltas.len(), StrikesCounted::MAX_DELTAS);
    assert_eq!(events.len(), 1 + StrikesCounted::MAX_DELTAS, "and a block for each");
    take(&mut model, 2, report(1_000..1_100)).unwrap();
    let far = Timestamp::from_seconds(1_000_000);
    let expire = |model: &Model| decide(model, &command(9, CommandBody::ExpireBlocks), far);
    let Ok(Decision::Events(first)) = expire(&model) else { panic!("expiry is never refused") };
    assert_eq!(first.len(), MAX_RELEASES);
    let envelope = command(8, CommandBody::ExpireBlocks).envelope(first, far, &mut Salt::default);
    assert!(envelope.encode().is_ok());
    model.evolve(model.applied().next(), &envelope);
    let Ok(Decision::Events(rest)) = expire(&model) else { panic!("expiry is never refused") };
    assert_eq!(rest.len(), 100);
}

#[test]
fn tokens_are_bounded_and_forgotten_an_hour_after_their_time() {
    let mut model = Model::default();
    let issue = |id: [u8; 16]| CommandBody::IssueJoinToken {
        token: JoinTokenId::new(id),
        verifier: [0; 32],
        role: HostRole::SensorOnly,
        seconds: None,
        by: Actor::System,
    };
    let id = |number: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    };
    let decided = |model: &Model, number: usize, now| {
        let command = Command { id: CommandId::new(id(number)), ..command(0, issue(id(number))) };
        decide(model, &command, now).map(|decision| (command, decision))
    };
    let start = Timestamp::from_seconds(1_000);
    for number in 0..MAX_TOKENS {
        let Ok((command, Decision::Events(events))) = decided(&model, number, start) else { panic!() };
        let envelope = command.envelope(events, model.next_accepted_at(start), &mut Salt::default);
        model.evolve(model.applied().next(), &envelope);
    }
    let full = Rejection::ListFull { list: "join tokens", limit: MAX_TOKENS };
    assert_eq!(decided(&model, MAX_TOKENS, start), Err(full));
    let later = start.after(std::time::Duration::from_secs(MAX_TOKEN_SECONDS + 3_600 + 1));
    let Ok((command, Decision::Events(events))) = decided(&model, MAX_TOKENS, later) else { panic!() };
    let envelope = command.envelope(events, model.next_accepted_at(later), &mut Salt::default);
    model.evolve(model.applied().next(), &envelope);
    assert_eq!(model.join_tokens().count(), 1);
}

#[test]
fn a_loss_of_unknown_size_is_written_down() {
    let mut model = Model::default();
    let (host, name) = (HostId::new(1), Text::new(b"sensor"));
    let enrolled = CommandBody::EnrolHost { host, name, addresses: vec![source(250)], peer: None };
    take(&mut model, 1, enrolled).unwrap();
    let lost = |from, to| {
        let (from, to) = (OriginSequence::new(from), OriginSequence::new(to));
        CommandBody::DropSpool(SpoolDropped { host, from, to, count: 0 })
    };
    assert_eq!(take(&mut model, 2, lost(3, 7)).unwrap().len(), 1);
    assert!(take(&mut model, 3, lost(9, 8)).is_err(), "a range that ends before it begins");
}

/// How long an unproven attack by this rule is blocked, in seconds.
fn soft_block_of(model: &mut Model, number: u8, rule: Rule) -> u64 {
    let CommandBody::ReportAttack(observed) = attack(number, Evidence::Unproven) else {
        panic!("not an attack");
    };
    let body = CommandBody::ReportAttack(AttackObserved { rule, ..observed });
    let events = take(model, number, body).unwrap();
    let Some(Event::Denylist(DenylistEvent::AddressBlocked(blocked))) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!((blocked.sanction, blocked.strikes), (Sanction::SoftBlock, 0));
    blocked.until.since(model.last_accepted_at()).as_secs()
}

#[test]
fn a_blocked_agent_costs_an_hour_where_the_classic_preset_is_chosen_and_five_minutes_elsewhere() {
    let mut model = Model::default();
    assert!(soft_block_of(&mut model, 1, Rule::BlockedUserAgent) < 300);
    let changes = Preset::SipprotCompat.changes(&model.settings);
    let changed = log_format::event::SettingsChanged { by: Actor::System, changes };
    model.settings.evolve(&log_format::event::SettingsEvent::Changed(changed));
    assert_eq!(soft_block_of(&mut model, 2, Rule::BlockedUserAgent), 3_600);
    assert!(soft_block_of(&mut model, 3, Rule::BadRegistrations) < 300);
}
