//! The rules about addresses: which facts follow from an attack, from strikes, and from a person's word.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use log_format::event::{
    Actor, AddressAllowed, AddressBlocked, AddressDenied, AddressReleased, AttackEvent, AttackKind,
    AttackObserved, BlockReason, DenyReason, DenylistEvent, Event, Evidence, NoteObserved, ReleaseCause,
    Rule, RuleMode, Sanction, Scope, StrikeDelta, StrikesCounted, Text,
};
use log_format::ids::{BlockId, CommandId, HostId};
use log_format::time::Timestamp;

use super::addresses::{Addresses, DeniedBy, MAX_ALLOWED, MAX_DENIED, victim_of};
use super::command::{BlockItem, MAX_BATCH, block_id};
use super::escalation;
use super::seen::Seen;
use super::settings::{MAX_BLOCK_SECONDS, check_range};
use super::strikes::{STRIKE_WINDOW, Tally};
use super::{Model, Preset, Rejection, Verdict};
use crate::address::{Untouchable, canonical, canonical_network, special_within};
use crate::book::blockable;

/// Shortest prefixes that a person may list: a /8 is the largest block that was ever given to one owner;
/// wider ones are slips.
pub const SHORTEST_V4_PREFIX: u8 = 8;
/// The same for IPv6, where registries themselves hold /12 and owners /20 and longer.
pub const SHORTEST_V6_PREFIX: u8 = 16;
/// Releases of one [`super::CommandBody::ExpireBlocks`] at most, so that the entry stays small; the rest
/// waits for the next.
pub const MAX_RELEASES: usize = 512;

/// Proven blocks of an address after which the next is beyond doubt.
const CORROBORATING_BLOCKS: u32 = 3;

/// What an attack may cost its source; the evidence caps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// SIP ports, minutes, not counted towards the permanent block: anybody could have forged the packets.
    SoftBlock,
    /// The whole address, escalating.
    Block,
}

/// An attack for which something is due.
struct Offence {
    /// The address; of a network its first.
    source: IpAddr,
    scope: Scope,
    due: Due,
    reason: BlockReason,
    block: BlockId,
    seen: Sighting,
}

/// Who saw an attack, and when by its own clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    pub(super) host: HostId,
    pub(super) at: Timestamp,
}

/// A sensor's rule was tipped: always the fact, and a block where one is due.
pub(super) fn report_attack(
    model: &Model,
    observed: AttackObserved,
    (block, seen): (BlockId, Sighting),
    at: Timestamp,
) -> Vec<Event> {
    let observed =
        AttackObserved { source: canonical(observed.source), victim: canonical(observed.victim), ..observed };
    let offence = due(observed.sanction, observed.evidence).map(|due| {
        let (source, scope) = aimed(observed.source, observed.scope, due);
        let reason = BlockReason::Attack {
            rule: observed.rule,
            attack: observed.attack,
            evidence: observed.evidence,
            count: observed.count,
            victim: observed.victim,
            known_user_agent: observed.known_user_agent,
        };
        Offence { source, scope, due, reason, block, seen }
    });
    // A sensor that has not heard of a rule's new mode still reports it.
    let offence = offence.filter(|_| model.settings.mode_of(observed.rule) == RuleMode::Enforce);
    let sanction = offence.and_then(|offence| sanction(model, (offence, observed.source), at));
    let fact = Event::Attack(AttackEvent::Observed(observed));
    std::iter::once(fact).chain(sanction.map(Event::Denylist)).collect()
}

/// What a block is about: no more than the sensor asks for. Without proof no network is, because a forger picks its addresses.
fn aimed(source: IpAddr, scope: Scope, due: Due) -> (IpAddr, Scope) {
    match (scope, due) {
        (Scope::Prefix(length), Due::Block) => blockable(source, length)
            .map_or((source, Scope::Address), |(base, length)| (base, Scope::Prefix(length))),
        (Scope::Address | Scope::Prefix(_), _) => (source, Scope::Address),
        (Scope::AddressPort(_), _) => (source, scope),
    }
}

/// A sensor's strikes: always the fact, and a block for each source whose strikes at all hosts now tip the rule.
pub(super) fn count_strikes(
    model: &Model,
    counted: StrikesCounted,
    (block, seen): (BlockId, Sighting),
    at: Timestamp,
) -> Vec<Event> {
    let deltas: Vec<StrikeDelta> = counted
        .deltas
        .into_iter()
        .take(StrikesCounted::MAX_DELTAS)
        .map(|delta| StrikeDelta { source: canonical(delta.source), ..delta })
        .collect();
    let limit = model.settings.bad_registrations_per_minute;
    let is_enforced = model.settings.mode_of(Rule::BadRegistrations) == RuleMode::Enforce;
    let sums = countable(&model.addresses, &deltas, seen.host, (seen.at, at));
    let tipped: Vec<Event> = sums
        .into_iter()
        .filter(|_| is_enforced)
        .filter_map(|(source, added)| {
            let tally = model.strikes.tally(source, at).and(added);
            let evidence = tally.tips(limit)?;
            let due = due(Sanction::Block, evidence)?;
            let reason = strikes_reason(source, evidence, tally.total());
            let scope = Scope::Address;
            sanction(model, (Offence { source, scope, due, reason, block, seen }, source), at)
        })
        .map(Event::Denylist)
        .collect();
    let fact = Event::Attack(AttackEvent::StrikesCounted(StrikesCounted { deltas }));
    std::iter::once(fact).chain(tipped).collect()
}

/// Something worth telling: the fact alone.
pub(super) fn note(noted: NoteObserved) -> Vec<Event> {
    let noted = NoteObserved { source: canonical(noted.source), victim: canonical(noted.victim), ..noted };
    vec![Event::Attack(AttackEvent::Noted(noted))]
}

/// The strikes of a report that count towards the minute's sum, each source once and in order. A report that was under way for
/// longer than the window, such as a spool merged after a network split, is history: an office's harmless
/// strikes of hours, merged within a second, must not look like an attack. Nor do strikes count that are older than a person's word
/// that let their source go.
pub(super) fn countable(
    addresses: &Addresses,
    deltas: &[StrikeDelta],
    host: HostId,
    (observed_at, at): (Timestamp, Timestamp),
) -> Vec<(IpAddr, Tally)> {
    let mut sums: Vec<(IpAddr, Tally)> = Vec::new();
    if STRIKE_WINDOW < at.since(observed_at) {
        return sums;
    }
    // Every other rule is tipped by one host alone: there is nothing to sum.
    let summed = deltas.iter().filter(|delta| delta.rule == Rule::BadRegistrations);
    sums.extend(summed.map(|StrikeDelta { source, rule: _, proven, unproven }| {
        (*source, Tally::reported(*proven, *unproven, host))
    }));
    sums.retain(|(source, _)| !addresses.is_forgiven(*source, observed_at, at));
    sums.sort_by_key(|(source, _)| *source);
    sums.dedup_by(|(source, added), (kept, sum)| {
        let is_same = source == kept;
        if is_same {
            *sum = sum.and(*added);
        }
        is_same
    });
    sums
}

/// Drops several addresses for a time, because a person said so: all or none. As each is another one, what becomes of one
/// depends on the others only where the book has no room for all.
pub(super) fn block_all(
    model: &Model,
    items: Vec<BlockItem>,
    command: CommandId,
    by: &Actor,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    if items.is_empty() {
        return Err(Rejection::EmptyList { field: "items" });
    }
    if MAX_BATCH < items.len() {
        return Err(Rejection::TooMany { field: "items", count: items.len(), limit: MAX_BATCH });
    }
    let mut seen = BTreeSet::new();
    let mut events = Vec::new();
    for (place, item) in (0_u16..).zip(items) {
        let is_new = seen.insert(canonical(item.source));
        let id = (block_id(command, place), usize::from(place));
        let decided = if is_new {
            block(model, item, id, by.clone(), at)
        } else {
            Err(Rejection::Repeated { field: "source" })
        };
        #[cfg(bug = "batch_done_in_part")]
        if decided.is_err() && log_format::planted::is_on("batch_done_in_part") {
            continue;
        }
        events.extend(decided.map_err(|why| Rejection::InBatch { place, why: Box::new(why) })?);
    }
    Ok(events)
}

/// Drops an address for a time, because a person said so, `earlier` others before it in the same entry.
pub(super) fn block(
    model: &Model,
    BlockItem { source, seconds, note }: BlockItem,
    (block, earlier): (BlockId, usize),
    by: Actor,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let source_address = canonical(source);
    let seconds = seconds.unwrap_or(model.settings.seconds_of_block(1));
    check_range("seconds", seconds, 1, MAX_BLOCK_SECONDS)?;
    let until = at.after(Duration::from_secs(seconds));
    let network = IpNet::from(source_address);
    match model.verdict(source_address, at) {
        Verdict::Untouchable(why) => return Err(Rejection::NeverBlocked { source_address, why }),
        Verdict::Allowed { network: allowed, .. } => return Err(Rejection::Allowlisted { network, allowed }),
        Verdict::Denied { network: denied } => return Err(Rejection::AlreadyDenied { network, denied }),
        Verdict::Blocked { until: held } if until <= held => {
            return Err(Rejection::AlreadyBlocked { source_address, until: held });
        }
        // The kernel holds one end per address: a short block would end the longer soft one.
        Verdict::SoftBlocked { until: held } if until < held => {
            return Err(Rejection::AlreadyBlocked { source_address, until: held });
        }
        Verdict::Blocked { .. } | Verdict::SoftBlocked { .. } | Verdict::Free => {}
    }
    if !model.addresses.blocks.has_room_after(earlier, source_address) {
        return Err(Rejection::ListFull { list: "blocks", limit: model.addresses.blocks.limit() });
    }
    Ok(vec![Event::Denylist(DenylistEvent::AddressBlocked(AddressBlocked {
        block,
        source: source_address,
        scope: Scope::Address,
        sanction: Sanction::Block,
        reason: BlockReason::Manual { by, note },
        until,
        strikes: 0,
    }))])
}

/// Drops an address or network for good, because a person said so.
pub(super) fn deny(
    model: &Model,
    network: IpNet,
    reason: DenyReason,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let network = canonical_network(network);
    check_width(network)?;
    check_touchable(model, network)?;
    if let Some((allowed, _)) = live_allowance(model, network, at) {
        return Err(Rejection::Allowlisted { network, allowed });
    }
    match model.addresses.denied.get(&network) {
        Some(DeniedBy::Person) => {
            return Err(Rejection::AlreadyDenied { network, denied: network });
        }
        Some(DeniedBy::Threshold) => {}
        None if MAX_DENIED <= model.addresses.denied.len() => {
            return Err(Rejection::ListFull { list: "denylist", limit: MAX_DENIED });
        }
        None => {}
    }
    Ok(vec![Event::Denylist(DenylistEvent::AddressDenied(AddressDenied { network, reason }))])
}

/// Never drops an address or network, because a person said so.
pub(super) fn allow(
    model: &Model,
    network: IpNet,
    seconds: Option<u64>,
    (note, by): (Text, Actor),
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let network = canonical_network(network);
    check_width(network)?;
    check_seconds(seconds, "seconds")?;
    let allowed = &model.addresses.allowed;
    if MAX_ALLOWED <= allowed.len() && allowed.get(&network).is_none() {
        return Err(Rejection::ListFull { list: "allowlist", limit: MAX_ALLOWED });
    }
    let until = seconds.map(|seconds| at.after(Duration::from_secs(seconds)));
    let allowed = AddressAllowed { network, until, by, note };
    Ok(vec![Event::Denylist(DenylistEvent::AddressAllowed(allowed))])
}

/// Lets an address go, because a person said so.
pub(super) fn unblock(
    model: &Model,
    source: IpAddr,
    allow_seconds: Option<u64>,
    by: Actor,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let source_address = canonical(source);
    check_seconds(allow_seconds, "allow_seconds")?;
    let around: BTreeSet<IpAddr> = live_around(model, source_address, at).collect();
    let listed = model.addresses.lists(source_address, at) || around.contains(&source_address);
    let network = IpNet::from(source_address);
    let wider = model.addresses.denied.covering(source_address).find(|(denied, _)| *denied != network);
    match wider {
        // Released from its own place, it would still be dropped.
        Some((network, _)) if allow_seconds.is_none() => {
            return Err(Rejection::DeniedByNetwork { source_address, network });
        }
        None if !listed && around.is_empty() => return Err(Rejection::NotListed { source_address }),
        Some(_) | None => {}
    }
    let cause = ReleaseCause::Manual { by: by.clone() };
    let own = (listed || !around.is_empty()).then_some(source_address);
    // A network that was blocked because of some of its addresses goes with the first of them that is let go.
    let sources = own.into_iter().chain(around.into_iter().filter(|base| *base != source_address));
    let released = sources.map(|source| AddressReleased { source, cause: cause.clone() });
    let released: Vec<Event> =
        released.map(|released| Event::Denylist(DenylistEvent::AddressReleased(released))).collect();
    let allowed = match allow_seconds {
        Some(_) => allow(model, network, allow_seconds, (Text::default(), by), at)?,
        None => Vec::new(),
    };
    Ok(released.into_iter().chain(allowed).collect())
}

/// The first addresses of the networks that hold an address and are blocked.
fn live_around(model: &Model, address: IpAddr, at: Timestamp) -> impl Iterator<Item = IpAddr> {
    let around = model.addresses.blocks.around(address);
    around.filter(move |(_, block)| block.is_live(at)).map(|(base, _)| base)
}

/// Writes down which addresses have no live block any more.
pub(super) fn expire(model: &Model, at: Timestamp) -> Vec<Event> {
    let ended = model.addresses.blocks.ended(at).take(MAX_RELEASES);
    let released = ended.map(|source| AddressReleased { source, cause: ReleaseCause::Expired });
    released.map(|released| Event::Denylist(DenylistEvent::AddressReleased(released))).collect()
}

/// What the sensor holds to be due, capped by its evidence. It never makes a denial: only the threshold does.
const fn due(sanction: Sanction, evidence: Evidence) -> Option<Due> {
    match (sanction, evidence) {
        (Sanction::Observe | Sanction::Shape, _) => None,
        (Sanction::SoftBlock, _) => Some(Due::SoftBlock),
        (Sanction::Block | Sanction::Permanent, Evidence::Unproven) => Some(Due::SoftBlock),
        (Sanction::Block | Sanction::Permanent, Evidence::Proven | Evidence::Corroborated) => {
            Some(Due::Block)
        }
    }
}

/// The fact that follows from an offence of an address; none if it may not be blocked, already pays as much, or was let go by a
/// person since.
fn sanction(model: &Model, (offence, address): (Offence, IpAddr), at: Timestamp) -> Option<DenylistEvent> {
    let is_forgiven = |source| model.addresses.is_forgiven(source, offence.seen.at, at);
    if is_forgiven(address) || is_forgiven(offence.source) {
        return None;
    }
    let offence = corroborate(model, offence, at);
    match (model.verdict(address, at), offence.scope, offence.due) {
        (Verdict::Untouchable(_) | Verdict::Allowed { .. } | Verdict::Denied { .. }, _, _) => None,
        (Verdict::Blocked { .. }, Scope::AddressPort(_), _) => None,
        (Verdict::SoftBlocked { .. } | Verdict::Free, Scope::AddressPort(port), due) => {
            narrow(model, (offence, port, due), at)
        }
        (_, Scope::Prefix(_), _) => block_network(model, offence, at),
        (Verdict::Blocked { .. } | Verdict::SoftBlocked { .. }, Scope::Address, Due::SoftBlock) => None,
        (Verdict::Blocked { .. }, Scope::Address, Due::Block) => slide(model, offence, at),
        (Verdict::Free, Scope::Address, Due::SoftBlock) => soft_block(model, offence, at),
        (Verdict::SoftBlocked { .. } | Verdict::Free, Scope::Address, Due::Block) => {
            escalate(model, offence, at)
        }
    }
}

/// Proven evidence that earlier blocks confirm: another victim, another host, or often enough.
fn corroborate(model: &Model, mut offence: Offence, at: Timestamp) -> Offence {
    let source = offence.source;
    let seen = (victim_of(&offence.reason), Seen::One(offence.seen.host));
    if let BlockReason::Attack { evidence: evidence @ Evidence::Proven, .. } = &mut offence.reason
        && (model.addresses.is_corroborated(source, seen, at)
            || CORROBORATING_BLOCKS <= model.addresses.blocks_counted(source, at))
    {
        *evidence = Evidence::Corroborated;
    }
    offence
}

fn soft_block(model: &Model, offence: Offence, at: Timestamp) -> Option<DenylistEvent> {
    let is_agent = matches!(offence.reason, BlockReason::Attack { rule: Rule::BlockedUserAgent, .. });
    // Who chooses the classic product's rules chooses its hour for a blocked agent, however easily that is forged; but on SIP ports only,
    // and never a strike.
    let until = if is_agent && Preset::of(&model.settings) == Some(Preset::SipprotCompat) {
        at.after(Duration::from_secs(model.settings.seconds_of_block(1)))
    } else {
        escalation::soft_until(offence.block, offence.source, at)
    };
    dynamic_block(model, offence, (Sanction::SoftBlock, until, 0))
}

/// One port of an address, for minutes: never a strike, and so never the denylist.
fn narrow(model: &Model, (offence, port, due): (Offence, u16, Due), at: Timestamp) -> Option<DenylistEvent> {
    let source = offence.source;
    let (sanction, until) = match due {
        Due::SoftBlock => (Sanction::SoftBlock, escalation::soft_until(offence.block, source, at)),
        Due::Block => {
            let repetition = model.addresses.narrow_blocks_counted(source, port, at).saturating_add(1);
            (Sanction::Block, escalation::narrow_until(repetition, at))
        }
    };
    let held = model.addresses.blocks.held_ports(source, Some(port), at).asked;
    let pays = held.is_some_and(|held| sanction <= held.sanction);
    if pays { None } else { dynamic_block(model, offence, (sanction, until, 0)) }
}

/// A network of IPv6, because many of its addresses attacked. It climbs the same steps, and is never denied for good by itself:
/// networks are given to others.
fn block_network(model: &Model, offence: Offence, at: Timestamp) -> Option<DenylistEvent> {
    let (source, scope) = (offence.source, offence.scope);
    let blocks = model.addresses.blocks.blocks(source).iter();
    if blocks.filter(|block| block.scope == scope).any(|block| block.is_live(at)) {
        return None;
    }
    let strikes = model.addresses.blocks_counted(source, at).saturating_add(1);
    let until = escalation::firm_until(&model.settings, strikes, (offence.block, source), at);
    dynamic_block(model, offence, (Sanction::Block, until, strikes))
}

/// A source that goes on during its block stays blocked for that long from then on. It is the same block, and no new strike.
fn slide(model: &Model, offence: Offence, at: Timestamp) -> Option<DenylistEvent> {
    if model.settings.is_flat() {
        return None;
    }
    let held = model.addresses.blocks.strongest(offence.source, at).filter(|held| held.detail.is_dynamic)?;
    let until = escalation::slid_until(held.detail.length, held.until, at)?;
    let (id, strikes) = (held.id, held.detail.strikes);
    dynamic_block(model, Offence { block: id, ..offence }, (Sanction::Block, until, strikes))
}

/// The next step: a longer block, or the denylist once the threshold is passed and the list has room.
fn escalate(model: &Model, offence: Offence, at: Timestamp) -> Option<DenylistEvent> {
    let source = offence.source;
    let blocks = model.addresses.blocks_counted(source, at);
    let threshold = model.settings.block_threshold;
    if 0 < threshold && threshold <= blocks && model.addresses.denied.len() < MAX_DENIED {
        return Some(DenylistEvent::AddressDenied(AddressDenied {
            network: IpNet::from(source),
            reason: DenyReason::Threshold { blocks, last: offence.reason },
        }));
    }
    let strikes = blocks.saturating_add(1);
    let until = escalation::firm_until(&model.settings, strikes, (offence.block, source), at);
    // The kernel holds one end per address: a block must not end before the soft block that it takes the place of.
    let soft = model.addresses.blocks.strongest(source, at).map(|held| held.until);
    dynamic_block(model, offence, (Sanction::Block, until.max(soft.unwrap_or_default()), strikes))
}

/// The block, if the book has room for it.
fn dynamic_block(
    model: &Model,
    offence: Offence,
    (sanction, until, strikes): (Sanction, Timestamp, u32),
) -> Option<DenylistEvent> {
    let Offence { source, scope, due: _, reason, block, seen: _ } = offence;
    let room = model.addresses.blocks.has_room_for(source, sanction);
    room.then_some(DenylistEvent::AddressBlocked(AddressBlocked {
        block,
        source,
        scope,
        sanction,
        reason,
        until,
        strikes,
    }))
}

/// The reason of a block that no single packet tipped: it has no victim, which the unspecified address says.
fn strikes_reason(source: IpAddr, evidence: Evidence, count: u32) -> BlockReason {
    let victim = match source {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    BlockReason::Attack {
        rule: Rule::BadRegistrations,
        attack: AttackKind::Register,
        evidence,
        count,
        victim,
        known_user_agent: false,
    }
}

fn check_seconds(seconds: Option<u64>, field: &'static str) -> Result<(), Rejection> {
    seconds.map_or(Ok(()), |seconds| check_range(field, seconds, 1, MAX_BLOCK_SECONDS))
}

fn check_width(network: IpNet) -> Result<(), Rejection> {
    let shortest = match network {
        IpNet::V4(_) => SHORTEST_V4_PREFIX,
        IpNet::V6(_) => SHORTEST_V6_PREFIX,
    };
    if network.prefix_len() < shortest {
        return Err(Rejection::NetworkTooWide { network, shortest });
    }
    Ok(())
}

fn check_touchable(model: &Model, network: IpNet) -> Result<(), Rejection> {
    let why = special_within(&network).or(model.hosts.owner_within(&network).map(Untouchable::Host));
    match why {
        None => Ok(()),
        Some(why) if network.prefix_len() == network.max_prefix_len() => {
            Err(Rejection::NeverBlocked { source_address: network.addr(), why })
        }
        Some(why) => Err(Rejection::HoldsUntouchable { network, why }),
    }
}

/// The live allowance of exactly this network: of equal prefixes the allowance wins, so a denial would do nothing.
fn live_allowance(model: &Model, network: IpNet, at: Timestamp) -> Option<(IpNet, Option<Timestamp>)> {
    let until = *model.addresses.allowed.get(&network)?;
    super::addresses::lasts(until, at).then_some((network, until))
}
