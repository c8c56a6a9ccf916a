//! The prefix-walk rule: one far number behind changing prefixes. Who looks for the way out of a PBX tries `00`, `900`, `9011`, `+` and so
//! on before the same number; people do not.

use std::net::IpAddr;

use log_format::time::Timestamp;

use super::Subject;
use crate::keyed::{Key, Purpose};
use crate::policy::Limit;
use crate::table::{Fill, Table};

/// The end of a number that stays the same: a national number is about that long.
const SUFFIX: usize = 9;
/// Digits of a number at most, prefixes included: E.164 has fifteen.
const LONGEST: usize = 32;
/// Pairs of source and number that are held.
const CAPACITY: usize = 32_768;
/// Prefixes that are told apart.
const PREFIXES: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    began: Timestamp,
    prefixes: [u32; PREFIXES],
    count: u8,
    proven: u8,
}

/// What a source tried before a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) prefixes: u32,
    pub(crate) is_proven: bool,
}

pub(crate) struct PrefixWalk {
    key: Key,
    walks: Table<u64, Walk>,
}

impl PrefixWalk {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, walks: Table::new(CAPACITY, key) }
    }

    /// A source called this user in vain; `is_proven` if it received the answer. Says when it tried too many prefixes. What others of its
    /// network received is no proof of where it is itself.
    pub(crate) fn called(
        &mut self,
        source: IpAddr,
        (user, is_proven): (&[u8], bool),
        limit: Limit,
        now: Timestamp,
    ) -> Option<Walked> {
        let number = Number::read(user)?;
        let (prefix, suffix) = number.split()?;
        let hash = self.key.hash(Purpose::Name).long(network_of(source)).bytes(suffix).finish();
        let prefix = (self.key.hash(Purpose::Name).bytes(prefix).finish() as u32).max(1);
        let walk = self.walks.entry(hash)?;
        if walk.count == 0 || limit.within <= now.since(walk.began) {
            *walk = Walk { began: now, ..Walk::default() };
        }
        let known = walk.prefixes.iter().take(usize::from(walk.count)).position(|known| *known == prefix);
        let place = known.or_else(|| {
            let place = usize::from(walk.count);
            *walk.prefixes.get_mut(place)? = prefix;
            walk.count += 1;
            Some(place)
        });
        if let (true, Some(place)) = (is_proven, place) {
            walk.proven |= 1 << place;
        }
        let limit = limit.count.clamp(1, PREFIXES as u32);
        let prefixes = u32::from(walk.count);
        (limit <= prefixes)
            .then(|| Walked { prefixes, is_proven: is_proven && limit <= walk.proven.count_ones() })
    }

    /// How full it is.
    pub(crate) fn fill(&self) -> Fill {
        self.walks.fill()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.walks.evicted()
    }
}

/// A caller may send each call from another address of its network.
fn network_of(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(v4) => u64::from(v4.to_bits() & 0xffff_ff00),
        IpAddr::V6(_) => Subject::of(source).number(),
    }
}

/// A user part that is a telephone number, without what people put between the digits, without parameters (RFC 3966, 3) and escapes
/// (RFC 3261, 19.1.2).
struct Number {
    digits: [u8; LONGEST],
    length: usize,
}

impl Number {
    fn read(user: &[u8]) -> Option<Self> {
        let mut number = Self { digits: [0; LONGEST], length: 0 };
        let mut rest = user;
        while let [first, after @ ..] = rest {
            let byte = match (first, after) {
                (b'%', [high, low, after @ ..]) => {
                    rest = after;
                    hex(*high)? << 4 | hex(*low)?
                }
                _ => {
                    rest = after;
                    *first
                }
            };
            match byte {
                b'0'..=b'9' | b'+' | b'#' | b'*' => {
                    *number.digits.get_mut(number.length)? = byte;
                    number.length += 1;
                }
                b'-' | b'.' | b'(' | b')' => {}
                b';' if 0 < number.length => break,
                _ => return None,
            }
        }
        Some(number)
    }

    /// Prefix and suffix of a number that is long enough to have both.
    fn split(&self) -> Option<(&[u8], &[u8])> {
        let digits = self.digits.get(..self.length)?;
        let (prefix, suffix) = digits.split_at_checked(self.length.checked_sub(SUFFIX)?)?;
        suffix.iter().all(u8::is_ascii_digit).then_some((prefix, suffix))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Whether a user part is a number in a far country, as seen from anywhere: behind `+`, or behind the `00` or `011` with which one dials
/// out of a country, and whatever a PBX wants before that.
pub(crate) fn is_far(user: &[u8]) -> bool {
    let Some(number) = Number::read(user) else { return false };
    let digits = number.digits.get(..number.length).unwrap_or_default();
    let is_long = 11 <= digits.len();
    let after_exit = |exit: &[u8]| {
        // At most three digits for the way out of the PBX.
        (0..=3).any(|skipped| digits.get(skipped..).is_some_and(|rest| rest.starts_with(exit)))
    };
    is_long && (after_exit(b"+") || after_exit(b"00") || after_exit(b"011"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: Limit = Limit { count: 3, within: Duration::from_secs(3_600) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    #[test]
    fn what_a_neighbour_has_received_proves_nothing() {
        let mut rule = PrefixWalk::new(Key::new([1; 16]));
        let mut call = |source: &str, prefix: &str, is_proven| {
            let user = format!("{prefix}442039967796");
            rule.called(source.parse().unwrap(), (user.as_bytes(), is_proven), LIMIT, at(0))
        };
        for prefix in ["0", "00", "000"] {
            call("192.0.2.102", prefix, true);
        }
        let forged = call("192.0.2.200", "0", false);
        assert_eq!(forged, Some(Walked { prefixes: 3, is_proven: false }));
        assert_eq!(call("192.0.2.102", "9", true), Some(Walked { prefixes: 4, is_proven: true }));
    }

    #[test]
    fn parameters_and_escapes_hide_no_number() {
        for user in ["00442079460958", "%30%30442079460958", "00442079460958;phone-context=x", "+44 20"] {
            assert_eq!(is_far(user.as_bytes()), user != "+44 20", "{user}");
        }
        assert!(!is_far(b"%zz0442079460958"));
        assert!(!is_far(b";x=00442079460958"));
    }

    #[test]
    fn three_prefixes_before_one_number_are_a_walk_however_slow() {
        let mut rule = PrefixWalk::new(Key::new([1; 16]));
        let source: IpAddr = "20.77.253.72".parse().unwrap();
        let mut call = |user: &str, second| rule.called(source, (user.as_bytes(), true), LIMIT, at(second));
        assert_eq!(call("824810441519471629", 0), None);
        assert_eq!(call("824810441519471629", 20), None, "the same again");
        assert_eq!(call("825810441519471629", 35), None);
        let walked = call("826810441519471629", 70);
        assert_eq!(walked, Some(Walked { prefixes: 3, is_proven: true }));
        assert_eq!(call("826810441519471620", 71), None, "another number");
        assert_eq!(call("827810441519471629", 3_700), None, "an hour later it begins anew");
    }

    #[test]
    fn a_walk_that_is_not_shown_to_be_heard_is_unproven_until_it_is() {
        let mut rule = PrefixWalk::new(Key::new([1; 16]));
        let source: IpAddr = "20.77.253.72".parse().unwrap();
        for prefix in ["0", "00", "000"] {
            rule.called(source, (format!("{prefix}44203996779").as_bytes(), false), LIMIT, at(0));
        }
        let seen: Vec<bool> = ["0", "00", "000"]
            .iter()
            .filter_map(|prefix| {
                rule.called(source, (format!("{prefix}44203996779").as_bytes(), true), LIMIT, at(1))
            })
            .map(|walked| walked.is_proven)
            .collect();
        assert_eq!(seen, [false, false, true]);
    }

    #[test]
    fn far_numbers_are_told_from_extensions_and_names() {
        for far in
            ["+442039967796", "00442039967796", "9011442039967796", "000442039967796", "+44(20)3996-7796"]
        {
            assert!(is_far(far.as_bytes()), "{far}");
        }
        for near in ["1001", "alice", "2039967796", "", "00", "sip-trunk-0044", "1234567890123"] {
            assert!(!is_far(near.as_bytes()), "{near}");
        }
    }
}
