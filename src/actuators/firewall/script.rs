//! The table as a script for `nft -f -`. Everything in it is a constant, a number, an address or a checked name.
//!
//! ```text
//! table netdev palisade                                                  (inet, where no device is named)
//!   chain ingress, before everybody else
//!     1. accept  allowed_nets   (the allowlist decides before every list that drops)
//!     2. drop    denied, denied_nets
//!     3. drop    blocked
//!     4. drop    provisional
//!     5. drop    soft, to SIP ports over UDP and TCP
//! ```
//!
//! `accept` ends this chain only: tables of other owners see the packet as before.
//!
//! On a device, `ip saddr` also matches frames with one VLAN tag, for the kernel has taken the tag off before the hook.
//! Frames with two tags pass on the outer device and are looked at on the VLAN device, if that is named.
//! A first fragment carries the ports, later ones do not: a soft block drops the first, and nothing is reassembled.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::layout::{DeviceName, Layout};
use super::ranges::address;
use super::sets::{Family, Holds, List, SetId};
use super::wire::Place;

/// The comment of the table: only a table that carries it is touched.
pub(super) const MARK: &str = "palisade: blocked addresses";
/// The one chain.
pub(super) const CHAIN: &str = "ingress";
/// Ports that a rule's comment names; the kernel takes 128 bytes with its end.
const NAMED_PORTS: usize = 96;
/// Elements on one line of a script.
const ELEMENTS_PER_LINE: usize = 1_000;

/// `NFT_SET_INTERVAL`
const INTERVAL: u32 = 0x4;
/// `NFT_SET_TIMEOUT`
const TIMEOUT: u32 = 0x10;

/// One rule of the chain, recognised by its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// What it does, with everything that can differ between two layouts.
    pub(super) comment: String,
    /// The rule.
    statement: String,
}

/// The rules of a layout, in the order of decision.
pub(super) fn rules(layout: &Layout) -> Vec<Rule> {
    let ports = ports(layout);
    SetId::ALL.iter().map(|set| rule(*set, &ports)).collect()
}

fn rule(set: SetId, ports: &str) -> Rule {
    let name = set.name();
    let protocol = match set.family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    match set.list {
        List::AllowedNets => {
            Rule { comment: format!("accept {name}"), statement: format!("{protocol} saddr @{name} accept") }
        }
        List::Denied | List::DeniedNets | List::Blocked | List::Provisional => Rule {
            comment: format!("drop {name}"),
            statement: format!("{protocol} saddr @{name} counter name \"{name}\" drop"),
        },
        List::Soft => Rule {
            comment: format!("drop {name} to {}", named(ports)),
            statement: format!(
                "{protocol} saddr @{name} meta l4proto {{ tcp, udp }} th dport {{ {ports} }} counter name \"{name}\" drop"
            ),
        },
    }
}

/// The ports in a comment, by which a rule is recognised: of many, how they begin and a hash of them all.
fn named(ports: &str) -> String {
    if ports.len() <= NAMED_PORTS {
        return ports.to_owned();
    }
    let hash: String = Sha256::digest(ports).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}... {hash}", ports.get(..NAMED_PORTS / 2).unwrap_or_default())
}

/// The SIP ports as nft writes them.
fn ports(layout: &Layout) -> String {
    let ranges: Vec<String> = layout
        .sip_ports()
        .iter()
        .map(|range| match (range.first, range.last) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        })
        .collect();
    ranges.join(",")
}

/// The flags of a set, in the kernel's numbers.
pub(super) const fn set_flags(set: SetId) -> u32 {
    match set.holds() {
        Holds::TimedAddresses => TIMEOUT,
        Holds::Addresses => 0,
        Holds::Ranges => INTERVAL,
    }
}

/// Whether a set has a drop rule, and so a counter.
pub(super) const fn counts(set: SetId) -> bool {
    match set.list {
        List::AllowedNets => false,
        List::Denied | List::DeniedNets | List::Blocked | List::Provisional | List::Soft => true,
    }
}

/// Writes one transaction.
#[derive(Debug)]
pub(super) struct Script {
    text: String,
}

impl Script {
    /// An empty one.
    pub(super) const fn new() -> Self {
        Self { text: String::new() }
    }

    /// The script.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Deletes a table of ours that is there.
    pub(super) fn delete_table(&mut self, place: Place<'_>) {
        self.line(format_args!("delete table {} {}", place.family.name(), place.table));
    }

    /// The table with its sets, counters and rules. What is there already and the same keeps its elements and counts;
    /// the chain is made anew. Without a device there is no chain: the sets wait for one.
    pub(super) fn build(&mut self, layout: &Layout, devices: &[DeviceName]) {
        let family = layout.family().name();
        let table = layout.table().get();
        self.line(format_args!("add table {family} {table} {{ comment \"{MARK}\"; }}"));
        for set in SetId::ALL {
            self.set(layout, set);
        }
        self.line(format_args!("add chain {family} {table} {CHAIN}"));
        self.line(format_args!("flush chain {family} {table} {CHAIN}"));
        self.line(format_args!("delete chain {family} {table} {CHAIN}"));
        if devices.is_empty() && !layout.devices().is_empty() {
            return;
        }
        let (hook, priority) = layout.family().hook();
        let devices = devices_clause(devices);
        self.line(format_args!(
            "add chain {family} {table} {CHAIN} {{ type filter hook {hook}{devices} priority {priority}; policy accept; }}"
        ));
        for Rule { comment, statement } in rules(layout) {
            self.line(format_args!("add rule {family} {table} {CHAIN} {statement} comment \"{comment}\""));
        }
    }

    /// Single addresses, or ranges, that a set shall hold when the transaction is over.
    pub(super) fn elements(&mut self, layout: &Layout, set: SetId, elements: &[Element]) {
        let family = layout.family().name();
        let table = layout.table().get();
        for some in elements.chunks(ELEMENTS_PER_LINE) {
            let list: Vec<String> = some.iter().map(|element| element.text(set.family)).collect();
            let name = set.name();
            let list = list.join(", ");
            self.line(format_args!("add element {family} {table} {name} {{ {list} }}"));
        }
    }

    fn set(&mut self, layout: &Layout, set: SetId) {
        let family = layout.family().name();
        let table = layout.table().get();
        let name = set.name();
        let size = set.size();
        let kind = match set.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        let flags = match set.holds() {
            Holds::TimedAddresses => " flags timeout;",
            Holds::Addresses => "",
            Holds::Ranges => " flags interval;",
        };
        self.line(format_args!("add set {family} {table} {name} {{ type {kind};{flags} size {size}; }}"));
        if counts(set) {
            self.line(format_args!("add counter {family} {table} {name}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _written = writeln!(self.text, "{line}");
    }
}

/// An element as a script carries it from a table to its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// The only or the lowest address.
    pub(super) first: u128,
    /// The highest address.
    pub(super) last: u128,
    /// When the kernel forgets it.
    pub(super) timeout: Option<Duration>,
}

impl Element {
    fn text(&self, family: Family) -> String {
        let first = address(family, self.first);
        let mut text = first.to_string();
        if self.last != self.first {
            let last = address(family, self.last);
            text = format!("{text}-{last}");
        }
        match self.timeout {
            Some(timeout) => format!("{text} timeout {}ms", timeout.as_millis()),
            None => text,
        }
    }
}

fn devices_clause(devices: &[DeviceName]) -> String {
    if devices.is_empty() {
        return String::new();
    }
    let names: Vec<String> = devices.iter().map(|name| format!("\"{name}\"")).collect();
    format!(" devices = {{ {} }}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use log_format::event::PortRange;

    use super::super::layout::TableName;
    use super::*;

    fn on_two_devices() -> Layout {
        let ports = [PortRange { first: 5060, last: 5061 }, PortRange { first: 5080, last: 5080 }];
        Layout::try_new(&["wan0", "wan1.7"], TableName::default(), &ports).unwrap()
    }

    #[test]
    fn allowed_comes_first_and_soft_blocks_last() {
        let comments: Vec<String> = rules(&on_two_devices()).into_iter().map(|rule| rule.comment).collect();
        assert_eq!(
            comments,
            [
                "accept allowed_nets4",
                "accept allowed_nets6",
                "drop denied4",
                "drop denied6",
                "drop denied_nets4",
                "drop denied_nets6",
                "drop blocked4",
                "drop blocked6",
                "drop provisional4",
                "drop provisional6",
                "drop soft4 to 5060-5061,5080",
                "drop soft6 to 5060-5061,5080",
            ]
        );
    }

    #[test]
    fn the_longest_comment_fits_into_the_kernel() {
        for count in 1..=64 {
            let ports: Vec<PortRange> =
                (0..count).map(|at| PortRange { first: 10_000 + 10 * at, last: 10_005 + 10 * at }).collect();
            let comments = |ports: &[PortRange]| -> Vec<String> {
                let layout = Layout::default().with_sip_ports(ports).unwrap();
                rules(&layout).into_iter().map(|rule| rule.comment).collect()
            };
            let named = comments(&ports);
            assert!(named.iter().all(|comment| comment.len() < 128), "{named:?}");
            let mut other = ports;
            other.last_mut().unwrap().last += 1;
            assert_ne!(comments(&other), named, "the last port counts, too");
        }
    }

    #[test]
    fn the_script_of_a_layout_is_known() {
        let layout = on_two_devices();
        let mut script = Script::new();
        script.build(&layout, layout.devices());
        let expected = include_str!("script_golden.nft");
        assert_eq!(script.text(), expected);
    }

    #[test]
    fn without_a_device_that_is_there_no_chain_is_made() {
        let mut script = Script::new();
        script.build(&on_two_devices(), &[]);
        assert!(script.text().ends_with("delete chain netdev palisade ingress\n"));
    }

    #[test]
    fn elements_keep_their_time_and_their_ends() {
        let mut script = Script::new();
        let blocked = SetId::new(List::Blocked, Family::V4);
        let timeout = Some(Duration::from_millis(1_500));
        let one = Element { first: 0xc000_0201, last: 0xc000_0201, timeout };
        script.elements(&Layout::default(), blocked, &[one]);
        let nets = SetId::new(List::DeniedNets, Family::V6);
        script.elements(&Layout::default(), nets, &[Element { first: 1, last: 2, timeout: None }]);
        assert_eq!(
            script.text(),
            "add element inet palisade blocked4 { 192.0.2.1 timeout 1500ms }\n\
             add element inet palisade denied_nets6 { ::1-::2 }\n"
        );
    }
}
