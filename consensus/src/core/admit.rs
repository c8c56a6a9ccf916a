//! Which messages of a peer reach raft. Raft panics on some that no correct host sends, so they stop here.

use log_format::ids::HostId;
use raft::eraftpb::{Message, MessageType};

use super::{Core, snapshot};

/// Why a message stops here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Inadmissible {
    #[error("it speaks for host {claimed}")]
    ForgedSender { claimed: u64 },
    #[error("it is for host {to}")]
    Misdirected { to: u64 },
    #[error("hosts do not send this kind")]
    Kind,
    #[error("its entries or terms do not hang together")]
    Malformed,
    #[error("this host's log is not durable yet")]
    NotDurable,
    #[error("it is for a leader")]
    NotLeader,
}

pub(super) fn check(core: &Core, from: HostId, message: &Message) -> Result<(), Inadmissible> {
    if message.from != from.get() || from == core.host {
        let claimed = message.from;
        return Err(Inadmissible::ForgedSender { claimed });
    }
    if message.to != core.host.get() {
        return Err(Inadmissible::Misdirected { to: message.to });
    }
    match message.msg_type {
        MessageType::MsgAppend => well_formed(has_term(message) && entries_hang_together(message)),
        // Any other host's raft sends it on, still in the asker's name, which the leader would take for a forgery. The asker
        // asks again.
        MessageType::MsgReadIndex => {
            well_formed(message.entries.len() == 1)?;
            core.leads().then_some(()).ok_or(Inadmissible::NotLeader)
        }
        // A vote may make this host leader, and raft panics on a leader whose log is not durable.
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            well_formed(has_term(message))?;
            core.progress.entries_durable().then_some(()).ok_or(Inadmissible::NotDurable)
        }
        // So may being told to take over; and raft looks for changes of members in what is not durable.
        MessageType::MsgTimeoutNow => {
            well_formed(has_term(message))?;
            core.progress.entries_durable().then_some(()).ok_or(Inadmissible::NotDurable)
        }
        MessageType::MsgSnapshot => well_formed(has_term(message) && snapshot::is_sound(message)),
        MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgReadIndexResp
        | MessageType::MsgRequestPreVote => well_formed(has_term(message)),
        // Local to a host; or forwarded, which hosts do on another layer.
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader => Err(Inadmissible::Kind),
    }
}

fn well_formed(holds: bool) -> Result<(), Inadmissible> {
    holds.then_some(()).ok_or(Inadmissible::Malformed)
}

/// Raft takes a message without a term for one of its own.
fn has_term(message: &Message) -> bool {
    message.term != 0
}

fn entries_hang_together(message: &Message) -> bool {
    let indexes = message.entries.iter().map(|entry| entry.index);
    let expected = message.index.saturating_add(1)..;
    indexes.zip(expected).all(|(index, expected)| index == expected)
        && message.entries.iter().all(|entry| entry.term <= message.term)
        && message.entries.is_sorted_by_key(|entry| entry.term)
}
