//! Every bound of the server in one place. The defaults are for production; tests shorten times.

use std::time::Duration;

/// Bounds of the accept loop, of requests and of event streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once: each holds two buffers of at most [`Limits::header_bytes`], so 32 MiB in all. Beyond it,
    /// new ones wait in the kernel's backlog.
    pub connections: usize,
    /// Connections at once from one address (one /64 for IPv6): a browser opens six, an office behind one address ten
    /// times that. Beyond it, new ones are closed at once.
    pub connections_per_address: usize,
    /// A TLS handshake must end within this.
    pub handshake_time: Duration,
    /// A request's headers must arrive within this, counted from the connection's last answer.
    pub header_time: Duration,
    /// Bytes of request line and headers.
    pub header_bytes: usize,
    /// Number of headers.
    pub headers: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// A body must arrive within this.
    pub body_time: Duration,
    /// A connection whose reader takes nothing for this long is cut.
    pub stalled_write_time: Duration,
    /// After a request to stop, open requests have this long to end.
    pub drain_time: Duration,
    /// Event streams at once on this host.
    pub streams: usize,
    /// Event streams at once of one session.
    pub streams_per_session: usize,
    /// Messages waiting for a slow reader of an event stream; a browser that lags more is cut and resumes by id.
    pub stream_messages: usize,
    /// A comment goes out on a silent event stream this often, under the usual idle time-outs of proxies.
    pub heartbeat: Duration,
    /// The hosts' soft state goes out at most this often.
    pub hosts_interval: Duration,
    /// How long a read waits for an index that this host has not applied yet.
    pub catch_up_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_per_address: 64,
            handshake_time: Duration::from_secs(5),
            header_time: Duration::from_secs(5),
            header_bytes: 16 * 1_024,
            headers: 64,
            body_bytes: 64 * 1_024,
            body_time: Duration::from_secs(10),
            stalled_write_time: Duration::from_secs(15),
            drain_time: Duration::from_secs(5),
            streams: 200,
            streams_per_session: 8,
            stream_messages: 256,
            heartbeat: Duration::from_secs(15),
            hosts_interval: Duration::from_secs(2),
            catch_up_time: Duration::from_secs(3),
        }
    }
}
