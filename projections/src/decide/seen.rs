//! Whether something was seen of nobody, of one, or of several: all that corroboration asks.

use serde::{Deserialize, Serialize};

use crate::digest::{Canonical, CanonicalHasher};

/// Of how many something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Seen<T> {
    #[default]
    Nobody,
    One(T),
    Several,
}

impl<T: Copy + Eq> Seen<T> {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobody, seen) | (seen, Self::Nobody) => seen,
            (Self::One(one), Self::One(two)) if one == two => self,
            (Self::One(_) | Self::Several, Self::One(_) | Self::Several) => Self::Several,
        }
    }
}

impl<T: Canonical> Canonical for Seen<T> {
    fn put(&self, out: &mut CanonicalHasher) {
        match self {
            Self::Nobody => 0_u8.put(out),
            Self::One(one) => {
                1_u8.put(out);
                one.put(out);
            }
            Self::Several => 2_u8.put(out),
        }
    }
}
