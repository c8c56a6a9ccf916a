//! What becomes of old chapters.

use super::*;

const CHAPTER: ChapterNumber = ChapterNumber::new(1);

#[test]
fn a_leader_has_old_attacks_counted_elsewhere_and_asks_once() {
    let mut host = host_with_an_old_chapter();
    let mut now = Duration::ZERO;
    let mut asked = 0;
    // Long after it leads.
    for _ in 0..50 {
        now += TICK;
        asked += turn(&mut host, Input::Tick, now).iter().filter(|output| is_count(output)).count();
    }
    assert_eq!(asked, 1);
    assert_eq!(rolled_up(&host), Some(false));
    // It could not be read: it is asked for again, later.
    turn(&mut host, Input::Counted { chapter: CHAPTER, counts: None }, now);
    let mut again = |seconds: u64| {
        let end = now + Duration::from_secs(seconds);
        let mut asked = 0;
        while now < end {
            now += TICK;
            asked += turn(&mut host, Input::Tick, now).iter().filter(|output| is_count(output)).count();
        }
        asked
    };
    assert_eq!((again(5), again(10)), (0, 1));
    turn(&mut host, Input::Counted { chapter: CHAPTER, counts: Some(Vec::new()) }, now);
    turn(&mut host, Input::Tick, now + TICK);
    let erased = host.node.model().chapters().erased_upto();
    assert!(rolled_up(&host) == Some(true) || erased.is_some());
}

#[test]
fn what_a_snapshot_brought_is_folded_a_piece_a_turn() {
    const ENTRIES: u64 = 3 * (apply::READ_BYTES as u64) / DATA;
    const DATA: u64 = 1 << 16;
    let host = Host::new(ONE, &[ONE], |wal| {
        let note = Text::new(&[b'x'; 32]);
        let enrolled = (0..DATA / 64).map(|_| note.clone());
        let changed = log_format::event::SettingsChanged {
            by: Actor::System,
            changes: vec![log_format::event::SettingChange::BlockedUserAgents(enrolled.collect())],
        };
        let event = Event::Settings(log_format::event::SettingsEvent::Changed(changed));
        for index in 1..=ENTRIES {
            let entry = LogEntry {
                index: LogIndex::new(index),
                term: Term::new(1),
                kind: EntryKind::Normal,
                data: envelope(1, event.clone()),
            };
            let hard_state = HardState { term: Term::new(1), vote: Some(ONE), commit: entry.index };
            append(wal, hard_state, &[entry]);
        }
    });
    let mut node = host.node;
    let at_end = LogPosition { index: LogIndex::new(ENTRIES), term: Term::new(1) };
    node.begin_after(at_end);
    let mut turns = 0;
    while node.applied() < at_end.index {
        let before = node.applied();
        assert!(node.is_folding());
        let mut outputs = Vec::new();
        node.handle_all([Input::Plan], at(Duration::ZERO), &mut outputs);
        assert!(before < node.applied(), "every turn folds");
        let tells = outputs.iter().any(|output| matches!(output, Output::Members(_)));
        assert_eq!(tells, node.applied() == at_end.index, "who once were members is told to nobody");
        turns += 1;
    }
    assert!(1 < turns && turns < 10, "{turns} turns");
    assert!(!node.is_folding());
}

fn is_count(output: &Output) -> bool {
    let first = LogIndex::new(1);
    matches!(output, Output::Count(order) if *order == CountOrder { chapter: CHAPTER, first, last: first })
}

fn rolled_up(host: &Host) -> Option<bool> {
    host.node.model().chapters().get(CHAPTER).map(|held| held.is_rolled_up)
}

/// One turn, and whatever the writer answers to it. Gives what is to be done.
fn turn(host: &mut Host, input: Input, now: Duration) -> Vec<Output> {
    let mut inputs = std::collections::VecDeque::from([input]);
    let mut done = Vec::new();
    while let Some(input) = inputs.pop_front() {
        let mut outputs = Vec::new();
        host.node.handle_all([input], at(now), &mut outputs);
        for output in outputs {
            let Output::Persist(job) = output else {
                done.push(output);
                continue;
            };
            host.hard_state = job.hard_state.unwrap_or(host.hard_state);
            append(&mut host.wal, host.hard_state, &job.entries);
            inputs.push_back(Input::Persisted { number: job.number });
        }
    }
    done
}

/// A host alone, whose log has sealed a chapter in 1970.
fn host_with_an_old_chapter() -> Host {
    let seal = seal_of_one_entry();
    let named = seal.hash();
    let mut host = host_with_a_chapter(seal, named);
    host.node.start(&mut Vec::new());
    host
}
