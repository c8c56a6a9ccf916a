//! The spool's thread: makes observations durable in groups, reads them back, forgets what the log has.
//!
//! A disk that fails ends the process, as for the log. A disk that is full does not: the host goes on without the spool's
//! safety for what did not fit, and the numbers that are missing are said in the log once the host starts anew.

#![expect(clippy::disallowed_methods, reason = "this shell owns the spool's thread")]

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use log_format::disk::StdDisk;
use log_format::ids::OriginSequence;
use log_format::spool::{Spool, SpoolError, SpoolRecord};

use super::inbox::Inbox;
use crate::node::{Input, Spooled};

/// When nothing comes for so long, the next file is made ready.
const IDLE: Duration = Duration::from_millis(50);
/// Records of one group: one write, one sync.
const GROUP: usize = 4_096;
/// How long to wait for room in the driver's inbox before trying again.
const INBOX_PAUSE: Duration = Duration::from_millis(5);

/// What the thread is asked for. The node bounds how many records wait.
enum Order {
    Append(SpoolRecord),
    Taken(OriginSequence),
    LeaveBehind,
    Read { from: OriginSequence, most: usize },
}

/// The way to the thread. It ends when this is dropped.
pub(super) struct SpoolOrders(Sender<Order>);

impl SpoolOrders {
    /// Makes a record durable.
    pub(super) fn append(&self, record: SpoolRecord) {
        self.send(Order::Append(record));
    }

    /// Forgets everything up to there.
    pub(super) fn taken(&self, upto: OriginSequence) {
        self.send(Order::Taken(upto));
    }

    /// Lets go of everything that was taken, also of what stands in the file that is being written: old attack data is
    /// being erased.
    pub(super) fn leave_behind(&self) {
        self.send(Order::LeaveBehind);
    }

    /// Reads back.
    pub(super) fn read(&self, from: OriginSequence, most: usize) {
        self.send(Order::Read { from, most });
    }

    fn send(&self, order: Order) {
        let _ = self.0.send(order); // The thread ends with the process.
    }
}

/// Starts the thread.
pub(super) fn start(spool: Spool<StdDisk>, inbox: Inbox) -> io::Result<SpoolOrders> {
    let (sender, orders) = channel();
    let keeper = Keeper { spool, inbox, taken: OriginSequence::default(), is_full: false };
    std::thread::Builder::new().name("spool".to_owned()).spawn(move || keeper.run(&orders))?;
    Ok(SpoolOrders(sender))
}

struct Keeper {
    spool: Spool<StdDisk>,
    inbox: Inbox,
    /// The last number that the log has.
    taken: OriginSequence,
    /// Said once, not for every record.
    is_full: bool,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match orders.recv_timeout(IDLE) {
                Ok(order) => order,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.spool.prepare_spare(); // Made when it is needed, then.
                    continue;
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let (mut records, mut others) = (Vec::new(), Vec::new());
            for order in std::iter::once(order).chain(orders.try_iter().take(GROUP)) {
                match order {
                    // A read gives everything that was given before it, so records after it wait for it.
                    Order::Append(record) if others.is_empty() => records.push(record),
                    order
                    @ (Order::Append(_) | Order::Taken(_) | Order::LeaveBehind | Order::Read { .. }) => {
                        others.push(order);
                    }
                }
            }
            self.append(&records);
            for order in others {
                self.carry_out(order);
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Append(record) => self.append(std::slice::from_ref(&record)),
            Order::Taken(upto) => self.forget(upto),
            Order::LeaveBehind => {
                self.spool.close_file();
                self.forget(self.taken);
            }
            Order::Read { from, most } => self.read(from, most),
        }
    }

    fn forget(&mut self, upto: OriginSequence) {
        self.taken = self.taken.max(upto);
        if let Err(error) = self.spool.acknowledge(self.taken) {
            give_up(&error);
        }
    }

    fn append(&mut self, records: &[SpoolRecord]) {
        let Some(last) = records.last() else { return };
        match self.spool.append(records) {
            Ok(dropped) => {
                for gap in dropped {
                    tracing::warn!(from = %gap.from, to = %gap.to, "the spool is full: the oldest strikes are dropped");
                }
                self.is_full = false;
            }
            Err(
                error @ (SpoolError::NoFile { .. } | SpoolError::Full { .. } | SpoolError::TooLarge { .. }),
            ) => {
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "observations are kept in memory only; make room on the disk"
                    );
                }
            }
            Err(error) => give_up(&error),
        }
        let count = records.len() as u64;
        self.tell(Spooled::Durable { upto: last.sequence, count });
    }

    fn read(&mut self, from: OriginSequence, most: usize) {
        let mut items = Vec::new();
        let mut is_end = true;
        for item in self.spool.pending(from) {
            if items.len() == most {
                is_end = false;
                break;
            }
            match item {
                Ok(item) => items.push(item),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "read the spool");
                    break;
                }
            }
        }
        self.tell(Spooled::Read { items, is_end });
    }

    /// The node waits for every answer, so a full inbox is waited for.
    fn tell(&self, told: Spooled) {
        while let Err(super::inbox::NotTaken::Full) = self.inbox.offer(Input::Spooled(told.clone())) {
            std::thread::sleep(INBOX_PAUSE);
        }
    }
}

/// What the disk holds is no longer known: only a new start can tell.
fn give_up(error: &SpoolError) -> ! {
    tracing::error!(error = error as &dyn std::error::Error, "the spool cannot be written; the process ends");
    std::process::abort();
}
