//! What each source asks for: users, protected addresses, numbers; and how often.
//!
//! Honest phones begin with a request that nobody can answer yet, and go on with credentials. So whoever is asked for is only counted
//! against the source when the phone's next step does not come: [`GRACE`] after a challenge, or at once where the answer says that
//! there is no such user. A registrar that does not answer at all is its own trouble, not the phones'.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use log_format::time::Timestamp;

use super::Subject;
use super::agents::AgentId;
use super::doorkeeper::Doorkeeper;
use super::meter::{Meter, Rate};
use crate::keyed::{Key, Purpose};
use crate::policy::{Limit, Limits};
use crate::table::{Fill, Table};

/// Sources that are held: the real attackers of a bad day many times over, in 20 MiB.
const CAPACITY: usize = 49_152;
/// Users of one source that are told apart: twice the limit's default.
const USERS: usize = 16;
/// Protected addresses of one source that are told apart: more than the hourly limit's default.
const VICTIMS: usize = 8;
/// How long a phone may take from a challenge to its credentials.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// How far it came with a user that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Step {
    /// No such entry.
    #[default]
    None,
    /// Asked, not answered.
    Asked,
    /// Asked a victim that was never heard.
    AskedUnheard,
    /// Told to authenticate.
    Challenged,
    /// Told to authenticate, and the source showed that it received that.
    ChallengedProven,
    /// Told something without being asked who it is: OPTIONS. Phones ask that of themselves, each from its own port.
    Told,
    /// Told that there is nothing to have here.
    Refused,
    /// Refused, and the source showed that it received that.
    RefusedProven,
}

#[derive(Debug, Clone, Copy, Default)]
struct User {
    name: u32,
    /// Seconds.
    at: u32,
    port: u16,
    step: Step,
}

#[derive(Debug, Clone, Copy, Default)]
struct Victim {
    name: u32,
    first: u32,
    last: u32,
    /// The source has business there.
    is_engaged: bool,
}

impl Step {
    /// How much it says, where one of many must be forgotten.
    const fn weight(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Asked | Self::AskedUnheard | Self::Told => 1,
            Self::Challenged | Self::ChallengedProven => 2,
            Self::Refused | Self::RefusedProven => 3,
        }
    }
}

/// What is known of a source. What every request needs stands in front: a cache line or two of seven.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Source {
    requests: Meter,
    next_user: u8,
    /// Users with open questions, and victims without business: while they are few there is nothing to judge.
    open_users: u8,
    open_victims: u8,
    /// It asked a decoy.
    pub(crate) is_decoyed: bool,
    /// A look at it is due.
    is_awaited: bool,
    /// It is counted among the sources for the statistics.
    pub(crate) is_counted: bool,
    /// It has used a TLS session: one that fails later is an accident.
    pub(crate) uses_tls: bool,
    /// What it said of itself in its first request.
    pub(crate) agent: AgentId,
    victims: [Victim; VICTIMS],
    users: [User; USERS],
    protected_requests: Meter,
    /// Points of single offences within the window that began then.
    points: Window,
    malformed: Window,
    malformed_tcp: Window,
    not_sip: Window,
    tls_sessions: Window,
    unanswered: Window,
}

/// A count that begins anew when its time is over.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    began: u32,
    count: u16,
}

impl Window {
    /// Adds to the count and gives it; `None` below the limit.
    fn add(&mut self, amount: u16, limit: Limit, now: u32) -> Option<u32> {
        if limit.within.as_secs() <= u64::from(now.saturating_sub(self.began)) {
            *self = Self { began: now, count: 0 };
        }
        self.count = self.count.saturating_add(amount);
        let count = u32::from(self.count);
        (limit.count.max(1) <= count).then_some(count)
    }
}

/// What a source's requests amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) count: u32,
    pub(crate) is_proven: bool,
}

/// What a request without credentials is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    /// Hash of the user that is asked for, where there is one.
    pub(crate) user: Option<u32>,
    /// Hash of the address that is asked, unless it is down.
    pub(crate) victim: Option<u32>,
    /// The source's port.
    pub(crate) port: u16,
    /// The victim was heard to answer before.
    pub(crate) is_heard: bool,
}

/// Which count of [`Source`] an offence goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Points,
    Malformed,
    MalformedTcp,
    NotSip,
    TlsSessions,
    Unanswered,
}

/// All sources.
pub(crate) struct Sources {
    key: Key,
    table: Table<Subject, Source>,
    doorkeeper: Doorkeeper,
    strangers: u64,
    /// The victim that was hashed last: most packets are for the same few.
    last_victim: (IpAddr, u32),
}

impl Sources {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            key,
            table: Table::new(CAPACITY, key),
            doorkeeper: Doorkeeper::new(key),
            strangers: 0,
            last_victim: (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1),
        }
    }

    /// What is known of a source, if anything.
    #[inline]
    pub(crate) fn get(&mut self, address: IpAddr) -> Option<&mut Source> {
        self.table.get_mut(&Subject::of(address))
    }

    /// What is known of a source, from now on. While the table is crowded, only of one that was here before.
    #[inline]
    pub(crate) fn enter(&mut self, address: IpAddr, now: Timestamp) -> Option<&mut Source> {
        let subject = Subject::of(address);
        let is_crowded = CAPACITY <= self.table.len();
        if is_crowded && self.table.get(&subject).is_none() && !self.doorkeeper.knows(subject, now) {
            self.strangers += 1;
            return None;
        }
        self.table.entry(subject)
    }

    /// Forgets a source's open questions: it has shown that it belongs here.
    pub(crate) fn succeed(&mut self, address: IpAddr, victim: u32) {
        if let Some(source) = self.get(address) {
            if source.open_users != 0 {
                source.users = [User::default(); USERS];
                source.open_users = 0;
            }
            source.engage(victim);
        }
    }

    pub(crate) fn user_hash(&self, user: &[u8]) -> u32 {
        self.key.hash(Purpose::User).bytes(user).finish() as u32
    }

    pub(crate) fn victim_hash(&mut self, victim: IpAddr) -> u32 {
        if self.last_victim.0 != victim {
            // Zero is a free place.
            let hash = (self.key.hash(Purpose::Source).address(victim).finish() as u32).max(1);
            self.last_victim = (victim, hash);
        }
        self.last_victim.1
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.table.fill()
    }

    /// Sources that lost their place, and those that were given none.
    pub(crate) const fn lost(&self) -> u64 {
        self.table.evicted() + self.strangers
    }
}

impl Source {
    /// Notes a request without credentials.
    pub(crate) fn ask(&mut self, question: Question, limits: &Limits, now: Timestamp) {
        let now = seconds(now);
        if let Some(user) = question.user {
            let step = if question.is_heard { Step::Asked } else { Step::AskedUnheard };
            let asked = User { name: user, at: now, port: question.port, step };
            self.note_user(asked, limits.users);
            if let Some(victim) = question.victim {
                self.note_victim(victim, limits, now);
            }
        }
    }

    /// Notes made-up credentials: they may still be those of somebody whose nonce has become too old.
    pub(crate) fn approach(&mut self, victim: u32, limits: &Limits, now: Timestamp) {
        self.note_victim(victim, limits, seconds(now));
    }

    /// The user's credentials came, so there was nothing to the question; nor, perhaps, to that to the victim.
    pub(crate) fn answer_challenge(&mut self, user: u32, victim: Option<u32>) {
        if let Some(known) = self.user(user) {
            *known = User::default();
            self.open_users = self.open_users.saturating_sub(1);
        }
        if let Some(victim) = victim {
            self.engage(victim);
        }
    }

    /// The victim told the source to authenticate. From here on the credentials are due: a registrar may take its time.
    pub(crate) fn challenged(&mut self, user: u32, now: Timestamp) {
        if let Some(known) = self.user(user)
            && matches!(known.step, Step::Asked | Step::AskedUnheard)
        {
            known.step = Step::Challenged;
            known.at = seconds(now);
        }
    }

    /// The victim told the source that there is nothing to have.
    pub(crate) fn refused(
        &mut self,
        (user, port): (u32, u16),
        is_proven: bool,
        limits: &Limits,
        now: Timestamp,
    ) {
        let step = if is_proven { Step::RefusedProven } else { Step::Refused };
        self.note_user(User { name: user, at: seconds(now), port, step }, limits.users);
    }

    /// The victim told the source something without asking who it is.
    pub(crate) fn told(&mut self, (user, port): (u32, u16), limits: &Limits, now: Timestamp) {
        self.note_user(User { name: user, at: seconds(now), port, step: Step::Told }, limits.users);
    }

    /// The source showed that it had received the answer about this user.
    pub(crate) fn received(&mut self, user: u32) {
        if let Some(known) = self.user(user) {
            known.step = match known.step {
                Step::Challenged => Step::ChallengedProven,
                Step::Refused => Step::RefusedProven,
                other @ (Step::None
                | Step::Asked
                | Step::AskedUnheard
                | Step::ChallengedProven
                | Step::Told
                | Step::RefusedProven) => other,
            };
        }
    }

    /// Users that were asked for in vain, if they are too many. Where nobody hears the victim, twice as many are.
    pub(crate) fn users_in_vain(&self, limit: Limit, is_deaf: bool, now: Timestamp) -> Option<Amount> {
        let now = seconds(now);
        let mut amount = (0_u32, 0_u32);
        for user in &self.users {
            let age = now.saturating_sub(user.at);
            if limit.within.as_secs() <= u64::from(age) {
                continue;
            }
            let is_late = GRACE.as_secs() <= u64::from(age);
            amount.0 += u32::from(match user.step {
                Step::None => false,
                Step::Asked | Step::AskedUnheard => is_deaf && is_late,
                Step::Challenged | Step::ChallengedProven => is_late,
                Step::Told => self.shares_port(user),
                Step::Refused | Step::RefusedProven => true,
            });
            amount.1 += u32::from(match user.step {
                Step::ChallengedProven => is_late,
                Step::RefusedProven => true,
                Step::None
                | Step::Asked
                | Step::AskedUnheard
                | Step::Challenged
                | Step::Told
                | Step::Refused => false,
            });
        }
        let limit = if is_deaf { limit.count.saturating_mul(2) } else { limit.count };
        // More than are told apart cannot be asked for.
        let limit = limit.clamp(1, USERS as u32);
        (limit <= amount.0).then_some(Amount { count: amount.0, is_proven: limit <= amount.1 })
    }

    /// Protected addresses where the source has no business, if they are too many.
    pub(crate) fn victims_in_vain(&self, limits: &Limits, now: Timestamp) -> Option<u32> {
        let now = seconds(now);
        let among = |limit: Limit| {
            let within = |victim: &&Victim| {
                let age = u64::from(now.saturating_sub(victim.last));
                let is_late = GRACE.as_secs() <= u64::from(now.saturating_sub(victim.first));
                victim.name != 0 && !victim.is_engaged && is_late && age < limit.within.as_secs()
            };
            let count = self.victims.iter().filter(within).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            (limit.count.max(1) <= count).then_some(count)
        };
        let is_known = self.victims.iter().any(|victim| victim.is_engaged);
        if is_known { None } else { among(limits.victims).or_else(|| among(limits.victims_slow)) }
    }

    /// Whether there is enough to judge.
    #[inline]
    pub(crate) fn is_worth_judging(&self, limits: &Limits) -> bool {
        let least = |limit: u32| u8::try_from(limit.max(1)).unwrap_or(u8::MAX);
        least(limits.users.count) <= self.open_users
            || least(limits.victims.count.min(limits.victims_slow.count)) <= self.open_victims
    }

    /// Whether it is worth to look at this source again when [`GRACE`] is over; says so once.
    pub(crate) fn wants_a_look(&mut self, limits: &Limits) -> bool {
        let is_wanted = self.is_worth_judging(limits);
        let is_new = is_wanted && !self.is_awaited;
        self.is_awaited |= is_wanted;
        is_new
    }

    /// The look was taken.
    pub(crate) fn looked_at(&mut self) {
        self.is_awaited = false;
    }

    /// Counts a request without credentials; false if there are too many. `is_protected` is only asked when that matters.
    #[inline]
    pub(crate) fn may_ask(
        &mut self,
        (rate, protected_rate): (Rate, Rate),
        is_protected: impl FnOnce() -> bool,
        now: Timestamp,
    ) -> bool {
        self.requests.take(rate, now) || (is_protected() && self.protected_requests.take(protected_rate, now))
    }

    /// Counts an offence; gives the count if it is one too many.
    pub(crate) fn offend(&mut self, count: Count, amount: u16, limit: Limit, now: Timestamp) -> Option<u32> {
        let window = match count {
            Count::Points => &mut self.points,
            Count::Malformed => &mut self.malformed,
            Count::MalformedTcp => &mut self.malformed_tcp,
            Count::NotSip => &mut self.not_sip,
            Count::TlsSessions => &mut self.tls_sessions,
            Count::Unanswered => &mut self.unanswered,
        };
        window.add(amount, limit, seconds(now))
    }

    /// Takes back what turned out to be none.
    pub(crate) fn forgive(&mut self, amount: u16) {
        self.points.count = self.points.count.saturating_sub(amount);
    }

    /// Whether another user was asked for from the same port.
    fn shares_port(&self, user: &User) -> bool {
        let is_other = |other: &User| other.step != Step::None && other.name != user.name;
        self.users.iter().any(|other| is_other(other) && other.port == user.port)
    }

    fn user(&mut self, name: u32) -> Option<&mut User> {
        if self.open_users == 0 {
            return None;
        }
        self.users.iter_mut().find(|user| user.step != Step::None && user.name == name)
    }

    fn note_user(&mut self, asked: User, limit: Limit) {
        if let Some(known) = self.user(asked.name) {
            let is_old = limit.within.as_secs() <= u64::from(asked.at.saturating_sub(known.at));
            // Asked again: the time of the first question counts as long as nothing came of it.
            if is_old {
                *known = asked;
            } else if known.step < asked.step {
                known.step = asked.step;
            }
            return;
        }
        let Some(chosen) = self.place_for(&asked, limit) else { return };
        self.next_user = u8::try_from(chosen.saturating_add(1) % USERS).unwrap_or_default();
        if let Some(place) = self.users.get_mut(chosen) {
            self.open_users += u8::from(place.step == Step::None);
            *place = asked;
        }
    }

    /// The place for one more user: a free one, or the oldest of those that say least. What a challenge leaves open counts only when
    /// its time is over, so it is kept: who asks for users faster than places come free would else never be late with any.
    fn place_for(&self, asked: &User, limit: Limit) -> Option<usize> {
        if self.open_users == 0 {
            // The first place again: it is in the cache.
            return Some(0);
        }
        let weight = |user: &User| {
            let is_over = limit.within.as_secs() <= u64::from(asked.at.saturating_sub(user.at));
            if is_over { Step::None.weight() } else { user.step.weight() }
        };
        // Places are taken in turns: among equals the next one is the oldest.
        let next = usize::from(self.next_user);
        if self.users.get(next).is_some_and(|user| user.step == Step::None) {
            return Some(next);
        }
        let turns = (next..next.saturating_add(USERS)).map(|turn| turn % USERS);
        let (place, held) = turns
            .filter_map(|place| Some((place, weight(self.users.get(place)?))))
            .min_by_key(|(_, held)| *held)?;
        // What nobody will answer counts when it is late, and must not push out the like: none would ever be.
        let weight = asked.step.weight();
        (held < weight || (held == weight && asked.step != Step::AskedUnheard)).then_some(place)
    }

    fn note_victim(&mut self, name: u32, limits: &Limits, now: u32) {
        let oldest = limits.victims_slow.within.as_secs();
        if let Some(known) = self.victims.iter_mut().find(|victim| victim.name == name) {
            known.last = now;
            return;
        }
        let place = self.victims.iter_mut().min_by_key(|victim| {
            let is_old = oldest <= u64::from(now.saturating_sub(victim.last));
            (victim.name != 0 && !is_old, victim.is_engaged, victim.last)
        });
        if let Some(place) = place {
            self.open_victims += u8::from(place.name == 0 || place.is_engaged);
            *place = Victim { name, first: now, last: now, is_engaged: false };
        }
    }

    fn engage(&mut self, name: u32) {
        if let Some(victim) = self.victims.iter_mut().find(|victim| victim.name == name)
            && !victim.is_engaged
        {
            victim.is_engaged = true;
            self.open_victims = self.open_victims.saturating_sub(1);
        }
    }
}

fn seconds(at: Timestamp) -> u32 {
    // Seconds of a u32 last until 2106.
    u32::try_from(at.nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
