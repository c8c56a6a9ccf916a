//! Plays captures to an engine.

use std::path::{Path, PathBuf};

use sensors::{Engine, Finding, Note, PcapFile, Policy, ReadCapture, Statistics, Verdict};

/// What an engine made of a capture.
pub(crate) struct Played {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) notes: Vec<Note>,
    pub(crate) statistics: Statistics,
    /// The error at which reading stopped, if it did not reach the end.
    pub(crate) stopped: Option<ReadCapture>,
}

/// Plays a file to a fresh engine with the product's defaults.
pub(crate) fn play(path: &Path) -> Played {
    play_with(path, Policy::default())
}

/// Plays a file to a fresh engine.
pub(crate) fn play_with(path: &Path, policy: Policy) -> Played {
    let mut engine = Engine::new(policy, [7; 16]);
    let mut findings = Vec::new();
    let mut stopped = None;
    match PcapFile::open(path) {
        Ok(mut file) => {
            while let Some(next) = file.next() {
                match next {
                    Ok(frame) => engine.frame(&frame, &mut findings),
                    Err(error) => {
                        stopped = Some(error);
                        break;
                    }
                }
            }
        }
        Err(error) => stopped = Some(error),
    }
    engine.end(&mut findings);
    let (mut verdicts, mut notes) = (Vec::new(), Vec::new());
    for finding in findings {
        match finding {
            Finding::Attack(verdict) => verdicts.push(verdict),
            Finding::Note(note) => notes.push(note),
        }
    }
    Played { verdicts, notes, statistics: engine.statistics(), stopped }
}

/// The verdicts among what an engine found.
pub(crate) fn verdicts_of(findings: Vec<Finding>) -> Vec<Verdict> {
    let verdict = |finding| match finding {
        Finding::Attack(verdict) => Some(verdict),
        Finding::Note(_) => None,
    };
    findings.into_iter().filter_map(verdict).collect()
}

/// A verdict on one line.
pub(crate) fn line(verdict: &Verdict) -> String {
    let Verdict { observed, seconds, packet, at } = verdict;
    format!(
        "packet={packet} at={at} source={} port={} victim={}:{} attack={} rule={} evidence={} sanction={} scope={} \
         seconds={seconds} count={} known={} agent={:?}",
        observed.source,
        observed.source_port,
        observed.victim,
        observed.victim_port,
        observed.attack.name(),
        observed.rule.name(),
        observed.evidence.name(),
        observed.sanction.name(),
        observed.scope.name(),
        observed.count,
        observed.known_user_agent,
        observed.user_agent,
    )
}

/// The files of a folder in order of name.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    files.sort();
    files
}

/// A folder of the recordings that are kept outside the repository; `None`, and a word on it, if it is not there.
#[expect(clippy::disallowed_methods, reason = "a test is a shell: it asks where the recordings are")]
pub(crate) fn recordings(folder: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = std::env::var_os("PALISADE_CAPTURES").unwrap_or_else(|| "../shared/captures".into());
    let path = workspace.join(root).join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("no recordings at {}: only the corpus is checked", path.display());
    None
}

/// The lines of a table with tabs, without the first.
#[expect(clippy::disallowed_methods, reason = "a test is a shell: it reads the table")]
pub(crate) fn table(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}
