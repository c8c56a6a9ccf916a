use log_format::event::Text;
use log_format::time::Timestamp;
use sensors::hep::{Transport, encode};
use sensors::{Engine, FilterSize, Finding, Policy};

use super::*;
use crate::config;

const REGISTER: &[u8] =
    b"REGISTER sip:pbx SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nUser-Agent: friendly-scanner\r\n\r\n";

fn report(key: &'static [u8]) -> Report<'static> {
    Report {
        source: [203, 0, 113, 7].into(),
        source_port: 40_000,
        destination: [198, 51, 100, 10].into(),
        destination_port: 5_060,
        transport: Transport::Tls,
        at: None,
        agent: 1,
        key,
        correlation: b"",
        payload: REGISTER,
    }
}

fn sender() -> SocketAddr {
    "127.0.0.1:5".parse().unwrap()
}

fn keyed() -> HepConfig {
    let text = std::str::from_utf8(include_bytes!("hep_tests.toml")).unwrap();
    config::parse(std::path::Path::new("palisade.toml"), text).unwrap().hep.unwrap()
}

#[test]
fn a_report_needs_the_key_if_there_is_one() {
    let key = keyed().key;
    let taken = |key_sent, key: Option<&HepKey>| {
        admit(&encode(&report(key_sent)).unwrap(), sender(), key).map(|report| report.payload.len())
    };
    assert_eq!(taken(b"a-long-secret", key.as_ref()), Ok(REGISTER.len()));
    for wrong in [&b""[..], b"a-long-secreT", b"a-long-secret-and-more", b"a-long"] {
        assert_eq!(taken(wrong, key.as_ref()), Err(Refused::Key { sender: sender() }));
        assert_eq!(taken(wrong, None), Ok(REGISTER.len()));
    }
    let unreadable = admit(b"HEP2", sender(), None).unwrap_err();
    assert_eq!(unreadable, Refused::Unreadable { sender: sender(), source: ParseError::Version });
    assert_eq!(unreadable.to_string(), "read report of 127.0.0.1:5");
}

#[test]
fn datagrams_come_over_the_socket() {
    let mut listener =
        Listener::bind(&HepConfig { listen: "127.0.0.1:0".parse().unwrap(), ..keyed() }).unwrap();
    let address = listener.socket.local_addr().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&encode(&report(b"wrong")).unwrap(), address).unwrap();
    socket.send_to(&encode(&report(b"a-long-secret")).unwrap(), address).unwrap();
    let mut taken = Vec::new();
    while taken.len() < 2 {
        if let Some(next) = listener.next().unwrap() {
            taken.push(next.map(|report| report.payload.to_vec()));
        }
    }
    let sender = socket.local_addr().unwrap();
    assert_eq!(taken, [Err(Refused::Key { sender }), Ok(REGISTER.to_vec())]);
    assert_eq!(listener.next().unwrap(), None);
}

#[test]
fn what_a_report_says_is_found_and_is_charged_to_its_source() {
    let policy = Policy { blocked_user_agents: vec![Text::new(b"friendly-scanner")], ..Policy::default() };
    for (source, destination) in
        [("203.0.113.7", "198.51.100.10"), ("2001:db8::7", "2001:db8::10"), ("203.0.113.7", "2001:db8::10")]
    {
        let mut engine = Engine::with_filter(policy.clone(), [7; 16], FilterSize::default());
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let report = Report { source, destination, ..report(b"") };
        let mut findings = Vec::new();
        engine.hep(&report, Timestamp::from_seconds(1_000), &mut findings);
        let [Finding::Attack(verdict)] = &findings[..] else { panic!("{findings:?}") };
        let observed = &verdict.observed;
        assert_eq!((observed.source, observed.source_port), (source, 40_000));
        assert_eq!((observed.victim, observed.victim_port), (destination, 5_060));
    }
}

#[test]
fn of_many_refusals_one_line_a_minute_is_said() {
    let mut complaints = Complaints::default();
    let at = Duration::from_secs;
    assert_eq!(complaints.note(at(5)), Some(1));
    for _ in 0..9 {
        assert_eq!(complaints.note(at(64)), None);
    }
    assert_eq!(complaints.note(at(65)), Some(10));
}
