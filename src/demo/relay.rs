//! Lets a browser outside reach the console inside a network namespace.
//!
//! ```text
//! browser ─TCP─> outer (root namespace) ─unix socket─> inner (host's namespace) ─TCP─> console
//! ```
//! A unix socket with a path belongs to the file system, not to a network namespace, so it crosses the border. The
//! caller puts its path into a directory of mode 0700.
#![expect(
    clippy::disallowed_methods,
    reason = "this shell starts a thread for each direction of a connection"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::stop::Stop;

/// Connections carried at once: a few browsers with an event stream each. More are closed at once.
const CONNECTIONS: usize = 64;
/// Bytes moved at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// How long a copying thread waits before it looks at the stop flag again.
const LOOK_UP: Duration = Duration::from_millis(200);
/// Time for a connection inside the machine to come about.
const CONNECT: Duration = Duration::from_secs(2);

/// What the relay could not do.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The unix socket could not be bound.
    #[error("listen on {0}")]
    Listen(PathBuf, #[source] io::Error),
    /// The listener cannot be polled.
    #[error("make the listener wake up")]
    Poll(#[source] io::Error),
    /// The listener broke.
    #[error("accept a connection")]
    Accept(#[source] io::Error),
}

/// Carries each connection of `listener` to the unix socket at `path`, until stopped.
///
/// # Errors
/// When the listener breaks. A connection that cannot be carried is closed and ends nothing else.
pub fn outer(listener: &TcpListener, path: &Path, stop: &Stop) -> Result<(), RelayError> {
    listener.set_nonblocking(true).map_err(RelayError::Poll)?;
    let path = path.to_owned();
    serve(|| listener.accept().map(|(stream, _peer)| stream), move || UnixStream::connect(&path), stop)
}

/// Listens on the unix socket at `path` and carries each connection to `target`, until stopped. Removes the path.
///
/// # Errors
/// When the socket cannot be bound (a path that exists is not replaced) or breaks.
pub fn inner(path: &Path, target: SocketAddr, stop: &Stop) -> Result<(), RelayError> {
    let listener = UnixListener::bind(path).map_err(|error| RelayError::Listen(path.to_owned(), error))?;
    let served = listener.set_nonblocking(true).map_err(RelayError::Poll).and_then(|()| {
        serve(
            || listener.accept().map(|(stream, _peer)| stream),
            move || TcpStream::connect_timeout(&target, CONNECT),
            stop,
        )
    });
    // The socket is of no use any more; a path that somebody else removed is no failure.
    let _removed = std::fs::remove_file(path);
    served
}

/// One side of a carried connection.
trait Side: Read + Write + Send + Sized + 'static {
    fn again(&self) -> io::Result<Self>;
    fn close(&self, how: Shutdown) -> io::Result<()>;
    fn prepare(&self) -> io::Result<()>;
}

macro_rules! side {
    ($stream:ty) => {
        impl Side for $stream {
            fn again(&self) -> io::Result<Self> {
                self.try_clone()
            }

            fn close(&self, how: Shutdown) -> io::Result<()> {
                self.shutdown(how)
            }

            fn prepare(&self) -> io::Result<()> {
                self.set_nonblocking(false)?;
                self.set_read_timeout(Some(LOOK_UP))
            }
        }
    };
}
side!(TcpStream);
side!(UnixStream);

fn serve<A: Side, B: Side>(
    mut accept: impl FnMut() -> io::Result<A>,
    connect: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    stop: &Stop,
) -> Result<(), RelayError> {
    let connect = Arc::new(connect);
    let open = Arc::new(AtomicUsize::new(0));
    while !stop.ended() {
        let near = match accept() {
            Ok(near) => near,
            Err(error) if transient(&error) => {
                stop.wait(Duration::from_millis(10));
                continue;
            }
            Err(error) => return Err(RelayError::Accept(error)),
        };
        if CONNECTIONS <= open.load(Ordering::SeqCst) {
            continue;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let (connect, open, stop) = (Arc::clone(&connect), Arc::clone(&open), stop.clone());
        thread::spawn(move || {
            // A far side that is not there closes this connection; the browser tries again.
            let _carried = connect().and_then(|far| carry(&near, &far, &stop));
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
    Ok(())
}

/// Moves bytes both ways until both sides have finished.
fn carry(near: &impl Side, far: &impl Side, stop: &Stop) -> io::Result<()> {
    near.prepare()?;
    far.prepare()?;
    let (mut back_from, mut back_to, back_stop) = (far.again()?, near.again()?, stop.clone());
    let back = thread::spawn(move || copy(&mut back_from, &mut back_to, &back_stop));
    let (mut from, mut to) = (near.again()?, far.again()?);
    let there = copy(&mut from, &mut to, stop);
    let back = back.join().unwrap_or(Ok(()));
    there.and(back)
}

fn copy(from: &mut impl Side, to: &mut impl Side, stop: &Stop) -> io::Result<()> {
    let moved = pump(from, to, stop);
    // The other direction may go on after a clean end, and has nobody to talk to after an error.
    let how = if moved.is_ok() && !stop.ended() { Shutdown::Write } else { Shutdown::Both };
    let _closed = to.close(how);
    if how == Shutdown::Both {
        let _closed = from.close(how);
    }
    moved
}

fn pump(from: &mut impl Side, to: &mut impl Side, stop: &Stop) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while !stop.ended() {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if transient(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an accept or a read failed only because nothing was there, or because a peer had gone before its turn.
fn transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, TimedOut, WouldBlock};
    [ConnectionAborted, Interrupted, TimedOut, WouldBlock].contains(&error.kind())
}
