//! Checkpoints of the projections on disk: what a start takes up, so that it folds the log's tail alone.
//!
//! The only user of sled, whose files are not safe from a loss of power. So nothing true lives here: the directory can
//! be deleted at any time, a checkpoint is believed only if its checksum agrees, and whatever goes wrong ends in an empty
//! directory and a fold of the whole log. The release build ends at a panic, also one of sled's, so a mark beside the
//! directory tells the next start that the last one did not survive opening it.

#![expect(clippy::disallowed_methods, reason = "this shell owns the directory of checkpoints")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use projections::frame::{Checkpoint, CheckpointError, Folded, Projection};
use thiserror::Error;

/// The directory below the host's data.
const DIRECTORY: &str = "projections.sled";
/// Where a new directory is filled that takes the other one's place.
const MAKING: &str = "projections.making";
/// Where a directory goes before it is removed, so that a half removed one is never opened.
const DISCARDED: &str = "projections.discarded";
/// Stands while the directory is opened and read for the first time.
const MARK: &str = "projections.opening";
/// What sled may keep in memory: checkpoints are written and read in one go, so a cache serves nobody.
const CACHE_BYTES: u64 = 32 << 20;
/// Bytes of one value: a state is cut into values of a size that sled moves about well.
const CHUNK_BYTES: usize = 1 << 20;
/// How often a locked database is tried again: a second in all, a thousand times what starting a child takes.
const LOCK_TRIES: u32 = 50;
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A checkpoint that could not be written.
#[derive(Debug, Error)]
pub enum CheckpointsError {
    /// The database refused.
    #[error("write a checkpoint")]
    Database(#[from] sled::Error),
    /// The state cannot be encoded.
    #[error("put a state aside")]
    State(#[from] CheckpointError),
    /// A new directory could not take the old one's place.
    #[error("replace the checkpoints by {}", path.display())]
    Replace {
        /// The new directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory could not be opened anew.
    #[error("checkpoints: {0} cannot be opened")]
    Closed(PathBuf),
}

/// Removes the checkpoints of a host that is stopped, whose log is about to say something else.
pub fn remove(data: &Path) -> std::io::Result<()> {
    for name in [DIRECTORY, MAKING, DISCARDED] {
        remove_directory(&data.join(name))?;
    }
    fs::File::open(data)?.sync_all()
}

fn remove_directory(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The directory of checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    data: PathBuf,
    database: Option<sled::Db>,
}

impl Checkpoints {
    /// Opens the directory below the host's data, and takes up what is there. Never fails: what cannot be read is
    /// discarded, and the log is folded instead.
    pub fn open(data: &Path) -> (Self, Folded) {
        let mut checkpoints = Self { data: data.to_owned(), database: None };
        checkpoints.remove_leftover(MAKING);
        checkpoints.remove_leftover(DISCARDED);
        if checkpoints.path(MARK).exists() {
            tracing::warn!("the last start did not survive opening the checkpoints; they are folded anew");
            checkpoints.discard();
        }
        let marked = fs::write(checkpoints.path(MARK), b"");
        if let Err(error) = marked {
            tracing::warn!(%error, "checkpoints stay closed: no mark can be set beside them");
            return (checkpoints, Folded::default());
        }
        checkpoints.database = open_database(&checkpoints.path(DIRECTORY));
        if checkpoints.database.is_none() {
            checkpoints.discard();
            checkpoints.database = open_database(&checkpoints.path(DIRECTORY));
        }
        let folded = Folded { model: checkpoints.take_up(), views: checkpoints.take_up() };
        checkpoints.remove_mark();
        (checkpoints, folded)
    }

    /// Writes both states.
    pub fn save(&self, folded: &Folded) -> Result<(), CheckpointsError> {
        let database =
            self.database.as_ref().ok_or_else(|| CheckpointsError::Closed(self.path(DIRECTORY)))?;
        put_both(database, folded)
    }

    /// Writes both states into a new directory, which then takes the old one's place: sled keeps what was overwritten for a
    /// while, and erased data must not stay. After an error the old one is still there.
    pub fn replace(&mut self, folded: &Folded) -> Result<(), CheckpointsError> {
        let making = self.path(MAKING);
        let moved = |source| CheckpointsError::Replace { path: making.clone(), source };
        remove_directory(&making).map_err(moved)?;
        let database = open_database(&making).ok_or_else(|| CheckpointsError::Closed(making.clone()))?;
        put_both(&database, folded)?;
        drop(database);
        self.database = None;
        self.discard();
        let renamed = fs::rename(&making, self.path(DIRECTORY)).map_err(moved);
        self.database = open_database(&self.path(DIRECTORY));
        renamed
    }

    /// Begins a new directory, empty.
    pub fn renew(&mut self) {
        self.database = None;
        self.discard();
        self.database = open_database(&self.path(DIRECTORY));
    }

    /// The same, empty.
    #[must_use]
    pub fn begin_anew(mut self) -> Self {
        self.renew();
        self
    }

    /// The states on disk, or the beginning.
    pub fn read(&self) -> Folded {
        Folded { model: self.take_up(), views: self.take_up() }
    }

    fn take_up<P: Projection>(&self) -> P {
        let Some(database) = &self.database else { return P::default() };
        match catch_unwind(AssertUnwindSafe(|| get::<P>(database))) {
            Ok(Ok(Some(state))) => {
                tracing::debug!(projection = P::NAME, applied = %state.applied(), "read a checkpoint");
                state
            }
            Ok(Ok(None)) => P::default(),
            Ok(Err(error)) => {
                tracing::warn!(projection = P::NAME, %error, "a checkpoint is not taken up; the log is folded instead");
                P::default()
            }
            Err(_) => {
                tracing::warn!(
                    projection = P::NAME,
                    "a checkpoint cannot be read; the log is folded instead"
                );
                P::default()
            }
        }
    }

    fn discard(&self) {
        let (from, to) = (self.path(DIRECTORY), self.path(DISCARDED));
        if from.exists()
            && let Err(error) = fs::rename(&from, &to)
        {
            tracing::warn!(path = %from.display(), %error, "checkpoints cannot be moved away; delete them");
        }
        self.remove_leftover(DISCARDED);
    }

    fn remove_leftover(&self, name: &str) {
        let path = self.path(name);
        if path.exists()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(path = %path.display(), %error, "old checkpoints cannot be removed; delete them");
        }
    }

    fn remove_mark(&self) {
        if let Err(error) = fs::remove_file(self.path(MARK)) {
            tracing::warn!(%error, "the mark beside the checkpoints stays: the next start folds the whole log");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }
}

/// The tree of a projection's version: whoever goes back to the version before finds its checkpoint.
fn tree_of(name: &str, version: u32) -> String {
    format!("{name}@{version}")
}

/// Opens a database, or gives up. What this process has just closed may still be locked for a moment: by a child that another
/// thread is about to start, which has every open file until it runs its program.
fn open_database(path: &Path) -> Option<sled::Db> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
    let open = || {
        let mut opened = config.open();
        for _ in 0..LOCK_TRIES {
            if !opened.as_ref().is_err_and(is_locked) {
                break;
            }
            std::thread::park_timeout(LOCK_PAUSE);
            opened = config.open();
        }
        opened
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Some(database),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the checkpoints cannot be opened");
            None
        }
        Err(_) => {
            tracing::warn!("the checkpoints cannot be opened: sled panicked");
            None
        }
    }
}

/// Whether sled could not lock its file; it has no kind of error for that.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(source) if source.to_string().contains("could not acquire lock"))
}

fn put_both(database: &sled::Db, folded: &Folded) -> Result<(), CheckpointsError> {
    put(database, &Checkpoint::of(&folded.model)?)?;
    put(database, &Checkpoint::of(&folded.views)?)
}

/// One tree a projection, one batch a checkpoint: the whole of it is there or nothing.
fn put(database: &sled::Db, checkpoint: &Checkpoint) -> Result<(), CheckpointsError> {
    let tree = database.open_tree(tree_of(&checkpoint.name, checkpoint.version))?;
    let bytes = checkpoint.to_bytes()?;
    let mut batch = sled::Batch::default();
    let mut next = 0_u32;
    for chunk in bytes.chunks(CHUNK_BYTES) {
        batch.insert(&next.to_be_bytes(), chunk);
        next = next.saturating_add(1);
    }
    for key in tree.range(next.to_be_bytes()..).keys() {
        batch.remove(key?);
    }
    tree.apply_batch(batch)?;
    tree.flush()?;
    Ok(())
}

fn get<P: Projection>(database: &sled::Db) -> Result<Option<P>, CheckpointsError> {
    let tree = database.open_tree(tree_of(P::NAME, P::VERSION))?;
    let mut bytes = Vec::new();
    for chunk in tree.iter().values() {
        bytes.extend_from_slice(&chunk?);
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(Checkpoint::from_bytes(&bytes)?.open()?))
}

#[cfg(test)]
mod tests;
