//! The thread that seals chapters, erases what is too old, and fetches what this host lacks. It works in small steps beside
//! a busy host, and never in its way: the driver hands it orders and hears of what is done.
//!
//! ```text
//!  driver ──Seal, Count, Erase, Fetch──> thread ──Sealed, Counted, Fetched, FetchFailed──> inbox
//! ```

pub mod fetch;
pub mod repair;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::anyhow;
use consensus::rt::bulk::BulkClient;
use log_format::chapter::{self, ChapterError};
use log_format::disk::StdDisk;
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
use crate::node::{CountOrder, Input, SealOrder};

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
    /// Count a chapter's attacks.
    Count(CountOrder),
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

/// The way to the thread. It holds a few orders at most: one seal, one count, and an erasure for each retention cut.
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
    let run = move || {
        super::give_way();
        workshop.run(&waiting);
    };
    std::thread::Builder::new().name("chapters".to_owned()).spawn(run)?;
    Ok(Orders(orders))
}

/// Carries orders out until nobody gives any more. One that fails comes again after a while, and whenever others wait, they
/// are first: what cannot be sealed on a full disk must not stand before an erasure, which makes room.
fn work_off<T, E>(orders: &Receiver<T>, again: Duration, mut carry_out: impl FnMut(&T) -> Result<(), E>) {
    let mut failed = VecDeque::new();
    loop {
        let next = match failed.is_empty() {
            true => orders.recv().map_err(RecvTimeoutError::from),
            false => orders.recv_timeout(again),
        };
        let order = match next {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => failed.pop_front(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        failed.extend(order.filter(|order| carry_out(order).is_err()));
    }
}

impl Workshop {
    fn run(self, orders: &Receiver<Order>) {
        work_off(orders, TRY_AGAIN, |order| {
            self.do_one(order).inspect_err(|error| {
                let error: &dyn std::error::Error = error;
                tracing::error!(error, "work on chapters failed; it is tried again");
            })
        });
    }

    fn do_one(&self, order: &Order) -> Result<(), ChapterError> {
        match order {
            Order::Seal(order) => {
                let log = (self.cluster, &*self.history);
                let seal = chapters::seal(&StdDisk, &self.data, log, order, &mut gently())?;
                tracing::info!(%seal, "chapter sealed");
                self.tell(&|| Input::Sealed { seal: Box::new(seal.clone()) });
            }
            Order::Count(order) => {
                let counts = chapters::count(&self.history, *order, &mut gently());
                // Whoever asked asks again: what cannot be read may not keep the others waiting.
                let counts = counts.inspect_err(|error| {
                    let chapter = order.chapter;
                    tracing::error!(%chapter, error = %error, "a chapter's attacks could not be counted");
                });
                let counts = counts.ok();
                self.tell(&|| Input::Counted { chapter: order.chapter, counts: counts.clone() });
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

    /// Fetches what is not here from the first host that gives it. Gives all seals.
    fn fetch(&self, from: HostId, hashes: &[Hash]) -> anyhow::Result<Vec<Seal>> {
        let Peers { addresses, shared, .. } = &self.peers;
        let known = addresses.resolve(&shared.members.borrow());
        let mut fetched = Err(anyhow!("host {from} has no known address"));
        // A leader that joined while this host was away is one whose address it does not know.
        let first = known.get_key_value(&from);
        for (from, address) in first.into_iter().chain(known.iter().filter(|(host, _)| **host != from)) {
            fetched = self.fetch_from(*from, *address, hashes);
            if fetched.is_ok() {
                break;
            }
        }
        fetched
    }

    /// Fetches what is not here, chapter after chapter, each compared with its seal before it counts. Gives all seals.
    fn fetch_from(&self, from: HostId, address: SocketAddr, hashes: &[Hash]) -> anyhow::Result<Vec<Seal>> {
        let Peers { tokio, files, identity, .. } = &self.peers;
        let client = tokio.block_on(BulkClient::connect(&files.tls()?, *identity, from, address))?;
        let mut donor = Connected { client, tokio: tokio.clone() };
        let mut seals: Vec<Seal> = Vec::new();
        for hash in hashes {
            seals.push(chapters::fetch::chapter((&StdDisk, &self.data), &mut donor, *hash, seals.last())?);
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

/// Pauses now and then.
fn gently() -> impl FnMut() {
    let mut steps = 0;
    move || {
        steps += 1;
        if steps % STEP == 0 {
            std::thread::park_timeout(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_waits_behind_what_comes_later() {
        let (sender, orders) = channel();
        ["seal", "erase", "erase more"].iter().for_each(|order| sender.send(*order).unwrap());
        let mut sender = Some(sender);
        let mut tried = Vec::new();
        work_off(&orders, Duration::ZERO, |order| {
            tried.push(*order);
            match *order {
                // The disk is full until something was erased.
                "seal" if !tried.contains(&"erase") => Err(()),
                "seal" => {
                    sender.take();
                    Ok(())
                }
                _ => Ok(()),
            }
        });
        assert_eq!(tried, ["seal", "erase", "erase more", "seal"]);
    }
}
