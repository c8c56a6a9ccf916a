//! Every tool of the catalogue at once against real servers, an office beside them, and one recording of all: whom the sensor blames,
//! for what, and how soon.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;

use log_format::event::Sanction;
use palisade::demo::namespaces::{Namespaces, Place};
use palisade::demo::registrar::password_of;

use super::catalogue::{ATTACKS, Expected, OFFICE, Row, Tool};
use super::guests::{Guest, open_roads};
use super::recorder::{Recorder, Told, judge, senders};
use super::{Kamailio, Policy, Sipvicious};
use crate::support::{Dnsmasq, Scratch, may_make_namespaces, not_run, output_of, thread_in};

const TEST: &str = "every_tool_is_recognised_and_the_office_is_not_blamed";
/// Runs at one time: most of a tool's time is waiting.
const AT_ONCE: usize = 8;
/// The number in the office's addresses; attackers have those behind it.
const OFFICE_DIGITS: u8 = 100;
/// Where the project's scenarios are.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/sipp");
/// What changes the User-Agent of SIPVicious.
const RENAMED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/renamed.py");
/// Where Debian puts nmap's scripts.
const NMAP_DATA: &str = "/usr/share/nmap";
/// What is sent when all is over.
const LAST: &[u8] = b"that was all, says the test";

#[test]
fn every_tool_is_recognised_and_the_office_is_not_blamed() {
    if !may_make_namespaces(TEST) || !Kamailio::is_installed(TEST) {
        return;
    }
    for (program, package) in [("tcpdump", "tcpdump"), ("dnsmasq", "dnsmasq-base")] {
        if !is_installed(program) {
            return not_run(TEST, format!("{program} is not installed (apt-get install {package})"));
        }
    }
    let toolbox = Toolbox::open();
    let network = Namespaces::create().unwrap();
    open_roads(&network);
    let office = Guest::invite(&network, OFFICE_DIGITS);
    let attackers = (OFFICE_DIGITS + 1..).zip(ATTACKS).filter(|(_, row)| toolbox.has(row.tool));
    let attackers: Vec<(Guest, &Row)> =
        attackers.map(|(digits, row)| (Guest::invite(&network, digits), row)).collect();
    let people: Vec<&Row> = OFFICE.iter().filter(|row| toolbox.has(row.tool)).collect();

    let _challenging = Kamailio::start(&network, Place::Host1, Policy::ChallengeAsAsterisk);
    let _telling = Kamailio::start(&network, Place::Host2, Policy::NotFound);
    let _names_and_files = names_and_files(&network, Place::Host1, toolbox.folder.path());
    let mut recorder = Recorder::start(&network);
    let runs = people.iter().map(|row| (&office, *row));
    toolbox.run_all(runs.chain(attackers.iter().map(|(guest, row)| (guest, *row))));
    let last = || UdpSocket::bind("10.77.0.13:0").unwrap().send_to(LAST, "10.77.0.12:9").unwrap();
    assert_eq!(thread_in(&network, Place::Host3, last).join().unwrap(), LAST.len());
    let recording = recorder.finish(LAST);

    let verdicts = Verdicts::of(&recording);
    let mut wrong = Vec::new();
    for (guest, row) in &attackers {
        let told = verdicts.on([guest.v4(), guest.v6()]);
        println!("{}", verdicts.line(row, &told));
        wrong.extend(disagreement(row, &told));
    }
    let known: BTreeSet<IpAddr> = attackers.iter().flat_map(|(guest, _)| [guest.v4(), guest.v6()]).collect();
    let blamed = verdicts.told.iter().map(|told| told.source);
    let honest = blamed.chain(verdicts.noted.iter().copied()).filter(|source| !known.contains(source));
    wrong.extend(honest.map(|source| format!("{source} is honest, and not left alone")));
    assert_eq!(wrong, Vec::<String>::new());
    let sent = verdicts.sent_by([office.v4(), office.v6()], u64::MAX);
    println!("the office: {} runs, {sent} packets, no verdict and no note", people.len());
    assert!(people.len() < OFFICE.len() || 100 < sent, "the office works");
}

/// The programs that are there, and a folder with what they read.
struct Toolbox {
    folder: Scratch,
    sipvicious: Option<Sipvicious>,
    found: BTreeSet<Tool>,
}

impl Toolbox {
    /// Says of each tool that is not installed that its runs are left out.
    fn open() -> Self {
        let folder = Scratch::new("toolbox");
        let sipvicious = Sipvicious::find(TEST);
        let mut found = BTreeSet::new();
        if sipvicious.is_some() {
            found.extend([Tool::Sipvicious, Tool::RenamedSipvicious]);
        }
        let programs = [
            (Tool::Nmap, "nmap", "nmap"),
            (Tool::RenamedNmap, "nmap", "nmap"),
            (Tool::Sipp, "sipp", "sip-tester"),
            (Tool::TftpClient, "tftp", "tftp-hpa"),
            (Tool::Dig, "dig", "bind9-dnsutils"),
            (Tool::Dnsperf, "dnsperf", "dnsperf"),
        ];
        for (tool, program, package) in programs {
            if is_installed(program) {
                found.insert(tool);
            } else {
                let left_out = format!("{program} is not installed (apt-get install {package})");
                not_run(TEST, format!("the runs of {}: {left_out}", tool.name()));
            }
        }
        let toolbox = Self { folder, sipvicious, found };
        toolbox.fill();
        toolbox
    }

    fn has(&self, tool: Tool) -> bool {
        self.found.contains(&tool)
    }

    /// Runs everything, several at a time, each to its end.
    fn run_all<'a>(&self, runs: impl Iterator<Item = (&'a Guest, &'a Row)> + Send) {
        let runs = Mutex::new(runs);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let next = runs.lock().unwrap().next();
                        let Some((guest, row)) = next else { return };
                        self.run(guest, row);
                    }
                });
            }
        });
    }

    fn run(&self, guest: &Guest, row: &Row) {
        let line = row.line.replace("{v4}", &guest.v4().to_string()).replace("{v6}", &guest.v6().to_string());
        let (first, rest) = line.split_once(' ').unwrap();
        let here = self.folder.path();
        let mut command = match row.tool {
            Tool::Sipvicious | Tool::RenamedSipvicious => self.sipvicious(guest, row.tool, first),
            Tool::Nmap | Tool::RenamedNmap => nmap(guest, row.tool, first, here),
            Tool::Sipp => {
                let mut sipp = guest.run("sipp", here);
                // Fewer files than some machines allow for.
                sipp.args(["-nostdin", "-max_socket", "1000", "-sf"]).arg(format!("{SCENARIOS}/{first}.xml"));
                sipp
            }
            Tool::TftpClient => {
                let mut tftp = guest.run("tftp", here);
                tftp.args(["-m", "binary", first]).stdin(File::open(here.join(rest)).unwrap());
                tftp
            }
            Tool::Dig | Tool::Dnsperf => {
                let program = if row.tool == Tool::Dig { "dig" } else { "dnsperf" };
                let mut asker = guest.run(program, here);
                asker.arg(first);
                asker
            }
        };
        if row.tool == Tool::TftpClient {
            finish(&mut command, row);
        } else {
            finish(command.args(rest.split(' ')).stdin(Stdio::null()), row);
        }
    }

    fn sipvicious(&self, guest: &Guest, tool: Tool, program: &str) -> Command {
        let installed = self.sipvicious.as_ref().unwrap();
        let here = self.folder.path();
        let mut command = if tool == Tool::Sipvicious {
            guest.run(installed.folder.join(format!("sipvicious_{program}")), here)
        } else {
            let mut python = guest.run(installed.folder.join("python"), here);
            python.args([RENAMED, program]);
            python
        };
        command.env("HOME", here);
        command
    }

    /// Writes what the tools read.
    fn fill(&self) {
        let write = |name: &str, lines: Vec<String>| {
            fs::write(self.folder.path().join(name), lines.join("\n") + "\n").unwrap();
        };
        let numbered = |count: u32, line: &dyn Fn(u32) -> String| (0..count).map(line).collect::<Vec<_>>();
        write("words", [numbered(60, &|number| format!("word{number}")), vec![password_of("1004")]].concat());
        write("users", numbered(2, &|number| format!("{}", 1009 + number)));
        write("passwords", numbered(12, &|number| format!("secret{number}")));

        let login = |account: &str, password: &str| {
            format!("{account};[authentication username={account} password={password}]")
        };
        let phone = |number: u32| {
            let account = (1001 + number).to_string();
            format!("{};{}", login(&account, &password_of(&account)), 1001 + (number + 1) % 3)
        };
        let sequential = |lines: Vec<String>| [vec!["SEQUENTIAL".to_owned()], lines].concat();
        write("phones", sequential(numbered(3, &phone)));
        write("wrong", sequential(vec![login("1006", "nonsense")]));
        write("wrong6", sequential(vec![login("1007", "nonsense")]));
        write("many", sequential(numbered(20, &|number| format!("{}", 2000 + number))));
        write("one", sequential(vec!["1008".to_owned()]));
        let prefixes = ["00", "011", "9011", "900", "+", "000"];
        write("prefixes", sequential(prefixes.map(|prefix| format!("{prefix}442039967796")).to_vec()));

        let get = |name: String| format!("get {name} /dev/null");
        write("missing", numbered(40, &|number| get(format!("SEP00112233{number:04x}.cnf.xml"))));
        write("present", numbered(40, &|number| get(format!("0004f200{number:04x}.cfg"))));
        let names = ["0004f2000001.cfg", "0004f2000001-phone.cfg", "0004f2000001-directory.xml", "sip.cfg"];
        write("boot", names.map(|name| get(name.to_owned())).to_vec());
        write("any", numbered(60, &|_| "example.net ANY".to_owned()));
        write("random", numbered(1_000, &|number| format!("x{number}.example.net A")));
        let asked =
            ["pbx.example.net A", "pbx.example.net AAAA", "_sip._udp.example.net SRV", "example.net ANY"];
        write("names", asked.map(str::to_owned).to_vec());
        let files = self.folder.path().join("files");
        fs::create_dir(&files).unwrap();
        for number in 0..40 {
            fs::write(files.join(format!("0004f200{number:04x}.cfg")), [b'x'; 900]).unwrap();
        }
        if self.has(Tool::RenamedNmap) {
            self.rename_nmap();
        }
    }

    /// Lays nmap's data out anew, with another name in its SIP library.
    fn rename_nmap(&self) {
        let data = self.folder.path().join("nmap");
        output_of(Command::new("cp").args(["-rs", NMAP_DATA]).arg(&data));
        let library = fs::read_to_string(data.join("nselib/sip.lua")).unwrap();
        assert!(library.contains("Nmap NSE"));
        fs::remove_file(data.join("nselib/sip.lua")).unwrap();
        fs::write(data.join("nselib/sip.lua"), library.replace("Nmap NSE", "Yealink SIP-T46S")).unwrap();
    }
}

fn nmap(guest: &Guest, tool: Tool, script: &str, here: &Path) -> Command {
    let mut nmap = guest.run("nmap", here);
    if tool == Tool::RenamedNmap {
        nmap.arg("--datadir").arg(here.join("nmap"));
    }
    let arguments = "userdb=users,passdb=passwords,sip-enum-users.minext=995,sip-enum-users.maxext=1020";
    nmap.args(["-n", "-Pn", "-p", "5060", "--script", script, "--script-args", arguments]);
    nmap
}

/// Runs to the end. Some exit codes tell what was found; those of the others, whether it ran.
fn finish(command: &mut Command, row: &Row) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let tells_findings = matches!(row.tool, Tool::Sipvicious | Tool::RenamedSipvicious | Tool::TftpClient);
    let is_good = status.success() || tells_findings && status.code().is_some_and(|code| code < 100);
    let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(is_good && !said.contains("Traceback"), "{} {}: {status}: {said}", row.tool.name(), row.line);
}

fn is_installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

/// A name server that knows `pbx.example.net`, and a TFTP server with the files in `files`.
fn names_and_files(network: &Namespaces, place: Place, folder: &Path) -> Dnsmasq {
    let addresses = [IpAddr::from(place.ipv4().unwrap()), place.ipv6().unwrap().into()];
    let mut arguments: Vec<String> =
        addresses.iter().map(|address| format!("--listen-address={address}")).collect();
    arguments.extend(
        ["--local=/example.net/", "--address=/pbx.example.net/10.77.0.11", "--enable-tftp"]
            .map(str::to_owned),
    );
    arguments.push(format!("--tftp-root={}", folder.join("files").display()));
    Dnsmasq::start(network.run_in(place, "dnsmasq"), folder, &arguments, "TFTP root is")
}

/// What the sensor says of a recording.
struct Verdicts {
    told: Vec<Told>,
    /// Sources of whom something else is noted.
    noted: BTreeSet<IpAddr>,
    senders: Vec<Option<IpAddr>>,
}

impl Verdicts {
    fn of(recording: &Path) -> Self {
        let (told, noted) = judge(recording);
        Self { told, noted, senders: senders(recording) }
    }

    /// The verdicts on one who has these addresses, in order.
    fn on(&self, addresses: [IpAddr; 2]) -> Vec<&Told> {
        self.told.iter().filter(|told| addresses.contains(&told.source)).collect()
    }

    /// Packets from these addresses among the first `upto` of the recording.
    fn sent_by(&self, addresses: [IpAddr; 2], upto: u64) -> usize {
        let upto = usize::try_from(upto).unwrap_or(usize::MAX);
        let senders = self.senders.iter().take(upto).flatten();
        senders.filter(|sender| addresses.contains(sender)).count()
    }

    /// A row of a table: the run, the verdicts, and how many packets the source had sent by then.
    fn line(&self, row: &Row, told: &[&Told]) -> String {
        let sent = told.first().map_or(0, |told| self.sent_by([told.source; 2], u64::MAX));
        let mut line = format!("| {} | {} | `{}` | {sent} |", row.tool.name(), row.over, row.line);
        for Told { source, rule, evidence, sanction, packet } in told {
            let packets = self.sent_by([*source; 2], *packet);
            write!(line, " {rule}, {evidence}, {sanction} at {packets};").unwrap();
        }
        line
    }
}

fn disagreement(row: &Row, told: &[&Told]) -> Option<String> {
    let (rule, evidence, most) = match row.expected {
        Expected::Attack { first: (rule, evidence), most } => (rule, Some(evidence), vec![most]),
        Expected::Guess { first } => (first, None, vec![Sanction::SoftBlock, Sanction::Block]),
        Expected::Honest => return None,
    };
    let mildest_first =
        [Sanction::Observe, Sanction::Shape, Sanction::SoftBlock, Sanction::Block, Sanction::Permanent];
    let was_due = |due: &Sanction| told.iter().any(|told| told.sanction == due.name());
    let strongest = mildest_first.into_iter().rev().find(was_due);
    let agrees = told.first().is_some_and(|first| {
        first.rule == rule.name() && evidence.is_none_or(|evidence| first.evidence == evidence.name())
    }) && strongest.is_some_and(|strongest| most.contains(&strongest));
    let expected = format!("{} ({:?}), at last {most:?}", rule.name(), evidence);
    (!agrees).then(|| format!("{} {}: expected {expected}: {told:?}", row.tool.name(), row.line))
}
