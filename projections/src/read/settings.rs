//! The settings in force, and who changed them last.

use log_format::event::{Actor, SettingsChanged, SettingsEvent};
use log_format::ids::LogIndex;
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::Settings;
use crate::digest::{Canonical, CanonicalHasher};

/// The latest change of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChange {
    /// Who.
    pub by: Actor,
    /// When it was accepted.
    pub at: Timestamp,
    /// The entry.
    pub log_index: LogIndex,
}

/// Folds changes of settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SettingsView {
    current: Settings,
    last_change: Option<LastChange>,
}

impl SettingsView {
    /// The settings in force.
    pub fn current(&self) -> &Settings {
        &self.current
    }

    /// The latest change; `None`: nobody has changed anything yet.
    pub fn last_change(&self) -> Option<&LastChange> {
        self.last_change.as_ref()
    }

    pub(super) fn evolve(&mut self, log_index: LogIndex, at: Timestamp, event: &SettingsEvent) {
        self.current.evolve(event);
        let SettingsEvent::Changed(SettingsChanged { by, changes: _ }) = event;
        self.last_change = Some(LastChange { by: by.clone(), at, log_index });
    }
}

impl Canonical for LastChange {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { by, at, log_index } = self;
        by.put(out);
        at.put(out);
        log_index.put(out);
    }
}

impl Canonical for SettingsView {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { current, last_change } = self;
        current.put(out);
        last_change.put(out);
    }
}
