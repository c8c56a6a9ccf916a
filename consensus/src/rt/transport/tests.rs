//! Real sockets and real TLS on the loopback, certificates made on the spot.

mod bulk;
mod join;

use std::net::Ipv4Addr;

use log_format::ids::ClusterId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::*;
use crate::rt::frame::{self, Channel, Frame, Hello, PROTOCOL};
use crate::rt::join::{Answer, Certified, JoinRequest};
use crate::rt::testing::{Authority, CLUSTER};
use crate::rt::tls::host_uri;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_tell_each_other_everything() {
    let authority = Authority::new();
    let (mut one, mut two) = pair(&authority).await;
    for message in one_of_each(host(1)) {
        assert_eq!(one.transport.sender().send(host(2), message.clone()), Delivery::Queued);
        assert_eq!(two.message().await, (host(1), message));
    }
    for message in one_of_each(host(2)) {
        assert_eq!(two.transport.sender().send(host(1), message.clone()), Delivery::Queued);
        assert_eq!(one.message().await, (host(2), message));
    }
    one.transport.shutdown().await;
    assert_eq!(two.event().await.input, PeerInput::Disconnected);
    two.transport.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_keep_their_order_also_when_there_are_many() {
    let authority = Authority::new();
    let (one, mut two) = pair(&authority).await;
    for index in 0..3_000 {
        assert_eq!(one.transport.sender().send(host(2), raft(host(1), index)), Delivery::Queued);
    }
    for index in 0..3_000 {
        assert_eq!(two.message().await, (host(1), raft(host(1), index)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_back_is_connected_again() {
    let authority = Authority::new();
    let (one, mut two) = pair(&authority).await;
    let address = one.transport.address();
    one.transport.shutdown().await;
    assert_eq!(two.event().await.input, PeerInput::Disconnected);
    assert_eq!(two.transport.sender().send(host(1), raft(host(2), 1)), Delivery::Lost);
    let listener = TcpListener::bind(address).unwrap();
    let mut again = Node::start_on(listener, host(1), [(host(2), two.transport.address())], authority.tls(1));
    again.connected_to(host(2)).await;
    two.connected_to(host(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_frees_the_port_and_forgets_the_peers() {
    let authority = Authority::new();
    let (one, two) = pair(&authority).await;
    let (address, sender) = (one.transport.address(), one.transport.sender());
    one.transport.shutdown().await;
    assert!(sender.connected().is_empty());
    assert!(TcpListener::bind(address).is_ok());
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_no_longer_a_member_is_cut_off_and_stays_out() {
    let authority = Authority::new();
    let (mut one, two) = pair(&authority).await;
    one.transport.sender().set_peers(BTreeMap::new());
    let event = one.event().await;
    assert_eq!((event.from, event.input), (host(2), PeerInput::Disconnected));
    drop(two);
    let mut stranger = dial(&authority.tls(2), 2, &one).await.unwrap();
    greet(&mut stranger, hello(2)).await;
    assert!(is_closed(&mut stranger).await);
    one.has_heard_nothing();
}

/// Has heard of hosts up to this one.
struct Newer(HostId);

impl JoinDesk for Newer {
    fn join(&self, _: JoinRequest) -> Answer<'_> {
        Box::pin(async { Certified::Refused { reason: "not here".to_owned() } })
    }

    fn renew(&self, _: HostId, _: Bytes) -> Answer<'_> {
        Box::pin(async { Certified::Refused { reason: "not here".to_owned() } })
    }

    fn was_let_go(&self, _: HostId) -> bool {
        false
    }

    fn may_be_new(&self, host: HostId) -> bool {
        self.0 < host
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_joined_since_is_heard_by_one_that_has_not_heard_of_it() {
    let authority = Authority::new();
    let desk = Services { bulk: None, desk: Some(Arc::new(Newer(host(1)))) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut one = Node::start_serving(listener, host(1), [], (authority.tls(1), desk));
    let two = Node::start(2, [(1, one.transport.address())], authority.tls(2));
    let event = one.event().await;
    assert_eq!(event.from, host(2));
    assert!(matches!(event.input, PeerInput::Connected { .. }), "{event:?}");
    one.transport.sender().set_peers(at([(host(2), two.transport.address())]));
    assert_eq!(one.inbox.try_recv().ok(), None, "the connection stays");
}

/// Knows which hosts were let go, and nothing else.
struct Gone(HostId);

impl JoinDesk for Gone {
    fn join(&self, _: JoinRequest) -> Answer<'_> {
        Box::pin(async { Certified::Refused { reason: "not here".to_owned() } })
    }

    fn renew(&self, _: HostId, _: Bytes) -> Answer<'_> {
        Box::pin(async { Certified::Refused { reason: "not here".to_owned() } })
    }

    fn was_let_go(&self, host: HostId) -> bool {
        host == self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_let_go_hears_it_whether_it_dials_or_should_be_dialled() {
    for (member, gone) in [(1, 2), (2, 1)] {
        let authority = Authority::new();
        let desk = Services { bulk: None, desk: Some(Arc::new(Gone(host(gone)))) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = Node::start_serving(listener, host(member), [], (authority.tls(member), desk));
        let address = one.transport.address();
        let mut two = Node::start(gone, [(member, address)], authority.tls(gone));
        let event = two.event().await;
        assert_eq!((event.from, event.input), (host(member), PeerInput::LetGo));
        one.has_heard_nothing();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_data_directory_was_made_anew_hears_it_whether_it_dials_or_is_dialled() {
    for (member, anew) in [(1, 2), (2, 1)] {
        let authority = Authority::new();
        let (older, newer) = (member.min(anew), member.max(anew));
        let mut older = Node::start(older, [(newer, nowhere())], authority.tls(older));
        let address = older.transport.address();
        let known = |peer, address| {
            let incarnation = (peer == anew).then_some(Incarnation::new(7));
            BTreeMap::from([(host(peer), Peer { address, incarnation })])
        };
        older.transport.sender().set_peers(known(newer, nowhere()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut newer_node = Node::start_on(listener, host(newer), [], authority.tls(newer));
        newer_node.transport.sender().set_peers(known(member.min(anew), address));
        let (member_node, anew_node) =
            if member < anew { (older, &mut newer_node) } else { (newer_node, &mut older) };
        loop {
            let event = anew_node.event().await;
            assert_eq!(event.from, host(member));
            match event.input {
                PeerInput::MadeAnew => break,
                // It cannot know before it is told.
                PeerInput::Connected { .. } | PeerInput::Disconnected => {}
                PeerInput::Message(_) | PeerInput::LetGo => panic!("{event:?}"),
            }
        }
        member_node.has_heard_nothing();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_host_is_cut_off_once_the_log_has_another_incarnation_of_it() {
    let authority = Authority::new();
    let (mut one, two) = pair(&authority).await;
    let known = |number| {
        let peer = Peer { address: two.transport.address(), incarnation: Some(Incarnation::new(number)) };
        BTreeMap::from([(host(2), peer)])
    };
    one.transport.sender().set_peers(known(1));
    one.transport.sender().set_peers(known(7));
    let event = one.event().await;
    assert_eq!((event.from, event.input), (host(2), PeerInput::Disconnected));
    one.has_heard_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_another_authority_are_refused() {
    let authority = Authority::new();
    let one = Node::start(1, [(2, nowhere())], authority.tls(1));
    // It trusts the right authority and shows the wrong one's certificate.
    let mut tls = Authority::new().tls(2);
    tls.ca_pem = authority.ca_pem();
    refused(&tls, 2, hello(2), one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_another_cluster_are_refused() {
    let authority = Authority::new();
    let one = Node::start(1, [(2, nowhere())], authority.tls(1));
    let other = ClusterId::new([8; 16]);
    let tls = authority.tls_named(&[host_uri(other, host(2))]);
    refused_with(careless_client(Some(&tls)), hello(2), one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_name_no_host_or_two_are_refused() {
    let authority = Authority::new();
    let names = [host_uri(CLUSTER, host(2)), host_uri(CLUSTER, host(3))];
    for names in [&names[..0], &names[..]] {
        let tls = authority.tls_named(names);
        let found = TlsSetup::new(&tls, CLUSTER, host(2)).map(drop);
        assert!(matches!(found, Err(TlsSetupError::OwnCertificate { .. })));
        let one = Node::start(1, [(2, nowhere())], authority.tls(1));
        refused_with(careless_client(Some(&tls)), hello(2), one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let one = Node::start(1, [(2, nowhere())], authority.tls(1));
    refused_with(careless_client(None), hello(2), one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_hears_nothing() {
    let authority = Authority::new();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let two = Node::start_at(2, [(host(1), address)], authority.tls(2));
    let impostor = Authority::new().tls(1);
    let setup = TlsSetup::new(&impostor, CLUSTER, host(1)).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    assert!(TlsAcceptor::from(setup.server).accept(stream).await.is_err());
    two.has_heard_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_in_place_of_another_hears_nothing() {
    let authority = Authority::new();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let five = Node::start_at(5, [(host(1), address), (host(6), nowhere())], authority.tls(5));
    let setup = TlsSetup::new(&authority.tls(6), CLUSTER, host(6)).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = TlsAcceptor::from(setup.server).accept(stream).await.unwrap();
    let mut heard = Vec::new();
    // An alert is as good as an end.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, []);
    five.has_heard_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_say_nothing_keep_no_member_out() {
    let authority = Authority::new();
    let mut one = Node::start(1, [(2, nowhere())], authority.tls(1));
    let mut idle = Vec::new();
    for source in 2..=12 {
        // More than its share: the last ones are closed at once, so those before have their places by then.
        for _ in 0..8 {
            idle.push(connect_from(source, &one).await);
        }
        assert!(is_closed(&mut connect_from(source, &one).await).await);
    }
    drop(greeted(&authority, 2, &mut one).await);
}

async fn connect_from(last: u8, to: &Node) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    socket.connect(to.transport.address()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_members_are_refused() {
    let authority = Authority::new();
    let one = Node::start(1, [(2, nowhere())], authority.tls(1));
    refused(&authority.tls(9), 9, hello(9), one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_does_not_talk_to_itself() {
    let authority = Authority::new();
    let one = Node::start(1, [(2, nowhere())], authority.tls(1));
    refused(&authority.tls(1), 1, hello(1), one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_with_the_lower_id_does_not_dial() {
    let authority = Authority::new();
    let three = Node::start(3, [(2, nowhere())], authority.tls(3));
    refused(&authority.tls(2), 2, hello(2), three).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_that_do_not_fit_the_certificate_or_the_cluster_are_refused() {
    let authority = Authority::new();
    let mut other_cluster = hello(2);
    other_cluster.identity.cluster = ClusterId::new([8; 16]);
    let mut newer = hello(2);
    (newer.protocol_min, newer.protocol_max) = (PROTOCOL + 1, PROTOCOL + 5);
    let mut bulk = hello(2);
    bulk.channel = Channel::Bulk;
    for greeting in [hello(3), other_cluster, newer, bulk] {
        let one = Node::start(1, [(2, nowhere()), (3, nowhere())], authority.tls(1));
        refused(&authority.tls(2), 2, greeting, one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_another_host_ends_the_connection() {
    let authority = Authority::new();
    let mut one = Node::start(1, [(2, nowhere()), (3, nowhere())], authority.tls(1));
    let mut two = greeted(&authority, 2, &mut one).await;
    let honest = frame::encode(&raft(host(2), 5)).unwrap();
    two.write_all(&honest).await.unwrap();
    assert_eq!(one.message().await, (host(2), raft(host(2), 5)));
    let forged = frame::encode(&raft(host(3), 6)).unwrap();
    two.write_all(&forged).await.unwrap();
    two.write_all(&honest).await.unwrap();
    assert!(is_closed(&mut two).await);
    assert_eq!(one.event().await.input, PeerInput::Disconnected);
    one.has_heard_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_four_gibibytes_is_refused_before_anything_is_read_of_it() {
    let authority = Authority::new();
    let huge = [255, 255, 255, 255, 2, 0];
    let mut one = Node::start(1, [(2, nowhere())], authority.tls(1));
    let mut two = greeted(&authority, 2, &mut one).await;
    two.write_all(&huge).await.unwrap();
    assert!(is_closed(&mut two).await);
    assert_eq!(one.event().await.input, PeerInput::Disconnected);
    let mut stranger = dial(&authority.tls(2), 2, &one).await.unwrap();
    stranger.write_all(&huge).await.unwrap();
    assert!(is_closed(&mut stranger).await);
    one.has_heard_nothing();
}

#[tokio::test]
async fn frames_are_refused_by_length_type_and_contents() {
    let over = u32::try_from(frame::MAX_FRAME + 1).unwrap().to_le_bytes();
    let cases: [(&str, Vec<u8>); 6] = [
        ("is over the limit", [over.as_slice(), &[2, 0]].concat()),
        ("unknown frame type 99", vec![0, 0, 0, 0, 99, 0]),
        ("flags 0x01", vec![0, 0, 0, 0, 7, 1]),
        ("decode ping", vec![3, 0, 0, 0, 3, 0, 255, 255, 255]),
        ("hello names no cluster", vec![0, 0, 0, 0, 1, 0]),
        ("read frame", vec![9, 0, 0, 0, 3, 0, 1]),
    ];
    for (reason, bytes) in cases {
        let error = frame::read(&mut bytes.as_slice(), frame::MAX_FRAME).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let payload = vec![0; frame::MAX_FRAME].into();
    assert!(frame::encode(&PeerMessage::Forward { ticket: 1, payload }).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_bytes_are_no_way_in() {
    let authority = Authority::new();
    let one = Node::start(1, [(2, nowhere())], authority.tls(1));
    let tap = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let tapped = tap.local_addr().unwrap();
    let two = Node::start_at(2, [(host(1), tapped)], authority.tls(2));
    let (near, _) = tap.accept().await.unwrap();
    let far = TcpStream::connect(one.transport.address()).await.unwrap();
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut near_write).await });
    let mut recorded = Vec::new();
    let mut one = one;
    while !one.transport.sender().connected().contains(&host(2)) {
        let read = tokio::time::timeout(DEADLINE, near_read.read_buf(&mut recorded)).await.unwrap().unwrap();
        far_write.write_all(&recorded[recorded.len() - read..]).await.unwrap();
    }
    assert!(matches!(one.event().await.input, PeerInput::Connected { .. }));
    back.abort();
    drop((near_read, far_write, two));
    assert_eq!(one.event().await.input, PeerInput::Disconnected);
    let mut replay = TcpStream::connect(one.transport.address()).await.unwrap();
    replay.write_all(&recorded).await.unwrap();
    assert!(is_closed(&mut replay).await);
    one.has_heard_nothing();
}

#[test]
fn a_hosts_name_has_one_spelling() {
    let cluster = CLUSTER.to_string();
    let authority = Authority::new();
    let accepts = |uri: String| TlsSetup::new(&authority.tls_named(&[uri]), CLUSTER, host(2)).is_ok();
    assert!(accepts(format!("cluster:{cluster}/host/2")));
    for uri in [
        format!("cluster:{cluster}/host/02"),
        format!("cluster:{cluster}/host/+2"),
        format!("cluster:{cluster}/host/2/"),
        format!("Cluster:{cluster}/host/2"),
        format!("cluster:{cluster}/host/0"),
        format!("https:{cluster}/host/2"),
    ] {
        assert!(!accepts(uri.clone()), "{uri}");
    }
}

struct Node {
    transport: Transport,
    inbox: Receiver<PeerEvent>,
}

impl Node {
    fn start<const N: usize>(id: u64, peers: [(u64, SocketAddr); N], tls: PeerTls) -> Self {
        Self::start_at(id, peers.map(|(id, address)| (host(id), address)), tls)
    }

    fn start_at<const N: usize>(id: u64, peers: [(HostId, SocketAddr); N], tls: PeerTls) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self::start_on(listener, host(id), peers, tls)
    }

    fn start_on<const N: usize>(
        listener: TcpListener,
        host: HostId,
        peers: [(HostId, SocketAddr); N],
        tls: PeerTls,
    ) -> Self {
        Self::start_serving(listener, host, peers, (tls, Services::default()))
    }

    fn start_serving<const N: usize>(
        listener: TcpListener,
        host: HostId,
        peers: [(HostId, SocketAddr); N],
        (tls, services): (PeerTls, Services),
    ) -> Self {
        let config = TransportConfig {
            identity: identity(host),
            peers: at(peers),
            tls,
            build: "test".to_owned(),
            services,
        };
        let (inbox, events) = mpsc::channel(16);
        let transport = Transport::start(&Handle::current(), config, listener, inbox).unwrap();
        Self { transport, inbox: events }
    }

    async fn event(&mut self) -> PeerEvent {
        tokio::time::timeout(DEADLINE, self.inbox.recv()).await.unwrap().unwrap()
    }

    async fn connected_to(&mut self, peer: HostId) {
        let event = self.event().await;
        assert_eq!(event.from, peer);
        assert!(matches!(event.input, PeerInput::Connected { .. }), "{event:?}");
    }

    async fn message(&mut self) -> (HostId, PeerMessage) {
        let PeerEvent { from, input } = self.event().await;
        let PeerInput::Message(message) = input else { panic!("not a message: {input:?}") };
        (from, message)
    }

    fn has_heard_nothing(mut self) {
        assert_eq!(self.inbox.try_recv().ok(), None);
        assert!(self.transport.sender().connected().is_empty());
    }
}

/// Members that have not said which incarnation they are.
fn at<const N: usize>(peers: [(HostId, SocketAddr); N]) -> Peers {
    peers.into_iter().map(|(host, address)| (host, Peer { address, incarnation: None })).collect()
}

/// Hosts 1 and 2, connected.
async fn pair(authority: &Authority) -> (Node, Node) {
    let mut one = Node::start(1, [(2, nowhere())], authority.tls(1));
    let mut two = Node::start_at(2, [(host(1), one.transport.address())], authority.tls(2));
    one.connected_to(host(2)).await;
    two.connected_to(host(1)).await;
    (one, two)
}

/// A bare connection of a host with these certificates.
async fn dial(tls: &PeerTls, id: u64, to: &Node) -> std::io::Result<TlsStream<TcpStream>> {
    let setup = TlsSetup::new(tls, CLUSTER, host(id)).unwrap();
    connect(setup.client, to).await
}

async fn connect(config: Arc<rustls::ClientConfig>, to: &Node) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to.transport.address()).await?;
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    TlsConnector::from(config).connect(name, stream).await
}

/// A bare connection that has been greeted.
async fn greeted(authority: &Authority, id: u64, to: &mut Node) -> TlsStream<TcpStream> {
    let mut stream = dial(&authority.tls(id), id, to).await.unwrap();
    greet(&mut stream, hello(id)).await;
    let answer = frame::read(&mut stream, frame::MAX_HELLO).await.unwrap();
    assert!(matches!(answer, Frame::Hello(_)));
    to.connected_to(host(id)).await;
    stream
}

async fn greet(stream: &mut TlsStream<TcpStream>, hello: Hello) {
    let hello = frame::encode_hello(&hello).unwrap();
    // A server that has closed already may be found out here or on the next read.
    let _ = stream.write_all(&hello).await;
}

async fn refused(tls: &PeerTls, id: u64, greeting: Hello, node: Node) {
    let setup = TlsSetup::new(tls, CLUSTER, host(id)).unwrap();
    refused_with(setup.client, greeting, node).await;
}

/// The connection is closed and nothing is heard of it.
async fn refused_with(config: Arc<rustls::ClientConfig>, greeting: Hello, node: Node) {
    if let Ok(mut stream) = connect(config, &node).await {
        greet(&mut stream, greeting).await;
        assert!(is_closed(&mut stream).await);
    }
    node.has_heard_nothing();
}

/// A client that believes every server, to see what servers believe.
fn careless_client(tls: Option<&PeerTls>) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless));
    let mut config = match tls {
        None => builder.with_no_client_auth(),
        Some(tls) => {
            let chain = CertificateDer::pem_slice_iter(&tls.cert_pem).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"palisade-peer".to_vec()];
    Arc::new(config)
}

#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Reads what may come until the other side closes.
async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let mut ignored = Vec::new();
    // An alert or a reset is as good as an end.
    let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut ignored)).await;
    end.is_ok()
}

fn one_of_each(from: HostId) -> Vec<PeerMessage> {
    let text = Bytes::from_static(b"opaque");
    vec![
        raft(from, 9),
        PeerMessage::Ping { sent_at: Timestamp::from_nanos(12), status: text.clone() },
        PeerMessage::Pong { echo_sent_at: Timestamp::from_nanos(12), received_at: Timestamp::from_nanos(13) },
        PeerMessage::Forward { ticket: u64::MAX, payload: text.clone() },
        PeerMessage::Forwarded { ticket: 1, outcome: text },
    ]
}

fn raft(from: HostId, index: u64) -> PeerMessage {
    let entry = raft::eraftpb::Entry {
        index: index + 1,
        data: Bytes::from_static(b"data"),
        ..raft::eraftpb::Entry::default()
    };
    PeerMessage::Raft(Box::new(Message {
        from: from.get(),
        index,
        entries: vec![entry].into(),
        ..Message::default()
    }))
}

fn hello(id: u64) -> Hello {
    Hello {
        identity: identity(host(id)),
        protocol_min: PROTOCOL,
        protocol_max: PROTOCOL,
        build: "test".to_owned(),
        channel: Channel::Raft,
    }
}

fn identity(host: HostId) -> WalIdentity {
    WalIdentity { cluster: CLUSTER, host, incarnation: Incarnation::new(1) }
}

fn host(id: u64) -> HostId {
    HostId::new(id)
}

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9).into()
}
