//! Commands: wishes, in the imperative, that [`super::decide`] may refuse.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::{
    Actor, AttackCount, AttackObserved, ChapterSealed, Event, HostKeyAnnounced, HostRole, NoteObserved,
    SealWitnessed, SettingChange, SpoolDropped, StrikesCounted, Text,
};
use log_format::ids::{BlockId, ChapterNumber, CommandId, HostId, JoinTokenId, LogIndex, Origin, Salt};
use log_format::time::Timestamp;
use sha2::{Digest, Sha256};

/// The identity of whatever the leader does by itself. It is issued anew while it is due, decided against what is there, and
/// remembered by nobody: under an attack it would crowd out what people may repeat. Every other identity is random or a hash.
pub const HOUSEKEEPING: CommandId = CommandId::new([0; 16]);

/// A wish with its identity and its way into the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Seen twice, it takes effect once; unless it is [`HOUSEKEEPING`].
    pub id: CommandId,
    /// Where it entered the cluster. An observation is numbered from 1, in the order in which its host submits; every
    /// other command has the sequence 0.
    pub origin: Origin,
    /// When the host of origin made it, by its own clock.
    pub observed_at: Timestamp,
    /// What is wished.
    pub body: CommandBody,
}

/// Blocks of one [`CommandBody::BlockAddresses`] at most: the entry stays below 64 KiB whatever the notes are, so it delays
/// nobody's by much, and a larger batch gains nothing more.
pub const MAX_BATCH: usize = 64;

/// One block of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockItem {
    /// The address.
    pub source: IpAddr,
    /// For how long; `None`: as long as a first dynamic block.
    pub seconds: Option<u64>,
    /// Why, in a person's words; may be empty.
    pub note: Text,
}

/// What is wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandBody {
    /// A sensor's rule was tipped. A fact: never refused.
    ReportAttack(AttackObserved),
    /// A sensor's strikes of one interval. A fact: never refused; what exceeds [`StrikesCounted::MAX_DELTAS`]
    /// is cut off.
    CountStrikes(StrikesCounted),
    /// Something that a sensor holds worth telling. A fact: never refused, and it costs nobody anything.
    Note(NoteObserved),
    /// Drop an address for a time.
    BlockAddress {
        /// The address.
        source: IpAddr,
        /// For how long; `None`: as long as a first dynamic block.
        seconds: Option<u64>,
        /// Why, in a person's words; may be empty.
        note: Text,
        /// Who wishes it.
        by: Actor,
    },
    /// Drop several addresses for a time: all of them, or none if one is refused.
    BlockAddresses {
        /// Which, for how long and why: 1 to [`MAX_BATCH`], no address twice.
        items: Vec<BlockItem>,
        /// Who wishes it.
        by: Actor,
    },
    /// Drop an address or network until a person says otherwise.
    DenyAddress {
        /// The network; a single address is a full-length prefix.
        network: IpNet,
        /// Why, in a person's words; may be empty.
        note: Text,
        /// Who wishes it.
        by: Actor,
    },
    /// Never drop an address or network. Replaces an earlier allowance of the same network, also by a shorter one.
    AllowAddress {
        /// The network; a single address is a full-length prefix.
        network: IpNet,
        /// For how long; `None`: until a person says otherwise.
        seconds: Option<u64>,
        /// Why, in a person's words; may be empty.
        note: Text,
        /// Who wishes it.
        by: Actor,
    },
    /// End all blocks of an address and its place in the denylist, and forget its strikes.
    UnblockAddress {
        /// The address.
        source: IpAddr,
        /// Never drop it for that long.
        allow_seconds: Option<u64>,
        /// Who wishes it.
        by: Actor,
    },
    /// Change settings that nobody else has changed meanwhile.
    ChangeSettings {
        /// The settings' version that the person saw.
        expected_version: u64,
        /// What to change, each setting at most once.
        changes: Vec<SettingChange>,
        /// Who wishes it.
        by: Actor,
    },
    /// Take a configured host into the cluster, or correct its name and addresses. A host that is in it keeps its role.
    EnrolHost {
        /// The host.
        host: HostId,
        /// The name that people see.
        name: Text,
        /// Its own addresses, which are never blocked.
        addresses: Vec<IpAddr>,
        /// Where its peers reach it; `None`: as known before, or as each host's start-up configuration says.
        peer: Option<SocketAddr>,
    },
    /// Take a host into the cluster that proved a join token's secret. The cluster gives it its id.
    JoinHost {
        /// The token, which this uses up.
        token: JoinTokenId,
        /// The name that people see.
        name: Text,
        /// Its own addresses, which are never blocked.
        addresses: Vec<IpAddr>,
        /// Where its peers reach it.
        peer: SocketAddr,
    },
    /// A host answers again.
    MarkHostActive {
        /// The host.
        host: HostId,
    },
    /// A host has not answered for fifteen seconds.
    MarkHostInactive {
        /// The host.
        host: HostId,
        /// When the leader last heard it.
        last_heard: Timestamp,
    },
    /// Let a host go, also one that answers; its id is never used again, and no peer speaks to it any more.
    RemoveHost {
        /// The host.
        host: HostId,
        /// Who wishes it.
        by: Actor,
    },
    /// Let another host lead. Makes no event: who leads is consensus's own. Whether the host has a vote and answers is for
    /// whoever leads to say.
    TransferLeadership {
        /// The next leader.
        to: HostId,
    },
    /// Let whoever holds a token's secret join once.
    IssueJoinToken {
        /// The token's public name.
        token: JoinTokenId,
        /// What proves the secret without telling it.
        verifier: [u8; 32],
        /// What the host may become.
        role: HostRole,
        /// The token's life; `None`: as long as it may be.
        seconds: Option<u64>,
        /// Who wishes it.
        by: Actor,
    },
    /// Declare a join token void.
    RevokeJoinToken {
        /// The token.
        token: JoinTokenId,
        /// Who wishes it.
        by: Actor,
    },
    /// Trust certificates of this authority.
    AddAuthority {
        /// The authority's certificate, DER.
        certificate: Vec<u8>,
        /// Who wishes it.
        by: Actor,
    },
    /// Trust certificates of this authority no longer.
    RetireAuthority {
        /// SHA-256 of the authority's public key (its SubjectPublicKeyInfo, DER).
        key_hash: [u8; 32],
        /// Who wishes it.
        by: Actor,
    },
    /// A host says with which key it signs. Only for itself.
    AnnounceKey(HostKeyAnnounced),
    /// A host says what its spool forgot, once every observation before that has its outcome. Only for itself.
    DropSpool(SpoolDropped),
    /// Cut a chapter after this entry. The leader's own: [`super::chapters::due`] says when.
    CutChapter {
        /// The chapter's last entry.
        last: LogIndex,
    },
    /// Say what the leader's seal of a chapter is. The leader's own.
    SealChapter(ChapterSealed),
    /// Vouch for a chapter's seal. A host does it for itself only.
    WitnessSeal(SealWitnessed),
    /// Keep counts of a chapter's attacks. The leader's own.
    RollUpAttacks {
        /// The chapter.
        chapter: ChapterNumber,
        /// The counts, in order of day, host and attack.
        counts: Vec<AttackCount>,
    },
    /// Erase the attack data of all chapters up to this one.
    CutRetention {
        /// The last chapter whose attack data goes.
        chapter: ChapterNumber,
        /// Who wishes it.
        by: Actor,
    },
    /// Write down which blocks have ended. The leader's timer submits it at [`super::Model::next_expiry`].
    ExpireBlocks,
}

/// What happens to a command when the leader's disk is nearly full or very much is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Necessity {
    /// It waits at the host that saw it.
    Observation,
    /// It is refused while the disk is nearly full.
    Ordinary,
    /// It is taken as long as anything can be written: it frees somebody, makes room, or keeps the cluster together.
    Necessary,
}

impl CommandBody {
    /// Whether it may wait when the leader's disk is nearly full or very much is under way.
    pub const fn necessity(&self) -> Necessity {
        match self {
            Self::ReportAttack(_) | Self::CountStrikes(_) | Self::Note(_) | Self::DropSpool(_) => {
                Necessity::Observation
            }
            Self::BlockAddress { .. }
            | Self::BlockAddresses { .. }
            | Self::DenyAddress { .. }
            | Self::AllowAddress { .. }
            | Self::ChangeSettings { .. }
            | Self::IssueJoinToken { .. }
            | Self::AddAuthority { .. } => Necessity::Ordinary,
            Self::UnblockAddress { .. }
            | Self::ExpireBlocks
            | Self::EnrolHost { .. }
            | Self::JoinHost { .. }
            | Self::RevokeJoinToken { .. }
            | Self::RetireAuthority { .. }
            | Self::AnnounceKey(_)
            | Self::MarkHostActive { .. }
            | Self::MarkHostInactive { .. }
            | Self::RemoveHost { .. }
            | Self::TransferLeadership { .. }
            | Self::CutChapter { .. }
            | Self::SealChapter(_)
            | Self::WitnessSeal(_)
            | Self::RollUpAttacks { .. }
            | Self::CutRetention { .. } => Necessity::Necessary,
        }
    }
}

/// The identity of a block that a command makes: the first has the command's own; those of a batch that come after it have
/// one that follows from it and from their place.
pub fn block_id(command: CommandId, place: u16) -> BlockId {
    let mut id = command.get();
    if 0 < place {
        let hash = Sha256::new().chain_update(id).chain_update(place.to_be_bytes()).finalize();
        id.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    }
    BlockId::new(id)
}

impl Command {
    /// The identity of a block that this command makes.
    pub(crate) fn block_id(&self) -> BlockId {
        block_id(self.id, 0)
    }

    /// The log entry for what was decided. `accepted_at` is what [`super::Model::next_accepted_at`] said when
    /// it was decided; `salt` is asked once for each erasable event.
    pub fn envelope(
        &self,
        events: Vec<Event>,
        accepted_at: Timestamp,
        salt: &mut dyn FnMut() -> Salt,
    ) -> Envelope {
        let events = events
            .into_iter()
            .map(|event| Recorded {
                observed_at: self.observed_at,
                salt: if event.kind().class().is_erasable() { salt() } else { Salt::default() },
                event,
            })
            .collect();
        Envelope { command: self.id, origin: self.origin, accepted_at, events }
    }
}
