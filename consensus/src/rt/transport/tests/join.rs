//! Certificates for those who have none, or an old one.

use std::sync::Mutex as StdMutex;

use super::*;
use crate::rt::join::{self, Answer, Certified, HostKey, JoinDesk, JoinError, JoinRequest, JoinToken};
use crate::rt::tls::authority_hash;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets in whoever proves the secret, as host 4, and renews everybody.
struct Desk {
    authority: Arc<Authority>,
    verifier: [u8; 32],
    heard: StdMutex<Vec<Bytes>>,
}

impl JoinDesk for Desk {
    fn was_let_go(&self, _: HostId) -> bool {
        false
    }

    fn join(&self, request: JoinRequest) -> Answer<'_> {
        self.heard.lock().unwrap().push(request.details.clone());
        let answer = if request.is_proven_by(&self.verifier) {
            self.issue(4, &request.public_key)
        } else {
            Certified::Refused { reason: "unknown token".to_owned() }
        };
        Box::pin(std::future::ready(answer))
    }

    fn renew(&self, host: HostId, public_key: Bytes) -> Answer<'_> {
        Box::pin(std::future::ready(self.issue(host.get(), &public_key)))
    }
}

impl Desk {
    fn issue(&self, id: u64, public_key: &[u8]) -> Certified {
        Certified::Issued {
            certificate_pem: self.authority.certify(id, public_key),
            ca_pem: self.authority.ca_pem(),
            details: Bytes::from_static(b"members"),
        }
    }
}

struct Town {
    authority: Arc<Authority>,
    token: JoinToken,
    desk: Arc<Desk>,
    one: Node,
}

fn town() -> Town {
    let authority = Arc::new(Authority::new());
    let pin = authority_hash(&authority.ca_pem()).unwrap();
    let token = JoinToken::new(pin, [5; 16], [6; 32]);
    let (verifier, heard) = (token.verifier().unwrap(), StdMutex::default());
    let desk = Arc::new(Desk { authority: Arc::clone(&authority), verifier, heard });
    let services = Services { bulk: None, desk: Some(Arc::clone(&desk) as Arc<dyn JoinDesk>) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peers = [(host(2), nowhere()), (host(4), nowhere())];
    let one = Node::start_serving(listener, host(1), peers, (authority.tls(1), services));
    Town { authority, token, desk, one }
}

#[test]
fn a_token_is_read_as_it_is_written_and_damage_is_named() {
    let token = JoinToken::new([1; 32], [2; 16], [3; 32]);
    let text = token.to_string();
    assert!(text.starts_with("J1."));
    assert_eq!(JoinToken::parse(&format!(" {text}\n")).unwrap(), token);
    assert!(!format!("{token:?}").contains("AwMD"), "the secret is not shown");
    for (damaged, wanted) in [
        (text.replace("J1", "J2"), "J1.<authority>"),
        (text[..text.len() - 1].to_owned(), "secret"),
        (text.replacen("AQEB", "!!!!", 1), "authority"),
        (String::new(), "J1.<authority>"),
    ] {
        let error = JoinToken::parse(&damaged).unwrap_err().to_string();
        assert!(error.contains(wanted), "{damaged}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_token_gets_a_certificate_that_peers_accept() {
    let Town { token, one, .. } = &mut town();
    let key = HostKey::generate().unwrap();
    let details = Bytes::from_static(b"host four");
    let answer = join::join(token, one.transport.address(), &key, details).await.unwrap();
    let Certified::Issued { certificate_pem: cert_pem, ca_pem, details } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(details, "members");
    let tls = PeerTls { ca_pem, cert_pem, key_pem: key.pem().into_bytes() };
    let four = Node::start_at(4, [(host(1), one.transport.address())], tls);
    one.connected_to(host(4)).await;
    drop(four);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_another_secret_or_only_the_verifier_gets_nothing() {
    let Town { authority, token, one, .. } = town();
    let pin = authority_hash(&authority.ca_pem()).unwrap();
    for secret in [[7; 32], token.verifier().unwrap()] {
        let forged = JoinToken::new(pin, token.id(), secret);
        let key = HostKey::generate().unwrap();
        let answer = join::join(&forged, one.transport.address(), &key, Bytes::new()).await.unwrap();
        assert!(matches!(answer, Certified::Refused { .. }), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_sends_nothing_to_a_host_of_another_authority() {
    let Town { token, one, desk, .. } = town();
    let other = JoinToken::new([9; 32], token.id(), [6; 32]);
    let key = HostKey::generate().unwrap();
    let error = join::join(&other, one.transport.address(), &key, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, JoinError::Connect { .. }), "{error}");
    assert!(desk.heard.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reaches_the_desk_and_nothing_else() {
    let Town { token, one, desk, .. } = town();
    let pin = crate::rt::tls::pinned_client;
    let config = Arc::new(pin(authority_pin(&token)).unwrap());
    // It greets as a peer would; it sends raft's messages; it claims an enormous request.
    let hello = frame::encode_hello(&hello(2)).unwrap();
    let message = frame::encode(&raft(host(2), 1)).unwrap();
    for bytes in [hello, message, Bytes::from_static(&[255, 255, 255, 255, 10, 0])] {
        let mut stream = connect(Arc::clone(&config), &one).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    assert!(desk.heard.lock().unwrap().is_empty());
    one.has_heard_nothing();
}

fn authority_pin(token: &JoinToken) -> [u8; 32] {
    use base64::Engine;
    let text = token.to_string();
    let pin = text.split('.').nth(1).unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(pin).unwrap().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_desk_lets_nobody_in() {
    let authority = Authority::new();
    let token = JoinToken::new(authority_hash(&authority.ca_pem()).unwrap(), [5; 16], [6; 32]);
    let one = Node::start(1, [(2, nowhere())], authority.tls(1));
    let key = HostKey::generate().unwrap();
    let error = join::join(&token, one.transport.address(), &key, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, JoinError::Broken { .. }), "{error}");
    one.has_heard_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expired_lately_is_good_for_a_new_one_and_for_nothing_else() {
    let Town { authority, one, .. } = &mut town();
    let address = one.transport.address();
    let late = authority.expired_tls(2, 10 * DAY);
    assert!(!reaches(&late, one).await);
    let key = HostKey::generate().unwrap();
    let renewed = join::renew(&late, (CLUSTER, host(2)), address, &key).await.unwrap();
    let Certified::Issued { certificate_pem: cert_pem, ca_pem, .. } = renewed else { panic!() };
    let tls = PeerTls { ca_pem, cert_pem, key_pem: key.pem().into_bytes() };
    assert!(reaches(&tls, one).await);
    // After 30 days, for a host that is no member, and from another authority: no.
    let refused = [
        (authority.expired_tls(2, 31 * DAY), 2),
        (authority.expired_tls(9, 10 * DAY), 9),
        (Authority::new().expired_tls(2, 10 * DAY), 2),
    ];
    for (mut tls, id) in refused {
        tls.ca_pem = authority.ca_pem();
        assert!(join::renew(&tls, (CLUSTER, host(id)), address, &key).await.is_err());
    }
}

/// Whether a host with these certificates is greeted as a peer.
async fn reaches(tls: &PeerTls, one: &Node) -> bool {
    let Ok(mut stream) = dial(tls, 2, one).await else { return false };
    greet(&mut stream, hello(2)).await;
    frame::read(&mut stream, frame::MAX_HELLO).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_authorities_change_both_are_trusted_and_then_only_the_new_one() {
    let (old, new) = (Authority::new(), Authority::new());
    let both = [old.ca_pem(), new.ca_pem()].concat();
    let one = Node::start(1, [(2, nowhere())], PeerTls { ca_pem: both.clone(), ..old.tls(1) });
    let with = |ca_pem: &[u8], tls: PeerTls| PeerTls { ca_pem: ca_pem.to_vec(), ..tls };
    assert!(reaches(&with(&both, old.tls(2)), &one).await);
    assert!(reaches(&with(&both, new.tls(2)), &one).await);
    one.transport.sender().set_tls(&with(&new.ca_pem(), new.tls(1))).unwrap();
    assert!(!reaches(&with(&both, old.tls(2)), &one).await);
    assert!(reaches(&with(&new.ca_pem(), new.tls(2)), &one).await);
    let other = new.tls(5);
    assert!(one.transport.sender().set_tls(&other).is_err(), "a certificate of another host is not taken");
    assert!(reaches(&with(&new.ca_pem(), new.tls(2)), &one).await);
}
