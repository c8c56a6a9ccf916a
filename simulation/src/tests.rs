//! Runs of whole clusters.

use super::{Checker, Failure, Figures, Planted, Report, run};

/// Seeds that once failed.
const REGRESSIONS: &str = include_str!("../seeds/regression.txt");
/// Seeds after which a planted defect must have been found.
const PATIENCE: u64 = 60;

fn hold(seed: u64) -> Report {
    match run(seed, Planted::Nothing, None) {
        Ok(report) => report,
        Err(failure) => {
            let Failure { seed, trace_hash: _, violation, faults, tail } = *failure;
            panic!("{}\nseed {seed} fails with {faults:?}: {violation}", tail.join("\n"));
        }
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    let lines = REGRESSIONS.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let seeds: Vec<u64> =
        lines.filter(|line| !line.is_empty()).map(|line| line.parse().expect("a seed")).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        hold(seed);
    }
}

#[test]
fn clusters_hold_through_faults_and_come_to_rest() {
    let reports: Vec<Report> = (1_000..1_040).map(hold).collect();
    let sum = |of: fn(&Figures) -> u64| reports.iter().map(|report| of(&report.figures)).sum::<u64>();
    // A simulator in which nothing happens would find nothing.
    assert!(30 < sum(|figures| figures.crashes), "{reports:?}");
    assert!(300 < sum(|figures| figures.committed), "{reports:?}");
    assert!(100 < sum(|figures| figures.rejected), "{reports:?}");
    assert!(30 < sum(|figures| figures.asked_again), "{reports:?}");
    assert!(3_000 < sum(|figures| figures.entries), "{reports:?}");
    assert!(300 < sum(|figures| figures.erased), "{reports:?}");
    assert!(30 < sum(|figures| figures.spoiled), "{reports:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let reports: Vec<Report> = (1..=20).map(hold).collect();
    assert_eq!(reports, (1..=20).map(hold).collect::<Vec<_>>());
    let mut hashes: Vec<u64> = reports.iter().map(|report| report.trace_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), reports.len(), "other seeds give other traces");
}

/// Who finds a planted defect.
fn found(planted: Planted) -> Checker {
    let failure = (1..=PATIENCE).find_map(|seed| run(seed, planted, None).err());
    failure.unwrap_or_else(|| panic!("{planted:?} was not found in {PATIENCE} seeds")).violation.checker
}

#[test]
fn a_writer_that_reports_before_it_has_written_is_found() {
    // Either a host is seen to have forgotten, or it notices that itself and halts.
    assert!(matches!(found(Planted::AckBeforeSync), Checker::Durability | Checker::Log | Checker::Running));
}

#[test]
fn a_retry_under_a_new_command_id_is_found() {
    // It takes effect twice, or a change of settings does, which no order of the callers' answers explains.
    assert!(matches!(found(Planted::NewIdOnRetry), Checker::Once | Checker::Linear));
}

#[test]
fn numbers_of_observations_that_begin_anew_are_found() {
    // The spool refuses numbers that do not rise; without anything spooled, the log has them already.
    let found = found(Planted::ReuseObservationNumbers);
    assert!(matches!(found, Checker::Running | Checker::Observations | Checker::Liveness));
}
