//! One event of every kind, and of every variant inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use log_format::event::{
    Actor, AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, AttackCount, AttackEvent,
    AttackKind, AttackObserved, AttackRolledUp, AuthorityAdded, AuthorityRetired, BlockReason, ChapterCut,
    ChapterEvent, ChapterSealed, ClusterForced, DenyReason, DenylistEvent, EnforcementMode, Event, Evidence,
    HostActive, HostEnrolled, HostEvent, HostInactive, HostKeyAnnounced, HostRemoved, HostRole,
    JoinTokenIssued, JoinTokenRevoked, MembershipEvent, NoteKind, NoteObserved, PortRange, ReleaseCause,
    RetentionCut, Rule, RuleMode, Sanction, Scope, SealWitnessed, SettingChange, SettingsChanged,
    SettingsEvent, SpoolDropped, StrikeDelta, StrikesCounted, TailLossAccepted, Text,
};
use log_format::ids::{BlockId, ChapterNumber, ClusterId, HostId, JoinTokenId, LogIndex, OriginSequence};
use log_format::time::Timestamp;

/// Events by case; a kind's first has no case.
pub(crate) fn events() -> Vec<(String, Event)> {
    let mut events = Vec::new();
    events.extend(attacks());
    events.extend(denylist().map(|(case, event)| (case.to_owned(), Event::Denylist(event))));
    events.push((String::new(), Event::Settings(SettingsEvent::Changed(settings()))));
    events.push(("-rules".to_owned(), Event::Settings(SettingsEvent::Changed(rule_modes()))));
    events.extend(hosts().map(|(case, event)| (case.to_owned(), Event::Host(event))));
    events.extend(membership().map(|event| (String::new(), Event::Membership(event))));
    events.extend(chapters().map(|event| (String::new(), Event::Chapter(event))));
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
                scope: match at % 3 {
                    0 => Scope::Address,
                    1 => Scope::AddressPort(5071),
                    _ => Scope::Prefix(64),
                },
                account: Text::new(if at == 0 { b"" } else { b"1001@pbx.example.net" }),
                line: Text::new(if at == 0 { b"" } else { b"REGISTER sip:203.0.113.18 SIP/2.0" }),
            };
            (case, Event::Attack(AttackEvent::Observed(observed)))
        })
        .collect();
    let deltas = vec![
        StrikeDelta { source: v4(7), rule: Rule::BadRegistrations, proven: 3, unproven: 0 },
        StrikeDelta { source: v6(9), rule: Rule::BlockedUserAgent, proven: 0, unproven: 70_000 },
    ];
    events.push((String::new(), Event::Attack(AttackEvent::StrikesCounted(StrikesCounted { deltas }))));
    let of_rule = |rule| StrikeDelta { source: v4(7), rule, proven: 1, unproven: 2 };
    let deltas = Rule::ALL.into_iter().map(of_rule).collect();
    let counted = StrikesCounted { deltas };
    events.push(("-rules".to_owned(), Event::Attack(AttackEvent::StrikesCounted(counted))));
    events.extend(notes());
    events
}

fn notes() -> impl Iterator<Item = (String, Event)> {
    let note = |(at, kind): (usize, NoteKind)| {
        let case = if at == 0 { String::new() } else { format!("-{}", kind.name()) };
        let noted = NoteObserved {
            kind,
            source: if at % 2 == 0 { v4(7) } else { v6(7) },
            source_port: 5071,
            victim: v4(18),
            victim_port: 5060,
            attack: AttackKind::Register,
            rule: (kind == NoteKind::RuleObserved).then_some(Rule::Enumeration),
            account: Text::new(b"1001@pbx.example.net"),
            user_agent: Text::new(b"Desk phone/1.0"),
            count: 7,
            line: Text::new(b"REGISTER sip:203.0.113.18 SIP/2.0"),
        };
        (case, Event::Attack(AttackEvent::Noted(noted)))
    };
    NoteKind::ALL.into_iter().enumerate().map(note)
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

fn rule_modes() -> SettingsChanged {
    let mode = |(rule, mode)| SettingChange::RuleMode { rule, mode };
    let changes = Rule::ALL.into_iter().zip(RuleMode::ALL).map(mode).collect();
    SettingsChanged { by: administrator(), changes }
}

fn hosts() -> [(&'static str, HostEvent); 8] {
    let host = HostId::new(3);
    let enrolled = |peer, role, token| {
        let (name, addresses) = (Text::new(b"north"), vec![v4(1), v6(1)]);
        HostEvent::Enrolled(HostEnrolled { host, name, addresses, peer, role, token })
    };
    let (from, to) = (OriginSequence::new(7), OriginSequence::new(70_000));
    [
        ("", enrolled(None, HostRole::VoterCapable, None)),
        ("-joined", enrolled(Some(SocketAddr::new(v4(1), 5091)), HostRole::SensorOnly, Some(token()))),
        ("-joined6", enrolled(Some(SocketAddr::new(v6(1), 5091)), HostRole::VoterCapable, Some(token()))),
        ("", HostEvent::Active(HostActive { host })),
        ("", HostEvent::Inactive(HostInactive { host, last_heard: at(15) })),
        ("", HostEvent::Removed(HostRemoved { host, by: Actor::System })),
        ("", HostEvent::KeyAnnounced(HostKeyAnnounced { host, key: [0x4e; 32] })),
        ("", HostEvent::SpoolDropped(SpoolDropped { host, from, to, count: 69_994 })),
    ]
}

fn token() -> JoinTokenId {
    JoinTokenId::new([0x70; 16])
}

fn membership() -> [MembershipEvent; 6] {
    let (host, last, by) = (HostId::new(3), LogIndex::new(88), administrator());
    [
        MembershipEvent::TokenIssued(JoinTokenIssued {
            token: token(),
            verifier: [0x5e; 32],
            role: HostRole::VoterCapable,
            expires: at(900),
            by: by.clone(),
        }),
        MembershipEvent::TokenRevoked(JoinTokenRevoked { token: token(), by: by.clone() }),
        MembershipEvent::AuthorityAdded(AuthorityAdded { certificate: vec![0x30, 0x82], by: by.clone() }),
        MembershipEvent::AuthorityRetired(AuthorityRetired { key_hash: [0xca; 32], by: by.clone() }),
        MembershipEvent::ClusterForced(ClusterForced {
            host,
            previous: ClusterId::new([0x77; 16]),
            members: [1, 2, 3].map(HostId::new).to_vec(),
            last,
            by: by.clone(),
        }),
        MembershipEvent::TailLossAccepted(TailLossAccepted { host, last, bytes: 4_096, by }),
    ]
}

fn chapters() -> [ChapterEvent; 5] {
    let (chapter, last) = (ChapterNumber::new(2), LogIndex::new(32_768));
    let count = |attack, count| AttackCount { day: at(0), host: HostId::new(3), attack, count };
    [
        ChapterEvent::Cut(ChapterCut { chapter, last }),
        ChapterEvent::Sealed(ChapterSealed { chapter, seal: [0x5e; 32] }),
        ChapterEvent::Witnessed(SealWitnessed { chapter, host: HostId::new(3), signature: vec![0x51; 64] }),
        ChapterEvent::Erased(RetentionCut { chapter, last, by: Actor::System }),
        ChapterEvent::RolledUp(AttackRolledUp {
            chapter,
            counts: vec![count(AttackKind::Register, 4_000), count(AttackKind::Options, 2)],
        }),
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
