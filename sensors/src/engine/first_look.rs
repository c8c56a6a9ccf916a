//! The first look at a packet: is its source blocked anyway? A tap sees frames before the kernel drops them, and under a flood what is
//! dropped must cost next to nothing here.
//!
//! What a blocked source goes on to send is counted, and told when half of its block is over: a block slides while its source hammers.

use std::net::IpAddr;
use std::time::Duration;

use log_format::event::{Sanction, Scope};
use log_format::time::Timestamp;

use crate::keyed::Key;
use crate::observation::Verdict;
use crate::table::{Fill, Table};

/// Blocked sources that are known here; the others are looked at like everybody.
const CAPACITY: usize = 65_536;
/// Of them, those whose verdict is kept, to be told again while they go on: with what it quotes a verdict takes several times the room.
const VERDICTS: usize = 16_384;

/// What is known of a blocked source.
#[derive(Default)]
struct Blocked {
    since: Timestamp,
    until: Timestamp,
    packets: u32,
}

/// What the first look says.
pub(super) enum FirstLook {
    /// Look closer.
    Unknown,
    /// It is dropped.
    Blocked,
    /// It is dropped, and has gone on for so long that it is worth telling.
    Hammers(Box<Verdict>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}

/// The blocked sources.
pub(super) struct Doors {
    table: Table<IpAddr, Blocked>,
    /// What those are blocked for whom this sensor found last.
    verdicts: Table<IpAddr, Verdict>,
    switch: Switch,
    passed: u64,
}

impl Doors {
    pub(super) fn new(key: Key) -> Self {
        Self {
            table: Table::new(CAPACITY, key),
            verdicts: Table::new(VERDICTS, key),
            switch: Switch::Off,
            passed: 0,
        }
    }

    /// Says whether blocks are carried out. While they are not, nobody is passed over, and nothing is forgotten.
    pub(super) fn enforce(&mut self, is_enforced: bool) {
        self.switch = if is_enforced { Switch::On } else { Switch::Off };
    }

    /// The source is dropped until then. Of one that is dropped already only the end may be new.
    pub(super) fn shut(&mut self, source: IpAddr, now: Timestamp, until: Timestamp) {
        let Some(blocked) = self.table.entry(source) else { return };
        if blocked.until <= now {
            *blocked = Blocked { since: now, ..Blocked::default() };
            self.verdicts.remove(&source);
        }
        blocked.until = until;
    }

    /// The source is dropped because of this verdict.
    pub(super) fn shut_for(&mut self, verdict: &Verdict, now: Timestamp) {
        if verdict.observed.scope == Scope::Address && Sanction::Block <= verdict.observed.sanction {
            let until = now.after(Duration::from_secs(verdict.seconds));
            self.shut(verdict.observed.source, now, until);
            self.verdicts.insert(verdict.observed.source, verdict.clone());
        }
    }

    /// The source is free.
    pub(super) fn open(&mut self, source: IpAddr) {
        self.table.remove(&source);
        self.verdicts.remove(&source);
    }

    /// Forgets whom the kernel does not hold.
    pub(super) fn retain(&mut self, is_held: impl Fn(IpAddr) -> bool) {
        let gone: Vec<IpAddr> = self.table.keys().filter(|source| !is_held(*source)).collect();
        gone.into_iter().for_each(|source| self.open(source));
    }

    /// Everybody is free.
    pub(super) fn open_all(&mut self) {
        while self.table.pop_oldest().is_some() {}
        while self.verdicts.pop_oldest().is_some() {}
    }

    /// How full they are: the blocked, and what they are blocked for.
    pub(super) fn fill(&self) -> [Fill; 2] {
        [self.table.fill(), self.verdicts.fill()]
    }

    /// Packets of blocked sources that were passed over.
    pub(super) const fn passed(&self) -> u64 {
        self.passed
    }

    /// Looks at a packet's source.
    #[inline]
    pub(super) fn look(&mut self, source: IpAddr, now: Timestamp) -> FirstLook {
        if self.switch == Switch::Off || self.table.len() == 0 {
            return FirstLook::Unknown;
        }
        let Some(blocked) = self.table.get_mut(&source) else { return FirstLook::Unknown };
        if blocked.until <= now {
            self.open(source);
            return FirstLook::Unknown;
        }
        self.passed += 1;
        blocked.packets = blocked.packets.saturating_add(1);
        let is_half_over = blocked.until.since(blocked.since) / 2 <= now.since(blocked.since);
        if !is_half_over {
            return FirstLook::Blocked;
        }
        let Some(verdict) = self.verdicts.get_mut(&source) else { return FirstLook::Blocked };
        verdict.observed.count = std::mem::take(&mut blocked.packets);
        blocked.since = now;
        blocked.until = now.after(Duration::from_secs(verdict.seconds));
        FirstLook::Hammers(Box::new(verdict.clone()))
    }
}
