//! What is true of a source, whatever a sensor says.
//!
//! A bad registration is a REGISTER that is refused with 403 or 404, or with 401 although it carried credentials that were not
//! called stale. Of those who scan, each OPTIONS counts instead.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Ipv4Addr;

use super::message::agent;
use super::{Due, Generator, NINES};

/// What a source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Guesses passwords, as svcrack does.
    Brute,
    /// Looks for extensions, as svwar does: mostly told that they do not exist.
    Enumeration,
    /// Scans with OPTIONS.
    Options,
    /// Guesses every seven seconds: at most nine times a minute.
    Slow,
    /// Guesses nine times and stops.
    Nine,
    /// An honest phone with a wrong password, which it tries every 30 seconds.
    WrongPassword,
}

impl Kind {
    /// As the table names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Brute => "brute",
            Self::Enumeration => "enum",
            Self::Options => "options",
            Self::Slow => "slow",
            Self::Nine => "nine",
            Self::WrongPassword => "benignbad",
        }
    }
}

/// One source.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// Its user agent.
    pub(crate) agent: &'static str,
    /// Bad registrations in all.
    pub(crate) bad: u64,
    /// The place of its first record, from 0.
    pub(crate) first: u64,
    /// The places of the bad registration that makes it an attacker, request and response.
    pub(crate) crossing: Option<(u64, u64)>,
    /// Times of bad registrations within the window.
    window: VecDeque<u64>,
}

impl Source {
    pub(super) fn new(due: &Due, first: u64) -> Self {
        let kind = match (due.step.is_attack(), due.id % 10) {
            (false, _) => Kind::WrongPassword,
            (true, _) if NINES <= due.id => Kind::Nine,
            (true, 0..=3) => Kind::Brute,
            (true, 4..=6) => Kind::Enumeration,
            (true, 7 | 8) => Kind::Options,
            (true, _) => Kind::Slow,
        };
        Self { kind, agent: agent(due), bad: 0, first, crossing: None, window: VecDeque::new() }
    }

    /// One more bad registration.
    pub(super) fn mark(&mut self, places: (u64, u64), now: u64, threshold: usize, window: u64) {
        self.bad += 1;
        self.window.push_back(now);
        while self.window.front().is_some_and(|oldest| window <= now - oldest) {
            self.window.pop_front();
        }
        if self.crossing.is_none() && threshold <= self.window.len() {
            self.crossing = Some(places);
        }
        if 4 * threshold < self.window.len() {
            self.window.pop_front();
        }
    }
}

impl Generator {
    /// Writes what is true as a table with tabs, in order of address. Places count from 0, times are microseconds.
    pub(crate) fn write_truth(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = "ip\tkind\tua\tbad_total\tfirst_idx\tfirst_us\tcross_req_idx\tcross_req_us\tcross_rsp_idx\tcross_rsp_us";
        writeln!(out, "{columns}")?;
        for (address, source) in self.truth() {
            let Source { kind, agent, bad, first, crossing, .. } = source;
            let (address, kind, at) = (Ipv4Addr::from_bits(*address), kind.name(), self.time(*first));
            write!(out, "{address}\t{kind}\t{agent}\t{bad}\t{first}\t{at}\t")?;
            match crossing {
                Some((asked, answered)) => {
                    let times = (self.time(*asked), self.time(*answered));
                    writeln!(out, "{asked}\t{}\t{answered}\t{}", times.0, times.1)?;
                }
                None => writeln!(out, "-\t-\t-\t-")?,
            }
        }
        Ok(())
    }
}
