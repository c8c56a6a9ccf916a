//! What is printed: rates, medians and percentiles.

use std::time::Duration;

use serde_json::{Map, Value};

/// Times of single operations, in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    /// One more operation took that long.
    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Adds another's.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What share of them, in thousandths, took no longer than this; zero if there are none. Exact: every time is kept.
    pub(super) fn permille(&mut self, permille: usize) -> Duration {
        self.0.sort_unstable();
        let rank = (self.0.len() * permille).div_ceil(1_000).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or_default()
    }
}

/// The time that this thread has had a processor: what others do on this machine does not count against what is measured.
pub(super) fn processor_time() -> anyhow::Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Ok(Duration::try_from(time)?)
}

/// The middle of an odd number of figures.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Microseconds, rounded to tenths.
pub(super) fn micros(time: Duration) -> Value {
    rounded(time.as_secs_f64() * 1e6, 1)
}

/// A number with so many digits after the point: more would claim what no benchmark knows.
pub(super) fn rounded(number: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    ((number * scale).round() / scale).into()
}

/// Prints one figure of the log.
pub(super) fn print(name: &str, members: impl IntoIterator<Item = (&'static str, Value)>) {
    print_of("log", name, members);
}

/// Prints one figure of a benchmark.
pub(super) fn print_of(bench: &str, name: &str, members: impl IntoIterator<Item = (&'static str, Value)>) {
    let mut object = Map::new();
    object.insert("bench".to_owned(), bench.into());
    object.insert("figure".to_owned(), name.into());
    object.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
    println!("{}", Value::Object(object));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut times = Times::default();
        assert_eq!(times.permille(990), Duration::ZERO);
        for micros in (1..=200).rev() {
            times.push(Duration::from_micros(micros));
        }
        assert_eq!(times.permille(500), Duration::from_micros(100));
        assert_eq!(times.permille(990), Duration::from_micros(198));
        assert_eq!(times.permille(1_000), Duration::from_micros(200));
    }

    #[test]
    fn one_disturbed_round_of_three_does_not_move_the_median() {
        assert_eq!(median(&[10.0, 1_000.0, 11.0]), 11.0);
    }
}
