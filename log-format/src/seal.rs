//! A chapter's seal: what it holds in hashes and counts, chained to the seal before it. Computed over what is said and not
//! over how it is compressed, so every host gets the same.

use std::fmt;

use crate::ids::{ChapterNumber, ClusterId, LogIndex, Term};
use crate::merkle::Hash;
use crate::time::Timestamp;
use crate::wal::bytes::Fields;
use crate::wal::record::{push_conf_state, read_conf_state};
use crate::wal::{ConfState, LogPosition};
use sha2::{Digest, Sha256};

/// Version of the layout of seals and of the files of a chapter.
pub const FORMAT: u16 = 1;
/// Bytes of the largest seal.
pub const MAX_SEAL: usize = FIXED + 4 + 8 * ConfState::MAX_MEMBERS;
const MAGIC: [u8; 8] = *b"ELOGSEAL";
/// Bytes of a seal without its members.
const FIXED: usize = 346;

/// What stands for one file of a chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartSummary {
    /// Bytes before compression.
    pub raw: u64,
    /// Leaves of its tree: entries, or events of the class.
    pub leaves: u64,
    /// The root of its tree.
    pub root: Hash,
}

/// A chapter's seal.
#[derive(Clone, PartialEq, Eq)]
pub struct Seal {
    /// The cluster.
    pub cluster: ClusterId,
    /// The chapter.
    pub chapter: ChapterNumber,
    /// Its first entry.
    pub first: LogPosition,
    /// Its last entry.
    pub last: LogPosition,
    /// When its first command was accepted; zero if it has none.
    pub first_accepted: Timestamp,
    /// When its last command was accepted; zero if it has none.
    pub last_accepted: Timestamp,
    /// Its entries without payloads, then the classes audit, control and attack.
    pub parts: [PartSummary; 4],
    /// The hash of the seal before; zeros before the first.
    pub previous: Hash,
    /// The members once its last entry is applied.
    pub members: ConfState,
}

/// Bytes that are not a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// They are damaged, or something else.
    #[error("is not a seal, or is damaged: {0}")]
    Damaged(&'static str),
    /// A newer version wrote them.
    #[error("has format {0}; a newer version of palisade wrote it")]
    Format(u16),
}

impl Seal {
    /// The hash that stands for everything in the chapter and in all chapters before it.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.hashed()).into()
    }

    /// Whether this chapter goes on where that one ends; `None` stands before the first. It may be another cluster's: one
    /// that was forced to go on from there, which the log itself must say ([`crate::verify`]).
    pub fn follows(&self, before: Option<&Self>) -> bool {
        let (chapter, last, hash) = before.map_or((0, LogIndex::default(), Hash::default()), |before| {
            (before.chapter.get(), before.last.index, before.hash())
        });
        self.chapter.get() == chapter.saturating_add(1)
            && self.first.index == last.next()
            && self.previous == hash
    }

    /// Its bytes: the same on every host.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.hashed();
        bytes.extend(self.hash());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn hashed(&self) -> Vec<u8> {
        let mut members = Vec::new();
        push_conf_state(&mut members, &self.members);
        let length = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
        let mut bytes = Vec::with_capacity(FIXED + members.len());
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(length(FIXED + members.len()));
        bytes.extend(self.cluster.get());
        bytes.extend(self.chapter.get().to_le_bytes());
        for position in [self.first, self.last] {
            bytes.extend(position.index.get().to_le_bytes());
            bytes.extend(position.term.get().to_le_bytes());
        }
        for time in [self.first_accepted, self.last_accepted] {
            bytes.extend(time.nanos().to_le_bytes());
        }
        for part in self.parts {
            bytes.extend(part.raw.to_le_bytes());
            bytes.extend(part.leaves.to_le_bytes());
            bytes.extend(part.root);
        }
        bytes.extend(self.previous);
        bytes.extend(length(members.len()));
        bytes.extend(members);
        bytes
    }

    /// Reads a seal, which must be all of the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let damaged = SealError::Damaged;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(damaged("it is too short"))?;
        if u32::from_le_bytes(*checksum) != crc32c::crc32c(body) {
            return Err(damaged("its checksum is wrong"));
        }
        let (hashed, hash) = body.split_last_chunk::<32>().ok_or(damaged("it is too short"))?;
        let mut fields = Fields::new(hashed);
        if fields.array() != Some(MAGIC) {
            return Err(damaged("it does not begin as one"));
        }
        match fields.u16() {
            Some(FORMAT) => {}
            Some(format) => return Err(SealError::Format(format)),
            None => return Err(damaged("it is too short")),
        }
        let length = fields.u16().map(usize::from);
        let seal = Self::read(&mut fields).ok_or(damaged("its fields make no sense"))?;
        if length != Some(bytes.len()) || seal.hash() != *hash {
            return Err(damaged("its hash or its length is wrong"));
        }
        Ok(seal)
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let cluster = ClusterId::new(fields.array()?);
        let chapter = ChapterNumber::new(fields.u64()?);
        let mut position =
            || Some(LogPosition { index: LogIndex::new(fields.u64()?), term: Term::new(fields.u64()?) });
        let (first, last) = (position()?, position()?);
        let (first_accepted, last_accepted) =
            (Timestamp::from_nanos(fields.u64()?), Timestamp::from_nanos(fields.u64()?));
        let mut parts = [PartSummary::default(); 4];
        for part in &mut parts {
            *part = PartSummary { raw: fields.u64()?, leaves: fields.u64()?, root: fields.array()? };
        }
        let previous = fields.array()?;
        let members = usize::from(fields.u16()?);
        let members = read_conf_state(fields.slice(members)?)?;
        (fields.left() == 0).then_some(Self {
            cluster,
            chapter,
            first,
            last,
            first_accepted,
            last_accepted,
            parts,
            previous,
            members,
        })
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chapter, first, last, .. } = self;
        let hash = self.hash();
        write!(f, "chapter {chapter} ({} to {}) sealed as {}", first.index, last.index, hex(&hash))
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HostId;

    fn seal() -> Seal {
        let position = |index| LogPosition { index: LogIndex::new(index), term: Term::new(2) };
        Seal {
            cluster: ClusterId::new([7; 16]),
            chapter: ChapterNumber::new(1),
            first: position(1),
            last: position(9),
            first_accepted: Timestamp::from_nanos(5),
            last_accepted: Timestamp::from_nanos(6),
            parts: [PartSummary { raw: 3, leaves: 2, root: [9; 32] }; 4],
            previous: Hash::default(),
            members: ConfState::new([1, 2, 3].map(HostId::new), []),
        }
    }

    #[test]
    fn a_seal_survives_its_bytes_and_no_changed_byte_is_taken_for_one() {
        let seal = seal();
        let bytes = seal.encode();
        assert_eq!(Seal::decode(&bytes), Ok(seal));
        assert_eq!(bytes.len(), FIXED + 4 + 24);
        assert_eq!(&bytes[308..310], 28_u16.to_le_bytes());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(Seal::decode(&bad).is_err(), "byte {at}");
            assert!(Seal::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_chain_breaks_where_a_seal_is_another() {
        let one = seal();
        let mut two = Seal { chapter: ChapterNumber::new(2), previous: one.hash(), ..seal() };
        two.first.index = LogIndex::new(10);
        assert!(one.follows(None) && two.follows(Some(&one)) && !two.follows(None));
        let other = Seal { last_accepted: Timestamp::from_nanos(7), ..seal() };
        assert!(!two.follows(Some(&other)));
    }
}
