//! The firewall actuator: nftables sets that drop blocked addresses, kept in step with what the log says.
//!
//! It owns one table and touches nothing else. The table and its rules are set up once through `nft`; every address
//! goes through one persistent netlink socket, without a process. Blocks carry their end in the kernel, so they end on
//! time on a host that is cut off or whose process is gone. [`Firewall::converge`] reads the kernel back and repairs
//! what differs, so a restart, or somebody's `nft flush ruleset`, costs at most one period.
//!
//! It knows nothing of rules and reasons. It reads no clock (time is an argument), starts no thread, and belongs to the
//! network namespace of the thread that opened it.

mod contents;
mod inspect;
mod kernel;
mod layout;
mod mirror;
mod netlink;
mod nft;
mod parse;
mod privilege;
mod ranges;
mod script;
mod sets;
mod transaction;
mod wire;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use log_format::event::PortRange;
use log_format::time::Timestamp;

pub use contents::{Change, Desired};
pub use layout::{DeviceName, Layout, LayoutError, MAX_DEVICES, TableName};
pub use netlink::NetlinkError;
pub use nft::NftError;
pub use sets::PROVISIONAL_SIZE;
pub use transaction::TransactionError;

use kernel::Kernel;

/// A provisional block lasts no longer: by then the cluster has decided, or the sensor decides again.
pub const PROVISIONAL_LONGEST: Duration = Duration::from_secs(600);

/// What the firewall does, fit for the log, the command line and the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallMode {
    /// Blocked addresses are dropped.
    Enforcing {
        /// On these devices; none: on everything that the host receives.
        devices: Vec<DeviceName>,
    },
    /// Blocked addresses are dropped on some devices only, perhaps on none.
    Partial {
        /// On these devices.
        devices: Vec<DeviceName>,
        /// These are named, and are not there.
        missing: Vec<DeviceName>,
    },
    /// Nothing is dropped.
    WatchOnly {
        /// Why.
        reason: WatchReason,
    },
}

/// Why nothing is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchReason {
    /// The process lacks `CAP_NET_ADMIN`.
    NoCapability,
    /// The process has the capability, and the kernel refuses all the same: it counts in another namespace.
    Forbidden,
}

impl fmt::Display for FirewallMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforcing { devices } if devices.is_empty() => {
                f.write_str("enforcing on all received packets")
            }
            Self::Enforcing { devices } => write!(f, "enforcing on {}", Names(devices)),
            Self::Partial { devices, missing } if devices.is_empty() => {
                write!(f, "not enforcing: no such device: {}", Names(missing))
            }
            Self::Partial { devices, missing } => {
                write!(f, "enforcing on {}; no such device: {}", Names(devices), Names(missing))
            }
            Self::WatchOnly { reason } => write!(f, "watch-only, nothing is dropped: {reason}"),
        }
    }
}

impl fmt::Display for WatchReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCapability => "this process lacks CAP_NET_ADMIN",
            Self::Forbidden => "the kernel refuses this process in this network namespace",
        })
    }
}

/// Names with commas between them.
struct Names<'a>(&'a [DeviceName]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

/// Why the firewall could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The kernel does not say what this process may do.
    #[error("read the capabilities of this process")]
    Capabilities(#[source] std::io::Error),
    /// The kernel does not say which devices there are.
    #[error("read the network devices")]
    Devices(#[source] std::io::Error),
    /// Reading or opening failed.
    #[error("{doing}")]
    Netlink {
        /// What was going on.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: NetlinkError,
    },
    /// The table could not be set up.
    #[error("set up the firewall's table")]
    Nft(#[from] NftError),
    /// Sets could not be changed.
    #[error("change the firewall's sets")]
    Transaction(#[source] TransactionError),
    /// A table of this name belongs to somebody else.
    #[error("table {family} {table} is not palisade's: it lacks the comment; rename one of them")]
    NotOurs {
        /// Its family.
        family: &'static str,
        /// Its name.
        table: String,
    },
}

impl FirewallError {
    /// Adds what was going on.
    const fn netlink(doing: &'static str) -> impl Fn(NetlinkError) -> Self + Copy {
        move |source| Self::Netlink { doing, source }
    }

    fn not_ours(place: wire::Place<'_>) -> Self {
        Self::NotOurs { family: place.family.name(), table: place.table.to_owned() }
    }

    /// Whether the kernel said that this process may not.
    fn is_forbidden(&self) -> bool {
        matches!(self, Self::Netlink { source, .. } if source.is_forbidden())
    }
}

/// Whether the table was as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableState {
    /// It was.
    Intact,
    /// It was missing or different and is right again. After [`Firewall::apply`] its sets may lack elements until
    /// [`Firewall::converge`].
    Rebuilt,
}

/// An address that is not in the set that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The address; of a network its lowest.
    pub address: IpAddr,
    /// Why.
    pub cause: Refusal,
}

/// Why an address is not in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is never blocked, or allowed.
    Allowed,
    /// The set of this name has no room.
    Full(&'static str),
}

/// What [`Firewall::apply`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Elements that are new.
    pub added: usize,
    /// Elements whose time was set anew.
    pub renewed: usize,
    /// Elements that are gone. Before the first convergence also some that were never there.
    pub removed: usize,
    /// What was not granted; no longer than what was asked for.
    pub refused: Vec<Refused>,
    /// If [`TableState::Rebuilt`], converge at once.
    pub table: TableState,
}

/// What [`Firewall::converge`] found different and repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Elements that were missing.
    pub added: usize,
    /// Elements with a wrong end.
    pub renewed: usize,
    /// Elements that did not belong there.
    pub removed: usize,
    /// Elements for which there is no room; no longer than what was asked for.
    pub refused: Vec<Refused>,
    /// How the table was.
    pub table: TableState,
}

impl Drift {
    /// Whether the kernel held exactly what was wanted.
    pub const fn is_none(&self) -> bool {
        let Self { added, renewed, removed, refused, table } = self;
        *added == 0
            && *renewed == 0
            && *removed == 0
            && refused.is_empty()
            && matches!(table, TableState::Intact)
    }
}

/// How much the drop rules of a set have dropped since the table was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropCount {
    /// The set's name in the kernel.
    pub set: &'static str,
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The firewall of this host.
#[derive(Debug)]
pub struct Firewall {
    state: State,
}

/// Whether the kernel can be changed.
#[derive(Debug)]
enum State {
    Watching(WatchReason),
    Acting(Box<Kernel>),
}

impl Firewall {
    /// Takes over the table of a former run, with its elements, or makes one. A process that may not is no error: the
    /// firewall then only watches, and [`Firewall::mode`] says so. Follow with [`Firewall::converge`].
    pub fn open(layout: Layout) -> Result<Self, FirewallError> {
        if !privilege::may_administer().map_err(FirewallError::Capabilities)? {
            return Ok(Self::watching(WatchReason::NoCapability));
        }
        match Kernel::open(layout) {
            Ok(kernel) => Ok(Self { state: State::Acting(Box::new(kernel)) }),
            Err(error) if error.is_forbidden() => Ok(Self::watching(WatchReason::Forbidden)),
            Err(error) => Err(error),
        }
    }

    const fn watching(reason: WatchReason) -> Self {
        Self { state: State::Watching(reason) }
    }

    /// What the firewall does.
    pub fn mode(&self) -> FirewallMode {
        let kernel = match &self.state {
            State::Watching(reason) => return FirewallMode::WatchOnly { reason: *reason },
            State::Acting(kernel) => kernel,
        };
        let devices = kernel.present().to_vec();
        let named = kernel.layout().devices().iter();
        let missing: Vec<DeviceName> = named.filter(|name| !devices.contains(name)).cloned().collect();
        if missing.is_empty() {
            FirewallMode::Enforcing { devices }
        } else {
            FirewallMode::Partial { devices, missing }
        }
    }

    /// Brings changes to the kernel, in transactions of many. The hot path: a few microseconds each.
    pub fn apply(&mut self, changes: &[Change], now: Timestamp) -> Result<Applied, FirewallError> {
        match &mut self.state {
            State::Watching(_) => Ok(Applied {
                added: 0,
                renewed: 0,
                removed: 0,
                refused: Vec::new(),
                table: TableState::Intact,
            }),
            State::Acting(kernel) => kernel.apply(changes, now),
        }
    }

    /// Compares the kernel with everything that is wanted, and repairs what differs: on start, every 30 s, and whenever
    /// [`Firewall::apply`] found the table gone. A provisional block stays until it ends or is lifted.
    pub fn converge(&mut self, desired: &Desired, now: Timestamp) -> Result<Drift, FirewallError> {
        match &mut self.state {
            State::Watching(_) => {
                Ok(Drift { added: 0, renewed: 0, removed: 0, refused: Vec::new(), table: TableState::Intact })
            }
            State::Acting(kernel) => kernel.converge(desired, now),
        }
    }

    /// Closes other ports to soft-blocked addresses from now on. Elements and counts stay.
    pub fn set_sip_ports(&mut self, ports: &[PortRange]) -> Result<TableState, SetPortsError> {
        match &mut self.state {
            State::Watching(_) => Ok(TableState::Intact),
            State::Acting(kernel) => {
                let layout = kernel.layout().with_sip_ports(ports)?;
                Ok(kernel.relayout(layout)?)
            }
        }
    }

    /// What the drop rules dropped, in the order of decision; nothing while watching.
    pub fn drops(&mut self) -> Result<Vec<DropCount>, FirewallError> {
        match &mut self.state {
            State::Watching(_) => Ok(Vec::new()),
            State::Acting(kernel) => kernel.drops(),
        }
    }

    /// Takes the table out of the kernel, and every block with it. Without this call blocks outlive the process and end
    /// by themselves.
    pub fn remove(self) -> Result<(), FirewallError> {
        match self.state {
            State::Watching(_) => Ok(()),
            State::Acting(kernel) => kernel.remove(),
        }
    }
}

/// What a firewall of this process could do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// Blocks would reach the kernel.
    Enforces {
        /// The version of `nft`.
        nft: String,
    },
    /// Nothing could be dropped.
    Watches(WatchReason),
}

/// Looks at what this process could do, and changes nothing.
pub fn doctor() -> Result<Capability, FirewallError> {
    if !privilege::may_administer().map_err(FirewallError::Capabilities)? {
        return Ok(Capability::Watches(WatchReason::NoCapability));
    }
    Ok(Capability::Enforces { nft: nft::version()? })
}

/// Why the SIP ports could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SetPortsError {
    /// They make no sense.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The kernel could not be changed.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<DeviceName> {
        text.split_whitespace().map(|name| DeviceName::try_new(name).unwrap()).collect()
    }

    #[test]
    fn the_mode_says_plainly_what_happens() {
        let check = |mode: FirewallMode, expected: &str| assert_eq!(mode.to_string(), expected);
        check(FirewallMode::Enforcing { devices: Vec::new() }, "enforcing on all received packets");
        check(FirewallMode::Enforcing { devices: names("wan0 wan1") }, "enforcing on wan0, wan1");
        check(
            FirewallMode::Partial { devices: names("wan0"), missing: names("wan1") },
            "enforcing on wan0; no such device: wan1",
        );
        check(
            FirewallMode::Partial { devices: Vec::new(), missing: names("wan1") },
            "not enforcing: no such device: wan1",
        );
        check(
            FirewallMode::WatchOnly { reason: WatchReason::NoCapability },
            "watch-only, nothing is dropped: this process lacks CAP_NET_ADMIN",
        );
    }
}
