//! What is done to the spool with a group of orders: the work behind [`Output::Spool`](crate::node::Output::Spool) and its
//! like, for whatever thread or simulator does it.

use log_format::disk::{Disk, DiskError};
use log_format::ids::OriginSequence;
use log_format::spool::{Spool, SpoolError, SpoolRecord};

use crate::node::Spooled;

/// What a spool is asked for. The node bounds how many records wait.
#[derive(Debug)]
pub enum SpoolOrder {
    /// Make a record durable.
    Append(SpoolRecord),
    /// Forget everything up to there.
    Taken(OriginSequence),
    /// Let go of everything that was taken, also of what stands in the file that is being written: old attack data is
    /// being erased.
    LeaveBehind,
    /// Read back.
    Read {
        /// From this number on.
        from: OriginSequence,
        /// So many records at most.
        most: usize,
    },
}

/// Carries orders out.
pub struct SpoolKeeper<D: Disk> {
    spool: Spool<D>,
    /// The last number that the log has.
    taken: OriginSequence,
    /// Said once, not for every record.
    is_full: bool,
}

impl<D: Disk> SpoolKeeper<D> {
    /// Works on an opened spool.
    pub fn new(spool: Spool<D>) -> Self {
        Self { spool, taken: OriginSequence::default(), is_full: false }
    }

    /// The last number that is spooled.
    pub fn last(&self) -> OriginSequence {
        self.spool.last()
    }

    /// Carries out what waits, the records at its front with one write and one sync. `tell` is given what the node is to
    /// hear. After an error nobody knows what the disk holds: the process must end.
    pub fn carry_out(
        &mut self,
        orders: impl IntoIterator<Item = SpoolOrder>,
        tell: &mut dyn FnMut(Spooled),
    ) -> Result<(), SpoolError> {
        let (mut records, mut others) = (Vec::new(), Vec::new());
        for order in orders {
            match order {
                // A read gives everything that was given before it, so records after it wait for it.
                SpoolOrder::Append(record) if others.is_empty() => records.push(record),
                order @ (SpoolOrder::Append(_)
                | SpoolOrder::Taken(_)
                | SpoolOrder::LeaveBehind
                | SpoolOrder::Read { .. }) => others.push(order),
            }
        }
        self.append(&records, tell)?;
        others.into_iter().try_for_each(|order| self.carry_out_one(order, tell))
    }

    /// Makes the next file ready, for whoever has nothing better to do.
    pub fn prepare_spare(&mut self) -> Result<(), DiskError> {
        self.spool.prepare_spare().map(drop)
    }

    fn carry_out_one(&mut self, order: SpoolOrder, tell: &mut dyn FnMut(Spooled)) -> Result<(), SpoolError> {
        match order {
            SpoolOrder::Append(record) => self.append(std::slice::from_ref(&record), tell),
            SpoolOrder::Taken(upto) => self.forget(upto),
            SpoolOrder::LeaveBehind => {
                self.spool.close_file();
                self.forget(self.taken)
            }
            SpoolOrder::Read { from, most } => self.read(from, most, tell),
        }
    }

    fn forget(&mut self, upto: OriginSequence) -> Result<(), SpoolError> {
        self.taken = self.taken.max(upto);
        self.spool.acknowledge(self.taken).map(drop)
    }

    fn append(&mut self, records: &[SpoolRecord], tell: &mut dyn FnMut(Spooled)) -> Result<(), SpoolError> {
        let Some(last) = records.last() else { return Ok(()) };
        match self.spool.append(records) {
            Ok(dropped) => {
                for gap in dropped {
                    tracing::warn!(from = %gap.from, to = %gap.to, "the spool is full: the oldest strikes are dropped");
                }
                self.is_full = false;
            }
            Err(
                error @ (SpoolError::NoFile { .. }
                | SpoolError::Low { .. }
                | SpoolError::Full { .. }
                | SpoolError::TooLarge { .. }),
            ) => {
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "observations are kept in memory only; make room on the disk"
                    );
                }
            }
            Err(error) => return Err(error),
        }
        tell(Spooled::Durable { upto: last.sequence, count: records.len() as u64 });
        Ok(())
    }

    /// Places that cannot be read are gaps among the items. Any other error is no end: the node would say that everything
    /// behind it is lost, and have the spool forget what can be read after a new start.
    fn read(
        &mut self,
        from: OriginSequence,
        most: usize,
        tell: &mut dyn FnMut(Spooled),
    ) -> Result<(), SpoolError> {
        let mut items = Vec::new();
        let mut is_end = true;
        for item in self.spool.pending(from) {
            if items.len() == most {
                is_end = false;
                break;
            }
            items.push(item.map_err(|source| SpoolError::Read { source })?);
        }
        tell(Spooled::Read { items, is_end });
        Ok(())
    }
}

#[cfg(test)]
#[path = "spooling_tests.rs"]
mod tests;
