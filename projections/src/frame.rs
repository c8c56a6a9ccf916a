//! The frame around every projection: a name and a version, a fold, and a state that can be put aside and taken up.
//!
//! A checkpoint saves time at a start and nothing else: it is checked as a whole before it is believed, and a state
//! that is missing, damaged or of another version is folded anew from the log.

use std::fmt;

use log_format::codec::{self, StateError};
use log_format::envelope::Envelope;
use log_format::event::{ChapterEvent, Event};
use log_format::ids::LogIndex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::decide::Model;
use crate::digest::CanonicalHasher;
use crate::read::ReadModels;

/// A fold of the log with a name. Whoever changes what is folded, or the state's fields, raises the version.
pub trait Projection: Default + Clone + Send + Serialize + DeserializeOwned {
    /// The name that people see.
    const NAME: &'static str;
    /// The version of fold and state together.
    const VERSION: u32;

    /// Folds one committed entry. Entries come in log order, each once.
    fn apply(&mut self, index: LogIndex, envelope: &Envelope);

    /// The last entry folded.
    fn applied(&self) -> LogIndex;

    /// The fingerprint of the state: equal on all hosts at equal index.
    fn state_hash(&self) -> [u8; 32];

    /// The state as bytes.
    fn encode(&self) -> Result<Vec<u8>, StateError> {
        codec::encode_state(self)
    }

    /// Reads [`Projection::encode`]. Any bytes give a state or an error; whether that is a state which a fold can
    /// reach only a [`Checkpoint`] knows, so nothing else is to be folded on.
    fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        codec::decode_state(bytes)
    }
}

impl Projection for Model {
    const NAME: &'static str = "decisions";
    const VERSION: u32 = 5;

    fn apply(&mut self, index: LogIndex, envelope: &Envelope) {
        self.evolve(index, envelope);
    }

    fn applied(&self) -> LogIndex {
        Model::applied(self)
    }

    fn state_hash(&self) -> [u8; 32] {
        CanonicalHasher::of(|out| self.digest_into(out))
    }
}

impl Projection for ReadModels {
    const NAME: &'static str = "views";
    const VERSION: u32 = 2;

    fn apply(&mut self, index: LogIndex, envelope: &Envelope) {
        self.evolve(index, envelope);
    }

    fn applied(&self) -> LogIndex {
        ReadModels::applied(self)
    }

    fn state_hash(&self) -> [u8; 32] {
        CanonicalHasher::of(|out| self.digest_into(out))
    }
}

/// Where a projection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The projection.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// The last entry folded.
    pub applied: LogIndex,
    /// The state's fingerprint.
    pub state_hash: [u8; 32],
}

impl Standing {
    /// Where this projection stands; it takes as long as hashing its state.
    pub fn of<P: Projection>(projection: &P) -> Self {
        let (applied, state_hash) = (projection.applied(), projection.state_hash());
        Self { name: P::NAME, version: P::VERSION, applied, state_hash }
    }
}

impl fmt::Display for Standing {
    /// Name and version, as people and files see them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// The projections of a host, as far as they are folded; they may stand at different entries.
#[derive(Debug, Clone, Default)]
pub struct Folded {
    /// What rules are judged against.
    pub model: Model,
    /// What people see.
    pub views: ReadModels,
}

impl Folded {
    /// The entry up to which all are folded.
    pub fn applied(&self) -> LogIndex {
        self.model.applied().min(self.views.applied())
    }

    /// The last entry that any of them has folded.
    pub fn farthest(&self) -> LogIndex {
        self.model.applied().max(self.views.applied())
    }

    /// Folds an entry into whichever has not folded it.
    pub fn fold(&mut self, index: LogIndex, envelope: &Envelope) {
        if self.model.applied() < index {
            self.model.evolve(index, envelope);
        }
        if self.views.applied() < index {
            self.views.evolve(index, envelope);
        }
    }

    /// Where each of them stands.
    pub fn standings(&self) -> [Standing; 2] {
        [Standing::of(&self.model), Standing::of(&self.views)]
    }
}

/// Whether an entry erases attack data, of which old checkpoints may hold copies.
pub fn erases(envelope: &Envelope) -> bool {
    envelope.events.iter().any(|recorded| matches!(recorded.event, Event::Chapter(ChapterEvent::Erased(_))))
}

/// Why a checkpoint is not taken up.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CheckpointError {
    /// It is cut off or changed.
    #[error("checkpoint is damaged: its checksum differs")]
    Damaged,
    /// It is another projection's, or another version's.
    #[error("checkpoint is of {name}@{version}")]
    Foreign {
        /// The projection.
        name: String,
        /// The version.
        version: u32,
    },
    /// The state in it cannot be read or written.
    #[error("checkpoint")]
    State(#[from] StateError),
}

/// A projection's state at a place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The projection.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The last entry folded.
    pub applied: LogIndex,
    /// The state's fingerprint.
    pub state_hash: [u8; 32],
    state: Vec<u8>,
}

/// Bytes of the checksum at the end of a checkpoint.
const CHECKSUM_BYTES: usize = 32;

impl Checkpoint {
    /// Puts a projection's state aside.
    pub fn of<P: Projection>(projection: &P) -> Result<Self, CheckpointError> {
        let (name, version, applied) = (P::NAME.to_owned(), P::VERSION, projection.applied());
        let (state_hash, state) = (projection.state_hash(), projection.encode()?);
        Ok(Self { name, version, applied, state_hash, state })
    }

    /// The checkpoint as bytes, a checksum at their end.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = codec::encode_state(self)?;
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        Ok(bytes)
    }

    /// Reads [`Checkpoint::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (bytes, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(CheckpointError::Damaged)?;
        if Sha256::digest(bytes).as_slice() != checksum {
            return Err(CheckpointError::Damaged);
        }
        Ok(codec::decode_state(bytes)?)
    }

    /// Takes the state up, if it is this projection's and of its version.
    pub fn open<P: Projection>(&self) -> Result<P, CheckpointError> {
        if self.name != P::NAME || self.version != P::VERSION {
            let (name, version) = (self.name.clone(), self.version);
            return Err(CheckpointError::Foreign { name, version });
        }
        let state = P::decode(&self.state)?;
        if state.applied() != self.applied {
            return Err(CheckpointError::Damaged);
        }
        Ok(state)
    }
}
