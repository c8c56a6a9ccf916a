//! Fetching from peers.

use log_format::ids::{LogIndex, Term};
use log_format::wal::{EntryKind, LogEntry};

use super::*;
use crate::rt::bulk::{BulkClient, BulkError, BulkSource, FilePart, MAX_PART};

/// A log without end, of entries of 100 KB, and one file of 2.5 MiB.
struct Source;

const FILE: usize = 5 << 19;

impl BulkSource for Source {
    fn entries(&self, from: LogIndex, until: LogIndex, max_bytes: usize) -> Result<Vec<LogEntry>, String> {
        let entry = |index| LogEntry {
            index: LogIndex::new(index),
            term: Term::new(3),
            kind: EntryKind::Normal,
            data: vec![index.to_le_bytes()[0]; 100_000],
        };
        Ok((from.get()..until.get()).take(max_bytes / 100_000).map(entry).collect())
    }

    fn chapter_file(
        &self,
        chapter: u64,
        name: &str,
        offset: u64,
        max_bytes: usize,
    ) -> Result<FilePart, String> {
        if (chapter, name) != (7, "audit.zst") {
            return Err(format!("chapter {chapter} has no file {name}"));
        }
        let rest = FILE - usize::try_from(offset).unwrap();
        Ok(FilePart { data: vec![7; rest.min(max_bytes)].into(), length: FILE as u64 })
    }

    fn owner(&self, from: HostId, request: Bytes) -> Result<Bytes, String> {
        Ok(Bytes::from([&request[..], b" of ", from.to_string().as_bytes()].concat()))
    }
}

fn serving(authority: &Authority) -> Node {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let services = Services { bulk: Some(Arc::new(Source)), desk: None };
    let peers = [(host(1), nowhere()), (host(3), nowhere())];
    Node::start_serving(listener, host(2), peers, (authority.tls(2), services))
}

async fn client(authority: &Authority, id: u64, to: &Node) -> Result<BulkClient, BulkError> {
    let (tls, identity) = (authority.tls(id), identity(host(id)));
    BulkClient::connect(&tls, identity, host(2), to.transport.address()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_and_files_come_in_bounded_parts_whoever_asks() {
    let authority = Authority::new();
    let two = serving(&authority);
    // The lower id asks as well as the higher one: only raft's connection has a direction.
    for id in [1, 3] {
        let mut client = client(&authority, id, &two).await.unwrap();
        let entries = client.entries(LogIndex::new(5), LogIndex::new(90)).await.unwrap();
        assert_eq!(entries.len(), MAX_PART / 100_000);
        assert_eq!((entries[0].index, entries[0].term), (LogIndex::new(5), Term::new(3)));
        assert_eq!(entries[3].data, vec![8; 100_000]);
        let mut file = Vec::new();
        loop {
            let part = client.chapter_file(7, "audit.zst", file.len() as u64).await.unwrap();
            if part.data.is_empty() {
                break;
            }
            assert!(part.data.len() <= MAX_PART);
            file.extend_from_slice(&part.data);
        }
        assert_eq!(file, vec![7; FILE]);
        assert_eq!(client.owner(Bytes::from_static(b"wish")).await.unwrap(), format!("wish of {id}"));
    }
    two.has_heard_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_reason_and_does_not_end_the_connection() {
    let authority = Authority::new();
    let two = serving(&authority);
    let mut client = client(&authority, 1, &two).await.unwrap();
    let error = client.chapter_file(8, "../../id", 0).await.unwrap_err();
    assert!(error.to_string().contains("chapter 8 has no file"), "{error}");
    assert!(client.owner(Bytes::new()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_have_joined_since_is_given_nothing_before_it_is_known() {
    let authority = Authority::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let services = Services { bulk: Some(Arc::new(Source)), desk: Some(Arc::new(Newer(host(2)))) };
    let two = Node::start_serving(listener, host(2), [], (authority.tls(2), services));
    // The greeting may be refused before the first request or after it left.
    let fetched = async || client(&authority, 3, &two).await?.owner(Bytes::new()).await;
    assert!(fetched().await.is_err());
    two.transport.sender().set_peers(at([(host(3), nowhere())]));
    assert!(fetched().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_fetch_and_whoever_is_removed_is_cut_off_at_once() {
    let authority = Authority::new();
    let two = serving(&authority);
    assert!(client(&authority, 9, &two).await.is_err());
    assert!(client(&Authority::new(), 1, &two).await.is_err());
    let mut client = client(&authority, 1, &two).await.unwrap();
    assert!(client.owner(Bytes::new()).await.is_ok());
    two.transport.sender().set_peers(BTreeMap::new());
    while client.owner(Bytes::new()).await.is_ok() {}
    two.has_heard_nothing();
}
