//! One line of text for each event: for `palisade log dump` and the golden files.
//!
//! Text from outside is shown in quotes and only as [`Text::visible`], so a line stays a line.

use std::fmt::{Display, Write};

use crate::envelope::{Envelope, Recorded};
use crate::event::{
    Actor, AttackEvent, AttackObserved, BlockReason, ChapterEvent, DenyReason, DenylistEvent,
    EnforcementMode, Event, HostEvent, MembershipEvent, NoteObserved, ReleaseCause, Scope, SettingChange,
    SettingsEvent, StrikesCounted, Text,
};
use crate::ids::LogIndex;
use crate::verify;
use crate::wal::{EntryKind, LogEntry};

/// One line for each event of an entry; one line for an entry without events.
pub fn entry_lines(entry: &LogEntry) -> Vec<String> {
    let LogEntry { index, term, kind, data } = entry;
    let what = match kind {
        EntryKind::Normal if data.is_empty() => "a leader's first entry".to_owned(),
        EntryKind::Normal => return envelope_lines(entry),
        EntryKind::ConfChange | EntryKind::ConfChangeV2 => format!("change of members, {} bytes", data.len()),
    };
    vec![format!("{index} term={term} {what}")]
}

fn envelope_lines(entry: &LogEntry) -> Vec<String> {
    let LogEntry { index, term, .. } = entry;
    match verify::decode(entry) {
        Ok(Some(envelope)) if envelope.events.is_empty() => {
            let Envelope { command, accepted_at, .. } = envelope;
            vec![format!("{index} term={term} {accepted_at} command={command} no events")]
        }
        Ok(Some(envelope)) => event_lines(*index, &envelope),
        Ok(None) => Vec::new(),
        Err(error) => {
            vec![format!("{index} term={term} {} bytes that do not decode: {error}", entry.data.len())]
        }
    }
}

/// One line for each event of an envelope.
pub fn event_lines(index: LogIndex, envelope: &Envelope) -> Vec<String> {
    let numbered = envelope.events.iter().enumerate();
    numbered.map(|(ordinal, recorded)| event_line(index, ordinal, envelope, recorded)).collect()
}

fn event_line(index: LogIndex, ordinal: usize, envelope: &Envelope, recorded: &Recorded) -> String {
    let Envelope { command, origin, accepted_at, events: _ } = envelope;
    let Recorded { observed_at, salt: _, event } = recorded;
    let (host, incarnation, sequence) = (origin.host, origin.incarnation, origin.sequence);
    format!(
        "{index}.{ordinal} {accepted_at} {} command={command} origin={host}/{incarnation}/{sequence} observed={observed_at}",
        event_text(event)
    )
}

/// An event's name and fields.
pub fn event_text(event: &Event) -> String {
    let mut line = Line(event.kind().name().to_owned());
    match event {
        Event::Attack(event) => attack(&mut line, event),
        Event::Denylist(event) => denylist(&mut line, event),
        Event::Settings(SettingsEvent::Changed(event)) => {
            line.actor(&event.by);
            event.changes.iter().for_each(|change| setting(&mut line, change));
        }
        Event::Host(event) => host(&mut line, event),
        Event::Membership(event) => membership(&mut line, event),
        Event::Chapter(event) => chapter(&mut line, event),
        Event::Erased(_) => line.0.push_str(" erased"),
    }
    line.0
}

fn attack(line: &mut Line, event: &AttackEvent) {
    match event {
        AttackEvent::Observed(event) => observed(line, event),
        AttackEvent::Noted(event) => noted(line, event),
        AttackEvent::StrikesCounted(StrikesCounted { deltas }) => {
            for delta in deltas {
                let (source, rule) = (delta.source, delta.rule.name());
                line.field("strikes", format_args!("{source}/{rule}/{}+{}", delta.proven, delta.unproven));
            }
        }
    }
}

fn observed(line: &mut Line, event: &AttackObserved) {
    let AttackObserved {
        source,
        source_port,
        victim,
        victim_port,
        attack,
        rule,
        evidence,
        sanction,
        user_agent,
        known_user_agent,
        count,
        scope: dropped,
        account,
        line: first,
    } = event;
    line.field("source", source);
    line.field("source_port", source_port);
    line.field("victim", victim);
    line.field("victim_port", victim_port);
    line.field("attack", attack.name());
    line.field("rule", rule.name());
    line.field("evidence", evidence.name());
    line.field("sanction", sanction.name());
    line.text("user_agent", user_agent);
    line.field("known_user_agent", known_user_agent);
    line.field("count", count);
    scope(line, *dropped);
    line.text("account", account);
    line.text("line", first);
}

fn noted(line: &mut Line, event: &NoteObserved) {
    let NoteObserved {
        kind,
        source,
        source_port,
        victim,
        victim_port,
        attack,
        rule,
        account,
        user_agent,
        count,
        line: first,
    } = event;
    line.field("note", kind.name());
    line.field("source", source);
    line.field("source_port", source_port);
    line.field("victim", victim);
    line.field("victim_port", victim_port);
    line.field("attack", attack.name());
    if let Some(rule) = rule {
        line.field("rule", rule.name());
    }
    line.text("account", account);
    line.text("user_agent", user_agent);
    line.field("count", count);
    line.text("line", first);
}

fn denylist(line: &mut Line, event: &DenylistEvent) {
    match event {
        DenylistEvent::AddressBlocked(event) => {
            line.field("block", event.block);
            line.field("source", event.source);
            scope(line, event.scope);
            line.field("sanction", event.sanction.name());
            block_reason(line, &event.reason);
            line.field("until", event.until);
            line.field("strikes", event.strikes);
        }
        DenylistEvent::AddressReleased(event) => {
            line.field("source", event.source);
            match &event.cause {
                ReleaseCause::Expired => line.field("cause", "expired"),
                ReleaseCause::Manual { by } => {
                    line.field("cause", "manual");
                    line.actor(by);
                }
            }
        }
        DenylistEvent::AddressDenied(event) => {
            line.field("network", event.network);
            deny_reason(line, &event.reason);
        }
        DenylistEvent::AddressAllowed(event) => {
            line.field("network", event.network);
            match event.until {
                Some(until) => line.field("until", until),
                None => line.field("until", "removed"),
            }
            line.actor(&event.by);
            line.text("note", &event.note);
        }
    }
}

fn scope(line: &mut Line, scope: Scope) {
    match scope {
        Scope::Address => line.field("scope", scope.name()),
        Scope::AddressPort(port) => line.field("scope", format_args!("{}:{port}", scope.name())),
        Scope::Prefix(length) => line.field("scope", format_args!("{}/{length}", scope.name())),
    }
}

fn block_reason(line: &mut Line, reason: &BlockReason) {
    match reason {
        BlockReason::Attack { rule, attack, evidence, count, victim, known_user_agent } => {
            line.field("rule", rule.name());
            line.field("attack", attack.name());
            line.field("evidence", evidence.name());
            line.field("count", count);
            line.field("victim", victim);
            line.field("known_user_agent", known_user_agent);
        }
        BlockReason::Manual { by, note } => {
            line.actor(by);
            line.text("note", note);
        }
    }
}

fn deny_reason(line: &mut Line, reason: &DenyReason) {
    match reason {
        DenyReason::Threshold { blocks, last } => {
            line.field("blocks", blocks);
            block_reason(line, last);
        }
        DenyReason::Manual { by, note } => {
            line.actor(by);
            line.text("note", note);
        }
    }
}

fn setting(line: &mut Line, change: &SettingChange) {
    match change {
        SettingChange::SipPorts(ports) => {
            line.list("sip_ports", ports.iter().map(|range| format!("{}-{}", range.first, range.last)));
        }
        SettingChange::BadRegistrationsPerMinute(count) => line.field("bad_registrations_per_minute", count),
        SettingChange::BlockSeconds(seconds) => line.list("block_seconds", seconds.iter()),
        SettingChange::BlockThreshold(count) => line.field("block_threshold", count),
        SettingChange::BlockedUserAgents(agents) => {
            line.list("blocked_user_agents", agents.iter().map(quoted));
        }
        SettingChange::Mode(EnforcementMode::Block) => line.field("mode", "block"),
        SettingChange::Mode(EnforcementMode::Watch) => line.field("mode", "watch"),
        SettingChange::RuleMode { rule, mode } => {
            line.field("rule", format_args!("{}/{}", rule.name(), mode.name()));
        }
    }
}

fn host(line: &mut Line, event: &HostEvent) {
    match event {
        HostEvent::Enrolled(event) => {
            line.field("host", event.host);
            line.text("name", &event.name);
            line.list("addresses", event.addresses.iter());
            if let Some(peer) = event.peer {
                line.field("peer", peer);
            }
            line.field("role", event.role.name());
            if let Some(token) = event.token {
                line.field("token", token);
            }
        }
        HostEvent::Active(event) => line.field("host", event.host),
        HostEvent::Inactive(event) => {
            line.field("host", event.host);
            line.field("last_heard", event.last_heard);
        }
        HostEvent::Removed(event) => {
            line.field("host", event.host);
            line.actor(&event.by);
        }
        HostEvent::KeyAnnounced(event) => {
            line.field("host", event.host);
            line.bytes("key", &event.key);
        }
        HostEvent::SpoolDropped(event) => {
            line.field("host", event.host);
            line.field("sequences", format_args!("{}-{}", event.from, event.to));
            line.field("count", event.count);
        }
    }
}

fn membership(line: &mut Line, event: &MembershipEvent) {
    match event {
        MembershipEvent::TokenIssued(event) => {
            line.field("token", event.token);
            line.field("role", event.role.name());
            line.field("expires", event.expires);
            line.actor(&event.by);
        }
        MembershipEvent::TokenRevoked(event) => {
            line.field("token", event.token);
            line.actor(&event.by);
        }
        MembershipEvent::AuthorityAdded(event) => {
            line.field("certificate", format_args!("{} bytes", event.certificate.len()));
            line.actor(&event.by);
        }
        MembershipEvent::AuthorityRetired(event) => {
            line.bytes("key_hash", &event.key_hash);
            line.actor(&event.by);
        }
        MembershipEvent::ClusterForced(event) => {
            line.field("host", event.host);
            line.field("previous", event.previous);
            line.list("members", event.members.iter());
            line.field("last", event.last);
            line.actor(&event.by);
        }
        MembershipEvent::TailLossAccepted(event) => {
            line.field("host", event.host);
            line.field("last", event.last);
            line.field("bytes", event.bytes);
            line.actor(&event.by);
        }
    }
}

fn chapter(line: &mut Line, event: &ChapterEvent) {
    match event {
        ChapterEvent::Cut(event) => {
            line.field("chapter", event.chapter);
            line.field("last", event.last);
        }
        ChapterEvent::Sealed(event) => {
            line.field("chapter", event.chapter);
            line.bytes("seal", &event.seal);
        }
        ChapterEvent::Witnessed(event) => {
            line.field("chapter", event.chapter);
            line.field("host", event.host);
            line.bytes("signature", &event.signature);
        }
        ChapterEvent::Erased(event) => {
            line.field("chapter", event.chapter);
            line.field("last", event.last);
            line.actor(&event.by);
        }
        ChapterEvent::RolledUp(event) => {
            line.field("chapter", event.chapter);
            for count in &event.counts {
                let (day, host) = (count.day, count.host);
                line.field("attacks", format_args!("{day}/{host}/{}/{}", count.attack.name(), count.count));
            }
        }
    }
}

/// A line that grows by fields.
struct Line(String);

impl Line {
    fn field(&mut self, name: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, " {name}={value}");
    }

    fn text(&mut self, name: &str, text: &Text) {
        self.field(name, quoted(text));
    }

    fn list(&mut self, name: &str, items: impl Iterator<Item = impl Display>) {
        let items: Vec<String> = items.map(|item| item.to_string()).collect();
        self.field(name, format_args!("[{}]", items.join(",")));
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.field(name, hex);
    }

    fn actor(&mut self, actor: &Actor) {
        match actor {
            Actor::System => self.field("by", "system"),
            Actor::Administrator(name) => self.text("by", name),
        }
    }
}

/// Text from outside between quotes. Quotes and backslashes inside it are shown as `\u0022` and `\u005c`, so that it
/// cannot end the quotes and pretend to be another field.
fn quoted(text: &Text) -> String {
    let mut shown = String::from("\"");
    for piece in text.as_bytes().split_inclusive(|byte| matches!(byte, b'"' | b'\\')) {
        let (before, special) = match piece {
            [before @ .., b'"'] => (before, "\\u0022"),
            [before @ .., b'\\'] => (before, "\\u005c"),
            before => (before, ""),
        };
        shown.push_str(&Text::new(before).visible());
        shown.push_str(special);
    }
    shown.push('"');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_leave_its_quotes() {
        let text = Text::new(b"a\" source=\"1.2.3.4\\\n");
        assert_eq!(quoted(&text), r#""a\u0022 source=\u00221.2.3.4\u005c\u000a""#);
    }
}
