//! One leader a term; no commit index goes back.

use std::collections::BTreeMap;

use consensus::core::{Role, Status};
use log_format::ids::{HostId, LogIndex, Term};

use super::{Checker, Violation, ensure};
use crate::host::Life;

#[derive(Default)]
pub(super) struct Leadership {
    leaders: BTreeMap<Term, HostId>,
    commits: BTreeMap<(HostId, Life), LogIndex>,
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
}
