//! What people see.

use std::net::IpAddr;
use std::time::Duration;

use log_format::event::{AttackKind, AttackObserved, Evidence, Sanction, Text};
use log_format::ids::{LogIndex, Position};
use projections::decide::CommandBody;
use projections::read::{
    ATTACKS_KEPT_FOR, AttackQuery, DenylistCounts, DenylistQuery, DenylistSort, Page, SortOrder, TextFilter,
};

use crate::world::{World, administrator, attack};

fn source(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn attack_of(last: u8, kind: AttackKind, agent: &str) -> CommandBody {
    let CommandBody::ReportAttack(observed) = attack(source(last), Evidence::Proven, Sanction::Block) else {
        unreachable!("attack() reports an attack");
    };
    let user_agent = Text::new(agent.as_bytes());
    CommandBody::ReportAttack(AttackObserved { attack: kind, user_agent, ..observed })
}

fn world_of_attacks() -> World {
    let mut world = World::new();
    for (last, kind, agent) in [
        (1, AttackKind::Register, "friendly-scanner"),
        (2, AttackKind::Options, "sipsak 0.9"),
        (3, AttackKind::Register, "Elite"),
        (4, AttackKind::Invite, ""),
        (20, AttackKind::Register, "FRIENDLY one"),
    ] {
        world.observe(1, attack_of(last, kind, agent));
        world.pass(60);
    }
    world
}

fn ids(world: &World, text: Option<&str>, kind: Option<AttackKind>, page: Page) -> (Vec<u64>, usize) {
    let text = text.and_then(TextFilter::new);
    let query = AttackQuery { text: text.as_ref(), attack: kind };
    let found = world.views.attacks.find(&query, page, world.now);
    (found.items.iter().map(|row| row.id.index.get()).collect(), found.total)
}

#[test]
fn attacks_come_newest_first_by_type_text_and_page() {
    let world = world_of_attacks();
    let register = Some(AttackKind::Register);
    for (text, kind, (skip, take), expected, total) in [
        (None, None, (0, 9), vec![5, 4, 3, 2, 1], 5),
        (None, None, (1, 2), vec![4, 3], 5),
        (None, None, (9, 2), vec![], 5),
        (None, register, (0, 2), vec![5, 3], 3),
        (None, Some(AttackKind::Tftp), (0, 9), vec![], 0),
        (Some("friendly"), None, (0, 9), vec![5, 1], 2),
        (Some("friendly"), None, (1, 9), vec![1], 2),
        (Some("192.0.2.2"), None, (0, 9), vec![5, 2], 2),
        (Some("192.0.2.0/30"), register, (0, 9), vec![3, 1], 2),
        (Some("10.1.35"), None, (0, 1), vec![5], 5),
        (Some("nothing"), None, (0, 9), vec![], 0),
    ] {
        let found = ids(&world, text, kind, Page { skip, take });
        assert_eq!(found, (expected, total), "{text:?} {kind:?} {skip} {take}");
    }
}

#[test]
fn attacks_are_kept_for_three_months() {
    let mut world = world_of_attacks();
    let first = Position { index: LogIndex::new(1), ordinal: 0 };
    assert_eq!(world.views.attacks.get(first, world.now).map(|row| row.source), Some(source(1)));
    world.now = world.log[0].1.accepted_at.after(ATTACKS_KEPT_FOR);
    assert_eq!(world.views.attacks.get(first, world.now), None, "not shown any more");
    assert_eq!(ids(&world, None, None, Page::ALL), (vec![5, 4, 3, 2], 4));
    assert_eq!(ids(&world, None, Some(AttackKind::Register), Page::ALL), (vec![5, 3], 2));
    world.submit(CommandBody::ExpireBlocks).unwrap();
    let long_ago = world.log[0].1.accepted_at;
    assert_eq!(world.views.attacks.newest_first(long_ago).count(), 4, "and not held any more");
    assert_eq!(world.views.attacks.dropped(), 0);
}

fn addresses(world: &World, query: &DenylistQuery<'_>) -> (Vec<String>, usize) {
    let found = world.views.denylist.find(query, world.now);
    (found.items.iter().map(|row| row.network().addr().to_string()).collect(), found.total)
}

#[test]
fn the_denylist_is_found_by_text_type_order_and_page() {
    let mut world = world_of_attacks();
    let (note, by) = (Text::new(b"noisy neighbour"), administrator());
    let network = "198.51.100.0/24".parse().unwrap();
    world.submit(CommandBody::DenyAddress { network, note, by }).unwrap();
    let all = DenylistQuery {
        text: None,
        attack: None,
        sort: DenylistSort::Since,
        order: SortOrder::Descending,
        page: Page { skip: 0, take: 3 },
    };
    let newest = ["198.51.100.0", "192.0.2.20", "192.0.2.4"].map(str::to_owned).to_vec();
    assert_eq!(addresses(&world, &all), (newest, 6));
    let oldest = DenylistQuery { order: SortOrder::Ascending, page: Page { skip: 0, take: 1 }, ..all };
    assert_eq!(addresses(&world, &oldest), (vec!["192.0.2.1".to_owned()], 6));
    let last_to_end = DenylistQuery { sort: DenylistSort::Until, page: Page { skip: 0, take: 1 }, ..all };
    assert_eq!(addresses(&world, &last_to_end), (vec!["198.51.100.0".to_owned()], 6));
    let by_address = DenylistQuery { sort: DenylistSort::Address, page: Page { skip: 1, take: 1 }, ..all };
    assert_eq!(addresses(&world, &by_address), (vec!["192.0.2.20".to_owned()], 6));
    for (text, expected) in [
        ("friendly", vec!["192.0.2.20", "192.0.2.1"]),
        ("192.0.2.2", vec!["192.0.2.20", "192.0.2.2"]),
        ("198.51.100.77", vec!["198.51.100.0"]),
        ("neighbour", vec!["198.51.100.0"]),
        ("192.0.0.0/16", vec!["192.0.2.20", "192.0.2.4", "192.0.2.3"]),
    ] {
        let filter = TextFilter::new(text);
        let found = addresses(&world, &DenylistQuery { text: filter.as_ref(), ..all });
        assert_eq!(found.0, expected, "{text}");
    }
    let options = DenylistQuery { attack: Some(AttackKind::Options), ..all };
    assert_eq!(addresses(&world, &options), (vec!["192.0.2.2".to_owned()], 1));
}

#[test]
fn a_row_whose_time_is_over_is_gone_before_the_log_says_so() {
    let mut world = World::new();
    world.observe(1, attack(source(1), Evidence::Unproven, Sanction::SoftBlock));
    world.observe(1, attack(source(2), Evidence::Proven, Sanction::Block));
    let counts = |world: &World| world.views.denylist.counts(world.now);
    assert_eq!(counts(&world), DenylistCounts { soft_blocked: 1, blocked: 1, denied: 0 });
    world.pass(300);
    assert_eq!(counts(&world), DenylistCounts { soft_blocked: 0, blocked: 1, denied: 0 });
    assert_eq!(world.views.denylist.rows(world.now).map(|row| row.address).collect::<Vec<_>>(), [source(2)]);
    assert_eq!(world.views.denylist.rows_of(source(1), world.now).count(), 0);
    assert!(world.model.next_expiry().is_some_and(|expiry| expiry <= world.now));
    world.submit(CommandBody::ExpireBlocks).unwrap();
    assert!(world.model.next_expiry().is_some_and(|expiry| world.now < expiry));
}

#[test]
fn the_summary_counts_minutes_hours_and_days() {
    let mut world = world_of_attacks();
    let summary = world.views.summary(world.now, 2);
    assert_eq!((summary.last_hour, summary.last_day, summary.kept, summary.dropped), (5, 5, 5, 0));
    assert_eq!(summary.per_minute[53..], [0, 1, 1, 1, 1, 1, 0]);
    assert_eq!(summary.blocked.total(), 5);
    assert_eq!(summary.latest.iter().map(|row| row.address).collect::<Vec<_>>(), [source(20), source(4)]);
    let register = summary.kinds.iter().find(|kind| kind.attack == AttackKind::Register).unwrap();
    assert_eq!((register.last_hour, register.last_day, register.kept), (3, 3, 3));
    world.pass(3_600);
    let summary = world.views.summary(world.now, 9);
    assert_eq!((summary.last_hour, summary.last_day, summary.kept), (0, 5, 5));
    world.now = world.now.after(Duration::from_secs(86_400));
    let summary = world.views.summary(world.now, 9);
    assert_eq!((summary.last_day, summary.kept, summary.latest.len()), (0, 5, 0));
}

#[test]
fn a_released_block_is_not_among_the_latest() {
    let mut world = World::new();
    world.observe(1, attack(source(1), Evidence::Proven, Sanction::Block));
    world.observe(1, attack(source(2), Evidence::Proven, Sanction::Block));
    let unblock = CommandBody::UnblockAddress { source: source(2), allow_seconds: None, by: administrator() };
    world.submit(unblock).unwrap();
    let summary = world.views.summary(world.now, 9);
    assert_eq!(summary.latest.iter().map(|row| row.address).collect::<Vec<_>>(), [source(1)]);
}

#[test]
fn a_sum_over_hosts_has_no_victim() {
    let mut world = World::new();
    world.observe(1, crate::world::strikes(source(1), 10, 0));
    let row = world.views.denylist.rows(world.now).next().unwrap();
    let projections::read::Reason::Attack(reason) = row.reason else { panic!("{row:?}") };
    assert_eq!(reason.victim, None);
    assert_eq!(reason.count, 10);
}
