//! The driver's inbox: whatever happened, in the order in which it came, for the one thread that waits for it.
//!
//! Filled from threads and from tasks, emptied all at once. A thread that is awake is never woken again: under load a turn
//! of the driver costs its callers no system call.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus::rt::transport::{self, PeerEvent};
use tokio::sync::Notify;

use crate::node::Input;

/// Messages that may wait for the driver. Beyond it a sensor's observations are dropped and counted, a peer's messages
/// wait on the wire, and people are told to try again.
const CAPACITY: usize = 16_384;
/// Observations find no room when so many messages wait: the rest is for people and peers.
const CAPACITY_FOR_OBSERVATIONS: usize = 12_288;

/// What can reach the driver.
#[derive(Debug)]
pub(super) enum Message {
    /// Something happened.
    Input(Input),
    /// Something came from a peer.
    Peer(PeerEvent),
    /// The process ends.
    Stop,
}

/// Why an input did not reach the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The inbox is full.
    Full,
    /// The driver is gone.
    Gone,
}

/// The way to the driver, for everybody.
#[derive(Clone)]
pub(super) struct Inbox(Arc<Shared>);

/// The driver's end. Dropping it closes the inbox.
pub(super) struct Receiver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    room: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    /// Somebody wants the driver to look at something that is no message.
    is_woken: bool,
    /// The driver sleeps.
    is_awaited: bool,
    is_closed: bool,
}

impl Inbox {
    pub(super) fn new() -> (Self, Receiver) {
        let shared = Arc::new(Shared::default());
        (Self(Arc::clone(&shared)), Receiver(shared))
    }

    /// Hands something over without waiting.
    pub(super) fn offer(&self, input: Input) -> Result<(), NotTaken> {
        let queue = self.0.lock();
        if queue.is_closed {
            return Err(NotTaken::Gone);
        }
        let is_observation = matches!(input, Input::Observe(_));
        let capacity = if is_observation { CAPACITY_FOR_OBSERVATIONS } else { CAPACITY };
        if capacity <= queue.messages.len() {
            return Err(NotTaken::Full);
        }
        self.0.put(queue, Message::Input(input));
        Ok(())
    }

    /// Tells the driver to look at the writer.
    pub(super) fn wake(&self) {
        let mut queue = self.0.lock();
        queue.is_woken = true;
        self.0.rouse(queue);
    }

    /// Ends the driver once it has taken what came before.
    pub(super) fn stop(&self) {
        let queue = self.0.lock();
        self.0.put(queue, Message::Stop); // One more than fits does no harm, and a driver that is gone has stopped.
    }
}

impl transport::Inbox for Inbox {
    fn deliver(&self, event: PeerEvent) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                // Made before the look: room that comes after it is not missed.
                let room = self.0.room.notified();
                {
                    let queue = self.0.lock();
                    if queue.is_closed {
                        return; // The transport is about to be stopped.
                    }
                    if queue.messages.len() < CAPACITY {
                        return self.0.put(queue, Message::Peer(event));
                    }
                }
                room.await;
            }
        })
    }
}

impl Receiver {
    /// Waits until something came, or somebody woke the driver, or the time is over. Then takes at most so many.
    pub(super) fn take(&self, within: Duration, most: usize) -> Vec<Message> {
        let mut queue = self.0.lock();
        if queue.messages.is_empty() && !queue.is_woken && !within.is_zero() {
            queue.is_awaited = true;
            let asleep = |queue: &mut Queue| queue.is_awaited;
            let woken = self.0.filled.wait_timeout_while(queue, within, asleep);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
            queue.is_awaited = false;
        }
        queue.is_woken = false;
        let was_full = CAPACITY <= queue.messages.len();
        let count = most.min(queue.messages.len());
        let taken = queue.messages.drain(..count).collect();
        drop(queue);
        if was_full {
            self.0.room.notify_waiters();
        }
        taken
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.room.notify_waiters();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut queue: MutexGuard<'_, Queue>, message: Message) {
        queue.messages.push_back(message);
        self.rouse(queue);
    }

    fn rouse(&self, mut queue: MutexGuard<'_, Queue>) {
        let sleeps = std::mem::take(&mut queue.is_awaited);
        drop(queue);
        if sleeps {
            self.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::rt::transport::{Inbox as _, PeerInput};
    use futures_util::FutureExt;
    use log_format::ids::HostId;

    use super::*;

    fn event() -> PeerEvent {
        PeerEvent { from: HostId::new(2), input: PeerInput::Disconnected }
    }

    #[test]
    fn what_came_is_taken_in_order_and_not_more_than_a_turn() {
        let (inbox, receiver) = Inbox::new();
        inbox.offer(Input::Tick).unwrap();
        inbox.deliver(event()).now_or_never().unwrap();
        inbox.stop();
        let turn = receiver.take(Duration::MAX, 2);
        assert!(matches!(turn[..], [Message::Input(Input::Tick), Message::Peer(_)]), "{turn:?}");
        assert!(matches!(receiver.take(Duration::MAX, 2)[..], [Message::Stop]));
        inbox.wake();
        assert!(receiver.take(Duration::MAX, 2).is_empty(), "woken for something that is no message");
        assert!(receiver.take(Duration::ZERO, 2).is_empty());
    }

    #[test]
    fn a_full_inbox_refuses_people_and_lets_peers_wait() {
        let (inbox, receiver) = Inbox::new();
        for _ in 0..CAPACITY {
            inbox.offer(Input::Tick).unwrap();
        }
        assert_eq!(inbox.offer(Input::Tick), Err(NotTaken::Full));
        let mut peer = inbox.deliver(event());
        assert!(peer.as_mut().now_or_never().is_none());
        assert_eq!(receiver.take(Duration::MAX, 1).len(), 1);
        assert!(peer.now_or_never().is_some());
        let held = receiver.take(Duration::MAX, CAPACITY);
        assert!(matches!(held.last(), Some(Message::Peer(_))));
    }

    #[test]
    fn a_thread_that_sleeps_is_woken() {
        let (inbox, receiver) = Inbox::new();
        let driver = std::thread::spawn(move || receiver.take(Duration::from_secs(60), 1).len());
        inbox.offer(Input::Tick).unwrap();
        assert_eq!(driver.join().unwrap(), 1);
    }

    #[test]
    fn nobody_waits_for_a_driver_that_is_gone() {
        let (inbox, receiver) = Inbox::new();
        for _ in 0..CAPACITY {
            inbox.offer(Input::Tick).unwrap();
        }
        let mut peer = inbox.deliver(event());
        assert!(peer.as_mut().now_or_never().is_none());
        drop(receiver);
        assert!(peer.now_or_never().is_some());
        assert_eq!(inbox.offer(Input::Tick), Err(NotTaken::Gone));
    }
}
