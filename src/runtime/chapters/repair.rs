//! Looks at the chapters when the process starts, before anything reads them, and makes whole what is damaged.
//!
//! ```text
//!  chapter n ──sound──> chapter n + 1
//!    │ damaged
//!    ├─ only the note of its checksums ────────> compared with the seal, noted again
//!    ├─ the log still holds all its entries ───> unsealed: it is sealed again in the background
//!    └─ else: ask the others ──> the same seal, the same leaves? install ; else refuse to start
//! ```
//!
//! What a seal must be is known from the chapter's own seal, from the one behind it, or from the log, which names every
//! seal that the cluster agreed on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use log_format::chapter::{self, ChapterError, Part};
use log_format::disk::Disk;
use log_format::event::{ChapterEvent, Event};
use log_format::ids::{ChapterNumber, LogIndex};
use log_format::merkle::Hash;
use log_format::seal::Seal;
use log_format::verify;
use log_format::wal::WalReader;

use super::fetch::{self, Donor};

/// Repairs at one start: more than a log has chapters in a human life.
const MAX_REPAIRS: u32 = 1_000_000;

/// Hosts that may have what is damaged here.
pub trait Donors {
    /// One after the other, as far as they can be reached.
    fn each(&mut self) -> Box<dyn Iterator<Item = Box<dyn Donor>> + '_>;
}

/// A chapter that cannot be used.
struct Damaged {
    chapter: ChapterNumber,
    /// Its seal, if that is sound.
    seal: Option<Seal>,
    parts: Vec<Part>,
    why: ChapterError,
}

/// Whether it is the note of the checksums that is damaged. A file whose checksum is wrong is given back, also if it still unpacks
/// to what was sealed: some bits of a compressed file mean nothing.
fn is_of_note(why: &ChapterError) -> bool {
    matches!(
        why,
        ChapterError::Damaged { file: chapter::FILES, .. }
            | ChapterError::Missing { file: chapter::FILES, .. }
    )
}

struct Repair<'a, D: Disk> {
    disk: &'a D,
    data: &'a Path,
    log: &'a WalReader<D>,
    /// The seal of the last sound chapter.
    before: Option<Seal>,
    /// The seals that the log names, once somebody had to look.
    named: Option<BTreeMap<ChapterNumber, Hash>>,
}

/// Makes every chapter whole that the host needs, or says which cannot be, in words for a person.
pub fn repair<D: Disk>(
    (disk, data): (&D, &Path),
    log: &WalReader<D>,
    donors: &mut dyn Donors,
) -> anyhow::Result<()> {
    let mut repair = Repair { disk, data, log, before: None, named: None };
    for _ in 0..MAX_REPAIRS {
        let Some(damaged) = repair.look_on()? else { return Ok(()) };
        tracing::warn!(chapter = %damaged.chapter, damage = %damaged.why, "a chapter is damaged");
        repair.mend(&damaged, donors)?;
    }
    bail!("the chapters are damaged in more than {MAX_REPAIRS} places: replace the disk")
}

impl<D: Disk> Repair<'_, D> {
    /// Goes on from the last sound chapter to the next damaged one.
    fn look_on(&mut self) -> Result<Option<Damaged>, ChapterError> {
        loop {
            let chapter = self.due();
            let unusable = |why| Some(Damaged { chapter, seal: None, parts: Vec::new(), why });
            match chapter::next_seal(self.disk, self.data, self.before.as_ref()) {
                // What is behind the last chapter is in the log.
                Ok(None) if self.log.base().index <= self.sealed() => return Ok(None),
                Ok(None) => return Ok(unusable(ChapterError::Missing { chapter, file: chapter::SEAL })),
                Ok(Some(seal)) => match chapter::damage(self.disk, self.data, &seal)? {
                    None => self.before = Some(seal),
                    Some(damage) => {
                        let (why, parts) = (damage.why, damage.parts);
                        return Ok(Some(Damaged { chapter, seal: Some(seal), parts, why }));
                    }
                },
                Err(why) if why.is_damage() => return Ok(unusable(why)),
                Err(error) => return Err(error),
            }
        }
    }

    fn due(&self) -> ChapterNumber {
        ChapterNumber::new(self.before.as_ref().map_or(0, |seal| seal.chapter.get()) + 1)
    }

    /// The last entry of the last sound chapter.
    fn sealed(&self) -> LogIndex {
        self.before.as_ref().map_or(LogIndex::default(), |seal| seal.last.index)
    }

    fn mend(&mut self, damaged: &Damaged, donors: &mut dyn Donors) -> anyhow::Result<()> {
        let chapter = damaged.chapter;
        if let Some(seal) = damaged.seal.as_ref().filter(|_| is_of_note(&damaged.why))
            && chapter::note_again(self.disk, self.data, seal, self.before.as_ref())?
        {
            tracing::warn!(%chapter, "the chapter's checksums are noted again; nothing was lost");
            return Ok(());
        }
        if self.log.base().index <= self.sealed() {
            chapter::unseal(self.disk, self.data, chapter)?;
            tracing::warn!(%chapter, "the log still has the chapter's entries; it is sealed again");
            return Ok(());
        }
        for mut donor in donors.each() {
            match self.fetch(damaged, &mut *donor) {
                Ok(()) => {
                    tracing::warn!(%chapter, "the chapter was damaged and is whole again");
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%chapter, error = format!("{error:#}"), "a host could not give the chapter");
                }
            }
        }
        bail!(
            "{}; no other host gave back what chapter {chapter} lacks: start again when the others can be reached, or keep a \
             copy of the directory, remove this host from the cluster and let it join as a new host",
            damaged.why
        )
    }

    fn fetch(&mut self, damaged: &Damaged, donor: &mut dyn Donor) -> anyhow::Result<()> {
        let (seal, parts) = match &damaged.seal {
            Some(seal) => (seal.clone(), damaged.parts.clone()),
            None => {
                let hash = self.hash_of(donor, damaged.chapter)?;
                let seal = fetch::seal(donor, damaged.chapter, hash)?;
                let damage = chapter::damage(self.disk, self.data, &seal)?;
                (seal, damage.map(|damage| damage.parts).unwrap_or_default())
            }
        };
        for part in parts {
            fetch::part((self.disk, self.data), donor, (&seal, part))?;
        }
        Ok(chapter::install(self.disk, self.data, &seal, self.before.as_ref())?)
    }

    /// The hash that the chapter's seal must have: the log names it, or the nearest seal behind that is here; from there back
    /// each seal names the one before it.
    fn hash_of(&mut self, donor: &mut dyn Donor, chapter: ChapterNumber) -> anyhow::Result<Hash> {
        let named = self.named()?;
        let newest = named.keys().next_back().copied().unwrap_or_default().max(next(chapter));
        let mut at = chapter;
        let mut hash = loop {
            if let Some(hash) = named.get(&at) {
                break *hash;
            }
            // The chapter's own seal is what is damaged.
            let here = (chapter < at).then(|| chapter::seal(self.disk, self.data, at).unwrap_or_default());
            if let Some(seal) = here.flatten() {
                at = previous(at);
                break seal.previous;
            }
            if newest <= at {
                bail!("nothing here says what the seal of chapter {chapter} must be");
            }
            at = next(at);
        };
        while chapter < at {
            hash = fetch::seal(donor, at, hash)?.previous;
            at = previous(at);
        }
        Ok(hash)
    }

    /// The seals that the log names.
    fn named(&mut self) -> anyhow::Result<BTreeMap<ChapterNumber, Hash>> {
        if let Some(named) = &self.named {
            return Ok(named.clone());
        }
        let mut named = BTreeMap::new();
        for entry in self.log.iter(self.log.first_index(), self.log.last().index.next()) {
            let envelope = verify::decode(&entry?)?;
            for recorded in envelope.into_iter().flat_map(|envelope| envelope.events) {
                if let Event::Chapter(ChapterEvent::Sealed(sealed)) = recorded.event {
                    named.insert(sealed.chapter, sealed.seal);
                }
            }
        }
        self.named = Some(named.clone());
        Ok(named)
    }
}

fn next(chapter: ChapterNumber) -> ChapterNumber {
    ChapterNumber::new(chapter.get().saturating_add(1))
}

fn previous(chapter: ChapterNumber) -> ChapterNumber {
    ChapterNumber::new(chapter.get().saturating_sub(1))
}

#[cfg(test)]
mod tests;
