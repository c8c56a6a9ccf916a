//! `FORMAT.md` against the constants and against the golden bytes: its tables are read and used to take the bytes apart.
#![expect(clippy::disallowed_methods, reason = "reads the page and the golden files")]
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use log_format::disk::MemoryDisk;
use log_format::event::{Class, Kind, Text};
use log_format::ids::{ClusterId, HostId, Incarnation, OriginSequence};
use log_format::reserve::SpaceLimits;
use log_format::spool::{Priority, Spool, SpoolOptions, SpoolRecord, SpoolSetup};
use log_format::time::Timestamp;
use log_format::wal::{ConfState, FileStamp, MAX_BATCH, WalIdentity, WalOptions};
use log_format::{chapter, codec, disk, envelope, merkle, seal};
use sha2::Digest;

/// Rows of cells.
type Table = Vec<Vec<String>>;

#[test]
fn the_constants_are_those_of_the_code() {
    let page = Page::read();
    let table = page.table("Constants", "Constant");
    let documented: BTreeMap<&str, u64> =
        table.iter().map(|row| (row[0].as_str(), row[1].parse().expect("a number"))).collect();
    let expected = BTreeMap::from([
        ("block", 4_096),
        ("sector", disk::SECTOR as u64),
        ("log format", 1),
        ("file bytes", WalOptions::FILE_BYTES),
        ("batch bytes at most", MAX_BATCH as u64),
        ("members at most", ConfState::MAX_MEMBERS as u64),
        ("reserve bytes", SpaceLimits::RESERVE_BYTES),
        ("low bytes", SpaceLimits::LOW_BYTES),
        ("low percent", SpaceLimits::LOW_PERCENT),
        ("spool file bytes", SpoolOptions::FILE_BYTES),
        ("spool bytes at most", SpoolOptions::BOUND_BYTES),
        ("envelope version", envelope::VERSION.into()),
        ("envelope header", envelope::HEADER_LENGTH as u64),
        ("events at most", envelope::MAX_EVENTS as u64),
        ("payload bytes at most", codec::MAX_PAYLOAD as u64),
        ("text bytes at most", Text::MAX_LENGTH as u64),
        ("chapter format", seal::FORMAT.into()),
        ("frame bytes at most", chapter::MAX_FRAME as u64),
    ]);
    assert_eq!(documented, expected);
}

#[test]
fn the_kinds_and_classes_are_those_of_the_code() {
    let page = Page::read();
    let kinds = page.table("Envelope", "Kind");
    let expected: Table = Kind::ALL
        .iter()
        .map(|kind| {
            let class = format!("{:?}", kind.class());
            vec![kind.name().to_owned(), format!("{:#06x}", kind.code()), class, kind.schema().to_string()]
        })
        .collect();
    assert_eq!(kinds, expected);
    for row in page.table("Envelope", "Class") {
        let class = Class::from_code(row[1].parse().expect("a code")).expect("a class");
        assert_eq!(row[0], format!("{class:?}"));
    }
}

#[test]
fn the_file_header_is_where_the_page_says() {
    let bytes = golden("wal-1");
    let members = 4 + 3 * 8;
    let field = Page::read().fields("File header", "m", members);
    let number = |name| field.number(&bytes, name);
    assert_eq!(field.bytes(&bytes, "magic"), b"ELOGWAL\0");
    assert_eq!((number("format"), number("header length")), (1, 110 + members));
    assert_eq!(field.bytes(&bytes, "cluster"), [0x77; 16]);
    assert_eq!((number("host"), number("incarnation"), number("number")), (1, 1, 1));
    assert_eq!(number("nonce"), 0x1122_3344_5566_7788);
    assert_eq!((number("first batch"), number("base index"), number("base term")), (1, 0, 0));
    assert_eq!((number("members length"), number("previous checksum")), (members, 0));
    assert_eq!(number("created at"), 1_767_323_045_678_901_234);
    assert_eq!(number("file bytes"), bytes.len() as u64);
    let (checksum, end) = field.place("checksum");
    assert_eq!(number("checksum"), u64::from(crc32c::crc32c(&bytes[..checksum])));
    assert_eq!(end as u64, number("header length"));
    assert!(bytes[end..4_096].iter().all(|byte| *byte == 0));

    let list = field.bytes(&bytes, "members");
    let field = Page::read().fields("Members", "", 0);
    assert_eq!((field.number(list, "voters"), field.number(list, "learners")), (3, 0));
    assert_eq!(field.place("hosts").0, 4);
    assert_eq!(list[4..12], 1_u64.to_le_bytes());
}

#[test]
fn batches_and_records_are_where_the_page_says() {
    let file = golden("wal-1");
    let header = Page::read().fields("Batch", "", 0);
    let record = Page::read().fields("Record", "", 0);
    let kinds: BTreeMap<String, u64> = Page::read()
        .table("Record", "Record kind")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().expect("a code")))
        .collect();
    let expected = [
        (1, 0, 1, 2, vec![("entry", 1), ("entry", 2)]),
        (1, 2, 3, 4, vec![("change of members", 3), ("entry", 4)]),
        (2, 3, 4, 4, vec![("change of members, second layout", 4), ("members", 0)]),
    ];
    for ((at, batch), (term, commit, first, last, records)) in
        file[4_096..].chunks(4_096).enumerate().zip(expected)
    {
        let number = |name| header.number(batch, name);
        assert_eq!(header.bytes(batch, "magic"), b"WBAT");
        assert_eq!((number("nonce"), number("batch number")), (0x1122_3344_5566_7788, at as u64 + 1));
        assert_eq!((number("term"), number("vote"), number("commit")), (term, 2, commit));
        assert_eq!((number("first index"), number("last index")), (first, last));
        assert_eq!((number("count"), number("flags")), (records.len() as u64, 0));
        let zero = batch.chunks(512).filter(|sector| sector.iter().all(|byte| *byte == 0)).count();
        assert_eq!(number("zero sectors"), zero as u64);
        let body = &batch[80..80 + usize::try_from(number("body length")).expect("small")];
        assert_eq!(header.place("records").0, 80);
        assert_eq!(number("body checksum"), u64::from(crc32c::crc32c(body)));
        assert_eq!(number("header checksum"), u64::from(crc32c::crc32c(&batch[..76])));
        let mut left = body;
        for (kind, index) in records {
            assert_eq!((record.number(left, "kind"), record.number(left, "index")), (kinds[kind], index));
            let length = usize::try_from(record.number(left, "length")).expect("small");
            let payload = record.place("payload").0;
            let is_envelope = index == 2;
            let label = (record.number(left, "classes"), record.number(left, "schema"));
            assert_eq!(label, if is_envelope { (0b111, 1) } else { (0, 0) });
            if is_envelope {
                assert_eq!(left[payload..payload + length], golden("envelope-1"));
            }
            left = &left[payload + length..];
        }
        assert!(left.is_empty());
    }
}

#[test]
fn a_spool_is_as_the_page_says() {
    let file = spool_file();
    let page = Page::read();
    let header = page.fields("File header", "m", 4);
    assert_eq!(header.bytes(&file, "magic"), b"ELOGSPL\0");
    let number = |name| header.number(&file, name);
    assert_eq!((number("number"), number("base index"), number("base term")), (1, 0, 0));
    assert_eq!((number("members length"), number("previous checksum")), (4, 0));
    let batch = &file[4_096..];
    let header = page.fields("Batch", "", 0);
    let number = |name| header.number(batch, name);
    assert_eq!((number("term"), number("commit"), number("vote")), (1, 2, 0));
    assert_eq!((number("first index"), number("last index"), number("count")), (41, 45, 2));
    let body = &batch[80..80 + usize::try_from(number("body length")).expect("small")];
    assert_eq!(number("body checksum"), u64::from(crc32c::crc32c(body)));
    let kinds: BTreeMap<String, u64> = page
        .table("Spool", "Spool record kind")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().expect("a code")))
        .collect();
    let record = page.fields("Spool", "", 0);
    let mut left = body;
    for (kind, sequence, ordinal) in [("observation", 41, 1), ("action", 45, 2)] {
        let number = |name| record.number(left, name);
        assert_eq!((number("kind"), number("reserved")), (kinds[kind], 0));
        assert_eq!((number("sequence"), number("ordinal")), (sequence, ordinal));
        assert_eq!(number("observed at"), sequence * 1_000_000_000);
        let end = record.place("payload").0 + usize::try_from(number("length")).expect("small");
        assert_eq!(&left[record.place("payload").0..end], kind.as_bytes());
        left = &left[end..];
    }
    assert!(left.is_empty());
}

/// A spool's first file with an observation and an action.
fn spool_file() -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new());
    let setup = SpoolSetup {
        identity: WalIdentity {
            cluster: ClusterId::new([7; 16]),
            host: HostId::new(1),
            incarnation: Incarnation::new(1),
        },
        options: SpoolOptions { file_bytes: 8_192, bound_bytes: 16_384 },
        given_upto: OriginSequence::new(0),
        limits: SpaceLimits::NONE,
        stamps: Box::new(|| FileStamp { nonce: 1, created_at: Timestamp::ZERO }),
    };
    let (mut spool, _) = Spool::open(Arc::clone(&disk), Path::new("/data"), setup).expect("open the spool");
    let record = |sequence, priority, bytes: &str| SpoolRecord {
        sequence: OriginSequence::new(sequence),
        observed_at: Timestamp::from_seconds(sequence),
        priority,
        bytes: bytes.as_bytes().to_vec(),
    };
    let records = [record(41, Priority::Observation, "observation"), record(45, Priority::Action, "action")];
    spool.append(&records).expect("spool two records");
    disk.contents(Path::new("/data/spool/0000000000000001.wal")).expect("the spool's file")
}

#[test]
fn the_envelope_is_where_the_page_says() {
    let bytes = golden("envelope-1");
    let page = Page::read();
    let header = page.fields("Envelope", "", 0);
    assert_eq!((header.number(&bytes, "version"), header.number(&bytes, "flags")), (1, 0));
    assert_eq!(header.bytes(&bytes, "command"), [0xc0; 16]);
    let origin = ["origin host", "origin incarnation", "origin sequence"];
    assert_eq!(origin.map(|name| header.number(&bytes, name)), [2, 1, 41]);
    assert_eq!(header.number(&bytes, "accepted at"), 1_767_323_047_678_901_234);
    let mut left = &bytes[header.place("count").1..];
    for _ in 0..header.number(&bytes, "count") {
        let salt = if left[4] == 3 { 16 } else { 0 };
        let event = page.nth_fields("Envelope", 1, "s", salt);
        let kind = Kind::from_code(u16::from_le_bytes([left[0], left[1]])).expect("a kind");
        assert_eq!(event.number(left, "class"), u64::from(kind.class().code()));
        assert_eq!(event.number(left, "observed at"), 1_767_323_046_678_901_234);
        assert!(event.bytes(left, "salt").iter().all(|byte| *byte == 0x5a));
        let start = event.place("payload").0;
        let end = start + usize::try_from(event.number(left, "length")).expect("small");
        let golden = golden(&format!("{}-{}", kind.name(), event.number(left, "schema")));
        assert_eq!(left[start..end], golden);
        left = &left[end..];
    }
    assert!(left.is_empty());
}

#[test]
fn the_seal_is_where_the_page_says() {
    let bytes = golden("chapter-1-seal");
    let members = 4 + 4 * 8;
    let page = Page::read();
    let field = page.fields("Seal", "m", members);
    let number = |name| field.number(&bytes, name);
    assert_eq!(field.bytes(&bytes, "magic"), b"ELOGSEAL");
    assert_eq!((number("format"), number("length")), (1, bytes.len() as u64));
    assert_eq!(field.bytes(&bytes, "cluster"), [0x77; 16]);
    let entries = number("last index");
    assert_eq!((number("chapter"), number("first index"), number("first term")), (1, 1, 3));
    assert_eq!((number("last term"), number("members length")), (3, members));
    assert_eq!(field.bytes(&bytes, "previous"), [0; 32]);
    assert!(number("first accepted") < number("last accepted"));
    let (hash, end) = field.place("hash");
    assert_eq!(bytes[hash..end], sha2::Sha256::digest(&bytes[..hash])[..]);
    let (checksum, end) = field.place("checksum");
    assert_eq!(number("checksum"), u64::from(crc32c::crc32c(&bytes[..checksum])));
    assert_eq!(end, bytes.len());
    let list = page.fields("Members", "", 0);
    assert_eq!(list.number(field.bytes(&bytes, "members"), "learners"), 1);

    let summary = page.fields("Part summary", "", 0);
    let parts: Vec<&[u8]> = field.bytes(&bytes, "parts").chunks(48).collect();
    assert_eq!(summary.number(parts[0], "leaves"), entries);
    for (part, name) in parts.into_iter().zip(["entries", "audit", "control", "attack"]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/chapter-1-{name}.zst"));
        let raw = zstd::decode_all(fs::read(path).expect("a golden file").as_slice()).expect("it unpacks");
        assert_eq!(summary.number(part, "raw length"), raw.len() as u64, "{name}");
    }
}

#[test]
fn the_trees_are_those_of_the_page() {
    let seal = golden("chapter-1-seal");
    let page = Page::read();
    let parts = page.fields("Seal", "m", 4 + 4 * 8).bytes(&seal, "parts").to_vec();
    let roots: Vec<&[u8]> =
        parts.chunks(48).map(|part| page.fields("Part summary", "", 0).bytes(part, "root")).collect();
    let mut trees = [const { Vec::new() }; 4];
    let mut payloads = ["audit", "control", "attack"].map(|name| frames(name).into_iter());
    for entry in frames("entries") {
        trees[0].push(merkle::leaf([entry.as_slice()]));
        if entry[0] != 1 || entry.len() == 17 {
            continue;
        }
        let (envelope, events) = entry[17..].split_at(48);
        for (ordinal, event) in (0_u16..).zip(events.chunks(13)) {
            let class = usize::from(event[4]);
            let payload = payloads[class - 1].next().expect("a payload");
            let (index, accepted_at) = (&entry[1..9], &envelope[38..46]);
            let leaf = [index, &ordinal.to_le_bytes(), &event[..5], accepted_at, &event[5..], &payload];
            let field = page.fields("Trees", "s", if class == 3 { 16 } else { 0 });
            let whole = leaf.concat();
            assert_eq!(field.bytes(&whole, "accepted at"), accepted_at);
            assert_eq!(field.number(&whole, "class"), class as u64);
            trees[class].push(merkle::leaf(leaf));
        }
    }
    for (leaves, root) in trees.into_iter().zip(roots) {
        let mut tree = merkle::Tree::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        assert_eq!(tree.root(), root);
    }
}

/// The frames of a golden file of a chapter.
fn frames(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/chapter-1-{name}.zst"));
    let raw = zstd::decode_all(fs::read(path).expect("a golden file").as_slice()).expect("it unpacks");
    let mut left = raw.as_slice();
    let mut frames = Vec::new();
    while !left.is_empty() {
        let length = u32::from_le_bytes(skip(&mut left, 4).try_into().expect("four bytes"));
        frames.push(skip(&mut left, length as usize).to_vec());
    }
    frames
}

#[test]
fn every_golden_payload_can_be_taken_apart_by_the_page() {
    let page = Page::read();
    let mut seen = BTreeSet::new();
    let mut payloads = 0;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")).expect("the golden folder")
    {
        let name = file.expect("a golden file").file_name().into_string().expect("a name");
        let Some((kind, schema)) = name.strip_suffix(".bin").and_then(|name| name.split_once('-')) else {
            continue;
        };
        if !Kind::ALL.iter().any(|known| known.name() == kind) {
            continue;
        }
        let newest =
            Kind::ALL.iter().any(|known| known.name() == kind && known.schema().to_string() == schema[..1]);
        let heading = if newest { kind.to_owned() } else { format!("{kind}, schema {}", &schema[..1]) };
        let bytes = golden(name.trim_end_matches(".bin"));
        let mut left = bytes.as_slice();
        page.take(&heading, &mut left, &mut seen);
        assert!(left.is_empty(), "{name}: {} bytes are not on the page", left.len());
        payloads += 1;
    }
    assert!(Kind::ALL.len() <= payloads);
    let unseen: Vec<_> = page.variants().difference(&seen).cloned().collect();
    assert_eq!(unseen, Vec::<String>::new(), "no golden payload holds these variants");
}

/// The page's tables, by the heading above them.
struct Page {
    sections: BTreeMap<String, Vec<Table>>,
}

/// Fields of one table by name, with their offset and size.
struct Fields(BTreeMap<String, (usize, usize)>);

impl Page {
    fn read() -> Self {
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md")).expect("the page");
        let mut sections: BTreeMap<String, Vec<Table>> = BTreeMap::new();
        let (mut heading, mut is_in_table) = (String::new(), false);
        for line in text.lines() {
            if let Some(title) = line.strip_prefix('#') {
                title.trim_start_matches('#').trim().clone_into(&mut heading);
            }
            let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
                is_in_table = false;
                continue;
            };
            let tables = sections.entry(heading.clone()).or_default();
            if !is_in_table {
                tables.push(Table::new());
            }
            is_in_table = true;
            let cells = row.split('|').map(|cell| cell.trim().to_owned()).collect();
            tables.last_mut().expect("a table").push(cells);
        }
        Self { sections }
    }

    /// The rows of the table below a heading whose first column has this title.
    fn table(&self, heading: &str, title: &str) -> Table {
        let tables = &self.sections[heading];
        let table = tables.iter().find(|table| table[0][0] == title).expect("a table");
        table[2..].to_vec()
    }

    fn fields(&self, heading: &str, variable: &str, value: u64) -> Fields {
        self.nth_fields(heading, 0, variable, value)
    }

    /// The fields of the nth byte table below a heading; a variable of its formulas has this value.
    fn nth_fields(&self, heading: &str, nth: usize, variable: &str, value: u64) -> Fields {
        let tables = self.sections[heading].iter().filter(|table| table[0][0] == "Offset");
        let table = tables.into_iter().nth(nth).expect("a byte table");
        let value = usize::try_from(value).expect("small");
        let term = |text: &str| if text.trim() == variable { Some(value) } else { text.trim().parse().ok() };
        let sum = |text: &str| text.split('+').map(term).sum::<Option<usize>>();
        let mut end = 0;
        let fields = table[2..].iter().map(|row| {
            let offset = sum(&row[0]).expect("an offset");
            assert_eq!(offset, end, "{heading}: {} does not follow the field before it", row[2]);
            let size = sum(&row[1]).unwrap_or(0);
            end = offset + size;
            (row[2].clone(), (offset, size))
        });
        Fields(fields.collect())
    }

    /// Takes a value of this type off the front.
    fn take(&self, name: &str, left: &mut &[u8], seen: &mut BTreeSet<String>) {
        if let Some(item) = name.strip_prefix("list of ") {
            for _ in 0..varint(left, 8) {
                self.take(item, left, seen);
            }
        } else if let Some(item) = name.strip_prefix("optional ") {
            if flag(left) {
                self.take(item, left, seen);
            }
        } else if let Some(count) = name.strip_suffix(" bytes") {
            skip(left, count.parse().expect("a count"));
        } else {
            match name {
                "bool" => drop(flag(left)),
                "u8" => drop(skip(left, 1)),
                "u16" => drop(varint(left, 2)),
                "u32" => drop(varint(left, 4)),
                "u64" => drop(varint(left, 8)),
                name => self.take_section(name, left, seen),
            }
        }
    }

    fn take_section(&self, name: &str, left: &mut &[u8], seen: &mut BTreeSet<String>) {
        let table = &self.sections.get(name).unwrap_or_else(|| panic!("{name} is not on the page"))[0];
        if table[0][0] == "Field" {
            table[2..].iter().for_each(|row| self.take(&row[1], left, seen));
            return;
        }
        let number = varint(left, 4).to_string();
        let row = table[2..].iter().find(|row| row[0] == number);
        let row = row.unwrap_or_else(|| panic!("{name} has no variant {number}"));
        seen.insert(format!("{name} {}", row[1]));
        // A comma before "schema" belongs to a name.
        row[2]
            .replace(", schema", "; schema")
            .split(',')
            .map(|field| field.trim().replace("; schema", ", schema"))
            .filter(|field| !field.is_empty())
            .for_each(|field| self.take(&field, left, seen));
    }

    /// Every variant of every choice.
    fn variants(&self) -> BTreeSet<String> {
        let choices = self.sections.iter().filter(|(_, tables)| tables[0][0][0] == "Number");
        choices
            .flat_map(|(name, tables)| tables[0][2..].iter().map(move |row| format!("{name} {}", row[1])))
            .collect()
    }
}

impl Fields {
    /// Where a field begins and ends.
    fn place(&self, name: &str) -> (usize, usize) {
        let (offset, size) = self.0[name];
        (offset, offset + size)
    }

    fn bytes<'a>(&self, bytes: &'a [u8], name: &str) -> &'a [u8] {
        let (start, end) = self.place(name);
        &bytes[start..end]
    }

    fn number(&self, bytes: &[u8], name: &str) -> u64 {
        let mut number = [0; 8];
        let field = self.bytes(bytes, name);
        number[..field.len()].copy_from_slice(field);
        u64::from_le_bytes(number)
    }
}

fn skip<'a>(left: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = left.split_at(count);
    *left = rest;
    taken
}

fn flag(left: &mut &[u8]) -> bool {
    match skip(left, 1) {
        [0] => false,
        [1] => true,
        other => panic!("{other:?} is not a flag"),
    }
}

/// A number of at most this many bytes, in the shortest form.
fn varint(left: &mut &[u8], widest: usize) -> u64 {
    let first = skip(left, 1)[0];
    let (size, least) = match first {
        251 => (2, 251),
        252 => (4, 1 << 16),
        253 => (8, 1 << 32),
        small => return small.into(),
    };
    assert!(size <= widest);
    let mut number = [0; 8];
    number[..size].copy_from_slice(skip(left, size));
    let number = u64::from_le_bytes(number);
    assert!(least <= number, "{number} has a shorter form");
    number
}

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.bin"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
