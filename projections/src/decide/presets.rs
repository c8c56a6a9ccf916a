//! Sets of settings that have a name.

use log_format::event::{EnforcementMode, PortRange, Rule, RuleMode, SettingChange, Text};

use super::Settings;

/// A set of settings that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preset {
    /// What a new cluster begins with.
    Standard,
    /// What administrators of sipPROT know: port 5060, ten bad registrations a minute, blocks of a flat hour, the fourth for
    /// good, three blocked user agents. The rules that it has are enforced; the others are observed, so that nothing is lost
    /// from sight.
    SipprotCompat,
}

/// The rules that sipPROT has.
const CLASSIC: [Rule; 4] = [Rule::BadRegistrations, Rule::BlockedUserAgent, Rule::Tftp, Rule::Dns];

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 2] = [Self::Standard, Self::SipprotCompat];

    /// The name in API, console and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::SipprotCompat => "sipprot-compat",
        }
    }

    /// Reads [`Preset::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// The preset that these settings are, if they are one; whether blocks reach the kernel is no part of it.
    pub fn of(settings: &Settings) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.changes(settings).is_empty())
    }

    /// What leads from these settings to the preset. Whether blocks reach the kernel stays as it is: nobody who chooses a
    /// preset while watching wants to begin to drop.
    pub fn changes(self, from: &Settings) -> Vec<SettingChange> {
        let to = self.settings(from.mode);
        let differing = [
            (from.sip_ports != to.sip_ports).then_some(SettingChange::SipPorts(to.sip_ports)),
            (from.bad_registrations_per_minute != to.bad_registrations_per_minute)
                .then_some(SettingChange::BadRegistrationsPerMinute(to.bad_registrations_per_minute)),
            (from.block_seconds != to.block_seconds).then_some(SettingChange::BlockSeconds(to.block_seconds)),
            (from.block_threshold != to.block_threshold)
                .then_some(SettingChange::BlockThreshold(to.block_threshold)),
            (from.blocked_user_agents != to.blocked_user_agents)
                .then_some(SettingChange::BlockedUserAgents(to.blocked_user_agents)),
        ];
        let rules = Rule::ALL.into_iter().map(|rule| (rule, self.mode_of(rule)));
        let rules = rules.filter(|(rule, mode)| from.mode_of(*rule) != *mode);
        let rules = rules.map(|(rule, mode)| SettingChange::RuleMode { rule, mode });
        differing.into_iter().flatten().chain(rules).collect()
    }

    fn settings(self, mode: EnforcementMode) -> Settings {
        let standard = Settings { mode, ..Settings::default() };
        match self {
            Self::Standard => standard,
            Self::SipprotCompat => Settings {
                sip_ports: vec![PortRange { first: 5060, last: 5060 }],
                bad_registrations_per_minute: 10,
                block_seconds: vec![3_600],
                block_threshold: 3,
                blocked_user_agents: ["friendly-scanner", "sipsak", "Elite"]
                    .map(|name| Text::new(name.as_bytes()))
                    .into(),
                ..standard
            },
        }
    }

    fn mode_of(self, rule: Rule) -> RuleMode {
        match self {
            Self::SipprotCompat if !CLASSIC.contains(&rule) => RuleMode::Observe,
            Self::Standard | Self::SipprotCompat => RuleMode::standard(rule),
        }
    }
}

#[cfg(test)]
mod tests {
    use log_format::event::{Actor, SettingsChanged, SettingsEvent};

    use super::*;

    fn changed(settings: &mut Settings, changes: Vec<SettingChange>) {
        settings.evolve(&SettingsEvent::Changed(SettingsChanged { by: Actor::System, changes }));
    }

    #[test]
    fn new_settings_are_the_standard_and_a_preset_is_what_it_was_changed_to() {
        let mut settings = Settings::default();
        assert_eq!(Preset::of(&settings), Some(Preset::Standard));
        let mode = SettingChange::Mode(EnforcementMode::Watch);
        changed(&mut settings, vec![mode, SettingChange::BlockThreshold(0)]);
        assert_eq!(Preset::of(&settings), None);
        for preset in [Preset::SipprotCompat, Preset::Standard] {
            let changes = preset.changes(&settings);
            changed(&mut settings, changes);
            assert_eq!(Preset::of(&settings), Some(preset));
            assert_eq!(settings.mode, EnforcementMode::Watch, "nothing begins to drop");
        }
    }

    #[test]
    fn the_compatible_preset_is_flat_and_enforces_the_classic_rules_only() {
        let mut settings = Settings::default();
        let changes = Preset::SipprotCompat.changes(&settings);
        changed(&mut settings, changes);
        assert!(settings.is_flat());
        let enforced = Rule::ALL.into_iter().filter(|rule| settings.mode_of(*rule) == RuleMode::Enforce);
        assert_eq!(enforced.collect::<Vec<_>>(), CLASSIC);
    }
}
