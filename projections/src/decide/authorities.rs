//! The authorities whose certificates hosts trust beside the one that the cluster was made with.
//!
//! That first one is in each host's files and in no event; it can be retired like the others once another is trusted.

use std::collections::BTreeSet;

use log_format::event::{AuthorityAdded, AuthorityRetired, Event, MembershipEvent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Model, Rejection};
use crate::digest::{Canonical, CanonicalHasher};

/// Authorities trusted at one time at most, the one that the cluster was made with among them: a rotation needs two, and a third
/// would leave behind a key that nobody signs with.
pub const MAX_AUTHORITIES: usize = 2;
/// Authorities that the log may name in all, retired ones included: a rotation a month for twenty years.
pub const MAX_AUTHORITIES_EVER: usize = 256;
/// A certificate's bytes at most; an authority's own has some hundreds.
pub const MAX_CERTIFICATE_BYTES: usize = 4_096;

/// The tag of an ASN.1 SEQUENCE in DER.
const SEQUENCE: u8 = 0x30;
/// The tag of a certificate's optional version field.
const VERSION: u8 = 0xa0;
/// What stands between version and public key: serial number, signature algorithm, issuer, validity, subject.
const FIELDS_BEFORE_KEY: usize = 5;

/// An authority that is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// SHA-256 of its public key (its SubjectPublicKeyInfo, DER).
    pub key_hash: [u8; 32],
    /// Its certificate, DER.
    pub certificate: &'a [u8],
}

/// All authorities that the log names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Authorities {
    /// Key hash and certificate, in the order in which they were added.
    trusted: Vec<([u8; 32], Vec<u8>)>,
    retired: BTreeSet<[u8; 32]>,
}

impl Authorities {
    pub(crate) fn trusted(&self) -> impl Iterator<Item = Authority<'_>> {
        self.trusted.iter().map(|(key_hash, certificate)| Authority { key_hash: *key_hash, certificate })
    }

    pub(crate) fn retired(&self) -> impl Iterator<Item = [u8; 32]> {
        self.retired.iter().copied()
    }

    /// Rises with every change.
    pub(crate) fn changes(&self) -> usize {
        self.trusted.len() + 2 * self.retired.len()
    }

    fn certificate(&self, key_hash: &[u8; 32]) -> Option<&Vec<u8>> {
        self.trusted.iter().find(|(held, _)| held == key_hash).map(|(_, certificate)| certificate)
    }

    pub(crate) fn is_retired(&self, key_hash: &[u8; 32]) -> bool {
        self.retired.contains(key_hash)
    }

    pub(crate) fn add(&mut self, AuthorityAdded { certificate, by: _ }: &AuthorityAdded) {
        if let Some(key_hash) = key_hash(certificate) {
            self.trusted.retain(|(held, _)| *held != key_hash);
            self.trusted.push((key_hash, certificate.clone()));
        }
    }

    pub(crate) fn retire(&mut self, AuthorityRetired { key_hash, by: _ }: &AuthorityRetired) {
        self.trusted.retain(|(held, _)| held != key_hash);
        self.retired.insert(*key_hash);
    }
}

/// Judges a new authority.
pub(super) fn add(model: &Model, added: AuthorityAdded) -> Result<Vec<Event>, Rejection> {
    let (field, count) = ("certificate", added.certificate.len());
    if MAX_CERTIFICATE_BYTES < count {
        return Err(Rejection::TooMany { field, count, limit: MAX_CERTIFICATE_BYTES });
    }
    let key_hash = key_hash(&added.certificate).ok_or(Rejection::NoCertificate)?;
    let Authorities { trusted, retired } = &model.authorities;
    if retired.contains(&key_hash) {
        return Err(Rejection::AuthorityRetired);
    }
    if model.authorities.certificate(&key_hash) == Some(&added.certificate) {
        return Ok(Vec::new());
    }
    // Nothing is retired before the first one, which no event names.
    let unnamed = usize::from(retired.is_empty());
    if MAX_AUTHORITIES <= unnamed + trusted.len() {
        return Err(Rejection::ListFull { list: "authorities", limit: MAX_AUTHORITIES });
    }
    if MAX_AUTHORITIES_EVER <= trusted.len() + retired.len() {
        return Err(Rejection::ListFull { list: "authorities ever named", limit: MAX_AUTHORITIES_EVER });
    }
    Ok(vec![Event::Membership(MembershipEvent::AuthorityAdded(added))])
}

/// Judges that an authority is no longer trusted. The newest that the log names must remain: it signs.
pub(super) fn retire(model: &Model, retired: AuthorityRetired) -> Result<Vec<Event>, Rejection> {
    let authorities = &model.authorities;
    if authorities.is_retired(&retired.key_hash) {
        return Ok(Vec::new());
    }
    if authorities.trusted.last().is_none_or(|(newest, _)| *newest == retired.key_hash) {
        return Err(Rejection::LastAuthority);
    }
    if MAX_AUTHORITIES_EVER <= authorities.retired.len() {
        return Err(Rejection::ListFull { list: "retired authorities", limit: MAX_AUTHORITIES_EVER });
    }
    Ok(vec![Event::Membership(MembershipEvent::AuthorityRetired(retired))])
}

/// SHA-256 of the public key in an X.509 certificate (RFC 5280, 4.1); `None` if the bytes are none.
fn key_hash(certificate: &[u8]) -> Option<[u8; 32]> {
    let outer = Element::first(certificate)?;
    if outer.tag != SEQUENCE || !outer.rest.is_empty() {
        return None;
    }
    let signed = Element::first(outer.content)?;
    let mut next = Element::first(signed.content)?;
    if next.tag == VERSION {
        next = Element::first(next.rest)?;
    }
    for _ in 0..FIELDS_BEFORE_KEY {
        next = Element::first(next.rest)?;
    }
    (signed.tag == SEQUENCE && next.tag == SEQUENCE).then(|| Sha256::digest(next.whole).into())
}

/// One element of DER, and what follows it.
struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&tag, after_tag) = bytes.split_first()?;
        let (&short, after_short) = after_tag.split_first()?;
        let (length, header) = match short {
            0..=0x7f => (usize::from(short), 2),
            0x81 => (usize::from(*after_short.first()?), 3),
            0x82 => {
                let length = after_short.first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), 4)
            }
            _ => return None, // Longer than any certificate that is taken.
        };
        let (whole, rest) = bytes.split_at_checked(header + length)?;
        Some(Self { tag, whole, content: whole.get(header..)?, rest })
    }
}

impl Canonical for Authorities {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { trusted, retired } = self;
        trusted.put(out);
        retired.put(out);
    }
}

#[cfg(test)]
mod tests {
    use log_format::event::{Actor, ClusterForced};
    use log_format::ids::{ClusterId, HostId, LogIndex};
    use log_format::time::Timestamp;

    use super::*;

    /// Self-signed, P-256, "palisade test authority", made with openssl 3.
    const CERTIFICATE: &str = "\
        3082019b30820141a00302010202143666f004b274a5cb3b4c7eceffc7d2b9dcb5cf83300a06082a8648ce3d04030230\
        223120301e06035504030c1770616c6973616465207465737420617574686f726974793020170d323631313232313334\
        3234345a180f32313236313032393133343234345a30223120301e06035504030c1770616c6973616465207465737420\
        617574686f726974793059301306072a8648ce3d020106082a8648ce3d03010703420004ed1597ce02faef36f46a6052\
        92705a015090e74cd552df5dc3dc251f1f4dc5fe3455063cf19413588d17de64044c7540df1883a05dd1ddc526c3d8ba\
        4e421f82a3533051301d0603551d0e041604149dab1e421d786602e4a96104a48dc1ac4cba4182301f0603551d230418\
        301680149dab1e421d786602e4a96104a48dc1ac4cba4182300f0603551d130101ff040530030101ff300a06082a8648\
        ce3d0403020348003045022100f61cb2b021983fc64fa07f9785303e3a7c3f04120a56b19e2e3a333e96973cbd022013\
        f882d1c3aa41ee5518bc25eb826622b2d642f1a54867ab8aadb44b6f1fc4f5";
    /// SHA-256 of its public key as `openssl ec -pubout -outform DER` writes it.
    const KEY_HASH: &str = "bcd68207e43e156057b2e58b6e0664b07c0d44dec1d98065d131fff94ef9f820";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn added(certificate: Vec<u8>) -> AuthorityAdded {
        AuthorityAdded { certificate, by: Actor::System }
    }

    /// The certificate with another key: the last byte of its public key differs.
    fn another(number: u8) -> Vec<u8> {
        let mut certificate = bytes(CERTIFICATE);
        let key = certificate.windows(3).position(|window| window == [0x03, 0x42, 0x00]).unwrap();
        certificate[key + 10] = number;
        certificate
    }

    #[test]
    fn an_authority_is_known_by_its_public_key() {
        let certificate = bytes(CERTIFICATE);
        assert_eq!(key_hash(&certificate).unwrap().to_vec(), bytes(KEY_HASH));
        for length in 0..certificate.len() {
            assert_eq!(key_hash(&certificate[..length]), None, "cut to {length} bytes");
        }
        let trailing = [certificate.clone(), vec![0]].concat();
        assert_eq!(key_hash(&trailing), None);
    }

    #[test]
    fn authorities_rotate_and_one_that_was_retired_never_comes_back() {
        let mut model = Model::default();
        let retire_it = |key_hash| AuthorityRetired { key_hash, by: Actor::System };
        let first = key_hash(&bytes(CERTIFICATE)).unwrap();
        assert_eq!(add(&model, added(vec![1, 2, 3])), Err(Rejection::NoCertificate));
        assert_eq!(retire(&model, retire_it([1; 32])), Err(Rejection::LastAuthority));
        assert_eq!(add(&model, added(bytes(CERTIFICATE))).unwrap().len(), 1);
        model.authorities.add(&added(bytes(CERTIFICATE)));
        assert_eq!(add(&model, added(bytes(CERTIFICATE))), Ok(Vec::new()));
        assert_eq!(retire(&model, retire_it(first)), Err(Rejection::LastAuthority));
        let full = Rejection::ListFull { list: "authorities", limit: MAX_AUTHORITIES };
        assert_eq!(add(&model, added(another(1))), Err(full.clone()), "the unnamed one is trusted still");
        model.authorities.retire(&retire_it([1; 32]));
        assert_eq!(add(&model, added(another(1))).unwrap().len(), 1);
        model.authorities.add(&added(another(1)));
        assert_eq!(add(&model, added(another(2))), Err(full));
        assert_eq!(retire(&model, retire_it(first)).unwrap().len(), 1);
        model.authorities.retire(&retire_it(first));
        assert_eq!(retire(&model, retire_it(first)), Ok(Vec::new()));
        assert_eq!(add(&model, added(bytes(CERTIFICATE))), Err(Rejection::AuthorityRetired));
        assert!(model.is_authority_retired(&first));
        assert_eq!(
            model.authorities().map(|held| held.certificate.to_vec()).collect::<Vec<_>>(),
            [another(1)]
        );
    }

    #[test]
    fn a_cluster_that_was_forced_trusts_none_of_the_one_before() {
        let mut model = Model::default();
        model.authorities.add(&added(bytes(CERTIFICATE)));
        model.authorities.retire(&AuthorityRetired { key_hash: [1; 32], by: Actor::System });
        let forced = ClusterForced {
            host: HostId::new(1),
            previous: ClusterId::new([1; 16]),
            members: Vec::new(),
            last: LogIndex::new(1),
            by: Actor::System,
        };
        model.evolve_membership(&MembershipEvent::ClusterForced(forced), Timestamp::ZERO);
        assert_eq!((model.authorities().count(), model.retired_authorities().count()), (0, 0));
        // Its own is trusted and unnamed, so there is room for one more, and that one signs then.
        model.authorities.add(&added(another(1)));
        let full = Rejection::ListFull { list: "authorities", limit: MAX_AUTHORITIES };
        assert_eq!(add(&model, added(another(2))), Err(full));
    }

    #[test]
    fn authorities_are_bounded() {
        let mut model = Model::default();
        for number in 0..=u8::MAX {
            let key_hash = [number; 32];
            model.authorities.retire(&AuthorityRetired { key_hash, by: Actor::System });
        }
        let list = "authorities ever named";
        let full = Rejection::ListFull { list, limit: MAX_AUTHORITIES_EVER };
        assert_eq!(add(&model, added(another(1))), Err(full));
        let long = vec![0; MAX_CERTIFICATE_BYTES + 1];
        assert!(matches!(add(&model, added(long)), Err(Rejection::TooMany { field: "certificate", .. })));
    }
}
