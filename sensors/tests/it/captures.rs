//! Recordings: of real tools against a real registrar (`live/`), and of others' (`pcap/`).

use std::collections::BTreeMap;

use log_format::event::{Rule, Sanction};
use sensors::Verdict;

use crate::playback::{Played, files, line, play, recordings};
use crate::truth::{Row, rows};

/// Attacks by the letter that are below the limits, and must stay unblocked.
const BELOW_THE_LIMITS: [&str; 2] = ["long-slow-brute-6pm.pcap", "udp-flood-5060-spoofed-random.pcap"];

#[test]
fn the_verdicts_on_live_recordings_agree_with_the_truth() {
    let Some(folder) = recordings("live") else { return };
    let mut played: BTreeMap<String, Played> = BTreeMap::new();
    let (mut wrong, mut table) = (Vec::new(), Confusion::default());
    for row in rows(&folder.join("TRUTH.tsv")) {
        let played = played.entry(row.file.clone()).or_insert_with(|| play(&folder.join(&row.file)));
        assert!(played.stopped.is_none(), "{}: {:?}", row.file, played.stopped);
        let verdicts: Vec<&Verdict> = of_source(played, &row.source);
        table.note(&row, &verdicts);
        wrong.extend(
            disagreements(&row, &verdicts).map(|what| format!("{} {}: {what}", row.file, row.source)),
        );
    }
    eprintln!("{table}");
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!((table.honest.1, table.wanted.0), (0, 0), "no innocent accused, nothing missed");
    assert!(played.len() > 50, "{} recordings", played.len());
}

/// How many sources of each kind had no verdict, and how many had one.
#[derive(Default)]
struct Confusion {
    honest: (u32, u32),
    wanted: (u32, u32),
    optional: (u32, u32),
}

impl Confusion {
    fn note(&mut self, row: &Row, verdicts: &[&Verdict]) {
        let is_found = if row.is_attack {
            verdicts.iter().any(|verdict| verdict.observed.attack.name() == row.attack || row.attack == "-")
        } else {
            verdicts.iter().any(|verdict| verdict.observed.sanction > Sanction::Observe)
        };
        let (clear, found) = match (row.is_attack, row.must_detect) {
            (false, _) => &mut self.honest,
            (true, true) => &mut self.wanted,
            (true, false) => &mut self.optional,
        };
        *(if is_found { found } else { clear }) += 1;
    }
}

impl std::fmt::Display for Confusion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<28}{:>10}{:>10}", "sources in the recordings", "clear", "found")?;
        for (kind, (clear, found)) in [
            ("honest", self.honest),
            ("attack, must be found", self.wanted),
            ("attack, may be found", self.optional),
        ] {
            writeln!(f, "{kind:<28}{clear:>10}{found:>10}")?;
        }
        Ok(())
    }
}

/// What is wrong with the verdicts on one source.
fn disagreements(row: &Row, verdicts: &[&Verdict]) -> impl Iterator<Item = String> {
    let must_stay_clear = !row.is_attack || BELOW_THE_LIMITS.contains(&row.file.as_str());
    let sanctioned = verdicts.iter().find(|verdict| verdict.observed.sanction > Sanction::Observe);
    let false_alarm =
        sanctioned.filter(|_| must_stay_clear).map(|verdict| format!("blocked: {}", line(verdict)));

    let is_of_kind = |verdict: &&&Verdict| verdict.observed.attack.name() == row.attack;
    let first = verdicts.iter().find(is_of_kind);
    let missed = (row.must_detect && first.is_none()).then(|| format!("missed {}", row.attack));

    let is_counted =
        |verdict: &&&Verdict| matches!(verdict.observed.rule, Rule::BadRegistrations | Rule::Enumeration);
    let tipped = verdicts.iter().find(is_counted).map(|verdict| (verdict.observed.rule, verdict.packet));
    // The truth counts a 404 to a registration without credentials as a rejection; here it is an account that was asked for, and eight
    // are too many.
    let is_late = match (tipped, row.tenth_rejection) {
        (Some((Rule::Enumeration, packet)), Some(tenth)) => tenth < packet,
        (tipped, tenth) => tipped.map(|(_, packet)| packet) != tenth,
    };
    let late = (row.must_detect && row.attack == "REGISTER" && is_late)
        .then(|| format!("tipped at {tipped:?}, the truth says {:?}", row.tenth_rejection));

    let is_blocked_agent =
        ["friendly-scanner", "sipsak", "Elite"].iter().any(|name| row.agent.starts_with(name));
    let at_once = first.map(|verdict| verdict.packet);
    let slow = (row.must_detect && is_blocked_agent && at_once.is_some() && at_once != row.first_offence)
        .then(|| format!("agent seen at {at_once:?}, the truth says {:?}", row.first_offence));
    [false_alarm, missed, late, slow].into_iter().flatten()
}

fn of_source<'a>(played: &'a Played, source: &str) -> Vec<&'a Verdict> {
    played.verdicts.iter().filter(|verdict| verdict.observed.source.to_string() == source).collect()
}

/// The only sources of others' recordings that are to be blocked, with the frame of the first verdict. `UNfriendly-scanner` is not
/// `friendly-scanner`, since names count at their start; its From tag is that of SIPVicious.
const OTHERS: [(&str, &str, u64); 2] = [
    ("acoustic__honeypot-log-2010-derived.pcap", "203.0.113.84", 1),
    ("acoustic__Voip-trace.pcap", "172.25.105.43", 1),
];

#[test]
fn the_verdicts_on_others_recordings_agree_with_their_description() {
    let Some(folder) = recordings("pcap") else { return };
    let files = files(&folder);
    for path in &files {
        let file = path.file_name().unwrap().to_string_lossy();
        let played = play(path);
        assert!(played.stopped.is_none(), "{file}: {:?}", played.stopped);
        assert!(played.statistics.packets > 0, "{file}");
        let mut expected = OTHERS.iter().filter(|(name, ..)| *name == file);
        for verdict in &played.verdicts {
            let source = verdict.observed.source.to_string();
            assert!(expected.clone().any(|(_, blamed, _)| *blamed == source), "{file}: {}", line(verdict));
        }
        let first = played.verdicts.first().map(|verdict| verdict.packet);
        assert_eq!(first, expected.next().map(|(_, _, packet)| *packet), "{file}");
    }
    assert!(files.len() > 50, "{} recordings", files.len());
}
