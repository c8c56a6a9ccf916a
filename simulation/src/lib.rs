//! A deterministic cluster: three or five hosts of the production code (node, consensus core, the writer's gathering,
//! write-ahead log, repair, spool, chapters, erasure) in a world whose clocks, network, disks and faults come from one seed.
//!
//! ```text
//!  seed ──> Prng ──> faults, workload, delays
//!                        │
//!                        v
//!  queue of events ──> World ──> Host = Node + Drive (write-ahead log on a disk in memory) + clocks
//!        ^               │                │
//!        └── what follows┘                └──> Checks: after every turn, and at the end
//! ```
//!
//! It deliberately knows no thread, no socket and no real time. Each run has two phases: *safety*, with faults, in which
//! nothing may be wrong; then *liveness*, with every fault healed, in which everything must come to an end. The entry
//! type is [`run`]; the same seed gives the same trace. The stand-ins of the shell (threads of writer, spool and
//! chapters, transport, driver) follow `consensus::rt` and `palisade::runtime` in order and effect. Tests: `src/tests.rs`; seeds that once failed:
//! `seeds/regression.txt`; defects that a build can be given, to see that they are found: `bugs.txt`, `make bugs`.

pub mod bugs;
mod check;
mod clock;
mod disk;
mod donors;
mod faults;
mod host;
mod network;
mod planted;
mod prng;
mod spoil;
mod spool;
#[cfg(test)]
mod tests;
mod trace;
mod workload;
mod workshop;
mod world;

pub use check::{Checker, Violation};
pub use faults::Class;
pub use planted::Planted;
pub use trace::Echo;
pub use world::{Failure, Figures, Options, Report, is_panic_caught, run, run_with, shrink};
