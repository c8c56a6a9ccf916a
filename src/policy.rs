//! What this host's sensors go by, from the cluster's settings: the one place where one becomes the other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::{AttackObserved, NoteKind, NoteObserved, Rule, RuleMode};
use projections::decide::Settings;

use crate::node::Fact;

/// What a host's sensor threads go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPolicy {
    /// What the engine goes by.
    pub(crate) sensors: sensors::Policy,
    /// What becomes of what it finds.
    pub(crate) rules: RuleModes,
    /// What this host never drops, and holds nothing against.
    pub(crate) never_block: BTreeSet<IpNet>,
}

/// What becomes of each rule that is tipped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RuleModes {
    /// Those that are not enforced, in order.
    exceptions: Vec<(Rule, RuleMode)>,
}

impl RuleModes {
    /// What becomes of this one.
    pub(crate) fn of(&self, rule: Rule) -> RuleMode {
        let found = self.exceptions.iter().find(|(exception, _)| *exception == rule);
        found.map_or(RuleMode::Enforce, |(_, mode)| *mode)
    }

    /// What a tipped rule becomes in the log: an attack, a note if the rule is only observed, nothing if it is off.
    pub(crate) fn fact(&self, observed: AttackObserved) -> Option<Fact> {
        match self.of(observed.rule) {
            RuleMode::Off => None,
            RuleMode::Observe => Some(Fact::Note(noted(observed))),
            RuleMode::Enforce => Some(Fact::Attack(observed)),
        }
    }
}

/// The policy of a host that never drops these networks, in a cluster of hosts with these addresses.
pub(crate) fn policy_of(settings: &Settings, own: &[IpAddr], never_block: BTreeSet<IpNet>) -> HostPolicy {
    let sensors = sensors::Policy {
        sip_ports: settings.sip_ports.clone(),
        bad_registrations_per_minute: settings.bad_registrations_per_minute,
        blocked_user_agents: settings.blocked_user_agents.clone(),
        block_seconds: settings.seconds_of_block(1),
        never: own.to_vec(),
        ..sensors::Policy::default()
    };
    let exceptions = settings.rule_modes.iter().map(|(rule, mode)| (*rule, *mode)).collect();
    HostPolicy { sensors, rules: RuleModes { exceptions }, never_block }
}

fn noted(observed: AttackObserved) -> NoteObserved {
    let AttackObserved {
        source,
        source_port,
        victim,
        victim_port,
        attack,
        rule,
        evidence: _,
        sanction: _,
        user_agent,
        known_user_agent: _,
        count,
        scope: _,
        account,
        line,
    } = observed;
    NoteObserved {
        kind: NoteKind::RuleObserved,
        source,
        source_port,
        victim,
        victim_port,
        attack,
        rule: Some(rule),
        account,
        user_agent,
        count,
        line,
    }
}

#[cfg(test)]
mod tests {
    use log_format::event::{
        Actor, AttackKind, Evidence, Sanction, Scope, SettingChange, SettingsChanged, SettingsEvent, Text,
    };

    use super::*;

    #[test]
    fn a_rule_that_is_observed_leaves_a_note_and_one_that_is_off_nothing() {
        let mut settings = Settings::default();
        let set = |rule, mode| SettingChange::RuleMode { rule, mode };
        let changes = vec![set(Rule::Sweep, RuleMode::Observe), set(Rule::Decoy, RuleMode::Off)];
        settings.evolve(&SettingsEvent::Changed(SettingsChanged { by: Actor::System, changes }));
        let rules = policy_of(&settings, &[], BTreeSet::new()).rules;
        let source = IpAddr::from([192, 0, 2, 1]);
        let observed = |rule| AttackObserved {
            source,
            source_port: 5060,
            victim: source,
            victim_port: 5060,
            attack: AttackKind::Options,
            rule,
            evidence: Evidence::Unproven,
            sanction: Sanction::SoftBlock,
            user_agent: Text::new(b"x"),
            known_user_agent: false,
            count: 3,
            scope: Scope::Address,
            account: Text::default(),
            line: Text::new(b"OPTIONS sip:a SIP/2.0"),
        };
        let facts = [Rule::Sweep, Rule::Decoy, Rule::Malformed].map(|rule| rules.fact(observed(rule)));
        let [Some(Fact::Note(note)), None, Some(Fact::Attack(attack))] = facts else {
            panic!("{facts:?}");
        };
        assert_eq!((note.kind, note.rule), (NoteKind::RuleObserved, Some(Rule::Sweep)));
        assert_eq!((note.count, note.line.visible()), (3, "OPTIONS sip:a SIP/2.0".to_owned()));
        assert_eq!(attack, observed(Rule::Malformed));
    }
}
