//! Keeps this host's certificate fresh: from the thirtieth day of ninety on, or once another authority signs, it asks the
//! leader for the next one, with a new key, and shows it to peers and browsers from the next connection on. Keeps the file of
//! trusted authorities as the log says.
//!
//! ```text
//!  key.new, cert.new written ──> key.new renamed ──> cert.new renamed
//!  a start finds:   both: nothing was renamed, both go     cert.new alone: it is renamed, too
//! ```

#![expect(clippy::disallowed_methods, reason = "this shell reads and replaces the host's certificate")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use api::CertificateSetter;
use chrono::NaiveDateTime;
use consensus::rt::join::{self, Certified, HostKey, JoinDesk};
use consensus::rt::tls::{PeerTls, authority_of};
use consensus::rt::transport::PeerSender;
use log_format::ids::HostId;
use log_format::time::Timestamp;
use log_format::wal::WalIdentity;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::authority::{self, KeyFile};
use super::clocks::Clocks;
use super::desk::Desk;
use super::driver::{Addresses, Certificates, Shared};
use crate::config::{ClusterConfig, ConsoleSecurity};

/// A certificate older than this is replaced: a third of its life, so that two thirds are left for what may be in the way.
const RENEW_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a host looks.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// After a failure.
const LOOK_SOON: Duration = Duration::from_secs(10);
/// After a start, and while a new authority is to sign: there must be a leader, and it goes first.
const LOOK_AT_ONCE: Duration = Duration::from_secs(2);
/// Hosts asked, one after the other, until one signs.
const MAX_ASKED: usize = 8;

/// See the module.
pub(super) struct Renewal {
    pub(super) identity: WalIdentity,
    pub(super) files: Files,
    pub(super) addresses: Addresses,
    pub(super) shared: Arc<Shared>,
    pub(super) desk: Arc<Desk>,
    pub(super) peers: PeerSender,
    /// None if the console has a certificate of its own.
    pub(super) console: Option<CertificateSetter>,
    pub(super) clocks: Clocks,
    pub(super) ca_key: KeyFile,
}

/// Where certificate and key are kept.
#[derive(Debug, Clone)]
pub(super) struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    pub(super) fn new(cluster: &ClusterConfig) -> Self {
        let ClusterConfig { ca, certificate, key, .. } = cluster;
        Self { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() }
    }

    pub(super) fn tls(&self) -> anyhow::Result<PeerTls> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        Ok(PeerTls { ca_pem: read(&self.ca)?, cert_pem: read(&self.certificate)?, key_pem: read(&self.key)? })
    }

    /// Replaces the trusted authorities alone.
    fn replace_authorities(&self, ca_pem: &[u8]) -> anyhow::Result<()> {
        write_fresh(&self.ca, ca_pem)?;
        rename(&fresh(&self.ca), &self.ca)
    }

    /// Ends a replacement that a crash interrupted.
    pub(super) fn finish_replacement(&self) -> anyhow::Result<()> {
        let (new_key, new_certificate) = (fresh(&self.key), fresh(&self.certificate));
        match (new_key.exists(), new_certificate.exists()) {
            (false, true) => rename(&new_certificate, &self.certificate),
            (true, true | false) => {
                std::fs::remove_file(&new_key)?;
                Ok(std::fs::remove_file(&new_certificate)?)
            }
            (false, false) => Ok(()),
        }
    }

    /// Replaces both, so that a crash leaves the old pair or the new one.
    fn replace(&self, tls: &PeerTls) -> anyhow::Result<()> {
        let PeerTls { ca_pem, cert_pem, key_pem } = tls;
        let files = [(&self.ca, ca_pem), (&self.certificate, cert_pem), (&self.key, key_pem)];
        for (path, pem) in files {
            write_fresh(path, pem)?;
        }
        for path in [&self.ca, &self.key, &self.certificate] {
            rename(&fresh(path), path)?;
        }
        Ok(())
    }
}

fn write_fresh(path: &Path, pem: &[u8]) -> anyhow::Result<()> {
    // What an attempt that failed left behind.
    if let Err(error) = std::fs::remove_file(fresh(path))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("remove {}", fresh(path).display()));
    }
    Ok(crate::provision::write_new(&fresh(path), std::str::from_utf8(pem)?)?)
}

/// Where the next version of a file is written.
fn fresh(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

pub(super) fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(from, to).with_context(|| format!("replace {}", to.display()))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(std::fs::File::open(folder)?.sync_all()?)
}

impl Renewal {
    /// The console's certificate is replaced too, if it is the host's own.
    pub(super) fn console(
        security: &ConsoleSecurity,
        setter: CertificateSetter,
    ) -> Option<CertificateSetter> {
        match security {
            ConsoleSecurity::HostCertificate => Some(setter),
            ConsoleSecurity::Files { .. } | ConsoleSecurity::PlainOnLoopback => None,
        }
    }

    /// Looks now and then, and whenever the log names other authorities, for as long as the process runs.
    pub(super) async fn run(self) {
        let mut trust = self.shared.trust.subscribe();
        let mut pause = LOOK_AT_ONCE;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = trust.changed() => if changed.is_err() { return },
            }
            pause = self.look_and_say().await;
        }
    }

    /// Looks, and says after which pause to look again.
    async fn look_and_say(&self) -> Duration {
        let looked = match self.follow_the_log() {
            Ok(()) => self.look().await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(pause) => pause,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the certificate could not be renewed; tried again soon");
                LOOK_SOON
            }
        }
    }

    /// Trusts whom the log says, and signs with the key of the newest authority if it was prepared here.
    pub(super) fn follow_the_log(&self) -> anyhow::Result<()> {
        let trust = self.shared.trust.borrow().clone();
        self.ca_key.adopt(&trust).context("use the key of the new authority")?;
        let mut tls = self.files.tls()?;
        let trusted = authority::merged(&tls.ca_pem, &trust)?;
        if trusted != tls.ca_pem {
            let before = authority::hashes(&tls.ca_pem)?;
            tls.ca_pem = trusted;
            self.peers.set_tls(&tls).context("trust other authorities")?;
            self.files.replace_authorities(&tls.ca_pem)?;
            let now = authority::hashes(&tls.ca_pem)?;
            tracing::info!(authorities = now.len(), "the trusted authorities changed");
            if before.iter().any(|hash| !now.contains(hash)) {
                self.peers.reconnect();
            }
        }
        self.show(&tls)
    }

    /// Says what this host shows and trusts.
    fn show(&self, tls: &PeerTls) -> anyhow::Result<()> {
        let at = valid_from(&tls.cert_pem).context("read the certificate's age")?;
        let at = UnixTime::since_unix_epoch(Duration::from_nanos(at.nanos()));
        let own = authority_of(&tls.cert_pem, &tls.ca_pem, at)?;
        let certificates = Certificates { own, trusted: authority::hashes(&tls.ca_pem)? };
        self.shared.certificates.send_replace(certificates);
        Ok(())
    }

    async fn look(&self) -> anyhow::Result<Duration> {
        let tls = self.files.tls()?;
        let made = valid_from(&tls.cert_pem).context("read the certificate's age")?;
        let is_old = RENEW_AFTER <= self.clocks.now().wall.since(made);
        let newest = authority::newest(&self.shared.trust.borrow());
        let is_of_another = newest.is_some() && self.shared.certificates.borrow().own != newest;
        if !is_old && is_of_another && !self.does_the_leader_sign_with(newest) {
            return Ok(LOOK_AT_ONCE);
        }
        if !is_old && !is_of_another {
            return Ok(LOOK_EVERY);
        }
        let key = HostKey::generate()?;
        let (cert_pem, ca_pem) = self.next_certificate(&tls, &key).await?;
        // The leader's authorities are the log's; so are this host's, once it has folded as much.
        let ca_pem = authority::merged(&[tls.ca_pem, ca_pem].concat(), &self.shared.trust.borrow())?;
        let next = PeerTls { ca_pem, cert_pem, key_pem: key.pem().into_bytes() };
        // Refuses what does not fit together or names another host.
        self.peers.set_tls(&next).context("use the new certificate")?;
        self.files.replace(&next)?;
        if let Some(console) = &self.console {
            console.set(&next.cert_pem, &next.key_pem).context("show the new certificate to browsers")?;
        }
        self.show(&next)?;
        tracing::info!("the certificate is renewed");
        Ok(if is_of_another { LOOK_AT_ONCE } else { LOOK_EVERY })
    }

    /// Whether the leader has a certificate of that authority, so that it signs with its key; the leader itself goes first.
    fn does_the_leader_sign_with(&self, newest: Option<[u8; 32]>) -> bool {
        let picture = self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(picture) = picture else { return false };
        if picture.leader == Some(picture.host) {
            return self.ca_key.hash() == newest;
        }
        let leader = picture.hosts.iter().find(|host| picture.leader == Some(host.host));
        leader.is_some_and(|leader| leader.state.authority == newest)
    }

    /// Asks the leader, which may be this host; if none is known, any host.
    async fn next_certificate(&self, tls: &PeerTls, key: &HostKey) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let own = self.identity.host;
        let leader = self.leader();
        if leader == Some(own) {
            return issued(self.desk.renew(own, key.public_key()).await)?.context("nobody leads now");
        }
        let members = self.addresses.resolve(&self.shared.members.borrow());
        let mut asked: Vec<SocketAddr> =
            leader.and_then(|leader| members.get(&leader)).copied().into_iter().collect();
        asked.extend(members.values().copied());
        let mut last = None;
        for address in asked.into_iter().take(MAX_ASKED) {
            match join::renew(tls, (self.identity.cluster, own), address, key).await {
                Ok(Certified::Elsewhere { .. }) => {}
                Ok(answer) => return issued(answer)?.context("nobody leads now"),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error.into()),
            None => bail!("no host signs now"),
        }
    }

    fn leader(&self) -> Option<HostId> {
        self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.leader
    }
}

fn issued(answer: Certified) -> anyhow::Result<Option<(Vec<u8>, Vec<u8>)>> {
    match answer {
        Certified::Issued { certificate_pem, ca_pem, details: _ } => Ok(Some((certificate_pem, ca_pem))),
        Certified::Elsewhere { .. } => Ok(None),
        Certified::Refused { reason } => bail!("the leader refuses: {reason}"),
    }
}

/// When a certificate began to be good. Reads as much DER as that needs: the certificate is this host's own.
fn valid_from(pem: &[u8]) -> Option<Timestamp> {
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate, _) = element(&certificate)?;
    let (_, mut signed, _) = element(certificate)?;
    // Version, if there is one; serial number; algorithm; issuer.
    if signed.first() == Some(&0xa0) {
        signed = element(signed)?.2;
    }
    for _ in 0..3 {
        signed = element(signed)?.2;
    }
    let (_, validity, _) = element(signed)?;
    let (kind, time, _) = element(validity)?;
    let text = std::str::from_utf8(time).ok()?;
    let text = match kind {
        // UTCTime: years until 2049 in two digits.
        0x17 => format!("20{text}"),
        _ => text.to_owned(),
    };
    let parsed = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    u64::try_from(parsed.and_utc().timestamp()).ok().map(Timestamp::from_seconds)
}

/// The first element: its tag, its contents, and what comes behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let fold = |length: usize, byte: &u8| length.checked_mul(256)?.checked_add(usize::from(*byte));
            (bytes.iter().try_fold(0, fold)?, rest)
        }
    };
    let (contents, behind) = rest.split_at_checked(length)?;
    Some((*tag, contents, behind))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_certificates_age_is_read_from_it() {
        for (year, seconds) in [(2026, 1_773_964_800), (2051, 2_562_883_200)] {
            let mut params = CertificateParams::default();
            params.not_before = rcgen::date_time_ymd(year, 3, 20);
            params.not_after = rcgen::date_time_ymd(year + 1, 1, 1);
            let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
            assert_eq!(valid_from(pem.as_bytes()), Some(Timestamp::from_seconds(seconds)), "{year}");
        }
        assert_eq!(valid_from(b"nothing"), None);
        assert_eq!(element(&[0x30, 0x82, 0xff]), None);
    }

    #[test]
    fn a_crash_leaves_the_old_pair_or_the_new_one() {
        let folder = std::env::temp_dir().join(format!("palisade-renewal-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        let files = Files { ca: path("ca"), certificate: path("cert"), key: path("key") };
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        let pair = || [path("key"), path("cert")].map(|path| std::fs::read_to_string(path).unwrap());
        write("key", "old");
        write("cert", "old");
        write("key.new", "new");
        write("cert.new", "new");
        files.finish_replacement().unwrap();
        assert_eq!(pair(), ["old", "old"]);
        write("key", "new");
        write("cert.new", "new");
        files.finish_replacement().unwrap();
        assert_eq!(pair(), ["new", "new"]);
        let pem = |text: &str| text.as_bytes().to_vec();
        let next = PeerTls { ca_pem: pem("ca"), cert_pem: pem("next"), key_pem: pem("next") };
        files.replace(&next).unwrap();
        files.finish_replacement().unwrap();
        assert_eq!(pair(), ["next", "next"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
