//! One event of every kind, and of every variant inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use log_format::event::{
    Actor, AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, AttackEvent, AttackKind,
    AttackObserved, BlockReason, DenyReason, DenylistEvent, EnforcementMode, Event, Evidence, HostActive,
    HostEnrolled, HostEvent, HostInactive, HostRemoved, PortRange, ReleaseCause, Rule, Sanction, Scope,
    SettingChange, SettingsChanged, SettingsEvent, StrikeDelta, StrikesCounted, Text,
};
use log_format::ids::{BlockId, HostId};
use log_format::time::Timestamp;

/// Events by case; a kind's first has no case.
pub(crate) fn events() -> Vec<(String, Event)> {
    let mut events = Vec::new();
    events.extend(attacks());
    events.extend(denylist().map(|(case, event)| (case.to_owned(), Event::Denylist(event))));
    events.push((String::new(), Event::Settings(SettingsEvent::Changed(settings()))));
    events.extend(hosts().map(|event| (String::new(), Event::Host(event))));
    events
}

fn attacks() -> Vec<(String, Event)> {
    let rules = Rule::ALL.into_iter().cycle();
    let evidence = [Evidence::Unproven, Evidence::Proven, Evidence::Corroborated].into_iter().cycle();
    let sanctions =
        [Sanction::Observe, Sanction::Shape, Sanction::SoftBlock, Sanction::Block, Sanction::Permanent];
    let variants = AttackKind::ALL.into_iter().zip(rules).zip(evidence).zip(sanctions.into_iter().cycle());
    let mut events: Vec<(String, Event)> = variants
        .enumerate()
        .map(|(at, (((attack, rule), evidence), sanction))| {
            let case = if at == 0 { String::new() } else { format!("-{}", attack.name().to_lowercase()) };
            let observed = AttackObserved {
                source: if at % 2 == 0 { v4(7) } else { v6(7) },
                source_port: 5071,
                victim: v4(18),
                victim_port: 5060,
                attack,
                rule,
                evidence,
                sanction,
                user_agent: Text::new(b"friendly-scanner"),
                known_user_agent: at % 2 == 0,
                count: 10_u32.pow(at as u32),
            };
            (case, Event::Attack(AttackEvent::Observed(observed)))
        })
        .collect();
    let deltas = vec![
        StrikeDelta { source: v4(7), rule: Rule::BadRegistrations, proven: 3, unproven: 0 },
        StrikeDelta { source: v6(9), rule: Rule::BlockedUserAgent, proven: 0, unproven: 70_000 },
    ];
    events.push((String::new(), Event::Attack(AttackEvent::StrikesCounted(StrikesCounted { deltas }))));
    events
}

fn denylist() -> [(&'static str, DenylistEvent); 9] {
    let blocked = |scope, sanction, reason| {
        DenylistEvent::AddressBlocked(AddressBlocked {
            block: BlockId::new([0xb1; 16]),
            source: v4(7),
            scope,
            sanction,
            reason,
            until: at(3_600),
            strikes: 2,
        })
    };
    let released = |cause| DenylistEvent::AddressReleased(AddressReleased { source: v6(7), cause });
    let denied = |network: &str, reason| {
        DenylistEvent::AddressDenied(AddressDenied { network: network.parse().expect("a network"), reason })
    };
    let allowed = |until| {
        DenylistEvent::AddressAllowed(AddressAllowed {
            network: "2001:db8::/32".parse().expect("a network"),
            until,
            by: administrator(),
            note: Text::new(b"carrier"),
        })
    };
    let threshold = DenyReason::Threshold { blocks: 3, last: attack_reason() };
    let by_hand = DenyReason::Manual { by: administrator(), note: Text::default() };
    [
        ("", blocked(Scope::Address, Sanction::Block, attack_reason())),
        ("-manual", blocked(Scope::AddressPort(5071), Sanction::SoftBlock, manual(administrator()))),
        ("-system", blocked(Scope::Prefix(24), Sanction::Block, manual(Actor::System))),
        ("", released(ReleaseCause::Expired)),
        ("-manual", released(ReleaseCause::Manual { by: administrator() })),
        ("", denied("203.0.113.7/32", threshold)),
        ("-manual", denied("2001:db8::/32", by_hand)),
        ("", allowed(None)),
        ("-until", allowed(Some(at(7_200)))),
    ]
}

fn attack_reason() -> BlockReason {
    BlockReason::Attack {
        rule: Rule::BadRegistrations,
        attack: AttackKind::Register,
        evidence: Evidence::Proven,
        count: 10,
        victim: v4(18),
        user_agent: Text::new(b"friendly-scanner"),
        known_user_agent: true,
    }
}

fn manual(by: Actor) -> BlockReason {
    BlockReason::Manual { by, note: Text::new("r\u{f4}deur \"quoted\"\r\n".as_bytes()) }
}

fn settings() -> SettingsChanged {
    SettingsChanged {
        by: administrator(),
        changes: vec![
            SettingChange::SipPorts(vec![
                PortRange { first: 5060, last: 5061 },
                PortRange { first: 5080, last: 5080 },
            ]),
            SettingChange::BadRegistrationsPerMinute(10),
            SettingChange::BlockSeconds(vec![600, 3_600, 86_400]),
            SettingChange::BlockThreshold(3),
            SettingChange::BlockedUserAgents(vec![Text::new(b"friendly-scanner"), Text::new(b"sipvicious")]),
            SettingChange::Mode(EnforcementMode::Block),
            SettingChange::Mode(EnforcementMode::Watch),
        ],
    }
}

fn hosts() -> [HostEvent; 4] {
    let host = HostId::new(3);
    [
        HostEvent::Enrolled(HostEnrolled { host, name: Text::new(b"north"), addresses: vec![v4(1), v6(1)] }),
        HostEvent::Active(HostActive { host }),
        HostEvent::Inactive(HostInactive { host, last_heard: at(15) }),
        HostEvent::Removed(HostRemoved { host, by: Actor::System }),
    ]
}

fn administrator() -> Actor {
    Actor::Administrator(Text::new(b"ada"))
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

/// Seconds after 2026-01-02T03:04:05.678901234Z.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(1_767_323_045_678_901_234 + seconds * 1_000_000_000)
}
