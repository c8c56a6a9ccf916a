//! What the firewall is asked to hold: the whole ([`Desired`]), and single steps ([`Change`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use log_format::time::Timestamp;

use super::ranges::{Ranges, canonical, family, single};
use super::sets::Family;

/// Never dropped, whatever anybody asks for: loopback, and the sources of hosts that are still finding their address
/// or their router (DHCP, neighbour discovery).
const BUILT_IN_NEVER_BLOCK: [&str; 5] = ["127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128", "fe80::/10"];

/// Everything that the kernel shall hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Dropped until then.
    pub blocked: BTreeMap<IpAddr, Timestamp>,
    /// Dropped on SIP ports until then.
    pub soft_blocked: BTreeMap<IpAddr, Timestamp>,
    /// Dropped until then, as this host alone decided; what was installed by [`Change::Provisional`] need not be repeated.
    pub provisional: BTreeMap<IpAddr, Timestamp>,
    /// Dropped, unless a more specific or equal network is in `allowed`.
    pub denied: BTreeSet<IpNet>,
    /// Not dropped, unless a more specific network is in `denied`.
    pub allowed: BTreeSet<IpNet>,
    /// Not dropped, whatever the other lists say: own addresses, peers, gateways.
    pub never_block: BTreeSet<IpNet>,
}

/// One step. Steps are idempotent; of several steps about one address the last holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Drop everything from an address, from now on, for so long.
    Block {
        /// The address.
        address: IpAddr,
        /// How long.
        lasts: Duration,
    },
    /// Drop what an address sends to SIP ports, from now on, for so long.
    SoftBlock {
        /// The address.
        address: IpAddr,
        /// How long.
        lasts: Duration,
    },
    /// Drop everything from an address until the cluster has decided; at most [`PROVISIONAL_LONGEST`](super::PROVISIONAL_LONGEST).
    Provisional {
        /// The address.
        address: IpAddr,
        /// How long.
        lasts: Duration,
    },
    /// Take an address out of every set of single addresses.
    Unblock {
        /// The address.
        address: IpAddr,
    },
    /// Drop everything from an address or network until [`Change::Undeny`].
    Deny(IpNet),
    /// Take back a [`Change::Deny`].
    Undeny(IpNet),
    /// Let a network through whatever blocks it.
    Allow(IpNet),
    /// Take back a [`Change::Allow`].
    Disallow(IpNet),
}

/// The lists that people keep, each network in one spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// Single addresses and networks to drop.
    denied: BTreeSet<IpNet>,
    /// To let through.
    allowed: BTreeSet<IpNet>,
    /// To let through in any case.
    never_block: BTreeSet<IpNet>,
}

impl Lists {
    /// The lists of a desired state.
    pub(super) fn of(desired: &Desired) -> Self {
        let spelled = |nets: &BTreeSet<IpNet>| nets.iter().copied().map(canonical).collect();
        Self {
            denied: spelled(&desired.denied),
            allowed: spelled(&desired.allowed),
            never_block: spelled(&desired.never_block),
        }
    }

    /// Puts a network on the denylist; returns its one spelling, as do the next three.
    pub(super) fn deny(&mut self, net: IpNet) -> IpNet {
        let net = canonical(net);
        self.denied.insert(net);
        net
    }

    /// Takes a network off the denylist.
    pub(super) fn undeny(&mut self, net: IpNet) -> IpNet {
        let net = canonical(net);
        self.denied.remove(&net);
        net
    }

    /// Puts a network on the allowlist.
    pub(super) fn allow(&mut self, net: IpNet) -> IpNet {
        let net = canonical(net);
        self.allowed.insert(net);
        net
    }

    /// Takes a network off the allowlist.
    pub(super) fn disallow(&mut self, net: IpNet) -> IpNet {
        let net = canonical(net);
        self.allowed.remove(&net);
        net
    }

    /// The single addresses to drop.
    pub(super) fn denied_addresses(&self, of: Family) -> impl Iterator<Item = IpAddr> {
        self.denied.iter().filter_map(single).filter(move |address| Family::of(*address) == of)
    }

    /// The networks to drop.
    pub(super) fn denied_nets(&self, of: Family) -> Ranges {
        let mut ranges = Ranges::default();
        let nets = self.denied.iter().filter(|net| single(net).is_none());
        for net in nets.filter(|net| family(net) == of) {
            ranges.insert(net);
        }
        ranges
    }

    /// Whether a change of the denylist about this network changes what passes, or which networks are dropped. A
    /// single address is an element of its own, unless it lies within an allowed network.
    pub(super) fn denial_concerns_networks(&self, net: &IpNet) -> bool {
        single(net).is_none() || self.allowed.iter().any(|other| other.contains(net))
    }

    /// What passes before any drop: of two networks that hold an address the more specific one decides, of two equal
    /// ones the allowlist; addresses that are never blocked pass in any case.
    pub(super) fn passing(&self, of: Family) -> Ranges {
        let mut steps: Vec<(u8, Verdict, &IpNet)> = Vec::new();
        for (nets, verdict) in [(&self.denied, Verdict::Drop), (&self.allowed, Verdict::Pass)] {
            let own = nets.iter().filter(|net| family(net) == of);
            steps.extend(own.map(|net| (net.prefix_len(), verdict, net)));
        }
        steps.sort();
        let mut ranges = Ranges::default();
        for (_, verdict, net) in steps {
            match verdict {
                Verdict::Drop => ranges.remove(net),
                Verdict::Pass => ranges.insert(net),
            }
        }
        for net in built_in_never_block().iter().chain(&self.never_block) {
            if family(net) == of {
                ranges.insert(net);
            }
        }
        ranges
    }
}

/// What a list says about a network; on a tie the later one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Drop.
    Drop,
    /// Let through.
    Pass,
}

/// [`BUILT_IN_NEVER_BLOCK`] as networks; a test holds that none is lost.
fn built_in_never_block() -> Vec<IpNet> {
    BUILT_IN_NEVER_BLOCK.iter().filter_map(|net| net.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(denied: &str, allowed: &str, never_block: &str) -> Lists {
        let nets = |text: &str| text.split_whitespace().map(|net| net.parse().unwrap()).collect();
        Lists::of(&Desired {
            denied: nets(denied),
            allowed: nets(allowed),
            never_block: nets(never_block),
            ..Desired::default()
        })
    }

    fn passes(lists: &Lists, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        lists.passing(Family::of(address)).hold(address)
    }

    #[test]
    fn the_more_specific_network_decides_and_a_tie_is_allowed() {
        let lists = lists(
            "10.1.0.0/16 192.0.2.1/32 198.51.100.0/24",
            "10.0.0.0/8 10.1.2.0/24 192.0.2.0/24 198.51.100.0/24",
            "",
        );
        for (address, expected) in [
            ("10.9.0.1", true),
            ("10.1.0.1", false),
            ("10.1.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("198.51.100.7", true),
            ("203.0.113.1", false),
        ] {
            assert_eq!(passes(&lists, address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_never_blocked_passes_whatever_is_denied() {
        let lists = lists("0.0.0.0/0 ::/0 192.0.2.1/32", "", "192.0.2.1/32 2001:db8::/64");
        for address in ["127.0.0.1", "0.0.0.0", "::1", "::", "fe80::1", "192.0.2.1", "2001:db8::5"] {
            assert!(passes(&lists, address), "{address}");
        }
        assert!(!passes(&lists, "192.0.2.2") && !passes(&lists, "2001:db8:0:1::"));
    }

    #[test]
    fn every_built_in_network_is_a_network() {
        assert_eq!(built_in_never_block().len(), BUILT_IN_NEVER_BLOCK.len());
    }

    #[test]
    fn single_addresses_and_networks_go_apart() {
        let lists = lists("::ffff:192.0.2.1/128 192.0.2.1/32 10.0.0.0/8 2001:db8::1/128", "", "");
        let singles: Vec<IpAddr> = lists.denied_addresses(Family::V4).collect();
        assert_eq!(singles, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(lists.denied_nets(Family::V4).iter().count(), 1);
        assert_eq!(lists.denied_addresses(Family::V6).count(), 1);
        assert_eq!(lists.denied_nets(Family::V6), Ranges::default());
    }
}
