//! Namespaces on the demo's bridge, one for each run of a tool: networks of its own, and port 5060 of its own.
//!
//! IPv6 is counted by /64 and names by /28 and /56, so that no two may share those.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: this one runs `ip`")]

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use palisade::demo::namespaces::{Namespaces, Place};

use crate::support::output_of;

/// No run of a tool takes longer, in seconds: one that hangs must not hang the test.
const LONGEST_RUN: &str = "60";

/// A namespace that goes when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    name: String,
    digits: u8,
}

impl Guest {
    /// Makes the namespace, with a link to the network's bridge and the addresses 10.77.`digits`.1 and fd77:`digits`::1.
    /// [`open_roads`] lets the hosts answer.
    pub(super) fn invite(network: &Namespaces, digits: u8) -> Self {
        let (wire, link) = (network.name(Place::Wire), format!("to-guest{digits}"));
        let name = format!("{wire}-guest{digits}");
        ip(&["netns", "add", &name]);
        // From here on it is removed, whatever follows.
        let guest = Self { name, digits };
        let name = &guest.name;
        ip(&["-n", &wire, "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["-n", &wire, "link", "set", &link, "addrgenmode", "none"]);
        ip(&["-n", &wire, "link", "set", &link, "master", "br0", "up"]);
        for step in ["set lo up", "set eth0 addrgenmode none", "set eth0 up"] {
            let words = step.split(' ');
            ip(&["-n", name, "link"].into_iter().chain(words).collect::<Vec<_>>());
        }
        ip(&["-n", name, "addr", "add", &format!("{}/16", guest.v4()), "dev", "eth0"]);
        ip(&["-n", name, "addr", "add", &format!("{}/16", guest.v6()), "dev", "eth0", "nodad"]);
        guest
    }

    /// Its IPv4 address.
    pub(super) fn v4(&self) -> IpAddr {
        IpAddr::from([10, 77, self.digits, 1])
    }

    /// Its IPv6 address, with the same digits.
    pub(super) fn v6(&self) -> IpAddr {
        format!("fd77:{}::1", self.digits).parse().unwrap()
    }

    /// A command that will run `program` inside, for a limited time, in `folder`.
    pub(super) fn run(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "timeout", "-k", "5", LONGEST_RUN]).arg(program);
        command.current_dir(folder);
        command
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Tells the hosts where guests are: on the same wire.
pub(super) fn open_roads(network: &Namespaces) {
    for place in Place::HOSTS {
        for all in ["10.77.0.0/16", "fd77::/16"] {
            ip(&["-n", &network.name(place), "route", "add", all, "dev", "eth0"]);
        }
    }
}

fn ip(arguments: &[&str]) {
    output_of(Command::new("ip").args(arguments));
}
