//! Writes SIP traffic into frames and plays it to an engine.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use log_format::time::Timestamp;
use sensors::hep::Report;
use sensors::{Engine, Finding, Frame, LinkType, Note, Policy, Verdict};
use sip::builder::{Request, Response};
use sip::digest::{self, Answer};
use sip::{Challenge, Message};

pub(crate) const PBX: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 10), 5060);
pub(crate) const PASSWORD: &str = "right";

/// An engine, a wire and a clock.
pub(crate) struct Wire {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) notes: Vec<Note>,
    frames: u64,
    identifiers: u64,
}

/// A user agent at an address.
#[derive(Clone)]
pub(crate) struct Phone {
    pub(crate) at: SocketAddrV4,
    pub(crate) user: String,
    pub(crate) agent: &'static str,
}

/// How the registrar answers credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registrar {
    /// 200 for the right password, 401 for a wrong one.
    Checks,
    /// 403 for a wrong password.
    Forbids,
    /// 401 with `stale=true`, whatever the password.
    FindsNonceStale,
    /// Never answers.
    IsSilent,
}

impl Wire {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            engine: Engine::new(policy, [9; 16]),
            now: Timestamp::from_seconds(1_700_000_000),
            verdicts: Vec::new(),
            notes: Vec::new(),
            frames: 0,
            identifiers: 0,
        }
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Sends a datagram.
    pub(crate) fn send(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        self.frame(&ipv4(from, to, payload));
    }

    fn frame(&mut self, bytes: &[u8]) {
        self.frames += 1;
        let frame = Frame {
            at: self.now,
            link: LinkType::RawIp,
            bytes,
            original_length: u32::try_from(bytes.len()).unwrap(),
            number: self.frames,
        };
        let mut findings = Vec::new();
        self.engine.frame(&frame, &mut findings);
        self.take(findings);
    }

    fn take(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            match finding {
                Finding::Attack(verdict) => self.verdicts.push(verdict),
                Finding::Note(note) => self.notes.push(note),
            }
        }
    }

    /// Lets time pass in which nothing is sent.
    pub(crate) fn idle(&mut self, time: Duration) {
        self.wait(time);
        let mut findings = Vec::new();
        self.engine.idle(self.now, &mut findings);
        self.take(findings);
    }

    /// Sends a datagram in two fragments.
    pub(crate) fn send_in_fragments(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        const FIRST: usize = 1_200;
        let whole = ipv4(from, to, payload);
        let (header, rest) = whole.split_at(20);
        self.identifiers += 1;
        for (part, offset, is_last) in [(&rest[..FIRST], 0, false), (&rest[FIRST..], FIRST, true)] {
            let mut bytes = [header, part].concat();
            let flags = u16::try_from(offset / 8).unwrap() | if is_last { 0 } else { 0x2000 };
            bytes[2..4].copy_from_slice(&u16::try_from(part.len() + 20).unwrap().to_be_bytes());
            bytes[4..6].copy_from_slice(&u16::try_from(self.identifiers).unwrap().to_be_bytes());
            bytes[6..8].copy_from_slice(&flags.to_be_bytes());
            self.frame(&bytes);
        }
    }

    /// Hands in what a telephone system reports.
    pub(crate) fn report(&mut self, report: &Report<'_>) {
        let mut findings = Vec::new();
        self.engine.hep(report, self.now, &mut findings);
        self.take(findings);
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.identifiers += 1;
        self.identifiers
    }

    /// A REGISTER of the phone; its branch is new unless one is given.
    pub(crate) fn register(&mut self, phone: &Phone, authorization: Option<&str>) -> Vec<u8> {
        let number = self.fresh();
        let mut request = Request::new("REGISTER", "sip:pbx.example.net")
            .header("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK-{number};rport", phone.at))
            .header("From", format!("<sip:{}@pbx.example.net>;tag=t{number}", phone.user))
            .header("To", format!("<sip:{}@pbx.example.net>", phone.user))
            .header("Call-ID", format!("{number}@{}", phone.at.ip()))
            .header("CSeq", format!("{number} REGISTER"))
            .header("Contact", format!("<sip:{}@{}>", phone.user, phone.at))
            .header("User-Agent", phone.agent);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        request.build()
    }

    /// A whole registration: challenge, credentials, answer, 10 ms apart.
    pub(crate) fn try_to_register(&mut self, phone: &Phone, password: &str, registrar: Registrar) {
        let nonce = format!("nonce-{}", self.fresh());
        let plain = self.register(phone, None);
        self.exchange(phone.at, &plain, |request| challenged(request, &nonce, ""));
        let authorization = self.authorize(phone, password, &nonce);
        let signed = self.register(phone, Some(&authorization));
        if registrar == Registrar::IsSilent {
            self.send(phone.at, PBX, &signed);
            return;
        }
        self.exchange(phone.at, &signed, |request| match registrar {
            Registrar::Checks if is_right(request) => Response::to(request, 200, "OK").build(),
            Registrar::Checks | Registrar::IsSilent => challenged(request, "another", ""),
            Registrar::Forbids => Response::to(request, 403, "Forbidden").build(),
            Registrar::FindsNonceStale => challenged(request, "another", ", stale=true"),
        });
    }

    /// A request and its answer.
    pub(crate) fn exchange(
        &mut self,
        from: SocketAddrV4,
        request: &[u8],
        answer: impl Fn(&Message<'_>) -> Vec<u8>,
    ) {
        self.send(from, PBX, request);
        self.wait(Duration::from_millis(10));
        let answer = answer(&sip::parse(request).unwrap());
        self.send(PBX, from, &answer);
        self.wait(Duration::from_millis(10));
    }

    /// The Authorization header of a phone that answers a nonce.
    pub(crate) fn authorize(&self, phone: &Phone, password: &str, nonce: &str) -> String {
        let challenge = Challenge {
            realm: b"pbx.example.net",
            nonce: nonce.as_bytes(),
            qop: Some(b"auth"),
            ..Challenge::default()
        };
        let answer = Answer {
            username: &phone.user,
            password,
            method: "REGISTER",
            uri: "sip:pbx.example.net",
            nc: 1,
            cnonce: "c",
        };
        digest::authorization(&challenge, &answer)
    }
}

pub(crate) fn phone(address: [u8; 4], port: u16, user: &str) -> Phone {
    Phone {
        at: SocketAddrV4::new(address.into(), port),
        user: user.to_owned(),
        agent: "Yealink SIP-T46S 66.86.0.15",
    }
}

pub(crate) fn challenged(request: &Message<'_>, nonce: &str, more: &str) -> Vec<u8> {
    let value = format!("Digest realm=\"pbx.example.net\", nonce=\"{nonce}\", qop=\"auth\"{more}");
    Response::to(request, 401, "Unauthorized").header("WWW-Authenticate", value).build()
}

fn is_right(request: &Message<'_>) -> bool {
    request.credentials().is_some_and(|credentials| digest::is_right(&credentials, PASSWORD, "REGISTER"))
}

fn ipv4(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(payload.len() + 8).unwrap();
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&(udp_length + 20).to_be_bytes());
    bytes.extend_from_slice(&[0, 1, 0x40, 0, 64, 17, 0, 0]);
    bytes.extend_from_slice(&from.ip().octets());
    bytes.extend_from_slice(&to.ip().octets());
    bytes.extend_from_slice(&from.port().to_be_bytes());
    bytes.extend_from_slice(&to.port().to_be_bytes());
    bytes.extend_from_slice(&udp_length.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}
