//! Why an address is dropped, or why not: what decides, and everything that is kept of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::EnforcementMode;
use log_format::ids::HostId;
use log_format::time::Timestamp;

use super::{AllowedRow, AttackRow, DenylistRow, NoteRow, ReadModels};
use crate::address::canonical;
use crate::decide::Verdict;
use crate::decide::order::{self, Ruling};

/// Attacks and notes that an explanation shows at most: the newest, enough to see what an address does.
pub const MAX_SHOWN: usize = 16;

/// What can be said of an address.
#[derive(Debug, Clone)]
pub struct Explanation<'a> {
    /// The address, in its canonical form.
    pub address: IpAddr,
    /// The port that was asked about.
    pub port: Option<u16>,
    /// When.
    pub now: Timestamp,
    /// What holds, and how that was found.
    pub ruling: Ruling,
    /// Whether blocks reach the kernel at all.
    pub mode: EnforcementMode,
    /// Blocks and denials that are in force, also those of one port and of networks that hold it.
    pub blocks: Vec<DenylistRow<'a>>,
    /// The allowance that decides.
    pub allowed: Option<(IpNet, &'a AllowedRow)>,
    /// The newest attacks of it, at most [`MAX_SHOWN`].
    pub attacks: Vec<&'a AttackRow>,
    /// How many are kept.
    pub attacks_total: usize,
    /// Hosts that saw these.
    pub hosts: BTreeSet<HostId>,
    /// Whom they were aimed at.
    pub victims: BTreeSet<IpAddr>,
    /// The newest notes about it, at most [`MAX_SHOWN`].
    pub notes: Vec<&'a NoteRow>,
    /// How many are kept.
    pub notes_total: usize,
    pub(super) views: &'a ReadModels,
}

impl ReadModels {
    /// Explains an address, and one of its ports if one is named. Walks all attacks and notes: for a person's question.
    pub fn explain(&self, address: IpAddr, port: Option<u16>, now: Timestamp) -> Explanation<'_> {
        let address = canonical(address);
        let ruling = order::ruling(&self.held(address, port, now));
        let allowed = match ruling.verdict {
            Verdict::Allowed { network, .. } => self.denylist.allowance_of(network),
            Verdict::Untouchable(_)
            | Verdict::Denied { .. }
            | Verdict::Blocked { .. }
            | Verdict::SoftBlocked { .. }
            | Verdict::Free => None,
        };
        let attacks: Vec<&AttackRow> =
            self.attacks.newest_first(now).filter(|row| row.source == address).collect();
        let notes: Vec<&NoteRow> = self.notes.about(address, now).collect();
        Explanation {
            address,
            port,
            now,
            ruling,
            mode: self.settings.current().mode,
            blocks: self.denylist.rows_of(address, now).collect(),
            allowed,
            attacks_total: attacks.len(),
            hosts: attacks.iter().map(|row| row.host).collect(),
            victims: attacks.iter().map(|row| row.victim).take(MAX_SHOWN).collect(),
            attacks: attacks.into_iter().take(MAX_SHOWN).collect(),
            notes_total: notes.len(),
            notes: notes.into_iter().take(MAX_SHOWN).collect(),
            views: self,
        }
    }
}
