//! Certificates for tests, made on the spot.

use std::time::{Duration, SystemTime};

use log_format::ids::{ClusterId, HostId};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};

use super::tls::{PeerTls, host_uri};

struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

pub(super) const CLUSTER: ClusterId = ClusterId::new([7; 16]);

/// A cluster's authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(super) fn ca_pem(&self) -> Vec<u8> {
        self.pem.clone().into_bytes()
    }

    pub(super) fn tls(&self, id: u64) -> PeerTls {
        self.tls_named(&[host_uri(CLUSTER, HostId::new(id))])
    }

    /// The certificate of a host, good until so long before now.
    pub(super) fn expired_tls(&self, id: u64, ago: Duration) -> PeerTls {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        self.tls_until(&[host_uri(CLUSTER, HostId::new(id))], now - ago)
    }

    /// A certificate for a public key that somebody else holds.
    pub(super) fn certify(&self, id: u64, public_key: &[u8]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let name = host_uri(CLUSTER, HostId::new(id));
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = PublicKey(public_key.to_vec());
        params.signed_by(&key, &self.issuer).unwrap().pem().into_bytes()
    }

    pub(super) fn tls_named(&self, uris: &[String]) -> PeerTls {
        self.tls_until(uris, Duration::from_secs(4_000_000_000))
    }

    fn tls_until(&self, uris: &[String], until: Duration) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let name = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
        params.subject_alt_names = uris.iter().map(name).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + until;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        PeerTls {
            ca_pem: self.ca_pem(),
            cert_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        }
    }
}
