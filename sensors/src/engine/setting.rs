//! A policy, made ready for use.

use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::PortRange;

use crate::keyed::Key;
use crate::policy::{Policy, Ports};

/// What the engine goes by.
pub(super) struct Setting {
    pub(super) policy: Policy,
    /// SIP over UDP.
    pub(super) sip: Ports,
    /// SIP over TCP.
    pub(super) sip_tcp: Ports,
    /// Sorted.
    never: Vec<IpAddr>,
    /// Hashes of the canary users, sorted.
    canaries: Vec<Box<[u8]>>,
}

impl Setting {
    pub(super) fn new(policy: Policy, _: Key) -> Self {
        let mut never: Vec<IpAddr> = policy.never.iter().map(|address| address.to_canonical()).collect();
        never.sort_unstable();
        let mut canaries: Vec<Box<[u8]>> =
            policy.canary_users.iter().map(|user| user.as_bytes().into()).collect();
        canaries.sort_unstable();
        let tcp: Vec<PortRange> = [&policy.sip_ports[..], &policy.sip_tcp_ports].concat();
        Self { sip: Ports::new(&policy.sip_ports), sip_tcp: Ports::new(&tcp), never, canaries, policy }
    }

    pub(super) fn is_never(&self, address: IpAddr) -> bool {
        self.never.binary_search(&address).is_ok()
    }

    pub(super) fn is_allowed(&self, address: IpAddr) -> bool {
        has(&self.policy.allowed, address)
    }

    /// Whether nobody is at this address, or of this name.
    pub(super) fn is_decoy(&self, victim: IpAddr, user: &[u8]) -> bool {
        has(&self.policy.decoys, victim)
            || (!self.canaries.is_empty()
                && self.canaries.binary_search_by(|canary| canary.as_ref().cmp(user)).is_ok())
    }
}

fn has(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}
