//! From a charge to a verdict: who may be blamed, for what, and how much that may cost at most.
//!
//! ```text
//! charge ─ rule off? ─> nothing          ─ allowed? ─> verdict without a sanction
//!        ─ rule observes? ─> note        ─ unproven, in the name of one who belongs here? ─> note
//!        ─ told already? ─> nothing      ─ otherwise ─> verdict, capped by its evidence
//! ```

use std::net::IpAddr;

use log_format::event::{
    AttackKind, AttackObserved, Evidence, NoteKind, NoteObserved, Rule, Sanction, Scope, Text,
};

use super::{Engine, Seen, Sighting};
use crate::detect::{Subject, line};
use crate::observation::{Finding, Note, Verdict};
use crate::policy::Mode;
use crate::transaction::Path;

/// What a source is charged with.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub(super) rule: Rule,
    pub(super) attack: AttackKind,
    pub(super) evidence: Evidence,
    pub(super) count: u32,
    pub(super) scope: Scope,
    pub(super) agent: Text,
    pub(super) account: Text,
    pub(super) line: Text,
    /// The most that the rule wants: where the source is often the victim, fewer answers are all that helps.
    pub(super) most: Sanction,
}

impl Charge {
    pub(super) fn new(rule: Rule, attack: AttackKind, is_proven: bool, count: u32) -> Self {
        let most = if rule == Rule::Dns || (!is_proven && matches!(rule, Rule::Tftp | Rule::RequestRate)) {
            Sanction::Shape
        } else if rule == Rule::RequestRate {
            Sanction::SoftBlock
        } else {
            Sanction::Permanent
        };
        Self {
            rule,
            attack,
            evidence: if is_proven { Evidence::Proven } else { Evidence::Unproven },
            count,
            scope: Scope::Address,
            agent: Text::default(),
            account: Text::default(),
            line: Text::default(),
            most,
        }
    }

    /// Quotes the message that tipped the rule. The account is who is asked for.
    pub(super) fn quoting(mut self, sighting: &Sighting<'_, '_>) -> Self {
        let message = sighting.message;
        self.line = line::first_line(message);
        self.account = message.to().map(|to| line::account(to.parts())).unwrap_or_default();
        // The agent of an answer is the victim's.
        if message.method().is_some() {
            self.agent = Text::new(message.user_agents.first().unwrap_or_default());
        }
        self
    }
}

impl Engine {
    /// Brings a charge against the source of a message.
    pub(super) fn charge_message(
        &mut self,
        sighting: &Sighting<'_, '_>,
        charge: Charge,
        findings: &mut Vec<Finding>,
    ) {
        self.charge_quoting(sighting, (charge, None), findings);
    }

    /// The same, where one of several agents is what the source is charged with.
    #[cold]
    pub(super) fn charge_quoting(
        &mut self,
        sighting: &Sighting<'_, '_>,
        (mut charge, agent): (Charge, Option<&[u8]>),
        findings: &mut Vec<Finding>,
    ) {
        self.corroborate(sighting.path.source, &mut charge);
        // What was told already is not quoted again for each packet of an attack.
        let subject = Subject::of(sighting.path.source);
        let is_news = || self.reports.is_news(subject, charge.rule, charge.evidence, sighting.seen.now);
        if self.setting.policy.is_on(charge.rule) && is_news() {
            let mut charge = charge.quoting(sighting);
            if let Some(agent) = agent {
                charge.agent = Text::new(agent);
            }
            if charge.agent.is_empty()
                && let Some(source) = self.sources.get(sighting.path.source)
            {
                charge.agent = self.agents.name(source.agent);
            }
            self.charge((sighting.path, sighting.source_port), charge, sighting.seen, findings);
        }
    }

    /// Brings a charge against a source.
    #[cold]
    pub(super) fn charge(
        &mut self,
        (path, source_port): (Path, u16),
        mut charge: Charge,
        seen: Seen,
        findings: &mut Vec<Finding>,
    ) {
        match self.setting.policy.modes.of(charge.rule) {
            Mode::Off => return,
            Mode::Observe => {
                let about = (NoteKind::RuleObserved, charge.rule as u64);
                return self.note((path, source_port), about, (&charge, seen), findings);
            }
            Mode::Enforce => {}
        }
        let is_unproven = charge.evidence == Evidence::Unproven;
        if is_unproven && charge.most > Sanction::Shape && self.belongs_here(path, seen) {
            let about = (NoteKind::SpoofSuspected, charge.rule as u64);
            return self.note((path, source_port), about, (&charge, seen), findings);
        }
        self.corroborate(path.source, &mut charge);
        let (sanction, seconds) = self.due(path.source, &charge);
        let place = match charge.scope {
            Scope::AddressPort(port) => port,
            Scope::Address | Scope::Prefix(_) => 0,
        };
        let subject = Subject::of(path.source);
        let evidence = (charge.evidence, seconds);
        let Some(seconds) = self.reports.verdict((subject, place), charge.rule, evidence, seen.now) else {
            return;
        };
        self.statistics.attacks += 1;
        let Charge { rule, attack, evidence, count, scope, agent, account, line, most: _ } = charge;
        let verdict = Verdict {
            observed: AttackObserved {
                source: path.source,
                source_port,
                victim: path.victim,
                victim_port: path.victim_port,
                attack,
                rule,
                evidence,
                sanction,
                known_user_agent: self.user_agents.is_known(agent.as_bytes()),
                user_agent: agent,
                count,
                scope,
                account,
                line,
            },
            seconds: if sanction == Sanction::Observe { 0 } else { seconds },
            packet: seen.packet,
            at: seen.at,
        };
        self.doors.shut_for(&verdict, seen.now);
        findings.push(Finding::Attack(verdict));
    }

    /// Tells of something for which nobody is blocked, once in an hour for each source and matter.
    #[cold]
    pub(super) fn note(
        &mut self,
        (path, source_port): (Path, u16),
        (kind, about): (NoteKind, u64),
        (charge, seen): (&Charge, Seen),
        findings: &mut Vec<Finding>,
    ) {
        let is_of_victim = kind == NoteKind::VictimSilent;
        let subject = Subject::of(if is_of_victim { path.victim } else { path.source });
        if !self.reports.note(subject, about, kind as u8, seen.now) {
            return;
        }
        self.statistics.notes += 1;
        let has_rule = matches!(kind, NoteKind::RuleObserved | NoteKind::SpoofSuspected);
        let observed = NoteObserved {
            kind,
            source: path.source,
            source_port,
            victim: path.victim,
            victim_port: path.victim_port,
            attack: charge.attack,
            rule: has_rule.then_some(charge.rule),
            account: charge.account.clone(),
            user_agent: charge.agent.clone(),
            count: charge.count,
            line: charge.line.clone(),
        };
        findings.push(Finding::Note(Note { observed, packet: seen.packet, at: seen.at }));
    }

    /// Whether the source has business with the victim, or the victim with it: what nothing proves may be forged in its name.
    pub(super) fn belongs_here(&self, path: Path, seen: Seen) -> bool {
        self.protected.has(path.source, path.victim, seen.now)
            || self.protected.has(path.victim, path.source, seen.now)
    }

    /// Whose offences are told of and cost nothing.
    pub(super) fn is_excused(&self, source: IpAddr) -> bool {
        self.setting.is_allowed(source) || self.visibility.is_registrar(source)
    }

    /// Evidence is corroborated by a decoy: who proved to be at his address and asked for what nobody has is no customer.
    fn corroborate(&mut self, source: IpAddr, charge: &mut Charge) {
        if charge.evidence == Evidence::Proven
            && self.sources.get(source).is_some_and(|source| source.is_decoyed)
        {
            charge.evidence = Evidence::Corroborated;
        }
    }

    /// What is due, and for how long.
    fn due(&self, source: IpAddr, charge: &Charge) -> (Sanction, u64) {
        let policy = &self.setting.policy;
        let (sanction, seconds) = match (charge.evidence, charge.rule) {
            (Evidence::Unproven, Rule::BlockedUserAgent) => {
                (Sanction::SoftBlock, policy.agent_soft_block_seconds)
            }
            (Evidence::Unproven, _) => (Sanction::SoftBlock, policy.soft_block_seconds),
            (Evidence::Proven | Evidence::Corroborated, _) => match charge.scope {
                // The cluster makes it longer for one that comes back.
                Scope::AddressPort(_) => (Sanction::Block, policy.soft_block_seconds),
                Scope::Address | Scope::Prefix(_) => (Sanction::Block, policy.block_seconds),
            },
        };
        if self.is_excused(source) {
            return (Sanction::Observe, policy.soft_block_seconds);
        }
        if charge.most < sanction { (charge.most, policy.soft_block_seconds) } else { (sanction, seconds) }
    }
}
