//! Other people's tools: Kamailio as the registrar, SIPVicious as the attacker; in the folder beside, all the others.
//!
//! The command lines below run without a prompt, write nothing outside the given directories, and send nothing that
//! leaves the namespace in which they run. Both tools are found, not bundled: Kamailio through apt, SIPVicious through
//! pip (see [`Sipvicious::find`]).
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

mod catalogue;
mod guests;
mod live;
mod recorder;

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use palisade::demo::attackers::AttackOptions;
use palisade::demo::attackers::scan::{self, ScanOptions};
use palisade::demo::namespaces::{Namespaces, Place};
use palisade::demo::registrar::password_of;
use palisade::demo::stop::Stop;

use crate::support::{Scratch, may_make_namespaces, not_run, output_of, thread_in, wait_until};

/// Where Debian puts Kamailio.
const KAMAILIO: &str = "/usr/sbin/kamailio";
/// The configuration: accounts 1001 to 1010 with the passwords of [`password_of`].
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/kamailio.cfg");
/// Where `make test` installs SIPVicious: a virtual environment of the project's own.
const VIRTUAL_ENVIRONMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/sipvicious/bin");

/// What Kamailio answers to wrong passwords and unknown users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// 401 to everything.
    Challenge,
    /// The same; to nmap in the form that Asterisk gives it, with nonces that others get, too.
    ChallengeAsAsterisk,
    /// 404 to unknown users.
    NotFound,
    /// 403 to wrong passwords.
    Forbid,
}

/// Kamailio, running in a namespace until dropped.
#[derive(Debug)]
pub(crate) struct Kamailio {
    child: Child,
    run: Scratch,
}

impl Kamailio {
    /// Whether it is installed; if not, says which test was not run.
    pub(crate) fn is_installed(test: &str) -> bool {
        let found = Path::new(KAMAILIO).exists();
        if !found {
            not_run(test, "kamailio is not installed (apt-get install kamailio)");
        }
        found
    }

    /// Starts it on port 5060 of both addresses of the place, over UDP and TCP, and waits until it answers an OPTIONS on each over UDP;
    /// it listens for connections before.
    pub(crate) fn start(network: &Namespaces, place: Place, policy: Policy) -> Self {
        let run = Scratch::new("kamailio");
        let log = File::create(run.path().join("log")).unwrap();
        let addresses = [IpAddr::from(place.ipv4().unwrap()), IpAddr::from(place.ipv6().unwrap())]
            .map(|address| SocketAddr::new(address, 5060));
        let mut command = network.run_in(place, KAMAILIO);
        command.args(["-f", CONFIGURATION, "-DD", "-E", "-m", "32", "-M", "4", "-w"]).arg(run.path());
        // Control sockets go into the scratch directory too.
        command.arg("-Y").arg(run.path());
        for address in addresses {
            command.args(["-l", &format!("udp:{address}"), "-l", &format!("tcp:{address}")]);
        }
        match policy {
            Policy::Challenge => {}
            Policy::ChallengeAsAsterisk => drop(command.args(["-A", "WITH_ALGORITHM"])),
            Policy::NotFound => drop(command.args(["-A", "WITH_404"])),
            Policy::Forbid => drop(command.args(["-A", "WITH_403"])),
        }
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut kamailio = Self { child, run };
        for address in addresses {
            wait_until("kamailio answers", || {
                assert_eq!(kamailio.child.try_wait().unwrap(), None, "kamailio ended: {}", kamailio.log());
                answers(network, place, address)
            });
        }
        kamailio
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.run.path().join("log")).unwrap()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Its children end with the first process, which ends on SIGTERM; SIGKILL would leave them.
        let _asked = Command::new("/usr/bin/kill").arg(self.child.id().to_string()).status();
        let _ended = self.child.wait();
    }
}

/// Whether a server in the place answers an OPTIONS to its own address.
fn answers(network: &Namespaces, place: Place, server: SocketAddr) -> bool {
    let attack = AttackOptions {
        source: SocketAddr::new(server.ip(), 0),
        pace: Duration::from_millis(1),
        requests: 1,
        give_up: Duration::from_secs(1),
    };
    let options = ScanOptions { attack, targets: vec![server], rounds: 1 };
    let asked = thread_in(network, place, move || scan::run(&options, &Stop::new()).unwrap());
    asked.join().unwrap().answered == 1
}

/// The programs of SIPVicious.
#[derive(Debug)]
pub(crate) struct Sipvicious {
    folder: PathBuf,
    home: Scratch,
}

/// What a run of a tool gave.
#[derive(Debug)]
pub(crate) struct Run {
    /// What it wrote to standard output and then to standard error.
    pub(crate) text: String,
    /// How long it ran.
    pub(crate) took: Duration,
}

impl Sipvicious {
    /// Finds the programs in the project's virtual environment
    /// (`python3 -m venv target/tools/sipvicious && target/tools/sipvicious/bin/pip install sipvicious`), or in
    /// the folder that `PALISADE_SIPVICIOUS` names; if they are not there, says which test was not run.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let named = std::env::var_os("PALISADE_SIPVICIOUS").map(PathBuf::from);
        let mut folders = named.into_iter().chain([PathBuf::from(VIRTUAL_ENVIRONMENT)]);
        let folder = folders.find(|folder| folder.join("sipvicious_svcrack").exists());
        if folder.is_none() {
            not_run(test, format!("SIPVicious is not installed at {VIRTUAL_ENVIRONMENT}"));
        }
        folder.map(|folder| Self { folder, home: Scratch::new("sipvicious") })
    }

    /// `svmap TARGETS`: an address, or a range such as `10.77.0.11-13`. Takes three seconds, mostly waiting.
    pub(crate) fn svmap(&self, network: &Namespaces, targets: &str) -> Run {
        self.run(network, "svmap", targets, &[])
    }

    /// `svwar -m REGISTER -e FIRST-LAST TARGET`: 134 requests a second. `force` goes on against servers that challenge
    /// everybody.
    pub(crate) fn svwar(&self, network: &Namespaces, target: IpAddr, extensions: &str, force: Force) -> Run {
        let mut options = vec!["-m", "REGISTER", "-e", extensions];
        match force {
            Force::StopIfHopeless => {}
            Force::GoOn => options.push("--force"),
        }
        self.run(network, "svwar", &target.to_string(), &options)
    }

    /// `svcrack -u ACCOUNT -d FILE TARGET`: about 170 guesses a second. After the last miss it waits for ten seconds.
    pub(crate) fn svcrack(
        &self,
        network: &Namespaces,
        target: IpAddr,
        account: &str,
        words: &[String],
    ) -> Run {
        let list = self.home.path().join("words");
        fs::write(&list, words.join("\n") + "\n").unwrap();
        let list = list.to_str().unwrap();
        self.run(network, "svcrack", &target.to_string(), &["-u", account, "-d", list])
    }

    /// The command of a tool, from the attacker's namespace. `svcrack -u 1002 -r 100000-999999` never runs out.
    pub(crate) fn command(
        &self,
        network: &Namespaces,
        tool: &str,
        target: &str,
        options: &[&str],
    ) -> Command {
        let mut command = network.run_in(Place::Attacker, self.folder.join(format!("sipvicious_{tool}")));
        command.args(options);
        if target.contains("::") {
            command.arg("-6");
        }
        // Sessions would be kept at home; names are not looked up because there is nobody to ask.
        command.arg(target).env("HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, network: &Namespaces, tool: &str, target: &str, options: &[&str]) -> Run {
        let start = Instant::now();
        let Output { stdout, stderr, .. } = self.command(network, tool, target, options).output().unwrap();
        // The exit code tells what was found, not whether it ran.
        let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        Run { text, took: start.elapsed() }
    }
}

/// What svwar does when the server gives nothing away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// Stops after one request.
    StopIfHopeless,
    /// Goes on.
    GoOn,
}

#[test]
fn sipvicious_finds_what_kamailio_gives_away() {
    const TEST: &str = "sipvicious_finds_what_kamailio_gives_away";
    if !may_make_namespaces(TEST) || !Kamailio::is_installed(TEST) {
        return;
    }
    let Some(tools) = Sipvicious::find(TEST) else {
        return;
    };
    let network = Namespaces::create().unwrap();
    let host = IpAddr::from(Place::Host1.ipv4().unwrap());
    let right = format!("{}   ", password_of("1002"));
    let mut words: Vec<String> = (0..150).map(|number| format!("word{number}")).collect();
    words.push(password_of("1002"));

    let silent = Kamailio::start(&network, Place::Host1, Policy::Challenge);
    assert!(tools.svmap(&network, "10.77.0.11-13").text.contains("10.77.0.11:5060"));
    let hopeless = tools.svwar(&network, host, "1000-1012", Force::StopIfHopeless);
    assert!(hopeless.text.contains("Set --force"), "{}", hopeless.text);
    let forced = tools.svwar(&network, host, "1000-1012", Force::GoOn);
    assert!(forced.text.contains("found nothing"), "{}", forced.text);
    for address in [host, IpAddr::from(Place::Host1.ipv6().unwrap())] {
        let cracked = tools.svcrack(&network, address, "1002", &words);
        assert!(cracked.text.contains(right.trim_end()), "{}", cracked.text);
        println!("svcrack at {address}: {} guesses in {:?}", words.len(), cracked.took);
    }
    drop(silent);

    let telling = Kamailio::start(&network, Place::Host1, Policy::NotFound);
    let found = tools.svwar(&network, host, "995-1012", Force::StopIfHopeless);
    assert!(found.text.contains("1010") && !found.text.contains("1011"), "{}", found.text);
    drop(telling);

    let forbidding = Kamailio::start(&network, Place::Host1, Policy::Forbid);
    assert!(!forbidding.log().contains("ERROR"), "{}", forbidding.log());
    let cracked = tools.svcrack(&network, host, "1002", &words);
    assert!(cracked.text.contains(right.trim_end()), "{}", cracked.text);
    let inside = output_of(network.run_in(Place::Host1, "/usr/bin/ss").args(["-H", "-l", "-n", "-u", "-p"]));
    assert!(inside.contains("kamailio"), "{inside}");
    drop(forbidding);
    let after = output_of(network.run_in(Place::Host1, "/usr/bin/ss").args(["-H", "-l", "-n", "-u", "-p"]));
    assert!(!after.contains("kamailio"), "its children end with it: {after}");
}
