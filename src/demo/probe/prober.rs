//! Sends the numbers and notes when.
#![expect(
    clippy::disallowed_methods,
    reason = "this shell reads the clock and waits for the next number's turn"
)]

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::super::clock;
use super::super::stop::Stop;
use super::report::SentTimes;
use super::{ProbeNumber, RunId, datagram};

/// Most numbers per target: five minutes at the default pace, 12 MB of times for each target.
pub const NUMBERS: u32 = 1_500_000;
/// The default pace, the resolution of the measurement.
pub const PACE: Duration = Duration::from_micros(200);
/// A sender that was kept waiting for longer than this does not catch up: a burst would be dropped at the sink.
const CATCH_UP: Duration = Duration::from_millis(10);

/// What to probe.
#[derive(Debug, Clone)]
pub struct ProberOptions {
    /// Tells this prober's numbers from another's.
    pub run: RunId,
    /// Where the datagrams come from: the attacker's address, and a port of its own.
    pub source: SocketAddr,
    /// The sinks.
    pub targets: Vec<SocketAddr>,
    /// Time from one number to the next.
    pub pace: Duration,
    /// Numbers to send at most; capped at [`NUMBERS`].
    pub numbers: u32,
}

/// Why probing ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProberError {
    /// The source address cannot be used.
    #[error("send probes from {0}")]
    Bind(SocketAddr, #[source] io::Error),
}

/// Sends numbers to all targets until stopped, and tells when each was sent.
///
/// A number that the own kernel refuses counts as sent: it will be seen as dropped, which it was.
///
/// # Errors
/// When the source address cannot be used.
pub fn run(options: &ProberOptions, stop: &Stop) -> Result<Vec<SentTimes>, ProberError> {
    let socket = clock::udp(options.source).map_err(|error| ProberError::Bind(options.source, error))?;
    let source = socket.local_addr().map_err(|error| ProberError::Bind(options.source, error))?;
    let mut sent: Vec<SentTimes> =
        options.targets.iter().map(|target| SentTimes::new(options.run, *target)).collect();
    let mut turn = Instant::now();
    for number in (0..options.numbers.min(NUMBERS)).map(ProbeNumber) {
        if stop.ended() {
            break;
        }
        for times in &mut sent {
            let text = datagram(options.run, number, (source, times.target));
            times.at.push(clock::now());
            // See above: a refusal is a drop.
            let _sent = socket.send_to(text.as_bytes(), times.target);
        }
        turn = wait_for_turn(turn + options.pace);
    }
    Ok(sent)
}

fn wait_for_turn(turn: Instant) -> Instant {
    let now = Instant::now();
    match turn.checked_duration_since(now) {
        Some(early) => {
            thread::sleep(early);
            turn
        }
        None if now.duration_since(turn) < CATCH_UP => turn,
        None => now,
    }
}
