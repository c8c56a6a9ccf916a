//! Gives a configuration another cluster and other files for this host's data and identity, and leaves everything else as a
//! person wrote it.

use std::ops::Range;
use std::path::Path;

use log_format::ids::ClusterId;
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

#[derive(Deserialize)]
struct File {
    host: HostSection,
    cluster: ClusterSection,
}

#[derive(Deserialize)]
struct HostSection {
    data: Spanned<String>,
}

#[derive(Deserialize)]
struct ClusterSection {
    id: Spanned<String>,
    ca: Spanned<String>,
    certificate: Spanned<String>,
    key: Spanned<String>,
    ca_key: Option<Spanned<String>>,
}

/// A configuration that cannot be changed.
#[derive(Debug, Error)]
pub enum RewriteError {
    /// It is none.
    #[error("read the configuration's places")]
    Syntax(#[from] toml::de::Error),
    /// A path has no last part that could get another name.
    #[error("{key} = {path:?} names no file or folder that could get another name: write it out")]
    Path {
        /// The key.
        key: &'static str,
        /// The path.
        path: String,
    },
}

/// The same configuration for another cluster. The names of the data directory, of both certificates and of both keys end
/// with `mark`.
pub fn for_another_cluster(text: &str, cluster: ClusterId, mark: &str) -> Result<String, RewriteError> {
    let File { host, cluster: section } = toml::from_str(text)?;
    let ClusterSection { id, ca, certificate, key, ca_key } = section;
    let mut changes = vec![(id.span(), quoted(&cluster.to_string()))];
    for (name, path) in [
        ("host.data", Some(&host.data)),
        ("cluster.ca", Some(&ca)),
        ("cluster.certificate", Some(&certificate)),
        ("cluster.key", Some(&key)),
        ("cluster.ca_key", ca_key.as_ref()),
    ] {
        let Some(path) = path else { continue };
        changes.push((path.span(), quoted(&marked(name, path.get_ref(), mark)?)));
    }
    if ca_key.is_none() {
        let end = key.span().end;
        changes.push((end..end, format!("\nca_key = {}", quoted(&format!("ca-{mark}.key")))));
    }
    Ok(replaced(text, changes))
}

/// Replaces from the back to the front, so that no place moves before its turn.
fn replaced(text: &str, mut changes: Vec<(Range<usize>, String)>) -> String {
    changes.sort_by_key(|(place, _)| std::cmp::Reverse((place.start, place.end)));
    let mut text = text.to_owned();
    for (place, new) in changes {
        text.replace_range(place, &new);
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `ca.pem` becomes `ca-<mark>.pem`, `data` becomes `data-<mark>`.
fn marked(key: &'static str, path: &str, mark: &str) -> Result<String, RewriteError> {
    let wrong = || RewriteError::Path { key, path: path.to_owned() };
    let before = Path::new(path);
    let stem = before.file_stem().and_then(|stem| stem.to_str()).ok_or_else(wrong)?;
    let ending = before.extension().and_then(|ending| ending.to_str());
    let name = ending.map_or_else(|| format!("{stem}-{mark}"), |ending| format!("{stem}-{mark}.{ending}"));
    before.with_file_name(name).to_str().map(str::to_owned).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Ours.\n[host]\nid = 1 # the first\ndata = \"data\"\n\n[cluster]\nid = \"0101\"\nca = \"/etc/p/ca.pem\"\n\
                        certificate = 'host.pem'\nkey = \"host.key\" # secret\nhosts = []\n";

    #[test]
    fn only_the_cluster_and_the_hosts_own_files_are_named_anew() {
        let text = for_another_cluster(TEXT, ClusterId::new([0xab; 16]), "abababab").unwrap();
        let expected = "# Ours.\n[host]\nid = 1 # the first\ndata = \"data-abababab\"\n\n[cluster]\nid = \"abababababababababababababababab\"\n\
                        ca = \"/etc/p/ca-abababab.pem\"\ncertificate = \"host-abababab.pem\"\nkey = \"host-abababab.key\"\n\
                        ca_key = \"ca-abababab.key\" # secret\nhosts = []\n";
        assert_eq!(text, expected);
        let again = for_another_cluster(&text, ClusterId::new([0xcd; 16]), "cdcdcdcd").unwrap();
        assert!(again.contains("ca_key = \"ca-abababab-cdcdcdcd.key\" # secret"), "{again}");
    }

    #[test]
    fn a_path_without_a_name_is_refused_by_its_key() {
        let text = TEXT.replace("\"data\"", "\"..\"");
        let error = for_another_cluster(&text, ClusterId::new([1; 16]), "01").unwrap_err();
        assert!(error.to_string().starts_with("host.data = \"..\""), "{error}");
    }
}
