//! Compares a chapter with its seal, byte for byte and leaf for leaf.

use std::path::Path;

use super::part::{Part, class_place};
use super::reader::ChapterReader;
use super::split::Split;
use super::{ChapterError, directory_of, is_there};
use crate::disk::Disk;
use crate::event::Class;
use crate::merkle::{self, Tree};
use crate::seal::Seal;

/// What a sound chapter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Entries.
    pub entries: u64,
    /// Events, the erased ones with them.
    pub events: u64,
    /// Events whose payloads are erased.
    pub erased: u64,
}

/// Reads a chapter, and computes every root of its seal anew that is not of an erased class.
pub fn verify<D: Disk>(disk: &D, data: &Path, seal: &Seal) -> Result<Checked, ChapterError> {
    let mut reader = ChapterReader::open(disk, data, seal)?;
    let checked = compare(&mut reader)?;
    let attack = Part::Class(Class::Attack);
    let path = directory_of(data, seal.chapter).join(attack.file_name());
    if reader.is_erased(Class::Attack) && is_there(disk, &path)? {
        let what = "it is noted as erased and is still there; the next start removes it".to_owned();
        return Err(ChapterError::Damaged { chapter: seal.chapter, file: attack.file_name(), what });
    }
    Ok(checked)
}

/// The same for a chapter that is open.
pub(super) fn compare<D: Disk>(reader: &mut ChapterReader<D>) -> Result<Checked, ChapterError> {
    let seal = reader.seal().clone();
    let mut trees: [Tree; 4] = Default::default();
    let [entries, classes @ ..] = &mut trees;
    let mut checked = Checked { entries: 0, events: 0, erased: 0 };
    let mut last = None;
    while let Some(Split { record, payloads }) = reader.next_split()? {
        entries.push(merkle::leaf([record.as_slice()]));
        checked.entries += 1;
        let parts = Split::events(&record).unwrap_or_default();
        for (event, payload) in parts.iter().zip(&payloads) {
            checked.events += 1;
            match (payload, classes.get_mut(class_place(event.class))) {
                (Some(payload), Some(tree)) => tree.push(event.leaf(payload)),
                (None, _) | (_, None) => checked.erased += 1,
            }
        }
        last = Split::index(&record);
    }
    for (part, (tree, sealed)) in Part::ALL.into_iter().zip(trees.iter().zip(&seal.parts)) {
        let is_erased = matches!(part, Part::Class(class) if reader.is_erased(class));
        if !is_erased && (tree.leaves(), tree.root()) != (sealed.leaves, sealed.root) {
            let what = "what it holds is not what was sealed".to_owned();
            return Err(ChapterError::Damaged { chapter: seal.chapter, file: part.file_name(), what });
        }
    }
    if last != Some(seal.last.index) {
        let what = "it ends with another entry than the seal".to_owned();
        return Err(ChapterError::Damaged { chapter: seal.chapter, file: Part::Entries.file_name(), what });
    }
    Ok(checked)
}
