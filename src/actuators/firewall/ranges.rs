//! Networks as the kernel's interval sets hold them: ranges that neither overlap nor touch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::sets::Family;

/// Leading bits of an IPv4 address inside IPv6.
const MAPPED_PREFIX: u8 = 96;

/// A range of addresses of one family, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    /// The lowest address as a number.
    pub(super) first: u128,
    /// The highest address as a number.
    pub(super) last: u128,
}

/// One end of a range, as the kernel stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RangeEnd {
    /// The address.
    pub(super) at: u128,
    /// Which end. At the same address an end comes before a beginning.
    pub(super) side: Side,
}

/// Which end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// The first address that is no longer inside.
    Closing,
    /// The first address inside.
    Opening,
}

impl Range {
    /// The range of a network.
    fn of(net: &IpNet) -> Self {
        Self { first: number(net.network()), last: number(net.broadcast()) }
    }

    /// The range of one address.
    pub(super) fn single(address: IpAddr) -> Self {
        let number = number(address);
        Self { first: number, last: number }
    }

    /// The ends, opening first. A range up to the family's last address has no closing end.
    pub(super) fn ends(self, family: Family) -> impl Iterator<Item = RangeEnd> {
        let opening = RangeEnd { at: self.first, side: Side::Opening };
        let closing = (self.last < family.last())
            .then(|| RangeEnd { at: self.last.saturating_add(1), side: Side::Closing });
        std::iter::once(opening).chain(closing)
    }
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A number as an address; numbers beyond IPv4 stop at its last address.
pub(super) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

/// The same network without IPv4 hidden in IPv6 and without host bits: one thing, one spelling.
pub(super) fn canonical(net: IpNet) -> IpNet {
    let net = net.trunc();
    let IpNet::V6(v6) = net else { return net };
    let (Some(inner), Some(prefix)) =
        (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_PREFIX))
    else {
        return net;
    };
    Ipv4Net::new(inner, prefix).map_or(net, IpNet::V4)
}

/// The single address that a network is, if it is one.
pub(super) fn single(net: &IpNet) -> Option<IpAddr> {
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// The family of a network.
pub(super) fn family(net: &IpNet) -> Family {
    Family::of(net.addr())
}

/// Ranges of one family that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// The last address by the first.
    last: BTreeMap<u128, u128>,
}

impl Ranges {
    /// Adds a network.
    pub(super) fn insert(&mut self, net: &IpNet) {
        let mut whole = Range::of(net);
        while let Some(near) = self.highest_from(whole.last.saturating_add(1))
            && whole.first <= near.last.saturating_add(1)
        {
            self.last.remove(&near.first);
            whole.first = whole.first.min(near.first);
            whole.last = whole.last.max(near.last);
        }
        self.last.insert(whole.first, whole.last);
    }

    /// Takes a network out.
    pub(super) fn remove(&mut self, net: &IpNet) {
        let hole = Range::of(net);
        while let Some(near) = self.highest_from(hole.last)
            && hole.first <= near.last
        {
            self.last.remove(&near.first);
            if near.first < hole.first {
                self.last.insert(near.first, hole.first.saturating_sub(1));
            }
            if hole.last < near.last {
                self.last.insert(hole.last.saturating_add(1), near.last);
            }
        }
    }

    /// Whether one of the ranges holds the address.
    pub(super) fn hold(&self, address: IpAddr) -> bool {
        let number = number(address);
        self.highest_from(number).is_some_and(|range| number <= range.last)
    }

    /// The ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range> {
        self.last.iter().map(|(&first, &last)| Range { first, last })
    }

    /// The highest range that begins at or below a number.
    fn highest_from(&self, number: u128) -> Option<Range> {
        let (&first, &last) = self.last.range(..=number).next_back()?;
        Some(Range { first, last })
    }
}

/// The ranges that the ends of a set enclose, in any order. A closing end without a beginning says nothing, and a
/// beginning without a closing end reaches to the next beginning or the family's last address.
pub(super) fn enclosed(mut ends: Vec<RangeEnd>, family: Family) -> BTreeSet<Range> {
    ends.sort();
    let mut ranges = BTreeSet::new();
    let mut open: Option<u128> = None;
    for end in ends {
        if let Some(first) = open
            && first < end.at
        {
            ranges.insert(Range { first, last: end.at.saturating_sub(1) });
        }
        open = match end.side {
            Side::Opening => Some(end.at),
            Side::Closing => None,
        };
    }
    ranges.extend(open.map(|first| Range { first, last: family.last() }));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|net| net.parse().unwrap()).collect()
    }

    fn v4(first: &str, last: &str) -> Range {
        Range { first: number(first.parse().unwrap()), last: number(last.parse().unwrap()) }
    }

    fn ranges(text: &str) -> Ranges {
        let mut ranges = Ranges::default();
        for net in nets(text) {
            ranges.insert(&net);
        }
        ranges
    }

    #[test]
    fn networks_that_overlap_or_touch_become_one_range() {
        let ranges = ranges("10.1.0.0/16 11.0.0.0/8 10.0.0.0/8 192.0.2.0/25 10.2.0.0/16");
        let expected = [v4("10.0.0.0", "11.255.255.255"), v4("192.0.2.0", "192.0.2.127")];
        assert!(ranges.iter().eq(expected), "{ranges:?}");
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest() {
        let mut ranges = ranges("10.0.0.0/8 12.0.0.0/8 ");
        ranges.remove(&"10.1.0.0/16".parse().unwrap());
        ranges.remove(&"12.0.0.0/9".parse().unwrap());
        ranges.remove(&"11.0.0.0/8".parse().unwrap());
        let expected = [
            v4("10.0.0.0", "10.0.255.255"),
            v4("10.2.0.0", "10.255.255.255"),
            v4("12.128.0.0", "12.255.255.255"),
        ];
        assert!(ranges.iter().eq(expected), "{ranges:?}");
        ranges.remove(&"0.0.0.0/0".parse().unwrap());
        assert_eq!(ranges, Ranges::default());
    }

    #[test]
    fn ends_enclose_what_they_came_from() {
        for text in ["0.0.0.0/0", "10.0.0.0/8 12.0.0.0/8 12.0.0.0/9", "255.0.0.0/8 0.0.0.0/8", ""] {
            let ranges = ranges(text);
            let ends = ranges.iter().flat_map(|range| range.ends(Family::V4)).collect();
            assert!(ranges.iter().eq(enclosed(ends, Family::V4)), "{text}");
        }
        let all = ranges("::/0");
        assert_eq!(all.iter().flat_map(|range| range.ends(Family::V6)).count(), 1);
    }

    #[test]
    fn a_closing_end_alone_says_nothing() {
        let ends = vec![RangeEnd { at: 0, side: Side::Closing }];
        assert!(enclosed(ends, Family::V4).is_empty());
    }

    #[test]
    fn ranges_that_touch_in_the_kernel_stay_two() {
        let touching = [v4("10.0.0.0", "10.0.0.255"), v4("10.0.1.0", "10.0.1.255")];
        let ends = touching.iter().flat_map(|range| range.ends(Family::V4)).collect();
        assert_eq!(enclosed(ends, Family::V4), BTreeSet::from(touching));
    }

    #[test]
    fn holding_is_exact_at_both_ends() {
        let ranges = ranges("10.0.0.0/8 192.0.2.7/32");
        let held = |text: &str| ranges.hold(text.parse().unwrap());
        assert!(held("10.0.0.0") && held("10.255.255.255") && held("192.0.2.7"));
        assert!(!held("9.255.255.255") && !held("11.0.0.0") && !held("192.0.2.6") && !held("192.0.2.8"));
    }

    #[test]
    fn hidden_ipv4_networks_come_out() {
        let canonical = |text: &str| canonical(text.parse().unwrap()).to_string();
        assert_eq!(canonical("::ffff:10.1.2.3/104"), "10.0.0.0/8");
        assert_eq!(canonical("::ffff:10.1.2.3/128"), "10.1.2.3/32");
        assert_eq!(canonical("::ffff:0:0/95"), "::fffe:0:0/95");
        assert_eq!(canonical("10.1.2.3/8"), "10.0.0.0/8");
    }
}
