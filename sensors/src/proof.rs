//! Return-path proof: who answers with a nonce, or a tag, has received the packet that carried it.
//!
//! The victim's challenge went to the source's address; credentials that echo its nonce show that the source reads what is sent
//! there. A blind forger of UDP source addresses cannot do that. Nonces are kept as 32-bit fingerprints in cuckoo filters of
//! four-slot buckets: two generations, so that a nonce is known for five to ten minutes, which covers the lifetimes that
//! registrars give them. The chance that a made-up nonce is taken for a known one is below 4 in 10^9; a Bloom filter's 8 in
//! 1,000 would let a forger with 60,000 tries convict an innocent address.
//!
//! A nonce that the victim gives to others too proves nothing: whoever has asked for himself can echo it in anybody's name. Kamailio, as it is
//! installed, gives one nonce to everybody within a second, and then another. So each address's latest nonce is looked at when the next
//! challenge goes out, from that or another address of the same server; a proxy that passes on what it was given shares nothing. What is
//! given out where this sensor does not look is not seen.
//!
//! Tags of SER, Kamailio and OpenSIPS prove nothing: they are made of the server's address and the request alone, so that whoever can
//! reckon, or asks once for himself, needs no answer.
//!
//! It proves nothing against somebody on the path, nor where the network lets packets in from outside with the victim's own address.

use std::net::IpAddr;
use std::time::Duration;

use log_format::time::Timestamp;

use crate::detect::Subject;
use crate::keyed::{Key, Purpose};
use crate::table::Fill;

/// How long a generation takes in nonces: Kamailio's nonces live that long, Asterisk's 32 seconds.
const GENERATION: Duration = Duration::from_secs(300);
const SLOTS: usize = 4;
/// Fingerprints moved to make room for one; buckets of four take 95 % of their slots within fewer.
const MAX_KICKS: usize = 128;

/// Digits of the constant part of a tag that SER and its descendants make.
const CONSTANT_DIGITS: usize = 32;

/// Victims, and nonces of theirs, that are told apart when nonces are compared; those that share a place push each other out.
const PLACES: usize = 1_024;

type Bucket = [u32; SLOTS];

/// What credentials with a nonce show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Nothing: the victim did not lately send this nonce to this source.
    Nothing,
    /// The victim sent it to this source, and to others.
    Shared,
    /// The source received what the victim sent to it alone.
    Own,
}

/// A nonce that was given out.
#[derive(Clone, Copy)]
struct Given {
    /// Its hash.
    nonce: u64,
    by: Subject,
    to: Subject,
}

/// The nonces that victims gave out last.
struct LatestNonces {
    by_nonce: Vec<Option<Given>>,
    by_victim: Vec<Option<Given>>,
}

impl LatestNonces {
    fn new() -> Self {
        Self { by_nonce: vec![None; PLACES], by_victim: vec![None; PLACES] }
    }

    /// Notes what was given out. Says whether somebody else was given the same just before: whoever gave it has not given out another
    /// nonce since. Who passes a nonce on has been given it himself, before this packet or, where an answer is sent again, behind it.
    fn is_shared(&mut self, given: Given) -> bool {
        let Given { nonce, by, to } = given;
        let elsewhere = self.by_nonce.get_mut(place(nonce)).and_then(|place| place.replace(given));
        let elsewhere = elsewhere.filter(|before| self.latest(before.by) == Some(nonce));
        let here = self.by_victim.get_mut(place_of(by)).and_then(|place| place.replace(given));
        let here = here.filter(|before| before.by == by);
        [here, elsewhere]
            .into_iter()
            .flatten()
            .any(|before| before.nonce == nonce && before.to != to && before.to != by && before.by != to)
    }

    fn latest(&self, victim: Subject) -> Option<u64> {
        let latest = self.by_victim.get(place_of(victim)).copied().flatten();
        latest.filter(|latest| latest.by == victim).map(|latest| latest.nonce)
    }
}

fn place(hash: u64) -> usize {
    hash as usize % PLACES
}

/// Victims are not for others to choose, so this need be no secret.
fn place_of(victim: Subject) -> usize {
    (victim.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % PLACES
}

/// How many nonces a generation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterSize {
    buckets: usize,
}

impl FilterSize {
    /// Room for this many nonces in 300 seconds, at most 16 million (64 MiB a generation). The pages are taken from the system as
    /// nonces come in, so a size costs an idle host nothing.
    pub fn for_nonces(nonces: usize) -> Self {
        // Full filters lose nonces: a tenth stays free.
        let slots = nonces.clamp(SLOTS, 16_000_000) / 9 * 10 + SLOTS;
        Self { buckets: (slots / SLOTS).next_power_of_two() }
    }

    /// Nonces with which a generation is full: nine slots of ten.
    const fn nonces(self) -> usize {
        self.buckets * SLOTS / 10 * 9
    }
}

impl Default for FilterSize {
    /// 900,000 nonces: 3,000 challenges a second, in 4 MiB a generation.
    fn default() -> Self {
        Self::for_nonces(900_000)
    }
}

/// Which nonces were sent to whom.
pub(crate) struct NonceEcho {
    key: Key,
    current: Filter,
    previous: Filter,
    started: Timestamp,
    size: FilterSize,
    /// Fingerprints in the current generation.
    held: usize,
    lost: u64,
    latest: LatestNonces,
    /// When a nonce was last given to a second source.
    shared: Option<Timestamp>,
}

impl NonceEcho {
    pub(crate) fn new(size: FilterSize, key: Key) -> Self {
        Self {
            key,
            current: Filter::new(size),
            previous: Filter::new(size),
            started: Timestamp::ZERO,
            size,
            held: 0,
            lost: 0,
            latest: LatestNonces::new(),
            shared: None,
        }
    }

    /// Notes that a victim sent a nonce to a source.
    pub(crate) fn sent(&mut self, to: IpAddr, by: IpAddr, nonce: &[u8], now: Timestamp) {
        self.turn(now);
        let nonce = self.nonce_hash(nonce);
        self.note(self.pair_hash(to, by, nonce));
        let given = Given { nonce, by: Subject::of(by), to: Subject::of(to) };
        if self.latest.is_shared(given) {
            self.shared = Some(now);
            self.note(self.shared_hash(nonce));
        }
    }

    /// What it shows that a source has credentials with this nonce for this victim.
    pub(crate) fn echo(&mut self, from: IpAddr, to: IpAddr, nonce: &[u8], now: Timestamp) -> Echo {
        self.turn(now);
        let nonce = self.nonce_hash(nonce);
        if !self.has(self.pair_hash(from, to, nonce)) {
            return Echo::Nothing;
        }
        let is_any_shared = self.shared.is_some_and(|shared| now.since(shared) < GENERATION * 2);
        if is_any_shared && self.has(self.shared_hash(nonce)) { Echo::Shared } else { Echo::Own }
    }

    /// Notes that a victim sent its tag of a call to a source: who knows it has received the answer (RFC 3261, 12.1.1).
    pub(crate) fn sent_tag(&mut self, to: IpAddr, by: IpAddr, tag: &[u8], now: Timestamp) {
        if !is_reckoned(tag) {
            self.turn(now);
            self.note(self.tag_hash(to, by, tag));
        }
    }

    /// Whether the victim sent this tag to this source within the last minutes.
    pub(crate) fn is_tag_echo(&mut self, from: IpAddr, to: IpAddr, tag: &[u8], now: Timestamp) -> bool {
        self.turn(now);
        self.has(self.tag_hash(from, to, tag))
    }

    /// How full the current generation is.
    pub(crate) const fn fill(&self) -> Fill {
        Fill { held: self.held, capacity: self.size.nonces() }
    }

    /// Fingerprints lost because a generation was full: their echoes count as unproven.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    fn nonce_hash(&self, nonce: &[u8]) -> u64 {
        self.key.hash(Purpose::Nonce).bytes(nonce).finish()
    }

    fn pair_hash(&self, source: IpAddr, victim: IpAddr, nonce: u64) -> u64 {
        self.key.hash(Purpose::Echo).address(source).address(victim).long(nonce).finish()
    }

    fn shared_hash(&self, nonce: u64) -> u64 {
        self.key.hash(Purpose::SharedNonce).long(nonce).finish()
    }

    fn has(&self, hash: u64) -> bool {
        self.current.has(hash) || self.previous.has(hash)
    }

    fn tag_hash(&self, source: IpAddr, victim: IpAddr, tag: &[u8]) -> u64 {
        self.key.hash(Purpose::Tag).address(source).address(victim).bytes(tag).finish()
    }

    fn note(&mut self, hash: u64) {
        match self.current.insert(hash) {
            Inserted::Known => {}
            Inserted::New => self.held += 1,
            Inserted::Lost => (self.held, self.lost) = (self.held + 1, self.lost + 1),
        }
    }

    /// Starts a new generation when it is time, or when the old one is full: under a flood of challenges the last minutes' nonces are
    /// worth more than the first ones.
    fn turn(&mut self, now: Timestamp) {
        let age = now.since(self.started);
        if age < GENERATION && self.held < self.size.nonces() {
            return;
        }
        let fresh = Filter::new(self.size);
        let ended = std::mem::replace(&mut self.current, fresh);
        self.previous = if age < GENERATION * 2 { ended } else { Filter::new(self.size) };
        self.started = now;
        self.held = 0;
    }
}

/// Whether anybody can tell this tag beforehand: the MD5 of the server's name and address, a separator and a checksum of the request's Via
/// and Call-ID (Kamailio 5.6: the same for every source).
fn is_reckoned(tag: &[u8]) -> bool {
    let Some((constant, [separator, checksum @ ..])) = tag.split_at_checked(CONSTANT_DIGITS) else {
        return false;
    };
    let is_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    is_hex(constant)
        && matches!(separator, b'.' | b'-')
        && matches!(checksum.len(), 4..=8)
        && is_hex(checksum)
}

/// What became of a fingerprint.
enum Inserted {
    Known,
    New,
    /// It, or another one, was lost for want of room.
    Lost,
}

/// A cuckoo filter: a fingerprint lies in one of two buckets, each found from the other and the fingerprint. Zero is a free slot.
///
/// A bucket that is full stays full, and a fingerprint goes to its second bucket only when the first is full: while the first has room there
/// is nothing to look for in the second.
struct Filter {
    buckets: Vec<Bucket>,
    /// Nothing was put in: its pages need not be touched.
    is_empty: bool,
}

impl Filter {
    fn new(size: FilterSize) -> Self {
        Self { buckets: vec![[0; SLOTS]; size.buckets], is_empty: true }
    }

    fn has(&self, hash: u64) -> bool {
        if self.is_empty {
            return false;
        }
        let (fingerprint, place) = self.split(hash);
        let first = self.bucket(place);
        first.contains(&fingerprint)
            || (!first.contains(&0) && self.bucket(self.other(place, fingerprint)).contains(&fingerprint))
    }

    /// Puts a fingerprint in.
    fn insert(&mut self, hash: u64) -> Inserted {
        self.is_empty = false;
        let (mut fingerprint, first) = self.split(hash);
        if self.bucket(first).contains(&fingerprint) {
            return Inserted::Known;
        }
        if self.put(first, fingerprint) {
            return Inserted::New;
        }
        let mut place = self.other(first, fingerprint);
        if self.bucket(place).contains(&fingerprint) {
            return Inserted::Known;
        }
        if self.put(place, fingerprint) {
            return Inserted::New;
        }
        for kick in 0..MAX_KICKS {
            fingerprint = self.swap(place, kick % SLOTS, fingerprint);
            place = self.other(place, fingerprint);
            if self.put(place, fingerprint) {
                return Inserted::New;
            }
        }
        Inserted::Lost
    }

    /// The fingerprint and its first bucket, from different bits of the hash.
    fn split(&self, hash: u64) -> (u32, usize) {
        let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
        (u32::from_le_bytes([a, b, c, d]).max(1), u32::from_le_bytes([e, f, g, h]) as usize & self.mask())
    }

    fn other(&self, place: usize, fingerprint: u32) -> usize {
        (place ^ fingerprint.wrapping_mul(0x5bd1_e995) as usize) & self.mask()
    }

    /// The number of buckets is a power of two.
    fn mask(&self) -> usize {
        self.buckets.len() - 1
    }

    fn bucket(&self, place: usize) -> Bucket {
        self.buckets.get(place).copied().unwrap_or_default()
    }

    fn put(&mut self, place: usize, fingerprint: u32) -> bool {
        let free = self.buckets.get_mut(place).and_then(|bucket| bucket.iter_mut().find(|slot| **slot == 0));
        free.map(|slot| *slot = fingerprint).is_some()
    }

    fn swap(&mut self, place: usize, slot: usize, fingerprint: u32) -> u32 {
        let held = self.buckets.get_mut(place).and_then(|bucket| bucket.get_mut(slot));
        held.map_or(0, |held| std::mem::replace(held, fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const VICTIM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn echo(nonces: usize) -> NonceEcho {
        NonceEcho::new(FilterSize::for_nonces(nonces), Key::new([1; 16]))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    #[test]
    fn an_echo_counts_only_for_its_source_victim_and_nonce() {
        let mut echo = echo(100);
        echo.sent(SOURCE, VICTIM, b"n", at(0));
        assert_eq!(echo.echo(SOURCE, VICTIM, b"n", at(1)), Echo::Own);
        assert_eq!(echo.echo(SOURCE, VICTIM, b"m", at(1)), Echo::Nothing);
        assert_eq!(echo.echo(VICTIM, SOURCE, b"n", at(1)), Echo::Nothing);
        assert_eq!(echo.echo(SOURCE, SOURCE, b"n", at(1)), Echo::Nothing);
    }

    #[test]
    fn a_tag_that_anybody_can_reckon_is_no_proof() {
        let mut echo = echo(100);
        for (tag, proves) in [
            ("028c63d1fdf1b1daa5c0338e3910468e.32746fd0", false),
            ("028c63d1fdf1b1daa5c0338e3910468e-c3bb", false),
            ("028c63d1fdf1b1daa5c0338e3910468e", true),
            ("028c63d1fdf1b1daa5c0338e3910468e.", true),
            ("as3f2b91c0", true),
        ] {
            echo.sent_tag(SOURCE, VICTIM, tag.as_bytes(), at(0));
            assert_eq!(echo.is_tag_echo(SOURCE, VICTIM, tag.as_bytes(), at(1)), proves, "{tag}");
        }
    }

    #[test]
    fn a_nonce_is_known_for_five_to_ten_minutes() {
        for (sent, known_until, forgotten) in [(0, 299, 600), (299, 598, 900)] {
            let mut echo = echo(100);
            echo.sent(SOURCE, VICTIM, b"first", at(0));
            echo.sent(SOURCE, VICTIM, b"n", at(sent));
            assert_eq!(echo.echo(SOURCE, VICTIM, b"n", at(known_until)), Echo::Own);
            assert_eq!(echo.echo(SOURCE, VICTIM, b"n", at(forgotten)), Echo::Nothing);
        }
        let mut long_silence = echo(100);
        long_silence.sent(SOURCE, VICTIM, b"n", at(0));
        assert_eq!(long_silence.echo(SOURCE, VICTIM, b"n", at(100_000)), Echo::Nothing);
    }

    #[test]
    fn as_many_nonces_as_promised_are_all_known_and_no_others() {
        let mut echo = echo(50_000);
        for number in 0..50_000_u32 {
            echo.sent(SOURCE, VICTIM, &number.to_le_bytes(), at(0));
        }
        assert_eq!(echo.lost(), 0);
        assert!(
            (0..50_000_u32)
                .all(|number| echo.echo(SOURCE, VICTIM, &number.to_le_bytes(), at(1)) == Echo::Own)
        );
        let false_proofs = (50_000..1_050_000_u32)
            .filter(|number| echo.echo(SOURCE, VICTIM, &number.to_le_bytes(), at(1)) != Echo::Nothing)
            .count();
        assert_eq!(false_proofs, 0);
    }

    #[test]
    fn more_nonces_than_fit_push_out_the_oldest() {
        let mut echo = echo(1_000);
        for number in 0..10_000_u32 {
            echo.sent(SOURCE, VICTIM, &number.to_le_bytes(), at(0));
        }
        assert_eq!(echo.lost(), 0);
        assert!(
            (9_200..10_000_u32)
                .all(|number| echo.echo(SOURCE, VICTIM, &number.to_le_bytes(), at(1)) == Echo::Own)
        );
        assert_eq!(echo.echo(SOURCE, VICTIM, &0_u32.to_le_bytes(), at(1)), Echo::Nothing);
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_that_others_were_given_too_is_no_proof() {
        let attacker = address("203.0.113.9");
        for (by_first, by_then) in [(VICTIM, VICTIM), (VICTIM, address("2001:db8::5"))] {
            for (first, then) in [(attacker, SOURCE), (SOURCE, attacker)] {
                let mut echo = echo(100);
                echo.sent(SOURCE, VICTIM, b"own", at(0));
                echo.sent(first, by_first, b"n", at(0));
                echo.sent(first, by_first, b"n", at(0));
                echo.sent(then, by_then, b"n", at(0));
                assert_eq!(echo.echo(first, by_first, b"n", at(1)), Echo::Shared);
                assert_eq!(echo.echo(SOURCE, VICTIM, b"own", at(1)), Echo::Own);
                assert_eq!(echo.echo(then, by_then, b"n", at(599)), Echo::Shared);
            }
        }
        let mut one_64 = echo(100);
        one_64.sent(address("2001:db8::1"), VICTIM, b"n", at(0));
        one_64.sent(address("2001:db8::2"), VICTIM, b"n", at(0));
        assert_eq!(one_64.echo(address("2001:db8::1"), VICTIM, b"n", at(1)), Echo::Own);
    }

    #[test]
    fn a_proxy_that_passes_a_nonce_on_does_not_share_it() {
        let proxy = address("192.0.2.3");
        let mut echo = echo(100);
        for _ in 0..2 {
            echo.sent(proxy, VICTIM, b"n", at(0));
            echo.sent(SOURCE, proxy, b"n", at(0));
        }
        assert_eq!(echo.echo(SOURCE, proxy, b"n", at(1)), Echo::Own);
        assert_eq!(echo.echo(proxy, VICTIM, b"n", at(1)), Echo::Own);
    }

    #[test]
    fn tags_are_no_nonces() {
        let mut echo = echo(100);
        echo.sent_tag(SOURCE, VICTIM, b"n", at(0));
        assert!(echo.is_tag_echo(SOURCE, VICTIM, b"n", at(1)));
        assert_eq!(echo.echo(SOURCE, VICTIM, b"n", at(1)), Echo::Nothing);
    }

    #[test]
    fn the_same_nonce_sent_again_takes_no_more_room() {
        let mut echo = echo(4);
        for _ in 0..1_000 {
            echo.sent(SOURCE, VICTIM, b"n", at(0));
        }
        assert_eq!(echo.lost(), 0);
    }
}
