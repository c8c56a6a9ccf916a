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
    /// The branch alone, which most callers want.
    pub(crate) fn branch_of(value: &'a [u8]) -> Option<&'a [u8]> {
        match Self::plain_branch_of(value) {
            Some(branch) => Some(branch),
            None => Self::read(value).branch,
        }
    }

    /// The branch, if it is written as usual, with no quotation mark and no other hop before its end.
    #[inline]
    fn plain_branch_of(value: &'a [u8]) -> Option<&'a [u8]> {
        const NAME: &[u8] = b"branch=";
        let end_of = |bytes: &[u8]| scan::find_of_three(bytes, [b';', b',', b'"']);
        let mut rest = value;
        loop {
            let end = end_of(rest).filter(|end| rest.get(*end) == Some(&b';'))?;
            rest = scan::split_around(rest, end).1;
            if let Some(value) = rest.strip_prefix(NAME) {
                let end = end_of(value).unwrap_or(value.len());
                return (value.get(end) != Some(&b'"')).then(|| scan::trim(scan::split(value, end).0));
            }
            // Blanks, or a name that differs from the wanted one by nothing but case.
            if !rest.first().is_some_and(|first| first.is_ascii_alphabetic() && !matches!(first, b'b' | b'B'))
            {
                return None;
            }
        }
    }

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

    proptest::proptest! {
        #[test]
        fn the_branch_alone_is_the_branch_of_the_hop(value in "(SIP/2.0/UDP a)?([;, =\"\\\\]|branch|rport|B|x){0,9}") {
            proptest::prop_assert_eq!(Via::branch_of(value.as_bytes()), Via::read(value.as_bytes()).branch);
        }
    }
}
