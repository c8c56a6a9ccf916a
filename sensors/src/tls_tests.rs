use proptest::prelude::*;

use super::*;

fn record(kind: u8, first: u8, length: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    let mut bytes = vec![kind, 3, 3, high, low];
    bytes.extend(std::iter::once(first).chain(std::iter::repeat(0)).take(length));
    bytes
}

fn read(records: &[Vec<u8>]) -> (bool, bool) {
    let mut shape = Records::default();
    shape.feed(&records.concat());
    (shape.has_data(), shape.has_fatal_alert())
}

#[test]
fn a_beginning_is_told_from_six_bytes() {
    for (bytes, expected) in [
        (&b"\x16\x03\x01\x02\0\x01"[..], Beginning::ClientHello),
        (b"\x16\x03\x03\0\x40\x02", Beginning::Server),
        (b"\x15\x03\x03", Beginning::Server),
        (b"\x16\x03\x01\x02\0", Beginning::Unknown),
        (b"\x16", Beginning::Unknown),
        (b"", Beginning::Unknown),
        (b"\x16\x02", Beginning::Other),
        (b"REGISTER", Beginning::Other),
        (b"\x80\x2e\x01", Beginning::Other),
    ] {
        assert_eq!(beginning(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn a_session_that_is_used_is_told_from_one_that_is_only_opened() {
    let (hello, change) = (record(HANDSHAKE, 1, 512), record(CHANGE_CIPHER_SPEC, 1, 1));
    let (key, finished_12) = (record(HANDSHAKE, 16, 70), record(HANDSHAKE, 0, 40));
    let (finished_13, data) = (record(APPLICATION_DATA, 9, 53), record(APPLICATION_DATA, 9, 400));
    let (close_12, close_13) = (record(ALERT, 0, 26), record(APPLICATION_DATA, 9, 19));
    let session = |records: &[&Vec<u8>]| records.iter().map(|record| (*record).clone()).collect::<Vec<_>>();
    for (why, records, has_data) in [
        ("1.2", session(&[&hello, &key, &change, &finished_12, &data]), true),
        ("1.2, resumed", session(&[&hello, &change, &finished_12, &data]), true),
        ("1.2, nothing said", session(&[&hello, &key, &change, &finished_12, &close_12]), false),
        ("1.3", session(&[&hello, &change, &finished_13, &data]), true),
        ("1.3, nothing said", session(&[&hello, &change, &finished_13, &close_13]), false),
        ("1.3, asked again, nothing said", session(&[&hello, &change, &hello, &finished_13]), false),
        ("hello only", session(&[&hello]), false),
    ] {
        assert_eq!(read(&records), (has_data, false), "{why}");
    }
    assert_eq!(read(&[record(ALERT, 2, 2)]), (false, true));
    assert_eq!(read(&[record(ALERT, 1, 2)]), (false, false));
}

#[test]
fn what_is_no_record_ends_the_reading() {
    let data = [record(HANDSHAKE, 2, 50), record(APPLICATION_DATA, 0, 90)];
    for broken in [vec![9, 3, 3, 0, 1, 0], vec![22, 2, 0, 0, 1, 0], vec![22, 3, 3, 0xff, 0xff, 0]] {
        assert_eq!(read(&[broken, data.concat()]), (false, false));
    }
    assert_eq!(read(&[record(APPLICATION_DATA, 0, 0), data.concat()]), (true, false));
}

proptest! {
    #[test]
    fn random_splits_give_the_same_shape(
        kinds in proptest::collection::vec((20_u8..25, any::<u8>(), 0_usize..600), 0..12),
        junk in proptest::collection::vec(any::<u8>(), 0..20),
        place in any::<proptest::sample::Index>(),
    ) {
        let records: Vec<Vec<u8>> = kinds.into_iter().map(|(kind, first, length)| record(kind, first, length)).collect();
        let bytes = [records.concat(), junk].concat();
        let (one, two) = bytes.split_at(place.index(bytes.len() + 1));
        let mut split = Records::default();
        split.feed(one);
        split.feed(two);
        let whole = read(std::slice::from_ref(&bytes));
        prop_assert_eq!((split.has_data(), split.has_fatal_alert()), whole);
        let mut every_byte = Records::default();
        bytes.iter().for_each(|byte| every_byte.feed(&[*byte]));
        prop_assert_eq!((every_byte.has_data(), every_byte.has_fatal_alert()), whole);
    }
}
