//! The demo's traffic: a registrar beside each host, an office of honest phones, and attackers of three kinds.

use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use super::stage::{Stage, tell};
use crate::demo::attackers::enumerate::{self, EnumerateOptions, Persistence};
use crate::demo::attackers::guess::{self, GuessOptions, Manner, Words};
use crate::demo::attackers::scan::{self, ScanOptions};
use crate::demo::attackers::{AttackError, AttackFigures, AttackOptions};
use crate::demo::namespaces::Place;
use crate::demo::phones::office::{self, OfficeOptions};
use crate::demo::registrar::server::Server;
use crate::demo::registrar::{RegistrarOptions, UnknownUser, WrongPassword, numbered_accounts};
use crate::demo::stop::Stop;

/// Hosts with a registrar.
const HOSTS: u8 = 3;
/// Honest phones behind one address.
const PHONES: u32 = 20;
/// The first honest account.
const FIRST_ACCOUNT: u32 = 100;
/// The last byte of the honest office's address.
const OFFICE: u8 = 50;
/// The last bytes of the attackers' addresses: a guesser with svcrack's marks, one with an ordinary agent, an enumerator,
/// a scanner.
const ATTACKERS: [u8; 4] = [66, 67, 68, 69];
/// The attackers begin one after the other, so that one can watch.
const BETWEEN: Duration = Duration::from_secs(4);
/// A blocked attacker comes back after this time, as they do.
const COME_BACK: Duration = Duration::from_secs(15);

/// The running traffic.
pub(super) struct Traffic {
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts everything.
    pub(super) fn start(stage: &Stage, stop: &Stop) -> anyhow::Result<Self> {
        let mut threads = Vec::new();
        for (host, place) in (1..=HOSTS).zip(Place::HOSTS) {
            threads.push(start_registrar(stage, host, place, stop)?);
        }
        threads.push(start_office(stage, stop)?);
        let others: Vec<u8> = ATTACKERS.iter().copied().filter(|number| *number != 66).collect();
        stage.add_attackers(&others)?;
        for (order, number) in (1..).zip(ATTACKERS) {
            threads.push(start_attacker(stage, order, number, stop)?);
        }
        Ok(Self { threads })
    }

    /// Waits for everything to end, once it was told to stop.
    pub(super) fn end(self) {
        for thread in self.threads {
            let _ = thread.join(); // A panic has been reported by the panic hook.
        }
    }
}

fn start_registrar(stage: &Stage, host: u8, place: Place, stop: &Stop) -> anyhow::Result<JoinHandle<()>> {
    let (listen, tap, stop) = (stage.registrar(host), stage.tap(host)?, stop.clone());
    let options = RegistrarOptions {
        accounts: numbered_accounts(FIRST_ACCOUNT, PHONES),
        wrong_password: WrongPassword::Challenge,
        unknown_user: UnknownUser::AsWrongPassword,
        ..RegistrarOptions::default()
    };
    stage.spawn(place, move || match Server::bind(&[listen], options, tap) {
        Ok(server) => tell(server.run(&stop, |_| {})),
        Err(error) => tell::<(), _>(Err(error)),
    })
}

fn start_office(stage: &Stage, stop: &Stop) -> anyhow::Result<JoinHandle<()>> {
    let options = OfficeOptions {
        address: stage.source(OFFICE),
        first_port: 0,
        phones: PHONES,
        first_account: FIRST_ACCOUNT,
        domain: "pbx.example.net".to_owned(),
        registrar: stage.registrar(1),
        interval: Duration::from_secs(30),
        keep_alive: Some(Duration::from_secs(10)),
        spread: Duration::from_secs(2),
    };
    let stop = stop.clone();
    stage.spawn(Place::Office, move || tell(office::run(&options, &stop, |_| {})))
}

fn start_attacker(stage: &Stage, order: u32, number: u8, stop: &Stop) -> anyhow::Result<JoinHandle<()>> {
    let targets: Vec<SocketAddr> = (1..=HOSTS).map(|host| stage.registrar(host)).collect();
    let source = stage.source(number);
    let stop = stop.clone();
    stage.spawn(Place::Attacker, move || {
        let mut pause = BETWEEN * order;
        while !stop.wait(pause) {
            for target in &targets {
                tell(attack(number, source, (*target, &targets), &stop));
            }
            pause = COME_BACK;
        }
    })
}

fn attack(
    number: u8,
    source: IpAddr,
    (target, targets): (SocketAddr, &[SocketAddr]),
    stop: &Stop,
) -> Result<AttackFigures, AttackError> {
    let attack = AttackOptions {
        source: SocketAddr::new(source, 0),
        pace: Duration::from_millis(10),
        requests: 200,
        give_up: Duration::from_secs(2),
    };
    let words = Words::Numbers { first: 1_000, digits: 4 };
    match number {
        66 | 67 => {
            let manner = if number == 66 { Manner::Svcrack } else { Manner::Fpbx };
            guess::run(&GuessOptions { attack, target, account: "100".to_owned(), words, manner }, stop)
        }
        68 => {
            let persistence = Persistence::Force;
            enumerate::run(&EnumerateOptions { attack, target, first: 100, persistence }, stop)
        }
        _ => scan::run(&ScanOptions { attack, targets: targets.to_vec(), rounds: 3 }, stop),
    }
}
