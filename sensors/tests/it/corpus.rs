//! One directory for each scenario of `corpus/`: the capture, what it is, and the verdicts that it must bring, one a line.
//!
//! `PALISADE_CORPUS=write cargo test -p sensors` writes the verdicts anew; the difference is reviewed like code.

use std::path::Path;

use crate::playback::{files, line, play};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test is a shell: it reads what is expected, or writes it when told to"
)]
fn every_scenario_brings_its_verdicts() {
    let scenarios = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"));
    let is_writing = std::env::var_os("PALISADE_CORPUS").is_some_and(|value| value == "write");
    let mut checked = 0;
    for scenario in scenarios.iter().filter(|path| path.is_dir()) {
        let capture = files(scenario)
            .into_iter()
            .find(|file| file.file_stem().is_some_and(|stem| stem == "capture"))
            .unwrap_or_else(|| panic!("{}: no capture", scenario.display()));
        let played = play(&capture);
        assert!(played.stopped.is_none(), "{}: {:?}", scenario.display(), played.stopped);
        let notes = played.notes.iter().map(|note| {
            let account = note.observed.account.visible();
            format!(
                "note packet={} source={} kind={} account={account}\n",
                note.packet,
                note.observed.source,
                note.observed.kind.name()
            )
        });
        let verdicts: String =
            played.verdicts.iter().map(|verdict| line(verdict) + "\n").chain(notes).collect();
        let expected = scenario.join("verdicts.txt");
        if is_writing {
            std::fs::write(&expected, &verdicts).unwrap();
        }
        assert_eq!(verdicts, std::fs::read_to_string(&expected).unwrap(), "{}", scenario.display());
        assert!(scenario.join("README.md").is_file(), "{}: no README.md", scenario.display());
        checked += 1;
    }
    assert!(checked >= 10, "{checked} scenarios");
}
