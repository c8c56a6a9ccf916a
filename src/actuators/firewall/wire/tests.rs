//! The exact bytes, on a machine that counts from the little end.
#![cfg(target_endian = "little")]

use std::net::IpAddr;

use super::super::sets::List;
use super::*;

const PLACE: Place<'_> = Place { family: TableFamily::Netdev, table: "palisade" };

fn check(write: impl FnOnce(&mut Encoder), expected: &str) {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    let words: Vec<String> = encoder
        .bytes()
        .chunks(ALIGNMENT)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let expected: Vec<&str> =
        expected.lines().filter_map(|line| line.split('#').next()).flat_map(str::split_whitespace).collect();
    assert_eq!(words, expected);
}

fn add(list: List, range: Range, timeout: Option<Duration>) -> ElementStep {
    ElementStep { set: SetId::new(list, Family::V4), range, step: Step::Add { timeout } }
}

fn single(address: &str) -> Range {
    Range::single(address.parse::<IpAddr>().unwrap())
}

#[test]
fn a_transaction_is_opened_and_committed() {
    check(
        |encoder| {
            encoder.begin_batch(7);
            encoder.end_batch(8);
        },
        "14000000 10000100 07000000 00000000 0000000a   # begin
         14000000 11000100 08000000 00000000 0000000a   # end",
    );
}

#[test]
fn a_block_is_added_with_its_time() {
    let step = add(List::Blocked, single("192.0.2.1"), Some(Duration::from_secs(60)));
    check(
        |encoder| encoder.element(PLACE, step, 9, Answer::Acknowledge),
        "54000000 0c0a0506 09000000 00000000            # length 84, NEWSETELEM, request + ack + excl + create
         05000000                                       # netdev
         0d000100 70616c69 73616465 00000000            # table palisade
         0d000200 626c6f63 6b656434 00000000            # set blocked4
         20000380 1c000180                              # elements, element
         0c000180 08000100 c0000201                     # key, value 192.0.2.1
         0c000400 00000000 0000ea60                     # timeout 60,000 ms",
    );
}

#[test]
fn a_block_is_removed_by_its_address_alone() {
    let step = ElementStep {
        set: SetId::new(List::Soft, Family::V6),
        range: single("2001:db8::1"),
        step: Step::Remove,
    };
    check(
        |encoder| encoder.element(PLACE, step, 1, Answer::None),
        "50000000 0e0a0100 01000000 00000000            # length 80, DELSETELEM, request
         05000000                                       # netdev
         0d000100 70616c69 73616465 00000000            # table palisade
         0a000200 736f6674 36000000                     # set soft6
         20000380 1c000180                              # elements, element
         18000180 14000100                              # key, value
         20010db8 00000000 00000000 00000001            # 2001:db8::1",
    );
}

#[test]
fn a_touch_names_no_time_and_is_not_exclusive() {
    let step = ElementStep {
        set: SetId::new(List::Soft, Family::V4),
        range: single("192.0.2.1"),
        step: Step::Touch,
    };
    check(
        |encoder| encoder.element(PLACE, step, 1, Answer::None),
        "44000000 0c0a0104 01000000 00000000            # length 68, NEWSETELEM, request + create
         05000000                                       # netdev
         0d000100 70616c69 73616465 00000000            # table palisade
         0a000200 736f6674 34000000                     # set soft4
         14000380 10000180 0c000180 08000100 c0000201   # elements, element, key, value 192.0.2.1",
    );
}

#[test]
fn the_generation_is_asked_for_without_a_table() {
    check(
        |encoder| encoder.get_generation(2),
        "14000000 100a0500 02000000 00000000            # length 20, GETGEN, request + ack
         00000000",
    );
}

#[test]
fn the_largest_transaction_fits_into_one_sending() {
    const SENDING: usize = 212_992 - 32;
    let table = "t".repeat(32);
    let place = Place { family: TableFamily::Netdev, table: &table };
    let set = SetId::new(List::Provisional, Family::V6);
    let mut encoder = Encoder::default();
    encoder.begin_batch(0);
    for _ in 0..super::super::transaction::MAX_WISHES {
        for step in [Step::Touch, Step::Remove, Step::Add { timeout: Some(Duration::MAX) }] {
            let step = ElementStep { set, range: single("2001:db8::1"), step };
            encoder.element(place, step, 0, Answer::None);
        }
    }
    encoder.end_batch(0);
    assert!(encoder.bytes().len() <= SENDING, "{}", encoder.bytes().len());
}

#[test]
fn a_network_is_two_ends_in_one_message() {
    let step = add(List::DeniedNets, Range { first: 0x0a00_0000, last: 0x0aff_ffff }, None);
    check(
        |encoder| encoder.element(PLACE, step, 1, Answer::None),
        "64000000 0c0a0106 01000000 00000000            # length 100, NEWSETELEM
         05000000                                       # netdev
         0d000100 70616c69 73616465 00000000            # table palisade
         11000200 64656e69 65645f6e 65747334 00000000   # set denied_nets4
         2c000380                                       # elements
         10000180 0c000180 08000100 0a000000            # element, key, value 10.0.0.0
         18000180 0c000180 08000100 0b000000            # element, key, value 11.0.0.0
         08000300 00000001                              # flags: end of the interval",
    );
}

#[test]
fn a_listing_names_its_table_and_set() {
    check(
        |encoder| encoder.dump_elements(PLACE, "soft4", 3),
        "30000000 0d0a0103 03000000 00000000            # length 48, GETSETELEM, request + dump
         05000000                                       # netdev
         0d000100 70616c69 73616465 00000000            # table palisade
         0a000200 736f6674 34000000                     # set soft4",
    );
}

#[test]
fn counters_are_asked_for_by_their_type() {
    check(
        |encoder| encoder.dump(Verb::GetObject, PLACE, 3),
        "2c000000 130a0103 03000000 00000000            # length 44, GETOBJ, request + dump
         05000000                                       # netdev
         0d000100 70616c69 73616465 00000000            # table palisade
         08000300 00000001                              # type counter",
    );
}

#[test]
fn a_table_is_deleted_by_its_name() {
    check(
        |encoder| encoder.delete_table(PLACE, 3),
        "24000000 020a0500 03000000 00000000            # length 36, DELTABLE, request + ack
         05000000                                       # netdev
         0d000100 70616c69 73616465 00000000            # table palisade",
    );
}
