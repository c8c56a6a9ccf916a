//! The names, kinds and bounds of the kernel's sets.

use std::net::IpAddr;

/// Elements of a set of dynamic blocks: about 24 MiB of kernel memory when full, and 4 MiB of buckets when empty.
const BLOCKED_SIZE: u32 = 262_144;
/// Elements of a set of unproven, soft-blocked sources: whoever forges sources can fill this set and no other.
const SOFT_SIZE: u32 = 65_536;
/// Elements of a set of provisional blocks: they live for minutes, and this host alone makes them.
pub const PROVISIONAL_SIZE: u32 = 16_384;
/// Single addresses that are denied for good.
const DENIED_SIZE: u32 = 262_144;
/// Interval ends of networks: lookups in interval sets slow down with their size, so large feeds do not belong there.
const NETS_SIZE: u32 = 65_536;

/// What the addresses of a set have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    /// Never dropped.
    AllowedNets,
    /// Single addresses, dropped until a person says otherwise.
    Denied,
    /// Networks, dropped until a person says otherwise.
    DeniedNets,
    /// Dropped for a time.
    Blocked,
    /// Dropped at once by this host, until the cluster has decided.
    Provisional,
    /// Dropped on SIP ports only, for a time.
    Soft,
}

/// The two address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bytes of an address.
    pub(super) const fn key_bytes(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// The highest address as a number.
    pub(super) const fn last(self) -> u128 {
        match self {
            Self::V4 => u32::MAX as u128,
            Self::V6 => u128::MAX,
        }
    }
}

/// How a set holds its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Single addresses that the kernel forgets by itself.
    TimedAddresses,
    /// Single addresses that stay.
    Addresses,
    /// Ranges of addresses that stay.
    Ranges,
}

/// One set in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetId {
    /// What it is for.
    pub(super) list: List,
    /// The family of its addresses.
    pub(super) family: Family,
}

impl SetId {
    /// Every set, in the order of decision.
    pub(super) const ALL: [Self; 12] = [
        Self::new(List::AllowedNets, Family::V4),
        Self::new(List::AllowedNets, Family::V6),
        Self::new(List::Denied, Family::V4),
        Self::new(List::Denied, Family::V6),
        Self::new(List::DeniedNets, Family::V4),
        Self::new(List::DeniedNets, Family::V6),
        Self::new(List::Blocked, Family::V4),
        Self::new(List::Blocked, Family::V6),
        Self::new(List::Provisional, Family::V4),
        Self::new(List::Provisional, Family::V6),
        Self::new(List::Soft, Family::V4),
        Self::new(List::Soft, Family::V6),
    ];

    /// The set of a list and a family.
    pub(super) const fn new(list: List, family: Family) -> Self {
        Self { list, family }
    }

    /// The set's name in the kernel; its drop counter has the same name.
    pub(super) const fn name(self) -> &'static str {
        match (self.list, self.family) {
            (List::AllowedNets, Family::V4) => "allowed_nets4",
            (List::AllowedNets, Family::V6) => "allowed_nets6",
            (List::Denied, Family::V4) => "denied4",
            (List::Denied, Family::V6) => "denied6",
            (List::DeniedNets, Family::V4) => "denied_nets4",
            (List::DeniedNets, Family::V6) => "denied_nets6",
            (List::Blocked, Family::V4) => "blocked4",
            (List::Blocked, Family::V6) => "blocked6",
            (List::Provisional, Family::V4) => "provisional4",
            (List::Provisional, Family::V6) => "provisional6",
            (List::Soft, Family::V4) => "soft4",
            (List::Soft, Family::V6) => "soft6",
        }
    }

    /// How it holds its elements.
    pub(super) const fn holds(self) -> Holds {
        match self.list {
            List::AllowedNets | List::DeniedNets => Holds::Ranges,
            List::Denied => Holds::Addresses,
            List::Blocked | List::Provisional | List::Soft => Holds::TimedAddresses,
        }
    }

    /// How many elements it may hold; the kernel refuses more.
    pub(super) const fn size(self) -> u32 {
        match self.list {
            List::AllowedNets | List::DeniedNets => NETS_SIZE,
            List::Denied => DENIED_SIZE,
            List::Blocked => BLOCKED_SIZE,
            List::Provisional => PROVISIONAL_SIZE,
            List::Soft => SOFT_SIZE,
        }
    }
}
