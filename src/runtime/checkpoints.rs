//! The thread that writes checkpoints. It folds a copy of its own, from the last checkpoint over the log's tail, so the
//! driver neither waits for it nor copies anything.

#![expect(clippy::disallowed_methods, reason = "this shell owns the thread of the checkpoints")]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log_format::disk::StdDisk;
use log_format::envelope::Envelope;
use log_format::history::History;
use log_format::ids::LogIndex;
use log_format::wal::EntryKind;

use super::driver::Shared;
use crate::checkpoints::{Checkpoints, Folded, erases};

/// How often the thread looks whether a checkpoint is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Entries after which a checkpoint is due: a tenth of a second of folding at a start.
const ENTRIES: u64 = 50_000;
/// Time after which a checkpoint is due if anything happened.
const SECONDS: Duration = Duration::from_secs(60);
/// Of its time the thread works this part at most: the states of a million blocks take seconds to read and write.
const REST: u32 = 20;

/// Dropping it ends the thread after the checkpoint that it may be writing, which nobody waits for.
pub(super) struct Stop {
    _sender: SyncSender<()>,
}

struct Writer {
    checkpoints: Checkpoints,
    log: History<StdDisk>,
    saved: LogIndex,
    /// Whether checkpoints on disk may hold what the log has erased since.
    must_renew: bool,
}

/// Starts the thread.
pub(super) fn start(
    checkpoints: Checkpoints,
    saved: LogIndex,
    log: History<StdDisk>,
    shared: Arc<Shared>,
) -> std::io::Result<Stop> {
    let (sender, stop) = sync_channel(1);
    let writer = Writer { checkpoints, log, saved, must_renew: false };
    std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || writer.run(&stop, &shared))?;
    Ok(Stop { _sender: sender })
}

impl Writer {
    fn run(mut self, stop: &Receiver<()>, shared: &Shared) {
        let (mut before, mut next) = (LogIndex::default(), Instant::now() + SECONDS);
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(LOOK_EVERY) {
            // What was applied at the last look: the log has written since that it is committed.
            let upto = std::mem::replace(&mut before, *shared.applied.borrow());
            let many = ENTRIES <= upto.get().saturating_sub(self.saved.get());
            let started = Instant::now();
            if upto <= self.saved || !(many || next <= started) {
                continue;
            }
            self.write(upto);
            let took = started.elapsed();
            next = Instant::now() + SECONDS.max(took * REST);
        }
    }

    fn write(&mut self, upto: LogIndex) {
        let mut folded = self.checkpoints.read();
        if let Err(error) = self.fold(&mut folded, upto) {
            tracing::warn!(error = format!("{error:#}"), "no checkpoint: the log's tail cannot be folded");
            return;
        }
        if self.must_renew {
            self.checkpoints.renew();
        }
        match self.checkpoints.save(&folded) {
            Ok(()) => {
                tracing::debug!(%upto, "wrote a checkpoint");
                self.must_renew = false;
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{:#}", anyhow::Error::new(error)),
                    "no checkpoint: it cannot be written"
                );
                self.checkpoints.renew();
            }
        }
        self.saved = upto; // Also after a failure: the next one is tried when it is due.
    }

    fn fold(&mut self, folded: &mut Folded, upto: LogIndex) -> anyhow::Result<()> {
        let from = folded.applied().next().max(LogIndex::new(1));
        for entry in self.log.iter(from, upto.next()) {
            let entry = entry?;
            if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
                let envelope = Envelope::decode(&entry.data)?;
                self.must_renew |= erases(&envelope);
                folded.fold(entry.index, &envelope);
            }
        }
        Ok(())
    }
}
