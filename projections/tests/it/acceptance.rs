//! The acceptance cases (DETECTION) that a cluster decides.

use std::net::IpAddr;

use log_format::event::{DenylistEvent, Event, Evidence, Sanction};
use projections::decide::{CommandBody, Verdict};

use crate::world::{World, administrator, attack, strikes};

const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 66));

#[test]
fn case_6_nine_a_minute_at_each_of_four_hosts_are_one_attacker_within_the_first_minute() {
    let mut world = World::new();
    let begin = world.now;
    let blocked = (0..9).find_map(|_| {
        world.pass(6);
        (1..=4).find_map(|host| {
            let events = world.observe(host, strikes(ATTACKER, 1, 0));
            events.into_iter().find_map(|event| {
                let Event::Denylist(DenylistEvent::AddressBlocked(blocked)) = event else { return None };
                Some(blocked)
            })
        })
    });
    let blocked = blocked.expect("thirty-six are more than ten");
    assert_eq!((blocked.source, blocked.sanction), (ATTACKER, Sanction::Block));
    assert!(world.now.since(begin).as_secs() <= 18, "the tenth comes in the third round");
    assert!(matches!(world.model.verdict(ATTACKER, world.now), Verdict::Blocked { .. }));
}

#[test]
fn case_6_nine_a_minute_at_one_host_are_none() {
    let mut world = World::new();
    for _ in 0..30 {
        world.pass(7);
        world.observe(1, strikes(ATTACKER, 1, 0));
    }
    assert_eq!(world.model.verdict(ATTACKER, world.now), Verdict::Free);
}

#[test]
fn case_12_who_is_allowed_stays_reachable_whatever_is_said_of_it() {
    let mut world = World::new();
    let allow = CommandBody::AllowAddress {
        network: "203.0.113.66/32".parse().unwrap(),
        seconds: None,
        note: log_format::event::Text::default(),
        by: administrator(),
    };
    world.submit(allow).unwrap();
    for _ in 0..5 {
        world.observe(1, attack(ATTACKER, Evidence::Proven, Sanction::Block));
        world.observe(2, strikes(ATTACKER, 20, 0));
    }
    let deny = CommandBody::DenyAddress {
        network: "203.0.113.0/24".parse().unwrap(),
        note: log_format::event::Text::default(),
        by: administrator(),
    };
    world.submit(deny).unwrap();
    assert!(matches!(world.model.verdict(ATTACKER, world.now), Verdict::Allowed { .. }));
    assert!(world.plan.allowed.iter().any(|network| network.contains(&ATTACKER)));
    assert!(!world.plan.blocked.contains_key(&ATTACKER));
    let neighbour = IpAddr::from([203, 0, 113, 67]);
    assert!(matches!(world.model.verdict(neighbour, world.now), Verdict::Denied { .. }));
}
