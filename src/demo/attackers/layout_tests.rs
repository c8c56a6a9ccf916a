use super::super::super::wire::text;
use super::*;

fn ends() -> Ends {
    Ends { source: "192.0.2.66:5071".parse().unwrap(), target: "198.51.100.10:5060".parse().unwrap() }
}

fn kept() -> Kept {
    Kept { realm: b"pbx.example.net".to_vec(), nonce: b"n1".to_vec(), qop: Some(b"auth".to_vec()) }
}

fn lines(attempt: &Attempt) -> Vec<String> {
    text(Some(&attempt.datagram)).split("\r\n").map(str::to_owned).collect()
}

fn line(attempt: &Attempt, name: &str) -> String {
    lines(attempt).into_iter().find(|line| line.starts_with(name)).unwrap_or_default()
}

fn unhex(attempt: &Attempt) -> String {
    let from = line(attempt, "From: ");
    let digits = from.split("tag=").nth(1).unwrap().as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap() as char).collect()
}

fn guess<'a>(kept: &'a Kept, password: &'a str, count: u32) -> Guess<'a> {
    Guess { kept, password, count }
}

#[test]
fn svcrack_keeps_its_call_id_and_counts_in_decimal_across_nonces() {
    let kept = kept();
    let first = svcrack_first(ends(), "1002", "585362028", &mut Dice::new(1));
    assert_eq!(line(&first, "CSeq"), "CSeq: 1 REGISTER");
    assert_eq!(line(&first, "From"), "From: \"1002\" <sip:1002@198.51.100.10>;tag=3206210844");
    let twelfth = svcrack_guess(ends(), "1002", "585362028", guess(&kept, "123456", 12), &mut Dice::new(2));
    assert_eq!(line(&twelfth, "CSeq"), "CSeq: 2 REGISTER");
    assert_eq!(line(&first, "Call-ID"), line(&twelfth, "Call-ID"));
    assert!(unhex(&twelfth).starts_with("1002:123456\u{1}"));
    assert!(line(&twelfth, "Authorization").contains(",nc=00000012,algorithm=MD5,qop=auth,response="));
    assert_ne!(first.branch, twelfth.branch);
}

#[test]
fn svcracks_headers_stand_in_its_order() {
    let kept = kept();
    let attempt = svcrack_guess(ends(), "1002", "5", guess(&kept, "x", 1), &mut Dice::new(2));
    let names: Vec<_> = lines(&attempt)
        .iter()
        .filter_map(|line| line.split_once(": ").map(|(name, _)| name.to_owned()))
        .collect();
    let expected = [
        "Via",
        "Max-Forwards",
        "To",
        "From",
        "User-Agent",
        "Call-ID",
        "Contact",
        "CSeq",
        "Accept",
        "Content-Length",
        "Authorization",
    ];
    assert_eq!(names, expected);
}

#[test]
fn every_guess_is_right_if_its_password_is() {
    let kept = kept();
    for count in [1, 9, 10, 118] {
        let attempts = [
            svcrack_guess(ends(), "1002", "5", guess(&kept, "x7", count), &mut Dice::new(2)),
            fpbx(ends(), "1002", count, Some(guess(&kept, "x7", count)), &mut Dice::new(2)),
        ];
        for attempt in attempts {
            let message = sip::parse(&attempt.datagram).unwrap();
            assert!(message.defects.is_empty(), "{:?}", message.defects);
            let credentials = message.credentials().unwrap();
            assert!(digest::is_right(&credentials, "x7", "REGISTER"));
            assert!(!digest::is_right(&credentials, "x8", "REGISTER"));
            assert_eq!(message.via().unwrap().branch.unwrap(), attempt.branch.as_bytes());
        }
    }
}

#[test]
fn svwar_asks_for_a_user_per_call_without_a_blank() {
    let one = svwar(ends(), "100", &mut Dice::new(1));
    let other = svwar(ends(), "101", &mut Dice::new(2));
    assert_eq!(line(&one, "To"), "To: \"100\"<sip:100@198.51.100.10>");
    assert!(unhex(&one).starts_with("100\u{1}"));
    assert_ne!(line(&one, "Call-ID"), line(&other, "Call-ID"));
    assert_eq!(line(&other, "CSeq"), "CSeq: 1 REGISTER");
}

#[test]
fn svmaps_tag_is_the_targets_address() {
    let attempt = svmap(ends(), &mut Dice::new(1));
    assert_eq!(lines(&attempt)[0], "OPTIONS sip:100@198.51.100.10 SIP/2.0");
    assert_eq!(line(&attempt, "User-Agent"), "User-Agent: friendly-scanner");
    assert!(unhex(&attempt).starts_with("c633640a13c4\u{1}"), "{}", unhex(&attempt));
    let call_id = line(&attempt, "Call-ID: ")["Call-ID: ".len()..].to_owned();
    assert!(call_id.len() <= 25 && call_id.bytes().all(|byte| byte.is_ascii_digit()));
    let six = Ends {
        source: "[2001:db8::66]:5060".parse().unwrap(),
        target: "[2001:db8::10]:5060".parse().unwrap(),
    };
    let attempt = svmap(six, &mut Dice::new(1));
    assert_eq!(lines(&attempt)[0], "OPTIONS sip:100@[2001:db8::10] SIP/2.0");
    assert!(unhex(&attempt).starts_with("2001db81013c4\u{1}"), "{}", unhex(&attempt));
}

#[test]
fn the_fpbx_agent_keeps_the_rules_of_transactions() {
    let kept = kept();
    let first = fpbx(ends(), "1001", 4, None, &mut Dice::new(1));
    let second = fpbx(ends(), "1001", 4, Some(guess(&kept, "x", 9)), &mut Dice::new(1));
    assert_eq!(
        (line(&first, "CSeq"), line(&second, "CSeq")),
        ("CSeq: 1 REGISTER".into(), "CSeq: 2 REGISTER".into())
    );
    assert_eq!(line(&first, "Call-ID"), line(&second, "Call-ID"));
    assert_eq!(line(&first, "User-Agent"), "User-Agent: FPBX");
    assert!(line(&second, "Authorization").contains("nc=00000001"));
    assert_ne!(first.branch, second.branch);
}
