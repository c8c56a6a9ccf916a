//! One persistent netlink socket. The kernel works on a request while it is sent, so every answer is there when the
//! sending returns: nothing here waits.

use std::io;

use netlink_sys::{Socket, SocketAddr};

use super::parse::{Attributes, Body, Malformed, Message, Messages};
use super::wire::{Answer, ElementStep, Encoder, Place, Verb, attribute};

/// `NETLINK_NETFILTER`
const PROTOCOL: isize = 12;
/// Bytes of the receive buffer that the kernel is asked for; it gives less where `net.core.rmem_max` is lower.
const RECEIVE_BUFFER: i32 = 4 * 1024 * 1024;
/// Bytes of one datagram: the kernel fills at most 32 KiB at a time.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// How often a listing is asked for again that changed halfway.
const MAX_LISTINGS: u32 = 16;
/// Answers to one request before it is given up: the elements of a full set, one a datagram.
const MAX_DATAGRAMS: u32 = 1_048_576;

/// Linux error numbers that mean something here (the same on every architecture that Rust's tier 1 and 2 have for servers).
pub(super) mod errno {
    /// `ENOENT`
    pub(crate) const NOT_FOUND: i32 = 2;
    /// `EEXIST`
    pub(crate) const EXISTS: i32 = 17;
    /// `ENFILE`: the set is full.
    pub(crate) const FULL: i32 = 23;
    /// `ENOBUFS`: answers were lost.
    pub(crate) const NO_BUFFERS: i32 = 105;
}

/// What failed between this process and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("open netlink socket")]
    Open(#[source] io::Error),
    /// A request did not leave.
    #[error("send to netlink socket")]
    Send(#[source] io::Error),
    /// An answer did not arrive.
    #[error("receive from netlink socket")]
    Receive(#[source] io::Error),
    /// The kernel said no.
    #[error("kernel refused")]
    Refused(#[source] io::Error),
    /// The kernel's answer makes no sense.
    #[error("read netlink answer")]
    Malformed(#[from] Malformed),
    /// The kernel did not answer.
    #[error("no answer from the kernel")]
    Silent,
    /// Others change the rules faster than they can be read.
    #[error("rules change faster than they can be listed")]
    Restless,
}

impl NetlinkError {
    /// Whether the kernel said that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the kernel said that this process may not.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// All of it holds.
    Committed,
    /// None of it holds: which steps the kernel refused, and the error's number.
    Refused(Vec<(usize, i32)>),
    /// None of it holds, for so many reasons that they did not fit into the socket's buffer.
    Overflow,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Complete.
    Whole,
    /// Something changed meanwhile.
    Interrupted,
}

/// The socket with its buffers.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    commits: u32,
    request: Encoder,
    answer: Vec<u8>,
}

impl Netlink {
    /// Opens the socket in the calling thread's network namespace, where it stays.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(PROTOCOL).map_err(NetlinkError::Open)?;
        socket.bind_auto().map_err(NetlinkError::Open)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(NetlinkError::Open)?;
        socket.set_non_blocking(true).map_err(NetlinkError::Open)?;
        socket.set_cap_ack(true).map_err(NetlinkError::Open)?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER).map_err(NetlinkError::Open)?;
        Ok(Self {
            socket,
            sequence: 0,
            commits: 0,
            request: Encoder::default(),
            answer: Vec::with_capacity(DATAGRAM_BYTES),
        })
    }

    /// Changes sets in one transaction: all of it, or nothing.
    pub(super) fn transact(
        &mut self,
        place: Place<'_>,
        steps: &[ElementStep],
    ) -> Result<Reply, NetlinkError> {
        let Some(last) = steps.len().checked_sub(1) else {
            return Ok(Reply::Committed);
        };
        let first = self.begin_batch();
        for (at, step) in steps.iter().enumerate() {
            let answer = if at == last { Answer::Acknowledge } else { Answer::None };
            let sequence = self.next_sequence();
            self.request.element(place, *step, sequence, answer);
        }
        self.end_batch()?;
        self.verdict(first, steps.len())
    }

    /// Deletes a table.
    pub(super) fn delete_table(&mut self, place: Place<'_>) -> Result<(), NetlinkError> {
        let first = self.begin_batch();
        let sequence = self.next_sequence();
        self.request.delete_table(place, sequence);
        self.end_batch()?;
        match self.verdict(first, 1)? {
            Reply::Committed => Ok(()),
            Reply::Refused(reasons) => {
                Err(reasons.first().map_or(NetlinkError::Silent, |(_, number)| refused(*number)))
            }
            Reply::Overflow => Err(NetlinkError::Silent),
        }
    }

    /// How often anybody but this socket has changed the rules of the namespace, up to a constant: the same number twice
    /// says that nobody did in between.
    pub(super) fn foreign_changes(&mut self) -> Result<u32, NetlinkError> {
        let mut generation = None;
        self.ask(|request, sequence| request.get_generation(sequence), &mut |attributes| {
            generation = attributes.number(attribute::GENERATION)
        })?;
        let generation = generation.ok_or(NetlinkError::Silent)?;
        Ok(generation.wrapping_sub(self.commits))
    }

    /// Reads one table's attributes.
    pub(super) fn table<T>(
        &mut self,
        place: Place<'_>,
        mut read: impl FnMut(Attributes<'_>) -> T,
    ) -> Result<Option<T>, NetlinkError> {
        let mut found = None;
        let asked = self.ask(|request, sequence| request.get_table(place, sequence), &mut |attributes| {
            found = Some(read(attributes))
        });
        match asked {
            Ok(_) => Ok(found),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists what a table has of a kind. A table that is not there has nothing.
    pub(super) fn list<T>(
        &mut self,
        verb: Verb,
        place: Place<'_>,
        mut read: impl FnMut(Attributes<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.listing(
            |request, sequence| request.dump(verb, place, sequence),
            |attributes, found| found.extend(read(attributes)),
        )
    }

    /// Lists the elements of a set. A set that is not there has none.
    pub(super) fn elements<T, I: Iterator<Item = T>>(
        &mut self,
        place: Place<'_>,
        set: &str,
        mut read: impl FnMut(Attributes<'_>) -> I,
    ) -> Result<Vec<T>, NetlinkError>
where {
        self.listing(
            |request, sequence| request.dump_elements(place, set, sequence),
            |attributes, found| found.extend(read(attributes)),
        )
    }

    /// Asks again until nothing changed while the kernel listed.
    fn listing<T>(
        &mut self,
        write: impl Fn(&mut Encoder, u32),
        mut collect: impl FnMut(Attributes<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..MAX_LISTINGS {
            let mut found = Vec::new();
            match self.ask(&write, &mut |attributes| collect(attributes, &mut found)) {
                Ok(Ending::Whole) => return Ok(found),
                Ok(Ending::Interrupted) => {}
                Err(error) if error.is_not_found() => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        Err(NetlinkError::Restless)
    }

    /// Sends a request and reads its answers to the end.
    fn ask(
        &mut self,
        write: impl FnOnce(&mut Encoder, u32),
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<Ending, NetlinkError> {
        let sequence = self.next_sequence();
        self.request.clear();
        write(&mut self.request, sequence);
        self.send()?;
        let mut ending = Ending::Whole;
        for _ in 0..MAX_DATAGRAMS {
            if !self.receive()? {
                return Err(NetlinkError::Silent);
            }
            for message in Messages(&self.answer) {
                let Message { sequence: about, body, interrupted } = message?;
                if about != sequence {
                    continue;
                }
                if interrupted {
                    ending = Ending::Interrupted;
                }
                match body {
                    Body::Acknowledged | Body::Done => return Ok(ending),
                    Body::Refused(number) => return Err(refused(number)),
                    Body::Thing(attributes) => each(attributes),
                }
            }
        }
        Err(NetlinkError::Silent)
    }

    /// Starts a transaction; returns the sequence number of its first message.
    fn begin_batch(&mut self) -> u32 {
        self.request.clear();
        let sequence = self.next_sequence();
        self.request.begin_batch(sequence);
        sequence
    }

    fn end_batch(&mut self) -> Result<(), NetlinkError> {
        let sequence = self.next_sequence();
        self.request.end_batch(sequence);
        self.send()
    }

    /// Reads what the kernel says of a transaction whose messages follow the sequence number `first`.
    fn verdict(&mut self, first: u32, steps: usize) -> Result<Reply, NetlinkError> {
        let mut acknowledged = false;
        let mut reasons = Vec::new();
        loop {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => break,
                Err(NetlinkError::Receive(error)) if error.raw_os_error() == Some(errno::NO_BUFFERS) => {
                    self.discard()?;
                    return Ok(Reply::Overflow);
                }
                Err(error) => return Err(error),
            }
            for message in Messages(&self.answer) {
                let Message { sequence, body, .. } = message?;
                let at = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                match (body, at.checked_sub(1)) {
                    (Body::Refused(number), None) => return Err(refused(number)),
                    (Body::Refused(number), Some(step)) if step < steps => reasons.push((step, number)),
                    (Body::Acknowledged, Some(step)) if step < steps => acknowledged = true,
                    (Body::Acknowledged | Body::Done | Body::Refused(_) | Body::Thing(_), _) => {}
                }
            }
        }
        match (reasons.is_empty(), acknowledged) {
            (false, _) => Ok(Reply::Refused(reasons)),
            (true, true) => {
                self.commits = self.commits.wrapping_add(1);
                Ok(Reply::Committed)
            }
            (true, false) => Err(NetlinkError::Silent),
        }
    }

    /// Empties the socket.
    fn discard(&mut self) -> Result<(), NetlinkError> {
        while self.receive()? {}
        Ok(())
    }

    fn send(&mut self) -> Result<(), NetlinkError> {
        let bytes = self.request.bytes();
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NetlinkError::Send(error)),
            }
        }
    }

    /// Takes one datagram; `false`: there is none.
    fn receive(&mut self) -> Result<bool, NetlinkError> {
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, 0) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NetlinkError::Receive(error)),
            }
        }
    }

    /// Numbers go round; answers are matched with what was just asked.
    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

fn refused(number: i32) -> NetlinkError {
    NetlinkError::Refused(io::Error::from_raw_os_error(number))
}
