//! Runs simulated clusters: one seed, with its trace if wished, or a range of them; or looks whether planted defects are
//! found.
//!
//! ```text
//! simulation --seed 7 --trace
//! simulation --seeds 1..2001
//! simulation --seeds 1..2001 --bugs       (of a build that has them: `make bugs`)
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line: it prints, and reads the clock to say how fast it was"
)]

use std::cell::Cell;
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Parser;
use mimalloc::MiMalloc;
use simulation::bugs::{self, Bug};
use simulation::{Echo, Failure, Figures, Planted, Report, run, shrink};

/// Simulated hosts allocate as much as real ones do.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

thread_local! {
    /// The seed under way, for the last words of a panic.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Deterministic clusters from seeds; a failure prints its seed, its checker and the end of its trace.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this seed.
    #[arg(long, required_unless_present = "seeds", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run the seeds FROM..TO, without TO.
    #[arg(long, value_name = "FROM..TO", value_parser = parse_range)]
    seeds: Option<Range<u64>>,
    /// Print every line of the trace.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Plant a defect into the simulator's stand-ins.
    #[arg(long, value_parser = parse_planted, default_value = "nothing")]
    planted: Planted,
    /// Switch on a defect of the product, in a build that has them.
    #[arg(long, value_parser = parse_bug)]
    bug: Option<Bug>,
    /// Look for every defect of the product, each until it is found.
    #[arg(long, requires = "seeds", conflicts_with = "bug")]
    bugs: bool,
    /// Go on after a failure, and count.
    #[arg(long)]
    keep_going: bool,
    /// Seeds, or defects, at once; one a core if not given. No seed's run depends on it.
    #[arg(long)]
    threads: Option<usize>,
}

impl Arguments {
    fn threads(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(cores).max(1)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if (arguments.bugs || arguments.bug.is_some()) && !bugs::ARE_PLANTED {
        eprintln!("this build has no planted defects: `make bugs` makes one that has");
        return ExitCode::FAILURE;
    }
    if let (true, Some(seeds)) = (arguments.bugs, &arguments.seeds) {
        return find_bugs(seeds, arguments.threads());
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if simulation::is_panic_caught() {
            return;
        }
        eprintln!("seed {} panics; --seed with --trace shows how", SEED.get());
        usual(panic);
    }));
    run_seeds(&arguments)
}

/// What the seeds so far came to.
#[derive(Default)]
struct Tally {
    done: u64,
    failed: u64,
    sum: Figures,
}

fn run_seeds(arguments: &Arguments) -> ExitCode {
    let seeds = match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, Some(seeds)) => seeds.clone(),
        (None, None) => 0..0, // The parser asks for one of them.
    };
    let (started, threads) = (Instant::now(), arguments.threads());
    let (next, is_over, tally) =
        (AtomicU64::new(seeds.start), AtomicBool::new(false), Mutex::new(Tally::default()));
    let work = || {
        bugs::switch(arguments.bug); // A switch of this thread.
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seeds.end <= seed {
                return;
            }
            SEED.set(seed);
            let holds = run_seed(seed, arguments, &tally);
            is_over.fetch_or(!holds && !arguments.keep_going, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let Tally { done, failed, sum } = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = started.elapsed().as_secs_f64();
    let an_hour = 3_600.0 * done as f64 / seconds;
    println!("{sum:?}");
    println!("{done} seeds, {failed} failed, {seconds:.1} s, {an_hour:.0} seeds/h on {threads} threads");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether the seed holds.
fn run_seed(seed: u64, arguments: &Arguments, tally: &Mutex<Tally>) -> bool {
    let echo: Option<Echo> = arguments.trace.then(|| Box::new(|line: &str| println!("{line}")) as Echo);
    let result = run(seed, arguments.planted, echo);
    // Held while it prints, so that what two seeds say does not mix.
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.done += 1;
    match result {
        Ok(report) => {
            tally.sum.add(&report.figures);
            if arguments.seed.is_some() {
                print_report(&report);
            }
            true
        }
        Err(failure) => {
            tally.failed += 1;
            print_failure(&failure, arguments);
            false
        }
    }
}

/// Prints which seed finds each defect, and what it sees.
fn find_bugs(seeds: &Range<u64>, threads: usize) -> ExitCode {
    // With a defect, a panic is one way of being found.
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:<28} {:>6}  {:<13} what is wrong", "bug", "seed", "checker");
    let (bugs, missed) = (Mutex::new(Bug::all()), AtomicU64::new(0));
    let next = || bugs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let look = || {
        while let Some(bug) = next() {
            bugs::switch(Some(bug)); // A switch of this thread.
            let found = seeds.clone().find_map(|seed| run(seed, Planted::Nothing, None).err());
            missed.fetch_add(u64::from(found.is_none()), Ordering::Relaxed);
            let (seed, checker) = match found {
                Some(failure) => (failure.seed.to_string(), format!("{:?}", failure.violation.checker)),
                None => ("-".to_owned(), "NOT FOUND".to_owned()),
            };
            println!("{:<28} {seed:>6}  {checker:<13} {}", bug.name, bug.what);
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(look))));
    let missed = missed.into_inner();
    let found = Bug::all().count() as u64 - missed;
    println!("{found} planted bugs found, {missed} not found in {} seeds each", seeds.end - seeds.start);
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_report(report: &Report) {
    let Report { seed, trace_hash, figures } = report;
    println!("seed {seed} holds; trace {trace_hash:016x}; {figures:?}");
}

/// The end of the trace, then what failed, where, and which classes of faults it takes.
fn print_failure(failure: &Failure, arguments: &Arguments) {
    let Failure { seed, trace_hash, violation, faults, tail } = failure;
    if !arguments.trace {
        tail.iter().for_each(|line| println!("{line}"));
    }
    println!("seed {seed} fails; commit {}; trace {trace_hash:016x}; {violation}", commit());
    println!("faults that it needs: {:?}, of {faults:?}", shrink(failure, arguments.planted));
}

/// The commit that the working tree is at.
fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write FROM..TO, such as 1..2000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(from)?..number(to)?)
}

fn parse_planted(text: &str) -> Result<Planted, String> {
    let known = || [Planted::Nothing].into_iter().chain(Planted::ALL);
    known().find(|planted| planted.name() == text).ok_or_else(|| {
        let names: Vec<&str> = known().map(Planted::name).collect();
        format!("not one of {}", names.join(", "))
    })
}

fn parse_bug(text: &str) -> Result<Bug, String> {
    Bug::named(text).ok_or_else(|| {
        let names: Vec<&str> = Bug::all().map(|bug| bug.name).collect();
        format!("not one of {}", names.join(", "))
    })
}
