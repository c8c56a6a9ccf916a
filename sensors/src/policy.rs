//! What the rules go by.

use std::net::IpAddr;

use log_format::event::{PortRange, Text};

/// The settings of the sensor; `default()` is the product's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Ports on which SIP is expected.
    pub sip_ports: Vec<PortRange>,
    /// How many bad registrations within a minute tip the rule; 0 is taken as 1.
    pub bad_registrations_per_minute: u32,
    /// Whole words at the start of the User-Agent header, case as written.
    pub blocked_user_agents: Vec<Text>,
    /// How long a proven attacker is blocked.
    pub block_seconds: u64,
    /// How long an unproven one is.
    pub soft_block_seconds: u64,
    /// Addresses that are never blamed: those of the cluster and of what it protects. A protected PBX whose own registration at
    /// a provider fails again and again must not be taken for an attacker.
    pub never: Vec<IpAddr>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            sip_ports: vec![PortRange { first: 5060, last: 5060 }],
            bad_registrations_per_minute: 10,
            blocked_user_agents: [&b"friendly-scanner"[..], b"sipsak", b"Elite"].map(Text::new).to_vec(),
            block_seconds: 3_600,
            soft_block_seconds: 300,
            never: Vec::new(),
        }
    }
}

/// The ports of a policy as a bit for each port: one load for each packet.
#[derive(Debug, Clone)]
pub(crate) struct Ports(Box<[u64]>);

impl Ports {
    pub(crate) fn new(ranges: &[PortRange]) -> Self {
        let mut words = vec![0_u64; 1024];
        for port in ranges.iter().flat_map(|range| range.first..=range.last) {
            if let Some(word) = words.get_mut(usize::from(port / 64)) {
                *word |= 1 << (port % 64);
            }
        }
        Self(words.into_boxed_slice())
    }

    #[inline]
    pub(crate) fn has(&self, port: u16) -> bool {
        self.0.get(usize::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_ranges() {
        let ports = Ports::new(&[
            PortRange { first: 5060, last: 5062 },
            PortRange { first: 65_535, last: 65_535 },
            PortRange { first: 9, last: 3 },
        ]);
        let has: Vec<u16> = (0..=u16::MAX).filter(|port| ports.has(*port)).collect();
        assert_eq!(has, [5060, 5061, 5062, 65_535]);
    }
}
