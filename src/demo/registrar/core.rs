//! What the registrar answers. No clock, no socket.
//!
//! ```text
//! REGISTER ─> account known? ─no──> 404, or as a wrong password
//!                │yes
//!             credentials? ─no──> 401 and a nonce
//!                │yes
//!             digest right? ─no──> 401 and a nonce, or 403       rejected
//!                │yes
//!             nonce fresh? ─no──> 401 stale=true and a nonce
//!                │yes
//!               200
//! ```
//! Nonce counts are not checked: a retransmission repeats its count, and the tools that this registrar is for count in
//! ways of their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log_format::time::Timestamp;
use sip::builder::{Request, Response};
use sip::{Credentials, Message, digest};

use super::super::dice::Dice;
use super::super::wire;
use super::nonces::{Nonces, Standing};
use super::{ACCOUNTS, Incident, RegistrarFigures, RegistrarOptions, UnknownUser, WrongPassword};

/// Sources whose rejections are counted; the first ones stay. A demo has a few dozen.
const SOURCES: usize = 65_536;
/// Contacts of one account: a person with several phones.
const CONTACTS: usize = 16;
/// Longest validity a phone gets.
const LONGEST_BINDING: Duration = Duration::from_secs(3_600);
/// The name in the Server header.
const SERVER: &str = "palisade demo registrar";
/// Methods that are answered.
const ALLOW: &str = "REGISTER, OPTIONS, INVITE, ACK, BYE, CANCEL";

/// The registrar's state.
#[derive(Debug)]
pub struct Registrar {
    options: RegistrarOptions,
    nonces: Nonces,
    bindings: BTreeMap<String, BTreeMap<String, Binding>>,
    rejections: BTreeMap<IpAddr, u64>,
    figures: RegistrarFigures,
    dice: Dice,
    next_qualify: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Binding {
    /// Where its REGISTER came from: behind a NAT the only way back.
    source: SocketAddr,
    /// Our address that it talked to.
    local: SocketAddr,
    until: Timestamp,
}

/// What one datagram led to.
#[derive(Debug, Default)]
pub struct Handled {
    /// To be sent back to the source.
    pub answer: Option<Vec<u8>>,
    /// To be told.
    pub incident: Option<Incident>,
}

/// A request of the registrar's own.
#[derive(Debug)]
pub struct OwnRequest {
    /// The address to send from.
    pub local: SocketAddr,
    /// The phone.
    pub target: SocketAddr,
    /// The request.
    pub datagram: Vec<u8>,
}

/// Who asks, at which of our addresses, when.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The sender.
    pub source: SocketAddr,
    /// The address that received it.
    pub local: SocketAddr,
    /// When.
    pub at: Timestamp,
}

/// How a request with protection stands.
enum Verdict {
    Right(String),
    Stale,
    Wrong { account: String },
    NoCredentials,
}

impl Registrar {
    /// A registrar without bindings.
    pub fn new(mut options: RegistrarOptions, dice: Dice) -> Self {
        while ACCOUNTS < options.accounts.len() {
            options.accounts.pop_last();
        }
        Self {
            nonces: Nonces::new(options.nonce_lifetime),
            options,
            bindings: BTreeMap::new(),
            rejections: BTreeMap::new(),
            figures: RegistrarFigures::default(),
            dice,
            next_qualify: Timestamp::ZERO,
        }
    }

    /// Figures since the start.
    pub const fn figures(&self) -> RegistrarFigures {
        self.figures
    }

    /// How many contacts are bound at this time.
    pub fn bound(&self, now: Timestamp) -> usize {
        self.bindings.values().flat_map(BTreeMap::values).filter(|binding| now < binding.until).count()
    }

    /// Takes one datagram.
    pub fn handle(&mut self, arrival: Arrival, datagram: &[u8]) -> Handled {
        self.figures.received += 1;
        if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            self.figures.keep_alives += 1;
            return Handled::default();
        }
        let Ok(message) = sip::parse(datagram) else {
            self.figures.unreadable += 1;
            return Handled::default();
        };
        let Some(method) = message.method() else {
            self.figures.alive += u64::from(message.status() == Some(200));
            return Handled::default();
        };
        if message.via().is_none() || message.to().is_none() || message.cseq().is_none() {
            self.figures.unreadable += 1;
            return Handled::default();
        }
        let mut handled = match method {
            b"REGISTER" => self.register(arrival, &message),
            b"INVITE" => self.invite(arrival, &message),
            b"OPTIONS" => self.options(&message),
            b"ACK" => Handled::default(),
            b"BYE" | b"CANCEL" => plain(&message, 481, "Call/Transaction Does Not Exist"),
            _ => Handled::answer(Response::to(&message, 405, "Method Not Allowed").header("Allow", ALLOW)),
        };
        handled.answer = handled.answer.map(|answer| wire::with_return_path(answer, arrival.source));
        handled
    }

    /// The requests of the registrar's own that are due.
    pub fn due(&mut self, now: Timestamp) -> Vec<OwnRequest> {
        for contacts in self.bindings.values_mut() {
            contacts.retain(|_, binding| now < binding.until);
        }
        self.bindings.retain(|_, contacts| !contacts.is_empty());
        let Some(every) = self.options.qualify else {
            return Vec::new();
        };
        if now < self.next_qualify {
            return Vec::new();
        }
        self.next_qualify = now.after(every);
        let dice = &mut self.dice;
        let bound = self.bindings.values().flatten();
        bound.map(|(contact, binding)| qualify(contact, *binding, dice)).collect()
    }

    fn options(&mut self, message: &Message<'_>) -> Handled {
        self.figures.options += 1;
        Handled::answer(Response::to(message, 200, "OK").header("Allow", ALLOW).header("Server", SERVER))
    }

    fn register(&mut self, arrival: Arrival, message: &Message<'_>) -> Handled {
        let account = wire::text(message.to().map(|to| to.parts().user));
        if !self.exists(&account) && self.options.unknown_user == UnknownUser::NotFound {
            return self.not_found(arrival, message, account);
        }
        match self.judge(message, arrival.at) {
            // Somebody else's password does not open this account.
            Verdict::Right(user) if user != account => self.reject(arrival, message, user),
            Verdict::Right(_) => self.bind(arrival, message, account),
            Verdict::Stale => self.stale(arrival, message),
            Verdict::Wrong { account } => self.reject(arrival, message, account),
            Verdict::NoCredentials => self.first_challenge(arrival, message),
        }
    }

    fn invite(&mut self, arrival: Arrival, message: &Message<'_>) -> Handled {
        let callee = wire::text(message.to().map(|to| to.parts().user));
        match self.judge(message, arrival.at) {
            Verdict::Right(_) if self.bindings.contains_key(&callee) => {
                plain(message, 480, "Temporarily Unavailable")
            }
            Verdict::Right(_) => {
                self.figures.not_found += 1;
                plain(message, 404, "Not Found")
            }
            Verdict::Stale => self.stale(arrival, message),
            Verdict::Wrong { account } => self.reject(arrival, message, account),
            Verdict::NoCredentials
                if !self.exists(&callee) && self.options.unknown_user == UnknownUser::NotFound =>
            {
                self.not_found(arrival, message, callee)
            }
            Verdict::NoCredentials => self.first_challenge(arrival, message),
        }
    }

    fn exists(&self, account: &str) -> bool {
        self.options.accounts.contains_key(account)
    }

    fn judge(&self, message: &Message<'_>, now: Timestamp) -> Verdict {
        let Some(credentials) = message.credentials() else {
            return Verdict::NoCredentials;
        };
        let account = wire::text(credentials.username);
        if !self.is_right(&credentials, &account, message.method()) {
            return Verdict::Wrong { account };
        }
        match self.nonces.standing(&wire::text(credentials.nonce), now) {
            Standing::Fresh => Verdict::Right(account),
            Standing::Stale => Verdict::Stale,
        }
    }

    fn is_right(&self, credentials: &Credentials<'_>, account: &str, method: Option<&[u8]>) -> bool {
        let realm_is_ours = credentials.realm == Some(self.options.realm.as_bytes());
        let password = self.options.accounts.get(account);
        realm_is_ours
            && password.is_some_and(|password| digest::is_right(credentials, password, &wire::text(method)))
    }

    fn bind(&mut self, arrival: Arrival, message: &Message<'_>, account: String) -> Handled {
        self.figures.registered += 1;
        let contacts = self.bindings.entry(account.clone()).or_default();
        contacts.retain(|_, binding| arrival.at < binding.until);
        let asked = wire::validity(message).min(LONGEST_BINDING);
        let contact = message.contact().map(|contact| wire::text(Some(contact.uri)));
        match contact {
            Some(all) if all == "*" => contacts.clear(),
            Some(uri) if asked.is_zero() => drop(contacts.remove(&uri)),
            Some(uri) if contacts.len() < CONTACTS || contacts.contains_key(&uri) => {
                let Arrival { source, local, at } = arrival;
                contacts.insert(uri, Binding { source, local, until: at.after(asked) });
            }
            // A request without a contact asks for the list; a further phone than fits is not bound.
            Some(_) | None => {}
        }
        let mut answer = Response::to(message, 200, "OK").header("Server", SERVER);
        for (uri, binding) in &*contacts {
            let left = binding.until.since(arrival.at).as_secs();
            answer = answer.header("Contact", format!("<{uri}>;expires={left}"));
        }
        let incident = Incident::Registered { source: arrival.source.ip(), account, at: arrival.at };
        Handled { incident: Some(incident), ..Handled::answer(answer) }
    }

    fn first_challenge(&mut self, arrival: Arrival, message: &Message<'_>) -> Handled {
        self.figures.challenged += 1;
        Handled::answer(self.challenge(message, "", arrival.at))
    }

    fn stale(&mut self, arrival: Arrival, message: &Message<'_>) -> Handled {
        self.figures.stale += 1;
        Handled::answer(self.challenge(message, ", stale=true", arrival.at))
    }

    fn not_found(&mut self, arrival: Arrival, message: &Message<'_>, account: String) -> Handled {
        self.figures.not_found += 1;
        let incident = message.has_credentials().then(|| self.count_rejection(arrival, account, 404));
        Handled { incident, ..plain(message, 404, "Not Found") }
    }

    fn reject(&mut self, arrival: Arrival, message: &Message<'_>, account: String) -> Handled {
        let (status, answer) = match self.options.wrong_password {
            WrongPassword::Challenge if message.method() == Some(b"INVITE") => {
                (407, self.challenge(message, "", arrival.at))
            }
            WrongPassword::Challenge => (401, self.challenge(message, "", arrival.at)),
            WrongPassword::Forbid => (403, Response::to(message, 403, "Forbidden").header("Server", SERVER)),
        };
        let incident = self.count_rejection(arrival, account, status);
        Handled { incident: Some(incident), ..Handled::answer(answer) }
    }

    fn count_rejection(&mut self, arrival: Arrival, account: String, status: u16) -> Incident {
        self.figures.rejected += 1;
        let source = arrival.source.ip();
        let has_room = self.rejections.len() < SOURCES || self.rejections.contains_key(&source);
        let count = if has_room {
            let count = self.rejections.entry(source).or_default();
            *count += 1;
            *count
        } else {
            0
        };
        Incident::Rejected { source, account, status, count, at: arrival.at }
    }

    fn challenge(&mut self, message: &Message<'_>, extra: &str, now: Timestamp) -> Response {
        let (realm, nonce) = (&self.options.realm, self.nonces.give(&mut self.dice, now));
        let value =
            format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm=MD5{extra}");
        let (status, reason, header) = if message.method() == Some(b"INVITE") {
            (407, "Proxy Authentication Required", "Proxy-Authenticate")
        } else {
            (401, "Unauthorized", "WWW-Authenticate")
        };
        Response::to(message, status, reason).header(header, value).header("Server", SERVER)
    }
}

impl Handled {
    fn answer(answer: Response) -> Self {
        Self { answer: Some(answer.build()), incident: None }
    }
}

fn plain(message: &Message<'_>, status: u16, reason: &str) -> Handled {
    Handled::answer(Response::to(message, status, reason).header("Server", SERVER))
}

/// Asks a phone whether it is alive, as PBXs do to keep a NAT's door open.
fn qualify(contact: &str, binding: Binding, dice: &mut Dice) -> OwnRequest {
    let Binding { source: target, local, until: _ } = binding;
    let datagram = Request::new("OPTIONS", contact)
        .header("Via", format!("SIP/2.0/UDP {local};branch=z9hG4bK{:016x};rport", dice.roll()))
        .header("Max-Forwards", "70")
        .header("From", format!("<sip:ping@{local}>;tag={:08x}", dice.roll_32()))
        .header("To", format!("<{contact}>"))
        .header("Call-ID", dice.hex_32())
        .header("CSeq", "1 OPTIONS")
        .header("User-Agent", SERVER)
        .build();
    OwnRequest { local, target, datagram }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
