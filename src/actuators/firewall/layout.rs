//! Where and how the firewall hooks into the kernel. Values of these types cannot carry anything but a name into a script.

use std::fmt;

use log_format::event::PortRange;
use projections::decide::MAX_PORT_RANGES;

/// Devices of one host: a chain holds no more (`NFT_NETDEVICE_MAX` of the kernel).
pub const MAX_DEVICES: usize = 256;
/// Bytes of a device name: the kernel's `IFNAMSIZ` without its closing zero.
const MAX_DEVICE_NAME: usize = 15;
/// Bytes of a table name; the kernel takes more, people do not.
const MAX_TABLE_NAME: usize = 32;

/// A layout that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not a device name that is safe to write down.
    #[error("device name {0:?}: letters, digits, '.', '_', '-' and at most {MAX_DEVICE_NAME} bytes")]
    Device(String),
    /// Not a table name that is safe to write down.
    #[error("table name {0:?}: a letter, then letters, digits and '_', at most {MAX_TABLE_NAME} bytes")]
    Table(String),
    /// Too many devices.
    #[error("{0} devices, at most {MAX_DEVICES}")]
    TooManyDevices(usize),
    /// No port, or too many ranges.
    #[error("{0} ranges of sip ports, from 1 to {MAX_PORT_RANGES}")]
    PortRanges(usize),
    /// A range that ends before it begins.
    #[error("sip ports {first}-{last} end before they begin")]
    PortOrder {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
}

/// The name of a network device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceName(String);

impl DeviceName {
    /// Checks the name.
    pub fn try_new(name: &str) -> Result<Self, LayoutError> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=MAX_DEVICE_NAME).contains(&name.len()) && !name.starts_with(['-', '.']);
        if fits && name.bytes().all(safe) {
            Ok(Self(name.to_owned()))
        } else {
            Err(LayoutError::Device(name.to_owned()))
        }
    }

    /// The name.
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the firewall's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName(String);

impl TableName {
    /// Checks the name.
    pub fn try_new(name: &str) -> Result<Self, LayoutError> {
        let fits =
            name.len() <= MAX_TABLE_NAME && name.starts_with(|first: char| first.is_ascii_alphabetic());
        if fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            Ok(Self(name.to_owned()))
        } else {
            Err(LayoutError::Table(name.to_owned()))
        }
    }

    /// The name.
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl Default for TableName {
    fn default() -> Self {
        Self("palisade".to_owned())
    }
}

/// Where the firewall looks at packets, and what counts as SIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    devices: Vec<DeviceName>,
    table: TableName,
    sip_ports: Vec<PortRange>,
}

impl Layout {
    /// Checks a layout. Without devices every packet that the host receives is looked at, before connection tracking.
    pub fn try_new(devices: &[&str], table: TableName, sip_ports: &[PortRange]) -> Result<Self, LayoutError> {
        if devices.len() > MAX_DEVICES {
            return Err(LayoutError::TooManyDevices(devices.len()));
        }
        let mut devices: Vec<DeviceName> =
            devices.iter().map(|name| DeviceName::try_new(name)).collect::<Result<_, _>>()?;
        devices.sort();
        devices.dedup();
        Ok(Self { devices, table, sip_ports: merged_ports(sip_ports)? })
    }

    /// The same layout with other SIP ports.
    pub fn with_sip_ports(&self, sip_ports: &[PortRange]) -> Result<Self, LayoutError> {
        Ok(Self {
            devices: self.devices.clone(),
            table: self.table.clone(),
            sip_ports: merged_ports(sip_ports)?,
        })
    }

    /// The devices, sorted; none: all packets that the host receives.
    pub fn devices(&self) -> &[DeviceName] {
        &self.devices
    }

    /// The table's name.
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// The ports that soft blocks close: sorted, apart from each other.
    pub fn sip_ports(&self) -> &[PortRange] {
        &self.sip_ports
    }

    /// The family of the table.
    pub(super) fn family(&self) -> TableFamily {
        if self.devices.is_empty() { TableFamily::Inet } else { TableFamily::Netdev }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            table: TableName::default(),
            sip_ports: vec![PortRange { first: 5060, last: 5060 }],
        }
    }
}

/// Sorts ranges and joins those that touch: the kernel refuses ranges that overlap.
fn merged_ports(ranges: &[PortRange]) -> Result<Vec<PortRange>, LayoutError> {
    let mut sorted = ranges.to_vec();
    sorted.sort();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        let PortRange { first, last } = range;
        if last < first {
            return Err(LayoutError::PortOrder { first, last });
        }
        match merged.last_mut() {
            Some(before) if first <= before.last.saturating_add(1) => before.last = before.last.max(last),
            Some(_) | None => merged.push(range),
        }
    }
    if merged.is_empty() || merged.len() > MAX_PORT_RANGES {
        return Err(LayoutError::PortRanges(merged.len()));
    }
    Ok(merged)
}

/// The kernel's family of a table: it decides which hooks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableFamily {
    /// Hooks of the IP stack.
    Inet,
    /// Hooks of network devices.
    Netdev,
}

impl TableFamily {
    /// The family's name in a script.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Netdev => "netdev",
        }
    }

    /// The family's number on the wire (`NFPROTO_INET`, `NFPROTO_NETDEV`).
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Netdev => 5,
        }
    }

    /// The other family.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Inet => Self::Netdev,
            Self::Netdev => Self::Inet,
        }
    }

    /// The chain's hook number (`NF_INET_PRE_ROUTING`, `NF_NETDEV_INGRESS`); both are the first of their family.
    pub(super) const fn hook_number(self) -> u32 {
        0
    }

    /// The chain's hook and priority in a script. On a device Palisade comes before everybody else; in the stack it
    /// comes before connection tracking (priority -200), so that blocked packets cost no entry there.
    pub(super) const fn hook(self) -> (&'static str, i32) {
        match self {
            Self::Inet => ("prerouting", -300),
            Self::Netdev => ("ingress", -500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    #[test]
    fn names_that_could_leave_a_script_are_refused() {
        for name in ["", "eth0;", "a b", "\"", "eth0\n", "-f", "*", "sixteen-bytes-xx", "é", ".."] {
            assert_eq!(DeviceName::try_new(name), Err(LayoutError::Device(name.to_owned())), "{name}");
        }
        for name in ["", "4x", "a b", "a;", "a-b", "x\"", "überall"] {
            assert_eq!(TableName::try_new(name), Err(LayoutError::Table(name.to_owned())), "{name}");
        }
        assert_eq!(
            DeviceName::try_new("br-0.100").map(|name| name.get().to_owned()),
            Ok("br-0.100".to_owned())
        );
    }

    #[test]
    fn ports_are_sorted_and_joined() {
        let layout = Layout::default()
            .with_sip_ports(&[ports(5080, 5080), ports(5061, 5065), ports(5060, 5061), ports(65535, 65535)])
            .unwrap();
        assert_eq!(layout.sip_ports(), [ports(5060, 5065), ports(5080, 5080), ports(65535, 65535)]);
    }

    #[test]
    fn ports_that_make_no_sense_are_refused() {
        let refused = |ranges: &[PortRange]| Layout::default().with_sip_ports(ranges).unwrap_err();
        assert_eq!(refused(&[]), LayoutError::PortRanges(0));
        assert_eq!(refused(&[ports(2, 1)]), LayoutError::PortOrder { first: 2, last: 1 });
        let many: Vec<PortRange> = (0..65).map(|at| ports(at * 10 + 1, at * 10 + 1)).collect();
        assert_eq!(refused(&many), LayoutError::PortRanges(65));
        assert!(Layout::default().with_sip_ports(&many[..MAX_PORT_RANGES]).is_ok());
    }

    #[test]
    fn devices_are_sorted_and_named_once() {
        let layout =
            Layout::try_new(&["wan1", "wan0", "wan1"], TableName::default(), &[ports(5060, 5060)]).unwrap();
        let names: Vec<&str> = layout.devices().iter().map(DeviceName::get).collect();
        assert_eq!(names, ["wan0", "wan1"]);
    }
}
