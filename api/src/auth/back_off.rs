//! Slows guessing down: by address, and for all addresses together. It delays and never locks, so that an attacker
//! cannot keep the administrator out; loopback has an allowance of its own for the same reason. Time is an argument.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::connections::Neighbourhood;

/// Attempts of one address before it has to wait: a person's slips.
const FREE_ATTEMPTS: u32 = 3;
/// The longest wait of one address.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// An address quiet for this long starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Addresses remembered; the oldest goes first. All addresses together are bounded by [`EVERYBODY`] as well.
const MOST_ADDRESSES: usize = 1_024;
/// Attempts at once of everybody beyond loopback.
const EVERYBODY: u32 = 60;
/// One more attempt for everybody this often: five hashes a second keep a core free.
const REFILL: Duration = Duration::from_millis(200);

/// Who tried, how often, when last.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    count: u32,
    last: Instant,
}

impl Attempts {
    fn wait(&self) -> Duration {
        match self.count.checked_sub(FREE_ATTEMPTS) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(16)).min(LONGEST_WAIT),
        }
    }
}

/// Who has to wait.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    by_address: BTreeMap<Neighbourhood, Attempts>,
    beyond_loopback: Allowance,
    loopback: Allowance,
}

impl BackOff {
    /// Counts an attempt, or says how long to wait. The attempt counts before its outcome is known, so that many at
    /// once are no way around.
    pub(super) fn admit(&mut self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let neighbourhood = Neighbourhood::of(from);
        self.by_address.retain(|_, attempts| now.saturating_duration_since(attempts.last) < FORGET_AFTER);
        let known = self.by_address.get(&neighbourhood).copied();
        if let Some(attempts) = known {
            let due = attempts.last + attempts.wait();
            if now < due {
                return Err(due - now);
            }
        }
        let allowance = if from.is_loopback() { &mut self.loopback } else { &mut self.beyond_loopback };
        allowance.take(now)?;
        self.make_room();
        let count = known.map_or(0, |attempts| attempts.count).saturating_add(1);
        self.by_address.insert(neighbourhood, Attempts { count, last: now });
        Ok(())
    }

    /// Forgets the attempts of an address that got in.
    pub(super) fn forgive(&mut self, address: IpAddr) {
        self.by_address.remove(&Neighbourhood::of(address));
    }

    fn make_room(&mut self) {
        if MOST_ADDRESSES <= self.by_address.len() {
            let oldest =
                self.by_address.iter().min_by_key(|(_, attempts)| attempts.last).map(|(key, _)| *key);
            oldest.map(|key| self.by_address.remove(&key));
        }
    }
}

/// A bucket of attempts that fills up with time.
#[derive(Debug, Default)]
struct Allowance {
    /// When the bucket would be full again; `None`: nothing was taken yet.
    full_at: Option<Instant>,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + REFILL;
        let lacking = full_at - now;
        match lacking.checked_sub(REFILL * EVERYBODY) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                self.full_at = Some(full_at);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, number])
    }

    #[test]
    fn the_fourth_attempt_waits_and_each_further_one_longer() {
        let (mut back_off, start) = (BackOff::default(), Instant::now());
        for _ in 0..FREE_ATTEMPTS {
            assert_eq!(back_off.admit(address(1), start), Ok(()));
        }
        assert_eq!(back_off.admit(address(1), start), Err(Duration::from_secs(1)));
        let mut now = start;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            now += Duration::from_secs(wait);
            assert_eq!(back_off.admit(address(1), now), Ok(()), "after {wait} s");
        }
        assert_eq!(back_off.admit(address(2), now), Ok(()), "another address does not wait");
        assert_eq!(back_off.admit(address(1), now + FORGET_AFTER), Ok(()));
    }

    #[test]
    fn everybody_together_waits_and_loopback_does_not_wait_for_them() {
        let (mut back_off, start) = (BackOff::default(), Instant::now());
        for number in 0..u8::try_from(EVERYBODY).unwrap() {
            assert_eq!(back_off.admit(address(number), start), Ok(()));
        }
        assert_eq!(back_off.admit(address(200), start), Err(REFILL));
        assert_eq!(back_off.admit(IpAddr::from([127, 0, 0, 1]), start), Ok(()));
        assert_eq!(back_off.admit(address(200), start + REFILL), Ok(()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let (mut back_off, start) = (BackOff::default(), Instant::now());
        for host in 0..3 {
            let address = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]);
            assert_eq!(back_off.admit(address, start), Ok(()));
        }
        assert!(back_off.admit(IpAddr::from([0x2001, 0xdb8, 0, 0, 9, 9, 9, 9]), start).is_err());
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let (mut back_off, mut now) = (BackOff::default(), Instant::now());
        for number in 0..u32::try_from(MOST_ADDRESSES).unwrap() + 100 {
            now += REFILL;
            assert_eq!(back_off.admit(IpAddr::from(number.to_be_bytes()), now), Ok(()));
        }
        assert_eq!(back_off.by_address.len(), MOST_ADDRESSES);
    }
}
