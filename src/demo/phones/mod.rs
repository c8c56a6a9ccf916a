//! Phones that register and stay: what a firewall must leave alone.
//!
//! ```text
//!          due                    401                      200
//! Waiting ─────> Asking (nonce or none) ─> Asking (nonce) ──────> Waiting (one interval)
//!    ^                │ 401 again, not stale; 403, 404; silence      │ a renewal tries the old nonce first
//!    └────────────────┴──────────────────────────────────────────────┘
//! ```
//! A phone answers OPTIONS and keeps its NAT's door open with blank lines. [`Phone`] decides and knows no clock and no
//! socket; [`office`] runs many.

pub mod office;

use std::net::SocketAddr;
use std::time::Duration;

use log_format::time::Timestamp;
use serde::{Deserialize, Serialize};
use sip::builder::{Request, Response};
use sip::{Challenge, Message, digest};

use super::dice::Dice;

/// First wait for an answer (RFC 3261, T1); it doubles with each repetition.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Transmissions of one request before the phone gives up until its next turn.
const TRANSMISSIONS: u32 = 4;
/// The agent of the phones: an honest name from no list of scanners.
const USER_AGENT: &str = "Yealink SIP-T46U 108.86.0.45";

/// One phone's settings.
#[derive(Debug, Clone)]
pub struct PhoneOptions {
    /// The account.
    pub account: String,
    /// Its password.
    pub password: String,
    /// The name after the `@`.
    pub domain: String,
    /// Where the phone can be reached; behind a NAT a private address stands here.
    pub contact: SocketAddr,
    /// Time from one registration to the next.
    pub interval: Duration,
    /// Time between blank lines, if any.
    pub keep_alive: Option<Duration>,
}

/// What a phone, or all of an office, did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PhoneFigures {
    /// Registrations that succeeded, renewals included.
    pub successes: u64,
    /// Registrations that were refused.
    pub refusals: u64,
    /// Registrations that got no answer at all.
    pub silences: u64,
    /// Challenges that were answered.
    pub challenges: u64,
    /// Of these, challenges that called the nonce stale.
    pub stale: u64,
    /// OPTIONS requests that were answered.
    pub options: u64,
    /// Blank lines sent.
    pub keep_alives: u64,
}

/// A phone.
#[derive(Debug)]
pub struct Phone {
    options: PhoneOptions,
    dice: Dice,
    call_id: String,
    cseq: u32,
    nonce: Option<Nonce>,
    state: State,
    next_keep_alive: Option<Timestamp>,
    registered: bool,
    figures: PhoneFigures,
}

/// A challenge that can be answered again, with a higher count.
#[derive(Debug)]
struct Nonce {
    realm: Vec<u8>,
    value: Vec<u8>,
    qop: Option<Vec<u8>>,
    used: u32,
}

#[derive(Debug)]
enum State {
    Waiting { until: Timestamp },
    Asking(Question),
}

#[derive(Debug)]
struct Question {
    datagram: Vec<u8>,
    branch: String,
    proof: Proof,
    sent: u32,
    again_at: Timestamp,
}

/// What a REGISTER carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// No credentials, or an old nonce's: a challenge is natural.
    None,
    /// Credentials for the challenge just received: another challenge is a refusal, unless it says stale.
    Fresh,
}

impl Phone {
    /// A phone whose first registration is due at `first`.
    pub fn new(options: PhoneOptions, mut dice: Dice, first: Timestamp) -> Self {
        Self {
            call_id: format!("{:08x}@{}", dice.roll_32(), options.contact.ip()),
            next_keep_alive: options.keep_alive.map(|every| first.after(every)),
            options,
            dice,
            cseq: 0,
            nonce: None,
            state: State::Waiting { until: first },
            registered: false,
            figures: PhoneFigures::default(),
        }
    }

    /// What it did.
    pub const fn figures(&self) -> PhoneFigures {
        self.figures
    }

    /// Whether its last registration succeeded.
    pub const fn is_registered(&self) -> bool {
        self.registered
    }

    /// When it wants to be polled.
    pub fn next_wake(&self) -> Timestamp {
        let turn = match &self.state {
            State::Waiting { until } => *until,
            State::Asking(question) => question.again_at,
        };
        self.next_keep_alive.map_or(turn, |at| at.min(turn))
    }

    /// Does what is due and gives the datagrams to send.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if let (Some(at), Some(every)) = (self.next_keep_alive, self.options.keep_alive)
            && at <= now
        {
            self.next_keep_alive = Some(now.after(every));
            self.figures.keep_alives += 1;
            out.push(b"\r\n\r\n".to_vec());
        }
        match &mut self.state {
            State::Waiting { until } if *until <= now => out.push(self.ask(Proof::None, now)),
            State::Asking(question) if question.again_at <= now && question.sent < TRANSMISSIONS => {
                question.again_at = now.after(FIRST_WAIT * 2_u32.saturating_pow(question.sent));
                question.sent += 1;
                out.push(question.datagram.clone());
            }
            State::Asking(question) if question.again_at <= now => {
                self.figures.silences += 1;
                self.nonce = None;
                self.rest(false, now);
            }
            State::Waiting { .. } | State::Asking(_) => {}
        }
        out
    }

    /// Takes a datagram and gives the one to send.
    pub fn receive(&mut self, datagram: &[u8], now: Timestamp) -> Option<Vec<u8>> {
        let message = sip::parse(datagram).ok()?;
        match message.method() {
            Some(b"OPTIONS") => {
                self.figures.options += 1;
                Some(Response::to(&message, 200, "OK").header("User-Agent", USER_AGENT).build())
            }
            Some(_) => Some(Response::to(&message, 405, "Method Not Allowed").build()),
            None => self.take_answer(&message, now),
        }
    }

    fn take_answer(&mut self, message: &Message<'_>, now: Timestamp) -> Option<Vec<u8>> {
        let State::Asking(question) = &self.state else {
            return None;
        };
        let proof = question.proof;
        if message.via()?.branch? != question.branch.as_bytes() {
            return None;
        }
        match (message.status()?, message.challenge()) {
            (100..=199, _) => None,
            (200..=299, _) => {
                self.figures.successes += 1;
                self.rest(true, now);
                None
            }
            (401 | 407, Some(challenge)) if proof == Proof::None || challenge.stale => {
                self.figures.challenges += 1;
                self.figures.stale += u64::from(challenge.stale);
                self.nonce = Some(Nonce::of(&challenge));
                Some(self.ask(Proof::Fresh, now))
            }
            _ => {
                self.figures.refusals += 1;
                self.nonce = None;
                self.rest(false, now);
                None
            }
        }
    }

    fn rest(&mut self, registered: bool, now: Timestamp) {
        self.registered = registered;
        self.state = State::Waiting { until: now.after(self.options.interval) };
    }

    fn ask(&mut self, proof: Proof, now: Timestamp) -> Vec<u8> {
        self.cseq += 1;
        let PhoneOptions { account, domain, contact, interval, .. } = &self.options;
        let branch = format!("z9hG4bK{:08x}", self.dice.roll_32());
        let uri = format!("sip:{domain}");
        let aor = format!("<sip:{account}@{domain}>");
        let mut request = Request::new("REGISTER", &uri)
            .header("Via", format!("SIP/2.0/UDP {contact};branch={branch};rport"))
            .header("From", format!("{aor};tag={:08x}", self.dice.roll_32()))
            .header("To", &aor)
            .header("Call-ID", &self.call_id)
            .header("CSeq", format!("{} REGISTER", self.cseq))
            .header("Contact", format!("<sip:{account}@{contact}>"))
            .header("Max-Forwards", "70")
            .header("User-Agent", USER_AGENT)
            // Twice the interval, so that one lost renewal costs nothing.
            .header("Expires", (interval.as_secs() * 2).max(60).to_string());
        if let Some(nonce) = &mut self.nonce {
            request = request.header("Authorization", nonce.answer(&self.options, &uri, &mut self.dice));
        }
        let datagram = request.build();
        let again_at = now.after(FIRST_WAIT);
        self.state = State::Asking(Question { datagram: datagram.clone(), branch, proof, sent: 1, again_at });
        datagram
    }
}

impl Nonce {
    fn of(challenge: &Challenge<'_>) -> Self {
        Self {
            realm: challenge.realm.to_vec(),
            value: challenge.nonce.to_vec(),
            qop: challenge.qop.map(<[u8]>::to_vec),
            used: 0,
        }
    }

    fn answer(&mut self, options: &PhoneOptions, uri: &str, dice: &mut Dice) -> String {
        self.used += 1;
        let challenge = Challenge {
            realm: &self.realm,
            nonce: &self.value,
            qop: self.qop.as_deref(),
            ..Challenge::default()
        };
        let answer = digest::Answer {
            username: &options.account,
            password: &options.password,
            method: "REGISTER",
            uri,
            nc: self.used,
            cnonce: &format!("{:08x}", dice.roll_32()),
        };
        digest::authorization(&challenge, &answer)
    }
}

impl PhoneFigures {
    /// Adds another's figures.
    pub(super) fn add(&mut self, other: Self) {
        let Self { successes, refusals, silences, challenges, stale, options, keep_alives } = other;
        self.successes += successes;
        self.refusals += refusals;
        self.silences += silences;
        self.challenges += challenges;
        self.stale += stale;
        self.options += options;
        self.keep_alives += keep_alives;
    }
}

#[cfg(test)]
mod tests {
    use super::super::registrar::core::{Arrival, Registrar};
    use super::super::registrar::{RegistrarOptions, numbered_accounts, password_of};
    use super::super::wire::text;
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_000);

    fn phone(password: &str) -> Phone {
        let options = PhoneOptions {
            account: "1001".to_owned(),
            password: password.to_owned(),
            domain: "pbx.example.net".to_owned(),
            contact: "192.0.2.50:40001".parse().unwrap(),
            interval: Duration::from_secs(60),
            keep_alive: None,
        };
        Phone::new(options, Dice::new(3), START)
    }

    fn registrar(nonce_lifetime: Duration) -> Registrar {
        let accounts = numbered_accounts(1001, 1);
        Registrar::new(RegistrarOptions { accounts, nonce_lifetime, ..Default::default() }, Dice::new(4))
    }

    /// Lets both talk until the phone has nothing to say, and gives the answers' first lines.
    fn talk(phone: &mut Phone, registrar: &mut Registrar, now: Timestamp) -> Vec<String> {
        let mut heard = Vec::new();
        let mut turn = phone.poll(now).pop();
        while let Some(request) = turn {
            let arrival = Arrival {
                source: "192.0.2.50:40001".parse().unwrap(),
                local: "198.51.100.10:5060".parse().unwrap(),
                at: now,
            };
            let answer = registrar.handle(arrival, &request).answer.unwrap();
            heard.push(text(answer.split(|byte| *byte == b'\r').next()));
            turn = phone.receive(&answer, now);
        }
        heard
    }

    const CHALLENGE: &str = "SIP/2.0 401 Unauthorized";
    const OK: &str = "SIP/2.0 200 OK";

    #[test]
    fn a_phone_answers_the_challenge_and_renews_with_the_same_nonce() {
        let (mut phone, mut registrar) = (phone(&password_of("1001")), registrar(Duration::from_secs(300)));
        assert_eq!(talk(&mut phone, &mut registrar, START), [CHALLENGE, OK]);
        assert!(phone.is_registered());
        let renewal = START.after(Duration::from_secs(60));
        assert_eq!(phone.next_wake(), renewal);
        assert!(phone.poll(START.after(Duration::from_secs(59))).is_empty());
        assert_eq!(talk(&mut phone, &mut registrar, renewal), [OK]);
        assert_eq!((phone.figures().successes, phone.figures().challenges), (2, 1));
    }

    #[test]
    fn a_stale_nonce_costs_one_more_challenge_and_is_no_refusal() {
        let (mut phone, mut registrar) = (phone(&password_of("1001")), registrar(Duration::from_secs(30)));
        talk(&mut phone, &mut registrar, START);
        let renewal = START.after(Duration::from_secs(60));
        assert_eq!(talk(&mut phone, &mut registrar, renewal), [CHALLENGE, OK]);
        let figures = phone.figures();
        assert_eq!((figures.successes, figures.stale, figures.refusals), (2, 1, 0));
    }

    #[test]
    fn a_wrong_password_is_tried_once_an_interval() {
        let (mut phone, mut registrar) = (phone("secret"), registrar(Duration::from_secs(300)));
        assert_eq!(talk(&mut phone, &mut registrar, START), [CHALLENGE, CHALLENGE]);
        assert!(!phone.is_registered());
        assert_eq!(phone.figures().refusals, 1);
        assert_eq!(phone.next_wake(), START.after(Duration::from_secs(60)));
    }

    #[test]
    fn silence_is_met_with_four_equal_requests() {
        let mut phone = phone("any");
        let first = phone.poll(START);
        for seconds_tenths in [5, 15, 35] {
            let now = START.after(Duration::from_millis(seconds_tenths * 100));
            assert_eq!(phone.next_wake(), now);
            assert_eq!(phone.poll(now), first);
        }
        assert!(phone.poll(START.after(Duration::from_millis(7_500))).is_empty());
        assert_eq!(phone.figures().silences, 1);
    }

    #[test]
    fn strangers_answers_are_ignored_and_options_are_answered() {
        let mut phone = phone("any");
        phone.poll(START);
        let stranger = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\n\r\n";
        assert_eq!(phone.receive(stranger, START), None);
        assert!(!phone.is_registered());
        let ping = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKy\r\nTo: <sip:a>\r\n\r\n";
        assert!(phone.receive(ping, START).unwrap().starts_with(OK.as_bytes()));
        assert_eq!(phone.receive(b"\r\n", START), None);
    }

    #[test]
    fn blank_lines_are_sent_between_registrations() {
        let mut phone = phone("any");
        phone.options.keep_alive = Some(Duration::from_secs(15));
        phone.next_keep_alive = Some(START.after(Duration::from_secs(15)));
        phone.poll(START);
        let out = phone.poll(START.after(Duration::from_secs(15)));
        assert_eq!(out[0], b"\r\n\r\n");
        assert_eq!(phone.figures().keep_alives, 1);
    }
}
