//! What this host's sensors go by, from the cluster's settings: the one place where one becomes the other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::{Rule, RuleMode, Text};
use projections::decide::{Preset, Settings};
use sensors::{Mode, Policy};

use crate::config::Surroundings;

/// The policy of a host that never drops these networks, in a cluster of hosts with these addresses.
pub(crate) fn policy_of(
    settings: &Settings,
    own: &[IpAddr],
    never_block: &BTreeSet<IpNet>,
    surroundings: &Surroundings,
) -> Policy {
    let base = match Preset::of(settings) {
        Some(Preset::SipprotCompat) => Policy::sipprot_compat(),
        Some(Preset::Standard) | None => Policy::default(),
    };
    let mut policy = Policy {
        sip_ports: settings.sip_ports.clone(),
        bad_registrations_per_minute: settings.bad_registrations_per_minute,
        blocked_user_agents: settings.blocked_user_agents.clone(),
        block_seconds: settings.seconds_of_block(1),
        never: own.to_vec(),
        allowed: never_block.iter().copied().collect(),
        decoys: surroundings.decoys.iter().copied().collect(),
        canary_users: surroundings.canary_users.iter().map(|user| Text::new(user.as_bytes())).collect(),
        ..base
    };
    for (told, place) in [
        (&surroundings.tcp_ports, &mut policy.sip_tcp_ports),
        (&surroundings.websocket_ports, &mut policy.websocket_ports),
        (&surroundings.tls_ports, &mut policy.tls_ports),
    ] {
        if let Some(ports) = told {
            place.clone_from(ports);
        }
    }
    for rule in Rule::ALL {
        policy.modes.set(rule, mode_of(settings.mode_of(rule)));
    }
    policy
}

const fn mode_of(mode: RuleMode) -> Mode {
    match mode {
        RuleMode::Off => Mode::Off,
        RuleMode::Observe => Mode::Observe,
        RuleMode::Enforce => Mode::Enforce,
    }
}

#[cfg(test)]
mod tests {
    use log_format::event::{Actor, SettingChange, SettingsChanged, SettingsEvent};

    use super::*;

    fn changed(changes: Vec<SettingChange>) -> Settings {
        let mut settings = Settings::default();
        settings.evolve(&SettingsEvent::Changed(SettingsChanged { by: Actor::System, changes }));
        settings
    }

    #[test]
    fn new_settings_are_the_sensors_own_defaults() {
        assert_eq!(
            policy_of(&Settings::default(), &[], &BTreeSet::new(), &Surroundings::default()),
            Policy::default()
        );
    }

    #[test]
    fn modes_addresses_and_networks_are_taken_over() {
        let own = [IpAddr::from([192, 0, 2, 1])];
        let gateway: IpNet = "192.0.2.254/32".parse().unwrap();
        let set = |rule, mode| SettingChange::RuleMode { rule, mode };
        let settings =
            changed(vec![set(Rule::Sweep, RuleMode::Observe), set(Rule::NotSip, RuleMode::Enforce)]);
        let ports = vec![log_format::event::PortRange { first: 5081, last: 5081 }];
        let surroundings = Surroundings {
            canary_users: vec!["9999".to_owned()],
            tls_ports: Some(ports.clone()),
            ..Surroundings::default()
        };
        let policy = policy_of(&settings, &own, &BTreeSet::from([gateway]), &surroundings);
        assert_eq!((policy.canary_users, policy.tls_ports), (vec![Text::new(b"9999")], ports));
        assert_eq!(policy.websocket_ports, Policy::default().websocket_ports);
        assert_eq!((policy.never, policy.allowed), (own.to_vec(), vec![gateway]));
        assert_eq!(policy.modes.of(Rule::Sweep), Mode::Observe);
        assert_eq!(policy.modes.of(Rule::NotSip), Mode::Enforce);
    }

    #[test]
    fn the_compatible_preset_is_the_sensors_own() {
        let settings = changed(Preset::SipprotCompat.changes(&Settings::default()));
        assert_eq!(
            policy_of(&settings, &[], &BTreeSet::new(), &Surroundings::default()),
            Policy::sipprot_compat()
        );
    }
}
