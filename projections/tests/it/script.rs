//! The stories' language: one command a line, read into a [`World`], and what came of it as text.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use log_format::event::{
    AttackEvent, BlockReason, ChapterSealed, DenyReason, DenylistEvent, EnforcementMode, Event, Evidence,
    HostEvent, HostKeyAnnounced, HostRole, PortRange, ReleaseCause, Rule, RuleMode, Sanction, Scope,
    SealWitnessed, SettingChange, SettingsEvent, SpoolDropped, Text,
};
use log_format::ids::{ChapterNumber, HostId, JoinTokenId, LogIndex, OriginSequence};
use log_format::time::Timestamp;
use projections::decide::{
    Chapter, ChapterLimits, CommandBody, LogStats, Member, Rejection, chapters, order,
};
use projections::plan::firewall::{AddressPlan, FirewallChange, FirewallPlan, desired, difference};
use projections::read::Reason;

use crate::world::{World, administrator, attack, strikes};

/// Tells a story again: comments and commands as they stand, results as they come.
pub(crate) fn tell(story: &str) -> String {
    let mut world = World::new();
    let mut told = String::new();
    for line in story.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(told, "{line}").unwrap();
        if let Some(command) = line.strip_prefix("> ") {
            for result in obey(&mut world, command) {
                writeln!(told, "  {result}").unwrap();
            }
        }
    }
    told
}

fn obey(world: &mut World, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["start", "anew"] => {
            *world = World::new();
            Vec::new()
        }
        ["pass", seconds] => {
            world.pass(seconds.parse().unwrap());
            Vec::new()
        }
        ["attack", source, evidence, sanction, options @ ..] => {
            let body = attack(source.parse().unwrap(), evidence_of(evidence), sanction_of(sanction));
            render(world, &attack_with(body, options))
        }
        ["ruling", source, port @ ..] => {
            let port = port.first().map(|port| port.parse().unwrap());
            ruling(world, address(source), port)
        }
        ["strikes", host, source, proven, unproven] => {
            let body = strikes(source.parse().unwrap(), proven.parse().unwrap(), unproven.parse().unwrap());
            render(world, &world_observe(host.parse().unwrap(), body))
        }
        ["late-strikes", host, source, proven, late] => {
            let body = strikes(source.parse().unwrap(), proven.parse().unwrap(), 0);
            let mut step = world_observe(host.parse().unwrap(), body);
            step.late_seconds = late.parse().unwrap();
            render(world, &step)
        }
        ["members"] => world.model.members().map(|member| member_text(world, &member)).collect(),
        ["chapters"] => world.model.chapters().iter().map(chapter_text).collect(),
        ["due", words @ ..] => {
            let limits = ChapterLimits { entries: 8, bytes: 1_000 };
            let stats = LogStats { bytes: number(words).unwrap_or_default() };
            vec![format!("{:?}", chapters::due(&world.model, world.now, &limits, &stats))]
        }
        // A host says something of itself; else the first host does.
        ["as", host, words @ ..] => {
            let command = world.command(host.parse().unwrap(), 0, command(words));
            told(world.carry_out(command), world.now)
        }
        ["plan"] => plan(&desired(&world.model, world.now), world.now),
        ["behind"] => behind(&difference(&world.plan, &desired(&world.model, world.now)), world.now),
        ["rows"] => rows(world),
        ["allowed"] => {
            let allowed = world.views.denylist.allowed(world.now);
            allowed.map(|(network, row)| format!("{network} {}", end(row.until, world.now))).collect()
        }
        words => render(world, &Step { host: None, late_seconds: 0, body: command(words) }),
    }
}

/// Options of an attack: `port=5071`, `prefix=64`, `victim=10.0.0.9`, `rule=sweep`, `host=2`, `late=60`.
fn attack_with(body: CommandBody, options: &[&str]) -> Step {
    let CommandBody::ReportAttack(mut observed) = body else { panic!("{body:?} is no attack") };
    let (mut host, mut late_seconds) = (1, 0);
    for option in options {
        match option.split_once('=').unwrap() {
            ("port", port) => observed.scope = Scope::AddressPort(port.parse().unwrap()),
            ("prefix", length) => observed.scope = Scope::Prefix(length.parse().unwrap()),
            ("victim", victim) => observed.victim = address(victim),
            ("rule", name) => observed.rule = Rule::from_name(name).unwrap(),
            ("host", number) => host = number.parse().unwrap(),
            ("late", seconds) => late_seconds = seconds.parse().unwrap(),
            unknown => panic!("no such option: {unknown:?}"),
        }
    }
    Step { late_seconds, ..world_observe(host, CommandBody::ReportAttack(observed)) }
}

/// The step that decides, and those before it.
fn ruling(world: &World, address: IpAddr, port: Option<u16>) -> Vec<String> {
    let held = world.model.held(address, port, world.now);
    assert_eq!(held, world.views.held(address, port, world.now));
    let ruling = order::ruling(&held);
    let passed = ruling.passed.iter().map(|(step, why)| format!("not {}: {why}", step.name()));
    passed.chain(std::iter::once(format!("{} decides", ruling.step.name()))).collect()
}

struct Step {
    host: Option<u64>,
    late_seconds: u64,
    body: CommandBody,
}

fn world_observe(host: u64, body: CommandBody) -> Step {
    Step { host: Some(host), late_seconds: 0, body }
}

fn command(words: &[&str]) -> CommandBody {
    let (by, note) = (administrator(), Text::new(b"by hand"));
    match words {
        ["block", source, seconds @ ..] => {
            CommandBody::BlockAddress { source: address(source), seconds: number(seconds), note, by }
        }
        ["deny", network] => CommandBody::DenyAddress { network: net(network), note, by },
        ["allow", network, seconds @ ..] => {
            CommandBody::AllowAddress { network: net(network), seconds: number(seconds), note, by }
        }
        ["unblock", source, seconds @ ..] => {
            CommandBody::UnblockAddress { source: address(source), allow_seconds: number(seconds), by }
        }
        ["expire"] => CommandBody::ExpireBlocks,
        ["set", version, changes @ ..] => CommandBody::ChangeSettings {
            expected_version: version.parse().unwrap(),
            changes: changes.iter().map(|change| setting(change)).collect(),
            by,
        },
        ["enrol", host, addresses @ ..] => CommandBody::EnrolHost {
            host: host_of(host),
            name: Text::new(b"alpha"),
            addresses: addresses.iter().map(|text| address(text)).collect(),
            peer: None,
        },
        ["active", host] => CommandBody::MarkHostActive { host: host_of(host) },
        ["inactive", host] => {
            CommandBody::MarkHostInactive { host: host_of(host), last_heard: Timestamp::from_seconds(1) }
        }
        ["remove", host] => CommandBody::RemoveHost { host: host_of(host), by },
        words => cluster_command(words),
    }
}

/// Names of tokens, keys and seals are one byte, repeated.
fn cluster_command(words: &[&str]) -> CommandBody {
    let by = administrator();
    match words {
        ["token", id, role, seconds @ ..] => CommandBody::IssueJoinToken {
            token: token(id),
            verifier: [byte(id); 32],
            role: if *role == "sensor" { HostRole::SensorOnly } else { HostRole::VoterCapable },
            seconds: number(seconds),
            by,
        },
        ["revoke", id] => CommandBody::RevokeJoinToken { token: token(id), by },
        ["join", id, name, peer, addresses @ ..] => CommandBody::JoinHost {
            token: token(id),
            name: Text::new(name.replace('_', " ").as_bytes()),
            addresses: addresses.iter().map(|text| address(text)).collect(),
            peer: peer.parse().unwrap(),
        },
        ["key", host, key] => {
            CommandBody::AnnounceKey(HostKeyAnnounced { host: host_of(host), key: [byte(key); 32] })
        }
        ["cut", last] => CommandBody::CutChapter { last: LogIndex::new(last.parse().unwrap()) },
        ["seal", number, seal] => {
            CommandBody::SealChapter(ChapterSealed { chapter: chapter(number), seal: [byte(seal); 32] })
        }
        ["witness", number, host, length] => CommandBody::WitnessSeal(SealWitnessed {
            chapter: chapter(number),
            host: host_of(host),
            signature: vec![1; length.parse().unwrap()],
        }),
        ["roll-up", number] => CommandBody::RollUpAttacks { chapter: chapter(number), counts: Vec::new() },
        ["erase", number] => CommandBody::CutRetention { chapter: chapter(number), by },
        ["dropped", host, from, to, count] => CommandBody::DropSpool(SpoolDropped {
            host: host_of(host),
            from: OriginSequence::new(from.parse().unwrap()),
            to: OriginSequence::new(to.parse().unwrap()),
            count: count.parse().unwrap(),
        }),
        unknown => panic!("no such command: {unknown:?}"),
    }
}

fn chapter(text: &str) -> ChapterNumber {
    ChapterNumber::new(text.parse().unwrap())
}

fn token(text: &str) -> JoinTokenId {
    JoinTokenId::new([byte(text); 16])
}

fn byte(text: &str) -> u8 {
    text.parse().unwrap()
}

fn setting(change: &str) -> SettingChange {
    let (name, value) = change.split_once('=').unwrap();
    let values: Vec<&str> = value.split(',').filter(|value| !value.is_empty()).collect();
    match name {
        "ports" => SettingChange::SipPorts(values.iter().map(|range| ports(range)).collect()),
        "limit" => SettingChange::BadRegistrationsPerMinute(value.parse().unwrap()),
        "seconds" => SettingChange::BlockSeconds(values.iter().map(|step| step.parse().unwrap()).collect()),
        "threshold" => SettingChange::BlockThreshold(value.parse().unwrap()),
        "agents" => SettingChange::BlockedUserAgents(
            values.iter().map(|agent| Text::new(agent.replace('_', " ").as_bytes())).collect(),
        ),
        "rule" => {
            let (rule, mode) = value.split_once(':').unwrap();
            SettingChange::RuleMode {
                rule: Rule::from_name(rule).unwrap(),
                mode: RuleMode::from_name(mode).unwrap(),
            }
        }
        "mode" if value == "watch" => SettingChange::Mode(EnforcementMode::Watch),
        "mode" => SettingChange::Mode(EnforcementMode::Block),
        unknown => panic!("no such setting: {unknown}"),
    }
}

fn ports(range: &str) -> PortRange {
    let (first, last) = range.split_once('-').unwrap();
    PortRange { first: first.parse().unwrap(), last: last.parse().unwrap() }
}

fn render(world: &mut World, step: &Step) -> Vec<String> {
    let outcome = match step.host {
        None => world.submit(step.body.clone()),
        Some(host) => {
            let now = world.now;
            let known =
                world.model.acknowledged(HostId::new(host), log_format::ids::Incarnation::new(1)).get();
            let mut command = world.command(host, known + 1, step.body.clone());
            command.observed_at = now.before(std::time::Duration::from_secs(step.late_seconds));
            world.carry_out(command)
        }
    };
    told(outcome, world.now)
}

fn told(outcome: Result<Vec<Event>, Rejection>, now: Timestamp) -> Vec<String> {
    match outcome {
        Ok(events) if events.is_empty() => vec!["nothing".to_owned()],
        Ok(events) => events.iter().map(|fact| event(fact, now)).collect(),
        Err(rejection) => vec![format!("refused {}: {rejection}", rejection.code())],
    }
}

fn member_text(world: &World, member: &Member) -> String {
    let Member { host, peer, incarnation: _, role, is_active } = member;
    let (peer, activity) =
        (peer.map(|peer| peer.to_string()), if *is_active { "active" } else { "inactive" });
    let key = world.model.host_key(*host).map(|[first, ..]| first);
    format!("{host} at {} {} {activity} key {key:?}", peer.as_deref().unwrap_or("-"), role.name())
}

fn chapter_text((number, chapter): (ChapterNumber, &Chapter)) -> String {
    let Chapter { last, cut_at: _, seal, witnesses, is_rolled_up } = chapter;
    let (seal, witnesses) = (seal.map(|[first, ..]| first), witnesses.iter().map(|host| host.get()));
    let witnesses: Vec<u64> = witnesses.collect();
    format!("{number} up to {last} seal {seal:?} witnesses {witnesses:?} rolled up {is_rolled_up}")
}

fn event(fact: &Event, now: Timestamp) -> String {
    match fact {
        Event::Attack(AttackEvent::Observed(seen)) => {
            format!("observed {} {}", seen.source, seen.evidence.name())
        }
        Event::Attack(AttackEvent::StrikesCounted(counted)) => {
            let deltas = counted.deltas.iter();
            let deltas: Vec<String> =
                deltas.map(|delta| format!("{} {}+{}", delta.source, delta.proven, delta.unproven)).collect();
            format!("counted {}", deltas.join(", "))
        }
        Event::Attack(AttackEvent::Noted(noted)) => {
            format!("noted {} {}", noted.source, noted.kind.name())
        }
        Event::Denylist(fact) => denylist_event(fact, now),
        Event::Settings(SettingsEvent::Changed(changed)) => format!("changed {:?}", changed.changes),
        Event::Host(HostEvent::Enrolled(host)) => format!("enrolled {} {:?}", host.host, host.addresses),
        Event::Host(HostEvent::Active(host)) => format!("active {}", host.host),
        Event::Host(HostEvent::Inactive(host)) => format!("inactive {}", host.host),
        Event::Host(HostEvent::Removed(host)) => format!("removed {}", host.host),
        Event::Host(HostEvent::KeyAnnounced(_) | HostEvent::SpoolDropped(_))
        | Event::Membership(_)
        | Event::Chapter(_)
        | Event::Erased(_) => log_format::render::event_text(fact),
    }
}

fn denylist_event(fact: &DenylistEvent, now: Timestamp) -> String {
    match fact {
        DenylistEvent::AddressBlocked(fact) => {
            let why = match &fact.reason {
                BlockReason::Attack { evidence, count, .. } => format!("{} count {count}", evidence.name()),
                BlockReason::Manual { .. } => "by hand".to_owned(),
            };
            let until = end(Some(fact.until), now);
            format!(
                "blocked {}{} {} strike {} {until} ({why})",
                fact.source,
                match fact.scope {
                    Scope::Address => String::new(),
                    Scope::AddressPort(port) => format!(" port {port}"),
                    Scope::Prefix(length) => format!("/{length}"),
                },
                fact.sanction.name(),
                fact.strikes
            )
        }
        DenylistEvent::AddressReleased(fact) => match fact.cause {
            ReleaseCause::Expired => format!("released {} (expired)", fact.source),
            ReleaseCause::Manual { .. } => format!("released {} (by hand)", fact.source),
        },
        DenylistEvent::AddressDenied(fact) => match fact.reason {
            DenyReason::Threshold { blocks, .. } => {
                format!("denied {} (after {blocks} blocks)", fact.network)
            }
            DenyReason::Manual { .. } => format!("denied {} (by hand)", fact.network),
        },
        DenylistEvent::AddressAllowed(fact) => format!("allowed {} {}", fact.network, end(fact.until, now)),
    }
}

fn plan(plan: &FirewallPlan, now: Timestamp) -> Vec<String> {
    let FirewallPlan { blocked, soft_blocked, narrow, denied, allowed, never_block, sip_ports, mode } = plan;
    let timed = |name: &str, (address, until): (&IpAddr, &Timestamp)| {
        format!("{name} {address} {}", end(Some(*until), now))
    };
    let ports: Vec<String> =
        sip_ports.iter().map(|range| format!("{}-{}", range.first, range.last)).collect();
    std::iter::once(format!("{mode:?} on {}", ports.join(",")))
        .chain(never_block.iter().map(|network| format!("never-block {network}")))
        .chain(allowed.iter().map(|network| format!("allow {network}")))
        .chain(denied.iter().map(|network| format!("deny {network}")))
        .chain(blocked.iter().map(|entry| timed("block", entry)))
        .chain(soft_blocked.iter().map(|entry| timed("soft-block", entry)))
        .chain(narrow.iter().flat_map(|(address, ports)| {
            let port = move |(port, until): (&u16, &Timestamp)| {
                format!("block {address} port {port} {}", end(Some(*until), now))
            };
            ports.iter().map(port)
        }))
        .collect()
}

/// What the plan that is kept by changes alone still lacks.
fn behind(change: &FirewallChange, now: Timestamp) -> Vec<String> {
    let FirewallChange { addresses, narrow, denied, allowed, never_block, sip_ports, mode } = change;
    assert_eq!((never_block, sip_ports, mode), (&None, &None, &None));
    let addresses = addresses.iter().map(|(address, plan)| match plan {
        AddressPlan::Free => format!("{address} free"),
        AddressPlan::SoftBlocked { until } => format!("{address} soft-block {}", end(Some(*until), now)),
        AddressPlan::Blocked { until } => format!("{address} block {}", end(Some(*until), now)),
    });
    let denied = denied.iter().map(|(network, membership)| format!("deny {network} {membership:?}"));
    let allowed = allowed.iter().map(|(network, membership)| format!("allow {network} {membership:?}"));
    let narrow = narrow.iter().map(|(address, ports)| format!("{address} ports {:?}", ports.keys()));
    addresses.chain(narrow).chain(denied).chain(allowed).collect()
}

fn rows(world: &World) -> Vec<String> {
    let rows = world.views.denylist.rows(world.now).map(|row| {
        let why = match row.reason {
            Reason::Attack(reason) => reason.user_agent.visible(),
            Reason::Manual { note } => note.visible(),
        };
        let until = end(row.until, world.now);
        format!(
            "#{} {} {} strike {} {until} \"{why}\"",
            row.log_index,
            row.network(),
            row.sanction.name(),
            row.strikes
        )
    });
    rows.collect()
}

/// Whole seconds, so that the strictly increasing nanoseconds of the log do not show.
fn end(until: Option<Timestamp>, now: Timestamp) -> String {
    until.map_or("for good".to_owned(), |until| format!("for {} s", until.since(now).as_secs()))
}

fn evidence_of(name: &str) -> Evidence {
    let all = [Evidence::Unproven, Evidence::Proven, Evidence::Corroborated];
    all.into_iter().find(|evidence| evidence.name() == name).unwrap()
}

fn sanction_of(name: &str) -> Sanction {
    let all = [Sanction::Observe, Sanction::Shape, Sanction::SoftBlock, Sanction::Block, Sanction::Permanent];
    all.into_iter().find(|sanction| sanction.name() == name).unwrap()
}

fn number(words: &[&str]) -> Option<u64> {
    words.first().map(|word| word.parse().unwrap())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| IpNet::from(address(text)))
}

fn host_of(text: &str) -> HostId {
    HostId::new(text.parse().unwrap())
}
