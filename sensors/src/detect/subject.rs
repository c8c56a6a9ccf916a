//! Whom counts are about.

use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one address of a /64 has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subject(u64);

impl Subject {
    /// Whom a canonical address belongs to.
    #[inline]
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            // The prefix ::/32, to which these numbers would belong, is nobody's (RFC 4291, 2.5.5).
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64),
        }
    }

    /// The lower half of an IPv6 address: which of the subject's addresses it is.
    pub(crate) fn host(address: IpAddr) -> Option<u64> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(low_half(v6)),
        }
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

fn low_half(address: Ipv6Addr) -> u64 {
    (address.to_bits() & u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::of(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_64_are_one_subject_and_ipv4_addresses_are_their_own() {
        assert_eq!(subject("2001:db8::1"), subject("2001:db8::ffff:2"));
        assert_ne!(subject("2001:db8::1"), subject("2001:db8:0:1::1"));
        assert_ne!(subject("192.0.2.1"), subject("192.0.2.2"));
        assert_eq!(Subject::host("2001:db8::7".parse().unwrap()), Some(7));
    }
}
