//! One leader a term, one vote of each host; no commit index goes back; nothing is promised that is not durable.

use std::collections::BTreeMap;

use consensus::core::{Promise, Role, Status};
use log_format::ids::{HostId, LogIndex, Term};

use super::{Checker, Violation, ensure};
use crate::disk::Held;
use crate::host::Life;

#[derive(Default)]
pub(super) struct Leadership {
    leaders: BTreeMap<Term, HostId>,
    commits: BTreeMap<(HostId, Life), LogIndex>,
    votes: BTreeMap<(HostId, Term), HostId>,
}

impl Leadership {
    pub(super) fn look(&mut self, host: HostId, life: Life, status: &Status) -> Result<(), Violation> {
        if status.role == Role::Leader {
            let leader = *self.leaders.entry(status.term).or_insert(host);
            ensure(leader == host, Checker::Leadership, || {
                format!("hosts {leader} and {host} lead term {}", status.term)
            })?;
        }
        let commit = self.commits.entry((host, life)).or_default();
        ensure(*commit <= status.commit, Checker::Leadership, || {
            format!("host {host} had committed {commit}, now {}", status.commit)
        })?;
        *commit = status.commit;
        Ok(())
    }

    /// A host promises something, with this on its disk.
    pub(super) fn promised(&mut self, host: HostId, promise: Promise, held: Held) -> Result<(), Violation> {
        let on_disk = held.hard_state;
        match promise {
            Promise::Vote { term, candidate } => {
                let given = *self.votes.entry((host, term)).or_insert(candidate);
                ensure(given == candidate, Checker::Durability, || {
                    format!("host {host} votes for {given} and for {candidate} in term {term}")
                })?;
                let holds = term < on_disk.term || (term, Some(candidate)) == (on_disk.term, on_disk.vote);
                ensure(holds, Checker::Durability, || {
                    format!("host {host} votes for {candidate} in term {term}; its disk says {on_disk:?}")
                })
            }
            // In a later term another leader may have taken the entries back.
            Promise::Entries { term, upto } => {
                ensure(upto <= held.last.index || term < on_disk.term, Checker::Durability, || {
                    format!("host {host} has entries up to {upto} in term {term}; its disk says {held:?}")
                })
            }
        }
    }
}
