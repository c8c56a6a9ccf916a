//! The thread that puts projections aside, and folds them anew when somebody asks for it. It folds copies of its own, so
//! the driver neither waits for it nor copies anything.
//!
//! ```text
//!  checkpoint: last checkpoint ──log's tail──> copy ──> disk
//!  rebuild:    nothing ──chapters, log──> green ──> driver swaps ──> what was served before
//!                                           └─ copy ──same entry──> equal? else a divergence, told loudly
//! ```

#![expect(clippy::disallowed_methods, reason = "this shell owns the thread of the checkpoints")]

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use consensus::rt::writer::DurableCommit;
use log_format::disk::StdDisk;
use log_format::history::History;
use log_format::ids::LogIndex;
use projections::frame::{Folded, Standing};

use super::driver::Shared;
use super::fold;
use super::inbox::Inbox;
use crate::checkpoints::Checkpoints;
use crate::node::{Handover, Input};

/// How often the thread looks whether a checkpoint is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The same while something erased is to leave the checkpoints.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// Entries after which a checkpoint is due: a tenth of a second of folding at a start.
const ENTRIES: u64 = 50_000;
/// Time after which a checkpoint is due if anything happened.
const SECONDS: Duration = Duration::from_secs(60);
/// Of its time the thread works this part at most: the states of a million blocks take seconds to read and write, and under
/// load a checkpoint that is due all the time took an eighth of what three hosts on one machine could do.
const REST: u32 = 40;
/// How often projections that were folded anew are handed over: each time they are nearer, unless the log grows faster
/// than it is folded.
const HANDOVERS: u32 = 64;
/// How long the driver may take to answer: far longer than it ever sleeps.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

enum Order {
    /// Fold everything anew.
    Rebuild,
    /// The driver's answer.
    Answer(Handover),
}

/// The way to the thread. It holds one order to rebuild and one answer at most.
#[derive(Clone)]
pub(super) struct Orders(Sender<Order>);

impl Orders {
    /// Folds all projections anew, unless that is under way; gives the rebuild's number since the start.
    pub(super) fn rebuild(&self, shared: &Shared) -> u64 {
        let mut frame = frame(shared);
        if frame.rebuild.is_none() {
            frame.rebuilds += 1;
            frame.rebuild = Some(LogIndex::default());
            let _ = self.0.send(Order::Rebuild); // Without the thread the process is about to end.
        }
        frame.rebuilds
    }

    /// The driver's answer to what it was handed.
    pub(super) fn hand_back(&self, handover: Handover) {
        let _ = self.0.send(Order::Answer(handover)); // Without the thread the process is about to end.
    }
}

/// What the thread has done.
#[derive(Debug, Default)]
pub(super) struct FrameStatus {
    /// Up to where the decision model and the read models are put aside.
    pub(super) saved: [LogIndex; 2],
    /// Rebuilds begun since the start.
    pub(super) rebuilds: u64,
    /// How far the one under way has folded.
    pub(super) rebuild: Option<LogIndex>,
    /// How the last one ended.
    pub(super) last: Option<Ended>,
    /// Projections that did not say what the log says, since the start, each with the entry at which that was found
    /// last.
    pub(super) diverged: BTreeMap<String, LogIndex>,
}

/// How a rebuild ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// Which one.
    pub(super) number: u64,
    /// The entry at which it took over; zero if it did not.
    pub(super) index: LogIndex,
    /// Projections that were not equal.
    pub(super) differed: Vec<String>,
    /// Why it did not take over; empty if it did.
    pub(super) failure: String,
}

/// The thread's end of the way to it.
pub(super) struct Desk(Receiver<Order>);

/// The two ends of the way to the thread, which ends when the other one is dropped, after the checkpoint that it may be
/// writing, which nobody waits for.
pub(super) fn desk() -> (Desk, Orders) {
    let (sender, orders) = channel();
    (Desk(orders), Orders(sender))
}

/// What the thread works with.
pub(super) struct Workshop {
    pub(super) checkpoints: Checkpoints,
    pub(super) saved: [LogIndex; 2],
    pub(super) history: History<StdDisk>,
    pub(super) inbox: Inbox,
    pub(super) shared: Arc<Shared>,
    pub(super) durable: DurableCommit,
}

struct Writer {
    checkpoints: Checkpoints,
    history: History<StdDisk>,
    inbox: Inbox,
    shared: Arc<Shared>,
    durable: DurableCommit,
    saved: LogIndex,
    /// Whether checkpoints on disk may hold what the log has erased since.
    must_renew: bool,
}

/// Starts the thread. It ends when the driver and the doors are gone.
pub(super) fn start(Desk(orders): Desk, workshop: Workshop) -> std::io::Result<()> {
    let Workshop { checkpoints, saved, history, inbox, shared, durable } = workshop;
    frame(&shared).saved = saved;
    let saved = saved.into_iter().min().unwrap_or_default();
    let writer = Writer { checkpoints, history, inbox, shared, durable, saved, must_renew: false };
    let run = move || {
        super::give_way();
        writer.run(&orders);
    };
    std::thread::Builder::new().name("checkpoints".to_owned()).spawn(run)?;
    Ok(())
}

fn frame(shared: &Shared) -> MutexGuard<'_, FrameStatus> {
    shared.frame.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        let (mut rested, mut next) = (Instant::now(), Instant::now() + SECONDS);
        loop {
            match orders.recv_timeout(self.pause()) {
                Ok(Order::Rebuild) => self.rebuild(orders),
                Ok(Order::Answer(_)) => {} // It came too late, and the rebuild has failed.
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // A log that lost its end must be seen to be shorter than its checkpoint.
            let upto = self.applied().min(self.durable.get());
            let must_erase = (self.saved.next()..=upto).contains(&*self.shared.erased.borrow());
            let many = ENTRIES <= upto.get().saturating_sub(self.saved.get());
            let started = Instant::now();
            let is_due = (many && rested <= started) || next <= started;
            if upto <= self.saved || !(is_due || must_erase) {
                continue;
            }
            self.write(upto);
            let took = started.elapsed();
            rested = Instant::now() + took * REST;
            next = rested.max(Instant::now() + SECONDS);
        }
    }

    fn applied(&self) -> LogIndex {
        *self.shared.applied.borrow()
    }

    fn pause(&self) -> Duration {
        if self.saved < *self.shared.erased.borrow() { LOOK_SOON } else { LOOK_EVERY }
    }

    fn write(&mut self, upto: LogIndex) {
        let mut folded = self.checkpoints.read();
        if let Err(error) = self.fold(&mut folded, upto, |_| {}) {
            tracing::warn!(error = format!("{error:#}"), "no checkpoint: the log's tail cannot be folded");
            return;
        }
        let written = match self.must_renew {
            true => self.checkpoints.replace(&folded),
            false => self.checkpoints.save(&folded),
        };
        match written {
            Ok(()) => {
                tracing::debug!(%upto, anew = self.must_renew, "wrote a checkpoint");
                self.must_renew = false;
                frame(&self.shared).saved = [folded.model.applied(), folded.views.applied()];
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{:#}", anyhow::Error::new(error)),
                    "no checkpoint: it cannot be written"
                );
                self.discard();
            }
        }
        self.saved = upto; // Also after a failure: the next one is tried when it is due.
    }

    fn discard(&mut self) {
        self.checkpoints.renew();
        frame(&self.shared).saved = Default::default();
    }

    fn fold(&mut self, folded: &mut Folded, upto: LogIndex, tell: impl Fn(LogIndex)) -> anyhow::Result<()> {
        self.must_renew |= fold::beside(&self.history, folded, upto, tell)?.erases;
        Ok(())
    }

    /// Folds everything from the first entry on, has it served, and compares it with what was served before.
    fn rebuild(&mut self, orders: &Receiver<Order>) {
        let result = self.replace(orders);
        let mut frame = frame(&self.shared);
        let number = frame.rebuilds;
        frame.rebuild = None;
        let ended = match result {
            Ok((index, differed)) => Ended { number, index, differed, failure: String::new() },
            Err(error) => {
                let failure = format!("{error:#}");
                tracing::error!(
                    error = failure,
                    "projections could not be folded anew; the old ones serve on"
                );
                Ended { number, index: LogIndex::default(), differed: Vec::new(), failure }
            }
        };
        frame.diverged.extend(ended.differed.iter().map(|name| (name.clone(), ended.index)));
        let is_divergence = !ended.differed.is_empty();
        frame.last = Some(ended);
        drop(frame);
        if is_divergence {
            self.discard(); // What was served came from there.
            self.saved = LogIndex::default();
            let _ = self.inbox.offer(Input::Plan); // The firewall compares with the log by itself now and then.
        }
    }

    /// Gives the entry at which the new projections took over, and which of the old ones were not equal to them.
    fn replace(&mut self, orders: &Receiver<Order>) -> anyhow::Result<(LogIndex, Vec<String>)> {
        let shared = Arc::clone(&self.shared);
        let tell = |index| frame(&shared).rebuild = Some(index);
        let mut green = Box::<Folded>::default();
        self.fold(&mut green, self.applied(), tell).context("fold chapters and log")?;
        let mut copy = green.clone();
        for _ in 0..HANDOVERS {
            self.fold(&mut green, self.applied(), tell).context("fold the log's tail")?;
            let offered = self.inbox.offer(Input::Folded(green));
            offered.map_err(|_| anyhow!("this host is too busy; ask again"))?;
            match answer(orders)? {
                Handover::Taken { index, old } => {
                    self.fold(&mut copy, index, tell).context("fold the log's tail")?;
                    let differed = compare(index, &old, &copy);
                    return Ok((index, differed));
                }
                Handover::TooFarBehind { applied: _, green: given_back } => green = given_back,
            }
        }
        bail!("the log grows faster than it is folded; ask again when less is written")
    }
}

fn answer(orders: &Receiver<Order>) -> anyhow::Result<Handover> {
    let waits_until = Instant::now() + ANSWER_WITHIN;
    loop {
        let left = waits_until.saturating_duration_since(Instant::now());
        match orders.recv_timeout(left).context("this host's driver does not answer")? {
            Order::Answer(handover) => return Ok(handover),
            Order::Rebuild => {} // That is what is being done.
        }
    }
}

/// Names the projections that were served at this entry and do not say what the log says.
fn compare(index: LogIndex, served: &Folded, folded: &Folded) -> Vec<String> {
    let mut differed = Vec::new();
    for (served, folded) in served.standings().into_iter().zip(folded.standings()) {
        let Standing { state_hash, .. } = served;
        if state_hash == folded.state_hash {
            tracing::info!(projection = %folded, %index, "folded anew and equal to what was served");
        } else {
            tracing::error!(
                projection = %folded,
                %index,
                served = hex(&state_hash),
                folded = hex(&folded.state_hash),
                "DIVERGED: what was served is not the fold of the log. The new fold serves now; keep the data directory \
                 and this host's log for whoever finds out why"
            );
            differed.push(folded.to_string());
        }
    }
    differed
}

fn hex(hash: &[u8; 32]) -> String {
    log_format::seal::hex(hash)
}
