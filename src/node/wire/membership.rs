//! Commands about the cluster itself: who belongs to it, and what hosts say of themselves.

use std::net::{IpAddr, SocketAddr};

use log_format::event::{Actor, ChapterEvent, Event, HostEvent, HostRole, MembershipEvent, Text};
use log_format::ids::{ChapterNumber, HostId, JoinTokenId};
use projections::decide::CommandBody;
use protobuf::RepeatedField;

use super::{WireError, actor, actor_bytes, address, address_bytes, proto};

pub(super) fn issue_token_message(
    (token, verifier): (JoinTokenId, &[u8; 32]),
    role: HostRole,
    seconds: Option<u64>,
    by: &Actor,
) -> proto::IssueJoinToken {
    let mut issue = proto::IssueJoinToken::new();
    issue.set_token(token.get().to_vec());
    issue.set_verifier(verifier.to_vec());
    issue.set_role(match role {
        HostRole::VoterCapable => proto::IssueJoinToken_Role::VOTER_CAPABLE,
        HostRole::SensorOnly => proto::IssueJoinToken_Role::SENSOR_ONLY,
    });
    if let Some(seconds) = seconds {
        issue.set_seconds(seconds);
    }
    issue.set_by(actor_bytes(by));
    issue
}

pub(super) fn issue_token(issue: &proto::IssueJoinToken) -> Result<CommandBody, WireError> {
    Ok(CommandBody::IssueJoinToken {
        token: token_of(issue.get_token())?,
        verifier: issue.get_verifier().try_into().map_err(|_| WireError::Field("verifier"))?,
        role: match issue.get_role() {
            proto::IssueJoinToken_Role::UNSAID => return Err(WireError::Field("role")),
            proto::IssueJoinToken_Role::VOTER_CAPABLE => HostRole::VoterCapable,
            proto::IssueJoinToken_Role::SENSOR_ONLY => HostRole::SensorOnly,
        },
        seconds: issue.has_seconds().then(|| issue.get_seconds()),
        by: actor(issue.get_by()),
    })
}

pub(super) fn revoke_token_message(token: JoinTokenId, by: &Actor) -> proto::RevokeJoinToken {
    let mut revoke = proto::RevokeJoinToken::new();
    revoke.set_token(token.get().to_vec());
    revoke.set_by(actor_bytes(by));
    revoke
}

pub(super) fn revoke_token(revoke: &proto::RevokeJoinToken) -> Result<CommandBody, WireError> {
    let (token, by) = (token_of(revoke.get_token())?, actor(revoke.get_by()));
    Ok(CommandBody::RevokeJoinToken { token, by })
}

pub(super) fn join_message(
    token: JoinTokenId,
    name: &Text,
    addresses: &[IpAddr],
    peer: SocketAddr,
) -> proto::JoinHost {
    let mut join = proto::JoinHost::new();
    join.set_token(token.get().to_vec());
    join.set_name(name.as_bytes().to_vec());
    join.set_addresses(RepeatedField::from_vec(addresses.iter().copied().map(address_bytes).collect()));
    join.set_peer_address(address_bytes(peer.ip()));
    join.set_peer_port(u32::from(peer.port()));
    join
}

pub(super) fn join(join: &proto::JoinHost) -> Result<CommandBody, WireError> {
    let port = u16::try_from(join.get_peer_port()).map_err(|_| WireError::Field("peer port"))?;
    let addresses: Result<_, _> = join.get_addresses().iter().map(|bytes| address(bytes)).collect();
    Ok(CommandBody::JoinHost {
        token: token_of(join.get_token())?,
        name: Text::new(join.get_name()),
        addresses: addresses?,
        peer: SocketAddr::new(address(join.get_peer_address())?, port),
    })
}

pub(super) fn remove_message(host: HostId, by: &Actor) -> proto::RemoveHost {
    let mut remove = proto::RemoveHost::new();
    remove.set_host(host.get());
    remove.set_by(actor_bytes(by));
    remove
}

pub(super) fn retain_message(chapter: ChapterNumber, by: &Actor) -> proto::CutRetention {
    let mut retain = proto::CutRetention::new();
    retain.set_chapter(chapter.get());
    retain.set_by(actor_bytes(by));
    retain
}

pub(super) fn add_authority_message(certificate: &[u8], by: &Actor) -> proto::AddAuthority {
    let mut add = proto::AddAuthority::new();
    add.set_certificate(certificate.to_vec());
    add.set_by(actor_bytes(by));
    add
}

pub(super) fn retire_authority_message(key_hash: &[u8; 32], by: &Actor) -> proto::RetireAuthority {
    let mut retire = proto::RetireAuthority::new();
    retire.set_key_hash(key_hash.to_vec());
    retire.set_by(actor_bytes(by));
    retire
}

pub(super) fn retire_authority(retire: &proto::RetireAuthority) -> Result<CommandBody, WireError> {
    let key_hash = retire.get_key_hash().try_into().map_err(|_| WireError::Field("key hash"))?;
    Ok(CommandBody::RetireAuthority { key_hash, by: actor(retire.get_by()) })
}

/// What a host says of itself.
pub(super) fn own_fact(event: Event) -> Result<CommandBody, WireError> {
    match event {
        Event::Host(HostEvent::KeyAnnounced(announced)) => Ok(CommandBody::AnnounceKey(announced)),
        Event::Host(HostEvent::SpoolDropped(dropped)) => Ok(CommandBody::DropSpool(dropped)),
        Event::Chapter(ChapterEvent::Witnessed(witnessed)) => Ok(CommandBody::WitnessSeal(witnessed)),
        Event::Host(
            HostEvent::Enrolled(_) | HostEvent::Active(_) | HostEvent::Inactive(_) | HostEvent::Removed(_),
        )
        | Event::Chapter(
            ChapterEvent::Cut(_)
            | ChapterEvent::Sealed(_)
            | ChapterEvent::Erased(_)
            | ChapterEvent::RolledUp(_),
        )
        | Event::Membership(
            MembershipEvent::TokenIssued(_)
            | MembershipEvent::TokenRevoked(_)
            | MembershipEvent::AuthorityAdded(_)
            | MembershipEvent::AuthorityRetired(_)
            | MembershipEvent::ClusterForced(_)
            | MembershipEvent::TailLossAccepted(_),
        )
        | Event::Attack(_)
        | Event::Denylist(_)
        | Event::Settings(_)
        | Event::Erased(_) => Err(WireError::Field("fact of its own")),
    }
}

fn token_of(bytes: &[u8]) -> Result<JoinTokenId, WireError> {
    bytes.try_into().map(JoinTokenId::new).map_err(|_| WireError::Field("token"))
}
