//! One host and three, in memory: every write is durable and every message arrives at once, unless a host is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use consensus::core::{CoreConfig, Restored, Role};
use log_format::disk::MemoryDisk;
use log_format::envelope::Recorded;
use log_format::event::{
    Actor, AttackKind, AttackObserved, ChapterCut, ChapterEvent, ChapterSealed, Event, Evidence, Rule,
    Sanction, Scope, Text,
};
use log_format::ids::{Origin, OriginSequence};
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Wal, WalIdentity, WalOptions,
    WalSetup,
};
use projections::decide::Verdict;

use super::*;
use crate::witness::WitnessKey;

mod chapters;
mod frame;
mod membership;

const ONE: HostId = HostId::new(1);
const TWO: HostId = HostId::new(2);
const THREE: HostId = HostId::new(3);
const INCARNATION: Incarnation = Incarnation::new(1);
const TICK: Duration = Duration::from_millis(100);

#[test]
fn a_submitted_command_is_committed_and_in_the_views() {
    let mut cluster = Cluster::led([ONE]);
    let outcome = cluster.submit(ONE, id(1), block("192.0.2.1"));
    let Outcome::Committed { index } = outcome else { panic!("{outcome:?}") };
    let node = cluster.node(ONE);
    assert_eq!((node.applied(), node.views().read().expect("no reader panicked").applied()), (index, index));
    assert!(matches!(cluster.verdict(ONE, "192.0.2.1"), Verdict::Blocked { .. }));
}

#[test]
fn a_command_that_comes_twice_is_answered_twice_and_takes_effect_once() {
    let mut cluster = Cluster::led([ONE]);
    let first = cluster.submit(ONE, id(1), block("192.0.2.1"));
    assert_eq!(cluster.submit(ONE, id(1), block("192.0.2.1")), first);
    assert_eq!(cluster.count_in_log(ONE, id(1)), 1);
}

#[test]
fn commands_that_come_while_the_log_writes_are_written_together() {
    let mut cluster = Cluster::led([ONE]);
    let now = at(cluster.now);
    let node = &mut cluster.hosts.get_mut(&ONE).expect("the host exists").node;
    let mut written_after = |input: Input| {
        let mut outputs = Vec::new();
        node.handle_all([input], now, &mut outputs);
        let jobs = outputs.into_iter().filter_map(|output| {
            let Output::Persist(job) = output else { return None };
            (!job.entries.is_empty()).then_some((job.number, job.entries.len()))
        });
        jobs.collect::<Vec<_>>()
    };
    let submit = |number: u8| {
        let body = block(&format!("192.0.2.{number}"));
        Input::Submit { ticket: Ticket::new(number.into()), id: id(number), body }
    };
    let first = written_after(submit(1));
    let [(number, 1)] = first[..] else { panic!("{first:?}") };
    assert_eq!(written_after(submit(2)), []);
    assert_eq!(written_after(submit(3)), []);
    let together = written_after(Input::Persisted { number });
    assert!(matches!(together[..], [(_, 2)]), "{together:?}");
}

#[test]
fn a_rejection_reaches_the_caller_with_its_code_and_field() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    for host in [ONE, TWO, THREE] {
        let outcome = cluster.submit(host, id(1), block("127.0.0.1"));
        let Outcome::Rejected(refusal) = outcome else { panic!("{outcome:?}") };
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("never_blocked", None));
        assert!(refusal.detail.contains("127.0.0.1"), "{refusal:?}");
        for seconds in [0, u64::MAX] {
            let outcome = cluster.submit(host, id(2), block_for("192.0.2.1", seconds));
            let Outcome::Rejected(refusal) = outcome else { panic!("{seconds} at {host}: {outcome:?}") };
            assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("out_of_range", Some("seconds")));
        }
    }
}

#[test]
fn a_confirmed_read_shows_what_was_acknowledged_elsewhere() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let leader = cluster.leader();
    let followers: Vec<HostId> = [ONE, TWO, THREE].into_iter().filter(|host| *host != leader).collect();
    let behind = followers[0];
    cluster.cut.insert(behind);
    let Outcome::Committed { index } = cluster.submit(leader, id(1), block("192.0.2.1")) else {
        panic!("two of three hosts are a majority")
    };
    assert!(cluster.node(behind).applied() < index);
    cluster.cut.clear();
    let shown = cluster.read(behind).expect("a majority is there");
    assert!(index <= shown);
    assert!(matches!(cluster.verdict(behind, "192.0.2.1"), Verdict::Blocked { .. }));
}

#[test]
fn a_leader_without_a_majority_confirms_no_read() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let leader = cluster.leader();
    cluster.cut.insert(leader);
    assert_eq!(cluster.read(leader), None);
    cluster.cut.clear();
    cluster.pass(Duration::from_secs(10));
    assert!(cluster.read(leader).is_some());
}

#[test]
fn a_leader_without_a_majority_refuses_nothing() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let old = cluster.leader();
    cluster.cut.insert(old);
    // It cannot know whether another host, which leads by now, knows better.
    assert_eq!(cluster.submit(old, id(1), block("127.0.0.1")), Outcome::Unknown);
    cluster.cut.clear();
    cluster.pass(Duration::from_secs(10));
    assert!(matches!(cluster.submit(old, id(1), block("127.0.0.1")), Outcome::Rejected(_)));
}

#[test]
fn a_repeat_is_answered_as_before_though_the_disk_has_become_full() {
    let mut cluster = Cluster::led([ONE]);
    let first = cluster.submit(ONE, id(1), block("192.0.2.1"));
    cluster.give(ONE, Input::Local(LocalState { disk: DiskState::Low, ..LocalState::default() }));
    assert_eq!(cluster.submit(ONE, id(1), block("192.0.2.1")), first);
}

#[test]
fn a_leader_with_a_full_disk_takes_only_what_is_necessary() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let Outcome::Committed { .. } = cluster.submit(ONE, id(1), block("192.0.2.1")) else {
        panic!("the disk has room")
    };
    let disk = |state| Input::Local(LocalState { disk: state, ..LocalState::default() });
    let leader = cluster.leader();
    // The others have said so before the leader looks for one with more room.
    [ONE, TWO, THREE]
        .into_iter()
        .filter(|host| *host != leader)
        .for_each(|host| cluster.give(host, disk(DiskState::Low)));
    cluster.pass(Duration::from_secs(2));
    cluster.give(leader, disk(DiskState::Low));
    let Outcome::Rejected(refusal) = cluster.submit(TWO, id(2), block("192.0.2.2")) else {
        panic!("a block is not necessary")
    };
    assert_eq!(refusal.code, "disk_low");
    cluster.give(TWO, Input::Observe(attack("192.0.2.3")));
    cluster.pass(Duration::from_secs(1));
    assert!(matches!(cluster.verdict(ONE, "192.0.2.3"), Verdict::Free), "it waits in the spool");
    assert_eq!(cluster.leader(), leader, "nobody has more room");
    let by = Actor::Administrator(Text::new(b"ana"));
    let source = "192.0.2.1".parse().expect("an address");
    let unblock = CommandBody::UnblockAddress { source, allow_seconds: None, by };
    assert!(matches!(cluster.submit(THREE, id(3), unblock), Outcome::Committed { .. }));
    cluster.give(leader, disk(DiskState::Ample));
    cluster.pass(Duration::from_secs(1));
    assert!(matches!(cluster.verdict(ONE, "192.0.2.3"), Verdict::Blocked { .. }));
}

#[test]
fn a_leader_whose_disk_is_nearly_full_lets_one_lead_that_has_room() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let leader = cluster.leader();
    let (low, other) =
        if leader == ONE { (TWO, THREE) } else { (ONE, [TWO, THREE][usize::from(leader == TWO)]) };
    for host in [leader, low] {
        cluster.give(host, Input::Local(LocalState { disk: DiskState::Low, ..LocalState::default() }));
    }
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.leader(), other);
    assert!(matches!(cluster.submit(leader, id(1), block("192.0.2.1")), Outcome::Committed { .. }));
}

#[test]
fn an_observation_waits_for_a_leader_and_is_delivered_after_the_election() {
    let mut cluster = Cluster::new([ONE, TWO, THREE]);
    for host in [ONE, TWO, THREE] {
        cluster.give(host, Input::Observe(attack("192.0.2.9")));
        assert_eq!(cluster.node(host).applied(), LogIndex::new(0));
    }
    cluster.pass(Duration::from_secs(5));
    for host in [ONE, TWO, THREE] {
        let first_of_this_start = (1 << 40) + 1;
        let acknowledged = cluster.node(TWO).model().acknowledged(host, INCARNATION);
        assert_eq!(acknowledged.get(), first_of_this_start);
        assert!(matches!(cluster.verdict(host, "192.0.2.9"), Verdict::Blocked { .. }));
    }
}

#[test]
fn a_host_whose_seal_is_another_one_halts_and_names_both() {
    let here = seal_of_one_entry();
    for (seal, is_halted) in [(here.hash(), false), ([9; 32], true)] {
        let mut node = host_with_a_chapter(here.clone(), seal).node;
        let mut outputs = Vec::new();
        node.start(&mut outputs);
        node.handle_all([Input::Tick], at(TICK), &mut outputs);
        let halted = outputs.iter().find_map(|output| {
            let Output::Halt(reason) = output else { return None };
            Some(reason.to_string())
        });
        assert_eq!(halted.is_some(), is_halted, "{halted:?}");
        if let Some(text) = halted {
            assert!(text.contains("chapter 1") && text.contains(&hex(&here.hash())), "{text}");
            assert!(text.contains(&hex(&seal)), "{text}");
        }
    }
}

/// A chapter that holds the log's first entry, sealed in 1970.
fn seal_of_one_entry() -> Seal {
    let one = LogPosition { index: LogIndex::new(1), term: Term::new(1) };
    Seal {
        cluster: ClusterId::new([1; 16]),
        chapter: ChapterNumber::new(1),
        first: one,
        last: one,
        first_accepted: Timestamp::ZERO,
        last_accepted: Timestamp::ZERO,
        parts: Default::default(),
        previous: Hash::default(),
        members: ConfState::new([ONE], []),
    }
}

/// A host alone that has sealed its first chapter so, and whose log names a seal of it; it is not started yet.
fn host_with_a_chapter(here: Seal, named: Hash) -> Host {
    let mut host = Host::new(ONE, &[ONE], |wal| {
        let chapter = here.chapter;
        let cut = ChapterEvent::Cut(ChapterCut { chapter, last: here.last.index });
        let sealed = ChapterEvent::Sealed(ChapterSealed { chapter, seal: named });
        let data = [Vec::new(), bookkeeping(2, cut), bookkeeping(3, sealed)];
        let entries = data.into_iter().zip(1..).map(|(data, index)| LogEntry {
            index: LogIndex::new(index),
            term: Term::new(1),
            kind: EntryKind::Normal,
            data,
        });
        let hard_state = HardState { term: Term::new(1), vote: Some(ONE), commit: LogIndex::new(3) };
        append(wal, hard_state, &entries.collect::<Vec<_>>());
    });
    let key = WitnessKey::from_seed(&[1; 32]).expect("a key");
    host.node = host.node.with_chapters(ChapterSettings::default(), vec![here], LogPosition::default(), key);
    host
}

/// An entry of the log's own bookkeeping.
fn bookkeeping(index: u8, event: ChapterEvent) -> Vec<u8> {
    envelope(index, Event::Chapter(event))
}

fn envelope(index: u8, event: Event) -> Vec<u8> {
    let origin = Origin { host: ONE, incarnation: INCARNATION, sequence: OriginSequence::new(0) };
    let recorded = Recorded { observed_at: Timestamp::ZERO, salt: Salt::default(), event };
    let accepted_at = Timestamp::from_nanos(index.into());
    let envelope = Envelope { command: id(index), origin, accepted_at, events: vec![recorded] };
    envelope.encode().expect("an envelope")
}

#[test]
fn a_committed_entry_that_does_not_decode_halts_the_host() {
    let mut host = Host::new(ONE, &[ONE], |wal| {
        let entry = LogEntry {
            index: LogIndex::new(1),
            term: Term::new(1),
            kind: EntryKind::Normal,
            data: b"no envelope".to_vec(),
        };
        let hard_state = HardState { term: Term::new(1), vote: Some(ONE), commit: entry.index };
        append(wal, hard_state, &[entry]);
    });
    let mut outputs = Vec::new();
    host.node.start(&mut outputs);
    let halted = |output: &Output| matches!(output, Output::Halt(HaltReason::Undecodable { index, .. }) if index.get() == 1);
    assert!(outputs.iter().any(halted), "{outputs:?}");
    // It takes nothing in any more.
    outputs.clear();
    host.node.handle_all([Input::Plan], at(Duration::ZERO), &mut outputs);
    assert!(outputs.is_empty(), "{outputs:?}");
}

#[test]
fn a_lost_leadership_is_answered_as_unknown_and_a_retry_takes_effect_once() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let leader = cluster.leader();
    cluster.cut.insert(leader);
    // The leader takes it, and cannot commit it.
    assert_eq!(cluster.submit(leader, id(7), block("192.0.2.7")), Outcome::Unknown);
    assert_ne!(cluster.node(leader).consensus().role, Role::Leader);
    cluster.cut.clear();
    cluster.pass(Duration::from_secs(5));
    let Outcome::Committed { index } = cluster.submit(leader, id(7), block("192.0.2.7")) else {
        panic!("the retry is not committed");
    };
    for host in [ONE, TWO, THREE] {
        cluster.pass(Duration::from_secs(1));
        assert_eq!(cluster.count_in_log(host, id(7)), 1);
        assert!(index <= cluster.node(host).applied());
    }
}

#[test]
fn an_answer_to_an_earlier_start_answers_nothing_of_this_one() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let follower = [ONE, TWO, THREE].into_iter().find(|host| *host != cluster.leader()).expect("two follow");
    let leader = cluster.leader();
    cluster.cut.insert(follower);
    let ticket = cluster.ask(follower, id(3), block("192.0.2.3"));
    for earlier in 1..100 {
        let outcome = Bytes::from(wire::encode_outcome(&Outcome::Committed { index: LogIndex::new(1) }));
        let message = PeerMessage::Forwarded { ticket: earlier, outcome };
        cluster.give(follower, Input::Peer { from: leader, message });
    }
    assert_eq!(cluster.host(follower).replies.get(&ticket), None);
}

#[test]
fn a_silent_host_is_inactive_after_fifteen_seconds_and_active_again_after_three_pings() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let leader = cluster.leader();
    let silent = [ONE, TWO, THREE].into_iter().find(|host| *host != leader).expect("two follow");
    let is_active =
        |cluster: &mut Cluster| cluster.node(leader).model().host_is_active(silent).expect("it is enrolled");
    cluster.pass(Duration::from_secs(2));
    cluster.cut.insert(silent);
    cluster.pass(Duration::from_secs(13));
    assert!(is_active(&mut cluster));
    cluster.pass(Duration::from_secs(3));
    assert!(!is_active(&mut cluster));
    cluster.cut.clear();
    cluster.pass(Duration::from_millis(900));
    assert!(!is_active(&mut cluster), "one ping is no recovery");
    cluster.pass(Duration::from_secs(6));
    assert!(is_active(&mut cluster));
}

struct Cluster {
    hosts: BTreeMap<HostId, Host>,
    cut: BTreeSet<HostId>,
    now: Duration,
    tickets: u64,
}

struct Host {
    node: Node,
    wal: Wal<MemoryDisk>,
    hard_state: HardState,
    replies: BTreeMap<Ticket, Outcome>,
    reads: BTreeMap<Ticket, Option<LogIndex>>,
}

impl Cluster {
    fn new<const N: usize>(ids: [HostId; N]) -> Self {
        let hosts = ids.map(|host| (host, Host::new(host, &ids, |_| {})));
        Self { hosts: hosts.into(), cut: BTreeSet::new(), now: Duration::ZERO, tickets: 0 }
    }

    fn led<const N: usize>(ids: [HostId; N]) -> Self {
        let mut cluster = Self::new(ids);
        cluster.pass(Duration::from_secs(5));
        cluster
    }

    fn leader(&self) -> HostId {
        let leads = |host: &&HostId| self.hosts[host].node.consensus().role == Role::Leader;
        *self.hosts.keys().find(leads).expect("a host leads")
    }

    fn host(&self, id: HostId) -> &Host {
        &self.hosts[&id]
    }

    fn node(&self, id: HostId) -> &Node {
        &self.host(id).node
    }

    fn verdict(&self, host: HostId, address: &str) -> Verdict {
        self.node(host).model().verdict(address.parse().expect("an address"), at(self.now).wall)
    }

    /// How often a command is in a host's log.
    fn count_in_log(&self, host: HostId, id: CommandId) -> usize {
        let last = self.node(host).applied().next();
        let entries = self.host(host).wal.reader().entries(LogIndex::new(1), last, u64::MAX);
        let entries = entries.expect("the log is readable");
        let envelopes =
            entries.iter().filter_map(|entry| log_format::envelope::Envelope::decode(&entry.data).ok());
        envelopes.filter(|envelope| envelope.command == id).count()
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                self.give(id, Input::Tick);
            }
        }
    }

    fn ask(&mut self, host: HostId, id: CommandId, body: CommandBody) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        self.give(host, Input::Submit { ticket, id, body });
        ticket
    }

    /// Reads, and lets time pass until the read is confirmed or refused.
    fn read(&mut self, host: HostId) -> Option<LogIndex> {
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        self.give(host, Input::Read { ticket });
        for _ in 0..100 {
            if let Some(outcome) = self.host(host).reads.get(&ticket) {
                return *outcome;
            }
            self.pass(TICK);
        }
        panic!("no answer in ten seconds");
    }

    /// Asks, and lets time pass until there is an answer.
    fn submit(&mut self, host: HostId, id: CommandId, body: CommandBody) -> Outcome {
        let ticket = self.ask(host, id, body);
        for _ in 0..100 {
            if let Some(outcome) = self.host(host).replies.get(&ticket) {
                return outcome.clone();
            }
            self.pass(TICK);
        }
        panic!("no answer in ten seconds");
    }

    /// Gives a host something, and everybody what follows from it.
    fn give(&mut self, id: HostId, input: Input) {
        let mut waiting = std::collections::VecDeque::from([(id, input)]);
        while let Some((id, input)) = waiting.pop_front() {
            let mut outputs = Vec::new();
            let host = self.hosts.get_mut(&id).expect("the host exists");
            host.node.handle_all([input], at(self.now), &mut outputs);
            for output in outputs {
                let sent = host.carry_out(output, &mut waiting, id);
                let lost = |to: &HostId| self.cut.contains(to) || self.cut.contains(&id);
                let arrived = sent.into_iter().filter(|(to, _)| !lost(to));
                waiting.extend(arrived.map(|(to, message)| (to, Input::Peer { from: id, message })));
            }
        }
    }
}

impl Host {
    fn new(id: HostId, all: &[HostId], write: impl FnOnce(&mut Wal<MemoryDisk>)) -> Self {
        let cluster = ClusterId::new([1; 16]);
        let setup = || WalSetup {
            identity: WalIdentity { cluster, host: id, incarnation: INCARNATION },
            options: WalOptions { file_bytes: 1 << 20 },
            stamps: Box::new(|| FileStamp { nonce: 7, created_at: Timestamp::ZERO }),
        };
        let (disk, path) = (Arc::new(MemoryDisk::new()), Path::new("/data"));
        let members = ConfState::new(all.iter().copied(), []);
        let mut wal = Wal::create(Arc::clone(&disk), path, setup(), members).expect("the log begins");
        write(&mut wal);
        drop(wal);
        let (wal, recovered) = Wal::open(disk, path, setup()).expect("the log opens");
        let hard_state = recovered.hard_state;
        let core =
            Core::new(&CoreConfig::new(id), Restored::from(recovered), Box::new(wal.reader()), id.get());
        let identity = Identity {
            cluster,
            host: id,
            incarnation: INCARNATION,
            spooled: None,
            start: 1,
            hosts: all.iter().map(|host| known(*host)).collect(),
        };
        let secret = [u8::try_from(id.get()).expect("a small id"); 32];
        let node = Node::new(identity, core.expect("consensus starts"), secret, at(Duration::ZERO));
        Self { node, wal, hard_state, replies: BTreeMap::new(), reads: BTreeMap::new() }
    }

    /// Does what the runtime does; gives what is sent.
    fn carry_out(
        &mut self,
        output: Output,
        waiting: &mut std::collections::VecDeque<(HostId, Input)>,
        id: HostId,
    ) -> Vec<(HostId, PeerMessage)> {
        match output {
            Output::Send { to, message } => vec![(to, message)],
            Output::Spool(record) => {
                let told = Spooled::Durable { upto: record.sequence, count: 1 };
                waiting.push_back((id, Input::Spooled(told)));
                Vec::new()
            }
            Output::SpoolTaken { .. } => Vec::new(),
            Output::ReadSpool { .. } => panic!("everything fits into memory"),
            Output::Persist(job) => {
                self.hard_state = job.hard_state.unwrap_or(self.hard_state);
                append(&mut self.wal, self.hard_state, &job.entries);
                waiting.push_back((id, Input::Persisted { number: job.number }));
                job.then.into_iter().map(|(to, message)| (to, PeerMessage::Raft(message))).collect()
            }
            Output::Reply { ticket, outcome } => {
                assert_eq!(self.replies.insert(ticket, outcome), None, "answered twice");
                Vec::new()
            }
            Output::ReadReady { ticket, index } => {
                assert_eq!(self.reads.insert(ticket, Some(index)), None, "answered twice");
                Vec::new()
            }
            Output::ReadRefused { ticket } => {
                assert_eq!(self.reads.insert(ticket, None), None, "answered twice");
                Vec::new()
            }
            Output::Halt(reason) => panic!("host {id} halts: {reason}"),
            Output::Applied { .. }
            | Output::Firewall { .. }
            | Output::LiftProvisional { .. }
            | Output::Plan { .. }
            | Output::Cluster(_)
            | Output::Members(_)
            | Output::Trust(_)
            | Output::Seal(_)
            | Output::Count(_)
            | Output::Erase { .. }
            | Output::Retire { .. }
            | Output::Fetch { .. }
            | Output::StateHash { .. }
            | Output::Standings { .. }
            | Output::Handover(_) => Vec::new(),
        }
    }
}

fn append(wal: &mut Wal<MemoryDisk>, hard_state: HardState, entries: &[LogEntry]) {
    let batch = Batch { hard_state, entries, conf_state: None, durability: Durability::Sync };
    wal.append(&batch).expect("the disk in memory writes");
}

fn known(host: HostId) -> KnownHost {
    let last = u8::try_from(host.get()).expect("a small id");
    KnownHost {
        host,
        name: format!("host-{host}"),
        addresses: vec![std::net::IpAddr::from([10, 0, 0, last])],
    }
}

fn at(monotonic: Duration) -> Now {
    Now { wall: Timestamp::from_seconds(1_767_225_600).after(monotonic), monotonic }
}

fn id(number: u8) -> CommandId {
    CommandId::new([number; 16])
}

fn block(address: &str) -> CommandBody {
    block_for(address, 3_600)
}

fn block_for(address: &str, seconds: u64) -> CommandBody {
    let by = Actor::Administrator(Text::new(b"ana"));
    let source = address.parse().expect("an address");
    CommandBody::BlockAddress { source, seconds: Some(seconds), note: Text::default(), by }
}

fn attack(source: &str) -> Observation {
    let fact = Fact::Attack(AttackObserved {
        source: source.parse().expect("an address"),
        source_port: 5_060,
        victim: std::net::IpAddr::from([10, 0, 0, 1]),
        victim_port: 5_060,
        attack: AttackKind::Register,
        rule: Rule::BadRegistrations,
        evidence: Evidence::Proven,
        sanction: Sanction::Block,
        user_agent: Text::new(b"friendly-scanner"),
        known_user_agent: true,
        count: 10,
        scope: Scope::Address,
        account: Text::default(),
        line: Text::default(),
    });
    Observation { observed_at: at(Duration::ZERO).wall, fact }
}
