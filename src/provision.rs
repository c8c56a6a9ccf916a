//! Makes a new cluster on paper: its identity, its certificate authority, and one folder per host with the host's
//! configuration, certificate and key. Each folder is then carried to its host.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use consensus::rt::tls::host_uri;
use log_format::ids::{ClusterId, HostId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use thiserror::Error;

use crate::config::is_name;

/// Years a certificate is good for; a host's is replaced by the cluster long before.
const VALID_YEARS: i32 = 10;

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
            let configuration = folder.join("palisade.toml");
            write_new(&configuration, &configuration_text(cluster, id, host))?;
            Ok(Provisioned { host: id, configuration })
        })
        .collect()
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

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: String,
}

impl Authority {
    fn new(cluster: &NewCluster) -> Result<Self, ProvisionError> {
        let subject = format!("Palisade cluster {}", cluster.id);
        let failed = |source| ProvisionError::Certificate { subject: subject.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject.clone());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
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
        let mut params =
            CertificateParams::new(vec![host.name.clone(), "localhost".to_owned()]).map_err(failed)?;
        let uri = host_uri(cluster.id, id).as_str().try_into().map_err(failed)?;
        params.subject_alt_names.push(SanType::URI(uri));
        let mut addresses = vec![host.address.ip(), host.console.ip(), IpAddr::from([127, 0, 0, 1])];
        addresses.dedup();
        params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
        params.distinguished_name.push(DnType::CommonName, host.name.clone());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(cluster.year, 1, 1);
        params.not_after = rcgen::date_time_ymd(cluster.year + VALID_YEARS, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn configuration_text(cluster: &NewCluster, id: HostId, host: &NewHost) -> String {
    let hosts: String = (1..)
        .zip(&cluster.hosts)
        .map(|(number, host): (u64, &NewHost)| {
            format!("  {{ id = {number}, name = \"{}\", address = \"{}\" }},\n", host.name, host.address)
        })
        .collect();
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
         [cluster]\nid = \"{cluster}\"\nca = \"ca.pem\"\ncertificate = \"host.pem\"\nkey = \"host.key\"\nhosts = [\n{hosts}]\n\n\
         [console]\nlisten = \"{console}\"\n{plain}\n\
         [sensor]\n{sensor}\n\
         [firewall]\n{firewall}",
        name = host.name,
        cluster = cluster.id,
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

fn write_new(path: &Path, text: &str) -> Result<(), ProvisionError> {
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
