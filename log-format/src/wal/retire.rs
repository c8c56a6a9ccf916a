//! How a log gets shorter: whole files whose entries are kept elsewhere go away, and after a snapshot the log begins anew.
//!
//! ```text
//!  oldest file ──> renamed to a spare in the making, directory synced ──> forgotten by readers ──> zeroed in the background
//!                  (or removed, if there are spares enough)
//! ```
//!
//! One file at a time, the oldest first, each durable before the next: a crash leaves a log without a gap. A file is zeroed
//! only once no reader of this process holds it. What a crash leaves half zeroed is removed at the next start.

use std::sync::Arc;

use super::batch;
use super::index::RetireLimits;
use super::{
    AppendError, Batch, ConfState, Current, Durability, HardState, Health, LogPosition, Wal, cuts, name_file,
    names, spares,
};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::ids::{BatchNumber, LogIndex};

impl<D: Disk> Wal<D> {
    /// Gives up whole files whose entries all lie below an index, and says how many. Their entries must be kept elsewhere,
    /// durably, or be wanted no more; reading them then fails with [`ReadError::Compacted`](super::ReadError::Compacted).
    ///
    /// A file stays while those behind it could not stand alone: without a batch they have no hard state, and the next one's base must
    /// be committed. After an error the log is poisoned, as after a failed append.
    pub fn retire(&mut self, below: LogIndex) -> Result<u64, AppendError> {
        self.refuse_poisoned()?;
        let retired = self.retire_files(below);
        self.poison_on_error(retired)
    }

    /// Replaces the whole log: it begins anew after a snapshot's position, with the snapshot's members. Durable when it
    /// returns; a crash before that leaves the old log or the new one. Batch numbers go on.
    ///
    /// `hard_state` is durable with it; its commit index must be the position's index. After an error from the disk the
    /// log is poisoned.
    pub fn reset(
        &mut self,
        position: LogPosition,
        conf_state: &ConfState,
        hard_state: HardState,
    ) -> Result<(), AppendError> {
        self.refuse_poisoned()?;
        self.check_reset(position, conf_state, &hard_state)?;
        let begun = self.begin_anew(position, conf_state, hard_state);
        self.poison_on_error(begun)
    }

    /// Goes on in a new file if the current one was begun before an index. A file may be retired only as a whole: this keeps
    /// what is to be erased apart from what comes after. What a person had cut off goes away with it. After an error the log is poisoned.
    pub fn leave_behind(&mut self, index: LogIndex) -> Result<(), AppendError> {
        self.refuse_poisoned()?;
        if self.left_behind < index {
            self.left_behind = index;
            let forgotten = cuts::forget(&*self.disk, &self.directory, index);
            self.poison_on_error(forgotten)?;
        }
        if index <= self.current.base || self.index_mut().last().index <= self.current.base {
            return Ok(());
        }
        #[cfg(bug = "nothing_left_behind")]
        if crate::planted::is_on("nothing_left_behind") {
            return Ok(());
        }
        let begun = self.roll().and_then(|()| {
            let hard_state = self.hard_state;
            let only = Batch { hard_state, entries: &[], conf_state: None, durability: Durability::Sync };
            self.write(&only).map(drop)
        });
        self.poison_on_error(begun)
    }

    /// Gives up what a crash left of the log before a snapshot.
    pub(super) fn drop_replaced(&mut self) -> Result<(), DiskError> {
        self.retire_files(LogIndex::default()).map(drop)
    }

    pub(super) fn refuse_poisoned(&self) -> Result<(), AppendError> {
        match self.health {
            Health::Sound => Ok(()),
            Health::Poisoned => Err(AppendError::Poisoned),
        }
    }

    fn poison_on_error<T>(&mut self, done: Result<T, DiskError>) -> Result<T, AppendError> {
        done.map_err(|source| {
            self.health = Health::Poisoned;
            AppendError::Disk { source }
        })
    }

    fn retire_files(&mut self, below: LogIndex) -> Result<u64, DiskError> {
        let limits = RetireLimits { below, commit: self.hard_state.commit, next: self.current.next };
        let mut files = 0;
        loop {
            let index = self.index_mut();
            let (Some(oldest), Some(file)) = (index.retirable(&limits), index.oldest()) else {
                return Ok(files);
            };
            drop(index);
            spares::lock(&self.spares).recycle(&names::log_file(&self.directory, oldest), file)?;
            self.disk.sync_dir(&self.directory)?;
            self.index_mut().retire();
            files += 1;
        }
    }

    fn check_reset(
        &self,
        position: LogPosition,
        conf_state: &ConfState,
        hard_state: &HardState,
    ) -> Result<(), AppendError> {
        if !conf_state.is_canonical() {
            return Err(AppendError::Members);
        }
        let is_older = hard_state.term < self.hard_state.term
            || hard_state.term < position.term
            || position.index < self.hard_state.commit;
        if is_older {
            return Err(AppendError::Backwards);
        }
        if hard_state.commit != position.index {
            return Err(AppendError::Snapshot { position, commit: hard_state.commit });
        }
        Ok(())
    }

    /// The new file has its header and a batch with the hard state before it has its name. The header is durable first:
    /// a spare file whose first block is zero must be blank.
    fn begin_anew(
        &mut self,
        position: LogPosition,
        conf_state: &ConfState,
        hard_state: HardState,
    ) -> Result<(), DiskError> {
        let header = self.next_header(position, conf_state.clone());
        let number = header.first_batch;
        let only = Batch { hard_state, entries: &[], conf_state: None, durability: Durability::Sync };
        let mut batch = batch::encode(&mut self.buffer, &only);
        batch::seal(&mut self.buffer, &mut batch, header.nonce, number);
        let blank = spares::lock(&self.spares).take()?;
        blank.file.write_at(0, &header.encode())?;
        blank.file.sync_data()?;
        blank.file.write_at(super::BLOCK_BYTES, &self.buffer)?;
        blank.file.sync_data()?;
        let file = name_file(&*self.disk, &self.directory, blank, header.sequence)?;
        let mut index = self.index_mut();
        index.restart(position, header.sequence);
        index.add_file(&header, Arc::clone(&file));
        drop(index);
        self.current = Current::at_start(file, &header);
        self.current.offset = self.current.offset.saturating_add(batch.padded_bytes());
        self.current.next = BatchNumber::new(number.get().saturating_add(1));
        self.current.last_crc = batch.header_crc;
        self.hard_state = hard_state;
        self.conf_state.clone_from(conf_state);
        self.drop_replaced()
    }
}
