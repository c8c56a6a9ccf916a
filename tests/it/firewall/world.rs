//! A network namespace of its own for each test, with a wire to a second one from which packets come.
//!
//! A test runs this test binary again, three times over: the outer run starts the inner one in a fresh namespace, and
//! the inner one starts the peer in another. The namespaces have no names: they vanish with their processes, however
//! those end, and the peer ends when its input does.

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use palisade::actuators::firewall::{Firewall, Layout, TableName};

use log_format::event::PortRange;

use crate::support::{may_make_namespaces, output_of, wait_until};

/// Says which part a run of the test binary plays.
const PART: &str = "PALISADE_FIREWALL_TEST";
/// What the inner run says when its test is over, so that a run of no test at all is not taken for success.
const OVER: &str = "firewall test is over:";
/// What the peer says when it listens.
const READY: &str = "firewall peer is ready";
/// Longest wait for a packet that must come.
const ARRIVAL: Duration = Duration::from_secs(20);
/// How long a connection may take that must not come about.
const CONNECTING: Duration = Duration::from_millis(100);

/// The device on the protected side.
pub(crate) const WIRE: &str = "wire0";
const PEER_WIRE: &str = "wire1";
const MAC: &str = "02:00:00:00:77:01";
const PEER_MAC: &str = "02:00:00:00:77:02";
/// Addresses of the protected side.
const HERE: [&str; 2] = ["10.77.0.1", "fd77::1"];
/// Addresses of the peer.
const THERE: [&str; 8] =
    ["10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.1.2", "fd77::2", "fd77::3", "fd77::4", "fd77::1:2"];

/// Runs a test in a namespace of its own; `test` is its full name.
pub(crate) fn isolated(test: &str, body: fn(&mut World)) {
    isolated_with(test, &[], body);
}

/// The same with a program in front that changes what the inner run may do.
pub(crate) fn isolated_with(test: &str, wrapper: &[&str], body: fn(&mut World)) {
    match env::var(PART).as_deref() {
        Ok("inner") => {
            body(&mut World::new());
            println!("{OVER} {test}");
        }
        Ok("peer") => peer(test),
        Ok(_) | Err(_) => {
            if may_make_namespaces(test) {
                outer(test, wrapper);
            }
        }
    }
}

/// Starts the inner run and takes its result.
fn outer(test: &str, wrapper: &[&str]) {
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).args(wrapper);
    let output = again(&mut command, test, "inner").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains(&format!("{OVER} {test}\n")),
        "{test} failed in its namespace: {}\n{said}\n{complained}",
        output.status
    );
}

/// This test binary with one test and a part to play.
fn again<'a>(command: &'a mut Command, test: &str, part: &str) -> &'a mut Command {
    command
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

/// The peer: sends what it is told to, until its input ends.
fn peer(test: &str) {
    println!("\n{READY}");
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["configure"] => configure(PEER_WIRE, &THERE, &HERE, MAC),
            ["udp", source, target] => {
                let source: IpAddr = source.parse().unwrap();
                let socket = UdpSocket::bind((source, 0)).unwrap();
                socket.send_to(source.to_string().as_bytes(), target).unwrap();
            }
            ["tcp", target] => {
                let target: SocketAddr = target.parse().unwrap();
                let connected = TcpStream::connect_timeout(&target, CONNECTING);
                let refused = connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
                println!("{}", if refused { "refused" } else { "silence" });
            }
            other => panic!("{test}: what is {other:?}?"),
        }
        println!("done");
    }
}

/// Gives a device its addresses, and a fixed neighbour for each address of the other side, so that nothing but what a
/// test sends crosses the wire.
fn configure(device: &str, own: &[&str], others: &[&str], mac: &str) {
    ip(&["link", "set", "lo", "up"]);
    ip(&["link", "set", device, "up"]);
    for address in own {
        let prefix = if address.contains(':') { 64 } else { 16 };
        let address = format!("{address}/{prefix}");
        ip(&["address", "add", &address, "dev", device, "nodad"]);
    }
    for other in others {
        ip(&["neighbour", "replace", other, "lladdr", mac, "dev", device, "nud", "permanent"]);
    }
}

fn ip(arguments: &[&str]) {
    output_of(Command::new("ip").args(arguments));
}

/// The protected namespace and its peer.
pub(crate) struct World {
    peer: Option<Peer>,
}

struct Peer {
    process: Child,
    says: BufReader<ChildStdout>,
    input: Option<ChildStdin>,
}

impl World {
    fn new() -> Self {
        Self { peer: None }
    }

    /// Lays the wire to a second namespace.
    pub(crate) fn lay_wire(&mut self, test: &str) {
        let mut command = Command::new("unshare");
        command.args(["--net", "--"]);
        let mut process =
            again(&mut command, test, "peer").stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        let input = process.stdin.take();
        let id = process.id().to_string();
        let mut peer = Peer { process, says, input };
        peer.read_until(READY);
        ip(&[
            "link", "add", WIRE, "address", MAC, "type", "veth", "peer", "name", PEER_WIRE, "address",
            PEER_MAC, "netns", &id,
        ]);
        configure(WIRE, &HERE, &THERE, PEER_MAC);
        peer.tell("configure");
        self.peer = Some(peer);
        wait_until("the wire carries", || {
            output_of(Command::new("ip").args(["-o", "link", "show", WIRE])).contains("LOWER_UP")
        });
    }

    /// A packet from this address to this port arrives.
    pub(crate) fn passes(&mut self, source: &str, port: u16) {
        let receiver = receiver(source, port);
        receiver.set_read_timeout(Some(ARRIVAL)).unwrap();
        self.tell(&format!("udp {source} {}", receiver.local_addr().unwrap()));
        let mut bytes = [0; 64];
        let length = receiver
            .recv(&mut bytes)
            .unwrap_or_else(|error| panic!("nothing from {source} to port {port}: {error}"));
        assert_eq!(std::str::from_utf8(&bytes[..length]).unwrap(), source);
    }

    /// A packet from this address to this port is dropped, and this set's counter says so.
    pub(crate) fn is_dropped(&mut self, firewall: &mut Firewall, source: &str, port: u16, set: &str) {
        let receiver = receiver(source, port);
        receiver.set_nonblocking(true).unwrap();
        let before = drops(firewall, set);
        self.tell(&format!("udp {source} {}", receiver.local_addr().unwrap()));
        wait_until(&format!("{set} drops a packet of {source} to port {port}"), || {
            before < drops(firewall, set)
        });
        assert_eq!(drops(firewall, set), before + 1);
        let nothing = receiver.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    }

    /// Whether this host refuses a connection of the peer (from its first address) by itself: then it was asked.
    pub(crate) fn refuses_connection(&mut self, port: u16) -> bool {
        let peer = self.peer.as_mut().unwrap();
        let answers = peer.tell(&format!("tcp {}", SocketAddr::new(HERE[0].parse().unwrap(), port)));
        answers.iter().any(|answer| answer == "refused")
    }

    /// Whether the peer's ICMP error arrives that answers a packet to a closed port of this address.
    pub(crate) fn hears_icmp_of(&mut self, source: &str) -> bool {
        let socket = UdpSocket::bind((HERE[0], 0)).unwrap();
        socket.set_read_timeout(Some(ARRIVAL)).unwrap();
        socket.connect((source, 9)).unwrap();
        socket.send(b"anybody?").unwrap();
        let answer = socket.recv(&mut [0; 64]).unwrap_err();
        answer.kind() == ErrorKind::ConnectionRefused
    }

    fn tell(&mut self, what: &str) {
        self.peer.as_mut().unwrap().tell(what);
    }
}

impl Peer {
    fn tell(&mut self, what: &str) -> Vec<String> {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
        self.read_until("done")
    }

    /// What the peer says up to a line.
    fn read_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let length = self.says.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "the peer is gone before {last:?}; it said {lines:?}");
            if line.trim_end() == last {
                return lines;
            }
            lines.push(line.trim_end().to_owned());
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ended = self.process.wait();
    }
}

/// A socket on this host for packets of that family.
fn receiver(source: &str, port: u16) -> UdpSocket {
    let here = if source.contains(':') { HERE[1] } else { HERE[0] };
    UdpSocket::bind((here, port)).unwrap()
}

/// The layout that hooks into devices.
pub(crate) fn on_devices(devices: &[&str]) -> Layout {
    let ports = PortRange { first: 5060, last: 5061 };
    Layout::try_new(devices, TableName::default(), &[ports]).unwrap()
}

/// Packets that a set's drop rule has dropped.
pub(crate) fn drops(firewall: &mut Firewall, set: &str) -> u64 {
    let counts = firewall.drops().unwrap();
    let count = counts.iter().find(|count| count.set == set);
    count.unwrap_or_else(|| panic!("no counter {set}")).packets
}

/// Runs nft and gives what it prints.
pub(crate) fn nft(arguments: &[&str]) -> String {
    output_of(Command::new("nft").args(arguments))
}

/// How many elements a set holds, and whether it holds this one, as nft prints it.
pub(crate) fn held(set: &str) -> Vec<String> {
    let listed = nft(&["list", "set", "netdev", "palisade", set]);
    let Some((_, elements)) = listed.split_once("elements = {") else {
        return Vec::new();
    };
    let elements = elements.split('}').next().unwrap_or_default();
    elements
        .split(',')
        .map(|element| element.split_whitespace().next().unwrap_or_default().to_owned())
        .collect()
}
