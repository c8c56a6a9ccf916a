//! What an engine saw, in numbers.

/// Counts since the engine was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Frames.
    pub packets: u64,
    /// UDP datagrams to or from a SIP port.
    pub datagrams: u64,
    /// Datagrams, and messages of TCP streams, that could be read as SIP.
    pub sip_messages: u64,
    /// Datagrams that began as SIP and could not be read.
    pub malformed: u64,
    /// Datagrams of other protocols on a SIP port.
    pub not_sip: u64,
    /// Datagrams that keep a NAT's binding alive.
    pub keepalives: u64,
    /// Pieces of larger packets.
    pub fragments: u64,
    /// Packets that were put together of them.
    pub reassembled: u64,
    /// TCP segments to or from a SIP port.
    pub tcp_segments: u64,
    /// Frames whose headers cannot be read.
    pub unreadable: u64,
    /// Addresses (of IPv6: /64 networks) that sent SIP requests; at most 65,536 are told apart.
    pub sources: u64,
    /// Requests that are never blamed on their source: from own and local addresses.
    pub exempt: u64,
    /// Bad registrations.
    pub strikes: u64,
    /// Answers that told a source that there is no such account or number.
    pub enumerations: u64,
    /// Verdicts.
    pub attacks: u64,
    /// Notes.
    pub notes: u64,
    /// Verdicts and notes that were not told because there were too many at once.
    pub suppressed: u64,
    /// Packets of blocked sources, which were not looked at.
    pub passed_over: u64,
    /// Requests with credentials to which no final answer came in time.
    pub unanswered: u64,
    /// What left a table before its time because the table was full, strikes and nonces that found no place, fragments of which no
    /// packet became, streams that made room and gaps in them.
    pub evicted: u64,
}
