//! Who has a vote.

use std::collections::BTreeSet;

use log_format::event::HostRole;
use log_format::ids::HostId;
use palisade::node::Node;

/// Who has a vote at a host, and who should have one.
#[derive(Debug)]
pub(crate) struct Quorum {
    voters: Vec<HostId>,
    learners: Vec<HostId>,
    members: BTreeSet<HostId>,
    capable: BTreeSet<HostId>,
}

impl Quorum {
    pub(crate) fn of(node: &Node) -> Self {
        let status = node.consensus();
        let members = node.model().members();
        let capable = node.model().members().filter(|member| member.role == HostRole::VoterCapable);
        Self {
            voters: status.voters,
            learners: status.learners,
            members: members.map(|member| member.host).collect(),
            capable: capable.map(|member| member.host).collect(),
        }
    }

    /// Whether all members take part, and the largest odd number of those that may vote do.
    pub(crate) fn is_right(&self) -> bool {
        let taking_part: BTreeSet<HostId> = self.voters.iter().chain(&self.learners).copied().collect();
        // A naive count of its own, which shares nothing with the planner's.
        let most = (1..=self.capable.len()).rfind(|count| count % 2 == 1).unwrap_or(0);
        taking_part == self.members
            && self.voters.iter().all(|voter| self.capable.contains(voter))
            && self.voters.len() == most
    }
}
