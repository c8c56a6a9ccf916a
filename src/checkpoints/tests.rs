use std::net::IpAddr;

use log_format::event::{Actor, Text};
use log_format::ids::{CommandId, HostId, Incarnation, Origin, OriginSequence, Salt};
use log_format::time::Timestamp;
use projections::decide::{Command, CommandBody, Decision, decide};

use super::*;

/// Some blocked addresses.
fn folded(blocks: u32) -> Folded {
    let mut folded = Folded::default();
    for number in 1..=blocks {
        let (by, source) = (Actor::System, IpAddr::from((0x5000_0000 + number).to_be_bytes()));
        let body = CommandBody::BlockAddress { source, seconds: Some(3_600), note: Text::default(), by };
        let sequence = OriginSequence::new(0);
        let origin = Origin { host: HostId::new(1), incarnation: Incarnation::new(1), sequence };
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let at = Timestamp::from_seconds(1_000);
        let command = Command { id: CommandId::new(id), origin, observed_at: at, body };
        let Ok(Decision::Events(events)) = decide(&folded.model, &command, at) else { panic!("refused") };
        let envelope = command.envelope(events, folded.model.next_accepted_at(at), &mut Salt::default);
        folded.fold(folded.model.applied().next(), &envelope);
    }
    folded
}

fn same(one: &Folded, other: &Folded) -> bool {
    projections::state_hash(&one.model, &one.views) == projections::state_hash(&other.model, &other.views)
}

#[test]
fn what_was_saved_is_taken_up_and_a_shorter_state_replaces_a_longer_one() {
    let data = Scratch::new("replaced");
    let (long, short) = (folded(20_000), folded(3));
    for state in [&long, &short] {
        let (checkpoints, _) = Checkpoints::open(&data.0);
        checkpoints.save(state).expect("it is written");
        drop(checkpoints);
        let (_, found) = Checkpoints::open(&data.0);
        assert!(same(&found, state));
    }
}

#[test]
fn a_lock_that_is_about_to_go_is_waited_for() {
    let data = Scratch::new("locked");
    let state = folded(3);
    let (held, _) = Checkpoints::open(&data.0);
    held.save(&state).expect("it is written");
    let (closing, opening) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        closing.send(()).expect("somebody waits");
        drop(held);
    });
    opening.recv().expect("it is about to be closed");
    assert!(same(&Checkpoints::open(&data.0).1, &state));
    holder.join().expect("it is closed");
}

#[test]
fn a_directory_that_is_gone_damaged_or_no_database_is_begun_anew() {
    let data = Scratch::new("anew");
    let path = data.0.join(DIRECTORY);
    let state = folded(3);
    let save = || Checkpoints::open(&data.0).0.save(&state).expect("it is written");
    save();
    fs::remove_dir_all(&path).expect("it is deleted");
    assert!(same(&Checkpoints::open(&data.0).1, &Folded::default()));
    save();
    let length = fs::metadata(path.join("db")).expect("sled's file").len();
    fs::write(path.join("db"), vec![0x5a; usize::try_from(length).expect("a small file")])
        .expect("it is damaged");
    assert!(same(&Checkpoints::open(&data.0).1, &Folded::default()));
    save();
    fs::remove_dir_all(&path).expect("it is deleted");
    fs::write(&path, b"a file").expect("a file stands there");
    let (checkpoints, found) = Checkpoints::open(&data.0);
    assert!(same(&found, &Folded::default()));
    checkpoints.save(&state).expect("it is written");
}

#[test]
fn a_start_that_died_while_opening_is_not_repeated() {
    let data = Scratch::new("died");
    let state = folded(3);
    Checkpoints::open(&data.0).0.save(&state).expect("it is written");
    fs::write(data.0.join(MARK), b"").expect("the mark stands");
    assert!(same(&Checkpoints::open(&data.0).1, &Folded::default()));
    assert!(!data.0.join(MARK).exists());
}

#[test]
fn a_new_directory_holds_nothing_of_the_old_one() {
    let data = Scratch::new("renewed");
    let (mut checkpoints, _) = Checkpoints::open(&data.0);
    checkpoints.save(&folded(2_000)).expect("it is written");
    assert!(holds(&data.0, 1_500));
    // What an attempt left that did not end.
    fs::create_dir(data.0.join(MAKING)).expect("a directory");
    fs::write(data.0.join(MAKING).join("db"), b"half").expect("a file");
    checkpoints.replace(&folded(3)).expect("it is written");
    assert!(same(&checkpoints.read(), &folded(3)));
    assert!(!holds(&data.0, 1_500));
    assert!(!data.0.join(DISCARDED).exists() && !data.0.join(MAKING).exists());
    checkpoints.save(&folded(4)).expect("the new one is open");
    drop(checkpoints);
    assert!(same(&Checkpoints::open(&data.0).1, &folded(4)));
}

/// Whether the checkpoints' file names the address of this block.
fn holds(data: &Path, block: u32) -> bool {
    let address = (0x5000_0000 + block).to_be_bytes();
    let bytes = fs::read(data.join(DIRECTORY).join("db")).expect("sled's file");
    bytes.windows(address.len()).any(|found| found == address)
}

/// A directory of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("palisade-checkpoints-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
