#![expect(clippy::disallowed_methods, reason = "damages files behind the log's back")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use consensus::rt::bulk::{BulkError, FilePart};
use log_format::chapter::ChapterReader;
use log_format::disk::StdDisk;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::{ChapterSealed, HostActive, HostEvent};
use log_format::history::History;
use log_format::ids::{ClusterId, CommandId, HostId, Incarnation, Origin, OriginSequence, Salt, Term};
use log_format::time::Timestamp;
use log_format::wal::{
    Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, Wal, WalIdentity, WalOptions,
    WalSetup,
};

use super::*;
use crate::chapters::fetch::file_part;
use crate::node::SealOrder;

const HOST: HostId = HostId::new(1);
const CLUSTER: ClusterId = ClusterId::new([7; 16]);
/// Entries of each of the three chapters.
const ENTRIES: u64 = 4;

/// Other hosts, as the folders of their data.
struct Others(Vec<PathBuf>);

struct Folder(PathBuf);

impl Donors for Others {
    fn each(&mut self) -> Box<dyn Iterator<Item = Box<dyn Donor>> + '_> {
        Box::new(self.0.iter().map(|data| Box::new(Folder(data.clone())) as Box<dyn Donor>))
    }
}

impl Donor for Folder {
    fn file(&mut self, chapter: ChapterNumber, name: &str, offset: u64) -> Result<FilePart, BulkError> {
        let refused = |reason| BulkError::Refused { host: HOST, reason };
        // A large file comes in parts.
        let most = if name.ends_with(".zst") { 50 } else { 1 << 20 };
        file_part((&StdDisk, &self.0), (chapter, name), offset, most).map_err(refused)
    }
}

#[test]
fn every_damaged_file_of_every_chapter_comes_back_from_a_host_that_has_it() {
    let (own, peer) = (Host::new("back-own"), Host::new("back-peer"));
    for (chapter, name) in (1..=3).flat_map(|chapter| chapter::file_names().map(move |name| (chapter, name)))
    {
        let path = directory(&own, chapter).join(name);
        let whole = fs::read(&path).unwrap();
        for damage in [Some(flipped(&whole)), None] {
            match &damage {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            own.repair(&mut Others(vec![PathBuf::from("/nowhere"), peer.data.clone()])).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "{name} of chapter {chapter}");
            own.check();
        }
    }
}

#[test]
fn chapters_that_are_gone_come_back_by_what_the_log_names() {
    let (own, peer) = (Host::new("gone-own"), Host::new("gone-peer"));
    for gone in [vec![2], vec![1, 2], vec![1, 2, 3]] {
        gone.iter().for_each(|chapter| fs::remove_dir_all(directory(&own, *chapter)).unwrap());
        own.repair(&mut Others(vec![peer.data.clone()])).unwrap();
        own.check();
    }
}

#[test]
fn what_nobody_gives_back_is_refused_in_words_and_left_alone() {
    let (own, liar) = (Host::new("refused-own"), Host::new("refused-liar"));
    let path = directory(&own, 2).join("control.zst");
    let damaged = flipped(&fs::read(&path).unwrap());
    fs::write(&path, &damaged).unwrap();
    fs::write(directory(&liar, 2).join("control.zst"), &damaged).unwrap();
    let text = own.repair(&mut Others(vec![liar.data.clone()])).unwrap_err().to_string();
    assert!(text.contains("control.zst of chapter 2 is damaged"), "{text}");
    assert!(text.contains("start again when the others can be reached"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), damaged);
}

#[test]
fn a_file_is_told_as_erased_only_if_the_other_host_noted_that() {
    let (own, peer) = (Host::new("erased-own"), Host::new("erased-peer"));
    let (here, there) = (directory(&own, 1).join("attack.zst"), directory(&peer, 1).join("attack.zst"));
    fs::remove_file(&here).unwrap();
    let kept = fs::read(&there).unwrap();
    fs::remove_file(&there).unwrap();
    let lost = own.repair(&mut Others(vec![peer.data.clone()])).unwrap_err().to_string();
    assert!(lost.contains("attack.zst of chapter 1 is missing"), "{lost}");
    fs::write(&there, kept).unwrap();
    chapter::erase(&StdDisk, &peer.data, ChapterNumber::new(1)).unwrap();
    own.repair(&mut Others(vec![peer.data.clone()])).unwrap();
    assert!(!here.exists());
    own.check();
}

#[test]
fn what_is_erased_here_does_not_come_back() {
    let (own, peer) = (Host::new("kept-own"), Host::new("kept-peer"));
    chapter::erase(&StdDisk, &own.data, ChapterNumber::new(1)).unwrap();
    let path = directory(&own, 1).join("control.zst");
    fs::write(&path, flipped(&fs::read(&path).unwrap())).unwrap();
    own.repair(&mut Others(vec![peer.data.clone()])).unwrap();
    own.check();
    let names: Vec<_> =
        fs::read_dir(directory(&own, 1)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_str().unwrap().contains("attack")), "{names:?}");
}

#[test]
fn a_chapter_that_the_log_still_holds_needs_nobody() {
    let mut own = Host::new("held");
    own.seal(4);
    let path = directory(&own, 4).join("entries.zst");
    fs::write(&path, flipped(&fs::read(&path).unwrap())).unwrap();
    own.repair(&mut Others(Vec::new())).unwrap();
    assert_eq!(chapter::seals(&StdDisk, &own.data).unwrap().len(), 3);
    let again = own.seal(4);
    assert!(chapter::damage(&StdDisk, &own.data, &again).unwrap().is_none());
}

/// A host with three chapters, whose log begins behind them.
struct Host {
    data: PathBuf,
    wal: Wal<StdDisk>,
    last: u64,
}

impl Host {
    fn new(name: &str) -> Self {
        let data = std::env::temp_dir().join(format!("palisade-mend-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&data); // It is mostly not there.
        let wal = Wal::create(Arc::new(StdDisk), &data, setup(), ConfState::new([HOST], [])).unwrap();
        let mut host = Self { data, wal, last: 0 };
        for _ in 0..3 * ENTRIES {
            host.append(Event::Host(HostEvent::Active(HostActive { host: HOST })));
        }
        for chapter in 1..=3 {
            let seal = host.seal(chapter).hash();
            let sealed = ChapterSealed { chapter: ChapterNumber::new(chapter), seal };
            host.append(Event::Chapter(ChapterEvent::Sealed(sealed)));
        }
        host.append(Event::Host(HostEvent::Active(HostActive { host: HOST })));
        host.wal.retire(LogIndex::new(3 * ENTRIES + 1)).unwrap();
        assert_eq!(host.wal.reader().base().index, LogIndex::new(3 * ENTRIES));
        host
    }

    fn append(&mut self, event: Event) {
        let at = Timestamp::from_seconds(self.last + 1);
        let origin =
            Origin { host: HOST, incarnation: Incarnation::new(1), sequence: OriginSequence::new(0) };
        let recorded = Recorded { observed_at: at, salt: Salt::default(), event };
        let envelope =
            Envelope { command: CommandId::new([9; 16]), origin, accepted_at: at, events: vec![recorded] };
        let (index, term) = (LogIndex::new(self.last + 1), Term::new(1));
        let entry = LogEntry { index, term, kind: EntryKind::Normal, data: envelope.encode().unwrap() };
        self.wal
            .append(&Batch {
                hard_state: HardState { term, vote: None, commit: index },
                entries: &[entry],
                conf_state: None,
                durability: Durability::Sync,
            })
            .unwrap();
        self.last += 1;
    }

    fn seal(&mut self, chapter: u64) -> Seal {
        let history = History::new(Arc::new(StdDisk), &self.data, self.wal.reader());
        let order = SealOrder {
            chapter: ChapterNumber::new(chapter),
            first: LogIndex::new((chapter - 1) * ENTRIES + 1),
            last: LogIndex::new(chapter * ENTRIES),
            previous: chapter::seals(&StdDisk, &self.data).unwrap().pop(),
        };
        crate::chapters::seal(&StdDisk, &self.data, (CLUSTER, &history), &order, &mut || {}).unwrap()
    }

    fn repair(&self, donors: &mut Others) -> anyhow::Result<()> {
        repair((&StdDisk, &self.data), &self.wal.reader(), donors)
    }

    /// Every chapter is sound and can be read.
    fn check(&self) {
        let seals = chapter::seals(&StdDisk, &self.data).unwrap();
        assert_eq!(seals.len(), 3);
        for seal in &seals {
            chapter::verify(&StdDisk, &self.data, seal).unwrap();
            let entries = ChapterReader::open(&StdDisk, &self.data, seal).unwrap();
            assert_eq!(entries.map(Result::unwrap).count() as u64, ENTRIES);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn directory(host: &Host, chapter: u64) -> PathBuf {
    chapter::directory_of(&host.data, ChapterNumber::new(chapter))
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes
}

fn setup() -> WalSetup {
    WalSetup {
        identity: WalIdentity { cluster: CLUSTER, host: HOST, incarnation: Incarnation::new(1) },
        options: WalOptions { file_bytes: 16_384 },
        stamps: Box::new(|| FileStamp { nonce: 7, created_at: Timestamp::ZERO }),
    }
}
