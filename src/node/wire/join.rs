//! What a joiner and the cluster tell each other.

use std::net::{IpAddr, SocketAddr};

use log_format::ids::{ClusterId, HostId};
use log_format::wal::ConfState;
use protobuf::Message;

use super::{bytes_of, proto};

/// Who a joiner wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinDetails {
    /// The name that people will see.
    pub name: String,
    /// Where its peers reach it.
    pub address: SocketAddr,
    /// More addresses of its own.
    pub own_addresses: Vec<IpAddr>,
}

/// What a host has to know that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAnswer {
    /// The cluster.
    pub cluster: ClusterId,
    /// The host's own id, for ever.
    pub host: HostId,
    /// The hosts of the cluster, this one too, with name and address.
    pub members: Vec<(HostId, String, SocketAddr)>,
    /// The members before the first entry of the log.
    pub first_members: ConfState,
}

impl JoinDetails {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let Self { name, address, own_addresses } = self;
        let mut message = proto::JoinDetails::new();
        message.set_name(name.clone());
        message.set_address(address.to_string());
        message.set_own_addresses(own_addresses.iter().map(ToString::to_string).collect());
        bytes_of(&message)
    }

    /// What travelled, if it makes sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = proto::JoinDetails::parse_from_bytes(bytes).ok()?;
        Some(Self {
            name: message.get_name().to_owned(),
            address: message.get_address().parse().ok()?,
            own_addresses: message
                .get_own_addresses()
                .iter()
                .map(|text| text.parse().ok())
                .collect::<Option<_>>()?,
        })
    }
}

impl JoinAnswer {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let Self { cluster, host, members, first_members } = self;
        let ids = |hosts: &[HostId]| hosts.iter().map(|host| host.get()).collect::<Vec<_>>();
        let mut message = proto::JoinAnswer::new();
        message.set_cluster(cluster.get().to_vec());
        message.set_host(host.get());
        message.set_first_voters(ids(&first_members.voters));
        message.set_first_learners(ids(&first_members.learners));
        for (host, name, address) in members {
            let mut member = proto::JoinMember::new();
            member.set_host(host.get());
            member.set_name(name.clone());
            member.set_address(address.to_string());
            message.members.push(member);
        }
        bytes_of(&message)
    }

    /// What travelled, if it makes sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = proto::JoinAnswer::parse_from_bytes(bytes).ok()?;
        let hosts = |ids: &[u64]| ids.iter().copied().map(HostId::new).collect::<Vec<_>>();
        let member = |member: &proto::JoinMember| {
            let address = member.get_address().parse().ok()?;
            Some((HostId::new(member.get_host()), member.get_name().to_owned(), address))
        };
        Some(Self {
            cluster: ClusterId::new(message.get_cluster().try_into().ok()?),
            host: HostId::new(message.get_host()),
            members: message.get_members().iter().map(member).collect::<Option<_>>()?,
            first_members: ConfState::new(
                hosts(message.get_first_voters()),
                hosts(message.get_first_learners()),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_joiner_and_the_cluster_say_arrives_as_it_was_sent() {
        let address: SocketAddr = "[2001:db8::1]:7100".parse().unwrap();
        let name = "host4".to_owned();
        let details = JoinDetails { name: name.clone(), address, own_addresses: vec![address.ip()] };
        assert_eq!(JoinDetails::decode(&details.encode()), Some(details));
        let answer = JoinAnswer {
            cluster: ClusterId::new([7; 16]),
            host: HostId::new(4),
            members: vec![(HostId::new(4), name, address)],
            first_members: ConfState::new([1, 2, 3].map(HostId::new), []),
        };
        assert_eq!(JoinAnswer::decode(&answer.encode()), Some(answer));
        assert_eq!(JoinDetails::decode(b"\xff"), None);
    }
}
