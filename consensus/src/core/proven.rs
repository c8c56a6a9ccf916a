//! What a log proves to be committed though nobody said so.
//!
//! Raft counts a majority of the members that it has *applied*. That is safe as long as a leader has no more than one change of members
//! before it that it has not applied, and every leader sees to that: it proposes the next change when it has applied the one before. A host
//! that knows little of what is committed can hold both all the same. Elected by the members before the first change, it would commit both
//! with a majority that the members between the two do not know of, and after the second nobody might be left who can lead.
//!
//! But it can tell: the leader that proposed the second change had applied the first, so the first is committed, and the log up to it is that
//! leader's log. Told so, raft applies it, and does not let the host stand for election before.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, EntryType};

/// Indices of the changes of members past the commit watermark.
#[derive(Debug, Default)]
pub(super) struct Changes(VecDeque<u64>);

impl Changes {
    /// These entries are the log's from the first one's index on.
    pub(super) fn appended(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.0.pop_back_if(|change| first.index <= *change).is_some() {}
        let changes = entries.iter().filter(|entry| entry.entry_type != EntryType::EntryNormal);
        self.0.extend(changes.map(|entry| entry.index));
    }

    /// Everything up to there is committed, as is known by now.
    pub(super) fn committed(&mut self, upto: u64) {
        while self.0.pop_front_if(|change| *change <= upto).is_some() {}
    }

    /// The index up to which the log is committed because of what lies behind it.
    pub(super) fn proven(&self) -> Option<u64> {
        self.0.iter().rev().nth(1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, entry_type: EntryType) -> Entry {
        Entry { index, entry_type, ..Entry::default() }
    }

    #[test]
    fn a_change_behind_another_proves_it_until_either_is_overwritten_or_known() {
        use EntryType::{EntryConfChange as Change, EntryNormal as Normal};
        let mut changes = Changes::default();
        changes.appended(&[entry(5, Normal), entry(6, Change), entry(7, Normal)]);
        assert_eq!(changes.proven(), None);
        changes.appended(&[entry(8, Change), entry(9, Normal)]);
        assert_eq!(changes.proven(), Some(6));
        changes.appended(&[entry(8, Normal)]);
        assert_eq!(changes.proven(), None);
        changes.appended(&[entry(9, Change), entry(10, Change)]);
        assert_eq!(changes.proven(), Some(9));
        changes.committed(9);
        assert_eq!(changes.proven(), None);
    }
}
