//! Goes through all files of a log, in order, by the recovery rule.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::BatchHeader;
use super::file_header::{FileHeader, HeaderError};
use super::index::{self, Index, Span};
use super::names;
use super::record::{self, Contents};
use super::types::{ConfState, HardState, Stray, WalIdentity};
use crate::disk::{Access, Disk, DiskFile};
use crate::ids::{BatchNumber, LogIndex, WalSequence};
use crate::recover::{Damage, Ending, Evidence, FileEnd, FileScan, Place, RecoverError};

/// Places with stray bytes that are remembered; with more, the others are found at the next start.
const MAX_STRAYS: usize = 1_024;

/// What the files hold.
pub(crate) struct Walk<F> {
    pub(crate) index: Index<F>,
    pub(crate) identity: WalIdentity,
    pub(crate) hard_state: HardState,
    pub(crate) conf_state: ConfState,
    pub(crate) files: u64,
    pub(crate) batches: u64,
    /// Of whole batches and file headers.
    pub(crate) bytes: u64,
    pub(crate) tail: Tail<F>,
    pub(crate) ending: Ending,
    pub(crate) strays: Vec<(Arc<F>, Stray)>,
}

/// The last file that was reached, and where its good batches end.
pub(crate) struct Tail<F> {
    pub(crate) file: Arc<F>,
    pub(crate) path: PathBuf,
    pub(crate) header: FileHeader,
    /// Where its last batch begins; `offset` if it has none.
    pub(crate) last: u64,
    pub(crate) offset: u64,
    pub(crate) next: BatchNumber,
    /// Header checksum of the last batch, in this file or before it.
    pub(crate) last_crc: u32,
}

/// A file whose first block was read.
struct Opened<F> {
    file: Arc<F>,
    path: PathBuf,
    sequence: WalSequence,
    header: Result<FileHeader, Evidence>,
}

/// Reads the whole log below this directory. Damage is an ending, not an error.
pub(crate) fn walk<D: Disk>(
    disk: &D,
    directory: &Path,
    access: Access,
) -> Result<Walk<D::File>, RecoverError> {
    let sequences = names::log_files(disk, directory)?;
    let mut files = sequences.into_iter();
    let Some(first) = files.next() else {
        let directory = directory.to_owned();
        return Err(RecoverError::Missing { directory });
    };
    let mut walk = Walk::start(open(disk, directory, first, access)?)?;
    walk.read_file()?;
    for sequence in files {
        if matches!(walk.ending, Ending::Corrupt(_)) {
            break;
        }
        walk.go_on(open(disk, directory, sequence, access)?)?;
    }
    Ok(walk)
}

fn open<D: Disk>(
    disk: &D,
    directory: &Path,
    sequence: WalSequence,
    access: Access,
) -> Result<Opened<D::File>, RecoverError> {
    let path = names::log_file(directory, sequence);
    let file = Arc::new(disk.open(&path, access)?);
    let header = match FileHeader::read(&FileScan::header_block(&file)?) {
        Ok(header) => check(header, sequence, file.length()?),
        Err(HeaderError::Damaged) => Err(Evidence::FileHeader),
        Err(HeaderError::Version(format)) => {
            let what = format!("log format {format}");
            return Err(RecoverError::Version { file: path, what });
        }
    };
    Ok(Opened { file, path, sequence, header })
}

fn check(header: FileHeader, sequence: WalSequence, length: u64) -> Result<FileHeader, Evidence> {
    if header.sequence != sequence {
        let found = header.sequence;
        return Err(Evidence::FileNumber { found });
    }
    if header.file_bytes != length {
        let (found, expected) = (length, header.file_bytes);
        return Err(Evidence::Length { found, expected });
    }
    Ok(header)
}

impl<F: DiskFile> Walk<F> {
    /// Begins with the oldest file. Without its header there is nothing to go by.
    fn start(opened: Opened<F>) -> Result<Self, RecoverError> {
        let header = opened.header.map_err(|evidence| {
            RecoverError::Corrupt(Box::new(Damage {
                file: opened.path.clone(),
                offset: 0,
                batch: BatchNumber::default(),
                entries: None,
                evidence,
            }))
        })?;
        let mut index = Index::new(header.base);
        index.add_file(&header, Arc::clone(&opened.file));
        Ok(Self {
            index,
            identity: header.identity,
            hard_state: HardState::default(),
            conf_state: header.conf_state.clone(),
            files: 1,
            batches: 0,
            bytes: super::BLOCK_BYTES,
            tail: Tail {
                file: opened.file,
                path: opened.path,
                last: super::BLOCK_BYTES,
                offset: super::BLOCK_BYTES,
                next: header.first_batch,
                last_crc: header.previous_crc,
                header,
            },
            ending: Ending::Clean,
            strays: Vec::new(),
        })
    }

    /// Continues with the next file, if it is one. That it exists proves that the file before it was complete.
    fn go_on(&mut self, opened: Opened<F>) -> Result<(), RecoverError> {
        let expected = WalSequence::new(self.tail.header.sequence.get().saturating_add(1));
        let header = match opened.header {
            Ok(header) if opened.sequence == expected => header,
            Ok(_) => return self.corrupt(opened.path, Evidence::MissingFile { expected }),
            Err(evidence) => return self.corrupt(opened.path, evidence),
        };
        if header.identity != self.identity {
            return Err(RecoverError::WrongIdentity {
                file: opened.path,
                expected: Box::new(self.identity),
                found: Box::new(header.identity),
            });
        }
        if header.first_batch != self.tail.next || self.due_was_begun() {
            self.refuse_successor(opened.path, &header);
            return Ok(());
        }
        if header.previous_crc != self.tail.last_crc {
            let (found, expected) = (header.previous_crc.into(), self.tail.last_crc.into());
            return self.corrupt(opened.path, Evidence::Chain { found, expected });
        }
        if self.ending != Ending::Clean {
            let (start, end) = (self.tail.offset, self.tail.header.file_bytes);
            self.note_stray(start, end.saturating_sub(start));
        }
        self.enter(opened.file, opened.path, header);
        self.read_file()
    }

    /// Whether the due batch lies in the tail file, damaged: then no other file can begin with it.
    fn due_was_begun(&self) -> bool {
        match &self.ending {
            Ending::Clean => false,
            Ending::Torn(damage) | Ending::Suspect(damage) | Ending::Corrupt(damage) => {
                damage.evidence == Evidence::BatchBody
            }
        }
    }

    /// The next file names another batch than the one that is due here.
    fn refuse_successor(&mut self, path: PathBuf, header: &FileHeader) {
        let (file, batch) = (header.sequence, header.first_batch);
        if self.tail.next < batch || self.due_was_begun() {
            let entries = match &self.ending {
                Ending::Torn(damage) | Ending::Suspect(damage) | Ending::Corrupt(damage) => damage.entries,
                Ending::Clean => None,
            };
            let mut damage = self.damage(Evidence::LaterFile { file, batch });
            damage.entries = entries;
            self.ending = Ending::Corrupt(Box::new(damage));
        } else {
            let (found, expected) = (batch.get(), self.tail.next.get());
            let mut damage = self.damage(Evidence::Chain { found, expected });
            (damage.file, damage.offset) = (path, 0);
            self.ending = Ending::Corrupt(Box::new(damage));
        }
    }

    fn corrupt(&mut self, file: PathBuf, evidence: Evidence) -> Result<(), RecoverError> {
        let mut damage = self.damage(evidence);
        (damage.file, damage.offset) = (file, 0);
        self.ending = Ending::Corrupt(Box::new(damage));
        Ok(())
    }

    fn enter(&mut self, file: Arc<F>, path: PathBuf, header: FileHeader) {
        if header.base != self.index.last() {
            self.index.restart(header.base, header.sequence);
        }
        self.index.add_file(&header, Arc::clone(&file));
        self.conf_state.clone_from(&header.conf_state);
        self.files += 1;
        self.bytes += super::BLOCK_BYTES;
        self.tail.file = file;
        self.tail.path = path;
        self.tail.last = super::BLOCK_BYTES;
        self.tail.offset = super::BLOCK_BYTES;
        self.tail.header = header;
        self.ending = Ending::Clean;
    }

    /// Reads the batches of the tail file.
    fn read_file(&mut self) -> Result<(), RecoverError> {
        let mut scan = FileScan::new(Arc::clone(&self.tail.file), &self.tail.header)?;
        loop {
            match scan.advance()? {
                Place::Batch { offset, header } => {
                    let body = scan.body(offset, &header)?;
                    let contents = record::read_body(&header, body);
                    if !self.take(offset, &header, contents) {
                        return Ok(());
                    }
                    if let Some((start, length)) = scan.bad_padding(offset, &header)? {
                        self.note_stray(start, length);
                    }
                    self.tail.last = offset;
                    self.tail.offset = scan.offset;
                    self.tail.next = scan.due;
                    self.tail.last_crc = header.header_crc;
                }
                Place::End(end) => return self.end(end),
            }
        }
    }

    fn note_stray(&mut self, offset: u64, length: u64) {
        if self.strays.len() < MAX_STRAYS {
            let stray = Stray { file: self.tail.path.clone(), offset, length };
            self.strays.push((Arc::clone(&self.tail.file), stray));
        }
    }

    /// Adds a good batch; false if its contents make no sense, which ends the walk.
    fn take(
        &mut self,
        offset: u64,
        header: &BatchHeader,
        contents: Result<Contents<'_>, super::ContentError>,
    ) -> bool {
        let contents = match contents {
            Ok(contents) if contents.entries.is_empty() || self.index.took(header.first) => contents,
            Ok(_) => return self.nonsense(header, Evidence::Gap { first: header.first }),
            Err(error) => return self.nonsense(header, error.into()),
        };
        if !contents.entries.is_empty() {
            let span = Span {
                first: header.first,
                last: header.last,
                file: self.tail.header.sequence,
                offset,
                header: *header,
            };
            self.index.add(span, &index::runs_of_contents(&contents));
        }
        self.hard_state = header.hard_state;
        if let Some(conf_state) = contents.conf_state {
            self.conf_state = conf_state;
        }
        self.batches += 1;
        self.bytes = self.bytes.saturating_add(header.padded_bytes());
        true
    }

    fn nonsense(&mut self, header: &BatchHeader, evidence: Evidence) -> bool {
        let mut damage = self.damage(evidence);
        damage.entries = range(header);
        self.ending = Ending::Corrupt(Box::new(damage));
        false
    }

    fn end(&mut self, end: FileEnd) -> Result<(), RecoverError> {
        let damage = |evidence, header: Option<BatchHeader>| {
            let mut damage = self.damage(evidence);
            damage.entries = header.as_ref().and_then(range);
            Box::new(damage)
        };
        self.ending = match end {
            FileEnd::Clean => Ending::Clean,
            FileEnd::Torn(evidence) => Ending::Torn(damage(evidence, None)),
            FileEnd::Suspect(evidence, header) => Ending::Suspect(damage(evidence, header)),
            FileEnd::Corrupt(evidence, header) => Ending::Corrupt(damage(evidence, header)),
            FileEnd::Newer { flags } => {
                let (file, what) = (self.tail.path.clone(), format!("batch flags {flags:#06x}"));
                return Err(RecoverError::Version { file, what });
            }
        };
        Ok(())
    }

    /// Damage at the place where the next batch is due.
    fn damage(&self, evidence: Evidence) -> Damage {
        Damage {
            file: self.tail.path.clone(),
            offset: self.tail.offset,
            batch: self.tail.next,
            entries: None,
            evidence,
        }
    }
}

fn range(header: &BatchHeader) -> Option<(LogIndex, LogIndex)> {
    (0 < header.entries()).then_some((header.first, header.last))
}
