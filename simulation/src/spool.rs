//! The stand-in for the spool's thread (`palisade::runtime::spool`): the same work on groups of orders, with the production
//! spool, on the host's disk in memory.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use log_format::disk::MemoryDisk;
use log_format::ids::OriginSequence;
use log_format::reserve::SpaceLimits;
use log_format::spool::{Spool, SpoolError, SpoolOptions, SpoolRecord, SpoolSetup};
use log_format::time::Timestamp;
use log_format::wal::{FileStamp, WalIdentity};
use palisade::node::{Spooled, given_before};
use palisade::spooling::{SpoolKeeper, SpoolOrder};

use crate::prng::Prng;

/// Small files, so that a run passes from one to the next; the largest report fits into one.
const FILE_BYTES: u64 = 64 << 10;
/// Orders of one group, as the thread has it.
const GROUP: usize = 4_096;

/// Steps until two spare files of this size are ready and what is too much is removed.
const SPARE_STEPS: u32 = 3;

/// What a group of orders came to.
pub(crate) struct Finished {
    /// For the node.
    pub(crate) told: Vec<Spooled>,
    /// What is on the disk now.
    pub(crate) durable: Vec<SpoolRecord>,
    /// What there was no room for.
    pub(crate) refused: Vec<SpoolRecord>,
    /// Why the process must end.
    pub(crate) result: Result<(), SpoolError>,
}

/// One host's spool and the orders that wait for it.
#[derive(Default)]
pub(crate) struct SpoolThread {
    keeper: Option<SpoolKeeper<MemoryDisk>>,
    queue: VecDeque<SpoolOrder>,
    in_flight: Option<Vec<SpoolOrder>>,
}

impl SpoolThread {
    /// Opens the spool below a data directory, where the log was opened before. Gives the last number that it holds.
    pub(crate) fn open(
        &mut self,
        (disk, data): (&MemoryDisk, &Path),
        (identity, bound_bytes, start): (WalIdentity, u64, u32),
        mut prng: Prng,
    ) -> Result<Option<OriginSequence>, SpoolError> {
        let stamps = move || FileStamp { nonce: prng.next(), created_at: Timestamp::ZERO };
        let options = SpoolOptions { file_bytes: FILE_BYTES, bound_bytes };
        let given_upto = given_before(start);
        let limits = SpaceLimits::NONE;
        let setup = SpoolSetup { identity, options, given_upto, limits, stamps: Box::new(stamps) };
        let (spool, found) = Spool::open(Arc::new(disk.clone()), data, setup)?;
        self.keeper = Some(SpoolKeeper::new(spool));
        Ok(found.last)
    }

    /// Gives the thread an order.
    pub(crate) fn order(&mut self, order: SpoolOrder) {
        self.queue.push_back(order);
    }

    /// Whether orders wait and the thread could take them.
    pub(crate) fn wants_to_work(&self) -> bool {
        self.in_flight.is_none() && !self.queue.is_empty()
    }

    /// The thread takes what waits: records as far as they are in front, and what follows them. The work is under way from
    /// now on.
    pub(crate) fn take(&mut self) {
        let is_record = |order: &SpoolOrder| matches!(order, SpoolOrder::Append(_));
        let records = self.queue.iter().take_while(|order| is_record(order)).count();
        let others = self.queue.iter().skip(records).take_while(|order| !is_record(order)).count();
        self.in_flight = Some(self.queue.drain(..(records + others).min(GROUP)).collect());
    }

    /// The work under way is done.
    pub(crate) fn finish(&mut self) -> Finished {
        let (mut told, mut durable, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let (Some(keeper), Some(orders)) = (&mut self.keeper, self.in_flight.take()) else {
            return Finished { told, durable, refused, result: Ok(()) };
        };
        let records = orders.iter().filter_map(|order| match order {
            SpoolOrder::Append(record) => Some(record.clone()),
            SpoolOrder::Taken(_) | SpoolOrder::LeaveBehind | SpoolOrder::Read { .. } => None,
        });
        let records: Vec<SpoolRecord> = records.collect();
        let result = keeper.carry_out(orders, &mut |answer| told.push(answer));
        // After an error nobody was told of anything; without room for all of them, some are there.
        if result.is_ok() {
            (durable, refused) = records.into_iter().partition(|record| record.sequence <= keeper.last());
        }
        Finished { told, durable, refused, result }
    }

    /// Makes the next files ready. An error there is none of the spool.
    pub(crate) fn prepare_spare(&mut self) {
        if let Some(keeper) = self.keeper.as_mut().filter(|_| self.in_flight.is_none()) {
            for _ in 0..SPARE_STEPS {
                let _ = keeper.prepare_spare();
            }
        }
    }

    /// The process ends: what was under way is done as far as the disk lets it, and nobody hears of it.
    pub(crate) fn end(&mut self) {
        let _ = self.finish();
        self.keeper = None;
        self.queue.clear();
    }
}
