//! The firewall against the real kernel, each test in network namespaces of its own.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are shells: they start programs and read the environment"
)]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::PortRange;
use log_format::time::Timestamp;
use palisade::actuators::firewall::{
    Change, Desired, Firewall, FirewallError, FirewallMode, Layout, Refusal, TableState, WatchReason,
};

use crate::support::{output_of, wait_until};
use world::{WIRE, World, drops, held, isolated, isolated_with, nft, on_devices};

const NOW: Timestamp = Timestamp::from_seconds(1_767_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn block(address: &str) -> Change {
    Change::Block { address: ip(address), lasts: HOUR }
}

fn soft_block(address: &str) -> Change {
    Change::SoftBlock { address: ip(address), lasts: HOUR }
}

fn provisional(address: &str) -> Change {
    Change::Provisional { address: ip(address), lasts: Duration::from_secs(60) }
}

fn deny(net: &str) -> Change {
    Change::Deny(net.parse().unwrap())
}

fn allow(net: &str) -> Change {
    Change::Allow(net.parse().unwrap())
}

fn unblock(address: &str) -> Change {
    Change::Unblock { address: ip(address) }
}

fn until(addresses: &[&str], end: Timestamp) -> BTreeMap<IpAddr, Timestamp> {
    addresses.iter().map(|address| (ip(address), end)).collect()
}

/// An address of 172.16.0.0/12 for each number.
fn numbered(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xac10_0000 + number).into()
}

fn open() -> Firewall {
    let mut firewall = Firewall::open(on_devices(&[WIRE])).unwrap();
    firewall.converge(&Desired::default(), NOW).unwrap();
    firewall
}

fn dropping(layout: Layout, world: &mut World) {
    let mut firewall = Firewall::open(layout).unwrap();
    for (source, other, family) in [("10.77.0.2", "10.77.0.3", '4'), ("fd77::2", "fd77::3", '6')] {
        world.passes(source, 5060);
        firewall.apply(&[block(source)], NOW).unwrap();
        for port in [5060, 5090] {
            world.is_dropped(&mut firewall, source, port, &format!("blocked{family}"));
        }
        world.passes(other, 5060);
        firewall.apply(&[unblock(source), provisional(source)], NOW).unwrap();
        world.is_dropped(&mut firewall, source, 5090, &format!("provisional{family}"));
        firewall.apply(&[unblock(source)], NOW).unwrap();
        world.passes(source, 5060);
    }
}

#[test]
fn a_blocked_address_is_dropped_on_its_device_and_counted() {
    const TEST: &str = "firewall::a_blocked_address_is_dropped_on_its_device_and_counted";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        dropping(on_devices(&[WIRE]), world);
    });
}

#[test]
fn a_blocked_address_is_dropped_where_no_device_is_named() {
    const TEST: &str = "firewall::a_blocked_address_is_dropped_where_no_device_is_named";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        dropping(Layout::default(), world);
    });
}

#[test]
fn a_soft_block_closes_the_sip_ports_alone() {
    const TEST: &str = "firewall::a_soft_block_closes_the_sip_ports_alone";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut firewall = open();
        assert!(world.refuses_connection(5060));
        firewall.apply(&[soft_block("10.77.0.2"), soft_block("fd77::2")], NOW).unwrap();
        for port in [5060, 5061] {
            world.is_dropped(&mut firewall, "10.77.0.2", port, "soft4");
            world.is_dropped(&mut firewall, "fd77::2", port, "soft6");
        }
        let before = drops(&mut firewall, "soft4");
        assert!(!world.refuses_connection(5060));
        assert!(before < drops(&mut firewall, "soft4"));
        for port in [5059, 5062] {
            world.passes("10.77.0.2", port);
            world.passes("fd77::2", port);
        }
        assert!(world.refuses_connection(5062));
        assert!(world.hears_icmp_of("10.77.0.2"));
    });
}

#[test]
fn the_more_specific_list_decides_before_every_block() {
    const TEST: &str = "firewall::the_more_specific_list_decides_before_every_block";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut firewall = open();
        firewall
            .apply(&[block("10.77.0.2"), deny("10.77.0.0/16"), deny("fd77::/64"), allow("fd77::2/127")], NOW)
            .unwrap();
        world.is_dropped(&mut firewall, "10.77.1.2", 5060, "denied_nets4");
        world.is_dropped(&mut firewall, "10.77.0.2", 5060, "denied_nets4");
        world.is_dropped(&mut firewall, "fd77::4", 5060, "denied_nets6");
        world.passes("fd77::3", 5060);
        firewall.apply(&[allow("10.77.0.0/24"), deny("10.77.0.3/32"), deny("fd77::3/128")], NOW).unwrap();
        world.passes("10.77.0.2", 5060);
        world.passes("fd77::2", 5060);
        world.is_dropped(&mut firewall, "10.77.0.3", 5060, "denied4");
        world.is_dropped(&mut firewall, "fd77::3", 5060, "denied6");
        world.is_dropped(&mut firewall, "10.77.1.2", 5060, "denied_nets4");
        let back = Change::Disallow("10.77.0.0/24".parse().unwrap());
        let forgiven = Change::Undeny("10.77.0.0/16".parse().unwrap());
        firewall.apply(&[back, forgiven, unblock("10.77.0.3")], NOW).unwrap();
        world.passes("10.77.1.2", 5060);
        world.passes("10.77.0.3", 5060);
        world.is_dropped(&mut firewall, "10.77.0.2", 5060, "blocked4");
    });
}

#[test]
fn an_address_that_is_never_blocked_stays_out_of_the_sets() {
    const TEST: &str = "firewall::an_address_that_is_never_blocked_stays_out_of_the_sets";
    isolated(TEST, |_| {
        let mut firewall = open();
        let desired = Desired {
            never_block: BTreeSet::from(["10.77.0.3/32".parse().unwrap()]),
            allowed: BTreeSet::from(["10.77.0.4/32".parse().unwrap()]),
            blocked: until(&["10.77.0.2", "10.77.0.3", "10.77.0.4"], NOW.after(HOUR)),
            denied: BTreeSet::from(["0.0.0.0/0".parse().unwrap()]),
            ..Desired::default()
        };
        firewall.converge(&desired, NOW).unwrap();
        assert_eq!(held("blocked4"), ["10.77.0.2"]);
        let changes = ["127.0.0.1", "::1", "fe80::7", "10.77.0.3", "10.77.0.4"].map(block);
        let applied = firewall.apply(&changes, NOW).unwrap();
        assert_eq!(applied.added, 0);
        assert!(applied.refused.iter().all(|refused| refused.cause == Refusal::Allowed));
        assert_eq!(applied.refused.len(), changes.len());
        assert!(firewall.converge(&desired, NOW).unwrap().is_none());
    });
}

#[test]
fn as_many_port_ranges_as_the_settings_take_are_closed() {
    const TEST: &str = "firewall::as_many_port_ranges_as_the_settings_take_are_closed";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let range = |at: u16| PortRange { first: 20_000 + 10 * at, last: 20_005 + 10 * at };
        let ranges: Vec<PortRange> = (0..64).map(range).collect();
        let mut firewall = Firewall::open(on_devices(&[WIRE]).with_sip_ports(&ranges).unwrap()).unwrap();
        firewall.converge(&Desired::default(), NOW).unwrap();
        firewall.apply(&[soft_block("10.77.0.2")], NOW).unwrap();
        world.is_dropped(&mut firewall, "10.77.0.2", 20_635, "soft4");
        world.passes("10.77.0.2", 20_636);
        let soft_blocked = until(&["10.77.0.2"], NOW.after(HOUR));
        assert!(
            firewall.converge(&Desired { soft_blocked, ..Desired::default() }, NOW).unwrap().is_none(),
            "recognised"
        );
    });
}

#[test]
fn a_block_ends_by_itself() {
    const TEST: &str = "firewall::a_block_ends_by_itself";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut firewall = open();
        let short = |address| Change::Block { address, lasts: Duration::from_millis(400) };
        firewall.apply(&[short(ip("10.77.0.2")), short(ip("fd77::2"))], NOW).unwrap();
        wait_until("both blocks end", || held("blocked4").is_empty() && held("blocked6").is_empty());
        world.passes("10.77.0.2", 5060);
        world.passes("fd77::2", 5060);
        let over = Change::Block { address: ip("10.77.0.3"), lasts: Duration::ZERO };
        assert_eq!(firewall.apply(&[over], NOW).unwrap().added, 0);
    });
}

#[test]
fn a_second_block_sets_the_end_anew() {
    const TEST: &str = "firewall::a_second_block_sets_the_end_anew";
    isolated(TEST, |_| {
        let mut firewall = open();
        let lasting = |lasts| Change::Block { address: ip("10.77.0.2"), lasts };
        firewall.apply(&[lasting(HOUR)], NOW).unwrap();
        let applied = firewall.apply(&[lasting(HOUR * 4)], NOW).unwrap();
        assert_eq!((applied.added, applied.renewed), (0, 1));
        let listed = nft(&["list", "set", "netdev", "palisade", "blocked4"]);
        assert!(listed.contains("timeout 4h"), "{listed}");
        firewall.apply(&[lasting(Duration::from_secs(90))], NOW).unwrap();
        let listed = nft(&["list", "set", "netdev", "palisade", "blocked4"]);
        assert!(listed.contains("timeout 1m30s"), "{listed}");
    });
}

#[test]
fn an_unblocked_address_leaves_every_set() {
    const TEST: &str = "firewall::an_unblocked_address_leaves_every_set";
    isolated(TEST, |_| {
        let mut firewall = open();
        let all =
            [block("10.77.0.2"), soft_block("10.77.0.2"), provisional("10.77.0.2"), deny("10.77.0.2/32")];
        assert_eq!(firewall.apply(&all, NOW).unwrap().added, 4);
        assert_eq!(firewall.apply(&[unblock("::ffff:10.77.0.2")], NOW).unwrap().removed, 4);
        for set in ["blocked4", "soft4", "provisional4", "denied4"] {
            assert!(held(set).is_empty(), "{set}");
        }
        let again = firewall.apply(&[unblock("10.77.0.2"), unblock("fd77::9")], NOW).unwrap();
        assert_eq!(again.removed, 0);
    });
}

#[test]
fn a_ratified_block_ends_the_provisional_one() {
    const TEST: &str = "firewall::a_ratified_block_ends_the_provisional_one";
    isolated(TEST, |_| {
        let mut firewall = open();
        firewall.apply(&[provisional("10.77.0.2"), provisional("10.77.0.3")], NOW).unwrap();
        let desired = Desired { soft_blocked: until(&["10.77.0.2"], NOW.after(HOUR)), ..Desired::default() };
        firewall.apply(&[soft_block("10.77.0.2")], NOW).unwrap();
        assert_eq!(
            (held("soft4"), held("provisional4")),
            (vec!["10.77.0.2".into()], vec!["10.77.0.3".into()])
        );
        assert!(firewall.converge(&desired, NOW).unwrap().is_none());
        nft(&["flush", "set", "netdev", "palisade", "provisional4"]);
        firewall.converge(&desired, NOW).unwrap();
        assert_eq!(held("provisional4"), ["10.77.0.3"]);
    });
}

/// Everything at once, for the tests that disturb it.
fn everything() -> Desired {
    Desired {
        blocked: until(&["10.77.0.2", "fd77::2"], NOW.after(HOUR)),
        soft_blocked: until(&["10.77.0.3"], NOW.after(HOUR)),
        provisional: until(&["10.77.0.4"], NOW.after(Duration::from_secs(60))),
        denied: ["198.51.100.0/24", "2001:db8::/32", "192.0.2.9/32"].map(|net| net.parse().unwrap()).into(),
        allowed: BTreeSet::from(["192.0.2.0/25".parse().unwrap()]),
        never_block: BTreeSet::from(["10.77.0.1/32".parse().unwrap()]),
    }
}

#[test]
fn converging_repairs_what_others_did_to_the_sets() {
    const TEST: &str = "firewall::converging_repairs_what_others_did_to_the_sets";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut firewall = open();
        let desired = everything();
        let drift = firewall.converge(&desired, NOW).unwrap();
        assert!(drift.added > 0 && drift.removed == 0 && drift.table == TableState::Intact, "{drift:?}");
        assert!(firewall.converge(&desired, NOW).unwrap().is_none());
        for disturbance in [
            "flush set netdev palisade blocked4",
            "flush set netdev palisade denied_nets4",
            "flush set netdev palisade allowed_nets4",
            "add element netdev palisade blocked4 { 203.0.113.1 timeout 1h }",
            "add element netdev palisade blocked4 { 203.0.113.2 }",
            "add element netdev palisade provisional4 { 203.0.113.3 }",
            "add element netdev palisade provisional4 { 203.0.113.5 timeout 1h }",
            "add element netdev palisade denied4 { 203.0.113.4 }",
            "add element netdev palisade denied_nets4 { 203.0.113.0/24 }",
            "delete element netdev palisade denied4 { 192.0.2.9 }",
            "add element netdev palisade allowed_nets6 { 2001:db8:1::/48 }",
        ] {
            nft(&disturbance.split_whitespace().collect::<Vec<_>>());
            let drift = firewall.converge(&desired, NOW).unwrap();
            assert!(!drift.is_none() && drift.table == TableState::Intact, "{disturbance}: {drift:?}");
            let again = firewall.converge(&desired, NOW).unwrap();
            assert!(again.is_none(), "{disturbance}: {again:?}");
        }
        world.is_dropped(&mut firewall, "10.77.0.2", 5090, "blocked4");
        world.is_dropped(&mut firewall, "10.77.0.3", 5060, "soft4");
        world.is_dropped(&mut firewall, "10.77.0.4", 5060, "provisional4");
    });
}

#[test]
fn converging_corrects_an_end_that_is_wrong() {
    const TEST: &str = "firewall::converging_corrects_an_end_that_is_wrong";
    isolated(TEST, |_| {
        let mut firewall = open();
        let mut desired = everything();
        firewall.converge(&desired, NOW).unwrap();
        desired.blocked.insert(ip("10.77.0.2"), NOW.after(HOUR * 4));
        let drift = firewall.converge(&desired, NOW).unwrap();
        assert_eq!((drift.added, drift.renewed, drift.removed), (0, 1, 0));
        assert!(firewall.converge(&desired, NOW.after(HOUR)).unwrap().is_none());
        // To a process that starts an hour later, the kernel's blocks end an hour too late.
        let mut firewall = Firewall::open(on_devices(&[WIRE])).unwrap();
        let drift = firewall.converge(&desired, NOW.after(HOUR)).unwrap();
        assert_eq!((drift.added, drift.renewed, drift.removed), (0, 1, 2), "{drift:?}");
        assert_eq!(held("blocked4"), ["10.77.0.2"]);
        assert!(held("blocked6").is_empty() && held("soft4").is_empty());
        assert_eq!(held("provisional4"), ["10.77.0.4"]);
    });
}

#[test]
fn converging_repairs_what_others_did_to_the_table() {
    const TEST: &str = "firewall::converging_repairs_what_others_did_to_the_table";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut firewall = open();
        let desired = everything();
        firewall.converge(&desired, NOW).unwrap();
        for disturbance in [
            "delete table netdev palisade",
            "flush ruleset",
            "flush chain netdev palisade ingress",
            "insert rule netdev palisade ingress accept",
            "add rule netdev palisade ingress drop comment \"drop blocked4\"",
            "add chain netdev palisade foreign",
            "add set netdev palisade foreign { type ipv4_addr; }",
        ] {
            output_of(Command::new("nft").arg(disturbance));
            let drift = firewall.converge(&desired, NOW).unwrap();
            assert_eq!(drift.table, TableState::Rebuilt, "{disturbance}");
            let again = firewall.converge(&desired, NOW).unwrap();
            assert!(again.is_none(), "{disturbance}: {again:?}");
            world.is_dropped(&mut firewall, "10.77.0.2", 5090, "blocked4");
            world.is_dropped(&mut firewall, "fd77::2", 5090, "blocked6");
            world.passes("10.77.1.2", 5060);
        }
    });
}

#[test]
fn a_block_is_in_force_though_the_table_was_just_deleted() {
    const TEST: &str = "firewall::a_block_is_in_force_though_the_table_was_just_deleted";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut firewall = open();
        nft(&["delete", "table", "netdev", "palisade"]);
        let applied = firewall.apply(&[block("10.77.0.2")], NOW).unwrap();
        assert_eq!((applied.added, applied.table), (1, TableState::Rebuilt));
        world.is_dropped(&mut firewall, "10.77.0.2", 5090, "blocked4");
    });
}

#[test]
fn a_restarted_firewall_takes_over_elements_and_counts() {
    const TEST: &str = "firewall::a_restarted_firewall_takes_over_elements_and_counts";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut former = open();
        former.converge(&everything(), NOW).unwrap();
        world.is_dropped(&mut former, "10.77.0.2", 5090, "blocked4");
        let before = nft(&["-s", "-t", "list", "ruleset"]);
        drop(former);
        world.passes("10.77.1.2", 5090);
        let mut firewall = Firewall::open(on_devices(&[WIRE])).unwrap();
        assert_eq!(nft(&["-s", "-t", "list", "ruleset"]), before);
        assert_eq!(drops(&mut firewall, "blocked4"), 1);
        assert_eq!(held("blocked4"), ["10.77.0.2"]);
        world.is_dropped(&mut firewall, "10.77.0.2", 5090, "blocked4");
        assert!(firewall.converge(&everything(), NOW).unwrap().is_none());
    });
}

#[test]
fn other_sip_ports_and_devices_keep_elements_and_counts() {
    const TEST: &str = "firewall::other_sip_ports_and_devices_keep_elements_and_counts";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut firewall = open();
        firewall.converge(&everything(), NOW).unwrap();
        world.is_dropped(&mut firewall, "10.77.0.3", 5060, "soft4");
        let ports = PortRange { first: 5080, last: 5090 };
        assert_eq!(firewall.set_sip_ports(&[ports]).unwrap(), TableState::Rebuilt);
        assert_eq!(firewall.set_sip_ports(&[ports]).unwrap(), TableState::Intact);
        assert!(firewall.set_sip_ports(&[]).is_err());
        world.passes("10.77.0.3", 5060);
        world.is_dropped(&mut firewall, "10.77.0.3", 5085, "soft4");
        assert_eq!(drops(&mut firewall, "soft4"), 2);
        drop(firewall);
        let mut firewall = Firewall::open(on_devices(&["lo"])).unwrap();
        world.passes("10.77.0.3", 5060);
        assert!(firewall.converge(&everything(), NOW).unwrap().is_none());
        drop(firewall);
        let mut firewall = Firewall::open(on_devices(&["lo", WIRE])).unwrap();
        assert_eq!(firewall.mode().to_string(), format!("enforcing on lo, {WIRE}"));
        world.is_dropped(&mut firewall, "10.77.0.3", 5060, "soft4");
    });
}

#[test]
fn blocks_move_to_another_kind_of_table_in_one_step() {
    const TEST: &str = "firewall::blocks_move_to_another_kind_of_table_in_one_step";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut former = Firewall::open(Layout::default()).unwrap();
        former.converge(&everything(), NOW).unwrap();
        drop(former);
        let mut firewall = Firewall::open(on_devices(&[WIRE])).unwrap();
        world.is_dropped(&mut firewall, "10.77.0.2", 5090, "blocked4");
        assert!(!nft(&["list", "tables"]).contains("inet"));
        let drift = firewall.converge(&everything(), NOW).unwrap();
        assert!(drift.is_none(), "{drift:?}");
    });
}

#[test]
fn a_set_of_another_size_is_replaced_with_its_elements() {
    const TEST: &str = "firewall::a_set_of_another_size_is_replaced_with_its_elements";
    isolated(TEST, |world| {
        world.lay_wire(TEST);
        let mut former = open();
        former.converge(&everything(), NOW).unwrap();
        drop(former);
        let listed = nft(&["list", "table", "netdev", "palisade"]);
        let smaller = listed.replace("size 262144", "size 1024");
        assert_ne!(listed, smaller);
        let script = format!("delete table netdev palisade\n{smaller}");
        let file = std::env::temp_dir().join(format!("palisade-firewall-{}", std::process::id()));
        std::fs::write(&file, script).unwrap();
        let loaded = Command::new("nft").arg("-f").arg(&file).status().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(loaded.success());
        let mut firewall = Firewall::open(on_devices(&[WIRE])).unwrap();
        assert!(!nft(&["list", "table", "netdev", "palisade"]).contains("size 1024"));
        world.is_dropped(&mut firewall, "10.77.0.2", 5090, "blocked4");
        let drift = firewall.converge(&everything(), NOW).unwrap();
        assert!(drift.is_none(), "{drift:?}");
    });
}

#[test]
fn ten_thousand_blocks_are_added_and_renewed() {
    const TEST: &str = "firewall::ten_thousand_blocks_are_added_and_renewed";
    isolated(TEST, |_| {
        let mut firewall = open();
        let blocks: Vec<Change> =
            (0..10_000).map(|number| Change::Block { address: numbered(number), lasts: HOUR }).collect();
        let applied = firewall.apply(&blocks, NOW).unwrap();
        assert_eq!((applied.added, applied.renewed, applied.refused.len()), (10_000, 0, 0));
        let again = firewall.apply(&blocks, NOW).unwrap();
        assert_eq!((again.added, again.renewed, again.refused.len()), (0, 10_000, 0));
        let desired = Desired {
            blocked: (0..10_000).map(|number| (numbered(number), NOW.after(HOUR))).collect(),
            ..Desired::default()
        };
        assert!(firewall.converge(&desired, NOW).unwrap().is_none());
        assert_eq!(firewall.converge(&Desired::default(), NOW).unwrap().removed, 10_000);
        assert!(held("blocked4").is_empty());
    });
}

#[test]
fn a_full_set_keeps_what_it_holds_and_says_so() {
    const TEST: &str = "firewall::a_full_set_keeps_what_it_holds_and_says_so";
    isolated(TEST, |_| {
        let mut firewall = open();
        let lasts = Duration::from_secs(600);
        let many: Vec<Change> =
            (0..16_390).map(|number| Change::Provisional { address: numbered(number), lasts }).collect();
        let applied = firewall.apply(&many, NOW).unwrap();
        assert_eq!((applied.added, applied.refused.len()), (16_384, 6));
        let causes = applied.refused.iter().map(|refused| refused.cause);
        assert!(causes.into_iter().all(|cause| cause == Refusal::Full("provisional4")));
        let proven = firewall.apply(&[block("10.77.0.2")], NOW).unwrap();
        assert_eq!(proven.added, 1);
        let freed = Change::Unblock { address: numbered(7) };
        assert_eq!(firewall.apply(&[freed], NOW).unwrap().removed, 1);
        assert_eq!(firewall.apply(&[provisional("10.77.0.3")], NOW).unwrap().added, 1);
        let too_many: BTreeMap<IpAddr, Timestamp> =
            (0..16_390).map(|number| (numbered(number), NOW.after(lasts))).collect();
        let desired = Desired { provisional: too_many, ..Desired::default() };
        assert_eq!(firewall.converge(&desired, NOW).unwrap().refused.len(), 7);
        assert_eq!(firewall.converge(&desired, NOW).unwrap().refused.len(), 7);
        // A process that does not know what the set holds finds no room to ask by touching.
        let mut unknowing = Firewall::open(on_devices(&["lo"])).unwrap();
        unknowing.apply(&[freed, unblock("10.77.0.9")], NOW).unwrap();
        assert_eq!(unknowing.apply(&[provisional("10.77.0.4")], NOW).unwrap().refused.len(), 1);
    });
}

#[test]
fn a_table_of_somebody_else_is_left_alone() {
    const TEST: &str = "firewall::a_table_of_somebody_else_is_left_alone";
    isolated(TEST, |_| {
        nft(&["add", "table", "netdev", "palisade"]);
        let refused = Firewall::open(on_devices(&["lo"])).unwrap_err();
        assert!(matches!(refused, FirewallError::NotOurs { .. }), "{refused}");
        nft(&["delete", "table", "netdev", "palisade"]);

        output_of(Command::new("nft").arg(
            "add table inet other; add set inet other kept { type ipv4_addr; elements = { 192.0.2.1 }; }; \
             add chain inet other input { type filter hook input priority 0; }; \
             add rule inet other input ip saddr @kept counter drop; add table inet palisade",
        ));
        let before = nft(&["list", "ruleset"]);
        let mut firewall = Firewall::open(on_devices(&["lo"])).unwrap();
        firewall.apply(&[block("10.77.0.2"), deny("10.0.0.0/8")], NOW).unwrap();
        firewall.converge(&Desired::default(), NOW).unwrap();
        assert!(nft(&["list", "ruleset"]).starts_with(&before));
        firewall.remove().unwrap();
        assert_eq!(nft(&["list", "ruleset"]), before);
    });
}

#[test]
fn without_the_capability_it_only_watches() {
    const TEST: &str = "firewall::without_the_capability_it_only_watches";
    let without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"];
    isolated_with(TEST, &without, |_| {
        let mut firewall = Firewall::open(on_devices(&["lo"])).unwrap();
        let reason = WatchReason::NoCapability;
        assert_eq!(firewall.mode(), FirewallMode::WatchOnly { reason });
        assert_eq!(firewall.apply(&[block("10.77.0.2")], NOW).unwrap().added, 0);
        assert!(firewall.converge(&everything(), NOW).unwrap().is_none());
        assert!(firewall.drops().unwrap().is_empty());
        firewall.remove().unwrap();
    });
}

#[test]
fn with_the_capability_in_another_namespace_it_only_watches() {
    const TEST: &str = "firewall::with_the_capability_in_another_namespace_it_only_watches";
    isolated_with(TEST, &["unshare", "--user", "--map-root-user", "--"], |_| {
        let firewall = Firewall::open(on_devices(&["lo"])).unwrap();
        let reason = WatchReason::Forbidden;
        assert_eq!(firewall.mode(), FirewallMode::WatchOnly { reason });
    });
}

#[test]
fn a_device_that_appears_later_is_protected_by_the_next_convergence() {
    const TEST: &str = "firewall::a_device_that_appears_later_is_protected_by_the_next_convergence";
    isolated(TEST, |world| {
        let mut firewall = Firewall::open(on_devices(&[WIRE])).unwrap();
        assert_eq!(firewall.mode().to_string(), format!("not enforcing: no such device: {WIRE}"));
        let desired = everything();
        firewall.converge(&desired, NOW).unwrap();
        assert!(firewall.converge(&desired, NOW).unwrap().is_none());
        world.lay_wire(TEST);
        let drift = firewall.converge(&desired, NOW).unwrap();
        assert_eq!((drift.added, drift.table), (0, TableState::Rebuilt));
        assert_eq!(firewall.mode().to_string(), format!("enforcing on {WIRE}"));
        world.is_dropped(&mut firewall, "10.77.0.2", 5090, "blocked4");
    });
}

/// Numbers that look random and are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(end)).unwrap()
    }

    /// One of few networks, so that they meet: of 10.0.0.0/20, from /22 to single addresses.
    fn net(&mut self) -> IpNet {
        let prefix = [22, 23, 24, 25, 31, 32][self.below(6) as usize];
        let address = Ipv4Addr::from_bits(0x0a00_0000 + self.below(32) * 128 + self.below(4));
        IpNet::new(address.into(), prefix).unwrap().trunc()
    }

    /// A change of the lists, noted in the whole.
    fn change(&mut self, desired: &mut Desired) -> Change {
        let net = self.net();
        match self.below(6) {
            0 => {
                desired.denied.insert(net);
                Change::Deny(net)
            }
            1 | 2 => {
                let one = desired.denied.first().copied().unwrap_or(net);
                desired.denied.remove(&one);
                Change::Undeny(one)
            }
            3 => {
                desired.allowed.insert(net);
                Change::Allow(net)
            }
            _ => {
                let one = desired.allowed.last().copied().unwrap_or(net);
                desired.allowed.remove(&one);
                Change::Disallow(one)
            }
        }
    }
}

#[test]
fn steps_and_the_whole_lead_to_the_same_sets() {
    const TEST: &str = "firewall::steps_and_the_whole_lead_to_the_same_sets";
    isolated(TEST, |_| {
        let mut firewall = open();
        let mut desired = Desired::default();
        let mut draw = Draw(0x2545_f491_4f6c_dd1d);
        let mut moved = 0;
        for round in 0..100 {
            let count = draw.below(8) + 1;
            let changes: Vec<Change> = (0..count).map(|_| draw.change(&mut desired)).collect();
            let applied = firewall.apply(&changes, NOW).unwrap();
            moved += applied.added + applied.removed;
            let drift = firewall.converge(&desired, NOW).unwrap();
            assert!(drift.is_none(), "round {round}: {changes:?}: {drift:?}");
        }
        assert!(moved > 200, "{moved}");
    });
}
