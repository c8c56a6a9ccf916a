//! Certificates for tests, made on the spot.

use log_format::ids::{ClusterId, HostId};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::tls::{PeerTls, host_uri};

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

    pub(super) fn tls_named(&self, uris: &[String]) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let name = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
        params.subject_alt_names = uris.iter().map(name).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        PeerTls {
            ca_pem: self.ca_pem(),
            cert_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        }
    }
}
