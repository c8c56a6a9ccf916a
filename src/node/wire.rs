//! Commands, outcomes and soft state as protobuf (`proto/host.proto`): what travels between hosts above Raft.

mod join;
mod membership;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use consensus::core::Status;
use ipnet::IpNet;
use log_format::codec;
use log_format::event::{
    Actor, AttackEvent, ChapterEvent, Event, HostEvent, Kind, SettingsChanged, SettingsEvent, Text,
};
use log_format::ids::{ChapterNumber, CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence};
use log_format::time::Timestamp;
use projections::decide::{BlockItem, Command, CommandBody, Refusal};
use protobuf::{Message, SingularPtrField};
use thiserror::Error;

use super::{DiskState, FirewallState, LocalState, Outcome};

pub use join::{JoinAnswer, JoinDetails};

mod generated {
    //! Generated from `proto/host.proto`.
    #![expect(
        unreachable_pub,
        unused_parens,
        mismatched_lifetime_syntaxes,
        renamed_and_removed_lints,
        clippy::allow_attributes,
        clippy::panic,
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "the generator's style"
    )]
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}
use generated::host as proto;

/// A command from a peer that cannot be taken.
#[derive(Debug, Error)]
pub enum WireError {
    /// Not the message that it should be.
    #[error("command from a peer does not decode: {0}")]
    Protobuf(#[from] protobuf::ProtobufError),
    /// A field has a value that no host of this version sends.
    #[error("command from a peer has a wrong {0}")]
    Field(&'static str),
    /// The fact in it does not decode.
    #[error("command from a peer")]
    Fact(#[from] codec::CodecError),
}

/// What a peer says of itself with every ping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostStatus {
    /// What it folded.
    pub applied: LogIndex,
    /// What it knows to be committed.
    pub commit: LogIndex,
    /// The rest.
    pub state: LocalState,
}

/// Encodes a command for the leader. The leader's own housekeeping does not travel and gives an empty body, which the
/// receiver refuses.
pub fn encode_command(command: &Command) -> Vec<u8> {
    let mut message = proto::Command::new();
    message.set_id(command.id.get().to_vec());
    message.set_host(command.origin.host.get());
    message.set_incarnation(command.origin.incarnation.get());
    message.set_sequence(command.origin.sequence.get());
    message.set_observed_at(command.observed_at.nanos());
    fill_body(&mut message, &command.body);
    bytes_of(&message)
}

#[expect(clippy::too_many_lines, reason = "one flat match, an arm a command")]
fn fill_body(message: &mut proto::Command, body: &CommandBody) {
    match body {
        CommandBody::ReportAttack(attack) => {
            fill_observation(message, Event::Attack(AttackEvent::Observed(attack.clone())));
        }
        CommandBody::CountStrikes(strikes) => {
            fill_observation(message, Event::Attack(AttackEvent::StrikesCounted(strikes.clone())));
        }
        CommandBody::Note(note) => {
            fill_observation(message, Event::Attack(AttackEvent::Noted(note.clone())));
        }
        CommandBody::BlockAddress { source, seconds, note, by } => {
            let mut block = block_message(*source, *seconds, note);
            block.set_by(actor_bytes(by));
            message.set_block(block);
        }
        CommandBody::BlockAddresses { items, by } => {
            let blocks = items.iter().map(|item| block_message(item.source, item.seconds, &item.note));
            let mut all = proto::BlockAddresses::new();
            all.set_items(blocks.collect());
            all.set_by(actor_bytes(by));
            message.set_block_all(all);
        }
        CommandBody::UnblockAddress { source, allow_seconds, by } => {
            let mut unblock = proto::UnblockAddress::new();
            unblock.set_source(address_bytes(*source));
            if let Some(allow_seconds) = allow_seconds {
                unblock.set_allow_seconds(*allow_seconds);
            }
            unblock.set_by(actor_bytes(by));
            message.set_unblock(unblock);
        }
        CommandBody::DenyAddress { network, note, by } => {
            let mut deny = proto::DenyAddress::new();
            deny.set_network(address_bytes(network.addr()));
            deny.set_prefix_length(u32::from(network.prefix_len()));
            deny.set_note(note.as_bytes().to_vec());
            deny.set_by(actor_bytes(by));
            message.set_deny(deny);
        }
        CommandBody::AllowAddress { network, seconds, note, by } => {
            let mut allow = proto::AllowAddress::new();
            allow.set_network(address_bytes(network.addr()));
            allow.set_prefix_length(u32::from(network.prefix_len()));
            if let Some(seconds) = seconds {
                allow.set_seconds(*seconds);
            }
            allow.set_note(note.as_bytes().to_vec());
            allow.set_by(actor_bytes(by));
            message.set_allow(allow);
        }
        CommandBody::ChangeSettings { expected_version, changes, by } => {
            let changed = SettingsChanged { by: by.clone(), changes: changes.clone() };
            message.set_expected_version(*expected_version);
            if let Some(fact) = fact_of(&Event::Settings(SettingsEvent::Changed(changed))) {
                message.set_settings(fact);
            }
        }
        CommandBody::IssueJoinToken { token, verifier, role, seconds, by } => {
            let issue = membership::issue_token_message((*token, verifier), *role, *seconds, by);
            message.set_issue_token(issue);
        }
        CommandBody::RevokeJoinToken { token, by } => {
            message.set_revoke_token(membership::revoke_token_message(*token, by));
        }
        CommandBody::JoinHost { token, name, addresses, peer } => {
            message.set_join(membership::join_message(*token, name, addresses, *peer));
        }
        CommandBody::RemoveHost { host, by } => message.set_remove(membership::remove_message(*host, by)),
        CommandBody::TransferLeadership { to } => {
            let mut transfer = proto::TransferLeadership::new();
            transfer.set_to(to.get());
            message.set_transfer(transfer);
        }
        CommandBody::CutRetention { chapter, by } => {
            message.set_retain(membership::retain_message(*chapter, by));
        }
        CommandBody::AddAuthority { certificate, by } => {
            message.set_add_authority(membership::add_authority_message(certificate, by));
        }
        CommandBody::RetireAuthority { key_hash, by } => {
            message.set_retire_authority(membership::retire_authority_message(key_hash, by));
        }
        CommandBody::AnnounceKey(announced) => {
            fill_own_fact(message, Event::Host(HostEvent::KeyAnnounced(announced.clone())));
        }
        CommandBody::DropSpool(dropped) => {
            fill_own_fact(message, Event::Host(HostEvent::SpoolDropped(dropped.clone())));
        }
        CommandBody::WitnessSeal(witnessed) => {
            fill_own_fact(message, Event::Chapter(ChapterEvent::Witnessed(witnessed.clone())));
        }
        CommandBody::EnrolHost { .. }
        | CommandBody::MarkHostActive { .. }
        | CommandBody::MarkHostInactive { .. }
        | CommandBody::CutChapter { .. }
        | CommandBody::SealChapter(_)
        | CommandBody::RollUpAttacks { .. }
        | CommandBody::ExpireBlocks => {}
    }
}

fn block_message(source: IpAddr, seconds: Option<u64>, note: &Text) -> proto::BlockAddress {
    let mut block = proto::BlockAddress::new();
    block.set_source(address_bytes(source));
    if let Some(seconds) = seconds {
        block.set_seconds(seconds);
    }
    block.set_note(note.as_bytes().to_vec());
    block
}

fn block_item(block: &proto::BlockAddress) -> Result<BlockItem, WireError> {
    Ok(BlockItem {
        source: address(block.get_source())?,
        seconds: block.has_seconds().then(|| block.get_seconds()),
        note: Text::new(block.get_note()),
    })
}

fn fill_own_fact(message: &mut proto::Command, event: Event) {
    if let Some(fact) = fact_of(&event) {
        message.set_own_fact(fact);
    }
}

fn fill_observation(message: &mut proto::Command, event: Event) {
    if let Some(fact) = fact_of(&event) {
        let mut observation = proto::Observation::new();
        observation.fact = SingularPtrField::some(fact);
        message.set_observation(observation);
    }
}

fn fact_of(event: &Event) -> Option<proto::Fact> {
    let mut fact = proto::Fact::new();
    fact.set_kind(u32::from(event.kind().code()));
    fact.set_schema(u32::from(event.kind().schema()));
    fact.set_payload(codec::encode(event).ok()?);
    Some(fact)
}

/// Decodes a peer's command.
pub fn decode_command(bytes: &[u8]) -> Result<Command, WireError> {
    let mut message = proto::Command::parse_from_bytes(bytes)?;
    let id = message.get_id().try_into().map_err(|_| WireError::Field("id"))?;
    let origin = Origin {
        host: HostId::new(message.get_host()),
        incarnation: Incarnation::new(message.get_incarnation()),
        sequence: OriginSequence::new(message.get_sequence()),
    };
    let observed_at = Timestamp::from_nanos(message.get_observed_at());
    let expected_version = message.get_expected_version();
    let body = message.body.take().ok_or(WireError::Field("body"))?;
    Ok(Command { id: CommandId::new(id), origin, observed_at, body: decode_body(body, expected_version)? })
}

fn decode_body(body: proto::Command_oneof_body, expected_version: u64) -> Result<CommandBody, WireError> {
    use proto::Command_oneof_body as Body;
    Ok(match body {
        Body::observation(observation) => match decode_fact(observation.get_fact())? {
            Event::Attack(AttackEvent::Observed(attack)) => CommandBody::ReportAttack(attack),
            Event::Attack(AttackEvent::StrikesCounted(strikes)) => CommandBody::CountStrikes(strikes),
            Event::Attack(AttackEvent::Noted(note)) => CommandBody::Note(note),
            Event::Denylist(_)
            | Event::Settings(_)
            | Event::Host(_)
            | Event::Membership(_)
            | Event::Chapter(_)
            | Event::Erased(_) => {
                return Err(WireError::Field("observation"));
            }
        },
        Body::settings(fact) => match decode_fact(&fact)? {
            Event::Settings(SettingsEvent::Changed(changed)) => {
                CommandBody::ChangeSettings { expected_version, changes: changed.changes, by: changed.by }
            }
            Event::Attack(_)
            | Event::Denylist(_)
            | Event::Host(_)
            | Event::Membership(_)
            | Event::Chapter(_)
            | Event::Erased(_) => {
                return Err(WireError::Field("settings"));
            }
        },
        Body::block(block) => {
            let BlockItem { source, seconds, note } = block_item(&block)?;
            CommandBody::BlockAddress { source, seconds, note, by: actor(block.get_by()) }
        }
        Body::block_all(all) => CommandBody::BlockAddresses {
            items: all.get_items().iter().map(block_item).collect::<Result<_, _>>()?,
            by: actor(all.get_by()),
        },
        Body::unblock(unblock) => CommandBody::UnblockAddress {
            source: address(unblock.get_source())?,
            allow_seconds: unblock.has_allow_seconds().then(|| unblock.get_allow_seconds()),
            by: actor(unblock.get_by()),
        },
        Body::deny(deny) => CommandBody::DenyAddress {
            network: network(deny.get_network(), deny.get_prefix_length())?,
            note: Text::new(deny.get_note()),
            by: actor(deny.get_by()),
        },
        Body::allow(allow) => CommandBody::AllowAddress {
            network: network(allow.get_network(), allow.get_prefix_length())?,
            seconds: allow.has_seconds().then(|| allow.get_seconds()),
            note: Text::new(allow.get_note()),
            by: actor(allow.get_by()),
        },
        Body::own_fact(fact) => membership::own_fact(decode_fact(&fact)?)?,
        Body::issue_token(issue) => membership::issue_token(&issue)?,
        Body::revoke_token(revoke) => membership::revoke_token(&revoke)?,
        Body::join(join) => membership::join(&join)?,
        Body::remove(remove) => {
            CommandBody::RemoveHost { host: HostId::new(remove.get_host()), by: actor(remove.get_by()) }
        }
        Body::transfer(transfer) => CommandBody::TransferLeadership { to: HostId::new(transfer.get_to()) },
        Body::retain(retain) => CommandBody::CutRetention {
            chapter: ChapterNumber::new(retain.get_chapter()),
            by: actor(retain.get_by()),
        },
        Body::add_authority(add) => {
            CommandBody::AddAuthority { certificate: add.get_certificate().to_vec(), by: actor(add.get_by()) }
        }
        Body::retire_authority(retire) => membership::retire_authority(&retire)?,
    })
}

fn decode_fact(fact: &proto::Fact) -> Result<Event, WireError> {
    let code = u16::try_from(fact.get_kind()).map_err(|_| WireError::Field("kind"))?;
    let kind = Kind::from_code(code).ok_or(codec::CodecError::UnknownKind { code })?;
    let schema = u16::try_from(fact.get_schema()).map_err(|_| WireError::Field("schema"))?;
    Ok(codec::decode(kind, schema, fact.get_payload())?)
}

/// Encodes an outcome for the host that forwarded the command.
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    let mut message = proto::Outcome::new();
    match outcome {
        Outcome::Committed { index } => {
            message.set_kind(proto::Outcome_Kind::COMMITTED);
            message.set_index(index.get());
        }
        Outcome::Rejected(Refusal { code, field, detail }) => {
            message.set_kind(proto::Outcome_Kind::REJECTED);
            message.set_code(code.clone());
            message.set_field(field.clone().unwrap_or_default());
            message.set_detail(detail.clone());
        }
        Outcome::Unknown => message.set_kind(proto::Outcome_Kind::UNKNOWN),
        Outcome::Busy => message.set_kind(proto::Outcome_Kind::BUSY),
    }
    bytes_of(&message)
}

/// Decodes an outcome; one that does not decode is unknown, so the command is sent again.
pub fn decode_outcome(bytes: &[u8]) -> Outcome {
    let Ok(mut message) = proto::Outcome::parse_from_bytes(bytes) else { return Outcome::Unknown };
    match message.get_kind() {
        proto::Outcome_Kind::COMMITTED => Outcome::Committed { index: LogIndex::new(message.get_index()) },
        proto::Outcome_Kind::REJECTED => {
            let (code, field, detail) = (message.take_code(), message.take_field(), message.take_detail());
            Outcome::Rejected(Refusal { code, field: (!field.is_empty()).then_some(field), detail })
        }
        proto::Outcome_Kind::BUSY => Outcome::Busy,
        proto::Outcome_Kind::UNKNOWN => Outcome::Unknown,
    }
}

/// Encodes what this host says of itself.
pub fn encode_status(state: &LocalState, status: &Status, applied: LogIndex) -> Vec<u8> {
    let mut message = proto::HostStatus::new();
    message.set_applied(applied.get());
    message.set_commit(status.commit.get());
    message.set_enforced(state.enforced.get());
    message.set_firewall(match state.firewall {
        FirewallState::Off => proto::HostStatus_Firewall::OFF,
        FirewallState::Enforcing => proto::HostStatus_Firewall::ENFORCING,
        FirewallState::WatchOnly => proto::HostStatus_Firewall::WATCH_ONLY,
        FirewallState::Failing => proto::HostStatus_Firewall::FAILING,
    });
    message.set_firewall_detail(state.firewall_detail.clone());
    message.set_is_disk_low(state.disk == DiskState::Low);
    message.set_authority(state.authority.map(|authority| authority.to_vec()).unwrap_or_default());
    message.set_provisional(state.provisional);
    message.set_sensor_source(state.sensor_source.clone());
    message.set_packets(state.packets);
    message.set_sip_messages(state.sip_messages);
    message.set_malformed(state.malformed);
    message.set_dropped(state.dropped);
    message.set_version(state.version.clone());
    message.set_kernel(state.kernel.clone());
    bytes_of(&message)
}

/// Decodes what a peer says of itself.
pub fn decode_status(bytes: &[u8]) -> Option<HostStatus> {
    let mut message = proto::HostStatus::parse_from_bytes(bytes).ok()?;
    let firewall = match message.get_firewall() {
        proto::HostStatus_Firewall::OFF => FirewallState::Off,
        proto::HostStatus_Firewall::ENFORCING => FirewallState::Enforcing,
        proto::HostStatus_Firewall::WATCH_ONLY => FirewallState::WatchOnly,
        proto::HostStatus_Firewall::FAILING => FirewallState::Failing,
    };
    let state = LocalState {
        enforced: LogIndex::new(message.get_enforced()),
        firewall,
        firewall_detail: message.take_firewall_detail(),
        authority: message.get_authority().try_into().ok(),
        disk: if message.get_is_disk_low() { DiskState::Low } else { DiskState::Ample },
        provisional: message.get_provisional(),
        sensor_source: message.take_sensor_source(),
        packets: message.get_packets(),
        sip_messages: message.get_sip_messages(),
        malformed: message.get_malformed(),
        dropped: message.get_dropped(),
        version: message.take_version(),
        kernel: message.take_kernel(),
    };
    let (applied, commit) = (LogIndex::new(message.get_applied()), LogIndex::new(message.get_commit()));
    Some(HostStatus { applied, commit, state })
}

/// Encoding into memory cannot fail for messages without required fields; an empty message is refused by the receiver.
fn bytes_of(message: &impl Message) -> Vec<u8> {
    message.write_to_bytes().unwrap_or_default()
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, WireError> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let octets = <[u8; 16]>::try_from(bytes).map_err(|_| WireError::Field("address"))?;
    Ok(IpAddr::V6(Ipv6Addr::from(octets)))
}

fn network(bytes: &[u8], prefix_length: u32) -> Result<IpNet, WireError> {
    let length = u8::try_from(prefix_length).map_err(|_| WireError::Field("prefix length"))?;
    IpNet::new(address(bytes)?, length).map_err(|_| WireError::Field("prefix length"))
}

pub(crate) fn actor_bytes(by: &Actor) -> Vec<u8> {
    match by {
        Actor::System => Vec::new(),
        Actor::Administrator(name) => name.as_bytes().to_vec(),
    }
}

pub(crate) fn actor(bytes: &[u8]) -> Actor {
    if bytes.is_empty() { Actor::System } else { Actor::Administrator(Text::new(bytes)) }
}

#[cfg(test)]
mod tests {
    use log_format::event::{
        AttackKind, HostKeyAnnounced, HostRole, NoteKind, NoteObserved, Rule, SealWitnessed, SpoolDropped,
    };
    use log_format::ids::JoinTokenId;

    use super::*;

    fn check(body: CommandBody) {
        let origin = Origin {
            host: HostId::new(3),
            incarnation: Incarnation::new(1),
            sequence: OriginSequence::new(9),
        };
        let id = CommandId::new([5; 16]);
        let command = Command { id, origin, observed_at: Timestamp::from_seconds(8), body };
        let decoded = decode_command(&encode_command(&command)).expect("it decodes");
        assert_eq!(decoded, command);
    }

    #[test]
    fn commands_arrive_as_they_were_sent() {
        let by = Actor::Administrator(Text::new(b"ana"));
        let source = IpAddr::from([192, 0, 2, 1]);
        let network = "2001:db8::/32".parse().expect("a network");
        check(CommandBody::BlockAddress { source, seconds: Some(60), note: Text::new(b"n"), by: by.clone() });
        check(CommandBody::UnblockAddress { source, allow_seconds: None, by: Actor::System });
        // No time is not a time of zero, which the leader refuses.
        check(CommandBody::BlockAddress { source, seconds: Some(0), note: Text::default(), by: by.clone() });
        let item = |seconds| BlockItem { source, seconds, note: Text::new(b"n") };
        check(CommandBody::BlockAddresses { items: vec![item(None), item(Some(0))], by: by.clone() });
        check(CommandBody::UnblockAddress { source, allow_seconds: Some(0), by: by.clone() });
        check(CommandBody::AllowAddress { network, seconds: Some(0), note: Text::default(), by: by.clone() });
        check(CommandBody::DenyAddress { network, note: Text::default(), by: by.clone() });
        check(CommandBody::AllowAddress { network, seconds: None, note: Text::default(), by: by.clone() });
        check(CommandBody::ChangeSettings { expected_version: 4, changes: Vec::new(), by });
        check(CommandBody::CountStrikes(log_format::event::StrikesCounted { deltas: Vec::new() }));
        check(CommandBody::Note(NoteObserved {
            kind: NoteKind::RuleObserved,
            source,
            source_port: 5071,
            victim: source,
            victim_port: 5060,
            attack: AttackKind::Register,
            rule: Some(Rule::TollFraud),
            account: Text::new(b"1001@pbx"),
            user_agent: Text::new(b"\xff"),
            count: 3,
            line: Text::new(b"REGISTER sip:pbx SIP/2.0"),
        }));
    }

    #[test]
    fn commands_about_the_cluster_arrive_as_they_were_sent() {
        let by = Actor::Administrator(Text::new(b"ana"));
        let (token, verifier, key_hash) = (JoinTokenId::new([7; 16]), [8; 32], [9; 32]);
        let (host, chapter) = (HostId::new(3), ChapterNumber::new(5));
        let (voter, sensor) = (HostRole::VoterCapable, HostRole::SensorOnly);
        check(CommandBody::IssueJoinToken { token, verifier, role: voter, seconds: None, by: by.clone() });
        check(CommandBody::IssueJoinToken {
            token,
            verifier,
            role: sensor,
            seconds: Some(0),
            by: by.clone(),
        });
        check(CommandBody::RevokeJoinToken { token, by: Actor::System });
        for peer in ["192.0.2.9:7401", "[2001:db8::9]:7401"] {
            let addresses = vec![IpAddr::from([192, 0, 2, 9]), "2001:db8::9".parse().expect("an address")];
            let (name, peer) = (Text::new(b"delta"), peer.parse().expect("an address and port"));
            check(CommandBody::JoinHost { token, name, addresses, peer });
        }
        check(CommandBody::RemoveHost { host, by: by.clone() });
        check(CommandBody::CutRetention { chapter, by: by.clone() });
        check(CommandBody::TransferLeadership { to: HostId::new(4) });
        check(CommandBody::AddAuthority { certificate: vec![1, 2, 3], by: by.clone() });
        check(CommandBody::RetireAuthority { key_hash, by });
        check(CommandBody::AnnounceKey(HostKeyAnnounced { host, key: [4; 32] }));
        let (from, to) = (OriginSequence::new(4), OriginSequence::new(9));
        check(CommandBody::DropSpool(SpoolDropped { host, from, to, count: 6 }));
        check(CommandBody::WitnessSeal(SealWitnessed { chapter, host, signature: vec![6; 64] }));
    }

    #[test]
    fn the_leaders_own_housekeeping_is_refused_from_a_peer() {
        let origin = Origin {
            host: HostId::new(3),
            incarnation: Incarnation::new(1),
            sequence: OriginSequence::new(0),
        };
        let body = CommandBody::ExpireBlocks;
        let command = Command { id: CommandId::default(), origin, observed_at: Timestamp::ZERO, body };
        assert!(matches!(decode_command(&encode_command(&command)), Err(WireError::Field("body"))));
    }

    #[test]
    fn outcomes_arrive_as_they_were_sent() {
        let (code, detail) = ("not_listed".to_owned(), "it is free".to_owned());
        let rejected = Outcome::Rejected(Refusal { code, field: Some("source".to_owned()), detail });
        for outcome in
            [Outcome::Committed { index: LogIndex::new(7) }, rejected, Outcome::Busy, Outcome::Unknown]
        {
            assert_eq!(decode_outcome(&encode_outcome(&outcome)), outcome);
        }
        assert_eq!(decode_outcome(b"\xff\xff"), Outcome::Unknown);
    }
}
