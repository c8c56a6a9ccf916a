//! The socket of an attacker: sends at a pace, listens in between, counts what is answered.
#![expect(clippy::disallowed_methods, reason = "this shell reads the clock that paces the attack")]

use std::collections::{BTreeSet, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sip::Message;

use super::super::clock;
use super::super::dice::Dice;
use super::super::stop::Stop;
use super::{AttackError, AttackFigures, AttackOptions, Ended, FOUND};

/// Requests whose answer is waited for: some seconds of the fastest tool. Older ones count as unanswered.
const OPEN_REQUESTS: usize = 8_192;
/// Longest answer taken.
const DATAGRAM_BYTES: usize = 4 << 10;
/// How long the last answers are waited for.
const LINGER: Duration = Duration::from_millis(300);

/// An attack under way.
pub(super) struct Exchange {
    socket: UdpSocket,
    /// Where the attack comes from, with the port that was given.
    pub(super) source: SocketAddr,
    pub(super) dice: Dice,
    options: AttackOptions,
    stop: Stop,
    started: Instant,
    turn: Instant,
    last_heard: Instant,
    open: BTreeSet<String>,
    order: VecDeque<String>,
    sent: u64,
    answered: u64,
    rejected: u64,
    found: Vec<String>,
}

/// A request to send and how its answer will be recognised.
pub(super) struct Attempt {
    pub(super) datagram: Vec<u8>,
    pub(super) branch: String,
}

impl Exchange {
    pub(super) fn start(options: &AttackOptions, stop: &Stop) -> Result<Self, AttackError> {
        let bind = |error| AttackError::Bind(options.source, error);
        let socket = clock::udp(options.source).map_err(bind)?;
        let now = Instant::now();
        Ok(Self {
            source: socket.local_addr().map_err(bind)?,
            socket,
            dice: clock::dice().map_err(AttackError::Seed)?,
            options: options.clone(),
            stop: stop.clone(),
            started: now,
            turn: now,
            last_heard: now,
            open: BTreeSet::new(),
            order: VecDeque::new(),
            sent: 0,
            answered: 0,
            rejected: 0,
            found: Vec::new(),
        })
    }

    /// Why the attack is over, if it is.
    pub(super) fn over(&self) -> Option<Ended> {
        if self.stop.ended() {
            Some(Ended::Stopped)
        } else if self.options.requests <= self.sent {
            Some(Ended::Done)
        } else if self.options.give_up < self.last_heard.elapsed() {
            Some(Ended::Silence)
        } else {
            None
        }
    }

    /// Sends one request; then it is the next one's turn a pace later.
    pub(super) fn send(&mut self, attempt: Attempt, target: SocketAddr) {
        self.sent += 1;
        self.turn = (self.turn + self.options.pace).max(Instant::now());
        self.open.insert(attempt.branch.clone());
        self.order.push_back(attempt.branch);
        if OPEN_REQUESTS < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        // A request that the own kernel refuses will be unanswered, which it is.
        let _sent = self.socket.send_to(&attempt.datagram, target);
    }

    /// Listens until the next request's turn, and takes at least what is there.
    pub(super) fn listen(
        &mut self,
        mut hear: impl FnMut(&mut Self, &Message<'_>, SocketAddr),
    ) -> Result<(), AttackError> {
        loop {
            self.hear_one(self.turn, &mut hear)?;
            if self.stop.ended() || self.turn <= Instant::now() {
                return Ok(());
            }
        }
    }

    /// Waits for one answer although it is the next request's turn.
    pub(super) fn wait_for_answer(
        &mut self,
        at_most: Duration,
        mut hear: impl FnMut(&mut Self, &Message<'_>, SocketAddr),
    ) -> Result<(), AttackError> {
        self.hear_one(Instant::now() + at_most, &mut hear)
    }

    pub(super) fn count_rejection(&mut self) {
        self.rejected += 1;
    }

    pub(super) fn note(&mut self, finding: String) {
        if self.found.len() < FOUND && !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    /// Listens for the last answers and tells how it went.
    pub(super) fn finish(
        mut self,
        ended: Ended,
        mut hear: impl FnMut(&mut Self, &Message<'_>, SocketAddr),
    ) -> Result<AttackFigures, AttackError> {
        let last = Instant::now() + LINGER;
        while !self.open.is_empty() && Instant::now() < last {
            self.hear_one(last, &mut hear)?;
        }
        Ok(AttackFigures {
            sent: self.sent,
            answered: self.answered,
            unanswered: self.sent - self.answered,
            rejected: self.rejected,
            found: self.found,
            ended,
            milliseconds: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Hears one answer, if one comes in time.
    fn hear_one(
        &mut self,
        until: Instant,
        hear: &mut impl FnMut(&mut Self, &Message<'_>, SocketAddr),
    ) -> Result<(), AttackError> {
        let mut buffer = [0; DATAGRAM_BYTES];
        let wait = until.saturating_duration_since(Instant::now()).min(clock::LOOK_UP);
        if !clock::readable(&self.socket, wait).map_err(AttackError::Receive)? {
            return Ok(());
        }
        let (length, from) = match self.socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if clock::passes(&error) => return Ok(()),
            Err(error) => return Err(AttackError::Receive(error)),
        };
        if let Ok(message) = sip::parse(buffer.get(..length).unwrap_or_default()) {
            self.hear(&message);
            hear(self, &message, from);
        }
        Ok(())
    }

    fn hear(&mut self, message: &Message<'_>) {
        self.last_heard = Instant::now();
        let branch = message.via().and_then(|via| via.branch).map(String::from_utf8_lossy);
        if branch.is_some_and(|branch| self.open.remove(&*branch)) {
            self.answered += 1;
        }
    }
}
