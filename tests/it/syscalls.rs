//! A write or a sync that fails, or that the process does not survive: at every one of a scenario, by strace.
//!
//! The scenario: one host that is a cluster by itself starts and takes one write after the other. The kernel is made to
//! answer the n-th call of some kind with an error, or to kill the process in it. Then the host is started without strace,
//! must take a write, and its log must hold everything that was acknowledged, once.
//!
//! `PALISADE_FAULT_POINTS` sets how many points are tried: a few in an ordinary run, all of them by `make syscalls`.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are shells: they start threads and programs and read the environment"
)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Request};
use crate::kill::field;
use crate::support::{not_run, wait_until};

/// Points of an ordinary run, spread over all of them.
const FEW: usize = 8;
/// Hosts that are tried side by side: most of the time each waits for its election.
const LANES: usize = 4;
/// Writes of a scenario: more than the highest point, so that every point is reached.
const WRITES: usize = 53;
/// The last call of each kind that is made to fail while the host serves.
const LAST: usize = 48;
/// Calls of a fresh log's making that are made to fail: its first file is zeroed in 64 pieces, then gets its header.
const FRESH: [usize; 5] = [1, 2, 33, 64, 65];
/// Spare files that a host keeps.
const SPARES: usize = 2;
/// What the kernel is made to do.
const FAULTS: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=KILL"];

/// One call that goes wrong. strace counts the calls of each thread.
#[derive(Debug, Clone, Copy)]
struct Point {
    call: &'static str,
    fault: &'static str,
    when: usize,
    log: Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// The host has a log, from the points before.
    Kept,
    /// The host makes its log while the call goes wrong.
    Fresh,
}

/// What became of the points.
#[derive(Debug, Default)]
struct Counts {
    points: usize,
    /// The host ended, by itself or killed.
    ended: usize,
    acknowledged: usize,
}

/// A write that the host has acknowledged.
struct Acknowledged {
    address: String,
    index: u64,
    block: String,
}

#[test]
fn no_failing_write_or_sync_loses_an_acknowledged_event() {
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        return not_run("syscalls", "strace is not installed");
    }
    let points = chosen(all_points());
    let lanes = LANES.min(points.len().div_ceil(FEW));
    let points = Mutex::new(points.into_iter());
    let counts: Vec<Counts> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(|| try_points(&points))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let sum = |count: fn(&Counts) -> usize| counts.iter().map(count).sum::<usize>();
    println!(
        "syscalls: {} points, {} of them ended the host, {} events acknowledged, all kept",
        sum(|counts| counts.points),
        sum(|counts| counts.ended),
        sum(|counts| counts.acknowledged),
    );
    assert!(0 < sum(|counts| counts.ended), "no fault was felt");
}

fn all_points() -> Vec<Point> {
    let serving = |call, last| (1..=last).map(move |when| (call, when, Log::Kept));
    let fresh = |call| FRESH.map(|when| (call, when, Log::Fresh));
    let calls = serving("pwrite64", LAST)
        .chain(serving("fdatasync", LAST))
        .chain(serving("fsync", 4))
        .chain(serving("rename", 4))
        .chain(fresh("pwrite64"))
        .chain(fresh("fdatasync"));
    calls
        .flat_map(|(call, when, log)| FAULTS.map(|fault| Point { call, fault, when, log }))
        .filter(|point| point.fault != "error=ENOSPC" || point.call != "fdatasync" || point.when % 3 == 0)
        .collect()
}

fn chosen(points: Vec<Point>) -> Vec<Point> {
    let wanted = std::env::var("PALISADE_FAULT_POINTS").map_or(FEW, |wanted| wanted.parse().unwrap());
    let step = (points.len() / wanted.clamp(1, points.len())).max(1);
    points.into_iter().step_by(step).collect()
}

fn try_points(points: &Mutex<impl Iterator<Item = Point>>) -> Counts {
    let mut lane = Lane { cluster: Cluster::make(1), acknowledged: Vec::new(), written: 0 };
    let mut counts = Counts::default();
    loop {
        let point = points.lock().unwrap().next();
        let Some(point) = point else { break };
        counts.points += 1;
        counts.ended += usize::from(match point.log {
            Log::Kept => lane.try_point(point),
            Log::Fresh => {
                let mut fresh = Lane { cluster: Cluster::make(1), acknowledged: Vec::new(), written: 0 };
                let ended = fresh.try_point(point);
                counts.acknowledged += fresh.acknowledged.len();
                ended
            }
        });
    }
    counts.acknowledged += lane.acknowledged.len();
    counts
}

/// A host and what it has promised.
struct Lane {
    cluster: Cluster,
    acknowledged: Vec<Acknowledged>,
    written: u32,
}

impl Lane {
    /// Tells whether the host ended of it.
    fn try_point(&mut self, point: Point) -> bool {
        if point.log == Log::Kept && self.written == 0 {
            self.prepare();
        }
        let strace = self.under_strace(point);
        self.cluster.restart_as(0, strace);
        let ended = !self.write_on();
        if !ended {
            self.cluster.kill9(0);
        }
        self.restart_well(point);
        self.check(point);
        ended
    }

    /// Makes the log, and waits for its spare files: what fails later is what writes events.
    fn prepare(&mut self) {
        self.cluster.restart(0);
        wait_until("the host takes a write and has its spare files", || {
            (0 < self.written || self.write()) && SPARES <= self.spares()
        });
        self.cluster.kill9(0);
    }

    fn spares(&self) -> usize {
        let names = std::fs::read_dir(self.cluster.data(0).join("wal")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("spare-") && name.ends_with(".zero")).count()
    }

    fn under_strace(&self, Point { call, fault, when, log: _ }: Point) -> Command {
        let serve = self.cluster.serve(0);
        let mut strace = Command::new("strace");
        // With -D the host's process is this one's child, and strace watches from the side.
        strace.args(["-D", "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null"]);
        strace.arg(format!("--trace={call}")).arg(format!("--inject={call}:{fault}:when={when}"));
        strace.arg(serve.get_program()).args(serve.get_args()).stdin(Stdio::null());
        strace
    }

    /// Writes until enough is acknowledged or the host has ended; tells whether it still runs.
    fn write_on(&mut self) -> bool {
        let mut done = 0;
        let mut ended = false;
        wait_until("the host takes writes or ends", || {
            while done < WRITES && self.write() {
                done += 1;
            }
            ended = self.cluster.ended(0).is_some();
            ended || done == WRITES
        });
        !ended
    }

    /// Starts the host without strace and ends it once it has taken a write.
    fn restart_well(&mut self, point: Point) {
        self.cluster.restart(0);
        wait_until("the host takes a write after the fault", || {
            let ended = self.cluster.ended(0);
            assert_eq!(ended, None, "{point:?}: the host refuses to start:\n{}", self.cluster.log(0));
            self.write()
        });
        self.cluster.kill9(0);
    }

    fn write(&mut self) -> bool {
        let [_, high, middle, low] = (self.written + 1).to_be_bytes();
        let address = Ipv4Addr::new(20, high, middle, low).to_string();
        let body = json!({ "address": address, "seconds": 86_400 });
        let request = Request { method: "POST", path: "/blocks", key: &address, body: &body };
        let Ok(answer) = self.cluster.door(0).send(&request) else { return false };
        if answer.status != 201 {
            assert!(matches!(answer.status, 401 | 503), "{address}: {} {}", answer.status, answer.body);
            return false;
        }
        self.written += 1;
        let index = answer.body["log_index"].as_u64().unwrap();
        let block = answer.body["block_id"].as_str().unwrap().to_owned();
        self.acknowledged.push(Acknowledged { address, index, block });
        true
    }

    /// The log is sound and holds every acknowledged event, once and where it was said to be.
    fn check(&self, point: Point) {
        let verified = self.cluster.log_command(0, &["verify"]);
        assert!(verified.status.success(), "{point:?}: {verified:?}");
        let dumped = self.cluster.log_command(0, &["dump", "--format", "jsonl"]);
        assert!(dumped.status.success(), "{point:?}: {dumped:?}");
        let mut blocked: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for line in String::from_utf8(dumped.stdout).unwrap().lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let events = entry["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            for event in events.iter().filter(|event| event["kind"] == "AddressBlocked") {
                let text = event["text"].as_str().unwrap();
                let found = (entry["index"].as_u64().unwrap(), field(text, "block").to_owned());
                blocked.entry(field(text, "source").to_owned()).or_default().push(found);
            }
        }
        for Acknowledged { address, index, block } in &self.acknowledged {
            assert_eq!(blocked.get(address), Some(&vec![(*index, block.clone())]), "{point:?}: {address}");
        }
    }
}
