//! The thread that seals chapters, erases what is too old, and fetches what this host lacks. It works in small steps beside
//! a busy host, and never in its way: the driver hands it orders and hears of what is done.
//!
//! ```text
//!  driver ──Seal, Erase, Fetch──> thread ──Sealed, Fetched, FetchFailed──> inbox
//! ```

pub mod fetch;
pub mod repair;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use consensus::rt::bulk::{BulkClient, FilePart};
use log_format::chapter::{self, ChapterError, Part};
use log_format::disk::{Access, Disk, DiskError, DiskFile, StdDisk};
use log_format::history::History;
use log_format::ids::{ChapterNumber, ClusterId, HostId};
use log_format::merkle::Hash;
use log_format::seal::Seal;
use log_format::wal::{LogPosition, WalIdentity};
use tokio::runtime::Handle;

use self::fetch::Connected;
use super::driver::{Addresses, Shared};
use super::inbox::{Inbox, NotTaken};
use super::renewal::Files;
use crate::chapters;
use crate::node::{Input, SealOrder};

/// After a failed attempt (a full disk, say) the next comes so much later.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Entries between two pauses, and how long one is: a chapter of the usual size takes a second and a tenth of a core.
const STEP: u32 = 256;
/// See [`STEP`].
const PAUSE: Duration = Duration::from_millis(2);

/// What is to be done.
pub(super) enum Order {
    /// Seal a chapter.
    Seal(Box<SealOrder>),
    /// Erase the attack data of all chapters up to this one.
    Erase(ChapterNumber),
    /// Fetch the chapters of these seals, as far as they are not here.
    Fetch {
        /// A host that has them.
        from: HostId,
        /// What they stand for.
        at: LogPosition,
        /// The hashes of the seals, from the first chapter on.
        seals: Vec<Hash>,
    },
}

/// The way to the thread. It holds a few orders at most: one seal, and an erasure for each retention cut.
#[derive(Clone)]
pub(super) struct Orders(Sender<Order>);

impl Orders {
    pub(super) fn give(&self, order: Order) {
        let _ = self.0.send(order); // Without the thread the process is about to end.
    }
}

/// What the thread works on.
pub(super) struct Workshop {
    pub(super) cluster: ClusterId,
    pub(super) data: PathBuf,
    pub(super) history: Arc<History<StdDisk>>,
    pub(super) inbox: Inbox,
    pub(super) peers: Peers,
}

/// How other hosts are reached.
pub(super) struct Peers {
    pub(super) tokio: Handle,
    pub(super) files: Files,
    pub(super) identity: WalIdentity,
    pub(super) addresses: Addresses,
    pub(super) shared: Arc<Shared>,
}

/// Starts the thread.
pub(super) fn start(workshop: Workshop) -> std::io::Result<Orders> {
    let (orders, waiting) = channel();
    std::thread::Builder::new().name("chapters".to_owned()).spawn(move || workshop.run(&waiting))?;
    Ok(Orders(orders))
}

impl Workshop {
    fn run(self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            while let Err(error) = self.do_one(&order) {
                tracing::error!(error = %anyhow::Error::from(error), "work on chapters failed; it is tried again");
                std::thread::park_timeout(TRY_AGAIN);
            }
        }
    }

    fn do_one(&self, order: &Order) -> Result<(), ChapterError> {
        match order {
            Order::Seal(order) => {
                let mut steps = 0;
                let mut pause = || {
                    steps += 1;
                    if steps % STEP == 0 {
                        std::thread::park_timeout(PAUSE);
                    }
                };
                let log = (self.cluster, &*self.history);
                let seal = chapters::seal(&StdDisk, &self.data, log, order, &mut pause)?;
                tracing::info!(%seal, "chapter sealed");
                self.tell(&|| Input::Sealed { seal: Box::new(seal.clone()) });
            }
            Order::Erase(upto) => {
                let chapters = chapter::erase(&StdDisk, &self.data, *upto)?;
                tracing::info!(%upto, chapters, "attack data erased");
            }
            Order::Fetch { from, at, seals } => {
                let index = at.index;
                match self.fetch(*from, seals) {
                    Ok(seals) => {
                        tracing::info!(%from, %at, chapters = seals.len(), "chapters fetched");
                        self.tell(&|| Input::Fetched { index, seals: seals.clone() });
                    }
                    Err(error) => {
                        tracing::warn!(%from, %at, error = format!("{error:#}"), "chapters could not be fetched");
                        self.tell(&|| Input::FetchFailed { index });
                    }
                }
            }
        }
        Ok(())
    }

    /// Fetches what is not here, chapter after chapter, each compared with its seal before it counts. Gives all seals.
    fn fetch(&self, from: HostId, hashes: &[Hash]) -> anyhow::Result<Vec<Seal>> {
        let Peers { tokio, files, identity, addresses, shared } = &self.peers;
        let said = shared.members.borrow().get(&from).copied().flatten();
        let address =
            addresses.of(from, said).with_context(|| format!("host {from} has no known address"))?;
        let client = tokio.block_on(BulkClient::connect(&files.tls()?, *identity, from, address))?;
        let mut donor = Connected { client, tokio: tokio.clone() };
        let mut seals: Vec<Seal> = Vec::new();
        for (number, hash) in (1..).zip(hashes) {
            let chapter = ChapterNumber::new(number);
            let here = chapter::next_seal(&StdDisk, &self.data, seals.last())?;
            if let Some(seal) = here.filter(|seal| seal.hash() == *hash) {
                seals.push(seal);
                continue;
            }
            let seal = fetch::seal(&mut donor, chapter, *hash)?;
            for part in Part::ALL {
                fetch::part(&mut donor, (&StdDisk, &self.data), (&seal, part))?;
            }
            chapter::install(&StdDisk, &self.data, &seal, seals.last())?;
            seals.push(seal);
        }
        Ok(seals)
    }

    /// Tells the driver, however busy it is.
    fn tell(&self, input: &dyn Fn() -> Input) {
        while let Err(NotTaken::Full) = self.inbox.offer(input()) {
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// A part of a chapter's file for another host. The name comes from there: only names that a chapter has are files.
pub fn file_part<D: Disk>(
    (disk, data): (&D, &Path),
    (chapter, name): (ChapterNumber, &str),
    offset: u64,
    max_bytes: usize,
) -> Result<FilePart, String> {
    let name = chapter::file_names().find(|known| *known == name).ok_or("a chapter has no such file")?;
    let path = chapter::directory_of(data, chapter).join(name);
    let read = || {
        let file = disk.open(&path, Access::Read)?;
        let length = file.length()?;
        let count = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(max_bytes);
        let mut bytes = vec![0; count];
        file.read_at(offset, &mut bytes)?;
        Ok(FilePart { data: Bytes::from(bytes), length })
    };
    read().map_err(|error: DiskError| match error.is_missing() {
        true => format!("{name} of chapter {chapter} is not here"),
        false => error.to_string(),
    })
}
