//! Starts the command line.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Entries, requests and folds are many small pieces that are made on one thread and dropped on another: the system's own
/// allocator took an eighth of a busy host's time. Without huge pages, which it would have the kernel clear again and again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    palisade::cli::run()
}
