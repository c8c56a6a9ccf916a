//! One leader a term, one vote of each host; no commit index goes back; nothing is promised that is not durable.

use std::collections::{BTreeMap, BTreeSet};

use consensus::core::{Promise, Role, Status};
use log_format::ids::{HostId, LogIndex, Term};
use log_format::wal::LogPosition;

use super::{Checker, Violation, ensure};
use crate::disk::Held;
use crate::host::{Host, Life};

#[derive(Default)]
pub(super) struct Leadership {
    leaders: BTreeMap<Term, HostId>,
    commits: BTreeMap<(HostId, Life), LogIndex>,
    votes: BTreeMap<(HostId, Term), HostId>,
    /// Terms whose leader's log was looked at.
    seen: BTreeSet<Term>,
}

impl Leadership {
    pub(super) fn look(&mut self, host: HostId, life: Life, status: &Status) -> Result<(), Violation> {
        if status.role == Role::Leader {
            let is_new = !self.leaders.contains_key(&status.term);
            let leader = *self.leaders.entry(status.term).or_insert(host);
            ensure(!is_new || self.is_elected(host, status), Checker::Members, || {
                format!("host {host} leads term {} without a majority of {:?}", status.term, status.voters)
            })?;
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

    /// Whether more than half of those that may vote have voted for a host.
    fn is_elected(&self, host: HostId, status: &Status) -> bool {
        let has_voted =
            |voter: &&HostId| **voter == host || self.votes.get(&(**voter, status.term)) == Some(&host);
        status.voters.len() < 2 * status.voters.iter().filter(has_voted).count()
    }

    /// Whoever leads a term has everything that was committed in earlier ones.
    pub(super) fn look_at_log(
        &mut self,
        id: HostId,
        host: &Host,
        status: &Status,
        committed: LogPosition,
    ) -> Result<(), Violation> {
        if status.role != Role::Leader || status.term <= committed.term || !self.seen.insert(status.term) {
            return Ok(());
        }
        // What is not on its disk yet is its own.
        let term = host.drive.reader().and_then(|reader| reader.term(committed.index));
        ensure(committed.index <= status.last, Checker::Leadership, || {
            format!("host {id} leads term {} without entry {committed}", status.term)
        })?;
        ensure(term.is_none_or(|term| term == committed.term), Checker::Leadership, || {
            format!("host {id} leads term {} with another entry than {committed}", status.term)
        })
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
