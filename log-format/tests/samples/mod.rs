//! One event of every kind and of every variant inside, an envelope, and a log: what the golden files hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use log_format::disk::MemoryDisk;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::{
    Actor, AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, AttackEvent, AttackKind,
    AttackObserved, BlockReason, DenyReason, DenylistEvent, EnforcementMode, Event, Evidence, HostActive,
    HostEnrolled, HostEvent, HostInactive, HostRemoved, PortRange, ReleaseCause, Rule, Sanction, Scope,
    SettingChange, SettingsChanged, SettingsEvent, StrikeDelta, StrikesCounted, Text,
};
use log_format::ids::{
    BlockId, ClusterId, CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence, Salt, Term,
};
use log_format::render;
use log_format::time::Timestamp;
use log_format::verify::LogView;
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Wal, WalIdentity, WalOptions,
    WalSetup,
};

/// The bytes and the text of one golden file.
pub(crate) struct Sample {
    /// File name without extension.
    pub(crate) name: String,
    /// What is in `.bin`.
    pub(crate) bytes: Vec<u8>,
    /// What is in `.txt`.
    pub(crate) text: String,
}

/// Where the sample log lies on its disk.
pub(crate) const DATA: &str = "/data";
/// The sample log's only file.
pub(crate) const LOG_FILE: &str = "/data/wal/0000000000000001.wal";

/// Everything that has a golden file.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples: Vec<Sample> = events().iter().map(|(case, event)| of_event(case, event)).collect();
    let envelope = envelope();
    samples.push(Sample {
        name: "envelope-1".to_owned(),
        bytes: envelope.encode().expect("the sample envelope is within the limits"),
        text: lines(&render::event_lines(LogIndex::new(12), &envelope)),
    });
    let disk = log();
    samples.push(Sample {
        name: "wal-1".to_owned(),
        bytes: disk.contents(Path::new(LOG_FILE)).expect("the sample log has one file"),
        text: describe(&disk),
    });
    samples
}

fn of_event(case: &str, event: &Event) -> Sample {
    let kind = event.kind();
    Sample {
        name: format!("{}-{}{case}", kind.name(), kind.schema()),
        bytes: log_format::codec::encode(event).expect("the samples are within the limit"),
        text: lines(&[render::event_text(event)]),
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What the sample log holds, as text.
pub(crate) fn describe(disk: &MemoryDisk) -> String {
    let view = LogView::open(disk, Path::new(DATA)).expect("the sample log can be read");
    let mut text = vec![view.identity().to_string(), format!("{:?}", view.hard_state())];
    for entry in view.entries(LogIndex::new(1)) {
        text.extend(render::entry_lines(&entry.expect("the sample log is sound")));
    }
    lines(&text)
}

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

/// One event of each retention class.
pub(crate) fn envelope() -> Envelope {
    let of_class = |wanted: &str| {
        let found = events().into_iter().find(|(_, event)| event.kind().name() == wanted);
        let (_, event) = found.expect("every kind has a sample");
        let salt = if event.kind().class().is_erasable() { Salt::new([0x5a; 16]) } else { Salt::default() };
        Recorded { observed_at: at(1), salt, event }
    };
    Envelope {
        command: CommandId::new([0xc0; 16]),
        origin: Origin {
            host: HostId::new(2),
            incarnation: Incarnation::new(1),
            sequence: OriginSequence::new(41),
        },
        accepted_at: at(2),
        events: ["AttackObserved", "AddressBlocked", "SettingsChanged"].map(of_class).to_vec(),
    }
}

/// A log of three batches in one file of four blocks: an envelope, a change of members, a replaced entry.
pub(crate) fn log() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let setup = WalSetup {
        identity: identity(),
        options: WalOptions { file_bytes: 16_384 },
        stamps: Box::new(|| FileStamp { nonce: 0x1122_3344_5566_7788, created_at: at(0) }),
    };
    let voters = [1, 2, 3].map(HostId::new);
    let mut wal = Wal::create(Arc::new(disk.clone()), Path::new(DATA), setup, ConfState::new(voters, []))
        .expect("create the sample log");
    let changed = ConfState::new(voters, [HostId::new(4)]);
    let data = envelope().encode().expect("the sample envelope is within the limits");
    let batches: [(u64, u64, &[LogEntry], Option<&ConfState>); 3] = [
        (1, 0, &[entry(1, 1, EntryKind::Normal, &[]), entry(2, 1, EntryKind::Normal, &data)], None),
        (1, 2, &[entry(3, 1, EntryKind::ConfChange, &[8, 1]), entry(4, 1, EntryKind::Normal, &[])], None),
        (2, 3, &[entry(4, 2, EntryKind::ConfChangeV2, &[])], Some(&changed)),
    ];
    for (term, commit, entries, conf_state) in batches {
        let (term, commit) = (Term::new(term), LogIndex::new(commit));
        let hard_state = HardState { term, vote: Some(HostId::new(2)), commit };
        wal.append(&Batch { hard_state, entries, conf_state, durability: Durability::Sync })
            .expect("append to the sample log");
    }
    disk
}

/// Whose log the sample log is.
pub(crate) fn identity() -> WalIdentity {
    WalIdentity {
        cluster: ClusterId::new([0x77; 16]),
        host: HostId::new(1),
        incarnation: Incarnation::new(1),
    }
}

fn entry(index: u64, term: u64, kind: EntryKind, data: &[u8]) -> LogEntry {
    LogEntry { index: LogIndex::new(index), term: Term::new(term), kind, data: data.to_vec() }
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
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(1_767_323_045_678_901_234 + seconds * 1_000_000_000)
}
