//! The writer of the log alone, without cluster and network: how much of the disk's rate of syncs it leaves to its callers,
//! and how many events it makes durable when many wait at once.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use consensus::core::PersistJob;
use consensus::rt::writer::Writer;
use log_format::disk::StdDisk;
use log_format::ids::{ClusterId, HostId, Incarnation, LogIndex, Term};
use log_format::time::Timestamp;
use log_format::wal::{
    ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, SpareProgress, Wal, WalIdentity,
    WalOptions, WalSetup,
};

use super::figure::{self, Times, median, micros, rounded};

/// What one sync of the raw rate covers: a block, the least that the log ever writes.
const BLOCK: usize = 4_096;
/// The raw file is as long as one of the log's.
const RAW_BYTES: u64 = WalOptions::FILE_BYTES;
/// Bytes of an event.
const EVENT: usize = 256;
/// Events under way at once, in turn.
const PRODUCERS: [usize; 2] = [1, 64];

/// Turns of each lane in one round: what disturbs the machine for a moment disturbs all lanes alike.
const TURNS: u32 = 8;

/// One thing that is measured, a turn at a time.
trait Lane {
    /// Goes on for so long.
    fn turn(&mut self, span: Duration, measured: &mut Measured) -> anyhow::Result<()>;
}

/// What the turns of one round gave.
#[derive(Default)]
struct Measured {
    spent: Duration,
    times: Times,
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "no benchmark counts to 2^52")]
    fn per_second(&self) -> f64 {
        self.times.count() as f64 / self.spent.as_secs_f64().max(1e-9)
    }
}

/// Measures the disk and the writer in turns and prints what came of it.
pub(super) fn run(folder: &Path, span: Duration, rounds: usize) -> anyhow::Result<()> {
    let folder = Folder::new(folder)?;
    let mut lanes: Vec<Box<dyn Lane>> = vec![Box::new(RawFile::new(&folder.0)?)];
    for producers in PRODUCERS {
        lanes.push(Box::new(Producers::new(&folder.0, producers)?));
    }
    let mut measured: Vec<Vec<Measured>> = Vec::new();
    for _ in 0..rounds {
        let mut round: Vec<Measured> = lanes.iter().map(|_| Measured::default()).collect();
        for _ in 0..TURNS {
            for (lane, measured) in lanes.iter_mut().zip(&mut round) {
                lane.turn(span / TURNS, measured)?;
            }
        }
        measured.push(round);
    }
    print_lane("raw-syncs", &mut measured, 0, Vec::new());
    for (lane, producers) in (1..).zip(PRODUCERS) {
        let ratios = measured
            .iter()
            .filter_map(|round| Some(round.get(lane)?.per_second() / round.first()?.per_second()));
        let ratio = rounded(median(&ratios.collect::<Vec<_>>()), 3);
        let members = vec![("producers", producers.into()), ("ratio_to_raw_syncs", ratio)];
        print_lane("writer-events", &mut measured, lane, members);
    }
    Ok(())
}

/// Prints the medians of a lane's rounds.
fn print_lane(
    name: &str,
    rounds: &mut [Vec<Measured>],
    lane: usize,
    members: Vec<(&'static str, serde_json::Value)>,
) {
    let (mut rates, mut middles, mut slowest) = (Vec::new(), Vec::new(), Vec::new());
    for round in rounds.iter_mut().filter_map(|round| round.get_mut(lane)) {
        rates.push(round.per_second());
        middles.push(round.times.permille(500).as_secs_f64());
        slowest.push(round.times.permille(990).as_secs_f64());
    }
    let time = |times: &[f64]| micros(Duration::from_secs_f64(median(times)));
    let measured = [
        ("per_second", rounded(median(&rates), 0)),
        ("rounds", rates.iter().map(|rate| rounded(*rate, 0)).collect()),
        ("p50_us", time(&middles)),
        ("p99_us", time(&slowest)),
    ];
    figure::print(name, members.into_iter().chain(measured));
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("palisade-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // Whoever asked sees the folder if it stays.
    }
}

/// One block after the other, each with its sync: nothing could be faster.
struct RawFile {
    file: File,
    offset: u64,
}

impl RawFile {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("raw");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for offset in (0..RAW_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        Ok(Self { file, offset: 0 })
    }
}

impl Lane for RawFile {
    fn turn(&mut self, span: Duration, measured: &mut Measured) -> anyhow::Result<()> {
        let block = [0x5a; BLOCK];
        let started = Instant::now();
        while started.elapsed() < span {
            let before = Instant::now();
            self.file.write_all_at(&block, self.offset).context("write a block")?;
            self.file.sync_data().context("sync a block")?;
            measured.times.push(before.elapsed());
            self.offset = (self.offset + BLOCK as u64) % RAW_BYTES;
        }
        measured.spent += started.elapsed();
        Ok(())
    }
}

/// The real writer on a fresh log: as many events under way as there are producers, each replaced once it is durable.
struct Producers {
    writer: Writer,
    woken: Receiver<()>,
    producers: usize,
    submitted: u64,
}

impl Producers {
    fn new(folder: &Path, producers: usize) -> anyhow::Result<Self> {
        let data = folder.join(format!("log-{producers}"));
        let members = ConfState::new([HostId::new(1)], []);
        let mut wal = Wal::create(Arc::new(StdDisk), &data, setup(), members)?;
        while wal.prepare_spare()? == SpareProgress::Working {}
        let (waker, woken) = sync_channel(1);
        let wake = move || {
            let _ = waker.try_send(()); // One wake-up that waits is enough.
        };
        Ok(Self { writer: Writer::start(wal, |_, _| {}, wake)?, woken, producers, submitted: 0 })
    }
}

impl Lane for Producers {
    fn turn(&mut self, span: Duration, measured: &mut Measured) -> anyhow::Result<()> {
        let mut under_way = VecDeque::with_capacity(self.producers);
        let started = Instant::now();
        loop {
            while under_way.len() < self.producers && started.elapsed() < span {
                self.submitted += 1;
                under_way.push_back((self.submitted, Instant::now()));
                self.writer.submit(job(self.submitted));
            }
            if under_way.is_empty() {
                break;
            }
            self.woken.recv().context("the writer ended")?;
            let persisted = self.writer.persisted();
            while let Some((_, since)) = under_way.pop_front_if(|(number, _)| *number <= persisted) {
                measured.times.push(since.elapsed());
            }
        }
        measured.spent += started.elapsed();
        Ok(())
    }
}

fn job(number: u64) -> PersistJob {
    let term = Term::new(1);
    PersistJob {
        number,
        reset: None,
        entries: vec![LogEntry {
            index: LogIndex::new(number),
            term,
            kind: EntryKind::Normal,
            data: vec![0x5a; EVENT],
        }],
        hard_state: (number == 1).then_some(HardState { term, ..HardState::default() }),
        conf_state: None,
        durability: Durability::Sync,
        then: Vec::new(),
    }
}

fn setup() -> WalSetup {
    let identity =
        WalIdentity { cluster: ClusterId::default(), host: HostId::new(1), incarnation: Incarnation::new(1) };
    let stamps = Box::new(|| FileStamp { nonce: 0x5a5a, created_at: Timestamp::ZERO });
    WalSetup { identity, options: WalOptions::default(), stamps }
}
