//! User agents, each held once: sources and requests that await an answer remember theirs by number.

use std::collections::HashMap;

use log_format::event::Text;

use crate::keyed::{Hashed, Key, Purpose};
use crate::table::Fill;

/// Agents that are held; what comes when there is no room is not remembered. Whoever invents names fills this list, and is found all the
/// same.
const MOST: usize = 4_096;

/// The number of an agent; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AgentId(u16);

pub(crate) struct Agents {
    key: Key,
    names: Vec<Text>,
    places: HashMap<u64, AgentId, Hashed>,
}

impl Agents {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, names: Vec::new(), places: HashMap::with_hasher(Hashed) }
    }

    /// How full they are.
    pub(crate) fn fill(&self) -> Fill {
        Fill { held: self.names.len(), capacity: MOST }
    }

    pub(crate) fn id(&mut self, agent: Option<&[u8]>) -> AgentId {
        let Some(agent) = agent.filter(|agent| !agent.is_empty()) else { return AgentId::default() };
        let hash = self.key.hash(Purpose::Name).bytes(agent).finish();
        if let Some(known) = self.places.get(&hash) {
            return *known;
        }
        if MOST <= self.names.len() {
            return AgentId::default();
        }
        self.names.push(Text::new(agent));
        let id = AgentId(u16::try_from(self.names.len()).unwrap_or(0));
        self.places.insert(hash, id);
        id
    }

    pub(crate) fn name(&self, id: AgentId) -> Text {
        let place = usize::from(id.0).checked_sub(1);
        place.and_then(|place| self.names.get(place)).cloned().unwrap_or_default()
    }
}

impl AgentId {
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_held_once_and_found_by_its_number() {
        let mut agents = Agents::new(Key::new([1; 16]));
        let first = agents.id(Some(b"Yealink"));
        let second = agents.id(Some(b"snom"));
        assert_eq!(agents.id(Some(b"Yealink")), first);
        assert_eq!(
            (agents.name(first).as_bytes(), agents.name(second).as_bytes()),
            (&b"Yealink"[..], &b"snom"[..])
        );
        assert!(agents.id(None).is_none() && agents.id(Some(b"")).is_none());
        assert!(agents.name(AgentId::default()).is_empty());
    }

    #[test]
    fn invented_names_find_an_end() {
        let mut agents = Agents::new(Key::new([1; 16]));
        let numbered =
            (0..10_000).filter(|number: &u32| !agents.id(Some(&number.to_le_bytes())).is_none()).count();
        assert_eq!(numbered, MOST);
    }
}
