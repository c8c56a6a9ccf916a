//! Which single addresses the kernel holds, as far as this process knows, so that it need not ask.
//!
//! Listing a large set is slow: the kernel walks it from the beginning for every 32 KiB, which makes 100,000 elements a
//! matter of seconds. It counts, though, how often anybody changed any rule of the namespace; as long as that number is explained
//! by this process's own transactions, what it knows still holds. If not, everything is read back.

use std::collections::BTreeMap;
use std::time::Duration;

use log_format::time::Timestamp;

use super::inspect;
use super::netlink::{Netlink, NetlinkError};
use super::sets::{Holds, SetId};
use super::transaction::{Outcome, Want, Wish};
use super::wire::Place;

/// How long after its end an element may still be there: the clock of the caller is not the kernel's.
const DOUBT: Duration = Duration::from_secs(5);
/// How often everything is read again because somebody changed the rules meanwhile.
const MAX_READINGS: u32 = 8;

/// What is known of the kernel's sets.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// Single addresses, and when the kernel forgets them ([`Timestamp::MAX`]: never).
    addresses: BTreeMap<SetId, BTreeMap<u128, Timestamp>>,
    /// The count of foreign changes at which this was true; `None`: it is not known to be true.
    known_at: Option<u32>,
}

impl Mirror {
    /// Makes sure that everything is known: reads it back unless nobody else changed anything.
    pub(super) fn refresh(
        &mut self,
        netlink: &mut Netlink,
        place: Place<'_>,
        now: Timestamp,
    ) -> Result<(), NetlinkError> {
        self.forget_ended(now);
        let mut before = netlink.foreign_changes()?;
        if self.known_at == Some(before) {
            return Ok(());
        }
        for _ in 0..MAX_READINGS {
            self.read(netlink, place, now)?;
            let after = netlink.foreign_changes()?;
            if before == after {
                self.known_at = Some(after);
                return Ok(());
            }
            before = after;
        }
        Err(NetlinkError::Restless)
    }

    /// Says that nothing is known any more.
    pub(super) fn doubt(&mut self) {
        self.known_at = None;
    }

    /// The single addresses of a set, and when the kernel forgets them.
    pub(super) fn addresses(&self, set: SetId) -> impl Iterator<Item = (u128, Timestamp)> {
        let held = self.addresses.get(&set).into_iter().flatten();
        held.map(|(at, until)| (*at, *until))
    }

    /// When the kernel forgets an address of a set; `None`: it does not hold it.
    pub(super) fn end(&self, set: SetId, at: u128) -> Option<Timestamp> {
        self.addresses.get(&set)?.get(&at).copied()
    }

    /// Whether a set may hold an address.
    pub(super) fn may_hold(&self, set: SetId, at: u128) -> bool {
        self.known_at.is_none() || self.end(set, at).is_some()
    }

    /// How many more addresses a set takes. Zero is certain only if nothing in it has ended meanwhile.
    pub(super) fn room(&self, set: SetId) -> usize {
        let held = self.addresses.get(&set).map_or(0, BTreeMap::len);
        usize::try_from(set.size()).map_or(0, |size| size.saturating_sub(held))
    }

    /// Takes down what became of a wish about an address. (Ranges are few, and asked for when they are needed.)
    pub(super) fn note(&mut self, wish: &Wish, outcome: Outcome, now: Timestamp) {
        let Wish { set, range, want } = *wish;
        match set.holds() {
            Holds::Ranges => return,
            Holds::TimedAddresses | Holds::Addresses => {}
        }
        let held = self.addresses.entry(set).or_default();
        match (want, outcome) {
            (_, Outcome::Full) => {}
            (Want::Gone, _) => {
                held.remove(&range.first);
            }
            (Want::Added { timeout } | Want::Put { timeout }, _) => {
                held.insert(range.first, end_after(timeout, now));
            }
        }
    }

    /// Forgets what the kernel has surely forgotten.
    pub(super) fn forget_ended(&mut self, now: Timestamp) {
        for held in self.addresses.values_mut() {
            held.retain(|_, until| now < until.after(DOUBT));
        }
    }

    fn read(&mut self, netlink: &mut Netlink, place: Place<'_>, now: Timestamp) -> Result<(), NetlinkError> {
        self.doubt();
        for set in SetId::ALL {
            if set.holds() == Holds::Ranges {
                continue;
            }
            let held = inspect::addresses(netlink, place, set)?;
            let ends = held.into_iter().map(|(at, left)| (at, end_after(left, now)));
            self.addresses.insert(set, ends.collect());
        }
        Ok(())
    }
}

fn end_after(timeout: Option<Duration>, now: Timestamp) -> Timestamp {
    timeout.map_or(Timestamp::MAX, |timeout| now.after(timeout))
}

#[cfg(test)]
mod tests {
    use super::super::ranges::Range;
    use super::super::sets::{Family, List};
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);
    const BLOCKED: SetId = SetId::new(List::Blocked, Family::V4);
    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn wish(want: Want) -> Wish {
        let range = Range::single("0.0.0.7".parse().unwrap());
        Wish { set: BLOCKED, range, want }
    }

    #[test]
    fn what_is_not_known_may_be_there() {
        let mut mirror = Mirror::default();
        assert!(mirror.may_hold(BLOCKED, 7));
        mirror.known_at = Some(0);
        assert!(!mirror.may_hold(BLOCKED, 7));
        mirror.note(&wish(Want::Added { timeout: MINUTE }), Outcome::Added, NOW);
        assert!(mirror.may_hold(BLOCKED, 7));
        mirror.note(&wish(Want::Gone), Outcome::Removed, NOW);
        assert!(!mirror.may_hold(BLOCKED, 7));
    }

    #[test]
    fn what_found_no_room_is_not_there() {
        let mut mirror = Mirror::default();
        mirror.note(&wish(Want::Added { timeout: MINUTE }), Outcome::Full, NOW);
        assert_eq!(mirror.end(BLOCKED, 7), None);
    }

    #[test]
    fn an_ended_element_is_forgotten_when_there_is_no_doubt() {
        let mut mirror = Mirror::default();
        mirror.note(&wish(Want::Put { timeout: MINUTE }), Outcome::Renewed, NOW);
        mirror.forget_ended(NOW.after(Duration::from_secs(64)));
        assert_eq!(mirror.end(BLOCKED, 7), Some(Timestamp::from_seconds(1_060)));
        mirror.forget_ended(NOW.after(Duration::from_secs(65)));
        assert_eq!(mirror.end(BLOCKED, 7), None);
    }

    #[test]
    fn what_has_no_end_is_never_forgotten() {
        let mut mirror = Mirror::default();
        mirror.note(&wish(Want::Put { timeout: None }), Outcome::Renewed, NOW);
        mirror.forget_ended(Timestamp::from_seconds(u64::MAX / 2_000_000_000));
        assert_eq!(mirror.end(BLOCKED, 7), Some(Timestamp::MAX));
    }
}
