//! The log's chapters as the rules know them: cut, sealed, witnessed, rolled up and erased, each in order.
//!
//! ```text
//!  (open) ── cut ──> Cut ── sealed ──> Sealed ── erased ──> Erased (its attack data; the chapter stays)
//!                                       │  ^
//!                                       └──┘ witnessed, once by each host; rolled up, once
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use log_format::event::{
    Actor, AttackCount, AttackRolledUp, ChapterCut, ChapterEvent, ChapterSealed, Event, RetentionCut,
    SealWitnessed,
};
use log_format::ids::{ChapterNumber, HostId, LogIndex};
use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CommandBody, Model, Rejection};
use crate::digest::{Canonical, CanonicalHasher};

/// Chapters remembered at most, the oldest forgotten first: three months of one every two minutes, with some ten
/// megabytes. A forgotten chapter takes no more witnesses, and its attack data goes with that of a later one.
pub const MAX_CHAPTERS: usize = 65_536;
/// Counts of one roll-up at most: a chapter's days, hosts and kinds of attack, far under the codec's limit.
pub const MAX_ROLLED_UP: usize = 1_024;
/// How long a chapter's attack data is kept at least: strikes count for a minute, and what decides which of them are
/// counted was itself decided within the minute before. After this, nothing that is folded rests on them.
pub const KEPT_AT_LEAST: Duration = Duration::from_secs(180);
/// Bytes of an Ed25519 signature (RFC 8032).
const SIGNATURE_BYTES: usize = 64;
const NANOS_PER_DAY: u64 = 86_400_000_000_000;

/// When the leader cuts a chapter, beside every midnight (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChapterLimits {
    /// Entries of a chapter.
    pub entries: u64,
    /// Bytes of a chapter's entries.
    pub bytes: u64,
}

impl Default for ChapterLimits {
    /// Small enough to be sealed in the background within a second, large enough to compress well.
    fn default() -> Self {
        Self { entries: 16_384, bytes: 32 << 20 }
    }
}

/// What the leader knows of its log beyond the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Bytes of the entries after the last cut.
    pub bytes: u64,
}

/// One chapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chapter {
    /// Its last entry.
    pub last: LogIndex,
    /// When it was cut.
    pub cut_at: Timestamp,
    /// Its seal's hash, once it has one.
    pub seal: Option<[u8; 32]>,
    /// The hosts that vouch for the seal.
    pub witnesses: BTreeSet<HostId>,
    /// Whether its attacks are counted for good.
    pub is_rolled_up: bool,
}

/// All chapters that are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chapters {
    by_number: BTreeMap<ChapterNumber, Chapter>,
    last_cut: Option<(ChapterNumber, LogIndex)>,
    last_sealed: Option<ChapterNumber>,
    erased_upto: Option<(ChapterNumber, LogIndex)>,
    /// The time of the open chapter's first entry; `None`: it has none.
    open_since: Option<Timestamp>,
}

impl Chapters {
    /// A chapter that is remembered.
    pub fn get(&self, chapter: ChapterNumber) -> Option<&Chapter> {
        self.by_number.get(&chapter)
    }

    /// The chapters that are remembered, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ChapterNumber, &Chapter)> {
        self.by_number.iter().map(|(number, chapter)| (*number, chapter))
    }

    /// The newest chapter that was cut, and its last entry.
    pub fn last_cut(&self) -> Option<(ChapterNumber, LogIndex)> {
        self.last_cut
    }

    /// The newest chapter that is sealed.
    pub fn last_sealed(&self) -> Option<ChapterNumber> {
        self.last_sealed
    }

    /// The next chapter to seal, if one is cut.
    pub fn unsealed(&self) -> Option<(ChapterNumber, LogIndex)> {
        let next = successor(self.last_sealed);
        self.get(next).map(|chapter| (next, chapter.last))
    }

    /// The newest chapter whose attack data is erased, and its last entry: that of all before it is erased too.
    pub fn erased_upto(&self) -> Option<(ChapterNumber, LogIndex)> {
        self.erased_upto
    }

    /// Every entry belongs to a chapter, also one without events.
    pub(crate) fn note_entry(&mut self, at: Timestamp) {
        self.open_since.get_or_insert(at);
    }

    pub(crate) fn evolve(&mut self, event: &ChapterEvent, at: Timestamp) {
        match event {
            ChapterEvent::Cut(ChapterCut { chapter, last }) => self.cut(*chapter, *last, at),
            ChapterEvent::Sealed(ChapterSealed { chapter, seal }) => {
                self.last_sealed = self.last_sealed.max(Some(*chapter));
                self.change(*chapter, |held| held.seal = Some(*seal));
            }
            ChapterEvent::Witnessed(SealWitnessed { chapter, host, signature: _ }) => {
                self.change(*chapter, |held| _ = held.witnesses.insert(*host));
            }
            ChapterEvent::Erased(RetentionCut { chapter, last, by: _ }) => {
                self.erased_upto = self.erased_upto.max(Some((*chapter, *last)));
            }
            ChapterEvent::RolledUp(AttackRolledUp { chapter, counts: _ }) => {
                self.change(*chapter, |held| held.is_rolled_up = true);
            }
        }
    }

    fn cut(&mut self, chapter: ChapterNumber, last: LogIndex, cut_at: Timestamp) {
        let (seal, witnesses, is_rolled_up) = (None, BTreeSet::new(), false);
        self.by_number.insert(chapter, Chapter { last, cut_at, seal, witnesses, is_rolled_up });
        while MAX_CHAPTERS < self.by_number.len() {
            self.by_number.pop_first();
        }
        self.last_cut = Some((chapter, last));
        self.open_since = Some(cut_at); // The cut itself stands in the next chapter.
    }

    fn change(&mut self, chapter: ChapterNumber, change: impl FnOnce(&mut Chapter)) {
        if let Some(chapter) = self.by_number.get_mut(&chapter) {
            change(chapter);
        }
    }

    fn sealed(&self, chapter: ChapterNumber) -> Result<(&Chapter, [u8; 32]), Rejection> {
        let held = self.get(chapter).ok_or(Rejection::UnknownChapter { chapter })?;
        held.seal.map(|seal| (held, seal)).ok_or(Rejection::ChapterNotSealed { chapter })
    }
}

/// The chapter that the leader should cut now: at midnight (UTC), or when the open one is as large as it may become.
pub fn due(model: &Model, now: Timestamp, limits: &ChapterLimits, stats: &LogStats) -> Option<CommandBody> {
    let (chapters, last) = (model.chapters(), model.applied());
    let before = chapters.last_cut.map_or(LogIndex::default(), |(_, last)| last);
    let entries = last.get().saturating_sub(before.get());
    let is_of_yesterday = chapters.open_since.is_some_and(|since| day_of(since) < day_of(now));
    let is_full = limits.entries <= entries || limits.bytes <= stats.bytes;
    (0 < entries && (is_of_yesterday || is_full)).then_some(CommandBody::CutChapter { last })
}

fn day_of(at: Timestamp) -> u64 {
    at.nanos() / NANOS_PER_DAY
}

fn successor(chapter: Option<ChapterNumber>) -> ChapterNumber {
    ChapterNumber::new(chapter.map_or(0, ChapterNumber::get).saturating_add(1))
}

/// Judges a cut: after the one before, and of what is in the log.
pub(super) fn cut(model: &Model, last: LogIndex) -> Result<Vec<Event>, Rejection> {
    let before = model.chapters.last_cut;
    let (least, most) = (before.map_or(1, |(_, last)| last.get().saturating_add(1)), model.applied().get());
    if !(least..=most).contains(&last.get()) {
        return Err(Rejection::OutOfRange { field: "last", value: last.get(), least, most });
    }
    let chapter = successor(before.map(|(chapter, _)| chapter));
    Ok(vec![Event::Chapter(ChapterEvent::Cut(ChapterCut { chapter, last }))])
}

/// Judges a seal: one for each chapter, in order, since each seal rests on the one before.
pub(super) fn seal(model: &Model, sealed: ChapterSealed) -> Result<Vec<Event>, Rejection> {
    let (chapters, chapter) = (&model.chapters, sealed.chapter);
    let held = chapters.get(chapter).ok_or(Rejection::UnknownChapter { chapter })?;
    match held.seal {
        Some(seal) if seal == sealed.seal => Ok(Vec::new()),
        Some(_) => Err(Rejection::SealDiffers { chapter }),
        None if chapter == successor(chapters.last_sealed) => {
            Ok(vec![Event::Chapter(ChapterEvent::Sealed(sealed))])
        }
        None => Err(Rejection::ChapterNotSealed { chapter: successor(chapters.last_sealed) }),
    }
}

/// Judges a witness: of a sealed chapter, by a host whose key is known, once. Whoever takes the command checks the
/// signature.
pub(super) fn witness(model: &Model, witnessed: SealWitnessed) -> Result<Vec<Event>, Rejection> {
    let SealWitnessed { chapter, host, signature } = &witnessed;
    let (host, bytes) = (*host, signature.len());
    if model.host_key(host).is_none() {
        return Err(Rejection::NoKey { host });
    }
    if bytes != SIGNATURE_BYTES {
        return Err(Rejection::WrongLength { field: "signature", bytes, expected: SIGNATURE_BYTES });
    }
    let (held, _) = model.chapters.sealed(*chapter)?;
    if held.witnesses.contains(&host) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Chapter(ChapterEvent::Witnessed(witnessed))])
}

/// Judges the erasure of all attack data up to a chapter: a sealed one, later than what is erased already, and not of
/// this very minute.
pub(super) fn erase(
    model: &Model,
    chapter: ChapterNumber,
    by: Actor,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    if let Some((upto, _)) = model.chapters.erased_upto
        && chapter <= upto
    {
        return Err(Rejection::AlreadyErased { chapter, upto });
    }
    let (&Chapter { last, cut_at, .. }, _) = model.chapters.sealed(chapter)?;
    let free_from = cut_at.after(KEPT_AT_LEAST);
    if at < free_from {
        return Err(Rejection::ChapterTooYoung { chapter, free_from });
    }
    Ok(vec![Event::Chapter(ChapterEvent::Erased(RetentionCut { chapter, last, by }))])
}

/// Judges what is kept of a chapter's attacks: once, and before they are erased.
pub(super) fn roll_up(
    model: &Model,
    chapter: ChapterNumber,
    counts: Vec<AttackCount>,
) -> Result<Vec<Event>, Rejection> {
    let (field, count) = ("counts", counts.len());
    if MAX_ROLLED_UP < count {
        return Err(Rejection::TooMany { field, count, limit: MAX_ROLLED_UP });
    }
    if let Some((upto, _)) = model.chapters.erased_upto
        && chapter <= upto
    {
        return Err(Rejection::AlreadyErased { chapter, upto });
    }
    let (held, _) = model.chapters.sealed(chapter)?;
    if held.is_rolled_up {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Chapter(ChapterEvent::RolledUp(AttackRolledUp { chapter, counts }))])
}

impl Canonical for Chapter {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { last, cut_at, seal, witnesses, is_rolled_up } = self;
        last.put(out);
        cut_at.put(out);
        seal.put(out);
        witnesses.put(out);
        is_rolled_up.put(out);
    }
}

impl Canonical for Chapters {
    fn put(&self, out: &mut CanonicalHasher) {
        let Self { by_number, last_cut, last_sealed, erased_upto, open_since } = self;
        by_number.put(out);
        last_cut.put(out);
        last_sealed.put(out);
        erased_upto.put(out);
        open_since.put(out);
    }
}
