use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_000);

fn fragments() -> Fragments {
    Fragments::new(Key::new([7; 16]))
}

fn piece(identification: u32, offset: usize, is_last: bool, bytes: &[u8]) -> Fragment<'_> {
    let (source, destination) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    Fragment { source, destination, protocol: 17, identification, offset, is_last, bytes, tunnel: None }
}

/// Some bytes cut into pieces of this size.
fn cut(bytes: &[u8], size: usize) -> Vec<Fragment<'_>> {
    let count = bytes.len().div_ceil(size);
    let chunks = bytes.chunks(size).enumerate();
    chunks.map(|(number, chunk)| piece(1, number * size, number + 1 == count, chunk)).collect()
}

#[test]
fn pieces_make_the_packet_in_any_order_and_however_often_they_come() {
    let bytes: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let pieces = cut(&bytes, 1_480);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let mut fragments = fragments();
        let twice = order.iter().flat_map(|place| [place, place]);
        let wholes: Vec<Whole> = twice.filter_map(|place| fragments.add(&pieces[*place], NOW)).collect();
        assert_eq!(wholes.len(), 1, "{order:?}");
        assert_eq!((&wholes[0].bytes, wholes[0].protocol), (&bytes, 17));
        // The last piece came once more, alone: a packet that is never whole.
        assert_eq!(fragments.under_way.len(), 1);
        fragments.add(&piece(9, 0, false, &[0; 8]), NOW.after(TIMEOUT));
        assert_eq!((fragments.under_way.len(), fragments.bytes), (1, 8));
    }
}

#[test]
fn packets_of_the_same_moment_do_not_mix() {
    let (one, two) = ([1_u8; 16], [2_u8; 16]);
    let mut fragments = fragments();
    assert_eq!(fragments.add(&piece(1, 0, false, &one[..8]), NOW), None);
    assert_eq!(fragments.add(&piece(2, 0, false, &two[..8]), NOW), None);
    let other = Fragment { destination: IpAddr::from([192, 0, 2, 3]), ..piece(1, 8, true, &two[..8]) };
    assert_eq!(fragments.add(&other, NOW), None);
    assert_eq!(fragments.add(&piece(1, 8, true, &one[8..]), NOW).unwrap().bytes, one);
    assert_eq!(fragments.add(&piece(2, 8, true, &two[8..]), NOW).unwrap().bytes, two);
    assert_eq!(fragments.of_source.values().sum::<u32>(), 1);
}

#[test]
fn a_forged_piece_in_a_tunnel_spoils_nothing_outside_it() {
    let (one, two) = ([1_u8; 16], [2_u8; 16]);
    let ends = (IpAddr::from([203, 0, 113, 7]), IpAddr::from([192, 0, 2, 2]));
    let tunnel = Tunnel::within(None, ends);
    let mut fragments = fragments();
    assert_eq!(fragments.add(&piece(1, 0, false, &one[..8]), NOW), None);
    assert_eq!(fragments.add(&Fragment { tunnel, ..piece(1, 0, false, &two[..8]) }, NOW), None);
    let plain = fragments.add(&piece(1, 8, true, &one[8..]), NOW).unwrap();
    assert_eq!((&plain.bytes[..], plain.tunnel), (&one[..], None));
    let tunnelled = fragments.add(&Fragment { tunnel, ..piece(1, 8, true, &two[8..]) }, NOW).unwrap();
    assert_eq!((&tunnelled.bytes[..], tunnelled.tunnel), (&two[..], tunnel));
}

#[test]
fn whoever_contradicts_himself_is_not_read() {
    let (a, b) = ([1_u8; 16], [2_u8; 16]);
    let spoilers = [
        ("overlaps the beginning", piece(1, 0, false, &b[..8])),
        ("overlaps in part", piece(1, 8, false, &b)),
        ("other bytes in the same place", piece(1, 0, false, &b)),
        ("is no multiple of eight", piece(1, 16, false, &a[..7])),
        ("ends before what has come", piece(1, 8, true, &[])),
        ("is longer than a packet", piece(1, 65_528, true, &a)),
    ];
    for (why, spoiler) in spoilers {
        let mut fragments = fragments();
        assert_eq!(fragments.add(&piece(1, 0, false, &a), NOW), None, "{why}");
        fragments.add(&spoiler, NOW);
        let whole = fragments.add(&piece(1, 16, true, &a[..5]), NOW);
        assert_eq!(whole.is_some(), spoiler.bytes.is_empty(), "{why}");
        let again = fragments.add(&piece(1, 0, false, &a), NOW);
        assert_eq!(again, None, "{why}: it does not begin anew");
    }
    let mut two_ends = fragments();
    two_ends.add(&piece(1, 16, true, &a[..5]), NOW);
    two_ends.add(&piece(1, 24, true, &a[..5]), NOW);
    assert_eq!(two_ends.add(&piece(1, 0, false, &a), NOW), None, "two last pieces");
}

#[test]
fn what_does_not_become_whole_is_let_go() {
    let mut fragments = fragments();
    let from = |source: u32, identification| Fragment {
        source: IpAddr::from(source.to_be_bytes()),
        ..piece(identification, 0, false, &[0; 8])
    };
    for identification in 0..2 * MAX_OF_A_SOURCE {
        fragments.add(&from(1, identification), NOW);
    }
    assert_eq!((fragments.under_way.len(), fragments.lost()), (64, 64), "one source has its share");
    for source in 2..5_000 {
        fragments.add(&from(source, 1), NOW);
    }
    assert_eq!((fragments.under_way.len(), fragments.of_source.len()), (MAX_UNDER_WAY, MAX_UNDER_WAY));
    fragments.add(&from(9, 9), NOW.after(TIMEOUT));
    assert_eq!((fragments.under_way.len(), fragments.of_source.len(), fragments.bytes), (1, 1, 8));
}

#[test]
fn bytes_are_bounded() {
    let mut fragments = fragments();
    let large = vec![0; 60_000];
    for source in 0..1_000_u32 {
        let source = IpAddr::from(source.to_be_bytes());
        fragments.add(&Fragment { source, ..piece(1, 0, false, &large) }, NOW);
        assert!(fragments.bytes <= MAX_BYTES + large.len());
        let held = fragments.under_way.len() * large.len();
        assert_eq!(fragments.bytes, held);
    }
}

proptest! {
    /// Whatever comes, bytes and sources are counted right, and a whole packet has its length.
    #[test]
    fn no_pieces_confuse_the_books(
        pieces in proptest::collection::vec((0_u32..4, 0_usize..9, 0_usize..26, any::<bool>(), 0_u64..40), 0..200),
    ) {
        let mut fragments = fragments();
        let mut now = NOW;
        for (identification, place, length, is_last, wait) in pieces {
            now = now.after(Duration::from_secs(wait / 30));
            let bytes = vec![u8::try_from(place).unwrap_or(0); length];
            if let Some(whole) = fragments.add(&piece(identification, place * UNIT, is_last, &bytes), now) {
                prop_assert!(whole.bytes.len() <= 9 * UNIT + 26);
            }
            let mut held = 0;
            for _ in 0..fragments.under_way.len() {
                let Some((name, partial)) = fragments.under_way.pop_oldest() else { break };
                held += partial.bytes.len();
                fragments.under_way.insert(name, partial);
            }
            prop_assert_eq!(fragments.bytes, held);
            prop_assert_eq!(fragments.of_source.values().sum::<u32>() as usize, fragments.under_way.len());
        }
    }
}
