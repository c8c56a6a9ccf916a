use super::*;

const REGISTRAR: &str = "198.51.100.10:5060";
const PHONE: &str = "192.0.2.50:40001";

struct Desk {
    registrar: Registrar,
    now: Timestamp,
    cseq: u32,
}

impl Desk {
    fn new(change: impl FnOnce(&mut RegistrarOptions)) -> Self {
        let mut options = RegistrarOptions {
            accounts: super::super::numbered_accounts(1001, 2),
            ..RegistrarOptions::default()
        };
        change(&mut options);
        Self {
            registrar: Registrar::new(options, Dice::new(7)),
            now: Timestamp::from_seconds(1_000),
            cseq: 0,
        }
    }

    fn send(&mut self, datagram: &[u8]) -> (Option<Vec<u8>>, Option<Incident>) {
        let arrival =
            Arrival { source: PHONE.parse().unwrap(), local: REGISTRAR.parse().unwrap(), at: self.now };
        let Handled { answer, incident } = self.registrar.handle(arrival, datagram);
        (answer, incident)
    }

    fn request(
        &mut self,
        method: &str,
        account: &str,
        extra: &[(&str, &str)],
    ) -> (Vec<u8>, Option<Incident>) {
        self.cseq += 1;
        let mut request = Request::new(method, "sip:pbx.example.net")
            .header("Via", format!("SIP/2.0/UDP {PHONE};branch=z9hG4bK{};rport", self.cseq))
            .header("From", format!("<sip:{account}@pbx.example.net>;tag=1"))
            .header("To", format!("<sip:{account}@pbx.example.net>"))
            .header("Call-ID", "c")
            .header("CSeq", format!("{} {method}", self.cseq));
        for (name, value) in extra {
            request = request.header(name, value);
        }
        let (answer, incident) = self.send(&request.build());
        (answer.unwrap(), incident)
    }

    fn nonce(&mut self) -> String {
        let (answer, _) = self.request("REGISTER", "1001", &[]);
        wire::text(Some(sip::parse(&answer).unwrap().challenge().unwrap().nonce))
    }

    fn with_credentials(&mut self, who: (&str, &str), nonce: &str) -> (Vec<u8>, Option<Incident>) {
        let (account, password) = who;
        let value = authorization("REGISTER", (account, password), nonce);
        self.request("REGISTER", account, &[("Contact", &contact(account)), ("Authorization", &value)])
    }
}

fn contact(account: &str) -> String {
    format!("<sip:{account}@{PHONE}>;expires=60")
}

fn authorization(method: &str, (username, password): (&str, &str), nonce: &str) -> String {
    let challenge = sip::Challenge {
        realm: b"pbx.example.net",
        nonce: nonce.as_bytes(),
        qop: Some(b"auth"),
        ..Default::default()
    };
    let answer =
        digest::Answer { username, password, method, uri: "sip:pbx.example.net", nc: 1, cnonce: "c" };
    digest::authorization(&challenge, &answer)
}

fn status(answer: &[u8]) -> u16 {
    sip::parse(answer).unwrap().status().unwrap()
}

const RIGHT: (&str, &str) = ("1001", "Kx7-1001-vQ");

#[test]
fn a_challenge_is_answered_and_the_phone_is_bound_until_its_time_is_over() {
    let mut desk = Desk::new(|_| {});
    let (challenge, told) = desk.request("REGISTER", "1001", &[]);
    assert_eq!((status(&challenge), told), (401, None));
    assert!(!sip::parse(&challenge).unwrap().challenge().unwrap().stale);
    let nonce = desk.nonce();
    let (answer, told) = desk.with_credentials(RIGHT, &nonce);
    assert_eq!(status(&answer), 200);
    assert!(matches!(told, Some(Incident::Registered { account, .. }) if account == "1001"));
    assert!(
        String::from_utf8(answer).unwrap().contains("Contact: <sip:1001@192.0.2.50:40001>;expires=60\r\n")
    );
    assert_eq!(desk.registrar.bound(desk.now), 1);
    assert_eq!(desk.registrar.bound(desk.now.after(Duration::from_secs(60))), 0);
}

#[test]
fn a_wrong_password_is_rejected_counted_and_challenged_anew() {
    let mut desk = Desk::new(|_| {});
    for count in 1..=3 {
        let nonce = desk.nonce();
        let (answer, told) = desk.with_credentials(("1001", "secret"), &nonce);
        let answer = sip::parse(&answer).unwrap();
        assert_eq!((answer.status(), answer.challenge().unwrap().stale), (Some(401), false));
        assert_ne!(answer.challenge().unwrap().nonce, nonce.as_bytes());
        let (source, account) = ("192.0.2.50".parse().unwrap(), "1001".to_owned());
        assert_eq!(told, Some(Incident::Rejected { source, account, status: 401, count, at: desk.now }));
    }
    assert_eq!(desk.registrar.figures().rejected, 3);
}

#[test]
fn an_old_nonce_is_stale_only_if_the_password_was_right() {
    let mut desk = Desk::new(|_| {});
    let nonce = desk.nonce();
    desk.now = desk.now.after(Duration::from_secs(300));
    for (who, stale) in [(RIGHT, true), (("1001", "secret"), false)] {
        let (answer, told) = desk.with_credentials(who, &nonce);
        assert_eq!(sip::parse(&answer).unwrap().challenge().unwrap().stale, stale);
        assert_eq!(told.is_some(), !stale);
    }
    assert_eq!(desk.registrar.figures().stale, 1);
}

#[test]
fn nobody_registers_an_account_with_another_ones_password() {
    let mut desk = Desk::new(|_| {});
    let nonce = desk.nonce();
    let value = authorization("REGISTER", ("1002", "Kx7-1002-vQ"), &nonce);
    let (answer, told) = desk.request("REGISTER", "1001", &[("Authorization", &value)]);
    assert_eq!(status(&answer), 401);
    assert!(matches!(told, Some(Incident::Rejected { account, .. }) if account == "1002"));
}

#[test]
fn the_policy_chooses_what_wrong_passwords_and_unknown_users_get() {
    let mut desk = Desk::new(|options| {
        options.wrong_password = WrongPassword::Forbid;
        options.unknown_user = UnknownUser::NotFound;
    });
    let nonce = desk.nonce();
    let (answer, told) = desk.with_credentials(("1001", "secret"), &nonce);
    assert_eq!(status(&answer), 403);
    assert!(matches!(told, Some(Incident::Rejected { status: 403, .. })));
    let (answer, told) = desk.request("REGISTER", "2000", &[]);
    assert_eq!((status(&answer), told), (404, None));
    let (answer, told) = desk.with_credentials(("2000", "secret"), &nonce);
    assert_eq!(status(&answer), 404);
    assert!(matches!(told, Some(Incident::Rejected { status: 404, count: 2, .. })));

    let mut silent = Desk::new(|_| {});
    assert_eq!(status(&silent.request("REGISTER", "2000", &[]).0), 401);
}

#[test]
fn a_contact_can_be_taken_back_alone_or_with_all_others() {
    let mut desk = Desk::new(|_| {});
    let mut register = |contact: &str| {
        let nonce = desk.nonce();
        let value = authorization("REGISTER", RIGHT, &nonce);
        let (answer, _) = desk.request(
            "REGISTER",
            "1001",
            &[("Contact", contact), ("Authorization", &value), ("Expires", "0")],
        );
        assert_eq!(status(&answer), 200);
        desk.registrar.bound(desk.now)
    };
    assert_eq!(register("<sip:1001@192.0.2.50:1>;expires=60"), 1);
    assert_eq!(register("<sip:1001@192.0.2.50:2>;expires=60"), 2);
    assert_eq!(register("<sip:1001@192.0.2.50:1>"), 1);
    assert_eq!(register("*"), 0);
    for port in 0..CONTACTS + 5 {
        register(&format!("<sip:1001@192.0.2.50:{port}>;expires=60"));
    }
    assert_eq!(register("<sip:1001@192.0.2.50:99>"), CONTACTS);
}

#[test]
fn other_methods_get_their_answers() {
    let mut desk = Desk::new(|options| options.unknown_user = UnknownUser::NotFound);
    let mut ask = |method: &str, account: &str| status(&desk.request(method, account, &[]).0);
    assert_eq!(ask("OPTIONS", "100"), 200);
    assert_eq!(ask("INVITE", "1001"), 407);
    assert_eq!(ask("INVITE", "00442039967796"), 404);
    assert_eq!(ask("BYE", "1001"), 481);
    assert_eq!(ask("PUBLISH", "1001"), 405);
    let ack = b"ACK sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nTo: <sip:a>\r\nCSeq: 1 ACK\r\n\r\n";
    assert_eq!(desk.send(ack), (None, None));
}

#[test]
fn an_authenticated_call_reaches_nobody() {
    let mut desk = Desk::new(|_| {});
    let nonce = desk.nonce();
    desk.with_credentials(RIGHT, &nonce);
    let value = authorization("INVITE", RIGHT, &nonce);
    for (callee, expected) in [("1001", 480), ("1002", 404)] {
        let (answer, told) = desk.request("INVITE", callee, &[("Proxy-Authorization", &value)]);
        assert_eq!((status(&answer), told), (expected, None));
    }
    let wrong = authorization("INVITE", ("1001", "secret"), &nonce);
    let (answer, told) = desk.request("INVITE", "1002", &[("Proxy-Authorization", &wrong)]);
    assert_eq!(status(&answer), 407);
    assert!(matches!(told, Some(Incident::Rejected { status: 407, .. })));
}

#[test]
fn keep_alives_and_junk_are_counted_and_never_answered() {
    let mut desk = Desk::new(|_| {});
    for datagram in
        [&b"\r\n\r\n"[..], b"\0\0\0\0", b"", b"GET / HTTP/1.1\r\n\r\n", b"REGISTER sip:a SIP/2.0\r\n\r\n"]
    {
        assert_eq!(desk.send(datagram), (None, None));
    }
    let figures = desk.registrar.figures();
    assert_eq!((figures.received, figures.keep_alives, figures.unreadable), (5, 3, 2));
}

#[test]
fn bound_phones_are_asked_whether_they_are_alive() {
    let mut desk = Desk::new(|options| options.qualify = Some(Duration::from_secs(30)));
    let nonce = desk.nonce();
    desk.with_credentials(RIGHT, &nonce);
    let asked = desk.registrar.due(desk.now);
    let [request] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((request.target.to_string(), request.local.to_string()), (PHONE.into(), REGISTRAR.into()));
    let message = sip::parse(&request.datagram).unwrap();
    assert_eq!(message.method(), Some(&b"OPTIONS"[..]));
    let answer = Response::to(&message, 200, "OK").build();
    assert_eq!(desk.send(&answer), (None, None));
    assert_eq!(desk.registrar.figures().alive, 1);
    assert!(desk.registrar.due(desk.now.after(Duration::from_secs(29))).is_empty());
    assert_eq!(desk.registrar.due(desk.now.after(Duration::from_secs(30))).len(), 1);
    assert!(desk.registrar.due(desk.now.after(Duration::from_secs(90))).is_empty(), "its time is over");
}
