//! The demo's traffic programs talk to each other over real sockets; `wire.rs` has the same over a wire.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are shells: they start programs, threads and read their files"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use palisade::demo::attackers::enumerate::{self, EnumerateOptions, Persistence};
use palisade::demo::attackers::guess::{self, GuessOptions, Manner, Words};
use palisade::demo::attackers::scan::{self, ScanOptions};
use palisade::demo::attackers::{AttackFigures, AttackOptions, Ended};
use palisade::demo::phones::office::{self, OfficeFigures, OfficeOptions};
use palisade::demo::probe::prober::{self, ProberOptions};
use palisade::demo::probe::report::{Arrived, first_drop_after};
use palisade::demo::probe::{ProbeNumber, RunId};
use palisade::demo::registrar::server::{Server, Told};
use palisade::demo::registrar::{
    Incident, RegistrarFigures, RegistrarOptions, UnknownUser, WrongPassword, numbered_accounts, password_of,
};
use palisade::demo::relay;
use palisade::demo::stop::Stop;
use palisade::demo::tap::{AddressMap, Tap};

use crate::support::{Scratch, output_of, wait_until};

/// What the scanner's and the phones' loopback addresses are in a record.
const RECORDED_REGISTRAR: &str = "198.51.100.10:5060";

#[test]
fn a_hundred_phones_register_renew_and_answer() {
    let registrar = Registrar::start(with_accounts(100), None);
    let office = Office::open(office_at(registrar.address, 100));
    wait_until("every phone has renewed twice and answered an OPTIONS", || {
        let figures = office.figures();
        300 <= figures.sum.successes && 100 <= figures.sum.options && 100 <= figures.sum.keep_alives
    });
    assert_eq!(registrar.server.bound(), 100);
    let figures = office.close();
    assert_eq!((figures.registered, figures.sum.refusals, figures.sum.silences), (100, 0, 0));
    // Each phone was challenged once and then answered with the same nonce again.
    assert_eq!((figures.sum.challenges, figures.sum.stale), (100, 0));
    assert_eq!(registrar.end().0.rejected, 0);
}

#[test]
fn phones_with_old_nonces_are_told_so_and_stay() {
    let options = RegistrarOptions { nonce_lifetime: Duration::from_millis(1), ..with_accounts(5) };
    let registrar = Registrar::start(options, None);
    let office = Office::open(office_at(registrar.address, 5));
    wait_until("nonces have grown old", || 20 <= office.figures().sum.stale);
    assert_eq!(office.close().sum.refusals, 0);
    let (figures, incidents) = registrar.end();
    assert!(20 <= figures.stale);
    assert!(incidents.iter().all(|incident| matches!(incident, Incident::Registered { .. })));
}

#[test]
fn guesses_are_rejected_one_by_one_and_the_right_password_is_found() {
    for (manner, wrong_password, status) in [
        (Manner::Svcrack, WrongPassword::Challenge, 401),
        (Manner::SvcrackOneNonce, WrongPassword::Challenge, 401),
        (Manner::Fpbx, WrongPassword::Forbid, 403),
    ] {
        let registrar = Registrar::start(RegistrarOptions { wrong_password, ..with_accounts(1) }, None);
        let mut words: Vec<String> = (0..20).map(|number| format!("secret{number}")).collect();
        words.push(password_of("1001"));
        let figures = guess_at(registrar.address, manner, words);
        assert_eq!(figures.ended, Ended::Found, "{manner:?}");
        assert_eq!(figures.found, [format!("1001:{}", password_of("1001"))]);
        assert_eq!((figures.rejected, figures.unanswered), (20, 0), "{manner:?}");
        let counts: Vec<(u64, u16)> = registrar
            .end()
            .1
            .iter()
            .filter_map(|incident| match incident {
                Incident::Rejected { count, status, .. } => Some((*count, *status)),
                Incident::Registered { .. } => None,
            })
            .collect();
        assert_eq!(counts, (1..=20).map(|count| (count, status)).collect::<Vec<_>>(), "{manner:?}");
    }
}

#[test]
fn a_guesser_without_a_pace_goes_as_fast_as_it_is_answered() {
    let registrar = Registrar::start(with_accounts(1), None);
    let mut words: Vec<String> = (0..500).map(|number| format!("secret{number}")).collect();
    words.push(password_of("1001"));
    let attack = AttackOptions { pace: Duration::ZERO, ..attack() };
    let options = GuessOptions { attack, ..guessing(registrar.address, Manner::Svcrack, words) };
    let figures = guess::run(&options, &Stop::new()).unwrap();
    assert_eq!((figures.ended, figures.rejected, figures.unanswered), (Ended::Found, 500, 0));
}

#[test]
fn an_attacker_without_answers_goes_on_and_then_gives_up() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let attack = AttackOptions { give_up: Duration::from_millis(200), ..attack() };
    let options = GuessOptions {
        attack,
        target: silent.local_addr().unwrap(),
        account: "1001".to_owned(),
        words: Words::Numbers { first: 0, digits: 4 },
        manner: Manner::Svcrack,
    };
    let figures = guess::run(&options, &Stop::new()).unwrap();
    assert_eq!((figures.ended, figures.answered), (Ended::Silence, 0));
    assert!(1 < figures.sent && figures.unanswered == figures.sent, "{figures:?}");
}

#[test]
fn enumeration_pays_only_where_unknown_users_are_told_apart() {
    let enumerate = |unknown_user| {
        let registrar = Registrar::start(RegistrarOptions { unknown_user, ..with_accounts(3) }, None);
        let options = EnumerateOptions {
            attack: AttackOptions { requests: 30, ..attack() },
            target: registrar.address,
            first: 990,
            persistence: Persistence::Stop,
        };
        enumerate::run(&options, &Stop::new()).unwrap()
    };
    let telling = enumerate(UnknownUser::NotFound);
    assert_eq!((telling.ended, telling.sent, telling.answered), (Ended::Done, 30, 30));
    assert_eq!(telling.found, ["1001", "1002", "1003"]);
    let silent = enumerate(UnknownUser::AsWrongPassword);
    assert_eq!((silent.ended, silent.sent), (Ended::Hopeless, 1));
}

#[test]
fn a_scan_finds_the_registrar_on_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let registrar = Registrar::start_at(address.parse().unwrap(), with_accounts(1), None);
        let source = SocketAddr::new(registrar.address.ip(), 0);
        let options = ScanOptions {
            attack: AttackOptions { source, ..attack() },
            targets: vec![registrar.address],
            rounds: 3,
        };
        let figures = scan::run(&options, &Stop::new()).unwrap();
        assert_eq!((figures.sent, figures.answered), (3, 3));
        assert_eq!(figures.found, [registrar.address.to_string()]);
    }
}

#[test]
fn the_tap_records_both_directions_under_documentation_addresses() {
    let scratch = Scratch::new("tap");
    let files = [scratch.path().join("one.pcap"), scratch.path().join("fifo")];
    output_of(Command::new("/usr/bin/mkfifo").arg(&files[1]));
    let fifo = files[1].clone();
    let reader = thread::spawn(move || fs::read(fifo).unwrap());

    let address = free_address();
    let map = AddressMap::default()
        .endpoint(address, RECORDED_REGISTRAR.parse().unwrap())
        .address(address.ip(), "203.0.113.66".parse().unwrap());
    let tap = Tap::open(map, &files).unwrap();
    let registrar = Registrar::start_at(address, with_accounts(1), Some(tap.clone()));
    let figures = guess_at(registrar.address, Manner::Svcrack, vec!["a".to_owned(), "b".to_owned()]);
    registrar.end();

    let bytes = fs::read(&files[0]).unwrap();
    assert_eq!(bytes, reader.join().unwrap(), "file and FIFO hold the same");
    assert_eq!(tap.dropped(), 0);
    let packets = records(&bytes);
    assert_eq!(packets.len() as u64, figures.sent + figures.answered);
    let attacker = Ipv4Addr::new(203, 0, 113, 66).octets();
    for (index, packet) in packets.iter().enumerate() {
        let (source, port) = (&packet[12..16], u16::from_be_bytes([packet[20], packet[21]]));
        let from_attacker = index % 2 == 0;
        assert_eq!(source == attacker, from_attacker, "packet {index}");
        assert_eq!(port == 5060, !from_attacker, "packet {index}");
        let message = sip::parse(&packet[28..]).unwrap();
        assert_eq!(message.method().is_some(), from_attacker, "packet {index}");
    }
}

#[test]
fn probes_arrive_at_the_registrar_and_are_reported_on_request() {
    let registrar = Registrar::start(with_accounts(1), None);
    let options = ProberOptions {
        run: RunId(7),
        source: "127.0.0.1:0".parse().unwrap(),
        targets: vec![registrar.address],
        pace: prober::PACE,
        numbers: 500,
    };
    let sent = prober::run(&options, &Stop::new()).unwrap();
    assert_eq!(sent[0].at.len(), 500);
    let whole = vec![(ProbeNumber(0), ProbeNumber(499))];
    wait_until("all numbers are reported", || {
        registrar.stop.ask_for_report();
        registrar.arrived().is_some_and(|arrived| arrived.stretches == whole)
    });
    let arrived = registrar.arrived().unwrap();
    assert_eq!(first_drop_after(&sent[0], &arrived, sent[0].at[0]), None);
    // Probes are not SIP traffic of the registrar's: it neither counts nor answers them.
    assert_eq!(registrar.end().0.received, 0);
}

#[test]
fn the_relay_carries_both_directions_and_ends_with_its_stop() {
    let scratch = Scratch::new("relay");
    let path = scratch.path().join("console");
    let (console, outside) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (target, entrance) = (console.local_addr().unwrap(), outside.local_addr().unwrap());
    let stop = Stop::new();
    let inner = thread::spawn({
        let (path, stop) = (path.clone(), stop.clone());
        move || relay::inner(&path, target, &stop).unwrap()
    });
    wait_until("the inner side listens", || path.exists());
    let outer = thread::spawn({
        let (path, stop) = (path.clone(), stop.clone());
        move || relay::outer(&outside, &path, &stop).unwrap()
    });

    let body = vec![b'x'; 1 << 20];
    let serve = thread::spawn({
        let body = body.clone();
        move || {
            let (mut stream, _) = console.accept().unwrap();
            let mut asked = String::new();
            stream.read_to_string(&mut asked).unwrap();
            stream.write_all(&body).unwrap();
            asked
        }
    });
    let mut browser = TcpStream::connect(entrance).unwrap();
    browser.write_all(b"GET /").unwrap();
    browser.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    browser.read_to_end(&mut answer).unwrap();
    assert_eq!((serve.join().unwrap().as_str(), answer == body), ("GET /", true));

    let mut idle = TcpStream::connect(entrance).unwrap();
    stop.end();
    inner.join().unwrap();
    outer.join().unwrap();
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0, "an open connection ends too");
    assert!(!path.exists());
}

/// A registrar on loopback, serving in a thread of its own.
pub(crate) struct Registrar {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    server: Arc<Server>,
    told: Arc<Mutex<Vec<Told>>>,
    thread: Option<JoinHandle<()>>,
}

impl Registrar {
    fn start(options: RegistrarOptions, tap: Option<Tap>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), options, tap)
    }

    /// Binds in the calling thread: its namespace is the registrar's.
    pub(crate) fn start_at(listen: SocketAddr, options: RegistrarOptions, tap: Option<Tap>) -> Self {
        let server = Arc::new(Server::bind(&[listen], options, tap).unwrap());
        let (stop, told) = (Stop::new(), Arc::new(Mutex::new(Vec::new())));
        let thread = thread::spawn({
            let (server, stop, told) = (Arc::clone(&server), stop.clone(), Arc::clone(&told));
            move || server.run(&stop, |line| told.lock().unwrap().push(line)).unwrap()
        });
        let address = server.addresses().next().unwrap();
        Self { address, stop, server, told, thread: Some(thread) }
    }

    pub(crate) fn arrived(&self) -> Option<Arrived> {
        let told = self.told.lock().unwrap();
        told.iter().rev().find_map(|line| match line {
            Told::Arrived(arrived) => Some(arrived.clone()),
            Told::Incident(_) | Told::Figures(_) => None,
        })
    }

    /// Ends the service; what it told at last is then there.
    pub(crate) fn close(&mut self) {
        self.stop.end();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn end(mut self) -> (RegistrarFigures, Vec<Incident>) {
        self.close();
        let told = self.told.lock().unwrap();
        let incidents = told.iter().filter_map(|line| match line {
            Told::Incident(incident) => Some(incident.clone()),
            Told::Figures(_) | Told::Arrived(_) => None,
        });
        (self.server.figures(), incidents.collect())
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.stop.end();
    }
}

/// An office, working in a thread of its own.
pub(crate) struct Office {
    stop: Stop,
    latest: Arc<Mutex<OfficeFigures>>,
    thread: JoinHandle<OfficeFigures>,
}

impl Office {
    pub(crate) fn open(options: OfficeOptions) -> Self {
        let (stop, latest) = (Stop::new(), Arc::new(Mutex::new(OfficeFigures::default())));
        let thread = thread::spawn({
            let (stop, latest) = (stop.clone(), Arc::clone(&latest));
            move || office::run(&options, &stop, |figures| *latest.lock().unwrap() = figures).unwrap()
        });
        Self { stop, latest, thread }
    }

    pub(crate) fn figures(&self) -> OfficeFigures {
        self.stop.ask_for_report();
        *self.latest.lock().unwrap()
    }

    pub(crate) fn close(self) -> OfficeFigures {
        self.stop.end();
        self.thread.join().unwrap()
    }
}

pub(crate) fn with_accounts(count: u32) -> RegistrarOptions {
    RegistrarOptions {
        accounts: numbered_accounts(1001, count),
        qualify: Some(Duration::from_millis(100)),
        ..RegistrarOptions::default()
    }
}

pub(crate) fn office_at(registrar: SocketAddr, phones: u32) -> OfficeOptions {
    OfficeOptions {
        address: registrar.ip(),
        first_port: 0,
        phones,
        first_account: 1001,
        domain: "pbx.example.net".to_owned(),
        registrar,
        interval: Duration::from_millis(200),
        keep_alive: Some(Duration::from_millis(150)),
        spread: Duration::from_millis(100),
    }
}

pub(crate) fn attack() -> AttackOptions {
    AttackOptions {
        source: "127.0.0.1:0".parse().unwrap(),
        pace: Duration::from_millis(2),
        requests: 1_000,
        give_up: Duration::from_secs(10),
    }
}

pub(crate) fn guessing(target: SocketAddr, manner: Manner, words: Vec<String>) -> GuessOptions {
    GuessOptions { attack: attack(), target, account: "1001".to_owned(), words: Words::List(words), manner }
}

fn guess_at(target: SocketAddr, manner: Manner, words: Vec<String>) -> AttackFigures {
    guess::run(&guessing(target, manner, words), &Stop::new()).unwrap()
}

pub(crate) fn free_address() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The packets of a capture in this machine's byte order, with what its header promises checked.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 101));
    let (mut packets, mut at) = (Vec::new(), 24);
    while at < bytes.len() {
        let length = word(at + 8) as usize;
        packets.push(&bytes[at + 16..at + 16 + length]);
        at += 16 + length;
    }
    packets
}
