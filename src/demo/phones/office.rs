//! Many phones at once, each with its own port, as behind one NAT address.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::clock;
use super::super::registrar::password_of;
use super::super::stop::Stop;
use super::{Phone, PhoneFigures, PhoneOptions};

/// Phones of one office: each has a thread that mostly sleeps.
pub const PHONES: u32 = 500;
/// Stack of a phone's thread; it holds one datagram.
const STACK_BYTES: usize = 256 << 10;
/// Longest datagram a phone takes.
const DATAGRAM_BYTES: usize = 4 << 10;
/// Longest sleep before a phone looks at its stop flag; half a second of a hundred phones is little work.
const LOOK_UP: Duration = Duration::from_millis(500);

/// The settings of an office.
#[derive(Debug, Clone)]
pub struct OfficeOptions {
    /// The one address of all phones.
    pub address: IpAddr,
    /// The first phone's port; the others follow. 0: free ports.
    pub first_port: u16,
    /// How many; at most [`PHONES`].
    pub phones: u32,
    /// The first account's number; the passwords are those of [`password_of`].
    pub first_account: u32,
    /// The name after the `@`.
    pub domain: String,
    /// Where they register.
    pub registrar: SocketAddr,
    /// Time from one registration to the next.
    pub interval: Duration,
    /// Time between blank lines, if any.
    pub keep_alive: Option<Duration>,
    /// Time over which the first registrations are spread.
    pub spread: Duration,
}

/// What an office did. One JSON line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OfficeFigures {
    /// Phones in the office.
    pub phones: u32,
    /// Phones whose last registration succeeded.
    pub registered: u32,
    /// Everything they did.
    #[serde(flatten)]
    pub sum: PhoneFigures,
}

/// Why an office did not open, or closed.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// Too many phones.
    #[error("run {0} phones: an office has {PHONES} at most")]
    Phones(u32),
    /// A port cannot be used.
    #[error("give a phone the port {0}")]
    Bind(SocketAddr, #[source] io::Error),
    /// No randomness.
    #[error("draw the office's seed")]
    Seed(#[source] io::Error),
    /// No thread.
    #[error("start a phone")]
    Start(#[source] io::Error),
    /// A socket broke.
    #[error("use the phone at {0}")]
    Socket(SocketAddr, #[source] io::Error),
}

/// Runs the phones until stopped. `report` gets the figures whenever they are asked for, and at the end.
///
/// # Errors
/// When a phone cannot be started or its socket breaks; the others are stopped then.
pub fn run(
    options: &OfficeOptions,
    stop: &Stop,
    mut report: impl FnMut(OfficeFigures),
) -> Result<OfficeFigures, OfficeError> {
    let seats = open(options)?;
    let ran = thread::scope(|scope| {
        let started: Result<Vec<_>, _> = seats
            .iter()
            .map(|seat| {
                let sit = || seat.sit(options.registrar, stop).inspect_err(|_| stop.end());
                thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, sit)
            })
            .collect();
        let threads = started.inspect_err(|_| stop.end()).map_err(OfficeError::Start)?;
        while !stop.wait(clock::LOOK_UP) {
            if stop.report_wanted() {
                report(figures(&seats));
            }
        }
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    });
    let figures = figures(&seats);
    report(figures);
    ran.map(|()| figures)
}

/// A phone and its socket.
struct Seat {
    local: SocketAddr,
    socket: UdpSocket,
    phone: Mutex<Phone>,
}

fn open(options: &OfficeOptions) -> Result<Vec<Seat>, OfficeError> {
    if PHONES < options.phones {
        return Err(OfficeError::Phones(options.phones));
    }
    let (mut dice, now) = (clock::dice().map_err(OfficeError::Seed)?, clock::now());
    let seat = |index: u32| {
        let port = if options.first_port == 0 { 0 } else { options.first_port.saturating_add(index as u16) };
        let asked = SocketAddr::new(options.address, port);
        let bind = |error| OfficeError::Bind(asked, error);
        let socket = UdpSocket::bind(asked).map_err(bind)?;
        let local = socket.local_addr().map_err(bind)?;
        let account = options.first_account.saturating_add(index).to_string();
        let settings = PhoneOptions {
            password: password_of(&account),
            account,
            domain: options.domain.clone(),
            contact: local,
            interval: options.interval,
            keep_alive: options.keep_alive,
        };
        let first = now.after(options.spread.mul_f64(f64::from(index) / f64::from(options.phones)));
        Ok(Seat { local, socket, phone: Mutex::new(Phone::new(settings, dice.fork(), first)) })
    };
    (0..options.phones).map(seat).collect()
}

fn figures(seats: &[Seat]) -> OfficeFigures {
    let mut figures = OfficeFigures { phones: seats.len() as u32, ..OfficeFigures::default() };
    for seat in seats {
        seat.with_phone(|phone| {
            figures.registered += u32::from(phone.is_registered());
            figures.sum.add(phone.figures());
        });
    }
    figures
}

impl Seat {
    fn sit(&self, registrar: SocketAddr, stop: &Stop) -> Result<(), OfficeError> {
        let broken = |error| OfficeError::Socket(self.local, error);
        let mut buffer = vec![0; DATAGRAM_BYTES];
        while !stop.ended() {
            let now = clock::now();
            let (out, wake) = self.with_phone(|phone| (phone.poll(now), phone.next_wake()));
            out.iter().for_each(|datagram| self.send(datagram, registrar));
            self.socket.set_read_timeout(Some(patience(now, wake))).map_err(broken)?;
            let received = match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == registrar => buffer.get(..length).unwrap_or_default(),
                Ok(_stranger) => continue,
                Err(error) if clock::passes(&error) => continue,
                Err(error) => return Err(broken(error)),
            };
            if let Some(answer) = self.with_phone(|phone| phone.receive(received, clock::now())) {
                self.send(&answer, registrar);
            }
        }
        Ok(())
    }

    fn send(&self, datagram: &[u8], registrar: SocketAddr) {
        // A datagram that the kernel refuses is lost, as one on the wire may be: the phone repeats it.
        let _sent = self.socket.send_to(datagram, registrar);
    }

    fn with_phone<T>(&self, act: impl FnOnce(&mut Phone) -> T) -> T {
        act(&mut self.phone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long a phone may sleep; never zero, which would mean for ever.
fn patience(now: Timestamp, wake: Timestamp) -> Duration {
    wake.since(now).clamp(Duration::from_millis(1), LOOK_UP)
}
