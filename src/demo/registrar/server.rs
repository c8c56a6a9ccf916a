//! The loop around the registrar: sockets, clock, tap.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::clock;
use super::super::probe::report::Arrived;
use super::super::probe::sink::Arrivals;
use super::super::stop::Stop;
use super::super::tap::Tap;
use super::core::{Arrival, Registrar};
use super::{Incident, RegistrarFigures, RegistrarOptions};

/// Addresses one registrar listens on: IPv4 and IPv6 of a few interfaces.
const SOCKETS: usize = 8;
/// Longest datagram taken: no SIP message of the demo comes near it.
const DATAGRAM_BYTES: usize = 16 << 10;
/// How often bindings are looked through for what is due.
const HOUSEKEEPING: Duration = Duration::from_millis(50);

/// What a running registrar tells. One JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Something happened.
    Incident(Incident),
    /// The figures so far: on request, and at the end.
    Figures(RegistrarFigures),
    /// The probes so far, one line for each run: on request, and at the end.
    Arrived(Arrived),
}

/// Why a registrar could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No address, or too many.
    #[error("listen on {0} addresses: a registrar takes 1 to {SOCKETS}")]
    Addresses(usize),
    /// An address that means all of them cannot be written into a record or a Via header.
    #[error("listen on {0}: name one address")]
    Unspecified(SocketAddr),
    /// An address cannot be used.
    #[error("listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// No randomness.
    #[error("draw the registrar's seed")]
    Seed(#[source] io::Error),
    /// A socket broke.
    #[error("receive on {0}")]
    Receive(SocketAddr, #[source] io::Error),
}

/// A registrar that listens.
#[derive(Debug)]
pub struct Server {
    ports: Vec<Port>,
    registrar: Mutex<Registrar>,
    tap: Option<Tap>,
}

#[derive(Debug)]
struct Port {
    local: SocketAddr,
    socket: UdpSocket,
    probes: Mutex<Arrivals>,
}

impl Server {
    /// Binds the addresses; port 0 takes a free one. With a tap every datagram is recorded.
    ///
    /// # Errors
    /// When an address cannot be used.
    pub fn bind(
        listen: &[SocketAddr],
        options: RegistrarOptions,
        tap: Option<Tap>,
    ) -> Result<Self, ServerError> {
        if listen.is_empty() || SOCKETS < listen.len() {
            return Err(ServerError::Addresses(listen.len()));
        }
        let ports = listen.iter().map(|address| Port::bind(*address)).collect::<Result<_, _>>()?;
        let registrar = Registrar::new(options, clock::dice().map_err(ServerError::Seed)?);
        Ok(Self { ports, registrar: Mutex::new(registrar), tap })
    }

    /// Where it listens, in the order in which it was asked.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ports.iter().map(|port| port.local)
    }

    /// Serves until stopped; `tell` hears every incident, and the figures at the end.
    ///
    /// # Errors
    /// When a socket breaks; the others are stopped then.
    pub fn run(&self, stop: &Stop, tell: impl Fn(Told) + Sync) -> Result<(), ServerError> {
        let served = thread::scope(|scope| {
            let receivers: Vec<_> = self
                .ports
                .iter()
                .map(|port| scope.spawn(|| self.serve(port, stop, &tell).inspect_err(|_| stop.end())))
                .collect();
            while !stop.wait(HOUSEKEEPING) {
                self.send_due();
                if stop.report_wanted() {
                    self.report(&tell);
                }
            }
            receivers.into_iter().try_for_each(|receiver| receiver.join().unwrap_or(Ok(())))
        });
        self.report(&tell);
        if let Some(tap) = &self.tap {
            tap.finish();
        }
        served
    }

    /// How many phones are registered.
    pub fn bound(&self) -> usize {
        held(&self.registrar).bound(clock::now())
    }

    /// Figures since the start.
    pub fn figures(&self) -> RegistrarFigures {
        held(&self.registrar).figures()
    }

    fn serve(&self, port: &Port, stop: &Stop, tell: &(impl Fn(Told) + Sync)) -> Result<(), ServerError> {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        while !stop.ended() {
            let (length, source) = match port.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if clock::passes(&error) => continue,
                Err(error) => return Err(ServerError::Receive(port.local, error)),
            };
            let datagram = buffer.get(..length).unwrap_or_default();
            let arrival = Arrival { source, local: port.local, at: clock::now() };
            self.record(arrival.at, (source, port.local), datagram);
            if !held(&port.probes).observe(datagram) {
                self.answer(port, arrival, datagram, tell);
            }
        }
        Ok(())
    }

    fn answer(&self, port: &Port, arrival: Arrival, datagram: &[u8], tell: &(impl Fn(Told) + Sync)) {
        let handled = held(&self.registrar).handle(arrival, datagram);
        let mut sent_at = arrival.at;
        if let Some(answer) = &handled.answer {
            sent_at = clock::now();
            self.record(sent_at, (port.local, arrival.source), answer);
            // An answer that the kernel refuses is lost, as one on the wire may be.
            let _sent = port.socket.send_to(answer, arrival.source);
        }
        if let Some(incident) = handled.incident {
            tell(Told::Incident(incident.told_at(sent_at)));
        }
    }

    fn send_due(&self) {
        let now = clock::now();
        for request in held(&self.registrar).due(now) {
            let Some(port) = self.ports.iter().find(|port| port.local == request.local) else {
                continue;
            };
            self.record(now, (port.local, request.target), &request.datagram);
            // As above; the phone is asked again.
            let _sent = port.socket.send_to(&request.datagram, request.target);
        }
    }

    fn record(&self, at: log_format::time::Timestamp, ends: (SocketAddr, SocketAddr), datagram: &[u8]) {
        if let Some(tap) = &self.tap {
            // What no packet can carry did not come over this socket.
            let _recorded = tap.record(at, ends, datagram);
        }
    }

    fn report(&self, tell: &impl Fn(Told)) {
        tell(Told::Figures(self.figures()));
        for port in &self.ports {
            held(&port.probes).report(port.local).into_iter().map(Told::Arrived).for_each(tell);
        }
    }
}

impl Port {
    fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        if address.ip().is_unspecified() {
            return Err(ServerError::Unspecified(address));
        }
        let socket = clock::udp(address).map_err(|error| ServerError::Listen(address, error))?;
        let local = socket.local_addr().map_err(|error| ServerError::Listen(address, error))?;
        Ok(Self { local, socket, probes: Mutex::default() })
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // A receiver that died is reported by its thread; what it held is whole after every step.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
