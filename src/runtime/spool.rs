//! The spool's thread: makes observations durable in groups, reads them back, forgets what the log has.
//!
//! A disk that fails ends the process, as for the log. A disk that is full does not: the host goes on without the spool's
//! safety for what did not fit, and the numbers that are missing are said in the log once the host starts anew.

#![expect(clippy::disallowed_methods, reason = "this shell owns the spool's thread")]

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use log_format::disk::StdDisk;
use log_format::ids::OriginSequence;
use log_format::spool::{Spool, SpoolError, SpoolRecord};

use super::inbox::{Inbox, NotTaken};
use crate::node::{Input, Spooled};
use crate::spooling::{SpoolKeeper, SpoolOrder};

/// When nothing comes for so long, the next file is made ready.
const IDLE: Duration = Duration::from_millis(50);
/// Records of one group: one write, one sync.
const GROUP: usize = 4_096;
/// How long to wait for room in the driver's inbox before trying again.
const INBOX_PAUSE: Duration = Duration::from_millis(5);

/// The way to the thread. It ends when this is dropped.
pub(super) struct SpoolOrders(Sender<SpoolOrder>);

impl SpoolOrders {
    /// Makes a record durable.
    pub(super) fn append(&self, record: SpoolRecord) {
        self.send(SpoolOrder::Append(record));
    }

    /// Forgets everything up to there.
    pub(super) fn taken(&self, upto: OriginSequence) {
        self.send(SpoolOrder::Taken(upto));
    }

    /// Lets go of everything that was taken, also of what stands in the file that is being written: old attack data is
    /// being erased.
    pub(super) fn leave_behind(&self) {
        self.send(SpoolOrder::LeaveBehind);
    }

    /// Reads back.
    pub(super) fn read(&self, from: OriginSequence, most: usize) {
        self.send(SpoolOrder::Read { from, most });
    }

    fn send(&self, order: SpoolOrder) {
        let _ = self.0.send(order); // The thread ends with the process.
    }
}

/// Starts the thread.
pub(super) fn start(spool: Spool<StdDisk>, inbox: Inbox) -> io::Result<SpoolOrders> {
    let (sender, orders) = channel();
    let keeper = SpoolKeeper::new(spool);
    std::thread::Builder::new().name("spool".to_owned()).spawn(move || run(keeper, &inbox, &orders))?;
    Ok(SpoolOrders(sender))
}

fn run(mut keeper: SpoolKeeper<StdDisk>, inbox: &Inbox, orders: &Receiver<SpoolOrder>) {
    loop {
        match orders.recv_timeout(IDLE) {
            Ok(first) => {
                let group = std::iter::once(first).chain(orders.try_iter().take(GROUP));
                if let Err(error) = keeper.carry_out(group, &mut |told| tell(inbox, &told)) {
                    give_up(&error);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = keeper.prepare_spare(); // Made when it is needed, then.
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The node waits for every answer, so a full inbox is waited for.
fn tell(inbox: &Inbox, told: &Spooled) {
    while let Err(NotTaken::Full) = inbox.offer(Input::Spooled(told.clone())) {
        std::thread::sleep(INBOX_PAUSE);
    }
}

/// What the disk holds is no longer known: only a new start can tell.
fn give_up(error: &SpoolError) -> ! {
    tracing::error!(error = error as &dyn std::error::Error, "the spool cannot be written; the process ends");
    std::process::abort();
}
