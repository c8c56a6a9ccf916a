//! How full the engine's tables are.

use super::look::MAX_LOOKS;
use super::{Engine, SOURCES_COUNTED};
use crate::table::Fill;

impl Engine {
    /// How full each table is, by its name; bytes where the name says so.
    pub fn tables(&self) -> Vec<(&'static str, Fill)> {
        let [proven, unproven, deltas] = self.bad_registrations.fill();
        let [half_open, unsettled, settled, unsettled_bytes, settled_bytes] = self.streams.fill();
        let [fragments, fragment_bytes] = self.fragments.fill();
        let [one_way_accounts, one_way_calls] = self.one_way.fill();
        let [blocked, verdicts] = self.doors.fill();
        vec![
            ("sources", self.sources.fill()),
            ("transactions", self.transactions.fill()),
            ("nonces", self.proofs.fill()),
            ("strikes-proven", proven),
            ("strikes-unproven", unproven),
            ("strikes-untold", deltas),
            ("accounts", self.accounts.fill()),
            ("protected", self.protected.fill()),
            ("prefix-walks", self.prefix_walk.fill()),
            ("harvests", self.harvests.fill()),
            ("dns", self.dns.fill()),
            ("one-way-accounts", one_way_accounts),
            ("one-way-calls", one_way_calls),
            ("ended-calls", self.leaks.fill()),
            ("reports", self.reports.fill()),
            ("blocked", blocked),
            ("blocked-verdicts", verdicts),
            ("user-agents", self.agents.fill()),
            ("tcp-half-open", half_open),
            ("tcp-unsettled", unsettled),
            ("tcp-settled", settled),
            ("tcp-unsettled-bytes", unsettled_bytes),
            ("tcp-settled-bytes", settled_bytes),
            ("fragments", fragments),
            ("fragment-bytes", fragment_bytes),
            ("second-looks", Fill { held: self.looks.len(), capacity: MAX_LOOKS }),
            ("sources-counted", Fill { held: self.counted.len(), capacity: SOURCES_COUNTED }),
        ]
    }
}
