//! Hashes under a secret: who does not know it cannot aim at a table's slot or at a filter's fingerprint.
//!
//! SipHash-1-3 over whole words of eight bytes (J.-P. Aumasson, D. J. Bernstein, 2012): what is hashed here are numbers, addresses and
//! short texts, and a word at a time costs a nanosecond. It gives the same value on every machine and in every release, so hosts that
//! share the secret share proofs.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

/// The secret of an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    first: u64,
    second: u64,
}

impl Key {
    pub(crate) const fn new(secret: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = secret;
        Self { first: u64::from_le_bytes([a, b, c, d, e, f, g, h]), second: u64::from_le_bytes(rest) }
    }

    /// Starts the hash of something; `purpose` keeps hashes of different things apart.
    #[inline]
    pub(crate) const fn hash(&self, purpose: Purpose) -> Hash {
        Hash(SipHash::new(*self)).long(purpose as u64)
    }
}

impl BuildHasher for Key {
    type Hasher = SipHash;

    #[inline]
    fn build_hasher(&self) -> SipHash {
        SipHash::new(*self)
    }
}

/// For tables whose keys are hashes under the secret already: they are not hashed once more.
#[derive(Clone, Copy)]
pub(crate) struct Hashed;

impl BuildHasher for Hashed {
    type Hasher = AsItIs;

    #[inline]
    fn build_hasher(&self) -> AsItIs {
        AsItIs(0)
    }
}

/// Gives back the number that it is given.
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
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
    Echo = 10,
    SharedNonce = 11,
}

/// The state of a hash.
#[derive(Clone, Copy)]
pub(crate) struct SipHash {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    /// Bytes so far; whole words, so it is a multiple of eight.
    length: u64,
}

impl SipHash {
    const fn new(key: Key) -> Self {
        Self {
            v0: key.first ^ 0x736f_6d65_7073_6575,
            v1: key.second ^ 0x646f_7261_6e64_6f6d,
            v2: key.first ^ 0x6c79_6765_6e65_7261,
            v3: key.second ^ 0x7465_6462_7974_6573,
            length: 0,
        }
    }

    #[inline]
    const fn round(mut self) -> Self {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32).wrapping_add(self.v3);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
        self
    }

    #[inline]
    const fn word(mut self, word: u64) -> Self {
        self.length = self.length.wrapping_add(8);
        self.v3 ^= word;
        self = self.round();
        self.v0 ^= word;
        self
    }

    /// Whole words, then what is left, filled up with zeros.
    #[inline]
    fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self = self.word(u64::from_le_bytes(*word));
        }
        if rest.is_empty() {
            return self;
        }
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.word(last)
    }

    #[inline]
    const fn end(self) -> u64 {
        let mut state = self.word(self.length << 56);
        state.v2 ^= 0xff;
        state = state.round().round().round();
        state.v0 ^ state.v1 ^ state.v2 ^ state.v3
    }
}

impl Hasher for SipHash {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        *self = self.bytes(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        *self = self.word(u64::from(number));
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        *self = self.word(u64::from(number));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        *self = self.word(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        *self = self.word(number);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.end()
    }
}

/// A hash under way.
#[derive(Clone, Copy)]
pub(crate) struct Hash(SipHash);

impl Hash {
    /// Adds bytes with their length, so that parts cannot run into each other.
    #[inline]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        Self(self.0.word(bytes.len() as u64).bytes(bytes))
    }

    /// Adds text whose case does not matter.
    pub(crate) fn lower_case(self, bytes: &[u8]) -> Self {
        let mut state = self.0.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(chunk) {
                *place = byte.to_ascii_lowercase();
            }
            state = state.word(u64::from_le_bytes(word));
        }
        Self(state)
    }

    /// Adds an address; an IPv4 address takes one word, an IPv6 address two.
    #[inline]
    pub(crate) fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.long(u64::from(v4.to_bits()) | 4 << 32),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                self.long((bits >> 64) as u64).long(bits as u64)
            }
        }
    }

    /// Adds a number.
    #[inline]
    pub(crate) const fn number(self, number: u32) -> Self {
        self.long(number as u64)
    }

    /// Adds a long number.
    #[inline]
    pub(crate) const fn long(self, number: u64) -> Self {
        Self(self.0.word(number))
    }

    #[inline]
    pub(crate) const fn finish(self) -> u64 {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    proptest! {
        #[test]
        fn whole_words_give_what_siphash_1_3_gives(secret: [u8; 16], words: Vec<u64>) {
            let mut reference = SipHasher13::new_with_key(&secret);
            let mut own = Key::new(secret).build_hasher();
            for word in &words {
                reference.write(&word.to_le_bytes());
                own.write_u64(*word);
            }
            prop_assert_eq!(own.finish(), reference.finish());
        }

        #[test]
        fn parts_do_not_run_into_each_other(left: Vec<u8>, right: Vec<u8>) {
            let key = Key::new([1; 16]);
            let of = |parts: [&[u8]; 2]| {
                let [first, second] = parts;
                key.hash(Purpose::Name).bytes(first).bytes(second).finish()
            };
            let joined = [&left[..], &right].concat();
            if !right.is_empty() {
                prop_assert_ne!(of([&left, &right]), of([&joined, &[]]));
            }
        }

        #[test]
        fn case_makes_no_difference_where_it_should_not(text in "[a-zA-Z0-9.]{0,40}") {
            let key = Key::new([1; 16]);
            let of = |text: &str| key.hash(Purpose::Name).lower_case(text.as_bytes()).finish();
            prop_assert_eq!(of(&text), of(&text.to_ascii_uppercase()));
        }
    }
}
