//! A log of one, without a cluster: commands are decided, encoded, decoded and folded at once.

use std::net::IpAddr;
use std::time::Duration;

use log_format::envelope::Envelope;
use log_format::event::{
    Actor, AttackKind, AttackObserved, Event, Evidence, Rule, Sanction, Scope, StrikeDelta, StrikesCounted,
    Text,
};
use log_format::ids::{CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence, Salt};
use log_format::time::Timestamp;
use projections::decide::{Command, CommandBody, Decision, Model, Rejection, decide};
use projections::plan::firewall::{FirewallPlan, changes_of, desired};
use projections::read::ReadModels;
use projections::state_hash;

pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) views: ReadModels,
    /// Kept up with the changes of each entry alone.
    pub(crate) plan: FirewallPlan,
    pub(crate) now: Timestamp,
    pub(crate) log: Vec<(LogIndex, Envelope)>,
    pub(crate) commands: Vec<Command>,
}

impl World {
    pub(crate) fn new() -> Self {
        let (model, now) = (Model::default(), Timestamp::parse("2026-01-02T00:00:00Z").unwrap());
        Self {
            plan: desired(&model, now),
            model,
            views: ReadModels::default(),
            now,
            log: Vec::new(),
            commands: Vec::new(),
        }
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// A person's or the leader's command.
    pub(crate) fn submit(&mut self, body: CommandBody) -> Result<Vec<Event>, Rejection> {
        let command = self.command(1, 0, body);
        self.carry_out(command)
    }

    /// A host's observation, in order of its numbers.
    pub(crate) fn observe(&mut self, host: u64, body: CommandBody) -> Vec<Event> {
        let known = self.model.acknowledged(HostId::new(host), Incarnation::new(1)).get();
        let command = self.command(host, known + 1, body);
        self.carry_out(command).expect("an observation is never refused")
    }

    pub(crate) fn command(&self, host: u64, sequence: u64, body: CommandBody) -> Command {
        let number = u64::try_from(self.commands.len()).unwrap() + 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        Command {
            id: CommandId::new(id),
            origin: Origin {
                host: HostId::new(host),
                incarnation: Incarnation::new(1),
                sequence: OriginSequence::new(sequence),
            },
            observed_at: self.now,
            body,
        }
    }

    pub(crate) fn carry_out(&mut self, command: Command) -> Result<Vec<Event>, Rejection> {
        self.commands.push(command.clone());
        match decide(&self.model, &command, self.now)? {
            Decision::AlreadyApplied { index } => panic!("{command:?} took effect at {index}"),
            Decision::Events(events) => {
                self.append(&command, events.clone());
                Ok(events)
            }
        }
    }

    /// What goes through the log comes out of it the same, or the decision was none that could be written.
    fn append(&mut self, command: &Command, events: Vec<Event>) {
        let accepted_at = self.model.next_accepted_at(self.now);
        let envelope = command.envelope(events, accepted_at, &mut || Salt::new([7; 16]));
        let bytes = envelope.encode().expect("every decision can be written down");
        assert_eq!(Envelope::decode(&bytes).as_ref(), Ok(&envelope));
        let index = self.model.applied().next();
        self.model.evolve(index, &envelope);
        self.views.evolve(index, &envelope);
        self.plan.apply(&changes_of(&envelope, &self.model));
        self.log.push((index, envelope));
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        state_hash(&self.model, &self.views)
    }
}

pub(crate) fn replay(log: &[(LogIndex, Envelope)]) -> (Model, ReadModels) {
    let (mut model, mut views) = (Model::default(), ReadModels::default());
    for (index, envelope) in log {
        model.evolve(*index, envelope);
        views.evolve(*index, envelope);
    }
    (model, views)
}

pub(crate) fn administrator() -> Actor {
    Actor::Administrator(Text::new(b"ada"))
}

pub(crate) fn attack(source: IpAddr, evidence: Evidence, sanction: Sanction) -> CommandBody {
    CommandBody::ReportAttack(AttackObserved {
        source,
        source_port: 5071,
        victim: IpAddr::from([10, 1, 35, 18]),
        victim_port: 5060,
        attack: AttackKind::Register,
        rule: Rule::BadRegistrations,
        evidence,
        sanction,
        user_agent: Text::new(b"friendly-scanner"),
        known_user_agent: true,
        count: 10,
        scope: Scope::Address,
        account: Text::default(),
        line: Text::default(),
    })
}

pub(crate) fn strikes(source: IpAddr, proven: u32, unproven: u32) -> CommandBody {
    let rule = Rule::BadRegistrations;
    CommandBody::CountStrikes(StrikesCounted { deltas: vec![StrikeDelta { source, rule, proven, unproven }] })
}
