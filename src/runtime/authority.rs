//! The cluster's authority changes without a pause: a new one is made by the leader and signed by the old one, every host trusts
//! both and renews its certificate under the new one, then the old one is retired.
//!
//! ```text
//!  rotate:  next key written ──> AuthorityAdded in the log ──> it is renamed ──> hosts with a vote fetch the key
//!           every host: trusts both ──> renews: the leader first, then whoever sees that the leader has
//!  retire:  AuthorityRetired in the log ──> every host trusts the new one alone, and connects anew
//! ```
//!
//! The new authority's certificate, which is in the log, is signed by the old one and travels with every certificate that the
//! new one signs. So a host that was off and trusts the old one alone still believes the others, and learns of the new one.

#![expect(clippy::disallowed_methods, reason = "this shell reads and writes the authority's key")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use consensus::rt::tls::{authority_hashes, certificate_pem, key_hash};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::renewal::rename;
use crate::node::Trust;
use crate::provision;

/// Bytes of a key's hash in the name of the file in which it waits.
const MARK_BYTES: usize = 8;

/// The authorities to trust: those of the host's own file that are not retired, then those that the log added.
pub(super) fn merged(file: &[u8], trust: &Trust) -> anyhow::Result<Vec<u8>> {
    let held: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(file).collect();
    let held = held.context("read the authorities from PEM")?;
    let added = trust.added.iter().map(|der| CertificateDer::from(der.clone()));
    let (mut pem, mut seen) = (String::new(), Vec::new());
    for certificate in held.into_iter().chain(added) {
        let hash = key_hash(&certificate).context("read an authority's key")?;
        if !trust.retired.contains(&hash) && !seen.contains(&hash) {
            seen.push(hash);
            pem.push_str(&certificate_pem(&certificate));
        }
    }
    Ok(pem.into_bytes())
}

/// The key's hash of the newest authority that the log names: the one that signs.
pub(super) fn newest(trust: &Trust) -> Option<[u8; 32]> {
    trust.added.last().and_then(|der| key_hash(&CertificateDer::from(der.clone())).ok())
}

/// What leads from a certificate that this authority signed to the one before it; nothing for the first authority.
pub(super) fn link(trust: &Trust, signer: [u8; 32]) -> Option<String> {
    let named = trust
        .added
        .iter()
        .find(|der| key_hash(&CertificateDer::from((*der).clone())).is_ok_and(|hash| hash == signer));
    named.map(|der| certificate_pem(der))
}

/// The keys' hashes of all authorities in PEM, the oldest first.
pub(super) fn hashes(ca_pem: &[u8]) -> anyhow::Result<Vec<[u8; 32]>> {
    Ok(authority_hashes(ca_pem)?)
}

/// The authority's key on this host's disk.
#[derive(Debug, Clone)]
pub(super) struct KeyFile(pub(super) PathBuf);

impl KeyFile {
    /// Whose key it is; nothing if there is none, or none that can be read.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        hash_at(&self.0)
    }

    /// Writes down a key that is not this host's to sign with yet. Another one that is prepared stays: which of them the log
    /// takes is not known before it has.
    pub(super) fn prepare(&self, key_pem: &str) -> anyhow::Result<()> {
        let path = self.waiting(&provision::key_hash(key_pem)?);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            Ok(()) | Err(_) => {}
        }
        Ok(provision::write_new(&path, key_pem)?)
    }

    /// Signs with the prepared key from now on, if it is the newest authority's. Also after a crash between the two, and when
    /// the desk and the renewal do so at once: whoever comes second finds it done.
    pub(super) fn adopt(&self, trust: &Trust) -> anyhow::Result<()> {
        let Some(newest) = newest(trust) else { return Ok(()) };
        let prepared = self.waiting(&newest);
        if hash_at(&prepared) != Some(newest) {
            return Ok(());
        }
        match rename(&prepared, &self.0) {
            Err(_) if self.hash() == Some(newest) => Ok(()),
            done => done,
        }
    }

    /// Where a key waits until the log names its authority.
    fn waiting(&self, hash: &[u8; 32]) -> PathBuf {
        let mark: String = hash.iter().take(MARK_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let mut name = self.0.as_os_str().to_owned();
        name.push(format!(".{mark}.new"));
        PathBuf::from(name)
    }

    /// Whether this is the key that signs now.
    pub(super) fn is_current(&self, trust: &Trust) -> bool {
        match newest(trust) {
            Some(newest) => self.hash() == Some(newest),
            None => self.0.exists(),
        }
    }
}

fn hash_at(path: &Path) -> Option<[u8; 32]> {
    provision::key_hash(&std::fs::read_to_string(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use log_format::ids::ClusterId;
    use log_format::time::Timestamp;

    use super::*;
    use crate::provision::Authority;

    const CLUSTER: ClusterId = ClusterId::new([7; 16]);
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn pem_and_hash(key_pem: &str, certificate: &[u8]) -> (String, [u8; 32]) {
        let hash = key_hash(&CertificateDer::from(certificate.to_vec())).unwrap();
        assert_eq!(provision::key_hash(key_pem).unwrap(), hash, "key and certificate belong together");
        (certificate_pem(certificate), hash)
    }

    #[test]
    fn authorities_follow_each_other_and_what_is_retired_goes() {
        let (first, first_key) = Authority::first(CLUSTER).unwrap();
        let one = Authority::load(CLUSTER, first.clone(), first_key).unwrap();
        let two = one.succeed(CLUSTER, NOW).unwrap();
        let (second, hash) = pem_and_hash(&two.key_pem, &two.certificate);
        let mut trust = Trust::default();
        assert_eq!(merged(first.as_bytes(), &trust).unwrap(), first.as_bytes());
        trust.added.push(two.certificate);
        let both = merged(first.as_bytes(), &trust).unwrap();
        assert_eq!(String::from_utf8(both.clone()).unwrap(), format!("{first}{second}"));
        assert_eq!(merged(&both, &trust).unwrap(), both, "once each");
        assert_eq!((newest(&trust), link(&trust, hash)), (Some(hash), Some(second.clone())));
        let old = hashes(&both).unwrap()[0];
        assert_eq!(link(&trust, old), None);
        trust.retired = BTreeSet::from([old]);
        assert_eq!(merged(&both, &trust).unwrap(), second.as_bytes());
    }

    #[test]
    fn two_that_adopt_a_key_at_once_both_succeed() {
        const ROUNDS: usize = 50;
        let folder = std::env::temp_dir().join(format!("palisade-adopt-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = KeyFile(folder.join("ca.key"));
        let (first, first_key) = Authority::first(CLUSTER).unwrap();
        let two = Authority::load(CLUSTER, first, first_key.clone()).unwrap().succeed(CLUSTER, NOW).unwrap();
        let trust = Trust { added: vec![two.certificate], retired: BTreeSet::new() };
        for _ in 0..ROUNDS {
            std::fs::write(&file.0, &first_key).unwrap();
            file.prepare(&two.key_pem).unwrap();
            let ready = std::sync::Barrier::new(2);
            let adopt = || {
                ready.wait();
                file.adopt(&trust)
            };
            let adopted = std::thread::scope(|scope| {
                [scope.spawn(adopt), scope.spawn(adopt)].map(|thread| thread.join().unwrap())
            });
            for done in adopted {
                done.unwrap();
            }
            assert!(file.is_current(&trust));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_prepared_key_signs_once_the_log_names_its_authority() {
        let folder = std::env::temp_dir().join(format!("palisade-authority-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = KeyFile(folder.join("ca.key"));
        let (first, first_key) = Authority::first(CLUSTER).unwrap();
        let one = Authority::load(CLUSTER, first, first_key.clone()).unwrap();
        let (two, never) = (one.succeed(CLUSTER, NOW).unwrap(), one.succeed(CLUSTER, NOW).unwrap());
        std::fs::write(&file.0, &first_key).unwrap();
        let before = file.hash();
        file.prepare(&two.key_pem).unwrap();
        file.prepare(&never.key_pem).unwrap();
        file.adopt(&Trust::default()).unwrap();
        assert_eq!(file.hash(), before);
        let trust = Trust { added: vec![two.certificate], retired: BTreeSet::new() };
        assert!(!file.is_current(&trust));
        file.adopt(&trust).unwrap();
        assert!(file.is_current(&trust));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
