//! Measures when a block begins to drop: numbered datagrams from the attacker's address to every host.
//!
//! ```text
//! prober (attacker) ──1,2,3,4,5,…──> sink (each host)
//! first_drop_after(tip) = send time of the first number after the tip that never arrived
//! ```
//! The prober notes when it sent each number, a sink which numbers came; both print JSON lines, which [`report`] reads
//! back. All clocks are the machine's one wall clock. The datagrams are OPTIONS requests of a neutral agent, as
//! keep-alives are; nobody answers them. A registrar recognises them too and can be the sink of its own host.

pub mod prober;
pub mod report;
pub mod sink;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Tells one prober's numbers from another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId(pub u32);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a datagram within its run and target, from 0 and without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProbeNumber(pub u32);

/// How each datagram begins. No phone is called so.
const OPENING: &[u8] = b"OPTIONS sip:palisade-probe@";
/// Where run and number are written.
const IDENTITY: &[u8] = b"\r\nCall-ID: ";

/// The datagram of one number.
fn datagram(run: RunId, number: ProbeNumber, (source, target): (SocketAddr, SocketAddr)) -> String {
    let (host, number) = (source.ip(), number.0);
    format!(
        "OPTIONS sip:palisade-probe@{target} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {source};branch=z9hG4bKp{run}n{number};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:keepalive@{source}>;tag=p{run}\r\n\
         To: <sip:palisade-probe@{target}>\r\n\
         Call-ID: {run}-{number}@{host}\r\n\
         CSeq: 1 OPTIONS\r\n\
         User-Agent: keepalive\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The run and number of a probe; `None` for every other datagram, mostly after one comparison.
pub(super) fn identify(datagram: &[u8]) -> Option<(RunId, ProbeNumber)> {
    if !datagram.starts_with(OPENING) {
        return None;
    }
    let at = datagram.windows(IDENTITY.len()).position(|window| window == IDENTITY)?;
    let rest = datagram.get(at + IDENTITY.len()..)?;
    let identity = rest.split(|byte| *byte == b'@').next()?;
    let (run, number) = std::str::from_utf8(identity).ok()?.split_once('-')?;
    Some((RunId(run.parse().ok()?), ProbeNumber(number.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_carries_its_run_and_number_and_nothing_else_does() {
        for ends in
            [("192.0.2.66:5999", "198.51.100.11:5060"), ("[2001:db8::66]:5999", "[2001:db8::11]:5060")]
        {
            let text =
                datagram(RunId(7), ProbeNumber(4_000), (ends.0.parse().unwrap(), ends.1.parse().unwrap()));
            assert_eq!(identify(text.as_bytes()), Some((RunId(7), ProbeNumber(4_000))));
        }
        assert_eq!(identify(b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nCall-ID: 7-1@x\r\n\r\n"), None);
        assert_eq!(identify(OPENING), None);
    }
}
