//! Canonical bytes of a state, straight into SHA-256: equal states give equal hashes on every host, for ever.
//!
//! Numbers are little-endian, variants carry a number, collections their length first, so no two states share
//! their bytes. Structs are taken apart field by field: a field that is added does not compile until it is
//! hashed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use log_format::event::{
    Actor, AttackKind, EnforcementMode, Evidence, HostRole, PortRange, Rule, RuleMode, Sanction, Scope, Text,
};
use log_format::ids::{
    BlockId, ChapterNumber, CommandId, HostId, Incarnation, JoinTokenId, LogIndex, OriginSequence, Position,
};
use log_format::time::Timestamp;
use sha2::{Digest, Sha256};

/// Bytes gathered before they are hashed: fields have few each, and a call for each would cost more than the hash.
const GATHERED: usize = 4096;

/// Takes canonical bytes in.
#[derive(Debug)]
pub(crate) struct CanonicalHasher {
    hash: Sha256,
    waiting: Vec<u8>,
}

impl CanonicalHasher {
    /// The hash of the bytes that are put into it.
    pub(crate) fn of(put: impl FnOnce(&mut Self)) -> [u8; 32] {
        let mut out = Self { hash: Sha256::new(), waiting: Vec::new() };
        put(&mut out);
        out.hash.update(&out.waiting);
        out.hash.finalize().into()
    }

    fn update(&mut self, bytes: &[u8]) {
        if GATHERED < self.waiting.len() + bytes.len() {
            self.hash.update(&self.waiting);
            self.waiting.clear();
        }
        self.waiting.extend_from_slice(bytes);
    }
}

/// A value with canonical bytes.
pub(crate) trait Canonical {
    /// Adds the value's bytes.
    fn put(&self, out: &mut CanonicalHasher);
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Canonical for $number {
            fn put(&self, out: &mut CanonicalHasher) {
                out.update(&self.to_le_bytes());
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64);

macro_rules! wrapped {
    ($($name:ty),*) => {$(
        impl Canonical for $name {
            fn put(&self, out: &mut CanonicalHasher) {
                self.get().put(out);
            }
        }
    )*};
}
wrapped!(BlockId, ChapterNumber, CommandId, HostId, Incarnation, JoinTokenId, LogIndex, OriginSequence);

impl Canonical for usize {
    fn put(&self, out: &mut CanonicalHasher) {
        u64::try_from(*self).unwrap_or(u64::MAX).put(out);
    }
}

impl Canonical for bool {
    fn put(&self, out: &mut CanonicalHasher) {
        u8::from(*self).put(out);
    }
}

impl Canonical for () {
    fn put(&self, _out: &mut CanonicalHasher) {}
}

impl<const N: usize> Canonical for [u8; N] {
    fn put(&self, out: &mut CanonicalHasher) {
        out.update(self);
    }
}

impl Canonical for Timestamp {
    fn put(&self, out: &mut CanonicalHasher) {
        self.nanos().put(out);
    }
}

impl Canonical for Position {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { index, ordinal } = self;
        index.put(out);
        ordinal.put(out);
    }
}

impl Canonical for IpAddr {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            Self::V4(address) => {
                4_u8.put(out);
                out.update(&address.octets());
            }
            Self::V6(address) => {
                6_u8.put(out);
                out.update(&address.octets());
            }
        }
    }
}

impl Canonical for SocketAddr {
    fn put(&self, out: &mut CanonicalHasher) {
        self.ip().put(out);
        self.port().put(out);
    }
}

impl Canonical for HostRole {
    fn put(&self, out: &mut CanonicalHasher) {
        self.name().put(out);
    }
}

impl Canonical for IpNet {
    fn put(&self, out: &mut CanonicalHasher) {
        self.addr().put(out);
        self.prefix_len().put(out);
    }
}

impl Canonical for Text {
    fn put(&self, out: &mut CanonicalHasher) {
        self.as_bytes().len().put(out);
        out.update(self.as_bytes());
    }
}

impl Canonical for str {
    fn put(&self, out: &mut CanonicalHasher) {
        self.len().put(out);
        out.update(self.as_bytes());
    }
}

impl Canonical for Actor {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            Self::System => 0_u8.put(out),
            Self::Administrator(name) => {
                1_u8.put(out);
                name.put(out);
            }
        }
    }
}

impl Canonical for AttackKind {
    fn put(&self, out: &mut CanonicalHasher) {
        self.name().put(out);
    }
}

impl Canonical for Rule {
    fn put(&self, out: &mut CanonicalHasher) {
        self.name().put(out);
    }
}

impl Canonical for Evidence {
    fn put(&self, out: &mut CanonicalHasher) {
        self.name().put(out);
    }
}

impl Canonical for Sanction {
    fn put(&self, out: &mut CanonicalHasher) {
        self.name().put(out);
    }
}

impl Canonical for Scope {
    fn put(&self, out: &mut CanonicalHasher) {
        self.name().put(out);
        match self {
            Self::Address => {}
            Self::AddressPort(port) => port.put(out),
            Self::Prefix(length) => length.put(out),
        }
    }
}

impl Canonical for PortRange {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { first, last } = self;
        first.put(out);
        last.put(out);
    }
}

impl Canonical for EnforcementMode {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            Self::Block => 0_u8.put(out),
            Self::Watch => 1_u8.put(out),
        }
    }
}

impl Canonical for RuleMode {
    fn put(&self, out: &mut CanonicalHasher) {
        self.name().put(out);
    }
}

impl<T: Canonical> Canonical for Option<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            None => 0_u8.put(out),
            Some(value) => {
                1_u8.put(out);
                value.put(out);
            }
        }
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }
}

impl<T: Canonical> Canonical for VecDeque<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }
}

impl<T: Canonical> Canonical for BTreeSet<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }
}

impl<K: Canonical, V: Canonical> Canonical for BTreeMap<K, V> {
    fn put(&self, out: &mut CanonicalHasher) {
        self.len().put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
}

impl<A: Canonical, B: Canonical> Canonical for (A, B) {
    fn put(&self, out: &mut CanonicalHasher) {
        self.0.put(out);
        self.1.put(out);
    }
}
