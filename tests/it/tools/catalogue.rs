//! Which tool is recognised by what: the rows of the attack catalogue that a tool at hand can perform, and honest people beside them.
//!
//! 10.77.0.11 challenges everybody; 10.77.0.12 says who is unknown; nobody listens at 10.77.0.13.
#![cfg(test)]

use log_format::event::Rule::{
    BadRegistrations, BlockedUserAgent, Dns, Enumeration, PrefixWalk, RequestRate, Tftp, ToolFingerprint,
};
use log_format::event::{Evidence, Rule, Sanction};

use Evidence::{Proven, Unproven};
use Sanction::{Block, Shape, SoftBlock};
use Tool::{Dig, Dnsperf, Nmap, RenamedNmap, RenamedSipvicious, Sipp, Sipvicious, TftpClient};

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    /// A program of SIPVicious, named by the first word of the line.
    Sipvicious,
    /// The same with a telephone's User-Agent: its marks are what is left.
    RenamedSipvicious,
    /// Scripts of nmap, named by the first word.
    Nmap,
    /// The same with a telephone's User-Agent.
    RenamedNmap,
    /// SIPp with one of the project's scenarios, named by the first word.
    Sipp,
    /// The client tftp-hpa, which does what is in the file that the second word names.
    TftpClient,
    /// dig.
    Dig,
    /// dnsperf.
    Dnsperf,
}

impl Tool {
    /// What it is called in what the test prints.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Sipvicious => "SIPVicious",
            RenamedSipvicious => "SIPVicious, renamed",
            Nmap => "nmap",
            RenamedNmap => "nmap, renamed",
            Sipp => "SIPp",
            TftpClient => "tftp-hpa",
            Dig => "dig",
            Dnsperf => "dnsperf",
        }
    }
}

/// A run of a tool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) tool: Tool,
    /// What it is told, in words. `{v4}` and `{v6}` are its own addresses.
    pub(super) line: &'static str,
    pub(super) over: &'static str,
    pub(super) expected: Expected,
}

/// What the sensor shall say of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// The first verdict, and the strongest sanction by the end.
    Attack { first: (Rule, Evidence), most: Sanction },
    /// The rule of the first verdict; soft-blocked by the end, or blocked.
    Guess { first: Rule },
    /// Nothing.
    Honest,
}

const fn row(
    tool: Tool,
    over: &'static str,
    line: &'static str,
    first: (Rule, Evidence),
    most: Sanction,
) -> Row {
    Row { tool, over, line, expected: Expected::Attack { first, most } }
}

/// Guesses with nonces that Kamailio gives to others, too, if they ask within the same second: proven, or not.
const fn guess(tool: Tool, over: &'static str, line: &'static str, first: Rule) -> Row {
    Row { tool, over, line, expected: Expected::Guess { first } }
}

const fn honest(tool: Tool, over: &'static str, line: &'static str) -> Row {
    Row { tool, over, line, expected: Expected::Honest }
}

/// Who says what it is gets a soft block with its first packet; who then proves where it is gets a whole one.
const NAMED: (Rule, Evidence) = (BlockedUserAgent, Unproven);
/// The same for who is recognised by the form of its messages, or has a name that nobody asked to have blocked.
const MARKED: (Rule, Evidence) = (ToolFingerprint, Unproven);

/// The attackers.
pub(super) const ATTACKS: &[Row] = &[
    // A1, A2: the sweep.
    row(Sipvicious, "UDP v4", "svmap 10.77.0.11-13", NAMED, SoftBlock),
    row(Sipvicious, "UDP v4", "svmap -m INVITE 10.77.0.11-13", NAMED, SoftBlock),
    row(Sipvicious, "UDP v4", "svmap -m REGISTER 10.77.0.11-13", NAMED, SoftBlock),
    row(Sipvicious, "UDP v6", "svmap -6 fd77::11", NAMED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svmap 10.77.0.11-13", MARKED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svmap -m INVITE 10.77.0.11-13", MARKED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svmap -m REGISTER 10.77.0.11-13", MARKED, SoftBlock),
    row(RenamedSipvicious, "UDP v6", "svmap -6 fd77::12", MARKED, SoftBlock),
    // A3, A4: users. Against a server that gives nothing away svwar stops after one packet.
    row(Sipvicious, "UDP v4", "svwar -m REGISTER -e 1000-1030 10.77.0.11", NAMED, SoftBlock),
    row(Sipvicious, "UDP v4", "svwar -m REGISTER -e 1000-1030 --force 10.77.0.11", NAMED, SoftBlock),
    row(Sipvicious, "UDP v4", "svwar -m REGISTER -e 1000-1030 10.77.0.12", NAMED, SoftBlock),
    row(Sipvicious, "UDP v4", "svwar -m INVITE -e 1000-1030 --force 10.77.0.11", NAMED, SoftBlock),
    row(Sipvicious, "UDP v4", "svwar -m OPTIONS -e 1000-1030 --force 10.77.0.11", NAMED, SoftBlock),
    row(Sipvicious, "UDP v6", "svwar -6 -m REGISTER -e 1000-1030 --force fd77::12", NAMED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svwar -m REGISTER -e 1000-1030 10.77.0.11", MARKED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svwar -m REGISTER -e 1000-1030 --force 10.77.0.11", MARKED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svwar -m REGISTER -e 1000-1030 10.77.0.12", MARKED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svwar -m INVITE -e 1000-1030 --force 10.77.0.11", MARKED, SoftBlock),
    row(RenamedSipvicious, "UDP v4", "svwar -m OPTIONS -e 1000-1030 --force 10.77.0.11", MARKED, SoftBlock),
    // A5: passwords.
    row(Sipvicious, "UDP v4", "svcrack -u 1004 -d words 10.77.0.11", NAMED, Block),
    row(Sipvicious, "UDP v4", "svcrack -n -u 1004 -d words 10.77.0.11", NAMED, Block),
    row(Sipvicious, "UDP v6", "svcrack -6 -u 1005 -d words fd77::11", NAMED, Block),
    row(RenamedSipvicious, "UDP v4", "svcrack -u 1004 -d words 10.77.0.11", MARKED, Block),
    row(RenamedSipvicious, "UDP v4", "svcrack -n -u 1004 -d words 10.77.0.11", MARKED, Block),
    row(RenamedSipvicious, "UDP v6", "svcrack -6 -n -u 1005 -d words fd77::11", MARKED, Block),
    // A7, A20: a scanner with a name of its own, over everything. Its IPv6 addresses lack their brackets, so that Kamailio does not answer.
    row(Nmap, "UDP v4", "sip-methods -sU 10.77.0.11", MARKED, SoftBlock),
    row(Nmap, "TCP v4", "sip-methods -sT 10.77.0.11", (ToolFingerprint, Proven), Block),
    row(Nmap, "UDP v6", "sip-methods -6 -sU fd77::11", MARKED, SoftBlock),
    row(Nmap, "TCP v6", "sip-methods -6 -sT fd77::11", (ToolFingerprint, Proven), Block),
    row(Nmap, "UDP v4", "sip-enum-users -sU 10.77.0.12", MARKED, SoftBlock),
    row(Nmap, "TCP v6", "sip-enum-users -6 -sT fd77::12", (ToolFingerprint, Proven), Block),
    guess(Nmap, "UDP v4", "sip-brute -sU 10.77.0.11", ToolFingerprint),
    row(Nmap, "TCP v4", "sip-brute -sT 10.77.0.11", (ToolFingerprint, Proven), Block),
    row(Nmap, "TCP v6", "sip-brute -6 -sT fd77::11", (ToolFingerprint, Proven), Block),
    row(RenamedNmap, "UDP v4", "sip-enum-users -sU 10.77.0.12", (Enumeration, Unproven), SoftBlock),
    row(RenamedNmap, "TCP v4", "sip-enum-users -sT 10.77.0.12", (Enumeration, Proven), Block),
    guess(RenamedNmap, "UDP v4", "sip-brute -sU 10.77.0.11", BadRegistrations),
    row(RenamedNmap, "TCP v4", "sip-brute -sT 10.77.0.11", (BadRegistrations, Proven), Block),
    // A3 without a mark, at a server that gives nothing away: told once the time for the credentials is over.
    row(Sipp, "UDP v4", "questions -inf many -r 20 -m 20 -t u1 -i {v4} 10.77.0.11:5060", USERS, SoftBlock),
    row(Sipp, "TCP v4", "questions -inf many -r 20 -m 20 -t t1 -i {v4} 10.77.0.11:5060", USERS_PROVEN, Block),
    row(Sipp, "UDP v6", "questions -inf many -r 20 -m 20 -t u1 -i {v6} [fd77::11]:5060", USERS, SoftBlock),
    row(Sipp, "TCP v6", "questions -inf many -r 20 -m 20 -t t1 -i {v6} [fd77::11]:5060", USERS_PROVEN, Block),
    row(Sipp, "UDP v4", "questions -inf one -r 200 -m 200 -t u1 -i {v4} 10.77.0.11:5060", RATE, Shape),
    // A15: calls and registrations in masses, with nothing to tell the program by. What nothing proves is served more slowly.
    row(Sipp, "UDP v4", "calls -inf one -r 200 -m 200 -t u1 -i {v4} 10.77.0.11:5060", RATE, Shape),
    row(Sipp, "TCP v4", "calls -inf one -r 200 -m 200 -t t1 -i {v4} 10.77.0.11:5060", RATE_PROVEN, SoftBlock),
    row(Sipp, "UDP v6", "calls -inf one -r 200 -m 200 -t u1 -i {v6} [fd77::11]:5060", RATE, Shape),
    row(Sipp, "TCP v6", "calls -inf one -r 200 -m 200 -t t1 -i {v6} [fd77::11]:5060", RATE_PROVEN, SoftBlock),
    row(Sipp, "UDP v4", "guesses -inf wrong -r 50 -m 50 -t u1 -i {v4} 10.77.0.11:5060", GUESSES, Block),
    row(Sipp, "TCP v4", "guesses -inf wrong -r 50 -m 50 -t t1 -i {v4} 10.77.0.11:5060", GUESSES, Block),
    row(Sipp, "UDP v6", "guesses -inf wrong6 -r 50 -m 50 -t u1 -i {v6} [fd77::11]:5060", GUESSES, Block),
    row(Sipp, "TCP v6", "guesses -inf wrong6 -r 50 -m 50 -t t1 -i {v6} [fd77::11]:5060", GUESSES, Block),
    // A10: one number behind several prefixes. Kamailio's tags are no secret, so that an acknowledgement proves nothing.
    row(Sipp, "UDP v4", "calls -inf prefixes -r 5 -m 6 -t u1 -i {v4} 10.77.0.11:5060", WALK, SoftBlock),
    row(
        Sipp,
        "TCP v6",
        "calls -inf prefixes -r 5 -m 6 -t t1 -i {v6} [fd77::11]:5060",
        (PrefixWalk, Proven),
        Block,
    ),
    // A25: configurations.
    row(TftpClient, "UDP v4", "10.77.0.11 missing", (Tftp, Unproven), Shape),
    row(TftpClient, "UDP v6", "fd77::11 missing", (Tftp, Unproven), Shape),
    row(TftpClient, "UDP v4", "10.77.0.11 present", (Tftp, Unproven), Block),
    row(TftpClient, "UDP v6", "fd77::11 present", (Tftp, Unproven), Block),
    // A28, A29: answers that are longer than their questions, and names that nobody has.
    row(Dig, "UDP v4", "+notcp +tries=1 +time=2 @10.77.0.11 -f any", (Dns, Unproven), Shape),
    row(Dig, "UDP v6", "+notcp +tries=1 +time=2 @fd77::11 -f any", (Dns, Unproven), Shape),
    row(Dnsperf, "UDP v4", "-s 10.77.0.11 -d random -c 1 -Q 500 -l 1", (Dns, Unproven), Shape),
    row(Dnsperf, "UDP v6", "-s fd77::11 -d random -c 1 -Q 500 -l 1", (Dns, Unproven), Shape),
];

const USERS: (Rule, Evidence) = (Enumeration, Unproven);
const USERS_PROVEN: (Rule, Evidence) = (Enumeration, Proven);
const RATE: (Rule, Evidence) = (RequestRate, Unproven);
const RATE_PROVEN: (Rule, Evidence) = (RequestRate, Proven);
const GUESSES: (Rule, Evidence) = (BadRegistrations, Proven);
const WALK: (Rule, Evidence) = (PrefixWalk, Unproven);

/// People, all at one address: telephones that register and call, one that starts, one who has names looked up.
pub(super) const OFFICE: &[Row] = &[
    honest(Sipp, "UDP v4", "phone -inf phones -r 2 -m 6 -t u1 -i {v4} 10.77.0.11:5060"),
    honest(Sipp, "TCP v4", "phone -inf phones -r 2 -m 3 -t t1 -i {v4} 10.77.0.11:5060"),
    honest(Sipp, "UDP v6", "phone -inf phones -r 2 -m 3 -t u1 -i {v6} [fd77::11]:5060"),
    honest(Sipp, "TCP v6", "phone -inf phones -r 2 -m 3 -t t1 -i {v6} [fd77::11]:5060"),
    honest(TftpClient, "UDP v4", "10.77.0.11 boot"),
    honest(TftpClient, "UDP v6", "fd77::11 boot"),
    honest(Dig, "UDP v4", "+tries=1 +time=2 @10.77.0.11 -f names"),
    honest(Dig, "UDP v6", "+tries=1 +time=2 @fd77::11 -f names"),
];
