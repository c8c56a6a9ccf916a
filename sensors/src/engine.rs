//! The engine: from frames to findings.

use std::collections::HashSet;
use std::net::IpAddr;

use log_format::event::{AttackKind, AttackObserved, Evidence, Rule, Sanction, Scope, StrikeDelta, Text};
use log_format::time::Timestamp;
use sip::{ErrorKind, Message, Shape, StartLine};

use crate::detect::bad_registrations::{BadRegistrations, Tipped};
use crate::detect::deltas::Struck;
use crate::detect::user_agents::UserAgents;
use crate::detect::{Agent, Answer, Attempt, CredentialState, Judgement, judge};
use crate::fragments::Fragments;
use crate::frame::Frame;
use crate::keyed::{Key, Purpose};
use crate::observation::{Finding, Verdict};
use crate::packet::{self, Datagram, Packet};
use crate::policy::{Policy, Ports};
use crate::proof::{FilterSize, NonceEcho};
use crate::statistics::Statistics;
use crate::streams::{Segment, StreamMessage, Streams};
use crate::timeline::Timeline;
use crate::transaction::{Path, Transactions};

/// Sources that are told apart for the statistics.
const SOURCES_COUNTED: usize = 65_536;

/// Senses attacks in a stream of frames. Memory is bounded: at most about 140 MiB when every table is full, a few MiB when idle.
pub struct Engine {
    key: Key,
    ports: Ports,
    /// Sorted.
    never: Vec<IpAddr>,
    soft_block_seconds: u64,
    block_seconds: u64,
    timeline: Timeline,
    fragments: Fragments,
    streams: Streams,
    transactions: Transactions,
    nonces: NonceEcho,
    bad_registrations: BadRegistrations,
    user_agents: UserAgents,
    sources: HashSet<IpAddr, Key>,
    statistics: Statistics,
}

/// A message under work, and how it came.
#[derive(Clone, Copy)]
struct Sighting<'m, 'b> {
    message: &'m Message<'b>,
    path: Path,
    source_port: u16,
    /// The connection shows that the sender is at his address.
    is_proven: bool,
    /// The engine's time.
    now: Timestamp,
    /// The frame's own.
    at: Timestamp,
    packet: u64,
}

/// Why a verdict is given.
#[derive(Clone, Copy)]
struct Cause<'a> {
    rule: Rule,
    attack: AttackKind,
    agent: &'a [u8],
}

impl Engine {
    /// An engine that has seen nothing. `secret` keys its hashes: hosts that share it share proofs, senders must not know it.
    pub fn new(policy: Policy, secret: [u8; 16]) -> Self {
        Self::with_filter(policy, secret, FilterSize::default())
    }

    /// An engine whose proof filter has this size.
    pub fn with_filter(policy: Policy, secret: [u8; 16], size: FilterSize) -> Self {
        let key = Key::new(secret);
        let mut engine = Self {
            key,
            ports: Ports::new(&policy.sip_ports),
            never: Vec::new(),
            soft_block_seconds: 0,
            block_seconds: 0,
            timeline: Timeline::default(),
            fragments: Fragments::new(key),
            streams: Streams::new(key),
            transactions: Transactions::new(key),
            nonces: NonceEcho::new(size, key),
            bad_registrations: BadRegistrations::new(&policy, key),
            user_agents: UserAgents::new(Vec::new(), key),
            sources: HashSet::with_hasher(key),
            statistics: Statistics::default(),
        };
        engine.set_policy(policy);
        engine
    }

    /// Goes by another policy from now on; what was counted stays counted.
    pub fn set_policy(&mut self, policy: Policy) {
        self.bad_registrations.set_policy(&policy);
        let Policy {
            sip_ports,
            bad_registrations_per_minute: _,
            blocked_user_agents,
            block_seconds,
            soft_block_seconds,
            never,
        } = policy;
        self.ports = Ports::new(&sip_ports);
        self.user_agents.set_blocked(blocked_user_agents);
        self.block_seconds = block_seconds;
        self.soft_block_seconds = soft_block_seconds;
        self.never = never.into_iter().map(|address| address.to_canonical()).collect();
        self.never.sort_unstable();
    }

    /// Takes a frame in and appends what it shows.
    pub fn frame(&mut self, frame: &Frame<'_>, findings: &mut Vec<Finding>) {
        let now = self.timeline.advance(frame.at);
        self.statistics.packets += 1;
        self.packet(packet::decode(frame), frame, now, findings);
    }

    /// A packet as a frame carries it, or as the last of its pieces makes it whole: what was put together is no piece itself.
    fn packet(&mut self, packet: Packet<'_>, frame: &Frame<'_>, now: Timestamp, findings: &mut Vec<Finding>) {
        match packet {
            Packet::Udp(datagram) => self.datagram(&datagram, frame, now, findings),
            Packet::Tcp(segment) => self.segment(&segment, frame, now, findings),
            Packet::Fragment(fragment) => {
                self.statistics.fragments += 1;
                if let Some(whole) = self.fragments.add(&fragment, now) {
                    self.statistics.reassembled += 1;
                    self.packet(packet::decode_whole(&whole), frame, now, findings);
                }
            }
            Packet::Unreadable => self.statistics.unreadable += 1,
            Packet::OtherIp | Packet::NotIp => {}
        }
    }

    /// What was added to each source's strikes since the last call; at most
    /// [`StrikesCounted::MAX_DELTAS`](log_format::event::StrikesCounted::MAX_DELTAS).
    pub fn drain_strikes(&mut self, now: Timestamp) -> Vec<StrikeDelta> {
        self.bad_registrations.drain(self.timeline.at(now))
    }

    /// What was seen so far.
    pub fn statistics(&self) -> Statistics {
        let evicted = self.transactions.evicted()
            + self.bad_registrations.evicted()
            + self.bad_registrations.unreported()
            + self.nonces.lost()
            + self.fragments.lost()
            + self.streams.lost();
        Statistics {
            sources: self.sources.len() as u64,
            unanswered: self.transactions.unanswered(),
            evicted,
            ..self.statistics
        }
    }

    /// Sources that have strikes at this time.
    pub fn striking_sources(&self) -> usize {
        self.bad_registrations.sources()
    }

    fn datagram(
        &mut self,
        datagram: &Datagram<'_>,
        frame: &Frame<'_>,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) {
        if self.ports.has(datagram.destination_port) || self.ports.has(datagram.source_port) {
            self.statistics.datagrams += 1;
            self.message(datagram, false, (frame, now), findings);
        }
    }

    fn segment(
        &mut self,
        segment: &Segment<'_>,
        frame: &Frame<'_>,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) {
        let Segment { source, source_port, destination, destination_port, .. } = *segment;
        if !self.ports.has(destination_port) && !self.ports.has(source_port) {
            return;
        }
        self.statistics.tcp_segments += 1;
        self.streams.add(segment);
        while let Some(StreamMessage { bytes, is_proven }) = self.streams.next_message(&segment.direction()) {
            let datagram = Datagram { source, source_port, destination, destination_port, payload: &bytes };
            self.message(&datagram, is_proven, (frame, now), findings);
        }
    }

    /// A message counts if a victim's SIP port is on the side where its kind wants it: requests go there, answers come from there.
    fn message(
        &mut self,
        datagram: &Datagram<'_>,
        is_proven: bool,
        (frame, now): (&Frame<'_>, Timestamp),
        findings: &mut Vec<Finding>,
    ) {
        let is_to_sip = self.ports.has(datagram.destination_port);
        let is_from_sip = self.ports.has(datagram.source_port);
        let Some(message) = self.read(datagram.payload) else { return };
        let sighting = |path, source_port| Sighting {
            message: &message,
            path,
            source_port,
            is_proven,
            now,
            at: frame.at,
            packet: frame.number,
        };
        match message.start {
            StartLine::Request { method, .. } if is_to_sip => {
                let sighting = sighting(datagram.path(), datagram.source_port);
                self.request(&sighting, kind_of(method), findings);
            }
            StartLine::Response { status, .. } if is_from_sip && status >= 200 => {
                let sighting = sighting(datagram.path_back(), datagram.destination_port);
                self.answer(&sighting, status, findings);
            }
            StartLine::Request { .. } | StartLine::Response { .. } => {}
        }
    }

    fn read<'a>(&mut self, payload: &'a [u8]) -> Option<Message<'a>> {
        match sip::shape(payload) {
            Shape::Keepalive => self.statistics.keepalives += 1,
            Shape::Stun | Shape::Other => self.statistics.not_sip += 1,
            Shape::Text => match sip::parse(payload) {
                Ok(message) => {
                    self.statistics.sip_messages += 1;
                    return Some(message);
                }
                Err(error) => match error.kind {
                    ErrorKind::Empty | ErrorKind::NotSip => self.statistics.not_sip += 1,
                    ErrorKind::Method | ErrorKind::StatusCode => self.statistics.malformed += 1,
                },
            },
        }
        None
    }

    fn request(&mut self, sighting: &Sighting<'_, '_>, kind: AttackKind, findings: &mut Vec<Finding>) {
        let Sighting { message, path, now, .. } = *sighting;
        if self.is_exempt(path) {
            self.statistics.exempt += 1;
            return;
        }
        if self.sources.len() < SOURCES_COUNTED {
            self.sources.insert(path.source);
        }
        let is_awaited = kind == AttackKind::Register || message.has_credentials();
        let attempt = is_awaited.then(|| self.attempt(sighting, kind));
        if let Some(agent) = self.user_agents.find_blocked(message.user_agents.iter()) {
            let is_echo = attempt.is_some_and(|attempt| attempt.credentials == CredentialState::Echoed);
            let is_proven = is_echo || sighting.is_proven;
            let evidence = if is_proven { Evidence::Proven } else { Evidence::Unproven };
            let seconds = if is_proven { self.block_seconds } else { self.soft_block_seconds };
            if self.user_agents.report(path.source, evidence, now, seconds) {
                let tipped = Tipped { evidence, count: 1, seconds };
                let cause = Cause { rule: Rule::BlockedUserAgent, attack: kind, agent };
                let verdict = self.verdict(sighting, cause, tipped);
                findings.push(Finding::Attack(verdict));
            }
        }
        if let Some(attempt) = attempt {
            self.transactions.asked(path, message, attempt, now);
        }
    }

    fn answer(&mut self, sighting: &Sighting<'_, '_>, status: u16, findings: &mut Vec<Finding>) {
        let Sighting { message, path, now, .. } = *sighting;
        let answer = Answer {
            status,
            is_stale: message.all_challenges().any(|challenge| challenge.stale),
            realm: message.challenge().map_or(0, |challenge| self.realm(challenge.realm)),
        };
        if let Some(attempt) = self.transactions.answered(path, message, now).copied() {
            self.judged(sighting, &attempt, judge(&attempt, answer), findings);
        }
        // After the judgement: the nonce that comes with a rejection was not known when the request was sent.
        if matches!(status, 401 | 407) {
            for challenge in message.all_challenges().filter(|challenge| !challenge.nonce.is_empty()) {
                self.nonces.sent(path.source, path.victim, challenge.nonce, now);
            }
        }
    }

    fn judged(
        &mut self,
        sighting: &Sighting<'_, '_>,
        attempt: &Attempt,
        judgement: Judgement,
        findings: &mut Vec<Finding>,
    ) {
        let source = sighting.path.source;
        match judgement {
            Judgement::Neutral => {}
            Judgement::Success => self.bad_registrations.success(source, attempt.account, sighting.now),
            Judgement::Enumeration => self.statistics.enumerations += 1,
            Judgement::Strike(strength) => {
                self.statistics.strikes += 1;
                let struck = Struck { source, account: attempt.account, strength };
                if let Some(tipped) = self.bad_registrations.strike(struck, sighting.now) {
                    let sighting = Sighting { source_port: attempt.source_port, ..*sighting };
                    let cause = Cause {
                        rule: Rule::BadRegistrations,
                        attack: attempt.kind,
                        agent: attempt.agent.as_bytes(),
                    };
                    let verdict = self.verdict(&sighting, cause, tipped);
                    findings.push(Finding::Attack(verdict));
                }
            }
        }
    }

    fn attempt(&mut self, sighting: &Sighting<'_, '_>, kind: AttackKind) -> Attempt {
        let Sighting { message, path, source_port, is_proven, now, .. } = *sighting;
        let mut first = None;
        let mut is_echo = false;
        let mut fingerprint = self
            .key
            .hash(Purpose::Attempt)
            .bytes(message.call_id().unwrap_or_default())
            .number(message.cseq().map_or(0, |cseq| cseq.number));
        for credentials in message.all_credentials() {
            let nonce = credentials.nonce.unwrap_or_default();
            is_echo |= !nonce.is_empty() && self.nonces.is_echo(path.source, path.victim, nonce, now);
            fingerprint = fingerprint
                .bytes(nonce)
                .bytes(credentials.username.unwrap_or_default())
                .bytes(credentials.response.unwrap_or_default())
                .bytes(credentials.cnonce.unwrap_or_default())
                .number(credentials.nc.unwrap_or_default());
            first = first.or(Some(credentials));
        }
        let credentials = first.unwrap_or_default();
        let state = match (message.has_credentials(), is_echo) {
            (false, _) => CredentialState::Absent,
            (true, false) => CredentialState::Unknown,
            (true, true) => CredentialState::Echoed,
        };
        Attempt {
            kind,
            credentials: state,
            realm: self.realm(credentials.realm.unwrap_or_default()),
            account: self.account(message, kind, credentials.username.unwrap_or_default()),
            fingerprint: fingerprint.finish(),
            source_port,
            is_proven,
            agent: Agent::new(message.user_agents.first().unwrap_or_default()),
        }
    }

    /// Whose password is tried. A registration is about the address in To; any other request is sent by the one in From.
    fn account(&self, message: &Message<'_>, kind: AttackKind, username: &[u8]) -> u64 {
        let owner = if kind == AttackKind::Register { message.to() } else { message.from() };
        let address = owner.map(|owner| owner.parts());
        self.key
            .hash(Purpose::Account)
            .bytes(address.map_or(&[], |address| address.user))
            .lower_case(address.map_or(&[], |address| address.host))
            .bytes(username)
            .finish()
    }

    fn realm(&self, realm: &[u8]) -> u64 {
        self.key.hash(Purpose::Account).bytes(realm).finish()
    }

    fn verdict(&mut self, sighting: &Sighting<'_, '_>, cause: Cause<'_>, tipped: Tipped) -> Verdict {
        self.statistics.attacks += 1;
        let sanction = match tipped.evidence {
            Evidence::Unproven => Sanction::SoftBlock,
            Evidence::Proven | Evidence::Corroborated => Sanction::Block,
        };
        let Path { source, victim, victim_port } = sighting.path;
        Verdict {
            observed: AttackObserved {
                source,
                source_port: sighting.source_port,
                victim,
                victim_port,
                attack: cause.attack,
                rule: cause.rule,
                evidence: tipped.evidence,
                sanction,
                user_agent: Text::new(cause.agent),
                known_user_agent: self.user_agents.is_known(cause.agent),
                count: tipped.count,
                scope: Scope::Address,
                account: Text::default(),
                line: Text::default(),
            },
            scope: Scope::Address,
            seconds: tipped.seconds,
            packet: sighting.packet,
            at: sighting.at,
        }
    }

    /// Addresses that are never blamed: own ones, and those that no packet from outside can have.
    fn is_exempt(&self, path: Path) -> bool {
        let source = path.source;
        let is_local = source == path.victim || source.is_loopback() || source.is_unspecified();
        let is_group = match source {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        is_local || is_group || self.never.binary_search(&source).is_ok()
    }
}

/// Methods are case-sensitive (RFC 3261, 7.1).
fn kind_of(method: &[u8]) -> AttackKind {
    match method {
        b"REGISTER" => AttackKind::Register,
        b"OPTIONS" => AttackKind::Options,
        b"INVITE" => AttackKind::Invite,
        _ => AttackKind::Other,
    }
}
