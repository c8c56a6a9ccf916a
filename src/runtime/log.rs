//! Opens the host's log when the process starts: repairs it if it is damaged, begins it if there is none.
//!
//! ```text
//!  open ──ok──────────────────────────────────────────────> serve
//!    │ damaged
//!    v
//!  find a repair ──none──> refuse to start, in words
//!    │
//!    ├─ a header: its bytes are known ──> write, open again
//!    └─ a batch: ask the others ──> the same bytes? write, open again ; else refuse to start
//! ```

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use consensus::core::Restored;
use log_format::disk::{Disk, StdDisk};
use log_format::ids::Incarnation;
use log_format::recover::RecoverError;
use log_format::repair::{self, Need, RecordsNeed, RepairError, RepairOrder};
use log_format::wal::{ConfState, LogEntry, Recovered, TailEnd, Wal, WalIdentity, WalSetup};

use super::files::DataDirectory;

/// Repairs at one start: far more than a disk needs that is worth keeping.
const MAX_REPAIRS: usize = 10_000;

/// What another host has given for a damaged batch.
pub(super) struct Fetched {
    /// The entries that were asked for.
    pub(super) entries: Vec<LogEntry>,
    /// Lists of members that may have been written with them.
    pub(super) members: Vec<ConfState>,
}

/// Where the records of a damaged batch can be had.
pub(super) trait Donors {
    /// Asks one host after the other; each answer is tried until one gives the very bytes back.
    fn ask(&mut self, need: RecordsNeed) -> Box<dyn Iterator<Item = Fetched> + '_>;
}

/// Opens the log below a data directory, or begins it with these members, as an incarnation of its own.
pub(super) fn open(
    data: &Path,
    setup: impl Fn(Incarnation) -> WalSetup,
    founders: ConfState,
    donors: &mut dyn Donors,
) -> anyhow::Result<(Wal<StdDisk>, Restored)> {
    let (disk, directory) = (Arc::new(StdDisk), DataDirectory::open(data));
    let incarnation = directory.incarnation()?;
    let opened = match Wal::open(Arc::clone(&disk), data, setup(incarnation)) {
        Err(RecoverError::Corrupt(_) | RecoverError::Suspect(_)) => {
            repair(data, &setup(incarnation).identity, donors)?;
            Wal::open(Arc::clone(&disk), data, setup(incarnation))
        }
        opened => opened,
    };
    match opened {
        Ok((wal, found)) => {
            report(&wal, &found);
            Ok((wal, Restored::from(found)))
        }
        Err(RecoverError::Missing { .. }) => {
            refuse_remains(data)?;
            let incarnation = directory.begin_incarnation(u32::from_le_bytes(super::random()?))?;
            let wal = Wal::create(disk, data, setup(incarnation), founders.clone())?;
            let ConfState { voters, learners } = &founders;
            tracing::info!(?voters, ?learners, "begins a new log");
            Ok((wal, Restored::empty(founders)))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a host has only once it has a log.
const REMAINS: [&str; 4] = ["chapters", "spool", "starts", "projections.sled"];

/// A host that has been here before does not begin anew: its log was lost, or its disk is not mounted.
fn refuse_remains(data: &Path) -> anyhow::Result<()> {
    let names = StdDisk.list(data).unwrap_or_default(); // A directory that is not there holds nothing.
    if let Some(remains) = REMAINS.into_iter().find(|remains| names.iter().any(|name| name == remains)) {
        let data = data.display();
        bail!(
            "{data} has {remains} and no log in wal: is its disk mounted? If the log is gone for good, keep a copy of the \
             directory, remove this host from the cluster and let it join as a new host, into an empty folder"
        );
    }
    Ok(())
}

fn report(wal: &Wal<StdDisk>, found: &Recovered) {
    if let TailEnd::Torn { .. } = found.ended {
        tracing::warn!(tail = ?found.ended, "the log ended in a batch that nobody was told of; it was zeroed");
    }
    for place in wal.scrubbed() {
        tracing::warn!(%place, "the disk rots; nothing was lost, the place was made zero again");
    }
}

/// Repairs a log until it opens. What cannot be repaired is the error, in words for a person.
fn repair(data: &Path, identity: &WalIdentity, donors: &mut dyn Donors) -> anyhow::Result<()> {
    for _ in 0..MAX_REPAIRS {
        let Some(order) = repair::find(&StdDisk, data, identity)? else {
            return Ok(());
        };
        match order.need {
            Need::Nothing => repair::apply(&StdDisk, data, identity, &order, (&[], &[]))?,
            Need::Records(need) => repair_records(data, identity, (&order, need), donors)?,
        }
        tracing::warn!(damage = %order.damage, "the log was damaged and has its bytes back");
    }
    bail!("the log is damaged in more than {MAX_REPAIRS} places: replace the disk")
}

fn repair_records(
    data: &Path,
    identity: &WalIdentity,
    (order, need): (&RepairOrder, RecordsNeed),
    donors: &mut dyn Donors,
) -> anyhow::Result<()> {
    // Members alone may be known here.
    let own = Fetched { entries: Vec::new(), members: Vec::new() };
    let own = need.entries.is_none().then_some(own);
    for Fetched { entries, members } in own.into_iter().chain(donors.ask(need)) {
        match repair::apply(&StdDisk, data, identity, order, (&entries, &members)) {
            Err(RepairError::NotReproduced { .. } | RepairError::Entries { .. }) => {}
            repaired => return repaired.context("repair the log"),
        }
    }
    let damage = &order.damage;
    bail!(
        "{damage}; no other host gave these records back and nothing was changed: start again when the others can be \
         reached, or keep a copy of the directory, remove this host from the cluster and let it join as a new host"
    )
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "damages files behind the log's back")]
mod tests {
    use std::path::PathBuf;

    use log_format::ids::{ClusterId, HostId, LogIndex, Term};
    use log_format::time::Timestamp;
    use log_format::wal::{Batch, Durability, EntryKind, FileStamp, HardState, WalOptions};

    use super::*;

    struct Peer(Vec<Vec<LogEntry>>);

    impl Donors for Peer {
        fn ask(&mut self, _: RecordsNeed) -> Box<dyn Iterator<Item = Fetched> + '_> {
            Box::new(self.0.drain(..).map(|entries| Fetched { entries, members: Vec::new() }))
        }
    }

    #[test]
    fn a_damaged_batch_is_given_back_by_the_first_host_that_has_it() {
        let (data, file) = damaged("given-back", 4_096 + 120);
        let whole = vec![entry(1)];
        let other = vec![LogEntry { term: Term::new(9), ..entry(1) }];
        let (wal, restored) =
            open(&data, setup, members(), &mut Peer(vec![Vec::new(), other, whole.clone()])).unwrap();
        assert_eq!(restored.last, LogIndex::new(2));
        let read = wal.reader().entries(LogIndex::new(1), LogIndex::new(2), u64::MAX).unwrap();
        assert_eq!(read, whole);
        drop(wal);
        assert_eq!(std::fs::read(file).unwrap()[4_096 + 120], entry(1).data[120 - 104]);
    }

    #[test]
    fn a_damaged_header_needs_nobody() {
        for byte in [60, 4_096 + 20] {
            let (data, _) = damaged(&format!("header-{byte}"), byte);
            let (_, restored) = open(&data, setup, members(), &mut Peer(Vec::new())).unwrap();
            assert_eq!(restored.last, LogIndex::new(2));
        }
    }

    #[test]
    fn without_the_others_a_damaged_batch_is_refused_in_words_and_left_alone() {
        let (data, file) = damaged("refused", 4_096 + 120);
        let before = std::fs::read(&file).unwrap();
        let text = open(&data, setup, members(), &mut Peer(Vec::new())).err().unwrap().to_string();
        assert!(text.contains("batch 1 (entries 1 to 1)"), "{text}");
        assert!(text.contains("start again when the others can be reached"), "{text}");
        assert!(std::fs::read(&file).unwrap() == before);
    }

    #[test]
    fn a_host_that_has_lost_its_log_does_not_begin_anew() {
        let (data, _) = damaged("lost", 4_096 + 120);
        std::fs::remove_dir_all(data.join("wal")).unwrap();
        for remains in REMAINS {
            std::fs::create_dir(data.join(remains)).unwrap();
            let text = open(&data, setup, members(), &mut Peer(Vec::new())).err().unwrap().to_string();
            assert!(text.contains(&format!("has {remains} and no log")), "{text}");
            std::fs::remove_dir(data.join(remains)).unwrap();
        }
        let begun = open(&data, setup, members(), &mut Peer(Vec::new())).unwrap();
        drop(begun);
        let incarnation = DataDirectory::open(&data).incarnation().unwrap();
        assert_ne!(incarnation, Incarnation::new(1), "it is another host than the one that was here");
        open(&data, setup, members(), &mut Peer(Vec::new())).unwrap();
    }

    /// A log of two batches on real files, one byte of it turned.
    fn damaged(name: &str, byte: usize) -> (PathBuf, PathBuf) {
        let data = std::env::temp_dir().join(format!("palisade-open-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data); // It is mostly not there.
        let mut wal = Wal::create(Arc::new(StdDisk), &data, setup(Incarnation::new(1)), members()).unwrap();
        for index in 1..=2 {
            wal.append(&Batch {
                hard_state: HardState { term: Term::new(1), vote: None, commit: LogIndex::new(index - 1) },
                entries: &[entry(index)],
                conf_state: None,
                durability: Durability::Sync,
            })
            .unwrap();
        }
        drop(wal);
        let file = data.join("wal/0000000000000001.wal");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[byte] ^= 0x55;
        std::fs::write(&file, bytes).unwrap();
        (data, file)
    }

    fn entry(index: u64) -> LogEntry {
        let data = vec![0x37; 100];
        LogEntry { index: LogIndex::new(index), term: Term::new(1), kind: EntryKind::Normal, data }
    }

    fn members() -> ConfState {
        ConfState::new([HostId::new(1)], [])
    }

    fn setup(incarnation: Incarnation) -> WalSetup {
        WalSetup {
            identity: WalIdentity { cluster: ClusterId::new([7; 16]), host: HostId::new(1), incarnation },
            options: WalOptions { file_bytes: 16_384 },
            stamps: Box::new(|| FileStamp { nonce: 7, created_at: Timestamp::ZERO }),
        }
    }
}
