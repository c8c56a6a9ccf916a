//! Ed25519 (RFC 8032): how a host vouches for a seal. The arithmetic is ring's, which TLS uses too.

use log_format::merkle::Hash;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Whether a signature of a seal's hash is by this key.
pub fn is_signed(key: &[u8; 32], seal: &Hash, signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(seal, signature).is_ok()
}

/// The key of this host.
pub struct WitnessKey(Ed25519KeyPair);

impl WitnessKey {
    /// The key of these 32 secret bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// What others check signatures with.
    pub fn public(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        key
    }

    /// Vouches for a seal.
    pub fn sign(&self, seal: &Hash) -> Vec<u8> {
        self.0.sign(seal).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_and_its_seal_only() {
        let key = WitnessKey::from_seed(&[7; 32]).unwrap();
        let signature = key.sign(&[1; 32]);
        assert!(is_signed(&key.public(), &[1; 32], &signature));
        assert!(!is_signed(&key.public(), &[2; 32], &signature));
        let other = WitnessKey::from_seed(&[8; 32]).unwrap();
        assert!(!is_signed(&other.public(), &[1; 32], &signature));
    }
}
