//! The `nft` program: only for the table and its rules, never for single elements.
#![expect(
    clippy::disallowed_methods,
    reason = "the actuator's shell: starts nft, which takes about 10 ms, and waits for it with a bound"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// Where distributions put the program. The search path of the environment is not asked.
const PROGRAMS: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"];
/// How often it is asked whether it is done.
const POLL: Duration = Duration::from_millis(1);
/// How often at most: 60 seconds, for a script may carry a full set of elements.
const MAX_POLLS: u32 = 60_000;
/// How much of its complaint is kept.
const MAX_COMPLAINT: u64 = 2_048;

/// Why a script did not run.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is not installed.
    #[error("find nft: in none of {PROGRAMS:?}; install nftables")]
    Missing,
    /// It does not start, or cannot be spoken to.
    #[error("run {program}")]
    Run {
        /// The program.
        program: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It does not end.
    #[error("run {0}: not done after 60 seconds, ended it")]
    TooSlow(&'static str),
    /// It did not like the script, or the kernel did not.
    #[error("run {program}: {status}: {complaint}")]
    Refused {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        complaint: String,
    },
}

/// Runs a script as one transaction.
pub(super) fn run(script: &str) -> Result<(), NftError> {
    let program = program()?;
    let failed = |source| NftError::Run { program, source };
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let written = write(&mut child, script);
    let status = wait(&mut child).map_err(failed)?;
    let Some(status) = status else {
        end(&mut child).map_err(failed)?;
        return Err(NftError::TooSlow(program));
    };
    if status.success() {
        return written.map_err(failed);
    }
    Err(NftError::Refused { program, status, complaint: complaint(child) })
}

/// What the program says of its version.
pub(super) fn version() -> Result<String, NftError> {
    let program = program()?;
    let said = Command::new(program).arg("--version").env_clear().current_dir("/").output();
    let said = said.map_err(|source| NftError::Run { program, source })?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

fn program() -> Result<&'static str, NftError> {
    let is_there = |program: &&str| fs::metadata(program).is_ok_and(|file| file.is_file());
    PROGRAMS.into_iter().find(is_there).ok_or(NftError::Missing)
}

/// Hands the script over and closes the pipe: the program begins when it has read everything.
fn write(child: &mut Child, script: &str) -> io::Result<()> {
    match child.stdin.take() {
        Some(mut pipe) => pipe.write_all(script.as_bytes()),
        None => Ok(()),
    }
}

/// Waits for the end, up to a bound.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    for _ in 0..MAX_POLLS {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL);
    }
    Ok(None)
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// The beginning of what the program said, on one line.
fn complaint(mut child: Child) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        // Half a complaint is better than none.
        let _read = pipe.take(MAX_COMPLAINT).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
