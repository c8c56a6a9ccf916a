//! The user-agent rule: tools that say who they are.
//!
//! A name counts only at the start of the header and as a whole word, case as written: `UNfriendly-scanner` and `EliteBook` are other
//! programs. Only requests are looked at, since an answer's agent is the victim's. One packet with such a name proves nothing about its
//! source address, so it is unproven evidence, unless the same packet echoes the victim's nonce.

use log_format::event::Text;

/// Names that attack tools give themselves and honest equipment does not; what the agents of [`Policy`](crate::Policy) add to it is
/// known too. Names that tools share with equipment (`VaxSIPUserAgent`, `PBX`, `FPBX`, `sipsorcery`) are left out.
const KNOWN: [&[u8]; 26] = [
    b"friendly-scanner",
    b"friendly-request",
    b"sipvicious",
    b"svmap",
    b"svwar",
    b"svcrack",
    b"sundayddr",
    b"sipsscuser",
    b"sipcli",
    b"pplsip",
    b"sippts",
    b"sip-scan",
    b"sipscan",
    b"iWar",
    b"sivus",
    b"SIVuS",
    b"smap",
    b"Nsauditor",
    b"Nmap NSE",
    b"NMAP SIP",
    b"SipReg",
    b"Custom SIP",
    b"siparmyknife",
    b"sipptk",
    b"voiphopper",
    b"UsaAirport",
];

/// What a message's agents say of their sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim<'a> {
    /// A name of the blocked list.
    Blocked(&'a [u8]),
    /// The name of an attack tool that is not on that list.
    Known(&'a [u8]),
}

/// The rule.
pub(crate) struct UserAgents {
    blocked: Vec<Text>,
    /// Whether any name begins with this byte: nearly all agents are done with one look.
    first: [bool; 256],
}

impl UserAgents {
    pub(crate) fn new(blocked: Vec<Text>) -> Self {
        let mut rule = Self { blocked: Vec::new(), first: [false; 256] };
        rule.set_blocked(blocked);
        rule
    }

    pub(crate) fn set_blocked(&mut self, blocked: Vec<Text>) {
        self.first = [false; 256];
        for name in KNOWN.iter().copied().chain(blocked.iter().map(Text::as_bytes)) {
            let place = name.first().and_then(|byte| self.first.get_mut(usize::from(*byte)));
            place.into_iter().for_each(|place| *place = true);
        }
        self.blocked = blocked;
    }

    /// What the message's agents say; of several the first that is blocked counts.
    #[inline]
    pub(crate) fn find<'a>(&self, agents: impl Iterator<Item = &'a [u8]>) -> Option<Claim<'a>> {
        let mut known = None;
        for agent in agents {
            let is_candidate = agent.first().and_then(|byte| self.first.get(usize::from(*byte)));
            if is_candidate != Some(&true) {
                continue;
            }
            if self.blocked.iter().any(|name| begins_with_word(agent, name.as_bytes())) {
                return Some(Claim::Blocked(agent));
            }
            if KNOWN.iter().any(|name| begins_with_word(agent, name)) {
                known = known.or(Some(Claim::Known(agent)));
            }
        }
        known
    }

    /// Whether this is the name of a known attack tool.
    pub(crate) fn is_known(&self, agent: &[u8]) -> bool {
        self.find(std::iter::once(agent)).is_some()
    }
}

/// Whether `agent` begins with `name` and the name ends there as a word.
#[inline]
fn begins_with_word(agent: &[u8], name: &[u8]) -> bool {
    // One byte tells nearly all names apart.
    if agent.first() != name.first() {
        return false;
    }
    let Some(rest) = agent.strip_prefix(name) else { return false };
    !name.is_empty() && rest.first().is_none_or(|next| !continues_word(*next))
}

/// Letters of other scripts continue a word too.
const fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    fn rule() -> UserAgents {
        UserAgents::new(Policy::default().blocked_user_agents)
    }

    fn is_blocked(agents: &[&str]) -> bool {
        let claim = rule()
            .find(agents.iter().map(|agent| agent.as_bytes()))
            .map(|claim| matches!(claim, Claim::Blocked(_)));
        claim == Some(true)
    }

    #[test]
    fn blocked_names_are_whole_words_at_the_start_in_their_case() {
        for agent in
            ["friendly-scanner", "friendly-scanner/1.0", "sipsak 0.9.8.1", "Elite 1.0 Brcm Callctrl/1.5.1.0"]
        {
            assert!(is_blocked(&[agent]), "{agent}");
        }
        for agent in [
            "",
            "UNfriendly-scanner - for demo purposes",
            "FRIENDLY-SCANNER",
            "friendly-\r\n scanner",
            "sipvicious/friendly-scanner (x)",
            "EliteBook Softphone 2.1",
            "Elitel SBC 4.0",
            "Elite-Phone 1",
            "Barcode-Scanner Intercom/1.2",
            "friendly phone 3.0",
            "SIPSAKURA PBX 2.0",
            "sipsakura",
            "Elit\u{e9}",
            "Nero SIPPS IP Phone Version 2.0.51.16",
        ] {
            assert!(!is_blocked(&[agent]), "{agent}");
        }
        assert!(is_blocked(&["Mozilla/5.0", "friendly-scanner"]));
    }

    #[test]
    fn tools_are_known_and_phones_are_not() {
        for agent in ["pplsip", "sipcli/v1.8", "Nmap NSE", "friendly-scanner", "sipsak 0.9.6", "Elite 1.0"] {
            assert!(rule().is_known(agent.as_bytes()), "{agent}");
        }
        for agent in
            ["FPBX", "VaxSIPUserAgent/3.5", "Cisco UCM 12.0.1", "Yealink SIP-T46S 66.86.0.15", "smapper", ""]
        {
            assert!(!rule().is_known(agent.as_bytes()), "{agent}");
        }
    }
}
