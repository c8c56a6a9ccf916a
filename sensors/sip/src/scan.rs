//! Looking through bytes: the only loops of the reader. Each function looks at each byte of its input at most once;
//! under test it counts them, so that a test can hold the reader to linear time without a clock.

use wide::u8x16;

#[cfg(test)]
thread_local! {
    pub(crate) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Notes that `count` bytes were looked at.
#[inline]
fn step(_count: usize) {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + _count));
}

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// The places of all line feeds, in order. Looks at 64 bytes at a time, and at no more than it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Feeds<'a> {
    bytes: &'a [u8],
    /// Where the block under work begins.
    block: usize,
    /// A bit for each line feed of the block that was not given yet, the first the lowest.
    marks: u64,
}

impl<'a> Feeds<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, block: 0, marks: marks(bytes, b'\n') }
    }
}

impl Iterator for Feeds<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.marks == 0 {
            self.block += BLOCK;
            let rest = self.bytes.get(self.block..)?;
            self.marks = marks(rest, b'\n');
        }
        let first = self.marks.trailing_zeros() as usize;
        self.marks &= self.marks - 1;
        Some(self.block + first)
    }
}

/// A bit for each `needle` among the first 64 bytes; no needle is zero.
#[inline]
fn marks(bytes: &[u8], needle: u8) -> u64 {
    step(bytes.len().min(BLOCK));
    let Some(block) = bytes.first_chunk::<BLOCK>() else {
        let mut padded = [0; BLOCK];
        padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        return marks_of_block(&padded, needle);
    };
    marks_of_block(block, needle)
}

#[inline]
fn marks_of_block(block: &[u8; BLOCK], needle: u8) -> u64 {
    let needle = u8x16::splat(needle);
    let (parts, _) = block.as_chunks::<16>();
    parts
        .iter()
        .rev()
        .fold(0, |marks, part| marks << 16 | u64::from(u8x16::new(*part).simd_eq(needle).to_bitmask()))
}

/// The place of the first `needle`. Looks at 16 bytes at a time.
#[inline]
pub(crate) fn find(haystack: &[u8], needle: u8) -> Option<usize> {
    // What every processor of this architecture has needs no choice at run time, and lines are too short to pay for one.
    #[cfg(target_arch = "x86_64")]
    let found = memchr::arch::x86_64::sse2::memchr::One::new(needle)?.find(haystack);
    #[cfg(not(target_arch = "x86_64"))]
    let found = memchr::memchr(needle, haystack);
    step(found.map_or(haystack.len(), |place| place + 1));
    found
}

/// The place of the first `needle`, which is expected within a few bytes. Looks at eight bytes at a time.
#[inline]
pub(crate) fn find_near(haystack: &[u8], needle: u8) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let pattern = LOW.wrapping_mul(u64::from(needle));
    let (words, rest) = haystack.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // A byte of `word` that equals the needle is a zero byte of `difference`; the lowest high bit marks the first.
        let difference = u64::from_le_bytes(*word) ^ pattern;
        let zeros = difference.wrapping_sub(LOW) & !difference & HIGH;
        if zeros != 0 {
            let found = at * 8 + (zeros.trailing_zeros() / 8) as usize;
            step(found + 1);
            return Some(found);
        }
    }
    let found = rest.iter().position(|byte| *byte == needle);
    step(found.map_or(haystack.len(), |place| words.len() * 8 + place + 1));
    found.map(|place| words.len() * 8 + place)
}

/// The place of the first byte that is one of two. Looks at 16 bytes at a time.
#[inline]
pub(crate) fn find_either(haystack: &[u8], one: u8, other: u8) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    let found = memchr::arch::x86_64::sse2::memchr::Two::new(one, other)?.find(haystack);
    #[cfg(not(target_arch = "x86_64"))]
    let found = memchr::memchr2(one, other, haystack);
    step(found.map_or(haystack.len(), |place| place + 1));
    found
}

/// The place of the first byte that `wanted` accepts.
#[inline]
pub(crate) fn find_where(haystack: &[u8], mut wanted: impl FnMut(u8) -> bool) -> Option<usize> {
    let found = haystack.iter().position(|byte| wanted(*byte));
    step(found.map_or(haystack.len(), |place| place + 1));
    found
}

/// The place of the last byte that `wanted` accepts.
#[inline]
pub(crate) fn find_last_where(haystack: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let found = haystack.iter().rposition(|byte| wanted(*byte));
    step(found.map_or(haystack.len(), |place| haystack.len() - place));
    found
}

/// The place of the first byte that is one of three. Looks at 16 bytes at a time.
#[inline]
pub(crate) fn find_of_three(haystack: &[u8], wanted: [u8; 3]) -> Option<usize> {
    let [one, two, three] = wanted;
    #[cfg(target_arch = "x86_64")]
    let found = memchr::arch::x86_64::sse2::memchr::Three::new(one, two, three)?.find(haystack);
    #[cfg(not(target_arch = "x86_64"))]
    let found = memchr::memchr3(one, two, three, haystack);
    step(found.map_or(haystack.len(), |place| place + 1));
    found
}

/// The place of the last byte that is one of three.
#[inline]
pub(crate) fn find_last_of_three(haystack: &[u8], wanted: [u8; 3]) -> Option<usize> {
    let [one, two, three] = wanted;
    let found = memchr::memrchr3(one, two, three, haystack);
    step(found.map_or(haystack.len(), |place| haystack.len() - place));
    found
}

/// The place of the first `wanted` outside quoted strings; the end of an unterminated quoted string is the end of the input.
#[inline]
pub(crate) fn find_unquoted(haystack: &[u8], wanted: u8) -> Option<usize> {
    find_unquoted_either(haystack, wanted, wanted)
}

/// The same for the first byte that is one of two.
#[inline]
pub(crate) fn find_unquoted_either(haystack: &[u8], one: u8, other: u8) -> Option<usize> {
    let mut seen = 0;
    loop {
        let (_, unseen) = split(haystack, seen);
        let place = if one == other {
            find_either(unseen, one, b'"')?
        } else {
            find_of_three(unseen, [one, other, b'"'])?
        };
        if unseen.get(place) != Some(&b'"') {
            return Some(seen + place);
        }
        let (_, quoted) = split_around(unseen, place);
        seen += place + 1 + find_end_quote(quoted)? + 1;
    }
}

/// The place of the quotation mark that ends a quoted string, of which the first is already taken.
#[inline]
pub(crate) fn find_end_quote(quoted: &[u8]) -> Option<usize> {
    let mut seen = 0;
    loop {
        let (_, unseen) = split(quoted, seen);
        // Escapes and ends that follow at once are not worth a search.
        let place = match unseen {
            [b'"' | b'\\', ..] => 0,
            _ => find_either(unseen, b'"', b'\\')?,
        };
        if unseen.get(place) == Some(&b'"') {
            return Some(seen + place);
        }
        // The byte after a backslash is taken as it is.
        step(2);
        seen += place + 2;
    }
}

/// Splits at `at`; an `at` past the end gives everything and nothing.
#[inline]
pub(crate) fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

/// Splits around the byte at `at`, which belongs to neither half.
#[inline]
pub(crate) fn split_around(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    let (before, after) = split(bytes, at);
    (before, after.get(1..).unwrap_or_default())
}

/// Splits at the first unquoted `separator`, which belongs to neither half; without one, all is before it.
#[inline]
pub(crate) fn split_unquoted(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match find_unquoted(bytes, separator) {
        Some(at) => split_around(bytes, at),
        None => (bytes, &[]),
    }
}

/// Blanks of a header value: a folded line's end is a blank too.
#[inline]
pub(crate) const fn is_blank(byte: u8) -> bool {
    byte <= b' ' && matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Takes blanks off both ends.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    match bytes {
        // Most things have none.
        [first, .., last] if b' ' < *first && b' ' < *last => bytes,
        _ => trim_end(trim_start(bytes)),
    }
}

/// Takes blanks off the start.
#[inline]
pub(crate) fn trim_start(bytes: &[u8]) -> &[u8] {
    // Nearly every value begins with one blank or none.
    match bytes {
        [b' ', rest @ ..] if rest.first().is_some_and(|first| b' ' < *first) => return rest,
        [first, ..] if b' ' < *first => return bytes,
        _ => {}
    }
    let start = find_where(bytes, |byte| !is_blank(byte)).unwrap_or(bytes.len());
    split(bytes, start).1
}

/// Takes blanks off the end.
#[inline]
pub(crate) fn trim_end(bytes: &[u8]) -> &[u8] {
    // Nearly every line ends with these two, nearly every other value with none.
    match bytes {
        [rest @ .., b'\r', b'\n'] if rest.last().is_some_and(|last| b' ' < *last) => return rest,
        [.., last] if b' ' < *last => return bytes,
        _ => {}
    }
    let end = find_last_where(bytes, |byte| !is_blank(byte)).map_or(0, |last| last + 1);
    split(bytes, end).0
}

/// Reads decimal digits, and nothing else; `None` if there are none or the number does not fit.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    step(digits.len());
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_agree_with_a_plain_one_at_every_length_and_place() {
        for length in 0..70 {
            for place in 0..=length {
                let mut bytes = vec![0x80_u8; length];
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = b'\n';
                }
                let plain = bytes.iter().position(|byte| *byte == b'\n');
                assert_eq!(find(&bytes, b'\n'), plain);
                assert_eq!(find_near(&bytes, b'\n'), plain);
                assert_eq!(find_either(&bytes, b'\n', b':'), plain);
                assert_eq!(find_either(&bytes, b':', b'\n'), plain);
            }
        }
        assert_eq!(find_near(b"\x0b\x0a\x0a345678", b'\n'), Some(1));
    }

    #[test]
    fn blanks_are_taken_off_both_ends_however_many() {
        for (bytes, trimmed) in [
            (&b" a\r\n"[..], &b"a"[..]),
            (b"  a \r\n", b"a"),
            (b"\r\n\ta b\n", b"a b"),
            (b"a", b"a"),
            (b" \r\n", b""),
            (b"\r\n", b""),
            (b"", b""),
        ] {
            assert_eq!(trim(bytes), trimmed);
        }
    }

    #[test]
    fn quoted_separators_do_not_count() {
        assert_eq!(split_unquoted(br#""a;\";b";c;d"#, b';'), (&br#""a;\";b""#[..], &b"c;d"[..]));
        assert_eq!(split_unquoted(b"\"never closed;", b';').1, b"");
        assert_eq!(split_unquoted(b"\"ends in a backslash;\\", b';').1, b"");
        assert_eq!(find_unquoted(br#""\\";"#, b';'), Some(4));
        assert_eq!(find_unquoted(br#""\"";"a;";"#, b';'), Some(4));
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number(b"000123"), Some(123));
        assert_eq!(number(b"+1"), None);
        assert_eq!(number(b""), None);
    }
}
