use proptest::prelude::*;

use super::*;

fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn message(flags: [u8; 2], counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
    let counts: Vec<u8> = counts.iter().flat_map(|count| count.to_be_bytes()).collect();
    [&[0xab, 0xcd][..], &flags, &counts, &rest.concat()].concat()
}

fn text(name: Name<'_>) -> String {
    name.labels().map(|label| String::from_utf8_lossy(label).into_owned()).collect::<Vec<_>>().join(".")
}

#[test]
fn a_query_says_what_it_wants_and_how_much_it_takes() {
    let name = wire("Example.COM");
    let opt = [0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0];
    let any = [0, 255, 0, 1];
    let bytes = message([1, 0x20], [1, 0, 0, 1], &[&name, &any, &opt]);
    let packet = parse(&bytes).unwrap();
    assert_eq!((packet.id, packet.operation), (0xabcd, 0));
    assert_eq!(packet.direction, Direction::Query { is_recursive: true, udp_size: Some(4096) });
    let question = packet.question.unwrap();
    assert_eq!((text(question.name).as_str(), question.kind, question.class), ("Example.COM", 255, 1));
    assert!(question.is_any());
    let plain = message([0, 0], [1, 0, 0, 0], &[&name, &[0, 1, 0, 1]]);
    assert_eq!(parse(&plain).unwrap().direction, Direction::Query { is_recursive: false, udp_size: None });
    // Behind another record, with a name and with a pointer.
    for before in [&wire("key")[..], &[0xc0, 12]] {
        let signature = [before, &[0, 250, 0, 255, 0, 0, 0, 0, 0, 2, 7, 7]].concat();
        let bytes = message([1, 0], [1, 0, 0, 2], &[&name, &any, &signature, &opt]);
        assert_eq!(
            parse(&bytes).unwrap().direction,
            Direction::Query { is_recursive: true, udp_size: Some(4096) }
        );
    }
}

#[test]
fn a_response_says_how_it_went() {
    let name = wire("a.example");
    let bytes = message([0x87, 0x83], [1, 2, 0, 0], &[&name, &[0, 16, 0, 1], &[9; 40]]);
    let packet = parse(&bytes).unwrap();
    assert_eq!(packet.direction, Direction::Response { code: 3, is_truncated: true, answers: 2 });
    assert_eq!(packet.question.unwrap().kind, 16);
    let refusal = message([0x80, 5], [0, 0, 0, 0], &[]);
    let packet = parse(&refusal).unwrap();
    assert_eq!(packet.direction, Direction::Response { code: 5, is_truncated: false, answers: 0 });
    assert_eq!(packet.question, None);
}

#[test]
fn what_is_no_name_is_refused() {
    let long = [&[63_u8][..], &[b'a'; 63]].concat().repeat(4);
    for (name, error) in [
        (&[0xc0, 12][..], ParseError::Name(12)),
        (&[1, b'a', 0xc0, 12], ParseError::Name(14)),
        (&[0x41, 1], ParseError::Name(12)),
        (&[&long[..], &[0]].concat(), ParseError::Name(12 + 192)),
        (&[3, b'a'], ParseError::Short(14)),
        (&[], ParseError::Short(12)),
        (&[0, 0, 1, 0], ParseError::Short(16)),
    ] {
        assert_eq!(parse(&message([1, 0], [1, 0, 0, 0], &[name])), Err(error), "{name:?}");
    }
    assert_eq!(parse(&[0; 11]), Err(ParseError::Short(11)));
}

#[test]
fn random_subdomains_have_their_end_in_common() {
    let (one, other) = (wire("x7f3.example.com"), wire("k2.q.example.com"));
    assert_eq!(Name(&one).suffix(2), Name(&other).suffix(2));
    assert_eq!(text(Name(&one).suffix(2)), "example.com");
    assert_eq!(Name(&one).suffix(9), Name(&one));
    assert_eq!(Name(&one).suffix(0).wire(), [0]);
}

proptest! {
    #[test]
    fn no_payload_stops_the_reader(
        start in proptest::sample::select(vec![vec![], vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 4], vec![0, 1, 1, 0, 0, 1]]),
        rest in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        if let Ok(Packet { question: Some(question), .. }) = parse(&[start, rest].concat()) {
            prop_assert!(question.name.wire().len() <= MAX_NAME);
            prop_assert_eq!(question.name.labels().map(|label| label.len() + 1).sum::<usize>() + 1, question.name.wire().len());
        }
    }
}
