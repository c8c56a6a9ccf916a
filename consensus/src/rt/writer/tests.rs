use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use log_format::disk::{Fault, MemoryDisk, Operation};
use log_format::ids::{ClusterId, Incarnation, LogIndex, Term};
use log_format::time::Timestamp;
use log_format::wal::LogPosition;
use log_format::wal::{
    AppendError, ConfState, Durability, EntryKind, FileStamp, LogEntry, WalIdentity, WalOptions, WalSetup,
};

use super::*;
use crate::core::PersistJob;

const DATA: &str = "/data";
/// Opening a log syncs it once.
const OPENING: u64 = 1;
/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn jobs_that_wait_together_cost_one_sync() {
    let run = Run::new();
    let before = run.disk.syncs();
    let jobs = (1..=100).map(|index| job(index, &[(index, 1)]));
    let told = run.all(jobs).unwrap();
    assert_eq!(told.persisted, 100);
    assert_eq!(told.sent, (1..=100).collect::<Vec<_>>());
    assert_eq!(run.disk.syncs() - before, OPENING + 1);
    assert_eq!(run.recovered().last.index, LogIndex::new(100));
}

#[test]
fn a_newer_leaders_entries_take_the_place_of_waiting_ones() {
    let run = Run::new();
    let jobs = [job(1, &[(1, 1), (2, 1), (3, 1)]), job(2, &[(2, 2), (3, 2)]), job(3, &[(3, 3)])];
    run.all(jobs).unwrap();
    let (wal, recovered) = run.open();
    assert_eq!(recovered.last.index, LogIndex::new(3));
    let terms = [1, 2, 3].map(|index| wal.reader().term(LogIndex::new(index)).unwrap());
    assert_eq!(terms, [1, 2, 3].map(Term::new));
}

#[test]
fn more_than_a_batch_holds_becomes_several() {
    let run = Run::new();
    let mut large = job(1, &[]);
    large.entries = (1..=40).map(|index| entry(index, 1, 500_000)).collect();
    run.all([large]).unwrap();
    assert_eq!(run.recovered().last.index, LogIndex::new(40));
}

#[test]
fn a_snapshot_makes_the_log_begin_anew_after_all_that_was_acknowledged_before() {
    let run = Run::new();
    let at = LogPosition { term: Term::new(2), index: LogIndex::new(9) };
    let members = ConfState::new([1, 2, 3].map(HostId::new), [HostId::new(4)]);
    let at_commit =
        |commit| Some(HardState { term: Term::new(3), vote: None, commit: LogIndex::new(commit) });
    let reset = PersistJob { reset: Some((at, members.clone())), hard_state: at_commit(9), ..job(2, &[]) };
    let behind = PersistJob { hard_state: at_commit(10), ..job(3, &[(10, 3)]) };
    let told = run.all([job(1, &[(1, 1), (2, 1)]), reset, behind]).unwrap();
    assert_eq!((told.persisted, told.sent), (3, vec![1, 2, 3]));
    let (wal, recovered) = run.open();
    assert_eq!((recovered.base, recovered.conf_state), (at, members));
    assert_eq!(recovered.last.index, LogIndex::new(10));
    assert_eq!(wal.durable_hard_state().commit, LogIndex::new(10));
}

#[test]
fn a_failed_sync_is_reported_to_nobody() {
    let run = Run::new();
    run.fail(Operation::SyncData);
    let (told, ended) = run.told_and_ended([job(1, &[(1, 1)])]);
    assert!(matches!(ended, Err(WriterError::Append { source: AppendError::Disk { .. }, .. })));
    assert_eq!(told.persisted, 0);
    assert_eq!(told.sent, []);
}

#[test]
fn a_failed_write_is_reported_to_nobody() {
    let run = Run::new();
    let mut writing = run.writing();
    run.fail(Operation::Write);
    let mut gathered = Gathered::default();
    gathered.add(job(1, &[(1, 1)]));
    assert!(writing.write(gathered).is_err());
    assert_eq!(writing.durable.number.load(Ordering::Acquire), 0);
}

#[test]
fn a_commit_index_alone_costs_no_sync_of_its_own_while_there_is_work() {
    let run = Run::new();
    run.all([job(1, &[(1, 1)])]).unwrap();
    let before = run.disk.syncs();
    let mut writing = run.writing();
    writing.write(commit(2, 1)).unwrap();
    assert_eq!(run.disk.syncs() - before, OPENING);
    assert_eq!(writing.durable.number.load(Ordering::Acquire), 2);
    assert_eq!(writing.durable.commit.load(Ordering::Acquire), 0);
    writing.write_commit().unwrap();
    assert_eq!(writing.durable.commit.load(Ordering::Acquire), 1);
}

#[test]
fn an_idle_writer_writes_the_commit_index() {
    let disk = Arc::new(MemoryDisk::new());
    let wal = create(&disk);
    let writer = Writer::start(wal, |_, _| {}, || {}).unwrap();
    writer.submit(job(1, &[(1, 1)]));
    let mut later = job(2, &[]);
    later.hard_state = Some(hard_state(1));
    later.durability = Durability::Later;
    writer.submit(later);
    let began = Instant::now();
    while writer.durable_commit().get() != LogIndex::new(1) {
        assert!(began.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    assert_eq!(writer.persisted(), 2);
}

#[test]
fn shutting_down_writes_what_waits() {
    let disk = Arc::new(MemoryDisk::new());
    let writer = Writer::start(create(&disk), |_, _| {}, || {}).unwrap();
    writer.submit(job(1, &[(1, 1)]));
    let mut later = job(2, &[]);
    later.hard_state = Some(hard_state(1));
    later.durability = Durability::Later;
    writer.submit(later);
    writer.shutdown();
    disk.crash(1);
    let (_, recovered) = Wal::open(disk, Path::new(DATA), setup()).unwrap();
    assert_eq!(recovered.last.index, LogIndex::new(1));
    assert_eq!(recovered.hard_state.commit, LogIndex::new(1));
}

#[test]
fn the_number_rises_before_the_messages_leave() {
    let disk = Arc::new(MemoryDisk::new());
    let (jobs, waiting) = sync_channel(MAX_JOBS);
    let durable = Arc::new(Durable::default());
    let seen = Arc::clone(&durable);
    let output = move |_, _| assert_eq!(seen.number.load(Ordering::Acquire), 7);
    let writing = Writing::new(create(&disk), (waiting, Spares::none()), durable, output, || {});
    jobs.send(job(7, &[(1, 1)])).unwrap();
    drop(jobs);
    writing.run().unwrap();
}

/// What the outside of a writer saw.
#[derive(Debug)]
struct Told {
    persisted: u64,
    /// The `index` of each message that left.
    sent: Vec<u64>,
}

struct Run {
    disk: Arc<MemoryDisk>,
}

type BoxedWriting = Writing<MemoryDisk, Box<dyn FnMut(HostId, Box<Message>)>, fn()>;

impl Run {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        drop(create(&disk));
        Self { disk }
    }

    fn fail(&self, operation: Operation) {
        // The first of each opens the log.
        let after = u32::from(operation == Operation::SyncData);
        self.disk.inject(Fault { operation, after, kind: io::ErrorKind::Other });
    }

    fn all(&self, jobs: impl IntoIterator<Item = PersistJob>) -> Result<Told, WriterError> {
        let (told, ended) = self.told_and_ended(jobs);
        ended.map(|()| told)
    }

    /// Runs a writer over jobs that all wait when it starts.
    fn told_and_ended(&self, jobs: impl IntoIterator<Item = PersistJob>) -> (Told, Result<(), WriterError>) {
        let (waiting, queue) = sync_channel(MAX_JOBS);
        let (sent, messages) = channel();
        let mut writing = self.writing_to(sent);
        writing.jobs = queue;
        let durable = Arc::clone(&writing.durable);
        jobs.into_iter().for_each(|job| waiting.send(job).unwrap());
        drop(waiting);
        let ended = writing.run();
        let told =
            Told { persisted: durable.number.load(Ordering::Acquire), sent: messages.into_iter().collect() };
        (told, ended)
    }

    fn writing(&self) -> BoxedWriting {
        self.writing_to(channel().0)
    }

    fn writing_to(&self, sent: Sender<u64>) -> BoxedWriting {
        let (wal, _) = self.open();
        let output = move |_, message: Box<Message>| sent.send(message.index).unwrap();
        let durable = Arc::new(Durable::default());
        Writing::new(wal, (sync_channel(1).1, Spares::none()), durable, Box::new(output), || {})
    }

    fn recovered(&self) -> log_format::wal::Recovered {
        self.disk.crash(5);
        self.open().1
    }

    fn open(&self) -> (Wal<MemoryDisk>, log_format::wal::Recovered) {
        Wal::open(Arc::clone(&self.disk), Path::new(DATA), setup()).unwrap()
    }
}

fn create(disk: &Arc<MemoryDisk>) -> Wal<MemoryDisk> {
    let members = ConfState::new([HostId::new(1)], []);
    Wal::create(Arc::clone(disk), Path::new(DATA), setup(), members).unwrap()
}

fn setup() -> WalSetup {
    WalSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([7; 16]),
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
        },
        options: WalOptions { file_bytes: 12 << 20 },
        stamps: Box::new(|| FileStamp { nonce: 77, created_at: Timestamp::from_seconds(1) }),
    }
}

/// A job of one message, which carries the job's number.
fn job(number: u64, entries: &[(u64, u64)]) -> PersistJob {
    let term = entries.iter().map(|(_, term)| *term).max();
    PersistJob {
        number,
        reset: None,
        entries: entries.iter().map(|(index, term)| entry(*index, *term, 10)).collect(),
        hard_state: term.map(|term| HardState { term: Term::new(term), ..HardState::default() }),
        conf_state: None,
        durability: Durability::Sync,
        then: vec![(HostId::new(2), Box::new(Message { index: number, ..Message::default() }))],
    }
}

fn commit(number: u64, commit: u64) -> Gathered {
    let mut gathered = Gathered::default();
    let hard_state = Some(hard_state(commit));
    gathered.add(PersistJob {
        hard_state,
        durability: Durability::Later,
        then: Vec::new(),
        ..job(number, &[])
    });
    gathered
}

fn hard_state(commit: u64) -> HardState {
    HardState { term: Term::new(1), vote: None, commit: LogIndex::new(commit) }
}

fn entry(index: u64, term: u64, bytes: usize) -> LogEntry {
    LogEntry {
        index: LogIndex::new(index),
        term: Term::new(term),
        kind: EntryKind::Normal,
        data: vec![1; bytes],
    }
}
