//! What holds for every sequence of commands.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use log_format::envelope::Envelope;
use log_format::event::{
    AttackKind, AttackObserved, ChapterSealed, DenyReason, DenylistEvent, Event, Evidence, NoteKind,
    NoteObserved, Sanction, Scope, SettingChange, Text,
};
use log_format::ids::{ChapterNumber, HostId, LogIndex};
use log_format::time::Timestamp;
use projections::decide::order::Held;
use projections::decide::{
    BlockItem, CommandBody, Decision, Model, SOFT_BLOCK_SECONDS, Verdict, decide, order,
};
use projections::frame::{Checkpoint, CheckpointError, Projection};
use projections::plan::firewall::{FirewallPlan, desired, difference};
use projections::read::ReadModels;
use projections::state_hash;
use proptest::prelude::*;

use crate::world::{World, administrator, attack, replay, strikes};

/// Few addresses, so that commands meet: some never blocked, some of the hosts, one in three spellings.
const ADDRESSES: [&str; 10] = [
    "192.0.2.1",
    "192.0.2.2",
    "::ffff:192.0.2.2",
    "192.0.3.1",
    "2001:db8::1",
    "2001:db8::2",
    "10.0.0.1",
    "10.0.0.2",
    "127.0.0.1",
    "fe80::1",
];

const NETWORKS: [&str; 8] = [
    "192.0.2.0/24",
    "192.0.2.1/32",
    "192.0.0.0/16",
    "192.0.3.0/24",
    "2001:db8::/32",
    "2001:db8::1/128",
    "10.0.0.0/24",
    "::ffff:192.0.2.0/120",
];

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Submit(CommandBody),
    Observe(u64, CommandBody),
}

fn an_address() -> impl Strategy<Value = IpAddr> + Clone {
    prop::sample::select(ADDRESSES.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn a_network() -> impl Strategy<Value = IpNet> {
    prop::sample::select(NETWORKS.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn an_attack() -> impl Strategy<Value = CommandBody> {
    let evidence = prop::sample::select(vec![Evidence::Unproven, Evidence::Proven, Evidence::Corroborated]);
    let sanction = prop::sample::select(vec![
        Sanction::Observe,
        Sanction::Shape,
        Sanction::SoftBlock,
        Sanction::Block,
        Sanction::Permanent,
    ]);
    let scope = prop_oneof![
        4 => Just(Scope::Address),
        1 => (5060..5063_u16).prop_map(Scope::AddressPort),
        1 => (40..=128_u8).prop_map(Scope::Prefix),
    ];
    (an_address(), evidence, sanction, scope).prop_map(|(source, evidence, sanction, scope)| {
        let CommandBody::ReportAttack(observed) = attack(source, evidence, sanction) else {
            unreachable!("an attack is reported");
        };
        CommandBody::ReportAttack(AttackObserved { scope, ..observed })
    })
}

fn a_note() -> impl Strategy<Value = CommandBody> {
    (an_address(), prop::sample::select(NoteKind::ALL.to_vec())).prop_map(|(source, kind)| {
        CommandBody::Note(NoteObserved {
            kind,
            source,
            source_port: 5071,
            victim: source,
            victim_port: 5060,
            attack: AttackKind::Register,
            rule: None,
            account: Text::new(b"1001@pbx"),
            user_agent: Text::default(),
            count: 1,
            line: Text::default(),
        })
    })
}

fn a_wish() -> impl Strategy<Value = CommandBody> {
    let (note, by) = (Text::default(), administrator());
    let (n, b) = (note.clone(), by.clone());
    let (n2, b2) = (note.clone(), by.clone());
    let (b3, b4, b5, b6) = (by.clone(), by.clone(), by.clone(), by.clone());
    let seconds = || prop::option::of(prop::sample::select(vec![0, 1, 60, 5_000, u64::MAX]));
    let host = || (1..4_u64).prop_map(HostId::new);
    let host_addresses = prop::collection::vec(an_address(), 0..3);
    prop_oneof![
        (an_address(), seconds()).prop_map(move |(source, seconds)| CommandBody::BlockAddress {
            source,
            seconds,
            note: note.clone(),
            by: by.clone()
        }),
        a_network().prop_map(move |network| CommandBody::DenyAddress {
            network,
            note: n.clone(),
            by: b.clone()
        }),
        prop::collection::vec((an_address(), seconds()), 0..4).prop_map(move |items| {
            let item = |(source, seconds)| BlockItem { source, seconds, note: Text::default() };
            CommandBody::BlockAddresses { items: items.into_iter().map(item).collect(), by: b6.clone() }
        }),
        (a_network(), seconds()).prop_map(move |(network, seconds)| CommandBody::AllowAddress {
            network,
            seconds,
            note: n2.clone(),
            by: b2.clone()
        }),
        (an_address(), seconds()).prop_map(move |(source, allow_seconds)| CommandBody::UnblockAddress {
            source,
            allow_seconds,
            by: b3.clone()
        }),
        (0..3_u64, 0..4_u32).prop_map(move |(expected_version, threshold)| CommandBody::ChangeSettings {
            expected_version,
            changes: vec![SettingChange::BlockThreshold(threshold)],
            by: b4.clone()
        }),
        (host(), host_addresses).prop_map(|(host, addresses)| CommandBody::EnrolHost {
            host,
            name: Text::default(),
            addresses,
            peer: None
        }),
        host().prop_map(|host| CommandBody::MarkHostActive { host }),
        host().prop_map(|host| CommandBody::MarkHostInactive { host, last_heard: Timestamp::ZERO }),
        host().prop_map(move |host| CommandBody::RemoveHost { host, by: b5.clone() }),
        Just(CommandBody::ExpireBlocks),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let report = (an_address(), 0..12_u32, 0..25_u32);
    prop_oneof![
        2 => prop::sample::select(vec![1, 30, 300, 5_000, 100_000, 2_700_000]).prop_map(Step::Pass),
        3 => a_wish().prop_map(Step::Submit),
        3 => (1..4_u64, an_attack()).prop_map(|(host, body)| Step::Observe(host, body)),
        1 => (1..4_u64, a_note()).prop_map(|(host, body)| Step::Observe(host, body)),
        2 => (1..4_u64, report).prop_map(|(host, (source, proven, unproven))| {
            Step::Observe(host, strikes(source, proven, unproven))
        }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(a_step(), 1..60)
}

fn take(world: &mut World, step: &Step) {
    match step {
        Step::Pass(seconds) => world.pass(*seconds),
        Step::Submit(body) => drop(world.submit(body.clone())),
        Step::Observe(host, body) => drop(world.observe(*host, body.clone())),
    }
}

/// The order of decision as a kernel follows it, from the plan alone.
fn drops(plan: &FirewallPlan, address: IpAddr, now: Timestamp) -> bool {
    let longest = |list: &BTreeSet<IpNet>| {
        list.iter().filter(|network| network.contains(&address)).map(|network| network.prefix_len()).max()
    };
    if plan.never_block.iter().any(|network| network.contains(&address)) {
        return false;
    }
    match (longest(&plan.allowed), longest(&plan.denied)) {
        (Some(allowed), denied) if denied.is_none_or(|denied| denied <= allowed) => false,
        (_, Some(_)) => true,
        (_, None) => [&plan.blocked, &plan.soft_blocked]
            .iter()
            .any(|set| set.get(&address).is_some_and(|until| now < *until)),
    }
}

fn check_plans(world: &World) {
    let whole = desired(&world.model, world.now);
    let mut caught_up = world.plan.clone();
    caught_up.apply(&difference(&world.plan, &whole));
    assert_eq!(caught_up, whole);
    assert!(difference(&whole, &whole).is_empty());
    for text in ADDRESSES {
        let address = projections::canonical(text.parse().unwrap());
        let verdict = world.model.verdict(address, world.now);
        let is_due = match verdict {
            Verdict::Untouchable(_) | Verdict::Allowed { .. } | Verdict::Free => false,
            Verdict::Denied { .. } | Verdict::Blocked { .. } | Verdict::SoftBlocked { .. } => true,
        };
        assert_eq!(drops(&whole, address, world.now), is_due, "{address}: {verdict:?}");
        for port in [None, Some(5060), Some(5061)] {
            let held = world.model.held(address, port, world.now);
            let shown = world.views.held(address, port, world.now);
            // Of two hosts with one address either may be named.
            let shown = Held { never: held.never.filter(|_| shown.never.is_some()), ..shown };
            assert_eq!(shown, held, "what is shown is what is decided");
            let is_narrow = order::ruling(&held).step == order::Step::NarrowBlock;
            let ports = whole.narrow.get(&address);
            let is_planned = ports.is_some_and(|ports| port.is_some_and(|port| ports.contains_key(&port)));
            assert!(!is_narrow || is_planned, "{address} port {port:?}");
        }
        let is_safe = matches!(verdict, Verdict::Untouchable(_) | Verdict::Allowed { .. });
        assert!(!is_safe || !whole.narrow.contains_key(&address), "{address}");
        if matches!(verdict, Verdict::Untouchable(_)) {
            assert!(!whole.blocked.contains_key(&address) && !whole.soft_blocked.contains_key(&address));
        }
        let rows = world.views.denylist.rows_of(address, world.now).count();
        assert!(!is_due || 0 < rows, "{address} is dropped and not shown");
    }
}

/// Right after an entry, before any time passes, the plan kept by changes alone drops the same.
fn check_incremental(world: &World) {
    let now = world.model.last_accepted_at();
    let whole = desired(&world.model, now);
    for text in ADDRESSES {
        let address = projections::canonical(text.parse().unwrap());
        // An allowance that has ended leaves the kernel with the next convergence, and so does the block of a network: no
        // person lists one of this length here.
        let ended = world.plan.denied.difference(&whole.denied).find(|network| network.contains(&address));
        let is_over = ended.is_some_and(|network| [56, 64].contains(&network.prefix_len()));
        if world.plan.allowed == whole.allowed && !is_over {
            assert_eq!(drops(&world.plan, address, now), drops(&whole, address, now), "{address}");
        }
    }
}

fn check_facts(world: &World) {
    for (_, envelope) in &world.log {
        for recorded in &envelope.events {
            if let Event::Denylist(DenylistEvent::AddressBlocked(blocked)) = &recorded.event {
                let lasts = blocked.until.since(envelope.accepted_at);
                assert!(Duration::ZERO < lasts);
                if blocked.sanction == Sanction::SoftBlock {
                    assert_eq!(blocked.strikes, 0);
                    assert!(lasts <= Duration::from_secs(SOFT_BLOCK_SECONDS * 11 / 10));
                    assert!(lasts <= Duration::from_secs(300));
                }
                if 0 < blocked.strikes {
                    let steps = [3_600, 14_400, 86_400];
                    let step = steps[usize::try_from(blocked.strikes - 1).unwrap().min(2)];
                    let tenth = Duration::from_secs(step / 10);
                    assert!(lasts.abs_diff(Duration::from_secs(step)) <= tenth, "{blocked:?}");
                }
            }
        }
    }
}

/// The log as a host folds it that fetched it after the erasure.
fn without_attacks(log: &[(LogIndex, Envelope)], last: LogIndex) -> Vec<(LogIndex, Envelope)> {
    let erased = |(index, envelope): &(LogIndex, Envelope)| {
        let mut envelope = envelope.clone();
        for recorded in envelope.events.iter_mut().filter(|_| *index <= last) {
            let kind = recorded.event.kind();
            if kind.class().is_erasable() {
                recorded.event = Event::Erased(kind);
            }
        }
        (*index, envelope)
    };
    log.iter().map(erased).collect()
}

fn taken_up<P: Projection>(state: &P) -> P {
    let bytes = Checkpoint::of(state).unwrap().to_bytes().unwrap();
    let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
    assert_eq!(checkpoint.applied, state.applied());
    assert_eq!(checkpoint.state_hash, state.state_hash());
    checkpoint.open().unwrap()
}

fn submit(world: &mut World, body: CommandBody) {
    world.submit(body).unwrap();
}

/// Cuts, seals and, once it may be, erases a chapter after some of the steps.
fn live_through_an_erasure(steps: &[Step], cut_at: usize, rest: u64) -> (World, LogIndex) {
    let mut world = World::new();
    let (before, after) = steps.split_at(cut_at.min(steps.len()));
    submit(
        &mut world,
        CommandBody::EnrolHost { host: HostId::new(9), name: Text::default(), addresses: vec![], peer: None },
    );
    before.iter().for_each(|step| take(&mut world, step));
    let last = world.model.applied();
    submit(&mut world, CommandBody::CutChapter { last });
    let chapter = ChapterNumber::new(1);
    submit(&mut world, CommandBody::SealChapter(ChapterSealed { chapter, seal: [1; 32] }));
    let (meanwhile, after) = after.split_at(after.len() / 2);
    meanwhile.iter().for_each(|step| take(&mut world, step));
    world.pass(rest);
    meanwhile.iter().for_each(|step| take(&mut world, step));
    submit(&mut world, CommandBody::CutRetention { chapter, by: administrator() });
    after.iter().for_each(|step| take(&mut world, step));
    (world, last)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_can_be_written_folded_planned_and_shown(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            take(&mut world, step);
            check_plans(&world);
            check_incremental(&world);
        }
        check_facts(&world);
        let (model, views) = replay(&world.log);
        prop_assert_eq!(state_hash(&model, &views), world.hash());
    }

    #[test]
    fn a_log_without_its_erased_attacks_folds_to_the_same(steps in steps(), cut_at in 0..60_usize, rest in 181..400_u64) {
        let (world, last) = live_through_an_erasure(&steps, cut_at, rest);
        let (model, views) = replay(&without_attacks(&world.log, last));
        prop_assert_eq!(state_hash(&model, &views), world.hash());
        // Also what is derived and in no hash.
        prop_assert_eq!(format!("{model:?}"), format!("{:?}", world.model));
        prop_assert_eq!(format!("{views:?}"), format!("{:?}", world.views));
    }

    #[test]
    fn a_state_put_aside_and_taken_up_folds_on_to_the_same(steps in steps(), at in 0..60_usize) {
        let mut world = World::new();
        steps.iter().for_each(|step| take(&mut world, step));
        let (before, after) = world.log.split_at(at.min(world.log.len()));
        let (model, views) = replay(before);
        let (mut model, mut views): (Model, ReadModels) = (taken_up(&model), taken_up(&views));
        for (index, envelope) in after {
            model.evolve(*index, envelope);
            views.evolve(*index, envelope);
        }
        prop_assert_eq!(format!("{model:?}"), format!("{:?}", world.model));
        prop_assert_eq!(format!("{views:?}"), format!("{:?}", world.views));
        prop_assert_eq!(state_hash(&model, &views), world.hash());
    }

    #[test]
    fn a_damaged_checkpoint_is_refused(steps in steps(), place in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut world = World::new();
        steps.iter().for_each(|step| take(&mut world, step));
        let whole = Checkpoint::of(&world.views).unwrap().to_bytes().unwrap();
        let mut flipped = whole.clone();
        flipped[place.index(whole.len())] ^= 1 << bit;
        prop_assert_eq!(Checkpoint::from_bytes(&flipped), Err(CheckpointError::Damaged));
        prop_assert_eq!(Checkpoint::from_bytes(&whole[..place.index(whole.len())]), Err(CheckpointError::Damaged));
        // Also where the checksum would not look, any bytes are an error or a state, and no panic.
        let mut state = world.model.encode().unwrap();
        let place = place.index(state.len());
        state[place] ^= 1 << bit;
        drop(Model::decode(&state));
        drop(ReadModels::decode(&state));
    }

    #[test]
    fn no_observation_takes_effect_twice(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| take(&mut world, step));
        for command in world.commands.iter().filter(|command| command.origin.sequence.get() != 0) {
            let again = decide(&world.model, command, world.now);
            prop_assert!(matches!(again, Ok(Decision::AlreadyApplied { .. })), "{:?}", again);
        }
    }

    #[test]
    fn unproven_evidence_never_denies(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            let step = match step {
                Step::Observe(host, CommandBody::ReportAttack(observed)) => {
                    let evidence = Evidence::Unproven;
                    Step::Observe(host, CommandBody::ReportAttack(AttackObserved { evidence, ..observed }))
                }
                Step::Observe(host, CommandBody::CountStrikes(mut counted)) => {
                    counted.deltas.iter_mut().for_each(|delta| delta.proven = 0);
                    Step::Observe(host, CommandBody::CountStrikes(counted))
                }
                step @ (Step::Pass(_) | Step::Submit(_) | Step::Observe(..)) => step,
            };
            take(&mut world, &step);
        }
        for event in world.log.iter().flat_map(|(_, envelope)| &envelope.events).map(|recorded| &recorded.event) {
            if let Event::Denylist(DenylistEvent::AddressDenied(denied)) = event {
                let is_manual = matches!(denied.reason, DenyReason::Manual { .. });
                prop_assert!(is_manual, "{:?}", denied);
            }
        }
    }
}
