//! What stands in the kernel, compared with what a layout asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::layout::{DeviceName, Layout};
use super::netlink::{Netlink, NetlinkError};
use super::parse;
use super::ranges::{Range, RangeEnd, enclosed};
use super::script::{self, CHAIN, MARK};
use super::sets::{Family, SetId};
use super::wire::{Place, Verb, attribute};

/// How often a set is listed until no element is named twice. Resizing takes the kernel milliseconds, a listing longer.
const MAX_LISTINGS: u32 = 16;

/// Whose a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// There is no such table.
    Nobody,
    /// Palisade's: it carries the mark.
    Ours,
    /// Somebody else's.
    Foreign,
}

/// How a table of ours compares with a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it should be.
    Intact,
    /// The chain, a rule or a counter is not; the sets can stay.
    RulesDiffer,
    /// A set is not, or there is something that does not belong there: it has to be made anew.
    TableDiffers,
}

/// Whose a table is.
pub(super) fn owner(netlink: &mut Netlink, place: Place<'_>) -> Result<Owner, NetlinkError> {
    let marked = netlink.table(place, |table| table.comment(attribute::TABLE_USERDATA) == Some(MARK))?;
    Ok(match marked {
        None => Owner::Nobody,
        Some(true) => Owner::Ours,
        Some(false) => Owner::Foreign,
    })
}

/// Compares a table of ours with a layout of which these devices are there.
pub(super) fn standing(
    netlink: &mut Netlink,
    layout: &Layout,
    present: &[DeviceName],
) -> Result<Standing, NetlinkError> {
    let place = place(layout);
    let chains = netlink.list(Verb::GetChain, place, |chain| parse::chain(place.table, chain))?;
    let sets = netlink.list(Verb::GetSet, place, parse::set)?;
    let counters: BTreeSet<String> = netlink
        .list(Verb::GetObject, place, |object| parse::counter(object).map(|(name, ..)| name.to_owned()))?
        .into_iter()
        .collect();
    let rules = netlink.list(Verb::GetRule, place, |rule| {
        // A rule without a comment is nobody's: it counts as one with an empty comment.
        let comment = rule.comment(attribute::RULE_USERDATA).unwrap_or_default();
        (rule.text(attribute::RULE_CHAIN) == Some(CHAIN)).then(|| comment.to_owned())
    })?;
    if !sets_fit(&sets) || chains.iter().any(|chain| chain.name != CHAIN) {
        return Ok(Standing::TableDiffers);
    }
    let counted =
        SetId::ALL.into_iter().filter(|set| script::counts(*set)).all(|set| counters.contains(set.name()));
    if counted && chain_fits(chains.first(), layout, present) && rules_fit(&rules, layout, present) {
        Ok(Standing::Intact)
    } else {
        Ok(Standing::RulesDiffer)
    }
}

/// Where the table of a layout stands.
pub(super) fn place(layout: &Layout) -> Place<'_> {
    Place { family: layout.family(), table: layout.table().get() }
}

/// The addresses of a set of single ones: how long each stays yet, if not for good.
///
/// While the kernel resizes a set's hash table, a listing names some elements twice and leaves as many out (seen with
/// 50,000 elements right after their insertion), and the kernel does not say so. A listing with an element twice is
/// therefore made again.
pub(super) fn addresses(
    netlink: &mut Netlink,
    place: Place<'_>,
    set: SetId,
) -> Result<BTreeMap<u128, Option<Duration>>, NetlinkError> {
    for _ in 0..MAX_LISTINGS {
        let elements = netlink
            .elements(place, set.name(), |list| parse::elements(list).collect::<Vec<_>>().into_iter())?;
        let listed = elements.len();
        let distinct: BTreeMap<u128, Option<Duration>> =
            elements.into_iter().map(|element| (element.end.at, element.left)).collect();
        if distinct.len() == listed {
            return Ok(distinct);
        }
    }
    Err(NetlinkError::Restless)
}

/// The ranges of an interval set.
pub(super) fn ranges(
    netlink: &mut Netlink,
    place: Place<'_>,
    set: SetId,
) -> Result<BTreeSet<Range>, NetlinkError> {
    let ends: Vec<RangeEnd> = netlink.elements(place, set.name(), |list| {
        parse::elements(list).map(|element| element.end).collect::<Vec<_>>().into_iter()
    })?;
    Ok(enclosed(ends, set.family))
}

/// Whether every set of ours is there as it should be, and no other named one. (Anonymous sets belong to rules.)
fn sets_fit(held: &[parse::HeldSet]) -> bool {
    /// `NFT_SET_ANONYMOUS`
    const ANONYMOUS: u32 = 1;
    let named: BTreeMap<&str, (u32, u32, u32)> = held
        .iter()
        .filter(|set| set.flags & ANONYMOUS == 0)
        .map(|set| (set.name.as_str(), (set.flags, set.key_bytes, set.size)))
        .collect();
    let wanted = SetId::ALL.into_iter().map(|set| {
        let key_bytes = Family::key_bytes(set.family);
        (set.name(), (script::set_flags(set), key_bytes, set.size()))
    });
    named == wanted.collect()
}

/// Whether the chain hangs where it should. A newer kernel keeps the names of devices that went away, an older one
/// forgets them: both are right.
fn chain_fits(held: Option<&parse::HeldChain>, layout: &Layout, present: &[DeviceName]) -> bool {
    let Some(held) = held else {
        return hooks_nowhere(layout, present);
    };
    let (_, priority) = layout.family().hook();
    let on = |name: &str| held.devices.iter().any(|device| device == name);
    let known = |name: &str| layout.devices().iter().any(|device| device.get() == name);
    held.hook == Some((layout.family().hook_number(), priority))
        && present.iter().all(|device| on(device.get()))
        && held.devices.iter().all(|device| known(device))
}

/// Whether the rules are those of the layout, in their order.
fn rules_fit(comments: &[String], layout: &Layout, present: &[DeviceName]) -> bool {
    if comments.is_empty() {
        return hooks_nowhere(layout, present);
    }
    let wanted = script::rules(layout);
    comments.iter().eq(wanted.iter().map(|rule| &rule.comment))
}

/// Whether none of the devices is there, so that there is nothing to hook into.
fn hooks_nowhere(layout: &Layout, present: &[DeviceName]) -> bool {
    present.is_empty() && !layout.devices().is_empty()
}
