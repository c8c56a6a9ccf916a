//! Who uses the cluster: people who block, release and allow addresses and ask again under the same command id when
//! nobody knows what became of their wish; sensors on every host that report attacks and strikes.
//!
//! Each wish and each observation carries a number of its own into the log, apart from every id that the product gives
//! it, so that the checks can tell what took effect twice or never.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use consensus::core::Ticket;
use ipnet::IpNet;
use log_format::event::{
    Actor, AttackKind, AttackObserved, Evidence, Rule, Sanction, Scope, SettingChange, StrikeDelta,
    StrikesCounted, Text,
};
use log_format::ids::{CommandId, HostId};
use log_format::time::Timestamp;
use palisade::node::{Fact, Observation};
use projections::decide::{BlockItem, CommandBody, MAX_BATCH};

use crate::host::{Life, address_of};
use crate::planted::Planted;
use crate::prng::Prng;

/// Addresses that attack, and that people list.
const ATTACKERS: u8 = 12;
/// Reports of strikes of a thousand that are as large as they may be, where a run has large ones: enough to fill what a leader
/// may hold, and most of a run's time is left for what else happens.
const LARGE_REPORTS: u64 = 250;
/// Deltas of the others, at most.
const SMALL_REPORT: u64 = 4;
/// Addresses of which people block several at once begin among so many.
const RANGE: u64 = 64;
/// How long people block, at most: blocks end within a run.
const MOST_BLOCK_SECONDS: u64 = 60;
/// Changes of settings in a run at most: each must fit into the history that is searched for an order.
pub(crate) const MOST_CHANGES: usize = 48;
/// What the text of an attack begins with; eight digits follow. It stands on disks until the attack is erased.
pub(crate) const CANARY: &str = "canary-";
/// The wait before somebody asks again, at most.
const ASK_AGAIN: Duration = Duration::from_millis(600);

/// What somebody wants, whatever command id it travels under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WishNumber(pub(crate) u64);

/// What a sensor saw, whatever sequence number it travels under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObservationNumber(pub(crate) u64);

impl ObservationNumber {
    /// The number that an attack carries.
    pub(crate) fn of_attack(attack: &AttackObserved) -> Option<Self> {
        Self::of_text(&attack.user_agent.visible())
    }

    /// The number that such a text names.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        u64::from_str_radix(text.strip_prefix(CANARY)?, 16).ok().map(Self)
    }

    /// The number that a report of strikes carries.
    pub(crate) fn of_strikes(counted: &StrikesCounted) -> Option<Self> {
        counted.deltas.first().map(|delta| Self(u64::from(delta.unproven)))
    }
}

/// A person's wish until its outcome is known.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) number: WishNumber,
    pub(crate) id: CommandId,
    pub(crate) body: CommandBody,
    /// When it was first asked.
    pub(crate) made: Duration,
}

pub(crate) struct Workload {
    prng: Prng,
    planted: Planted,
    hosts: Vec<HostId>,
    /// Between two wishes, at most.
    wish_gap: Duration,
    /// Between two observations of a host, at most.
    sense_gap: Duration,
    /// Deltas of a report of strikes, at most.
    deltas: u64,
    wishes: u64,
    /// Wishes to change settings.
    changes: usize,
    observations: u64,
    tickets: u64,
    /// Wishes that wait for an answer.
    asked: BTreeMap<Ticket, (HostId, Life, Wish)>,
    /// Wishes that will be asked again.
    to_ask_again: u64,
}

impl Workload {
    pub(crate) fn new(mut prng: Prng, planted: Planted, (hosts, deltas): (&'static [HostId], u64)) -> Self {
        let wish_gap = prng.between(Duration::from_millis(100), Duration::from_millis(1_500));
        let sense_gap = prng.between(Duration::from_millis(50), Duration::from_millis(1_500));
        Self {
            prng,
            planted,
            hosts: hosts.to_vec(),
            wish_gap,
            sense_gap,
            deltas,
            wishes: 0,
            changes: 0,
            observations: 0,
            tickets: 0,
            asked: BTreeMap::new(),
            to_ask_again: 0,
        }
    }

    pub(crate) fn wish_gap(&mut self) -> Duration {
        self.prng.between(Duration::ZERO, self.wish_gap)
    }

    pub(crate) fn sense_gap(&mut self) -> Duration {
        self.prng.between(Duration::ZERO, self.sense_gap)
    }

    /// The wait before a wish is asked again.
    pub(crate) fn ask_again_gap(&mut self) -> Duration {
        self.prng.up_to(ASK_AGAIN)
    }

    /// The host that somebody turns to.
    pub(crate) fn choose_host(&mut self) -> Option<HostId> {
        self.prng.pick(&self.hosts).copied()
    }

    /// People turn to these hosts from now on.
    pub(crate) fn turn_to(&mut self, hosts: &[HostId]) {
        self.hosts = hosts.to_vec();
    }

    /// Wishes whose outcome nobody knows yet.
    pub(crate) fn open_wishes(&self) -> u64 {
        self.asked.len() as u64 + self.to_ask_again
    }

    /// Somebody wants something, who has just seen the settings at this version.
    pub(crate) fn wish(&mut self, made: Duration, expected_version: u64) -> Wish {
        let (number, by) = self.number();
        let source = self.source();
        let seconds = Some(1 + self.prng.below(MOST_BLOCK_SECONDS));
        let body = match self.prng.below(13) {
            10..=11 if self.changes < MOST_CHANGES => {
                self.changes += 1;
                let limit = 5 + u32::try_from(self.prng.below(20)).unwrap_or(0);
                let changes = vec![SettingChange::BadRegistrationsPerMinute(limit)];
                CommandBody::ChangeSettings { expected_version, changes, by }
            }
            12 => CommandBody::BlockAddresses { items: self.batch(), by },
            0..=4 => CommandBody::BlockAddress { source, seconds, note: Text::default(), by },
            5..=6 => CommandBody::UnblockAddress { source, allow_seconds: None, by },
            7 => CommandBody::UnblockAddress { source, allow_seconds: seconds, by },
            8 => CommandBody::DenyAddress { network: IpNet::from(source), note: Text::default(), by },
            _ => {
                CommandBody::AllowAddress { network: IpNet::from(source), seconds, note: Text::default(), by }
            }
        };
        Wish { number, id: CommandId::new(self.prng.bytes()), body, made }
    }

    /// An administrator wants something.
    pub(crate) fn administer(&mut self, made: Duration, body: impl FnOnce(Actor) -> CommandBody) -> Wish {
        let (number, by) = self.number();
        Wish { number, id: CommandId::new(self.prng.bytes()), body: body(by), made }
    }

    fn number(&mut self) -> (WishNumber, Actor) {
        self.wishes += 1;
        let name = format!("wish-{}", self.wishes);
        (WishNumber(self.wishes), Actor::Administrator(Text::new(name.as_bytes())))
    }

    /// Several addresses at once, mostly a few; each is another one. Sometimes one of them cannot be blocked.
    fn batch(&mut self) -> Vec<BlockItem> {
        let most = if self.prng.chance(100) { MAX_BATCH as u64 } else { 6 };
        let (count, first) = (1 + self.prng.below(most), self.prng.below(RANGE));
        let in_range = |place: u64| IpAddr::from([203, 0, 113, u8::try_from(place).unwrap_or(u8::MAX)]);
        let mut sources: Vec<IpAddr> = (first..first + count).map(in_range).collect();
        let place = usize::try_from(self.prng.below(count)).unwrap_or(0);
        if self.prng.chance(500)
            && let Some(one) = sources.get_mut(place)
        {
            *one = self.source();
        }
        let items = sources.into_iter().map(|source| {
            let seconds = Some(1 + self.prng.below(MOST_BLOCK_SECONDS));
            BlockItem { source, seconds, note: Text::default() }
        });
        items.collect()
    }

    /// Somebody asks a host; the answer comes under the ticket.
    pub(crate) fn ask(&mut self, host: HostId, life: Life, wish: Wish) -> Ticket {
        let ticket = self.fresh_ticket();
        self.asked.insert(ticket, (host, life, wish));
        ticket
    }

    pub(crate) fn fresh_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket::new(self.tickets)
    }

    /// The wish that an answer is for.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> Option<Wish> {
        self.asked.remove(&ticket).map(|(_, _, wish)| wish)
    }

    /// The wish will be asked again.
    pub(crate) fn put_off(&mut self, wish: Wish) -> Wish {
        self.to_ask_again += 1;
        match self.planted {
            Planted::NewIdOnRetry => Wish { id: CommandId::new(self.prng.bytes()), ..wish },
            Planted::Nothing | Planted::AckBeforeSync | Planted::ReuseObservationNumbers => wish,
        }
    }

    /// The time has come.
    pub(crate) fn taken_up(&mut self) {
        self.to_ask_again = self.to_ask_again.saturating_sub(1);
    }

    /// A process ended: whoever waited for it sees the connection end.
    pub(crate) fn hung_up(&mut self, host: HostId, life: Life) -> Vec<Wish> {
        let lost: Vec<Ticket> = self
            .asked
            .iter()
            .filter(|(_, (asked, of, _))| (*asked, *of) == (host, life))
            .map(|(ticket, _)| *ticket)
            .collect();
        lost.into_iter().filter_map(|ticket| self.answered(ticket)).collect()
    }

    /// A sensor sees something.
    pub(crate) fn observe(&mut self, host: HostId, at: Timestamp) -> (ObservationNumber, Observation) {
        self.observations += 1;
        let number = ObservationNumber(self.observations);
        let fact = if self.prng.chance(400) { self.strikes(number) } else { self.attack(number, host) };
        (number, Observation { observed_at: at, fact })
    }

    fn attack(&mut self, number: ObservationNumber, host: HostId) -> Fact {
        let sanctions = [Sanction::Observe, Sanction::SoftBlock, Sanction::Block];
        let evidence = [Evidence::Unproven, Evidence::Proven, Evidence::Corroborated];
        Fact::Attack(AttackObserved {
            source: self.source(),
            source_port: 5_060,
            victim: address_of(host),
            victim_port: 5_060,
            attack: AttackKind::Register,
            rule: Rule::BadRegistrations,
            evidence: self.prng.pick(&evidence).copied().unwrap_or(Evidence::Proven),
            sanction: self.prng.pick(&sanctions).copied().unwrap_or(Sanction::Block),
            user_agent: Text::new(format!("{CANARY}{:08x}", number.0).as_bytes()),
            known_user_agent: false,
            count: 10,
            scope: Scope::Address,
            account: Text::default(),
            line: Text::default(),
        })
    }

    /// The first delta carries the observation's number, under the rule whose strikes nobody sums. The others do too,
    /// but for the last three: they make the report large.
    fn strikes(&mut self, number: ObservationNumber) -> Fact {
        let marker = StrikeDelta {
            source: self.source(),
            rule: Rule::BlockedUserAgent,
            proven: 0,
            unproven: u32::try_from(number.0).unwrap_or(u32::MAX),
        };
        let counted: [StrikeDelta; 3] = std::array::from_fn(|_| StrikeDelta {
            source: self.source(),
            rule: Rule::BadRegistrations,
            proven: u32::try_from(self.prng.below(8)).unwrap_or(0),
            unproven: u32::try_from(self.prng.below(4)).unwrap_or(0),
        });
        let most = if self.prng.chance(LARGE_REPORTS) { self.deltas } else { SMALL_REPORT };
        let markers = 1 + self.prng.below(most.saturating_sub(3));
        let deltas = (0..markers).map(|_| marker).chain(counted).collect();
        Fact::Strikes(StrikesCounted { deltas })
    }

    /// Mostly an attacker; sometimes an address that is never blocked.
    fn source(&mut self) -> IpAddr {
        match self.prng.below(20) {
            0 => self.prng.pick(&self.hosts).map_or(IpAddr::from([127, 0, 0, 1]), |host| address_of(*host)),
            1 => IpAddr::from([127, 0, 0, 1]),
            _ => {
                let last = u8::try_from(self.prng.below(u64::from(ATTACKERS))).unwrap_or(0);
                IpAddr::from([198, 51, 100, last])
            }
        }
    }
}
