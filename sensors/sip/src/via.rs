//! The Via header: only its first hop, only what identifies the transaction.

use crate::address::Parameters;
use crate::scan;

/// The first hop of a Via header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `SIP/2.0/UDP host:port` as it stands.
    pub sent_by: &'a [u8],
    /// Identifies the transaction; opaque. Old stacks and some tools send none.
    pub branch: Option<&'a [u8]>,
}

impl<'a> Via<'a> {
    /// Reads the first hop of a value that may list several, separated by commas.
    pub(crate) fn read(value: &'a [u8]) -> Self {
        let (hop, _) = scan::split_unquoted(value, b',');
        let (sent_by, parameters) = scan::split_unquoted(hop, b';');
        Self { sent_by: scan::trim(sent_by), branch: Parameters::new(parameters).get(b"branch") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hop_gives_the_branch() {
        let via = Via::read(b"SIP/2.0/UDP a:5060;rport; Branch = z9hG4bK-1 , SIP/2.0/UDP b;branch=z9hG4bK-2");
        assert_eq!(via.branch, Some(&b"z9hG4bK-1"[..]));
        assert_eq!(via.sent_by, b"SIP/2.0/UDP a:5060");
        assert_eq!(Via::read(b"SIP/2.0/UDP a, SIP/2.0/UDP b;branch=2").branch, None);
        assert_eq!(Via::read(b"").branch, None);
    }
}
