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
            if victim + 1 == self.segments.len() {
                self.mark_end().map_err(|source| self.not_written(source))?;
            }
            dropped.extend(self.drop_observations(victim)?);
        }
        Ok(dropped)
    }

    /// Begins a file that says how far the spool has come and holds nothing else: the newest records are lost or about to be
    /// dropped, and whatever becomes of the process meanwhile, it must be known that they were there.
    pub(super) fn mark_end(&mut self) -> Result<(), DiskError> {
        #[cfg(bug = "spool_end_forgotten")]
        if crate::planted::is_on("spool_end_forgotten") {
            return Ok(());
        }
        let header = self.next_header(BLOCK_BYTES);
        let file = self.write_whole(&header, &[])?;
        self.push_file(Arc::new(file), header);
        Ok(())
    }

    /// Removes a file that holds observations only; writes another one with its actions in its place otherwise.
    fn drop_observations(&mut self, victim: usize) -> Result<Vec<SpoolDropped>, SpoolError> {
        let Some(segment) = self.segments.get(victim) else {
            return Ok(Vec::new());
        };
        let (actions, observations) = part(segment).map_err(|source| self.poison(source))?;
        #[cfg(bug = "spool_drops_actions")]
        let actions = if crate::planted::is_on("spool_drops_actions") { Vec::new() } else { actions };
        let rewritten = match self.segments.get(victim) {
            Some(segment) if !actions.is_empty() => Some(self.rewrite(segment, &actions)),
            Some(_) | None => None,
        };
        let rewritten = rewritten.transpose().map_err(|source| self.not_written(source))?;
        let old = self.segments.remove(victim);
        match (rewritten, old) {
            (Some(rewritten), _) => self.segments.insert(victim, rewritten),
            (None, Some(old)) => {
                let given_up = self.give_up(old).and_then(|()| self.disk.sync_dir(&self.directory));
                given_up.map_err(|source| self.poison(source))?;
            }
            (None, None) => {}
        }
        Ok(segment::runs(&observations))
    }

    /// Without room nothing has changed, and the spool goes on; after any other error nobody knows what the disk holds.
    fn not_written(&mut self, source: DiskError) -> SpoolError {
        if source.is_full() { SpoolError::NoFile { source } } else { self.poison(source) }
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
        let file = self.write_whole(&header, &contents)?;
        let mut segment = Segment::new(Arc::new(file), header);
        records.iter().for_each(|numbered| segment.count(numbered));
        Ok(segment)
    }

    /// Writes a file under another name, durably, and then gives it its own, or leaves no trace.
    fn write_whole(&self, header: &FileHeader, contents: &[u8]) -> Result<D::File, DiskError> {
        let path = names::log_file(&self.directory, header.sequence);
        let new = self.directory.join(format!("{:016x}{REWRITTEN_SUFFIX}", header.sequence.get()));
        let file = self.disk.create(&new)?;
        let written = file
            .write_at(0, &header.encode_as(SPOOL_MAGIC))
            .and_then(|()| if contents.is_empty() { Ok(()) } else { file.write_at(BLOCK_BYTES, contents) })
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.rename(&new, &path));
        if let Err(error) = written {
            let _ = self.disk.remove(&new); // Else the next start does.
            return Err(error);
        }
        self.disk.sync_dir(&self.directory)?;
        Ok(file)
    }
}

/// A file's actions, and its observations.
fn part<F: DiskFile>(segment: &Segment<F>) -> Result<(Vec<Numbered>, Vec<Numbered>), DiskError> {
    let (mut actions, mut observations) = (Vec::new(), Vec::new());
    let mut scan = SegmentScan::new(Arc::clone(&segment.file), &segment.header)?;
    loop {
        match scan.step()? {
            Step::Records(records) => {
                for numbered in records {
                    match numbered.record.priority {
                        Priority::Action => actions.push(numbered),
                        Priority::Observation => observations.push(numbered),
                    }
                }
            }
            Step::Damage { .. } => {}
            Step::End(_) => return Ok((actions, observations)),
        }
    }
}
