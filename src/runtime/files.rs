//! The host's own small files beside the log: the count of starts, the local token. The log holds the directory's lock.

#![expect(clippy::disallowed_methods, reason = "this shell keeps the host's own files")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use log_format::disk::{Disk, DiskError, StdDisk};
use log_format::ids::{HostId, Incarnation};
use thiserror::Error;

/// The token with which the command line of this machine comes in.
pub const LOCAL_TOKEN: &str = "local-token";
/// How often the process was started on this data directory.
const STARTS: &str = "starts";
/// Which incarnation of the host the data directory is.
pub const INCARNATION: &str = "incarnation";
/// Who belonged to the cluster last, a line each: id and address.
const MEMBERS: &str = "members";
/// The incarnation of a data directory that was made before any was drawn.
const UNDRAWN_INCARNATION: Incarnation = Incarnation::new(1);

/// What went wrong with a file of the host's own.
#[derive(Debug, Error)]
pub enum FileError {
    /// A file holds something else.
    #[error("{} does not hold a number; restore it or remove it with the whole data directory", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The directory cannot be made.
    #[error(transparent)]
    Directory(#[from] DiskError),
    /// A file cannot be read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { doing, path, source }
}

/// The data directory of a host whose log is open.
pub struct DataDirectory {
    path: PathBuf,
}

impl DataDirectory {
    /// The directory, which the log has made.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Which incarnation of the host this is; one that was made before incarnations were drawn is the first.
    pub fn incarnation(&self) -> Result<Incarnation, FileError> {
        let number = self.number(INCARNATION)?;
        Ok(number.map_or(UNDRAWN_INCARNATION, Incarnation::new))
    }

    /// Keeps a random number as the incarnation of a directory that is about to get its log.
    pub fn begin_incarnation(&self, drawn: u32) -> Result<Incarnation, FileError> {
        let incarnation = Incarnation::new(drawn.max(UNDRAWN_INCARNATION.get() + 1));
        StdDisk.create_dir(&self.path)?;
        self.replace(INCARNATION, &format!("{incarnation}\n"))?;
        Ok(incarnation)
    }

    /// Keeps the other members, for a start whose log cannot be read.
    pub fn remember_members(&self, members: &BTreeMap<HostId, SocketAddr>) -> Result<(), FileError> {
        let lines = members.iter().map(|(host, address)| format!("{host} {address}\n"));
        self.replace(MEMBERS, &lines.collect::<String>())
    }

    /// The members that were kept last. What is missing or damaged is not there: nothing rests on it but whom to ask.
    pub fn members(&self) -> BTreeMap<HostId, SocketAddr> {
        let text = fs::read_to_string(self.path.join(MEMBERS)).unwrap_or_default();
        let member = |line: &str| {
            let (host, address) = line.split_once(' ')?;
            Some((HostId::new(host.parse().ok()?), address.parse().ok()?))
        };
        text.lines().filter_map(member).collect()
    }

    /// Counts this start, durably, and says which it is, from 1.
    pub fn count_start(&self) -> Result<u32, FileError> {
        let now = self.number(STARTS)?.unwrap_or_default().saturating_add(1);
        self.replace(STARTS, &format!("{now}\n"))?;
        Ok(now)
    }

    /// The number in a small file, if there is one.
    fn number(&self, name: &str) -> Result<Option<u32>, FileError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| FileError::Damaged { path: path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &path)(error)),
        }
    }

    /// A small file's text; empty if it is not there.
    pub fn text(&self, name: &str) -> Result<String, FileError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(io("read", &path)),
        }
    }

    /// Writes a small file anew: whole or not at all, also when the power fails.
    pub fn replace(&self, name: &str, text: &str) -> Result<(), FileError> {
        self.replace_bytes(name, text.as_bytes())
    }

    /// The same for bytes that are no text.
    pub fn replace_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let write = || {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(io("write", &path))
    }

    /// Removes a small file; one that is not there is no error.
    pub fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path.join(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, name, "remove file");
        }
    }
}

/// Bytes free for this process at a path.
pub fn free_space(path: &Path) -> Result<u64, DiskError> {
    StdDisk.free_space(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("palisade-files-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn starts_are_counted_across_processes() {
        let path = scratch("starts");
        let held = DataDirectory::open(&path);
        assert_eq!((held.count_start().unwrap(), held.count_start().unwrap()), (1, 2));
        assert_eq!(DataDirectory::open(&path).count_start().unwrap(), 3);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_directory_is_the_incarnation_that_was_drawn_for_it_and_old_ones_are_the_first() {
        let path = scratch("incarnation");
        let held = DataDirectory::open(&path);
        assert_eq!(held.incarnation().unwrap(), Incarnation::new(1));
        for (drawn, kept) in [(77, 77), (0, 2), (1, 2), (u32::MAX, u32::MAX)] {
            assert_eq!(held.begin_incarnation(drawn).unwrap(), Incarnation::new(kept));
            assert_eq!(DataDirectory::open(&path).incarnation().unwrap(), Incarnation::new(kept));
        }
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn members_are_remembered_as_far_as_they_can_be_read() {
        let path = scratch("members");
        let held = DataDirectory::open(&path);
        assert_eq!(held.members(), BTreeMap::new());
        let members: BTreeMap<HostId, SocketAddr> = [(4, "10.0.0.4:7100"), (5, "[2001:db8::5]:7100")]
            .map(|(host, address)| (HostId::new(host), address.parse().unwrap()))
            .into();
        held.remember_members(&members).unwrap();
        assert_eq!(held.members(), members);
        held.replace(MEMBERS, "4 10.0.0.4:7100\n5\nx 10.0.0.6:7100\n5 [2001:db8::5]:7100").unwrap();
        assert_eq!(held.members(), members);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_damaged_count_is_refused_by_name() {
        let path = scratch("damaged");
        let held = DataDirectory::open(&path);
        held.replace(STARTS, "many").unwrap();
        let error = held.count_start().unwrap_err();
        fs::remove_dir_all(&path).unwrap();
        assert!(error.to_string().contains("starts does not hold a number"), "{error}");
    }
}
