//! How long a block lasts.
//!
//! A flat hour is a metronome: attackers come back after sixty-one minutes. So each further block of an
//! address is longer (unless a single time is set), and every end is moved a little, by an amount that follows from the block's identity:
//! all hosts, and every replay, find the same.

use std::net::IpAddr;
use std::time::Duration;

use log_format::ids::BlockId;
use log_format::time::Timestamp;

use super::Settings;
use crate::digest::{Canonical, CanonicalHasher};

/// Seconds of a soft block before its jitter; with it, it stays below the five minutes that unproven evidence
/// may cost.
pub const SOFT_BLOCK_SECONDS: u64 = 270;
/// The most that an end is moved, in thousandths of the block's time.
pub const JITTER_PERMILLE: u64 = 100;

/// Seconds of the first, second and every further block of one port within a day: one phone with an old password behind a NAT
/// costs its neighbours nothing, and itself little until somebody has put it right.
pub const NARROW_SECONDS: [u64; 3] = [300, 900, 3_600];
/// The most that a block goes on from an attack during it. A longer one needs the next step.
pub const LONGEST_SLIDE: Duration = Duration::from_secs(86_400);

/// When a soft block made at `at` ends.
pub(super) fn soft_until(block: BlockId, source: IpAddr, at: Timestamp) -> Timestamp {
    at.after(jittered(SOFT_BLOCK_SECONDS, block, source))
}

/// When the `strike`th dynamic block of an address, made at `at`, ends.
pub(super) fn firm_until(
    settings: &Settings,
    strike: u32,
    (block, source): (BlockId, IpAddr),
    at: Timestamp,
) -> Timestamp {
    let seconds = settings.seconds_of_block(strike);
    if settings.is_flat() {
        return at.after(Duration::from_secs(seconds));
    }
    at.after(jittered(seconds, block, source))
}

/// When a block of one port ends that is the `repetition`th within a day, from 1.
pub(super) fn narrow_until(repetition: u32, at: Timestamp) -> Timestamp {
    let step = usize::try_from(repetition.saturating_sub(1)).unwrap_or(usize::MAX);
    let [.., last] = NARROW_SECONDS;
    at.after(Duration::from_secs(NARROW_SECONDS.get(step).copied().unwrap_or(last)))
}

/// When a block of this length ends if its source goes on at `at`; none as long as half of it remains, so that a source that
/// hammers makes two entries a length and not thousands.
pub(super) fn slid_until(length: Duration, until: Timestamp, at: Timestamp) -> Option<Timestamp> {
    let length = length.min(LONGEST_SLIDE);
    (until.since(at) < length / 2).then(|| at.after(length))
}

fn jittered(seconds: u64, block: BlockId, source: IpAddr) -> Duration {
    let thousandths = 1_000 - JITTER_PERMILLE + draw(block, source) % (2 * JITTER_PERMILLE + 1);
    Duration::from_millis(seconds.saturating_mul(thousandths))
}

/// A number that only block and address determine.
fn draw(block: BlockId, source: IpAddr) -> u64 {
    let hash = CanonicalHasher::of(|out| {
        block.put(out);
        source.put(out);
    });
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_uses_all_of_it() {
        let at = Timestamp::from_seconds(1_000_000);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let ends: Vec<u64> = (0..=u8::MAX)
            .flat_map(|a| {
                (0..8_u8).map(move |b| BlockId::new([a, b, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]))
            })
            .map(|block| jittered(3_600, block, source).as_millis().try_into().unwrap())
            .collect();
        assert_eq!(ends.iter().min(), Some(&3_240_000));
        assert_eq!(ends.iter().max(), Some(&3_960_000));
        let soft = soft_until(BlockId::new([9; 16]), source, at);
        assert!(soft <= at.after(Duration::from_secs(297)));
    }

    #[test]
    fn a_block_slides_only_in_its_second_half_and_by_a_day_at_most() {
        let at = |hours: u64| Timestamp::from_seconds(hours * 3_600);
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        assert_eq!(slid_until(hours(4), at(104), at(102)), None, "half of it remains");
        assert_eq!(slid_until(hours(4), at(104), at(103)), Some(at(107)));
        assert_eq!(slid_until(hours(96), at(196), at(185)), Some(at(209)));
    }

    #[test]
    fn a_single_block_time_is_flat() {
        let flat = Settings { block_seconds: vec![3_600], ..Settings::default() };
        let key = (BlockId::new([9; 16]), IpAddr::from([192, 0, 2, 1]));
        let at = Timestamp::from_seconds(1_000);
        assert_eq!(firm_until(&flat, 3, key, at), at.after(Duration::from_secs(3_600)));
    }

    #[test]
    fn addresses_of_one_command_end_at_different_times() {
        let block = BlockId::new([1; 16]);
        let ends = (1..=50_u8).map(|last| jittered(3_600, block, IpAddr::from([192, 0, 2, last])));
        assert!(40 < ends.collect::<std::collections::BTreeSet<_>>().len());
    }
}
