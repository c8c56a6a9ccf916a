//! Answers: what the victim holds of a request.

use log_format::event::{AttackKind, NoteKind, Rule};
use sip::Message;

use super::charge::Charge;
use super::request::is_within_rate;
use super::{Engine, Sighting, kind_of};
use crate::detect::agents::AgentId;
use crate::detect::one_way::Inferred;
use crate::detect::prefix_walk::is_far;
use crate::detect::sources::Count;
use crate::detect::{Answer, Attempt, CredentialState, Judgement, Strength, Subject, judge};
use crate::keyed::Purpose;
use crate::observation::Finding;

/// Challenges of one answer: one for each algorithm, and no more are kept by the parser.
const MAX_CHALLENGES: usize = 4;
/// Points of a call to a far number that is refused.
pub(super) const FAR_CALL: u16 = 2;
/// The answer to a request of a call that is none (RFC 3261, 21.4.19).
const NO_SUCH_CALL: u16 = 481;
/// Points that an answered call takes back.
const ANSWERED_CALL: u16 = 2 * FAR_CALL;

/// What is wanted of the challenges of an answer, each read once.
#[derive(Default)]
struct Challenges<'a> {
    /// Of the first.
    realm: Option<&'a [u8]>,
    is_stale: bool,
    /// Of each, as far as it has one.
    nonces: [&'a [u8]; MAX_CHALLENGES],
}

impl<'a> Challenges<'a> {
    fn of(message: &Message<'a>) -> Self {
        let mut all = Self::default();
        for (challenge, nonce) in message.all_challenges().zip(0..MAX_CHALLENGES) {
            all.realm = all.realm.or(Some(challenge.realm));
            all.is_stale |= challenge.stale;
            if let Some(place) = all.nonces.get_mut(nonce) {
                *place = challenge.nonce;
            }
        }
        all
    }
}

impl Engine {
    /// A final answer of a victim.
    pub(super) fn answer(&mut self, sighting: &Sighting<'_, '_>, status: u16, findings: &mut Vec<Finding>) {
        let Sighting { message, path, seen, .. } = *sighting;
        self.visibility.answered(path.victim, seen.now);
        let method = message.cseq().map_or(&[][..], |cseq| cseq.method);
        let kind = kind_of(method);
        if kind == AttackKind::Invite
            && !seen.is_tunnelled
            && let Some(tag) = message.to().and_then(|to| to.tag())
        {
            self.proofs.sent_tag(path.source, path.victim, tag, seen.now);
        }
        let is_challenge = matches!(status, 401 | 407);
        let challenges = if is_challenge { Challenges::of(message) } else { Challenges::default() };
        // Registrars have one realm; proxies on the way of a call have their own.
        let realm = challenges.realm.filter(|_| kind != AttackKind::Register);
        let realm = realm.map_or(0, |realm| self.realm(realm));
        let answer = Answer { status, is_stale: challenges.is_stale, realm };
        match self.transactions.answered(path, message, status, seen.now) {
            Some(attempt) => {
                if attempt.kind == AttackKind::Register {
                    self.visibility.registers(path.victim);
                }
                self.judged(sighting, &attempt, judge(&attempt, answer), findings);
            }
            None if !self.is_exempt(path) => self.answer_to_question(sighting, kind, answer, findings),
            None => {}
        }
        // After the judgement: the nonce that comes with a rejection was not known when the request was sent.
        let is_usable = |nonce: &&&[u8]| !nonce.is_empty() && !seen.is_tunnelled;
        for nonce in challenges.nonces.iter().filter(is_usable) {
            self.proofs.sent(path.source, path.victim, nonce, seen.now);
        }
    }

    fn judged(
        &mut self,
        sighting: &Sighting<'_, '_>,
        attempt: &Attempt,
        judgement: Judgement,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { path, seen, .. } = *sighting;
        match judgement {
            Judgement::Neutral => {}
            Judgement::Success if seen.is_tunnelled => {}
            Judgement::Success => {
                let had_failed = self.bad_registrations.success(path.source, attempt.account, seen.now);
                let is_news = self.protected.succeeded(path.source, path.victim, attempt.account, seen.now);
                if is_news || had_failed {
                    self.accounts.succeeded(attempt.account, Subject::of(path.source), seen.now);
                }
                let victim = self.sources.victim_hash(path.victim);
                self.sources.succeed(path.source, victim);
            }
            Judgement::Strike(strength) => {
                self.statistics.strikes += 1;
                let sighting = Sighting { is_proven: attempt.is_proven, ..*sighting };
                self.strike(&sighting, attempt, strength, findings);
            }
        }
    }

    /// An answer to a request without credentials, or to one that was not seen.
    fn answer_to_question(
        &mut self,
        sighting: &Sighting<'_, '_>,
        kind: AttackKind,
        answer: Answer,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { message, path, seen, .. } = *sighting;
        if kind == AttackKind::Register && !self.visibility.seen(path.victim, seen.now).requests {
            return self.unasked(sighting, answer, findings);
        }
        if answer.status == NO_SUCH_CALL {
            return self.strayed(sighting, kind, findings);
        }
        let asked = message.to().map(|to| to.user()).unwrap_or_default();
        let user = self.sources.user_hash(asked);
        let limits = &self.setting.policy.limits;
        // Phones ask for themselves.
        let is_own = || message.from().is_some_and(|from| from.user() == asked);
        let Some(source) = self.sources.get(path.source) else { return };
        match (answer.status, kind) {
            (401 | 407, AttackKind::Register | AttackKind::Invite | AttackKind::Other) => {
                source.challenged(user, seen.now);
            }
            (403 | 404 | 604, AttackKind::Register)
            | (403 | 404 | 484 | 604, AttackKind::Invite | AttackKind::Options)
                if kind != AttackKind::Options || !is_own() =>
            {
                source.refused((user, sighting.source_port), sighting.is_proven, limits, seen.now);
                self.statistics.enumerations += 1;
            }
            (_, AttackKind::Options) => source.told((user, sighting.source_port), limits, seen.now),
            (200..=299, AttackKind::Register | AttackKind::Invite) => {
                if kind == AttackKind::Invite {
                    // Whose calls are mostly answered is a trunk; some of its numbers are always wrong.
                    source.forgive(ANSWERED_CALL);
                }
                let victim = self.sources.victim_hash(path.victim);
                self.sources.succeed(path.source, victim);
                if kind == AttackKind::Invite {
                    self.called_far(sighting, asked, answer.status, findings);
                }
                return;
            }
            _ => return,
        }
        let is_worth_judging = source.is_worth_judging(limits);
        if kind == AttackKind::Invite {
            self.called_far(sighting, asked, answer.status, findings);
        }
        if is_worth_judging {
            self.judge_questions(sighting, kind, findings);
        }
    }

    /// A request within a call of which the victim knows nothing: a few come late, and more are a flood of made-up calls.
    fn strayed(&mut self, sighting: &Sighting<'_, '_>, kind: AttackKind, findings: &mut Vec<Finding>) {
        let Sighting { path, is_proven, seen, .. } = *sighting;
        let limits = &self.setting.policy.limits;
        let source = self.sources.enter(path.source, seen.now);
        if source.is_some_and(|source| !is_within_rate(source, (limits, &self.protected), path, seen.now)) {
            let charge = Charge::new(Rule::RequestRate, kind, is_proven, limits.requests.burst);
            self.charge_message(sighting, charge, findings);
        }
    }

    /// What a call to a number outside amounts to, by somebody who did not say who he is.
    fn called_far(
        &mut self,
        sighting: &Sighting<'_, '_>,
        user: &[u8],
        status: u16,
        findings: &mut Vec<Finding>,
    ) {
        let Sighting { path, seen, .. } = *sighting;
        let is_refused = matches!(status, 401 | 403 | 404 | 407 | 484);
        if is_refused {
            self.walked(sighting, user, findings);
        }
        if !is_far(user) || self.belongs_here(path, seen) {
            return;
        }
        if !is_refused {
            let charge = Charge::new(Rule::TollFraud, AttackKind::Invite, false, 1).quoting(sighting);
            let about = (NoteKind::CallFromUnknown, 0);
            return self.note((path, sighting.source_port), about, (&charge, seen), findings);
        }
        let limit = self.setting.policy.limits.points;
        let source = self.sources.enter(path.source, seen.now);
        let count = source.and_then(|source| source.offend(Count::Points, FAR_CALL, limit, seen.now));
        if let Some(count) = count {
            let charge = Charge::new(Rule::TollFraud, AttackKind::Invite, sighting.is_proven, count);
            self.charge_message(sighting, charge, findings);
        }
    }

    /// An answer to a registration, where requests are not seen. The source is whom the answer goes to: anybody may have asked for it.
    fn unasked(&mut self, sighting: &Sighting<'_, '_>, answer: Answer, findings: &mut Vec<Finding>) {
        let Sighting { message, path, seen, .. } = *sighting;
        let call = self.key.hash(Purpose::Transaction).bytes(message.call_id().unwrap_or_default()).finish();
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        let told = (cseq, answer.status, answer.is_stale);
        let inferred = self.one_way.answered(path.source, call, told, seen.now);
        let attempt = self.attempt_unseen(message, sighting);
        match inferred {
            Inferred::Nothing => {}
            Inferred::Accepted => self.judged(sighting, &attempt, Judgement::Success, findings),
            Inferred::Rejected => {
                self.judged(sighting, &attempt, Judgement::Strike(Strength::Unproven), findings);
            }
        }
    }

    /// What can be said of a request by its answer.
    fn attempt_unseen(&self, message: &Message<'_>, sighting: &Sighting<'_, '_>) -> Attempt {
        Attempt {
            kind: AttackKind::Register,
            credentials: CredentialState::Unknown,
            realm: 0,
            account: self.account_of_answer(message, sighting.path),
            nonce: 0,
            fingerprint: 0,
            source_port: sighting.source_port,
            is_proven: sighting.is_proven,
            agent: AgentId::default(),
        }
    }

    fn account_of_answer(&self, message: &Message<'_>, path: crate::transaction::Path) -> u64 {
        let address = message.to().map(|to| to.parts());
        self.key
            .hash(Purpose::Account)
            .address(path.victim)
            .bytes(address.map_or(&[], |address| address.user))
            .lower_case(address.map_or(&[], |address| address.host))
            .finish()
    }

    /// A peer challenges a request of the victim's: perhaps to be shown its password's hash.
    pub(super) fn challenge_of_victim(&mut self, sighting: &Sighting<'_, '_>, findings: &mut Vec<Finding>) {
        let Sighting { message, path, seen, .. } = *sighting;
        let is_bye = message.cseq().is_some_and(|cseq| cseq.method == b"BYE");
        let branch = message.branch().unwrap_or_default();
        if !is_bye || self.is_exempt(path) || self.protected.has(path.victim, path.source, seen.now) {
            return;
        }
        if !seen.is_tunnelled && self.leaks.is_leak(path.victim, path.source, branch, seen.now) {
            // The challenge echoes the branch of a request that only the source's address was sent.
            let charge = Charge::new(Rule::DigestLeak, AttackKind::Other, true, 1);
            self.charge_message(sighting, charge, findings);
        }
    }
}
