//! Hosts that stop for a while, hosts that are cut off in one direction or both, and a wire that loses every fifth packet:
//! while clients of all three hosts write, in network namespaces that the test makes and removes.
//!
//! `PALISADE_CHAOS_ROUNDS` sets how often every fault is made: once in an ordinary run, ten times by `make chaos`.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are shells: they start programs and read the environment"
)]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use palisade::demo::namespaces::Place;
use serde_json::Value;

use crate::cluster::Door;
use crate::kill::{Write, check_the_log_has, write};
use crate::support::{may_make_namespaces, output_of, thread_in, wait_until};
use crate::wire_cluster::{WireCluster, binary};

/// Writes that the cluster must acknowledge while a fault lasts: a majority goes on.
const MEANWHILE: usize = 10;

/// What goes wrong, and where.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The process stops, and knows nothing of it.
    Pause(Who),
    /// Nothing arrives at it, or nothing leaves it, or both.
    Cut(Who, &'static [Hook]),
    /// Every fifth packet is lost at every host.
    Loss,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Leader,
    Follower,
}

/// Where the kernel drops packets.
#[derive(Debug, Clone, Copy)]
enum Hook {
    Input,
    Output,
}

const FAULTS: [Fault; 7] = [
    Fault::Pause(Who::Leader),
    Fault::Cut(Who::Leader, &[Hook::Input, Hook::Output]),
    Fault::Pause(Who::Follower),
    Fault::Cut(Who::Leader, &[Hook::Input]),
    Fault::Loss,
    Fault::Cut(Who::Follower, &[Hook::Output]),
    Fault::Cut(Who::Leader, &[Hook::Output]),
];

#[test]
fn pauses_partitions_and_losses_lose_no_acknowledged_event() {
    if !may_make_namespaces("chaos") {
        return;
    }
    let rounds: usize = std::env::var("PALISADE_CHAOS_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut cluster = WireCluster::start();
    let load = Load::start(&cluster);
    for fault in (0..rounds).flat_map(|_| FAULTS) {
        suffer(&cluster, &load, fault);
    }
    let acknowledged = load.end();
    let applied = wait_for_one_state(&cluster);
    assert!(acknowledged.iter().all(|write| write.index <= applied));
    let upto = usize::try_from(applied).unwrap();
    let dumps: Vec<Vec<Value>> =
        Place::HOSTS.into_iter().map(|place| end_and_dump(&mut cluster, place, upto)).collect();
    assert!(dumps.iter().all(|dump| *dump == dumps[0]), "the hosts' logs differ");
    check_the_log_has(&dumps[0], &acknowledged);
    println!(
        "chaos: {} faults, {} events acknowledged after {} requests, all kept",
        rounds * FAULTS.len(),
        acknowledged.len(),
        acknowledged.iter().map(|write| write.requests).sum::<usize>(),
    );
}

/// Makes the fault, sees that the others go on, ends it, and sees that everybody does.
fn suffer(cluster: &WireCluster, load: &Load, fault: Fault) {
    let leader = leader(cluster);
    let place = |who| match who {
        Who::Leader => leader,
        Who::Follower => *Place::HOSTS.iter().find(|place| **place != leader).unwrap(),
    };
    match fault {
        Fault::Pause(who) => cluster.signal(place(who), "STOP"),
        Fault::Cut(who, hooks) => drop_at(cluster, place(who), hooks, ""),
        Fault::Loss => Place::HOSTS.into_iter().for_each(|place| {
            drop_at(cluster, place, &[Hook::Input], "numgen random mod 100 < 20");
        }),
    }
    load.wait_for_more(MEANWHILE, fault);
    match fault {
        Fault::Pause(who) => cluster.signal(place(who), "CONT"),
        Fault::Cut(who, _) => heal(cluster, place(who)),
        Fault::Loss => Place::HOSTS.into_iter().for_each(|place| heal(cluster, place)),
    }
    wait_until(&format!("everybody is there after {fault:?}"), || cluster.is_whole());
    load.wait_for_everybody(fault);
}

fn drop_at(cluster: &WireCluster, place: Place, hooks: &[Hook], which: &str) {
    for hook in hooks {
        let (hook, device) = match hook {
            Hook::Input => ("input", "iifname"),
            Hook::Output => ("output", "oifname"),
        };
        let rules = format!(
            "add table inet chaos; add chain inet chaos {hook} {{ type filter hook {hook} priority -300; }}; \
             add rule inet chaos {hook} {device} eth0 {which} drop"
        );
        output_of(cluster.network.run_in(place, "/usr/sbin/nft").arg(rules));
    }
}

fn heal(cluster: &WireCluster, place: Place) {
    output_of(cluster.network.run_in(place, "/usr/sbin/nft").args(["delete", "table", "inet", "chaos"]));
}

fn leader(cluster: &WireCluster) -> Place {
    let mut leader = None;
    wait_until("a host names the leader", || {
        leader =
            status(cluster, Place::Host1).and_then(|status| status["leader"].as_str()?.parse::<usize>().ok());
        leader.is_some()
    });
    Place::HOSTS[leader.unwrap() - 1]
}

fn status(cluster: &WireCluster, place: Place) -> Option<Value> {
    let output = cluster.palisade(place, &["cluster", "status", "--format", "jsonl"]).output().unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits until all hosts have folded the same entries to the same state; gives the last of them.
fn wait_for_one_state(cluster: &WireCluster) -> u64 {
    let mut states = Vec::new();
    wait_until("all hosts have the same state", || {
        let state = |place| Some(status(cluster, place)?["state_hash"].clone());
        states = Place::HOSTS.into_iter().map(state).collect();
        states.iter().all(|state| *state == states[0] && state.as_ref().is_some_and(Value::is_object))
    });
    states[0].as_ref().unwrap()["index"].as_u64().unwrap()
}

fn end_and_dump(cluster: &mut WireCluster, place: Place, entries: usize) -> Vec<Value> {
    cluster.signal(place, "TERM");
    wait_until("a host that was asked to end has ended", || cluster.has_ended(place));
    let data = cluster.data(place);
    output_of(Command::new(binary()).args(["log", "verify", "--data"]).arg(&data));
    let dump =
        output_of(Command::new(binary()).args(["log", "dump", "--format", "jsonl", "--data"]).arg(&data));
    dump.lines().take(entries).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A client of each host, which writes without a pause.
struct Load {
    stop: Arc<AtomicBool>,
    counts: [Arc<AtomicUsize>; 3],
    acknowledged: Arc<Mutex<Vec<Write>>>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &WireCluster) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let counts: [Arc<AtomicUsize>; 3] = Default::default();
        let writers = Place::HOSTS.into_iter().zip(20..).zip(&counts).map(|((place, net), count)| {
            let (door, stop) = (cluster.door(place), Arc::clone(&stop));
            let (count, acknowledged) = (Arc::clone(count), Arc::clone(&acknowledged));
            thread_in(&cluster.network, place, move || write_on(net, &door, &stop, &count, &acknowledged))
        });
        Self { writers: writers.collect(), stop, counts, acknowledged }
    }

    fn counts(&self) -> [usize; 3] {
        self.counts.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    fn wait_for_more(&self, more: usize, fault: Fault) {
        let wanted = self.counts().iter().sum::<usize>() + more;
        wait_until(&format!("writes are acknowledged during {fault:?}"), || {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a writer has given up");
            wanted <= self.counts().iter().sum()
        });
    }

    fn wait_for_everybody(&self, fault: Fault) {
        let before = self.counts();
        wait_until(&format!("every host takes writes after {fault:?}"), || {
            self.counts().iter().zip(before).all(|(now, before)| before < *now)
        });
    }

    fn end(self) -> Vec<Write> {
        self.stop.store(true, Ordering::SeqCst);
        self.writers.into_iter().for_each(|writer| writer.join().unwrap());
        Arc::into_inner(self.acknowledged).unwrap().into_inner().unwrap()
    }
}

fn write_on(net: u8, door: &Door, stop: &AtomicBool, count: &AtomicUsize, acknowledged: &Mutex<Vec<Write>>) {
    for number in 0..u16::MAX {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let [high, low] = number.to_be_bytes();
        let done = write(&Ipv4Addr::new(20, net, high, low).to_string(), std::iter::repeat(door));
        acknowledged.lock().unwrap().push(done);
        count.fetch_add(1, Ordering::SeqCst);
    }
}
