//! Makes room in a full spool: the oldest observations go, actions stay.

use std::sync::Arc;

use super::record::{self, Numbered};
use super::segment::{self, Segment, SegmentScan, Step};
use super::{Priority, REWRITTEN_SUFFIX, SPOOL_MAGIC, Spool, SpoolDropped, SpoolError, SpoolOptions, split};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::ids::BatchNumber;
use crate::wal::file_header::FileHeader;
use crate::wal::{BLOCK_BYTES, batch, names};

impl<D: Disk> Spool<D> {
    /// Drops the oldest observations until another file fits the bound.
    pub(super) fn make_room(&mut self) -> Result<Vec<SpoolDropped>, SpoolError> {
        let SpoolOptions { file_bytes, bound_bytes: limit } = self.setup.options;
        let mut dropped = Vec::new();
        while limit < self.bytes().saturating_add(file_bytes) {
            let Some(victim) = self.segments.iter().position(|segment| 0 < segment.observations) else {
                return Err(SpoolError::Full { bytes: self.bytes(), limit });
            };
            let gone = self.drop_observations(victim).map_err(|source| self.poison(source))?;
            dropped.extend(gone);
        }
        Ok(dropped)
    }

    /// Removes a file that holds observations only; writes another one with its actions in its place otherwise.
    fn drop_observations(&mut self, victim: usize) -> Result<Vec<SpoolDropped>, DiskError> {
        let Some(segment) = self.segments.remove(victim) else {
            return Ok(Vec::new());
        };
        let (mut actions, mut observations) = (Vec::new(), Vec::new());
        let mut scan = SegmentScan::new(Arc::clone(&segment.file), &segment.header)?;
        loop {
            match scan.step()? {
                Step::Records(records) => {
                    let (kept, gone) = records
                        .into_iter()
                        .partition(|numbered| numbered.record.priority == Priority::Action);
                    actions.extend::<Vec<Numbered>>(kept);
                    observations.extend::<Vec<Numbered>>(gone);
                }
                Step::Damage { .. } => {}
                Step::End(_) => break,
            }
        }
        #[cfg(bug = "spool_drops_actions")]
        if crate::planted::is_on("spool_drops_actions") {
            actions.clear();
        }
        if actions.is_empty() {
            self.give_up(segment)?;
            self.disk.sync_dir(&self.directory)?;
        } else {
            let rewritten = self.rewrite(&segment, &actions)?;
            self.segments.insert(victim, rewritten);
        }
        Ok(segment::runs(&observations))
    }

    /// Writes a file with these records only, as large as they are, in the place of another one.
    fn rewrite(&self, old: &Segment<D::File>, records: &[Numbered]) -> Result<Segment<D::File>, DiskError> {
        let (mut contents, mut bytes) = (Vec::new(), Vec::new());
        let mut number = old.header.first_batch;
        let mut rest = records;
        while !rest.is_empty() {
            let bytes_of = |numbered: &Numbered| record::record_bytes(&numbered.record);
            let (batch, left) = split(rest, self.batch_limit(), bytes_of);
            rest = left;
            let mut header = record::encode(&mut bytes, batch);
            batch::seal(&mut bytes, &mut header, old.header.nonce, number);
            contents.append(&mut bytes);
            number = BatchNumber::new(number.get().saturating_add(1));
        }
        let file_bytes = BLOCK_BYTES.saturating_add(contents.len() as u64);
        let header = FileHeader { file_bytes, ..old.header.clone() };
        let path = names::log_file(&self.directory, header.sequence);
        let new = self.directory.join(format!("{:016x}{REWRITTEN_SUFFIX}", header.sequence.get()));
        let file = self.disk.create(&new)?;
        file.write_at(0, &header.encode_as(SPOOL_MAGIC))?;
        file.write_at(BLOCK_BYTES, &contents)?;
        file.sync_data()?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_dir(&self.directory)?;
        let mut segment = Segment::new(Arc::new(file), header);
        records.iter().for_each(|numbered| segment.count(numbered));
        Ok(segment)
    }
}
