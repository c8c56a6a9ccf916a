//! Requests: what they say of their sender before anybody answers.

use log_format::event::{AttackKind, NoteKind, Rule};
use log_format::time::Timestamp;
use sip::{Message, NameAddr, StartLine, Uri};

use super::answer::FAR_CALL;
use super::charge::Charge;
use super::{Engine, Seen, Sighting};
use crate::detect::bad_registrations::Standing;
use crate::detect::deltas::Struck;
use crate::detect::harvest::Harvest;
use crate::detect::prefix_walk::is_far;
use crate::detect::protected::Protected;
use crate::detect::sources::{Count, Question, Source};
use crate::detect::user_agents::Claim;
use crate::detect::{Attempt, CredentialState, Strength, Subject, fingerprints, injection};
use crate::keyed::Purpose;
use crate::observation::Finding;
use crate::packet::Datagram;
use crate::policy::{Limits, TFTP};
use crate::transaction::Path;

/// Points of an injection; a call to a far number that is refused has [`super::answer::FAR_CALL`].
const INJECTION: u16 = 3;

impl Engine {
    pub(super) fn request(
        &mut self,
        sighting: &Sighting<'_, '_>,
        kind: AttackKind,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { message, path, seen, .. } = *sighting;
        if self.is_exempt(path) {
            self.statistics.exempt += 1;
            self.note_forged(sighting, kind, findings);
            return;
        }
        self.count_source(path.source);
        if self.visibility.asked(path.victim, seen.now) {
            let charge = Charge::new(Rule::Volume, kind, false, 0);
            let about = (NoteKind::VictimSilent, 0);
            self.note((path, sighting.source_port), about, (&charge, seen), findings);
        }
        let parties = Parties::of(message);
        let attempt = message.has_credentials().then(|| self.attempt(sighting, &parties, kind));
        let is_echo = attempt.is_some_and(|attempt| attempt.credentials == CredentialState::Echoed);
        let is_proven = sighting.is_proven || is_echo;
        self.marks(&Sighting { is_proven, ..*sighting }, &parties, kind, findings);
        // Whoever makes up credentials for something else than a registration has asked without any.
        let attempt = attempt.filter(|attempt| {
            let is_made_up = kind != AttackKind::Register && attempt.credentials == CredentialState::Unknown;
            !is_made_up || !self.visibility.seen(path.victim, seen.now).answers
        });
        match (attempt, parties.tag) {
            (Some(attempt), _) => self.credentials(sighting, &parties, attempt, findings),
            (None, None) => self.question(sighting, &parties, kind, findings),
            (None, Some(tag)) => self.within_call(sighting, &parties, tag, findings),
        }
    }

    /// What a single message shows: a name, a form, an address or a language that honest equipment does not have.
    fn marks(
        &mut self,
        sighting: &Sighting<'_, '_>,
        parties: &Parties<'_>,
        kind: AttackKind,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { message, path, is_proven, seen, .. } = *sighting;
        match self.user_agents.find(message.user_agents.iter()) {
            Some(Claim::Blocked(agent)) => {
                let charge = Charge::new(Rule::BlockedUserAgent, kind, is_proven, 1);
                self.charge_quoting(sighting, (charge, Some(agent)), findings);
            }
            None if !fingerprints::is_tool(parties.sender_tag, message) => {}
            Some(Claim::Known(_)) | None => {
                let charge = Charge::new(Rule::ToolFingerprint, kind, is_proven, 1);
                self.charge_message(sighting, charge, findings);
            }
        }
        let Parties { called, asked, sender, .. } = *parties;
        if self.setting.is_decoy(path.victim, if called.is_empty() { asked } else { called }) {
            if let Some(source) = self.sources.enter(path.source, seen.now) {
                source.is_decoyed = true;
            }
            self.charge_message(sighting, Charge::new(Rule::Decoy, kind, is_proven, 1), findings);
        }
        if [called, asked, sender].into_iter().any(injection::is_injection) {
            let limit = self.setting.policy.limits.points;
            let source = self.sources.enter(path.source, seen.now);
            let count = source.and_then(|source| source.offend(Count::Points, INJECTION, limit, seen.now));
            if let Some(count) = count {
                self.charge_message(
                    sighting,
                    Charge::new(Rule::UriInjection, kind, is_proven, count),
                    findings,
                );
            }
        }
    }

    /// A request that opens something, without credentials.
    fn question(
        &mut self,
        sighting: &Sighting<'_, '_>,
        parties: &Parties<'_>,
        kind: AttackKind,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { message, path, seen, .. } = *sighting;
        if matches!(message.method(), Some(b"ACK" | b"CANCEL" | b"BYE" | b"PRACK" | b"UPDATE" | b"INFO")) {
            return;
        }
        let asked = parties.asked;
        let user = self.sources.user_hash(asked);
        let victim = self.sources.victim_hash(path.victim);
        let victim = (!self.visibility.is_down(path.victim, seen.now)).then_some(victim);
        let limits = &self.setting.policy.limits;
        let Some(source) = self.sources.enter(path.source, seen.now) else { return };
        if source.agent.is_none() {
            source.agent = self.agents.id(message.user_agents.first());
        }
        let is_within = is_within_rate(source, (limits, &self.protected), path, seen.now);
        let user = (!asked.is_empty()).then_some(user);
        let is_heard = self.visibility.was_heard(path.victim);
        source.ask(Question { user, victim, port: sighting.source_port, is_heard }, limits, seen.now);
        let wants_a_look = source.wants_a_look(limits);
        let is_worth_judging = source.is_worth_judging(limits);
        if !is_within {
            let charge = Charge::new(Rule::RequestRate, kind, sighting.is_proven, limits.requests.burst);
            self.charge_message(sighting, charge, findings);
        }
        if wants_a_look {
            self.look_later(sighting, kind);
        }
        if is_worth_judging {
            self.judge_questions(sighting, kind, findings);
        }
    }

    /// Brings the charges for what a source asked for in vain.
    #[cold]
    pub(super) fn judge_questions(
        &mut self,
        sighting: &Sighting<'_, '_>,
        kind: AttackKind,
        findings: &mut Vec<Finding>,
    ) {
        let tipped = self.questions_in_vain(sighting.path, sighting.seen.now);
        for (rule, count, was_heard) in tipped.into_iter().flatten() {
            let is_proven = was_heard || (sighting.is_proven && self.is_answered(rule, sighting.path));
            self.charge_message(sighting, Charge::new(rule, kind, is_proven, count), findings);
        }
    }

    /// Whether the victim answers, where that matters: of what nobody answered nobody knows whether it was in vain.
    pub(super) fn is_answered(&self, rule: Rule, path: Path) -> bool {
        rule != Rule::Enumeration || self.visibility.was_heard(path.victim)
    }

    /// A request with the victim's tag: within a call, or the ACK of a refusal. Who knows the tag has received it.
    fn within_call(
        &mut self,
        sighting: &Sighting<'_, '_>,
        parties: &Parties<'_>,
        tag: &[u8],
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { message, path, seen, .. } = *sighting;
        if message.method() != Some(b"ACK")
            || seen.is_tunnelled
            || !self.proofs.is_tag_echo(path.source, path.victim, tag, seen.now)
        {
            return;
        }
        let asked = parties.asked;
        let user = self.sources.user_hash(asked);
        if let Some(source) = self.sources.get(path.source) {
            source.received(user);
        }
        self.judge_questions(sighting, AttackKind::Invite, findings);
        self.walked(&Sighting { is_proven: true, ..*sighting }, asked, findings);
    }

    /// A call that was refused, or whose refusal was received.
    pub(super) fn walked(&mut self, sighting: &Sighting<'_, '_>, user: &[u8], findings: &mut Vec<Finding>) {
        let Sighting { path, seen, is_proven, .. } = *sighting;
        let limit = self.setting.policy.limits.prefixes;
        if self.protected.has(path.source, path.victim, seen.now) {
            return;
        }
        if let Some(walked) = self.prefix_walk.called(path.source, (user, is_proven), limit, seen.now) {
            let charge = Charge::new(Rule::PrefixWalk, AttackKind::Invite, walked.is_proven, walked.prefixes);
            self.charge_message(sighting, charge, findings);
        }
    }

    /// A request with credentials: the answer will tell.
    fn credentials(
        &mut self,
        sighting: &Sighting<'_, '_>,
        parties: &Parties<'_>,
        attempt: Attempt,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { message, path, seen, .. } = *sighting;
        let user = self.sources.user_hash(parties.asked);
        let victim = self.sources.victim_hash(path.victim);
        let is_heard = self.visibility.seen(path.victim, seen.now).answers;
        if let Some(source) = self.sources.get(path.source) {
            // Made-up credentials are no business. Where no answer comes by here, nobody can tell them.
            let has_business = !is_heard || attempt.credentials != CredentialState::Unknown;
            source.answer_challenge(user, has_business.then_some(victim));
            if attempt.kind == AttackKind::Invite && is_far(parties.asked) {
                source.forgive(FAR_CALL);
            }
        }
        if is_heard && attempt.credentials == CredentialState::Unknown {
            let limits = &self.setting.policy.limits;
            let source = self.sources.enter(path.source, seen.now);
            let wants_a_look = source.is_some_and(|source| {
                source.approach(victim, limits, seen.now);
                source.wants_a_look(limits)
            });
            if wants_a_look {
                self.look_later(sighting, attempt.kind);
            }
        }
        let is_new = self.transactions.asked(path, message, attempt, seen.now);
        if is_new && attempt.kind == AttackKind::Register && !is_heard {
            self.unheard(sighting, &attempt, findings);
        }
    }

    /// Credentials for a victim whose answers are not seen.
    #[cold]
    fn unheard(&mut self, sighting: &Sighting<'_, '_>, attempt: &Attempt, findings: &mut Vec<Finding>) {
        let Sighting { path, seen, .. } = *sighting;
        if self.one_way.sent(path.source, attempt.account, attempt.nonce, seen.now) {
            self.statistics.strikes += 1;
            self.strike(sighting, attempt, Strength::Weak, findings);
        }
        // The first registration of each account within the window is what every phone does.
        let limit = self.setting.policy.limits.volume;
        if !self.one_way.is_repeated(path.source, attempt.account, limit.within, seen.now) {
            return;
        }
        let source = self.sources.enter(path.source, seen.now);
        let count = source.and_then(|source| source.offend(Count::Unanswered, 1, limit, seen.now));
        if let Some(count) = count {
            let charge = Charge::new(Rule::Volume, attempt.kind, sighting.is_proven, count);
            self.charge_message(sighting, charge, findings);
        }
    }

    /// Counts a rejected password.
    pub(super) fn strike(
        &mut self,
        sighting: &Sighting<'_, '_>,
        attempt: &Attempt,
        strength: Strength,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { path, seen, .. } = *sighting;
        let sources = self.setting.policy.limits.account_sources;
        let subject = Subject::of(path.source);
        let is_protected = self.protected.has(path.source, path.victim, seen.now);
        let place = (path, attempt.source_port);
        if strength == Strength::Proven && self.accounts.rejected(attempt.account, subject, sources, seen.now)
        {
            let charge = self.charge_of(attempt, Rule::AccountUnderAttack, sighting);
            let about = (NoteKind::AccountUnderAttack, attempt.account);
            self.note(place, about, (&charge, seen), findings);
        }
        let standing = Standing {
            is_protected,
            is_account_attacked: self.accounts.is_under_attack(attempt.account, sources, seen.now),
            is_account_in_use: self.accounts.is_in_use(attempt.account, seen.now),
        };
        let struck = Struck { source: path.source, account: attempt.account, strength };
        let policy = &self.setting.policy;
        let is_on = |rule| policy.is_on(rule);
        let outcome = self.bad_registrations.strike(struck, (attempt.source_port, standing), is_on, seen.now);
        if outcome.is_stale {
            let charge = self.charge_of(attempt, Rule::SlowGuessing, sighting);
            let about = (NoteKind::StaleCredential, attempt.account);
            self.note(place, about, (&charge, seen), findings);
        }
        if let Some(tipped) = outcome.tipped {
            let charge = self.charge_of(attempt, tipped.rule, sighting);
            let charge =
                Charge { evidence: tipped.evidence, count: tipped.count, scope: tipped.scope, ..charge };
            self.charge(place, charge, seen, findings);
        }
    }

    /// A charge for an attempt that was made earlier.
    fn charge_of(&self, attempt: &Attempt, rule: Rule, sighting: &Sighting<'_, '_>) -> Charge {
        Charge {
            agent: self.agents.name(attempt.agent),
            ..Charge::new(rule, attempt.kind, false, 1).quoting(sighting)
        }
    }

    fn attempt(&mut self, sighting: &Sighting<'_, '_>, parties: &Parties<'_>, kind: AttackKind) -> Attempt {
        let Sighting { message, path, source_port, is_proven, seen } = *sighting;
        let is_heard = self.visibility.seen(path.victim, seen.now).answers;
        let mut first = None;
        let mut state = CredentialState::Unknown;
        // A response differs with whatever it is made of (RFC 7616, 3.4.1), so it tells attempts apart.
        let mut fingerprint = self.key.hash(Purpose::Attempt);
        for credentials in message.all_credentials() {
            let nonce = credentials.nonce.unwrap_or_default();
            if !nonce.is_empty() && !seen.is_tunnelled {
                state = state.max(self.proofs.echo(path.source, path.victim, nonce, seen.now).into());
            }
            fingerprint = match credentials.response {
                Some(response) => fingerprint.bytes(response),
                None => fingerprint.bytes(nonce).bytes(credentials.username.unwrap_or_default()),
            };
            first = first.or(Some(credentials));
        }
        if first.is_none_or(|first| first.response.is_none()) {
            fingerprint = fingerprint
                .bytes(message.call_id().unwrap_or_default())
                .number(message.cseq().map_or(0, |cseq| cseq.number));
        }
        let credentials = first.unwrap_or_default();
        Attempt {
            kind,
            credentials: state,
            realm: if kind == AttackKind::Register {
                0
            } else {
                self.realm(credentials.realm.unwrap_or_default())
            },
            account: self.account(parties, path, credentials.username.unwrap_or_default()),
            nonce: if is_heard { 0 } else { self.realm(credentials.nonce.unwrap_or_default()) },
            fingerprint: fingerprint.finish(),
            source_port,
            is_proven,
            agent: self.agents.id(message.user_agents.first()),
        }
    }

    /// Whose password is tried, and where.
    fn account(&self, parties: &Parties<'_>, path: Path, username: &[u8]) -> u64 {
        let owner = parties.owner.map(|owner| owner.parts());
        self.key
            .hash(Purpose::Account)
            .address(path.victim)
            .bytes(owner.map_or(&[], |owner| owner.user))
            .lower_case(owner.map_or(&[], |owner| owner.host))
            .bytes(username)
            .finish()
    }

    pub(super) fn realm(&self, realm: &[u8]) -> u64 {
        self.key.hash(Purpose::Account).bytes(realm).finish()
    }

    /// A scanner's packet in the name of an address that is never blamed: somebody wants it blocked.
    #[cold]
    fn note_forged(&mut self, sighting: &Sighting<'_, '_>, kind: AttackKind, findings: &mut Vec<Finding>) {
        let Sighting { message, path, seen, .. } = *sighting;
        if !self.setting.is_never(path.source) || self.user_agents.find(message.user_agents.iter()).is_none()
        {
            return;
        }
        let charge = Charge::new(Rule::BlockedUserAgent, kind, sighting.is_proven, 1).quoting(sighting);
        let about = (NoteKind::SpoofSuspected, charge.rule as u64);
        self.note((path, sighting.source_port), about, (&charge, seen), findings);
    }

    /// A datagram to a TFTP server, or between the ports of a transfer.
    pub(super) fn tftp(&mut self, datagram: &Datagram<'_>, seen: Seen, findings: &mut Vec<Finding>) {
        if !self.setting.policy.is_on(Rule::Tftp) {
            return;
        }
        let limits = &self.setting.policy.limits;
        let Datagram { source_port, destination_port, payload, .. } = *datagram;
        let (path, back) = (datagram.path(), datagram.path_back());
        let (path, port, harvest) = if destination_port == TFTP {
            if self.is_exempt(path) {
                return;
            }
            (path, source_port, self.harvests.asked((path.source, source_port), payload, limits, seen.now))
        } else {
            // Blocks of files and errors have four bytes of header, acknowledgements nothing else.
            let [0, 3..=5, _, _, ..] = payload else { return };
            let (one, other) = ((path.source, source_port), (back.source, destination_port));
            let (from_client, to_client) = ((one, other), (other, one));
            let harvest = self
                .harvests
                .transferred(from_client, (true, payload), limits, seen.now)
                .or_else(|| self.harvests.transferred(to_client, (false, payload), limits, seen.now));
            (back, destination_port, harvest)
        };
        let charge = |is_proven, count| Charge::new(Rule::Tftp, AttackKind::Tftp, is_proven, count);
        match harvest {
            None => {}
            // An office whose phones all start at once is known by those that have registered.
            Some(Harvest::Proven { count }) if !self.protected.has(path.source, path.victim, seen.now) => {
                self.charge((path, port), charge(true, count), seen, findings);
            }
            Some(Harvest::TooMany | Harvest::Proven { .. }) => {
                self.charge((path, port), charge(false, limits.tftp.burst), seen, findings);
            }
            Some(Harvest::InVain { phones }) => {
                let about = (NoteKind::RuleObserved, Rule::Tftp as u64);
                self.note((path, port), about, (&charge(false, phones), seen), findings);
            }
        }
    }
}

/// Counts a request without credentials, or of a call that is none; false if there are too many.
pub(super) fn is_within_rate(
    source: &mut Source,
    (limits, protected): (&Limits, &Protected),
    path: Path,
    now: Timestamp,
) -> bool {
    let rates = (limits.requests, limits.protected_requests);
    source.may_ask(rates, || protected.has(path.source, path.victim, now), now)
}

/// Who is who in a request; read once.
#[derive(Clone, Copy)]
struct Parties<'a> {
    /// The user that the request is for.
    called: &'a [u8],
    /// The user in To.
    asked: &'a [u8],
    /// The victim's tag, within a call.
    tag: Option<&'a [u8]>,
    /// The user in From.
    sender: &'a [u8],
    sender_tag: &'a [u8],
    /// Whose password would be tried. A registration is about the address in To; any other request is sent by the one in From.
    owner: Option<NameAddr<'a>>,
}

impl<'a> Parties<'a> {
    fn of(message: &Message<'a>) -> Self {
        let (to, from) = (message.to(), message.from());
        let (called, is_registration) = match message.start {
            StartLine::Request { uri, method, .. } => (Uri::user_of(uri), method == b"REGISTER"),
            StartLine::Response { .. } => (&[][..], false),
        };
        Self {
            called,
            asked: to.map(|to| to.user()).unwrap_or_default(),
            tag: to.and_then(|to| to.tag()),
            sender: from.map(|from| from.user()).unwrap_or_default(),
            sender_tag: from.and_then(|from| from.tag()).unwrap_or_default(),
            owner: if is_registration { to } else { from },
        }
    }
}
