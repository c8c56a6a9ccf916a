//! The demo as a person runs it: `palisade demo`, watched by what it prints and by what it leaves behind.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are shells: they start programs and threads and read what is printed"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::cluster::free_address;
use crate::support::{may_make_namespaces, output_of, wait_until};
use crate::wire_cluster::binary;

#[test]
fn the_kernels_of_three_hosts_drop_the_attackers_and_nobody_else() {
    if !may_make_namespaces("the_kernels_of_three_hosts_drop_the_attackers_and_nobody_else") {
        return;
    }
    let mut demo = Demo::start(&["--for", "25"]);
    let ended = demo.wait_for_exit();
    assert!(ended.success(), "{ended}");
    let lines = demo.end();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at].ends_with(": nft list ruleset")).collect();
    assert_eq!(starts.len(), 3, "each host shows what its kernel holds");
    for (number, start) in starts.iter().enumerate() {
        let end = starts.get(number + 1).copied().unwrap_or(lines.len());
        check_kernel(&lines[*start..end]);
    }
}

/// What the demo prints of one host's kernel.
fn check_kernel(lines: &[String]) {
    let of_set = |name: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")).collect()
    };
    let blocked = of_set("blocked4").join(" ");
    for attacker in ["10.77.0.66", "10.77.0.67"] {
        assert!(blocked.split([' ', ',']).any(|word| word == attacker), "{attacker}: {lines:#?}");
    }
    let mut dropped = of_set("blocked4").into_iter().filter_map(|line| line.strip_prefix("dropped packets "));
    let packets: u64 = dropped.next().and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(0 < packets, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("10.77.0.50")), "the honest office is held: {lines:#?}");
}

#[test]
fn without_privileges_the_demo_watches_and_says_so() {
    let mut demo = Demo::start(&["--unprivileged"]);
    demo.wait_for_line("watch-only");
    demo.wait_for_line("one-time password");
    // The registrars record the traffic of 127.77.0.* as coming from there.
    for attacker in ["198.51.100.66", "198.51.100.67"] {
        demo.wait_for("an attacker is blocked", |demo| demo.blocks(1).contains(attacker));
    }
    for host in 1..=3 {
        demo.wait_for("every host lists the attacker", |demo| demo.blocks(host).contains("198.51.100.66"));
        assert!(!demo.blocks(host).contains("198.51.100.50"), "the honest office is blocked");
    }
    demo.signal("-INT");
    let ended = demo.wait_for_exit();
    assert!(ended.success(), "{ended}");
    demo.end();
}

#[test]
fn a_demo_that_is_told_to_end_leaves_nothing_whenever_it_is_told() {
    const ON_A_WIRE: &str = "a_demo_that_is_told_to_end_leaves_nothing_whenever_it_is_told, on a wire";
    let privileges: &[&[&str]] =
        if may_make_namespaces(ON_A_WIRE) { &[&[], &["--unprivileged"]] } else { &[&["--unprivileged"]] };
    for words in privileges {
        for (signal, line) in
            [("-TERM", "three hosts"), ("-INT", "one-time password"), ("-TERM", "blocked: ")]
        {
            let mut demo = Demo::start(words);
            demo.wait_for_line(line);
            demo.signal(signal);
            let ended = demo.wait_for_exit();
            assert!(ended.success(), "{signal} after {line:?}: {ended}");
            demo.end();
        }
    }
}

/// A running demo; it is asked to end when dropped, so that it clears up.
pub(crate) struct Demo {
    process: Child,
    console: SocketAddr,
    printed: Arc<Mutex<Vec<String>>>,
    is_running: bool,
}

impl Demo {
    /// Starts it with these words, its console on a free port.
    pub(crate) fn start(words: &[&str]) -> Self {
        let console = free_address();
        let mut command = Command::new(binary());
        command.arg("demo").args(words).args(["--console", &console.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let printed = Arc::default();
        keep_lines(process.stdout.take().unwrap(), &printed);
        keep_lines(process.stderr.take().unwrap(), &printed);
        Self { process, console, printed, is_running: true }
    }

    /// The console's address.
    pub(crate) fn console(&self) -> String {
        format!("http://{}", self.console)
    }

    /// What it has printed.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }

    /// Waits until it has printed a line with this in it, and gives the line.
    pub(crate) fn wait_for_line(&mut self, part: &str) -> String {
        let find = |demo: &Self| demo.lines().into_iter().find(|line| line.contains(part));
        self.wait_for(part, |demo| find(demo).is_some());
        find(self).unwrap()
    }

    /// Waits until an address is blocked, and dropped by so many hosts.
    pub(crate) fn wait_for_blocked(&mut self, address: &str, dropped_on: usize) {
        let (source, dropped) = (format!("{address} ("), format!("dropped on {dropped_on} of 3"));
        let is_it = |block: &str| block.contains(&source) && block.contains(&dropped);
        self.wait_for(&format!("{address} is {dropped}"), |demo| {
            demo.lines().iter().any(|line| line.split("), ").any(is_it))
        });
    }

    fn wait_for(&mut self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        wait_until(what, || {
            let is_reached = reached(self);
            let ended = self.process.try_wait().unwrap();
            assert!(is_reached || ended.is_none(), "the demo ended before {what}: {ended:?}");
            is_reached
        });
    }

    /// What `palisade blocks` prints at a host.
    fn blocks(&self, host: u8) -> String {
        let configuration = self.folder().join(format!("cluster/host{host}/palisade.toml"));
        output_of(Command::new(binary()).args(["blocks", "--config"]).arg(configuration))
    }

    fn signal(&self, signal: &str) {
        output_of(Command::new("/usr/bin/kill").args([signal, &self.process.id().to_string()]));
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the demo has ended", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        self.is_running = false;
        ended.unwrap()
    }

    /// Checks that it has left nothing, and gives all that it printed.
    fn end(self) -> Vec<String> {
        assert!(!self.is_running);
        let own = format!("palisade-demo-{}", self.process.id());
        assert!(!self.folder().exists(), "{} is still there", self.folder().display());
        let namespaces = output_of(Command::new("/usr/sbin/ip").args(["netns", "list"]));
        assert!(!namespaces.contains(&own), "{namespaces}");
        let processes = output_of(Command::new("/usr/bin/ps").args(["-eo", "args"]));
        assert!(!processes.contains(&own), "{processes}");
        self.lines()
    }

    fn folder(&self) -> PathBuf {
        std::env::temp_dir().join(format!("palisade-demo-{}", self.process.id()))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.is_running {
            self.signal("-TERM");
            let _ended = self.process.wait();
        }
        if thread::panicking() {
            println!("--- the demo printed\n{}", self.lines().join("\n"));
        }
    }
}

/// Keeps what a program prints, line by line, until it closes its end.
fn keep_lines(output: impl Read + Send + 'static, printed: &Arc<Mutex<Vec<String>>>) {
    let printed = Arc::clone(printed);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            printed.lock().unwrap().push(line);
        }
    });
}
