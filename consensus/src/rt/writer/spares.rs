//! The thread that makes spare log files beside the writer, so that a busy log never zeroes a file while everybody waits.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use log_format::disk::Disk;
use log_format::wal::{SpareMaker, SpareProgress};

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

    /// Something was written or given up: there may be work. One wish that waits is enough.
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
        while wishes.try_recv() != Err(TryRecvError::Disconnected) {
            let started = Instant::now();
            match maker.step() {
                Ok(SpareProgress::Ready) => break,
                // Leaves the log at least half of the disk.
                Ok(SpareProgress::Working) => std::thread::park_timeout(started.elapsed()),
                Err(error) => {
                    // Not fatal: a batch that finds no room will be. Tried again once something was written.
                    tracing::warn!(%error, "no spare log file could be prepared");
                    break;
                }
            }
        }
    }
}
