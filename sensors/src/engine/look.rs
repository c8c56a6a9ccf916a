//! Second looks: what a source asked for is judged when the time for its credentials is over, whether or not it goes on.

use std::time::Duration;

use log_format::event::{AttackKind, Rule, Text};
use log_format::time::Timestamp;

use super::charge::Charge;
use super::{Engine, Seen, Sighting};
use crate::detect::line;
use crate::detect::sources::GRACE;
use crate::observation::Finding;
use crate::transaction::Path;

/// Sources that wait for a second look; more at once are a flood, in which one look for each is not what counts.
pub(super) const MAX_LOOKS: usize = 4_096;
/// Answers take their time too.
const MARGIN: Duration = Duration::from_millis(1_100);

/// A source that is looked at again.
pub(super) struct Look {
    due: Timestamp,
    path: Path,
    source_port: u16,
    attack: AttackKind,
    is_proven: bool,
    agent: Text,
    account: Text,
    line: Text,
    at: Timestamp,
    packet: u64,
}

/// A rule, its count, and whether the source has shown that it received the answers.
type InVain = (Rule, u32, bool);

impl Engine {
    pub(super) fn look_later(&mut self, sighting: &Sighting<'_, '_>, attack: AttackKind) {
        let Sighting { message, path, source_port, is_proven, seen } = *sighting;
        if MAX_LOOKS <= self.looks.len() {
            return;
        }
        self.looks.push_back(Look {
            due: seen.now.after(GRACE + MARGIN),
            path,
            source_port,
            attack,
            is_proven,
            agent: Text::new(message.user_agents.first().unwrap_or_default()),
            account: message.to().map(|to| line::account(to.parts())).unwrap_or_default(),
            line: line::first_line(message),
            at: seen.at,
            packet: seen.packet,
        });
    }

    #[inline]
    pub(super) fn look_again(&mut self, now: Timestamp, findings: &mut Vec<Finding>) {
        while self.looks.front().is_some_and(|look| look.due <= now) {
            let Some(look) = self.looks.pop_front() else { return };
            let [users, victims] = self.questions_in_vain(look.path, now);
            self.take_look(look, now, [users, victims], findings);
        }
    }

    /// The last look at a source whose recording ends now.
    pub(super) fn take_last_look(&mut self, look: Look, now: Timestamp, findings: &mut Vec<Finding>) {
        let [users, _] = self.questions_in_vain(look.path, now);
        let [_, victims] = self.questions_in_vain(look.path, now.after(GRACE + MARGIN));
        self.take_look(look, now, [users, victims], findings);
    }

    fn take_look(
        &mut self,
        look: Look,
        now: Timestamp,
        tipped: [Option<InVain>; 2],
        findings: &mut Vec<Finding>,
    ) {
        let Look { due: _, path, source_port, attack, is_proven, agent, account, line, at, packet } = look;
        let seen = Seen { now, at, packet, is_tunnelled: false };
        if let Some(source) = self.sources.get(path.source) {
            source.looked_at();
        }
        for (rule, count, is_heard) in tipped.into_iter().flatten() {
            let charge = Charge {
                agent: agent.clone(),
                account: account.clone(),
                line: line.clone(),
                ..Charge::new(rule, attack, is_heard || (is_proven && self.is_answered(rule, path)), count)
            };
            self.charge((path, source_port), charge, seen, findings);
        }
    }

    /// The rules about users and protected addresses that a source asked for in vain: each with its count, and whether the source has
    /// shown that it received the answers.
    pub(super) fn questions_in_vain(&mut self, path: Path, now: Timestamp) -> [Option<InVain>; 2] {
        let limits = &self.setting.policy.limits;
        let Some(source) = self.sources.get(path.source).filter(|source| source.is_worth_judging(limits))
        else {
            return [None; 2];
        };
        // A victim that was heard and is silent now hangs: nobody is to blame for what it does not answer.
        let is_deaf = !self.visibility.was_heard(path.victim);
        let users = source.users_in_vain(limits.users, is_deaf, now);
        let victims = source.victims_in_vain(limits, now);
        [
            users.map(|amount| (Rule::Enumeration, amount.count, amount.is_proven)),
            victims.map(|count| (Rule::Sweep, count, false)),
        ]
    }
}
