//! Bytes once written decode for ever: every event kind, the envelope and the log against the files in `golden/`.
#![expect(clippy::disallowed_methods, reason = "reads the golden files")]
#![expect(clippy::expect_used, reason = "helpers of tests")]

#[path = "samples/mod.rs"]
mod samples;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_format::chapter::{self, ChapterReader, Part};
use log_format::codec;
use log_format::disk::{Disk, DiskFile, MemoryDisk};
use log_format::envelope::Envelope;
use log_format::event::Kind;
use log_format::seal::Seal;
use log_format::time::Timestamp;
use log_format::verify;
use log_format::wal::{FileStamp, LogEntry, TailEnd, Wal, WalOptions, WalSetup};

const CHANGED: &str = "differs: bytes once written must decode for ever, so a golden file is never edited. \
    A changed event is a new schema number (Kind::schema), with its old struct kept in upcast.rs; \
    a changed envelope or log is a new version of it";
const ABSENT: &str =
    "is missing: run `cargo run -p log-format --example golden`, which only adds files, and commit it";

#[test]
fn every_sample_encodes_to_its_golden_bytes_and_text() {
    for sample in samples::all() {
        let name = &sample.name;
        let bytes = fs::read(path(name, "bin")).unwrap_or_else(|_| panic!("golden/{name}.bin {ABSENT}"));
        assert!(bytes == sample.bytes, "golden/{name}.bin {CHANGED}");
        let text =
            fs::read_to_string(path(name, "txt")).unwrap_or_else(|_| panic!("golden/{name}.txt {ABSENT}"));
        assert_eq!(text, sample.text, "golden/{name}.txt differs from what its bytes are shown as");
    }
}

#[test]
fn every_kind_has_a_golden_file_of_every_schema() {
    for kind in Kind::ALL {
        for schema in 1..=kind.schema() {
            let name = format!("{}-{schema}", kind.name());
            assert!(path(&name, "bin").exists(), "golden/{name}.bin {ABSENT}");
        }
    }
}

#[test]
fn every_golden_payload_decodes_whatever_its_schema() {
    let mut decoded = 0;
    for name in names() {
        let Some((kind, schema)) = kind_and_schema(&name) else {
            let is_whole = ["envelope-1", "wal-1", "chapter-1"].iter().any(|whole| name.starts_with(whole));
            assert!(is_whole, "golden/{name}.bin belongs to nothing");
            continue;
        };
        let bytes = fs::read(path(&name, "bin")).unwrap();
        let event =
            codec::decode(kind, schema, &bytes).unwrap_or_else(|error| panic!("golden/{name}.bin: {error}"));
        assert_eq!(event.kind(), kind);
        if schema == kind.schema() {
            assert_eq!(codec::encode(&event).unwrap(), bytes, "golden/{name}.bin");
        }
        decoded += 1;
    }
    assert!(Kind::ALL.len() <= decoded);
}

#[test]
fn the_golden_envelope_decodes() {
    let written = [
        ("envelope-1", samples::envelope()),
        ("envelope-1-second", samples::envelope()),
        ("envelope-1-third", samples::envelope()),
        ("envelope-1-erased", samples::erased()),
        ("envelope-1-erased-second", samples::erased()),
    ];
    for (name, expected) in written {
        let bytes = fs::read(path(name, "bin")).unwrap();
        assert_eq!(Envelope::decode(&bytes).unwrap(), expected, "{name}");
        // Schemas have risen since the others were written.
        if ["envelope-1-third", "envelope-1-erased-second"].contains(&name) {
            assert_eq!(expected.encode().unwrap(), bytes, "{name}");
        }
    }
}

#[test]
fn the_golden_log_opens_and_holds_its_entries() {
    for name in ["wal-1", "wal-1-second", "wal-1-third"] {
        open_golden_log(&fs::read(path(name, "bin")).unwrap());
    }
}

fn open_golden_log(bytes: &[u8]) {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("/data/wal")).expect("a folder");
    let file = disk.create(Path::new(samples::LOG_FILE)).expect("a file");
    file.write_at(0, bytes).expect("write the log");
    assert_eq!(
        samples::describe(&disk),
        fs::read_to_string(path("wal-1-third", "txt")).expect("the golden log is sound")
    );
    assert!(
        verify::verify(&disk, Path::new(samples::DATA), &|_, _, _| false)
            .expect("the golden log is sound")
            .is_sound()
    );

    let setup = WalSetup {
        identity: samples::identity(),
        options: WalOptions::default(),
        stamps: Box::new(|| FileStamp { nonce: 9, created_at: Timestamp::ZERO }),
    };
    let (wal, recovered) =
        Wal::open(Arc::new(disk), Path::new(samples::DATA), setup).expect("the golden log is sound");
    assert_eq!(recovered.ended, TailEnd::Clean);
    assert_eq!(recovered.conf_state.learners.len(), 1);
    assert_eq!(wal.reader().last(), recovered.last);
}

#[test]
fn the_golden_chapter_is_told_to_the_byte() {
    for (name, _) in samples::compressed() {
        assert!(folder().join(&name).exists(), "golden/{name} {ABSENT}");
    }
    assert_eq!(golden_chapter("chapter-1-second"), samples::chapter::entries(1));
}

#[test]
fn a_chapter_of_older_schemas_is_told_and_decodes() {
    let told = golden_chapter("chapter-1");
    let envelopes = told.iter().filter_map(|entry| verify::decode(entry).expect("an old envelope decodes"));
    assert_eq!((told.len(), envelopes.flat_map(|envelope| envelope.events).count()), (16, 36));
}

fn golden_chapter(name: &str) -> Vec<LogEntry> {
    let disk = MemoryDisk::new();
    let data = Path::new(samples::DATA);
    let seal = Seal::decode(&fs::read(path(&format!("{name}-seal"), "bin")).expect("a golden seal"))
        .expect("a seal");
    for part in Part::ALL {
        let name = format!("{name}-{}", part.file_name());
        let bytes = fs::read(folder().join(&name)).expect("a golden part");
        let file = chapter::begin_staging(&disk, data, seal.chapter, part).expect("a file");
        file.write_at(0, &bytes).expect("write the part");
    }
    chapter::install(&disk, data, &seal, None).expect("the golden chapter is sound");
    ChapterReader::open(&disk, data, &seal).expect("a reader").collect::<Result<_, _>>().expect("entries")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn path(name: &str, extension: &str) -> PathBuf {
    folder().join(format!("{name}.{extension}"))
}

/// The names of all files with bytes.
fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("the golden folder");
    let paths = files.map(|file| file.expect("a golden file").path());
    let bytes = paths.filter(|path| path.extension().is_some_and(|extension| extension == "bin"));
    bytes.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)).collect()
}

/// Reads `<Kind>-<schema>` and an optional case behind it.
fn kind_and_schema(name: &str) -> Option<(Kind, u16)> {
    let mut parts = name.splitn(3, '-');
    let kind = parts.next()?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    Some((kind, parts.next()?.parse().ok()?))
}
