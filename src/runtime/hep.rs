//! Takes the reports of telephone systems in, over HEP version 3, and hands them to a sensor.
//!
//! Reports come from a system that says the truth or from somebody who knows its key; everything else is refused, and of that
//! one line a minute is logged.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sensors::hep::{self, ParseError, Report};
use socket2::SockRef;

use crate::config::{HepConfig, HepKey};

/// How long [`Listener::next`] waits before its caller may look around.
const WAIT: Duration = Duration::from_millis(50);
/// What the kernel holds while the engine is busy: some thousand reports.
const BUFFER: usize = 4 << 20;
/// No datagram is longer.
const MAX_DATAGRAM: usize = 65_535;
/// How often refused reports are logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The socket that reports come to.
pub(super) struct Listener {
    socket: UdpSocket,
    key: Option<HepKey>,
    datagram: Box<[u8]>,
}

/// Why a report is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It cannot be read.
    #[error("read report of {sender}")]
    Unreadable {
        /// Who sent it, by his own account.
        sender: SocketAddr,
        /// Why.
        source: ParseError,
    },
    /// It carries another key than `sensor.hep_key`, or none.
    #[error("report of {sender} does not carry sensor.hep_key")]
    Key {
        /// Who sent it, by his own account.
        sender: SocketAddr,
    },
}

impl Listener {
    pub(super) fn bind(config: &HepConfig) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(config.listen)?;
        socket.set_read_timeout(Some(WAIT))?;
        // The system may give less.
        let _ = SockRef::from(&socket).set_recv_buffer_size(BUFFER);
        Ok(Self { socket, key: config.key.clone(), datagram: vec![0; MAX_DATAGRAM].into() })
    }

    /// The next report; `None` if none came for a moment.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Result<Report<'_>, Refused>>> {
        let is_quiet = |error: &std::io::Error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
        };
        let (length, sender) = match self.socket.recv_from(&mut self.datagram) {
            Ok(received) => received,
            Err(error) if is_quiet(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let datagram = self.datagram.get(..length).unwrap_or_default();
        Ok(Some(admit(datagram, sender, self.key.as_ref())))
    }
}

fn admit<'a>(datagram: &'a [u8], sender: SocketAddr, key: Option<&HepKey>) -> Result<Report<'a>, Refused> {
    let report = hep::parse(datagram).map_err(|source| Refused::Unreadable { sender, source })?;
    match key {
        Some(key) if !is_equal(key.as_bytes(), report.key) => Err(Refused::Key { sender }),
        Some(_) | None => Ok(report),
    }
}

/// Takes as long for a key that is nearly right as for one that is wrong from the start.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Says of refused reports what a person can use, once a minute.
#[derive(Default)]
pub(super) struct Complaints {
    refused: u64,
    next: Duration,
}

impl Complaints {
    /// Notes one; gives how many there were since the last time if it is time to say so.
    pub(super) fn note(&mut self, now: Duration) -> Option<u64> {
        self.refused += 1;
        if now < self.next {
            return None;
        }
        self.next = now + COMPLAIN_EVERY;
        Some(std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
#[path = "hep_tests.rs"]
mod tests;
