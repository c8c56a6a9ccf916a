//! What prober and sink print, and the figure that follows from both.

use std::net::SocketAddr;
use std::time::Duration;

use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ProbeNumber, RunId};

/// When each number was sent to one target: index = number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentTimes {
    /// The prober's run.
    pub run: RunId,
    /// Where they were sent.
    pub target: SocketAddr,
    /// When, from number 0 on.
    pub at: Vec<Timestamp>,
}

impl SentTimes {
    /// Nothing sent yet.
    pub(super) const fn new(run: RunId, target: SocketAddr) -> Self {
        Self { run, target, at: Vec::new() }
    }
}

/// Which numbers of a run arrived at one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// The prober's run.
    pub run: RunId,
    /// Where they arrived.
    pub sink: SocketAddr,
    /// Unbroken stretches, first and last number, in order of arrival.
    pub stretches: Vec<(ProbeNumber, ProbeNumber)>,
}

/// When a block took hold of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstDrop {
    /// The first number after the tip that never arrived.
    pub number: ProbeNumber,
    /// From the tip to the sending of that number.
    pub delay: Duration,
    /// Later numbers that arrived all the same. Not zero: the drop was a loss on the way, or the block has ended.
    pub arrived_later: u64,
    /// Numbers lost before the tip, when nothing should drop: the noise of the measurement.
    pub lost_before_tip: u64,
}

/// The first drop after `tip`, or `None` if everything sent after it arrived (or nothing was sent).
pub fn first_drop_after(sent: &SentTimes, arrived: &Arrived, tip: Timestamp) -> Option<FirstDrop> {
    let came = Came::of(arrived, sent.at.len());
    let before = sent.at.partition_point(|at| *at < tip);
    let (first, at) = sent.at.iter().enumerate().skip(before).find(|(number, _)| !came.has(*number))?;
    Some(FirstDrop {
        number: ProbeNumber(u32::try_from(first).unwrap_or(u32::MAX)),
        delay: at.since(tip),
        arrived_later: count((first..sent.at.len()).filter(|number| came.has(*number))),
        lost_before_tip: count((0..before).filter(|number| !came.has(*number))),
    })
}

fn count(numbers: impl Iterator<Item = usize>) -> u64 {
    numbers.fold(0, |count, _| count + 1)
}

/// One flag per number that was sent.
struct Came(Vec<bool>);

impl Came {
    fn of(arrived: &Arrived, numbers: usize) -> Self {
        let mut flags = vec![false; numbers];
        for (from, to) in &arrived.stretches {
            let (from, to) = (from.0 as usize, to.0 as usize);
            flags.iter_mut().take(to.saturating_add(1)).skip(from).for_each(|flag| *flag = true);
        }
        Self(flags)
    }

    fn has(&self, number: usize) -> bool {
        self.0.get(number).copied().unwrap_or(false)
    }
}

/// The smallest value that at least `percent` of the values do not exceed. `values` need not be sorted.
pub fn percentile(values: &mut [Duration], percent: u32) -> Option<Duration> {
    values.sort_unstable();
    let rank = (values.len() * percent as usize).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> SentTimes {
        let at = (0..count).map(|number| Timestamp::from_nanos(number * 200)).collect();
        SentTimes { at, ..SentTimes::new(RunId(1), "192.0.2.1:5060".parse().unwrap()) }
    }

    fn arrived(stretches: &[(u32, u32)]) -> Arrived {
        let stretches = stretches.iter().map(|(from, to)| (ProbeNumber(*from), ProbeNumber(*to))).collect();
        Arrived { run: RunId(1), sink: "192.0.2.1:5060".parse().unwrap(), stretches }
    }

    #[test]
    fn the_first_drop_is_the_first_number_after_the_tip_that_never_came() {
        let drop = first_drop_after(&sent(100), &arrived(&[(0, 49)]), Timestamp::from_nanos(41 * 200 + 1));
        let expected = FirstDrop {
            number: ProbeNumber(50),
            delay: Duration::from_nanos(50 * 200 - 41 * 200 - 1),
            arrived_later: 0,
            lost_before_tip: 0,
        };
        assert_eq!(drop, Some(expected));
    }

    #[test]
    fn losses_before_the_tip_and_arrivals_after_the_drop_are_told() {
        let came = arrived(&[(0, 9), (12, 59), (70, 71)]);
        let drop = first_drop_after(&sent(100), &came, Timestamp::from_nanos(40 * 200)).unwrap();
        assert_eq!((drop.number, drop.arrived_later, drop.lost_before_tip), (ProbeNumber(60), 2, 2));
    }

    #[test]
    fn without_a_loss_there_is_no_drop() {
        assert_eq!(first_drop_after(&sent(10), &arrived(&[(0, 9)]), Timestamp::ZERO), None);
        assert_eq!(first_drop_after(&sent(10), &arrived(&[]), Timestamp::from_nanos(2_000)), None);
        assert_eq!(first_drop_after(&sent(0), &arrived(&[(4, 5)]), Timestamp::ZERO), None);
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let mut values: Vec<Duration> = (1..=50).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut values, 50), Some(Duration::from_millis(25)));
        assert_eq!(percentile(&mut values, 99), Some(Duration::from_millis(50)));
        assert_eq!(percentile(&mut [], 99), None);
    }

    #[test]
    fn json_lines_read_back() {
        let line = serde_json::to_string(&arrived(&[(0, 9)])).unwrap();
        assert_eq!(line, r#"{"run":1,"sink":"192.0.2.1:5060","stretches":[[0,9]]}"#);
        assert_eq!(serde_json::from_str::<Arrived>(&line).unwrap(), arrived(&[(0, 9)]));
        let line = serde_json::to_string(&sent(2)).unwrap();
        assert_eq!(line, r#"{"run":1,"target":"192.0.2.1:5060","at":[0,200]}"#);
        assert_eq!(serde_json::from_str::<SentTimes>(&line).unwrap(), sent(2));
    }
}
