//! A short list on the stack.

/// Up to `N` slices in order of appearance; more are counted, not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Few<'a, const N: usize> {
    kept: [&'a [u8]; N],
    seen: usize,
}

impl<'a, const N: usize> Few<'a, N> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self { kept: [&[]; N], seen: 0 }
    }

    /// Adds one; keeps it if there is room.
    #[inline]
    pub(crate) fn push(&mut self, value: &'a [u8]) {
        if let Some(free) = self.kept.get_mut(self.seen) {
            *free = value;
        }
        self.seen = self.seen.saturating_add(1);
    }

    /// Those that were kept.
    #[inline]
    pub fn as_slice(&self) -> &[&'a [u8]] {
        self.kept.get(..self.seen).unwrap_or(&self.kept)
    }

    /// Those that were kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.as_slice().iter().copied()
    }

    /// The first one.
    pub fn first(&self) -> Option<&'a [u8]> {
        self.as_slice().first().copied()
    }

    /// Whether there was none.
    pub const fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// How many were seen but not kept.
    pub const fn dropped(&self) -> usize {
        self.seen.saturating_sub(N)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_fit_are_counted() {
        let mut few = Few::<2>::new();
        assert!(few.is_empty());
        for value in [&b"a"[..], b"b", b"c"] {
            few.push(value);
        }
        assert_eq!(few.as_slice(), [b"a", b"b"]);
        assert_eq!(few.dropped(), 1);
    }
}
