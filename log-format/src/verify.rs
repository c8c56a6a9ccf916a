//! Looks at a log and its chapters without a lock and without writing: for `palisade log verify`, `stats` and `dump`, on
//! a live directory or on a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use thiserror::Error;

use crate::chapter::{self, ChapterError};
use crate::disk::{Access, Disk};
use crate::envelope::{Envelope, EnvelopeError};
use crate::event::{ChapterEvent, Event, HostEvent, MembershipEvent};
use crate::history::History;
use crate::ids::{ChapterNumber, ClusterId, HostId, LogIndex};
use crate::merkle::Hash;
use crate::recover::{Damage, Ending, RecoverError};
use crate::seal::Seal;
use crate::wal::{
    self, ConfState, Entries, EntryKind, HardState, LogEntry, LogPosition, ReadError, Stray, WalIdentity,
    WalReader,
};

/// How often a log is read that does not end cleanly or has something wrong: on a live directory a batch may be seen half
/// written, a later one beside it, or a file be retired. Damage is still there the next time.
const ATTEMPTS: u32 = 3;
/// Problems that a report holds; the rest is only counted.
const MAX_PROBLEMS: usize = 100;

/// A log as it was found.
pub struct LogView<D: Disk> {
    identity: WalIdentity,
    hard_state: HardState,
    conf_state: ConfState,
    ending: Ending,
    files: u64,
    batches: u64,
    bytes: u64,
    strays: Vec<Stray>,
    /// Chapters that were noted as erased before the log was read.
    erased: BTreeSet<ChapterNumber>,
    history: History<D>,
    disk: Arc<D>,
    data: PathBuf,
}

/// Says whether a host's signature of a seal's hash is right: key, hash, signature (Ed25519, RFC 8032).
pub type CheckSignature<'a> = &'a dyn Fn(&[u8; 32], &Hash, &[u8]) -> bool;

/// What a log holds and what is wrong with it.
#[derive(Debug)]
pub struct Report {
    /// Whose log it is.
    pub identity: WalIdentity,
    /// Files that belong together.
    pub files: u64,
    /// Whole batches.
    pub batches: u64,
    /// Bytes of whole batches and file headers.
    pub bytes: u64,
    /// Chapters.
    pub chapters: u64,
    /// The last entry that is in a chapter; zero if none is.
    pub sealed: LogIndex,
    /// The newest seal's hash: whoever keeps it elsewhere can tell later that nothing before it was changed.
    pub seal: Option<Hash>,
    /// Signatures of seals by hosts that were checked.
    pub witnessed: u64,
    /// Entries that still count, in chapters and in the log.
    pub entries: u64,
    /// Events in them.
    pub events: u64,
    /// Events whose payloads are erased.
    pub erased: u64,
    /// The index of the first entry that the log itself holds, or of the one to come.
    pub first: LogIndex,
    /// The last entry.
    pub last: LogPosition,
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The members.
    pub conf_state: ConfState,
    /// How it ends.
    pub ended: Ending,
    /// What is wrong, at most a hundred findings.
    pub problems: Vec<Problem>,
    /// Findings beyond those.
    pub more_problems: u64,
}

/// Something wrong with a log. A torn tail is none: nobody was told of it.
#[derive(Debug, Error)]
pub enum Problem {
    /// Acknowledged data is damaged.
    #[error("corrupt: {0}")]
    Corrupt(Box<Damage>),
    /// The last batch is damaged and was probably acknowledged.
    #[error("suspect: {0}")]
    Suspect(Box<Damage>),
    /// Bytes that must be zero are not; nothing is lost, and a start makes them zero again.
    #[error("stray bytes: {0}")]
    Stray(Stray),
    /// An entry's data does not decode: a host stops there.
    #[error("entry {index} does not decode: {}", chain(source))]
    Undecodable {
        /// The entry.
        index: LogIndex,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// A chapter is damaged.
    #[error("{}", chain(.0))]
    Chapter(Box<ChapterError>),
    /// Entries are neither in a chapter nor in the log.
    #[error("the entries from {from} on are in no chapter, and the log begins with {first}")]
    Gap {
        /// The first that is missing.
        from: LogIndex,
        /// The first that is held.
        first: LogIndex,
    },
    /// A chapter is not the one that the log says.
    #[error("chapter {chapter} here is not the one that the log says was sealed")]
    Differs {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// The cluster changes where nobody ordered it.
    #[error(
        "chapter {chapter} and what is behind it belong to another cluster than those before, {cluster}, and the log does not say that this was ordered"
    )]
    Foreign {
        /// The first chapter of the other cluster, or the one to come.
        chapter: ChapterNumber,
        /// The cluster before.
        cluster: ClusterId,
    },
    /// Attack data is gone that nobody ordered to erase.
    #[error(
        "the attack data of chapter {chapter} is noted as erased, and the log does not say that this was ordered"
    )]
    ErasedUnordered {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// Attack data is here that was to be erased.
    #[error(
        "the attack data of chapter {chapter} was ordered to be erased and is still here; a start erases it"
    )]
    NotErased {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// A signature is wrong.
    #[error("host {host} did not sign the seal of chapter {chapter} with the key that it announced")]
    Witness {
        /// The chapter.
        chapter: ChapterNumber,
        /// The host.
        host: HostId,
    },
    /// Entries could not be read, from this one on.
    #[error("entry {index} cannot be read: {}", chain(source))]
    Unreadable {
        /// The first of them.
        index: LogIndex,
        /// Why.
        #[source]
        source: ReadError,
    },
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn note(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn count(&mut self, entry: &LogEntry) -> Option<Envelope> {
        self.entries += 1;
        match decode(entry) {
            Ok(envelope) => {
                let events = envelope.iter().flat_map(|envelope| &envelope.events);
                for recorded in events {
                    self.events += 1;
                    self.erased += u64::from(matches!(recorded.event, Event::Erased(_)));
                }
                envelope
            }
            Err(source) => {
                self.note(Problem::Undecodable { index: entry.index, source });
                None
            }
        }
    }
}

/// What the log says of its chapters, compared with what is here.
struct Claims<'a> {
    seals: BTreeMap<ChapterNumber, Hash>,
    /// Clusters that were forced to go on as another.
    forced: BTreeSet<ClusterId>,
    keys: BTreeMap<HostId, [u8; 32]>,
    /// The last chapter that was ordered to be erased.
    erased: ChapterNumber,
    check: CheckSignature<'a>,
}

impl Claims<'_> {
    /// A chapter that is not sealed here yet has nothing to compare.
    fn compare(&mut self, event: &Event, report: &mut Report) {
        match event {
            Event::Host(HostEvent::KeyAnnounced(announced)) => {
                self.keys.insert(announced.host, announced.key);
            }
            Event::Membership(MembershipEvent::ClusterForced(forced)) => {
                self.forced.insert(forced.previous);
            }
            Event::Chapter(ChapterEvent::Sealed(sealed)) => {
                let chapter = sealed.chapter;
                if self.seals.get(&chapter).is_some_and(|here| *here != sealed.seal) {
                    report.note(Problem::Differs { chapter });
                }
            }
            Event::Chapter(ChapterEvent::Witnessed(witnessed)) => {
                let (chapter, host) = (witnessed.chapter, witnessed.host);
                let Some(seal) = self.seals.get(&chapter) else { return };
                let key = self.keys.get(&host);
                if key.is_some_and(|key| (self.check)(key, seal, &witnessed.signature)) {
                    report.witnessed += 1;
                } else {
                    report.note(Problem::Witness { chapter, host });
                }
            }
            Event::Chapter(ChapterEvent::Erased(cut)) => self.erased = self.erased.max(cut.chapter),
            Event::Host(_)
            | Event::Chapter(_)
            | Event::Attack(_)
            | Event::Denylist(_)
            | Event::Settings(_)
            | Event::Membership(_)
            | Event::Erased(_) => {}
        }
    }
}

/// Reads everything and reports. On a live directory files are retired, used again and erased while they are read: what is
/// wrong is still wrong when everything is read again.
pub fn verify<D: Disk + Clone>(
    disk: &D,
    data: &Path,
    check: CheckSignature<'_>,
) -> Result<Report, RecoverError> {
    let read = || LogView::open(disk, data).map(|view| view.report(check));
    for _ in 1..ATTEMPTS {
        if let Ok(report) = read()
            && report.is_sound()
        {
            return Ok(report);
        }
    }
    read()
}

/// The envelope in an entry; `None` if the entry is Raft's own.
pub fn decode(entry: &LogEntry) -> Result<Option<Envelope>, EnvelopeError> {
    match entry.kind {
        EntryKind::Normal if !entry.data.is_empty() => Envelope::decode(&entry.data).map(Some),
        EntryKind::Normal | EntryKind::ConfChange | EntryKind::ConfChangeV2 => Ok(None),
    }
}

impl<D: Disk + Clone> LogView<D> {
    /// Finds the batches of the log below a data directory.
    pub fn open(disk: &D, data: &Path) -> Result<Self, RecoverError> {
        let directory = wal::wal_directory(data);
        // The order stands in the log before anything is erased: a note that is read before the log has its order there.
        let erased = erased_chapters(disk, data);
        let walk = Self::walk(disk, &directory)?;
        let (disk, reader) = (Arc::new(disk.clone()), WalReader::new(Arc::new(RwLock::new(walk.index))));
        Ok(Self {
            identity: walk.identity,
            hard_state: walk.hard_state,
            conf_state: walk.conf_state,
            ending: walk.ending,
            files: walk.files,
            batches: walk.batches,
            bytes: walk.bytes,
            strays: walk.strays.into_iter().map(|(_, stray)| stray).collect(),
            erased,
            history: History::new(Arc::clone(&disk), data, reader),
            disk,
            data: data.to_owned(),
        })
    }

    fn walk(disk: &D, directory: &Path) -> Result<wal::Walk<D::File>, RecoverError> {
        for _ in 1..ATTEMPTS {
            match wal::walk(disk, directory, Access::Read) {
                Ok(walk) if walk.ending == Ending::Clean => return Ok(walk),
                Ok(_) => {}
                Err(RecoverError::Disk(error)) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        wal::walk(disk, directory, Access::Read)
    }

    /// Whose log it is.
    pub fn identity(&self) -> WalIdentity {
        self.identity
    }

    /// Term, vote and commit index; entries above the commit index may still be replaced.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The members, as far as the log is good.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// How the log ends; entries before that place are good.
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// Reads the entries, those in chapters too.
    pub fn history(&self) -> &History<D> {
        &self.history
    }

    /// The entries from an index on, without those that were replaced.
    pub fn entries(&self, from: LogIndex) -> Entries<&History<D>> {
        self.history.iter(from.max(LogIndex::new(1)), self.history.wal().last().index.next())
    }

    /// Reads and decodes all entries, and compares chapters with their seals and seals with their witnesses.
    pub fn report(&self, check: CheckSignature<'_>) -> Report {
        let mut report = self.empty_report();
        match &self.ending {
            Ending::Clean | Ending::Torn(_) => {}
            Ending::Corrupt(damage) => report.note(Problem::Corrupt(damage.clone())),
            Ending::Suspect(damage) => report.note(Problem::Suspect(damage.clone())),
        }
        self.strays.iter().for_each(|stray| report.note(Problem::Stray(stray.clone())));
        let seals = self.sound_chapters(&mut report);
        let mut next = LogIndex::new(1);
        if seals.last().map_or(LogIndex::default(), |seal| seal.last.index).next() < report.first {
            let from = report.sealed.next();
            next = report.first;
            report.note(Problem::Gap { from, first: next });
        }
        let passages = self.passages(&seals);
        let seals = seals.iter().map(|seal| (seal.chapter, seal.hash())).collect();
        let mut claims = Claims {
            seals,
            forced: BTreeSet::new(),
            keys: BTreeMap::new(),
            erased: ChapterNumber::default(),
            check,
        };
        for entry in self.entries(next) {
            match entry {
                Ok(entry) => {
                    next = entry.index.next();
                    let envelope = report.count(&entry);
                    let events = envelope.iter().flat_map(|envelope| &envelope.events);
                    events.for_each(|recorded| claims.compare(&recorded.event, &mut report));
                }
                Err(source) => report.note(Problem::Unreadable { index: next, source }),
            }
        }
        self.compare_erasures(&claims, &mut report);
        for (chapter, cluster) in passages.into_iter().filter(|(_, before)| !claims.forced.contains(before)) {
            report.note(Problem::Foreign { chapter, cluster });
        }
        report
    }

    /// Erased is what was ordered to be, and nothing else: the note is this host's own, and proves nothing.
    fn compare_erasures(&self, claims: &Claims<'_>, report: &mut Report) {
        for chapter in self.erased.iter().copied().filter(|chapter| claims.erased < *chapter) {
            report.note(Problem::ErasedUnordered { chapter });
        }
        let ordered = claims.seals.keys().copied().take_while(|chapter| *chapter <= claims.erased);
        for chapter in ordered {
            if !chapter::is_noted_erased(&*self.disk, &self.data, chapter) {
                report.note(Problem::NotErased { chapter });
            }
        }
    }

    /// The chapters with which another cluster begins, each with the cluster before it.
    fn passages(&self, seals: &[Seal]) -> Vec<(ChapterNumber, ClusterId)> {
        let own = self.identity.cluster;
        let clusters = seals.iter().map(|seal| (seal.chapter, seal.cluster));
        let behind = seals.last().map(|seal| (ChapterNumber::new(seal.chapter.get().saturating_add(1)), own));
        let clusters: Vec<_> = clusters.chain(behind).collect();
        let passes = |pair: &[(ChapterNumber, ClusterId)]| match pair {
            [(_, before), (chapter, after)] if before != after => Some((*chapter, *before)),
            _ => None,
        };
        clusters.windows(2).filter_map(passes).collect()
    }

    fn empty_report(&self) -> Report {
        let reader = self.history.wal();
        Report {
            identity: self.identity,
            files: self.files,
            batches: self.batches,
            bytes: self.bytes,
            chapters: 0,
            sealed: LogIndex::default(),
            seal: None,
            witnessed: 0,
            entries: 0,
            events: 0,
            erased: 0,
            first: reader.first_index(),
            last: reader.last(),
            hard_state: self.hard_state,
            conf_state: self.conf_state.clone(),
            ended: self.ending.clone(),
            problems: Vec::new(),
            more_problems: 0,
        }
    }

    /// The seals of all chapters up to the first that cannot be used.
    fn sound_chapters(&self, report: &mut Report) -> Vec<Seal> {
        let mut seals: Vec<Seal> = Vec::new();
        loop {
            match chapter::next_seal(&*self.disk, &self.data, seals.last()) {
                Ok(Some(seal)) => {
                    if let Err(error) = chapter::verify(&*self.disk, &self.data, &seal) {
                        report.note(Problem::Chapter(Box::new(error)));
                    }
                    report.chapters += 1;
                    (report.sealed, report.seal) = (seal.last.index, Some(seal.hash()));
                    seals.push(seal);
                }
                Ok(None) => return seals,
                Err(error) => {
                    report.note(Problem::Chapter(Box::new(error)));
                    return seals;
                }
            }
        }
    }
}

/// The chapters, from the first on, that are noted as erased.
fn erased_chapters<D: Disk>(disk: &D, data: &Path) -> BTreeSet<ChapterNumber> {
    let chapters = (1..).map(ChapterNumber::new);
    let sealed = chapters.take_while(|chapter| matches!(chapter::seal(disk, data, *chapter), Ok(Some(_))));
    sealed.filter(|chapter| chapter::is_noted_erased(disk, data, *chapter)).collect()
}

/// An error with everything behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
