//! The thread that makes spare log files beside the writer, so that a busy log never zeroes a file while everybody waits.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log_format::disk::Disk;
use log_format::wal::{SpareMaker, SpareProgress};

/// How much longer than its work the thread rests while the next file is ready: the log keeps nine tenths of the disk, and a
/// file is still made faster than a log with one producer fills one.
const REST: u32 = 9;

/// After an error: a disk is seldom sound again, or has room again, sooner.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The writer's side. Dropping it ends the thread, after the piece that it may be working on.
pub(super) struct Spares {
    wanted: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Spares {
    pub(super) fn start<D: Disk>(maker: SpareMaker<D>) -> io::Result<Self> {
        let (wanted, wishes) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("wal-spares".to_owned()).spawn(move || run(&maker, &wishes))?;
        let spares = Self { wanted: Some(wanted), thread: Some(thread) };
        spares.want();
        Ok(spares)
    }

    /// Nobody makes any: a test that counts what a disk does is alone with it.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { wanted: None, thread: None }
    }

    /// A file was begun or given up: there is work. One wish that waits is enough.
    pub(super) fn want(&self) {
        if let Some(wanted) = &self.wanted {
            let _ = wanted.try_send(());
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run<D: Disk>(maker: &SpareMaker<D>, wishes: &Receiver<()>) {
    while wishes.recv().is_ok() {
        let mut rest = Duration::ZERO;
        while wishes.recv_timeout(rest) != Err(RecvTimeoutError::Disconnected) {
            let started = Instant::now();
            rest = match maker.step() {
                Ok(SpareProgress::Ready) => break,
                // While nothing is ready, the log keeps half of the disk.
                Ok(SpareProgress::Working) => started.elapsed() * if maker.has_ready() { REST } else { 1 },
                Err(error) => {
                    // Not fatal: a batch that finds no room will be.
                    tracing::warn!(%error, "no spare log file could be prepared");
                    TRY_AGAIN
                }
            };
        }
    }
}
