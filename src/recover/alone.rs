//! Makes a cluster of one host out of what this host has, under another identity.
//!
//! ```text
//!  old data directory ──copied, chapters linked──> new one: old chapters, old entries,
//!        (stays as it was)                         ClusterForced + HostRemoved, the others let go
//!  new authority, certificate, keys                             │
//!        └──────────────> palisade.toml names all of it, in one rename <┘
//! ```
//!
//! Until that rename nothing is in force, and the old configuration is kept beside the new one. The chain of seals goes on:
//! what was cut before is sealed for the old cluster, and the first chapter of the new one holds the order.

#![expect(clippy::disallowed_methods, reason = "offline work on a host's own files")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use consensus::core::members_after;
use consensus::core::membership::Change;
use log_format::chapter;
use log_format::disk::{Disk, StdDisk};
use log_format::event::{ClusterForced, Event, HostEvent, HostRemoved, MembershipEvent};
use log_format::history::History;
use log_format::ids::{ChapterNumber, ClusterId, HostId, LogIndex, OriginSequence, Term};
use log_format::reserve::SpaceLimits;
use log_format::spool::{Spool, SpoolItem, SpoolOptions, SpoolRecord, SpoolSetup};
use log_format::wal::{
    self, Batch, ConfState, Durability, HardState, LogEntry, LogPosition, Recovered, Wal, WalIdentity,
};

use super::past::{self, Past};
use super::{RecoverError, Refusal, beside};
use crate::chapters;
use crate::config::{self, Config, rewrite};
use crate::node::SealOrder;
use crate::provision::{self, FirewallSwitch, NewCluster, NewHost};
use crate::runtime;
use crate::runtime::files::{DataDirectory, INCARNATION};

/// Behind the name of a data directory that is being made; what an attempt left there is removed by the next.
const MAKING: &str = ".recovering";
/// Hexadecimal digits of the new cluster's id in the names of its files.
const MARK: usize = 8;
/// Bytes of entries copied at once.
const PIECE: u64 = 1 << 20;
/// Observations copied at once.
const RECORDS: usize = 256;
/// The host's own small files that go along.
const OWN_FILES: [&str; 3] = ["starts", INCARNATION, "tls/witness.key"];

/// A cluster that was forced to go on.
#[derive(Debug)]
pub struct Forced {
    /// The cluster before.
    pub previous: ClusterId,
    /// The cluster from now on.
    pub cluster: ClusterId,
    /// Its one host.
    pub host: HostId,
    /// The last entry of the old cluster that is kept.
    pub kept: LogIndex,
    /// The last entry that this host knew to be committed.
    pub committed: LogIndex,
    /// The entry that says what was done.
    pub written: LogIndex,
    /// The hosts that were let go.
    pub let_go: Vec<HostId>,
    /// The data directory from now on.
    pub data: PathBuf,
    /// The data directory before.
    pub old_data: PathBuf,
    /// A copy of the configuration before.
    pub old_configuration: PathBuf,
    /// The new authority's key.
    pub ca_key: PathBuf,
}

/// Makes a new cluster of the stopped host of this configuration alone, and leads the configuration there.
pub fn force_new_cluster(configuration: &Path) -> Result<Forced, RecoverError> {
    let read =
        || fs::read_to_string(configuration).with_context(|| format!("read {}", configuration.display()));
    let text = read()?;
    let config = config::parse(configuration, &text).map_err(anyhow::Error::from)?;
    let cluster = ClusterId::new(runtime::random()?);
    let mark: String = cluster.to_string().chars().take(MARK).collect();
    let new_text = rewrite::for_another_cluster(&text, cluster, &mark).map_err(anyhow::Error::from)?;
    let new = config::parse(configuration, &new_text).map_err(anyhow::Error::from)?;
    // The data directory goes on, so it stays the incarnation that the log knows.
    let incarnation = DataDirectory::open(&config.data).incarnation().map_err(anyhow::Error::from)?;
    let identity =
        |config: &Config| WalIdentity { cluster: config.cluster.id, host: config.host, incarnation };
    // Holds the directory's lock until the new configuration is in force.
    let (wal, found) = Wal::open(Arc::new(StdDisk), &config.data, past::setup(identity(&config)))?;
    let past = Past::fold(&config.data, &wal.reader())?;
    let making = beside(&config.data, MAKING);
    remove(&making)?;
    let host = config.host;
    if !past.members.voters.contains(&host) && !past.members.learners.contains(&host) {
        return Err(Refusal::LetGo(host).into());
    }
    let making_of = Making {
        data: &making,
        old: &config.data,
        identity: (identity(&config), identity(&new)),
        past: &past,
    };
    let (written, let_go) = making_of.make(&wal, &found)?;
    fs::rename(&making, &new.data).with_context(|| format!("make {}", new.data.display()))?;
    sync_parent(&new.data)?;
    make_identity(&new)?;
    let old_configuration = beside(configuration, &format!(".before-{mark}"));
    replace(configuration, &new_text, &old_configuration)?;
    Ok(Forced {
        previous: config.cluster.id,
        cluster,
        host,
        kept: found.last.index,
        committed: found.hard_state.commit,
        written,
        let_go,
        data: new.data,
        old_data: config.data,
        old_configuration,
        ca_key: new.cluster.ca_key,
    })
}

/// A data directory that is being made.
struct Making<'a> {
    data: &'a Path,
    old: &'a Path,
    /// Before and from now on.
    identity: (WalIdentity, WalIdentity),
    past: &'a Past,
}

impl Making<'_> {
    fn make(&self, old: &Wal<StdDisk>, found: &Recovered) -> anyhow::Result<(LogIndex, Vec<HostId>)> {
        StdDisk.create_dir(self.data)?;
        self.link_chapters()?;
        let mut wal = self.copy_log(old, found)?;
        self.seal_what_is_cut(&wal, found.last.index)?;
        let said = self.write_down(&mut wal, found)?;
        drop(wal);
        self.copy_spool()?;
        for name in OWN_FILES {
            self.copy_own(name)?;
        }
        Ok((said, self.others()))
    }

    /// Hosts that are let go.
    fn others(&self) -> Vec<HostId> {
        let host = self.identity.0.host;
        let ConfState { voters, learners } = &self.past.members;
        let members = self.past.model.members().map(|member| member.host);
        let mut others: Vec<HostId> = voters.iter().chain(learners).copied().chain(members).collect();
        others.retain(|other| *other != host);
        others.sort_unstable();
        others.dedup();
        others
    }

    /// A chapter's files never change: the same file under two names costs nothing.
    fn link_chapters(&self) -> anyhow::Result<()> {
        let from = chapter::directory(self.old);
        if !from.exists() {
            return Ok(());
        }
        let to = chapter::directory(self.data);
        StdDisk.create_dir(&to)?;
        for name in StdDisk.list(&from)? {
            let (from, to) = (from.join(&name), to.join(&name));
            StdDisk.create_dir(&to)?;
            for file in chapter::file_names() {
                link_or_copy(&from.join(file), &to.join(file))?;
            }
            StdDisk.sync_dir(&to)?;
        }
        Ok(StdDisk.sync_dir(&to)?)
    }

    /// The same entries under the new identity.
    fn copy_log(&self, old: &Wal<StdDisk>, found: &Recovered) -> anyhow::Result<Wal<StdDisk>> {
        let (base, founders) = wal::beginning(&StdDisk, self.old)?.context("the log has no beginning")?;
        let setup = past::setup(self.identity.1);
        let mut new = Wal::create(Arc::new(StdDisk), self.data, setup, founders.clone())?;
        let hard_state = |commit| HardState { term: found.hard_state.term, vote: None, commit };
        if base.index != LogIndex::default() {
            new.reset(base, &founders, hard_state(base.index))?;
        }
        let (reader, last) = (old.reader(), found.last.index);
        let mut next = base.index.next();
        while next <= last {
            let entries = reader.entries(next, last.next(), PIECE)?;
            let upto = entries.last().ok_or_else(|| anyhow!("entry {next} is not in the log"))?.index;
            new.append(&Batch {
                hard_state: hard_state(upto),
                entries: &entries,
                conf_state: None,
                durability: Durability::Sync,
            })?;
            next = upto.next();
        }
        Ok(new)
    }

    /// Chapters that were cut belong to the old cluster, which may have named their seals already.
    fn seal_what_is_cut(&self, wal: &Wal<StdDisk>, last: LogIndex) -> anyhow::Result<()> {
        let history = History::new(Arc::new(StdDisk), self.data, wal.reader());
        let mut seals = history.seals()?;
        loop {
            let previous = seals.pop();
            let chapter = ChapterNumber::new(previous.as_ref().map_or(0, |seal| seal.chapter.get()) + 1);
            let first = previous.as_ref().map_or(LogIndex::default(), |seal| seal.last.index).next();
            let Some(cut) = self.past.model.chapters().get(chapter).filter(|cut| cut.last <= last) else {
                return Ok(());
            };
            let order = SealOrder { chapter, first, last: cut.last, previous };
            let log = (self.identity.0.cluster, &history);
            seals.push(chapters::seal(&StdDisk, self.data, log, &order, &mut || {})?);
        }
    }

    /// The order, then each change of members, so that whoever reads the log comes to the same members.
    fn write_down(&self, wal: &mut Wal<StdDisk>, found: &Recovered) -> anyhow::Result<LogIndex> {
        let (WalIdentity { cluster, host, .. }, last) = (self.identity.0, found.last.index);
        let term = Term::new(found.hard_state.term.max(found.last.term).get().saturating_add(1));
        let others = self.others();
        let mut members: Vec<HostId> = others.iter().copied().chain([host]).collect();
        members.sort_unstable();
        let by = past::operator();
        let forced = ClusterForced { host, previous: cluster, members, last, by: by.clone() };
        let removed = self.past.model.members().map(|member| member.host).filter(|other| *other != host);
        let removed =
            removed.map(|host| Event::Host(HostEvent::Removed(HostRemoved { host, by: by.clone() })));
        let order = Event::Membership(MembershipEvent::ClusterForced(forced));
        let events = std::iter::once(order).chain(removed).collect();
        let first = LogPosition { term, index: last.next() };
        let mut entries = vec![past::entry((first, host), self.past.model.last_accepted_at(), events)?];
        let conf_state = self.change_members((host, term), &mut entries)?;
        past::commit(wal, (host, term), &entries, Some(&conf_state))
    }

    fn change_members(
        &self,
        (host, term): (HostId, Term),
        entries: &mut Vec<LogEntry>,
    ) -> anyhow::Result<ConfState> {
        let mut members = self.past.members.clone();
        let promoted = members.learners.contains(&host).then_some(Change::Promote(host));
        let leave = members.voters.iter().chain(&members.learners).filter(|other| **other != host);
        let changes: Vec<Change> =
            promoted.into_iter().chain(leave.map(|other| Change::Remove(*other))).collect();
        for change in changes {
            let index = entries.last().map_or(LogIndex::default(), |entry| entry.index).next();
            let entry = change.entry(LogPosition { term, index }).context("encode a change of members")?;
            members = members_after(members, &entry);
            entries.push(entry);
        }
        ensure!(members == ConfState::new([host], []), "the members come out as {members:?}");
        Ok(members)
    }

    /// Observations that no leader has taken yet.
    fn copy_spool(&self) -> anyhow::Result<()> {
        if !self.old.join("spool").exists() {
            return Ok(());
        }
        let (before, after) = self.identity;
        let open = |data, identity| {
            let given_upto = OriginSequence::default();
            let (options, limits) = (SpoolOptions::default(), SpaceLimits::NONE);
            let setup = SpoolSetup { identity, options, given_upto, limits, stamps: past::stamps() };
            Spool::open(Arc::new(StdDisk), data, setup).map(|(spool, _)| spool)
        };
        let (old, mut new) = (open(self.old, before)?, open(self.data, after)?);
        let taken = self.past.model.acknowledged(before.host, before.incarnation);
        let mut records: Vec<SpoolRecord> = Vec::new();
        for item in old.pending(taken.next()) {
            match item? {
                SpoolItem::Record(record) => records.push(record),
                SpoolItem::Dropped(_) => {}
            }
            if RECORDS <= records.len() {
                new.append(&std::mem::take(&mut records))?;
            }
        }
        if !records.is_empty() {
            new.append(&records)?;
        }
        Ok(())
    }

    fn copy_own(&self, name: &str) -> anyhow::Result<()> {
        let (from, to) = (self.old.join(name), self.data.join(name));
        if !from.exists() {
            return Ok(());
        }
        if let Some(directory) = to.parent() {
            StdDisk.create_dir(directory)?;
        }
        fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
        File::open(&to)?.sync_all()?;
        sync_parent(&to)
    }
}

/// A new authority, and this host's certificate by it: what the old cluster's certificates prove counts nothing here.
fn make_identity(config: &Config) -> anyhow::Result<()> {
    let own = config.cluster.hosts.get(&config.host).context("the configuration does not name this host")?;
    let host = NewHost {
        name: config.name.clone(),
        address: own.address,
        console: config.console.listen,
        plain_console: false,
        devices: Vec::new(),
        playback: None,
        firewall: FirewallSwitch::On,
    };
    let cluster =
        NewCluster { id: config.cluster.id, year: provision::year_of(past::now()), hosts: vec![host] };
    Ok(provision::provision_alone(&cluster, config.host, &config.cluster)?)
}

/// Puts the new configuration in the old one's place, in one step; the old one stays under another name.
fn replace(configuration: &Path, text: &str, old: &Path) -> anyhow::Result<()> {
    let new = beside(configuration, ".new");
    remove(&new)?;
    provision::write_new(&new, text)?;
    fs::set_permissions(&new, fs::metadata(configuration)?.permissions())?;
    link_or_copy(configuration, old)?;
    fs::rename(&new, configuration).with_context(|| format!("replace {}", configuration.display()))?;
    sync_parent(configuration)
}

/// A file that is not there is none to copy.
fn link_or_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.exists() || fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    // Another file system, or one without such links.
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(File::open(to)?.sync_all()?)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_parent(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(folder)?.sync_all()?)
}
