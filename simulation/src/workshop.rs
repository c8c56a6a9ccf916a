//! The stand-in for the thread that seals and erases (`palisade::runtime::chapters`): the same work, on the host's disk in
//! memory, one order at a time.

use std::collections::VecDeque;
use std::path::PathBuf;

use log_format::chapter::{self, ChapterError};
use log_format::disk::MemoryDisk;
use log_format::history::History;
use log_format::ids::{ChapterNumber, ClusterId};
use palisade::node::{Input, SealOrder};

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum ChapterOrder {
    /// Seal a chapter.
    Seal(Box<SealOrder>),
    /// Erase the attack data of all chapters up to this one.
    Erase(ChapterNumber),
}

/// What the thread works on.
struct Bench {
    disk: MemoryDisk,
    data: PathBuf,
    cluster: ClusterId,
    history: History<MemoryDisk>,
}

/// One host's chapters and the orders that wait.
#[derive(Default)]
pub(crate) struct Workshop {
    bench: Option<Bench>,
    queue: VecDeque<ChapterOrder>,
    in_flight: Option<ChapterOrder>,
}

impl Workshop {
    /// Begins to work on the chapters of a host that starts.
    pub(crate) fn open(
        &mut self,
        (disk, data): (MemoryDisk, PathBuf),
        cluster: ClusterId,
        history: History<MemoryDisk>,
    ) {
        self.bench = Some(Bench { disk, data, cluster, history });
    }

    /// The host's whole log.
    pub(crate) fn history(&self) -> Option<&History<MemoryDisk>> {
        self.bench.as_ref().map(|bench| &bench.history)
    }

    /// Gives the thread an order.
    pub(crate) fn order(&mut self, order: ChapterOrder) {
        self.queue.push_back(order);
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }

    /// Takes up the next order, if none is under way. Says whether one is under way from now on.
    pub(crate) fn take(&mut self) -> bool {
        let is_free = self.in_flight.is_none();
        if is_free {
            self.in_flight = self.queue.pop_front();
        }
        is_free && self.in_flight.is_some()
    }

    /// The work under way is done, or failed and is to be tried again later. Gives what the node is to hear.
    pub(crate) fn finish(&mut self) -> Result<Option<Input>, ChapterError> {
        let (Some(bench), Some(order)) = (&self.bench, &self.in_flight) else { return Ok(None) };
        let input = bench.work(order)?;
        self.in_flight = None;
        Ok(input)
    }

    /// The process ends: what was under way is done as far as the disk lets it, and nobody hears of it.
    pub(crate) fn end(&mut self) {
        let _ = self.finish();
        (self.bench, self.in_flight) = (None, None);
        self.queue.clear();
    }
}

impl Bench {
    fn work(&self, order: &ChapterOrder) -> Result<Option<Input>, ChapterError> {
        let Self { disk, data, cluster, history } = self;
        match order {
            ChapterOrder::Seal(order) => {
                let log = (*cluster, history);
                let seal = palisade::chapters::seal(disk, data, log, order, &mut || ())?;
                Ok(Some(Input::Sealed { seal: Box::new(seal) }))
            }
            ChapterOrder::Erase(upto) => chapter::erase(disk, data, *upto).map(|_| None),
        }
    }
}
