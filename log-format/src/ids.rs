//! Identifiers as newtypes: no number with a meaning travels bare.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a bare number.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! bytes16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps sixteen bytes.
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn get(self) -> [u8; 16] {
                self.0
            }

            /// Reads 32 hexadecimal digits, as [`fmt::Display`] writes them.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                u128::from_str_radix(text, 16).ok().map(|value| Self(value.to_be_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

number!(
    /// A host of the cluster. Never zero, never reused, also not after the host was removed.
    HostId(u64)
);
number!(
    /// How often a host's data directory was started anew under the same [`HostId`]; part of an [`Origin`].
    Incarnation(u32)
);
number!(
    /// Position of an observation among those of one host incarnation, from 1. Zero: not numbered (a person's command).
    OriginSequence(u64)
);
number!(
    /// A Raft term.
    Term(u64)
);
number!(
    /// A position in the log, from 1.
    LogIndex(u64)
);
number!(
    /// Number of a batch in the write-ahead log: strictly one more than the batch before, across files.
    BatchNumber(u64)
);
number!(
    /// Number of a write-ahead log file, from 1; also its name.
    WalSequence(u64)
);
number!(
    /// A chapter of the log, from 1.
    ChapterNumber(u64)
);
bytes16!(
    /// One cluster, for ever.
    ClusterId
);
bytes16!(
    /// A command's identity from client to event: the same id never takes effect twice.
    CommandId
);
bytes16!(
    /// A block's identity: the id of the command that made it.
    BlockId
);
bytes16!(
    /// A join token's public name.
    JoinTokenId
);
bytes16!(
    /// Random bytes beside an erasable payload, so that its hash cannot be reversed by guessing once the payload is gone.
    Salt
);

impl LogIndex {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl OriginSequence {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Where a command entered the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The host that took it in.
    pub host: HostId,
    /// That host's incarnation.
    pub incarnation: Incarnation,
    /// Its number among that incarnation's observations; zero for a person's command.
    pub sequence: OriginSequence,
}

/// One event's place in the log: the entry and the event's number within it, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The entry.
    pub index: LogIndex,
    /// The event within the entry.
    pub ordinal: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_the_same_text() {
        let id = CommandId::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(CommandId::parse(&id.to_string()), Some(id));
        assert_eq!(CommandId::parse("xyz"), None);
        assert_eq!(CommandId::parse("+00102030405060708090a0b0c0d0eff"), None);
    }
}
