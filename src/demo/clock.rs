//! The traffic programs' clock, and their sockets.
#![expect(clippy::disallowed_methods, reason = "this is the shell that reads the clock and draws randomness")]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log_format::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::dice::Dice;

/// How long a receiving loop waits before it looks at its stop flag again.
pub(super) const LOOK_UP: Duration = Duration::from_millis(50);

/// Receive buffer asked of the kernel: about a second of the fastest prober, so that a busy machine that lets the
/// receiver wait for its turn does not look like a firewall that drops.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Wall-clock time, to compare what several processes of one machine saw.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::ZERO.after(since_epoch)
}

/// Dice seeded by the operating system.
pub(super) fn dice() -> io::Result<Dice> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Dice::new(u64::from_ne_bytes(seed)))
}

/// A bound UDP socket that wakes its reader every [`LOOK_UP`].
pub(super) fn udp(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(&listen.into())?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    Ok(socket.into())
}

/// Waits for a datagram, to the microsecond; a socket's own timeout is rounded up to whole ticks of the kernel.
pub(super) fn readable(socket: &UdpSocket, at_most: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(0 < ready),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a receive failed for a reason that passes: the wait was over, a signal came, or an earlier datagram of ours
/// was refused by its target (Linux reports that on the next call).
pub(super) fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut, WouldBlock,
    };
    [ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut, WouldBlock]
        .contains(&error.kind())
}
