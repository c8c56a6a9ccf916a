//! Hashes under a secret: who does not know it cannot aim at a table's slot or at a filter's fingerprint.
//!
//! SipHash-1-3 gives the same value on every machine and in every release, so hosts that share the secret share proofs.

use std::hash::{BuildHasher, Hasher as _};
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

/// The secret of an engine.
#[derive(Clone, Copy)]
pub(crate) struct Key([u8; 16]);

impl Key {
    pub(crate) const fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// Starts the hash of something; `purpose` keeps hashes of different things apart.
    #[inline]
    pub(crate) fn hash(&self, purpose: Purpose) -> Hash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write_u8(purpose as u8);
        Hash(hasher)
    }
}

impl BuildHasher for Key {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// What is hashed.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Purpose {
    Transaction = 1,
    Attempt = 2,
    Account = 3,
    Nonce = 4,
    Tag = 5,
    Source = 6,
    User = 7,
    Branch = 8,
    Name = 9,
}

/// A hash under way.
pub(crate) struct Hash(SipHasher13);

impl Hash {
    /// Adds bytes with their length, so that parts cannot run into each other.
    #[inline]
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        self.0.write(bytes);
        self
    }

    /// Adds text whose case does not matter.
    pub(crate) fn lower_case(mut self, bytes: &[u8]) -> Self {
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        for byte in bytes {
            self.0.write_u8(byte.to_ascii_lowercase());
        }
        self
    }

    /// Adds an address.
    #[inline]
    pub(crate) fn address(mut self, address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        self.0.write(&octets);
        self
    }

    /// Adds a number.
    #[inline]
    pub(crate) fn number(mut self, number: u32) -> Self {
        self.0.write(&number.to_le_bytes());
        self
    }

    /// Adds a long number.
    #[inline]
    pub(crate) fn long(mut self, number: u64) -> Self {
        self.0.write(&number.to_le_bytes());
        self
    }

    #[inline]
    pub(crate) fn finish(self) -> u64 {
        self.0.finish()
    }
}
