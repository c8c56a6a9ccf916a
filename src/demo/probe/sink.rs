//! Notes which numbers arrived.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::super::clock;
use super::super::stop::Stop;
use super::report::Arrived;
use super::{ProbeNumber, RunId, identify};

/// Runs remembered; a measurement has about fifty. Later ones are not recorded, and counted.
const RUNS: usize = 1_024;
/// Unbroken stretches remembered for a run: every second number lost for six seconds. Later ones count as lost.
const STRETCHES: usize = 16_384;
/// Longest datagram looked at; a probe has about 350 bytes.
const DATAGRAM_BYTES: usize = 2_048;

/// The arrivals of many runs.
#[derive(Debug, Default)]
pub struct Arrivals {
    runs: BTreeMap<RunId, Vec<Stretch>>,
    not_recorded: u64,
}

/// Numbers `from..=to` arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    from: ProbeNumber,
    to: ProbeNumber,
}

impl Arrivals {
    /// Takes a datagram and tells whether it was a probe.
    pub fn observe(&mut self, datagram: &[u8]) -> bool {
        let Some((run, number)) = identify(datagram) else {
            return false;
        };
        if !self.runs.contains_key(&run) && RUNS <= self.runs.len() {
            self.not_recorded += 1;
            return true;
        }
        let stretches = self.runs.entry(run).or_default();
        let follows = |last: &&mut Stretch| last.to.0.checked_add(1) == Some(number.0);
        if let Some(last) = stretches.last_mut().filter(follows) {
            last.to = number;
        } else if stretches.len() < STRETCHES {
            stretches.push(Stretch { from: number, to: number });
        } else {
            self.not_recorded += 1;
        }
        true
    }

    /// What arrived at `sink`, run by run.
    pub fn report(&self, sink: SocketAddr) -> Vec<Arrived> {
        self.runs
            .iter()
            .map(|(run, stretches)| Arrived {
                run: *run,
                sink,
                stretches: stretches.iter().map(|stretch| (stretch.from, stretch.to)).collect(),
            })
            .collect()
    }

    /// Probes that found no room.
    pub const fn not_recorded(&self) -> u64 {
        self.not_recorded
    }
}

/// Why a sink ended early.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The address cannot be used.
    #[error("listen for probes on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The socket broke.
    #[error("receive probes")]
    Receive(#[source] io::Error),
}

/// Listens until stopped. `report` gets the arrivals whenever a report is asked for, and at the end.
///
/// # Errors
/// When the address cannot be used or the socket breaks.
pub fn run(listen: SocketAddr, stop: &Stop, mut report: impl FnMut(&[Arrived])) -> Result<(), SinkError> {
    let socket = clock::udp(listen).map_err(|error| SinkError::Listen(listen, error))?;
    let address = socket.local_addr().map_err(|error| SinkError::Listen(listen, error))?;
    let mut arrivals = Arrivals::default();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    while !stop.ended() {
        match socket.recv_from(&mut buffer) {
            Ok((length, _from)) => {
                arrivals.observe(buffer.get(..length).unwrap_or_default());
            }
            Err(error) if clock::passes(&error) => {}
            Err(error) => return Err(SinkError::Receive(error)),
        }
        if stop.report_wanted() {
            report(&arrivals.report(address));
        }
    }
    report(&arrivals.report(address));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::datagram;
    use super::*;

    fn arrive(arrivals: &mut Arrivals, run: u32, numbers: impl IntoIterator<Item = u32>) {
        let end: SocketAddr = "192.0.2.1:1".parse().unwrap();
        for number in numbers {
            assert!(arrivals.observe(datagram(RunId(run), ProbeNumber(number), (end, end)).as_bytes()));
        }
    }

    #[test]
    fn arrivals_are_kept_as_stretches_run_by_run() {
        let mut arrivals = Arrivals::default();
        arrive(&mut arrivals, 1, [0, 1, 2, 5, 6]);
        arrive(&mut arrivals, 2, [9]);
        assert!(!arrivals.observe(b"\r\n\r\n"));
        let sink = "192.0.2.1:5060".parse().unwrap();
        let report = arrivals.report(sink);
        let stretches: Vec<_> = report.iter().map(|run| (run.run.0, run.stretches.clone())).collect();
        let number = ProbeNumber;
        assert_eq!(
            stretches,
            [(1, vec![(number(0), number(2)), (number(5), number(6))]), (2, vec![(number(9), number(9))])]
        );
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut arrivals = Arrivals::default();
        let stretches = u32::try_from(STRETCHES).unwrap();
        arrive(&mut arrivals, 0, (0..stretches + 3).map(|number| number * 2));
        assert_eq!(arrivals.not_recorded(), 3);
        arrive(&mut arrivals, 1, [0]);
        for run in 2..u32::try_from(RUNS).unwrap() + 5 {
            arrive(&mut arrivals, run, [0]);
        }
        assert_eq!(arrivals.not_recorded(), 3 + 5);
    }
}
