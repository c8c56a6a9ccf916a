//! What several integration tests share.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use palisade::demo::namespaces::{Namespaces, Place};

/// Longest wait for something that must come: far more than a loaded machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the level is reached and fails the test if it is not in time.
pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    // Nobody ever sends: the receiver is a clock that needs no sleep.
    let (_nobody, pause) = mpsc::channel::<()>();
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < DEADLINE, "not reached in {DEADLINE:?}: {what}");
        let _over = pause.recv_timeout(Duration::from_millis(5));
    }
}

/// Whether this process may make network namespaces. If not, says which test was not run: the line reaches the
/// terminal even where the harness keeps the output of passing tests.
pub(crate) fn may_make_namespaces(test: &str) -> bool {
    const NET_ADMIN_AND_SYS_ADMIN: u64 = (1 << 12) | (1 << 21);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let capabilities = u64::from_str_radix(effective.trim(), 16).unwrap();
    let may = capabilities & NET_ADMIN_AND_SYS_ADMIN == NET_ADMIN_AND_SYS_ADMIN;
    if !may {
        not_run(test, "it makes network namespaces, which needs root");
    }
    may
}

/// dnsmasq, running until dropped.
pub(crate) struct Dnsmasq(Child);

impl Dnsmasq {
    /// Starts it by a command that has its name only, with a log in the folder; it serves once it has said `ready`.
    pub(crate) fn start(mut command: Command, folder: &Path, arguments: &[String], ready: &str) -> Self {
        let log = folder.join("dnsmasq");
        let said = fs::File::create(&log).unwrap();
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--pid-file=",
        ]);
        command
            .args(["--user=root", "--group=root", "--log-facility=-", "--bind-interfaces"])
            .args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let server = Self(child);
        wait_until("dnsmasq serves", || fs::read_to_string(&log).unwrap().contains(ready));
        server
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _asked = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Says that a test was not run, and why.
pub(crate) fn not_run(test: &str, why: impl fmt::Display) {
    writeln!(std::io::stderr(), "NOT RUN {test}: {why}").unwrap();
}

/// Runs to the end and gives its standard output; fails the test if it fails.
pub(crate) fn output_of(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Runs `work` on a thread inside a namespace, with all threads that it starts.
pub(crate) fn thread_in<T: Send + 'static>(
    network: &Namespaces,
    place: Place,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let door = network.door(place).unwrap();
    thread::spawn(move || {
        door.enter().unwrap();
        work()
    })
}

/// A directory of mode 0700 that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A fresh one whose name begins with `name`.
    pub(crate) fn new(name: &str) -> Self {
        let made =
            output_of(Command::new("/usr/bin/mktemp").args(["-d", "-t", &format!("palisade-{name}-XXXXXX")]));
        Self(PathBuf::from(made.trim_end()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
