//! How long it takes from the packet that tips the rule to the first packet that the kernel drops, on each host.
//!
//! The attacker guesses at the first host's registrar and sends numbered probes to all three; the tip is the moment at
//! which the registrar sent its tenth rejection, the first drop is the first probe sent after it that never arrived.
//! The figures are printed, never asserted: `make latency` makes fifty runs of an optimised build, CI a few.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they read the environment")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log_format::time::Timestamp;
use palisade::demo::attackers::AttackOptions;
use palisade::demo::attackers::guess::{self, GuessOptions, Manner, Words};
use palisade::demo::namespaces::Place;
use palisade::demo::probe::RunId;
use palisade::demo::probe::prober::{self, ProberOptions};
use palisade::demo::probe::report::{Arrived, first_drop_after, percentile};
use palisade::demo::probe::sink;
use palisade::demo::registrar::Incident;
use palisade::demo::stop::Stop;

use crate::support::{may_make_namespaces, thread_in};
use crate::traffic::{Registrar, with_accounts};
use crate::wire_cluster::WireCluster;

/// Runs in CI: enough to see that the measurement works.
const FEW: u8 = 3;
/// Runs at most: each has an address of its own.
const MOST: u8 = 100;
/// Time between two probes to one host: the resolution.
const PACE: Duration = Duration::from_micros(500);

#[test]
fn an_attacker_is_dropped_on_three_hosts_soon_after_the_tip() {
    if !may_make_namespaces("an_attacker_is_dropped_on_three_hosts_soon_after_the_tip") {
        return;
    }
    let asked = std::env::var("PALISADE_LATENCY_RUNS").ok().and_then(|runs| runs.parse().ok());
    let runs: u8 = asked.unwrap_or(FEW).min(MOST);
    let cluster = WireCluster::start();
    let mut delays: [Vec<Duration>; 3] = Default::default();
    for run in 0..runs {
        let attacker = IpAddr::from([10, 77, 0, 100 + run]);
        cluster.network.add_addresses(Place::Attacker, [attacker]).unwrap();
        for (delay, all) in measure(&cluster, u32::from(run), attacker).into_iter().zip(&mut delays) {
            all.push(delay);
        }
    }
    for (place, mut delays) in Place::HOSTS.into_iter().zip(delays) {
        assert_eq!(delays.len(), usize::from(runs));
        let role = if place == Place::Host1 { "saw it" } else { "was told" };
        println!(
            "tip to first dropped packet, {place} ({role}), {runs} runs: p50 {:?}, p99 {:?}, worst {:?}",
            percentile(&mut delays, 50).unwrap(),
            percentile(&mut delays, 99).unwrap(),
            percentile(&mut delays, 100).unwrap(),
        );
    }
}

/// One attack from an address of its own; the delay on each host.
fn measure(cluster: &WireCluster, run: u32, attacker: IpAddr) -> [Duration; 3] {
    let network = &cluster.network;
    let address = |place: Place| SocketAddr::new(place.ipv4().unwrap().into(), 5060);
    let stop = Stop::new();
    let sinks = [Place::Host2, Place::Host3].map(|place| {
        let (listen, stop) = (address(place), stop.clone());
        thread_in(network, place, move || {
            let mut arrived = None;
            sink::run(listen, &stop, |report| arrived = report.first().cloned()).unwrap();
            arrived.unwrap()
        })
    });
    let listen = address(Place::Host1);
    let start = move || Registrar::start_at(listen, with_accounts(1), None);
    let mut registrar = thread_in(network, Place::Host1, start).join().unwrap();
    let prober_stop = Stop::new();
    let options = ProberOptions {
        run: RunId(run),
        source: SocketAddr::new(attacker, 5999),
        targets: Place::HOSTS.map(address).to_vec(),
        pace: PACE,
        numbers: prober::NUMBERS,
    };
    let prober = thread_in(network, Place::Attacker, {
        let stop = prober_stop.clone();
        move || prober::run(&options, &stop).unwrap()
    });
    // The guesser gives up when nobody answers any more: by then every host has long been told.
    let guessing = guesses(listen, attacker);
    let guesser = thread_in(network, Place::Attacker, move || guess::run(&guessing, &Stop::new()).unwrap());
    let figures = guesser.join().unwrap();
    prober_stop.end();
    let sent = prober.join().unwrap();
    stop.end();
    let [second, third] = sinks.map(|sink| sink.join().unwrap());
    registrar.close();
    let first = registrar.arrived().unwrap();
    let tip = tenth_rejection(registrar).unwrap_or_else(|| panic!("no tenth rejection: {figures:?}"));
    let delay = |host: usize, arrived: &Arrived| {
        let drop = first_drop_after(&sent[host], arrived, tip);
        let drop = drop.unwrap_or_else(|| panic!("host{} never dropped {attacker}", host + 1));
        assert_eq!(drop.arrived_later, 0, "host{}: the drop was no block: {drop:?}", host + 1);
        drop.delay
    };
    [delay(0, &first), delay(1, &second), delay(2, &third)]
}

fn guesses(target: SocketAddr, attacker: IpAddr) -> GuessOptions {
    GuessOptions {
        attack: AttackOptions {
            source: SocketAddr::new(attacker, 0),
            pace: Duration::from_millis(1),
            requests: 2_000,
            give_up: Duration::from_secs(1),
        },
        target,
        account: "1001".to_owned(),
        words: Words::Numbers { first: 1_000, digits: 4 },
        // An ordinary agent: it is the count that tips, not the name.
        manner: Manner::Fpbx,
    }
}

fn tenth_rejection(registrar: Registrar) -> Option<Timestamp> {
    registrar.end().1.into_iter().find_map(|incident| match incident {
        Incident::Rejected { count: 10, at, .. } => Some(at),
        Incident::Rejected { .. } | Incident::Registered { .. } => None,
    })
}
