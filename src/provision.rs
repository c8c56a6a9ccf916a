//! Makes a new cluster on paper: its identity, its certificate authority, and one folder per host with the host's
//! configuration, certificate and key. Each folder is then carried to its host.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use consensus::rt::tls::host_uri;
use log_format::ids::{ClusterId, HostId};
use log_format::time::Timestamp;
use log_format::wal::ConfState;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::{ClusterConfig, is_name};

/// A host's start-up configuration.
const CONFIGURATION: &str = "palisade.toml";
/// Years the authority's certificate is good for, and the first ones of the hosts that begin a cluster.
const VALID_YEARS: i32 = 10;
/// Days that a certificate is good for which a running cluster gives.
const VALID_DAYS: u32 = 90;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A certificate is good a little before it was made, for hosts whose clocks are behind.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

/// A cluster to be made.
#[derive(Debug, Clone)]
pub struct NewCluster {
    /// Its identity, drawn by the caller.
    pub id: ClusterId,
    /// The year from which its certificates are good.
    pub year: i32,
    /// Its hosts, numbered from 1 in this order.
    pub hosts: Vec<NewHost>,
}

/// A host to be made.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// Its name.
    pub name: String,
    /// Where its peers connect to.
    pub address: SocketAddr,
    /// Where its console listens.
    pub console: SocketAddr,
    /// Whether the console goes without TLS; on loopback only.
    pub plain_console: bool,
    /// Devices to watch and to drop on.
    pub devices: Vec<String>,
    /// A capture to play back instead of watching devices.
    pub playback: Option<PathBuf>,
    /// Whether it may change the kernel's firewall.
    pub firewall: FirewallSwitch,
}

/// Whether a host may change the kernel's firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallSwitch {
    /// It may.
    On,
    /// It only watches.
    Off,
}

/// A cluster that could not be made.
#[derive(Debug, Error)]
pub enum ProvisionError {
    /// A host's name cannot be used.
    #[error("host name {name:?} is not 1 to 31 small letters, digits and hyphens, or is given twice")]
    Name {
        /// The name.
        name: String,
    },
    /// A host is set up there already.
    #[error("{} is there already; choose an empty folder: a host's id and data are never used for another", path.display())]
    Used {
        /// What is there.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("make the certificate of {subject}")]
    Certificate {
        /// Whose.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Where a host's folder was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The host.
    pub host: HostId,
    /// Its configuration file.
    pub configuration: PathBuf,
}

/// Writes one folder per host below `out`, and the authority's key beside them. Refuses to overwrite anything.
pub fn provision(cluster: &NewCluster, out: &Path) -> Result<Vec<Provisioned>, ProvisionError> {
    check_names(&cluster.hosts)?;
    make_folder(out)?;
    let authority = Authority::new(cluster)?;
    write_new(&out.join("ca.key"), &authority.key_pem)?;
    (1..)
        .zip(&cluster.hosts)
        .map(|(number, host)| {
            let id = HostId::new(number);
            let folder = out.join(&host.name);
            make_folder(&folder)?;
            let (certificate, key) = authority.certify(cluster, id, host)?;
            write_new(&folder.join("ca.pem"), &authority.certificate_pem)?;
            write_new(&folder.join("host.pem"), &certificate)?;
            write_new(&folder.join("host.key"), &key)?;
            write_new(&folder.join("ca.key"), &authority.key_pem)?;
            let configuration = folder.join(CONFIGURATION);
            let members: Vec<_> = (1..).map(HostId::new).zip(&cluster.hosts).collect();
            let members = members.iter().map(|(id, host)| (*id, host.name.clone(), host.address)).collect();
            let joined = Joined { cluster: cluster.id, host: id, members, first_members: None };
            write_new(&configuration, &configuration_text(&joined, host))?;
            Ok(Provisioned { host: id, configuration })
        })
        .collect()
}

/// What a host's configuration says of its cluster.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The cluster.
    pub cluster: ClusterId,
    /// The host's id.
    pub host: HostId,
    /// The hosts of the cluster, this one too.
    pub members: Vec<(HostId, String, SocketAddr)>,
    /// The members before the first entry of the log; `None` for a host that begins it.
    pub first_members: Option<ConfState>,
}

/// What a host was let in with.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Its certificate.
    pub certificate_pem: Vec<u8>,
    /// Its key.
    pub key_pem: String,
    /// The authorities.
    pub ca_pem: Vec<u8>,
}

/// The year of a time, for the validity of certificates; years of 365.2425 days are exact enough for that.
pub fn year_of(time: Timestamp) -> i32 {
    1970 + i32::try_from(time.nanos() / 1_000_000_000 / 31_556_952).unwrap_or(0)
}

/// Makes a new authority for a cluster of one host, and the host's certificate; refuses to overwrite anything.
pub fn provision_alone(
    cluster: &NewCluster,
    id: HostId,
    files: &ClusterConfig,
) -> Result<(), ProvisionError> {
    let authority = Authority::new(cluster)?;
    for host in &cluster.hosts {
        let (certificate, key) = authority.certify(cluster, id, host)?;
        write_new(&files.certificate, &certificate)?;
        write_new(&files.key, &key)?;
    }
    write_new(&files.ca, &authority.certificate_pem)?;
    write_new(&files.ca_key, &authority.key_pem)
}

/// Refuses a folder in which a host is set up already.
pub fn check_unused(folder: &Path) -> Result<(), ProvisionError> {
    for name in [CONFIGURATION, "data", "host.key"] {
        let path = folder.join(name);
        if path.exists() {
            return Err(ProvisionError::Used { path });
        }
    }
    Ok(())
}

/// Writes the folder of a host that was let into a running cluster.
pub fn provision_joined(
    joined: &Joined,
    host: &NewHost,
    credentials: &Credentials,
    folder: &Path,
) -> Result<PathBuf, ProvisionError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    make_folder(folder)?;
    make_folder(&folder.join("data"))?;
    write_new(&folder.join("ca.pem"), &text(&credentials.ca_pem))?;
    write_new(&folder.join("host.pem"), &text(&credentials.certificate_pem))?;
    write_new(&folder.join("host.key"), &credentials.key_pem)?;
    let configuration = folder.join(CONFIGURATION);
    write_new(&configuration, &configuration_text(joined, host))?;
    Ok(configuration)
}

fn check_names(hosts: &[NewHost]) -> Result<(), ProvisionError> {
    for (place, host) in hosts.iter().enumerate() {
        let is_taken = hosts.iter().take(place).any(|other| other.name == host.name);
        if is_taken || !is_name(&host.name) {
            return Err(ProvisionError::Name { name: host.name.clone() });
        }
    }
    Ok(())
}

/// A cluster's certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: String,
}

/// What follows an authority.
pub struct Successor {
    /// Its certificate, DER, signed by the authority before it: whoever trusts only that one believes it.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key_pem: String,
}

/// SHA-256 of the public half of an authority's key (its SubjectPublicKeyInfo, DER).
pub fn key_hash(key_pem: &str) -> Result<[u8; 32], ProvisionError> {
    let failed = |source| ProvisionError::Certificate { subject: "an authority".to_owned(), source };
    let key = KeyPair::from_pem(key_pem).map_err(failed)?;
    Ok(Sha256::digest(key.subject_public_key_info()).into())
}

/// The public key of a host that wants a certificate: P-256, uncompressed. Whose it is has been checked.
struct PublicKey<'a>(&'a [u8]);

impl PublicKeyData for PublicKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A host as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The cluster.
    pub cluster: ClusterId,
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The name of a cluster's authority.
fn authority_name(cluster: ClusterId) -> String {
    format!("Palisade cluster {cluster}")
}

/// What a cluster's authority is, but for its validity.
fn authority_params(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, authority_name(cluster));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// The authority of a cluster that was made before, with its certificate and key.
    pub fn load(
        cluster: ClusterId,
        certificate_pem: String,
        key_pem: String,
    ) -> Result<Self, ProvisionError> {
        let failed = |source| ProvisionError::Certificate { subject: authority_name(cluster), source };
        let key = KeyPair::from_pem(&key_pem).map_err(failed)?;
        Ok(Self { issuer: Issuer::new(authority_params(cluster), key), certificate_pem, key_pem })
    }

    /// Makes the authority that follows this one, good for [`VALID_YEARS`] from now.
    pub fn succeed(&self, cluster: ClusterId, now: Timestamp) -> Result<Successor, ProvisionError> {
        let failed = |source| ProvisionError::Certificate { subject: authority_name(cluster), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = authority_params(cluster);
        let (epoch, since_1970) = (rcgen::date_time_ymd(1970, 1, 1), Duration::from_nanos(now.nanos()));
        params.not_before = epoch + since_1970.saturating_sub(CLOCKS_DIFFER);
        params.not_after = epoch + since_1970 + VALID_YEARS.unsigned_abs() * YEAR;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Successor { certificate: certificate.der().to_vec(), key_pem: key.serialize_pem() })
    }

    /// Signs a host's public key, for [`VALID_DAYS`] from now.
    pub fn sign(
        &self,
        subject: &Subject,
        public_key: &[u8],
        now: Timestamp,
    ) -> Result<String, ProvisionError> {
        let failed = |source| ProvisionError::Certificate { subject: subject.name.clone(), source };
        let mut params = host_params(subject).map_err(failed)?;
        let since_1970 = Duration::from_nanos(now.nanos());
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_1970.saturating_sub(CLOCKS_DIFFER);
        params.not_after = epoch + since_1970 + VALID_DAYS * DAY;
        Ok(params.signed_by(&PublicKey(public_key), &self.issuer).map_err(failed)?.pem())
    }

    /// Certificate and key of a cluster's first authority.
    #[cfg(test)]
    pub(crate) fn first(cluster: ClusterId) -> Result<(String, String), ProvisionError> {
        let made = Self::new(&NewCluster { id: cluster, year: 2026, hosts: Vec::new() })?;
        Ok((made.certificate_pem, made.key_pem))
    }

    fn new(cluster: &NewCluster) -> Result<Self, ProvisionError> {
        let subject = authority_name(cluster.id);
        let failed = |source| ProvisionError::Certificate { subject: subject.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = authority_params(cluster.id);
        params.not_before = rcgen::date_time_ymd(cluster.year, 1, 1);
        params.not_after = rcgen::date_time_ymd(cluster.year + VALID_YEARS, 12, 31);
        let certificate_pem = params.self_signed(&key).map_err(failed)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem, key_pem })
    }

    fn certify(
        &self,
        cluster: &NewCluster,
        id: HostId,
        host: &NewHost,
    ) -> Result<(String, String), ProvisionError> {
        let failed = |source| ProvisionError::Certificate { subject: host.name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let subject = Subject {
            cluster: cluster.id,
            host: id,
            name: host.name.clone(),
            addresses: vec![host.address.ip(), host.console.ip()],
        };
        let mut params = host_params(&subject).map_err(failed)?;
        params.not_before = rcgen::date_time_ymd(cluster.year, 1, 1);
        params.not_after = rcgen::date_time_ymd(cluster.year + VALID_YEARS, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn host_params(subject: &Subject) -> Result<CertificateParams, rcgen::Error> {
    let Subject { cluster, host, name, addresses } = subject;
    let mut params = CertificateParams::new(vec![name.clone(), "localhost".to_owned()])?;
    let uri = host_uri(*cluster, *host).as_str().try_into()?;
    params.subject_alt_names.push(SanType::URI(uri));
    let mut addresses: Vec<_> = addresses.iter().copied().chain([IpAddr::from([127, 0, 0, 1])]).collect();
    addresses.sort_unstable();
    addresses.dedup();
    params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
    params.distinguished_name.push(DnType::CommonName, name.clone());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn configuration_text(joined: &Joined, host: &NewHost) -> String {
    let Joined { cluster, host: id, members, first_members } = joined;
    let hosts: String = members
        .iter()
        .map(|(id, name, address)| {
            format!("  {{ id = {id}, name = \"{name}\", address = \"{address}\" }},\n")
        })
        .collect();
    let ids = |hosts: &[HostId]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let first = first_members.as_ref().map_or_else(String::new, |first| {
        let (voters, learners) = (ids(&first.voters), ids(&first.learners));
        format!("first_voters = [{voters}]\nfirst_learners = [{learners}]\n")
    });
    let plain = if host.plain_console { "plain = true\n" } else { "" };
    let devices = format!("devices = {:?}\n", host.devices);
    let firewall = match host.firewall {
        FirewallSwitch::On => devices.clone(),
        FirewallSwitch::Off => "enabled = false\n".to_owned(),
    };
    let sensor = match &host.playback {
        Some(path) => format!("playback = {:?}\n", path.display().to_string()),
        None => devices.clone(),
    };
    format!(
        "# Start-up configuration of host {name}. Paths are relative to this file.\n\n\
         [host]\nid = {id}\ndata = \"data\"\n\n\
         [cluster]\nid = \"{cluster}\"\nca = \"ca.pem\"\ncertificate = \"host.pem\"\nkey = \"host.key\"\n{first}hosts = [\n{hosts}]\n\n\
         [console]\nlisten = \"{console}\"\n{plain}\n\
         [sensor]\n{sensor}\n\
         [firewall]\n{firewall}",
        name = host.name,
        console = host.console,
    )
}

fn make_folder(path: &Path) -> Result<(), ProvisionError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .map_err(|source| ProvisionError::Write { path: path.to_owned(), source })
}

/// Writes a file that only its owner may read; refuses to overwrite one.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), ProvisionError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| ProvisionError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn host(number: u16) -> NewHost {
        NewHost {
            name: format!("host{number}"),
            address: SocketAddr::from(([127, 0, 0, 1], 7_100 + number)),
            console: SocketAddr::from(([127, 0, 0, 1], 8_440 + number)),
            plain_console: true,
            devices: vec!["eth0".to_owned()],
            playback: None,
            firewall: FirewallSwitch::On,
        }
    }

    #[test]
    fn what_is_written_can_be_read_back_and_is_never_overwritten() {
        let out = std::env::temp_dir().join(format!("palisade-provision-{}", std::process::id()));
        let cluster = NewCluster { id: ClusterId::new([7; 16]), year: 2026, hosts: vec![host(1), host(2)] };
        let made = provision(&cluster, &out).unwrap();
        let config = config::load(&made[1].configuration).unwrap();
        assert_eq!((config.host, config.name.as_str()), (HostId::new(2), "host2"));
        assert_eq!(config.cluster.hosts.len(), 2);
        let again = provision(&cluster, &out).unwrap_err();
        fs::remove_dir_all(&out).unwrap();
        assert!(matches!(again, ProvisionError::Write { .. }), "{again}");
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        let cluster = NewCluster { id: ClusterId::new([7; 16]), year: 2026, hosts: vec![host(1), host(1)] };
        let error = provision(&cluster, Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("\"host1\""), "{error}");
    }
}
