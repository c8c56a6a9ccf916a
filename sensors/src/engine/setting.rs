//! A policy, made ready for use.

use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::PortRange;

use crate::policy::{Policy, Ports};

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Datagram,
    Connection {
        is_proven: bool,
    },
    /// A telephone system told of it.
    Report {
        is_proven: bool,
    },
}

impl Origin {
    /// Whether the sender has been shown to be at his address.
    pub(super) const fn is_proven(self) -> bool {
        match self {
            Self::Datagram => false,
            Self::Connection { is_proven } | Self::Report { is_proven } => is_proven,
        }
    }
}

/// What the engine goes by.
pub(super) struct Setting {
    pub(super) policy: Policy,
    /// SIP over UDP.
    pub(super) sip: Ports,
    /// SIP over TCP and WebSocket.
    sip_tcp: Ports,
    /// TLS, in which SIP is not seen.
    pub(super) tls: Ports,
    /// All ports whose connections are looked at; also those at which telephone systems say that they received something.
    pub(super) watched_tcp: Ports,
    /// Sorted.
    never: Vec<IpAddr>,
    /// Sorted.
    canaries: Vec<Box<[u8]>>,
}

impl Setting {
    pub(super) fn new(policy: Policy) -> Self {
        let mut never: Vec<IpAddr> = policy.never.iter().map(|address| address.to_canonical()).collect();
        never.sort_unstable();
        let mut canaries: Vec<Box<[u8]>> =
            policy.canary_users.iter().map(|user| user.as_bytes().into()).collect();
        canaries.sort_unstable();
        let tcp: Vec<PortRange> =
            [&policy.sip_ports[..], &policy.sip_tcp_ports, &policy.websocket_ports].concat();
        let watched: Vec<PortRange> = [&tcp[..], &policy.tls_ports].concat();
        Self {
            sip: Ports::new(&policy.sip_ports),
            sip_tcp: Ports::new(&tcp),
            tls: Ports::new(&policy.tls_ports),
            watched_tcp: Ports::new(&watched),
            never,
            canaries,
            policy,
        }
    }

    /// The ports on which SIP is expected.
    pub(super) const fn ports(&self, origin: Origin) -> &Ports {
        match origin {
            Origin::Datagram => &self.sip,
            Origin::Connection { .. } => &self.sip_tcp,
            Origin::Report { .. } => &self.watched_tcp,
        }
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
