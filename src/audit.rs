//! A file that proves itself: the events of one class, with the seals under which hosts keep them. Whoever has the file, and
//! one seal's hash from elsewhere (another host, an old export, a printed page), needs neither the cluster nor its log.
//!
//! One JSON object a line: what is exported; then for each chapter its seal, its events (all of them, or that they are
//! erased) if the range touches it, and who signed the seal; last how much there was. [`verify`] believes none of it: it
//! computes the tree of each chapter's events, the chain of the seals and the readable columns anew.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use anyhow::Context;
use log_format::chapter::{ChapterReader, Split};
use log_format::codec;
use log_format::disk::Disk;
use log_format::event::{ChapterEvent, Class, Event, HostEvent, Kind, MembershipEvent};
use log_format::ids::{ChapterNumber, ClusterId, HostId, LogIndex};
use log_format::merkle::{self, Hash, Tree};
use log_format::render;
use log_format::seal::{Seal, hex};
use log_format::time::Timestamp;
use log_format::verify::{self as log, CheckSignature, LogView};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the file's layout.
const FORMAT: u32 = 1;
/// Bytes of one line at most: the largest event in hexadecimal digits, twice as text, and room.
const MAX_LINE: u64 = 1 << 20;
/// Bytes of an erasable event's salt.
const SALT: usize = 16;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    /// What the file holds.
    Export { format: u32, cluster: String, class: String, from: u64, until: u64 },
    /// A chapter, in order from the first.
    Seal { chapter: u64, hash: String, bytes: String },
    /// An event of the chapter before.
    Event(Box<EventLine>),
    /// The chapter's events of this class are erased.
    Erased { chapter: u64 },
    /// A host's signature of a seal, and the key that the host announced in the log.
    Witness { chapter: u64, host: u64, key: String, signature: String },
    /// The end, and how much there was before it.
    End { chapters: u64, events: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    index: u64,
    ordinal: u16,
    kind: String,
    schema: u16,
    accepted_at: String,
    accepted_nanos: u64,
    observed_nanos: u64,
    /// The salt, if the class has one, and the payload.
    payload: String,
    /// What the payload says.
    text: String,
}

/// What to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Events of this class.
    pub class: Class,
    /// Chapters that hold this entry or later ones.
    pub from: LogIndex,
    /// Chapters that hold this entry or earlier ones.
    pub until: LogIndex,
}

/// What an export held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Seals.
    pub chapters: u64,
    /// Events.
    pub events: u64,
    /// The last entry under a seal.
    pub sealed: LogIndex,
}

/// Writes the file from a host's data directory. What is not sealed yet is not in it.
pub fn export<D: Disk + Clone>(
    disk: &D,
    data: &std::path::Path,
    wanted: Wanted,
    out: &mut impl Write,
) -> anyhow::Result<Exported> {
    let view = LogView::open(disk, data).with_context(|| format!("read the log in {}", data.display()))?;
    let seals = view.history().seals()?;
    let mut witnesses = witnesses(&view)?;
    let (from, until) = (wanted.from.get(), wanted.until.get());
    let class = class_name(wanted.class).to_owned();
    // The newest seal's: a cluster that was just forced to go on as another has sealed nothing yet.
    let cluster = seals.last().map_or(view.identity().cluster, |seal| seal.cluster).to_string();
    write_line(out, &Line::Export { format: FORMAT, cluster, class, from, until })?;
    let mut exported = Exported::default();
    for seal in &seals {
        let (chapter, bytes) = (seal.chapter.get(), hex(&seal.encode()));
        write_line(out, &Line::Seal { chapter, hash: hex(&seal.hash()), bytes })?;
        if wanted.touches(seal) {
            let events = export_events(disk, data, (seal, wanted.class), out)?;
            exported.events += events;
        }
        for witness in witnesses.remove(&seal.chapter).unwrap_or_default() {
            write_line(out, &witness)?;
        }
        exported.chapters += 1;
        exported.sealed = seal.last.index;
    }
    let Exported { chapters, events, .. } = exported;
    write_line(out, &Line::End { chapters, events })?;
    out.flush()?;
    Ok(exported)
}

impl Wanted {
    fn touches(&self, seal: &Seal) -> bool {
        self.from <= seal.last.index && seal.first.index <= self.until
    }
}

fn write_line(out: &mut impl Write, line: &Line) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Writes the chapter's events of the class, and says how many they are.
fn export_events<D: Disk>(
    disk: &D,
    data: &std::path::Path,
    (seal, class): (&Seal, Class),
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    let mut reader = ChapterReader::open(disk, data, seal)?;
    let mut count = 0;
    while let Some(Split { record, payloads }) = reader.next_split()? {
        let events = Split::events(&record).unwrap_or_default();
        for (event, payload) in events.iter().zip(payloads).filter(|(event, _)| event.class == class) {
            let Some(payload) = payload else {
                write_line(out, &Line::Erased { chapter: seal.chapter.get() })?;
                return Ok(0);
            };
            let line = EventLine::of(event.header, event.accepted_at, &payload)
                .with_context(|| format!("tell event {}.{}", event.index, event.ordinal))?;
            let line = EventLine { index: event.index.get(), ordinal: event.ordinal, ..line };
            write_line(out, &Line::Event(Box::new(line)))?;
            count += 1;
        }
    }
    Ok(count)
}

impl EventLine {
    /// What a header and a payload say; index and ordinal are the caller's.
    fn of(header: &[u8], accepted_at: Timestamp, payload: &[u8]) -> Option<Self> {
        let [k0, k1, s0, s1, class, observed @ ..] = <[u8; 13]>::try_from(header).ok()?;
        let kind = Kind::from_code(u16::from_le_bytes([k0, k1]))?;
        let schema = u16::from_le_bytes([s0, s1]);
        let class = Class::from_code(class)?;
        let salt = if class.is_erasable() { SALT } else { 0 };
        let event = codec::decode(kind, schema, payload.get(salt..)?).ok()?;
        Some(Self {
            index: 0,
            ordinal: 0,
            kind: kind.name().to_owned(),
            schema,
            accepted_at: accepted_at.to_string(),
            accepted_nanos: accepted_at.nanos(),
            observed_nanos: u64::from_le_bytes(observed),
            payload: hex(payload),
            text: render::event_text(&event),
        })
    }

    /// Whether this is the order by which the cluster goes on as another.
    fn forces(&self, previous: Option<ClusterId>) -> bool {
        let payload = unhex(&self.payload).filter(|_| self.kind == Kind::ClusterForced.name());
        let event =
            payload.and_then(|payload| codec::decode(Kind::ClusterForced, self.schema, &payload).ok());
        matches!(event, Some(Event::Membership(MembershipEvent::ClusterForced(forced))) if Some(forced.previous) == previous)
    }

    /// The event's leaf, if every column says the same as the payload.
    fn leaf(&self, class: Class) -> Option<Hash> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == self.kind)?;
        let payload = unhex(&self.payload)?;
        let mut header = Vec::with_capacity(13);
        header.extend(kind.code().to_le_bytes());
        header.extend(self.schema.to_le_bytes());
        header.push(kind.class().code());
        header.extend(self.observed_nanos.to_le_bytes());
        let accepted_at = Timestamp::from_nanos(self.accepted_nanos);
        let told = Self::of(&header, accepted_at, &payload)?;
        let told = Self { index: self.index, ordinal: self.ordinal, ..told };
        if told != *self || kind.class() != class {
            return None;
        }
        let (before, observed_at) = header.split_at_checked(5)?;
        Some(merkle::leaf([
            self.index.to_le_bytes().as_slice(),
            &self.ordinal.to_le_bytes(),
            before,
            &self.accepted_nanos.to_le_bytes(),
            observed_at,
            &payload,
        ]))
    }
}

/// The witnesses' signatures, by chapter.
fn witnesses<D: Disk + Clone>(view: &LogView<D>) -> anyhow::Result<BTreeMap<ChapterNumber, Vec<Line>>> {
    let mut keys: BTreeMap<HostId, [u8; 32]> = BTreeMap::new();
    let mut witnesses: BTreeMap<ChapterNumber, Vec<Line>> = BTreeMap::new();
    for entry in view.entries(LogIndex::new(1)) {
        let Some(envelope) = log::decode(&entry?)? else { continue };
        for recorded in envelope.events {
            if let Event::Host(HostEvent::KeyAnnounced(announced)) = &recorded.event {
                keys.insert(announced.host, announced.key);
            }
            if let Event::Chapter(ChapterEvent::Witnessed(witnessed)) = &recorded.event {
                let Some(key) = keys.get(&witnessed.host) else { continue };
                witnesses.entry(witnessed.chapter).or_default().push(Line::Witness {
                    chapter: witnessed.chapter.get(),
                    host: witnessed.host.get(),
                    key: hex(key),
                    signature: hex(&witnessed.signature),
                });
            }
        }
    }
    Ok(witnesses)
}

/// What a sound file proves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// The cluster, in hexadecimal digits.
    pub cluster: String,
    /// The clusters before it, each of which was forced to go on as the next one.
    pub earlier: Vec<String>,
    /// The class.
    pub class: String,
    /// Seals in an unbroken chain from the first.
    pub chapters: u64,
    /// Events, each under its chapter's seal; none of a chapter that the range touches is missing.
    pub events: u64,
    /// Chapters whose events of this class are erased.
    pub erased: u64,
    /// Signatures that are right for the key beside them.
    pub witnessed: u64,
    /// The keys that signed, in hexadecimal digits, by the hosts that the file says they belong to.
    pub keys: BTreeMap<u64, Vec<String>>,
    /// All seals' hashes, in hexadecimal digits, in order.
    pub seals: Vec<String>,
    /// The last entry under a seal.
    pub sealed: u64,
    /// When the last command under a seal was accepted.
    pub sealed_at: Timestamp,
}

/// A file that proves nothing.
#[derive(Debug, Error)]
pub enum AuditError {
    /// It cannot be read.
    #[error("read line {line}")]
    Read {
        /// The line.
        line: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not what must stand there.
    #[error("line {line}: {what}")]
    Wrong {
        /// The line.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// It ends too early.
    #[error("the file ends after line {line} without its last line: something was cut off")]
    Cut {
        /// The last line.
        line: u64,
    },
}

/// Reads a file and believes nothing of it that it does not prove.
pub fn verify(file: impl BufRead, check: CheckSignature<'_>) -> Result<Verified, AuditError> {
    let mut file = file;
    let mut reader = Reader::new(check);
    let mut number = 0;
    loop {
        let mut text = String::new();
        let read = std::io::Read::take(&mut file, MAX_LINE).read_line(&mut text);
        let length = read.map_err(|source| AuditError::Read { line: number + 1, source })?;
        if length == 0 {
            return if reader.is_ended { Ok(reader.verified) } else { Err(AuditError::Cut { line: number }) };
        }
        number += 1;
        let wrong = |what: String| AuditError::Wrong { line: number, what };
        let line =
            serde_json::from_str(&text).map_err(|error| wrong(format!("it is no line of ours: {error}")))?;
        reader.take(line).map_err(|what| wrong(what.to_owned()))?;
    }
}

struct Reader<'a> {
    check: CheckSignature<'a>,
    wanted: Option<Wanted>,
    seal: Option<Seal>,
    tree: Tree,
    last: Option<(u64, u16)>,
    /// A cluster that ended before this chapter, until the order to go on as another is found in it.
    passed: Option<ClusterId>,
    is_erased: bool,
    is_ended: bool,
    verified: Verified,
}

impl<'a> Reader<'a> {
    fn new(check: CheckSignature<'a>) -> Self {
        Self {
            check,
            wanted: None,
            seal: None,
            tree: Tree::default(),
            last: None,
            passed: None,
            is_erased: false,
            is_ended: false,
            verified: Verified::default(),
        }
    }

    fn take(&mut self, line: Line) -> Result<(), &'static str> {
        match line {
            _ if self.is_ended => Err("something stands behind the last line"),
            Line::Export { format, cluster, class, from, until } => {
                if format != FORMAT {
                    return Err("a newer version of palisade wrote it");
                }
                self.begin((cluster, class), LogIndex::new(from), LogIndex::new(until))
            }
            Line::Seal { chapter, hash, bytes } => self.take_seal(chapter, &hash, &bytes),
            Line::Event(event) => self.take_event(&event),
            Line::Erased { chapter } => self.take_erased(chapter),
            Line::Witness { chapter, host, key, signature } => {
                self.take_witness((chapter, host), &key, &signature)
            }
            Line::End { chapters, events } => {
                self.finish_chapter()?;
                if self.seal.as_ref().is_some_and(|seal| seal.cluster.to_string() != self.verified.cluster) {
                    return Err("the last seal is of another cluster than the first line says");
                }
                self.is_ended = true;
                let counted = (self.verified.chapters, self.verified.events);
                if counted == (chapters, events) { Ok(()) } else { Err("lines are missing or too many") }
            }
        }
    }

    fn begin(
        &mut self,
        (cluster, class): (String, String),
        from: LogIndex,
        until: LogIndex,
    ) -> Result<(), &'static str> {
        if self.wanted.is_some() {
            return Err("a second beginning");
        }
        let class_found = [Class::Audit, Class::Control, Class::Attack]
            .into_iter()
            .find(|known| class_name(*known) == class)
            .ok_or("the class is unknown")?;
        self.wanted = Some(Wanted { class: class_found, from, until });
        (self.verified.cluster, self.verified.class) = (cluster, class);
        Ok(())
    }

    fn take_seal(&mut self, chapter: u64, hash: &str, bytes: &str) -> Result<(), &'static str> {
        self.finish_chapter()?;
        let seal = unhex(bytes).and_then(|bytes| Seal::decode(&bytes).ok()).ok_or("the seal is damaged")?;
        if !seal.follows(self.seal.as_ref()) {
            return Err("the seal does not follow the one before it: a chapter is missing or was exchanged");
        }
        if seal.chapter.get() != chapter || hex(&seal.hash()) != hash {
            return Err("the seal has another hash or number");
        }
        let before = self.seal.as_ref().map(|before| before.cluster);
        self.passed = before.filter(|before| *before != seal.cluster);
        self.verified.earlier.extend(self.passed.iter().map(ToString::to_string));
        self.verified.chapters += 1;
        self.verified.seals.push(hash.to_owned());
        (self.verified.sealed, self.verified.sealed_at) = (seal.last.index.get(), seal.last_accepted);
        (self.seal, self.tree, self.is_erased, self.last) = (Some(seal), Tree::default(), false, None);
        Ok(())
    }

    /// The chapter's events must be all that were sealed.
    fn finish_chapter(&self) -> Result<(), &'static str> {
        let wanted = self.wanted.ok_or("the first line is missing")?;
        let Some(seal) = self.seal.as_ref().filter(|seal| wanted.touches(seal)) else {
            return if self.tree.leaves() == 0 { Ok(()) } else { Err("events of a chapter out of range") };
        };
        if wanted.class == Kind::ClusterForced.class() && self.passed.is_some() {
            return Err("the chapter before it begins another cluster, and nobody ordered that");
        }
        let part = log_format::chapter::Part::Class(wanted.class);
        let sealed = seal.parts.get(part.place()).copied().unwrap_or_default();
        if self.is_erased || (self.tree.leaves(), self.tree.root()) == (sealed.leaves, sealed.root) {
            return Ok(());
        }
        Err("the events before it are not those that were sealed: some were changed, left out or added")
    }

    fn take_event(&mut self, event: &EventLine) -> Result<(), &'static str> {
        let (Some(wanted), Some(seal)) = (self.wanted, &self.seal) else {
            return Err("an event before the first seal");
        };
        let place = (event.index, event.ordinal);
        let is_inside = (seal.first.index.get()..=seal.last.index.get()).contains(&event.index);
        if !is_inside || self.last.is_some_and(|last| place <= last) || self.is_erased {
            return Err("the event is out of place");
        }
        let leaf = event.leaf(wanted.class).ok_or("the event's columns do not say what its payload says")?;
        if event.forces(self.passed) {
            self.passed = None;
        }
        self.tree.push(leaf);
        self.last = Some(place);
        self.verified.events += 1;
        Ok(())
    }

    fn take_erased(&mut self, chapter: u64) -> Result<(), &'static str> {
        let is_here = self.seal.as_ref().is_some_and(|seal| seal.chapter.get() == chapter);
        let may_be = self.wanted.is_some_and(|wanted| wanted.class.is_erasable());
        if !is_here || !may_be || self.tree.leaves() != 0 {
            return Err("events of this class are never erased, or not here");
        }
        self.is_erased = true;
        self.verified.erased += 1;
        Ok(())
    }

    fn take_witness(
        &mut self,
        (chapter, host): (u64, u64),
        key: &str,
        signature: &str,
    ) -> Result<(), &'static str> {
        let seal = self.seal.as_ref().filter(|seal| seal.chapter.get() == chapter);
        let seal = seal.ok_or("a signature of another chapter")?;
        let key_bytes = unhex(key).and_then(|key| <[u8; 32]>::try_from(key).ok()).ok_or("no key")?;
        let signature = unhex(signature).ok_or("no signature")?;
        if !(self.check)(&key_bytes, &seal.hash(), &signature) {
            return Err("the signature is wrong");
        }
        self.verified.witnessed += 1;
        let keys = self.verified.keys.entry(host).or_default();
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
        Ok(())
    }
}

/// The name of a class on the command line and in the file.
pub fn class_name(class: Class) -> &'static str {
    match class {
        Class::Audit => "audit",
        Class::Control => "control",
        Class::Attack => "attack",
    }
}

/// Reads lower-case hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()).collect()
}

#[cfg(test)]
mod tests;
