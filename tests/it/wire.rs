//! The demo's own network: it comes, carries real packets, and goes; and the probe that measures a block on it.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read the clock")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log_format::time::Timestamp;
use palisade::demo::attackers::AttackOptions;
use palisade::demo::attackers::guess::{self, GuessOptions, Manner};
use palisade::demo::namespaces::{Namespaces, Place};
use palisade::demo::probe::RunId;
use palisade::demo::probe::prober::{self, ProberOptions};
use palisade::demo::probe::report::first_drop_after;
use palisade::demo::probe::sink;
use palisade::demo::registrar::Incident;
use palisade::demo::stop::Stop;

use crate::support::{may_make_namespaces, output_of, thread_in, wait_until};
use crate::traffic::{Registrar, attack, guessing, with_accounts};

/// Drops the attacker's datagrams to SIP ports as the product does, and counts them.
const BLOCK: &str = "table netdev measured { chain ingress { type filter hook ingress device eth0 priority 0;
    ip saddr 10.77.0.66 udp dport 5060 counter drop; }; }";

#[test]
fn namespaces_carry_an_attack_and_leave_nothing_behind() {
    if !may_make_namespaces("namespaces_carry_an_attack_and_leave_nothing_behind") {
        return;
    }
    let before = root_links();
    let mut network = Namespaces::create().unwrap();
    let other = Namespaces::create().unwrap();
    let names: BTreeSet<String> =
        Place::ALL.iter().flat_map(|place| [network.name(*place), other.name(*place)]).collect();
    assert_eq!(names.len(), 2 * Place::ALL.len(), "two at a time");
    assert!(names.is_subset(&namespaces()));
    assert_eq!(root_links(), before, "no link is ever seen outside");
    let extra: IpAddr = "10.77.0.101".parse().unwrap();
    network.add_addresses(Place::Attacker, [extra]).unwrap();
    assert!(network.add_addresses(Place::Attacker, [extra]).is_err(), "the words of `ip` are not lost");

    let v6 = IpAddr::from(Place::Attacker.ipv6().unwrap());
    for (host, address, attacker) in [
        (Place::Host1, IpAddr::from(Place::Host1.ipv4().unwrap()), extra),
        (Place::Host2, IpAddr::from(Place::Host2.ipv6().unwrap()), v6),
    ] {
        let registrar = registrar_at(&network, host, address);
        let source = SocketAddr::new(attacker, 5060);
        let words = (0..10).map(|number| format!("secret{number}")).collect();
        let options = GuessOptions {
            attack: AttackOptions { source, ..attack() },
            ..guessing(registrar.address, Manner::Svcrack, words)
        };
        let guesses =
            thread_in(&network, Place::Attacker, move || guess::run(&options, &Stop::new()).unwrap());
        let figures = guesses.join().unwrap();
        assert_eq!((figures.rejected, figures.unanswered), (10, 0), "{address}");
        let tenth = registrar.end().1.into_iter().find_map(|incident| match incident {
            Incident::Rejected { count: 10, source, .. } => Some(source),
            Incident::Rejected { .. } | Incident::Registered { .. } => None,
        });
        assert_eq!(tenth, Some(attacker), "the registrar sees the attacker's own address");
    }
    network.remove().unwrap();
    drop((network, other));
    assert!(names.is_disjoint(&namespaces()));
    assert_eq!(root_links(), before);
}

#[test]
fn the_probe_finds_the_number_at_which_a_kernel_began_to_drop() {
    if !may_make_namespaces("the_probe_finds_the_number_at_which_a_kernel_began_to_drop") {
        return;
    }
    let network = Namespaces::create().unwrap();
    let address = |place: Place| SocketAddr::new(place.ipv4().unwrap().into(), 5060);
    let stop = Stop::new();
    let sinks = [Place::Host2, Place::Host3].map(|place| {
        let (listen, stop) = (address(place), stop.clone());
        thread_in(&network, place, move || {
            let mut arrived = None;
            sink::run(listen, &stop, |report| arrived = report.first().cloned()).unwrap();
            arrived.unwrap()
        })
    });
    let mut registrar = registrar_at(&network, Place::Host1, address(Place::Host1).ip());

    let prober_stop = Stop::new();
    let options = ProberOptions {
        run: RunId(1),
        source: SocketAddr::new(Place::Attacker.ipv4().unwrap().into(), 5999),
        targets: Place::HOSTS.map(address).to_vec(),
        pace: prober::PACE,
        numbers: prober::NUMBERS,
    };
    let prober = thread_in(&network, Place::Attacker, {
        let stop = prober_stop.clone();
        move || prober::run(&options, &stop).unwrap()
    });
    wait_until("probes arrive", || {
        registrar.stop.ask_for_report();
        registrar.arrived().is_some()
    });
    let tip = now();
    for place in [Place::Host1, Place::Host2] {
        nft(&network, place, BLOCK);
    }
    let blocked = now();
    wait_until("the kernel of the second host drops", || 100 < dropped(&network, Place::Host2));
    prober_stop.end();
    let sent = prober.join().unwrap();
    stop.end();
    let [second, third] = sinks.map(|sink| sink.join().unwrap());
    registrar.close();
    let first = registrar.arrived().unwrap();

    for (sent, arrived) in [(&sent[0], &first), (&sent[1], &second)] {
        let drop = first_drop_after(sent, arrived, tip).unwrap();
        let at = sent.at[drop.number.0 as usize];
        let next_after_block = sent.at.iter().find(|at| blocked <= **at).unwrap();
        assert!(tip <= at && at <= *next_after_block, "{drop:?}");
        assert_eq!((drop.arrived_later, drop.lost_before_tip), (0, 0), "{drop:?}");
    }
    assert_eq!(first_drop_after(&sent[2], &third, tip), None, "the third host has no block");
    let took = sent[0].at.last().unwrap().since(sent[0].at[0]);
    println!("probes: {} numbers to each of 3 hosts in {took:?}", sent[0].at.len());
}

fn registrar_at(network: &Namespaces, place: Place, address: IpAddr) -> Registrar {
    let listen = SocketAddr::new(address, 5060);
    thread_in(network, place, move || Registrar::start_at(listen, with_accounts(1), None)).join().unwrap()
}

/// Wall-clock time, as the prober notes it.
fn now() -> Timestamp {
    Timestamp::ZERO.after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

fn nft(network: &Namespaces, place: Place, rules: &str) {
    let mut nft =
        network.run_in(place, "/usr/sbin/nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

fn dropped(network: &Namespaces, place: Place) -> u64 {
    let rules =
        output_of(network.run_in(place, "/usr/sbin/nft").args(["list", "table", "netdev", "measured"]));
    rules.split("counter packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The names that `ip netns list` knows. Other tests come and go: only one's own names say anything.
fn namespaces() -> BTreeSet<String> {
    let list = output_of(Command::new("/usr/sbin/ip").args(["netns", "list"]));
    list.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The network interfaces outside all namespaces.
fn root_links() -> BTreeSet<String> {
    let list = output_of(Command::new("/usr/sbin/ip").args(["-o", "link"]));
    list.lines().filter_map(|line| line.split(": ").nth(1)).map(str::to_owned).collect()
}
