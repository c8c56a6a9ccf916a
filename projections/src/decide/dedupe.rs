//! Which commands have taken effect: a command that comes twice takes effect once.
//!
//! Observations are numbered by their host, so one number per host and incarnation remembers all of them. The other
//! commands are remembered by id, for a day of log time, save for what the leader does by itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use log_format::envelope::{Envelope, Recorded};
use log_format::event::{Event, HostEvent, SpoolDropped};
use log_format::ids::{CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::command::HOUSEKEEPING;
use crate::digest::{Canonical, CanonicalHasher};

/// How long a command's id is remembered: a client that repeats a request after longer than a day means a new one.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(86_400);
/// Ids at most. People make some thousands a day; a client in a loop must not fill the memory.
pub const MAX_REMEMBERED: usize = 65_536;
/// Host incarnations at most; far more than a cluster has in its life. The one heard least recently makes room.
pub const MAX_ORIGINS: usize = 4_096;

/// How far a host's observations have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Acknowledged {
    sequence: OriginSequence,
    index: LogIndex,
    /// How often the numbers jumped.
    gaps: u64,
}

/// Ids are looked up, and never listed in the map's own order, so a hash map is safe here. Its hashes have no key: ids are
/// random, or hashes themselves.
#[derive(Clone, Default, Serialize, Deserialize)]
struct ById(HashMap<CommandId, LogIndex, BuildHasherDefault<DefaultHasher>>);

impl fmt::Debug for ById {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().collect::<BTreeMap<_, _>>().fmt(f)
    }
}

/// The memory of commands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Dedupe {
    by_id: ById,
    /// The ids in log order.
    order: VecDeque<(Timestamp, CommandId)>,
    origins: BTreeMap<(HostId, Incarnation), Acknowledged>,
}

impl Dedupe {
    /// An index at or before which the command took effect, if it did.
    pub(crate) fn applied_at(&self, id: CommandId, origin: &Origin) -> Option<LogIndex> {
        #[cfg(bug = "skip_dedupe")]
        if log_format::planted::is_on("skip_dedupe") {
            return None;
        }
        if origin.sequence == OriginSequence::default() {
            return self.by_id.0.get(&id).copied();
        }
        let acknowledged = self.origins.get(&(origin.host, origin.incarnation))?;
        (origin.sequence <= acknowledged.sequence).then_some(acknowledged.index)
    }

    /// The last observation of a host incarnation that took effect; its spool may forget what is not later.
    pub(crate) fn acknowledged(&self, host: HostId, incarnation: Incarnation) -> OriginSequence {
        self.origins.get(&(host, incarnation)).map_or(OriginSequence::default(), |origin| origin.sequence)
    }

    /// How often the numbers of a host incarnation's observations jumped. A host that starts again may begin
    /// at a higher number; any other jump means that observations were lost on their way.
    pub(crate) fn gaps(&self, host: HostId, incarnation: Incarnation) -> u64 {
        self.origins.get(&(host, incarnation)).map_or(0, |origin| origin.gaps)
    }

    pub(crate) fn evolve(&mut self, index: LogIndex, envelope: &Envelope) {
        let Envelope { command, origin, accepted_at, events } = envelope;
        if *command == HOUSEKEEPING {
            // Nobody repeats it, and it is due as often as an attack wishes.
        } else if origin.sequence == OriginSequence::default() {
            self.remember(index, *command, *accepted_at);
        } else {
            self.acknowledge(index, origin);
        }
        for Recorded { event, .. } in events {
            if let Event::Host(HostEvent::SpoolDropped(SpoolDropped { to, .. })) = event {
                self.skip(index, origin, *to);
            }
        }
        self.forget(*accepted_at);
    }

    /// Observations up to there never come: their host forgot them and said so.
    fn skip(&mut self, index: LogIndex, origin: &Origin, to: OriginSequence) {
        let held = self.held(index, origin);
        held.sequence = held.sequence.max(to);
        held.index = index;
    }

    fn remember(&mut self, index: LogIndex, id: CommandId, at: Timestamp) {
        if self.by_id.0.insert(id, index).is_none() {
            self.order.push_back((at, id));
        }
    }

    fn acknowledge(&mut self, index: LogIndex, origin: &Origin) {
        let held = self.held(index, origin);
        if held.sequence.get().saturating_add(1) < origin.sequence.get() {
            held.gaps = held.gaps.saturating_add(1);
        }
        held.sequence = held.sequence.max(origin.sequence);
        held.index = index;
    }

    /// What is known of the origin; one that is new takes the place of the one heard least recently.
    fn held(&mut self, index: LogIndex, origin: &Origin) -> &mut Acknowledged {
        let key = (origin.host, origin.incarnation);
        if !self.origins.contains_key(&key) && MAX_ORIGINS <= self.origins.len() {
            let oldest = self.origins.iter().min_by_key(|(_, held)| held.index).map(|(key, _)| *key);
            if let Some(key) = oldest {
                self.origins.remove(&key);
            }
        }
        let unheard = Acknowledged { sequence: OriginSequence::default(), index, gaps: 0 };
        self.origins.entry(key).or_insert(unheard)
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.order.front().copied() {
            if now < at.after(REMEMBERED_FOR) && self.order.len() <= MAX_REMEMBERED {
                break;
            }
            self.order.pop_front();
            self.by_id.0.remove(&id);
        }
    }
}

impl Canonical for Acknowledged {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { sequence, index, gaps } = self;
        sequence.put(out);
        index.put(out);
        gaps.put(out);
    }
}

impl Canonical for Dedupe {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { by_id, order, origins } = self;
        by_id.0.iter().map(|(id, index)| (*id, *index)).collect::<BTreeMap<_, _>>().put(out);
        order.put(out);
        origins.put(out);
    }
}
