use std::net::Ipv4Addr;

use super::*;

const VICTIM: u32 = 7;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

fn limits() -> Limits {
    Limits::default()
}

fn question(user: u32, victim: u32) -> Question {
    Question { user: Some(user), victim: Some(victim), port: 5060, is_heard: true }
}

fn in_vain(source: &Source, now: u64) -> Option<u32> {
    source.users_in_vain(limits().users, false, at(now)).map(|amount| amount.count)
}

#[test]
fn users_that_were_refused_count_at_once() {
    let mut source = Source::default();
    for user in 1..=7 {
        source.refused((user, 5060), false, &limits(), at(0));
        source.refused((user, 5060), false, &limits(), at(0));
    }
    assert_eq!(in_vain(&source, 0), None);
    source.refused((8, 5060), false, &limits(), at(0));
    assert_eq!(in_vain(&source, 0), Some(8));
    assert_eq!(in_vain(&source, 60), None, "a minute later they are forgotten");
}

#[test]
fn a_phone_has_time_to_answer_its_challenge() {
    let mut source = Source::default();
    for user in 1..=10 {
        source.ask(question(user, VICTIM), &limits(), at(0));
        source.challenged(user, at(0));
    }
    assert_eq!(in_vain(&source, 2), None);
    assert_eq!(in_vain(&source, 3), Some(10));
    for user in 1..=5 {
        source.answer_challenge(user, Some(VICTIM));
    }
    assert_eq!(in_vain(&source, 3), None);
}

#[test]
fn a_phones_time_begins_with_the_challenge() {
    let mut office = Source::default();
    for user in 1..=10 {
        office.ask(question(user, VICTIM), &limits(), at(0));
    }
    // An outage is over, and the registrar has many to answer.
    for user in 1..=10 {
        office.challenged(user, at(6));
    }
    assert_eq!(in_vain(&office, 6), None);
    assert_eq!(in_vain(&office, 8), None);
    assert_eq!(in_vain(&office, 9), Some(10));
}

#[test]
fn who_asks_without_a_break_is_late_all_the_same() {
    for each_second in [3, 10, 100] {
        let mut source = Source::default();
        let tipped = (0..10).find(|second| {
            for number in 0..each_second {
                let user = *second as u32 * each_second + number + 1;
                source.ask(question(user, VICTIM), &limits(), at(*second));
                source.challenged(user, at(*second));
            }
            in_vain(&source, *second).is_some()
        });
        assert!(tipped.is_some_and(|second| second <= 6), "{each_second} a second: {tipped:?}");
    }
}

#[test]
fn refusals_are_not_pushed_out_by_challenges_nor_questions() {
    let mut source = Source::default();
    for user in 1..=7 {
        source.refused((user, 5060), false, &limits(), at(0));
    }
    for user in 100..=130 {
        source.ask(question(user, VICTIM), &limits(), at(1));
        source.challenged(user, at(1));
    }
    assert_eq!(in_vain(&source, 1), None);
    source.ask(question(8, VICTIM), &limits(), at(1));
    source.refused((8, 5060), false, &limits(), at(1));
    assert_eq!(in_vain(&source, 1), Some(8));
}

#[test]
fn questions_without_an_answer_keep_no_place() {
    let mut source = Source::default();
    for user in 1..=20 {
        source.ask(question(user, VICTIM), &limits(), at(0));
        source.told((100 + user, 20_000 + user as u16), &limits(), at(0));
    }
    for user in 200..=208 {
        source.ask(question(user, VICTIM), &limits(), at(1));
        source.challenged(user, at(1));
    }
    assert_eq!(in_vain(&source, 4), Some(9));
}

#[test]
fn a_registrar_that_does_not_answer_makes_nobody_an_attacker() {
    let mut source = Source::default();
    for user in 1..=16 {
        source.ask(question(user, VICTIM), &limits(), at(0));
    }
    assert_eq!(in_vain(&source, 10), None);
    let unheard = source.users_in_vain(limits().users, true, at(10));
    assert_eq!(unheard.map(|amount| amount.count), Some(16), "but where it is never heard");
}

#[test]
fn phones_that_ask_for_themselves_are_told_from_one_who_asks_for_all() {
    let mut office = Source::default();
    let mut scanner = Source::default();
    for user in 1..=10 {
        office.told((user, 20_000 + user as u16), &limits(), at(0));
        scanner.told((user, 5060), &limits(), at(0));
    }
    assert_eq!(in_vain(&office, 0), None);
    assert_eq!(in_vain(&scanner, 0), Some(10));
}

#[test]
fn answers_that_were_received_are_proof() {
    let mut source = Source::default();
    for user in 1..=8 {
        source.refused((user, 5060), false, &limits(), at(0));
        source.received(user);
    }
    let amount = source.users_in_vain(limits().users, false, at(0));
    assert_eq!(amount, Some(Amount { count: 8, is_proven: true }));
}

#[test]
fn a_sweep_is_several_victims_where_the_source_has_no_business() {
    let mut source = Source::default();
    for victim in 1..=3 {
        source.ask(question(1, victim), &limits(), at(0));
    }
    assert_eq!(source.victims_in_vain(&limits(), at(2)), None, "credentials may come");
    assert_eq!(source.victims_in_vain(&limits(), at(3)), Some(3));
    assert_eq!(source.victims_in_vain(&limits(), at(61)), None);
    let mut slow = Source::default();
    for victim in 1..=5 {
        slow.ask(question(1, victim), &limits(), at(u64::from(victim) * 600));
    }
    assert_eq!(slow.victims_in_vain(&limits(), at(3_010)), Some(5));
    source.answer_challenge(1, Some(2));
    assert_eq!(source.victims_in_vain(&limits(), at(4)), None);
}

#[test]
fn offences_are_counted_within_their_window() {
    let mut source = Source::default();
    let limit = Limit { count: 25, within: Duration::from_secs(30) };
    let mut offend = |second| source.offend(Count::Malformed, 1, limit, at(second));
    assert_eq!((0..25).filter_map(|_| offend(0)).collect::<Vec<_>>(), [25]);
    assert_eq!(offend(29), Some(26));
    assert_eq!(offend(30), None);
}

#[test]
fn one_source_is_looked_at_once() {
    let mut source = Source::default();
    for victim in 1..=3 {
        source.ask(question(1, victim), &limits(), at(0));
    }
    assert!(source.wants_a_look(&limits()));
    assert!(!source.wants_a_look(&limits()));
    source.looked_at();
    assert!(source.wants_a_look(&limits()));
}

#[test]
fn a_crowded_table_takes_in_only_who_comes_again() {
    let mut sources = Sources::new(Key::new([1; 16]));
    let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number));
    let capacity = u32::try_from(CAPACITY).unwrap();
    for number in 0..capacity {
        assert!(sources.enter(address(number), at(0)).is_some());
    }
    for number in capacity..capacity * 2 {
        assert!(sources.enter(address(number), at(0)).is_none());
    }
    assert!(sources.get(address(0)).is_some(), "nobody lost a place to a stranger");
    assert!(sources.enter(address(capacity), at(1)).is_some());
    assert!(sources.get(address(0)).is_none());
}
