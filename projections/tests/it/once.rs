//! A command takes effect once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use log_format::event::{Evidence, HostKeyAnnounced, Sanction, Text};
use log_format::ids::{HostId, Incarnation, LogIndex, OriginSequence};
use log_format::time::Timestamp;
use projections::decide::{
    BlockItem, Command, CommandBody, Decision, HOUSEKEEPING, MAX_BATCH, MAX_REMEMBERED, Refusal, Rejection,
    block_id, decide,
};

use crate::world::{World, administrator, attack, replay, strikes};

fn source(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn block(last: u8) -> CommandBody {
    CommandBody::BlockAddress {
        source: source(last),
        seconds: None,
        note: Default::default(),
        by: administrator(),
    }
}

#[test]
fn a_repeated_command_is_answered_with_the_index_of_the_first() {
    let mut world = World::new();
    world.submit(block(1)).unwrap();
    world.submit(block(2)).unwrap();
    let first = world.commands[0].clone();
    let unblock = CommandBody::UnblockAddress { source: source(1), allow_seconds: None, by: administrator() };
    world.submit(unblock).unwrap();
    let index = LogIndex::new(1);
    assert_eq!(decide(&world.model, &first, world.now), Ok(Decision::AlreadyApplied { index }));
    world.pass(86_300);
    world.submit(CommandBody::ExpireBlocks).unwrap();
    assert_eq!(decide(&world.model, &first, world.now), Ok(Decision::AlreadyApplied { index }));
    world.pass(101);
    world.submit(CommandBody::ExpireBlocks).unwrap();
    let later = decide(&world.model, &first, world.now);
    assert!(matches!(later, Ok(Decision::Events(_))), "after a day the same id is a new wish: {later:?}");
}

fn batch(addresses: &[u8]) -> CommandBody {
    let item = |last: &u8| BlockItem { source: source(*last), seconds: Some(60), note: Default::default() };
    CommandBody::BlockAddresses { items: addresses.iter().map(item).collect(), by: administrator() }
}

#[test]
fn a_batch_is_one_entry_of_blocks_with_identities_of_their_own() {
    let mut world = World::new();
    let most: Vec<u8> = (1..=64).collect();
    assert_eq!(most.len(), MAX_BATCH);
    assert_eq!(world.submit(batch(&most)).unwrap().len(), MAX_BATCH);
    let rows: Vec<_> = world.views.denylist.rows(world.now).map(|row| (row.log_index, row.block)).collect();
    assert!(rows.len() == MAX_BATCH && rows.iter().all(|(index, _)| *index == LogIndex::new(1)));
    let first = world.commands[0].clone();
    let of_command: BTreeSet<_> = (0..64).map(|place| block_id(first.id, place)).collect();
    assert_eq!(rows.iter().map(|(_, block)| *block).collect::<BTreeSet<_>>(), of_command);
    assert_eq!(of_command.len(), MAX_BATCH, "no two are the same");
    let index = LogIndex::new(1);
    assert_eq!(decide(&world.model, &first, world.now), Ok(Decision::AlreadyApplied { index }));
}

#[test]
fn a_batch_does_all_or_nothing_and_names_what_is_refused() {
    let mut world = World::new();
    world.submit(block(9)).unwrap();
    let mut far_too_long = batch(&[1, 2]);
    if let CommandBody::BlockAddresses { items, .. } = &mut far_too_long {
        items[1].seconds = Some(u64::MAX);
    }
    let many: Vec<u8> = (10..=74).collect();
    for (wish, code, field, detail) in [
        (batch(&[]), "empty_list", Some("items"), "items: the list is empty"),
        (batch(&many), "too_many", Some("items"), "items: 65 entries are more than 64"),
        (batch(&[1, 2, 1]), "repeated", Some("items[2].source"), "items[2].source: given twice"),
        (batch(&[1, 9]), "already_blocked", None, "items[1].source: 192.0.2.9 is already blocked"),
        (far_too_long, "out_of_range", Some("items[1].seconds"), "items[1].seconds: 18446744073709551615"),
    ] {
        let refusal = Refusal::from(&world.submit(wish).unwrap_err());
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), (code, field));
        assert!(refusal.detail.starts_with(detail), "{}", refusal.detail);
    }
    assert_eq!(world.views.denylist.rows(world.now).count(), 1, "nothing of a refused batch is done");
}

#[test]
fn a_refused_command_may_be_repeated() {
    let mut world = World::new();
    let allow = CommandBody::AllowAddress {
        network: source(1).into(),
        seconds: Some(10),
        note: Default::default(),
        by: administrator(),
    };
    world.submit(allow).unwrap();
    world.submit(block(1)).unwrap_err();
    let refused = world.commands.last().unwrap().clone();
    world.pass(11);
    assert!(matches!(decide(&world.model, &refused, world.now), Ok(Decision::Events(_))));
}

#[test]
fn a_command_that_changed_nothing_is_remembered_too() {
    let mut world = World::new();
    assert_eq!(world.submit(CommandBody::ExpireBlocks), Ok(Vec::new()));
    let command = world.commands[0].clone();
    let index = LogIndex::new(1);
    assert_eq!(decide(&world.model, &command, world.now), Ok(Decision::AlreadyApplied { index }));
}

#[test]
fn observations_are_remembered_by_one_number_per_incarnation() {
    let mut world = World::new();
    for _ in 0..3 {
        world.observe(7, strikes(source(1), 4, 0));
    }
    assert_eq!(world.model.acknowledged(HostId::new(7), Incarnation::new(1)), OriginSequence::new(3));
    for command in &world.commands {
        let index = LogIndex::new(3);
        assert_eq!(decide(&world.model, command, world.now), Ok(Decision::AlreadyApplied { index }));
    }
    let mut other = world.command(7, 1, strikes(source(1), 1, 0));
    other.origin.incarnation = Incarnation::new(2);
    assert!(matches!(decide(&world.model, &other, world.now), Ok(Decision::Events(_))));
}

#[test]
fn the_first_key_of_a_host_says_which_incarnation_it_is_for_ever() {
    let mut world = World::new();
    let (name, addresses) = (Text::new(b"seven"), Vec::new());
    let host = HostId::new(7);
    world.submit(CommandBody::EnrolHost { host, name, addresses, peer: None }).unwrap();
    let incarnation = |world: &World| world.model.members().last().unwrap().incarnation;
    assert_eq!(incarnation(&world), None);
    let key = |key| CommandBody::AnnounceKey(HostKeyAnnounced { host, key: [key; 32] });
    let said = |world: &World, incarnation, body| {
        let mut command = world.command(7, 0, body);
        command.origin.incarnation = Incarnation::new(incarnation);
        command
    };
    world.carry_out(said(&world, 41, key(1))).unwrap();
    assert_eq!(incarnation(&world), Some(Incarnation::new(41)));
    let anew = said(&world, 42, key(2));
    assert_eq!(world.carry_out(anew), Err(Rejection::HostMadeAnew { host }));
    world.carry_out(said(&world, 41, key(3))).unwrap();
    world
        .submit(CommandBody::EnrolHost { host, name: Text::new(b"other"), addresses: Vec::new(), peer: None })
        .unwrap();
    assert_eq!(incarnation(&world), Some(Incarnation::new(41)));
}

#[test]
fn a_jump_of_the_numbers_is_taken_and_noted() {
    let mut world = World::new();
    let (host, incarnation) = (HostId::new(7), Incarnation::new(1));
    for sequence in [1, 2, 9] {
        let command = world.command(7, sequence, attack(source(1), Evidence::Proven, Sanction::Block));
        world.carry_out(command).unwrap();
    }
    assert_eq!(world.model.acknowledged(host, incarnation), OriginSequence::new(9));
    assert_eq!(world.model.gaps(host, incarnation), 1);
    let late = world.command(7, 5, attack(source(2), Evidence::Proven, Sanction::Block));
    assert!(matches!(decide(&world.model, &late, world.now), Ok(Decision::AlreadyApplied { .. })));
}

#[test]
fn remembered_ids_are_bounded() {
    let mut world = World::new();
    world.submit(block(1)).unwrap();
    let first = world.commands[0].clone();
    for _ in 0..MAX_REMEMBERED - 1 {
        world.submit(CommandBody::ExpireBlocks).unwrap();
    }
    assert!(matches!(decide(&world.model, &first, world.now), Ok(Decision::AlreadyApplied { .. })));
    world.submit(CommandBody::ExpireBlocks).unwrap();
    assert!(!matches!(decide(&world.model, &first, world.now), Ok(Decision::AlreadyApplied { .. })));
}

#[test]
fn what_the_leader_does_by_itself_crowds_out_nothing() {
    let mut world = World::new();
    world.submit(block(1)).unwrap();
    let first = world.commands[0].clone();
    for _ in 0..MAX_REMEMBERED + 1 {
        let expiry = Command { id: HOUSEKEEPING, ..world.command(1, 0, CommandBody::ExpireBlocks) };
        world.carry_out(expiry).unwrap();
    }
    assert!(matches!(decide(&world.model, &first, world.now), Ok(Decision::AlreadyApplied { .. })));
}

#[test]
fn log_time_increases_also_when_the_clock_goes_back() {
    let mut world = World::new();
    world.submit(block(1)).unwrap();
    let last = world.model.last_accepted_at();
    world.now = Timestamp::from_seconds(1);
    world.submit(block(2)).unwrap();
    assert_eq!(world.model.last_accepted_at().nanos(), last.nanos() + 1);
}

#[test]
fn the_state_hash_is_that_of_the_log_and_tells_every_entry_apart() {
    let mut world = World::new();
    let mut hashes = std::collections::BTreeSet::from([world.hash()]);
    for last in 1..20 {
        world.observe(3, attack(source(last), Evidence::Proven, Sanction::Block));
        assert!(hashes.insert(world.hash()), "entry {last} changed the state");
    }
    let (model, views) = replay(&world.log);
    assert_eq!(projections::state_hash(&model, &views), world.hash());
    let (_, shorter) = replay(&world.log[..18]);
    assert_ne!(projections::state_hash(&model, &shorter), world.hash());
}
