//! What this process may do, and which devices it can see.
#![expect(
    clippy::disallowed_methods,
    reason = "the actuator's shell: reads what the kernel says of this process"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// The bit of `CAP_NET_ADMIN` in a capability mask.
const NET_ADMIN: u32 = 12;
/// What the kernel says of the calling thread: namespaces and capabilities belong to threads.
const STATUS: &str = "/proc/thread-self/status";
/// The devices of the calling thread's network namespace.
const DEVICES: &str = "/proc/thread-self/net/dev";

/// Whether this thread holds `CAP_NET_ADMIN`.
pub(super) fn may_administer() -> io::Result<bool> {
    Ok(effective_capabilities(&fs::read_to_string(STATUS)?).is_some_and(|mask| mask >> NET_ADMIN & 1 == 1))
}

/// The names of the devices that are there.
pub(super) fn devices() -> io::Result<BTreeSet<String>> {
    Ok(device_names(&fs::read_to_string(DEVICES)?))
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn device_names(table: &str) -> BTreeSet<String> {
    table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_mask_is_read_in_hexadecimal() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\nCapBnd:\tffff\n";
        assert_eq!(effective_capabilities(status), Some(1 << NET_ADMIN));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn devices_are_the_words_before_the_colon() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3\n wan0.7:12345 1\n";
        let expected = ["lo", "wan0.7"].map(str::to_owned);
        assert_eq!(device_names(table), BTreeSet::from(expected));
    }
}
