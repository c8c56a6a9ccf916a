use super::*;

const REGISTER: &[u8] = b"\r\n\r\nREGISTER sip:pbx.example.net SIP/2.0\r\n\
v: SIP/2.0/UDP 10.0.0.1:5060;branch=b1;rport, SIP/2.0/UDP 10.0.0.2;branch=b2\r\n\
f: \"A\" <sip:1001@pbx.example.net>;tag=1\r\n\
TO : <sip:1001@pbx.example.net>\n\
i: call\r\n\
CSEQ:\t2\r\n REGISTER\r\n\
User-Agent: Mozilla/5.0\r\n\
uSeR-aGeNt:\r\n friendly-scanner  \r\n\
Authorization: Digest username=\"1001\", nonce=\"n\"\r\n\
m: <sip:1001@10.0.0.1>;expires=60, <sip:x@y>\r\n\
Expires: 60\r\n\
l: 2\r\n\r\nxy";

#[test]
fn a_request_in_odd_dress_is_read() {
    let message = parse(REGISTER).unwrap();
    assert!(message.defects.is_empty(), "{:?}", message.defects);
    assert_eq!(message.method(), Some(&b"REGISTER"[..]));
    assert_eq!(message.status(), None);
    assert_eq!(message.via().unwrap().branch, Some(&b"b1"[..]));
    assert_eq!(message.from().unwrap().tag(), Some(&b"1"[..]));
    assert_eq!(message.to().unwrap().parts().host, b"pbx.example.net");
    assert_eq!(message.call_id(), Some(&b"call"[..]));
    assert_eq!(message.cseq(), Some(CSeq { number: 2, method: b"REGISTER" }));
    assert_eq!(message.user_agents.as_slice(), [&b"Mozilla/5.0"[..], b"friendly-scanner"]);
    assert_eq!(message.credentials().unwrap().nonce, Some(&b"n"[..]));
    assert_eq!(message.contact().unwrap().uri, b"sip:1001@10.0.0.1");
    assert_eq!((message.expires(), message.content_length()), (Some(60), Some(2)));
    assert_eq!(message.body(), b"xy");
}

#[test]
fn defects_do_not_hide_what_can_be_read() {
    for (text, defect) in [
        (&b"OPTIONS sip:a SIP/7.0\r\nUser-Agent: x\r\n\r\n"[..], Defect::Version),
        (b"OPTIONS sip:a SIP/2.0\r\nno colon\r\nUser-Agent: x\r\n\r\n", Defect::HeaderLine),
        (b"OPTIONS sip:a SIP/2.0\r\nUser-Agent: x", Defect::Unfinished),
        (b"OPTIONS sip:a SIP/2.0\r\nUser-Agent: x\r\nTo: a\r\nt: b\r\n\r\n", Defect::Repeated),
        (b"OPTIONS sip:a SIP/2.0\r\nUser-Agent: x\r\n\r\n", Defect::MissingHeader),
        (b"OPTIONS sip:a SIP/2.0\r\nUser-Agent: x\r\nl: 1\r\n\r\n", Defect::ContentLength),
        (b"OPTIONS sip:a SIP/2.0\r\nUser-Agent: x\r\nl: -1\r\n\r\n", Defect::ContentLength),
    ] {
        let message = parse(text).unwrap();
        assert!(message.defects.has(defect), "{defect:?}: {:?}", message.defects);
        assert_eq!(message.user_agents.first(), Some(&b"x"[..]));
    }
}

#[test]
fn a_defect_knows_its_place() {
    let message = parse(b"\r\nOPTIONS sip:a SIP/2.0\r\nl: 0\r\noops\r\n\r\n").unwrap();
    assert_eq!(message.defects.first(), Some((Defect::HeaderLine, 31)));
}

#[test]
fn more_headers_than_the_cap_are_left_unread() {
    let mut text = b"OPTIONS sip:a SIP/2.0\r\n".to_vec();
    for _ in 0..MAX_HEADERS {
        text.extend_from_slice(b"X: y\r\n");
    }
    let mut full = text.clone();
    full.extend_from_slice(b"\r\n");
    assert!(!parse(&full).unwrap().defects.has(Defect::TooManyHeaders));
    text.extend_from_slice(b"User-Agent: late\r\n\r\n");
    let message = parse(&text).unwrap();
    assert!(message.defects.has(Defect::TooManyHeaders));
    assert!(message.user_agents.is_empty());
}

#[test]
fn headers_past_the_scanned_bytes_are_left_unread() {
    let mut text = b"OPTIONS sip:a SIP/2.0\r\nX: ".to_vec();
    text.resize(MAX_SCANNED + 100, b'y');
    text.extend_from_slice(b"\r\nUser-Agent: late\r\n\r\n");
    let message = parse(&text).unwrap();
    assert!(message.defects.has(Defect::TooLong));
    assert!(message.user_agents.is_empty());
}

#[test]
fn errors_tell_kind_and_place() {
    for (bytes, kind, offset) in [
        (&b""[..], ErrorKind::Empty, 0),
        (b"\r\n\r\n", ErrorKind::Empty, 0),
        (b"\r\nGET / HTTP/1.1\r\nUser-Agent: friendly-scanner\r\n\r\n", ErrorKind::NotSip, 2),
        (b"SIP/2.0 99 x\r\n\r\n", ErrorKind::StatusCode, 0),
        (b"\xff\xfe SIP/2.0", ErrorKind::NotSip, 0),
        (b"\xff sip:a SIP/2.0", ErrorKind::Method, 0),
    ] {
        assert_eq!(parse(bytes), Err(ParseError { kind, offset }));
    }
}

/// Every reader of a message, for the tests that only ask whether it returns.
fn read_everything(bytes: &[u8]) {
    let Ok(message) = parse(bytes) else { return };
    std::hint::black_box((
        message.via(),
        message.from().map(|from| (from.tag(), from.parts())),
        message.to().map(|to| (to.tag(), to.parts())),
        message.cseq(),
        message.contact(),
        message.expires(),
        message.content_length(),
        message.all_credentials().count(),
        message.all_challenges().count(),
    ));
}

/// Bytes looked at, for each byte of the message: the line search, the name and the value, a few passes over a value
/// when it is asked for, and the digest parameters.
const STEPS_PER_BYTE: usize = 12;
const STEPS_FREE: usize = 400;

fn steps(bytes: &[u8]) -> usize {
    scan::STEPS.with(|steps| steps.set(0));
    read_everything(bytes);
    scan::STEPS.with(std::cell::Cell::get)
}

#[test]
fn the_work_grows_with_the_message_and_no_faster() {
    let start = b"REGISTER sip:a SIP/2.0\r\n";
    for unit in [
        &b"\n"[..],
        b"\r\n",
        b" \n",
        b"a",
        b":",
        b"Via: ;\r\n",
        b"Via: x\r\n ,",
        b"\"",
        b"\\\"",
        b"From: <",
        b"<\"",
        b";tag",
        b"Authorization: Digest a=\"b\",,,\r\n",
        b",a=b",
        b"Call-ID: \r\n \r\n",
        b"\r\n\t",
        b"User-Agent: a\r\n",
    ] {
        for prefix in [&b""[..], b"From: \"", b"To: <", b"Authorization: Digest ", b"Via: ", b"Contact: "] {
            let mut bytes = start.to_vec();
            bytes.extend_from_slice(prefix);
            while bytes.len() < 2 * MAX_SCANNED {
                bytes.extend_from_slice(unit);
            }
            let (took, bound) = (steps(&bytes), MAX_SCANNED * STEPS_PER_BYTE + STEPS_FREE);
            assert!(took <= bound, "{took} > {bound} for {prefix:?} {unit:?}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_in_linear_time(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
        proptest::prop_assert!(steps(&bytes) <= bytes.len() * STEPS_PER_BYTE + STEPS_FREE);
    }

    #[test]
    fn a_damaged_message_is_read_in_linear_time(
        cut in 0..REGISTER.len(),
        edits in proptest::collection::vec((0..REGISTER.len(), proptest::num::u8::ANY), 0..40),
        doubled in 1..20_usize,
    ) {
        let mut bytes = REGISTER.to_vec();
        for (place, byte) in edits {
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        let bytes = bytes.repeat(doubled);
        proptest::prop_assert!(steps(&bytes) <= bytes.len() * STEPS_PER_BYTE + STEPS_FREE);
    }

    #[test]
    fn lines_of_hostile_words_are_read_in_linear_time(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "Via", "v", "From", "To", "User-Agent", "Authorization", ":", ";", ",", "=", "\"", "\\", "<", ">", "@",
            "\r\n", "\n", " ", "\t", "Digest ", "nonce", "branch", "tag", "[", "]", "sip", "\0", "SIP/2.0", "401",
        ]), 0..600)
    ) {
        let bytes = format!("REGISTER sip:a SIP/2.0\r\n{}", words.concat()).into_bytes();
        proptest::prop_assert!(steps(&bytes) <= bytes.len() * STEPS_PER_BYTE + STEPS_FREE);
    }
}

/// Twice the bytes may take this much more of the reader's steps, beside what every message takes.
const GROWTH: (usize, usize) = (23, 10);

#[test]
fn twice_as_long_a_hostile_message_takes_about_twice_the_steps() {
    let inputs = crate::hostile::INPUTS;
    // Up to what is scanned; more is not looked at, as the bound on all steps shows.
    for size in [480, 960, 1_920, 3_840] {
        let grown = |name: &str, short: &[u8], long: &[u8]| {
            let (once, twice) = (steps(short), steps(long));
            assert!(
                twice * GROWTH.1 <= once * GROWTH.0 + STEPS_FREE,
                "{name} at {size}: {once}, then {twice}"
            );
        };
        for input in inputs {
            grown(input.name, &input.message(size), &input.message(2 * size));
        }
        grown("long-uri", &crate::hostile::long_uri(size), &crate::hostile::long_uri(2 * size));
        grown("blank-uri", &crate::hostile::blank_uri(size), &crate::hostile::blank_uri(2 * size));
    }
}
