//! The demo's own network: six namespaces and one bridge, made and removed as root.
//!
//! ```text
//!  host1 .11    host2 .12    host3 .13    attacker .66    office .50
//!    eth0         eth0         eth0           eth0           eth0         10.77.0.0/24 and fd77::/64
//!      └────────────┴───────────┴──────────────┴──────────────┘
//!                       bridge `br0` in namespace `wire`
//! ```
//! Names carry the process id, so that several demos run side by side and what a dead one left behind can be told.
//! Nothing appears in the root namespace: the links are born inside. Only what was created here is removed.
#![expect(
    clippy::disallowed_methods,
    reason = "this shell runs `ip` and reads where it keeps its namespaces"
)]

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Every name begins so.
const PREFIX: &str = "palisade-demo-";
/// Where `ip netns` keeps the names.
const KEPT_IN: &str = "/run/netns";
/// Where distributions put `ip`.
const IP_PATHS: [&str; 4] = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
/// Tells the networks of one process apart.
static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// What could not be done with a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No `ip` program.
    #[error("find the `ip` program (Debian package iproute2) at any of {IP_PATHS:?}")]
    NoIp,
    /// A name is taken.
    #[error(
        "namespace {0} exists already and was not made by this demo; if nobody uses it: ip netns del {0}"
    )]
    Taken(String),
    /// `ip` did not run.
    #[error("run {command}")]
    Run {
        /// What was run.
        command: String,
        /// Why it did not.
        #[source]
        source: io::Error,
    },
    /// `ip` refused.
    #[error("{command}: {said}")]
    Refused {
        /// What was run.
        command: String,
        /// The program's own words.
        said: String,
    },
    /// A thread could not enter.
    #[error("enter the namespace {name}")]
    Enter {
        /// Which.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The list of names could not be read.
    #[error("read {KEPT_IN}")]
    List(#[source] io::Error),
}

/// One namespace of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The first host.
    Host1,
    /// The second host.
    Host2,
    /// The third host.
    Host3,
    /// Where attackers and the prober run.
    Attacker,
    /// Where honest phones share one address.
    Office,
    /// Holds the bridge and nothing else.
    Wire,
}

impl Place {
    /// All of them, in the order of creation.
    pub const ALL: [Self; 6] =
        [Self::Wire, Self::Host1, Self::Host2, Self::Host3, Self::Attacker, Self::Office];
    /// The three hosts.
    pub const HOSTS: [Self; 3] = [Self::Host1, Self::Host2, Self::Host3];

    /// The last part of the namespace's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host1 => "host1",
            Self::Host2 => "host2",
            Self::Host3 => "host3",
            Self::Attacker => "attacker",
            Self::Office => "office",
            Self::Wire => "wire",
        }
    }

    /// Its address on the wire; the bridge has none.
    pub fn ipv4(self) -> Option<Ipv4Addr> {
        self.number().map(|number| Ipv4Addr::new(10, 77, 0, number))
    }

    /// Its other address.
    pub fn ipv6(self) -> Option<Ipv6Addr> {
        // The decimal digits are kept: .66 is fd77::66.
        self.number().map(|number| {
            let digits = u16::from(number / 10) * 16 + u16::from(number % 10);
            Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, digits)
        })
    }

    const fn number(self) -> Option<u8> {
        match self {
            Self::Host1 => Some(11),
            Self::Host2 => Some(12),
            Self::Host3 => Some(13),
            Self::Attacker => Some(66),
            Self::Office => Some(50),
            Self::Wire => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The network of one demo. Dropping it removes it.
#[derive(Debug)]
pub struct Namespaces {
    ip: PathBuf,
    stem: String,
    created: Vec<Place>,
}

impl Namespaces {
    /// Makes the six namespaces, the bridge, the links and the addresses.
    ///
    /// # Errors
    /// When a name is taken or `ip` refuses (it needs root). What was made up to then is removed.
    pub fn create() -> Result<Self, NamespaceError> {
        let serial = NETWORKS.fetch_add(1, Ordering::SeqCst);
        let mut network = Self {
            ip: find_ip()?,
            stem: stem(std::process::id(), serial),
            created: Vec::with_capacity(Place::ALL.len()),
        };
        let taken = names()?;
        for place in Place::ALL {
            let name = network.name(place);
            if taken.contains(&name) {
                return Err(NamespaceError::Taken(name));
            }
            run(Command::new(&network.ip).args(["netns", "add", &name]), "")?;
            network.created.push(place);
        }
        network.connect()?;
        Ok(network)
    }

    /// The full name of a namespace.
    pub fn name(&self, place: Place) -> String {
        format!("{}{}", self.stem, place.name())
    }

    /// A command that will run `program` inside. Its process id is the program's own.
    pub fn run_in(&self, place: Place, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", &self.name(place)]).arg(program);
        command
    }

    /// The way in for threads of this process.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn door(&self, place: Place) -> Result<Door, NamespaceError> {
        let name = self.name(place);
        match File::open(Path::new(KEPT_IN).join(&name)) {
            Ok(namespace) => Ok(Door { namespace, name }),
            Err(source) => Err(NamespaceError::Enter { name, source }),
        }
    }

    /// Gives a place more addresses, for instance one per run of an attack.
    ///
    /// # Errors
    /// When `ip` refuses, for instance an address that is there already.
    pub fn add_addresses(
        &self,
        place: Place,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), NamespaceError> {
        let lines: String = addresses.into_iter().map(address_line).collect();
        self.batch_in(place, &lines)
    }

    /// Removes what was created. Programs that still run inside keep their namespace alive, without a name.
    ///
    /// # Errors
    /// With the first refusal, after trying all.
    pub fn remove(&mut self) -> Result<(), NamespaceError> {
        let mut result = Ok(());
        while let Some(place) = self.created.pop() {
            let removed = run(Command::new(&self.ip).args(["netns", "del", &self.name(place)]), "");
            result = result.and(removed);
        }
        result
    }

    fn connect(&self) -> Result<(), NamespaceError> {
        // Link-local addresses are switched off: nothing here uses them, and their announcements are noise on the wire.
        let mut wire = "link add br0 type bridge forward_delay 0 mcast_snooping 0\n\
                        link set lo up\nlink set br0 addrgenmode none\nlink set br0 up\n"
            .to_owned();
        for place in Place::ALL.into_iter().filter(|place| place.number().is_some()) {
            let netns = self.name(place);
            wire.push_str(&format!(
                "link add to-{place} type veth peer name eth0 netns {netns}\n\
                 link set to-{place} addrgenmode none\nlink set to-{place} master br0 up\n"
            ));
        }
        self.batch_in(Place::Wire, &wire)?;
        for place in Place::ALL {
            let addresses = [place.ipv4().map(IpAddr::V4), place.ipv6().map(IpAddr::V6)];
            let lines: String = addresses.into_iter().flatten().map(address_line).collect();
            if !lines.is_empty() {
                let up = "link set lo up\nlink set eth0 addrgenmode none\nlink set eth0 up\n";
                self.batch_in(place, &format!("{up}{lines}"))?;
            }
        }
        Ok(())
    }

    fn batch_in(&self, place: Place, lines: &str) -> Result<(), NamespaceError> {
        run(Command::new(&self.ip).args(["-n", &self.name(place), "-batch", "-"]), lines)
    }
}

/// The way into a namespace. It keeps the namespace alive.
#[derive(Debug)]
pub struct Door {
    namespace: File,
    name: String,
}

impl Door {
    /// Moves the calling thread inside, for the rest of its life. Threads that it starts are inside too, and sockets
    /// stay where they were made; files and everything else remain those of this process.
    ///
    /// # Errors
    /// When the thread may not enter.
    pub fn enter(&self) -> Result<(), NamespaceError> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| NamespaceError::Enter { name: self.name.clone(), source: error.into() })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // Nobody is left to tell; the next start lists what stayed.
        let _removed = self.remove();
    }
}

/// What a demo that is no longer running left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// Names, sorted.
    pub names: Vec<String>,
}

impl Leftovers {
    /// Finds namespaces whose demo's process is gone.
    ///
    /// # Errors
    /// When the list of names or the process table cannot be read.
    pub fn find() -> Result<Self, NamespaceError> {
        Ok(Self { names: left_behind(names()?, |pid| Path::new("/proc").join(pid.to_string()).exists()) })
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a demo that was killed left {} namespaces behind; remove them with:", self.names.len())?;
        self.names.iter().try_for_each(|name| writeln!(f, "  ip netns del {name}"))
    }
}

fn left_behind(names: Vec<String>, alive: impl Fn(u32) -> bool) -> Vec<String> {
    let mut dead: Vec<String> =
        names.into_iter().filter(|name| maker(name).is_some_and(|pid| !alive(pid))).collect();
    dead.sort();
    dead
}

/// The process id in a name of ours.
fn maker(name: &str) -> Option<u32> {
    let (made_by, place) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Place::ALL.iter().find(|known| known.name() == place)?;
    made_by.split('.').next()?.parse().ok()
}

fn stem(pid: u32, serial: u32) -> String {
    match serial {
        0 => format!("{PREFIX}{pid}-"),
        later => format!("{PREFIX}{pid}.{later}-"),
    }
}

fn names() -> Result<Vec<String>, NamespaceError> {
    match std::fs::read_dir(KEPT_IN) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .map_err(NamespaceError::List),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(NamespaceError::List(error)),
    }
}

fn find_ip() -> Result<PathBuf, NamespaceError> {
    IP_PATHS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(NamespaceError::NoIp)
}

fn address_line(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("addr add {address}/24 dev eth0\n"),
        // Without duplicate address detection an address is there at once.
        IpAddr::V6(address) => format!("addr add {address}/64 dev eth0 nodad\n"),
    }
}

/// Runs to the end with `input` as standard input.
fn run(command: &mut Command, input: &str) -> Result<(), NamespaceError> {
    let text = format!("{command:?}").replace('"', "");
    let ran = |source| NamespaceError::Run { command: text.clone(), source };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(ran)?;
    // A program that refuses the first line does not read the rest; its words say why.
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(ran)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(NamespaceError::Refused { command: text, said });
    }
    written.map_err(ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_process_and_the_place() {
        assert_eq!(stem(42, 0) + Place::Host1.name(), "palisade-demo-42-host1");
        assert_eq!(maker("palisade-demo-42-host1"), Some(42));
        assert_eq!(maker(&(stem(42, 3) + "wire")), Some(42));
        for stranger in ["palisade-demo-42-kitchen", "palisade-demo-x-host1", "docker", "palisade-demo-42"] {
            assert_eq!(maker(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn only_namespaces_of_dead_demos_are_left_behind() {
        let names = ["palisade-demo-7-wire", "palisade-demo-8-wire", "other", "palisade-demo-7-host1"];
        let dead = left_behind(names.map(str::to_owned).to_vec(), |pid| pid == 8);
        assert_eq!(dead, ["palisade-demo-7-host1", "palisade-demo-7-wire"]);
        let text = Leftovers { names: dead }.to_string();
        assert!(text.contains("ip netns del palisade-demo-7-host1"), "{text}");
    }

    #[test]
    fn both_addresses_show_the_same_digits() {
        assert_eq!(Place::Attacker.ipv4().unwrap().to_string(), "10.77.0.66");
        assert_eq!(Place::Attacker.ipv6().unwrap().to_string(), "fd77::66");
        assert_eq!(Place::Wire.ipv4(), None);
    }

    #[test]
    fn a_refusal_repeats_the_words_of_the_program() {
        let refused =
            run(Command::new(find_ip().unwrap()).args(["netns", "del", "palisade-demo-0-none"]), "");
        let Err(NamespaceError::Refused { command, said }) = refused else { panic!("{refused:?}") };
        assert!(command.contains("netns del") && !said.is_empty(), "{command}: {said}");
    }
}
