//! An explanation in one or two plain sentences, for somebody who knows nothing of the product. Text of strangers is shown in
//! quotes and only as [`Text::visible`].

use log_format::event::{Actor, EnforcementMode, NoteKind, Rule, Sanction, Scope, Text};
use log_format::time::Timestamp;

use super::explain::Explanation;
use super::{AttackReason, DenylistRow, Reason};
use crate::address::Untouchable;
use crate::decide::Verdict;

impl Explanation<'_> {
    /// Says what holds and why.
    pub fn sentence(&self) -> String {
        let mut said = match self.ruling.verdict {
            Verdict::Untouchable(why) => self.protected(why),
            Verdict::Allowed { .. } => self.allowed(),
            Verdict::Denied { .. } | Verdict::Blocked { .. } | Verdict::SoftBlocked { .. } => self.dropped(),
            Verdict::Free => self.free(),
        };
        let is_dropped = matches!(
            self.ruling.verdict,
            Verdict::Denied { .. } | Verdict::Blocked { .. } | Verdict::SoftBlocked { .. }
        );
        if is_dropped && self.mode == EnforcementMode::Watch {
            said.push_str(" The cluster only watches: nothing is dropped.");
        }
        if self.notes.iter().any(|row| row.noted.kind == NoteKind::SpoofSuspected) {
            said.push_str(" Somebody else seems to send packets in its name.");
        }
        said
    }

    fn subject(&self) -> String {
        match self.port {
            Some(port) => format!("Port {port} of {}", self.address),
            None => self.address.to_string(),
        }
    }

    fn protected(&self, why: Untouchable) -> String {
        let name = match why {
            Untouchable::Host(host) => self.views.hosts.get(host).map(|row| quoted(&row.name)),
            Untouchable::Loopback
            | Untouchable::Unspecified
            | Untouchable::Multicast
            | Untouchable::Broadcast
            | Untouchable::LinkLocal => None,
        };
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} is never blocked because it is {why}{name}.", self.address)
    }

    fn allowed(&self) -> String {
        let Some((network, row)) = self.allowed else {
            return format!("{} is allowed.", self.address);
        };
        let until = row.until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
        format!(
            "{} is allowed{until} because {} allowed {network}{}; attacks of it are only written down.",
            self.address,
            who(&row.by),
            words(&row.note)
        )
    }

    /// The block or denial that decides: the strongest of those that drop what was asked about.
    fn dropped(&self) -> String {
        let fits = |row: &&DenylistRow<'_>| match (row.scope, self.port) {
            (Scope::AddressPort(port), asked) => asked == Some(port),
            (Scope::Address | Scope::Prefix(_), _) => true,
        };
        let end = |row: &&DenylistRow<'_>| row.until.unwrap_or(Timestamp::MAX);
        let decides = |row: &&DenylistRow<'_>| match self.ruling.verdict {
            Verdict::Denied { network } => row.until.is_none() && row.network() == network,
            Verdict::Blocked { until } | Verdict::SoftBlocked { until } => row.until == Some(until),
            Verdict::Untouchable(_) | Verdict::Allowed { .. } | Verdict::Free => false,
        };
        let rows = self.blocks.iter().filter(fits).filter(decides);
        match rows.max_by_key(|row| (row.sanction, end(row))) {
            Some(row) => format!("{} is {}.", self.subject(), self.block(row)),
            None => format!("{} is blocked.", self.subject()),
        }
    }

    /// "blocked until … because …".
    fn block(&self, row: &DenylistRow<'_>) -> String {
        let on_ports = if row.sanction == Sanction::SoftBlock { " on SIP ports" } else { "" };
        let until = match row.until {
            Some(until) => format!("until {}", moment(until)),
            None => "until a person says otherwise".to_owned(),
        };
        let whole = match row.scope {
            Scope::Prefix(_) => format!(" with its network {}", row.network()),
            Scope::Address | Scope::AddressPort(_) => String::new(),
        };
        format!("blocked{on_ports}{whole} {until} because {}", self.because(row))
    }

    fn because(&self, row: &DenylistRow<'_>) -> String {
        let reason = match row.reason {
            Reason::Manual { note } => {
                let verb = if row.sanction == Sanction::Permanent { "denied" } else { "blocked" };
                return format!("{} {verb} it{}", who(row.by), words(note));
            }
            Reason::Attack(reason) => reason,
        };
        let said = self.accused(reason);
        match row.sanction {
            Sanction::Permanent => {
                format!("it was blocked {} within 30 days; the last time it {said}", times(row.strikes))
            }
            Sanction::SoftBlock => format!("it {said}; anybody could have forged that, so it is short"),
            Sanction::Observe | Sanction::Shape | Sanction::Block => format!("it {said}"),
        }
    }

    /// "tried 10 wrong passwords within a minute on 198.51.100.10 (bad-registrations, proven, 2 hosts)".
    fn accused(&self, reason: &AttackReason) -> String {
        let at = reason.victim.map(|victim| format!(" on {victim}")).unwrap_or_default();
        let evidence = reason.evidence.name();
        let hosts = match self.hosts.len() {
            0 => String::new(),
            1 => ", seen by 1 host".to_owned(),
            count => format!(", seen by {count} hosts"),
        };
        format!("{}{at} ({}, {evidence}{hosts})", deed(reason.rule, reason.count), reason.rule.name())
    }

    fn free(&self) -> String {
        let narrow = self.blocks.iter().filter(|row| matches!(row.scope, Scope::AddressPort(_)));
        let ports: Vec<String> = narrow
            .clone()
            .filter_map(|row| match row.scope {
                Scope::AddressPort(port) => Some(port.to_string()),
                Scope::Address | Scope::Prefix(_) => None,
            })
            .collect();
        let subject = self.subject();
        match (narrow.max_by_key(|row| row.until), self.attacks.first()) {
            (Some(row), _) => {
                let ports = ports.join(", ");
                format!("{subject} is not blocked, but its port {ports} is {}.", self.block(row))
            }
            (None, Some(last)) => format!(
                "{subject} is not blocked now; it was last seen to attack at {}: it {}.",
                moment(last.at),
                deed(last.rule, last.count)
            ),
            (None, None) if self.notes_total == 0 => {
                format!("{subject} is not blocked: nothing is known of it, no block, no list, no attack.")
            }
            (None, None) => {
                format!("{subject} is not blocked: no attack of it is known, only what is noted about it.")
            }
        }
    }
}

/// What somebody did who tipped a rule so often.
fn deed(rule: Rule, count: u32) -> String {
    match rule {
        Rule::BadRegistrations => format!("tried {count} wrong passwords within a minute"),
        Rule::BlockedUserAgent => "called itself by the name of an attack tool".to_owned(),
        Rule::SlowGuessing => format!("tried {count} wrong passwords within an hour"),
        Rule::VerySlowGuessing => format!("tried {count} wrong passwords within a day"),
        Rule::Enumeration => format!("asked for {count} different users within a minute"),
        Rule::Sweep => format!("asked {count} protected addresses the same"),
        Rule::Decoy => "sent a packet to an address or a user that nobody has".to_owned(),
        Rule::ToolFingerprint => "wrote messages as only an attack tool does".to_owned(),
        Rule::PrefixWalk => format!("called one number behind {count} dialling prefixes"),
        Rule::Malformed => format!("sent {count} messages that cannot be read"),
        Rule::RequestRate => format!("sent {count} requests without credentials, more than is allowed"),
        Rule::NotSip => format!("said something else than SIP on a SIP port, {}", times(count)),
        Rule::Tftp => format!("asked for {count} files over TFTP"),
        Rule::Dns => format!("asked for {count} answers over DNS"),
        Rule::AccountUnderAttack => "is one of many that try the password of one account".to_owned(),
        Rule::Volume => format!("sent {count} registrations with credentials that nobody answered"),
        Rule::TlsSessions => format!("opened {count} short TLS sessions"),
        Rule::DigestLeak => "challenged a phone to make it show its password's hash".to_owned(),
        Rule::UriInjection => "sent database or shell language in an address".to_owned(),
        Rule::TollFraud => "called a far number without being known here".to_owned(),
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

fn who(actor: &Actor) -> String {
    match actor {
        Actor::System => "the cluster itself".to_owned(),
        Actor::Administrator(name) => format!("administrator {}", quoted(name)),
    }
}

/// A person's words, if there are any.
fn words(note: &Text) -> String {
    if note.is_empty() { String::new() } else { format!(" ({})", quoted(note)) }
}

fn quoted(text: &Text) -> String {
    format!("\"{}\"", text.visible().replace('"', "'"))
}

/// A time to the second: nobody who asks why wants more.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    let time = time.split(['.', 'Z']).next().unwrap_or_default();
    format!("{date} {time} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_to_the_second() {
        let at = Timestamp::parse("2026-01-02T03:04:05.678901Z").unwrap();
        assert_eq!(moment(at), "2026-01-02 03:04:05 UTC");
    }

    #[test]
    fn every_rule_is_told_in_words() {
        for rule in Rule::ALL {
            let deed = deed(rule, 7);
            assert!(deed.starts_with(|first: char| first.is_ascii_lowercase()), "{deed}");
            assert!(!deed.contains(rule.name()), "{deed}");
        }
    }

    #[test]
    fn words_of_strangers_cannot_leave_their_quotes() {
        assert_eq!(quoted(&Text::new(b"a\" b\x1b[2J")), "\"a' b\\u001b[2J\"");
    }
}
