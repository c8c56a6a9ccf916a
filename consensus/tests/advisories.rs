//! RUSTSEC-2024-0437: protobuf 2 may recurse without bound on crafted input, and version 2 gets no repair. What this program
//! parses with it, peers' frames and raft's messages, must answer with an error, on a small stack too. `deny.toml` ignores the
//! advisory on the strength of these tests.

use protobuf::Message;
use protobuf::well_known_types::{Struct, Value};
use raft::eraftpb;

/// Deep enough to overflow any stack at a few bytes a level.
const DEPTH: usize = 1_000_000;
const SMALL_STACK: usize = 64 << 10;

#[test]
fn unknown_groups_nested_without_end_are_an_error() {
    // Field 100 as a start of a group, then field 3, which the messages know under another wire type.
    for tag in [&[0xa3, 0x06][..], &[0x1b]] {
        let bytes: Vec<u8> = tag.iter().copied().cycle().take(tag.len() * DEPTH).collect();
        assert!(fails::<eraftpb::Message>(&bytes));
        assert!(fails::<eraftpb::ConfChangeV2>(&bytes));
        assert!(fails::<Struct>(&bytes));
    }
}

#[test]
fn known_messages_nested_without_end_are_an_error() {
    let mut bytes = Vec::new();
    // A value of a list of one value, and so on: the only recursive messages the library brings along.
    for _ in 0..2_000 {
        bytes = field(0x32, &field(0x0a, &bytes));
    }
    assert!(fails_on_stack::<Value>(&bytes, 2 << 20));
}

#[test]
fn what_is_not_nested_is_still_read() {
    let message = eraftpb::Message { term: 7, ..eraftpb::Message::default() };
    let bytes = message.write_to_bytes().unwrap_or_default();
    assert!(!fails::<eraftpb::Message>(&bytes));
    assert!(!fails_on_stack::<Value>(&field(0x32, &field(0x0a, &[])), SMALL_STACK));
}

fn fails<M: Message>(bytes: &[u8]) -> bool {
    fails_on_stack::<M>(bytes, SMALL_STACK)
}

fn fails_on_stack<M: Message>(bytes: &[u8], stack_size: usize) -> bool {
    let bytes = bytes.to_vec();
    let thread = std::thread::Builder::new().stack_size(stack_size);
    let parse = move || M::parse_from_bytes(&bytes).is_err();
    // An overflow of the stack does not come back as an error: it ends the test run.
    thread.spawn(parse).is_ok_and(|thread| thread.join().is_ok_and(|failed| failed))
}

fn field(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let mut length = contents.len();
    while 128 <= length {
        bytes.push(u8::try_from(length & 127).unwrap_or_default() | 128);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap_or_default());
    bytes.extend(contents);
    bytes
}
