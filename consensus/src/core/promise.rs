//! What a message promises of its sender. Raft is safe as long as promises are kept over every crash; whoever watches
//! hosts from outside, as the simulator does, checks that they are.

use log_format::ids::{HostId, LogIndex, Term};
use raft::eraftpb::{Message, MessageType};

use super::entry;

/// What a host must not forget once it has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Its vote of this term is this host's.
    Vote {
        /// The term.
        term: Term,
        /// Whom it voted for.
        candidate: HostId,
    },
    /// It has the leader's entries on its disk.
    Entries {
        /// The leader's term.
        term: Term,
        /// Up to there.
        upto: LogIndex,
    },
}

impl Promise {
    /// Reads a message; most promise nothing.
    pub fn of(message: &Message) -> Option<Self> {
        let term = Term::new(message.term);
        if message.reject {
            return None;
        }
        if message.msg_type == MessageType::MsgRequestVoteResponse {
            return entry::host(message.to).map(|candidate| Self::Vote { term, candidate });
        }
        let upto = LogIndex::new(message.index);
        (message.msg_type == MessageType::MsgAppendResponse).then_some(Self::Entries { term, upto })
    }
}
