//! Other people's attackers against other people's registrar, with Palisade beside it: dropped in the kernel of every host.
#![cfg(test)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use palisade::demo::namespaces::Place;
use palisade::demo::phones::office::OfficeOptions;

use crate::support::{may_make_namespaces, thread_in, wait_until};
use crate::tools::{Force, Kamailio, Policy, Sipvicious};
use crate::traffic::Office;
use crate::wire_cluster::WireCluster;

#[test]
fn sipvicious_is_dropped_in_the_kernel_of_all_three_hosts() {
    const TEST: &str = "sipvicious_is_dropped_in_the_kernel_of_all_three_hosts";
    if !may_make_namespaces(TEST) || !Kamailio::is_installed(TEST) {
        return;
    }
    let Some(tools) = Sipvicious::find(TEST) else { return };
    let cluster = WireCluster::start();
    let _registrars = Place::HOSTS.map(|place| Kamailio::start(&cluster.network, place, Policy::Challenge));
    let attacker = IpAddr::from(Place::Attacker.ipv4().unwrap());
    let victim = IpAddr::from(Place::Host1.ipv4().unwrap());

    let words: Vec<String> = (0..2_000).map(|number| format!("word{number}")).collect();
    let cracked = tools.svcrack(&cluster.network, victim, "1002", &words);
    assert!(!cracked.text.contains("Kx7-"), "the password is not found: {}", cracked.text);
    for place in Place::HOSTS {
        wait_until("the kernel of every host holds the attacker", || cluster.kernel_holds(place, attacker));
        let block = cluster.blocks(place).into_iter().find(|block| block["address"] == attacker.to_string());
        let block = block.unwrap_or_else(|| panic!("{place} does not list {attacker}"));
        assert_eq!(
            (&block["type"], &block["known_user_agent"]),
            (&"REGISTER".into(), &true.into()),
            "{block}"
        );
    }
    let before = Place::HOSTS.map(|place| cluster.dropped(place));
    assert!(0 < before[0], "the rest of the word list was dropped where it went");

    // The other tools, and the other hosts: what they send is dropped before any registrar sees it.
    let swept = tools.svmap(&cluster.network, "10.77.0.11-13");
    assert!(!swept.text.contains("10.77.0.11:5060"), "{}", swept.text);
    let enumerated = tools.svwar(&cluster.network, victim, "1000-1012", Force::GoOn);
    assert!(!enumerated.text.contains("1002"), "{}", enumerated.text);
    for (place, before) in Place::HOSTS.into_iter().zip(before) {
        wait_until("the counter of every host rises", || before < cluster.dropped(place));
        println!("{place}: {} packets of SIPVicious dropped", cluster.dropped(place));
    }
}

#[test]
fn a_benign_office_of_a_hundred_phones_is_never_blocked() {
    const TEST: &str = "a_benign_office_of_a_hundred_phones_is_never_blocked";
    if !may_make_namespaces(TEST) {
        return;
    }
    let cluster = WireCluster::start();
    let office = IpAddr::from(Place::Office.ipv4().unwrap());
    let registrar_at = SocketAddr::new(Place::Host1.ipv4().unwrap().into(), 5060);
    let start =
        move || crate::traffic::Registrar::start_at(registrar_at, crate::traffic::with_accounts(100), None);
    let registrar = thread_in(&cluster.network, Place::Host1, start).join().unwrap();
    let options = OfficeOptions {
        address: office,
        first_port: 0,
        phones: 100,
        first_account: 1001,
        domain: "pbx.example.net".to_owned(),
        registrar: registrar_at,
        // Sixty times as often as in life: an hour of an office in a minute.
        interval: Duration::from_secs(1),
        keep_alive: Some(Duration::from_millis(500)),
        spread: Duration::from_millis(500),
    };
    let phones = thread_in(&cluster.network, Place::Office, move || Office::open(options)).join().unwrap();
    wait_until("every phone has registered ten times", || 1_000 <= phones.figures().sum.successes);
    assert!(!cluster.kernel_holds(Place::Host1, office));
    assert_eq!(cluster.blocks(Place::Host2).len(), 0);
    let figures = phones.close();
    assert_eq!(figures.registered, 100, "{figures:?}");
    let (served, _) = registrar.end();
    println!("office: {} registrations, {} challenges, no block", served.registered, served.challenged);
}
