//! The engine: from frames to findings.
//!
//! ```text
//! frame ─decode─> packet ─┬─ fragments, streams ─> message ─┬─ request ─┐
//!                         ├─ TFTP, DNS ─────────────┐       └─ answer ──┤
//!                         └─ other ─────────────────┤                   v
//!                                                   └────────────────> charge ─> verdict or note
//! ```

mod answer;
mod charge;
mod first_look;
mod look;
mod request;
mod setting;
mod tables;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

use log_format::event::{AttackKind, Rule, StrikeDelta, Text};
use log_format::time::Timestamp;
use sip::{Defect, ErrorKind, Message, Shape, StartLine};

use crate::detect::Subject;
use crate::detect::accounts::Accounts;
use crate::detect::agents::Agents;
use crate::detect::bad_registrations::BadRegistrations;
use crate::detect::dns_flood::DnsFlood;
use crate::detect::harvest::Harvests;
use crate::detect::leak::Leaks;
use crate::detect::one_way::OneWay;
use crate::detect::prefix_walk::PrefixWalk;
use crate::detect::protected::Protected;
use crate::detect::reports::Reports;
use crate::detect::sources::{Count, Sources};
use crate::detect::user_agents::UserAgents;
use crate::detect::visibility::Visibility;
use crate::fragments::Fragments;
use crate::frame::Frame;
use crate::hep::Report;
use crate::keyed::Key;
use crate::observation::{Finding, Verdict};
use crate::packet::{self, Datagram, Packet};
use crate::policy::{DNS, Limit, Policy};
use crate::proof::{FilterSize, NonceEcho};
use crate::statistics::Statistics;
use crate::streams::{Segment, StreamItem, Streams, TlsEnded};
use crate::timeline::Timeline;
use crate::transaction::{Path, Transactions};
use charge::Charge;
use first_look::{Doors, FirstLook};
use look::Look;
use setting::{Origin, Setting};

/// Bytes of a message that somebody may have meant to be SIP: what is shorter keeps a way through a router open ("jaK", "hello", zeros), in
/// whatever form its maker liked.
const SHORTEST: usize = 32;
/// Sources that are told apart for the statistics.
const SOURCES_COUNTED: usize = 65_536;

/// Senses attacks in a stream of frames. Memory is bounded: at most about 140 MiB when every table is full, a few MiB when idle.
pub struct Engine {
    key: Key,
    setting: Setting,
    timeline: Timeline,
    fragments: Fragments,
    streams: Streams,
    transactions: Transactions,
    proofs: NonceEcho,
    bad_registrations: BadRegistrations,
    user_agents: UserAgents,
    agents: Agents,
    sources: Sources,
    protected: Protected,
    accounts: Accounts,
    prefix_walk: PrefixWalk,
    harvests: Harvests,
    dns: DnsFlood,
    one_way: OneWay,
    leaks: Leaks,
    visibility: Visibility,
    reports: Reports,
    doors: Doors,
    /// Sources that are looked at again when their grace time is over, soonest first.
    looks: VecDeque<Look>,
    counted: HashSet<Subject, Key>,
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
    seen: Seen,
}

/// When and where something was seen.
#[derive(Clone, Copy)]
struct Seen {
    /// The engine's time.
    now: Timestamp,
    /// The frame's own.
    at: Timestamp,
    /// The frame's number.
    packet: u64,
    /// It came in a tunnel, where anybody can invent both sides of a conversation: it proves nothing, and excuses nothing.
    is_tunnelled: bool,
}

impl Engine {
    /// An engine that has seen nothing. `secret` keys its hashes: hosts that share it share proofs, senders must not know it.
    pub fn new(policy: Policy, secret: [u8; 16]) -> Self {
        Self::with_filter(policy, secret, FilterSize::default())
    }

    /// An engine whose proof filter has this size.
    pub fn with_filter(policy: Policy, secret: [u8; 16], size: FilterSize) -> Self {
        let key = Key::new(secret);
        Self {
            key,
            timeline: Timeline::default(),
            fragments: Fragments::new(key),
            streams: streams(&policy, key),
            transactions: Transactions::new(key),
            proofs: NonceEcho::new(size, key),
            bad_registrations: BadRegistrations::new(&policy, key),
            user_agents: UserAgents::new(policy.blocked_user_agents.clone()),
            agents: Agents::new(key),
            sources: Sources::new(key),
            protected: Protected::new(key),
            accounts: Accounts::new(),
            prefix_walk: PrefixWalk::new(key),
            harvests: Harvests::new(key),
            dns: DnsFlood::new(key),
            one_way: OneWay::new(key),
            leaks: Leaks::new(key),
            visibility: Visibility::new(key),
            reports: Reports::new(key),
            doors: Doors::new(key),
            looks: VecDeque::new(),
            counted: HashSet::with_hasher(key),
            statistics: Statistics::default(),
            setting: Setting::new(policy),
        }
    }

    /// Goes by another policy from now on; what was counted stays counted.
    pub fn set_policy(&mut self, policy: Policy) {
        self.bad_registrations.set_policy(&policy);
        self.user_agents.set_blocked(policy.blocked_user_agents.clone());
        self.streams.set_websocket_ports(policy.websocket_ports.clone());
        self.setting = Setting::new(policy);
    }

    /// Takes a frame in and appends what it shows.
    pub fn frame(&mut self, frame: &Frame<'_>, findings: &mut Vec<Finding>) {
        let now = self.timeline.advance(frame.at);
        self.statistics.packets += 1;
        self.look_again(now, findings);
        let (packet, tunnel) = packet::decode(frame);
        let seen = Seen { now, at: frame.at, packet: frame.number, is_tunnelled: tunnel.is_some() };
        self.packet(packet, seen, findings);
    }

    /// Says whether blocks are carried out by the kernel. From then on packets of blocked sources are passed over; they are counted, and
    /// told of while they go on.
    pub fn enforce(&mut self, is_enforced: bool) {
        self.doors.enforce(is_enforced);
    }

    /// The kernel drops all packets of a source until then, by the clock that shows `at` now.
    pub fn shut(&mut self, source: IpAddr, at: Timestamp, until: Timestamp) {
        let now = self.timeline.at(at);
        self.doors.shut(source.to_canonical(), now, now.after(until.since(at)));
    }

    /// The kernel lets a source through again.
    pub fn open(&mut self, source: IpAddr) {
        self.doors.open(source.to_canonical());
    }

    /// Forgets blocked sources that the kernel does not hold.
    pub fn retain(&mut self, is_held: impl Fn(IpAddr) -> bool) {
        self.doors.retain(is_held);
    }

    /// What the kernel drops is not known any more: everybody is looked at.
    pub fn open_all(&mut self) {
        self.doors.open_all();
    }

    /// Appends what has become due without a new frame, when the frames' clock says `at`.
    pub fn idle(&mut self, at: Timestamp, findings: &mut Vec<Finding>) {
        let now = self.timeline.at(at);
        self.look_again(now, findings);
    }

    /// Appends what a recording leaves open at its end: nobody knows what its sources would have done next. Challenges that had no time to be
    /// answered are nobody's fault; who asked several protected addresses and did nothing more is judged as if nothing had followed.
    pub fn end(&mut self, findings: &mut Vec<Finding>) {
        let now = self.timeline.now();
        while let Some(look) = self.looks.pop_front() {
            self.take_last_look(look, now, findings);
        }
    }

    /// What was added to each source's strikes since the last call; at most
    /// [`StrikesCounted::MAX_DELTAS`](log_format::event::StrikesCounted::MAX_DELTAS).
    pub fn drain_strikes(&mut self, now: Timestamp) -> Vec<StrikeDelta> {
        let mut deltas = self.bad_registrations.drain(self.timeline.at(now));
        // Where a strike has no consequence here, it must have none elsewhere.
        deltas.retain(|delta| !self.is_excused(delta.source));
        deltas
    }

    /// What was seen so far.
    pub fn statistics(&self) -> Statistics {
        let evicted = self.transactions.evicted()
            + self.bad_registrations.evicted()
            + self.bad_registrations.unreported()
            + self.proofs.lost()
            + self.fragments.lost()
            + self.streams.lost()
            + self.sources.lost()
            + self.protected.lost()
            + self.accounts.lost()
            + self.prefix_walk.lost()
            + self.harvests.lost()
            + self.dns.lost()
            + self.one_way.lost();
        Statistics {
            sources: self.counted.len() as u64,
            unanswered: self.transactions.unanswered(),
            suppressed: self.reports.suppressed(),
            passed_over: self.doors.passed(),
            evicted,
            ..self.statistics
        }
    }

    /// Sources that have strikes at this time.
    pub fn striking_sources(&self) -> usize {
        self.bad_registrations.sources()
    }

    /// A packet as a frame carries it, or as the last of its pieces makes it whole: what was put together is no piece itself.
    fn packet(&mut self, packet: Packet<'_>, seen: Seen, findings: &mut Vec<Finding>) {
        if !seen.is_tunnelled
            && let Some(source) = packet.source()
        {
            match self.doors.look(source, seen.now) {
                FirstLook::Unknown => {}
                FirstLook::Blocked => return,
                FirstLook::Hammers(verdict) => {
                    self.statistics.attacks += 1;
                    let verdict = Verdict { packet: seen.packet, at: seen.at, ..*verdict };
                    return findings.push(Finding::Attack(verdict));
                }
            }
        }
        match packet {
            Packet::Udp(datagram) => self.datagram(&datagram, seen, findings),
            Packet::Tcp(segment) => self.segment(&segment, seen, findings),
            Packet::Fragment(fragment) => {
                self.statistics.fragments += 1;
                if let Some(whole) = self.fragments.add(&fragment, seen.now) {
                    self.statistics.reassembled += 1;
                    let (packet, tunnel) = packet::decode_whole(&whole);
                    let is_tunnelled = seen.is_tunnelled || tunnel.is_some();
                    self.packet(packet, Seen { is_tunnelled, ..seen }, findings);
                }
            }
            Packet::Unreadable => self.statistics.unreadable += 1,
            Packet::OtherIp | Packet::NotIp => {}
        }
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, seen: Seen, findings: &mut Vec<Finding>) {
        let ports = &self.setting.sip;
        if ports.has(datagram.destination_port) || ports.has(datagram.source_port) {
            self.statistics.datagrams += 1;
            return self.message(datagram, Origin::Datagram, seen, findings);
        }
        match (datagram.source_port, datagram.destination_port) {
            (DNS, _) | (_, DNS) => self.dns(datagram, seen, findings),
            _ => self.tftp(datagram, seen, findings),
        }
    }

    fn segment(&mut self, segment: &Segment<'_>, seen: Seen, findings: &mut Vec<Finding>) {
        let Segment { source, source_port, destination, destination_port, .. } = *segment;
        let ports = &self.setting.watched_tcp;
        if !ports.has(destination_port) && !ports.has(source_port) {
            return;
        }
        self.statistics.tcp_segments += 1;
        self.streams.add(segment);
        while let Some(item) = self.streams.next_item(&segment.direction()) {
            match item {
                StreamItem::Message { bytes, is_proven, transport: _ } => {
                    let payload = &bytes;
                    let datagram = Datagram { source, source_port, destination, destination_port, payload };
                    self.message(&datagram, Origin::Connection { is_proven }, seen, findings);
                }
                StreamItem::NotSip { line, is_proven } => {
                    let client = (segment.path(), source_port);
                    self.not_sip(client, (&line, is_proven), seen, findings);
                }
                StreamItem::TlsClientHello { is_proven } if !self.setting.tls.has(destination_port) => {
                    let client = (segment.path(), source_port);
                    self.not_sip(client, (b"(TLS)", is_proven), seen, findings);
                }
                StreamItem::TlsClientHello { .. } => {}
                StreamItem::UpgradeRefused { status: _, is_proven } => {
                    let client = (segment.path_back(), destination_port);
                    self.not_sip(client, (b"(refused as WebSocket)", is_proven), seen, findings);
                }
                StreamItem::TlsEnded(ended) => self.tls_ended(&ended, seen, findings),
            }
        }
    }

    /// A telephone system's report of its own traffic, received at `at` by the host's own clock: what is said over TLS is seen in no other
    /// way. Whoever may report may accuse anybody, so a listener takes reports from its own systems only.
    pub fn hep(&mut self, report: &Report<'_>, at: Timestamp, findings: &mut Vec<Finding>) {
        let now = self.timeline.advance(at);
        self.statistics.packets += 1;
        self.look_again(now, findings);
        let datagram = Datagram {
            source: report.source.to_canonical(),
            source_port: report.source_port,
            destination: report.destination.to_canonical(),
            destination_port: report.destination_port,
            payload: report.payload,
        };
        let is_proven = report.transport.is_connection();
        let seen = Seen { now, at, packet: self.statistics.packets, is_tunnelled: false };
        self.message(&datagram, Origin::Report { is_proven }, seen, findings);
    }

    fn message(&mut self, datagram: &Datagram<'_>, origin: Origin, seen: Seen, findings: &mut Vec<Finding>) {
        let is_short = datagram.payload.len() < SHORTEST;
        let count = match sip::shape(datagram.payload) {
            Shape::Keepalive => return self.statistics.keepalives += 1,
            Shape::Stun => return self.statistics.not_sip += 1,
            Shape::Other if is_short => return self.statistics.not_sip += 1,
            Shape::Other => &mut self.statistics.not_sip,
            Shape::Text if is_provisional(datagram.payload) => return self.statistics.sip_messages += 1,
            // A message is large: it is lent from where it is read.
            Shape::Text => match &sip::parse(datagram.payload) {
                Ok(message) => {
                    self.statistics.sip_messages += 1;
                    if is_fatal(message) {
                        self.malformed(datagram, origin, seen, findings);
                    }
                    return self.said((message, datagram), origin, seen, findings);
                }
                Err(error) => match error.kind {
                    ErrorKind::Empty => return self.statistics.keepalives += 1,
                    ErrorKind::NotSip if is_short => return self.statistics.not_sip += 1,
                    ErrorKind::NotSip => &mut self.statistics.not_sip,
                    ErrorKind::Method | ErrorKind::StatusCode => &mut self.statistics.malformed,
                },
            },
        };
        *count += 1;
        self.malformed(datagram, origin, seen, findings);
    }

    /// A message counts if a victim's SIP port is on the side where its kind wants it: requests go there, answers come from there.
    fn said(
        &mut self,
        (message, datagram): (&Message<'_>, &Datagram<'_>),
        origin: Origin,
        seen: Seen,
        findings: &mut Vec<Finding>,
    ) {
        let ports = self.setting.ports(origin);
        let is_to_sip = ports.has(datagram.destination_port);
        let is_from_sip = ports.has(datagram.source_port);
        let is_proven = origin.is_proven();
        let sighting = |path, source_port| Sighting { message, path, source_port, is_proven, seen };
        match message.start {
            StartLine::Request { method, .. } => {
                let sighting = sighting(datagram.path(), datagram.source_port);
                if is_from_sip && method == b"BYE" {
                    self.note_bye(&sighting);
                }
                if is_to_sip {
                    self.request(&sighting, kind_of(method), findings);
                }
            }
            StartLine::Response { status, .. } => {
                if is_to_sip && matches!(status, 401 | 407) {
                    self.challenge_of_victim(&sighting(datagram.path(), datagram.source_port), findings);
                }
                if is_from_sip && status >= 200 {
                    let sighting = sighting(datagram.path_back(), datagram.destination_port);
                    self.answer(&sighting, status, findings);
                }
            }
        }
    }

    /// A request that cannot be read, or another protocol.
    #[cold]
    fn malformed(
        &mut self,
        datagram: &Datagram<'_>,
        origin: Origin,
        seen: Seen,
        findings: &mut Vec<Finding>,
    ) {
        let path = datagram.path();
        if !self.setting.ports(origin).has(path.victim_port) || self.is_exempt(path) {
            return;
        }
        let limits = &self.setting.policy.limits;
        let (count, limit) = match origin {
            Origin::Datagram => (Count::Malformed, limits.malformed),
            Origin::Connection { .. } | Origin::Report { .. } => (Count::MalformedTcp, limits.malformed_tcp),
        };
        let charge = |count| Charge::new(Rule::Malformed, AttackKind::Other, origin.is_proven(), count);
        self.offend((path, datagram.source_port), (count, limit, seen), charge, findings);
    }

    /// Something else than SIP said over a connection to a SIP port.
    #[cold]
    fn not_sip(
        &mut self,
        (path, port): (Path, u16),
        (line, is_proven): (&[u8], bool),
        seen: Seen,
        findings: &mut Vec<Finding>,
    ) {
        self.statistics.not_sip += 1;
        if self.is_exempt(path) {
            return;
        }
        let limit = self.setting.policy.limits.not_sip;
        let charge = |count| Charge {
            line: Text::new(line),
            ..Charge::new(Rule::NotSip, AttackKind::Other, is_proven, count)
        };
        self.offend((path, port), (Count::NotSip, limit, seen), charge, findings);
    }

    /// A TLS session is over; one in which nothing was said is a probe.
    fn tls_ended(&mut self, ended: &TlsEnded, seen: Seen, findings: &mut Vec<Finding>) {
        let TlsEnded { client: (source, port), server: (victim, victim_port), is_proven, .. } = *ended;
        let path = Path { source, victim, victim_port };
        let is_use = ended.has_data && !ended.has_failed;
        if is_use && let Some(source) = self.sources.enter(source, seen.now).filter(|_| is_proven) {
            source.uses_tls = true;
        }
        let uses_tls = self.sources.get(source).is_some_and(|source| source.uses_tls);
        if is_use || uses_tls || self.is_exempt(path) || self.belongs_here(path, seen) {
            return;
        }
        let limit = self.setting.policy.limits.tls_sessions;
        let charge = |count| Charge::new(Rule::TlsSessions, AttackKind::Other, is_proven, count);
        self.offend((path, port), (Count::TlsSessions, limit, seen), charge, findings);
    }

    /// Counts an offence of a source, and brings the charge if it is one too many.
    fn offend(
        &mut self,
        (path, port): (Path, u16),
        (count, limit, seen): (Count, Limit, Seen),
        charge: impl FnOnce(u32) -> Charge,
        findings: &mut Vec<Finding>,
    ) {
        let source = self.sources.enter(path.source, seen.now);
        if let Some(count) = source.and_then(|source| source.offend(count, 1, limit, seen.now)) {
            self.charge((path, port), charge(count), seen, findings);
        }
    }

    fn dns(&mut self, datagram: &Datagram<'_>, seen: Seen, findings: &mut Vec<Finding>) {
        let is_answer = datagram.source_port == DNS;
        let (path, port) = if is_answer {
            (datagram.path_back(), datagram.destination_port)
        } else {
            (datagram.path(), datagram.source_port)
        };
        if !self.setting.policy.is_on(Rule::Dns) || self.is_exempt(path) {
            return;
        }
        if self.dns.seen((path.source, is_answer), datagram.payload, &self.setting.policy.limits, seen.now) {
            let charge = Charge::new(Rule::Dns, AttackKind::Dns, false, self.setting.policy.limits.dns.burst);
            self.charge((path, port), charge, seen, findings);
        }
    }

    fn note_bye(&mut self, sighting: &Sighting<'_, '_>) {
        let Sighting { message, path, seen, .. } = *sighting;
        if let Some(branch) = message.branch() {
            self.leaks.sent(path.source, path.victim, branch, seen.now);
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
        is_local || is_group || self.setting.is_never(source)
    }

    fn count_source(&mut self, source: IpAddr) {
        let known = self.sources.get(source);
        let was_counted = known.is_some_and(|known| std::mem::replace(&mut known.is_counted, true));
        if !was_counted && self.counted.len() < SOURCES_COUNTED {
            self.counted.insert(Subject::of(source));
        }
    }
}

fn streams(policy: &Policy, key: Key) -> Streams {
    let mut streams = Streams::new(key);
    streams.set_websocket_ports(policy.websocket_ports.clone());
    streams
}

/// Whether a message is so wrong that no honest stack wrote it (RFC 3261, 8.1.1). What RFC 4475 calls valid is not, nor is what was cut off
/// on its way.
fn is_fatal(message: &Message<'_>) -> bool {
    let StartLine::Request { method, .. } = message.start else { return false };
    let defects = message.defects;
    if defects.has(Defect::Unfinished) || defects.has(Defect::TooLong) {
        return false;
    }
    let is_mismatched = || message.cseq().is_some_and(|cseq| cseq.method != method);
    defects.has(Defect::MissingHeader) || defects.has(Defect::ContentLength) || is_mismatched()
}

/// Whether this is a provisional answer, written as usual: it says nothing of anybody (RFC 3261, 7.2).
fn is_provisional(payload: &[u8]) -> bool {
    payload
        .strip_prefix(b"SIP/2.0 1")
        .is_some_and(|rest| matches!(rest, [b'0'..=b'9', b'0'..=b'9', b' ', ..]))
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
