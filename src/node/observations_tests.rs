#![expect(clippy::wildcard_enum_match_arm, reason = "tests look for one variant among many")]

use std::time::Duration;

use log_format::event::{Rule, StrikeDelta};
use log_format::ids::{ClusterId, Incarnation};

use super::*;

const HOST: HostId = HostId::new(1);

/// Observations, a spool that never fails, and a counter for tickets.
struct World {
    observations: Observations,
    randomness: Randomness,
    spool: Vec<SpoolRecord>,
    tickets: u64,
}

impl World {
    fn start(start: u32, spool: Vec<SpoolRecord>) -> Self {
        let identity = Identity {
            cluster: ClusterId::default(),
            host: HOST,
            incarnation: Incarnation::new(1),
            spooled: spool.last().map(|record| record.sequence),
            start,
            hosts: Vec::new(),
        };
        let observations = Observations::new(&identity, identity.spooled);
        Self { observations, randomness: Randomness { secret: [0; 32], drawn: 0 }, spool, tickets: 0 }
    }

    fn observe(&mut self, count: u32) {
        for unproven in 1..=count {
            let delta = StrikeDelta {
                source: IpAddr::from([192, 0, 2, 1]),
                rule: Rule::BadRegistrations,
                proven: 0,
                unproven,
            };
            let fact = Fact::Strikes(StrikesCounted { deltas: vec![delta] });
            self.tickets += 1;
            let mut outputs = Vec::new();
            let observation = Observation { observed_at: Timestamp::ZERO, fact };
            let aids = (Ticket::new(self.tickets), &mut self.randomness);
            self.observations.observe(observation, aids, &mut outputs);
            self.keep(outputs);
        }
    }

    fn keep(&mut self, outputs: Vec<Output>) {
        self.spool.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Spool(record) => Some(record),
            _ => None,
        }));
    }

    fn tell(&mut self, told: Spooled) {
        let tickets = &mut self.tickets;
        self.observations.spooled(told, (now(), &mut self.randomness), &mut || {
            *tickets += 1;
            Ticket::new(*tickets)
        });
    }

    fn durable(&mut self, count: u64) {
        let upto = self.spool.last().expect("something is spooled").sequence;
        self.tell(Spooled::Durable { upto, count });
    }

    /// Answers the read that is asked for, if one is.
    fn read(&mut self, skip: &[u64]) -> bool {
        let mut outputs = Vec::new();
        self.observations.refill(&mut outputs);
        let Some(Output::ReadSpool { from, most }) = outputs.pop() else { return false };
        let behind: Vec<SpoolItem> = self
            .spool
            .iter()
            .filter(|record| from <= record.sequence && !skip.contains(&low(record.sequence)))
            .cloned()
            .map(SpoolItem::Record)
            .collect();
        let is_end = behind.len() <= most;
        self.tell(Spooled::Read { items: behind.into_iter().take(most).collect(), is_end });
        true
    }

    fn sent(&mut self) -> Vec<(Ticket, Command)> {
        let mut unsent = Vec::new();
        self.observations.take_unsent(Sent::To { host: HOST, at: Duration::ZERO }, &mut unsent);
        unsent
    }

    fn numbers(&mut self) -> Vec<u64> {
        self.sent().iter().map(|(_, command)| low(command.origin.sequence)).collect()
    }
}

fn now() -> Now {
    Now { wall: Timestamp::ZERO, monotonic: Duration::ZERO }
}

/// The number within its start.
fn low(sequence: OriginSequence) -> u64 {
    sequence.get() & ((1 << SEQUENCE_BITS) - 1)
}

#[test]
fn nothing_is_sent_before_it_is_durable() {
    let mut world = World::start(1, Vec::new());
    world.observe(3);
    assert_eq!(world.numbers(), [0; 0]);
    world.tell(Spooled::Durable { upto: world.spool[1].sequence, count: 2 });
    assert_eq!(world.numbers(), [1, 2]);
    world.durable(1);
    assert_eq!(world.numbers(), [3]);
}

#[test]
fn what_an_earlier_start_left_goes_first_and_only_what_the_log_has_not() {
    let mut before = World::start(1, Vec::new());
    before.observe(5);
    let mut world = World::start(2, before.spool);
    world.observations.resume(world.spool[1].sequence);
    world.observe(2);
    world.durable(2);
    assert_eq!(world.numbers(), [0; 0], "the new ones wait for the old ones");
    assert!(world.read(&[]));
    let first = |start: u64| start << SEQUENCE_BITS;
    let sequences = |sent: &[(Ticket, Command)]| -> Vec<u64> {
        sent.iter().map(|(_, command)| command.origin.sequence.get()).collect()
    };
    let old = world.sent();
    assert_eq!(sequences(&old), [first(1) + 3, first(1) + 4, first(1) + 5]);
    assert_eq!(
        world.numbers(),
        [0; 0],
        "the leader would take the first of a start, and then none before it"
    );
    for (ticket, _) in old {
        world.observations.committed(ticket, LogIndex::new(1));
    }
    world.observations.settle(LogIndex::new(1), &mut Vec::new());
    assert_eq!(sequences(&world.sent()), [first(2) + 1, first(2) + 2]);
    assert!(!world.read(&[]), "nothing is behind them");
}

#[test]
fn what_does_not_fit_into_memory_is_read_back_in_order() {
    let mut world = World::start(1, Vec::new());
    let many = MAX_IN_MEMORY as u64 + 10;
    for _ in 0..many / 1_000 + 1 {
        world.observe(1_000);
        world.durable(1_000);
    }
    let total = (many / 1_000 + 1) * 1_000;
    let mut delivered = Vec::new();
    while (delivered.len() as u64) < total {
        world.read(&[]);
        let sent = world.sent();
        assert!(!sent.is_empty(), "{} of {total}", delivered.len());
        for (ticket, command) in sent {
            delivered.push(low(command.origin.sequence));
            world.observations.committed(ticket, LogIndex::new(1));
        }
        world.observations.settle(LogIndex::new(1), &mut Vec::new());
    }
    assert!(delivered.iter().copied().eq(1..=total));
}

#[test]
fn a_gap_in_the_spool_is_said_in_its_place() {
    let mut before = World::start(1, Vec::new());
    before.observe(9);
    let mut world = World::start(2, before.spool);
    world.read(&[4, 5, 6, 9]);
    let sent = world.sent();
    let lost: Vec<(u64, u64, u64)> = sent
        .iter()
        .filter_map(|(_, command)| match &command.body {
            CommandBody::DropSpool(gap) => Some((low(gap.from), low(gap.to), gap.count)),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [(4, 6, 3), (9, 9, 1)]);
    let numbers: Vec<u64> = sent.iter().map(|(_, command)| low(command.origin.sequence)).collect();
    assert_eq!(numbers, [1, 2, 3, 6, 7, 8, 9], "a loss stands under its last number");
}

#[test]
fn a_loss_at_the_end_of_a_start_is_said_before_the_next_start_begins() {
    let mut before = World::start(1, Vec::new());
    before.observe(3);
    let mut world = World::start(2, before.spool);
    world.observe(1);
    world.durable(1);
    world.observations.resume(world.spool[2].sequence);
    let (from, to) = (after(world.spool[2].sequence), given_before(2));
    let gap = SpoolItem::Dropped(log_format::spool::SpoolDropped { from, to, count: None });
    let first = SpoolItem::Record(world.spool[3].clone());
    world.tell(Spooled::Read { items: vec![gap, first], is_end: true });
    let sent = world.sent();
    let [(ticket, lost)] = sent.as_slice() else { panic!("{sent:?}") };
    assert!(matches!(lost.body, CommandBody::DropSpool(_)) && start_of(lost.origin.sequence) == 1);
    world.observations.committed(*ticket, LogIndex::new(1));
    world.observations.settle(LogIndex::new(1), &mut Vec::new());
    assert_eq!(world.numbers(), [1]);
}

#[test]
fn the_spool_may_forget_what_is_folded_and_nothing_else() {
    let mut world = World::start(1, Vec::new());
    world.observe(3);
    world.durable(3);
    let tickets: Vec<Ticket> = world.sent().into_iter().map(|(ticket, _)| ticket).collect();
    let taken = |world: &mut World, applied: u64| {
        let mut outputs = Vec::new();
        world.observations.settle(LogIndex::new(applied), &mut outputs);
        outputs.iter().find_map(|output| match output {
            Output::SpoolTaken { upto } => Some(low(*upto)),
            _ => None,
        })
    };
    world.observations.committed(tickets[0], LogIndex::new(7));
    world.observations.committed(tickets[1], LogIndex::new(8));
    assert_eq!(taken(&mut world, 6), None);
    assert_eq!(taken(&mut world, 7), Some(1));
    assert_eq!(taken(&mut world, 9), Some(2), "the third is not in the log yet");
}

#[test]
fn after_a_start_a_quiet_host_tells_the_spool_what_the_log_has() {
    let mut before = World::start(1, Vec::new());
    before.observe(5);
    let mut world = World::start(2, before.spool);
    let last = world.spool[4].sequence;
    world.observations.resume(last);
    let mut outputs = Vec::new();
    world.observations.refill(&mut outputs);
    let taken = outputs.iter().find_map(|output| match output {
        Output::SpoolTaken { upto } => Some(*upto),
        _ => None,
    });
    assert_eq!(taken, Some(last));
    world.tell(Spooled::Read { items: Vec::new(), is_end: true });
    outputs.clear();
    world.observations.refill(&mut outputs);
    assert!(outputs.is_empty(), "it is said once");
}

#[test]
fn a_refused_observation_leaves_no_gap_before_the_next() {
    let mut world = World::start(1, Vec::new());
    world.observe(2);
    world.durable(2);
    let sent = world.sent();
    world.observations.rejected(sent[0].0);
    let again = world.sent();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1.origin.sequence, sent[0].1.origin.sequence);
    assert_eq!(again[0].1.body, CommandBody::CountStrikes(StrikesCounted { deltas: Vec::new() }));
    assert_eq!(world.observations.dropped(), 1, "and it is counted");
}

#[test]
fn a_slow_disk_costs_observations_not_memory() {
    let mut world = World::start(1, Vec::new());
    world.observe(u32::try_from(MAX_NOT_DURABLE).expect("small") + 5);
    assert_eq!((world.observations.dropped(), world.spool.len() as u64), (5, MAX_NOT_DURABLE));
    world.durable(MAX_NOT_DURABLE);
    world.observe(1);
    assert_eq!(
        low(world.spool.last().expect("spooled").sequence),
        MAX_NOT_DURABLE + 1,
        "no number is skipped"
    );
}
