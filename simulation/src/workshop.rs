//! The stand-in for the thread that seals and erases (`palisade::runtime::chapters`): the same work, on the host's disk in
//! memory, one order at a time; chapters of another host one at a time.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;

use consensus::rt::bulk::{BulkError, FilePart};
use log_format::chapter::{self, ChapterError};
use log_format::disk::MemoryDisk;
use log_format::history::History;
use log_format::ids::{ChapterNumber, ClusterId, HostId, LogIndex};
use log_format::merkle::Hash;
use log_format::seal::Seal;
use palisade::chapters::fetch::{self, Donor};
use palisade::node::{CountOrder, Input, SealOrder};

/// What another host gives at once: small, so that files come in parts.
const PART_BYTES: usize = 4 << 10;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum ChapterOrder {
    /// Seal a chapter.
    Seal(Box<SealOrder>),
    /// Count a chapter's attacks.
    Count(CountOrder),
    /// Erase the attack data of all chapters up to this one.
    Erase(ChapterNumber),
    /// Fetch the chapters of these seals from another host, as far as they are not here.
    Fetch {
        /// The other host.
        from: HostId,
        /// The snapshot's index.
        index: LogIndex,
        /// The hashes of the seals, from the first chapter on.
        seals: Vec<Hash>,
    },
}

/// Another host's disk, as far as it can be reached.
#[derive(Clone)]
pub(crate) struct Other {
    pub(crate) host: HostId,
    pub(crate) disk: MemoryDisk,
    pub(crate) data: PathBuf,
}

impl Donor for Other {
    fn file(&mut self, chapter: ChapterNumber, name: &str, offset: u64) -> Result<FilePart, BulkError> {
        let part = fetch::file_part((&self.disk, &self.data), (chapter, name), offset, PART_BYTES);
        part.map_err(|reason| BulkError::Refused { host: self.host, reason })
    }
}

/// How far the work under way has come.
pub(crate) enum Progress {
    /// There is more to do.
    Working,
    /// It is done; the node is to hear of it, or not.
    Done(Option<Input>),
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
    /// The seals of what is fetched, as far as it is here.
    fetched: Vec<Seal>,
    /// Whom it fetches from.
    other: Option<Other>,
    /// Who could not give what is fetched: the next is asked.
    refused: BTreeSet<HostId>,
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

    /// Whom it fetches from, if it does.
    pub(crate) fn fetches_from(&self) -> Option<HostId> {
        match self.in_flight {
            Some(ChapterOrder::Fetch { from, .. }) => Some(from),
            Some(ChapterOrder::Seal(_) | ChapterOrder::Count(_) | ChapterOrder::Erase(_)) | None => None,
        }
    }

    /// Whether a host was asked already, in vain.
    pub(crate) fn was_refused_by(&self, host: HostId) -> bool {
        self.refused.contains(&host)
    }

    /// The other host can be reached, or not.
    pub(crate) fn meet(&mut self, other: Option<Other>) {
        self.other = other;
    }

    /// Takes up the next order, if none is under way. Says whether one is under way from now on.
    pub(crate) fn take(&mut self) -> bool {
        let is_free = self.in_flight.is_none();
        if is_free {
            self.in_flight = self.queue.pop_front();
            self.fetched.clear();
            self.refused.clear();
        }
        is_free && self.in_flight.is_some()
    }

    /// The step under way is done, or failed and is to be tried again later.
    pub(crate) fn finish(&mut self) -> Result<Progress, ChapterError> {
        let (Some(bench), Some(order)) = (&self.bench, &self.in_flight) else {
            return Ok(Progress::Done(None));
        };
        let progress = match order {
            ChapterOrder::Fetch { index, seals, .. } => {
                let asked = self.other.as_ref().map(|other| other.host);
                let progress = bench.fetch((*index, seals), &mut self.fetched, self.other.as_mut());
                match (&progress, asked) {
                    (Progress::Done(Some(Input::FetchFailed { .. })), Some(host)) => {
                        self.refused.insert(host);
                        Progress::Working
                    }
                    _ => progress,
                }
            }
            ChapterOrder::Seal(order) => Progress::Done(Some(bench.seal(order)?)),
            ChapterOrder::Count(order) => {
                let counts = palisade::chapters::count(&bench.history, *order, &mut || ()).ok();
                Progress::Done(Some(Input::Counted { chapter: order.chapter, counts }))
            }
            ChapterOrder::Erase(upto) => {
                chapter::erase(&bench.disk, &bench.data, *upto)?;
                Progress::Done(None)
            }
        };
        if matches!(progress, Progress::Done(_)) {
            self.in_flight = None;
        }
        Ok(progress)
    }

    /// The process ends: what was under way is done as far as the disk lets it, and nobody hears of it.
    pub(crate) fn end(&mut self) {
        let _ = self.finish();
        (self.bench, self.in_flight, self.other) = (None, None, None);
        self.queue.clear();
    }
}

impl Bench {
    fn seal(&self, order: &SealOrder) -> Result<Input, ChapterError> {
        let Self { disk, data, cluster, history } = self;
        let seal = palisade::chapters::seal(disk, data, (*cluster, history), order, &mut || ())?;
        Ok(Input::Sealed { seal: Box::new(seal) })
    }

    /// Fetches the next chapter that is not here.
    fn fetch(
        &self,
        (index, hashes): (LogIndex, &[Hash]),
        fetched: &mut Vec<Seal>,
        other: Option<&mut Other>,
    ) -> Progress {
        let next = hashes.get(fetched.len()).zip(other);
        let seal =
            next.map(|(hash, other)| fetch::chapter((&self.disk, &self.data), other, *hash, fetched.last()));
        let Some(Ok(seal)) = seal else { return Progress::Done(Some(Input::FetchFailed { index })) };
        fetched.push(seal);
        if fetched.len() < hashes.len() {
            return Progress::Working;
        }
        Progress::Done(Some(Input::Fetched { index, seals: std::mem::take(fetched) }))
    }
}
