//! The log's chapters at this host. The leader cuts; every host seals what was cut in the background, compares its seal with
//! the leader's and vouches for it; then the log itself may begin later, and old attack data goes.
//!
//! ```text
//!  leader            every host                     background
//!  due ── cut ─────> Output::Seal ────────────────> chapters::seal
//!                    <───────── Input::Sealed ────────┘
//!  own seal ── ─────> the same as mine? ──no──> Halt(Diverged)
//!                      │ yes
//!                      ├──> WitnessSeal, through the outbox
//!                      └──> Output::Retire
//!  due ─────────────> Output::Count ───────────────> chapters::count
//!      roll up <────── Input::Counted ────────────────┘
//!      cut retention ──> Output::Erase, Output::Retire
//! ```
//!
//! Nothing here waits for an answer: what is to be done follows from the committed model and from the seals that are here,
//! and is looked at again after every entry and every tick.

use std::time::Duration;

use consensus::core::{Input as CoreInput, SnapshotPoint};
use log_format::event::{
    Actor, AttackCount, ChapterEvent, ChapterSealed, Event, HostEvent, HostKeyAnnounced, SealWitnessed,
};
use log_format::ids::{ChapterNumber, HostId, LogIndex};
use log_format::merkle::Hash;
use log_format::seal::Seal;
use log_format::time::Timestamp;
use log_format::wal::LogPosition;
use projections::decide::chapters::{self, ChapterLimits, LogStats};
use projections::decide::{CommandBody, Model};

use super::{HaltReason, Node, Now, Output};
use crate::witness::{self, WitnessKey};

/// Chapters that a host still vouches for: what is older it was too late for.
const MAX_LOOK_BACK: usize = 64;
/// How long a host waits for its word on a seal or its key to enter the log before it says so again: longer than a command
/// waits in the outbox.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// How long a leader waits before it has a chapter counted again that could not be read.
const COUNT_AGAIN: Duration = Duration::from_secs(10);

/// When chapters are cut, and what stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChapterSettings {
    /// When the leader cuts.
    pub limits: ChapterLimits,
    /// Entries that the log keeps beside the chapters, so that a host that lags a little needs no chapter.
    pub keep_entries: u64,
    /// The same in bytes; the smaller of both is kept.
    pub keep_bytes: u64,
    /// How long attack data is kept.
    pub retention: Duration,
    /// How often it is looked at, counted from 1970: at midnight (UTC).
    pub retention_every: Duration,
}

impl Default for ChapterSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            limits: ChapterLimits::default(),
            keep_entries: 100_000,
            keep_bytes: 256 << 20,
            retention: Duration::from_secs(90 * DAY),
            retention_every: Duration::from_secs(DAY),
        }
    }
}

/// A chapter to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealOrder {
    /// The chapter.
    pub chapter: ChapterNumber,
    /// Its first entry.
    pub first: LogIndex,
    /// Its last entry, which is committed.
    pub last: LogIndex,
    /// The seal before; `None` before the first.
    pub previous: Option<Seal>,
}

/// A chapter whose attacks are to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountOrder {
    /// The chapter.
    pub chapter: ChapterNumber,
    /// Its first entry.
    pub first: LogIndex,
    /// Its last entry.
    pub last: LogIndex,
}

/// The next step of erasing what is too old.
enum Retention {
    /// Keep the counts of this chapter's attacks.
    RollUp(ChapterNumber),
    /// Erase up to this chapter.
    Cut(ChapterNumber),
}

/// What this host knows of its own chapters.
#[derive(Default)]
pub(super) struct Keeper {
    settings: ChapterSettings,
    key: Option<WitnessKey>,
    /// The seals of the chapters that are here, from the first on.
    seals: Vec<Seal>,
    /// How many of them the log has sealed with the same hash.
    compared: usize,
    /// The chapter that is being sealed.
    ordered: Option<ChapterNumber>,
    /// Bytes of the entries behind the last cut.
    open_bytes: u64,
    /// The newest chapter whose attack data this host was told to erase.
    erased: Option<ChapterNumber>,
    /// The entry of the newest retention cut.
    retention_cut: LogIndex,
    /// The log's beginning, as consensus was told.
    base: LogPosition,
    /// How many seals consensus was told of.
    told: usize,
    /// When this host may say its word again.
    say_after: Duration,
    /// The chapter whose attacks are counted, and their counts once they are here.
    counting: Option<(ChapterNumber, Option<Vec<AttackCount>>)>,
    /// When a chapter may be counted that could not be read.
    count_after: Duration,
}

impl Keeper {
    fn last(&self) -> LogIndex {
        self.seals.last().map_or(LogIndex::default(), |seal| seal.last.index)
    }

    fn get(&self, chapter: ChapterNumber) -> Option<&Seal> {
        let place = usize::try_from(chapter.get()).ok()?.checked_sub(1)?;
        self.seals.get(place)
    }

    fn counts_of(&self, chapter: ChapterNumber) -> Option<&Vec<AttackCount>> {
        let (counted, counts) = self.counting.as_ref()?;
        counts.as_ref().filter(|_| *counted == chapter)
    }

    /// So many bytes behind the last cut were folded before.
    pub(super) fn begin_with(&mut self, open_bytes: u64) {
        self.open_bytes = open_bytes;
    }

    /// An entry was folded.
    pub(super) fn note_entry(&mut self, bytes: usize) {
        self.open_bytes = self.open_bytes.saturating_add(bytes as u64);
    }

    /// Events of the log's own bookkeeping were folded.
    pub(super) fn note_event(&mut self, event: &Event, (index, own): (LogIndex, HostId)) {
        match event {
            Event::Chapter(ChapterEvent::Cut(_)) => self.open_bytes = 0,
            Event::Chapter(ChapterEvent::Erased(_)) => self.retention_cut = index,
            // This host's word entered the log: the next may be said.
            Event::Chapter(ChapterEvent::Witnessed(said)) if said.host == own => {
                self.say_after = Duration::ZERO
            }
            Event::Host(HostEvent::KeyAnnounced(said)) if said.host == own => self.say_after = Duration::ZERO,
            Event::Chapter(_)
            | Event::Attack(_)
            | Event::Denylist(_)
            | Event::Settings(_)
            | Event::Host(_)
            | Event::Membership(_)
            | Event::Erased(_) => {}
        }
    }

    /// Where the log may begin: so that enough stays for hosts that lag, and so that nothing of what is erased stays.
    fn new_base(&self, erased: LogIndex, applied: LogIndex) -> LogPosition {
        let compared = self.seals.get(..self.compared).unwrap_or_default();
        let newest = compared.last().map_or(LogIndex::default(), |seal| seal.last.index);
        let mut kept_entries = applied.get().saturating_sub(newest.get());
        let mut kept_bytes = self.open_bytes;
        let later =
            |base: LogPosition, seal: &Seal| if base.index < seal.last.index { seal.last } else { base };
        let mut base = self.urgent(compared).map_or(self.base, |seal| later(self.base, seal));
        for seal in compared.iter().rev() {
            let is_enough =
                self.settings.keep_entries <= kept_entries || self.settings.keep_bytes <= kept_bytes;
            if is_enough || seal.last.index <= erased {
                base = later(base, seal);
                break;
            }
            kept_entries += seal.last.index.get() - seal.first.index.get() + 1;
            kept_bytes += seal.parts.iter().map(|part| part.raw).sum::<u64>();
        }
        base
    }

    /// The chapter behind which the log must begin for what was erased to be in none of its files: the second behind the cut
    /// that erased, or the first while there is no other. A log file may reach past that cut, and the second chapter behind
    /// it is certainly in another file.
    fn urgent<'a>(&self, compared: &'a [Seal]) -> Option<&'a Seal> {
        let cut = Some(self.retention_cut).filter(|cut| *cut != LogIndex::default())?;
        let behind = compared.partition_point(|seal| seal.last.index < cut);
        compared.iter().skip(behind).take(2).next_back()
    }
}

/// What stands for the log up to the newest of these chapters; for a log that no longer begins with its first entry.
pub fn snapshot_of(seals: &[Seal]) -> Option<SnapshotPoint> {
    let newest = seals.last()?;
    let manifest: Vec<u8> = seals.iter().flat_map(Seal::hash).collect();
    Some(SnapshotPoint { at: newest.last, conf_state: newest.members.clone(), manifest: manifest.into() })
}

/// The seals' hashes in a manifest.
pub(super) fn read_manifest(manifest: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, []) = manifest.as_chunks::<32>() else { return None };
    Some(hashes.to_vec())
}

impl Node {
    /// Gives the node its chapters, before [`Node::start`]: the seals that are here from the first on, where its log
    /// begins, and the key with which it vouches for seals.
    #[must_use]
    pub fn with_chapters(
        mut self,
        settings: ChapterSettings,
        seals: Vec<Seal>,
        base: LogPosition,
        key: WitnessKey,
    ) -> Self {
        self.keeper = Keeper { settings, seals, base, key: Some(key), ..Keeper::default() };
        self
    }

    /// A chapter is sealed here.
    pub(super) fn sealed(&mut self, seal: Seal) {
        self.keeper.ordered = None;
        if seal.follows(self.keeper.seals.last()) {
            self.keeper.seals.push(seal);
        }
    }

    /// A snapshot names chapters that are not here: whoever does the work fetches them, by their seals' hashes.
    pub(super) fn fetch(
        &mut self,
        (from, at): (HostId, LogPosition),
        manifest: &[u8],
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        match read_manifest(manifest).filter(|_| self.keeper.key.is_some()) {
            Some(seals) => outputs.push(Output::Fetch { from, at, seals }),
            None => {
                tracing::error!(%from, %at, "a snapshot names no chapters that this host could fetch");
                self.drive(CoreInput::FetchFailed { index: at.index }, now, outputs);
            }
        }
    }

    /// The chapters of a snapshot are here.
    pub(super) fn fetched(&mut self, index: LogIndex, seals: Vec<Seal>, now: Now, outputs: &mut Vec<Output>) {
        if self.keeper.seals.len() < seals.len() {
            // What is to be erased of them is erased again.
            (self.keeper.ordered, self.keeper.erased) = (None, None);
            self.keeper.seals = seals;
        }
        self.drive(CoreInput::Fetched { index }, now, outputs);
    }

    /// The log goes on after the chapters that were fetched; what they hold is folded from them, a piece a turn.
    pub(super) fn begin_after(&mut self, at: LogPosition) {
        self.keeper.base = at;
        self.behind = self.behind.max(Some(at.index));
    }

    /// Does what the committed model and the seals that are here ask for.
    pub(super) fn keep_chapters(&mut self, now: Now, outputs: &mut Vec<Output>) {
        // A model that is folded half-way speaks of chapters that lie before the log's beginning.
        if self.keeper.key.is_none() || self.is_halted || self.behind.is_some() {
            return;
        }
        self.order_seal(outputs);
        if let Err(reason) = self.compare_seals() {
            return self.halt(reason, outputs);
        }
        self.order_erasure(outputs);
        self.shorten(now, outputs);
    }

    fn order_seal(&mut self, outputs: &mut Vec<Output>) {
        let previous = self.keeper.seals.last();
        let chapter = ChapterNumber::new(self.keeper.seals.len() as u64 + 1);
        let first = self.keeper.last().next();
        let Some(cut) = self.model.chapters().get(chapter).filter(|_| self.keeper.ordered.is_none()) else {
            return;
        };
        outputs.push(Output::Seal(SealOrder { chapter, first, last: cut.last, previous: previous.cloned() }));
        self.keeper.ordered = Some(chapter);
    }

    fn compare_seals(&mut self) -> Result<(), HaltReason> {
        while let Some(here) = self.keeper.seals.get(self.keeper.compared) {
            let chapter = here.chapter;
            let (Some(log), here) = (self.sealed_as(chapter), here.hash()) else { return Ok(()) };
            if log != here {
                return Err(HaltReason::Diverged { chapter, here, log });
            }
            self.keeper.compared += 1;
        }
        Ok(())
    }

    /// The seal that the log names for a chapter; one that the model no longer remembers was compared long ago.
    fn sealed_as(&self, chapter: ChapterNumber) -> Option<Hash> {
        let chapters = self.model.chapters();
        match chapters.get(chapter) {
            Some(held) => held.seal,
            None if Some(chapter) <= chapters.last_sealed() => self.keeper.get(chapter).map(Seal::hash),
            None => None,
        }
    }

    fn order_erasure(&mut self, outputs: &mut Vec<Output>) {
        let Some((upto, _)) = self.model.chapters().erased_upto() else { return };
        let here = ChapterNumber::new(self.keeper.compared as u64);
        let upto = upto.min(here);
        if here.get() != 0 && self.keeper.erased < Some(upto) {
            if self.keeper.erased.is_none() {
                // Of a cut before this start it is not known what is left.
                self.keeper.retention_cut = self.keeper.retention_cut.max(self.applied);
            }
            self.keeper.erased = Some(upto);
            outputs.push(Output::Erase { upto });
        }
    }

    /// Tells consensus where its log may begin, and then the writer.
    fn shorten(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let erased = self.model.chapters().erased_upto().map_or(LogIndex::default(), |(_, last)| last);
        let base = self.keeper.new_base(erased, self.applied);
        if self.keeper.told == self.keeper.compared && base == self.keeper.base {
            return;
        }
        let compared = self.keeper.seals.get(..self.keeper.compared).unwrap_or_default();
        let Some(snapshot) = snapshot_of(compared) else { return };
        (self.keeper.told, self.keeper.base) = (self.keeper.compared, base);
        self.drive(CoreInput::Retired { base, snapshot }, now, outputs);
        outputs.push(Output::Retire { below: base.index.next(), erased });
    }

    /// What the leader does for the chapters.
    pub(super) fn chapter_commands(&self, speculation: &Model, now: Now) -> Vec<CommandBody> {
        let keeper = &self.keeper;
        if keeper.key.is_none() {
            return Vec::new();
        }
        let (committed, chapters) = (self.model.chapters(), speculation.chapters());
        let is_cut = committed.last_cut() != chapters.last_cut();
        let stats = LogStats { bytes: if is_cut { 0 } else { keeper.open_bytes } };
        let mut bodies = Vec::new();
        bodies.extend(chapters::due(speculation, now.wall, &keeper.settings.limits, &stats));
        if let Some((chapter, _)) = chapters.unsealed()
            && let Some(seal) = keeper.get(chapter)
        {
            bodies.push(CommandBody::SealChapter(ChapterSealed { chapter, seal: seal.hash() }));
        }
        bodies.extend(match self.retention(speculation, now.wall) {
            Some(Retention::RollUp(chapter)) => {
                let counts = keeper.counts_of(chapter);
                counts.map(|counts| CommandBody::RollUpAttacks { chapter, counts: counts.clone() })
            }
            Some(Retention::Cut(chapter)) => Some(CommandBody::CutRetention { chapter, by: Actor::System }),
            None => None,
        });
        bodies
    }

    /// The next step of erasing what is too old: first what is kept of it, then the erasure.
    fn retention(&self, speculation: &Model, now: Timestamp) -> Option<Retention> {
        let ChapterSettings { retention, retention_every, .. } = self.keeper.settings;
        let every = u64::try_from(retention_every.as_nanos()).unwrap_or(u64::MAX).max(1);
        let looked_at = Timestamp::from_nanos(now.nanos() - now.nanos() % every);
        let chapters = speculation.chapters();
        let erased = chapters.erased_upto().map(|(chapter, _)| chapter);
        let retention = retention.max(chapters::KEPT_AT_LEAST);
        let is_due = |at: Timestamp| at.after(retention) <= looked_at;
        let due = chapters.iter().skip_while(|(chapter, _)| Some(*chapter) <= erased);
        let due = due.take_while(|(_, held)| held.seal.is_some() && is_due(held.cut_at));
        let mut last = None;
        for (chapter, held) in due {
            if !held.is_rolled_up {
                return Some(Retention::RollUp(chapter));
            }
            last = Some(chapter);
        }
        last.map(Retention::Cut)
    }

    /// The chapter whose attacks this leader must have counted next, if that is not under way.
    pub(super) fn due_count(&self, speculation: &Model, now: Now) -> Option<CountOrder> {
        let keeper = &self.keeper;
        let Some(Retention::RollUp(chapter)) = self.retention(speculation, now.wall) else { return None };
        let is_known = keeper.counting.as_ref().is_some_and(|(counted, _)| *counted == chapter);
        if keeper.key.is_none() || is_known || now.monotonic < keeper.count_after {
            return None;
        }
        // Not here yet: this leader waits until it has sealed it too.
        let seal = keeper.get(chapter)?;
        Some(CountOrder { chapter, first: seal.first.index, last: seal.last.index })
    }

    /// Has a chapter's attacks counted.
    pub(super) fn count(&mut self, order: CountOrder, outputs: &mut Vec<Output>) {
        self.keeper.counting = Some((order.chapter, None));
        outputs.push(Output::Count(order));
    }

    /// A chapter's attacks are counted, or it could not be read.
    pub(super) fn counted(&mut self, chapter: ChapterNumber, counts: Option<Vec<AttackCount>>, now: Now) {
        let keeper = &mut self.keeper;
        if keeper.counting.as_ref().is_none_or(|(counted, _)| *counted != chapter) {
            return;
        }
        if counts.is_none() {
            keeper.count_after = now.monotonic + COUNT_AGAIN;
        }
        keeper.counting = counts.map(|counts| (chapter, Some(counts)));
    }

    /// Says what only this host can say: its key, and that it vouches for a seal.
    pub(super) fn say_own(&mut self, now: Now) {
        let Some(key) = &self.keeper.key else { return };
        if now.monotonic < self.keeper.say_after {
            return;
        }
        let host = self.identity.host;
        let body = if self.model.host_key(host) == Some(key.public()) {
            let compared = self.keeper.seals.get(..self.keeper.compared).unwrap_or_default();
            let chapters = self.model.chapters();
            let is_open =
                |seal: &&Seal| chapters.get(seal.chapter).is_some_and(|held| !held.witnesses.contains(&host));
            let Some(seal) = compared.iter().rev().take(MAX_LOOK_BACK).rfind(is_open) else { return };
            let (chapter, signature) = (seal.chapter, key.sign(&seal.hash()));
            CommandBody::WitnessSeal(SealWitnessed { chapter, host, signature })
        } else {
            CommandBody::AnnounceKey(HostKeyAnnounced { host, key: key.public() })
        };
        self.keeper.say_after = now.monotonic + SAY_AGAIN;
        let id = self.randomness.command_id();
        self.outbox.say(id, body, now);
    }

    /// Whether a command vouches for a seal with a signature that is wrong: it must not enter the log, where it would speak
    /// against the host for ever.
    pub(super) fn is_false_witness(model: &Model, body: &CommandBody) -> bool {
        let CommandBody::WitnessSeal(said) = body else { return false };
        let seal = model.chapters().get(said.chapter).and_then(|held| held.seal);
        let (Some(key), Some(seal)) = (model.host_key(said.host), seal) else { return false };
        !witness::is_signed(&key, &seal, &said.signature)
    }
}

#[cfg(test)]
mod tests {
    use log_format::ids::{ClusterId, Term};
    use log_format::seal::PartSummary;
    use log_format::wal::ConfState;

    use super::*;

    #[test]
    fn however_many_seals_are_compared_at_once_the_log_lets_go_of_what_was_erased() {
        // Chapters of ten entries; what chapter 1 held of attacks is erased with entry 15.
        let erased = LogIndex::new(10);
        for (compared, base) in [(1, 10), (2, 20), (3, 30), (4, 30), (9, 30)] {
            let keeper = Keeper {
                seals: (1..=9).map(seal).collect(),
                compared,
                retention_cut: LogIndex::new(15),
                ..Keeper::default()
            };
            assert_eq!(keeper.new_base(erased, LogIndex::new(95)).index.get(), base, "{compared} compared");
        }
    }

    #[test]
    fn without_an_erasure_the_log_keeps_what_it_is_to_keep() {
        let settings = ChapterSettings { keep_entries: 40, ..ChapterSettings::default() };
        let keeper =
            Keeper { settings, seals: (1..=9).map(seal).collect(), compared: 9, ..Keeper::default() };
        assert_eq!(keeper.new_base(LogIndex::default(), LogIndex::new(95)).index.get(), 50);
    }

    /// Chapters of ten entries each.
    fn seal(chapter: u64) -> Seal {
        let at = |index| LogPosition { term: Term::new(1), index: LogIndex::new(index) };
        Seal {
            cluster: ClusterId::new([7; 16]),
            chapter: ChapterNumber::new(chapter),
            first: at(chapter * 10 - 9),
            last: at(chapter * 10),
            first_accepted: Timestamp::ZERO,
            last_accepted: Timestamp::ZERO,
            parts: [PartSummary::default(); 4],
            previous: Hash::default(),
            members: ConfState::default(),
        }
    }
}
