//! The table of what each recording of `live/` holds.

use std::path::Path;

use crate::playback::table;

/// One source of one recording.
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) source: String,
    pub(crate) is_attack: bool,
    pub(crate) attack: String,
    pub(crate) agent: String,
    /// The frame of the first offence, where it is told.
    pub(crate) first_offence: Option<u64>,
    pub(crate) must_detect: bool,
    /// The frame of the tenth rejection within a minute, where there is one.
    pub(crate) tenth_rejection: Option<u64>,
}

pub(crate) fn rows(path: &Path) -> Vec<Row> {
    table(path)
        .iter()
        .map(|columns| {
            let [file, source, _victim, verdict, attack, agent, first, notes] = columns.as_slice() else {
                panic!("a row has {} columns", columns.len());
            };
            Row {
                file: file.clone(),
                source: source.clone(),
                is_attack: verdict == "attack",
                attack: attack.clone(),
                agent: agent.clone(),
                first_offence: first.parse().ok(),
                must_detect: notes.starts_with("must_detect=yes"),
                tenth_rejection: note(notes, "10th_rejected_in_60s_frame=")
                    .and_then(|frame| frame.parse().ok()),
            }
        })
        .collect()
}

fn note<'a>(notes: &'a str, name: &str) -> Option<&'a str> {
    notes.split("; ").find_map(|note| note.strip_prefix(name))
}
