//! A domain "no": data for the caller, with a stable code and a text that says the field, the reason and what to do.

use std::net::IpAddr;

use ipnet::IpNet;
use log_format::ids::HostId;
use log_format::time::Timestamp;
use thiserror::Error;

use crate::address::Untouchable;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The address may never be blocked.
    #[error("source: {source_address} is {why} and is never blocked; check the address")]
    NeverBlocked {
        /// The address.
        source_address: IpAddr,
        /// What it is.
        why: Untouchable,
    },
    /// The network holds an address that may never be blocked.
    #[error("network: {network} holds {why}, which is never blocked; deny networks without it")]
    HoldsUntouchable {
        /// The network.
        network: IpNet,
        /// What it holds.
        why: Untouchable,
    },
    /// An allowance covers the address or network.
    #[error("source: {} is on the allowlist through {}; shorten that allowance first", shown(.network), shown(.allowed))]
    Allowlisted {
        /// The address or network.
        network: IpNet,
        /// The allowance.
        allowed: IpNet,
    },
    /// An equal or stronger block lasts at least as long.
    #[error(
        "source: {source_address} is already blocked until {until}; choose a longer time or unblock it first"
    )]
    AlreadyBlocked {
        /// The address.
        source_address: IpAddr,
        /// When its block ends.
        until: Timestamp,
    },
    /// It is denied for good.
    #[error("source: {} is already on the denylist through {}; nothing is left to do", shown(.network), shown(.denied))]
    AlreadyDenied {
        /// The address or network.
        network: IpNet,
        /// The denylist's network that holds it.
        denied: IpNet,
    },
    /// The address has no block and no place in the denylist.
    #[error("source: {source_address} is neither blocked nor on the denylist; check the address")]
    NotListed {
        /// The address.
        source_address: IpAddr,
    },
    /// The address is denied through a wider network, which a release of one address cannot end.
    #[error("source: {source_address} is denied through the network {network}; allow the address instead")]
    DeniedByNetwork {
        /// The address.
        source_address: IpAddr,
        /// The denied network.
        network: IpNet,
    },
    /// A list has no room.
    #[error("{list}: all {limit} places are taken; remove entries that are no longer needed")]
    ListFull {
        /// Which list.
        list: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// A number is outside its range.
    #[error("{field}: {value} is not between {least} and {most}; choose a value of that range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The value given.
        value: u64,
        /// The smallest that is accepted.
        least: u64,
        /// The largest that is accepted.
        most: u64,
    },
    /// A network is too wide to be meant.
    #[error("network: {network} is wider than /{shortest}; name smaller networks")]
    NetworkTooWide {
        /// The network.
        network: IpNet,
        /// The shortest prefix accepted.
        shortest: u8,
    },
    /// Somebody else changed the settings first.
    #[error(
        "expected_version: the settings are at version {actual}, not {expected}; read them again and repeat the change"
    )]
    VersionConflict {
        /// What the caller saw.
        expected: u64,
        /// What holds.
        actual: u64,
    },
    /// A change of nothing.
    #[error("changes: none is given; name at least one setting")]
    NothingToChange,
    /// A setting is given twice.
    #[error("{field}: given twice; give it once")]
    Repeated {
        /// The setting.
        field: &'static str,
    },
    /// A list that must not be empty is.
    #[error("{field}: the list is empty; give at least one entry")]
    EmptyList {
        /// The field.
        field: &'static str,
    },
    /// A list is too long.
    #[error("{field}: {count} entries are more than {limit}; shorten the list")]
    TooMany {
        /// The field.
        field: &'static str,
        /// Entries given.
        count: usize,
        /// Entries accepted.
        limit: usize,
    },
    /// An entry is empty or blank.
    #[error("{field}: an entry is blank and would match everything; remove it")]
    BlankEntry {
        /// The field.
        field: &'static str,
    },
    /// A port range is impossible.
    #[error(
        "sip_ports: {first}-{last} is no range of ports; ports start at 1 and a range ends where it starts or later"
    )]
    PortRange {
        /// First port given.
        first: u16,
        /// Last port given.
        last: u16,
    },
    /// No such host.
    #[error("host: {host} does not belong to the cluster; check its id")]
    UnknownHost {
        /// The host.
        host: HostId,
    },
    /// The host was removed.
    #[error("host: {host} was removed and its id is never used again; enrol it under a new id")]
    HostRemoved {
        /// The host.
        host: HostId,
    },
    /// The host still answers.
    #[error("host: {host} is active; stop it and wait until it is inactive")]
    HostStillActive {
        /// The host.
        host: HostId,
    },
}

impl Rejection {
    /// The code that programs rely on; it never changes its meaning.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NeverBlocked { .. } => "never_blocked",
            Self::HoldsUntouchable { .. } => "holds_never_blocked",
            Self::Allowlisted { .. } => "allowlisted",
            Self::AlreadyBlocked { .. } => "already_blocked",
            Self::AlreadyDenied { .. } => "already_denied",
            Self::NotListed { .. } => "not_listed",
            Self::DeniedByNetwork { .. } => "denied_by_network",
            Self::ListFull { .. } => "list_full",
            Self::OutOfRange { .. } => "out_of_range",
            Self::NetworkTooWide { .. } => "network_too_wide",
            Self::VersionConflict { .. } => "version_conflict",
            Self::NothingToChange => "nothing_to_change",
            Self::Repeated { .. } => "repeated",
            Self::EmptyList { .. } => "empty_list",
            Self::TooMany { .. } => "too_many",
            Self::BlankEntry { .. } => "blank_entry",
            Self::PortRange { .. } => "port_range",
            Self::UnknownHost { .. } => "unknown_host",
            Self::HostRemoved { .. } => "host_removed",
            Self::HostStillActive { .. } => "host_still_active",
        }
    }

    /// The field whose value is to blame; `None` if the state of the cluster is.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::OutOfRange { field, .. }
            | Self::Repeated { field }
            | Self::EmptyList { field }
            | Self::TooMany { field, .. }
            | Self::BlankEntry { field } => Some(field),
            Self::PortRange { .. } => Some("sip_ports"),
            Self::NetworkTooWide { .. } => Some("network"),
            Self::NothingToChange => Some("changes"),
            Self::NeverBlocked { .. }
            | Self::HoldsUntouchable { .. }
            | Self::Allowlisted { .. }
            | Self::AlreadyBlocked { .. }
            | Self::AlreadyDenied { .. }
            | Self::NotListed { .. }
            | Self::DeniedByNetwork { .. }
            | Self::ListFull { .. }
            | Self::VersionConflict { .. }
            | Self::UnknownHost { .. }
            | Self::HostRemoved { .. }
            | Self::HostStillActive { .. } => None,
        }
    }
}

/// A rejection as it travels to whoever asked, also through another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// [`Rejection::code`], or that of the host on the way.
    pub code: String,
    /// The field whose value is to blame, if one is.
    pub field: Option<String>,
    /// The rejection's text.
    pub detail: String,
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        Self {
            code: rejection.code().to_owned(),
            field: rejection.field().map(str::to_owned),
            detail: rejection.to_string(),
        }
    }
}

/// A network of one address as that address.
fn shown(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}
