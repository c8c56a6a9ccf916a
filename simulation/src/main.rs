//! Runs simulated clusters: one seed, with its trace if wished, or a range of them.
//!
//! ```text
//! simulation --seed 7 --trace
//! simulation --seeds 1..2000
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line: it prints, and reads the clock to say how fast it was"
)]

use std::cell::Cell;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use simulation::{Echo, Failure, Planted, Report, run};

thread_local! {
    /// The seed under way, for the last words of a panic: an optimised build ends with it.
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
    /// Go on after a failure, and count.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("seed {} panics; --seed with --trace shows how", SEED.get());
        usual(panic);
    }));
    let seeds = match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, Some(seeds)) => seeds,
        (None, None) => 0..0, // The parser asks for one of them.
    };
    let (started, mut done, mut failed) = (Instant::now(), 0_u64, 0_u64);
    for seed in seeds {
        SEED.set(seed);
        let echo: Option<Echo> = arguments.trace.then(|| Box::new(|line: &str| println!("{line}")) as Echo);
        let result = run(seed, arguments.planted, echo);
        done += 1;
        match result {
            Ok(report) if arguments.seed.is_some() => print_report(&report),
            Ok(_) => {}
            Err(failure) => {
                failed += 1;
                print_failure(&failure, arguments.trace);
                if !arguments.keep_going {
                    break;
                }
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{done} seeds, {failed} failed, {seconds:.1} s, {:.0} seeds/h", 3_600.0 * done as f64 / seconds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_report(report: &Report) {
    let Report { seed, trace_hash, figures } = report;
    println!("seed {seed} holds; trace {trace_hash:016x}; {figures:?}");
}

fn print_failure(failure: &Failure, is_traced: bool) {
    let Failure { seed, trace_hash, violation, tail } = failure;
    if !is_traced {
        tail.iter().for_each(|line| println!("{line}"));
    }
    println!("seed {seed} fails; trace {trace_hash:016x}; {violation}");
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
