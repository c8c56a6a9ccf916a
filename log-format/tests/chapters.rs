//! Chapters: built, read, damaged, repaired, erased and fetched, with a crash at every change of the disk.
#![expect(dead_code, reason = "the samples are shared with the golden files")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "samples/mod.rs"]
mod samples;

use std::path::{Path, PathBuf};

use log_format::chapter::{self, ChapterError, ChapterReader, Part};
use log_format::disk::{Disk, DiskFile, MemoryDisk};
use log_format::event::{Class, Event};
use log_format::ids::ChapterNumber;
use log_format::seal::Seal;
use log_format::verify;
use log_format::wal::LogEntry;

use samples::chapter::{build, disk, entries, plan};

const ATTACK: Part = Part::Class(Class::Attack);

#[test]
fn a_chapter_tells_its_entries_to_the_byte_and_its_seal_is_found_again() {
    let (disk, seal) = disk();
    assert_eq!(told(&disk, &seal).unwrap(), entries(1));
    assert_eq!(chapter::seals(&disk, data()).unwrap(), std::slice::from_ref(&seal));
    let next = build(&disk, &plan(Some(&seal))).unwrap();
    assert!(next.follows(Some(&seal)));
    assert_eq!(chapter::seals(&disk, data()).unwrap().len(), 2);
    let checked = chapter::verify(&disk, data(), &next).unwrap();
    assert_eq!((checked.entries, checked.erased), (entries(1).len() as u64, 0));
    assert_eq!((seal.first.index.get(), seal.last.index.get()), (1, entries(1).len() as u64));
}

#[test]
fn a_chapter_that_is_there_is_not_built_again_and_never_as_another() {
    let (disk, seal) = disk();
    let writes = disk.writes();
    assert_eq!(build(&disk, &plan(None)).unwrap(), seal);
    assert_eq!(disk.writes(), writes);
    let other = chapter::ChapterPlan { previous: [1; 32], ..plan(None) };
    assert!(matches!(build(&disk, &other), Err(ChapterError::Other { .. })));
}

#[test]
fn entries_that_are_not_those_of_the_plan_are_refused() {
    let disk = MemoryDisk::new();
    let mut longer = plan(None);
    longer.last = longer.last.next();
    assert!(matches!(build(&disk, &longer), Err(ChapterError::Entries { .. })));
    assert_eq!(chapter::seals(&disk, data()).unwrap(), []);
}

#[test]
fn killed_at_every_change_of_the_disk_it_is_built_to_the_same_seal() {
    let (_, expected) = disk();
    let mut changes = 0;
    loop {
        let disk = MemoryDisk::new();
        disk.fail_after_changes(changes);
        let built = build(&disk, &plan(None));
        disk.crash(changes);
        let before = chapter::seal(&disk, data(), ChapterNumber::new(1));
        assert!(before.is_ok_and(|seal| seal.is_none_or(|seal| seal == expected)), "after {changes} changes");
        assert_eq!(build(&disk, &plan(None)).unwrap(), expected, "after {changes} changes");
        assert_eq!(told(&disk, &expected).unwrap(), entries(1), "after {changes} changes");
        if built.is_ok() {
            break;
        }
        changes += 1;
    }
    assert!(15 < changes, "every file is written, synced and renamed: {changes} changes");
}

#[test]
fn every_flipped_byte_of_every_file_is_seen_and_repaired_from_a_peer() {
    let (sound, seal) = disk();
    let directory = chapter::directory_of(data(), seal.chapter);
    for name in sound.list(&directory).unwrap() {
        let path = directory.join(&name);
        for at in 0..sound.contents(&path).unwrap().len() {
            let disk = sound.fork();
            assert!(disk.flip_bit(&path, at as u64 * 8 + at as u64 % 8));
            let seen = chapter::seals(&disk, data())
                .and_then(|seals| chapter::verify(&disk, data(), seals.first().unwrap()).map(drop));
            assert!(seen.is_err_and(|error| error.is_damage()), "{name}, byte {at}");
            let part = Part::ALL.into_iter().find(|part| part.file_name() == name);
            let damage = chapter::damage(&disk, data(), &seal).unwrap().map(|damage| damage.parts);
            if let Some(part) = part {
                assert_eq!(damage, Some(vec![part]), "{name}, byte {at}");
                // A bit of a compressed file may mean nothing: then it still holds what was sealed.
                if !chapter::note_again(&disk, data(), &seal, None).unwrap() {
                    stage(&disk, &sound, part);
                }
            } else if name == chapter::FILES {
                assert_eq!(damage, Some(Part::ALL.to_vec()), "{name}, byte {at}");
                assert!(chapter::note_again(&disk, data(), &seal, None).unwrap(), "{name}, byte {at}");
            } else {
                assert_eq!(damage, None, "{name}, byte {at}");
            }
            chapter::install(&disk, data(), &seal, None).unwrap();
            chapter::verify(&disk, data(), &seal).unwrap();
            assert_eq!(chapter::seals(&disk, data()).unwrap().len(), 1, "{name}, byte {at}");
        }
    }
}

#[test]
fn a_missing_file_is_seen_and_never_taken_for_an_erased_one() {
    let (sound, seal) = disk();
    for part in Part::ALL {
        let disk = sound.fork();
        disk.remove(&path(part)).unwrap();
        let error = chapter::verify(&disk, data(), &seal).unwrap_err();
        assert!(matches!(error, ChapterError::Missing { .. }), "{error}");
    }
}

#[test]
fn erased_payloads_are_in_no_file_and_the_chapter_is_still_sound() {
    let (disk, seal) = disk();
    let salted = [0x5a; 16];
    let holds = |disk: &MemoryDisk, wanted: &[u8]| {
        told(disk, &seal)
            .unwrap()
            .iter()
            .any(|entry| entry.data.windows(wanted.len()).any(|data| data == wanted))
    };
    assert!(holds(&disk, &salted));
    assert_eq!(chapter::erase(&disk, data(), seal.chapter).unwrap(), 1);
    assert_eq!(chapter::erase(&disk, data(), seal.chapter).unwrap(), 0);
    assert!(!holds(&disk, &salted));
    assert!(disk.contents(&path(ATTACK)).is_none());
    let checked = chapter::verify(&disk, data(), &seal).unwrap();
    assert!(0 < checked.erased && checked.erased < checked.events);
    for (told, written) in told(&disk, &seal).unwrap().iter().zip(entries(1)) {
        let (Some(told), Some(written)) = (verify::decode(told).unwrap(), verify::decode(&written).unwrap())
        else {
            assert_eq!(*told, written);
            continue;
        };
        assert_eq!((told.command, told.accepted_at), (written.command, written.accepted_at));
        for (told, written) in told.events.into_iter().zip(written.events) {
            let kind = written.event.kind();
            let expected =
                if kind.class().is_erasable() { Event::Erased(kind) } else { written.event.clone() };
            assert_eq!(told.event, expected);
        }
    }
}

#[test]
fn killed_at_every_change_of_the_disk_an_erasure_is_finished_by_the_next() {
    let (sound, seal) = disk();
    for changes in 0.. {
        let disk = sound.fork();
        disk.fail_after_changes(changes);
        let erased = chapter::erase(&disk, data(), seal.chapter);
        disk.crash(changes);
        let told_between = told(&disk, &seal).unwrap();
        assert_eq!(told_between.len(), entries(1).len(), "after {changes} changes");
        chapter::erase(&disk, data(), seal.chapter).unwrap();
        chapter::verify(&disk, data(), &seal).unwrap();
        assert!(disk.contents(&path(ATTACK)).is_none(), "after {changes} changes");
        if erased.is_ok() {
            return;
        }
    }
}

#[test]
fn on_a_disk_without_a_byte_the_reserve_pays_for_an_erasure() {
    let (disk, seal) = disk();
    let reserve = data().join("reserve");
    disk.create(&reserve).unwrap().write_at(0, &[1; 4_096]).unwrap();
    disk.sync_dir(data()).unwrap();
    let space = disk.space(data()).unwrap();
    disk.set_capacity(space.total - space.free);
    assert_eq!(chapter::erase(&disk, data(), seal.chapter).unwrap(), 1);
    assert!(disk.contents(&path(ATTACK)).is_none() && disk.contents(&reserve).is_none());
    chapter::verify(&disk, data(), &seal).unwrap();
}

#[test]
fn a_chapter_comes_from_a_peer_and_nothing_else_passes_for_it() {
    let (peer, seal) = disk();
    let other = Seal { cluster: log_format::ids::ClusterId::new([1; 16]), ..seal.clone() };
    let new = MemoryDisk::new();
    new.create_dir(data()).unwrap();
    assert!(matches!(chapter::install(&new, data(), &seal, Some(&other)), Err(ChapterError::Chain { .. })));
    for part in Part::ALL {
        if part != ATTACK {
            let missing = chapter::install(&new, data(), &seal, None);
            assert!(matches!(missing, Err(ChapterError::Missing { .. })));
        }
        stage(&new, &peer, part);
    }
    let mut forged = seal.clone();
    forged.parts[3].root[0] ^= 1;
    assert!(matches!(chapter::install(&new, data(), &forged, None), Err(ChapterError::Damaged { .. })));
    assert_eq!(chapter::seals(&new, data()).unwrap(), []);
    chapter::install(&new, data(), &seal, None).unwrap();
    assert_eq!(told(&new, &seal).unwrap(), entries(1));
}

#[test]
fn a_chapter_whose_attack_data_is_erased_everywhere_comes_without_it() {
    let (peer, seal) = disk();
    chapter::erase(&peer, data(), seal.chapter).unwrap();
    let new = MemoryDisk::new();
    new.create_dir(data()).unwrap();
    Part::ALL.into_iter().filter(|part| *part != ATTACK).for_each(|part| stage(&new, &peer, part));
    chapter::install(&new, data(), &seal, None).unwrap();
    assert_eq!(told(&new, &seal).unwrap(), told(&peer, &seal).unwrap());
    chapter::verify(&new, data(), &seal).unwrap();
}

fn data() -> &'static Path {
    Path::new(samples::DATA)
}

fn path(part: Part) -> PathBuf {
    chapter::directory_of(data(), ChapterNumber::new(1)).join(part.file_name())
}

fn told(disk: &MemoryDisk, seal: &Seal) -> Result<Vec<LogEntry>, ChapterError> {
    ChapterReader::open(disk, data(), seal)?.collect()
}

/// Fetches a file of the first chapter from another disk.
fn stage(disk: &MemoryDisk, from: &MemoryDisk, part: Part) {
    let bytes = from.contents(&path(part)).unwrap();
    let file = chapter::begin_staging(disk, data(), ChapterNumber::new(1), part).unwrap();
    file.write_at(0, &bytes).unwrap();
}
