//! Names whose addresses a host never drops: which addresses they have, by the last good answer.
//!
//! A resolver that fails must not take protection away: it may be a server on this very host, and is most likely to fail when everything
//! else does. So an answer holds for a day after it was last given, also across a restart. An answer that a resolver gives instead of none
//! (no address, or one that no packet can come from) is no good one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;

/// Names that a configuration may have: each is asked for every minute.
pub(crate) const MAX_NAMES: usize = 64;
/// Addresses of one name that are taken: pools of providers have a handful.
const MAX_ADDRESSES: usize = 32;
/// How long an answer holds after it was last given: long enough to mend a resolver, short enough that an address which was let go does not
/// stay protected.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// The last good answer for each name that has one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names(BTreeMap<String, Answer>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    addresses: BTreeSet<IpAddr>,
    at: Timestamp,
}

impl Names {
    /// What an earlier run knew of these names: a line each, with the name, the seconds since 1970 at which it was answered, and the
    /// addresses. What cannot be read is passed over.
    pub(crate) fn read(text: &str, names: &BTreeSet<String>) -> Self {
        let answer = |line: &str| {
            let mut words = line.split_whitespace();
            let name = words.next().filter(|name| names.contains(*name))?;
            let at = Timestamp::from_seconds(words.next()?.parse().ok()?);
            let addresses = good(words.filter_map(|word| word.parse().ok()));
            (!addresses.is_empty()).then(|| (name.to_owned(), Answer { addresses, at }))
        };
        Self(text.lines().filter_map(answer).collect())
    }

    /// What [`read`](Self::read) understands.
    pub(crate) fn write(&self) -> String {
        let line = |(name, answer): (&String, &Answer)| {
            let addresses: String = answer.addresses.iter().map(|address| format!(" {address}")).collect();
            format!("{name} {}{addresses}\n", answer.at.since(Timestamp::ZERO).as_secs())
        };
        self.0.iter().map(line).collect()
    }

    /// Takes an answer in. False: it is none, and what was known before holds.
    pub(crate) fn answered(
        &mut self,
        name: &str,
        addresses: impl Iterator<Item = IpAddr>,
        now: Timestamp,
    ) -> bool {
        let addresses = good(addresses);
        let is_good = !addresses.is_empty();
        if is_good {
            self.0.insert(name.to_owned(), Answer { addresses, at: now });
        }
        is_good
    }

    /// The addresses that hold now, each with its name.
    pub(crate) fn addresses(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, &str)> {
        let holding = self.0.iter().filter(move |(_, answer)| now.since(answer.at) < KEPT);
        holding.flat_map(|(name, answer)| answer.addresses.iter().map(|address| (*address, name.as_str())))
    }
}

/// Addresses that a packet from elsewhere can come from; `0.0.0.0` and the like are what some resolvers say instead of "no".
fn good(addresses: impl Iterator<Item = IpAddr>) -> BTreeSet<IpAddr> {
    addresses
        .map(projections::canonical)
        .filter(|address| !(address.is_unspecified() || address.is_loopback() || address.is_multicast()))
        .take(MAX_ADDRESSES)
        .collect()
}

/// Whether this is a name of a host (RFC 1123, 2.1): labels of letters, digits and hyphens, joined by dots, the last of them no number,
/// so that no slip in an address is taken for a name.
pub(crate) fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(is_label)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "trunk.example.net";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    fn addresses(texts: &[&str]) -> impl Iterator<Item = IpAddr> {
        let addresses: Vec<IpAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
        addresses.into_iter()
    }

    fn held(names: &Names, now: Timestamp) -> Vec<String> {
        names.addresses(now).map(|(address, name)| format!("{name} {address}")).collect()
    }

    #[test]
    fn the_last_good_answer_holds_for_a_day() {
        let mut names = Names::default();
        assert!(names.answered(NAME, addresses(&["192.0.2.1", "2001:db8::1"]), at(0)));
        assert!(names.answered(NAME, addresses(&["192.0.2.2"]), at(60)));
        for no_answer in [&[][..], &["0.0.0.0", "::"], &["127.0.0.1"], &["224.0.0.1"]] {
            assert!(!names.answered(NAME, addresses(no_answer), at(120)), "{no_answer:?}");
        }
        assert_eq!(held(&names, at(60 + 86_399)), ["trunk.example.net 192.0.2.2"]);
        assert_eq!(held(&names, at(60 + 86_400)), [""; 0]);
        // A clock that is set back takes nothing away.
        assert_eq!(held(&names, at(0)).len(), 1);
    }

    #[test]
    fn what_was_known_outlives_a_restart_for_names_that_are_still_named() {
        let mut names = Names::default();
        names.answered(NAME, addresses(&["192.0.2.1", "::ffff:192.0.2.7", "2001:db8::1"]), at(0));
        names.answered("gone.example.net", addresses(&["192.0.2.9"]), at(0));
        let written = format!("{}{NAME}\nnonsense\n{NAME} x 192.0.2.8\n{NAME} 7 nobody\n", names.write());
        let read = Names::read(&written, &BTreeSet::from([NAME.to_owned()]));
        assert_eq!(
            held(&read, at(10)),
            ["192.0.2.1", "192.0.2.7", "2001:db8::1"].map(|text| format!("{NAME} {text}"))
        );
        assert_eq!(held(&read, at(86_400)), [""; 0]);
    }

    #[test]
    fn no_more_addresses_are_taken_than_a_pool_has() {
        let mut names = Names::default();
        let many = (0..1_000_u32).map(|number| IpAddr::V4((0xc633_6400 + number).into()));
        assert!(names.answered(NAME, many, at(0)));
        assert_eq!(held(&names, at(0)).len(), MAX_ADDRESSES);
    }

    #[test]
    fn slips_in_addresses_are_no_names() {
        for name in ["trunk.example.net", "a-1.b", "xn--bcher-kva.example", "1.2.3.4x"] {
            assert!(is_name(name), "{name}");
        }
        let long = format!("{}.net", "a".repeat(64));
        for text in [
            "",
            "trunk",
            "192.0.2.300",
            "192.0.2.0/33",
            "a..b",
            "-a.net",
            "a-.net",
            "a b.net",
            "2001:db8::g",
            &long,
        ] {
            assert!(!is_name(text), "{text}");
        }
    }
}
