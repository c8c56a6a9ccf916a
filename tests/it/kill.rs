//! A host that is killed at any moment loses nothing that was acknowledged.
//!
//! `PALISADE_KILL_ROUNDS` sets how often each of the three hosts is killed under load: 3 times in an ordinary run, 20
//! times by `make kills`.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are shells: they start threads and read the environment"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Door, Request};
use crate::support::wait_until;

/// Rounds of an ordinary run.
const ROUNDS: usize = 3;
/// Clients that write at once.
const WRITERS: u8 = 6;
/// Rows of one page of a list, the most that the API gives.
const PAGE: usize = 100;

#[test]
fn killing_each_host_in_turn_under_load_loses_no_acknowledged_event() {
    let rounds = rounds();
    let started = Instant::now();
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster);
    let mut leaders_killed = 0;
    for round in 0..rounds {
        for host in 0..3 {
            // Never the same moment twice.
            load.wait_for_more(1 + (round * 7 + host * 3) % 23);
            leaders_killed += usize::from(cluster.leader((host + 1) % 3) == Some(host));
            cluster.kill9(host);
            load.wait_for_more(5);
            come_back(&mut cluster, host);
        }
    }
    // The room loses its power.
    (0..3).for_each(|host| cluster.kill9(host));
    (0..3).for_each(|host| cluster.restart(host));
    load.wait_for_more(5);
    let acknowledged = load.end();
    let requests = acknowledged.iter().map(|write| write.requests).sum::<usize>();
    check_everything_is_kept(&mut cluster, &acknowledged);
    println!(
        "kills: {} of single hosts, {leaders_killed} of them leaders, and one of all three; {} events acknowledged after {requests} requests, all kept; {} s",
        rounds * 3,
        acknowledged.len(),
        started.elapsed().as_secs(),
    );
    assert!(0 < leaders_killed, "a leader was killed");
}

#[test]
fn a_single_host_that_is_killed_loses_no_acknowledged_event() {
    let mut cluster = Cluster::start(1);
    let load = Load::start(&cluster);
    for kill in 0..5 {
        load.wait_for_more(3 + kill * 5);
        cluster.kill9(0);
        cluster.restart(0);
    }
    load.wait_for_more(3);
    check_everything_is_kept(&mut cluster, &load.end());
}

fn rounds() -> usize {
    std::env::var("PALISADE_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

/// Starts a killed host and waits until it has applied what the others had committed then.
fn come_back(cluster: &mut Cluster, host: usize) {
    let others = (0..cluster.len()).filter(|other| *other != host);
    let committed = others.filter_map(|other| cluster.status(other)?["commit"].as_u64()).max().unwrap();
    cluster.restart(host);
    wait_until("a restarted host answers and has caught up", || {
        cluster.status(host).is_some_and(|status| Some(committed) <= status["applied"].as_u64())
    });
}

/// What a host promised to keep.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    address: String,
    pub(crate) index: u64,
    block: String,
    /// Requests that it took.
    pub(crate) requests: usize,
}

/// Clients that write without a pause until they are told to end.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Write>>>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let doors: Vec<Door> = (0..cluster.len()).map(|host| cluster.door(host)).collect();
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let writers = (0..WRITERS).map(|writer| {
            let (doors, stop, acknowledged) = (doors.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            thread::spawn(move || write_on(writer, &doors, &stop, &acknowledged))
        });
        Self { writers: writers.collect(), stop, acknowledged }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many more writes are acknowledged.
    fn wait_for_more(&self, more: usize) {
        let wanted = self.count() + more;
        wait_until("writes are acknowledged", || {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a writer has given up");
            wanted <= self.count()
        });
    }

    /// Ends the clients, each after its last write is acknowledged.
    fn end(self) -> Vec<Write> {
        self.stop.store(true, Ordering::SeqCst);
        self.writers.into_iter().for_each(|writer| writer.join().unwrap());
        Arc::into_inner(self.acknowledged).unwrap().into_inner().unwrap()
    }
}

fn write_on(writer: u8, doors: &[Door], stop: &AtomicBool, acknowledged: &Mutex<Vec<Write>>) {
    for number in 0..u16::MAX {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(20, writer, high, low).to_string();
        let start = usize::from(writer) + usize::from(number);
        let write = write(&address, doors.iter().cycle().skip(start % doors.len()));
        acknowledged.lock().unwrap().push(write);
    }
}

/// Asks host after host with the same key until one of them says that it is done.
pub(crate) fn write<'a>(address: &str, doors: impl Iterator<Item = &'a Door>) -> Write {
    let body = json!({ "address": address, "seconds": 86_400, "note": "under load" });
    let request = Request { method: "POST", path: "/blocks", key: address, body: &body };
    for (requests, door) in (1..).zip(doors) {
        match door.send(&request) {
            Ok(answer) if answer.status == 201 => {
                let block = answer.body["block_id"].as_str().unwrap().to_owned();
                let index = answer.body["log_index"].as_u64().unwrap();
                return Write { address: address.to_owned(), index, block, requests };
            }
            // Without a leader, or with a token from before the restart.
            Ok(answer) if matches!(answer.status, 401 | 503) => {}
            Ok(answer) => panic!("{address}: {} {}", answer.status, answer.body),
            // A host that was killed refuses or breaks off; the next one may answer.
            Err(_) => thread::park_timeout(Duration::from_millis(5)),
        }
    }
    unreachable!("the hosts come round for ever")
}

fn check_everything_is_kept(cluster: &mut Cluster, acknowledged: &[Write]) {
    cluster.wait_until_whole();
    let state = cluster.wait_for_one_state();
    assert!(acknowledged.iter().all(|write| write.index <= state.applied));
    let promised: BTreeSet<&str> = acknowledged.iter().map(|write| write.address.as_str()).collect();
    assert_eq!(promised.len(), acknowledged.len());
    for host in 0..cluster.len() {
        let listed = blocks(&cluster.door(host));
        assert!(promised.iter().all(|address| listed.contains(*address)), "host {host} forgot a block");
        assert_eq!(listed.len(), promised.len(), "host {host} lists what nobody was told of");
    }
    // Who is left while the others end may begin to lead, and say so in one more entry.
    let upto = usize::try_from(state.applied).unwrap();
    let dumps = (0..cluster.len()).map(|host| stop_and_dump(cluster, host, upto));
    let dumps: Vec<Vec<Value>> = dumps.collect();
    assert_eq!(dumps[0].len(), upto);
    assert!(dumps.iter().all(|dump| *dump == dumps[0]), "the hosts' logs differ");
    check_the_log_has(&dumps[0], acknowledged);
}

/// Ends a host, lets `palisade log verify` read every byte, and gives the first entries that `palisade log dump` prints.
fn stop_and_dump(cluster: &mut Cluster, host: usize, entries: usize) -> Vec<Value> {
    assert!(cluster.term(host).success(), "host {host}");
    let log = cluster.log(host);
    let alarm = log.lines().find(|line| line.contains(" ERROR ") || line.contains("panicked"));
    assert_eq!(alarm, None, "host {host}");
    let verified = cluster.log_command(host, &["verify"]);
    assert!(verified.status.success(), "host {host}: {verified:?}");
    let dumped = cluster.log_command(host, &["dump", "--format", "jsonl"]);
    assert!(dumped.status.success(), "host {host}: {dumped:?}");
    let lines = String::from_utf8(dumped.stdout).unwrap();
    lines.lines().take(entries).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The id of what a leader orders by itself, again and again.
const HOUSEKEEPING: &str = "00000000000000000000000000000000";

/// Every acknowledged write is in the log at its index, once, and no command is there twice, but for the leader's own.
pub(crate) fn check_the_log_has(dump: &[Value], acknowledged: &[Write]) {
    let mut commands = BTreeMap::new();
    let mut blocked: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for (entry, expected) in dump.iter().zip(1..) {
        let index = entry["index"].as_u64().unwrap();
        assert_eq!(index, expected, "the log has a gap");
        let Some(command) = entry["command_id"].as_str().filter(|id| *id != HOUSEKEEPING) else { continue };
        assert_eq!(commands.insert(command.to_owned(), index), None, "{command} took effect twice");
        for event in entry["events"].as_array().unwrap() {
            if event["kind"] == "AddressBlocked" {
                let text = event["text"].as_str().unwrap();
                let address = field(text, "source").to_owned();
                blocked.entry(address).or_default().push((index, field(text, "block").to_owned()));
            }
        }
    }
    for Write { address, index, block, requests: _ } in acknowledged {
        assert_eq!(blocked.get(address), Some(&vec![(*index, block.clone())]), "{address}");
    }
    assert_eq!(blocked.len(), acknowledged.len());
}

/// The value of `name=value` in an event's line.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let fields = text.split(' ').filter_map(|word| word.split_once('='));
    fields.filter(|(found, _)| *found == name).map(|(_, value)| value).next().unwrap()
}

/// Every address that a host says is blocked.
fn blocks(door: &Door) -> BTreeSet<String> {
    let mut listed = BTreeSet::new();
    for page in 1.. {
        let answer = door.ask("GET", &format!("/blocks?page={page}&per={PAGE}")).unwrap();
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let items = answer.body["items"].as_array().unwrap();
        listed.extend(items.iter().map(|block| block["address"].as_str().unwrap().to_owned()));
        if items.len() < PAGE {
            break;
        }
    }
    listed
}
