//! How a traffic program is told to end, and to tell its figures on the way.
#![expect(
    clippy::disallowed_methods,
    reason = "this shell starts the threads that follow standard input and signals"
)]

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// A shared wish to end. Clones are the same wish; once wished, it stays.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    report: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// A wish nobody has made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wishes the program to end.
    pub fn end(&self) {
        let held = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        drop(held);
    }

    /// Whether the program is to end.
    pub fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// Waits for the end, at most this long, and tells whether it has come.
    pub fn wait(&self, at_most: Duration) -> bool {
        let held = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.changed.wait_timeout_while(held, at_most, |()| !self.ended());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.ended()
    }

    /// Asks for the figures so far.
    pub fn ask_for_report(&self) {
        self.shared.report.store(true, Ordering::SeqCst);
    }

    /// Whether figures were asked for since the last call.
    pub fn report_wanted(&self) -> bool {
        self.shared.report.swap(false, Ordering::SeqCst)
    }

    /// Follows standard input: each line asks for a report, the end of input ends the program. A program whose parent
    /// dies therefore ends too.
    pub fn follow_standard_input(&self) {
        let stop = self.clone();
        thread::spawn(move || stop.follow(io::stdin().lock()));
    }

    /// Ends the program on SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the process cannot watch signals.
    pub fn follow_signals(&self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let stop = self.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            });
            stop.end();
        });
        Ok(())
    }

    fn follow(&self, mut input: impl Read) {
        let mut buffer = [0; 64];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if buffer.iter().take(count).any(|byte| *byte == b'\n') {
                        self.ask_for_report();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_asks_for_a_report_and_the_end_of_input_ends() {
        let stop = Stop::new();
        stop.follow(&b"report\n"[..]);
        assert!(stop.report_wanted());
        assert!(!stop.report_wanted());
        assert!(stop.ended());
    }

    #[test]
    fn the_end_wakes_a_waiter_in_another_thread() {
        let stop = Stop::new();
        let waiter = stop.clone();
        let thread = thread::spawn(move || waiter.wait(Duration::from_secs(600)));
        stop.end();
        assert!(thread.join().unwrap());
    }

    #[test]
    fn without_an_end_the_wait_is_over_in_time() {
        assert!(!Stop::new().wait(Duration::ZERO));
    }
}
